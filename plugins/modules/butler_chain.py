#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Make CHAINED collections of a Butler repository what is described."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_chain
short_description: Make the chains of a Butler repository
description:
  - Sets CHAINED collections to search their children in the order that is described. Children that a chain has already and
    that are not described stay, at its end. Nothing is ever removed.
  - A child that does not exist is reported as open. The chain gets it in its place when it comes, with whichever module.
  - Either one chain (O(name), O(children)), which is made in any case, or a description of many collections
    (O(collections)), of which only those are made that the repository needs.
  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  repo:
    description: Folder of the repository, or its label in the repository index.
    type: str
    required: true
  name:
    description: Name of one chain.
    type: str
  children:
    description: Its children, in search order.
    type: list
    elements: str
  doc:
    description: Its documentation. Not given, it stays as it is.
    type: str
  stage:
    description: Make only the chains of O(collections) with this stage, and what they consist of. Default is all.
    type: str
extends_documentation_fragment:
  - described.collections
attributes:
  check_mode:
    description: The repository is opened read-only, and the result is what would be done.
    support: full
  diff_mode:
    description: Shows the children of each chain before and after.
    support: full
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: Let the calibrations be searched in this order
  butler_chain:
    repo: /repo/dc2
    name: 2.2i/calib
    children: [2.2i/calib/DM-30694, 2.2i/calib/gen2, 2.2i/calib/DM-30694/unbounded]

- name: Make whatever the repository needs of these
  butler_chain:
    repo: /repo/dc2
    collections:
      - name: refcats
        type: CHAINED
        children: [refcats/PREOPS-301]
        stage: refcats
      - name: refcats/PREOPS-301
        type: RUN
"""

RETURN = r"""
name:
  description: Name of the chain.
  returned: with O(name)
  type: str
before:
  description: Its children before; null if there was no such chain.
  returned: with O(name)
  type: list
  elements: str
after:
  description: Its children after.
  returned: with O(name)
  type: list
  elements: str
completed:
  description: Other chains that waited for something that is there now, each as in C(chains).
  returned: with O(name)
  type: list
  elements: dict
made:
  description: Type by name of the RUN, CALIBRATION and TAGGED collections that were made.
  returned: with O(collections)
  type: dict
chains:
  description:
    - C(name), children C(before) and C(after), and C(open) children of each chain. Behind those described come others that
      waited for something that is there now.
  returned: with O(collections)
  type: list
  elements: dict
skipped_collections:
  description: Reason by name of the collections that are not needed.
  returned: with O(collections)
  type: dict
open:
  description: Children that are left out since there is no such collection; with O(collections), by chain.
  returned: success
  type: raw
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.described import COLLECTION
from ansible.module_utils.replica import call


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "name": {"type": "str"},
            "children": {"type": "list", "elements": "str"},
            "doc": {"type": "str"},
            "collections": {"type": "list", "elements": "dict", "options": COLLECTION},
            "stage": {"type": "str"},
        },
        mutually_exclusive=[("name", "collections"), ("name", "stage")],
        required_one_of=[("name", "collections")],
        required_together=[("name", "children")],
        required_by={"doc": "name"},
        supports_check_mode=True,
    )
    given = module.params

    def verb() -> Any:
        from butler_replica.collections.ensure import ensure_collections, set_chain

        if given["name"]:
            return set_chain(
                given["repo"], given["name"], given["children"], doc=given["doc"], dry_run=module.check_mode
            )
        return ensure_collections(
            given["repo"], given["collections"], stage=given["stage"], dry_run=module.check_mode
        )

    call(module, verb)


if __name__ == "__main__":
    main()

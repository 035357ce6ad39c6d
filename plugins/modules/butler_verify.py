#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Compare a Butler repository with what its exports promised."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_verify
short_description: Compare a Butler repository with what its exports promised
description:
  - Compares registry, datastore and disk with one another and with the export files, by dataset type and run; chains
    with their description; validity ranges with those of the exports.
  - Fails where something does not hold, with a list of what. Changes nothing.
  - Each artifact is looked at, its size compared with its record. Those on other machines (C(https), C(s3)) are counted,
    not looked at.
  - A CALIBRATION collection that is searched through a chain and is empty is a failure, unless none of the datasets that
    the exports certify in it is registered.
  - A dataset without an artifact is no failure where its import set allows it (C(missing) is V(skip) or V(register)).
  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  repo:
    description: Folder of the repository, or its label in the repository index.
    type: str
    required: true
  sets:
    description:
      - Import sets as for the module C(butler_import). Without any, registry, datastore and disk are only compared
        with one another.
    type: list
    elements: dict
    default: []
  collections:
    description: Collections as for the module C(butler_chain).
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    description: Nothing is ever changed.
    support: full
  diff_mode:
    description: Nothing is ever changed.
    support: none
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: See whether the replica is what it should be
  butler_verify:
    repo: /repo/dc2
    sets: "{{ dc2_import_sets }}"
    collections: "{{ dc2_collections }}"
"""

RETURN = r"""
ok:
  description: Whether everything holds.
  returned: always, if the repository can be read
  type: bool
failures:
  description: What does not hold, one sentence each.
  returned: always, if the repository can be read
  type: list
  elements: str
notices:
  description: What a reader should know although the import sets allow it, one sentence each.
  returned: always, if the repository can be read
  type: list
  elements: str
report:
  description: All of it as lines for a reader.
  returned: always, if the repository can be read
  type: list
  elements: str
totals:
  description: Numbers of datasets that are promised, registered, recorded, on disk, remote, and without artifact.
  returned: always, if the repository can be read
  type: dict
datasets:
  description: The same by import set, dataset type and run.
  returned: always, if the repository can be read
  type: list
  elements: dict
calibrations:
  description: Numbers of validity ranges by CALIBRATION collection.
  returned: always, if the repository can be read
  type: list
  elements: dict
chains:
  description: Children of every chain.
  returned: always, if the repository can be read
  type: dict
open_chains:
  description: Children that chains lack, since there is no such collection.
  returned: always, if the repository can be read
  type: dict
skipped_collections:
  description: Reason by name of the collections described that are not needed.
  returned: always, if the repository can be read
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.replica import call, fail, progress


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "sets": {"type": "list", "elements": "dict", "default": []},
            "collections": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.holdings.verify import verify

        given = module.params
        result = verify(given["repo"], given["sets"], given["collections"], progress=progress("verify"))
        if not result.ok:
            message = f"{module.params['repo']}: {len(result.failures)} things do not hold: "
            fail(module, message + "; ".join(result.failures[:20]) + ".", **result.to_dict())
        return result

    call(module, verb)


if __name__ == "__main__":
    main()

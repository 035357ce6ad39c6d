#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Register a skymap in a Butler repository."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_skymap
short_description: Register a skymap
description:
  - Registers a skymap with tracts and their patches, without the Science Pipelines. What is there beyond the tracts
    asked for stays.
  - Where the repository has another skymap of this name, or a tract or patch with other values, the module fails.

  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  repo:
    description: Folder of the repository, or its label in the repository index.
    type: str
    required: true
  name:
    description: Name of the skymap, one that C(butler_replica) knows.
    type: str
    default: DC2
  tracts:
    description:
      - Tracts to register, as IDs and ranges of IDs (V(3828), V(4000-4012)).
      - Default are the tracts of the skymap's footprint, where it has one.
    type: list
    elements: str
  all_sky:
    description: Register all tracts; DC2 has 18,938.
    type: bool
    default: false
attributes:
  check_mode:
    description: The repository is opened read-only, and the result is what would be done.
    support: full
  diff_mode:
    description: Shows the numbers of dimension records before and after.
    support: full
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: Register the skymap with the tracts that DC2 covers
  butler_skymap:
    repo: /repo/dc2

- name: Register it with some tracts
  butler_skymap:
    repo: /repo/dc2
    tracts: [3828, 4000-4012]
"""

RETURN = r"""
skymap:
  description: Name of the skymap.
  returned: success
  type: str
  sample: DC2
hash:
  description: SHA-1 of its parameters, in hexadecimal.
  returned: success
  type: str
  sample: 1e5fa85fe242606426528f5f7b8dbf01cbaaff9e
tracts:
  description: Number of tracts asked for.
  returned: success
  type: int
inserted:
  description: Number of new records by dimension element.
  returned: success
  type: dict
present:
  description: Number of records that were there already, by dimension element.
  returned: success
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.replica import call, progress


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "name": {"type": "str", "default": "DC2"},
            "tracts": {"type": "list", "elements": "str"},
            "all_sky": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("tracts", "all_sky")],
        supports_check_mode=True,
    )
    given = module.params

    def verb() -> Any:
        from butler_replica.dimensions.skymap import parse_tracts, register_skymap

        tracts = parse_tracts(",".join(given["tracts"])) if given["tracts"] else None
        return register_skymap(
            given["repo"],
            name=given["name"],
            tracts=tracts,
            all_sky=given["all_sky"],
            dry_run=module.check_mode,
            progress=progress("tracts"),
        )

    call(module, verb)


if __name__ == "__main__":
    main()

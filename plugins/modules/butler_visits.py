#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Define the visits of a Butler repository."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_visits
short_description: Define visits from raw data
description:
  - Defines a visit for each exposure that collections have raw data of, without the Science Pipelines and
    whether or not the artifacts are there.
  - Visits that are there already are kept and compared; what they lack is added. Regions within a milliarcsecond of each
    other are equal.

  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  repo:
    description: Folder of the repository, or its label in the repository index.
    type: str
    required: true
  collections:
    description: Collections with raw data.
    type: list
    elements: str
    required: true
  instrument:
    description: Name of the instrument, one whose focal plane C(butler_replica) knows.
    type: str
    default: LSSTCam-imSim
  visit_system:
    description:
      - Visit systems that the visits belong to. V(one-to-one) is today's (since 2026-02), V(one-to-one-and-by-counter)
        that from 2022-04 to then, V(by-group-metadata) that before.
    type: str
    choices: [one-to-one, one-to-one-and-by-counter, by-group-metadata]
    default: one-to-one
  focal_plane:
    description: Focal plane model, V(nominal) until 2024-02 (DC2's) or that since V(2024).
    type: str
    default: nominal
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
- name: Define the visits of all raw data
  butler_visits:
    repo: /repo/dc2
    collections: [2.2i/raw/all]
"""

RETURN = r"""
exposures:
  description: Numbers of exposures C(found) and of those C(skipped) since they cannot be visits.
  returned: success
  type: dict
different:
  description: How visits that were there already, and stay, differ; by visit.
  returned: success
  type: dict
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
            "collections": {"type": "list", "elements": "str", "required": True},
            "instrument": {"type": "str", "default": "LSSTCam-imSim"},
            "visit_system": {
                "type": "str",
                "choices": ["one-to-one", "one-to-one-and-by-counter", "by-group-metadata"],
                "default": "one-to-one",
            },
            "focal_plane": {"type": "str", "default": "nominal"},
        },
        supports_check_mode=True,
    )
    given = module.params

    def verb() -> Any:
        from butler_replica.dimensions.visits import define_visits

        return define_visits(
            given["repo"],
            given["collections"],
            instrument=given["instrument"],
            visit_system=given["visit_system"],
            focal_plane=given["focal_plane"],
            dry_run=module.check_mode,
            progress=progress("visits"),
        )

    call(module, verb)


if __name__ == "__main__":
    main()

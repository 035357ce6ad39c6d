#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Register an instrument in a Butler repository."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_instrument
short_description: Register an instrument
description:
  - Registers an instrument, its detectors and its physical filters, without the Science Pipelines.
  - Where the repository has one of the records with other values, the module fails and names the columns.

  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  repo:
    description: Folder of the repository, or its label in the repository index.
    type: str
    required: true
  name:
    description: Name of the instrument, one that C(butler_replica) knows.
    type: str
    default: LSSTCam-imSim
  filters:
    description: V(all) physical filters, or a set that the instrument has; V(2022) are the six of DC2's time.
    type: str
    default: all
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
- name: Register the instrument
  butler_instrument:
    repo: /repo/dc2
"""

RETURN = r"""
instrument:
  description: Name of the instrument.
  returned: success
  type: str
  sample: LSSTCam-imSim
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
from ansible.module_utils.replica import call


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "name": {"type": "str", "default": "LSSTCam-imSim"},
            "filters": {"type": "str", "default": "all"},
        },
        supports_check_mode=True,
    )
    given = module.params

    def verb() -> Any:
        from butler_replica.dimensions.instrument import register_instrument

        return register_instrument(
            given["repo"], name=given["name"], filters=given["filters"], dry_run=module.check_mode
        )

    call(module, verb)


if __name__ == "__main__":
    main()

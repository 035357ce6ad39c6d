#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Compare two Butler repositories."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_compare
short_description: Compare two Butler repositories
description:
  - Compares two repositories in every table that a client sees. Databases, generated keys, the time of import and the
    place of the repository may differ. Artifacts are not looked at.
  - Fails where they differ, with what differs. Changes nothing.
  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  repo:
    description: Folder of the repository, or its label in the repository index.
    type: str
    required: true
  other:
    description: The other one.
    type: str
    required: true
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
- name: See whether the new replica is the old one
  butler_compare:
    repo: /repo/dc2
    other: /repo/dc2-of-yesterday
"""

RETURN = r"""
same:
  description: Whether clients see the same in both.
  returned: always, if the repositories can be read
  type: bool
tables:
  description: Numbers of rows of each table, and of those that are only here, only there, or different, with examples.
  returned: always, if the repositories can be read
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.replica import call, fail


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "other": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.holdings.compare import compare

        result = compare(module.params["repo"], module.params["other"])
        if not result.same:
            differing = ", ".join(table.table for table in result.tables if not table.same)
            message = f"{module.params['repo']} and {module.params['other']} differ in {differing}."
            fail(module, message, **result.to_dict())
        return result

    call(module, verb)


if __name__ == "__main__":
    main()

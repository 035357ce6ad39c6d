#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Register a repository in the repository index."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_index
short_description: Register a repository in the repository index
description:
  - Adds an entry to the index that E(DAF_BUTLER_REPOSITORY_INDEX) names, so that C(Butler("dc2")) works. Other entries
    are kept. A label that stands for another repository, which is there, is an error.
  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  path:
    description: The index, a YAML file.
    type: path
    required: true
  label:
    description: The label.
    type: str
    required: true
  root:
    description: The repository folder.
    type: path
    required: true
extends_documentation_fragment: variables
attributes:
  check_mode:
    description: Reports what would be written.
    support: full
  diff_mode:
    description: Shows the index before and after.
    support: full
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: Let Butler("dc2") work
  butler_index:
    path: /etc/dc2-replica/repositories.yaml
    label: dc2
    root: /repo/dc2
"""

RETURN = r"""
path:
  description: The index.
  returned: success
  type: str
actions:
  description: What was done.
  returned: success
  type: list
  elements: str
dry_run:
  description: Whether nothing was done because of check mode.
  returned: success
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.replica import VARIABLES, call


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **VARIABLES,
            "path": {"type": "path", "required": True},
            "label": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.repository.access import ensure_index_entry

        return ensure_index_entry(**module.params, dry_run=module.check_mode)

    call(module, verb)


if __name__ == "__main__":
    main()

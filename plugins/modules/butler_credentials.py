#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Ensure that the butler finds the credentials of a database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_credentials
short_description: Ensure that the butler finds the credentials of a database
description:
  - Sees to it that the butler's credentials file gives the right user and password for a database, and that nobody else
    can read it. Other entries are kept; the new one is put in front of them, since the butler takes the first that
    fits.
  - Run it as the user who works with the repository, with a Python that has C(butler_replica), see the role
    C(lsst_stack).
options:
  path:
    description: The file.
    type: path
    default: ~/.lsst/db-auth.yaml
  url:
    description: URL of the database, without credentials.
    type: str
    required: true
  username:
    description: The user.
    type: str
    required: true
  password:
    description: The password. It is in no result and no diff.
    type: str
    required: true
attributes:
  check_mode:
    description: Reports what would be written.
    support: full
  diff_mode:
    description: Shows the entries, without passwords.
    support: full
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: Let the user into the registry
  butler_credentials:
    url: postgresql://localhost:5432/dc2
    username: dc2
    password: "{{ butler_db_login_password }}"
"""

RETURN = r"""
path:
  description: The file.
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
from ansible.module_utils.replica import call


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "~/.lsst/db-auth.yaml"},
            "url": {"type": "str", "required": True},
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.repository.access import ensure_credentials

        return ensure_credentials(**module.params, dry_run=module.check_mode)

    call(module, verb)


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Make a Butler repository, continue one, or make it anew."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_repository
short_description: Make a Butler repository, continue one, or make it anew
description:
  - Makes the database, the extension C(btree_gist), the repository folder, C(butler.yaml) and the registry, as far as
    they are missing. A repository that is there is continued; keys of C(butler.yaml) that differ are set.
  - Nothing is ever removed unless O(confirm_destroy) is the name of the database (on SQLite, of the repository). Then
    database and folder are removed together and made anew. A removal that was interrupted is finished by the same
    request.
  - Even then it is refused, and nothing is touched, where the folder holds files that the repository has no record of,
    lies above or inside the exports or artifacts of O(sets), is or lies above the new prefix of one of their rules or
    one of their C(roots), is or contains a mount point or somebody's home, or where the database was not made by this
    project for this folder, or is in use. Symbolic links are removed as links.
  - Database credentials are read as the butler does, from C(~/.lsst/db-auth.yaml) or the file that E(LSST_DB_AUTH)
    names.
  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  root:
    description: The repository folder.
    type: path
    required: true
  config:
    description:
      - What C(butler.yaml) must say. C(registry.db) is needed, without credentials; C(<butlerRoot>) stands for the
        folder.
    type: dict
    required: true
  label:
    description: Name of the repository. Default is the name of its folder.
    type: str
    default: ""
  confirm_destroy:
    description:
      - Name of the database, on SQLite of the repository, to remove it and make it anew. Empty, nothing is removed.
        Anything else, a boolean too, is an error that says what to type.
    type: raw
    default: ""
  sets:
    description: Import sets as in C(dc2_import_sets), which say where the data are that are replicated.
    type: list
    elements: dict
    default: []
extends_documentation_fragment: variables
attributes:
  check_mode:
    description: Reports what would be made or removed, or why it would be refused.
    support: full
  diff_mode:
    description: Shows folder, database and C(butler.yaml) before and after.
    support: full
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: A repository with its registry in PostgreSQL
  butler_repository:
    root: /repo/dc2
    config:
      datastore:
        root: <butlerRoot>
      registry:
        db: postgresql://localhost:5432/dc2

- name: The same, made anew
  butler_repository:
    root: /repo/dc2
    config:
      registry:
        db: postgresql://localhost:5432/dc2
    confirm_destroy: dc2
    sets: "{{ dc2_import_sets }}"
"""

RETURN = r"""
root:
  description: The repository folder.
  returned: success
  type: str
  sample: /repo/dc2
name:
  description: What O(confirm_destroy) has to be to remove the replica.
  returned: success
  type: str
  sample: dc2
database:
  description: URL of the database, without credentials.
  returned: success
  type: str
  sample: postgresql://localhost:5432/dc2
created:
  description: Whether the registry was made.
  returned: success
  type: bool
destroyed:
  description: Whether an earlier replica was removed.
  returned: success
  type: bool
removed_files:
  description: Number of artifacts and links that were removed with it.
  returned: success
  type: int
actions:
  description: What was done, in order.
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
            "root": {"type": "path", "required": True},
            "config": {"type": "dict", "required": True},
            "label": {"type": "str", "default": ""},
            "confirm_destroy": {"type": "raw", "default": ""},
            "sets": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.repository.making import ensure_repository

        return ensure_repository(**module.params, dry_run=module.check_mode)

    call(module, verb)


if __name__ == "__main__":
    main()

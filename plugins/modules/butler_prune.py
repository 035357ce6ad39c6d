#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Remove datasets without an artifact from a Butler registry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_prune
short_description: Remove datasets without an artifact from the registry
description:
  - Every dataset whose artifact is not on disk leaves the registry. That is a dataset without a datastore record, or one
    whose file is gone; a symbolic link whose target is gone counts as gone. An empty file or a Git LFS pointer does not;
    it is named by M(butler_verify).
  - No file is removed.
  - Refuses to go on where not one artifact is on disk, or not one symbolic link leads to a file, since this is what data
    that are not mounted look like.
  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  repo:
    description: Folder of the repository, or its label in the repository index.
    type: str
    required: true
  keep:
    description: Dataset types, as names or globs, that stay registered without artifacts.
    type: list
    elements: str
    default: []
  allow_all:
    description: Go on although not one artifact is on disk.
    type: bool
    default: false
attributes:
  check_mode:
    description: The repository is opened read-only, and the result is what would be removed.
    support: full
  diff_mode:
    description: Shows the number of datasets by dataset type before and after.
    support: full
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: Remove what has no artifact, but for the raws
  butler_prune:
    repo: /repo/dc2
    keep: [raw]
"""

RETURN = r"""
datasets:
  description: Numbers of datasets, all dataset types together.
  returned: success
  type: dict
  contains:
    before:
      description: Registered before.
      type: int
    removed:
      description: Removed from the registry.
      type: int
    kept:
      description: Kept although they have no artifact.
      type: int
    after:
      description: Registered after.
      type: int
dataset_types:
  description: The same numbers by dataset type.
  returned: success
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.replica import run


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "keep": {"type": "list", "elements": "str", "default": []},
            "allow_all": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.prune import prune

        return prune(
            module.params["repo"],
            keep=module.params["keep"],
            allow_all=module.params["allow_all"],
            dry_run=module.check_mode,
        )

    run(module, verb)


if __name__ == "__main__":
    main()

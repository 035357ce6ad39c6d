#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Remove datasets without an artifact from a Butler registry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_prune
short_description: Remove datasets without an artifact from the registry
description:
  - Every dataset whose artifact is known to be gone leaves the registry. That is a dataset without a datastore record, or
    one whose file is gone; a symbolic link whose target is gone counts as gone. An empty file or a Git LFS pointer does
    not; it is named by M(butler_verify). An artifact that is not on this machine (C(https), C(s3)) is not looked at, and
    its dataset stays.
  - No file is removed. What leaves the registry is written down before, in C(.dc2-replica/pruned) of the repository, as
    exports that M(butler_import) brings back.
  - Refuses to go on where a folder shows nothing of what is recorded in and below it, since this is what data that are
    not mounted look like, and where more is missing than O(max_share) or O(max_number) allow. Nothing is removed then.
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
  max_share:
    description:
      - Refuse where more than this share of the datasets with an artifact has lost it. Datasets that never had one, and
        those of O(keep), do not count.
    type: float
    default: 0.5
  max_number:
    description: Refuse where more datasets than this have lost their artifact.
    type: int
    default: 1000
  gone:
    description:
      - Folders whose artifacts are gone for good where they are not there, although the folder shows nothing of what is
        recorded in and below it.
    type: list
    elements: path
    default: []
  allow_all:
    description: Take whatever is missing for gone, all of it if need be.
    type: bool
    default: false
extends_documentation_fragment: variables
attributes:
  check_mode:
    description: The repository is opened read-only, and the result is what would be removed.
    support: full
  diff_mode:
    description: Shows what leaves TAGGED and CALIBRATION collections, and the number of datasets by dataset type.
    support: full
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: Remove what has no artifact, but for the raws
  butler_prune:
    repo: /repo/dc2
    keep: [raw]

- name: The old disk will not come back
  butler_prune:
    repo: /repo/dc2
    keep: [raw]
    gone: [/mnt/old]
    max_number: 20000
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
    remote:
      description: Datasets whose artifact is not on this machine, and was not looked for.
      type: int
    after:
      description: Registered after.
      type: int
dataset_types:
  description: The same numbers by dataset type.
  returned: success
  type: dict
collections:
  description: Datasets that leave TAGGED and CALIBRATION collections, by dataset type.
  returned: success
  type: dict
  sample: {TAGGED u/me/best: {calexp: 3}}
written_to:
  description: Folder where what left the registry is written down; empty where nothing did.
  returned: success
  type: str
  sample: /repo/dc2/.dc2-replica/pruned
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.replica import VARIABLES, call


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **VARIABLES,
            "repo": {"type": "str", "required": True},
            "keep": {"type": "list", "elements": "str", "default": []},
            "max_share": {"type": "float", "default": 0.5},
            "max_number": {"type": "int", "default": 1000},
            "gone": {"type": "list", "elements": "path", "default": []},
            "allow_all": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.holdings.prune import prune

        return prune(
            module.params["repo"],
            keep=module.params["keep"],
            max_share=module.params["max_share"],
            max_number=module.params["max_number"],
            gone=module.params["gone"],
            allow_all=module.params["allow_all"],
            dry_run=module.check_mode,
        )

    call(module, verb)


if __name__ == "__main__":
    main()

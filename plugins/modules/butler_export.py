#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Export datasets of a Butler repository."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_export
short_description: Export datasets of a Butler repository
description:
  - Writes datasets of a repository, with all that they need, to export files that the stock C(butler import) reads, too.
  - There is one folder for each dataset type. A file is complete in itself, and complete or not there; the same source
    gives the same bytes. The repository is only read.
  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  source:
    description: Folder of the repository, or its label in the repository index.
    type: str
    required: true
  out:
    description: Folder to write to. It is empty or not there, or holds an export of the same and O(resume) is set.
    type: str
    required: true
  dataset_types:
    description: Names and globs of dataset types.
    type: list
    elements: str
    default: ["*"]
  collections:
    description: Names and globs of collections. Of a chain all that is in it is taken. Tags, validity ranges and chains
      come as the source has them.
    type: list
    elements: str
    default: ["*"]
  where:
    description: An expression in the butler's own language. All datasets if empty.
    type: str
    default: ""
  chunk:
    description: Largest number of datasets in one file.
    type: int
    default: 10000
  artifacts:
    description: V(list) writes the artifacts of each dataset type to C(_files.txt), path, size in bytes and checksum, as
      far as the source knows them.
    type: str
    choices: [list, none]
    default: list
  format:
    description: Form of the files.
    type: str
    choices: [yaml, yaml.gz]
    default: yaml
  paths:
    description: How artifacts are named. V(stored) as the source records them, V(absolute) with the whole path or URI,
      V(relative) below the source's datastore wherever they lie there.
    type: str
    choices: [stored, absolute, relative]
    default: stored
  missing:
    description: What a dataset does that is in the source's registry alone. V(fail) ends the export, V(skip) leaves it
      out, V(register) exports it without a path, which the stock importer does not take.
    type: str
    choices: [fail, skip, register]
    default: register
  resume:
    description: Continue an export of the same that is there.
    type: bool
    default: false
attributes:
  check_mode:
    description: Says what would be written; the repository is opened read-only as ever.
    support: full
  diff_mode:
    description: Files are too large to be shown.
    support: none
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: Export the calibrations
  butler_export:
    source: /repo/dc2
    out: /scratch/calib
    collections: [2.2i/calib]
    resume: true
"""

RETURN = r"""
out:
  description: The folder.
  returned: always
  type: str
registry:
  description: Numbers of files without datasets, where everything is exported, and of those written.
  returned: always
  type: dict
dataset_types:
  description: Of each dataset type numbers of datasets, files, files written, datasets without artifact, artifacts, and
    the size of the artifacts in bytes.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.replica import call


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "str", "required": True},
            "out": {"type": "str", "required": True},
            "dataset_types": {"type": "list", "elements": "str", "default": ["*"]},
            "collections": {"type": "list", "elements": "str", "default": ["*"]},
            "where": {"type": "str", "default": ""},
            "chunk": {"type": "int", "default": 10000},
            "artifacts": {"type": "str", "choices": ["list", "none"], "default": "list"},
            "format": {"type": "str", "choices": ["yaml", "yaml.gz"], "default": "yaml"},
            "paths": {"type": "str", "choices": ["stored", "absolute", "relative"], "default": "stored"},
            "missing": {"type": "str", "choices": ["fail", "skip", "register"], "default": "register"},
            "resume": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.source.export import export

        return export(**module.params, dry_run=module.check_mode)

    call(module, verb)


if __name__ == "__main__":
    main()

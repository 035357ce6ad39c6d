#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Import sets of exports into a Butler repository."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_import
short_description: Import exports into a Butler repository
description:
  - Imports the export files of import sets, one set after the other. Each file is one transaction.
  - The first set that fails ends the run, and the message names it. What was imported before stays.
  - What is in the repository already is left alone, so that a rerun changes nothing, and a run that was interrupted is
    continued. Nothing is ever removed. The exports and the folders of the artifacts are only read.
  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  repo:
    description: Folder of the repository, or its label in the repository index.
    type: str
    required: true
extends_documentation_fragment:
  - described.import_sets
attributes:
  check_mode:
    description: The repository is opened read-only, and the result is what would be done.
    support: full
  diff_mode:
    description: Shows what is new, with the number of datasets by dataset type and run.
    support: full
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: Import the raws that have artifacts
  butler_import:
    repo: /repo/dc2
    sets:
      - name: raw_with_artifacts
        exports: /repo/dp02_raws/export_raw.yaml
        missing: skip

- name: Import calibrations whose artifacts are in a backup
  butler_import:
    repo: /repo/dc2
    sets:
      - name: camera
        exports: [/repo/usdf_export_calib/camera]
        artifacts: /repo/dc2_ncsa_backup
        rewrite:
          - old: /projects/HSC/repo/dc2
            new: /repo/dc2_ncsa_backup
        collections: drop-chains
"""

RETURN = r"""
dry_run:
  description: Whether this is what would be done.
  returned: success
  type: bool
sets:
  description: What was done, by the name of the import set. Each is a dictionary of what follows.
  returned: success
  type: dict
  contains:
    changed:
      description: Whether the set changed anything.
      type: bool
    datasets:
      description: Numbers of datasets.
      type: dict
      contains:
        found:
          description: Datasets in the export files.
          type: int
        inserted:
          description: Datasets that are new in the registry.
          type: int
        present:
          description: Datasets that were there already.
          type: int
        missing:
          description: Datasets whose artifact is missing.
          type: int
        stored:
          description: Datasets whose artifact was brought into the repository.
          type: int
        artifacts_added:
          description: Those of them that were registered before, without an artifact.
          type: int
    inserted:
      description: Numbers of new datasets, by C(dataset_type) and C(run).
      type: list
      elements: dict
    files:
      description: The same for each export file, with its new dataset types and collections.
      type: list
      elements: dict
    artifacts_renewed:
      description: Number of datasets that were stored already, whose artifact was lost or lay elsewhere, and is there now.
      type: int
    missing:
      description: The first artifacts that are missing.
      type: list
      elements: dict
    dimension_records:
      description: Number of new dimension records.
      type: int
    associations:
      description: Number of new associations with TAGGED and CALIBRATION collections.
      type: int
    associations_dropped:
      description: Number of associations left out together with their datasets.
      type: int
    chains:
      description: Children of the chains that were made or completed.
      type: dict
    open_chains:
      description: Children that chains of the exports lack, since there is no such collection yet.
      type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.described import IMPORT_SET
from ansible.module_utils.replica import call, progress


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "sets": {"type": "list", "elements": "dict", "required": True, "options": IMPORT_SET},
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.dimensions.made import KNOWN_RECORDS
        from butler_replica.imports.several import import_sets

        return import_sets(
            module.params["repo"],
            module.params["sets"],
            dry_run=module.check_mode,
            maker=KNOWN_RECORDS,
            progress=lambda name: progress(f"import set {name}"),
        )

    call(module, verb)


if __name__ == "__main__":
    main()

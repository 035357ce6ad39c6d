#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Import one set of exports into a Butler repository."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_import
short_description: Import exports into a Butler repository
description:
  - Imports the export files of one import set. Each file is one transaction.
  - What is in the repository already is left alone, so that a rerun changes nothing, and a run that was interrupted is
    continued. Nothing is ever removed. The exports and the folders of the artifacts are only read.
  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  repo:
    description: Folder of the repository, or its label in the repository index.
    type: str
    required: true
  set:
    description: The import set.
    type: dict
    required: true
    suboptions:
      name:
        description: Name of the set, for messages.
        type: str
        required: true
      stage:
        description: Stage of the replication that the set belongs to. Makes no difference here.
        type: str
        choices: [instrument, skymap, calib, refcats, raw, visits, products]
      exports:
        description:
          - Export files, folders (their C(*.yaml), compressed ones such as C(*.yaml.gz) too), or globs; one, or a list.
        type: raw
        required: true
      artifacts:
        description: Folder where relative artifact paths begin. Default is the folder of each export file.
        type: path
      rewrite:
        description:
          - Prefixes of artifact paths and what stands in their place here. The longest that fits is used; names of
            collections are never rewritten.
          - A list of C({old, new}), of pairs or of C(OLD=NEW), or a mapping.
          - Rules are for URIs, too. What a rule makes of a path is where artifacts may be taken from.
        type: raw
        default: []
      roots:
        description:
          - Further folders that artifacts may be taken from. Others are those of O(set.artifacts), of the export file
            and of O(set.rewrite); what lies elsewhere, links followed, counts as missing.
        type: list
        elements: path
        default: []
      collections:
        description:
          - Which collections of the exports are taken. V(keep) takes all, V(drop-chains) all but the CHAINED ones,
            V(drop) none but the runs that the datasets need.
          - V(associations) brings nothing but associations with TAGGED and CALIBRATION collections, of datasets that are
            in the repository already; no dataset, run or dimension record comes with them.
        type: str
        choices: [keep, drop-chains, drop, associations]
        default: keep
      missing:
        description:
          - What a dataset whose artifact is missing does. V(fail) fails its export file, of which nothing is kept;
            V(skip) leaves the dataset out; V(register) has it in the registry only.
        type: str
        choices: [fail, skip, register]
        default: fail
      placeholders:
        description: What an empty file or a Git LFS pointer in place of an artifact is, missing or taken as it is.
        type: str
        choices: [missing, accept]
        default: missing
      formatters:
        description:
          - Packages whose formatters are trusted, beside C(lsst). Whoever reads a dataset imports and calls its
            formatter, which is a name in the export.
        type: list
        elements: str
        default: []
      unknown_formatters:
        description:
          - What formatters of other packages do. V(notice) names them in the result, V(refuse) fails their export file.
        type: str
        choices: [notice, refuse]
        default: notice
      transfer:
        description:
          - How artifacts become the repository's. V(link) makes hard links where the file system allows it and
            symbolic links elsewhere; V(direct) records where the artifacts are; V(none) expects them inside the
            repository.
        type: str
        choices: [symlink, relsymlink, copy, hardlink, link, direct, none]
        default: symlink
      runs:
        description: Runs that are made whether datasets need them or not.
        type: list
        elements: str
        default: []
      register:
        description:
          - Make the dimension records of LSSTCam-imSim and of the skymap DC2 that datasets need and that neither the
            export nor the repository has. Without it their lack is an error, as that of any others is.
        type: bool
        default: false
      exclusive:
        description:
          - Take foreign keys away while many datasets are inserted, on PostgreSQL. Whoever else uses the database waits
            meanwhile, even to read. Otherwise that is done where nobody else is connected to it.
        type: bool
        default: false
      instrument:
        description: Instrument of the datasets. Registered by M(butler_instrument), not here.
        type: str
        choices: [LSSTCam-imSim]
      skymap:
        description: Skymap of the datasets. Registered by M(butler_skymap), not here.
        type: str
        choices: [DC2]
      visits:
        description: Collection of raws that get visits. Defined by M(butler_visits), not here.
        type: str
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
    set:
      name: raw_with_artifacts
      exports: /repo/dp02_raws/export_raw.yaml
      missing: skip

- name: Import calibrations whose artifacts are in a backup
  butler_import:
    repo: /repo/dc2
    set:
      name: camera
      exports: [/repo/usdf_export_calib/camera]
      artifacts: /repo/dc2_ncsa_backup
      rewrite:
        - old: /projects/HSC/repo/dc2
          new: /repo/dc2_ncsa_backup
      collections: drop-chains
"""

RETURN = r"""
datasets:
  description: Numbers of datasets.
  returned: success
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
  returned: success
  type: list
  elements: dict
files:
  description: The same for each export file, with its new dataset types and collections.
  returned: success
  type: list
  elements: dict
artifacts_renewed:
  description: Number of datasets that were stored already, whose artifact was lost or lay elsewhere, and is there now.
  returned: success
  type: int
missing:
  description: The first artifacts that are missing.
  returned: success
  type: list
  elements: dict
dimension_records:
  description: Number of new dimension records.
  returned: success
  type: int
associations:
  description: Number of new associations with TAGGED and CALIBRATION collections.
  returned: success
  type: int
associations_dropped:
  description: Number of associations left out together with their datasets.
  returned: success
  type: int
chains:
  description: Children of the chains that were made or completed.
  returned: success
  type: dict
open_chains:
  description: Children that chains of the exports lack, since there is no such collection yet.
  returned: success
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.replica import progress, run


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "set": {
                "type": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "stage": {
                        "type": "str",
                        "choices": ["instrument", "skymap", "calib", "refcats", "raw", "visits", "products"],
                    },
                    "exports": {"type": "raw", "required": True},
                    "artifacts": {"type": "path"},
                    "rewrite": {"type": "raw", "default": []},
                    "roots": {"type": "list", "elements": "path", "default": []},
                    "collections": {
                        "type": "str",
                        "choices": ["keep", "drop-chains", "drop", "associations"],
                        "default": "keep",
                    },
                    "missing": {
                        "type": "str",
                        "choices": ["fail", "skip", "register"],
                        "default": "fail",
                    },
                    "placeholders": {
                        "type": "str",
                        "choices": ["missing", "accept"],
                        "default": "missing",
                    },
                    "formatters": {"type": "list", "elements": "str", "default": []},
                    "unknown_formatters": {
                        "type": "str",
                        "choices": ["notice", "refuse"],
                        "default": "notice",
                    },
                    "transfer": {
                        "type": "str",
                        "choices": ["symlink", "relsymlink", "copy", "hardlink", "link", "direct", "none"],
                        "default": "symlink",
                    },
                    "runs": {"type": "list", "elements": "str", "default": []},
                    "register": {"type": "bool", "default": False},
                    "exclusive": {"type": "bool", "default": False},
                    "instrument": {"type": "str", "choices": ["LSSTCam-imSim"]},
                    "skymap": {"type": "str", "choices": ["DC2"]},
                    "visits": {"type": "str"},
                },
            },
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.errors import ReplicaError
        from butler_replica.imports.importer import import_exports
        from butler_replica.sets import parse_sets

        (wanted,) = parse_sets([module.params["set"]])
        try:
            return import_exports(
                module.params["repo"],
                wanted.exports,
                wanted,
                dry_run=module.check_mode,
                progress=progress(f"import set {wanted.name}"),
            )
        except ReplicaError as error:
            raise ReplicaError(f"import set '{wanted.name}': {error}") from error

    run(module, verb)


if __name__ == "__main__":
    main()

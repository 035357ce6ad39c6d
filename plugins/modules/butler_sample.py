#!/usr/bin/python
# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Make a miniature DC2 in the layout of the real data."""

from __future__ import annotations

DOCUMENTATION = r"""
module: butler_sample
short_description: Make a miniature DC2 in the layout of the real data
description:
  - Writes the data that a replica of DC2 is made from, in small, with C(lsst-daf-butler) alone. Export files are
    written by the butler's own exporter, artifacts are small real files, some are missing as they are in reality.
  - Nothing is ever deleted. A sample of the same size that is there already is left as it is, one that was
    interrupted is continued.
  - Runs with a Python that has C(butler_replica), see the role C(lsst_stack).
options:
  path:
    description: Folder of the sample. It is new, empty, or holds a sample of the same size; anything else is refused.
    type: path
    required: true
  exposures:
    description: Number of exposures, 2 or more.
    type: int
    default: 6
  detectors:
    description: Number of detectors that have datasets, 2 to 189. All 189 are registered.
    type: int
    default: 3
attributes:
  check_mode:
    description: In check mode the sample is planned and described, not written.
    support: full
  diff_mode:
    description: Shows the number of datasets and of missing artifacts by dataset type.
    support: full
author:
  - the dc2-replica developers
"""

EXAMPLES = r"""
- name: Make the sample where the data would be mounted
  butler_sample:
    path: /repo
    exposures: 6
    detectors: 3
"""

RETURN = r"""
dry_run:
  description: Whether nothing was written because of check mode.
  returned: success
  type: bool
directory:
  description: Folder of the sample.
  returned: success
  type: str
  sample: /repo
exposures:
  description: Number of exposures.
  returned: success
  type: int
detectors:
  description: Number of detectors that have datasets.
  returned: success
  type: int
datasets:
  description: Number of datasets by dataset type.
  returned: success
  type: dict
  sample: {raw: 18, bfk: 3}
missing:
  description: Number of datasets whose artifact is nowhere, by dataset type.
  returned: success
  type: dict
  sample: {raw: 2}
missing_artifacts:
  description: Paths of up to ten missing artifacts of each dataset type; C(.dc2-sample.json) in the folder names all.
  returned: success
  type: dict
exports:
  description: Export files, relative to the folder.
  returned: success
  type: list
  elements: str
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.replica import call


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "exposures": {"type": "int", "default": 6},
            "detectors": {"type": "int", "default": 3},
        },
        supports_check_mode=True,
    )

    def verb() -> Any:
        from butler_replica.sample import make_sample

        # Data are for every user, whatever the umask of the one who writes them.
        os.umask(0o022)
        return make_sample(
            Path(module.params["path"]),
            exposures=module.params["exposures"],
            detectors=module.params["detectors"],
            dry_run=module.check_mode,
        )

    call(module, verb)


if __name__ == "__main__":
    main()

# Copyright: the dc2-replica developers
# SPDX-License-Identifier: BSD-3-Clause
"""Documentation of the option by which messages name the variables of a playbook."""

from __future__ import annotations


class ModuleDocFragment:
    """An option of modules, see ``VARIABLES`` in ``module_utils/replica.py``."""

    DOCUMENTATION = r"""
options:
  variables:
    description:
      - The variables that set the options of this task, by the names of the options; keys of a dictionary are dotted.
        An error that is about an option names its variable.
    type: dict
    default: {}
"""

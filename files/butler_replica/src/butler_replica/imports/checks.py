"""Whether the names that a plan is to register are such that a repository can have.

Dataset types and collections are registered before the transaction, so that a
value that a table refuses would leave them behind: it is found beforehand.
"""

from __future__ import annotations

__all__ = ["check_definitions"]

from pathlib import Path

from lsst.daf.butler import CollectionType

from ..errors import ExportError
from ..exports.values import LONGEST_DOC, LONGEST_NAME, REMEDY, leads_out, shortened, text_problem
from .file_plan import Definitions


def check_definitions(export: Path, definitions: Definitions) -> None:
    """Check the names of what is to be registered.

    Parameters
    ----------
    export : `pathlib.Path`
        The export that they come from.
    definitions : `~butler_replica.imports.file_definitions.Definitions`
        The dataset types and collections.

    Raises
    ------
    ExportError
        Raised if a table cannot hold one of them, or if a chain contains
        itself.
    """

    def check(what: str, value: str, longest: int = LONGEST_NAME) -> None:
        if problem := text_problem(value, longest):
            raise ExportError(export, f"{what} {problem}.", remedy=REMEDY)

    for item in definitions.collections:
        check(f"the name of collection {shortened(item.name)}", item.name)
        if item.type is CollectionType.RUN and leads_out(item.name):
            raise ExportError(export, f"the run {item.name!r} leads out of the repository.", remedy=REMEDY)
    for name, children in definitions.chains.items():
        check(f"the name of chain {shortened(name)}", name)
        if name in children:
            raise ExportError(export, f"chain {name!r} has itself as a child.", remedy=REMEDY)
    for doc in (*(item.doc for item in definitions.collections), *definitions.docs.values()):
        check("the documentation of a collection", doc or "-", LONGEST_DOC)
    for dataset_type in definitions.dataset_types:
        check(f"the name of dataset type {shortened(dataset_type.name)}", dataset_type.name)
        storage_class = dataset_type.storageClass_name
        check(f"the storage class of {dataset_type.name}", storage_class)

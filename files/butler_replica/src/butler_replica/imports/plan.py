"""Comparing an export with a repository: what is there, what is to be added, what stands in the way.

A plan is complete before anything is written, so that whatever can be known
beforehand is an error while nothing has changed. It only ever adds.
"""

from __future__ import annotations

__all__ = ["planned"]

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from lsst.daf.butler import Butler

from ..artifacts.finder import ArtifactFinder, make_finder
from ..artifacts.listing import Listing
from ..collections.associations import associations_only
from ..dimensions.needed import NeededRecords, RecordMaker
from ..exports.model import ExportFile
from ..internals import datastore_root
from ..options import ImportOptions
from .associations import AssociationPlanner
from .datasets import DatasetContext, PlannedDatasets
from .definitions import DefinitionPlanner, KnownDefinitions
from .dimension_records import PlannedRecords
from .file_plan import Associations, FilePlan
from .formatters import check_formatters
from .ways import Ways


@contextmanager
def planned(
    butler: Butler,
    export: ExportFile,
    options: ImportOptions,
    listing: Listing,
    *,
    ways: Ways,
    maker: RecordMaker | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[FilePlan, PlannedDatasets]]:
    """Compare an export with a repository.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository; it is only read.
    export : `ExportFile`
        What the export says.
    options : `~butler_replica.options.ImportOptions`
        How it is to be imported.
    listing : `~butler_replica.artifacts.listing.Listing`
        Which files there are.
    ways : `~butler_replica.imports.ways.Ways`
        Of which the datasets take one.
    maker : `~butler_replica.dimensions.needed.RecordMaker`, optional
        Who can make dimension records that are missing.
    tell : `~collections.abc.Callable`, optional
        Called with the number of datasets that have been looked at.

    Yields
    ------
    plan : `FilePlan`
        What there is to do.
    way : `~butler_replica.imports.datasets.PlannedDatasets`
        Does it for the datasets; what it keeps of them is forgotten in the
        end.

    Raises
    ------
    ExportError
        Raised if the export contradicts itself, or does not fit the
        repository's universe.
    ConflictError
        Raised if the repository has something else under the same name.
    ArtifactError
        Raised if artifacts are missing and ``options.missing`` is ``fail``.
    """
    n_found, n_associated = export.n_datasets, len(export.associated())
    export, there = (
        associations_only(butler, export) if options.collections == "associations" else (export, {})
    )
    finder = _finder(butler, export, options, listing)
    notices = [*export.notices]
    needed = NeededRecords(butler.dimensions, maker, register=options.register)
    records = PlannedRecords(butler, export, needed, notices)
    known = KnownDefinitions(butler)
    definer = DefinitionPlanner(export, options, known, notices)
    definitions = definer.plan()
    context = DatasetContext(
        butler,
        export,
        options,
        finder,
        records.lookup,
        definer.dataset_types,
        known.has,
    )
    with closing(ways.choose(context, tell)) as way:
        way.require_records()
        notices.append(
            check_formatters(export.path, way.formatters, options.formatters, options.unknown_formatters)
        )
        new_records = records.complete()
        way.compare()
        associations = Associations()
        if options.collections != "drop":
            associations = AssociationPlanner(butler, export, known, way, there).plan()
        facts = way.facts()
        notices += [ways.notice(export.n_datasets), way.outside_notice]
        plan = FilePlan(
            export.path,
            n_found,
            new_records,
            definitions,
            replace(facts, present=facts.present + len(there)),
            replace(associations, n_dropped=associations.n_dropped + n_associated - len(export.associated())),
            [notice for notice in notices if notice],
        )
        yield plan, way


def _finder(butler: Butler, export: ExportFile, options: ImportOptions, listing: Listing) -> ArtifactFinder:
    # With 'none', artifacts are in the repository.
    own = [datastore_root(butler)] if options.transfer == "none" else []
    return make_finder(
        export.path,
        listing,
        artifacts=options.artifacts,
        rewrite=options.rewrite,
        roots=[*options.roots, *own],
        placeholders=options.placeholders,
        remote=options.transfer == "direct",
    )

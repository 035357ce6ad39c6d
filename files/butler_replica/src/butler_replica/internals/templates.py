"""Paths of very many artifacts by a file template of the datastore; see the package for what is private here.

`lsst.daf.butler.datastore.file_templates.FileTemplate.format` takes a data ID
with all its dimension records, and as long as everything else that is done
for a dataset. Here each field of the template is formatted once for each
value that it has. The template's own method decides: it is asked whenever a
value is new, and where it says something else, it is asked for every dataset.
"""

from __future__ import annotations

__all__ = ["TemplatePaths"]

import contextlib
import logging
import os
import string
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from lsst.daf.butler import Butler, DataCoordinate, DatasetRef, DatasetType

from .datasets import file_datastore

_LOG = logging.getLogger(__name__)

_UNSAFE = str.maketrans(dict.fromkeys(' <>:"\\|?*', "_"))
_KEPT = 100_000
"""Values of one field that are remembered."""


class _Field(NamedTuple):
    """A field of a template, and the literal text before it."""

    literal: str
    name: str
    """Of a dimension, or ``dimension.attribute`` of its record; empty where the literal is all."""

    spec: str
    conversion: str | None
    keeps_slash: bool
    positions: tuple[int, ...]
    """Places, among the required dimensions, of those that decide the value."""


class TemplatePaths:
    """Where the datastore puts artifacts of one dataset type and run.

    Parameters
    ----------
    butler : `lsst.daf.butler.Butler`
        The repository.
    dataset_type : `lsst.daf.butler.DatasetType`
        Dataset type.
    run : `str`
        Run.
    expand : `~collections.abc.Callable`
        Attaches dimension records to a data ID.
    """

    def __init__(
        self,
        butler: Butler,
        dataset_type: DatasetType,
        run: str,
        expand: Callable[[DataCoordinate], DataCoordinate],
    ) -> None:
        self._type = dataset_type
        self._run = run
        self._expand = expand
        self._templates = file_datastore(butler).templates
        self._template: Any = None
        self._fields: list[_Field] | None = None
        self._known: list[dict[tuple[Any, ...], str]] = []

    def path(self, values: tuple[Any, ...], dataset_id: bytes) -> str:
        """Return where an artifact goes, without extension.

        Parameters
        ----------
        values : `tuple`
            Required values of the data ID.
        dataset_id : `bytes`
            ID of the dataset.

        Returns
        -------
        path : `str`
            Path relative to the root of the datastore.
        """
        if self._template is None:
            return self._begin(values, dataset_id)
        if self._fields is None:
            return self._format(self._expanded(values, dataset_id))
        parts = []
        try:
            for field, known in zip(self._fields, self._known, strict=True):
                parts.append(known[tuple([values[i] for i in field.positions])])
        except KeyError:
            return self._learn(values, dataset_id)
        return _finished("".join(parts))

    def _expanded(self, values: tuple[Any, ...], dataset_id: bytes) -> DatasetRef:
        data_id = self._expand(DataCoordinate.from_required_values(self._type.dimensions, values))
        return DatasetRef(self._type, data_id, self._run, id=uuid.UUID(bytes=dataset_id), conform=False)

    def _format(self, ref: DatasetRef) -> str:
        return self._templates.getTemplate(ref).format(ref)

    def _begin(self, values: tuple[Any, ...], dataset_id: bytes) -> str:
        ref = self._expanded(values, dataset_id)
        self._template = self._templates.getTemplate(ref)
        # Where instruments have templates of their own, or something in the template is
        # not known here, the template's own method does it.
        if not any(key.dataId for key in self._templates.templates):
            with contextlib.suppress(ValueError, KeyError):
                self._fields = list(self._parse(ref))
                self._known = [{} for _ in self._fields]
        return self.path(values, dataset_id)

    def _parse(self, ref: DatasetRef) -> Any:
        """Yield the fields that a template has for this dataset type; `ValueError` for those not known here."""
        available = {*ref.dataId.mapping, "datasetType", "run"}
        skypix = ref.dataId.dimensions.skypix
        if len(skypix) == 1:
            available.add("skypix")
        for literal, names, full_spec, conversion in string.Formatter().parse(self._template.template):
            if names is None or full_spec is None:
                yield _Field(literal, "", "", None, keeps_slash=True, positions=())
                continue
            alternatives = names.split("|")
            name = next((n for n in alternatives if n.partition(".")[0] in available), alternatives[0])
            optional, keeps_slash = "?" in full_spec, "/" in full_spec
            spec = full_spec.replace("?", "").replace("/", "")
            if name == "skypix" and name in available:
                (name,) = skypix
            dimension, _, attribute = name.partition(".")
            if dimension not in available or (
                attribute and not hasattr(self._record(ref, dimension), attribute)
            ):
                if not optional or dimension == "id":
                    raise ValueError(name)
                yield _Field(literal if "/" in literal else "", "", "", None, keeps_slash=True, positions=())
                continue
            yield _Field(literal, name, spec, conversion, keeps_slash, self._positions(dimension))

    @staticmethod
    def _record(ref: DatasetRef, dimension: str) -> Any:
        return ref.dataId.records[dimension]

    def _positions(self, name: str) -> tuple[int, ...]:
        """Places of the required dimensions that decide the value, or the record, of a dimension."""
        if name in ("datasetType", "run"):
            return ()
        required = list(self._type.dimensions.required)
        universe = self._type.dimensions.universe
        for dimension in required:
            if name in {dimension, *_implied(universe[dimension])}:
                return tuple(required.index(n) for n in universe[dimension].required.names)
        return tuple(range(len(required)))

    def _learn(self, values: tuple[Any, ...], dataset_id: bytes) -> str:
        """Format what is new, and ask the template's own method whether that is right."""
        assert self._fields is not None  # noqa: S101
        ref = self._expanded(values, dataset_id)
        path = self._format(ref)
        parts = []
        for field, known in zip(self._fields, self._known, strict=True):
            if len(known) > _KEPT:
                known.clear()
            part = known[tuple(values[i] for i in field.positions)] = self._part(field, ref)
            parts.append(part)
        if _finished("".join(parts)) != path:
            _LOG.warning("The file template of %s is formatted the slow way.", self._type.name)
            self._fields = None
        return path

    def _part(self, field: _Field, ref: DatasetRef) -> str:
        if not field.name:
            return field.literal
        dimension, _, attribute = field.name.partition(".")
        value: Any
        if dimension == "datasetType":
            value = ref.datasetType.name
        elif dimension == "run":
            value = ref.run
        elif attribute:
            value = getattr(self._record(ref, dimension), attribute)
        else:
            value = ref.dataId.mapping[dimension]
        if isinstance(value, str):
            value = value.translate(_UNSAFE)
            if not field.keeps_slash:
                value = value.replace("/", "_")
        if field.conversion:
            value = string.Formatter().convert_field(value, field.conversion)
        return field.literal + format(value, field.spec)


def _implied(element: Any) -> set[str]:
    """Dimensions that a dimension implies, and those that they imply."""
    found: set[str] = set()
    for implied in element.implied:
        found |= {implied.name} | _implied(implied)
    return found


def _finished(path: str) -> str:
    head, tail = os.path.split(path)
    path = os.path.normpath(os.path.join(head, tail.replace(".", "_").replace("#", "HASH")))
    return os.path.relpath(path, "/") if os.path.isabs(path) else path

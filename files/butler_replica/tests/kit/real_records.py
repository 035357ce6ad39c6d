"""Dimension records in real export files: made by the Science Pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lsst.sphgeom import ConvexPolygon


class _Loader(yaml.SafeLoader):
    """Reads exports; of the tags only the regions matter."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
_Loader.add_constructor(
    "lsst.sphgeom.ConvexPolygon",
    lambda loader, node: ConvexPolygon.decode(bytes.fromhex(loader.construct_mapping(node)["encoded"])),
)


def real_records(path: Path, element: str) -> list[dict[str, Any]]:
    """Read the records of a dimension element."""
    text = path.read_text()
    # Dimension records come first; the datasets behind them need not be read.
    text = text[: text.index("\n- type: collection")]
    return [
        record
        for item in yaml.load(text, Loader=_Loader)["data"]
        if item.get("element") == element
        for record in item["records"]
    ]

"""Which tables are a registry's own, and what else lies in its database.

The butler itself says which tables a registry has: one is made for the same
dimensions, in a file that is thrown away, and read. Tables that are made when
they are needed are listed by the registry. Whatever is neither is somebody's.
"""

from __future__ import annotations

__all__ = ["FOREIGN_OBJECTS", "own_tables"]

import contextlib
import functools
import gc
import json
import sqlite3
import tempfile
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, DimensionConfig

_LISTED = (
    ("dataset_type", "tag_association_table"),
    ("dataset_type", "calibration_association_table"),
    ("opaque_meta", "table_name"),
)
"""Columns with the names of tables that are made when they are needed."""

_DIMENSIONS = "config:dimensions.json"
_OBSCORE = "config:obscore.json"

FOREIGN_OBJECTS = """
    WITH object AS (
        -- What depends on nothing but its schema, an owner or other objects: indexes, constraints, sequences of
        -- columns, members of extensions and the like go with something else.
        SELECT classid, objid FROM pg_depend AS d
        WHERE objid >= 16384 AND NOT EXISTS (
            SELECT FROM pg_depend AS x
            WHERE x.classid = d.classid AND x.objid = d.objid AND x.objsubid = 0
            AND x.deptype IN ('a', 'i', 'e', 'P', 'S'))
        -- What need not depend on anything.
        UNION SELECT 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata
        UNION SELECT 'pg_publication'::regclass, oid FROM pg_publication
        UNION SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
        UNION SELECT 'pg_trigger'::regclass, oid FROM pg_trigger WHERE NOT tgisinternal
        UNION SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE oid >= 16384 AND NOT EXISTS (
            SELECT FROM pg_depend AS x
            WHERE x.classid = 'pg_namespace'::regclass AND x.objid = pg_namespace.oid AND x.deptype = 'e')
    )
    SELECT i.type, coalesce(of.nspname, ''), coalesce(c.relname, n.nspname, i.name, ''), i.identity
    FROM object
    LEFT JOIN pg_class AS c ON classid = 'pg_class'::regclass AND c.oid = objid
    LEFT JOIN pg_namespace AS of ON of.oid = c.relnamespace
    LEFT JOIN pg_namespace AS n ON classid = 'pg_namespace'::regclass AND n.oid = objid,
    pg_identify_object(classid, objid, 0) AS i
    WHERE coalesce(i.schema, i.name, '') !~ '^pg_(toast_)?temp(_|$)'
    AND coalesce(n.nspname, '') NOT IN ('public', :schema)
    AND NOT (i.type = 'extension' AND i.name IN ('btree_gist', 'plpgsql'))
    ORDER BY i.type = 'table' DESC, i.type, i.identity
"""
"""Everything in a PostgreSQL database that belongs to nothing else in it, the registry's tables among it.

Kind, schema and name as they are (of what is like a table), and what identifies it for a reader.
"""


def own_tables(tables: Set[str], rows: Callable[..., list[Any]]) -> frozenset[str]:
    """Return those tables of a schema that are the registry's.

    Parameters
    ----------
    tables : `~collections.abc.Set` [ `str` ]
        Names of the tables that are there.
    rows : `~collections.abc.Callable`
        Returns all rows of a table, given its name and those of columns.

    Returns
    -------
    own : `frozenset` [ `str` ]
        Those that the butler has made, or would make.
    """
    attributes = {}
    if "butler_attributes" in tables:
        attributes = dict(rows("butler_attributes", "name", "value"))
    own = {*_made_by_the_butler(str(attributes.get(_DIMENSIONS) or ""))}
    for table, part in _LISTED:
        if table in tables:
            own.update(name for (name,) in rows(table, part))
    if _OBSCORE in attributes:
        own.add(json.loads(attributes[_OBSCORE]).get("table_name", "obscore"))
    return frozenset(own & tables)


@functools.cache
def _made_by_the_butler(dimensions: str) -> frozenset[str]:
    """Return the tables of an empty registry; without dimensions, of one that this release makes."""
    config = DimensionConfig.fromString(dimensions, format="json") if dimensions else None
    with tempfile.TemporaryDirectory() as folder:
        Butler.makeRepo(folder, dimensionConfig=config)
        gc.collect()  # lsst-daf-butler 29 leaves its session with the database to the garbage collector
        with contextlib.closing(sqlite3.connect(Path(folder, "gen3.sqlite3"))) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return frozenset(name for (name,) in found)

"""What every client of a repository sees, read from its database by SQL: to compare two repositories."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from kit.repositories import Repository, engine_of

# The second lists tables that are made when they are first needed.
_IGNORED_TABLES = {"butler_attributes", "opaque_meta", "dimension_graph_key"}
# Values that say when or in which order a row was made, not what it says.
_IGNORED_COLUMNS = {"ingest_date", "collection_summary_id"}


_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
}


def _rows(repository: Repository) -> dict[str, list[dict[str, Any]]]:
    """Rows of all tables as the driver returns them: SQLAlchemy would look at every column of every table first."""
    with engine_of(repository.url).connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute(_TABLES[repository.backend])
        rows = {}
        for table in sorted({name for (name,) in cursor.fetchall()} - _IGNORED_TABLES):
            cursor.execute(f'SELECT * FROM "{table}"')
            names = [column[0] for column in cursor.description]
            rows[table] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return rows


def registry_tables(repository: Repository) -> dict[str, Counter[tuple[tuple[str, Any], ...]]]:
    """Every table of a registry and datastore, as bags of rows.

    Generated keys of collections, dataset types and groups of dimensions are replaced by names.
    """
    rows = _rows(repository)
    collections = {row["collection_id"]: row["name"] for row in rows["collection"]}
    kinds = {row["id"]: row["name"] for row in rows["dataset_type"]}
    dimensions: dict[int, list[str]] = {}
    for row in rows["dimension_graph_definition"]:
        dimensions.setdefault(row["dimension_graph_id"], []).append(row["dimension_name"])
    tables: dict[str, Counter[tuple[tuple[str, Any], ...]]] = {}
    for name, found in rows.items():
        bag: Counter[tuple[tuple[str, Any], ...]] = Counter()
        for row in found:
            plain = {}
            for column, value in row.items():
                if column in _IGNORED_COLUMNS or (
                    column == "id" and name.startswith(("dataset_type", "dataset_calibs"))
                ):
                    continue
                if column == "dataset_type_id":
                    value = kinds[value]
                elif value is not None and (column in ("collection_id", "run_id", "parent", "child")):
                    value = collections[value]
                elif column in ("dimensions_key", "dimension_graph_id"):
                    value = sorted(dimensions.get(value, []))
                elif column.endswith("_association_table"):
                    value = value is not None
                elif column == "path":
                    value = value.replace(str(repository.root), "<root>")
                plain[column] = bytes(value) if isinstance(value, memoryview) else str(value)
            bag[tuple(sorted(plain.items()))] += 1
        # A tags table is made with the first dataset type of its dimensions.
        if not bag:
            # Some tables are made when they are first needed.
            continue
        tables[re.sub(r"^(dataset_(?:tags|calibs)_)\d+$", r"\1*", name)] = tables.get(
            re.sub(r"^(dataset_(?:tags|calibs)_)\d+$", r"\1*", name), Counter()
        ) + Counter(bag)
    return tables


def assert_same(one: Repository, other: Repository) -> None:
    """Compare two repositories table by table."""
    left, right = registry_tables(one), registry_tables(other)
    assert left.keys() == right.keys()
    for table in left:
        assert left[table] - right[table] == right[table] - left[table], table

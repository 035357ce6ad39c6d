from __future__ import annotations

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CollectionType

from butler_replica.collections.chains import merge_children
from butler_replica.collections.ensure import ensure_collections, set_chain
from butler_replica.errors import ConflictError, ReplicaError
from kit.processes import STOCK, run

# The chains of DC2, dc2.md 3.7 and 3.11.
DC2 = [
    {"name": "2.2i/calib/DM-30694", "type": "CALIBRATION"},
    {"name": "2.2i/calib/gen2", "type": "CALIBRATION"},
    {"name": "2.2i/calib/DM-30694/unbounded", "type": "RUN"},
    {"name": "2.2i/raw/all", "type": "RUN"},
    {"name": "skymaps", "type": "RUN"},
    {"name": "2.2i/truth_summary", "type": "RUN"},
    {
        "name": "2.2i/defaults",
        "type": "CHAINED",
        "children": ["2.2i/raw/all", "2.2i/calib", "skymaps", "refcats", "2.2i/truth_summary"],
    },
    {
        "name": "2.2i/calib",
        "type": "CHAINED",
        "children": ["2.2i/calib/DM-30694", "2.2i/calib/gen2", "2.2i/calib/DM-30694/unbounded"],
        "doc": "Calibrations of DC2.",
    },
    {"name": "refcats", "type": "CHAINED", "children": ["refcats/PREOPS-301"], "stage": "refcats"},
]


def register(repository, *names, kind=CollectionType.RUN):
    butler = Butler.from_config(str(repository), writeable=True)
    for name in names:
        butler.collections.register(name, kind)


def chain_in_database(repository, name):
    """Children by SQL, in search order."""
    rows = repository.sql(
        "SELECT child.name FROM collection_chain c JOIN collection parent ON parent.collection_id = c.parent "
        "JOIN collection child ON child.collection_id = c.child WHERE parent.name = :name ORDER BY c.position",
        name=name,
    )
    return [row[0] for row in rows]


def collections_in_database(repository):
    return {row[0] for row in repository.sql("SELECT name FROM collection")}


NAMES = st.lists(st.sampled_from("abcdefg"), unique=True)


@given(NAMES, NAMES)
def test_merging_keeps_the_order_and_adds_what_is_missing(existing, wanted):
    merged = merge_children(existing, wanted)
    assert [child for child in merged if child in existing] == existing
    assert sorted(merged) == sorted({*existing, *wanted})
    assert merge_children(merged, wanted) == merged


def test_merging_puts_a_child_beside_its_neighbours():
    assert merge_children((), "abc") == ("a", "b", "c")
    assert merge_children("ac", "abc") == ("a", "b", "c")
    assert merge_children("bc", "abc") == ("a", "b", "c")
    assert merge_children("cxa", "abc") == ("c", "x", "a", "b")
    assert merge_children("x", "ab") == ("x", "a", "b")


def test_set_chain(repository):
    repo = str(repository)
    register(repository, "a", "b", "c")
    planned = set_chain(repo, "chain", ["b", "d", "a"], doc="Two runs.", dry_run=True)
    assert planned.changed
    assert "chain" not in collections_in_database(repository)

    made = set_chain(repo, "chain", ["b", "d", "a"], doc="Two runs.")
    assert (made.before, made.after, made.open) == (None, ("b", "a"), ("d",))
    assert made.to_dict() == planned.to_dict()
    assert chain_in_database(repository, "chain") == ["b", "a"]
    [(doc,)] = repository.sql("SELECT doc FROM collection WHERE name = 'chain'")
    assert doc.startswith("Two runs.\nWaits for ")
    assert '["d"]' in doc

    assert not set_chain(repo, "chain", ["b", "d", "a"]).changed

    # What is there and not named stays, behind.
    register(repository, "d")
    changed = set_chain(repo, "chain", ["c", "a"])
    assert changed.diff()[0]["before"] == "b\na\n" + "".join(f"doc: {line}\n" for line in doc.split("\n"))
    assert changed.diff()[0]["after"] == "c\na\nb\nd\ndoc: Two runs.\n"
    assert chain_in_database(repository, "chain") == ["c", "a", "b", "d"]

    listed = run("query-collections", repo, "--chains", "TREE", entry=STOCK).stdout
    assert [line.split()[0] for line in listed.splitlines() if line.startswith("  ")] == ["c", "a", "b", "d"]


def test_set_chain_refuses(repository):
    repo = str(repository)
    register(repository, "run", "calib")
    set_chain(repo, "inner", ["run"])
    set_chain(repo, "outer", ["inner"])
    before = repository.sql("SELECT * FROM collection_chain ORDER BY parent, position")
    with pytest.raises(ConflictError, match="'run' is RUN in the repository, and CHAINED"):
        set_chain(repo, "run", ["calib"])
    with pytest.raises(ConflictError, match="inner -> outer -> inner"):
        set_chain(repo, "inner", ["outer"])
    with pytest.raises(ConflictError, match="self -> self"):
        set_chain(repo, "self", ["self"])
    assert repository.sql("SELECT * FROM collection_chain ORDER BY parent, position") == before
    assert "self" not in collections_in_database(repository)


def test_collections_of_dc2(repository):
    repo = str(repository)
    register(repository, "2.2i/raw/all", "refcats/PREOPS-301")
    register(repository, "2.2i/calib/DM-30694", kind=CollectionType.CALIBRATION)
    assert ensure_collections(repo, DC2, dry_run=True).changed
    assert "2.2i/defaults" not in collections_in_database(repository)

    result = ensure_collections(repo, DC2)
    assert result.made == {
        "2.2i/calib/gen2": "CALIBRATION",
        "2.2i/calib/DM-30694/unbounded": "RUN",
        "skymaps": "RUN",
        "2.2i/truth_summary": "RUN",
    }
    for description in DC2:
        if description["type"] == "CHAINED":
            assert chain_in_database(repository, description["name"]) == description["children"]
    assert not result.open
    again = ensure_collections(repo, DC2)
    assert not again.changed
    assert again.diff() == []


def test_stage_makes_only_its_chains(repository):
    register(repository, "2.2i/raw/all", "refcats/PREOPS-301")
    result = ensure_collections(str(repository), DC2, stage="refcats")
    assert [chain.name for chain in result.chains] == ["refcats"]
    assert collections_in_database(repository) == {"2.2i/raw/all", "refcats/PREOPS-301", "refcats"}


def test_collections_that_nothing_needs_are_skipped(repository):
    """Somebody with other data overrides the import sets and nothing else."""
    register(repository, "HSC/raw/all")
    result = ensure_collections(str(repository), DC2)
    assert not result.changed
    assert result.skipped["2.2i/defaults"] == "none of the collections that call for it exists"
    assert result.skipped["skymaps"] == "no chain needs it"
    assert collections_in_database(repository) == {"HSC/raw/all"}


def test_chains_that_call_for_a_collection(repository):
    """Collections of other data with names that DC2 uses, too, call for none of its chains."""
    described = [
        {**item, "needs": ["2.2i/raw/all", "2.2i/calib"]} if item["name"] == "2.2i/defaults" else item
        for item in DC2
    ]
    register(repository, "skymaps", "refcats")
    result = ensure_collections(str(repository), described)
    assert not result.changed
    assert collections_in_database(repository) == {"skymaps", "refcats"}


def test_child_without_description_stays_open(repository):
    register(repository, "refcats/PREOPS-301", "2.2i/raw/all")
    descriptions = [item for item in DC2 if item["name"] not in ("skymaps", "2.2i/calib")]
    result = ensure_collections(str(repository), descriptions)
    assert result.open == {"2.2i/defaults": ["2.2i/calib", "skymaps"]}
    # It is put in its place when it comes.
    register(repository, "skymaps")
    ensure_collections(str(repository), descriptions)
    assert chain_in_database(repository, "2.2i/defaults") == [
        "2.2i/raw/all",
        "skymaps",
        "refcats",
        "2.2i/truth_summary",
    ]


def test_conflict_changes_nothing(repository):
    register(repository, "2.2i/raw/all", "2.2i/calib/gen2")
    before = collections_in_database(repository)
    with pytest.raises(ConflictError, match=r"2\.2i/calib/gen2' is RUN in the repository, and CALIBRATION"):
        ensure_collections(str(repository), DC2)
    loop = [
        {"name": "one", "type": "CHAINED", "children": ["2.2i/raw/all", "two"]},
        {"name": "two", "type": "CHAINED", "children": ["one"]},
    ]
    with pytest.raises(ConflictError, match="one -> two -> one"):
        ensure_collections(str(repository), loop)
    with pytest.raises(ReplicaError, match=r"collection 'x': type: .*'RUN', .*, not 'RUNNING'"):
        ensure_collections(str(repository), [{"name": "x", "type": "RUNNING"}])
    assert collections_in_database(repository) == before


def test_command(make_repository):
    from butler_replica.cli import main

    repository = make_repository()
    register(repository, "a", "b")
    done = CliRunner().invoke(main, ["chain", str(repository), "chain", "a", "b"])
    assert done.exit_code == 0, done.output
    assert "chain (made) -> a, b" in done.output
    refused = CliRunner().invoke(main, ["chain", str(repository), "a", "b"])
    assert refused.exit_code == 1
    assert CliRunner().invoke(main, ["chain", str(repository), "chain"]).exit_code == 2

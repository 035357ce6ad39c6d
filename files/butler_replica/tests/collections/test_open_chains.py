"""Chains whose children come later, checked by SQL, by whole tables and by the stock butler."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.daf.butler import Butler, CollectionType

from butler_replica.collections.chains import read_note, write_note
from butler_replica.collections.ensure import ensure_collections, set_chain
from butler_replica.dimensions.instrument import register_instrument
from butler_replica.errors import ConflictError
from butler_replica.holdings.verify import verify
from butler_replica.imports.importer import import_exports
from kit.processes import STOCK, run
from kit.repositories import Repository, add_datasets, certify
from kit.sameness import assert_same, registry_tables

CI_IMSIM = "ci_imsim.20250220.4c194b9.yaml"
CFHT = "jointcal_cfht.20211110.b2039ca.yaml"
AP_VERIFY = "ap_verify_testdata.20241001.7d3be4c.yaml"

MakeExport = Callable[..., Path]


@pytest.fixture
def make_export(tmp_path: Path) -> MakeExport:
    """Write an export of collections only: children of a chain, or the type of another collection."""
    numbers = itertools.count()

    def make(docs: Mapping[str, str] | None = None, **collections: list[str] | str) -> Path:
        data = []
        for name, what in collections.items():
            item = {"type": "collection", "name": name, "collection_type": what}
            if isinstance(what, list):
                item |= {"collection_type": "CHAINED", "children": what}
            elif what == "RUN":
                item |= {"host": None, "timespan_begin": None, "timespan_end": None}
            data.append(item | ({"doc": docs[name]} if docs and name in docs else {}))
        header = {"description": "Butler Data Repository Export", "version": "1.0.2", "universe_version": 7}
        path = tmp_path / f"export{next(numbers)}.yaml"
        path.write_text(yaml.safe_dump({**header, "universe_namespace": "daf_butler", "data": data}))
        return path

    return make


@pytest.fixture
def repository(make_repository: Callable[..., Repository]) -> Repository:
    """One on SQLite, unless a test asks for another."""
    return make_repository()


def children(repository: Repository, name: str) -> list[str]:
    """Children of a chain by SQL, in search order."""
    rows = repository.sql(
        "SELECT child.name FROM collection_chain c JOIN collection parent ON parent.collection_id = c.parent "
        "JOIN collection child ON child.collection_id = c.child WHERE parent.name = :name ORDER BY c.position",
        name=name,
    )
    return [row[0] for row in rows]


def doc(repository: Repository, name: str) -> str | None:
    [(text,)] = repository.sql("SELECT doc FROM collection WHERE name = :name", name=name)
    return text


def stock(repository: Repository) -> Butler:
    return Butler.from_config(repository.root, writeable=True)


class TestNote:
    @settings(max_examples=50)
    @given(st.text(), st.lists(st.text(), min_size=1, unique=True), st.data())
    def test_round_trip(self, own: str, wanted: list[str], data: st.DataObject) -> None:
        missing = data.draw(st.lists(st.sampled_from(wanted), min_size=1, unique=True))
        noted = write_note(own, missing, wanted)
        assert read_note(noted) == (own, tuple(missing), tuple(wanted))
        assert read_note(own + "\n") == (own + "\n", (), ())
        assert write_note(own, [], wanted) == own

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "Waits for collections that are not here yet: soon",
            'Waits for collections that are not here yet: ["a"]',
            'Waits for collections that are not here yet: {"missing": [], "children": ["a"]}',
            'Waits for collections that are not here yet: {"missing": ["b"], "children": ["a"]}',
            'Waits for collections that are not here yet: {"missing": "a", "children": ["a"]}',
            'Waits for collections that are not here yet: {"missing": ["a"], "children": ["a"]} or so',
            'He said: Waits for collections that are not here yet: {"missing": ["a"], "children": ["a"]}',
            'Waits for collections that are not here yet: {"missing": ["a"], "children": ["a"]}\n',
        ],
    )
    def test_documentation_that_looks_like_it(self, text: str) -> None:
        assert read_note(text) == (text, (), ())


class TestRealExports:
    @pytest.mark.slow
    @pytest.mark.parametrize("backend", ["postgresql"])
    def test_child_in_a_later_run(
        self, make_repository: Callable[..., Repository], backend: str, shared_exports: Path
    ) -> None:
        """The chain singleFrame of the one export has the child refcats, which the other brings."""
        cfht, ap_verify = shared_exports / CFHT, shared_exports / AP_VERIFY
        once, twice = make_repository(backend), make_repository(backend)
        import_exports(once, [cfht, ap_verify], missing="register")
        assert doc(once, "singleFrame") is None
        assert import_exports(twice, [cfht], missing="register").open_chains == {"singleFrame": ["refcats"]}
        assert "refcats" in (doc(twice, "singleFrame") or "")
        assert verify(str(twice)).open_chains == {"singleFrame": ["refcats"]}
        assert not import_exports(twice, [cfht], missing="register").changed
        result = import_exports(twice, [ap_verify], missing="register")
        assert result.chains["singleFrame"] == children(twice, "singleFrame")
        assert children(twice, "singleFrame") == [
            *("singleFrame/20211113T012828Z", "MegaPrime/raw/all", "MegaPrime/calib/unbounded", "refcats")
        ]
        assert_same(once, twice)

    @pytest.mark.slow
    def test_ci_imsim(self, make_repository: Callable[..., Repository], shared_exports: Path) -> None:
        """Its chain has a documentation and a child elsewhere, its calib is TAGGED and certified into."""
        export, lost = shared_exports / CI_IMSIM, "pretrained_models/tac_cnn_comcam_2025-02-18"
        later, first = make_repository(), make_repository()
        for repository in (later, first):
            register_instrument(str(repository))
            for name in ("discrete/ci_imsim/2k", "discrete/ci_imsim/4k"):
                skymap = {"name": name, "hash": name.encode(), "tract_max": 1}
                skymap |= {"patch_nx_max": 1, "patch_ny_max": 1}
                stock(repository).registry.insertDimensionData("skymap", skymap)
                stock(repository).registry.insertDimensionData("tract", {"skymap": name, "id": 0})
        stock(first).collections.register(lost)
        import_exports(first, [export], missing="register")
        result = import_exports(later, [export], missing="register")
        assert result.open_chains == {"LSSTCam-imSim/defaults": [lost]}
        kind = "SELECT type FROM collection WHERE name = 'LSSTCam-imSim/calib'"
        assert later.sql(kind) == [(CollectionType.CALIBRATION.value,)]
        checked = verify(str(later), [{"name": "ci", "exports": str(export), "missing": "register"}])
        assert checked.ok, checked.failures
        assert checked.open_chains == {"LSSTCam-imSim/defaults": [lost]}
        assert "LSSTCam-imSim/defaults" in "\n".join(checked.report())

        # The stock butler brings the child; any run of ours puts it into its place.
        stock(later).collections.register(lost)
        failures = verify(str(later)).failures
        assert ["LSSTCam-imSim/defaults is [" in failure for failure in failures] == [True]
        set_chain(str(later), "mine", [lost])
        set_chain(str(first), "mine", [lost])
        assert verify(str(later)).ok
        assert doc(later, "LSSTCam-imSim/defaults") == "Datasets used by ci_imsim (from testdata_ci_imsim)"
        assert_same(first, later)


WANTED = ["x", "a", "y", "b", "z"]


@pytest.mark.parametrize("order", [["x", "y", "z"], ["z", "y", "x"], ["y", "x", "z"]])
def test_every_child_in_its_place(
    make_repository: Callable[..., Repository], make_export: MakeExport, order: list[str]
) -> None:
    repository, once = make_repository(), make_repository()
    import_exports(repository, [make_export(docs={"chain": "Mine."}, a="RUN", b="RUN", chain=WANTED)])
    here = {"a", "b"}
    for child in order:
        import_exports(repository, [make_export(**{child: "RUN"})], collections="drop-chains")
        here.add(child)
        assert children(repository, "chain") == [name for name in WANTED if name in here]
    runs = dict.fromkeys("abxyz", "RUN")
    import_exports(once, [make_export(docs={"chain": "Mine."}, **runs, chain=WANTED)])
    assert doc(repository, "chain") == "Mine."
    assert_same(once, repository)


def test_nested_chains_in_any_order(
    make_repository: Callable[..., Repository], make_export: MakeExport
) -> None:
    """A chain is there although it is open itself."""
    exports = [
        make_export(a="RUN", outer=["inner", "a", "innermost"]),
        make_export(inner=["innermost", "late"]),
        make_export(b="RUN", innermost=["b"]),
    ]
    together = make_repository()
    assert import_exports(together, exports).open_chains == {"inner": ["late"]}
    assert children(together, "outer") == ["inner", "a", "innermost"]
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        repository = make_repository()
        for number in order:
            import_exports(repository, [exports[number]])
        assert verify(str(repository)).open_chains == {"inner": ["late"]}
        assert_same(together, repository)


def test_several_exports_name_children(repository: Repository, make_export: MakeExport) -> None:
    """What one export wants is not forgotten for the other's sake."""
    one, two = make_export(a="RUN", chain=["x", "a"]), make_export(b="RUN", chain=["b", "y"])
    assert import_exports(repository, [one, two]).open_chains == {"chain": ["x", "y"]}
    import_exports(repository, [make_export(x="TAGGED", y="CALIBRATION")])
    assert children(repository, "chain") == ["x", "a", "b", "y"]
    assert doc(repository, "chain") is None


def test_children_that_other_verbs_bring(
    make_repository: Callable[..., Repository], backend: str, make_export: MakeExport
) -> None:
    repository = make_repository(backend)
    repo = str(repository)
    export = make_export(docs={"chain": "Mine."}, a="RUN", chain=["one", "a", "two", "calib"])
    import_exports(repository, [export])
    rows = registry_tables(repository)
    planned = set_chain(repo, "one", ["a"], dry_run=True)
    assert registry_tables(repository) == rows
    made = set_chain(repo, "one", ["a"])
    assert made.to_dict() == planned.to_dict()
    assert [(chain.name, chain.after) for chain in made.completed] == [("chain", ("one", "a"))]
    assert [entry["after_header"] for entry in made.diff()] == ["chain one", "chain chain"]

    described = [
        {"name": "two", "type": "CHAINED", "children": ["calib", "far"]},
        {"name": "calib", "type": "CALIBRATION"},
    ]
    stock(repository).collections.register("far")
    assert ensure_collections(repo, described, dry_run=True).to_dict() == (
        ensure_collections(repo, described).to_dict()
    )
    assert children(repository, "chain") == ["one", "a", "two", "calib"]
    assert doc(repository, "chain") == "Mine."
    assert not ensure_collections(repo, described).changed
    assert not import_exports(repository, [export]).changed


def test_order_of_a_user(repository: Repository, make_export: MakeExport) -> None:
    """Also behind a child that comes later, and with documentation of the user's own."""
    import_exports(repository, [make_export(a="RUN", b="RUN", chain=["a", "x", "b"])])
    changed = set_chain(str(repository), "chain", ["late", "b"], doc="Mine.")
    assert changed.open == ("late", "x")
    assert not set_chain(str(repository), "chain", ["late", "b"], doc="Mine.").changed
    assert read_note(doc(repository, "chain") or "")[0] == "Mine."
    import_exports(repository, [make_export(late="RUN", x="RUN")])
    assert [child for child in children(repository, "chain") if child != "x"] == ["late", "b", "a"]
    assert (set(children(repository, "chain")), doc(repository, "chain")) == ({*"abx", "late"}, "Mine.")


class TestRemovedOnPurpose:
    def test_from_a_complete_chain(self, repository: Repository, make_export: MakeExport) -> None:
        export = make_export(a="RUN", b="RUN", chain=["a", "b"])
        import_exports(repository, [export])
        stock(repository).collections.remove_from_chain("chain", "a")
        import_exports(repository, [make_export(c="RUN", other=["c"])])
        set_chain(str(repository), "another", ["a"])
        assert children(repository, "chain") == ["b"]
        import_exports(repository, [export])
        assert children(repository, "chain") == ["a", "b"]

    def test_from_an_open_chain(self, repository: Repository, make_export: MakeExport) -> None:
        import_exports(repository, [make_export(a="RUN", b="RUN", chain=["a", "x", "b"])])
        stock(repository).collections.remove_from_chain("chain", "a")
        import_exports(repository, [make_export(x="RUN")])
        assert children(repository, "chain") == ["x", "b"]
        assert doc(repository, "chain") is None

    def test_the_note(self, repository: Repository, make_export: MakeExport) -> None:
        import_exports(repository, [make_export(a="RUN", chain=["a", "x"])])
        stock(repository).registry.setCollectionDocumentation("chain", "No more.")
        assert not verify(str(repository)).open_chains
        import_exports(repository, [make_export(x="RUN")])
        assert (children(repository, "chain"), doc(repository, "chain")) == (["a"], "No more.")


@pytest.mark.parametrize("policy", ["drop", "drop-chains"])
def test_policies(repository: Repository, make_export: MakeExport, policy: str) -> None:
    """They say what is taken from an export; a chain that waits gets its child all the same."""
    import_exports(repository, [make_export(a="RUN", chain=["a", "x"])])
    export = make_export(chain=["a", "b"], b="RUN")
    result = import_exports(repository, [export], collections=policy, runs=["x"])
    assert result.chains == {"chain": ["a", "x"]}
    assert result.open_chains == {}
    assert children(repository, "chain") == ["a", "x"]


def test_dry_run(repository: Repository, make_export: MakeExport) -> None:
    """What one file would bring is there for the next."""
    files = [make_export(a="RUN", chain=["a", "x", "far"]), make_export(x="RUN", far=["x"])]
    rows = registry_tables(repository)
    planned = import_exports(repository, files, dry_run=True)
    assert registry_tables(repository) == rows
    assert planned.chains == {"chain": ["a", "x", "far"], "far": ["x"]}
    assert planned.open_chains == {}
    assert import_exports(repository, files).to_dict() == {**planned.to_dict(), "dry_run": False}
    assert children(repository, "chain") == ["a", "x", "far"]


def test_documentation_of_a_chain_that_has_none(repository: Repository, make_export: MakeExport) -> None:
    """The note is none; what an export says later is taken, what a user wrote stays."""
    import_exports(repository, [make_export(a="RUN", chain=["a", "x"])])
    export = make_export(docs={"chain": "Of the export."}, chain=["a", "x"])
    assert import_exports(repository, [export]).changed
    assert not import_exports(repository, [export]).changed
    import_exports(repository, [make_export(docs={"chain": "Another."}, x="RUN", chain=["a", "x"])])
    assert doc(repository, "chain") == "Of the export."


def test_stock_export_of_an_open_chain(
    make_repository: Callable[..., Repository], make_export: MakeExport, tmp_path: Path
) -> None:
    source, ours, theirs = make_repository(), make_repository(), make_repository()
    import_exports(source, [make_export(docs={"chain": "Mine."}, a="RUN", b="RUN", chain=["a", "x", "b"])])
    export_file = tmp_path / "stock.yaml"
    with Butler.from_config(source.root).export(filename=str(export_file)) as export:
        for name in ("a", "b", "chain"):
            export.saveCollection(name)
    assert import_exports(ours, [export_file]).open_chains == {"chain": ["x"]}
    stock(theirs).import_(filename=str(export_file))
    assert_same(theirs, ours)
    for repository in (ours, theirs):
        import_exports(repository, [make_export(x="RUN")])
        assert (children(repository, "chain"), doc(repository, "chain")) == (["a", "x", "b"], "Mine.")


class TestCycles:
    def test_nothing_of_the_file_is_imported(self, repository: Repository, make_export: MakeExport) -> None:
        import_exports(repository, [make_export(a="RUN", one=["a", "two"])])
        export, rows = make_export(b="RUN", two=["b", "three"], three=["one"]), registry_tables(repository)
        with pytest.raises(
            ConflictError, match=rf"{export}: Chain 'one'.*: one -> two -> three -> one\. Leave"
        ):
            import_exports(repository, [export])
        with pytest.raises(ConflictError, match="'one', which waits for 'two', .*: one -> two -> one"):
            set_chain(str(repository), "two", ["one"])
        assert registry_tables(repository) == rows
        import_exports(repository, [export], collections="drop-chains")
        assert verify(str(repository)).open_chains == {"one": ["two"]}

    def test_made_by_somebody_else(self, repository: Repository, make_export: MakeExport) -> None:
        """It does not keep others from importing."""
        import_exports(repository, [make_export(a="RUN", one=["a", "two", "x"])])
        stock(repository).collections.register("two", CollectionType.CHAINED)
        stock(repository).collections.redefine_chain("two", ["one"])
        import_exports(repository, [make_export(x="RUN")])
        assert children(repository, "one") == ["a", "x"]
        assert verify(str(repository)).open_chains == {"one": ["two"]}


def test_chain_of_another_type(repository: Repository, make_export: MakeExport) -> None:
    import_exports(repository, [make_export(a="RUN", chain=["a", "x"])])
    rows = registry_tables(repository)
    with pytest.raises(ConflictError, match=r"'chain' is RUN in the export and CHAINED in the repository"):
        import_exports(repository, [make_export(chain="RUN", x="RUN")])
    with pytest.raises(ConflictError, match=r"'a' is CHAINED in the export and RUN.* policy 'drop-chains'"):
        import_exports(repository, [make_export(a=["x"], x="RUN")])
    assert registry_tables(repository) == rows


class TestAssociatedCollections:
    @pytest.fixture
    def certified(
        self, make_repository: Callable[..., Repository], make_export: MakeExport, tmp_path: Path
    ) -> Path:
        """An export that declares calib TAGGED and certifies into it."""
        source = make_repository()
        refs = add_datasets(source, tmp_path / "files", count=2)
        certify(source, refs)
        path = tmp_path / "certified.yaml"
        with Butler.from_config(source.root).export(filename=str(path)) as export:
            export.saveDatasets(refs)
            export.saveCollection("calib")
        text = path.read_text()
        declared = "collection_type: CALIBRATION\n  name: calib"
        assert declared in text
        path.write_text(text.replace(declared, declared.replace("CALIBRATION", "TAGGED")))
        return path

    @pytest.mark.slow
    def test_declared_by_an_earlier_file(
        self, repository: Repository, certified: Path, make_export: MakeExport
    ) -> None:
        declaring = make_export(a="RUN", calib="TAGGED", chain=["calib", "a"])
        with pytest.raises(
            ConflictError, match=r"'calib' is CALIBRATION in .* TAGGED in .*Remove it \("
        ) as caught:
            import_exports(repository, [declaring, certified], missing="register")
        assert str(certified) in str(caught.value)
        assert repository.sql("SELECT * FROM dataset") == []
        # What the message says, done.
        commands = str(caught.value).partition("Remove it (")[2].partition(")")[0].split("; ")
        assert len(commands) == 2
        for command in commands:
            _, verb, *options = command.replace("REPO", str(repository)).split()
            confirmed = ["--no-confirm"] if verb == "remove-collections" else []
            done = run(verb, *confirmed, *options, entry=STOCK)
            assert done.returncode == 0, done.stderr
        result = import_exports(repository, [certified, declaring], missing="register")
        assert "declared TAGGED; it is CALIBRATION in the repository" in result.files[1].notices[0]
        assert children(repository, "chain") == ["calib", "a"]
        sets = [
            {"name": path.stem, "exports": str(path), "missing": "register"}
            for path in (certified, declaring)
        ]
        checked = verify(str(repository), sets)
        assert checked.ok, checked.failures
        assert [(found.promised, found.found) for found in checked.calibrations] == [(2, 2)]

    @pytest.mark.parametrize("kind", ["TAGGED", "RUN", "CHAINED"])
    def test_of_another_type_in_the_repository(
        self, repository: Repository, certified: Path, kind: str, tmp_path: Path
    ) -> None:
        butler = stock(repository)
        butler.collections.register("calib", CollectionType.from_name(kind))
        if kind == "TAGGED":
            butler.registry.associate("calib", add_datasets(repository, tmp_path / "mine", kind="flat"))
        rows = registry_tables(repository)
        with pytest.raises(
            ConflictError,
            match=f"{certified}: collection 'calib' is CALIBRATION in .* {kind} in .*policy 'drop'",
        ):
            import_exports(repository, [certified], missing="register")
        assert registry_tables(repository) == rows
        import_exports(repository, [certified], missing="register", collections="drop")

"""Which file an export means, and which of them may be taken."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from lsst.daf.butler import Butler

from butler_replica.artifacts.finder import make_finder
from butler_replica.artifacts.listing import Listing
from butler_replica.artifacts.rewriting import PathMapper
from butler_replica.cli import main
from butler_replica.errors import ArtifactError, ExportError
from butler_replica.holdings.prune import prune
from butler_replica.holdings.verify import verify
from butler_replica.imports.importer import import_exports
from kit.repositories import Repository
from kit.stock import stock_import

RULES = {
    # rule, path of the export, file
    "path": ("/old=/new", "/old/a", "/new/a"),
    "whole components": ("/old=/new", "/older/a", "/older/a"),
    "relative": ("old=/new", "old/a", "/new/a"),
    "slashes": ("/old//=/new//", "//old//a", "/new/a"),
    "to a relative path": ("/old=below", "/old/a", "/artifacts/below/a"),
    "to nothing": ("/old=", "/old/a", "/artifacts/a"),
    "to the home": ("/old=~/x", "/old/a", "/home/me/x/a"),
    "to a file URI": ("/old=file:///new%20one", "/old/a", "/new one/a"),
    "everything": ("/=/new", "/old/a", "/new/old/a"),
    "dots first": ("/old=/new", "/old/sub/../../other/a", "/other/a"),
    "dots into the rule": ("/old=/new", "/other/../old/a", "/new/a"),
    "dots in the rule": ("/x/../old/.=/new", "/old/a", "/new/a"),
    "S3": ("s3://bucket/old=/new", "s3://bucket/old/a", "/new/a"),
    "S3, another bucket": ("s3://bucket=/new", "s3://bucket2/a", "s3://bucket2/a"),
    "S3, all": ("s3://=/new", "s3://bucket/a", "/new/bucket/a"),
    "S3, case": ("S3://bucket=/new", "s3://bucket/a", "/new/a"),
    "DAV, port": ("davs://host:2880/old/=/new", "davs://host:2880/old/a%20b", "/new/a b"),
    "HTTP, dots": ("https://host/old=/new", "https://host/old/../x/a", "https://host/old/../x/a"),
    "HTTP, quoted dots": ("https://host/old=/new", "https://host/old/%2e%2e/%2E%2E/etc/a", "/etc/a"),
    "file by path": ("/old=/new", "file:///old/a%23b", "/new/a#b"),
    "file by URI": ("file:///old=/new", "file:///old/a%23b", "/new/a#b"),
    "file, short": ("/old=/new", "file:/old/a", "/new/a"),
    "file, of this host": ("/old=/new", "file://localhost/old/a", "/new/a"),
    "file, quoted dots": ("/old=/new", "file:///old/%2e%2e/etc/a", "/etc/a"),
    "no rule": ("/old=/new", "a/./b/../c", "/artifacts/a/c"),
    "colon": ("/old=/new", "a:b/c", "/artifacts/a:b/c"),
}

NOT_LOCAL = {
    "s3://bucket/a": "is on s3://bucket",
    "https://host/a": "is on https://host",
    "davs://host:2880/a": "is on davs://host:2880",
    "gs://bucket/a": "is on gs://bucket",
    "file://server/share/a": "is on file://server",
    "https://host/a?signature=1": "has a query (?...), as no file does",
    "file:///data/a.zip#zip-path=b": "names only a part (#zip-path=b)",
    "http://[a": "is no URI",
    "a\0b": "NUL",
}


@pytest.mark.parametrize(("rule", "path", "expected"), RULES.values(), ids=RULES)
def test_rules(monkeypatch: pytest.MonkeyPatch, rule: str, path: str, expected: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    old, new = rule.split("=", 1)
    mapped = PathMapper([(old, new), ("/old/never", "/wrong")], Path("/artifacts"))(path)
    assert mapped.path == expected
    assert bool(mapped.reason) == ("://" in expected)


@pytest.mark.parametrize("path", NOT_LOCAL)
def test_what_is_not_local(path: str) -> None:
    mapped = PathMapper([("/old", "/new")], Path("/artifacts"))(path)
    assert (mapped.path, NOT_LOCAL[path] in mapped.reason) == (path, True)


SIGNED = (
    "https://user:s3cret@host/a",
    "s3://s3cret@bucket/a",
    "davs://user:pw%40s3cret@host:2880/a",
    "https://host/a?X-Amz-Signature=s3cret",
    "https://user@host/a?token=s3cret#part",
    "file://s3cret@server/a",
)


@pytest.mark.parametrize("uri", SIGNED)
@pytest.mark.parametrize("policy", ["fail", "skip", "register"])
def test_secrets_in_uris(
    make_repository: Callable[..., Repository], tmp_path: Path, uri: str, policy: str
) -> None:
    """Which artifact is missing is said without them."""
    path = export(tmp_path / "exported", {"a": uri})
    done = CliRunner().invoke(main, ["import", str(make_repository()), str(path), "--missing", policy])
    assert ("s3cret" in done.output, "/a" in done.output) == (False, True)
    assert done.exit_code == (policy == "fail")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A file here and there, and links between them."""
    for folder in ("artifacts", "artifacts/sub", "exported", "new", "root", "outside", "outside/deep"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "file").write_text("1")
    (tmp_path / "mounted").symlink_to("artifacts")
    (tmp_path / "artifacts" / "inside").symlink_to("sub/file")
    (tmp_path / "artifacts" / "to_root").symlink_to(tmp_path / "root" / "file")
    (tmp_path / "artifacts" / "out").symlink_to(tmp_path / "outside" / "file")
    (tmp_path / "artifacts" / "folder_out").symlink_to(tmp_path / "outside")
    (tmp_path / "artifacts" / "folder_in").symlink_to("sub")
    (tmp_path / "outside" / "back").symlink_to(tmp_path / "artifacts" / "file")
    return tmp_path


TAKEN = (
    *(
        "file",
        "sub/file",
        "sub/../file",
        "inside",
        "folder_in/file",
        "{0}/artifacts/file",
        "{0}/mounted/file",
    ),
    *("{0}/exported/file", "file://{0}/exported/file", "/old/file", "{0}/new/file", "../new/file"),
    *("folder_out/back", "{0}/outside/back", "{0}/outside/../artifacts/file"),
)
OUTSIDE = (
    *("../outside/file", "{0}/outside/file", "{0}/outside/deep/file", "file://{0}/outside/file", "out"),
    *("folder_out/file", "folder_out/deep/file", "/old/../outside/file", "/etc/passwd", "file:///etc/passwd"),
    *(
        "sub/../../outside/file",
        "%2e%2e/outside/file",
        "{0}/artifacts2/file",
        "{0}/root/file",
        "to_root",
        "/",
    ),
)


@pytest.mark.parametrize("artifacts", ["artifacts", "mounted"])
@pytest.mark.parametrize("path", [*TAKEN, *OUTSIDE])
def test_where_artifacts_come_from(folders: Path, artifacts: str, path: str) -> None:
    def find(*roots: Path) -> tuple[int | None, str]:
        finder = make_finder(
            folders / "exported" / "export.yaml",
            Listing(),
            artifacts=folders / artifacts,
            rewrite=[("/old", str(folders / "new"))],
            roots=roots,
        )
        return finder.find(path.format(folders))[1:]

    if path in TAKEN:
        assert find() == (1, "")
        return
    size, reason = find()
    assert size is None
    assert "outside the folders" in reason
    assert find(folders / "root")[0] == (1 if "root" in path else None)
    if "outside" in path and not path.startswith("/old"):
        assert find(folders / "outside") == (1, "")


def export(folder: Path, paths: dict[str, str]) -> Path:
    """Write an export with a dataset for each run and path."""
    lines = [
        "{description: Butler Data Repository Export, version: 1.0.2, universe_version: 7, "
        "universe_namespace: daf_butler, data: [",
        "{type: dataset_type, name: meta, dimensions: [], storage_class: StructuredDataDict, is_calibration: false},",
    ]
    for run, path in paths.items():
        lines.append(
            f"{{type: collection, collection_type: RUN, name: {run}, host: null, timespan_begin: null, "
            f"timespan_end: null}}, {{type: dataset, dataset_type: meta, run: {run}, records: [{{dataset_id: "
            f"[!uuid '{uuid.uuid5(uuid.NAMESPACE_URL, run)}'], data_id: [{{}}], path: '{path}', "
            "formatter: lsst.daf.butler.formatters.yaml.YamlFormatter}]},"
        )
    folder.mkdir(exist_ok=True)
    (folder / "export.yaml").write_text("\n".join(lines) + "]}")
    return folder / "export.yaml"


@pytest.fixture(params=["by ref", "staged"])
def way(request: pytest.FixtureRequest) -> int:
    """Return from how many datasets on they are compared set by set, instead of one by one."""
    return 1 if request.param == "staged" else 1_000


def test_nothing_of_root_gets_in(make_repository: Callable[..., Repository], folders: Path, way: int) -> None:
    """Neither by path, nor by link: missing with a reason under skip, a remedy under fail, there with a root."""
    repository = make_repository()
    path = export(
        folders / "exported",
        {"a": "/etc/passwd", "b": str(folders / "outside" / "file.yaml"), "c": "link.yaml", "d": "file.yaml"},
    )
    (folders / "outside" / "file.yaml").write_text("a: 1\n")
    (folders / "exported" / "link.yaml").symlink_to(folders / "outside" / "file.yaml")
    (folders / "exported" / "file.yaml").write_text("a: 1\n")
    with pytest.raises(ArtifactError) as error:
        import_exports(repository, [path], transfer="copy", staged_from=way)
    assert "3 of 4 artifacts are missing" in str(error.value)
    assert f"3 artifacts lie outside {folders / 'exported'}" in str(error.value)
    assert "--root DIR" in str(error.value)
    assert repository.sql("SELECT count(*) FROM collection") == [(0,)]
    result = import_exports(repository, [path], transfer="copy", missing="skip", staged_from=way)
    assert [missing.run for missing in result.missing] == ["a", "b", "c"]
    assert all("outside the folders" in missing.reason for missing in result.missing)
    assert any("--root DIR" in notice for notice in result.files[0].notices)
    assert repository.sql("SELECT path FROM file_datastore_records") == [("d/meta/meta_d.yaml",)]
    one = {"name": "all", "exports": str(path), "missing": "skip"}
    assert verify(str(repository), [one]).ok
    arguments = [str(repository), str(path), "--missing", "skip", "--root", str(folders / "outside")]
    done = CliRunner().invoke(main, ["import", *arguments])
    assert done.exit_code == 0, done.output
    assert repository.sql("SELECT count(*) FROM file_datastore_records") == [(3,)]
    assert verify(str(repository), [{**one, "roots": str(folders / "outside")}]).ok
    assert not any(
        "passwd" in str(link.readlink()) for link in repository.root.rglob("*") if link.is_symlink()
    )


def test_uris(make_repository: Callable[..., Repository], tmp_path: Path, way: int) -> None:
    """Rules reach them; without a rule they are missing, whatever the policy does of that."""
    repository = make_repository()
    path = export(
        tmp_path / "exported",
        {"a": "s3://bucket/old/a0.yaml", "b": "davs://dcache.example.org:2880/old/a%231.yaml"},
    )
    (tmp_path / "here").mkdir()
    for name in ("a0.yaml", "a#1.yaml"):
        (tmp_path / "here" / name).write_text("a: 1\n")
    with pytest.raises(ArtifactError, match=r"is on s3://bucket, which is not a local file"):
        import_exports(repository, [path], staged_from=way)
    skipped = import_exports(repository, [path], missing="skip", staged_from=way)
    assert not skipped.total("inserted")
    registered = import_exports(repository, [path], missing="register", staged_from=way)
    assert (registered.total("inserted"), registered.total("stored")) == (2, 0)
    rules = [
        ("s3://bucket/old", str(tmp_path / "here")),
        ("davs://dcache.example.org:2880", str(tmp_path / "here")),
    ]
    with pytest.raises(ArtifactError, match="1 of 2"):
        import_exports(repository, [path], rewrite=rules, transfer="copy", staged_from=way)
    rules[1] = ("davs://dcache.example.org:2880/old", str(tmp_path / "here"))
    result = import_exports(repository, [path], rewrite=rules, transfer="copy", staged_from=way)
    assert result.total("artifacts_added") == 2
    assert not import_exports(repository, [path], rewrite=rules, transfer="copy", staged_from=way).changed
    one = {"name": "all", "exports": str(path), "rewrite": [list(rule) for rule in rules]}
    assert verify(str(repository), [one]).ok


@pytest.mark.parametrize("transfer", ["copy", "symlink"])
def test_a_name_that_is_too_long(
    make_repository: Callable[..., Repository], tmp_path: Path, way: int, transfer: str
) -> None:
    """An error that names dataset and path, before anything is there; recorded where it is, it goes."""
    repository = make_repository()
    run = "/".join(["u", "someone", *(f"\u00e9_{n:03d}" for n in range(40))])
    path = export(tmp_path / "exported", {run: "a0.yaml"})
    (tmp_path / "exported" / "a0.yaml").write_text("a: 0\n")
    with pytest.raises(
        ExportError, match=r"u/someone/.*meta \{\} in run u/.* has a name of \d{3} bytes.*direct"
    ):
        import_exports(repository, [path], transfer=transfer, staged_from=way)
    for table in ("dataset", "collection", "dataset_type"):
        assert repository.sql(f"SELECT count(*) FROM {table}") == [(0,)]
    assert not list(repository.root.glob("u*"))
    import_exports(repository, [path], transfer="direct", staged_from=way)
    assert Butler.from_config(str(repository)).get("meta", collections=run) == {"a": 0}


@pytest.mark.parametrize("name", ["a.zip", "a.fits", "a", "a.yaml.gz", "a.yaml~", "a.Yaml"])
def test_a_formatter_that_takes_no_such_file(
    make_repository: Callable[..., Repository], tmp_path: Path, way: int, name: str
) -> None:
    """The stock importer refuses it, too; one that is not known is not asked."""
    repository = make_repository()
    path = export(tmp_path / "exported", {"a": name})
    (tmp_path / "exported" / name).write_text("a: 0\n")
    with pytest.raises(ValueError, match="not supported"):
        stock_import(repository.root, path, path.parent, "copy")
    with pytest.raises(ExportError, match="cannot be read with the formatter it has.*YamlFormatter"):
        import_exports(repository, [path], transfer="copy", staged_from=way)
    path.write_text(path.read_text().replace("lsst.daf.butler.formatters.yaml.", "no.such."))
    assert import_exports(repository, [path], transfer="copy", staged_from=way).total("stored") == 1


REMOTE = ("s3://bucket/a.yaml", "https://host/a%20b.yaml", "davs://host:2880/a.yaml", "gs://bucket/a.yaml")
NOT_REMOTE = (
    "mem://a/a.yaml",
    "resource://package/a.yaml",
    "no-scheme://a/a.yaml",
    "file://server/a.yaml",
    "s3:///a.yaml",
)


def test_remote_artifacts_are_recorded_where_they_are(
    make_repository: Callable[..., Repository], tmp_path: Path, way: int
) -> None:
    """With ``direct``, unseen, with the size that the butler has for what it did not look at; no other URI is."""
    repository = make_repository()
    path = export(tmp_path / "exported", {f"run{n}": uri for n, uri in enumerate(REMOTE)})
    result = import_exports(repository, [path], transfer="direct", staged_from=way)
    assert (result.total("stored"), result.total("missing")) == (len(REMOTE), 0)
    rows = "SELECT path, file_size FROM file_datastore_records ORDER BY path"
    assert repository.sql(rows) == sorted((uri, -1) for uri in REMOTE)
    assert not import_exports(repository, [path], transfer="direct", staged_from=way).changed
    assert not prune(str(repository), dry_run=True).changed
    one = {"name": "all", "exports": str(path), "transfer": "direct"}
    assert verify(str(repository), [one]).ok
    others = export(tmp_path / "others", {f"other{n}": uri for n, uri in enumerate(NOT_REMOTE)})
    skipped = import_exports(repository, [others], transfer="direct", missing="skip", staged_from=way)
    assert (skipped.total("stored"), skipped.total("missing")) == (0, len(NOT_REMOTE))

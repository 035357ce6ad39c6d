"""Import mutated and truncated exports: each is refused in words, and nothing has changed, or is imported right.

python attacks/fuzz_exports.py --count 1000 --seed 1
python attacks/fuzz_exports.py --count 300 --staged --backend postgresql
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click
import yaml
from lsst.daf.butler import Butler, CollectionType, Config

from butler_replica.errors import ReplicaError
from butler_replica.holdings.verify import verify
from butler_replica.imports.importer import import_exports
from butler_replica.imports.ways import STAGED_FROM

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from kit.exports import write_raws
from kit.importers import make_on, write_auth
from kit.repositories import Repository, add_datasets, certify, tree
from kit.sameness import registry_tables
from kit.servers import PostgresServer, temporary_server

SECONDS = 30
"""Time that one case may take."""

MEGABYTES = 2000
"""Address space that all of them may take."""

SCALARS: tuple[str, ...] = (
    *("", "null", "~", "true", "-1", "0", "1.5", "1e400", ".nan", ".inf", "0x10", "1_000", "12:30:45"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "9" * 400),
    *("x" * 33, "x" * 65, "x" * 129, "x" * 257, "é" * 64, "x" * 100_000),
    *("../../etc/passwd", "/", ".", "*", "a b", "a:b", "a,b", "raw.wcs", "_x", "1x", "x\\y", "%s{}", "✓"),
    *("2022-01-01", "2022-13-45 00:00:00", "99999-01-01", "http://example.org/x", "file:///no/such"),
    *("CHAINED", "TAGGED", "CALIBRATION", "RUN", "raw", "bias", "Cam/raw/few", "calib", "htm7", "visit"),
)

HOSTILE: tuple[str, ...] = (
    *(
        "a#b",
        "a#b/c",
        "a%20b",
        "%2e%2e/x",
        "%2E%2E",
        "a%2Fb",
        "a%00",
        "a?b",
        "a?b#c",
        "a;b",
        "a&b",
        "a|b",
        "`a`",
    ),
    *(
        "~",
        "~root/x",
        "~nobody_here/x",
        "$HOME/x",
        "${HOME}",
        "..",
        "../x",
        "a/../../b",
        "a//b",
        "/abs",
        "a/",
        " ",
    ),
    *(
        "a'b",
        'a"b',
        "a\\b",
        "a\nb",
        "a\tb",
        "a\rb",
        " a",
        "a ",
        "-a",
        "--help",
        "!uuid",
        "*a",
        "&a",
        "@a",
        "a:",
    ),
    *(
        "x[/nope]y",
        "[red]x[/red]",
        ":star:",
        "\x1b[2J",
        "\x07",
        "a\0b",
        "a\x85b",
        "a\u2028b",
        "\u202eabc",
        "\ufeff",
    ),
    *("a\u00e9", "ae\u0301", "\u661f", "\U0001f52d", "\ud800", "\U000e0041", "\u00e9" * 127, "\u00e9" * 128),
    *(
        "x" * 254,
        "x" * 255,
        "x" * 256,
        "/".join(["x" * 200] * 30),
        "file:///etc/passwd#x",
        "file://other/x",
        "s3://b/x",
    ),
)
"""Names that mean something to a URI, a shell, a terminal or a file system."""

NAMES = (
    "name",
    "run",
    "collection",
    "path",
    "physical_filter",
    "full_name",
    "dataset_type",
    "children",
    "obs_id",
)
"""Keys whose values are names."""

TAGS = (
    *(
        "tag:yaml.org,2002:int",
        "tag:yaml.org,2002:float",
        "tag:yaml.org,2002:binary",
        "tag:yaml.org,2002:set",
    ),
    *("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:python/object/apply:os.system", "!uuid", "!unknown"),
    *("!butler_time/tai/iso", "!lsst.daf.butler.Timespan", "!<lsst.sphgeom.Region>", "lsst.sphgeom.Region"),
)


def children(node: yaml.Node) -> list[Any]:
    """Where the nodes below one can be replaced: their parent, and the way to them."""
    if isinstance(node, yaml.SequenceNode):
        return list(range(len(node.value)))
    if isinstance(node, yaml.MappingNode):
        return [(number, side) for number in range(len(node.value)) for side in (0, 1, 1, 1)]
    return []


def child(node: yaml.Node, place: Any) -> yaml.Node:
    return node.value[place[0]][place[1]] if isinstance(place, tuple) else node.value[place]


def replace(node: yaml.Node, place: Any, new: yaml.Node) -> None:
    if isinstance(place, tuple):
        pair = list(node.value[place[0]])
        pair[place[1]] = new
        node.value[place[0]] = tuple(pair)
    else:
        node.value[place] = new


def scalar(value: str, style: str | None = None) -> yaml.ScalarNode:
    loader = yaml.SafeLoader("")
    tag = "tag:yaml.org,2002:str" if style else loader.resolve(yaml.ScalarNode, value, (True, False))
    return yaml.ScalarNode(tag, value, style=style)


def bomb() -> yaml.Node:
    """A billion of nothing."""
    node: yaml.Node = scalar("x")
    for _ in range(9):
        node = yaml.SequenceNode("tag:yaml.org,2002:seq", [node] * 10)
    return node


def endless() -> yaml.Node:
    """A list that contains itself."""
    node = yaml.SequenceNode("tag:yaml.org,2002:seq", [])
    node.value += [node, node]
    return node


def rename(document: yaml.Node, rng: random.Random) -> None:
    """Give one name another value, everywhere or here alone."""
    places: list[tuple[yaml.MappingNode, int]] = []
    waiting, seen = [document], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            places += [(node, n) for n, (key, _) in enumerate(node.value) if key.value in NAMES]
        waiting += [
            child(node, place) for place in set(children(node)) if isinstance(child(node, place), yaml.Node)
        ]
    scalars = [(node, n) for node, n in places if isinstance(node.value[n][1], yaml.ScalarNode)]
    if not scalars:
        return
    node, n = rng.choice(scalars)
    old, new = node.value[n][1].value, rng.choice(HOSTILE)
    everywhere = rng.random() < 0.7
    for other, number in scalars:
        key, value = other.value[number]
        if (other, number) == (node, n) or (everywhere and value.value == old):
            other.value[number] = (key, scalar(new, '"'))


def mutate_structure(document: yaml.Node, rng: random.Random) -> None:
    """Change one thing somewhere in the tree; each item of an export is as likely as the others."""
    node, place = document, rng.choice(children(document))
    while rng.random() < 0.8 and children(child(node, place)):
        node = child(node, place)
        place = rng.choice(children(node))
    found = child(node, place)
    kind = rng.randrange(12)
    if kind <= 3:
        replace(node, place, scalar(rng.choice(SCALARS), rng.choice((None, None, "'"))))
    elif kind == 4:
        del node.value[place[0] if isinstance(place, tuple) else place]
    elif kind == 5:
        node.value.insert(rng.randrange(len(node.value) + 1), rng.choice(node.value))
    elif kind == 6:
        rng.shuffle(node.value)
    elif kind == 7:
        wrapped = rng.choice(
            (
                yaml.SequenceNode("tag:yaml.org,2002:seq", [found] * rng.randrange(3)),
                yaml.MappingNode("tag:yaml.org,2002:map", [(scalar("a"), found)]),
                yaml.MappingNode("tag:yaml.org,2002:map", []),
            )
        )
        replace(node, place, wrapped)
    elif kind == 8 and isinstance(found, yaml.ScalarNode):
        cut = found.value[: rng.randrange(len(found.value) + 1)]
        replace(node, place, yaml.ScalarNode(found.tag, cut + rng.choice(("", "", "0", "x")), style="'"))
    elif kind == 9:
        found.tag = rng.choice(TAGS)
    elif kind == 10:
        replace(node, place, rng.choice((bomb, endless))())
    else:
        # Something that belongs elsewhere.
        other: yaml.Node = document
        while children(other) and rng.random() < 0.9:
            other = child(other, rng.choice(children(other)))
        replace(node, place, other)


def mutate_lines(text: bytes, rng: random.Random) -> bytes:
    """Delete, duplicate, swap, indent or cut lines."""
    lines = text.splitlines(keepends=True)
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(8)
    if kind == 0:
        del lines[one : one + rng.randrange(1, 5)]
    elif kind == 1:
        lines[one:one] = lines[other : other + rng.randrange(1, 20)]
    elif kind == 2:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind <= 4:
        del lines[one + 1 :]
    elif kind == 5:
        lines[one] = (
            rng.choice((b" ", b"  ", b"\t", b"- ", b"? ", b"# ", b"%", b"--- ", b"...\n")) + lines[one]
        )
    elif kind == 6:
        deep = rng.choice((900, 20_000))
        lines[one] = lines[one].rstrip(b"\n") + b" " + b"[" * deep + b"]" * deep + b"\n"
    else:
        deep = rng.choice((900, 5_000))
        lines[one] = lines[one].partition(b":")[0] + b": " + b"{a: " * deep + b"}" * deep + b"\n"
    return b"".join(lines)


def mutate_bytes(text: bytes, rng: random.Random) -> bytes:
    """Cut, flip, insert, or encode otherwise."""
    at = rng.randrange(len(text))
    kind = rng.randrange(10)
    if kind == 0:
        return text[:at]
    if kind == 1:
        return text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]
    if kind == 2:
        junk = (
            b"\0",
            b"\xff\xfe",
            b"\xc3",
            b"\x1b",
            b"\t",
            b"\r",
            b"&a ",
            b"*a ",
            b"!!",
            b"\xe2\x80\xa8",
            b"'",
            b'"',
        )
        return text[:at] + rng.choice(junk) + text[at:]
    if kind == 3:
        return text.replace(b"\n", b"\r\n")
    if kind == 4:
        return text.decode().encode(rng.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp037")))
    if kind == 5:
        return text[:at] + text[at + rng.randrange(200) :]
    if kind == 6:
        return text + rng.choice((text, b"---\n" + text, b"...\n", b"\n\n# end\n", b"\0\n"))
    if kind == 7:
        line = text.find(b"\n", at) + 1
        return text[:line] + rng.choice((b"#", b"x: ", b"")) + b"x" * 5_000_000 + b"\n" + text[line:]
    if kind == 8:
        return text.replace(
            b"universe_version: ", rng.choice((b"universe_version: 9", b"universe_version: -"))
        )
    return text.replace(
        b"version: 1.0.", rng.choice((b"version: 1.9.", b"version: 0.0.", b"version: 1.0.x")), 1
    )


def mutate(text: bytes, rng: random.Random) -> bytes:
    """Mutate an export, once or a few times."""
    kind = rng.random()
    if kind < 0.6:
        document = yaml.compose(text, yaml.CSafeLoader)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            rng.choice((mutate_structure, rename))(document, rng)
        try:
            return bytes(
                yaml.serialize(document, Dumper=yaml.SafeDumper, encoding="utf-8", allow_unicode=True)
            )
        except (yaml.YAMLError, RecursionError, TypeError, ValueError):
            return mutate_bytes(text, rng)
    return mutate_lines(text, rng) if kind < 0.8 else mutate_bytes(text, rng)


class Seed(NamedTuple):
    """An export that is right."""

    export: Path
    artifacts: Path
    missing: str


def make_seeds(folder: Path, shared: Path | None) -> list[Seed]:
    """Two exports made here, with their artifacts, and real ones."""
    source = folder / "source"
    Butler.makeRepo(source)
    bias = add_datasets(source, folder / "files", count=3)
    flat = add_datasets(source, folder / "files", kind="flat", run="run/flat", count=3)
    certify(source, bias)
    butler = Butler.from_config(source, writeable=True)
    butler.collections.register("best", CollectionType.TAGGED, doc="The best ones.")
    butler.registry.associate("best", flat[:2])
    butler.collections.register("all", CollectionType.CHAINED)
    butler.collections.redefine_chain("all", ["best", "calib", "run/bias", "run/flat"])
    (folder / "small").mkdir()
    export_file = folder / "small.yaml"
    with butler.export(directory=str(folder / "small"), filename=str(export_file), transfer="copy") as export:
        export.saveDatasets([*bias, *flat])
        for name in ("best", "calib", "run/bias", "run/flat", "all"):
            export.saveCollection(name)
    raws = write_raws(folder / "raws", exposures=3, detectors=4)
    seeds = [Seed(export_file, folder / "small", "fail"), Seed(raws, folder / "raws", "fail")]
    for path in sorted(shared.glob("*.yaml")) if shared else ():
        if path.stat().st_size < 200_000:
            seeds.append(Seed(path, folder / "small", "register"))
    return seeds


class TakesTooLongError(Exception):
    """A case did not end in time."""


def _alarm(*_: object) -> None:
    raise TakesTooLongError


class Fuzzer:
    """Runs cases, each on a repository of its own; datasets go into it set by set from ``staged_from`` on."""

    def __init__(
        self, folder: Path, seeds: Sequence[Seed], server: PostgresServer | None, staged_from: int
    ) -> None:
        self._staged_from = staged_from
        self._folder = folder
        self._seeds = seeds
        self._server = server
        self._start: dict[Path | None, Repository] = {}

    def _starting_point(self, seed: Seed | None) -> Repository:
        """An empty repository, or one with an export in it."""
        key = seed and seed.export
        if key not in self._start:
            root = self._folder / f"start{len(self._start)}"
            if self._server is None:
                Butler.makeRepo(root)
                self._start[key] = Repository.on_sqlite(root)
            else:
                self._start[key] = make_on(self._server, root, lambda *login: None)
            if seed is not None:
                # Real exports that need others before them leave it empty.
                with contextlib.suppress(ReplicaError):
                    self._import(root, seed, seed.export)
        return self._start[key]

    def _copy(self, start: Repository) -> Repository:
        """A fresh copy in the place of the one before."""
        root = self._folder / "repository"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(start.root, root)
        if self._server is None:
            return Repository.on_sqlite(root)
        self._server.drop_database(root.name)
        self._server.copy_database(start.name, root.name)
        config = Config(str(root / "butler.yaml"))
        config["registry", "db"] = self._server.url(root.name)
        config.dumpToUri(str(root / "butler.yaml"))
        url = self._server.url(root.name, self._server.role, self._server.password)
        return Repository(root, "postgresql", root.name, url)

    def _import(self, root: Path, seed: Seed, export: Path) -> Any:
        return import_exports(
            root,
            [export],
            artifacts=seed.artifacts,
            missing=seed.missing,
            transfer="copy",
            staged_from=self._staged_from,
        )

    def run(self, number: int, rng: random.Random) -> tuple[str, Path]:
        """Run one case; return how it ended and the export. Raises where it must not end so."""
        seed = self._seeds[rng.choice((0, 1, rng.randrange(len(self._seeds))))]
        export = self._folder / f"case{number}.yaml"
        export.write_bytes(mutate(seed.export.read_bytes(), rng))
        start = self._starting_point(seed if rng.random() < 0.3 else None)
        repository = self._copy(start)
        root, before = repository.root, tree(repository.root)
        signal.alarm(SECONDS)
        try:
            try:
                self._import(root, seed, export)
            except ReplicaError as error:
                signal.alarm(0)
                assert export.name in str(error), f"the message does not name the file: {error}"
                assert len(str(error)) < 20_000, f"a message of {len(str(error))} characters"
                assert tree(root) == before, "the folder was changed"
                if self._server is not None or digest(root) != digest(start.root):
                    assert registry_tables(repository) == registry_tables(start), f"changed although: {error}"
                return f"refused: {type(error).__name__}", export
            self._check(repository, seed, export)
        finally:
            signal.alarm(0)
        return "imported", export

    def _check(self, repository: Repository, seed: Seed, export: Path) -> None:
        described = {
            "name": "case",
            "exports": [str(export)],
            "artifacts": str(seed.artifacts),
            "missing": seed.missing,
            "transfer": "copy",
        }
        failures = [
            failure
            for failure in verify(str(repository), [described]).failures
            if "no collection" not in failure and not ("CALIBRATION" in failure and "is empty" in failure)
        ]
        assert not failures, f"verify: {failures[:3]}"
        before, rows = tree(repository.root), registry_tables(repository)
        again = self._import(repository.root, seed, export)
        assert not again.changed, f"the rerun changes something: {again.diff()}"
        assert (tree(repository.root), registry_tables(repository)) == (before, rows)


def digest(root: Path) -> str:
    return hashlib.sha256((root / "gen3.sqlite3").read_bytes()).hexdigest()


def fuzz(
    count: int, seed: int, only: int | None, shared: Path | None, keep: Path, backend: str, *, staged: bool
) -> Iterator[tuple[int, str]]:
    """Run cases; yield what became of each."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(temporary_server()) if backend == "postgresql" else None
        os.environ["LSST_DB_AUTH"] = str(write_auth(folder / "db-auth.yaml", server))
        fuzzer = Fuzzer(folder, make_seeds(folder, shared), server, 0 if staged else STAGED_FROM)
        for number in range(count) if only is None else [only]:
            try:
                outcome, export = fuzzer.run(number, random.Random(f"{seed}-{number}"))
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                keep.mkdir(exist_ok=True)
                shutil.copy(folder / f"case{number}.yaml", keep)
                said = "".join(traceback.format_exception(error, limit=-4))
                yield number, f"WRONG: {said[:3000]}"
            else:
                export.unlink()
                yield number, outcome


@click.command()
@click.option("--count", default=1000)
@click.option("--seed", default=1)
@click.option("--only", type=int, help="Run this case alone.")
@click.option("--shared", type=click.Path(path_type=Path, exists=True), help="Folder of real exports.")
@click.option("--backend", type=click.Choice(["sqlite", "postgresql"]), default="sqlite")
@click.option("--staged/--by-ref", help="Compare few datasets set by set, too.")
@click.option("--keep", type=click.Path(path_type=Path), default=Path("fuzz"), help="Where wrong cases go.")
def main(
    count: int, seed: int, only: int | None, shared: Path | None, backend: str, staged: bool, keep: Path
) -> None:
    """Run the cases; fail if one ends as none may."""
    signal.signal(signal.SIGALRM, _alarm)
    limit = MEGABYTES << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    outcomes: Counter[str] = Counter()
    for number, outcome in fuzz(count, seed, only, shared, keep, backend, staged=staged):
        outcomes[outcome.partition("\n")[0] if outcome.startswith("WRONG") else outcome] += 1
        if outcome.startswith("WRONG"):
            click.echo(f"case {number} (--seed {seed} --only {number}): {outcome}")
    wrong = sum(n for outcome, n in outcomes.items() if outcome.startswith("WRONG"))
    click.echo(
        f"{outcomes.total()} cases: "
        + ", ".join(f"{n} {o}" for o, n in outcomes.most_common() if "WRONG" not in o)
    )
    click.echo(f"{wrong} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

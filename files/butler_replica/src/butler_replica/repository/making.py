"""The repository itself: what is there, the guard, making it and making it anew.

Guard, destruction and creation are one function: there is no way to the code
that removes something that does not lead through the guard.

A replica is destroyed in an order that can be continued after an
interruption, and whatever can be against it is asked before the first step.
``butler.yaml`` is renamed first: from then on no butler opens the repository,
and the file says what is left to do. The database is renamed next, which a
server refuses where it would refuse to drop it; then ``butler.yaml`` gets its
name back, and nothing was touched. The artifacts go next, while the renamed
database still tells which files are artifacts; then the database; the renamed
file at last.
"""

from __future__ import annotations

__all__ = ["RepositoryResult", "ensure_repository"]

import gc
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
import yaml
from lsst.daf.butler import Butler, ButlerConfig, Config
from lsst.resources import ResourcePath

from ..artifacts.partial_copies import is_partial_copy
from ..errors import RefusedError, ReplicaError, RepositoryError
from ..interrupts import ended_by_signals
from ..local_paths import local_path
from ..options import ImportSet
from ..session.lock import LOCK_NAME, LOCK_WAIT_SECONDS, repository_lock
from ..session.opening import database_errors
from ..sets import DataPlaces, data_places, parse_sets
from .database import Database, DatabaseState, RegistryState
from .databases import open_database
from .folder import FolderContent, artifacts_among, empty_folder, is_pruned_record, place_problem, scan_folder
from .postgres import PostgresDatabase
from .repository_result import RepositoryResult
from .sqlite import SqliteDatabase

CONFIG_NAME = "butler.yaml"
DOOMED_NAME = "butler.being-destroyed.yaml"
"""Name of ``butler.yaml`` from the first step of a destruction to the last."""

_NEW_CONFIG_NAME = "butler.new.yaml"
_SHOWN_FILES = 5


def ensure_repository(
    root: str | os.PathLike[str],
    *,
    config: Mapping[str, Any],
    label: str = "",
    confirm_destroy: object = "",
    sets: Iterable[ImportSet | Mapping[str, Any]] = (),
    dry_run: bool = False,
) -> RepositoryResult:
    """Make a repository, continue the one that is there, or make it anew.

    Parameters
    ----------
    root : `str` or `os.PathLike`
        The repository folder; a symbolic link means what it leads to.
    config : `~collections.abc.Mapping`
        What ``butler.yaml`` must say: ``registry.db`` without credentials
        and, where they differ from the butler's defaults, ``registry.namespace``,
        ``datastore.root`` and any other key. ``<butlerRoot>`` stands for the
        folder.
    label : `str`, optional
        Name of the repository; by default that of its folder.
    confirm_destroy : `str`, optional
        Name of the database, or on SQLite of the repository: the replica is
        removed and made anew. Empty or `None`: nothing is ever removed.
        Anything else is refused.
    sets : `~collections.abc.Iterable`, optional
        What is replicated, as for `~butler_replica.sets.parse_sets`: a
        repository that could take data with it is not removed.
    dry_run : `bool`, optional
        Say what would be done and change nothing; refusals are the same.

    Returns
    -------
    result : `RepositoryResult`
        What was done.

    Raises
    ------
    RefusedError
        Raised if ``confirm_destroy`` is not the right name, or if it is and
        something there is not this project's to remove.
    RepositoryError
        Raised if what is there is no repository, only half of one or another
        one, or if the database cannot be used.
    """
    given = local_path(root)
    target = _Target.from_config(_checked_root(given), config, label or Path(os.path.normpath(given)).name)
    destroy = _is_confirmed(confirm_destroy, target)
    data = data_places(parse_sets(sets))
    # What is to be removed is not waited for: it is another thing then than whoever confirmed it has seen.
    wait_seconds = 0.0 if destroy else LOCK_WAIT_SECONDS
    try:
        if destroy and not dry_run and target.doomed_path.is_file():
            with repository_lock(target.root):
                target.database.restore()
        plan = _make_plan(target, data, destroy=destroy)
        if dry_run or not plan.result.changed:
            plan.result.dry_run = dry_run
            return plan.result
        # Only now is anything written, the lock file included: a refusal touches nothing.
        _make_folder(target.root)
        with ended_by_signals(), repository_lock(target.root, wait_seconds=wait_seconds):
            return _carry_out(_make_plan(target, data, destroy=destroy))
    except OSError as error:
        raise RepositoryError(
            f"{error.filename or target.root}: {error.strerror or error}. Work as the user who owns the repository "
            "folder, and let that user into it and into the folders above it."
        ) from error


@dataclass(frozen=True)
class _Target:
    """The repository that is asked for."""

    root: Path
    config: Config
    name: str
    database: Database
    datastore: str
    """The datastore's root, relative to the folder."""

    records_table: str

    @classmethod
    def from_config(cls, root: Path, config: Mapping[str, Any], label: str) -> _Target:
        given = Config(dict(config))
        if ("datastore", "root") not in given:
            given["datastore", "root"] = "<butlerRoot>"
        if not given.get(("registry", "db")):
            raise RepositoryError(f"{root}: the configuration asked for has no registry.db.")
        full = ButlerConfig(given)
        database = _database_of(root, full)
        if database.url.password or database.url.username:
            raise RepositoryError(
                f"{root}: registry.db holds credentials. They belong in ~/.lsst/db-auth.yaml, not in "
                f"{CONFIG_NAME}."
            )
        if isinstance(database, SqliteDatabase) and database.path.parent != root:
            raise RepositoryError(
                f"{root}: the SQLite file {database.path} is not in the repository folder. "
                "Write it as sqlite:///<butlerRoot>/gen3.sqlite3."
            )
        name = database.name if isinstance(database, PostgresDatabase) else label
        if not name:
            raise RepositoryError(f"{root}: registry.db names no database ({database.url}).")
        datastore = os.path.relpath(_filled(root, full["datastore", "root"]), root)
        if datastore.split("/")[0] == "..":
            raise RepositoryError(
                f"{root}: datastore.root is {full['datastore', 'root']}, outside the repository folder. The "
                "folder and its artifacts are kept and removed together: take a path below <butlerRoot>."
            )
        return cls(root, given, name, database, datastore, str(full["datastore", "records", "table"]))

    @property
    def config_path(self) -> Path:
        return self.root / CONFIG_NAME

    @property
    def doomed_path(self) -> Path:
        return self.root / DOOMED_NAME

    @property
    def housekeeping(self) -> frozenset[str]:
        """Files of the repository that are no artifacts."""
        database = self.database.files if isinstance(self.database, SqliteDatabase) else frozenset()
        return frozenset({CONFIG_NAME, _NEW_CONFIG_NAME, DOOMED_NAME, LOCK_NAME}) | database


@dataclass
class _Plan:
    """What is to be done, all of it known before the first change."""

    target: _Target
    state: DatabaseState
    result: RepositoryResult
    destruction: _Destruction | None = None
    create: bool = False
    new_config: Config | None = None
    """Changed ``butler.yaml`` of a repository that is continued."""


def _is_confirmed(confirm_destroy: object, target: _Target) -> bool:
    if confirm_destroy is None or confirm_destroy == "":
        return False
    if isinstance(confirm_destroy, str) and confirm_destroy == target.name:
        return True
    what = "database" if isinstance(target.database, PostgresDatabase) else "repository"
    raise RefusedError(
        f"confirm_destroy is {confirm_destroy!r}, which is not the name of the {what}. Nothing was touched. "
        f"To remove the replica in {target.root} with its registry in {target.database.url} and make it "
        f"anew, type confirm_destroy={target.name}; to continue the one that is there, leave it unset."
    )


def _make_plan(target: _Target, data: DataPlaces, *, destroy: bool) -> _Plan:
    if destroy and (problem := place_problem(target.root, data)):
        raise RefusedError(f"{target.root} {problem}: it is not removed, nothing was touched.")
    config_path = next((p for p in (target.doomed_path, target.config_path) if p.is_file()), None)
    if config_path is not None:
        _check_same_repository(target, config_path, RefusedError if destroy else RepositoryError)
    state = target.database.inspect()
    _check_schema(target, state)
    plan = _Plan(target, state, RepositoryResult(target.root, target.name, str(target.database.url)))
    if config_path == target.config_path and state.registry is RegistryState.COMPLETE and not destroy:
        _plan_continuation(plan)
        return plan
    content = scan_folder(target.root)
    plan.result.before = _describe(target, content, state)
    if destroy:
        plan.destruction = _guarded(target, state, content, config_path)
        if plan.destruction:
            plan.result.destroyed = True
            plan.result.removed_files = plan.destruction.n_removed
            plan.result.actions += plan.destruction.actions
    elif config_path == target.doomed_path:
        raise RepositoryError(
            f"{target.root}: the removal of this replica was begun and interrupted. "
            f"Finish it with confirm_destroy={target.name}; the replica is then made anew."
        )
    else:
        _check_room(target, content, state, has_config=config_path is not None)
    _plan_creation(plan, config_path)
    return plan


def _check_same_repository(target: _Target, path: Path, error: type[ReplicaError]) -> None:
    """Refuse a folder whose ``butler.yaml`` describes another repository than the one asked for."""
    try:
        found = ButlerConfig(path)
        facts = {
            "registry.db": (
                _without_options(_database_of(target.root, found)),
                _without_options(target.database),
            ),
            "registry.namespace": (found.get(("registry", "namespace")) or "", _namespace(target.config)),
            "datastore.root": (
                _filled(target.root, found["datastore", "root"]),
                os.path.normpath(target.root / target.datastore),
            ),
            "datastore.records.table": (found["datastore", "records", "table"], target.records_table),
        }
    except (RuntimeError, LookupError, TypeError, ValueError, OSError, yaml.YAMLError) as problem:
        raise error(
            f"{path}: not the configuration of a repository: {problem}. Nothing was touched."
        ) from problem
    for key, (there, asked) in facts.items():
        if there != asked:
            raise error(
                f"{path}: {key} is {str(there)!r}, but {str(asked)!r} was asked for. This folder belongs to "
                "another repository; nothing was touched. Ask for the same, or take another folder."
            )


def _check_schema(target: _Target, state: DatabaseState) -> None:
    """Refuse to put a registry among the tables of somebody else, or where names cannot be stored."""
    if state.exists and state.registry is RegistryState.ABSENT and state.encoding != "UTF8":
        raise RepositoryError(
            f"{target.database.url}: the database has the encoding {state.encoding}; a registry needs UTF8. Nothing "
            "was touched. Let an administrator make it anew with TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' "
            "LC_CTYPE 'C', or take another database (butler_db_name)."
        )
    if state.tables and state.registry is RegistryState.ABSENT:
        raise RepositoryError(
            f"{target.database.url}: the database holds tables that are no registry "
            f"({_some(state.tables)}); nothing was touched. Take another database, or give the registry a "
            "schema of its own (butler_db_namespace)."
        )


def _check_room(target: _Target, content: FolderContent, state: DatabaseState, *, has_config: bool) -> None:
    """Refuse to make a repository over half of one, or over somebody's files."""
    again = f"To remove what is left and make the replica anew, type confirm_destroy={target.name}."
    rest = content.without(target.housekeeping)
    if state.registry is RegistryState.INCOMPLETE:
        raise RepositoryError(f"{target.database.url}: the making of this registry was interrupted. {again}")
    if state.registry is RegistryState.COMPLETE:
        raise RepositoryError(
            f"{target.root}: there is no {CONFIG_NAME}, but {target.database.url} holds a registry: half of "
            f"a repository. Put {CONFIG_NAME} back to continue it. {again}"
        )
    if not rest.is_empty and has_config:
        raise RepositoryError(
            f"{target.root}: the folder holds a repository's files ({_some_content(rest)}), but "
            f"{target.database.url} holds no registry: half of a repository. Restore the database to continue "
            f"it. {again}"
        )
    if not rest.is_empty:
        raise RepositoryError(
            f"{target.root}: the folder holds files that are no Butler repository ({_some_content(rest)}). "
            "Nothing was touched. Take another folder, or move them away."
        )


def _plan_continuation(plan: _Plan) -> None:
    """Bring ``butler.yaml`` up to date, and the extension back if it was dropped."""
    target, result = plan.target, plan.result
    if not plan.state.has_extension:
        result.actions.append("create the extension btree_gist")
    old, config = _updated_config(target)
    if config.dump() != old:
        plan.new_config = config
        result.actions.append(f"update {target.config_path}")
        result.before = {CONFIG_NAME: str(old)}
        result.after = {CONFIG_NAME: str(config.dump())}


def _updated_config(target: _Target) -> tuple[str, Config]:
    """Return the text of ``butler.yaml``, and what it has to say."""
    config = Config(target.config_path)
    old = str(config.dump())
    if _is_root(config.get("root"), target.root):
        _movable(config)  # a making that was interrupted at its end
    config.update(_without_location(target.config))
    if _database_of(target.root, config).url.query != target.database.url.query:
        config["registry", "db"] = target.config["registry", "db"]
    return old, config


def _without_location(config: Config) -> dict[str, Any]:
    """Return a configuration without what is compared rather than updated.

    The same place may be written in more than one way, and managers cannot be
    changed once there are tables.
    """
    update = dict(config.toDict())
    for component, keys in (("registry", ("db", "namespace", "managers")), ("datastore", ("root",))):
        if component in update:
            update[component] = {k: v for k, v in update[component].items() if k not in keys}
    return update


@dataclass(frozen=True)
class _Destruction:
    """What is removed of a replica; made by the guard alone."""

    target: _Target
    state: DatabaseState
    own_files: frozenset[str]
    links: int
    config_path: Path | None

    @property
    def n_removed(self) -> int:
        """Number of artifacts and links."""
        return len(self.own_files) + self.links

    @property
    def actions(self) -> list[str]:
        """What is done, in words."""
        target = self.target
        files = f"remove {len(self.own_files)} artifacts and {self.links} links from {target.root}"
        return [
            *([files] if self.n_removed else []),
            *([f"drop the database {target.database.url}"] if self.state.exists else []),
            *([f"remove {self.config_path}"] if self.config_path is not None else []),
        ]

    def carry_out(self) -> None:
        """Remove database and folder."""
        target = self.target
        had_config = target.config_path.exists()
        if had_config:
            target.config_path.replace(target.doomed_path)
        if self.state.exists:
            try:
                target.database.retire(self.state)
            except ReplicaError:
                if had_config:
                    target.doomed_path.replace(target.config_path)
                raise
        _, others = empty_folder(target.root, self.own_files, target.housekeeping)
        if others:
            raise RefusedError(
                f"{target.root}: files appeared while the replica was being removed ({_some(others)}). They and "
                f"the database were kept. Move them away and run this again with confirm_destroy={target.name}."
            )
        target.database.drop()
        target.doomed_path.unlink(missing_ok=True)


def _guarded(
    target: _Target, state: DatabaseState, content: FolderContent, config_path: Path | None
) -> _Destruction | None:
    """Go through everything that would be removed, and refuse what is not ours."""
    rest = content.without({LOCK_NAME})
    if rest.is_empty and not state.exists:
        return None
    if not state.exists and config_path is None:
        raise RefusedError(
            f"{target.root} holds no repository of this project ({_some_content(rest)}): it is not removed, "
            "nothing was touched."
        )
    if state.exists:
        _check_database_is_ours(target, state, has_config=config_path is not None)
    if content.locked:
        raise RefusedError(
            f"{target.root}: in {len(content.locked)} of its folders ({_some(sorted(content.locked))}) this user may "
            "remove nothing: nothing was touched. Work as the user who owns them, or give them to this one."
        )
    candidates = content.without(target.housekeeping).files
    if candidates:
        _check_files_are_ours(target, state, candidates)
    return _Destruction(target, state, frozenset(candidates), content.links, config_path)


def _check_files_are_ours(target: _Target, state: DatabaseState, candidates: set[str]) -> None:
    recorded = target.database.artifact_paths(target.records_table, state) if state.exists else iter(())
    artifacts = artifacts_among(candidates, recorded, target.root, target.datastore)
    written = {path for path in candidates if is_pruned_record(os.path.relpath(path, target.datastore))}
    copies = {path for path in candidates if is_partial_copy(f"{target.root}/{path}")}
    if foreign := sorted(candidates - artifacts - written - copies):
        raise RefusedError(
            f"{target.root} holds {len(foreign)} file(s) that this repository has no record of "
            f"({_some(foreign)}): it is not removed, nothing was touched. Move them to another place."
        )


def _check_database_is_ours(target: _Target, state: DatabaseState, *, has_config: bool) -> None:
    database = target.database
    kept = "it is not dropped, nothing was touched."
    if not state.made_here:
        raise RefusedError(
            f"The database {database.url} was not made by this project: {kept} "
            "Drop it by hand if it is to go."
        )
    if isinstance(database, PostgresDatabase):
        folder = os.path.realpath(target.root)
        hint = f"If that is this one, say so in the database: {database.mark(target.root)}"
        if state.made_for != folder:
            raise RefusedError(
                f"The database {database.url} belongs to the repository {state.made_for}: {kept} {hint}"
            )
        if state.made_on != database.host and not has_config:
            raise RefusedError(
                f"The database {database.url} belongs to the repository {state.made_for} of host "
                f"{state.made_on}, and {folder} of this host has no {CONFIG_NAME} that says so: {kept} {hint}"
            )
    if foreign := database.foreign_objects(state):
        raise RefusedError(
            f"The database {database.url} also holds what is not this registry's ({_some(foreign)}): {kept} Move "
            "that to another place, or drop it by hand, first."
        )
    if obstacles := database.obstacles(state):
        raise RefusedError(
            f"The database {database.url} cannot be dropped: {'; '.join(obstacles)}. Nothing was touched. Mend "
            "that and run this again."
        )


def _plan_creation(plan: _Plan, config_path: Path | None) -> None:
    target, result = plan.target, plan.result
    plan.create = True
    result.created = True
    if plan.destruction or not plan.state.exists:
        result.actions.append(f"create the database {target.database.url}")
    elif not plan.state.has_extension:
        result.actions.append("create the extension btree_gist")
    result.actions.append(f"create the repository {target.root}")
    config = Config(config_path) if config_path is not None else Config()
    config.update(target.config)
    made = DatabaseState(exists=True, made_here=True, registry=RegistryState.COMPLETE)
    result.after = _describe(target, FolderContent(exists=True), made) | {CONFIG_NAME: str(config.dump())}


def _carry_out(plan: _Plan) -> RepositoryResult:
    target, result = plan.target, plan.result
    state = plan.state
    if plan.destruction is not None:
        plan.destruction.carry_out()
        state = target.database.inspect()
    if plan.create:
        _create(target, state)
        result.after = _describe(target, scan_folder(target.root), target.database.inspect())
    elif not state.has_extension:
        target.database.create(target.root, state)
    if plan.new_config is not None:
        _replace(target.config_path, str(plan.new_config.dump()))
    return result


def _create(target: _Target, state: DatabaseState) -> None:
    target.database.create(target.root, state)
    with database_errors(target.root):
        # A butler.yaml that is there was written by a making that was interrupted before there were tables.
        # Without its name, a root with a dot in its last part would be taken for that of a file.
        try:
            Butler.makeRepo(
                target.root,
                config=Config(target.config),
                forceConfigRoot=False,
                outfile=str(target.config_path),
                overwrite=True,
            )
        except OSError as error:
            raise RepositoryError(
                f"{target.root}: the repository cannot be made: {str(error).rstrip('.')}."
            ) from error
    _finish(target)
    # lsst-daf-butler 29 leaves its session with the database to the garbage collector.
    gc.collect()


def _finish(target: _Target) -> None:
    """Let everybody read ``butler.yaml`` and the registry who may read the folder, and the folder be moved."""
    readers = target.root.stat().st_mode & 0o666
    config = Config(target.config_path)
    _replace(target.config_path, str(_movable(config).dump()), mode=0o600 | readers & 0o644)
    if isinstance(target.database, SqliteDatabase):
        target.database.path.chmod(0o600 | readers)


def _movable(config: Config) -> Config:
    """Take out the root that the butler writes where it is told the name of the file."""
    if "root" in config:
        del config["root"]
    return config


def _make_folder(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RepositoryError(
            f"{root}: the repository folder cannot be made: {error.strerror}. "
            "Make it as root and give it to the user who works with the repository."
        ) from error


def _replace(path: Path, text: str, mode: int | None = None) -> None:
    """Write a file so that a reader finds the old text or the new one."""
    new = path.with_name(_NEW_CONFIG_NAME)
    new.unlink(missing_ok=True)
    with new.open("x") as stream:
        stream.write(text)
    new.chmod(path.stat().st_mode & 0o7777 if mode is None else mode)
    new.replace(path)


def _checked_root(given: Path) -> Path:
    """Return where a repository folder really is; refuse a path that the butler takes for another one."""
    root = Path(os.path.realpath(given))
    try:
        seen = {
            str(Path(ResourcePath(str(root / CONFIG_NAME)).ospath).parent),
            ResourcePath(str(root), forceDirectory=True).ospath.rstrip("/") or "/",
        }
        problem = "" if seen == {str(root)} else f"the butler takes this path for {max(seen - {str(root)})!r}"
    except (ValueError, OSError) as error:
        problem = f"the butler cannot use this path: {error}"
    if not problem and not str(root).isprintable():
        problem = "the path has control characters"
    if problem:
        raise RepositoryError(
            f"{str(root)!r}: {problem}. Take a folder without #, ?, $ and %41 in its path and those of the folders "
            "above it (butler_repo_root)."
        )
    return root


def _database_of(root: Path, config: Config) -> Database:
    text = str(config["registry", "db"]).replace("<butlerRoot>", str(root).rstrip("/"))
    try:
        url = sqlalchemy.make_url(text)
    except sqlalchemy.exc.ArgumentError as error:
        raise RepositoryError(
            f"{root}: registry.db is not the URL of a database: {str(error).rstrip('.')}."
        ) from error
    if url.get_backend_name() == "postgresql" and url.port is None:
        url = url.set(port=5432)
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        url = url.set(database=os.path.join(os.path.realpath(path.parent), path.name))  # noqa: PTH118
    return open_database(url, _namespace(config), root)


def _without_options(database: Database) -> sqlalchemy.engine.URL:
    """Return where a database is, without how the connection to it is made (``?sslmode=...``)."""
    return database.url.set(query={})


def _namespace(config: Config) -> str:
    return str(config.get(("registry", "namespace")) or "")


def _filled(root: Path, path: str) -> str:
    return os.path.realpath(local_path(str(path).replace("<butlerRoot>", str(root))))


def _is_root(written: object, root: Path) -> bool:
    return isinstance(written, str) and os.path.realpath(local_path(written)) == str(root)


def _describe(target: _Target, content: FolderContent, state: DatabaseState) -> dict[str, str]:
    rest = content.without(target.housekeeping)
    folder = f"{len(rest.files)} files, {rest.links} links" if content.exists else "absent"
    described = {"folder": f"{folder}\n", "database": f"{state}\n"}
    if target.config_path.is_file():
        described[CONFIG_NAME] = target.config_path.read_text()
    return described


def _some(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(names[:_SHOWN_FILES])
    return f"{shown}, and {len(names) - _SHOWN_FILES} more" if len(names) > _SHOWN_FILES else shown


def _some_content(content: FolderContent) -> str:
    links = [f"{content.links} links"] if content.links else []
    return _some([*sorted(content.files), *links])

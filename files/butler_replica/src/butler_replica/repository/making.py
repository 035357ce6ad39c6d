"""Making a repository, continuing one, and making one anew: which of these, and in which order."""

from __future__ import annotations

__all__ = ["RepositoryResult", "ensure_repository"]

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsst.daf.butler import Config

from ..errors import RefusedError, RepositoryError
from ..interrupts import ended_by_signals
from ..local_paths import local_path
from ..options import ImportSet
from ..session.lock import LOCK_WAIT_SECONDS, repository_lock
from ..sets import DataPlaces, data_places, parse_sets
from .creation import create_repository, make_folder, replace_text
from .database import DatabaseState, RegistryState
from .destruction import Destruction, check_place, guarded, is_confirmed
from .existing import check_room, check_same_repository, check_schema, updated_config
from .folder import FolderContent, scan_folder
from .repository_result import RepositoryResult
from .target import CONFIG_NAME, Target, checked_root, describe


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
        Report what would be done and change nothing; refusals are the same.

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
    target = Target.from_config(checked_root(given), config, label or Path(os.path.normpath(given)).name)
    destroy = is_confirmed(confirm_destroy, target)
    data = data_places(parse_sets(sets))
    # What is to be removed is not waited for: it is another thing then than whoever confirmed it has seen.
    wait_seconds = 0.0 if destroy else LOCK_WAIT_SECONDS
    with ended_by_signals(), _file_errors(target):
        if destroy and not dry_run and target.doomed_path.is_file():
            with repository_lock(target.root):
                target.database.restore()
        plan = _make_plan(target, data, destroy=destroy)
        if dry_run or not plan.result.changed:
            plan.result.dry_run = dry_run
            return plan.result
        # Only now is anything written, the lock file included: a refusal touches nothing.
        make_folder(target.root)
        with repository_lock(target.root, wait_seconds=wait_seconds):
            return _carry_out(_make_plan(target, data, destroy=destroy))


@contextmanager
def _file_errors(target: Target) -> Iterator[None]:
    """Turn what the operating system says into words with a remedy."""
    try:
        yield
    except OSError as error:
        raise RepositoryError(
            f"{error.filename or target.root}: {error.strerror or error}. Work as the user who owns the repository "
            "folder, and let that user into it and into the folders above it."
        ) from error


@dataclass
class _Plan:
    """What is to be done, all of it known before the first change."""

    target: Target
    state: DatabaseState
    result: RepositoryResult
    destruction: Destruction | None = None
    create: bool = False
    new_config: Config | None = None
    """Changed ``butler.yaml`` of a repository that is continued."""


def _make_plan(target: Target, data: DataPlaces, *, destroy: bool) -> _Plan:
    if destroy:
        check_place(target, data)
    config_path = next((p for p in (target.doomed_path, target.config_path) if p.is_file()), None)
    if config_path is not None:
        check_same_repository(target, config_path, RefusedError if destroy else RepositoryError)
    state = target.database.inspect()
    check_schema(target, state)
    plan = _Plan(target, state, RepositoryResult(target.root, target.name, str(target.database.url)))
    if config_path == target.config_path and state.registry is RegistryState.COMPLETE and not destroy:
        _plan_continuation(plan)
        return plan
    content = scan_folder(target.root)
    plan.result.before = describe(target, content, state)
    if destroy:
        plan.destruction = guarded(target, state, content, config_path)
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
        check_room(target, content, state, has_config=config_path is not None)
    _plan_creation(plan, config_path)
    return plan


def _plan_continuation(plan: _Plan) -> None:
    """Bring ``butler.yaml`` up to date, and the extension back if it was dropped."""
    target, result = plan.target, plan.result
    if not plan.state.has_extension:
        result.actions.append("create the extension btree_gist")
    old, config = updated_config(target)
    if config.dump() != old:
        plan.new_config = config
        result.actions.append(f"update {target.config_path}")
        result.before = {CONFIG_NAME: str(old)}
        result.after = {CONFIG_NAME: str(config.dump())}


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
    result.after = describe(target, FolderContent(exists=True), made) | {CONFIG_NAME: str(config.dump())}


def _carry_out(plan: _Plan) -> RepositoryResult:
    target, result = plan.target, plan.result
    state = plan.state
    if plan.destruction is not None:
        plan.destruction.carry_out()
        state = target.database.inspect()
    if plan.create:
        create_repository(target, state)
        result.after = describe(target, scan_folder(target.root), target.database.inspect())
    elif not state.has_extension:
        target.database.create(target.root, state)
    if plan.new_config is not None:
        replace_text(target.config_path, str(plan.new_config.dump()))
    return result

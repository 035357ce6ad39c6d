"""The guard, and the removal that it lets pass: there is no other way to the code that removes something.

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

__all__ = ["Destruction", "check_place", "guarded", "is_confirmed"]

import os
from dataclasses import dataclass
from pathlib import Path

from ..artifacts.partial_copies import is_partial_copy
from ..errors import RefusedError, ReplicaError
from ..session.lock import LOCK_NAME
from ..sets import DataPlaces
from ..wording import some
from .database import DatabaseState
from .folder import FolderContent, artifacts_among, empty_folder, is_pruned_record, place_problem
from .postgres import PostgresDatabase
from .target import CONFIG_NAME, Target


def is_confirmed(confirm_destroy: object, target: Target) -> bool:
    """Return whether the replica is to be removed; refuse any other name than its own.

    Parameters
    ----------
    confirm_destroy : `object`
        What was typed.
    target : `Target`
        The repository.

    Returns
    -------
    is_confirmed : `bool`
        Whether its name was typed.
    """
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


def check_place(target: Target, data: DataPlaces) -> None:
    """Refuse to remove a folder with which other things would go; ask this before it is looked into.

    Parameters
    ----------
    target : `Target`
        The repository.
    data : `~butler_replica.sets.DataPlaces`
        Where the data are that are replicated.
    """
    if problem := place_problem(target.root, data):
        raise RefusedError(f"{target.root} {problem}: it is not removed, nothing was touched.")


@dataclass(frozen=True)
class Destruction:
    """What is removed of a replica; made by the guard alone."""

    target: Target
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
                f"{target.root}: files appeared while the replica was being removed ({some(others)}). They and "
                f"the database were kept. Move them away and run this again with confirm_destroy={target.name}."
            )
        target.database.drop()
        target.doomed_path.unlink(missing_ok=True)


def guarded(
    target: Target, state: DatabaseState, content: FolderContent, config_path: Path | None
) -> Destruction | None:
    """Go through everything that would be removed, and refuse what is not ours.

    Parameters
    ----------
    target : `Target`
        The repository.
    state : `DatabaseState`
        What is in its database.
    content : `FolderContent`
        What lies in its folder.
    config_path : `pathlib.Path` or `None`
        Its ``butler.yaml``, by the name that it has now.

    Returns
    -------
    destruction : `Destruction` or `None`
        What is to be removed, if there is anything.
    """
    rest = content.without({LOCK_NAME})
    if rest.is_empty and not state.exists:
        return None
    if not state.exists and config_path is None:
        raise RefusedError(
            f"{target.root} holds no repository of this project ({some(rest.names)}): it is not removed, "
            "nothing was touched."
        )
    if state.exists:
        _check_database_is_ours(target, state, has_config=config_path is not None)
    if content.locked:
        raise RefusedError(
            f"{target.root}: in {len(content.locked)} of its folders ({some(sorted(content.locked))}) this user may "
            "remove nothing: nothing was touched. Work as the user who owns them, or give them to this one."
        )
    candidates = content.without(target.housekeeping).files
    if candidates:
        _check_files_are_ours(target, state, candidates)
    return Destruction(target, state, frozenset(candidates), content.links, config_path)


def _check_files_are_ours(target: Target, state: DatabaseState, candidates: set[str]) -> None:
    recorded = target.database.artifact_paths(target.records_table, state) if state.exists else iter(())
    artifacts = artifacts_among(candidates, recorded, target.root, target.datastore)
    written = {path for path in candidates if is_pruned_record(os.path.relpath(path, target.datastore))}
    copies = {path for path in candidates if is_partial_copy(f"{target.root}/{path}")}
    if foreign := sorted(candidates - artifacts - written - copies):
        raise RefusedError(
            f"{target.root} holds {len(foreign)} file(s) that this repository has no record of "
            f"({some(foreign)}): it is not removed, nothing was touched. Move them to another place."
        )


def _check_database_is_ours(target: Target, state: DatabaseState, *, has_config: bool) -> None:
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
            f"The database {database.url} also holds what is not this registry's ({some(foreign)}): {kept} Move "
            "that to another place, or drop it by hand, first."
        )
    if obstacles := database.obstacles(state):
        raise RefusedError(
            f"The database {database.url} cannot be dropped: {'; '.join(obstacles)}. Nothing was touched. Mend "
            "that and run this again."
        )

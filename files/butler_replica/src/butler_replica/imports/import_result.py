"""What an import did, or would do: the plans of its files, as data, as a diff and in words."""

from __future__ import annotations

__all__ = ["FileResult", "ImportResult"]

from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from ..collections.chains import ChainResult
from ..results import Difference, Result
from ..wording import visible
from .datasets import LISTED, MissingArtifact
from .file_plan import FilePlan


@dataclass(frozen=True)
class FileResult:
    """What importing one export file did, or would do: its plan, in numbers and names."""

    path: str
    found: int
    inserted: int
    present: int
    missing: int
    stored: int
    """Datasets whose artifact was put into the datastore."""

    artifacts_added: int
    """Datasets among them that were registered before, without artifact."""

    artifacts_renewed: int
    """Datasets among them that were stored before, and whose artifact was lost, or lay elsewhere."""

    dimension_records: int
    """New dimension records."""

    dataset_types: list[str]
    collections: list[str]
    associations: int
    """New associations with TAGGED and CALIBRATION collections."""

    associations_dropped: int
    """Associations of datasets that were left out."""

    documentation: list[str]
    """Collections that were there without one."""

    notices: list[str]
    changed: bool

    @classmethod
    def of(cls, plan: FilePlan) -> FileResult:
        """Return what a plan does, or would do."""
        datasets, definitions = plan.datasets, plan.definitions
        return cls(
            path=str(plan.export),
            found=plan.found,
            inserted=sum(datasets.inserted.values()),
            present=datasets.present,
            missing=datasets.n_missing,
            stored=datasets.stored,
            artifacts_added=datasets.artifacts_added,
            artifacts_renewed=datasets.artifacts_renewed,
            dimension_records=sum(map(len, plan.dimension_records.values())),
            dataset_types=[kind.name for kind in definitions.dataset_types],
            collections=[item.name for item in definitions.collections],
            associations=plan.associations.count,
            associations_dropped=plan.associations.n_dropped,
            documentation=[*definitions.docs],
            notices=plan.notices,
            changed=plan.changed,
        )


@dataclass
class ImportResult(Result):
    """What an import did, or would do."""

    dry_run: bool = False
    files: list[FileResult] = field(default_factory=list)
    chains: dict[str, list[str]] = field(default_factory=dict)
    """Children of the chains that were made or completed."""

    open_chains: dict[str, list[str]] = field(default_factory=dict)
    """Children that chains of the exports lack, because there is no such collection yet."""

    missing: list[MissingArtifact] = field(default_factory=list)
    """The first of the missing artifacts."""

    inserted: dict[tuple[str, str], int] = field(default_factory=dict)
    """New datasets by dataset type and run."""

    note: str = ""
    """What the user has to say of the exports."""

    @property
    def changed(self) -> bool:
        """Whether the repository was changed, or would be."""
        return bool(self.chains) or any(file.changed for file in self.files)

    def add(self, plan: FilePlan) -> None:
        """Add what a plan does, or would do."""
        self.files.append(FileResult.of(plan))
        for kind, count in plan.datasets.inserted.items():
            self.inserted[kind] = self.inserted.get(kind, 0) + count
        self.missing += plan.datasets.missing[: max(0, LISTED - len(self.missing))]

    def add_chains(self, chains: Iterable[ChainResult], named: Container[str]) -> None:
        """Add what chains become, or would become.

        Parameters
        ----------
        chains : `~collections.abc.Iterable` [ `~butler_replica.collections.chains.ChainResult` ]
            Chains that an export, or one before it, has children for.
        named : `~collections.abc.Container` [ `str` ]
            Those of the export.
        """
        for chain in chains:
            if chain.changed:
                self.chains[chain.name] = list(chain.after)
            if chain.name in named or chain.name in self.open_chains:
                self.open_chains[chain.name] = list(chain.open)
        self.open_chains = {name: missing for name, missing in self.open_chains.items() if missing}

    def total(self, name: str) -> int:
        """Sum a count over all files.

        Parameters
        ----------
        name : `str`
            A count of `FileResult`.

        Returns
        -------
        total : `int`
            Its sum.
        """
        return sum(getattr(file, name) for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON data."""
        return {
            "dry_run": self.dry_run,
            "datasets": {
                name: self.total(name)
                for name in ("found", "inserted", "present", "missing", "stored", "artifacts_added")
            },
            "artifacts_renewed": self.total("artifacts_renewed"),
            "dimension_records": self.total("dimension_records"),
            "associations": self.total("associations"),
            "associations_dropped": self.total("associations_dropped"),
            "files": [asdict(file) for file in self.files],
            "chains": self.chains,
            "open_chains": self.open_chains,
            "missing": [missing._asdict() for missing in self.missing],
            "inserted": [
                {"dataset_type": kind, "run": run, "count": count}
                for (kind, run), count in sorted(self.inserted.items())
            ],
        }

    def differences(self) -> Iterator[Difference]:
        """See `.Result.differences`."""
        lines = [
            visible(f"{kind} in {run}: {count} datasets")
            for (kind, run), count in sorted(self.inserted.items())
        ]
        for file in self.files:
            lines += [visible(f"dataset type {name}") for name in file.dataset_types]
            lines += [visible(f"collection {name}") for name in file.collections]
            lines += [visible(f"documentation of collection {name}") for name in file.documentation]
        for label in ("dimension_records", "artifacts_added", "artifacts_renewed", "associations"):
            if count := self.total(label):
                lines.append(f"{label.replace('_', ' ')}: {count}")
        lines += [visible(f"chain {name} -> {', '.join(children)}") for name, children in self.chains.items()]
        yield Difference("repository", "", "\n".join(lines) + "\n", "repository with the exports")

    def show(self, console: Console) -> None:
        """Print the result for a reader."""
        title = "Would be imported" if self.dry_run else "Imported"
        if self.note:
            console.print(visible(self.note), markup=False, highlight=False, soft_wrap=True)
        table = Table(title=f"{title}: {len(self.files)} export files", title_justify="left")
        table.add_column("dataset type")
        table.add_column("run")
        table.add_column("inserted", justify="right")
        for (kind, run), count in sorted(self.inserted.items()):
            table.add_row(kind, run, f"{count:,}")
        if self.inserted:
            console.print(table)
        else:
            console.print(f"{title}: no new dataset, from {len(self.files)} export files.")
        console.print(
            f"Datasets: {self.total('found'):,} found, {self.total('inserted'):,} inserted, "
            f"{self.total('present'):,} present, {self.total('missing'):,} without artifact. "
            f"Artifacts: {self.total('stored'):,}. Dimension records: {self.total('dimension_records'):,}."
        )
        if dropped := self.total("associations_dropped"):
            console.print(
                f"Associations: {self.total('associations'):,}; {dropped:,} left out, whose datasets are not here."
            )
        if renewed := self.total("artifacts_renewed"):
            console.print(f"{renewed:,} of these artifacts were no longer where the repository had them.")
        for missing in self.missing[:10]:
            console.print(
                f"  missing: {missing.path} ({missing.reason})", markup=False, highlight=False, soft_wrap=True
            )
        if (more := self.total("missing") - 10) > 0:
            console.print(f"  and {more:,} more")
        for name, children in self.open_chains.items():
            console.print(
                f"  open: chain {name} waits for {', '.join(children)}", markup=False, soft_wrap=True
            )
        for notice in dict.fromkeys(notice for file in self.files for notice in file.notices):
            console.print(f"  {notice}", markup=False, soft_wrap=True)
        if not self.changed:
            console.print("Nothing changed.")

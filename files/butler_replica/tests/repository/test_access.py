"""Credentials and repository index: found by the stock butler, entries of the user kept."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lsst.daf.butler import Butler

from butler_replica.errors import ConflictError, RepositoryError
from butler_replica.repository.access import ensure_credentials, ensure_index_entry

URL = "postgresql://db.example.org:5432/dc2"


def found(path: Path) -> list[str | None]:
    """Ask the butler's own code, in a process of its own, for the credentials."""
    script = (
        "import json, sys; from lsst.utils.db_auth import DbAuth;"
        "print(json.dumps(DbAuth(sys.argv[1]).getAuth('postgresql', None, 'db.example.org', 5432, 'dc2')))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "LSST_DB_AUTH"}
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True, env=environment
    )
    answer = json.loads(done.stdout)
    assert isinstance(answer, list)
    return answer


def test_credentials_are_made_private(tmp_path: Path) -> None:
    path = tmp_path / ".lsst" / "db-auth.yaml"
    foretold = ensure_credentials(path, url=URL, username="dc2", password="s'cr#t: ", dry_run=True)
    assert foretold.changed
    assert not path.parent.exists()
    result = ensure_credentials(path, url=URL, username="dc2", password="s'cr#t: ")
    assert result.changed
    assert "s'cr#t" not in json.dumps([result.to_dict(), result.diff()])
    assert found(path) == ["dc2", "s'cr#t: "]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not ensure_credentials(path, url=URL, username="dc2", password="s'cr#t: ").changed


@pytest.mark.parametrize(
    "text",
    [
        "# mine\n- url: postgresql://*\n  username: me\n  password: old\n",
        "---\n- url: postgresql://*\n  username: me\n  password: old\n",
        "  - {url: 'postgresql://*', username: me, password: old}\n",
        f"- url: {URL}\n  username: dc2\n  password: stale\n- url: postgresql://*\n  username: me\n  password: old\n",
        '[{"url": "postgresql://*", "username": "me", "password": "old"}]',
    ],
)
def test_credentials_of_the_user_are_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "db-auth.yaml"
    path.write_text(text)
    path.chmod(0o644)
    result = ensure_credentials(path, url=URL, username="dc2", password="new")
    assert not {"old", "stale", "new"} & set(json.dumps(result.diff()).replace('"', " ").split())
    assert found(path) == ["dc2", "new"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    entries = yaml.safe_load(path.read_text())
    assert [entry["url"] for entry in entries] == [URL, "postgresql://*"]
    assert entries[1] == {"url": "postgresql://*", "username": "me", "password": "old"}
    assert ("# mine" in path.read_text()) == ("# mine" in text)
    assert not ensure_credentials(path, url=URL, username="dc2", password="new").changed


def test_credentials_that_fit_are_left_alone_but_for_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "db-auth.yaml"
    text = "- {url: 'postgresql://*.example.org', username: dc2, password: right}\n"
    path.write_text(text)
    path.chmod(0o600)
    assert not ensure_credentials(path, url=URL, username="dc2", password="right").changed
    path.chmod(0o640)
    assert ensure_credentials(path, url=URL, username="dc2", password="right").actions == [
        "set the mode to 0600"
    ]
    assert path.read_text() == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["a: b\n", "- just text\n", "- [\n", "- {username: me}\n"])
def test_other_files_are_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "db-auth.yaml"
    path.write_text(text)
    with pytest.raises(RepositoryError, match=r"db-auth\.yaml.*Mend the file"):
        ensure_credentials(path, url=URL, username="dc2", password="x")
    assert path.read_text() == text


def test_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "dc2"
    Butler.makeRepo(root)
    index = tmp_path / "etc" / "repositories.yaml"
    assert ensure_index_entry(index, label="dc2", root=root, dry_run=True).changed
    assert not index.exists()
    assert ensure_index_entry(index, label="dc2", root=root).changed
    assert not ensure_index_entry(index, label="dc2", root=root).changed
    monkeypatch.setenv("DAF_BUTLER_REPOSITORY_INDEX", str(index))
    assert not Butler.from_config("dc2").collections.query("*")


def test_index_entries_of_others_are_kept(tmp_path: Path) -> None:
    index = tmp_path / "repositories.yaml"
    index.write_text("# ours\nhsc: /repo/hsc  # precious")
    result = ensure_index_entry(index, label="dc2", root="/repo/dc2")
    assert index.read_text() == "# ours\nhsc: /repo/hsc  # precious\ndc2: /repo/dc2\n" == result.after


def test_label_of_another_repository(tmp_path: Path) -> None:
    other = tmp_path / "other"
    Butler.makeRepo(other)
    index = tmp_path / "repositories.yaml"
    index.write_text(f"dc2: {other}\n")
    with pytest.raises(ConflictError, match=str(other)):
        ensure_index_entry(index, label="dc2", root=tmp_path / "dc2")
    assert index.read_text() == f"dc2: {other}\n"
    other.rename(tmp_path / "gone")
    assert ensure_index_entry(index, label="dc2", root=tmp_path / "dc2").changed
    assert yaml.safe_load(index.read_text()) == {"dc2": str(tmp_path / "dc2")}

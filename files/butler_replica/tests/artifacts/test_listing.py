from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from butler_replica.artifacts.listing import Listing
from butler_replica.errors import ArtifactError


def test_links_exist_where_they_lead_to_a_file(tmp_path: Path) -> None:
    data, repo = tmp_path / "data", tmp_path / "repo"
    data.mkdir()
    repo.mkdir()
    (data / "file").write_text("x")
    (data / "folder").mkdir()
    (tmp_path / "mount").symlink_to(data)
    links = {
        "absolute": data / "file",
        "relative": Path("../data/file"),
        "through_a_folder": tmp_path / "mount" / "file",
        "second": repo / "relative",
        "dangling": data / "gone",
        "loop": repo / "loop",
        "of_a_folder": data / "folder",
        "nowhere": Path("/no/such/folder/file"),
        "below_a_file": data / "file" / "x",
    }
    for name, target in links.items():
        (repo / name).symlink_to(target)
    listing = Listing()
    found = {name for name in links if listing.exists(str(repo / name))}
    assert found == {"absolute", "relative", "through_a_folder", "second"}
    assert all(listing.is_link(str(repo / name)) for name in links)
    assert listing.exists(str(data / "file"))
    assert not listing.is_link(str(data / "file"))
    assert not listing.exists(str(data / "folder"))


def test_a_listing_is_of_its_moment(tmp_path: Path) -> None:
    listing = Listing()
    assert not listing.exists(str(tmp_path / "file"))
    (tmp_path / "file").touch()
    assert not listing.exists(str(tmp_path / "file"))
    assert Listing().exists(str(tmp_path / "file"))


def test_many_folders(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "file").touch()
    listing = Listing()
    for _ in range(2):
        assert all(listing.exists(str(tmp_path / str(number) / "file")) for number in range(600))


def test_a_folder_that_cannot_be_listed_is_no_missing_file(tmp_path: Path) -> None:
    """Run as an ordinary user: root may list everything."""
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "file").touch()
    folder.chmod(0o300)
    for parent in [tmp_path, *tmp_path.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    if os.geteuid():
        with pytest.raises(ArtifactError, match="cannot be listed"):
            Listing().exists(str(folder / "file"))
        return
    script = (
        "import sys, os; from butler_replica.artifacts.listing import Listing\n"
        "from butler_replica.errors import ArtifactError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try:\n    Listing().exists(sys.argv[1])\nexcept ArtifactError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder / "file")], capture_output=True, text=True, check=True
    )
    assert "cannot be listed (Permission denied)" in done.stdout

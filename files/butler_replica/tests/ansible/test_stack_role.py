"""The role lsst_stack: brought up to date by whatever stage comes first, and its words where pip cannot."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import butler_replica
from kit import PROJECT
from kit.playbooks import inventory, play, said

pytest.importorskip("ansible")
pytestmark = pytest.mark.slow

STAMP = "dc2-replica.json"


@pytest.fixture
def old_stack(tmp_path: Path) -> Path:
    """Make a stack of this environment's packages, with a butler_replica of another state of the project."""
    stack = tmp_path / "stack"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", stack], check=True)
    site = next(stack.glob("lib/python*/site-packages"))
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.copytree(Path(butler_replica.__file__).parent, site / "butler_replica")
    (site / "butler_replica/old.py").write_text("raise SystemExit")
    (stack / STAMP).write_text(json.dumps({"butler_replica": "of yesterday", "kind": "venv"}))
    return stack


@pytest.fixture
def installed_versions(tmp_path: Path) -> Path:
    """Write the versions of this environment down, so that nothing has to be downloaded."""
    freeze = [sys.executable, "-m", "pip", "freeze", "--exclude-editable", "--exclude", "butler-replica"]
    path = tmp_path / "constraints.txt"
    path.write_text(subprocess.run(freeze, check=True, capture_output=True, text=True).stdout)
    return path


def test_any_stage_brings_an_old_package_up_to_date(
    tmp_path: Path, old_stack: Path, installed_versions: Path
) -> None:
    hosts = inventory(
        tmp_path,
        lsst_stack_home=str(old_stack),
        lsst_stack_constraints=str(installed_versions),
        lsst_stack_packages=["lsst-daf-butler"],
        dc2_data_source="sample",
        dc2_data_root=str(tmp_path / "data"),
        dc2_sample_exposures=2,
        dc2_sample_detectors=2,
    )
    arguments = (PROJECT / "site.yml", "-i", hosts, "--tags", "data")
    before = (old_stack / STAMP).read_text()

    check = play(tmp_path, *arguments, "--check", "--diff")
    assert check.returncode == 0, said(check)
    assert "is of another state of this project" in said(check)
    assert (old_stack / STAMP).read_text() == before
    assert not (tmp_path / "data").exists()

    done = play(tmp_path, *arguments, PIP_NO_INDEX="1")
    assert done.returncode == 0, said(done)
    stamp = json.loads((old_stack / STAMP).read_text())
    asked = [
        old_stack / "bin/python",
        "-c",
        "import importlib.metadata as m; print(m.version('butler-replica'))",
    ]
    version = subprocess.run(asked, check=True, capture_output=True, text=True, cwd=tmp_path).stdout.strip()
    assert version.split("+")[1] == stamp["butler_replica"][:12]
    assert (tmp_path / "data/usdf_export").is_dir()


def wheel_that_wants(folder: Path, wanted: str = "not-here") -> Path:
    """Write a wheel, ``here``, that depends on another one into a folder."""
    metadata = f"Metadata-Version: 2.1\nName: here\nVersion: 1.0\nRequires-Dist: {wanted}\n"
    with zipfile.ZipFile(folder / "here-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("here-1.0.dist-info/METADATA", metadata)
        wheel.writestr("here-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("here-1.0.dist-info/RECORD", "")
    return folder


AWAY = {
    "no index": {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_RETRIES": "0"},
    "a mirror with a password": {
        "PIP_INDEX_URL": "http://alice:open-sesame@127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
    },
    "a proxy with a password": {
        "PIP_INDEX_URL": "http://127.0.0.2:9/simple",
        "HTTP_PROXY": "http://alice:open-sesame@127.0.0.1:9",
        "NO_PROXY": "",
        "PIP_RETRIES": "0",
    },
    "an empty folder of wheels": {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/nowhere"},
    "a folder that lacks one": {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "{folder}"},
}


@pytest.mark.parametrize("environment", AWAY.values(), ids=AWAY)
def test_where_pip_reaches_nothing_its_words_lead_to_the_variable(
    tmp_path: Path, old_stack: Path, installed_versions: Path, environment: dict[str, str]
) -> None:
    hosts = inventory(
        tmp_path,
        lsst_stack_home=str(old_stack),
        lsst_stack_constraints=str(installed_versions),
        lsst_stack_packages=["here==1.0" if "{folder}" in environment.values() else "not-here==1.0"],
        lsst_stack_pip_environment={
            "PIP_CONFIG_FILE": "/dev/null",
            **{name: value.format(folder=wheel_that_wants(tmp_path)) for name, value in environment.items()},
        },
    )
    (old_stack / "bin/pip").touch()
    before = (old_stack / STAMP).read_text()
    done = play(tmp_path, PROJECT / "playbooks/stack.yml", "-i", hosts, "-vvv")
    assert done.returncode != 0
    assert "open-sesame" not in done.stdout + done.stderr
    assert "pip could not install butler_replica and what it needs" in said(done)
    for word in (
        "not-here",
        "lsst_stack_pip_environment",
        "PIP_INDEX_URL",
        "HTTPS_PROXY",
        "PIP_CERT",
        "PIP_FIND_LINKS",
    ):
        assert word in said(done)
    assert "Traceback" not in said(done)
    assert (old_stack / STAMP).read_text() == before


def test_a_folder_that_nobody_may_write_to(tmp_path: Path, installed_versions: Path) -> None:
    done = play(
        tmp_path,
        *(PROJECT / "playbooks/stack.yml", "-i"),
        inventory(tmp_path, lsst_stack_home="/proc/stack", lsst_stack_constraints=str(installed_versions)),
    )
    assert done.returncode != 0
    assert "/proc/stack" in said(done)
    assert "Traceback" not in said(done)


def test_the_wheel_has_all_of_the_package_and_its_source_stays_as_it_is(tmp_path: Path) -> None:
    source = PROJECT / "files/butler_replica"
    before = sorted(source.rglob("*"))
    build = PROJECT / "roles/lsst_stack/files/build_wheel.py"
    subprocess.run([sys.executable, build, source, "0123456789ab", tmp_path], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert "+0123456789ab-" in wheel.name
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    found = {
        path.relative_to(tmp_path / "unpacked")
        for path in (tmp_path / "unpacked").rglob("*")
        if path.is_file()
    }
    wanted = {path.relative_to(source / "src") for path in (source / "src").rglob("*.py")}
    wanted |= {path.relative_to(source / "src") for path in (source / "src/butler_replica").rglob("*.yaml")}
    assert wanted <= found
    assert {path for path in sorted(source.rglob("*")) if "__pycache__" not in path.parts} == {
        path for path in before if "__pycache__" not in path.parts
    }

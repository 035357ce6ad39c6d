"""Build a wheel of a package; nothing is written to its source.

Usage: build_wheel.py SOURCE CONTENT FOLDER

SOURCE has ``pyproject.toml`` and ``src``. CONTENT is added to the version, so
that two states of the source are two versions. The wheel is written to FOLDER.
"""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HATCHLING = (1, 27)
"""What ``pyproject.toml`` asks for; where it is here, nothing is downloaded."""


def has_hatchling() -> bool:
    """Return whether this Python can build the wheel by itself."""
    try:
        found = importlib.metadata.version("hatchling")
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(int(part) for part in re.findall(r"\d+", found)[:2]) >= HATCHLING


def copy_source(source: Path, content: str, folder: Path) -> None:
    """Copy what belongs to the wheel, with the content in its version."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(source / "src", folder / "src", ignore=unwanted)
    project = (source / "pyproject.toml").read_text(encoding="utf-8")
    project = re.sub(
        r'^version = "([^"]+)"', rf'version = "\1+{content}"', project, count=1, flags=re.MULTILINE
    )
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")


def main(source: str, content: str, folder: str) -> int:
    """Build the wheel and return the status of pip."""
    with tempfile.TemporaryDirectory(prefix="dc2-replica-") as work:
        copy_source(Path(source), content, Path(work))
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-input",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        # What runs here is not what it is installed in.
        command += ["--ignore-requires-python", "--wheel-dir", folder]
        command += ["--no-build-isolation"] if has_hatchling() else []
        return subprocess.run([*command, work], check=False).returncode  # noqa: S603 - pip, by this Python


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

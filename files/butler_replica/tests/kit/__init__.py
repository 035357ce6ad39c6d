"""What tests share: not tests themselves."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[4]
"""The checkout; a test asks for it, not for the folder that it lies in itself."""

PACKAGE = PROJECT / "files/butler_replica"

"""Comparing and inserting very many datasets set by set."""

from __future__ import annotations

__all__ = ["StagedDataset", "StagedRow", "Staging", "State", "UnsupportedError", "staging"]

from .tables import StagedDataset, StagedRow, Staging, State, UnsupportedError, staging

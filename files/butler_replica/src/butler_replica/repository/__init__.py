"""Making a repository, and making it anew: the guard stands beside what it guards."""

from __future__ import annotations

__all__ = ["RepositoryResult", "ensure_credentials", "ensure_index_entry", "ensure_repository"]

from .access import ensure_credentials, ensure_index_entry
from .making import ensure_repository
from .repository_result import RepositoryResult

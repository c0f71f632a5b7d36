"""psycopg, or an error that says how to install it."""

from __future__ import annotations

from vespera_orchestrator.errors import MissingDependencyError

try:
    import psycopg
    from psycopg import adapt
except ImportError as exc:
    raise MissingDependencyError(
        "the PostgreSQL store", "psycopg", "python -m pip install 'vespera-orchestrator[postgres]'"
    ) from exc

__all__ = ["adapt", "psycopg"]

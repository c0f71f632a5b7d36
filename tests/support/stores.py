"""Sessions for tests that use a store without the façade."""

from __future__ import annotations

from vespera_orchestrator._model import Session, new_id, utcnow


def start_session(store, session_id=None):
    """Record a new session and return it."""
    now = utcnow()
    session = Session(
        id=session_id or new_id("s"),
        goal="test",
        project_type=None,
        parent_session_id=None,
        context={},
        created_at=now,
        updated_at=now,
    )
    return store.start_session(session)

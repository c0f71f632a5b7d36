"""A home with artifacts, without the façade."""

from __future__ import annotations

import pytest

from support.rooms import rooms_of
from support.stores import start_session
from vespera_orchestrator._model import TaskDraft
from vespera_orchestrator.artifacts import Artifacts
from vespera_orchestrator.artifacts.search import index
from vespera_orchestrator.home.config import Config
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.stores.sqlite import SQLiteStore


@pytest.fixture
def scope(tmp_path):
    """A home with a real store and one session that has the tasks ``build`` and ``check``."""
    home = Home(path=tmp_path / ".task_orchestrator", project=tmp_path, config=Config()).create()
    store = SQLiteStore.open(home.database)
    opened = Scope(home, store, agent="ada", session_id=start_session(store).id)
    store.plan(opened.session_id(), [TaskDraft(title="Build"), TaskDraft(title="Check")])
    yield opened
    store.close()


@pytest.fixture
def artifacts(scope):
    """The artifacts of that home."""
    return Artifacts(rooms_of(scope))


@pytest.fixture
def patient_search(monkeypatch):
    """A search waits for whoever writes the index, however busy the machine is.

    Otherwise it looks at what there is after two seconds.
    """
    monkeypatch.setattr(index, "_SEARCH_WAIT_S", 120.0)

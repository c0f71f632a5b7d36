"""Beginning a session is whole: recorded and active, or neither."""

from __future__ import annotations

import os

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.errors import InvalidInputError, ReadOnlyError, SessionNotFoundError
from vespera_orchestrator.home.files import write_atomically


@pytest.fixture
def orch(tmp_path):
    """A home without a session."""
    with vespera.open(tmp_path) as opened:
        yield opened


def leftovers(home):
    """Temporary files that were not removed."""
    return [path.name for path in home.rglob(".*.*") if path.is_file()]


def test_a_session_that_cannot_become_active_is_not_begun(orch):
    """With a folder in the place of the file, nothing is recorded, and the remedy works."""
    obstacle = orch.home / ".active_session"
    obstacle.mkdir()
    for _ in range(2):
        with pytest.raises(ReadOnlyError, match="a folder is where a file should be: move it away"):
            orch.initialize_session("Goal")
    with pytest.raises(SessionNotFoundError, match="a folder is where that file should be: move"):
        orch.current_session()
    assert orch.list_sessions() == []
    assert leftovers(orch.home) == []
    obstacle.rename(orch.home / "aside")
    session = orch.initialize_session("Goal")
    assert orch.list_sessions() == [session]
    assert obstacle.read_text().strip() == session.id


def test_a_session_that_cannot_be_begun_becomes_not_active(orch):
    """What the store refuses leaves the active session as it was."""
    session = orch.initialize_session("Goal")
    with pytest.raises(InvalidInputError):
        orch.initialize_session("half a pair \ud800")
    assert orch.current_session() == session
    assert (orch.home / ".active_session").read_text().strip() == session.id
    assert leftovers(orch.home) == []


def test_an_error_after_the_session_was_recorded_says_so(orch, monkeypatch):
    """Where even renaming fails, the error does not claim that nothing was written; the call that
    it names makes the session active.
    """

    def refuse(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(ReadOnlyError) as caught:
            orch.initialize_session("Goal")
    (session,) = orch.list_sessions()
    assert "nothing was written" not in str(caught.value)
    (note,) = caught.value.__notes__
    assert f"orch.resume_session({session.id!r})" in note
    assert orch.current_session() == session
    orch.resume_session(session.id)
    assert (orch.home / ".active_session").read_text().strip() == session.id


def test_a_file_in_whose_place_a_folder_is_stays_unwritten(tmp_path):
    """The folder stays, and no temporary file is left beside it."""
    (tmp_path / "name").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "name", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["name"]

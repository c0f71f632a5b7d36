"""What documents are made from is followed event by event, and is what a whole reading gives."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.documents import Project
from vespera_orchestrator._model import ArtifactQuery, Ending, NextAction, TaskDraft
from vespera_orchestrator.documents.collection import Collection, LandingTask
from vespera_orchestrator.documents.project_types import packaged_types
from vespera_orchestrator.errors import VesperaError
from vespera_orchestrator.stores.sqlite import SQLiteStore

_SOFTWARE = packaged_types()["software_development"]


class _History:
    """Does to a store whatever can be done to one."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.sessions = [project.session]
        self.tasks: list[str] = []

    def plan(self, number: int) -> None:
        parent = self.tasks[number % len(self.tasks)] if self.tasks and number % 3 == 0 else None
        session = self.sessions[number % len(self.sessions)]
        draft = TaskDraft(title=f"Task {number}", parent=parent)
        (task,) = self.project.store.plan(session.id, [draft])
        self.tasks.append(task.id)

    def complete(self, number: int) -> None:
        if number % 4:
            self.project.now += timedelta(minutes=number % 2)
        self._finish(number, NextAction.COMPLETE)

    def hand_back(self, number: int) -> None:
        self._finish(number, NextAction.BLOCKED)

    def _finish(self, number: int, action: NextAction) -> None:
        task_id = self.tasks[number % len(self.tasks)]
        task = self.project.store.find_task(task_id, None)
        claim = self.project.store.claim(task.session_id, "agent", task_id=task_id, lease_s=60)
        drafts = [self.project.draft(f"Part {part}", "Text.") for part in range(number % 3)]
        self.project.store.finish(
            task_id,
            claim.attempt.number,
            Ending(action=action, summary=f"summary {number}", outputs={"number": number}),
            agent="agent",
            artifacts=drafts,
        )

    def rename(self, number: int) -> None:
        changes = {"title": f"Other title {number}"}
        self.project.store.update_task(self.tasks[number % len(self.tasks)], changes)

    def retry(self, number: int) -> None:
        self.project.store.retry(self.tasks[number % len(self.tasks)], "again")

    def delete(self, number: int) -> None:
        self.project.store.delete(self.tasks[number % len(self.tasks)], hard=number % 2 == 0)

    def save(self, number: int) -> None:
        task_id = self.tasks[number % len(self.tasks)] if self.tasks and number % 2 else None
        session_id = self.sessions[number % len(self.sessions)].id
        if task_id is not None:
            session_id = self.project.store.find_task(task_id, None).session_id
        draft = self.project.draft(f"Note {number % 3}", f"Text {number}.")
        draft = attrs.evolve(draft, partial=number % 5 == 0)
        self.project.store.save_artifact(
            session_id, draft, task_id=task_id, attempt=None, agent="agent"
        )

    def supersede(self, number: int) -> None:
        query = ArtifactQuery(include_superseded=True)
        known = self.project.store.artifacts(query)
        draft = self.project.draft(f"Note {number % 3}", f"Better {number}.")
        draft = attrs.evolve(draft, supersedes=(known[number % len(known)].id,))
        session_id = self.sessions[number % len(self.sessions)].id
        self.project.store.save_artifact(
            session_id, draft, task_id=None, attempt=None, agent="agent"
        )

    def forget(self, number: int) -> None:
        known = self.project.store.artifacts(ArtifactQuery(include_superseded=True))
        chosen = [known[number % len(known)].id]
        self.project.store.forget_artifacts(chosen, reason="wrong", agent="agent")

    def begin(self, number: int) -> None:
        kind = ("software_development", "research_project", None)[number % 3]
        parent = self.sessions[number % len(self.sessions)].id if number % 2 else None
        self.sessions.append(self.project.begin(kind, parent=parent))


_KINDS = (
    *("plan", "complete", "complete", "hand_back", "rename", "retry", "delete"),
    *("save", "save", "supersede", "forget", "begin"),
)
_STEPS = st.tuples(
    st.sampled_from(_KINDS),
    st.integers(0, 11),
    st.booleans(),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(_STEPS, min_size=3, max_size=30))
def test_following_gives_what_reading_everything_gives(tmp_path_factory, steps):
    """After any history, looked at at any moments, also by a process that did none of it."""
    project = Project(tmp_path_factory.mktemp("history"), "software_development")
    history = _History(project)
    other_store = SQLiteStore.open(project.home.database)
    followed = [Collection(project.store, _SOFTWARE), Collection(other_store, _SOFTWARE)]
    try:
        history.plan(1)
        for name, number, is_looked_at in steps:
            with contextlib.suppress(VesperaError, ZeroDivisionError, AttributeError):
                getattr(history, name)(number)
            if is_looked_at:
                _compare(project.store, followed)
        _compare(project.store, followed)
    finally:
        other_store.close()
        project.store.close()


def _compare(store, followed):
    afresh = Collection(store, _SOFTWARE).collect()
    for collection in followed:
        assert collection.collect() == afresh


@pytest.fixture
def followed(make_project):
    """Return a project, and a collection that has seen its first completion."""
    project = make_project()
    project.complete("First", project.draft("First", "Text."))
    collection = Collection(project.store, _SOFTWARE)
    collection.collect()
    return project, collection


def test_only_what_is_new_is_read(followed, monkeypatch):
    """A completion after many others costs as much as one after a few."""
    project, collection = followed
    for number in range(5):
        project.complete(f"More {number}")

    def refuse(query):
        raise AssertionError(query)

    monkeypatch.setattr(project.store, "tasks", refuse)
    assert [task.title for task in collection.collect().tasks][-1] == "More 4"


def test_an_unknown_event_has_everything_read(followed):
    """What a later version records may change anything."""
    project, collection = followed
    before = collection.collect()
    project.store.record_event(project.session.id, "something_new", {})
    assert collection.collect() is not before
    assert collection.collect() == before


def test_a_store_that_was_put_back_is_read_anew(followed, tmp_path):
    """Its log goes on from the same numbers, with other events."""
    project, collection = followed
    other = Project(tmp_path / "other", "software_development")
    other.complete("Another")
    while other.store.last_seq() < project.store.last_seq():
        other.complete("Another")
    collection._store = other.store  # as if the file had been replaced
    assert {task.title for task in collection.collect().tasks} == {"Another"}
    other.store.close()


def test_a_landing_counts_as_completed_and_leaves_nothing_behind(followed):
    """Until it has landed; what the task saved on the way belongs to it."""
    project, collection = followed
    (task,) = project.store.plan(project.session.id, [TaskDraft(title="Lands")])
    saved = project.store.save_artifact(
        project.session.id,
        project.draft("On the way", "Text."),
        task_id=task.id,
        attempt=None,
        agent="agent",
    )
    with_it = collection.collect(LandingTask(task=task, artifacts=()))
    assert task in with_it.tasks
    assert saved in with_it.artifacts
    assert task not in collection.collect().tasks

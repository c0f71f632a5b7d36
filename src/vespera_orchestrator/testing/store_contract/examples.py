"""Example records, and short ways to ask a store."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._model import (
    ArtifactDraft,
    ArtifactQuery,
    Dependency,
    Ending,
    NextAction,
    Session,
    TaskDraft,
    TaskQuery,
    new_id,
    utcnow,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HALF_A_CHARACTER: Final = "half \ud83d"
"""Half of a surrogate pair: Python has such texts, no file does."""
ALL_TASKS: Final = TaskQuery(limit=None, include_archived=True)

# --- records ----------------------------------------------------------------


def start_session(store, *, session_id=None) -> str:
    """Record a new session and return its id."""
    session = Session(
        id=session_id or new_id("s"),
        goal="test",
        project_type=None,
        parent_session_id=None,
        context={},
        created_at=utcnow(),
        updated_at=utcnow(),
    )
    return store.start_session(session).id


def draft(alias, *needs, **fields) -> TaskDraft:
    """Make the draft of a task that waits for *needs*: aliases, or pairs of alias and outcome."""
    edges = []
    for need in needs:
        alias_and_outcome = need if isinstance(need, tuple) else (need,)
        edges.append(Dependency(*alias_and_outcome))
    return TaskDraft(title=alias.capitalize(), alias=alias, dependencies=tuple(edges), **fields)


def completion(**outputs) -> Ending:
    """Make a plain completion."""
    return Ending(action=NextAction.COMPLETE, summary="done", outputs=outputs)


def failure(reason="it broke") -> Ending:
    """Make the ending of an attempt that did not succeed."""
    return Ending(action=NextAction.BLOCKED, reason=reason)


def artifact(title="Notes", digit="1", **fields) -> ArtifactDraft:
    """Make the draft of an artifact; *digit* makes its digest."""
    return ArtifactDraft(title=title, digest=digit * 64, size_bytes=7, **fields)


# --- what a store holds -----------------------------------------------------


def everything(store) -> dict[str, Any]:
    """Read all that a store answers."""
    tasks = store.tasks(ALL_TASKS)
    return {
        "sessions": store.sessions(limit=None),
        "tasks": tasks,
        "attempts": [store.attempts(task.id) for task in tasks],
        "checkpoints": [store.last_checkpoint(task.id) for task in tasks],
        "artifacts": store.artifacts(ArtifactQuery(include_superseded=True)),
        "worktrees": store.worktrees(include_removed=True),
        "documents": store.document_versions(),
        "events": store.events(limit=None),
        "counts": store.count(ALL_TASKS),
    }


def aliases(tasks) -> list[str]:
    """Return the aliases of *tasks*."""
    return [task.alias for task in tasks]


def ready_aliases(store, session_id) -> list[str]:
    """Return the aliases of the tasks that can be started now, the best first."""
    return aliases(store.ready(session_id, 99))


def agenda(store, session_id, kind) -> list[str]:
    """Return the aliases of the open tasks of one agenda, in its order."""
    return aliases(store.tasks(TaskQuery(session_id=session_id, agenda=kind)))


def kinds(store, task_id=None) -> list[str]:
    """Return the kinds of all events, or of one task's."""
    events = store.events(limit=None)
    return [event.kind for event in events if task_id in {None, event.task_id}]


def statuses(store, session_id) -> dict[str, str]:
    """Return the status of each task of a session, by alias."""
    query = TaskQuery(session_id=session_id, limit=None, include_archived=True)
    return {task.alias: str(task.status) for task in store.tasks(query)}


def status_of(store, task_id) -> str:
    """Return the status of a task as it is now."""
    return str(store.find_task(task_id, None).status)


# --- several callers --------------------------------------------------------


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make all calls at the same moment, each in a thread; return what each returned or raised."""
    barrier = threading.Barrier(len(calls))
    answers: list[Any] = [None] * len(calls)

    def run(number: int) -> None:
        barrier.wait()
        try:
            answers[number] = calls[number]()
        except BaseException as exc:  # noqa: BLE001 - a thread's error is an answer, too
            answers[number] = exc

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def errors(answers) -> list[type[Exception]]:
    """Return the classes of the errors among the answers of `at_once`."""
    return [type(answer) for answer in answers if isinstance(answer, Exception)]

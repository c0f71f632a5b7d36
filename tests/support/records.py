"""Records for tests of pure rules: only what a test is about is named, the rest has a default."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vespera_orchestrator._model import (
    Artifact,
    Attempt,
    Cause,
    CauseKind,
    Checkpoint,
    NextStep,
    Session,
    Situation,
    Task,
    TaskStatus,
    Why,
)
from vespera_orchestrator.progress.status import Status

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def session(goal="Boil water", **fields):
    """Make a session."""
    values = {
        "id": "s_1",
        "project_type": None,
        "parent_session_id": None,
        "context": {},
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Session(goal=goal, **values | fields)


def task(alias="a", status="pending", **fields):
    """Make a task with the id ``t_`` and its alias; its title is its alias."""
    values = {
        "id": f"t_{alias}",
        "session_id": "s_1",
        "title": alias,
        "description": "",
        "task_type": "standard",
        "complexity": "moderate",
        "specialist_type": None,
        "priority": 0,
        "estimated_effort": None,
        "due_at": None,
        "parent_task_id": None,
        "dependencies": (),
        "condition": None,
        "condition_names": {},
        "context": {},
        "outputs": {},
        "summary": None,
        "reason": None,
        "attempts": 0,
        "failures": 0,
        "max_attempts": 3,
        "was_blocked": False,
        "blockers": 0,
        "urgency": 1.0,
        "recovers_task_id": None,
        "archived": False,
        "created_at": NOW,
        "updated_at": NOW,
        "ended_at": None,
    }
    return Task(alias=alias, status=TaskStatus(status), **values | fields)


def attempt(alias="a", **fields):
    """Make the first attempt at a task, held by ada for a quarter of an hour."""
    values = {
        "number": 1,
        "agent": "ada",
        "started_at": NOW,
        "lease_until": NOW + timedelta(minutes=15),
        "last_sign_at": NOW,
    }
    return Attempt(task_id=f"t_{alias}", **values | fields)


def checkpoint(alias="a", **fields):
    """Make a checkpoint of the first attempt at a task."""
    values = {
        "id": 1,
        "attempt": 1,
        "state": {},
        "note": "",
        "progress": None,
        "snapshot": None,
        "left_out": (),
        "created_at": NOW,
    }
    return Checkpoint(task_id=f"t_{alias}", **values | fields)


def situation(of, *needed, **fields):
    """Put a task among the tasks that it waits for."""
    values = {
        "attempt": None,
        "open_recovery": None,
        "open_children": (),
        "open_children_count": 0,
        "as_of": NOW,
    }
    return Situation(task=of, needed={other.id: other for other in needed}, **values | fields)


def artifact(title="x", **fields):
    """Make the first version of an artifact of task ``a``."""
    values = {
        "id": f"a_{title.lower()}",
        "session_id": "s_1",
        "task_id": "t_a",
        "attempt": 1,
        "agent": "ada",
        "kind": "general",
        "media_type": "text/plain",
        "digest": "0" * 64,
        "size_bytes": 1,
        "version": 1,
        "supersedes_id": None,
        "superseded": False,
        "partial": False,
        "tags": (),
        "metadata": {},
        "created_at": NOW,
    }
    return Artifact(title=title, **values | fields)


def why(alias, sentence, kind=CauseKind.PERSON):
    """Make the one cause that keeps a blocked task."""
    cause = Cause(kind=kind, sentence=sentence)
    return Why(task_id=f"t_{alias}", alias=alias, status=TaskStatus.BLOCKED, causes=(cause,))


STEP = NextStep(action="execute", sentence="Start 'a'.", call="orch.execute_task('a')")


def status(**fields):
    """Make the status of a session in which there is nothing but a next step."""
    values = {
        "session": session(),
        "parent": None,
        "counts": {},
        "planned": {},
        "elsewhere": 0,
        "ready": (),
        "running": (),
        "blocked": (),
        "completed": (),
        "chain": (),
        "clashes": (),
        "next_step": STEP,
        "outdated": (),
        "as_of": NOW,
        "budget_tokens": None,
        "draw": lambda: "flowchart",
    }
    return Status(**values | fields)


HOSTILE_TITLES = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "con",
    "NUL.txt",
    "COM1",
    "a/b\\c",
    "C:\\x",
    "-rf",
    "~root",
    ".bashrc",
    "x" * 300,
    "ü" * 200,
    "line\nbreak",
    "nul\0",
    "half \ud83d",
    "rtl \u202etxt.exe",
    "e\u0301",
    "trailing. . ",
    "  ",
    "?*<>|",
    "📎" * 90,
    "a.b." * 90,
]
"""What agents may call their artifacts, and no path may contain."""

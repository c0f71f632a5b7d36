"""What the subtasks of a task brought, in one text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import Artifact, Task, TaskStatus, Why
from vespera_orchestrator._text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def synthesis(
    parent: Task,
    children: Sequence[Task],
    found: Sequence[Artifact],
    open_whys: Sequence[Why],
    excerpt: Callable[[Artifact, int], str],
    *,
    budget_tokens: int,
) -> str:
    """Write what the subtasks brought: how they ended, what is missing, and of each artifact its id and an excerpt.

    Args:
        parent: The task they are parts of.
        children: The subtasks.
        found: Their artifacts.
        open_whys: For each subtask that has not ended, why.
        excerpt: Gives the beginning of an artifact's text within so many tokens.
        budget_tokens: About how long the excerpts may be together; beyond it artifacts are named, and beyond that counted.
    """
    planned = [child for child in children if child.recovers_task_id is None]
    completed = [child for child in planned if child.status is TaskStatus.COMPLETED]
    missing = [str(why) for why in open_whys]
    missing += [_ended(c) for c in planned if c.status in {TaskStatus.FAILED, TaskStatus.CANCELLED}]
    skipped = [_ended(c) for c in planned if c.status is TaskStatus.SKIPPED]
    rest = f"orch.query_tasks(parent_task_id={parent.alias!r}, limit=None)"
    lines = [
        f"# {one_line(parent.title, 200)}",
        "",
        f"{len(completed)} of {len(planned)} subtasks are completed.",
    ]
    lines += _listed("What is missing", missing, rest)
    lines += _listed("What was not needed or could not be", skipped, rest)
    by_task: dict[str, list[Artifact]] = {}
    for artifact in found:
        by_task.setdefault(str(artifact.task_id), []).append(artifact)
    share = budget_tokens // max(1, len(found))
    told = [child for child in children if child in completed or child.id in by_task]
    for child in told[: max(1, budget_tokens // _NAMING)]:
        lines += _brought(child, by_task.get(child.id, ()), min(share, _EXCERPT), excerpt)
    if len(told) > max(1, budget_tokens // _NAMING):
        lines += [
            "",
            f"… and the results of {len(told) - max(1, budget_tokens // _NAMING)} more subtasks: {rest}",
        ]
    return "\n".join(lines) + "\n"


_LISTED: Final = 50
"""So many unfinished subtasks are named; the rest are counted."""
_EXCERPT: Final = 200
"""Longest excerpt of one artifact, in tokens."""
SHORTEST: Final = 20
"""A shorter excerpt says nothing: the artifact is only named."""
_NAMING: Final = 25
"""About how many tokens it takes to name a subtask and its artifacts."""


def _listed(title: str, entries: Sequence[str], rest: str) -> list[str]:
    if not entries:
        return []
    more = [f"- … and {len(entries) - _LISTED} more: {rest}"] if len(entries) > _LISTED else []
    return [
        "",
        f"## {title}",
        "",
        *(f"- {one_line(entry, 300)}" for entry in entries[:_LISTED]),
        *more,
    ]


def _brought(
    child: Task, artifacts: Sequence[Artifact], share: int, excerpt: Callable[[Artifact, int], str]
) -> list[str]:
    lines = [
        "",
        f"## {one_line(child.title, 200)}",
        "",
        one_line(child.summary or "(no summary)", 300),
    ]
    if child.outputs:
        lines += ["", f"Outputs: `{one_line(dump_json(dict(child.outputs), 'outputs'), 400)}`"]
    for artifact in artifacts:
        name = f"{one_line(artifact.title, 200)}, {artifact.id}{' (cut short)' if artifact.partial else ''}"
        if share < SHORTEST:
            lines += ["", f"See {name}."]
        else:
            lines += ["", f"From {name}:", "", *_quoted(excerpt(artifact, share))]
    return lines


def _ended(task: Task) -> str:
    return f"{task.alias} is {task.status}{f': {task.reason}' if task.reason else ''}"


def _quoted(text: str) -> list[str]:
    return [f"> {line}".rstrip() for line in text.splitlines()]

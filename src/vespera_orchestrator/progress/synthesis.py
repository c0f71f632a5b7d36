"""What the subtasks of a task produced, in one text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import (
    SECONDARY_KINDS,
    Artifact,
    JsonValue,
    Task,
    TaskStatus,
    Why,
)
from vespera_orchestrator._text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MAX_LISTED: Final = 50
"""Most unfinished subtasks that are named; the rest are counted."""
_MAX_EXCERPT_TOKENS: Final = 200
"""Longest excerpt of one artifact."""
MIN_EXCERPT_TOKENS: Final = 20
"""A shorter excerpt says nothing: the artifact is only named."""
_NAME_TOKENS: Final = 25
"""About how many tokens it takes to name a subtask and its artifacts."""


@attrs.frozen(kw_only=True)
class SubtaskResults:
    """What a synthesis is written from."""

    parent: Task
    subtasks: Sequence[Task]
    artifacts: Sequence[Artifact]
    """The results; for a completed subtask without late work and earlier failures."""
    open_whys: Sequence[Why]
    """For each subtask that has not ended, what keeps it."""

    def metadata(self) -> dict[str, JsonValue]:
        """Return what the artifact of the synthesis says about its sources."""
        outcomes = Counter(str(task.status) for task in self.subtasks)
        return {
            "outcomes": dict(sorted(outcomes.items())),
            "sources": [artifact.id for artifact in self.artifacts],
        }


def results_of(artifacts: Sequence[Artifact], tasks: Sequence[Task]) -> list[Artifact]:
    """Leave out late work and failures of completed tasks."""
    completed = {task.id for task in tasks if task.status is TaskStatus.COMPLETED}
    return [
        artifact
        for artifact in artifacts
        if artifact.kind not in SECONDARY_KINDS or artifact.task_id not in completed
    ]


def synthesis(
    results: SubtaskResults, excerpt: Callable[[Artifact, int], str], *, budget_tokens: int
) -> str:
    """Write how the subtasks ended, what is missing, and for each artifact its id and an excerpt.

    Args:
        results: The subtasks and their artifacts.
        excerpt: Returns the beginning of an artifact's text, within a number of tokens.
        budget_tokens: About how long the excerpts may be together. Beyond it artifacts are only
            named, and beyond that counted.
    """
    parent = results.parent
    rest_call = f"orch.query_tasks(parent_task_id={parent.alias!r}, limit=None)"
    lines = [f"# {one_line(parent.title, 200)}", "", _count_line(results.subtasks)]
    lines += _missing_sections(results, rest_call)
    by_task = _by_task(results.artifacts)
    productive = [task for task in results.subtasks if _is_completed(task) or task.id in by_task]
    max_tasks = max(1, budget_tokens // _NAME_TOKENS)
    share = min(budget_tokens // max(1, len(results.artifacts)), _MAX_EXCERPT_TOKENS)
    for task in productive[:max_tasks]:
        lines += _result_section(task, by_task.get(task.id, ()), share, excerpt)
    hidden = len(productive) - max_tasks
    if hidden > 0:
        lines += ["", f"… and the results of {hidden} more subtasks: {rest_call}"]
    return "\n".join(lines) + "\n"


def _is_planned(task: Task) -> bool:
    return task.recovers_task_id is None


def _is_completed(task: Task) -> bool:
    return _is_planned(task) and task.status is TaskStatus.COMPLETED


def _count_line(subtasks: Sequence[Task]) -> str:
    planned = sum(map(_is_planned, subtasks))
    completed = sum(map(_is_completed, subtasks))
    return f"{completed} of {planned} subtasks are completed."


def _missing_sections(results: SubtaskResults, rest_call: str) -> list[str]:
    missing = [str(why) for why in results.open_whys]
    skipped = []
    for task in filter(_is_planned, results.subtasks):
        if task.status in {TaskStatus.FAILED, TaskStatus.CANCELLED}:
            missing.append(_ending(task))
        elif task.status is TaskStatus.SKIPPED:
            skipped.append(_ending(task))
    return [
        *_list_section("What is missing", missing, rest_call),
        *_list_section("What was skipped", skipped, rest_call),
    ]


def _by_task(artifacts: Sequence[Artifact]) -> dict[str, list[Artifact]]:
    by_task: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        by_task.setdefault(str(artifact.task_id), []).append(artifact)
    return by_task


def _list_section(title: str, entries: Sequence[str], rest_call: str) -> list[str]:
    if not entries:
        return []
    lines = ["", f"## {title}", ""]
    lines += [f"- {one_line(entry, 300)}" for entry in entries[:_MAX_LISTED]]
    if len(entries) > _MAX_LISTED:
        lines.append(f"- … and {len(entries) - _MAX_LISTED} more: {rest_call}")
    return lines


def _result_section(
    task: Task,
    artifacts: Sequence[Artifact],
    excerpt_tokens: int,
    excerpt: Callable[[Artifact, int], str],
) -> list[str]:
    summary = one_line(task.summary or "(no summary)", 300)
    lines = ["", f"## {one_line(task.title, 200)}", "", summary]
    if task.outputs:
        outputs = dump_json(dict(task.outputs), "outputs")
        lines += ["", f"Outputs: `{one_line(outputs, 400)}`"]
    for artifact in artifacts:
        name = f"{one_line(artifact.title, 200)}, {artifact.id}"
        if artifact.partial:
            name += " (cut short)"
        if excerpt_tokens < MIN_EXCERPT_TOKENS:
            lines += ["", f"See {name}."]
        else:
            lines += ["", f"From {name}:", "", *_quote(excerpt(artifact, excerpt_tokens))]
    return lines


def _ending(task: Task) -> str:
    ending = f"{task.alias} is {task.status}"
    if task.reason:
        ending += f": {task.reason}"
    return ending


def _quote(text: str) -> list[str]:
    lines = text.splitlines()
    return [f"> {line}".rstrip() for line in lines]

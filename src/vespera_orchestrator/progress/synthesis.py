"""What the subtasks of a task produced, in one text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import (
    SECONDARY_KINDS,
    Artifact,
    ArtifactKind,
    JsonValue,
    Task,
    TaskArtifact,
    TaskStatus,
    Why,
)
from vespera_orchestrator._text import inert, one_line, plain_start
from vespera_orchestrator.progress.fitting import Piece, Section, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_MAX_LISTED: Final = 50
"""Most unfinished subtasks that are named; the rest are counted."""
_MOST_GAPS: Final = 3
"""Most open points that are named of one report."""
_NAMES_WIDTH: Final = 400
_PROSE: Final = frozenset({"text/markdown", "text/plain"})
"""Media types of what is quoted. Code, data and pictures are named."""
_LONGEST_CODE: Final = 10
"""Fenced code of more lines is named in a report, not quoted."""
_TEST_WORDS: Final = ("test", "coverage")
"""Outputs with such a name are said at the head."""
_SETTLED: Final = SECONDARY_KINDS | {ArtifactKind.CONFLICT, ArtifactKind.REFUSAL}
"""Kinds that say what was in the way of a task, and no more once it is completed."""


@attrs.frozen(kw_only=True)
class SubtaskResults:
    """What a synthesis is written from."""

    parent: Task
    subtasks: Sequence[Task]
    work: Sequence[TaskArtifact]
    """The results; for a completed subtask without late work and earlier failures."""
    open_whys: Sequence[Why]
    """For each subtask that has not ended, what keeps it."""
    branch: str = ""
    """Where the subtasks' work landed; empty without worktrees."""
    contradictions: Sequence[str] = ()
    """What the agents say differently, and what was built on an earlier version, in words."""

    def metadata(self) -> dict[str, JsonValue]:
        """Return what the artifact of the synthesis says about its sources."""
        return source_metadata(self.subtasks, self.work)


def source_metadata(subtasks: Sequence[Task], work: Sequence[TaskArtifact]) -> dict[str, JsonValue]:
    """Return what the artifact of a synthesis says about the subtasks and their results."""
    outcomes = Counter(str(task.status) for task in subtasks)
    return {
        "outcomes": dict(sorted(outcomes.items())),
        "sources": [entry.artifact.id for entry in work],
    }


def results_of(work: Sequence[TaskArtifact], tasks: Sequence[Task]) -> list[TaskArtifact]:
    """Leave out what completed tasks have left behind them, and name nothing twice.

    That is late work, failures, conflicts and refusals, and files that were kept unfinished.

    What has taken the place of several results stands where the first of them was. If it is the
    work of one of the tasks itself, it stands there.
    """
    completed = {task.id for task in tasks if task.status is TaskStatus.COMPLETED}
    own = {entry.artifact.id for entry in work if entry.artifact.task_id == entry.task_id}
    results: dict[str, TaskArtifact] = {}
    for entry in work:
        artifact = entry.artifact
        if entry.task_id in completed and _is_settled(artifact):
            continue
        if artifact.id not in own or artifact.task_id == entry.task_id:
            results.setdefault(artifact.id, entry)
    return list(results.values())


def _is_settled(artifact: Artifact) -> bool:
    """Tell whether the completion of its task has made an artifact a thing of the past."""
    is_unfinished_file = artifact.kind == ArtifactKind.FILE and artifact.partial
    return is_unfinished_file or artifact.kind in _SETTLED


def synthesis(
    results: SubtaskResults, text_of: Callable[[Artifact], str], *, budget_tokens: int
) -> str:
    """Write how the subtasks ended, what is missing and open, and then each subtask's report.

    A report is there whole, or cut at a paragraph with the call that reads the rest. Files, code
    and data are only named. An earlier synthesis is never quoted.

    Args:
        results: The subtasks and their artifacts.
        text_of: Returns the text of a report.
        budget_tokens: About how long the part with the reports may be. What there is no room for is
            named, and beyond that counted.
    """
    parent = results.parent
    rest_call = f"orch.query_tasks(parent_task_id={parent.alias!r}, limit=None)"
    reports = [entry.artifact for entry in results.work if _is_report(entry.artifact)]
    texts = {artifact.id: text_of(artifact) for artifact in reports}
    lines = [inert(f"# {one_line(parent.title, 200)}"), "", _count_line(results)]
    lines += _missing_sections(results, rest_call)
    by_task = _by_task(results.work)
    lines += _list_section("Tests", _tests(results.subtasks, by_task, texts), rest_call)
    lines += _list_section("What the reports leave open", _gaps(results, texts), rest_call)
    lines += _list_section("What does not agree", results.contradictions, rest_call)
    productive = [task for task in results.subtasks if _is_completed(task) or task.id in by_task]
    sections = [_result_section(task, by_task.get(task.id, ()), texts) for task in productive]
    body = fit(sections, budget_tokens).text
    if body:
        lines += ["", body]
    return "\n".join(lines) + "\n"


def _is_report(artifact: Artifact) -> bool:
    """Tell whether an artifact is what an agent wrote about its work."""
    is_named_only = artifact.kind in {ArtifactKind.FILE, ArtifactKind.SYNTHESIS}
    return artifact.media_type in _PROSE and not is_named_only


def _gaps(results: SubtaskResults, texts: Mapping[str, str]) -> list[str]:
    """Return what the reports themselves call open."""
    from vespera_orchestrator.progress.open_points import open_points

    aliases = {task.id: task.alias for task in results.subtasks}
    gaps: dict[str, None] = {}
    for entry in results.work:
        artifact = entry.artifact
        points = open_points(texts.get(artifact.id, ""))
        alias = aliases[entry.task_id]
        gaps.update((f"{alias}: {one_line(point, 200)}", None) for point in points[:_MOST_GAPS])
        more = len(points) - _MOST_GAPS
        if more > 0:
            gaps[f"{alias}: {more} more in orch.artifacts.text({artifact.id!r})"] = None
    return list(gaps)


def _tests(
    subtasks: Iterable[Task],
    by_task: Mapping[str, Sequence[Artifact]],
    texts: Mapping[str, str],
) -> list[str]:
    """Return how the tests ended: what is in the outputs, or else in the words of the reports."""
    from vespera_orchestrator.progress.open_points import words_on_tests

    lines = []
    for task in filter(_is_completed, subtasks):
        words = _test_outputs(task)
        if not words:
            own = [texts[each.id] for each in by_task.get(task.id, ()) if each.id in texts]
            words = next(filter(None, map(words_on_tests, reversed(own))), "")
        if words:
            lines.append(f"{task.alias}: {words}")
    return lines


def _test_outputs(task: Task) -> str:
    named = [
        f"{name} {dump_json(value, name)}"
        for name, value in task.outputs.items()
        if any(word in name.casefold() for word in _TEST_WORDS)
    ]
    return ", ".join(named)


def _is_planned(task: Task) -> bool:
    return task.recovers_task_id is None


def _is_completed(task: Task) -> bool:
    return _is_planned(task) and task.status is TaskStatus.COMPLETED


def _count_line(results: SubtaskResults) -> str:
    planned = sum(map(_is_planned, results.subtasks))
    completed = sum(map(_is_completed, results.subtasks))
    line = f"{completed} of {planned} subtasks are completed."
    if results.branch:
        line += f" What they changed is on the branch {one_line(results.branch, 100)}."
    return line


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


def _by_task(work: Sequence[TaskArtifact]) -> dict[str, list[Artifact]]:
    by_task: dict[str, list[Artifact]] = {}
    for entry in work:
        by_task.setdefault(entry.task_id, []).append(entry.artifact)
    return by_task


def _list_section(title: str, entries: Sequence[str], rest_call: str) -> list[str]:
    if not entries:
        return []
    lines = ["", f"## {title}", ""]
    lines += [inert(f"- {one_line(entry, 300)}") for entry in entries[:_MAX_LISTED]]
    if len(entries) > _MAX_LISTED:
        lines.append(f"- … and {len(entries) - _MAX_LISTED} more: {rest_call}")
    return lines


def _result_section(task: Task, artifacts: Sequence[Artifact], texts: Mapping[str, str]) -> Section:
    heading = f"## {one_line(task.title, 200)}\n"
    summary = plain_start(one_line(task.summary or "(no summary)", 300))
    pieces = [Piece(line=summary)]
    if task.outputs:
        outputs = dump_json(dict(task.outputs), "outputs")
        pieces.append(Piece(line=f"\nOutputs: `{one_line(outputs, 400)}`"))
    reports = [artifact for artifact in artifacts if artifact.id in texts]
    pieces += [_report(artifact, texts[artifact.id]) for artifact in reports]
    named = [artifact for artifact in artifacts if artifact.id not in texts]
    if named:
        names = ", ".join(_name(artifact) for artifact in named)
        pieces.append(Piece(line=f"\nAlso there: {one_line(names, _NAMES_WIDTH)}"))
    return Section(heading=heading, pieces=pieces)


def _report(artifact: Artifact, text: str) -> Piece:
    from vespera_orchestrator.documents.markdown import without_long_code

    return Piece(
        line=f"\nFrom {_name(artifact)}:",
        quote=without_long_code(text.strip(), _LONGEST_CODE),
        rest=f"orch.artifacts.text({artifact.id!r})",
    )


def _name(artifact: Artifact) -> str:
    name = f"{one_line(artifact.title, 200)}, {artifact.id}"
    return f"{name} (cut short)" if artifact.partial else name


def _ending(task: Task) -> str:
    ending = f"{task.alias} is {task.status}"
    if task.reason:
        ending += f": {task.reason}"
    return ending

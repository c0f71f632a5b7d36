"""What coding agents call at their own events: ``python -m vespera_orchestrator hook NAME``.

Claude Code, Codex, Gemini and Cursor start a command at an event, write JSON to its standard input,
and read its output and exit code. Each event that concerns this library has one function here.
A hook must never be in the way: without a project it does nothing, and only a gate may refuse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any, Final

import attrs

import vespera_orchestrator as vespera
from vespera_orchestrator._model import CauseKind, utcnow
from vespera_orchestrator._records import to_text
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError, NotFoundError, VesperaError
from vespera_orchestrator.home.locate import Home

if TYPE_CHECKING:
    from vespera_orchestrator.orchestrator import Orchestrator
    from vespera_orchestrator.progress.status import Running

_REFUSED: Final = 2
"""The exit code with which a hook refuses; the agent reads what stands on standard error."""
_SAVED_RECENTLY_S: Final = 600
_MOST_INPUT_CHARS: Final = 10_000_000


@attrs.frozen(kw_only=True)
class HookAnswer:
    """What a hook prints, and its exit code."""

    out: str = ""
    err: str = ""
    exit_code: int = 0


_NOTHING: Final = HookAnswer()


def run_hook(name: str, stdin: IO[str], project: str = ".") -> HookAnswer:
    """Answer an event of a coding agent.

    Args:
        name: The event in any spelling, such as ``SessionStart`` or ``session-start``; by default
            the one that the input names.
        stdin: JSON as the agent writes it; an empty one counts as no facts.
        project: A folder of the project, where the input names none.

    Raises:
        InvalidInputError: There is no such event, or the input is not JSON.
    """
    facts = _read(stdin)
    event = name or str(facts.get("hook_event_name", ""))
    hook = _HOOKS.get(_word(event))
    if hook is None:
        names = ", ".join(_NAMES)
        raise InvalidInputError(
            "hook", f"{show_value(event)} is not an event that concerns us: {names}"
        )
    folder = _folder(facts) or project
    if not Home.locate(folder).path.is_dir():
        if hook is _worktree_create:  # the agent waits for a folder: it must know why none comes
            raise InvalidInputError(
                "hook",
                "there is no project of ours here; keep this hook in a project's own settings",
            )
        return _NOTHING
    with vespera.open(folder) as orch:
        return hook(orch, facts)


def _read(stdin: IO[str]) -> Mapping[str, Any]:
    text = "" if stdin.isatty() else stdin.read(_MOST_INPUT_CHARS)
    if not text.strip():
        return {}
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError("stdin", f"it is not JSON: {exc}") from exc
    if not isinstance(facts, Mapping):
        raise InvalidInputError("stdin", "it should be a JSON object")
    return facts


def _word(event: str) -> str:
    return re.sub(r"[^a-z]", "", event.lower())


def _folder(facts: Mapping[str, Any]) -> str | None:
    """Return the folder in which the agent works."""
    roots = facts.get("workspace_roots")
    folders = [facts.get("cwd"), *(roots[:1] if isinstance(roots, list) else [])]
    return next((folder for folder in folders if isinstance(folder, str) and folder), None)


# --- the events -----------------------------------------------------------------


def _session_start(orch: Orchestrator, _: Mapping[str, Any]) -> HookAnswer:
    """Tell the agent where the work stands; what it prints becomes part of the conversation."""
    try:
        return HookAnswer(out=str(orch.resume()))
    except NotFoundError:
        return HookAnswer(out=str(orch.next_step()))


def _save(orch: Orchestrator, _: Mapping[str, Any]) -> HookAnswer:
    """Save the files of everything that this agent holds, before its memory is shortened."""
    problems = []
    for running in _held(orch):
        name = running.task.worktree
        try:
            if name:
                orch.worktrees.snapshot(name)
        except VesperaError as exc:
            problems.append(f"{running.task.alias}: {exc}")
    return HookAnswer(err="\n".join(problems))


def _stop(orch: Orchestrator, facts: Mapping[str, Any]) -> HookAnswer:
    """Ask an agent that is about to stop for what it has not saved; once, then let it go."""
    if facts.get("stop_hook_active"):
        return _NOTHING
    unsaved = []
    for running in _held(orch):
        silent = utcnow() - running.attempt.last_sign_at
        if silent.total_seconds() >= _SAVED_RECENTLY_S:
            unsaved.append(running.task.alias)
    if not unsaved:
        return _NOTHING
    names = ", ".join(unsaved)
    reason = (
        f"You still hold {names}, and saved nothing for a while. Complete it with all that you "
        f"did, save a checkpoint, or release it; then you can stop."
    )
    return HookAnswer(out=to_text({"decision": "block", "reason": reason}))


def _task_completed(orch: Orchestrator, facts: Mapping[str, Any]) -> HookAnswer:
    """Refuse to call a task done in the agent's own list that is not completed here."""
    task = _named(orch, str(facts.get("task_subject") or facts.get("task_id") or ""))
    if task is None or task.status.is_terminal or _is_handed_in(orch, task):
        return _NOTHING
    reason = (
        f"{task.alias} is {task.status} here, not completed: hand in what you did first, with its "
        f"summary and detailed_work (complete_task)."
    )
    return HookAnswer(err=reason, exit_code=_REFUSED)


def _named(orch: Orchestrator, subject: str) -> vespera.Task | None:
    """Return the task that the agent's own list means: by alias, id or title."""
    if not subject.strip():
        return None
    try:
        return orch.get_task(subject)
    except VesperaError:  # its words are a title, or there is no session
        pass
    try:
        candidates = orch.query_tasks(text=subject)
    except VesperaError:
        return None
    same = [task for task in candidates if task.title == subject]
    return next((task for task in same if not task.status.is_terminal), None)


def _worktree_create(orch: Orchestrator, facts: Mapping[str, Any]) -> HookAnswer:
    """Make the agent's worktree ours: saved by itself, and landed; print its folder."""
    name = facts.get("name") or facts.get("worktree_name")
    if not isinstance(name, str) or not name:
        raise InvalidInputError("name", "the input names no worktree")
    try:
        task = orch.get_task(name)
    except NotFoundError:
        task = None
    if task is None or task.status.is_terminal:
        return HookAnswer(out=orch.worktrees.create(agent=name).path)
    return HookAnswer(out=orch.worktrees.create(task).path)


def _worktree_remove(orch: Orchestrator, facts: Mapping[str, Any]) -> HookAnswer:
    """Remove it; its last state is kept under a rescue ref."""
    path = facts.get("worktree_path")
    for worktree in orch.worktrees.list():
        if worktree.path == path:
            orch.worktrees.remove(worktree)
    return _NOTHING


def _held(orch: Orchestrator) -> list[Running]:
    """Return what this agent holds in the current session."""
    try:
        running = orch.get_status().running
    except NotFoundError:
        return []
    return [each for each in running if each.attempt.agent == orch.agent]


def _is_handed_in(orch: Orchestrator, task: vespera.Task) -> bool:
    """Tell whether its work is done, and only waits to be merged."""
    return any(cause.kind is CauseKind.MERGE for cause in orch.why(task).causes)


_NAMES: Final[dict[str, Callable[[Orchestrator, Mapping[str, Any]], HookAnswer]]] = {
    "SessionStart": _session_start,
    "PreCompact": _save,
    "SessionEnd": _save,
    "Stop": _stop,
    "SubagentStop": _stop,
    "TaskCompleted": _task_completed,
    "WorktreeCreate": _worktree_create,
    "WorktreeRemove": _worktree_remove,
}
_HOOKS: Final = {_word(name): hook for name, hook in _NAMES.items()}

"""What coding agents call at their own events: ``python -m vespera_orchestrator hook NAME``.

Claude Code, Codex, Gemini and Cursor start a command at an event, write JSON to its standard input,
and read its output and exit code. Each event that concerns this library has one function here; it
returns a `_Reply`, and `_as_read_by` writes that as the agent reads it. A hook must never be in the
way: without a project it does nothing, and only a gate may refuse.

Gemini takes nothing but JSON, Codex refuses JSON with a field that the event does not have, and
Cursor has fields of its own. A person who types the command has sent no event, and reads text.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any, Final

import vespera_orchestrator as vespera
from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import CauseKind, utcnow
from vespera_orchestrator._records import to_text
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError, NotFoundError, VesperaError
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.integrations.shell_calls import in_commands

if TYPE_CHECKING:
    from vespera_orchestrator.orchestrator import Orchestrator
    from vespera_orchestrator.progress.status import Running

_REFUSED: Final = 2
"""The exit code with which a hook refuses; the agent reads what stands on standard error."""
_SAVED_RECENTLY_S: Final = 600
_MOST_INPUT_CHARS: Final = 10_000_000
_BYTE_ORDER_MARK: Final = "\ufeff"
"""What PowerShell puts before the text that it hands on."""
_HERE: Final = "."
_PROJECT_VARIABLES: Final = ("CLAUDE_PROJECT_DIR", "GEMINI_PROJECT_DIR", "CURSOR_PROJECT_DIR")
"""Where agents say which folder they were started in."""


@attrs.frozen(kw_only=True)
class HookAnswer:
    """What a hook prints, and its exit code."""

    out: str = ""
    err: str = ""
    exit_code: int = 0


@attrs.frozen(kw_only=True)
class _Reply:
    """What a hook has to say, and to whom."""

    context: str = ""
    """For the agent, as part of the conversation."""
    order: str = ""
    """For the agent, which goes on with it instead of stopping."""
    warning: str = ""
    """For the person."""
    refusal: str = ""
    """For the agent: why what it is about to do is not done."""
    folder: str = ""
    """The folder that it asked for."""


_NOTHING: Final = _Reply()


def run_hook(name: str, stdin: IO[str], project: str, program: str) -> HookAnswer:
    """Answer an event of a coding agent.

    Args:
        name: The event in any spelling, such as ``SessionStart`` or ``session-start``; by default
            the one that the input names.
        stdin: JSON as the agent writes it; an empty one counts as no facts.
        project: A folder of the project, where the input names none.
        program: The words before a command: what an agent is told to call, it calls in a shell.

    Raises:
        InvalidInputError: There is no such event, or the input is not JSON.
    """
    facts = _read(stdin)
    word = name or str(facts.get("hook_event_name", ""))
    event = next((each for each in _EVENTS if _letters(each) == _letters(word)), None)
    if event is None:
        no_event = f"{show_value(word)} is not an event that concerns us."
        problem = no_event if word else "which event?"
        raise InvalidInputError("hook", f"{problem} Known are {', '.join(_EVENTS)}")
    hook = _EVENTS[event]
    folder = _folder(facts, project)
    if folder is None or not Home.locate(folder).path.is_dir():
        if hook is _worktree_create:  # the agent waits for a folder: it must know why none comes
            raise InvalidInputError(
                "hook",
                "there is no project of ours here; keep this hook in a project's own settings",
            )
        return HookAnswer()
    with vespera.open(folder) as orch:
        reply = hook(orch, facts)
    reply = attrs.evolve(reply, context=in_commands(reply.context, program))
    return _as_read_by(facts, event, reply)


def _read(stdin: IO[str]) -> Mapping[str, Any]:
    text = "" if stdin.isatty() else stdin.read(_MOST_INPUT_CHARS)
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if not text.strip():
        return {}
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError("stdin", f"it is not JSON: {exc}") from exc
    if not isinstance(facts, Mapping):
        raise InvalidInputError("stdin", "it should be a JSON object")
    return facts


def _letters(event: str) -> str:
    return re.sub(r"[^a-z]", "", event.lower())


def _folder(facts: Mapping[str, Any], project: str) -> str | None:
    """Return the folder in which the agent works; ``None`` if none of those named is there.

    An agent whose worktree has landed still stands in its folder, which is gone.
    """
    roots = facts.get("workspace_roots")
    folders = [facts.get("cwd"), *(roots[:1] if isinstance(roots, list) else [])]
    if project != _HERE:
        folders.append(project)
    folders += [os.environ.get(name) for name in _PROJECT_VARIABLES]
    names = [each for each in [*folders, _HERE] if isinstance(each, str) and each]
    return next((each for each in names if not _is_gone(each)), None)


def _is_gone(folder: str) -> bool:
    try:
        os.stat(os.path.abspath(folder))  # noqa: PTH100, PTH116 - a Path asks for less
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # whoever opens it says what is wrong with it
        return False
    return False


# --- what the agents read ---------------------------------------------------------


def _as_read_by(facts: Mapping[str, Any], event: str, reply: _Reply) -> HookAnswer:
    """Write a reply to *event* as the agent that sent *facts* reads it."""
    if reply.refusal:
        return HookAnswer(err=reply.refusal, exit_code=_REFUSED)
    if reply.folder:
        return HookAnswer(out=reply.folder)
    if not facts:
        return HookAnswer(out=reply.context or reply.order, err=reply.warning)
    fields = _fields_of_cursor(reply) if _is_cursor(facts) else _usual_fields(event, reply)
    return HookAnswer(out=to_text(fields) if fields else "")


def _is_cursor(facts: Mapping[str, Any]) -> bool:
    return "cursor_version" in facts or "workspace_roots" in facts


def _usual_fields(event: str, reply: _Reply) -> dict[str, object]:
    """Return what Claude Code, Codex and Gemini have in common."""
    if reply.context:
        context = {"hookEventName": event, "additionalContext": reply.context}
        return {"hookSpecificOutput": context}
    if reply.order:
        return {"decision": "block", "reason": reply.order}
    return {"systemMessage": reply.warning} if reply.warning else {}


def _fields_of_cursor(reply: _Reply) -> dict[str, object]:
    fields = {
        "additional_context": reply.context,
        "followup_message": reply.order,
        "user_message": reply.warning,
    }
    return {name: text for name, text in fields.items() if text}


# --- the events -----------------------------------------------------------------


def _session_start(orch: Orchestrator, _: Mapping[str, Any]) -> _Reply:
    """Tell the agent where the work stands."""
    try:
        return _Reply(context=str(orch.resume()))
    except NotFoundError:
        return _Reply(context=str(orch.next_step()))


def _save(orch: Orchestrator, _: Mapping[str, Any]) -> _Reply:
    """Save the files of everything that this agent holds, before its memory is shortened."""
    problems = []
    for running in _held(orch):
        name = running.task.worktree
        try:
            if name:
                orch.worktrees.snapshot(name)
        except VesperaError as exc:
            problems.append(f"not saved, {running.task.alias}: {exc}")
    return _Reply(warning="\n".join(problems))


def _stop(orch: Orchestrator, facts: Mapping[str, Any]) -> _Reply:
    """Ask an agent that is about to stop for what it has not saved; once, then let it go."""
    was_asked = facts.get("stop_hook_active") or facts.get("loop_count")
    was_stopped = facts.get("status") in {"aborted", "error"}  # by the person, or by a failure
    if was_asked or was_stopped:
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
    return _Reply(order=reason)


def _task_completed(orch: Orchestrator, facts: Mapping[str, Any]) -> _Reply:
    """Refuse to call a task done in the agent's own list that is not completed here."""
    task = _named(orch, str(facts.get("task_subject") or facts.get("task_id") or ""))
    if task is None or task.status.is_terminal or _is_handed_in(orch, task):
        return _NOTHING
    reason = (
        f"{task.alias} is {task.status} here, not completed: hand in what you did first, with its "
        f"summary and detailed_work (complete_task)."
    )
    return _Reply(refusal=reason)


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


def _worktree_create(orch: Orchestrator, facts: Mapping[str, Any]) -> _Reply:
    """Make the agent's worktree ours: saved by itself, and landed; print its folder."""
    name = facts.get("name") or facts.get("worktree_name")
    if not isinstance(name, str) or not name:
        raise InvalidInputError("name", "the input names no worktree")
    try:
        task = orch.get_task(name)
    except NotFoundError:
        task = None
    if task is None or task.status.is_terminal:
        return _Reply(folder=orch.worktrees.create(agent=name).path)
    return _Reply(folder=orch.worktrees.create(task).path)


def _worktree_remove(orch: Orchestrator, facts: Mapping[str, Any]) -> _Reply:
    """Remove it; its last state is kept under a rescue ref."""
    path = facts.get("worktree_path")
    for worktree in orch.worktrees.list():
        if worktree.path == path:
            orch.worktrees.remove(worktree)
    return _NOTHING


def _held(orch: Orchestrator) -> list[Running]:
    """Return what this agent holds in the current session; most ends of a turn hold nothing."""
    try:
        if not orch.query_tasks(status="in_progress", agent=orch.agent, limit=1):
            return []
        running = orch.get_status().running
    except NotFoundError:
        return []
    return [each for each in running if each.attempt.agent == orch.agent]


def _is_handed_in(orch: Orchestrator, task: vespera.Task) -> bool:
    """Tell whether its work is done, and only waits to be merged."""
    return any(cause.kind is CauseKind.MERGE for cause in orch.why(task).causes)


_EVENTS: Final[dict[str, Callable[[Orchestrator, Mapping[str, Any]], _Reply]]] = {
    "SessionStart": _session_start,
    "PreCompact": _save,
    "PreCompress": _save,
    "SessionEnd": _save,
    "Stop": _stop,
    "AfterAgent": _stop,
    "SubagentStop": _stop,
    "TaskCompleted": _task_completed,
    "WorktreeCreate": _worktree_create,
    "WorktreeRemove": _worktree_remove,
}

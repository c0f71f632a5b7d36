"""The one table of tools: which call of the façade each is, and what it does to the world.

MCP servers, tool loops and the command line all read it. What a tool takes and what it is for come
from the signature and the docstring of the call. A call that is in neither `TABLE` nor `NO_TOOLS`
fails a test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from vespera_orchestrator import _attrs as attrs

PREFIX: Final = "orchestrator_"


class Group(StrEnum):
    """What a tool is about; you can ask for all tools of a group."""

    SESSIONS = "sessions"
    PLANNING = "planning"
    LOOKING = "looking"
    WORKING = "working"
    ARTIFACTS = "artifacts"
    WORKTREES = "worktrees"
    DOCUMENTS = "documents"
    MAINTENANCE = "maintenance"


@attrs.frozen(kw_only=True)
class ToolSpec:
    """A row of the table."""

    name: str
    """The tool's name, without the prefix."""
    path: str
    """The call: ``plan_task``, ``artifacts.search``."""
    group: Group
    is_core: bool = True
    """Whether a host gets it without asking for it by name or group."""
    reads_only: bool = False
    """Whether calling it changes nothing."""
    destroys: bool = False
    """Whether it ends or removes something that a second call does not bring back."""
    is_repeatable: bool = False
    """Whether a second, equal call changes nothing more."""
    items: str = ""
    """The key of the list in the answer, for a call that returns a list."""
    without: tuple[str, ...] = ()
    """Parameters that a tool must not offer."""
    nulls: tuple[str, ...] = ()
    """Parameters for which null says something; for all others it is as if they were left out."""
    command: str = ""
    """The word by which people call it: ``python -m vespera_orchestrator WORD``."""

    @property
    def title(self) -> str:
        """The name for people."""
        return self.name.replace("_", " ").capitalize()


def _rows(group: Group, *rows: Mapping[str, object]) -> tuple[ToolSpec, ...]:
    return tuple(ToolSpec(group=group, **row) for row in rows)  # type: ignore[arg-type]


def _row(name: str, path: str = "", **facts: object) -> Mapping[str, object]:
    return {"name": name, "path": path or name, **facts}


def _look(name: str, path: str = "", **facts: object) -> Mapping[str, object]:
    return _row(name, path, reads_only=True, is_repeatable=True, **facts)


_SESSIONS = _rows(
    Group.SESSIONS,
    _row("initialize_session", command="new"),
    _row("resume", command="resume"),
    _row("resume_session", is_core=False),
    _look("list_sessions", items="sessions"),
    _look("session_status"),
    _look("spawn_agent_with_context", is_core=False),
    _row("share_context", is_core=False, is_repeatable=True),
    _look("shared_context", is_core=False),
    _row("digest", is_core=False, command="digest"),
    _row("pause", is_core=False, command="pause"),
    _row("set_energy", is_core=False, command="energy"),
    _row("pressure", is_core=False, is_repeatable=True, command="pressure"),
)
_PLANNING = _rows(
    Group.PLANNING,
    _row("plan_task", command="plan"),
    _row("plan_tasks", items="tasks"),
    _row("update_task"),
    _row("add_dependency", is_core=False),
    _row("remove_dependency", is_core=False),
    _row("cancel_task", destroys=True, is_repeatable=True, command="cancel"),
    _row("retry_task", command="retry"),
    _row("reopen_task", is_core=False, command="reopen"),
    _row("abandon_task", is_core=False, destroys=True, command="abandon"),
    _row("delete_task", is_core=False, destroys=True, without=("hard",)),
    _row("snooze_task", is_core=False, is_repeatable=True, command="later", nulls=("until",)),
    _row("correct_task", is_core=False, is_repeatable=True),
    _row("simplify", is_core=False, items="tasks", is_repeatable=True, without=("by",)),
    _row("undo_simplify", is_core=False, is_repeatable=True),
    _row("answer", is_core=False),
    _row("signal", is_core=False),
)
_LOOKING = _rows(
    Group.LOOKING,
    _look("next_step", command="next"),
    _look("get_status", command="status"),
    _look("query_tasks", items="tasks"),
    _look("history", items="events", is_core=False, command="history"),
    _look("get_task"),
    _look("ready_tasks", items="tasks", is_core=False),
    _look("why", command="why"),
)
_WORKING = _rows(
    Group.WORKING,
    _row("execute_task", without=("worktree_path",)),
    _row("work"),
    _row("checkpoint"),
    _row("heartbeat", is_core=False),
    _row("complete_task", is_repeatable=True),
    _row("release_task", "release", command="release"),
    _row("fail_task", "fail", command="stuck"),
    _row("end_attempt", is_core=False, destroys=True, command="lost"),
    _row("synthesize_results", is_repeatable=True),
)
_ARTIFACTS = _rows(
    Group.ARTIFACTS,
    _row("save_artifact", "artifacts.save", is_repeatable=True),
    _look("search_artifacts", "artifacts.search", items="hits"),
    _look("read_artifact", "artifacts.text"),
    _look("list_artifacts", "artifacts.list", items="artifacts"),
    _look("artifact_versions", "artifacts.versions", items="artifacts", is_core=False),
    _row("forget_artifact", "artifacts.forget", is_core=False, destroys=True, is_repeatable=True),
    _row("artifact_context", "artifacts.context", is_repeatable=True, is_core=False),
)
_WORKTREES = _rows(
    Group.WORKTREES,
    _look("list_worktrees", "worktrees.list", items="worktrees", is_core=False),
    _look("worktree_forecast", "worktrees.forecast", is_core=False),
    # The check is a command, and a caller over the wire must not choose what runs.
    _row(
        "merge_worktree",
        "worktrees.merge",
        is_repeatable=True,
        without=("check",),
        command="merge",
    ),
    _row("snapshot_worktree", "worktrees.snapshot", is_repeatable=True, is_core=False),
    _row("remove_worktree", "worktrees.remove", destroys=True, is_repeatable=True, is_core=False),
    _look("rescued_worktrees", "worktrees.rescue", items="worktrees", is_core=False),
)
_DOCUMENTS = _rows(
    Group.DOCUMENTS,
    _row("update_documents", "documents.update", is_repeatable=True, is_core=False),
    _look("check_documents", "documents.check", items="findings", is_core=False),
)
_MAINTENANCE = _rows(
    Group.MAINTENANCE,
    _look("check", is_core=False, command="check"),
    _row("repair", is_repeatable=True, is_core=False),
)

TABLE: Final[tuple[ToolSpec, ...]] = (
    *_SESSIONS,
    *_PLANNING,
    *_LOOKING,
    *_WORKING,
    *_ARTIFACTS,
    *_WORKTREES,
    *_DOCUMENTS,
    *_MAINTENANCE,
)
"""Every tool, in the order in which a host lists them."""

SAME_TOOL: Final = {"artifacts.read": "artifacts.text", "artifacts.get": "artifacts.text"}
"""Calls for which tools and commands have another one, which takes the same.

It reads bytes as text, and says with it what is known of the artifact.
"""
_OF_WORK: Final = ("checkpoint", "heartbeat", "release", "fail")
"""Verbs that `Work` has, too: briefings speak of those."""
NAMES: Final = {spec.path: spec.name for spec in TABLE}
"""For each call the name of its tool."""
_IN_TEXTS: Final = {
    **NAMES,
    **{f"work.{path}": NAMES[path] for path in _OF_WORK},
    **{path: NAMES[other] for path, other in SAME_TOOL.items()},
}
"""For each call that a text may name the name of the tool."""
_CALL: Final = re.compile(r"\b(?:orch\.|(?=work\.))([a-z_]+(?:\.[a-z_]+)?)\(")


def in_tool_names(text: str) -> str:
    """Write the calls that *text* names as the tools that make them."""

    def tool_call(match: re.Match[str]) -> str:
        name = _IN_TEXTS.get(match[1])
        return match[0] if name is None else f"{PREFIX}{name}("

    return _CALL.sub(tool_call, text)


NO_TOOLS: Final[Mapping[str, str]] = {
    "open": "the host opens the project",
    "close": "the host closes it",
    "home": "a property of the host's object",
    "home_source": "a property of the host's object",
    "project": "a property of the host's object",
    "agent": "a property of the host's object",
    "artifacts": "a room, whose calls have their own rows",
    "worktrees": "a room, whose calls have their own rows",
    "documents": "a room, whose calls have their own rows",
    "share_settings": "a person decides what the homes of a team have in common",
    "team_settings": "a person decides what the homes of a team have in common",
    "current_session": "session_status says more",
    "graph": "an object for programs; get_status names the chain",
    "watch": "an iterator; a person reads it with the command `watch`",
    "on_event": "takes a callable",
    "roles": "the briefing of a task has its role",
    "usual_time": "the briefing of a task says it",
    "run": "takes callables",
    "catch_up": "every view catches up when it is looked at",
    "backup": "a person chooses where a backup goes",
    "export": "a person chooses where an export goes",
    "import_": "a person does that to an empty home",
    "prune": "a person decides what may be forgotten",
}
"""Calls of the façade that are no tools, each with the reason."""

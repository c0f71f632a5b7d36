"""The settings of a home, and the environment variables that go before them."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import attrs

from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.files import translate_os_error

if TYPE_CHECKING:
    from pathlib import Path

ENV_SESSION = "MCP_ORCHESTRATOR_SESSION"
ENV_HOME = "VESPERA_ORCHESTRATOR_HOME"
ENV_STORE = "VESPERA_ORCHESTRATOR_STORE"
ENV_CONTENT = "VESPERA_ORCHESTRATOR_CONTENT"
ENV_AGENT = "VESPERA_ORCHESTRATOR_AGENT"
ENV_EMBEDDER = "VESPERA_ORCHESTRATOR_EMBEDDER"


@attrs.frozen(kw_only=True)
class Config:
    """The settings of ``config.toml``. Whatever it does not name keeps its default."""

    project: str | None = None
    """The project's folder, where the home lies elsewhere."""
    content: str | None = None
    """Address of the content store, where it is not the folder ``artifacts/`` of the home."""
    durability: str | None = None
    """``full`` or ``normal``; see `Orchestrator.open`."""
    worktrees_root: str = "../worktrees"
    """Where worktrees go, relative to the project's folder. ``{project}``, ``{session}`` and ``{agent}`` are filled in."""
    branch_prefix: str = "feature/"
    """What stands before the alias in a branch's name; filled in likewise."""
    integration_branch: str = "integration"
    max_file_bytes: int = 50_000_000
    """Larger untracked files are left out of snapshots, and named."""
    heartbeat_save_s: int = 0
    """A heartbeat within so many seconds of the last save only renews the hold; 0 saves with each."""
    merge_style: str = "squash"
    """How work lands: ``squash``, ``merge`` or ``fast-forward``."""
    check: str | list[str] | None = None
    """Command that is run on the merged files before they land."""
    check_timeout_s: int = 600
    """How long it may take, in seconds."""
    undoing: str = "warn"
    """What happens when work would undo what others landed: ``warn`` or ``refuse``."""
    documents: bool = True
    """Whether project documents are kept, for sessions that have a project type."""
    embedder: str = "auto"
    """What makes the vectors of the search: ``auto``, ``none``, or ``NAME:MODEL``; see `Orchestrator.open`."""


def _command(value: object) -> str | None:
    words = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return (
        None
        if value and (words or isinstance(value, str))
        else 'should be a list of words (["pytest", "-q"]) or a line for the shell'
    )


def _mistake(value: object, allowed: object) -> str | None:
    """Return what is wrong with the value of a setting, or ``None``."""
    if isinstance(allowed, tuple):
        return None if value in allowed else f"should be one of {', '.join(allowed)}"
    if isinstance(allowed, type):
        return None if type(value) is allowed else f"should be of type {allowed.__name__}"
    return _command(value)


_CONFIG_KEYS: dict[tuple[str, str], tuple[str, object]] = {
    ("", "project"): ("project", str),
    ("", "content"): ("content", str),
    ("store", "durability"): ("durability", str),
    ("worktrees", "root"): ("worktrees_root", str),
    ("worktrees", "branch_prefix"): ("branch_prefix", str),
    ("worktrees", "integration_branch"): ("integration_branch", str),
    ("worktrees", "max_file_bytes"): ("max_file_bytes", int),
    ("worktrees", "heartbeat_save_s"): ("heartbeat_save_s", int),
    ("worktrees", "merge_style"): ("merge_style", ("squash", "merge", "fast-forward")),
    ("worktrees", "check"): ("check", _command),
    ("worktrees", "check_timeout_s"): ("check_timeout_s", int),
    ("worktrees", "undoing"): ("undoing", ("warn", "refuse")),
    ("documents", "enabled"): ("documents", bool),
    ("search", "embedder"): ("embedder", str),
}
"""For each setting its field, and what it may be: a type, one of some words, or what a function says of it."""
_CONFIG_TEXT = """\
# Settings of this home. Every line is optional; what stands here as a comment is the default.
{project}# content = "s3://bucket/folder"       # where the bytes of artifacts go, instead of artifacts/; also file://, gs://, az://

[store]
# durability = "full"                 # "normal": faster on slow disks; a power cut may then take the last moments

[worktrees]
# root = "../worktrees"               # relative to the project's folder; {{project}}, {{session}} and {{agent}} are filled in
# branch_prefix = "feature/"          # before the task's alias; filled in likewise
# integration_branch = "integration"  # where finished work goes
# max_file_bytes = 50000000           # larger untracked files are left out of snapshots, and named
# heartbeat_save_s = 0                # a heartbeat within so many seconds of the last save only renews the hold; 0: each saves
# merge_style = "squash"              # one commit for each task; "merge": with the worktree's own commits; "fast-forward"
# check = ["pytest", "-q"]            # run on the merged files before they land; none by default
# check_timeout_s = 600
# undoing = "warn"                    # when work would undo what others landed: "warn" or "refuse"

[documents]
# enabled = true                      # keep docs/ up to date in sessions that have a project type

[search]
# embedder = "auto"                   # "none", or e.g. "sentence-transformers:all-MiniLM-L6-v2", "ollama:nomic-embed-text"
"""


def _read_config(path: Path) -> Config:
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Config()
    except OSError as exc:
        raise translate_os_error(exc, path) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidInputError(
            str(path), f"is not valid TOML: {exc}; correct it, or delete it for the defaults"
        ) from exc
    flat = {("", k): v for k, v in raw.items() if not isinstance(v, dict)}
    flat |= {
        (section, k): v
        for section, table in raw.items()
        if isinstance(table, dict)
        for k, v in table.items()
    }
    values: dict[str, Any] = {}
    for key, value in flat.items():
        name = ".".join(part for part in key if part)
        if key not in _CONFIG_KEYS:
            known = ", ".join(".".join(p for p in k if p) for k in _CONFIG_KEYS)
            raise InvalidInputError(str(path), f"unknown setting {name!r}; known: {known}")
        field, allowed = _CONFIG_KEYS[key]
        if (mistake := _mistake(value, allowed)) is not None:
            raise InvalidInputError(str(path), f"{name} = {value!r} {mistake}")
        values[field] = value
    return Config(**values)

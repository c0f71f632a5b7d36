"""The log of a ref, in which git notes where it was: added to and removed as git does it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.home.files import OpenHandle
from vespera_orchestrator.worktrees.git_config import is_true, ref_signature
from vespera_orchestrator.worktrees.ref_files import read_text_if_present
from vespera_orchestrator.worktrees.ref_lock import remove_empty_folders

if TYPE_CHECKING:
    from pathlib import Path

    import pygit2

_NOWHERE: Final = "0" * 40
_SETTING: Final = "core.logAllRefUpdates"
_LOGGED: Final = ("refs/heads/", "refs/remotes/", "refs/notes/")
_APPEND: Final = (
    os.O_WRONLY
    | os.O_APPEND
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
)
_MODE: Final = 0o666


def note_move(
    repo: pygit2.Repository, common: Path, ref: str, old: str | None, new: str, *, message: str
) -> None:
    """Note in the log of *ref* that it moves; where HEAD follows it, also in that of HEAD.

    Call it under git's lock of the ref, before the ref moves. As with git, a power cut may take the
    last lines.

    Args:
        repo: The repository.
        common: The git directory that all worktrees share.
        ref: The ref's full name.
        old: What it names; ``None`` where it does not exist.
        new: What it is going to name.
        message: Why, in one line.

    Raises:
        OSError: The file system refused.
    """
    names = [ref]
    if read_text_if_present(common / "HEAD") == f"ref: {ref}\n":
        names.append("HEAD")
    for name in names:
        log = common / "logs" / name
        if log.is_file() or _is_logged(repo, name):
            _append(log, _line(repo, old, new, message))


def _is_logged(repo: pygit2.Repository, name: str) -> bool:
    """Tell whether git begins a log of this ref."""
    config = repo.config
    wish = config[_SETTING].lower() if _SETTING in config else ""
    if wish == "always":
        return True
    is_off = not is_true(wish) if wish else repo.is_bare
    return not is_off and (name == "HEAD" or name.startswith(_LOGGED))


def _line(repo: pygit2.Repository, old: str | None, new: str, message: str) -> bytes:
    who = ref_signature(repo)
    sign = "-" if who.offset < 0 else "+"
    hours, minutes = divmod(abs(who.offset), 60)
    when = f"{who.time} {sign}{hours:02}{minutes:02}"
    reason = " ".join(message.split())
    line = f"{old or _NOWHERE} {new} {who.name} <{who.email}> {when}\t{reason}\n"
    return line.encode("utf-8", "surrogateescape")


def _append(log: Path, line: bytes) -> None:
    if log.is_dir():
        remove_empty_folders(log)
    try:
        handle = OpenHandle(log, _APPEND)
    except FileNotFoundError:
        log.parent.mkdir(parents=True, exist_ok=True)
        handle = OpenHandle(log, _APPEND | os.O_CREAT, _MODE)
    os.write(handle.number, line)


def remove_log(common: Path, ref: str) -> None:
    """Remove the log of a ref that was removed: it would stand in the way of others."""
    log = common / "logs" / ref
    log.unlink(missing_ok=True)
    for folder in log.parents:
        if folder in (common / "logs" / "refs" / "heads", common):
            return
        try:
            folder.rmdir()
        except OSError:
            return

"""The check before landing: a callable or a command.

It runs in a folder of its own that holds the merged files.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import RefusalKind
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError, LandingRefusedError
from vespera_orchestrator.home.file_lock import file_lock
from vespera_orchestrator.home.files import write_atomically
from vespera_orchestrator.home.reading import read_json
from vespera_orchestrator.worktrees.check_repository import make_repository
from vespera_orchestrator.worktrees.commands import CommandFailure, command_name, run_command
from vespera_orchestrator.worktrees.furnishing import furnish_check
from vespera_orchestrator.worktrees.translation import git_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pygit2

    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.terms import Check

_PREFIX: Final = "vespera-check-"
"""Begins the names of the folder, and of the note about it."""


def run(repository: ProjectRepository, check: Check, commit: str, *, timeout_s: float) -> None:
    """Run *check* on the files of *commit*, in a temporary folder outside of every checkout.

    The folder is a git repository of its own, and has what a new worktree has beside what git
    tracks.

    Args:
        repository: The repository.
        check: A callable that gets the folder, and refuses by raising or by returning ``False``;
            or a command: a list of words, or a line for the shell. A command refuses by ending
            with anything but 0.
        commit: What is to land, in hexadecimal.
        timeout_s: Seconds after which a command, and all that it started, is killed. A callable is
            not interrupted.

    Raises:
        LandingRefusedError: The check refused; carries its output.
    """
    branch = repository.integration_branch
    with _merged_files(repository, commit) as (folder, repo):
        with git_errors(f"bring ignored files to the folder {folder} of a check"):
            failure = furnish_check(repository, folder, repo)
        if failure is not None:
            raise _refused(branch, _name_of(check), failure)
        if callable(check):
            _call(branch, check, folder)
        else:
            _run_command(repository, check, folder, timeout_s)


def refuse_nonsense(check: object) -> None:
    """Check that *check* is something that can be run.

    Raises:
        InvalidInputError: It is not.
    """
    is_words = isinstance(check, list | tuple) and all(isinstance(word, str) for word in check)
    is_command = bool(check) and (is_words or isinstance(check, str))
    if not (callable(check) or is_command):
        remedy = (
            "give a callable, a list of words such as ['pytest', '-q'], or a line for the shell"
        )
        raise InvalidInputError("check", f"{show_value(check)} cannot be run; {remedy}")


# --- the folder -------------------------------------------------------------


def sweep(repository: ProjectRepository) -> int:
    """Remove folders that killed checks have left; return how many."""
    swept = 0
    for note in repository.home.locks.glob(f"{_PREFIX}*.json"):
        with suppress(TimeoutError), _in_use(note, patience_s=0):
            folder = _folder_of(note)
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
            note.unlink(missing_ok=True)
    return swept


@contextmanager
def _merged_files(
    repository: ProjectRepository, commit: str
) -> Iterator[tuple[Path, pygit2.Repository]]:
    """Write the files of *commit* into a temporary folder, which is removed after the block."""
    name = f"{_PREFIX}{secrets.token_hex(8)}"
    note = repository.home.locks / f"{name}.json"
    folder = Path(tempfile.gettempdir(), name)
    with _in_use(note), git_errors(f"make the folder {folder} for a check"):
        write_atomically(note, json.dumps({"folder": str(folder)}))
        folder.mkdir(mode=0o700)
        try:
            repo = make_repository(repository, folder, commit)
            yield folder, repo
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            note.unlink(missing_ok=True)


@contextmanager
def _in_use(note: Path, *, patience_s: float | None = None) -> Iterator[None]:
    """Hold the lock that shows that somebody is using the folder.

    The system releases it when the holder dies.
    """
    lock = note.with_suffix(".lock")
    with file_lock(lock, timeout_s=patience_s):
        yield
        lock.unlink(missing_ok=True)


def _folder_of(note: Path) -> Path | None:
    """Return the folder that a note names, if it is one that we could have made."""
    try:
        folder = Path(read_json(note)["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_ours = folder.name == note.stem and folder.is_dir() and not folder.is_symlink()
    return folder if is_ours else None


# --- running ----------------------------------------------------------------


def _name_of(check: Check) -> str:
    if callable(check):
        return str(getattr(check, "__name__", type(check).__name__))
    return command_name(check)


def _call(branch: str, check: Callable[[Path], object], folder: Path) -> None:
    name = _name_of(check)
    try:
        answer = check(folder)
    except Exception as exc:
        failure = CommandFailure(
            what=f"raised {type(exc).__name__}: {exc}", output=traceback.format_exc()
        )
        raise _refused(branch, name, failure) from exc
    if answer is False:
        raise _refused(branch, name, CommandFailure(what="said no"))


def _run_command(
    repository: ProjectRepository, check: Sequence[str] | str, folder: Path, timeout_s: float
) -> None:
    with tempfile.TemporaryFile() as output:
        failure = run_command(
            check, folder=folder, home=repository.home.path, timeout_s=timeout_s, output=output
        )
    if failure is not None:
        raise _refused(repository.integration_branch, command_name(check), failure)


def _refused(branch: str, name: str, failure: CommandFailure) -> LandingRefusedError:
    report = (
        f"# The check before landing on {branch} refused\n\n"
        f"`{name}` {failure.what}. Nothing was changed on {branch}, and the work is kept.\n"
    )
    if failure.output:
        lines = [f"    {line}\n" for line in failure.output.splitlines()]
        report += "\n## What it said\n\n" + "".join(lines)
    reason = f"the check {name!r} {failure.what}"
    return LandingRefusedError(branch, RefusalKind.CHECK, reason, report)

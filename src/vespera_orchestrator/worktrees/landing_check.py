"""The check before landing: a callable or a command.

It runs in a folder of its own that holds the merged files.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import pygit2
from filelock import FileLock, Timeout
from pygit2.enums import CheckoutStrategy

from vespera_orchestrator._model import RefusalKind
from vespera_orchestrator.errors import InvalidInputError, LandingRefusedError
from vespera_orchestrator.home.config import ENV_HOME
from vespera_orchestrator.home.environment import without_repository
from vespera_orchestrator.home.files import write_atomically
from vespera_orchestrator.worktrees.translation import git_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.terms import Check

_PREFIX: Final = "vespera-check-"
"""Begins the names of the folder, and of the note about it."""
_MOST_OUTPUT_BYTES: Final = 400_000
"""As much of the end of a command's output is kept."""
_WRITE_OUT: Final = (
    CheckoutStrategy.FORCE | CheckoutStrategy.RECREATE_MISSING | CheckoutStrategy.DONT_UPDATE_INDEX
)


def run(repository: ProjectRepository, check: Check, tree: str, *, timeout_s: float) -> None:
    """Run *check* on the files of *tree*, in a temporary folder outside of every checkout.

    Args:
        repository: The repository.
        check: A callable that gets the folder, and refuses by raising or by returning ``False``;
            or a command: a list of words, or a line for the shell. A command refuses by ending
            with anything but 0.
        tree: The files, in hexadecimal.
        timeout_s: Seconds after which a command, and all that it started, is killed. A callable is
            not interrupted.

    Raises:
        LandingRefusedError: The check refused; carries its output.
    """
    with _merged_files(repository, tree) as folder:
        if callable(check):
            _call(repository.integration_branch, check, folder)
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
        raise InvalidInputError("check", f"{check!r} cannot be run; {remedy}")


# --- the folder -------------------------------------------------------------


def sweep(repository: ProjectRepository) -> int:
    """Remove folders that killed checks have left; return how many."""
    swept = 0
    for note in repository.home.locks.glob(f"{_PREFIX}*.json"):
        with suppress(Timeout), _in_use(note, patience_s=0):
            folder = _folder_of(note)
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
            note.unlink(missing_ok=True)
    return swept


@contextmanager
def _merged_files(repository: ProjectRepository, tree: str) -> Iterator[Path]:
    """Write the files of *tree* into a temporary folder, which is removed after the block."""
    name = f"{_PREFIX}{secrets.token_hex(8)}"
    note = repository.home.locks / f"{name}.json"
    folder = Path(tempfile.gettempdir(), name)
    with _in_use(note), git_errors(f"make the folder {folder} for a check"):
        write_atomically(note, json.dumps({"folder": str(folder)}))
        folder.mkdir(mode=0o700)
        try:
            repo = repository.open()
            files = repo[tree].peel(pygit2.Tree)
            repo.checkout_tree(files, strategy=_WRITE_OUT, directory=str(folder))
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            note.unlink(missing_ok=True)


@contextmanager
def _in_use(note: Path, *, patience_s: float = -1) -> Iterator[None]:
    """Hold the lock that shows that somebody is using the folder.

    The system releases it when the holder dies.
    """
    lock = FileLock(note.with_suffix(".lock"))
    with lock.acquire(timeout=patience_s):
        yield
        note.with_suffix(".lock").unlink(missing_ok=True)


def _folder_of(note: Path) -> Path | None:
    """Return the folder that a note names, if it is one that we could have made."""
    try:
        folder = Path(json.loads(note.read_text("utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_ours = folder.name == note.stem and folder.is_dir() and not folder.is_symlink()
    return folder if is_ours else None


# --- running ----------------------------------------------------------------


def _call(branch: str, check: Callable[[Path], object], folder: Path) -> None:
    name = getattr(check, "__name__", type(check).__name__)
    try:
        answer = check(folder)
    except Exception as exc:
        what = f"raised {type(exc).__name__}: {exc}"
        raise _refused(branch, name, what, traceback.format_exc()) from exc
    if answer is False:
        raise _refused(branch, name, "said no")


def _run_command(
    repository: ProjectRepository, check: Sequence[str] | str, folder: Path, timeout_s: float
) -> None:
    branch = repository.integration_branch
    is_line = isinstance(check, str)
    name = check if isinstance(check, str) else " ".join(check)
    words = ["/bin/sh", "-c", name] if is_line else list(check)
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=_environment(repository),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as exc:
            what = f"could not be started: {exc.strerror or exc}"
            raise _refused(branch, name, what) from exc
        code = _wait(process, timeout_s)
        if code is None:
            raise _refused(branch, name, f"took longer than {timeout_s:g} s", _end_of(output))
        if code:
            raise _refused(branch, name, f"ended with {code}", _end_of(output))


def _environment(repository: ProjectRepository) -> dict[str, str]:
    """Return ours, without what leads to another repository or another home."""
    environment = without_repository(os.environ)
    environment[ENV_HOME] = str(repository.home.path)
    return environment


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Return the code that the process ends with; ``None`` when it was killed for being slow."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        return None
    except BaseException:
        _kill(process)
        raise


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        # It has a session of its own: whatever it has started is killed with it.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# --- what it said -----------------------------------------------------------


def _end_of(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _MOST_OUTPUT_BYTES))
    text = output.read().decode("utf-8", "backslashreplace")
    if size > _MOST_OUTPUT_BYTES:
        return f"(only the last {_MOST_OUTPUT_BYTES} of {size} bytes)\n{text}"
    return text


def _refused(branch: str, name: str, what: str, output: str = "") -> LandingRefusedError:
    report = (
        f"# The check before landing on {branch} refused\n\n"
        f"`{name}` {what}. Nothing was changed on {branch}, and the work is kept.\n"
    )
    if output:
        lines = [f"    {line}\n" for line in output.splitlines()]
        report += "\n## What it said\n\n" + "".join(lines)
    reason = f"the check {name!r} {what}"
    return LandingRefusedError(branch, RefusalKind.CHECK, reason, report)

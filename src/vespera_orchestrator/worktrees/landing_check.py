"""The check before landing: a callable or a command, run in a folder of its own that holds the merged files."""

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
from typing import IO, TYPE_CHECKING

import pygit2
from filelock import FileLock, Timeout
from pygit2.enums import CheckoutStrategy

from vespera_orchestrator.errors import InvalidInputError, LandingRefusedError
from vespera_orchestrator.home.config import ENV_HOME
from vespera_orchestrator.home.files import write_atomically
from vespera_orchestrator.worktrees.repository import git_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.terms import Check

_PREFIX = "vespera-check-"
_MOST_BYTES = 400_000
"""So much of the end of a command's output is kept."""


def run(repository: ProjectRepository, check: Check, tree: str, *, timeout_s: float) -> None:
    """Run *check* on the files of *tree*, in a temporary folder that is no part of any checkout and no git repository.

    Args:
        repository: The repository.
        check: A callable that is given the folder, and refuses by raising or by returning ``False``; or a command: a list of words, or a
            line for the shell. A command refuses by ending with anything but 0.
        tree: The files, in hexadecimal.
        timeout_s: Seconds after which a command, and all that it started, is killed. A callable is not interrupted.

    Raises:
        LandingRefusedError: The check refused; carries its output.
    """
    with _folder(repository, tree) as folder:
        if callable(check):
            _call(repository.integration_branch, check, folder)
        else:
            _command(
                repository,
                [check] if isinstance(check, str) else [*check],
                folder,
                timeout_s,
                shell=isinstance(check, str),
            )


def refuse_nonsense(check: object) -> None:
    """Check that *check* is something that can be run.

    Raises:
        InvalidInputError: It is not.
    """
    words = isinstance(check, list | tuple) and all(isinstance(word, str) for word in check)
    if not (callable(check) or ((isinstance(check, str) or words) and check)):
        remedy = (
            "give a callable, a list of words such as ['pytest', '-q'], or a line for the shell"
        )
        raise InvalidInputError("check", f"{check!r} cannot be run; {remedy}")


def sweep(repository: ProjectRepository) -> int:
    """Remove folders that killed checks have left; return how many."""
    swept = 0
    for note in repository.home.locks.glob(f"{_PREFIX}*.json"):
        with suppress(Timeout), _alive(note, patience_s=0):
            folder = _noted(note)
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
            note.unlink(missing_ok=True)
    return swept


@contextmanager
def _alive(note: Path, *, patience_s: float = -1) -> Iterator[None]:
    """Hold the lock that shows that somebody is using the folder; the system releases it when the holder dies."""
    lock = FileLock(note.with_suffix(".lock"))
    with lock.acquire(timeout=patience_s):
        yield
        note.with_suffix(".lock").unlink(missing_ok=True)


def _noted(note: Path) -> Path | None:
    """Return the folder that a note names, if it is one that we could have made."""
    try:
        folder = Path(json.loads(note.read_text("utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (
        folder if folder.name == note.stem and folder.is_dir() and not folder.is_symlink() else None
    )


@contextmanager
def _folder(repository: ProjectRepository, tree: str) -> Iterator[Path]:
    name = f"{_PREFIX}{secrets.token_hex(8)}"
    note, folder = repository.home.locks / f"{name}.json", Path(tempfile.gettempdir(), name)
    with _alive(note), git_errors(f"make the folder {folder} for a check"):
        write_atomically(note, json.dumps({"folder": str(folder)}))
        folder.mkdir(mode=0o700)
        try:
            repo = repository.open()
            strategy = (
                CheckoutStrategy.FORCE
                | CheckoutStrategy.RECREATE_MISSING
                | CheckoutStrategy.DONT_UPDATE_INDEX
            )
            repo.checkout_tree(
                repo[tree].peel(pygit2.Tree), strategy=strategy, directory=str(folder)
            )
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            note.unlink(missing_ok=True)


def _call(branch: str, check: Callable[[Path], object], folder: Path) -> None:
    name = getattr(check, "__name__", type(check).__name__)
    try:
        answer = check(folder)
    except Exception as exc:
        raise _refused(
            branch, name, f"raised {type(exc).__name__}: {exc}", traceback.format_exc()
        ) from exc
    if answer is False:
        raise _refused(branch, name, "said no", "")


def _command(
    repository: ProjectRepository, words: list[str], folder: Path, timeout_s: float, *, shell: bool
) -> None:
    name, branch = words[0] if shell else " ".join(words), repository.integration_branch
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("GIT_")
    } | {ENV_HOME: str(repository.home.path)}
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", words[0]] if shell else words,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as exc:
            raise _refused(
                branch, name, f"could not be started: {exc.strerror or exc}", ""
            ) from exc
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise _refused(
                branch, name, f"took longer than {timeout_s:g} s", _end_of(output)
            ) from None
        except BaseException:
            _kill(process)
            raise
        if code:
            raise _refused(branch, name, f"ended with {code}", _end_of(output))


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(
            process.pid, signal.SIGKILL
        )  # its own session: whatever it has started goes with it
    process.wait()


def _end_of(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _MOST_BYTES))
    cut = f"(only the last {_MOST_BYTES} of {size} bytes)\n" if size > _MOST_BYTES else ""
    return cut + output.read().decode("utf-8", "backslashreplace")


def _refused(branch: str, name: str, what: str, output: str) -> LandingRefusedError:
    report = f"# The check before landing on {branch} refused\n\n`{name}` {what}. Nothing was changed on {branch}, and the work is kept.\n"
    if output:
        quoted = "".join(f"    {line}\n" for line in output.splitlines())
        report += f"\n## What it said\n\n{quoted}"
    return LandingRefusedError(branch, f"the check {name!r} {what}", report)

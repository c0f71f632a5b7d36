"""What a worktree needs beside what git tracks: ignored files, and what a set-up command makes.

It is done when the files were written, and before anybody works there: in a new worktree, in one
that is made again, and in the folder of a check. The command comes from this home's ``config.toml``
alone. No file of the repository can name one.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import SetupFailedError
from vespera_orchestrator.home.files import make_folders
from vespera_orchestrator.worktrees.admin_note import READY, read_note, read_notes, write_note
from vespera_orchestrator.worktrees.commands import command_name, run_command
from vespera_orchestrator.worktrees.ignored_files import Destination, bring, is_any_wanted
from vespera_orchestrator.worktrees.opening import open_repository
from vespera_orchestrator.worktrees.translation import git_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pygit2

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.commands import CommandFailure
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_PLACEHOLDER: Final = re.compile(r"\{(index|task|project)\}")
_LINES_SHOWN: Final = 5


def is_wanted(repository: ProjectRepository) -> bool:
    """Tell whether a new worktree needs more than what git tracks."""
    return repository.home.config.worktrees.setup is not None or is_any_wanted(repository)


def log_file(repository: ProjectRepository, name: str) -> Path:
    """Return the file with what the set-up command of a worktree said last."""
    return repository.home.path / "logs" / f"setup-{name}.log"


def free_index(repository: ProjectRepository) -> int:
    """Return the smallest number from 1 on that no other worktree has. Under the names' lock."""
    taken = {note.index for note in read_notes(repository)}
    return next(number for number in range(1, len(taken) + 2) if number not in taken)


def furnish(repository: ProjectRepository, worktree: Worktree) -> None:
    """Bring what a worktree needs, unless that was done. Under the worktree's lock.

    A kill in between does no harm: the next call that needs the worktree does it again.

    Raises:
        SetupFailedError: The set-up command failed. The worktree stays as it is.
    """
    note = read_note(repository, worktree.name)
    if note is None or note.is_furnished:
        return
    folder = Path(worktree.path)
    destination = Destination(
        folder=folder,
        exclude=repository.common / "info" / "exclude",
        open_repository=lambda: repository.open_worktree(worktree.name),
    )
    with git_errors(f"bring ignored files to the worktree {worktree.name}"):
        brought = bring(repository, destination)
    _set_up_worktree(repository, worktree, note.index)
    admin = repository.admin(worktree.name)
    write_note(repository, admin, READY, worktree, is_furnished=True, brought=brought)


def _set_up_worktree(repository: ProjectRepository, worktree: Worktree, index: int) -> None:
    log = log_file(repository, worktree.name)
    if repository.home.config.worktrees.setup is None:
        return
    make_folders(log.parent)
    with log.open("wb+") as output:
        values = {"index": str(index), "task": worktree.name}
        failure = _set_up(repository, Path(worktree.path), values, output)
    if failure is not None:
        command = _command(repository)
        end = "\n".join(failure.output.splitlines()[-_LINES_SHOWN:])
        raise SetupFailedError(worktree.name, command, failure.what, str(log), end)


def furnish_check(
    repository: ProjectRepository, folder: Path, repo: pygit2.Repository
) -> CommandFailure | None:
    """Bring what a check needs into its folder; return how the set-up command failed, if it did."""
    destination = Destination(
        folder=folder,
        exclude=Path(repo.path, "info", "exclude"),
        open_repository=lambda: open_repository(repo.path),
    )
    bring(repository, destination)
    if repository.home.config.worktrees.setup is None:
        return None
    with tempfile.TemporaryFile() as output:
        failure = _set_up(repository, folder, {"index": "0", "task": "check"}, output)
    if failure is None:
        return None
    what = f"could not begin: the set-up command {_command(repository)!r} {failure.what}"
    return attrs.evolve(failure, what=what)


def _command(repository: ProjectRepository) -> str:
    return command_name(repository.home.config.worktrees.setup or "")


def _set_up(
    repository: ProjectRepository, folder: Path, values: Mapping[str, str], output: IO[bytes]
) -> CommandFailure | None:
    """Run the set-up command, with its placeholders filled in."""
    settings = repository.home.config.worktrees
    values = {**values, "project": str(repository.home.project)}
    if isinstance(settings.setup, str):
        # In a line for the shell a path with a space, or worse, must stay one word.
        quoted = {name: shlex.quote(value) for name, value in values.items()}
        command: str | list[str] = _filled_in(settings.setup, quoted)
    else:
        command = [_filled_in(word, values) for word in settings.setup or ()]
    return run_command(
        command,
        folder=folder,
        home=repository.home.path,
        timeout_s=settings.setup_timeout_s,
        output=output,
    )


def _filled_in(text: str, values: Mapping[str, str]) -> str:
    """Fill in our placeholders; other braces, as shells have them, stay."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)

"""Opening a repository as git would see it, where libgit2 sees it differently."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pygit2
from pygit2.enums import RepositoryOpenFlag

from vespera_orchestrator.worktrees import libgit2
from vespera_orchestrator.worktrees.git_command import find_git, run_git

_TELL_CASE_APART: Final = Path(__file__).with_name("tell_case_apart.gitconfig")
_NOT_OWNED: Final = "is not owned by current user"


def open_repository(git_dir: str | os.PathLike[str]) -> pygit2.Repository:
    """Open the repository, or the linked worktree, whose git directory this is.

    Where it is none, no repository further up is taken instead.

    A folder of another user's is opened where git says that it is safe: libgit2 does not look into
    the environment for ``safe.directory``. Where the repository was made on a disk that ignores
    case and this one does not, names are told apart by case.

    Raises:
        pygit2.GitError: It cannot be opened.
    """
    repo = _open(str(git_dir))
    if _says_that_case_is_ignored(repo) and _is_case_told_apart(Path(repo.path)):
        libgit2.add_config_file(repo, _TELL_CASE_APART)
    return repo


def _open(git_dir: str) -> pygit2.Repository:
    try:
        return pygit2.Repository(git_dir, RepositoryOpenFlag.NO_SEARCH)
    except pygit2.GitError as exc:
        if _NOT_OWNED not in str(exc) or not _does_git_trust(git_dir):
            raise
    # There is no such switch for one repository. Git has just answered for this one.
    before = pygit2.settings.owner_validation
    pygit2.settings.owner_validation = False
    try:
        return pygit2.Repository(git_dir, RepositoryOpenFlag.NO_SEARCH)
    finally:
        pygit2.settings.owner_validation = before


def _does_git_trust(git_dir: str) -> bool:
    if find_git() is None:
        return False
    run = run_git("rev-parse", "--git-dir", cwd=git_dir)
    return run.returncode == 0


def _says_that_case_is_ignored(repo: pygit2.Repository) -> bool:
    config = repo.config
    return "core.ignorecase" in config and config.get_bool("core.ignorecase")


def _is_case_told_apart(folder: Path) -> bool:
    return folder.joinpath("HEAD").exists() and not os.path.lexists(folder / "head")


def write_objects_elsewhere(repo: pygit2.Repository, folder: Path) -> None:
    """Let *repo* write new objects into *folder*, and read its own as before.

    libgit2 writes what it merges, even if only to look at the outcome.
    """
    objects = pygit2.Odb(str(folder))
    objects.add_disk_alternate(str(Path(repo.path, "objects")))
    repo.set_odb(objects)

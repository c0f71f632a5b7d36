"""Choosing the name, the folder and the branch of a worktree."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import GitFailedError, InvalidInputError
from vespera_orchestrator.tasks import arguments
from vespera_orchestrator.worktrees.repository import branch_ref

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_NAME_MAX_BYTES: Final = 120
"""Leaves room for a number, and for git's own suffixes, below the 255 bytes of file systems."""
_MOST_NUMBERS: Final = 10_000
_ROOT_SETTING: Final = "worktrees.root"
_PREFIX_SETTING: Final = "worktrees.branch_prefix"


def plain_name(text: str) -> str:
    """Make a name for a folder, a ref and an admin directory from *text*.

    It has word characters and hyphens only, so it leads out of no folder.
    """
    normal = unicodedata.normalize("NFC", text)
    name = re.sub(r"[^\w-]+", "_", normal).strip("_-")
    encoded = name.encode("utf-8", "ignore")
    short = encoded[:_NAME_MAX_BYTES].decode("utf-8", "ignore")
    return short or "worktree"


def is_empty_folder(folder: Path) -> bool:
    """Tell whether *folder* is a folder, not a link to one, and holds nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return not any(folder.iterdir())


@attrs.frozen(kw_only=True)
class NameChoice:
    """What a new worktree may be called, and where it may be."""

    repository: ProjectRepository
    draft: Worktree
    """The record to be; its name is the wish."""
    names: Collection[str]
    """Names that are taken, folded."""
    branches: Collection[str]
    """Refs of the branches that exist."""
    path: Path | None
    """The folder, if the caller chose one."""
    branch: str | None
    """The branch, if the caller chose one."""
    root: Path
    """Where folders are made otherwise."""
    prefix: str
    """What branches begin with otherwise."""

    @classmethod
    def of(
        cls,
        repository: ProjectRepository,
        draft: Worktree,
        *,
        path: str | os.PathLike[str] | None,
        branch: str | None,
        taken: Collection[str],
    ) -> NameChoice:
        """Look at what the caller chose, what the settings say, and what there is already.

        Args:
            repository: The repository.
            draft: The record to be.
            path: The folder, if the caller chose one.
            branch: The branch, if the caller chose one.
            taken: Names that other records have.

        Raises:
            InvalidInputError: The chosen folder or branch cannot be used.
        """
        folder = None if path is None else _chosen_folder(repository, path)
        root = _root_folder(repository, draft)
        pattern = repository.home.config.worktrees.branch_prefix
        prefix = _fill_in(pattern, _PREFIX_SETTING, repository, draft)
        branches = repository.refs("refs/heads/")
        if branch is not None:
            _refuse_taken_branch(branch, branches)
        admins = [admin.name for admin in repository.admins()]
        return cls(
            repository=repository,
            draft=draft,
            names={_fold(name) for name in (*taken, *admins)},
            branches=branches,
            path=folder,
            branch=branch,
            root=root,
            prefix=prefix,
        )

    def candidates(self) -> Iterator[Worktree]:
        """Yield the draft with name, folder and branch that are free, the best first.

        A number is put behind the name where name, folder or branch are taken.

        Raises:
            GitFailedError: Git can have no such branch, or none was free.
        """
        for number in range(1, _MOST_NUMBERS):
            name = self.draft.name
            if number > 1:
                name += f"-{number}"
            folder = self.path or self.root / name
            branch = self.branch or self.prefix + name
            _refuse_shadowed_branch(branch, self.branches)
            if self._is_free(name, folder, branch):
                yield attrs.evolve(self.draft, name=name, path=str(folder), branch=branch)
        reason = f"{self.draft.name!r} is taken {_MOST_NUMBERS} times over; remove some worktrees"
        raise GitFailedError("choose a name for the worktree", reason)

    def _is_free(self, name: str, folder: Path, branch: str) -> bool:
        if _fold(name) in self.names:
            return False
        if self.path is None and os.path.lexists(folder):
            return False
        return self.branch is not None or not _clashes(
            branch_ref(branch, _PREFIX_SETTING), self.branches
        )


# --- folders ----------------------------------------------------------------


def is_below_root(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Tell whether the worktree's folder lies where folders are made when nobody chose one."""
    return Path(worktree.path).is_relative_to(_root_folder(repository, worktree))


def free_folder(repository: ProjectRepository, worktree: Worktree) -> Path:
    """Return a folder that does not exist yet, for a worktree whose own place is taken.

    Raises:
        GitFailedError: None was free.
    """
    root = _root_folder(repository, worktree)
    for number in range(1, _MOST_NUMBERS):
        name = worktree.name if number == 1 else f"{worktree.name}-{number}"
        if not os.path.lexists(root / name):
            return root / name
    reason = f"{root} holds {_MOST_NUMBERS} folders of that name; remove some"
    raise GitFailedError(f"choose a folder for the worktree {worktree.name}", reason)


def _root_folder(repository: ProjectRepository, draft: Worktree) -> Path:
    pattern = repository.home.config.worktrees.root
    text = _fill_in(pattern, _ROOT_SETTING, repository, draft)
    root = (repository.home.project / arguments.path(_ROOT_SETTING, text)).resolve()
    if root.is_relative_to(repository.common):
        reason = f"{str(root)!r} is in git's own folder; choose another one in config.toml"
        raise InvalidInputError(_ROOT_SETTING, reason)
    return root


def _chosen_folder(repository: ProjectRepository, path: str | os.PathLike[str]) -> Path:
    folder = (repository.home.project / arguments.path("path", path)).resolve()
    remedy = "give a folder that does not exist yet"
    if folder == repository.home.project or folder.is_relative_to(repository.common):
        raise InvalidInputError("path", f"{str(folder)!r} is the project's own; {remedy}")
    if os.path.lexists(folder) and not is_empty_folder(folder):
        reason = f"{str(folder)!r} is there already and not empty; {remedy}"
        raise InvalidInputError("path", reason)
    return folder


def _fill_in(pattern: str, setting: str, repository: ProjectRepository, draft: Worktree) -> str:
    """Fill in ``{project}``, ``{session}`` and ``{agent}``.

    What is put in is plain, so that it leads nowhere else.
    """
    values = {
        "project": repository.home.project.name,
        "session": draft.session_id,
        "agent": draft.agent or "any",
    }
    unknown = sorted(set(re.findall(r"[{]([^{}]*)[}]", pattern)) - values.keys())
    if unknown:
        allowed = ", ".join(f"{{{name}}}" for name in values)
        raise InvalidInputError(setting, f"{pattern!r} has {{{unknown[0]}}}; allowed are {allowed}")
    return re.sub(r"[{](\w+)[}]", lambda match: plain_name(values[match[1]]), pattern)


# --- branches ---------------------------------------------------------------


def _fold(name: str) -> str:
    """Return what two names have in common that are one name to some file systems."""
    return unicodedata.normalize("NFC", name).casefold()


def _clashes(ref: str, branches: Collection[str]) -> bool:
    folded = _fold(ref)
    below = f"{folded}/"
    for branch in branches:
        other = _fold(branch)
        if other == folded or other.startswith(below):
            return True
    return False


def _refuse_taken_branch(branch: str, branches: Collection[str]) -> None:
    if _clashes(branch_ref(branch, "branch"), branches):
        reason = (
            f"a branch {branch!r} (or one below that name, letter case ignored) exists already; "
            "give another name, or none"
        )
        raise InvalidInputError("branch", reason)


def _refuse_shadowed_branch(branch: str, branches: Collection[str]) -> None:
    parts = branch_ref(branch, _PREFIX_SETTING).split("/")
    for end in range(3, len(parts)):
        above = "/".join(parts[:end])
        if above in branches:
            short = above.removeprefix("refs/heads/")
            reason = (
                f"the branch {short!r} exists, and git cannot have one below it; rename it, "
                f"or set another {_PREFIX_SETTING}"
            )
            raise GitFailedError(f"make the branch {branch}", reason)

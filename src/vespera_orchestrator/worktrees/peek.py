"""What git's files tell without git: read before anything heavy is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import Position
from vespera_orchestrator.home.locate import git_common_dir
from vespera_orchestrator.home.reading import MOST_GIT_BYTES, read_small_file
from vespera_orchestrator.worktrees.ref_files import read_ref, read_text_if_present

if TYPE_CHECKING:
    from collections.abc import Collection

    from vespera_orchestrator._model import Worktree

NOTE_FILE: Final = "vespera_orchestrator.json"
"""In the admin directory of each worktree that a home has made."""
SEVERAL: Final = 2
"""A single worktree has nothing to conflict with."""


def may_have_several_snapshots(project: Path, names: Collection[str]) -> bool:
    """Tell whether several of the worktrees with these *names* may have been saved.

    Packed refs are not looked at one by one: where some are packed, the answer is yes.

    Args:
        project: A folder in the repository.
        names: The names of the worktrees.

    Raises:
        OSError: Git's files cannot be read.
    """
    common = git_common_dir(project) if len(names) >= SEVERAL else None
    if common is None:
        return False
    folder = common.joinpath("refs", "vespera", "wip")
    saved = [name for name in names if folder.joinpath(name).exists()]
    if len(saved) >= SEVERAL:
        return True
    packed = common / "packed-refs"
    return packed.exists() and b" refs/vespera/wip/" in read_small_file(packed, MOST_GIT_BYTES)


def has_notes(project: Path) -> bool:
    """Tell whether the repository has a worktree that some home has made."""
    common = git_common_dir(project)
    return common is not None and any(common.glob(f"worktrees/*/{NOTE_FILE}"))


def read_position(project: Path, integration_branch: str) -> Position:
    """Return which commit is checked out in *project*, and where the integration branch is.

    Everything is ``None`` without git, and where its files cannot be read.
    """
    try:
        common = git_common_dir(project)
        if common is None:
            return Position()
        head = (read_text_if_present(common / "HEAD") or "").strip()
        ref = head.removeprefix("ref:").strip() if head.startswith("ref:") else None
        return Position(
            branch=None if ref is None else ref.removeprefix("refs/heads/"),
            head=(head or None) if ref is None else read_ref(common, ref),
            integration=read_ref(common, f"refs/heads/{integration_branch}"),
        )
    except OSError:
        return Position()


def is_in_place(worktree: Worktree) -> bool:
    """Tell whether a worktree's folder is where it was last, and leads to its git directory."""
    target = git_file_target(Path(worktree.path))
    return target is not None and target.name == worktree.name


def git_file_target(folder: Path) -> Path | None:
    """Return the git directory that the ``.git`` file in *folder* names, be it there or not.

    ``None`` where there is no such file.
    """
    git_file = folder / ".git"
    try:
        text = os.fsdecode(read_small_file(git_file))
    except OSError:
        return None
    if not text.startswith("gitdir:"):
        return None
    return folder / text.removeprefix("gitdir:").strip()

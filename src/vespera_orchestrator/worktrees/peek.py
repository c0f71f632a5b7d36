"""What git's files tell without git: read before anything heavy is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator.home.locate import git_common_dir

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

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
    return packed.exists() and b" refs/vespera/wip/" in packed.read_bytes()

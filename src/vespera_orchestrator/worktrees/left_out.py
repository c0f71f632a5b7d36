"""What a snapshot cannot hold, and what somebody can do about it."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator.errors import UnsavedFilesError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator._model import Worktree


class LeftOutKind(StrEnum):
    """Why a path is not in a snapshot."""

    TOO_LARGE = "too large"
    """Untracked, and above ``max_file_bytes``. Landing takes it all the same."""
    NESTED_REPOSITORY = "nested repository"
    SUBMODULE_EDITS = "submodule edits"
    SUBMODULE_COMMIT = "submodule commit"
    UNREADABLE = "unreadable"
    REFUSED = "refused"
    SPECIAL = "special"
    """A pipe, a socket or a device where git has a file. It holds nothing to be saved."""


_HARMLESS: Final = frozenset({LeftOutKind.TOO_LARGE, LeftOutKind.SPECIAL})
_PROBLEMS: Final = {
    LeftOutKind.NESTED_REPOSITORY: (
        "{path} is a git repository of its own; to save its files with the project: "
        "rm -rf {quoted}/.git; to leave it out: move it elsewhere, or name it in .gitignore"
    ),
    LeftOutKind.SUBMODULE_EDITS: (
        "the submodule {path} has changes of its own; commit and push them there, or drop them: "
        "git -C {quoted} stash -u"
    ),
    LeftOutKind.SUBMODULE_COMMIT: (
        "the submodule {path} is at a commit that no remote branch has; push it: "
        "git -C {quoted} push origin HEAD:refs/heads/NAME"
    ),
    LeftOutKind.UNREADABLE: (
        "{path} cannot be read; make it readable (chmod u+r {quoted}), or delete it"
    ),
    LeftOutKind.REFUSED: "git refuses the name {path}; rename it, or name it in .gitignore",
}


@attrs.frozen(kw_only=True)
class LeftOut:
    """A path that a snapshot had to leave out."""

    path: str
    """The path, as text."""
    kind: LeftOutKind

    @property
    def keeps_from_landing(self) -> bool:
        """Whether work would be lost if the rest landed and the worktree were removed."""
        return self.kind not in _HARMLESS

    def __str__(self) -> str:
        quoted = shlex.quote(self.path)
        return _PROBLEMS[self.kind].format(path=self.path, quoted=quoted)


def refuse_left_out(worktree: Worktree, left_out: Sequence[LeftOut]) -> None:
    """Refuse to call work saved that is not.

    Raises:
        UnsavedFilesError: It names each path, and what to do.
    """
    lost = [item for item in left_out if item.keeps_from_landing]
    if lost:
        paths = tuple(dict.fromkeys(item.path for item in lost))
        problems = tuple(str(item) for item in lost)
        raise UnsavedFilesError(worktree.name, worktree.path, paths, problems)

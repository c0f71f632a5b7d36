"""Turning what git, libgit2 and the system raise into errors of ours."""

from __future__ import annotations

import re
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pygit2

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import (
    GitFailedError,
    UnreadableObjectError,
    UnsupportedRepositoryError,
    VesperaError,
    WorktreeError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen(kw_only=True)
class UnsupportedFeature:
    """Something in a repository that libgit2 cannot open."""

    feature: str
    remedy: str
    message: str
    """A pattern for what libgit2 says."""


SHA256: Final = UnsupportedFeature(
    feature="sha256 object names",
    remedy="git has no conversion; work without worktrees here, or in a sha1 clone",
    message="unknown object format",
)
REFTABLE: Final = UnsupportedFeature(
    feature="the reftable ref storage",
    remedy="git refs migrate --ref-format=files (git 2.46 or newer)",
    message=r"extensions\.refstorage",
)
_SPLIT_INDEX: Final = UnsupportedFeature(
    feature="a split index",
    remedy=(
        "install git, or: git config core.splitIndex false && git update-index --no-split-index"
    ),
    message="mandatory extension:? 'link'",
)
_SPARSE_INDEX: Final = UnsupportedFeature(
    feature="a sparse index",
    remedy="install git, or: git sparse-checkout disable",
    message="mandatory extension:? 'sdir'",
)
_REFUSED_BY_LIBGIT2: Final = (SHA256, REFTABLE, _SPLIT_INDEX, _SPARSE_INDEX)

OBJECT_ERRORS: Final = (KeyError, pygit2.GitError, OSError)
"""What pygit2 raises where an object cannot be read, or not be written just now."""
_WHAT_TO_DO: Final = (
    "git does not find an object: orch.repair() goes on without it where only work of ours needs "
    "it; git fsck lists what is missing, and git fetch --refetch CLONE brings what a clone has"
)
_UNREADABLE_OBJECT: Final = re.compile(
    "object not found|no match for id|cannot be peeled|can not be successfully peeled"
    "|invalid object specified|unable to read tree|invalid packfile|^'?[0-9a-f]{40}'?$"
    "|/objects/.*: No such file or directory",
    re.IGNORECASE,
)
"""What libgit2 says then; it has no codes for it."""


@contextmanager
def git_errors(doing: str) -> Iterator[None]:
    """Turn what pygit2 and the system raise inside the block into a `WorktreeError`.

    Args:
        doing: What the block does, as it reads after "cannot".
    """
    try:
        yield
    except VesperaError:
        raise
    except (pygit2.GitError, LookupError, ValueError, OSError) as exc:
        raise _translate(doing, exc) from exc


def _translate(doing: str, exc: Exception) -> WorktreeError:
    text = str(exc)
    for unsupported in _REFUSED_BY_LIBGIT2:
        if re.search(unsupported.message, text):
            return UnsupportedRepositoryError(unsupported.feature, unsupported.remedy)
    extension = re.search(r"unsupported extension name (?:extensions\.)?(\S+)", text)
    if extension:
        remedy = "work without worktrees here, or turn the extension off"
        return UnsupportedRepositoryError(f"the extension {extension[1]}", remedy)
    foreign = re.search("'(.+)' is not owned by current user", text)
    if foreign:
        folder = foreign[1]
        trust = f"git config --global --add safe.directory {shlex.quote(folder)}"
        reason = f"{folder} belongs to another user; if you trust it: {trust}"
        return GitFailedError(doing, reason)
    if _UNREADABLE_OBJECT.search(text):
        return UnreadableObjectError(doing, f"{text}; {_WHAT_TO_DO}")
    return GitFailedError(doing, text or type(exc).__name__)

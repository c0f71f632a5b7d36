"""Landing: a worktree's files become one commit on the integration branch, merged in memory, and no checkout is touched."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TypeAlias

import attrs
import pygit2
from pygit2.enums import ObjectType
from pygit2.ffi import C, ffi

from vespera_orchestrator.errors import MergeConflictError
from vespera_orchestrator.worktrees.repository import LANDED, git_errors

if TYPE_CHECKING:
    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.snapshot import Snapshot

_Entries: TypeAlias = "tuple[pygit2.IndexEntry | None, pygit2.IndexEntry | None, pygit2.IndexEntry | None]"
_SHOWN_CHARS = 40_000
"""Longest text of one side of one file in a conflict report; the report names the commit that has the whole."""


@attrs.frozen
class Landing:
    """A merge that is ready: its objects are written, and nothing has moved until `apply`."""

    worktree: str
    """The worktree's name."""
    branch: str
    """The integration branch."""
    commit: str
    """The commit that will be the branch's head, in hexadecimal; its present head when there is nothing to land."""
    tree: str
    """The merged tree, in hexadecimal."""
    changed: bool
    """Whether `apply` moves the branch. ``False``: the work is there already, or there is none."""
    snapshot: Snapshot
    """The worktree's files that are landed."""
    _expected: str = attrs.field(repr=False)
    _mark: str | None = attrs.field(repr=False)
    _previous_mark: str | None = attrs.field(repr=False)
    _repository: ProjectRepository = attrs.field(repr=False, eq=False)

    def apply(self) -> None:
        """Pin the snapshot and move the integration branch to *commit*, if it is still where the merge was made for. Idempotent.

        Quick; does not call the store. Killed at any point, it can be prepared and applied again: work lands once.

        Raises:
            RefMovedError: Another merger was faster, or the worktree was saved again meanwhile. The branch was not moved; prepare again.
            DirtyCheckoutError: The branch was checked out meanwhile. The branch was not moved.
        """
        if self.changed:
            self._repository.refuse_checked_out()
        self.snapshot.pin()
        if self.changed:
            self._repository.move(self._repository.integration_ref, self._expected, self.commit, message=f"landed {self.worktree}")
        # Last, and never before the branch: without the mark a later landing merges a little worse, with a false one it would lose work.
        if self._mark is not None:
            self._repository.move(LANDED + self.worktree, self._previous_mark, self._mark)

    def __str__(self) -> str:
        return f"{self.worktree} → {self.branch} {self.commit[:12]}{'' if self.changed else ' (nothing to land)'}"


def prepare(repository: ProjectRepository, worktree: Worktree, snapshot: Snapshot, message: str) -> Landing:
    """Merge *snapshot* into the integration branch in memory and write the result as one commit with one parent.

    Raises:
        MergeConflictError: With the paths and the report. Nothing was changed.
        DirtyCheckoutError: The integration branch is checked out somewhere. Nothing was changed.
        UnsupportedRepositoryError: The snapshot's files use a feature that would be handled wrongly.
    """
    repository.refuse_unsupported(snapshot.commit)
    repository.refuse_checked_out()
    tip = repository.integration_tip()
    with git_errors(f"merge worktree {worktree.name} into {repository.integration_branch}"):
        repo = repository.open()
        mark = repository.tip(LANDED + worktree.name)
        merge = _Merge(repo, tip, snapshot, *_base(repo, worktree, tip, snapshot, mark))
        tree = merge.tree(repository.integration_branch)
        changed = tree != merge.ours
        author, committer = repository.signatures(repo)
        text = "\n".join(line.rstrip() for line in message.strip().splitlines()) or f"Work of {worktree.name}"
        commit = str(repo.create_commit(None, author, committer, f"{text}\n", tree, [tip])) if changed else tip
        new_mark = None
        if snapshot.tree != merge.base:
            parents = list(dict.fromkeys((snapshot.commit, commit)))
            new_mark = str(repo.create_commit(None, author, committer, f"landed from {worktree.name}\n", snapshot.tree, parents))
        return Landing(worktree.name, repository.integration_branch, commit, tree, changed, snapshot, tip, new_mark, mark, repository)


def _base(repo: pygit2.Repository, worktree: Worktree, tip: str, snapshot: Snapshot, mark: str | None) -> tuple[str, bool]:
    """Return the commit whose tree the worktree's changes are counted from, and whether the histories give it.

    After a squash the histories do not show what has been landed. The mark does: its tree is what the worktree had then, its last parent
    the commit that landed it. It counts as long as that commit is still in the integration branch and the worktree has not itself merged
    something later.
    """
    shared = repo.merge_base(tip, snapshot.commit)
    common = None if shared is None else str(shared)
    if mark is not None:
        landed = str(repo[mark].parent_ids[-1])
        if _has(repo, tip, landed) and not (common is not None and _has(repo, common, landed)):
            return mark, False
    return common or worktree.base, common is not None


def _has(repo: pygit2.Repository, commit: str, ancestor: str) -> bool:
    return bool(commit == ancestor or repo.descendant_of(commit, ancestor))


class _Merge:
    """A three-way merge, in memory."""

    def __init__(self, repo: pygit2.Repository, tip: str, snapshot: Snapshot, base: str, by_history: bool) -> None:  # noqa: FBT001 - from `_base`
        self._repo = repo
        self._by_history = by_history
        self._commits = {"base": base, "ours": tip, "theirs": snapshot.commit}
        self.base, self.ours = (str(repo[commit].peel(pygit2.Tree).id) for commit in (base, tip))
        self._theirs = snapshot.tree

    def tree(self, branch: str) -> str:
        if self._theirs == self.base:
            return self.ours
        index = self._merged()
        if index.conflicts is None:
            return str(index.write_tree(self._repo))
        conflicts: list[_Entries] = list(index.conflicts)
        paths = tuple(sorted({_shown(entry.path) for entries in conflicts for entry in entries if entry is not None}))
        raise MergeConflictError(branch, paths, self._report(branch, conflicts))

    def _merged(self) -> pygit2.Index:
        if self._by_history:  # finds a virtual base where histories crossed
            return self._repo.merge_commits(self._commits["ours"], self._commits["theirs"])
        return self._repo.merge_trees(self.base, self.ours, self._theirs)

    def _report(self, branch: str, conflicts: list[_Entries]) -> str:
        base, ours, theirs = (self._commits[side] for side in ("base", "ours", "theirs"))
        lines = [
            f"# Merge conflict with {branch}",
            "",
            f"Places in conflict: {len(conflicts)}. Nothing was changed on {branch}, and the work is kept.",
            "",
            f"- base, where both started: `{base}`",
            f"- ours, {branch} now: `{ours}`",
            f"- theirs, the worktree: `{theirs}`",
            "",
            "A whole file of one side: `git show <commit>:<path>`.",
            "",
            f"To resolve it, in the worktree: `git add -A && git commit -m wip`, `git merge {branch}`, correct the files, `git add -A`.",
            "Then complete the recovery task, execute the blocked task again, and complete it.",
        ]
        return "\n".join(lines) + "\n" + "".join(self._section(entries) for entries in conflicts)

    def _section(self, entries: _Entries) -> str:
        path = next(_shown(entry.path) for entry in entries if entry is not None)
        sides = zip(("Base", "Ours", "Theirs"), entries, strict=True)
        texts = "".join(f"\n### {title}\n\n{self._side(entry, path)}" for title, entry in sides)
        return f"\n## {path}\n\n### Both together (diff3)\n\n{self._diff3(entries)}{texts}"

    def _side(self, entry: pygit2.IndexEntry | None, path: str) -> str:
        if entry is None:
            return "Not there.\n"
        renamed = f"Named `{_shown(entry.path)}` here.\n\n" if _shown(entry.path) != path else ""
        found = self._repo.get(entry.id)
        if found is None or found.type != ObjectType.BLOB:
            return f"{renamed}A submodule at commit `{entry.id}`.\n"
        return renamed + _block(found.data)

    def _diff3(self, entries: _Entries) -> str:
        if entries[1] is None or entries[2] is None:
            return "One side has no such file; there is nothing to put together.\n"
        merged = _merge_file(self._repo, entries)
        return "It cannot be merged as text.\n" if merged is None else _block(merged)


def _merge_file(repo: pygit2.Repository, entries: _Entries) -> bytes | None:
    """Return the file with conflict markers in diff3 style, or ``None`` where it is no text.

    pygit2's own call takes no options and decodes what may not be UTF-8.
    """
    result = ffi.new("git_merge_file_result *")
    labels = [ffi.new("char[]", label) for label in (b"base", b"ours", b"theirs")]
    options = ffi.new("git_merge_file_options *")
    options.version, options.flags = 1, C.GIT_MERGE_FILE_STYLE_DIFF3
    options.ancestor_label, options.our_label, options.their_label = labels
    held = [(ffi.NULL, None) if entry is None else entry._to_c() for entry in entries]  # noqa: SLF001 - keeps the C strings alive
    if C.git_merge_file_from_index(result, repo._repo, *(pointer for pointer, _ in held), options) < 0:  # noqa: SLF001 - see above
        return None
    try:
        return bytes(ffi.buffer(result.ptr, result.len)) if result.ptr != ffi.NULL and result.len else None
    finally:
        C.git_merge_file_result_free(result)


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _block(content: bytes) -> str:
    if b"\0" in content[:8000]:
        return f"Binary, {len(content)} bytes.\n"
    text = content.decode("utf-8", "backslashreplace")
    cut = "" if len(text) <= _SHOWN_CHARS else f"\nOnly the first {_SHOWN_CHARS} of {len(text)} characters are shown.\n"
    text = text[:_SHOWN_CHARS]
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}{'' if text.endswith(chr(10)) else chr(10)}{fence}\n{cut}"

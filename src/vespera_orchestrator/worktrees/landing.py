"""Landing: a worktree's files reach the integration branch, merged in memory, and no checkout of an agent's is touched."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, get_args

import attrs
import pygit2
from pygit2.enums import DeltaStatus, FileMode, ObjectType
from pygit2.ffi import C, ffi

from vespera_orchestrator.errors import (
    DirtyCheckoutError,
    InvalidInputError,
    LandingRefusedError,
    MergeConflictError,
    RefMovedError,
)
from vespera_orchestrator.worktrees import (
    integration,
    landing_check,
    reverts,
    tree_merge,
    tree_switch,
    update,
)
from vespera_orchestrator.worktrees.repository import LANDED, ProjectRepository, git_errors
from vespera_orchestrator.worktrees.reverts import Revert
from vespera_orchestrator.worktrees.snapshot import Snapshot, take_snapshot
from vespera_orchestrator.worktrees.terms import Check, Style

if TYPE_CHECKING:
    from vespera_orchestrator._model import Worktree

STYLES: Final = get_args(Style)
_Entries: TypeAlias = (
    "tuple[pygit2.IndexEntry | None, pygit2.IndexEntry | None, pygit2.IndexEntry | None]"
)
_Labels: TypeAlias = "tuple[bytes, bytes, bytes]"
_TRIES = 5
_SHOWN_CHARS = 40_000
"""Longest text of one side of one file in a conflict report; the report names the commit that has the whole."""


@attrs.frozen(kw_only=True)
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
    reverts: tuple[Revert, ...]
    """What others landed after the worktree began, and this takes back."""
    _expected: str = attrs.field(repr=False)
    _mark: str | None = attrs.field(repr=False)
    _previous_mark: str | None = attrs.field(repr=False)
    _repository: ProjectRepository = attrs.field(repr=False, eq=False)

    def apply(self) -> None:
        """Pin the snapshot and move the integration branch to *commit*, if it is still where the merge was made for. Idempotent.

        Where the branch is checked out, that checkout is brought along. Quick; does not call the store. Killed at any point, it can be
        prepared and applied again: work lands once.

        Raises:
            RefMovedError: Another merger was faster, or the worktree was saved again meanwhile. The branch was not moved; prepare again.
            DirtyCheckoutError: The branch is checked out where it cannot be updated safely. Neither it nor the checkout was changed.
        """
        self.snapshot.pin()
        if self.changed:
            integration.advance(
                self._repository, self._expected, self.commit, message=f"landed {self.worktree}"
            )
        # Last, and never before the branch: without the mark a later landing merges a little worse, with a false one it would lose work.
        if self._mark is not None:
            self._repository.move(LANDED + self.worktree, self._previous_mark, self._mark)

    @property
    def revert_report(self) -> str:
        """What is taken back, as Markdown; empty where nothing is."""
        return reverts.report(self.branch, self.reverts) if self.reverts else ""

    def __str__(self) -> str:
        also = (
            f"; takes back work of others in {', '.join(map(str, self.reverts))}"
            if self.reverts
            else ""
        )
        return f"{self.worktree} → {self.branch} {self.commit[:12]}{'' if self.changed else ' (nothing to land)'}{also}"


@attrs.frozen(kw_only=True)
class Rules:
    """How work lands, and what it must pass before. What is not given follows ``config.toml``."""

    style: Style
    check: Check | None
    check_timeout_s: float
    undoing: str

    @classmethod
    def of(
        cls,
        repository: ProjectRepository,
        *,
        style: Style | None = None,
        check: Check | None = None,
    ) -> Rules:
        """Take the settings of the home, and what the caller chose instead.

        Raises:
            InvalidInputError: There is no such style, or *check* cannot be run.
        """
        config = repository.home.config
        if style is not None and style not in STYLES:
            raise InvalidInputError("style", f"{style!r} is none of {', '.join(STYLES)}")
        wanted = config.worktrees.check if check is None else check
        if wanted is not None:
            refuse_nonsense(wanted)
        return cls(
            style=style or config.worktrees.merge_style,  # type: ignore[arg-type]
            check=wanted,
            check_timeout_s=config.worktrees.check_timeout_s,
            undoing=config.worktrees.undoing,
        )


def prepare(
    repository: ProjectRepository,
    worktree: Worktree,
    snapshot: Snapshot,
    message: str,
    rules: Rules,
) -> Landing:
    """Merge *snapshot* into the integration branch in memory, write the result, and have it checked.

    Raises:
        MergeConflictError: With the paths and the report. Nothing was changed.
        LandingRefusedError: The check was red, or others' work would be undone and that is to be refused. Nothing was changed.
        DirtyCheckoutError: The integration branch is checked out where it cannot be updated safely. Nothing was changed.
        UnsupportedRepositoryError: The snapshot's files use a feature that would be handled wrongly.
    """
    repository.refuse_unsupported(snapshot.commit)
    integration.settle(repository)
    tip = repository.integration_tip()
    with git_errors(f"merge worktree {worktree.name} into {repository.integration_branch}"):
        repo = repository.open()
        mark = _Mark.read(repo, repository.tip(LANDED + worktree.name))
        merge = _Merge(repo, tip, snapshot, *_base(repo, worktree, tip, snapshot.commit, mark))
        _refuse_markers(repo, repository.integration_branch, snapshot, mark)
        tree = merge.tree(repository.integration_branch)
        changed = tree != merge.ours
        taken_back = (
            reverts.find(repo, _origin(repo, worktree, tip, mark), merge.base, snapshot.tree)
            if changed
            else ()
        )
        commit = (
            _Commits(repository, repo, snapshot, message).landing(tip, tree, rules.style)
            if changed
            else tip
        )
        new_mark = None
        if snapshot.tree != merge.base:
            new_mark = _Mark(tree=snapshot.tree, snapshot=snapshot.commit, seen=commit).write(
                repository, repo, f"landed from {worktree.name}"
            )
        previous = None if mark is None else mark.commit
        landing = Landing(
            worktree=worktree.name,
            branch=repository.integration_branch,
            commit=commit,
            tree=tree,
            changed=changed,
            snapshot=snapshot,
            reverts=taken_back,
            expected=tip,
            mark=new_mark,
            previous_mark=previous,
            repository=repository,
        )
    if changed:
        integration.refuse_unsafe(repository, tip, commit)
        if taken_back and rules.undoing == "refuse":
            raise LandingRefusedError(
                landing.branch,
                f"it would undo {', '.join(map(str, taken_back))}",
                landing.revert_report,
            )
        if rules.check is not None:
            landing_check.run(repository, rules.check, tree, timeout_s=rules.check_timeout_s)
    return landing


def refuse_nonsense(wanted: object) -> None:
    """See `landing_check.refuse_nonsense`."""
    landing_check.refuse_nonsense(wanted)


def is_merged(repository: ProjectRepository, worktree: Worktree, snapshot: Snapshot) -> bool:
    """Tell whether the snapshot's work is on the integration branch: landing it would change nothing there."""
    tip = repository.integration_tip()
    with git_errors(f"compare worktree {worktree.name} with {repository.integration_branch}"):
        repo = repository.open()
        mark = _Mark.read(repo, repository.tip(LANDED + worktree.name))
        merge = _Merge(repo, tip, snapshot, *_base(repo, worktree, tip, snapshot.commit, mark))
        try:
            return merge.tree(repository.integration_branch) == merge.ours
        except MergeConflictError:
            return False


def holds(repository: ProjectRepository, tip: str, landed: str) -> bool:
    """Tell whether *tip* has what the commit *landed* brought: as an ancestor, or because bringing it again would change nothing."""
    with git_errors(f"look for {landed} in {repository.integration_branch}"):
        repo = repository.open()
        if landed not in repo:
            return False
        if _has(repo, tip, landed):
            return True
        commit = repo[landed].peel(pygit2.Commit)
        if not commit.parents:
            return False
        ours = repo[tip].peel(pygit2.Tree)
        index = repo.merge_trees(commit.parents[0].tree, ours, commit.tree)
        return index.conflicts is None and index.write_tree(repo) == ours.id


def newest(repository: ProjectRepository, commits: Iterable[str]) -> str | None:
    """Return the one of *commits* that was made last, of those that are in the repository; ``None`` when none is."""
    with git_errors("look at what has landed"):
        repo = repository.open()
        found = [
            (repo[commit].peel(pygit2.Commit).commit_time, commit)
            for commit in sorted(commits)
            if commit in repo
        ]
        latest = [commit for made, commit in found if made == max(found)[0]]
        return next(
            (
                one
                for one in latest
                if not any(_has(repo, other, one) for other in latest if other != one)
            ),
            None,
        )


def is_contained(repository: ProjectRepository, base: str, commit: str) -> bool:
    """Tell whether the integration branch has what changed from *base* to *commit*."""
    tip = repository.integration_tip()
    with git_errors(f"look for {commit} in {repository.integration_branch}"):
        repo = repository.open()
        before, ours, theirs = (repo[each].peel(pygit2.Tree) for each in (base, tip, commit))
        index = repo.merge_trees(before, ours, theirs)
        return index.conflicts is None and index.write_tree(repo) == ours.id


def catch_up(
    repository: ProjectRepository, worktree: Worktree, snapshot: Snapshot
) -> tuple[str, ...]:
    """Merge the integration branch into the worktree's files; its index, HEAD and branch stay. *snapshot* must be pinned.

    Only files that differ are written, and only where they are still as they were saved; when one is not, all is made as it was, saved
    again and merged anew. Where both changed the same lines the file holds both, between conflict markers. What cannot be put together as
    text stays as the worktree has it.

    Returns:
        The paths in conflict.

    Raises:
        DirtyCheckoutError: Files were changed all the time, or one that no snapshot keeps is in the way. Nothing was changed.
    """
    blocked: list[str] = []
    for _ in range(_TRIES):
        with git_errors(f"bring {repository.integration_branch} into the worktree {worktree.name}"):
            news = _News.find(repository, worktree, snapshot)
            if news is None or news.tree is None:
                return () if news is None else news.conflicts
            before, blocked = (
                blocked,
                update.bring(repository, worktree, snapshot.commit, news.tree, news.take_note),
            )
        if not blocked:
            return news.conflicts
        snapshot = _save(repository, worktree, "changed while catching up")
        if blocked == before and not any(
            tree_merge.entry_at(repository.open()[snapshot.tree], path) for path in blocked
        ):
            names = _named(blocked)
            reason = f"files that no snapshot keeps are in the way of what was landed: {names}; move them elsewhere, then catch up again"
            raise DirtyCheckoutError(worktree.path, reason)
    reason = f"it is worked in all the time, just now on {_named(blocked)}; let that come to an end, then catch up again"
    raise DirtyCheckoutError(worktree.path, reason)


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""  # noqa: PLR2004 - five names fit a line
    return ", ".join(map(tree_switch.shown, paths[:5])) + more


@attrs.frozen(kw_only=True)
class _News:
    """What the integration branch has that a worktree has not, merged with what the worktree has."""

    tree: str | None
    """The merged files; ``None`` where a file and a folder claim the same name."""
    conflicts: tuple[str, ...]
    take_note: Callable[[], None]
    """Saves the files, once they are there, and marks the worktree as having all of the branch."""

    @classmethod
    def find(
        cls, repository: ProjectRepository, worktree: Worktree, snapshot: Snapshot
    ) -> _News | None:
        tip, repo = repository.integration_tip(), repository.open()
        previous = repository.tip(LANDED + worktree.name)
        mark = _Mark.read(repo, previous)
        base, by_history = _base(repo, worktree, tip, snapshot.commit, mark)
        ours = repo[tip].peel(pygit2.Tree)
        if str(repo[base].peel(pygit2.Tree).id) == str(ours.id):
            return None
        mine = repo[snapshot.commit].peel(pygit2.Commit)
        index = (
            repo.merge_commits(mine, repo[tip])
            if by_history
            else repo.merge_trees(repo[base].peel(pygit2.Tree), mine.tree, ours)
        )
        marked = _with_markers(
            repo,
            index,
            (b"base", os.fsencode(worktree.branch), os.fsencode(repository.integration_branch)),
        )
        if marked is None:
            return cls(
                tree=None, conflicts=_paths(list(index.conflicts or ())), take_note=lambda: None
            )
        tree, paths, texts = marked
        before = (path for path in (mark.marked if mark is not None else ()) if path not in texts)
        marked_paths = (
            *texts,
            *(
                path
                for path in before
                if _is_gone(repo, tree, path) or _has_markers(repo, tree, path)
            ),
        )

        def take_note() -> None:
            # First, so that the files come back from the last snapshot: the mark says that the worktree has all of the branch.
            saved = _save(repository, worktree, "caught up")
            known = _without(repo, ours, _unsaved(repo, worktree, snapshot.tree, tree, saved.tree))
            origin = _origin(repo, worktree, tip, mark)
            new = _Mark(
                tree=known, snapshot=snapshot.commit, seen=tip, origin=origin, marked=marked_paths
            ).write(repository, repo, f"caught up: {worktree.name}")
            repository.move(LANDED + worktree.name, previous, new)

        return cls(tree=tree, conflicts=paths, take_note=take_note)


def _unsaved(
    repo: pygit2.Repository, worktree: Worktree, before: str, brought: str, saved: str
) -> list[str]:
    """Return what was brought in and no snapshot has, being ignored, or a submodule: not having it there is no wish to delete it."""
    added = [
        os.fsdecode(d.new_file.raw_path)
        for d in repo.diff(repo[before], repo[brought]).deltas
        if d.status == DeltaStatus.ADDED
    ]
    missing = (
        (path, tree_merge.entry_at(repo[brought], path))
        for path in added
        if tree_merge.entry_at(repo[saved], path) is None
    )
    folder = Path(worktree.path)
    return [
        path
        for path, file in missing
        if (file or ("", 0))[1] == FileMode.COMMIT or os.path.lexists(folder / path)
    ]


def _without(repo: pygit2.Repository, tree: pygit2.Tree, paths: list[str]) -> str:
    if not paths:
        return str(tree.id)
    index = pygit2.Index()
    index.read_tree(tree)
    for path in paths:
        index.remove(path)
    return str(index.write_tree(repo))


def _save(repository: ProjectRepository, worktree: Worktree, note: str) -> Snapshot:
    """Take and pin a snapshot; under the worktree's lock."""
    limit = repository.home.config.worktrees.max_file_bytes
    for remaining in reversed(range(_TRIES)):
        taken = take_snapshot(repository, worktree, note=note, max_file_bytes=limit, midway=True)
        try:
            taken.pin()
        except RefMovedError:  # a checkpoint of an earlier moment was pinned just now
            if not remaining:
                raise
        else:
            return taken
    raise AssertionError  # pragma: no cover - the last round raises or returns


def _with_markers(
    repo: pygit2.Repository, index: pygit2.Index, labels: _Labels
) -> tuple[str, tuple[str, ...], tuple[str, ...]] | None:
    """Write the merged tree with conflict markers; return it, the paths in conflict, and those that have markers.

    ``None`` where a file and a folder claim the same name: then there is no such tree.
    """
    conflicts: list[_Entries] = list(index.conflicts or ())
    texts = []
    for entries in conflicts:
        for path in {entry.path for entry in entries if entry is not None}:
            if path in (index.conflicts or ()):
                del index.conflicts[path]
    for entries in conflicts:
        _, mine, theirs = entries
        merged = (
            _merge_file(repo, entries, labels) if _may_have_markers(repo, mine, theirs) else None
        )
        kept = mine or theirs
        if kept is None:
            continue
        if merged is not None:
            kept = pygit2.IndexEntry(kept.path, repo.create_blob(merged), kept.mode)
            texts.append(kept.path)
        try:
            index.add(kept)
        except (OSError, ValueError, pygit2.GitError):
            return None
    try:
        return str(index.write_tree(repo)), _paths(conflicts), tuple(texts)
    except (OSError, pygit2.GitError):
        return None


def _may_have_markers(
    repo: pygit2.Repository, mine: pygit2.IndexEntry | None, theirs: pygit2.IndexEntry | None
) -> bool:
    """Tell whether both are there and are text: in a link, markers would be a path that leads nowhere."""
    if mine is None or theirs is None or FileMode.LINK in (mine.mode, theirs.mode):
        return False
    return tree_merge.is_text(repo, mine.path)


def unsolved(repo: pygit2.Repository, commit: str, mark: str | None) -> tuple[str, ...]:
    """Return the files of the snapshot *commit* that still have the markers of a conflict, given what the worktree was last landed from."""
    return tuple(
        map(
            tree_switch.shown,
            _left_markers(repo, str(repo[commit].peel(pygit2.Tree).id), _Mark.read(repo, mark)),
        )
    )


def _refuse_markers(
    repo: pygit2.Repository, branch: str, snapshot: Snapshot, mark: _Mark | None
) -> None:
    left = _left_markers(repo, snapshot.tree, mark)
    if left:
        shown = tuple(map(tree_switch.shown, left))
        names = "".join(f"- {path}\n" for path in shown)
        report = f"# Conflict markers are left\n\nThese files still hold both sides between `<<<<<<<` and `>>>>>>>`:\n\n{names}"
        raise MergeConflictError(
            branch,
            shown,
            f"{report}\nCorrect them in the worktree, then complete the task again.\n",
        )


def _left_markers(repo: pygit2.Repository, tree: str, mark: _Mark | None) -> list[str]:
    """Return the files that still have the conflict markers which catching up wrote into them, under whatever name they are now."""
    if mark is None:
        return []
    left = [path for path in mark.marked if _has_markers(repo, tree, path)]
    if any(_is_gone(repo, tree, path) for path in mark.marked):
        deltas = repo.diff(repo[mark.tree], repo[tree]).deltas
        added = (
            os.fsdecode(delta.new_file.raw_path)
            for delta in deltas
            if delta.status == DeltaStatus.ADDED
        )
        left += [path for path in added if path not in left and _has_markers(repo, tree, path)]
    return left


def _is_gone(repo: pygit2.Repository, tree: str, path: str) -> bool:
    return tree_merge.entry_at(repo[tree], path) is None


def _has_markers(repo: pygit2.Repository, tree: str, path: str) -> bool:
    entry = tree_merge.entry_at(repo[tree], path)
    found = None if entry is None else repo.get(entry[0])
    return isinstance(found, pygit2.Blob) and all(
        re.search(sign, found.data, re.MULTILINE) for sign in (rb"^<{7} ", rb"^>{7} ")
    )


# --- what has been landed ---------------------------------------------------


@attrs.frozen(kw_only=True)
class _Mark:
    """What a worktree is known to have of the integration branch, kept as a commit under ``LANDED``.

    After a squash the histories do not show it. It counts as long as *seen* is still in the integration branch and the worktree has not
    itself merged something later.
    """

    tree: str
    """Files that changes of the worktree are counted from."""
    snapshot: str
    seen: str
    """The commit of the integration branch that the worktree's work is in, or that was brought into the worktree."""
    origin: str | None = None
    """After catching up: the files the worktree started from before, so that what others did since is known."""
    marked: tuple[str, ...] = ()
    """Paths into which conflict markers were written."""
    commit: str = ""

    @classmethod
    def read(cls, repo: pygit2.Repository, commit: str | None) -> _Mark | None:
        if commit is None:
            return None
        found = repo[commit].peel(pygit2.Commit)
        notes = [line.partition(": ") for line in found.message.splitlines()]
        origin = next((value for key, _, value in notes if key == "Origin"), None)
        marked = tuple(json.loads(value) for key, _, value in notes if key == "Marked")
        return cls(
            tree=str(found.tree_id),
            snapshot=str(found.parent_ids[0]),
            seen=str(found.parent_ids[-1]),
            origin=origin,
            marked=marked,
            commit=commit,
        )

    def write(self, repository: ProjectRepository, repo: pygit2.Repository, title: str) -> str:
        author, committer = repository.signatures(repo)
        notes = [f"Origin: {self.origin}"] if self.origin else []
        notes += [f"Marked: {json.dumps(path)}" for path in self.marked]
        message = "\n".join([title, "", *notes]).rstrip() + "\n"
        parents = list(dict.fromkeys((self.snapshot, self.seen)))
        return str(repo.create_commit(None, author, committer, message, self.tree, parents))


def starting_tree(
    repo: pygit2.Repository, worktree: Worktree, tip: str, commit: str, mark: str | None
) -> str:
    """Return the commit whose tree a worktree's changes are counted from when the snapshot *commit* is merged into *tip*."""
    return _base(repo, worktree, tip, commit, _Mark.read(repo, mark))[0]


def _base(
    repo: pygit2.Repository, worktree: Worktree, tip: str, snapshot: str, mark: _Mark | None
) -> tuple[str, bool]:
    """Return the commit whose tree the worktree's changes are counted from, and whether the histories give it."""
    shared = repo.merge_base(tip, snapshot)
    common = None if shared is None else str(shared)
    if (
        mark is not None
        and _has(repo, tip, mark.seen)
        and not (common is not None and _has(repo, common, mark.seen))
    ):
        return mark.commit, False
    return common or worktree.base, common is not None


def _origin(repo: pygit2.Repository, worktree: Worktree, tip: str, mark: _Mark | None) -> str:
    """Return the tree after which everything new on the integration branch is others' work."""
    if mark is not None and _has(repo, tip, mark.seen):
        return mark.origin or mark.tree
    return str(repo[worktree.base].peel(pygit2.Tree).id)


def _is_only_base(repo: pygit2.Repository, base: str, one: str, two: str) -> bool:
    """Tell whether the histories did not cross: then all that both have is in *base*."""
    seen: list[set[pygit2.Oid]] = []
    for start in (one, two):
        walk = repo.walk(pygit2.Oid(hex=start))
        walk.hide(pygit2.Oid(hex=base))
        seen.append({commit.id for commit in walk})
    return seen[0].isdisjoint(seen[1])


class _Commits:
    """Writes the commits that a landing consists of."""

    def __init__(
        self,
        repository: ProjectRepository,
        repo: pygit2.Repository,
        snapshot: Snapshot,
        message: str,
    ) -> None:
        self._repo = repo
        self._snapshot = snapshot
        self._signatures = repository.signatures(repo)
        text = (
            "\n".join(line.rstrip() for line in message.strip().splitlines())
            or f"Work of {snapshot.worktree}"
        )
        self._message = f"{text}\n"

    def landing(self, tip: str, tree: str, style: Style) -> str:
        if style == "squash":
            return self._write(tree, [tip])
        own = self._own()
        if (
            style == "fast-forward"
            and _has(self._repo, own, tip)
            and str(self._repo[own].peel(pygit2.Tree).id) == tree
        ):
            return own
        return self._write(tree, [tip, own])

    def _own(self) -> str:
        """Return the commit of the worktree's own line that has the snapshot's files; what the agent has not committed becomes one more."""
        heads = [
            str(commit)
            for commit in self._repo[self._snapshot.commit].peel(pygit2.Commit).parent_ids
        ]
        own = self._is_snapshot(self._snapshot.commit)
        heads = (
            [head for head in heads if not self._is_snapshot(head)]
            if own
            else [self._snapshot.commit]
        )
        if (
            len(heads) == 1
            and str(self._repo[heads[0]].peel(pygit2.Tree).id) == self._snapshot.tree
        ):
            return heads[0]
        return self._write(self._snapshot.tree, heads)

    def _is_snapshot(self, commit: str) -> bool:
        return (
            f"\n\nWorktree: {self._snapshot.worktree}\nBranch: "
            in self._repo[commit].peel(pygit2.Commit).message
        )

    def _write(self, tree: str, parents: list[str]) -> str:
        return str(self._repo.create_commit(None, *self._signatures, self._message, tree, parents))


def _has(repo: pygit2.Repository, commit: str, ancestor: str) -> bool:
    return bool(commit == ancestor or repo.descendant_of(commit, ancestor))


class _Merge:
    """A three-way merge, in memory."""

    def __init__(
        self,
        repo: pygit2.Repository,
        tip: str,
        snapshot: Snapshot,
        base: str,
        by_history: bool,  # noqa: FBT001
    ) -> None:
        self._repo = repo
        self._by_history = by_history
        self._commits = {"base": base, "ours": tip, "theirs": snapshot.commit}
        self.base, self.ours = (str(repo[commit].peel(pygit2.Tree).id) for commit in (base, tip))
        self._theirs = snapshot.tree

    def tree(self, branch: str) -> str:
        if self._theirs == self.base:
            return self.ours
        if (whole := self._by_path()) is not None:
            return whole
        index = self._merged()
        if index.conflicts is None:
            return str(index.write_tree(self._repo))
        conflicts: list[_Entries] = list(index.conflicts)
        raise MergeConflictError(branch, _paths(conflicts), self._report(branch, conflicts))

    def _by_path(self) -> str | None:
        if self._by_history and not _is_only_base(
            self._repo, *(self._commits[side] for side in ("base", "ours", "theirs"))
        ):
            return None
        return tree_merge.merged_tree(
            self._repo, *(self._repo[tree] for tree in (self.base, self.ours, self._theirs))
        )

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
            f"- {branch}, as it is now: `{ours}`",
            f"- the worktree, the blocked task's work: `{theirs}`",
            "",
            "A whole file of one side: `git show <commit>:<path>`.",
            "",
            "To resolve it, execute the recovery task: it works in the same worktree, where both sides are put together between conflict",
            "markers. Correct the files and complete it; then execute the blocked task again, and complete it.",
        ]
        return (
            "\n".join(lines)
            + "\n"
            + "".join(self._section(entries, branch) for entries in conflicts)
        )

    def _section(self, entries: _Entries, branch: str) -> str:
        path = next(tree_switch.shown(entry.path) for entry in entries if entry is not None)
        sides = zip(("Base", f"On {branch}", "In the worktree"), entries, strict=True)
        texts = "".join(f"\n### {title}\n\n{self._side(entry, path)}" for title, entry in sides)
        return f"\n## {path}\n\n### Both together (diff3)\n\n{self._diff3(entries, branch)}{texts}"

    def _side(self, entry: pygit2.IndexEntry | None, path: str) -> str:
        if entry is None:
            return "Not there.\n"
        renamed = (
            f"Named `{tree_switch.shown(entry.path)}` here.\n\n"
            if tree_switch.shown(entry.path) != path
            else ""
        )
        found = self._repo.get(entry.id)
        if found is None or found.type != ObjectType.BLOB:
            return f"{renamed}A submodule at commit `{entry.id}`.\n"
        return renamed + _block(found.data)

    def _diff3(self, entries: _Entries, branch: str) -> str:
        if entries[1] is None or entries[2] is None:
            return "One side has no such file; there is nothing to put together.\n"
        merged = _merge_file(self._repo, entries, (b"base", branch.encode(), b"the worktree"))
        if merged is None:
            return "It cannot be merged as text.\n"
        places = _places(merged)
        return (
            _block(merged)
            if len(places) > len(merged) // 2
            else f"{_block(places)}\n### The whole file with both\n\n{_block(merged)}"
        )


def _places(merged: bytes) -> bytes:
    """Return the places in conflict, each with the three lines before and after it."""
    lines = merged.splitlines(keepends=True)
    begin, end = (
        [number for number, line in enumerate(lines) if line.startswith(sign)]
        for sign in (b"<<<<<<< ", b">>>>>>> ")
    )
    return b"...\n".join(
        b"".join(lines[max(0, first - 3) : last + 4])
        for first, last in zip(begin, end, strict=False)
    )


def _paths(conflicts: list[_Entries]) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                tree_switch.shown(entry.path)
                for entries in conflicts
                for entry in entries
                if entry is not None
            }
        )
    )


def _merge_file(repo: pygit2.Repository, entries: _Entries, names: _Labels) -> bytes | None:
    """Return the file with conflict markers in diff3 style, or ``None`` where it is no text.

    pygit2's own call takes no options and decodes what may not be UTF-8.
    """
    result = ffi.new("git_merge_file_result *")
    labels = [ffi.new("char[]", label) for label in names]
    options = ffi.new("git_merge_file_options *")
    options.version, options.flags = 1, C.GIT_MERGE_FILE_STYLE_DIFF3
    options.ancestor_label, options.our_label, options.their_label = labels
    held = [(ffi.NULL, None) if entry is None else entry._to_c() for entry in entries]  # noqa: SLF001 - keeps the C strings alive
    if (
        C.git_merge_file_from_index(result, repo._repo, *(pointer for pointer, _ in held), options)  # noqa: SLF001
        < 0
    ):
        return None
    try:
        return (
            bytes(ffi.buffer(result.ptr, result.len))
            if result.ptr != ffi.NULL and result.len
            else None
        )
    finally:
        C.git_merge_file_result_free(result)


def _block(content: bytes) -> str:
    if b"\0" in content[:8000]:
        return f"Binary, {len(content)} bytes.\n"
    text = content.decode("utf-8", "backslashreplace")
    cut = (
        ""
        if len(text) <= _SHOWN_CHARS
        else f"\nOnly the first {_SHOWN_CHARS} of {len(text)} characters are shown.\n"
    )
    text = text[:_SHOWN_CHARS]
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}{'' if text.endswith(chr(10)) else chr(10)}{fence}\n{cut}"

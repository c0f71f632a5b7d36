"""Landing: a worktree's files reach the integration branch, merged in memory.

No checkout of an agent's is touched.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Self, get_args

import pygit2

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import RefusalKind
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import (
    InvalidInputError,
    LandingRefusedError,
    MergeConflictError,
)
from vespera_orchestrator.worktrees import landing_check, reverts
from vespera_orchestrator.worktrees.branch_files import BranchFiles
from vespera_orchestrator.worktrees.changed_paths import changed_between
from vespera_orchestrator.worktrees.conflict_markers import refuse_unresolved
from vespera_orchestrator.worktrees.integration import advance, recover_landing, refuse_unsafe
from vespera_orchestrator.worktrees.landed_mark import LandedMark, merge_base, origin_tree
from vespera_orchestrator.worktrees.nested import nested_commit, own_parents
from vespera_orchestrator.worktrees.operation import operation_of
from vespera_orchestrator.worktrees.refs import LANDED
from vespera_orchestrator.worktrees.repository import ProjectRepository, has_ancestor, message_of
from vespera_orchestrator.worktrees.reverts import Revert
from vespera_orchestrator.worktrees.snapshot import Snapshot, is_snapshot_message
from vespera_orchestrator.worktrees.staging import Held, Staging
from vespera_orchestrator.worktrees.terms import Check, Style
from vespera_orchestrator.worktrees.three_way_merge import ThreeWayMerge
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.tree_merge import FileMerges
from vespera_orchestrator.worktrees.writing import is_signing, tree_with, write_commit

if TYPE_CHECKING:
    from vespera_orchestrator._model import Worktree

STYLES: Final[tuple[str, ...]] = get_args(Style)


@attrs.frozen(kw_only=True)
class Landing(Record):
    """A merge that is ready: nothing has moved until `apply`."""

    worktree: str
    """The worktree's name."""
    branch: str
    """The integration branch."""
    commit: str
    """The commit that will be the branch's head, in hexadecimal.

    If there is nothing to land, its present head."""
    tree: str
    """The merged tree, in hexadecimal."""
    changed: bool
    """Whether `apply` moves the branch. If not, the work is already there, or there is none."""
    snapshot: Snapshot
    """The files that land."""
    reverts: tuple[Revert, ...]
    """Changes that others landed after the worktree began, and that this landing undoes."""
    _expected: str = attrs.field(repr=False)
    _mark: str | None = attrs.field(repr=False)
    _previous_mark: str | None = attrs.field(repr=False)
    _repository: ProjectRepository = attrs.field(repr=False, eq=False)
    _staging: Staging = attrs.field(repr=False, eq=False)
    """Where its new objects are until `apply`."""
    _keeps_commits: bool = attrs.field(default=False, repr=False)
    """Whether *commit* may be one that the agent made."""

    json_form = JsonForm(properties=("is_empty",))

    def apply(self) -> None:
        """Pin the snapshot and move the integration branch to *commit*.

        It only moves a branch that is still where it was when the merge was made. If the branch
        is checked out, that checkout is updated too. Quick; does not call the store. Idempotent.
        After a kill at any point you can prepare and apply it again: work lands once.

        Raises:
            RefMovedError: Another merge was faster, or the worktree was saved again in the
                meantime. The branch was not moved; prepare again.
            DirtyCheckoutError: The branch is checked out where it cannot be updated safely.
                Neither it nor the checkout was changed.
        """
        landed = self.commit if self.changed else None
        commits = [name for name in (landed, self._mark) if name is not None]
        with self.snapshot.held(*commits, staging=self._staging) as held:
            self._move_refs(held)

    def _move_refs(self, held: Held | None) -> None:
        self.snapshot.pin_held(held)
        if self.changed:
            message = f"landed {self.worktree}"
            advance(self._repository, self._expected, self.commit, message=message, held=held)
        # Last, and never before the branch: without the mark a later landing merges a little
        # worse, with a false one it would lose work.
        if self._mark is not None:
            self._repository.move(
                LANDED + self.worktree, self._previous_mark, self._mark, held=held
            )

    def files(self) -> BranchFiles:
        """Return the files as they will be on the branch."""
        return BranchFiles(
            self._repository, self.tree, history=self._expected, staging=self._staging
        )

    def open(self) -> pygit2.Repository:
        """Open the repository, with what is not on disk yet."""
        return self._repository.open(self._staging)

    def with_files(self, files: Mapping[str, bytes | None]) -> Self:
        """Return a landing that brings more files along, in the same commit.

        A commit that the agent made is not changed: where such a one lands as it is, one more
        commit follows it.

        Args:
            files: The new contents, by path from the project's folder; ``None`` removes a file.

        Raises:
            DirtyCheckoutError: These files are in the way of a checkout of the branch.
            GitFailedError: Git refused.
        """
        with git_errors(f"bring files along to {self.branch}"):
            repo = self.open()
            below = self._repository.below
            placed = {below + path: content for path, content in files.items()}
            tree = tree_with(repo, self.tree, placed)
            present = repo[self.commit].peel(pygit2.Commit)
            parents = [str(parent) for parent in present.parent_ids]
            message = message_of(repo, self.commit)
            if self._keeps_commits:
                parents, message = [self.commit], "Update the documents\n"
            commit = _write_commit(self._staging, repo, tree, parents, message)
            mark = self._mark
            if mark is not None:
                landed = LandedMark(
                    tree=self.snapshot.tree, snapshot=self.snapshot.commit, seen=commit
                )
                mark = landed.write(repo, f"landed from {self.worktree}")
        landing = attrs.evolve(self, commit=commit, tree=tree, mark=mark)
        landing.refuse_unsafe()
        return landing

    def refuse_unsafe(self) -> None:
        """Check that `apply` would go through.

        Raises:
            DirtyCheckoutError: These files are in the way of a checkout of the branch.
        """
        if self._repository.checked_out(self.branch) is not None:
            self.write()
            refuse_unsafe(self._repository, self._expected, self.commit)

    def write(self) -> None:
        """Put the new objects where git finds them. No ref is moved."""
        self._staging.write()

    @property
    def is_empty(self) -> bool:
        """Whether the worktree held no change that had not landed before."""
        return self._mark is None

    @property
    def changed_paths(self) -> tuple[str, ...]:
        """The files that `apply` changes on the branch, in order."""
        if not self.changed:
            return ()
        return changed_between(self.open(), self._expected, self.tree)

    @property
    def revert_report(self) -> str:
        """What is undone, as Markdown; empty if nothing is."""
        if not self.reverts:
            return ""
        return reverts.report(self.branch, self.reverts)

    def __str__(self) -> str:
        text = f"{self.worktree} → {self.branch} {self.commit[:12]}"
        if not self.changed:
            text += " (nothing to land)"
        if self.reverts:
            text += f"; undoes work by others in {_join(self.reverts)}"
        return text


def _join(items: Iterable[object]) -> str:
    texts = [str(item) for item in items]
    return ", ".join(texts)


@attrs.frozen(kw_only=True)
class Rules:
    """How work lands, and what it must pass before."""

    style: Style
    check: Check | None
    check_timeout_s: float
    refuses_reverts: bool
    """Whether work that takes back what others landed is refused; otherwise it is a warning."""

    @classmethod
    def of(
        cls,
        repository: ProjectRepository,
        *,
        style: Style | None = None,
        check: Check | None = None,
    ) -> Rules:
        """Take what the caller chose; for the rest, the settings of the home.

        Raises:
            InvalidInputError: There is no such style, or *check* cannot be run.
        """
        config = repository.home.config.worktrees
        if style is not None and style not in STYLES:
            raise InvalidInputError(
                "style", f"{show_value(style)} is not one of {', '.join(STYLES)}"
            )
        if check is None:
            check = config.check
        if check is not None:
            landing_check.refuse_nonsense(check)
        return cls(
            style=style or config.merge_style,  # type: ignore[arg-type]
            check=check,
            check_timeout_s=config.check_timeout_s,
            refuses_reverts=config.undoing == "refuse",
        )


# --- preparing --------------------------------------------------------------


def prepare(
    repository: ProjectRepository,
    worktree: Worktree,
    snapshot: Snapshot,
    message: str,
    rules: Rules,
) -> Landing:
    """Merge *snapshot* into the integration branch in memory, write it, and have it checked.

    Raises:
        MergeConflictError: With the paths and the report. Nothing was changed.
        LandingRefusedError: The check was red, or others' work would be undone and that is to be
            refused. Nothing was changed.
        OperationUnderWayError: The agent has not finished a rebase, merge or the like. Nothing was
            changed.
        DirtyCheckoutError: The integration branch is checked out where it cannot be updated
            safely. Nothing was changed.
        UnsupportedRepositoryError: The snapshot's files use a feature that would be handled
            wrongly.
    """
    snapshot.refuse_under_way()
    staging = snapshot.staging()
    repo = repository.open(staging)
    repository.refuse_unsupported(snapshot.commit, repo=repo)
    recover_landing(repository)
    tip = repository.integration_tip()
    with git_errors(f"merge worktree {worktree.name} into {repository.integration_branch}"):
        merge = _Merge(repository=repository, repo=repo, worktree=worktree, staging=staging)
        landing = merge.make_landing(snapshot, tip, message=message, style=rules.style)
    if landing.changed:
        landing.refuse_unsafe()
        _refuse_reverts(landing, rules)
        if rules.check is not None:
            landing.write()
            timeout_s = rules.check_timeout_s
            landing_check.run(repository, rules.check, landing.commit, timeout_s=timeout_s)
    return landing


@attrs.frozen(kw_only=True)
class _Merge:
    """Makes the landing of one worktree."""

    repository: ProjectRepository
    repo: pygit2.Repository
    """The same, opened with what is in *staging*."""
    worktree: Worktree
    staging: Staging
    """Where new objects go."""

    def make_landing(self, snapshot: Snapshot, tip: str, *, message: str, style: Style) -> Landing:
        """Merge *snapshot* into the commit *tip*, in memory, and write what is to land."""
        repo, worktree = self.repo, self.worktree
        branch = self.repository.integration_branch
        mark = LandedMark.read(repo, self.repository.tip(LANDED + worktree.name))
        base = merge_base(repo, worktree, tip, snapshot.commit, mark)
        merge_text = self.repository.merge_text
        merge = ThreeWayMerge(self.repository, repo, tip, snapshot, base, merge_text=merge_text)
        refuse_unresolved(repo, branch, snapshot.tree, mark)
        tree = merge.write_tree(branch)
        is_changed = tree != merge.our_tree
        commit = tip
        taken_back: tuple[Revert, ...] = ()
        if is_changed:
            origin = origin_tree(repo, worktree, tip, mark)
            self.repository.refuse_giants(repo, origin)
            taken_back = reverts.find(repo, origin, merge.base_tree, snapshot.tree)
            commits = _LandingCommits(repo, self.staging, snapshot, message)
            commit = commits.write(tip, tree, style)
        new_mark = None
        if snapshot.tree != merge.base_tree:
            landed = LandedMark(tree=snapshot.tree, snapshot=snapshot.commit, seen=commit)
            new_mark = landed.write(repo, f"landed from {worktree.name}")
        return Landing(
            worktree=worktree.name,
            branch=branch,
            commit=commit,
            tree=tree,
            changed=is_changed,
            snapshot=snapshot,
            reverts=taken_back,
            expected=tip,
            mark=new_mark,
            previous_mark=None if mark is None else mark.commit,
            repository=self.repository,
            staging=self.staging,
            keeps_commits=style == "fast-forward",
        )


def _refuse_reverts(landing: Landing, rules: Rules) -> None:
    if landing.reverts and rules.refuses_reverts:
        reason = f"it would undo {_join(landing.reverts)}"
        raise LandingRefusedError(
            landing.branch, RefusalKind.REVERTS, reason, landing.revert_report
        )


class _LandingCommits:
    """Writes the commits that a landing consists of."""

    def __init__(
        self, repo: pygit2.Repository, staging: Staging, snapshot: Snapshot, message: str
    ) -> None:
        self._repo = repo
        self._staging = staging
        self._snapshot = snapshot
        lines = [line.rstrip() for line in message.strip().splitlines()]
        text = "\n".join(lines) or f"Work of {snapshot.worktree}"
        self._message = f"{text}\n"

    def write(self, tip: str, tree: str, style: Style) -> str:
        """Write the commit that will be the branch's head, with *tree* as its files."""
        if style == "squash":
            return self._commit(tree, [tip])
        own = self._own_commit()
        is_ahead = style == "fast-forward" and has_ancestor(self._repo, own, tip)
        if is_ahead and self._tree_of(own) == tree:
            return own
        return self._commit(tree, [tip, own])

    def _own_commit(self) -> str:
        """Return the commit of the worktree's own line that has the snapshot's files.

        What the agent has not committed becomes one more.
        """
        name, tree = self._snapshot.commit, self._snapshot.tree
        heads = [name]
        if self._is_snapshot(name):
            parents = own_parents(self._repo, name)
            heads = [parent for parent in parents if not self._is_snapshot(parent)]
        if len(heads) == 1 and self._tree_of(heads[0]) == tree:
            return heads[0]
        return self._commit(tree, heads)

    def _is_snapshot(self, commit: str) -> bool:
        return is_snapshot_message(message_of(self._repo, commit), self._snapshot.worktree)

    def _tree_of(self, commit: str) -> str:
        tree = self._repo[commit].peel(pygit2.Tree)
        return str(tree.id)

    def _commit(self, tree: str, parents: list[str]) -> str:
        return _write_commit(self._staging, self._repo, tree, parents, self._message)


def _write_commit(
    staging: Staging, repo: pygit2.Repository, tree: str, parents: list[str], message: str
) -> str:
    if is_signing(repo):
        staging.write()  # git signs, and looks for the tree
    return write_commit(repo, tree, parents, message)


# --- judging what has landed ------------------------------------------------


def is_merged(repository: ProjectRepository, worktree: Worktree, snapshot: Snapshot) -> bool:
    """Tell whether the snapshot's work is on the integration branch.

    That is: landing it would change nothing there.
    """
    tip = repository.integration_tip()
    with git_errors(f"compare worktree {worktree.name} with {repository.integration_branch}"):
        repo = snapshot.open()
        if _holds_more_than_files(repo, snapshot.commit):
            return False
        mark = LandedMark.read(repo, repository.tip(LANDED + worktree.name))
        base = merge_base(repo, worktree, tip, snapshot.commit, mark)
        merge = ThreeWayMerge(repository, repo, tip, snapshot, base)
        try:
            return merge.write_tree(repository.integration_branch) == merge.our_tree
        except MergeConflictError:
            return False


def holds(repository: ProjectRepository, tip: str, landed: str) -> bool:
    """Tell whether *tip* has what the commit *landed* brought.

    As an ancestor, or because bringing it again would change nothing.
    """
    with git_errors(f"look for {landed} in {repository.integration_branch}"):
        repo = repository.open()
        if landed not in repo:
            return False
        if has_ancestor(repo, tip, landed):
            return True
        commit = repo[landed].peel(pygit2.Commit)
        if not commit.parents:
            return False
        ours = repo[tip].peel(pygit2.Tree)
        return _would_change_nothing(repository, repo, commit.parents[0].tree, ours, commit.tree)


def is_contained(repository: ProjectRepository, base: str, commit: str) -> bool:
    """Tell whether the integration branch has what changed from *base* to *commit*."""
    tip = repository.integration_tip()
    with git_errors(f"look for {commit} in {repository.integration_branch}"):
        repo = repository.open()
        if _holds_more_than_files(repo, commit):
            return False
        before = repo[base].peel(pygit2.Tree)
        ours = repo[tip].peel(pygit2.Tree)
        theirs = repo[commit].peel(pygit2.Tree)
        return _would_change_nothing(repository, repo, before, ours, theirs)


def _holds_more_than_files(repo: pygit2.Repository, snapshot: str) -> bool:
    """Tell whether work waits beside the files of a snapshot, which no landing brings.

    Commits of a rebase that is under way, or a repository inside.
    """
    return operation_of(repo, snapshot) is not None or nested_commit(repo, snapshot) is not None


def count_missing(repository: ProjectRepository, target: str) -> int:
    """Return how many commits of the integration branch the commit *target* lacks.

    0 where merging them would change nothing, as after a squash or a rebase.
    """
    tip = repository.integration_tip()
    with git_errors(f"compare {repository.integration_branch} with {target[:12]}"):
        repo = repository.open()
        source, goal = pygit2.Oid(hex=tip), pygit2.Oid(hex=target)
        ahead, _ = repo.ahead_behind(source, goal)
        base = repo.merge_base(source, goal)
        if not ahead or base is None:
            return int(ahead)
        trees = [repo[commit].peel(pygit2.Tree) for commit in (base, goal, source)]
        return 0 if _would_change_nothing(repository, repo, *trees) else int(ahead)


def _would_change_nothing(
    repository: ProjectRepository,
    repo: pygit2.Repository,
    base: pygit2.Tree,
    ours: pygit2.Tree,
    theirs: pygit2.Tree,
) -> bool:
    names = [str(tree.id) for tree in (base, ours, theirs)]
    repository.refuse_giants(repo, *names, with_files=True)
    index = repo.merge_trees(base, ours, theirs)
    FileMerges(repo, repository.merge_text).solve(index)
    if index.conflicts is not None:
        return False
    return bool(index.write_tree(repo) == ours.id)


def branch_remedy(branch: str, landed: str) -> str:
    """Say how to bring the integration branch back, with the commit that landed last."""
    return (
        f"Bring it back: git branch {shlex.quote(branch)} {landed[:12]}. "
        "If it has another name now, set worktrees.integration_branch in config.toml. "
        f"If HEAD has it all: git branch {shlex.quote(branch)} HEAD"
    )


def newest(repository: ProjectRepository, commits: Iterable[str]) -> str | None:
    """Return the one of *commits* that was made last, of those that are in the repository.

    ``None`` when none is.
    """
    with git_errors("look at what has landed"):
        repo = repository.open()
        times = {
            commit: repo[commit].peel(pygit2.Commit).commit_time
            for commit in sorted(commits)
            if commit in repo
        }
        latest = max(times.values(), default=0)
        candidates = [commit for commit, time in times.items() if time == latest]
        for commit in candidates:
            others = [other for other in candidates if other != commit]
            if not any(has_ancestor(repo, other, commit) for other in others):
                return commit
    return None

"""The files on the integration branch: read as they are now, and written by a commit of its own.

What lands beside agents' work, such as the documents of a project, goes this way. Loads git only
once the branch is known to exist.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.home.locate import git_common_dir
from vespera_orchestrator.home.reading import (
    MOST_GIT_BYTES,
    MOST_STATE_BYTES,
    read_small_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pygit2

    from vespera_orchestrator.home.locate import Home
    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.staging import Staging

_VERSION_TAG: Final = re.compile(r"v?\d+\.\d+(?:\.\d+)?(?:[-.+]?\w[\w.+-]*)?")
_MOST_COMMITS: Final = 2_000
"""How far back the last change of a file is looked for."""


@attrs.frozen(kw_only=True)
class VersionTag:
    """A tag that names a version."""

    name: str
    commit: str
    """In hexadecimal."""
    at: datetime
    """When its commit was made."""


class BranchFiles:
    """The files of the project in one commit. Paths are relative to the project's folder.

    Args:
        repository: The repository.
        tree: The commit, or its tree, in hexadecimal.
        history: The commit whose versions count, where *tree* is none itself.
        staging: Where objects are that are not on disk yet.
    """

    def __init__(
        self,
        repository: ProjectRepository,
        tree: str,
        history: str = "",
        staging: Staging | None = None,
    ) -> None:
        self._repository = repository
        self._staging = staging
        self.tree = tree
        self._history = history or tree
        self._below = repository.below

    def _open(self) -> pygit2.Repository:
        return self._repository.open(self._staging)

    @cached_property
    def blobs(self) -> Mapping[str, str]:
        """The name of each file's content, by path. Links and submodules are left out."""
        import pygit2

        from vespera_orchestrator.worktrees.translation import git_errors

        with git_errors(f"list the files of {self.tree[:12]}"):
            repo = self._open()
            self._repository.refuse_giants(repo, self.tree)
            root = repo[self.tree].peel(pygit2.Tree)
            project = _folder_at(root, self._below)
            return {} if project is None else dict(sorted(_blobs(project)))

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; ``None`` if there is none.

        Raises:
            GitFailedError: It is larger than anything that people write.
        """
        from vespera_orchestrator.worktrees.translation import git_errors
        from vespera_orchestrator.worktrees.tree_survey import read_blob

        blob = self.blobs.get(path)
        if blob is None:
            return None
        with git_errors(f"read {path}"):
            return read_blob(self._open(), blob, MOST_STATE_BYTES)

    def size_bytes(self, path: str) -> int:
        """Return the size of a file that is there."""
        from vespera_orchestrator.worktrees.translation import git_errors
        from vespera_orchestrator.worktrees.tree_survey import blob_bytes

        with git_errors(f"look at {path}"):
            return blob_bytes(self._open(), self.blobs[path])

    def versions(self) -> tuple[VersionTag, ...]:
        """Return the tags of versions that this commit contains, the oldest first."""
        import pygit2

        from vespera_orchestrator.worktrees.repository import has_ancestor
        from vespera_orchestrator.worktrees.translation import git_errors

        tags = []
        with git_errors("read the tags"):
            repo = self._open()
            for ref in self._repository.refs("refs/tags/"):
                name = ref.removeprefix("refs/tags/")
                if _VERSION_TAG.fullmatch(name) is None:
                    continue
                commit = repo.references[ref].peel(pygit2.Commit)
                if has_ancestor(repo, self._history, str(commit.id)):
                    at = datetime.fromtimestamp(commit.commit_time, UTC)
                    tags.append(VersionTag(name=name, commit=str(commit.id), at=at))
        return tuple(sorted(tags, key=lambda tag: (tag.at, tag.name)))

    def at(self, commit: str) -> BranchFiles:
        """Return the files of another commit."""
        return BranchFiles(self._repository, commit)

    def last_change(self, path: str) -> str | None:
        """Return the commit that made a file what it is here, in hexadecimal.

        ``None`` if there is no such file, or no commit near enough made it so.
        """
        from vespera_orchestrator.worktrees.translation import git_errors

        blob = self.blobs.get(path)
        if blob is None:
            return None
        with git_errors(f"look for the last change of {path}"):
            commit = self._open()[self._history]
            place = self._below + path
            if _blob_at(commit, place) != blob:
                return None
            for _ in range(_MOST_COMMITS):
                same = [each for each in commit.parents if _blob_at(each, place) == blob]
                if not same:
                    return str(commit.id)
                commit = same[0]
        return None


def _blob_at(commit: pygit2.Object, path: str) -> str | None:
    import pygit2

    try:
        return str(commit.peel(pygit2.Tree)[path].id)
    except KeyError:
        return None


def _folder_at(root: pygit2.Tree, path: str) -> pygit2.Tree | None:
    import pygit2

    if not path:
        return root
    try:
        folder = root[path.rstrip("/")]
    except KeyError:
        return None
    return folder if isinstance(folder, pygit2.Tree) else None


def _blobs(tree: pygit2.Tree) -> Iterator[tuple[str, str]]:
    from pygit2.enums import FileMode

    from vespera_orchestrator.worktrees.tree_entries import files_below

    for path, entry in files_below(tree):
        if entry.filemode in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE):
            yield path, str(entry.id)


class IntegrationFiles:
    """The integration branch of a project, for what reads and writes whole files there.

    Paths are relative to the project's folder, which may lie below the top of the repository.

    Args:
        home: The home; its project may be no repository.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def branch(self) -> str:
        """The name of the branch."""
        return self._home.config.worktrees.integration_branch

    def tip(self) -> str | None:
        """Return the head of the branch, read from git's own files; ``None`` if there is none."""
        common = git_common_dir(self._home.project)
        if common is None or not _has_branch(common, self.branch):
            return None
        repository = self._repository()
        return repository.tip(repository.integration_ref)

    def files(self) -> BranchFiles | None:
        """Return the files on the branch as they are now; ``None`` if there is no branch."""
        tip = self.tip()
        return None if tip is None else BranchFiles(self._repository(), tip)

    def catch_up(self) -> None:
        """Fast-forward the branch to HEAD where it is strictly behind, as a new worktree does."""
        self._repository().follow_head()

    def head_files(self) -> BranchFiles | None:
        """Return the files of the commit that is checked out in the project, if there is one."""
        common = git_common_dir(self._home.project)
        if common is None or not common.joinpath("objects").is_dir():
            return None
        repository = self._repository()
        repo = repository.open()
        return None if repo.head_is_unborn else BranchFiles(repository, repository.head(repo))

    def staged(self, path: str) -> bytes | None:
        """Return what the project's index has of a file; ``None`` if nothing."""
        from vespera_orchestrator.worktrees.translation import git_errors
        from vespera_orchestrator.worktrees.tree_survey import read_blob

        with git_errors(f"look for {path} in the index"):
            repository = self._repository()
            repo, place = repository.open(), repository.below + path
            if repo.is_bare or place not in repo.index:
                return None
            return read_blob(repo, str(repo.index[place].id), MOST_STATE_BYTES)

    def write(self, expected: str, files: Mapping[str, bytes | None], message: str) -> str:
        """Commit files to the branch, and bring a checkout of it along.

        Args:
            expected: The head from which this starts.
            files: The new contents, by path; ``None`` removes a file.
            message: The commit's message.

        Returns:
            The branch's new head.

        Raises:
            RefMovedError: The branch is not at *expected*. Nothing was changed.
            DirtyCheckoutError: It is checked out where it cannot be brought along safely. Nothing
                was changed.
            GitFailedError: Git refused. Nothing was changed.
        """
        from vespera_orchestrator.worktrees.integration import advance, recover_landing
        from vespera_orchestrator.worktrees.translation import git_errors
        from vespera_orchestrator.worktrees.writing import tree_with, write_commit

        repository = self._repository()
        recover_landing(repository)
        with git_errors(f"write to {self.branch}"):
            repo = repository.open()
            placed = {repository.below + path: content for path, content in files.items()}
            tree = tree_with(repo, expected, placed)
            commit = write_commit(repo, tree, [expected], message)
        advance(repository, expected, commit, message="documents")
        return commit

    def _repository(self) -> ProjectRepository:
        from vespera_orchestrator.worktrees.repository import ProjectRepository

        return ProjectRepository.of(self._home)


def _has_branch(common: Path, branch: str) -> bool:
    if common.joinpath("refs", "heads", *branch.split("/")).is_file():
        return True
    try:
        packed = read_small_file(common / "packed-refs", MOST_GIT_BYTES)
    except FileNotFoundError:
        return False
    return f" refs/heads/{branch}\n".encode() in packed

"""Where documents are read and written: the project's folder, or a branch."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from vespera_orchestrator.documents.tree import CommitTree, FolderTree, all_paths
from vespera_orchestrator.errors import DocumentUpdateError, RefMovedError, WorktreeError
from vespera_orchestrator.home.files import write_atomically
from vespera_orchestrator.home.permissions import usual_file_mode
from vespera_orchestrator.home.reading import MOST_STATE_BYTES, read_small_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vespera_orchestrator.documents.tree import CommittedFiles, ProjectTree

_TURN_OFF = "turn documents off with enabled = false under [documents] in config.toml of the home"
_FORBIDDEN = frozenset({"..", ".git", ".task_orchestrator"})


class Place(Protocol):
    """Where the documents of a project are."""

    @property
    def name(self) -> str:
        """Tells places apart, and names them in a sentence."""

    @property
    def writes_together(self) -> bool:
        """Whether one `write` takes all documents or none."""

    def read(self, path: str) -> bytes | None:
        """Return a document; ``None`` when it does not exist.

        Raises:
            DocumentUpdateError: It cannot be read, or is outside of the project.
        """

    def write(self, texts: Mapping[str, str | None], message: str) -> None:
        """Replace documents; ``None`` removes one.

        Args:
            texts: The new texts, by path.
            message: What to say where a change has a message.

        Raises:
            DocumentUpdateError: One of them cannot be written.
            RefMovedError: Somebody else wrote there meanwhile; nothing was changed, look again.
        """

    def stamp(self, path: str) -> object:
        """Return what changes when a document changes, as JSON holds it."""

    def paths(self) -> Iterable[str]:
        """Return the paths of all files that a document could link to."""

    def tree(self) -> ProjectTree:
        """Return the files of the project, as they were when they were first looked at."""

    def tree_behind(self, path: str) -> ProjectTree | None:
        """Return the files of the commit that made a document what it is.

        ``None`` if no commit did, so that somebody is writing it just now.
        """


class Branch(Protocol):
    """The branch where finished work goes, for what reads and writes whole files there."""

    @property
    def branch(self) -> str:
        """Its name."""

    def tip(self) -> str | None:
        """Return its head; ``None`` if there is no branch."""

    def files(self) -> CommittedFiles | None:
        """Return the files on it as they are now; ``None`` if there is no branch."""

    def catch_up(self) -> None:
        """Fast-forward it to what is checked out, where it is strictly behind."""

    def head_files(self) -> CommittedFiles | None:
        """Return the files of the commit that is checked out in the project, if there is one."""

    def staged(self, path: str) -> bytes | None:
        """Return what the project's index has of a file; ``None`` if nothing."""

    def write(self, expected: str, files: Mapping[str, bytes | None], message: str) -> str:
        """Commit files to it, if it is at *expected*; return its new head."""


def _tree_behind(files: CommittedFiles | None, path: str) -> CommitTree | None:
    commit = None if files is None else files.last_change(path)
    return None if files is None or commit is None else CommitTree(files.at(commit))


class BranchPlace:
    """The integration branch. A change is a commit on it.

    Args:
        branch: The branch; it exists.
    """

    writes_together = True

    def __init__(self, branch: Branch) -> None:
        self._branch = branch
        self._tip: str | None = None
        self._files: CommittedFiles | None = None
        self._read()

    def _read(self) -> None:
        self._tip = self._branch.tip()
        self._files = self._branch.files()

    @property
    def name(self) -> str:
        """See `Place.name`."""
        return f"branch {self._branch.branch}"

    def read(self, path: str) -> bytes | None:
        """See `Place.read`."""
        try:
            return None if self._files is None else self._files.read(path)
        except WorktreeError as exc:
            raise DocumentUpdateError(path, str(exc)) from exc

    def write(self, texts: Mapping[str, str | None], message: str) -> None:
        """See `Place.write`."""
        contents = {path: None if text is None else text.encode() for path, text in texts.items()}
        path = next(iter(texts), "")
        try:
            self._branch.write(self._tip or "", contents, message)
        except RefMovedError:
            raise  # look again: nothing is wrong
        except WorktreeError as exc:
            raise DocumentUpdateError(path, str(exc)) from exc
        self._read()

    def paths(self) -> Iterable[str]:
        """See `Place.paths`."""
        return () if self._files is None else self._files.blobs

    def stamp(self, path: str) -> object:
        """See `Place.stamp`."""
        return None if self._files is None else self._files.blobs.get(path)

    def tree(self) -> ProjectTree:
        """See `Place.tree`."""
        return CommitTree(self._files) if self._files is not None else FolderTree(Path("/nowhere"))

    def tree_behind(self, path: str) -> ProjectTree | None:
        """See `Place.tree_behind`."""
        return _tree_behind(self._files, path)


class LandingPlace:
    """The files of a landing, before it has landed. Nothing is written here.

    Args:
        branch: The name of the branch to which it goes.
        files: The files as they will be there.
    """

    writes_together = True

    def __init__(self, branch: str, files: CommittedFiles) -> None:
        self.name = f"branch {branch}"
        self._files = files

    def read(self, path: str) -> bytes | None:
        """See `Place.read`."""
        return self._files.read(path)

    def write(self, texts: Mapping[str, str | None], message: str) -> None:  # noqa: ARG002 - it is never used
        """Refuse: what changes here lands together with the work."""
        reason = f"is written to {self.name} by the landing, and not before"
        raise DocumentUpdateError(next(iter(texts), ""), reason)

    def paths(self) -> Iterable[str]:
        """See `Place.paths`."""
        return self._files.blobs

    def stamp(self, path: str) -> object:
        """See `Place.stamp`."""
        return self._files.blobs.get(path)

    def tree(self) -> ProjectTree:
        """See `Place.tree`."""
        return CommitTree(self._files)

    def tree_behind(self, path: str) -> ProjectTree | None:
        """See `Place.tree_behind`."""
        return _tree_behind(self._files, path)


class CheckoutPlace:
    """The project's folder, as it is.

    Args:
        project: The folder.
        committed: The files of the commit that is checked out there, if it is one.
    """

    name = "the project's folder"
    writes_together = False

    def __init__(self, project: Path, committed: CommittedFiles | None = None) -> None:
        self._project = project
        self._committed = committed
        self._tree = FolderTree(project, committed)

    def read(self, path: str) -> bytes | None:
        """See `Place.read`."""
        try:
            return read_small_file(self._locate(path), MOST_STATE_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise DocumentUpdateError(
                path, f"cannot be read ({exc.strerror}); make it readable, or {_TURN_OFF}"
            ) from exc

    def write(self, texts: Mapping[str, str | None], message: str) -> None:  # noqa: ARG002 - a file has no message
        """See `Place.write`. A document keeps its permissions."""
        for path, text in texts.items():
            try:
                self._write(path, text)
            except OSError as exc:
                reason = f"cannot be written ({exc.strerror})"
                remedy = f"make room or make it writable, or {_TURN_OFF}"
                raise DocumentUpdateError(path, f"{reason}; {remedy}") from exc

    def _write(self, path: str, text: str | None) -> None:
        place = self._locate(path)
        if text is None:
            place.unlink(missing_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        is_there = place.exists()
        mode = stat.S_IMODE(place.stat().st_mode) if is_there else usual_file_mode()
        write_atomically(place, text, mode=mode)

    def paths(self) -> Iterable[str]:
        """See `Place.paths`."""
        return all_paths(self._project)

    def stamp(self, path: str) -> object:
        """See `Place.stamp`."""
        return file_stamp(self._project / path)

    def tree(self) -> FolderTree:
        """See `Place.tree`."""
        return self._tree

    def tree_behind(self, path: str) -> ProjectTree | None:
        """See `Place.tree_behind`."""
        committed = self._committed
        if committed is None or committed.read(path) != self.read(path):
            return None
        return _tree_behind(committed, path)

    def _locate(self, path: str) -> Path:
        """Return where a document lies, after checking that it is inside the project.

        Raises:
            DocumentUpdateError: It is elsewhere, or a link leads out, or it is not a file.
        """
        parts = PurePosixPath(path).parts
        if path.startswith("/") or not parts or _FORBIDDEN.intersection(parts):
            raise DocumentUpdateError(
                path, "is not a file of the project; documents are kept nowhere else"
            )
        place = self._project
        for part in parts[:-1]:
            place /= part
            mode = _mode(place)
            if mode is not None:
                _check_kind(path, place, "folder", is_right=stat.S_ISDIR(mode), mode=mode)
        place /= parts[-1]
        mode = _mode(place)
        if mode is not None:
            _check_kind(path, place, "regular file", is_right=stat.S_ISREG(mode), mode=mode)
        return place


def file_stamp(path: Path) -> list[int] | None:
    """Return what changes when a file changes; ``None`` when it does not exist."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def _mode(place: Path) -> int | None:
    try:
        return place.lstat().st_mode
    except FileNotFoundError:
        return None


def _check_kind(path: str, place: Path, kind: str, *, is_right: bool, mode: int) -> None:
    if is_right:
        return
    actual = "a symbolic link" if stat.S_ISLNK(mode) else f"not a {kind}"
    raise DocumentUpdateError(
        path,
        f"{place} is {actual} and was not followed; put a {kind} in its place, or {_TURN_OFF}",
    )

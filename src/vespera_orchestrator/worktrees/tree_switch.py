"""The files of a folder go from one tree to another, path by path, while somebody may be working there.

Nothing is written over and nothing deleted before it was looked at where nobody can change it any more. Of each path, what stands there is
moved into a room beside the folder; there it is compared with the old tree; then the new file is linked to the path, which fails where
somebody has made one meanwhile. What is not what the old tree says goes back to its place; where that is taken by now, it is kept in a
commit. A path never holds half a file.

The room stays until git is known to have everything in it. So whoever comes after a kill can take back what was done.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import attrs
import pygit2
from pygit2.enums import CheckoutStrategy, FileMode, ObjectType
from pygit2.ffi import C, ffi

from vespera_orchestrator.worktrees import tree_merge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.tree_merge import File

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.frozen(kw_only=True)
class _Change:
    number: str
    path: str
    old: File
    """``None`` also for a submodule: its files are another repository's."""
    new: File


class Transition:
    """A folder that is to go from one tree to another.

    Args:
        repository: The repository.
        git_dir: A git directory whose settings and index are those of the folder.
        folder: The folder.
        room: A place for files on the way, see `room_beside`. It need not exist, and outlives a kill.
        old: Commit or tree that the folder is known to hold.
        new: What it is to hold. Paths that are the same in both are not looked at.
        may_be_there: Whether a new file may stand there already. In somebody's checkout an untracked file stays untracked.
    """

    def __init__(
        self,
        repository: ProjectRepository,
        git_dir: Path,
        folder: Path,
        room: Path,
        *,
        old: str,
        new: str,
        may_be_there: bool = False,
    ) -> None:
        self._repository, self._git_dir, self._folder, self._room = (
            repository,
            git_dir,
            folder,
            room,
        )
        self._repo = pygit2.Repository(str(git_dir))
        before, self._tree = (self._repo[name].peel(pygit2.Tree) for name in (old, new))
        changed = sorted(tree_merge.changes(before, self._tree).items())
        self.old, self.new = ({path: sides[at] for path, sides in changed} for at in (0, 1))
        self._changes = [
            _Change(
                number=str(n), path=path, old=_on_disk(self.old[path]), new=_on_disk(self.new[path])
            )
            for n, path in enumerate(self.old)
        ]
        # Removals first: a file may become a folder, or the other way round.
        self._changes.sort(key=lambda change: (change.new is not None, change.old is None))
        self._may_be_there = may_be_there
        self._known: set[str] = set()
        """Numbers of what was moved away and found to be what the old tree says."""

    # before

    def in_the_way(self) -> list[str]:
        """Return what stands where a file is to be made: untracked or ignored, a folder that is not empty, a file instead of a folder."""
        found: set[str] = set()
        for path in (
            change.path
            for change in self._changes
            if change.new is not None and change.old is None and not self._is_there(change)
        ):
            above = [str(parent) for parent in PurePosixPath(path).parents][:-1]
            found.update(
                at
                for at in above
                if os.path.lexists(self._folder / at)
                and not self._is_folder(at)
                and not self._goes(at)
            )
            place = self._folder / path
            if not any(self._goes(at) for at in above) and os.path.lexists(place):
                found.update([path] if not self._is_folder(path) else self._staying(place))
        return sorted(found)

    def _is_there(self, change: _Change) -> bool:
        """Tell whether the new file stands there already: an ignored one that was landed stays unknown to every snapshot."""
        with self._parent(change.path) as (parent, _):
            if parent is None or not self._may_be_there:
                return False
            try:
                return self._holds(self._folder / change.path, change.path, change.new)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def _is_folder(self, path: str) -> bool:
        place = self._folder / path
        return place.is_dir() and not place.is_symlink()

    def _goes(self, path: str) -> bool:
        return self.old.get(path) is not None and self.new[path] is None

    def _staying(self, folder: Path) -> list[str]:
        files = [
            str(Path(at, name).relative_to(self._folder))
            for at, _, names in os.walk(folder)
            for name in names
        ]
        return [file for file in files if not self._goes(file)]

    # going

    def prepare(self) -> None:
        """Write the new files into the room, with line ends and all else as git would write them at their places."""
        for name in ("new", "out", "back"):
            self._room.joinpath(name).mkdir(parents=True)
        git_dir, place = self._room / "git", self._room / "new"
        git_dir.mkdir()
        git_dir.joinpath("HEAD").write_text("ref: refs/heads/nothing\n", "utf-8")
        git_dir.joinpath("commondir").write_bytes(os.fsencode(self._repository.common) + b"\n")
        git_dir.joinpath("gitdir").write_bytes(os.fsencode(place) + b"/.git\n")
        with suppress(FileNotFoundError):
            shutil.copyfile(self._git_dir / "config.worktree", git_dir / "config.worktree")
        coming = {change.path: change.new for change in self._changes if change.new is not None}
        # First what .gitattributes say, unchanged ones too: libgit2 reads those on the disk, and misses the ones it is just writing.
        attributes = self._attributes(coming)
        for files in (
            attributes,
            {path: file for path, file in coming.items() if path not in attributes},
        ):
            repo = pygit2.Repository(str(git_dir))
            strategy = (
                CheckoutStrategy.FORCE
                | CheckoutStrategy.RECREATE_MISSING
                | CheckoutStrategy.DONT_UPDATE_INDEX
            )
            repo.checkout_tree(repo[_written(repo, files)], strategy=strategy)

    def _attributes(self, coming: dict[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
        folders = {folder for path in coming for folder in PurePosixPath(path).parents}
        found = {
            str(folder / ".gitattributes"): tree_merge.entry_at(
                self._tree, str(folder / ".gitattributes")
            )
            for folder in folders
        }
        return {path: file for path, file in found.items() if file is not None}

    def go(self) -> str | None:
        """Bring every path from old to new, or up to one that is not what the old tree says; return that one.

        Then `take_back` makes all the others what they were.
        """
        for change in self._changes:
            if not (
                (change.old is None or self._move_away(change))
                and (change.new is None or self._put(change))
            ):
                return change.path
        return None

    def _move_away(self, change: _Change) -> bool:
        out = self._room / "out" / change.number
        with self._parent(change.path) as (parent, name):
            if parent is None or not (_is_file(name, parent) and _moved(name, parent, out)):
                return False
            if not self._holds(out, change.path, change.old):
                self._give_back(out, change.path)
                return False
        self._known.add(change.number)
        if change.new is None:
            self._prune(change.path)
        return True

    def _put(self, change: _Change) -> bool:
        with self._parent(change.path, make=True) as (parent, name):
            if parent is None:
                return False
            with suppress(OSError):  # an empty folder is nobody's work
                os.rmdir(name, dir_fd=parent)
            if _link(self._room / "new" / change.path, name, parent):
                return True
        return self._is_there(change)

    # back

    def take_back(self) -> list[str]:
        """Make every path what it was; return those where something else stands by now, which is left. Safe to repeat after a kill."""
        return [change.path for change in reversed(self._changes) if not self._take_back(change)]

    def _take_back(self, change: _Change) -> bool:
        out, back = self._room / "out" / change.number, self._room / "back" / change.number
        ours = change.new is None or self._undo_put(change, back)
        if not os.path.lexists(out):
            return ours
        return ours and self._give_back(out, change.path)

    def _undo_put(self, change: _Change, back: Path) -> bool:
        """Take what we put away again, unless somebody has changed it since."""
        with self._parent(change.path) as (parent, name):
            if (
                not os.path.lexists(back)
                and parent is not None
                and _is_same(self._room / "new" / change.path, name, parent)
            ):
                _moved(name, parent, back)
        if os.path.lexists(back):
            if not self._holds(back, change.path, change.new):
                self._give_back(back, change.path)
                return False
            back.unlink()
            self._prune(change.path)
        return True

    def _give_back(self, place: Path, path: str) -> bool:
        """Put what is in the room where it was, if nothing stands there."""
        with self._parent(path, make=True) as (parent, name):
            if parent is None or not (
                _is_same(place, name, parent) or _link(place, name, parent, may_move=True)
            ):
                return False
        if os.path.lexists(place):  # it was not moved
            place.unlink()
        return True

    # after

    def clear(self, keep: str, commit: str) -> list[str]:
        """Remove the room. What git has not, being somebody's work whose place is taken, becomes a commit on top of *commit* first.

        Args:
            keep: Beginning of the ref for that commit; its short name is put behind it.
            commit: The commit whose files it is like, but for those paths.

        Returns:
            The paths that were kept so.
        """
        found = {}
        for change in self._changes:
            for kind, file in (("out", change.old), ("back", change.new)):
                place = self._room / kind / change.number
                if (
                    change.number not in self._known
                    and os.path.lexists(place)
                    and not self._holds(place, change.path, file)
                ):
                    found[change.path] = place
        if found:
            self._keep(found, keep, commit)
        shutil.rmtree(self._room, ignore_errors=True)
        return sorted(found)

    def _keep(self, found: dict[str, Path], keep: str, commit: str) -> None:
        repository, repo = self._repository, self._repository.open()
        index = pygit2.Index()
        index.read_tree(repo[commit].peel(pygit2.Tree))
        for path, place in found.items():
            content, mode = _read(place)
            index.add(pygit2.IndexEntry(path, repo.create_blob(content), FileMode(mode)))
        author, committer = repository.signatures(repo)
        message = "changed while what others landed was brought in\n"
        made = str(
            repo.create_commit(None, author, committer, message, index.write_tree(repo), [commit])
        )
        repository.move(f"{keep}-{made[:12]}", None, made)

    # looking

    def _holds(self, place: Path, path: str, file: File) -> bool:
        """Tell whether *place* has exactly *file*, for good: nobody has it open to write.

        Whoever works in the folder may put something else there between two looks: then the
        answer is no, whatever the second look failed with.
        """
        status = place.lstat()
        try:
            return self._is_content(place, status, path, file)
        except (OSError, pygit2.GitError):
            if _is_still(place, status):
                raise
            return False

    def _is_content(self, place: Path, status: os.stat_result, path: str, file: File) -> bool:
        if file is None or not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            return False
        name, mode = file
        if stat.S_ISLNK(status.st_mode) or mode == FileMode.LINK:
            if mode != FileMode.LINK or not stat.S_ISLNK(status.st_mode):
                return False
            return str(pygit2.hash(os.fsencode(place.readlink()))) == name
        is_executable = bool(status.st_mode & stat.S_IXUSR)
        if is_executable != (mode == FileMode.BLOB_EXECUTABLE) and self._minds_modes():
            return False
        if _is_written(place):
            return False
        return name in (self._hash(place, path), str(pygit2.hashfile(str(place))))

    def _minds_modes(self) -> bool:
        try:
            return bool(self._repo.config.get_bool("core.filemode"))
        except KeyError:
            return True

    def _hash(self, place: Path, path: str) -> str:
        """Return the object that git would make of it at *path*: line ends and all."""
        found = ffi.new("git_oid *")
        # pygit2's own call takes no names that are not UTF-8.
        code = C.git_repository_hashfile(
            found,
            self._repo._repo,  # noqa: SLF001
            os.fsencode(place),
            int(ObjectType.BLOB),
            os.fsencode(path),
        )
        return bytes(ffi.buffer(found.id)[:]).hex() if code == 0 else ""

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int | None, str]]:
        """Open the folder of *path*, never through a link; ``None`` where there is none, and the last part of the path."""
        *above, name = path.split("/")
        at: int | None = os.open(self._folder, _FOLDER)
        try:
            for part in above:
                if at is not None:
                    opened, at = at, None
                    at = _below(opened, part, make=make)
            yield at, name
        finally:
            if at is not None:
                os.close(at)

    def _prune(self, path: str) -> None:
        for folder in list(PurePosixPath(path).parents)[:-1]:
            with self._parent(str(folder)) as (parent, name):
                if parent is None:
                    continue
                try:
                    os.rmdir(name, dir_fd=parent)
                except FileNotFoundError:
                    continue
                except OSError:
                    return


def room_beside(folder: Path, git_dir: Path, name: str) -> Path:
    """Return a place for files on the way, on the file system of *folder*, and the same each time."""
    here, there = (
        next(place for place in (wanted, *wanted.parents) if place.exists())
        for wanted in (folder, git_dir)
    )
    if here.stat().st_dev == there.stat().st_dev:
        return git_dir / f"vespera-{name}"
    return folder.parent / f".{folder.name}.vespera-{name}"


def _on_disk(file: File) -> File:
    return None if file is None or file[1] == FileMode.COMMIT else file


def _written(repo: pygit2.Repository, files: dict[str, tuple[str, int]]) -> pygit2.Oid:
    index = pygit2.Index()
    for path, (name, mode) in files.items():
        index.add(pygit2.IndexEntry(path, pygit2.Oid(hex=name), FileMode(mode)))
    return index.write_tree(repo)


def _below(folder: int, name: str, *, make: bool) -> int | None:
    """Go one folder down; closes *folder*."""
    try:
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)
        return os.open(name, _FOLDER, dir_fd=folder)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    finally:
        os.close(folder)


def _is_file(name: str, folder: int) -> bool:
    try:
        mode = os.lstat(name, dir_fd=folder).st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _is_same(place: Path, name: str, folder: int) -> bool:
    try:
        return os.path.samestat(place.lstat(), os.lstat(name, dir_fd=folder))
    except FileNotFoundError:
        return False


def _is_still(place: Path, status: os.stat_result) -> bool:
    """Tell whether *place* is the same file, unchanged, as when its *status* was read."""
    try:
        now = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    # The number alone proves nothing: a new folder often gets that of the file just deleted.
    same_kind = stat.S_IFMT(now.st_mode) == stat.S_IFMT(status.st_mode)
    same_time = now.st_ctime_ns == status.st_ctime_ns
    return same_kind and same_time and os.path.samestat(now, status)


def _moved(name: str, folder: int, place: Path) -> bool:
    try:
        os.rename(name, place, src_dir_fd=folder)
    except FileNotFoundError:  # somebody was faster
        return False
    return True


def _link(place: Path, name: str, folder: int, *, may_move: bool = False) -> bool:
    """Give what lies at *place* this name as well, if nothing has it.

    A folder, which somebody made of a file, can only be moved, and a file of another user's, which the system allows no second name.
    """
    try:
        if stat.S_ISDIR(place.lstat().st_mode):
            os.rename(place, name, dst_dir_fd=folder)
        else:
            os.link(place, name, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as exc:
        if exc.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
            return False
        if exc.errno != errno.EPERM or not may_move:
            raise
        os.rename(place, name, dst_dir_fd=folder)
    return True


def _is_written(place: Path) -> bool:
    """Tell whether somebody has the file open to write it, or mapped: only then a read lease is refused.

    File systems without leases cannot tell; there what is written through an old handle in that moment is not seen.
    """
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError:
        return False
    try:
        if hasattr(fcntl, "F_SETLEASE"):
            fcntl.fcntl(
                handle, fcntl.F_SETSIG, signal.SIGURG
            )  # ignored by default; the usual one would end the process
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as exc:
        return exc.errno == errno.EAGAIN
    finally:
        os.close(handle)
    return False


def _read(place: Path) -> tuple[bytes, int]:
    status = place.lstat()
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(place.readlink()), FileMode.LINK
    return (
        place.read_bytes(),
        FileMode.BLOB_EXECUTABLE if status.st_mode & stat.S_IXUSR else FileMode.BLOB,
    )


def shown(path: str) -> str:
    """Return *path*, which may be any bytes, as text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")

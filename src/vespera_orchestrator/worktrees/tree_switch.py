"""Bringing the files of a folder from one tree to another, while somebody may be working there.

Nothing is written over, and nothing is deleted, before it was looked at where nobody can change it
any more. For each path, what stands there is moved into a room beside the folder. There it is
compared with the old tree. Then the new file is linked to the path, which fails where somebody has
made one meanwhile. What is not what the old tree says goes back to its place; where that is taken
by now, it is kept in a commit. A path never holds half a file.

The room stays until git is known to have everything in it. So whoever comes after a kill can take
back what was done. After a power cut, files and names are missing that were there; then it goes by
what the files hold.
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
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import CheckoutStrategy, FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.home.reading import MOST_GIT_BYTES, read_small_file
from vespera_orchestrator.worktrees import libgit2
from vespera_orchestrator.worktrees.git_config import read_signatures
from vespera_orchestrator.worktrees.opening import open_repository
from vespera_orchestrator.worktrees.paths import folders_above
from vespera_orchestrator.worktrees.torn import is_part_of
from vespera_orchestrator.worktrees.tree_merge import changes, entry_at, index_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.tree_merge import File

_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_OUT: Final = (
    CheckoutStrategy.FORCE | CheckoutStrategy.RECREATE_MISSING | CheckoutStrategy.DONT_UPDATE_INDEX
)


@attrs.frozen(kw_only=True)
class _Change:
    number: str
    """Names its files in the room."""
    path: str
    old: File
    """``None`` also for a submodule: its files are another repository's."""
    new: File


class TreeSwitch:
    """A folder that is to go from one tree to another.

    Args:
        repository: The repository.
        git_dir: A git directory whose settings and index are those of the folder.
        folder: The folder.
        room: A place for files on the way, see `room_beside`. It need not exist, and it outlives
            a kill.
        old: Commit or tree that the folder is known to hold.
        new: What it is to hold. Paths that are the same in both are not looked at.
        may_be_there: Whether a new file may stand there already. In somebody's checkout an
            untracked file stays untracked.
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
        self._repository = repository
        self._git_dir = git_dir
        self._folder = folder
        self._room = room
        self._may_be_there = may_be_there
        self._repo = open_repository(git_dir)
        self._old_tree = self._repo[old].peel(pygit2.Tree)
        self._tree = self._repo[new].peel(pygit2.Tree)
        changed = sorted(changes(self._repo, self._old_tree, self._tree).items())
        self.old: dict[str, File] = {path: sides[0] for path, sides in changed}
        """The files before, of the paths that differ."""
        self.new: dict[str, File] = {path: sides[1] for path, sides in changed}
        """The files after."""
        self._changes = _ordered_changes(self.old, self.new)
        self._verified: set[str] = set()
        """Numbers of what was moved away and found to be what the old tree says."""

    # before

    def in_the_way(self) -> list[str]:
        """Return what stands where a file is to be made.

        It may be untracked or ignored, a folder that is not empty, or a file instead of a folder.
        """
        blocking: set[str] = set()
        for change in self._changes:
            is_added = change.new is not None and change.old is None
            if is_added and not self._is_there(change):
                blocking.update(self._in_the_way_of(change.path))
        return sorted(blocking)

    def _in_the_way_of(self, path: str) -> Iterator[str]:
        above = [str(parent) for parent in PurePosixPath(path).parents][:-1]
        for place in above:
            is_other = os.path.lexists(self._folder / place) and not self._is_folder(place)
            if is_other and not self._is_deleted(place):
                yield place
        is_freed = any(self._is_deleted(place) for place in above)
        if is_freed or not os.path.lexists(self._folder / path):
            return
        if self._is_folder(path):
            yield from self._files_that_stay(self._folder / path)
        else:
            yield path

    def _is_there(self, change: _Change) -> bool:
        """Tell whether the new file stands there already.

        An ignored one that was landed stays unknown to every snapshot.
        """
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

    def _is_deleted(self, path: str) -> bool:
        was_there = self.old.get(path) is not None
        return was_there and self.new[path] is None

    def _files_that_stay(self, folder: Path) -> Iterator[str]:
        for place, _, names in os.walk(folder):
            for name in names:
                path = str(Path(place, name).relative_to(self._folder))
                if not self._is_deleted(path):
                    yield path

    # going

    def prepare(self) -> None:
        """Write the new files into the room, as git would write them at their places."""
        for name in ("new", "out", "back"):
            self._room.joinpath(name).mkdir(parents=True)
        self._write_new(self._room / "new", git_dir=self._room / "git")

    def _write_new(self, place: Path, *, git_dir: Path) -> None:
        files = {change.path: change.new for change in self._changes if change.new is not None}
        self._write_out(files, self._tree, place, git_dir=git_dir)

    def _write_old(self, place: Path, *, git_dir: Path) -> None:
        files = {change.path: change.old for change in self._changes if change.old is not None}
        self._write_out(files, self._old_tree, place, git_dir=git_dir)

    def sync_new_files(self) -> None:
        """Put the bytes of the new files on disk, so that none is empty after a power cut."""
        for change in self._changes:
            if change.new is not None and change.new[1] != FileMode.LINK:
                self._repository.sync_files(self._room / "new" / change.path)

    def sync_names(self) -> None:
        """Put the names of what was switched on disk: one that is missing would count as deleted.

        Also those of the folders above, which may be new.
        """
        names = {folder for path in self.new for folder in folders_above(path)}
        for folder in (self._folder, *(self._folder / name for name in sorted(names))):
            if folder.is_dir():
                self._repository.sync_names(folder)

    def _write_out(
        self, files: Mapping[str, tuple[str, int]], tree: pygit2.Tree, place: Path, *, git_dir: Path
    ) -> None:
        """Write *files* of *tree* into the folder *place*, as git would."""
        self._make_git_dir(git_dir, work_tree=place)
        # First what .gitattributes say, unchanged ones too: libgit2 reads those on the disk, and
        # misses the ones that it is just writing.
        attributes = _attributes(files, tree)
        others = {path: file for path, file in files.items() if path not in attributes}
        for part in (attributes, others):
            repo = open_repository(git_dir)
            repo.checkout_tree(repo[write_partial_tree(repo, part)], strategy=_WRITE_OUT)

    def _make_git_dir(self, git_dir: Path, *, work_tree: Path) -> None:
        git_dir.mkdir()
        git_dir.joinpath("HEAD").write_text("ref: refs/heads/nothing\n", "utf-8")
        git_dir.joinpath("commondir").write_bytes(os.fsencode(self._repository.common) + b"\n")
        git_dir.joinpath("gitdir").write_bytes(os.fsencode(work_tree) + b"/.git\n")
        with suppress(FileNotFoundError):
            shutil.copyfile(self._git_dir / "config.worktree", git_dir / "config.worktree")

    def switch(self) -> str | None:
        """Bring every path from old to new, up to one that is not what the old tree says.

        Returns:
            That path. Then `take_back` makes all the others what they were.
        """
        for change in self._changes:
            if not self._switch_path(change):
                return change.path
        return None

    def _switch_path(self, change: _Change) -> bool:
        if change.old is not None and not self._move_away(change):
            return False
        return change.new is None or self._put(change)

    def _move_away(self, change: _Change) -> bool:
        out = self._room / "out" / change.number
        with self._parent(change.path) as (parent, name):
            if parent is None or not _is_file(name, parent) or not _move(name, parent, out):
                return False
            if not self._holds(out, change.path, change.old):
                self._give_back(out, change.path)
                return False
        self._verified.add(change.number)
        if change.new is None:
            self._remove_empty_folders(change.path)
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
        """Make every path what it was. Safe to repeat after a kill.

        Returns:
            The paths where something else stands by now, which is left.
        """
        backwards = reversed(self._changes)
        left = [change for change in backwards if not self._take_back(change)]
        return [change.path for change in left]

    def _take_back(self, change: _Change) -> bool:
        out = self._room / "out" / change.number
        back = self._room / "back" / change.number
        is_free = change.new is None or self._take_away(change, back)
        if not os.path.lexists(out):
            return is_free
        return is_free and self._give_back(out, change.path)

    def _take_away(self, change: _Change, back: Path) -> bool:
        """Take away what we put there, unless somebody has changed it since."""
        with self._parent(change.path) as (parent, name):
            ours = self._room / "new" / change.path
            is_new = not os.path.lexists(back)
            if is_new and parent is not None and _is_same(ours, name, parent):
                _move(name, parent, back)
        if os.path.lexists(back):
            if not self._holds(back, change.path, change.new):
                self._give_back(back, change.path)
                return False
            back.unlink()
            self._remove_empty_folders(change.path)
        return True

    def _give_back(self, place: Path, path: str) -> bool:
        """Put what is in the room where it was, if nothing stands there."""
        with self._parent(path, make=True) as (parent, name):
            if parent is None:
                return False
            is_there = _is_same(place, name, parent) or _link(place, name, parent, may_move=True)
            if not is_there:
                return False
        if os.path.lexists(place):  # it was not moved
            place.unlink()
        return True

    # back, after a power cut

    def take_back_after_restart(self) -> list[str]:
        """Make every path what it was after a power cut: files and names may be missing, or torn.

        So a path goes by what it holds. Where that is the new file, a part of the new or of the old
        one, or nothing, it gets the old file again. Parts of files stay in the room for `clear`.

        Returns:
            The paths where something else stands, which is somebody's work and left.
        """
        whole = self._room / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        for folder in (whole / "old", whole / "new", self._room / "torn"):
            folder.mkdir(parents=True, exist_ok=True)
        self._write_old(whole / "old", git_dir=whole / "old.git")
        self._write_new(whole / "new", git_dir=whole / "new.git")
        backwards = reversed(self._changes)
        left = [change for change in backwards if not self._restore(change)]
        return [change.path for change in left]

    def _restore(self, change: _Change) -> bool:
        edits = [place for place in self._moved_away(change) if not self._drop(place, change)]
        with self._parent(change.path) as (parent, name):
            if parent is not None and _is_file(name, parent):
                if self._holds(self._folder / change.path, change.path, change.old):
                    return True
                if not self._take_away_part(change, parent, name):
                    return False
            elif parent is not None:
                with suppress(OSError):  # an empty folder is nobody's work
                    os.rmdir(name, dir_fd=parent)
        if edits:
            return self._give_back(edits[0], change.path)
        if change.old is not None:
            return self._give_back(self._room / "whole" / "old" / change.path, change.path)
        self._remove_empty_folders(change.path)
        return True

    def _moved_away(self, change: _Change) -> list[Path]:
        places = [self._room / folder / change.number for folder in ("back", "out")]
        return [place for place in places if os.path.lexists(place)]

    def _take_away_part(self, change: _Change, folder: int, name: str) -> bool:
        """Move what we half wrote into the room, unless it is somebody's work."""
        file = self._folder / change.path
        if not self._is_in_git(file, change) and not self._is_part(file, change):
            return False
        place = self._room / "torn" / change.number
        if not _move(name, folder, place) or self._drop(place, change):
            return True
        self._give_back(place, change.path)  # somebody has changed it this moment
        return False

    def _drop(self, place: Path, change: _Change) -> bool:
        """Remove what is in git; put a part of that where `clear` finds it, and nobody else."""
        if self._is_in_git(place, change):
            place.unlink()
        elif self._is_part(place, change):
            place.replace(self._room / "torn" / change.number)
        else:
            return False
        return True

    def _is_in_git(self, place: Path, change: _Change) -> bool:
        sides = (change.old, change.new)
        return any(self._holds(place, change.path, side) for side in sides)

    def _is_part(self, place: Path, change: _Change) -> bool:
        """Tell whether a file may be what a power cut left of one that we wrote or moved."""
        if not stat.S_ISREG(place.lstat().st_mode):
            return False
        content = read_small_file(place, MOST_GIT_BYTES)
        for side in ("old", "new"):
            whole = self._room / "whole" / side / change.path
            is_regular = whole.is_file() and not whole.is_symlink()
            if is_regular and is_part_of(content, read_small_file(whole, MOST_GIT_BYTES)):
                return True
        return False

    # after

    def clear(self, rescue_prefix: str, commit: str) -> list[str]:
        """Remove the room.

        What git has not becomes a commit on top of *commit* first: it is somebody's work whose
        place was taken meanwhile.

        Args:
            rescue_prefix: Beginning of the ref for that commit; the commit's short name is put
                behind it.
            commit: The commit whose files it is like, but for those paths.

        Returns:
            The paths that were kept that way.
        """
        unknown: dict[str, Path] = {}
        for change in self._changes:
            if change.number in self._verified:
                continue
            for folder, file in (("torn", None), ("out", change.old), ("back", change.new)):
                place = self._room / folder / change.number
                if os.path.lexists(place) and not self._holds(place, change.path, file):
                    unknown[change.path] = place
        if unknown:
            self._commit(unknown, rescue_prefix, commit)
        shutil.rmtree(self._room, ignore_errors=True)
        return sorted(unknown)

    def _commit(self, files: Mapping[str, Path], rescue_prefix: str, parent: str) -> None:
        repo = self._repository.open()
        index = pygit2.Index()
        index.read_tree(repo[parent].peel(pygit2.Tree))
        for path, place in files.items():
            content, mode = read_file(place)
            index.add(pygit2.IndexEntry(path, repo.create_blob(content), mode))
        author, committer = read_signatures(repo)
        message = "changed while what others landed was brought in\n"
        tree = index.write_tree(repo)
        commit = str(repo.create_commit(None, author, committer, message, tree, [parent]))
        self._repository.move(f"{rescue_prefix}-{commit[:12]}", None, commit)

    # looking

    def _holds(self, place: Path, path: str, file: File) -> bool:
        """Tell whether *place* has exactly *file*, for good: nobody has it open to write.

        Whoever works in the folder may put something else there between two looks. Then the
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
        is_link = stat.S_ISLNK(status.st_mode)
        if file is None or not (is_link or stat.S_ISREG(status.st_mode)):
            return False
        name, mode = file
        if is_link or mode == FileMode.LINK:
            return is_link and mode == FileMode.LINK and _link_object(place) == name
        is_executable = bool(status.st_mode & stat.S_IXUSR)
        if is_executable != (mode == FileMode.BLOB_EXECUTABLE) and self._minds_modes():
            return False
        if _is_written(place):
            return False
        as_git_stores_it = libgit2.hash_as_git(self._repo, place, path)
        return name in (as_git_stores_it, str(pygit2.hashfile(str(place))))

    def _minds_modes(self) -> bool:
        try:
            return bool(self._repo.config.get_bool("core.filemode"))
        except KeyError:
            return True

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int | None, str]]:
        """Open the folder of *path*, never through a link.

        Yields its descriptor, ``None`` where there is no folder, and the last part of the path.
        """
        *above, name = path.split("/")
        folder: int | None = os.open(self._folder, _OPEN_FOLDER)
        try:
            for part in above:
                if folder is not None:
                    current, folder = folder, None
                    folder = _open_below(current, part, make=make)
            yield folder, name
        finally:
            if folder is not None:
                os.close(folder)

    def _remove_empty_folders(self, path: str) -> None:
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
    """Return a place for files on the way, the same each time.

    It is on the file system of *folder*: in *git_dir* if that is, beside the folder otherwise.
    """
    if _device_of(folder) == _device_of(git_dir):
        return git_dir / f"vespera-{name}"
    return folder.parent / f".{folder.name}.vespera-{name}"


def _ordered_changes(old: Mapping[str, File], new: Mapping[str, File]) -> list[_Change]:
    ordered = [
        _Change(number=str(number), path=path, old=_on_disk(old[path]), new=_on_disk(new[path]))
        for number, path in enumerate(old)
    ]
    # Removals first: a file may become a folder, or the other way round.
    ordered.sort(key=lambda change: (change.new is not None, change.old is None))
    return ordered


def _attributes(files: Iterable[str], tree: pygit2.Tree) -> dict[str, tuple[str, int]]:
    """Return the .gitattributes of *tree* that say how to write *files*."""
    folders = {folder for path in files for folder in PurePosixPath(path).parents}
    attributes: dict[str, tuple[str, int]] = {}
    for folder in folders:
        path = str(folder / ".gitattributes")
        file = entry_at(tree, path)
        if file is not None:
            attributes[path] = file
    return attributes


def _on_disk(file: File) -> File:
    if file is None or file[1] == FileMode.COMMIT:
        return None
    return file


def write_partial_tree(repo: pygit2.Repository, files: Mapping[str, tuple[str, int]]) -> pygit2.Oid:
    """Write a tree that holds *files* and nothing else: for each path its object and mode."""
    index = pygit2.Index()
    for path, file in files.items():
        index.add(index_entry(path, file))
    return index.write_tree(repo)


def _device_of(place: Path) -> int:
    """Return the file system of *place*, or of the nearest folder above it that exists."""
    nearest = place
    while not nearest.exists():
        nearest = nearest.parent
    return nearest.stat().st_dev


# --- single files -----------------------------------------------------------


def _open_below(folder: int, name: str, *, make: bool) -> int | None:
    """Open the folder *name* in *folder*, which is closed."""
    try:
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)
        return os.open(name, _OPEN_FOLDER, dir_fd=folder)
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


def _move(name: str, folder: int, place: Path) -> bool:
    try:
        os.rename(name, place, src_dir_fd=folder)
    except FileNotFoundError:  # somebody was faster
        return False
    return True


def _link(place: Path, name: str, folder: int, *, may_move: bool = False) -> bool:
    """Give what lies at *place* this name as well, if nothing has it.

    Two things can only be moved: a folder, which somebody made of a file, and a file of another
    user's, which the system allows no second name.
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


def _link_object(place: Path) -> str:
    target = os.fsencode(place.readlink())
    return str(pygit2.hash(target))


def _is_written(place: Path) -> bool:
    """Tell whether somebody has the file open to write it, or mapped.

    Only then a read lease is refused. File systems without leases cannot tell; there, what is
    written through an old handle in that moment is not seen.
    """
    try:
        handle = os.open(place, _OPEN_FILE)
    except PermissionError:
        return False
    try:
        if hasattr(fcntl, "F_SETLEASE"):
            # SIGURG is ignored by default; the usual signal would end the process.
            fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as exc:
        return exc.errno == errno.EAGAIN
    finally:
        os.close(handle)
    return False


def read_file(place: Path) -> tuple[bytes, FileMode]:
    """Return what a file or a link holds, and its mode for git."""
    status = place.lstat()
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(place.readlink()), FileMode.LINK
    is_executable = status.st_mode & stat.S_IXUSR
    mode = FileMode.BLOB_EXECUTABLE if is_executable else FileMode.BLOB
    return read_small_file(place, MOST_GIT_BYTES), mode

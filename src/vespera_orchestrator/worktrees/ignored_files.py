"""Ignored files that a worktree needs all the same, brought along from the main one.

A new worktree has what git tracks: no ``.env``, no ``node_modules``. The file `INCLUDE_FILE` at the
top of the main worktree names, in the syntax of ``.gitignore``, which ignored files are copied.
Others come as links, if the settings name them. What git does not ignore in the worktree is never
brought: a snapshot would save it, and a landing would publish it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.home.reading import read_small_text
from vespera_orchestrator.worktrees import libgit2
from vespera_orchestrator.worktrees.admin_note import Brought
from vespera_orchestrator.worktrees.git_command import find_git, run_git
from vespera_orchestrator.worktrees.paths import folders_above
from vespera_orchestrator.worktrees.patterns import add_pattern, escape, is_ignored
from vespera_orchestrator.worktrees.repository import linked_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pygit2
    from pathspec import GitIgnoreSpec

    from vespera_orchestrator.worktrees.repository import ProjectRepository

INCLUDE_FILE: Final = ".worktreeinclude"
_FICLONE: Final = 0x40049409
"""The request that lets two files share their blocks until one is changed (Btrfs, XFS)."""


@attrs.frozen(kw_only=True)
class _Wish:
    """Something ignored in the main worktree that the worktree should have."""

    path: str
    """Relative to the top, with forward slashes."""
    is_folder: bool
    is_link: bool

    @property
    def named(self) -> str:
        """The path as git names it: a folder ends with a slash, a link to one does not."""
        return f"{self.path}/" if self.is_folder and not self.is_link else self.path


def is_any_wanted(repository: ProjectRepository) -> bool:
    """Tell whether anything may be to be brought along."""
    main = _main_folder(repository)
    return main is not None and bool(_links(repository) or _has_include_file(main))


@attrs.frozen(kw_only=True)
class Destination:
    """Where ignored files go: a worktree, or the folder of a check."""

    folder: Path
    exclude: Path
    """The file with patterns of what git ignores there beside ``.gitignore``."""
    open_repository: Callable[[], pygit2.Repository]
    """Opens the repository of that folder, whose index says what is tracked there."""

    def ignored(self, wishes: Iterable[_Wish]) -> set[_Wish]:
        """Return those that git ignores there, and libgit2 as well.

        Our snapshots go by libgit2, an agent's ``git add -A`` by git. They differ: libgit2
        overlooks a pattern such as ``!.env`` that stands alone, and takes a link for a folder.
        """
        repo = self.open_repository()  # a new one: it has not read the patterns before
        ignored = {wish for wish in wishes if is_ignored(repo, wish.named)}
        if not ignored or find_git() is None:
            return ignored
        names = b"".join(os.fsencode(wish.named) + b"\0" for wish in ignored)
        run = run_git("check-ignore", "-z", "--stdin", cwd=self.folder, text=names)
        answer = set(run.stdout.split(b"\0"))
        return {wish for wish in ignored if os.fsencode(wish.named) in answer}


def bring(repository: ProjectRepository, destination: Destination) -> Brought:
    """Bring ignored files along from the main worktree.

    Safe to repeat after a kill, as long as nobody has worked there: what is there is replaced,
    unless git tracks it.
    """
    main = _main_folder(repository)
    if main is None:
        return Brought()
    wishes = _wishes(repository, main, destination)
    for wish in wishes:
        _place(main / wish.path, destination.folder / wish.path, is_link=wish.is_link)
    ignored = _make_ignored(destination, wishes)
    kept = [wish for wish in wishes if wish in ignored]
    left = [wish for wish in wishes if wish not in ignored]
    for wish in left:
        _remove(destination.folder / wish.path)
    files = [destination.folder / wish.path for wish in kept]
    repository.sync_files(*filter(_is_plain_file, files))
    return Brought(
        copied=tuple(wish.path for wish in kept if not wish.is_link),
        linked=tuple(wish.path for wish in kept if wish.is_link),
        left=tuple(wish.path for wish in left),
    )


def _wishes(repository: ProjectRepository, main: Path, destination: Destination) -> list[_Wish]:
    """Return what is asked for and can be put there without touching what git tracks."""
    tracked = _tracked(destination.open_repository().index)
    return [
        wish
        for wish in _Search(repository, main).wishes()
        if wish.path not in tracked and _has_plain_parents(destination.folder, wish.path)
    ]


def _main_folder(repository: ProjectRepository) -> Path | None:
    """Return the top of the main worktree; a bare repository has none."""
    workdir = repository.open().workdir
    return None if workdir is None else Path(workdir)


def _links(repository: ProjectRepository) -> list[str]:
    return repository.home.config.worktrees.link or []


def _has_include_file(main: Path) -> bool:
    return _is_plain_file(main / INCLUDE_FILE)


def _is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


# --- searching --------------------------------------------------------------


class _Search:
    """Looks through the main worktree for what is ignored and asked for. Follows no link."""

    def __init__(self, repository: ProjectRepository, main: Path) -> None:
        self._main = main
        worktrees = [linked_folder(admin) for admin in repository.admins()]
        self._reserved = [repository.home.path, *worktrees]
        self._repo = repository.open()
        links = _links(repository)
        lines = []
        if _has_include_file(main):
            text = read_small_text(main / INCLUDE_FILE, errors="surrogateescape")
            lines = text.splitlines()
        self._included = _spec(lines)
        self._linked = _spec(links)
        self._below = _fixed_beginnings([*lines, *links])

    def wishes(self) -> list[_Wish]:
        """Return them in the order of their paths."""
        return sorted(self._walk(self._main, "", is_ignored=False), key=lambda wish: wish.path)

    def _walk(self, folder: Path, above: str, *, is_ignored: bool) -> Iterator[_Wish]:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                path = above + entry.name
                if entry.name == ".git":
                    continue
                if entry.is_symlink() or entry.is_file():
                    yield from self._file(path, is_ignored=is_ignored)
                elif not entry.is_dir():
                    continue  # a socket or a pipe belongs to a running program
                elif not self._is_foreign(Path(entry.path)):
                    yield from self._folder(Path(entry.path), path, is_ignored=is_ignored)

    def _file(self, path: str, *, is_ignored: bool) -> Iterator[_Wish]:
        wish = self._wish(path, path, is_folder=False)
        if wish is not None and (is_ignored or self._is_ignored(path)):
            yield wish

    def _folder(self, folder: Path, path: str, *, is_ignored: bool) -> Iterator[_Wish]:
        named = f"{path}/"
        if not is_ignored and not self._is_ignored(named):
            yield from self._walk(folder, named, is_ignored=False)
            return
        wish = self._wish(path, named, is_folder=True)
        if wish is not None and not self._holds_reserved(folder):
            yield wish
        elif any(_is_on_the_way(named, beginning) for beginning in self._below):
            yield from self._walk(folder, named, is_ignored=True)

    def _wish(self, path: str, named: str, *, is_folder: bool) -> _Wish | None:
        if self._linked.match_file(named):
            return _Wish(path=path, is_folder=is_folder, is_link=True)
        if self._included.match_file(named):
            return _Wish(path=path, is_folder=is_folder, is_link=False)
        return None

    def _is_ignored(self, path: str) -> bool:
        return is_ignored(self._repo, path)

    def _is_foreign(self, folder: Path) -> bool:
        """Tell whether a folder is our home, another worktree or another repository."""
        return folder in self._reserved or os.path.lexists(folder / ".git")

    def _holds_reserved(self, folder: Path) -> bool:
        return any(reserved.is_relative_to(folder) for reserved in self._reserved)


def _spec(lines: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def _fixed_beginnings(lines: Sequence[str]) -> list[str]:
    """Return how the paths begin that patterns with a folder in them name.

    Only these lead into ignored folders: else every ``node_modules`` would be searched.
    """
    beginnings = []
    for line in lines:
        pattern = line.strip().removeprefix("/")
        if pattern and not pattern.startswith(("#", "!")) and "/" in pattern.rstrip("/"):
            beginnings.append(re.split(r"[*?\[\\]", pattern, maxsplit=1)[0])
    return [beginning for beginning in beginnings if beginning]


def _is_on_the_way(folder: str, beginning: str) -> bool:
    return folder.startswith(beginning) or beginning.startswith(folder)


# --- placing ----------------------------------------------------------------


def _tracked(index: pygit2.Index) -> set[str]:
    """Return every path in the index, and every folder above one."""
    tracked: set[str] = set()
    for path in libgit2.entry_paths(index):
        tracked.update((path, *folders_above(path)))
    return tracked


def _has_plain_parents(folder: Path, path: str) -> bool:
    """Tell whether the way to *path* leads through folders only, not out through a link."""
    current = folder
    for name in path.split("/")[:-1]:
        current /= name
        if not os.path.lexists(current):
            return True
        if current.is_symlink() or not current.is_dir():
            return False
    return True


def _place(source: Path, target: Path, *, is_link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove(target)
    if is_link:
        target.symlink_to(source, target_is_directory=source.is_dir())
    elif source.is_symlink() or not source.is_dir():
        _copy(source, target)
    else:
        shutil.copytree(source, target, symlinks=True, copy_function=_copy)


def _copy(source: str | Path, target: str | Path) -> None:
    """Copy a file; where the file system can, the copy shares its blocks until one is changed.

    No hard link: an edit in the worktree would change the user's own file.
    """
    old, new = Path(source), Path(target)
    mode = old.lstat().st_mode
    if stat.S_ISLNK(mode):
        new.symlink_to(old.readlink())
    elif stat.S_ISREG(mode):  # a socket or a pipe belongs to a running program
        if not _clone(old, new):
            shutil.copyfile(old, new)
        shutil.copystat(old, new)


def _clone(old: Path, new: Path) -> bool:
    try:
        import fcntl

        with old.open("rb") as source, new.open("wb") as target:
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# --- never landed -----------------------------------------------------------


def _make_ignored(destination: Destination, wishes: Sequence[_Wish]) -> set[_Wish]:
    """Make sure that git ignores what was brought; return for what it does.

    ``node_modules/`` in ``.gitignore`` does not mean a link of that name, and the branch may have
    another ``.gitignore`` than the main worktree.
    """
    ignored = destination.ignored(wishes)
    paths = [wish.path for wish in wishes if wish not in ignored and "\n" not in wish.path]
    for path in paths:
        add_pattern(destination.exclude, f"/{escape(path)}")
    return destination.ignored(wishes) if paths else ignored

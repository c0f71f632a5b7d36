"""Where the home of a project is.

Git is asked through its files, not through a library: finding the home must cost nothing.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import HomeSource
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import (
    HomeNotFoundError,
    InvalidInputError,
    ReadOnlyError,
    StoreUnavailableError,
)
from vespera_orchestrator.home.config import ENV_HOME, Config, initial_text, read_settings
from vespera_orchestrator.home.files import (
    make_folders,
    make_temporary_folder,
    never_sync,
    resolved_path,
    translate_os_error,
    write_atomically,
)
from vespera_orchestrator.home.identity import HOME_ID_FILE, look_up_home_id, read_home_id
from vespera_orchestrator.home.links import refuse_links
from vespera_orchestrator.home.permissions import settle, was_made_shared
from vespera_orchestrator.home.reading import MOST_STATE_BYTES, read_small_text
from vespera_orchestrator.home.trust import (
    VERSION_CONTROL,
    Power,
    is_trusted,
    mark_as_foreign,
    powers_of_files,
    powers_of_settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOME_NAME: Final = ".task_orchestrator"
_TOP_FILES: Final = (
    *("pyproject.toml", "setup.py", "package.json", "Cargo.toml", "go.mod", "pom.xml"),
    *("build.gradle", "build.gradle.kts", "composer.json", "Gemfile", "mix.exs", "deno.json"),
)
"""Files that stand at the top of a project."""
_WORKTREE_SETTING: Final = re.compile(r"^\s*worktree\s*=\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


def git_common_dir(path: Path) -> Path | None:
    """Return the git directory that all worktrees of the repository around *path* share.

    Follows a ``.git`` file (linked worktree, submodule, separate git directory) and its
    ``commondir``; recognises a bare repository, unless it is a folder of another repository's
    working tree: anybody can commit files that look like one. ``None`` outside of a repository.
    """
    bare: Path | None = None
    for folder in (path, *path.parents):
        dot_git = folder / ".git"
        if dot_git.is_dir() or dot_git.is_file():
            around = dot_git if dot_git.is_dir() else _follow(dot_git)
            is_within = bare is not None and around is not None and bare.is_relative_to(around)
            return bare if is_within else around
        if bare is None and _is_bare_repository(folder):
            bare = folder
    return bare


def _is_bare_repository(folder: Path) -> bool:
    if not (folder / "HEAD").is_file():
        return False
    return (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _follow(dot_git: Path) -> Path | None:
    match = re.match(r"gitdir: (.*)", _read(dot_git))
    if match is None:
        return None
    git_dir = (dot_git.parent / match[1].strip()).resolve()
    if not git_dir.is_dir():
        return None  # the repository it belonged to is gone
    common = git_dir / "commondir"
    if common.is_file():
        return (git_dir / _read(common).strip()).resolve()
    return git_dir


def _read(path: Path) -> str:
    return read_small_text(path, MOST_STATE_BYTES, errors="surrogateescape")


def main_folder(common_dir: Path) -> Path:
    """Return the folder of a repository's main worktree.

    Of a bare one that is the repository itself, or the folder around it whose ``.git`` file leads
    to it: people keep the checkouts of such a repository side by side there.
    """
    if common_dir.name == ".git":
        return common_dir.parent
    config = common_dir / "config"
    match = _WORKTREE_SETTING.search(_read(config)) if config.is_file() else None
    if match is None:
        return _folder_around(common_dir) or common_dir
    return (common_dir / match[1].strip('"')).resolve()


def _folder_around(bare: Path) -> Path | None:
    dot_git = bare.parent / ".git"
    if not dot_git.is_file() or (bare / HOME_NAME).is_dir():
        return None  # the home of an earlier version stays where it is
    leads_here = _follow(dot_git)
    return bare.parent if leads_here == bare.resolve() else None


@attrs.frozen(kw_only=True)
class Home:
    """The folder that holds everything, and the project's folder it belongs to."""

    path: Path
    project: Path
    config: Config
    follows_environment: bool = True
    """Whether the environment is about this home, and so are its store and its session."""
    powers: tuple[Power, ...] = ()
    """What the home asks for beyond its own folder; see `trust`."""
    is_trusted: bool = True
    """Whether it may have that. Otherwise `config` is without it."""
    source: HomeSource = HomeSource.CALL
    """How it was found."""
    readonly: bool = False
    """Whether nothing may be written, neither in the home nor in its store."""

    @property
    def withheld(self) -> tuple[Power, ...]:
        """What the home asks for and does not get."""
        return () if self.is_trusted else self.powers

    @cached_property
    def id(self) -> str:
        """What tells this home from every other, copies included; see `identity`."""
        return look_up_home_id(self.path) if self.readonly else read_home_id(self.path)

    @property
    def database(self) -> Path:
        """The default store."""
        return self.path / "orchestrator.db"

    def is_own_store(self, address: str) -> bool:
        """Tell whether a store's address is that of the default one, whatever its options."""
        return address.partition("?")[0] == f"sqlite:///{self.database}"

    @property
    def artifacts(self) -> Path:
        """Content by digest."""
        return self.path / "artifacts"

    @property
    def shared(self) -> Path:
        """Exists when records of a store outside this home refer to the contents, too."""
        return self.path / ".shared_artifacts"

    @property
    def index(self) -> Path:
        """The search index; may be thrown away."""
        return self.path / "index.lance"

    @property
    def templates(self) -> Path | None:
        """Document templates of the user's own; ``None`` where they are not trusted."""
        return self.path / "templates" if self.is_trusted else None

    @property
    def instructing(self) -> Path | None:
        """The folder, where what it says may instruct agents; ``None`` where it may not."""
        return self.path if self.is_trusted else None

    @property
    def locks(self) -> Path:
        """Lock files, one for each thing that only one process may do at a time."""
        return self.path / "locks"

    @property
    def active_session(self) -> Path:
        """The file that names the active session: the one that was chosen last."""
        return self.path / ".active_session"

    @property
    def active_sessions(self) -> Path:
        """A file for each store that was used with this home; it names that store's session."""
        return self.path / ".active_sessions"

    @classmethod
    def locate(
        cls, path: str | os.PathLike[str] = ".", home: str | os.PathLike[str] | None = None
    ) -> Home:
        """Find the home for *path* without creating anything.

        Order: *home*; the project of *path*, where the call names one; then
        ``VESPERA_ORCHESTRATOR_HOME``; then the project around the working folder, which is what
        the path ``"."`` stands for. The project of a path is the main worktree of the git
        repository around it, else the nearest folder upward that has a home, else the path. What
        is further up than the project itself does not count: see `_folders_of_project`.

        The environment is about one home. Where the call names another one, nothing of the
        environment counts for it: neither its store nor its session.
        """
        _require_path("path", path)
        if home is not None:
            _require_path("home", home)
        start = resolved_path("path", path)
        found = _find_project(start)
        project = found or start
        inherited = _home_of_environment()
        folder, source = project / HOME_NAME, _source(start, project)
        if home is not None:
            folder, source = resolved_path("home", home), HomeSource.CALL
        elif inherited is not None:
            is_named = os.fspath(path) != "."
            if not is_named or _is_home_for(inherited, start, found):
                folder, source = inherited, HomeSource.ENVIRONMENT
        is_inherited = inherited is None or folder == inherited
        is_chosen = home is not None or folder == inherited
        settings = read_settings(folder / "config.toml")
        powers = powers_of_settings(settings.powers()) + powers_of_files(folder)
        trusted = is_trusted(folder, powers, is_named=is_chosen)
        config = settings.config(with_environment=is_inherited, is_trusted=trusted)
        if config.project:
            project = (folder / config.project).resolve()
        elif is_chosen and folder.name == HOME_NAME:
            project = folder.parent
        return cls(
            path=folder,
            project=project,
            config=config,
            follows_environment=is_inherited,
            powers=powers,
            is_trusted=trusted,
            source=source,
        )

    def temporary(self) -> Home:
        """Return a home for the same project in a new folder of its own, to be removed after use.

        For a store in memory: whatever it does, the project's own home stays as it is.
        """
        folder = make_temporary_folder().resolve()
        never_sync(folder)
        config = attrs.evolve(self.config, content=None)
        return attrs.evolve(self, path=folder, config=config)

    def read_config(self) -> Config:
        """Return the settings as they are in the file now, as far as the home may have them.

        Raises:
            InvalidInputError: A setting is wrong.
            StoreUnavailableError: The file cannot be read.
        """
        settings = read_settings(self.path / "config.toml")
        return settings.config(
            with_environment=self.follows_environment, is_trusted=self.is_trusted
        )

    def with_durability(self, word: str | None) -> Home:
        """Return the home with this durability instead of the configured one.

        Raises:
            InvalidInputError: There is no such durability.
        """
        if word is None:
            return self
        if word not in ("full", "normal"):
            raise InvalidInputError(
                "durability", f"{show_value(word)} is neither 'full' nor 'normal'"
            )
        store = attrs.evolve(self.config.store, durability=word)
        return attrs.evolve(self, config=attrs.evolve(self.config, store=store))

    def to_look_at(self, *, needs_database: bool) -> Home:
        """Return the home for somebody who writes nothing.

        Args:
            needs_database: Whether its store is the default one.

        Raises:
            UntrustedHomeError: Something in it is a link.
            HomeNotFoundError: There is nothing to look at.
        """
        if not self.path.is_dir() or (needs_database and not self.database.exists()):
            raise HomeNotFoundError(str(self.path))
        refuse_links(self.path)
        return attrs.evolve(self, readonly=True)

    def create(self) -> Home:
        """Make the folder and its fixed files where they are missing.

        Several processes may do so at once.

        Raises:
            UntrustedHomeError: Something in it is a link.
            ReadOnlyError: It cannot be made.
            StoreUnavailableError: The disk is full, or fails.
        """
        refuse_links(self.path)
        try:
            make_folders(self.path)
            settle(self.path, for_group=self._is_for_group)
            make_folders(self.artifacts, self.path / "templates", self.locks)
            if not self.is_trusted:
                mark_as_foreign(self.path)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                write_atomically(ignore, "*\n")
            config = self.path / "config.toml"
            if not config.exists():
                is_elsewhere = self.path != self.project / HOME_NAME
                write_atomically(config, initial_text(self.project if is_elsewhere else None))
        except OSError as exc:
            raise translate_os_error(exc, self.path) from exc
        if not (self.path / HOME_ID_FILE).exists():
            with suppress(ReadOnlyError, StoreUnavailableError):  # whoever needs it tries again
                read_home_id(self.path)
        return self

    @property
    def _is_for_group(self) -> bool:
        """Whether the group may read and write it.

        Nobody in the group can shut the others out by a change that has to be allowed first.
        """
        stays_shared = not self.is_trusted and was_made_shared(self.path)
        return self.config.access == "group" or stays_shared


def _require_path(name: str, value: object) -> None:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise InvalidInputError(name, f"{show_value(value)} should be the path of a folder")


def _home_of_environment() -> Path | None:
    named = os.environ.get(ENV_HOME)
    return resolved_path(ENV_HOME, named) if named else None


def _is_home_for(home: Path, start: Path, found: Path | None) -> bool:
    """Tell whether *home* is that of the project around *start*, which was found at *found*.

    A home that does not exist yet, and whose path names no project, may serve any project.
    """
    project = _project_of_home(home)
    if project is None or project == found:
        return True
    return found is None and start.is_relative_to(project)


def _project_of_home(home: Path) -> Path | None:
    """Return the project that a home says it belongs to, or ``None``."""
    try:
        settings = tomllib.loads(_read(home / "config.toml"))
    except (OSError, ValueError):
        settings = {}  # a home that is not meant may be in any state
    named = settings.get("project")
    if isinstance(named, str):
        return (home / named).resolve()
    return home.parent if home.name == HOME_NAME else None


def _find_project(start: Path) -> Path | None:
    """Return the folder of the project around *start*; ``None`` where nothing marks one."""
    try:
        if not start.is_dir():
            problem = "is not a folder; create it first, or give the project's folder"
            raise InvalidInputError("path", f"{str(start)!r} {problem}")
        common = git_common_dir(start)
        if common is not None:
            return main_folder(common)
        for folder in _folders_of_project(start):
            if (folder / HOME_NAME).is_dir():
                return folder
    except OSError as exc:
        raise translate_os_error(exc, start) from exc
    return None


def _source(start: Path, project: Path) -> HomeSource:
    """Return how the home of a project was found from *start*."""
    if project == start:
        return HomeSource.HERE
    return HomeSource.REPOSITORY if git_common_dir(start) is not None else HomeSource.ABOVE


def _folders_of_project(start: Path) -> Iterator[Path]:
    """Yield *start* and the folders above it, as far as they are of the same project.

    A working copy ends where its version control begins. Outside of one, a project ends where a
    file is that only stands at the top of a project. Folders in which all kinds of things lie are
    projects for nothing below them: the person's own folder and those above it, unless the project
    begins there, and folders in which everybody may write.
    """
    folders = (start, *start.parents)
    end = next((folder for folder in folders if _has_any(folder, VERSION_CONTROL)), None)
    if end is None:
        end = next((folder for folder in folders if _has_any(folder, _TOP_FILES)), None)
    for folder in folders:
        is_open = not _is_everybodys(folder) and (folder == end or not _is_around_person(folder))
        if folder == start or is_open:
            yield folder
        if folder == end:
            return


def _has_any(folder: Path, names: Iterable[str]) -> bool:
    return any((folder / name).exists() for name in names)


def _is_everybodys(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IWOTH)


def _is_around_person(folder: Path) -> bool:
    person = Path(os.path.expanduser("~"))  # noqa: PTH111 - a user without a home is no error here
    return person.resolve().is_relative_to(folder)

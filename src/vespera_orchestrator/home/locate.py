"""Where the home of a project is.

Git is asked through its files, not through a library: finding the home must cost nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import attrs

from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.config import ENV_HOME, Config, initial_text, read_config
from vespera_orchestrator.home.files import make_folders, translate_os_error, write_atomically

HOME_NAME: Final = ".task_orchestrator"
_WORKTREE_SETTING: Final = re.compile(r"^\s*worktree\s*=\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


def git_common_dir(path: Path) -> Path | None:
    """Return the git directory that all worktrees of the repository around *path* share.

    Follows a ``.git`` file (linked worktree, submodule, separate git directory) and its
    ``commondir``; recognises a bare repository. ``None`` outside of a repository.
    """
    for folder in (path, *path.parents):
        dot_git = folder / ".git"
        if dot_git.is_dir():
            return dot_git
        if dot_git.is_file():
            return _follow(dot_git)
        if _is_bare_repository(folder):
            return folder
    return None


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
    return path.read_text("utf-8", "surrogateescape")


def main_folder(common_dir: Path) -> Path:
    """Return the folder of a repository's main worktree; of a bare one the repository itself."""
    if common_dir.name == ".git":
        return common_dir.parent
    config = common_dir / "config"
    match = _WORKTREE_SETTING.search(_read(config)) if config.is_file() else None
    if match is None:
        return common_dir
    return (common_dir / match[1].strip('"')).resolve()


@attrs.frozen(kw_only=True)
class Home:
    """The folder that holds everything, and the project's folder it belongs to."""

    path: Path
    project: Path
    config: Config

    @property
    def database(self) -> Path:
        """The default store."""
        return self.path / "orchestrator.db"

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
    def templates(self) -> Path:
        """Document templates of the user's own."""
        return self.path / "templates"

    @property
    def locks(self) -> Path:
        """Lock files, one for each thing that only one process may do at a time."""
        return self.path / "locks"

    @property
    def active_session(self) -> Path:
        """The file that names the active session."""
        return self.path / ".active_session"

    @classmethod
    def locate(
        cls, path: str | os.PathLike[str] = ".", home: str | os.PathLike[str] | None = None
    ) -> Home:
        """Find the home for *path* without creating anything.

        Order: *home*, then ``VESPERA_ORCHESTRATOR_HOME``, then the main worktree of the git
        repository around *path*, then the nearest folder upward that has a home, then *path*.
        """
        _require_path("path", path)
        if home is not None:
            _require_path("home", home)
        start = Path(path).expanduser().resolve()
        project = _project_folder(start)
        chosen = home or os.environ.get(ENV_HOME)
        folder = Path(chosen).expanduser().resolve() if chosen else project / HOME_NAME
        config = read_config(folder / "config.toml")
        if config.project:
            project = (folder / config.project).resolve()
        elif chosen and folder.name == HOME_NAME:
            project = folder.parent
        return cls(
            path=folder,
            project=project,
            config=config,
        )

    def create(self) -> Home:
        """Make the folder and its fixed files where they are missing.

        Several processes may do so at once.
        """
        try:
            make_folders(self.path, self.artifacts, self.templates, self.locks)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                write_atomically(ignore, "*\n")
            config = self.path / "config.toml"
            if not config.exists():
                is_elsewhere = self.path != self.project / HOME_NAME
                write_atomically(config, initial_text(self.project if is_elsewhere else None))
        except OSError as exc:
            raise translate_os_error(exc, self.path) from exc
        return self


def _require_path(name: str, value: object) -> None:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise InvalidInputError(name, f"{value!r} should be the path of a folder")


def _project_folder(start: Path) -> Path:
    try:
        if not start.is_dir():
            problem = "is not a folder; create it first, or give the project's folder"
            raise InvalidInputError("path", f"{str(start)!r} {problem}")
        common = git_common_dir(start)
        if common is not None:
            return main_folder(common)
        for folder in (start, *start.parents):
            if (folder / HOME_NAME).is_dir():
                return folder
    except OSError as exc:
        raise translate_os_error(exc, start) from exc
    return start

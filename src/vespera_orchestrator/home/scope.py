"""The home, the session a call is about, and what a spawned agent inherits.

Git is asked through its files, not through a library: finding the home must cost nothing.
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from vespera_orchestrator._model import Artifact, Dependency, Session, Task, TaskQuery, is_id
from vespera_orchestrator.errors import (
    ArtifactNotFoundError,
    ClosedError,
    InvalidInputError,
    ReadOnlyError,
    SessionNotFoundError,
    StoreUnavailableError,
    TaskNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator.contracts import Embedder, Store

HOME_NAME = ".task_orchestrator"
ENV_SESSION = "MCP_ORCHESTRATOR_SESSION"
ENV_HOME = "VESPERA_ORCHESTRATOR_HOME"
ENV_STORE = "VESPERA_ORCHESTRATOR_STORE"
ENV_CONTENT = "VESPERA_ORCHESTRATOR_CONTENT"
ENV_AGENT = "VESPERA_ORCHESTRATOR_AGENT"
ENV_EMBEDDER = "VESPERA_ORCHESTRATOR_EMBEDDER"
DEFAULT_AGENT = "main"

# --- the home ---------------------------------------------------------------


def git_common_dir(path: Path) -> Path | None:
    """Return the git directory that all worktrees of the repository around *path* share, or ``None`` outside of one.

    Follows a ``.git`` file (linked worktree, submodule, separate git directory) and its ``commondir``; recognises a bare repository.
    """
    for folder in (path, *path.parents):
        dot_git = folder / ".git"
        if dot_git.is_dir():
            return dot_git
        if dot_git.is_file():
            return _follow(dot_git)
        if (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir():
            return folder
    return None


def _follow(dot_git: Path) -> Path | None:
    match = re.match(r"gitdir: (.*)", dot_git.read_text("utf-8", "surrogateescape"))
    if match is None:
        return None
    git_dir = (dot_git.parent / match[1].strip()).resolve()
    common = git_dir / "commondir"
    if not git_dir.is_dir():
        return None  # the repository it belonged to is gone
    if common.is_file():
        return (git_dir / common.read_text("utf-8", "surrogateescape").strip()).resolve()
    return git_dir


def main_folder(common_dir: Path) -> Path:
    """Return the folder of a repository's main worktree; for a bare repository the repository itself."""
    if common_dir.name == ".git":
        return common_dir.parent
    config = common_dir / "config"
    if config.is_file():
        match = re.search(r"^\s*worktree\s*=\s*(.+?)\s*$", config.read_text("utf-8", "surrogateescape"), re.MULTILINE | re.IGNORECASE)
        if match is not None:
            return (common_dir / match[1].strip('"')).resolve()
    return common_dir


@attrs.frozen
class Config:
    """The settings of ``config.toml``. Whatever it does not name keeps its default."""

    project: str | None = None
    """The project's folder, where the home lies elsewhere."""
    content: str | None = None
    """Address of the content store, where it is not the folder ``artifacts/`` of the home."""
    durability: str | None = None
    """``full`` or ``normal``; see `Orchestrator.open`."""
    worktrees_root: str = "../worktrees"
    """Where worktrees go, relative to the project's folder. ``{project}``, ``{session}`` and ``{agent}`` are filled in."""
    branch_prefix: str = "feature/"
    """What stands before the alias in a branch's name; filled in likewise."""
    integration_branch: str = "integration"
    max_file_bytes: int = 50_000_000
    """Larger untracked files are left out of snapshots, and named."""
    heartbeat_save_s: int = 0
    """A heartbeat within so many seconds of the last save only renews the hold; 0 saves with each."""
    merge_style: str = "squash"
    """How work lands: ``squash``, ``merge`` or ``fast-forward``."""
    check: str | list[str] | None = None
    """Command that is run on the merged files before they land."""
    check_timeout_s: int = 600
    """How long it may take, in seconds."""
    undoing: str = "warn"
    """What happens when work would undo what others landed: ``warn`` or ``refuse``."""
    documents: bool = True
    """Whether project documents are kept, for sessions that have a project type."""
    embedder: str = "auto"
    """What makes the vectors of the search: ``auto``, ``none``, or ``NAME:MODEL``; see `Orchestrator.open`."""


def _command(value: object) -> str | None:
    words = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return None if value and (words or isinstance(value, str)) else 'should be a list of words (["pytest", "-q"]) or a line for the shell'


def _mistake(value: object, allowed: object) -> str | None:
    """Return what is wrong with the value of a setting, or ``None``."""
    if isinstance(allowed, tuple):
        return None if value in allowed else f"should be one of {', '.join(allowed)}"
    if isinstance(allowed, type):
        return None if type(value) is allowed else f"should be of type {allowed.__name__}"
    return _command(value)


_CONFIG_KEYS: dict[tuple[str, str], tuple[str, object]] = {
    ("", "project"): ("project", str),
    ("", "content"): ("content", str),
    ("store", "durability"): ("durability", str),
    ("worktrees", "root"): ("worktrees_root", str),
    ("worktrees", "branch_prefix"): ("branch_prefix", str),
    ("worktrees", "integration_branch"): ("integration_branch", str),
    ("worktrees", "max_file_bytes"): ("max_file_bytes", int),
    ("worktrees", "heartbeat_save_s"): ("heartbeat_save_s", int),
    ("worktrees", "merge_style"): ("merge_style", ("squash", "merge", "fast-forward")),
    ("worktrees", "check"): ("check", _command),
    ("worktrees", "check_timeout_s"): ("check_timeout_s", int),
    ("worktrees", "undoing"): ("undoing", ("warn", "refuse")),
    ("documents", "enabled"): ("documents", bool),
    ("search", "embedder"): ("embedder", str),
}
"""For each setting its field, and what it may be: a type, one of some words, or what a function says of it."""

_CONFIG_TEXT = """\
# Settings of this home. Every line is optional; what stands here as a comment is the default.
{project}# content = "s3://bucket/folder"       # where the bytes of artifacts go, instead of artifacts/; also file://, gs://, az://

[store]
# durability = "full"                 # "normal": faster on slow disks; a power cut may then take the last moments

[worktrees]
# root = "../worktrees"               # relative to the project's folder; {{project}}, {{session}} and {{agent}} are filled in
# branch_prefix = "feature/"          # before the task's alias; filled in likewise
# integration_branch = "integration"  # where finished work goes
# max_file_bytes = 50000000           # larger untracked files are left out of snapshots, and named
# heartbeat_save_s = 0                # a heartbeat within so many seconds of the last save only renews the hold; 0: each saves
# merge_style = "squash"              # one commit for each task; "merge": with the worktree's own commits; "fast-forward"
# check = ["pytest", "-q"]            # run on the merged files before they land; none by default
# check_timeout_s = 600
# undoing = "warn"                    # when work would undo what others landed: "warn" or "refuse"

[documents]
# enabled = true                      # keep docs/ up to date in sessions that have a project type

[search]
# embedder = "auto"                   # "none", or e.g. "sentence-transformers:all-MiniLM-L6-v2", "ollama:nomic-embed-text"
"""


def _read_config(path: Path) -> Config:
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Config()
    except OSError as exc:
        raise translate_os_error(exc, path) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidInputError(str(path), f"is not valid TOML: {exc}; correct it, or delete it for the defaults") from exc
    flat = {("", k): v for k, v in raw.items() if not isinstance(v, dict)}
    flat |= {(section, k): v for section, table in raw.items() if isinstance(table, dict) for k, v in table.items()}
    values: dict[str, Any] = {}
    for key, value in flat.items():
        name = ".".join(part for part in key if part)
        if key not in _CONFIG_KEYS:
            known = ", ".join(".".join(p for p in k if p) for k in _CONFIG_KEYS)
            raise InvalidInputError(str(path), f"unknown setting {name!r}; known: {known}")
        field, allowed = _CONFIG_KEYS[key]
        if (mistake := _mistake(value, allowed)) is not None:
            raise InvalidInputError(str(path), f"{name} = {value!r} {mistake}")
        values[field] = value
    return Config(**values)


@attrs.frozen
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
        """There when records of another store than the home's own refer to the content as well."""
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
    def locate(cls, path: str | os.PathLike[str] = ".", home: str | os.PathLike[str] | None = None) -> Home:
        """Find the home for *path* without creating anything.

        Order: *home*, then ``VESPERA_ORCHESTRATOR_HOME``, then the main worktree of the git repository around *path*, then the nearest
        folder upward that has a home, then *path* itself.
        """
        for name, given in (("path", path), ("home", home or "")):
            if not isinstance(os.fspath(given) if isinstance(given, os.PathLike) else given, str):
                raise InvalidInputError(name, f"{given!r} should be the path of a folder")
        start = Path(path).expanduser().resolve()
        chosen = home or os.environ.get(ENV_HOME)
        try:
            if not start.is_dir():
                raise InvalidInputError("path", f"{str(start)!r} is not a folder; create it first, or give the project's folder")
            project = _project_folder(start)
        except OSError as exc:
            raise translate_os_error(exc, start) from exc
        place = Path(chosen).expanduser().resolve() if chosen else project / HOME_NAME
        config = _read_config(place / "config.toml")
        if config.project:
            project = (place / config.project).resolve()
        elif chosen and place.name == HOME_NAME:
            project = place.parent
        return cls(place, project, config)

    def create(self) -> Home:
        """Make the folder and its fixed files where they are missing. Several processes may do so at once."""
        try:
            for folder in (self.path, self.artifacts, self.templates, self.locks):
                folder.mkdir(parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                write_atomically(ignore, "*\n")
            config = self.path / "config.toml"
            if not config.exists():
                outside = self.path != self.project / HOME_NAME
                line = f"project = {_toml_string(str(self.project))}\n" if outside else ""
                write_atomically(config, _CONFIG_TEXT.format(project=line))
        except OSError as exc:
            raise translate_os_error(exc, self.path) from exc
        return self


def _project_folder(start: Path) -> Path:
    common = git_common_dir(start)
    if common is not None:
        return main_folder(common)
    for folder in (start, *start.parents):
        if (folder / HOME_NAME).is_dir():
            return folder
    return start


def _toml_string(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_atomically(path: Path, text: str) -> None:
    """Replace the file as a whole: a reader sees the old text or the new, whatever kills the writer."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    # The only way to read it is to set it; 0o022 is what it nearly always is, and keeps other threads safe.
    try:
        return int(re.search(r"^Umask:\s*(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1], 8)  # type: ignore[index]
    except (OSError, TypeError):
        return 0o022


def translate_os_error(exc: OSError, path: Path) -> ReadOnlyError | StoreUnavailableError:
    """Turn an `OSError` from below the home into the branch of ours a caller can act on."""
    import errno

    if exc.errno in (errno.ENOTDIR, errno.EEXIST):
        return ReadOnlyError(str(exc.filename or path), "a file stands where a folder should be: move it away")
    if exc.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return ReadOnlyError(str(path), exc.strerror or str(exc))
    if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreUnavailableError(str(path), f"no room to write ({exc.strerror}): free some disk space")
    return StoreUnavailableError(str(path), f"the system said: {exc}")


# --- which session, which task ----------------------------------------------


class Scope:
    """What a call is about when it does not say so: the home, the store, the agent, the session.

    The rooms below the façade are given one, so that all of them resolve names in the same way.
    """

    def __init__(
        self,
        home: Home,
        store: Store,
        *,
        agent: str | None = None,
        session_id: str | None = None,
        embedder: str | Embedder | None = None,
    ) -> None:
        self.home = home
        self._store = store
        self._closed = False
        self.agent = agent or os.environ.get(ENV_AGENT) or DEFAULT_AGENT
        self.pinned = session_id
        """The session that this process chose itself."""
        self.embedder: str | Embedder = embedder or os.environ.get(ENV_EMBEDDER, "").strip() or home.config.embedder
        """What makes vectors, as it was asked for; nothing is loaded for it here."""

    @property
    def store(self) -> Store:
        """The store. Asked for anew by every room at every call: that is how all of them notice that they were closed.

        Raises:
            ClosedError: `close` was called.
        """
        self.require_open()
        return self._store

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def require_open(self) -> None:
        """Raise `ClosedError` when `close` was called."""
        if self._closed:
            raise ClosedError

    def close(self) -> None:
        """Give no store out any more, to no room, whoever the store belongs to."""
        self._closed = True

    def session_id(self, ref: str | Session | None = None) -> str:
        """Return the id of the session that is meant: *ref*, the pinned one, the environment's, the active one.

        Raises:
            SessionNotFoundError: None is active.
        """
        if ref is not None:
            return ref.id if isinstance(ref, Session) else ref
        found = self.pinned or os.environ.get(ENV_SESSION, "").strip() or self._active()
        if not found:
            raise SessionNotFoundError(None)
        return found

    def session(self, ref: str | Session | None = None) -> Session:
        """Return the session that is meant.

        Raises:
            SessionNotFoundError: None is active, or there is none with this id.
        """
        session_id = self.session_id(ref)
        session = self.store.find_session(session_id)
        if session is None:
            raise SessionNotFoundError(session_id)
        return session

    def activate(self, session_id: str) -> None:
        """Make the session the active one, for this process and for those that come later."""
        self.pinned = session_id
        try:
            write_atomically(self.home.active_session, session_id + "\n")
        except OSError as exc:
            raise translate_os_error(exc, self.home.active_session) from exc

    def _active(self) -> str | None:
        try:
            return self.home.active_session.read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def task(self, ref: str | Task) -> Task:
        """Return the task with this id, or with this alias in the session.

        Raises:
            TaskNotFoundError: With aliases that look alike.
        """
        ref = reference(ref)
        session_id = None if is_id(ref) else self.session_id()
        task = self.store.find_task(ref, session_id)
        if task is None:
            raise TaskNotFoundError(ref, self._similar(ref, session_id) if session_id else ())
        return task

    def _similar(self, ref: str, session_id: str) -> tuple[str, ...]:
        titled = [task.alias for task in self.store.tasks(TaskQuery(session_id=session_id, text=ref, limit=3))]
        near = difflib.get_close_matches(ref, self.store.aliases(session_id), 3)
        return tuple(dict.fromkeys([*titled, *near]))[:3]

    def artifact(self, ref: str | Artifact) -> Artifact:
        """Return the artifact with this id.

        Raises:
            ArtifactNotFoundError: There is none.
        """
        artifact_id = ref.id if isinstance(ref, Artifact) else ref
        artifact = self.store.find_artifact(artifact_id)
        if artifact is None:
            raise ArtifactNotFoundError(artifact_id)
        return artifact


def reference(ref: str | Task | Dependency) -> str:
    """Return what names the task in *ref*."""
    named: object = ref.id if isinstance(ref, Task) else ref.task if isinstance(ref, Dependency) else ref
    if not isinstance(named, str) or not named:
        raise InvalidInputError("task", f"{named!r} names none; give an id, an alias or a Task")
    return named


# --- what a child inherits --------------------------------------------------


@attrs.frozen(repr=False)
class AgentContext:
    """What a spawned agent is given: the session, the artifacts that bear on its task, and the environment to start it with."""

    parent_session: Session
    task: Task | None
    agent: str
    inherited_artifacts: tuple[Artifact, ...]
    """Records, not contents: ``orch.artifacts.read(a)`` gives the bytes. Nearest first."""
    home: Path
    store_url: str = attrs.field(repr=False)
    """It may hold a password."""
    content_url: str | None = None
    """Where the bytes of artifacts are, when not in the home or where its settings say."""
    embedder: str | None = None
    """What makes vectors, where it was named; an object cannot be handed on."""

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment for the child process: *base* (by default this process's) with the names that make it join the session.

        ``subprocess.Popen([...], env=context.environ())``; in the child ``vespera_orchestrator.open()`` is in the session.

        Raises:
            InvalidInputError: The store lives in this process's memory; no child can share it.
        """
        if self.store_url == "memory:":
            raise InvalidInputError("store", "a memory: store cannot be shared with another process; open a file store instead")
        if self.content_url is not None and self.content_url.startswith("memory:"):
            raise InvalidInputError("content", "memory:// cannot be shared with another process; give another address")
        inherited = dict(os.environ if base is None else base)
        inherited[ENV_SESSION] = self.parent_session.id
        inherited[ENV_HOME] = str(self.home)
        inherited[ENV_STORE] = self.store_url
        inherited[ENV_AGENT] = self.agent
        if self.content_url is not None:
            inherited[ENV_CONTENT] = self.content_url
        if self.embedder is not None:
            inherited[ENV_EMBEDDER] = self.embedder
        return inherited

    def __repr__(self) -> str:
        of = f" for {self.task.alias}" if self.task else ""
        return f"<AgentContext of {self.agent!r}{of} in {self.parent_session.id}, {len(self.inherited_artifacts)} artifacts>"

    @classmethod
    def of(cls, scope: Scope, *, task: Task | None, agent: str, artifacts: tuple[Artifact, ...], content_url: str | None = None) -> Self:
        """Collect what a child of this scope is given."""
        embedder = scope.embedder if isinstance(scope.embedder, str) else None
        return cls(scope.session(), task, agent, artifacts, scope.home.path, scope.store.url, content_url, embedder)

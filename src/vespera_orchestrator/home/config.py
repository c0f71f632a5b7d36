"""The settings of a home: ``config.toml``, and the environment variables that go before it.

A setting is declared once, as a field of its section's class. What a new ``config.toml`` says about
it, the keys that are known, the check of its value and its environment variable all follow from
the field. The file is read without `_codec.converter`: each start would wait for cattrs, and
``"5"`` would do for a number.
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError, ReadOnlyError
from vespera_orchestrator.home.files import stays_inside, translate_os_error
from vespera_orchestrator.home.reading import read_small_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ENV_SESSION: Final = "MCP_ORCHESTRATOR_SESSION"
ENV_HOME: Final = "VESPERA_ORCHESTRATOR_HOME"
ENV_STORE: Final = "VESPERA_ORCHESTRATOR_STORE"
ENV_CONTENT: Final = "VESPERA_ORCHESTRATOR_CONTENT"
ENV_ACCESS: Final = "VESPERA_ORCHESTRATOR_ACCESS"
ENV_AGENT: Final = "VESPERA_ORCHESTRATOR_AGENT"
ENV_EMBEDDER: Final = "VESPERA_ORCHESTRATOR_EMBEDDER"

_HEADING: Final = (
    "# Settings of this home. Every line is optional; a comment shows the default, or an example.\n"
)


_MOST_DIGESTS: Final = 3
_LAST_HOUR: Final = 23


# --- how a setting is declared -----------------------------------------------


@attrs.frozen(kw_only=True)
class _Setting:
    """What is known about a setting beside its name, its type and its default."""

    check: Callable[[object], str | None]
    """Returns what is wrong with a value, or ``None``."""
    comment: str
    """What a new ``config.toml`` says about it."""
    example: object
    """The value that it shows there; ``None`` leaves the setting out."""
    variable: str | None
    """The environment variable that goes before the file."""
    from_file: Callable[[str, Path], str]
    """Turns a text in the file into the value, given the folder of the file."""
    from_variable: Callable[[str], object]
    """Turns the text of the environment variable into a value, which is checked next."""
    power: str
    """What the setting makes this program do outside of the home; empty if nothing. See `trust`."""


def _setting(
    default: Any,
    comment: str = "",
    *,
    check: Callable[[object], str | None] | None = None,
    example: object = None,
    variable: str | None = None,
    from_file: Callable[[str, Path], str] = lambda value, _: value,
    power: str = "",
) -> Any:
    """Declare a setting; by default its values are of the type of *default*."""
    setting = _Setting(
        check=check or _of_type(type(default)),
        comment=comment,
        example=default if example is None else example,
        variable=variable,
        from_file=from_file,
        from_variable=_FROM_TEXT.get(type(default), str),
        power=power,
    )
    return attrs.field(default=default, metadata={_Setting: setting})


def _whole_number(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        return text  # the check refuses it


def _truth_value(text: str) -> object:
    return {"true": True, "false": False}.get(text.lower(), text)


_FROM_TEXT: Final[dict[type, Callable[[str], object]]] = {
    int: _whole_number,
    bool: _truth_value,
}
"""What an environment variable's text means, by the type of the setting."""


def _of_type(kind: type) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        if type(value) is not kind:
            return f"should be of type {kind.__name__}"
        return _unprintable(value)

    return check


def _path(value: object) -> str | None:
    if isinstance(value, str) and "\0" not in value:
        return None
    return "should be the path of a folder"


def _unprintable(value: object) -> str | None:
    """Return what is wrong with a text that no name, path or address can be."""
    if isinstance(value, str) and not value.isprintable():
        return "should have no control characters"
    return None


_MOST: Final = 2**53
"""The largest whole number that JSON and every database keep exactly."""


def _at_least(least: int) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        if type(value) is int and least <= value <= _MOST:
            return None
        return f"should be a whole number, at least {least}"

    return check


def _amount(least: int) -> Callable[[object], str | None]:
    return lambda value: _of_type(int)(value) or _at_least(least)(value)


def _one_of(*words: str) -> Callable[[object], str | None]:
    def check(value: object) -> str | None:
        if value in words:
            return None
        return f"should be one of {', '.join(words)}"

    return check


def _command(value: object) -> str | None:
    is_list = isinstance(value, list) and all(isinstance(word, str) for word in value)
    if value and (is_list or isinstance(value, str)):
        return None
    return 'should be a list of words (["pytest", "-q"]) or a line for the shell'


def _inside_project(value: object) -> str | None:
    if isinstance(value, str) and stays_inside(value):
        return None
    return "should be a path inside the project, relative to its folder"


def _hours(value: object) -> str | None:
    hours = value if isinstance(value, list) else []
    are_hours = all(type(hour) is int and 0 <= hour <= _LAST_HOUR for hour in hours)
    if are_hours and 1 <= len(hours) <= _MOST_DIGESTS:
        return None
    return "should be a list of one to three full hours from 0 to 23 ([9, 13, 18])"


def _words(value: object) -> str | None:
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return None
    return 'should be a list of names (["ARCHITECTURE.md"])'


def _paths_by_name(value: object) -> str | None:
    if not isinstance(value, dict):
        return 'should be a table ({"CHANGELOG.md" = "CHANGELOG.md"})'
    for path in value.values():
        problem = _inside_project(path)
        if problem is not None:
            return problem
    return None


def _names(value: object) -> str | None:
    if isinstance(value, list) and all(isinstance(name, str) and name for name in value):
        return None
    return 'should be a list of names (["node_modules"])'


_RELATIVE_SQLITE: Final = re.compile(r"sqlite:///(?=[^/])")


def _relative_to_home(address: str, home: Path) -> str:
    """Return a store's address whose relative path starts at the home, wherever that is moved."""
    return _RELATIVE_SQLITE.sub(lambda scheme: f"{scheme[0]}{home}/", address)


def _section(kind: type) -> Any:
    """Declare a section; its name is that of the field."""
    return attrs.field(factory=kind, metadata={_section: kind})


# --- the settings ------------------------------------------------------------


@attrs.frozen(kw_only=True)
class StoreSettings:
    """Section ``[store]``."""

    url: str | None = _setting(
        None,
        "where the records are, instead of orchestrator.db; a relative path starts at this folder",
        check=_of_type(str),
        example="postgresql://host/database",
        variable=ENV_STORE,
        from_file=_relative_to_home,
        power="keeps the records there",
    )
    """Address of the store, where it is not the home's own; see `Orchestrator.open`."""
    durability: str | None = _setting(
        None,
        '"normal": faster on slow disks; a power cut may then take the last moments',
        check=_one_of("full", "normal"),
        example="full",
    )
    """``full`` or ``normal``; see `Orchestrator.open`."""


@attrs.frozen(kw_only=True)
class WorktreeSettings:
    """Section ``[worktrees]``."""

    root: str = _setting(
        "../worktrees",
        "relative to the project's folder; {project}, {session} and {agent} are filled in",
        power="makes worktrees there",
    )
    """Where worktrees go."""
    branch_prefix: str = _setting(
        "feature/", "before the task's alias; the same words are filled in"
    )
    """What a branch's name starts with, before the alias."""
    integration_branch: str = _setting("integration", "where finished work goes")
    """The branch where finished work goes."""
    max_file_bytes: int = _setting(
        50_000_000,
        "larger untracked files are left out of snapshots, and named",
        check=_amount(0),
    )
    """Size up to which untracked files are saved."""
    heartbeat_save_s: int = _setting(
        0,
        "a heartbeat this soon after a save only renews the lease; 0: each one saves",
        check=_amount(0),
    )
    """Minimum seconds between a save and the next heartbeat save."""
    merge_style: str = _setting(
        "squash",
        'one commit for each task; "merge": with the worktree\'s own commits; "fast-forward"',
        check=_one_of("squash", "merge", "fast-forward"),
    )
    """How work lands."""
    check: str | list[str] | None = _setting(
        None,
        "run on the merged files before they land; none by default",
        check=_command,
        example=["pytest", "-q"],
        power="runs this command",
    )
    """Command that is run on the merged files before they land."""
    check_timeout_s: int = _setting(600, check=_amount(1))
    """How long the command may take, in seconds."""
    setup: str | list[str] | None = _setting(
        None,
        "run in each new worktree first; {index}, {task} and {project} are filled in",
        check=_command,
        example=["npm", "ci"],
        power="runs this command",
    )
    """Command that is run in a new worktree before anybody works there, and before each check."""
    setup_timeout_s: int = _setting(600, check=_amount(1))
    """How long that command may take, in seconds."""
    link: list[str] | None = _setting(
        None,
        "ignored files and folders of the main worktree that new ones get as links",
        check=_names,
        example=["node_modules"],
        power="links these files into worktrees",
    )
    """Ignored files and folders that worktrees get as links to those of the main one."""
    undoing: str = _setting(
        "warn",
        'when work would undo what others landed: "warn" or "refuse"',
        check=_one_of("warn", "refuse"),
    )
    """What happens when work would undo what others landed."""


@attrs.frozen(kw_only=True)
class DocumentSettings:
    """Section ``[documents]``."""

    enabled: bool = _setting(True, "keep docs/ up to date in sessions that have a project type")
    """Whether project documents are kept."""
    folder: str = _setting(
        "docs",
        "where they are, relative to the project's folder",
        check=_inside_project,
        power="writes documents there",
    )
    """The folder of the documents, relative to the project's."""
    exclude: list[str] = _setting(
        [],
        "documents that are not kept",
        check=_words,
        example=["ARCHITECTURE.md"],
    )
    """Names of documents that are not kept."""
    names: dict[str, str] = _setting(
        {},
        "other paths for single documents",
        check=_paths_by_name,
        example={"CHANGELOG.md": "CHANGELOG.md"},
        power="writes documents there",
    )
    """Other paths for single documents, relative to the project's folder."""


@attrs.frozen(kw_only=True)
class SearchSettings:
    """Section ``[search]``."""

    embedder: str = _setting(
        "auto",
        '"none", or e.g. "sentence-transformers:all-MiniLM-L6-v2", "ollama:nomic-embed-text"',
        variable=ENV_EMBEDDER,
        power="loads or calls this model",
    )
    """What makes the vectors; see `Orchestrator.open`."""


@attrs.frozen(kw_only=True)
class DelegationSettings:
    """Section ``[delegation]``."""

    coordinator: str = _setting(
        "coordinator", "the agent that coordinates; so does whoever spawns agents"
    )
    """The name of the agent that coordinates. An agent that spawns others coordinates, too."""
    coordinator_executes: str = _setting(
        "light",
        'what the coordinator is handed when it names no task: "light", "all" or "none"',
        check=_one_of("light", "all", "none"),
    )
    """What ``execute_task()`` hands to the coordinator. What it names it always gets."""
    synthesize: bool = _setting(
        True, "bring the results of subtasks together when the last one ends"
    )
    """Whether results are brought together when the last subtask of a task ends."""
    empty_rounds: int = _setting(
        3,
        "handed back so often without progress, a task is blocked; 0: never",
        check=_at_least(0),
    )
    """After so many attempts in a row that were handed back without progress (no new checkpoint, no
    new artifact, no subtask, no changed file) the task is blocked, and a person says what is
    missing."""


@attrs.frozen(kw_only=True)
class PressureSettings:
    """Section ``[pressure]``. The counts say from where on a cause weighs fully."""

    strained_at: int = _setting(40, "from this score on it is strained", check=_at_least(1))
    """The score from which it is strained."""
    overwhelmed_at: int = _setting(70, "from this score on it is overwhelmed", check=_at_least(1))
    """The score from which it is overwhelmed."""
    calm_margin: int = _setting(15, "a level ends this much below", check=_at_least(0))
    """A level ends when the score is this much below where it began."""
    hold_minutes: int = _setting(30, "and lasts at least this long", check=_at_least(0))
    """A level lasts at least this long, unless the person says otherwise."""
    capacity: int = _setting(4, "as many tasks at once as you can follow", check=_at_least(1))
    """As many tasks at once as somebody can follow. Half as many are handed out when strained."""
    limit_claims: bool = _setting(True, "hand out fewer tasks at once under pressure")
    """Whether fewer tasks are handed out at once under pressure."""
    checkpoint_minutes: int = _setting(
        10, "running work saves itself this often; 0: never", check=_at_least(0)
    )
    """How often running work saves itself; twice and four times as often under pressure."""
    failures: int = _setting(6, "so many blocked attempts in a day weigh fully", check=_at_least(1))
    """Blocked attempts in a day."""
    retries: int = _setting(8, "so many second and later attempts in a day", check=_at_least(1))
    """Second and later attempts in a day."""
    expired_leases: int = _setting(4, "so many silent agents in a day", check=_at_least(1))
    """Agents that stopped responding, in a day."""
    growth: int = _setting(40, "so many more tasks planned than ended in a day", check=_at_least(1))
    """How many more tasks were planned than ended, in a day."""
    conflicts: int = _setting(3, "so many landings not settled", check=_at_least(1))
    """Landings that are not settled."""
    unseen: int = _setting(20, "so many finished tasks nobody has seen", check=_at_least(1))
    """Finished tasks that nobody has looked at."""
    hours: int = _setting(8, "so many hours without a break", check=_at_least(1))
    """Hours without a break."""
    break_minutes: int = _setting(45, "what counts as a break", check=_at_least(1))
    """How long nothing must happen to count as a break, in minutes."""
    unsaved_minutes: int = _setting(120, "so long without saving running work", check=_at_least(1))
    """How long running work has not been saved, in minutes."""


@attrs.frozen(kw_only=True)
class PersonSettings:
    """Section ``[person]``."""

    timezone: str | None = _setting(
        None,
        "where you are: a date is a day there",
        check=_of_type(str),
        example="Europe/Berlin",
    )
    """The time zone in which dates are meant; by default that of the machine."""
    digest_hours: list[int] = _setting(
        [9, 13, 18], "from these hours on, there is one digest each; three at most", check=_hours
    )
    """The hours from which on there is one digest each, at most three."""


@attrs.frozen(kw_only=True)
class LowEnergySettings:
    """Section ``[low_energy]``: who sees one step at a time. Your own word goes before it."""

    people: list[str] | None = _setting(
        None,
        "who always sees one step at a time, by agent name",
        check=_names,
        example=["main"],
    )
    """Who always sees one step at a time, until they say ``normal``."""
    when_overwhelmed: bool = _setting(True, "everybody does while it is overwhelmed")
    """Whether everybody sees one step at a time while it is overwhelmed."""
    days_away: int = _setting(
        0, "whoever comes back after so many days does at first; 0: nobody", check=_at_least(0)
    )
    """After how many days away somebody sees one step first; 0 for never."""


@attrs.frozen(kw_only=True)
class Config:
    """The settings in ``config.toml``. What the file does not name keeps its default."""

    project: str | None = _setting(None, check=_path, power="makes that folder the project")
    """The project's folder, where the home is elsewhere."""
    content: str | None = _setting(
        None,
        "where the bytes of artifacts go, instead of artifacts/; also file://, gs://, az://",
        check=_of_type(str),
        example="s3://bucket/folder",
        variable=ENV_CONTENT,
        power="sends the bytes of artifacts there",
    )
    """Address of the content store, where it is not the folder ``artifacts/`` of the home."""
    access: str = _setting(
        "user",
        '"group": the group of its folder may read and write this home, too',
        check=_one_of("user", "group"),
        variable=ENV_ACCESS,
        power="lets your group read and write it",
    )
    """``user`` or ``group``; see [Security](../security.md)."""
    store: StoreSettings = _section(StoreSettings)
    worktrees: WorktreeSettings = _section(WorktreeSettings)
    documents: DocumentSettings = _section(DocumentSettings)
    delegation: DelegationSettings = _section(DelegationSettings)
    pressure: PressureSettings = _section(PressureSettings)
    person: PersonSettings = _section(PersonSettings)
    low_energy: LowEnergySettings = _section(LowEnergySettings)
    search: SearchSettings = _section(SearchSettings)


def _sections() -> Iterator[tuple[str, type]]:
    """Yield each section's name and class; settings outside of any have the name ``""``."""
    yield "", Config
    for field in attrs.fields(Config):
        if _section in field.metadata:
            yield field.name, field.metadata[_section]


def _settings(section: type) -> Iterator[tuple[str, _Setting]]:
    for field in attrs.fields(section):
        if _Setting in field.metadata:
            yield field.name, field.metadata[_Setting]


def _dotted(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


# --- reading -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class FileSettings:
    """What a ``config.toml`` says, checked, before anybody has decided what of it counts."""

    values: Mapping[str, Mapping[str, Any]]
    """The values that the file sets, by section and key."""

    def powers(self) -> dict[str, tuple[object, str]]:
        """Return the settings that reach beyond the home: value and effect, by dotted name."""
        powers = {}
        for name, kind in _sections():
            for key, setting in _settings(kind):
                value = self.values[name].get(key)
                default = getattr(attrs.fields(kind), key).default
                if setting.power and value is not None and value != default:
                    powers[_dotted(name, key)] = value, setting.power
        return powers

    def config(self, *, with_environment: bool = True, is_trusted: bool = True) -> Config:
        """Return the settings that count, those of the environment first.

        Args:
            with_environment: Whether the environment is about this home, see `locate.Home.locate`.
            is_trusted: Whether the settings count that reach beyond the home.

        Raises:
            InvalidInputError: A variable is wrong.
        """
        withheld = {} if is_trusted else self.powers()
        chosen = {}
        for name, kind in _sections():
            of_file = self.values[name].items()
            chosen[name] = {
                key: value for key, value in of_file if _dotted(name, key) not in withheld
            }
            if with_environment:
                chosen[name] |= _environment_values(kind)
        sections = {name: kind(**chosen[name]) for name, kind in _sections() if name}
        return Config(**chosen[""], **sections)


def read_settings(path: Path) -> FileSettings:
    """Return the settings in the file at *path*; it need not exist.

    Raises:
        InvalidInputError: With the file, the setting, and what is allowed.
        StoreUnavailableError: The file cannot be read.
    """
    tables = _read_tables(path)
    _refuse_unknown(path, tables)
    values = {
        name: _section_values(path, name, kind, tables.get(name, {})) for name, kind in _sections()
    }
    return FileSettings(values=values)


def _read_tables(path: Path) -> dict[str, dict[str, Any]]:
    """Return the tables of the file by name; what stands outside of any has the name ``""``."""
    raw = _read_toml(path)
    tables: dict[str, dict[str, Any]] = {"": {}}
    for key, value in raw.items():
        if isinstance(value, dict):
            tables[key] = value
        else:
            tables[""][key] = value
    return tables


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_small_text(path))
    except FileNotFoundError:
        return {}
    except PermissionError as exc:
        raise ReadOnlyError(str(path), f"it cannot be read either: {exc.strerror}") from exc
    except OSError as exc:
        raise translate_os_error(exc, path) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InvalidInputError(
            str(path), f"is not valid TOML: {exc}; correct it, or delete it for the defaults"
        ) from exc


def _refuse_unknown(path: Path, tables: dict[str, dict[str, Any]]) -> None:
    known = [(name, key) for name, kind in _sections() for key, _ in _settings(kind)]
    for name, table in tables.items():
        for key in table:
            if (name, key) not in known:
                setting = _dotted(name, key)
                listed = ", ".join(_dotted(*pair) for pair in known)
                problem = f"unknown setting {setting!r}; known: {listed}"
                raise InvalidInputError(str(path), problem)


def _section_values(path: Path, name: str, kind: type, table: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for key, setting in _settings(kind):
        if key in table:
            value = table[key]
            problem = setting.check(value)
            if problem is not None:
                setting_name = _dotted(name, key)
                raise InvalidInputError(
                    str(path), f"{setting_name} = {show_value(value)} {problem}"
                )
            is_text = isinstance(value, str)
            values[key] = setting.from_file(value, path.parent) if is_text else value
    return values


def _environment_values(kind: type) -> dict[str, object]:
    values = {}
    for key, setting in _settings(kind):
        variable = setting.variable or ""
        text = os.environ.get(variable, "").strip()
        if text:
            value = setting.from_variable(text)
            problem = setting.check(value)
            if problem is not None:
                raise InvalidInputError(variable, f"{show_value(value)} {problem}")
            values[key] = value
    return values


# --- writing -----------------------------------------------------------------


def initial_text(project: Path | None) -> str:
    """Return what a new ``config.toml`` says: every setting, as a comment.

    Args:
        project: The project's folder, where the home is elsewhere.
    """
    text = _HEADING
    if project is not None:
        text += f"project = {_toml(str(project))}\n"
    for name, kind in _sections():
        if name:
            text += f"\n[{name}]\n"
        column = 38 if name else 39
        for key, setting in _settings(kind):
            if setting.example is not None:
                text += _comment_line(key, setting, column)
    return text


def _comment_line(key: str, setting: _Setting, column: int) -> str:
    line = f"# {key} = {_toml(setting.example)}"
    if setting.comment:
        line = f"{line:{column - 1}} # {setting.comment}"
    return f"{line}\n"


def _toml(value: object) -> str:
    import json

    if isinstance(value, dict):
        pairs = [f"{_toml(key)} = {_toml(item)}" for key, item in value.items()]
        return f"{{{', '.join(pairs)}}}"
    # JSON's texts, numbers, truth values and lists are TOML's, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

"""Reading roles: those of the library, then the project's own, which go before them.

A role is advice for whoever does a task. A project's own are YAML: short texts and lists of them,
nothing else. So a file from somebody else can say something wrong, and do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator._text import one_line
from vespera_orchestrator.agents.roles.packaged import BY_PROJECT_TYPE, PACKAGED
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.files import translate_os_error
from vespera_orchestrator.home.reading import read_small_file
from vespera_orchestrator.home.yaml_text import YamlMistakeError, read_plain_yaml

PROJECT_FILE: Final = Path("roles", "project_roles.yaml")
"""Where the project's own roles are, below its home."""
_MAX_BYTES: Final = 200_000
_MAX_TEXT: Final = 2000
_LISTS: Final = ("expertise", "approach")
_TEXTS: Final = ("role_definition", "output_format")
_KEYS: Final = (*_TEXTS, *_LISTS)


@attrs.frozen(kw_only=True)
class Role(Record):
    """Who a specialist is, what it is good at, how it works, and how it reports.

    ``str()`` is the text that a briefing shows.
    """

    name: str
    """What ``specialist_type`` says."""
    role_definition: str = ""
    """Who the specialist is, in a sentence or two."""
    expertise: tuple[str, ...] = ()
    """What it is good at, a few words each."""
    approach: tuple[str, ...] = ()
    """How it works, step by step."""
    output_format: str = ""
    """What it hands in."""

    json_form = JsonForm(rest="orch.roles()[{name!r}]", first=("name", "role_definition"))

    @property
    def headline(self) -> str:
        """Who the specialist is, on one line."""
        definition = one_line(self.role_definition, _MAX_TEXT)
        return f"Your role: {one_line(self.name, 100)}. {definition}".rstrip()

    @property
    def details(self) -> tuple[str, ...]:
        """What it is good at and how it works. No line can pass for a heading."""
        lines = [f"- {one_line(step, _MAX_TEXT)}" for step in self.approach]
        if self.expertise:
            expertise = one_line(", ".join(self.expertise), _MAX_TEXT)
            lines.append(f"You are good at: {expertise}.")
        return tuple(lines)

    def __str__(self) -> str:
        lines = [self.headline, *self.details]
        if self.output_format:
            lines.append(f"What you hand in: {one_line(self.output_format, _MAX_TEXT)}")
        return "\n".join(lines)


def read_roles(home: Path | None, project_type: str | None = None) -> dict[str, Role]:
    """Return all roles by name: those of the library, changed and extended by the project's own.

    Those of the library say what suits the type of the project, and without one what suits any.

    A role of the project replaces only what it says. So a project can give the coder another
    ``output_format``, and keep the rest.

    Args:
        home: The home's folder. Its file need not exist. ``None`` for the library's roles alone.
        project_type: The session's. One that the library does not know is like none.

    Raises:
        InvalidInputError: The file cannot be understood. Names the role and the key.
        StoreError: The file cannot be read.
    """
    roles = {name: Role(name=name, **fields) for name, fields in PACKAGED.items()}
    own = {} if home is None else _read_file(home / PROJECT_FILE)
    for changes in (BY_PROJECT_TYPE.get(project_type or "", {}), own):
        for name, fields in changes.items():
            known = roles.get(name) or Role(name=name)
            roles[name] = attrs.evolve(known, **fields)
    return roles


def role_named(roles: Mapping[str, Role], specialist: str) -> Role:
    """Return the role of this name. An unknown one is a role that its own words describe."""
    name = specialist.strip()
    role = roles.get(name) or roles.get(name.lower())
    return role or Role(name=name)


def _read_file(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = read_small_file(path, _MAX_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise translate_os_error(exc, path) from exc
    try:
        return _checked(path, read_plain_yaml(content))
    except YamlMistakeError as exc:
        raise InvalidInputError(str(path), one_line(str(exc), 300)) from exc


def _checked(path: Path, content: object) -> dict[str, dict[str, Any]]:
    if content is None:
        return {}
    if isinstance(content, Mapping) and set(content) == {"roles"}:
        content = content["roles"]
    if not isinstance(content, Mapping):
        raise InvalidInputError(str(path), "should map the name of each role to what it says")
    return {_name(path, name): _fields(path, name, said) for name, said in content.items()}


def _name(path: Path, name: object) -> str:
    if isinstance(name, str) and name.strip():
        return name.strip()
    raise InvalidInputError(str(path), f"{one_line(repr(name), 80)} is not the name of a role")


def _fields(path: Path, name: str, said: object) -> dict[str, Any]:
    if not isinstance(said, Mapping):
        problem = f"role {name!r} should have some of {', '.join(_KEYS)}"
        raise InvalidInputError(str(path), problem)
    for key in said:
        if key not in _KEYS:
            problem = f"role {name!r} has the unknown key {key!r}; known: {', '.join(_KEYS)}"
            raise InvalidInputError(str(path), problem)
    return {key: _value(path, f"{name}.{key}", key, value) for key, value in said.items()}


def _value(path: Path, place: str, key: str, value: object) -> str | tuple[str, ...]:
    """Return a text, or for a list its texts. A text in the place of a list is a list of one."""
    listed = value if isinstance(value, list) else [value]
    texts = [text for text in listed if isinstance(text, str)]
    if len(texts) < len(listed):
        raise InvalidInputError(str(path), f"{place} should be a text or a list of texts")
    return tuple(texts) if key in _LISTS else " ".join(texts)

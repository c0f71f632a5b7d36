"""The types of projects, and which documents each of them has.

They are data: ``project_types.yaml`` beside this module, and a file of that name in the home's
folder ``templates/``, which changes and extends them. A new document is a name in a type, and a
template beside the others. What its template can use comes from `sources`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.place import file_stamp
from vespera_orchestrator.errors import TemplateError
from vespera_orchestrator.home.links import refuse_links
from vespera_orchestrator.home.reading import read_small_file
from vespera_orchestrator.home.scope import find_type_name
from vespera_orchestrator.home.yaml_text import YamlMistakeError, read_plain_yaml

if TYPE_CHECKING:
    from vespera_orchestrator._model import Session
    from vespera_orchestrator.contracts import Store

_FILE: Final = "project_types.yaml"
_PACKAGED: Final = Path(__file__).with_name(_FILE)
_MAX_BYTES: Final = 100_000
_KEYS: Final = ("extends", "documents", "shows")
_SHOWS: Final = ("code", "changes", "research", "story")
_DOCUMENT: Final = re.compile(r"[\w-][\w .-]{0,80}\.md")
_NAME: Final = re.compile(r"[\w-]{1,80}")


@attrs.frozen(kw_only=True)
class ProjectType:
    """Which documents a type of project has, and what goes into them."""

    name: str
    documents: tuple[str, ...]
    """File names; the template of ``X.md`` is ``x.md.j2``."""
    shows: frozenset[str]
    """What is collected: ``code``, ``changes``, ``research``, ``story``."""

    @property
    def has_python_api(self) -> bool:
        """Whether the Python of the project is read."""
        return "code" in self.shows

    @property
    def has_changelog(self) -> bool:
        """Whether completed tasks are sorted into versions."""
        return "changes" in self.shows

    @property
    def has_research(self) -> bool:
        """Whether literature, methods and findings are collected."""
        return "research" in self.shows

    @property
    def has_fiction(self) -> bool:
        """Whether characters, chapters and the world are collected."""
        return "story" in self.shows


TOPICS: Final = {
    "changelog": ("changelog",),
    "api": ("api",),
    "design": ("design",),
    "decisions": ("decision",),
    "literature": ("literature",),
    "references": ("literature",),
    "methodology": ("methodology",),
    "deviations": ("deviation",),
    "findings": ("findings",),
    "withdrawn": ("findings",),
    "characters": ("characters",),
    "plot": ("plot",),
    "chapters": ("chapters",),
    "threads": ("thread",),
    "world": ("place", "rule", "thing", "world"),
}
"""What a section of a packaged template is about, in the words of `vocabulary` and the sources."""


class ProjectTypes:
    """The types that a home knows: those of the library, and its own.

    Args:
        templates: The home's folder of templates; ``None`` where it is not trusted.
    """

    def __init__(self, templates: Path | None) -> None:
        self._templates = templates
        self._latest: tuple[object, dict[str, ProjectType]] | None = None

    def all(self) -> Mapping[str, ProjectType]:
        """Return all types, by name, as the files are now.

        Raises:
            TemplateError: The home's own file cannot be understood. Names the type and the key.
        """
        own = None if self._templates is None else self._templates / _FILE
        stamp = None if own is None else file_stamp(own)
        if self._latest is None or self._latest[0] != stamp:
            types = dict(packaged_types())
            if own is not None and stamp is not None:
                refuse_links(own.parent)
                types = _extended(types, _read(own))
            self._latest = stamp, types
        return self._latest[1]

    def of(self, session: Session, store: Store) -> ProjectType | None:
        """Return the type of the session's project; ``None`` if it has none that is known."""
        name = find_type_name(session, store.find_session)
        return None if name is None else self.all().get(name)


@functools.cache
def packaged_types() -> Mapping[str, ProjectType]:
    """Return the types that come with the library, by name."""
    return _extended({}, _read(_PACKAGED))


@functools.cache
def packaged_names() -> tuple[str, ...]:
    """Return the names of the documents of these types."""
    return tuple(name for kind in packaged_types().values() for name in kind.documents)


# --- reading ------------------------------------------------------------------


def _read(path: Path) -> Mapping[object, object]:
    try:
        types = read_plain_yaml(read_small_file(path, _MAX_BYTES))
    except OSError as exc:
        raise _mistake(f"cannot be read ({exc.strerror})") from exc
    except YamlMistakeError as exc:
        raise TemplateError(_FILE, exc.line, exc.problem) from exc
    if types is None:
        return {}
    if not isinstance(types, Mapping):
        raise _mistake("should map the name of each type to what it has")
    return types


def _mistake(reason: str) -> TemplateError:
    return TemplateError(_FILE, 0, reason)


def _extended(
    known: Mapping[str, ProjectType], said: Mapping[object, object]
) -> dict[str, ProjectType]:
    """Return *known* types, changed and extended by what a file says, in its order."""
    types = dict(known)
    for name, fields in said.items():
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise _mistake(f"{str(name)[:80]!r} is no name of a type: use letters, digits, _ and -")
        if not isinstance(fields, Mapping):
            raise _mistake(f"{name} should have some of {', '.join(_KEYS)}")
        types[name] = _type(name, fields, types)
    return types


def _type(
    name: str, fields: Mapping[object, object], types: Mapping[str, ProjectType]
) -> ProjectType:
    for key in fields:
        if key not in _KEYS:
            raise _mistake(f"{name}: unknown key {key!r}; known: {', '.join(_KEYS)}")
    base = fields.get("extends", name)
    if "extends" in fields and base not in types:
        raise _mistake(f"{name}: extends {base!r}, which is no type above it")
    known = types.get(str(base), ProjectType(name=name, documents=(), shows=frozenset()))
    documents = _texts(f"{name}: documents", fields.get("documents"), known.documents)
    for document in documents:
        if _DOCUMENT.fullmatch(document) is None:
            raise _mistake(f"{name}: {document!r} is no name of a document, such as NOTES.md")
    shows = _texts(f"{name}: shows", fields.get("shows"), tuple(sorted(known.shows)))
    for each in shows:
        if each not in _SHOWS:
            raise _mistake(f"{name}: shows {each!r}; possible: {', '.join(_SHOWS)}")
    if not documents:
        raise _mistake(f"{name}: has no documents; add documents: [NOTES.md]")
    return ProjectType(name=name, documents=documents, shows=frozenset(shows))


def _texts(place: str, value: object, usual: tuple[str, ...]) -> tuple[str, ...]:
    if value is None:
        return usual
    listed = value if isinstance(value, list) else [value]
    texts = tuple(text for text in listed if isinstance(text, str))
    if len(texts) < len(listed):
        raise _mistake(f"{place} should be a list of words")
    return tuple(dict.fromkeys(texts))


# --- names ----------------------------------------------------------------------


def document_title(document: str) -> str:
    """Return the title of a document: ``API_REFERENCE.md`` is "API reference"."""
    words = document.removesuffix(".md").replace("_", " ").lower()
    if words.startswith("api "):
        return words.replace("api", "API", 1)
    return words.capitalize()


def template_name(document: str) -> str:
    """Return the name of the template of a document: ``api_reference.md.j2``."""
    return f"{document.lower()}.j2"

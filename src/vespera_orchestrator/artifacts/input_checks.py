"""Checks of what callers pass, beside those of tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, get_args

from vespera_orchestrator._codec import require_text_keys, unstorable
from vespera_orchestrator._mistakes import listed
from vespera_orchestrator._model import Artifact
from vespera_orchestrator._text import show_value, shown
from vespera_orchestrator.artifacts.search.index import SearchMode
from vespera_orchestrator.errors import InvalidInputError

if TYPE_CHECKING:
    from vespera_orchestrator._model import JsonValue

_MOST_HITS: Final = 1000
_MOST_TOKENS: Final = 10**9
_MOST_QUERY_CHARS: Final = 4000


def clean(text: str) -> str:
    """Replace lone surrogates, which neither the store nor the index can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def optional_clean(text: str | None) -> str | None:
    """Do the same to a text that may be missing."""
    return None if text is None else clean(text)


def clean_title(title: str) -> str:
    """Return a title as it is stored: a name for display, without what nobody would see."""
    return shown(clean(title))


def non_empty_text(name: str, value: object) -> str:
    """Return the text, or refuse what is not one, or is empty.

    Raises:
        InvalidInputError: It is not a text, or it is empty.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(name, f"{show_value(value)} should be a text that is not empty")
    return clean(value)


def tag_words(tags: str | Iterable[str]) -> tuple[str, ...]:
    """Return the tags, each once. A single text is one tag.

    Raises:
        InvalidInputError: They are not texts.
    """
    if not isinstance(tags, Iterable):
        raise InvalidInputError("tags", f"{show_value(tags)} should be words")
    words = [tags] if isinstance(tags, str) else listed("tags", tags)
    checked = [non_empty_text("tags", word) for word in words]
    return tuple(dict.fromkeys(checked))


def artifact_refs(name: str, value: object) -> tuple[str | Artifact, ...]:
    """Return artifacts that a caller named by id or record: one of them, several, or none.

    Raises:
        InvalidInputError: There is something else among them.
    """
    if value is None:
        return ()
    refs = (value,) if isinstance(value, str | Artifact) else value
    if not isinstance(refs, Iterable):
        problem = f"{show_value(value)} should be an artifact or its id, or a list of them"
        raise InvalidInputError(name, problem)
    checked = tuple(listed(name, refs))
    for ref in checked:
        if not isinstance(ref, Artifact) and not (isinstance(ref, str) and ref.strip()):
            raise InvalidInputError(name, f"{show_value(ref)} should be an artifact or its id")
    return checked


def json_mapping(name: str, value: object) -> Mapping[str, JsonValue]:
    """Return a copy as JSON would store it; ``None`` is an empty mapping.

    Raises:
        InvalidInputError: It is not a mapping, or JSON cannot hold it.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInputError(name, f"{show_value(value)} should be a mapping")
    copy: Mapping[str, JsonValue] = json.loads(clean(json_text(name, dict(value))))
    return copy


def json_text(name: str, value: JsonValue) -> str:
    """Return *value* as JSON.

    Raises:
        InvalidInputError: JSON cannot hold it.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
        require_text_keys(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise unstorable(value, name, exc) from exc
    return text


def search_query(query: object) -> str:
    """Return the part of a query that counts.

    Raises:
        InvalidInputError: It is not a text.
    """
    if not isinstance(query, str):
        raise InvalidInputError("query", f"{show_value(query)} should be a text")
    return clean(query[:_MOST_QUERY_CHARS])


def check_limit(limit: object) -> None:
    """Refuse a limit that a search cannot take.

    Raises:
        InvalidInputError: It is not a whole number within bounds.
    """
    if not isinstance(limit, int) or not 1 <= limit <= _MOST_HITS:
        raise InvalidInputError(
            "limit", f"{show_value(limit)} should be a whole number from 1 to {_MOST_HITS}"
        )


def check_mode(mode: object) -> None:
    """Refuse a search mode that does not exist.

    Raises:
        InvalidInputError: There is no such mode.
    """
    modes = get_args(SearchMode)
    if mode is not None and mode not in modes:
        known = ", ".join(repr(word) for word in modes)
        raise InvalidInputError(
            "mode", f"{show_value(mode)} is not a search mode; use one of {known}"
        )


def check_budget(budget_tokens: object) -> None:
    """Refuse a budget that is not a positive whole number.

    Raises:
        InvalidInputError: It is not.
    """
    if type(budget_tokens) is not int or not 1 <= budget_tokens <= _MOST_TOKENS:
        problem = f"{show_value(budget_tokens)} should be a whole number from 1 to {_MOST_TOKENS}"
        raise InvalidInputError("budget_tokens", problem)

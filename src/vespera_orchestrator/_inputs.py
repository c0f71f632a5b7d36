"""What callers write, turned into what the store takes; refused with a sentence that says what would be right."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._model import Dependency, NextAction, Outcome, Task, TaskDraft, TaskStatus
from vespera_orchestrator._sessions import reference
from vespera_orchestrator.errors import InvalidInputError, PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def draft(*, place: str = "", **given: Any) -> TaskDraft:
    try:
        return TaskDraft(
            title=title(given.pop("title", "")),
            description=given.pop("description", "") or "",
            dependencies=tuple(_dependency(edge) for edge in given.pop("dependencies", ()) or ()),
            parent=reference(parent) if (parent := given.pop("parent_task_id", None)) is not None else None,
            due_at=moment(given.pop("due_date", None)),
            context=dict(given.pop("context", None) or {}),
            place=place,
            **given,
        )
    except InvalidInputError as exc:
        raise PlanError(str(exc), place) from None


_SPEC_KEYS: Final = frozenset(
    {"title", "description", "dependencies", "condition", "parent_task_id", "alias", "task_type", "complexity", "specialist_type"}
    | {"priority", "estimated_effort", "due_date", "context", "children"}
)


def drafts(specs: Iterable[Mapping[str, Any]], *, parent: str | None, place: str) -> Iterator[TaskDraft]:
    for number, spec in enumerate(specs, 1):
        here = f"{place} {number}"
        if not hasattr(spec, "keys"):
            raise PlanError(f"{spec!r} is no mapping; write {{'title': …}}", here)
        here += f" ({spec.get('title', 'without title')!s})"
        unknown = sorted(set(spec) - _SPEC_KEYS)
        if unknown:
            raise PlanError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_SPEC_KEYS))}", here)
        values = dict(spec)
        children = values.pop("children", None) or ()
        if parent is not None:
            values.setdefault("parent_task_id", parent)
        made = draft(place=here, **values)
        if children and made.alias is None:
            raise PlanError("has children, so it needs an alias they can be put under", here)
        yield made
        yield from drafts(children, parent=made.alias, place=f"{here}, child")


def title(title: str) -> str:
    if not str(title).strip():
        raise InvalidInputError("title", f"{title!r} is no title; say in a few words what is to be done")
    return str(title).strip()


def _dependency(edge: str | Task | Dependency | Mapping[str, str]) -> Dependency:
    if isinstance(edge, Dependency):
        return edge
    if isinstance(edge, str | Task):
        return Dependency(edge)
    try:
        return Dependency(edge["task"], outcome(edge.get("on", Outcome.SUCCESS)))
    except (KeyError, TypeError, AttributeError):
        raise InvalidInputError("dependencies", f"{edge!r} is no task; give an id, an alias, a Task or a Dependency") from None


def outcome(word: str | Outcome) -> Outcome:
    try:
        return Outcome(word)
    except ValueError:
        raise InvalidInputError("on", f"{word!r} is none of {', '.join(Outcome)}") from None


def action(word: str) -> NextAction:
    try:
        return NextAction(word)
    except ValueError:
        raise InvalidInputError("next_action", f"{word!r} is none of {', '.join(NextAction)}") from None


def statuses(given: str | TaskStatus | Iterable[str | TaskStatus] | None) -> tuple[TaskStatus, ...]:
    words = () if given is None else (given,) if isinstance(given, str) else tuple(given)
    try:
        return tuple(TaskStatus(word) for word in words)
    except ValueError:
        raise InvalidInputError("status", f"{given!r} should be of {', '.join(TaskStatus)}") from None


def at_least(least: int, value: int | None, name: str) -> int | None:
    if value is not None and value < least:
        raise InvalidInputError(name, f"{value} should be at least {least}")
    return value


def moment(value: datetime | date | str | None) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInputError("due_date", f"{value!r} is no date in ISO format, such as 2026-12-24 or 2026-12-24T18:00") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value is not None and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value

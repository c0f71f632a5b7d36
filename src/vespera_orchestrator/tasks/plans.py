"""What callers write, turned into what the store takes; refused with a sentence that says what would be right."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from vespera_orchestrator._model import Dependency, NextAction, Outcome, Task, TaskDraft, TaskStatus
from vespera_orchestrator.contracts import ContentStore, Store
from vespera_orchestrator.errors import InvalidInputError, PlanError
from vespera_orchestrator.home.scope import reference
from vespera_orchestrator.tasks.lifecycle import MAX_PRIORITY

if TYPE_CHECKING:
    from vespera_orchestrator.errors import VesperaError


def draft(*, place: str = "", **given: Any) -> TaskDraft:
    """Make a draft from the parameters of `Orchestrator.plan_task`.

    Raises:
        PlanError: With *place*.
    """
    try:
        return TaskDraft(
            title=title(given.get("title")),
            description=_text("description", given.get("description")) or "",
            dependencies=tuple(
                _dependency(edge) for edge in _listed("dependencies", given.get("dependencies"))
            ),
            condition=_text("condition", given.get("condition")),
            parent=None
            if (parent := given.get("parent_task_id")) is None
            else _reference("parent_task_id", parent),
            alias=_text("alias", given.get("alias")),
            task_type=_text("task_type", given.get("task_type")) or "standard",
            complexity=_text("complexity", given.get("complexity")) or "moderate",
            specialist_type=_text("specialist_type", given.get("specialist_type")),
            priority=priority(given.get("priority", 0)),
            estimated_effort=_text("estimated_effort", given.get("estimated_effort")),
            due_at=moment("due_date", given.get("due_date")),
            context=mapping("context", given.get("context")),
            place=place,
        )
    except InvalidInputError as exc:
        raise PlanError(str(exc), place) from None


_SPEC_KEYS: Final = frozenset(
    {
        "title",
        "description",
        "dependencies",
        "condition",
        "parent_task_id",
        "alias",
        "task_type",
        "complexity",
        "specialist_type",
    }
    | {"priority", "estimated_effort", "due_date", "context", "children"}
)
_DEEPEST: Final = 50
_MOST: Final = 200_000


def plan(
    specs: str | Iterable[Mapping[str, Any] | TaskDraft],
) -> tuple[list[TaskDraft], list[VesperaError]]:
    """Read a plan.

    Args:
        specs: Mappings with the parameters of `Orchestrator.plan_task` and ``children``, drafts, or YAML or JSON text of such mappings.

    Returns:
        The drafts, each followed by its children, and what is wrong with them. A draft that is wrong stands in the list all the same, as
        far as it could be read, so that what refers to it is not reported too.
    """
    reader = _PlanReader()
    reader.read(_from_text(specs) if isinstance(specs, str) else specs, None, "task", 1)
    if not reader.drafts and not reader.mistakes:
        reader.mistakes.append(PlanError("the plan is empty; give at least one task with a title"))
    return reader.drafts, reader.mistakes


class _PlanReader:
    def __init__(self) -> None:
        self.drafts: list[TaskDraft] = []
        self.mistakes: list[VesperaError] = []

    def read(self, specs: Any, parent: str | None, place: str, depth: int) -> None:
        if isinstance(specs, str | Mapping) or not hasattr(specs, "__iter__"):
            brackets = "; put it in brackets" if isinstance(specs, Mapping) else ""
            self.mistakes.append(PlanError(f"{specs!r} should be a list of tasks{brackets}", place))
            return
        for number, spec in enumerate(specs, 1):
            if depth > _DEEPEST or len(self.drafts) >= _MOST:
                self.mistakes.append(
                    PlanError(
                        f"the plan is deeper than {_DEEPEST} levels or larger than {_MOST} tasks",
                        place,
                    )
                )
                return
            self.read_one(spec, parent, f"{place} {number}", depth)

    def read_one(self, spec: Any, parent: str | None, place: str, depth: int) -> None:
        if isinstance(spec, TaskDraft):
            self.drafts.append(
                attrs.evolve(spec, parent=spec.parent or parent, place=f"{place} ({spec.title})")
            )
            return
        if not isinstance(spec, Mapping):
            self.mistakes.append(
                PlanError(f"{spec!r} is no task; write a mapping with a title", place)
            )
            return
        place = f"{place} ({spec.get('title', 'without title')!s})"
        unknown = [key for key in spec if key not in _SPEC_KEYS]
        self.mistakes += [
            PlanError(f"unknown key {key!r}; known are {', '.join(sorted(_SPEC_KEYS))}", place)
            for key in unknown
        ]
        values = {
            key: value for key, value in spec.items() if key in _SPEC_KEYS and key != "children"
        }
        if parent is not None:
            values.setdefault("parent_task_id", parent)
        self.drafts.append(self.draft(values, place))
        self.read(
            spec.get("children") or (),
            own_reference(len(self.drafts) - 1),
            f"{place}, child",
            depth + 1,
        )

    def draft(self, values: dict[str, Any], place: str) -> TaskDraft:
        while True:
            try:
                return draft(place=place, **values)
            except PlanError as exc:
                self.mistakes.append(exc)
                wrong = str(exc).removeprefix(f"{place}: ").split(":")[0]
                values = {
                    key: value
                    for key, value in values.items()
                    if key != _PARAMETER_OF.get(wrong, wrong)
                }
                if wrong == "title":
                    values["title"] = "?"


_PARAMETER_OF: Final = {"on": "dependencies"}
"""Where the name in an error is not that of the parameter it came in by."""


def own_reference(number: int) -> str:
    """Return how a task of a plan is referred to within it, whatever its alias; no alias looks like that."""
    return f"#{number}"


def _from_text(text: str) -> Any:
    """Read YAML, of which JSON is a part. ``on:`` is a word, not a truth value, and a key may stand once."""
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader without YAML 1.1's yes, no, on and off."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"true|false|True|False"), list("tTfF")
    )
    Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)
    try:
        found = yaml.load(text, Loader) or ()  # noqa: S506 - a SafeLoader
    except PlanError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise PlanError(f"the text is neither YAML nor JSON: {' '.join(str(exc).split())}") from exc
    return found["tasks"] if isinstance(found, Mapping) and set(found) == {"tasks"} else found


def _mapping_without_repeats(loader: Any, node: Any) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    if not all(isinstance(key, str | int | float | bool | None) for key in keys):
        raise PlanError("a key is no plain word", f"line {node.start_mark.line + 1}")
    repeated = [key for number, key in enumerate(keys) if key in keys[:number]]
    if repeated:
        raise PlanError(
            f"the key {repeated[0]!r} stands twice in one task", f"line {node.start_mark.line + 1}"
        )
    return {
        key: loader.construct_object(value, deep=True)
        for key, (_, value) in zip(keys, node.value, strict=True)
    }


def title(value: object) -> str:
    """Return the title without surrounding space, or refuse it."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(
            "title", f"{value!r} is no title; say in a few words what is to be done"
        )
    return value.strip()


def changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check what `Orchestrator.update_task` was given, and name it as the store does."""
    checks = {"title": title, "priority": priority}
    made = {name: checks[name](value) if name in checks else value for name, value in given.items()}
    for name in set(made) - {"title", "priority", "due_date", "context"}:
        _text(name, made[name])
    if "context" in made:
        made["context"] = mapping("context", made["context"])
    if "due_date" in made:
        made["due_at"] = moment("due_date", made.pop("due_date"))
    return made


def _text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(name, f"{value!r} should be a text")
    return value


def _listed(name: str, value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    if isinstance(value, str | Task | Dependency | Mapping) or not hasattr(value, "__iter__"):
        raise InvalidInputError(name, f"{value!r} should be a list; put it in brackets")
    return list(value)


def _reference(name: str, value: object) -> str:
    if not isinstance(value, str | Task) or not value:
        raise InvalidInputError(name, f"{value!r} is no task; give an id, an alias or a Task")
    return reference(value)


def name(what: str, value: object) -> str:
    """Return a name, or refuse what is none."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(what, f"{value!r} is no name; give one")
    return value


def store(value: object) -> Store:
    """Return a store that the caller made, or refuse what is none."""
    if not isinstance(value, Store):
        raise InvalidInputError(
            "store", f"{value!r} is neither an address nor an object that keeps the Store contract"
        )
    return value


def content_store(value: object) -> ContentStore:
    """Return a content store that the caller made, or refuse what is none."""
    if not isinstance(value, ContentStore):
        raise InvalidInputError(
            "content",
            f"{value!r} is neither an address nor an object that keeps the ContentStore contract",
        )
    return value


def is_number(value: object) -> bool:
    """Tell whether it is a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def priority(value: object) -> int:
    """Return the priority, or refuse it."""
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_PRIORITY:
        raise InvalidInputError(
            "priority", f"{value!r} should be a whole number between -2**53 and 2**53"
        )
    return value


def mapping(name: str, value: object) -> dict[str, Any]:
    """Return a copy of a mapping, or refuse what is none; ``None`` is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInputError(name, f"{value!r} should be a mapping, such as {{'key': 'value'}}")
    return dict(value)


def paths(value: Any) -> list[str | os.PathLike[str]]:
    """Return file paths as a list; one path may stand for itself."""
    found = (
        [value]
        if isinstance(value, str | os.PathLike)
        else list(value)
        if isinstance(value, Iterable)
        else [value]
    )
    if value is None or not all(isinstance(path, str | os.PathLike) for path in found):
        raise InvalidInputError("file_paths", f"{value!r} should be a list of paths")
    return found


def _dependency(edge: Any) -> Dependency:
    if isinstance(edge, Dependency):
        return edge
    if isinstance(edge, Mapping) and "task" in edge and set(edge) <= {"task", "on"}:
        return Dependency(
            _reference("dependencies", edge["task"]), outcome(edge.get("on", Outcome.SUCCESS))
        )
    if not isinstance(edge, str | Task):
        raise InvalidInputError(
            "dependencies", f"{edge!r} is no task; give an id, an alias, a Task or a Dependency"
        )
    return Dependency(_reference("dependencies", edge))


def outcome(word: str | Outcome) -> Outcome:
    """Return the outcome that a word names."""
    try:
        return Outcome(word)
    except ValueError:
        raise InvalidInputError("on", f"{word!r} is none of {', '.join(Outcome)}") from None


def action(word: str) -> NextAction:
    """Return the action that a word names."""
    try:
        return NextAction(word)
    except ValueError:
        raise InvalidInputError(
            "next_action", f"{word!r} is none of {', '.join(NextAction)}"
        ) from None


_STATUS_WORDS: Final = {
    **dict.fromkeys(("done", "finished", "complete", "success"), "completed"),
    **dict.fromkeys(("open", "todo", "ready", "waiting"), "pending"),
    **dict.fromkeys(("running", "started", "doing"), "in_progress"),
}
"""What people write for a status."""


def statuses(given: str | TaskStatus | Iterable[str | TaskStatus] | None) -> tuple[TaskStatus, ...]:
    """Return the statuses that one word or several name; none for all."""
    if given is not None and not isinstance(given, Iterable):
        raise InvalidInputError(
            "status", f"{given!r} is no status; there are {', '.join(TaskStatus)}"
        )
    words = () if given is None else (given,) if isinstance(given, str) else tuple(given)
    try:
        return tuple(TaskStatus(word) for word in words)
    except ValueError:
        wrong = next(word for word in words if word not in [*TaskStatus, "active"])
        near = _STATUS_WORDS.get(str(wrong).lower()) or next(
            iter(difflib.get_close_matches(str(wrong), list(TaskStatus), 1)), None
        )
        meant = f", did you mean {near}?" if near else ""
        raise InvalidInputError(
            "status", f"{wrong!r} is no status{meant} ({', '.join(TaskStatus)})"
        ) from None


def at_least(least: int, value: int | None, name: str) -> int | None:
    """Return a whole number of at least so much, or ``None`` as it is."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise InvalidInputError(name, f"{value!r} should be a whole number")
    if value is not None and value < least:
        raise InvalidInputError(name, f"{value} should be at least {least}")
    return value


def moment(name: str, value: object) -> datetime | None:
    """Return a time as an aware datetime; a date means its midnight, and UTC holds where no zone is given."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidInputError(
                name, f"{value!r} is no date in ISO format, such as 2026-12-24 or 2026-12-24T18:00"
            ) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value is not None and not isinstance(value, datetime):
        raise InvalidInputError(
            name, f"{value!r} is no date; give a datetime, a date, or a text such as 2026-12-24"
        )
    if value is None:
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise InvalidInputError(
            name, f"{value} lies outside the calendar once it is in UTC"
        ) from None

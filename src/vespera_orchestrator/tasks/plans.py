"""Plans as callers write them, turned into drafts; every mistake is named with its place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._mistakes import MOST_ITEMS, listed
from vespera_orchestrator._model import Session, TaskDraft, TaskQuery, new_id
from vespera_orchestrator._text import show_value, similar_names
from vespera_orchestrator.errors import (
    ConditionError,
    InvalidInputError,
    PlanError,
    UnknownDependencyError,
)
from vespera_orchestrator.tasks import arguments, dates, specialists
from vespera_orchestrator.tasks.date_words import UTC_CALENDAR, Calendar
from vespera_orchestrator.tasks.plan_text import at_spot, spot_of, spot_of_item, tasks_in

if TYPE_CHECKING:
    from datetime import datetime

    from vespera_orchestrator._model import Dependency, JsonValue, Task
    from vespera_orchestrator.errors import VesperaError
    from vespera_orchestrator.tasks.plan_text import Spot

PROJECT_TYPES: Final = ("software_development", "research_project", "creative_writing")
"""Project types for which documents are kept."""
_NUMBER_SIGN: Final = "#"
"""No alias begins so."""
_MAX_DEPTH: Final = 50
_MAX_TASKS: Final = MOST_ITEMS
_MOST_MISTAKES: Final = 100
"""A plan with more of them is read no further: nobody mends so many at once."""


@attrs.frozen
class _Parameter:
    """How a parameter of `Orchestrator.plan_task` becomes a field of the draft."""

    check: Callable[..., Any]
    """Takes the name and the value; returns ``None`` where the draft's default holds."""
    field: str | None = None
    """The field of the draft, where it has another name than the parameter."""
    by_calendar: bool = False
    """Whether the check also takes the calendar, and returns several fields by name.
    """
    empty_is_default: bool = False
    """Whether an empty text means the draft's default, too."""
    empty_is_none: bool = False
    """Whether an empty text says that there is none, which clears what was there."""


_PARAMETERS: Final[dict[str, _Parameter]] = {
    "title": _Parameter(arguments.title),
    "description": _Parameter(arguments.text),
    "acceptance": _Parameter(arguments.text),
    "dependencies": _Parameter(arguments.dependencies),
    "condition": _Parameter(arguments.text, empty_is_none=True),
    "parent_task_id": _Parameter(arguments.task_reference, "parent", empty_is_none=True),
    "alias": _Parameter(arguments.text),
    "task_type": _Parameter(arguments.text, empty_is_default=True),
    "complexity": _Parameter(arguments.text, empty_is_default=True),
    "specialist_type": _Parameter(arguments.text, empty_is_none=True),
    "priority": _Parameter(arguments.priority, empty_is_none=True),
    "estimated_effort": _Parameter(arguments.effort, empty_is_none=True),
    "due_date": _Parameter(dates.due_fields, by_calendar=True),
    "not_before": _Parameter(dates.start_fields, by_calendar=True),
    "max_attempts": _Parameter(arguments.max_attempts, empty_is_none=True, empty_is_default=True),
    "retry_after": _Parameter(arguments.pause_s, "retry_after_s", empty_is_none=True),
    "time_limit": _Parameter(arguments.length_s, "time_limit_s", empty_is_none=True),
    "stalled_after": _Parameter(arguments.length_s, "stalled_after_s", empty_is_none=True),
    "question": _Parameter(arguments.question, empty_is_none=True),
    "signal": _Parameter(arguments.signal_name, empty_is_none=True),
    "context": _Parameter(arguments.mapping),
    "for_agent": _Parameter(arguments.optional_agent, empty_is_none=True),
}
_DEFAULTS: Final = {field.name: field.default for field in attrs.fields(TaskDraft)}
_SPEC_KEYS: Final = (*_PARAMETERS, "children")
MEANT: Final = {
    "deadline": "due_date",
    "due": "due_date",
    "when": "due_date",
    "start": "not_before",
    "depends": "dependencies",
    "needs": "dependencies",
    "after": "dependencies",
    "name": "title",
    "notes": "description",
    "parent": "parent_task_id",
    "type": "task_type",
    "effort": "estimated_effort",
    "estimate": "estimated_effort",
    "retries": "max_attempts",
    "attempts": "max_attempts",
    "timeout": "time_limit",
    "subtasks": "children",
    "tasks": "children",
    "steps": "children",
    "agent": "for_agent",
    "assignee": "for_agent",
}
"""What people write for a key, and which one they mean."""
_ARGUMENTS: Final = {
    "due_at": "due_date",
    **{each.field: name for name, each in _PARAMETERS.items() if each.field is not None},
}
"""By field of a task, the argument that sets it, where that has another name."""
_DATES: Final = frozenset({"due_at", "due_day", "not_before"})
MUST_FIT: Final = _DATES | {"zone", "question", "signal"}
"""Fields that must fit each other; see `refuse_contradiction`."""


def argument_of(field: str) -> str:
    """Return the argument of `Orchestrator.plan_task` that sets a field of a task."""
    return _ARGUMENTS.get(field, field)


def draft(
    spec: Mapping[str, Any],
    place: str = "",
    *,
    calendar: Calendar = UTC_CALENDAR,
    planned_by: str = "",
) -> TaskDraft:
    """Make a draft from the parameters of `Orchestrator.plan_task`.

    Args:
        spec: The parameters.
        place: Where in a plan it stands.
        calendar: When and where words for dates are read.
        planned_by: The agent that plans it, if it has been given a name.

    Raises:
        PlanError: With *place*.
    """
    result, mistakes = _read_spec(spec, place, calendar, planned_by=planned_by)
    if mistakes:
        raise mistakes[0]
    named = {name: words for name, words in result.written_dates.items() if words}
    return attrs.evolve(result, written_dates=named)


def _read_spec(
    spec: Mapping[str, Any],
    place: str,
    calendar: Calendar,
    written: Mapping[str, Any] | None = None,
    *,
    planned_by: str = "",
) -> tuple[TaskDraft, list[PlanError]]:
    """Make a draft from what is right in *spec*, and return what is wrong with the rest.

    *written* is the mapping as it stands in a text, which knows its lines.
    """
    written = spec if written is None else written
    fields: dict[str, Any] = {
        "title": "?",
        "place": at_spot(place, spot_of(written)),
        "planned_by": planned_by,
    }
    named_fields: set[str] = set()
    written_dates: dict[str, str] = {}
    mistakes: list[PlanError] = []
    for name, value in {"title": None, **spec}.items():
        try:
            checked = _checked(name, value, calendar)
        except InvalidInputError as exc:
            mistakes.append(PlanError(str(exc), at_spot(place, spot_of(written, name))))
            continue
        edges = checked.get("dependencies", ())
        numbers = _numbers_in(edges)
        if numbers:
            spot = at_spot(place, spot_of(written, name))
            mistakes += [_number_refusal(number, spot) for number in numbers]
            checked["dependencies"] = tuple(edge for edge in edges if edge.task not in numbers)
        if name in spec:  # also with null, which clears it in a plan that updates
            named_fields |= checked.keys()
        if name in spec and _PARAMETERS[name].by_calendar:
            written_dates[name] = dates.as_written(value)
        if not _means_default(name, checked):
            fields |= {field: part for field, part in checked.items() if part is not None}
    result = TaskDraft(**fields, named=frozenset(named_fields), written_dates=written_dates)
    return _with_specialist(result), mistakes


def _numbers_in(edges: Iterable[Dependency]) -> list[str]:
    """Return what names a draft by its number, which only `_PlanReader` may."""
    return [edge.task for edge in edges if edge.task.startswith(_NUMBER_SIGN)]


def _number_refusal(number: str, place: str = "") -> UnknownDependencyError:
    problem = f"dependency {show_value(number)} is not a task; name it by its alias"
    return UnknownDependencyError(problem, place, number)


def _checked(name: str, value: Any, calendar: Calendar) -> dict[str, Any]:
    """Return the fields of the draft that a parameter stands for."""
    parameter = _PARAMETERS[name]
    _refuse_half_characters(name, value)
    if parameter.empty_is_none and value == "":
        value = None
    if parameter.by_calendar:
        fields: dict[str, Any] = parameter.check(name, value, calendar)
        return fields
    return {parameter.field or name: parameter.check(name, value)}


def _refuse_half_characters(name: str, value: object) -> None:
    """Refuse here what no store can hold: only here is it known where it stands."""
    try:
        for text in _texts_in(value):
            text.encode()
    except UnicodeEncodeError as exc:
        problem = f"holds half of a surrogate pair at position {exc.start}, which no file can store"
        raise InvalidInputError(name, problem) from None


def _texts_in(value: object) -> Iterator[str]:
    """Yield a text, or those in a list of dependencies."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item.get("task") if isinstance(item, Mapping) else item)


def _means_default(name: str, checked: Mapping[str, Any]) -> bool:
    """Tell whether a parameter was passed empty, where that means the draft's default."""
    return _PARAMETERS[name].empty_is_default and not any(checked.values())


def _with_specialist(task: TaskDraft) -> TaskDraft:
    """Choose a specialist for a task whose caller named none."""
    if task.specialist_type:
        return task
    chosen = specialists.specialist_for(task.task_type, task.complexity)
    return attrs.evolve(task, specialist_type=chosen)


def changes(values: Mapping[str, Any], *, calendar: Calendar = UTC_CALENDAR) -> dict[str, Any]:
    """Check what `Orchestrator.update_task` changes, and name it as a draft does.

    ``None`` leaves a field as it is.
    """
    result: dict[str, Any] = {}
    written_dates: dict[str, str] = {}
    for name, value in values.items():
        if value is None:
            continue
        if _PARAMETERS[name].by_calendar:
            written_dates[name] = dates.as_written(value)
        checked = _checked(name, value, calendar)
        for number in _numbers_in(checked.get("dependencies", ())):
            raise _number_refusal(number)
        if _means_default(name, checked):
            result[name] = _DEFAULTS[name]
        else:
            result |= checked
    if written_dates:
        result["written_dates"] = written_dates
    return result


_QUERY_CHECKS: Final[dict[str, Callable[[str, Any], Any]]] = {
    "status": arguments.statuses,
    "created_after": arguments.moment,
    "created_before": arguments.moment,
    "updated_after": arguments.moment,
    "updated_before": arguments.moment,
    **dict.fromkeys(("task_type", "specialist_type", "complexity"), arguments.text),
    **dict.fromkeys(("text", "agent", "alias_prefix"), arguments.text),
    "ready": arguments.yes_or_no,
    "limit": lambda name, value: arguments.whole_number(name, value, least=0),
    "offset": lambda name, value: arguments.whole_number(name, value, least=0) or 0,
}


def task_query(**filters: Any) -> TaskQuery:
    """Make a query from the parameters of `Orchestrator.query_tasks`, its ids resolved already."""
    for name, check in _QUERY_CHECKS.items():
        if name in filters:
            filters[name] = check(name, filters[name])
    return TaskQuery(**filters)


# --- sessions ----------------------------------------------------------------


def new_session(
    *,
    goal: str,
    project_type: str | None,
    context: Mapping[str, JsonValue] | None,
    parent_session_id: str | None,
    now: datetime,
    project_types: Iterable[str] = PROJECT_TYPES,
) -> Session:
    """Make the record of a session that begins now, from the parameters of `initialize_session`.

    Raises:
        InvalidInputError: Names the parameter.
    """
    if not isinstance(goal, str):
        raise InvalidInputError("goal", f"{show_value(goal)} should be a sentence")
    return Session(
        id=new_id("s"),
        goal=goal,
        project_type=arguments.project_type(project_type, tuple(project_types)),
        parent_session_id=parent_session_id,
        context=arguments.mapping("context", context),
        created_at=now,
        updated_at=now,
    )


# --- whole plans -------------------------------------------------------------


def plan(
    specs: str | Iterable[Mapping[str, Any] | TaskDraft],
    *,
    calendar: Calendar = UTC_CALENDAR,
    planned_by: str = "",
) -> tuple[list[TaskDraft], list[VesperaError]]:
    """Read a plan.

    Args:
        specs: Mappings with the parameters of `Orchestrator.plan_task` and ``children``, drafts, or
            YAML or JSON text of such mappings.
        calendar: When and where words for dates are read.
        planned_by: The agent that plans them, if it has been given a name.

    Returns:
        The drafts, each followed by its children, and what is wrong with them. A draft with a
        mistake is in the list too, as far as it could be read: so what refers to it is not reported
        as well.
    """
    reader = _PlanReader(calendar, planned_by)
    reader.read(tasks_in(specs) if isinstance(specs, str) else specs, None, "task", 1)
    if not reader.drafts and not reader.mistakes:
        reader.mistakes.append(PlanError("the plan is empty; give at least one task with a title"))
    return reader.drafts, reader.mistakes


def refuse_contradiction(task: Task, names: Collection[str], place: str, now: datetime) -> None:
    """Refuse what no task can keep.

    Args:
        task: The task as it would be.
        names: The fields that are new; what was planned before is not judged again.
        place: Its place in the plan, or its title.
        now: The time now, for words.

    Raises:
        PlanError: It waits for the world in two ways, or could not start before it is due.
    """
    if {"question", "signal"} & set(names) and None not in {task.question, task.signal}:
        problem = (
            "it waits for an answer or for a signal, not for both; plan a task for each, and let "
            "one depend on the other"
        )
        raise PlanError(problem, place)
    over_at = dates.due_until(task)
    if not _DATES & set(names) or task.not_before is None or over_at is None:
        return
    if task.not_before > over_at or (task.due_day and task.not_before == over_at):
        start = dates.rest_words(task, now)
        due = dates.due_date_words(task, now)
        remedy = "change not_before or due_date"
        if "not_before" not in names:  # somebody has put it off
            remedy = f"to end its rest: orch.snooze_task({task.alias!r}, None)"
        problem = f"it may not start before {start}, but is due {due}; {remedy}"
        raise PlanError(problem, place)


def refuse_ungoverned(task: Task, needed: Collection[str], place: str) -> None:
    """Refuse that a task no longer waits for what its condition names.

    Args:
        task: The task.
        needed: The ids of the tasks that it will wait for.
        place: Its place in the plan, or its title.

    Raises:
        ConditionError: The condition names another one.
    """
    for name, named_id in task.condition_names.items():
        if named_id not in needed:
            text = str(task.condition)
            problem = f"it names {name!r}, so the dependency must stay"
            raise ConditionError(problem, place, text, text.find(name) + 1)


def draft_reference(number: int) -> str:
    """Return how a plan refers to its own draft of this number; no alias looks like that."""
    return f"{_NUMBER_SIGN}{number}"


_KEY_CHARS: Final = 40


def _shown_title(spec: Mapping[str, Any]) -> str:
    """Return a title as a place names it: any terminal can show it."""
    title = str(spec.get("title") or "without title")
    return title.encode(errors="replace").decode()


def _is_list(specs: object) -> bool:
    return isinstance(specs, Iterable) and not isinstance(specs, str | bytes | Mapping)


def _not_a_list(specs: object) -> str:
    return f"{show_value(specs)} should be a list of tasks{_list_hint(specs)}"


def _list_hint(specs: object) -> str:
    """Say how something that is no list becomes one."""
    if isinstance(specs, Mapping):
        return "; put it in brackets, or in YAML '- ' before it"
    if isinstance(specs, PathLike):
        return "; to read a file, pass its text: path.read_text('utf-8')"
    return ""


def _key_meant(key: object) -> str | None:
    """Return the key that somebody meant, if that can be told."""
    word = key[:_KEY_CHARS].lower() if isinstance(key, str) else ""
    if word in MEANT:
        return MEANT[word]
    return next(iter(similar_names(word, _SPEC_KEYS)), None)


def _named_by(draft: TaskDraft) -> frozenset[str]:
    """Return the fields in which a draft says something: it differs from an empty one."""
    plain = TaskDraft(title="")
    names = _DEFAULTS.keys() - {"place", "named", "written_dates", "recovers_task_id"}
    return frozenset(name for name in names if getattr(draft, name) != getattr(plain, name))


def _dates_of(draft: TaskDraft) -> dict[str, str]:
    """Return the dates of a draft as a plan would write them."""
    due = draft.due_day or draft.due_at
    values = {"due_date": due, "not_before": draft.not_before}
    return {name: dates.as_written(value) for name, value in values.items() if value is not None}


class _PlanReader:
    def __init__(self, calendar: Calendar, planned_by: str) -> None:
        self._calendar = calendar
        self._planned_by = planned_by
        self.drafts: list[TaskDraft] = []
        self.mistakes: list[VesperaError] = []
        self._has_listed_keys = False

    def read(self, specs: Any, parent: str | None, place: str, depth: int) -> None:
        if not _is_list(specs):
            self._refuse(_not_a_list(specs), "the plan")
            return
        for number, spec in enumerate(listed("specs", specs), 1):
            if len(self.mistakes) >= _MOST_MISTAKES:
                return
            if depth > _MAX_DEPTH or len(self.drafts) >= _MAX_TASKS:
                limits = f"{_MAX_DEPTH} levels or larger than {_MAX_TASKS} tasks"
                self._refuse(f"the plan is deeper than {limits}", place)
                return
            spot = spot_of_item(specs, number - 1)
            self._read_one(spec, parent, f"{place} {number}", depth, spot)

    def _refuse(self, problem: str, place: str) -> None:
        mistake = PlanError(problem, place)
        self.mistakes.append(mistake)

    def _read_one(
        self, spec: Any, parent: str | None, place: str, depth: int, spot: Spot | None
    ) -> None:
        if isinstance(spec, TaskDraft):
            place = f"{place} ({spec.title})"
            draft = attrs.evolve(
                spec,
                parent=spec.parent or parent,
                place=place,
                named=spec.named or _named_by(spec),
                written_dates=spec.written_dates or _dates_of(spec),
                planned_by=self._planned_by,
            )
            self.drafts.append(_with_specialist(draft))
        elif isinstance(spec, Mapping):
            place = f"{place} ({_shown_title(spec)})"
            self._read_mapping(spec, parent, place, depth)
        else:
            problem = f"{show_value(spec)} is not a task; write a mapping with a title"
            self._refuse(problem, at_spot(place, spot))

    def _read_mapping(
        self, spec: Mapping[str, Any], parent: str | None, place: str, depth: int
    ) -> None:
        values = {name: value for name, value in spec.items() if name in _PARAMETERS}
        unknown = (key for key in spec if key not in _SPEC_KEYS)
        for key in islice(unknown, _MOST_MISTAKES):
            problem = f"unknown key {show_value(key)}{self._key_hint(key)}"
            self._refuse(problem, at_spot(place, spot_of(spec, key)))
        if values.get("parent_task_id") is None and parent is not None:
            values["parent_task_id"] = parent
        result, mistakes = _read_spec(
            values, place, self._calendar, spec, planned_by=self._planned_by
        )
        self.mistakes += mistakes
        self.drafts.append(result)
        own = draft_reference(len(self.drafts) - 1)
        self._read_children(spec, own, place, depth + 1)

    def _key_hint(self, key: object) -> str:
        """Say which key was meant, or once in a plan which there are."""
        meant = _key_meant(key)
        if meant is not None:
            return f", did you mean {meant!r}?"
        if self._has_listed_keys:
            return ""
        self._has_listed_keys = True
        return f"; known are {', '.join(sorted(_SPEC_KEYS))}"

    def _read_children(self, spec: Mapping[str, Any], parent: str, place: str, depth: int) -> None:
        children = spec.get("children")
        if children is None:
            return
        if not _is_list(children):
            problem = f"children: {_not_a_list(children)}"
            self._refuse(problem, at_spot(place, spot_of(spec, "children")))
            return
        self.read(children, parent, f"{place}, child", depth)

"""What happened, in words: the event log of a session or a task, for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from itertools import groupby
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Event, EventKind, JsonValue, PastEvent
from vespera_orchestrator._records import to_text
from vespera_orchestrator._text import duration, one_line, show_methods
from vespera_orchestrator.progress.resume import CHANGE_WORDS
from vespera_orchestrator.tasks import dates

if TYPE_CHECKING:
    from vespera_orchestrator.contracts import Store

_DETAIL_WIDTH: Final = 120
"""Longest quotation of what somebody wrote, in characters."""
_VALUE_WIDTH: Final = 50
"""Longest value of a field that was changed, in characters."""

_WORDS: Final[Mapping[str, str]] = {
    **CHANGE_WORDS,
    EventKind.SESSION_STARTED: "session started",
    EventKind.SESSION_RESUMED: "session resumed",
    EventKind.SESSION_PAUSED: "paused",
    EventKind.CONTEXT_SHARED: "shared {keys}",
    EventKind.TASK_PLANNED: "planned",
    EventKind.TASK_UPDATED: "changed: {changes}",
    EventKind.TASK_SNOOZED: "rests until {until}",
    EventKind.TASK_WOKEN: "woken",
    EventKind.TASK_ANSWERED: "answered",
    EventKind.SIGNAL_RECEIVED: "signal {name} received",
    EventKind.QUESTION_ASKED: "asked {question}",
    EventKind.EFFECT_BEGUN: "effect {key} begun",
    EventKind.EFFECT_RECORDED: "effect {key} done",
    EventKind.TASK_STARTED: "started, attempt {attempt}",
    EventKind.TASK_CONTINUED: "results saved, goes on",
    EventKind.TASK_CORRECTED: "summary corrected",
    EventKind.TASK_ARCHIVED: "archived",
    EventKind.TASK_DELETED: "deleted",
    EventKind.DEPENDENCY_ADDED: "waits for {needs} ({on})",
    EventKind.DEPENDENCY_REMOVED: "no longer waits for {needs}",
    EventKind.LEASE_RENEWED: "still at work",
    EventKind.ATTEMPT_TIMED_OUT: "attempt {attempt} took too long",
    EventKind.ATTEMPT_STALLED: "attempt {attempt} stalled: nothing new for {length}",
    EventKind.RETRY_SCHEDULED: "attempt {attempt} failed, next try at {retry_at}",
    EventKind.ATTEMPT_ENDED: "attempt {attempt} of {holder} ended",
    EventKind.LEASE_REGAINED: "back at work after its lease had expired",
    EventKind.CHECKPOINT_SAVED: "checkpoint saved",
    EventKind.ARTIFACT_SAVED: "saved {title}",
    EventKind.ARTIFACT_SUPERSEDED: "{artifact} superseded by {by}",
    EventKind.ARTIFACT_FORGOTTEN: "artifact {artifact} removed for good",
    EventKind.TEXT_FORGOTTEN: "a text removed for good, wherever it was",
    EventKind.CONTEXT_GIVEN: "given {artifacts} to build on",
    EventKind.WORKTREE_CREATED: "worktree {worktree} made",
    EventKind.WORKTREE_LANDED: "worktree {worktree} landed",
    EventKind.WORKTREE_MOVED: "worktree {worktree} moved",
    EventKind.WORKTREE_REMOVED: "worktree {worktree} removed",
    EventKind.SETTINGS_AGREED: "settings agreed",
    EventKind.DOCUMENT_UPDATED: "updated {path}",
    EventKind.ENERGY_SET: "energy: {energy}",
    EventKind.PRESSURE_CHANGED: "pressure: {level}",
    EventKind.STORE_IMPORTED: "store imported",
    EventKind.STORE_PRUNED: "store pruned",
    EventKind.STORE_REPAIRED: "store repaired",
}
"""What each kind of event says; braces stand for values of its data."""
_FIELD_WORDS: Final[Mapping[str, str]] = {
    "due_at": "due date",
    "due_day": "due date",
    "parent_task_id": "parent",
    "task_type": "type",
    "max_attempts": "limit of attempts",
    "specialist_type": "specialist",
    "estimated_effort": "estimate",
    "not_before": "rest",
    "retry_after_s": "pause before another try",
    "time_limit_s": "time limit",
    "stalled_after_s": "limit without progress",
    "for_agent": "agent that it is for",
}
_CLEARED_WORDS: Final[Mapping[str, str]] = {
    "not_before": "may start at once",
    "for_agent": "for any agent",
    "condition": "its condition was taken out",
}
"""What is said of a field that was cleared, where "no" and its name would not do."""
_UNSPOKEN: Final = frozenset({"zone", "written_dates"})
_NOTHING: Final[tuple[JsonValue, ...]] = (None, "", {}, [])
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?\+00:00")
"""A moment, as events have it."""
_TASK_KEYS: Final = ("needs", "question", "recovery", "parent_task_id")
"""Values of an event's data that are ids of tasks."""
_DETAILS: Final = ("summary", "reason", "note", "goal", "outputs", "payload")
"""Values of an event's data that tell more, the best first."""


@show_methods
class History(list[PastEvent]):
    """What happened, oldest first: a list. ``str()`` tells it day by day, a line an event."""

    def __init__(
        self, events: Iterable[PastEvent] = (), *, zone: tzinfo = UTC, rest_call: str = ""
    ) -> None:
        """Take the events.

        Args:
            events: The events.
            zone: The time zone in which ``str()`` tells them.
            rest_call: The call that tells more, if there are earlier ones.
        """
        super().__init__(events)
        self.zone = zone
        self.rest_call = rest_call

    def __str__(self) -> str:
        lines = [f"(what was before this: {self.rest_call})"] if self.rest_call else []
        for day, events in groupby(self, key=lambda event: event.at.astimezone(self.zone).date()):
            lines.append(f"{day:%A}, {day.isoformat()}")
            lines += [
                f"  {event.at.astimezone(self.zone):%H:%M}  {event.sentence}" for event in events
            ]
        return "\n".join(lines) or "nothing has happened yet"

    def _repr_html_(self) -> str:
        from vespera_orchestrator._html import text_html

        return text_html(str(self))

    def to_json(self) -> str:
        """Return the events as JSON text: a list."""
        return to_text([event.to_dict() for event in self])


def tell(
    store: Store, events: Iterable[Event], *, zone: tzinfo = UTC, rest_call: str = ""
) -> History:
    """Put events into words.

    Args:
        store: Knows what the ids in them are called.
        events: The events, oldest first.
        zone: The person's time zone.
        rest_call: The call that tells more, if there are earlier ones.
    """
    listed = list(events)
    names = _names(store, listed)
    wording = _Wording(names=names, zone=zone)
    return History([wording.of(event) for event in listed], zone=zone, rest_call=rest_call)


def _names(store: Store, events: Iterable[Event]) -> dict[str, str]:
    """Return, by id, the aliases of the tasks that the events name."""
    names: dict[str, str] = {}
    ids: dict[str, None] = {}
    for event in events:
        if event.task_id is not None:
            ids[event.task_id] = None
            if "alias" in event.data:  # a task that is gone has no other name
                names[event.task_id] = str(event.data["alias"])
        ids.update((str(event.data[key]), None) for key in _TASK_KEYS if key in event.data)
    tasks = (store.find_task(task_id, None) for task_id in ids)
    return names | {task.id: task.alias for task in tasks if task is not None}


@attrs.frozen(kw_only=True)
class _Wording:
    """Puts events into words."""

    names: Mapping[str, str]
    """What the ids in them are called."""
    zone: tzinfo
    """Where the person is."""

    def of(self, event: Event) -> PastEvent:
        """Return the event with its words."""
        fields = {field.name: getattr(event, field.name) for field in attrs.fields(Event)}
        alias = None
        if event.task_id is not None:
            alias = self.names.get(event.task_id, event.task_id)
        return PastEvent(**fields, alias=alias, words=self._words(event), detail=_detail(event))

    def _words(self, event: Event) -> str:
        template = _WORDS.get(event.kind)
        if template is None:
            # A later version wrote it, or somebody's editor: it is shown, and is no template of
            # ours.
            return one_line(event.kind.replace("_", " "), _VALUE_WIDTH)
        if event.kind == EventKind.LEASE_EXPIRED:
            template = _lost_words(event)
        if event.kind == EventKind.TASK_SNOOZED:
            template = _rest_words(event)
        values = _Values({key: self._value(value, key) for key, value in event.data.items()})
        values["length"] = _length(event.data.get("limit_s"))
        values["changes"] = ", ".join(dict.fromkeys(self._changes(event.data)))
        return template.format_map(values)

    def _changes(self, data: Mapping[str, JsonValue]) -> Iterator[str]:
        """Name the fields that were changed, with their new values."""
        for name, value in data.items():
            if name in _UNSPOKEN or (name == "due_at" and data.get("due_day")):
                continue
            field = _FIELD_WORDS.get(name, name.replace("_", " "))
            words = _length(value) if name.endswith("_s") else self._value(value, name)
            cleared = _CLEARED_WORDS.get(name, f"no {field}")
            yield f"{field} to {words}" if value not in _NOTHING else cleared

    def _value(self, value: JsonValue, name: str) -> str:
        if isinstance(value, Mapping):
            text = ", ".join(f"{key}: {each}" for key, each in value.items())
        elif isinstance(value, list):
            text = ", ".join(str(each) for each in value)
        elif isinstance(value, str):
            text = self._date(self.names.get(value, value), name)
        else:
            text = str(value)
        return one_line(text, _VALUE_WIDTH)

    def _date(self, text: str, name: str) -> str:
        """Tell a day, or a moment by the person's clock, in words; any other text stays."""
        try:
            if name == "due_day":
                return dates.day_words(date.fromisoformat(text))
            if _MOMENT.fullmatch(text) is None:
                return text
            at = datetime.fromisoformat(text).astimezone(self.zone)
        except (ValueError, OverflowError):
            return text
        return dates.day_words(at) if at.time() == time() else dates.moment_words(at, self.zone)


def _lost_words(event: Event) -> str:
    """Say how the event's agent lost its task."""
    if "taken_by" in event.data:
        return "lost to {taken_by}"
    if "paused" in event.data:
        return "rests since the pause"
    if "process_ended" in event.data:
        return "lost with its process"
    if "silent_since" in event.data:
        return "lost, with no sign of life since {silent_since}"
    return "lost after a long silence"


def _length(seconds: JsonValue) -> str:
    return duration(int(seconds)) if isinstance(seconds, int | float) else "a while"


class _Values(dict[str, str]):
    """The values of an event's data, some of which older events do not have."""

    def __missing__(self, key: str) -> str:
        return "…"


def _rest_words(event: Event) -> str:
    """Say how long a task rests, and where its due date went."""
    words = _WORDS[EventKind.TASK_SNOOZED]
    if event.data.get("until") is None:
        words = "its rest is over"
    for name in ("due_day", "due_at"):
        if event.data.get(name):
            return f"{words}; it is due {{{name}}} now"
    return words


def _detail(event: Event) -> str:
    """Return what somebody wrote about it."""
    # A task that is opened again still has its summary: what was wrong with it matters now.
    keys = ("reason",) if event.kind == EventKind.TASK_REOPENED else _DETAILS
    text = next((event.data[key] for key in keys if event.data.get(key)), "")
    return one_line(str(text), _DETAIL_WIDTH)

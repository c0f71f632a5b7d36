"""What happens by the clock alone: tasks wake, and due dates press.

Nothing polls. A task that rests counts one blocker more, so the index of ready tasks stays what it
is; the first call after its moment counts that one down. A due date that is not near yet stands
behind all others in the order of ready tasks, and is put in its place in the same way. So each
task is touched once, whatever the number of those that rest.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_time, load_time
from vespera_orchestrator._model import EventKind, TaskStatus
from vespera_orchestrator.errors import CorruptRecordError, TransitionError
from vespera_orchestrator.stores.sql import events, reading, rows
from vespera_orchestrator.stores.sql.consequences import recount, set_columns
from vespera_orchestrator.stores.sql.dialect import OPEN
from vespera_orchestrator.stores.sql.transaction import first_column
from vespera_orchestrator.tasks import dates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vespera_orchestrator._model import JsonValue, Task, TaskDraft
    from vespera_orchestrator.stores.sql.transaction import Transaction

_MAX_LEVELS: Final = 100
"""How many levels upward a due date is followed."""
_DUE_FIELDS: Final = frozenset({"due_at", "due_day", "zone"})
_DATE_FIELDS: Final = frozenset({"due_at", "due_day", "not_before", "zone"})


def wakes(mark: str) -> str:
    """Return the test for tasks whose rest is over. *mark* is the placeholder of the time now."""
    return f"asleep = 1 AND not_before <= {mark}"


def begins_to_press(mark: str) -> str:
    """Return the test for tasks whose due date is near now. *mark* as for `wakes`."""
    return f"press_at IS NOT NULL AND press_at <= {mark}"


def dates_due(mark: str) -> str:
    """Return the test whether a date has come. *mark* as for `wakes`."""
    return f"""(
        EXISTS (SELECT 1 FROM tasks WHERE {wakes(mark)})
        OR EXISTS (SELECT 1 FROM tasks WHERE {begins_to_press(mark)})
    )"""


def has_due(tx: Transaction) -> bool:
    """Tell whether a date has come: a task wakes, or a due date is near."""
    (due,) = tx.execute(f"SELECT {dates_due(f'{tx.mark}1')}", (tx.now,)).fetchone()
    return bool(due)


# --- waking -------------------------------------------------------------------


def follow_clock(tx: Transaction) -> None:
    """Wake the tasks whose moment has come, and let near due dates press.

    Of the locked session, or of all where none is.
    """
    if has_due(tx):  # one read: changing nothing opens every index of the table, twice
        _wake(tx)
        _press(tx)


def _wake(tx: Transaction) -> None:
    sql = f"""
        UPDATE tasks SET asleep = 0, retry_at = NULL, blockers = blockers - 1
        WHERE {wakes(f"{tx.mark}1")} {_in_session(tx)}
        RETURNING id, status
    """
    woken = tx.execute(sql, _with_session(tx)).fetchall()
    pending = [task_id for task_id, status in woken if status == TaskStatus.PENDING]
    for task in reading.tasks_by_id(tx, pending, edges=False):
        data = {"not_before": str(task.not_before)}
        events.record_for(tx, task, EventKind.TASK_WOKEN, data)
        if task.answered:
            recount(tx, task.id)


def _press(tx: Transaction) -> None:
    sql = f"""
        UPDATE tasks SET pressed_by = needed_by, press_at = NULL
        WHERE {begins_to_press(f"{tx.mark}1")} {_in_session(tx)}
    """
    tx.execute(sql, _with_session(tx))


def _in_session(tx: Transaction) -> str:
    return "" if tx.locked_session is None else f"AND session_id = {tx.mark}2"


def _with_session(tx: Transaction) -> tuple[object, ...]:
    return (tx.now,) if tx.locked_session is None else (tx.now, tx.locked_session)


# --- due dates, and those that follow from them -------------------------------


def follow_due_dates(tx: Transaction, task_ids: Iterable[str]) -> None:
    """Work out again by when these tasks should be done, and all that they wait for.

    It goes upward, level by level, as far as something changes.
    """
    level = list(task_ids)
    for _ in range(_MAX_LEVELS):
        changed = _recount_level(tx, level) if level else []
        if not changed:
            return
        sql = f"""
            SELECT needs_id FROM dependencies WHERE task_id {tx.dialect.in_list(1)}
            UNION SELECT id FROM tasks WHERE parent_task_id {tx.dialect.in_list(1)}
            UNION SELECT id FROM tasks WHERE recovers_task_id {tx.dialect.in_list(1)}
        """
        level = first_column(tx.execute(sql, (json.dumps(changed),)).fetchall())


def have_due_dates(tx: Transaction, task_ids: Sequence[str]) -> bool:
    """Tell whether one of these tasks should be done by some time."""
    sql = f"""
        SELECT 1 FROM tasks WHERE id {tx.dialect.in_list(1)} AND needed_by IS NOT NULL LIMIT 1
    """
    return tx.execute(sql, (json.dumps(task_ids),)).fetchone() is not None


def _recount_level(tx: Transaction, task_ids: Sequence[str]) -> list[str]:
    """Work out by when each of these tasks should be done; return those that have changed."""
    sql = f"""
        SELECT id, due_until, needed_by, effort_hours FROM tasks
        WHERE id {tx.dialect.in_list(1)} AND status IN {OPEN}
    """
    found = tx.execute(sql, (json.dumps(task_ids),)).fetchall()
    latest = _latest_ends(tx, task_ids)
    changed = []
    for task_id, due_until, before, effort_hours in found:
        needed_by = _earliest(due_until, latest.get(task_id))
        if needed_by != before:
            changed.append((task_id, needed_by, *_press_columns(tx, needed_by, effort_hours)))
    sql = f"""
        UPDATE tasks SET needed_by = {tx.mark}2, press_at = {tx.mark}3, pressed_by = {tx.mark}4
        WHERE id = {tx.mark}1
    """
    tx.executemany(sql, changed)
    return [task_id for task_id, *_ in changed]


def _latest_ends(tx: Transaction, task_ids: Sequence[str]) -> dict[str, int]:
    """Return by when each task must have ended for the sake of those that wait for it."""
    listed = tx.dialect.in_list(1)
    is_open = f"waiting.needed_by IS NOT NULL AND waiting.status IN {OPEN}"
    sql = f"""
        SELECT needs_id, waiting.needed_by, waiting.effort_hours
            FROM dependencies JOIN tasks AS waiting ON waiting.id = dependencies.task_id
            WHERE needs_id {listed} AND {is_open}
        UNION ALL SELECT part.id, waiting.needed_by, waiting.effort_hours
            FROM tasks AS part JOIN tasks AS waiting
                ON waiting.id = coalesce(part.recovers_task_id, part.parent_task_id)
            WHERE part.id {listed} AND {is_open}
    """
    ends: dict[str, int] = {}
    for task_id, needed_by, effort_hours in tx.execute(sql, (json.dumps(task_ids),)).fetchall():
        begins = dates.beginning_of_work(load_time(needed_by), effort_hours)
        end = dump_time(begins)
        ends[task_id] = min(end, ends.get(task_id, end))
    return ends


def _earliest(*moments: int | None) -> int | None:
    known = [moment for moment in moments if moment is not None]
    return min(known, default=None)


def _press_columns(
    tx: Transaction, needed_by: int | None, effort_hours: float
) -> tuple[int | None, int]:
    """Return ``press_at`` and ``pressed_by``."""
    if needed_by is None:
        return None, rows.NOT_PRESSED
    press_at = dump_time(dates.pressing_from(load_time(needed_by), effort_hours))
    if press_at <= tx.now:
        return None, needed_by
    return press_at, rows.NOT_PRESSED


# --- what people change --------------------------------------------------------


def date_columns(task: Task, changes: Mapping[str, JsonValue], now: int) -> dict[str, Any]:
    """Return the columns that follow from changed dates of a task.

    Args:
        task: The task as it was.
        changes: Any of ``due_at due_day not_before zone``.
        now: The time now, in microseconds.
    """
    names = _DATE_FIELDS & changes.keys()
    if not names:
        return {}
    changed = attrs.evolve(task, **{name: changes[name] for name in names})
    not_before = dump_time(changed.not_before)
    columns: dict[str, Any] = {
        "due_at": dump_time(changed.due_at),
        "due_day": changed.due_day,
        "due_until": dump_time(dates.due_until(changed)),
        "not_before": not_before,
        "zone": changed.zone,
    }
    if not_before != dump_time(task.not_before):
        columns["retry_at"] = None  # a person's word comes before the pause of a retry
    asleep = int(not_before is not None and not_before > now)
    if asleep != task.asleep:
        columns |= {"asleep": asleep, "blockers": task.blockers + asleep - task.asleep}
    return columns


@attrs.frozen(kw_only=True)
class _Due:
    """A due date, with the names of a task's fields."""

    due_at: datetime | None
    due_day: str | None
    zone: str | None = attrs.field(eq=False)
    """Where the day is meant. The same day and moment elsewhere are the same due date."""

    @classmethod
    def of(cls, task: Task | TaskDraft) -> _Due:
        """Return the due date of a task."""
        return cls(due_at=task.due_at, due_day=task.due_day, zone=task.zone)

    def plain(self) -> JsonValue:
        """Return it as an event keeps it."""
        return attrs.asdict(self) | {"due_at": str(self.due_at)}


def snooze(
    tx: Transaction, task_id: str, until: datetime | None, *, zone: str, whole_subtree: bool
) -> list[Task]:
    """See `contracts.Store.snooze`."""
    task = reading.task(tx, task_id)
    if task.status.is_terminal or task.status is TaskStatus.IN_PROGRESS:
        remedy = f"hand it back first: orch.release({task.alias!r})"
        if task.status.is_terminal:
            remedy = "it has ended"
        raise TransitionError(task.alias, task.status, "rest", remedy)
    task_ids = reading.open_subtree_ids(tx, task_id) if whole_subtree else [task_id]
    resting_ids = []
    for each_id in task_ids:
        each = reading.task(tx, each_id)  # only now: one that woke before may have ended others
        if each.status.is_terminal or each.status is TaskStatus.IN_PROGRESS:
            continue
        resting_ids.append(each_id)
        if each.not_before != until:
            _snooze_one(tx, each, until, zone)
    follow_due_dates(tx, resting_ids)
    return reading.tasks_by_id(tx, resting_ids)


def _snooze_one(tx: Transaction, task: Task, until: datetime | None, zone: str) -> None:
    planned = _due_before_rests(tx, task)
    due = _due_with_rest(task, planned, until, zone, load_time(tx.now))
    changes: dict[str, JsonValue] = {"not_before": until, **attrs.asdict(due)}
    if due.due_at is None:  # the day of a due date stays that of its own zone
        changes["zone"] = zone
    data: dict[str, JsonValue] = {"until": None if until is None else str(until)}
    if due != _Due.of(task):
        data |= {"due_at": str(due.due_at), "due_day": due.due_day}
    if due != planned:
        data["due_moved"] = {"to": str(due.due_at), "from": planned.plain()}
    set_columns(tx, task.id, **date_columns(task, changes, tx.now))
    events.record_for(tx, task, EventKind.TASK_SNOOZED, data)
    if task.answered:  # and done, if it rested and waits for nothing else now
        recount(tx, task.id)


def _due_with_rest(
    task: Task, planned: _Due, until: datetime | None, zone: str, now: datetime
) -> _Due:
    """Return the due date of a task that rests *until* then, or is woken now.

    It is the one that was planned, unless that would be over by then.
    """
    over_at = dates.due_until(attrs.evolve(task, **attrs.asdict(planned)))
    wakes_at = until or now
    if over_at is None or over_at > wakes_at:
        return planned
    due = _Due.of(task)
    return due if until is None else attrs.evolve(due, **dates.moved_due(task, until, zone))


def _due_before_rests(tx: Transaction, task: Task) -> _Due:
    """Return the due date as it was before rests moved it, if nobody has set another since."""
    moved = _last_rest(tx, task).get("due_moved")
    if not isinstance(moved, dict) or moved.get("to") != str(task.due_at):
        return _Due.of(task)
    try:
        planned = dict(moved["from"])
        return _Due(**planned | {"due_at": datetime.fromisoformat(planned["due_at"])})
    except (KeyError, TypeError, ValueError) as exc:
        problem = "an event does not say what its due date was before it rested"
        raise CorruptRecordError(f"task {task.id}", problem) from exc


def without_dates_as_before(tx: Transaction, draft: TaskDraft, task: Task) -> TaskDraft:
    """Leave the dates of a task alone that a plan writes as they were written before.

    So words are not read anew on another day, and what somebody has put off since stays so.

    Args:
        tx: The transaction.
        draft: What a plan says again about a task.
        task: The task.
    """
    if draft.written_dates:
        draft = _without_same_words(draft, _last_written(tx, task))
    return _without_moved_due_date(tx, draft, task)


def _without_same_words(draft: TaskDraft, before: Mapping[str, JsonValue]) -> TaskDraft:
    words = draft.written_dates
    same = {name for name in words if name in before and words[name] == before[name]}
    named = draft.named
    if "not_before" in same:
        named -= {"not_before"}
    if "due_date" in same:
        named -= _DUE_FIELDS  # with its zone: the day stays that of the place where it was meant
    if not named & {"due_at", "not_before"}:
        named -= {"zone"}
    others = {name: written for name, written in words.items() if name not in same}
    return attrs.evolve(draft, named=named, written_dates=others)


def _last_written(tx: Transaction, task: Task) -> Mapping[str, JsonValue]:
    """Return the dates of a task as somebody last wrote them, as far as the log tells."""
    written: dict[str, JsonValue] = {}
    for data in events.data_of(tx, task.id, (EventKind.TASK_PLANNED, EventKind.TASK_UPDATED)):
        words = data.get("written_dates")
        written |= words if isinstance(words, dict) else {}
    return written


def _without_moved_due_date(tx: Transaction, draft: TaskDraft, task: Task) -> TaskDraft:
    """Leave a due date alone that rests have moved, where the plan has the one from before."""
    if not task.asleep or not _DUE_FIELDS & draft.named or "not_before" in draft.named:
        return draft
    planned = _due_before_rests(tx, task)
    if planned != _Due.of(draft):
        return draft
    return attrs.evolve(draft, named=draft.named - _DUE_FIELDS)


def _last_rest(tx: Transaction, task: Task) -> Mapping[str, JsonValue]:
    """Return what the last event says by which somebody let the task rest, or woke it."""
    return events.last_data_of(tx, task.id, (EventKind.TASK_SNOOZED,))


def wake_for_answer(tx: Transaction, task: Task) -> None:
    """Wake a task that somebody has put off: what they did not want to be asked is answered.

    A moment that was planned, with *not_before*, still holds.
    """
    if not task.asleep or _last_rest(tx, task).get("until") != str(task.not_before):
        return
    set_columns(tx, task.id, **date_columns(task, {"not_before": None}, tx.now))
    events.record_for(tx, task, EventKind.TASK_WOKEN, {"not_before": str(task.not_before)})

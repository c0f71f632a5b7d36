"""The event log: what is written into it, and how it is read."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._codec import dump_json, load_json
from vespera_orchestrator._model import EventKind
from vespera_orchestrator.stores.sql import rows
from vespera_orchestrator.stores.sql.dialect import Conditions, quoted
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vespera_orchestrator._model import Event, JsonValue, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction

_WRITTEN = "at, kind, session_id, task_id, agent, data"
_INDEXED: Final = {
    "events_pauses": (EventKind.SESSION_PAUSED,),
    "events_moods": (EventKind.ENERGY_SET, EventKind.PRESSURE_CHANGED),
    "events_milestones": lifecycle.MILESTONES,
}
"""The kinds of events of which the store has an index by session.

A statement must have the same list, in the same order, for its index to serve it.
"""


def record(
    tx: Transaction,
    kind: EventKind | str,
    data: Mapping[str, JsonValue],
    *,
    session_id: str | None,
    task_id: str | None = None,
    agent: str | None = None,
) -> None:
    """Record that something happened."""
    event = (tx.now, str(kind), session_id, task_id, agent, dump_json(data, kind))
    tx.insert_events(_WRITTEN, [event])


def record_for(
    tx: Transaction,
    task: Task,
    kind: EventKind,
    data: Mapping[str, JsonValue],
    *,
    agent: str | None = None,
) -> None:
    """Record that something happened to a task."""
    event = (tx.now, str(kind), task.session_id, task.id, agent, dump_json(data, kind))
    tx.insert_events(_WRITTEN, [event])


def record_each(
    tx: Transaction, kind: EventKind, tasks_with_data: Sequence[tuple[Task, str]]
) -> None:
    """Record the same kind of event for several tasks, each with its data as JSON."""
    now, word = tx.now, str(kind)
    tx.insert_events(
        _WRITTEN,
        [(now, word, task.session_id, task.id, None, data) for task, data in tasks_with_data],
    )


def events(
    tx: Transaction,
    after: int,
    *,
    session_id: str | None = None,
    task_id: str | None = None,
    kinds: Iterable[str] | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Event]:
    """See `contracts.Store.events`."""
    conditions = Conditions(tx.dialect)
    conditions.add(f"seq > {conditions.bind(after)}")
    conditions.equal(session_id=session_id, task_id=task_id)
    index = ""
    if kinds is not None:
        words = {str(kind) for kind in kinds}
        conditions.in_list("kind", json.dumps(sorted(words)))
        name = None if session_id is None or task_id is not None else _index_of(words)
        if name is not None:
            conditions.add(f"kind IN {quoted(_INDEXED[name])}")
            index = tx.dialect.use_index(name)
    order = "DESC" if newest_first else "ASC"
    sql = f"""
        SELECT {rows.EVENT.columns} FROM events {index} WHERE {conditions.where}
        ORDER BY seq {order} LIMIT {conditions.bind(rows.limited(limit))}
    """
    return rows.EVENT.read_all(tx.execute(sql, conditions.values))


def _index_of(kinds: set[str]) -> str | None:
    """Return the index that has all of *kinds*, if one does."""
    for name, indexed in _INDEXED.items():
        if kinds <= {str(kind) for kind in indexed}:
            return name
    return None


def data_of(
    tx: Transaction, task_id: str, kinds: Iterable[EventKind]
) -> list[Mapping[str, JsonValue]]:
    """Return what the events of these kinds say about a task, the oldest first."""
    sql = f"""
        SELECT data FROM events WHERE task_id = {tx.mark}1 AND kind IN {quoted(kinds)} ORDER BY seq
    """
    return _read_data(task_id, tx.execute(sql, (task_id,)).fetchall())


def last_data_of(
    tx: Transaction, task_id: str, kinds: Iterable[EventKind]
) -> Mapping[str, JsonValue]:
    """Return what the last event of these kinds says about a task; empty if there is none."""
    sql = f"""
        SELECT data FROM events WHERE task_id = {tx.mark}1 AND kind IN {quoted(kinds)}
        ORDER BY seq DESC LIMIT 1
    """
    return next(iter(_read_data(task_id, tx.execute(sql, (task_id,)).fetchall())), {})


def _read_data(task_id: str, found: Iterable[Sequence[str]]) -> list[Mapping[str, JsonValue]]:
    described = [load_json(text, f"events of task {task_id}") for (text,) in found]
    return [data for data in described if isinstance(data, dict)]


def last_seq(tx: Transaction, session_id: str | None) -> int:
    """See `contracts.Store.last_seq`."""
    conditions = Conditions(tx.dialect)
    conditions.equal(session_id=session_id)
    sql = f"SELECT coalesce(max(seq), 0) FROM events WHERE {conditions.where}"
    (seq,) = tx.execute(sql, conditions.values).fetchone()
    return int(seq)


@contextmanager
def without_events(tx: Transaction) -> Iterator[None]:
    """Leave out the events of what the block changes in a private copy.

    Nobody else will ever see them under these numbers.
    """
    last = last_seq(tx, None)
    yield
    tx.execute(f"DELETE FROM events WHERE seq > {tx.mark}1", (last,))


def recorded_since(tx: Transaction, after: int) -> list[Event]:
    """Return every event behind *after*, the oldest first."""
    return events(tx, after)

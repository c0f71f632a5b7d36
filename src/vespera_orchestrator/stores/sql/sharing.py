"""What agents share with each other: values by key, with who set them and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import EventKind, SharedValue
from vespera_orchestrator.agents.shared import disputed_after
from vespera_orchestrator.stores.sql import events, rows
from vespera_orchestrator.stores.sql.dialect import Conditions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.stores.sql.transaction import Transaction


def share(
    tx: Transaction,
    session_id: str,
    agent: str,
    values: Mapping[str, JsonValue],
    *,
    seen: int,
) -> list[SharedValue]:
    """See `contracts.Store.share_values`; the session is known to exist."""
    before = {value.key: value for value in shared(tx, session_id)}
    after = []
    for key, value in values.items():
        current = before.get(key)
        text = dump_json(value, f"the value of {key}")
        after.append(_share(tx, session_id, agent, key, text, current=current, seen=seen))
    changed = [value for value in after if value != before.get(value.key)]
    if changed:
        conflicts = [value.key for value in changed if value.disputes is not None]
        data = {"keys": [value.key for value in changed], "conflicts": conflicts}
        events.record(tx, EventKind.CONTEXT_SHARED, data, session_id=session_id, agent=agent)
    return after


def _share(
    tx: Transaction,
    session_id: str,
    agent: str,
    key: str,
    text: str,
    *,
    current: SharedValue | None,
    seen: int,
) -> SharedValue:
    is_same = current is not None and dump_json(current.value, key) == text
    disputes = disputed_after(current, agent, is_same=is_same, seen=seen)
    if current is not None and is_same:
        if disputes == current.disputes:
            return current
        return _settle(tx, current)
    if current is not None:
        sql = f"UPDATE shared_values SET is_current = 0 WHERE id = {tx.mark}1"
        tx.execute(sql, (current.id,))
    names = "session_id, key, value, agent, shared_at, is_current, disputes"
    sql = f"""
        INSERT INTO shared_values ({names}) VALUES ({tx.dialect.slots(7)})
        RETURNING {rows.SHARED.columns}
    """
    row = (session_id, key, text, agent, tx.now, 1, disputes)
    return rows.SHARED.read(tx.execute(sql, row).fetchone())


def _settle(tx: Transaction, value: SharedValue) -> SharedValue:
    sql = f"""
        UPDATE shared_values SET disputes = NULL WHERE id = {tx.mark}1
        RETURNING {rows.SHARED.columns}
    """
    return rows.SHARED.read(tx.execute(sql, (value.id,)).fetchone())


def shared(
    tx: Transaction, session_id: str, *, key: str | None = None, history: bool = False
) -> list[SharedValue]:
    """See `contracts.Store.shared_values`."""
    conditions = Conditions(tx.dialect)
    conditions.equal(session_id=session_id, key=key)
    if not history:
        conditions.add("is_current = 1")
    sql = f"""
        SELECT {rows.SHARED.columns} FROM shared_values WHERE {conditions.where} ORDER BY key, id
    """
    return rows.SHARED.read_all(tx.execute(sql, conditions.values))

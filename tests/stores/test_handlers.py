"""A signal handler that runs in the middle of a call to the store: between any two lines of it.

Python runs handlers between two bytecodes of the main thread. Here one is run at each line of the
store's modules in turn, and, for PostgreSQL, of the driver's.
"""

from __future__ import annotations

import gc
import itertools
from pathlib import Path

import psycopg
import pytest

from support.lines import run_traced
from support.stores import start_session
from vespera_orchestrator._model import Ending, NextAction, TaskDraft, TaskQuery
from vespera_orchestrator.errors import ClosedError, SchemaVersionError, StoreBusyError
from vespera_orchestrator.stores import sqlite
from vespera_orchestrator.stores.postgres import PostgresStore
from vespera_orchestrator.stores.sqlite import SQLiteStore
from vespera_orchestrator.stores.sqlite.schema import MIGRATIONS

STORES = Path(sqlite.__file__).parent.parent
DRIVER = Path(psycopg.__file__).parent
TRACED = (str(STORES / "sqlite"), str(STORES / "postgres"), str(DRIVER))
STRIDE = {"sqlite": 1, "postgres": 17}
"""Every how many lines; a round trip has many."""


@pytest.fixture(params=STRIDE)
def opening(request, tmp_path):
    """A function that opens the same store anew, and the stride for it."""
    if request.param == "postgres":
        url = request.getfixturevalue("empty_postgres_url")
        return lambda: PostgresStore.open(url), STRIDE["postgres"]
    path = tmp_path / "store.db"
    return lambda: SQLiteStore.open(path, durability="normal"), STRIDE["sqlite"]


def interrupted(call, handler, line):
    """Run *call*, with *handler* in the middle at that many lines; return whether there were so
    many.
    """
    lines = itertools.count()
    has_run = False

    def at_line(_):
        nonlocal has_run
        if next(lines) == line:
            has_run = True
            handler()

    run_traced(call, TRACED, at_line)
    return has_run


def aliases(store):
    """The aliases of all tasks."""
    return {task.alias for task in store.tasks(TaskQuery(limit=None))}


def plan(store, session_id, alias):
    """Plan one task."""
    return store.plan(session_id, [TaskDraft(title=alias, alias=alias)])[0]


def test_a_handler_that_writes_disturbs_nothing(opening):
    """Wherever it runs, the call is whole, and the handler's own write is whole or refused."""
    open_store, stride = opening
    store = open_store()
    session_id = start_session(store).id
    said = {"written": 0, "refused": 0}
    expected = set()
    for line in itertools.count(0, stride):

        def handler(alias=f"handler_{line}"):
            try:
                plan(store, session_id, alias)
            except StoreBusyError:
                said["refused"] += 1
            else:
                said["written"] += 1
                expected.add(alias)

        expected.add(f"call_{line}")
        if not interrupted(lambda: plan(store, session_id, f"call_{line}"), handler, line):  # noqa: B023
            break
    assert aliases(store) == expected
    assert said["refused"] > 5
    events = store.events(kinds=["task_planned"], limit=None)
    assert len(events) == len(expected)
    store.close()


def test_a_handler_that_reads_is_answered(opening):
    """Wherever it runs; it sees the call's task or does not, and the call is whole."""
    open_store, stride = opening
    store = open_store()
    session_id = start_session(store).id
    first = plan(store, session_id, "first")
    for line in itertools.count(0, stride):

        def handler():
            assert store.find_task(first.id, None).alias == "first"
            assert "first" in aliases(store)

        if not interrupted(lambda: plan(store, session_id, f"call_{line}"), handler, line):  # noqa: B023
            break
        assert f"call_{line}" in aliases(store)
    store.close()


def test_a_handler_that_closes_lets_the_call_end(opening):
    """The call is written, or says that the store is closed and has written nothing."""
    open_store, stride = opening
    watcher = open_store()
    session_id = start_session(watcher).id
    outcomes = set()
    for line in itertools.count(0, stride):
        store = open_store()
        alias = f"call_{line}"
        is_written = True
        try:
            more = interrupted(lambda: plan(store, session_id, alias), store.close, line)  # noqa: B023
        except ClosedError:
            is_written, more = False, True
        outcomes.add(is_written)
        assert (alias in aliases(watcher)) == is_written
        if not more:
            store.close()
            break
        with pytest.raises(ClosedError):
            store.last_seq()
    assert True in outcomes
    watcher.close()


def test_a_process_that_is_behind_writes_no_more(opening, request):
    """When a newer version has changed the schema meanwhile, the next write is refused and nothing
    of it is there; reading goes on.
    """
    open_store, _ = opening
    store = open_store()
    session_id = start_session(store).id
    task = plan(store, session_id, "one")
    if isinstance(store, PostgresStore):
        url = request.getfixturevalue("empty_postgres_url")
        address, _, schema = url.rpartition("schema=")
        with psycopg.connect(address.rstrip("?&"), autocommit=True) as db:
            db.execute(f"INSERT INTO {schema}.vespera_migrations VALUES (99, 0, 'newer')")
            refuse_all(store, session_id, task)
            db.execute(f"DELETE FROM {schema}.vespera_migrations WHERE version = 99")
    else:
        with store._database.write() as tx:
            tx.execute("PRAGMA user_version = 99")
        refuse_all(store, session_id, task)
        store._database._connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    assert plan(store, session_id, "two").alias == "two"
    store.close()


def refuse_all(store, session_id, task):
    """Each write is refused, with the version that was found."""
    ending = Ending(action=NextAction.COMPLETE, summary="s")
    for write in (
        lambda: plan(store, session_id, "two"),
        lambda: store.claim(session_id, "ada", lease_s=60),
        lambda: store.finish(task.id, None, ending, agent="ada"),
    ):
        with pytest.raises(SchemaVersionError) as caught:
            write()
        assert caught.value.found == 99
    assert store.find_task(task.id, None) == task


def test_what_an_interruption_left_open_is_not_in_the_way(opening):
    """Ctrl-C may fall where a ``with`` block is being left, and its end comes with the traceback's.

    Until then, and when it comes, whoever saves what there is can write.
    """
    open_store, _ = opening
    store = open_store()
    session_id = start_session(store).id

    def be_interrupted():
        left_open = store._database.write()
        left_open.__enter__()
        error = KeyboardInterrupt()
        error.left_open = left_open  # as a traceback would hold it
        raise error

    try:
        be_interrupted()
    except KeyboardInterrupt as exc:
        plan(store, session_id, "one")
        assert aliases(store) == {"one"}
        with store.ledger(write=True) as ledger:
            del exc.left_open
            gc.collect()
            assert ledger.count("tasks") == 1
    plan(store, session_id, "two")
    assert aliases(store) == {"one", "two"}
    store.close()

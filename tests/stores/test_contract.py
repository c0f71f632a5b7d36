"""Every store runs the whole of the published contract."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vespera_orchestrator.errors import MissingDependencyError
from vespera_orchestrator.stores.postgres import PostgresStore
from vespera_orchestrator.stores.sqlite import SQLiteStore
from vespera_orchestrator.testing import ManualClock, MemoryStore, StoreContract


class TestSQLite(StoreContract):
    """A file, opened anew by each side."""

    @pytest.fixture
    def open_store(self, tmp_path):
        return lambda clock: SQLiteStore.open(tmp_path / "orchestrator.db", clock=clock)


class TestMemory(StoreContract):
    """A store of one process is one object for all sides."""

    @pytest.fixture
    def open_store(self):
        made = []

        def open_store(clock):
            made.append(made[0] if made else MemoryStore(clock=clock))
            return made[-1]

        return open_store


def test_the_clock_stands_still_until_told():
    """It tells the same time until it is advanced, by seconds or larger units, also backward."""
    clock = ManualClock()
    start = clock()
    assert clock() == start
    assert start.utcoffset() is not None
    clock.advance(1.5)
    clock.advance(hours=-1)
    assert (clock() - start).total_seconds() == 1.5 - 3600
    assert ManualClock(start)() == start


WITHOUT = """
import sys
sys.modules["pytest"] = None
from vespera_orchestrator import errors
from vespera_orchestrator.testing import ManualClock, MemoryStore
MemoryStore(clock=ManualClock()).close()
try:
    from vespera_orchestrator.testing import StoreContract
except errors.MissingDependencyError as exc:
    print(exc)
"""


def test_only_the_contract_needs_pytest():
    """The clock and the store in memory work without pytest; the contract says what to install."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert (
        done.stdout
        == f"{MissingDependencyError('StoreContract', 'pytest', 'python -m pip install pytest')}\n"
    )


class TestPostgres(StoreContract):
    """A schema, with connections of its own for each side."""

    @pytest.fixture
    def open_store(self, empty_postgres_url):
        return lambda clock: PostgresStore.open(empty_postgres_url, clock=clock)

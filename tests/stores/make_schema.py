"""Write ``schema-N.sql`` here: a store of today's schema with some of everything in it, as text.

To be run once for each release.

    python tests/stores/make_schema.py

The file of a released schema is never written anew: it stands for the stores that people have.

"""

from __future__ import annotations

import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import vespera_orchestrator as vespera
from vespera_orchestrator.stores.sqlite.schema import APPLICATION_ID, MIGRATIONS

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def fill(orch):
    """Do some of everything."""
    orch.initialize_session("A store of the past", context={"n": 1})
    orch.plan_tasks(
        [
            {"title": "First"},
            {"title": "Second", "dependencies": ["first"], "condition": "first.outputs.n > 1"},
            {"title": "Third", "priority": 2, "estimated_effort": "2 hours"},
            {"title": "Held", "dependencies": [{"task": "third", "on": "blocked"}]},
        ]
    )
    with orch.execute_task("first") as work:
        work.checkpoint({"n": 1}, "half", 0.5)
        work.complete(summary="done", detailed_work="# First\n", outputs={"n": 2})
    orch.complete_task("third", summary="it broke", detailed_work="so far", next_action="blocked")
    orch.execute_task("held", lease_s=10**8).checkpoint({"at": 1})


def main():
    """Make the store and write it."""
    moments = iter(range(10**6))
    with tempfile.TemporaryDirectory() as folder:
        with vespera.open(folder, clock=lambda: _BEGIN + timedelta(seconds=next(moments))) as orch:
            fill(orch)
            path = orch.home / "orchestrator.db"
        db = sqlite3.connect(path)
        pragmas = [
            f"PRAGMA application_id={APPLICATION_ID};",
            f"PRAGMA user_version={len(MIGRATIONS)};",
        ]
        # The schema is dumped with its triggers last, so that filling the tables does not fire
        # them.
        text = "\n".join([*db.iterdump(), *pragmas]) + "\n"
        db.close()
    place = Path(__file__).with_name(f"schema-{len(MIGRATIONS)}.sql")
    place.write_text(text, "utf-8")


if __name__ == "__main__":
    main()

"""A home with some of everything in it, its rows, and a way to damage them."""

from __future__ import annotations

import sqlite3

from vespera_orchestrator.contracts import COPIED_TABLES


def do_some_of_everything(orch):
    """Leave tasks completed, blocked with a recovery, skipped, cancelled, archived and held."""
    orch.initialize_session("Maintenance", context={"why": "tests"})
    orch.plan_tasks(
        [
            {"title": "First"},
            {"title": "Second", "dependencies": ["first"], "condition": "first.outputs.n > 1"},
            {"title": "Third", "dependencies": ["second"]},
            {
                "title": "Whole",
                "children": [{"title": "Part"}, {"title": "Rest", "dependencies": ["part"]}],
            },
            {"title": "Doomed"},
            {"title": "Follower", "dependencies": ["doomed"]},
            {
                "title": "Either",
                "dependencies": ["third", "whole"],
                "condition": "third.success or whole.failed",
            },
        ]
    )
    with orch.execute_task("first") as work:
        for n in range(5):
            work.checkpoint({"n": n}, f"step {n}")
        work.save_artifact("Notes", "one")
        work.save_artifact("Notes", "two")
        work.complete(summary="done", detailed_work="# First\n\nöäü\n", outputs={"n": 2})
    orch.complete_task("part", summary="it broke", detailed_work="so far", next_action="blocked")
    orch.cancel_task("doomed", "not wanted")
    orch.delete_task("follower")
    orch.execute_task("second", agent="other", lease_s=10**6).checkpoint({"at": 1})
    orch.artifacts.save("Binary", bytes(range(256)) * 8000)
    orch.artifacts.save("Empty", "")


def rows_of(orch):
    """Every row of every table that copies of a store contain."""
    with orch._store.ledger() as ledger:
        return {table: list(ledger.rows(table)) for table in COPIED_TABLES}


def content_file(orch, artifact):
    """Return the file that holds the content of an artifact."""
    folder = orch.home / "artifacts" / artifact.digest[:2]
    return next(folder.glob(f"{artifact.digest[2:]}*"))


def alter(orch, *statements):
    """Change the database as no store of ours does."""
    db = sqlite3.connect(orch.home / "orchestrator.db")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()

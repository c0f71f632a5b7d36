"""Write ``today.sql`` into the package: the tables that the numbered steps make of an empty file.

To be run after each new step, whose columns are then in new files at once.

    python tests/stores/make_today.py

"""

from __future__ import annotations

import sqlite3
from contextlib import closing

from vespera_orchestrator.stores.sqlite.schema import MIGRATIONS, TODAY

HEAD = (
    "-- What the steps in schema.py make of an empty file. Written by tests/stores/make_today.py."
)
TABLES = """
    SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid
"""


def main():
    """Take the steps and write down what there is then."""
    with closing(sqlite3.connect(":memory:")) as db:
        for step in MIGRATIONS:
            db.executescript(step)
        tables = [f"{sql};" for (sql,) in db.execute(TABLES)]
    version = f"PRAGMA user_version={len(MIGRATIONS)};"
    TODAY.write_text("\n".join([HEAD, *tables, version]) + "\n", "utf-8")


if __name__ == "__main__":
    main()

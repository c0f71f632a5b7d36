"""Measure the library against floors and peers in the same run, and print a table.

Slowness is reported; it is never an error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path

import attrs

from measure import Row, Scale, table

SUBJECTS = {
    "store": (
        "store",
        "plan, claim and complete, against the same SQL by hand; the same in stores that hold more",
    ),
    "contention": ("contention", "processes that drain one queue, and how long they wait"),
    "postgres": (
        "postgres",
        "the PostgreSQL store, one process and eight, beside SQL by hand; needs the extra",
    ),
    "watching": ("watching", "how soon a watcher sees another process's events, and what it costs"),
    "resume": ("resume", "coming back to a session, and the next step, where more is stored"),
    "import": (
        "startup",
        "importing the package and opening the default store, over a bare interpreter",
    ),
    "hosts": ("hosts", "calls through asyncio and MCP beside plain calls; run() beside a loop"),
    "graph": ("graph", "whole-graph analysis, against networkx alone"),
    "worktrees": (
        "worktrees",
        "worktree creation, snapshots, landing and the forecast of conflicts, against git",
    ),
    "content": (
        "content",
        "storing and reading the bytes of artifacts, against the same by hand; memory for 2 GB",
    ),
    "index": (
        "index",
        "taking artifacts into the search index, searching, disk; against SQLite's FTS5",
    ),
    "first": (
        "first_answer",
        "a new process's first search and briefing, and its memory, over opening the home",
    ),
    "retrieval": (
        "retrieval",
        "whether the right text is found, against BM25, either half alone, and LanceDB's hybrid",
    ),
    "documents": ("documents", "document updates: nothing to change, one completion after many"),
}
"""For each name the module, and what it measures."""


_EPILOG = """subjects:
{subjects}

Everything is made in temporary folders; TMPDIR says on which disk. CPU time comes first, wall time
follows in brackets."""


def arguments() -> argparse.Namespace:
    subjects = [f"  {name:11} {text}" for name, (_, text) in SUBJECTS.items()]
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG.format(subjects="\n".join(subjects)),
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="subjects to measure, from the list below; all when none is named",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="do little of everything, in under a minute: shows that it runs, measures badly",
    )
    parser.add_argument(
        "--large",
        action="store_true",
        help="also a million tasks, 100,000 passages, 50,000 files: takes minutes and gigabytes",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in SUBJECTS]
    if unknown:
        parser.error(f"{unknown[0]!r} is not a subject; choose from {', '.join(SUBJECTS)}")
    if chosen.quick and chosen.large:
        parser.error("--quick and --large exclude each other")
    return chosen


def machine() -> dict[str, str]:
    """Say what it was measured on."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def measure(name: str, chosen: argparse.Namespace) -> list[Row]:
    prefix = f"vespera-bench-{name}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        scale = Scale(chosen.quick, chosen.large, Path(folder).resolve())
        module, _ = SUBJECTS[name]
        rows: list[Row] = import_module(module).rows(scale)
    if not chosen.quick:
        return rows
    # The targets are meant for the full sizes; so little work says nothing about them.
    return [attrs.evolve(row, met=None) for row in rows]


def forget_environment() -> None:
    """Keep the benchmarks away from the home and session of whoever runs them."""
    for variable in list(os.environ):
        if variable.startswith(("VESPERA_ORCHESTRATOR_", "MCP_ORCHESTRATOR_")):
            del os.environ[variable]


def main() -> int:
    chosen = arguments()
    forget_environment()
    about = machine()
    measured: list[dict[str, object]] = []
    failed: list[str] = []
    description = [f"{key} {value}" for key, value in about.items()]
    print(", ".join(description), end="\n\n", flush=True)
    for name in chosen.names or SUBJECTS:
        print(f"{name}: {SUBJECTS[name][1]}", file=sys.stderr, flush=True)
        try:
            rows = measure(name, chosen)
        except Exception:  # noqa: BLE001 - the other subjects are measured all the same
            traceback.print_exc()
            failed.append(name)
            continue
        print(f"### {name}\n\n{table(rows)}\n", flush=True)
        measured += [{"subject": name, **attrs.asdict(row)} for row in rows]
    if chosen.json is not None:
        results = {"machine": about, "quick": chosen.quick, "rows": measured}
        text = json.dumps(results, indent=1, ensure_ascii=False)
        chosen.json.write_text(text, "utf-8")
    if failed:
        print(f"could not be measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Indexing artifacts, searching them, and the size on disk; beside SQLite's FTS5.

Both sides have the same passages. Searches are by words and vectors where the extra ``vectors`` is
installed. They are always filtered by session, and by tag where the row says so.
"""

from __future__ import annotations

import math
import random
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs

import vespera_orchestrator as vespera
from measure import Cost, Row, Scale, median, metered, quantile, say, size_bytes
from vespera_orchestrator.artifacts.search import passages, upkeep
from vespera_orchestrator.artifacts.search.table import SearchFilter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vespera_orchestrator import Orchestrator

_PASSAGES_EACH = 5
_PER_SECOND = 2000
_P50_S = 0.025
_P99_S = 0.060
_RECALL = 0.98
_MB_PER_MB = 2.5
"""How much disk a MB of text may take."""


class Writer:
    """Writes texts with words as frequent as those of a language, the same texts each time.

    A few words occur very often, most hardly ever.
    """

    def __init__(self, vocabulary: int = 20_000) -> None:
        self.choice = random.Random(17)
        syllables = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]
        self.words = [
            "".join(self.choice.choices(syllables, k=self.choice.randrange(1, 5)))
            + str(n % 7 or "")
            for n in range(vocabulary)
        ]
        self.weights = [1 / (rank + 3) for rank in range(vocabulary)]

    def text(self) -> str:
        """Write an artifact of five paragraphs, each of which is cut as one passage."""
        return "\n\n".join(self._paragraph() for _ in range(_PASSAGES_EACH)) + "\n"

    def _paragraph(self) -> str:
        text = " ".join(self.choice.choices(self.words, self.weights, k=200))[:850]
        return text.capitalize() + "."

    def query(self) -> str:
        """Ask for four words: two that are frequent and two that are not."""
        return " ".join(
            [
                *self.choice.choices(self.words[20:300], k=2),
                *self.choice.choices(self.words[300:6000], k=2),
            ]
        )


def rows(scale: Scale) -> list[Row]:
    sizes = [1000, 10_000, 100_000] if scale.large else [scale.pick(10_000, 250)]
    return [row for wanted in sizes for row in _of_size(scale, wanted)]


def _of_size(scale: Scale, wanted: int) -> list[Row]:
    project, writer = scale.folder / f"project {wanted}", Writer()
    project.mkdir()
    with vespera.open(project) as orch, closing(_fts(scale.folder / f"fts {wanted}.db")) as fts:
        orch.initialize_session("measure")
        orch.plan_task("Measured")
        orch.artifacts.save("Warm-up", "LanceDB is loaded.")
        orch.catch_up()
        begun = time.perf_counter()
        quarters = [
            _quarter(orch, fts, [writer.text() for _ in range(wanted // _PASSAGES_EACH // 4)])
            for _ in range(4)
        ]
        took_s = time.perf_counter() - begun
        say(f"{wanted // _PASSAGES_EACH:,} artifacts saved and indexed, {took_s:.1f} s")
        queries = [writer.query() for _ in range(scale.pick(200, 20))]
        searched = {
            name: [_searched(queries, orch, fts, **how) for _ in range(scale.pick(3, 1) + 1)][1:]
            for name, how in _WAYS.items()
        }
        recall = _recall(queries, orch)
        late = _tail(orch, writer, queries)
        cold, first = _cold(orch, queries[0]), _cold(orch, None)
        now, peer = (
            size_bytes(orch.home / "index.lance"),
            size_bytes(scale.folder / f"fts {wanted}.db"),
        )
        live = _live_bytes(orch.home / "index.lance")
    total, text_bytes = sum(q.passages for q in quarters), sum(q.text_bytes for q in quarters)
    small = _live_bytes_of_a_quarter(
        scale.folder / f"quarter {wanted}", wanted // _PASSAGES_EACH // 4
    )
    return [
        *_catch_up_rows(total, quarters),
        *[row for name, sides in searched.items() for row in _search_rows(total, name, sides)],
        _tail_row(total, *late),
        *_recall_rows(total, recall),
        _cold_row(total, cold, first),
        *_disk_rows(total, *(number / text_bytes for number in (now, live, small * 4, peer))),
    ]


@attrs.frozen
class _Quarter:
    passages: int
    text_bytes: int
    ours: Cost
    """For one passage, like *theirs*."""
    theirs: Cost


def _quarter(orch: Orchestrator, fts: sqlite3.Connection, texts: Sequence[str]) -> _Quarter:
    """Save texts, then let both sides take them in."""
    for number, text in enumerate(texts):
        how = {
            "kind": ("general", "design", "log")[number % 3],
            "task": None if number % 10 else "measured",
        }
        orch.artifacts.save(text[:40], text, tags=["even"] if len(text) % 2 == 0 else [], **how)
    cut = [p.text for text in texts for p in passages.split(text, "text/markdown")]
    with metered() as ours:
        orch.artifacts.catch_up()
    with metered() as theirs:
        _fts_add(fts, cut)
    return _Quarter(
        len(cut),
        sum(len(text.encode()) for text in texts),
        ours.per(len(cut)),
        theirs.per(len(cut)),
    )


def _live_bytes_of_a_quarter(project: Path, count: int) -> int:
    project.mkdir()
    writer = Writer()
    with vespera.open(project) as orch:
        orch.initialize_session("measure")
        for number in range(count):
            orch.artifacts.save(f"Artifact {number}", writer.text())
        orch.catch_up()
        return _live_bytes(orch.home / "index.lance")


def _live_bytes(folder: Path) -> int:
    """Return the size of the index after removing the versions that it keeps for readers."""
    if not any(folder.rglob("*.lance")):
        return size_bytes(folder)  # a small index, in a SQLite file
    import lancedb

    generation = next(path for path in folder.iterdir() if path.is_dir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that readers elsewhere would fail: there are none
        lancedb.connect(str(generation)).open_table("passages").optimize(
            cleanup_older_than=timedelta(0)
        )
    return size_bytes(folder)


# --- the peer -------------------------------------------------------------------


def _fts(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute(
        "CREATE VIRTUAL TABLE passages"
        " USING fts5 (text, session UNINDEXED, tokenize = 'porter unicode61')"
    )
    return db


def _fts_add(db: sqlite3.Connection, texts: Sequence[str]) -> None:
    with db:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO passages VALUES (?, 'session')", ((text,) for text in texts))


def _fts_search(db: sqlite3.Connection, query: str) -> list[tuple[str, float]]:
    words = " OR ".join(f'"{word}"' for word in query.split())
    sql = (
        "SELECT text, rank FROM passages WHERE passages MATCH ? AND session = 'session'"
        " ORDER BY rank LIMIT 10"
    )
    return db.execute(sql, (words,)).fetchall()


# --- rows -------------------------------------------------------------------------


_WAYS: dict[str, dict[str, Any]] = {
    "by text": {"mode": "text"},
    "as it is by default": {},
    "the same, filtered by tag": {"tags": "even"},
    "the same, filtered by kind": {"kind": "design"},
    "the same, filtered by task": {"task": "measured"},
    "the same, of all sessions and versions": {"session": "*", "include_superseded": True},
}
"""The tag is on half of the texts, the kind and the task on a third and a tenth of them."""


def _searched(
    queries: Sequence[str], orch: Orchestrator, fts: sqlite3.Connection, **how: Any
) -> tuple[list[Cost], list[Cost]]:
    """Ask both sides each question, one after the other."""
    ours, theirs = [], []
    for query in queries:
        with metered() as meter:
            hits = orch.artifacts.search(query, **how)
        ours.append(meter.per(1))
        with metered() as meter:
            rows_ = _fts_search(fts, query)
        theirs.append(meter.per(1))
        if not hits or not rows_:
            raise RuntimeError(f"nothing was found for {query!r}")
    return ours, theirs


def _recall(queries: Sequence[str], orch: Orchestrator) -> float | None:
    """Return which share of the ten nearest a search finds; ``None`` without vectors."""
    if orch.artifacts.index_status().embedder is None:
        return None
    view = orch.artifacts._index  # noqa: SLF001 - below the ranking, where approximation is
    if not view._state().large:  # noqa: SLF001
        return 1.0  # a small index compares every vector
    table = view._table(view._state())  # noqa: SLF001
    filters = SearchFilter(session_ids=(orch.current_session().id,))
    shares = []
    for query in queries:
        vector = view.embedder.query(query)
        found = {(p.artifact_id, p.start) for p in table.search(None, vector, filters, 200)[1][:10]}
        exact = {
            (p.artifact_id, p.start)
            for p in table.search(None, vector, filters, 200, exact=True)[1][:10]
        }
        shares.append(len(found & exact) / len(exact))
    return sum(shares) / len(shares)


def _recall_rows(total: int, recall: float | None) -> list[Row]:
    if recall is None:
        return []
    return [
        Row(
            what=f"recall at ten of vectors, {total:,} passages, filtered",
            ours=f"{recall:.3f}",
            against="every vector compared",
            floor="1",
            ratio=recall,
            target=f"≥ {_RECALL}",
            met=recall >= _RECALL,
            figures={"recall": recall},
        )
    ]


def _tail(orch: Orchestrator, writer: Writer, queries: Sequence[str]) -> tuple[int, float, float]:
    """Search with unindexed passages.

    Returns:
        How many there are, and the median and the slowest in a hundred searches, in seconds.
    """
    state = orch.artifacts._index._state()  # noqa: SLF001 - nothing else tells how many may wait
    most = max(
        upkeep.MIN_UNINDEXED,
        int(upkeep.UNINDEXED_PER_ROOT * math.sqrt(orch.artifacts.index_status().passages)),
    )
    for _ in range(most // 2 // _PASSAGES_EACH):
        text = writer.text()
        orch.artifacts.save(text[:40], text)
    orch.artifacts.catch_up()
    waits = []
    for query in queries:
        with metered() as meter:
            orch.artifacts.search(query)
        waits.append(meter.per(1).wall_s)
    waiting = orch.artifacts._index._table(state).size().unindexed  # noqa: SLF001
    return waiting, quantile(waits, 0.5), quantile(waits, 0.99)


def _tail_row(total: int, waiting: int, p50: float, p99: float) -> Row:
    return Row(
        what=f"search as it is by default over {total:,} passages, {waiting:,} of them unindexed",
        ours=f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms",
        against="half of what may wait: the mean of a growing index",
        floor="",
        ratio=None,
        figures={"p50_s": p50, "p99_s": p99, "waiting": waiting},
    )


_COLD = r"""
import re, sys, time
begun = time.perf_counter()
import vespera_orchestrator
orch = vespera_orchestrator.open(sys.argv[1])
if len(sys.argv) > 2:
    assert orch.artifacts.search(sys.argv[2])
else:
    orch.next_step()
# ru_maxrss starts with the parent's
peak = re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())
print(time.perf_counter() - begun, time.process_time(), int(peak[1]) / 1024)
"""


def _cold(orch: Orchestrator, query: str | None) -> tuple[Cost, float]:
    """Open the project in a new process and ask once: what it took, and the most memory in MB."""
    words = [str(orch.project), *([query] if query is not None else [])]
    done = subprocess.run(
        [sys.executable, "-c", _COLD, *words], capture_output=True, text=True, check=True
    )
    wall, cpu, memory = map(float, done.stdout.split())
    return Cost(cpu, wall), memory


def _cold_row(total: int, searched: tuple[Cost, float], asked: tuple[Cost, float]) -> Row:
    return Row(
        what=f"a new process until its first answer, {total:,} passages",
        ours=f"{searched[0]}, {searched[1]:.0f} MB of memory",
        against="the same, asking for the next step",
        floor=f"{asked[0]}, {asked[1]:.0f} MB",
        ratio=searched[0].cpu_s / asked[0].cpu_s,
        figures={
            "cpu_s": searched[0].cpu_s,
            "wall_s": searched[0].wall_s,
            "memory_mb": searched[1],
        },
    )


def _catch_up_rows(total: int, quarters: Sequence[_Quarter]) -> list[Row]:
    row = Row.of(
        f"catch-up, a passage, {total:,} in four parts",
        [q.ours for q in quarters],
        "FTS5",
        [q.theirs for q in quarters],
    )
    rate = total / sum(q.ours.wall_s * q.passages for q in quarters)
    first, last = quarters[0].ours, quarters[-1].ours
    return [
        attrs.evolve(
            row,
            target=f"≥ {_PER_SECOND:,} passages a second",
            met=rate >= _PER_SECOND,
            reached=f"{rate:,.0f}",
            figures={**row.figures, "passages_per_s": rate},
        ),
        Row.of("catch-up, a passage of the last part", [last], "of the first part", [first]),
    ]


def _search_rows(
    total: int, name: str, searched: Sequence[tuple[list[Cost], list[Cost]]]
) -> list[Row]:
    ours, theirs = ([median(side) for side in sides] for sides in zip(*searched, strict=True))
    waits = [[c.wall_s for side in sides for c in side] for sides in zip(*searched, strict=True)]
    p50, p99 = quantile(waits[0], 0.5), quantile(waits[0], 0.99)
    shown = [
        f"p50 {quantile(w, 0.5) * 1000:.1f} ms, p99 {quantile(w, 0.99) * 1000:.1f} ms"
        for w in waits
    ]
    hundred = total >= 100_000  # noqa: PLR2004 - the size that the target speaks of
    return [
        Row.of(f"search {name} over {total:,} passages", ours, "FTS5, ten best by bm25", theirs),
        Row(
            what=f"search {name} over {total:,} passages: wall time",
            ours=shown[0],
            against="FTS5, ten best by bm25",
            floor=shown[1],
            ratio=p50 / quantile(waits[1], 0.5),
            target=f"p50 ≤ {_P50_S * 1000:.0f} ms, p99 ≤ {_P99_S * 1000:.0f} ms at 100,000",
            met=p50 <= _P50_S and p99 <= _P99_S if hundred else None,
            figures={
                "p50_s": p50,
                "p99_s": p99,
                "floor_p50_s": quantile(waits[1], 0.5),
                "floor_p99_s": quantile(waits[1], 0.99),
            },
        ),
    ]


def _disk_rows(total: int, now: float, live: float, small: float, peer: float) -> list[Row]:
    against, floor = "FTS5, with its own copy of the text", f"{peer:.2f} MB"
    return [
        Row(
            what=f"disk for a MB of text, {total:,} passages",
            ours=f"{live:.2f} MB ({small:.2f} for a quarter of it)",
            against=against,
            floor=floor,
            ratio=live / peer,
            target=f"≤ {_MB_PER_MB} MB",
            met=live <= _MB_PER_MB,
            reached=f"{live:.2f}",
            figures={"mb_per_mb": live, "small_mb_per_mb": small, "floor_mb_per_mb": peer},
        ),
        Row(
            what=f"disk for a MB of text, {total:,} passages just indexed in four parts,"
            " with the versions kept for readers",
            ours=f"{now:.2f} MB",
            against=against,
            floor=floor,
            ratio=now / peer,
            figures={"mb_per_mb": now, "floor_mb_per_mb": peer},
        ),
    ]

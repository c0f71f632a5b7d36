"""Taking artifacts into the search index, searching it, and what it takes on disk; beside SQLite's FTS5 with the same passages."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import vespera_orchestrator as vespera
from measure import Cost, Row, Scale, median, metered, quantile, say, size_bytes
from vespera_orchestrator.artifacts import passages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator import Orchestrator

_PASSAGES_EACH = 5
_PER_SECOND = 1000
_P50_S = 0.030
_LINEAR = 1.3
"""How much more disk a MB may take in the whole than in its first quarter."""


class Writer:
    """Writes texts of words as frequent as those of a language: few very often, most hardly ever. The same texts each time."""

    def __init__(self, vocabulary: int = 20_000) -> None:
        self.choice = random.Random(17)
        syllables = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]
        self.words = ["".join(self.choice.choices(syllables, k=self.choice.randrange(1, 5))) + str(n % 7 or "") for n in range(vocabulary)]
        self.weights = [1 / (rank + 3) for rank in range(vocabulary)]

    def text(self) -> str:
        """Write an artifact of five paragraphs, each of which is cut as one passage."""
        return "\n\n".join(self._paragraph() for _ in range(_PASSAGES_EACH)) + "\n"

    def _paragraph(self) -> str:
        text = " ".join(self.choice.choices(self.words, self.weights, k=200))[:850]
        return text.capitalize() + "."

    def query(self) -> str:
        """Ask for four words: two that are frequent and two that are not."""
        return " ".join([*self.choice.choices(self.words[20:300], k=2), *self.choice.choices(self.words[300:6000], k=2)])


def rows(scale: Scale) -> list[Row]:
    found = []
    for wanted in [scale.pick(10_000, 250), *([100_000] if scale.large else [])]:
        project = scale.folder / f"project {wanted}"
        project.mkdir()
        with vespera.open(project) as orch:
            orch.initialize_session("measure")
            found += _of_size(scale, orch, wanted)
    return found


def _of_size(scale: Scale, orch: Orchestrator, wanted: int) -> list[Row]:
    writer = Writer()
    texts: list[str] = []
    begun = time.perf_counter()
    orch.artifacts.save("Warm-up", "LanceDB is loaded.")
    orch.catch_up()
    taken: list[Cost] = []
    fts_taken: list[Cost] = []
    disk: list[tuple[float, float]] = []
    with closing(_fts(scale, wanted)) as fts:
        for _ in range(4):  # in quarters, in turns
            fresh = [writer.text() for _ in range(wanted // _PASSAGES_EACH // 4)]
            for text in fresh:
                orch.artifacts.save(f"Artifact {len(texts)}", text)
                texts.append(text)
            cut = [passages.split(text, "text/markdown") for text in fresh]
            count = sum(map(len, cut))
            with metered() as meter:
                orch.artifacts.catch_up()
            taken.append(meter.per(count))
            with metered() as meter:
                _fts_add(fts, [p.text for passages_ in cut for p in passages_])
            fts_taken.append(meter.per(count))
            stored = sum(len(text.encode()) for text in texts)
            disk.append((size_bytes(orch.home / "index.lance") / stored, size_bytes(scale.folder / f"fts {wanted}.db") / stored))
        total = fts.execute("SELECT count(*) FROM passages").fetchone()[0]
        say(f"{len(texts):,} artifacts saved and taken in, {time.perf_counter() - begun:.1f} s")
        queries = [writer.query() for _ in range(scale.pick(200, 20))]
        searched = [_searched(queries, orch, fts) for _ in range(scale.pick(3, 1) + 1)][1:]
    return [_catch_up_row(total, taken, fts_taken), *_search_rows(total, searched), _disk_row(total, disk)]


# --- the peer -------------------------------------------------------------------


def _fts(scale: Scale, wanted: int) -> sqlite3.Connection:
    db = sqlite3.connect(scale.folder / f"fts {wanted}.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE VIRTUAL TABLE passages USING fts5 (text, session UNINDEXED, tokenize = 'porter unicode61')")
    return db


def _fts_add(db: sqlite3.Connection, texts: Sequence[str]) -> None:
    with db:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO passages VALUES (?, 'session')", ((text,) for text in texts))


def _fts_search(db: sqlite3.Connection, query: str) -> list[tuple[str, float]]:
    words = " OR ".join(f'"{word}"' for word in query.split())
    sql = "SELECT text, rank FROM passages WHERE passages MATCH ? AND session = 'session' ORDER BY rank LIMIT 10"
    return db.execute(sql, (words,)).fetchall()


# --- rows -------------------------------------------------------------------------


def _searched(queries: Sequence[str], orch: Orchestrator, fts: sqlite3.Connection) -> tuple[list[Cost], list[Cost]]:
    """Ask both sides each question, one after the other."""
    ours, theirs = [], []
    for query in queries:
        with metered() as meter:
            hits = orch.artifacts.search(query)
        ours.append(meter.per(1))
        with metered() as meter:
            rows_ = _fts_search(fts, query)
        theirs.append(meter.per(1))
        if not hits or not rows_:
            raise RuntimeError(f"nothing was found for {query!r}")
    return ours, theirs


def _catch_up_row(total: int, ours: Sequence[Cost], fts: Sequence[Cost]) -> Row:
    row = Row.of(f"catch-up, a passage, {total:,} in all", ours, "insert into FTS5", fts)
    rate = 1 / median(ours).wall_s
    return Row(
        what=row.what,
        ours=row.ours,
        against=row.against,
        floor=row.floor,
        ratio=row.ratio,
        spread=row.spread,
        target=f"≥ {_PER_SECOND:,} passages a second",
        met=rate >= _PER_SECOND,
        reached=f"{rate:,.0f}",
        figures={**row.figures, "passages_per_s": rate},
    )


def _search_rows(total: int, searched: Sequence[tuple[list[Cost], list[Cost]]]) -> list[Row]:
    ours, theirs = ([median(side) for side in sides] for sides in zip(*searched, strict=True))
    waits = [[c.wall_s for side in sides for c in side] for sides in zip(*searched, strict=True)]
    p50, p99 = quantile(waits[0], 0.5), quantile(waits[0], 0.99)
    shown = [f"p50 {quantile(w, 0.5) * 1000:.1f} ms, p99 {quantile(w, 0.99) * 1000:.1f} ms" for w in waits]
    hundred = total >= 100_000  # noqa: PLR2004 - the size that the target speaks of
    return [
        Row.of(f"search by text over {total:,} passages", ours, "FTS5, ten best by bm25", theirs),
        Row(
            what=f"search by text over {total:,} passages: wall time",
            ours=shown[0],
            against="FTS5, ten best by bm25",
            floor=shown[1],
            ratio=p50 / quantile(waits[1], 0.5),
            target="p50 ≤ 30 ms at 100,000",
            met=p50 <= _P50_S if hundred else None,
            figures={"p50_s": p50, "p99_s": p99, "floor_p50_s": quantile(waits[1], 0.5), "floor_p99_s": quantile(waits[1], 0.99)},
        ),
    ]


def _disk_row(total: int, disk: Sequence[tuple[float, float]]) -> Row:
    (first, _), (last, peer) = disk[0], disk[-1]
    return Row(
        what=f"disk for a MB of text, {total:,} passages",
        ours=f"{last:.2f} MB ({first:.2f} at a quarter)",
        against="FTS5, its own copy of the text included",
        floor=f"{peer:.2f} MB",
        ratio=last / peer,
        target="linear",
        met=last <= first * _LINEAR,
        reached=f"{last / first:.2f} of a quarter's",
        figures={"mb_per_mb": last, "first_mb_per_mb": first, "floor_mb_per_mb": peer},
    )

"""Whether the right text is found: real questions over real texts that are on the machine anyway, one right answer for each question.

*code*: a docstring's first line, and the function without its docstring. *prose*: a docstring's first line, and the rest of the docstring.
*commits*: a commit's subject, and its diff; of the repository that this file is in, or of those that RETRIEVAL_REPOSITORIES names.
"""

from __future__ import annotations

import ast
import asyncio
import math
import os
import random
import re
import subprocess
import sys
import sysconfig
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

import vespera_orchestrator as vespera
from measure import Row, Scale, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vespera_orchestrator import Orchestrator

_BEYOND_BM25 = 0.08
_FOREIGN = ("numpy", "networkx", "lancedb", "jinja2", "hypothesis", "docutils", "attr", "cattrs", "filelock", "_pytest", "yaml", "tqdm")


@attrs.frozen
class Pair:
    """A question and the text that answers it."""

    question: str
    title: str
    text: str
    media_type: str


def rows(scale: Scale) -> list[Row]:
    sets = {"code": _code(), "prose": _prose(), "commits": _commits()}
    return [
        row
        for name, pairs in sets.items()
        if len(pairs) >= 100  # noqa: PLR2004 - fewer tell nothing
        for row in _measured(name, _sample(pairs, scale.pick(3000, 150)), scale)
    ]


def _measured(name: str, pairs: Sequence[Pair], scale: Scale) -> list[Row]:
    project = scale.folder / name
    project.mkdir()
    with vespera.open(project) as orch:
        orch.initialize_session("measure")
        saved = [orch.artifacts.save(f"{number} {pair.title}", pair.text, media_type=pair.media_type) for number, pair in enumerate(pairs)]
        place = {artifact.id: number for number, artifact in enumerate(saved)}
        orch.catch_up()
        asked = [pair.question for pair in pairs[: scale.pick(500, 50)]]
        say(f"{name}: {len(pairs):,} texts, {len(asked)} questions")
        answers = {"BM25": _bm25([f"{pair.title}\n{pair.text}" for pair in pairs], asked)}
        for mode in ("vector", "text", "hybrid"):
            if mode == "text" or orch.artifacts.index_status().embedder:
                answers[mode] = [[place[hit.artifact_id] for hit in orch.artifacts.search(q, mode=mode)] for q in asked]
        if "vector" in answers:
            answers["LanceDB's own hybrid"] = [[place[a] for a in found] for found in _reciprocal_ranks(orch, asked)]
    ours = answers.pop("hybrid", answers.get("text", []))
    return [_row(name, ours, against, theirs) for against, theirs in answers.items() if theirs is not ours]


def _row(name: str, ours: list[list[int]], against: str, theirs: list[list[int]]) -> Row:
    a, b = mrr(ours), mrr(theirs)
    least = _BEYOND_BM25 if against == "BM25" else 0.0
    return Row(
        what=f"{name}: MRR (in the first place, among the first ten)",
        ours=_told(ours),
        against={"text": "ours by words alone", "vector": "ours by vectors alone"}.get(against, against),
        floor=_told(theirs),
        ratio=a / b if b else None,
        target=f"≥ {least:.2f} more" if least else "more",
        met=a >= b + least,
        reached=f"{a - b:+.3f}",
        figures={"mrr": a, "floor_mrr": b},
    )


def _told(answers: list[list[int]]) -> str:
    first = sum(found[:1] == [i] for i, found in enumerate(answers)) / len(answers)
    ten = sum(i in found[:10] for i, found in enumerate(answers)) / len(answers)
    return f"{mrr(answers):.3f} ({first:.0%}, {ten:.0%})"


def mrr(answers: list[list[int]]) -> float:
    """Return the mean reciprocal rank among the first ten; the answer to question *i* is text *i*."""
    return sum(1 / (found[:10].index(i) + 1) for i, found in enumerate(answers) if i in found[:10]) / len(answers)


# --- the peers --------------------------------------------------------------------


def _bm25(texts: Sequence[str], asked: Sequence[str]) -> list[list[int]]:
    """Rank by textbook BM25 over lower-cased words (k1 1.2, b 0.75)."""
    counts = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
    lengths = [sum(count.values()) for count in counts]
    mean = sum(lengths) / len(lengths)
    places: dict[str, list[int]] = defaultdict(list)
    for number, count in enumerate(counts):
        for word in count:
            places[word].append(number)
    answers = []
    for question in asked:
        scores: dict[int, float] = defaultdict(float)
        for word in re.findall(r"\w+", question.lower()):
            spread = len(places.get(word, ()))
            weight = math.log(1 + (len(texts) - spread + 0.5) / (spread + 0.5))
            for number in places.get(word, ()):
                often = counts[number][word]
                scores[number] += weight * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * lengths[number] / mean))
        answers.append(sorted(scores, key=lambda number: -scores[number])[:10])
    return answers


def _reciprocal_ranks(orch: Orchestrator, asked: Sequence[str]) -> Iterator[list[str]]:
    """Search the same table by LanceDB's own hybrid query: ranks are fused, and an artifact stands where its best passage does."""
    from lancedb.query import MatchQuery
    from lancedb.rerankers import RRFReranker

    from vespera_orchestrator.artifacts import passages

    index = orch.artifacts._index  # noqa: SLF001 - the peer works on what we made
    table = index._table(index._state())._table  # noqa: SLF001

    async def found(question: str) -> list[str]:
        vector = index.embedder.query(question)
        query = table.query().nearest_to(vector).distance_type("cosine").column("vector")
        query = query.nearest_to_text(MatchQuery(passages.searchable(question), "words")).rerank(RRFReranker())
        hits = await query.limit(200).select(["artifact_id", "words"]).to_list()
        return list(dict.fromkeys(hit["artifact_id"] for hit in hits))[:10]

    for question in asked:
        yield asyncio.run(found(question))


# --- real texts -------------------------------------------------------------------


def _sample(pairs: Sequence[Pair], most: int) -> list[Pair]:
    unique = list({pair.question: pair for pair in pairs}.values())
    random.Random(11).shuffle(unique)
    return unique[:most]


def _code() -> list[Pair]:
    return [pair for path in _modules() for pair in _functions(path)]


def _prose() -> list[Pair]:
    return [pair for path in _modules() for pair in _docstrings(path)]


def _modules() -> list[Path]:
    standard = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    libraries = Path(sysconfig.get_path("purelib"))
    return standard + [path for name in _FOREIGN for path in sorted((libraries / name).rglob("*.py")) if "test" not in path.parts[-2]]


def _parsed(path: Path) -> tuple[list[str], ast.Module]:
    try:
        source = path.read_text("utf-8")
        return source.splitlines(), ast.parse(source)
    except (OSError, SyntaxError, ValueError):
        return [], ast.Module([], [])


def _functions(path: Path) -> Iterator[Pair]:
    lines, module = _parsed(path)
    for node in ast.walk(module):
        if not isinstance(node, ast.FunctionDef) or len(node.body) < 2 or not (doc := ast.get_docstring(node)):  # noqa: PLR2004
            continue
        question = doc.splitlines()[0]
        body = "\n".join(lines[node.lineno - 1 : node.body[0].lineno - 1] + lines[node.body[0].end_lineno or 0 : node.end_lineno])
        if len(question.split()) > 3 and len(body) > 200:  # noqa: PLR2004
            yield Pair(question, path.stem, body, "text/x-python")


def _docstrings(path: Path) -> Iterator[Pair]:
    _, module = _parsed(path)
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (doc := ast.get_docstring(node)):
            question, _, rest = doc.partition("\n")
            if len(question.split()) > 3 and len(rest) > 300:  # noqa: PLR2004
                yield Pair(question, path.stem, rest.strip(), "text/markdown")


def _commits() -> list[Pair]:
    named = os.environ.get("RETRIEVAL_REPOSITORIES", "")
    return [pair for folder in named.split(os.pathsep) if folder for pair in _history(Path(folder))] or _history(Path(__file__).parent)


def _history(folder: Path) -> list[Pair]:
    command = ["git", "-C", str(folder), "log", "--no-merges", "-p", "-U2", "-n", "3000", "--format=%x00%s%x01"]
    done = subprocess.run(command, capture_output=True, check=False)
    entries = [entry.partition("\1") for entry in done.stdout.decode("utf-8", "replace").split("\0")[1:]]
    return [Pair(subject, "", diff[:20_000].strip(), "text/x-diff") for subject, _, diff in entries if len(diff) > 200]  # noqa: PLR2004


if __name__ == "__main__":
    sys.exit("run benchmarks/run.py retrieval")

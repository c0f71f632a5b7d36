"""Whether a search finds the right text: real questions over real texts.

The texts are on the machine anyway, and each question has one right answer:

* *code*: a docstring's first line, and the function without its docstring;
* *prose*: a docstring's first line, and the rest of the docstring;
* *sections*: a heading, and what stands below it, from the documents of installed packages;
* *titles*: such a document's title, and the whole document without it;
* *packages*: a package's line of description, and the paragraphs behind it, of Python's and
  Debian's;
* *commits*: a commit's subject, and its diff; of the repository that this file is in, or of those
  that RETRIEVAL_REPOSITORIES names.
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
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

import vespera_orchestrator as vespera
from measure import Row, Scale, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vespera_orchestrator import Orchestrator

_BEYOND_BM25 = 0.08
_FOREIGN = (
    "numpy",
    "networkx",
    "lancedb",
    "jinja2",
    "hypothesis",
    "docutils",
    "attr",
    "cattrs",
    "_pytest",
    "yaml",
    "tqdm",
)


@attrs.frozen
class Pair:
    """A question and the text that answers it."""

    question: str
    title: str
    text: str
    media_type: str


def rows(scale: Scale) -> list[Row]:
    documents = _documents()
    sets = {
        "code": _code(),
        "prose": _prose(),
        "sections": [pair for document in documents for pair in _sections(document)],
        "titles": [pair for document in documents if (pair := _titled(document))],
        "packages": _packages(),
        "commits": _commits(),
    }
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
        saved = [
            orch.artifacts.save(f"{number} {pair.title}", pair.text, media_type=pair.media_type)
            for number, pair in enumerate(pairs)
        ]
        place = {artifact.id: number for number, artifact in enumerate(saved)}
        orch.catch_up()
        asked = [pair.question for pair in pairs[: scale.pick(500, 50)]]
        say(f"{name}: {len(pairs):,} texts, {len(asked)} questions")
        texts = [f"{pair.title}\n{pair.text}" for pair in pairs]
        answers = {"BM25": _bm25(texts, asked), "BM25, stemmed (bm25s)": _bm25s(texts, asked)}
        for mode in ("vector", "text", "hybrid"):
            if mode == "text" or orch.artifacts.index_status().embedder:
                answers[mode] = [
                    [place[hit.artifact_id] for hit in orch.artifacts.search(q, mode=mode)]
                    for q in asked
                ]
        if "vector" in answers:
            answers["LanceDB's own hybrid"] = [
                [place[a] for a in found] for found in _reciprocal_ranks(orch, asked)
            ]
    ours = answers.pop("hybrid", answers.get("text", []))
    return [
        _row(name, ours, against, theirs)
        for against, theirs in answers.items()
        if theirs is not ours
    ]


def _row(name: str, ours: list[list[int]], against: str, theirs: list[list[int]]) -> Row:
    a, b = mrr(ours), mrr(theirs)
    least = _BEYOND_BM25 if against == "BM25" else 0.0
    return Row(
        what=f"{name}: MRR (in the first place, among the first ten)",
        ours=_told(ours),
        against={"text": "ours by words alone", "vector": "ours by vectors alone"}.get(
            against, against
        ),
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
    """Return the mean reciprocal rank in the first ten; text *i* answers question *i*."""
    return sum(
        1 / (found[:10].index(i) + 1) for i, found in enumerate(answers) if i in found[:10]
    ) / len(answers)


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
                scores[number] += (
                    weight * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * lengths[number] / mean))
                )
        answers.append(sorted(scores, key=lambda number: -scores[number])[:10])
    return answers


def _bm25s(texts: Sequence[str], asked: Sequence[str]) -> list[list[int]]:
    """Rank by bm25s as its users set it up for English: stop words out, words stemmed."""
    import bm25s
    import snowballstemmer

    stem = snowballstemmer.stemmer("english").stemWords
    retriever = bm25s.BM25()
    retriever.index(
        bm25s.tokenize(list(texts), stopwords="en", stemmer=stem, show_progress=False),
        show_progress=False,
    )
    questions = bm25s.tokenize(list(asked), stopwords="en", stemmer=stem, show_progress=False)
    found, _ = retriever.retrieve(questions, k=min(10, len(texts)), show_progress=False)
    return [[int(number) for number in row] for row in found]


def _reciprocal_ranks(orch: Orchestrator, asked: Sequence[str]) -> Iterator[list[str]]:
    """Search the same table by LanceDB's own hybrid query.

    It fuses ranks, and an artifact stands where its best passage does.
    """
    from lancedb.query import MatchQuery
    from lancedb.rerankers import RRFReranker

    from vespera_orchestrator.artifacts.search import passages

    index = orch.artifacts._index  # noqa: SLF001 - the peer works on what we made
    state = index._state()  # noqa: SLF001
    if not state.large:
        state = index._enlarged(state)  # noqa: SLF001 - a copy in LanceDB, which is not published
    table = index._table(state)._table  # noqa: SLF001

    async def found(question: str) -> list[str]:
        vector = index.embedder.query(question)
        query = table.query().nearest_to(vector).distance_type("cosine").column("vector")
        query = query.nearest_to_text(
            MatchQuery(passages.searched_words(question), "words")
        ).rerank(RRFReranker())
        hits = await query.limit(200).select(["artifact_id", "words"]).to_list()
        return list(dict.fromkeys(hit["artifact_id"] for hit in hits))[:10]

    for question in asked:
        yield asyncio.run(found(question))


# --- real texts -------------------------------------------------------------------


def _sample(pairs: Sequence[Pair], most: int) -> list[Pair]:
    # A question that two texts answer, as "Getting started" does, has no one right answer.
    asked = Counter(pair.question.lower() for pair in pairs)
    unique = [pair for pair in pairs if asked[pair.question.lower()] == 1]
    random.Random(11).shuffle(unique)
    return unique[:most]


def _code() -> list[Pair]:
    return [pair for path in _modules() for pair in _functions(path)]


def _prose() -> list[Pair]:
    return [pair for path in _modules() for pair in _docstrings(path)]


def _modules() -> list[Path]:
    standard = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    libraries = Path(sysconfig.get_path("purelib"))
    return standard + [
        path
        for name in _FOREIGN
        for path in sorted((libraries / name).rglob("*.py"))
        if "test" not in path.parts[-2]
    ]


def _parsed(path: Path) -> tuple[list[str], ast.Module]:
    try:
        source = path.read_text("utf-8")
        return source.splitlines(), ast.parse(source)
    except (OSError, SyntaxError, ValueError):
        return [], ast.Module(title=[], doc=[])


def _functions(path: Path) -> Iterator[Pair]:
    lines, module = _parsed(path)
    for node in ast.walk(module):
        if (
            not isinstance(node, ast.FunctionDef)
            or len(node.body) < 2  # noqa: PLR2004
            or not (doc := ast.get_docstring(node))
        ):
            continue
        question = doc.splitlines()[0]
        body = "\n".join(
            lines[node.lineno - 1 : node.body[0].lineno - 1]
            + lines[node.body[0].end_lineno or 0 : node.end_lineno]
        )
        if len(question.split()) > 3 and len(body) > 200:  # noqa: PLR2004
            yield Pair(question, path.stem, body, "text/x-python")


def _docstrings(path: Path) -> Iterator[Pair]:
    _, module = _parsed(path)
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (
            doc := ast.get_docstring(node)
        ):
            question, _, rest = doc.partition("\n")
            if len(question.split()) > 3 and len(rest) > 300:  # noqa: PLR2004
                yield Pair(question, path.stem, rest.strip(), "text/markdown")


@attrs.frozen
class _Document:
    name: str
    text: str
    media_type: str


_UNDERLINE = re.compile(r"([=\-~^\"'+*#])\1{2,}")
_LINKS = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])|<[^>]*>|[`*]")
_LEAST_CHARACTERS = 300


def _documents() -> list[_Document]:
    """Return the Markdown and reStructuredText of packages, and descriptions of Python's."""
    places = [Path(sysconfig.get_path("purelib")), Path("/usr/share/doc"), Path("/usr/lib")]
    files = [
        path
        for place in places
        for pattern in ("*.md", "*.rst")
        for path in sorted(place.rglob(pattern))
        if path.is_file()
    ]
    texts = [(path.stem, path.suffix, path.read_text("utf-8", "replace")) for path in files]
    texts += [(name, ".md", text) for name, _, text in _distributions()]
    unique = {
        text: _Document(name, text[:20_000], f"text/{'markdown' if kind == '.md' else 'x-rst'}")
        for name, kind, text in texts
    }
    return list(unique.values())


def _distributions() -> Iterator[tuple[str, str, str]]:
    """Yield name, line of description, and description."""
    for found in metadata.distributions():
        text = found.metadata.get_payload() or found.metadata.get("Description", "")
        yield found.metadata["Name"] or "", found.metadata.get("Summary", ""), str(text)


def _headings(document: _Document) -> list[tuple[int, int, str]]:
    """Return for each heading its first line, the line behind it, and what it says."""
    lines = document.text.splitlines()
    if document.media_type == "text/x-rst":
        found = [
            (i, i + 2, line)
            for i, (line, below) in enumerate(pairwise(lines))
            if line.strip() and _UNDERLINE.fullmatch(below)
        ]
        return [
            entry
            for entry in found
            if len(lines[entry[0] + 1]) >= len(entry[2]) and not entry[2].startswith(" ")
        ]
    fenced, headings = False, []
    for i, line in enumerate(lines):
        fenced ^= line.startswith("```")
        if not fenced and (match := re.match(r"#{1,5} +(.*)", line)):
            headings.append((i, i + 1, match[1].strip(" #")))
    return headings


def _sections(document: _Document) -> Iterator[Pair]:
    lines, headings = document.text.splitlines(), _headings(document)
    for (_, begin, heading), (end, _, _) in zip(
        headings, [*headings[1:], (len(lines), 0, "")], strict=False
    ):
        question, body = _LINKS.sub(r"\1", heading).strip(), "\n".join(lines[begin:end]).strip()
        if len(question.split()) > 1 and len(body) > _LEAST_CHARACTERS:
            yield Pair(question, document.name, body, document.media_type)


def _titled(document: _Document) -> Pair | None:
    begin, heading = next(((begin, heading) for _, begin, heading in _headings(document)), (0, ""))
    question, body = (
        _LINKS.sub(r"\1", heading).strip(),
        "\n".join(document.text.splitlines()[begin:]).strip(),
    )
    return (
        Pair(question, "", body, document.media_type)
        if len(question.split()) > 1 and len(body) > _LEAST_CHARACTERS
        else None
    )


def _packages() -> list[Pair]:
    found = [Pair(line, name, text, "text/markdown") for name, line, text in _distributions()]
    try:
        stanzas = Path("/var/lib/dpkg/status").read_text("utf-8", "replace").split("\n\n")
    except OSError:
        stanzas = []
    matches = (
        re.match(r"Package: (\S+)\n(?:.*\n)*?Description: (.*)\n((?: .*(?:\n|$))*)", stanza)
        for stanza in stanzas
    )
    found += [
        Pair(match[2], match[1], re.sub(r"(?m)^ \.?", "", match[3]).strip(), "text/plain")
        for match in matches
        if match
    ]
    unique = {
        pair.text: pair
        for pair in found
        if len(pair.question.split()) > 2 and len(pair.text) > _LEAST_CHARACTERS  # noqa: PLR2004
    }
    return list(unique.values())


def _commits() -> list[Pair]:
    named = os.environ.get("RETRIEVAL_REPOSITORIES", "")
    return [
        pair for folder in named.split(os.pathsep) if folder for pair in _history(Path(folder))
    ] or _history(Path(__file__).parent)


def _history(folder: Path) -> list[Pair]:
    command = [
        "git",
        "-C",
        str(folder),
        "log",
        "--no-merges",
        "-p",
        "-U2",
        "-n",
        "3000",
        "--format=%x00%s%x01",
    ]
    done = subprocess.run(command, capture_output=True, check=False)
    entries = [
        entry.partition("\1") for entry in done.stdout.decode("utf-8", "replace").split("\0")[1:]
    ]
    return [
        Pair(subject, "", diff[:20_000].strip(), "text/x-diff")
        for subject, _, diff in entries
        if len(diff) > 200  # noqa: PLR2004
    ]


if __name__ == "__main__":
    sys.exit("run benchmarks/run.py retrieval")

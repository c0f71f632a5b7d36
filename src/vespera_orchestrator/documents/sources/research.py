"""What a research project has read, how it works, and what it found."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import ArtifactKind
from vespera_orchestrator.documents.collection import ended_at
from vespera_orchestrator.documents.completed_work import (
    comparable,
    is_prose,
    provenance,
    title_line,
    without_own_heading,
)
from vespera_orchestrator.documents.links import FileLink, anchor_of
from vespera_orchestrator.documents.markdown import (
    code,
    embed,
    inline,
    sentences_in,
    without_empty_parts,
    without_parts,
)
from vespera_orchestrator.documents.sources.bibliography import (
    Citation,
    Work,
    described,
    find_citations,
    read_bibtex,
    read_csl,
    with_names,
)
from vespera_orchestrator.documents.vocabulary import UNSEPARATED, mentions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vespera_orchestrator._model import Artifact, Task
    from vespera_orchestrator.documents.completed_work import CompletedWork, Passage

_LEVEL: Final = 4
_PARAGRAPH: Final = re.compile(r"\n[ \t]*\n")
_MAX_SAID: Final = 3000
_LONG_PARAGRAPH: Final = 500
"""Of a paragraph with more characters, each work shows the sentences that cite it."""
_NO_RUNNING_TEXT: Final = re.compile(r"^[ \t]*(?:[-*+|>#]|\d{1,3}[.)]|```|~~~|!\[)", re.MULTILINE)
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_PROSE_SUFFIXES: Final = (".md", ".markdown", ".txt", ".tex")


@attrs.frozen(kw_only=True)
class Reading:
    """A work, what is said about it, and where it is cited."""

    name: str
    """Authors and year, or the title."""
    reference: str
    said: str
    """What texts of the project say about it, as Markdown."""
    cited_in: tuple[FileLink, ...]
    """Files, and texts that are in none."""
    comment: str


@attrs.frozen(kw_only=True)
class Note:
    """A text with its earlier states."""

    title: str
    text: str
    date: str
    comment: str
    earlier: tuple[str, ...]
    """The days of its earlier states, the latest first."""


@attrs.frozen(kw_only=True)
class NumberTable:
    """The same measures of several things, as Markdown."""

    measures: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """What was measured, and its values."""


@attrs.frozen(kw_only=True)
class FindingNote:
    """A finding with its evidence."""

    title: str
    text: str
    date: str
    numbers: tuple[tuple[str, str], ...]
    """Names and values from the outputs of its task, as Markdown, but for those in *table*."""
    table: NumberTable | None
    """The outputs that are the same measures of several things; ``None`` if none are."""
    evidence: tuple[FileLink, ...]
    """Files that its task delivered; one that is no longer there has no path."""
    is_withdrawn: bool
    """Whether it no longer holds."""
    withdrawn_by: str
    """What holds instead, with a link where it is a finding; empty if nothing is known to."""
    withdrawn_on: str
    """The day; empty if it is not known."""
    comment: str


@attrs.frozen(kw_only=True)
class Research:
    """Literature, methods and findings."""

    readings: tuple[Reading, ...]
    """By name."""
    literature_notes: tuple[Note, ...]
    """What is said about the literature as a whole, the latest first."""
    methods: tuple[Note, ...]
    deviations: tuple[Note, ...]
    findings: tuple[FindingNote, ...]
    """Those that hold, the latest first."""
    withdrawn_findings: tuple[FindingNote, ...]
    contradictions: tuple[str, ...]
    """Numbers of which findings that hold give different values, as Markdown."""
    contradictions_comment: str

    @classmethod
    def collect(cls, work: CompletedWork) -> Research:
        """Read bibliographies in the tree, and what artifacts say."""
        if not work.kind.has_research:
            return cls(
                readings=(),
                literature_notes=(),
                methods=(),
                deviations=(),
                findings=(),
                withdrawn_findings=(),
                contradictions=(),
                contradictions_comment="",
            )
        literature = _Literature(work)
        findings = _Findings(work)
        return cls(
            readings=tuple(literature.readings()),
            literature_notes=tuple(literature.notes()),
            methods=tuple(_latest_notes(work, "methodology", apart="deviation")),
            deviations=tuple(_latest_notes(work, "deviation")),
            findings=tuple(findings.holding()),
            withdrawn_findings=tuple(findings.withdrawn()),
            contradictions=tuple(findings.contradictions()),
            contradictions_comment=findings.contradictions_comment,
        )


# --- literature -------------------------------------------------------------------


class _Literature:
    """The works that the project knows or cites, each once."""

    def __init__(self, work: CompletedWork) -> None:
        self._work = work
        self._works: list[Work] = []
        self._by_name: dict[str, dict[int, None]] = {}
        """The positions of the works called so, by DOI, key, address, and author with year."""
        self._excerpted: set[str] = set()
        """The paragraphs of which the works show only some sentences."""
        self._said: dict[int, list[str]] = {}
        self._places: dict[int, dict[FileLink, None]] = {}
        self._comments: dict[int, dict[str, None]] = {}
        self._passages = work.passages("literature")
        for known in _bibliography(work):
            self._add(known)
        self._read_passages()
        self._read_files()
        self._works = list(_with_letters(self._works))

    def _add(self, known: Work) -> int:
        names = list(_names_of(known))
        positions = [at for name in names for at in self._by_name.get(name, ())]
        same = [at for at in positions if _are_one(self._works[at], known)]
        if same:
            position = same[0]
            self._works[position] = _joined(self._works[position], known)
        else:
            position = len(self._works)
            self._works.append(known)
        for name in names:
            self._by_name.setdefault(name, {})[position] = None
        return position

    def _named(self, name: str) -> int | None:
        """Return the position of the work that a name means; ``None`` if it may be several."""
        positions = list(self._by_name.get(name, ()))
        return positions[0] if len(positions) == 1 else None

    def _position(self, citation: Citation, *, may_add: bool) -> int | None:
        for name in _names_in(citation):
            if name in self._by_name:
                return self._named(name)
        says_nothing = citation.key and not citation.doi  # without its bibliography
        if not may_add or says_nothing or not citation.is_certain:
            return None
        return self._add(described(citation))

    def _read_passages(self) -> None:
        for passage in self._passages:
            for paragraph in _paragraphs(passage.text):
                if paragraph.startswith("!["):
                    continue  # a figure is none without its text
                cited = [
                    self._position(citation, may_add=True) for citation in find_citations(paragraph)
                ]
                for position in dict.fromkeys(cited):
                    if position is not None:
                        self._cite(position, self._about(position, paragraph), passage)

    def _about(self, position: int, paragraph: str) -> str:
        """Return what a paragraph says about a work: of a long one, the sentences that cite it."""
        if len(paragraph) <= _LONG_PARAGRAPH or _NO_RUNNING_TEXT.search(paragraph):
            return paragraph
        sentences = [
            sentence
            for sentence in sentences_in(paragraph)
            if any(
                self._position(citation, may_add=False) == position
                for citation in find_citations(sentence)
            )
        ]
        if not sentences:
            return paragraph
        self._excerpted.add(paragraph)
        return " … ".join(sentences)

    def _cite(self, position: int, paragraph: str, passage: Passage) -> None:
        said = self._said.setdefault(position, [])
        if paragraph not in said:
            said.append(paragraph)
        self._comments.setdefault(position, {})[passage.comment] = None

    def _read_files(self) -> None:
        """Find where the known works are cited, in files and in other artifacts."""
        for path, stamp in self._work.tree.files.items():
            if path.endswith(_PROSE_SUFFIXES) and not _is_ours(path, self._work):
                citations = self._work.read_file(path, stamp, find_citations)
                self._cite_from(citations, FileLink(code(path), path))
        for artifact in self._work.artifacts:
            if is_prose(artifact) and artifact.kind != ArtifactKind.FILE:
                citations = self._work.reader.analyse(artifact, "citations", find_citations)
                comment = provenance(artifact.id, self._work.task_of(artifact))
                place = FileLink(f"“{title_line(artifact.title)}”")
                self._cite_from(citations, place, comment)

    def _cite_from(self, citations: Iterable[Citation], place: FileLink, comment: str = "") -> None:
        for citation in citations:
            position = self._position(citation, may_add=False)
            if position is None:
                continue
            self._places.setdefault(position, {})[place] = None
            if comment:
                self._comments.setdefault(position, {})[comment] = None

    def readings(self) -> Iterator[Reading]:
        """Yield the works, by name."""
        order = sorted(
            range(len(self._works)),
            key=lambda position: self._works[position].short_name.casefold(),
        )
        for position in order:
            known = self._works[position]
            said = "\n\n".join(self._said.get(position, ()))
            yield Reading(
                name=inline(known.short_name),
                reference=known.reference,
                said=embed(self._with_names(said), _LEVEL, limit=_MAX_SAID),
                cited_in=tuple(self._places.get(position, ())),
                comment="\n".join(self._comments.get(position, ())),
            )

    def _with_names(self, text: str) -> str:
        """Return a text in which authors and years stand in place of the keys of works."""

        def short_name(key: str) -> str:
            position = self._named(f"key {key}")
            return "" if position is None else self._works[position].short_name

        return with_names(text, short_name)

    def notes(self) -> Iterator[Note]:
        """Yield what passages say beside what is shown with the works."""
        shown = {paragraph for said in self._said.values() for paragraph in said}
        for passage in self._passages:
            kept = [text for text in _paragraphs(passage.text) if text not in shown]
            text = embed(without_empty_parts(self._with_names("\n\n".join(kept))), _LEVEL)
            if any(not line.startswith("#") for line in text.split("\n") if line):
                yield Note(
                    title=title_line(passage.subject),
                    text=text,
                    date=passage.date,
                    comment=passage.comment,
                    earlier=(),
                )


def _bibliography(work: CompletedWork) -> Iterator[Work]:
    readers = ((".bib", read_bibtex), (".json", read_csl))
    tree = work.tree
    for path, stamp in tree.files.items():
        for suffix, read in readers:
            if path.endswith(suffix):
                yield from work.read_file(path, stamp, read)
    for artifact in work.artifacts:
        for suffix, read in readers:
            if artifact.title.endswith(suffix) and artifact.title not in tree.files:
                yield from work.reader.analyse(artifact, "bibliography", read)


def _is_ours(path: str, work: CompletedWork) -> bool:
    name = path.rpartition("/")[2]
    return name in work.kind.documents


def _names_of(known: Work) -> Iterator[str]:
    if known.doi:
        yield f"doi {known.doi}"
    for key in sorted(known.keys):
        yield f"key {key}"
    if known.url:
        yield f"url {known.url}"
    if known.authors and known.year:
        family, given = known.authors[0]
        yield f"author {family.casefold()} {known.year}"
        if UNSEPARATED.search(family) and given:
            yield f"author {family}{given} {known.year}"


def _names_in(citation: Citation) -> Iterator[str]:
    if citation.doi:
        yield f"doi {citation.doi}"
    if citation.key:
        yield f"key {citation.key}"
    if citation.url:
        yield f"url {citation.url}"
    if citation.author:
        yield f"author {citation.author.casefold()} {citation.year}"
    for ending in citation.endings:
        yield f"author {ending} {citation.year}"


def _are_one(one: Work, other: Work) -> bool:
    """Tell whether two records that share a name are of the same work.

    Authors write several texts a year, and two bibliographies use one key for different works.
    """
    titles = {comparable(one.title), comparable(other.title)} - {""}
    if len(titles) > 1:
        shorter, longer = sorted(titles, key=len)
        has_one_doi = bool(one.doi) and one.doi == other.doi
        return has_one_doi or longer.startswith(f"{shorter} ")
    dois = {one.doi, other.doi} - {""}
    return bool(titles) or len(dois) <= 1


def _with_letters(works: list[Work]) -> Iterator[Work]:
    """Yield the works; those of the same authors and year get letters, from a on."""
    by_name: dict[str, list[Work]] = {}
    for known in works:
        if known.year and known.authors:
            by_name.setdefault(known.short_name.casefold(), []).append(known)
    for known in works:
        same = by_name.get(known.short_name.casefold(), [])
        if known not in same or len(same) == 1:
            yield known
            continue
        same = sorted(same, key=lambda each: (min(each.keys, default="~"), each.title, each.doi))
        yield attrs.evolve(known, letter=_LETTERS[min(same.index(known), len(_LETTERS) - 1)])


def _joined(one: Work, other: Work) -> Work:
    """Return what both know of the same work."""
    changes = {
        name: getattr(other, name)
        for name in ("authors", "year", "title", "container", "place_in_container", "doi", "url")
        if not getattr(one, name)
    }
    return attrs.evolve(one, keys=one.keys | other.keys, **changes)


def _paragraphs(text: str) -> list[str]:
    return [paragraph.strip("\n") for paragraph in _PARAGRAPH.split(text) if paragraph.strip()]


# --- methods ----------------------------------------------------------------------


def _latest_notes(work: CompletedWork, topic: str, apart: str = "") -> Iterator[Note]:
    """Yield the latest state of each subject, with the days of its earlier ones.

    A state that another artifact has superseded is an earlier one of what that is about.

    Args:
        work: The work.
        topic: What it is about.
        apart: A topic that has a section of its own.
    """
    by_name: dict[str, list[Passage]] = {}
    for passage in work.passages(topic, with_superseded=True):
        by_name.setdefault(_subject_now(work, passage), []).append(passage)
    for states in by_name.values():
        # The newest first, but what was superseded never holds, however new it is.
        latest, *earlier = sorted(states, key=lambda state: state.artifact.superseded)
        if latest.artifact.superseded:
            continue
        kept = without_own_heading(latest, topic)
        if apart:
            kept = without_parts(kept, lambda title: mentions((title,), apart))
        text = embed(kept, _LEVEL)
        if text:
            yield Note(
                title=title_line(latest.subject),
                text=text,
                date=latest.date,
                comment=latest.comment,
                earlier=tuple(state.date for state in earlier),
            )


def _subject_now(work: CompletedWork, passage: Passage) -> str:
    """Return the name of what a passage is about, as the artifact that holds instead calls it."""
    follower = work.followers.get(passage.artifact.id)
    if follower is None or passage.is_part:
        return comparable(passage.subject)
    return comparable(follower.title)


# --- findings ---------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Withdrawal:
    """Why a finding no longer holds."""

    task: Task | None = None
    """The task that says so, if one does."""
    artifact: Artifact | None = None
    """The artifact that holds instead, if one is known."""


@attrs.frozen(kw_only=True)
class _Finding:
    """A passage that tells of a finding."""

    title: str
    text: str
    """As Markdown."""
    passage: Passage
    withdrawal: _Withdrawal | None

    def is_from(self, withdrawal: _Withdrawal) -> bool:
        """Tell whether this is what a withdrawal says holds instead."""
        if withdrawal.artifact is not None:
            return self.passage.artifact.id == withdrawal.artifact.id
        task = self.passage.task
        return task is not None and withdrawal.task is not None and task.id == withdrawal.task.id


class _Findings:
    """What the project found: what holds, and what was withdrawn."""

    def __init__(self, work: CompletedWork) -> None:
        self._work = work
        self._files = _files_by_task(work)
        self._numbered: set[str] = set()
        """The tasks whose numbers are shown already."""
        self._disagreeing: dict[str, None] = {}
        """Comments on where findings that do not agree come from."""
        passages = work.passages("findings", with_superseded=True)
        self._parts_of = Counter(passage.artifact.id for passage in passages)
        listed = [self._finding(passage) for passage in passages]
        findings = [finding for finding in listed if finding.text]
        self._holding = [finding for finding in findings if finding.withdrawal is None]
        self._withdrawn = [finding for finding in findings if finding.withdrawal is not None]
        self._headings = Counter(anchor_of(finding.title) for finding in findings)

    def _finding(self, passage: Passage) -> _Finding:
        return _Finding(
            title=self._title(passage),
            text=embed(without_own_heading(passage, "findings"), _LEVEL),
            passage=passage,
            withdrawal=self._withdrawal(passage),
        )

    def _title(self, passage: Passage) -> str:
        if not passage.is_part or passage.task is None:
            return passage.title
        if self._parts_of[passage.artifact.id] == 1:
            return passage.task.title
        return f"{passage.task.title}: {passage.title}"

    def _withdrawal(self, passage: Passage) -> _Withdrawal | None:
        if passage.artifact.superseded:
            return _Withdrawal(artifact=self._work.followers.get(passage.artifact.id))
        task = self._work.withdrawing_task(passage.task)
        return None if task is None else _Withdrawal(task=task)

    def holding(self) -> Iterator[FindingNote]:
        """Yield what holds, the latest first."""
        for finding in self._holding:
            yield self._note(finding, withdrawn_by="", withdrawn_on="")

    def withdrawn(self) -> Iterator[FindingNote]:
        """Yield what no longer holds, the latest first. Ask for what holds before."""
        for finding in self._withdrawn:
            withdrawal = finding.withdrawal or _Withdrawal()
            by, day = self._instead(withdrawal)
            yield self._note(finding, withdrawn_by=by, withdrawn_on=day)

    def _instead(self, withdrawal: _Withdrawal) -> tuple[str, str]:
        """Return what holds instead, as Markdown, and since which day."""
        if withdrawal.artifact is not None:
            title, day = withdrawal.artifact.title, f"{withdrawal.artifact.created_at:%Y-%m-%d}"
        elif withdrawal.task is not None:
            title, day = withdrawal.task.title, _day(withdrawal.task)
        else:
            return "", ""
        for finding in self._holding:
            if finding.is_from(withdrawal):
                return self._link(finding), day
        return title_line(title), day

    def _link(self, finding: _Finding) -> str:
        anchor = anchor_of(finding.title)
        title = title_line(finding.title)
        return (
            f"[{title}](#{anchor})" if self._headings[anchor] == 1 and "[" not in title else title
        )

    def _note(self, finding: _Finding, *, withdrawn_by: str, withdrawn_on: str) -> FindingNote:
        passage = finding.passage
        task = passage.task
        numbers: tuple[tuple[str, str], ...] = ()
        table = None
        if task is not None and task.id not in self._numbered:
            self._numbered.add(task.id)
            table = _table(task.outputs)
            numbers = tuple(_numbers(task, is_tabled=table is not None))
        return FindingNote(
            title=title_line(finding.title),
            text=finding.text,
            date=passage.date,
            numbers=numbers,
            table=table,
            evidence=tuple(self._files.get("" if task is None else task.id, ())),
            is_withdrawn=finding.withdrawal is not None,
            withdrawn_by=withdrawn_by,
            withdrawn_on=withdrawn_on,
            comment=passage.comment,
        )

    @property
    def contradictions_comment(self) -> str:
        """Where the findings that do not agree come from. Ask for `contradictions` before."""
        return "\n".join(self._disagreeing)

    def contradictions(self) -> Iterator[str]:
        """Yield what findings that hold say differently, as Markdown."""
        yield from self._different_values()
        yield from self._different_texts()

    def _different_values(self) -> Iterator[str]:
        """Yield the numbers for which the tasks of findings give different values."""
        tasks: dict[str, Task] = {}
        links: dict[str, str] = {}
        for finding in reversed(self._holding):
            task = finding.passage.task
            if task is not None:
                tasks[task.id] = task
                links.setdefault(task.id, self._link(finding))
        by_name: dict[str, list[tuple[float, Task]]] = {}
        for task in tasks.values():
            for name, value in _measured(task.outputs).items():
                by_name.setdefault(name, []).append((value, task))
        for name, values in sorted(by_name.items()):
            if len({value for value, _ in values}) > 1:
                self._note_comments(task for _, task in values)
                listed = "; ".join(
                    f"{code(json.dumps(value))} in {links[task.id]}" for value, task in values
                )
                yield f"{code(name)}: {listed}."

    def _note_comments(self, tasks: Iterable[Task]) -> None:
        ids = {task.id for task in tasks}
        for finding in self._holding:
            task = finding.passage.task
            if task is not None and task.id in ids:
                self._disagreeing[finding.passage.comment] = None

    def _different_texts(self) -> Iterator[str]:
        """Yield the titles under which several findings say different things."""
        by_title: dict[str, list[_Finding]] = {}
        for finding in self._holding:
            by_title.setdefault(comparable(finding.title), []).append(finding)
        for findings in by_title.values():
            if len({comparable(finding.text) for finding in findings}) > 1:
                self._disagreeing |= dict.fromkeys(each.passage.comment for each in findings)
                days = dict.fromkeys(finding.passage.date for finding in reversed(findings))
                times = f"{len(findings)} times" if len(findings) > 2 else "twice"  # noqa: PLR2004 - twice
                when = " and ".join(days)
                title = self._link(findings[0])
                yield f"{title}: said {times}, in different words ({when})."


def _day(task: Task) -> str:
    return f"{ended_at(task):%Y-%m-%d}"


def _files_by_task(work: CompletedWork) -> dict[str, list[FileLink]]:
    files: dict[str, list[FileLink]] = {}
    for artifact in work.artifacts:
        if artifact.kind == ArtifactKind.FILE and artifact.task_id is not None:
            path = artifact.title if artifact.title in work.tree.files else ""
            files.setdefault(artifact.task_id, []).append(FileLink(code(artifact.title), path))
    return files


def _numbers(task: Task, *, is_tabled: bool) -> Iterator[tuple[str, str]]:
    for name, value in sorted(_measured(task.outputs).items()):
        if not (is_tabled and "." in name):
            yield code(name), json.dumps(value)


def _table(outputs: Mapping[str, object]) -> NumberTable | None:
    """Return outputs that are dictionaries of the same numbers as a table."""
    groups = {name: value for name, value in outputs.items() if isinstance(value, dict)}
    values = {name: _measured(group) for name, group in groups.items()}
    measures = [tuple(each) for each in values.values()]
    if not measures or len(set(map(frozenset, measures))) > 1:
        return None
    columns = measures[0]
    if not columns or any("." in column for column in columns):
        return None
    rows = [
        (code(name), tuple(json.dumps(numbers[column]) for column in columns))
        for name, numbers in values.items()
    ]
    return NumberTable(measures=tuple(map(code, columns)), rows=tuple(rows))


def _measured(outputs: Mapping[str, object], prefix: str = "") -> dict[str, float]:
    """Return the numbers among the outputs, those in a table of numbers with a dotted name."""
    numbers: dict[str, float] = {}
    for name, value in outputs.items():
        if isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            numbers[f"{prefix}{name}"] = value
        elif isinstance(value, dict):
            numbers |= _measured(value, f"{prefix}{name}.")
    return numbers

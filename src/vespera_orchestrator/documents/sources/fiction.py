"""A story: its characters, its chapters, its world."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import ArtifactKind
from vespera_orchestrator.documents.completed_work import comparable, is_prose, title_line
from vespera_orchestrator.documents.markdown import (
    code,
    embed,
    front_matter,
    headed_parts,
    inline,
    labelled_lines,
    plain_text,
    without_parts,
)
from vespera_orchestrator.documents.vocabulary import UNSEPARATED, mentions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator.documents.completed_work import CompletedWork, Passage

_LEVEL: Final = 4
_WORLD_TOPICS: Final = ("place", "rule", "thing", "world")
_ATTRIBUTE: Final = re.compile(r"[-*]?[ \t]*([^\W\d_]{2,16})[ \t]+(\d{1,4})\.?")
_ROW: Final = re.compile(r"\|[ \t]*([^|]{2,40}?)[ \t]*\|[ \t]*([^|]+?)[ \t]*\|")
_NAMED_ITEM: Final = re.compile(
    r"[-*+][ \t]+(?:\*\*|__)?([^*_:\n]{2,60}?)(?:\*\*|__)?"
    r"[ \t]*(?::|\u2013|\u2014| - )(?:\*\*|__)?[ \t]*(.+)"
)
_AGE: Final = re.compile(r"\b(\d{1,3})[- ]years?[- ]old\b|\baged (\d{1,3})\b|\bage of (\d{1,3})\b")
_SENTENCE: Final = re.compile(r"[^.!?\n]+[.!?]?")
_NUMBERS: Final = re.compile(r"\d+")
_CHAPTER_FOLDERS: Final = frozenset(
    {"ch", "chapter", "chapters", "scenes", "manuscript", "draft", "drafts"}
    | {"kapitel", "chapitres", "capitulos", "capítulos"}
)
_PROSE_SUFFIXES: Final = (".md", ".markdown", ".txt")
_NOT_CHAPTERS: Final = frozenset({"readme", "license", "contributing", "notes", "todo"})
_VIEWPOINT: Final = ("pov", "point of view", "viewpoint", "perspektive", "point de vue", "视角")


@attrs.frozen(kw_only=True)
class Attribute:
    """Something that sheets say of a character in a word or a number."""

    name: str
    value: str
    earlier: tuple[str, ...]
    """Other values, with where they stand."""


@attrs.frozen(kw_only=True)
class Character:
    """A character, from everything that is written about it."""

    name: str
    text: str
    attributes: tuple[Attribute, ...]
    appearances: tuple[str, ...]
    """The chapters in which the name occurs, as Markdown."""
    contradictions: tuple[str, ...]
    """Where sheets and text disagree, as Markdown."""
    comment: str


@attrs.frozen(kw_only=True)
class Chapter:
    """A chapter as it is written."""

    title: str
    place: str
    """Its file, as a code span; empty for an artifact."""
    words: int
    viewpoint: str
    act: str


@attrs.frozen(kw_only=True)
class StoryNote:
    """A part of the world, or of the plot, in its latest state."""

    title: str
    text: str
    date: str
    comment: str


@attrs.frozen(kw_only=True)
class Fiction:
    """A story."""

    characters: tuple[Character, ...]
    """By name."""
    chapters: tuple[Chapter, ...]
    """In order."""
    total_words: int
    outline: tuple[StoryNote, ...]
    threads: tuple[str, ...]
    """What is still open, as Markdown."""
    places: tuple[StoryNote, ...]
    rules: tuple[StoryNote, ...]
    things: tuple[StoryNote, ...]
    world: tuple[StoryNote, ...]
    """What is about the world, and none of these."""

    @classmethod
    def collect(cls, work: CompletedWork) -> Fiction:
        """Read the chapters in the tree, and what artifacts say."""
        if not work.kind.has_fiction:
            return cls(
                characters=(),
                chapters=(),
                total_words=0,
                outline=(),
                threads=(),
                places=(),
                rules=(),
                things=(),
                world=(),
            )
        texts = _chapter_texts(work)
        world = _World(work)
        return cls(
            characters=tuple(_characters(work, texts)),
            chapters=tuple(text.chapter for text in texts),
            total_words=sum(text.chapter.words for text in texts),
            outline=tuple(_outline(work)),
            threads=tuple(_threads(work)),
            places=tuple(world.notes("place")),
            rules=tuple(world.notes("rule")),
            things=tuple(world.notes("thing")),
            world=tuple(world.notes("world")),
        )


# --- chapters ---------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _ChapterText:
    chapter: Chapter
    text: str
    order: tuple[object, ...]


def _chapter_texts(work: CompletedWork) -> list[_ChapterText]:
    """Return the chapters in order: files by their numbers, then artifacts by time."""
    drafted = _drafted_files(work)
    texts = []
    for path in work.tree.files:
        text = work.tree.read(path) if path.endswith(_PROSE_SUFFIXES) else None
        if text is not None and _is_chapter(path, text, drafted, work):
            texts.append(_chapter_text(path, text))
            work.explain("chapters", path, path, "it is a chapter's file", shown=True)
    texts.sort(key=lambda text: text.order)
    for artifact in work.artifacts:
        is_draft = artifact.kind != ArtifactKind.FILE and _is_draft(str(artifact.kind))
        if is_draft and is_prose(artifact) and artifact.task_id not in drafted.values():
            text = work.reader.text(artifact)
            texts.append(_chapter_text("", text, title=artifact.title))
    return texts


def _is_draft(kind: str) -> bool:
    return mentions((kind,), "chapter")


def _drafted_files(work: CompletedWork) -> dict[str, str]:
    """Return the files that tasks with a draft handed in, with the task's id."""
    drafting = {artifact.task_id for artifact in work.artifacts if _is_draft(str(artifact.kind))}
    return {
        artifact.title: str(artifact.task_id)
        for artifact in work.artifacts
        if artifact.kind == ArtifactKind.FILE and artifact.task_id in drafting
    }


def _is_chapter(path: str, text: str, drafted: dict[str, str], work: CompletedWork) -> bool:
    parts = path.split("/")
    stem = parts[-1].rpartition(".")[0].casefold()
    if parts[-1] in work.kind.documents or stem in _NOT_CHAPTERS:
        return False
    if path in drafted or _CHAPTER_FOLDERS.intersection(part.casefold() for part in parts[:-1]):
        return True
    if mentions((stem,), "chapter") or re.fullmatch(r"ch[-_ ]?\d+", stem):
        return True
    headings = headed_parts(text[:2000], labels=False)
    return bool(headings) and mentions((headings[0].title,), "chapter")


def _chapter_text(path: str, text: str, title: str = "") -> _ChapterText:
    settings, body = front_matter(text)
    headings = headed_parts(body, labels=False)
    heading = headings[0].title if headings else ""
    name = str(settings.get("title") or heading or title or path.rpartition("/")[2])
    labels = {label.casefold(): value for label, value in labelled_lines(body[:1000]).items()}
    chapter = Chapter(
        title=title_line(name),
        place=code(path) if path else "",
        words=_count_words(body),
        viewpoint=inline(_setting(settings, labels, _VIEWPOINT)),
        act=inline(_setting(settings, labels, ("act", "part", "akt", "acte", "acto", "ato", "幕"))),
    )
    numbers = tuple(int(number) for number in _NUMBERS.findall(path))
    explicit = _NUMBERS.search(str(settings.get("chapter") or settings.get("number") or ""))
    if explicit is not None:
        numbers = (int(explicit[0]),)
    return _ChapterText(chapter=chapter, text=body, order=(numbers or (10**9,), path))


def _setting(
    settings: dict[str, str | list[str]], labels: dict[str, str], names: tuple[str, ...]
) -> str:
    for name in names:
        value = settings.get(name) or labels.get(name)
        if value:
            return str(value)
    return ""


def _count_words(text: str) -> int:
    """Return how many words a text has. Of Chinese and Japanese each character counts as one."""
    separated, characters = UNSEPARATED.subn(" ", text)
    words = re.findall(r"[^\W_]+(?:['\u2019-][^\W_]+)*", separated)
    return len(words) + characters


# --- characters -------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Sheet:
    """What one passage says about one character."""

    name: str
    text: str
    attributes: dict[str, str]
    passage: Passage


def _characters(work: CompletedWork, chapters: list[_ChapterText]) -> Iterator[Character]:
    by_name: dict[str, list[_Sheet]] = {}
    for passage in work.passages("characters"):
        for sheet in _sheets(passage):
            by_name.setdefault(comparable(sheet.name), []).append(sheet)
    for name in sorted(by_name):
        yield _character(by_name[name], chapters)


def _sheets(passage: Passage) -> Iterator[_Sheet]:
    """Yield the sheets of a passage: a heading each, or an item of a list each, or one in all."""
    parts = headed_parts(passage.text, labels=False)
    named = [part for part in parts if not mentions((part.title,), "characters")]
    if named:
        highest = min(part.level for part in named)
        for part in named:
            if part.level == highest:
                yield _sheet(part.title, part.text, passage)
        return
    items = [match for line in passage.text.split("\n") if (match := _NAMED_ITEM.fullmatch(line))]
    if items and mentions((passage.title,), "characters"):
        for item in items:
            yield _sheet(item[1].strip(), item[2], passage)
    else:
        yield _sheet(passage.title, passage.text, passage)


def _sheet(name: str, text: str, passage: Passage) -> _Sheet:
    attributes: dict[str, str] = {}
    kept = []
    for line in plain_text(text).split("\n"):
        attribute = _attribute_in(line)
        if attribute is None:
            kept.append(line)
        else:
            attributes.setdefault(attribute[0], attribute[1])
    return _Sheet(
        name=name.strip("*_ "), text="\n".join(kept), attributes=attributes, passage=passage
    )


def _attribute_in(line: str) -> tuple[str, str] | None:
    stripped = line.strip()
    labelled = labelled_lines(stripped)
    for label, value in labelled.items():
        if len(value.split()) <= 12:  # noqa: PLR2004 - longer ones are prose behind a colon
            return label.capitalize(), value.rstrip(".")
    match = _ATTRIBUTE.fullmatch(stripped)
    if match is not None:
        return match[1].capitalize(), match[2]
    row = _ROW.fullmatch(stripped)
    if row is not None and not set(row[1]) <= set("-: "):
        return row[1].strip("* ").capitalize(), row[2]
    return None


def _character(sheets: list[_Sheet], chapters: list[_ChapterText]) -> Character:
    """Bring the sheets of one character together; the latest is the first."""
    name = sheets[0].name
    attributes = list(_attributes(sheets))
    mentioned = [chapter for chapter in chapters if _count_mentions(name, chapter.text)]
    return Character(
        name=title_line(name),
        text=embed(_joined_text(sheets), _LEVEL),
        attributes=tuple(attributes),
        appearances=tuple(_appearance(name, chapter) for chapter in mentioned),
        contradictions=tuple(_contradictions(name, attributes, mentioned)),
        comment="\n".join(dict.fromkeys(sheet.passage.comment for sheet in sheets)),
    )


def _joined_text(sheets: list[_Sheet]) -> str:
    """Return every paragraph of the sheets once, those of the latest first."""
    paragraphs: dict[str, str] = {}
    for sheet in sheets:
        for paragraph in re.split(r"\n[ \t]*\n", sheet.text):
            if comparable(paragraph):
                paragraphs.setdefault(comparable(paragraph), paragraph.strip("\n"))
    return "\n\n".join(paragraphs.values())


def _attributes(sheets: list[_Sheet]) -> Iterator[Attribute]:
    names = dict.fromkeys(name for sheet in sheets for name in sheet.attributes)
    for name in names:
        values: dict[str, _Sheet] = {}
        for sheet in sheets:
            if name in sheet.attributes:
                values.setdefault(sheet.attributes[name], sheet)
        latest, *others = values
        earlier = tuple(
            f"{inline(value)} ({title_line(values[value].passage.artifact.title)}, "
            f"{values[value].passage.date})"
            for value in others
        )
        yield Attribute(name=inline(name), value=inline(latest), earlier=earlier)


def _pattern(name: str) -> re.Pattern[str]:
    """Return what finds a character in a text: by the whole name, or by the first part of it."""
    first, _, _ = name.partition(" ")
    words = [re.escape(name)]
    if len(first) > 2 and first[0].isupper():  # noqa: PLR2004 - shorter ones are words as well
        words.append(re.escape(first))
    if UNSEPARATED.search(name):
        return re.compile("|".join(words))
    return re.compile(rf"\b(?:{'|'.join(words)})\b")


def _count_mentions(name: str, text: str) -> int:
    return len(_pattern(name).findall(text))


def _appearance(name: str, chapter: _ChapterText) -> str:
    times = _count_mentions(name, chapter.text)
    place = f" ({chapter.chapter.place})" if chapter.chapter.place else ""
    count = "once" if times == 1 else f"{times} times"
    return f"{chapter.chapter.title}{place}: {count}"


def _contradictions(
    name: str, attributes: list[Attribute], chapters: list[_ChapterText]
) -> Iterator[str]:
    for attribute in attributes:
        if attribute.earlier:
            others = "; ".join(attribute.earlier)
            yield f"{attribute.name}: {attribute.value} in the latest sheet, but {others}."
        if attribute.name.casefold() == "age":
            yield from _other_ages(name, attribute.value, chapters)


def _other_ages(name: str, age: str, chapters: list[_ChapterText]) -> Iterator[str]:
    pattern = _pattern(name)
    for chapter in chapters:
        for sentence in _SENTENCE.findall(chapter.text):
            match = _AGE.search(sentence)
            if match is None or not pattern.search(sentence):
                continue
            written = next(filter(None, match.groups()))
            if written != age:
                place = chapter.chapter.place or chapter.chapter.title
                yield f"Age: {age} in the latest sheet, but {written} in {place}."


# --- plot and world ---------------------------------------------------------------


def _outline(work: CompletedWork) -> Iterator[StoryNote]:
    """Yield the latest outline, and the latest state of each other part of the plot."""
    shown: set[str] = set()
    for passage in work.passages("plot"):
        subject = passage.name if passage.is_part else "the outline"
        if subject not in shown:
            shown.add(subject)
            text = without_parts(passage.text, lambda title: mentions((title,), "thread"))
            note = _note(passage.title, text, passage)
            if note.text:
                yield note


def _threads(work: CompletedWork) -> Iterator[str]:
    """Yield the open threads that the latest text about them lists."""
    for passage in work.passages("thread")[:1]:
        for line in plain_text(passage.text).split("\n"):
            item = re.match(r"[-*+][ \t]+(?:\[ \][ \t]+)?(?!\[[xX]\])(.+)", line.strip())
            if item is not None:
                yield inline(item[1])


class _World:
    """What is written about places, rules, things, and the world; each text in one of them."""

    def __init__(self, work: CompletedWork) -> None:
        self._passages = {topic: work.passages(topic) for topic in _WORLD_TOPICS}

    def notes(self, topic: str) -> Iterator[StoryNote]:
        """Yield what is written about one of them, of each subject the latest, by name."""
        notes: dict[str, StoryNote] = {}
        for passage in self._passages[topic]:
            if topic == "world" and self._is_elsewhere(passage):
                continue
            for title, text in _named_parts(passage, topic):
                note = _note(title, text, passage)
                if note.text:
                    notes.setdefault(comparable(title), note)
        for name in sorted(notes):
            yield notes[name]

    def _is_elsewhere(self, passage: Passage) -> bool:
        return any(
            other.artifact.id == passage.artifact.id and other.text == passage.text
            for topic, passages in self._passages.items()
            if topic != "world"
            for other in passages
        )


def _named_parts(passage: Passage, topic: str) -> Iterator[tuple[str, str]]:
    """Yield title and text of each subject of a passage: its highest headings, or the whole.

    The title is empty where it would only repeat the topic.
    """
    others = [other for other in _WORLD_TOPICS if other != topic]
    text = without_parts(
        passage.text, lambda title: any(mentions((title,), other) for other in others)
    )
    named = [
        part for part in headed_parts(text, labels=False) if not mentions((part.title,), topic)
    ]
    if not named:
        yield "" if mentions((passage.title,), topic) else passage.title, text
        return
    highest = min(part.level for part in named)
    for part in named:
        if part.level == highest:
            yield part.title, part.text


def _note(title: str, text: str, passage: Passage) -> StoryNote:
    return StoryNote(
        title=title_line(title) if title else "",
        text=embed(text, _LEVEL),
        date=passage.date,
        comment=passage.comment,
    )

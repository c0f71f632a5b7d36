"""A story: its characters, its chapters, its world."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, cast

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import ArtifactKind
from vespera_orchestrator.documents.completed_work import (
    comparable,
    is_prose,
    subject_name,
    title_line,
    without_older_states,
    without_own_heading,
)
from vespera_orchestrator.documents.links import FileLink
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
from vespera_orchestrator.documents.sources.ages import AGE_NAMES, ages_near, number_in
from vespera_orchestrator.documents.vocabulary import UNSEPARATED, mentions

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.documents.completed_work import CompletedWork, Passage
    from vespera_orchestrator.documents.markdown import HeadedPart

_THREAD: Final = re.compile(r"[-*+][ \t]+(?:\[ \][ \t]+)?(?!\[[xX]\])(.+)")
"""An item of a list, unless it is ticked."""
_LEVEL: Final = 4
_WORLD_TOPICS: Final = ("place", "rule", "thing", "world")
_ATTRIBUTE: Final = re.compile(r"[-*]?[ \t]*([^\W\d_]{2,16})[ \t]+(\d{1,4})\.?")
_ROW: Final = re.compile(r"\|[ \t]*([^|]{2,40}?)[ \t]*\|[ \t]*([^|]+?)[ \t]*\|")
_NAMED_ITEM: Final = re.compile(
    r"(?:[-*+][ \t]+(?:\*\*|__)?|\*\*|__)([^*_:\n]{2,60}?)(?:\*\*|__)?"
    r"[ \t]*(?::|\u2013|\u2014| - )(?:\*\*|__)?[ \t]*(.+)"
)
"""An item of a list, or a paragraph that begins in bold, about whom its first words name."""
_NAME_ALONE: Final = re.compile(r"(?:\*\*|__)([^*_:\n]{2,60}?)[:.]?(?:\*\*|__):?[ \t]*")
"""A name in bold on a line of its own, above what is said of it."""
_NUMBERS: Final = re.compile(r"\d+")
_CHAPTER_FOLDERS: Final = frozenset(
    {"ch", "chapter", "chapters", "scenes", "manuscript", "draft", "drafts"}
    | {"kapitel", "chapitres", "capitulos", "capítulos"}
)
_PROSE_SUFFIXES: Final = (".md", ".markdown", ".txt")
_NOT_CHAPTERS: Final = frozenset({"readme", "license", "contributing", "notes", "todo"})
_EPITHET: Final = re.compile(r"[ \t]*\([^)]*\)[ \t]*$|[ \t]+[\u2013\u2014-][ \t].*$|,[ \t].*$")
"""What may stand behind a name in a heading."""
_HONORIFICS: Final = frozenset(
    {"the", "old", "young", "mrs", "miss", "doctor", "prof", "professor", "captain", "lady"}
    | {"lord", "sir", "madam", "king", "queen", "prince", "princess", "father", "mother"}
    | {"brother", "sister", "saint", "count", "countess", "aunt", "uncle", "herr", "frau"}
    | {"doktor", "der", "die", "das", "von", "van", "monsieur", "madame", "mme", "les"}
    | {"se\u00f1or", "se\u00f1ora", "don", "do\u00f1a", "del", "della"}
)
"""What a name begins with and no text calls somebody by alone."""
_SEPARATED_LETTER: Final = r"[^\W\u3040-\u30ff\u3400-\u9fff]"
"""A letter of a writing that separates words: what stands beside a name when it is only a part."""
_TIMES: Final = {1: "once", 2: "twice"}
_VIEWPOINT: Final = ("pov", "point of view", "viewpoint", "perspektive", "point de vue", "视角")


@attrs.frozen(kw_only=True)
class Attribute:
    """Something that sheets say of a character in a word or a number."""

    name: str
    value: str
    earlier: tuple[str, ...]
    """Other values, with where they stand."""


@attrs.frozen(kw_only=True)
class Appearance:
    """A chapter in which a name occurs."""

    chapter: FileLink
    facts: str
    """How often, and whether it is told from this character's point of view."""

    def __str__(self) -> str:
        return f"{self.chapter}: {self.facts}"


@attrs.frozen(kw_only=True)
class Character:
    """A character, from everything that is written about it."""

    name: str
    text: str
    attributes: tuple[Attribute, ...]
    appearances: tuple[Appearance, ...]
    """The chapters in which the name occurs, in order."""
    contradictions: tuple[str, ...]
    """Where sheets and text disagree, as Markdown."""
    comment: str


@attrs.frozen(kw_only=True)
class Chapter:
    """A chapter as it is written."""

    title: str
    place: str
    """Its file, as a code span; empty for an artifact."""
    link: FileLink
    """The title, with the file."""
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
    threads_comment: str
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
                threads_comment="",
                places=(),
                rules=(),
                things=(),
                world=(),
            )
        texts = _chapter_texts(work)
        world = _World(work)
        comment, threads = _threads(work)
        return cls(
            characters=tuple(_characters(work, texts)),
            chapters=tuple(text.chapter for text in texts),
            total_words=sum(text.chapter.words for text in texts),
            outline=tuple(_outline(work)),
            threads=tuple(threads),
            threads_comment=comment,
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
    heading: str
    """The first one; empty if there is none."""
    order: tuple[object, ...]


def _chapter_texts(work: CompletedWork) -> list[_ChapterText]:
    """Return the chapters in order: files by their numbers, then artifacts by time.

    A file that did not change is not read again.
    """
    drafted = _drafted_files(work)
    texts = []
    for path, stamp in work.tree.files.items():
        is_prose_file = path.endswith(_PROSE_SUFFIXES) and not _is_of_another_kind(path, work)
        written = _written_file(work, path, stamp) if is_prose_file else None
        if written is not None and _is_chapter(path, written, drafted):
            texts.append(written)
            work.explain("chapters", path, path, "it is a chapter's file", shown=True)
    texts.sort(key=lambda text: text.order)
    for artifact in work.artifacts:
        is_draft = artifact.kind != ArtifactKind.FILE and _is_draft(artifact)
        if is_draft and is_prose(artifact) and artifact.task_id not in drafted.values():
            texts.append(_written_artifact(work, artifact))
    return texts


def _written_file(work: CompletedWork, path: str, stamp: str) -> _ChapterText | None:
    memory = work.reader.memory("chapter files")
    latest = memory.get(path)
    if latest is None or latest[0] != stamp:
        text = work.tree.read(path)
        written = None if text is None else _chapter_text(path, text)
        latest = memory[path] = stamp, None, written
    return cast("_ChapterText | None", latest[2])


def _written_artifact(work: CompletedWork, artifact: Artifact) -> _ChapterText:
    memory = work.reader.memory("chapter artifacts")
    text = work.reader.text(artifact)
    latest = memory.get(artifact.id)
    if latest is None or latest[0] is not text:
        latest = memory[artifact.id] = text, None, _chapter_text("", text, title=artifact.title)
    return cast("_ChapterText", latest[2])


def _is_draft(artifact: Artifact) -> bool:
    return mentions((str(artifact.kind),), "chapter")


def _drafted_files(work: CompletedWork) -> dict[str, str]:
    """Return the files that tasks with a draft handed in, with the task's id."""
    drafting = {artifact.task_id for artifact in work.artifacts if _is_draft(artifact)}
    return {
        artifact.title: str(artifact.task_id)
        for artifact in work.artifacts
        if artifact.kind == ArtifactKind.FILE and artifact.task_id in drafting
    }


def _is_of_another_kind(path: str, work: CompletedWork) -> bool:
    """Tell whether a file's name says that it is no chapter."""
    name = path.rpartition("/")[2]
    stem = name.rpartition(".")[0].casefold()
    return name in work.kind.documents or stem in _NOT_CHAPTERS


def _is_chapter(path: str, written: _ChapterText, drafted: dict[str, str]) -> bool:
    parts = path.split("/")
    stem = parts[-1].rpartition(".")[0].casefold()
    if path in drafted or _CHAPTER_FOLDERS.intersection(part.casefold() for part in parts[:-1]):
        return True
    if mentions((stem,), "chapter") or re.fullmatch(r"ch[-_ ]?\d+", stem):
        return True
    return mentions((written.heading,), "chapter")


def _chapter_text(path: str, text: str, title: str = "") -> _ChapterText:
    settings, body = front_matter(text)
    headings = headed_parts(body, labels=False)
    heading = headings[0].title if headings else ""
    name = str(settings.get("title") or heading or title or path.rpartition("/")[2])
    labels = {label.casefold(): value for label, value in labelled_lines(body[:1000]).items()}
    chapter = Chapter(
        title=title_line(name),
        place=code(path) if path else "",
        link=FileLink(title_line(name), path),
        words=_count_words(body),
        viewpoint=inline(_setting(settings, labels, _VIEWPOINT)),
        act=inline(_setting(settings, labels, ("act", "part", "akt", "acte", "acto", "ato", "幕"))),
    )
    numbers = tuple(int(number) for number in _NUMBERS.findall(path))
    explicit = _NUMBERS.search(str(settings.get("chapter") or settings.get("number") or ""))
    if explicit is not None:
        numbers = (int(explicit[0]),)
    order = (numbers or (10**9,), path)
    return _ChapterText(chapter=chapter, text=body, heading=heading, order=order)


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
    by_name = _sheets_by_name(work)
    callings = _callings([sheets[0].name for sheets in by_name.values()])
    for name in sorted(by_name):
        sheets = by_name[name]
        pattern = _pattern(callings[sheets[0].name])
        mentioned = list(_mentions(work, pattern, chapters))
        yield _character(sheets, mentioned)


def _sheets_by_name(work: CompletedWork) -> dict[str, list[_Sheet]]:
    """Return the sheets of each character, the latest first."""
    by_name: dict[str, list[_Sheet]] = {}
    passages = work.passages("characters")
    for passage in without_older_states(passages):
        for sheet in _sheets(passage):
            by_name.setdefault(subject_name(sheet.name), []).append(sheet)
    _join_short_names(by_name)
    for sheets in by_name.values():
        fullest = max((sheet.name for sheet in sheets), key=lambda name: len(name.split()))
        sheets.sort(key=lambda sheet: sheet.passage.artifact.created_at, reverse=True)
        sheets[0] = attrs.evolve(sheets[0], name=fullest)
    shown = {passage.artifact.id for passage in passages}
    for passage in _facts_elsewhere(work, by_name, "characters", shown):
        sheet = _sheet(passage.title, passage.text, passage)
        by_name[subject_name(sheet.name)].append(sheet)
    return by_name


def _facts_elsewhere(
    work: CompletedWork, names: Container[str], topic: str, shown: Container[str]
) -> Iterator[Passage]:
    """Yield what stands under the name of a known subject in texts that are about something else.

    Args:
        work: The work.
        names: The subjects, as `subject_name` returns them.
        topic: What they belong to.
        shown: The ids of the artifacts that are about the topic itself.
    """
    for passage in work.passages_headed(names, topic):
        if passage.artifact.id not in shown and not _is_draft(passage.artifact):
            yield passage


def _join_short_names(by_name: dict[str, list[_Sheet]]) -> None:
    """Bring the sheets of "Mara" to those of "Mara Quill", if there is only one Mara."""
    for name in [name for name in by_name if " " not in name]:
        longer = [other for other in by_name if other != name and name in other.split()]
        if len(longer) == 1:
            by_name[longer[0]] += by_name.pop(name)


def _sheets(passage: Passage) -> Iterator[_Sheet]:
    """Yield the sheets of a passage: a heading each, or an item of a list each, or one in all."""
    parts = headed_parts(passage.text, labels=False)
    named = [part for part in parts if _name_in(part.title)]
    lists = [part.text for part in parts if not _name_in(part.title)]
    if not parts and mentions((passage.title,), "characters"):
        lists = [passage.text]
    items = [match for text in lists for match in _named_items(text)]
    for part in _highest(named):
        yield _sheet(_name_in(part.title), part.text, passage)
    for name, said in items:
        yield _sheet(name, said, passage)
    name = _name_in(passage.title)
    if not named and not items and (name or not passage.is_part):
        yield _sheet(name or passage.title, passage.text, passage)


def _named_items(text: str) -> Iterator[tuple[str, str]]:
    """Yield a name, and what is said of it, for each item and bold name before the first heading.

    What follows an item belongs to it up to the next empty line; what follows a name that stands
    alone, up to the next name.
    """
    name, said, ends_with_blank = "", list[str](), False
    for line in text.split("\n"):
        if line.startswith("#"):
            break
        alone, item = _NAME_ALONE.fullmatch(line), _NAMED_ITEM.fullmatch(line)
        begins = alone or item
        if name and (begins or (ends_with_blank and not line.strip())):
            yield name, "\n".join(said).strip("\n")
            name, said = "", []
        if begins is not None:
            name, ends_with_blank = begins[1].strip(), alone is None
            said = [] if item is None or alone is not None else [item[2][:1].upper() + item[2][1:]]
        elif name:
            said.append(line.strip() if ends_with_blank else line)
    if name:
        yield name, "\n".join(said).strip("\n")


def _name_in(title: str) -> str:
    """Return the name that a heading consists of; empty if it is a heading for several.

    ``Character: Mara Quill (keeper)`` is about Mara Quill.
    """
    before, separator, after = title.partition(":")
    if separator and mentions((before,), "characters"):
        title = after
    elif mentions((title,), "characters"):
        return ""
    return _EPITHET.sub("", title).strip("*_ ")


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


@attrs.frozen(kw_only=True)
class _Mention:
    """A chapter in which a character occurs."""

    chapter: Chapter
    times: int
    has_viewpoint: bool
    """Whether it is told from the character's point of view."""
    ages: tuple[str, ...]
    """What sentences that name the character say about an age, as numbers."""
    number: int = 0
    """The chapter's place in the story, from 1."""


def _mentions(
    work: CompletedWork, pattern: re.Pattern[str], chapters: list[_ChapterText]
) -> Iterator[_Mention]:
    """Yield the chapters in which a character occurs. A chapter is searched once for each."""
    memory = work.reader.memory(f"mentions of {pattern.pattern}")
    for number, chapter in enumerate(chapters, start=1):
        place = chapter.chapter.place or str(number)
        latest = memory.get(place)
        if latest is None or latest[0] is not chapter:
            latest = memory[place] = chapter, None, _mention(pattern, chapter)
        mention = cast("_Mention", latest[2])
        if mention.times or mention.has_viewpoint:
            yield attrs.evolve(mention, number=number)


def _mention(pattern: re.Pattern[str], chapter: _ChapterText) -> _Mention:
    times = len(pattern.findall(chapter.text))
    return _Mention(
        chapter=chapter.chapter,
        times=times,
        has_viewpoint=pattern.search(chapter.chapter.viewpoint) is not None,
        ages=tuple(ages_near(pattern, chapter.text)) if times else (),
    )


def _character(sheets: list[_Sheet], mentioned: list[_Mention]) -> Character:
    """Bring the sheets of one character together; the latest is the first."""
    attributes = list(_attributes(sheets))
    return Character(
        name=title_line(sheets[0].name),
        text=embed(_paragraphs_once(sheet.text for sheet in sheets), _LEVEL),
        attributes=tuple(attributes),
        appearances=tuple(map(_appearance, mentioned)),
        contradictions=tuple(_contradictions(attributes, mentioned)),
        comment="\n".join(dict.fromkeys(sheet.passage.comment for sheet in sheets)),
    )


def _paragraphs_once(texts: Iterable[str]) -> str:
    """Return every paragraph of some texts once, in order."""
    paragraphs: dict[str, str] = {}
    for text in texts:
        for paragraph in re.split(r"\n[ \t]*\n", text):
            if comparable(paragraph):
                paragraphs.setdefault(comparable(paragraph), paragraph.strip("\n"))
    return "\n\n".join(paragraphs.values())


def _attributes(sheets: list[_Sheet]) -> Iterator[Attribute]:
    by_kind: dict[str, dict[str, _Sheet]] = {}
    names: dict[str, str] = {}
    for sheet in sheets:
        for name, value in sheet.attributes.items():
            # An age is one in whatever language each sheet is.
            kind = "age" if name.casefold() in AGE_NAMES else name
            names.setdefault(kind, name)
            by_kind.setdefault(kind, {}).setdefault(value, sheet)
    for kind, values in by_kind.items():
        name = names[kind]
        latest, *others = values
        earlier = tuple(
            f"{inline(value)} ({title_line(values[value].passage.artifact.title)}, "
            f"{values[value].passage.date})"
            for value in others
        )
        yield Attribute(name=inline(name), value=inline(latest), earlier=earlier)


def _callings(names: list[str]) -> dict[str, tuple[str, ...]]:
    """Return what each character may be called in a text.

    That is the whole name, and each part of it that no other character shares and that is no
    title: "Dr. Adaeze Okafor" is also "Adaeze" and "Okafor".
    """
    words = Counter(word for name in names for word in set(comparable(name).split()))
    return {
        name: (
            name,
            *(
                word
                for word in re.findall(r"[\w'\u2019-]+", name)
                if words[comparable(word)] == 1 and _may_stand_alone(word)
            ),
        )
        for name in names
    }


def _may_stand_alone(word: str) -> bool:
    is_name = word[0].isupper() or UNSEPARATED.search(word) is not None
    return is_name and len(word) > 2 and word.casefold() not in _HONORIFICS  # noqa: PLR2004 - shorter ones are words as well


def _pattern(callings: tuple[str, ...]) -> re.Pattern[str]:
    """Return what finds a character in a text."""
    escaped = "|".join(map(re.escape, callings))
    if UNSEPARATED.search(callings[0]):
        return re.compile(escaped)
    letter = _SEPARATED_LETTER
    is_compound = rf"-{letter}"  # there is no rabbit in "Rabbit-Hole"
    return re.compile(rf"(?<!{letter})(?<!{letter}-)(?:{escaped})(?!{letter})(?!{is_compound})")


def _appearance(mention: _Mention) -> Appearance:
    link = mention.chapter.link
    if not link.path and not mentions((link.text,), "chapter"):
        link = FileLink(f"{link.text} (chapter {mention.number})")
    facts = []
    if mention.times:
        facts.append(_TIMES.get(mention.times, f"{mention.times} times"))
    if mention.has_viewpoint:
        facts.append("point of view")
    return Appearance(chapter=link, facts=", ".join(facts))


def _contradictions(attributes: list[Attribute], mentioned: list[_Mention]) -> Iterator[str]:
    for attribute in attributes:
        if attribute.earlier:
            others = "; ".join(attribute.earlier)
            yield f"{attribute.name}: {attribute.value} in the latest sheet, but {others}."
        if attribute.name.casefold() in AGE_NAMES:
            yield from _other_ages(attribute, mentioned)


def _other_ages(attribute: Attribute, mentioned: list[_Mention]) -> Iterator[str]:
    age = number_in(attribute.value)
    if not age:
        return
    for mention in mentioned:
        for written in dict.fromkeys(mention.ages):
            if written != age:
                place = mention.chapter.place or mention.chapter.title
                value = attribute.value
                yield f"{attribute.name}: {value} in the latest sheet, but {written} in {place}."


# --- plot and world ---------------------------------------------------------------


def _outline(work: CompletedWork) -> Iterator[StoryNote]:
    """Yield the latest outline, and the latest state of each other part of the plot."""
    shown: set[str] = set()
    for passage in work.passages("plot"):
        subject = passage.name if passage.is_part else "the outline"
        if subject not in shown:
            shown.add(subject)
            own = without_own_heading(passage, "plot")
            text = without_parts(own, lambda title: mentions((title,), "thread"))
            note = _note(passage.title, text, passage)
            if note.text:
                yield note


def _threads(work: CompletedWork) -> tuple[str, list[str]]:
    """Return the open threads that the latest text about them lists, behind its comment."""
    threads = []
    for passage in work.passages("thread")[:1]:
        for line in plain_text(passage.text).split("\n"):
            item = _THREAD.match(line.strip())
            if item is not None:
                threads.append(inline(item[1]))
        return passage.comment, threads
    return "", threads


class _World:
    """What is written about places, rules, things, and the world; each text in one of them."""

    def __init__(self, work: CompletedWork) -> None:
        self._work = work
        passages = {topic: work.passages(topic) for topic in _WORLD_TOPICS}
        self._passages = {topic: without_older_states(states) for topic, states in passages.items()}
        self._shown = {passage.artifact.id for states in passages.values() for passage in states}

    def notes(self, topic: str) -> Iterator[StoryNote]:
        """Yield what is written about one of them, together for each subject, by name."""
        states: dict[str, list[tuple[str, str, Passage]]] = {}
        for passage in self._passages[topic]:
            if topic == "world" and self._is_elsewhere(passage):
                continue
            for title, text in _named_parts(passage, topic):
                states.setdefault(subject_name(title), []).append((title, text, passage))
        self._fit_facts(topic, states)
        for name in sorted(states):
            note = _joined_note(states[name])
            if note.text:
                yield note

    def _fit_facts(self, topic: str, states: dict[str, list[tuple[str, str, Passage]]]) -> None:
        """Put what stands elsewhere under the name of a subject to the subject."""
        names = states.keys() - {""}
        for passage in _facts_elsewhere(self._work, names, topic, self._shown):
            fact = passage.title, passage.text, passage
            states[subject_name(passage.title)].append(fact)

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
    for part in _highest(named):
        yield part.title, part.text


def _highest(parts: list[HeadedPart]) -> list[HeadedPart]:
    """Return the parts whose headings are those of the highest level."""
    level = min((part.level for part in parts), default=0)
    return [part for part in parts if part.level == level]


def _joined_note(states: list[tuple[str, str, Passage]]) -> StoryNote:
    """Return what several texts say about one subject: every paragraph once, the latest first."""
    title, _, passage = states[0]
    note = _note(title, _paragraphs_once(text for _, text, _ in states), passage)
    comments = dict.fromkeys(passage.comment for _, _, passage in states)
    return attrs.evolve(note, comment="\n".join(comments))


def _note(title: str, text: str, passage: Passage) -> StoryNote:
    return StoryNote(
        title=title_line(title) if title else "",
        text=embed(text, _LEVEL),
        date=passage.date,
        comment=passage.comment,
    )

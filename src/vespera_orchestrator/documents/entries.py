"""Bringing together what several homes write into one section, entry by entry.

Two clones of a repository each have a home, and each knows only its own tasks. Entries carry the
ids of what they were made from, in a comment. An entry of which a home knows no id is another
home's: it stays where it is, and is neither an edit by hand nor out of date.

All functions here are pure: text in, text out.
"""

from __future__ import annotations

import functools
import itertools
import re
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.markdown import LineRole, line_roles

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    IsForeign = Callable[[frozenset[str]], bool]
    """Tells whether another home knows these ids, and this one does not."""

_T = TypeVar("_T")
_COMMENT: Final = re.compile(r"<!-- (?:artifact|task) [^\n]*?-->")
"""What the library writes about where an entry comes from."""
_IDS: Final = re.compile(
    r"<!-- artifact (a_[0-9a-z]{12})(?:, task [^\n]*?\((t_[0-9a-z]{12})\))? -->"
    r"|<!-- task [^\n]*?\((t_[0-9a-z]{12})\) -->"
)
FROM_FILES: Final = "<!-- from the files -->"
"""Stands before what every home with the same files says of an entry."""
_HEADING: Final = re.compile(r"(#{1,6}) ")
_DEFINITION: Final = re.compile(r"\[([^\]]+)\]: ")
_KNOWN_ORDER: Final = (
    *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"),
    *("Places", "Rules", "Things", "More"),
)
"""Headings of groups that stand in the same order in every document."""


@attrs.frozen
class _Part:
    """Text that begins with a comment saying what it was made from, up to the next one."""

    ids: frozenset[str]
    text: str
    facts: str = ""
    """What the project's files say of it: once under a heading, whichever home writes that."""

    @property
    def is_item(self) -> bool:
        """Whether it is an item of a list, on one line."""
        return self.text.startswith("- ") and "\n" not in self.text


@attrs.define(eq=False)
class _Node:
    """A heading and what stands below it. The whole section is one without a heading."""

    heading: str = ""
    level: int = 0
    preamble: str = ""
    """What stands before the first comment and the first heading."""
    parts: list[_Part] = attrs.field(factory=list)
    children: list[_Node] = attrs.field(factory=list)

    @property
    def is_group(self) -> bool:
        """Whether it only holds others: items of a list, or further headings."""
        return not self.preamble and all(part.is_item for part in self.parts)

    @property
    def content(self) -> set[_Part | str]:
        """What stands directly below it."""
        return {self.preamble, *self.parts}

    @property
    def is_bare(self) -> bool:
        """Whether nothing stands below the heading."""
        return not (self.preamble or self.parts or self.children)


@attrs.frozen
class _Content:
    """The content of a section."""

    root: _Node
    definitions: Mapping[str, str]
    """The lines at the end that say where links lead, by label."""


@functools.lru_cache(maxsize=32)
def ids_in(text: str) -> frozenset[str]:
    """Return the ids of what a text says it was made from."""
    ids = set(itertools.chain.from_iterable(_IDS.findall(text)))
    return frozenset(ids - {""})


def foreign_headings(content: str, is_foreign: IsForeign) -> list[str]:
    """Return the headings of the entries that only another home knows."""
    nodes = _descendants(_parse(content).root)
    return [node.heading for node in nodes if _has_only_foreign(node, is_foreign)]


def has_foreign(content: str, is_foreign: IsForeign) -> bool:
    """Tell whether a section has entries that only another home knows."""
    return _foreign_only(_parse(content).root, is_foreign) is not None


def combine(due: str, present: str, is_foreign: IsForeign) -> str:
    """Return what is due with the entries of other homes, each at its place.

    Args:
        due: What this home would write.
        present: What the section says, normalized.
        is_foreign: Whether another home knows these ids, and this one does not.
    """
    ours, theirs = _parse(due), _parse(present)
    if _foreign_only(theirs.root, is_foreign) is None:
        return due
    _gather_repetitions(theirs.root)
    root = _joined(ours.root, theirs.root, is_foreign)
    definitions = _joined_definitions(ours, theirs, root)
    return _text(_Content(root, definitions))


def differs_by_foreign_entries(
    one: str, other: str, is_foreign: IsForeign, earlier: Collection[str] = ()
) -> bool:
    """Tell whether two contents of a section are alike but for entries of other homes.

    Args:
        one: What it says. Entries may stand there twice, where git has merged two lines of history
            and somebody has kept both sides.
        other: What we wrote.
        is_foreign: Whether another home knows these ids, and this one does not.
        earlier: What we wrote before: an entry that stands there twice may say so as well.
    """
    pruned, contents = [], [_parse(one), _parse(other)]
    for content in contents:
        _gather_repetitions(content.root)
    _drop_earlier_states(contents[0].root, contents[1].root, earlier)
    _drop_facts_told_elsewhere(contents[0].root, contents[1].root, is_foreign)
    shared = {
        path
        for content in contents
        for path, node in _paths(content.root)
        if _has_only_foreign(node, is_foreign)
    }
    for content in contents:
        root = _own_only(content.root, (), is_foreign, shared) or _Node()
        headings = {node.heading for node in _descendants(root)}
        kept = {
            label: line
            for label, line in content.definitions.items()
            if any(f"[{label}]" in heading for heading in headings)
        }
        pruned.append(_Content(root, kept))
    mine, reference = pruned
    if mine.root.is_bare and shared:
        # Beside the entries of others, the sentence that nothing is there yet is missing.
        return not (reference.root.parts or reference.root.children)
    return _text(mine) == _text(reference)


# --- reading ------------------------------------------------------------------


def _parse(text: str) -> _Content:
    lines = text.split("\n")
    definitions = _definitions_at_end(lines)
    root = _Node()
    branch, collected, ids = [root], list[str](), frozenset[str]()
    facts: list[str] = []

    def finish() -> None:
        node, block = branch[-1], "\n".join(collected).strip("\n")
        if ids:
            node.parts.append(_Part(ids, block, "\n".join(facts).strip("\n")))
        elif block:
            node.preamble = block

    previous = ""
    for line, role in line_roles(lines):
        is_code = role is not LineRole.TEXT
        level = 0 if is_code else _level(line)
        is_text = bool(ids) and level > branch[-1].level > 0
        news = frozenset() if is_code else ids_in(line)
        if level and not is_text:
            finish()
            collected, facts, ids = [], [], frozenset()
            while branch[-1].level >= level:
                branch.pop()
            node = _Node(heading=line, level=level)
            branch[-1].children.append(node)
            branch.append(node)
        elif news and _is_comment(line) and _is_comment(previous):
            ids |= news
            collected.append(line)
        elif news:
            finish()
            collected, facts, ids = [line], [], news
        elif facts or (ids and not is_code and line == FROM_FILES):
            facts.append(line)
        else:
            collected.append(line)
        previous = line
    finish()
    return _Content(root, definitions)


def _definitions_at_end(lines: list[str]) -> dict[str, str]:
    """Take the lines that say where links lead from the end, and return them by label."""
    definitions: dict[str, str] = {}
    while lines:
        match = _DEFINITION.match(lines[-1])
        if match is None:
            break
        definitions[match[1]] = lines.pop()
    return dict(reversed(definitions.items()))


def _level(line: str) -> int:
    heading = _HEADING.match(line)
    return 0 if heading is None else len(heading[1])


def _is_comment(line: str) -> bool:
    return _COMMENT.fullmatch(line) is not None


def _descendants(root: _Node) -> Iterator[_Node]:
    yield root
    for child in root.children:
        yield from _descendants(child)


def _paths(root: _Node, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], _Node]]:
    """Yield each node with the headings that lead to it."""
    path = (*above, root.heading)
    yield path, root
    for child in root.children:
        yield from _paths(child, path)


def _gather_repetitions(root: _Node) -> None:
    """Put groups of the same heading together, and let each text stand once under its heading."""
    groups: dict[str, _Node] = {}
    texts: dict[str, set[_Part | str]] = {}
    children = []
    for child in root.children:
        group = groups.get(child.heading)
        if group is not None and child.is_group:
            group.parts += child.parts
            group.children += child.children
            continue
        if child.is_group:
            groups[child.heading] = child
        before = texts.setdefault(child.heading, set())
        is_repeated = bool(before) and child.content <= before
        child.parts = [part for part in child.parts if part not in before]
        before |= child.content
        if not is_repeated:
            children.append(child)
    root.children = children
    root.parts = list(dict.fromkeys(root.parts))
    for child in root.children:
        _gather_repetitions(child)


def _drop_earlier_states(root: _Node, reference: _Node, earlier: Collection[str]) -> None:
    """Drop what an entry said earlier where it stands beside what it says now."""
    latest = {part for node in _descendants(reference) for part in node.parts}
    ids = {part.ids for part in latest}
    for node in _descendants(root):
        present = set(node.parts)
        node.parts = [
            part
            for part in node.parts
            if part in latest
            or part.ids not in ids
            or not any(each.ids == part.ids and each in present for each in latest)
            or not any(part.text in text for text in earlier)
        ]


def _drop_facts_told_elsewhere(root: _Node, reference: _Node, is_foreign: IsForeign) -> None:
    """Drop from a reference what files say of an entry where another home has said it instead."""
    told: set[frozenset[str]] = set()
    for node in _descendants(root):
        if any(part.facts and is_foreign(part.ids) for part in node.parts):
            told |= {part.ids for part in node.parts if not part.facts}
    for node in _descendants(reference):
        node.parts = [
            attrs.evolve(part, facts="") if part.ids in told else part for part in node.parts
        ]


# --- taking apart ---------------------------------------------------------------


def _has_only_foreign(node: _Node, is_foreign: IsForeign) -> bool:
    """Tell whether another home has written everything in a node that carries an id."""
    return bool(node.parts) and all(is_foreign(part.ids) for part in node.parts)


def _foreign_only(node: _Node, is_foreign: IsForeign) -> _Node | None:
    """Return what belongs to other homes; ``None`` if nothing does."""
    parts = [part for part in node.parts if is_foreign(part.ids)]
    children = [_foreign_only(child, is_foreign) for child in node.children]
    kept = [child for child in children if child is not None]
    if not parts and not kept:
        return None
    preamble = node.preamble if len(parts) == len(node.parts) else ""
    return attrs.evolve(node, preamble=preamble, parts=parts, children=kept)


def _own_only(
    node: _Node,
    above: tuple[str, ...],
    is_foreign: IsForeign,
    shared: Collection[tuple[str, ...]],
) -> _Node | None:
    """Return a node without what belongs to other homes; ``None`` if nothing is left.

    Args:
        node: The node.
        above: The headings above it.
        is_foreign: Whether another home knows these ids, and this one does not.
        shared: Headings, with those above them, under which another home has written everything
            that carries an id.
    """
    path = (*above, node.heading)
    parts = [part for part in node.parts if not is_foreign(part.ids)]
    kept = [_own_only(child, path, is_foreign, shared) for child in node.children]
    children = [child for child in kept if child is not None]
    lost_something = len(parts) < len(node.parts) or len(children) < len(node.children)
    is_empty = not parts and not children
    if is_empty and (path in shared or (lost_something and not node.preamble)):
        return None
    if is_empty and not node.preamble and "[" in node.heading:
        return None  # a version of which nothing is told
    return attrs.evolve(node, parts=parts, children=children)


# --- putting together -----------------------------------------------------------


def _joined(ours: _Node, present: _Node, is_foreign: IsForeign) -> _Node:
    """Return our node with what belongs to other homes.

    Args:
        ours: What this home would write under a heading.
        present: What stands there.
        is_foreign: Whether another home knows these ids, and this one does not.
    """
    foreign = _foreign_only(present, is_foreign)
    if foreign is None:
        return ours
    preamble = ours.preamble
    if not ours.parts and not ours.children:
        # Ours says at most that nothing is there yet, or what files say of it as well.
        preamble = foreign.preamble if foreign.heading else ""
    own, others = _with_facts_once(ours.parts, foreign.parts)
    slots = [_Slot(key=part.ids, alone=others.get(part)) for part in present.parts]
    parts = _in_order([_Slot(key=part.ids, alone=part) for part in own], slots)
    children = _joined_children(ours.children, present.children, is_foreign)
    return attrs.evolve(ours, preamble=preamble, parts=parts, children=children)


def _with_facts_once(
    ours: Sequence[_Part], foreign: Sequence[_Part]
) -> tuple[list[_Part], dict[_Part, _Part]]:
    """Return the parts of one heading with what files say of it once: as it is now.

    Returns:
        Our parts, and by each part of other homes what becomes of it.
    """
    facts_there = {part.facts for part in foreign if part.facts}
    own = [attrs.evolve(part, facts="") if part.facts in facts_there else part for part in ours]
    is_news = any(part.facts for part in own)
    return own, {part: attrs.evolve(part, facts="") if is_news else part for part in foreign}


def _joined_children(
    ours: Sequence[_Node], present: Sequence[_Node], is_foreign: IsForeign
) -> list[_Node]:
    """Return nodes of ours and of other homes. Those of the same heading become one."""
    slots, reached = [], -1
    for node in ours:
        place = _next_place(node.heading, present, reached + 1)
        if place is None:
            # Not there, or in another order than ours: two homes would never agree on one.
            slots.append(_Slot(key=node, alone=node))
        else:
            reached = place
            slots.append(_Slot(key=place, alone=_joined(node, present[place], is_foreign)))
    there_slots = [
        _Slot(key=place, alone=_foreign_only(node, is_foreign))
        for place, node in enumerate(present)
    ]
    listed = _in_order(slots, there_slots)
    titles = [node.heading.lstrip("# ") for node in listed]
    if all(title in _KNOWN_ORDER for title in titles):
        listed.sort(key=lambda node: _KNOWN_ORDER.index(node.heading.lstrip("# ")))
    return listed


def _next_place(heading: str, nodes: Sequence[_Node], first: int) -> int | None:
    """Return the place of the next node of this heading; ``None`` if there is none."""
    places = range(first, len(nodes))
    return next((place for place in places if nodes[place].heading == heading), None)


@attrs.frozen(kw_only=True)
class _Slot(Generic[_T]):
    """A place in a sequence."""

    key: object
    """The same for what one home and another say of the same."""
    alone: _T | None
    """What stands there unless our sequence has something of the same key."""


def _in_order(ours: Sequence[_Slot[_T]], present: Sequence[_Slot[_T]]) -> list[_T]:
    """Return ours with what is foreign, each before the one of ours that it precedes now."""
    own_keys = {slot.key for slot in ours}
    before: dict[object, list[_T]] = {}
    waiting: list[_T] = []
    for slot in present:
        if slot.key in own_keys:
            before.setdefault(slot.key, []).extend(waiting)
            waiting = []
        elif slot.alone is not None:
            waiting.append(slot.alone)
    merged: list[_T] = []
    for slot in ours:
        merged += before.pop(slot.key, ())
        if slot.alone is not None:
            merged.append(slot.alone)
    return merged + waiting


def _joined_definitions(ours: _Content, theirs: _Content, root: _Node) -> dict[str, str]:
    """Return the lines that say where the links of all headings lead, in their order."""
    own_headings = " ".join(node.heading for node in _descendants(ours.root) if not node.is_bare)
    joined: dict[str, str] = {}
    for node in _descendants(root):
        for label in (*ours.definitions, *theirs.definitions):
            if f"[{label}]" in node.heading:
                is_told_by_us = f"[{label}]" in own_headings or label not in theirs.definitions
                is_own = label in ours.definitions and is_told_by_us
                joined[label] = (ours if is_own else theirs).definitions[label]
    return {**joined, **{k: v for k, v in ours.definitions.items() if k not in joined}}


def _text(content: _Content) -> str:
    blocks = list(_blocks(content.root))
    definitions = "\n".join(content.definitions.values())
    return "\n\n".join(block for block in (*blocks, definitions) if block)


def _blocks(node: _Node) -> Iterator[str]:
    yield node.heading
    yield node.preamble
    listed: list[str] = []
    for part in node.parts:
        if listed and not part.is_item:
            yield "\n".join(listed)
            listed = []
        if part.is_item:
            listed.append(part.text)
        else:
            yield part.text
            yield part.facts
    yield "\n".join(listed)
    for child in node.children:
        yield from _blocks(child)

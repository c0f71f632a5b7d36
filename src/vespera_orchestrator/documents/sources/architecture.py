"""The architecture of a software project: what imports what, and the decisions behind it."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.completed_work import comparable, title_line
from vespera_orchestrator.documents.links import anchor_of
from vespera_orchestrator.documents.markdown import (
    code,
    embed,
    first_paragraph,
    headed_parts,
    inline,
    labelled_lines,
)
from vespera_orchestrator.documents.sources.other_languages import count_languages
from vespera_orchestrator.documents.sources.python_api import (
    import_name,
    package_folders,
    read_module,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from vespera_orchestrator.documents.completed_work import CompletedWork, Passage
    from vespera_orchestrator.documents.sources.python_code import PythonFile

_MOST_BOXES: Final = 24
"""A drawing with more cannot be read."""
_MOST_ARROWS: Final = 48
_MOST_IN_CIRCLE: Final = 6
_MOST_APART: Final = 2
"""The most modules of a package that stand beside it as components of their own."""
_MOST_LISTED: Final = 8
"""The most components that one row names; more are counted."""
_LONGEST_SUMMARY: Final = 160
_FULL_STOP: Final = re.compile(r"(?<=[.!?])\s+|(?<=。)")
_DECISION_LEVEL: Final = 4
_LONGEST_TITLE: Final = 110
_ITEM: Final = re.compile(r"(?:[-*+]|\d{1,3}[.)])[ \t]+(?=\S)")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|(?<=。)|\*{0,2}[:;]\*{0,2}\s+")
_BOLD_LEAD: Final = re.compile(
    r"(\*\*|__)(?=\S)(?P<words>[^*_]{3,110}?)\1"
    r"(?P<end>[ \t]*(?:[:.\u2013\u2014]|-(?=\s)))?(?=\s|\Z)"
)
"""What stands in bold before anything else, and what ends the sentence behind it."""
_NO_SENTENCE: Final = re.compile(r"[|>#]|```|~~~|!\[|<")
"""What a table, a quotation, a block of code or a picture begins with: it is no title."""
_FIRST_WORD: Final = re.compile(r"\S+?(?=[\s.,:;!?]|\Z)")
_STATUS_LABELS: Final = frozenset(
    {"status", "estado", "statut", "situação", "статус", "状態", "ステータス", "状态"}
)
_SUPERSEDES_LABELS: Final = frozenset(
    {"supersedes", "replaces", "ersetzt", "remplace", "sustituye", "reemplaza", "substitui"}
    | {"заменяет", "置換", "置き換え", "置き換える決定", "取代", "替代"}
)
_RECORD_LABELS: Final = frozenset(
    {"date", "datum", "fecha", "data", "дата", "日付", "日期", "superseded by"}
    | _STATUS_LABELS
    | _SUPERSEDES_LABELS
)
_NUMBER: Final = re.compile(r"\d{1,4}")
_ACCEPTED: Final = "Accepted"
_BASE: Final = " (base)"
"""Marks what lies directly in a package, and is used by what is in it."""
_OTHERS: Final = " (others)"
"""Marks the smaller parts of a package that has too many of them."""
_FEW_BOXES: Final = 8
"""With fewer, a package of many parts is opened as far as there is room."""


@attrs.frozen(kw_only=True)
class Component:
    """A package, or a module, and what it uses."""

    name: str
    """As a code span."""
    summary: str
    modules: int
    uses: tuple[str, ...]
    """Other components, as code spans, or how many there are."""
    used_by: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Decision:
    """A decision, as a record."""

    number: int
    """From 1, in the order in which they were made."""
    title: str
    text: str
    date: str
    status: str
    """Such as ``Accepted``, or ``Superseded by`` with a link."""
    comment: str


@attrs.frozen(kw_only=True)
class DesignNote:
    """What was written about a part of the design, in its latest state."""

    title: str
    text: str
    date: str
    comment: str


@attrs.frozen(kw_only=True)
class Architecture:
    """The architecture of a software project."""

    components: tuple[Component, ...]
    has_packages: bool
    """Whether a component is more than one module."""
    has_base: bool
    """Whether a component is what lies directly in a package, and the rest of it builds on."""
    circles: tuple[str, ...]
    """Modules that import each other, also through others, as Markdown."""
    shared_package: str
    """The package in which all components are, as a code span; empty if there is none."""
    drawing: str
    """The components and their imports, for Mermaid; empty where there is nothing to draw."""
    arrows: int
    """How many arrows are drawn."""
    all_arrows: int
    """How many there would be if all were drawn."""
    languages_not_drawn: tuple[str, ...]
    """Languages whose imports are not read, with the number of their files."""
    decisions: tuple[Decision, ...]
    """The latest first."""
    design_notes: tuple[DesignNote, ...]
    """The latest first."""

    @classmethod
    def collect(cls, work: CompletedWork) -> Architecture:
        """Read the project's tree, and what artifacts say about design."""
        if not work.kind.has_python_api:
            return cls(
                components=(),
                has_packages=False,
                has_base=False,
                circles=(),
                shared_package="",
                drawing="",
                arrows=0,
                all_arrows=0,
                languages_not_drawn=(),
                decisions=(),
                design_notes=(),
            )
        state = tuple(work.tree.files.items())
        from_tree = work.reader.remember_latest("the imports", state, lambda: cls._of_imports(work))
        return attrs.evolve(
            from_tree, decisions=tuple(_decisions(work)), design_notes=tuple(_design_notes(work))
        )

    @classmethod
    def _of_imports(cls, work: CompletedWork) -> Architecture:
        """Return what the project's tree says, without what artifacts say."""
        graph = _Graph.read(work)
        components = tuple(graph.components())
        return cls(
            components=components,
            has_packages=any(component.modules > 1 for component in components),
            has_base=graph.has_base(),
            circles=tuple(graph.circles()),
            shared_package=code(graph.shared_package) if graph.shared_package else "",
            drawing=graph.drawing(),
            arrows=len(graph.drawn_arrows()),
            all_arrows=len(graph.all_arrows()),
            languages_not_drawn=tuple(count_languages(work.tree.files)),
            decisions=(),
            design_notes=(),
        )


# --- what imports what ------------------------------------------------------------


class _Graph:
    """The modules of the project, drawn together into as many components as can be read."""

    def __init__(self, modules: Mapping[str, PythonFile]) -> None:
        self._modules = modules
        self._imports = self._imports_of()
        component_of = _components_of(self._imports)
        self._members: dict[str, list[str]] = {}
        for name in modules:
            self._members.setdefault(component_of[name], []).append(name)
        self._arrows = _arrows_between(component_of, self._imports)
        self.shared_package = _shared_package(self._members)
        """The package in which all components are; empty if there is none."""

    @classmethod
    def read(cls, work: CompletedWork) -> _Graph:
        """Read every Python file of the tree that belongs to the project itself."""
        tree = work.tree
        packages = package_folders(tree.files)
        modules: dict[str, PythonFile] = {}
        for path, stamp in tree.files.items():
            name = import_name(path, packages) if path.endswith(".py") else None
            if name is not None:
                modules[name] = read_module(work, tree, path, stamp, name)
        return cls(modules)

    def _imports_of(self) -> dict[str, set[str]]:
        return {
            name: set(filter(None, map(self._known, module.uses))) - {name}
            for name, module in self._modules.items()
        }

    def _known(self, imported: str) -> str | None:
        """Return the module of the project that an import leads to."""
        parts = imported.split(".")
        for end in range(len(parts), 0, -1):
            name = ".".join(parts[:end])
            if name in self._modules:
                return name
        return None

    def components(self) -> Iterator[Component]:
        """Yield the components, by name."""
        for name in sorted(self._members):
            users = sorted(other for other, targets in self._arrows.items() if name in targets)
            yield Component(
                name=self._shown(name),
                summary=self._summary(name).replace("|", "\\|"),
                modules=len(self._members[name]),
                uses=self._listed(sorted(self._arrows[name])),
                used_by=self._listed(users),
            )

    def has_base(self) -> bool:
        """Tell whether a package is taken apart into its base and what is above it."""
        return any(name.endswith(_BASE) for name in self._members)

    def _summary(self, component: str) -> str:
        """Return what a component says of itself, or the modules that it consists of."""
        if component in self._modules:
            return _in_brief(self._modules[component].summary)
        package = _without_mark(component)
        if package == component:
            return ""
        depth = package.count(".") + 2
        parts = dict.fromkeys(_cut(name, depth) for name in self._members[component])
        names = [code(part.rpartition(".")[2]) for part in list(parts)[:_MOST_LISTED]]
        if len(parts) > _MOST_LISTED:
            names.append(f"{len(parts) - _MOST_LISTED} more")
        return ", ".join(names)

    def _listed(self, names: list[str]) -> tuple[str, ...]:
        if len(names) > _MOST_LISTED:
            return (f"{len(names)} of them",)
        return tuple(map(self._shown, names))

    def _short(self, name: str) -> str:
        return name.removeprefix(f"{self.shared_package}.") if self.shared_package else name

    def _shown(self, name: str) -> str:
        package = _without_mark(name)
        return code(self._short(package)) + name[len(package) :]

    def circles(self) -> Iterator[str]:
        """Yield each group of modules of which every one imports every other, or leads to it."""
        for circle in _circles(self._imports):
            names = [self._shown(name) for name in circle[:_MOST_IN_CIRCLE]]
            if len(circle) > _MOST_IN_CIRCLE:
                names.append(f"{len(circle) - _MOST_IN_CIRCLE} more")
            yield f"{', '.join(names[:-1])} and {names[-1]}"

    def all_arrows(self) -> list[tuple[str, str]]:
        """Return which component imports which other, by name."""
        return [(name, other) for name in sorted(self._arrows) for other in self._arrows[name]]

    def drawn_arrows(self) -> list[tuple[str, str]]:
        """Return the arrows of the drawing: all, or those that say the most."""
        arrows = self.all_arrows()
        if len(arrows) > _MOST_ARROWS:
            arrows = self._without_shortcuts(arrows)
        arrows.sort(key=lambda arrow: (-self._arrows[arrow[0]][arrow[1]], arrow))
        return sorted(arrows[:_MOST_ARROWS])

    def drawing(self) -> str:
        """Return the components and their imports as Mermaid draws them."""
        drawn = self.drawn_arrows()
        if not drawn:
            return ""
        names = sorted({name for arrow in drawn for name in arrow})
        ids = {name: f"m{number}" for number, name in enumerate(names)}
        lines = [f'    {ids[name]}["{self._short(name)}"]' for name in names]
        lines += [f"    {ids[name]} --> {ids[other]}" for name, other in drawn]
        return "\n".join(["flowchart TD", *lines])

    def _without_shortcuts(self, arrows: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Leave out an arrow where two others lead the same way."""
        return [
            (name, other)
            for name, other in arrows
            if not any(
                other in self._arrows[middle] and name not in self._arrows[middle]
                for middle in self._arrows[name]
                if middle != other
            )
        ]


def _in_brief(summary: str) -> str:
    """Return a summary that is short enough for a row: the whole, or its first sentence."""
    if len(summary) <= _LONGEST_SUMMARY:
        return summary
    first, *_ = _FULL_STOP.split(summary)
    return first if len(first) <= _LONGEST_SUMMARY else inline(first, _LONGEST_SUMMARY)


def _components_of(imports: Mapping[str, set[str]]) -> dict[str, str]:
    """Return the component of each module: a package with all that is in it, or a module alone.

    The largest packages are opened first, as long as the parts can still be told apart in a
    drawing. What lies directly in an open package is one component, if there is too much of it, or
    two: see `_layered`.

    Args:
        imports: The modules, and those of the project that each imports.
    """
    names = sorted(imports)
    component_of = {name: name.partition(".")[0] for name in names}
    opened: set[str] = set()
    while True:
        sizes = Counter(component_of.values())
        closed = [name for name in sizes if sizes[name] > 1 and name not in opened]
        if not closed:
            return _layered(component_of, imports)
        package = max(closed, key=lambda name: (sizes[name], name))
        opened.add(package)
        for candidate in _openings(package, component_of):
            if _is_readable(candidate) and _is_readable(_layered(candidate, imports)):
                component_of = candidate
                break


def _is_readable(component_of: Mapping[str, str]) -> bool:
    return len(set(component_of.values())) <= _MOST_BOXES


def _layered(component_of: Mapping[str, str], imports: Mapping[str, set[str]]) -> dict[str, str]:
    """Return components of which those in a circle are taken apart where that says more.

    What lies directly in a package is often above and below the packages in it: a façade, and what
    all of them build on.
    """
    layered = dict(component_of)
    for circle in _circles(_arrows_between(component_of, imports)):
        for component in circle:
            below = {name for name in circle if name.startswith(f"{component}.")}
            layered |= _layers(component, below, component_of, imports)
    return layered


def _arrows_between(
    component_of: Mapping[str, str], imports: Mapping[str, set[str]]
) -> dict[str, Counter[str]]:
    """Return for each component which others it imports, and how often."""
    arrows: dict[str, Counter[str]] = {name: Counter() for name in component_of.values()}
    for name, targets in imports.items():
        component = component_of[name]
        others = (component_of[target] for target in targets)
        arrows[component].update(other for other in others if other != component)
    return arrows


def _layers(
    component: str,
    below: Collection[str],
    component_of: Mapping[str, str],
    imports: Mapping[str, set[str]],
) -> dict[str, str]:
    """Return the components of what lies directly in a package, beside the packages *below* it.

    What uses none of them is its base. A module or two between them stand for themselves. The rest
    keeps the package's name.
    """
    members = {name for name, own in component_of.items() if own == component}
    inside = {name for name, own in component_of.items() if own in below}
    above = _above(members, inside, imports)
    base = members - above
    if not above or not base:
        return {}
    layers = dict.fromkeys(base, _layer_name(component, base))
    middle = _between_layers(above, inside, imports)
    return layers | dict(zip(middle, middle, strict=True))


def _above(
    members: Collection[str], inside: Collection[str], imports: Mapping[str, set[str]]
) -> set[str]:
    """Return the members that use a module *inside*, directly or through other members."""
    imported_by: dict[str, set[str]] = {name: set() for name in members}
    for name in members:
        for target in imports[name] & imported_by.keys():
            imported_by[target].add(name)
    using = {name for name in members if not imports[name].isdisjoint(inside)}
    return _spread(using, imported_by)


def _between_layers(
    above: Collection[str], inside: Collection[str], imports: Mapping[str, set[str]]
) -> list[str]:
    """Return the members that modules *inside* use, and that use no other member above."""
    used = set().union(*(imports[name] for name in inside)).intersection(above)
    middle = sorted(name for name in used if imports[name].isdisjoint(above))
    is_readable = len(middle) <= _MOST_APART and len(middle) < len(above)
    return middle if is_readable else []


def _layer_name(component: str, base: Collection[str]) -> str:
    alone = next(iter(base))
    return alone if len(base) == 1 and alone != component else component + _BASE


def _spread(names: Collection[str], leads_to: Mapping[str, set[str]]) -> set[str]:
    """Return *names* with all that they lead to, step by step."""
    reached = set(names)
    waiting = list(names)
    while waiting:
        news = leads_to[waiting.pop()] - reached
        reached |= news
        waiting += news
    return reached


def _openings(package: str, component_of: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield the components once a package is opened, those that show the most of it first."""
    depth = package.count(".") + 2
    inside = {name: _cut(name, depth) for name, own in component_of.items() if own == package}
    yield {**component_of, **inside}
    sizes = Counter(inside.values())
    packages = {name: part if sizes[part] > 1 else package for name, part in inside.items()}
    yield {**component_of, **packages}
    boxes = len(set(component_of.values()))
    if boxes < _FEW_BOXES:
        by_size = Counter(packages.values()).most_common()
        for room in range(_MOST_BOXES - boxes, _MOST_BOXES // 2, -1):
            largest = {part for part, _ in by_size[:room]} | {package}
            rest = {name for name, part in packages.items() if part not in largest}
            yield {**component_of, **packages, **dict.fromkeys(rest, package + _OTHERS)}


def _circles(imports: Mapping[str, Collection[str]]) -> Iterator[list[str]]:
    """Yield the groups of modules that lead to each other, by name."""
    left = {name: set(targets) for name, targets in imports.items()}
    while True:
        # Who imports nobody that is left is in no circle, nor is who nobody imports.
        imported = {target for targets in left.values() for target in targets}
        ends = [name for name, targets in left.items() if not targets or name not in imported]
        if not ends:
            break
        for name in ends:
            del left[name]
        for targets in left.values():
            targets.intersection_update(left)
    reached = {name: _spread(targets, left) for name, targets in left.items()}
    placed: set[str] = set()
    for name in sorted(left):
        circle = sorted(other for other in reached[name] if name in reached[other])
        if name not in placed and len(circle) > 1:
            placed.update(circle)
            yield circle


def _without_mark(component: str) -> str:
    """Return the package that a component is a part of, or the component itself."""
    return component.removesuffix(_BASE).removesuffix(_OTHERS)


def _cut(name: str, depth: int) -> str:
    return ".".join(name.split(".")[:depth])


def _shared_package(names: Iterable[str]) -> str:
    """Return the package in which all names are, so that it need not be repeated."""
    tops = {_without_mark(name).partition(".")[0] for name in names}
    return tops.pop() if len(tops) == 1 and len(list(names)) > 1 else ""


# --- decisions --------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Draft:
    title: str
    text: str
    passage: Passage


def _decisions(work: CompletedWork) -> list[Decision]:
    drafts = [
        draft
        for passage in reversed(work.passages("decision", with_superseded=True))
        for draft in _drafts(passage)
    ]
    free = (number for number in itertools.count(1) if number not in work.taken_numbers)
    numbers = list(itertools.islice(free, len(drafts)))
    superseded_by = _superseded(work, drafts, numbers)
    decisions = []
    for index, draft in enumerate(drafts):
        status = _status(draft)
        follower = work.followers.get(draft.passage.artifact.id)
        if index in superseded_by:
            later = superseded_by[index]
            anchor = anchor_of(f"{numbers[later]}. {drafts[later].title}")
            status = f"Superseded by [{numbers[later]}](#{anchor})"
        elif follower is not None:
            status = f"Superseded by {title_line(follower.title)}"
        elif draft.passage.artifact.superseded:
            status = "Superseded"
        decisions.append(
            Decision(
                number=numbers[index],
                title=title_line(draft.title),
                text=embed(_without_labels(draft.text), _DECISION_LEVEL),
                date=draft.passage.date,
                status=status,
                comment=draft.passage.comment,
            )
        )
    decisions.reverse()
    return decisions


def _drafts(passage: Passage) -> Iterator[_Draft]:
    """Yield the decisions of a passage: each item of a list, or the whole."""
    items = _items(passage.text)
    if items and passage.is_part:
        for item in items:
            title, rest = _title_and_rest(item)
            yield _Draft(title=title, text=rest, passage=passage)
        return
    parts = headed_parts(passage.text, labels=False)
    own = parts[0] if parts and parts[0].start == 0 else None
    if own is not None:
        title = _after_number(own.title)
        text = passage.text.split("\n", 1)[1] if "\n" in passage.text else ""
        yield _Draft(title=title, text=text, passage=passage)
    elif passage.is_part:
        _, separator, named = passage.title.partition(":")
        if separator and named.strip():
            yield _Draft(title=named.strip(), text=passage.text, passage=passage)
        elif _NO_SENTENCE.match(passage.text.lstrip()):
            yield _Draft(title=passage.subject, text=passage.text, passage=passage)
        else:
            title, rest = _title_and_rest(passage.text)
            yield _Draft(title=title, text=rest, passage=passage)
    else:
        yield _Draft(title=passage.title, text=passage.text, passage=passage)


def _items(text: str) -> list[str]:
    """Return the items of a list that begins a text; empty if it does not begin with one."""
    items: list[str] = []
    for line in text.strip("\n").split("\n"):
        marker = _ITEM.match(line)
        if marker is not None:
            items.append(line[marker.end() :])
        elif not items:
            return []
        elif line.strip() and not line.startswith((" ", "\t")):
            break
        else:
            items[-1] += f"\n{line.strip()}"
    return [item.strip() for item in items]


def _title_and_rest(text: str) -> tuple[str, str]:
    """Return the first sentence of a text as a title, and what stands behind it."""
    lead = _BOLD_LEAD.match(text.strip())
    if lead is not None:
        return _lead_and_rest(lead, text.strip())
    first, separator, _ = text.strip().partition("\n\n")
    sentence = _SENTENCE_END.search(first)
    end = len(first) if sentence is None else sentence.start()
    title = " ".join(first[:end].split()).strip("*_ ").rstrip(".")
    if len(title) > _LONGEST_TITLE or not title:
        beginning = " ".join(text.split())[:_LONGEST_TITLE]
        return f"{beginning.rsplit(' ', 1)[0]}…", text
    rest_start = len(first) if sentence is None else sentence.end()
    rest = text.strip()[rest_start:].strip() if separator or sentence else ""
    return title, _capitalized(rest)


def _lead_and_rest(lead: re.Match[str], text: str) -> tuple[str, str]:
    """Return what a text begins with in bold as its title, and what stands behind it.

    Where the sentence goes on behind it, the text stays whole.
    """
    title = " ".join(lead["words"].split())
    rest = text[lead.end() :].strip()
    is_whole = title.endswith((".", "!", "?", ":", "。")) or lead["end"] or not rest
    return title.rstrip(".:"), _capitalized(rest) if is_whole else text


def _capitalized(text: str) -> str:
    """Return a text with a capital, unless it begins with a name that is written small."""
    word = _FIRST_WORD.match(text)
    is_word = word is not None and word[0].isalpha()
    return text[:1].upper() + text[1:] if is_word else text


def _after_number(title: str) -> str:
    return re.sub(r"^(?:ADR[- ]?)?\d{1,4}[.:]?[ \t]+(?:[-\u2013][ \t]+)?", "", title).strip()


def _without_labels(text: str) -> str:
    """Return a text without the lines that say what stands above it already."""
    kept = []
    for line in text.split("\n"):
        labels = labelled_lines(line)
        if not any(comparable(label) in _RECORD_LABELS for label in labels):
            kept.append(line)
    return "\n".join(kept)


def _status(draft: _Draft) -> str:
    for label, value in labelled_lines(draft.text).items():
        if comparable(label) in _STATUS_LABELS:
            return inline(value.rstrip("."))
    for part in headed_parts(draft.text, labels=False):
        if comparable(part.title) in _STATUS_LABELS:
            return inline(first_paragraph(part.text).rstrip("."))
    return _ACCEPTED


def _superseded(work: CompletedWork, drafts: list[_Draft], numbers: list[int]) -> dict[int, int]:
    """Return which decision replaced which, by position: the later by the earlier.

    Of several that replace one, the last counts. Each is looked up by what it can be named with, so
    that thousands of them take no longer than in proportion.
    """
    last: dict[tuple[str, object], int] = {}
    for index, draft in enumerate(drafts):
        last |= dict.fromkeys(_replaced_names(draft), index)
    superseded: dict[int, int] = {}
    for earlier, draft in enumerate(drafts):
        names = _names_of(work, draft, number=numbers[earlier])
        latest = max((last.get(name, -1) for name in names), default=-1)
        if latest > earlier:
            superseded[earlier] = latest
    return superseded


def _replaced_names(draft: _Draft) -> Iterator[tuple[str, object]]:
    """Yield the names of what a decision replaces, if it comes earlier."""
    yield "title", comparable(draft.title)
    yield "artifact", draft.passage.artifact.id
    if draft.passage.task is not None:
        yield "task", draft.passage.task.id
    for label, value in labelled_lines(draft.text).items():
        if comparable(label) in _SUPERSEDES_LABELS:
            yield "title", comparable(value)
            named = _NUMBER.search(value)
            if named is not None:
                yield "number", int(named[0])


def _names_of(work: CompletedWork, draft: _Draft, *, number: int) -> Iterator[tuple[str, object]]:
    """Yield the names under which a later decision replaces this one."""
    yield "title", comparable(draft.title)
    yield "number", number
    follower = work.followers.get(draft.passage.artifact.id)
    if follower is not None:
        yield "artifact", follower.id
    task = draft.passage.task
    if task is not None and task.id in work.withdrawn:
        yield "task", work.withdrawn[task.id]


def _design_notes(work: CompletedWork) -> Iterator[DesignNote]:
    """Yield what was written about the design, of each subject the latest."""
    shown: set[str] = set()
    for passage in work.passages("design"):
        subject = comparable(passage.subject)
        if subject in shown:
            continue
        shown.add(subject)
        text = embed(passage.text, _DECISION_LEVEL)
        if text:
            yield DesignNote(
                title=title_line(passage.subject),
                text=text,
                date=passage.date,
                comment=passage.comment,
            )

"""Markdown that shows text of others without being changed by it, and reading theirs.

Titles, summaries and artifacts come from anybody. What `inline`, `code` and `embed` return can
stand anywhere in a document: it opens no HTML, no link, no list, no heading, no fence beyond
itself, and never forms a section marker.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._secrets import mask
from vespera_orchestrator._text import printable
from vespera_orchestrator.documents.links import anchor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, and those that turn the direction of reading: a line would show something
else than it says."""
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|(?<=\s)#(?=#*\Z)")
_LINE_START = re.compile(r"^(?=[#>+=-])|^(\d{1,9})(?=[.)](?:\s|$))")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_HEADING = re.compile(r" {0,3}(#{1,6})((?:[ \t].*)?)")
_CONTAINERS = r"(?:[ \t]*(?:>|(?:[-*+]|\d{1,9}[.)])(?=[ \t])))*[ \t]*"
"""What a line begins with inside of quotations and lists."""
_HEADING_WITHIN = re.compile(rf"({_CONTAINERS})(#{{1,6}})((?:[ \t].*)?)")
_OTHER_BULLET = re.compile(rf"^({_CONTAINERS})[*+](?=[ \t])", re.MULTILINE)
_UNDERLINE_WITHIN = re.compile(rf"({_CONTAINERS})((?:=+|-{{2,}})[ \t]*)")
_LINK_DEFINITION = re.compile(rf"^({_CONTAINERS})\[(?=[^\]]*(?:\]:|$))")
"""One that may have a label over two lines is one as well."""
_HTML = re.compile(r"<(?=[A-Za-z/!?])(?!https?://[^\s<>]*>)")
"""What opens HTML; an address between angle brackets does not."""
_TAG_START = re.compile(r"<(?=[A-Za-z/!?]|\Z)")
"""What opens HTML or a link, or may do so with what follows it."""
_HARD_BREAK = re.compile(r"(.*[^\s|])[ \t]* {2}")
"""A line of running text that ends with two spaces: the next one begins a line as well."""
_NO_CONTINUATION = re.compile(r"\s*(?:[#>|=]|```|~~~|(?:[-*+]|\d{1,9}[.)])(?:\s|\Z)|-+\s*\Z|\Z)")
"""A line that does not go on with the paragraph before it."""
_BACKTICKS = re.compile(r"`+")
_CODE_OR_LINK = re.compile(
    r"(?<!`)(`+)(?!`).*?[^`]\1(?!`)(?!\])"
    r"|(?<![!\\])\[(?P<label>[^\[\]]+)\]\((?P<target>[^()\s]+)\)"
)
_LINK_TARGET = re.compile(
    r" {0,3}\[(?!\^)(?P<label>[^\[\]]+)\]:[ \t]+<?(?P<target>[^\s<>()]+)>?"
    r"(?:[ \t]+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?[ \t]*"
)
"""A line that says where links with a label lead."""
_CODE_OR_REFERENCE = re.compile(
    r"(?<!`)(`+)(?!`).*?[^`]\1(?!`)"
    r"|(?<![!\\\]])\[(?P<words>[^\[\]]+)\](?:\[(?P<label>[^\[\]]*)\])?(?![\[(:])",
    re.DOTALL,
)
"""Code, or a link that gives a label in place of its target."""
_CODE_OR_TARGET = re.compile(
    r"(?<!`)(`+)(?!`).*?[^`]\1(?!`)(?!\])"
    r"|(?P<words>(?<!\\)\[(?:[^\[\]]|!\[[^\[\]]*\]\([^()]*\))*\])"
    r"\((?P<target>[^()\s]+)(?P<rest>(?:[ \t]+\"[^\"]*\")?)\)"
)
"""Code, or a link or a picture with its target."""
_WEB = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).*?[^`]\1(?!`)")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_LABEL = re.compile(
    r"(?:[-*+][ \t]+)?(\*\*|__)?([^\s*_:|`<>#\[\]][^*_:|`<>#\[\]]{0,50}?)"
    r"(?:(?:\1)[:\uff1a]|[:\uff1a](?:\1)?)(?:[ \t]+(\S.*))?"
)
"""A line such as ``Decisions:`` or ``**Status:** accepted``."""
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_MARKER = re.compile(r"^(?=<!--[ \t]*vespera:)", re.IGNORECASE)
_NO_LETTERS = re.compile(r"[\W\d_]+")
_DEFINITIONS_AT_END = re.compile(r"(?:\n+\[[^\]\n]+\]:[ \t]+\S+)+\s*\Z")
"""Lines that say where links lead."""
_DEFINITION = re.compile(r"^ {0,3}\[[^\]\n]+\]:[ \t]+\S.*$", re.MULTILINE)
_BULLET = re.compile(r"^((?:[ \t]*>)*[ \t]*)([-*+])(?=[ \t]+\S)")
_PREFORMATTED = re.compile(r"(<pre>.*?</pre>|<!--.*?-->)", re.DOTALL)
_SENTENCE_END = re.compile(
    r"[.!?]['\"\u201d\u2019\u00ab\u00bb)\]*_]*"
    r"(?=\s+(?:[^\W\d_a-zß-ÿа-я]|[`*\[\"\u201c\u00ab\u00bb\u00bf\u00a1]))"
    r"|[\u3002\uff01\uff1f]"
)
"""What ends a sentence, before one that begins with a capital letter or a mark."""
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:[^\W\d_]|al|cf|e\.g|i\.e|z\.B|d\.h|u\.a|bzw|vgl|p\.ex|Figs?|Eqs?|Refs?|Tab|vs"
    r"|pp?|ch|sec|Sect|Ch|Nr|No|nos|Dr|Mr|Mrs|Ms|Prof|St|vol|Vol|eds?|ca|approx|Appx|resp|стр)\.$"
)
"""What ends with a point within a sentence; one letter is an initial."""
_LABEL_WORDS = 4
_LABEL_LEVEL = 7
_LOWEST_LEVEL = 6

MAX_INLINE_CHARACTERS = 300
"""The longest text on one line, where the caller does not say another length."""
MAX_EMBEDDED_CHARACTERS = 20_000
"""The longest text that is shown as a whole."""


# --- writing ----------------------------------------------------------------


def inline(text: str, limit: int = MAX_INLINE_CHARACTERS) -> str:
    """Return *text* as one line of Markdown that shows it literally, cut at *limit* characters.

    Code spans stay code spans, so that nothing in them has to be escaped.
    """
    flat = _on_one_line(mask(text))
    if len(flat) > limit:
        beginning = flat[: limit - 1].rstrip()
        flat = f"{beginning}…"
    pieces, position = [], 0
    for span in _CODE_SPAN.finditer(flat):
        pieces += [_escaped(flat[position : span.start()]), span[0]]
        position = span.end()
    pieces.append(_escaped(flat[position:]))
    return _LINE_START.sub(_escaped_line_start, "".join(pieces))


def _escaped(text: str) -> str:
    escaped = _SPECIAL.sub(r"\\\g<0>", text)
    escaped = _ENTITY.sub("&amp;", escaped)
    return _TAG_START.sub("&lt;", escaped)


def _escaped_line_start(match: re.Match[str]) -> str:
    number = match[1] or ""
    return f"{number}\\"


def code(text: str) -> str:
    """Return *text* as a code span on one line, cut after `MAX_INLINE_CHARACTERS`."""
    flat = _on_one_line(text)
    if len(flat) > MAX_INLINE_CHARACTERS:
        flat = flat[: MAX_INLINE_CHARACTERS - 1] + "…"
    runs = _BACKTICKS.findall(flat)
    longest_run = max(map(len, runs), default=0)
    ticks = "`" * (longest_run + 1)
    needs_space = not flat or flat.startswith("`") or flat.endswith("`")
    space = " " if needs_space else ""
    return f"{ticks}{space}{flat}{space}{ticks}"


def embed(
    text: str, level: int, limit: int = MAX_EMBEDDED_CHARACTERS, *, has_place: bool = True
) -> str:
    """Return *text*, itself Markdown, so that it can stand under a heading of ours.

    Its highest heading gets *level*. HTML is shown, not interpreted. Whatever it leaves open is
    closed. A long text is cut, and its last line is an ellipsis then. A blank one gives an empty
    string. A link to a heading that did not come along becomes its own words. Where links name
    their targets elsewhere in the text, they hold them afterwards: a document has one such list.

    Args:
        text: The text.
        level: The level of its highest heading.
        limit: How many characters it may have.
        has_place: Whether links to files may be right where it will stand. Otherwise they become
            their own words as well.
    """
    lines = _setext_as_atx(plain_text(text).strip("\n").split("\n"))
    if not any(line.strip() for line in lines):
        return ""
    lines = _with_visible_breaks(_with_inline_links(lines))
    headings = _headings(lines)
    anchors = {anchor_of(heading.title) for heading in headings}
    shift = level - min((heading.level for heading in headings), default=level)
    safe_lines, size, fence = [], 0, ""
    for line, role in line_roles(lines):
        size += len(line) + 1
        if size > limit:
            break
        if role is LineRole.OPENS_CODE:
            fence = line.split(line.lstrip("`~"))[0] if line.lstrip("`~") else line
        if role is LineRole.TEXT:
            linked = _without_dead_links(line, anchors, has_place=has_place)
            safe_lines.append(_shifted(linked, shift, level))
        else:
            safe_lines.append(_MARKER.sub(" ", line).rstrip())
        if role is LineRole.CLOSES_CODE:
            fence = ""
    if fence:
        safe_lines.append(fence)
    if size > limit:
        safe_lines += ["", "…"]
    embedded = _with_dashes("\n".join(_with_room_for_headings(safe_lines)).strip("\n"))
    return embedded if _ends_by_itself(embedded) else _quoted(safe_lines)


def _with_visible_breaks(lines: list[str]) -> list[str]:
    """Return the lines with a backslash where spaces at the end break a line, as in verses.

    Spaces at the end count for nothing in a document, since editors take them away.
    """
    changed = []
    following = [*lines[1:], ""]
    for (line, role), after in zip(line_roles(lines), following, strict=True):
        match = _HARD_BREAK.fullmatch(line) if role is LineRole.TEXT else None
        is_inside = match is not None and not _NO_CONTINUATION.match(after)
        is_break = is_inside and _HEADING.fullmatch(line) is None
        changed.append(f"{match[1]}\\" if match is not None and is_break else line)
    return changed


def _with_inline_links(lines: list[str]) -> list[str]:
    """Return the lines with ``[words](target)`` for each ``[words][label]``."""
    targets: dict[str, str] = {}
    kept: list[str] = []
    is_apart = True
    for line, role in line_roles(lines):
        # It cannot stand within a paragraph.
        match = _LINK_TARGET.fullmatch(line) if role is LineRole.TEXT and is_apart else None
        if match is None:
            kept.append(line)
            is_apart = not line.strip() or _HEADING.fullmatch(line) is not None
        else:
            targets.setdefault(match["label"].casefold(), match["target"])
    if not targets:
        return lines

    def resolved(match: re.Match[str]) -> str:
        label = match["label"] or match["words"]
        target = None if label is None else targets.get(" ".join(label.split()).casefold())
        return match[0] if target is None else f"[{match['words']}]({target})"

    changed: list[str] = []
    for role, group in itertools.groupby(line_roles(kept), key=lambda pair: pair[1]):
        text = "\n".join(line for line, _ in group)
        is_text = role is LineRole.TEXT
        changed += (_CODE_OR_REFERENCE.sub(resolved, text) if is_text else text).split("\n")
    return changed or [""]


def _without_dead_links(line: str, anchors: Container[str], *, has_place: bool) -> str:
    def shown(match: re.Match[str]) -> str:
        label, target = match["label"], match["target"]
        if label is None or _WEB.match(target):
            return match[0]
        is_dead = target[1:] not in anchors if target.startswith("#") else not has_place
        return str(label) if is_dead else match[0]

    return _CODE_OR_LINK.sub(shown, line) if "](" in line else line


def _with_room_for_headings(lines: list[str]) -> list[str]:
    """Return the lines with a blank one before and behind each heading, as documents have."""
    spaced: list[str] = []
    is_behind_heading = False
    for line, role in line_roles(lines):
        is_heading = role is LineRole.TEXT and _HEADING.fullmatch(line) is not None
        is_close = bool(spaced) and bool(spaced[-1].strip()) and bool(line.strip())
        if is_close and (is_heading or is_behind_heading):
            spaced.append("")
        spaced.append(line)
        is_behind_heading = is_heading
    return spaced


def _setext_as_atx(lines: list[str]) -> list[str]:
    """Return the lines with underlined headings as lines that begin with marks."""
    changed: list[str] = []
    for line, role in line_roles(lines):
        underline = _UNDERLINE.fullmatch(line) if role is LineRole.TEXT else None
        if underline is None or not changed or not _may_be_underlined(changed[-1]):
            is_first = not changed or role is not LineRole.TEXT
            changed.append(line if is_first else _without_underline(line, changed[-1]))
            continue
        marks = "#" if underline[1].startswith("=") else "##"
        changed[-1] = f"{marks} {changed[-1].strip()}"
    return changed


def _without_underline(line: str, before: str) -> str:
    """Return a line that underlines no heading inside of a quotation or a list."""
    match = _UNDERLINE_WITHIN.fullmatch(line)
    if match is None:
        return line
    containers, marks = match.groups()
    is_rule = marks.startswith("-") and (not containers or not before.strip(" \t>"))
    return line if is_rule else f"{containers}\\{marks}"


def _may_be_underlined(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(("#", ">", "-", "*", "+", "|", "`"))


def _shifted(line: str, shift: int, highest: int) -> str:
    """Return a line with its heading moved by *shift* levels, also one inside of a list."""
    match = _HEADING_WITHIN.fullmatch(line)
    if match is not None:
        containers, marks, title = match.groups()
        level = min(_LOWEST_LEVEL, max(highest, len(marks) + shift))
        line = f"{containers.rstrip() and containers}{'#' * level}{title}"
    return _disarmed(line).rstrip()


def _disarmed(line: str) -> str:
    pieces, position = [], 0
    for span in _CODE_SPAN.finditer(line):
        pieces += [_HTML.sub("&lt;", line[position : span.start()]), span[0]]
        position = span.end()
    pieces.append(_HTML.sub("&lt;", line[position:]))
    return _LINK_DEFINITION.sub(r"\1\\[", "".join(pieces))


def _ends_by_itself(text: str) -> bool:
    """Tell whether a marker behind *text* is one: nothing in the text swallows it."""
    if not any(mark in text for mark in ("<", "```", "~~~")):
        return True  # only HTML and fences go on behind an empty line
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").disable(["inline"])
    last = parser.parse(f"{text}\n\n<!-- end -->\n")[-1]
    return bool(last.type == "html_block" and last.level == 0)


def _with_dashes(text: str) -> str:
    """Return *text* with a dash before each item of a list without numbers, as documents have."""
    if _OTHER_BULLET.search(text) is None:
        return text
    from markdown_it import MarkdownIt

    lines = text.split("\n")
    for token in MarkdownIt("commonmark").disable(["inline"]).parse(text):
        if token.type == "list_item_open" and token.markup in ("*", "+") and token.map:
            line = lines[token.map[0]]
            lines[token.map[0]] = _OTHER_BULLET.sub(r"\1-", line, count=1)
    return "\n".join(lines)


def _quoted(lines: list[str]) -> str:
    """Return lines as a block quotation, which ends whatever they leave open."""
    return "\n".join(f"> {line}".rstrip() for line in lines)


def markdown_line(text: str) -> str:
    """Return *text*, itself Markdown, as one line that can follow something else on its line.

    Its links become their own words, but for those to the web.
    """
    line = _without_dead_links(_on_one_line(text), (), has_place=False)
    return _disarmed(line)


def with_targets(text: str, target_of: Callable[[str], str]) -> str:
    """Return *text* with other targets in its links and pictures; code stays as it is.

    Args:
        text: Markdown.
        target_of: Returns the target to write in place of one that is no address of the web and no
            heading of the same text.
    """
    if "](" not in text:
        return text

    def with_target(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or target.startswith("#") or _WEB.match(target):
            return match[0]
        return f"{match['words']}({target_of(target)}{match['rest']})"

    lines = []
    for line, role in line_roles(text.split("\n")):
        is_changed = role is LineRole.TEXT and "](" in line
        lines.append(_CODE_OR_TARGET.sub(with_target, line) if is_changed else line)
    return "\n".join(lines)


def without_double_blank_lines(text: str) -> str:
    """Return *text* with one blank line where there are several; code stays as it is."""
    kept: list[str] = []
    for line, role in line_roles(text.split("\n")):
        is_blank = role is LineRole.TEXT and not line.strip()
        if not is_blank:
            kept.append(line)
        elif kept and kept[-1] != "":
            kept.append("")
    return "\n".join(kept)


def _on_one_line(text: str) -> str:
    words = _visible(text).split()
    return " ".join(words)


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return _LONE_SURROGATE.sub("\ufffd", _INVISIBLE.sub("", printable(text)))


def plain_text(text: str) -> str:
    """Return *text* with newlines as its only line ends, and without invisible characters."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return _visible(unified)


# --- comparing --------------------------------------------------------------


def bullets_of(text: str) -> list[str]:
    """Return the marks that items of lists without numbers may have, the usual one first.

    Usual is what most items of *text* have.
    """
    lines = lines_outside_code(text)
    counts = Counter(match[2] for match in map(_BULLET.match, lines) if match is not None)
    return sorted("-*+", key=lambda bullet: -counts[bullet])


def with_bullets(text: str, bullet: str) -> str:
    """Return *text* with this mark before each item of a list without numbers."""
    return "\n".join(
        _BULLET.sub(rf"\g<1>{bullet}", line) if role is LineRole.TEXT else line
        for line, role in line_roles(text.split("\n"))
    )


def apart_from_definitions(text: str) -> tuple[str, str]:
    """Return *text* without the lines at its end that say where links lead, and these lines."""
    match = _DEFINITIONS_AT_END.search(text)
    if match is None:
        return text, ""
    return text[: match.start()], match[0].strip("\n")


def definitions_in(text: str) -> str:
    """Return the lines of *text* that say where links lead."""
    return "\n".join(_DEFINITION.findall(text))


def read_alike(one: str, other: str, definitions: str = "") -> bool:
    """Tell whether two texts say the same to whoever reads them as Markdown.

    So it is once a formatter has put other bullets, other emphasis or wider tables into one.

    Args:
        one: A text.
        other: Another one.
        definitions: Lines elsewhere in the document that say where links lead: a formatter may
            gather them there.
    """
    bodies = (apart_from_definitions(text)[0] for text in (one, other))
    letters, others = (_NO_LETTERS.sub("", body) for body in bodies)
    if letters != others:
        return False
    return _as_read(f"{one}\n\n{definitions}") == _as_read(f"{other}\n\n{definitions}")


@functools.lru_cache(maxsize=16)
def _as_read(text: str) -> str:
    from markdown_it import MarkdownIt

    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    pieces = _PREFORMATTED.split(str(rendered))
    return "".join(
        piece if number % 2 else " ".join(piece.split()) for number, piece in enumerate(pieces)
    )


# --- reading ----------------------------------------------------------------


class LineRole(Enum):
    """What a line is to Markdown."""

    TEXT = "text"
    OPENS_CODE = "opens code"
    CODE = "code"
    CLOSES_CODE = "closes code"


def line_roles(lines: list[str]) -> Iterator[tuple[str, LineRole]]:
    """Yield each line with its role; only fences that start in the first column open code.

    An indented fence may belong to a list item and end with it, so what follows one is not taken
    for code: one escape too many is better than letting HTML through.
    """
    fence = ""
    for line in lines:
        match = _FENCE.fullmatch(line)
        if fence and match and _closes(match, fence):
            fence = ""
            yield line, LineRole.CLOSES_CODE
        elif fence:
            yield line, LineRole.CODE
        elif match and _opens(match):
            fence = match[1]
            yield line, LineRole.OPENS_CODE
        else:
            yield line, LineRole.TEXT


def _closes(match: re.Match[str], fence: str) -> bool:
    marks, rest = match.groups()
    return marks.startswith(fence) and not rest.strip()


def _opens(match: re.Match[str]) -> bool:
    marks, rest = match.groups()
    if match[0].startswith(" "):
        return False
    is_code_span = marks.startswith("`") and "`" in rest
    return not is_code_span


@attrs.frozen(kw_only=True)
class HeadedPart:
    """What stands under a heading, down to the next one of the same or a higher level."""

    title: str
    level: int
    """From 1; a label is below every heading."""
    start: int
    """Its first line, from 0: the heading."""
    end: int
    """The line after its last."""
    text: str
    """Without the heading."""

    @property
    def is_label(self) -> bool:
        """Whether a line such as ``Decisions:`` heads it."""
        return self.level == _LABEL_LEVEL


def headed_parts(text: str, *, labels: bool = True) -> list[HeadedPart]:
    """Return every headed part of *text*, in order; a part also contains its sub-parts.

    Args:
        text: Markdown.
        labels: Whether a line such as ``Decisions:`` heads a part as well.
    """
    lines = _setext_as_atx(plain_text(text).split("\n"))
    headings = _headings(lines)
    if labels:
        outside_lists = [label for label in _labels(lines) if not _is_item(lines[label.line])]
        headings = sorted([*headings, *outside_lists], key=lambda heading: heading.line)
    parts = []
    for position, heading in enumerate(headings):
        end = _part_end(headings, position, len(lines))
        body = "\n".join([heading.text, *lines[heading.line + 1 : end]])
        part = HeadedPart(
            title=heading.title,
            level=heading.level,
            start=heading.line,
            end=end,
            text=body.strip("\n"),
        )
        parts.append(part)
    return parts


def without_parts(text: str, is_left_out: Callable[[str], bool]) -> str:
    """Return *text* without the headed parts whose title *is_left_out* names."""
    lines = _setext_as_atx(plain_text(text).split("\n"))
    dropped: set[int] = set()
    for part in headed_parts(text):
        if is_left_out(part.title):
            dropped.update(range(part.start, part.end))
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped)


def without_empty_parts(text: str) -> str:
    """Return *text* without the headed parts below whose heading nothing stands."""
    lines = _setext_as_atx(plain_text(text).split("\n"))
    empty: set[int] = set()
    for part in headed_parts(text, labels=False):
        if all(_HEADING.fullmatch(line) for line in part.text.split("\n") if line.strip()):
            empty.update(range(part.start, part.end))
    return "\n".join(line for number, line in enumerate(lines) if number not in empty)


def sentences_in(text: str) -> list[str]:
    """Return the sentences of a paragraph, each on one line.

    A point behind an abbreviation or an initial ends none.
    """
    flat = " ".join(text.split())
    sentences, start = [], 0
    for end in _SENTENCE_END.finditer(flat):
        if _ABBREVIATION.search(flat, start, end.start() + 1) is None:
            sentences.append(flat[start : end.end()].strip())
            start = end.end()
    return [each for each in (*sentences, flat[start:].strip()) if each]


def labelled_lines(text: str) -> dict[str, str]:
    """Return what stands behind each label of *text*, such as ``Status: accepted``."""
    lines = plain_text(text).split("\n")
    return {label.title: label.text for label in _labels(lines) if label.text}


def lines_outside_code(text: str) -> list[str]:
    """Return the lines of *text* that are not within fenced code."""
    roles = line_roles(plain_text(text).split("\n"))
    return [line for line, role in roles if role is LineRole.TEXT]


def without_long_code(text: str, most_lines: int) -> str:
    """Return *text* with a note in place of each fenced block of more than *most_lines* lines."""
    lines: list[str] = []
    block: list[str] = []
    for line, role in line_roles(text.split("\n")):
        if role is LineRole.TEXT:
            lines += [*_named(block, most_lines), line]
            block = []
            continue
        block.append(line)
        if role is LineRole.CLOSES_CODE:
            lines += _named(block, most_lines)
            block = []
    return "\n".join([*lines, *_named(block, most_lines)])


def _named(block: list[str], most_lines: int) -> list[str]:
    """Return a block of code, or its first line with how many follow if it is too long."""
    if len(block) - 2 <= most_lines:  # without its fences
        return block
    language = block[0].strip("`~ \t")
    kind = f"code, {language}" if language else "code"
    return [f"[{kind}: {len(block) - 2} lines]"]


def first_paragraph(text: str) -> str:
    """Return the first paragraph of *text* that is prose, on one line; empty if there is none."""
    paragraph: list[str] = []
    for line, role in line_roles(plain_text(text).split("\n")):
        is_prose = role is LineRole.TEXT and line.strip() and _HEADING.fullmatch(line) is None
        if is_prose:
            paragraph.append(line.strip())
        elif paragraph:
            break
    return " ".join(paragraph)


def front_matter(text: str) -> tuple[dict[str, str | list[str]], str]:
    """Return the simple settings at the beginning of *text*, and the text without them.

    Settings are lines such as ``title: A house`` and ``tags: [a, b]``; others are left out.
    """
    unified = plain_text(text)
    match = _FRONT_MATTER.match(unified)
    if match is None:
        return {}, unified
    settings: dict[str, str | list[str]] = {}
    key = ""
    for line in match[1].split("\n"):
        name, separator, value = line.partition(":")
        if line.startswith(("  ", "- ")) and line.strip().startswith("- ") and key:
            listed = settings.setdefault(key, [])
            if isinstance(listed, list):
                listed.append(_plain_value(line.strip()[2:]))
        elif separator and name.strip() and not line.startswith((" ", "#")):
            key = name.strip().casefold()
            values = _front_matter_value(value.strip())
            if values:
                settings[key] = values
    return settings, unified[match.end() :]


def _front_matter_value(value: str) -> str | list[str]:
    if value.startswith("[") and value.endswith("]"):
        return [_plain_value(item) for item in value[1:-1].split(",") if item.strip()]
    return _plain_value(value)


def _plain_value(value: str) -> str:
    return value.strip().strip("\"'")


@attrs.frozen(kw_only=True)
class _Heading:
    line: int
    level: int
    title: str
    text: str = ""
    """What stands on the same line behind a label."""


def _headings(lines: list[str]) -> list[_Heading]:
    headings = []
    for number, (line, role) in enumerate(line_roles(lines)):
        match = _HEADING.fullmatch(line) if role is LineRole.TEXT else None
        if match is not None:
            marks, text = match.groups()
            heading = _Heading(line=number, level=len(marks), title=_heading_title(text))
            headings.append(heading)
    return headings


def _is_item(line: str) -> bool:
    return line.lstrip().startswith(("- ", "* ", "+ "))


def _labels(lines: list[str]) -> list[_Heading]:
    """Return lines such as ``Decisions:``, which head what follows without being headings."""
    labels = []
    for number, (line, role) in enumerate(line_roles(lines)):
        match = _LABEL.fullmatch(line) if role is LineRole.TEXT else None
        if match is None or len(match[2].split()) > _LABEL_WORDS:
            continue
        label = _Heading(
            line=number, level=_LABEL_LEVEL, title=match[2].strip(), text=(match[3] or "").strip()
        )
        labels.append(label)
    return labels


def _part_end(headings: list[_Heading], position: int, last: int) -> int:
    """Return the line of the next heading that is not below the one at *position*."""
    level = headings[position].level
    for following in range(position + 1, len(headings)):
        heading = headings[following]
        if heading.level <= level:
            return heading.line
    return last


def _heading_title(text: str) -> str:
    """Return the title of a heading without the marks that may close it."""
    title = text.strip()
    without_marks = title.rstrip("#")
    if not without_marks or without_marks[-1] in " \t":
        return without_marks.rstrip()
    return title

"""Text of docstrings, in which reStructuredText may stand, as Markdown."""

from __future__ import annotations

import ast
import re
import warnings
from textwrap import dedent
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

_ROLE: Final = re.compile(r":(?:\w+:)?\w+:`~?(?:[^`<>]*<)?([^`<>]+)>?`(?:\\[ ]?)?")
"""A reference of Sphinx, such as ``:class:`Kettle```; what separates it from letters goes too."""
_LINK: Final = re.compile(r"`([^`<>]+?)\s*<(https?://[^`<>\s]+)>`__?")
"""A link of reStructuredText to an address."""
_LABEL: Final = re.compile(r"(?<!`)`([^`<>]+?)\s*<[^`<>\s]+>`(?![`_])")
"""A reference of Sphinx to a place in its own documentation, behind the words to show."""
_TARGET: Final = re.compile(r"^[ \t]*\.\. _`?([^:`\n]+)`?:[ \t]+(https?://\S+)", re.MULTILINE)
"""A line that says where a name leads."""
_CODE_OR_NAME: Final = re.compile(
    r"(?P<code>(?<!`)(`{1,2})[^`]+\2(?![`_]))(?:\\(?: |(?=\w)))?"
    r"|(?<!`)`(?P<words>[^`<>]+)`_(?![\w`_])"
    r"|(?<![\w`*/.:-])(?P<word>[A-Za-z][\w-]*?)_(?![\w`*])"
)
"""Code with what separates it from letters behind it, or a name with such a target: words in
backticks, or one word."""
_JOINED_CODE: Final = re.compile(r"(?<!`)(`{1,2})([^`]+)\1\\ (`{1,2})([^`]+)\3(?!`)")
_SPECIAL_NAME: Final = re.compile(
    r"((?<!`)(`+)(?!`).+?(?<!`)\2(?!`))|(?<![\w`])__[a-z]+(?:_[a-z]+)*__(?![\w`])", re.DOTALL
)
"""Code, or a name such as ``__str__`` in running text, which Markdown would show in bold."""
_RESTRUCTURED: Final = re.compile(
    r"``|^[ \t]*\.\.[ \t]|^:\w+|:\w+:`|`__?(?![\w`])|`\\[ \w]"
    r"|\b[A-Z][a-z]+_(?![\w`*])",
    re.MULTILINE,
)
"""What tells reStructuredText from Markdown."""
_FIELD: Final = re.compile(
    r":(?:param|parameter|arg|argument|key|keyword|kwarg|type|var|ivar|cvar|vartype"
    r"|raises?|except|exception|returns?|rtype|yields?|ytype)\b[^:\n]*:(?:\s|$)"
)
"""A field of Sphinx's style, such as ``:param size: How large it is.``"""
_TYPED_FIELD: Final = re.compile(r"^:(var|ivar|cvar) +(\S.*?) +(\w+):", re.MULTILINE)
_DIRECTIVE: Final = re.compile(r"([ \t]*)\.\.[ \t]+([\w.-]+)::(?:[ \t]+(.*?))?[ \t]*")
_COMMENT: Final = re.compile(r"[ \t]*\.\.(?:[ \t]+.*)?")
_OPTION: Final = re.compile(r":[\w-]+:(?:[ \t].*)?")
_LITERAL_END: Final = re.compile(r"::[ \t]*$")
_NO_PROSE: Final = re.compile(
    r"\s|[-*+]\s|[#|>]|~~~|```|===|---|\.\.\s|\d{1,3}[.)]\s|\[[^\]]+\]:\s"
)
"""How a line begins that is not part of running text."""
_COUNTED_ITEM: Final = re.compile(r"^([ \t]*)#\.(?=[ \t])", re.MULTILINE)
"""An item of a list whose number is for whoever shows it."""
_PROMPT: Final = ">>>"
_TITLE_MARKS: Final = re.compile(r"([=~^\"'*+#_.:-])\1{2,}[ \t]*")
"""What underlines a title, or stands above it as well."""
_LEAST_MARKS: Final = 4
"""So many underline a title that is longer, where an empty line follows."""
_OTHER_FIELD: Final = re.compile(r":([A-Za-z][\w -]{0,30}):[ \t]+(?=\S)")
"""A field that is about no parameter or the like, such as ``:license: MIT``."""
_CODE: Final = frozenset(
    {"code", "code-block", "sourcecode", "doctest", "testcode", "parsed-literal", "prompt"}
)
_VERSIONS: Final = {
    "versionadded": "New in version",
    "version-added": "New in version",
    "versionchanged": "Changed in version",
    "version-changed": "Changed in version",
    "versionremoved": "Removed in version",
}
_WITH_TITLE: Final = frozenset({"admonition", "topic", "rubric"})
_ADMONITIONS: Final = _WITH_TITLE | {
    *("note", "warning", "caution", "danger", "important", "hint", "tip", "attention", "error"),
    "seealso",
}
_SHOWN_ELSEWHERE: Final = frozenset({"deprecated"})
_DEPRECATED_LABEL: Final = re.compile(
    r"[ \t]*\*{0,2}Deprecated(?::\*{0,2}|\*{0,2}:)[ \t]*(.*)", re.IGNORECASE
)


def as_markdown(text: str) -> str:
    """Return a docstring's text with what reStructuredText writes differently as Markdown.

    What is neither is left as it is.
    """
    lines = list(_with_marked_titles(text.expandtabs(4).split("\n")))
    targets = dict(_TARGET.findall(text)) if _RESTRUCTURED.search(text) else None
    pieces = [_inline_markdown(piece, targets) for piece in _pieces(lines)]
    return "\n\n".join(piece for piece in pieces if piece.strip())


def without_title(text: str, names: Container[str]) -> str:
    """Return a docstring without the title that it begins with, if that is one of these names."""
    lines = list(_with_marked_titles(text.strip().split("\n")))
    title = lines[0].lstrip("# ").strip("` ")
    if not lines[0].startswith("#") or title not in names:
        return text
    return "\n".join(lines[1:]).strip("\n")


def _with_marked_titles(lines: list[str]) -> Iterator[str]:
    """Yield the lines with ``## Title`` for each title with marks below it, or above and below.

    Markdown would take a line of tildes for the beginning of code.
    """
    position = 0
    while position < len(lines):
        over = position if _TITLE_MARKS.fullmatch(lines[position]) else None
        title = position if over is None else position + 1
        if _is_title(lines, title, over):
            yield from (f"## {lines[title].strip()}", "")
            position = title + 2
        else:
            yield lines[position]
            position += 1


def _is_title(lines: list[str], at: int, over: int | None) -> bool:
    """Tell whether a line is a title: a text that begins a paragraph, with marks below it."""
    if at + 1 >= len(lines):
        return False
    text, below = lines[at], lines[at + 1].rstrip()
    begins = over is not None or at == 0 or not lines[at - 1].strip()
    is_text = text.strip() and _NO_PROSE.match(text.strip()) is None
    if not begins or not is_text or _TITLE_MARKS.fullmatch(below) is None:
        return False
    is_long_enough = len(below) >= len(text.strip())
    if over is not None:
        return is_long_enough and lines[over].rstrip() == below
    is_indented = text[:1].isspace()
    is_alone = at + 2 >= len(lines) or not lines[at + 2].strip()
    return not is_indented and (is_long_enough or (len(below) >= _LEAST_MARKS and is_alone))


def _inline_markdown(text: str, targets: Mapping[str, str] | None) -> str:
    """Return a paragraph as Markdown.

    Args:
        text: The paragraph.
        targets: Where names lead; ``None`` if the text is no reStructuredText.
    """
    if text.startswith("```"):
        return text
    with_roles = _ROLE.sub(lambda role: f"`{_unescaped(role[1])}`", text)
    with_code = _SPECIAL_NAME.sub(lambda match: match[1] or f"`{match[0]}`", with_roles)
    linked = _LINK.sub(r"[\1](\2)", with_code)
    if targets is None:
        return linked

    def with_target(match: re.Match[str]) -> str:
        if match["code"]:
            return match["code"]
        words = match["words"] or match["word"]
        address = targets.get(words)
        return f"[{words}]({address})" if address else words

    joined = _JOINED_CODE.sub(r"`\2\4`", _LABEL.sub(r"\1", linked))
    return _CODE_OR_NAME.sub(with_target, joined)


def _unescaped(text: str) -> str:
    """Return what stands in code without the escapes that reStructuredText needs around it."""
    return text.replace("\\_", "_").replace("\\*", "*")


def _pieces(lines: list[str]) -> Iterator[str]:
    """Yield the paragraphs of a text, each as Markdown."""
    paragraph: list[str] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        directive = _DIRECTIVE.fullmatch(line)
        is_text = directive is None and _COMMENT.fullmatch(line) is None
        ends_in_literal = is_text and _LITERAL_END.search(line) is not None
        if is_text:
            paragraph.append(_without_literal_end(line))
        if is_text and line.strip() and not ends_in_literal:
            continue
        yield from _paragraph(paragraph)
        paragraph = []
        if is_text and not ends_in_literal:
            continue  # an empty line
        is_continued = position < len(lines) and bool(lines[position].strip())
        body, position = _body(lines, position, _indentation(line))
        if directive is not None:
            argument, gap = directive[3] or "", "\n" if is_continued else "\n\n"
            yield _directive(directive[2], argument, body, gap)
        elif ends_in_literal:
            yield fenced(body)
    yield from _paragraph(paragraph)


def _without_literal_end(line: str) -> str:
    """Return a line without what says that literal text follows: ``::`` is a colon, or nothing."""
    return "" if line.strip() == "::" else _LITERAL_END.sub(":", line)


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def _body(lines: list[str], start: int, indentation: int) -> tuple[str, int]:
    """Return what is indented further than a line, from *start* on, and where it ends."""
    end = start
    while end < len(lines):
        is_inside = not lines[end].strip() or _indentation(lines[end]) > indentation
        if not is_inside:
            break
        end += 1
    return dedent("\n".join(lines[start:end])).strip("\n"), end


def _directive(name: str, argument: str, body: str, gap: str) -> str:
    """Return what a directive shows.

    Args:
        name: Its name.
        argument: What stands behind it on its line.
        body: What is indented below it.
        gap: What is between the two: a line's end, or an empty line.
    """
    name = name.rpartition(":")[2].lower()
    if name in _SHOWN_ELSEWHERE:
        return ""
    body = _without_options(body)
    if name in _CODE:
        return fenced(body, argument)
    if name == "math":
        return fenced("\n".join(filter(None, (argument, body))), "math")
    if name in _VERSIONS:
        version, _, rest = argument.partition(" ")
        head = f"*{_VERSIONS[name]} {version}*" if version else f"*{_VERSIONS[name]}*"
        text = as_markdown(f"{rest}{gap}{body}".strip())
        return f"{head}: {text}" if text else f"{head}."
    if name in _ADMONITIONS:
        title, content = name.capitalize(), f"{argument}{gap}{body}".strip()
        if name == "seealso":
            title = "See also"
        elif name in _WITH_TITLE:
            title, content = argument, body
        return admonition(title, as_markdown(content))
    return as_markdown(body)


def admonition(title: str, text: str) -> str:
    """Return a note of Markdown under a title."""
    if not text:
        return f"**{title}**"
    return f"**{title}:** {text}" if _NO_PROSE.match(text) is None else f"**{title}**\n\n{text}"


def apart_from_fields(text: str) -> tuple[str, str]:
    """Return a docstring of Sphinx's style up to its last field, and what stands behind its fields.

    Otherwise what follows them would be read as part of the last one. The latter is empty, and the
    docstring as it was, if it has no fields.
    """
    text = _TYPED_FIELD.sub(r":vartype \3: \2\n:\1 \3:", text)
    before, behind = list[str](), list[str]()
    has_fields, is_behind, was_blank = False, False, False
    for line in text.split("\n"):
        if _FIELD.match(line):
            has_fields, is_behind = True, False
        elif has_fields and (was_blank or line.startswith("..")) and line[:1].strip():
            is_behind = True
        (behind if is_behind else before).append(line)
        was_blank = not line.strip()
    return "\n".join(before), "\n".join(behind)


def has_fields(text: str) -> bool:
    """Tell whether a docstring has fields of Sphinx's style."""
    return any(_FIELD.match(line) for line in text.split("\n"))


def _without_options(body: str) -> str:
    lines = body.split("\n")
    while lines and _OPTION.fullmatch(lines[0].strip()):
        lines.pop(0)
    return "\n".join(lines).strip("\n")


def fenced(body: str, language: str = "") -> str:
    """Return code as Markdown, fenced by more backticks than stand in it.

    Args:
        body: The code; with prompts it is a session of Python.
        language: What the text says that it is; worked out where it says nothing that can be used.
    """
    if not body.strip():
        return ""
    if _PROMPT in body:
        language = "pycon"
    elif not re.fullmatch(r"[\w+#-]+", language):
        language = "python" if _is_python(body) else "text"
    marks = "```"
    while marks in body:
        marks += "`"
    return f"{marks}{language}\n{body}\n{marks}"


def _is_python(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _paragraph(lines: list[str]) -> Iterator[str]:
    """Yield a paragraph on one line; what is no prose stays as it is."""
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        return
    text = "\n".join(lines)
    if text.lstrip().startswith(_PROMPT):
        yield fenced(dedent(text))
    elif _OTHER_FIELD.match(text) is not None:
        yield "\n".join(_field_items(lines))
    elif any(_NO_PROSE.match(line) for line in lines):
        yield _COUNTED_ITEM.sub(r"\g<1>1.", text)
    else:
        yield " ".join(line.strip() for line in lines)


def _field_items(lines: list[str]) -> Iterator[str]:
    """Yield an item for each field of a paragraph; a line without one goes on with the last."""
    item = ""
    for line in lines:
        field = _OTHER_FIELD.match(line)
        if field is None:
            item += f" {line.strip()}"
            continue
        if item:
            yield item
        item = f"- **{field[1].capitalize()}:** {line[field.end() :].strip()}"
    yield item


def deprecation_in(text: str, shorten: Callable[[str], str]) -> str | None:
    """Return what a docstring says of a deprecation; ``None`` if it says nothing.

    Args:
        text: The docstring.
        shorten: Makes one line of Markdown of a text.
    """
    lines = text.expandtabs(4).split("\n")
    for position, line in enumerate(lines):
        directive = _DIRECTIVE.fullmatch(line)
        if directive is not None and directive[2] == "deprecated":
            body, _ = _body(lines, position + 1, _indentation(line))
            version, _, rest = (directive[3] or "").partition(" ")
            reason = shorten(as_markdown(f"{rest} {body}".strip()))
            since = f"since {version}" if version else "yes"
            return f"{since}. {reason}" if reason else f"{since}."
        match = _DEPRECATED_LABEL.fullmatch(line)
        if match is not None:
            paragraph = " ".join([match[1], *_rest_of_paragraph(lines, position)])
            return shorten(as_markdown(paragraph)) or "yes."
    return None


def _rest_of_paragraph(lines: list[str], position: int) -> Iterator[str]:
    for line in lines[position + 1 :]:
        if not line.strip():
            return
        yield line.strip()

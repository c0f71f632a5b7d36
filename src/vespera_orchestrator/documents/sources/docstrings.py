"""Text of docstrings, in which reStructuredText may stand, as Markdown."""

from __future__ import annotations

import ast
import re
import warnings
from textwrap import dedent
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROLE: Final = re.compile(r":(?:\w+:)?\w+:`~?(?:[^`<>]*<)?([^`<>]+)>?`(?:\\[ ]?)?")
"""A reference of Sphinx, such as ``:class:`Kettle```; what separates it from letters goes too."""
_LINK: Final = re.compile(r"`([^`<>]+?)\s*<(https?://[^`<>\s]+)>`__?")
"""A link of reStructuredText to an address."""
_DIRECTIVE: Final = re.compile(r"([ \t]*)\.\.[ \t]+([\w.-]+)::(?:[ \t]+(.*?))?[ \t]*")
_COMMENT: Final = re.compile(r"[ \t]*\.\.(?:[ \t]+.*)?")
_OPTION: Final = re.compile(r":[\w-]+:(?:[ \t].*)?")
_LITERAL_END: Final = re.compile(r"(?<=\S)::[ \t]*$")
_NO_PROSE: Final = re.compile(r"\s|[-*+]\s|[#|>]|~~~|```|===|---|\.\.\s|\d{1,3}[.)]\s")
"""How a line begins that is not part of running text."""
_PROMPT: Final = ">>>"
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
_ADMONITIONS: Final = frozenset(
    {"note", "warning", "caution", "danger", "important", "hint", "tip", "attention", "error"}
    | {"seealso", "admonition", "topic", "rubric"}
)
_SHOWN_ELSEWHERE: Final = frozenset({"deprecated"})
_DEPRECATED_LABEL: Final = re.compile(
    r"[ \t]*\*{0,2}Deprecated(?::\*{0,2}|\*{0,2}:)[ \t]*(.*)", re.IGNORECASE
)


def as_markdown(text: str) -> str:
    """Return a docstring's text with what reStructuredText writes differently as Markdown.

    What is neither is left as it is.
    """
    lines = text.expandtabs(4).split("\n")
    pieces = [_inline_markdown(piece) for piece in _pieces(lines)]
    return "\n\n".join(piece for piece in pieces if piece.strip())


def _inline_markdown(text: str) -> str:
    with_roles = _ROLE.sub(lambda role: f"`{_unescaped(role[1])}`", text)
    return _LINK.sub(r"[\1](\2)", with_roles)


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
            paragraph.append(_LITERAL_END.sub(":", line))
        if is_text and line.strip() and not ends_in_literal:
            continue
        yield from _paragraph(paragraph)
        paragraph = []
        if is_text and not ends_in_literal:
            continue  # an empty line
        body, position = _body(lines, position, _indentation(line))
        if directive is not None:
            yield _directive(directive[2], directive[3] or "", body)
        elif ends_in_literal:
            yield fenced(body)
    yield from _paragraph(paragraph)


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


def _directive(name: str, argument: str, body: str) -> str:
    name = name.rpartition(":")[2].lower()
    if name in _SHOWN_ELSEWHERE:
        return ""
    body = _without_options(body)
    if name in _CODE:
        return fenced(body, argument)
    if name == "math":
        return fenced("\n".join(filter(None, (argument, body))), "math")
    text = as_markdown(body)
    if name in _VERSIONS:
        version, _, rest = argument.partition(" ")
        head = f"*{_VERSIONS[name]} {version}*" if version else f"*{_VERSIONS[name]}*"
        text = "\n\n".join(filter(None, (as_markdown(rest), text)))
        return f"{head}: {text}" if text else f"{head}."
    if name in _ADMONITIONS:
        return _admonition(name, argument, text)
    return text


def _admonition(name: str, argument: str, text: str) -> str:
    if name in ("admonition", "topic", "rubric"):
        title, argument = argument, ""
    else:
        title = "See also" if name == "seealso" else name.capitalize()
    content = "\n\n".join(filter(None, (argument, text)))
    return f"**{title}:** {content}" if content else f"**{title}**"


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
    elif any(_NO_PROSE.match(line) for line in lines):
        yield text
    else:
        yield " ".join(line.strip() for line in lines)


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

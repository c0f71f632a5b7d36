"""Comments that document what stands below them, as Markdown.

The tags of JSDoc, Javadoc and Doxygen become lists under headings. What Go and Rust write is
Markdown, or near enough.
"""

from __future__ import annotations

import re
from textwrap import dedent
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.markdown import (
    LineRole,
    code,
    embed,
    first_paragraph,
    inline,
    line_roles,
    markdown_line,
)
from vespera_orchestrator.documents.sources.docstrings import fenced
from vespera_orchestrator.documents.sources.python_code import Definition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_DOC_LEVEL: Final = 6
_BLOCK: Final = re.compile(r"/\*[*!]?<?(.*?)\**/", re.DOTALL)
_STAR: Final = re.compile(r"^[ \t]*\*(?!\*)[ ]?", re.MULTILINE)
_LINE: Final = re.compile(r"//[/!]?<?[ ]?(.*)")
_TAG: Final = re.compile(r"[ \t]*[@\\]([a-zA-Z]+)\b(?:\[[a-z,]+\])?[ \t]*(.*)")
_TAG_WITHIN: Final = re.compile(r"[ \t]+(?=@[a-zA-Z]{2,})")
_INLINE_TAG: Final = re.compile(r"\{@(?:link\w*|code|literal|value)[ \t]+([^{}]*?)\}")
_LABELLED_LINK: Final = re.compile(r"(\S+?)(?:[ \t]*\|[ \t]*|[ \t]+)(.+)")
_WORD_TAG: Final = re.compile(r"(?<!\w)[@\\](?:c|p|ref|a|e|em|b)[ \t]+([\w:.()]+)")
_HTML: Final = (
    (re.compile(r"</?(?:code|tt|kbd)>", re.IGNORECASE), "`"),
    (re.compile(r"[ \t]*<p/?>[ \t]*|[ \t]*<br ?/?>[ \t]*", re.IGNORECASE), "\n\n"),
    (re.compile(r"\s*<li>\s*", re.IGNORECASE), "\n- "),
    (re.compile(r"\s*<(?:ul|ol)>\s*", re.IGNORECASE), "\n\n"),
    (re.compile(r"\s*</(?:ul|ol)>", re.IGNORECASE), "\n\n"),
    (re.compile(r"</?(?:b|strong)>", re.IGNORECASE), "**"),
    (re.compile(r"</?(?:i|em)>", re.IGNORECASE), "*"),
    (re.compile(r"</?(?:p|li)>", re.IGNORECASE), ""),
)
_HEADING: Final = re.compile(r"#{1,6}[ \t]+(.*?)[ \t#]*$")
_INDENTED: Final = re.compile(r"(?:\A|\n[ \t]*\n)((?:(?:\t| {4}).*(?:\n[ \t]*)*(?:\n|\Z))+)")
"""Code as plain text has it: indented, behind an empty line."""
_TYPE: Final = re.compile(r"\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}[ \t]*(.*)", re.DOTALL)
_NAME: Final = re.compile(r"\[?([\w.$<>]+)[^\]\s]*\]?(?:[ \t]+-|:)?[ \t]*(.*)", re.DOTALL)
_PARAMETERS: Final = frozenset(
    {"param", "arg", "argument", "tparam", "typeparam", "template", "property", "prop"}
)
_RETURNS: Final = frozenset({"return", "returns", "result", "retval", "yields"})
_RAISES: Final = frozenset({"throws", "throw", "exception", "raises"})
_PROSE: Final = frozenset(
    {"brief", "short", "summary", "description", "desc", "remarks", "details", "note", "par"}
)
_HIDDEN: Final = frozenset({"internal", "hidden", "private", "ignore", "hide"})
FILE_TAGS: Final = frozenset({"file", "fileoverview", "module", "packagedocumentation", "overview"})
"""Tags of a comment that is about its whole file."""


@attrs.frozen(kw_only=True)
class Comment:
    """What a comment says."""

    doc: str = ""
    """As Markdown."""
    summary: str = ""
    """The first paragraph of it, on one line."""
    deprecated: str = ""
    """Why it should not be used any more, or what instead; empty while it should."""
    is_hidden: bool = False
    """Whether it says that what it is about is not public."""
    is_of_file: bool = False
    """Whether it says that it is about the file."""


def is_doc_block(comment: str) -> bool:
    """Tell whether a comment is one that tools read: ``/** … */``, ``///`` and the like."""
    return re.match(r"/\*[*!](?![*/])|///(?!/)|//!", comment) is not None


def plain(comments: Iterable[str]) -> str:
    """Return the text of comments without their marks."""
    lines: list[str] = []
    for comment in comments:
        block = _BLOCK.fullmatch(comment.strip())
        if block is not None:
            lines.append(_without_stars(block[1]))
        else:
            line = _LINE.match(comment)
            lines.append(comment if line is None else line[1].rstrip())
    return "\n".join(lines).strip("\n")


def _without_stars(text: str) -> str:
    first, separator, rest = text.partition("\n")
    without_stars = _STAR.sub("", rest)
    whole = f"{first.strip()}{separator}{without_stars}"
    return whole.rstrip().strip("\n")


def markdown_comment(comments: Iterable[str], word: str) -> Comment:
    """Read comments that are Markdown, as in Rust, or nearly so, as in Go.

    Args:
        comments: The comments.
        word: What a fence calls the language of code in them.
    """
    return _comment(_in_our_form(plain(comments), word))


def _in_our_form(text: str, word: str) -> str:
    """Return Markdown with headings as bold lines, and with all code in fences that name it."""
    lines: list[str] = []
    for line, role in line_roles(text.split("\n")):
        if role is LineRole.OPENS_CODE:
            info = line.lstrip("`~")
            fence = line.removesuffix(info)
            language, _, _ = info.strip().partition(",")
            lines.append(f"{fence}{language or word}")
        elif role is LineRole.TEXT:
            lines.append(_HEADING.sub(r"**\1**", line))
        else:
            lines.append(line)

    def in_fence(block: re.Match[str]) -> str:
        return f"\n\n{_fenced(block[1], word)}\n\n"

    return _INDENTED.sub(in_fence, "\n".join(lines))


def _fenced(text: str, word: str) -> str:
    lines = dedent(text.expandtabs(4))
    return fenced(lines.strip("\n"), word)


def tagged_comment(comments: Iterable[str], word: str) -> Comment:
    """Read a comment with the tags of JSDoc, Javadoc or Doxygen.

    Args:
        comments: The comment, or the lines of it.
        word: What a fence calls the language of examples in it.
    """
    prose, tags = _prose_and_tags(plain(comments))
    names = {name for name, _ in tags}
    prose += [f"\n{text}" for name, text in tags if name in _PROSE]
    if not "".join(prose).strip():
        prose += [text for name, text in tags if name in FILE_TAGS and " " in text.strip()]
    comment = _comment(_readable("\n".join(prose)), list(_lists(tags, word)))
    return attrs.evolve(
        comment,
        deprecated=_instead(tags) if "deprecated" in names else "",
        is_hidden=bool(names & _HIDDEN),
        is_of_file=bool(names & FILE_TAGS),
    )


def _prose_and_tags(comment: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the lines before the first tag, and each tag with its text."""
    prose: list[str] = []
    tags: list[tuple[str, str]] = []
    if "\n" not in comment:
        comment = _TAG_WITHIN.sub("\n", comment)
    for line in comment.split("\n"):
        tag = _TAG.fullmatch(line)
        if tag is not None and len(tag[1]) > 1:
            tags.append((tag[1].lower(), tag[2]))
        elif tags:
            name, text = tags[-1]
            tags[-1] = name, f"{text}\n{line}"
        else:
            prose.append(line)
    return prose, tags


def _instead(tags: Iterable[tuple[str, str]]) -> str:
    """Return what the tags say should be used instead, or that something should."""
    reasons = [text for name, text in tags if name == "deprecated"]
    reason = _readable("\n".join(reasons).strip())
    return markdown_line(reason) or "yes"


def _comment(text: str, lists: Sequence[str] = ()) -> Comment:
    doc = embed(text, _DOC_LEVEL)
    return Comment(
        doc="\n\n".join(filter(None, [doc, *lists])), summary=inline(first_paragraph(text))
    )


def _readable(text: str) -> str:
    """Return the text of a comment with what tags and HTML say inside of it as Markdown."""
    text = _INLINE_TAG.sub(lambda match: _linked(match[1]), text)
    text = _WORD_TAG.sub(r"`\1`", text)
    for pattern, replacement in _HTML:
        text = pattern.sub(replacement, text)
    return text


def _linked(target: str) -> str:
    name = target.strip()
    label = _LABELLED_LINK.fullmatch(name)
    if label is not None:
        return label[2]
    return code(name.lstrip("#"))


def _lists(tags: Sequence[tuple[str, str]], word: str) -> Iterator[str]:
    groups = (("Parameters", _PARAMETERS), ("Returns", _RETURNS), ("Throws", _RAISES))
    for heading, names in groups:
        items = [
            _item(_readable(text), has_name=_has_name(heading, text))
            for name, text in tags
            if name in names
        ]
        if any(items):
            yield f"**{heading}**\n\n" + "\n".join(filter(None, items))
    for name, text in tags:
        if name == "example" and text.strip():
            shown = embed(text if "```" in text else _fenced(text, word), _DOC_LEVEL)
            yield f"**Example**\n\n{shown}"
        if name == "since" and text.strip():
            yield f"*Since {inline(text.strip())}.*"


def _has_name(heading: str, text: str) -> bool:
    is_type_alone = heading == "Throws" and text.lstrip().startswith("{")
    return heading != "Returns" and not is_type_alone


def _item(text: str, *, has_name: bool) -> str:
    shown = []
    typed = _TYPE.match(text)
    type_text = ""
    if typed is not None:
        type_text, text = typed[1], typed[2]
    named = _NAME.match(text.strip()) if has_name else None
    if named is not None:
        shown.append(code(named[1]))
        text = named[2]
    if type_text:
        shown.append(f"({code(type_text)})" if shown else code(type_text))
    description = markdown_line(text.strip().removeprefix("- "))
    head = " ".join(shown)
    if not head:
        return f"- {description}" if description else ""
    return f"- {head}: {description}" if description else f"- {head}"


def harmless(signature: str) -> str:
    """Return a signature that cannot end the fence in which it is shown, nor form a marker."""
    if "```" in signature or "vespera:" in signature:
        return " ".join(signature.split())  # what does not begin a line does neither
    return signature


def define(
    name: str,
    kind: str,
    signature: str,
    comment: Comment,
    *,
    members: Iterable[Definition] = (),
) -> Definition:
    """Return a definition, with what its comment says."""
    return Definition(
        name=" ".join(name.replace("`", "'").split()),
        kind=kind,
        signature=harmless(signature),
        doc=comment.doc,
        summary=comment.summary,
        deprecated=comment.deprecated,
        members=tuple(members),
    )

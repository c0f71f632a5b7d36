"""Links from one document to another, or to a part of one: which lead nowhere, and what is near."""

from __future__ import annotations

import difflib
import functools
import itertools
import posixpath
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from vespera_orchestrator import _attrs as attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from markdown_it.token import Token

_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//|/")
_TARGETS: Final = {"link_open": "href", "image": "src"}
"""What a link, or a picture, calls its target."""
_NO_SLUG: Final = re.compile(r"[^\w\- ]")


@attrs.frozen(kw_only=True)
class DeadLink:
    """A link that leads nowhere."""

    line: int
    """The line of the block in which it stands, from 1."""
    target: str
    """As it is written."""
    nearest: str
    """What may have been meant; empty if nothing is near."""

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"line {self.line}: the link {self.target!r} leads nowhere{hint}"


@attrs.frozen
class FileLink:
    """The name of something, with the file of the project in which it is."""

    text: str
    """As Markdown."""
    path: str = ""
    """From the project's folder; empty if it is in no file."""

    def to(self, root: str) -> str:
        """Return it as Markdown, with a link where there is a file.

        Args:
            root: The way from the document's folder to the project's, with a slash at its end;
                empty if it is the same folder.
        """
        if not self.path or "[" in self.text:
            return self.text
        return f"[{self.text}]({root}{quote(self.path)})"

    def __str__(self) -> str:
        return self.text


def dead_links(
    text: str, path: str, paths: Iterable[str], read: Callable[[str], str | None]
) -> Iterator[DeadLink]:
    """Yield the links of a document that lead to no file, or to no heading of a Markdown file.

    Addresses of the web are not looked at.

    Args:
        text: The document.
        path: Where it is.
        paths: Every file of the project.
        read: Returns the text of a file.
    """
    known = set(paths) | {path}
    folders = {posixpath.dirname(each) for each in known}
    tokens = _tokens(text)

    @functools.cache
    def anchors_in(place: str) -> frozenset[str]:
        return frozenset(_anchors(tokens if place == path else _tokens(read(place) or "")))

    for line, target in _links(tokens):
        if _SCHEME.match(target):
            continue
        file, _, anchor = unquote(target).partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) if file else path
        if place not in known and place not in folders:
            nearest = _nearest_file(place, known, path)
            yield DeadLink(line=line, target=target, nearest=nearest)
        elif anchor and place.endswith((".md", ".markdown")):
            anchors = anchors_in(place)
            if anchor not in anchors:
                close = difflib.get_close_matches(anchor, anchors, n=1)
                yield DeadLink(
                    line=line, target=target, nearest=f"{file}#{close[0]}" if close else ""
                )


def target_from_root(target: str, path: str, known: Container[str]) -> str:
    """Return the target of a link of a document so that it leads to a file of the project.

    Who works on a task names files from the project's folder.

    Args:
        target: As it is written.
        path: Where the document is.
        known: Every file of the project.
    """
    file, separator, anchor = target.partition("#")
    folder = posixpath.dirname(path)
    named = posixpath.normpath(unquote(file))
    if posixpath.normpath(posixpath.join(folder, named)) in known or named not in known:
        return target
    return f"{quote(posixpath.relpath(named, folder or '.'))}{separator}{anchor}"


def _nearest_file(place: str, known: set[str], path: str) -> str:
    """Return the link to the file that is most like a path: of the same name, or spelt alike."""
    name = posixpath.basename(place)
    same = sorted(each for each in known if posixpath.basename(each) == name)
    close = same or difflib.get_close_matches(place, known, n=1)
    return posixpath.relpath(close[0], posixpath.dirname(path) or ".") if close else ""


def _tokens(text: str) -> list[Token]:
    from markdown_it import MarkdownIt

    tokens: list[Token] = MarkdownIt("commonmark").enable("table").parse(text)
    return tokens


def _links(tokens: Iterable[Token]) -> Iterator[tuple[int, str]]:
    for token in tokens:
        line = token.map[0] + 1 if token.map else 0
        for child in token.children or ():
            name = _TARGETS.get(child.type)
            target = None if name is None else child.attrGet(name)
            if target:
                yield line, str(target)


def anchor_of(heading: str) -> str:
    """Return what links to a heading, as code hosts name it."""
    return _NO_SLUG.sub("", heading.strip().lower()).replace(" ", "-")


def _anchors(tokens: Iterable[Token]) -> Iterator[str]:
    """Yield what links to the headings of a text, as code hosts name it."""
    seen: dict[str, int] = {}
    for heading, inline in itertools.pairwise(tokens):
        if heading.type != "heading_open":
            continue
        slug = anchor_of("".join(child.content for child in inline.children or ()))
        number = seen.get(slug, 0)
        seen[slug] = number + 1
        yield f"{slug}-{number}" if number else slug

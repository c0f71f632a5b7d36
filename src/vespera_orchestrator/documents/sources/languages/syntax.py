"""The door to tree-sitter: the text of a file becomes a tree of nodes."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator.documents.place import file_stamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec

    from tree_sitter import Node, Parser

_GRAMMARS: Final = {
    "c": ("tree_sitter_c", "language"),
    "go": ("tree_sitter_go", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
}
"""The package of each grammar, and the function that returns it."""
_MOST_CHARACTERS: Final = 600
"""A longer signature is cut."""
_OPENS_BODY: Final = re.compile(r"\s*(?:\{|=>|=|;|,)?\s*\Z")


@functools.cache
def is_installed(grammar: str) -> bool:
    """Tell whether files of a grammar can be read. A process looks once."""
    return all(_specs_of(grammar))


def installed_grammars() -> list[str]:
    """Return the names of the grammars that are there."""
    return [grammar for grammar in _GRAMMARS if is_installed(grammar)]


@functools.cache
def grammar_stamp(grammar: str) -> str:
    """Return what changes when another release of a grammar, or of tree-sitter, is installed."""
    files = [spec.origin for spec in _specs_of(grammar) if spec is not None]
    stamps = [file_stamp(Path(file)) for file in files if file]
    return repr(stamps)


def _specs_of(grammar: str) -> list[ModuleSpec | None]:
    """Return where tree-sitter and a grammar are; ``None`` for what is not installed."""
    module, _ = _GRAMMARS[grammar]
    return [importlib.util.find_spec(name) for name in ("tree_sitter", module)]


@functools.cache
def _parser(grammar: str) -> Parser:
    from tree_sitter import Language, Parser

    module, function = _GRAMMARS[grammar]
    language: Any = getattr(importlib.import_module(module), function)
    return Parser(Language(language()))


def parse(grammar: str, source: str) -> Node:
    """Return the root of a file's tree. What is no correct syntax is in error nodes."""
    return _parser(grammar).parse(source.encode()).root_node


def _bytes(node: Node) -> bytes:
    return node.text or b""


def text_of(node: Node | None) -> str:
    """Return the source of a node; empty for none."""
    return "" if node is None else _bytes(node).decode(errors="replace")


def children_of(node: Node | None, *types: str) -> Iterator[Node]:
    """Yield the children of these types; all that have a name if no type is named."""
    for child in () if node is None else node.named_children:
        if not types or child.type in types:
            yield child


def child_of(node: Node | None, *types: str) -> Node | None:
    """Return the first child of one of these types."""
    return next(children_of(node, *types), None)


def head_of(node: Node, body: Node | None = None) -> str:
    """Return the source of a declaration up to its body, as it is written."""
    end = node.end_byte if body is None else body.start_byte
    source = _bytes(node)[: end - node.start_byte].decode(errors="replace")
    lines = source.split("\n")
    indentation = re.compile(rf"[ \t]{{0,{_indentation(node)}}}")
    lines[1:] = [line[indentation.match(line).end() :] for line in lines[1:]]  # type: ignore[union-attr]
    signature = _OPENS_BODY.sub("", "\n".join(lines))
    if len(signature) > _MOST_CHARACTERS:
        return f"{signature[:_MOST_CHARACTERS]}…"
    return signature


def _indentation(node: Node) -> int:
    """Return the column at which the line of a node begins."""
    outer = node
    while outer.parent is not None and outer.parent.start_point[0] == node.start_point[0]:
        outer = outer.parent
    return int(outer.start_point[1])


def one_line(signature: str, limit: int = 80) -> str:
    """Return a signature on one line, cut at *limit* characters."""
    flat = " ".join(signature.split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"


def comments_above(node: Node, *others: str) -> list[str]:
    """Return the comments that end directly above a declaration, the first one first.

    Args:
        node: The declaration.
        others: Types of nodes that may stand between, such as attributes.
    """
    comments: list[str] = []
    line = node.start_point[0]
    sibling = node.prev_sibling
    while sibling is not None:
        is_near = _last_line(sibling) >= line - 1
        is_comment = "comment" in sibling.type
        if not is_near or not (is_comment or sibling.type in others):
            break
        if is_comment and _shares_line(sibling):
            break  # it is about what stands before it
        if is_comment:
            comments.insert(0, text_of(sibling))
        line = sibling.start_point[0]
        sibling = sibling.prev_sibling
    return comments


def comment_behind(node: Node) -> list[str]:
    """Return the comment that stands behind a node on its line; empty if none does."""
    after = node.next_sibling
    while after is not None and after.type in (",", ";", "\n"):
        after = after.next_sibling
    is_comment = after is not None and "comment" in after.type
    if after is None or not is_comment or after.start_point[0] != node.end_point[0]:
        return []
    return [text_of(after)]


def _last_line(node: Node) -> int:
    row, column = node.end_point
    last: int = row if column else row - 1
    return last


def _shares_line(comment: Node) -> bool:
    before = comment.prev_sibling
    return before is not None and before.is_named and _last_line(before) == comment.start_point[0]

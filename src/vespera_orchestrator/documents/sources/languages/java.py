"""Java: the public types of a file, and what of them is public."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.documents.sources.languages.comments import (
    Comment,
    define,
    is_doc_block,
    tagged_comment,
)
from vespera_orchestrator.documents.sources.languages.source_file import SourceFile
from vespera_orchestrator.documents.sources.languages.syntax import (
    child_of,
    children_of,
    comments_above,
    head_of,
    one_line,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node

    from vespera_orchestrator.documents.sources.python_code import Definition

_TYPES: Final = (
    *("class_declaration", "interface_declaration", "enum_declaration"),
    *("record_declaration", "annotation_type_declaration"),
)
_METHODS: Final = (
    *("method_declaration", "constructor_declaration", "compact_constructor_declaration"),
    "annotation_type_element_declaration",
)
_ANNOTATION_LINE: Final = re.compile(
    r"^@(?:Override|SuppressWarnings|Deprecated)\b.*\n?", re.MULTILINE
)


def read(root: Node) -> SourceFile:
    """Read the public types of a file."""
    declaration = child_of(root, "package_declaration")
    package = text_of(child_of(declaration, "scoped_identifier", "identifier"))
    comment = Comment() if declaration is None else _comment(declaration)
    return SourceFile(
        package=package,
        comment=comment,
        definitions=tuple(_types(root, "", is_open=False)),
    )


def _types(body: Node | None, prefix: str, *, is_open: bool) -> Iterator[Definition]:
    """Yield the public types directly in a body.

    Args:
        body: Where to look.
        prefix: The names of the types around it.
        is_open: Whether everything in it is public, as in an interface.
    """
    for node in children_of(body, *_TYPES):
        comment = _comment(node)
        if not (is_open or _is_public(node)) or comment.is_hidden:
            continue
        name = f"{prefix}{text_of(node.child_by_field_name('name'))}"
        inner = node.child_by_field_name("body")
        is_interface = node.type in ("interface_declaration", "annotation_type_declaration")
        yield define(
            name,
            "class",
            _head(node, inner),
            comment,
            members=_members(inner, is_open=is_interface),
        )
        yield from _types(inner, f"{name}.", is_open=is_interface)


def _is_public(node: Node) -> bool:
    words = text_of(child_of(node, "modifiers")).split()
    return "public" in words or "protected" in words


def _head(node: Node, body: Node | None) -> str:
    return _ANNOTATION_LINE.sub("", head_of(node, body))


def _members(body: Node | None, *, is_open: bool) -> Iterator[Definition]:
    for node in children_of(body, "enum_constant"):
        name = text_of(node.child_by_field_name("name"))
        yield define(name, "value", one_line(head_of(node)), _comment(node))
    for part in children_of(body, "enum_body_declarations"):
        yield from _members(part, is_open=is_open)
    by_name: dict[str, list[tuple[str, Comment]]] = {}
    for node in children_of(body, *_METHODS, "field_declaration", "constant_declaration"):
        comment = _comment(node)
        if not (is_open or _is_public(node)) or comment.is_hidden:
            continue
        if node.type in _METHODS:
            name = text_of(node.child_by_field_name("name"))
            signature = _head(node, node.child_by_field_name("body"))
            by_name.setdefault(name, []).append((signature, comment))
        else:
            declarator = node.child_by_field_name("declarator")
            name = text_of(None if declarator is None else declarator.child_by_field_name("name"))
            yield define(name, "value", one_line(_head(node, None)), comment)
    for name, overloads in by_name.items():
        signature = "\n".join(head for head, _ in overloads)
        documented = (comment for _, comment in overloads if comment.doc)
        yield define(name, "function", signature, next(documented, Comment()))


def _comment(node: Node) -> Comment:
    comments = [text for text in comments_above(node) if is_doc_block(text)]
    return tagged_comment(comments[-1:], "java")

"""C: what a header declares."""

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
    comment_behind,
    comments_above,
    head_of,
    one_line,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tree_sitter import Node

    from vespera_orchestrator.documents.sources.python_code import Definition

_CONTAINERS: Final = (
    *("preproc_if", "preproc_ifdef", "preproc_else", "preproc_elif"),
    *("linkage_specification", "declaration_list"),
)
_RECORDS: Final = ("struct_specifier", "union_specifier", "enum_specifier")
_CPLUSPLUS: Final = re.compile(
    r"^[ \t]*(?:class|namespace|template|using)\b|^[ \t]*(?:public|private|protected):",
    re.MULTILINE,
)


def is_cplusplus(source: str) -> bool:
    """Tell whether a header is C++, which this module does not read."""
    return _CPLUSPLUS.search(source) is not None


def read(root: Node) -> SourceFile:
    """Read what a header declares."""
    first = next(iter(root.named_children), None)
    comment = Comment()
    if first is not None and first.type == "comment":
        comment = tagged_comment([text_of(first)], "c")
    return SourceFile(
        comment=comment if comment.is_of_file else Comment(),
        definitions=tuple(_once(_definitions(root))),
    )


def _once(definitions: Iterator[Definition]) -> Iterator[Definition]:
    """Yield each name once: headers may declare it once for each platform."""
    names = set()
    for definition in definitions:
        is_public = definition.name and not definition.name.startswith("_")
        if is_public and definition.name not in names:
            names.add(definition.name)
            yield definition


def _definitions(container: Node) -> Iterator[Definition]:
    for node in container.named_children:
        if node.type in _CONTAINERS:
            yield from _definitions(node)
        elif node.type in ("declaration", "function_definition"):
            yield from _declared(node)
        elif node.type == "type_definition":
            yield from _typedef(node)
        elif node.type in _RECORDS and node.child_by_field_name("body") is not None:
            name = text_of(node.child_by_field_name("name"))
            body = node.child_by_field_name("body")
            yield define(name, "class", head_of(node, body), _comment(node), members=_fields(body))
        elif node.type in ("preproc_def", "preproc_function_def"):
            yield from _macro(node)


def _declared(node: Node) -> Iterator[Definition]:
    words = {text_of(child) for child in children_of(node, "storage_class_specifier")}
    body = node.child_by_field_name("body")
    is_inline = any("inline" in text_of(child) for child in node.children[:3])
    if ("static" in words and not is_inline) or _comment(node).is_hidden:
        return
    for declarator in node.children_by_field_name("declarator"):
        name, is_function = _declarator_name(declarator)
        if is_function:
            yield define(name, "function", head_of(node, body), _comment(node))
        elif name:
            yield define(name, "value", one_line(head_of(node)), _comment(node))


def _declarator_name(node: Node | None) -> tuple[str, bool]:
    """Return the name that a declarator declares, and whether it is a function."""
    is_function = False
    while node is not None and node.type not in (
        "identifier",
        "type_identifier",
        "field_identifier",
    ):
        if node.type == "function_declarator":
            inner = node.child_by_field_name("declarator")
            is_function = inner is not None and inner.type != "parenthesized_declarator"
        node = node.child_by_field_name("declarator") or child_of(
            node, "identifier", "pointer_declarator", "function_declarator", "type_identifier"
        )
    return text_of(node), is_function


def _typedef(node: Node) -> Iterator[Definition]:
    record = node.child_by_field_name("type")
    body = None if record is None else record.child_by_field_name("body")
    for declarator in node.children_by_field_name("declarator"):
        name, _ = _declarator_name(declarator)
        head = head_of(node) if body is None else f"{head_of(node, body)} {name}"
        yield define(name, "class", head, _comment(node), members=_fields(body))


def _fields(body: Node | None) -> Iterator[Definition]:
    for node in children_of(body, "field_declaration", "enumerator"):
        if node.type == "enumerator":
            name = text_of(node.child_by_field_name("name"))
        else:
            name, _ = _declarator_name(node.child_by_field_name("declarator"))
        if name:
            yield define(name, "value", one_line(head_of(node)), _field_comment(node))


def _field_comment(node: Node) -> Comment:
    """Return the comment above a field, or behind it on its line."""
    behind = comment_behind(node)
    return tagged_comment(behind, "c") if behind else _comment(node)


def _macro(node: Node) -> Iterator[Definition]:
    name = text_of(node.child_by_field_name("name"))
    value = node.child_by_field_name("value")
    comment = _comment(node)
    if node.type == "preproc_function_def":
        signature = f"#define {name}{text_of(node.child_by_field_name('parameters'))}"
        if comment.doc:
            yield define(name, "function", signature, comment)
    elif value is not None and text_of(value).strip():
        yield define(name, "value", one_line(f"#define {name} {text_of(value)}"), comment)


def _comment(node: Node) -> Comment:
    comments = comments_above(node)
    if comments and not is_doc_block(comments[-1]) and comments[-1].startswith("//"):
        return tagged_comment(comments, "c")
    lines = [text for text in comments if text.startswith("///")]
    return tagged_comment(lines or comments[-1:], "c")

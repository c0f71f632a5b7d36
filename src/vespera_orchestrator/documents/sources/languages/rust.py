"""Rust: what a module makes public. Which modules are public themselves, their parents say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.markdown import inline
from vespera_orchestrator.documents.sources.languages.comments import (
    Comment,
    define,
    markdown_comment,
)
from vespera_orchestrator.documents.sources.languages.source_file import Reexport, SourceFile
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

_TYPES: Final = frozenset({"struct_item", "enum_item", "union_item", "trait_item", "type_item"})
_VALUES: Final = frozenset({"const_item", "static_item"})
_FUNCTIONS: Final = ("function_item", "function_signature_item")


def read(root: Node) -> SourceFile:
    """Read what a module makes public."""
    definitions: list[Definition] = []
    methods: dict[str, list[Definition]] = {}
    submodules: dict[str, bool] = {}
    reexports: list[Reexport] = []
    for node in root.named_children:
        if node.type == "impl_item" and node.child_by_field_name("trait") is None:
            name = _type_name(node.child_by_field_name("type"))
            body = node.child_by_field_name("body")
            methods.setdefault(name, []).extend(_functions(body, needs_pub=True))
        elif node.type == "mod_item" and node.child_by_field_name("body") is None:
            submodules[text_of(node.child_by_field_name("name"))] = _is_public(node)
        elif node.type == "use_declaration" and _is_public(node):
            reexports += _uses(node.child_by_field_name("argument"), "")
        else:
            definitions += _definitions(node)
    inner = [text_of(node) for node in children_of(root, "line_comment", "block_comment")]
    about_file = [text for text in inner if text.startswith(("//!", "/*!"))]
    return SourceFile(
        comment=markdown_comment(about_file, "rust"),
        definitions=tuple(definitions),
        methods={name: tuple(listed) for name, listed in methods.items()},
        reexports=tuple(reexports),
        submodules=submodules,
    )


def _is_public(node: Node) -> bool:
    """Tell whether an item is public to everybody; ``pub(crate)`` is not."""
    return text_of(child_of(node, "visibility_modifier")) == "pub"


def _definitions(node: Node) -> Iterator[Definition]:
    name = text_of(node.child_by_field_name("name"))
    if node.type == "macro_definition":
        if any("macro_export" in text for text in _attributes(node)):
            yield define(name, "function", f"macro_rules! {name}", _comment(node))
    elif not _is_public(node):
        return
    elif node.type in _FUNCTIONS:
        yield from _functions_of([node], needs_pub=True)
    elif node.type in _TYPES:
        body = node.child_by_field_name("body")
        is_tuple = body is not None and body.type == "ordered_field_declaration_list"
        head = head_of(node, None if is_tuple else body)
        yield define(name, "class", head, _comment(node), members=_members(body))
    elif node.type in _VALUES:
        yield define(name, "value", one_line(head_of(node)), _comment(node))


def _members(body: Node | None) -> Iterator[Definition]:
    if body is None:
        return
    if body.type == "declaration_list":  # of a trait
        yield from _functions(body, needs_pub=False)
    for node in children_of(body, "field_declaration", "enum_variant"):
        if node.type == "enum_variant" or _is_public(node):
            name = text_of(node.child_by_field_name("name"))
            yield define(name, "value", one_line(text_of(node)), _comment(node))


def _functions(body: Node | None, *, needs_pub: bool) -> Iterator[Definition]:
    yield from _functions_of(children_of(body, *_FUNCTIONS), needs_pub=needs_pub)


def _functions_of(nodes: Iterator[Node] | list[Node], *, needs_pub: bool) -> Iterator[Definition]:
    for node in nodes:
        if needs_pub and not _is_public(node):
            continue
        signature = head_of(node, node.child_by_field_name("body"))
        yield define(
            text_of(node.child_by_field_name("name")), "function", signature, _comment(node)
        )


def _comment(node: Node) -> Comment:
    comments = comments_above(node, "attribute_item")
    documenting = [text.rstrip("\n") for text in comments if text.startswith(("///", "/**"))]
    comment = markdown_comment(documenting, "rust")
    deprecated = [text for text in _attributes(node) if text.startswith("#[deprecated")]
    if not deprecated:
        return comment
    _, quote, note = deprecated[0].partition('note = "')
    return attrs.evolve(comment, deprecated=inline(note.partition('"')[0]) if quote else "yes")


def _attributes(node: Node) -> list[str]:
    attributes = []
    sibling = node.prev_named_sibling
    while sibling is not None and sibling.type in ("attribute_item", "line_comment"):
        attributes.append(text_of(sibling))
        sibling = sibling.prev_named_sibling
    return attributes


def _type_name(node: Node | None) -> str:
    while node is not None and node.type not in ("type_identifier", "identifier"):
        node = node.child_by_field_name("type") or next(children_of(node), None)
    return text_of(node)


def _uses(node: Node | None, prefix: str) -> Iterator[Reexport]:
    """Yield what a ``use`` declaration names, with the path before it."""
    if node is None:
        return
    if node.type == "scoped_use_list":
        path = _joined(prefix, text_of(node.child_by_field_name("path")))
        for child in children_of(node.child_by_field_name("list")):
            yield from _uses(child, path)
    elif node.type == "use_list":
        for child in children_of(node):
            yield from _uses(child, prefix)
    elif node.type == "use_wildcard":
        path = text_of(next(children_of(node), None))
        yield Reexport(source=_joined(prefix, path), name="*", public_name="*")
    elif node.type == "use_as_clause":
        path = _joined(prefix, text_of(node.child_by_field_name("path")))
        source, _, name = path.rpartition("::")
        alias = text_of(node.child_by_field_name("alias"))
        yield Reexport(source=source, name=name, public_name=alias)
    else:
        source, _, name = _joined(prefix, text_of(node)).rpartition("::")
        yield Reexport(source=source, name=name, public_name=name)


def _joined(prefix: str, path: str) -> str:
    return "::".join(filter(None, (prefix, path)))

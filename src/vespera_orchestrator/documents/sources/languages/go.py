"""Go: what a file of a package exports, which is what begins with a capital letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator.documents.sources.languages.comments import (
    Comment,
    define,
    markdown_comment,
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


def read(root: Node) -> SourceFile:
    """Read what a file exports. Methods stand beside their types, which another file may have."""
    clause = child_of(root, "package_clause")
    package = text_of(child_of(clause, "package_identifier"))
    comment = Comment() if clause is None else markdown_comment(comments_above(clause), "go")
    definitions: list[Definition] = []
    methods: dict[str, list[Definition]] = {}
    for node in root.named_children:
        if node.type == "method_declaration":
            receiver = _receiver(node)
            methods.setdefault(receiver, []).extend(_function(node, f"{receiver}."))
        else:
            definitions += _definitions(node)
    return SourceFile(
        package=package,
        comment=comment,
        definitions=tuple(definitions),
        methods={name: tuple(listed) for name, listed in methods.items()},
    )


def _definitions(node: Node) -> Iterator[Definition]:
    if node.type == "function_declaration":
        yield from _function(node)
    elif node.type == "type_declaration":
        for spec in children_of(node, "type_spec", "type_alias"):
            yield from _type(spec, node)
    elif node.type in ("const_declaration", "var_declaration"):
        group = child_of(node, "var_spec_list") or node
        for spec in children_of(group, "const_spec", "var_spec"):
            yield from _values(spec, node)


def _is_exported(name: str) -> bool:
    return name[:1].isupper()


def _comment(node: Node, outer: Node) -> Comment:
    comments = comments_above(node)
    if not comments and outer.start_point[0] == node.start_point[0]:
        comments = comments_above(outer)
    return markdown_comment(comments or comment_behind(node), "go")


def _function(node: Node, prefix: str = "") -> Iterator[Definition]:
    name = text_of(node.child_by_field_name("name"))
    if _is_exported(name) and (not prefix or _is_exported(prefix)):
        signature = head_of(node, node.child_by_field_name("body"))
        yield define(name, "function", signature, _comment(node, node))


def _receiver(node: Node) -> str:
    """Return the name of the type that a method belongs to, without ``*`` and type parameters."""
    parameter = child_of(node.child_by_field_name("receiver"), "parameter_declaration")
    kind = None if parameter is None else parameter.child_by_field_name("type")
    while kind is not None and kind.type != "type_identifier":
        kind = next(children_of(kind), None)
    return text_of(kind)


def _type(spec: Node, outer: Node) -> Iterator[Definition]:
    name = text_of(spec.child_by_field_name("name"))
    if not _is_exported(name):
        return
    kind = spec.child_by_field_name("type")
    comment = _comment(spec, outer)
    if kind is not None and kind.type == "struct_type":
        body = child_of(kind, "field_declaration_list")
        head = f"type {head_of(spec, body)}"
        yield define(name, "class", head, comment, members=_fields(body))
    elif kind is not None and kind.type == "interface_type":
        head = f"type {head_of(spec, kind)} interface"
        yield define(name, "class", head, comment, members=_required(kind))
    else:
        yield define(name, "class", f"type {head_of(spec)}", comment)


def _fields(body: Node | None) -> Iterator[Definition]:
    for node in children_of(body, "field_declaration"):
        names = [text_of(name) for name in node.children_by_field_name("name")]
        if not names:  # an embedded type
            names = [text_of(node).strip("*").rpartition(".")[2]]
        public = [name for name in names if _is_exported(name)]
        if public:
            comment = _comment(node, node)
            yield define(", ".join(public), "value", one_line(_without_tag(node)), comment)


def _without_tag(node: Node) -> str:
    """Return a field without the text behind its type, which is for libraries."""
    return head_of(node, node.child_by_field_name("tag"))


def _required(kind: Node) -> Iterator[Definition]:
    for node in children_of(kind, "method_elem", "method_spec"):
        name = text_of(node.child_by_field_name("name"))
        if _is_exported(name):
            yield define(name, "function", head_of(node), _comment(node, node))


def _values(spec: Node, outer: Node) -> Iterator[Definition]:
    names = [text_of(name) for name in spec.children_by_field_name("name")]
    public = [name for name in names if _is_exported(name)]
    if public:
        word = "const" if spec.type == "const_spec" else "var"
        signature = one_line(f"{word} {head_of(spec)}")
        yield define(", ".join(public), "value", signature, _comment(spec, outer))

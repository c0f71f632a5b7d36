"""JavaScript and TypeScript: what a file exports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.sources.languages.comments import (
    Comment,
    define,
    harmless,
    is_doc_block,
    tagged_comment,
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

_PUBLIC_NAME: Final = re.compile(r"(?!_)[\w$]+")
_FUNCTIONS: Final = frozenset(
    {"function_declaration", "generator_function_declaration", "function_signature"}
)
_CLASSES: Final = frozenset(
    {"class_declaration", "abstract_class_declaration", "class", "interface_declaration"}
)
_NAMED_BLOCKS: Final = frozenset({"enum_declaration", "internal_module", "module"})
_VARIABLES: Final = frozenset({"lexical_declaration", "variable_declaration"})
_METHODS: Final = frozenset({"method_definition", "method_signature", "abstract_method_signature"})
_FIELDS: Final = frozenset({"public_field_definition", "field_definition", "property_signature"})
_INDEX_SIGNATURES: Final = ("call_signature", "construct_signature", "index_signature")
_FUNCTION_VALUES: Final = frozenset(
    {"arrow_function", "function_expression", "function", "generator_function"}
)


def read(root: Node) -> SourceFile:
    """Read what a file exports."""
    return _File(root).read()


class _File:
    """One file: what it declares, and under which names that is exported."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._declared: dict[str, list[Node]] = {}
        """The declarations of each name at the top of the file."""
        self._exported: dict[str, str] = {}
        """The name here of each exported name."""
        self._defaults: dict[str, Definition] = {}
        """What is exported and has no name here."""
        self._reexports: list[Reexport] = []

    def read(self) -> SourceFile:
        for node in self._root.named_children:
            if node.type == "export_statement":
                self._read_export(node)
            elif node.type == "expression_statement":
                self._read_assignment(child_of(node, "assignment_expression"))
            else:
                self._declare(node, node)
        definitions = [
            definition
            for public, name in self._exported.items()
            if (definition := self._definition(public, name)) is not None
        ]
        return SourceFile(
            comment=self._file_comment(),
            definitions=tuple(definitions),
            reexports=tuple(self._reexports),
        )

    # --- exports ----------------------------------------------------------------

    def _read_export(self, node: Node) -> None:
        source = node.child_by_field_name("source")
        declaration = node.child_by_field_name("declaration")
        clause = child_of(node, "export_clause", "namespace_export")
        is_default = any(child.type == "default" for child in node.children)
        if declaration is not None:
            names = self._declare(declaration, node)
            for name in names:
                self._exported["default" if is_default else name] = name
        elif source is not None:
            self._reexports += _reexports(clause, text_of(source).strip("'\""))
        elif clause is not None:
            for specifier in children_of(clause, "export_specifier"):
                name, public = _names_of(specifier)
                self._exported[public] = name
        else:
            self._export_value(node.child_by_field_name("value"), node)

    def _export_value(self, value: Node | None, statement: Node, public: str = "default") -> None:
        if value is None:
            return
        if value.type == "identifier":
            self._exported[public] = text_of(value)
            return
        definition = _described(value, [statement], public)
        if definition is not None:
            self._defaults[public] = definition
            self._exported[public] = public

    def _read_assignment(self, assignment: Node | None) -> None:
        """Read ``module.exports = …`` and ``exports.name = …``."""
        if assignment is None or assignment.parent is None:
            return
        target = text_of(assignment.child_by_field_name("left"))
        value = assignment.child_by_field_name("right")
        if target == "module.exports" and value is not None and value.type == "object":
            for entry in value.named_children:
                self._export_entry(entry)
        elif target == "module.exports":
            self._export_value(value, assignment.parent)
        elif target.startswith(("exports.", "module.exports.")):
            name = target.rpartition(".")[2]
            self._export_value(value, assignment.parent, name)

    def _export_entry(self, entry: Node) -> None:
        if entry.type == "shorthand_property_identifier":
            self._exported[text_of(entry)] = text_of(entry)
        elif entry.type == "pair":
            name = text_of(entry.child_by_field_name("key")).strip("'\"")
            self._export_value(entry.child_by_field_name("value"), entry, name)

    # --- declarations -----------------------------------------------------------

    def _declare(self, node: Node, statement: Node) -> list[str]:
        """Remember what a statement declares, and return the names."""
        if node.type == "ambient_declaration":
            inner = next(children_of(node), None)
            names = [] if inner is None else self._declare(inner, statement)
        elif node.type in _VARIABLES:
            names = []
            for declarator in children_of(node, "variable_declarator"):
                name = child_of(declarator, "identifier")
                if name is not None:
                    self._remember(text_of(name), declarator)
                    names.append(text_of(name))
        else:
            name = node.child_by_field_name("name")
            names = ["default"] if name is None else [text_of(name)]
            for each in names:
                self._remember(each, node)
        return names

    def _remember(self, name: str, node: Node) -> None:
        self._declared.setdefault(name, []).append(node)

    def _definition(self, public: str, name: str) -> Definition | None:
        if public in self._defaults:
            return self._defaults[public]
        nodes = self._declared.get(name)
        if not nodes or _PUBLIC_NAME.fullmatch(public) is None:
            return None
        if public == "default":
            definition = _described(nodes[-1], nodes, name)
            return None if definition is None else attrs.evolve(definition, note="default export")
        return _renamed(_described(nodes[-1], nodes, name), public)

    def _file_comment(self) -> Comment:
        first = next(iter(self._root.named_children), None)
        if first is None or first.type != "comment" or not is_doc_block(text_of(first)):
            return Comment()
        comment = tagged_comment([text_of(first)], "js")
        following = first.next_named_sibling
        is_before_import = following is not None and following.type in (
            "import_statement",
            "comment",
        )
        return comment if comment.is_of_file or is_before_import else Comment()


def _reexports(clause: Node | None, source: str) -> Iterator[Reexport]:
    if clause is None:
        yield Reexport(source=source, name="*", public_name="*")
    elif clause.type == "namespace_export":
        name = text_of(next(children_of(clause), None))
        yield Reexport(source=source, name="*", public_name=name)
    for specifier in children_of(clause, "export_specifier"):
        name, public = _names_of(specifier)
        yield Reexport(source=source, name=name, public_name=public)


def _names_of(specifier: Node) -> tuple[str, str]:
    name = text_of(specifier.child_by_field_name("name"))
    alias = specifier.child_by_field_name("alias")
    return name, name if alias is None else text_of(alias)


# --- what they are ----------------------------------------------------------------


def _described(node: Node, nodes: list[Node], name: str) -> Definition | None:
    """Describe a declaration.

    Args:
        node: The declaration that decides what it is.
        nodes: All of this name: overloads, the implementation last.
        name: How it is called.
    """
    comment = _comment_of(nodes[0])
    if comment.is_hidden:
        return None
    if node.type in _FUNCTIONS:
        overloads = [each for each in nodes if each.type == "function_signature"]
        heads = [head_of(each, each.child_by_field_name("body")) for each in overloads or [node]]
        return define(name, "function", "\n".join(heads), comment)
    if node.type == "type_alias_declaration":
        return define(name, "class", head_of(node), comment)
    if node.type in _CLASSES | _NAMED_BLOCKS:
        body = node.child_by_field_name("body")
        return define(name, "class", head_of(node, body), comment, members=_members_of(node, body))
    return _described_value(node, name, comment)


def _renamed(definition: Definition | None, public: str) -> Definition | None:
    """Return a definition under the name by which it is exported."""
    if definition is None or definition.name == public:
        return definition
    own = rf"(?<![\w$]){re.escape(definition.name)}(?![\w$])"
    signature = re.sub(own, public, definition.signature)
    return attrs.evolve(definition, name=public, signature=signature)


def _described_value(node: Node, name: str, comment: Comment) -> Definition:
    is_declared = node.type == "variable_declarator"
    value = node.child_by_field_name("value") if is_declared else node
    start = _keyword(node) if is_declared else f"{name} = "
    if value is not None and value.type in _FUNCTION_VALUES:
        signature = head_of(node, value.child_by_field_name("body"))
        return define(name, "function", f"{start}{signature}", comment)
    if value is not None and value.type == "class":
        body = value.child_by_field_name("body")
        signature = f"{start}{head_of(node, body)}"
        return define(name, "class", signature, comment, members=_members(body))
    return define(name, "value", one_line(f"{start}{head_of(node)}"), comment)


def _keyword(node: Node) -> str:
    """Return ``const`` or the like, with which a variable is declared."""
    if node.type != "variable_declarator" or node.parent is None:
        return ""
    return f"{text_of(node.parent.children[0])} "


def _comment_of(node: Node) -> Comment:
    """Return the comment above a declaration, or above the statement that it is part of."""
    outer: Node | None = node
    while outer is not None and outer.type not in ("program", "class_body", "interface_body"):
        comments = comments_above(outer, "decorator")
        if comments and is_doc_block(comments[-1]):
            return tagged_comment(comments[-1:], "js")
        parent = outer.parent
        is_first = parent is not None and parent.type in (
            *("export_statement", "ambient_declaration", "lexical_declaration"),
            *("variable_declaration", "assignment_expression", "expression_statement"),
        )
        outer = parent if is_first else None
    return Comment()


def _members_of(node: Node, body: Node | None) -> Iterator[Definition]:
    if node.type == "enum_declaration":
        return _enum_members(body)
    return _members(body) if node.type in _CLASSES else iter(())


def _members(body: Node | None) -> Iterator[Definition]:
    overloads: dict[str, list[str]] = {}
    described: dict[str, Definition] = {}
    for node in children_of(body):
        name = _member_name(node)
        comment = _doc_comment(node)
        if not name or comment.is_hidden:
            continue
        if node.type in _FIELDS or node.type in _INDEX_SIGNATURES:
            described[name] = define(name, "value", one_line(_signature(node)), comment)
            continue
        _add_overload(overloads.setdefault(name, []), node)
        latest = described.get(name)
        if latest is None or not latest.doc:
            described[name] = define(name, "function", "", comment)
    for name, definition in described.items():
        if definition.kind == "function":
            signature = "\n".join(map(harmless, overloads[name]))
            definition = attrs.evolve(definition, signature=signature)  # noqa: PLW2901 - the same, whole
        yield definition


def _doc_comment(node: Node) -> Comment:
    """Return the comment directly above a member, if it is one for documentation."""
    comments = comments_above(node, "decorator")
    if comments and is_doc_block(comments[-1]):
        return tagged_comment(comments[-1:], "js")
    return Comment()


def _signature(node: Node) -> str:
    return head_of(node, node.child_by_field_name("body"))


def _add_overload(known: list[str], node: Node) -> None:
    """Add the signature of a method, unless it only implements those that are known."""
    is_accessor = text_of(node).startswith(("get ", "set "))
    implements_overloads = bool(known) and node.type == "method_definition"
    if is_accessor or not implements_overloads:
        known.append(_signature(node))


def _member_name(node: Node) -> str:
    """Return the name of a member that callers may use; empty for any other."""
    if node.type in _INDEX_SIGNATURES:
        return one_line(text_of(node))
    if node.type not in _METHODS | _FIELDS:
        return ""
    modifier = child_of(node, "accessibility_modifier")
    if modifier is not None and text_of(modifier) != "public":
        return ""
    name = node.child_by_field_name("name") or node.child_by_field_name("property")
    if name is None or name.type == "private_property_identifier":
        return ""
    text = text_of(name)
    return "" if text.startswith("_") else text


def _enum_members(body: Node | None) -> Iterator[Definition]:
    for node in children_of(body, "property_identifier", "enum_assignment"):
        comments = [each for each in comments_above(node) if is_doc_block(each)]
        comment = tagged_comment(comments, "js")
        name = node.child_by_field_name("name") or node
        value = one_line(text_of(node))
        yield define(text_of(name), "value", value, comment)

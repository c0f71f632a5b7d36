"""The only door to griffe: one Python file becomes a record of what it defines.

The file is read as text and never run. How files make up packages is `python_api`'s business, so a
file that did not change is not read again.
"""

from __future__ import annotations

import ast
import logging
import re
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent, indent
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.markdown import code, embed, inline, markdown_line
from vespera_orchestrator.documents.sources.docstrings import (
    admonition,
    apart_from_fields,
    as_markdown,
    deprecation_in,
    fenced,
    has_fields,
    without_title,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import griffe

_LONGEST_SIGNATURE: Final = 88
_LONGEST_VALUE: Final = 80
_MOST_OVERLOADS: Final = 4
_SHOWN_OVERLOADS: Final = 3
_DOC_LEVEL: Final = 6
_SHOWN_SPECIAL_METHODS: Final = frozenset({"__init__", "__call__", "__enter__", "__iter__"})
_AS_ITSELF: Final = re.compile(r"\b(\w+)[ \t]+as[ \t]+\1\b")
_FIELD: Final = re.compile(r"(?:\w+\.)?(?:field|ib|Field)\(")
"""How a field is declared in dataclasses, attrs and pydantic."""
_TYPE_ALIASES: Final = ("TypeVar(", "ParamSpec(", "TypeVarTuple(")
_LABEL_WORDS: Final = {
    "property": "property",
    "cached": "cached",
    "classmethod": "class method",
    "staticmethod": "static method",
}


@attrs.frozen(kw_only=True)
class Parameter:
    """A parameter of a function, as callers see it."""

    name: str
    kind: str
    """E.g. ``keyword-only``."""
    is_required: bool


@attrs.frozen(kw_only=True)
class Definition:
    """A function, class, or value that a module or a class defines."""

    name: str
    kind: str
    """``function``, ``class``, ``property`` or ``value``; ``alias`` for a method's further name."""
    signature: str
    """As Python, on one line or several, decorators included."""
    doc: str
    """The docstring, as Markdown."""
    summary: str
    """The first sentence of it, on one line."""
    note: str = ""
    """What kind of method it is; empty for the usual one."""
    deprecated: str = ""
    """Why it should not be used any more, or what instead; empty while it should."""
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()
    """Further names of a method in its class, as code spans."""
    members: tuple[Definition, ...] = ()
    """Of a class: those that callers use."""
    bases: tuple[str, ...] = ()
    """Of a class: those that it derives from, as its module names them."""

    @property
    def span(self) -> str:
        """The signature, as a code span."""
        return code(self.signature)


@attrs.frozen(kw_only=True)
class PythonFile:
    """What one file defines, imports and exports."""

    doc: str = ""
    """The module's docstring, as Markdown."""
    summary: str = ""
    definitions: Mapping[str, Definition] = attrs.field(factory=dict)
    imports: Mapping[str, str] = attrs.field(factory=dict)
    """The target of each imported name."""
    reexports: frozenset[str] = frozenset()
    """Names that are imported as themselves: ``from x import y as y``."""
    typing_imports: frozenset[str] = frozenset()
    """The names that are imported for type checkers only."""
    wildcards: tuple[str, ...] = ()
    """The modules from which everything is imported."""
    exports: tuple[str, ...] | None = None
    """What ``__all__`` lists; ``None`` where there is none."""
    uses: frozenset[str] = frozenset()
    """Whatever it imports, wherever in it, by absolute names."""
    exported_from: tuple[str, ...] = ()
    """Modules whose ``__all__`` is part of this one's."""
    problem: str = ""
    """Why nothing could be read from it; empty when it could."""


def read_python(source: str, module: str, *, is_package: bool) -> PythonFile:
    """Read a Python file, without running it.

    Args:
        source: Its text.
        module: Its import name.
        is_package: Whether it is the ``__init__`` of a package.
    """
    file = _read_definitions(source, module, is_package=is_package)
    tree = _parsed(source)
    if tree is None:
        return file
    package = module if is_package else module.rpartition(".")[0]
    incidental = set(_substitutes(tree)) | _loop_variables(tree)
    definitions = {
        name: definition
        for name, definition in file.definitions.items()
        if definition.kind != "value" or name not in incidental
    }
    return attrs.evolve(file, definitions=definitions, uses=frozenset(_uses(tree, package)))


def _read_definitions(source: str, module: str, *, is_package: bool) -> PythonFile:
    import griffe

    path = Path("__init__.py" if is_package else f"{module.rpartition('.')[2]}.py")
    parent, _, name = module.rpartition(".")
    try:
        with warnings.catch_warnings(), _quiet():
            # An invalid escape in somebody's string does not concern us.
            warnings.simplefilter("ignore")
            tree = griffe.visit(name, filepath=path, code=source, parent=_parent(parent))
            return _file(tree, source)
    except SyntaxError as exc:
        return PythonFile(problem=f"not readable as Python, line {exc.lineno or 0}")
    except Exception:  # noqa: BLE001 - a file that griffe does not get through costs only itself
        return PythonFile(problem="not readable as Python")


def _parsed(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _substitutes(tree: ast.Module) -> Iterator[str]:
    """Yield the names that stand for an import where it fails, such as ``twisted = None``."""
    for node in tree.body:
        if not isinstance(node, ast.Try):
            continue
        for handler in node.handlers:
            for statement in handler.body:
                if isinstance(statement, ast.Assign):
                    names = (each for each in statement.targets if isinstance(each, ast.Name))
                    yield from (each.id for each in names if _imports(node.body, each.id))


def _loop_variables(tree: ast.Module) -> set[str]:
    """Return the names that are assigned in loops of a module, and nowhere else in it."""
    inside: set[str] = set()
    outside: set[str] = set()
    waiting: list[tuple[ast.AST, bool]] = [(statement, False) for statement in tree.body]
    while waiting:
        node, is_inside = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            (inside if is_inside else outside).add(node.id)
        is_loop = is_inside or isinstance(node, ast.For | ast.While)
        waiting += [(child, is_loop) for child in ast.iter_child_nodes(node)]
    return inside - outside


def _imports(statements: Iterable[ast.stmt], name: str) -> bool:
    return any(
        name == (alias.asname or alias.name.partition(".")[0])
        for statement in statements
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for alias in statement.names
    )


def _uses(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield what a file of a package imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _import_base(node, package)
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _import_base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, node.module] if node.module else kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep griffe from telling the user's terminal about somebody's docstrings."""
    logger = logging.getLogger("griffe")
    was_disabled = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = was_disabled


def _parent(name: str) -> griffe.Module | None:
    """Return the packages around a module, so that relative imports are understood."""
    import griffe

    parent: griffe.Module | None = None
    for part in filter(None, name.split(".")):
        package = griffe.Module(part, filepath=Path(part) / "__init__.py", parent=parent)
        if parent is not None:
            parent.set_member(part, package)
        parent = package
    return parent


def _file(module: griffe.Module, source: str) -> PythonFile:
    definitions, imports = {}, {}
    wildcards, typing_imports = [], set()
    for name, member in module.members.items():
        if not member.is_alias:
            definition = _definition(member)
            if definition is not None:
                definitions[name] = definition
        elif name.endswith("/*"):
            wildcards.append(_target(member))
        else:
            imports[name] = _target(member)
            if not member.runtime:
                typing_imports.add(name)
    exports, exported_from = _exports(module)
    if module.docstring is not None:
        # Its own name stands above it already.
        module.docstring.value = without_title(
            module.docstring.value, (module.path, module.name, f"{module.path} package")
        )
    doc = _docstring(module)
    return PythonFile(
        doc=doc,
        summary=_summary(module),
        definitions=definitions,
        imports=imports,
        reexports=frozenset(_AS_ITSELF.findall(source)),
        typing_imports=frozenset(typing_imports),
        wildcards=tuple(wildcards),
        exports=exports,
        exported_from=exported_from,
    )


def _target(alias: Any) -> str:
    return str(alias.target_path)


def _exports(module: griffe.Module) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the names in ``__all__``, and the modules whose own is part of it."""
    if not module.exports:
        # A computed ``__all__`` says nothing that can be read; an empty one hides everything.
        assigned = module.members.get("__all__")
        value = None if assigned is None else str(getattr(assigned, "value", ""))
        return (() if value in ("[]", "()") else None), ()
    names = [item for item in module.exports if isinstance(item, str)]
    others = [_module_of(item) for item in module.exports if not isinstance(item, str)]
    return tuple(dict.fromkeys(names)), tuple(filter(None, others))


def _module_of(expression: Any) -> str:
    """Return the module in ``module.__all__``."""
    try:
        return str(expression.canonical_path).removesuffix(".__all__")
    except Exception:  # noqa: BLE001 - griffe cannot resolve it, and neither can we
        return ""


# --- definitions ----------------------------------------------------------------


def _definition(member: griffe.Object | griffe.Alias) -> Definition | None:
    if member.is_function:
        return _function(member)
    if member.is_class:
        return _class(member)
    if member.is_attribute:
        return _attribute(member)
    return None


def _function(function: Any) -> Definition:
    overloads = [_signature(overload) for overload in function.overloads or ()]
    if len(overloads) > _MOST_OVERLOADS:
        rest = len(overloads) - _SHOWN_OVERLOADS
        overloads = [*overloads[:_SHOWN_OVERLOADS], f"# and {rest} more overloads"]
    signature = "\n".join(overloads) if overloads else _signature(function)
    decorators = [str(decorator.value) for decorator in function.decorators]
    return Definition(
        name=function.name,
        kind="function",
        signature=_with_decorators(decorators, signature),
        doc=_docstring(function),
        summary=_summary(function),
        note=_note(function),
        deprecated=_deprecation(function, decorators),
        parameters=_parameters(function),
    )


def _signature(function: Any) -> str:
    keyword = "async def" if "async" in function.labels else "def"
    head = f"{keyword} {function.name}"
    returns = f" -> {function.returns}" if function.returns is not None else ""
    parameters = _written_parameters(function)
    line = f"{head}({', '.join(parameters)}){returns}"
    if len(line) <= _LONGEST_SIGNATURE:
        return line
    indented = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"{head}(\n{indented}){returns}"


def _written_parameters(function: Any) -> list[str]:
    """Return the parameters as they are written, without ``self``."""
    written: list[str] = []
    kinds = [parameter.kind.value for parameter in function.parameters]
    for position, parameter in enumerate(function.parameters):
        kind = kinds[position]
        if kind == "keyword-only" and "variadic positional" not in kinds and "*" not in written:
            written.append("*")
        if not _is_bound(function, position, parameter):
            written.append(_written(parameter, kind))
        following = kinds[position + 1 : position + 2]
        if kind == "positional-only" and following != ["positional-only"] and written:
            written.append("/")
    return written


def _is_bound(function: Any, position: int, parameter: Any) -> bool:
    is_method = function.parent is not None and function.parent.is_class
    return position == 0 and is_method and parameter.name in ("self", "cls")


def _written(parameter: Any, kind: str) -> str:
    stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
    text = f"{stars}{parameter.name}"
    if parameter.annotation is not None:
        text += f": {parameter.annotation}"
    if parameter.default is None or stars:
        return text
    equals = " = " if parameter.annotation is not None else "="
    return f"{text}{equals}{_clipped(str(parameter.default))}"


def _clipped(value: str) -> str:
    flat = " ".join(value.split())
    return flat if len(flat) <= _LONGEST_VALUE else "..."


def _parameters(function: Any) -> tuple[Parameter, ...]:
    parameters = []
    for position, parameter in enumerate(function.parameters):
        if _is_bound(function, position, parameter):
            continue
        kind = parameter.kind.value
        is_required = parameter.default is None and not kind.startswith("variadic")
        parameters.append(Parameter(name=parameter.name, kind=kind, is_required=is_required))
    return tuple(parameters)


def _note(function: Any) -> str:
    words = [word for label, word in _LABEL_WORDS.items() if label in function.labels]
    return " ".join(words)


def _class(cls: Any) -> Definition:
    bases = tuple(str(base) for base in cls.bases)
    head = f"class {cls.name}"
    if bases:
        head += f"({', '.join(bases)})"
    decorators = [str(decorator.value) for decorator in cls.decorators]
    sections = _sections(cls)
    describing = _describing_attributes(cls, sections)
    described = {
        item.name: markdown_line(as_markdown(item.description or ""))
        for section in describing
        for item in section.value
    }
    members = []
    for name, member in cls.members.items():
        definition = _definition(member) if _is_member(name, member) else None
        if definition is not None:
            summary = definition.summary or described.get(name, "")
            members.append(attrs.evolve(definition, summary=summary))
    shown = {member.name for member in members}
    for section in describing:
        section.value = [item for item in section.value if item.name not in shown]
    return Definition(
        name=cls.name,
        kind="class",
        signature=_with_decorators(decorators, head),
        doc=_as_text(sections),
        summary=_summary(cls),
        deprecated=_deprecation(cls, decorators),
        members=tuple(_with_aliases(cls, members)),
        bases=bases,
    )


def _with_aliases(cls: Any, members: Iterable[Definition]) -> Iterator[Definition]:
    """Yield the members of a class; each method knows its further names, ``close = stop``."""
    listed = list(members)
    methods = {member.name for member in listed if member.kind == "function"}
    aliases: dict[str, list[str]] = {}
    for member in listed:
        value = str(getattr(cls.members[member.name], "value", ""))
        is_plain = member.kind == "value" and member.signature == f"{member.name} = {value}"
        if is_plain and value in methods and not member.summary:
            aliases.setdefault(value, []).append(member.name)
    further = set().union(*aliases.values())
    for member in listed:
        names = tuple(map(code, aliases.get(member.name, ())))
        kind = "alias" if member.name in further else member.kind
        yield attrs.evolve(member, kind=kind, aliases=names)


def _describing_attributes(cls: Any, sections: Iterable[Any]) -> list[Any]:
    """Return the sections of a class's docstring that are about its attributes.

    Where no ``__init__`` is written, as with dataclasses, they are its parameters as well.
    """
    kinds = {"attributes"} if "__init__" in cls.members else {"attributes", "parameters"}
    return [section for section in sections if section.kind.value in kinds]


def _is_member(name: str, member: Any) -> bool:
    if member.is_alias or name in ("__slots__", "__all__", "__match_args__"):
        return False
    if name == "__init__":
        return len(list(member.parameters)) > 1
    if name in _SHOWN_SPECIAL_METHODS:
        return member.docstring is not None
    if name.startswith(("_", "test_")):
        return False
    if _is_unexplained(member):
        return False
    # What a method sets on ``self`` is a detail, unless the class says that it is there.
    is_from_method = (
        "instance-attribute" in member.labels and "class-attribute" not in member.labels
    )
    return not is_from_method or member.docstring is not None or member.annotation is not None


def _is_unexplained(member: Any) -> bool:
    """Tell whether nothing could be said of a class attribute but its name."""
    if not member.is_attribute or "property" in member.labels:
        return False
    says_something = member.docstring is not None or member.annotation is not None
    is_too_long = len(str(member.value)) > _LONGEST_VALUE
    is_enum = any("Enum" in str(base) or "Flag" in str(base) for base in member.parent.bases)
    return is_too_long and not says_something and not is_enum


def _attribute(attribute: Any) -> Definition | None:
    if attribute.name == "__all__":
        return None
    is_property = "property" in attribute.labels
    value = "" if attribute.value is None else _default_of_field(str(attribute.value))
    if value.startswith(_TYPE_ALIASES) or f".{value}".rpartition(".")[2].startswith(_TYPE_ALIASES):
        return None
    text = attribute.name
    if attribute.annotation is not None:
        text += f": {attribute.annotation}"
    is_set_later = value == attribute.name  # by a parameter of the same name
    if value and not is_property and not is_set_later and len(value) <= _LONGEST_VALUE:
        text += f" = {_clipped(value)}"
    return Definition(
        name=attribute.name,
        kind="property" if is_property else "value",
        signature=text,
        doc=_docstring(attribute),
        summary=_summary(attribute),
        note=_note(attribute),
        deprecated=_deprecation(attribute, []),
    )


def _default_of_field(value: str) -> str:
    """Return the default that ``field(default=…)`` gives a field; another value as it is."""
    if _FIELD.match(value) is None:
        return value
    try:
        call = ast.parse(value, mode="eval").body
    except SyntaxError:
        return ""
    for keyword in getattr(call, "keywords", ()):
        if keyword.arg == "default":
            return ast.unparse(keyword.value)
        if keyword.arg in ("factory", "default_factory"):
            return f"{ast.unparse(keyword.value)}()"
    return ""


def _with_decorators(decorators: Iterable[str], signature: str) -> str:
    shown = [f"@{text}\n" for text in decorators if _is_shown(text)]
    return "".join(shown) + signature


def _is_shown(decorator: str) -> bool:
    name = decorator.partition("(")[0].rpartition(".")[2]
    hidden = ("overload", "property", "classmethod", "staticmethod", "cached_property", "setter")
    return name not in hidden


def _deprecation(member: Any, decorators: Iterable[str]) -> str:
    for text in decorators:
        name, _, arguments = text.partition("(")
        if name.rpartition(".")[2] == "deprecated":
            reason = arguments.rstrip(")").strip().strip("\"'")
            return inline(reason) or "deprecated"
    docstring = member.docstring
    if docstring is None:
        return ""
    return deprecation_in(docstring.value, lambda text: markdown_line(text.strip())) or ""


# --- docstrings -----------------------------------------------------------------


def _summary(member: Any) -> str:
    """Return the first paragraph of a docstring, on one line."""
    if member.docstring is None:
        return ""
    paragraphs = as_markdown(member.docstring.value).strip().split("\n\n")
    prose = [each for each in paragraphs if not each.startswith("#")]
    first = prose[0] if prose else paragraphs[0].lstrip("# ")
    return markdown_line(first).removesuffix(":")


_HEADER_WITHOUT_BLANK_LINE: Final = re.compile(
    r"^([ \t]+\S.*)\n"
    r"((?:Args|Arguments|Parameters|Returns|Yields|Raises|Warns|Attributes|Examples?):)$",
    re.MULTILINE,
)
"""A heading of Google's style directly behind the section before it: griffe takes it for text."""


def _sections(member: Any) -> list[Any]:
    """Return the sections of a docstring, in whichever of the usual styles it is."""
    if member.docstring is None:
        return []
    # griffe takes each line of "Returns:" for a value of its own unless told otherwise.
    options: Any = {
        "google": {"returns_multiple_items": False, "returns_named_value": False, "warnings": False}
    }
    text = member.docstring.value
    if has_fields(text):
        return _fields(member.docstring)
    member.docstring.value = _HEADER_WITHOUT_BLANK_LINE.sub(r"\1\n\n\2", text)
    sections = list(member.docstring.parse("auto", default="google", per_style_options=options))
    for section in sections:
        if section.kind.value == "attributes":
            _forget_borrowed_types(section.value, member.docstring.value)
    return sections


def _fields(docstring: griffe.Docstring) -> list[Any]:
    """Return the sections of a docstring in Sphinx's style."""
    import griffe

    docstring.value, behind = apart_from_fields(docstring.value)
    sections: list[Any] = list(docstring.parse("sphinx"))
    return [*sections, griffe.DocstringSectionText(behind)] if behind else sections


def _forget_borrowed_types(items: Iterable[Any], text: str) -> None:
    """Take away types that the text does not name: griffe repeats that of the item before."""
    for item in items:
        if re.search(rf"\b{re.escape(item.name)} [(:]", text) is None:
            item.annotation = None


def _docstring(member: Any) -> str:
    """Return a docstring as Markdown."""
    return _as_text(_sections(member))


def _as_text(sections: Iterable[Any]) -> str:
    """Return the sections of a docstring as Markdown."""
    return "\n\n".join(filter(None, map(_section, sections)))


def _section(section: Any) -> str:
    kind = section.kind.value
    if kind == "text":
        return embed(as_markdown(section.value), _DOC_LEVEL, has_place=False)
    if kind == "examples":
        return "\n\n".join(_example(str(part), text) for part, text in section.value)
    if kind == "admonition":
        title = section.title or section.value.kind.capitalize()
        text = embed(as_markdown(section.value.contents), _DOC_LEVEL, has_place=False)
        return admonition(inline(title), text)
    if kind == "deprecated":
        return ""  # it stands beside the name
    heading = _HEADINGS.get(kind)
    if heading is None or not isinstance(section.value, list):
        return ""
    lines = [_item(item, kind) for item in section.value]
    return f"**{heading}**\n\n" + "\n".join(lines).rstrip() if lines else ""


_HEADINGS: Final = {
    "parameters": "Parameters",
    "other parameters": "Other parameters",
    "type parameters": "Type parameters",
    "attributes": "Attributes",
    "returns": "Returns",
    "yields": "Yields",
    "receives": "Receives",
    "raises": "Raises",
    "warns": "Warns",
}


def _item(item: Any, kind: str) -> str:
    annotation = getattr(item, "annotation", None)
    name = getattr(item, "name", "") or ""
    shown = []
    if name and kind not in ("raises", "warns"):
        shown.append(code(name.replace("\\", "")))
    if annotation:
        type_text = code(str(annotation))
        shown.append(f"({type_text})" if shown else type_text)
    head, description = " ".join(shown), as_markdown(item.description or "")
    first, _, rest = embed(description, _DOC_LEVEL, has_place=False).partition("\n\n")
    if not rest:
        # Lines that say the same in one: a list or a table is a paragraph of its own.
        first = markdown_line(first)
    line = f"{head}: {first}" if head and first else head or first
    below = indent(rest, "  ")
    return f"- {line}\n\n{below}\n" if below else f"- {line}"


def _example(kind: str, text: str) -> str:
    if "examples" in kind or text.lstrip().startswith(">>>"):
        return fenced(dedent(text).strip())
    return embed(as_markdown(text), _DOC_LEVEL, has_place=False)

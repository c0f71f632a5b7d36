"""What the fields of a record mean, in ``help()``.

In the source a field's docstring stands under the field, where Python forgets it. Here a class
reads its own source when somebody asks for its docstring; until then it costs nothing.
"""

from __future__ import annotations

from typing import Any

from vespera_orchestrator import _attrs as attrs


class DocstringWithFields:
    """The ``__doc__`` of a record: its docstring, and a section with its fields."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, instance: object, owner: type) -> str:
        fields = [field for field in attrs.fields(owner) if not field.name.startswith("_")]
        if not fields:
            return self._text
        docstrings = _field_docstrings(owner)
        lines = [self._text.rstrip(), "", "Attributes:"]
        for field in fields:
            text = docstrings.get(field.name, "")
            lines.append(_entry(f"{field.name} ({_type_text(field.type)})", text))
        return "\n".join(lines) + "\n"


def explain_fields(owner: object) -> None:
    """Let ``help()`` tell what the fields of *owner* mean, if it is the class of a record."""
    if not isinstance(owner, type) or "__attrs_attrs__" not in vars(owner):
        return
    if not isinstance(vars(owner).get("__doc__"), DocstringWithFields):
        owner.__doc__ = DocstringWithFields(owner.__doc__ or "")  # type: ignore[assignment]


def _entry(name: str, text: str) -> str:
    import textwrap

    words = " ".join(text.split())  # in the source it is indented
    entry = f"{name}: {words}" if words else name
    return textwrap.fill(entry, 88, initial_indent="    ", subsequent_indent="        ")


def _type_text(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _field_docstrings(owner: type) -> dict[str, str]:
    """Return the docstring under each field; empty if the source is missing."""
    docstrings: dict[str, str] = {}
    for kind in reversed(owner.__mro__):
        if "__attrs_attrs__" in vars(kind):
            docstrings |= _own_field_docstrings(kind)
    return docstrings


def _own_field_docstrings(owner: type) -> dict[str, str]:
    import ast
    import inspect
    import textwrap
    from itertools import pairwise

    try:
        source = textwrap.dedent(inspect.getsource(owner))
    except OSError:
        return {}
    (definition,) = ast.parse(source).body
    docstrings = {}
    for field, below in pairwise(getattr(definition, "body", [])):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docstrings[name] = text
    return docstrings

"""A Jupyter notebook as text: cell by cell, with what the cells wrote, and without their pictures.

The file is JSON, in which a line of code is a string with escapes and a figure is a hundred
thousand letters of base64. Nobody wants to read or to search that. Of what a cell brought out in
several forms at once, as a table in HTML and in plain text, the one that reads best is kept.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._model import SearchGap
from vespera_orchestrator.artifacts.content.readable_text import ReadableText, joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MEDIA_TYPE: Final = "application/x-ipynb+json"
_READABLE: Final = ("text/markdown", "text/plain", "text/latex", "text/html", "application/json")
"""The forms of an output that are text, the best first."""
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colours of a terminal, as tracebacks have them."""
_BYTES_OF_LETTERS: Final = 3 / 4
"""In base64, four letters stand for three bytes."""


def notebook_text(source: str) -> ReadableText | None:
    """Return a notebook as text; ``None`` if *source* is no notebook."""
    try:
        return _readable(list(_cells(json.loads(source))))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None  # whatever a file of that name may hold instead


def _readable(cells: Sequence[Mapping[str, Any]]) -> ReadableText:
    sections = []
    for number, cell in enumerate(cells, 1):
        sections.append((f"cell {number}", _cell_text(cell, number)))
    text = joined(sections)
    has_pictures = any(map(_has_pictures, cells))
    return text.with_gap(SearchGap.FIGURES) if has_pictures else text


def _cells(notebook: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the cells of a notebook of format 4 or 3."""
    if "cells" in notebook:
        yield from map(dict, notebook["cells"])
        return
    for sheet in notebook["worksheets"]:
        yield from map(dict, sheet["cells"])


def _cell_text(cell: Mapping[str, Any], number: int) -> str:
    kind = str(cell.get("cell_type", "raw"))
    parts = [f"[cell {number}, {kind}]", _text(cell.get("source", cell.get("input", "")))]
    outputs = [_output_text(output) for output in cell.get("outputs", ())]
    written = "\n".join(filter(None, outputs))
    if written:
        parts += [f"[output of cell {number}]", written]
    parts += [_left_out(kind, letters) for kind, letters in _attachments(cell)]
    return "\n".join(filter(None, parts))


def _output_text(output: Mapping[str, Any]) -> str:
    if "traceback" in output:
        name, value = output.get("ename", ""), output.get("evalue", "")
        traceback = "\n".join(map(str, output["traceback"])) or f"{name}: {value}"
        return _ESCAPES.sub("", traceback)
    if "text" in output and "data" not in output:
        return _ESCAPES.sub("", _text(output["text"])).rstrip("\n")
    forms = output.get("data", {})
    for media_type in _READABLE:
        if media_type in forms:
            best = _text(forms[media_type]).rstrip("\n")
            return "\n".join([best, *_notes_on_pictures(forms)])
    return "\n".join(_notes_on_pictures(forms))


def _notes_on_pictures(forms: Mapping[str, Any]) -> list[str]:
    notes = []
    for media_type, content in forms.items():
        if _is_picture(media_type):
            notes.append(_left_out(media_type, len(_text(content))))
    return notes


def _left_out(media_type: str, letters: int) -> str:
    size = int(letters * _BYTES_OF_LETTERS)
    return f"[{media_type}, about {size:,} bytes, left out]"


def _is_picture(media_type: str) -> bool:
    kind, _, _ = media_type.partition("/")
    return kind in {"image", "audio", "video"} or media_type == "application/pdf"


def _attachments(cell: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for forms in dict(cell.get("attachments") or {}).values():
        for media_type, content in forms.items():
            yield media_type, len(_text(content))


def _has_pictures(cell: Mapping[str, Any]) -> bool:
    if any(_attachments(cell)):
        return True
    return any(
        _is_picture(media_type)
        for output in cell.get("outputs", ())
        for media_type in output.get("data", {})
    )


def _text(value: Any) -> str:
    """Return a text that may be written as a list of lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(str, value))
    return json.dumps(value, ensure_ascii=False)

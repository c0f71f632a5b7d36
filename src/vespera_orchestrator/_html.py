"""How records show themselves in a notebook. Colours are the notebook's own, light or dark.

Texts of others are data: every one is escaped, so that none can form markup.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_VALUE_WIDTH: Final = 160
"""How many characters of a value are shown."""


def text_html(text: str) -> str:
    """Return a page of text: the first line stands out, indentation stays."""
    first, _, rest = text.partition("\n")
    html = f"<b>{escape(first)}</b>"
    if rest:
        html += f'<div style="white-space:pre-wrap">{escape(rest)}</div>'
    return f"<div>{html}</div>"


def step_html(sentence: str, call: str) -> str:
    """Return one step: what to do, and below it the call, ready to be copied."""
    html = escape(sentence)
    if call:
        html += f"<pre>{escape(call)}</pre>"
    return f"<div>{html}</div>"


def fields_html(title: str, fields: Mapping[str, Any]) -> str:
    """Return a title, and a table with one row a field."""
    rows = "".join(_row(name, value) for name, value in fields.items())
    return f"<div><b>{escape(title)}</b><table>{rows}</table></div>"


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]], *, more: int = 0) -> str:
    """Return a table with a head, and below it how many rows are not shown."""
    top = "".join(f'<th scope="col" style="text-align:left">{escape(name)}</th>' for name in head)
    body = ""
    for row in rows:
        cells = "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row)
        body += f"<tr>{cells}</tr>"
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    rest = f"… and {more} more" if more else ""
    return f"<div>{table}{rest}</div>"


def _row(name: str, value: Any) -> str:
    words = escape(name.replace("_", " "))
    return (
        f'<tr><th scope="row" style="text-align:left">{words}</th>'
        f'<td style="text-align:left">{escape(_shown(value))}</td></tr>'
    )


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return one_line(text, _VALUE_WIDTH)


def lists_html(
    title: str,
    percent: float,
    counts: str,
    lists: Iterable[tuple[str, Iterable[str]]],
    last: str,
) -> str:
    """Return a bar of *percent* below a title, then lists that have titles, then a last line."""
    rows = "".join(_list_row(name, lines) for name, lines in lists)
    return (
        f"<div><b>{escape(title)}</b><br>"
        f'<progress max="100" value="{percent:.0f}" style="width:16em"></progress> '
        f"{escape(counts)}<table>{rows}</table>{escape(last)}</div>"
    )


def _list_row(name: str, lines: Iterable[str]) -> str:
    cells = "<br>".join(escape(one_line(line, _VALUE_WIDTH)) for line in lines)
    return (
        f"<tr><th style='text-align:left;vertical-align:top'>{escape(name)}</th>"
        f"<td style='text-align:left'>{cells}</td></tr>"
    )

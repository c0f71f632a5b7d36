"""How artifacts look to a person: lists, contents in a notebook, differences between versions."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator._model import Artifact
from vespera_orchestrator.artifacts.search.passages import is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SHOWN_CHARACTERS = 20_000
_SHOWN_IMAGE_BYTES = 4_000_000
"""A larger image would stand in the notebook's file for good."""
_IMAGES = frozenset(
    {
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/svg+xml",
        "image/avif",
        "image/bmp",
    }
)
_COMPARED_LINES = 20_000
_COMPARED_BYTES = 8_000_000
"""More would take minutes to compare."""
_HEAD = ("title", "version", "kind", "media type", "bytes", "by", "saved", "id")


class ArtifactList(list[Artifact]):
    """A list of artifacts that prints, and shows in a notebook, as a table."""

    def __str__(self) -> str:
        rows = [_cells(artifact) for artifact in self]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def _repr_html_(self) -> str:
        return _html_table(_HEAD, [_cells(artifact) for artifact in self])


def _cells(artifact: Artifact) -> tuple[str, ...]:
    marks = ", ".join(
        word
        for word, holds in (("partial", artifact.partial), ("superseded", artifact.superseded))
        if holds
    )
    title = " ".join(artifact.title.split()) + (f" ({marks})" if marks else "")
    return (
        *(
            title if len(title) <= 80 else title[:79] + "…",  # noqa: PLR2004
            f"v{artifact.version}",
            artifact.kind,
            artifact.media_type,
        ),
        *(
            f"{artifact.size_bytes:,}",
            artifact.agent or "",
            f"{artifact.created_at:%Y-%m-%d %H:%M}",
            artifact.id,
        ),
    )


def _html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return (
            "<tr>"
            + "".join(f'<{tag} style="text-align:left">{escape(cell)}</{tag}>' for cell in cells)
            + "</tr>"
        )

    return f"<table><thead>{line(head, 'th')}</thead><tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>"


@attrs.frozen(repr=False)
class Shown:
    """An artifact with its content, as a person looks at it. Text prints; images, Markdown and the rest show in a notebook."""

    artifact: Artifact
    content: bytes
    """The beginning of it, for what is too large to be shown."""

    def __str__(self) -> str:
        return (
            f"{self.artifact}\n\n{self._text()}"
            if is_text(self.artifact.media_type)
            else str(self.artifact)
        )

    def __repr__(self) -> str:
        return str(self)

    def _text(self) -> str:
        text = self.content.decode("utf-8", "replace")
        if len(text) <= _SHOWN_CHARACTERS and len(self.content) == self.artifact.size_bytes:
            return text
        return f"{text[:_SHOWN_CHARACTERS]}\n… orch.artifacts.read({self.artifact.id!r}) gives all {self.artifact.size_bytes:,} bytes"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - Jupyter's signature
        bundle = {"text/plain": str(self)}
        kind = self.artifact.media_type
        if kind == "text/markdown":
            return bundle | {"text/markdown": self._text()}
        return bundle | {"text/html": f"<p>{escape(str(self.artifact))}</p>{self._as_html()}"}

    def _as_html(self) -> str:
        kind = self.artifact.media_type
        whole = len(self.content) == self.artifact.size_bytes
        if kind in _IMAGES and whole and len(self.content) <= _SHOWN_IMAGE_BYTES:
            # Within an <img> nothing that an SVG holds is run.
            data = base64.b64encode(self.content).decode()
            return f'<img alt="{escape(self.artifact.title)}" style="max-width:100%" src="data:{kind};base64,{data}">'
        return f"<pre>{escape(self._text())}</pre>" if is_text(kind) else ""


def shown_bytes(artifact: Artifact) -> int:
    """Return how much of the content is needed to show it."""
    return (
        _SHOWN_IMAGE_BYTES
        if artifact.media_type in _IMAGES
        else 4 * _SHOWN_CHARACTERS
        if is_text(artifact.media_type)
        else 0
    )


def comparable(*artifacts: Artifact) -> bool:
    """Tell whether the contents can be compared line by line within a moment."""
    return all(
        is_text(artifact.media_type) and artifact.size_bytes <= _COMPARED_BYTES
        for artifact in artifacts
    )


def difference(
    before: Artifact, after: Artifact, old: bytes, new: bytes, *, context_lines: int
) -> str:
    """Return a unified diff of two texts; empty when they are the same."""
    import difflib

    lines = [content.decode("utf-8", "replace").splitlines(keepends=True) for content in (old, new)]
    if max(map(len, lines)) > _COMPARED_LINES:
        return summary(before, after)
    found = difflib.unified_diff(lines[0], lines[1], _named(before), _named(after), n=context_lines)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found
    )


def summary(before: Artifact, after: Artifact) -> str:
    """Say in a line how two contents differ that cannot be compared line by line; empty when they are the same."""
    if before.digest == after.digest:
        return ""
    sides = [
        f"{a.media_type}, {a.size_bytes:,} bytes, sha256 {a.digest[:12]}" if a.digest else "nothing"
        for a in (before, after)
    ]
    return f"--- {_named(before)}\n+++ {_named(after)}\n{sides[0]} -> {sides[1]}\n"


def _named(artifact: Artifact) -> str:
    return f"{' '.join(artifact.title.split())} v{artifact.version}" + (
        f" ({artifact.id})" if artifact.digest else ""
    )

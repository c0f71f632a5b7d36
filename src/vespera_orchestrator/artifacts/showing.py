"""How artifacts look to a person: as a table, and with their content in a notebook."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Artifact
from vespera_orchestrator._records import JsonForm, Record, RecordList
from vespera_orchestrator.artifacts.content.decoding import decoded
from vespera_orchestrator.artifacts.content.media_types import is_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_TEXT_CHARS: Final = 20_000
_MAX_BYTES_PER_CHAR: Final = 4
_MOST_IMAGE_BYTES: Final = 4_000_000
"""A larger image would bloat the notebook's file for good."""
_MOST_TITLE_CHARS: Final = 80
_IMAGE_TYPES: Final = frozenset(
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
_TABLE_HEAD: Final = ("title", "version", "kind", "media type", "bytes", "by", "saved", "id")


class ArtifactList(RecordList[Artifact]):
    """A list of artifacts that prints, and shows in a notebook, as a table."""

    def _rows(self, records: Sequence[Artifact]) -> Sequence[Sequence[str]]:
        return [_TABLE_HEAD, *map(_cells, records)] if records else []


def _cells(artifact: Artifact) -> Sequence[str]:
    return (
        _title(artifact),
        f"v{artifact.version}",
        artifact.kind,
        artifact.media_type,
        f"{artifact.size_bytes:,}",
        artifact.agent or "",
        f"{artifact.created_at:%Y-%m-%d %H:%M}",
        artifact.id,
    )


def _title(artifact: Artifact) -> str:
    title = " ".join(artifact.title.split())
    marks = []
    if artifact.partial:
        marks.append("partial")
    if artifact.superseded:
        marks.append("superseded")
    if marks:
        title += f" ({', '.join(marks)})"
    if len(title) > _MOST_TITLE_CHARS:
        title = title[: _MOST_TITLE_CHARS - 1] + "…"
    return title


@attrs.frozen(repr=False)
class Shown(Record):
    """An artifact with its content, for a person to look at.

    Text prints; images, Markdown and other text show in a notebook.
    """

    artifact: Artifact
    """Its record."""
    content: bytes
    """Only the beginning, if the whole is too large to show."""

    json_form = JsonForm(
        properties=("text",), omit=("content",), rest="orch.artifacts.text({artifact.id!r})"
    )

    @property
    def text(self) -> str | None:
        """The content as text, or its beginning; ``None`` if it is not text."""
        return self._text() if is_text(self.artifact.media_type) else None

    def __str__(self) -> str:
        about = str(self.artifact)
        return about if self.text is None else f"{about}\n\n{self.text}"

    def __repr__(self) -> str:
        return str(self)

    def _is_whole(self) -> bool:
        return len(self.content) == self.artifact.size_bytes

    def _text(self) -> str:
        text = decoded(self.content)
        if len(text) <= _MOST_TEXT_CHARS and self._is_whole():
            return text
        call = f"orch.artifacts.read({self.artifact.id!r})"
        size = f"{self.artifact.size_bytes:,} bytes"
        return f"{text[:_MOST_TEXT_CHARS]}\n… {call} returns all {size}"

    def _repr_mimebundle_(
        self,
        include: object = None,  # noqa: ARG002 - Jupyter's signature
        exclude: object = None,  # noqa: ARG002 - Jupyter's signature
    ) -> dict[str, str]:
        bundle = {"text/plain": str(self)}
        if self.artifact.media_type == "text/markdown":
            bundle["text/markdown"] = self._text()
        else:
            about = escape(str(self.artifact))
            bundle["text/html"] = f"<p>{about}</p>{self._html()}"
        return bundle

    def _html(self) -> str:
        if self._is_small_image():
            return self._html_image()
        if is_text(self.artifact.media_type):
            return f"<pre>{escape(self._text())}</pre>"
        return ""

    def _is_small_image(self) -> bool:
        if self.artifact.media_type not in _IMAGE_TYPES:
            return False
        return self._is_whole() and len(self.content) <= _MOST_IMAGE_BYTES

    def _html_image(self) -> str:
        # A browser runs no script of an SVG that is within an <img>.
        title = escape(self.artifact.title)
        data = base64.b64encode(self.content).decode()
        source = f"data:{self.artifact.media_type};base64,{data}"
        return f'<img alt="{title}" style="max-width:100%" src="{source}">'


def bytes_to_show(artifact: Artifact) -> int:
    """Return how much of the content showing it may need; 0 if it is not shown."""
    if artifact.media_type in _IMAGE_TYPES:
        return _MOST_IMAGE_BYTES
    if is_text(artifact.media_type):
        return _MAX_BYTES_PER_CHAR * _MOST_TEXT_CHARS
    return 0

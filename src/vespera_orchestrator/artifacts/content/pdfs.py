"""The text of PDFs, page by page, read by pypdf in a process that cannot harm this one."""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import SearchGap
from vespera_orchestrator.artifacts.content.readable_text import ReadableText, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEDIA_TYPE: Final = "application/pdf"
INSTALL: Final = "pip install 'vespera-orchestrator[pdf]'"
READER: Final = "pypdf"
_PROGRAM: Final = Path(__file__).with_name("pdf_pages.py")
MOST_BYTES: Final = 100_000_000
MOST_CPU_S: Final = 20
"""Some 1,000 pages of a book; what was read until then is searched."""
_MOST_WAIT_S: Final = 300.0
"""On a machine that is busy with something else."""
_MOST_PAGES: Final = 5_000
_MOST_MEMORY_BYTES: Final = 1_500_000_000
_ENDINGS: Final = {
    "encrypted": SearchGap.ENCRYPTED,
    "damaged": SearchGap.DAMAGED,
    "long": SearchGap.PART,
    "": None,
}


@lru_cache(maxsize=1)
def reader_folder() -> str | None:
    """Return where the reader is installed; ``None`` if it is not. Does not load it."""
    from importlib.util import find_spec

    try:
        spec = find_spec(READER)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not sys.executable:
        return None
    return str(Path(spec.origin).parent.parent)


def pdf_text(content: bytes, size_bytes: int, most_characters: int) -> ReadableText:
    """Return the text of a PDF, with its pages; empty, with the reason, where there is none.

    Args:
        content: The whole file; anything if it is too large.
        size_bytes: How large it is.
        most_characters: After a page that exceeds them, no further one is read.
    """
    folder = reader_folder()
    if folder is None:
        return ReadableText(text="", gap=SearchGap.NO_READER)
    if size_bytes > MOST_BYTES:
        return ReadableText(text="", gap=SearchGap.TOO_LARGE)
    answer = _Answer.of(_ask(content, folder, most_characters))
    if not any(page.strip() for page in answer.pages):
        return ReadableText(text="", gap=answer.gap or SearchGap.NO_WORDS)
    text = joined(_named(answer.pages))
    # Whatever kept it from reading on leaves the pages before.
    return text if answer.gap is None else text.with_gap(SearchGap.PART)


def _named(pages: Iterable[str]) -> Iterator[tuple[str, str]]:
    for number, page in enumerate(pages, 1):
        yield f"page {number}", f"[page {number}]\n{page}"


def _ask(content: bytes, folder: str, most_characters: int) -> bytes:
    import subprocess

    limits = (_MOST_PAGES, most_characters, MOST_CPU_S, _MOST_MEMORY_BYTES)
    command = [sys.executable, "-P", str(_PROGRAM), folder, *map(str, limits)]
    try:
        ended = subprocess.run(
            command,
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_MOST_WAIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        return exc.stdout or b""
    except OSError:
        return b""
    return ended.stdout


@attrs.frozen(kw_only=True)
class _Answer:
    """What the other process said until it ended, or was ended."""

    pages: tuple[str, ...]
    gap: SearchGap | None

    @classmethod
    def of(cls, output: bytes) -> _Answer:
        pages: list[str] = []
        gap: SearchGap | None = SearchGap.TOO_LARGE
        is_damaged = False
        for line in output.splitlines():
            try:
                said: dict[str, Any] = json.loads(line)
            except ValueError:
                break  # it was ended within a line
            if "page" in said:
                pages.append(said["page"] or "")
                is_damaged = is_damaged or said["page"] is None
            else:
                gap = _ENDINGS[said["end"]]
        if gap is None and is_damaged:
            gap = SearchGap.DAMAGED
        return cls(pages=tuple(pages), gap=gap)

"""A program of its own: reads a PDF from its input, and writes each page as a line of JSON.

A PDF may come from anywhere, and some are made to keep a reader busy for ever, or to fill its
memory. So it is read in a process that the system bounds, and that may end in the middle: pages
that were written until then are good. It is run as a file, and imports nothing of this package.

    python -P pdf_pages.py FOLDER_OF_PYPDF MOST_PAGES MOST_CHARACTERS MOST_CPU_S MOST_MEMORY_BYTES
"""

from __future__ import annotations

import io
import json
import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEPTH = 10_000
"""How many calls within each other: trees of pages may be deep."""


def _bound(cpu_s: int, memory_bytes: int) -> None:
    """Let the system end this process when it takes more."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _lines(content: bytes, most_pages: int, most_characters: int) -> Iterator[dict[str, Any]]:
    """Yield the pages, and at the end why it ended.

    An encrypted PDF is opened with the empty password, as every viewer does.
    """
    from pypdf import PasswordType, PdfReader

    reader = PdfReader(io.BytesIO(content), strict=False)
    if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
        yield {"end": "encrypted"}
        return
    characters = 0
    for number, page in enumerate(reader.pages):
        if number == most_pages or characters > most_characters:
            yield {"end": "long"}
            return
        text = _page_text(page)
        characters += len(text or "")
        yield {"page": text}
    yield {"end": ""}


def _page_text(page: Any) -> str | None:
    """Return the text of a page; ``None`` if it cannot be read, which is no loss of the others."""
    try:
        text: str = page.extract_text()
    except Exception:  # noqa: BLE001 - what a damaged file raises is not to be foreseen
        return None
    # Fonts may name characters that no text can have.
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def main(folder: str, *limits: str) -> None:
    """Read the input; see above."""
    most_pages, most_characters, cpu_s, memory_bytes = map(int, limits)
    content = sys.stdin.buffer.read()
    sys.path.insert(0, folder)
    sys.setrecursionlimit(_DEPTH)
    logging.disable(logging.CRITICAL)
    _bound(cpu_s, memory_bytes)
    try:
        for line in _lines(content, most_pages, most_characters):
            print(json.dumps(line), flush=True)  # noqa: T201 - this is how the two processes speak
    except Exception as exc:  # noqa: BLE001 - what a damaged file raises is not to be foreseen
        missing = "cryptography" in str(exc)
        print(json.dumps({"end": "encrypted" if missing else "damaged"}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What kind of bytes a file or an artifact holds, by its name or by how the bytes begin."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from vespera_orchestrator.artifacts.content import decoding

if TYPE_CHECKING:
    from mimetypes import MimeTypes

_BY_SUFFIX = {
    **dict.fromkeys((".md", ".markdown"), "text/markdown"),
    **dict.fromkeys((".py", ".pyi"), "text/x-python"),
    **dict.fromkeys((".yaml", ".yml"), "application/yaml"),
    ".ipynb": "application/x-ipynb+json",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".rst": "text/x-rst",
    ".sql": "application/sql",
    ".toml": "application/toml",
    ".ts": "text/x-typescript",
    ".tsx": "text/x-typescript",
    ".webp": "image/webp",
}
"""Where Python's own table is wrong, or depends on the machine."""
_BY_SIGNATURE = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
)
_PREFERRED_SUFFIX = {
    **{media_type: suffix for suffix, media_type in reversed(_BY_SUFFIX.items())},
    "text/markdown": ".md",
    "text/x-python": ".py",
    "text/plain": ".txt",
    "text/html": ".html",
    "image/jpeg": ".jpg",
}
_TEXT_TYPES = frozenset(
    {
        "application/ecmascript",
        "application/javascript",
        "application/json",
        "application/sql",
        "application/toml",
        "application/x-csh",
        "application/x-httpd-php",
        "application/x-ipynb+json",
        "application/x-latex",
        "application/x-ndjson",
        "application/x-sh",
        "application/x-tcl",
        "application/x-tex",
        "application/x-texinfo",
        "application/x-troff",
        "application/x-troff-man",
        "application/x-troff-me",
        "application/x-troff-ms",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
        "image/svg+xml",
        "message/rfc822",
    }
)
_TEXT_ENDINGS = ("+json", "+xml", "+yaml")
_BINARY = "application/octet-stream"
BEGINNING_BYTES = 8192
"""How much of the content `detect` needs."""


@cache
def _python_table() -> MimeTypes:
    """Return Python's own table; the functions of `mimetypes` would add the machine's."""
    from mimetypes import MimeTypes

    return MimeTypes()


def by_name(name: str) -> str | None:
    """Return the media type that the suffix stands for, the same on every machine, or ``None``."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    media_type, encoding = _python_table().guess_type("name" + suffix)
    return _BINARY if encoding else media_type


def by_signature(beginning: bytes) -> str | None:
    """Return the media type of a format that starts with a known signature, or ``None``."""
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "image/webp"
    for signature, media_type in _BY_SIGNATURE:
        if beginning.startswith(signature):
            return media_type
    return None


def detect(name: str, beginning: bytes) -> str:
    """Return the media type by the name, or if that says nothing, by the bytes."""
    media_type = by_name(name) or by_signature(beginning)
    if media_type is not None:
        return media_type
    return "text/plain" if decoding.is_text(beginning) else _BINARY


def suffix_of(media_type: str) -> str:
    """Return the usual suffix of files of this type."""
    known = _PREFERRED_SUFFIX.get(media_type)
    return known or _python_table().guess_extension(media_type) or ".bin"


def is_text(media_type: str) -> bool:
    """Return whether content of this media type is read, and searched, as text."""
    bare = without_parameters(media_type)
    if bare.startswith("text/") or bare.endswith(_TEXT_ENDINGS):
        return True
    return bare in _TEXT_TYPES


def without_parameters(media_type: str) -> str:
    """Return the media type alone, such as ``text/plain`` for ``text/plain; charset=utf-8``."""
    bare, _, _ = media_type.partition(";")
    return bare.strip().lower()

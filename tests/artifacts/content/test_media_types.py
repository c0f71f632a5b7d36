"""What kind of bytes a content holds, by its name, its first bytes, and whether it is text."""

from __future__ import annotations

import pytest

from vespera_orchestrator.artifacts.content import media_types


@pytest.mark.parametrize(
    ("name", "beginning", "media_type"),
    [
        ("run.py", b"\x89PNG\r\n\x1a\n", "text/x-python"),
        ("README.MD", b"", "text/markdown"),
        ("data.tar.gz", b"", "application/octet-stream"),
        ("picture", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("picture", b"RIFF0000WEBP", "image/webp"),
        ("report", b"%PDF-1.7", "application/pdf"),
        ("Makefile", b"all:\n", "text/plain"),
        ("cut", "text with \u00fc".encode()[:-1], "text/plain"),
        ("latin", b"caf\xe9 au lait", "text/plain"),
        ("wide.log", "\ufeffdone".encode("utf-16-le"), "text/plain"),
        ("zeros", b"a\0b", "application/octet-stream"),
        ("noise.dat7", bytes(range(128, 256)), "application/octet-stream"),
        ("empty", b"", "text/plain"),
    ],
)
def test_the_name_decides_and_then_the_bytes(name, beginning, media_type):
    """A suffix comes first, then a signature; without either, what can be read is text."""
    assert media_types.detect(name, beginning) == media_type


@pytest.mark.parametrize(
    ("media_type", "suffix"),
    [
        ("text/markdown", ".md"),
        ("text/x-python", ".py"),
        ("application/yaml", ".yaml"),
        ("image/jpeg", ".jpg"),
        ("text/csv", ".csv"),
        ("application/x-nobody-knows", ".bin"),
    ],
)
def test_each_type_has_a_usual_suffix(media_type, suffix):
    """An exported artifact gets the suffix that people expect."""
    assert media_types.suffix_of(media_type) == suffix


@pytest.mark.parametrize(
    ("media_type", "yes"),
    [
        ("text/markdown; charset=utf-8", True),
        ("application/json", True),
        ("application/ld+json", True),
        ("message/rfc822", True),
        ("application/x-tcl", True),
        ("image/png", False),
        ("application/octet-stream", False),
    ],
)
def test_what_counts_as_text(media_type, yes):
    """Text-like media types are searched."""
    assert media_types.is_text(media_type) is yes

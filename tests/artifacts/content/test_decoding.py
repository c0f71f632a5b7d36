"""From bytes to text, whatever wrote them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_orchestrator.artifacts.content import decoding

TEXT = "Prüfgröße überschritten: “97 °C”\r\nnext line, with 日本 in it\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (TEXT.encode(), TEXT),
        (f"\ufeff{TEXT}".encode("utf-16-le"), TEXT),
        (f"\ufeff{TEXT}".encode("utf-16-be"), TEXT),
        (f"\ufeff{TEXT}".encode("utf-32-le"), TEXT),
        ("plain words without a mark".encode("utf-16-le"), "plain words without a mark"),
        ("plain words without a mark".encode("utf-16-be"), "plain words without a mark"),
        ("Größe „97 °C“".encode("cp1252"), "Größe „97 °C“"),
        ("größer, ü".encode() + b"\xff", "größer, ü\ufffd"),
        ("cut ü".encode()[:-1], "cut \ufffd"),
        (b"", ""),
    ],
)
def test_the_bytes_say_how_they_are_read(content, text):
    """By their mark, by where their zeros are, or because they are no UTF-8."""
    assert decoding.decoded(content) == text
    assert decoding.is_text(content) or "\ufffd" in text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=50))
def test_utf8_is_read_as_it_is(text):
    """Whatever it says; only text with zeros may look like UTF-16."""
    if "\0" not in text:
        assert decoding.decoded(text.encode()) == text


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(content):
    """Reading never fails, also where they are no text."""
    assert isinstance(decoding.decoded(content), str)
    assert decoding.is_text(content) in {True, False}


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\x7fELF\2\1\1\0\0\0", b"\x1f\x8b\x08\0\x93\xe9", b"a\0b"],
)
def test_binary_content_is_no_text(content):
    """Zeros and control characters give it away."""
    assert not decoding.is_text(content)

"""From the bytes of a text to its characters, whatever wrote them.

UTF-8 is the rule. Windows programs write UTF-16, mostly with a mark at the beginning, and older
ones Windows-1252. Which one it is follows from the bytes alone, so the same bytes are the same text
everywhere, and the offsets of a hit fit.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like that of UTF-16
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES: Final = 4096
_LEAST_ZEROS: Final = 0.4
"""Of all bytes: every other one is zero in UTF-16, as far as a text is Latin."""
_MOST_STRAY_ZEROS: Final = 0.02
_BEYOND_ASCII: Final = re.compile(rb"[\x80-\xff]")
_MOST_BEYOND: Final = 0.4
"""The share of bytes beyond ASCII in a text that is Windows-1252. In other bytes it is half."""
_ASCII_LETTER: Final = re.compile(rb"[A-Za-z]")
_MOST_ACCENTS: Final = 0.3
"""The share of accented letters and signs among the letters of a text in Windows-1252."""
_MOST_ODD: Final = 0.05
"""The share of characters that cannot be meant in a text that is only a little damaged."""
_SEQUENCE: Final = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
"""A character beyond ASCII in UTF-8. In Windows-1252 it would be two odd ones in a row."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""What no text has; tabs, line ends, form feeds and escape sequences it may have."""
_UNKNOWN: Final = "\ufffd"
_MOST_CUT_BYTES: Final = 3
"""How much of a character may be cut off at the end of a beginning."""


def decoded(content: bytes) -> str:
    """Return the text of *content*, which may be only its beginning; never fails.

    What its encoding does not have becomes U+FFFD.
    """
    return content.decode(_encoding(content), "replace")


def is_garbled(content: bytes, text: str) -> bool:
    """Tell whether *text* is hardly what *content* says: its encoding is none of those known here.

    As Shift-JIS or Windows-1251, which say nothing of themselves and look like odd characters. A
    language that Windows-1252 is for has accents on a few of its letters only.
    """
    encoding = _encoding(content)
    sample = text[:_SAMPLE_BYTES]
    if encoding == "cp1252":
        beyond = len(_BEYOND_ASCII.findall(content[:_SAMPLE_BYTES]))
        letters = len(_ASCII_LETTER.findall(content[:_SAMPLE_BYTES]))
        if beyond > (beyond + letters) * _MOST_ACCENTS:
            return True
    odd = sample.count(_UNKNOWN) + len(_CONTROL.findall(sample))
    return odd > len(sample) * _MOST_ODD


def is_text(beginning: bytes) -> bool:
    """Tell whether content that begins like that is a text, in any of these encodings."""
    encoding = _encoding(beginning)
    if encoding == "utf-8":
        return b"\0" not in beginning and _is_utf8(beginning)
    beyond = len(_BEYOND_ASCII.findall(beginning))
    if encoding == "cp1252" and beyond > len(beginning) * _MOST_BEYOND:
        return False
    # The end of a beginning may cut a character in two.
    text = beginning.decode(encoding, "replace").rstrip(_UNKNOWN)
    return _UNKNOWN not in text and _CONTROL.search(text) is None


def _encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    sample = content[:_SAMPLE_BYTES]
    if b"\0" in sample:
        return _without_mark(sample)
    if _is_utf8(content):
        return "utf-8"
    # A damaged text in UTF-8 still has more whole characters than stray bytes.
    in_sequences = sum(map(len, _SEQUENCE.findall(content)))
    stray = len(_BEYOND_ASCII.findall(content)) - in_sequences
    return "cp1252" if stray > in_sequences else "utf-8"


def _without_mark(sample: bytes) -> str:
    """Tell UTF-16 by where its zeros are; anything else with zeros is read as UTF-8."""
    first, second = sample[0::2].count(0), sample[1::2].count(0)
    size = len(sample)
    if second >= _LEAST_ZEROS * size and first <= _MOST_STRAY_ZEROS * size:
        return "utf-16-le"
    if first >= _LEAST_ZEROS * size and second <= _MOST_STRAY_ZEROS * size:
        return "utf-16-be"
    return "utf-8"


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as exc:
        is_cut = exc.reason == "unexpected end of data"
        return is_cut and len(content) - exc.start <= _MOST_CUT_BYTES
    return True

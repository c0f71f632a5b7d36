"""Text within a width or a budget, and lengths of time in words."""

from __future__ import annotations

import logging
import math
import re
import reprlib
from bisect import bisect_right
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vespera_orchestrator._secrets import find_secrets, mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CHARS_PER_TOKEN: Final = 4
"""How many characters of English prose or code are counted as one token.

No text has more for a token, so a budget never takes more characters than so many times.
"""
_FEWEST_LETTERS: Final = 3
"""So many letters of a name are enough to guess it."""
_WORDS_OF_NAME: Final = re.compile(r"[_-]")
_DENSE: Final = re.compile(r"[A-Za-z0-9+/]{20,}|[0-9]+|[^\x00-\x7f\u2010-\u2027]+")
"""What takes more tokens than its length says: digests, numbers, other scripts.

Dashes, quotation marks and ellipses stand in English as well.
"""
_DIGEST_WEIGHT: Final = 0.8
_CYRILLIC: Final = range(0x400, 0x530)
_CYRILLIC_WEIGHT: Final = 0.4
_BEYOND_PLANE_0: Final = 0x10000
"""Emoji and rare characters are from here on."""
_LINE_ENDS: Final = "\t\n\v\f\r\x1c\x1d\x1e\x85"
"""Control characters at which `str.splitlines` ends a line, and the tabulator."""
_CONTROLS: Final = [*range(0x20), *range(0x7F, 0xA0)]
_HIDDEN: Final = [
    *range(0x202A, 0x202F),  # changes of direction
    *range(0x2066, 0x206A),
    *(0x061C, 0x200E, 0x200F),
    *(0x00AD, 0x180E, 0x200B, 0xFEFF),  # without width
    *range(0x2060, 0x2066),
    *range(0x206A, 0x2070),
    *range(0xFFF9, 0xFFFC),  # notes between the lines
    *range(0x1BCA0, 0x1BCA4),  # of shorthand and of music
    *range(0x1D173, 0x1D17B),
    *(0x3164, 0xFFA0),  # letters without a form
    *range(0xFE00, 0xFE0E),  # variants; the last two make emoji what they are
    *range(0xE0100, 0xE01F0),
    *range(0xE0000, 0xE0080),  # invisible copies of the letters
]
"""What nobody sees, or what makes a text read otherwise than it is.

Without their joiners (U+200C, U+200D), Persian, Indian scripts and emoji would fall apart.
"""
_OBEYED: Final = {code: None for code in [*_CONTROLS, *_HIDDEN] if chr(code) not in _LINE_ENDS}
_SPACES: Final = dict.fromkeys(map(ord, "\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " ")
_PLAIN: Final = _SPACES | {ord("\r"): "\n"} | _OBEYED
_INVISIBLE_LETTERS: Final = re.compile("[\u3164\uffa0\ufe00-\ufe0d\U000e0100-\U000e01ef]")
"""Those of them that Python calls printable."""
_BACKTICKS: Final = re.compile(r"`{3,}")
_MARKUP: Final = re.compile(r"(\\*)(<(?=[A-Za-z/!?])|\](?=[(\[:]))")
"""How a tag, an address and the second half of a link begin, with the backslashes before it."""
_BLOCK_IN_ITEM: Final = re.compile(
    r"^([-*] +)(\d{0,9})([-+*.)](?= |$)|#{1,6}(?= |$)|>|```|~~~|[-*_](?: *[-*_]){2,} *$)"
)
"""What begins a block of its own at the beginning of an item."""
_DEFINITION: Final = re.compile(r"^([ >*+\d.)-]*)\[(?=[^\]]*$|.*\]:)")
"""How a definition of links begins, which would hold for a whole page. Its name may be longer than
the line.
"""
_MOST_BACKTICKS: Final = 50
_TOO_MANY_BACKTICKS: Final = re.compile(rf"`{{{_MOST_BACKTICKS},}}")
"""A longer run would make the fences around it as long, twice."""
_LONGEST_SECRET: Final = 4000
"""How much around a cut is looked at, so that no half of a key is left before it."""
_LOOKED_AT: Final = 100_000
"""Of a longer text no more is read to make one line of it."""
_TIME_UNITS_S: Final = {"day": 86_400, "hour": 3600, "minute": 60}


def tokens(text: str) -> int:
    """Estimate how many tokens *text* takes.

    Tokenizers differ. Counted are four characters of English or code, and of other texts what
    they take at most in common tokenizers, nearly: one for a digit and for a character of most
    other scripts, four for five characters of a digest.
    """
    weight, rest = 0.0, len(text)
    for match in _DENSE.finditer(text):
        run = match[0]
        rest -= len(run)
        weight += _weight(run)
    return math.ceil(weight + rest / CHARS_PER_TOKEN)


def _weight(run: str) -> float:
    if not run.isascii():
        return sum(map(_character_weight, run))
    if run.isalpha():
        return len(run) / CHARS_PER_TOKEN
    return len(run) if run.isdigit() else len(run) * _DIGEST_WEIGHT


def _character_weight(character: str) -> float:
    code = ord(character)
    if code in _CYRILLIC:
        return _CYRILLIC_WEIGHT
    return 2.0 if code >= _BEYOND_PLANE_0 else 1.0


def fits(text: str, budget_tokens: int) -> bool:
    """Tell whether *text* takes at most the budget; a text that is far too long is not counted."""
    return len(text) <= budget_tokens * CHARS_PER_TOKEN and tokens(text) <= budget_tokens


def fitting_length(text: str, budget_tokens: int) -> int:
    """Return how many characters of the beginning of *text* fit into the budget."""
    longest = min(len(text), max(0, budget_tokens) * CHARS_PER_TOKEN)
    if tokens(text[:longest]) <= budget_tokens:
        return longest
    return bisect_right(range(longest), budget_tokens, key=lambda end: tokens(text[:end])) - 1


def clip(text: str, budget_tokens: int) -> str:
    """Cut *text* to about *budget_tokens*, at a line or a word, and end it with an ellipsis."""
    if fits(text, budget_tokens):
        return text
    length = max(0, fitting_length(text, budget_tokens) - 2)
    cut = text[: without_half_a_secret(text, length)]
    edge = max(cut.rfind("\n"), cut.rfind(" "))
    if edge > len(cut) // 2:
        cut = cut[:edge]
    return cut.rstrip() + " …"


def beginning(text: str, budget_tokens: int) -> str:
    """Return the beginning of *text* within the budget, without a mark where it ends.

    It ends after a paragraph if at least half of the budget is used then, else after a line, else
    after a word.
    """
    if fits(text, budget_tokens):
        return text
    cut = text[: without_half_a_secret(text, fitting_length(text, budget_tokens))]
    for edge in ("\n\n", "\n", " "):
        end = cut.rfind(edge)
        if end > len(cut) // 2:
            return cut[:end].rstrip()
    return cut.rstrip()


def without_half_a_secret(text: str, length: int) -> int:
    """Return where to cut *text*, at most at *length*, so that no key or password is cut in two.

    The half that is left would not be recognised, and so not be masked.
    """
    start = max(0, length - _LONGEST_SECRET)
    for secret in find_secrets(text[start : length + _LONGEST_SECRET]):
        if start + secret.start < length < start + secret.end:
            return start + secret.start
    return length


def shown(text: str) -> str:
    """Return a text of several lines as a terminal, a page or a prompt may have it.

    Of all control characters only the ends of lines and tabulators are left, and keys and passwords
    are masked. What every record and every error prints goes through this; what is stored stays as
    it is.
    """
    text = mask(text)
    if _is_plain(text) or _is_plain(text.replace("\n", "")):
        return text
    return text.replace("\r\n", "\n").translate(_PLAIN)


def showing(method: Callable[..., str]) -> Callable[..., str]:
    """Make a method that returns a text for people return it `shown`."""
    if hasattr(method, "shows"):
        return method

    @wraps(method)
    def show(*args: Any, **options: Any) -> str:
        return shown(method(*args, **options))

    vars(show)["shows"] = True
    return show


_Shown = TypeVar("_Shown")


def show_methods(kind: type[_Shown]) -> type[_Shown]:
    """Do so for every method of a class by which it shows itself to people."""
    for name in ("__str__", "_repr_html_", "to_mermaid", "to_dot"):
        method = vars(kind).get(name)
        if method is not None:
            setattr(kind, name, showing(method))
    return kind


def _show_in_log(record: logging.LogRecord) -> bool:
    """Make a message of ours one line that nobody obeys, whatever it quotes of others."""
    record.msg, record.args = shown(record.getMessage()).replace("\n", " "), ()
    if record.exc_info and not record.exc_text:
        record.exc_text = shown(logging.Formatter().formatException(record.exc_info))
    return True


logging.getLogger("vespera_orchestrator").addFilter(_show_in_log)


def printable(text: str) -> str:
    """Leave out what a terminal would obey: control characters, and changes of direction."""
    if _is_plain(text):
        return text
    return text.translate(_OBEYED)


def _is_plain(text: str) -> bool:
    """Tell whether everything in a text is seen."""
    return text.isprintable() and (text.isascii() or _INVISIBLE_LETTERS.search(text) is None)


def quoted(text: str) -> str:
    """Mark every line of *text* as a quotation, so that none of them can pass for one of ours.

    Keys and passwords in it are masked.
    """
    lines = printable(mask(text)).splitlines()
    lines = [_DEFINITION.sub(r"\1\\[", line) for line in lines]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def inert(text: str) -> str:
    """Return lines of ours so that what they hold of others forms no Markdown of its own.

    No address becomes a link or a picture, no tag HTML, and a title that begins like a heading or
    a list stays a title. Lines that are quoted already stay as they are.
    """
    return "\n".join(line if line.startswith(">") else _inert(line) for line in text.split("\n"))


def _inert(line: str) -> str:
    line = _MARKUP.sub(_escape, line)
    return _BLOCK_IN_ITEM.sub(r"\1\2\\\3", line)


def _escape(match: re.Match[str]) -> str:
    """Put a backslash before a sign, unless one of those before it does that already."""
    is_escaped = len(match[1]) % 2 == 1
    return match[0] if is_escaped else f"{match[1]}\\{match[2]}"


def plain_start(line: str) -> str:
    """Return a line of others that begins a line of ours: it begins no heading, list or tag."""
    if line.startswith("<"):
        return f"\\{line}"
    return _BLOCK_IN_ITEM.sub(r"\1\2\\\3", f"- {line}")[2:]


def fence_for(text: str) -> str:
    """Return a line of backticks that no line of *text* can close."""
    runs = _BACKTICKS.findall(text)
    longest = max(map(len, runs), default=0)
    return "`" * max(3, longest + 1)


def fenced(text: str, language: str = "") -> str:
    """Put *text* between fences, as it is, so that none of its lines can pass for one of ours."""
    text = _TOO_MANY_BACKTICKS.sub("`" * _MOST_BACKTICKS, text)
    fence = fence_for(text)
    return f"{fence}{language}\n{text}\n{fence}"


def one_line(text: str, width: int = 100) -> str:
    """Put *text* on one line of at most *width* characters.

    It has nothing that a terminal would obey, and no key or password.
    """
    if len(text) > _LOOKED_AT:
        text = text[: without_half_a_secret(text, _LOOKED_AT)] + "…"
    flat = mask(" ".join(printable(text).split()))
    if len(flat) <= width:
        return flat
    return flat[: width - 1].rstrip() + "…"


_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100
_REPR.maxlong = 60
_REPR.maxlevel = 3
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 8


def show_value(value: object) -> str:
    """Return any value as a message names it: clipped, quickly, and whatever the value is.

    A number may have too many digits for Python to write, a list may hold itself, and somebody's
    own ``__repr__`` may raise.
    """
    try:
        return _REPR.repr(value)
    except Exception:  # noqa: BLE001 - it may do anything
        return f"<a value of type {type(value).__name__}>"


def named_error(exc: BaseException) -> str:
    """Return the class and the text of an error, whatever its own ``__str__`` does."""
    try:
        message = str(exc)
    except Exception as failure:  # noqa: BLE001 - it may do anything
        message = f"(its text could not be read: {type(failure).__name__})"
    return f"{type(exc).__name__}: {message}"


def first_names(names: Sequence[str], most: int) -> str:
    """Name the first few, and count the rest: ``a, b and 3 more``."""
    listed = ", ".join(names[:most])
    more = len(names) - most
    return f"{listed} and {more} more" if more > 0 else listed


def plural(count: int, noun: str) -> str:
    """Write a number with its noun: ``1 task``, ``2 tasks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: int) -> str:
    """Say a length of time in words, in its largest unit."""
    for unit, size_s in _TIME_UNITS_S.items():
        if seconds >= size_s:
            return plural(seconds // size_s, unit)
    return f"{seconds} s"


def ago(seconds: int) -> str:
    """Say in words how long ago something was."""
    return f"{duration(seconds)} ago" if seconds > 0 else "just now"


def similar_names(word: str, names: Iterable[str], *, most: int = 1) -> list[str]:
    """Return the names that somebody may have meant, the nearest first.

    Capital letters do not matter, and a part of a name is like it: ``due`` is like ``due_date``.

    Args:
        word: What was written.
        names: What there is.
        most: How many to return.
    """
    from difflib import get_close_matches

    spelled: dict[str, str] = {}
    for name in names:
        spelled.setdefault(name.casefold(), name)
    folded = word.casefold()
    similar = get_close_matches(folded, spelled, most)
    if not similar and len(folded) >= _FEWEST_LETTERS:
        similar = [name for name in spelled if folded in _WORDS_OF_NAME.split(name)][:most]
    return [spelled[name] for name in similar]

"""What texts say of somebody's age, in the languages that people write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

AGE_NAMES: Final = frozenset(
    {"age", "alter", "âge", "edad", "idade", "età", "возраст", "年齢", "年龄", "年紀", "年纪"}
)
"""How a sheet calls an age, in lower case."""
_UP_TO_NINETEEN: Final = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_NUMBERS: Final = {word: number for number, word in enumerate(_UP_TO_NINETEEN, start=1)} | {
    word: number for number, word in zip(range(20, 100, 10), _TENS, strict=True)
}
_WORDS: Final = "|".join(sorted(_NUMBERS, key=len, reverse=True))
_NUMBER: Final = rf"(\d{{1,3}}|(?:{_WORDS})(?:[- ](?:{_WORDS}))?)"
"""A number, in digits or in English words."""
_AGE: Final = re.compile(
    rf"\b{_NUMBER}[- ]years?[- ]old\b|\baged {_NUMBER}\b|\bage of {_NUMBER}\b"
    r"|\b(\d{1,3}) (?:Jahre alt|ans|años|anos|anni)\b"
    r"|\b(\d{1,3}) (?:лет|года?)\b|(\d{1,3}) ?[歳才岁]",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"[^.!?\n。！？]+")


def number_in(text: str) -> str:
    """Return the first number of a text in digits; empty if there is none."""
    match = re.search(rf"\b{_NUMBER}\b", text, re.IGNORECASE)
    return "" if match is None else _in_digits(match[1])


def ages_near(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """Yield the ages, in digits, of sentences in which a pattern occurs."""
    for sentence in _SENTENCE.findall(text):
        match = _AGE.search(sentence)
        if match is not None and pattern.search(sentence):
            yield _in_digits(next(filter(None, match.groups())))


def _in_digits(number: str) -> str:
    if number.isdigit():
        return str(int(number))
    return str(sum(_NUMBERS[word] for word in re.split("[- ]", number.lower())))

"""Text within a width or a budget: never longer, never more than was there, never in two halves."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_orchestrator._text import (
    CHARS_PER_TOKEN,
    ago,
    clip,
    duration,
    fenced,
    fits,
    fitting_length,
    named_error,
    one_line,
    plural,
    printable,
    tokens,
)


@given(st.text(), st.integers(0, 100))
def test_a_clipped_text_keeps_to_its_budget(text, budget_tokens):
    """What fits stays as it is; what does not is a beginning of it, with an ellipsis."""
    clipped = clip(text, budget_tokens)
    if tokens(text) <= budget_tokens:
        assert clipped == text
    else:
        assert len(clipped) <= max(2, budget_tokens * CHARS_PER_TOKEN)
        assert clipped.endswith(" …")
        assert text.startswith(clipped.removesuffix(" …"))


@pytest.mark.parametrize(
    ("text", "budget_tokens", "clipped"),
    [
        ("one two three", 4, "one two three"),
        ("one two three four", 4, "one two three …"),
        ("one\ntwo three", 3, "one\ntwo …"),
        ("one\n\n\n\n\n\n\n\nrest", 3, "one …"),
        ("unbreakable", 2, "unbrea …"),
        ("x", 0, " …"),
        ("", 0, ""),
    ],
)
def test_a_text_is_cut_at_a_line_or_a_word(text, budget_tokens, clipped):
    """Where there is one in its second half; else within the word."""
    assert clip(text, budget_tokens) == clipped


@given(st.text(), st.integers(1, 200))
def test_one_line_is_one_line(text, width):
    """Whatever breaks lines becomes a space; what is too long ends with an ellipsis."""
    line = one_line(text, width)
    assert len(line.splitlines()) <= 1
    assert len(line) <= width
    assert line == line.strip()
    whole = " ".join(printable(text).split())
    assert line == whole or (line.endswith("…") and whole.startswith(line[:-1]))


ENGLISH = string.ascii_letters + string.punctuation + " \n\u2014\u2026\u2019"


@given(st.text(alphabet=ENGLISH.replace("/", "")))
def test_tokens_are_counted_up(text):
    """A part of a token counts as one: a text never takes more than is said."""
    assert len(text) <= tokens(text) * CHARS_PER_TOKEN
    assert len(text) > (tokens(text) - 1) * CHARS_PER_TOKEN


@pytest.mark.parametrize(
    ("seconds", "words", "past"),
    [
        (-5, "-5 s", "just now"),
        (0, "0 s", "just now"),
        (1, "1 s", "1 s ago"),
        (59, "59 s", "59 s ago"),
        (60, "1 minute", "1 minute ago"),
        (3599, "59 minutes", "59 minutes ago"),
        (3600, "1 hour", "1 hour ago"),
        (86_399, "23 hours", "23 hours ago"),
        (86_400, "1 day", "1 day ago"),
        (30 * 86_400, "30 days", "30 days ago"),
    ],
)
def test_a_length_of_time_is_told_in_its_largest_unit(seconds, words, past):
    """Rounded down, so that nothing is said to have lasted longer than it has."""
    assert (duration(seconds), ago(seconds)) == (words, past)


def test_a_number_has_its_noun():
    """One is singular; none and many are plural."""
    assert [plural(count, "task") for count in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]


class MuteError(Exception):
    """An error that cannot say what it is."""

    def __str__(self):
        raise KeyError("no words")


def test_an_error_is_named_whatever_its_text_does():
    """The class stands before the text, and stands there without one, too."""
    assert named_error(ValueError("too hot")) == "ValueError: too hot"
    assert named_error(MuteError()) == "MuteError: (its text could not be read: KeyError)"


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        pytest.param("The kettle is off as soon as the water boils. " * 10, 115, 120, id="English"),
        pytest.param("水壶烧开时会自动关闭并且记录一次事件" * 10, 180, 220, id="Chinese"),
        pytest.param(
            "Чайник выключается сам, как только вода закипает. " * 10, 170, 200, id="Russian"
        ),
        pytest.param("8fa3c1d0 " * 50, 250, 350, id="numbers"),
        pytest.param("c3RvcCB0aGUga2V0dGxlIHdoZW4gaXQgYm9pbHM" * 10, 300, 330, id="base64"),
        pytest.param("🔥💧" * 20, 70, 80, id="emoji"),
    ],
)
def test_tokens_are_counted_by_script(text, least, most):
    """Common tokenizers take between the two."""
    assert least <= tokens(text) <= most


@given(st.text(max_size=300), st.integers(0, 100))
def test_what_fits_is_within_the_budget_and_one_more_is_not(text, budget_tokens):
    """Also where one character takes more than one token."""
    assert fits(text, budget_tokens) == (tokens(text) <= budget_tokens)
    length = fitting_length(text, budget_tokens)
    assert tokens(text[:length]) <= budget_tokens
    if length < len(text):
        assert tokens(text[: length + 1]) > budget_tokens


@given(st.text(st.sampled_from("`~\n x#"), max_size=300))
def test_no_line_closes_the_fences_around_it(text):
    """Whatever stands between them is shown as it is, and ends where we end it."""
    opening, *lines, closing = fenced(text).split("\n")
    assert opening == closing
    assert "\n".join(lines) == text
    assert not any(opening in line for line in lines)


def test_fences_stay_short():
    """A run of backticks is not repeated at its whole length."""
    assert len(fenced("`" * 100_000)) < 200

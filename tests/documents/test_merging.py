"""Two sides of one text, brought together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_orchestrator.documents.merging import merge, merge_lines, with_notation

_text = st.lists(st.sampled_from("abcd"), max_size=8).map("\n".join)


@given(_text, _text, _text)
def test_both_sides_count_alike(base, one, other):
    """Whoever is called ours; and what only one side has changed is taken from it."""
    assert merge_lines(base, one, other) == merge_lines(base, other, one)
    assert merge_lines(base, one, base) == one
    assert merge_lines(base, one, one) == one


@pytest.mark.parametrize(
    ("base", "theirs", "ours", "merged"),
    [
        ("a\nb\nc", "A\nb\nc", "a\nb\nC", "A\nb\nC"),
        ("a\nb\nc", "A\nb\nc", "A\nb\nC", "A\nb\nC"),
        ("a\nb", "a\nx\nb", "a\ny\nb", None),
        ("a\nb", "a", "a\nB", None),
    ],
)
def test_lines_are_merged_unless_both_sides_have_changed_them(base, theirs, ours, merged):
    """What both have changed in the same way is one change."""
    assert merge_lines(base, theirs, ours) == merged


def test_words_are_merged_where_lines_collide():
    """A line that both have changed may still be two changes."""
    assert merge("one two three", "ONE two three", "one two THREE") == "ONE two THREE"


def test_a_line_that_both_have_written_is_there_once():
    """Someone who has already taken in our news keeps the notation of the rest."""
    base, theirs, due = "- *a*\n- b", "- _a_\n- b\n- c", "- *a*\n- b\n- c"
    assert with_notation(base, theirs, due) == theirs

"""Fitting texts into a budget: what matters is whole, the rest is cut or named, nothing is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vespera_orchestrator._text import quoted, tokens
from vespera_orchestrator.progress.fitting import Piece, Section, fit


def piece(name, size=0, **fields):
    """Make a piece whose quotation has *size* paragraphs of 40 characters."""
    quote = "\n\n".join(f"{name} {number} {'x' * 30}"[:40] for number in range(size))
    return Piece(line=f"- {name}", quote=quote, rest=f"read({name!r})", source=name, **fields)


def fitted(*pieces, budget=100, last=None):
    """Fit pieces under one heading."""
    return fit([Section(heading="## Head", pieces=pieces)], budget, last=last)


def test_with_room_everything_is_whole():
    """Nothing is filled up, and nothing says that something is missing."""
    one, two = piece("one", 2), piece("two", 2)
    result = fitted(one, two, budget=1000)
    assert result.text == f"## Head\n- one\n{quoted(one.quote)}\n- two\n{quoted(two.quote)}"
    assert result.sources == ("one", "two")


def test_of_one_rank_the_short_ones_are_whole_and_the_long_ones_share():
    """One long record takes nothing from a short one beside it."""
    short, long = piece("short", 2), piece("long", 200)
    text = fitted(long, short, budget=250).text
    assert quoted(short.quote) in text
    assert "long 0" in text
    assert "more characters: read('long')]" in text


def test_a_lower_rank_comes_first():
    """What matters more is whole before anything else gets a word in, wherever it stands."""
    first, second = piece("first", 12, rank=1), piece("second", 12, rank=0)
    result = fitted(first, second, budget=200)
    assert quoted(second.quote) in result.text
    assert result.sources == ("second",) or quoted(first.quote) not in result.text


def test_what_has_no_room_is_named_with_the_call_that_reads_it():
    """Nobody is left without a way to it."""
    result = fitted(piece("one", 100), budget=25)
    assert result.text == "## Head\n- one [to read: read('one')]"
    assert result.sources == ()


def test_a_cut_ends_at_a_paragraph_and_says_what_is_missing():
    """Not in the middle of a word."""
    text = fitted(piece("one", 100), budget=120).text
    *quote, missing = text.splitlines()[2:]
    whole = [line.rstrip() for line in quoted(piece("one", 100).quote).splitlines()]
    assert quote == whole[: len(quote)]
    kept = "\n".join(line.removeprefix("> ").removeprefix(">") for line in quote)
    count = len(piece("one", 100).quote) - len(kept)
    assert missing == f"[{count:,} more characters: read('one')]"


def test_many_names_leave_room_for_what_is_reserved():
    """A crowd of distant things does not crowd out the task itself."""
    task = piece("task", 20, reserved=0.5)
    crowd = [piece(f"other {number}", 5, rank=1) for number in range(100)]
    text = fitted(task, *crowd, budget=500).text
    assert "task 15" in text
    assert "more entries left out" in text


def test_the_ending_is_kept():
    """However much comes before it; unless it would be a third of everything."""
    last = Section(heading="## Last", pieces=[Piece(line="hand in")])
    crowd = [piece(f"other {number}", 5, reserved=0.1) for number in range(100)]
    assert fitted(*crowd, budget=200, last=last).text.endswith("## Last\nhand in")
    assert "## Last" not in fitted(*crowd, budget=9, last=last).text


PIECES = st.lists(
    st.builds(
        Piece,
        line=st.text("ab \n", min_size=1, max_size=60).map(lambda text: f"- {text!r}"),
        quote=st.text("abc \n#>`", max_size=600),
        rest=st.sampled_from(["", "orch.artifacts.text('a_1')"]),
        share=st.sampled_from([0.3, 1.0]),
        reserved=st.sampled_from([0.0, 0.2]),
        rank=st.integers(0, 3),
    ),
    max_size=12,
)


@settings(max_examples=100)
@given(PIECES, st.integers(1, 400))
def test_a_text_keeps_to_its_budget(pieces, budget):
    """Whatever is in it, and no line of a quotation stands without its mark."""
    ours = {"## Head"} | {line for each in pieces for line in each.line.splitlines()}
    text = fitted(*pieces, budget=budget).text
    assert tokens(text) <= budget + 1
    for line in text.splitlines():
        is_ours = any(line.startswith(part) for part in ours)
        is_cut = text.endswith(" …") and line == text.splitlines()[-1]
        assert is_ours or is_cut or not line or line[0] in ">["

"""A heavy task as smaller ones: what they are, and that the same task gives the same ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.records import task
from vespera_orchestrator._model import Dependency, Outcome
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks.simplifying import MARK, MOST_PIECES, context_without_marks, pieces


def titles(of, grain=3, by=None):
    """Return the titles of the pieces."""
    return [piece.title for piece in pieces(of, grain, by)]


USUAL = ["A: ten minutes", "A: the rest", "A: look at it"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"description": "Do it.\n- [x] done\n- [ ] boil\n* [ ] pour\n1. [ ] drink"},
            ["boil", "pour", "drink"],
        ),
        ({"acceptance": "- it boils\n- it rings"}, ["it boils", "it rings"]),
        ({"acceptance": "it boils\nit rings"}, ["it boils", "it rings"]),
        ({"description": "First:\n1. boil\n2) pour\n\n• drink"}, ["boil", "pour", "drink"]),
        (
            {"description": "- boil\n- pour", "acceptance": "- [ ] it rings\n- [ ] it stops"},
            ["it rings", "it stops"],
        ),
        (
            {"description": "Boil it - then pour."},
            ["A: ten minutes", "A: the rest", "A: look at it"],
        ),
        ({"description": "- only one"}, ["A: ten minutes", "A: the rest", "A: look at it"]),
    ],
)
def test_the_task_says_itself_what_its_parts_are(fields, expected):
    """Open boxes, then acceptance points, then a list; else the smallest step, the rest, a look."""
    assert titles(task("a", title="A", **fields)) == expected


@given(st.integers(2, 40), st.sampled_from(sorted(MOST_PIECES)))
def test_no_point_is_lost_and_there_are_not_too_many_pieces(count, grain):
    """Neighbours go together, in order, in groups of nearly equal size."""
    points = [f"point {number}" for number in range(count)]
    listed = task("a", description="\n".join(f"- {point}" for point in points))
    made = pieces(listed, grain)
    assert made == pieces(listed, grain)
    assert len(made) == min(count, MOST_PIECES[grain])
    kept = [line.removeprefix("- ") for piece in made for line in piece.acceptance.splitlines()]
    assert kept == points
    sizes = [len(piece.acceptance.splitlines()) for piece in made]
    assert max(sizes) - min(sizes) <= 1


def test_the_pieces_come_one_after_the_other_and_the_first_when_the_task_would():
    """A piece that is cancelled does not hold up the next."""
    whole = task(
        "a",
        description="- one\n- two",
        dependencies=(Dependency("t_x", "failure"),),
        condition="x.failed",
        specialist_type="cook",
        priority=4,
        task_type="soup",
    )
    first, second = pieces(whole, 3)
    assert (first.parent, first.alias, second.alias) == ("t_a", "a_1", "a_2")
    assert (first.dependencies, first.condition) == (whole.dependencies, "x.failed")
    assert (second.dependencies, second.condition) == ((Dependency("a_1", Outcome.DONE),), None)
    for piece in (first, second):
        assert (piece.specialist_type, piece.priority, piece.task_type) == ("cook", 4, "soup")
        assert (piece.complexity, piece.context[MARK]) == ("simple", "t_a")


@pytest.mark.parametrize(
    ("task_type", "role", "expected"),
    [
        ("standard", "architect", "generic"),
        ("bugfix", "debugger", "debugger"),
        ("standard", "cook", "cook"),
    ],
)
def test_a_piece_of_heavy_work_is_no_heavy_work(task_type, role, expected):
    """Who decides the structure first is not asked for each step; a role that was named stays."""
    whole = task("a", complexity="complex", task_type=task_type, specialist_type=role)
    assert {piece.specialist_type for piece in pieces(whole, 3)} == {expected}


@pytest.mark.parametrize(
    "description", ["Fit for the mill.\n- one\n- two", "Fit for the mill.", ""]
)
def test_a_part_says_what_the_whole_is_for(description):
    """Its agent sees neither the whole nor the other parts."""
    whole = task("a", description=description, context={"mill": "north"})
    piece = pieces(whole, 3)[0]
    assert description in piece.description
    assert piece.context["mill"] == "north"
    assert context_without_marks(piece) == {"mill": "north"}


def test_the_look_at_the_end_has_what_done_means():
    """And the smallest grain leaves it out."""
    whole = task("a", acceptance="It rings.")
    assert pieces(whole, 3)[-1].acceptance == "It rings."
    assert len(pieces(whole, 1)) == 2


def test_the_callers_own_way():
    """Titles or specs; it is told the task and the grain."""

    def halve(of, grain):
        return [f"{of.alias} {grain} left", {"title": "right", "acceptance": "good"}]

    left, right = pieces(task("a"), 2, halve)
    assert (left.title, right.title, right.acceptance) == ("a 2 left", "right", "good")
    assert right.dependencies == (Dependency("a_1", Outcome.DONE),)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("one", "should return a list"),
        (None, "should return a list"),
        ([], "cannot be planned"),
        ([{"name": "x"}], "cannot be planned"),
        ([7], "cannot be planned"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused(answer, problem):
    """With the argument that it came from."""
    with pytest.raises(InvalidInputError, match=f"by: .*{problem}"):
        pieces(task("a"), 3, lambda *_: answer)

"""A call that breaks on what was passed names the argument; every other error stays what it is."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import typing

import pytest

import vespera_orchestrator as vespera
from support.hostile_values import VALUES, Contrary, OddText, Unspeakable
from vespera_orchestrator._mistakes import listed, names_mistakes
from vespera_orchestrator.errors import InvalidInputError, TaskNotFoundError, VesperaError
from vespera_orchestrator.integrations.tools import Toolbox

KINDS = (
    vespera.Orchestrator,
    vespera.Artifacts,
    vespera.Documents,
    vespera.Worktrees,
    vespera.Work,
    vespera.TaskGraph,
    vespera.SharedContext,
    Toolbox,
)


@names_mistakes
def add(number: int, words: list[str], *, factor: float = 1.0) -> float:
    """Break on nearly everything."""
    return (number + len(",".join(words))) * factor


@names_mistakes
def divide(number: float, by: float) -> float:
    """Break on a value of the right kind."""
    return number / by


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("one", []), "number: 'one' should be int"),
        ((1, [1]), "words: 1 should be str"),
        ((1, None), "words: None should be list"),
        ((Unspeakable(), []), "number: .* should be int"),
    ],
)
def test_the_argument_that_does_not_fit_is_named(arguments, said):
    """With what the annotation asks for."""
    with pytest.raises(InvalidInputError, match=said):
        add(*arguments)


def test_a_right_call_is_left_alone():
    """Nothing is compared, and what works is not refused."""
    assert add(True, ("a", "b")) == 4


def test_an_error_that_no_argument_explains_is_passed_on():
    """It is a fault of ours, or of a function that the caller passed."""
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)


def test_the_error_of_a_callers_function_is_its_own(tmp_path):
    """Also where it is one that a wrong argument would cause."""

    def fail():
        raise TypeError("mine")

    with vespera.open(tmp_path) as orch:
        orch.initialize_session("x")
        orch.plan_task("A")
        work = orch.execute_task("a")
        with pytest.raises(TypeError, match="mine"):
            work.once("mail", fail)
        work.release()


@pytest.mark.parametrize("kind", KINDS)
def test_every_annotation_can_be_read(kind):
    """A mistaken call is compared with them, and they cost nothing until then."""
    names = [name for name in vars(kind) if not name.startswith("_")]
    functions = [getattr(kind, name) for name in names]
    calls = [each for each in functions if inspect.isfunction(each) or inspect.ismethod(each)]
    for function in calls:
        assert hasattr(function, "names_mistakes")
        typing.get_type_hints(function)


def test_an_error_can_always_be_shown():
    """Whatever is in its fields."""
    for error in (TaskNotFoundError(OddText("x")), InvalidInputError("x", OddText("y"))):
        assert str(error)
        assert repr(error)


def test_a_message_is_short_and_keeps_its_advice():
    """What is too long is cut in the middle, and no key is cut in two there."""
    key = "ghp_" + "a1B2" * 9
    for start in range(2400, 2520, 10):
        problem = f"{'a' * start} {key} {'b' * 9000}; write less"
        message = str(InvalidInputError("x", problem))
        assert len(message) < 5100
        assert message.endswith("; write less")
        assert "ghp_" not in message


@pytest.mark.parametrize("words", list(VALUES)[::5])
def test_work_that_comes_with_a_mistake_is_kept(tmp_path, words):
    """Whatever stands beside it."""
    with vespera.open(tmp_path, durability="normal") as orch:
        orch.initialize_session("x")
        orch.plan_task("A")
        work = orch.execute_task("a")
        with contextlib.suppress(VesperaError):
            work.complete(summary="s", detailed_work="two hours", file_paths=VALUES[words]())
        assert any(orch.artifacts.text(each) == "two hours" for each in orch.artifacts.list())


def test_a_list_without_end_is_refused():
    """So is one that breaks off."""
    with pytest.raises(InvalidInputError, match="more than 10 items"):
        listed("tags", itertools.repeat("x"), most=10)
    with pytest.raises(InvalidInputError, match=r"going through .* failed: RuntimeError"):
        listed("tags", Contrary())

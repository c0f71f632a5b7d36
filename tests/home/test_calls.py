"""Calls that do not fit the signature: a task under another name, and words that no call has."""

import inspect
import typing

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import InvalidInputError
from vespera_orchestrator.home.calls import explains_calls, meant_name
from vespera_orchestrator.integrations.tools import Toolbox

ROOMS = (
    vespera.Orchestrator,
    vespera.Artifacts,
    vespera.Worktrees,
    vespera.Documents,
    vespera.Work,
)
OLDER_NAMES = {"execute_task", "complete_task"}
"""The calls whose name for a task callers have relied on from the beginning."""


def methods():
    """Yield every public call, with its parameters."""
    for room in ROOMS:
        for name, method in vars(room).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                yield f"{room.__name__}.{name}", inspect.signature(method).parameters


@pytest.fixture
def orch():
    """Return a session with a small tree."""
    with vespera.open(store="memory:") as orch:
        orch.initialize_session("Make tea")
        orch.plan_tasks([{"title": "Tea", "children": [{"title": "Water"}, {"title": "Leaves"}]}])
        yield orch


@pytest.mark.parametrize(
    ("name", "names", "meant"),
    [
        ("task", ("task",), "task"),
        ("task", ("self", "task_id"), "task_id"),
        ("task_id", ("task", "agent"), "task"),
        ("parent", ("title", "parent_task_id"), "parent_task_id"),
        ("parent_id", ("parent_task_id",), "parent_task_id"),
        ("task", ("parent_task_id",), "task"),
        ("parent", ("task",), "parent"),
        ("agent", ("task",), "agent"),
    ],
)
def test_which_argument_a_caller_means(name, names, meant):
    """A task under each of its names; never the one above it instead."""
    assert meant_name(name, names) == meant


def test_one_name_for_a_task_in_every_call():
    """``task``, and ``parent_task_id`` for the one above; two calls keep their older name."""
    others = {"task_id", "task_ref", "parent", "parent_task", "parent_id", "task_ref_or_name"}
    odd = {call for call, names in methods() if others & names.keys()}
    assert odd == {f"Orchestrator.{name}" for name in OLDER_NAMES}


def test_each_call_understands_the_other_names(orch):
    """Of the façade, of its rooms and of the tools."""
    assert orch.plan_task("Cup", parent="tea").parent_task_id == orch.get_task("tea").id
    assert orch.query_tasks(parent_task="tea") == orch.query_tasks(parent_task_id="tea")
    work = orch.execute_task(task="water")
    assert orch.checkpoint(task_id="water", state={"at": 1}).state == {"at": 1}
    saved = orch.artifacts.save("Note", "hot", task_id="water")
    assert saved.task_id == work.task.id
    done = orch.complete_task(task="water", summary="s", detailed_work="d")
    assert done.status == "completed"
    toolbox = Toolbox(orch, include="all")
    assert "leaves" in toolbox.answer("why", {"task_id": "leaves"}).text
    twice = toolbox.answer("why", {"task_id": "leaves", "task": "tea"})
    assert twice.text.startswith("task: orchestrator_why got it twice")


def test_an_answer_may_have_an_output_of_such_a_name(orch):
    """Only a call that does not fit is read again."""
    orch.plan_task("Sugar?", question="Sugar?")
    answered = orch.answer("sugar", task_id="t_1", parent="none")
    assert answered.outputs == {"task_id": "t_1", "parent": "none"}


WRONG = {
    "an unknown word": (lambda orch: orch.plan_task("A", depends_on=["tea"]), "use dependencies=…"),
    "a task where the one above is asked for": (
        lambda orch: orch.query_tasks(task="tea"),
        "use parent_task_id=…",
    ),
    "nothing like it": (
        lambda orch: orch.why("tea", colour="red"),
        "why() has no such argument; its arguments are task",
    ),
    "twice, under two names": (
        lambda orch: orch.execute_task(task="tea", task_id="water"),
        "task_id: execute_task() got it twice, also as task; use task_id=…",
    ),
    "twice, by position too": (
        lambda orch: orch.get_task("tea", task="tea"),
        "got it twice, by position and by name",
    ),
    "none": (lambda orch: orch.snooze_task(), "task: snooze_task() needs it: task=…"),
    "none, beside outputs": (lambda orch: orch.answer(agreed=True), "answer() needs it: task=…"),
    "too many": (lambda orch: orch.next_step(1), "takes fewer by position; it takes none"),
    "in a room": (lambda orch: orch.worktrees.remove(), "remove() needs it: worktree=…"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_word_that_no_call_has_is_answered_with_the_right_one(orch, mistake):
    """Instead of Python's own error, which does not name it; nothing is written."""
    call, said = WRONG[mistake]
    before = orch._store.last_seq()
    with pytest.raises(InvalidInputError) as caught:
        call(orch)
    assert said in str(caught.value)
    assert caught.value.__cause__ is None
    assert orch._store.last_seq() == before


def test_a_type_error_of_the_method_itself_is_not_touched():
    """Nor is its place: it is a mistake further down."""

    @explains_calls
    class Room:
        def add(self, task: str) -> str:
            return task + 1

    with pytest.raises(TypeError, match="concatenate"):
        Room().add("a")


def test_any_number_of_values_is_no_mistake():
    """A method that takes as many as one likes is told what else is wrong with the call."""

    @explains_calls
    class Room:
        def call(self, first, *others, mode="x"):
            return first, others, mode

    assert Room().call(1, 2, 3, mode="y") == (1, (2, 3), "y")
    with pytest.raises(InvalidInputError, match="mood: call") as caught:
        Room().call(1, 2, 3, mood="y")
    assert caught.value.name == "mood"


def test_what_only_python_knows_is_passed_on_in_its_words():
    """An argument that goes by position only, passed by its name: no other advice fits."""

    @explains_calls
    class Kettle:
        def boil(self, litres, /):
            return litres

    with pytest.raises(InvalidInputError, match="positional-only"):
        Kettle().boil(litres=1)


def test_signatures_and_hints_are_the_written_ones():
    """For editors, hosts that make tools of methods, and readers."""
    assert list(inspect.signature(vespera.Orchestrator.why).parameters) == ["self", "task"]
    assert typing.get_type_hints(vespera.Orchestrator.why)["return"] is vespera.Why

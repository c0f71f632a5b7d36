"""Taking a task apart, with the store behind it, and taking that back."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import InvalidInputError, PlanError, TransitionError


@pytest.fixture
def orch(tmp_path):
    """The façade in a session."""
    with vespera.open(tmp_path) as opened:
        opened.initialize_session("Goal")
        yield opened


LISTED = "- boil\n- pour\n- drink\n- wash up"


def aliases(tasks):
    """Return the aliases of tasks."""
    return [task.alias for task in tasks]


def test_a_heavy_task_becomes_small_ones_and_is_done_with_them(orch):
    """One is ready at a time; in the end the results are together for the task itself."""
    orch.plan_task("Tea", LISTED, complexity="complex")
    steps = orch.simplify("tea", grain=4)
    assert aliases(steps) == ["tea_1", "tea_2", "tea_3", "tea_4"]
    for step in steps:
        assert aliases(orch.ready_tasks()) == [step.alias]
        orch.complete_task(step, summary=f"{step.title} done", detailed_work="It went well.")
    assert aliases(orch.ready_tasks()) == ["tea"]
    assert len(orch.artifacts.list(kind="synthesis")) == 1
    assert orch.complete_task("tea", summary="drunk", detailed_work="all").status == "completed"


def test_pieces_that_were_taken_back_are_no_news(orch):
    """They are gone, and have no name: what else has happened is told instead."""
    orch.plan_tasks([{"title": "Tea"}, {"title": "Cake"}])
    orch.resume()
    orch.simplify("tea", grain=3)
    orch.undo_simplify("tea")
    assert "Nothing has changed since you looked" in str(orch.resume())
    orch.cancel_task("cake")
    assert "cake cancelled" in str(orch.resume())


@pytest.mark.parametrize("how", ["planned", "put off"])
def test_the_pieces_rest_and_are_for_whom_the_task_is(orch, how):
    """Nobody is handed a piece of what rests, or of what another agent is to do."""
    rest = {"not_before": "in 3 days"} if how == "planned" else {}
    orch.plan_task("Call", LISTED, **rest)
    orch.plan_task("Sign", LISTED, for_agent="ada")
    if how == "put off":
        orch.snooze_task("call", "in 3 days")
    whole = orch.get_task("call")
    for piece in orch.simplify("call"):
        assert (piece.asleep, piece.not_before) == (True, whole.not_before)
    assert {piece.for_agent for piece in orch.simplify("sign")} == {"ada"}
    with pytest.raises(vespera.NothingReadyError):
        orch.execute_task(agent="bob")
    orch.snooze_task("call", None)
    assert orch.execute_task(agent="bob").task.alias == "call_1"


@pytest.mark.parametrize("listed", [LISTED, "just do it"])
def test_what_was_taken_back_is_planned_again(orch, listed):
    """A piece that was begun stays; the next step plans the others before it is called done."""
    orch.plan_task("Tea", listed)
    first, *others = orch.simplify("tea")
    work = orch.execute_task(first)
    orch.undo_simplify("tea")
    work.complete(summary="s", detailed_work="d")
    step = orch.next_step()
    assert step.call == "orch.simplify('tea')"
    assert f"no task yet: {others[0].title!r}" in step.sentence
    pieces = orch.simplify("tea")
    assert [piece.title for piece in pieces] == [first.title, *(each.title for each in others)]
    assert orch.simplify("tea") == pieces
    assert orch.next_step().call == f"orch.execute_task({pieces[1].alias!r})"
    for piece in pieces[1:]:
        orch.complete_task(piece, summary="s", detailed_work="d")
    assert orch.next_step().action == "execute"


def test_the_same_call_gives_the_same_tasks(orch):
    """Another grain takes the others back, as long as nobody has begun."""
    orch.plan_task("Tea", LISTED)
    steps = orch.simplify("tea", grain=2)
    assert orch.simplify("tea", grain=2) == steps
    finer = orch.simplify("tea", grain=3)
    assert [step.title for step in finer] == ["boil", "pour", "drink", "wash up"]
    assert len(orch.query_tasks(parent_task_id="tea")) == 4
    orch.execute_task("tea_1")
    assert aliases(orch.simplify("tea", grain=1)) == aliases(finer)


def test_one_call_takes_it_back(orch):
    """The task is ready again, as before; what was begun stays."""
    before = orch.plan_task("Tea", LISTED)
    orch.simplify("tea")
    assert orch.undo_simplify("tea").is_ready
    assert orch.query_tasks(include_archived=True) == [orch.get_task("tea")]
    assert orch.undo_simplify("tea").is_ready
    orch.simplify("tea")
    orch.execute_task("tea_1").release("not today")
    assert not orch.undo_simplify("tea").is_ready
    assert aliases(orch.query_tasks(parent_task_id="tea")) == ["tea_1"]
    assert orch.check().findings == ()
    assert before.title == "Tea"


def test_the_first_piece_waits_for_what_the_task_waits_for(orch):
    """Subtasks do not do so by themselves."""
    orch.plan_task("Water")
    orch.plan_task("Tea", LISTED, dependencies=["water"], condition="water.success")
    orch.simplify("tea")
    assert aliases(orch.ready_tasks()) == ["water"]
    orch.complete_task("water", summary="s", detailed_work="d")
    assert aliases(orch.ready_tasks()) == ["tea_1"]


def test_a_piece_that_is_not_needed_does_not_hold_up_the_next(orch):
    """It is cancelled, and the others go on."""
    orch.plan_task("Tea", LISTED)
    orch.simplify("tea")
    orch.cancel_task("tea_1", "the water is hot")
    assert aliases(orch.ready_tasks()) == ["tea_2"]


def test_an_alias_that_is_taken_is_no_hindrance(orch):
    """The pieces get other names."""
    orch.plan_task("Tea", LISTED)
    orch.plan_task("Somebody else's", alias="tea_1")
    steps = orch.simplify("tea")
    assert [step.title for step in steps] == ["boil", "pour", "drink", "wash up"]
    assert orch.simplify("tea") == steps


@pytest.mark.parametrize("grain", [0, 6, "3", True, 2.5])
def test_a_grain_is_a_number_from_one_to_five(orch, grain):
    """Anything else is refused, and nothing is planned."""
    orch.plan_task("Tea", LISTED)
    with pytest.raises(InvalidInputError, match=r"grain: .* whole number from 1 to 5"):
        orch.simplify("tea", grain=grain)
    assert orch.query_tasks(parent_task_id="tea") == []


def test_what_has_ended_or_is_apart_already_is_not_taken_apart(orch):
    """The error says what to do instead."""
    orch.plan_tasks([{"title": "Whole", "children": [{"title": "Part"}]}])
    with pytest.raises(TransitionError, match="has subtasks already"):
        orch.simplify("whole")
    orch.complete_task("part", summary="s", detailed_work="d")
    with pytest.raises(TransitionError, match="nothing left to take apart"):
        orch.simplify("part")


def test_a_question_is_not_taken_apart(orch):
    """Nobody works on it; and whoever plans something below it reads its alias."""
    orch.plan_task("Ask Ada", question="May it go out?")
    with pytest.raises(TransitionError, match=r"it waits for the world.*orch.why\('ask_ada'\)"):
        orch.simplify("ask_ada")
    with pytest.raises(PlanError, match="'ask_ada' waits for an answer or a signal"):
        orch.plan_task("Part", parent_task_id=orch.get_task("ask_ada"))


def test_the_hosts_own_way(orch):
    """A callable decides; an error of its own plans nothing."""
    orch.plan_task("Tea")
    steps = orch.simplify("tea", by=lambda task, _: [f"Think of {task.title}", "Drink it"])
    assert [step.title for step in steps] == ["Think of Tea", "Drink it"]
    orch.plan_task("Coffee")
    with pytest.raises(ZeroDivisionError):
        orch.simplify("coffee", by=lambda *_: [1 / 0])
    assert orch.query_tasks(parent_task_id="coffee") == []


@pytest.mark.parametrize(
    "other", [{"dependencies": ["tea_2"]}, {"parent_task_id": "tea_2"}], ids=["waits", "part"]
)
@pytest.mark.parametrize("whole", ["pending", "cancelled"])
def test_what_others_build_on_is_not_taken_back(orch, other, whole):
    """All pieces stay as they are, also those that nobody needs; the error says whose it is."""
    orch.plan_task("Tea", LISTED)
    orch.simplify("tea")
    orch.plan_task("Cake", **other)
    if whole == "cancelled":
        orch.cancel_task("tea")
    before = orch.query_tasks()
    for call in (lambda: orch.undo_simplify("tea"), lambda: orch.simplify("tea", grain=1)):
        with pytest.raises(TransitionError):
            call()
        assert orch.query_tasks() == before
    with pytest.raises(TransitionError, match=r"cake (depends on|is a part of) it"):
        orch.undo_simplify("tea")


def test_a_piece_begins_with_its_own_part(orch):
    """Its description is that of the whole, whose first part may be done."""
    orch.plan_task("Lead", "- find the story\n- write it\n- cut it\n- send it", complexity="hard")
    finish_piece, other = orch.simplify("lead", grain=1)
    orch.complete_task(finish_piece, summary="s", detailed_work="d")
    orch.set_energy("low")
    gentle = str(orch.next_step())
    orch.set_energy("normal")
    for step in (gentle, str(orch.next_step())):
        assert other.title in step
        assert "It begins: cut it" in step
        assert "find the story" not in step.partition("start")[2]


def test_an_answered_piece_counts_as_begun(orch):
    """A person may answer a piece instead of having it done; that is not thrown away."""
    orch.plan_task("Tea", LISTED)
    orch.simplify("tea")
    orch.answer("tea_1", "boiled already")
    orch.undo_simplify("tea")
    assert aliases(orch.query_tasks(parent_task_id="tea")) == ["tea_1"]


def test_pieces_find_free_aliases(orch):
    """However many of those that they would have are taken."""
    orch.plan_tasks([{"title": "Chapter"}, {"title": "Chapter 1"}, {"title": "Chapter 2"}])
    pieces = orch.simplify("chapter")
    assert len(pieces) == 3
    assert not {piece.alias for piece in pieces} & {"chapter_1", "chapter_2"}

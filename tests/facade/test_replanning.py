"""A plan that is handed in again, and plans that are changed."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from vespera_orchestrator import (
    AliasTakenError,
    CycleError,
    InvalidInputError,
    TransitionError,
    UnknownDependencyError,
)

PLAN = """
- title: Design
  priority: 2
- title: Build it
  alias: build
  dependencies: [design]
  due_date: 2026-03-02
  children:
    - title: Walls
    - title: Roof
      dependencies: [walls]
- title: Move in
  dependencies: [build]
  condition: build.success
"""


@pytest.fixture
def orch(tmp_path, clock):
    """An orchestrator with a session in memory."""
    with vespera.open(tmp_path, store="memory:", clock=clock) as opened:
        opened.initialize_session("a house")
        yield opened


def everything(orch):
    """All that is stored about tasks."""
    return orch.query_tasks(limit=None, include_archived=True), orch._store.last_seq()


@pytest.mark.parametrize("existing", ["keep", "update"])
def test_the_same_plan_again_whatever_became_of_the_whole(orch, existing):
    """The parts of what is completed, cancelled or skipped are its parts already."""
    plan = [
        {"title": "Dig", "children": [{"title": "Hole"}]},
        {"title": "Pour", "children": [{"title": "Mix"}]},
        {"title": "Roof", "dependencies": ["pour"], "children": [{"title": "Tiles"}]},
    ]
    orch.plan_tasks(plan)
    for alias in ("hole", "dig"):
        orch.complete_task(alias, summary="done", detailed_work="It is deep.")
    orch.cancel_task("pour", "frost")
    before = everything(orch)
    assert str(orch.plan_tasks(plan, existing=existing)) == "6 as before"
    assert everything(orch) == before


def test_the_same_plan_again_leaves_a_rest_alone(orch):
    """What was put off stays so, with the due date that moved with it; another date is another."""
    plan = [{"title": "Call", "due_date": "2031-03-03"}]
    orch.plan_tasks(plan)
    orch.snooze_task("call", "2031-03-10")
    before = everything(orch)
    assert str(orch.plan_tasks(plan, existing="update")) == "1 as before"
    assert everything(orch) == before
    plan[0]["due_date"] = "2031-03-20"
    assert str(orch.plan_tasks(plan, existing="update")) == "1 changed: call (due_date)"
    assert orch.get_task("call").due_day == "2031-03-20"


def test_dates_in_words_are_not_read_anew(orch, clock):
    """What the plan says has not changed, so the days stay those that were meant."""
    plan = [{"title": "Call", "due_date": "in 5 days", "not_before": "tomorrow", "priority": 1}]
    (call,) = orch.plan_tasks(plan)
    clock.advance(days=2)
    before = everything(orch)
    assert str(orch.plan_tasks(plan, existing="update")) == "1 as before"
    assert everything(orch) == before
    plan[0]["priority"] = 2
    assert str(orch.plan_tasks(plan, existing="update")) == "1 changed: call (priority)"
    plan[0]["due_date"] = "in 6 days"
    assert str(orch.plan_tasks(plan, existing="update")) == "1 changed: call (due_date)"
    after = orch.get_task("call")
    assert (after.due_at - call.due_at, after.not_before) == (timedelta(days=3), call.not_before)


@pytest.mark.parametrize("written", ["tomorrow", "2031-03-04", date(2031, 3, 4), timedelta(1)])
def test_a_plan_again_does_not_undo_what_was_put_off(orch, written):
    """It says what it said before; when it says something else, that counts."""
    plan = [{"title": "Call", "not_before": written}]
    orch.plan_tasks(plan)
    orch.snooze_task("call", "2032-01-01")
    before = everything(orch)
    assert str(orch.plan_tasks(plan, existing="update")) == "1 as before"
    assert everything(orch) == before
    plan[0]["not_before"] = "2031-06-01"
    assert str(orch.plan_tasks(plan, existing="update")) == "1 changed: call (not_before)"
    orch.snooze_task("call", None)
    assert str(orch.plan_tasks(plan, existing="update")) == "1 as before"
    assert not orch.get_task("call").asleep
    for other in ("2031-07-01", None):
        plan[0]["not_before"] = other
        assert str(orch.plan_tasks(plan, existing="update")) == "1 changed: call (not_before)"
    orch.snooze_task("call", "2032-01-01")
    assert str(orch.plan_tasks(plan, existing="update")) == "1 as before"


def test_a_date_that_was_changed_by_hand_is_that_of_the_plan_again(orch):
    """As every other field that `update_task` has changed."""
    plan = [{"title": "Call", "due_date": "2031-03-03"}]
    orch.plan_tasks(plan)
    orch.update_task("call", due_date="2031-05-05")
    assert str(orch.plan_tasks(plan, existing="update")) == "1 changed: call (due_date)"
    assert orch.get_task("call").due_day == "2031-03-03"
    assert str(orch.history("call")).count("3 March 2031") == 1


def test_records_of_a_plan_keep_a_rest_too(orch):
    """Their dates are days and moments, which mean the same each time."""
    plan = [vespera.TaskDraft(title="Call", not_before=datetime(2031, 3, 4, tzinfo=UTC))]
    orch.plan_tasks(plan)
    orch.snooze_task("call", "2032-01-01")
    assert str(orch.plan_tasks(plan, existing="update")) == "1 as before"


def test_a_plan_takes_up_what_was_skipped(orch):
    """The plan that lets it wait for something else is enough: nothing has to be retried first."""
    plan = [
        {"title": "Ask", "question": "Movers?"},
        {"title": "Movers", "dependencies": ["ask"], "condition": "ask.outputs.hire"},
        {"title": "Friends", "dependencies": ["ask"], "condition": "not ask.outputs.hire"},
        {"title": "Move", "dependencies": ["movers", "friends"]},
    ]
    orch.plan_tasks(plan)
    orch.answer("ask", hire=False)
    with pytest.raises(TransitionError, match=r"orch\.update_task\('move', dependencies=…\)"):
        orch.retry_task("move")
    plan[3]["dependencies"] = [{"task": each, "on": "done"} for each in ("movers", "friends")]
    assert (
        str(orch.plan_tasks(plan, existing="update"))
        == "1 changed: move (dependencies); 3 as before"
    )
    assert str(orch.why("move")) == "move is pending: waits for the end of friends (pending)"


def test_a_plan_again_names_what_is_archived(orch):
    """It counts as there, and what waits for its success is skipped: both are said."""
    orch.plan_tasks([{"title": "Dig"}, {"title": "Pour"}])
    orch.cancel_task("dig", "a pipe")
    orch.delete_task("dig")
    roof = {"title": "Roof", "dependencies": ["dig"]}
    planned = orch.plan_tasks([{"title": "Dig"}, {"title": "Pour"}, roof], existing="keep")
    assert str(planned) == (
        "1 new; 2 as before; dig is archived (cancelled); "
        "roof is skipped: waits for success of dig, which is cancelled and archived"
    )
    assert ([task.alias for task in planned.archived], planned.skipped) == (["dig"], planned.new)


def test_null_in_a_plan_that_updates_clears(orch):
    """A key without a value says that there is none; a key that is left out says nothing."""
    full = {
        "title": "a",
        "description": "words",
        "acceptance": "it holds",
        "dependencies": ["b"],
        "condition": "b.success",
        "parent_task_id": "p",
        "task_type": "research",
        "specialist_type": "gardener",
        "estimated_effort": "2 hours",
        "due_date": "2030-01-01",
        "not_before": "2029-01-01",
        "max_attempts": 7,
        "retry_after": "1 min",
        "time_limit": "1 hour",
        "stalled_after": "1 hour",
        "context": {"x": 1},
        "for_agent": "ada",
    }
    orch.plan_tasks([{"title": "b"}, {"title": "p"}, full])
    bare = orch.plan_task("bare")
    assert str(orch.plan_tasks([{"title": "a"}], existing="update")) == "1 as before"
    cleared = {name: None for name in full if name != "title"}
    orch.plan_tasks([{"title": "a", **cleared}], existing="update")
    task = orch.get_task("a")
    same = full.keys() & {field.name for field in attrs.fields(vespera.Task)} - {"title"}
    for name in same | {"due_at", "due_day", "asleep"}:
        assert getattr(task, name) == getattr(bare, name), name
    assert (task.retry_after_s, task.time_limit_s, task.stalled_after_s) == (None, None, None)
    assert str(orch.plan_tasks([{"title": "a", **cleared}], existing="update")) == "1 as before"


def test_a_child_without_a_parent_is_a_child(orch):
    """Null for the parent does not take it out of the task that it is written below."""
    children = [{"title": "c", "parent_task_id": None}]
    orch.plan_tasks([{"title": "p", "children": children}])
    assert orch.get_task("c").parent_task_id == orch.get_task("p").id


@pytest.mark.parametrize("existing", ["keep", "update"])
def test_the_same_plan_again_changes_nothing(orch, existing):
    """Not a row, not an event; each task comes back in its place."""
    first = orch.plan_tasks(PLAN)
    assert str(first) == "5 new"
    before = everything(orch)
    again = orch.plan_tasks(PLAN, existing=existing)
    assert list(again) == list(first)
    assert (again.new, again.changed, str(again)) == ([], {}, "5 as before")
    assert everything(orch) == before


def test_only_what_the_plan_says_differently_changes(orch):
    """And it is said in words: what is new, what has changed, and how much stayed."""
    orch.plan_tasks(PLAN)
    orch.update_task("design", description="by a person")
    edited = PLAN.replace("priority: 2", "priority: 5").replace("[walls]", "[walls, paint]")
    edited = edited.replace("2026-03-02", "2026-04-01") + "- title: Paint\n"
    again = orch.plan_tasks(edited, existing="update")
    assert str(again) == (
        "1 new; 3 changed: design (priority), build (due_date), roof (dependencies); 2 as before"
    )
    assert orch.get_task("design").description == "by a person"
    assert orch.get_task("build").due_day == "2026-04-01"
    assert {task.alias for task in orch.ready_tasks()} == {"design", "walls", "paint"}
    assert orch.check().findings == ()


def test_kept_tasks_stay_whatever_became_of_them(orch):
    """Work goes on beside a plan that is handed in again."""
    orch.plan_tasks(PLAN)
    orch.complete_task("design", summary="done", detailed_work="a drawing")
    orch.cancel_task("move_in")
    work = orch.execute_task("walls")
    again = orch.plan_tasks(PLAN + "- title: Garden\n", existing="keep")
    assert [task.alias for task in again.new] == ["garden"]
    assert [str(task.status) for task in again] == [
        "completed",
        "pending",
        "in_progress",
        "pending",
        "cancelled",
        "pending",
    ]
    work.complete(summary="done", detailed_work="bricks")


def test_what_work_waits_for_cannot_change_under_it(orch):
    """The whole plan is refused, with the place, and nothing is written."""
    orch.plan_tasks(PLAN)
    orch.execute_task("design")
    before = everything(orch)
    edited = PLAN.replace("priority: 2", "dependencies: [permit]") + "- title: Permit\n"
    with pytest.raises(TransitionError, match=r"design.*release it first"):
        orch.plan_tasks(edited, existing="update")
    assert everything(orch) == before


def test_a_plan_is_refused_where_its_alias_is_taken(orch):
    """By default; the error names the way out. A title gets another alias."""
    orch.plan_tasks(PLAN)
    with pytest.raises(AliasTakenError, match='existing="keep"'):
        orch.plan_tasks([{"title": "Other", "alias": "build"}])
    assert orch.plan_tasks([{"title": "Design"}])[0].alias == "design_2"
    with pytest.raises(InvalidInputError, match="existing"):
        orch.plan_tasks(PLAN, existing="merge")


def test_an_alias_twice_in_one_plan_is_a_mistake(orch):
    """Also where it means a task that is there already."""
    orch.plan_task("A")
    twice = [{"title": "One", "alias": "a"}, {"title": "Two", "alias": "a"}]
    with pytest.raises(AliasTakenError):
        orch.plan_tasks(twice, existing="update")


def test_drafts_change_what_they_say(orch):
    """A record has no keys that are left out: what differs from an empty one is meant."""
    orch.plan_task("A", "old", priority=3)
    draft = vespera.TaskDraft(title="A", description="new")
    again = orch.plan_tasks([draft], existing="update")
    assert again.changed == {"a": ("description",)}
    assert again[0].priority == 3


@pytest.mark.parametrize("existing", ["keep", "update"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Fix the bug in C++", "Fix the bug in C#"),
        ("🎉", "🚀"),
        (
            "Write the documentation of the payment module, part one",
            "Write the documentation of the payment module, part two",
        ),
    ],
)
def test_other_titles_with_the_same_alias_are_other_tasks(orch, before, after, existing):
    """Nothing is dropped, and nobody's finished work gets another name."""
    (done,) = orch.plan_tasks([before_plan := {"title": before}])
    orch.complete_task(done, summary="s", detailed_work="d")
    planned = orch.plan_tasks([{"title": after}], existing=existing)
    assert [task.title for task in planned.new] == [after]
    assert orch.get_task(done.id).title == before
    assert not orch.plan_tasks([{"title": after}, before_plan], existing=existing).new
    assert len(orch.query_tasks()) == 2


def test_punctuation_makes_no_other_task(orch):
    """Nor do the case of letters, and a title that was changed since."""
    orch.plan_tasks([{"title": "Buy milk"}, {"title": "Buy tea"}])
    orch.update_task("buy_tea", title="Get some tea")
    planned = orch.plan_tasks([{"title": "Buy milk!"}, {"title": "Buy tea"}], existing="update")
    assert (list(planned.new), sorted(planned.changed)) == ([], ["buy_milk", "buy_tea"])


def test_the_answer_travels(orch):
    """It is a list, and can be pickled with what it says."""
    planned = orch.plan_tasks(PLAN)
    copy = pickle.loads(pickle.dumps(planned))
    assert copy == planned
    assert str(copy) == str(planned)


# --- one task -----------------------------------------------------------------


def test_every_field_of_planning_can_be_changed_and_cleared(orch):
    """Each comes back as planning would have made it; an empty text or list clears it."""
    plain = orch.plan_task("A")
    orch.plan_tasks([{"title": "B"}, {"title": "P"}])
    changed = orch.update_task(
        "a",
        title="New",
        dependencies=["b"],
        condition="b.success",
        parent_task_id="p",
        alias="first",
        complexity="large",
        estimated_effort="2 hours",
        due_date=date(2026, 3, 2),
        not_before="2026-03-01",
        max_attempts=1,
        question="Shall we?",
        specialist_type="tester",
        acceptance="it is",
        context={"k": 1},
    )
    again = orch.get_task("first")
    assert changed == again
    assert again.due_at == datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert (again.parent_task_id, again.max_attempts) == (orch.get_task("p").id, 1)
    assert (again.question, again.condition) == ("Shall we?", "b.success")
    assert orch.update_task("first", question="", signal="go").signal == "go"
    cleared = orch.update_task(
        "first",
        title="A",
        dependencies=[],
        condition="",
        parent_task_id="",
        alias="a",
        complexity="",
        estimated_effort="",
        due_date="",
        not_before="",
        max_attempts=3,
        question="",
        signal="",
        specialist_type="",
        acceptance="",
        context={},
    )
    beside = {"updated_at", "zone", "specialist_type", "urgency", "blockers"}
    fields = plain.to_dict().keys() - beside
    assert {name: cleared.to_dict()[name] for name in fields} == {
        name: plain.to_dict()[name] for name in fields
    }
    assert cleared.is_ready
    assert orch.check().findings == ()


def test_changes_that_are_refused_change_nothing(orch):
    """Each with an error of its kind."""
    orch.plan_tasks([{"title": "A"}, {"title": "B", "dependencies": ["a"]}])
    before = everything(orch)
    for error, changes in (
        (CycleError, {"dependencies": ["b"]}),
        (CycleError, {"parent_task_id": "a"}),
        (UnknownDependencyError, {"dependencies": ["none"]}),
        (AliasTakenError, {"alias": "b"}),
        (InvalidInputError, {"max_attempts": 0}),
        (InvalidInputError, {"title": ""}),
        (vespera.ConditionError, {"condition": "b.success"}),
    ):
        with pytest.raises(error):
            orch.update_task("a", **changes)
    assert everything(orch) == before


# --- changed is as good as planned so -------------------------------------------

NAMES = "abcdef"
outcomes = st.sampled_from(["success", "done", "failure"])


@st.composite
def plans(draw):
    """A plan of the same tasks, each saying all about what it waits for; now and then a circle."""
    order = draw(st.permutations(NAMES))
    specs = []
    for position, name in enumerate(order):
        earlier = order if draw(st.integers(0, 40)) == 40 else order[:position]
        needs = {}
        if earlier:
            needs = draw(st.dictionaries(st.sampled_from(earlier), outcomes, max_size=2))
        names = sorted(needs)
        spec = {
            "title": name,
            "dependencies": [{"task": need, "on": on} for need, on in needs.items()],
            "condition": f"{names[0]}.success" if names and draw(st.booleans()) else "",
            "parent_task_id": "",
            "due_date": draw(st.sampled_from(["", "2026-01-02", "2026-09-01"])),
            "question": draw(st.sampled_from(["", "", "", "Well?"])),
        }
        specs.append(spec)
    for position, spec in enumerate(specs):
        parents = [other["title"] for other in specs[position + 1 :] if not other["question"]]
        if parents and draw(st.integers(0, 2)) == 0:
            spec["parent_task_id"] = draw(st.sampled_from(parents))
    return specs


def planned(orch, specs, existing="error"):
    """Plan, and return what the tasks look like; ``None`` if the plan is refused."""
    try:
        orch.plan_tasks(specs, existing=existing)
    except (vespera.PlanError, TransitionError):
        return None
    tasks = orch.query_tasks(limit=None)
    aliases = {task.id: task.alias for task in tasks}
    with orch._store._read() as tx:
        needed_by = dict(tx.execute("SELECT id, needed_by FROM tasks").fetchall())
    return {
        task.alias: (
            str(task.status),
            task.blockers,
            aliases.get(task.parent_task_id),
            {(aliases[edge.task], str(edge.on)) for edge in task.dependencies},
            {name: aliases[task_id] for name, task_id in task.condition_names.items()},
            task.condition,
            task.due_day,
            needed_by[task.id],
        )
        for task in tasks
    }


@given(before=plans(), after=plans())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_changed_plan_is_as_if_planned_so(tmp_path_factory, before, after):
    """Whatever became of the edges, parents and dates: no trace is left of how it was before."""
    folder = tmp_path_factory.mktemp("two")
    with vespera.open(folder, store="memory:") as one, vespera.open(folder, store="memory:") as two:
        for each in (one, two):
            each.initialize_session("the same")
        if planned(one, before) is None:
            one.plan_tasks([{"title": name} for name in NAMES])
        assert planned(one, after, "update") == planned(two, after)
        assert one.check(contents=False).findings == ()


def test_a_title_planned_again_says_so(tmp_path, caplog):
    """There are two tasks then, which somebody may not have meant."""
    with vespera.open(tmp_path, store="memory:") as orch:
        orch.initialize_session("twice")
        orch.plan_task("Paint the wall")
        assert not caplog.messages
        assert orch.plan_task("Paint the wall").alias == "paint_the_wall_2"
        (message,) = caplog.messages
        assert "paint_the_wall_2 (beside paint_the_wall)" in message
        assert "existing='keep'" in message
        planned = orch.plan_tasks([{"title": "Paint the wall"}, {"title": "Rest"}])
        assert planned.renamed == {"paint_the_wall_3": "paint_the_wall"}
        assert str(planned) == "2 new; paint_the_wall_3 is a second paint_the_wall"
        orch.plan_tasks([{"title": "Paint the wall"}], existing="keep")
        assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    ("plan", "place"),
    [
        ("- title: New\n- title: Build\n  dependencies: [a]", "task 2 (Build), line 2, column 3: "),
        ("- title: New\n  parent_task_id: gone", "task 1 (New), line 1, column 3: "),
        (
            "- title: A\n  dependencies: [new]\n- title: New\n  dependencies: [a]",
            "task 1 (A), line 1, column 3: ",
        ),
        ("- title: Whole\n  question: why?", "task 1 (Whole), line 1, column 3: "),
    ],
)
def test_a_mistake_against_what_is_there_names_its_place(orch, plan, place):
    """As every other mistake of a plan does."""
    orch.plan_tasks(
        [
            {"title": "A"},
            {"title": "Build"},
            {"title": "Gone"},
            {"title": "Whole", "children": [{"title": "Part"}]},
        ]
    )
    orch.execute_task("build")
    orch.cancel_task("gone")
    before = everything(orch)
    with pytest.raises(vespera.VesperaError) as caught:
        orch.plan_tasks(plan, existing="update")
    assert str(caught.value).startswith(place)
    assert caught.value.place == place.removesuffix(": ")
    assert everything(orch) == before


def test_a_taken_alias_names_its_place(orch):
    """In a plan; where one task is planned, there is only one place."""
    orch.plan_task("Build")
    with pytest.raises(AliasTakenError, match=r"^task 2 \(B\), line 2, column 3: alias 'build'"):
        orch.plan_tasks("- title: A\n- title: B\n  alias: build")
    with pytest.raises(AliasTakenError, match=r"^alias 'build'") as caught:
        orch.plan_task("B", alias="build")
    assert pickle.loads(pickle.dumps(caught.value)).place == ""
    other = orch.plan_task("Other")
    with pytest.raises(AliasTakenError, match=r"^alias 'build'"):
        orch.update_task(other, alias="build")


def test_half_a_character_in_a_dependency_has_its_place(orch):
    """An escape of JSON may be half of a pair."""
    plan = '[{"title": "A"},\n {"title": "B", "dependencies": ["A", {"task": "x\\ud83d"}]}]'
    with pytest.raises(vespera.PlanError, match=r"line 2, column 17: dependencies: holds half"):
        orch.plan_tasks(plan)


def test_a_circle_and_a_name_in_other_letters_have_their_place_and_remedy(orch):
    """A person mends a plan from its lines."""
    plan = (
        "- {title: a, dependencies: [b]}\n- {title: b, dependencies: [a]}\n- {title: c, due: 1}\n"
    )
    with pytest.raises(vespera.PlanError) as caught:
        orch.plan_tasks(plan)
    assert "task 1 (a), line 1" in str(caught.value)
    assert "let one of them not wait for the next" in str(caught.value)
    orch.plan_task("Buy boxes")
    with pytest.raises(vespera.PlanError, match="did you mean buy_boxes"):
        orch.plan_task("Pack", dependencies=["BUY_BOXES"])
    with pytest.raises(InvalidInputError, match="use due_date=…"):
        orch.update_task("buy_boxes", due="friday")

"""The coordinator is not handed heavy work, and results are brought together by themselves."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import InvalidInputError, NothingReadyError


@pytest.fixture
def opened(tmp_path):
    """A function that opens the project with some settings, in its session."""
    orchs = []

    def open_project(settings="", **fields):
        home = tmp_path / ".task_orchestrator"
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(f"[delegation]\n{settings}\n")
        orch = vespera.open(tmp_path, **fields)
        orchs.append(orch)
        if not orch.list_sessions():
            orch.initialize_session("Goal")
        return orch

    yield open_project
    for orch in orchs:
        orch.close()


PLAN = [
    {"title": "Heavy", "complexity": "complex", "priority": 5},
    {"title": "Long", "estimated_effort": "2 days", "priority": 4},
    {"title": "Light"},
]


def test_a_coordinator_is_handed_light_work(opened):
    """Then it is told to hand the rest to specialists; what it names it gets."""
    orch = opened(agent="coordinator")
    orch.plan_tasks(PLAN)
    with orch.execute_task() as work:
        assert work.task.alias == "light"
        work.complete(summary="done", detailed_work="done")
    with pytest.raises(NothingReadyError, match="hand it to a specialist") as error:
        orch.execute_task()
    step = error.value.next_step
    assert (step.action, step.alias) == ("delegate", "heavy")
    context = eval(step.call, {"orch": orch})  # the call that is named works
    assert context.task.alias == "heavy"
    assert orch.execute_task("heavy").task.status == "in_progress"


def test_everybody_else_is_handed_the_best(opened):
    """Also the coordinator's namesake in a home that says otherwise."""
    orch = opened()
    orch.plan_tasks(PLAN)
    assert orch.execute_task().task.alias == "heavy"
    orch = opened('coordinator_executes = "all"', agent="coordinator")
    assert orch.execute_task().task.alias == "long"


def test_who_spawns_agents_coordinates(opened):
    """From then on, in this process."""
    orch = opened()
    orch.plan_tasks(PLAN)
    orch.spawn_agent_with_context("heavy")
    assert orch.execute_task().task.alias == "light"
    assert orch.execute_task(agent="worker").task.alias == "heavy"


def test_a_coordinator_that_executes_nothing_still_brings_together(opened):
    """Synthesis is its own work, however heavy the parent is."""
    orch = opened('coordinator_executes = "none"', agent="coordinator")
    orch.plan_tasks([{"title": "Whole", "complexity": "complex", "children": [{"title": "Part"}]}])
    with pytest.raises(NothingReadyError):
        orch.execute_task()
    orch.complete_task("part", summary="done", detailed_work="The part.")
    assert orch.execute_task().task.alias == "whole"


@pytest.mark.parametrize("end", ["complete", "cancel", "abandon"])
def test_results_are_brought_together_when_the_last_subtask_ends(opened, end):
    """Not before, and however it ends; the next step names what there is to read."""
    orch = opened()
    orch.plan_tasks([{"title": "Whole", "children": [{"title": "One"}, {"title": "Two"}]}])
    orch.complete_task("one", summary="first", detailed_work="The first part.")
    assert list(orch.artifacts.list(kind="synthesis")) == []
    if end == "complete":
        orch.complete_task("two", summary="second", detailed_work="The second part.")
    else:
        getattr(orch, f"{end}_task")("two", "not needed")
    (synthesis,) = orch.artifacts.list(kind="synthesis")
    assert synthesis.task_id == orch.get_task("whole").id
    assert "The first part." in orch.artifacts.text(synthesis)
    assert synthesis.id in orch.next_step().sentence
    assert orch.synthesize_results("whole") == synthesis


@pytest.mark.parametrize(
    ("needs", "end"),
    [
        ("near", lambda orch: orch.cancel_task("far")),  # over another task
        ("near", lambda orch: orch.abandon_task("far")),
        ("part", lambda orch: orch.cancel_task("other")),  # because of a part of what ends
        ("part", lambda orch: orch.abandon_task("far")),  # of a whole that is skipped
        ("sell", lambda orch: orch.answer("gate", approved=False)),  # over a condition
    ],
)
def test_results_are_brought_together_when_the_last_subtask_is_skipped(opened, needs, end):
    """Because of whatever ends somewhere else, for ever."""
    orch = opened()
    orch.plan_tasks(
        [
            {"title": "Whole", "children": [{"title": "One"}, {"title": "Two"}]},
            {"title": "Far"},
            {"title": "Near", "dependencies": ["far"]},
            {"title": "Other", "dependencies": ["far"], "children": [{"title": "Part"}]},
            {"title": "Gate", "question": "May we?"},
            {
                "title": "Sell",
                "dependencies": ["gate"],
                "condition": "gate.outputs.approved",
            },
        ]
    )
    orch.add_dependency("two", needs)
    orch.complete_task("one", summary="first", detailed_work="The first part.")
    end(opened())  # in a process of its own
    assert orch.get_task("two").status == "skipped"
    (synthesis,) = orch.artifacts.list(kind="synthesis", task="whole")
    assert "What was skipped" in orch.artifacts.text(synthesis)


def test_bringing_together_can_be_left_to_the_caller(opened):
    """By a setting."""
    orch = opened("synthesize = false")
    orch.plan_tasks([{"title": "Whole", "children": [{"title": "One"}]}])
    orch.complete_task("one", summary="first", detailed_work="The first part.")
    assert list(orch.artifacts.list(kind="synthesis")) == []
    assert orch.next_step().action == "synthesize"


@pytest.mark.parametrize("error", [InvalidInputError("x", "broken"), KeyError("broken")])
def test_a_failing_synthesis_costs_no_work(opened, monkeypatch, caplog, error):
    """It is a view, whether an error of ours ends it or a fault in it."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr("vespera_orchestrator.work.synthesize.synthesize", fail)
    orch = opened()
    orch.plan_tasks([{"title": "Whole", "children": [{"title": "One"}]}])
    done = orch.complete_task("one", summary="first", detailed_work="The first part.")
    assert done.status == "completed"
    assert "not brought together" in caplog.text


@pytest.mark.parametrize(
    ("project_type", "words"),
    [
        (None, "order of work"),
        ("software_development", "data models"),
        ("research_project", "methods"),
        ("creative_writing", "plot"),
    ],
)
def test_who_is_chosen_for_heavy_work_suits_the_project(opened, project_type, words):
    """Also in a session below it. A garden has no interfaces, and a novel no data models."""
    orch = opened()
    above = orch.initialize_session("A whole", project_type=project_type)
    orch.initialize_session("A part", parent_session=above)
    work = orch.execute_task(orch.plan_task("Dig the beds", complexity="hard"), agent="ada")
    briefing = str(work.briefing())
    assert words in briefing
    assert words in str(orch.roles()["architect"])
    assert ("data models" in briefing) is (project_type == "software_development")


def test_roles_can_be_looked_at(opened):
    """Those of the library and the project's own."""
    orch = opened()
    assert orch.roles()["reviewer"].output_format.startswith("A verdict")
    file = orch.home / "roles" / "project_roles.yaml"
    file.parent.mkdir()
    file.write_text("cook:\n  role_definition: You cook.\n")
    assert orch.roles()["cook"].role_definition == "You cook."

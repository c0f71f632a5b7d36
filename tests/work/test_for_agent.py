"""For whom a task is, and that a coordinator's parent is not handed to a worker."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest

import vespera_orchestrator as vespera


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Return a function that opens the project as an agent."""
    monkeypatch.delenv("VESPERA_ORCHESTRATOR_AGENT", raising=False)
    with contextlib.ExitStack() as opened:
        yield lambda name=None: opened.enter_context(
            vespera.open(tmp_path, agent=name, embedder="none")
        )


def do_all(orch, **options):
    """Do whatever is handed out, as a worker's loop does; return what that was."""
    done = []
    with contextlib.suppress(vespera.NothingReadyError):
        while True:
            work = orch.execute_task(**options)
            work.complete(summary="s", detailed_work=f"# {work.task.title}")
            done.append(work.task.alias)
    return done


TREE = [{"title": "Top", "children": [{"title": "One"}, {"title": "Two"}]}]


def test_a_worker_is_not_handed_the_parent_of_a_coordinator(agent):
    """It ends with nothing to do, and is told who goes on; the coordinator is handed it."""
    lead, worker = agent("lead"), agent("worker")
    lead.initialize_session("Goal")
    lead.plan_tasks(TREE)
    assert do_all(worker) == ["one", "two"]
    step = worker.next_step()
    assert (step.action, step.call) == ("wait", "")
    assert "'Top' can start, and is left to lead." in step.sentence
    assert lead.next_step().call.startswith("orch.complete_task('top'")
    assert do_all(lead) == ["top"]
    assert worker.next_step().action == "done"


def test_whoever_names_the_parent_gets_it(agent):
    """It is left to the coordinator, not kept from anybody: ``parents=True`` takes it, too."""
    lead, worker = agent("lead"), agent("worker")
    lead.initialize_session("Goal")
    lead.plan_tasks([*TREE, {"title": "Other", "children": [{"title": "Three"}]}])
    assert do_all(worker, parents=False) == ["one", "two", "three"]
    assert do_all(lead, parents=False) == []
    assert worker.execute_task("top").task.alias == "top"
    assert do_all(worker, parents=True) == ["other"]


def test_what_nobody_with_a_name_has_planned_is_for_everybody(agent):
    """A plan that a person or a script has made, without a name, is done by whoever works on it."""
    person = agent()
    person.initialize_session("Goal")
    person.plan_tasks(TREE)
    assert do_all(agent("worker")) == ["one", "two", "top"]


def test_who_takes_a_task_apart_brings_it_together(agent):
    """The worker that simplifies a task of the coordinator is handed it again."""
    lead, worker = agent("lead"), agent("worker")
    lead.initialize_session("Goal")
    lead.plan_task("Top", "- [ ] heat the water\n- [ ] pour it")
    pieces = [task.alias for task in worker.simplify("top")]
    assert do_all(worker) == [*pieces, "top"]


def test_a_task_for_one_agent(agent):
    """Nobody else is handed it, and whoever names it reads how to take it all the same."""
    lead, worker = agent("lead"), agent("worker")
    lead.initialize_session("Goal")
    lead.plan_task("Mine", for_agent="lead", priority=9)
    lead.plan_tasks([{"title": "Other"}, {"title": "Review", "for_agent": "reviewer"}])
    assert do_all(worker) == ["other"]
    assert str(worker.why("mine")) == "mine is ready, for lead"
    assert worker.get_task("mine").to_dict(brief=True)["for_agent"] == "lead"
    assert "mine: for lead" in str(worker.get_status())
    remedy = r"it is for lead; to do it all the same: orch.execute_task\('mine', take_over=True\)"
    with pytest.raises(vespera.NotReadyError, match=remedy):
        worker.execute_task("mine")
    with pytest.raises(vespera.NotReadyError, match=remedy) as refused:
        worker.complete_task("mine", summary="s", detailed_work="all of it")
    assert worker.artifacts.text(refused.value.kept_artifact_id) == "all of it"
    assert "orch.execute_task('mine', take_over=True)" in worker.next_step().sentence
    work = worker.execute_task("mine", take_over=True)
    assert "It was planned for lead." in work.briefing()
    work.complete(summary="s", detailed_work="d")
    lead.update_task("review", for_agent="worker")
    assert do_all(worker) == ["review"]
    lead.plan_task("Last", for_agent="nobody here")
    lead.update_task("last", for_agent="")
    assert do_all(worker) == ["last"]


def test_names_of_agents_are_checked(agent):
    """Nothing is planned for a name that nobody can have."""
    lead = agent("lead")
    lead.initialize_session("Goal")
    with pytest.raises(vespera.PlanError, match="for_agent"):
        lead.plan_task("Mine", for_agent=7)
    for wrong in ("maybe", [], 1):
        with pytest.raises(vespera.InvalidInputError, match="parents"):
            lead.execute_task(parents=wrong)
    assert lead.query_tasks() == []


def test_the_best_that_fits_is_for_this_agent(agent):
    """Filters narrow what an agent may be handed, and do not widen it."""
    lead, worker = agent("lead"), agent("worker")
    lead.initialize_session("Goal")
    lead.plan_tasks(
        [
            {"title": "Mine", "task_type": "bugfix", "for_agent": "lead", "priority": 9},
            {"title": "Free", "task_type": "bugfix"},
        ]
    )
    assert do_all(worker, task_type="bugfix") == ["free"]
    assert do_all(lead, task_type="bugfix") == ["mine"]


def test_a_run_does_what_is_for_its_agent(agent):
    """Under that very name, also on an executor; what is for others is left to them."""
    lead = agent("lead")
    lead.initialize_session("Goal")
    lead.plan_tasks(
        [
            {"title": "Mine", "for_agent": "lead"},
            {"title": "Free"},
            {"title": "Theirs", "for_agent": "reviewer"},
        ]
    )
    agents = {}

    def do(work):
        agents[work.task.alias] = work.attempt.agent
        return "done"

    with ThreadPoolExecutor(2) as pool:
        lead.run(do, executor=pool, backoff_s=0)
    assert agents.keys() == {"mine", "free"}
    assert agents["mine"] == "lead"
    assert lead.get_task("theirs").is_ready


def test_a_coordinator_by_setting_delegates_only_what_it_may(agent):
    """What is for another agent is not even offered for delegation."""
    lead = agent("coordinator")
    lead.initialize_session("Goal")
    lead.plan_tasks(
        [
            {"title": "Heavy", "complexity": "complex", "for_agent": "reviewer", "priority": 5},
            {"title": "Light"},
        ]
    )
    assert do_all(lead) == ["light"]

"""Answers that are about what was asked, whatever else is in the session."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.tools import Toolbox
from vespera_orchestrator.testing import ManualClock


@pytest.fixture
def orch(tmp_path):
    """A session with a busy subtree beside a quiet one."""
    with vespera.open(tmp_path, embedder="none") as orch:
        orch.initialize_session("Right answers")
        orch.plan_tasks(
            [
                {
                    "title": "Other",
                    "children": [{"title": f"Urgent {n}", "priority": 5} for n in range(21)],
                },
                {"title": "Mine", "children": [{"title": f"Part {n}"} for n in range(3)]},
            ]
        )
        yield orch


def test_a_status_of_a_subtree_is_about_the_subtree(orch):
    """More urgent work elsewhere, however much, hides nothing of it."""
    for number in range(10):
        orch.execute_task(f"urgent_{number}", agent=f"agent {number}")
    orch.execute_task("part_0", agent="me")
    status = orch.get_status(parent_task_id="mine")
    assert [task.alias for task in status.ready] == ["part_1", "part_2"]
    assert [running.task.alias for running in status.running] == ["part_0"]
    assert {task.alias for task in status.chain} <= {"mine", "part_0", "part_1", "part_2"}


def test_a_status_of_a_subtree_names_its_own_next_step(orch):
    """What is ready elsewhere is no step of it, whatever state the subtree is in."""
    for number in range(3):
        orch.add_dependency(f"part_{number}", "urgent_0")
    waiting = orch.get_status(parent_task_id="mine")
    assert waiting.next_step.call == "orch.why('part_0')"
    assert "urgent_0 (pending)" in waiting.next_step.sentence
    assert "urgent" not in waiting.to_mermaid()
    orch.cancel_task("mine", "not needed")
    ended = orch.get_status(parent_task_id="mine").next_step
    assert ended.sentence.startswith("Everything in 'mine' has ended")
    assert orch.next_step().alias == "urgent_0"


def test_a_status_of_a_blocked_task_names_its_recovery(orch):
    """The recovery stands beside the task, and comes first; while it runs, it is waited for."""
    orch.execute_task("part_0").fail("it broke")
    step = orch.get_status(parent_task_id="part_0").next_step
    assert step.call == "orch.execute_task('recover_part_0')"
    orch.execute_task("recover_part_0")
    step = orch.get_status(parent_task_id="part_0").next_step
    assert "recover_part_0 comes first (in_progress)" in step.sentence


def test_the_calls_of_a_cut_status_are_about_the_subtree(orch):
    """An answer within a budget names the call that returns the rest of the same tasks."""
    status = orch.get_status(parent_task_id="other", budget_tokens=60).to_dict(brief=True)
    assert status["left_out"]["*"] == "orch.get_status(parent_task_id='other')"


@pytest.mark.parametrize(
    ("wanted", "words", "call"),
    [
        ({"specialist_type": "chef"}, "no tasks with specialist_type='chef'", "ready_tasks()"),
        ({"task_type": "long" * 10_000}, "no tasks with task_type='longlong", "ready_tasks()"),
        ({"alias_prefix": "gate"}, "waits for the signal 'ci'", "why('gate')"),
        ({"parent_task_id": "whole"}, "waits for the signal 'ci'", "why('gate')"),
        ({"parent_task_id": "past"}, "Everything in 'past' has ended", "next_step()"),
        ({"parent_task_id": "mine", "task_type": "research"}, "in 'mine' with", "ready_tasks()"),
    ],
)
def test_a_filter_without_a_match_names_no_task_that_does_not_fit(orch, wanted, words, call):
    """The error says why those that fit cannot start, or that none does."""
    orch.plan_tasks(
        [{"title": "Whole", "children": [{"title": "Gate", "signal": "ci"}]}, {"title": "Past"}]
    )
    orch.complete_task("past", summary="done", detailed_work="all of it")
    with pytest.raises(vespera.NothingReadyError) as caught:
        orch.execute_task(**wanted)
    assert words in str(caught.value)
    assert caught.value.next_step.call == f"orch.{call}"
    assert len(caught.value.next_step.sentence) < 1000


def test_a_status_can_be_pickled(orch):
    """And its drawing comes along, as it was then."""
    status = orch.get_status()
    again = pickle.loads(pickle.dumps(status))
    assert again == status
    assert str(again) == str(status)
    assert again.to_mermaid() == status.to_mermaid()
    assert pickle.loads(pickle.dumps(again)) == status


def test_a_failure_report_names_the_checkpoint(orch):
    """A large state is in the checkpoint only; the next attempt starts from it."""
    work = orch.execute_task("part_0")
    saved = work.checkpoint({"rows": ["x" * 100] * 1000}, "half of the rows")
    work.fail("boom")
    [report] = [each for each in orch.artifacts.list(task="part_0") if each.kind == "failure"]
    assert report.size_bytes < 1000
    assert f"Last checkpoint: {saved.id} of attempt 1: half of the rows" in orch.artifacts.text(
        report
    )
    orch.complete_task("recover_part_0", summary="s", detailed_work="d")
    assert orch.execute_task("part_0").resumed_from.state == saved.state


KEYED = {1: "one", "1": "text"}


@pytest.mark.parametrize(
    "call",
    [
        lambda orch: orch.initialize_session("Next", context=KEYED),
        lambda orch: orch.plan_task("Mine", context={"a": KEYED}),
        lambda orch: orch.plan_tasks([{"title": "Mine", "context": KEYED}]),
        lambda orch: orch.update_task("held", context=KEYED),
        lambda orch: orch.share_context(scores=KEYED),
        lambda orch: orch.signal("ready", {"a": KEYED}),
        lambda orch: orch.answer("asked", KEYED),
        lambda orch: orch.artifacts.save("Scores", {"a": KEYED}),
        lambda orch: orch.artifacts.save("Scores", "text", metadata=KEYED),
        lambda orch: orch.work("held").checkpoint({"a": KEYED}),
        lambda orch: orch.work("held").once("key", lambda: KEYED),
        lambda orch: orch.work("held").complete(summary="s", detailed_work="d", outputs=KEYED),
        lambda orch: orch.complete_task("held", summary="s", detailed_work="d", outputs=KEYED),
    ],
)
def test_a_key_that_is_not_a_text_is_refused(orch, call):
    """Wherever JSON is taken: of two keys one would be lost without a word."""
    orch.plan_task("Held")
    orch.plan_task("Asked", question="Which?")
    orch.execute_task("held")
    with pytest.raises(vespera.InvalidInputError, match="the key 1 of type int is not a text"):
        call(orch)
    assert orch.get_task("held").status == "in_progress"


def test_what_agents_share_can_be_pickled(orch):
    """All but the history, which is in the store."""
    orch.share_context(port=8080)
    copy = pickle.loads(pickle.dumps(orch.shared_context()))
    assert (dict(copy), copy.source("port").agent) == ({"port": 8080}, "main")
    with pytest.raises(vespera.InvalidInputError, match="shared_context"):
        copy.history("port")


# --- two threads, two sessions ------------------------------------------------------


def in_thread(call, pool=None):
    """Return what *call* returns in another thread: of a pool, or one that then ends."""
    if pool is not None:
        return pool.submit(call).result()
    with ThreadPoolExecutor(1) as one:
        return one.submit(call).result()


def test_two_threads_with_two_sessions_each_keep_their_own(orch):
    """What one starts does not become the session of the other without a word."""
    mine = orch.current_session().id
    with ThreadPoolExecutor(1) as client:
        theirs = in_thread(lambda: orch.initialize_session("Another client's").id, client)
        assert orch.plan_task("Here").session_id == mine
        assert in_thread(lambda: orch.plan_task("There").session_id, client) == theirs
        orch.resume_session(theirs)
        assert orch.current_session().id == theirs
        in_thread(lambda: orch.resume_session(mine), client)
        assert (orch.current_session().id, orch.get_task("there").title) == (theirs, "There")


def test_a_thread_without_a_session_of_its_own_is_told_if_there_are_several(orch):
    """It would work in one of them by chance. Once it has chosen, it goes on."""
    mine = orch.current_session().id
    assert in_thread(lambda: orch.current_session().id) == mine
    with ThreadPoolExecutor(1) as client, ThreadPoolExecutor(1) as third:
        theirs = in_thread(lambda: orch.initialize_session("Another client's").id, client)
        with pytest.raises(vespera.SeveralSessionsError, match="resume_session") as caught:
            in_thread(lambda: orch.plan_task("Whose?"), third)
        assert set(caught.value.sessions) == {mine, theirs}
        in_thread(lambda: orch.resume_session(theirs), third)
        assert in_thread(lambda: orch.plan_task("Theirs").session_id, third) == theirs
    assert in_thread(lambda: orch.current_session().id) == mine


def test_a_session_outlives_the_thread_that_started_it(tmp_path):
    """As where a host sets up in a thread of its own."""
    with vespera.open(tmp_path, embedder="none") as orch:
        started = in_thread(lambda: orch.initialize_session("Set up").id)
        assert orch.plan_task("Here").session_id == started
        assert in_thread(lambda: orch.current_session().id) == started


def test_sessions_of_threads_that_have_ended_are_told_apart(tmp_path):
    """Nobody works in one of several by chance, also when those that chose them are gone."""
    together = threading.Barrier(2)
    with vespera.open(tmp_path, embedder="none") as orch:

        def begin(goal):
            together.wait()
            orch.initialize_session(goal)
            together.wait()

        threads = [threading.Thread(target=begin, args=(goal,)) for goal in ("One", "Two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(vespera.SeveralSessionsError):
            orch.plan_task("Whose?")


def test_the_calls_of_tools_are_those_of_one_client(orch):
    """Servers do each of them in another thread of a pool."""
    toolbox = Toolbox(orch, include="all")
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        in_thread(lambda: toolbox.answer("initialize_session", {"goal": "First"}), one)
        in_thread(lambda: toolbox.answer("initialize_session", {"goal": "Next"}), other)
        for pool in (one, other, None):
            in_thread(lambda: toolbox.answer("plan_task", {"title": "Made by a tool"}), pool)
        sessions = {session.goal: session.id for session in orch.list_sessions()}
        assert len(orch.query_tasks(session_id=sessions["Next"])) == 3
        assert orch.current_session().goal == "Right answers"


# --- small things that newcomers meet -------------------------------------------------


def test_a_completion_that_says_nothing_is_refused(orch):
    """Whoever comes next would find nothing. A line is enough, or a value."""
    for nothing in ("", "  \n"):
        work = orch.execute_task("part_0")
        with pytest.raises(vespera.InvalidInputError, match="say in a line what was done"):
            work.complete(summary=nothing, detailed_work=nothing)
        assert orch.get_task("part_0").status == "in_progress"
        work.release()
    work = orch.execute_task("part_0")
    assert work.complete(summary="", detailed_work="", outputs={"n": 1}).status == "completed"


@pytest.mark.parametrize("empty", ["", " \n", b""])
def test_a_line_is_the_work_where_there_is_nothing_else(orch, empty):
    """It is kept as an artifact, so that it is searched and shown to whoever builds on it."""
    orch.complete_task("part_0", summary="bought a lid of 28 cm", detailed_work=empty)
    [artifact] = orch.artifacts.list(task="part_0")
    assert orch.artifacts.text(artifact.id) == "bought a lid of 28 cm"
    again = orch.complete_task("part_0", summary="bought a lid of 28 cm", detailed_work=empty)
    assert again.attempts == 1


def test_whoever_watches_sees_a_lease_end(tmp_path):
    """Though nobody else calls."""
    clock = ManualClock()
    with vespera.open(tmp_path, embedder="none", clock=clock) as orch:
        orch.initialize_session("Watch")
        orch.plan_task("Held")
        orch.execute_task("held", agent="ada", lease_s=60)
        watch = orch.watch(timeout_s=0)
        clock.advance(120)
        assert [event.kind for event in watch] == [vespera.EventKind.LEASE_EXPIRED]


def test_what_is_reopened_was_not_handed_back(orch):
    """The words say which of the two it was."""
    orch.plan_task("Books", priority=99)
    orch.complete_task("books", summary="packed", detailed_work="d")
    orch.reopen_task("books", "forgot a shelf")
    assert str(orch.why("books")) == "books is ready; it was opened again: forgot a shelf"
    assert "It was opened again: forgot a shelf." in str(orch.next_step())


def test_a_retry_in_vain_names_what_helps(orch):
    """Each call that the refusal names works: to take the condition out, or to ask again."""
    orch.plan_tasks(
        [
            {"title": "Ask", "question": "A cat?"},
            {"title": "Hotel", "dependencies": ["ask"], "condition": "ask.outputs.cat"},
        ]
    )
    orch.answer("ask", cat=False)
    with pytest.raises(vespera.TransitionError) as caught:
        orch.retry_task("hotel")
    assert "first ask: it is done, and opens again by orch.reopen_task('ask'," in str(caught.value)
    assert "orch.update_task('hotel', condition='')" in str(caught.value)
    with pytest.raises(vespera.TransitionError, match=r"to answer otherwise: orch\.reopen_task"):
        orch.answer("ask", cat=True)
    orch.update_task("hotel", condition="")
    assert orch.get_task("hotel").is_ready


def test_a_name_is_found_however_its_letters_are_encoded(orch):
    """A Mac writes é as two characters, and some programs write fi as one."""
    orch.plan_tasks([{"title": "\ufb01nd the office"}, {"title": "Caf\u00e9 bestellen"}])
    assert orch.get_task("find_the_office").title == "\ufb01nd the office"
    twofold = "cafe\u0301_bestellen"
    assert orch.get_task(twofold).alias == "caf\u00e9_bestellen"
    waiting = orch.plan_task("Go", dependencies=[twofold])
    assert waiting.dependencies[0].task == orch.get_task(twofold).id


def test_what_history_leaves_out_is_said(orch):
    """Its beginning is not taken for that of the task; and the call that it names tells more."""
    orch.plan_task("Long")
    for number in range(1, 5):
        orch.update_task("long", priority=number)
    told = orch.history("long", limit=3)
    assert len(told) == 3
    assert str(told).startswith("(what was before this: orch.history('long', limit=30))\n")
    assert "before this" not in str(orch.history("long", limit=5))


def test_a_briefing_says_what_the_task_is_now(orch):
    """Whoever asks for it again finds what was changed meanwhile."""
    orch.plan_task("Quick", "OLD WORDS")
    work = orch.execute_task("quick")
    orch.update_task("quick", description="NEW WORDS", acceptance="It is quick.")
    briefing = str(work.briefing())
    assert "NEW WORDS" in briefing
    assert "It is quick." in briefing
    assert "OLD WORDS" not in briefing


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"answer": "blue with dots"}, "answered: blue with dots"),
        ({"approved": True, "cups": 3}, "answered: approved: yes, cups: 3"),
    ],
)
def test_an_answer_is_told_in_words(orch, values, words):
    """Not as JSON: a person reads it in resume."""
    orch.plan_task("Paint it", question="Which colour?")
    assert orch.answer("paint_it", values).summary == words


def test_what_was_cleared_is_told_in_words(orch):
    """No rest is not what happened."""
    orch.plan_task("Nap", not_before="in 3 days", for_agent="ada")
    orch.update_task("nap", not_before="", for_agent="", context={"bed": "blue"})
    told = str(orch.history("nap"))
    assert "may start at once" in told
    assert "for any agent" in told
    assert "context to bed: blue" in told


def test_a_due_date_before_the_end_of_a_rest_says_how_to_end_it(orch):
    """The plan has no not_before: somebody has put the task off."""
    orch.plan_tasks("- {title: Pay, due_date: 2031-04-01}")
    orch.snooze_task("pay", "2031-04-05")
    with pytest.raises(vespera.PlanError, match=r"to end its rest: orch\.snooze_task\('pay'"):
        orch.plan_tasks("- {title: Pay, due_date: 2031-04-02}", existing="update")

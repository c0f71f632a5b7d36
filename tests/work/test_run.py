"""`Orchestrator.run` drives the graph with the caller's functions, and loses none of the work."""

from __future__ import annotations

import os
import pickle
import runpy
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support import ROOT, TESTS, run_handlers
from vespera_orchestrator import Result, RunEnding
from vespera_orchestrator.errors import InvalidInputError, LeaseLostError
from vespera_orchestrator.work import runner
from vespera_orchestrator.work.errand import Errand
from vespera_orchestrator.work.start import StartRequest


@pytest.fixture
def orch(tmp_path):
    """The façade on a file, in a session."""
    with vespera.open(tmp_path) as opened:
        opened.initialize_session("Run")
        yield opened


def run(orch, handlers, **options):
    """Run without pauses between two tries."""
    return orch.run(handlers, backoff_s=0, **options)


def kinds(orch):
    """Return the kinds of all events, in order."""
    return [event.kind for event in orch.watch(0, timeout_s=0)]


def say_title(work):
    """Return a text with a heading."""
    return f"# {work.task.title}\n\nAll of it."


# --- which function, and what it returns ----------------------------------------


def test_functions_by_alias_role_type_and_for_any(orch):
    """The alias comes first, then the role, then the type, then the function for any."""
    orch.plan_task("One", specialist_type="writer", task_type="draft")
    orch.plan_task("Two", specialist_type="writer", task_type="draft")
    orch.plan_task("Three", task_type="draft")
    orch.plan_task("Four")
    called = {}

    def note(word):
        return lambda work: called.update({work.task.alias: word})

    handlers = {word: note(word) for word in ("*", "draft", "writer", "one")}
    report = run(orch, handlers)
    assert called == {"one": "one", "two": "writer", "three": "draft", "four": "*"}
    assert report
    assert report.completed == ("one", "two", "three", "four")


def test_what_a_function_returns_is_the_work(orch):
    """Text is the work itself, a mapping is outputs, nothing is enough."""
    values = {
        "text": "# Heading\n\nBody.",
        "bytes": b"\x00\x01",
        "outputs": {"coverage": 0.9},
        "number": 7,
        "nothing": None,
        "result": Result(summary="mine", detailed_work="All.", outputs={"a": 1}),
    }
    for alias in values:
        orch.plan_task(alias)
    orch.plan_task("Ship", dependencies=["outputs"], condition="outputs.outputs.coverage >= 0.8")
    assert run(
        orch, {**{alias: lambda work: values[work.task.alias] for alias in values}, "*": str}
    )
    tasks = {alias: orch.get_task(alias) for alias in (*values, "ship")}
    assert tasks["text"].summary == "Heading"
    assert tasks["outputs"].outputs == {"coverage": 0.9}
    assert tasks["number"].summary == "7"
    assert tasks["result"].outputs == {"a": 1}
    assert orch.artifacts.read(orch.artifacts.list(task="bytes")[0]) == b"\x00\x01"
    assert orch.artifacts.read(orch.artifacts.list(task="text")[0]) == values["text"].encode()
    assert tasks["ship"].status == "completed"


def test_a_function_may_complete_the_task_itself(orch):
    """What it did with the task stands, whatever it returns."""
    orch.plan_tasks([{"title": "Own"}, {"title": "By name"}])

    def do(work):
        if work.task.alias == "own":
            work.complete(summary="mine", detailed_work="All.")
        else:
            orch.complete_task(work.task, summary="by name", detailed_work="All.")
        return "ignored"

    assert run(orch, do).completed == ("own", "by_name")
    assert [task.summary for task in orch.query_tasks()] == ["mine", "by name"]


def test_results_of_subtasks_are_brought_together(orch):
    """A parent needs no function; one that is named for it is called."""
    orch.plan_tasks(
        [
            {"title": "Book", "children": [{"title": "Chapter 1"}, {"title": "Chapter 2"}]},
            {"title": "Film", "specialist_type": "cutter", "children": [{"title": "Scene"}]},
        ]
    )
    report = run(orch, {"*": say_title, "cutter": lambda _: "cut by hand"})
    assert report
    assert orch.get_task("film").summary == "cut by hand"
    (synthesis,) = orch.artifacts.list(task="book", kind="synthesis")
    assert b"Chapter 2" in orch.artifacts.read(synthesis)


def test_a_ready_task_without_a_function_is_named(orch):
    """Nothing is taken that nobody can do."""
    orch.plan_tasks([{"title": "Known"}, {"title": "Odd", "task_type": "odd"}])
    report = run(orch, {"known": say_title})
    assert not report
    assert report.ending is RunEnding.WAITING
    assert report.unhandled == ("odd",)
    assert "you passed no function" in str(report)
    assert orch.get_task("odd").attempts == 0


# --- failures --------------------------------------------------------------------


def test_a_failure_blocks_its_task_and_nothing_else(orch):
    """The traceback is kept; dependents wait, the others go on; the recovery is a person's."""
    orch.plan_tasks(
        [
            {"title": "Bad"},
            {"title": "After", "dependencies": ["bad"]},
            {"title": "Good"},
        ]
    )

    def do(work):
        if work.task.alias == "bad":
            raise RuntimeError("no luck")

    report = run(orch, do)
    assert report.completed == ("good",)
    assert [trouble.alias for trouble in report.blocked] == ["bad"]
    assert "no luck" in report.blocked[0].reason
    assert report.unhandled == ("recover_bad",)
    (kept,) = orch.artifacts.list(task="bad", kind="failure")
    assert b"Traceback" in orch.artifacts.read(kept)


def test_retry_goes_on_from_the_last_checkpoint(orch):
    """With ``on_recovery="retry"`` a task is tried again, up to its last attempt."""
    orch.plan_tasks([{"title": "Flaky"}, {"title": "Hopeless"}])

    def do(work):
        if work.task.alias == "hopeless" or work.resumed_from is None:
            work.checkpoint({"step": 1})
            raise RuntimeError("again")
        return {"from": work.resumed_from.state}

    report = run(orch, do, on_recovery="retry")
    assert "flaky" in report.completed
    assert orch.get_task("flaky").outputs == {"from": {"step": 1}}
    assert orch.get_task("hopeless").attempts == 3
    assert [trouble.alias for trouble in report.blocked] == ["hopeless"]
    assert orch.why("hopeless").needs_person


def test_your_own_function_for_recoveries(orch):
    """It gets the recovery task; what it repaired is tried again."""
    orch.plan_task("Flaky")
    repaired = []

    def do(_):
        if not repaired:
            raise RuntimeError("again")

    def repair(work):
        repaired.append(work.task.context["error"])
        return "removed the cause"

    assert run(orch, do, on_recovery=repair)
    assert repaired == ["RuntimeError: again"]


def test_a_value_that_cannot_be_stored_is_a_failure(orch):
    """The function is not called again for a mistake it would make again."""
    orch.plan_task("Odd")
    calls = []

    def do(work):
        calls.append(work.attempt.number)
        return {"handle": object()}

    report = run(orch, do)
    assert calls == [1]
    assert "handle" in report.blocked[0].reason


def test_a_task_that_comes_back_empty_is_blocked(orch):
    """After three rounds without progress no run tries it again, until a person says what to do."""
    orch.plan_tasks([{"title": "Shy"}, {"title": "Good"}])
    rounds = []

    def do(work):
        if work.task.alias == "shy":
            rounds.append(work.attempt.number)
            work.release("not today")

    report = run(orch, do)
    assert rounds == [1, 2, 3]
    assert report.completed == ("good",)
    assert [trouble.alias for trouble in report.blocked] == ["shy"]
    assert "3 times in a row without progress, the last time with: not today" in str(report)
    assert run(orch, do).completed == ()
    orch.retry_task("shy")
    run(orch, do)
    assert rounds == [1, 2, 3, 4, 5, 6]


def test_a_run_has_a_brake_of_its_own(orch):
    """Where tasks may be handed back for ever, a run stops trying after three rounds."""
    orch.plan_task("Shy")
    (orch.home / "config.toml").write_text("[delegation]\nempty_rounds = 0\n")
    rounds = []

    def do(work):
        rounds.append(work.attempt.number)
        work.release("not today")

    with vespera.open(orch.project) as free:
        report = run(free, do)
    assert rounds == [1, 2, 3]
    assert [trouble.alias for trouble in report.given_back] == ["shy"]
    assert orch.why("shy").ready


# --- executors --------------------------------------------------------------------


def test_threads_work_side_by_side(orch):
    """Two functions meet: neither could go on alone. Each works under a name of its own."""
    orch.plan_tasks(
        [
            {"title": "Left"},
            {"title": "Right"},
            {"title": "Join", "dependencies": ["left", "right"]},
        ]
    )
    meeting = threading.Barrier(2, timeout=60)
    agents = {}

    def do(work):
        agents[work.task.alias] = work.attempt.agent
        if work.task.alias != "join":
            meeting.wait()

    with ThreadPoolExecutor(2) as pool:
        report = run(orch, do, executor=pool)
    assert report.completed == ("left", "right", "join")
    assert {agents["left"], agents["right"]} == {"main-1", "main-2"}


class LateExecutor:
    """Does each call at once; that the first is done is told with the third."""

    def __init__(self):
        self.calls = []

    def submit(self, call):
        future, outcome = Future(), call()
        self.calls.append((future, outcome))
        if len(self.calls) == 3:
            self.calls[0][0].set_result(self.calls[0][1])
        if len(self.calls) > 1:
            future.set_result(outcome)
        return future


def test_what_was_done_is_in_order_however_late_the_run_hears_of_it(orch):
    """A task is never before what it depends on."""
    orch.plan_tasks(
        [
            {"title": "Zinc"},
            {"title": "Alloy", "dependencies": ["zinc"]},
            {"title": "Bell", "dependencies": ["alloy"]},
        ]
    )
    report = run(orch, say_title, executor=LateExecutor(), max_parallel=2)
    assert report.completed == ("zinc", "alloy", "bell")


def test_no_more_is_claimed_than_there_are_workers(orch):
    """A task that only waits in line is left for other processes."""
    orch.plan_tasks([{"title": f"T{number}"} for number in range(5)])
    held = []

    def do(_):
        held.append(len(orch.query_tasks(status="in_progress")))

    with ThreadPoolExecutor(2) as pool:
        assert run(orch, do, executor=pool)
    assert max(held) <= 2


def test_processes_open_the_home_themselves(orch):
    """In another process the function gets a `Work` of that process."""
    orch.plan_tasks([{"title": "One"}, {"title": "Two", "dependencies": ["one"]}])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert run(orch, run_handlers.tell_process, executor=pool)
    pids = {orch.get_task(alias).outputs["pid"] for alias in ("one", "two")}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_a_killed_worker_ends_the_run_cleanly(orch):
    """The pool is broken: what it held is ready at once, and goes on from its checkpoint."""
    orch.plan_task("Long")
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        report = run(orch, run_handlers.save_and_die, executor=pool)
    assert report.ending is RunEnding.BROKEN
    assert "terminated abruptly" in report.error
    assert orch.why("long").ready
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert run(orch, run_handlers.save_and_die, executor=pool)
    assert orch.get_task("long").outputs == {"resumed": {"step": 1}}
    assert "lease_expired" not in kinds(orch)


def test_what_cannot_be_sent_is_refused_before_a_task_is_taken(orch):
    """A lambda, and a store in memory, cannot go to another process."""
    orch.plan_task("One")
    with ProcessPoolExecutor(1) as pool:
        with pytest.raises(InvalidInputError, match="top level of a module"):
            run(orch, lambda _: None, executor=pool)
        with vespera.open(store="memory:") as memory:
            memory.initialize_session("x")
            with pytest.raises(InvalidInputError, match="cannot open"):
                run(memory, run_handlers.tell_process, executor=pool)
    assert orch.get_task("one").attempts == 0


def test_an_executor_that_was_shut_down(orch):
    """The task is given back, and the report says what happened."""
    orch.plan_task("One")
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    report = run(orch, say_title, executor=pool)
    assert report.ending is RunEnding.BROKEN
    assert "after shutdown" in str(report)
    assert orch.why("one").ready


class Engine:
    """An executor that calls what it was sent after pickling it, and may do so twice."""

    def __init__(self, times):
        self.times = times

    def submit(self, fn):
        sent = pickle.dumps(fn)
        future = Future()
        for _ in range(self.times):
            outcome = pickle.loads(sent)()
        future.set_result(outcome)
        return future


def test_an_ended_task_that_is_called_again_counts_as_success(orch):
    """An engine that lost an answer calls once more; the work is not done twice."""
    orch.plan_task("One")
    report = run(orch, run_handlers.tell_process, executor=Engine(2), max_parallel=1)
    assert report.completed == ("one",)
    assert kinds(orch).count("task_started") == 1
    assert kinds(orch).count("task_completed") == 1


def test_a_call_made_again_goes_on_under_the_same_attempt(orch):
    """It resumes at the checkpoint of the worker that died, without a new attempt."""
    orch.plan_task("Long")
    request = StartRequest.read(
        task="long", agent="main-1", worktree=None, lease_s=900, take_over=False
    )
    claim = orch._starter.claim(request)
    errand = Errand(run_handlers.save_and_die, claim, request, orch._elsewhere())
    with orch._starter.begin(claim, request) as work:
        work.checkpoint({"step": 1}, "half done")
        outcome = pickle.loads(pickle.dumps(errand))()
        work._is_open = False
    assert outcome.status == "completed"
    assert orch.get_task("long").attempts == 1
    assert orch.get_task("long").outputs == {"resumed": {"step": 1}}


# --- holding ----------------------------------------------------------------------


def test_the_loop_renews_leases(orch, monkeypatch):
    """A function that knows nothing of leases keeps its task."""
    monkeypatch.setattr(runner, "_BEATS_A_LEASE", 9000)  # every tenth of a second
    orch.plan_task("Slow")
    renewed = []

    def do(_):
        for event in orch.watch(0, timeout_s=60):
            if event.kind == "lease_renewed":
                renewed.append(event)
            if len(renewed) == 2:
                return

    with ThreadPoolExecutor(1) as pool:
        assert run(orch, do, executor=pool)
    assert len(renewed) == 2
    assert "lease_expired" not in kinds(orch)


def test_a_task_taken_by_another_agent_is_theirs(orch):
    """What the replaced function brings is kept as an artifact; the run goes on."""
    orch.plan_tasks([{"title": "Contested"}, {"title": "Good"}])
    lost = []

    def do(work):
        if work.task.alias == "contested":
            with orch.execute_task("contested", agent="other", take_over=True) as taken:
                taken.complete(summary="theirs", detailed_work="Theirs.")
            try:
                work.complete(summary="mine", detailed_work="Mine.")
            except LeaseLostError as exc:
                lost.append(exc)
                raise

    report = run(orch, do)
    assert report
    assert report.completed == ("good",)
    assert orch.get_task("contested").summary == "theirs"
    assert orch.artifacts.read(lost[0].kept_artifact_id) == b"Mine."


def test_it_waits_for_what_others_hold(orch):
    """When another agent completes what comes first, the run goes on."""
    orch.plan_tasks([{"title": "Theirs"}, {"title": "Ours", "dependencies": ["theirs"]}])
    theirs = orch.execute_task("theirs", agent="other")
    report = run(orch, {"ours": say_title}, idle_s=0.01)
    assert report.ending is RunEnding.OUT_OF_PATIENCE
    finish = threading.Timer(0.05, theirs.complete, kwargs={"summary": "s", "detailed_work": "d"})
    finish.start()
    assert run(orch, {"ours": say_title}, idle_s=60).completed == ("ours",)
    finish.join()


def test_an_expired_lease_is_taken_up(tmp_path, clock):
    """What a dead agent held is run again as soon as its lease is over."""
    with vespera.open(tmp_path, home=tmp_path / "timed", clock=clock) as timed:
        timed.initialize_session("x")
        timed.plan_task("Left behind")
        dead = timed.execute_task("left_behind", agent="dead")
        dead.checkpoint({"step": 1})
        clock.advance(901)
        report = run(timed, lambda work: {"from": work.resumed_from.state})
        assert report.completed == ("left_behind",)
        assert timed.get_task("left_behind").outputs == {"from": {"step": 1}}


# --- a run that was killed ---------------------------------------------------------


@pytest.mark.parametrize("executor", ["None", "ThreadPoolExecutor(2)"])
def test_what_a_killed_run_held_is_ready_at_once(tmp_path, orch, executor):
    """Nobody waits for its leases: the next step says so, and the next run goes on."""
    orch.plan_tasks([{"title": "One"}, {"title": "Two"}])
    killed = run_in_process(tmp_path, executor)
    held = [task.alias for task in orch.query_tasks(status="in_progress")]
    assert held[0] == "one"
    killed.kill()
    killed.wait()
    assert orch.next_step().action == "execute"
    report = run(orch, lambda work: {"from": work.resumed_from and work.resumed_from.state})
    assert report.completed == ("one", "two")
    assert orch.get_task("one").outputs == {"from": {"step": 1}}
    assert orch.get_task("one").attempts == 2


def test_what_a_living_run_holds_is_left_alone(tmp_path, orch):
    """So is what its workers still do when their run was killed."""
    orch.plan_task("One")
    pool = "ProcessPoolExecutor(1, mp_context=get_context('fork'))"
    killed = run_in_process(tmp_path, pool)
    assert orch.next_step().action == "wait"
    (worker,) = children_of(killed.pid)
    killed.kill()
    killed.wait()
    assert orch.next_step().action == "wait"
    (tmp_path / "go").touch()
    for _ in orch.watch(0, timeout_s=60):
        if orch.get_task("one").status == "completed":
            break
    os.kill(worker, signal.SIGKILL)  # it waits for a next call, which will never come
    assert orch.get_task("one").attempts == 1
    assert orch.get_task("one").outputs == {"pid": worker}


def test_work_of_a_killed_run_that_was_taken_up_is_not_taken_away(tmp_path, orch):
    """`Orchestrator.work` makes it the work of an agent, who may come back in any process."""
    orch.plan_task("One")
    killed = run_in_process(tmp_path, "None")
    killed.kill()
    killed.wait()
    orch.work("one").checkpoint({"step": 2})
    assert orch.next_step().action == "wait"
    assert orch.get_task("one").attempts == 1


def run_in_process(folder, executor):
    """Run the graph in another process, until it is in the middle of a task."""
    script = f"""
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
import vespera_orchestrator as vespera
from support import run_handlers
with vespera.open({str(folder)!r}) as orch:
    orch.run(run_handlers.wait_for_go, executor={executor})
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GO": str(folder / "go")}
    process = subprocess.Popen([sys.executable, "-c", script], env=environ)
    with vespera.open(folder) as orch:
        for event in orch.watch(0, timeout_s=60):
            if event.kind == "checkpoint_saved":
                return process
    raise AssertionError("it did not begin")


def children_of(parent):
    """Return the ids of a process's children."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


# --- interruption -----------------------------------------------------------------


def test_an_interruption_gives_back_what_has_not_begun(orch):
    """What runs keeps its hold and hands in its work when it is done."""
    orch.plan_tasks([{"title": "Running"}, {"title": "Waiting"}])
    began, may_end = threading.Event(), threading.Event()

    def do(_):
        began.set()
        assert may_end.wait(60)

    def interrupt(progress):
        if len(progress.running) == 2:
            assert began.wait(60)
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(KeyboardInterrupt) as caught:
            run(orch, do, executor=pool, max_parallel=2, progress=interrupt)
        assert orch.why("waiting").ready
        assert orch.get_task("running").status == "in_progress"
        may_end.set()
    assert "handing in their work when they are done: running" in caught.value.__notes__[0]
    assert orch.get_task("running").status == "completed"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_stops_when_it_is_asked_to(orch, workers):
    """What is under way comes to its end; no further task is taken."""
    orch.plan_tasks([{"title": "One"}, {"title": "Two"}])
    stop = threading.Event()

    def do(_):
        stop.set()
        return "done"

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers)) if workers else None
        report = run(orch, do, executor=pool, stop=stop)
    assert report.ending is RunEnding.STOPPED
    assert report.completed == ("one",)
    assert "stopped, as you asked" in str(report)
    assert orch.get_task("two").attempts == 0


def test_an_interruption_in_this_thread_releases_the_task(orch):
    """Without an executor, Ctrl-C falls into the function itself."""
    orch.plan_task("One")

    def do(work):
        work.checkpoint({"step": 1})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(orch, do)
    assert orch.why("one").ready


# --- worktrees ---------------------------------------------------------------------


def test_each_task_in_a_worktree_of_its_own(project):
    """Work lands; what conflicts is blocked, and is not tried again by itself."""
    with vespera.open(project.folder) as orch:
        orch.initialize_session("x")
        orch.plan_tasks([{"title": "Left"}, {"title": "Right"}])
        meeting = threading.Barrier(2, timeout=60)

        def do(work):
            work.path.joinpath("a.txt").write_text(f"{work.task.title}\n")
            meeting.wait()

        with ThreadPoolExecutor(2) as pool:
            report = run(orch, do, executor=pool, worktree=True, on_recovery="retry")
        assert len(report.completed) == 1
        assert [trouble.alias for trouble in report.blocked] != list(report.completed)
        assert len(report.blocked) == 1
        assert len(report.unhandled) == 1
        assert project.git("show", "integration:a.txt") == report.completed[0].title()


# --- what it says ------------------------------------------------------------------


def test_progress_is_told_after_each_step(orch):
    """The function gets a record that prints; its own mistake does not fail the work."""
    orch.plan_tasks([{"title": "One"}, {"title": "Two"}])
    lines = []

    def tell(progress):
        lines.append(str(progress))
        raise ValueError("a mistake in showing it")

    assert run(orch, say_title, progress=tell)
    assert lines[0] == "0 of 2 completed; working on one"
    assert lines[-1] == "2 of 2 completed"


def test_a_bar_where_nobody_watches_is_one_line(orch, capsys):
    """Outside of terminals and notebooks, the end is printed."""
    orch.plan_task("One")
    assert run(orch, say_title, progress=True)
    assert capsys.readouterr().err == "1 of 1 completed\n"


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"handlers": {}}, "handlers"),
        ({"handlers": {"a": 5}}, "handlers"),
        ({"executor": 5}, "executor"),
        ({"max_parallel": 0}, "max_parallel"),
        ({"max_parallel": 2}, "max_parallel"),
        ({"on_recovery": "again"}, "on_recovery"),
        ({"progress": 5}, "progress"),
        ({"backoff_s": -1}, "backoff_s"),
        ({"idle_s": "long"}, "idle_s"),
        ({"lease_s": 0}, "lease_s"),
    ],
)
def test_wrong_arguments_are_refused(orch, options, argument):
    """The error names the argument, and no task is taken."""
    orch.plan_task("One")
    arguments = {"handlers": say_title, **options}
    with pytest.raises(InvalidInputError) as caught:
        orch.run(arguments.pop("handlers"), **arguments)
    assert caught.value.name == argument
    assert orch.get_task("one").attempts == 0


# --- a loop of one's own --------------------------------------------------------------


def test_the_loop_of_the_documentation_survives_a_failing_task(orch):
    """It is on the page as it was type-checked; a failure blocks its task, and the loop goes on."""
    loop = (TESTS / "typing" / "worker.py").read_text("utf-8").partition("def worker")[2]
    assert loop in (ROOT / "docs" / "running.md").read_text("utf-8")
    worker = runpy.run_path(str(TESTS / "typing" / "worker.py"))["worker"]
    orch.plan_tasks([{"title": "Bad"}, {"title": "Good"}])

    def do(work):
        if work.task.alias != "good":
            raise RuntimeError("no luck")
        work.complete(summary="done", detailed_work="All.")

    last = worker(orch, do)
    assert orch.get_task("good").status == "completed"
    assert last.action == "decide"


# --- executors and functions that go astray -----------------------------------------


class Astray(BaseException):
    """What nobody expects."""


class Answers:
    """An executor whose futures are whatever it was made with; it calls nothing."""

    def __init__(self, answer):
        self._answer = answer

    def submit(self, *_args):
        """Return the answer."""
        return self._answer()


def lost():
    """Return a future that is over, with an exception that no `except Exception` catches."""
    future = Future()
    future.set_exception(Astray("gone"))
    return future


@pytest.mark.parametrize(
    ("answer", "error"), [(lambda: 5, InvalidInputError), (lost, Astray)], ids=["number", "lost"]
)
def test_an_executor_that_goes_astray_keeps_no_task(orch, answer, error):
    """Nobody works on what it was given: all of it is ready again."""
    orch.plan_tasks([{"title": f"T{number}"} for number in range(4)])
    with pytest.raises(error):
        orch.run(say_title, executor=Answers(answer), max_parallel=3)
    assert {task.status for task in orch.query_tasks()} == {"pending"}
    assert len(orch.ready_tasks()) == 4


def test_a_run_within_a_function_of_a_run_says_why_it_would_never_end(orch):
    """It would wait for the task that it is called for; the outer run goes on."""
    orch.plan_task("Outer")
    orch.plan_task("Other")

    def nested(work):
        if work.task.alias == "outer" and work.attempt.number == 1:
            orch.run(say_title)
        return work.task.title

    report = orch.run(nested)
    assert "other" in report.completed
    assert "wait for that task for ever" in str(orch.why("outer"))


def test_a_run_within_a_function_may_have_patience_or_another_session(orch):
    """With `idle_s` it returns, and another session is not waited for."""
    session = orch.current_session()
    orch.plan_task("Outer")
    reports = []

    def nested(_work):
        reports.append(orch.run(say_title, idle_s=0))
        orch.initialize_session("Another")
        orch.plan_task("Inner")
        reports.append(orch.run(say_title))
        orch.resume_session(session)
        return "done"

    assert orch.run({"outer": nested}).completed == ("outer",)
    assert reports[0].ending == RunEnding.OUT_OF_PATIENCE
    assert reports[1].completed == ("inner",)


async def never_awaited(work):
    """Do what nobody will see."""
    return work.task.title


def test_a_coroutine_that_nobody_awaits_is_no_work(orch):
    """A function that only makes one has done nothing: its task is not completed."""
    orch.plan_task("One")
    report = orch.run(lambda work: never_awaited(work))
    assert [trouble.alias for trouble in report.blocked] == ["one"]
    assert "returned coroutine, which nobody awaits" in report.blocked[0].reason
    assert orch.artifacts.list(kind="general") == []

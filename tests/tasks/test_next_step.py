"""The choice of the next step: a table of what is known about a session, and the one thing to
do.
"""

from __future__ import annotations

import ast
import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import records
from support.records import why
from vespera_orchestrator._model import CauseKind, TaskStatus, utcnow
from vespera_orchestrator.tasks.durations import usual_time
from vespera_orchestrator.tasks.effort import is_heavy
from vespera_orchestrator.tasks.next_step import (
    Holding,
    LandedWork,
    SessionFacts,
    next_step,
    resume_step,
)

NOW = utcnow()
PENDING, RUNNING, BLOCKED = TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED
COMPLETED = TaskStatus.COMPLETED


def task(alias, status=PENDING, reason=None):
    """Make a task of which only the name, the status and the reason matter."""
    return records.task(alias, status, title=alias.title(), reason=reason)


DECISION = why("a", "a person must decide")
USUAL = usual_time([1800.0] * 3)
WAITING = why("a", "waits for b", CauseKind.DEPENDENCY)


def holding(alias="a", **fields):
    """Make a holding of ada's, with a lease of a quarter of an hour."""
    values = {"agent": "ada", "lease_s": 900}
    return Holding(task=task(alias, RUNNING), **values | fields)


def landed(**fields):
    """Make the place of work that has landed on integration."""
    values = {"branch": "integration", "checkout": "main", "folder": "/kettle"}
    return SessionFacts(counts={COMPLETED: 2}, landed=LandedWork(**values | fields))


def ready(of=None, **fields):
    """Make a session whose best ready task is *of*."""
    return SessionFacts(counts={PENDING: 1}, ready=of or task("a"), **fields)


TABLE = {
    "no tasks": (
        SessionFacts(counts={}),
        (
            "plan",
            "When you know one thing to do, then plan the first one",
            'orch.plan_task("…")',
        ),
    ),
    "archived": (
        SessionFacts(counts={}, is_archived=True),
        ("done", "archived. Nothing needs you: rest. When you want more", 'orch.plan_task("…")'),
    ),
    "held here, and something is ready": (
        ready(running=1, own=holding("b", is_here=True)),
        ("execute", "then start 'A'.", "orch.execute_task('a')"),
    ),
    "held here": (
        SessionFacts(counts={RUNNING: 1}, running=1, own=holding("b", is_here=True, note="half")),
        (
            "wait",
            "You hold 'B'. You were at: half. When the work is done, then hand it in.",
            "orch.complete_task('b', summary=…, detailed_work=…)",
        ),
    ),
    "held here, and it cannot be handed in": (
        SessionFacts(
            counts={RUNNING: 1},
            running=1,
            own=holding("b", is_here=True, note="half"),
            own_obstacle="/b has a rebase",
        ),
        (
            "decide",
            "You were at: half. It cannot be handed in yet: /b has a rebase. When that is done,",
            "",
        ),
    ),
    "held here, and its folder is lost": (
        SessionFacts(
            counts={RUNNING: 1},
            running=1,
            own=holding("b", is_here=True),
            own_lost_folder="/b",
        ),
        ("execute", "stands in its place: /b. When you have read this,", "orch.work('b')"),
    ),
    "begun by a command": (
        ready(running=1, own=holding("b", is_between_calls=True)),
        (
            "wait",
            "You hold 'B'. When the work is done, then hand it in.",
            "orch.complete_task('b', summary=…, detailed_work=…)",
        ),
    ),
    "something is in the way of a merge": (
        SessionFacts(
            counts={RUNNING: 1}, unmerged=[task("b")], merge_obstacle="/a has changes: x. Commit"
        ),
        (
            "decide",
            "Something is in the way: /a has changes: x. Commit. When that is done, then merge it:",
            "",
        ),
    ),
    "held by another process of the same name": (
        ready(running=1, own=holding("b", silent_s=120)),
        (
            "execute",
            (
                "When no other process works on it under your name, then go on with it: it is "
                "still yours."
            ),
            "orch.work('b')",
        ),
    ),
    "left unfinished": (
        ready(unfinished=task("b"), unfinished_note="half", uses_worktrees=True),
        (
            "execute",
            "go on with 'B', which you left unfinished. You were at: half.",
            "orch.execute_task('b', worktree=True)",
        ),
    ),
    "ready": (
        ready(),
        ("execute", "When you have read this, then start 'A'.", "orch.execute_task('a')"),
    ),
    "ready after others": (
        ready(ready_after=["b", "c", "d"]),
        (
            "execute",
            "b and c are done. When you have read this, then start",
            "orch.execute_task('a')",
        ),
    ),
    "ready in a worktree": (
        ready(ready_after=["b"], uses_worktrees=True),
        (
            "execute",
            "b is done. When you have read this, then start",
            "orch.execute_task('a', worktree=True)",
        ),
    ),
    "started without a worktree by choice": (
        ready(records.task("a", worktree=""), uses_worktrees=True),
        ("execute", "then start 'a'.", "orch.execute_task('a')"),
    ),
    "with a description": (
        ready(records.task("a", description="Boil 1.5 l water. Then pour.")),
        ("execute", "It begins: Boil 1.5 l water.", "orch.execute_task('a')"),
    ),
    "described as a list": (
        ready(records.task("a", description="1. Boil water\n2. Pour\n")),
        ("execute", "It begins: Boil water", "orch.execute_task('a')"),
    ),
    "heavy": (
        ready(records.task("a", complexity="complex", description="# A\n\n- [x] b\n- [ ] Pour\n")),
        ("execute", "Ten minutes are enough to begin: Pour.", "orch.execute_task('a')"),
    ),
    "recovery": (
        ready(records.task("r", recovers_task_id="t_a"), uses_worktrees=True, report_id="a_9"),
        (
            "execute",
            (
                "When you have read what went wrong, with print(orch.artifacts.text('a_9')), then "
                "start 'r'"
            ),
            "orch.execute_task('r')",
        ),
    ),
    "failing documents": (
        SessionFacts(
            counts={PENDING: 1}, ready=task("a"), failing_documents=("docs/A.md", "docs/B.md")
        ),
        (
            "execute",
            "docs/A.md and 1 other could not be brought up to date: orch.documents.check() says",
            "orch.execute_task('a')",
        ),
    ),
    "proposals": (
        SessionFacts(counts={PENDING: 1}, ready=task("a"), proposals=2),
        (
            "execute",
            "start 'A'. 2 changes of a document that you edited wait for your answer",
            "orch.execute_task('a')",
        ),
    ),
    "given back": (
        ready(task("a", reason="names are unclear")),
        ("execute", "handed back with: names are unclear.", "orch.execute_task('a')"),
    ),
    "begun by somebody": (
        ready(setback="attempt 1 crashed: no sign of life", ready_note="the rim is turned"),
        (
            "execute",
            "no sign of life. It goes on from: the rim is turned.",
            "orch.execute_task('a')",
        ),
    ),
    "files elsewhere": (
        SessionFacts(counts={PENDING: 1}, ready=task("a"), obstacle="its files are on laptop"),
        ("decide", "'A' cannot be started here yet: its files", "orch.worktrees.list()"),
    ),
    "subtasks ended, files elsewhere": (
        SessionFacts(counts={PENDING: 1}, ready=task("a"), ready_has_subtasks=True, obstacle="x"),
        ("decide", "cannot be started here yet: x", "orch.worktrees.list()"),
    ),
    "merging here goes before bringing": (
        SessionFacts(
            counts={PENDING: 1, RUNNING: 1}, ready=task("a"), obstacle="x", unmerged=[task("b")]
        ),
        ("merge", "The work of 'B' is done", "orch.worktrees.merge('b')"),
    ),
    "to be merged elsewhere": (
        SessionFacts(
            counts={RUNNING: 2},
            unmerged_elsewhere=[(task("a"), "laptop, /a"), (task("b"), "laptop, /b")],
        ),
        ("wait", "(1 more like it), on laptop, /a: call", "orch.worktrees.list()"),
    ),
    "subtasks ended": (
        ready(ready_has_subtasks=True),
        ("synthesize", "All subtasks of 'A' have ended. When", "orch.synthesize_results('a')"),
    ),
    "synthesis made": (
        ready(ready_has_subtasks=True, synthesis_id="a_1"),
        (
            "execute",
            "When you have read them, with print(orch.artifacts.text('a_1')), then complete",
            "orch.complete_task('a', summary=…, detailed_work=…)",
        ),
    ),
    "ready goes before merging": (
        SessionFacts(counts={PENDING: 1, RUNNING: 1}, ready=task("a"), unmerged=[task("b")]),
        ("execute", "then start 'A'.", "orch.execute_task('a')"),
    ),
    "unmerged": (
        SessionFacts(counts={RUNNING: 2}, unmerged=[task("a", RUNNING), task("b", RUNNING)]),
        ("merge", "waits to be merged (1 more after it). When", "orch.worktrees.merge('a')"),
    ),
    "running": (
        SessionFacts(counts={RUNNING: 2}, running=2, holdings=[holding(silent_s=60), holding("b")]),
        (
            "wait",
            "When ada has done a, then ask again; last sign of life 1 minute ago. Should ada be",
            "",
        ),
    ),
    "one task keeps all others waiting": (
        SessionFacts(
            counts={RUNNING: 1, PENDING: 5},
            running=1,
            holdings=[holding(silent_s=60, elapsed_s=720)],
            usual=USUAL,
        ),
        (
            "wait",
            """
            None of the 5 other tasks can start before it has ended. Consider
            splitting it: orch.plan_task("…", parent_task_id='a') plans a part that others can
            take. Nothing needs you: rest.
            When ada has done a, then ask again; it began 12 minutes ago (like the last
            three: about 30 minutes), last sign of life 1 minute ago.""",
            "",
        ),
    ),
    "something rests beside it": (
        SessionFacts(
            counts={RUNNING: 1, PENDING: 5},
            running=1,
            holdings=[holding()],
            resting=task("b"),
        ),
        ("wait", "One task is being worked on. Nothing needs you: rest. When ada has", ""),
    ),
    "how long it may take": (
        ready(usual=USUAL),
        ("execute", "It may take about 30 minutes, like the last three.", "orch.execute_task('a')"),
    ),
    "silent for long": (
        SessionFacts(counts={RUNNING: 1}, running=1, holdings=[holding(silent_s=540)]),
        (
            "wait",
            "last sign of life 9 minutes ago. When ada is gone, then take it over; otherwise it is",
            "orch.execute_task('a', take_over=True)",
        ),
    ),
    "running, and nobody knows with whom": (
        SessionFacts(counts={RUNNING: 1}, running=1),
        ("wait", "One task is being worked on. Nothing needs you: rest.", ""),
    ),
    "a decision beside what runs": (
        SessionFacts(counts={RUNNING: 1, BLOCKED: 1}, running=1, decisions=[DECISION]),
        (
            "decide",
            "waits for a decision: a person must decide. When you have read this, then decide.",
            "orch.retry_task('a')",
        ),
    ),
    "decision": (
        SessionFacts(counts={BLOCKED: 1}, decisions=[DECISION], waiting=DECISION),
        ("decide", "a waits for a decision: ", "orch.retry_task('a')"),
    ),
    "nothing can go on": (
        SessionFacts(counts={BLOCKED: 1}, waiting=WAITING),
        ("decide", "Nothing can continue without you: a is blocked: waits for b.", "orch.why('a')"),
    ),
    "failed": (
        SessionFacts(
            counts={TaskStatus.FAILED: 1}, unreached=task("a", TaskStatus.FAILED, "enough")
        ),
        (
            "done",
            "not all was reached: a failed (enough). When you want it after all, then",
            "orch.retry_task('a')",
        ),
    ),
    "cancelled": (
        SessionFacts(counts={TaskStatus.CANCELLED: 1}),
        ("done", "Everything has ended: 1 cancelled. Nothing needs you: rest.", ""),
    ),
    "over": (
        SessionFacts(counts={COMPLETED: 2, TaskStatus.SKIPPED: 1}),
        ("done", "ended: 2 completed, 1 skipped. Nothing needs you: rest.", ""),
    ),
    "landed, and missing": (
        landed(missing=3),
        (
            "done",
            "main lacks 3 commits of it. When you want it there, then run, in /kettle: git merge",
            "",
        ),
    ),
    "landed, and there": (
        landed(),
        ("done", "the branch 'integration', and main has all of it. Nothing needs you: rest.", ""),
    ),
    "landed, and checked out": (
        landed(checkout="integration"),
        ("done", "the branch 'integration', which is checked out. Nothing needs you", ""),
    ),
    "landed beside a detached HEAD": (
        landed(checkout=None, missing=1),
        ("done", "the checkout lacks 1 commit of it.", ""),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_one_thing_to_do(name):
    """Each state of a session leads to one step, with the call that takes it."""
    facts, (action, words, call) = TABLE[name]
    step = next_step(facts)
    assert (step.action, step.call) == (action, call)
    assert " ".join(words.split()) in step.sentence


def test_what_the_title_says_is_not_said_again():
    """A piece of a checklist has the same words in both."""
    piece = records.task("a", title="Boil water", description="- [ ] boil water\n- [ ] wait")
    facts = SessionFacts(counts={PENDING: 1}, ready=piece)
    assert next_step(facts).sentence == "When you have read this, then start 'Boil water'."


def test_a_session_that_was_left_is_pointed_to():
    """Without an active session the step goes back to the last one, by goal or id."""
    session = records.session()
    step = resume_step(session, "no session is active")
    assert step.sentence == (
        "No session is active, but there is one: 'Boil water'. When you want it, then go on with "
        "it."
    )
    assert step.call == "orch.resume_session('s_1')"
    assert "s_1" in resume_step(attrs.evolve(session, goal=""), "x").sentence


@pytest.mark.parametrize(
    ("effort", "complexity", "heavy"),
    [
        (None, "moderate", False),
        ("3 hours", "moderate", False),
        ("half a day or 4 hours", "simple", True),
        (None, "big", True),
        ("1 day", "simple", True),
        (None, "Complex", True),
    ],
)
def test_heavy_tasks_are_known_by_their_plan(effort, complexity, heavy):
    """By the estimate, or by the word for their complexity."""
    assert is_heavy(records.task("a", estimated_effort=effort, complexity=complexity)) is heavy


TITLES = st.text(max_size=300)
TASKS = st.builds(
    records.task, st.sampled_from(["a", "b"]), title=TITLES, reason=st.none() | TITLES
)
WHYS = st.builds(why, st.sampled_from(["a", "b"]), TITLES)
HOLDINGS = st.builds(
    Holding,
    task=TASKS,
    agent=st.just("ada"),
    silent_s=st.integers(0, 1000),
    lease_s=st.just(900),
    note=TITLES,
    is_here=st.booleans(),
)
FACTS = st.builds(
    SessionFacts,
    counts=st.dictionaries(st.sampled_from(TaskStatus), st.integers(0, 3)),
    is_archived=st.booleans(),
    own=st.none() | HOLDINGS,
    unfinished=st.none() | TASKS,
    unfinished_note=TITLES,
    ready=st.none() | TASKS,
    ready_after=st.lists(st.just("b"), max_size=3),
    ready_has_subtasks=st.booleans(),
    uses_worktrees=st.booleans(),
    report_id=st.none() | st.just("a_2"),
    synthesis_id=st.none() | st.just("a_1"),
    unmerged=st.lists(TASKS, max_size=3),
    running=st.integers(0, 3),
    holdings=st.lists(HOLDINGS, max_size=2),
    decisions=st.lists(WHYS, max_size=2),
    obstacle=st.sampled_from(["", "its files are on laptop"]),
    unmerged_elsewhere=st.lists(st.tuples(TASKS, st.just("laptop, /a")), max_size=1),
    waiting=st.none() | WHYS,
    unreached=st.none() | TASKS,
    landed=st.none() | st.builds(LandedWork, branch=st.just("main"), missing=st.integers(0, 2)),
)
IF_THEN = re.compile(r"\bwhen\b.*\bthen\b|Nothing needs you: rest", re.IGNORECASE | re.DOTALL)
LEADS_BACK = {"get_status", "next_step", "resume", "session_status"}


@given(FACTS)
def test_there_is_always_one_step(facts):
    """Whatever is known: a plan in words, and at most one call, which leads on.

    A call is Python with … to fill in. There is none only where nothing needs to be done.
    """
    step = next_step(facts)
    assert step.sentence.strip()
    assert re.search(
        r"\bwhen\b.*\bthen\b|Nothing needs you: rest", step.sentence, re.IGNORECASE | re.DOTALL
    ) or (step.action == "done")
    if step.call:
        tree = ast.parse(step.call.replace("…", "0"), mode="eval")
        assert isinstance(tree.body, ast.Call)
        assert tree.body.func.attr not in LEADS_BACK
    else:
        assert step.action in {"done", "wait", "decide"}


@given(FACTS)
def test_what_is_in_hand_goes_first_and_then_what_is_ready(facts):
    """Nothing that waits for somebody else keeps anybody from what can be done now."""
    step = next_step(facts)
    is_elsewhere = facts.own is not None and not facts.own.is_here
    ready = None if facts.obstacle else facts.ready
    best = facts.own.task if is_elsewhere else facts.unfinished or ready
    if best is not None and any(facts.counts.values()) and not facts.is_archived:
        assert step.action in {"execute", "synthesize"}
        assert step.alias == best.alias

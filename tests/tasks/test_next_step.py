"""The choice of the next step: a table of what is known about a session, and the one thing to
do.
"""

from __future__ import annotations

import ast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import records
from support.records import why
from vespera_orchestrator._model import CauseKind, TaskStatus, utcnow
from vespera_orchestrator.tasks.next_step import SessionFacts, next_step, resume_step

NOW = utcnow()
PENDING, RUNNING, BLOCKED = TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED
COMPLETED = TaskStatus.COMPLETED


def task(alias, status=PENDING, reason=None):
    """Make a task of which only the name, the status and the reason matter."""
    return records.task(alias, status, title=alias.title(), reason=reason)


DECISION = why("a", "a person must decide")
WAITING = why("a", "waits for b", CauseKind.DEPENDENCY)

TABLE = {
    "no tasks": (
        SessionFacts(counts={}),
        ("plan", "no tasks yet", 'orch.plan_task("…")'),
    ),
    "archived": (
        SessionFacts(counts={}, is_archived=True),
        ("done", "finished and archived", 'orch.plan_task("…")'),
    ),
    "ready": (
        SessionFacts(counts={PENDING: 1}, ready=task("a")),
        ("execute", "Start 'A'.", "orch.execute_task('a')"),
    ),
    "given back": (
        SessionFacts(counts={PENDING: 1}, ready=task("a", reason="names are unclear")),
        ("execute", "handed back with: names are unclear.", "orch.execute_task('a')"),
    ),
    "subtasks ended": (
        SessionFacts(counts={PENDING: 1}, ready=task("a"), ready_has_subtasks=True),
        ("synthesize", "All subtasks of 'A' have ended", "orch.synthesize_results('a')"),
    ),
    "synthesis made": (
        SessionFacts(
            counts={PENDING: 1}, ready=task("a"), ready_has_subtasks=True, synthesis_id="a_1"
        ),
        ("execute", "in a_1: read it", "orch.complete_task('a', summary=…, detailed_work=…)"),
    ),
    "ready goes before merging": (
        SessionFacts(counts={PENDING: 1, RUNNING: 1}, ready=task("a"), unmerged=[task("b")]),
        ("execute", "Start 'A'.", "orch.execute_task('a')"),
    ),
    "unmerged": (
        SessionFacts(counts={RUNNING: 2}, unmerged=[task("a", RUNNING), task("b", RUNNING)]),
        ("merge", "waits to be merged (1 more after it).", "orch.worktrees.merge('a')"),
    ),
    "unmerged for a reason": (
        SessionFacts(counts={RUNNING: 1}, unmerged=[task("a", RUNNING, "main is dirty")]),
        ("merge", "was not possible: main is dirty", "orch.worktrees.merge('a')"),
    ),
    "running": (
        SessionFacts(counts={RUNNING: 2}, running=2),
        ("wait", "2 tasks are being worked on; there is nothing", "orch.get_status()"),
    ),
    "running beside a decision": (
        SessionFacts(counts={RUNNING: 1, BLOCKED: 1}, running=1, decisions=[DECISION]),
        ("wait", "decide about a: a person must decide.", "orch.get_status()"),
    ),
    "decision": (
        SessionFacts(counts={BLOCKED: 1}, decisions=[DECISION], waiting=DECISION),
        ("decide", "a: a person must decide", "orch.retry_task('a')"),
    ),
    "nothing can go on": (
        SessionFacts(counts={BLOCKED: 1}, waiting=WAITING),
        ("decide", "Nothing can continue without you: a is blocked: waits for b.", "orch.why('a')"),
    ),
    "failed": (
        SessionFacts(
            counts={TaskStatus.FAILED: 1}, unreached=task("a", TaskStatus.FAILED, "enough")
        ),
        ("done", "not all was reached: a failed (enough).", "orch.retry_task('a')"),
    ),
    "cancelled": (
        SessionFacts(counts={TaskStatus.CANCELLED: 1}, unreached=task("a", TaskStatus.CANCELLED)),
        ("done", "a cancelled (no reason given).", ""),
    ),
    "over": (
        SessionFacts(counts={COMPLETED: 2, TaskStatus.SKIPPED: 1}),
        ("done", "Everything has ended: 2 completed, 1 skipped.", ""),
    ),
    "landed": (
        SessionFacts(counts={COMPLETED: 2}, landed_on="integration"),
        ("done", "on the branch 'integration': git merge integration", ""),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_one_thing_to_do(name):
    """Each state of a session leads to one step, with the call that takes it."""
    facts, (action, words, call) = TABLE[name]
    step = next_step(facts)
    assert (step.action, step.call) == (action, call)
    assert words in step.sentence


def test_a_session_that_was_left_is_pointed_to():
    """Without an active session the step goes back to the last one, by goal or id."""
    session = records.session()
    step = resume_step(session, "no session is active")
    assert step.sentence == "No session is active, but there is one: Boil water."
    assert step.call == "orch.resume_session('s_1')"
    assert "s_1" in resume_step(attrs.evolve(session, goal=""), "x").sentence


TITLES = st.text(max_size=300)
TASKS = st.builds(
    records.task, st.sampled_from(["a", "b"]), title=TITLES, reason=st.none() | TITLES
)
WHYS = st.builds(why, st.sampled_from(["a", "b"]), TITLES)
FACTS = st.builds(
    SessionFacts,
    counts=st.dictionaries(st.sampled_from(TaskStatus), st.integers(0, 3)),
    is_archived=st.booleans(),
    ready=st.none() | TASKS,
    ready_has_subtasks=st.booleans(),
    synthesis_id=st.none() | st.just("a_1"),
    unmerged=st.lists(TASKS, max_size=3),
    running=st.integers(0, 3),
    decisions=st.lists(WHYS, max_size=2),
    waiting=st.none() | WHYS,
    unreached=st.none() | TASKS,
    landed_on=st.none() | st.just("integration"),
)


@given(FACTS)
def test_there_is_always_one_step(facts):
    """Whatever is known: a sentence, and a call in Python with … to fill in, or none at the end."""
    step = next_step(facts)
    assert step.sentence.strip()
    if step.call:
        ast.parse(step.call.replace("…", "0"), mode="eval")
    else:
        assert step.action == "done"


@given(FACTS)
def test_what_is_ready_goes_first(facts):
    """Nothing that waits for somebody else keeps anybody from starting what can be started."""
    step = next_step(facts)
    if facts.ready is not None and any(facts.counts.values()) and not facts.is_archived:
        assert step.action in {"execute", "synthesize"}
        assert step.alias == facts.ready.alias

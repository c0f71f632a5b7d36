"""The one thing to do now: pure rules over what is known about a session.

Each step is an if-then plan, "when X, then Y", where X is something that you or the library can see
(Gollwitzer and Sheeran 2006: such plans are carried out far more often than mere intentions). Each
names one call. It works, and it leads on: never back to the question that it answers.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import CauseKind, NextStep, Session, Task, TaskStatus, Why
from vespera_orchestrator._text import ago, duration, first_names, one_line, plural
from vespera_orchestrator.tasks import causes, dates, effort, simplifying

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from vespera_orchestrator.tasks.durations import UsualTime

_TITLE_WIDTH: Final = 90
_OBSTACLE_WIDTH: Final = 600
"""So long that no remedy in the words of an error is cut."""
REST: Final = "Nothing needs you: rest."
_MANY_WAITING: Final = 2
"""From so many tasks on that all wait for one, that is worth a word."""
_FIRST_WORDS: Final = 120
"""So much of a description is enough to begin with."""
FILES_CALL: Final = "orch.worktrees.list()"
"""Shows the worktrees of every home, with their machines and folders."""
SETTINGS_CALL: Final = "orch.team_settings()"
"""Shows the settings that the homes of a session have agreed on."""
_CHECKLIST_ITEM: Final = re.compile(r"^\s*[-*] \[ \]\s+(.+)$", re.MULTILINE)
_FIRST_ITEM: Final = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])[ \t]+(?!\[[xX]\])(\S.*)")


@attrs.frozen(kw_only=True)
class Holding:
    """A task that an agent holds."""

    task: Task
    agent: str
    silent_s: int = 0
    """Seconds since its last sign of life."""
    elapsed_s: int = 0
    """Seconds since the attempt began."""
    lease_s: int = 0
    """Seconds from that sign until its lease expires."""
    note: str = ""
    """The note of its last checkpoint."""
    is_here: bool = False
    """Whether this very process holds it."""
    is_between_calls: bool = False
    """Whether no process holds it: each of the holder's calls, such as a command, is one."""
    was_refused: bool = False
    """Whether it was handed in, and not accepted; known of the reader's own task."""
    has_left: bool = False
    """Whether the process in which it was taken has ended for certain."""
    open_part: Why | None = None
    """What keeps the first of its parts that have not ended: only after them it is handed in."""

    @property
    def may_be_gone(self) -> bool:
        """Whether the holder has been silent for long, or its process has ended."""
        return self.has_left or causes.may_be_gone(self.silent_s, self.lease_s)


@attrs.frozen(kw_only=True)
class LandedWork:
    """Where the finished work of a session is, and who lacks it."""

    branch: str
    """The integration branch."""
    checkout: str | None = None
    """The branch that is checked out in the project; ``None`` for a detached HEAD."""
    folder: str = ""
    """The project's folder."""
    missing: int = 0
    """How many commits of the integration branch that checkout lacks."""


@attrs.frozen(kw_only=True)
class SessionFacts:
    """What the choice of the next step depends on."""

    counts: Mapping[TaskStatus, int]
    """Tasks by status; archived ones do not count."""
    within: str = ""
    """Which tasks these facts are about, to follow a noun; empty for all of the session."""
    instead: Sequence[str] = ()
    """What is ready where no task is of the kind that is wanted."""
    is_archived: bool = False
    """Whether there were tasks, and all of them are archived."""
    own: Holding | None = None
    """A task that the reader holds."""
    own_words: str = ""
    """What the reader meant to do next when they paused, in their words."""
    own_obstacle: str = ""
    """What somebody must do in a folder before that task can be handed in."""
    own_lost_folder: str = ""
    """The folder of its files, if it is gone, or another one stands there."""
    unfinished: Task | None = None
    """A ready task that the reader had in hand last, with work saved."""
    unfinished_note: str = ""
    """The note of its last checkpoint."""
    ready: Task | None = None
    """The best ready task, if possible one that can be started here."""
    obstacle: str = ""
    """What keeps this home from starting it; empty when nothing does."""
    obstacle_call: str = FILES_CALL
    """The call that shows more about it."""
    ready_after: Sequence[str] = ()
    """The aliases of completed tasks that it waited for."""
    ready_has_subtasks: bool = False
    """Whether that task is a parent. Its subtasks have ended then, or it would not be ready."""
    usual: UsualTime | None = None
    """How long tasks usually take that are like that one or, without one, like `longest_silent`."""
    setback: str = ""
    """How the latest attempt at that task ended, if it came to nothing by itself."""
    ready_note: str = ""
    """What its last checkpoint says, if somebody began it before."""
    uses_worktrees: bool = False
    """Whether the session's tasks work in worktrees, so that this one should too."""
    report_id: str | None = None
    """For a recovery: the artifact that tells what went wrong."""
    synthesis_id: str | None = None
    """The artifact with the results of these subtasks, if it has been made and is up to date."""
    unplanned: Sequence[str] = ()
    """Titles of its pieces that were taken back, if it was simplified and others were begun."""
    unmerged: Sequence[Task] = ()
    """Tasks whose work is done and waits to be merged here, the first to merge first."""
    merge_obstacle: str = ""
    """What is in the way of merging any of them, such as changed files in a checkout."""
    unmerged_elsewhere: Sequence[tuple[Task, str]] = ()
    """Such tasks whose files are in a worktree of another home, and where that is."""
    running: int = 0
    """How many tasks are in progress; the unmerged ones do not count."""
    holdings: Sequence[Holding] = ()
    """The first of them, with who holds them."""
    enough: str = ""
    """Why nobody should begin one more, in words, if as much is held as the pressure allows."""
    decisions: Sequence[Why] = ()
    """Blocked tasks that wait for a person."""
    waiting: Why | None = None
    """Some task that is blocked or waits, with its causes, when nothing else can go on."""
    for_another: Task | None = None
    """The best ready task, where all that is ready is left to another agent."""
    other_agent: str = ""
    """The agent that it is left to."""
    question: Task | None = None
    """A task that asks a person, and waits for nothing else."""
    outputs_read: Sequence[str] = ()
    """What conditions read of the answer to it."""
    resting: Task | None = None
    """The task that wakes first of those that rest, when nothing else can go on."""
    now: datetime | None = None
    """When the facts were read."""
    unreached: Task | None = None
    """A task that failed or was cancelled, when every task has ended."""
    landed: LandedWork | None = None
    """Where the work is, when every task has ended and some of it has landed."""
    proposals: int = 0
    """How many changes of documents wait for an answer."""
    failing_documents: Sequence[str] = ()
    """Documents that could not be brought up to date, such as one with damaged markers."""

    @property
    def longest_silent(self) -> Holding | None:
        """The held task whose holder has been silent for longest."""
        return max(self.holdings, key=lambda holding: holding.silent_s, default=None)


def next_step(facts: SessionFacts) -> NextStep:
    """Choose the one thing to do now."""
    steps = (rule(facts) for rule in _RULES)
    step = next(filter(None, steps), None) or _finish(facts)
    return attrs.evolve(_with_documents(step, facts), own_words=facts.own_words)


def _with_documents(step: NextStep, facts: SessionFacts) -> NextStep:
    """Mention what documents need. It is never the step itself: nothing waits for it."""
    hints = filter(None, (_hint_of_proposals(facts), _hint_of_failing(facts)))
    sentence = " ".join([step.sentence, *hints])
    return step if sentence == step.sentence else attrs.evolve(step, sentence=sentence)


def _hint_of_failing(facts: SessionFacts) -> str:
    if not facts.failing_documents:
        return ""
    first, *others = facts.failing_documents
    named = f"{first} and {plural(len(others), 'other')}" if others else first
    return f"{named} could not be brought up to date: orch.documents.check() says why."


def _hint_of_proposals(facts: SessionFacts) -> str:
    if not facts.proposals:
        return ""
    changes = "One change" if facts.proposals == 1 else f"{facts.proposals} changes"
    waits = "waits" if facts.proposals == 1 else "wait"
    return (
        f"{changes} of a document that you edited {waits} for your answer: "
        "orch.documents.proposals()."
    )


def first_step(problem: str | None = None) -> NextStep:
    """Ask for a goal if there is no session at all.

    Args:
        problem: What is wrong with the session that the environment or a file names, if one does.
    """
    sentence = "No session is active yet."
    if problem is not None:
        sentence = f"{problem[0].upper()}{problem[1:]}."
    sentence += " When you know what you want to reach, then say it."
    return NextStep(action="initialize", sentence=sentence, call='orch.initialize_session("…")')


def resume_step(session: Session, problem: str) -> NextStep:
    """Point to *session*, which was left, when no session is active for the reason *problem*."""
    name = one_line(session.goal, _TITLE_WIDTH) or session.id
    reason = f"{problem[0].upper()}{problem[1:]}"
    return NextStep(
        action="initialize",
        sentence=f"{reason}, but there is one: {name!r}. When you want it, then go on with it.",
        call=f"orch.resume_session({session.id!r})",
    )


# --- the rules, in their order -----------------------------------------------


def _plan(facts: SessionFacts) -> NextStep | None:
    call = 'orch.plan_task("…")'
    if facts.within and not any(facts.counts.values()):
        return _nothing_of_this_kind(facts)
    if facts.is_archived:
        sentence = (
            f"Everything is finished and archived. {REST} "
            "When you want more, then plan something new."
        )
        return NextStep(
            action="done",
            sentence=sentence,
            call=call,
        )
    if not any(facts.counts.values()):
        sentence = (
            "The session has no tasks yet. When you know one thing to do, then plan the first one: "
            "the smallest will do."
        )
        return NextStep(
            action="plan",
            sentence=sentence,
            call=call,
        )
    return None


def _nothing_of_this_kind(facts: SessionFacts) -> NextStep:
    kept = "only archived tasks" if facts.is_archived else "no tasks"
    sentence = f"There are {kept}{facts.within}."
    if facts.instead:
        sentence += f" Ready are: {', '.join(facts.instead)}."
    return NextStep(action="done", sentence=sentence, call="orch.ready_tasks()")


def _take_up_own(facts: SessionFacts) -> NextStep | None:
    own = facts.own
    if own is None or own.is_here:
        return None
    if own.is_between_calls:
        return _hand_in_own(facts)
    title = one_line(own.task.title, _TITLE_WIDTH)
    sentence = (
        f"You began {title!r}, as {own.agent}, in another process: last sign of life "
        f"{ago(own.silent_s)}.{was_at(own.note)} When no other process works on it under your "
        "name, then go on with it: it is still yours."
    )
    return _step_on(own.task, "execute", sentence, f"orch.work({own.task.alias!r})")


def _hand_in_own(facts: SessionFacts) -> NextStep | None:
    """Whoever starts several tasks from one process is told first what else can be started."""
    own = facts.own
    if own is None or own.open_part is not None:
        return None
    title = one_line(own.task.title, _TITLE_WIDTH)
    sentence = f"You hold {title!r}.{was_at(own.note)}"
    call = f"orch.complete_task({own.task.alias!r}, summary=…, detailed_work=…)"
    if facts.own_lost_folder:
        sentence += (
            f" The folder of its files is gone, or another one stands in its place: "
            f"{one_line(facts.own_lost_folder, _OBSTACLE_WIDTH)}. When you have read this, then "
            "make it again, with the files of the last save."
        )
        return _step_on(own.task, "execute", sentence, f"orch.work({own.task.alias!r})")
    if facts.own_obstacle:
        sentence += f" It cannot be handed in yet: {_obstacle_words(facts.own_obstacle)}"
        sentence += f" When that is done, then hand it in: {call}"
        return _step_on(own.task, "decide", sentence, "")
    sentence += " When the work is done, then hand it in."
    return _step_on(own.task, "wait", sentence, call)


def _obstacle_words(obstacle: str) -> str:
    return _ended(one_line(obstacle, _OBSTACLE_WIDTH))


def was_at(note: str) -> str:
    """Return a sentence with the note of the last checkpoint, if there is one."""
    return f" You were at: {one_line(note, _FIRST_WORDS)}." if note else ""


def _go_on(facts: SessionFacts) -> NextStep | None:
    task = facts.unfinished
    if task is None:
        return None
    title = one_line(task.title, _TITLE_WIDTH)
    sentence = f"When you have read this, then go on with {title!r}, which you left unfinished."
    sentence += was_at(facts.unfinished_note)
    return _step_on(task, "execute", sentence, _start_call(task, facts))


def _plan_the_rest(facts: SessionFacts) -> NextStep | None:
    task = facts.ready
    if task is None or facts.obstacle or not facts.unplanned:
        return None
    left = first_names([repr(title) for title in facts.unplanned], 3)
    sentence = (
        f"A part of {one_line(task.title, _TITLE_WIDTH)!r} has ended, and is no task yet: {left}. "
        "When you have read this, then plan what is left."
    )
    return _step_on(task, "plan", sentence, f"orch.simplify({task.alias!r})")


def _synthesize(facts: SessionFacts) -> NextStep | None:
    task = facts.ready
    if task is None or facts.obstacle or not facts.ready_has_subtasks:
        return None
    title = one_line(task.title, _TITLE_WIDTH)
    if facts.synthesis_id is None:
        action = "synthesize"
        sentence = (
            f"All subtasks of {title!r} have ended. When you have read this, "
            "then bring their results together."
        )
        call = f"orch.synthesize_results({task.alias!r})"
    else:
        action = "execute"
        sentence = (
            f"The results of {title!r} are brought together. When you have read them, with "
            f"print(orch.artifacts.text({facts.synthesis_id!r})), then complete the task."
        )
        call = f"orch.complete_task({task.alias!r}, summary=…, detailed_work=…)"
    return _step_on(task, action, sentence, call)


def _start(facts: SessionFacts) -> NextStep | None:
    task = facts.ready
    if task is None or facts.obstacle:
        return None
    title = one_line(task.title, _TITLE_WIDTH)
    sentence = f"{_in_hand(facts)}{_what_is_done(facts)}When {_trigger(facts)}, "
    sentence += f"then start {title!r}."
    words = beginning(task)
    if words and effort.is_heavy(task):
        sentence += f" Ten minutes are enough to begin: {_ended(words)}"
    elif words:
        sentence += f" It begins: {_ended(words)}"
    note = causes.return_note(task)
    if facts.setback:
        sentence += f" Before, {one_line(facts.setback, 200)}."
    elif note:
        verb = "opened again" if causes.is_reopened(task) else "handed back with"
        sentence += f" It was {verb}: {one_line(note, 200)}."
    if facts.ready_note and facts.ready_note != note:
        sentence += f" It goes on from: {one_line(facts.ready_note, _FIRST_WORDS)}."
    if facts.usual is not None:
        sentence += f" It may take {facts.usual.words}, like {facts.usual.source}."
    sentence += _date_hint(task, facts)
    return _step_on(task, "execute", sentence, _start_call(task, facts))


def beginning(task: Task) -> str:
    """Return what its description says to do first, unless its title has said that.

    That of a piece describes the whole, and what is its own part is when it is done.
    """
    is_piece = simplifying.MARK in task.context and task.acceptance
    words = first_words(task.acceptance if is_piece else task.description)
    return "" if words.casefold() == task.title.casefold() else words


def _date_hint(task: Task, facts: SessionFacts) -> str:
    """Say when the task is meant to be done, and how to say another day."""
    hint = "" if facts.now is None else dates.due_hint(task, facts.now)
    return f" {hint}" if hint else ""


def _in_hand(facts: SessionFacts) -> str:
    """Remind the reader of what is in hand before something else is proposed."""
    if facts.own is None:
        return ""
    return f"You hold {one_line(facts.own.task.title, _TITLE_WIDTH)!r}. "


def _trigger(facts: SessionFacts) -> str:
    """Return what you can see before you start."""
    if facts.report_id is not None:
        call = f"print(orch.artifacts.text({facts.report_id!r}))"
        return f"you have read what went wrong, with {call}"
    return "you have read this"


def _what_is_done(facts: SessionFacts) -> str:
    """Return a sentence about what the task has waited for, if it has waited."""
    if facts.report_id is not None or not facts.ready_after:
        return ""
    verb = "is" if len(facts.ready_after) == 1 else "are"
    return f"{' and '.join(facts.ready_after[:2])} {verb} done. "


def _start_call(task: Task, facts: SessionFacts) -> str:
    is_free = task.worktree is None and task.recovers_task_id is None
    worktree = ", worktree=True" if facts.uses_worktrees and is_free else ""
    return f"orch.execute_task({task.alias!r}{worktree})"


def _merge(facts: SessionFacts) -> NextStep | None:
    if not facts.unmerged:
        return None
    task, *others = facts.unmerged
    more = f" ({len(others)} more after it)" if others else ""
    title = one_line(task.title, _TITLE_WIDTH)
    sentence = f"The work of {title!r} is done and waits to be merged{more}."
    call = f"orch.worktrees.merge({task.alias!r})"
    if facts.merge_obstacle:
        sentence += f" Something is in the way: {_obstacle_words(facts.merge_obstacle)}"
        sentence += f" When that is done, then merge it: {call}"
        return _step_on(task, "decide", sentence, "")
    sentence += " When you have read this, then merge it."
    return _step_on(task, "merge", sentence, call)


def _bring(facts: SessionFacts) -> NextStep | None:
    """Say what a person must bring or set before the best ready task can be started here."""
    if facts.ready is None:
        return None
    title = one_line(facts.ready.title, _TITLE_WIDTH)
    sentence = (
        "When you can, then settle what is in the way: "
        f"{title!r} cannot be started here yet: {facts.obstacle}"
    )
    return _step_on(facts.ready, "decide", sentence, facts.obstacle_call)


def _merge_elsewhere(facts: SessionFacts) -> NextStep | None:
    if not facts.unmerged_elsewhere:
        return None
    (task, place), *others = facts.unmerged_elsewhere
    more = f" ({len(others)} more like it)" if others else ""
    sentence = (
        f"The work of {one_line(task.title, _TITLE_WIDTH)!r} is done and waits to be merged{more}, "
        f"on {place}: call orch.worktrees.merge({task.alias!r}) there. Here, nothing else can be "
        f"done. {REST}"
    )
    return _step_on(task, "wait", sentence, FILES_CALL)


def _decide(facts: SessionFacts) -> NextStep | None:
    if not facts.decisions:
        return None
    first = facts.decisions[0]
    sentence = (
        f"{first.alias} waits for a decision: {_ended(decision_sentence(first))} "
        "When you have read this, then decide."
    )
    return NextStep(
        action="decide",
        sentence=sentence,
        call=f"orch.retry_task({first.alias!r})",
        task_id=first.task_id,
        alias=first.alias,
    )


def _wait_for_part(facts: SessionFacts) -> NextStep | None:
    """Say what keeps a task of the reader's from being handed in."""
    own = facts.own
    if own is None or own.open_part is None:
        return None
    title = one_line(own.task.title, _TITLE_WIDTH)
    sentence = f"You hold {title!r}. It can be handed in after its parts: {own.open_part}."
    return _step_on(own.task, "wait", sentence, "")


def _wait(facts: SessionFacts) -> NextStep | None:
    if not facts.running:
        return None
    tasks = "One task" if facts.running == 1 else f"{facts.running} tasks"
    are = "is" if facts.running == 1 else "are"
    sentence = f"{tasks}{facts.within} {are} being worked on."
    if facts.enough:
        sentence = f"{facts.enough}: that is enough for now."
    holding = facts.longest_silent
    if holding is None:
        return NextStep(action="wait", sentence=f"{sentence} {REST}", call="")
    sentence += _bottleneck(facts)
    if holding.may_be_gone:
        return _take_over_step(sentence, holding)
    return _rest(sentence, holding, facts.usual)


def _bottleneck(facts: SessionFacts) -> str:
    """Say it if a single task keeps all others waiting, and so every other agent."""
    pending = facts.counts.get(TaskStatus.PENDING, 0)
    has_other_causes = (
        facts.counts.get(TaskStatus.BLOCKED)
        or facts.question is not None
        or facts.resting is not None
        or facts.for_another is not None
        or facts.unmerged_elsewhere
        or facts.within
        or facts.enough
    )
    if facts.running > 1 or pending < _MANY_WAITING or has_other_causes:
        return ""
    words = f" None of the {pending} other tasks can start before it has ended."
    holding = facts.longest_silent
    if holding is None:
        return words
    call = f'orch.plan_task("…", parent_task_id={holding.task.alias!r})'
    return f"{words} Consider splitting it: {call} plans a part that others can take."


def _rest(sentence: str, holding: Holding, usual: UsualTime | None) -> NextStep:
    alias, agent = holding.task.alias, holding.agent
    left_s = max(0, holding.lease_s - holding.silent_s)
    sentence += (
        f" {REST} When {agent} has done {alias}, then ask again; {_time_words(holding, usual)}. "
        f"Should {agent} be gone, {alias} is free in {duration(left_s)}."
    )
    return _step_on(holding.task, "wait", sentence, "")


def _time_words(holding: Holding, usual: UsualTime | None) -> str:
    """Say when it began, beside how long such tasks usually take."""
    words = f"last sign of life {ago(holding.silent_s)}"
    if usual is None:
        return words
    return f"it began {ago(holding.elapsed_s)} ({usual}), {words}"


def _take_over_step(sentence: str, holding: Holding) -> NextStep:
    alias, agent = holding.task.alias, holding.agent
    left_s = max(0, holding.lease_s - holding.silent_s)
    ended = ", and that process has ended" if holding.has_left else ""
    sentence += (
        f" {agent}, who holds {alias}, gave the last sign of life {ago(holding.silent_s)}{ended}. "
        f"When {agent} is gone, then take it over; otherwise it is free in {duration(left_s)}, "
        "and nothing needs you until then: rest."
    )
    return _step_on(holding.task, "wait", sentence, _take_over(holding.task))


def _take_over(task: Task) -> str:
    return f"orch.execute_task({task.alias!r}, take_over=True)"


def _leave_to_another(facts: SessionFacts) -> NextStep | None:
    task = facts.for_another
    if task is None:
        return None
    title = one_line(task.title, _TITLE_WIDTH)
    call = f"orch.execute_task({task.alias!r})" if task.for_agent is None else _take_over(task)
    if not facts.other_agent:
        sentence = f"{title!r} can start, but it is no task of the kind you asked for: {call}"
        return _step_on(task, "wait", sentence, "")
    sentence = (
        f"{title!r} can start, and is left to {facts.other_agent}. {REST} To do it yourself: {call}"
    )
    return _step_on(task, "wait", sentence, "")


def _answer(facts: SessionFacts) -> NextStep | None:
    task = facts.question
    if task is None:
        return None
    sentence = (
        f"A question waits for you: {one_line(task.question or task.title, 400)} "
        "When you know the answer, then say it."
    )
    return _step_on(task, "decide", sentence, causes.answer_call(task, facts.outputs_read))


def _rest_until(facts: SessionFacts) -> NextStep | None:
    task = facts.resting
    if task is None or facts.now is None:
        return None
    if task.retry_at is not None:
        sentence = (
            f"{one_line(task.title, _TITLE_WIDTH)!r}: {causes.retry_words(task, facts.now)}. "
            f"{REST} To start it now: orch.snooze_task({task.alias!r}, None)"
        )
        return _step_on(task, "wait", sentence, "")
    sentence = (
        f"Nothing to do{facts.within} until {dates.rest_words(task, facts.now)}: then "
        f"{one_line(task.title, _TITLE_WIDTH)!r} wakes by itself. {REST} "
        f"To start it now: orch.snooze_task({task.alias!r}, None)"
    )
    return _step_on(task, "wait", sentence, "")


def _expect(facts: SessionFacts) -> NextStep | None:
    """Rest while the host has something to report, and say what: no person can do more."""
    why = facts.waiting
    if facts.within or why is None or {each.kind for each in why.causes} != {CauseKind.SIGNAL}:
        return None
    sentence = f"{why}. {REST} When it has happened, whoever sees it reports it."
    return NextStep(action="wait", sentence=sentence, call="", task_id=why.task_id, alias=why.alias)


def _explain(facts: SessionFacts) -> NextStep | None:
    why = facts.waiting
    if why is None:
        return None
    trouble = "Nothing can continue without you"
    if facts.within:  # it may wait for another task of the session, which goes on
        trouble = f"Nothing{facts.within} can start yet"
    sentence = f"{trouble}: {why}. When you have read this, then look at what it waits for."
    return NextStep(
        action="decide",
        sentence=sentence,
        call=f"orch.why({why.alias!r})",
        task_id=why.task_id,
        alias=why.alias,
    )


def _reconsider(facts: SessionFacts) -> NextStep | None:
    task = facts.unreached
    if task is None:
        return None
    reason = one_line(task.reason or "no reason given")
    sentence = (
        f"Everything{facts.within} has ended, but not all was reached: "
        f"{task.alias} {task.status} ({reason}).{_branch_hint(facts)}"
    )
    sentence += " When you want it after all, then try it again."
    return _step_on(task, "done", sentence, f"orch.retry_task({task.alias!r})")


def _finish(facts: SessionFacts) -> NextStep:
    sentence = f"Everything{facts.within} has ended: {counts_line(facts.counts)}."
    if facts.within:
        return NextStep(action="done", sentence=sentence, call="orch.next_step()")
    sentence += _branch_hint(facts)
    if facts.landed is None or not facts.landed.missing:
        sentence += f" {REST}"
    return NextStep(
        action="done",
        sentence=sentence,
        call="",
    )


_RULES: Final[tuple[Callable[[SessionFacts], NextStep | None], ...]] = (
    _plan,
    _take_up_own,
    _go_on,
    _plan_the_rest,
    _synthesize,
    _start,
    _merge,
    _hand_in_own,
    _bring,
    _decide,
    _answer,
    _wait_for_part,
    _wait,
    _leave_to_another,
    _merge_elsewhere,
    _rest_until,
    _expect,
    _explain,
    _reconsider,
)
"""The first rule that applies chooses the step; `_finish` is left when none does."""


# --- words -------------------------------------------------------------------


def first_words(description: str) -> str:
    """Return what a description says to do first: an item of its list, or its first sentence."""
    item = _CHECKLIST_ITEM.search(description) or _FIRST_ITEM.match(description)
    if item is not None:
        return one_line(item[1], _FIRST_WORDS)
    text = one_line(description, len(description) + 1)
    sentence = re.match(r".+?[.!?](?=\s|$)", text)
    return one_line(sentence[0] if sentence else text, _FIRST_WORDS)


def _ended(words: str) -> str:
    """Return the words with a full stop, unless they end a sentence already."""
    return words if not words or words[-1] in ".!?…:" else f"{words}."


def _step_on(task: Task, action: str, sentence: str, call: str) -> NextStep:
    return NextStep(
        action=action,
        sentence=sentence,
        call=call,
        task_id=task.id,
        alias=task.alias,
    )


def _branch_hint(facts: SessionFacts) -> str:
    """Say where the work is, and what brings it to where it is missing."""
    landed = facts.landed
    if landed is None:
        return ""
    if landed.checkout == landed.branch:
        return f" The work is on the branch {landed.branch!r}, which is checked out."
    target = landed.checkout or "the checkout"
    if not landed.missing:
        return f" The work is on the branch {landed.branch!r}, and {target} has all of it."
    commits = plural(landed.missing, "commit")
    command = f"git merge {shlex.quote(landed.branch)}"
    return (
        f" The work is on the branch {landed.branch!r}; {target} lacks {commits} of it. When you "
        f"want it there, then run, in {landed.folder}: {command}"
    )


def decision_sentence(why: Why) -> str:
    """Return the sentence that says what a person can choose, or all of *why*."""
    for cause in why.causes:
        if cause.kind is CauseKind.PERSON:
            return cause.sentence
    return str(why)


def counts_line(counts: Mapping[TaskStatus, int]) -> str:
    """Write how many tasks there are of each status, e.g. ``2 pending, 1 completed``."""
    parts = [
        f"{counts[status]} {status.replace('_', ' ')}"
        for status in TaskStatus
        if counts.get(status)
    ]
    return ", ".join(parts) or "no tasks"

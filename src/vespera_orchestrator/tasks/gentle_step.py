"""The same next step in kind words, for a person with little energy. Pure.

What to do and the call stay as they are. Only the sentence changes: it invites, it says that ten
minutes are enough, and it leaves out what went wrong. A task's own words are never changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import one_line
from vespera_orchestrator.tasks.next_step import REST, beginning, was_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from vespera_orchestrator._model import NextStep, Task
    from vespera_orchestrator.tasks.next_step import SessionFacts

_TITLE_WIDTH: Final = 90
_QUESTION_WIDTH: Final = 400
_ENOUGH: Final = "Ten minutes are enough."
_OTHERS: Final = "Others are at work."


def gently(step: NextStep, facts: SessionFacts) -> NextStep:
    """Say *step* in kind words.

    Args:
        step: The step that `next_step.next_step` chose.
        facts: What it was chosen from.
    """
    wording = _WORDINGS.get(step.action)
    return step if wording is None else wording(step, facts)


def _execute(step: NextStep, facts: SessionFacts) -> NextStep:
    own, unfinished, ready = facts.own, facts.unfinished, facts.ready
    if facts.own_lost_folder:
        return step
    if own is not None and own.task.id == step.task_id:
        return _go_on(step, own.task, own.note)
    if unfinished is not None and unfinished.id == step.task_id:
        return _go_on(step, unfinished, facts.unfinished_note)
    if ready is None or facts.synthesis_id is not None:
        return step
    words = beginning(ready)
    begins = f" It begins: {words}" if words else ""
    return _saying(step, f"When you like, then begin {_title(ready)}. {_ENOUGH}{begins}")


def _go_on(step: NextStep, task: Task, note: str) -> NextStep:
    return _saying(
        step, f"{_title(task)} is where you left it.{was_at(note)} When you like, then go on."
    )


def _wait(step: NextStep, facts: SessionFacts) -> NextStep:
    own, resting, waiting = facts.own, facts.resting, facts.waiting
    others = {resting and resting.id, waiting and waiting.task_id}
    if step.task_id in others - {None}:
        return step
    if own is not None and own.open_part is not None:
        return step
    if own is None or own.task.id != step.task_id:
        sentence = f"{facts.enough}: that is enough for now." if facts.enough else _OTHERS
        return attrs.evolve(step, sentence=f"{sentence} {REST}", call="")
    return _saying(
        step,
        f"You are in the middle of {_title(own.task)}.{was_at(own.note)} When you like, then go "
        "on; when it is done, then hand it in.",
    )


def _decide(step: NextStep, facts: SessionFacts) -> NextStep:
    is_obstacle = facts.ready is not None and facts.ready.id == step.task_id
    if is_obstacle and facts.obstacle:
        return step
    if facts.own_obstacle or facts.merge_obstacle:
        return step
    asking = facts.question
    if asking is not None and asking.id == step.task_id:
        words = one_line(asking.question or asking.title, _QUESTION_WIDTH)
        return _saying(step, f"A question, and it can wait: {words} When you like, then answer.")
    return _saying(
        step, f"{step.alias} rests until you choose. It can stay so. When you like, then choose."
    )


def _merge(step: NextStep, facts: SessionFacts) -> NextStep:
    task = facts.unmerged[0]
    return _saying(step, f"The work of {_title(task)} is done. When you like, then bring it in.")


def _synthesize(step: NextStep, facts: SessionFacts) -> NextStep:
    title = _title(facts.ready)
    return _saying(
        step, f"All pieces of {title} have ended. When you like, then bring them together."
    )


def _done(step: NextStep, facts: SessionFacts) -> NextStep:
    if facts.landed is not None and facts.landed.missing:
        return step
    if facts.within:
        return step
    return attrs.evolve(step, sentence=f"Everything has come to an end. {REST}", call="")


_WORDINGS: Final[dict[str, Callable[[NextStep, SessionFacts], NextStep]]] = {
    "execute": _execute,
    "wait": _wait,
    "decide": _decide,
    "merge": _merge,
    "synthesize": _synthesize,
    "done": _done,
}
"""By `NextStep.action`. The words for planning are kind as they are."""


def _saying(step: NextStep, sentence: str) -> NextStep:
    return attrs.evolve(step, sentence=sentence)


def _title(task: Task | None) -> str:
    return "" if task is None else repr(one_line(task.title, _TITLE_WIDTH))

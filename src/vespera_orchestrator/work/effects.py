"""Effects on the world that happen once: intent before, result after, and a question in doubt.

The intent is in the store before anything happens. So a process that dies at any point leaves one
of three traces: no intent (nothing has happened), an intent alone (nobody knows), or the result.
Only the second one is in doubt, and only there the world or a person is asked.
"""

from __future__ import annotations

import inspect
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

from vespera_orchestrator._model import TaskStatus
from vespera_orchestrator._text import one_line, show_value
from vespera_orchestrator.errors import AnswerNeededError, InvalidInputError, LeaseLostError
from vespera_orchestrator.tasks import arguments, dates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vespera_orchestrator._model import Attempt, Effect, JsonValue, Task
    from vespera_orchestrator._rooms import Rooms

_KEY_WIDTH: Final = 200
"""How many characters of a key are shown to a person."""


_NOT_HAPPENED: Final = object()
"""What came of an effect that was begun, and for certain did not happen."""


class _Turns:
    """Lets one thread of this process at a time be at an effect; the others wait for its end.

    What another thread has begun is in no doubt: it will say. Of another process nobody knows.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._threads: dict[tuple[int, str, str], int] = {}
        """Which thread is at which effect, by process: a fork copies what others were at."""

    @contextmanager
    def take(self, task_id: str, key: str) -> Iterator[None]:
        """Wait for the thread that is at the effect; within itself that would be for ever."""
        entry = os.getpid(), task_id, key
        with self._changed:
            if self._threads.get(entry) == threading.get_ident():
                raise InvalidInputError("key", f"{key!r} is being done by the call around this one")
            self._changed.wait_for(lambda: entry not in self._threads)
            self._threads[entry] = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                del self._threads[entry]
                self._changed.notify_all()


_TURNS: Final = _Turns()
"""Of the process, because two objects of it may hold one task."""


class Effects:
    """The effects of one attempt at a task."""

    def __init__(self, rooms: Rooms, task: Task, attempt: Attempt) -> None:
        self._rooms = rooms
        self._task = task
        self._attempt = attempt

    def once(
        self, key: str, do: Callable[[], JsonValue], probe: Callable[[], JsonValue] | None
    ) -> JsonValue:
        """See `Work.once`."""
        arguments.words("key", key, "does not name an effect; give a short text")
        arguments.plain_function("do", do)  # before the intent: a mistake here leaves no doubt
        if probe is not None:
            arguments.plain_function("probe", probe)
        with _TURNS.take(self._task.id, key):
            return self._once(key, do, probe)

    def _once(
        self, key: str, do: Callable[[], JsonValue], probe: Callable[[], JsonValue] | None
    ) -> JsonValue:
        """Do it if this call is the one that writes the intent."""
        store, task = self._rooms.store, self._task
        while True:
            effect = store.find_effect(task.id, key)
            if effect is not None and effect.is_done:
                return effect.result
            if effect is not None:
                result = self._settle(effect, probe)
                if result is not _NOT_HAPPENED:
                    return self._record(key, result)
            if store.begin_effect(task.id, self._attempt.number, key, instead_of=effect):
                return self._record(key, _call("do", do, key))
            # Another process of the same agent was faster: what it has begun is in doubt.

    def _settle(self, effect: Effect, probe: Callable[[], JsonValue] | None) -> JsonValue:
        """Return what came of an effect in doubt, or `_NOT_HAPPENED`.

        Raises:
            AnswerNeededError: Only a person can tell.
        """
        if probe is not None:
            result = _call("probe", probe, effect.key)
            return _NOT_HAPPENED if result is None or result is False else result
        answer = self._answer(effect)
        if answer is None:
            raise self._ask_about(effect)
        return answer.get("result", True) if answer["happened"] else _NOT_HAPPENED

    def _answer(self, effect: Effect) -> dict[str, JsonValue] | None:
        """Return what a person has said about the effect, if it can be understood."""
        if effect.question_id is None:
            return None
        asking = self._rooms.store.find_task(effect.question_id, None)
        if asking is None or asking.status is not TaskStatus.COMPLETED:
            return None
        outputs = dict(asking.outputs)
        return outputs if isinstance(outputs.get("happened"), bool) else None

    def _ask_about(self, effect: Effect) -> AnswerNeededError:
        key = one_line(effect.key, _KEY_WIDTH)
        moment = dates.moment_words(effect.begun_at, self._rooms.zone)
        asking = self.ask(
            f"Has {key!r} happened? Attempt {effect.attempt} began it ({moment}) and did not "
            "record its end. Look, and answer yes or no; if it returned anything, add it as "
            "result.",
            effect=effect.key,
        )
        remedy = (
            f"nobody knows whether {key!r} has happened. Look, then say it: "
            f"orch.answer({asking.alias!r}, happened=True), or happened=False"
        )
        return AnswerNeededError(
            self._task.alias, "pending", f"do {key!r} for", remedy, question=asking.alias
        )

    def ask(self, question: str, *, effect: str | None = None) -> Task:
        """Ask a person, and give the task back until the answer has come."""
        arguments.words("question", question, "asks nothing; write a sentence")
        asking = self._rooms.store.ask(
            self._task.id,
            self._attempt.number,
            question,
            agent=self._attempt.agent,
            effect=effect,
        )
        if self._rooms.attempts.get(self._task.id) == self._attempt.number:
            del self._rooms.attempts[self._task.id]
        return asking

    def _record(self, key: str, result: JsonValue) -> JsonValue:
        """Record what came of an effect, whoever holds the task by now."""
        store, task, number = self._rooms.store, self._task, self._attempt.number
        try:
            recorded = store.record_effect(task.id, number, key, result)
        except InvalidInputError as exc:
            store.record_effect(task.id, number, key, None)
            problem = (
                f"{exc.problem}; that {key!r} has happened is recorded, with None as its result"
            )
            raise InvalidInputError(exc.name, problem, exc.where) from exc
        current = store.find_task(task.id, None)
        if current is None or current.attempts != number:
            reason = f"another attempt followed it; that {key!r} has happened is recorded"
            raise LeaseLostError(task.alias, number, reason)
        return recorded.result


def _call(name: str, function: Callable[[], JsonValue], key: str) -> JsonValue:
    """Return what a function of the caller returns.

    Raises:
        InvalidInputError: It returned something to be awaited, and so has only begun.
    """
    result: object = function()
    if not inspect.isawaitable(result):
        return cast("JsonValue", result)
    if inspect.iscoroutine(result):
        result.close()
    problem = (
        f"{name} returned {show_value(result)}, which nobody awaits: whether {key!r} has happened "
        "is not recorded. Give a function that waits for the end, such as lambda: asyncio.run(…)"
    )
    raise InvalidInputError(name, problem)

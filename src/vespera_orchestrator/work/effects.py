"""Effects on the world that happen once: intent before, result after, and a question in doubt.

The intent is in the store before anything happens. So a process that dies at any point leaves one
of three traces: no intent (nothing has happened), an intent alone (nobody knows), or the result.
Only the second one is in doubt, and only there the world or a person is asked.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import TaskStatus
from vespera_orchestrator._text import one_line
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


class Effects:
    """The effects of one attempt at a task."""

    def __init__(self, rooms: Rooms, task: Task, attempt: Attempt) -> None:
        self._rooms = rooms
        self._task = task
        self._attempt = attempt
        self._locks: dict[str, threading.Lock] = {}
        """Threads of one holder wait for each other: what one of them has begun is in no doubt."""
        self._under_way: set[tuple[int, str]] = set()
        """Which thread is at which effect."""

    def once(
        self, key: str, do: Callable[[], JsonValue], probe: Callable[[], JsonValue] | None
    ) -> JsonValue:
        """See `Work.once`."""
        arguments.words("key", key, "does not name an effect; give a short text")
        arguments.function("do", do)  # before the intent: a typing mistake leaves no doubt
        arguments.callback("probe", probe)
        with self._alone(key):
            store, task, number = self._rooms.store, self._task, self._attempt.number
            known = store.find_effect(task.id, key)
            if known is not None and known.is_done:
                return known.result
            if known is not None:
                result = self._settle(known, probe)
                if result is not _NOT_HAPPENED:
                    return self._record(key, result)
            begun = store.begin_effect(task.id, number, key, again=known is not None)
            if begun.is_done:
                return begun.result
            return self._record(key, do())

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Let one thread at a time be at an effect; within itself it could only wait for ever."""
        entry = threading.get_ident(), key
        if entry in self._under_way:
            raise InvalidInputError("key", f"{key!r} is being done by the call around this one")
        # One step of the dictionary: two threads that come first must not get a lock each.
        with self._locks.setdefault(key, threading.Lock()):
            self._under_way.add(entry)
            try:
                yield
            finally:
                self._under_way.discard(entry)

    def _settle(self, known: Effect, probe: Callable[[], JsonValue] | None) -> JsonValue:
        """Return what came of an effect in doubt, or `_NOT_HAPPENED`.

        Raises:
            AnswerNeededError: Only a person can tell.
        """
        if probe is not None:
            result = probe()
            return _NOT_HAPPENED if result is None or result is False else result
        answer = self._answer(known)
        if answer is None:
            raise self._ask_about(known)
        return answer.get("result", True) if answer["happened"] else _NOT_HAPPENED

    def _answer(self, known: Effect) -> dict[str, JsonValue] | None:
        """Return what a person has said about the effect, if it can be understood."""
        if known.question_id is None:
            return None
        asking = self._rooms.store.find_task(known.question_id, None)
        if asking is None or asking.status is not TaskStatus.COMPLETED:
            return None
        outputs = dict(asking.outputs)
        return outputs if isinstance(outputs.get("happened"), bool) else None

    def _ask_about(self, known: Effect) -> AnswerNeededError:
        key = one_line(known.key, _KEY_WIDTH)
        begun = dates.moment_words(known.begun_at, self._rooms.zone)
        asking = self.ask(
            f"Has {key!r} happened? Attempt {known.attempt} began it ({begun}) and did not record "
            "its end. Look, and answer yes or no; if it returned anything, add it as result.",
            effect=known.key,
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
        return self._rooms.store.ask(
            self._task.id,
            self._attempt.number,
            question,
            agent=self._attempt.agent,
            effect=effect,
        )

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

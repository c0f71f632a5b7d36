"""Effects on the world that happen once: intent before, result after, and a question in doubt.

The intent is in the store before anything happens. So a process that dies at any point leaves one
of three traces: no intent (nothing has happened), an intent alone (nobody knows), or the result.
Only the second one is in doubt, and only there the world or a person is asked.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import threading
import unicodedata
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final, cast

from vespera_orchestrator._model import TaskStatus
from vespera_orchestrator._text import one_line, show_value
from vespera_orchestrator.errors import AnswerNeededError, InvalidInputError, LeaseLostError
from vespera_orchestrator.home.file_lock import file_lock
from vespera_orchestrator.home.files import translate_os_error
from vespera_orchestrator.home.permissions import make_folder
from vespera_orchestrator.tasks import arguments, dates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vespera_orchestrator._model import Attempt, Effect, JsonValue, Task
    from vespera_orchestrator._rooms import Rooms

_KEY_WIDTH: Final = 200
"""How many characters of a key are shown to a person."""


_NOT_HAPPENED: Final = object()
"""What came of an effect that was begun, and for certain did not happen."""


_UNDER_WAY: Final[set[tuple[int, int, str, str]]] = set()
"""What each thread is at, with its process: a fork copies what others were at."""
_POLL_S: Final = 0.01


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
        key = unicodedata.normalize("NFC", key)  # however it is typed, it is the same effect
        arguments.plain_function("do", do)  # before the intent: a mistake here leaves no doubt
        if probe is not None:
            arguments.plain_function("probe", probe)
        with self._alone(key) as lock:
            result = self._once(key, do, probe)
            with suppress(OSError):  # whoever comes now finds the record; a lock that stays is free
                lock.unlink(missing_ok=True)
            return result

    @contextmanager
    def _alone(self, key: str) -> Iterator[Path]:
        """Wait for whoever is at the effect, of all that use this home; yield the lock's file.

        What another one is at is in no doubt: it will say. Within itself that would be for ever.
        """
        entry = os.getpid(), threading.get_ident(), self._task.id, key
        if entry in _UNDER_WAY:
            raise InvalidInputError("key", f"{key!r} is being done by the call around this one")
        digest = hashlib.sha256(f"{self._task.id} {key}".encode("utf-8", "surrogatepass"))
        path = self._rooms.scope.home.locks / f"effect-{digest.hexdigest()[:32]}.lock"
        with ExitStack() as lock:
            try:
                make_folder(path.parent)
                lock.enter_context(file_lock(path, poll_s=_POLL_S))
            except OSError as exc:
                raise translate_os_error(exc, path) from exc
            _UNDER_WAY.add(entry)
            lock.callback(_UNDER_WAY.discard, entry)
            yield path

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
            # Another machine was faster, under the same name: what it has begun is in doubt.

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

"""What an answer must say, so that the conditions which read it can be decided. Pure.

A plain value (``answer("gate", True)``) has no name. It is meant for the one output that conditions
read. Where that is not so clear, the answer is refused, with the names: recorded as it is, it would
skip every task whose condition does not find what it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import TaskStatus
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks import causes, conditions
from vespera_orchestrator.tasks.lifecycle import tasks_by_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vespera_orchestrator._model import JsonValue, Situation, Task

PLAIN: Final = "answer"
"""The output that a value without a name becomes."""


def outputs_read(reader: Task, needed_id: str) -> list[str]:
    """Return the names of the outputs of a task that the condition of another one reads."""
    return [str(reference.path[0]) for reference in _references(reader, needed_id)]


def _references(reader: Task, needed_id: str) -> Iterator[conditions.Reference]:
    """Yield where a task that has not begun reads outputs of another one."""
    if reader.condition is None or reader.status is not TaskStatus.PENDING:
        return
    for reference in conditions.parse(reader.condition).references():
        if reference.path and reader.condition_names.get(reference.name) == needed_id:
            yield reference


def understood(
    asked: Task, outputs: Mapping[str, JsonValue], readers: Sequence[Situation]
) -> Mapping[str, JsonValue]:
    """Return an answer as outputs in which the conditions of others find what they read.

    Args:
        asked: The task that is answered.
        outputs: The answer.
        readers: The tasks that depend on it.

    Raises:
        InvalidInputError: A condition could never be decided, or would take a text for a yes.
    """
    open_readers = [each for each in readers if any(_references(each.task, asked.id))]
    outputs = _with_name(asked, outputs, open_readers)
    for reader in open_readers:
        _refuse_words_for_yes(asked, outputs, reader.task)
        _refuse_undecidable(asked, outputs, reader)
    return outputs


def _with_name(
    asked: Task, outputs: Mapping[str, JsonValue], readers: Sequence[Situation]
) -> Mapping[str, JsonValue]:
    """Give a plain value the name of the one output that conditions read."""
    names = {name: reader for reader in readers for name in outputs_read(reader.task, asked.id)}
    if outputs.keys() != {PLAIN} or PLAIN in names or len(names) != 1:
        return outputs
    (name,) = names
    value = outputs[PLAIN]
    meant = {name: value, **outputs}
    leads_nowhere = all(_decided(asked, meant, reader) is False for reader in readers)
    if isinstance(value, str) and leads_nowhere:
        problem = f"by {show_value(value)}, {_readers(readers)} would be skipped"
        named = f"orch.answer({asked.alias!r}, {name}={value!r})"
        raise _refusal(f"{problem}; if you mean that: {named}")
    return meant


def _decided(asked: Task, outputs: Mapping[str, JsonValue], reader: Situation) -> bool | None:
    condition = conditions.parse(str(reader.task.condition))
    return conditions.decide(condition, _answered(asked, outputs, reader))


def _answered(asked: Task, outputs: Mapping[str, JsonValue], reader: Situation) -> dict[str, Task]:
    """Return the tasks that a condition reads, as they are once the answer counts."""
    done = attrs.evolve(asked, status=TaskStatus.COMPLETED, outputs=dict(outputs))
    return tasks_by_name(reader.task, {**reader.needed, asked.id: done})


def _refuse_words_for_yes(asked: Task, outputs: Mapping[str, JsonValue], reader: Task) -> None:
    """Refuse a text where a condition reads yes or no: any text, also "no", would be a yes."""
    for reference in conditions.read_as_truth(conditions.parse(str(reader.condition))):
        if len(reference.path) != 1 or reader.condition_names.get(reference.name) != asked.id:
            continue
        name = str(reference.path[0])
        value = outputs.get(name)
        if isinstance(value, str):
            problem = f"{reader.alias} reads it as yes or no; say {name}=True or {name}=False, not "
            raise InvalidInputError(name, problem + show_value(value))


def _refuse_undecidable(asked: Task, outputs: Mapping[str, JsonValue], reader: Situation) -> None:
    """Refuse an answer without what a condition reads, or with what it cannot compare."""
    if _decided(asked, outputs, reader) is not None:
        return
    task = reader.task
    condition = conditions.parse(str(task.condition))
    by_name = _answered(asked, outputs, reader)
    own_names = [name for name, each in by_name.items() if each.id == asked.id]
    missing = conditions.missing_outputs(condition, by_name)
    if any(output.name in own_names for output in missing):
        names = dict.fromkeys(outputs_read(task, asked.id))
        reads = " and ".join(f"{asked.alias}.outputs.{name}" for name in names)
        call = causes.answer_call(asked, names, outputs.get(PLAIN))
        raise _refusal(f"{task.alias} reads {reads}, which it does not say. Write: {call}")
    if set(conditions.undecided(condition, by_name)) <= set(own_names):
        raise _refusal(f"{task.alias} cannot compare it ({task.condition})")


def _readers(readers: Iterable[Situation]) -> str:
    return " and ".join(reader.task.alias for reader in readers)


def _refusal(problem: str) -> InvalidInputError:
    return InvalidInputError(PLAIN, f"nothing is recorded yet: {problem}")

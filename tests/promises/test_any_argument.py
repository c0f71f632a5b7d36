"""Whatever is passed, to whichever public call, only errors of ours come out."""

from __future__ import annotations

import inspect
import itertools

import pytest

import vespera_orchestrator as vespera


class Unspeakable:
    """Somebody's own object, which cannot even be printed."""

    def __repr__(self):
        raise RuntimeError("no words")

    __str__ = __repr__


def nested(depth):
    """A list in a list in a list, deeper than Python prints."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = {
    "a number of 5,000 digits": 10**5000,
    "a list too deep to be printed": nested(5000),
    "an object that cannot be printed": Unspeakable(),
    "one of those in a mapping": {"a": Unspeakable()},
    "no number": float("nan"),
    "a number near the end": 1e308,
    "a negative number": -1,
    "true": True,
    "bytes that are no text": b"\xff",
    "an object": object(),
    "a mapping with a number for a key": {1: 2},
    "a list of nothing": [None],
    "half a character": "\ud800",
    "a NUL": "\0",
    "a list with a NUL": ["\0"],
    "a long text": "x" * 100_000,
    "a set": set(),
    "an empty tuple": (),
}
RIGHT = {
    "task": "first",
    "task_id": "first",
    "parent_task_id": "first",
    "before": "first",
    "after": "second",
    "specs": [{"title": "One more"}],
    "dependency": "second",
    "session": None,
    "worktree": "first",
    "question": "Which one?",
    "answer": "This one.",
    "path": "README.md",
    "name": "name",
    "version": 1,
}
ENDS_IT = {"close", "open", "on_event"}
TAKES_LONG = {"run", "watch", "backup", "export", "import_", "check", "repair", "rebuild_index"}
FOR_OUR_OWN_ROOMS = {"draft_file", "prepare_landing"}
"""Called by other rooms of the library only, with records that these have made."""


@pytest.fixture
def objects(project):
    """What a caller holds: each with its name."""
    with vespera.open(project.folder, durability="normal") as orch:
        orch.initialize_session("Bear anything")
        orch.plan_tasks([{"title": "First"}, {"title": "Second"}, {"title": "Third"}])
        RIGHT["artifact"] = orch.artifacts.save("Notes", "some").id
        with orch.execute_task("third") as work:
            yield {
                "orch": orch,
                "orch.artifacts": orch.artifacts,
                "orch.documents": orch.documents,
                "orch.worktrees": orch.worktrees,
                "work": work,
            }
            if work.is_open:
                work.release()


def calls(kind):
    """Yield the public functions of a class, with the arguments that they take by name."""
    skipped = ENDS_IT | TAKES_LONG | FOR_OUR_OWN_ROOMS
    for name, function in inspect.getmembers(kind, inspect.isfunction):
        if name.startswith("_") or name in skipped:
            continue
        parameters = list(inspect.signature(function).parameters.values())[1:]
        kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        yield name, [parameter for parameter in parameters if parameter.kind not in kinds]


def arguments_for(parameters, odd, value):
    """Return right arguments, except for one."""
    by_name = {
        parameter.name: RIGHT.get(parameter.name, "some words")
        for parameter in parameters
        if parameter.default is parameter.empty
    }
    by_name[odd] = value
    by_position = [
        by_name.pop(parameter.name)
        for parameter in parameters
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name in by_name
    ]
    return by_position, by_name


def complaint(function, by_position, by_name):
    """Return what is wrong with the way in which a call ends; ``None`` if nothing is."""
    try:
        function(*by_position, **by_name)
    except vespera.VesperaError as error:
        try:
            return None if len(str(error)) < 2000 and repr(error) else f"long: {str(error)[:100]}"
        except Exception as unspeakable:  # noqa: BLE001 - that is what is looked for
            return f"its text: {type(unspeakable).__name__}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return f"{type(error).__name__}: {error}"[:200]
    return None


def complaints(objects, stride):
    """Try every argument of every call with each *stride*-th value; return what came of it."""
    told = []
    count = 0
    numbers = itertools.count()
    for name, thing in objects.items():
        for call, parameters in calls(type(thing)):
            for parameter in parameters:
                for words, value in VALUES.items():
                    if next(numbers) % stride:
                        continue
                    by_position, by_name = arguments_for(parameters, parameter.name, value)
                    count += 1
                    wrong = complaint(getattr(thing, call), by_position, by_name)
                    if wrong is not None:
                        told.append(f"{name}.{call}({parameter.name}={words}): {wrong}")
    return told, count


def test_any_argument_of_any_call(objects):
    """Each argument with a few of the values; the soak takes all of them."""
    told, count = complaints(objects, stride=7)
    assert told == []
    assert count > 500


@pytest.mark.soak
def test_every_value_for_every_argument(objects):
    """Some 5,000 calls."""
    told, count = complaints(objects, stride=1)
    assert told == []
    assert count > 3500

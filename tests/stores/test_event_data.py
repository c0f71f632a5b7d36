"""What the reference says about the data of events."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
from itertools import pairwise
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator._model import EventKind

OPEN_KEYS = {EventKind.TASK_UPDATED, EventKind.STORE_PRUNED}
"""Their keys are the names of fields or tables."""


def documented_keys():
    """Return the keys that the docstring of each kind names."""
    (definition,) = ast.parse(inspect.getsource(EventKind)).body
    keys = {kind: set() for kind in EventKind}
    for member, below in pairwise(definition.body):
        match member, below:
            case (
                ast.Assign(value=ast.Constant(value=kind)),
                ast.Expr(value=ast.Constant(value=text)),
            ):
                keys[EventKind(kind)] = set(re.findall(r"``(\w+)``", text))
    return keys


@pytest.fixture
def events(tmp_path):
    """The events of a home in which some of everything was done."""
    make_schema = runpy.run_path(str(Path(__file__).with_name("make_schema.py")))
    with vespera.open(tmp_path) as orch:
        make_schema["fill"](orch)
        return orch._store.events(0, limit=None)


def test_the_keys_of_an_events_data_are_documented(events):
    """Whoever reads the log finds every key in the docstring of the event's kind."""
    keys = documented_keys()
    seen = {event.kind for event in events}
    assert {"task_completed", "task_blocked", "checkpoint_saved", "artifact_saved"} <= seen
    unknown = {
        (event.kind, key)
        for event in events
        if event.kind not in OPEN_KEYS
        for key in event.data
        if key not in keys[EventKind(event.kind)]
    }
    assert unknown == set()

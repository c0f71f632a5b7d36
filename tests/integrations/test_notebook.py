"""What notebooks show: every object says what it is, the tour runs, the board follows the work."""

from __future__ import annotations

import enum
import html.parser
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import vespera_orchestrator as vespera
from support import ROOT
from support.notebooks import RUN
from vespera_orchestrator.integrations import notebook

DONE = {"summary": "done", "detailed_work": "All of it."}
TOUR = ROOT / "examples" / "tour.ipynb"
HOSTILE = '<script>alert(1)</script><b>"&'


@pytest.fixture
def orch(tmp_path):
    """The façade, in a session whose texts are hostile."""
    with vespera.open(tmp_path) as opened:
        opened.initialize_session(HOSTILE)
        opened.plan_tasks(
            [
                {"title": HOSTILE, "alias": "one", "description": HOSTILE},
                {"title": "Two", "dependencies": ["one"]},
            ]
        )
        yield opened


class Tags(html.parser.HTMLParser):
    """Collects the tags of a page, and what is open at its end."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):  # noqa: ARG002 - the parser's own names
        self.tags.append(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def shown(value):
    """Return the HTML that a notebook would show."""
    bundle = getattr(value, "_repr_mimebundle_", None)
    return bundle()["text/html"] if bundle is not None else value._repr_html_()


def test_every_record_shows_itself_and_texts_form_no_markup(orch):
    """Session, task, status, graph, artifact, hit, run report, pressure, forecast and the rest."""
    orch.artifacts.save(HOSTILE, HOSTILE)
    report = orch.run({"one": lambda _: HOSTILE})
    values = [
        orch.current_session(),
        orch.get_task("one"),
        orch.get_status(),
        orch.session_status(),
        orch.resume(),
        orch.next_step(),
        orch.why("two"),
        orch.graph(),
        report,
        orch.pressure(),
        *orch.artifacts.list()[:1],
        *orch.artifacts.search("script")[:1],
        *orch.watch(0, timeout_s=0).poll()[:3],
    ]
    for value in values:
        page = Tags(shown(value))
        assert not page.open, value
        assert "script" not in page.tags, value
    assert "✓ completed" in shown(orch.graph())
    assert "run: 1 completed" in shown(report)


def test_every_object_that_one_meets_says_what_it_is(orch):
    """No public class shows an address in memory."""
    silent = []
    for name in vespera.__all__:
        thing = getattr(vespera, name)
        is_plain = inspect.isclass(thing) and not issubclass(thing, enum.Enum | Exception)
        if is_plain and thing.__repr__ is object.__repr__:
            silent.append(name)
    assert silent == ["Record"]  # the base of records; each of them has its own
    rooms = [orch, orch.artifacts, orch.worktrees, orch.documents, orch.graph(), orch.watch()]
    for thing in [*rooms, orch.execute_task("one")]:
        assert " object at 0x" not in repr(thing)


def test_the_public_classes_are_records_or_rooms():
    """Every record that has fields has a rich display."""
    for name in vespera.__all__:
        thing = getattr(vespera, name)
        if inspect.isclass(thing) and issubclass(thing, vespera.Record) and attrs.has(thing):
            assert callable(thing._repr_html_)


class Screen:
    """Stands for the output of a cell."""

    def __init__(self):
        self.shown = []

    def update(self, status):
        self.shown.append(status)


def test_the_board_follows_the_work(orch, monkeypatch):
    """It is updated in place until everything has ended."""
    screen = Screen()

    def display(status):
        screen.update(status)
        orch.complete_task("one", **DONE)
        return screen

    monkeypatch.setattr(notebook, "_display", display)
    monkeypatch.setattr(notebook, "_PAUSE_S", 0)
    update = screen.update

    def go_on(status):
        update(status)
        if status.completed_count == 1:
            orch.complete_task("two", **DONE)

    screen.update = go_on
    step = notebook.board(orch, timeout_s=60)
    assert step.action == "done"
    assert [status.completed_count for status in screen.shown][-1] == 2


def test_the_board_ends_when_nothing_happens(orch, monkeypatch):
    """After its time, with the next step."""
    screen = Screen()
    monkeypatch.setattr(notebook, "_display", lambda status: screen.update(status) or screen)
    assert notebook.board(orch, timeout_s=0).action == "execute"
    assert len(screen.shown) == 1


def test_the_tour_runs(tmp_path):
    """Cell after cell, in a folder of its own; each shows something that says what it is."""
    environ = {**os.environ, "VESPERA_ORCHESTRATOR_EMBEDDER": "none"}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, str(TOUR)],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "every task has ended" in run.stdout


def test_the_tour_is_a_clean_notebook():
    """No outputs and no numbers are stored: a change shows as what it is."""
    tour = json.loads(Path(TOUR).read_text("utf-8"))
    assert tour["nbformat"] == 4
    for cell in tour["cells"]:
        assert cell["id"]
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None

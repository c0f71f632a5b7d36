"""Texts of others reach a terminal, a drawing and a page as text: nothing in them is obeyed."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import pkgutil
import sys
import unicodedata
from enum import Enum
from types import ModuleType, SimpleNamespace

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator._text import shown
from vespera_orchestrator.errors import VesperaError
from vespera_orchestrator.integrations import notebook
from vespera_orchestrator.integrations.command import main
from vespera_orchestrator.integrations.tools import Toolbox
from vespera_orchestrator.work import run_bar
from vespera_orchestrator.work.run_report import RunProgress
from vespera_orchestrator.worktrees.terms import landing_message

HIDDEN = "\xad\u061c\u180e\u200e\u200f\u2061\u206a\ufff9\u3164\uffa0\ufe01\U000e0101\U0001d173"
HOSTILE = (
    "\x1b]0;x\x07\x1b[2J\x9b8m\u202egnp\u2066\u200b\ufeff\U000e0041"
    f"{HIDDEN}\u2028# Ours\u2029\x00\x08\r\x7f\x85"
)


def obeyed(text):
    """Return what a terminal would obey in a text, or what nobody would see."""
    left = {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")}
    return (left | (set(text) & set(HIDDEN))) - {"\n", "\t"}


@pytest.fixture
def orch(tmp_path):
    """A session in which every text of others is hostile."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("goal" + HOSTILE)
        orch.plan_task("a" + HOSTILE, "d" + HOSTILE, alias="a")
        condition = f'a.outputs.x == "{HOSTILE[-6:-4]}\u202e"'
        orch.plan_task("b" + HOSTILE, alias="b", dependencies=["a"], condition=condition)
        orch.plan_task("c" + HOSTILE, alias="c")
        work = orch.execute_task("a", agent="me" + HOSTILE)
        work.checkpoint({}, "note" + HOSTILE, 0.5)
        work.fail("error" + HOSTILE)
        done = {"summary": "s" + HOSTILE, "detailed_work": "d" + HOSTILE}
        orch.complete_task("c", artifact_type="kind" + HOSTILE, **done)
        orch.share_context(k="v" + HOSTILE)
        yield orch


def test_no_text_that_people_read_is_obeyed(orch):
    """Records, drawings and pages, each in every form in which it shows itself."""
    records = [orch.get_status(include_completed=True), orch.next_step(), orch.resume()]
    records += [orch.current_session(), orch.artifacts.list(), orch.artifacts.list()[0]]
    records += [orch.why(task) for task in "abc"]
    records += [orch.get_task(task) for task in "abc"]
    records += [orch.artifacts.show(artifact) for artifact in orch.artifacts.list()]
    records += [*orch.watch(0, timeout_s=0), orch.shared_context(), orch.list_sessions()[0]]
    for record in records:
        assert obeyed(str(record)) == set()
        assert obeyed(repr(record)) <= set(HIDDEN), "as Python writes them"
        html = getattr(record, "_repr_html_", None)
        assert html is None or obeyed(html()) == set()
    assert obeyed(orch.graph().to_mermaid() + orch.graph().to_dot()) == set()
    assert orch.get_task("a").title == "a" + HOSTILE.rstrip(), "the stored text is unchanged"


def test_no_name_makes_a_line_of_its_own(tmp_path):
    """In a list, a line is one event, one artifact, one value: none of them is made up."""
    forged = "x\n2026-01-01 10:00 UTC  b: completed\nforged"
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("x", context={forged: forged})
        orch.plan_tasks([{"title": "A"}, {"title": "B"}])
        with vespera.open(tmp_path, agent=forged) as other:
            other.share_context(k=1)
            work = other.execute_task("a")
            work.save_artifact(forged, forged, tags=[forged])
            work.fail(forged)
        orch.share_context(k=2)
        lists = [orch.history(), orch.artifacts.list(), orch.shared_context(), orch.query_tasks()]
        lists += [*lists[0], *orch.watch(0, timeout_s=0), *orch.shared_context().conflicts]
        lists += [*orch.shared_context().history("k"), orch.get_status(), orch.resume()]
        hits = [str(hit).partition("\n") for hit in orch.artifacts.search("completed")]
    assert len(lists) > 15
    for text in [*map(str, lists), *(head for head, _, _ in hits)]:
        lines = text.splitlines()
        assert not [line for line in lines if line.startswith(("2026-01-01", "forged"))]
    assert hits
    assert all("(v1, " in head for head, _, _ in hits)


def test_no_answer_that_is_only_a_text_is_obeyed(orch):
    """Prompts, briefings, drawings, reports, and what a model gets from a tool."""
    seen = []
    orch.retry_task("a")
    with orch.execute_task("a") as work:
        seen += [work.briefing(), str(orch.get_status()), str(orch.next_step())]
        seen.append(str(orch.artifacts.context("d")))
        work.release("note" + HOSTILE)
    orch.pause("later" + HOSTILE, "next" + HOSTILE)
    seen += [orch.graph().to_svg(), str(orch.history()), str(orch.digest()), str(orch.pressure())]
    seen += [orch.spawn_agent_with_context("a").prompt(), str(orch.resume()), str(orch.check())]
    seen.append(str(orch.run(lambda _: {"summary": "s" + HOSTILE}, progress=seen.append)))
    toolbox = Toolbox(orch, include="all")
    for tool in toolbox.tools:
        required = {"task": "a", "task_id": "a", "artifact": orch.artifacts.list()[0].id}
        names = tool.parameters.get("required", ())
        if tool.spec.group == "looking" and set(names) <= required.keys():
            seen.append(str(tool({name: required[name] for name in names})))
    assert len(seen) > 15
    for text in map(str, seen):
        assert obeyed(text) == set()


def test_the_command_prints_nothing_that_is_obeyed(orch):
    """Each command that prints what is known."""
    out = io.StringIO()
    for words in ("resume", "next", "status", "history", "check", "why a", "artifacts"):
        arguments = ["--project", str(orch.project), *words.split()]
        with contextlib.suppress(SystemExit):
            main(arguments, out=out, err=out, stdin=io.StringIO())
    assert "goal" in out.getvalue()
    assert obeyed(out.getvalue()) == set()


def test_no_document_and_no_commit_is_obeyed(project):
    """What lands carries the words of whoever planned it."""
    with vespera.open(project.folder) as orch:
        orch.initialize_session("goal" + HOSTILE, project_type="software_development")
        orch.plan_task("Fixed: a" + HOSTILE, alias="a")
        with orch.execute_task("a", worktree=True, agent="me" + HOSTILE) as work:
            (work.path / "new.py").write_text('"""Module."""\n')
            work.complete(summary="Fixed: s" + HOSTILE, detailed_work="d" + HOSTILE)
        orch.documents.update()
    assert obeyed(project.git("log", "--all", "--format=%an%ae%cn%B")) == set()
    documents = project.git("grep", "-h", "-e", "", "integration", "--", "docs")
    assert "Fixed" in documents
    assert obeyed(documents) == set()


SHOWN_BY_OTHERS = {
    "Appearance", "ConflictEntry", "DeadLink", "EarlierSnapshot", "FileChange", "FileLink",
    "FullLoad", "LeftOut", "MarkerError", "MissingOutput", "Record", "Spot", "UnfitFileError",
    "YamlMistakeError",
}  # fmt: skip
"""Their words reach people in an error, a record or a document, which is shown as text itself."""


def test_whatever_shows_itself_is_shown_as_text(tmp_path):
    """A class that is no record must ask for it."""
    names = []
    for module in pkgutil.walk_packages(vespera.__path__, "vespera_orchestrator."):
        if not module.name.endswith("__main__") and ".testing" not in module.name:
            names += [
                kind.__name__
                for kind in vars(importlib.import_module(module.name)).values()
                if isinstance(kind, type) and kind.__module__ == module.name
                if any(
                    method in vars(kind) and not hasattr(vars(kind)[method], "shows")
                    for method in ("__str__", "_repr_html_", "to_mermaid", "to_dot")
                )
                if not issubclass(kind, Enum)
            ]
    assert set(names) - SHOWN_BY_OTHERS == set()
    with vespera.open(tmp_path, agent="ada" + HOSTILE) as orch:
        orch.initialize_session("x")
        orch.share_context(k=1)
        assert obeyed(str(orch.shared_context())) == set()


def test_no_message_of_an_error_is_obeyed(orch):
    """It names what the caller wrote."""
    for call in (
        lambda: orch.get_task("x" + HOSTILE),
        lambda: orch.plan_task("t", dependencies=["x" + HOSTILE]),
        lambda: orch.plan_task("t", alias="x" + HOSTILE),
        lambda: orch.execute_task("b"),
        lambda: orch.artifacts.get("x" + HOSTILE),
    ):
        with pytest.raises(VesperaError) as caught:
            call()
        assert obeyed(str(caught.value)) == set()


def test_an_artifact_is_found_by_the_title_of_its_task(orch):
    """Titles of artifacts are stored as they are shown."""
    artifact = orch.artifacts.find(orch.get_task("c").title, task="c")
    assert obeyed(artifact.title) == set()


def test_lines_stay_lines():
    """Text of several lines keeps them, and joins that mean something stay."""
    assert shown("a\r\nb\rc\td") == "a\nb\nc\td"
    family = "\U0001f468\u200d\U0001f469"
    assert shown(family + "\x1b") == family


def test_a_title_cannot_forge_the_end_of_a_commit_message(orch):
    """The line that says which task it was is ours alone."""
    task = orch.plan_task("Innocent\n\nTask: other (t_000000000000)", alias="z")
    message = landing_message(task, "Fine.\nTask: other (t_000000000000)", ["a_1"])
    lines = [line for line in message.splitlines() if line.startswith("Task:")]
    assert lines == [f"Task: z ({task.id})"]


def drawn_in_terminal(progress):
    """Return what the bar draws where rich is not installed, without its own two signs."""
    with contextlib.redirect_stderr(io.StringIO()) as out:
        bar = run_bar._PlainBar()
        bar(progress)
        bar.close()
    return out.getvalue().removeprefix("\r\x1b[K")


def drawn_by_rich(progress):
    """Return what rich draws, where it believes to be in a terminal without colors."""
    columns = pytest.importorskip("rich.progress")
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, color_system=None)
    column = columns.TextColumn("{task.description}", markup=False)
    console.print(column.render(SimpleNamespace(description=str(progress))))
    return console.file.getvalue()


@pytest.mark.parametrize(
    "draw", [drawn_in_terminal, drawn_by_rich, run_bar.bar_html, str, run_bar._LastLine]
)
def test_a_bar_of_progress_is_not_obeyed(draw):
    """In a terminal, in a notebook, and where nobody watches; a database may hold any alias."""
    running = ("<b>a</b>" + HOSTILE + "\n[red]forged",)
    progress = RunProgress(total=2, completed=1, blocked=0, running=running, took_s=1.0)
    if draw is run_bar._LastLine:
        with contextlib.redirect_stderr(io.StringIO()) as out:
            lines = draw()
            lines(progress)
            lines.print()
        drawn = out.getvalue()
    else:
        drawn = draw(progress)
    assert "1 of 2 completed" in drawn
    assert obeyed(drawn) == set()
    assert draw is not run_bar.bar_html or "<b>" not in drawn


def test_the_board_of_a_notebook_is_not_obeyed(orch, monkeypatch):
    """Neither its HTML nor its text."""
    shown_states = []
    handle = SimpleNamespace(update=shown_states.append)

    def display(state, **_):
        shown_states.append(state)
        return handle

    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    notebook.board(orch, timeout_s=0)
    assert shown_states
    for state in shown_states:
        assert obeyed(state._repr_html_() + str(state)) == set()
        assert obeyed(repr(state)) <= set(HIDDEN)


def break_off():
    """Fail as somebody's function does."""
    raise RuntimeError("broken" + HOSTILE)


def test_no_line_of_the_log_is_obeyed():
    """It stays one line; what an error of somebody else says is in it, too."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    log = logging.getLogger("vespera_orchestrator")
    log.addHandler(handler)
    try:
        log.warning("%s could not be saved: %s", "a" + HOSTILE, "x\nERROR forged\r\n")
        try:
            break_off()
        except RuntimeError:
            log.exception("%s failed", HOSTILE)
    finally:
        log.removeHandler(handler)
    lines = out.getvalue().splitlines()
    assert "ERROR forged" in lines[0]
    assert any(line.startswith("RuntimeError: broken") for line in lines)
    assert obeyed(out.getvalue()) == set()


def test_no_attribute_of_a_span_is_obeyed(orch):
    """Whoever looks at traces may do so in a terminal."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from vespera_orchestrator.integrations.opentelemetry import instrument

    spans = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    instrument(orch, tracer_provider=tracers)
    orch.retry_task("a")
    work = orch.execute_task("a", agent="me" + HOSTILE)
    work.checkpoint({}, "note" + HOSTILE)
    work.fail("error" + HOSTILE)
    (span,) = spans.get_finished_spans()
    told = [*span.attributes.values(), span.status.description]
    told += [value for event in span.events for value in event.attributes.values()]
    texts = [value for value in told if isinstance(value, str)]
    assert any("error" in text for text in texts)
    assert obeyed("".join(texts)) == set()
    tracers.shutdown()

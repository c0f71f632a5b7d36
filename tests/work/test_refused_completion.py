"""A mistake in the call that hands work in costs nothing: the work is kept, the task goes on."""

from __future__ import annotations

import inspect
import io
import math
import pickle
from typing import get_type_hints

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.errors import (
    InvalidInputError,
    NotReadyError,
    SourceFileNotFoundError,
    StoreUnavailableError,
)

WORDS = ("two", "hours", "of", "work")
TEXT = "-".join(WORDS)  # as a literal, every traceback would quote it
CIRCLE = {}
CIRCLE["self"] = CIRCLE

MISTAKES = {
    "output of a foreign type": ({"outputs": {"metrics": [{}, {"loss": object()}]}}, "[1].loss"),
    "output that is no number": ({"outputs": {"loss": math.nan}}, "outputs.loss: "),
    "key that is no text": ({"outputs": {"by": {(1, 2): 3}}}, "outputs.by: "),
    "value that contains itself": ({"outputs": CIRCLE}, "it contains itself"),
    "outputs that are no mapping": ({"outputs": 21}, "should be a mapping"),
    "missing file": ({"file_paths": ["figure.png"]}, "'figure.png' cannot be saved"),
    "path that is none": ({"file_paths": [5]}, "file_paths: "),
    "misspelt next_action": ({"next_action": "complet"}, "next_action: 'complet' is not one of"),
    "misspelt merge": ({"merge": "tomorrow"}, "merge: 'tomorrow'"),
    "summary that is no text": ({"summary": {}}, "summary: "),
    "kind that is no text": ({"artifact_type": " "}, "artifact_type: "),
    "text that no file can hold": ({"summary": "half a pair \ud800"}, "surrogate"),
}


ON_THE_WAY = {
    "state of a foreign type": ("checkpoint", {"state": {"text": TEXT, "loss": object()}}, ".loss"),
    "progress above one": ("checkpoint", {"state": TEXT, "progress": 50}, "progress: "),
    "note that is no text": ("checkpoint", {"state": TEXT, "note": 5}, "note: "),
    "title that is no text": ("save_artifact", {"title": None, "content": TEXT}, "title: "),
    "kind that says nothing": (
        "save_artifact",
        {"title": "Notes", "content": TEXT, "kind": " "},
        "kind: ",
    ),
    "tags that are none": (
        "save_artifact",
        {"title": "Notes", "content": TEXT, "tags": [5]},
        "tags: ",
    ),
    "metadata that JSON cannot hold": (
        "save_artifact",
        {"title": "Notes", "content": TEXT, "metadata": {"by": object()}},
        "metadata.by: ",
    ),
    "content of a foreign type": (
        "save_artifact",
        {"title": "Notes", "content": {"text": TEXT, "loss": object()}},
        ".loss",
    ),
}


@pytest.fixture(params=["memory:", None, "postgres"], ids=["memory", "sqlite", "postgres"])
def orch(request, tmp_path):
    """The façade on each store, in a session with one task."""
    store = request.param
    if store == "postgres":
        store = request.getfixturevalue("empty_postgres_url")
    with vespera.open(tmp_path, store=store, agent="main") as opened:
        opened.initialize_session("Goal")
        opened.plan_task("Train")
        yield opened


@pytest.fixture
def project(tmp_path):
    """The façade on the default store, in a session with one task."""
    with vespera.open(tmp_path, agent="main") as opened:
        opened.initialize_session("Goal")
        opened.plan_task("Train")
        yield opened


def kept(orch, task="train"):
    """Return the artifacts of a task that hold the text."""
    listed = orch.artifacts.list(task=task, include_superseded=True)
    return [each for each in listed if orch.artifacts.read(each) == TEXT.encode()]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_last_call_keeps_the_work_and_the_hold(orch, mistake):
    """The work becomes a partial artifact that does not pass for accepted work. The error says what
    was wrong and names the artifact. The call can be corrected within the block.
    """
    wrong, said = MISTAKES[mistake]
    with orch.execute_task("train") as work:
        with pytest.raises((InvalidInputError, SourceFileNotFoundError)) as caught:
            work.complete(**{"summary": "trained", "detailed_work": TEXT} | wrong)
        assert said in str(caught.value)
        (artifact,) = kept(orch)
        assert artifact.id in str(caught.value)
        assert artifact.id == caught.value.kept_artifact_id
        assert artifact.partial
        assert artifact.kind == "late"
        assert artifact.title == "Train (not accepted, by main)"
        assert orch.get_task("train").status == "in_progress"
        work.complete(summary="trained", detailed_work=TEXT)
    done = orch.get_task("train")
    assert (done.status, done.attempts, done.failures) == ("completed", 1, 0)
    assert orch.check()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_leaving_the_block_by_such_a_mistake_is_no_failure(orch, mistake):
    """The task is free again, without a failure or a recovery; whoever takes it next is told what
    was handed in, and where it is.
    """
    wrong, _ = MISTAKES[mistake]
    with (
        pytest.raises((InvalidInputError, SourceFileNotFoundError)) as caught,
        orch.execute_task("train") as work,
    ):
        work.complete(**{"summary": "trained", "detailed_work": TEXT} | wrong)
    task = orch.get_task("train")
    assert task.is_ready
    assert task.failures == 0
    assert [each.alias for each in orch.query_tasks()] == ["train"]
    assert any("orch.complete_task('train'" in note for note in caught.value.__notes__)
    (artifact,) = kept(orch)
    with orch.execute_task("train") as again:
        assert artifact.id in again.briefing()
    assert orch.complete_task("train", summary="trained", detailed_work=TEXT).status == "completed"


MISNAMED = {
    "summary": ({"sumary": "s", "detailed_work": TEXT}, "sumary", "use summary=…"),
    "the work itself": ({"summary": "s", "details_work": TEXT}, "details_work", "use detailed_wo"),
    "something of ours that it is not": (
        {"summary": "s", "detailed_work": TEXT, "progress": 1},
        "progress",
        "its arguments are",
    ),
    "the work under a name unlike any": ({"summary": "s", "x": TEXT, "y": 5}, "x", "its arguments"),
    "no summary": ({"detailed_work": TEXT}, "summary", "complete() needs it: summary=…"),
}


@pytest.mark.parametrize("mistake", MISNAMED)
def test_a_misspelt_argument_name_keeps_the_work(orch, mistake):
    """Python would raise before anything sees the call. The error says which name is right; the
    work is kept, and leaving the block by it is no failure.
    """
    arguments, name, said = MISNAMED[mistake]
    with pytest.raises(InvalidInputError) as caught, orch.execute_task("train") as work:
        work.complete(**arguments)
    assert caught.value.name == name
    assert said in str(caught.value)
    (artifact,) = kept(orch)
    assert artifact.id == caught.value.kept_artifact_id
    assert artifact.id in str(caught.value)
    assert orch.get_task("train").failures == 0
    with pytest.raises(InvalidInputError) as by_name:
        orch.complete_task("train", **arguments)
    assert said.removeprefix("complete()") in str(by_name.value)
    assert by_name.value.kept_artifact_id == artifact.id
    assert orch.complete_task("train", summary="s", detailed_work=TEXT).status == "completed"


def test_work_handed_in_by_position_is_kept(orch):
    """So is what comes twice."""
    with orch.execute_task("train") as work:
        with pytest.raises(InvalidInputError, match="takes fewer by position; its arguments are"):
            work.complete("trained", TEXT)
        assert len(kept(orch)) == 1
        with pytest.raises(InvalidInputError, match="state: checkpoint\\(\\) got it twice"):
            work.checkpoint({"text": TEXT}, state=2)
        work.complete(summary="s", detailed_work=TEXT)


def test_the_other_calls_that_bring_work_keep_it_too(orch):
    """Checkpoint, artifact and failure, under a misspelt name or beside one."""
    with orch.execute_task("train") as work:
        calls = [
            lambda: work.checkpoint({"at": TEXT}, nte="half"),
            lambda: work.checkpoint({"at": TEXT}, progres=0.5),
            lambda: work.save_artifact("Plot", TEXT, tag=["x"]),
            lambda: work.save_artifact("Plot", contents=TEXT),
            lambda: work.fail(reason=ValueError(TEXT)),
        ]
        texts = []
        for call in calls:
            with pytest.raises(InvalidInputError) as caught:
                call()
            artifact = orch.artifacts.get(caught.value.kept_artifact_id)
            assert artifact.partial
            texts.append((artifact.title.partition(" (")[0], orch.artifacts.text(artifact)))
        state = '{"at":"' + TEXT + '"}'
        assert texts[:4] == [("Train", state)] * 2 + [("Plot", TEXT)] * 2
        assert texts[4][1].endswith(f"ValueError: {TEXT}\n")
        work.complete(summary="s", detailed_work="d")


def test_a_call_without_a_task_or_without_work_only_says_what_is_wrong(orch):
    """There is nothing to keep, or nowhere to keep it."""
    for call, name in (
        (lambda: orch.complete_task(summary="s", detailed_work=TEXT), "task_id"),
        (lambda: orch.complete_task("unknown", sumary="s", detailed_work=TEXT), "sumary"),
        (lambda: orch.complete_task("train"), "summary"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert (caught.value.name, caught.value.kept_artifact_id) == (name, None)
    with pytest.raises(TypeError):
        vespera.Orchestrator.complete_task()


def test_of_an_empty_completion_nothing_is_kept(orch):
    """It says what is missing, and does not speak of work."""
    with pytest.raises(InvalidInputError, match=r"say in a line what was done$"):
        orch.complete_task("train", summary=" ", detailed_work="\n")
    assert kept(orch) == []


def test_a_type_error_from_inside_is_told_as_the_callers_own(orch):
    """It is not taken for a misspelt name, and costs neither the task nor the work."""

    def paths():
        yield "a.txt"
        raise TypeError("mine")

    with orch.execute_task("train") as work:
        with pytest.raises(InvalidInputError, match="failed: TypeError: mine") as caught:
            work.complete(summary="s", detailed_work=TEXT, file_paths=paths())
        assert caught.value.name == "file_paths"
        assert isinstance(caught.value.__cause__, TypeError)
        assert orch.artifacts.text(caught.value.kept_artifact_id) == TEXT
        work.complete(summary="s", detailed_work=TEXT)


def test_the_signatures_are_the_typed_ones():
    """For editors, type checkers and hosts that make tools of methods."""
    complete = inspect.signature(vespera.Work.complete)
    assert list(complete.parameters)[:3] == ["self", "summary", "detailed_work"]
    assert complete.parameters["merge"].default == "now"
    assert get_type_hints(vespera.Work.complete)["return"] is vespera.Task
    assert "Hand in the work" in vespera.Work.complete.__doc__
    assert inspect.signature(vespera.Work.checkpoint).parameters["note"].default == ""


@pytest.mark.parametrize("started", [False, True])
def test_a_mistake_in_completing_by_name_keeps_the_work_too(orch, started):
    """With a hold of this process or without one, the task stays as it is, and the same call
    corrected completes it.
    """
    if started:
        orch.execute_task("train")
    before = orch.get_task("train").status
    with pytest.raises(InvalidInputError) as caught:
        orch.complete_task("train", summary="s", detailed_work=TEXT, outputs={"loss": object()})
    assert caught.value.where == "outputs.loss"
    assert kept(orch)[0].id == caught.value.kept_artifact_id
    assert orch.get_task("train").status == before
    assert orch.complete_task("train", summary="s", detailed_work=TEXT).status == "completed"


def test_the_same_mistake_twice_keeps_the_work_once(orch):
    """Trying again and again fills no store."""
    for _ in range(3):
        with pytest.raises(InvalidInputError):
            orch.complete_task("train", summary="s", detailed_work=TEXT, merge="no")
    assert len(kept(orch)) == 1


def test_only_the_mistake_of_this_very_call_is_none_of_the_task(orch):
    """What agent code raises is a failure, though it is of the same type, and so is a mistake in
    completing another task.
    """
    orch.plan_task("Other")
    for alias, raises in (
        ("train", lambda: orch.query_tasks(limit=-1)),
        ("other", lambda: orch.complete_task("train", summary=5, detailed_work=TEXT)),
    ):
        with pytest.raises(InvalidInputError), orch.execute_task(alias):
            raises()
        assert orch.get_task(alias).status == "blocked"


def test_completing_a_parent_too_early_is_no_failure(orch):
    """The work of a parent with open subtasks is kept, and the parent waits for them."""
    orch.plan_task("Whole")
    held = orch.execute_task("whole")
    orch.plan_task("Part", parent_task_id="whole")
    with pytest.raises(NotReadyError) as caught, held as work:
        work.complete(summary="s", detailed_work=TEXT)
    assert kept(orch, "whole")[0].id == caught.value.kept_artifact_id
    assert orch.get_task("whole").failures == 0
    assert "part" in str(orch.why("whole"))


def test_work_of_another_type_is_kept_as_its_text(orch):
    """What is neither text nor bytes is refused, and its text kept all the same."""
    with pytest.raises(InvalidInputError, match="detailed_work") as caught:
        orch.complete_task("train", summary="s", detailed_work={"report": TEXT})
    assert TEXT in orch.artifacts.text(caught.value.kept_artifact_id)


@pytest.mark.parametrize(
    "hold", [bytearray, memoryview, io.BytesIO, lambda content: io.StringIO(content.decode())]
)
def test_work_that_something_holds_is_kept_itself(orch, hold):
    """Not what Python says of the thing that holds it."""
    content = TEXT.encode()
    with pytest.raises(InvalidInputError, match="detailed_work"):
        orch.complete_task("train", summary="s", detailed_work=hold(content))
    assert kept(orch)


def test_an_interruption_while_handing_in_keeps_the_work(orch, monkeypatch):
    """Ctrl-C in the last call: the text is kept, and the task free again."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(orch._completion), "submit", interrupted)
    with pytest.raises(KeyboardInterrupt), orch.execute_task("train") as work:
        work.complete(summary="s", detailed_work=TEXT)
    assert kept(orch)
    assert orch.get_task("train").is_ready


def test_trouble_in_keeping_the_work_hides_no_mistake(orch, monkeypatch):
    """When the work cannot be kept either, the first error stays, and a note says so."""

    def full(*_, **__):
        raise StoreUnavailableError("artifacts", "the disk is full")

    monkeypatch.setattr(type(orch.artifacts), "draft", full)
    with pytest.raises(InvalidInputError, match="merge") as caught:
        orch.complete_task("train", summary="s", detailed_work=TEXT, merge="no")
    (note,) = caught.value.__notes__
    assert "could not be kept: artifacts: the disk is full" in note


def test_the_marks_on_an_error_survive_pickling(orch):
    """A process pool hands on where the work is kept."""
    with pytest.raises(InvalidInputError) as caught:
        orch.complete_task("train", summary="s", detailed_work=TEXT, outputs={"a": {1}})
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert copy.completion_of == caught.value.completion_of


@pytest.mark.parametrize("mistake", ON_THE_WAY)
def test_a_mistake_on_the_way_keeps_what_the_call_brings(project, mistake):
    """It becomes a partial artifact, the error names it, and leaving the block is no failure."""
    call, arguments, said = ON_THE_WAY[mistake]
    with (
        pytest.raises(InvalidInputError) as caught,
        project.execute_task("train") as work,
    ):
        getattr(work, call)(**arguments)
    assert said in str(caught.value)
    assert caught.value.kept_artifact_id in str(caught.value)
    artifact = project.artifacts.get(caught.value.kept_artifact_id)
    assert (artifact.partial, artifact.kind) == (True, "late")
    title = "Train: checkpoint" if call == "checkpoint" else arguments["title"] or "Train"
    assert artifact.title == f"{title} (not accepted, by main)"
    assert TEXT in project.artifacts.text(artifact)
    task = project.get_task("train")
    assert (task.status, task.failures) == ("pending", 0)
    assert project.check()


def test_a_file_that_a_wrong_call_names_stays_where_it_is(project, tmp_path):
    """Neither a path nor a stream is copied."""
    file = tmp_path / "notes.md"
    file.write_text(TEXT)
    with project.execute_task("train") as work:
        with (
            pytest.raises(InvalidInputError, match="kind: "),
            file.open("rb") as stream,
        ):
            work.save_artifact("Notes", stream, kind=" ")
        with pytest.raises(InvalidInputError, match="kind: "):
            work.save_artifact("Notes", file, kind=" ")
    assert project.artifacts.list() == []

"""What an agent reads before it starts, with the store, the contents and git behind it."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from support.homes import content_file
from vespera_orchestrator.artifacts.search.vectors import VectorMaker


@pytest.fixture
def orch(project):
    """The façade on a repository, in a session."""
    with vespera.open(project.folder) as opened:
        opened.initialize_session("Control a kettle", context={"language": "English"})
        yield opened


def land(orch, project, alias, files, **fields):
    """Complete a task that writes *files* in a worktree of its own."""
    with orch.execute_task(alias, worktree=True) as work:
        project.write(files, work.path)
        said = {"summary": f"{alias} is done", "detailed_work": f"All about {alias}."}
        return work.complete(**said | fields)


def headed(text, heading):
    """Return the lines of a section."""
    _, _, below = text.partition(f"\n{heading}\n")
    return below.partition("\n\n## ")[0].splitlines()


def test_the_record_of_an_indirect_dependency_is_there(orch):
    """And it is recorded as given, as is that of the direct one."""
    orch.plan_tasks(
        [
            {"title": "Contract"},
            {"title": "Sensor", "dependencies": ["contract"]},
            {"title": "Display", "dependencies": ["sensor"]},
        ]
    )
    contract = "# Contract\n\nReadings are tenths of a degree.\n\n- never negative"
    orch.complete_task("contract", summary="tenths", detailed_work=contract)
    orch.complete_task("sensor", summary="read", detailed_work="It reads.", outputs={"pin": 4})
    text = orch.execute_task("display").briefing()
    lines = headed(text, "## What it builds on")
    assert lines[:2] == ["### sensor (completed)", "> read"]
    assert lines[2] == 'Outputs: {"pin":4}'
    assert lines[4] == "> It reads."
    at = lines.index("### contract (completed, 2 steps before)")
    assert lines[at + 1] == "> tenths"
    assert "> Readings are tenths of a degree." in lines
    used = {use.title for use in orch.artifacts.context_uses(task="display")}
    assert used == {"Contract", "Sensor"}


def test_what_has_taken_the_place_of_a_record_is_there(orch):
    """Whoever saved it; and it is quoted once, where its own task is upstream, too."""
    orch.plan_tasks(
        [
            {"title": "Sensor"},
            {"title": "Board", "dependencies": ["sensor"]},
            {"title": "Timer", "dependencies": ["sensor"]},
            {"title": "Case", "dependencies": ["sensor", "board"]},
        ]
    )
    orch.complete_task("sensor", summary="on pin 4", detailed_work="The sensor is on pin 4.")
    (record,) = orch.artifacts.list(task="sensor")
    note = orch.artifacts.save("Rewired", "The sensor is on pin 7 by now.", supersedes=record)
    text = str(orch.execute_task("timer").briefing())
    line = f"- Rewired ({note.id}, by {orch.agent}, it holds now, instead of {record.id})"
    assert f"{line}\n> The sensor is on pin 7 by now." in text
    assert "The sensor is on pin 4." not in text
    orch.complete_task(
        "board", summary="new", detailed_work="A board with 9 pins.", supersedes=note
    )
    text = str(orch.execute_task("case").briefing())
    assert f"instead of {record.id}): see board" in text
    assert text.count("> A board with 9 pins.") == 1


def test_what_was_handed_back_comes_whole(orch):
    """A review handed in with needs_revision is more than one clipped line."""
    orch.plan_task("Parser")
    review = "\n\n".join(f"Finding {number}: name it better." for number in range(30))
    orch.execute_task("parser", agent="ada").complete(
        summary="30 findings", detailed_work=review, next_action="needs_revision"
    )
    lines = headed(orch.execute_task("parser").briefing(), "## What was done before")
    assert lines[:2] == ["From the attempt before: 30 findings", "- attempt 1 by ada: revised"]
    assert all(f"> Finding {number}: name it better." in lines for number in range(30))


def test_a_recovery_reads_what_it_recovers(orch):
    """The task, the error, and what was saved on the way."""
    orch.plan_task("Boil", "Boil a litre.")
    work = orch.execute_task("boil")
    work.save_artifact("Notes", "The plug was wet.")
    work.fail(ZeroDivisionError("no heat"))
    text = orch.execute_task("recover_boil").briefing()
    assert "Why now: boil is blocked, and this task removes the cause." in text
    assert "> Boil a litre." in text
    before = headed(text, "## What was done before")
    assert "> The plug was wet." in before
    assert any("ZeroDivisionError: no heat" in line for line in before)


def test_every_file_that_a_landing_changed_is_known(orch, project):
    """Not only those named in file_paths; each once, as it is now, and never its text."""
    orch.plan_tasks(
        [
            {"title": "Base"},
            {"title": "Code", "dependencies": ["base"]},
            {"title": "Later", "dependencies": ["base"]},
            {"title": "Repair"},
            {"title": "Use", "dependencies": ["code", "later"]},
        ]
    )
    land(orch, project, "base", {"base.py": "SECRET_WORD = 1\n", "old.py": "x"})
    land(orch, project, "code", {"code.py": "y", "base.py": "b = 2\n"}, file_paths=["code.py"])
    land(orch, project, "later", {"later.py": "z"}, merge="later")
    orch.worktrees.merge("later")
    land(orch, project, "repair", {"old.py": "repaired"})
    work = orch.execute_task("use", worktree=True)
    text = work.briefing()
    (code_file,) = orch.artifacts.list(kind="file")
    assert headed(text, "## Files it may need, each as it is now") == [
        f"- code.py (by code, {code_file.id})",
        "- base.py (by code)",
        "- later.py (by later)",
        "- old.py (by base, changed since by repair)",
    ]
    assert "SECRET_WORD" not in text


def test_a_part_knows_its_whole_and_what_that_builds_on(orch, project):
    """Its description, and the records and files of what had to come before it."""
    orch.plan_tasks(
        [
            {"title": "Base"},
            {"title": "Whole", "description": "Recipes on paper.", "dependencies": ["base"]},
            {"title": "Print", "parent_task_id": "whole"},
            {"title": "Paint", "parent_task_id": "whole"},
        ]
    )
    land(orch, project, "base", {"base.py": "b = 1\n"})
    text = orch.execute_task("print", worktree=True).briefing()
    assert "It is a part of whole, which is to do:\n> Recipes on paper." in text
    upstream = headed(text, "## What it builds on")
    assert [line for line in upstream if line.startswith("###")] == [
        "### base (completed, 2 steps before)"
    ]
    assert headed(text, "## Files it may need, each as it is now") == ["- base.py (by base)"]


def test_a_version_from_before_a_conflict_is_not_the_file_as_it_is(orch, project):
    """It was kept unfinished; what landed at last was not saved as an artifact of its own."""
    orch.plan_tasks([{"title": "A"}, {"title": "B"}, {"title": "Use", "dependencies": ["a"]}])
    work = orch.execute_task("a", worktree=True)
    (work.path / "cli.py").write_text("a\n")
    land(orch, project, "b", {"cli.py": "b\n"})
    work.complete(summary="s", detailed_work="d", file_paths=["cli.py"])
    with orch.execute_task("recover_a") as recovery:
        (recovery.path / "cli.py").write_text("a\nb\n")
        recovery.complete(summary="s", detailed_work="d")
    with orch.execute_task("a") as again:
        again.complete(summary="s", detailed_work="d")
    text = orch.execute_task("use", worktree=True).briefing()
    assert headed(text, "## Files it may need, each as it is now") == ["- cli.py (by a)"]


def test_what_was_decided_is_known_to_everybody_once(orch):
    """Whoever decided it; what is quoted elsewhere on the page is not repeated."""
    orch.plan_tasks([{"title": "Format"}, {"title": "Loop", "dependencies": ["format"]}])
    orch.artifacts.save("Recipes are TOML", "The standard library reads it.", kind="decision")
    orch.artifacts.save("No colours", "Terminals differ.", kind="decision", task="format")
    orch.complete_task("format", summary="s", detailed_work="d")
    text = orch.execute_task("loop").briefing()
    agreed = text.split("## What the session has agreed on")[1]
    assert "- decided: Recipes are TOML (a_" in agreed
    assert "> The standard library reads it." in agreed
    assert "No colours" not in agreed
    assert text.count("Terminals differ.") == text.count("Recipes are TOML") == 1


def test_texts_of_others_only_if_they_are_clearly_about_it(orch):
    """A sibling's to-dos are not, a decision in an earlier session is."""
    orch.plan_task("Decide the sensor")
    decision = "The thermistor is an NTC."
    orch.complete_task("decide_the_sensor", summary="NTC", detailed_work=decision)
    orch.initialize_session("Second week")
    orch.plan_task("Kettle", alias="kettle")
    orch.plan_task("Paint the kettle", parent_task_id="kettle")
    todo = "TODO: calibrate nothing, buy paint, write to Bob."
    orch.complete_task("paint_the_kettle", summary="red", detailed_work=todo)
    task = orch.plan_task("Calibrate the thermistor sensor", parent_task_id="kettle")
    text = orch.execute_task(task).briefing()
    about = headed(text, "## Also about this")
    assert about[0].startswith("- Decide the sensor (a_")
    assert about[0].endswith("from another session)")
    assert about[1:] == ["> The thermistor is an NTC."]
    assert "TODO" not in text


def test_in_a_large_home_the_search_is_asked(orch, monkeypatch):
    """With the same measure: what is clearly about it, and nothing else. It loads no model."""
    monkeypatch.setattr(VectorMaker, "of_query", lambda *_: pytest.fail("vectors were asked for"))
    for number in range(110):
        orch.artifacts.save(f"Note {number}", f"Item {number} of the list.")
    orch.artifacts.save("Sensors", "The thermistor hangs on pin 4 of the board.")
    task = orch.plan_task("Solder the thermistor to its pin")
    about = headed(orch.execute_task(task).briefing(), "## Also about this")
    assert about[1:] == ["> The thermistor hangs on pin 4 of the board."]


def test_the_specialist_is_told_who_it_is(orch):
    """By the project's own role; a mistake in that file is named, and costs nothing else."""
    file = orch.home / "roles" / "project_roles.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text("cook:\n  role_definition: You cook.\n  output_format: A dish.\n")
    orch.plan_task("Soup", specialist_type="cook")
    work = orch.execute_task("soup")
    assert "Your role: cook. You cook." in work.briefing()
    assert "What you hand in: A dish." in work.briefing()
    file.write_text("cook: soup")
    text = work.briefing()
    assert "Your role: cook." in text
    assert "The project's own roles could not be read" in text


def test_bytes_that_are_lost_are_told(orch):
    """The briefing does not pass over them in silence."""
    orch.plan_tasks([{"title": "One"}, {"title": "Two", "dependencies": ["one"]}])
    orch.complete_task("one", summary="done", detailed_work="It was here.")
    content_file(orch, orch.artifacts.find("One", task="one")).unlink()
    text = orch.execute_task("two").briefing()
    assert "### one (completed)\n> done" in text
    assert "it cannot be read here" in text


def test_two_briefings_are_the_same_and_given_is_recorded_once(orch):
    """Reading twice changes nothing."""
    orch.plan_tasks([{"title": "One"}, {"title": "Two", "dependencies": ["one"]}])
    orch.complete_task("one", summary="done", detailed_work="It was here.")
    work = orch.execute_task("two")
    assert work.briefing() == work.briefing()
    assert len(orch._store.events(kinds=["context_given"])) == 1

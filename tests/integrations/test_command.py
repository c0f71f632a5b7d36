"""The command for people and hooks: what it prints, where it stays silent, and its exit codes."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support.git_project import git, make_repository
from vespera_orchestrator.documents.sections import section_contents
from vespera_orchestrator.integrations import follow_ups
from vespera_orchestrator.integrations.command import main
from vespera_orchestrator.integrations.instructions import (
    AGENTS_BLOCK,
    SKILL_NAME,
    skill_text,
    update_agents_file,
)
from vespera_orchestrator.integrations.tools import Toolbox
from vespera_orchestrator.integrations.tools.table import PREFIX, TABLE


class Terminal(io.StringIO):
    """What a person reads."""

    def isatty(self):
        """Tell that it is one."""
        return True


@pytest.fixture
def folder(tmp_path):
    """A project with two tasks."""
    with vespera.open(tmp_path, durability="normal", embedder="none") as orch:
        orch.initialize_session("Build a kettle")
        orch.plan_tasks([{"title": "Lid"}, {"title": "Spout", "dependencies": ["lid"]}])
    return tmp_path


@pytest.fixture
def run(folder):
    """Return a function that runs a command there: its exit code, output and mistakes."""

    def command(*words, stdin="", out=None):
        out, err = out or io.StringIO(), io.StringIO()
        words = ["--project", str(folder), *words]
        code = main(words, out=out, err=err, stdin=io.StringIO(stdin))
        return code, out.getvalue(), err.getvalue()

    return command


# --- for people ---------------------------------------------------------------------


def test_what_people_ask_for_most(run):
    """Each prints what the call prints; with --json what it is."""
    code, out, err = run("resume")
    assert (code, err) == (0, "")
    assert out.startswith("Goal: Build a kettle\n")
    assert "start lid" in run("next")[1]
    assert json.loads(run("next", "--json")[1])["action"] == "execute"
    assert "2 pending" in run("status")[1]
    assert json.loads(run("status", "--json")[1])["total"] == 2
    assert run("why", "spout")[1] == "spout is pending: waits for success of lid (pending)\n"
    assert run("check")[1].startswith("check: all is well")
    assert run("watch", "--timeout", "0") == (0, "", "")


@pytest.fixture
def roof(folder, run):
    """The project with a task of each kind."""
    with vespera.open(folder) as orch:
        orch.plan_tasks(
            [
                {"title": "Tiles", "due_date": "2031-05-01", "priority": 2},
                {"title": "Sell", "question": "May we?"},
                {"title": "Paint", "not_before": "2031-04-01"},
                {"title": "Wait", "signal": "rain"},
                {"title": "Handle"},
            ]
        )
        orch.execute_task("handle")
        orch.cancel_task("handle")
    return run


def _rows(text):
    """Return the words of a table, without the names of its columns."""
    return [re.split(r"  +", line) for line in text.splitlines()[1:]]


def test_the_tasks_are_a_short_table(roof):
    """What can be done stands first, each with what it waits for; what has ended is not there."""
    code, out, err = roof("tasks")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["TASK", "TITLE", "STATUS", "DUE", "WAITS", "FOR"]
    assert _rows(out) == [
        ["tiles", "Tiles", "ready", "1 May 2031"],
        ["lid", "Lid", "ready"],
        ["sell", "Sell", "waiting", "your answer"],
        ["spout", "Spout", "waiting", "lid"],
        ["wait", "Wait", "waiting", "signal rain"],
        ["paint", "Paint", "resting", "1 April 2031"],
    ]
    assert _rows(roof("tasks", "--all")[1])[-1] == ["handle", "Handle", "cancelled"]
    assert [row[0] for row in _rows(roof("tasks", "--ready")[1])] == ["tiles", "lid"]
    assert [row[0] for row in _rows(roof("tasks", "--due")[1])] == ["tiles"]
    assert [row[0] for row in _rows(roof("tasks", "--status", "cancelled")[1])] == ["handle"]
    assert [row[0] for row in _rows(roof("tasks", "--parent", "lid")[1])] == ["lid"]
    assert roof("tasks", "--status", "failed")[1] == "No task has the status failed.\n"
    assert [task["alias"] for task in json.loads(roof("tasks", "--ready", "--json")[1])] == [
        "tiles",
        "lid",
    ]


def test_a_table_is_bounded_and_says_what_is_left_out(roof):
    """However many there are; a long title is cut."""
    roof("plan", "a" * 90, "--due-date", "2031-01-01")
    out = roof("tasks", "--due", "--limit", "1")[1]
    assert len(out.splitlines()) == 3
    assert f"{'a' * 39}…  ready" in out
    assert out.endswith("… and 1 more; --limit 2 shows them\n")


def test_a_person_changes_a_task(roof):
    """With the words that planning takes; nothing behind the sign clears."""
    out = roof("change", "lid", "title=New", "lid", "due=1", "May", "2031", "priority=3")[1]
    assert "lid [pending] New lid" in out
    assert "It is meant for 1 May 2031 now." in out
    assert _rows(roof("tasks", "--ready")[1])[0] == ["lid", "New lid", "ready", "1 May 2031"]
    assert "It has no due date now." in roof("change", "lid", "due=")[1]
    assert "Nothing is different." in roof("change", "lid", "due=")[1]
    assert (
        "waits for success of lid (pending); waits for success of tiles (pending)"
        in roof("change", "spout", "depends=lid,tiles")[1]
    )
    assert "spout is ready" in roof("change", "spout", "depends=", "parent=")[1]
    assert roof("change", "spout", "not-before=2031-01-01", "--json")[0] == 0
    assert "spout is ready" in roof("change", "spout", "not_before=")[1]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["soon"], "'soon' names no field"),
        (["duo=friday"], "did you mean due?"),
        (["title=New", "colour=3"], "there are title, description, due"),
        (["due=friday", "due=monday"], "write it once"),
        (["due=someday maybe"], "write for example tomorrow"),
        (["depends=lit"], "did you mean lid"),
    ],
)
def test_a_change_that_is_not_clear_changes_nothing(roof, words, problem):
    """It says what to write instead."""
    before = roof("tasks", "--all", "--json")[1]
    code, out, err = roof("change", "spout", *words)
    assert (code, out) == (1, "")
    assert problem in err
    assert roof("tasks", "--all", "--json")[1] == before


def test_a_person_works_through_a_project_in_a_shell(tmp_path):
    """From the goal to the end, with a rest, a question and a pause between, and no Python."""

    def run(*words, stdin=""):
        out, err = io.StringIO(), io.StringIO()
        words = ["--project", str(tmp_path), *words]
        code = main(words, out=out, err=err, stdin=io.StringIO(stdin))
        assert (code, err.getvalue()) == (0, ""), words
        return out.getvalue()

    assert "Fix the roof" in run("new", "Fix the roof", "--project-type", "creative writing")
    run("plan", "Buy tiles", "Red ones.", "--due-date", "2031-05-01")
    run("plan", "Lay tiles", "--dependencies", "buy_tiles")
    assert "done buy_tiles" in run("next")
    assert "done buy_tiles" not in run("next", "--json")
    assert "[completed]" in run("done", "buy_tiles", "Bought 200")
    run("plan", "Clear the gutter")
    run("later", "clear_the_gutter", "2031-05-02")
    assert "it rests until" in run("why", "clear_the_gutter")
    run("done", "lay_tiles", "All laid", "-", stdin="Row by row.")
    assert "[completed]" in run("done", "clear_the_gutter", "It was quick"), "before its day"
    run("pause", "tired", "call the neighbour")
    assert run().splitlines()[2:4] == [
        "Paused by you, just now: “tired”",
        "Meant to be next: “call the neighbour”",
    ]
    with vespera.open(tmp_path) as orch:
        assert orch.get_task("buy_tiles").description == "Red ones."
        assert orch.current_session().project_type == "creative_writing"
        bought, laid = (
            orch.artifacts.text(orch.artifacts.list(task=alias)[0])
            for alias in ("buy_tiles", "lay_tiles")
        )
        orch.plan_task("Colour", question="Which colour?")
        orch.plan_task("Gate", question="May we?")
    assert (bought, laid) == ("Bought 200", "Row by row.")
    run("answer", "colour", "brick", "red")
    run("answer", "gate", "approved=yes", "cups=3", "of=tea", "but softly")
    with vespera.open(tmp_path) as orch:
        assert orch.get_task("colour").outputs == {"answer": "brick red"}
        gate = orch.get_task("gate").outputs
    assert gate == {"approved": True, "cups": 3, "of": "tea", "answer": "but softly"}
    run("plan", "Sweep")
    run("later", "sweep", "in 3 days")
    run("later", "sweep", "now")
    assert run("why", "sweep") == "sweep is ready\n"


def test_hints_are_commands_for_the_same_project(run, folder):
    """In every text that a person reads; in JSON they are what programs call."""
    program = f"python -m vespera_orchestrator --project {folder}"
    assert f"→  {program} start lid\n" in run("next")[1]
    assert json.loads(run("next", "--json")[1])["call"] == "orch.execute_task('lid')"
    run("later", "lid", "friday")
    assert f"to start it now: {program} later lid now" in run("why", "lid")[1]
    assert f"{program} tasks lists the tasks" in run("why", "nothing")[2]


def test_a_task_from_its_start_over_a_mistake_to_its_end(run):
    """Start, give up, retry, complete, reopen, cancel: each is a command."""
    assert run("start", "lid")[0] == 0
    run("abandon", "lid", "no iron")
    assert "failed" in run("why", "lid")[1]
    assert "[pending]" in run("retry", "lid")[1]
    run("done", "lid", "It closes")
    assert "lid" in run("reopen", "lid", "it leaks")[1]
    assert "[cancelled]" in run("cancel", "lid", "no kettle after all")[1]


def test_a_briefing_in_a_shell_names_commands_only(run, folder):
    """No Python, and no JSON: how to save, hand in, hand back, and ask for help."""
    with vespera.open(folder) as orch:
        orch.plan_task("Sell", dependencies=["lid"], condition="lid.outputs.weight_g < 300")
    out = run("start", "lid")[1]
    assert not re.search(r"\b(work|orch)\.|next_action|in Python|tool ", out)
    hints = re.findall(rf"python -m vespera_orchestrator --project {folder} (.*)", out)
    save, done, release, stuck = map(shlex.split, hints)
    assert save == ["save", "lid", "where you are"]
    assert done == ["done", "lid", "what you did", "--output", "weight_g=…"]
    report = [*done[:3], "-", *done[3:]]
    assert "Saved" in run("save", "lid", "half the rim")[1]
    assert "[pending]" in run(*release)[1]
    assert "half the rim" in run("start", "lid")[1]
    assert "[blocked]" in run(*stuck)[1]
    run("done", "recover_lid", "we have iron")
    run("start", "lid")
    assert "[pending]" in run("lost", "lid", "the battery was empty")[1]
    run("start", "lid")
    assert "write name=value" in run(*report[:-1], "280", stdin="Hammered.")[2]
    assert run(*report[:-1], "weight_g=280", stdin="Hammered.")[0] == 0
    assert "sell is ready" in run("why", "sell")[1]


def test_a_checkpoint_of_a_person_keeps_the_state_that_an_agent_saved(run, folder):
    """The next attempt goes on from it, and reads the words."""
    run("start", "lid")
    with vespera.open(folder) as orch:
        orch.checkpoint("lid", {"rim": 1}, "rim")
    run("save", "lid", "tea first")
    with vespera.open(folder) as orch:
        checkpoint = orch.work("lid").resumed_from
    assert (checkpoint.state, checkpoint.note) == ({"rim": 1}, "tea first")


def test_a_whole_plan_from_the_standard_input(run):
    """What is new is named; the same plan again changes nothing, and a mistake has its place."""
    plan = "- title: Draw\n- title: Cut\n  dependencies: [draw]\n"
    assert run("plan", "-", stdin=plan)[1] == "2 new\n  draw: Draw\n  cut: Cut\n"
    assert run("plan", "-", "--existing", "keep", stdin=plan)[1] == "2 as before\n"
    assert len(json.loads(run("plan", "-", "--existing", "update", "--json", stdin=plan)[1])) == 2
    code, out, err = run("plan", "-", stdin="- title: a\n  priority: high")
    assert (code, out) == (1, "")
    assert "line 2" in err


GATE = """
- {title: Gate, question: May we?}
- {title: Ship, dependencies: [gate], condition: gate.outputs.approved}
- {title: Improve, dependencies: [gate], condition: not gate.outputs.approved}
"""


def test_an_answer_that_no_condition_can_read_is_asked_back(run, folder):
    """Nothing is recorded, and the person sees the words that would say it."""
    run("plan", "-", stdin=GATE)
    program = f"python -m vespera_orchestrator --project {folder}"
    code, out, err = run("answer", "gate", "aproved=yes")
    assert (code, out) == (1, "")
    assert "nothing is recorded yet: ship reads gate.outputs.approved" in err
    assert f"Write: {program} answer gate 'approved=…'" in err
    assert "approved: ship reads it as yes or no" in run("answer", "gate", "go", "on")[2]
    assert f"{program} answer gate 'approved=…'" in run("why", "gate")[1]
    with vespera.open(folder) as orch:
        assert not orch.get_task("gate").answered


def test_a_plain_yes_is_understood(run):
    """There is one thing that it can mean, and the person sees what it has led to."""
    run("plan", "-", stdin=GATE)
    out = run("answer", "gate", "yes")[1]
    assert "Ready now: ship" in out
    assert "Skipped: improve" in out


def test_yes_and_no_are_read_where_they_are_asked_for(run, folder):
    """A text is no yes: "maybe" and "no" would both be one. Yes and no are understood as words."""
    with vespera.open(folder) as orch:
        asked = {"title": "Gate", "question": "May we?"}
        sell = {"title": "Sell", "dependencies": ["gate"], "condition": "gate.outputs.answer"}
        orch.plan_tasks([asked, sell])
    code, _, err = run("answer", "gate", "answer=maybe")
    assert (code, "sell reads it as yes or no" in err) == (1, True)
    assert "Skipped: sell" in run("answer", "gate", "no")[1]


def test_whether_an_effect_has_happened_is_a_plain_yes_or_no(run, folder):
    """Nobody needs to know the name of the output."""
    with vespera.open(folder, agent="ada") as orch:
        work = orch.execute_task("lid")
        with pytest.raises(ZeroDivisionError):
            work.once("letter", lambda: 1 // 0)
        with pytest.raises(vespera.AnswerNeededError):
            work.once("letter", lambda: 1)
    assert run("answer", "question_lid", "who knows")[0] == 1
    assert run("answer", "question_lid", "yes")[0] == 0
    with vespera.open(folder, agent="ada") as orch:
        assert orch.get_task("question_lid").outputs["happened"] is True
        assert orch.execute_task("lid").once("letter", lambda: 1) is True


def test_a_signal_with_a_name_nearly_right(run, folder):
    """It is kept, because that may be meant; and the one that somebody waits for is named."""
    with vespera.open(folder) as orch:
        orch.plan_task("Post", signal="post_office_open")
    assert "Did you mean post_office_open? post waits for it" in run("signal", "post_ofice_open")[1]
    assert "Did you mean" not in run("signal", "rain")[1]


def test_who_starts_a_task_again_goes_on_with_it(run):
    """Its process ends after each command: that is no reason to be refused, or afraid."""
    run("start", "lid")
    code, out, _ = run("start", "lid")
    assert (code, out.startswith("# Lid\n")) == (0, True)


def test_what_is_put_off_says_until_when(run):
    """And where its due date went."""
    run("plan", "Post", "--due-date", "2031-01-01")
    out = run("later", "post", "2031-01-07")[1]
    assert out.startswith("post is pending: it rests until 7 January 2031; to start it now:")
    assert "It is meant for 7 January 2031 now." in out
    assert run("later", "lid", "now")[1] == "lid is ready\n"


def test_a_plan_that_is_there_already_is_asked_back(run):
    """A file that has grown is handed in again: nobody wants all of it a second time unasked."""
    plan = "- title: Box\n  children:\n  - title: Foam\n- title: Tape\n"
    assert run("plan", "-", stdin=plan)[0] == 0
    code, out, err = run("plan", "-", stdin=plan + "- title: Label\n")
    assert (code, out) == (1, "")
    assert err.startswith("Nothing is planned yet: box, foam, tape are there already.")
    assert "plan - --existing update\n" in err
    assert run("plan", "-", "--existing", "keep", stdin=plan)[1] == "3 as before\n"
    assert "box_2: Box" in run("plan", "-", "--existing", "again", stdin=plan)[1]


def test_what_change_does_not_change_has_another_command(run):
    """The words that a tired person tries are answered."""
    assert "done, cancel, retry, reopen" in run("change", "lid", "status=done")[2]
    assert "plan - --existing update" in run("change", "lid", "context={}")[2]
    assert "did you mean due?" in run("change", "lid", "deadline=friday")[2]
    assert run("change", "lid", "priority=")[0] == 0


def test_an_answer_says_what_it_led_to(run):
    """What can be done now, what will not be and why, and the way back."""
    run("plan", "-", stdin=GATE)
    _, out, _ = run("answer", "gate", "approved=yes")
    assert "Ready now: ship\n" in out
    assert "Skipped: improve (condition is false: not gate.outputs.approved)" in out
    run("reopen", "gate", "I had misread it")
    _, out, _ = run("answer", "gate", "approved=no")
    assert "Ready now: improve\n" in out
    assert "Skipped: ship" in out


PAINT = """
- title: Paint
  children: [{title: Walls}, {title: Doors}]
- {title: Keys, dependencies: [paint]}
- {title: Glue, dependencies: [{task: keys, on: failure}]}
- {title: Green, signal: ci_green}
- {title: Publish, dependencies: [green], condition: green.outputs.ok}
"""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cancel", "paint"], ["Cancelled with it: ", "walls", "doors", "Skipped: keys ("]),
        (["cancel", "paint"], ["To take it back: ", "retry paint"]),
        (["abandon", "paint", "no time"], ["Skipped: keys (", "retry paint"]),
        (["done", "walls", "white"], []),
        (["signal", "ci_green", "ok=no"], ["Skipped: publish (condition is false"]),
        (["signal", "ci_gren", "ok=yes"], ["kept for the next one", "signal ci_green ok=yes"]),
    ],
)
def test_a_command_says_what_it_leads_to(run, words, says):
    """Nobody loses the last task of a plan without a word."""
    run("plan", "-", stdin=PAINT)
    code, out, _ = run(*words)
    assert code == 0
    for text in says:
        assert text in out
    assert says or len(out.splitlines()) == 1


def test_what_is_done_says_what_is_ready_and_skipped(run):
    """And how to take it back."""
    run("plan", "-", stdin=PAINT)
    for part in ("walls", "doors"):
        run("done", part, "white")
    assert "Ready now: keys" in run("done", "paint", "white")[1]
    out = run("done", "keys", "over")[1]
    assert "Skipped: glue" in out
    assert "reopen keys 'what is wrong'" in out


def test_a_tool_says_what_it_leads_to(folder):
    """A model reads it in the answer to its call."""
    with vespera.open(folder) as orch:
        orch.plan_tasks(PAINT)
        answer = Toolbox(orch, include="all").answer("cancel_task", {"task": "paint"})
        assert "Skipped: keys" in answer.text
        assert "orchestrator_retry_task('paint')" in answer.text


def test_what_others_do_meanwhile_is_no_effect_of_an_answer(folder):
    """Neither what they complete between the answer and its report, nor what the clock does."""
    with vespera.open(folder) as orch, vespera.open(folder, agent="bob") as bob:
        orch.plan_tasks(GATE)
        orch.plan_task("Oil", dependencies=["lid"])
        orch.plan_task("Smith", dependencies=[vespera.Dependency("lid", "failure")])

        def complete_lid(event):
            if event.kind == "task_answered":
                bob.complete_task("lid", summary="closes", detailed_work="d")

        orch.on_event(complete_lid)
        call = partial(orch.answer, "gate", approved=True)
        _, report = follow_ups.follow(orch, "answer", call)
        assert {task.alias for task in orch.ready_tasks()} == {"oil", "ship", "spout"}
    assert [task.alias for task in report.ready] == ["ship"]
    assert [task.alias for task in report.skipped] == ["improve"]


def test_an_early_answer_is_kept(run):
    """And a signal completes what waits for it."""
    run(
        "plan",
        "-",
        stdin="- {title: Gate, question: May we?, dependencies: [ci]}\n- {title: CI, signal: ci}",
    )
    assert "Your answer is kept" in run("answer", "gate", "certainly")[1]
    assert "ci [completed] CI" in run("signal", "ci", "build=7")[1]
    assert "gate is completed" in run("why", "gate")[1]
    assert "kept for the next one" in run("signal", "ci")[1]


def test_events_are_printed_as_they_come(folder):
    """A person watches while an agent works."""
    with vespera.open(folder) as orch:
        after = orch._store.last_seq()
        orch.complete_task("lid", summary="closes", detailed_work="d")
        events = list(orch.watch(after, timeout_s=0))
    command = "from vespera_orchestrator.integrations.command import main\n"
    command += "import vespera_orchestrator as v\nwatch = v.Orchestrator.watch\n"
    command += f"v.Orchestrator.watch = lambda o, timeout_s: watch(o, {after}, timeout_s=0)\n"
    command += f"main(['--project', {str(folder)!r}, 'watch', '--json'])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in seen] == [event.seq for event in events]


def test_completed_tasks_on_demand(run, folder):
    """Flags of the call are flags of the command."""
    with vespera.open(folder) as orch:
        orch.complete_task("lid", summary="closes tightly", detailed_work="d")
    assert "closes tightly" not in run("status")[1]
    assert "closes tightly" in run("status", "--include-completed")[1]


def test_a_mistake_is_told_in_a_sentence(run, capsys):
    """On standard error, with the remedy; words that are wrong are 2, as everywhere."""
    code, out, err = run("why", "lidd")
    assert (code, out) == (1, "")
    assert "did you mean lid?" in err
    with pytest.raises(SystemExit) as caught:
        run("whyy")
    assert caught.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_colours_are_for_terminals_alone(run, monkeypatch):
    """Bold and green where a person reads; nothing in a pipe, nor where they are unwanted."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1;32mNext:" in run("resume", out=Terminal())[1]
    assert "\x1b" not in run("resume")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("resume", out=Terminal())[1]


def test_what_others_wrote_reaches_no_control_of_the_terminal(run, folder):
    """A title with escape sequences is shown without them."""
    with vespera.open(folder) as orch:
        orch.initialize_session("clear \x1b[2J \x9b31m\u202e screen")
    out = run("resume")[1]
    assert "clear" in out
    assert not re.search("[\x1b\x9b\u202e]", out)


def test_a_look_makes_no_project(tmp_path):
    """Where there is none, it says so, and how to begin one; only who begins a session means to."""
    out, err = io.StringIO(), io.StringIO()
    assert main(["--project", str(tmp_path), "status"], out=out, err=err) == 1
    assert "There is no project here yet" in err.getvalue()
    assert list(tmp_path.iterdir()) == []
    assert main(["--project", str(tmp_path)], out=out, err=err) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["tool", "initialize_session", '{"goal": "Kettle"}'], ["new", "Kettle"]]
)
def test_who_begins_a_session_makes_the_project(tmp_path, words):
    """As a person or as an agent."""
    assert main(["--project", str(tmp_path), *words], out=io.StringIO()) == 0
    assert (tmp_path / ".task_orchestrator").is_dir()


def test_who_only_looks_writes_nothing(run, folder):
    """Not even that they have looked; and a command that writes says so."""
    before = {place: place.read_bytes() for place in folder.rglob("*") if place.is_file()}
    code, out, _ = run("--readonly", "resume")
    assert (code, "Build a kettle" in out) == (0, True)
    code, _, err = run("--readonly", "energy", "low")
    assert (code, "readonly=True" in err) == (1, True)
    assert before == {place: place.read_bytes() for place in folder.rglob("*") if place.is_file()}


def test_it_loads_nothing_heavy(folder):
    """A person waits for it: what is asked for most needs none of the large libraries.

    Nor small ones that only a mistake, a notebook or a model's loop needs.
    """
    heavy = ["lancedb", "pyarrow", "numpy", "pydantic", "networkx", "pygit2", "jinja2", "mcp"]
    heavy += ["difflib", "html", "calendar", "vespera_orchestrator.integrations.tools.toolbox"]
    code = (
        "import sys; from vespera_orchestrator.integrations.command import main\n"
        f"for words in [['resume'], ['next'], ['status'], ['why', 'lid']]:\n"
        f"    main(['--project', {str(folder)!r}, *words])\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_it_runs_as_a_module(folder):
    """As people type it, from any folder of the project, and a reader that leaves is no mistake."""
    inner = folder / "deep" / "inside"
    inner.mkdir(parents=True)
    git(folder, "init", "-q")
    command = [sys.executable, "-m", "vespera_orchestrator"]
    done = subprocess.run(
        [*command, "next"], cwd=inner, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Lid" in done.stdout
    words = " ".join([*command, "resume", "|", "true"])
    piped = subprocess.run(words, cwd=inner, shell=True, capture_output=True, check=False)
    assert piped.stderr == b""


def test_how_a_task_is_handed_in_is_said_once(run, folder):
    """Where handing in is the next step, nothing is said behind it."""
    with vespera.open(folder) as orch:
        orch.plan_task("Part", parent_task_id="lid")
        orch.complete_task("part", summary="s", detailed_work="d")
    out = run("next")[1]
    assert out.count("done lid 'what you did'") == 1
    assert len(out.splitlines()) == 1


def test_what_went_wrong_can_be_read(run, folder):
    """The next step names the artifact, and the command that prints it."""
    with vespera.open(folder) as orch:
        orch.execute_task("lid")
        orch.fail("lid", "the rim is too thin")
    (artifact_id,) = re.findall(r" read (a_\w+)", run("next")[1])
    assert "the rim is too thin" in run("read", artifact_id)[1]
    assert json.loads(run("read", artifact_id, "--json")[1])["id"] == artifact_id
    assert "a_none" in run("read", "a_none")[2]


# --- for agents with a shell -----------------------------------------------------------


def test_an_agent_does_a_task_through_many_processes(run):
    """Every call is a process of its own: the same attempt from the first to the last."""
    assert run("tool", "execute_task", '{"task_id": "lid"}')[0] == 0
    checkpoint = {"task_id": "lid", "state": {"n": 1}, "note": "rim"}
    assert run("tool", "checkpoint", json.dumps(checkpoint))[1].startswith("checkpoint 1: rim")
    code, out, _ = run("tool", "work", '{"task": "lid"}', "--json")
    assert (code, json.loads(out)["data"]["resumed_from"]["note"]) == (0, "rim")
    work = {"task_id": "lid", "summary": "closes", "detailed_work": "# Lid\n\n“It closes.”"}
    code, out, _ = run("tool", "complete_task", "-", stdin=json.dumps(work))
    assert out.startswith("lid [completed] Lid")
    data = json.loads(run("tool", "get_task", '{"task": "lid"}', "--json")[1])["data"]
    assert data["attempts"] == 1
    assert run("tool", "get_task", '{"tusk": 1}')[0] == 1


# --- hooks ---------------------------------------------------------------------------


def hook(run, folder, event, **facts):
    """Send an event as Claude Code does."""
    facts = {"hook_event_name": event, "cwd": str(folder), "session_id": "x"} | facts
    return run("hook", stdin=json.dumps(facts))


CLAUDE = {
    "session_id": "5e1f",
    "transcript_path": "/home/ada/.claude/projects/kettle/5e1f.jsonl",
    "permission_mode": "default",
}
CODEX = {
    "session_id": "019c",
    "transcript_path": None,
    "model": "a-model",
    "permission_mode": "default",
}
CODEX_TURN = {**CODEX, "turn_id": "3", "stop_hook_active": False, "last_assistant_message": "Done."}
GEMINI = {
    "session_id": "77aa",
    "transcript_path": "/home/ada/.gemini/tmp/chat.json",
    "timestamp": "2026-11-02T08:00:00.000Z",
}
CURSOR = {
    "conversation_id": "c1",
    "generation_id": "g1",
    "model": "a-model",
    "cursor_version": "3.1.0",
    "user_email": None,
    "transcript_path": None,
}
"""What each agent sends with all or most of its events."""


def send(run, folder, facts):
    """Send an event in the shape of one of these agents."""
    place = {"workspace_roots": [str(folder)]} if "cursor_version" in facts else {}
    return run("hook", stdin=json.dumps({"cwd": str(folder), **place, **facts}))


@pytest.mark.parametrize(
    "facts",
    [
        {**CLAUDE, "hook_event_name": "SessionStart", "source": "compact", "model": "a-model"},
        {**CODEX, "hook_event_name": "SessionStart", "source": "startup"},
        {**GEMINI, "hook_event_name": "SessionStart", "source": "resume"},
    ],
)
def test_a_session_starts_with_where_the_work_stands(run, folder, facts):
    """It is what `resume` prints, as JSON: Gemini reads nothing else, Codex no field more."""
    code, out, err = send(run, folder, facts)
    assert (code, err) == (0, "")
    answer = json.loads(out)
    context = answer["hookSpecificOutput"].pop("additionalContext")
    assert context.startswith("Goal: Build a kettle\n")
    assert context.endswith("start lid")  # an agent that has hooks has a shell
    assert answer == {"hookSpecificOutput": {"hookEventName": "SessionStart"}}


def test_cursor_reads_fields_of_its_own(run, folder, monkeypatch):
    """At the start and at the end of a conversation, whose further rounds are let go."""
    code, out, _ = send(run, folder, {**CURSOR, "hook_event_name": "sessionStart"})
    assert code == 0
    assert list(json.loads(out)) == ["additional_context"]
    with vespera.open(folder) as orch:
        orch.execute_task("lid")
    monkeypatch.setattr("vespera_orchestrator.integrations.hooks._SAVED_RECENTLY_S", 0)
    stop = {**CURSOR, "hook_event_name": "stop", "status": "completed", "loop_count": 0}
    (order,) = json.loads(send(run, folder, stop)[1]).items()
    assert order[0] == "followup_message"
    assert order[1].startswith("You still hold lid")
    for ended in ({"loop_count": 1}, {"status": "aborted"}, {"status": "error"}):
        assert send(run, folder, stop | ended) == (0, "", "")


def test_a_person_who_types_a_hook_reads_text(run):
    """In any spelling of the event; without one, it says which there are."""
    assert run("hook", "session-start")[1].startswith("Goal:")
    code, out, err = run("hook")
    assert (code, out) == (1, "")
    assert err.startswith("hook: which event? Known are SessionStart, PreCompact")


def test_a_hook_is_never_in_the_way(tmp_path, run, folder):
    """Without a project, or without a session, it is silent; an unknown event is told."""
    elsewhere = tmp_path.parent / "elsewhere"
    elsewhere.mkdir()
    for name in ["SessionStart", "PreCompact", "Stop", "TaskCompleted", "WorktreeRemove"]:
        assert hook(run, elsewhere, name) == (0, "", "")
    code, _, err = hook(run, elsewhere, "WorktreeCreate", name="oak")
    assert (code, "no project of ours here" in err) == (1, True)
    assert list(elsewhere.iterdir()) == []
    vespera.open(elsewhere).close()
    context = json.loads(hook(run, elsewhere, "SessionStart")[1])["hookSpecificOutput"]
    assert "No session is active" in context["additionalContext"]
    assert hook(run, elsewhere, "Stop") == (0, "", "")
    assert "PreCompact" in run("hook", "Nothing")[2]
    assert run("hook", "Stop", stdin="{no json")[0] == 1
    unnamed = json.dumps({"workspace_roots": [str(folder)]})
    assert json.loads(run("hook", "session-start", stdin=unnamed)[1])["additional_context"]


@pytest.mark.parametrize(
    "facts",
    [
        {**CLAUDE, "hook_event_name": "Stop", "stop_hook_active": False},
        {**CODEX_TURN, "hook_event_name": "Stop"},
        {**CODEX_TURN, "hook_event_name": "SubagentStop", "agent_id": "a1", "agent_type": "worker"},
        {**GEMINI, "hook_event_name": "AfterAgent", "prompt": "Go on", "prompt_response": "Done."},
    ],
)
def test_an_agent_that_stops_is_asked_once_for_what_it_holds(run, folder, monkeypatch, facts):
    """Only for what it has not saved for a while, and never for what others hold."""
    with vespera.open(folder) as orch:
        orch.execute_task("lid")
    assert send(run, folder, facts) == (0, "", "")
    monkeypatch.setattr("vespera_orchestrator.integrations.hooks._SAVED_RECENTLY_S", 0)
    answer = json.loads(send(run, folder, facts)[1])
    assert sorted(answer) == ["decision", "reason"]
    assert answer["decision"] == "block"
    assert answer["reason"].startswith("You still hold lid")
    assert send(run, folder, {**facts, "stop_hook_active": True}) == (0, "", "")
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_AGENT", "other")
    assert hook(run, folder, "SubagentStop") == (0, "", "")


def test_a_task_is_done_when_it_is_completed_here(run, folder):
    """The gate of the agent's own list: it refuses with the reason on standard error."""
    with vespera.open(folder) as orch:
        orch.execute_task("lid")
        code, out, err = hook(run, folder, "TaskCompleted", task_subject="Lid")
        assert (code, out) == (2, "")
        assert "complete_task" in err
        for subject in ("Buy milk", "", "x" * 5000, "a b ' \ud800"):
            assert hook(run, folder, "TaskCompleted", task_subject=subject)[0] == 0
        orch.plan_task("Spout of copper", alias="copper")
        code, _, err = hook(run, folder, "TaskCompleted", task_subject="Spout of copper")
        assert (code, err[:20]) == (2, "copper is pending he")  # nobody has begun it here
        orch.complete_task("lid", summary="closes", detailed_work="d")
        assert hook(run, folder, "TaskCompleted", task_subject="Lid") == (0, "", "")


@pytest.mark.parametrize(
    "facts",
    [
        {**CLAUDE, "hook_event_name": "PreCompact", "trigger": "auto", "custom_instructions": ""},
        {**CODEX, "hook_event_name": "PreCompact", "trigger": "manual", "turn_id": "3"},
        {**GEMINI, "hook_event_name": "PreCompress", "trigger": "auto"},
        {**CURSOR, "hook_event_name": "preCompact", "trigger": "auto", "is_first_compaction": True},
    ],
)
def test_before_its_memory_is_shortened_an_agents_files_are_saved(run, project, facts, monkeypatch):
    """They are in the last snapshot of its worktree. The person is told of what cannot be saved."""
    with vespera.open(project.folder, embedder="none") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Lid")
        path = orch.execute_task("lid", worktree=True).path
        (path / "lid.txt").write_text("half")
        assert send(run, project.folder, facts) == (0, "", "")
        assert project.git("show", "refs/vespera/wip/lid:lid.txt") == "half"

    def full(*_):
        raise vespera.StoreUnavailableError("git", "the disk is full")

    monkeypatch.setattr(vespera.Worktrees, "snapshot", full)
    ((field, words),) = json.loads(send(run, project.folder, facts)[1]).items()
    assert field == ("user_message" if "cursor_version" in facts else "systemMessage")
    assert words.startswith("not saved, lid: ")


def test_an_agents_own_worktree_is_ours(run, project):
    """A folder for a task or for the agent, saved and landed; removed, it is kept."""
    with vespera.open(project.folder, embedder="none") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Lid")
        code, out, err = hook(run, project.folder, "WorktreeCreate", name="lid")
        assert (code, err) == (0, "")
        (Path(out.strip()) / "lid.txt").write_text("x")
        assert [tree.task_id for tree in orch.worktrees.list()] == [orch.get_task("lid").id]
        own = hook(run, project.folder, "WorktreeCreate", worktree_name="bold-oak")[1].strip()
        assert Path(own).is_dir()
        assert hook(run, project.folder, "WorktreeRemove", worktree_path=out.strip())[0] == 0
        assert not Path(out.strip()).exists()
        (kept,) = orch.worktrees.rescue()
        assert project.git("show", f"{kept.ref}:lid.txt") == "x"
        assert hook(run, project.folder, "WorktreeCreate")[0] == 1


# --- instructions ----------------------------------------------------------------------


def test_the_skill_names_tools_that_exist(tmp_path, run):
    """And is written where a coding agent looks for it."""
    tools = {spec.name for spec in TABLE}
    commands = {spec.command for spec in TABLE if spec.command} | {"tool"}
    for text in (skill_text(), AGENTS_BLOCK):
        assert set(re.findall(r"\btool ([a-z]+(?:_[a-z]+)*) ['-]", text)) <= tools
        assert set(re.findall(r"vespera_orchestrator ([a-z]+)", text)) <= commands | {"tool"}
        assert PREFIX not in text
    code, out, _ = run("skill", str(tmp_path / "skills"))
    written = tmp_path / "skills" / SKILL_NAME / "SKILL.md"
    assert (code, out) == (0, f"written: {written}\n")
    assert written.read_text("utf-8") == skill_text()
    assert run("skill")[1].startswith("---\nname: vespera-orchestrator\n")


def test_the_skill_is_a_skill(tmp_path, run):
    """By the reference implementation of the format."""
    skills_ref = pytest.importorskip("skills_ref")
    run("skill", str(tmp_path))
    assert skills_ref.validate(tmp_path / SKILL_NAME) == []


def test_our_block_in_agents_md_leaves_the_rest_alone(tmp_path, run):
    """Written once, kept up to date, ten lines; the person's own words stay byte for byte."""
    file = tmp_path / "AGENTS.md"
    file.write_text("# Mine\n\nUse tabs.", "utf-8")
    assert run("agents-md", str(file))[1] == f"written: {file}\n"
    text = file.read_text("utf-8")
    assert text.startswith("# Mine\n\nUse tabs.\n")
    assert section_contents(text) == {"agents": AGENTS_BLOCK.strip()}
    assert len(AGENTS_BLOCK.splitlines()) == 9
    assert run("agents-md", str(file))[1] == f"up to date: {file}\n"
    file.write_text(text.replace("Stuck?", "Lost?") + "More.\n", "utf-8")
    update_agents_file(str(file))
    assert file.read_text("utf-8") == text + "More.\n"
    file.write_text("<!-- vespera:section agents -->\n", "utf-8")
    assert "never ends" in run("agents-md", str(file))[2]


@pytest.mark.parametrize(
    "text",
    [
        '{"cwd": "\\u0000x"}',
        '{"cwd": "\\ud800"}',
        '{"cwd": "/dev/null"}',
        "[" * 100_000,
        '{"a":' * 50_000,
        '{"cwd": ' + "9" * 5000 + "}",
        "null",
    ],
)
def test_a_hook_refuses_what_no_agent_sends_in_a_sentence(run, text):
    """Paths that no file can have, and input that is nested without end, are no tracebacks."""
    code, out, err = run("hook", "SessionStart", stdin=text)
    assert code == 1
    assert out == ""
    assert len(err.splitlines()) == 1


def test_a_hook_in_a_folder_that_is_gone_asks_the_project(run, folder, tmp_path, monkeypatch):
    """Once its worktree has landed, an agent's last hooks are called in no folder at all."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for name in ("CLAUDE_PROJECT_DIR", "GEMINI_PROJECT_DIR", "CURSOR_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    facts = {"cwd": str(gone), "hook_event_name": "SessionStart"}
    out, err = io.StringIO(), io.StringIO()
    streams = {"out": out, "err": err}
    assert main(["hook"], stdin=io.StringIO(json.dumps(facts)), **streams) == 0
    assert (out.getvalue(), err.getvalue()) == ("", "")
    assert main(["hook"], stdin=io.StringIO('{"hook_event_name": "Stop"}'), **streams) == 0
    assert json.loads(hook(run, gone, "SessionStart")[1])["hookSpecificOutput"]
    for name in ("CLAUDE_PROJECT_DIR", "CURSOR_PROJECT_DIR"):
        monkeypatch.setenv(name, str(folder))
        assert main(["hook"], stdin=io.StringIO(json.dumps(facts)), **streams) == 0
        monkeypatch.delenv(name)
    assert out.getvalue().count("Goal: ") == 2


def test_a_hook_reads_json_behind_a_byte_order_mark(run):
    """PowerShell puts one before what it hands on."""
    code, out, _ = run("hook", stdin='\ufeff{"hook_event_name": "SessionStart"}')
    assert (code, "Goal: " in out) == (0, True)


@pytest.mark.parametrize("roots", [5, {}, "x", [5], [[]], [None, "x"], None])
def test_a_hook_without_a_usable_folder_asks_the_project_it_is_in(run, roots):
    """The folders that an agent names may be of any shape."""
    facts = json.dumps({"cwd": 5, "workspace_roots": roots})
    code, out, err = run("hook", "SessionStart", stdin=facts)
    assert (code, err) == (0, "")
    assert json.loads(out)["additional_context"].startswith("Goal: ")


def test_a_person_puts_off_what_they_have_begun(run):
    """Or leaves off: every command is another process, and still it is theirs."""
    run("start", "lid")
    assert "Saved: lid." in run("pause", "tired", "the lid")[1]
    code, out, _ = run("later", "lid", "in 3 days")
    assert (code, "rests until" in out) == (0, True)


def test_a_person_sees_the_pressure_and_takes_one_more(run):
    """Every word about it is a command: what weighs, what takes one more in spite of it."""
    assert run("energy")[1] == "Steady (0 of 100).\n  Nothing weighs on it.\n"
    strained = run("energy", "low")[1]
    assert run("pressure")[1] == strained
    assert "orch." not in strained
    assert "execute_task" not in strained
    for title in ("Handle", "Base"):
        run("plan", title)
    run("start", "lid")
    run("start", "handle")
    code, _, refusal = run("start", "base")
    assert code == 1
    assert refusal.startswith("2 tasks are under way, at most 2 while it is strained (")
    assert "start --despite-pressure" in refusal
    assert run("start", "base", "--despite-pressure")[0] == 0


def test_a_person_takes_a_task_apart_and_back(run, folder):
    """In lines, with the command that undoes it; the page that offers it names this command."""
    with vespera.open(folder) as orch:
        orch.update_task("lid", description="- saw\n- glue\n- paint", complexity="complex")
        orch.set_energy("low")
    assert re.search(r"a smaller piece of it  →  python .* simplify lid\n", run("status")[1])
    lines = run("simplify", "lid")[1].splitlines()
    assert lines[:3] == ["lid_1: saw", "lid_2: glue", "lid_3: paint"]
    assert lines[3].endswith("simplify lid --undo")
    assert len(json.loads(run("simplify", "lid", "--grain", "1", "--json")[1])) == 2
    assert run("simplify", "lid", "--undo")[1].startswith("lid [pending] Lid")


def test_with_little_energy_a_start_is_one_thing(run, folder, monkeypatch):
    """Not the page that an agent reads: what to do, where, and the way out; all of it on demand."""
    with vespera.open(folder) as orch:
        orch.update_task("lid", description="Saw the wood. Then sand it.")
    run("energy", "low")
    page = run("start", "lid")[1]
    assert len(page.splitlines()) <= 6
    assert "Saw the wood." in page
    assert "done lid 'what you did'" in page
    assert "later lid" in page
    assert "## How to hand in" not in page
    assert "## How to hand in" in run("start", "lid", "--whole")[1]
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_AGENT", "ada")
    assert "## How to hand in" in run("start", "lid", "--take-over")[1]


def test_what_a_person_has_begun_they_hand_in(run):
    """Each command is another process: the step is not the start that was just made."""
    run("start", "lid")
    step = run("next")[1]
    assert step.startswith("You hold 'Lid'. When the work is done, then hand it in.")
    assert step.endswith("done lid 'what you did'\n")
    assert len(step.splitlines()) == 1
    assert run("resume")[1].splitlines()[-1].endswith("done lid 'what you did'")


def test_there_is_one_way_to_hand_in(run):
    """A longer report is the same command with a dash."""
    page = run("start", "lid")[1]
    assert page.count(" done lid ") == 1
    assert "A longer report" in page


def test_lost_folders_are_no_dead_end_in_a_shell(tmp_path):
    """The steps are commands, and each of them works."""
    project = make_repository(tmp_path / "k", {"a.txt": "one\n"})

    def run(*words):
        out = io.StringIO()
        code = main(["--project", str(project), *words], out=out, err=out)
        return code, out.getvalue()

    run("new", "Tea")
    run("plan", "Lid")
    run("start", "lid", "--worktree")
    folder = tmp_path / "worktrees" / "lid"
    (folder / "lid.txt").write_text("round")
    run("save", "lid", "half")
    shutil.rmtree(folder)
    assert run("next")[1].splitlines()[0].endswith(f"--project {project} start lid")
    refusal = run("done", "lid", "round")[1]
    assert "orch." not in refusal
    [remedy] = re.findall(rf"--project {project} (start \S+) makes it again", refusal)
    assert run(*remedy.split())[0] == 0
    assert (folder / "lid.txt").read_text() == "round"
    with vespera.open(project) as orch:
        orch.complete_task("lid", summary="s", detailed_work="d", merge="later")
    shutil.rmtree(folder)
    assert run("next")[1].splitlines()[0].endswith(f"--project {project} merge lid")
    code, landed = run("merge", "lid")
    assert (code, landed.startswith("lid → integration ")) == (0, True)
    assert git(project, "show", "integration:lid.txt") == "round"

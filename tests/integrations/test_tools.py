"""The table of tools: equal to the façade, honest about what a tool does, and within its budget."""

from __future__ import annotations

import inspect
import itertools
import json
import re
import runpy
from types import SimpleNamespace

import pytest

import vespera_orchestrator as vespera
from support import ROOT
from vespera_orchestrator._text import tokens
from vespera_orchestrator.integrations.tools import Answer, Toolbox, signatures
from vespera_orchestrator.integrations.tools.answers import next_step_data
from vespera_orchestrator.integrations.tools.schemas import checked, schema_of
from vespera_orchestrator.integrations.tools.table import (
    NO_TOOLS,
    PREFIX,
    TABLE,
    Group,
    in_tool_names,
)

jsonschema = pytest.importorskip("jsonschema")

PROMISED = {
    "set_energy",
    "pressure",
    "reopen_task",
    "snooze_task",
    "correct_task",
    "simplify",
    "answer",
    "signal",
    "history",
    "on_event",
}
"""Calls that the design names; each has its row before it exists."""


PLAN = [
    {"title": "Lid"},
    {"title": "Spout", "dependencies": ["lid"]},
    {"title": "Body", "children": [{"title": "Handle"}, {"title": "Rim"}]},
]


@pytest.fixture
def orch(tmp_path):
    """A session without git: a lid that is done, a spout and a handle that are not."""
    with vespera.open(tmp_path, durability="normal", embedder="none") as orch:
        orch.initialize_session("Build a kettle")
        orch.plan_tasks(PLAN)
        lid = "# Lid\n\nThe lid closes tightly."
        orch.complete_task("lid", summary="closes", detailed_work=lid)
        yield orch


@pytest.fixture
def toolbox(orch):
    """All tools of that session."""
    return Toolbox(orch, include="all")


@pytest.fixture
def in_git(project):
    """A session in a repository: the rim is made in a worktree, and waits to be merged."""
    with vespera.open(project.folder, durability="normal", embedder="none") as orch:
        orch.initialize_session("Build a kettle")
        orch.plan_tasks(PLAN)
        with orch.execute_task("rim", worktree=True) as work:
            (work.path / "rim.txt").write_text("bent\n")
            work.complete(summary="bent", detailed_work="It is bent.", merge="later")
        yield orch


# --- equal to the façade ----------------------------------------------------------


def test_every_call_of_the_facade_is_a_tool_or_says_why_not():
    """A new call of the façade needs a row in ``TABLE``, or a reason in ``NO_TOOLS``."""
    calls = {name for name in dir(vespera.Orchestrator) if not name.startswith("_")}
    tools = {spec.path for spec in TABLE if "." not in spec.path}
    assert calls - tools - NO_TOOLS.keys() == set()
    assert tools & NO_TOOLS.keys() == set()
    assert (tools | NO_TOOLS.keys()) - calls <= PROMISED
    for spec in TABLE:
        is_there = signatures.function_of(spec.path) is not None
        assert is_there or spec.path in PROMISED, f"{spec.path} does not exist"


def test_a_tool_takes_what_its_call_takes():
    """No argument is misspelt, each has a description, and the schemas are schemas."""
    for spec in signatures.existing():
        schema = signatures.input_schema(spec)
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator.check_schema(signatures.output_schema(spec))
        own = {"offset", "limit"} if spec.name == "read_artifact" else set()
        names = set(signatures.parameter_names(spec.path)) | own
        assert set(schema["properties"]) <= names, spec.name
        undescribed = [name for name, each in schema["properties"].items() if not each]
        assert undescribed == [], spec.name
        function = signatures.function_of(spec.path)
        needed = [
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if name != "self" and parameter.default is inspect.Parameter.empty
        ]
        if spec.name == "answer":
            needed.remove("values")  # the answer itself may be all there is to say
        assert schema.get("required", []) == needed
        assert 10 < len(signatures.description(spec)) <= 700


def test_what_is_documented_of_a_call_reaches_the_model():
    """Descriptions come from the docstrings, without their markup, and name tools."""
    plan = {tool.name: tool for tool in Toolbox(None).tools}[PREFIX + "plan_task"]
    assert plan.description == "Plan a task in the current session."
    assert plan.parameters["required"] == ["title"]
    described = plan.parameters["properties"]
    assert described["priority"] == {
        "type": "integer",
        "description": "Higher goes first.",
        "default": 0,
    }
    assert described["dependencies"]["items"]["anyOf"][0] == {"type": "string"}
    assert "``" not in json.dumps(Toolbox(None, include="all").neutral())
    calls = "first orch.why('a'), then orch.worktrees.merge('a') or orch.graph()"
    assert in_tool_names(calls) == (
        "first orchestrator_why('a'), then orchestrator_merge_worktree('a') or orch.graph()"
    )
    assert in_tool_names("work.checkpoint({…}), work.path()") == (
        "orchestrator_checkpoint({…}), work.path()"
    )


def test_a_hint_that_json_cannot_hold_is_no_choice():
    """A record or a callable beside a text leaves the text; alone it leaves nothing."""
    assert schema_of(str | vespera.Task | None) == {"type": "string"}
    assert schema_of(vespera.TaskDraft) is None
    assert schema_of(list[int]) == {"type": "array", "items": {"type": "integer"}}
    assert schema_of(vespera.Outcome | str)["enum"][0] == "success"


def test_a_host_chooses_by_name_and_by_group():
    """By default what an agent at work needs; the order is that of the table, always."""
    core = [tool.name for tool in Toolbox(None).tools]
    assert core == [PREFIX + spec.name for spec in signatures.existing() if spec.is_core]
    few = Toolbox(None, include=["why", "orchestrator_plan_task", Group.DOCUMENTS]).tools
    assert [tool.spec.name for tool in few] == [
        "plan_task",
        "why",
        "update_documents",
        "check_documents",
    ]
    with pytest.raises(vespera.InvalidInputError, match="use plan_task"):
        Toolbox(None, include="plan_tusk")
    with pytest.raises(vespera.InvalidInputError, match="should be the name of a tool"):
        Toolbox(None, include=[1])


def test_no_caller_chooses_a_command():
    """What runs before a landing is the project's choice: it is no argument of a tool."""
    merge = {tool.name: tool for tool in Toolbox(None).tools}[PREFIX + "merge_worktree"]
    assert "check" not in merge.parameters["properties"]


# --- honest about what it does ------------------------------------------------------

CALLS = {
    "set_energy": {"energy": "low"},
    "simplify": {"task": "handle"},
    "undo_simplify": {"task": "handle"},
    "initialize_session": {"goal": "Another"},
    "share_context": {"values": {"database": "sqlite"}},
    "plan_task": {"title": "Whistle"},
    "plan_tasks": {"specs": [{"title": "Whistle", "dependencies": ["lid"]}]},
    "update_task": {"task": "spout", "priority": 3},
    "add_dependency": {"task": "spout", "needs": "handle"},
    "remove_dependency": {"task": "spout", "needs": "lid"},
    "snooze_task": {"task": "spout"},
    "answer": {"task": "handle", "values": {"approved": True}},
    "signal": {"name": "tea"},
    "cancel_task": {"task": "spout"},
    "abandon_task": {"task": "spout"},
    "delete_task": {"task": "lid"},
    "reopen_task": {"task": "lid", "reason": "it leaks"},
    "correct_task": {"task": "lid", "summary": "It closes, and leaks a little"},
    "get_task": {"task": "lid"},
    "why": {"task": "body"},
    "execute_task": {"task_id": "spout"},
    "work": {"task": "handle"},
    "checkpoint": {"task": "handle", "state": {"n": 1}},
    "end_attempt": {"task": "handle", "reason": "it was killed"},
    "heartbeat": {"task": "handle"},
    "complete_task": {"task_id": "handle", "summary": "s", "detailed_work": "d"},
    "release_task": {"task": "handle"},
    "fail_task": {"task_id": "handle", "error": "it broke"},
    "synthesize_results": {"parent_task_id": "body"},
    "save_artifact": {"title": "Note", "content": "Text"},
    "search_artifacts": {"query": "closes tightly"},
    "artifact_context": {"query": "closes tightly"},
}
"""A call of each tool that needs arguments, in the session above."""


HOLDING = {
    "work",
    "checkpoint",
    "heartbeat",
    "complete_task",
    "release_task",
    "fail_task",
    "end_attempt",
}
"""Tools for a task that somebody holds."""


def arguments_for(name, orch):
    """Return arguments with which a tool succeeds."""
    if name in {"read_artifact", "artifact_versions", "forget_artifact"}:
        return {"artifact": orch.artifacts.list()[0].id}
    if name == "resume_session":
        return {"session_id": orch.current_session().id}
    return CALLS.get(name, {})


def prepare(name, toolbox, orch):
    """Bring about what a tool needs."""
    if name == "retry_task":
        with orch.execute_task("handle") as work:
            work.fail("it broke")
        return {"task": "handle"}
    if name in HOLDING:
        assert not toolbox.answer("execute_task", {"task_id": "handle"}).is_error
    return arguments_for(name, orch)


def check_promises(spec, arguments, toolbox, state):
    """Call a tool twice, and compare what happens with what its row says."""
    before = state()
    answer = toolbox.answer(spec.name, arguments)
    assert not answer.is_error, answer.text
    assert answer.text
    assert tokens(str(answer)) <= 2000
    jsonschema.validate(json.loads(answer.to_json())["data"], signatures.output_schema(spec))
    if spec.reads_only:
        assert state() == before, spec.name
    if spec.is_repeatable and not spec.reads_only:
        after = state()
        toolbox.answer(spec.name, arguments)
        assert state() == after, spec.name


ROWS = signatures.existing()
WRITING = [spec for spec in ROWS if not spec.reads_only and spec.group is not Group.WORKTREES]


@pytest.mark.parametrize("spec", WRITING, ids=lambda spec: spec.name)
def test_a_tool_does_what_it_says(spec, toolbox, orch):
    """It succeeds, its data have the shape it announced, they and the text are within the budget,
    and one that is repeatable writes nothing the second time.
    """
    arguments = prepare(spec.name, toolbox, orch)
    check_promises(spec, arguments, toolbox, orch._store.last_seq)


def test_a_tool_that_reads_writes_nothing(toolbox, orch):
    """And is otherwise held to the same."""
    reading = [spec for spec in ROWS if spec.reads_only and spec.group is not Group.WORKTREES]
    assert len(reading) > 12
    for spec in reading:
        check_promises(spec, arguments_for(spec.name, orch), toolbox, orch._store.last_seq)


def test_the_tools_of_worktrees_do_what_they_say(in_git, project):
    """Refs and checkout count as well. A second merge is refused, and changes nothing."""
    toolbox = Toolbox(in_git, include="all")

    def state():
        refs = project.git("for-each-ref")
        return in_git._store.last_seq(), refs, project.git("status", "-s")

    rows = [spec for spec in ROWS if spec.group is Group.WORKTREES]
    calls = [(spec, {}) for spec in rows if spec.reads_only]
    by_name = {spec.name: spec for spec in rows}
    in_git.execute_task("handle", worktree=True).checkpoint(1)
    calls += [(by_name["merge_worktree"], {"worktree": "rim"})]
    calls += [(by_name["snapshot_worktree"], {"worktree": "handle"})]
    calls += [(by_name["remove_worktree"], {"worktree": "handle"})]
    assert len(calls) == len(rows)
    for spec, arguments in calls:
        check_promises(spec, arguments, toolbox, state)


def test_the_next_step_names_a_tool_that_works(tmp_path):
    """From an empty project to the end: whatever it names can be called as it stands, but for what
    only the caller can know.
    """
    own = {
        "initialize_session": {"goal": "Build a kettle"},
        "plan_task": {"title": "Lid"},
        "complete_task": {"summary": "s", "detailed_work": "d"},
    }
    with vespera.open(tmp_path) as orch:
        toolbox = Toolbox(orch, include="all")
        taken = []
        while (step := toolbox.answer("next_step", {}).data)["action"] != "done":
            name = step["tool"].removeprefix(PREFIX)
            arguments = step["arguments"] | own.get(name, {})
            assert not toolbox.answer(name, arguments).is_error
            taken.append(name)
            if name == "execute_task":
                done = {"task_id": arguments["task_id"], **own["complete_task"]}
                assert not toolbox.answer("complete_task", done).is_error
    assert taken == ["initialize_session", "plan_task", "execute_task"]
    odd = vespera.NextStep(action="decide", sentence="Look.", call="orch.graph()")
    assert next_step_data(odd)["call"] == "orch.graph()"


def test_a_question_that_waits_is_a_tool_with_the_values_left_open(tmp_path):
    """Every tool that names the next step names it so; nobody could go on without an answer."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Build a kettle")
        orch.plan_tasks([{"title": "Gate", "question": "May we?"}])
        toolbox = Toolbox(orch, include="all")
        step = toolbox.answer("next_step", {}).data
        assert (step["tool"], step["arguments"]) == (f"{PREFIX}answer", {"task": "gate"})
        for name in ("get_status", "resume", "digest"):
            answer = toolbox.answer(name, {})
            assert (name, answer.is_error) == (name, False)
        nothing = toolbox.answer("execute_task", {}).data
        assert nothing["next_step"]["tool"] == f"{PREFIX}answer"


NAMED_CALLS = {
    "orch.answer('gate', happened=True)": {"task": "gate", "values": {"happened": True}},
    "orch.answer('gate', …, by='ada')": {"task": "gate", "values": {"by": "ada"}},
    "orch.complete_task('lid', summary=…)": {"task_id": "lid"},
    'orch.signal("…")': {},
}


@pytest.mark.parametrize("call", NAMED_CALLS)
def test_a_call_becomes_the_arguments_of_a_tool(call):
    """What you have to choose is left out, and free values stand where the tool takes them."""
    step = vespera.NextStep(action="decide", sentence="Look.", call=call)
    assert next_step_data(step)["arguments"] == NAMED_CALLS[call]


@pytest.mark.parametrize("call", ["orch.answer('gate'", "orch.answer(1 + x)", "orch.next_step(7)"])
def test_a_call_that_is_no_tool_call_stays_as_it_is(call):
    """Nothing is refused because a text names something odd."""
    step = vespera.NextStep(action="decide", sentence="Look.", call=call)
    assert next_step_data(step)["call"] == call


# --- answers ------------------------------------------------------------------------


def test_an_answer_is_within_its_budget_and_says_how_to_go_on(tmp_path):
    """Of two hundred tasks with long descriptions you get as many as fit, and the next page."""
    with vespera.open(tmp_path, durability="normal") as orch:
        orch.initialize_session("Goal")
        orch.plan_tasks([{"title": f"Task {n}", "description": "word " * 200} for n in range(200)])
        toolbox = Toolbox(orch)
        seen, offset = [], 0
        while offset is not None:
            answer = toolbox.answer("query_tasks", {"limit": 200, "offset": offset})
            assert tokens(str(answer)) <= 2000
            seen += [task["alias"] for task in answer.data["tasks"]]
            rest = answer.data.get("left_out", {}).get("tasks")
            offset = int(rest.rpartition("=")[2]) if rest else None
        assert seen == [f"task_{n}" for n in range(200)]
        small = Toolbox(orch, budget_tokens=300)
        assert tokens(str(small.answer("get_status", {}))) <= 300


def test_a_long_artifact_is_read_in_pages(toolbox, orch):
    """Each page says where the next one starts; together they are the artifact."""
    whole = "".join(f"{n} and a word\n" for n in range(2000))
    artifact = orch.artifacts.save("Long", whole)
    pages, offset = [], 0
    while True:
        answer = toolbox.answer("read_artifact", {"artifact": artifact.id, "offset": offset})
        pages.append(answer.text)
        if "left_out" not in answer.data:
            break
        offset = int(answer.data["left_out"]["text"].rpartition("=")[2])
    assert "".join(pages) == whole
    few = toolbox.answer("read_artifact", {"artifact": artifact.id, "limit": 5})
    assert few.text == whole[:5]
    assert toolbox.answer("read_artifact", {"artifact": artifact.id, "limit": 0}).is_error


def test_bytes_are_refused_with_the_resource_that_has_them(toolbox, orch):
    """An agent behind MCP has no `orch`: it is told what it can read."""
    artifact = orch.artifacts.save("raw.bin", b"\x00\xff")
    text = toolbox.answer("read_artifact", {"artifact": artifact.id}).text
    assert f"orchestrator://artifacts/{artifact.id}/bytes has its bytes" in text
    assert "artifacts.read(" not in text


@pytest.mark.parametrize("call", ["artifacts.read", "artifacts.get"])
def test_a_call_without_a_row_is_the_tool_that_takes_the_same(call):
    """Briefings and shortened records name these."""
    assert in_tool_names(f"orch.{call}('a_1')") == "orchestrator_read_artifact('a_1')"


def test_several_agents_work_through_servers_that_come_and_go(tmp_path):
    """Whoever is named completes what it holds, through any server; nobody else does."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Lid")
        orch.execute_task("lid", agent="ada")
    work = {"task_id": "lid", "summary": "closes", "detailed_work": "# Lid"}
    with vespera.open(tmp_path) as orch:
        toolbox = Toolbox(orch)
        refused = toolbox.answer("complete_task", {**work, "agent": "ben"})
        assert refused.is_error
        assert "ada holds it" in refused.text
        assert not toolbox.answer("complete_task", {**work, "agent": "ada"}).is_error
        assert orch.get_task("lid").attempts == 1


def test_work_is_taken_up_by_its_task(toolbox):
    """The briefing comes with the task; checkpoints and the end name the task."""
    start = toolbox.answer("execute_task", {"task_id": "handle"})
    assert start.text.startswith("# Handle")
    assert start.data["attempt"] == 1
    held = toolbox.answer("execute_task", {"task_id": "handle"})
    assert "orchestrator_work('handle')" in held.text
    same = toolbox.answer("work", {"task": "handle"})
    assert same.data["attempt"] == 1
    saved = toolbox.answer("checkpoint", {"task_id": "handle", "state": [1], "progress": 0.5})
    assert saved.text == "checkpoint 1, 50%"
    assert saved.data["state"] == [1]
    assert toolbox.answer("release_task", {"task_id": "handle"}).text == "handle [pending] Handle"
    again = toolbox.answer("execute_task", {"task_id": "handle"})
    assert again.data["resumed_from"]["progress"] == 0.5
    assert toolbox.answer("fail_task", {"task_id": "handle", "error": "bent"}).data["reason"]


MISTAKES = [
    ("plan_tusk", {}, r"'plan_tusk' is not a tool; use orchestrator_plan_task"),
    ("plan_task", {}, r"title: orchestrator_plan_task needs it: What to do"),
    ("plan_task", {"titel": "x"}, r"titel: .* did you mean title\?"),
    ("plan_task", {"title": 5}, r"title: 5 should be text"),
    ("plan_task", {"title": "x", "priority": "7"}, r"priority: '7' should be a whole number"),
    ("plan_task", {"title": "x", "priority": True}, r"priority: True should be a whole number"),
    ("plan_task", {"title": "x", "dependencies": "lid"}, r"dependencies: 'lid' should be a list"),
    (
        "plan_task",
        {"title": "x", "dependencies": [{"task": "lid", "on": "never"}]},
        r"dependencies: 0: on: 'never' is not one of success",
    ),
    ("plan_task", {"title": "x", "dependencies": [{"on": "done"}]}, r"has no 'task'"),
    ("plan_task", {"title": "x", "dependencies": [{"task": "lid", "x": 1}]}, r"'x' is not one of"),
    ("plan_task", "{not json", r"arguments: they are not JSON"),
    ("plan_task", "[1]", r"arguments: \[1\] should be an object"),
    ("why", {"task": "lidd"}, r"did you mean lid\?"),
    ("execute_task", {"task_id": "body"}, r"cannot start task body yet"),
    ("checkpoint", {"task_id": "spout", "state": 1}, r"orchestrator_execute_task\('spout'\)"),
    ("answer", {"task": "lid", "values": {1: 2}}, r"values: the key 1 should be a text"),
    (
        "read_artifact",
        {"artifact": "a_x"},
        r"orchestrator_list_artifacts\(\) shows all, orchestrator_search_artifacts\(",
    ),
]


@pytest.mark.parametrize(("name", "arguments", "says"), MISTAKES)
def test_a_mistake_of_the_model_is_an_answer_with_what_to_do(toolbox, orch, name, arguments, says):
    """Nothing raises, nothing is written, and the text says what would be right."""
    before = orch._store.last_seq()
    answer = toolbox.answer(name, arguments)
    assert answer.is_error
    assert orch._store.last_seq() == before
    assert re.search(says, answer.text), answer.text
    assert answer.data["error"].endswith("Error")


def test_a_refusal_carries_what_explains_it(toolbox, orch):
    """Why a task is not ready, and what to do where nothing is."""
    refused = toolbox.answer("execute_task", {"task_id": "body"})
    assert refused.data["why"]["causes"][0]["kind"] == "children"
    for alias in ("handle", "spout", "rim"):
        orch.execute_task(alias, agent="other")
    nothing = toolbox.answer("execute_task", {})
    assert nothing.data["error"] == "NothingReadyError"
    assert nothing.data["next_step"]["action"] == "wait"
    work = {"task_id": "spout", "summary": "s", "detailed_work": "d"}
    kept = toolbox.answer("complete_task", work | {"file_paths": ["gone.txt"]})
    assert kept.is_error
    assert orch.artifacts.text(kept.data["kept_artifact_id"]) == "d"


def test_none_for_what_is_optional_is_nothing():
    """Models send null for arguments that they do not use; a needed one must have a value."""
    schema = signatures.input_schema(next(spec for spec in TABLE if spec.name == "plan_task"))
    assert checked({"title": "x", "alias": None}, schema, "plan_task") == {"title": "x"}
    with pytest.raises(vespera.InvalidInputError):
        checked({"title": None}, schema, "plan_task")


# --- loops ----------------------------------------------------------------------------


class FakeAnthropic:
    """Answers with the next message of a script, and remembers what it was sent."""

    def __init__(self, *turns):
        self.turns = list(turns)
        self.requests = []
        self.messages = self

    def create(self, **request):
        """Return the next message."""
        self.requests.append(request | {"messages": list(request["messages"])})
        return SimpleNamespace(content=self.turns.pop(0))


def use(call_id, name, **arguments):
    """Make a block in which the model calls a tool."""
    block = {"type": "tool_use", "id": call_id, "name": PREFIX + name, "input": arguments}
    return SimpleNamespace(**block)


def test_the_example_loop_does_a_task(tmp_path, monkeypatch):
    """Each call is answered under its id, a mistake goes back to the model, and it ends."""
    monkeypatch.chdir(tmp_path)
    loop = runpy.run_path(str(ROOT / "examples" / "tool_loop.py"))
    text = SimpleNamespace(type="text", text="Let me see.")
    fake = FakeAnthropic(
        [text, use("1", "initialize_session", goal="Poem"), use("2", "plan_task", title="Verse")],
        [use("3", "execute_task"), use("4", "plan_task", titel="typo")],
        [use("5", "complete_task", task_id="verse", summary="done", detailed_work="It sings.")],
        [text],
    )
    loop["work"](fake, "A poem")
    first, second, third, last = fake.requests
    assert first["tools"][0]["input_schema"]["type"] == "object"
    assert [block["tool_use_id"] for block in second["messages"][-1]["content"]] == ["1", "2"]
    assert [block["is_error"] for block in third["messages"][-1]["content"]] == [False, True]
    assert "verse [completed] Verse" in last["messages"][-1]["content"][0]["content"]
    with vespera.open(tmp_path) as orch:
        assert orch.get_task("verse").summary == "done"


def test_calls_in_the_shapes_of_openai_are_answered(toolbox):
    """Chat Completions and Responses, as mappings or objects; what is not ours is left alone."""
    assert toolbox.openai()[0]["function"].keys() == {"name", "description", "parameters"}
    assert toolbox.openai_responses()[0]["type"] == "function"
    function = SimpleNamespace(name="orchestrator_get_task", arguments='{"task": "lid"}')
    chat = SimpleNamespace(id="c1", type="function", function=function)
    other = {"id": "c2", "type": "function", "function": {"name": "other", "arguments": ""}}
    (message,) = toolbox.openai_results([chat, other])
    assert (message["role"], message["tool_call_id"]) == ("tool", "c1")
    assert message["content"].startswith("lid [completed] Lid")
    call = {"type": "function_call", "call_id": "r1", "name": "orchestrator_why"}
    (output,) = toolbox.openai_results([call | {"arguments": '{"task": "lid"}'}])
    assert output["type"] == "function_call_output"
    assert "completed" in output["output"]
    assert toolbox.openai_results(None) == []


def test_a_message_without_end_is_refused(toolbox):
    """Also one that breaks off while it is read."""
    for results in (toolbox.openai_results, toolbox.anthropic_results):
        with pytest.raises(vespera.InvalidInputError, match="has more than 10,000 items"):
            results(itertools.repeat({}))
        with pytest.raises(vespera.InvalidInputError, match="ZeroDivisionError"):
            results(1 / number for number in (1, 0))


def test_a_page_beyond_the_end_is_empty(toolbox, orch):
    """However far."""
    record = orch.artifacts.save("Notes", "some")
    page = toolbox.answer("read_artifact", {"artifact": record.id, "offset": 10**5000})
    assert (page.text, page.data["offset"], page.is_error) == ("", 4, False)


def test_a_tool_can_be_called_by_itself(toolbox):
    """For hosts of another kind: a name, a schema, and something to call."""
    tool = next(tool for tool in toolbox.tools if tool.name == "orchestrator_next_step")
    assert isinstance(tool(), Answer)
    assert tool().to_dict()["data"]["action"] == "execute"


def test_words_alone_answer_a_question(toolbox, orch):
    """Further outputs are an offer, where the words are all that there is to say."""
    orch.plan_task("Colour", question="Which?")
    assert not toolbox.answer("answer", {"task": "colour", "answer": "red"}).is_error
    assert orch.get_task("colour").outputs == {"answer": "red"}
    assert toolbox.answer("answer", {"task": "colour"}).is_error
    assert "values" in toolbox.answer("share_context", {}).text


def test_a_null_in_a_plan_is_what_it_is_in_the_call(toolbox, orch):
    """Nothing in a new plan; what was there goes, where the plan is planned again."""
    plan = {"title": "Paint", "due_date": None, "dependencies": None, "children": None}
    assert not toolbox.answer("plan_tasks", {"specs": [plan]}).is_error
    orch.update_task("paint", due_date="2030-01-01")
    again = {"specs": [{"title": "Paint", "due_date": None}], "existing": "update"}
    assert not toolbox.answer("plan_tasks", again).is_error
    assert orch.get_task("paint").due_at is None

"""Hints in a shell are commands: every one that the library can print."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path

import pytest

import vespera_orchestrator
from vespera_orchestrator import NextStep
from vespera_orchestrator.integrations.command import _parser
from vespera_orchestrator.integrations.shell_calls import IN_PYTHON, in_commands
from vespera_orchestrator.integrations.tools import signatures
from vespera_orchestrator.integrations.tools.answers import answer_of
from vespera_orchestrator.integrations.tools.table import NO_TOOLS, SAME_TOOL, TABLE

SOURCE = Path(vespera_orchestrator.__file__).parent
PROGRAM = "PROGRAM"
CALL = re.compile(r"\borch\.([a-z_]+(?:\.[a-z_]+)?)\(")
TEMPLATE = re.compile(r"\{[a-z_.]*!r\}")
MADE_ELSEWHERE = re.compile(r",? ?\{[a-z_.]*\}|(?<='x')x")


def texts_of(tree):
    """The texts of a module, without its docstrings; what stands in braces is called x."""
    nodes = list(ast.walk(tree))
    whole = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in whole for part in node.values}
    docs = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(map(part_text, node.values))
        elif isinstance(node, ast.Constant) and id(node) not in parts | docs:
            yield TEMPLATE.sub("'x'", str(node.value))


def part_text(part):
    """The text of a part of an f-string."""
    if isinstance(part, ast.Constant):
        return part.value
    return "'x'" if part.conversion == ord("r") else "x"


def hints():
    """Every call of the façade that a text of the library names, alone."""
    for path in sorted(SOURCE.rglob("*.py")):
        if "testing" not in path.parts:
            for text in texts_of(ast.parse(path.read_text("utf-8"))):
                yield from (whole_call(text[match.start() :]) for match in CALL.finditer(text))


def whole_call(text):
    """The call with which a text begins; a part of it that is made elsewhere is left out."""
    for end in range(text.index("(") + 1, len(text) + 1):
        call = MADE_ELSEWHERE.sub("", text[:end])
        if is_call(call):
            return call
    return None


def is_call(text):
    """Tell whether a text is a whole call."""
    try:
        ast.parse(text.replace("…", "..."), mode="eval")
    except SyntaxError:
        return False
    return True


@pytest.fixture(scope="module")
def every_hint():
    """Each once. A call of which the text has only a beginning is none."""
    return sorted(set(hints()) - {None})


def test_every_hint_that_a_person_can_read_is_a_command(every_hint):
    """What is a tool becomes a command that the parser takes.

    What is none is a command that does the same, or says that it is Python.
    """
    parser = _parser()
    assert len(every_hint) > 90
    tools = {spec.path for spec in TABLE} | SAME_TOOL.keys()
    for hint in every_hint:
        path = CALL.match(hint)[1]
        shown = in_commands(hint, PROGRAM)
        if shown.startswith(IN_PYTHON):
            assert path not in tools, hint
            continue
        assert shown.startswith(f"{PROGRAM} "), hint
        words = shlex.split(shown.removeprefix(f"{PROGRAM} "))
        assert parser.parse_args(words).command == words[0], shown
        if words[0] == "tool":
            schema = signatures.input_schema(next(s for s in TABLE if s.name == words[1]))
            assert json.loads([*words, "{}"][2]).keys() <= schema["properties"].keys(), shown


def test_a_command_is_read_alone_as_among_all():
    """Only the one that is called has to be made; behind an option it may be any."""
    words = ["tasks", "--ready", "--limit", "3"]
    assert _parser("tasks").parse_args(words) == _parser().parse_args(words)
    assert _parser("--readonly").parse_args(["--readonly", *words]).limit == 3


def test_every_hint_may_be_a_next_step_of_a_tool(every_hint):
    """Its answer is data for a program, whatever has to be thought of in the call."""
    for hint in every_hint:
        step = NextStep(action="execute", sentence="Do it.", call=hint)
        data = answer_of(step, 1000).to_dict()["data"]
        assert data.get("call", hint) == hint
        json.dumps(data)
    asking = NextStep(action="decide", sentence="May we?", call="orch.answer('gate', …)")
    assert answer_of(asking, 1000).data["arguments"] == {"task": "gate"}


def test_calls_without_a_command_are_those_for_programs(every_hint):
    """Nobody has forgotten a row: what a text names and is no tool, is in the list of reasons."""
    paths = {CALL.match(hint)[1] for hint in every_hint} - {spec.path for spec in TABLE}
    rooms = {path for path in paths if "." in path}
    assert paths - rooms <= NO_TOOLS.keys()


@pytest.mark.parametrize(
    ("call", "command"),
    [
        ("orch.retry_task('a')", "retry a"),
        ("orch.reopen_task('a', 'why')", "reopen a why"),
        ("orch.cancel_task('a b')", "cancel 'a b'"),
        ("orch.snooze_task('a', None)", "later a now"),
        ("orch.snooze_task('a')", "later a"),
        ("orch.answer('a', …)", "answer a '…'"),
        ("orch.answer('a', happened=True)", "answer a happened=yes"),
        ("orch.signal('ci', …)", "signal ci"),
        (
            "orch.execute_task('a', worktree=False, take_over=True)",
            "start a --take-over --no-worktree",
        ),
        ("orch.complete_task('a', summary=…, detailed_work=…)", "done a 'what you did'"),
        ("orch.complete_task('a')", "done a 'what you did'"),
        ("orch.complete_task('a', summary='b', detailed_work='-')", "done a b -"),
        ("orch.complete_task('a', outputs={'n': 2})", "done a 'what you did' --output n=2"),
        ("orch.checkpoint('a', {}, 'where you are')", "save a 'where you are'"),
        (
            "orch.complete_task('a', …)",
            """tool complete_task '{"task_id": "a", "summary": "…"}'""",
        ),
        (
            """orch.cancel_task('a', 'it\\'s "done (nearly"')""",
            """cancel a 'it'"'"'s "done (nearly"'""",
        ),
        ("orch.initialize_session('…')", "new '…'"),
        ("orch.set_energy('low')", "energy low"),
        ("orch.plan_tasks(…, existing='keep')", "plan - --existing keep"),
        ("orch.share_context(db=…)", """tool share_context '{"values": {"db": "…"}}'"""),
        ("orch.artifacts.read('a')", "read a"),
        ("orch.query_tasks()", "tasks"),
        ("orch.query_tasks(ready=True)", "tasks --ready"),
        (
            "orch.query_tasks(status='blocked', parent_task_id='a', include_children=True)",
            "tasks --status blocked --parent a",
        ),
        ("orch.query_tasks(parent_task_id='a', limit=None)", "tasks --all --parent a"),
        ("orch.query_tasks(text='a')", """tool query_tasks '{"text": "a"}'"""),
        ("orch.update_task('a', due_date='friday')", "change a due=friday"),
        ("orch.update_task('a', dependencies=…)", "change a 'depends=…'"),
        ("orch.update_task('a', dependencies=['b', 'c'])", "change a depends=b,c"),
        ("orch.get_status().questions", "status"),
        ("orch.get_status(session_id='s')", """tool get_status '{"session_id": "s"}'"""),
        ("orch.artifacts.text(id)", "read ID"),
        ("print(orch.resume())", "resume"),
        ("print(orch.artifacts.text('a_1'))", "read a_1"),
    ],
)
def test_a_call_is_the_command_that_makes_it(call, command):
    """With its arguments; another argument than the command has makes it a tool."""
    assert in_commands(f"do this: {call}.", PROGRAM) == f"do this: {PROGRAM} {command}."


@pytest.mark.parametrize(
    "text",
    [
        "orch.graph().critical_path()",
        "orch.share_settings()",
        "orch.retry_task(task.alias)",
        "orch.retry_task('a', 'b', 'c')",
        "orch.retry_task(a='b')",
        "print(orch.backup('x'))",
        "orch.checkpoint('a', {…})",
        "orch.checkpoint('a', {1, 2})",
    ],
)
def test_what_no_command_can_say_stays_python(text):
    """And says so."""
    assert in_commands(text, PROGRAM) == f"{IN_PYTHON}{text}"


def test_a_text_that_only_looks_like_a_call_stays():
    """A call that does not end is none."""
    assert (
        in_commands("see orch.retry_task('a and more", PROGRAM) == "see orch.retry_task('a and more"
    )

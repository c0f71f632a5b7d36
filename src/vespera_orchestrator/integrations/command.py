"""The command for people and hooks: ``python -m vespera_orchestrator resume | next | status | …``.

It works on the current project; only ``new`` makes one. The calls that it makes come from the table
of tools. It loads only what a command needs, because a person waits for it.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import IO, TYPE_CHECKING, Final, NamedTuple

import vespera_orchestrator as vespera
from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import CauseKind, Existing, TaskStatus
from vespera_orchestrator._records import Record, to_text
from vespera_orchestrator._text import printable
from vespera_orchestrator.errors import VesperaError
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.machine import passing
from vespera_orchestrator.integrations import follow_ups, task_words
from vespera_orchestrator.integrations.shell_calls import TEXT_FLAGS, WORDS, flag, in_commands
from vespera_orchestrator.integrations.tools.signatures import function_of
from vespera_orchestrator.integrations.tools.table import PREFIX, TABLE, ToolSpec
from vespera_orchestrator.tasks import dates

if TYPE_CHECKING:
    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.orchestrator import Orchestrator

_PROGRAM: Final = "python -m vespera_orchestrator"
_NO_PROJECT: Final = 1
_INTERRUPTED: Final = 130
_COMMANDS: Final = {spec.command: spec for spec in TABLE if spec.command}
_WATCHED: Final = "watch"
_START: Final = "start"
_DONE: Final = "done"
_SAVE: Final = "save"
_LATER: Final = "later"
_ENERGY: Final = "energy"
_SIMPLIFY: Final = "simplify"
_ANSWER: Final = "answer"
_SIGNAL: Final = "signal"
_PLAN: Final = "plan"
_TASKS: Final = "tasks"
_CHANGE: Final = "change"
_READ: Final = "read"
_STDIN: Final = "-"
_BY_DEFAULT: Final = "resume"
_EXISTING: Final = {
    "keep": Existing.KEEP,
    "update": Existing.UPDATE,
    "again": Existing.ERROR,
    "error": Existing.ERROR,
}
_NAMED_VALUE: Final = re.compile(r"[A-Za-z_]\w*=")
_YES_AND_NO: Final = {"yes": True, "true": True, "no": False, "false": False}
_FIRST: Final = next(spec for spec in TABLE if spec.path == "initialize_session")


class _Terminal(NamedTuple):
    """Where a command prints, and how."""

    out: IO[str]
    has_colours: bool
    program: str
    """The words before a command, for hints."""

    @classmethod
    def of(cls, out: IO[str], program: str) -> _Terminal:
        """Use colours only where a person reads, and has not said otherwise."""
        is_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        return cls(out, out.isatty() and not is_plain, program)

    def say(self, text: str) -> None:
        """Print our own words to a person: what they say to call is a command."""
        self.print(in_commands(text, self.program))

    def print(self, text: str) -> None:
        """Print text that others may have written: no terminal obeys anything in it."""
        for line in text.splitlines():
            shown = printable(line)
            self.out.write(f"{self._coloured(shown) if self.has_colours else shown}\n")
        self.out.flush()

    def _coloured(self, line: str) -> str:
        for beginning, colour in _COLOURS.items():
            if line.startswith(beginning):
                return f"\x1b[{colour}m{line}\x1b[0m"
        return line


_COLOURS: Final = {
    "Goal:": "1",
    "Next:": "1;32",
    "Blocked:": "33",
    "To decide:": "33",
    "Conflicts ahead:": "33",
    "error:": "31",
    "warning:": "33",
}
"""How a line that begins like this is coloured: bold, green, yellow, red."""


def main(
    arguments: Sequence[str] | None = None,
    *,
    out: IO[str] | None = None,
    err: IO[str] | None = None,
    stdin: IO[str] | None = None,
) -> int:
    """Run a command.

    Args:
        arguments: The words after the program; by default those of this process.
        out: Where to print; by default the standard output.
        err: Where mistakes are told; by default the standard error.
        stdin: What a hook reads; by default the standard input.

    Returns:
        The exit code: 0; 1 when it was refused; 2 when the words are wrong. Those of ``check`` are
        0, 1 with warnings, 2 with errors; those of ``hook`` are what coding agents expect.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser(words[0] if words else _BY_DEFAULT)
    options = parser.parse_args(words)
    if options.command is None:
        options = parser.parse_args([*words, _BY_DEFAULT])
    program = _program(options.project)
    terminal = _Terminal.of(sys.stdout if out is None else out, program)
    errors = _Terminal.of(sys.stderr if err is None else err, program)
    try:
        return _run(options, terminal, errors, sys.stdin if stdin is None else stdin)
    except VesperaError as exc:
        errors.say(str(exc))
        return 1
    except BrokenPipeError:  # whoever read it has seen enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for the exit
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED


def _program(project: str) -> str:
    """Return the words before a command that works on this project."""
    if project == ".":
        return _PROGRAM
    return f"{_PROGRAM} --project {shlex.quote(project)}"


def _run(options: argparse.Namespace, out: _Terminal, err: _Terminal, stdin: IO[str]) -> int:
    if options.command == "hook":
        from vespera_orchestrator.integrations.hooks import run_hook

        answer = run_hook(options.name, stdin, options.project, _program(options.project))
        if answer.out:
            out.out.write(answer.out + "\n")
        if answer.err:
            err.print(answer.err)
        return answer.exit_code
    if options.command == "skill":
        from vespera_orchestrator.integrations.instructions import install_skill

        out.print(install_skill(options.folder))
        return 0
    if options.command == "agents-md":
        from vespera_orchestrator.integrations.instructions import update_agents_file

        out.print(update_agents_file(options.file))
        return 0
    if options.command == "trust":
        out.print(str(vespera.trust(options.project)))
        return 0
    if not Home.locate(options.project).path.is_dir() and not _is_first_call(options):
        err.print(
            "There is no project here yet. To begin one: "
            f"{_PROGRAM} {_FIRST.command} 'what you want to reach'. "
            f"Or name its folder: {_PROGRAM} --project FOLDER {options.command}"
        )
        return _NO_PROJECT
    with passing(), vespera.open(options.project, readonly=options.readonly) as orch:
        if orch.home_source is vespera.HomeSource.ABOVE:
            err.print(f"(the project is {orch.project}, further up)")
        return _COMMAND_FUNCTIONS.get(options.command, _call)(orch, options, out, err, stdin)


def _is_first_call(options: argparse.Namespace) -> bool:
    """Tell whether the command may make a project: only who begins a session means to."""
    if options.command == "tool":
        return bool(options.name.removeprefix(PREFIX) == _FIRST.name)
    return bool(options.command == _FIRST.command)


def _call(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, err: _Terminal, _: IO[str]
) -> int:
    """Make the call of a row of the table, and print what it returns."""
    spec = _COMMANDS[options.command]
    function = attrgetter(spec.path)(orch)
    names = inspect.signature(function).parameters
    values = {name: value for name, value in vars(options).items() if name in names}
    if "progress" in names and err.out.isatty():
        values["progress"] = lambda words: err.print(f"… {words}")
    if spec.path in follow_ups.CALLS:
        task, more = follow_ups.follow(orch, spec.path, partial(function, **values))
        _show_with_follow_ups(out, task, more, options)
        return 0
    result = function(**values)
    _show(out, result, options)
    if isinstance(result, vespera.NextStep) and not options.json:
        out.say(_how_it_ends(result))
    return int(getattr(result, "exit_code", 0))


def _show(out: _Terminal, record: Record | vespera.History, options: argparse.Namespace) -> None:
    """Print a record: in words, or as JSON, whose calls stay what programs can make."""
    if options.json:
        out.print(record.to_json())
    else:
        out.say(str(record))


def _print_tasks(out: _Terminal, tasks: Iterable[vespera.Task]) -> None:
    """Print tasks as JSON."""
    out.print(to_text([task.to_dict() for task in tasks]))


def _how_it_ends(step: vespera.NextStep) -> str:
    """Say how a person hands in the task of a step."""
    is_handing_in = step.call.startswith("orch.complete_task(")
    if step.action != "execute" or step.alias is None or is_handing_in:
        return ""
    return f"When it is done: orch.complete_task({step.alias!r})"


def _watch(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, __: IO[str]
) -> int:
    for event in orch.watch(timeout_s=options.timeout):
        _show(out, event, options)
    return 0


def _plan(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, err: _Terminal, stdin: IO[str]
) -> int:
    """Plan a task, or the whole plan that stands in the standard input."""
    if options.title != _STDIN:
        return _call(orch, options, out, err, stdin)
    text = stdin.read()
    if options.existing is None:
        from vespera_orchestrator.integrations.asking_back import second_plan

        problem = second_plan(orch, text)
        if problem:
            err.say(problem)
            return 1
    planned = orch.plan_tasks(text, existing=_EXISTING[options.existing or "error"])
    if options.json:
        _print_tasks(out, planned)
        return 0
    out.say(str(planned))
    for task in planned.new:
        out.say(f"  {task.alias}: {task.title}")
    return 0


def _start(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, __: IO[str]
) -> int:
    """Take a task and print its briefing. It stays taken when this process has ended.

    Who has taken it before goes on with it.
    """
    try:
        work = orch.execute_task(
            options.task,
            take_over=options.take_over,
            worktree=options.worktree,
            despite_pressure=options.despite_pressure,
        )
    except vespera.NotReadyError as exc:
        causes = () if exc.why is None else exc.why.causes
        if not any(each.kind is CauseKind.LEASE and each.agent == orch.agent for each in causes):
            raise
        work = orch.work(options.task)
    if options.json:
        _show(out, work.task, options)
        return 0
    gentleness = None if options.whole else orch.get_status().gentleness
    if gentleness is None or not gentleness.is_for_person:
        out.say(work.briefing(for_shell=True))
        return 0
    from vespera_orchestrator.progress import low_energy

    note = "" if work.resumed_from is None else work.resumed_from.note
    out.say(low_energy.begun(work.task, work.path, note))
    out.say(f"All there is to know about it: {out.program} start {work.task.alias} --whole")
    return 0


def _energy(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, err: _Terminal, stdin: IO[str]
) -> int:
    """Take a person's word; without one, say how much it is now, and why."""
    if options.energy is not None:
        return _call(orch, options, out, err, stdin)
    _show(out, orch.pressure(), options)
    return 0


def _simplify(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, __: IO[str]
) -> int:
    """Take a task apart, or put it together again."""
    if options.undo:
        _show(out, orch.undo_simplify(options.task), options)
        return 0
    pieces = orch.simplify(options.task, grain=options.grain)
    if options.json:
        _print_tasks(out, pieces)
        return 0
    for piece in pieces:
        out.say(f"{piece.alias}: {piece.title}")
    out.say(f"One after the other. To take it back: orch.undo_simplify({options.task!r})")
    return 0


def _save(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, __: IO[str]
) -> int:
    """Save where a person is with a task; the state that an agent has saved before stays."""
    work = orch.work(options.task)
    state = {} if work.resumed_from is None else work.resumed_from.state
    checkpoint = work.checkpoint(state, options.note)
    if options.json:
        _show(out, checkpoint, options)
    else:
        out.say(f"Saved. Whoever goes on with {work.task.alias} reads it.")
    return 0


def _later(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, __: IO[str]
) -> int:
    """Let a task rest, and say until when, and where its due date went."""
    before = orch.get_task(options.task)
    if options.until != "now" and _holds(orch, before):
        orch.release(before)  # whoever puts off what they have begun hands it back
    task = orch.snooze_task(before, options.until)
    if options.json:
        _show(out, task, options)
        return 0
    out.say(str(orch.why(task)))
    _say_due(out, before, task)
    return 0


def _holds(orch: Orchestrator, task: vespera.Task) -> bool:
    """Tell whether this person has the task in hand."""
    causes = orch.why(task).causes
    return any(each.kind is CauseKind.LEASE and each.agent == orch.agent for each in causes)


def _done(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, stdin: IO[str]
) -> int:
    """Complete a task. Where no more is said than the summary, that is the whole record.

    One that rests is woken first: whoever has done it does not want to wait for its day.
    """
    work = stdin.read() if options.work == "-" else options.work or options.summary
    if orch.get_task(options.task).asleep:
        orch.snooze_task(options.task, None)
    words, outputs = _words_and_values(options.output)
    if words:
        raise vespera.InvalidInputError("output", f"{words!r} has no name; write name=value")
    call = partial(
        orch.complete_task,
        options.task,
        summary=options.summary,
        detailed_work=work,
        outputs=outputs,
    )
    _show_with_follow_ups(out, *follow_ups.follow(orch, "complete_task", call), options)
    return 0


def _show_with_follow_ups(
    out: _Terminal,
    task: vespera.Task,
    more: follow_ups.FollowUps,
    options: argparse.Namespace,
) -> None:
    """Print a task, and what the call led to for others."""
    _show(out, task, options)
    if more and not options.json:
        out.say(str(more))


def _answer(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, __: IO[str]
) -> int:
    """Answer a task: words are its answer, and ``name=value`` a value that conditions can read."""
    words, values = _words_and_values(options.answer)
    meaning = _value(words)
    asked = orch.get_task(options.task)
    if words:
        values["answer"] = words
    try:
        task, more = _answered(orch, asked, values)
    except vespera.InvalidInputError:
        if not isinstance(meaning, bool):
            raise
        task, more = _answered(orch, asked, values | {"answer": meaning})
    _show_with_follow_ups(out, task, more, options)
    if not options.json:
        out.say(follow_ups.kept_words(task))
    return 0


def _answered(
    orch: Orchestrator, asked: vespera.Task, values: dict[str, JsonValue]
) -> tuple[vespera.Task, follow_ups.FollowUps]:
    return follow_ups.follow(orch, "answer", partial(orch.answer, asked, values))


def _tasks(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, __: IO[str]
) -> int:
    """Print a line for each task that a person wants to see."""
    from vespera_orchestrator.integrations import task_table

    choice = task_table.Choice(
        ended=options.all,
        ready=options.ready,
        due=options.due,
        status=options.status,
        parent=options.parent,
        limit=options.limit,
    )
    table = task_table.read_table(orch, choice)
    if options.json:
        _print_tasks(out, table.tasks)
    else:
        out.print(str(table))
    return 0


def _change(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, __: IO[str]
) -> int:
    """Change fields of a task, and say what they are now."""
    before = orch.get_task(options.task)
    task = orch.update_task(before, **task_words.changes(options.changes))
    if options.json:
        _show(out, task, options)
        return 0
    out.say(str(task))
    same = task == attrs.evolve(before, updated_at=task.updated_at)
    out.say("Nothing is different." if same else str(orch.why(task)))
    _say_due(out, before, task)
    return 0


def _say_due(out: _Terminal, before: vespera.Task, task: vespera.Task) -> None:
    """Say where a due date went, if it is another one."""
    if (task.due_at, task.due_day) == (before.due_at, before.due_day):
        return
    due = dates.due_words(task, task.updated_at) or "has no due date"
    out.say(f"It {due} now.")


def _signal(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, __: IO[str]
) -> int:
    """Report that something happened outside."""
    words, values = _words_and_values(options.values)
    if words:
        values["payload"] = words
    call = partial(orch.signal, options.name, values, key=options.key)
    tasks, more = follow_ups.follow(orch, "signal", call)
    if options.json:
        _print_tasks(out, tasks)
        return 0
    for task in tasks:
        out.say(str(task))
    out.say(str(more))
    if not tasks:
        from vespera_orchestrator.integrations.asking_back import similar_signal

        out.say("No task waits for it now. It is kept for the next one that is planned for it.")
        out.say(similar_signal(orch, options.name, values))
    return 0


def _words_and_values(words: Sequence[str]) -> tuple[str, dict[str, JsonValue]]:
    """Return the free words, and the values of those that are ``name=value``."""
    named = dict(word.split("=", 1) for word in words if _NAMED_VALUE.match(word))
    free = [word for word in words if not _NAMED_VALUE.match(word)]
    return " ".join(free), {name: _value(text) for name, text in named.items()}


def _value(text: str) -> JsonValue:
    """Return what a word means: yes, no, or anything in JSON; else the word itself."""
    if text.lower() in _YES_AND_NO:
        return _YES_AND_NO[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, __: IO[str]
) -> int:
    """Print the text of an artifact."""
    if options.json:
        _show(out, orch.artifacts.get(options.artifact), options)
    else:
        out.print(orch.artifacts.text(options.artifact))
    return 0


def _tool(
    orch: Orchestrator, options: argparse.Namespace, out: _Terminal, _: _Terminal, stdin: IO[str]
) -> int:
    """Call any tool with JSON, for agents that have a shell and no MCP."""
    from vespera_orchestrator.integrations.tools import Toolbox

    arguments = stdin.read() if options.arguments == "-" else options.arguments
    answer = Toolbox(orch, include="all").answer(options.name, arguments)
    out.print(to_text(answer.to_dict()) if options.json else str(answer))
    return int(answer.is_error)


_Command = Callable[["Orchestrator", argparse.Namespace, _Terminal, _Terminal, IO[str]], int]
_COMMAND_FUNCTIONS: Final[dict[str, _Command]] = {
    _WATCHED: _watch,
    _PLAN: _plan,
    _START: _start,
    _ENERGY: _energy,
    _SIMPLIFY: _simplify,
    _SAVE: _save,
    _DONE: _done,
    _LATER: _later,
    _ANSWER: _answer,
    _SIGNAL: _signal,
    _TASKS: _tasks,
    _CHANGE: _change,
    _READ: _read,
    "tool": _tool,
}


# --- the words ------------------------------------------------------------------


def _parser(first: str = "") -> argparse.ArgumentParser:
    """Return what reads the words of a command.

    Args:
        first: The first word. If it is a command, only that one is read: to learn the words of
            thirty takes longer than most of them.
    """
    parser = argparse.ArgumentParser(prog=_PROGRAM, description="Where the work stands.")
    parser.add_argument(
        "--project", default=".", metavar="FOLDER", help="a folder of the project; by default here"
    )
    parser.add_argument(
        "--readonly", action="store_true", help="only look: write nothing at all in the home"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    offers = _offers()
    names = [first] if first in offers else offers
    for name in names:
        text, offer = offers[name]
        command = commands.add_parser(name, help=text, description=text)
        if name not in _FOR_AGENTS:
            command.add_argument("--json", action="store_true", help="print JSON")
        if offer is not None:
            offer(command)
    return parser


def _offers() -> dict[str, tuple[str, _Offer]]:
    """Return by its name what each command is for, and what offers its words."""
    calls = {name: (_HELP[name], partial(_offer_call, spec)) for name, spec in _COMMANDS.items()}
    return {**calls, **_WORDS_OF_THEIR_OWN, **_FOR_AGENTS}


def _offer_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", nargs="?", help="by default the best one")
    parser.add_argument("--take-over", action="store_true", help="even if another agent holds it")
    parser.add_argument(
        "--despite-pressure", action="store_true", help="even if enough is under way already"
    )
    parser.add_argument(
        "--whole", action="store_true", help="print all there is to know, also with little energy"
    )
    parser.add_argument(
        "--worktree", action=argparse.BooleanOptionalAction, help="in a git worktree of its own"
    )


def _offer_simplify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK")
    parser.add_argument(
        "--grain", type=int, default=3, metavar="1-5", help="how fine: 1 for two pieces at most"
    )
    parser.add_argument("--undo", action="store_true", help="put it together again")


def _offer_done(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK")
    parser.add_argument("summary", metavar="SUMMARY", help="one line")
    parser.add_argument("work", metavar="WORK", nargs="?", help="all of it; - for standard input")
    parser.add_argument(
        "--output",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value that conditions can read, such as coverage=0.9; once for each",
    )


def _offer_save(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK")
    parser.add_argument("note", metavar="NOTE", help="what the next one needs to know")


def _offer_answer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK")
    parser.add_argument(
        "answer", metavar="WORD", nargs="+", help="your words; or approved=yes, cups=3, and so on"
    )


def _offer_signal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("values", metavar="WORD", nargs="*", help="words; or build=7, and so on")
    parser.add_argument("--key", help="names this report: given twice, it counts once")


def _offer_tasks(parser: argparse.ArgumentParser) -> None:
    """Offer the flags that choose tasks."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="those that have ended, too")
    which.add_argument("--ready", action="store_true", help="only what can be started, best first")
    which.add_argument("--status", help=f"only those that are {', '.join(TaskStatus)}")
    parser.add_argument(
        "--due", action="store_true", help="only those with a due date, the first one first"
    )
    parser.add_argument("--parent", metavar="TASK", help="only this task and what is below it")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="LINES", help="most lines; 20 by default"
    )


def _offer_change(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK")
    parser.add_argument(
        "changes",
        metavar="FIELD=VALUE",
        nargs="+",
        help=f"nothing behind = clears it; fields are {', '.join(task_words.FIELDS)}",
    )


def _offer_read(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", metavar="ARTIFACT", help="its id, such as a_79mk9tx7h2kf")


def _offer_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="stop after so long without an event"
    )


def _offer_tool(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="such as plan_task")
    parser.add_argument("arguments", nargs="?", default="{}", help="JSON, or - for standard input")


def _offer_hook(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="", help="such as SessionStart")


def _offer_skill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", help="such as .claude/skills")


def _offer_agents_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", default="AGENTS.md")


_Offer = Callable[[argparse.ArgumentParser], None] | None
"""Offers the words of a command."""
_WORDS_OF_THEIR_OWN: Final[Mapping[str, tuple[str, _Offer]]] = {
    _START: ("take a task, and print what to know about it", _offer_start),
    _SIMPLIFY: ("take a heavy task apart into smaller ones", _offer_simplify),
    _DONE: ("a task is done: hand it in", _offer_done),
    _SAVE: ("save where you are with a task that you have started", _offer_save),
    _ANSWER: ("answer a task that waits for you", _offer_answer),
    _SIGNAL: ("report that something happened that a task waits for", _offer_signal),
    _TASKS: ("the open tasks, a line for each", _offer_tasks),
    _CHANGE: ("change a task: change TASK due=friday title='New name'", _offer_change),
    _READ: ("print an artifact: what somebody did, or what went wrong", _offer_read),
    _WATCHED: ("print events as they are recorded, until you stop it", _offer_watch),
    "tool": ("call any tool, with its arguments as JSON", _offer_tool),
}
"""What takes its words otherwise than the call behind it."""
_FOR_AGENTS: Final[Mapping[str, tuple[str, _Offer]]] = {
    "hook": ("what coding agents call; reads JSON on stdin", _offer_hook),
    "skill": ("print the skill for coding agents, or write it", _offer_skill),
    "trust": (
        "allow the home here what it asks for: commands, addresses, folders, instructions",
        None,
    ),
    "agents-md": ("keep a block about this in AGENTS.md", _offer_agents_file),
}
"""What coding agents call, and what prepares a project for them."""
_HELP: Final = {
    "new": "begin: say what you want to reach",
    "plan": "plan a task; or with - a whole plan, YAML or JSON, from the standard input",
    "retry": "try a blocked, failed, cancelled or skipped task again",
    "reopen": "open a completed task again, and say why",
    "cancel": "nobody needs the task any more",
    "abandon": "give a task up: it has failed",
    "release": "hand back a task that you have started, for somebody else or another day",
    "stuck": "you cannot go on with a task: say why, and its recovery is planned",
    "lost": "whoever held the task is gone: say how you know, and it is free again",
    "later": "let a task rest, until tomorrow if you name no day",
    "pause": "leave off: keep your words for when you come back",
    "resume": "where you were, what changed, the next step",
    "next": "the one thing to do now",
    "status": "where the session stands",
    "why": "what holds a task up",
    "history": "what happened, a line each, the latest last",
    "merge": "land the work of a task that is done and waits",
    "digest": "what is new, at most three times a day",
    "energy": "say how much you can take on: low, or normal",
    "pressure": "how close to too much it is, why, and what follows",
    "check": "check the whole home, and change nothing",
}


_LIST_FLAGS: Final = frozenset({"dependencies"})
_MAY_BE_LEFT_OUT: Final = frozenset({"energy"})
"""What a call needs, and its command does not: it then shows how things are."""
_VARIADIC: Final = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def _offer_call(spec: ToolSpec, parser: argparse.ArgumentParser) -> None:
    """Offer what the call needs as words, and what it may take as flags."""
    function = function_of(spec.path)
    for name, parameter in inspect.signature(function).parameters.items():  # type: ignore[arg-type] # it exists
        if name == "self" or parameter.kind in _VARIADIC:
            continue
        if parameter.default is inspect.Parameter.empty:
            nargs = "?" if name in _MAY_BE_LEFT_OUT else None
            parser.add_argument(name, metavar=name.upper(), nargs=nargs)
        elif name in WORDS:
            default = parameter.default
            parser.add_argument(name, metavar=name.upper(), nargs="?", default=default)
        elif name in TEXT_FLAGS:
            parser.add_argument(flag(name), dest=name, metavar=TEXT_FLAGS[name])
        elif name in _LIST_FLAGS:
            parser.add_argument(flag(name), dest=name, metavar="TASK", nargs="+", default=())
        elif parameter.default is False:
            parser.add_argument(flag(name), dest=name, action="store_true")
    if spec.command == _PLAN:
        parser.add_argument(
            "--existing",
            choices=list(_EXISTING),
            help="with -: leave tasks that are there already, change them, or plan them again",
        )

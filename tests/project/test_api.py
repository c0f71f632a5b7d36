"""The public surface: what is there, where it lives, what it costs to look at it."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import re
import subprocess
import sys
import typing
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import contracts, errors, testing
from vespera_orchestrator.contracts import Store

HEAVY = ("lancedb", "pyarrow", "numpy", "pydantic", "networkx", "pygit2", "jinja2", "psycopg")
DESIGNED = {
    "Orchestrator": """
        open close initialize_session current_session resume_session list_sessions
        session_status spawn_agent_with_context resume next_step plan_task plan_tasks
        update_task cancel_task delete_task retry_task abandon_task add_dependency
        remove_dependency get_task query_tasks ready_tasks why execute_task complete_task
        synthesize_results get_status watch graph catch_up artifacts check repair backup
        export import_ prune worktrees documents pause share_context shared_context
    """,
    "Work": "briefing path checkpoint heartbeat save_artifact complete fail release",
    "Artifacts": "save get read list search versions rebuild_index verify catch_up",
    "Worktrees": "create list snapshot merge remove rescue repair",
    "Documents": "update check versions restore",
}


def test_names_are_sorted_and_each_has_one_home():
    """Every name of ``__all__`` exists, once, and is defined where it is said to live."""
    assert vespera.__all__ == sorted(set(vespera.__all__))
    for module, names in vespera._HOMES.items():
        for name in names:
            thing = getattr(vespera, name)
            assert thing is getattr(importlib.import_module(f"vespera_orchestrator.{module}"), name)
            assert inspect.getmodule(thing).__name__.startswith(f"vespera_orchestrator.{module}"), (
                name
            )
    assert set(vespera.__all__) == {name for names in vespera._HOMES.values() for name in names} | {
        "open"
    }


def test_type_checkers_see_the_same_names():
    """The names for type checkers and those found at run time are the same, from the same
    modules.
    """
    tree = ast.parse(Path(vespera.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {
        node.module.removeprefix("vespera_orchestrator."): {alias.name for alias in node.names}
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    assert homes == {module: set(names) for module, names in vespera._HOMES.items()}
    assert ast.unparse(block.body[-1]) == "open = Orchestrator.open"
    assert vespera.open == vespera.Orchestrator.open


PUBLIC_MODULES = (vespera, contracts, errors, testing)


def public_classes():
    """Yield every public class, wherever users import it from, with its name."""
    for module in PUBLIC_MODULES:
        for name in getattr(module, "__all__", None) or vars(module):
            thing = getattr(module, name)
            if inspect.isclass(thing) and thing.__module__.startswith("vespera_orchestrator"):
                yield f"{module.__name__}.{name}", thing


def functions_of(kind):
    """Yield the public functions of a class, those of its bases included, by name."""
    for base in kind.__mro__:
        if not base.__module__.startswith("vespera_orchestrator"):
            continue
        for name, value in vars(base).items():
            function = getattr(value, "fget", None) or getattr(value, "func", value)
            function = getattr(function, "__func__", function)
            is_asked_for = not name.startswith("_") or name in {"__iter__", "__enter__"}
            if is_asked_for and inspect.isfunction(function):
                yield name, function


def hinted_things():
    """Yield every public class and all of its public functions."""
    for name, kind in public_classes():
        yield name, kind
        if inspect.isfunction(kind.__init__):
            yield f"{name}.__init__", kind.__init__
        for function_name, function in functions_of(kind):
            yield f"{name}.{function_name}", function


def test_hints_of_everything_public_resolve():
    """``typing.get_type_hints`` works on every public class, method and property, for tools that
    read them.
    """
    unresolved = {}
    for name, thing in hinted_things():
        try:
            typing.get_type_hints(thing)
        except NameError as exc:
            unresolved[name] = str(exc)
    assert unresolved == {}
    assert typing.get_type_hints(vespera.Worktrees.forecast)["return"] is vespera.Forecast
    assert typing.get_type_hints(vespera.open)["store"] == str | Store | None


def types_in(hint):
    """Yield the classes that a hint is made of."""
    if inspect.isclass(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from types_in(part)


def test_every_record_that_a_public_call_returns_travels():
    """Whatever record a call returns, or holds in a field, has ``to_dict`` and ``to_json``."""
    returned = {}
    for name, thing in hinted_things():
        hints = typing.get_type_hints(thing)
        hints = hints if inspect.isclass(thing) else {"return": hints.get("return")}
        for hint in hints.values():
            returned |= dict.fromkeys(types_in(hint), name)
    records = {kind: name for kind, name in returned.items() if attrs.has(kind)}
    public = {kind for _, kind in public_classes() if attrs.has(kind)}
    lame = {kind for kind in records.keys() | public if not issubclass(kind, vespera.Record)}
    assert {kind.__name__ for kind in lame if not issubclass(kind, Exception)} == NO_RECORDS
    for kind in records:
        names = {field.name for field in attrs.fields(kind)}
        form = getattr(kind, "json_form", None)
        if form is not None and kind.__name__ not in NO_RECORDS:
            spoken_of = {*form.omit, *form.details, *form.usual, *form.names, *form.first}
            assert spoken_of <= names | {*form.properties}, kind
            assert all(isinstance(getattr(kind, each), property) for each in form.properties)


def test_the_contract_may_be_imported_before_it_is_named():
    """Whoever imports its module first gets no warning of pytest, which is an error here."""
    module = importlib.import_module("vespera_orchestrator.testing.store_contract")
    assert vespera.testing.StoreContract is module.StoreContract


NO_RECORDS = {"JsonForm", "LeftOut", "Result", "Table", "UnderWay"}
"""What callers hand in, and classes within these records or contracts that nobody is handed."""


@pytest.mark.parametrize("owner", sorted(DESIGNED))
def test_names_that_callers_rely_on(owner):
    """The façade and its rooms have the names that callers rely on."""
    have = set(dir(getattr(vespera, owner))) | {"artifacts", "worktrees", "documents"}
    assert set(DESIGNED[owner].split()) <= have


def test_unknown_names_are_refused():
    """A name that does not exist is an AttributeError that says so."""
    with pytest.raises(AttributeError, match="no attribute 'Orchestra'"):
        _ = vespera.Orchestra
    assert set(vespera.__all__) <= set(dir(vespera))


def public_things():
    """Yield every public class, function, method and record field with its documentation."""
    for name in vespera.__all__:
        thing = getattr(vespera, name)
        yield name, thing.__doc__
        if not inspect.isclass(thing):
            continue
        for attribute, value in vars(thing).items():
            if not attribute.startswith("_") and (
                inspect.isfunction(value) or isinstance(value, property | classmethod)
            ):
                yield f"{name}.{attribute}", value.__doc__ or getattr(thing, attribute).__doc__


def test_everything_public_is_documented():
    """Every public class, function and method says what it is for; parameters that are not plain
    are named.
    """
    undocumented = [name for name, text in public_things() if not (text or "").strip()]
    assert undocumented == []


def error_classes():
    """Return every error class, the base included."""
    return [
        c
        for c in vars(errors).values()
        if inspect.isclass(c) and issubclass(c, errors.VesperaError)
    ]


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_errors_pickle_and_speak(kind):
    """Each error survives pickling with its fields, prints a sentence, and is in the package's
    root.
    """
    values = {
        "int": 1,
        "tuple[str, ...]": ("a", "b"),
        "Why | None": None,
        "NextStep | None": None,
        "datetime | None": datetime(2026, 1, 1, tzinfo=UTC),
    }
    fields = (
        [values.get(str(field.type), "x") for field in attrs.fields(kind)]
        if attrs.has(kind)
        else ["said"]
    )
    error = kind(*fields)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert str(error)
    if attrs.has(kind):
        assert attrs.astuple(again) == attrs.astuple(error)
    assert getattr(vespera, kind.__name__) is kind


def test_errors_are_also_the_builtins_that_callers_catch():
    """Code that catches LookupError, ValueError, RuntimeError or ImportError keeps working."""
    assert issubclass(vespera.TaskNotFoundError, LookupError)
    assert issubclass(vespera.ConditionError, ValueError)
    assert issubclass(vespera.InvalidInputError, ValueError)
    assert issubclass(vespera.ClosedError, RuntimeError)
    assert issubclass(vespera.MissingDependencyError, ImportError)
    assert vespera.StoreUnavailableError.retryable
    assert not vespera.SchemaVersionError.retryable


def test_the_tree_in_the_docstring_is_the_tree():
    """The drawing in the docstring of ``errors`` names every class and no other."""
    drawn = set(inspect.getdoc(errors).replace("─", " ").split())
    assert {kind.__name__ for kind in error_classes()} <= drawn


LIGHT = """
import sys, threading
before = threading.enumerate()
import vespera_orchestrator as vespera
imported = [name for name in {heavy} if name in sys.modules]
with vespera.open() as orch:
    orch.initialize_session("light")
    task = orch.plan_task("Task")
    with orch.execute_task(task) as work:
        work.checkpoint(1)
        work.complete(summary="s", detailed_work="d")
    orch.get_status(), orch.resume(), orch.why(task), orch.next_step()
    opened = [name for name in {heavy} if name in sys.modules]
    assert threading.enumerate() == before, threading.enumerate()
print(imported, opened)
"""


def test_light_until_used(tmp_path):
    """Importing, opening the default store and the life of a task load no heavy module and start no
    thread.
    """
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(heavy=HEAVY)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[] []\n", "")


def test_version_is_one():
    """The version of the package is that of its metadata."""
    assert importlib.metadata.version("vespera-orchestrator") == vespera.__version__


WRONG = [
    "vespera.open(5)",
    'vespera.open(b"/nowhere")',
    "vespera.open(orch.project, store=5)",
    "orch.initialize_session(5)",
    "orch.get_task(5)",
    'orch.get_task("")',
    "orch.why(None)",
    "orch.cancel_task(5)",
    'orch.plan_task("x", dependencies=5)',
    'orch.plan_task("x", parent_task_id=5)',
    'orch.query_tasks(limit="5")',
    "orch.query_tasks(limit=True)",
    'orch.query_tasks(offset="x")',
    "orch.query_tasks(status=5)",
    "orch.ready_tasks(limit=2.5)",
    "orch.list_sessions(limit=-1)",
    'orch.get_status(budget_tokens="x")',
    'next(orch.watch("x", timeout_s=0), None)',
    'next(orch.watch(timeout_s="x"), None)',
    "orch.synthesize_results(5)",
    "orch.spawn_agent_with_context(5)",
    'orch.artifacts.save("x", "y", tags=5)',
    'work.briefing("x")',
    "work.briefing(0)",
    'work.checkpoint({}, progress="x")',
]


@pytest.mark.parametrize("call", WRONG)
def test_an_argument_of_a_wrong_kind_is_refused_in_our_words(tmp_path, call):
    """Whatever is passed where something else belongs: the error is ours, it names the argument,
    and nothing is written.
    """
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("first")
        work = orch.execute_task("first")
        before = orch._store.last_seq()
        with pytest.raises((vespera.InvalidInputError, vespera.PlanError)):
            eval(call, {"vespera": vespera, "orch": orch, "work": work})
        assert orch._store.last_seq() == before


def test_help_tells_what_each_field_means(tmp_path):
    """A record's docstring has a sentence for every public field."""
    for name in vespera.__all__:
        thing = getattr(vespera, name)
        if not inspect.isclass(thing) or "__attrs_attrs__" not in vars(thing):
            continue
        text = thing.__doc__  # made anew each time
        for field in attrs.fields(thing):
            if not field.name.startswith("_"):
                entry = rf"\n    {field.name} \(.*\):\s"
                assert re.search(entry, text), f"{name}.{field.name}"
    text = vespera.Task.__doc__
    assert re.search(r"\S {2,}\S", text) is None, "the source's indentation is in a sentence"
    public = [name for name in vars(finished_work(tmp_path)) if not name.startswith("_")]
    assert [name for name in public if f"\n    {name}: " not in inspect.getdoc(vespera.Work)] == []


def finished_work(folder):
    """Make a piece of work, to see which attributes it has."""
    with vespera.open(folder) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("first")
        with orch.execute_task("first") as work:
            return work


def test_help_without_the_source_is_the_docstring(monkeypatch):
    """Where the source is not at hand, the fields are named with their types alone."""
    monkeypatch.setattr(inspect, "getsource", lambda _: (_ for _ in ()).throw(OSError))
    text = vespera.NextStep.__doc__
    assert text.startswith("What to do now; never empty.\n")
    assert "\n    sentence (str)\n" in text

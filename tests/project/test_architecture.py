"""The direction of imports, the door of each foreign library, and what a module keeps to itself."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

PACKAGE = ROOT / "src" / "vespera_orchestrator"
DOORS = {
    "backports": "One door to compression",
    "cattrs": "One converter",
    "jinja2": "Only documents",
    "lancedb": "Only the search index",
    "networkx": "Only the task graph",
    "obstore": "One door to object stores",
    "psycopg": "Only the PostgreSQL store",
    "pyarrow": "Only the search index",
    "opentelemetry": "Only what observes",
    "pathspec": "Only the search for ignored",
    "pygit2": "Only worktrees",
    "pypdf": "One door to PDFs",
    "sqlite3": "Only stores",
    "tree_sitter": "Only the readers of languages",
    "yaml": "Only what people write",
}


def lint_imports(folder):
    """Check the contracts of the copy in *folder*; return the exit status and the report."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A copy of the package and of the contracts that it keeps."""
    folder = tmp_path_factory.mktemp("pristine")
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, folder / "vespera_orchestrator", ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def plant(pristine):
    """A function that adds a line to a module of the copy; the module is put back afterwards."""
    before = {}

    def add(module, line):
        path = pristine / "vespera_orchestrator" / module
        before[path] = path.read_text("utf-8") if path.exists() else None
        path.write_text(f"{before[path] or ''}\n{line}\n", "utf-8")
        return pristine

    yield add
    for path, text in before.items():
        if text is None:
            path.unlink()
        else:
            path.write_text(text, "utf-8")


def test_the_package_keeps_its_contracts(pristine):
    """Imports run downward, without circles, and each foreign library has one door."""
    status, report = lint_imports(pristine)
    assert status == 0, report
    assert "0 broken" in report


UPWARD = [
    ("home/scope.py", "work.assignment"),
    ("tasks/lifecycle.py", "progress.resume"),
    ("stores/sql/rows.py", "worktrees.repository"),
    ("documents/sections.py", "artifacts.api"),
    ("_model.py", "errors"),
]


@pytest.mark.parametrize(("module", "above"), UPWARD)
def test_an_import_upward_or_sideways_is_refused(plant, module, above):
    """Each room uses what is below it, never what is above or beside it."""
    package, name = f"vespera_orchestrator.{above}".rsplit(".", 1)
    status, report = lint_imports(plant(module, f"from {package} import {name} as _planted"))
    assert status == 1
    assert "Imports run downward only, those for types included BROKEN" in report


@pytest.mark.parametrize("where", ["import typing\nif typing.TYPE_CHECKING:", "def _planted():"])
def test_an_import_upward_is_refused_wherever_it_stands(plant, where):
    """An import for type checkers only counts, and so does one inside a function."""
    line = "from vespera_orchestrator.work import assignment"
    status, report = lint_imports(plant("home/scope.py", f"{where}\n    {line}"))
    assert status == 1
    assert "Imports run downward only, those for types included BROKEN" in report


@pytest.mark.parametrize("module", ["work/assignment.py", "home/files.py", "orchestrator.py"])
def test_foreign_libraries_are_refused_outside_their_rooms(plant, module):
    """A module in the midst of things can use none of them, not even in a function."""
    lines = "".join(f"    import {library}\n" for library in DOORS)
    status, report = lint_imports(plant(module, f"def _planted():\n{lines}"))
    assert status == 1
    name = module.removesuffix(".py").replace("/", ".")
    for library, contract in DOORS.items():
        assert f"vespera_orchestrator.{name} -> {library}" in report
        assert any(contract in line and "BROKEN" in line for line in report.splitlines())


def test_the_search_index_is_refused_to_a_plan(plant):
    """What decides is pure: a plan cannot look anything up."""
    status, report = lint_imports(plant("tasks/plans.py", "import lancedb"))
    assert status == 1
    assert "vespera_orchestrator.tasks.plans -> lancedb" in report


def test_a_new_module_must_say_where_it_stands(plant):
    """A module that no layer names is refused, whatever it imports."""
    status, report = lint_imports(plant("_planted.py", "import os"))
    assert status == 1
    assert "vespera_orchestrator._planted" in report


def test_a_circle_is_refused(plant):
    """Two modules of one room cannot import each other."""
    line = "from vespera_orchestrator.worktrees import landing as _planted"
    status, report = lint_imports(plant("worktrees/repository.py", line))
    assert status == 1
    assert "No circles, in any package BROKEN" in report


# --- what a module keeps to itself -----------------------------------------------------


def modules():
    """Return the syntax of every module of the package by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("vespera_orchestrator", *path.relative_to(PACKAGE).with_suffix("").parts)
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text("utf-8"))
    return found


def is_private(name):
    """Tell whether a name is one module's own."""
    return name.startswith("_") and not name.endswith("__")


def borrowed(name, tree, names):
    """Yield each name with an underscore that the module *name* takes from another."""
    aliases = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            target = f"{node.module}.{alias.name}"
            if target in names:
                aliases[alias.asname or alias.name] = target
            elif node.module in names and is_private(alias.name):
                yield f"{name}: from {node.module} import {alias.name}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if node.value.id in aliases and is_private(node.attr):
            yield f"{name}: {aliases[node.value.id]}.{node.attr}"


def test_no_module_uses_what_another_keeps_to_itself():
    """A name with an underscore is used in its own module only; what others need has none."""
    trees = modules()
    found = [use for name, tree in sorted(trees.items()) for use in borrowed(name, tree, trees)]
    assert found == []


def test_an_underscore_is_found_however_it_is_reached():
    """The rule above sees an import of a name and a look into a module, and lets modules alone."""
    names = {"vespera_orchestrator", "vespera_orchestrator._codec", "vespera_orchestrator.home"}
    source = """
from vespera_orchestrator import _codec, home as place
from vespera_orchestrator._codec import encode, _hidden
place._other
place.open
_codec.__name__
"""
    assert list(borrowed("here", ast.parse(source), names)) == [
        "here: from vespera_orchestrator._codec import _hidden",
        "here: vespera_orchestrator.home._other",
    ]

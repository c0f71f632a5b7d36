"""The pages in ``docs/`` name things that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations import mcp, tools

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PATH_IN_CODE = re.compile(r"`((?:benchmarks|docs|examples|src|tests)/[\w./-]+)`")
PACKAGE = ROOT / "src" / "vespera_orchestrator"
MODULE_IN_CODE = re.compile(r"`([a-z_0-9/]+\.py)`")
REQUIREMENT = re.compile(r"^\| ([A-Z]\d) \|.*?\]\((\w+\.md)#([\w-]+)\) \| (.*?) \|", re.MULTILINE)
VARIABLE = re.compile(r"\b(?:MCP|VESPERA)_ORCHESTRATOR_[A-Z]+\b")
VARIABLE_READ = re.compile(rf'ENV_\w+: Final = "({VARIABLE.pattern})"')
LINK = re.compile(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_exist(page):
    """Each file of this repository that a page names, or links to, exists."""
    text = page.read_text("utf-8")
    named = [ROOT / path for path in PATH_IN_CODE.findall(text) if not is_made(path)]
    linked = [page.parent / path for path in LINK.findall(text)]
    assert [path for path in (*named, *linked) if not path.exists()] == []


def test_variables_that_a_page_or_the_code_names_exist():
    """A wrong name would be ignored without a word, and every agent would be the same one."""
    skills = sorted(PACKAGE.rglob("*.md"))
    modules = {path: path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    tests = sorted((ROOT / "tests").rglob("*.py"))
    pages = {path: path.read_text("utf-8") for path in [*PAGES, *skills, *tests]}
    named = {(name, path) for path, text in pages.items() for name in VARIABLE.findall(text)}
    read = {name for text in modules.values() for name in VARIABLE_READ.findall(text)}
    assert {(name, path) for name, path in named if name not in read} == set()


def is_made(path):
    """Tell whether the library makes *path* in a project of the reader's."""
    return path.startswith("docs/") and not path.startswith(("docs/reference", "docs/make_"))


def test_modules_that_a_page_names_exist():
    """Each module that the architecture page names exists, and it names every room."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooted = PATH_IN_CODE.findall(text)
    named = {path for path in MODULE_IN_CODE.findall(text) if path not in rooted}
    assert [path for path in sorted(named) if not (PACKAGE / path).exists()] == []
    rooms = {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}
    layout = text.partition("```text")[2].partition("```")[0]
    assert [room.name for room in rooms if f"─ {room.name}/ " not in layout] == []
    modules = [path.name for path in PACKAGE.glob("*.py")]
    assert [name for name in modules if f"─ {name} " not in layout] == []


def test_each_requirement_has_its_example():
    """Each row of the table links to the heading of its number, and names what is public."""
    folder = ROOT / "docs" / "patterns"
    rows = REQUIREMENT.findall((folder / "index.md").read_text("utf-8"))
    counts = {"F": 4, "S": 4, "A": 5, "W": 4, "G": 4, "D": 6, "P": 4, "M": 4, "R": 3, "E": 4}
    expected = [f"{letter}{n + 1}" for letter, count in counts.items() for n in range(count)]
    assert sorted(number for number, *_ in rows) == sorted(expected)
    for number, page, anchor, names in rows:
        headings = re.findall(r"^## (.*)$", (folder / page).read_text("utf-8"), re.MULTILINE)
        (heading,) = [each for each in headings if each.startswith(f"{number}: ")]
        assert anchor == re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for name in re.findall(r"`([\w.]+)`", names):
            assert is_public(name), (number, name)


def is_public(name):
    """Tell whether the package, the façade, or what these names begin with, has *name*."""
    first, _, rest = name.partition(".")
    if rest:
        return hasattr(getattr(vespera, first.title(), None) or getattr(vespera, first), rest)
    return any(hasattr(place, name) for place in (vespera, vespera.Orchestrator, mcp, tools))


def test_each_fragment_of_the_changelog_has_a_type():
    """No fragment has a type that towncrier does not know: it would be left out without a word."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    types = {entry["directory"] for entry in settings["tool"]["towncrier"]["type"]}
    fragments = (ROOT / "changelog.d").glob("*.md")
    assert [path.name for path in fragments if path.name.split(".")[-2] not in types] == []

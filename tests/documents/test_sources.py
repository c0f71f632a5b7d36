"""What documents show of completed work, for each type of project."""

from __future__ import annotations

import re
from textwrap import dedent

import attrs
import pytest

from vespera_orchestrator._model import Ending, NextAction, TaskDraft
from vespera_orchestrator.documents import material
from vespera_orchestrator.documents.sections import section_contents
from vespera_orchestrator.documents.sources import SOURCES
from vespera_orchestrator.documents.sources.bibliography import (
    find_citations,
    read_bibtex,
    with_names,
)
from vespera_orchestrator.documents.tree import FolderTree
from vespera_orchestrator.errors import InvalidInputError


def _changelog_lines(project) -> list[str]:
    """Update the documents, and return what the changelog shows: no empty lines, no comments."""
    project.documents.update()
    lines = section_contents(project.text("CHANGELOG.md"))["changelog"].split("\n")
    return [line.partition(" <!--")[0] for line in lines if line]


def test_a_changelog_is_sorted_by_version_and_kind(make_project):
    """As Keep a Changelog has it; what users do not notice is left out."""
    project = make_project()
    for title, summary, options in (
        ("feat(core): add boiling", "Added `boil()`, which <boils>", {}),
        ("Look into the log", "nothing there", {}),
        ("Version 1.0.0 (#7).", "", {}),
        ("feat!: drop the old API", "BREAKING: the old API is gone", {}),
        ("Security: CVE-2026-1", "patched", {}),
        ("Tidy", "Fixed the lid", {"outputs": {"changelog": "skip"}}),
        ("Wake up", "", {"outputs": {"category": "deprecated"}}),
    ):
        project.complete(title, summary=summary, **options)
    assert _changelog_lines(project) == [
        "## [Unreleased]",
        "### Deprecated",
        "- Wake up.",
        "### Removed",
        "- **Breaking:** The old API is gone.",
        "### Security",
        "- CVE-2026-1: patched.",
        "## [1.0.0] - 2026-03-01",
        "### Added",
        "- Added `boil()`, which &lt;boils>.",
        "[Unreleased]: #unreleased",
        "[1.0.0]: #100---2026-03-01",
    ]


def test_a_change_is_told_once_and_by_its_verb(make_project):
    """Also behind the name of a part; what only developers notice is left out."""
    project = make_project()
    for title in (
        "kettle: fix the lid",
        "Update the manual",
        "Update the manual",
        "Bump actions/checkout from 4 to 5",
        "Fix typo",
        "[pre-commit.ci] autoupdate",
        "fix: Typo in comment (#621)",
        "Fix formatting",
        "Fix revive linting (#12)",
        "Start new development cycle",
        "Add tests to deprecations",
        "Make tests order-independent (#767)",
        "Update dev (#814)",
        "sponsors: add Boilers Ltd",
        "Run the nightly tests on both branches",
        "Add test for the lid (#815)",
        "Remove harden runner from publish workflow",
        "Upgrade Python formatter ruff",
        "Update requirements.txt (#816)",
        "TST: Adjust for the new lid",
        "MAINT: sweep",
        "Update release notes",
        "Migrate dependency management to uv",
        "Boil at once. (#817)",
        "[fix] Close the lid (#818)",
    ):
        project.complete(title, summary=title)
    assert _changelog_lines(project) == [
        "## [Unreleased]",
        "### Changed",
        "- Boil at once (#817).",
        "- Update the manual.",
        "### Fixed",
        "- Close the lid (#818).",
        "- kettle: fix the lid.",
        "[Unreleased]: #unreleased",
    ]


def test_a_text_that_repeats_its_title_is_about_nothing(make_project):
    """A label in a title, such as the name of a part, is no heading."""
    project = make_project()
    project.complete("architecture: faster", project.draft("W", "architecture: faster\n"))
    project.documents.update()
    assert "Nothing is written about the design" in project.text("ARCHITECTURE.md")


def test_the_work_itself_says_what_kind_of_change_it_is(make_project):
    """By a line such as a trailer; and a task with subtasks is no change of its own."""
    project = make_project()
    work = project.draft("W", "Text.\n\nChangelog: fixed\nBREAKING CHANGE: callers pass a unit\n")
    project.complete("Units", work, summary="units")
    project.documents.update()
    text = section_contents(project.text("CHANGELOG.md"))["changelog"]
    assert "### Fixed" in text
    assert "- **Breaking:** Callers pass a unit." in text or "Units: units" in text


_PACKAGE = {
    "src/kettle/__init__.py": """
        '''Kettles that boil.'''
        from kettle._impl import Kettle, boil
        from kettle.consts import *
        __all__ = ["boil", "Kettle", "LIMIT"]
        """,
    "src/kettle/_impl.py": """
        import typing as t
        from kettle import _base
        from kettle.consts import LIMIT

        @t.overload
        def boil(ml: int) -> int: ...
        @t.overload
        def boil(ml: str) -> str: ...
        def boil(ml):
            '''Boil some
            water.

            Args:
                ml: How much.

            Raises:
                ValueError: Too much.
            '''

        class Vessel(_base.Thing[int]):
            size: int = 1
            def pour(self): "Pour it."

        class Kettle(Vessel, t.Sized):
            '''A kettle.'''

            size: int = 3
            '''How large.'''

            def __init__(self, size, *, lid=True): ...
            @property
            def hot(self) -> bool: ...
            @hot.setter
            def hot(self, value): ...
            async def wait(self): ...
            def _secret(self): ...
        """,
    "src/kettle/_base.py": """
        class Thing:
            @property
            def owner(self): ...
            def __init__(self, owner, size): ...
        """,
    "src/kettle/consts.py": """
        LIMIT: int = 300
        '''Seconds.'''
        for place in (1, 2):
            if place:
                current = place
        COUNT = 0
        while COUNT < 3:
            COUNT = COUNT + 1
        try:
            import x
        except ImportError:
            def fallback(a): ...
        """,
    "src/kettle/lid/__init__.py": """
        from typing import TYPE_CHECKING
        from kettle.lid._impl import Handle
        if TYPE_CHECKING:
            from kettle.lid._impl import Screw
        """,
    "src/kettle/lid/_impl.py": """
        class Handle:
            '''What you hold.'''
            shape = bent
            settings = {
                "one": "a setting that is much too long to show",
                "two": "as is this one, and so nothing is left to say",
            }
        class Screw:
            '''What holds it.'''
        """,
    "tests/test_kettle.py": "def test_it(): ...",
    "broken.py": "def (",
}


def _write_package(project):
    for path, text in _PACKAGE.items():
        project.write(path, dedent(text))


def test_the_api_is_what_can_be_imported(make_project):
    """Re-exports under their short name, each name once, whole docstrings, nothing private."""
    project = make_project()
    _write_package(project)
    project.documents.update()
    api = section_contents(project.text("API_REFERENCE.md"))["api"]
    assert "### `kettle`\n\nKettles that boil." in api
    assert "_impl" not in api
    assert "test_it" not in api
    assert api.count("#### `boil`") == 1
    assert "def boil(ml: int) -> int\ndef boil(ml: str) -> str" in api
    assert "Boil some water." in api
    assert "**Parameters**\n\n- `ml`: How much." in api
    assert "- `ValueError`: Too much." in api
    assert "- `size: int = 3`: How large." in api
    assert "def __init__(size, *, lid=True)" in api
    assert "hot: bool" in api
    assert api.count("Kettle.hot") == 1
    assert "async def wait()" in api
    assert "##### `Kettle.pour`" in api, "what it derives from is described nowhere"
    assert "##### `Kettle.owner`" in api
    assert api.count("def __init__") == 1
    assert "Vessel.pour" not in api
    assert "current" not in api, "it is a variable of a loop"
    assert "- `COUNT = " in api
    assert "_secret" not in api
    assert "- `LIMIT: int = 300`: Seconds." in api
    assert "### `kettle.consts`" in api
    assert "What you hold." in api
    assert "Screw" not in api, "it is imported for type checkers only"
    assert "- `shape = bent`" in api
    assert "settings" not in api, "there is nothing to say of it"
    assert "def fallback(a)" in api
    assert "It is not readable as Python, line 1." in api
    project.home.project.joinpath("src/kettle/consts.py").unlink()
    project.documents.update()
    assert "kettle.consts" not in project.text("API_REFERENCE.md"), "what is gone, is gone"


def test_what_only_presents_other_modules_is_the_api(make_project):
    """A package that takes all of its modules in, and a module that defines nothing itself."""
    project = make_project()
    for path, text in {
        "tea/__init__.py": "from .pots import *\n",
        "tea/pots.py": "from tea._core import Leaf\n"
        + "".join(f"def pour_{number}(): ...\n" for number in range(10)),
        "tea/objects.py": "from tea._core import Brew\n",
        "tea/_core.py": "class Brew: ...\nclass Leaf: ...\n",
        "tools/release.py": "VERSION = 1\n",
    }.items():
        project.write(path, text)
    project.documents.update()
    api = section_contents(project.text("API_REFERENCE.md"))["api"]
    titles = [line for line in api.split("\n") if line.startswith("###")]
    assert titles == [
        "### `tea`",
        *(f"#### `pour_{number}`" for number in range(10)),
        "### `tea.objects`",
        "#### `Brew`",
        "### Further modules",
    ]


def test_the_architecture_is_what_imports_what(make_project):
    """The real imports, as a table and a drawing."""
    project = make_project()
    _write_package(project)
    project.home.project.joinpath("broken.py").unlink()
    project.documents.update()
    components = section_contents(project.text("ARCHITECTURE.md"))["components"]
    assert "| `kettle` | Kettles that boil. | `_impl`, `consts` | \u2013 |" in components
    assert "| `consts` | \u2013 | \u2013 | `kettle`, `_impl` |" in components
    assert "```mermaid\nflowchart TD\n" in components


def test_a_drawing_stays_readable(make_project):
    """Three hundred modules become as many boxes as one can look at."""
    project = make_project()
    for number in range(300):
        package, other = number % 12, (number + 1) % 12
        text = f"import big.p{other}.sub.m{(number + 1) % 300}\n"
        project.write(f"big/p{package}/sub/m{number}.py", text)
    project.documents.update()
    components = section_contents(project.text("ARCHITECTURE.md"))["components"]
    drawing = components.partition("```mermaid")[2].partition("```")[0]
    assert drawing.count("[") == 12
    assert drawing.count("-->") <= 48


def test_large_packages_are_opened_in_a_drawing(make_project):
    """A package of many parts is no single box; its own modules are one if they are too many."""
    project = make_project()
    for number in range(30):
        project.write(f"big/m{number}.py", "import big.core.a\n")
    for part in ("core", "shell"):
        project.write(f"big/{part}/a.py", "import big.core.b\n")
        project.write(f"big/{part}/b.py", "")
    project.documents.update()
    components = section_contents(project.text("ARCHITECTURE.md"))["components"]
    rows = [line.split(" | ") for line in components.split("\n") if line.startswith("| `")]
    assert [(row[0], row[2]) for row in rows] == [
        ("| `big`", "30"),
        ("| `core.a`", "1"),
        ("| `core.b`", "1"),
        ("| `shell.a`", "1"),
        ("| `shell.b`", "1"),
    ]


def test_a_package_of_too_many_parts_shows_the_largest(make_project):
    """The others are one box, and named."""
    project = make_project()
    for number in range(40):
        project.write(f"big/p{number:02}/a.py", "import big.p00.b\n")
        project.write(f"big/p{number:02}/b.py", "")
    for number in range(3):
        project.write(f"big/p39/more{number}.py", "import big.p38.a\n")
    project.documents.update()
    components = section_contents(project.text("ARCHITECTURE.md"))["components"]
    drawing = components.partition("```mermaid")[2].partition("```")[0]
    assert 15 < drawing.count("[") <= 24
    assert '["p39"]' in drawing
    (others,) = [line for line in components.split("\n") if line.startswith("| `big` (others) |")]
    assert re.search(r"`p\d\d`, \d+ more \| \d\d \|", others)


def test_what_a_package_builds_on_is_apart_from_what_stands_above_it(make_project):
    """Modules beside packages may be below and above them: no arrow leads both ways."""
    project = make_project()
    for number in range(24):
        project.write(f"big/m{number}.py", "")
    project.write("big/__init__.py", '"""Big."""\nfrom big.front import show\n')
    project.write("big/front.py", "import big.core.a, big.rooms\n")
    project.write("big/rooms.py", "import big.core.b\n")
    project.write("big/core/a.py", "import big.m1, big.m2, big.rooms\n")
    project.write("big/core/b.py", "import big.m3\n")
    project.documents.update()
    components = section_contents(project.text("ARCHITECTURE.md"))["components"]
    rows = [line.split(" | ") for line in components.split("\n") if line.startswith("| `")]
    base = "`big` (base)"
    assert [(row[0], row[2], row[3]) for row in rows] == [
        ("| `big`", "2", "`core.a`, `rooms`"),
        (f"| {base}", "24", "\u2013"),
        ("| `core.a`", "1", f"{base}, `rooms`"),
        ("| `core.b`", "1", base),
        ("| `rooms`", "1", "`core.b`"),
    ]
    assert "A base is what lies directly in a package" in components
    assert '["big (base)"]' in components


def test_imports_are_read_again_under_another_name(make_project):
    """A file that stays is another module once the folder above it becomes a package."""
    project = make_project()
    project.write("tea/pot/__init__.py", "")
    project.write("tea/pot/lid.py", "from . import handle\n")
    project.write("tea/pot/handle.py", "from . import lid\n")
    project.complete("Add a pot")
    project.documents.update()
    assert "through others: `handle` and `lid`." in project.text("ARCHITECTURE.md")
    project.write("tea/__init__.py", "")
    project.complete("Make tea a package")
    project.documents.update()
    assert "through others: `pot.handle` and `pot.lid`." in project.text("ARCHITECTURE.md")


def test_circles_are_those_of_modules(make_project):
    """What only seems to be one, as modules are drawn together, is not named."""
    project = make_project()
    project.write("big/a/one.py", "import big.b.one\n")
    project.write("big/b/one.py", "")
    project.write("big/b/two.py", "import big.a.two\n")
    project.write("big/a/two.py", "")
    project.documents.update()
    assert "each other" not in project.text("ARCHITECTURE.md")
    project.write("big/b/one.py", "import big.b.two\n")
    project.write("big/a/two.py", "import big.a.one\n")
    project.documents.update()
    said = "through others: `a.one`, `a.two`, `b.one` and `b.two`."
    assert said in project.text("ARCHITECTURE.md")


def test_a_package_that_presents_its_api_is_not_listed_twice(make_project):
    """Modules that only serve it are named with what they define."""
    project = make_project()
    names = [f"name{number}" for number in range(12)]
    functions = "".join(f"def {name}(): 'What it does.'\n" for name in names)
    project.write(
        "big/__init__.py", f"from big.core import {', '.join(names)}\n__all__ = {names}\n"
    )
    project.write("big/core.py", f"'The core.'\n{functions}def inner(): 'Not shown.'\n")
    project.write("big/extra.py", "__all__ = ['more']\ndef more(): 'More.'\n")
    project.documents.update()
    api = section_contents(project.text("API_REFERENCE.md"))["api"]
    main, _, further = api.partition("### Further modules")
    assert main.count("What it does.") == 12
    assert "More." in main
    assert "Not shown" not in api
    assert "- `big.core`: The core. Names: `inner`." in further


def test_decisions_are_numbered_records(make_project):
    """From headings, lists and records; the later says what it replaces. A name says nothing."""
    project = make_project()
    project.write("DESIGN.md", "Something else.")
    project.complete(
        "Begin",
        project.draft(
            "Work", "Decisions:\n\n- We use SQLite. No server.\n- **No threads**: wait.\n"
        ),
        project.draft("DESIGN.md", "Something else.", "file"),
    )
    record = "# ADR 3: Use PostgreSQL\n\nStatus: Accepted\n\nSupersedes: 1\n\nWe grow.\n"
    project.complete("Grow", project.draft("Grow", record, "decision"))
    project.documents.update()
    decisions = section_contents(project.text("ARCHITECTURE.md"))["decisions"]
    assert re.findall(r"^### (.*)\n\n\*(.*), 2026", decisions, re.MULTILINE) == [
        ("3. Use PostgreSQL", "Accepted"),
        ("2. No threads", "Accepted"),
        ("1. We use SQLite", "Superseded by [3](#3-use-postgresql)"),
    ]
    assert "Status:" not in decisions
    assert "Something else" not in project.text("ARCHITECTURE.md")


@pytest.mark.parametrize(
    ("item", "title", "text"),
    [
        (
            "**Rules are pure; stores\n  carry them out.** You can test them.",
            "Rules are pure; stores carry them out",
            "You can test them.",
        ),
        (
            "**No kettle**: water comes from the caller.",
            "No kettle",
            "Water comes from the caller.",
        ),
        (
            "**Filters have indexes** in the table.",
            "Filters have indexes",
            "**Filters have indexes** in the table.",
        ),
        (
            "Merge by file: libgit2's own merge reads all.",
            "Merge by file",
            "libgit2's own merge reads all.",
        ),
        ("**All in bold.**", "All in bold", ""),
    ],
)
def test_a_decision_has_its_first_words_as_title(make_project, item, title, text):
    """What is bold there, or the first sentence; nothing is said twice or torn apart."""
    project = make_project()
    project.complete("Begin", project.draft("Work", f"## Decisions\n\n* {item}\n"))
    project.documents.update()
    decisions = section_contents(project.text("ARCHITECTURE.md"))["decisions"]
    assert decisions.startswith(f"### 1. {title}\n")
    assert decisions.partition("-->")[2].strip() == text


def test_a_table_of_decisions_is_headed_by_its_heading(make_project):
    """A row of it is no title."""
    project = make_project()
    text = "## Where a decision is made\n\n| decision | where |\n| --- | --- |\n| size | lid |\n"
    project.complete("Begin", project.draft("Work", text))
    project.documents.update()
    assert "### 1. Where a decision is made\n" in project.text("ARCHITECTURE.md")


_BIBLIOGRAPHY = r"""
@article{smith20, author={Smith, Ann and M{\"u}ller, Bob}, title={{DNA} and Life}, year=2020,
  journal={Nature}, volume=3, number=2, pages={4--5}, doi={https://doi.org/10.1000/ABC}}
@book{knuth, author={Donald E. Knuth}, title={The Art}, publisher={AW}, year=1968}
@article{broken, title={
"""


def test_literature_has_one_entry_a_work(make_project):
    """However it is cited: by key, DOI, or name and year."""
    project = make_project("research_project")
    project.write("refs.bib", _BIBLIOGRAPHY)
    project.write("paper.tex", r"As \cite{smith20,knuth} show.")
    text = (
        "The field is young.\n\nSmith and Müller (2020) show it (doi:10.1000/abc).\n\n"
        "So do [@knuth, p. 3] and Jones et al. (2019).\n"
    )
    project.complete("Read", project.draft("Review", text, "literature"))
    project.documents.update()
    contents = section_contents(project.text("LITERATURE_REVIEW.md"))
    works = contents["references"]
    assert re.findall(r"^### (.*)", works, re.MULTILINE) == [
        "Jones et al. (2019)",
        "Knuth (1968)",
        "Smith and Müller (2020)",
    ]
    reference = (
        "Smith, A. and Müller, B. (2020). *DNA and Life*. Nature, 3(2), 4\u20135. "
        "[doi:10.1000/abc](https://doi.org/10.1000/abc)"
    )
    assert reference in works
    assert works.count("show it") == 1
    assert "Cited in [`paper.tex`](../paper.tex), “Review”." in works
    assert "The field is young." in contents["literature"]


@pytest.mark.parametrize("text", ["@a{", "@a{@b{x}", "@article{k, t = {x}, , }"])
def test_a_bibliography_with_mistakes_prints_nothing(text, caplog):
    """What its reader logs quotes the file, and would reach the terminal."""
    read_bibtex(text)
    assert caplog.records == []


def test_works_of_the_same_authors_and_year_are_two(make_project):
    """They have letters, and a name that may mean either of them is attributed to neither."""
    project = make_project("research_project")
    entry = (
        "@article{{{key}, author={{Axer, M. and Amunts, K.}}, year=2011, title={{{title}}}{doi}}}\n"
    )
    project.write(
        "a.bib",
        entry.format(key="axer2011b", title="Fibres", doi=", doi={10.1000/b}")
        + entry.format(key="axer2011a", title="Tracts", doi=""),
    )
    project.write("b.bib", entry.format(key="axer11", title="Tracts", doi=", doi={10.1000/a}"))
    long = "Fibres cross [@axer2011a]. " + "Nobody knows why. " * 30 + "We do [@axer2011b]."
    text = f"{long}\n\nAxer and Amunts (2011) agree.\n\n![Seen by @axer11](a.png)\n\n# References\n"
    project.complete("Review", project.draft("Review", text, "literature"))
    project.documents.update()
    review = section_contents(project.text("LITERATURE_REVIEW.md"))
    works = review["references"].split("### ")[1:]
    assert [work.split("\n")[0] for work in works] == [
        "Axer and Amunts (2011a)",
        "Axer and Amunts (2011b)",
    ]
    assert "Tracts" in works[0]
    assert "10.1000/a" in works[0]
    assert "\n\nFibres cross (Axer and Amunts, 2011a).\n\n" in works[0]
    assert "\n\nWe do (Axer and Amunts, 2011b).\n\n" in works[1]
    assert "agree" not in review["references"]
    assert "Nobody knows why." in review["literature"], "a long paragraph stays where it is"
    assert "![Seen by Axer and Amunts (2011a)](a.png)" in review["literature"]
    assert "References" not in review["literature"]


def test_a_link_in_passing_is_no_work(make_project):
    """An item of a list that begins with one is, and has its words for a title."""
    project = make_project("research_project")
    text = "See [our page](https://a.org/).\n\n- [The Book](https://b.org/)\n- <https://c.org/d>\n"
    project.complete("Review", project.draft("Review", text, "literature"))
    project.documents.update()
    works = section_contents(project.text("LITERATURE_REVIEW.md"))["references"]
    assert [line for line in works.split("\n") if line.startswith("### ")] == [
        "### https://c.org/d",
        "### The Book",
    ]


def test_files_are_linked_from_where_the_document_is(make_project):
    """Who works names them from the project's folder."""
    project = make_project("research_project")
    for name in ("data/runs.csv", "docs/method.png", "a b.csv"):
        project.write(name, "x")
    text = "# Results\n\n[runs](data/runs.csv#a) [odd](a%20b.csv) ![m](method.png) ![n](none.png)\n"
    project.complete("Runs", project.draft("Runs", text, "finding"))
    project.documents.update()
    findings = section_contents(project.text("FINDINGS.md"))["findings"]
    assert (
        "[runs](../data/runs.csv#a) [odd](../a%20b.csv) ![m](method.png) ![n](none.png)" in findings
    )
    assert "Results" not in findings, "a heading that names only the topic says nothing"
    (problem,) = project.documents.check()
    assert "'none.png' leads nowhere" in str(problem)
    assert project.documents.update().written == ()


def test_bibtex_is_read_as_bibtex_means_it():
    """Braces hold names together, fields have any case, volumes are referred to."""
    text = r"""
    @Article{One, Author = "Edwin V. {Bell, II} and {The Project Team} and R{\"u}dt, Jan",
      Title = "{\TeX} and \LaTeX{} names", YEAR = {\noopsort{1973b}}1981}
    @InProceedings{two, author = {de la Cruz, Ana}, title = {A talk}, crossref = {Vol}}
    @Proceedings{vol, title = {Proceedings of it}, year = 1999, editor = {No Body}}
    """
    one, two, volume = read_bibtex(text)
    families = [family for family, _ in one.authors]
    assert families == ["Bell, II", "The Project Team", "Rüdt"]
    assert (one.title, one.year) == ("TeX and LaTeX names", "1981")
    assert (two.short_name, two.container) == ("de la Cruz (1999)", "Proceedings of it")
    assert volume.short_name == "Body (1999)"


@pytest.mark.parametrize(
    ("text", "author", "has_more_authors"),
    [
        ("Wie Müller u. a. (2019) zeigen,", "Müller", True),
        ("(Dupont et coll., 2019)", "Dupont", True),
        ("García y otros (2019) miden", "García", True),
        ("segundo da Costa e col. (2019)", "da Costa", True),
        ("Иванов и Петров (2019) показали", "Иванов", False),
        ("(Сидоров и др., 2019)", "Сидоров", True),
        ("先行研究では田中・鈴木（2019）が", "田中", False),
        ("スミスほか（2019年）", "スミス", True),
        ("（王明等，2019）", "王明", True),
    ],
)
def test_works_are_cited_in_eight_languages(text, author, has_more_authors):
    """Each has words of its own for several authors, and some have other brackets."""
    (citation,) = find_citations(text)
    assert (citation.author, citation.year) == (author, "2019")
    assert citation.has_more_authors is has_more_authors
    assert citation.is_certain


def test_a_name_behind_other_words_is_one_of_the_bibliography(make_project):
    """Chinese has no spaces: only a name that is known tells where it begins."""
    project = make_project("research_project")
    project.write("refs.bib", "@book{wang, author={王, 明}, title={茶}, year=2019}\n")
    project.complete(
        "读", project.draft("综述", "根据王明（2019）的研究。据李华（2018）。", "文献")
    )
    project.documents.update()
    works = section_contents(project.text("LITERATURE_REVIEW.md"))["references"]
    assert works.count("### ") == 1
    assert "根据王明" in works


@pytest.mark.parametrize(
    ("status", "supersedes"),
    [
        ("Estado: aceptada", "Sustituye: 1"),
        ("Situação: aceite", "Substitui: 1"),
        ("Statut : accepté", "Remplace : 1"),
        ("Статус: принято", "Заменяет: 1"),
        ("状態: 承認", "置き換え: 1"),
        ("状态: 已接受", "取代: 1"),
    ],
)
def test_records_of_decisions_are_understood_in_other_languages(make_project, status, supersedes):
    """Which one holds is said in the record itself."""
    project = make_project()
    project.complete("A", project.draft("Decision: one", "We do it.", "decision"))
    text = f"{status}\n{supersedes}\n\nWe do it otherwise."
    project.complete("B", project.draft("Decision: two", text, "decision"))
    project.documents.update()
    decisions = section_contents(project.text("ARCHITECTURE.md"))["decisions"]
    assert "*Superseded by [2](" in decisions
    assert supersedes not in decisions
    assert f"*{status.partition(':')[2].strip()}, " in decisions


def test_methods_and_findings_show_what_holds(make_project):
    """The latest protocol, what deviates, and withdrawn findings below those that hold."""
    project = make_project("research_project")
    project.complete("Plan", project.draft("Protocol", "We ask 20.", "protocol"))
    later = "We ask 40.\n\n## Deviations\n\nTwo were ill.\n"
    project.complete("Plan more", project.draft("Protocol", later, "protocol"))
    project.complete("Analyse", project.draft("A", "OR = 1.52", "finding"), outputs={"odds": 1.52})
    project.complete(
        "Again",
        project.draft("B", "OR = 1.31", "finding"),
        outputs={"odds": 1.31, "supersedes": "analyse"},
    )
    project.complete(
        "Third", project.draft("C", "## Ergebnisse\n\nEs hält.\n"), outputs={"odds": 1.4}
    )
    project.documents.update()
    methods = section_contents(project.text("METHODOLOGY.md"))
    assert "Version 2, 2026-03-01; earlier: 2026-03-01." in methods["methodology"]
    assert "40" in methods["methodology"]
    assert "20." not in methods["methodology"]
    assert "ill" not in methods["methodology"]
    assert "Two were ill." in methods["deviations"]
    findings = section_contents(project.text("FINDINGS.md"))
    assert "Es hält." in findings["findings"]
    assert "| `odds` | 1.31 |" in findings["findings"]
    assert "- `odds`: `1.31` in [B](#b); `1.4` in [Third](#third)." in findings["findings"]
    assert "1.52" not in findings["findings"]
    assert "superseded by: [B](#b)." in findings["withdrawn"]


def test_every_decision_about_a_section_can_be_explained(make_project):
    """Why something is there, and why something is not."""
    project = make_project()
    project.complete("Add tea", summary="Added tea")
    project.complete("Look around", summary="nothing")
    shown, left_out = sorted(
        project.documents.explain("CHANGELOG.md", "changelog"), key=lambda each: not each.is_shown
    )
    assert str(shown).startswith("shown: Add tea (t_")
    assert "its summary begins with 'added'" in str(shown)
    assert str(left_out).startswith("left out: Look around (t_")
    with pytest.raises(InvalidInputError, match="has no 'x'; it has see_also, changelog"):
        project.documents.explain("CHANGELOG.md", "x")


def test_a_synthesis_is_never_quoted(make_project):
    """It repeats what stands elsewhere."""
    project = make_project("research_project")
    synthesis = project.draft("Synthesis", "## Findings\n\nAll of it.\n", "synthesis")
    project.complete("Parent", synthesis)
    project.documents.update()
    assert "All of it" not in project.text("FINDINGS.md")


def test_a_story_has_one_sheet_a_character_and_its_chapters_in_order(make_project):
    """Newest facts first, where each appears, and what contradicts itself."""
    project = make_project("creative_writing")
    cast = "# Mara Quill\n\nAge 34.\nEyes: grey\n\nShe keeps the light.\n\n# Ivo Sand\n\nKeeper.\n"
    project.complete("Cast", project.draft("Cast", cast, "character"))
    project.write("ch/02.md", "# Chapter Two\n\nIvo slept.\n")
    first = "---\npov: Mara\nact: I\n---\n# Chapter One\n\nMara, 30 years old, came back.\n"
    project.write("ch/01.md", first)
    project.complete("Rework", project.draft("Rework", "# Mara Quill\n\nAge 36.\n", "character"))
    for title, thread in (("Outline", "Who lit it?"), ("New outline", "Who put it out?")):
        text = f"{title} text.\n\n## Open threads\n\n- {thread}\n"
        project.complete(title, project.draft(title, text, "outline"))
    world = "# Places\n\n## The light\n\nOn a rock.\n\n# Rules\n\nNo one swims.\n"
    project.complete("World", project.draft("World", world, "world"))
    project.documents.update()
    sheets = section_contents(project.text("CHARACTER_SHEETS.md"))["characters"]
    assert re.findall(r"^### (.*)", sheets, re.MULTILINE) == ["Ivo Sand", "Mara Quill"]
    assert "- **Age:** 36; earlier 34 (Cast, 2026-03-01)" in sheets
    assert "- **Eyes:** grey" in sheets
    assert "She keeps the light." in sheets
    assert "- [Chapter One](../ch/01.md): once" in sheets
    assert "Age: 36 in the latest sheet, but 30 in `ch/01.md`." in sheets
    plot = section_contents(project.text("PLOT_OUTLINE.md"))
    first, second = plot["chapters"].split("\n")[2:4]
    assert first == "| 1 | [Chapter One](../ch/01.md) | I | Mara | 8 |"
    assert second.startswith("| 2 | [Chapter Two](../ch/02.md) |")
    assert "New outline text." in plot["plot"]
    assert "\nOutline text." not in plot["plot"]
    assert plot["threads"].endswith("-->\n\n- Who put it out?")
    places = section_contents(project.text("WORLD_BUILDING.md"))["world"]
    assert places.count("On a rock.") == 1
    assert re.findall(r"^#+ .*", places, re.MULTILINE) == [
        "### Places",
        "#### The light",
        "### Rules",
    ]


@pytest.mark.parametrize(
    "heading",
    ["Findings", "Ergebnisse", "Résultats", "Resultados", "Conclusões", "Выводы", "結果", "发现"],
)
def test_headings_are_understood_in_eight_languages(make_project, heading):
    """People write in their own."""
    project = make_project("research_project")
    project.complete("Work", project.draft("W", f"## {heading}\n\nIt holds.\n"))
    project.documents.update()
    assert "It holds." in project.text("FINDINGS.md")


def test_front_matter_decides_before_headings(make_project):
    """Whatever the language of the text is."""
    project = make_project("research_project")
    text = "---\ntopic: findings\ntitle: Hei\n---\n\nSe pitää.\n"
    project.complete("Work", project.draft("W", text))
    project.documents.update()
    assert "### Hei" in project.text("FINDINGS.md")
    assert "Se pitää." in project.text("FINDINGS.md")


def test_only_completed_work_is_told(make_project):
    """What is open, partial or was replaced by a later version stays out."""
    project = make_project()
    (task,) = project.store.plan(project.session.id, [TaskDraft(title="Open work")])
    project.store.claim(project.session.id, "agent", task_id=task.id, lease_s=60)
    for text in ("## Design\n\nunfinished\n", "## Design\n\nstill unfinished\n"):
        project.store.save_artifact(
            project.session.id, project.draft("D", text), task_id=task.id, attempt=1, agent="agent"
        )
    project.documents.update()
    assert "nfinished" not in project.text("ARCHITECTURE.md")
    project.store.finish(task.id, 1, Ending(action=NextAction.COMPLETE), agent="agent")
    project.documents.update()
    design = section_contents(project.text("ARCHITECTURE.md"))["design"]
    assert "still unfinished" in design
    assert "\nunfinished" not in design


def test_sessions_of_one_type_share_their_documents(make_project):
    """A new session keeps the changelog of the last one, and both write the same text."""
    project = make_project()
    project.complete("First session")
    project.documents.update()
    later = project.begin("software_development")
    below = project.begin(None, parent=later.id)
    project.complete("Second session", session=later)
    project.complete("Below it", session=below)
    project.complete("First again")
    project.begin("creative_writing")
    project.opened(later).update()
    text = project.text("CHANGELOG.md")
    places = [
        text.index(title)
        for title in ("First again", "Below it", "Second session", "First session")
    ]
    assert places == sorted(places), "the latest first, whatever session it is of"
    assert project.opened().update().written == ()
    assert project.opened(below).update().written == ()


# --- the sources themselves ---------------------------------------------------


def test_no_two_sources_use_one_name():
    """A name in a template has one origin, and every name is documented where it is declared."""
    names = [field.name for source in SOURCES for field in attrs.fields(source)]
    assert "see_also" not in names
    assert len(names) == len(set(names))


@attrs.frozen(kw_only=True)
class TaskCount:
    """A source as somebody would add it: one record, with the names that templates use."""

    task_count: int

    @classmethod
    def collect(cls, work):
        """Count the completed tasks."""
        return cls(task_count=len(work.tasks))


def test_a_new_source_is_one_record(make_project, monkeypatch):
    """What a source collects is there for templates under the names of its fields."""
    monkeypatch.setattr(material, "SOURCES", (*SOURCES, TaskCount))
    project = make_project()
    template = (
        "# Log\n<!-- vespera:section log -->\n{{ task_count }} done\n<!-- vespera:end log -->\n"
    )
    (project.home.templates / "changelog.md.j2").write_text(template)
    for title in ("One", "Two"):
        project.complete(title)
    project.documents.update()
    assert section_contents(project.text("CHANGELOG.md")) == {"log": "2 done"}


def test_every_character_has_one_sheet(make_project):
    """Also those of a list, and under a shorter name; a text may call them by a part of it."""
    project = make_project("creative_writing")
    cast = """
        # Characters

        ## Dr. Adaeze Okafor (physician)

        Age: 55

        ## Ilse Varga

        She counts.

        ## Tomas Varga

        He limps.

        ## Minor characters

        - **Pell**: a clerk
        """
    project.complete("Cast", project.draft("Cast", dedent(cast), "character"))
    project.complete("Pell", project.draft("Character: Pell", "He forges.\n", "character"))
    project.complete("Tomas", project.draft("More", "# Tomas\n\nHe jokes.\n", "character"))
    check = "# Continuity\n\n## Ilse Varga\n\nHer coat is grey.\n\n## Other\n\nNot here.\n"
    project.complete("Check", project.draft("Continuity", check))
    text = "---\npov: Ilse\n---\n# Chapter 1\n\nOkafor looked at Tomas. Varga, said Pell.\n"
    project.write("chapters/01.md", text)
    project.documents.update()
    sheets = section_contents(project.text("CHARACTER_SHEETS.md"))["characters"]
    assert re.findall(r"^### (.*)", sheets, re.MULTILINE) == [
        "Dr. Adaeze Okafor",
        "Ilse Varga",
        "Pell",
        "Tomas Varga",
    ]
    okafor, ilse, pell, tomas = sheets.split("### ")[1:]
    assert "(../chapters/01.md): once\n" in okafor
    assert "(../chapters/01.md): point of view\n" in ilse, "Varga may be either of them"
    assert "She counts.\n\nHer coat is grey." in ilse
    assert "Not here" not in sheets
    assert "He forges.\n\nA clerk" in pell
    assert "He jokes.\n\nHe limps." in tomas


def test_names_in_bold_have_sheets(make_project):
    """On a line of their own, before a dash, or in a list; an age is one in any language."""
    project = make_project("creative_writing")
    people = "# Personnages\n\n**Mara Quill**\n\nÂge : 36\n\nElle compte.\n\n"
    people += "**Anselme** — tient\nl'auberge."
    project.complete("One", project.draft("A", "# Mara Quill\n\nAlter: 34\n", "character"))
    project.complete("Two", project.draft("B", people))
    project.complete(
        "Three", project.draft("C", "# Cast\n\n- Ivo Sand: keeper\n  of the lamp\n\nAll.\n")
    )
    project.documents.update()
    sheets = section_contents(project.text("CHARACTER_SHEETS.md"))["characters"].split("### ")[1:]
    assert [sheet.split("\n")[0] for sheet in sheets] == ["Anselme", "Ivo Sand", "Mara Quill"]
    assert sheets[0].strip().endswith("Tient\nl'auberge.")
    assert "Keeper\nof the lamp" in sheets[1]
    assert "All." not in sheets[1]
    assert "Elle compte." in sheets[2]
    assert "Âge: 36 in the latest sheet, but 34 (A," in sheets[2]


def test_what_is_known_of_a_place_stands_together(make_project):
    """A later text adds to it; one of the same title takes its place."""
    project = make_project("creative_writing")
    world = "# Places\n\n## The Weir\n\nWhere the ice broke.\n"
    project.complete("Map", project.draft("World", world, "world"))
    project.complete("Look", project.draft("Weir", "# Weir\n\nIt is dry now.\n", "location"))
    check = "# Continuity\n\n## The Weir\n\nThe rail is gone.\n"
    project.complete("Check", project.draft("Continuity", check))
    project.complete("Draft", project.draft("D", "# The Weir\n\nHe fell.\n", "draft"))
    project.documents.update()
    shown = section_contents(project.text("WORLD_BUILDING.md"))["world"]
    paragraphs = [line for line in shown.split("\n") if line and not line.startswith("<!--")]
    assert paragraphs == [
        "### Places",
        "#### Weir",
        "It is dry now.",
        "Where the ice broke.",
        "The rail is gone.",
    ]
    new = world.replace("the ice broke", "the bridge is")
    project.complete("Map again", project.draft("World", new, "world"))
    project.documents.update()
    assert "ice broke" not in project.text("WORLD_BUILDING.md")


@pytest.mark.parametrize(
    "sentence",
    [
        "Mara was thirty-four years old.",
        "Mara, aged 34, counted.",
        "Mara ist 34 Jahre alt.",
        "Mara a 34 ans.",
        "\u041c\u0430\u0440\u0430: 34 \u0433\u043e\u0434\u0430. Mara 34 \u0433\u043e\u0434\u0430",
        "Mara\u306f34\u6b73\u3067\u3059\u3002",
    ],
)
def test_an_age_in_a_chapter_is_compared(make_project, sentence):
    """In digits or words, and in the languages that people write."""
    project = make_project("creative_writing")
    project.complete("Cast", project.draft("Mara", "Age: thirty-six\n\nA keeper.\n", "character"))
    project.write("chapters/01.md", f"# One\n\n{sentence} Ivo was 36 years old.\n")
    project.documents.update()
    sheet = section_contents(project.text("CHARACTER_SHEETS.md"))["characters"]
    assert "but 34 in `chapters/01.md`." in sheet
    assert sheet.count("but ") == 1


def test_only_changed_chapters_are_read_again(make_project, monkeypatch):
    """A novel of many chapters costs what changed, in a process that has read it."""
    project = make_project("creative_writing")
    project.complete("Cast", project.draft("Mara Quill", "A keeper.", "character"))
    for number in range(5):
        project.write(f"chapters/{number}.md", f"# Chapter {number}\n\nMara sang.\n")
    project.documents.update()
    project.write("chapters/3.md", "# Chapter 3\n\nMara sang, and Mara slept.\n")
    read = []
    real = FolderTree.read
    monkeypatch.setattr(
        FolderTree, "read", lambda tree, path: read.append(path) or real(tree, path)
    )
    project.documents.update()
    assert read == ["chapters/3.md"]
    sheet = section_contents(project.text("CHARACTER_SHEETS.md"))["characters"]
    assert "- [Chapter 3](../chapters/3.md): twice" in sheet
    assert sheet.count(": once") == 4


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[@knuth97, vol. 1] counts.", "(Knuth, 1997, vol. 1) counts."),
        ("[see @knuth97; @other19]", "(see Knuth, 1997; Other, 2019)"),
        ("As @knuth97 says.", "As Knuth (1997) says."),
        (r"It counts \citep{knuth97,other19}.", "It counts (Knuth, 1997; Other, 2019)."),
        (r"\citet{knuth97} counts.", "Knuth (1997) counts."),
        ("[@knuth97; @unknown] and @unknown", "[Knuth (1997); @unknown] and @unknown"),
        (r"\cite{unknown} and me@knuth97.org", r"\cite{unknown} and me@knuth97.org"),
    ],
)
def test_a_text_names_authors_and_not_keys(written, shown):
    """So that it can be read; what no bibliography knows stays as it is."""
    names = {"knuth97": "Knuth (1997)", "other19": "Other (2019)"}
    assert with_names(written, lambda key: names.get(key, "")) == shown


def test_headings_that_only_name_the_topic_tell_nothing_apart(make_project):
    """Two protocols with deviations keep both, each under its own title."""
    project = make_project("research_project")
    for title, text in {"Letters": "Two were ill.", "Words": "One was late."}.items():
        protocol = f"We ask 20.\n\n## Deviations\n\n{text}\n"
        project.complete(title, project.draft(title, protocol, "protocol"))
    project.documents.update()
    deviations = section_contents(project.text("METHODOLOGY.md"))["deviations"]
    assert re.findall("^### (.*)", deviations, re.MULTILINE) == ["Words", "Letters"]
    assert "Two were ill." in deviations

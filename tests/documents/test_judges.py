"""Documents before published judges: each is asked where it is installed (`nox -s judges`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pylatexenc.latex2text import LatexNodes2Text

import vespera_orchestrator
from documents.test_stories import STORIES
from vespera_orchestrator.documents.sections import begin_marker, end_marker, parse_sections
from vespera_orchestrator.documents.sources.bibliography import read_bibtex

GOLDEN = Path(__file__).parent / "golden"
PAGES = Path(__file__).parents[2] / "examples" / "stories" / "pages"
"""What the three stories end with: real texts, as they could be published."""
_COMMONMARK = Path(__file__).with_name("judge_commonmark.mjs")
_MERMAID = Path(__file__).with_name("judge_mermaid.mjs")
_NOT_OURS = "MD013,MD024,MD033,MD036"
"""Length of lines and repeated headings are the texts' own, comments are our markers, and what is
bold on a line of its own is meant so."""
_ASKS_FOR_AN_OLDER_VERSION = "https://keepachangelog.com/en/1.0.0/"
"""The judge knows the introduction of 1.0.0 by heart, and we follow 1.1.0."""

_QUICKLY_READ_BYTES = 100_000
_MARKDOWNLINT = dict.fromkeys([*_NOT_OURS.split(","), "MD034"], False)
"""As for PyMarkdown, and addresses that a text has without brackets."""


@pytest.fixture
def node_folder():
    """The folder in which npm has installed the judges that are written for Node."""
    folder = Path(os.environ.get("VESPERA_JUDGES", "nowhere"))
    if shutil.which("node") is None or not folder.is_dir():
        pytest.skip("node is missing, or nox -s judges has not installed its packages")
    return folder


def run_in(folder, *command):
    """Run a program of Node there."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_changelog_keeps_the_form():
    """As python-kacl, the checker of Keep a Changelog, sees it."""
    kacl = pytest.importorskip("kacl")
    for file, versions in (
        (GOLDEN / "CHANGELOG.md", ["Unreleased", "1.0.0"]),
        (PAGES / "own_history" / "CHANGELOG.md", ["Unreleased"]),
    ):
        changelog = kacl.load(str(file))
        mistakes = [error.error_message() for error in changelog.validate().errors()]
        assert [each for each in mistakes if _ASKS_FOR_AN_OLDER_VERSION not in each] == []
        assert [version.version() for version in changelog.versions()] == versions


def test_a_program_reads_every_change():
    """As keepachangelog does, which turns a changelog into data."""
    keepachangelog = pytest.importorskip("keepachangelog")
    file = PAGES / "own_history" / "CHANGELOG.md"
    read = keepachangelog.to_dict(str(file), show_unreleased=True)["unreleased"]
    kinds = {kind: changes for kind, changes in read.items() if kind != "metadata"}
    assert list(kinds) == ["added", "changed", "fixed"]
    changes = [change for changes in kinds.values() for change in changes]
    assert changes.pop() == end_marker("changelog"), "it takes every line for a change"
    assert len(changes) == file.read_text("utf-8").count("\n- ") > 0


def test_a_linter_has_nothing_to_say():
    """PyMarkdown, with the rules of markdownlint."""
    pytest.importorskip("pymarkdown")
    # A reference of ten thousand lines takes it minutes; markdownlint reads that one as well.
    pages = [*GOLDEN.glob("*.md"), *PAGES.glob("*/*.md")]
    files = sorted(str(page) for page in pages if page.stat().st_size < _QUICKLY_READ_BYTES)
    assert len(files) == 17
    command = [sys.executable, "-m", "pymarkdown", "-d", _NOT_OURS, "scan", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_markdownlint_has_nothing_to_say(node_folder, tmp_path):
    """The linter that code hosts and editors use, over all nine documents, twice."""
    settings = tmp_path / ".markdownlint-cli2.jsonc"
    settings.write_text(json.dumps({"config": _MARKDOWNLINT}))
    shutil.copytree(GOLDEN, tmp_path / "golden")
    shutil.copytree(PAGES, tmp_path / "pages")
    program = node_folder / "node_modules" / ".bin" / "markdownlint-cli2"
    done = run_in(tmp_path, program, "**/*.md")
    assert "Linting: 18 file(s)" in done.stdout
    assert done.stderr == ""
    assert done.returncode == 0


def test_mermaid_reads_the_drawings(node_folder, make_project):
    """Mermaid's own parser, also for a large project: this one, which stays readable."""
    project = make_project()
    package = Path(vespera_orchestrator.__file__).parent
    shutil.copytree(package, project.home.project / "src" / package.name)
    project.complete("Add everything")
    project.documents.update()
    drawing = project.text("ARCHITECTURE.md").partition("```mermaid")[2].partition("```")[0]
    assert drawing.count("[") <= 24
    assert drawing.count("-->") <= 48
    shutil.copy(_MERMAID, node_folder)
    told = PAGES / "own_history" / "ARCHITECTURE.md"
    files = [GOLDEN / "ARCHITECTURE.md", told, project.path("ARCHITECTURE.md")]
    done = run_in(node_folder, "node", _MERMAID.name, *files)
    assert done.stderr == ""
    assert done.stdout.count("flowchart-v2") == 3
    assert done.returncode == 0


def test_markers_are_found_where_commonmark_sees_a_comment(node_folder):
    """Behind each example of its specification, as its reference parser reads it."""
    shutil.copy(_COMMONMARK, node_folder)
    section = f"{begin_marker('a')}\ntext\n\n{end_marker('a')}\n"
    done = run_in(node_folder, "node", _COMMONMARK.name, section)
    assert done.stderr == ""
    examples = json.loads(done.stdout)
    assert len(examples) > 600
    wrong = [
        example["text"]
        for example in examples
        if [each.line for each in parse_sections(example["text"])] != example["lines"][:1]
    ]
    assert wrong == []


def test_pybtex_reads_the_same_works():
    """Another reader of BibTeX finds the same keys, families and years."""
    database = pytest.importorskip("pybtex.database")
    text = (PAGES.parent / "finding_texts" / "library.bib").read_text("utf-8")
    ours = {key: work for work in read_bibtex(text) for key in work.keys}
    entries = database.parse_string(text, "bibtex").entries
    assert ours.keys() == set(entries)
    for key, entry in entries.items():
        people = [person for person in entry.persons["author"] if str(person) != "others"]
        families = [" ".join([*each.prelast_names, *each.last_names]) for each in people]
        theirs = [str(LatexNodes2Text().latex_to_text(family)) for family in families]
        assert [family for family, _ in ours[key].authors] == theirs
        assert ours[key].year == entry.fields["year"]


def assert_is_no_edit(project, *formatter):
    """A formatter that rewrites all documents leaves nothing that counts as edited by hand."""
    STORIES[project.session.project_type](project)
    project.documents.update()
    files = sorted(map(str, project.path("").glob("*.md")))
    before = project.state()[0]
    subprocess.run([*formatter, *files], check=True, capture_output=True)
    assert project.state()[0] != before
    assert project.documents.update().edited == ()
    formatted = {path.name: path.read_text("utf-8") for path in project.path("").iterdir()}
    for number in range(2):
        kinds = ("decision", "finding", "character")
        drafts = [project.draft(f"{kind} {number}", f"More {number}.", kind) for kind in kinds]
        project.complete("Add more", *drafts)
        assert project.documents.update().edited == ()
    for name, text in formatted.items():
        lines = project.text(name).splitlines()
        assert len(set(text.splitlines()) - set(lines)) <= 2, "what is not news is as it was"
    assert [each for each in project.documents.check() if each.severity == "warning"] == []


@pytest.mark.parametrize("project_type", STORIES)
def test_prettier_is_no_person(node_folder, make_project, project_type):
    """Its tables are wider, and its emphasis is another."""
    program = node_folder / "node_modules" / ".bin" / "prettier"
    # It passes over what git ignores, and nox puts its temporary files there.
    anywhere = ("--ignore-path", os.devnull)
    assert_is_no_edit(make_project(project_type), program, "--write", *anywhere)


@pytest.mark.parametrize("project_type", STORIES)
def test_mdformat_is_no_person(make_project, project_type):
    """It counts lists anew, and gathers definitions of links at the end of the file."""
    pytest.importorskip("mdformat")
    pytest.importorskip("mdformat_gfm")
    command = (sys.executable, "-m", "mdformat", "--wrap", "keep")
    assert_is_no_edit(make_project(project_type), *command)

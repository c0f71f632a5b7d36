"""What a person wrote stays: documents edited anywhere, by hand and by other programs."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.documents import Project, outside_sections
from vespera_orchestrator.documents.sections import MarkerError, parse_sections, section_contents
from vespera_orchestrator.errors import DocumentError
from vespera_orchestrator.home.failing_documents import failing_documents

_PLACES = st.integers(0, 400)
_EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "change", "delete", "move", "repeat"]), _PLACES, _PLACES),
    min_size=1,
    max_size=5,
)
_LINE_ENDS = st.sampled_from(["\n", "\n", "\r\n"])


def edited(text, edits, line_end):
    """Return a text after some edits, and the lines that a person wrote into it."""
    lines, words = text.split("\n"), []
    for number, (kind, place, other) in enumerate(edits):
        at = place % len(lines)
        mine = f"Words of a person, number {number}."
        if kind == "insert":
            lines.insert(at, mine)
        elif kind == "change":
            lines[at] = f"{lines[at]} {mine}" if lines[at] else mine
        elif kind == "delete" and len(lines) > 1:
            del lines[at]
        elif kind == "move":
            lines.insert(other % len(lines), lines.pop(at))
        else:
            lines[at:at] = lines[at : at + 1 + other % 6]
        words += [mine] * (kind in {"insert", "change"})
    changed = line_end.join(lines)
    return changed, [each for each in words if each in changed]


def sections_of(text):
    """Return the sections of a text; ``None`` if its markers are damaged."""
    try:
        return parse_sections(text)
    except MarkerError:
        return None


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a few entries, for all edits."""
    project = Project(tmp_path_factory.mktemp("edited"), "software_development")
    project.complete("Add a kettle", project.draft("Decision", "We boil water.", "decision"))
    project.complete("Fix the lid", summary="Fixed the lid")
    project.documents.update()
    return project


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=_EDITS, line_end=_LINE_ENDS, name=st.sampled_from(["CHANGELOG.md", "ARCHITECTURE.md"]))
def test_random_edits_stay_while_work_goes_on(project, edits, line_end, name):
    """Inside, around and across markers: no word is lost, and nothing outside is touched."""
    pristine = project.path(name).read_bytes()
    before, words = edited(pristine.decode(), edits, line_end)
    project.path(name).write_bytes(before.encode())
    try:
        project.complete("Add more", project.draft("D", f"We do {len(before)}.", "decision"))
        project.documents.update()
        after = project.path(name).read_bytes().decode()
        assert [each for each in words if each not in after] == []
        if sections_of(before) is None:
            assert after == before
            assert f"docs/{name}" in failing_documents(project.home.path)
            findings = map(str, project.documents.check())
            assert any(f"docs/{name}" in each for each in findings)
        else:
            assert outside_sections(after) == outside_sections(before)
            assert project.documents.update().written == ()
    finally:
        project.path(name).write_bytes(pristine)
        project.documents.update()
    assert f"docs/{name}" not in failing_documents(project.home.path)


def reformatted(text):
    """Return a document as a formatter writes it: other bullets, emphasis, tables, line ends."""
    lines = []
    for line in text.split("\n"):
        changed = f"* {line[2:]}" if line.startswith("- ") else line
        changed = changed.replace("| --- |", "| -------------- |")
        lines.append(changed.replace("**", "__"))
    return "\r\n".join(lines)


def test_a_formatter_is_in_nobodys_way(make_project):
    """What reads as we wrote it keeps its notation, and what is new comes all the same."""
    project = make_project()
    project.complete("Boil", summary="BREAKING: Boil faster", outputs={"changelog": "Changed"})
    project.write("kettle/__init__.py", '"""Kettles."""\n')
    project.write("kettle/lid.py", "import kettle\n")
    project.documents.update()
    for path in project.path("").iterdir():
        path.write_bytes(reformatted(path.read_bytes().decode()).encode())
    formatted = project.text("CHANGELOG.md")
    assert "* __Breaking:__ Boil faster." in formatted
    report = project.documents.update()
    assert (report.written, report.edited) == ((), ())
    assert project.text("CHANGELOG.md") == formatted
    assert [each for each in project.documents.check() if each.severity == "warning"] == []
    for title in ("Add a lid", "Add a spout"):
        project.complete(title, summary=title)
        project.write(f"kettle/{title[-3:]}.py", "import kettle.lid\n")
        report = project.opened().update()
        assert report.edited == ()
        text = project.text("CHANGELOG.md")
        assert "* __Breaking:__ Boil faster." in text
        assert f"* {title}." in text
        assert text.count("\r\n") == text.count("\n")
        components = project.text("ARCHITECTURE.md")
        assert "| -------------- |" in components
        assert f"| `{title[-3:]}` |" in components
    for number in range(2):
        project.complete("Decide", project.draft(f"D {number}", "We do it.", "decision"))
        project.documents.update()
        components = project.text("ARCHITECTURE.md")
        assert "| -------------- |" in components, "also where this section has no news"
    assert project.documents.proposals() == []
    assert project.documents.update().written == ()


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("CHANGELOG.md", "- Fix the lid", "* Fix the lid"),
        ("CHANGELOG.md", "- Fix the lid", "- Fix the\n  lid"),
        ("ARCHITECTURE.md", "We **boil** water.", "We __boil__ water."),
        ("ARCHITECTURE.md", "*Accepted, 2026-03-01.*", "_Accepted, 2026-03-01._"),
    ],
    ids=["a bullet", "a line", "strong emphasis", "emphasis"],
)
def test_notation_that_a_person_changed_in_one_place_stays(make_project, name, ours, theirs):
    """By hand, and nothing else: it is there while everything around it goes on."""
    project = make_project()
    project.complete("Boil", project.draft("Boil", "We **boil** water.", "decision"))
    project.complete("Lid", summary="Fix the lid of the kettle")
    project.documents.update()
    text = project.text(name)
    project.path(name).write_text(text.replace(ours, theirs, 1), "utf-8")
    assert theirs in project.text(name)
    for number in range(3):
        project.complete("Pour", project.draft(f"Pour {number}", "We pour it.", "decision"))
        project.complete("Spout", summary=f"Fix spout {number}")
        project.opened().update()
        assert theirs in project.text(name)
    assert "Fix spout 2." in project.text("CHANGELOG.md")
    assert "### 4. Pour 2" in project.text("ARCHITECTURE.md")
    assert project.documents.proposals() == []


def test_link_definitions_that_a_person_took_out_are_an_edit(make_project):
    """A formatter gathers them elsewhere in the document; here they are gone."""
    project = make_project()
    project.complete("Boil", summary="Boil faster")
    project.documents.update()
    text = project.text("CHANGELOG.md").replace("[Unreleased]: #unreleased\n", "")
    project.path("CHANGELOG.md").write_text(text, "utf-8")
    project.complete("Lid", summary="Add a lid")
    assert project.documents.update().edited == ("docs/CHANGELOG.md, section 'changelog'",)
    assert "[Unreleased]: #" not in project.text("CHANGELOG.md")


def test_a_word_that_a_person_changed_after_a_formatter_stays(make_project):
    """Reading alike is what counts: here it does not."""
    project = make_project()
    project.complete("Boil", summary="Boil faster")
    project.documents.update()
    path = project.path("CHANGELOG.md")
    path.write_bytes(reformatted(project.text("CHANGELOG.md")).replace("faster", "fast").encode())
    project.complete("Add a lid", summary="Add a lid")
    assert project.documents.update().edited == ("docs/CHANGELOG.md, section 'changelog'",)
    assert "* Boil fast." in project.text("CHANGELOG.md")
    (proposal,) = project.documents.proposals()
    project.documents.accept(proposal)
    assert "Add a lid." in project.text("CHANGELOG.md")


def test_line_ends_that_git_converts_are_no_edit(make_project):
    """As ``core.autocrlf`` does with each checkout."""
    project = make_project()
    project.complete("Add a kettle")
    project.documents.update()
    for path in project.path("").iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    project.complete("Add a lid")
    report = project.documents.update()
    assert report.edited == ()
    assert "- Add a lid." in project.text("CHANGELOG.md")
    assert b"\n" not in project.path("CHANGELOG.md").read_bytes().replace(b"\r\n", b"")


def test_a_section_in_another_file_is_that_persons(make_project):
    """Cut out of a document, it is not written again there, and not followed elsewhere."""
    project = make_project()
    project.complete("Add a kettle", project.draft("Decision", "We boil.", "decision"))
    project.documents.update()
    text = project.text("ARCHITECTURE.md")
    start, end = text.index("## Decisions"), len(text)
    project.write("NOTES.md", text[start:end])
    project.path("ARCHITECTURE.md").write_text(text[:start], "utf-8")
    project.complete("Add a lid", project.draft("Lid", "We close it.", "decision"))
    report = project.documents.update()
    assert "the markers of section 'decisions' are gone" in str(report)
    assert "decisions" not in section_contents(project.text("ARCHITECTURE.md"))
    assert project.home.project.joinpath("NOTES.md").read_text("utf-8") == text[start:end]


def test_a_document_with_damaged_markers_is_named_until_it_is_mended(make_project):
    """For whoever asks for the next step; the other documents go on."""
    project = make_project()
    project.complete("Add a kettle")
    project.documents.update()
    whole = project.text("CHANGELOG.md")
    project.path("CHANGELOG.md").write_text(whole.replace("end changelog", "end chnagelog"))
    project.complete("Add a lid")
    (error,) = project.documents.update().errors
    assert isinstance(error, DocumentError)
    assert failing_documents(project.home.path) == ("docs/CHANGELOG.md",)
    project.documents.update(only="ARCHITECTURE.md")
    assert failing_documents(project.home.path) == ("docs/CHANGELOG.md",)
    project.path("CHANGELOG.md").write_text(whole)
    project.documents.update()
    assert failing_documents(project.home.path) == ()


def test_a_file_of_somebody_elses_under_a_former_name_is_not_looked_at(make_project):
    """Earlier versions wrote names in lower case; here they did not, and it may be anything."""
    project = make_project()
    project.write("CHANGES.md", "# Mine\n")
    project.path("").mkdir()
    project.path("changelog.md").symlink_to("../CHANGES.md")
    project.complete("Add a kettle")
    report = project.documents.update()
    assert report.errors == ()
    assert "- Add a kettle." in project.text("CHANGELOG.md")
    assert project.documents.check() == []

"""Documents: what is ours follows the store, what is not stays untouched, no state is lost."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from support.documents import outside_sections
from vespera_orchestrator._model import TaskDraft
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.documents import Documents, engine
from vespera_orchestrator.documents.merging import merge
from vespera_orchestrator.documents.project_types import packaged_types
from vespera_orchestrator.documents.sections import begin_marker, end_marker, section_contents
from vespera_orchestrator.errors import (
    DocumentUpdateError,
    InvalidInputError,
    SessionNotFoundError,
    TemplateError,
)
from vespera_orchestrator.home.config import Config, DocumentSettings
from vespera_orchestrator.home.scope import Scope

if TYPE_CHECKING:
    from support.documents import Project

CHANGELOG = "docs/CHANGELOG.md"


@pytest.mark.parametrize("case", ["untyped", "unknown", "off", "bare"])
def test_no_documents_are_kept_where_none_are_wanted(make_project, case):
    """Where documents cannot or should not be, no file is made, and the report says why."""
    kind = {"untyped": None, "unknown": "gardening"}.get(case, "software_development")
    project = make_project(kind, config=Config(documents=DocumentSettings(enabled=case != "off")))
    if case == "bare":
        (project.home.project / "HEAD").write_text("ref: refs/heads/main\n")
        (project.home.project / "objects").mkdir()
    project.complete("Work")
    report = project.documents.update()
    assert report.written == ()
    assert "none are kept" in str(report)
    assert project.documents.check() == []
    assert not project.path("").exists()


def test_without_a_session_update_raises_and_catching_up_does_not(make_project, monkeypatch):
    """Catching up is for callers who only came by."""
    monkeypatch.delenv("MCP_ORCHESTRATOR_SESSION", raising=False)
    project = make_project()
    documents = Documents(Scope(project.home, project.store), project.content)
    with pytest.raises(SessionNotFoundError):
        documents.update()
    assert "no session is active" in str(documents.catch_up())


# --- a view that follows the log ----------------------------------------------------


def test_an_update_without_news_writes_nothing(make_project):
    """No file, no version, no event, no state; nor do events that no document shows."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    before = project.state()
    assert str(project.documents.update()) == "documents: nothing to change"
    assert str(project.opened().update()) == "documents: nothing to change"
    assert project.state() == before
    (task,) = project.store.plan(project.session.id, [TaskDraft(title="Later")])
    project.store.update_task(task.id, {"title": "Much later"})
    seq = project.store.last_seq()
    for documents in (project.documents, project.opened()):
        assert documents.update().written == ()
    files, versions, _, state = project.state()
    assert (files, versions, seq, state) == (
        before[0],
        before[1],
        project.store.last_seq(),
        before[3],
    )


def test_the_rooms_behind_stay_shut_until_there_is_something_to_render(make_project):
    """Importing, and an update that changes nothing, does not load jinja2."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    script = _CHILD + "print(orch.update()); print(sorted({'jinja2'} & sys.modules.keys()))"
    done = _child(project, script)
    assert done.communicate(timeout=30)[0].splitlines() == ["documents: nothing to change", "[]"]


def test_the_same_store_gives_the_same_bytes(make_project):
    """Documents may be thrown away and made anew, by anybody."""
    project = make_project()
    project.complete("One", project.draft("N", "## Design\n\nx\n"))
    project.complete("Two")
    project.documents.update()
    before = {p.name: p.read_bytes() for p in project.path("").iterdir()}
    for path in project.path("").iterdir():
        path.unlink()
    (project.home.path / "documents.json").unlink()
    report = project.opened().update()
    assert {p.name: p.read_bytes() for p in project.path("").iterdir()} == before
    assert len(report.written) == 3
    assert len(project.documents.versions(CHANGELOG)) == 1


def test_a_damaged_state_file_costs_nothing_but_a_look(make_project):
    """What is only a cache may be wrong."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    before = project.state()[0]
    for text in (
        "",
        "[]",
        '{"layout": 1}',
        '{"layout": 1, "types": {"software_development": {"seq": "x"}}}',
    ):
        (project.home.path / "documents.json").write_text(text)
        assert project.opened().update().written == ()
    assert project.state()[0] == before


def test_several_processes_update_at_once(make_project):
    """Each completed task is listed, and versions are numbered without gaps."""
    project = make_project()
    script = _CHILD + dedent("""
        from vespera_orchestrator._model import Ending, NextAction, TaskDraft
        for number in range(6):
            (task,) = store.plan(session, [TaskDraft(title=f"{sys.argv[3]} {number}")])
            store.claim(session, "agent", task_id=task.id, lease_s=60)
            store.finish(task.id, 1, Ending(action=NextAction.COMPLETE), agent="agent")
            orch.update()
    """)
    children = [_child(project, script, name) for name in ("left", "right")]
    for child in children:
        assert child.communicate(timeout=60)[1] == ""
        assert child.returncode == 0
    text = project.text("CHANGELOG.md")
    assert all(
        f"- {name.capitalize()} {number}." in text
        for name in ("left", "right")
        for number in range(6)
    )
    versions = project.documents.versions(CHANGELOG)
    assert [version.version for version in versions] == list(range(1, len(versions) + 1))
    assert project.documents.read(versions[-1]) == text
    assert project.documents.check() == []
    assert project.documents.update().written == ()


def test_several_threads_update_at_once(make_project):
    """One `Documents` may be used from any thread."""
    project = make_project()
    for number in range(8):
        project.complete(f"Task {number}", project.draft("N", f"## Design\n\n{number}\n"))
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(call) for call in (project.documents.update, project.documents.check) * 4
        ]
        reports = [call.result() for call in calls[::2]]
    assert sum(len(report.written) for report in reports) == 3
    assert project.documents.check() == []


def test_an_update_is_left_to_the_one_who_is_at_it(make_project, monkeypatch):
    """An update waits a moment at most; the report says so, and the next does what is left."""
    from vespera_orchestrator.home.file_lock import file_lock

    monkeypatch.setattr(engine, "LOCK_WAIT_S", 0.0)
    project = make_project()
    project.complete("Work")
    with file_lock(project.home.locks / "documents.lock"):
        report = project.documents.update()
        assert report.busy
        with pytest.raises(DocumentUpdateError, match="another process"):
            project.documents.restore(CHANGELOG, 1)
    assert not project.path("").exists()
    assert len(project.documents.update().written) == 3


# --- what belongs to people -----------------------------------------------------------


def test_text_outside_the_sections_stays_byte_for_byte(make_project):
    """CRLF, a byte order mark, no final newline: as their writer left them."""
    project = make_project()
    section = f"{begin_marker('changelog')}\r\n{end_marker('changelog')}\r\n"
    own = f"\ufeff# Mine\r\n{section}last \u2028 line\x0c without end"
    project.path("").mkdir()
    project.path("CHANGELOG.md").write_bytes(own.encode())
    project.path("CHANGELOG.md").chmod(0o600)
    project.complete("Work")
    project.documents.update()
    text = project.text("CHANGELOG.md")
    assert outside_sections(text) == outside_sections(own)
    assert "- Work. <!--" in text
    assert "\n" not in text.replace("\r\n", "")
    assert project.path("CHANGELOG.md").stat().st_mode & 0o777 == 0o600


def test_a_file_without_markers_is_left_alone(make_project):
    """A person's own file is theirs; `check` gives the lines that would add sections to it."""
    project = make_project()
    project.path("").mkdir()
    project.path("CHANGELOG.md").write_bytes(b"my own\n")
    project.complete("Work", project.draft("N", "## Design\n\nx\n"))
    report = project.documents.update()
    assert "docs/CHANGELOG.md is your own" in str(report)
    assert project.text("CHANGELOG.md") == "my own\n"
    assert project.documents.versions(CHANGELOG) == []
    (finding,) = project.documents.check()
    assert finding.subject == CHANGELOG
    assert f"{begin_marker('changelog')}\n{end_marker('changelog')}" in finding.remedy
    project.path("CHANGELOG.md").write_text(
        f"my own\n{begin_marker('changelog')}\n{end_marker('changelog')}\n"
    )
    project.documents.update()
    assert project.text("CHANGELOG.md").startswith("my own\n")
    assert "- Work." in project.text("CHANGELOG.md")


def test_an_edit_inside_a_section_stays(make_project):
    """What a person wrote is not overwritten; what we would write waits for an answer."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    edited = project.text("CHANGELOG.md").replace("- Work.", "- Work, done by Ada.")
    project.path("CHANGELOG.md").write_text(edited)
    (finding,) = project.documents.check()
    assert finding.subject == CHANGELOG
    assert "edited inside section 'changelog', and that text stays" in finding.sentence
    project.complete("More")
    report = project.documents.update()
    assert "docs/CHANGELOG.md, section 'changelog': your edit stays" in str(report)
    assert project.text("CHANGELOG.md") == edited

    (proposal,) = project.documents.proposals()
    assert (proposal.path, proposal.section) == (CHANGELOG, "changelog")
    assert "+- More." in proposal.diff
    assert "Ada" in proposal.text
    assert str(proposal.id) in str(proposal)
    assert project.opened().update().written == ()
    assert project.documents.proposals() == [proposal], "looking again proposes nothing more"

    version = project.documents.accept(proposal)
    assert project.documents.proposals() == []
    assert project.documents.read(version) == project.text("CHANGELOG.md")
    assert "- Work, done by Ada." in project.text("CHANGELOG.md")
    assert "- More." in project.text("CHANGELOG.md")
    assert edited in [
        project.documents.read(each) for each in project.documents.versions(CHANGELOG)
    ]

    project.complete("Even more")
    project.documents.update()
    (proposal,) = project.documents.proposals()
    assert "Even more" in proposal.text, "their edit is still theirs"
    assert "Ada" in proposal.text


def test_marks_of_a_conflict_are_told(make_project):
    """Somebody has committed them: the section stays as it is, and a check says why."""
    project = make_project()
    project.complete("Add tea")
    project.documents.update()
    path = project.path("CHANGELOG.md")
    text = project.text("CHANGELOG.md")
    path.write_text(text.replace("- Add", "<<<<<<< HEAD\n- Add", 1), "utf-8")
    first, *_ = project.documents.check()
    assert first.severity == "warning"
    assert "section 'changelog' has the marks of a merge in conflict" in first.sentence


def test_a_declined_proposal_comes_back_with_news_only(make_project):
    """Somebody who said no is not asked the same thing twice."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    path = project.path("CHANGELOG.md")
    path.write_text(path.read_text().replace("- Work.", "- Nothing."))
    project.complete("More")
    project.documents.update()
    (proposal,) = project.documents.proposals()
    project.documents.decline(proposal.id)
    project.documents.update()
    assert project.documents.proposals() == []
    with pytest.raises(InvalidInputError, match="is not open; open: there is none"):
        project.documents.accept(proposal)
    project.complete("News")
    project.documents.update()
    (proposal,) = project.documents.proposals()
    assert "- News." in proposal.text


def test_a_proposal_goes_with_the_edit(make_project):
    """Who takes back the edit has nothing to answer, and the section follows the store again."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    path = project.path("CHANGELOG.md")
    ours = path.read_text()
    path.write_text(ours.replace("- Work.", "- Mine."))
    project.complete("More")
    project.documents.update()
    path.write_text(ours)
    project.documents.update()
    assert project.documents.proposals() == []
    assert "- More." in project.text("CHANGELOG.md")


def test_a_proposal_is_not_accepted_over_a_newer_edit(make_project):
    """What was written since the proposal was read stays."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    path = project.path("CHANGELOG.md")
    path.write_text(path.read_text().replace("- Work.", "- Mine."))
    project.complete("More")
    project.documents.update()
    (proposal,) = project.documents.proposals()
    path.write_text(path.read_text().replace("- Mine.", "- Mine again."))
    with pytest.raises(DocumentUpdateError, match="was edited since"):
        project.documents.accept(proposal)
    assert "- Mine again." in project.text("CHANGELOG.md")


def test_both_sides_changes_are_brought_together():
    """Line by line, then word by word; where both changed a word, the proposal is ours alone."""
    base = "a\nb b\nc\n"
    assert merge(base, "a\nB b\nc\n", "n\na\nb b\nc\n") == "n\na\nB b\nc\n"
    assert merge(base, "a\nc\n", "a\nb b\nc\nd\n") == "a\nc\nd\n"
    assert merge(base, "a\nB b\nc\n", "a\nb b (x)\nc\n") == "a\nB b (x)\nc\n"
    assert merge(base, "a\nB b\nc\n", "a\nx b\nc\n") is None


def test_a_deleted_document_stays_deleted(make_project):
    """It is not wanted; who names it gets it back."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    project.path("ARCHITECTURE.md").unlink()
    project.complete("More")
    report = project.documents.update()
    assert not project.path("ARCHITECTURE.md").exists()
    assert "was deleted and stays so" in str(report)
    assert project.documents.check() == []
    assert project.opened().update().written == ()
    (version,) = project.documents.update(only="architecture.md").written
    assert version.path == "docs/ARCHITECTURE.md"
    project.complete("News")
    project.documents.update()
    assert project.path("ARCHITECTURE.md").exists()


def test_a_dry_run_shows_what_an_update_would_do(make_project):
    """Nothing is written, and the difference can be read."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    project.complete("More")
    before = project.state()
    report = project.documents.update(only=["CHANGELOG.md"], dry_run=True)
    assert "+- More." in str(report)
    assert report.written == ()
    assert project.state() == before
    with pytest.raises(InvalidInputError, match="no document of this project"):
        project.documents.update(only="PLOT_OUTLINE.md")


def test_folder_names_and_selection_can_be_set(make_project):
    """A changelog in the root, no architecture, and another folder."""
    settings = DocumentSettings(
        folder="documentation/made",
        exclude=["architecture.md"],
        names={"CHANGELOG.md": "CHANGELOG.md"},
    )
    project = make_project(config=Config(documents=settings))
    project.complete("Work")
    project.documents.update()
    folder = project.home.project
    assert "(documentation/made/API_REFERENCE.md)" in (folder / "CHANGELOG.md").read_text()
    reference = (folder / "documentation/made/API_REFERENCE.md").read_text()
    assert "[Changelog](../../CHANGELOG.md)" in reference
    assert not list(folder.rglob("ARCHITECTURE.md"))
    assert len(project.documents.versions("changelog.md")) == 1


def test_documents_of_earlier_names_are_renamed_with_what_people_wrote(make_project):
    """A project that was begun with an earlier version of the library keeps its texts."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    old, new = project.path("changelog.md"), project.path("CHANGELOG.md")
    text = new.read_text() + "\nmine\n"
    new.unlink()
    (project.home.path / "documents.json").unlink()
    old.write_text(text)
    with closing(sqlite3.connect(project.home.database)) as db, db:
        db.execute("UPDATE document_versions SET path = lower(path)")
    report = project.opened().update()
    assert "docs/changelog.md is docs/CHANGELOG.md now" in str(report)
    assert not old.exists()
    assert new.read_text() == text
    assert project.documents.versions("changelog.md")[0].path == "docs/changelog.md"
    assert project.documents.check() == []


def test_a_file_saved_while_it_is_updated_is_left_to_the_next_update(make_project):
    """Between looking at a document and writing it, somebody may save it; what they saved stays."""
    project = make_project()
    project.documents.update()
    project.complete("Work", project.draft("N", "## Design\n\nx\n"))

    class SavedMeanwhile(FolderContent):
        def open(self, digest):
            with project.path("CHANGELOG.md").open("a") as stream:
                stream.write("a last word\n")
            return super().open(digest)

    scope = Scope(project.home, project.store, session_id=project.session.id)
    (error,) = Documents(scope, SavedMeanwhile(project.home.artifacts)).update().errors
    assert "saved by somebody else just now" in str(error)
    assert "Work" not in project.text("CHANGELOG.md")
    project.documents.update()
    assert "Work" in project.text("CHANGELOG.md")
    assert project.text("CHANGELOG.md").endswith("a last word\n")


def test_an_older_text_of_ours_is_no_edit(make_project):
    """Checking out an older commit, or other line ends, is not taken for somebody's writing."""
    project = make_project()
    project.complete("One")
    project.documents.update()
    old = project.text("CHANGELOG.md")
    project.complete("Two")
    project.documents.update()
    new = project.text("CHANGELOG.md")
    project.path("CHANGELOG.md").write_bytes(old.replace("\n", "\r\n").encode())
    report = project.documents.update()
    assert report.edited == ()
    assert project.text("CHANGELOG.md").replace("\r\n", "\n") == new
    project.path("CHANGELOG.md").write_bytes(new.replace("\n", "\r\n").encode())
    before = project.path("CHANGELOG.md").stat().st_ino
    project.documents.update()
    assert project.path("CHANGELOG.md").stat().st_ino == before


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (
            b"x\n<!-- vespera:section changelog -->\n",
            "line 2: section 'changelog' begins here and never ends",
        ),
        ("# Ünicode".encode("latin-1"), "is not UTF-8"),
    ],
)
def test_a_document_that_cannot_be_read_is_left_and_the_others_go_on(make_project, raw, reason):
    """One document's trouble is reported with its remedy, and the others go on."""
    project = make_project()
    project.path("").mkdir()
    project.path("CHANGELOG.md").write_bytes(raw)
    project.complete("Work")
    for documents in (project.documents, project.opened()):
        (error,) = documents.update().errors
        assert isinstance(error, DocumentUpdateError)
        assert reason in str(error)
    assert project.path("CHANGELOG.md").read_bytes() == raw
    assert reason in str(project.documents.check())
    assert project.path("ARCHITECTURE.md").exists()
    project.path("CHANGELOG.md").unlink()
    assert project.documents.update().errors == ()


def test_an_update_that_can_do_nothing_at_all_raises(make_project):
    """Where no document can be brought up to date, the caller is told by an error."""
    project = make_project()
    project.path("").mkdir()
    for name in packaged_types()["software_development"].documents:
        project.path(name).write_text(end_marker("x"))
    with pytest.raises(DocumentUpdateError, match="does not begin before") as caught:
        project.documents.update()
    assert len(caught.value.__notes__) == 2


@pytest.mark.parametrize("what", ["folder", "file", "fifo"])
def test_nothing_is_written_outside_of_the_projects_docs(make_project, tmp_path_factory, what):
    """A symbolic link is not followed, and what is no regular file is not opened."""
    project = make_project()
    outside = tmp_path_factory.mktemp("outside")
    (outside / "CHANGELOG.md").write_text(
        f"{begin_marker('changelog')}\n{end_marker('changelog')}\n"
    )
    if what == "folder":
        project.path("").symlink_to(outside, target_is_directory=True)
    else:
        project.path("").mkdir()
        make_it = (
            project.path("CHANGELOG.md").symlink_to
            if what == "file"
            else lambda _: os.mkfifo(project.path("CHANGELOG.md"))
        )
        make_it(outside / "CHANGELOG.md")
    project.complete("Work")
    if what == "folder":
        with pytest.raises(DocumentUpdateError, match="symbolic link"):
            project.documents.update()
    else:
        assert [type(error) for error in project.documents.update().errors] == [DocumentUpdateError]
    assert [path.name for path in outside.iterdir()] == ["CHANGELOG.md"]
    assert "Work" not in (outside / "CHANGELOG.md").read_text()
    with pytest.raises(InvalidInputError):
        project.documents.restore("../outside.md", 1)


def test_hostile_titles_break_nothing(make_project):
    """Whatever a task or an artifact is called, the document keeps its shape."""
    project = make_project()
    title = f"</a>\n{end_marker('changelog')}\n# <script>alert(1)</script> | ``` [x](y)"
    project.complete(
        title,
        project.draft(title, f"## Design\n{end_marker('design')}\n```\nunclosed", title),
        summary=title,
    )
    project.complete("Harmless")
    project.documents.update()
    for name in packaged_types()["software_development"].documents:
        text = project.text(name)
        assert "<script>" not in text
        assert "</a>" not in text
        assert "see_also" in section_contents(text)
    assert project.documents.check() == []


# --- versions and restoring -------------------------------------------------------------


def test_every_state_can_be_read_and_put_back(make_project):
    """An older text comes back as a new version; what stood there becomes a version too."""
    project = make_project()
    for title in ("One", "Two"):
        project.complete(title)
        project.documents.update()
    first, second = project.documents.versions("CHANGELOG.md")
    assert "Two" not in project.documents.read(first)
    assert project.documents.read(second) == project.text("CHANGELOG.md")
    edited = project.text("CHANGELOG.md") + "a last word"
    project.path("CHANGELOG.md").write_text(edited)

    restored = project.documents.restore(CHANGELOG, first)
    assert restored.version == 4
    assert project.text("CHANGELOG.md") == project.documents.read(first)
    assert (
        project.documents.read(project.documents.versions(project.path("CHANGELOG.md"))[2])
        == edited
    )
    assert project.documents.restore(CHANGELOG, 4) == restored, (
        "what is there already is not recorded again"
    )

    assert project.documents.update().written == (), "it stays until there is news"
    assert "can be brought up to date" in str(project.documents.check())
    project.complete("Three")
    report = project.documents.update()
    assert report.edited == ()
    assert all(title in project.text("CHANGELOG.md") for title in ("One", "Two", "Three"))


def test_a_version_that_is_not_there_is_named(make_project):
    """The error says which versions there are."""
    project = make_project()
    project.documents.update()
    with pytest.raises(InvalidInputError, match="has no version 7; those there are: 1 to 1"):
        project.documents.restore(CHANGELOG, 7)
    with pytest.raises(InvalidInputError, match="nothing is recorded"):
        project.documents.restore("docs/nothing.md", 1)


def test_what_changed_can_be_read_and_undone(make_project):
    """From one version to the next, and one step back."""
    project = make_project()
    for title in ("One", "Two"):
        project.complete(title)
        project.documents.update()
    assert "+- Two." in project.documents.diff(CHANGELOG)
    assert project.documents.diff(CHANGELOG, 1, 2) == project.documents.diff("changelog.md")
    project.documents.undo(CHANGELOG)
    assert "Two" not in project.text("CHANGELOG.md")
    project.documents.undo(CHANGELOG)
    assert "- Two." in project.text("CHANGELOG.md")
    with pytest.raises(InvalidInputError, match="before the latest"):
        project.documents.undo("ARCHITECTURE.md")


# --- templates ----------------------------------------------------------------------------


def test_a_template_of_the_users_own_takes_the_place_of_ours(make_project):
    """A file of the same name decides; changing it is news enough for an update."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    entries = (
        "{% for category, changes in releases[0].categories %}"
        "{% for change in changes %}* {{ change.text }}\n{% endfor %}{% endfor %}"
    )
    template = f"# Log\n{begin_marker('changelog')}\n{entries}\n{end_marker('changelog')}\n"
    (project.home.templates / "changelog.md.j2").write_text(template)
    report = project.documents.update()
    assert [version.path for version in report.written] == [CHANGELOG]
    assert section_contents(project.text("CHANGELOG.md"))["changelog"] == "* Work."
    assert "its template has no section 'see_also'" in str(report)


@pytest.mark.parametrize(
    ("template", "line", "reason"),
    [
        ("one\ntwo {{ nothing }}\n", 2, "'nothing' is undefined"),
        ("one\n{% for %}\n", 2, "[Ee]xpected"),
        ("{% set a = 1 %}\n\n{{ a / 0 }}\n", 3, "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}\n", 1, "unsafe"),
        ("{% include 'gone.md' %}\n", 1, "there is no template 'gone.md'"),
        ("no section\n", 0, "without a section"),
        ("<!-- vespera:section a -->\n", 0, "damaged markers"),
        (b"\xff\xfe", 0, "UnicodeDecodeError"),
    ],
)
def test_a_template_that_does_not_render_names_its_line(make_project, template, line, reason):
    """The person who wrote it can fix it; the other documents go on, and so does the fixed one."""
    project = make_project()
    own = project.home.templates / "changelog.md.j2"
    own.write_bytes(template if isinstance(template, bytes) else template.encode())
    project.complete("Work")
    (error,) = project.documents.update().errors
    assert isinstance(error, TemplateError)
    assert (error.template, error.line) == ("changelog.md.j2", line)
    assert re.search(reason, error.reason)
    assert project.path("ARCHITECTURE.md").exists()
    assert not project.path("CHANGELOG.md").exists()
    own.unlink()
    assert [version.path for version in project.documents.update().written] == [CHANGELOG]


def test_an_artifact_that_cannot_be_read_is_listed_and_told(make_project):
    """Damage to one artifact costs its excerpt, not the document."""
    project = make_project()
    draft = project.draft("N", "## Design\n\nx\n")
    project.complete("Work", draft)
    project.content.path(draft.digest).unlink()
    report = project.documents.update()
    assert "is listed without its content" in str(report)
    assert "- Work." in project.text("CHANGELOG.md")


def test_an_artifact_is_quoted_once_it_can_be_read_again(make_project):
    """What a process could not read before, it reads when there is news."""
    project = make_project()
    draft = project.draft("N", "## Design\n\nA kettle.\n")
    project.complete("Work", draft)
    bytes_of_it = project.content.path(draft.digest)
    away = bytes_of_it.rename(bytes_of_it.with_name("away"))
    project.documents.update()
    away.rename(bytes_of_it)
    project.complete("More")
    project.documents.update()
    assert "A kettle." in project.text("ARCHITECTURE.md")


# --- children ---------------------------------------------------------------------------------

_CHILD = """
import sys
from pathlib import Path
from vespera_orchestrator.home.config import Config
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.documents import Documents
from vespera_orchestrator.stores.sqlite import SQLiteStore
project, session = Path(sys.argv[1]), sys.argv[2]
home = Home(path=project / ".task_orchestrator", project=project, config=Config())
store = SQLiteStore.open(home.database)
orch = Documents(Scope(home, store, session_id=session), FolderContent(home.artifacts))
"""


def _child(project: Project, script: str, *args: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        script,
        str(project.home.project),
        project.session.id,
        *args,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_update_tells_of_lost_markers(make_project):
    """Of both, so that the text between them looks like any other."""
    project = make_project()
    project.complete("Add tea")
    project.documents.update()
    text = project.text("CHANGELOG.md")
    for marker in ("<!-- vespera:section changelog -->\n", "<!-- vespera:end changelog -->\n"):
        text = text.replace(marker, "")
    project.path("CHANGELOG.md").write_text(text, "utf-8")
    project.complete("Add milk")
    report = project.documents.update()
    assert project.text("CHANGELOG.md") == text
    assert "docs/CHANGELOG.md: the markers of section 'changelog' are gone;" in str(report)

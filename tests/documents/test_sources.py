"""What documents show of completed work, for each type of project."""

from __future__ import annotations

import attrs
import pytest

from vespera_orchestrator._model import Ending, NextAction, TaskDraft
from vespera_orchestrator.documents import material
from vespera_orchestrator.documents.sections import section_contents
from vespera_orchestrator.documents.sources import SOURCES
from vespera_orchestrator.documents.sources.citations import find_references

CHANGELOG = "docs/changelog.md"


def test_software_documents_tell_what_was_done(make_project):
    """Changelog, API reference and architecture follow from completed tasks."""
    project = make_project()
    module = project.draft(
        "src/app/core.py", 'def run(n: int) -> None:\n    """Run it."""\n', "file", "text/x-python"
    )
    hidden = project.draft("tests/test_core.py", "def test_run(): ...\n", "file", "text/x-python")
    notes = project.draft(
        "Work", "# Work\n\n## Design decisions\n\nSQLite it is.\n\n## Rest\n\nnothing\n"
    )
    first = project.complete(
        "Build the core", module, hidden, notes, summary="It runs.", outputs={"coverage": 0.9}
    )
    second = project.complete(
        "Write snippets", project.draft("Snippets", "```python\ndef extra(): ...\n```\n", "code")
    )
    report = project.documents.update()
    assert [version.path for version in report.written] == [
        "docs/api_reference.md",
        CHANGELOG,
        "docs/architecture.md",
    ]

    changelog = project.text("changelog.md")
    ids = {artifact.title: artifact.id for artifact in first.artifacts}
    assert "### 2026-03-01" in changelog
    assert changelog.index("Write snippets") < changelog.index("Build the core")
    assert (
        f'<a id="{first.task.id}"></a>**Build the core** (`build_the_core`): It runs.' in changelog
    )
    assert f"src/app/core.py `{ids['src/app/core.py']}`" in changelog
    assert "`coverage` = `0.9`" in changelog

    api = project.text("api_reference.md")
    assert "- `def run(n: int) -> None` — Run it." in api
    assert "test_run" not in api
    assert "- `def extra()`" in api
    link = f"[`write_snippets`](changelog.md#{second.task.id})"
    assert f"artifact `{second.artifacts[0].id}`, task {link}" in api

    architecture = project.text("architecture.md")
    assert f"- `src/app`: `core.py` (artifact `{ids['src/app/core.py']}`)" in architecture
    assert "### Design decisions" in architecture
    assert "> SQLite it is." in architecture
    assert "nothing" not in architecture
    assert "[Changelog](changelog.md)" in architecture
    assert project.documents.check() == []


def test_research_documents_collect_literature_methods_and_findings(make_project):
    """Kind, tags and headings decide where an artifact is quoted; references are collected."""
    project = make_project("research_project")
    review = project.draft(
        "Review",
        "See https://example.org/a_b. (Smith et al., 2020), doi 10.1000/182.",
        "literature",
    )
    tagged = project.draft("Interviews", "We asked.", tags=("method",))
    project.complete("Read", review)
    project.complete("Ask", tagged)
    done = project.complete(
        "Conclude", project.draft("Work", "## Key findings\n\nIt holds.\n\n## Aside\n\nno\n")
    )
    project.documents.update()
    literature = project.text("literature_review.md")
    assert "- <https://example.org/a_b> (artifact `" in literature
    assert "- DOI `10.1000/182` (artifact `" in literature
    assert "- Smith et al., 2020 (artifact `" in literature
    methodology = project.text("methodology.md")
    assert "> We asked." in methodology
    assert methodology.count('<a id="t_') == 3
    findings = project.text("findings.md")
    assert "> It holds." in findings
    assert "no" not in section_contents(findings)["findings"].split()
    assert (
        f"artifact `{done.artifacts[0].id}`, task [`conclude`](methodology.md#{done.task.id})"
        in findings
    )


def test_creative_documents_collect_world_characters_and_plot(make_project):
    """A world, its characters and the plot are found by kind, tag or heading."""
    project = make_project("creative_writing")
    project.complete(
        "Invent",
        project.draft("Mira", "A pilot.", "character"),
        project.draft("Notes", "## The world\n\nFlat.\n"),
    )
    project.complete("Arrange", project.draft("Acts", "Three.", tags=("plot_outline",)))
    project.documents.update()
    assert "> A pilot." in project.text("character_sheets.md")
    assert "> Flat." in project.text("world_building.md")
    plot = project.text("plot_outline.md")
    assert "> Three." in plot
    assert "**Invent** (`invent`)" in plot


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
    assert "nfinished" not in project.text("architecture.md")
    project.store.finish(task.id, 1, Ending(action=NextAction.COMPLETE), agent="agent")
    project.documents.update()
    design = section_contents(project.text("architecture.md"))["design"]
    assert "> still unfinished" in design
    assert "> unfinished" not in design


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
    text = project.text("changelog.md")
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
    assert section_contents(project.text("changelog.md")) == {"log": "2 done"}


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("See https://example.org/a_(b).", ["<https://example.org/a_(b)>"]),
        ("(at https://example.org/a)", ["<https://example.org/a>"]),
        ("https://doi.org/10.1000/182!", ["DOI `10.1000/182`"]),
        ("doi:10.1000/182, 10.1000/182.", ["DOI `10.1000/182`"]),
        ("arXiv:2001.00001v2", ["arXiv:2001.00001v2"]),
        ("(Smith & Wesson, 2020a) and (no, 2020)", ["Smith & Wesson, 2020a"]),
        ("nothing", []),
    ],
)
def test_references_are_read_without_the_sentence_around_them(text, references):
    """Stops, brackets and a second mention do not belong to a reference."""
    assert find_references(text) == references

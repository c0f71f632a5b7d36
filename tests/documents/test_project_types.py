"""Types of projects are data: those of the library, and a home's own."""

from __future__ import annotations

from textwrap import dedent

import attrs
import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.documents.project_types import ProjectTypes, packaged_types
from vespera_orchestrator.errors import InvalidInputError, TemplateError, UntrustedHomeError

_OWN = """
    hardware:
      extends: software_development
      documents: [CHANGELOG.md, PARTS.md]
    thesis:
      documents: [FINDINGS.md, CHANGELOG.md]
      shows: [research, changes]
    creative_writing:
      documents: [PLOT_OUTLINE.md]
    """
_PARTS = """\
# Parts

<!-- vespera:section parts -->
{% for release in releases %}{{ release.version }}: {{ release.categories | length }}
{% endfor %}
<!-- vespera:end parts -->
"""


def _write(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "project_types.yaml").write_text(dedent(text), "utf-8")


def test_a_home_changes_and_extends_the_types(tmp_path):
    """A type says only what is different from the one it extends, or from the library's own."""
    _write(tmp_path, _OWN)
    types = ProjectTypes(tmp_path).all()
    software = packaged_types()["software_development"]
    assert types["software_development"] == software
    assert types["hardware"] == attrs.evolve(
        software, name="hardware", documents=("CHANGELOG.md", "PARTS.md")
    )
    assert types["thesis"].shows == {"research", "changes"}
    assert types["creative_writing"].documents == ("PLOT_OUTLINE.md",)
    assert types["creative_writing"].has_fiction
    _write(tmp_path, "notes:\n  documents: NOTES.md\n")
    types = ProjectTypes(tmp_path).all()
    assert types["notes"].documents == ("NOTES.md",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "line 1: is not YAML"),
        ("- a", "should map the name of each type"),
        ("a: 1", "a should have some of extends, documents, shows"),
        ("a: {documents: [A.md], color: red}", "unknown key 'color'"),
        ("a: {extends: b}", "extends 'b', which is no type above it"),
        ("a: {documents: [A.md], shows: [magic]}", "shows 'magic'; possible: code"),
        ("a: {documents: [../A.md]}", "'../A.md' is no name of a document"),
        ("a: {documents: [3]}", "documents should be a list of words"),
        ("a: {shows: [code]}", "has no documents"),
        ("a/b: {documents: [A.md]}", "'a/b' is no name of a type"),
        ("a: &x {documents: [A.md]}\nb: *x", "anchor"),
        ("a: {documents: [!!python/name:os.system x]}", "could not determine a constructor"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, reason):
    """With the type and the key, or the line."""
    _write(tmp_path, text)
    with pytest.raises(TemplateError, match=r"project_types\.yaml") as caught:
        ProjectTypes(tmp_path).all()
    assert reason in str(caught.value)


def test_no_link_is_followed(tmp_path):
    """A file of types comes with the home; it leads nowhere else."""
    _write(tmp_path / "elsewhere", _OWN)
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "project_types.yaml").symlink_to(tmp_path / "elsewhere" / "project_types.yaml")
    with pytest.raises(UntrustedHomeError):
        ProjectTypes(templates).all()


def test_where_a_home_is_not_trusted_only_the_library_counts():
    """Its templates are not given, so its types are not either."""
    assert ProjectTypes(None).all() == packaged_types()


def test_a_type_of_ones_own_keeps_its_documents(tmp_path):
    """From the first session on, with templates of one's own beside those of the library."""
    templates = tmp_path / ".task_orchestrator" / "templates"
    with vespera.open(tmp_path) as orch:
        _write(templates, _OWN)
        (templates / "parts.md.j2").write_text(_PARTS, "utf-8")
        with pytest.raises(InvalidInputError, match="hardware, thesis"):
            orch.initialize_session("Build", project_type="boat")
        orch.initialize_session("Build", project_type="hardware")
        task = orch.plan_task("feat: a lid")
        orch.complete_task(task, summary="Added a lid", detailed_work="A lid.")
        documents = sorted(path.name for path in (tmp_path / "docs").iterdir())
        assert documents == ["CHANGELOG.md", "PARTS.md"]
        assert "Unreleased: 1" in (tmp_path / "docs" / "PARTS.md").read_text("utf-8")
        assert orch.documents.check() == []
        assert orch.documents.versions("parts.md")


def test_a_broken_file_costs_no_work(tmp_path):
    """Tasks are completed; the check says what is wrong, and the next update catches up."""
    templates = tmp_path / ".task_orchestrator" / "templates"
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Build", project_type="software_development")
        _write(templates, "a: 1")
        task = orch.plan_task("feat: a lid")
        task = orch.complete_task(task, summary="Added a lid", detailed_work="A lid.")
        assert task.status == "completed"
        (problem,) = orch.documents.check()
        assert "a should have some of" in problem.sentence
        (templates / "project_types.yaml").unlink()
        orch.documents.update()
        assert "Added a lid" in (tmp_path / "docs" / "CHANGELOG.md").read_text("utf-8")

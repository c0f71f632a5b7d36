"""Links between documents: those that lead nowhere are told, with what is near."""

from __future__ import annotations

import pytest

from vespera_orchestrator.documents.links import dead_links

_FILES = {
    "docs/CHANGELOG.md": "# Changelog\n\n## [1.0] - today\n\n## `a.b`\n\n## `a.b`\n",
    "docs/guide/start.md": "# Start\n",
    "README.md": "# Read me\n",
}


@pytest.mark.parametrize(
    ("link", "nearest"),
    [
        ("CHANGELOG.md", None),
        ("../README.md#read-me", None),
        ("CHANGELOG.md#ab-1", None),
        ("#here", None),
        ("guide/", None),
        ("https://example.org/x", None),
        ("CHANGELOGS.md", "CHANGELOG.md"),
        ("start.md", "guide/start.md"),
        ("CHANGELOG.md#changelogs", "CHANGELOG.md#changelog"),
        ("nothing-like-it.png", ""),
    ],
)
def test_a_link_leads_somewhere_or_is_told(link, nearest):
    """To a file, a folder, or a heading; an address of the web is not looked at."""
    text = f"# Here\n\nSee [it]({link}) and `[no](link.md)`.\n\n```\n[no](code.md)\n```\n"
    dead = list(dead_links(text, "docs/X.md", _FILES, _FILES.get))
    if nearest is None:
        assert dead == []
        return
    (found,) = dead
    assert (found.line, found.target, found.nearest) == (3, link, nearest)
    assert "leads nowhere" in str(found)


def test_a_check_names_dead_links(make_project):
    """In the parts that people write as well as in ours."""
    project = make_project()
    project.complete("Work")
    project.documents.update()
    path = project.path("CHANGELOG.md")
    path.write_text(path.read_text() + "\nSee [it](ARCHITECTUR.md).\n")
    (finding,) = project.documents.check()
    assert finding.subject == "docs/CHANGELOG.md"
    assert "the link 'ARCHITECTUR.md' leads nowhere; did you mean 'ARCHITECTURE.md'?" in str(
        finding
    )


def test_a_file_is_parsed_once_however_often_it_is_linked():
    """A page of a thousand links to one file takes as long as a page of one."""
    reads = []

    def read(path):
        reads.append(path)
        return "# Start\n"

    text = "\n".join(f"[{number}](guide.md#start)" for number in range(50))
    assert list(dead_links(text, "index.md", ["guide.md"], read)) == []
    assert reads == ["guide.md"]

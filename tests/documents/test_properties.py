"""What holds for all nine documents, over the three stories of the golden files."""

from __future__ import annotations

import pytest

from documents.test_stories import STORIES, _without_ids
from support.documents import Project, outside_sections
from vespera_orchestrator.documents.sections import parse_sections

_WORDS = "\r\n\x0cHand-written,\u2028 with `code`, <b>HTML</b> and no end\r\n\r\n"


@pytest.fixture(params=STORIES)
def told(request, make_project):
    """A story that is told, and whose documents are up to date."""
    project = make_project(request.param)
    STORIES[request.param](project)
    project.documents.update()
    return project


def test_an_update_changes_nothing_a_second_time(told):
    """Neither for the process that wrote, nor for one that has just started."""
    before = told.state()
    assert told.documents.update().written == ()
    assert told.opened().update(only=[path.name for path in told.path("").iterdir()]).written == ()
    assert told.state()[:3] == before[:3]


def test_what_a_person_writes_outside_of_sections_stays_byte_for_byte(told):
    """Before, between and behind the sections, whatever its lines end with, while ours changes."""
    outside = {}
    for path in told.path("").iterdir():
        text = path.read_bytes().decode()
        for section in reversed(parse_sections(text)):
            start = text.rfind("<!-- vespera:section", 0, section.start)
            text = f"{text[:start]}{_WORDS}{text[start:]}"
        text += "No line ends here."
        path.write_bytes(text.encode())
        outside[path] = outside_sections(text)
    for kind in ("finding", "protocol", "literature", "character", "world", "outline", "decision"):
        text = "# Anna Karenina\n\nShe reads [@knuth97].\n\n## Open threads\n\n- Why?\n"
        told.complete(f"Add more, {kind}", told.draft(f"More, {kind}", text, kind))
    told.write("src/teapot/more.py", '"""More."""\n\n\ndef more():\n    """Do more."""\n')
    told.write("chapters/11-more.md", "# More\n\nMara again.\n")
    written = {version.path for version in told.documents.update().written}
    assert written == {f"docs/{path.name}" for path in outside}
    for path, pieces in outside.items():
        assert outside_sections(path.read_bytes().decode()) == pieces
    assert told.documents.proposals() == []


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("story", STORIES)
def test_it_makes_no_difference_when_they_are_updated(tmp_path, story, every):
    """After each task, after every second one, or once at the end: the same text."""
    texts = []
    for folder, moments in (("often", every), ("once", 10**6)):
        (tmp_path / folder).mkdir()
        project = Project(tmp_path / folder, story)
        _update_while_it_goes_on(project, moments)
        STORIES[story](project)
        project.opened().update()
        paths = sorted(project.path("").iterdir())
        texts.append({path.name: _without_ids(path.read_text("utf-8")) for path in paths})
        project.store.close()
    assert texts[0] == texts[1]
    assert len(texts[0]) == 3


def _update_while_it_goes_on(project, every):
    """Let the documents be updated after every so many tasks, each time by another process."""
    complete, count = project.complete, 0

    def complete_and_update(*args, **options):
        nonlocal count
        task = complete(*args, **options)
        count += 1
        if count % every == 0:
            project.opened().update()
        return task

    project.complete = complete_and_update

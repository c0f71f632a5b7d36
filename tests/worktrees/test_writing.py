"""Files are written into a tree without reading the rest of it, with git's own outcome."""

from __future__ import annotations

import pygit2
import pytest

from vespera_orchestrator.worktrees.writing import tree_with


@pytest.mark.parametrize(
    ("files", "listed"),
    [
        ({"new/deep.txt": b"new"}, {"a.txt", "d/e/f.txt", "d/run.sh", "new/deep.txt"}),
        ({"a.txt": b"other"}, {"a.txt", "d/e/f.txt", "d/run.sh"}),
        ({"d/e/f.txt": None}, {"a.txt", "d/run.sh"}),
        ({"d/e/f.txt": None, "d/run.sh": None}, {"a.txt"}),
        ({"d": b"a file now"}, {"a.txt", "d"}),
        ({"a.txt/below": b"a folder now"}, {"a.txt/below", "d/e/f.txt", "d/run.sh"}),
        ({"none/here": None, "none": None}, {"a.txt", "d/e/f.txt", "d/run.sh"}),
    ],
)
def test_only_these_files_are_other_ones(make, files, listed):
    """Replaced, added, removed; a file in the place of a folder and the reverse."""
    project = make(files={"a.txt": "a", "d/e/f.txt": "f", "d/run.sh": "#!/bin/sh"})
    repo = pygit2.Repository(str(project.folder))
    tree = tree_with(repo, project.git("rev-parse", "HEAD"), files)
    assert set(project.git("ls-tree", "-r", "--name-only", tree).splitlines()) == listed
    for path, content in files.items():
        if content is not None:
            assert project.git("show", f"{tree}:{path}") == content.decode()
    project.assert_sound()


def test_a_file_keeps_its_rights(make):
    """Only its content is another one."""
    project = make(files={"d/run.sh": "#!/bin/sh"})
    project.git("update-index", "--chmod=+x", "d/run.sh")
    project.git("commit", "-qm", "may be run")
    repo = pygit2.Repository(str(project.folder))
    tree = tree_with(repo, project.git("rev-parse", "HEAD"), {"d/run.sh": b"new"})
    assert project.git("ls-tree", "-r", tree).startswith("100755 ")

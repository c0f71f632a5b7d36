"""Artifacts as plain files for a person: copies, with names that are safe on every system."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support.records import HOSTILE_TITLES
from vespera_orchestrator.errors import InvalidInputError, ReadOnlyError


@pytest.fixture
def orch(tmp_path):
    """A project with a session and the task ``write``."""
    with vespera.open(tmp_path) as opened:
        opened.initialize_session("Make: a kettle?")
        opened.plan_task("Write")
        yield opened


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, without the two that explain it."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {
        name: data for name, data in files.items() if name not in {"README.txt", ".derived.json"}
    }


def test_by_session_task_and_title(orch):
    """Text is Markdown, a picture is a picture, and a file has its own path."""
    orch.artifacts.save("Plan: first/second", "# Plan", task="write")
    orch.artifacts.save("Picture", b"\x89PNG\r\n\x1a\n", task="write")
    orch.artifacts.save("Data", {"a": 1})
    (orch.project / "src").mkdir()
    (orch.project / "src" / "run.py").write_text("print()")
    orch.complete_task(
        "write", summary="done", detailed_work="all of it", file_paths=["src/run.py"]
    )
    exported = orch.artifacts.browse()
    day = f"{orch.current_session().created_at:%Y-%m-%d}"
    top = f"{day} Make_ a kettle_"
    assert tree(exported.path) == {
        f"{top}/Data.json": b'{\n  "a": 1\n}',
        f"{top}/write/Picture.png": b"\x89PNG\r\n\x1a\n",
        f"{top}/write/Plan_ first_second.md": b"# Plan",
        f"{top}/write/Write.md": b"all of it",
        f"{top}/write/src/run.py": b"print()",
    }
    assert exported.path == orch.home / "browse"
    assert (exported.written, exported.unchanged, exported.problems) == (5, 0, ())
    assert "nothing here is ever read back" in (exported.path / "README.txt").read_text()
    assert "5 artifacts" in str(exported)


def test_made_again_it_is_the_same(orch):
    """Nothing is written twice; a new version replaces the old one.

    A file that somebody changed is written again.
    """
    for name in ("One", "Two"):
        orch.artifacts.save(name, name, task="write")
    exported = orch.artifacts.browse()
    before = {path: path.stat().st_mtime_ns for path in exported.path.rglob("*.md")}
    again = orch.artifacts.browse()
    assert (again.written, again.unchanged, again.removed) == (0, 2, 0)
    assert {path: path.stat().st_mtime_ns for path in exported.path.rglob("*.md")} == before
    one, two = sorted(before)
    one.write_text("changed by hand")
    orch.artifacts.save("Two", "newer", task="write")
    assert orch.artifacts.browse().written == 2
    assert (one.read_text(), two.read_text()) == ("One", "newer")
    assert orch.artifacts.text(orch.artifacts.find("One")) == "One"


def test_export_of_a_part_and_with_older_versions(orch, tmp_path):
    """A new folder takes one task or all versions; files without an artifact are removed.

    A person's own files stay.
    """
    orch.plan_task("Check")
    for text in ("1", "2"):
        orch.artifacts.save("Plan", text, task="write")
    orch.artifacts.save("Result", "x", task="check")
    exported = orch.artifacts.export(tmp_path / "out", include_superseded=True)
    assert sorted(Path(name).name for name in tree(exported.path)) == [
        "Plan v1.md",
        "Plan.md",
        "Result.md",
    ]
    (exported.path / "my notes.txt").write_text("mine")
    (next(exported.path.glob("*/check")) / "Result.md").write_text("my own result")
    exported = orch.artifacts.export(tmp_path / "out", task="write")
    assert sorted(Path(name).name for name in tree(exported.path)) == [
        "Plan.md",
        "Result.md",
        "my notes.txt",
    ]
    assert exported.removed == 1
    assert os.fspath(exported) == str(tmp_path / "out")


def test_a_folder_that_holds_other_things_is_left_alone(orch, tmp_path):
    """Somebody else's files are never overwritten."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    for path in (mine, mine / "notes.txt"):
        with pytest.raises(InvalidInputError, match="holds other things"):
            orch.artifacts.export(path)
    assert tree(mine) == {"notes.txt": b"mine"}
    orch.artifacts.save("Plan", "x", task="write")
    exported = orch.artifacts.export(tmp_path / "out")
    place = next(exported.path.glob("*/write")) / "Other.md"
    place.write_text("mine")
    orch.artifacts.save("Other", "x", task="write")
    (problem,) = orch.artifacts.export(tmp_path / "out").problems
    assert "something else is there" in problem
    assert place.read_text() == "mine"


def test_a_link_that_was_put_there_leads_nowhere(orch, tmp_path):
    """Neither folders nor files are written through links."""
    outside = tmp_path / "outside"
    outside.mkdir()
    orch.artifacts.save("Plan", "one", task="write")
    exported = orch.artifacts.browse()
    folder = next(exported.path.glob("*/write"))
    (outside / "Plan.md").write_text("not ours")
    (folder / "Plan.md").unlink()
    folder.rmdir()
    folder.symlink_to(outside)
    orch.artifacts.save("Plan", "two", task="write")
    orch.artifacts.browse()
    assert (outside / "Plan.md").read_text() == "not ours"
    assert (folder / "Plan.md").read_text() == "two"
    (folder / "Plan.md").unlink()
    (folder / "Plan.md").symlink_to(outside / "Plan.md")
    orch.artifacts.browse()
    assert (outside / "Plan.md").read_text() == "not ours"


def test_a_damaged_content_is_a_problem_of_its_own(orch):
    """Everything else is written."""
    bad = orch.artifacts.save("Bad", "x" * 100)
    orch.artifacts.save("Good", "y")
    (orch.home / "artifacts" / bad.digest[:2] / bad.digest[2:]).unlink()
    exported = orch.artifacts.browse()
    assert [Path(name).name for name in tree(exported.path)] == ["Good.md"]
    assert "Bad.md" in exported.problems[0]
    assert "missing" in exported.problems[0]


def test_where_nothing_can_be_written(orch, tmp_path):
    """The error names the folder."""
    (tmp_path / "file").write_text("x")
    with pytest.raises((ReadOnlyError, InvalidInputError), match="file"):
        orch.artifacts.export(tmp_path / "file" / "out")


def test_hostile_titles_never_leave_the_folder(orch, tmp_path):
    """Whatever the titles are, files appear below the folder and nowhere else."""
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(orch.home)}
    for number, title in enumerate(HOSTILE_TITLES):
        if title.strip():
            orch.artifacts.save(title, f"{number}")
            orch.artifacts.save(title, f"{number}", task="write")
    exported = orch.artifacts.browse()
    assert exported.problems == ()
    assert len(tree(exported.path)) == 2 * sum(bool(title.strip()) for title in HOSTILE_TITLES)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(orch.home)} == outside


KILLED = """
import os, signal, sys
import vespera_orchestrator as vespera
left = int(sys.argv[2])
def replace(source, target, real=os.replace):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.replace = replace
with vespera.open(sys.argv[1]) as orch:
    orch.artifacts.export(sys.argv[1] + "/out")
"""


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6])
def test_a_killed_export_is_finished_by_the_next(orch, step):
    """However far it got, the next export recognizes its files and completes them."""
    for number in range(3):
        orch.artifacts.save(f"Part {number}", f"{number}", task="write")
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(orch.project), str(step)], check=False
    )
    assert ended.returncode == -signal.SIGKILL
    exported = orch.artifacts.export(orch.project / "out")
    assert exported.problems == ()
    assert sorted(Path(name).name for name in tree(exported.path)) == [
        f"Part {n}.md" for n in range(3)
    ]

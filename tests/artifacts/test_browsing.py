"""Artifacts as plain files for a person: made from the record, safe under every name, never read back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from vespera_orchestrator._model import Artifact, utcnow
from vespera_orchestrator.artifacts.file_tree import arrange, safe_name
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
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {
        name: data for name, data in found.items() if name not in {"README.txt", ".derived.json"}
    }


def test_by_session_task_and_title(orch):
    """A person finds text as Markdown, pictures as pictures, files under their own paths."""
    orch.artifacts.save("Plan: first/second", "# Plan", task="write")
    orch.artifacts.save("Picture", b"\x89PNG\r\n\x1a\n", task="write")
    orch.artifacts.save("Data", {"a": 1})
    (orch.project / "src").mkdir()
    (orch.project / "src" / "run.py").write_text("print()")
    orch.complete_task(
        "write", summary="done", detailed_work="all of it", file_paths=["src/run.py"]
    )
    made = orch.artifacts.browse()
    day = f"{orch.current_session().created_at:%Y-%m-%d}"
    top = f"{day} Make_ a kettle_"
    assert tree(made.path) == {
        f"{top}/Data.json": b'{\n  "a": 1\n}',
        f"{top}/write/Picture.png": b"\x89PNG\r\n\x1a\n",
        f"{top}/write/Plan_ first_second.md": b"# Plan",
        f"{top}/write/Write.md": b"all of it",
        f"{top}/write/src/run.py": b"print()",
    }
    assert made.path == orch.home / "browse"
    assert (made.written, made.unchanged, made.problems) == (5, 0, ())
    assert "nothing here is ever read back" in (made.path / "README.txt").read_text()
    assert "5 artifacts" in str(made)


def test_made_again_it_is_the_same(orch):
    """Nothing is written twice; a new version takes the old one's place; what was changed by hand is written anew."""
    for name in ("One", "Two"):
        orch.artifacts.save(name, name, task="write")
    made = orch.artifacts.browse()
    before = {path: path.stat().st_mtime_ns for path in made.path.rglob("*.md")}
    again = orch.artifacts.browse()
    assert (again.written, again.unchanged, again.removed) == (0, 2, 0)
    assert {path: path.stat().st_mtime_ns for path in made.path.rglob("*.md")} == before
    one, two = sorted(before)
    one.write_text("changed by hand")
    orch.artifacts.save("Two", "newer", task="write")
    assert orch.artifacts.browse().written == 2
    assert (one.read_text(), two.read_text()) == ("One", "newer")
    assert orch.artifacts.text(orch.artifacts.find("One")) == "One"


def test_export_of_a_part_and_with_older_versions(orch, tmp_path):
    """Into any new folder: one task, all versions; what is no longer asked for goes, a person's own files stay."""
    orch.plan_task("Check")
    for text in ("1", "2"):
        orch.artifacts.save("Plan", text, task="write")
    orch.artifacts.save("Result", "x", task="check")
    made = orch.artifacts.export(tmp_path / "out", include_superseded=True)
    assert sorted(Path(name).name for name in tree(made.path)) == [
        "Plan v1.md",
        "Plan.md",
        "Result.md",
    ]
    (made.path / "my notes.txt").write_text("mine")
    (next(made.path.glob("*/check")) / "Result.md").write_text("my own result")
    made = orch.artifacts.export(tmp_path / "out", task="write")
    assert sorted(Path(name).name for name in tree(made.path)) == [
        "Plan.md",
        "Result.md",
        "my notes.txt",
    ]
    assert made.removed == 1
    assert os.fspath(made) == str(tmp_path / "out")


def test_a_folder_that_holds_other_things_is_left_alone(orch, tmp_path):
    """Nothing of somebody else's is ever overwritten."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    for path in (mine, mine / "notes.txt"):
        with pytest.raises(InvalidInputError, match="holds other things"):
            orch.artifacts.export(path)
    assert tree(mine) == {"notes.txt": b"mine"}
    orch.artifacts.save("Plan", "x", task="write")
    made = orch.artifacts.export(tmp_path / "out")
    place = next(made.path.glob("*/write")) / "Other.md"
    place.write_text("mine")
    orch.artifacts.save("Other", "x", task="write")
    (problem,) = orch.artifacts.export(tmp_path / "out").problems
    assert "something else stands there" in problem
    assert place.read_text() == "mine"


def test_a_link_that_was_put_there_leads_nowhere(orch, tmp_path):
    """Neither folders nor files are written through links."""
    outside = tmp_path / "outside"
    outside.mkdir()
    orch.artifacts.save("Plan", "one", task="write")
    made = orch.artifacts.browse()
    folder = next(made.path.glob("*/write"))
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
    made = orch.artifacts.browse()
    assert [Path(name).name for name in tree(made.path)] == ["Good.md"]
    assert "Bad.md" in made.problems[0]
    assert "missing" in made.problems[0]


def test_where_nothing_can_be_written(orch, tmp_path):
    """The folder is named."""
    (tmp_path / "file").write_text("x")
    with pytest.raises((ReadOnlyError, InvalidInputError), match="file"):
        orch.artifacts.export(tmp_path / "file" / "out")


# --- names ---------------------------------------------------------------------------------

NASTY = [
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "",
        "con",
        "NUL.txt",
        "COM1",
        "a/b\\c",
        "C:\\x",
        "-rf",
        "~root",
        ".bashrc",
        "x" * 300,
    ),
    *(
        "ü" * 200,
        "line\nbreak",
        "nul\0",
        "half \ud83d",
        "rtl \u202etxt.exe",
        "e\u0301",
        "trailing. . ",
        "  ",
        "?*<>|",
        "📎" * 90,
        "a.b." * 90,
    ),
]
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\ud800-\udfff]')


@given(st.text(max_size=300) | st.sampled_from(NASTY))
@settings(max_examples=300)
def test_every_text_becomes_a_name_that_every_system_takes(text):
    """One visible component, at most 80 bytes, no device, nothing that a shell or a file system takes for something else."""
    name = safe_name(text)
    assert 0 < len(name.encode()) <= 81
    assert not FORBIDDEN.search(name)
    assert name[0] not in ".-~ "
    assert name[-1] not in ". "
    assert name.partition(".")[0].casefold() not in {"con", "nul", "com1"}
    assert Path(name).name == name


ARTIFACT = Artifact(
    id="a_0",
    session_id="s_0",
    task_id="t_0",
    attempt=1,
    agent="ada",
    kind="general",
    title="x",
    media_type="text/plain",
    digest="0" * 64,
    size_bytes=0,
    version=1,
    supersedes_id=None,
    superseded=False,
    partial=False,
    tags=(),
    metadata={},
    created_at=utcnow(),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [*NASTY, "Plan", "plan", "PLAN", "src/a", "src", "Src/A", "a/b/c/d/e/f/g/h/i/j"]
            )
            | st.text(max_size=20),
            st.sampled_from(["general", "file"]),
            st.sampled_from(["s_0", "s_1"]),
            st.sampled_from([None, "t_0", "t_1"]),
            st.sampled_from(["text/markdown", "image/png", "application/octet-stream"]),
        ),
        max_size=40,
    )
)
@settings(max_examples=150)
def test_every_artifact_has_a_place_of_its_own(records):
    """Also where letter case does not count, where a file and a folder would have one name, and within the folder always."""
    artifacts = [
        attrs.evolve(
            ARTIFACT,
            id=f"a_{n:012}",
            title=title,
            kind=kind,
            session_id=session,
            task_id=task,
            media_type=media,
        )
        for n, (title, kind, session, task, media) in enumerate(records)
    ]
    names = {"s_0": "Same goal", "s_1": "same GOAL"}, {"t_0": "alias", "t_1": "ALIAS"}
    places = arrange(artifacts, *names)
    assert places == arrange(artifacts, *names)
    assert sorted(artifact.id for artifact in places.values()) == [
        artifact.id for artifact in artifacts
    ]
    folded = [place.casefold() for place in places]
    assert len(set(folded)) == len(folded)
    folders = {
        "/".join(place.split("/")[:n]) for place in folded for n in range(1, place.count("/") + 1)
    }
    assert not folders & set(folded)
    for place in places:
        assert not {"", ".", ".."} & set(place.split("/"))
        assert max(len(part.encode()) for part in place.split("/")) < 120


def test_hostile_titles_never_leave_the_folder(orch, tmp_path):
    """Whatever an agent calls what it made, files appear below the folder and nowhere else."""
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(orch.home)}
    for number, title in enumerate(NASTY):
        if title.strip():
            orch.artifacts.save(title, f"{number}")
            orch.artifacts.save(title, f"{number}", task="write")
    made = orch.artifacts.browse()
    assert made.problems == ()
    assert len(tree(made.path)) == 2 * sum(bool(title.strip()) for title in NASTY)
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
    """Whatever it had come to, the next one knows its own files again and completes them."""
    for number in range(3):
        orch.artifacts.save(f"Part {number}", f"{number}", task="write")
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(orch.project), str(step)], check=False
    )
    assert ended.returncode == -signal.SIGKILL
    made = orch.artifacts.export(orch.project / "out")
    assert made.problems == ()
    assert sorted(Path(name).name for name in tree(made.path)) == [f"Part {n}.md" for n in range(3)]

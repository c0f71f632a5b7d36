"""What files say is read once, not once a process; a damaged memory of it is never believed."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import attrs
import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.documents import readings
from vespera_orchestrator.documents.readings import FILE, open_readings
from vespera_orchestrator.documents.sources.python_code import PythonFile, read_python

KETTLE = '"""Boils."""\n\nfrom os import path as path\n\n__all__ = ["boil"]\n\n\ndef boil(): ...\n'


@attrs.frozen
class Reading:
    """Something that a text says."""

    word: str


def recall(folder, text="tea", label="word", word="tea", *, readonly=False):
    """Return what is said of a text, and whether it was read for that."""
    was_read = []

    def read():
        was_read.append(text)
        return Reading(word)

    with open_readings(folder, readonly=readonly) as memory:
        return memory.recall(Reading, label, text, read).word, bool(was_read)


def change(folder, statement):
    """Change the file by hand."""
    with closing(sqlite3.connect(folder / FILE)) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_text_is_read_once(tmp_path):
    """Another text, or the same as something else, is another reading."""
    assert recall(tmp_path) == ("tea", True)
    assert recall(tmp_path, word="not asked") == ("tea", False)
    assert recall(tmp_path, text="te", label="aword") == ("tea", True)
    assert recall(tmp_path, label="other", word="oolong") == ("oolong", True)
    assert recall(tmp_path, readonly=True) == ("tea", False)


def test_what_python_says_comes_back_as_it_was(tmp_path):
    """With every kind of field: mappings, sets, and ``None`` beside an empty tuple."""
    file = read_python(KETTLE, "kettle", is_package=False)
    assert (file.exports, file.reexports) == (("boil",), {"path"})
    for record in (file, PythonFile(problem="odd"), PythonFile(exports=())):
        for _ in range(2):
            with open_readings(tmp_path, readonly=False) as memory:
                back = memory.recall(PythonFile, "", repr(record), lambda r=record: r)
            assert back == record


def test_another_version_of_the_code_reads_again(tmp_path, monkeypatch):
    """What it would say is not known."""
    recall(tmp_path)
    monkeypatch.setattr(readings, "_code_digest", lambda: b"other")
    assert recall(tmp_path, word="new") == ("new", True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / FILE).write_bytes(b"no database" * 500),
        lambda folder: (folder / FILE).write_bytes(b""),
        lambda folder: os.truncate(folder / FILE, 5000),
        lambda folder: (folder / FILE).unlink(),
        lambda folder: change(folder, "DROP TABLE readings"),
        lambda folder: change(folder, "UPDATE readings SET reading = '{no json'"),
        lambda folder: change(folder, """UPDATE readings SET reading = '{"cup": 1}'"""),
        lambda folder: change(folder, "UPDATE readings SET reading = x'ff00'"),
        lambda folder: change(folder, "ALTER TABLE readings RENAME reading TO other"),
    ],
)
def test_a_damaged_file_costs_a_reading_and_no_more(tmp_path, damage):
    """It is read again, and remembered again after two turns at most."""
    recall(tmp_path)
    damage(tmp_path)
    assert recall(tmp_path, word="again") == ("again", True)
    recall(tmp_path, word="again")
    assert recall(tmp_path, word="unread") == ("again", False)


def test_nobody_waits_for_another_writer(tmp_path, monkeypatch):
    """Nor fails."""
    recall(tmp_path)
    monkeypatch.setattr(readings, "_LOCK_WAIT_S", 0)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert recall(tmp_path, word="again") == ("again", True)
        other.execute("ROLLBACK")
    assert recall(tmp_path) == ("tea", False)


def test_what_nobody_asks_for_is_forgotten(tmp_path, monkeypatch):
    """After a month; what was asked for meanwhile stays."""
    day = readings.time.time
    for text in ("old", "used"):
        recall(tmp_path, text)
    monkeypatch.setattr(readings.time, "time", lambda: day() + 20 * 86_400)
    recall(tmp_path, "used")
    monkeypatch.setattr(readings.time, "time", lambda: day() + 40 * 86_400)
    recall(tmp_path, "new")
    assert recall(tmp_path, "used")[1] is False
    assert recall(tmp_path, "old")[1] is True


def test_who_only_looks_writes_nothing(tmp_path):
    """Neither a file, nor into one."""
    assert recall(tmp_path, readonly=True) == ("tea", True)
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(tmp_path):
    """What it leads to stays as it is, and the work goes on."""
    home, other = tmp_path / "home", tmp_path / "other.db"
    home.mkdir()
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = other.read_bytes()
    (home / FILE).symlink_to(other)
    assert recall(home) == ("tea", True)
    assert recall(home) == ("tea", True)
    assert (home / FILE).is_symlink()
    assert other.read_bytes() == before


def test_a_new_process_reads_only_what_is_new(project, monkeypatch):
    """And writes what one that reads everything would write."""

    def complete(title, **files):
        read = []

        def noted(source, module, *, is_package):
            read.append(module)
            return read_python(source, module, is_package=is_package)

        where = "vespera_orchestrator.documents.sources.python_api.read_python"
        monkeypatch.setattr(where, noted)
        with vespera.open(project.folder, embedder="none") as orch:
            if not orch.list_sessions():
                orch.initialize_session("Goal", project_type="software_development")
            orch.plan_task(title)
            with orch.execute_task(title, worktree=True) as work:
                for name, text in files.items():
                    (work.path / f"{name}.py").write_text(text)
                work.complete(summary=title, detailed_work=title)
        return read

    assert "kettle" in complete("one", kettle=KETTLE)
    assert complete("two", cup=KETTLE) == ["cup"]
    shown = project.git("show", "integration:docs/API_REFERENCE.md")
    (project.folder / ".task_orchestrator" / FILE).unlink()
    assert {"cup", "kettle"} <= set(complete("three"))
    assert project.git("show", "integration:docs/API_REFERENCE.md") == shown

"""A home keeps its id when it is moved or restored; a copy has another."""

from __future__ import annotations

import shutil
import threading

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.home import identity
from vespera_orchestrator.home.identity import HOME_ID_FILE, read_home_id


@pytest.fixture
def home(tmp_path):
    """A folder with an id."""
    folder = tmp_path / "home"
    folder.mkdir()
    read_home_id(folder)
    return folder


def test_it_stays_the_same(home, tmp_path):
    """Asked again, moved, and moved to where another home was."""
    first = read_home_id(home)
    assert read_home_id(home) == first
    moved = home.rename(tmp_path / "moved")
    assert read_home_id(moved) == first
    assert read_home_id(moved) == first


def test_a_copy_is_another_home(home, tmp_path):
    """The copy, a copy of the copy, and a copy in the place of the original that was moved."""
    ids = [read_home_id(home)]
    for source, target in (("home", "copy"), ("copy", "second"), ("home", "third")):
        shutil.copytree(tmp_path / source, tmp_path / target)
        ids += [read_home_id(tmp_path / target), read_home_id(tmp_path / target)]
    assert ids[1::2] == ids[2::2]
    assert len({ids[0], *ids[1::2]}) == 4
    assert read_home_id(home) == ids[0]


def lose(home):
    """Take a home away, and keep its inode so that no folder made later gets it."""
    home.rename(home.with_name("lost"))


def test_restored_in_its_place_it_is_the_same(home, tmp_path):
    """From a copy, such as a backup, after the original was lost."""
    first = read_home_id(home)
    shutil.copytree(home, tmp_path / "backup")
    lose(home)
    shutil.copytree(tmp_path / "backup", home)
    assert read_home_id(home) == first


def test_moved_to_another_disk_it_is_the_same(home, tmp_path):
    """It is not where it was, and nothing else is there."""
    first = read_home_id(home)
    shutil.copytree(home, tmp_path / "elsewhere")
    lose(home)
    assert read_home_id(tmp_path / "elsewhere") == first


def test_on_another_machine_it_is_another(home, tmp_path, monkeypatch):
    """Also at the same path."""
    first = read_home_id(home)
    shutil.copytree(home, tmp_path / "copy")
    lose(home)
    shutil.copytree(tmp_path / "copy", home)
    monkeypatch.setattr(identity, "_machine_id", lambda: "another")
    assert read_home_id(home) != first
    assert read_home_id(home) == read_home_id(home)


def test_a_container_sees_the_same_home(home, monkeypatch):
    """The same folder, with another machine's name: nobody writes the file by turns."""
    before = (home / HOME_ID_FILE).read_bytes()
    first = read_home_id(home)
    monkeypatch.setattr(identity, "_machine_id", lambda: "container")
    assert read_home_id(home) == first
    assert (home / HOME_ID_FILE).read_bytes() == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 3}'])
def test_a_damaged_file_is_made_anew(home, text):
    """With one id from then on."""
    (home / HOME_ID_FILE).write_text(text)
    assert read_home_id(home) == read_home_id(home)


def test_many_at_once_get_the_same(tmp_path):
    """Whoever is first."""
    ids, start = [], threading.Barrier(8)

    def ask():
        start.wait()
        ids.append(read_home_id(tmp_path))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [HOME_ID_FILE]


def test_a_backup_is_another_home_until_it_is_put_back(tmp_path):
    """Opened where it lies, it leaves the original's worktrees alone."""
    (tmp_path / "p").mkdir()
    with vespera.open(tmp_path / "p") as orch:
        orch.initialize_session("x")
        first = orch._scope.home.id
        home = orch.home
        orch.backup(tmp_path / "backup")
    with vespera.open(tmp_path / "p", home=tmp_path / "backup") as copy:
        assert copy._scope.home.id != first
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "backup", home)
    assert read_home_id(home) != ""

"""Locks that are files: one holder among threads and processes, and none after its death."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import ExitStack

import pytest

from support.children import python
from vespera_orchestrator.home import file_lock as module
from vespera_orchestrator.home.file_lock import file_lock

HOLDER = """
from pathlib import Path
from vespera_orchestrator.home.file_lock import file_lock
with file_lock(Path(sys.argv[1])):
    done(held=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    """The file of a lock, which is not there yet."""
    return tmp_path / "work.lock"


def is_free(path):
    """Tell whether another thread can have the lock at once."""
    answers = []

    def ask():
        try:
            with file_lock(path, timeout_s=0):
                answers.append(True)
        except TimeoutError:
            answers.append(False)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return answers[0]


def test_one_thread_at_a_time_has_it(path):
    """Also where the block fails; the file stays for those who wait."""
    with file_lock(path):
        assert not is_free(path)
    assert is_free(path)
    with pytest.raises(KeyError), file_lock(path):
        raise KeyError
    assert is_free(path)
    assert path.exists()


def test_it_falls_when_its_holder_is_killed(path):
    """The system releases it: nobody has to tell a dead holder from a living one."""
    with python(HOLDER, path) as holder:
        assert holder.stdout.readline()
        assert not is_free(path)
        holder.kill()
    assert is_free(path)


def test_a_forked_child_does_not_keep_it(path):
    """The child goes on when its parent has let go of the lock, and the lock is free."""
    readable, writable = os.pipe()
    with ExitStack() as lock:
        lock.enter_context(file_lock(path))
        child = os.fork()
        if child == 0:
            os.read(readable, 1)
            os._exit(0)
        assert not is_free(path)
    assert is_free(path)
    os.write(writable, b"x")
    assert os.waitpid(child, 0)[1] == 0
    os.close(readable)
    os.close(writable)


def test_the_end_of_a_child_s_block_leaves_the_parent_s_lock(path):
    """A child that was forked within the block leaves it without unlocking anything."""
    with ExitStack() as lock:
        lock.enter_context(file_lock(path))
        child = os.fork()
        if child == 0:
            lock.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert not is_free(path)


def test_its_holder_may_remove_the_file(path, monkeypatch):
    """Whoever has opened the old one meanwhile takes a new one: there are never two holders."""
    opened = []
    real = module._open

    def open_too_early(place):
        handle = real(place)
        if not opened:
            opened.append(handle)
            place.unlink()
        return handle

    monkeypatch.setattr(module, "_open", open_too_early)
    with file_lock(path):
        assert path.exists()
        assert not is_free(path)


def test_a_link_is_not_followed(path, tmp_path):
    """Nobody makes us create a file somewhere else."""
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), file_lock(path, timeout_s=0):
        pass
    assert not tmp_path.joinpath("elsewhere").exists()


@pytest.mark.parametrize(("folder", "file"), [(0o700, 0o600), (0o770, 0o660)])
def test_everybody_can_take_it_who_may_write_in_its_folder(tmp_path, folder, file):
    """Those of a group as well, whatever mask the first one has."""
    tmp_path.chmod(folder)
    with file_lock(tmp_path / "work.lock"):
        pass
    assert stat.S_IMODE(tmp_path.joinpath("work.lock").stat().st_mode) == file

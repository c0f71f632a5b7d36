"""Files of the home: written whole or not at all, and errors of the system in our words."""

from __future__ import annotations

import errno
import os
import stat

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.errors import ReadOnlyError, StoreUnavailableError
from vespera_orchestrator.home import files
from vespera_orchestrator.home.files import sync_folder, translate_os_error, write_atomically


def test_a_file_is_replaced_as_a_whole(tmp_path):
    """Old or new text, byte for byte, and nothing beside it."""
    path = tmp_path / "config.toml"
    for text in ("first\r\n", "", "naïve 名 \u2028 text\n"):
        write_atomically(path, text)
        assert path.read_bytes() == text.encode()
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, step):
    """Whatever goes wrong on the way, the old text stays and nothing is left beside it."""
    path = tmp_path / "config.toml"
    write_atomically(path, "old")

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_a_write_that_is_interrupted_leaves_the_old_file(tmp_path, monkeypatch):
    """Ctrl-C counts as well."""
    path = tmp_path / "config.toml"
    write_atomically(path, "old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    """After a power cut the name leads to the old text or the new, never to an empty file."""
    steps = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            files.os,
            name,
            lambda *words, name=name, real=real: (steps.append(name), real(*words))[1],
        )
    write_atomically(tmp_path / "config.toml", "text")
    assert steps.index("fsync") < steps.index("replace")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_usual_rights(tmp_path, mask):
    """Those that any other program's file would have, not those of a temporary file."""
    tmp_path.chmod(0o755)  # in a folder that is closed to others it would be closed as well
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "ours", "text")
        (tmp_path / "theirs").write_text("text")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "theirs")]
    assert modes[0] == modes[1] == 0o666 & ~mask


ERRORS = [
    (errno.EACCES, ReadOnlyError, "Permission denied"),
    (errno.EPERM, ReadOnlyError, "Operation not permitted"),
    (errno.EROFS, ReadOnlyError, "Read-only file system"),
    (errno.ENOTDIR, ReadOnlyError, "a file is where a folder should be: move it away"),
    (errno.EEXIST, ReadOnlyError, "a file is where a folder should be: move it away"),
    (errno.ENOSPC, StoreUnavailableError, "free some disk space"),
    (errno.EDQUOT, StoreUnavailableError, "free some disk space"),
    (errno.EFBIG, StoreUnavailableError, "free some disk space"),
    (errno.EIO, StoreUnavailableError, "Input/output error"),
    (None, StoreUnavailableError, "odd"),
]


@pytest.mark.parametrize(("number", "kind", "words"), ERRORS)
def test_an_error_of_the_system_becomes_one_of_ours(tmp_path, number, kind, words):
    """It is told what can be done: rights, room, or try again; the place is named."""
    error = OSError("odd") if number is None else OSError(number, os.strerror(number))
    translated = translate_os_error(error, tmp_path)
    assert type(translated) is kind
    assert words in str(translated)
    assert str(tmp_path) in str(translated)
    assert translated.retryable == (kind is StoreUnavailableError)


def test_the_file_in_the_way_is_named(tmp_path):
    """Where the system says which file it was, it is that one that must be moved."""
    error = NotADirectoryError(errno.ENOTDIR, "Not a directory", "/somewhere/else")
    assert "/somewhere/else" in str(translate_os_error(error, tmp_path))


@pytest.fixture
def refuse_to_sync_folders(monkeypatch):
    """Return a function that lets each sync of a folder fail with an error number."""
    sync = os.fsync

    def refuse(number):
        def fail(handle):
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                raise OSError(number, os.strerror(number))
            sync(handle)

        monkeypatch.setattr(os, "fsync", fail)

    return refuse


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_home_on_a_disk_that_cannot_sync_folders(tmp_path, refuse_to_sync_folders, number):
    """Such a file system says so; a home is made, written and backed up there all the same."""
    refuse_to_sync_folders(number)
    project = tmp_path / "project"
    project.mkdir()
    with vespera.open(project) as orch:
        orch.initialize_session("x")
        orch.artifacts.save("note", "kept")
        orch.backup(tmp_path / "copy")
    with vespera.open(home=tmp_path / "copy") as orch:
        (artifact,) = orch.artifacts.list(session="*")
        assert orch.artifacts.read(artifact) == b"kept"


def test_a_disk_that_fails_to_sync_a_folder_is_an_error(tmp_path, refuse_to_sync_folders):
    """Only a file system that never can is excused."""
    refuse_to_sync_folders(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)

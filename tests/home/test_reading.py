"""Small files are read up to a bound, and nothing is waited for, whatever stands in their place."""

from __future__ import annotations

import ast
import os

import pytest

import vespera_orchestrator as vespera
from support import ROOT
from vespera_orchestrator.errors import InvalidInputError, VesperaError
from vespera_orchestrator.home.files import UnfitFileError, translate_os_error
from vespera_orchestrator.home.reading import (
    open_plain_file,
    read_json,
    read_small_file,
    read_small_text,
)

PACKAGE = ROOT / "src" / "vespera_orchestrator"
READERS = {"read_text", "read_bytes", "open"}
OWN_FILES = {
    "_gitleaks.py": "the rules are packaged",
    "artifacts/search/embedders.py": "the model is packaged",
    "artifacts/content/files.py": "looks at what it opened by itself, because files may change",
    "home/files.py": "opens what `reading` looks at",
    "home/identity.py": "the file of the system that names the machine",
    "home/machine.py": "files of the system",
    "home/permissions.py": "a file of the system",
    "home/reading.py": "the one place",
    "integrations/command.py": "the null device",
    "integrations/instructions.py": "the skill is packaged",
    "maintenance/export.py": "writes a new file",
    "stores/sqlite/upgrade.py": "the tables are packaged",
    "stores/sqlite/filesystem.py": "a file of the system",
    "stores/sqlite/reserve.py": "a file that it has just looked at",
    "worktrees/ignored_files.py": "copies what it has just looked at",
    "worktrees/merge_drivers.py": "a file of its own that a command has written",
    "worktrees/packs.py": "writes a new file",
    "worktrees/torn.py": "a file that it has just looked at",
    "worktrees/tree_switch.py": "folders, and a file without waiting for it",
}
"""Modules that read files otherwise, and why they may."""


@pytest.fixture
def pipe(tmp_path):
    """A pipe that nobody writes to: opening it in the usual way takes for ever."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("read", [read_small_file, read_small_text, read_json, open_plain_file])
def test_a_pipe_is_not_waited_for(read, pipe):
    """Nor is a device read that has no end."""
    with pytest.raises(UnfitFileError, match="is a pipe, not a file"):
        read(pipe)
    with pytest.raises(UnfitFileError, match="is a device, not a file"):
        read("/dev/zero")
    with pytest.raises(IsADirectoryError):
        read(pipe.parent)
    with pytest.raises(FileNotFoundError):
        read(pipe.parent / "nothing")


def test_no_more_is_read_than_the_bound(tmp_path):
    """A file of a terabyte without content costs no memory; one that fits is read whole."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1000)
    assert read_small_file(file, 1000) == b"x" * 1000
    with pytest.raises(UnfitFileError, match="has more than 999 bytes"):
        read_small_file(file, 999)
    os.truncate(file, 2**40)
    with pytest.raises(UnfitFileError, match="has more than 1,000,000 bytes"):
        read_small_file(file)


def test_a_file_of_the_system_without_a_size_is_read(tmp_path):
    """Those say that they have none."""
    assert read_small_text("/proc/self/status").startswith("Name:")
    assert read_small_file("/proc/self/cmdline")
    (tmp_path / "empty").touch()
    assert read_small_file(tmp_path / "empty") == b""


def test_a_link_is_followed_unless_the_caller_forbids_it(tmp_path):
    """Of what a home holds, none is."""
    (tmp_path / "file").write_text("a\r\nb\rc\n")
    (tmp_path / "link").symlink_to("file")
    assert read_small_text(tmp_path / "link") == "a\nb\nc\n"
    with pytest.raises(OSError, match="link"):
        read_small_file(tmp_path / "link", follow_links=False)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\ud800", "9" * 5000, ""])
def test_json_that_cannot_be_read_is_a_value_error(tmp_path, text):
    """However it is broken, whoever reads it has one thing to expect."""
    file = tmp_path / "file"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r".*"):
        read_json(file)


def test_the_error_says_what_to_do(pipe):
    """In our words; nothing here could not be written."""
    error = translate_os_error(UnfitFileError(pipe, "is a pipe, not a file"), pipe)
    assert isinstance(error, InvalidInputError)
    assert str(error) == f"{pipe}: is a pipe, not a file; remove it, or put the right file there"


def reads_otherwise(file):
    """Yield the calls in a module that read a file without the one place."""
    source = file.read_text("utf-8")
    if not any(name in source for name in READERS):
        return
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id == "open":
            yield node.lineno
        if isinstance(function, ast.Attribute) and function.attr in READERS:
            first = node.args[0] if node.args else None
            is_mode = isinstance(first, ast.Constant) and str(first.value).startswith("r")
            owner = ast.unparse(function.value)
            if function.attr != "open" or is_mode or owner in {"os", "builtins", "io"}:
                yield node.lineno


def test_every_other_module_reads_through_the_one_place():
    """Whoever reads a file otherwise says above why nobody else can have put it there."""
    readers = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if any(reads_otherwise(file))
    }
    assert readers - set(OWN_FILES) == set()
    assert set(OWN_FILES) - readers == set()


def test_a_pipe_for_settings_is_refused_by_name(tmp_path):
    """Opening a project took for ever."""
    home = tmp_path / ".task_orchestrator"
    home.mkdir()
    os.mkfifo(home / "config.toml")
    with pytest.raises(VesperaError, match=r"config\.toml: is a pipe, not a file; remove it"):
        vespera.open(tmp_path)

"""The door to pygit2's private parts: they are where we think, and nobody else goes there."""

from __future__ import annotations

import ast
import importlib
import os
import re
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import FileMode

import vespera_orchestrator
from vespera_orchestrator.worktrees import libgit2

PACKAGE = Path(vespera_orchestrator.__file__).parent
BYTES = os.fsdecode(b"bytes\xff")
PRIVATE = {"_index", "_repo", "_pointer", "_to_c", "_from_c"}


@pytest.fixture
def repo(tmp_path):
    """Return an empty repository with a work tree."""
    return pygit2.init_repository(str(tmp_path / "repo"))


def moved(what):
    """Fail in plain words."""
    pytest.fail(
        f"pygit2 {pygit2.__version__} moved or renamed {what}; look at worktrees/libgit2.py",
        pytrace=False,
    )


def owner_of(place, repo):
    """Return the object that has the private names: for a class an instance, which gets them."""
    instances = {
        "pygit2.Index": repo.index,
        "pygit2.IndexEntry": pygit2.IndexEntry("a", pygit2.Oid(hex="0" * 40), FileMode.BLOB),
        "pygit2.Repository": repo,
        "pygit2.Tree": repo[repo.TreeBuilder().write()],
        "pygit2.config.RepositoryConfig": repo.config,
    }
    if place in instances:
        return instances[place]
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(module), name, None)


@pytest.mark.parametrize(
    ("place", "name"),
    [(place, name) for place, names in libgit2.PRIVATE_PARTS.items() for name in names],
)
def test_every_private_name_is_where_we_look_for_it(repo, place, name):
    """An upgrade of pygit2 that moves one says so, before any user meets it."""
    if not hasattr(owner_of(place, repo), name):
        moved(f"{place}.{name}")


@pytest.mark.parametrize("struct", libgit2.STRUCT_FIELDS)
def test_libgit2s_structures_have_the_fields_we_use(struct):
    """Also for the fields of C structures."""
    fields = {name for name, _ in libgit2.ffi.typeof(struct).fields}
    for name in libgit2.STRUCT_FIELDS[struct]:
        if name not in fields:
            moved(f"the field {name} of {struct}")


def private_uses(source):
    """Yield the lines that reach into pygit2's private parts."""
    if not re.search(rf"pygit2\.ffi|\.({'|'.join(PRIVATE)})\b", source):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pygit2.ffi"):
            yield node.lineno
        elif isinstance(node, ast.Import):
            yield from (node.lineno for alias in node.names if alias.name.startswith("pygit2.ffi"))
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE:
            own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            if not own:
                yield node.lineno


def test_no_other_module_reaches_into_pygit2():
    """Whatever an upgrade moves is mended in one place."""
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "libgit2.py"
        for line in private_uses(path.read_text("utf-8"))
    ]
    assert found == [], "use or add a function of worktrees/libgit2.py instead"


@pytest.mark.parametrize(
    "line", ["from pygit2.ffi import C", "import pygit2.ffi as f", "x = repo._repo", "i()._to_c()"]
)
def test_reaching_into_pygit2_is_noticed(line):
    """The check above sees what it looks for."""
    assert list(private_uses(f"pass\n{line}\n")) == [2]


# --- what the functions do ------------------------------------------------------


def blob(repo, content, path="a", mode=FileMode.BLOB):
    """Return an entry for a new blob."""
    return pygit2.IndexEntry(path, repo.create_blob(content), mode)


def test_an_entry_shows_its_flags_whatever_its_name(repo):
    """Names may be any bytes; a path without an entry is no error."""
    folder = Path(repo.workdir)
    (folder / "a").write_text("a\n")
    status = (folder / "a").stat()
    name = str(repo.create_blob(b"a\n"))
    assert libgit2.find_entry(repo.index, BYTES) is None
    for path in ("a", BYTES):
        assert libgit2.add_entry(repo.index, path, (name, FileMode.BLOB), status)
        entry = libgit2.find_entry(repo.index, path)
        assert (entry.name, entry.mode) == (name, FileMode.BLOB)
        assert not entry.is_intent_to_add
        assert not entry.is_outside_sparse
        assert libgit2.has_entry(repo.index, path)
        assert not libgit2.is_in_conflict(repo.index, path)
    repo.index.write()
    # Git takes the times that were written for proof, and need not read the file.
    assert repo.status()["a"] == pygit2.enums.FileStatus.INDEX_NEW


def test_an_entry_that_libgit2_refuses_is_not_added(repo):
    """A path into git's own folder is refused, and says so."""
    name = str(repo.create_blob(b""))
    assert not libgit2.add_entry(repo.index, ".git/config", (name, FileMode.BLOB), None)


def test_sides_of_a_conflict_are_seen(repo):
    """A path in conflict has no ordinary entry."""
    trees = []
    for content in (b"1\n", b"2\n", b"3\n"):
        index = pygit2.Index()
        index.add(blob(repo, content))
        trees.append(repo[index.write_tree(repo)])
    merged = repo.merge_trees(*trees)
    assert libgit2.is_in_conflict(merged, "a")
    assert not libgit2.has_entry(merged, "a")


def test_hidden_files_are_shown_where_they_are_on_disk(repo):
    """Flags that tell git not to look are cleared for files that are there, and only for those."""
    index = repo.index
    for path in ("a", "b", BYTES):
        index.add(blob(repo, b"x", path))
    assert not libgit2.unhide_entries(index, lambda _: True)
    for entry in libgit2._entries(index):
        entry.flags_extended |= libgit2._SKIP_WORKTREE
    asked = []

    def is_on_disk(path):
        asked.append(path)
        return path == BYTES

    assert libgit2.unhide_entries(index, is_on_disk)
    assert sorted(asked) == sorted(["a", "b", BYTES])
    outside = {path: libgit2.find_entry(index, path).is_outside_sparse for path in asked}
    assert outside == {"a": True, "b": True, BYTES: False}


def test_a_file_is_hashed_as_git_would_store_it(repo):
    """With the line ends that the attributes of its path ask for."""
    folder = Path(repo.workdir)
    (folder / ".gitattributes").write_text("*.txt text eol=crlf\n")
    (folder / "file").write_bytes(b"1\r\n2\r\n")
    as_text = libgit2.hash_as_git(repo, folder / "file", "a.txt")
    assert as_text == str(pygit2.hash(b"1\n2\n"))
    assert libgit2.hash_as_git(repo, folder / "file", BYTES) == str(pygit2.hash(b"1\r\n2\r\n"))
    assert libgit2.hash_as_git(repo, folder / "nothing", "a.txt") is None


def test_one_file_is_merged(repo):
    """Cleanly, with markers in diff3 style and our labels, or not at all where it is not text."""
    base, ours, theirs = (blob(repo, text) for text in (b"1\n2\n3\n", b"one\n2\n3\n", b"1\n2\nx\n"))
    merge = libgit2.merge_file(repo, (base, ours, theirs))
    assert (merge.content, merge.is_clean) == (b"one\n2\nx\n", True)
    other = blob(repo, b"eins\n2\n3\n")
    merge = libgit2.merge_file(repo, (base, ours, other), (b"base", b"ours \xff", b"theirs"))
    assert not merge.is_clean
    assert merge.content.startswith(b"<<<<<<< ours \xff\none\n||||||| base\n1\n=======\neins\n>>>>")
    binary = libgit2.merge_file(repo, (None, blob(repo, b"\0a"), blob(repo, b"\0b")))
    assert (binary.content, binary.is_clean) == (None, False)

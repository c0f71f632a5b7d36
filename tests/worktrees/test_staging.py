"""New objects go straight into one pack, which git can read and does not delete too early."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pygit2
import pytest

from vespera_orchestrator.errors import GitFailedError, RefMovedError
from vespera_orchestrator.worktrees import packs, snapshot_index, staging
from vespera_orchestrator.worktrees.pack_format import GitObject, encode_pack, names_in
from vespera_orchestrator.worktrees.staging import Held, Staging

KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
SIZES = (0, 1, 15, 16, 17, 2047, 2048, 300_000)
"""The bytes that say how long an object is are more from 16 and from 2,048 on."""


@pytest.fixture
def common(project):
    """The git directory."""
    return project.folder / ".git"


@pytest.fixture
def place(common):
    """Where new objects are collected."""
    return Staging(common, durable=True)


def loose_objects(common):
    """Return the objects that are files of their own."""
    return {
        file.parent.name + file.name for file in (common / "objects").glob("[0-9a-f][0-9a-f]/*")
    }


def packs_in(common, suffix=".idx"):
    """Return the packs, or those that have a file of this kind."""
    return {path.stem for path in (common / "objects" / "pack").glob(f"*{suffix}")}


def git_object(kind, content):
    """Return an object and its name."""
    name = hashlib.sha1(b"%s %d\0" % (kind.encode(), len(content)) + content).digest()
    return name, GitObject(kind=KINDS[kind], content=content)


# --- the format -------------------------------------------------------------------


def test_git_reads_every_kind_and_size(project, common):
    """Whatever is in a pack of ours, git finds it under its name, and finds it sound."""
    tree = project.git("rev-parse", "HEAD^{tree}")
    person = "Ada <ada@example.org> 1700000000 +0100"
    commit = f"tree {tree}\nauthor {person}\ncommitter {person}\n\nsaid\n".encode()
    commit_name, commit_object = git_object("commit", commit)
    tag = f"object {commit_name.hex()}\ntype commit\ntag v1\ntagger {person}\n\nsaid\n".encode()
    objects = dict(git_object("blob", b"x" * size) for size in SIZES)
    objects |= dict([(commit_name, commit_object), git_object("tag", tag), git_object("tree", b"")])
    name = packs.write_new_pack(common, objects, durable=True)
    index = common / "objects" / "pack" / f"{name}.idx"
    listed = project.git("verify-pack", "-v", str(index))
    by_git = {line.split()[0]: line.split()[1:3] for line in listed.splitlines()}
    for raw_name, item in objects.items():
        kind = next(kind for kind, number in KINDS.items() if number == item.kind)
        assert by_git[raw_name.hex()] == [kind, str(len(item.content))]
    assert set(names_in(index.read_bytes())) == {raw_name.hex() for raw_name in objects}
    project.assert_sound()


def test_an_index_of_another_kind_is_refused():
    """Git has not written any since 2007."""
    with pytest.raises(ValueError, match="version 2"):
        list(names_in(b"\0" * 2000))
    _, index = encode_pack({})
    assert list(names_in(index)) == []


# --- collecting -------------------------------------------------------------------


def test_nothing_is_on_disk_before_it_is_written(project, common, place):
    """Only who opens the repository with it sees it; afterwards everybody does."""
    one, two = (place.attach(pygit2.Repository(str(common))) for _ in range(2))
    name = str(one.create_blob(b"new"))
    assert two[name].peel(pygit2.Blob).data == b"new"
    assert two.odb.read_header(name)[1] == 3
    assert name in two
    assert name not in pygit2.Repository(str(common))
    before = loose_objects(common)
    place.write()
    assert pygit2.Repository(str(common))[name].peel(pygit2.Blob).data == b"new"
    assert project.git("cat-file", "blob", name) == "new"
    assert loose_objects(common) == before
    assert place.kept_names() == {name}


def test_git_keeps_the_pack_until_it_is_released(project, common, place):
    """No ref names it yet, which would let ``git gc`` delete it."""
    repo = place.attach(pygit2.Repository(str(common)))
    name = str(repo.create_blob(b"new"))
    place.write()
    project.git("gc", "-q", "--prune=now")
    assert project.git("cat-file", "blob", name) == "new"
    assert place.release()
    assert not place.release()
    assert place.kept_names() == set()
    project.git("gc", "-q", "--prune=now")
    assert project.git("cat-file", "-e", name, check=False) == ""
    assert name not in pygit2.Repository(str(common))


def test_who_slept_until_the_pack_was_deleted_is_not_told_that_it_is_kept(common, place):
    """After an hour others release it, and git may tidy it up before the sleeper moves a ref."""
    name = str(place.attach(pygit2.Repository(str(common))).create_blob(b"new"))
    place.write()
    held = Held(pygit2.Repository(str(common)), place)
    assert held.keeps(name)
    (pack,) = packs_in(common, ".keep")
    packs.release_pack(common, pack)
    assert not held.keeps(name)


def test_what_git_has_is_not_written_again(project, common, place):
    """Git would have two copies to look after."""
    old = project.git("rev-parse", "HEAD:a.txt")
    content = project.folder.joinpath("a.txt").read_bytes()
    assert str(place.attach(pygit2.Repository(str(common))).create_blob(content)) == old
    place.write()
    assert place.kept_names() == set()


# --- saving and landing -----------------------------------------------------------


def test_a_save_and_a_landing_write_one_pack_each(project, trees, common):
    """No object becomes a file of its own, and nothing stays locked against git."""
    worktree = trees.create(agent="ada")
    for number in range(3):
        project.write({f"new_{number}.txt": f"{number}", "a.txt": f"{number}"}, worktree.path)
        before, loose = packs_in(common), loose_objects(common)
        trees.snapshot(worktree)
        assert len(packs_in(common) - before) == 1
        before = packs_in(common)
        trees.merge(worktree)
        assert len(packs_in(common) - before) == 1
        assert loose_objects(common) == loose
        assert packs_in(common, ".keep") == set()
    project.assert_sound()


def test_a_save_that_is_landed_at_once_takes_one_pack_for_both(project, trees, common):
    """The disk is waited for three times, not six."""
    worktree = trees.create(agent="ada")
    project.write({"new.txt": "new"}, worktree.path)
    before = packs_in(common)
    trees.merge(worktree)
    assert len(packs_in(common) - before) == 1
    assert project.git("show", "integration:new.txt") == "new"


def test_a_save_that_came_too_late_leaves_nothing_locked(project, trees, common):
    """And it can be tried again, although git may have deleted its objects."""
    worktree = trees.create(agent="ada")
    project.write({"a.txt": "early"}, worktree.path)
    early = trees._engine.prepare_snapshot(worktree)
    project.write({"a.txt": "late"}, worktree.path)
    trees.snapshot(worktree)
    for _ in range(2):
        with pytest.raises(RefMovedError):
            early.pin()
        assert packs_in(common, ".keep") == set()
        project.git("gc", "-q", "--prune=now")
    trees.snapshot(worktree)
    project.assert_sound()


def test_much_is_written_in_parts(project, trees, common, monkeypatch):
    """So that a save of many files takes little memory."""
    monkeypatch.setattr(staging, "MOST_BYTES", 1000)
    worktree = trees.create(agent="ada")
    files = {f"new_{number}.txt": f"{number}" * 400 for number in range(8)}
    project.write(files, worktree.path)
    before = packs_in(common)
    commit = trees.snapshot(worktree).commit
    assert len(packs_in(common) - before) == 3
    assert packs_in(common, ".keep") == set()
    for name, content in files.items():
        assert project.git("show", f"{commit}:{name}") == content
    project.assert_sound()


@pytest.mark.parametrize("attributes", ["", "*.sh -text", "*.sh text", "*.sh ident"])
def test_a_large_file_is_read_piece_by_piece(project, trees, common, monkeypatch, attributes):
    """Git would have made the same of it, also where it stores other bytes than the file has."""
    monkeypatch.setattr(snapshot_index, "LARGE_FILE_BYTES", 100)
    worktree = trees.create(agent="ada")
    project.write({".gitattributes": attributes, "small.txt": "y"}, worktree.path)
    large = Path(worktree.path, "large.sh")
    large.write_bytes(b"$Id: x$\r\n" + b"line\r\n" * 1000)
    large.chmod(0o755)
    before = loose_objects(common)
    commit = trees.snapshot(worktree).commit
    wanted = project.git("hash-object", "--path", "large.sh", "large.sh", cwd=worktree.path)
    listed = project.git("ls-tree", commit, "large.sh", "small.txt").splitlines()
    assert listed[0].split()[:3] == ["100755", "blob", wanted]
    assert listed[1].startswith("100644")
    assert not trees.snapshot(worktree).changed
    assert loose_objects(common) == before
    assert packs_in(common, ".keep") == set()
    project.assert_sound()


@pytest.mark.parametrize("size", SIZES)
def test_a_file_of_any_size_is_streamed_into_a_pack(project, common, tmp_path, monkeypatch, size):
    """In pieces, the last one shorter or not."""
    monkeypatch.setattr(packs, "_PIECE_BYTES", 1024)
    content = bytes(number % 251 for number in range(size))
    file = tmp_path / "large"
    file.write_bytes(content)
    pack, name = packs.write_file_pack(common, file, durable=True)
    assert packs.is_kept(common, pack)
    assert pygit2.Repository(common)[name].data == content
    project.git("verify-pack", str(common / "objects" / "pack" / f"{pack}.idx"))


def test_a_file_that_grows_while_it_is_read_makes_no_pack(common, tmp_path, monkeypatch):
    """Its size stands before it."""
    file = tmp_path / "log"
    file.write_bytes(b"one\n")

    class Growing(packs.PackOfOneFile):
        def head(self):
            file.write_bytes(b"one\ntwo\n")
            return super().head()

    monkeypatch.setattr(packs, "PackOfOneFile", Growing)
    before = sorted((common / "objects").rglob("*"))
    with pytest.raises(OSError, match="changed while it was read"):
        packs.write_file_pack(common, file, durable=True)
    assert sorted((common / "objects").rglob("*")) == before


def test_a_full_disk_keeps_the_save_from_being_named(project, trees, monkeypatch):
    """The one before is still the latest, and the next one goes through."""

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    worktree = trees.create(agent="ada")
    project.write({"a.txt": "one"}, worktree.path)
    first = trees.snapshot(worktree).commit
    project.write({"a.txt": "two"}, worktree.path)
    with monkeypatch.context() as patch:
        patch.setattr(staging, "write_new_pack", fail)
        with pytest.raises(GitFailedError, match="No space left"):
            trees.snapshot(worktree)
    ref = f"refs/vespera/wip/{worktree.name}"
    assert project.git("rev-parse", ref) == first
    second = trees.snapshot(worktree).commit
    assert project.git("show", f"{second}:a.txt") == "two"
    project.assert_sound()


def test_removing_a_saved_worktree_writes_no_pack(project, trees, common):
    """What its rescue ref is to name is on disk already: another ref names it."""
    worktree = trees.create(agent="ada")
    project.write({"new.txt": "new"}, worktree.path)
    saved = trees.snapshot(worktree)
    before = packs_in(common)
    trees.remove(worktree)
    assert packs_in(common) == before
    assert project.git("cat-file", "-t", saved.commit) == "commit"

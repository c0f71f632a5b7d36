"""Few bytes that stand for billions of files, or for gigabytes, are found out and not taken."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import FileMode, ObjectType

import vespera_orchestrator as vespera
from support.bounds import Tally
from support.git_project import git
from vespera_orchestrator.errors import UnsupportedRepositoryError
from vespera_orchestrator.worktrees import tree_merge
from vespera_orchestrator.worktrees.compatibility import CompatibilityCheck
from vespera_orchestrator.worktrees.crossed_histories import merge_bases
from vespera_orchestrator.worktrees.durability import new_in_tree
from vespera_orchestrator.worktrees.tree_survey import TreeSurvey, read_blob


@pytest.fixture
def repo(tmp_path):
    """An empty repository."""
    return pygit2.init_repository(tmp_path / "repo")


def folder_of(repo, *entries):
    """Write a tree of names and objects; what is no tree is a file."""
    builder = repo.TreeBuilder()
    for name, oid in entries:
        is_tree = oid in repo and isinstance(repo[oid], pygit2.Tree)
        builder.insert(name, oid, FileMode.TREE if is_tree else FileMode.BLOB)
    return builder.write()


def wide_and_deep(repo, files=(("f", b"x"),)):
    """Ten folders that each hold the same ten folders, and so on: ten thousand million of them."""
    tree = folder_of(repo, *((name, repo.create_blob(content)) for name, content in files))
    for _ in range(10):
        tree = folder_of(repo, *((f"d{number}", tree) for number in range(10)))
    return tree


def chain(repo, levels):
    """A folder in a folder in a folder."""
    tree = folder_of(repo, ("f", repo.create_blob(b"x")))
    for _ in range(levels):
        tree = folder_of(repo, ("a", tree))
    return tree


def giant(repo, path):
    """A file whose object says that it has five gigabytes; nobody comes to read them."""
    head = b"blob 5000000000\0"
    name = hashlib.sha1(head, usedforsecurity=False).hexdigest()
    file = Path(repo.path, "objects", name[:2], name[2:])
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(zlib.compress(head + bytes(100)))
    *folders, last = path.split("/")
    tree = raw_tree(repo, (b"100644", last, pygit2.Oid(hex=name)))
    for folder in reversed(folders):
        tree = raw_tree(repo, (b"40000", folder, tree))
    return tree


def raw_tree(repo, *entries):
    """Write a tree of modes, names and objects that are not looked at."""
    lines = [mode + b" " + name.encode() + b"\0" + oid.raw for mode, name, oid in entries]
    return repo.write(ObjectType.TREE, b"".join(lines))


BOMBS = {
    "billions of files": (wide_and_deep, "more than 1,000,000 files"),
    "billions of empty folders": (lambda repo: wide_and_deep(repo, ()), "1,000,000 files"),
    "a deep folder": (lambda repo: chain(repo, 300), "200 levels"),
    "a giant": (lambda repo: giant(repo, "big.bin"), r"5,000,000,000 bytes \(big\.bin\)"),
    "a giant document": (lambda repo: giant(repo, "docs/CHANGELOG.md"), r"docs/CHANGELOG\.md"),
    "giant attributes": (lambda repo: giant(repo, ".gitattributes"), r"\.gitattributes"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_by_what_it_is(repo, bomb):
    """With its path, where it is one file."""
    make, words = BOMBS[bomb]
    look = CompatibilityCheck(Path(repo.path)).size_bytes
    with pytest.raises(UnsupportedRepositoryError, match=words):
        look(repo, str(make(repo)))


def test_modes_of_old_programs_hide_no_folder(repo):
    """They wrote a zero in front, and libgit2 reads them as the same."""
    below = wide_and_deep(repo)
    with pytest.raises(UnsupportedRepositoryError, match="files"):
        TreeSurvey().contents(repo, raw_tree(repo, (b"040000", "d", below)).raw)


def test_what_a_tree_holds_is_summed_up(repo):
    """Each folder counts as often as it is there."""
    blob, attributes = repo.create_blob(b"four"), repo.create_blob(b"* text\n")
    below = folder_of(repo, ("a", blob), (".gitattributes", attributes))
    tree = folder_of(repo, ("one", below), ("two", below), ("b", blob)).raw
    survey = TreeSurvey()
    contents = survey.contents(repo, tree)
    assert (contents.paths, contents.levels) == (7, 1)
    places = [("one/.gitattributes", attributes.raw), ("two/.gitattributes", attributes.raw)]
    assert list(contents.attributes) == places
    assert survey.size_bytes(repo, tree) == 3 * 4 + 2 * len(b"* text\n")


def crossed(repo, *levels):
    """Commit the trees of the first level, then each tree of the next as a merge of all, and so on.

    Return two commits of the last level.
    """
    ada = pygit2.Signature("Ada", "ada@example.org")
    tips = [repo.head.target]
    for number, trees in enumerate(levels):
        tips = [
            repo.create_commit(None, ada, ada, f"{number} {place}", tree, tips)
            for place, tree in enumerate(trees)
        ]
    return str(tips[0]), str(tips[1])


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("verb", ["merge", "catch_up"])
def test_a_bomb_among_the_bases_of_crossed_histories_is_refused(project, trees, place, verb):
    """Neither side has it any more, and libgit2 merges what both have had."""
    worktree = trees.create("work")
    repo = pygit2.Repository(project.folder)
    one, two, old = (folder_of(repo, (name, repo.create_blob(b"1"))) for name in "abc")
    before = [old, old]
    before[place] = folder_of(repo, ("zz", wide_and_deep(repo)))
    ours, theirs = crossed(repo, before, [one, two])
    git(project.folder, "update-ref", "refs/heads/integration", ours)
    git(worktree.path, "reset", "-q", "--hard", theirs)
    with pytest.raises(UnsupportedRepositoryError, match="more than 1,000,000 files"):
        getattr(trees, verb)("work")


def test_the_bases_of_crossed_histories_are_all_found_and_counted(project):
    """Those of two branches, also one level further down; of three, more than libgit2 can merge."""
    repo = pygit2.Repository(project.folder)
    tree = repo.head.peel(pygit2.Tree).id
    assert len(merge_bases(repo, *crossed(repo, *[[tree] * 2] * 2), "main")) == 3
    assert len(merge_bases(repo, *crossed(repo, *[[tree] * 2] * 3), "main")) == 5
    with pytest.raises(UnsupportedRepositoryError, match=r"24 commits.* merge the branch 'main'"):
        merge_bases(repo, *crossed(repo, *[[tree] * 3] * 40), "main")


def test_a_large_file_is_not_read(repo):
    """Its size is known before."""
    (entry,) = repo[giant(repo, "big")]
    with pytest.raises(pygit2.GitError, match="5,000,000,000 bytes"):
        read_blob(repo, str(entry.id))
    assert read_blob(repo, str(repo.create_blob(b"four")), 4) == b"four"


@pytest.mark.parametrize("bomb", list(BOMBS)[:3])
def test_comparing_and_holding_a_bomb_ends(repo, bomb, monkeypatch):
    """The first refuses; the second has each object once."""
    monkeypatch.setattr(tree_merge, "MOST_CHANGES", 1000)
    make, _ = BOMBS[bomb]
    empty, tree = folder_of(repo), make(repo)
    with pytest.raises(pygit2.GitError, match="differ"):
        tree_merge.changes(repo, repo[empty], repo[tree])
    assert len(list(new_in_tree(repo, tree.raw, [empty.raw]))) < 400


@pytest.mark.parametrize("depth", ["wide", "deep"])
def test_a_bomb_with_a_hole_keeps_nobody_busy(project, trees, depth):
    """A ref that says to be ours may name one: nobody counts what it lacks, or writes the rest."""
    trees.create("work")
    repo = pygit2.Repository(project.folder)
    tree = raw_tree(repo, (b"100644", "f", pygit2.Oid(hex="12" * 20)))
    for _ in range({"wide": 10, "deep": 2000}[depth]):
        names = "0123456789" if depth == "wide" else "0"
        tree = folder_of(repo, *((name, tree) for name in names))
    message = "snapshot\n\nWorktree: work\nBranch: feature/work\n"
    commit = git(project.folder, "commit-tree", str(tree), "-p", "HEAD", "-m", message)
    git(project.folder, "update-ref", "refs/vespera/wip/work", commit)
    tally = Tally()
    for verb in ("repair", "forecast", "list"):
        tally.call(verb, getattr(trees, verb))
    tally.judge("a bomb with a hole")


def test_a_bomb_on_the_branch_stops_no_call(project):
    """Whatever looks at the branch says so, soon."""
    repo = pygit2.Repository(project.folder)
    tally = Tally()
    with vespera.open(project.folder, durability="normal") as orch:
        orch.initialize_session("x", project_type="software_development")
        orch.plan_tasks([{"title": "A"}, {"title": "B"}])
        work = orch.execute_task("a", worktree=True)
        (work.path / "n").write_text("n")
        work.checkpoint({})
        tree = folder_of(repo, ("zz", wide_and_deep(repo)))
        bomb = git(project.folder, "commit-tree", str(tree), "-p", "HEAD", "-m", "bomb")
        git(project.folder, "update-ref", "refs/heads/integration", bomb)
        for name, call in {
            "forecast": orch.worktrees.forecast,
            "catch_up": lambda: orch.worktrees.catch_up("a"),
            "complete": lambda: work.complete(summary="s", detailed_work="d"),
            "start": lambda: orch.execute_task("b", worktree=True),
            "documents": orch.documents.update,
            "status": lambda: str(orch.get_status()),
            "resume": lambda: str(orch.resume()),
        }.items():
            tally.call(name, call)
    tally.judge("a bomb on the branch")

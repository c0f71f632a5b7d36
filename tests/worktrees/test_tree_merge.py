"""Merging path by path gives what a merge of the whole gives, or says that it cannot tell."""

from __future__ import annotations

import pygit2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pygit2.enums import FileMode

from vespera_orchestrator.worktrees import tree_merge

NAMES = ("a", "b", "d", "d/a", "d/b", "d/e", "d/e/c", "f/g/h", "f/g/i", "ö")
TEXTS = (
    "",
    "1\n2\n3\n",
    "1\n2\nthree\n",
    "one\n2\n3\n",
    "one\n2\nthree\n",
    "x\n" * 30,
    "x\n" * 29 + "y\n",
)
MODES = (FileMode.BLOB, FileMode.BLOB, FileMode.BLOB_EXECUTABLE, FileMode.LINK)
FILES = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.sampled_from(TEXTS), st.sampled_from(MODES)), max_size=7
)
CHANGED = st.dictionaries(
    st.sampled_from(NAMES),
    st.none() | st.tuples(st.sampled_from(TEXTS), st.sampled_from(MODES)),
    max_size=4,
)


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """Return an empty repository."""
    return pygit2.init_repository(str(tmp_path_factory.mktemp("by path")), bare=True)


def tree(repo, files):
    """Write a tree; of a file and a folder with one name the folder stays."""
    index = pygit2.Index()
    for path, file in files.items():
        if file is not None and not any(
            other.startswith(f"{path}/") and files[other] for other in files
        ):
            index.add(pygit2.IndexEntry(path, repo.create_blob(file[0].encode()), file[1]))
    return repo[index.write_tree(repo)]


@settings(max_examples=400, deadline=None)
@given(base=FILES, mine=CHANGED, theirs=CHANGED)
def test_the_same_as_a_merge_of_the_whole(repo, base, mine, theirs):
    """Whatever two sides did: the tree is the one that libgit2's merge of all files writes; where
    that conflicts, there is none.
    """
    trees = [tree(repo, files) for files in (base, {**base, **mine}, {**base, **theirs})]
    merged = tree_merge.merged_tree(tree_merge.FileMerges(repo), *trees)
    whole = repo.merge_trees(*trees)
    if whole.conflicts is not None:
        assert merged is None
    elif merged is not None:
        assert merged == str(whole.write_tree(repo))


def test_most_merges_need_no_look_at_the_whole(repo):
    """Changes of different files, of one file in different places, new and removed ones are merged
    path by path; renames are not.
    """
    base = {
        "a": (TEXTS[1], FileMode.BLOB),
        "d/b": (TEXTS[5], FileMode.BLOB),
        "d/e/c": ("c", FileMode.BLOB),
    }
    for mine, theirs, told in (
        ({"a": (TEXTS[2], FileMode.BLOB)}, {"a": (TEXTS[3], FileMode.BLOB), "d/b": None}, True),
        ({"a": None}, {"d/e/c": None, "n/m": ("new", FileMode.BLOB)}, True),
        ({"d/b": None, "x": (TEXTS[5], FileMode.BLOB)}, {"d/b": (TEXTS[6], FileMode.BLOB)}, False),
        ({"a": (TEXTS[2], FileMode.BLOB)}, {"a": ("else", FileMode.BLOB)}, False),
    ):
        trees = [tree(repo, files) for files in (base, {**base, **mine}, {**base, **theirs})]
        assert (tree_merge.merged_tree(tree_merge.FileMerges(repo), *trees) is not None) == told


@pytest.mark.parametrize(
    "attribute", ["-merge", "merge=binary", "binary", "merge=text", "merge=union", "-text"]
)
def test_what_must_not_be_merged_as_text_is_not(tmp_path, attribute):
    """A file that ``.gitattributes`` keep from being merged line by line is a conflict where both
    sides changed it, as in git.
    """
    repo = pygit2.init_repository(str(tmp_path))
    tmp_path.joinpath(".gitattributes").write_text(f"a {attribute}\n")
    trees = [tree(repo, {"a": (TEXTS[at], FileMode.BLOB)}) for at in (1, 2, 3)]
    whole = repo.merge_trees(*trees)
    merged = tree_merge.merged_tree(tree_merge.FileMerges(repo), *trees)
    assert merged == (None if whole.conflicts is not None else str(whole.write_tree(repo)))
    assert (merged is None) == (attribute in {"-merge", "merge=binary", "binary"})


def test_modes_as_old_programs_wrote_them(repo):
    """With a zero before the mode of a folder, which git takes for the same."""
    files = {"d/a": ("1\n", FileMode.BLOB), "b": ("2\n", FileMode.BLOB)}
    base, other = tree(repo, files), tree(repo, {**files, "d/a": ("one\n", FileMode.BLOB)})
    content = repo.read(other.id)[1].replace(b"40000 d", b"040000 d")
    old_style = repo[repo.write(pygit2.enums.ObjectType.TREE, content)]
    assert old_style.id != other.id
    assert tree_merge.changes(repo, base, old_style) == tree_merge.changes(repo, base, other)

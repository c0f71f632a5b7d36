"""Names of worktrees: plain, short, and free on every file system; without git."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_orchestrator.errors import GitFailedError, InvalidInputError
from vespera_orchestrator.worktrees import naming


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("task_d", "task_d"),
        ("Ada Lovelace", "Ada_Lovelace"),
        ("../../evil", "evil"),
        ("a/b\\c:d", "a_b_c_d"),
        ("-rf", "rf"),
        ("", "worktree"),
        ("...", "worktree"),
        ("o\u0308dd", "ödd"),
        ("x" * 300, "x" * 120),
        ("ö" * 100, "ö" * 60),
    ],
)
def test_a_name_is_plain(text, name):
    """Word characters and hyphens, in one form, and short enough for a number behind it."""
    assert naming.plain_name(text) == name


@given(st.text())
def test_a_name_leads_out_of_no_folder(text):
    """Whatever a title or an agent's name holds."""
    name = naming.plain_name(text)
    assert name
    assert not {"/", "\\", ".", "\0", ":"} & set(name)
    assert not name.startswith("-")
    assert len(name.encode()) <= naming._NAME_MAX_BYTES


@pytest.mark.parametrize(
    ("ref", "clashes"),
    [
        ("refs/heads/a", True),
        ("refs/heads/A", True),
        ("refs/heads/b", True),
        ("refs/heads/b/c/d", False),
        ("refs/heads/c", False),
    ],
)
def test_branches_that_are_one_to_git_or_to_a_file_system_clash(ref, clashes):
    """Letter case does not tell two apart, and no branch lies below another one."""
    assert naming._clashes(ref, ["refs/heads/a", "refs/heads/b/c"]) == clashes


def test_a_branch_below_an_existing_one_is_refused_with_the_remedy():
    """Git cannot have both."""
    with pytest.raises(GitFailedError, match=r"the branch 'feature' exists.*branch_prefix"):
        naming._refuse_shadowed_branch("feature/one", ["refs/heads/feature"])
    naming._refuse_shadowed_branch("feature/one", ["refs/heads/features"])


def test_a_branch_that_exists_cannot_be_chosen():
    """Nor one that exists in another letter case."""
    with pytest.raises(InvalidInputError, match="letter case ignored"):
        naming._refuse_taken_branch("One", ["refs/heads/one"])


def test_an_empty_folder_is_told_from_all_else(tmp_path):
    """A link to an empty folder is somebody's link."""
    empty, full, link = (tmp_path / name for name in ("empty", "full", "link"))
    empty.mkdir()
    full.mkdir()
    full.joinpath("a").touch()
    link.symlink_to(empty)
    places = (empty, full, link, full / "a", tmp_path / "nothing")
    assert [naming.is_empty_folder(place) for place in places] == [True, *[False] * 4]

"""Where the home is, read from git's files by hand: no git is run, and no library loaded."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator._model import HomeSource
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.locate import HOME_NAME, Home, git_common_dir, main_folder


def lay_out(root, files):
    """Write files below a folder; a name that ends with a slash is a folder."""
    for name, text in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(root=root), "utf-8")


LAYOUTS = {
    "no repository": ({"src/": ""}, "src", None, None),
    "a repository": ({"p/.git/": "", "p/src/": ""}, "p/src", "p/.git", "p"),
    "a linked worktree": (
        {
            "p/.git/worktrees/w/commondir": "../..\n",
            "w/.git": "gitdir: {root}/p/.git/worktrees/w\n",
        },
        "w",
        "p/.git",
        "p",
    ),
    "a linked worktree, by a relative path": (
        {"p/.git/worktrees/w/commondir": "../..", "w/.git": "gitdir: ../p/.git/worktrees/w"},
        "w",
        "p/.git",
        "p",
    ),
    "a submodule": (
        {
            "p/.git/modules/sub/config": "[core]\n\tworktree = ../../../sub\n",
            "p/sub/.git": "gitdir: ../.git/modules/sub\n",
        },
        "p/sub",
        "p/.git/modules/sub",
        "p/sub",
    ),
    "a separate git directory": (
        {"g/config": '[core]\n\tworktree = "{root}/p"\n', "p/.git": "gitdir: {root}/g\n"},
        "p",
        "g",
        "p",
    ),
    "a bare repository": (
        {"b.git/HEAD": "ref", "b.git/objects/": "", "b.git/refs/": ""},
        "b.git",
        "b.git",
        "b.git",
    ),
    "a folder that looks like a bare repository in somebody's tree": (
        {"p/.git/config": "", "p/b/HEAD": "ref", "p/b/objects/": "", "p/b/refs/": ""},
        "p/b",
        "p/.git",
        "p",
    ),
    "a worktree whose repository is gone": (
        {"w/.git": "gitdir: {root}/gone/.git/worktrees/w\n"},
        "w",
        None,
        None,
    ),
    "a file that is none of git's": ({"w/.git": "hello\n"}, "w", None, None),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_repository_is_found_through_its_files(tmp_path, name):
    """From any worktree and any folder, its common directory and the project's folder."""
    files, start, common, project = LAYOUTS[name]
    lay_out(tmp_path, files)
    found = git_common_dir(tmp_path / start)
    assert found == (None if common is None else tmp_path / common)
    if found is not None:
        assert main_folder(found) == tmp_path / project
        assert Home.locate(tmp_path / start).path == tmp_path / project / HOME_NAME


def test_a_call_wins_over_the_environment_and_that_over_the_folder(tmp_path, monkeypatch):
    """The home that is named is taken; its project is the folder around it, if it has the name."""
    lay_out(tmp_path, {"p/.git/": "", "other/.task_orchestrator/": "", "apart/": ""})
    start = tmp_path / "p"
    assert Home.locate(start).path == start / HOME_NAME
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_HOME", str(tmp_path / "other" / HOME_NAME))
    assert Home.locate(start).path == start / HOME_NAME
    monkeypatch.chdir(start)
    home = Home.locate()
    assert (home.path, home.project) == (tmp_path / "other" / HOME_NAME, tmp_path / "other")
    home = Home.locate(start, home=tmp_path / "apart")
    assert (home.path, home.project) == (tmp_path / "apart", start)


def test_without_a_repository_the_nearest_home_upward_is_taken(tmp_path):
    """And where there is none, the folder itself has one to be."""
    lay_out(tmp_path, {"p/.task_orchestrator/": "", "p/deep/er/": "", "q/": ""})
    assert Home.locate(tmp_path / "p" / "deep" / "er").project == tmp_path / "p"
    assert Home.locate(tmp_path / "q").project == tmp_path / "q"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "p"),
        ({"p/deep/pyproject.toml": ""}, "p/deep/er"),
        ({"p/deep/er/package.json": ""}, "p/deep/er"),
        ({"p/package.json": ""}, "p"),
        ({"p/.hg/": "", "p/deep/er/package.json": ""}, "p"),
        ({"p/deep/.svn/": ""}, "p/deep/er"),
        ({"p/deep/.task_orchestrator/": "", "p/deep/pyproject.toml": ""}, "p/deep"),
    ],
)
def test_a_home_above_is_that_of_the_same_project_only(tmp_path, files, found):
    """A project that only lies in the folder of another one has a home of its own."""
    lay_out(tmp_path, {"p/.task_orchestrator/": "", "p/deep/er/": "", **files})
    home = Home.locate(tmp_path / "p/deep/er")
    assert home.project == tmp_path / found
    is_here = found == "p/deep/er"
    assert home.source is (HomeSource.HERE if is_here else HomeSource.ABOVE)


def test_folders_of_all_kinds_of_things_are_no_project_for_those_in_them(tmp_path, monkeypatch):
    """The person's own folder, what is above it, and folders that everybody may write. Who is in
    one of them means it.
    """
    lay_out(tmp_path, {".task_orchestrator/": "", "me/.task_orchestrator/": "", "me/notes/a/": ""})
    lay_out(tmp_path, {"all/.task_orchestrator/": "", "all/mine/": ""})
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "all").chmod(0o1777)
    for start in ("me/notes/a", "me/notes", "me", ".", "all"):
        assert Home.locate(tmp_path / start).source is HomeSource.HERE
    assert Home.locate(tmp_path / "all/mine").source is HomeSource.HERE
    (tmp_path / "me/pyproject.toml").touch()  # as in a container, where they are the same
    assert Home.locate(tmp_path / "me/notes").project == tmp_path / "me"


def test_it_is_known_how_a_home_was_found(tmp_path, monkeypatch):
    """By the call, by the environment, by git, or because one is there."""
    lay_out(tmp_path, {"p/.git/": "", "p/src/": "", "q/": ""})
    assert Home.locate(tmp_path / "p/src").source is HomeSource.REPOSITORY
    assert Home.locate(tmp_path / "p").source is HomeSource.HERE
    assert Home.locate(tmp_path / "q", home=tmp_path / "h").source is HomeSource.CALL
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_HOME", str(tmp_path / "h"))
    monkeypatch.chdir(tmp_path / "q")
    assert Home.locate().source is HomeSource.ENVIRONMENT


def test_looking_for_a_home_makes_nothing(tmp_path):
    """It is made by `create`, as often as that is called, and by several at once."""
    home = Home.locate(tmp_path)
    assert [*tmp_path.iterdir()] == []
    home.create()
    before = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    home.create()
    assert {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("wrong", [5, b"/tmp", None])
def test_what_is_no_path_is_refused(wrong):
    """The error names the argument."""
    with pytest.raises(InvalidInputError, match="path"):
        Home.locate(wrong)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    """Nothing is made for a name that was mistyped."""
    with pytest.raises(InvalidInputError, match="is not a folder"):
        Home.locate(tmp_path / "mistyped")


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": "~no-such-user/x"},
        {"path": "\0"},
        {"path": "\ud800"},
        {"home": "~no-such-user/x"},
        {"store": "sqlite:///~no-such-user/x.db"},
    ],
    ids=["user", "nul", "surrogate", "home", "store"],
)
def test_a_path_that_cannot_be_used_is_told(arguments, tmp_path, monkeypatch):
    """A user who does not exist, and letters that no path can have, are errors of ours."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match="cannot be used"):
        vespera.open(**arguments)
    with pytest.raises(InvalidInputError):
        Home.locate("\0")

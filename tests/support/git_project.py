"""A git repository for tests, with a home and worktrees in it; the git command line is the
judge.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pygit2
import pytest

from support.rooms import worktrees_in
from support.stores import start_session
from vespera_orchestrator._model import TaskDraft
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.stores.sqlite import SQLiteStore
from vespera_orchestrator.worktrees.packs import UNFINISHED_PREFIX

SESSION = "s_000000000001"
ODD = "ödd \t\n\"'* -名.txt"


def git(folder, *arguments, check=True, text=None):
    """Run git in *folder* as Ada; return what it prints, without the last line's end."""
    ada = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    run = subprocess.run(
        ["git", *ada, *arguments],
        cwd=folder,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        capture_output=True,
        check=False,
        input=text,
    )
    assert run.returncode == 0 or not check, run.stderr.decode()
    return run.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def make_repository(folder, files):
    """Make a repository with one commit on ``main`` that has these files; return its folder.

    Done within the process: git would be started four times for each of a thousand tests.
    """
    repository = pygit2.init_repository(folder, initial_head="main")
    write(folder, files)
    index = repository.index
    index.add_all()
    index.write()
    ada = pygit2.Signature("Ada", "ada@example.org")
    repository.create_commit("HEAD", ada, ada, "first", index.write_tree(), [])
    repository.free()
    return folder


def write(folder, files):
    """Write these files below *folder*."""
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


class Project:
    """A repository with one commit, a home, and worktrees in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def git(self, *arguments, cwd=None, check=True, text=None):
        return git(cwd or self.folder, *arguments, check=check, text=text)

    def write(self, files, folder=None):
        write(folder or self.folder, files)

    def commit(self, message, files=None, folder=None):
        self.write(files or {}, folder)
        self.git("add", "-A", cwd=folder)
        self.git("commit", "-qm", message, cwd=folder)
        return self.git("rev-parse", "HEAD", cwd=folder)

    def open(self, config=None, agent="main"):
        home = Home.locate(self.folder).create()
        if config is not None:
            home = Home(path=home.path, project=home.project, config=config)
        store = SQLiteStore.open(home.database)
        self.stores.append(store)
        if store.find_session(SESSION) is None:
            start_session(store, SESSION)
            store.plan(
                SESSION,
                [TaskDraft(title=title, alias=title) for title in ("work", "other", "fresh")],
            )
        return worktrees_in(Scope(home, store, agent=agent, session_id=SESSION))

    stores: list[SQLiteStore]

    def assert_sound(self):
        """Let the git command line judge."""
        fsck = subprocess.run(
            ["git", "fsck", "--strict", "--no-dangling"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert fsck.returncode == 0, fsck.stdout + fsck.stderr
        assert not [
            line
            for line in (fsck.stdout + fsck.stderr).splitlines()
            if "missing" in line or "error" in line
        ]
        for path in self.folder.joinpath(".git").rglob("*.lock"):
            # A pack that was never finished is removed when nobody can be writing it any more.
            if not path.parent.name.startswith(UNFINISHED_PREFIX):
                pytest.fail(f"{path} was left")

    def listed(self):
        blocks = self.git("worktree", "list", "--porcelain").split("\n\n")
        return {block.split("\n")[0].removeprefix("worktree "): block for block in blocks if block}


@pytest.fixture
def identity(monkeypatch, tmp_path):
    """Git knows who commits, and nothing of the machine's own configuration."""
    config = tmp_path / "gitconfig"
    config.write_text(
        "[user]\n\tname = Ada\n\temail = ada@example.org\n"
        "[init]\n\tdefaultBranch = main\n"
        "[gc]\n\tauto = 0\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def make(tmp_path, identity):  # noqa: ARG001 - git must know who commits
    """Return a function that makes projects; what they opened is closed."""
    stores = []

    def make_project(*init, name="project", files=None):
        project = Project(tmp_path / name)
        project.stores = stores
        if init or files is None:
            project.git("init", "-q", *init)
            if files is not None:
                project.commit("first", files)
        else:
            make_repository(project.folder, files)
        return project

    yield make_project
    for store in stores:
        store.close()


@pytest.fixture
def project(make):
    """Return a project with a few files."""
    return make(
        files={
            "a.txt": "one\ntwo\nthree\n",
            "src/b.py": "b = 1\n",
            ".gitignore": "*.log\nbuild/\n",
            "gone.txt": "x\n",
        }
    )


@pytest.fixture
def trees(project):
    """Return the worktrees of the project."""
    return project.open()


def files_of(folder):
    """Return every file below *folder* but git's own: what kind it is, whether it is executable,
    and what it holds.
    """
    found = {}
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        folders[:] = [name for name in folders if name not in (".git", ".task_orchestrator")]
        for path in (Path(place, name) for name in (*names, *links) if name != ".git"):
            content = (
                ("link", str(path.readlink()))
                if path.is_symlink()
                else (bool(path.stat().st_mode & 0o100), path.read_bytes())
            )
            found[os.fsencode(path.relative_to(folder))] = content
    return found


def fingerprint(project):
    """Return everything of the user's checkout that must stay: index, HEAD, stash, files, status,
    times.
    """
    git_dir = project.folder / ".git"
    parts = [
        git_dir.joinpath(name).read_bytes()
        for name in ("index", "HEAD", "refs/stash", "logs/HEAD", "config")
    ]
    times = [
        (str(p), p.lstat().st_mtime_ns)
        for p in sorted(project.folder.rglob("*"))
        if not p.is_relative_to(git_dir) and p.is_file()
    ]
    times = [entry for entry in times if ".task_orchestrator" not in entry[0]]
    parts += [
        repr(files_of(project.folder)).encode(),
        repr(times).encode(),
        project.git("status", "--porcelain", "-uall").encode(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()

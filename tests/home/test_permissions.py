"""A home is its user's alone, or its group's on request: every file, whoever makes it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.home.config import ENV_ACCESS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")

OTHER_UID = 54321
WORK = """
import os, sys, tempfile
import vespera_orchestrator as vespera

def work(folder, name):
    with vespera.open(folder, agent=name, embedder="none") as orch:
        if not orch.list_sessions():
            orch.initialize_session("x")
        with orch.execute_task(orch.plan_task(f"By {name}")) as work:
            work.checkpoint({"a": 1}, "half")
            work.complete(summary="done", detailed_work=f"The work of {name}, a kettle.")
        orch.share_context(**{name: 1})
        if searching == "search":
            assert orch.artifacts.search("kettle")
        assert str(orch.resume())
        errors = [finding.sentence for finding in orch.check().errors]
        print(len(orch.artifacts.list()), errors)

folder, name, uid, gid, searching = sys.argv[1:]
with tempfile.TemporaryDirectory() as rehearsal:
    work(rehearsal, name)  # what is imported later may be where only root can read
os.setgroups([])
os.setgid(int(gid))
os.setuid(int(uid))
os.umask(0o022)
work(folder, name)
"""


@pytest.fixture(autouse=True)
def usual_mask():
    """New files can be read by everybody, unless somebody cares."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def work_in(folder):
    """Let a home get every kind of file."""
    with vespera.open(folder, embedder="none") as orch:
        orch.initialize_session("x", project_type="software_development")
        orch.complete_task(orch.plan_task("A"), summary="s", detailed_work="a kettle")
        orch.artifacts.search("kettle")
        orch.pause("later")
        orch.export(folder / "x.jsonl")
        orch.backup(folder / "backup")
        return {path: stat.S_IMODE(path.lstat().st_mode) for path in orch.home.rglob("*")}


def rights_of(path):
    """Return the rights of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_is_closed_to_everybody_else(tmp_path):
    """While it is open as well: the log of the database, locks, contents, settings.

    What LanceDB writes has the usual rights, in folders that nobody else can enter.
    """
    modes = work_in(tmp_path)
    home = tmp_path / ".task_orchestrator"
    assert rights_of(home) == 0o700
    names = {path.name for path in modes}
    assert {"orchestrator.db-wal", "orchestrator.db-shm", "config.toml"} <= names
    index = home / "index.lance"
    open_to_others = {
        path.relative_to(home): oct(mode)
        for path, mode in modes.items()
        if mode & 0o077 and index not in path.parents
    }
    assert open_to_others == {}
    assert rights_of(tmp_path / "x.jsonl") == 0o600
    backup = tmp_path / "backup"
    assert rights_of(backup) == 0o700
    assert not [path for path in backup.rglob("*") if path.stat().st_mode & 0o077]


def test_what_is_not_the_homes_has_the_usual_rights(tmp_path):
    """Documents are the project's."""
    work_in(tmp_path)
    [document, *_] = (tmp_path / "docs").glob("*.md")
    assert rights_of(document) == 0o644


def test_a_home_of_an_earlier_version_is_closed_when_it_is_opened(tmp_path):
    """Also the files that it has."""
    work_in(tmp_path)
    home = tmp_path / ".task_orchestrator"
    for path in (home, *home.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    vespera.open(tmp_path).close()
    assert rights_of(home) == 0o700
    assert not [path for path in home.rglob("*") if path.stat().st_mode & 0o077]


def test_a_stranger_s_home_does_not_open_itself_to_the_group(tmp_path):
    """The setting is a power, which a home that came with a repository does not have."""
    home = tmp_path / "clone" / ".task_orchestrator"
    home.mkdir(parents=True)
    (home / "config.toml").write_text('access = "group"\n')
    subprocess.run(["git", "init", "-q", home.parent], check=True)
    subprocess.run(["git", "-C", home.parent, "add", "-f", "."], check=True)
    vespera.open(home.parent).close()
    assert rights_of(home) == 0o700


def run_as(uid, gid, folder, name, searching):
    """Work in a home as another user, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", WORK, str(folder), name, str(uid), str(gid), searching],
        env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / name)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("searching", ["", pytest.param("search", marks=pytest.mark.soak)])
def test_two_users_of_one_group_work_in_one_home(monkeypatch, searching):
    """They take turns: rows, contents, locks, and at length the index. Nobody else gets in."""
    monkeypatch.setenv(ENV_ACCESS, "group")
    group = 54300
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        for turn, agent in enumerate(("ada", "bob", "ada", "bob"), 1):
            run = run_as(OTHER_UID + (agent == "bob"), group, folder, agent, searching)
            assert run.returncode == 0, run.stderr[-1500:]
            assert run.stdout.splitlines()[-1] == f"{turn} []"
        stranger = run_as(OTHER_UID + 2, group + 1, folder, "eve", searching)
        assert stranger.returncode != 0
        assert "vespera_orchestrator.errors" in stranger.stderr


LOOK = """
with vespera.open(folder) as orch:
    home = orch._rooms.scope.home
    print(home.is_trusted, home.config.worktrees.check)
"""
AS_ANOTHER = """
import os, sys
from pathlib import Path
import vespera_orchestrator as vespera

folder, uid, gid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
vespera.open(sys.argv[4]).close()  # what is imported later may be where only root can read
os.setgroups([])
os.setgid(gid)
os.setuid(uid)
"""


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can be two users")
def test_a_member_of_the_group_gives_the_home_no_powers_on_your_side(tmp_path):
    """The files stay yours when somebody else writes in them; you are asked, nobody is shut out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        home = folder / ".task_orchestrator"

        def run(script):
            """Run a script as the owner."""
            user = {"HOME": name, "XDG_CONFIG_HOME": str(folder / "settings")}
            command = [sys.executable, "-c", AS_ANOTHER + script, name, str(OTHER_UID), "54300"]
            answer = subprocess.run(
                [*command, str(tmp_path)],
                env={**os.environ, **user},
                capture_output=True,
                text=True,
                check=False,
            )
            assert answer.returncode == 0, answer.stderr
            return answer.stdout.strip()

        home.mkdir()
        (home / "config.toml").write_text('access = "group"\n')
        for path in (home, home / "config.toml"):
            os.chown(path, OTHER_UID, 54300)
        assert run(LOOK) == "True None"
        assert rights_of(home) == 0o2770
        with (home / "config.toml").open("a") as config:  # as anybody in the group can
            config.write('[worktrees]\ncheck = "echo mine"\n')
        assert run(LOOK) == "False None"
        assert rights_of(home) == 0o2770
        assert run("vespera.trust(folder)" + LOOK) == "True echo mine"

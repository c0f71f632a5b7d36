"""What a call names wins over the environment, and the environment over what lies in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.home.locate import Home


@pytest.fixture
def projects(tmp_path):
    """Two projects, each with a home and a session."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with vespera.open(tmp_path / name) as orch:
            orch.initialize_session(f"goal of {name}")
            orch.plan_task(f"task of {name}")
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def environment_of_a(projects, monkeypatch):
    """This process has the environment that an agent of project A inherits."""
    with vespera.open(projects[0]) as orch:
        context = orch.spawn_agent_with_context(agent="kid")
        for name, value in context.environ({}).items():
            monkeypatch.setenv(name, value)
        return orch.current_session()


def content_of(folder):
    """Return every file below *folder* with its bytes, but not the database's helper files."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "orchestrator.db-shm"
    }


# --- which home -----------------------------------------------------------------


@pytest.mark.usefixtures("environment_of_a")
@pytest.mark.parametrize("by", ["path", "home"])
def test_a_project_that_the_call_names_is_opened_with_all_that_is_its_own(
    projects, by, monkeypatch
):
    """Neither home, store, session, contents nor embedder of the environment's project."""
    a, b = projects
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_CONTENT", f"file://{a}/elsewhere")
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_EMBEDDER", "none")
    before = content_of(a)
    words = {"path": b} if by == "path" else {"home": b / ".task_orchestrator"}
    with vespera.open(**words) as orch:
        assert orch.project == b
        assert orch.home == b / ".task_orchestrator"
        assert orch._store.url == f"sqlite:///{b}/.task_orchestrator/orchestrator.db"
        assert orch.current_session().goal == "goal of b"
        assert orch._scope.embedder == "auto"
        assert orch.agent == "kid"  # who is calling does not depend on the project
        orch.complete_task("task_of_b", summary="s", detailed_work="the work")
        [artifact] = orch.artifacts.list()
    assert content_of(a) == before
    with vespera.open(home=b / ".task_orchestrator") as orch:
        assert orch.artifacts.text(artifact) == "the work"


@pytest.mark.usefixtures("environment_of_a")
def test_a_folder_without_a_home_gets_its_own(projects, tmp_path):
    """Also where nothing was there yet."""
    (tmp_path / "c").mkdir()
    with vespera.open(tmp_path / "c") as orch:
        assert orch.home == tmp_path / "c" / ".task_orchestrator"
        assert orch.next_step().action == "initialize"
    assert len(content_of(projects[0] / ".task_orchestrator" / "artifacts")) == 0


def test_the_environment_s_own_project_may_be_named(projects, environment_of_a, monkeypatch):
    """By its folder, a folder in it, or its home: the environment's session counts."""
    a, b = projects
    with vespera.open(a) as orch:
        orch.initialize_session("a later one")  # the active session is another
    (a / "deep").mkdir()
    monkeypatch.chdir(b)
    for words in ({"path": a}, {"path": a / "deep"}, {"home": a / ".task_orchestrator"}, {}):
        with vespera.open(**words) as orch:
            assert orch.project == a
            assert orch.current_session() == environment_of_a


def test_a_home_elsewhere_is_still_that_of_its_project(tmp_path, monkeypatch):
    """The home that the environment names is meant when the call names its project."""
    project, home = tmp_path / "project", tmp_path / "homes" / "x"
    (project / "deep").mkdir(parents=True)
    vespera.open(project, home=home).close()
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_HOME", str(home))
    assert Home.locate(project).path == home
    assert Home.locate(project / "deep").path == home
    assert Home.locate(tmp_path).path == tmp_path / ".task_orchestrator"


def test_a_store_for_every_project_needs_no_home(projects, tmp_path, monkeypatch):
    """Without ``VESPERA_ORCHESTRATOR_HOME`` the other variables are about whatever is opened."""
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_STORE", f"sqlite:///{tmp_path}/all.db")
    for project in projects:
        with vespera.open(project) as orch:
            assert orch._store.url == f"sqlite:///{tmp_path}/all.db"


# --- which session --------------------------------------------------------------


def test_a_session_of_another_store_is_one_clear_error(projects, monkeypatch):
    """Every call that needs the session says which variable named it; and each remedy works."""
    monkeypatch.setenv("MCP_ORCHESTRATOR_SESSION", "s_000000000009")
    with vespera.open(projects[1]) as orch:
        calls = [
            orch.current_session,
            orch.ready_tasks,
            orch.get_status,
            orch.resume,
            orch.execute_task,
            lambda: orch.get_task("task_of_b"),
            lambda: orch.plan_task("lost"),
            lambda: orch.worktrees.create(agent="x"),
            orch.documents.update,
        ]
        for call in calls:
            with pytest.raises(vespera.SessionNotFoundError, match="s_000000000009") as caught:
                call()
            assert caught.value.named_by == "MCP_ORCHESTRATOR_SESSION"
            assert "MCP_ORCHESTRATOR_SESSION" in str(caught.value)
        step = orch.next_step()
        assert "MCP_ORCHESTRATOR_SESSION" in step.sentence
        assert "goal of b" in step.sentence
        eval(step.call, {"orch": orch})  # the step works
        assert orch.get_task("task_of_b").title == "task of b"
    with vespera.open(projects[1]) as orch:
        orch.initialize_session("another way out")
        assert orch.ready_tasks() == []
    monkeypatch.delenv("MCP_ORCHESTRATOR_SESSION")
    with vespera.open(projects[1]) as orch:
        assert orch.current_session().goal == "another way out"


def test_an_empty_store_says_so_too(tmp_path, monkeypatch):
    """Where there is no session at all, the next step names the variable and asks for a goal."""
    monkeypatch.setenv("MCP_ORCHESTRATOR_SESSION", "s_000000000009")
    with vespera.open(tmp_path) as orch:
        step = orch.next_step()
        assert (step.action, step.call) == ("initialize", 'orch.initialize_session("…")')
        assert "MCP_ORCHESTRATOR_SESSION" in step.sentence


def test_a_name_in_the_call_that_does_not_exist_is_refused(projects):
    """With ``session=`` of open, and with the argument of a call."""
    refused = pytest.raises(vespera.SessionNotFoundError, match="s_nowhere")
    with vespera.open(projects[0], session="s_nowhere") as orch, refused:
        orch.ready_tasks()
    with vespera.open(projects[0]) as orch:
        for call in (orch.query_tasks, orch.get_status, orch.graph):
            with pytest.raises(vespera.SessionNotFoundError, match="s_nowhere"):
                call(session_id="s_nowhere")


def test_a_store_that_the_call_names_has_its_own_session(projects, environment_of_a, tmp_path):
    """The environment's session counts in another store only if it is there."""
    other = f"sqlite:///{tmp_path}/other.db"
    with vespera.open(store=other) as orch:
        assert orch.home == projects[0] / ".task_orchestrator"
        assert orch.next_step().sentence.startswith("No session is active yet")
        mine = orch.initialize_session("in the other store")
    with vespera.open(store=other) as orch:
        assert orch.current_session() == mine
    relative = os.path.relpath(projects[0] / ".task_orchestrator" / "orchestrator.db")
    with vespera.open(store=f"sqlite:///{relative}") as orch:
        assert orch.current_session() == environment_of_a


# --- the active session ---------------------------------------------------------


def test_each_store_of_a_home_has_its_active_session(tmp_path):
    """A home that is used with two stores by turns is in each one's own session."""
    other = f"sqlite:///{tmp_path}/other.db"
    sessions = {}
    for address in (None, other):
        with vespera.open(tmp_path, store=address) as orch:
            sessions[address] = orch.initialize_session(f"in {address}")
    for address in (None, other, None):
        with vespera.open(tmp_path, store=address) as orch:
            assert orch.current_session() == sessions[address]
            assert not [f for f in orch.check().findings if f.kind == "session"]
    with vespera.open(tmp_path) as orch:
        sessions[None] = orch.initialize_session("newer")
    for address in (other, None):
        with vespera.open(tmp_path, store=address) as orch:
            assert orch.current_session() == sessions[address]


def test_the_file_of_an_earlier_version_is_read(tmp_path):
    """It is one line, and stays one line that an earlier version reads."""
    with vespera.open(tmp_path) as orch:
        session = orch.initialize_session("one")
        file = orch.home / ".active_session"
    for path in (tmp_path / ".task_orchestrator" / ".active_sessions").iterdir():
        path.unlink()
    with vespera.open(tmp_path) as orch:
        assert orch.current_session() == session
        assert orch.resume_session().id == session.id
    assert file.read_text() == f"{session.id}\n"


DAMAGED = {
    "empty": b"",
    "binary": b"\xff\xfe\x00\x01",
    "long": b"x" * 1_000_000,
    "lines": b"one\ntwo",
    "stale": b"s_000000000009\n",
}


@pytest.mark.parametrize("damage", [*DAMAGED, "folder", "link"])
def test_a_damaged_or_stale_file_is_told_and_survived(tmp_path, damage):
    """The error and the next step name the file, and what the step says mends it."""
    with vespera.open(tmp_path) as orch:
        session = orch.initialize_session("one")
        orch.plan_task("task")
        file = orch.home / ".active_session"
        remembered = [*(orch.home / ".active_sessions").iterdir()]
    file.unlink()
    for path in remembered:
        path.unlink()
    if damage == "link":
        file.symlink_to("nowhere")
    elif damage == "folder":
        file.mkdir()
    else:
        file.write_bytes(DAMAGED[damage])
    with vespera.open(tmp_path) as orch:
        with pytest.raises(vespera.SessionNotFoundError) as caught:
            orch.ready_tasks()
        assert caught.value.named_by == str(file)
        assert len(str(caught.value)) < 500
        assert [finding.kind for finding in orch.check().findings] == ["session"]
        step = orch.next_step()
        assert str(file) in step.sentence
        assert step.call == f"orch.resume_session({session.id!r})"
        if damage == "folder":
            with pytest.raises(vespera.ReadOnlyError, match="move it away"):
                orch.resume_session(session)
            file.rmdir()
        eval(step.call, {"orch": orch})
    with vespera.open(tmp_path) as orch:
        assert orch.get_task("task").session_id == session.id


# --- a store in memory ----------------------------------------------------------


@pytest.mark.parametrize("inherited", [False, True])
def test_a_store_in_memory_leaves_the_project_alone(projects, inherited, request, monkeypatch):
    """Home, active session, contents and documents stay as they are, byte for byte."""
    a, _ = projects
    if inherited:
        request.getfixturevalue("environment_of_a")
    monkeypatch.chdir(a)
    before = content_of(a)
    with vespera.open(store="memory:") as orch:
        assert orch.next_step().sentence.startswith("No session is active yet")
        orch.initialize_session("a trial", project_type="software_development")
        orch.plan_task("Try")
        orch.complete_task("try", summary="s", detailed_work="d")
        orch.catch_up()
        assert "in memory" in str(orch.documents.update())
        assert [orch.artifacts.text(artifact) for artifact in orch.artifacts.list()] == ["d"]
        home = orch.home
        assert home.is_dir()
    assert content_of(a) == before
    assert not home.exists()
    with vespera.open() as orch:
        assert orch.current_session().goal == "goal of a"


def test_a_store_in_memory_makes_no_home(tmp_path):
    """Not even an empty one, also when opening fails."""
    vespera.open(tmp_path, store="memory:").close()
    with pytest.raises(vespera.InvalidInputError):
        vespera.open(tmp_path, store="memory:", content="nonsense:")
    assert [*tmp_path.iterdir()] == []


FORK = """
import os, sys
import vespera_orchestrator as vespera
orch = vespera.open(store="memory:")
child = os.fork()
if not child:
    sys.exit()
os.waitpid(child, 0)
print(orch.home.is_dir())
print(orch.home)
"""


def test_a_forked_child_leaves_the_parent_s_folder(tmp_path):
    """Its end removes nothing; the end of the parent does, also without close."""
    done = subprocess.run(
        [sys.executable, "-c", FORK], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    is_there, home = done.stdout.split()
    assert is_there == "True"
    assert not Path(home).exists()


# --- the store's address in config.toml -------------------------------------------


def test_the_store_can_stand_in_the_settings(tmp_path, monkeypatch):
    """A relative path starts at the home, and goes with it; environment and argument win."""
    home = tmp_path / "one" / ".task_orchestrator"
    home.mkdir(parents=True)
    (home / "config.toml").write_text('[store]\nurl = "sqlite:///records/all.db"\n')
    (home / "records").mkdir()
    monkeypatch.chdir(tmp_path)
    with vespera.open("one") as orch:
        session = orch.initialize_session("in the settings' store")
        assert orch._store.url == f"sqlite:///{home}/records/all.db"
    (tmp_path / "one").rename(tmp_path / "two")
    with vespera.open("two") as orch:
        assert orch.current_session() == session
        context = orch.spawn_agent_with_context()
        assert context.store_url == f"sqlite:///{tmp_path}/two/.task_orchestrator/records/all.db"
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_STORE", f"sqlite:///{tmp_path}/by-env.db")
    with vespera.open("two") as orch:
        assert orch._store.url.endswith("/by-env.db")
    with vespera.open("two", store=f"sqlite:///{tmp_path}/by-hand.db") as orch:
        assert orch._store.url.endswith("/by-hand.db")


@pytest.mark.parametrize(
    "settings",
    [
        '[store]\nurl = "sqlite:///ELSEWHERE"\n',
        'store.url = "sqlite:///ELSEWHERE"\n',
        'store = {url = "sqlite:///ELSEWHERE"}\n',
        '"content" = "file://FOLDER"\n[store]\n"url" = "sqlite:///ELSEWHERE"\n',
    ],
)
def test_a_backup_opens_its_own_rows(tmp_path, settings):
    """Not those of the store that its settings named, which it may have to replace."""
    project = tmp_path / "project"
    home = project / ".task_orchestrator"
    home.mkdir(parents=True)
    text = settings.replace("ELSEWHERE", f"{tmp_path}/live.db").replace("FOLDER", f"{tmp_path}/c")
    (home / "config.toml").write_text(text)
    with vespera.open(project) as orch:
        orch.initialize_session("one")
        orch.plan_task("before")
        orch.backup(tmp_path / "backup")
        orch.plan_task("after")
    with vespera.open(home=tmp_path / "backup") as orch:
        assert [task.alias for task in orch.query_tasks()] == ["before"]


# --- what cannot be written -------------------------------------------------------

READ_ONLY = """
import json, os, sys, tempfile
import vespera_orchestrator as vespera
with tempfile.TemporaryDirectory() as elsewhere:
    vespera.open(elsewhere).close()
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    vespera.open(sys.argv[1]).initialize_session("y")
except vespera.VesperaError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.parametrize(
    ("path", "mode", "said"),
    [
        ("", 0o555, "make it writable"),
        ("orchestrator.db", 0o444, "make it writable"),
        ("config.toml", 0o000, "cannot be read"),
    ],
)
def test_a_home_that_cannot_be_written_or_read_is_named(public_path, path, mode, said):
    """The error is ours, names the file, and says what to do."""
    project = public_path / "project"
    project.mkdir()
    with vespera.open(project) as orch:
        orch.initialize_session("x")
        target = orch.home / path
    for file in (project / ".task_orchestrator", *project.rglob("*")):
        file.chmod(0o777 if file.is_dir() else 0o666)
    target.chmod(mode)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(project)],
        cwd=public_path,
        capture_output=True,
        text=True,
        check=False,
    )
    target.chmod(0o755)
    assert done.stdout, done.stderr
    kind, text = json.loads(done.stdout)
    assert kind == "ReadOnlyError", done.stderr
    assert str(target) in text
    assert said in text

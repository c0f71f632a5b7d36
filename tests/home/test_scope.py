"""The home, the session that is meant, and what a child inherits."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vespera_orchestrator as vespera
from support.git_project import git, make_repository
from vespera_orchestrator.home.locate import Home, git_common_dir, main_folder


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit."""
    return make_repository(tmp_path / "project", {"a.txt": "a\n"})


# --- the home -----------------------------------------------------------------


def test_home_is_found_from_anywhere_in_the_repository(repository, tmp_path):
    """The main worktree's home is found from a subfolder, a linked worktree and a folder in it."""
    (repository / "deep" / "er").mkdir(parents=True)
    git(repository, "worktree", "add", "-q", str(tmp_path / "linked"))
    (tmp_path / "linked" / "sub").mkdir()
    for place in (
        repository,
        repository / "deep" / "er",
        tmp_path / "linked",
        tmp_path / "linked" / "sub",
    ):
        assert Home.locate(place).path == repository / ".task_orchestrator"
        assert Home.locate(place).project == repository


def test_home_of_a_submodule_and_a_bare_repository(repository, tmp_path):
    """A submodule is a project of its own; a bare repository holds its home inside; its worktrees
    find it there.
    """
    git(
        repository,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(repository),
        "part",
    )
    assert Home.locate(repository / "part").project == repository / "part"
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(bare))
    git(bare, "worktree", "add", "-q", str(tmp_path / "of_bare"))
    assert (
        Home.locate(bare).path
        == Home.locate(tmp_path / "of_bare").path
        == bare / ".task_orchestrator"
    )


def test_home_of_a_bare_repository_with_its_checkouts_around_it(repository, tmp_path):
    """It is beside them, not inside of git's own folder. One that is there already stays."""
    around = tmp_path / "around"
    around.mkdir()
    bare = around / ".bare"
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(bare))
    (around / ".git").write_text("gitdir: ./.bare\n")
    git(around, "worktree", "add", "-q", str(around / "of_bare"))
    for place in (around, around / "of_bare", bare):
        home = Home.locate(place)
        assert (home.path, home.project) == (around / ".task_orchestrator", around)
    (bare / ".task_orchestrator").mkdir()
    assert Home.locate(around).path == bare / ".task_orchestrator"


def test_home_of_a_separate_git_directory(tmp_path):
    """With ``--separate-git-dir`` the main and a linked worktree agree on one home."""
    git(
        tmp_path,
        "init",
        "-q",
        "--separate-git-dir",
        str(tmp_path / "elsewhere"),
        str(tmp_path / "project"),
    )
    git(tmp_path / "project", "commit", "-q", "--allow-empty", "-m", "first")
    git(tmp_path / "project", "worktree", "add", "-q", str(tmp_path / "linked"))
    assert Home.locate(tmp_path / "project").path == Home.locate(tmp_path / "linked").path


def test_home_without_git(tmp_path):
    """Without a repository the nearest home upward is used, else the folder itself."""
    assert Home.locate(tmp_path).path == tmp_path / ".task_orchestrator"
    vespera.open(tmp_path).close()
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert Home.locate(tmp_path / "a" / "b").path == tmp_path / ".task_orchestrator"
    assert git_common_dir(tmp_path / "a") is None


def test_home_chosen_by_hand(repository, tmp_path, monkeypatch):
    """The argument wins over the environment, the environment over what is found; the project is
    remembered.
    """
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_HOME", str(tmp_path / "by-env"))
    assert Home.locate(repository).path == tmp_path / "by-env"
    assert Home.locate(repository, tmp_path / "by-hand").path == tmp_path / "by-hand"
    vespera.open(repository).close()
    monkeypatch.chdir(tmp_path)
    assert Home.locate().project == repository


def test_main_folder_of_odd_layouts(tmp_path):
    """``core.worktree`` names the main folder when the git directory lies elsewhere."""
    common = tmp_path / "store"
    common.mkdir()
    (common / "config").write_text("[core]\n\tworktree = ../code\n")
    assert main_folder(common) == tmp_path / "code"


def test_the_home_ignores_itself(repository):
    """Opening leaves nothing to commit."""
    vespera.open(repository).close()
    assert git(repository, "status", "--porcelain") == ""


def test_path_must_be_a_folder(tmp_path):
    """A path that does not exist is refused in a sentence, and nothing is made."""
    with pytest.raises(vespera.InvalidInputError, match="is not a folder"):
        vespera.open(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [", "not valid TOML"),
        ("[worktrees]\nroof = 'x'", "unknown setting 'worktrees.roof'"),
        ("[worktrees]\nroot = 3", "should be of type str"),
        ("[documents]\nenabled = 1", "should be of type bool"),
    ],
)
def test_bad_settings_are_refused(tmp_path, text, said):
    """A mistake in config.toml is named with the file, and nothing else is read or written."""
    vespera.open(tmp_path).close()
    (tmp_path / ".task_orchestrator" / "config.toml").write_text(text)
    with pytest.raises(vespera.InvalidInputError, match=said) as caught:
        vespera.open(tmp_path)
    assert "config.toml" in str(caught.value)


def test_settings_are_used(tmp_path):
    """What config.toml says is what is done."""
    vespera.open(tmp_path).close()
    (tmp_path / ".task_orchestrator" / "config.toml").write_text(
        "[worktrees]\nintegration_branch = 'next'\nmax_file_bytes = 5\n"
    )
    config = Home.locate(tmp_path).config.worktrees
    assert (config.integration_branch, config.max_file_bytes, config.branch_prefix) == (
        "next",
        5,
        "feature/",
    )


# --- which session ------------------------------------------------------------


def test_no_session_yet(tmp_path):
    """Without a session everything says how to start one, and next_step is not empty."""
    with vespera.open(tmp_path) as orch:
        with pytest.raises(vespera.SessionNotFoundError, match="initialize_session"):
            orch.current_session()
        with pytest.raises(vespera.SessionNotFoundError):
            orch.plan_task("Task")
        assert orch.next_step().action == "initialize"
        assert orch.list_sessions() == []


def test_the_active_session_outlives_the_process(tmp_path):
    """``.active_session`` names it, and the next one who opens is in it."""
    with vespera.open(tmp_path) as orch:
        session = orch.initialize_session("Goal", context={"k": [1]})
        orch.plan_task("Task")
    assert (tmp_path / ".task_orchestrator" / ".active_session").read_text() == f"{session.id}\n"
    with vespera.open(tmp_path) as orch:
        assert orch.current_session().id == session.id
        assert orch.current_session().context == {"k": [1]}
        assert orch.get_task("task").title == "Task"


def test_order_of_precedence(tmp_path, monkeypatch):
    """Argument, then what this object chose, then the environment, then the active session."""
    orch = vespera.open(tmp_path)
    first, second, third = (orch.initialize_session(name) for name in ("one", "two", "three"))
    assert vespera.open(tmp_path).current_session().id == third.id
    monkeypatch.setenv("MCP_ORCHESTRATOR_SESSION", first.id)
    fresh = vespera.open(tmp_path)
    assert fresh.current_session().id == first.id
    assert vespera.open(tmp_path, session=second.id).current_session().id == second.id
    assert fresh.resume_session(second.id).id == second.id
    assert fresh.current_session().id == second.id
    assert [s.goal for s in fresh.list_sessions()][:2] == ["two", "three"]


def test_a_stale_or_wrong_session_is_named(tmp_path, monkeypatch):
    """A session id that does not exist is an error that names it, wherever it comes from."""
    orch = vespera.open(tmp_path)
    orch.initialize_session("one")
    monkeypatch.setenv("MCP_ORCHESTRATOR_SESSION", "s_gone")
    with pytest.raises(vespera.SessionNotFoundError, match="s_gone"):
        vespera.open(tmp_path).current_session()
    with pytest.raises(vespera.SessionNotFoundError, match="s_other"):
        orch.resume_session("s_other")
    assert orch.current_session().goal == "one"


def test_a_task_that_is_not_there_is_answered_with_similar_names():
    """By alias and by title; what a description happens to hold is no likeness."""
    with vespera.open(store="memory:") as orch:
        orch.initialize_session("Tea")
        orch.plan_task("Boil the water", description="see x7 for the kettle", alias="boil")
        for name, similar in (("boill", ("boil",)), ("Water", ("boil",)), ("x7", ())):
            with pytest.raises(vespera.TaskNotFoundError) as caught:
                orch.get_task(name)
            assert caught.value.similar == similar


def test_project_types_are_checked(tmp_path):
    """An unknown project type is refused before anything is written."""
    with vespera.open(tmp_path) as orch:
        with pytest.raises(vespera.InvalidInputError, match="software_development"):
            orch.initialize_session("x", project_type="cooking")
        with pytest.raises(vespera.InvalidInputError, match="JSON"):
            orch.initialize_session("x", context={"when": object()})
        assert orch.list_sessions() == []


# --- children -----------------------------------------------------------------

CHILD = """
import vespera_orchestrator as vespera
orch = vespera.open()
with orch.execute_task("child_work") as work:
    texts = [orch.artifacts.text(artifact) for artifact in orch.artifacts.list(task="before")]
    assert texts == ["the parent's record"]
    work.complete(summary=orch.agent, detailed_work="child was here")
"""


def test_a_child_process_is_in_the_session(tmp_path):
    """A process started with the context's environment, from another folder, works in the session
    and reads its artifacts.
    """
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    with vespera.open(project) as orch:
        session = orch.initialize_session("Goal")
        before = orch.plan_task("Before")
        task = orch.plan_task("Child work", dependencies=[before])
        orch.complete_task(before, summary="done", detailed_work="the parent's record")
        context = orch.spawn_agent_with_context(task, agent="kid")
        assert context.parent_session.id == session.id
        assert [a.title for a in context.inherited_artifacts] == ["Before"]
        assert context.environ({})["MCP_ORCHESTRATOR_SESSION"] == session.id
        subprocess.run(
            [sys.executable, "-c", CHILD], env=context.environ(), cwd=elsewhere, check=True
        )
        assert orch.get_task(task).summary == "kid"
        assert not (elsewhere / ".task_orchestrator").exists()


def test_inherited_artifacts_come_nearest_first(tmp_path):
    """A context lists the records of everything its task builds on, nearest first, and nothing of
    its neighbours.
    """
    with vespera.open(tmp_path, store="memory:") as orch:
        orch.initialize_session("Goal")
        orch.plan_tasks(
            [
                {"title": "far"},
                {"title": "near", "dependencies": ["far"]},
                {"title": "neighbour"},
                {"title": "mine", "dependencies": ["near"]},
            ]
        )
        for alias in ("far", "near", "neighbour"):
            orch.complete_task(alias, summary="s", detailed_work=alias)
        assert [a.title for a in orch.spawn_agent_with_context("mine").inherited_artifacts] == [
            "near",
            "far",
        ]
        assert {a.title for a in orch.spawn_agent_with_context().inherited_artifacts} == {
            "near",
            "far",
            "neighbour",
        }
        with pytest.raises(vespera.InvalidInputError, match="memory"):
            orch.spawn_agent_with_context("mine").environ()


OPEN_AT_ONCE = """
import sys
import vespera_orchestrator as vespera
sys.stdin.readline()
with vespera.open() as orch:
    orch.initialize_session("race")
    orch.plan_task("Task")
"""


def test_several_processes_open_a_new_home_at_once(tmp_path):
    """All that open a home which does not exist yet, at the same moment, succeed, and nobody's
    session is lost.
    """
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AT_ONCE],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    assert [(child.communicate()[1], child.returncode) for child in children] == [("", 0)] * 4
    with vespera.open(tmp_path) as orch:
        assert len(orch.list_sessions()) == 4
        assert all(
            len(orch.query_tasks(session_id=session)) == 1 for session in orch.list_sessions()
        )


READ_ONLY = """
import os, sys, tempfile
import vespera_orchestrator as vespera
with tempfile.TemporaryDirectory() as elsewhere:
    # Whatever is imported on the way is imported while it can be read.
    vespera.open(elsewhere).close()
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    vespera.open(sys.argv[1])
except vespera.ReadOnlyError as error:
    print(error)
"""


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_read_only_folder(public_path, mode):
    """A folder that cannot be written, or not even read, gives an error of ours that names the way
    out, and stays as it is.
    """
    folder = public_path / "project"
    folder.mkdir()
    folder.chmod(mode)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(folder)],
        cwd=public_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "VESPERA_ORCHESTRATOR_HOME" in done.stdout, done.stderr
    folder.chmod(0o755)
    assert list(folder.iterdir()) == []


def test_a_home_of_another_name_remembers_its_project(tmp_path, monkeypatch):
    """A child that is started elsewhere with the home's environment works for the right project,
    whatever the home is called.
    """
    for name in ("myhome", "h\U0001f98a"):
        project = tmp_path / f"project {name}"
        project.mkdir()
        vespera.open(project, home=project / name).close()
        monkeypatch.setenv("VESPERA_ORCHESTRATOR_HOME", str(project / name))
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert Home.locate().project == project


def test_a_git_file_that_leads_nowhere(tmp_path):
    """A leftover ``.git`` file of a repository that is gone does not make a home at its address."""
    (tmp_path / ".git").write_text("gitdir: /nonexistent/repository\n")
    assert Home.locate(tmp_path).path == tmp_path / ".task_orchestrator"


def test_an_interrupted_transaction_leaves_nothing_behind(tmp_path):
    """What an interruption left open is undone before the next read or write, which sees the newest
    state.
    """
    with vespera.open(tmp_path) as orch, vespera.open(tmp_path) as other:
        orch.initialize_session("Goal")
        orch.plan_task("Task")
        connection = orch._store._database._connection
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM tasks").fetchall()
        other.resume_session()
        other.complete_task("task", summary="s", detailed_work="d")
        assert orch.get_task("task").status == "completed"
        connection.execute("BEGIN IMMEDIATE")
        assert orch.plan_task("Another").is_ready
        assert other.get_task("another").is_ready

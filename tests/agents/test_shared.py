"""What agents share: merged, inherited downward, with its history and its conflicts."""

from __future__ import annotations

import contextlib
import json
import sys

import pytest

import vespera_orchestrator as vespera
from support.children import answer, python
from support.git_project import git
from support.records import NOW
from vespera_orchestrator._model import SharedValue
from vespera_orchestrator._text import tokens
from vespera_orchestrator.agents.shared import disputed_after


def value(agent="ada", disputes=None):
    """Make the current value of a key, number 5."""
    return SharedValue(
        id=5,
        session_id="s_1",
        key="db",
        value=1,
        agent=agent,
        shared_at=NOW,
        disputes=disputes,
    )


@pytest.mark.parametrize(
    ("current", "is_same", "seen", "disputes"),
    [
        (None, False, 0, None),
        (value("ada"), False, 0, None),
        (value("ada"), True, 0, None),
        (value("bob"), True, 0, None),
        (value("bob"), False, 0, 5),
        (value("bob"), False, 5, 5),  # nothing was in dispute, so there was nothing to settle
        (value("bob", disputes=3), False, 4, 5),
        (value("bob", disputes=3), False, 5, None),
        (value("bob", disputes=3), True, 0, None),
        (value("ada", disputes=3), False, 4, 3),
        (value("ada", disputes=3), False, 5, None),
        (value("ada", disputes=3), True, 4, 3),
        (value("ada", disputes=3), True, 5, None),
    ],
)
def test_when_a_key_is_in_dispute(current, is_same, seen, disputes):
    """Ada shares a key; who set it last, and what she has seen, decides."""
    assert disputed_after(current, "ada", is_same=is_same, seen=seen) == disputes


# --- through the façade ---------------------------------------------------------


@pytest.fixture
def open_as(tmp_path):
    """A function that opens one home under a name."""
    with contextlib.ExitStack() as opened:
        yield lambda agent, session=None: opened.enter_context(
            vespera.open(tmp_path, agent=agent, session=session)
        )


@pytest.fixture
def ada(open_as):
    """Ada, in a session that was started with a value."""
    orch = open_as("ada")
    orch.initialize_session("Goal", context={"language": "en", "port": 1})
    return orch


def test_values_are_merged_and_seen_by_all(ada, open_as):
    """With what the session was started with, and who set each."""
    lines = str(ada.shared_context()).splitlines()
    assert lines == ["language = 'en' (from the start)", "port = 1 (from the start)"]
    ada.share_context(db="sqlite")
    shared = open_as("bob").share_context(port=80)
    assert dict(shared) == {"language": "en", "port": 80, "db": "sqlite"}
    assert shared.source("language") is None
    assert (shared.source("port").agent, shared.source("db").agent) == ("bob", "ada")
    assert shared.conflicts == ()
    assert shared.version == shared.source("port").id
    with pytest.raises(KeyError):
        shared.source("nothing")


def test_whoever_was_shown_a_conflict_by_resume_can_settle_it(ada, open_as):
    """The call that it names works; a glance at the status has not shown it."""
    ada.share_context(db="sqlite")
    open_as("bob").share_context(db="postgres")
    cleo, dora = open_as("cleo"), open_as("dora")
    dora.get_status()
    assert len(dora.share_context(db="text").conflicts) == 1
    assert "orch.share_context(db=…) settles it" in str(cleo.resume())
    assert cleo.share_context(db="duckdb").conflicts == ()


def test_a_conflict_is_reported_until_somebody_settles_it(ada, open_as, caplog):
    """To the one who makes it, to all who look, and when one comes back."""
    bob = open_as("bob")
    ada.share_context(db="sqlite")
    (conflict,) = bob.share_context(db="postgres").conflicts
    words = "db is 'postgres' for bob and 'sqlite' for ada; orch.share_context(db=…) settles it"
    assert str(conflict) == words
    assert words in caplog.text
    assert f"Conflict: {words}" in ada.resume().lines
    assert ada.shared_context()["db"] == "postgres"
    assert f"Conflict: {words}" in str(ada.shared_context())
    assert ada.share_context(db="duckdb").conflicts == ()
    assert bob.shared_context().conflicts == ()
    history = bob.shared_context().history("db")
    assert [(each.agent, each.value) for each in history] == [
        ("ada", "sqlite"),
        ("bob", "postgres"),
        ("ada", "duckdb"),
    ]


def test_context_is_inherited_downward_only(ada, open_as):
    """Sub-sessions see what is above them, nearer values first, and nothing of their siblings."""
    top = ada.current_session()
    ada.share_context(db="sqlite", port=80)
    one = ada.initialize_session("one", parent_session=top, context={"port": 81})
    ada.share_context(colour="red")
    ada.initialize_session("two", parent_session=top)
    assert dict(ada.shared_context()) == {"language": "en", "port": 80, "db": "sqlite"}
    below = open_as("eve", session=one.id).shared_context()
    assert dict(below) == {"language": "en", "port": 81, "db": "sqlite", "colour": "red"}
    assert below.source("port") is None
    assert [each.value for each in below.history("db")] == ["sqlite"]
    assert "colour" not in open_as("bob", session=top.id).shared_context()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"a key": 1}, "is not a name"),
        ({"": 1}, "is not a name"),
        ({"x" * 101: 1}, "is not a name"),
        ({"big": "x" * 9000}, "save it with orch.artifacts.save"),
        ({"thing": object()}, "thing"),
        ({f"k{number}": 1 for number in range(201)}, "at most 200 keys"),
    ],
)
def test_what_cannot_be_shared_is_refused_whole(ada, values, words):
    """Nothing of such a call is written."""
    seq = ada._store.last_seq()
    with pytest.raises(vespera.InvalidInputError, match=words):
        ada.share_context(fine=1, **values)
    assert ada._store.last_seq() == seq
    assert "fine" not in ada.shared_context()


# --- what a child inherits --------------------------------------------------------


def test_an_agent_inherits_all_of_it(ada, open_as):
    """Session, task, artifacts, what is shared, conflicts and decisions, in three forms."""
    ada.share_context(db="sqlite")
    open_as("bob").share_context(db="postgres")
    decision = ada.artifacts.save("Use UTC", "because", kind="decision")
    ada.plan_tasks([{"title": "A"}, {"title": "B\n# C", "dependencies": ["a"]}])
    ada.complete_task("a", summary="s", detailed_work="d")
    context = ada.spawn_agent_with_context("b_c", agent="kid")
    (artifact,) = context.inherited_artifacts
    assert context.shared_context == {"language": "en", "port": 1, "db": "postgres"}
    assert context.decisions == (decision,)
    assert [each.key for each in context.conflicts] == ["db"]
    data = json.loads(context.to_json())
    assert data["version"] == 1
    assert data["shared_context"] == context.shared_context
    assert data["inherited_artifacts"][0]["digest"] == artifact.digest
    assert data["task"]["alias"] == "b_c"
    assert data["parent_session"]["id"] == ada.current_session().id
    text = context.prompt()
    for words in (artifact.id, decision.id, '* db: "postgres"', "orch.execute_task('b_c')", "kid"):
        assert words in text
    assert "* in conflict: db is 'postgres' for bob" in text
    assert not any(line.startswith("#") for line in text.splitlines())


@pytest.mark.parametrize("budget", [10, 40, 60, 100, 300])
def test_a_prompt_keeps_to_its_budget(ada, budget):
    """What does not fit is counted, and the call that returns it is named."""
    ada.share_context(**{f"key_{number}": "word " * 20 for number in range(20)})
    text = ada.spawn_agent_with_context().prompt(budget)
    assert tokens(text) <= budget
    if budget >= 100:
        assert "orch.next_step()" in text
        assert "more: orch.shared_context()" in text


CHILD = """
import vespera_orchestrator as vespera
os.chdir(sys.argv[1])
with vespera.open() as orch:
    done(session=orch.current_session().id, shared=dict(orch.shared_context()), agent=orch.agent)
"""


@pytest.mark.parametrize("place", ["project", "worktree", "elsewhere"])
def test_a_child_with_that_environment_alone_is_in_the_session(tmp_path, place):
    """In the project, in a worktree that git made, and in another folder."""
    folders = {name: tmp_path / name for name in ("project", "worktree", "elsewhere")}
    project = folders["project"]
    project.mkdir()
    folders["elsewhere"].mkdir()
    git(project, "init", "-q")
    git(project, "commit", "-q", "--allow-empty", "-m", "first")
    git(project, "worktree", "add", "-q", str(folders["worktree"]))
    with vespera.open(project) as orch:
        session = orch.initialize_session("Goal")
        orch.share_context(db="sqlite")
        orch.initialize_session("Another, which is active now")
        orch.resume_session(session)
        environ = orch.spawn_agent_with_context(agent="kid").environ({})
        orch.initialize_session("Another")
    assert all(name.startswith(("VESPERA_", "MCP_")) for name in environ)
    child = python(CHILD, folders[place], env=environ, executable=sys.executable)
    assert answer(child) == {"session": session.id, "shared": {"db": "sqlite"}, "agent": "kid"}


@pytest.mark.parametrize("content", [b"\xff\x00", b"s_000000000000\n", b""])
def test_a_stale_or_damaged_file_is_told_and_survived(tmp_path, content, caplog):
    """The session that was chosen last here counts, and one who comes back hears of it."""
    with vespera.open(tmp_path) as orch:
        session = orch.initialize_session("Goal")
        (orch.home / ".active_session").write_bytes(content)
    with vespera.open(tmp_path) as orch:
        assert orch.current_session() == session
        assert ".active_session" in caplog.text
        (note,) = [line for line in orch.resume().lines if line.startswith("Note: ")]
        assert session.id in f"{note}{orch._scope.active_problem}"
        orch.resume_session()
    with vespera.open(tmp_path) as orch:
        assert "Note: " not in str(orch.resume())

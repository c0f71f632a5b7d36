"""Conflicts told before they happen, compared with what merging really brings."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pygit2
import pygit2.enums
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from support.git_project import git
from vespera_orchestrator._model import Worktree, utcnow
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.worktrees import forecast
from vespera_orchestrator.worktrees.repository import ProjectRepository

pytestmark = pytest.mark.usefixtures("identity")

AGENTS = ("ann", "bob", "cem")
PATHS = ("a", "b", "dir/c", "dir", "new")
CONTENTS = ("x\ny\nz\n" * 4, "X\ny\nz\n" * 4, "x\ny\nz\n" * 3 + "x\ny\nZ\n", "short\n", "other\n")


def make_project(folder):
    """Make a repository with one commit."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for path in ("a", "b", "dir/c"):
        place = folder / path
        place.parent.mkdir(exist_ok=True)
        place.write_text(CONTENTS[0])
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qm", "first")
    return folder


@pytest.fixture
def project(tmp_path):
    """A repository with one commit."""
    return make_project(tmp_path / "project")


@pytest.fixture
def orch(project):
    """The façade on that repository, in a session."""
    with vespera.open(project) as opened:
        opened.initialize_session("Goal")
        yield opened


def begin(orch, files, alias=None):
    """Plan a task, start it with a worktree, write files there and save them."""
    task = orch.plan_task(alias or "task", alias=alias)
    work = orch.execute_task(task, worktree=True)
    change(work.path, files)
    work.checkpoint({})
    return work


def change(folder, files):
    """Write files, by name; ``None`` deletes; where a folder and a file clash, the later one
    stands.
    """
    for name, content in files.items():
        path = Path(folder, name)
        if content is None:
            if path.is_file():
                path.unlink()
            continue
        subprocess.run(["rm", "-rf", path if path.is_dir() else ""], check=True)
        if path.parent != Path(folder) and path.parent.is_file():
            path.parent.unlink()
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)


def test_conflicts_are_told_before_anybody_has_finished(orch):
    """By pair and file, with an order of merging that lands as many as possible first; in status as
    well.
    """
    begin(orch, {"a": CONTENTS[1]}, "ann")
    assert orch._rooms.forecast() is None
    begin(orch, {"a": CONTENTS[3], "b": CONTENTS[3]}, "bob")
    begin(orch, {"b": CONTENTS[4], "<b>": "new"}, "cem")
    begin(orch, {"free": "f"}, "dan")
    seen = orch.worktrees.forecast()
    assert [str(clash) for clash in seen.clashes] == ["ann and bob: a", "bob and cem: b"]
    assert seen.worktrees == ("ann", "bob", "cem", "dan")
    assert seen.order == ("dan", "ann", "cem", "bob")
    assert str(seen) == (
        "4 worktrees, 2 conflicts ahead:\n"
        "  ann and bob: a\n"
        "  bob and cem: b\n"
        "Merge in this order: dan, ann, cem, bob"
    )
    assert seen._repr_html_().count("<tr>") == 3
    assert [clash.second for clash in seen.of("bob")] == ["bob", "cem"]
    assert "Conflicts ahead:\n  ann and bob: a\n  bob and cem: b" in str(orch.get_status())
    assert orch.get_status().clashes == ("ann and bob: a", "bob and cem: b")
    for name in seen.order[:3]:
        orch.complete_task(name, summary="s", detailed_work="d")
    assert [
        (clash.first, clash.second, clash.paths) for clash in orch.worktrees.forecast().clashes
    ] == [("bob", "integration", ("a", "b"))]
    assert str(orch.worktrees.forecast()).startswith("1 worktree, 1 conflict ahead")


def test_what_is_not_saved_yet_counts_when_asked_for(orch):
    """The last snapshots are what counts; ``fresh=True`` saves first."""
    one, two = begin(orch, {"a": CONTENTS[1]}, "ann"), begin(orch, {"b": CONTENTS[1]}, "bob")
    change(two.path, {"a": CONTENTS[3]})
    assert str(orch.worktrees.forecast()) == "2 worktrees: no conflicts ahead."
    assert len(orch.worktrees.forecast(fresh=True).clashes) == 1
    subprocess.run(["rm", "-rf", one.path], check=True)
    assert len(orch.worktrees.forecast(fresh=True).clashes) == 1


def test_what_was_never_saved_is_named(orch):
    """Without a snapshot nothing is known of a worktree, which is not "no conflict"."""
    works = [orch.execute_task(orch.plan_task(name), worktree=True) for name in ("ann", "bob")]
    seen = orch.worktrees.forecast()
    assert (seen.worktrees, seen.unsaved) == ((), ("ann", "bob"))
    assert str(seen).splitlines() == [
        "0 worktrees: no conflicts ahead.",
        "Not saved yet, so not compared: ann, bob. forecast(fresh=True) saves them first.",
    ]
    assert "ann, bob" in seen._repr_html_()
    for work in works:
        change(work.path, {"a": work.task.alias})
    saved = orch.worktrees.forecast(fresh=True)
    assert (len(saved.clashes), saved.unsaved) == (1, ())


def test_work_that_waits_is_merged_in_that_order(orch):
    """Of several that wait to be merged the next step names the one that stands in the fewest
    others' way.
    """
    for name, files in (
        ("bob", {"a": "1\n", "b": "1\n"}),
        ("ann", {"a": "2\n"}),
        ("cem", {"b": "2\n"}),
    ):
        begin(orch, files, name)
        orch.complete_task(name, summary="s", detailed_work="d", merge="later")
    assert orch.next_step().call == "orch.worktrees.merge('ann')"
    assert "(2 more after it)" in str(orch.next_step())


def test_status_loads_nothing_for_a_forecast_that_is_not_needed(project):
    """Neither without worktrees nor with one is pygit2 loaded to show the status."""
    code = """
import sys, vespera_orchestrator
orch = vespera_orchestrator.open()
orch.list_sessions() or orch.initialize_session("g")
str(orch.get_status()), orch.next_step()
print("pygit2" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    assert (
        subprocess.run(
            command, cwd=project, check=True, capture_output=True, text=True
        ).stdout.strip()
        == "False"
    )
    with vespera.open(project) as orch:
        begin(orch, {"a": "1"}, "ann")
        orch.worktrees.create(agent="not saved yet")
    assert (
        subprocess.run(
            command, cwd=project, check=True, capture_output=True, text=True
        ).stdout.strip()
        == "False"
    )


def test_a_forecast_that_cannot_be_made_harms_nothing(orch, project):
    """When the repository cannot be read, status is shown without it."""
    for name in ("ann", "bob"):
        begin(orch, {"a": name}, name)
    assert orch.get_status().clashes
    (project / ".git" / "refs" / "vespera" / "wip" / "ann").write_text(
        "0123456789012345678901234567890123456789\n"
    )
    assert orch.get_status().clashes == ()


changes = st.dictionaries(st.sampled_from(PATHS), st.sampled_from([None, *CONTENTS]), max_size=3)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A bare-bones repository to merge trees in."""
    folder = make_project(tmp_path_factory.mktemp("forecast") / "project")
    return ProjectRepository.of(Home.locate(folder).create())


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(landed=changes, mine=st.tuples(changes, changes, changes))
def test_the_forecast_is_what_merging_brings(repository, landed, mine):
    """For every pair: the second conflicts after the first exactly where it was told, unless one
    conflicts with the branch already.
    """
    repo = repository.open()
    start = repo.head.peel(pygit2.Commit)
    tip = written(repo, start, landed, "landed")
    saved = {
        name: written(repo, start, files, name) for name, files in zip(AGENTS, mine, strict=True)
    }
    records = [
        Worktree(
            name=name,
            session_id="s",
            task_id=None,
            agent=name,
            path="",
            branch="",
            base=str(start.id),
            state="active",
            landed=None,
            rescue_ref=None,
            created_at=utcnow(),
        )
        for name in AGENTS
    ]
    now = forecast.ForecastInput(
        tip=tip,
        saved=tuple(
            forecast.SavedWorktree(worktree=record, commit=saved[record.name], mark=None)
            for record in records
        ),
    )
    seen = {
        (clash.first, clash.second): clash.paths
        for clash in forecast.make_forecast(repository, now).clashes
    }

    trees = {name: repo[commit].tree for name, commit in saved.items()}
    alone = {
        name: repo.merge_trees(start.tree, repo[tip].tree, tree) for name, tree in trees.items()
    }
    for name, index in alone.items():
        assert seen.get((name, "integration"), ()) == conflicts(index)
    for first, second in combinations(AGENTS, 2):
        if alone[first].conflicts is None and alone[second].conflicts is None:
            after = repo[alone[first].write_tree(repo)]
            assert seen.get((first, second), ()) == conflicts(
                repo.merge_trees(start.tree, after, trees[second])
            )


def written(repo, start, files, message):
    """Return a commit on *start* with files changed; where a folder and a file clash, the later one
    stands.
    """
    index = pygit2.Index()
    index.read_tree(start.tree)
    for path, content in files.items():
        for other in [entry.path for entry in index]:
            if other == path or (
                content is not None
                and (other.startswith(f"{path}/") or path.startswith(f"{other}/"))
            ):
                index.remove(other)
        if content is not None:
            index.add(
                pygit2.IndexEntry(
                    path, repo.create_blob(content.encode()), pygit2.enums.FileMode.BLOB
                )
            )
    who = pygit2.Signature("Ada", "ada@example.org")
    return str(repo.create_commit(None, who, who, message, index.write_tree(repo), [start.id]))


def conflicts(index):
    """Return the paths in conflict."""
    return tuple(
        sorted(
            {
                entry.path
                for entries in index.conflicts or ()
                for entry in entries
                if entry is not None
            }
        )
    )

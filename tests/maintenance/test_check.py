"""What a check finds, and what a repair fixes."""

from __future__ import annotations

import os
import subprocess

import pytest

import vespera_orchestrator as vespera
from support.homes import alter, content_file, rows_of
from vespera_orchestrator.errors import InvalidInputError


def test_a_write_from_a_progress_callback_is_refused_and_harms_nothing(tmp_path):
    """One thread cannot read through the store and write to it: the write is refused."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with vespera.open(one) as orch:
        orch.initialize_session("Goal")
        orch.plan_tasks([{"title": f"task {n}"} for n in range(3)])
        refused = []

        def save(_):
            try:
                orch.plan_task("another")
            except vespera.StoreBusyError as exc:
                refused.append(str(exc))

        orch.export(tmp_path / "export", progress=save)
        refused_by_export = len(refused)
        orch.repair(progress=save)
        assert 0 < refused_by_export < len(refused)
        written = len(orch.query_tasks())
        assert orch.check()
    with vespera.open(two) as orch:
        orch.import_(tmp_path / "export")
        assert 3 <= len(orch.query_tasks(session_id=orch.list_sessions()[0])) <= written


def test_a_sound_home_is_clean_and_looking_changes_nothing(orch):
    """After some of everything a check finds nothing, writes nothing, and says what it read."""
    before = rows_of(orch)
    report = orch.check()
    assert report, str(report)
    assert (report.findings, report.exit_code) == ((), 0)
    assert report.counts["tasks"] == 10
    assert report.counts["contents"] == 6
    assert rows_of(orch) == before
    assert "all is well" in str(report)
    assert "all is well" in report._repr_html_()
    assert orch.repair().done == ()
    assert rows_of(orch) == before
    assert not (orch.home / "backups").exists()


def test_progress_is_reported(orch):
    """Whoever waits can see what is being checked."""
    steps = []
    orch.check(progress=steps.append)
    assert {"rows of tasks", "counters"} <= set(steps)


DAMAGES = {
    "blockers": ("UPDATE tasks SET blockers = 9 WHERE alias = 'third'", "counter"),
    "ready by mistake": ("UPDATE tasks SET blockers = 0 WHERE alias = 'third'", "counter"),
    "met": (
        (
            "UPDATE dependencies SET met = 1 "
            "WHERE task_id = (SELECT id FROM tasks WHERE alias = 'rest')"
        ),
        "counter",
    ),
    "governed": (
        (
            "UPDATE dependencies SET governed = 0 "
            "WHERE task_id = (SELECT id FROM tasks WHERE alias = 'either')"
        ),
        "counter",
    ),
    "superseded": (
        "UPDATE artifacts SET superseded = 1 - superseded WHERE title = 'Notes'",
        "counter",
    ),
    "dependency": ("DELETE FROM tasks WHERE alias = 'doomed'", "reference"),
    "parent": (
        "UPDATE tasks SET parent_task_id = 't_000000000000' WHERE alias = 'rest'",
        "reference",
    ),
    "attempt": (
        (
            "INSERT INTO attempts (task_id, number, agent, started_at, lease_until, last_sign_at) "
            "SELECT 't_0', 1, 'a', 1, 1, 1"
        ),
        "reference",
    ),
    "checkpoint": ("UPDATE checkpoints SET task_id = 't_0' WHERE id = 1", "reference"),
    "state without event": ("UPDATE tasks SET status = 'pending' WHERE alias = 'second'", "state"),
    "nobody holds it": (
        "UPDATE attempts SET ended_at = 1, ending = 'abandoned' WHERE ended_at IS NULL",
        "state",
    ),
    "end": ("UPDATE tasks SET ended_at = NULL WHERE alias = 'first'", "state"),
    "archived": ("UPDATE tasks SET archived = 1 WHERE alias = 'third'", "state"),
    "never ready": (
        (
            "UPDATE tasks SET status = 'pending', ended_at = NULL, archived = 0 "
            "WHERE alias = 'follower'"
        ),
        "state",
    ),
    "no event": ("DELETE FROM events WHERE kind = 'task_completed'", "log"),
    "unheard artifact": ("DELETE FROM events WHERE kind = 'artifact_saved'", "log"),
    "count of attempts": ("UPDATE tasks SET attempts = 0 WHERE alias = 'first'", "counter"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_wrong_row_is_found_and_fixed(orch, damage):
    """Each kind of wrong row is found and fixed, after a backup; then work goes on."""
    statement, kind = DAMAGES[damage]
    alter(orch, statement)
    report = orch.check()
    assert not report
    assert report.exit_code == 2
    assert kind in {finding.kind for finding in report.errors}, str(report)
    damaged = rows_of(orch)
    repaired = orch.repair()
    assert repaired.left.is_clean, str(repaired)
    assert str(repaired.backup) in str(repaired)
    with vespera.open(home=repaired.backup) as backup:
        assert rows_of(backup) == damaged
    assert orch._store.events(kinds=("store_repaired",))
    task = orch.complete_task(orch.plan_task("Afterwards"), summary="s", detailed_work="d")
    assert task.status == "completed"
    assert orch.check(), str(orch.check())


def test_every_damage_at_once(orch):
    """Damages that depend on each other are fixed in one call."""
    for damage, (statement, _) in DAMAGES.items():
        if damage not in {"nobody holds it", "no event"}:
            alter(orch, statement)
    repaired = orch.repair()
    assert repaired.left.is_clean, str(repaired)


def test_what_cannot_be_fixed_is_named_and_left(orch):
    """An unreadable row and a lost content are named with what helps; repair leaves them."""
    alter(orch, "UPDATE tasks SET context = '{broken' WHERE alias = 'third'")
    artifact = next(a for a in orch.artifacts.list(include_superseded=True) if a.title == "Empty")
    content_file(orch, artifact).unlink()
    report = orch.check()
    assert {finding.kind for finding in report.errors} >= {"row", "content"}
    assert "Empty" in str(report)
    assert "backup" in str(report)
    left = orch.repair().left
    assert {"row", "content"} <= {finding.kind for finding in left.errors}


def test_a_circle_is_found(orch):
    """Tasks that wait for each other in a circle are named."""
    alter(
        orch,
        "INSERT INTO dependencies SELECT a.id, b.id, 7, 'success', 0, 0 "
        "FROM tasks AS a, tasks AS b WHERE a.alias = 'part' AND b.alias = 'rest'",
    )
    assert "circle" in {finding.kind for finding in orch.check().errors}


def test_a_damaged_file_is_reported(orch):
    """Damaged pages are found by SQLite's own check and reported, not raised."""
    for n in range(300):
        orch.plan_task(f"Filler {n}", "x" * 500)
    orch.close()
    path = orch.home / "orchestrator.db"
    with path.open("r+b") as stream:
        size = path.stat().st_size
        for page in range(size // 2 // 4096, size * 3 // 4 // 4096):
            stream.seek(page * 4096 + 100)
            stream.write(b"\xff" * 200)
    with vespera.open(orch.project) as again:
        report = again.check()
    assert "storage" in {finding.kind for finding in report.errors}
    assert "backup" in str(report)


def test_markup_in_names_stays_text(orch):
    """A report shown in a notebook holds no markup of a task's name."""
    alter(orch, "UPDATE tasks SET alias = '<b>x</b>', blockers = 9 WHERE alias = 'third'")
    assert "<b>" not in orch.check()._repr_html_()


def test_work_that_waits_to_be_merged_is_not_a_fault(tmp_path):
    """A check finds nothing, a repair leaves it handed in, and an export of it comes back."""
    project = tmp_path / "project"
    project.mkdir()
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], cwd=project, check=True)
    with vespera.open(project) as orch:
        orch.initialize_session("Later")
        orch.plan_task("Lid")
        work = orch.execute_task("lid", worktree=True)
        (work.path / "lid.txt").write_text("round")
        work.complete(summary="round", detailed_work="It is round.", merge="later")
        assert orch.check().findings == ()
        assert orch.repair().done == ()
        orch.export(tmp_path / "export.jsonl")
        orch.worktrees.merge("lid")
        assert orch.get_task("lid").status == "completed"
        assert not [f for f in orch.check().findings if f.kind == "state"]
    (tmp_path / "other").mkdir()
    with vespera.open(tmp_path / "other") as other:
        assert other.import_(tmp_path / "export.jsonl").rows["tasks"] == 1


def test_contents_of_another_store_in_the_home_are_not_garbage(tmp_path):
    """Whoever forgets to name the store does not remove them."""
    with vespera.open(tmp_path, store=f"sqlite:///{tmp_path}/other.db") as orch:
        orch.initialize_session("Other")
        saved = orch.artifacts.save("Kept", "word")
        home = orch.home
    for file in (home / "artifacts").rglob("*"):
        if file.is_file():
            os.utime(file, (1, 1))
    with (
        vespera.open(tmp_path) as forgetful,
        pytest.raises(InvalidInputError, match=r"other stores put .*other\.db"),
    ):
        forgetful.artifacts.collect_garbage(sole_user=True)
    with vespera.open(tmp_path, store=f"sqlite:///{tmp_path}/other.db") as orch:
        assert orch.artifacts.text(saved) == "word"

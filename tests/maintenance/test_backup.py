"""Backups are whole, and open."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys

import pytest

import vespera_orchestrator as vespera
from support.homes import content_file, do_some_of_everything, rows_of
from vespera_orchestrator.errors import CorruptContentError, InvalidInputError

WRITER = """
import sys, vespera_orchestrator as vespera
with vespera.open(sys.argv[1], agent=sys.argv[2]) as orch:
    print("on", flush=True)
    n = 0
    while True:
        n += 1
        with orch.execute_task(orch.plan_task(f"{sys.argv[2]} {n}")) as work:
            work.checkpoint({"n": n})
            work.complete(summary=str(n), detailed_work=f"{sys.argv[2]} {n}" * 50)
"""


def test_a_backup_of_a_home_in_use_is_whole(orch, tmp_path):
    """Taken while two processes write, each backup opens, is clean, and lacks nothing old."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, orch.project, name], stdout=subprocess.PIPE)
        for name in ("one", "two")
    ]
    try:
        for writer in writers:
            writer.stdout.readline()
        reports = []
        for number in range(4):
            before = {task.id for task in orch.query_tasks(status="completed", limit=None)}
            reports.append(orch.backup(tmp_path / f"backup {number}", link=bool(number % 2)))
            with vespera.open(home=tmp_path / f"backup {number}") as backup:
                assert backup.check(), str(backup.check())
                after = backup.query_tasks(status="completed", limit=None)
                assert before <= {task.id for task in after}
            next(e for e in orch.watch(timeout_s=60) if e.kind == "task_completed")
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert reports[-1].tasks > reports[0].tasks
    assert all(report.problems == () for report in reports)


def bytes_of(orch):
    """Every content, by the id of its artifact."""
    artifacts = orch.artifacts.list(include_superseded=True)
    return {artifact.id: orch.artifacts.read(artifact) for artifact in artifacts}


def test_a_lost_home_is_restored_from_its_backup(orch, tmp_path):
    """A backup in the place of the home is the home: same rows and bytes, and work goes on."""
    orch.backup(tmp_path / "kept")
    before, bytes_before = rows_of(orch), bytes_of(orch)
    orch.close()
    shutil.rmtree(orch.home)
    shutil.copytree(tmp_path / "kept", orch.home)
    with vespera.open(orch.project) as again:
        assert rows_of(again) == before
        assert bytes_of(again) == bytes_before
        assert again.current_session().goal == "Maintenance"
        task = again.complete_task(again.plan_task("On"), summary="s", detailed_work="d")
        assert task.status == "completed"
    db = sqlite3.connect(orch.home / "orchestrator.db")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_nothing_is_overwritten_and_half_a_backup_never_appears(orch, tmp_path):
    """A path that exists is refused and left alone; a backup that fails leaves nothing."""
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(InvalidInputError, match="exists already"):
        orch.backup(taken)
    with pytest.raises(InvalidInputError, match="exists already"):
        orch.export(taken)
    (orch.home / "config.toml").unlink()
    (orch.home / "templates").rmdir()
    (orch.home / "templates").symlink_to(tmp_path / "templates")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "gone").symlink_to(tmp_path / "nowhere")  # cannot be copied
    with pytest.raises((vespera.VesperaError, shutil.Error)):
        orch.backup(tmp_path / "never")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project", "taken", "templates"]


def test_a_damaged_content_does_not_keep_the_rest_from_being_saved(orch, tmp_path):
    """What was damaged before is named in the report and in the backup; the rest is in it."""
    artifact = next(a for a in orch.artifacts.list() if a.title == "Binary")
    file = content_file(orch, artifact)
    file.chmod(0o600)
    file.write_bytes(b"damaged")
    report = orch.backup(tmp_path / "kept")
    assert "Binary" in report.problems[0]
    assert "Binary" in (tmp_path / "kept" / "backup.json").read_text()
    assert orch.export(tmp_path / "kept.jsonl").problems
    with vespera.open(home=tmp_path / "kept") as kept, pytest.raises(CorruptContentError):
        kept.artifacts.read(artifact)


def test_a_store_in_memory_can_be_saved(tmp_path):
    """A backup of a store that lives in memory is a home with a file."""
    with vespera.open(tmp_path, store="memory:") as orch:
        do_some_of_everything(orch)
        orch.backup(tmp_path / "kept")
        before = rows_of(orch)
    with vespera.open(home=tmp_path / "kept") as kept:
        assert rows_of(kept) == before


def test_a_backup_reads_the_contents_that_lie_in_it(tmp_path):
    """Its own contents count, not the place that the settings of the home named."""
    home = tmp_path / "project" / ".task_orchestrator"
    home.mkdir(parents=True)
    (home / "config.toml").write_text(
        f"content = 'file://{tmp_path}/elsewhere'\n[worktrees]\nbranch_prefix = 'x/'\n"
    )
    with vespera.open(tmp_path / "project") as orch:
        orch.initialize_session("Elsewhere")
        saved = orch.artifacts.save("Kept", "word " * 3000)
        orch.backup(tmp_path / "backup")
    shutil.rmtree(tmp_path / "elsewhere")
    with vespera.open(tmp_path, home=tmp_path / "backup") as backup:
        assert backup.artifacts.text(saved) == "word " * 3000
        assert backup._scope.home.config.worktrees.branch_prefix == "x/"

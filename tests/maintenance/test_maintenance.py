"""Care of a home: what check finds and repair mends, backups that open, exports that come back, what pruning keeps."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import CorruptContentError, InvalidInputError, TransitionError


@pytest.fixture
def orch(tmp_path, clock):
    """A home in which there was some of everything."""
    folder = tmp_path / "project"
    folder.mkdir()
    with vespera.open(folder, clock=clock) as opened:
        live(opened)
        yield opened


def live(orch):
    """Do some of everything: completed, blocked with a recovery, skipped, cancelled, archived, held, waiting by a condition."""
    orch.initialize_session("Care", context={"why": "tests"})
    orch.plan_tasks(
        [
            {"title": "First"},
            {"title": "Second", "dependencies": ["first"], "condition": "first.outputs.n > 1"},
            {"title": "Third", "dependencies": ["second"]},
            {
                "title": "Whole",
                "children": [{"title": "Part"}, {"title": "Rest", "dependencies": ["part"]}],
            },
            {"title": "Doomed"},
            {"title": "Follower", "dependencies": ["doomed"]},
            {
                "title": "Either",
                "dependencies": ["third", "whole"],
                "condition": "third.success or whole.failed",
            },
        ]
    )
    with orch.execute_task("first") as work:
        for n in range(5):
            work.checkpoint({"n": n}, f"step {n}")
        work.save_artifact("Notes", "one")
        work.save_artifact("Notes", "two")
        work.complete(summary="done", detailed_work="# First\n\nöäü\n", outputs={"n": 2})
    orch.complete_task("part", summary="it broke", detailed_work="so far", next_action="blocked")
    orch.cancel_task("doomed", "not wanted")
    orch.delete_task("follower")
    orch.execute_task("second", agent="other", lease_s=10**6).checkpoint({"at": 1})
    orch.artifacts.save("Binary", bytes(range(256)) * 8000)
    orch.artifacts.save("Empty", "")


def rows_of(orch):
    """Every row of every table."""
    with orch._store.ledger() as ledger:
        return {table: list(ledger.rows(table)) for table in TABLES}


def alter(orch, *statements):
    """Change the database as no store of ours does."""
    db = sqlite3.connect(orch.home / "orchestrator.db")
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


# --- check and repair ---------------------------------------------------------------


def test_a_write_from_a_progress_callback_is_refused_and_harms_nothing(tmp_path):
    """Looking through the store and writing to it do not mix within one thread: the write is refused, what was under way goes on."""
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
            except vespera.StoreUnavailableError as exc:
                refused.append(str(exc))

        orch.export(tmp_path / "export", progress=save)
        said = len(refused)
        orch.repair(progress=save)
        assert 0 < said < len(refused)
        written = len(orch.query_tasks())
        assert orch.check()
    with vespera.open(two) as orch:
        orch.import_(tmp_path / "export")
        assert 3 <= len(orch.query_tasks(session_id=orch.list_sessions()[0])) <= written


def test_a_sound_home_is_clean_and_looking_changes_nothing(orch):
    """After some of everything a check finds nothing, writes nothing, and says how much it looked at."""
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


def test_progress_is_told(orch):
    """Whoever waits can see what is being looked at."""
    said = []
    orch.check(progress=said.append)
    assert {"rows of tasks", "counters"} <= set(said)


DAMAGES = {
    "blockers": ("UPDATE tasks SET blockers = 9 WHERE alias = 'third'", "counter"),
    "ready by mistake": ("UPDATE tasks SET blockers = 0 WHERE alias = 'third'", "counter"),
    "met": (
        "UPDATE dependencies SET met = 1 WHERE task_id = (SELECT id FROM tasks WHERE alias = 'rest')",
        "counter",
    ),
    "governed": (
        "UPDATE dependencies SET governed = 0 WHERE task_id = (SELECT id FROM tasks WHERE alias = 'either')",
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
        "INSERT INTO attempts (task_id, number, agent, started_at, lease_until, last_sign_at) SELECT 't_0', 1, 'a', 1, 1, 1",
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
        "UPDATE tasks SET status = 'pending', ended_at = NULL, archived = 0 WHERE alias = 'follower'",
        "state",
    ),
    "no event": ("DELETE FROM events WHERE kind = 'task_completed'", "log"),
    "unheard artifact": ("DELETE FROM events WHERE kind = 'artifact_saved'", "log"),
    "count of attempts": ("UPDATE tasks SET attempts = 0 WHERE alias = 'first'", "counter"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_is_found_and_put_right(orch, damage):
    """Each kind of wrong row is found; repair mends it, with a backup of the home as it was; then the home is clean and work goes on."""
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
    with vespera.open(home=repaired.backup) as kept:
        assert rows_of(kept) == damaged
    assert orch._store.events(kinds=("store_repaired",))
    assert (
        orch.complete_task(orch.plan_task("Afterwards"), summary="s", detailed_work="d").status
        == "completed"
    )
    assert orch.check(), str(orch.check())


def test_every_damage_at_once(orch):
    """Damages that hang together are mended in one go."""
    for damage, (statement, _) in DAMAGES.items():
        if damage not in {"nobody holds it", "no event"}:
            alter(orch, statement)
    repaired = orch.repair()
    assert repaired.left.is_clean, str(repaired)


def test_what_cannot_be_mended_is_told_and_left(orch):
    """A row nothing can read, and a lost content, are named with what helps, and repair leaves them as they are."""
    alter(orch, "UPDATE tasks SET context = '{broken' WHERE alias = 'third'")
    artifact = next(a for a in orch.artifacts.list(include_superseded=True) if a.title == "Empty")
    place = next(
        orch.home.joinpath("artifacts", artifact.digest[:2]).glob(artifact.digest[2:] + "*")
    )
    place.unlink()
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
        "INSERT INTO dependencies SELECT a.id, b.id, 7, 'success', 0, 0 FROM tasks AS a, tasks AS b "
        "WHERE a.alias = 'part' AND b.alias = 'rest'",
    )
    assert "circle" in {finding.kind for finding in orch.check().errors}


def test_a_damaged_file_is_told(orch):
    """Damaged pages are found by SQLite's own check and told, not raised."""
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


# --- backup -------------------------------------------------------------------------

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
    """While two processes write, backups are taken: each opens, is clean, has every content that its rows name, and lacks nothing old."""
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
            with vespera.open(home=tmp_path / f"backup {number}") as kept:
                assert kept.check(), str(kept.check())
                assert before <= {
                    task.id for task in kept.query_tasks(status="completed", limit=None)
                }
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert reports[-1].tasks > reports[0].tasks
    assert all(report.problems == () for report in reports)


def test_a_lost_home_is_restored_from_its_backup(orch, tmp_path):
    """The backup put in the home's place is the home: same tasks, artifacts, session, and the work goes on in it."""
    orch.backup(tmp_path / "kept")
    before, bytes_before = (
        rows_of(orch),
        {a.id: orch.artifacts.read(a) for a in orch.artifacts.list(include_superseded=True)},
    )
    orch.close()
    shutil.rmtree(orch.home)
    shutil.copytree(tmp_path / "kept", orch.home)
    with vespera.open(orch.project) as again:
        assert rows_of(again) == before
        assert {
            a.id: again.artifacts.read(a) for a in again.artifacts.list(include_superseded=True)
        } == bytes_before
        assert again.current_session().goal == "Care"
        assert (
            again.complete_task(again.plan_task("On"), summary="s", detailed_work="d").status
            == "completed"
        )
    db = sqlite3.connect(orch.home / "orchestrator.db")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_nothing_is_overwritten_and_half_a_backup_never_appears(orch, tmp_path):
    """A place that is taken is refused and left alone; a backup that fails leaves nothing."""
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
    """What was damaged before is named in the report and in the backup's note, and everything else is in it."""
    artifact = next(a for a in orch.artifacts.list() if a.title == "Binary")
    place = next(
        orch.home.joinpath("artifacts", artifact.digest[:2]).glob(artifact.digest[2:] + "*")
    )
    place.chmod(0o600)
    place.write_bytes(b"damaged")
    report = orch.backup(tmp_path / "kept")
    assert "Binary" in report.problems[0]
    assert "Binary" in (tmp_path / "kept" / "backup.json").read_text()
    assert orch.export(tmp_path / "kept.jsonl").problems
    with vespera.open(home=tmp_path / "kept") as kept, pytest.raises(CorruptContentError):
        kept.artifacts.read(artifact)


def test_a_store_in_memory_can_be_saved(tmp_path):
    """A backup of a store that lives in memory is a home with a file."""
    with vespera.open(tmp_path, store="memory:") as orch:
        live(orch)
        orch.backup(tmp_path / "kept")
        before = rows_of(orch)
    with vespera.open(home=tmp_path / "kept") as kept:
        assert rows_of(kept) == before


def test_care_is_the_same_on_postgresql(new_postgres_url, tmp_path):
    """Check, repair, backup, export, import and prune work on PostgreSQL; what was exported there comes back in SQLite and there again."""
    with vespera.open(tmp_path, store=new_postgres_url()) as orch:
        live(orch)
        assert orch.check(), str(orch.check())
        orch.export(tmp_path / "all.jsonl")
        orch.backup(tmp_path / "kept")
        before = rows_of(orch)
        with orch._store.ledger(write=True) as ledger:
            ledger.change("tasks", {"alias": "third"}, {"blockers": 5})
            ledger.change("tallies", {"status": "completed"}, {"tasks": 40})
        assert orch.check().exit_code == 2
        repaired = orch.repair()
        assert repaired.left, str(repaired)
        assert rows_of(orch)["tasks"] == before["tasks"]
        assert (
            orch.complete_task(orch.plan_task("Goes on"), summary="s", detailed_work="d").status
            == "completed"
        )
        assert orch.prune(timedelta(0), keep_events=0, keep_checkpoints=1).checkpoints == 4
        assert orch.check(), str(orch.check())
    with vespera.open(home=tmp_path / "kept") as kept:
        assert rows_of(kept) == before
        assert kept.check(), str(kept.check())
        kept.export(tmp_path / "again.jsonl")
    (tmp_path / "other").mkdir()
    with vespera.open(tmp_path / "other", store=new_postgres_url()) as other:
        other.import_(tmp_path / "again.jsonl")
        got = rows_of(other)
        assert got.pop("events")[:-1] == before.pop("events")
        assert got == before
        assert other.check(), str(other.check())
        assert (
            other.complete_task(other.plan_task("Goes on"), summary="s", detailed_work="d").status
            == "completed"
        )
        assert other.check(), str(other.check())


# --- export and import --------------------------------------------------------------


def test_an_export_comes_back_the_same(orch, tmp_path):
    """Rows, ids, numbers, contents and the active session are those that were exported; one event tells of the import."""
    report = orch.export(tmp_path / "all.jsonl")
    assert (report.contents, report.rows["tasks"]) == (6, 10)
    (tmp_path / "new").mkdir()
    with vespera.open(tmp_path / "new") as fresh:
        fresh.import_(tmp_path / "all.jsonl")
        got, was = rows_of(fresh), rows_of(orch)
        assert got.pop("events")[:-1] == was.pop("events")
        assert got == was
        assert fresh.check(), str(fresh.check())
        assert fresh.current_session().id == orch.current_session().id
        for artifact in orch.artifacts.list(include_superseded=True):
            assert fresh.artifacts.read(artifact.id) == orch.artifacts.read(artifact)
        assert fresh.plan_task("Next").id
        assert fresh._store.last_seq() > orch._store.last_seq()


def test_an_export_can_be_read(orch, tmp_path):
    """The first line says that it is derived, times and structures are readable, text contents stand there as text."""
    orch.export(tmp_path / "all.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text("utf-8").splitlines()]
    assert "derived" in lines[0]["notice"]
    first = next(line for line in lines if line.get("alias") == "first")
    assert (first["outputs"], first["created_at"]) == ({"n": 2}, "2026-01-01T12:00:00+00:00")
    assert "# First\n\nöäü\n" in [line.get("text") for line in lines]
    pieces = [line for line in lines if "base64" in line]
    assert b"".join(base64.b64decode(line["base64"]) for line in pieces) == bytes(range(256)) * 8000
    assert lines[-1]["lines"] == len(lines) - 1


def test_an_export_without_contents_names_them(orch, tmp_path):
    """Without contents it is small, and a home that has them already takes it."""
    orch.export(tmp_path / "rows.jsonl", contents=False)
    assert b"base64" not in (tmp_path / "rows.jsonl").read_bytes()
    fresh = tmp_path / "fresh"
    (fresh / ".task_orchestrator").mkdir(parents=True)
    shutil.copytree(orch.home / "artifacts", fresh / ".task_orchestrator" / "artifacts")
    with vespera.open(fresh) as new:
        new.import_(tmp_path / "rows.jsonl")
        assert new.check(), str(new.check())


def test_only_an_empty_home_takes_an_export(orch, tmp_path):
    """A home in which somebody has worked refuses, and is not changed."""
    orch.export(tmp_path / "all.jsonl")
    before = rows_of(orch)
    with pytest.raises(TransitionError, match="in use"):
        orch.import_(tmp_path / "all.jsonl")
    assert rows_of(orch) == before


def without_a_line(text):
    """Leave one line out."""
    lines = text.splitlines(keepends=True)
    return "".join(lines[:7] + lines[8:])


WRONG = {
    "cut short": lambda text: text[: len(text) * 2 // 3],
    "a line is missing": without_a_line,
    "changed": lambda text: text.replace('"Third"', '"Thirds"', 1),
    "another format": lambda text: text.replace('"format":1', '"format":99', 1),
    "something else": lambda _: '{"a": 1}\n',
    "no JSON": lambda _: "hello\n",
    "empty": lambda _: "",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_whole_export_is_refused_and_nothing_is_written(orch, tmp_path, wrong):
    """A file that was cut short, changed, or is something else is refused with the reason; the home stays empty and usable."""
    orch.export(tmp_path / "all.jsonl")
    (tmp_path / "bad.jsonl").write_text(
        WRONG[wrong]((tmp_path / "all.jsonl").read_text("utf-8")), "utf-8"
    )
    (tmp_path / "fresh").mkdir()
    with vespera.open(tmp_path / "fresh") as fresh:
        with pytest.raises(InvalidInputError, match=r"bad\.jsonl"):
            fresh.import_(tmp_path / "bad.jsonl")
        assert not any(rows_of(fresh).values())
        with pytest.raises(InvalidInputError, match="cannot be read"):
            fresh.import_(tmp_path / "missing.jsonl")
        fresh.import_(tmp_path / "all.jsonl")


def test_a_damaged_store_is_not_carried_over(orch, tmp_path):
    """An export of a store with wrong counters is refused as a whole: repair first."""
    alter(orch, "UPDATE tasks SET blockers = 9 WHERE alias = 'third'")
    orch.export(tmp_path / "all.jsonl")
    (tmp_path / "fresh").mkdir()
    with vespera.open(tmp_path / "fresh") as fresh:
        with pytest.raises(InvalidInputError, match="repair that one"):
            fresh.import_(tmp_path / "all.jsonl")
        assert not any(rows_of(fresh).values())


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
jsons = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    context=st.dictionaries(texts, jsons, max_size=4),
    content=st.binary(max_size=200) | texts,
    titles=st.lists(texts, min_size=1, max_size=3),
)
def test_whatever_is_kept_survives_export_and_import(context, content, titles):
    """Any JSON, any text, any bytes come back exactly."""
    with tempfile.TemporaryDirectory() as room:
        one, two = Path(room, "one"), Path(room, "two")
        one.mkdir()
        two.mkdir()
        with vespera.open(one) as orch, vespera.open(two) as fresh:
            orch.initialize_session("", context=context)
            for title in titles:
                if title.strip():
                    orch.plan_task(title, context=context)
            artifact = orch.artifacts.save("A", content, metadata=context)
            orch.export(Path(room, "all.jsonl"))
            fresh.import_(Path(room, "all.jsonl"))
            got, was = rows_of(fresh), rows_of(orch)
            assert got.pop("events")[:-1] == was.pop("events")
            assert got == was
            assert fresh.artifacts.read(artifact.id) == orch.artifacts.read(artifact)


# --- prune --------------------------------------------------------------------------


def test_pruning_keeps_all_that_something_refers_to(orch, clock):
    """The last checkpoints, what recoveries name, the events that tell states and looks back: all stay, and nothing else is lost."""
    clock.now += timedelta(days=200)
    before = rows_of(orch)
    wanted = orch.prune(timedelta(days=90), keep_events=0, keep_checkpoints=1, dry_run=True)
    assert rows_of(orch) == before
    done = orch.prune(timedelta(days=90), keep_events=0, keep_checkpoints=1)
    assert (done.events, done.checkpoints) == (wanted.events, wanted.checkpoints)
    assert done.checkpoints == 4
    assert done.events > 10
    after = rows_of(orch)
    for table in set(TABLES) - {"events", "checkpoints"}:
        assert after[table] == before[table]
    assert {row["task_id"] for row in after["checkpoints"]} == {
        row["task_id"] for row in before["checkpoints"]
    }
    assert orch.check(), str(orch.check())
    assert str(orch.resume())
    assert orch.artifacts.search("First")
    assert orch.execute_task("second", take_over=True).resumed_from.state == {"at": 1}
    again = orch.prune(timedelta(days=90), keep_events=0, keep_checkpoints=1)
    assert again.checkpoints == 0


def test_what_is_young_or_among_the_newest_stays(orch, clock):
    """Age and count each protect."""
    assert (
        orch.prune(timedelta(days=1), keep_events=0).events,
        orch.prune(timedelta(days=1)).checkpoints,
    ) == (0, 0)
    clock.now += timedelta(days=200)
    assert orch.prune(timedelta(days=1), keep_events=10_000, keep_checkpoints=9).events == 0
    with pytest.raises(InvalidInputError, match="keep_checkpoints"):
        orch.prune(keep_checkpoints=0)
    with pytest.raises(InvalidInputError, match="older_than"):
        orch.prune(30)


def test_a_checkpoint_that_a_recovery_names_stays(tmp_path, clock):
    """However old it is, and however many came after it."""
    with vespera.open(tmp_path, clock=clock) as orch:
        orch.initialize_session("x")
        task = orch.plan_task("T")
        work = orch.execute_task(task)
        named = work.checkpoint(1)
        work.fail("broke")
        orch.complete_task("recover_t", summary="s", detailed_work="d")
        work = orch.execute_task(task)
        for n in range(5):
            work.checkpoint(n)
        clock.now += timedelta(days=200)
        assert orch.prune(keep_events=0, keep_checkpoints=1).checkpoints == 4
        assert named.id in {row["id"] for row in rows_of(orch)["checkpoints"]}


def test_growth_is_linear_in_the_work(tmp_path, clock):
    """With pruning, a task that beats for ever leaves a bounded log: twice the work does not leave twice the rows."""
    sizes = []
    with vespera.open(tmp_path, clock=clock) as orch:
        orch.initialize_session("x")
        work = orch.execute_task(orch.plan_task("T"))
        for _ in range(2):
            for n in range(200):
                work.heartbeat()
                work.checkpoint(n)
            clock.now += timedelta(days=1)
            work.heartbeat()
            orch.prune(timedelta(hours=1), keep_events=50)
            sizes.append({table: len(rows) for table, rows in rows_of(orch).items()})
    assert sizes[1]["checkpoints"] == sizes[0]["checkpoints"] == 3
    assert sizes[1]["events"] <= sizes[0]["events"] + 3


# --- the way in ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "call", ["check", "repair", "prune", "backup", "export", "import_", "watch"]
)
def test_closed_is_closed(orch, tmp_path, call):
    """After close nothing is looked at any more."""
    orch.close()
    with pytest.raises(vespera.ClosedError):
        getattr(orch, call)(*([tmp_path / "x"] if call in {"backup", "export", "import_"} else []))


def test_every_table_is_known(orch):
    """Whatever table a migration adds is either carried over by export and backup, or kept by the database itself."""
    db = sqlite3.connect(orch.home / "orchestrator.db")
    there = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    columns = {
        table: {row[1] for row in db.execute(f"PRAGMA table_info({table})")} for table in TABLES
    }
    db.close()
    assert there <= {*TABLES, "tallies", "migrations", "sqlite_sequence"}
    for table, spec in TABLES.items():
        assert {*spec.key, *spec.times, *spec.structures} <= columns[table]
        assert {name for name in columns[table] if name.endswith("_at")} <= {*spec.times}


# --- what falls between the rooms ---------------------------------------------------


def test_work_that_waits_to_be_merged_is_no_fault(tmp_path):
    """A check passes over it, a repair leaves it handed in, and an export of it comes back."""
    project = tmp_path / "project"
    project.mkdir()
    for command in (
        ["init", "-q"],
        [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "first",
        ],
    ):
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


def test_a_backup_reads_the_contents_that_lie_in_it(tmp_path):
    """It stands in for a lost place of contents, which its settings would name otherwise."""
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


def test_contents_of_another_store_in_the_home_are_no_garbage(tmp_path):
    """Whoever forgets to name the store does not take them away."""
    with vespera.open(tmp_path, store=f"sqlite:///{tmp_path}/other.db") as orch:
        orch.initialize_session("Other")
        saved = orch.artifacts.save("Kept", "word")
        home = orch.home
    for file in (home / "artifacts").rglob("*"):
        if file.is_file():
            os.utime(file, (1, 1))
    with (
        vespera.open(tmp_path) as forgetful,
        pytest.raises(InvalidInputError, match="sole_user=True"),
    ):
        forgetful.artifacts.collect_garbage()
    with vespera.open(tmp_path, store=f"sqlite:///{tmp_path}/other.db") as orch:
        assert orch.artifacts.text(saved) == "word"


def test_pruning_from_before_the_calendar_is_refused_in_our_words(orch):
    """A duration that no clock reaches back to is a wrong argument."""
    with pytest.raises(InvalidInputError, match="older_than"):
        orch.prune(timedelta.max)

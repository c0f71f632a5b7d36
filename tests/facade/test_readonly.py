"""``open(readonly=True)``: everything that reads works, and nothing whatsoever is written."""

from __future__ import annotations

import inspect
import logging
import os
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

import vespera_orchestrator as vespera
from support.children import answer, python
from support.git_project import make_repository
from vespera_orchestrator.artifacts import Artifacts
from vespera_orchestrator.documents.engine import Documents
from vespera_orchestrator.home.scope import writes
from vespera_orchestrator.stores.postgres import foresight
from vespera_orchestrator.testing import ManualClock, MemoryStore
from vespera_orchestrator.work.worktrees import Worktrees

ROOMS = {"": vespera.Orchestrator, "artifacts": Artifacts, "worktrees": Worktrees}
ROOMS["documents"] = Documents

READS = {
    "": {
        "current_session": lambda orch, _: orch.current_session(),
        "list_sessions": lambda orch, _: orch.list_sessions(),
        "session_status": lambda orch, _: orch.session_status(),
        "team_settings": lambda orch, _: orch.team_settings(),
        "spawn_agent_with_context": lambda orch, _: orch.spawn_agent_with_context("held").prompt(),
        "shared_context": lambda orch, _: orch.shared_context(),
        "resume": lambda orch, _: orch.resume(),
        "digest": lambda orch, _: orch.digest(),
        "pressure": lambda orch, _: orch.pressure(),
        "usual_time": lambda orch, _: orch.usual_time("held"),
        "roles": lambda orch, _: orch.roles(),
        "get_task": lambda orch, _: orch.get_task("held"),
        "query_tasks": lambda orch, _: orch.query_tasks(text="held"),
        "ready_tasks": lambda orch, _: orch.ready_tasks(),
        "why": lambda orch, _: orch.why("held"),
        "next_step": lambda orch, _: orch.next_step(),
        "get_status": lambda orch, _: orch.get_status(),
        "graph": lambda orch, _: orch.graph().to_mermaid(),
        "history": lambda orch, _: orch.history(),
        "watch": lambda orch, _: list(orch.watch(0, timeout_s=0)),
        "on_event": lambda orch, _: orch.on_event(print)(),
        "check": lambda orch, _: orch.check(),
        "prune": lambda orch, _: orch.prune(dry_run=True),
        "export": lambda orch, folder: orch.export(folder / "all.jsonl"),
        "backup": lambda orch, folder: orch.backup(folder / "backup"),
    },
    "artifacts": {
        "get": lambda orch, _: orch.artifacts.get(orch.artifacts.list()[0].id),
        "find": lambda orch, _: orch.artifacts.find("Notes"),
        "read": lambda orch, _: orch.artifacts.read(orch.artifacts.list()[0]),
        "open": lambda orch, _: orch.artifacts.open(orch.artifacts.list()[0]).__enter__().close(),
        "text": lambda orch, _: orch.artifacts.text(orch.artifacts.list()[0]),
        "show": lambda orch, _: orch.artifacts.show(orch.artifacts.list()[0]),
        "list": lambda orch, _: orch.artifacts.list(),
        "versions": lambda orch, _: orch.artifacts.versions(orch.artifacts.list()[0]),
        "diff": lambda orch, _: orch.artifacts.diff(orch.artifacts.list()[0]),
        "export": lambda orch, folder: orch.artifacts.export(folder / "files"),
        "verify": lambda orch, _: orch.artifacts.verify(),
        "search": lambda orch, _: orch.artifacts.search("lighthouse"),
        "context": lambda orch, _: orch.artifacts.context("lighthouse", task="held"),
        "context_uses": lambda orch, _: orch.artifacts.context_uses(),
        "check_index": lambda orch, _: orch.artifacts.check_index(),
        "index_status": lambda orch, _: orch.artifacts.index_status(),
        "verify_index": lambda orch, _: orch.artifacts.verify_index(),
        "collect_garbage": lambda orch, _: orch.artifacts.collect_garbage(dry_run=True),
    },
    "worktrees": {
        "list": lambda orch, _: orch.worktrees.list(),
        "find": lambda orch, _: orch.worktrees.find("held"),
        "brought": lambda orch, _: orch.worktrees.brought("held"),
        "forecast": lambda orch, _: orch.worktrees.forecast(),
        "rescue": lambda orch, _: orch.worktrees.rescue(),
        "check": lambda orch, _: orch.worktrees.check(),
    },
    "documents": {
        "drop_memory": lambda orch, _: orch.documents.drop_memory(),
        "project_types": lambda orch, _: orch.documents.project_types(),
        "check": lambda orch, _: orch.documents.check(),
        "explain": lambda orch, _: orch.documents.explain(_document(orch), "api"),
        "proposals": lambda orch, _: orch.documents.proposals(),
        "versions": lambda orch, _: orch.documents.versions(_document(orch)),
        "read": lambda orch, _: orch.documents.read(orch.documents.versions(_document(orch))[0]),
        "diff": lambda orch, _: orch.documents.diff(_document(orch)),
        "merge": lambda orch, _: orch.documents.merge(_document(orch), b"a", b"b", b"a"),
    },
}
"""Every public call that reads, by room: a call of it, with a folder outside of the home."""
ALWAYS = {"open", "close"}


def _document(orch):
    return orch._store.document_versions()[0].path


def members(room):
    """Return the names of the public calls of a room."""
    methods = inspect.getmembers(ROOMS[room], inspect.isfunction)
    return {name for name, _ in methods if not name.startswith("_")}


def fingerprint(*folders):
    """Return kinds, rights and bytes of everything in *folders*, and the times of files.

    Without those of git's packs: libgit2 notes in their times that they are in use.
    """
    found = {}
    for place in (each for folder in folders for each in (folder, *folder.rglob("*"))):
        status = place.lstat()
        time = None if place.suffix == ".pack" else status.st_mtime_ns
        content = place.read_bytes() if place.is_file() else None
        found[str(place)] = (status.st_mode, time, content)
    return found


def fill(project, clock):
    """Make a home with some of everything: a document, two worktrees in conflict, an index, a
    lease that is about to end, tasks that nobody has weighed.
    """
    with vespera.open(project, clock=clock) as orch:
        orch.initialize_session("Look", project_type="software_development")
        orch.plan_task("Landed")
        with orch.execute_task("landed", worktree=True) as work:
            Path(work.path, "story.txt").write_text("of the lighthouse\n")
            work.complete(summary="done", detailed_work="the keeper of the lighthouse")
        for alias in ("held", "left"):
            orch.plan_task(alias.title(), alias=alias)
            work = orch.execute_task(alias, agent=alias, worktree=True, lease_s=60)
            Path(work.path, "story.txt").write_text(f"by {alias}\n")
            work.checkpoint({})
        orch.artifacts.save("Notes", "1")
        orch.artifacts.save("Notes", "2")
        assert orch.artifacts.search("lighthouse")
        orch.plan_task("Behind", dependencies=["left"], estimated_effort="9 hours")
    clock.advance(3600)


@pytest.fixture
def project(identity, tmp_path):  # noqa: ARG001 - git must know who commits
    """A repository with one commit."""
    return make_repository(tmp_path / "project", {"story.txt": "one\n"})


@pytest.fixture
def clock():
    """A clock that starts now, because git's objects have times of their own."""
    return ManualClock(vespera._model.utcnow())


def refuses_to_write(room, name):
    """Tell whether a call refuses a home that is only looked at, beneath whatever else wraps it."""
    layer = inspect.getattr_static(room, name)
    while layer is not None:
        if getattr(layer, "__code__", None) is WRITES:
            return True
        layer = getattr(layer, "__wrapped__", None)
    return False


WRITES = writes(lambda: None).__code__
"""What `writes` puts around a call."""


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_call_reads_or_writes(room):
    """None is forgotten."""
    writing = {name for name in members(room) if refuses_to_write(ROOMS[room], name)}
    reading = set(READS[room])
    assert members(room) - writing - reading - ALWAYS == set()
    assert reading - members(room) == set()
    assert (writing & reading) - {"open"} == set()


def test_everything_that_reads_works_and_writes_nothing(project, clock, tmp_path, caplog):
    """Not a byte, not a time, and nothing is left of what was opened."""
    fill(project, clock)
    places = [project, *(tmp_path / "worktrees").iterdir()]
    before = fingerprint(*places)
    caplog.set_level(logging.WARNING)
    with vespera.open(project, readonly=True, clock=clock) as orch:
        for room, calls in READS.items():
            outside = tmp_path / f"outside {room}"
            outside.mkdir()
            for name, call in calls.items():
                str(call(orch, outside))
                now = {str(place) for place in (project, *project.rglob("*"))}
                assert now <= set(before), (room, name)
        assert orch.artifacts.search("lighthouse")[0].title == "Landed"
        assert {task.alias for task in orch.ready_tasks()} == {"held", "left"}
        assert [str(clash) for clash in orch.worktrees.forecast().clashes]
    assert fingerprint(*places) == before
    assert caplog.records == []


@pytest.mark.parametrize("room", ROOMS)
def test_everything_that_writes_is_refused_before_it_begins(project, room):
    """By our own error, whatever the arguments."""
    vespera.open(project).close()
    before = fingerprint(project)
    with vespera.open(project, readonly=True) as orch:
        owner = getattr(orch, room) if room else orch
        for name in members(room) - set(READS[room]) - ALWAYS:
            with pytest.raises(vespera.ReadOnlyError, match="opened with readonly=True"):
                getattr(owner, name)()
        if room == "worktrees":
            with pytest.raises(vespera.ReadOnlyError):
                orch.worktrees.forecast(fresh=True)
        if room == "artifacts":
            with pytest.raises(vespera.ReadOnlyError):
                orch.artifacts.collect_garbage()
        if not room:
            with pytest.raises(vespera.ReadOnlyError):
                orch.prune()
    assert fingerprint(project) == before


CHILD = """
import pathlib, tempfile
import vespera_orchestrator as vespera
def look(project, elsewhere):
    with vespera.open(project, readonly=True) as orch:
        looks = [orch.get_status, orch.resume, orch.next_step, orch.query_tasks, orch.check]
        looks += [lambda: orch.why("a"), lambda: orch.graph().to_mermaid(), orch.digest]
        looks += [orch.pressure, orch.session_status]
        if len(sys.argv) > 3:
            looks += [lambda: orch.artifacts.search("hot")]
        looks += [lambda: orch.artifacts.text(orch.artifacts.list()[0])]
        looks += [lambda: list(orch.watch(0, timeout_s=0))]
        looked = [str(look()) for look in looks]
        try:
            orch.plan_task("B")
        except vespera.ReadOnlyError as exc:
            return looked, str(exc)
look(sys.argv[1], sys.argv[2])  # what is imported on the way is imported while it can be
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
looked, refused = look(sys.argv[1], sys.argv[2])
done(looked=looked, refused=refused)
"""


@pytest.mark.parametrize("is_closed", [pytest.param(True, marks=pytest.mark.soak), False])
def test_another_persons_home_can_be_looked_at(public_path, is_closed):
    """Every folder is closed to writing (0555), whether its owner works there or not."""
    project = public_path / "project"
    project.mkdir()
    orch = vespera.open(project)
    orch.initialize_session("Boil water")
    orch.plan_task("A")
    orch.artifacts.save("Notes", "hot")
    search = []
    if is_closed:
        assert orch.artifacts.search("hot")
        search = ["search"]
        orch.close()
    for place in [*project.rglob("*"), project]:
        place.chmod(0o555 if place.is_dir() else 0o444)
    names = {str(place) for place in project.rglob("*")}
    said = answer(python(CHILD, project, public_path, *search))
    assert "Boil water" in said["looked"][0]
    assert "hot" in said["looked"]
    assert "readonly=True" in said["refused"]
    assert {str(place) for place in project.rglob("*")} == names
    orch.close()


def test_where_there_is_nothing_to_look_at_nothing_is_made(tmp_path):
    """Neither the home, nor its database."""
    with pytest.raises(vespera.HomeNotFoundError, match="open it without readonly"):
        vespera.open(tmp_path, readonly=True)
    (tmp_path / ".task_orchestrator").mkdir()
    with pytest.raises(vespera.HomeNotFoundError):
        vespera.open(tmp_path, readonly=True)
    assert [place.name for place in tmp_path.rglob("*")] == [".task_orchestrator"]


def test_a_store_that_cannot_be_protected_is_refused(tmp_path):
    """One in memory is empty, and one of the caller's own may write as it likes."""
    vespera.open(tmp_path).close()
    for store in ("memory:", MemoryStore()):
        with pytest.raises(vespera.InvalidInputError, match="readonly"):
            vespera.open(tmp_path, store=store, readonly=True)


def test_an_index_that_is_behind_is_completed_in_memory(tmp_path):
    """Everything that was saved is found, also where there is no index, and nothing is written."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Search")
        orch.artifacts.save("First", "a lighthouse")
    with vespera.open(tmp_path, readonly=True) as orch:
        assert [hit.title for hit in orch.artifacts.search("lighthouse")] == ["First"]
        assert not (orch.home / "index.lance").exists()
    with vespera.open(tmp_path) as orch:
        assert orch.artifacts.search("lighthouse")
        orch.artifacts.save("Second", "another lighthouse")
    with vespera.open(tmp_path, readonly=True) as orch:
        hits = orch.artifacts.search("lighthouse")
        assert {hit.title for hit in hits} == {"First", "Second"}
        assert orch.artifacts.index_status().behind == 1
        assert {artifact.title for artifact in orch.artifacts.list()} == {"First", "Second"}


def test_a_postgresql_store_is_read_with_the_right_to_read(tmp_path, postgres, postgres_url):
    """The server itself keeps such a user from writing, and so do we."""
    with vespera.open(tmp_path, store=postgres_url) as orch:
        orch.initialize_session("Serve")
        orch.plan_task("A")
        orch.plan_task("B", dependencies=["a"])
        session_id = orch.current_session().id
    schema = postgres_url.rpartition("schema=")[2]
    reader = f"reader_{os.urandom(4).hex()}"
    with psycopg.connect(postgres, autocommit=True) as db:
        db.execute(f"CREATE ROLE {reader}")
        db.execute(f"GRANT USAGE ON SCHEMA {schema} TO {reader}")
        db.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}")
        try:
            url = f"{postgres_url}&options=-crole%3D{reader}"
            with vespera.open(tmp_path, store=url, session=session_id, readonly=True) as orch:
                assert "Serve" in str(orch.get_status())
                assert [task.alias for task in orch.ready_tasks()] == ["a"]
                assert orch.why("b").causes
                assert list(orch.watch(0, timeout_s=0))
                assert orch.check()
                with pytest.raises(vespera.ReadOnlyError, match="readonly=True"):
                    orch.plan_task("C")
                with pytest.raises(vespera.ReadOnlyError, match="readonly=True"):
                    orch._store.resume_session(session_id)
                with (
                    orch._store._read() as tx,
                    pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
                ):
                    tx.execute("DELETE FROM tasks")
        finally:
            db.execute(f"DROP OWNED BY {reader}")
            db.execute(f"DROP ROLE {reader}")


def test_a_postgresql_store_without_tables_is_told(tmp_path, postgres_url):
    """Nothing is made there; the error says what brings it up to date."""
    vespera.open(tmp_path).close()
    with pytest.raises(vespera.SchemaVersionError, match="Open it once without readonly"):
        vespera.open(tmp_path, store=postgres_url, readonly=True)


def test_a_postgresql_store_is_seen_as_the_next_writer_will_see_it(tmp_path, postgres_url, clock):
    """A lease has ended and a task wakes by the clock alone. Nothing is written for that, and what
    others write meanwhile is seen.
    """

    def seen(orch):
        ready = sorted(task.alias for task in orch.ready_tasks())
        return [ready, {task.alias: task.status for task in orch.query_tasks()}]

    with vespera.open(tmp_path, store=postgres_url, clock=clock, agent="ada") as orch:
        session = orch.initialize_session("Serve").id
        orch.plan_tasks([{"title": "Held"}, {"title": "Free"}])
        orch.plan_task("Asleep", not_before=clock() + timedelta(hours=1))
        orch.execute_task("held", lease_s=60).checkpoint({}, note="half of it")
    look = {"store": postgres_url, "clock": clock, "session": session, "readonly": True}
    with vespera.open(tmp_path, **look) as visitor:
        assert seen(visitor)[0] == ["free"]
        clock.advance(7200)
        foreseen = seen(visitor)
        assert foreseen[0] == ["asleep", "free", "held"]
        assert "held" not in [run.task.alias for run in visitor.get_status().running]
        assert "'Held'" in visitor.next_step().sentence
        last = visitor._store.last_seq()
        with vespera.open(tmp_path, store=postgres_url, clock=clock, session=session) as orch:
            assert orch._store.last_seq() == last
            assert seen(orch) == foreseen
            orch.plan_task("New")
        assert seen(visitor)[0] == ["asleep", "free", "held", "new"]
        clock.advance(1)
        assert visitor.resume()


def test_a_large_postgresql_store_is_shown_as_its_last_writer_left_it(
    tmp_path, postgres_url, clock, monkeypatch
):
    """Copying it would take too long for a look."""
    monkeypatch.setattr(foresight, "_LARGEST_BYTES", 1)
    with vespera.open(tmp_path, store=postgres_url, clock=clock) as orch:
        session = orch.initialize_session("Serve").id
        orch.plan_task("Held")
        orch.execute_task("held", lease_s=60)
    clock.advance(7200)
    look = {"store": postgres_url, "clock": clock, "session": session, "readonly": True}
    with vespera.open(tmp_path, **look) as visitor:
        assert visitor.ready_tasks() == []


def test_what_the_clock_has_brought_about_is_no_damage(tmp_path, clock):
    """`check` compares what is written, also after a call that looked ahead."""
    with vespera.open(tmp_path, clock=clock) as orch:
        orch.initialize_session("Serve")
        orch.plan_task("Held")
        orch.execute_task("held", lease_s=60)
    clock.advance(7200)
    with vespera.open(tmp_path, clock=clock, readonly=True) as orch:
        for _ in range(2):
            assert [task.alias for task in orch.ready_tasks()] == ["held"]
            assert orch.check()

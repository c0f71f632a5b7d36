"""The façade with every real part behind it: git, documents, the index, other processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from support import ROOT
from support.git_project import git, make_repository
from vespera_orchestrator.tasks import effort, lifecycle


@pytest.fixture
def project(tmp_path):
    """A repository with one commit."""
    return make_repository(tmp_path / "project", {"story.txt": "one\ntwo\nthree\n"})


@pytest.fixture
def orch(project):
    """The façade on that repository, in a session."""
    with vespera.open(project) as opened:
        opened.initialize_session("Goal")
        yield opened


# --- worktrees through the façade ---------------------------------------------


def test_done_means_landed(orch, project):
    """Completing a task with a worktree lands its work, removes the worktree, and touches nothing
    of the user's checkout.
    """
    (project / "untracked.txt").write_text("mine")
    before = git(project, "status", "--porcelain"), git(project, "rev-parse", "HEAD")
    orch.plan_task("Write")
    with orch.execute_task("write", worktree=True) as work:
        (work.path / "new.txt").write_text("new\n")
        work.checkpoint({"n": 1})
        done = work.complete(summary="written", detailed_work="all of it", file_paths=["new.txt"])
    assert done.status == "completed"
    assert git(project, "show", "integration:new.txt") == "new"
    assert git(project, "log", "-1", "--format=%s", "integration") == "Write"
    assert not work.path.exists()
    assert git(project, "worktree", "list").count("\n") == 0
    assert (git(project, "status", "--porcelain"), git(project, "rev-parse", "HEAD")) == before
    assert {a.title for a in orch.artifacts.list(task="write")} == {"Write", "new.txt"}


def test_a_conflict_blocks_one_task_and_is_recovered(orch, project):
    """A conflict does not raise: one recovery task carries it, dependents wait, everything else
    goes on, and it can be resolved.
    """
    orch.plan_tasks(
        [{"title": "left"}, {"title": "right"}, {"title": "after", "dependencies": ["right"]}]
    )
    left, right = (orch.execute_task(name, worktree=True) for name in ("left", "right"))
    (left.path / "story.txt").write_text("one\nLEFT\nthree\n")
    (right.path / "story.txt").write_text("one\nRIGHT\nthree\n")
    assert left.complete(summary="l", detailed_work="left").status == "completed"
    blocked = right.complete(summary="r", detailed_work="the right words")
    assert blocked.status == "blocked"
    recovery = orch.get_task("recover_right")
    assert recovery.context["conflict_paths"] == ["story.txt"]
    assert "in the worktree right" in recovery.description
    conflict = next(a for a in orch.artifacts.list(task="right") if a.kind == "conflict")
    assert conflict.id in recovery.context["artifact_ids"]
    assert "LEFT" in orch.artifacts.text(conflict)
    assert "RIGHT" in orch.artifacts.text(conflict)
    assert not orch.why("after").ready
    orch.complete_task(recovery, summary="resolved", detailed_work="by hand")
    with orch.execute_task("right") as again:
        assert (again.path / "story.txt").read_text() == "one\nRIGHT\nthree\n"
        (again.path / "story.txt").write_text("one\nLEFT\nthree\nRIGHT\n")
        git(again.path, "add", "-A")
        git(again.path, "commit", "-qm", "resolved")
        git(again.path, "merge", "-q", "-X", "ours", "integration")
        assert (
            again.complete(summary="r", detailed_work="the right words, again").status
            == "completed"
        )
    assert git(project, "show", "integration:story.txt") == "one\nLEFT\nthree\nRIGHT"
    assert orch.why("after").ready


def test_markers_that_were_left_are_told_to_whoever_comes_next(orch):
    """A recovery that was completed with the markers in it says why it is pending again, where
    people and agents look.
    """
    orch.plan_tasks([{"title": "left"}, {"title": "right"}])
    left, right = (orch.execute_task(name, worktree=True) for name in ("left", "right"))
    (left.path / "story.txt").write_text("one\nLEFT\nthree\n")
    (right.path / "story.txt").write_text("one\nRIGHT\nthree\n")
    left.complete(summary="l", detailed_work="left")
    right.complete(summary="r", detailed_work="right")
    with orch.execute_task("recover_right") as work:
        assert "Context:" not in work.briefing()
        assert work.complete(summary="nothing", detailed_work="nothing").status == "pending"
    for text in (
        orch.why("recover_right"),
        orch.next_step(),
        orch.execute_task("recover_right").briefing(),
    ):
        assert "both sides of the conflict between markers: story.txt" in str(text)


def test_merging_what_has_landed_says_so(orch):
    """Asked to merge once more, it does not say that there never was such a worktree."""
    orch.plan_tasks([{"title": "one"}, {"title": "two"}])
    for name in ("one", "two"):
        work = orch.execute_task(name, worktree=True)
        (work.path / f"{name}.txt").write_text(name)
        work.checkpoint({})
    orch.complete_task("one", summary="o", detailed_work="o", merge="later")
    orch.worktrees.merge("one")
    with pytest.raises(vespera.WorktreeNotFoundError, match="its work has landed"):
        orch.worktrees.merge("one")
    orch.worktrees.remove("two")
    with pytest.raises(vespera.WorktreeNotFoundError, match="before all its work had landed"):
        orch.worktrees.merge("two")
    assert repr(orch.worktrees.rescue()[0]).startswith("Rescued('two', '20")


def test_a_worktree_taken_away_by_git_while_its_agent_works(orch, project):
    """The error names what brings the files back, and it does."""
    orch.plan_task("one")
    work = orch.execute_task("one", worktree=True)
    (work.path / "one.txt").write_text("one")
    work.checkpoint({})
    git(project, "worktree", "remove", "-f", "-f", str(work.path))
    with pytest.raises(vespera.GitFailedError, match=r"orch\.worktrees\.create"):
        work.complete(summary="o", detailed_work="o")
    orch.worktrees.create("one", resume=True)
    assert (work.path / "one.txt").read_text() == "one"
    assert work.complete(summary="o", detailed_work="o").status == "completed"
    assert git(project, "show", "integration:one.txt") == "one"


KILLED = """
import os, signal, sys
import vespera_orchestrator as vespera
from vespera_orchestrator.tasks import lifecycle
orch = vespera.open()
work = orch.execute_task("write", worktree=True, lease_s=60)
(work.path / "story.txt").write_text("edited\\n")
(work.path / "half.txt").write_text("half\\n")
work.checkpoint({"page": 7}, "page 7", 0.5)
(work.path / "after.txt").write_text("after the checkpoint\\n")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_agent_loses_nothing(orch, project):
    """After SIGKILL the next attempt starts from the checkpoint, with every edit as it was, saved
    before it begins.
    """
    orch.plan_task("Write")
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=project, check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(vespera.NotReadyError, match="you hold it already, as main"):
        orch.execute_task("write")
    later = vespera.open(project, clock=lambda: datetime.now(UTC) + timedelta(minutes=2))
    with later, later.execute_task("write") as work:
        assert work.attempt.number == 2
        assert work.resumed_from.state == {"page": 7}
        assert git(work.path, "show", f"{work.resumed_from.snapshot}:half.txt") == "half"
        assert (work.path / "story.txt").read_text() == "edited\n"
        assert (work.path / "after.txt").read_text() == "after the checkpoint\n"
        work.complete(summary="s", detailed_work="d")
    assert [a.ending for a in orch._store.attempts(orch.get_task("write").id)] == [
        "abandoned",
        "completed",
    ]
    assert git(project, "show", "integration:after.txt") == "after the checkpoint"
    assert git(project, "fsck", "--strict", "--no-dangling") == ""


def test_taking_over_from_an_agent_that_is_gone(orch):
    """Nobody has to wait for a lease: whoever knows that the holder is gone takes the task, and the
    holder, if it lives, loses nothing.
    """
    orch.plan_task("Write")
    first = orch.execute_task("write", agent="rob")
    first.checkpoint({"page": 3}, "page 3")
    with pytest.raises(vespera.NotReadyError, match=r"rob is working on it \(attempt 1, "):
        orch.execute_task("write")
    second = orch.execute_task("write", agent="ada", take_over=True)
    assert (second.attempt.number, second.resumed_from.state) == (2, {"page": 3})
    with pytest.raises(vespera.LeaseLostError) as caught:
        first.complete(summary="s", detailed_work="what rob did")
    assert orch.artifacts.text(caught.value.kept_artifact_id) == "what rob did"
    assert second.complete(summary="s", detailed_work="d").status == "completed"


def test_completing_inside_the_block_by_name_is_no_error(orch):
    """A task that is completed by its name within its own block is left in peace when the block
    ends.
    """
    orch.plan_task("Write")
    with orch.execute_task("write"):
        orch.complete_task("write", summary="s", detailed_work="d", file_paths="story.txt")
    assert orch.get_task("write").status == "completed"
    with pytest.raises(vespera.TransitionError, match="reopen_task"):
        orch.complete_task("write", summary="again", detailed_work="other")


def test_an_exception_tells_what_became_of_the_task(orch):
    """The error that leaves the block says that the task is blocked, and the calls that go on from
    there.
    """
    orch.plan_task("Write")
    with pytest.raises(RuntimeError) as caught, orch.execute_task("write"):
        raise RuntimeError("no ink")
    assert "recover_write" in caught.value.__notes__[0]
    assert "orch.retry_task('write')" in caught.value.__notes__[0]


def test_giving_up_does_not_look_like_success(orch):
    """A task that failed, and what was skipped because of it, fill no bar, and the next step says
    what was not reached.
    """
    orch.plan_tasks([{"title": "first"}, {"title": "second", "dependencies": ["first"]}])
    orch.execute_task("first").fail("no ink")
    orch.complete_task("recover_first", summary="s", detailed_work="d")
    assert orch.get_status().percent == 0
    orch.abandon_task("first", "enough")
    assert orch.get_status().percent == 0
    step = orch.next_step()
    assert (step.action, step.call) == ("done", "orch.retry_task('first')")
    assert "not all was reached: first failed (enough)" in str(step)


def test_other_sessions_with_open_tasks_are_mentioned(orch):
    """Who starts a second session by mistake sees that there is another."""
    orch.plan_task("Write")
    orch.initialize_session("Another")
    assert "1 other session has open tasks: orch.list_sessions()" in str(orch.get_status())
    orch.plan_task("Read")
    assert orch.get_status().elsewhere == 1


def test_a_home_that_is_deleted_under_our_hands(orch):
    """Nothing is acknowledged that goes into a file nobody can open again."""
    orch.plan_task("Write")
    shutil.rmtree(orch.home)
    with pytest.raises(vespera.StoreUnavailableError, match="was removed or replaced"):
        orch.plan_task("Read")


def test_a_failed_attempt_keeps_its_files(orch):
    """An exception blocks the task; its uncommitted files are in the recovery's snapshot and in the
    next attempt's worktree.
    """
    orch.plan_task("Write")
    with pytest.raises(ZeroDivisionError), orch.execute_task("write", worktree=True) as work:  # noqa: PT012 - the block is what is tested
        (work.path / "partial.txt").write_text("half a thought")
        _ = 1 / 0
    recovery = orch.get_task("recover_write")
    assert (
        git(orch.project, "show", f"{recovery.context['snapshot']}:partial.txt") == "half a thought"
    )
    failure = next(a for a in orch.artifacts.list(task="write") if a.kind == "failure")
    assert "ZeroDivisionError" in orch.artifacts.text(failure)
    assert failure.partial
    orch.complete_task(recovery, summary="s", detailed_work="d")
    with orch.execute_task("write") as work:
        assert (work.path / "partial.txt").read_text() == "half a thought"
        work.complete(summary="s", detailed_work="d")


def test_landing_refused_keeps_the_work(orch, project):
    """While a checkout of the integration branch has something in the way nothing lands; the work
    is kept, and can be completed later.
    """
    orch.plan_task("Write")
    work = orch.execute_task("write", worktree=True)
    (work.path / "new.txt").write_text("new\n")
    git(project, "checkout", "-q", "integration")
    (project / "new.txt").write_text("mine\n")
    with pytest.raises(vespera.DirtyCheckoutError) as caught:
        work.complete(summary="s", detailed_work="long and precious")
    kept = orch.artifacts.list(task="write")
    assert [orch.artifacts.text(a) for a in kept] == ["long and precious"]
    assert kept[0].id in caught.value.__notes__[0]
    (project / "new.txt").unlink()
    git(work.path, "init", "-q", "inner")
    (work.path / "inner" / "notes.txt").write_text("notes\n")
    for _ in range(2):  # for another reason now: it is kept already
        with pytest.raises(vespera.UnsavedFilesError) as caught:
            work.complete(summary="s", detailed_work="long and precious")
        assert caught.value.kept_artifact_id == kept[0].id
    assert orch.artifacts.list(task="write") == kept
    shutil.rmtree(work.path / "inner")
    assert work.complete(summary="s", detailed_work="long and precious").status == "completed"
    assert git(project, "show", "integration:new.txt") == "new"
    assert (project / "new.txt").read_text() == "new\n"


@pytest.mark.parametrize(("prepare", "missing"), [((), "git init"), (("init", "-q"), "git commit")])
def test_no_repository_serves_for_all_but_worktrees(tmp_path, prepare, missing):
    """Without git, or without a commit, everything works but worktrees; these say what is missing,
    and the task stays free.
    """
    if prepare:
        git(tmp_path, *prepare)
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Goal", project_type="research_project")
        orch.plan_task("Write")
        with pytest.raises(vespera.NotARepositoryError, match=missing):
            orch.execute_task("write", worktree=True)
        assert orch.get_task("write").is_ready
        assert orch.get_task("write").attempts == 0
        with orch.execute_task("write") as work:
            assert work.path is None
            work.complete(summary="s", detailed_work="the whole method", artifact_type="method")
        assert "the whole method" in (tmp_path / "docs" / "METHODOLOGY.md").read_text()
        assert orch.artifacts.search("method")[0].title == "Write"


def test_a_reopened_task_is_told_with_its_reason(orch):
    """What it came to before is no news."""
    orch.initialize_session("Goal")
    orch.plan_task("Mail")
    orch.complete_task("mail", summary="sent", detailed_work="sent")
    orch.resume()
    orch.reopen_task("mail", "Bob has none")
    assert "mail open again: Bob has none" in str(orch.resume())


def test_whoever_works_alone_is_told_of_no_others(orch):
    """A task that is taken up three times is one thing, and an answer is nobody else's work."""
    orch.initialize_session("Goal")
    orch.plan_tasks([{"title": "Mail"}, {"title": "Gate", "question": "May we?"}])
    for _ in range(2):
        orch.execute_task("mail").release()
    orch.execute_task("mail").complete(summary="sent", detailed_work="d")
    orch.answer("gate", "yes")
    orch.set_energy("low")
    text = str(orch.get_status())
    assert "Today: 1 thing begun, 1 done." in text
    assert "Others" not in text


# --- documents ----------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling", ["Software development", "software-development", " SOFTWARE_DEVELOPMENT"]
)
def test_a_project_type_is_known_in_any_spelling(orch, spelling):
    """With spaces, hyphens, capitals, as people write it."""
    session = orch.initialize_session("Goal", project_type=spelling)
    assert session.project_type == "software_development"


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("softwaredevelopment", "did you mean software_development?"),
        ("hardware", r"no project type \(software_development, "),
        (("software_development",), "no project type"),
    ],
)
def test_an_unknown_project_type_names_the_known_ones(orch, word, answer):
    """Nothing is started."""
    before = orch.list_sessions()
    with pytest.raises(vespera.InvalidInputError, match=answer):
        orch.initialize_session("Goal", project_type=word)
    assert orch.list_sessions() == before


def test_documents_follow_and_never_fail_the_work(project, caplog):
    """A completed task is in the changelog at once; a damaged document is told, and the task is
    completed all the same.
    """
    with vespera.open(project) as orch:
        orch.initialize_session("Goal", project_type="software_development")
        orch.plan_tasks([{"title": "one"}, {"title": "two"}])
        orch.complete_task("one", summary="first thing", detailed_work="d")
        changelog = project / "docs" / "CHANGELOG.md"
        assert "first thing" in changelog.read_text()
        changelog.write_text(changelog.read_text().replace("<!-- vespera:end changelog -->", ""))
        assert (
            orch.complete_task("two", summary="second thing", detailed_work="d").status
            == "completed"
        )
        assert "CHANGELOG.md" in caplog.text
        assert any("CHANGELOG.md" in str(finding) for finding in orch.documents.check())
        assert orch.catch_up()["index"] == 2


def test_no_project_type_no_documents(orch, project):
    """Who asks for no documents gets none."""
    orch.plan_task("one")
    orch.complete_task("one", summary="s", detailed_work="d")
    assert not (project / "docs").exists()


# --- looking ------------------------------------------------------------------


def test_status_prints_counts_running_blocked_and_next(orch):
    """The status is a short page for people, a table for notebooks, and a drawing."""
    orch.plan_tasks(
        [{"title": "Soon"}, {"title": "Running <b>"}, {"title": "Stuck"}, {"title": "Done"}]
    )
    work = orch.execute_task("running_b", agent="<i>ada")
    work.checkpoint({}, "half way", 0.5)
    orch.complete_task("done", summary="it is done", detailed_work="d")
    orch.execute_task("stuck").fail("no more ink")
    status = orch.get_status(True)
    text = str(status)
    assert (
        "1 of 4 completed (25 %); all tasks: 2 pending, 1 in progress, 1 blocked, 1 completed"
        in text
    )
    assert "running_b: <i>ada, 50%, 'half way'" in text
    assert "stuck is blocked: its recovery recover_stuck comes first" in text
    assert "done: it is done" in text
    assert text.splitlines()[-1].startswith("Next: When you have read what went wrong")
    assert "&lt;i&gt;ada" in status._repr_html_()
    assert "<i>" not in status._repr_html_()
    assert status.to_mermaid().startswith("flowchart TD")
    assert "Running #60;b#62;" in status.to_mermaid()
    figures = orch.session_status()
    assert (figures.percent, figures.artifacts, figures.worktrees) == (25.0, 2, 0)


def test_the_tree_of_a_task(orch):
    """``query_tasks(parent_task_id=…, include_children=True)`` is the parent with all below it;
    without, its direct children.
    """
    orch.plan_tasks(
        [
            {
                "title": "top",
                "alias": "top",
                "children": [{"title": "mid", "alias": "mid", "children": [{"title": "leaf"}]}],
            },
            {"title": "x"},
        ]
    )
    assert [t.alias for t in orch.query_tasks(parent_task_id="top", include_children=True)] == [
        "top",
        "mid",
        "leaf",
    ]
    assert [t.alias for t in orch.query_tasks(parent_task_id="top")] == ["mid"]
    assert [t.alias for t in orch.query_tasks(status="active")] == []
    assert [t.alias for t in orch.query_tasks(ready=True)] == ["leaf", "x"]
    assert [t.alias for t in orch.query_tasks(text="LEA")] == ["leaf"]
    assert [t.alias for t in orch.query_tasks(limit=2, offset=1)] == ["mid", "leaf"]


def test_resume_tells_in_twelve_lines(orch):
    """However much has happened, the way back in has at most twelve lines: where we were, what
    changed, the next step.
    """
    orch.plan_tasks([{"title": f"task {n}"} for n in range(30)])
    for n in range(25):
        orch.complete_task(f"task_{n}", summary=f"result {n}", detailed_work="d")
    briefing = orch.resume()
    assert len(str(briefing).splitlines()) <= 12
    assert "task_24 completed: result 24" in str(briefing)
    assert str(briefing).splitlines()[-1].startswith("Next: ")
    assert briefing.next_step.call == "orch.execute_task('task_25')"
    assert "Nothing has changed" in str(orch.resume())


def test_nobodys_look_takes_the_news_away_from_another(orch, project):
    """Each agent has a last look of its own; going on with a session is no look."""
    orch.plan_task("Big change")
    orch.resume()
    with vespera.open(project, agent="bot") as bot:
        bot.complete_task("big_change", summary="the schema was replaced", detailed_work="d")
        assert "the schema was replaced" in str(bot.resume())
        bot.resume_session()
    seq = orch._store.last_seq()
    assert "Since you looked, just now: 1 change, the last:" in str(orch.resume())
    assert "Nothing has changed" in str(orch.resume())
    assert orch._store.last_seq() == seq  # nobody who watches is woken by a look


def test_one_comes_back_without_a_session(project):
    """Neither a new project nor a damaged file keeps `resume` from saying what to do."""
    with vespera.open(project) as orch:
        assert "orch.initialize_session" in str(orch.resume())
        session = orch.initialize_session("x")
        (orch.home / ".active_session").write_bytes(b"\xff\x00")
        shutil.rmtree(orch.home / ".active_sessions")
    with vespera.open(project) as orch:
        assert str(orch.resume()).startswith("Next: ")
        assert session.id in str(orch.resume())


WRITER = """
import vespera_orchestrator as vespera
from vespera_orchestrator.tasks import lifecycle
orch = vespera.open()
orch.complete_task("one", summary="from afar", detailed_work="d")
"""


def test_watch_sees_other_processes(orch, project):
    """Events of another process are yielded, in order, and the watch ends when nothing comes any
    more.
    """
    orch.plan_task("one")
    seen = orch._store.last_seq()
    with subprocess.Popen([sys.executable, "-c", WRITER], cwd=project) as child:
        kinds = []
        for event in orch.watch(seen, timeout_s=120):
            kinds.append(event.kind)
            if event.kind == "task_completed":
                break
        assert child.wait() == 0
    assert kinds == ["task_started", "artifact_saved", "task_completed"]
    assert list(orch.watch(orch._store.last_seq(), timeout_s=0)) == []


# --- bad input ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda o: o.plan_task("  "), "is not a title"),
        (lambda o: o.plan_task("x", alias="9lives"), "'9lives' is not a valid alias"),
        (lambda o: o.plan_task("x", dependencies=["nobody"]), "'nobody' is not a task"),
        (lambda o: o.plan_task("x", due_date="someday"), "friday"),
        (lambda o: o.plan_task("x", context={"f": float("nan")}), "JSON"),
        (
            lambda o: o.plan_task("x", dependencies=[{"task": "one", "on": "luck"}]),
            "'luck' is not one of",
        ),
        (lambda o: o.plan_tasks([]), "plan is empty"),
        (lambda o: o.plan_tasks([{"title": "a", "colour": "red"}]), "unknown key 'colour'"),
        (
            lambda o: o.plan_tasks([{"title": "a"}, {"title": "b", "dependencies": ["c"]}]),
            "task 2 (b)",
        ),
        (lambda o: o.query_tasks(status="finished"), "did you mean completed?"),
        (lambda o: o.plan_tasks({"title": "a"}), "put it in brackets"),
        (
            lambda o: o.plan_task("x", dependencies=["one"], condition="one.status == 'done'"),
            "'done' is not a status",
        ),
        (
            lambda o: o.plan_task("x", dependencies=["one"], condition="one.sucess"),
            "did you mean success?",
        ),
        (
            lambda o: o.plan_task("x", dependencies=["one"], condition="one.attempts => 2"),
            "did you mean >=",
        ),
        (lambda o: o.complete_task("one", summary="s", detailed_work=None), "detailed_work"),
        (lambda o: o.query_tasks(limit=-1), "at least 0"),
        (lambda o: o.execute_task("one", lease_s=0), "more than 0"),
        (lambda o: o.execute_task("one", agent=" "), "is not a name"),
        (lambda o: o.graph().to_mermaid(direction="UP"), "'UP'"),
        (lambda o: o.get_task("onne"), "did you mean one?"),
        (lambda o: o.plan_task("half a pair \ud800"), "surrogate"),
    ],
)
def test_bad_input_changes_nothing(orch, call, said):
    """A wrong argument is an error of ours that says what would be right, and not one event is
    written.
    """
    orch.plan_task("one")
    seen = orch._store.last_seq()
    with pytest.raises(vespera.VesperaError) as caught:
        call(orch)
    assert said in str(caught.value)
    assert orch._store.last_seq() == seen
    assert orch.get_task("one").is_ready


def test_due_dates_are_utc(orch):
    """Times without a zone are UTC; a date without a time stands for its noon."""
    assert orch.plan_task("a", due_date="2026-12-24T18:00").due_at == datetime(
        2026, 12, 24, 18, tzinfo=UTC
    )
    assert orch.plan_task("b", due_date=date(2026, 12, 24)).due_at == datetime(
        2026, 12, 24, 12, tzinfo=UTC
    )


def test_closed_is_closed(project):
    """After close() every call says so; closing again is fine; a store that was passed in stays
    open.
    """
    orch = vespera.open(project)
    session = orch.initialize_session("Goal")
    orch.close()
    orch.close()
    for call in (
        orch.current_session,
        orch.get_status,
        lambda: orch.plan_task("x"),
        lambda: orch.get_task("x"),
        orch.catch_up,
    ):
        with pytest.raises(vespera.ClosedError):
            call()
    with vespera.open(project) as owner:
        with vespera.open(project, store=owner._store) as borrower:
            assert borrower.current_session().id == session.id
        assert owner.current_session().id == session.id


def test_what_was_got_before_closing_is_closed_as_well(project):
    """Artifacts, worktrees and documents raise ClosedError, also when the store belongs to the
    caller and stays open.
    """
    with vespera.open(project) as owner:
        borrower = vespera.open(project, store=owner._store)
        session = borrower.initialize_session("Goal", project_type="software_development")
        task = borrower.plan_task("Write")
        artifacts, worktrees, documents = borrower.artifacts, borrower.worktrees, borrower.documents
        saved, work = artifacts.save("Title", "text"), borrower.execute_task(task)
        borrower.close()
        calls = [
            *(
                lambda: artifacts.save("Title", "more"),
                lambda: artifacts.draft("Title", "more"),
                lambda: artifacts.read(saved),
            ),
            *(
                artifacts.list,
                artifacts.verify,
                artifacts.browse,
                artifacts.catch_up,
                artifacts.collect_garbage,
            ),
            *(
                lambda: artifacts.search("text"),
                lambda: artifacts.draft_file("README.md", root=project),
            ),
            *(
                worktrees.list,
                lambda: worktrees.create(task),
                worktrees.repair,
                worktrees._engine.require,
            ),
            *(
                documents.update,
                documents.check,
                lambda: documents.versions("docs/changelog.md"),
                documents.catch_up,
            ),
            *(
                work.heartbeat,
                lambda: work.checkpoint({}),
                lambda: work.complete(summary="x", detailed_work="y"),
                work.release,
            ),
        ]
        for call in calls:
            with pytest.raises(vespera.ClosedError):
                call()
        assert owner.resume_session(session).id == session.id
        assert owner.artifacts.read(saved) == b"text"


def test_damaged_work_is_found_again_in_git(project):
    """A file that was taken in and is damaged in the store is there in the branch its task landed
    on: the error gives the command.
    """
    with vespera.open(project) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Write")
        with orch.execute_task("write", worktree=True) as work:
            (work.path / "src").mkdir()
            (work.path / "src" / "run.py").write_text("print('here')\n")
            work.complete(summary="done", detailed_work="all of it", file_paths=["src/run.py"])
        file = orch.artifacts.find("src/run.py")
        (orch.home / "artifacts" / file.digest[:2] / file.digest[2:]).unlink()
        with pytest.raises(
            vespera.CorruptContentError, match=r"intact: the same bytes: git show \w+:src/run.py"
        ) as caught:
            orch.artifacts.read(file)
        command = caught.value.intact[0].removeprefix("the same bytes: ").split()
        assert (
            subprocess.run(command, cwd=project, capture_output=True, check=True).stdout
            == b"print('here')\n"
        )
        (problem,) = orch.artifacts.verify()
        assert "git show" in str(problem)
        orch.artifacts.save("Same", b"print('here')\n")
        assert orch.artifacts.read(file) == b"print('here')\n"


def test_unknown_store_addresses_are_refused(project):
    """An address that no store of ours has is refused with those that there are."""
    with pytest.raises(vespera.InvalidInputError, match="memory:"):
        vespera.open(project, store="redis://localhost")
    with vespera.open(project, store=f"sqlite:///{project}/other.db") as orch:
        orch.initialize_session("elsewhere")
    assert (project / "other.db").exists()


def test_the_state_diagram_is_made_from_the_rules():
    """The drawing in the documentation is the one that the rules give."""
    page = (ROOT / "docs" / "lifecycle.md").read_text("utf-8")
    assert f"```mermaid\n{lifecycle.state_diagram()}\n```" in page


# --- plans, queries, status in parts ------------------------------------------


def test_a_plan_tells_all_its_mistakes_at_once(orch):
    """Every mistake of a plan is in one error, each with its place, and nothing is written."""
    seen = orch._store.last_seq()
    with pytest.raises(vespera.InvalidPlanError) as caught:
        orch.plan_tasks(
            [
                {"title": "a", "colour": "red", "priority": "high"},
                {
                    "title": "b",
                    "dependencies": ["nobody", "c"],
                    "children": [{"title": "", "alias": "kid"}, 7],
                },
                {"title": "c", "dependencies": ["kid"], "condition": "kid.sucess"},
            ]
        )
    told = [(mistake.place, str(mistake)) for mistake in caught.value.mistakes]
    assert [place for place, _ in told] == [
        *("task 1 (a)", "task 1 (a)", "task 2 (b), child 1 (without title)", "task 2 (b), child 2"),
        *("task 2 (b)", "task 3 (c)"),
    ]
    for (_, text), said in zip(
        told, ["colour", "priority", "title", "7", "'nobody'", "column 5"], strict=True
    ):
        assert said in text
    assert orch._store.last_seq() == seen


def test_a_plan_as_text(orch):
    """A plan may be YAML or JSON; ``on`` is a word there; a key may stand once; what is neither is
    refused with the line.
    """
    planned = orch.plan_tasks(
        """
        tasks:
        - title: Ship
          dependencies: [{task: build, on: done}]
        - title: Build
          children:
          - title: Compile
          - title: Link
        """
    )
    assert [task.alias for task in planned] == ["ship", "build", "compile", "link"]
    assert planned[0].dependencies == (vespera.Dependency(planned[1].id, "done"),)
    assert planned[3].parent_task_id == planned[1].id
    assert orch.plan_tasks('[{"title": "From JSON", "context": {"list": [1, null, true]}}]')[
        0
    ].context == {"list": [1, None, True]}
    assert (
        orch.plan_tasks([vespera.TaskDraft(title="A draft", parent="build")])[0].parent_task_id
        == planned[1].id
    )
    wrong = {
        "[1,": "neither JSON .* nor YAML",
        "- {title: a, title: b}": "appears twice",
        "a: &x [*x]": "stands inside",
        "": "empty",
    }
    for text, said in wrong.items():
        with pytest.raises(vespera.PlanError, match=said):
            orch.plan_tasks(text)


def test_ready_tasks_go_by_priority_then_by_what_hangs_on_them(orch):
    """First the higher priority, then the longer chain of work behind, parents included, then the
    order planned.
    """
    orch.plan_tasks(
        [
            {"title": "old"},
            {"title": "root"},
            {"title": "heavy", "estimated_effort": "1 day"},
            {"title": "urgent", "priority": 1},
            {"title": "middle", "dependencies": ["root"]},
        ]
    )
    assert [t.alias for t in orch.ready_tasks()] == ["urgent", "heavy", "root", "old"]
    orch.plan_task("end", dependencies=["middle"], estimated_effort="2 days")
    assert [t.alias for t in orch.ready_tasks()] == ["urgent", "root", "heavy", "old"]
    assert [t.alias for t in orch.get_status().chain] == ["root", "middle", "end"]
    assert "root → middle → end" in str(orch.get_status())
    assert [t.alias for t in orch.graph().critical_path()] == ["root", "middle", "end"]


@given(st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_hangs_on_a_task_is_known_however_it_was_planned(tmp_path, data):
    """Planned one by one, looked at in between or not, with estimates and edges added later: the
    order is that of the whole graph.
    """
    with vespera.open(tmp_path, store="memory:") as orch:
        orch.initialize_session("Goal")
        aliases = [f"n{number}" for number in range(data.draw(st.integers(2, 12)))]
        for number, alias in enumerate(aliases):
            needs = (
                data.draw(st.lists(st.sampled_from(aliases[:number]), unique=True, max_size=3))
                if number
                else []
            )
            orch.plan_task(
                alias,
                alias=alias,
                dependencies=needs,
                estimated_effort=f"{data.draw(st.integers(1, 9))} hours",
            )
            if data.draw(st.booleans()):
                orch.ready_tasks()
        first, last = aliases[0], aliases[-1]
        orch.update_task(last, estimated_effort="30 hours")
        if first not in {edge.task for edge in orch.get_task(last).dependencies}:
            orch.add_dependency(last, first)
        graph = orch.graph().nx
        hours = {
            task.id: effort.effort_hours(task.estimated_effort)
            for task in orch.query_tasks(limit=None)
        }
        behind = {}
        for task_id in reversed(list(nx.topological_sort(graph))):
            behind[task_id] = hours[task_id] + max(
                (behind[after] for after in graph.successors(task_id)), default=0.0
            )
        ready = orch.ready_tasks(limit=100)
        assert [task.id for task in ready] == sorted(
            (task.id for task in ready), key=lambda task_id: -behind[task_id]
        )
        assert {task.id: task.urgency for task in orch.query_tasks(limit=None)} == pytest.approx(
            behind
        )


def test_every_filter_of_query_tasks(project):
    """Tasks are found by type, specialist, complexity, agent, alias prefix, and when they were
    planned or changed; in pages.
    """
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    with vespera.open(project, store="memory:", clock=lambda: now[0]) as orch:
        orch.initialize_session("Goal")
        orch.plan_task(
            "alpha one", task_type="research", specialist_type="writer", complexity="hard"
        )
        now[0] += timedelta(days=1)
        orch.plan_task("alpha two")
        orch.plan_task("beta")
        now[0] += timedelta(days=1)
        orch.execute_task("beta", agent="ada")

        def found(**filters):
            return [task.alias for task in orch.query_tasks(**filters)]

        assert (
            found(task_type="research")
            == found(specialist_type="writer")
            == found(complexity="hard")
            == ["alpha_one"]
        )
        assert found(alias_prefix="alpha") == ["alpha_one", "alpha_two"]
        assert found(agent="ada") == found(status="active") == ["beta"]
        assert found(created_after="2026-01-02") == ["alpha_two", "beta"]
        assert found(created_before=date(2026, 1, 2)) == ["alpha_one"]
        assert found(updated_after="2026-01-03T00:00") == ["beta"]
        assert found(updated_before="2026-01-03", text="ALPHA") == ["alpha_one", "alpha_two"]
        assert found(limit=1, offset=1) == ["alpha_two"]
        assert found(limit=None) == ["alpha_one", "alpha_two", "beta"]


def test_status_of_a_part(orch):
    """The status of a task's subtree counts that subtree only, and its next step is still the
    session's.
    """
    orch.plan_tasks(
        [
            {"title": "top", "children": [{"title": "one"}, {"title": "two"}]},
            {"title": "other", "priority": 5},
        ]
    )
    orch.complete_task("one", summary="s", detailed_work="d")
    orch.execute_task("other")
    part = orch.get_status(parent_task_id="top")
    assert (part.total, part.completed_count, part.wanted_count, part.running) == (3, 1, 3, ())
    assert [task.alias for task in part.ready] == ["two"]
    assert str(part).startswith("top  (top)")
    assert orch.get_status().total == 4


@pytest.mark.parametrize("budget", [1, 30, 60, 120, 180, 400])
def test_what_prints_keeps_its_budget(orch, budget):
    """Whatever there is to tell, a budget holds, and what was left out is named by the call that
    gives it.
    """
    orch.plan_tasks([{"title": f"task number {n}"} for n in range(40)])
    for n in range(12):
        orch.execute_task(f"task_number_{n}").fail("no luck " * 20)
    status = str(orch.get_status(True, budget_tokens=budget))
    assert len(status) <= 4 * budget
    assert len(str(orch.resume(budget_tokens=budget))) <= 4 * budget
    if budget >= 120:
        assert "Next: " in status
    if budget >= 180:
        assert "orch.query_tasks(status='blocked')" in status


# --- bringing together ----------------------------------------------------------


def test_a_synthesis_names_what_is_there_and_what_is_missing(orch):
    """Results are quoted with their artifact's id, what is open, failed or skipped is named, and
    nothing a child says can forge that.
    """
    orch.plan_tasks(
        [
            {
                "title": "Book",
                "children": [
                    {"title": "Good"},
                    {"title": "Open"},
                    {"title": "Given up"},
                    {"title": "Not needed", "dependencies": ["given_up"]},
                ],
            }
        ]
    )
    orch.complete_task(
        "good",
        summary="fine\n\n## Everything is done",
        detailed_work="# It was good\n\nVery good.",
        outputs={"pages": 3},
    )
    orch.abandon_task("given_up", "no ink")
    synthesis = orch.synthesize_results("book")
    text = orch.artifacts.text(synthesis)
    good = orch.artifacts.list(task="good")[0]
    assert "1 of 4 subtasks are completed." in text
    assert "## What is missing\n\n- open is ready\n- given_up is failed: no ink\n" in text
    assert "- not_needed is skipped: waits for success of given_up, which is failed" in text
    assert f"From Good, {good.id}:\n> # It was good\n>\n> Very good." in text
    assert '`{"pages":3}`' in text
    assert "\n## Everything is done" not in text
    assert synthesis.kind == "synthesis"
    assert synthesis.metadata == {
        "outcomes": {"completed": 1, "failed": 1, "pending": 1, "skipped": 1},
        "sources": [good.id],
    }
    assert orch.synthesize_results("book").id == synthesis.id
    orch.complete_task("open", summary="s", detailed_work="d")
    assert orch.synthesize_results("book").supersedes_id == synthesis.id
    with pytest.raises(vespera.TransitionError, match="without subtasks"):
        orch.synthesize_results("good")


def test_a_synthesis_keeps_its_budget(orch):
    """However much there is, it stays about as long as was asked for, and says where the rest
    is.
    """
    orch.plan_tasks([{"title": "All", "children": [{"title": f"part {n}"} for n in range(120)]}])
    for n in range(60):
        orch.complete_task(f"part_{n}", summary=f"result {n}", detailed_work=f"detail {n} " * 400)
    small, large = (
        orch.artifacts.text(orch.synthesize_results("all", budget_tokens=budget))
        for budget in (500, 20_000)
    )
    assert len(small) < 4 * 2500
    assert "… and 10 more" in small
    assert "more entries left out: ask for a larger budget_tokens]" in small
    assert 4 * 8_000 < len(large) < 4 * 24_000
    assert all(f"## part {n}\n" in large for n in range(60))


# --- what a hostile reader tried --------------------------------------------------


@pytest.fixture
def replaced(project, clock):
    """A holder with a worktree that was replaced by another: the façade, both works, and where the
    task's snapshots stood.
    """
    with vespera.open(project, clock=clock) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Write")
        old = orch.execute_task("write", worktree=True, lease_s=10, agent="old")
        clock.advance(minutes=1)
        with vespera.open(project, clock=clock) as other:
            new = other.execute_task("write", agent="new")
            yield orch, old, new


def test_a_replaced_holder_stays_replaced(replaced):
    """However often it tries, a replaced holder cannot end the attempt of the one who followed
    it.
    """
    orch, _, new = replaced
    for _ in range(2):
        with pytest.raises(vespera.LeaseLostError):
            orch.complete_task("write", summary="s", detailed_work="d")
    assert new.complete(summary="s", detailed_work="d").status == "completed"


@pytest.mark.parametrize(
    "call",
    [
        lambda work: work.fail("no"),
        lambda work: work.release(),
        lambda work: work.checkpoint({"x": 1}),
        lambda work: work.complete(summary="s", detailed_work="d"),
        lambda work: work.complete(summary="s", detailed_work="d", next_action="blocked"),
    ],
)
def test_a_replaced_holder_moves_no_ref(replaced, call):
    """Whatever it says, the task's refs and the integration branch stay where its successor has
    them.
    """
    orch, old, _ = replaced
    before = git(orch.project, "for-each-ref")
    (old.path / "late.txt").write_text("late")
    with pytest.raises(vespera.LeaseLostError):
        call(old)
    assert git(orch.project, "for-each-ref") == before


def test_nobody_ends_an_attempt_that_is_not_theirs(project):
    """Who never held the task cannot complete it over its holder's head; what was brought is
    kept.
    """
    with vespera.open(project) as orch, vespera.open(project, agent="stranger") as stranger:
        orch.initialize_session("Goal")
        orch.plan_task("Write")
        orch.execute_task("write")
        with pytest.raises(
            vespera.LeaseLostError, match="you do not hold task write: main holds it"
        ) as caught:
            stranger.complete_task("write", summary="s", detailed_work="mine")
        assert stranger.artifacts.text(caught.value.kept_artifact_id) == "mine"


@pytest.mark.parametrize("end", ["fail", "release", "checkpoint"])
def test_a_vanished_worktree_keeps_nobody_from_telling(orch, end):
    """When somebody has deleted the worktree's folder, failure, release and checkpoint are recorded
    all the same.
    """
    orch.plan_task("Write")
    work = orch.execute_task("write", worktree=True)
    shutil.rmtree(work.path)
    if end == "checkpoint":
        assert work.checkpoint({"x": 1}).snapshot is None
    elif end == "fail":
        assert work.fail("gone").status == "blocked"
        assert "not_saved" in orch.get_task("recover_write").context
    else:
        assert work.release().is_ready


def test_no_worktree_means_none(orch, project):
    """What an earlier attempt left in a worktree that was removed does not land with an attempt
    that was started without one.
    """
    orch.plan_task("Write")
    first = orch.execute_task("write", worktree=True)
    (first.path / "junk.txt").write_text("junk")
    first.release()
    orch.worktrees.remove("write")
    with orch.execute_task("write", worktree=False) as work:
        work.complete(summary="s", detailed_work="d")
    assert "junk.txt" not in git(project, "ls-tree", "--name-only", "integration").splitlines()


def test_the_same_failure_twice_is_two_failures(orch):
    """A second attempt that fails in the same words fails again, and after three a person must
    decide.
    """
    orch.plan_task("Write")
    for _ in range(2):
        assert (
            orch.complete_task(
                "write", summary="no ink", detailed_work="d", next_action="blocked"
            ).status
            == "blocked"
        )
        orch.complete_task(
            orch.query_tasks(status="pending", task_type="recovery")[0],
            summary="s",
            detailed_work="d",
        )
    assert (
        orch.complete_task(
            "write", summary="no ink", detailed_work="d", next_action="blocked"
        ).failures
        == 3
    )
    assert orch.why("write").needs_person


def test_a_file_never_takes_the_place_of_the_work(orch, project):
    """A task whose title is that of a file it hands in keeps both."""
    (project / "f1.txt").write_text("the file")
    orch.plan_task("f1.txt")
    orch.complete_task("f1_txt", summary="s", detailed_work="the work", file_paths=["f1.txt"])
    assert sorted(orch.artifacts.text(a) for a in orch.artifacts.list(task="f1_txt")) == [
        "the file",
        "the work",
    ]


def test_a_date_beyond_the_calendar_is_refused(orch):
    """A date that cannot be kept in UTC is refused, and does not make the task unreadable."""
    with pytest.raises(vespera.PlanError, match="outside the calendar"):
        orch.plan_task("x", due_date="9999-12-31T23:59:59-05:00")


class RudeError(Exception):
    """An error that cannot even say what it is."""

    def __str__(self):
        """Fail."""
        raise RuntimeError


@pytest.mark.parametrize("error", [ValueError("bad \udcff"), RudeError(), "text \udcff", None])
def test_any_failure_can_be_recorded(orch, error):
    """Whatever an error holds, the task is blocked and the report kept."""
    orch.plan_task("Write")
    assert orch.execute_task("write").fail(error).status == "blocked"
    assert [a.kind for a in orch.artifacts.list(task="write")] == ["failure"]


def test_a_worktree_that_outlived_its_task_is_repaired_away(orch, project, monkeypatch):
    """When removing failed after the landing, the task is completed, and repair() takes the
    worktree away.
    """
    orch.plan_task("Write")
    work = orch.execute_task("write", worktree=True)
    (work.path / "new.txt").write_text("new")
    with monkeypatch.context() as patch:
        patch.setattr(
            type(orch._rooms.worktrees),
            "remove",
            lambda *_: (_ for _ in ()).throw(vespera.GitFailedError("remove", "interrupted")),
        )
        assert work.complete(summary="s", detailed_work="d").status == "completed"
    assert work.path.exists()
    assert any("whose task is completed" in sentence for sentence in orch.worktrees.repair())
    assert not work.path.exists()
    assert git(project, "show", "integration:new.txt") == "new"
    assert orch.worktrees.repair() == []


def test_a_part_of_what_is_completed_is_not_tried_again(orch):
    """A completed parent has no open parts."""
    orch.plan_tasks([{"title": "top", "children": [{"title": "part"}]}])
    orch.cancel_task("part")
    orch.complete_task("top", summary="s", detailed_work="d")
    with pytest.raises(vespera.TransitionError, match="reopen that first"):
        orch.retry_task("part")


def test_the_way_back_to_a_session_that_was_left(orch):
    """When the active session is forgotten, the next step leads back to it and not to a new one."""
    session = orch.current_session()
    (orch.home / ".active_session").unlink()
    with vespera.open(orch.project) as fresh:
        assert fresh.next_step().call == f"orch.resume_session({session.id!r})"


def test_after_the_synthesis_comes_the_completion(orch):
    """Once the results are together the next step is to complete the parent, until something
    changes.
    """
    orch.plan_tasks([{"title": "top", "children": [{"title": "part"}]}])
    orch.complete_task("part", summary="s", detailed_work="d")
    synthesis = orch.synthesize_results("top")
    assert synthesis.id in str(orch.next_step())
    assert orch.next_step().call.startswith("orch.complete_task('top'")


def test_everything_that_prints_stays_short(orch):
    """Titles and summaries of any length and shape leave the next step, the status and the briefing
    readable.
    """
    orch.plan_task("long " * 50_000)
    orch.plan_task("Write")
    orch.complete_task("write", summary="line\n" * 500, detailed_work="d", next_action="blocked")
    assert len(str(orch.next_step())) < 1000
    assert len(str(orch.get_status())) < 4000
    assert len(str(orch.resume()).splitlines()) <= 12


@pytest.mark.parametrize(
    "call",
    [
        lambda o: o.initialize_session("x", context="y"),
        lambda o: o.complete_task("one", summary="s", detailed_work="d", file_paths=None),
        lambda o: o.complete_task("one", summary="s", detailed_work="d", file_paths=[5]),
        lambda o: o.complete_task("one", summary={}, detailed_work="d"),
        lambda o: o.execute_task("one", lease_s="900"),
        lambda o: o.execute_task("one", agent=5),
        lambda o: o.execute_task(task_type=b"research"),
        lambda o: o.query_tasks(complexity=5),
        lambda o: o.plan_tasks("? [a]\n: b"),
        lambda o: o.plan_tasks([{"title": "x", "dependencies": {"task": "one"}}]),
    ],
)
def test_wrong_kinds_are_refused_in_our_words(orch, call):
    """Arguments of a wrong kind are errors of ours, not the store's and not Python's."""
    orch.plan_task("one")
    with pytest.raises(ValueError, match=r".") as caught:
        call(orch)
    assert isinstance(caught.value, vespera.InvalidInputError | vespera.PlanError)


def test_the_same_completion_twice_is_one_though_the_worktree_is_gone(orch):
    """A completion that is sent again, as after a lost answer, is the same completion, with files
    that were in the worktree as well.
    """
    orch.plan_task("Write")
    work = orch.execute_task("write", worktree=True)
    (work.path / "new.txt").write_text("new")
    for _ in range(2):
        done = work.complete(
            summary="s", detailed_work="d", outputs={"n": 1}, file_paths=["new.txt"]
        )
        assert done.status == "completed"
    assert len(orch.artifacts.list(task="write")) == 2
    assert [e.kind for e in orch._store.events()].count("task_completed") == 1


def test_a_store_in_memory_waits_for_no_disk(tmp_path, monkeypatch):
    """Its home is removed at the end: nothing in it needs to survive a power cut."""
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with vespera.open(tmp_path, store="memory:") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Lid")
        orch.complete_task("lid", summary="closes", detailed_work="It closes.")
    assert synced == []
    with vespera.open(tmp_path) as orch:
        assert synced != []

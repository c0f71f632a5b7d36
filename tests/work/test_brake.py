"""A task that agents hand back as it was, again and again, goes to a person."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import vespera_orchestrator as vespera


@pytest.fixture
def orch(tmp_path, clock):
    """A session with one task."""
    with vespera.open(tmp_path, clock=clock, embedder="none") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Lid")
        yield orch


def leave_block(orch):
    """Leave the block without a result."""
    with orch.execute_task("lid"):
        pass


def revise(orch):
    """Hand in the same words as ever, to be revised."""
    orch.execute_task("lid").complete(summary="no", detailed_work="", next_action="needs_revision")


@pytest.mark.parametrize(
    "hand_back",
    [
        lambda orch: orch.execute_task("lid").release("too hard"),
        lambda orch: orch.execute_task("lid") and orch.release("lid", "too hard"),
        leave_block,
        revise,
    ],
    ids=["release", "release by task", "block", "revise"],
)
def test_three_empty_rounds_block_the_task(orch, hand_back):
    """The reason, and the one call that helps, stand wherever somebody looks."""
    for _ in range(3):
        assert orch.get_task("lid").is_ready
        hand_back(orch)
    assert orch.get_task("lid").status == "blocked"
    assert orch.query_tasks(task_type="recovery") == []
    with pytest.raises(vespera.NothingReadyError):
        orch.execute_task()
    why = orch.why("lid")
    assert why.needs_person
    words = "a person must say what is missing, then orch.retry_task('lid') (handed back 3 times"
    assert words in str(why)
    assert "orch.retry_task('lid')" in str(orch.get_status())
    step = orch.next_step()
    assert (step.action, step.call) == ("decide", "orch.retry_task('lid')")
    assert "handed back 3 times in a row without progress" in step.sentence
    orch.retry_task("lid", "it is for the small kettle")
    assert orch.execute_task().task.alias == "lid"


def test_the_last_words_are_the_reason(orch):
    """Whoever decides reads what the last agent said."""
    for words in ("", "too hard", "I do not know the diameter"):
        task = orch.execute_task("lid").release(words)
    assert task.reason == (
        "handed back 3 times in a row without progress, "
        "the last time with: I do not know the diameter"
    )


def test_progress_in_between_ends_the_row(orch):
    """Two steps back, one forward, for as long as it takes."""
    for number in range(8):
        work = orch.execute_task("lid")
        if number % 3 == 2:
            work.checkpoint({"n": number})
        assert work.release().status == "pending"


def test_interruptions_are_not_held_against_a_task(orch):
    """Ctrl-C, a coroutine that was cancelled, work in a call that was not accepted."""
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt), orch.execute_task("lid"):
            raise KeyboardInterrupt
        with pytest.raises(asyncio.CancelledError), orch.execute_task("lid"):
            raise asyncio.CancelledError
        with pytest.raises(vespera.InvalidInputError), orch.execute_task("lid") as work:
            work.complete(summary="s", detailed_work="", outputs=7)
        assert orch.execute_task("lid").interrupt("the loop was closed").status == "pending"
    assert orch.get_task("lid").empty_rounds == 0


def test_files_that_changed_are_progress(project, clock):
    """Those that a release saves, and those that a heartbeat has saved before."""
    with vespera.open(project.folder, clock=clock, embedder="none") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Lid")
        rounds = []
        for number in range(6):
            work = orch.execute_task("lid", worktree=True)
            if number in {1, 3}:
                (Path(work.path) / "lid.txt").write_text(f"turned {number} times")
            if number == 3:
                work.heartbeat()
            rounds.append(work.release("later").empty_rounds)
        assert rounds == [1, 0, 1, 0, 1, 2]


def test_the_settings_say_how_often(tmp_path, clock):
    """And zero says never."""
    for most, expected in ((1, ["blocked"]), (0, ["pending"] * 6)):
        folder = tmp_path / str(most)
        home = folder / ".task_orchestrator"
        home.mkdir(parents=True)
        (home / "config.toml").write_text(f"[delegation]\nempty_rounds = {most}\n")
        with vespera.open(folder, clock=clock, embedder="none") as orch:
            orch.initialize_session("Goal")
            orch.plan_task("Lid")
            assert [str(orch.execute_task("lid").release().status) for _ in expected] == expected

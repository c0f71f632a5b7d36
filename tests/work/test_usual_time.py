"""How long such tasks took, with the store behind it."""

from __future__ import annotations

import vespera_orchestrator as vespera


def test_ones_own_history_gives_a_range(tmp_path, clock):
    """Tasks of the same type and complexity count; what nobody worked on, and nights, do not."""
    with vespera.open(tmp_path, clock=clock) as orch:
        orch.initialize_session("Goal")

        def work(title, length, **fields):
            task = orch.plan_task(title, **fields)
            started = orch.execute_task(task, lease_s=10**6)
            clock.advance(60 * length)
            started.complete(summary="s", detailed_work="d")

        task = orch.plan_task("Next")
        assert orch.usual_time(task) is None
        work("research", 500, task_type="research")
        work("hard", 500, complexity="hard")
        orch.complete_task(orch.plan_task("unworked"), summary="s", detailed_work="d")
        for length in (20, 50, 20, 50):
            work("usual", length)
        work("over night", 20 * 60)
        assert str(orch.usual_time(task)) == "like the last four: 20 to 50 minutes"
        assert "How long it may take: like the last four: 20 to 50 minutes." in (
            orch.execute_task(task).briefing()
        )


def test_every_session_counts_and_the_same_specialist_first(tmp_path, clock):
    """A new session starts with what was learnt in the old ones."""
    with vespera.open(tmp_path, clock=clock) as orch:
        for specialist, length in (("writer", 20), ("painter", 60)):
            orch.initialize_session("Goal")
            for number in range(4):
                task = orch.plan_task(f"t{number}", specialist_type=specialist)
                work = orch.execute_task(task)
                clock.advance(60 * length)
                work.complete(summary="s", detailed_work="d")
        orch.initialize_session("Another goal")
        for specialist, words in (
            ("writer", "the last four: about 20 minutes"),
            ("painter", "the last four: about 60 minutes"),
            ("cook", "the last eight: 20 to 60 minutes"),
        ):
            task = orch.plan_task("Next", specialist_type=specialist)
            assert str(orch.usual_time(task)) == f"like {words}"
        assert "It may take about 20 minutes, like the last four." in str(orch.next_step())


def test_several_attempts_count_together(tmp_path, clock):
    """An attempt that was abandoned does not."""
    with vespera.open(tmp_path, clock=clock) as orch:
        orch.initialize_session("Goal")
        for number in range(3):
            task = orch.plan_task(f"t{number}")
            orch.execute_task(task, lease_s=60)
            clock.advance(3600)
            for ending in ("release", "complete"):
                work = orch.execute_task(task)
                clock.advance(10 * 60)
                if ending == "release":
                    work.release("later")
                else:
                    work.complete(summary="s", detailed_work="d")
        assert (
            str(orch.usual_time(orch.plan_task("Next"))) == "like the last three: about 20 minutes"
        )

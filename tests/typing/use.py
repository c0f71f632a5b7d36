"""Typed use of the public names; checked by a second type checker, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import vespera_orchestrator as vespera


def use() -> None:
    """Use what most callers use."""
    with vespera.open(".") as orch:
        assert_type(orch, vespera.Orchestrator)
        assert_type(orch.initialize_session("goal"), vespera.Session)
        task = orch.plan_task("Task", dependencies=["a", vespera.Dependency("b", "failure")])
        assert_type(task, vespera.Task)
        assert_type(task.status, vespera.TaskStatus)
        assert_type(task.on("failure"), vespera.Dependency)
        assert_type(orch.plan_tasks([{"title": "x"}]), vespera.PlannedTasks)
        with orch.execute_task(task, worktree=True) as work:
            assert_type(work, vespera.Work)
            assert_type(work.path, Path | None)
            assert_type(work.resumed_from, vespera.Checkpoint | None)
            assert_type(work.checkpoint({"a": 1}, "note", 0.5), vespera.Checkpoint)
            assert_type(
                work.complete(summary="s", detailed_work="d", next_action="continue"), vespera.Task
            )
        assert_type(orch.why("task"), vespera.Why)
        assert_type(orch.next_step(), vespera.NextStep)
        assert_type(orch.get_status(), vespera.Status)
        assert_type(orch.resume(), vespera.Briefing)
        assert_type(orch.pause("note"), vespera.Pause)
        assert_type(orch.share_context(db="sqlite"), vespera.SharedContext)
        assert_type(orch.artifacts.search("x"), list[vespera.Hit])
        assert_type(orch.artifacts.read("a"), bytes)
        assert_type(orch.artifacts.save("t", Path("file"), tags="x"), vespera.Artifact)
        assert_type(orch.artifacts.list(tags="x", partial=False), vespera.ArtifactList)
        assert_type(orch.artifacts.find("t"), vespera.Artifact | None)
        assert_type(orch.artifacts.diff("a"), str)
        assert_type(orch.artifacts.show("a"), vespera.Shown)
        assert_type(orch.artifacts.export("out"), vespera.Exported)
        assert_type(orch.artifacts.verify(progress=print), list[vespera.Damage])
        assert_type(orch.artifacts.collect_garbage(dry_run=True), vespera.Collected)
        with orch.artifacts.open("a") as stream:
            assert_type(stream.read(), bytes)
        assert_type(orch.worktrees.list(), list[vespera.Worktree])
        assert_type(orch.documents.update(), vespera.UpdateReport)
        assert_type(orch.graph().critical_path(), list[vespera.Task])
        for event in orch.watch(timeout_s=1):
            assert_type(event, vespera.Event)

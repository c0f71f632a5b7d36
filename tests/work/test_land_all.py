"""Landing everything that waits: what can land does, and what cannot stops nothing."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from support.git_project import git

pytestmark = pytest.mark.usefixtures("identity")


@pytest.fixture
def orch(project):
    """The façade on a project with ``story.txt``."""
    project.write({"story.txt": "once\n"})
    git(project.folder, "add", "-A")
    git(project.folder, "commit", "-qm", "story")
    with vespera.open(project.folder) as opened:
        opened.initialize_session("Goal")
        yield opened


def hand_in(orch, title, files):
    """Finish a task in a worktree, and leave its landing for later."""
    orch.plan_task(title)
    work = orch.execute_task(title.lower(), worktree=True)
    for name, text in files.items():
        (work.path / name).write_text(text)
    work.complete(summary=title, detailed_work=title, merge="later")


def test_what_can_land_does(orch, project):
    """In the order in which most of it lands; a conflict gets its recovery, the rest goes on."""
    hand_in(orch, "Left", {"story.txt": "left\n"})
    hand_in(orch, "Right", {"story.txt": "right\n"})
    hand_in(orch, "Apart", {"apart.txt": "x"})
    orch.plan_task("Open")
    orch.execute_task("open", worktree=True)
    report = orch.worktrees.land_all()
    assert not report
    assert "apart" in report.landed
    assert len(report.landed) == 2
    (trouble,) = report.left
    assert "story.txt" in trouble.reason
    assert orch.get_task(trouble.alias).status == "blocked"
    assert orch.get_task(f"recover_{trouble.alias}").is_ready
    assert (
        str(report).splitlines()[0] == f"2 tasks landed on integration: {', '.join(report.landed)}"
    )
    assert f"not landed: {trouble.alias}: " in str(report)
    assert git(project.folder, "show", "integration:apart.txt") == "x"
    again = orch.worktrees.land_all()
    assert again
    assert str(again) == "Nothing waits to be merged."
    assert orch.get_task("open").status == "in_progress"


def test_each_piece_is_checked_by_itself(orch):
    """One that the check refuses is blocked; the others land."""
    hand_in(orch, "Good", {"good.txt": "x"})
    hand_in(orch, "Bad", {"bad.txt": "x"})
    report = orch.worktrees.land_all(check="test ! -e bad.txt")
    assert report.landed == ("good",)
    assert [trouble.alias for trouble in report.left] == ["bad"]
    assert orch.get_task("bad").status == "blocked"


def test_after_an_interrupt_it_goes_on(orch):
    """What had landed has, and the rest waits as before."""
    for title in ("One", "Two"):
        hand_in(orch, title, {f"{title}.txt": "x"})

    def interrupted(_):
        if orch.get_task("one").status == "completed" or orch.get_task("two").status == "completed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        orch.worktrees.land_all(check=interrupted)
    report = orch.worktrees.land_all()
    assert len(report.landed) == 1
    assert {orch.get_task(alias).status for alias in ("one", "two")} == {"completed"}

"""States in which somebody was interrupted, made from their description, and a reader who knows
nothing but the text of `resume`.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess

import vespera_orchestrator as vespera
from support import TESTS
from support.git_project import make_repository
from vespera_orchestrator.testing import ManualClock

CASES = json.loads((TESTS / "fixtures" / "interrupted.json").read_text("utf-8"))
LINES = "".join(f"line {number}\n" for number in range(1, 31))
PATH = re.compile(r"(?<![\w/.-])(?:[\w-]+/)+[\w-]+\.[a-z]{2,4}")


class Scene:
    """A project in the state that a case describes, and the clock it lives by."""

    def __init__(self, folder, case):
        self.case = case
        self.folder = folder
        self.clock = ManualClock()
        make_repository(folder, dict.fromkeys((case["file"], case["other_path"]), LINES))
        self.orch = self.open("ada")
        self.orch.initialize_session(
            "A kettle that knows when tea is ready, with every part on the integration branch"
        )
        self.aliases = self.plan()
        for number in range(case["noise"]):
            self.land(f"noise_{number}", f"noise/n{number}.py", agent="bob")
        getattr(self, "_" + case["kind"].replace(" ", "_"))()

    def open(self, agent):
        return vespera.open(self.folder, agent=agent, clock=self.clock)

    def plan(self):
        """Plan what the case is about, what comes after it, and what others do meanwhile."""
        case = self.case
        subject = {"title": case["title"]}
        kind = case["kind"]
        if kind in {"next one is ready", "next one is heavy", "something was skipped"}:
            subject["description"] = f"The unit is wrong in {case['file']}. Then test it."
            subject["dependencies"] = ["first"]
        if kind == "next one is heavy":
            subject["description"] = (
                f"A long story.\n\n- [x] read it\n- [ ] open {case['file']}\n- [ ] the rest\n"
            )
            subject["complexity"] = "complex"
        specs = [{"title": f"Noise {number}", "alias": f"noise_{number}"} for number in range(3)]
        specs = specs[: case["noise"]]
        if kind in {"subtasks have ended", "results are together"}:
            specs.append({"title": "Whole", "children": [subject]})
        else:
            specs.append(subject)
        if kind == "conflict":
            specs.append({"title": case["other_title"], "alias": "rival"})
        if "dependencies" in subject:
            specs.append({"title": "First", "alias": "first"})
        if kind == "something was skipped":
            condition = "first.outputs.wanted"
            specs.append(
                {
                    "title": case["other_title"],
                    "alias": "unwanted",
                    "dependencies": ["first"],
                    "condition": condition,
                }
            )
        return [task.alias for task in self.orch.plan_tasks(specs)]

    @property
    def alias(self):
        return self.case["title"].lower().replace(" ", "_")

    def edit(self, work, path=None, text="changed"):
        """Change one line in the worktree."""
        file = work.path / (path or self.case["file"])
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = (file.read_text() if file.exists() else LINES).splitlines()
        lines[self.case["line"] - 1] = f"{text} by {work.attempt.agent}"
        file.write_text("\n".join(lines) + "\n")

    def begin(self, agent="ada"):
        """Start the task in a worktree, change the file, and save."""
        work = self.orch.execute_task(self.alias, worktree=True, agent=agent)
        self.edit(work)
        work.checkpoint({"at": 1}, self.case["note"], 0.4)
        return work

    def land(self, alias, path, agent="ada", **how):
        """Do a task from beginning to end."""
        with self.orch.execute_task(alias, worktree=True, agent=agent) as work:
            self.edit(work, path)
            work.complete(summary=f"{alias} is done", detailed_work="all of it", **how)

    # --- how it was left --------------------------------------------------------

    def _killed_just_now(self):
        self.begin()

    def _killed_in_the_evening(self):
        self.begin()
        self.clock.advance(hours=self.case["hours"])

    def _interrupted(self):
        with contextlib.suppress(KeyboardInterrupt), self.begin():
            raise KeyboardInterrupt
        self.clock.advance(hours=self.case["hours"])

    def _handed_back_with_a_note(self):
        self.begin().release("the unit must be asked for")
        self.clock.advance(hours=self.case["hours"])

    def _failed(self):
        self.begin().fail("no such unit")
        self.clock.advance(hours=self.case["hours"])

    def _conflict(self):
        mine = self.begin()
        rival = self.orch.execute_task("rival", worktree=True, agent="bob")
        self.edit(rival, text="another change")
        rival.complete(summary="faster", detailed_work="all of it")
        assert mine.complete(summary="s", detailed_work="d").status == "blocked"
        self.clock.advance(hours=self.case["hours"])

    def _waits_to_be_merged(self):
        self.begin().complete(summary="s", detailed_work="d", merge="later")
        self.clock.advance(hours=self.case["hours"])

    def _needs_revision(self):
        self.begin().complete(summary="s", detailed_work="d", next_action="needs_revision")
        self.clock.advance(hours=self.case["hours"])

    def _needs_a_decision(self):
        for _ in range(3):
            self.begin().fail("no such unit")
            if self.orch.query_tasks(task_type="recovery", status="pending"):
                (recovery,) = self.orch.query_tasks(task_type="recovery", status="pending")
                self.orch.complete_task(recovery, summary="s", detailed_work="d")
        self.clock.advance(hours=self.case["hours"])

    def _somebody_else_is_at_work(self):
        self.begin("bob")
        self.clock.advance(60)

    def _somebody_else_is_silent(self):
        self.begin("bob")
        self.clock.advance(minutes=11)

    def _subtasks_have_ended(self):
        self.land(self.alias, self.case["file"])
        self.clock.advance(hours=self.case["hours"])

    def _results_are_together(self):
        self.land(self.alias, self.case["file"])
        self.orch.synthesize_results("whole")
        self.clock.advance(hours=self.case["hours"])

    def _next_one_is_ready(self):
        self.land("first", self.case["other_path"])
        self.clock.advance(hours=self.case["hours"])

    _next_one_is_heavy = _next_one_is_ready

    def _something_was_skipped(self):
        self.land("first", self.case["other_path"], outputs={"wanted": False})
        self.clock.advance(hours=self.case["hours"])

    def _everything_is_done(self):
        self.land(self.alias, self.case["file"])
        self.clock.advance(hours=self.case["hours"])


# --- a reader who knows nothing ---------------------------------------------------


def action_in(text):
    """Return what the last line says to do: a call, a command, or nothing."""
    step = text.splitlines()[-1]
    before_arrow, arrow, call = step.rpartition("  →  ")
    if arrow:
        return call
    command = re.search(r"git merge \S+", before_arrow or step)
    return command[0] if command else ""


def file_in(text):
    """Return the file to open: the first one named beside the task that the step is about.

    The step itself is read first. Where no line names task and file together, it is the file that
    was changed last.
    """
    _, *middle, step = text.splitlines()
    if PATH.search(step.partition("git merge")[0]) and "git merge" not in step:
        return PATH.search(step)[0]
    name = re.search(r"\('([a-z_0-9]+)'", step) or re.search(r"\b([a-z]+(?:_[a-z0-9]+)+)\b", step)
    if name:
        alias = name[1].removeprefix("recover_")
        for line in middle:
            if re.search(rf"\b{alias}\b", line) and PATH.search(line):
                return PATH.search(line)[0]
    changes = [line for line in middle if line.startswith("  ") and PATH.search(line)]
    return PATH.search(changes[-1])[0] if changes else ""


def try_action(orch, call):
    """Do what the text says to do, with something to fill in where it leaves that open."""
    if call.startswith("git "):
        subprocess.run(call.split(), cwd=orch.project, check=True, capture_output=True)
    elif call:
        eval(call.replace("…", "'x'"), {"orch": orch})

"""The main job, end to end: agents check a real repository, one of them is killed, nothing is lost.

    python examples/quickstart.py [REPOSITORY]

It works on a clone in ``build/quickstart/``; the repository itself is only read. It uses no
language model and no network: the agents (`quickstart_agents.py`) do real, deterministic work. It
ends with status 0 only if everything that it claims is true.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import vespera_orchestrator as vespera

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).resolve().parent
ROOM = HERE.parent / "build" / "quickstart"
AGENTS = HERE / "quickstart_agents.py"
AT_ONCE = max(2, os.cpu_count() or 2)

PLAN = [
    {
        "alias": "health_check",
        "title": "Health check of the repository",
        "description": "Bring together what the agents found and changed.",
        "children": [
            {
                "alias": "inventory",
                "title": "Inventory of the code base",
                "specialist_type": "analyst",
                "priority": 2,
            },
            {
                "alias": "audit_links",
                "title": "Audit of the documentation's links",
                "specialist_type": "reviewer",
                "priority": 1,
            },
            {
                "alias": "audit_docstrings",
                "title": "Audit of docstrings and types",
                "specialist_type": "reviewer",
                "dependencies": ["inventory"],
            },
            {
                "alias": "label_sources",
                "title": "Label sources with their licence",
                "specialist_type": "implementer",
                "dependencies": ["inventory"],
                "priority": 2,
            },
            {
                "alias": "index_docs",
                "title": "Index of the documentation",
                "specialist_type": "documenter",
                "dependencies": ["inventory", "audit_links"],
                "condition": "audit_links.outputs.documents > 0",
            },
            {
                "alias": "mark_broken_links",
                "title": "Mark broken links",
                "specialist_type": "implementer",
                "dependencies": ["audit_links"],
                "condition": "audit_links.outputs.broken > 0",
            },
            {
                "alias": "report",
                "title": "Report on the repository",
                "specialist_type": "documenter",
                "dependencies": [
                    "audit_docstrings",
                    "label_sources",
                    {"task": "index_docs", "on": "done"},
                    {"task": "mark_broken_links", "on": "done"},
                ],
            },
        ],
    },
]
PARENT = "health_check"
VICTIM = "label_sources"
ASK_FOR_REPOSITORY = "Give the path of a git repository with at least one commit."
QUESTION = "public functions and classes without docstring"


def git(folder: Path, *arguments: str) -> str:
    process = run_git("-C", str(folder), *arguments)
    process.check_returncode()
    return process.stdout.strip()


def ask_git(folder: Path, *arguments: str) -> str:
    """Return what git says, or nothing when it refuses."""
    process = run_git("-C", str(folder), *arguments)
    return process.stdout.strip() if process.returncode == 0 else ""


def run_git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)


def clone(source: Path) -> Path:
    """Clone the repository into a new folder. Only a folder of an earlier run is cleared."""
    if not ask_git(source, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        sys.exit(f"{source} is not a git repository with a commit. {ASK_FOR_REPOSITORY}")
    marker = ROOM / ".made-by-quickstart"
    if ROOM.exists():
        if not marker.exists():
            sys.exit(f"{ROOM} exists and was not made by this example; move it away first")
        shutil.rmtree(ROOM)
        say("Removed what an earlier run had left in build/quickstart.")
    ROOM.mkdir(parents=True)
    marker.touch()
    target = ROOM / source.name
    process = run_git("clone", "--quiet", "--no-hardlinks", str(source), str(target))
    if process.returncode:
        problem = process.stderr.strip()
        sys.exit(f"{source} cannot be cloned: {problem}\n{ASK_FOR_REPOSITORY}")
    return target


def say(text: str = "") -> None:
    print(text, flush=True)


# --- conducting ---------------------------------------------------------------


class Crew:
    """The agents' processes: at most a few at once, one for each task."""

    def __init__(self, orch: vespera.Orchestrator, started_at: float) -> None:
        self.orch = orch
        self.started_at = started_at
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.tries: dict[str, int] = {}
        self.names = {task.id: task.alias for task in orch.query_tasks()}

    def report(self, text: str) -> None:
        """Print a line with the time since the start."""
        elapsed_s = time.monotonic() - self.started_at
        say(f"  {elapsed_s:5.1f} s  {text}")

    def start_ready_tasks(self) -> None:
        """Start an agent's process for each ready task, up to the number that may run at once."""
        for task in self.orch.ready_tasks():
            if len(self.processes) >= AT_ONCE:
                return
            if task.alias not in self.processes and task.alias != PARENT:
                self.processes[task.alias] = self.start(task)

    def start(self, task: vespera.Task) -> subprocess.Popen[bytes]:
        """Start an agent's process for a task. It finds the session through its environment."""
        number = self.tries.get(task.alias, 0) + 1
        self.tries[task.alias] = number
        name = f"{task.specialist_type}-{number}"
        context = self.orch.spawn_agent_with_context(task, agent=name)
        environment = context.environ()
        if task.alias == VICTIM and number == 1:
            environment["QUICKSTART_KILL_AT"] = "0.5"
        command = [sys.executable, str(AGENTS), task.id]
        return subprocess.Popen(command, env=environment, cwd=self.orch.project)

    def reap(self) -> None:
        """Notice which processes have ended, and how."""
        for alias, process in list(self.processes.items()):
            status = process.poll()
            if status is None:
                continue
            del self.processes[alias]
            if status == -signal.SIGKILL:
                fate = "its process was KILLED (SIGKILL) half way; another agent will go on"
                self.report(f"{alias:<18} {fate} when its lease expires")
            elif status:
                self.report(f"{alias:<18} its process ended with status {status}")

    def show(self, event: vespera.Event) -> None:
        """Print an event."""
        name = self.names.get(event.task_id or "", "")
        data = event.data
        start = f"started by {event.agent}"
        if data.get("attempt", 1) > 1:
            start += f", attempt {data['attempt']}"
        text = {
            "task_started": start,
            "checkpoint_saved": f"{data.get('progress') or 0:4.0%}  {data.get('note', '')}",
            "task_completed": f"done: {data.get('summary', '')}",
            "task_blocked": f"blocked: {data.get('reason', '')}",
            "task_skipped": f"skipped: {data.get('reason', '')}",
            "lease_expired": "its lease expired; the task is ready again",
            "worktree_landed": f"merged as {str(data.get('landed'))[:10]}",
            "worktree_removed": "worktree removed",
        }.get(event.kind)
        if text is not None:
            self.report(f"{name:<18} {text}")

    def work(self) -> None:
        """Run until only the parent task is left, or nothing can go on."""
        last_seq = 0
        while True:
            self.start_ready_tasks()
            for event in self.orch.watch(last_seq, timeout_s=0.05):
                self.show(event)
                last_seq = event.seq
            self.reap()
            if not self.processes and not self.can_go_on():
                return

    def can_go_on(self) -> bool:
        """Tell whether a task besides the parent is ready, or held by somebody."""
        for task in self.orch.query_tasks(status=["pending", "in_progress"]):
            if task.alias != PARENT and (task.is_ready or task.status == "in_progress"):
                return True
        return False


# --- checking and showing -----------------------------------------------------


def checks(
    orch: vespera.Orchestrator, synthesis: vespera.Artifact, source: Path, before: tuple[str, str]
) -> dict[str, bool]:
    """Return each claim, and whether it is true."""
    tasks = {task.alias: task for task in orch.query_tasks(limit=None)}
    victim = tasks[VICTIM]
    resumed_at = victim.outputs.get("resumed_at", 0)
    hits = orch.artifacts.search(QUESTION, limit=3)
    landed = git(orch.project, "ls-tree", "-r", "--name-only", "integration").splitlines()
    return {
        "every task ended as planned; those not needed were skipped by their condition": (
            all(ended_as_planned(task) for task in tasks.values())
        ),
        f"{VICTIM} was killed with SIGKILL and finished by another process": victim.attempts > 1,
        f"it went on from the last checkpoint (file {resumed_at})": resumed_at > 0,
        "the uncommitted edits of the killed process were intact": (
            victim.outputs.get("edits_intact") is True
        ),
        "the work of the worktrees is on the branch 'integration'": "CODEMAP.md" in landed,
        "the worktrees are gone": not has_worktrees(orch.project),
        "the documents landed with the work; those that were yours are untouched": (
            are_documents_right(orch)
        ),
        "the synthesis names every result and misses none": (
            holds_all(orch.artifacts.text(synthesis), tasks)
        ),
        "a search finds the passage it should, among the first three": (
            tasks["audit_docstrings"].id in {hit.task_id for hit in hits}
        ),
        "the repository it was cloned from is as it was": state_of(source) == before,
    }


def ended_as_planned(task: vespera.Task) -> bool:
    if task.status == "skipped":
        return task.alias in {"index_docs", "mark_broken_links"}
    return task.status == "completed"


def has_worktrees(project: Path) -> bool:
    folder = project.parent / "worktrees"
    if folder.exists() and any(folder.iterdir()):
        return True
    return len(git(project, "worktree", "list").splitlines()) > 1


def are_documents_right(orch: vespera.Orchestrator) -> bool:
    """Tell whether each document landed; one that was there before must be as it was."""
    for name in ("API_REFERENCE.md", "ARCHITECTURE.md", "CHANGELOG.md"):
        path = f"docs/{name}"
        landed = git(orch.project, "show", f"integration:{path}")
        if git(orch.project, "ls-files", path):
            if landed != git(orch.project, "show", f"HEAD:{path}"):
                return False
        elif "vespera:section" not in landed:
            return False
    return True


def holds_all(synthesis: str, tasks: dict[str, vespera.Task]) -> bool:
    if "## What is missing" in synthesis:
        return False
    for task in tasks.values():
        is_result = task.parent_task_id and task.status == "completed"
        if is_result and f"## {task.title}" not in synthesis:
            return False
    return True


def state_of(repository: Path) -> tuple[str, str]:
    return git(repository, "rev-parse", "HEAD"), ask_git(repository, "status", "--porcelain")


def say_lines(lines: Iterable[str], before: str = "  ") -> None:
    for line in lines:
        say(f"{before}{line}")


def show_page(orch: vespera.Orchestrator, synthesis: vespera.Artifact, drawing: Path) -> None:
    say("\nWhat happened\n")
    for task in orch.query_tasks(limit=None):
        say(f"  {task.status:<10} {task.title}: {task.summary or task.reason or ''}")
    say("\nOn the integration branch\n")
    say_lines(git(orch.project, "log", "--oneline", "-4", "integration").splitlines())
    say(f"\nSearch: {QUESTION}\n")
    for hit in orch.artifacts.search(QUESTION, limit=3):
        say(f"  {hit.title} ({hit.artifact_id}, characters {hit.start}-{hit.end})")
        say_lines(hit.text.splitlines()[:3], "  | ")
    say("\nWhere the files are\n")
    content = f"{synthesis.digest[:2]}/{synthesis.digest[2:]}"
    places = {
        "the clone": orch.project,
        "the home: store, artifacts, index": orch.home,
        "the drawing of the graph": drawing,
        "the synthesis": orch.home / "artifacts" / content,
    }
    for name, path in places.items():
        say(f"  {name:<34} {os.path.relpath(path)}")
    say("\nThe graph\n")
    say_lines(orch.get_status().to_mermaid().splitlines())


def repository() -> Path:
    """Return the top folder of the repository that was named, or of this one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "repository",
        nargs="?",
        type=Path,
        default=HERE.parent,
        help="a git repository of your own; it is only read",
    )
    folder = parser.parse_args().repository.resolve()
    return Path(ask_git(folder, "rev-parse", "--show-toplevel") or folder)


def finish(orch: vespera.Orchestrator) -> vespera.Artifact:
    """Bring the results together, and complete the parent task."""
    synthesis = orch.synthesize_results(PARENT)
    verdict = f"Every result is in the synthesis, {synthesis.id}. Nothing is missing.\n"
    orch.complete_task(PARENT, summary="every result is in one artifact", detailed_work=verdict)
    return synthesis


def main() -> int:
    source = repository()
    started_at = time.monotonic()
    project = clone(source)
    before = state_of(source)
    commit = git(project, "rev-parse", "--short", "HEAD")
    say(f"Cloned {source.name} ({commit}).")
    say("The agents work on the clone; the original is only read.\n")

    with vespera.open(project, agent="conductor") as orch:
        orch.initialize_session(f"Check {source.name}", project_type="software_development")
        orch.plan_tasks(PLAN)
        Crew(orch, started_at).work()

        if orch.next_step().alias != PARENT:
            say(f"\n{orch.get_status()}\n")
            say("Not everything could be done; the next step above says what to do.")
            return 1
        synthesis = finish(orch)
        drawing = ROOM / "graph.md"
        drawing.write_text(f"```mermaid\n{orch.get_status().to_mermaid()}\n```\n", "utf-8")
        show_page(orch, synthesis, drawing)
        say("\nIs it true?\n")
        claims = checks(orch, synthesis, source, before)
        for claim, is_true in claims.items():
            say(f"  {'yes' if is_true else 'NO '}  {claim}")
        took_s = time.monotonic() - started_at
        say(f"\n{took_s:.0f} seconds. Next step: {orch.next_step()}")
    say(f"Look around: cd {os.path.relpath(project)} && git log --stat integration")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

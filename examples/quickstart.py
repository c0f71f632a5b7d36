"""The main job, end to end: several agents check a real repository over, one of them is killed, and nothing is lost.

    python examples/quickstart.py [REPOSITORY]

It works on a clone in ``build/quickstart/``; the repository itself is only read. No language model and no network are used: the agents
(`quickstart_agents.py`) do real, deterministic work. Ends with status 0 only if everything that it claims is true.
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

import vespera_orchestrator as vespera

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
VICTIM = "label_sources"
QUESTION = "public functions and classes without docstring"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def git_answers(folder: Path, *arguments: str) -> str:
    """Return what git says, or nothing when it refuses."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def clone(source: Path) -> Path:
    """Clone the repository into a fresh room. Only a room that an earlier run made is cleared."""
    if not git_answers(source, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        sys.exit(
            f"{source} is no git repository with a commit. Give the path of a git repository with at least one commit."
        )
    marker = ROOM / ".made-by-quickstart"
    if ROOM.exists():
        if not marker.exists():
            sys.exit(f"{ROOM} exists and was not made by this example; move it away first")
        shutil.rmtree(ROOM)
        say("Cleared what an earlier run had left in build/quickstart.")
    ROOM.mkdir(parents=True)
    marker.touch()
    target = ROOM / source.name
    done = subprocess.run(
        ["git", "clone", "--quiet", "--no-hardlinks", str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(
            f"{source} cannot be cloned: {done.stderr.strip()}\nGive the path of a git repository with at least one commit."
        )
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

    def tell(self, text: str) -> None:
        """Print a line with the time since the start."""
        say(f"  {time.monotonic() - self.started_at:5.1f} s  {text}")

    def start_what_is_ready(self) -> None:
        """Start an agent's process for each ready task, as far as there are hands."""
        for task in self.orch.ready_tasks():
            if (
                len(self.processes) >= AT_ONCE
                or task.alias in self.processes
                or task.alias == "health_check"
            ):
                continue
            self.tries[task.alias] = self.tries.get(task.alias, 0) + 1
            context = self.orch.spawn_agent_with_context(
                task, agent=f"{task.specialist_type}-{self.tries[task.alias]}"
            )
            environment = context.environ()
            if task.alias == VICTIM and self.tries[task.alias] == 1:
                environment["QUICKSTART_KILL_AT"] = "0.5"
            command = [sys.executable, str(AGENTS), task.id]
            self.processes[task.alias] = subprocess.Popen(
                command, env=environment, cwd=self.orch.project
            )

    def reap(self) -> None:
        """Notice which processes have ended, and how."""
        for alias, process in list(self.processes.items()):
            status = process.poll()
            if status is None:
                continue
            del self.processes[alias]
            if status == -signal.SIGKILL:
                self.tell(
                    f"{alias:<18} its process was KILLED (SIGKILL) half way; its lease lapses, another agent will go on"
                )
            elif status:
                self.tell(f"{alias:<18} its process ended with status {status}")

    def show(self, event: vespera.Event) -> None:
        """Print what an event tells."""
        name = self.names.get(event.task_id or "", "")
        data = event.data
        text = {
            "task_started": f"started by {event.agent}"
            + (f", attempt {data.get('attempt')}" if data.get("attempt", 1) > 1 else ""),
            "checkpoint_saved": f"{data.get('progress') or 0:4.0%}  {data.get('note', '')}",
            "task_completed": f"done: {data.get('summary', '')}",
            "task_blocked": f"blocked: {data.get('reason', '')}",
            "task_skipped": f"skipped: {data.get('reason', '')}",
            "lease_expired": "lease has lapsed; the task is ready again",
            "worktree_landed": f"merged as {str(data.get('landed'))[:10]}",
            "worktree_removed": "worktree removed",
        }.get(event.kind)
        if text is not None:
            self.tell(f"{name:<18} {text}")

    def work(self) -> None:
        """Run until only the parent task is left, or nothing can go on."""
        seen = 0
        while True:
            self.start_what_is_ready()
            for event in self.orch.watch(seen, timeout_s=0.05):
                self.show(event)
                seen = event.seq
            self.reap()
            waiting = self.orch.query_tasks(status=["pending", "in_progress"])
            if not self.processes and all(
                task.alias == "health_check" or not (task.is_ready or task.status == "in_progress")
                for task in waiting
            ):
                return


# --- checking and showing -----------------------------------------------------


def checks(
    orch: vespera.Orchestrator, synthesis: vespera.Artifact, source: Path, before: tuple[str, str]
) -> list[tuple[bool, str]]:
    """Say of everything that was promised whether it is true."""
    tasks = {task.alias: task for task in orch.query_tasks(limit=None)}
    conditional = {"index_docs", "mark_broken_links"}
    as_planned = all(
        t.status == "completed" or (t.status == "skipped" and t.alias in conditional)
        for t in tasks.values()
    )
    victim = tasks[VICTIM]
    integration = git(orch.project, "ls-tree", "-r", "--name-only", "integration").splitlines()
    hits = orch.artifacts.search(QUESTION, limit=3)
    root = orch.project.parent / "worktrees"
    return [
        (
            as_planned,
            "every task ended as planned; those that were not needed were skipped by their condition",
        ),
        (victim.attempts > 1, f"{VICTIM} was killed with SIGKILL and finished by another process"),
        (
            victim.outputs.get("resumed_at", 0) > 0,
            f"it went on from the last checkpoint (file {victim.outputs.get('resumed_at')})",
        ),
        (
            victim.outputs.get("edits_intact") is True,
            "the uncommitted edits of the killed process were intact",
        ),
        ("CODEMAP.md" in integration, "the work of the worktrees is on the branch 'integration'"),
        (
            len(git(orch.project, "worktree", "list").splitlines()) == 1
            and not (root.exists() and any(root.iterdir())),
            "the worktrees are gone",
        ),
        (
            documents_follow(orch, victim),
            "the documents in docs/ have written themselves; those that were yours before are untouched",
        ),
        (
            holds_all(orch.artifacts.text(synthesis), tasks),
            "the synthesis names every result and misses none",
        ),
        (
            tasks["audit_docstrings"].id in {hit.task_id for hit in hits},
            "a search finds the passage it should, among the first three",
        ),
        (state_of(source) == before, "the repository it was cloned from is as it was"),
    ]


def documents_follow(orch: vespera.Orchestrator, done: vespera.Task) -> bool:
    """Tell whether each document tells of the work, or was the repository's own before and is as it was."""
    for name in ("api_reference.md", "architecture.md", "changelog.md"):
        path = f"docs/{name}"
        if git(orch.project, "ls-files", path):
            if git(orch.project, "status", "--porcelain", path):
                return False
        elif (
            done.alias not in (orch.project / path).read_text("utf-8")
            and name != "api_reference.md"
        ):
            return False
    return True


def holds_all(synthesis: str, tasks: dict[str, vespera.Task]) -> bool:
    done = [
        task.title for task in tasks.values() if task.parent_task_id and task.status == "completed"
    ]
    return "## What is missing" not in synthesis and all(
        f"## {title}" in synthesis for title in done
    )


def state_of(repository: Path) -> tuple[str, str]:
    return git(repository, "rev-parse", "HEAD"), git_answers(repository, "status", "--porcelain")


def page(orch: vespera.Orchestrator, synthesis: vespera.Artifact, drawing: Path) -> None:
    say("\nWhat happened\n")
    for task in orch.query_tasks(limit=None):
        say(f"  {task.status:<10} {task.title}: {task.summary or task.reason or ''}")
    say("\nOn the integration branch\n")
    say(
        "\n".join(
            f"  {line}"
            for line in git(orch.project, "log", "--oneline", "-4", "integration").splitlines()
        )
    )
    say(f"\nSearch: {QUESTION}\n")
    for found in orch.artifacts.search(QUESTION, limit=3):
        say(f"  {found.title} ({found.artifact_id}, characters {found.start}-{found.end})")
        say("\n".join(f"  | {line}" for line in found.text.splitlines()[:3]))
    say("\nWhere the files are\n")
    for name, place in [
        ("the clone", orch.project),
        ("the documents", orch.project / "docs"),
        ("the home: store, artifacts, index", orch.home),
        ("the drawing of the graph", drawing),
    ]:
        say(f"  {name:<34} {os.path.relpath(place)}")
    place = f"{synthesis.digest[:2]}/{synthesis.digest[2:]}"
    say(f"  {'the synthesis':<34} {os.path.relpath(orch.home / 'artifacts' / place)}")
    say("\nThe graph\n")
    say("\n".join(f"  {line}" for line in orch.get_status().to_mermaid().splitlines()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "repository",
        nargs="?",
        type=Path,
        default=HERE.parent,
        help="a git repository of your own; it is only read",
    )
    given = parser.parse_args().repository.resolve()
    source = Path(git_answers(given, "rev-parse", "--show-toplevel") or given)
    started_at = time.monotonic()
    project = clone(source)
    before = state_of(source)
    say(
        f"Cloned {source.name} ({git(project, 'rev-parse', '--short', 'HEAD')}). The agents work on the clone; the original is only read.\n"
    )

    with vespera.open(project, agent="conductor") as orch:
        orch.initialize_session(f"Check {source.name} over", project_type="software_development")
        orch.plan_tasks(PLAN)
        Crew(orch, started_at).work()

        if orch.next_step().action != "synthesize":
            say(
                f"\n{orch.get_status()}\n\nNot everything could be done; the next step above says what to do."
            )
            return 1
        synthesis = orch.synthesize_results("health_check")
        verdict = f"Every result is in the synthesis, {synthesis.id}. Nothing is missing.\n"
        orch.complete_task(
            "health_check", summary="every result is in one artifact", detailed_work=verdict
        )
        drawing = ROOM / "graph.md"
        drawing.write_text(f"```mermaid\n{orch.get_status().to_mermaid()}\n```\n", "utf-8")
        page(orch, synthesis, drawing)
        say("\nIs it true?\n")
        results = checks(orch, synthesis, source, before)
        for true, sentence in results:
            say(f"  {'yes' if true else 'NO '}  {sentence}")
        took = time.monotonic() - started_at
        say(f"\n{took:.0f} seconds. Next step: {orch.next_step()}")
    say(f"Look around: cd {os.path.relpath(project)} && git log --stat integration")
    return 0 if all(true for true, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())

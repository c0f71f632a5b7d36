"""A coordinator with four workers, each a process with a git worktree of its own.

One of them is killed, one fails, and two write into the same file, so that one of the two conflicts
when its work lands. All of it arrives. Run it in a git repository.
"""

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import vespera_orchestrator as vespera

FILES = {"lid": "lid.txt", "spout": "spout.txt", "handle": "joint.txt", "body": "joint.txt"}
MARKERS = {"<<<<", "||||", "====", ">>>>"}


def write(work: vespera.Work) -> str:
    """Do one task, in its worktree: ask a model, for example."""
    if work.task.alias == "lid" and work.attempt.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)  # the machine was short of memory, say
    if work.task.alias == "spout" and work.attempt.number == 1:
        raise RuntimeError("the model did not answer")
    with Path(work.path or ".", FILES[work.task.alias]).open("a+") as drawing:
        drawing.seek(0)
        if work.task.title not in drawing.read():  # else it is done, and only did not land
            drawing.write(f"{work.task.title}\n")
    return f"# {work.task.title}\n\nDrawn."


def recover(work: vespera.Work) -> str:
    """Decide what to do after trouble: here, keep both lines of a conflict."""
    for name in work.conflicts:
        file = Path(work.path or ".", name)
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if line[:4] not in MARKERS))
    return "It can be tried again; of a conflict, both sides are kept."


def main() -> vespera.RunReport:
    """Plan four parts of a kettle, and have them made side by side."""
    with vespera.open() as orch:
        orch.initialize_session("Draw a kettle")
        orch.plan_tasks([{"title": part} for part in ("Lid", "Spout", "Handle", "Body")])
        while True:
            with ProcessPoolExecutor(4) as pool:
                report = orch.run(write, executor=pool, worktree=True, on_recovery=recover)
            if report.ending != "broken":  # a worker was killed: go on with new ones
                return report


if __name__ == "__main__":
    print(main())

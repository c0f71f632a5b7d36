"""Runs beside the tests of worktrees, as a process of its own: ``python worktrees_worker.py MODE
PROJECT ARGUMENTS…``.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.rooms import worktrees_in
from vespera_orchestrator._model import Session, utcnow
from vespera_orchestrator.errors import GitFailedError
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.stores.sqlite import SQLiteStore

CHANGES_FILES = frozenset(
    {
        "mkdir",
        "rename",
        "replace",
        "unlink",
        "rmdir",
        "open",
        "write",
        "git_checkout_tree",
        "git_index_write",
    }
)


def open_scope(project, session_id="s_000000000001"):
    """Open the home of *project* as a program that starts would."""
    home = Home.locate(project).create()
    store = SQLiteStore.open(home.database)
    if store.find_session(session_id) is None:
        store.start_session(
            Session(
                id=session_id,
                goal="test",
                project_type=None,
                parent_session_id=None,
                context={},
                created_at=utcnow(),
                updated_at=utcnow(),
            )
        )
    return Scope(home, store, agent="main", session_id=session_id)


def die_at(point):
    """Kill this process just before the *point*-th call that changes files or refs; print how many
    there were when it survives.
    """
    seen = 0

    def profile(frame, event, function):
        nonlocal seen
        if event != "c_call" or function.__name__ not in CHANGES_FILES:
            return
        if (
            "worktrees" not in (inside := frame.f_code.co_filename)
            and "pathlib" not in inside
            and "pygit2" not in inside
            and "shutil" not in inside
        ):
            return
        seen += 1
        if seen == point:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)
    return lambda: seen


def die_in(action, project, point, tell=None):
    """Do one thing with the worktree of the task ``work`` and die on the way; told to, say when it
    begins.
    """
    worktrees = worktrees_in(open_scope(project))
    task = {"create": "fresh", "snapshot": "work", "merge": "work", "remove": "work"}[action]
    if tell:
        print("begin", flush=True)
    count = die_at(point) if not tell else lambda: 0
    getattr(worktrees, action)(task)
    sys.setprofile(None)
    print(count())


def cycle(project, label, rounds):
    """Make, edit, save, land and remove worktrees, one after the other."""
    worktrees = worktrees_in(open_scope(project))
    for number in range(rounds):
        name = f"{label}_{number}"
        worktree = worktrees.create(agent=name)
        Path(worktree.path, f"{name}.txt").write_text(f"{name}\n")
        for _ in range(2):
            worktrees.snapshot(worktree, note="half way")
        worktrees.merge(worktree, message=f"work of {name}")
        worktrees.remove(worktree)
        print(name)


if __name__ == "__main__":
    mode, place, *rest = sys.argv[1:]
    if mode == "cycle":
        cycle(place, rest[0], int(rest[1]))
    else:
        try:
            die_in(mode, place, int(rest[0]), *rest[1:])
        except GitFailedError as error:
            sys.exit(str(error))

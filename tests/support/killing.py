"""Kill, or refuse, an operation of the façade at each of its system calls that change files, and
look at what is left.

A child is made by ``fork``, opens the home, and is traced (``ptrace``) from there on: the tracer
counts the calls that change files, and at the chosen one kills the child, or has the call fail as a
bad disk would. Then the home is opened as a restarted program would open it: `check` must be clean,
everything that was acknowledged must be there, and the work must go on. No packages are needed,
Linux on x86-64 or AArch64 is. A kill shows what a process death leaves behind; it does not show a
missing fsync.

    python tests/support/killing.py                        # every call of every operation
    python tests/support/killing.py --how eio --most 10    # ten I/O errors instead of kills
    python tests/support/killing.py complete "plan a tree" # of these operations only
    python tests/support/killing.py --page docs/reliability.md   # put the table there
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import importlib.util
import json
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import vespera_orchestrator as vespera
import vespera_orchestrator.orchestrator
import vespera_orchestrator.worktrees.engine  # loaded once, before the first fork
from vespera_orchestrator.errors import (
    AnswerNeededError,
    NotReadyError,
    UnsavedFilesError,
    VesperaError,
)
from vespera_orchestrator.home import files
from vespera_orchestrator.worktrees import packs

FIXTURES = Path(__file__).parent.parent / "fixtures"

# --- the system calls, see the kernel's tables ------------------------------------

_X86_64 = {
    "write": 1,
    "pwrite64": 18,
    "writev": 20,
    "sendfile": 40,
    "fsync": 74,
    "fdatasync": 75,
    "truncate": 76,
    "ftruncate": 77,
    "rename": 82,
    "mkdir": 83,
    "rmdir": 84,
    "creat": 85,
    "link": 86,
    "unlink": 87,
    "symlink": 88,
    "chmod": 90,
    "fchmod": 91,
    "openat": 257,
    "mkdirat": 258,
    "unlinkat": 263,
    "renameat": 264,
    "linkat": 265,
    "symlinkat": 266,
    "fchmodat": 268,
    "fallocate": 285,
    "pwritev": 296,
    "renameat2": 316,
    "copy_file_range": 326,
    "pwritev2": 328,
    "open": 2,
}
_AARCH64 = {
    "write": 64,
    "writev": 66,
    "pwrite64": 68,
    "pwritev": 70,
    "sendfile": 71,
    "fsync": 82,
    "fdatasync": 83,
    "truncate": 45,
    "ftruncate": 46,
    "fallocate": 47,
    "fchmod": 52,
    "fchmodat": 53,
    "openat": 56,
    "mkdirat": 34,
    "unlinkat": 35,
    "symlinkat": 36,
    "linkat": 37,
    "renameat": 38,
    "renameat2": 276,
    "copy_file_range": 285,
    "pwritev2": 287,
}
MACHINE = platform.machine()
CALLS = {
    number: name
    for name, number in {"x86_64": _X86_64, "aarch64": _AARCH64}.get(MACHINE, {}).items()
}
_TO_A_HANDLE = ("write", "pwrite64", "writev", "pwritev", "pwritev2")

_TRACEME, _POKEUSER, _SYSCALL, _SETOPTIONS, _GETREGSET, _SETREGSET, _CALL_INFO = (
    0,
    6,
    24,
    0x4200,
    0x4204,
    0x4205,
    0x420E,
)
_OPTIONS = (
    0x1 | 0x2 | 0x4 | 0x8 | 0x100000
)  # good system-call stops, follow fork, vfork and clone, kill with the tracer
_WALL = 0x40000000
_ENTRY, _EXIT = 1, 2

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, pid, address=0, data=None):
    """Ask the kernel; see its manual page of this name."""
    if libc.ptrace(request, pid, address, data) < 0 and request != _SYSCALL:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace({request:#x}): {os.strerror(code)}")


class Call:
    """A traced thread at the beginning or end of a system call."""

    def __init__(self, pid):
        buffer = ctypes.create_string_buffer(88)
        ptrace(_CALL_INFO, pid, len(buffer), ctypes.addressof(buffer))
        self.pid, self.at = pid, buffer.raw[0]
        self.number, self.first, self.second, self.third = struct.unpack_from(
            "<qQQQ", buffer.raw, 24
        )

    def changes_files(self):
        """Tell whether it is one of those that count."""
        name = CALLS.get(self.number)
        if self.at != _ENTRY or name is None:
            return False
        if name in {"open", "openat"}:
            return bool((self.second if name == "open" else self.third) & (os.O_CREAT | os.O_TRUNC))
        return name not in _TO_A_HANDLE or self._is_file(self.first)

    def _is_file(self, handle):
        """Tell a file from a pipe, a terminal, or what threads wake each other with."""
        try:
            place = str(Path(f"/proc/{self.pid}/fd/{handle}").readlink())
        except OSError:
            return False
        return place.startswith("/") and not place.startswith("/dev/")

    def suppress(self):
        """At its beginning: have the kernel do nothing."""
        if MACHINE == "x86_64":
            ptrace(_POKEUSER, self.pid, 15 * 8, -1)
        else:
            self._registers(_SETREGSET, 0x404, ctypes.c_int(-1))

    def answer(self, code):
        """At its end: have it fail with this error number."""
        if MACHINE == "x86_64":
            ptrace(_POKEUSER, self.pid, 10 * 8, -code)
        else:
            registers = (ctypes.c_long * 34)()
            self._registers(_GETREGSET, 1, registers)
            registers[0] = -code
            self._registers(_SETREGSET, 1, registers)

    def _registers(self, request, kind, value):
        vector = struct.pack("PN", ctypes.addressof(value), ctypes.sizeof(value))
        buffer = ctypes.create_string_buffer(vector, len(vector))
        ptrace(request, self.pid, kind, ctypes.addressof(buffer))


class Traced:
    """One run of an operation under the tracer."""

    def __init__(self, pid, *, point, error):
        self.pid, self.point, self.error = pid, point, error
        self.calls = 0
        self.hit = None
        self._living = {pid}
        self._failing = set()

    def run(self):
        """Go on until the child has ended; return how many calls there were, and the one that was
        hit.
        """
        _, status = os.waitpid(self.pid, _WALL)
        if not os.WIFSTOPPED(status):
            return self.calls, self.hit  # it ended before it was traced: what it says tells why
        ptrace(_SETOPTIONS, self.pid, 0, _OPTIONS)
        self._go_on(self.pid, 0)
        while self._living:
            try:
                pid, status = os.waitpid(-1, _WALL)
            except ChildProcessError:
                break
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                self._living.discard(pid)
                continue
            self._living.add(pid)
            self._stopped(pid, status)
        return self.calls, self.hit

    def _stopped(self, pid, status):
        sign = os.WSTOPSIG(status)
        if sign == signal.SIGTRAP | 0x80:
            self._at_call(Call(pid))
            sign = 0
        elif sign in (signal.SIGTRAP, signal.SIGSTOP):  # a new thread or process
            sign = 0
        self._go_on(pid, sign)

    def _at_call(self, call):
        if call.at == _EXIT and call.pid in self._failing:
            self._failing.discard(call.pid)
            call.answer(self.error)
        elif call.changes_files():
            self.calls += 1
            if self.calls == self.point:
                self.hit = CALLS[call.number]
                self._hit(call)

    def _hit(self, call):
        if self.error is None:
            for pid in self._living:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        else:
            call.suppress()
            self._failing.add(call.pid)

    def _go_on(self, pid, sign):
        ptrace(_SYSCALL, pid, 0, sign)


# --- operations -------------------------------------------------------------------


def git(folder, *words):
    """Run git, and return what it writes."""
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def status_of(folder):
    """Return what git says of the tracked files in *folder*; empty where it finds no change."""
    return git(folder, "status", "--porcelain", "--untracked-files=no")


def text_beside(project, snapshot, file):
    """Return what the repositories beside a snapshot hold: its last parent has them."""
    parents = git(project, "log", "-1", "--format=%P", snapshot).split()
    return git(project, "show", f"{parents[-1]}:{file}")


def make_repository(project):
    """Make a repository with one commit in a folder that is there."""
    (project / "README.md").write_text("# Kettle\n", "utf-8")
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "first"]):
        git(project, *words)


MOMENT_S = 0.000_001
"""A length of time that is over as soon as anybody looks."""


def plain(orch):
    """A session with a few tasks, one of them done."""
    orch.initialize_session("Try kills")
    first = orch.plan_task("First")
    orch.plan_task("Second", dependencies=[first], condition="first.outputs.n > 1")
    orch.plan_task("Third")
    orch.plan_task("Part", parent_task_id="third")
    orch.plan_task("Other part", parent_task_id="third", dependencies=["part"])
    orch.complete_task("first", summary="done", detailed_work="# First\n", outputs={"n": 2})


def blocked(orch):
    """The same, with a task that is blocked and its recovery, and one that was cancelled with what
    follows it.
    """
    plain(orch)
    orch.complete_task(
        "part", summary="it broke", detailed_work="as far as it went", next_action="blocked"
    )
    orch.plan_task("Doomed")
    orch.plan_task("Follower", dependencies=["doomed"])
    orch.cancel_task("doomed", "not wanted")


def grown(orch):
    """The same, with events and checkpoints to prune."""
    blocked(orch)
    with orch.execute_task("second") as work:
        for number in range(20):
            work.checkpoint({"number": number}, progress=number / 20)
        work.heartbeat()


def timed(orch):
    """The same as `plain`, with tasks that have limits, pauses, a question and a signal; and a
    completed one that others have built on.
    """
    plain(orch)
    orch.complete_task("second", summary="done", detailed_work="# Second\n")
    orch.plan_tasks(
        [
            {"title": "Flaky", "retry_after": "1 hour"},
            {"title": "Slow", "time_limit": "1 hour", "stalled_after": "1 hour"},
            {"title": "Late", "time_limit": MOMENT_S},
            {"title": "Late again", "time_limit": MOMENT_S, "retry_after": "1 hour"},
            {"title": "Idle", "stalled_after": MOMENT_S},
            {"title": "Last try", "max_attempts": 1},
            {"title": "Gate", "question": "May it go out?"},
            {"title": "Build", "signal": "build is green"},
            {"title": "Publish", "dependencies": ["gate"], "condition": "gate.outputs.approved"},
        ]
    )


def documented(orch):
    """A project whose documents are kept."""
    orch.initialize_session("Try kills", project_type="software_development")
    orch.plan_task("Only")


def documented_branch(orch):
    """The same as `landed`, in a project whose documents land with the work, and are edited."""
    orch.initialize_session("Try kills", project_type="software_development")
    orch.plan_task("Before")
    with orch.execute_task("before", worktree=True) as work:
        (work.path / "before.txt").write_text("before\n", "utf-8")
        work.complete(summary="Added what comes before", detailed_work="in the file")
    orch.plan_task("Part")
    work = orch.execute_task("part", worktree=True)
    changelog = work.path / "docs" / "CHANGELOG.md"
    text = changelog.read_text("utf-8")
    changelog.write_text(text.replace("# Changelog\n", "# Changelog\n\nRead it.\n", 1), "utf-8")
    work.checkpoint({"at": 1})
    work.release("for later")


def _with_true_documents(orch):
    """Bring them up to date: they tell what is completed, and nothing of ours is an edit."""
    orch.documents.update()
    assert not orch.documents.proposals()
    changelog = git(orch.project, "show", "integration:docs/CHANGELOG.md")
    is_completed = str(orch.get_task("part").status) == "completed"
    assert changelog.count("Added a part.") == is_completed
    assert changelog.count("Added what comes before.") == 1
    # The work may have landed before the task was completed: it lands again, and changes nothing.
    assert not is_completed or changelog.count("Read it.") == 1, "the words of a person"


def landed(orch):
    """A task with a worktree in which there is work."""
    plain(orch)
    work = orch.execute_task("part", worktree=True)
    (work.path / "part.txt").write_text("part\n", "utf-8")
    work.checkpoint({"at": 1})
    work.release("for later")


def nothing(orch):
    """An empty home."""


def tell(ack, orch, *aliases):
    """Acknowledge how these tasks are."""
    for alias in aliases:
        ack(task=alias, status=str(orch.get_task(alias).status))


class Operation:
    """What is done, on what, and what is acknowledged."""

    def __init__(
        self,
        name,
        act,
        *,
        on=plain,
        begin=None,
        repository=False,
        heals=False,
        unpack=None,
        tidy=None,
    ):
        self.name, self.act, self.on, self.repository, self.heals = name, act, on, repository, heals
        self.begin = begin or (lambda _: None)
        """What the child does before it counts."""
        self.unpack = unpack
        """Puts a project into a folder, and returns where; by default it is a new one."""
        self.tidy = tidy or (lambda _: None)
        """What somebody has to do afterwards, and `check` asks for."""

    def make_project(self, folder):
        """Return the project that it is done on."""
        if self.unpack is not None:
            return self.unpack(folder)
        project = folder / "project"
        project.mkdir(parents=True)
        if self.repository:
            make_repository(project)
        return project


def _take(alias, **given):
    return lambda orch: orch.execute_task(alias, **given)


def _done(orch, ack, alias, **given):
    orch.complete_task(
        alias, summary="done", detailed_work=f"# {alias}\n" + "line\n" * 400, **given
    )
    tell(ack, orch, alias)


def _checkpoint(_, work, ack):
    ack(checkpoint=work.checkpoint({"n": 1}, "half", 0.5).id, of=work.task.id)


def _saved(ack, artifact):
    ack(artifact=artifact.id)


def _take_with_file(orch):
    (orch.project / "result.txt").write_text("result\n" * 1000, "utf-8")
    return orch.execute_task("part")


def _with_files(orch, work, ack):
    work.complete(summary="done", detailed_work="see the file", file_paths=["result.txt"])
    tell(ack, orch, work.task.alias)


def _ending(verb):
    def act(orch, work, ack):
        verb(work)
        tell(ack, orch, work.task.alias)

    return act


def _deciding(verb, alias):
    def act(orch, _, ack):
        verb(orch)
        tell(ack, orch, alias)

    return act


def _session(orch, _, ack):
    ack(session=orch.initialize_session("Another", context={"n": 1}).id)


def _plan(orch, _, ack):
    tell(ack, orch, orch.plan_task("New one", dependencies=["third", "second"]).alias)


def _plan_tree(orch, _, ack):
    specs = [{"title": f"T{n}", "dependencies": [f"t{n - 1}"] if n else []} for n in range(30)]
    tell(
        ack, orch, *(task.alias for task in orch.plan_tasks([{"title": "Tree", "children": specs}]))
    )


REPLANNED = {
    "title": "Third",
    "description": "planned again",
    "children": [{"title": "Part", "priority": 4}, {"title": "New part", "dependencies": ["part"]}],
}


def _plan_again(orch, _, ack):
    orch.plan_tasks([REPLANNED], existing="update")
    tell(ack, orch, "third", "new_part")
    ack(field="description", of="third", value="planned again")
    ack(field="priority", of="part", value=4)


def _take_with_worktree(orch):
    work = orch.execute_task("part", agent="another")
    (work.path / "more.txt").write_text("more\n", "utf-8")


def _end_attempt(orch, _, ack):
    """The files of an agent that is gone are saved, and its task is free."""
    orch.end_attempt("part", "its machine was switched off")
    tell(ack, orch, "part")
    ack(kept="refs/vespera/wip/part", file="more.txt", text="more\n")


def _handed_back(orch):
    """A task that was handed back as it was, often enough that once more goes to a person."""
    plain(orch)
    for _ in range(2):
        orch.execute_task("part").release("what does it need?")


def _new_version(orch, _, ack):
    _saved(ack, orch.artifacts.save("Notes", b"\0" * 5000))
    _saved(ack, orch.artifacts.save("Notes", {"second": True}))


def _write(name, call):
    def act(orch, _, ack):
        target = orch.project.parent / name
        if target.exists():  # of the run before
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        call(orch, target)
        ack(path=str(target))

    return act


def _import(orch, _, ack):
    orch.import_(EXPORT)
    tell(ack, orch, "first", "part")


EXPORT = Path(tempfile.gettempdir()) / f"vespera-killing-{os.getpid()}.jsonl"


def _damage(orch):
    """Set counters wrong, as no store of ours does."""
    with orch._store.ledger(write=True) as ledger:
        ledger.change("tasks", {"alias": "second"}, {"blockers": 5})
        ledger.change("dependencies", {"needs_id": orch.get_task("part").id}, {"met": 1})


def wrong(orch):
    """A home with wrong counters."""
    plain(orch)
    _damage(orch)


def _expired(alias, **values):
    """Let anybody's call end an attempt that is over; then these fields have these values.

    Who only looks does so on a bad disk, too, and the attempt is ended by whoever comes next.
    """

    def act(orch, _, ack):
        orch.get_status()
        if str(orch.get_task(alias).status) == "in_progress":
            return
        tell(ack, orch, alias)
        for field, value in values.items():
            ack(field=field, of=alias, value=value)

    return act


def _failed(orch, work, ack):
    work.fail("no answer")
    tell(ack, orch, work.task.alias)
    ack(field="failures", of=work.task.alias, value=1)


def _lapsed(orch):
    """An attempt whose lease was over, and whose task is free again."""
    work = orch.execute_task("part", lease_s=MOMENT_S)
    orch.get_status()
    return work


def _answer(orch, _, ack):
    orch.answer("gate", approved=True)
    tell(ack, orch, "gate", "publish")
    ack(field="outputs", of="gate", value={"approved": True})


def _signal(orch, _, ack):
    orch.signal("build is green", {"number": 7}, key="delivery 7")
    tell(ack, orch, "build")
    ack(field="outputs", of="build", value={"number": 7})


def _early_signal(orch, _, ack):
    """Nothing waits for it yet: the first task that does is completed with it."""
    orch.signal("letter came", {"from": "Ada"}, key="letter 1")
    orch.plan_tasks([{"title": "Read", "signal": "letter came"}], existing="keep")
    ack(task="read", status="completed")
    ack(field="outputs", of="read", value={"from": "Ada"})


def _reopen(orch, _, ack):
    orch.reopen_task("first", "the figures are wrong")
    tell(ack, orch, "first")


def _snooze(orch, _, ack):
    orch.snooze_task("third", "tomorrow")
    ack(field="asleep", of="third", value=True)
    ack(field="asleep", of="part", value=True)


def put_off(orch):
    """The same as `timed`, with a whole that was cancelled, and a question that was put off."""
    timed(orch)
    orch.cancel_task("third", "not now")
    orch.snooze_task("gate", "3 days")
    orch.plan_task("Dated", due_date="tomorrow")
    orch.snooze_task("dated", "next week")


def _whole_again(orch, _, ack):
    orch.retry_task("third")
    tell(ack, orch, "third", "part", "other_part")


def _wake(orch, _, ack):
    task = orch.snooze_task("dated", None)
    ack(field="asleep", of="dated", value=False)
    ack(field="due_day", of="dated", value=task.due_day)


def _given_up_asking(orch, work, ack):
    question = work.ask("Which one?")
    orch.abandon_task("part", "nobody knows")
    tell(ack, orch, "part", question.alias)


class PostError(VesperaError):
    """The letter could not be sent: whoever sends it says so, and it is in doubt."""


class _Letters:
    """A file of letters that were sent, each of them once."""

    def __init__(self, orch):
        self.path = orch.project / "sent.txt"

    def send(self):
        """Send the letter, durably."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("letter\n")
                file.flush()
                os.fsync(file.fileno())
            files.sync_folder(self.path.parent)  # its name, too: a letter that is sent stays sent
        except OSError as exc:
            raise PostError(str(exc)) from exc
        return "sent"

    def look(self):
        """Tell whether it was sent."""
        if self.path.exists() and "letter" in self.path.read_text("utf-8"):
            return "sent"
        return None


def _once(orch, work, ack):
    letters = _Letters(orch)
    assert work.once("letter", letters.send, probe=letters.look) == "sent"
    ack(holds="letter", path=str(letters.path))


def _once_asking(orch, work, ack):
    """Without a probe, a person is asked, who looks and says it."""
    letters = _Letters(orch)
    try:
        work.once("letter", letters.send)
    except AnswerNeededError as doubt:
        orch.answer(doubt.question, happened=letters.look() is not None, result="sent")
        orch.execute_task("part").once("letter", letters.send)
    ack(holds="letter", path=str(letters.path))


def _asking(orch, work, ack):
    question = work.ask("Which colour?")
    tell(ack, orch, question.alias)


def _worktree(orch, _, ack):
    work = orch.execute_task("part", worktree=True)
    ack(path=str(work.path))
    tell(ack, orch, "part")


def _take_and_go_on(orch):
    work = orch.execute_task("part")
    (work.path / "more.txt").write_text("more\n", "utf-8")
    return work


def _take_with_packs(orch):
    """Take the task, and save so often that the next save puts the packs together."""
    work = orch.execute_task("part")
    folder = orch.project / ".git" / "objects" / "pack"
    while sum(1 for _ in folder.glob("*.idx")) < packs.MANY - 2:
        _change_and_save(work)
    return work


def _change_and_save(work):
    with suppress(OSError):  # the disk may refuse this write, which is not the library's
        (work.path / "more.txt").write_text(f"{time.monotonic_ns()}\n", "utf-8")
    return work.checkpoint({"saved": True})


def _save_and_gather(_, work, ack):
    ack(checkpoint=_change_and_save(work).id, of=work.task.id)


def _land(orch, work, ack):
    work.complete(summary="landed", detailed_work="in the file")
    tell(ack, orch, "part")


def _handed_in(orch):
    """Two tasks whose finished work waits to be landed."""
    plain(orch)
    for alias in ("part", "second"):
        work = orch.execute_task(alias, worktree=True)
        (work.path / f"{alias}.txt").write_text(alias, "utf-8")
        work.complete(summary="done", detailed_work="in the file", merge="later")


def _land_all(orch, _, ack):
    orch.worktrees.land_all()
    tell(ack, orch, "part", "second")


def _land_with_documents(orch, work, ack):
    work.complete(summary="Added a part", detailed_work="in the file")
    tell(ack, orch, "part")


def _checked_out(orch):
    """The same, where what lands also comes into the project's own checkout."""
    orch.home.joinpath("config.toml").write_text('[worktrees]\nintegration_branch = "main"\n')
    with vespera.open(orch.project) as configured:
        landed(configured)


def _land_in_checkout(orch, work, ack):
    _land(orch, work, ack)
    ack(path=str(orch.project / "more.txt"), holds="more")
    ack(unchanged=str(orch.project))


def make_nested(folder):
    """Make a repository inside a worktree, with a commit and an edit."""
    app = Path(folder, "app")
    app.mkdir()
    make_repository(app)
    (app / "README.md").write_text("# Kettle\nnested\n", "utf-8")
    (app / "new.txt").write_text("new\n", "utf-8")


def _nested(orch):
    """A worktree with a repository inside."""
    landed(orch)
    make_nested(orch.worktrees.find("part").path)


def _nested_removed(orch):
    _nested(orch)
    orch.worktrees.remove("part")


def _tell_nested(ack, snapshot):
    ack(beside=snapshot, file="app/files/README.md", text="# Kettle\nnested\n")
    ack(beside=snapshot, file="app/files/new.txt", text="new\n")


def _checkpoint_nested(_, work, ack):
    saved = work.checkpoint({"n": 1}, "half", 0.5)
    ack(checkpoint=saved.id, of=work.task.id)
    _tell_nested(ack, saved.snapshot)


def _complete_nested(orch, work, ack):
    """It does not land: what was handed in is kept, and so is the repository."""
    try:
        work.complete(summary="done", detailed_work="what was done")
    except UnsavedFilesError:
        [kept] = orch.artifacts.list(task="part", limit=1)
        assert orch.artifacts.text(kept) == "what was done"
        ack(artifact=kept.id)
        _tell_nested(ack, "refs/vespera/wip/part")
        tell(ack, orch, "part")


def _nested_again(orch, _, ack):
    work = orch.execute_task("part")
    ack(path=str(work.path / "app" / "README.md"), holds="nested")
    ack(sound=str(work.path / "app"))
    tell(ack, orch, "part")


def _older(folder):
    """Put a home in place that an earlier release made; return its project."""
    spec = importlib.util.spec_from_file_location("make_home", FIXTURES / "make_home.py")
    make_home = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_home)
    record = json.loads((FIXTURES / "home-of-schema-1.json").read_text("utf-8"))
    make_home.unpack(FIXTURES / "home-of-schema-1.tar.xz", folder, record["made_at"])
    config = folder / "lantern" / ".task_orchestrator" / "config.toml"
    config.write_text(config.read_text("utf-8").replace('"normal"', '"full"'), "utf-8")
    return folder / "lantern"


def _open_older(orch, _, ack):
    for session in orch.list_sessions():
        ack(session=session.id)
    for artifact in orch.artifacts.list():
        ack(artifact=artifact.id)


def _two_lines(orch):
    """Land one task's work, and leave another's in its worktree, both in the same file."""
    landed(orch)
    first = orch.execute_task("second", worktree=True, agent="another", take_over=True)
    (first.path / "README.md").write_text("# Kettle\nIt rings.\n", "utf-8")
    (first.path / "bell.txt").write_text("bell\n", "utf-8")
    first.complete(summary="rings", detailed_work="see there")
    folder = orch.worktrees.find("part").path
    Path(folder, "README.md").write_text("# Kettle\nIt counts.\n", "utf-8")


def _removed(orch):
    """A worktree in which there was work, taken away by hand."""
    landed(orch)
    orch.worktrees.remove("part")


def _again(orch, _, ack):
    work = orch.execute_task("part")
    ack(path=str(work.path / "part.txt"), holds="part")
    tell(ack, orch, "part")


def _catch_up(orch, _, ack):
    folder = Path(orch.worktrees.find("part").path)
    orch.worktrees.catch_up("part")
    ack(path=str(folder / "bell.txt"))
    for text in ("It counts.", "It rings.", "<<<<<<<"):
        ack(path=str(folder / "README.md"), holds=text)
    ack(path=str(folder / "part.txt"), holds="part")


def _find(orch, _, ack):
    orch.catch_up()
    assert orch.artifacts.search("first")
    ack(session=orch.current_session().id)


def _quoted(orch):
    """A text that documents, their versions, the index and files for browsing hold."""
    orch.initialize_session("A ward", project_type="software_development")
    orch.plan_task("Interview")
    text = "# Decision\n\nPatient Zaphod Beeblebrox gets the red pill."
    orch.complete_task("interview", summary="talked", detailed_work=text)
    orch.artifacts.browse()
    assert orch.artifacts.search("Zaphod")


def _forget(orch, _, ack):
    named = {artifact.title: artifact.id for artifact in orch.artifacts.list(session="*")}
    forgotten = [each.id for each in orch._store.tombstones() if each.id.startswith("a_")]
    orch.artifacts.forget(named.get("Interview") or forgotten[0], reason="asked")
    ack(nowhere="Zaphod")


def _forget_text(orch, _, ack):
    orch.artifacts.forget_text("Zaphod", reason="asked")
    ack(nowhere="Zaphod")


OPERATIONS = [
    Operation("open a new home", lambda orch, _, ack: ack(path=str(orch.home)), on=None),
    Operation("initialize_session", _session),
    Operation(
        "resume",
        lambda orch, _, ack: ack(session=orch.current_session().id, said=bool(str(orch.resume()))),
    ),
    Operation("plan_task", _plan),
    Operation("plan a tree", _plan_tree),
    Operation(
        "update_task", _deciding(lambda orch: orch.update_task("third", priority=3), "third")
    ),
    Operation(
        "add_dependency", _deciding(lambda orch: orch.add_dependency("third", "second"), "third")
    ),
    Operation(
        "remove_dependency",
        _deciding(lambda orch: orch.remove_dependency("other_part", "part"), "other_part"),
    ),
    Operation("plan_tasks, existing=update", _plan_again),
    Operation("execute_task", _deciding(lambda orch: orch.execute_task("part"), "part")),
    Operation("checkpoint", _checkpoint, begin=_take("part")),
    Operation("heartbeat", _ending(lambda work: work.heartbeat()), begin=_take("part")),
    Operation(
        "save_artifact",
        lambda _, work, ack: _saved(ack, work.save_artifact("Notes", "text")),
        begin=_take("part"),
    ),
    Operation("artifacts.save", _new_version),
    Operation("complete", lambda orch, _, ack: _done(orch, ack, "part"), begin=_take("part")),
    Operation("complete with files", _with_files, begin=_take_with_file),
    Operation(
        "complete unclaimed", lambda orch, _, ack: _done(orch, ack, "second", outputs={"a": [1]})
    ),
    Operation(
        "continue",
        lambda orch, _, ack: _done(orch, ack, "part", next_action="continue"),
        begin=_take("part"),
    ),
    Operation(
        "needs_revision",
        lambda orch, _, ack: _done(orch, ack, "part", next_action="needs_revision"),
        begin=_take("part"),
    ),
    Operation("fail", _ending(lambda work: work.fail("it broke")), begin=_take("part")),
    Operation("release", _ending(lambda work: work.release("later")), begin=_take("part")),
    Operation(
        "release, the third time without progress",
        _ending(lambda work: work.release("it needs a drawing")),
        on=_handed_back,
        begin=_take("part"),
    ),
    Operation(
        "end_attempt",
        _deciding(lambda orch: orch.end_attempt("part", "it was switched off"), "part"),
        begin=_take("part", agent="another"),
    ),
    Operation(
        "take over",
        _deciding(lambda orch: orch.execute_task("part", take_over=True), "part"),
        begin=_take("part"),
    ),
    Operation("cancel_task", _deciding(lambda orch: orch.cancel_task("third", "no"), "third")),
    Operation(
        "abandon_task", _deciding(lambda orch: orch.abandon_task("part", "no"), "part"), on=blocked
    ),
    Operation(
        "retry_task", _deciding(lambda orch: orch.retry_task("doomed"), "doomed"), on=blocked
    ),
    Operation(
        "complete a recovery", lambda orch, _, ack: _done(orch, ack, "recover_part"), on=blocked
    ),
    Operation(
        "delete_task",
        lambda orch, _, ack: ack(gone=orch.delete_task("follower", hard=True).id),
        on=blocked,
    ),
    Operation(
        "synthesize_results",
        lambda orch, _, ack: _saved(ack, orch.synthesize_results("third")),
        on=blocked,
    ),
    Operation("fail, to be tried again", _failed, on=timed, begin=_take("flaky")),
    Operation(
        "a lease expires",
        _expired("part"),
        on=timed,
        begin=_take("part", lease_s=MOMENT_S),
    ),
    Operation(
        "the last crash",
        _expired("last_try", crashes=1),
        on=timed,
        begin=_take("last_try", lease_s=MOMENT_S),
    ),
    Operation("a time limit is over", _expired("late", failures=1), on=timed, begin=_take("late")),
    Operation(
        "a time limit is over, to be tried again",
        _expired("late_again", failures=1),
        on=timed,
        begin=_take("late_again"),
    ),
    Operation("an attempt stalls", _expired("idle"), on=timed, begin=_take("idle")),
    Operation(
        "heartbeat within limits",
        _ending(lambda work: work.heartbeat()),
        on=timed,
        begin=_take("slow"),
    ),
    Operation(
        "heartbeat after the lease was over",
        _ending(lambda work: work.heartbeat()),
        on=timed,
        begin=_lapsed,
    ),
    Operation("once, with a probe", _once, on=timed, begin=_take("part")),
    Operation("once, without a probe", _once_asking, on=timed, begin=_take("part")),
    Operation("ask", _asking, on=timed, begin=_take("part")),
    Operation("answer", _answer, on=timed),
    Operation("signal", _signal, on=timed),
    Operation("signal, and a task for it", _early_signal, on=timed),
    Operation("reopen_task", _reopen, on=timed),
    Operation("snooze_task", _snooze, on=timed),
    Operation("snooze_task, woken", _wake, on=put_off),
    Operation("answer of what was put off", _answer, on=put_off),
    Operation("retry_task of a whole", _whole_again, on=put_off),
    Operation("abandon_task that has asked", _given_up_asking, on=timed, begin=_take("part")),
    Operation(
        "complete with documents",
        lambda orch, _, ack: _done(orch, ack, "only"),
        on=documented,
        repository=True,
        tidy=lambda orch: orch.documents.update(),  # `check` names those that were not written
    ),
    Operation("execute in a worktree", _worktree, repository=True),
    Operation(
        "checkpoint in a worktree", _checkpoint, on=landed, begin=_take("part"), repository=True
    ),
    Operation(
        "save, and gather packs",
        _save_and_gather,
        on=landed,
        begin=_take_with_packs,
        repository=True,
    ),
    Operation(
        "end_attempt in a worktree",
        _end_attempt,
        on=landed,
        begin=_take_with_worktree,
        repository=True,
    ),
    Operation(
        "complete and land with documents",
        _land_with_documents,
        on=documented_branch,
        begin=_take_and_go_on,
        repository=True,
        tidy=_with_true_documents,
        heals=True,
    ),
    Operation("land all", _land_all, on=_handed_in, repository=True),
    Operation("complete and land", _land, on=landed, begin=_take_and_go_on, repository=True),
    Operation(
        "checkpoint with a nested repository",
        _checkpoint_nested,
        on=_nested,
        begin=_take("part"),
        repository=True,
    ),
    Operation(
        "complete with a nested repository",
        _complete_nested,
        on=_nested,
        begin=_take("part"),
        repository=True,
    ),
    Operation(
        "remove a worktree with a nested repository",
        lambda orch, _, __: orch.worktrees.remove("part"),
        on=_nested,
        repository=True,
    ),
    Operation(
        "make one with a nested repository again",
        _nested_again,
        on=_nested_removed,
        repository=True,
    ),
    Operation(
        "land in a checkout",
        _land_in_checkout,
        on=_checked_out,
        begin=_take_and_go_on,
        repository=True,
    ),
    Operation(
        "remove a worktree",
        lambda orch, _, __: orch.worktrees.remove("part"),
        on=landed,
        repository=True,
    ),
    Operation("make a removed worktree again", _again, on=_removed, repository=True),
    Operation("catch up", _catch_up, on=_two_lines, repository=True),
    Operation(
        "open an older home",
        _open_older,
        on=None,
        unpack=_older,
        tidy=lambda orch: orch.documents.update(),
    ),
    Operation("search", _find),
    Operation("forget", _forget, on=_quoted, heals=True),
    Operation(
        "forget_text",
        _forget_text,
        on=_quoted,
        tidy=lambda orch: orch.artifacts.forget_text("Zaphod"),
    ),
    Operation(
        "prune",
        lambda orch, _, __: orch.prune(timedelta(0), keep_events=5, keep_checkpoints=1),
        on=grown,
    ),
    Operation("repair", lambda orch, _, __: orch.repair(), on=wrong, heals=True),
    Operation("backup", _write("kept", lambda orch, target: orch.backup(target))),
    Operation("export", _write("kept.jsonl", lambda orch, target: orch.export(target))),
    Operation("import_", _import, on=nothing),
]

# --- running them -----------------------------------------------------------------


class Stage:
    """Where one operation is tried again and again from the same beginning."""

    def __init__(self, operation, room):
        self.operation, self.room = operation, room
        self.folder, self.kept = room / "place", room / "as it was"
        self.project = operation.make_project(self.folder)
        if operation.on is not None:
            in_child(self._prepare)
        shutil.copytree(self.folder, self.kept, symlinks=True)

    def _prepare(self):
        with vespera.open(self.project) as orch:
            self.operation.on(orch)

    def reset(self):
        """Put everything back as it was."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder, symlinks=True)

    def once(self, point, error=None):
        """Run the operation from the beginning; return the calls counted, the one hit, and what was
        acknowledged or raised.
        """
        self.reset()
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read)
            self._in_child(write)
        os.close(write)
        with os.fdopen(read, "rb") as stream:
            calls, hit = Traced(pid, point=point, error=error).run()
            said = [json.loads(line) for line in stream.read().splitlines() if line.endswith(b"}")]
        return calls, hit, said

    def _in_child(self, write):
        def ack(**facts):
            os.write(write, json.dumps(facts).encode() + b"\n")

        try:
            signal.alarm(120)
            early = self.operation.on is not None
            orch = vespera.open(self.project) if early else None
            held = self.operation.begin(orch) if early else None
            ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            orch = orch or vespera.open(self.project)
            self.operation.act(orch, held, ack)
            ack(done=True)
        except VesperaError as exc:
            ack(refused=f"{type(exc).__name__}: {exc}")
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the tracer is told
            ack(raised="".join(traceback.format_exception(exc)))
        os._exit(0)

    def look(self, said):
        """Open the home as a restarted program would, and raise AssertionError when something is
        amiss.
        """
        with vespera.open(self.project) as orch:
            if self.operation.heals:  # what it had not come to yet, the next call does
                left = orch.repair().left
                assert left, str(left)
            self.operation.tidy(orch)
            expect_clean(orch)
            for facts in said:
                hold(orch, facts)
            go_on(orch)
            again = []
            with suppress(VesperaError):  # it may have happened already
                self.operation.act(orch, self._begin(orch), lambda **facts: again.append(facts))
            for facts in again:
                hold(orch, facts)
            expect_clean(orch)

    def _begin(self, orch):
        try:
            return self.operation.begin(orch)
        except NotReadyError:  # the one that was killed has it still
            return orch.execute_task("part", take_over=True)


def expect_clean(orch):
    """Nothing is lost or wrong; what was half done in git is finished by one repair."""
    report = orch.check()
    assert not report.errors, str(report)
    if report.warnings:
        assert {finding.kind for finding in report.warnings} <= {"worktree"}, str(report)
        orch.worktrees.repair()
        report = orch.check()
        assert report.is_clean, str(report)


def hold(orch, facts):
    """What was acknowledged is so, or has gone on from there."""
    if "task" in facts:
        found = str(orch._scope.task(facts["task"]).status)
        assert found == facts["status"], f"{facts['task']} was {facts['status']}, and is {found}"
    if "field" in facts:
        assert getattr(orch._scope.task(facts["of"]), facts["field"]) == facts["value"], facts
    if "artifact" in facts:
        assert orch.artifacts.read(facts["artifact"]) is not None
    if "checkpoint" in facts:
        assert orch._store.last_checkpoint(facts["of"]).id >= facts["checkpoint"]
    if "session" in facts:
        assert orch._store.find_session(facts["session"]) is not None
    if "gone" in facts:
        assert orch._store.find_task(facts["gone"], None) is None
    if "path" in facts:
        assert Path(facts["path"]).exists(), facts["path"]
    if "nowhere" in facts:
        files = (path for path in orch.project.rglob("*") if path.is_file())
        found = [str(path) for path in files if facts["nowhere"].encode() in path.read_bytes()]
        assert not found, found
    if "holds" in facts:
        assert Path(facts["path"]).read_text("utf-8").count(facts["holds"]) == 1, facts
    hold_in_git(orch, facts)


def kept_text(orch, ref, file):
    """Return a file that was saved; if a full disk refused the save, the folder still has it."""
    with suppress(subprocess.CalledProcessError):
        return git(orch.project, "show", f"{ref}:{file}")
    return Path(orch.worktrees.find("part").path, file).read_text("utf-8")


def hold_in_git(orch, facts):
    """The same of what git has."""
    if "unchanged" in facts:
        assert status_of(facts["unchanged"]) == "", facts
    if "kept" in facts:
        assert kept_text(orch, facts["kept"], facts["file"]) == facts["text"], facts
    if "beside" in facts:
        assert text_beside(orch.project, facts["beside"], facts["file"]) == facts["text"], facts
    if "sound" in facts:
        git(facts["sound"], "fsck", "--no-dangling")
        assert status_of(facts["sound"]).split() == ["M", "README.md"], facts


def go_on(orch):
    """Work can be planned, taken and handed in."""
    try:
        orch.current_session()
    except VesperaError:
        return  # an empty home stays empty: what is tried again may need it so
    title = f"Afterwards {time.monotonic_ns()}"
    task = orch.plan_task(title)
    with orch.execute_task(task) as work:
        work.complete(summary="done", detailed_work="goes on")
    assert str(orch.get_task(task).status) == "completed"


def in_child(call):
    """Call in a process of its own, so that nothing of it stays; raise AssertionError with its
    traceback.
    """
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        try:
            signal.alarm(120)
            call()
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the parent is told
            os.write(write, "".join(traceback.format_exception(exc)).encode()[-60_000:])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        said = stream.read().decode()
    _, status = os.waitpid(pid, 0)
    assert not said, said
    assert status == 0, f"ended with status {status}"


HEAD = "| operation | calls that change files | tried ({how}) | went wrong |\n|---|---|---|---|"
ERRORS = {"kill": None, "eio": errno.EIO, "enospc": errno.ENOSPC}


def chosen_points(count, most):
    """Return the numbers below *count*, or *most* of them from end to end."""
    if not most or count <= most:
        return range(count)
    step = (count - 1) / max(most - 1, 1)
    return sorted({round(number * step) for number in range(most)})


def attempt(operation, how, most, report):
    """Try one operation at its points; return what came of it."""
    with tempfile.TemporaryDirectory(prefix="vespera-kill-") as room:
        stage = Stage(operation, Path(room).resolve())
        calls, _, said = stage.once(0)
        wrong = [facts for facts in said if "raised" in facts or "refused" in facts]
        assert said, f"{operation.name} does not begin"
        assert not wrong, f"{operation.name} does not work at all: {wrong}"
        told = {
            "operation": operation.name,
            "calls": calls,
            "tried": 0,
            "refused": 0,
            "problems": [],
        }
        for point in (number + 1 for number in chosen_points(calls, most)):
            counted, hit, said = stage.once(point, ERRORS[how])
            if hit is None and most:  # a shorter run this time: hit its end instead
                _, hit, said = stage.once(counted, ERRORS[how])
            if hit is None:
                continue
            told["tried"] += 1
            told["refused"] += any("refused" in facts for facts in said)
            try:
                raised = next((facts["raised"] for facts in said if "raised" in facts), None)
                assert raised is None, f"a foreign error got out:\n{raised}"
                in_child(lambda said=said: stage.look(said))
            except AssertionError as exc:
                told["problems"].append(f"call {point} ({hit}): {exc}")
        report(told)
        return told


def make_export():
    """Make the file that is imported."""
    with tempfile.TemporaryDirectory() as folder, vespera.open(folder) as orch:
        grown(orch)
        EXPORT.unlink(missing_ok=True)
        orch.export(EXPORT)


def forget_environment():
    """Let nothing of the caller's environment be heard of."""
    for name in list(os.environ):
        if name.startswith(("VESPERA_ORCHESTRATOR_", "MCP_ORCHESTRATOR_")):
            del os.environ[name]


def put_on_page(page, name, table):
    """Put a table between the marks of this name on *page*."""
    before, begin, rest = page.read_text("utf-8").partition(f"<!-- {name}:begin -->\n")
    _, end, after = rest.partition(f"<!-- {name}:end -->")
    page.write_text(f"{before}{begin}{table}{end}{after}", "utf-8")


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="OPERATION",
        help="by default all: " + ", ".join(o.name for o in OPERATIONS),
    )
    parser.add_argument("--how", choices=ERRORS, default="kill", help="what happens at the call")
    parser.add_argument(
        "--most",
        type=int,
        default=0,
        metavar="N",
        help="try at most N calls of each operation, spread over all of them",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write what came of it to FILE"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="also put the table between the marks in FILE"
    )
    chosen = parser.parse_args()
    assert CALLS, f"the system calls of {MACHINE} are not known here"
    forget_environment()
    unknown = set(chosen.names) - {operation.name for operation in OPERATIONS}
    assert not unknown, f"no such operation: {unknown}"

    def report(told):
        problems = "".join(f"\n  - {problem}" for problem in told["problems"])
        print(
            f"| {told['operation']} | {told['calls']} | {told['tried']} "
            f"| {len(told['problems'])} |{problems}",
            flush=True,
        )

    in_child(make_export)
    print(HEAD.format(how=chosen.how))
    try:
        wanted = [
            operation
            for operation in OPERATIONS
            if not chosen.names or operation.name in chosen.names
        ]
        told = [attempt(operation, chosen.how, chosen.most, report) for operation in wanted]
    finally:
        EXPORT.unlink(missing_ok=True)
    if chosen.page:
        rows = "".join(
            f"| {one['operation']} | {one['calls']} | {one['tried']} | {len(one['problems'])} |\n"
            for one in told
        )
        put_on_page(chosen.page, "table", f"{HEAD.format(how=chosen.how)}\n{rows}")
    if chosen.json:
        chosen.json.write_text(json.dumps(told, indent=1), "utf-8")
    return 1 if any(one["problems"] for one in told) else 0


if __name__ == "__main__":
    sys.exit(main())

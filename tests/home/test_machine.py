"""Which processes have ended for certain: nobody who is alive is ever taken for dead."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vespera_orchestrator.home import machine

pytestmark = pytest.mark.skipif(not machine.process_mark(), reason="the system has no /proc")

SAY_MARK = "from vespera_orchestrator.home import machine; print(machine.process_mark()); input()"


@pytest.fixture
def other():
    """Another process, and its mark."""
    with subprocess.Popen(
        [sys.executable, "-c", SAY_MARK],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_process_has_ended_once_it_was_killed(other):
    """Also while its parent has not asked how it ended, and only if all that are named have."""
    process, mark = other
    assert not machine.have_ended(mark)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert machine.have_ended(mark)
    process.wait()
    assert machine.have_ended(mark)
    assert machine.have_ended(f"{mark} {mark}")
    assert not machine.have_ended(f"{mark} {machine.process_mark()}")


def test_whoever_may_come_back_has_left_and_not_ended(other):
    """That a process has ended ends no work that its user may go on with in another one."""
    process, mark = other
    mark = f"? {mark}"
    assert not machine.has_left(mark)
    process.kill()
    process.wait()
    assert machine.has_left(mark)
    assert not machine.have_ended(mark)
    assert not machine.has_left("")
    assert machine.returning_mark() == f"? {machine.process_mark()}"
    with machine.passing():
        assert machine.returning_mark() == ""


def test_a_number_that_was_given_to_another_process(other):
    """It is told from its predecessor by when it began."""
    _, mark = other
    view, number, began = mark.rsplit("/", 2)
    assert machine.have_ended(f"{view}/{number}/{int(began) - 1}")


def test_nobody_can_tell_for_another_machine_or_container(other):
    """A process that cannot be seen from here may be alive. So may one that nobody named."""
    process, mark = other
    process.kill()
    process.wait()
    boot, rest = mark.split("/", 1)
    assert not machine.have_ended(f"another-{boot}/{rest}")
    assert not machine.have_ended(mark.replace("pid:[", "pid:[9"))
    assert not machine.have_ended("")
    assert not machine.have_ended("nonsense")


def test_somebody_elses_process_may_be_hidden(other, monkeypatch):
    """If the system does not let us ask, it counts as alive."""
    _, mark = other

    def refuse(*_):
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", refuse)
        assert not machine.have_ended(mark)


def test_a_system_that_does_not_say_when_a_process_began(other, monkeypatch):
    """Then there is no mark, and nothing has ended for certain."""
    _, mark = other
    monkeypatch.setattr(machine, "_view", lambda _: "")
    machine._mark_of.cache_clear()
    try:
        assert machine.process_mark() == ""
        assert not machine.have_ended(mark)
    finally:
        machine._mark_of.cache_clear()

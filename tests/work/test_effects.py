"""Effects that happen once: results come back, doubts are settled, and kills at every step repeat
nothing.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vespera_orchestrator.errors import AnswerNeededError, InvalidInputError, LeaseLostError
from vespera_orchestrator.orchestrator import Orchestrator

CHILD = """
import os, signal, sys
import vespera_orchestrator as vespera
from vespera_orchestrator.work.effects import Effects

folder, step = sys.argv[1:]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def send():
    if step == "before the effect":
        die()
    with open(folder + "/sent", "a") as file:
        file.write("letter\\n")
    if step == "after the effect":
        die()
    return "sent"
orch = vespera.open(folder)
work = orch.execute_task("write")
if step == "before the intent":
    orch._store.begin_effect = lambda *_, **__: die()
work.once("letter", send)
die()
"""
STEPS = ["before the intent", "before the effect", "after the effect", "after the record"]


@pytest.fixture
def orch(tmp_path):
    """A session with one task."""
    with Orchestrator.open(tmp_path) as orch:
        orch.initialize_session("once")
        orch.plan_task("Write")
        yield orch


def letters(orch):
    """How many letters were sent."""
    sent = orch.project / "sent"
    return len(sent.read_text().splitlines()) if sent.exists() else 0


def send(orch):
    """Send one more letter."""
    with (orch.project / "sent").open("a") as file:
        file.write("letter\n")
    return "sent"


def killed(orch, step):
    """Let another process die at a step of an effect, and take the task over."""
    command = [sys.executable, "-c", CHILD, str(orch.project), step]
    done = subprocess.run(command, env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    return orch.execute_task("write", take_over=True)


@pytest.mark.parametrize("step", STEPS)
def test_a_probe_settles_what_a_kill_left_open(orch, step):
    """Whenever the process dies, the letter is sent exactly once."""
    work = killed(orch, step)
    result = work.once(
        "letter", lambda: send(orch), probe=lambda: "sent" if letters(orch) else None
    )
    assert (result, letters(orch)) == ("sent", 1)
    assert work.once("letter", lambda: send(orch)) == "sent"
    assert letters(orch) == 1


@pytest.mark.parametrize("step", STEPS)
def test_without_a_probe_a_person_is_asked_only_in_doubt(orch, step):
    """The task waits for the answer, and goes on from it; the letter is sent exactly once."""
    work = killed(orch, step)
    try:
        result = work.once("letter", lambda: send(orch))
    except AnswerNeededError as error:
        assert step in {"before the effect", "after the effect"}
        question = error.question
        assert question in str(orch.next_step())
        assert not orch.why("write").ready
        orch.answer(question, happened=letters(orch) > 0, result="sent")
        result = orch.execute_task("write").once("letter", lambda: send(orch))
    assert (result, letters(orch)) == ("sent", 1)
    assert not orch.check().errors


def test_a_question_that_was_cancelled_is_asked_again(orch):
    """Nobody has settled it."""
    work = killed(orch, "after the effect")
    with pytest.raises(AnswerNeededError) as caught:
        work.once("letter", lambda: send(orch))
    orch.cancel_task(caught.value.question)
    with pytest.raises(AnswerNeededError):
        orch.execute_task("write").once("letter", lambda: send(orch))
    assert letters(orch) == 1


@pytest.mark.parametrize("words", [("maybe",), ({"happened": "no"},)])
def test_an_answer_that_settles_nothing_is_refused(orch, words):
    """The question stays open, and says what would settle it."""
    with pytest.raises(AnswerNeededError, match=r"happened=True\), or happened=False") as caught:
        killed(orch, "after the effect").once("letter", lambda: send(orch))
    with pytest.raises(InvalidInputError, match="happened=True or happened=False"):
        orch.answer(caught.value.question, *words)
    assert orch.get_task(caught.value.question).status == "pending"
    asked = orch.get_task(caught.value.question).question
    assert re.search(r"began it \(\d+ [A-Z][a-z]+ \d{4}, \d\d:\d\d\)", asked)
    assert "answer yes or no" in asked
    assert "True" not in asked
    orch.answer(caught.value.question, happened=False)
    orch.execute_task("write").once("letter", lambda: send(orch))
    assert letters(orch) == 2, "the person said that it had not happened"


def in_doubt(orch):
    """Begin an effect that fails after it may have happened."""
    work = orch.execute_task("write")
    with pytest.raises(ZeroDivisionError):
        work.once("letter", lambda: 1 / 0)
    return work


def test_a_probe_that_says_no_lets_it_be_done(orch):
    """``lambda: letter_exists()`` is what people write."""
    work = in_doubt(orch)
    assert work.once("letter", lambda: send(orch), probe=lambda: False) == "sent"
    assert letters(orch) == 1


def test_what_a_person_says_has_happened_is_not_done_again(orch):
    """Also where it returned nothing."""
    with pytest.raises(AnswerNeededError) as caught:
        in_doubt(orch).once("letter", lambda: send(orch))
    orch.answer(caught.value.question, happened=True, result=None)
    assert orch.execute_task("write").once("letter", lambda: send(orch)) is None
    assert letters(orch) == 0


@pytest.mark.timeout(60)
def test_an_effect_within_itself_is_refused(orch):
    """It would wait for itself for ever; another key, or the same later, is no mistake."""
    work = orch.execute_task("write")
    with pytest.raises(InvalidInputError, match="being done by the call around"):
        work.once("letter", lambda: work.once("letter", lambda: 2))
    assert work.once("card", lambda: work.once("stamp", lambda: 2)) == 2
    assert work.once("letter", lambda: send(orch), probe=lambda: None) == "sent"


def test_an_effect_that_raises_is_in_doubt(orch):
    """A timeout says nothing about what has happened."""

    def time_out():
        send(orch)
        raise TimeoutError

    work = orch.execute_task("write")
    with pytest.raises(TimeoutError):
        work.once("letter", time_out)
    assert work.once("letter", time_out, probe=lambda: True) is True
    assert letters(orch) == 1


def test_a_holder_that_was_replaced_records_what_it_did(orch):
    """Its successor gets the result, and it learns that it was replaced."""

    def send_slowly():
        orch.execute_task("write", take_over=True)
        return send(orch)

    with pytest.raises(LeaseLostError, match="is recorded"):
        orch.execute_task("write").once("letter", send_slowly)
    assert orch.work("write").once("letter", lambda: send(orch)) == "sent"
    assert letters(orch) == 1


def test_a_result_that_cannot_be_stored_does_not_repeat_the_effect(orch):
    """The caller is told, and the effect counts as done."""
    work = orch.execute_task("write")
    with pytest.raises(InvalidInputError, match="has happened is recorded, with None as its"):
        work.once("letter", lambda: {send(orch)})
    assert work.once("letter", lambda: send(orch)) is None
    assert letters(orch) == 1


@pytest.mark.parametrize("same_object", [True, False])
def test_two_threads_that_come_at_once_do_it_once(orch, same_object):
    """Whichever `Work` each of them has: the other one gets the result."""
    orch.execute_task("write")
    first = orch.work("write")
    other = first if same_object else orch.work("write")
    with ThreadPoolExecutor() as threads:
        for number in range(20):
            together = threading.Barrier(2)

            def send_at_once(work, key=str(number), together=together):
                together.wait()
                return work.once(key, lambda: send(orch))

            assert list(threads.map(send_at_once, [first, other])) == ["sent", "sent"]
    assert letters(orch) == 20


RIVAL = """
import sys
import vespera_orchestrator as vespera

orch = vespera.open(sys.argv[1])
work = orch.work("write")
print("here", flush=True)
print(work.once("letter", lambda: "sent twice", probe=lambda: None))
"""


def test_another_process_waits_for_the_one_that_is_at_it(orch):
    """Its probe would see nothing yet, and it would do it again."""

    def send_beside_a_rival():
        command = [sys.executable, "-c", RIVAL, str(orch.project)]
        rival = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        rivals.append(rival)
        assert rival.stdout.readline() == "here\n"
        return send(orch)

    rivals = []
    assert orch.execute_task("write").once("letter", send_beside_a_rival) == "sent"
    said, _ = rivals[0].communicate(timeout=60)
    assert (said, rivals[0].returncode, letters(orch)) == ("sent\n", 0, 1)
    assert not list((orch.home / "locks").glob("effect-*"))


@pytest.mark.parametrize("probe", [None, lambda: None], ids=["person", "probe"])
def test_what_another_process_has_just_begun_is_in_doubt(orch, probe):
    """Both looked, and saw nothing; the other one wrote its intent first. It is asked about."""
    work = orch.execute_task("write")
    store = orch._store
    begin = store.begin_effect
    if probe is not None:
        begin(work.task.id, 1, "letter")

    def begin_after_another(task_id, attempt, key, **seen):
        store.begin_effect = begin
        assert begin(task_id, attempt, key, **seen)  # by another process of this agent
        send(orch)
        return begin(task_id, attempt, key, **seen)

    store.begin_effect = begin_after_another
    answers = iter([None, "sent"])
    look = None if probe is None else lambda: next(answers)
    if probe is None:
        with pytest.raises(AnswerNeededError):
            work.once("letter", lambda: send(orch))
    else:
        assert work.once("letter", lambda: send(orch), probe=look) == "sent"
    assert letters(orch) == 1


def test_an_async_function_is_refused_before_the_intent(orch):
    """It would return before anything has happened. Corrected, the call does it."""

    async def send_later():
        return send(orch)

    work = orch.execute_task("write")
    with pytest.raises(InvalidInputError, match="is async"):
        work.once("letter", send_later)
    with pytest.raises(InvalidInputError, match="is async"):
        work.once("letter", lambda: send(orch), probe=send_later)
    assert work.once("letter", lambda: send(orch)) == "sent"


def test_what_returns_a_coroutine_is_in_doubt(orch):
    """It may have done something before; that it has happened is not recorded."""

    async def send_later():
        return send(orch)

    work = orch.execute_task("write")
    with pytest.raises(InvalidInputError, match="is not recorded"):
        work.once("letter", lambda: send_later())
    assert work.once("letter", lambda: send(orch), probe=lambda: None) == "sent"
    assert letters(orch) == 1


def test_a_key_is_the_same_however_it_is_typed(orch):
    """An accent may be one character or two."""
    work = orch.execute_task("write")
    for key in ("caf\u00e9", "cafe\u0301"):
        assert work.once(key, lambda: send(orch)) == "sent"
    assert letters(orch) == 1


def test_a_lock_that_cannot_be_removed_fails_nothing(orch, monkeypatch):
    """What has happened is recorded by then; a full or broken disk says nothing about it."""

    def refuse(path, **_):
        raise OSError(errno.ENOSPC, "no space left", str(path))

    work = orch.execute_task("write")
    monkeypatch.setattr(Path, "unlink", refuse)
    assert work.once("letter", lambda: send(orch)) == "sent"


@pytest.mark.parametrize("key", ["", " ", 5])
def test_an_effect_has_a_name(orch, key):
    """Nothing happens without one."""
    with pytest.raises(InvalidInputError):
        orch.execute_task("write").once(key, lambda: send(orch))
    assert not letters(orch)

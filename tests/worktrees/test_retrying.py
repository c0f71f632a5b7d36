"""Retries: as many tries as were asked for, and the last error when none succeeds."""

import pytest

from vespera_orchestrator.errors import GitFailedError, RefMovedError
from vespera_orchestrator.worktrees.retrying import retrying


class Flaky:
    """Fails a number of times, each time with another error, then succeeds."""

    def __init__(self, failures: int, error: type[Exception] = RefMovedError) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    def __call__(self) -> str:
        """Count the call, then fail or succeed."""
        self.calls += 1
        if self.calls > self._failures:
            return f"try {self.calls}"
        if self._error is RefMovedError:
            raise RefMovedError("refs/x", "", f"{self.calls}")
        raise self._error("write", f"{self.calls}")


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_function_is_tried_until_it_succeeds(failures):
    """The first success ends it, also on the last try."""
    work = Flaky(failures)

    @retrying(RefMovedError, times=3)
    def save(suffix: str) -> str:
        return work() + suffix

    assert save("!") == f"try {failures + 1}!"
    assert work.calls == failures + 1
    assert save.__name__ == "save"


def test_after_the_last_try_the_last_error_is_raised():
    """As many tries as asked for, and no error of ours instead of the real one."""
    work = Flaky(9)
    with pytest.raises(RefMovedError) as raised:
        retrying(RefMovedError, times=3)(work)()
    assert (work.calls, raised.value.found) == (3, "3")


def test_other_errors_pass_at_once():
    """Only what was named is tried again."""
    work = Flaky(9, GitFailedError)
    with pytest.raises(GitFailedError):
        retrying((RefMovedError, KeyError), times=3)(work)()
    assert work.calls == 1


def test_a_block_is_repeated_and_may_prepare_the_next_try():
    """What follows the block runs between tries, and the loop ends with the success."""
    work, between, results = Flaky(2), [], []
    for attempt in retrying(RefMovedError, times=5):
        with attempt:
            results.append(work())
        if not attempt.succeeded:
            between.append(work.calls)
    assert results == ["try 3"]
    assert between == [1, 2]


def test_a_block_knows_its_last_try():
    """After the last try the error passes, and nothing runs after the block."""
    work, last = Flaky(9), []

    def run() -> None:
        for attempt in retrying(RefMovedError, times=2):
            with attempt:
                last.append(attempt.is_last)
                work()

    with pytest.raises(RefMovedError):
        run()
    assert last == [False, True]


def test_interrupts_are_never_swallowed():
    """Ctrl-C ends the retries."""
    calls = []

    @retrying(Exception, times=3)
    def interrupted() -> None:
        calls.append(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(calls) == 1


def test_no_try_at_all_is_refused():
    """A count that would do nothing is a mistake, not a silent success."""
    with pytest.raises(ValueError, match="at least one"):
        retrying(RefMovedError, times=0)

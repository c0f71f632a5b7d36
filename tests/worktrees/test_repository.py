"""The project's repository: locks between processes."""

import pytest

from vespera_orchestrator.errors import WorktreeLockedError
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.worktrees.repository import ProjectRepository


@pytest.fixture
def repository(project):
    """Return the repository around a home, as the engine opens it."""
    return ProjectRepository.of(Home.locate(project.folder).create())


def test_a_lock_that_another_holds_is_an_error_of_its_own(repository):
    """Whoever waits in vain learns what is locked, and that it may be tried again."""
    with (
        repository.lock("landing"),
        pytest.raises(WorktreeLockedError, match="cannot work on landing: another") as raised,
        repository.lock("landing", patience_s=0),
    ):
        pass
    assert (raised.value.what, raised.value.waited_s, raised.value.retryable) == (
        "landing",
        0,
        True,
    )
    assert raised.value.lock.startswith(str(repository.home.locks))


def test_a_lock_is_free_again_after_the_block(repository):
    """Also after an error inside."""
    with pytest.raises(KeyError), repository.lock("landing"):
        raise KeyError
    with repository.lock("landing", patience_s=0):
        pass

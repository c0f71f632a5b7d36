"""The fixtures that every promise is tested with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vespera_orchestrator.testing.clock import ManualClock
from vespera_orchestrator.testing.store_contract.examples import start_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vespera_orchestrator.contracts import Store


class StoreFixtures:
    """A store, the same store as another process sees it, their clock, and a session."""

    @pytest.fixture
    def open_store(self) -> Callable[[Callable[[], Any]], Store]:
        """Provided by the subclass."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock of `store` and `other`."""
        return ManualClock()

    @pytest.fixture
    def store(self, open_store, clock) -> Iterator[Store]:
        """The store."""
        opened = open_store(clock)
        yield opened
        opened.close()

    @pytest.fixture
    def other(self, open_store, store, clock) -> Iterator[Store]:  # noqa: ARG002 - it is opened first
        """The same store, as another process sees it."""
        opened = open_store(clock)
        yield opened
        opened.close()

    @pytest.fixture
    def session_id(self, store) -> str:
        """A session in `store`."""
        return start_session(store)

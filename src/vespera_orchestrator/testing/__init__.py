"""For tests: a clock that stands still, a store in memory, and the proof that a store keeps its contract.

`ManualClock` and `MemoryStore` need nothing beyond the package. `StoreContract` is a pytest class and needs pytest, which is looked for
when the name is used::

    from vespera_orchestrator.testing import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda clock: MyStore(tmp_path / "my.db", clock=clock)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from vespera_orchestrator._model import utcnow
from vespera_orchestrator.errors import MissingDependencyError
from vespera_orchestrator.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from vespera_orchestrator.testing.store_contract import StoreContract

__all__ = ["ManualClock", "MemoryStore", "StoreContract"]


class ManualClock:
    """A clock that stands still until it is told to go on. Give it as ``clock=`` to `vespera_orchestrator.open` or to a store."""

    def __init__(self, now: datetime | None = None) -> None:
        """Start at *now*, an aware time; by default at noon of 1 January 2026, UTC."""
        self.now = now if now is not None else datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now

    def advance(self, seconds: float = 0.0, **more: float) -> None:
        """Let time pass, also backward: ``advance(30)``, ``advance(hours=9)``; *more* is what `datetime.timedelta` takes."""
        self.now += timedelta(seconds=seconds, **more)


class MemoryStore(SQLiteStore):
    """What ``store="memory:"`` opens: a store of this process alone, gone when it is closed."""

    def __init__(self, *, clock: Callable[[], datetime] = utcnow) -> None:
        super().__init__(SQLiteStore.open(None, clock=clock)._database)  # noqa: SLF001 - it is one itself


def __getattr__(name: str) -> Any:
    if name != "StoreContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest
    except ImportError as exc:
        raise MissingDependencyError(
            "StoreContract", "pytest", "python -m pip install pytest"
        ) from exc
    pytest.register_assert_rewrite("vespera_orchestrator.testing.store_contract")
    from vespera_orchestrator.testing.store_contract import StoreContract

    return StoreContract

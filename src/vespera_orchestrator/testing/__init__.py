"""For tests: a clock that stands still, a store in memory, and the proof of a store's contract.

`ManualClock` and `MemoryStore` need nothing beyond the package. `StoreContract` is a pytest class;
pytest must be installed when you use the name::

    from vespera_orchestrator.testing import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda clock: MyStore(tmp_path / "my.db", clock=clock)

"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._model import utcnow
from vespera_orchestrator.errors import MissingDependencyError
from vespera_orchestrator.stores.sqlite import SQLiteStore
from vespera_orchestrator.testing.clock import ManualClock

if TYPE_CHECKING:
    from vespera_orchestrator.testing.store_contract import StoreContract

__all__ = ["ManualClock", "MemoryStore", "StoreContract"]

_CONTRACT: Final = "vespera_orchestrator.testing.store_contract"


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
    if _CONTRACT not in sys.modules:  # else it is too late, and pytest would warn
        pytest.register_assert_rewrite(_CONTRACT)
    from vespera_orchestrator.testing.store_contract import StoreContract

    return StoreContract

"""What `contracts.Store` promises, as tests for any backend.

Import `StoreContract` from `vespera_orchestrator.testing`.
"""

from __future__ import annotations

from vespera_orchestrator.testing.store_contract.atomicity import AtomicityContract
from vespera_orchestrator.testing.store_contract.changing import ChangingContract
from vespera_orchestrator.testing.store_contract.concurrency import ConcurrencyContract
from vespera_orchestrator.testing.store_contract.dates import DatesContract
from vespera_orchestrator.testing.store_contract.deciding import DecidingContract
from vespera_orchestrator.testing.store_contract.ending import EndingContract
from vespera_orchestrator.testing.store_contract.holding import HoldingContract
from vespera_orchestrator.testing.store_contract.limits import LimitsContract
from vespera_orchestrator.testing.store_contract.log import LogContract
from vespera_orchestrator.testing.store_contract.opening import OpeningContract
from vespera_orchestrator.testing.store_contract.planning import PlanningContract
from vespera_orchestrator.testing.store_contract.reading import ReadingContract
from vespera_orchestrator.testing.store_contract.records import RecordsContract
from vespera_orchestrator.testing.store_contract.world import WorldContract

__all__ = ["StoreContract"]


class StoreContract(
    OpeningContract,
    PlanningContract,
    ChangingContract,
    ReadingContract,
    HoldingContract,
    DatesContract,
    WorldContract,
    EndingContract,
    DecidingContract,
    LimitsContract,
    RecordsContract,
    LogContract,
    AtomicityContract,
    ConcurrencyContract,
):
    """The proof that a store keeps its contract: subclass it, and provide a fixture ``open_store``.

    ``open_store(clock)`` opens the store of this test, which is empty at first, with *clock* as
    its clock. Called again within one test, it returns another object on the same data, as another
    process would have it. A store that lives in one object returns that object again. The tests
    close what it opened.
    """

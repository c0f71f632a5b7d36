"""When to optimize and compact a large table: often to read fast, seldom to write fast.

Optimizing costs as much as the table is large, and what waits for it costs every search. Growing
the threshold with the square root of the table keeps both costs rising slowly.
"""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs

if TYPE_CHECKING:
    from vespera_orchestrator.artifacts.search.lancedb_table import LanceTable
    from vespera_orchestrator.artifacts.search.state import IndexState
    from vespera_orchestrator.artifacts.search.table import TableSize

MIN_UNINDEXED = 250
"""Fewer passages than this never wait long enough to matter."""
UNINDEXED_PER_ROOT = 8
"""This many times the square root of the table is read word by word before it is optimized."""
COMPACT_AFTER_VERSIONS = 30
"""Every write makes a file. This many are brought into one, which costs as much as they hold."""
OPTIMIZE_AFTER_VERSIONS = 2000
"""Every write leaves a version that only optimizing removes."""
KEEP_VERSIONS = timedelta(minutes=5)
"""A reader holds a version for the length of one query, and fails if it is removed meanwhile."""
SCAN_S = 50e-6
"""What each unindexed passage costs each search, in seconds."""
OPTIMIZE_S = 20e-6
"""What optimizing costs for each passage of the table, in seconds."""
MIN_OPTIMIZE_S = 0.3
"""What optimizing costs at least, in seconds."""


def maintain(table: LanceTable, state: IndexState) -> IndexState:
    """Optimize the table when much of it is unindexed, or compact it when its files are many."""
    if state.version == 0:
        return state
    size = table.size()
    indexed = size.passages - size.unindexed
    most_unindexed = max(MIN_UNINDEXED, int(UNINDEXED_PER_ROOT * math.sqrt(indexed)))
    old_versions = state.version - state.tidied
    is_due = size.unindexed >= most_unindexed or old_versions >= OPTIMIZE_AFTER_VERSIONS
    if is_due or _can_remove_copy(state):
        return optimize(table, state)
    small_files = state.version - max(state.gathered, state.tidied)
    if small_files >= COMPACT_AFTER_VERSIONS:
        table.compact(state.epoch)
        version = table.version
        return attrs.evolve(state, version=version, gathered=version)
    return state


def optimize(table: LanceTable, state: IndexState) -> IndexState:
    """Optimize the table, and return the state afterwards."""
    size = table.size()
    writes_most_anew = size.unindexed > size.passages / 2
    trained = table.optimize(state.trained, KEEP_VERSIONS)
    version = table.version
    return attrs.evolve(
        state,
        version=version,
        tidied=version,
        gathered=version,
        epoch=state.epoch + 1,
        trained=trained,
        copied_at=time.time() if writes_most_anew else 0.0,
    )


def _can_remove_copy(state: IndexState) -> bool:
    """Tell whether no reader needs the files that the last optimizing wrote anew any longer."""
    age_s = time.time() - state.copied_at
    return state.copied_at > 0 and age_s > KEEP_VERSIONS.total_seconds()


class ScanCost:
    """What reading unindexed passages has cost the searches of this process so far."""

    def __init__(self) -> None:
        self._spent_s = 0.0

    def add_search(self, size: TableSize) -> None:
        """Count one search."""
        self._spent_s += size.unindexed * SCAN_S

    def exceeds_optimizing(self, size: TableSize) -> bool:
        """Tell whether optimizing would have cost less: then at most twice the least is spent."""
        if not size.unindexed:
            return False
        optimize_s = MIN_OPTIMIZE_S + size.passages * OPTIMIZE_S
        return self._spent_s >= optimize_s

    def reset(self) -> None:
        """Start again, once the table is being optimized."""
        self._spent_s = 0.0

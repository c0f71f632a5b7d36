"""The rows of a store against the rules: references, derived numbers, states, the event log.

A rule is a function that takes the `Facts` and yields a `Finding` for each row that breaks it. The
functions that read a table also collect what later rules need, so their order matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator.maintenance.row_checks import (
    artifacts,
    attempts,
    log,
    readiness,
    references,
)
from vespera_orchestrator.maintenance.row_checks.facts import Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vespera_orchestrator._model import Finding

__all__ = ["Facts", "check_rows"]

_RULES: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    references.read_sessions,
    references.parent_sessions_exist,
    references.read_tasks,
    references.read_dependencies,
    references.outcomes_are_known,
    references.sessions_of_tasks_exist,
    references.related_tasks_exist,
    references.end_times_match_states,
    references.only_ended_tasks_are_archived,
    references.one_recovery_is_open,
    readiness.dependency_marks_are_right,
    readiness.conditions_name_dependencies,
    readiness.blocker_counts_are_right,
    readiness.no_task_waits_for_itself,
    attempts.read_attempts,
    attempts.attempt_counts_are_right,
    attempts.running_tasks_are_held,
    attempts.read_checkpoints,
    artifacts.read_tombstones,
    artifacts.read_artifacts,
    artifacts.superseded_marks_are_right,
    artifacts.earlier_versions_exist,
    artifacts.followers_exist,
    artifacts.read_context_uses,
    artifacts.read_documents,
    artifacts.read_worktrees,
    artifacts.read_shared_values,
    artifacts.read_signals,
    artifacts.read_effects,
    artifacts.read_the_rest,
    log.read_events,
    log.states_match_the_log,
    log.artifacts_are_in_the_log,
    log.artifacts_in_the_log_exist,
    log.tallies_are_right,
)


def check_rows(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with the rows. Reads each table once, and fills *facts* on the way."""
    for rule in _RULES:
        yield from rule(facts)
        yield from facts.take_table_errors()

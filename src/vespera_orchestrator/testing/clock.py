"""A clock for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ManualClock:
    """A clock that only moves when you advance it.

    Pass it as ``clock=`` to `vespera_orchestrator.open` or to a store.
    """

    def __init__(self, now: datetime | None = None) -> None:
        """Start at *now*, an aware time; by default at noon of 1 January 2026, UTC."""
        self.now = now if now is not None else datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, seconds: float = 0.0, **more: float) -> None:
        """Let time pass, backward too: ``advance(30)``, ``advance(hours=9)``.

        *more* is what `datetime.timedelta` takes.
        """
        self.now += timedelta(seconds=seconds, **more)

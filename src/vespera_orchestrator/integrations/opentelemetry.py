"""Spans and metrics of OpenTelemetry, made from the events that this process records.

    from vespera_orchestrator.integrations.opentelemetry import instrument

    stop = instrument(orch)

Each attempt at a task becomes a span, from its start to its end, with the checkpoints and artifacts
between as the span's events. Only the API is used; your program chooses where spans and metrics go.
`SPAN`, `METRICS` and `ATTRIBUTES` hold all names.

A span belongs to the trace in which its task was started. A child process that was started with
``spawn_agent_with_context(…).environ()`` continues the trace of its parent.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import Event, EventKind, MissingDependencyError, Orchestrator
from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import shown
from vespera_orchestrator._version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

SCOPE: Final = "vespera_orchestrator"
"""The name of the instrumentation scope."""
SPAN: Final = "vespera.attempt"
"""The name of every span: one attempt at a task."""
METRICS: Final[Mapping[str, str]] = {
    "vespera.events": "Events that this process recorded, by kind",
    "vespera.attempt.duration": "How long attempts took, by how they ended",
    "vespera.attempts.active": "Attempts that this process started and that have not ended",
}
"""What is counted and measured, with its description."""
ATTRIBUTES: Final[Mapping[str, str]] = {
    "vespera.session.id": "the session",
    "vespera.task.id": "the task",
    "vespera.agent.name": "who worked on it",
    "vespera.attempt": "the number of the attempt",
    "vespera.event.kind": "what happened: a word of EventKind",
    "vespera.ending": "how the attempt ended: the event's kind",
    "vespera.reason": "why it was blocked, released or cancelled",
}
"""The attributes of spans and metrics, with what they tell."""

_ENDINGS: Final = frozenset(
    {
        EventKind.TASK_COMPLETED,
        EventKind.TASK_HANDED_IN,
        EventKind.TASK_REVISED,
        EventKind.TASK_RELEASED,
        EventKind.TASK_BLOCKED,
        EventKind.TASK_CANCELLED,
        EventKind.TASK_FAILED,
        EventKind.LEASE_EXPIRED,
        EventKind.ATTEMPT_ENDED,
        EventKind.ATTEMPT_TIMED_OUT,
        EventKind.ATTEMPT_STALLED,
        EventKind.RETRY_SCHEDULED,
    }
)
_ERRORS: Final = frozenset(
    {
        EventKind.TASK_BLOCKED,
        EventKind.TASK_FAILED,
        EventKind.LEASE_EXPIRED,
        EventKind.ATTEMPT_ENDED,
        EventKind.ATTEMPT_TIMED_OUT,
        EventKind.ATTEMPT_STALLED,
        EventKind.RETRY_SCHEDULED,
    }
)
_MILESTONES: Final = frozenset({EventKind.CHECKPOINT_SAVED, EventKind.ARTIFACT_SAVED})
_MOST_OPEN: Final = 10_000
"""Attempts that are remembered. One that ends in another process would be remembered for ever."""


def instrument(
    orch: Orchestrator,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> Callable[[], None]:
    """Make spans and metrics from now on.

    Args:
        orch: What is observed: the events that it records itself.
        tracer_provider: Where spans go; by default the global one.
        meter_provider: Where metrics go; by default the global one.

    Returns:
        A function that ends it.

    Raises:
        MissingDependencyError: The API of OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import metrics, trace
    except ImportError as exc:
        raise MissingDependencyError(
            "instrument()", "opentelemetry-api", "pip install opentelemetry-api"
        ) from exc
    recorder = _Recorder(
        trace.get_tracer(SCOPE, __version__, tracer_provider),
        metrics.get_meter(SCOPE, __version__, meter_provider),
    )
    return orch.on_event(recorder.record)


@attrs.define
class _OpenAttempt:
    """An attempt that was started in this process and has not ended."""

    number: int
    started: Event
    context: Context
    """The trace in which it was started."""
    milestones: list[Event] = attrs.field(factory=list)


class _Recorder:
    """Turns events into spans and metrics."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._events = meter.create_counter(
            "vespera.events", unit="{event}", description=METRICS["vespera.events"]
        )
        self._duration = meter.create_histogram(
            "vespera.attempt.duration",
            unit="s",
            description=METRICS["vespera.attempt.duration"],
        )
        self._active = meter.create_up_down_counter(
            "vespera.attempts.active",
            unit="{attempt}",
            description=METRICS["vespera.attempts.active"],
        )
        self._open: OrderedDict[str, _OpenAttempt] = OrderedDict()

    def record(self, event: Event) -> None:
        """Take note of one event."""
        self._events.add(1, {"vespera.event.kind": event.kind})
        if event.task_id is None:
            return
        if event.kind == EventKind.TASK_STARTED:
            self._begin(event, event.task_id)
        elif event.kind in _ENDINGS:
            self._end(event, event.task_id)
        elif event.kind in _MILESTONES and event.task_id in self._open:
            self._open[event.task_id].milestones.append(event)

    def _begin(self, event: Event, task_id: str) -> None:
        self._forget(task_id)  # it ended in another process
        number = int(event.data.get("attempt", 0))
        self._open[task_id] = _OpenAttempt(number, event, _context())
        self._active.add(1)
        while len(self._open) > _MOST_OPEN:
            self._forget(next(iter(self._open)))

    def _forget(self, task_id: str) -> None:
        if self._open.pop(task_id, None) is not None:
            self._active.add(-1)

    def _end(self, event: Event, task_id: str) -> None:
        attempt = self._open.get(task_id)
        if attempt is None:
            return
        self._forget(task_id)
        took_s = (event.at - attempt.started.at).total_seconds()
        self._duration.record(took_s, {"vespera.ending": event.kind})
        self._make_span(attempt, event)

    def _make_span(self, attempt: _OpenAttempt, ending: Event) -> None:
        from opentelemetry.trace import Status, StatusCode

        started = attempt.started
        attributes: dict[str, Any] = {
            "vespera.session.id": started.session_id or "",
            "vespera.task.id": started.task_id or "",
            "vespera.agent.name": shown(started.agent or ""),
            "vespera.attempt": attempt.number,
            "vespera.ending": ending.kind,
        }
        reason = ending.data.get("reason")
        if reason:
            attributes["vespera.reason"] = shown(str(reason))
        span = self._tracer.start_span(
            SPAN, attempt.context, attributes=attributes, start_time=_nanoseconds(started.at)
        )
        for milestone in attempt.milestones:
            at = _nanoseconds(milestone.at)
            span.add_event(milestone.kind, _plain(milestone.data), timestamp=at)
        if ending.kind in _ERRORS:
            span.set_status(Status(StatusCode.ERROR, shown(str(reason or ending.kind))))
        span.end(_nanoseconds(ending.at))


def _context() -> Context:
    """Return the trace that is current, else the one of the parent process."""
    from opentelemetry import context, propagate, trace

    current = context.get_current()
    if trace.get_current_span(current).get_span_context().is_valid:
        return current
    carrier = {name.lower(): value for name, value in os.environ.items() if name in _CARRIED}
    return propagate.extract(carrier, current)


_CARRIED: Final = frozenset({"TRACEPARENT", "TRACESTATE", "BAGGAGE"})
"""The environment variables in which a process gets the trace of its parent."""


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an attribute can hold of an event's data."""
    return {
        shown(name): shown(value) if isinstance(value, str) else value
        for name, value in data.items()
        if isinstance(value, bool | int | float | str) and value != ""
    }

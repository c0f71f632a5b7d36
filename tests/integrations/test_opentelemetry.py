"""Attempts become spans, and events are counted, wherever the program sends them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations import opentelemetry as ours

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

DONE = {"summary": "done", "detailed_work": "All of it."}


@pytest.fixture
def orch(tmp_path):
    """The façade, in a session."""
    with vespera.open(tmp_path) as opened:
        opened.initialize_session("Observed")
        yield opened


class Signals:
    """What a program that observes gets, in memory."""

    def __init__(self):
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def instrument(self, orch):
        return ours.instrument(orch, tracer_provider=self.tracers, meter_provider=self.meters)

    def metrics(self):
        """Return the data points by metric."""
        (resource,) = self.reader.get_metrics_data().resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.name == ours.SCOPE
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


@pytest.fixture
def signals():
    """Spans and metrics in memory."""
    found = Signals()
    yield found
    found.tracers.shutdown()
    found.meters.shutdown()


def test_an_attempt_is_a_span(orch, signals):
    """From its start to its end, with its milestones; a failure is an error with its reason."""
    signals.instrument(orch)
    orch.plan_tasks([{"title": "Good"}, {"title": "Bad"}])
    with orch.execute_task("good", agent="ada") as work:
        work.checkpoint({"step": 1}, "half")
        work.complete(**DONE)
    orch.execute_task("bad").fail("no luck")
    good, bad = signals.spans.get_finished_spans()
    assert {good.name, bad.name} == {ours.SPAN}
    assert good.attributes["vespera.task.id"] == orch.get_task("good").id
    assert good.attributes["vespera.agent.name"] == "ada"
    assert good.attributes["vespera.ending"] == "task_completed"
    assert [event.name for event in good.events] == ["checkpoint_saved", "artifact_saved"]
    assert good.start_time <= good.events[0].timestamp <= good.end_time
    assert good.status.is_ok or good.status.is_unset
    assert not bad.status.is_ok
    assert bad.status.description == "no luck"


def test_events_and_durations_are_counted(orch, signals):
    """Under the names in the table, and no others."""
    stop = signals.instrument(orch)
    orch.plan_tasks([{"title": "One"}, {"title": "Two"}])
    orch.complete_task("one", **DONE)
    held = orch.execute_task("two")
    metrics = signals.metrics()
    assert set(metrics) == set(ours.METRICS)
    by_kind = {
        point.attributes["vespera.event.kind"]: point.value for point in metrics["vespera.events"]
    }
    assert by_kind["task_planned"] == 2
    assert by_kind["task_started"] == 2
    assert [point.count for point in metrics["vespera.attempt.duration"]] == [1]
    assert [point.value for point in metrics["vespera.attempts.active"]] == [1]
    stop()
    held.release()
    assert len(signals.spans.get_finished_spans()) == 1


def test_only_names_of_the_table_are_used(orch, signals):
    """Attributes too: dashboards are made from it."""
    signals.instrument(orch)
    orch.plan_task("One")
    orch.execute_task("one").fail("no luck")
    used = {name for span in signals.spans.get_finished_spans() for name in span.attributes}
    used |= {name for points in signals.metrics().values() for p in points for name in p.attributes}
    assert used == set(ours.ATTRIBUTES)


def test_a_span_is_part_of_the_trace_that_started_it(orch, signals):
    """And a child process gets that trace."""
    signals.instrument(orch)
    orch.plan_task("One")
    with signals.tracers.get_tracer("test").start_as_current_span("request") as request:
        orch.complete_task("one", **DONE)
        environ = orch.spawn_agent_with_context().environ()
    attempt = next(span for span in signals.spans.get_finished_spans() if span.name == ours.SPAN)
    trace_id = request.get_span_context().trace_id
    assert attempt.context.trace_id == trace_id
    assert environ["TRACEPARENT"].split("-")[1] == f"{trace_id:032x}"


def test_a_child_continues_the_trace_of_its_parent(orch, signals, monkeypatch):
    """Its attempts are spans below the one that was current when it was started."""
    monkeypatch.setenv("TRACEPARENT", f"00-{'a' * 32}-{'b' * 16}-01")
    signals.instrument(orch)
    orch.plan_task("One")
    orch.complete_task("one", **DONE)
    (attempt,) = signals.spans.get_finished_spans()
    assert f"{attempt.context.trace_id:032x}" == "a" * 32


def test_nothing_is_loaded_unless_you_use_it():
    """Neither by the package nor by what a child inherits."""
    script = (
        "import sys, vespera_orchestrator as v\n"
        "orch = v.open(store='memory:')\n"
        "orch.initialize_session('x')\n"
        "orch.spawn_agent_with_context()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=dict(os.environ))

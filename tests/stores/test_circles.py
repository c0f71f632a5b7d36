"""Circles are refused exactly where networkx finds them, however plans grow."""

from __future__ import annotations

from itertools import pairwise

import attrs
import networkx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.stores import start_session
from vespera_orchestrator._model import Dependency, Outcome, TaskDraft, TaskQuery
from vespera_orchestrator.errors import CycleError, InvalidPlanError, PlanError
from vespera_orchestrator.stores.sqlite import SQLiteStore

PATIENT = settings(
    deadline=None,
    derandomize=True,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow],
)


@attrs.frozen
class Node:
    """A task to be planned, and what it names: tasks of its own plan or of earlier ones."""

    name: str
    needs: frozenset[str]
    parent: str | None


@st.composite
def growing_plans(draw):
    """A few plans, one after the other, and edges that are added between their tasks later."""
    names, plans = [], []
    for size in draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)):
        new = [f"n{len(names) + number}" for number in range(size)]
        names += new
        any_name = st.sampled_from(names)
        needs = st.frozensets(any_name, max_size=2)
        parents = st.none() | st.none() | any_name
        plans.append([Node(name, draw(needs), draw(parents)) for name in new])
    edges = st.tuples(st.sampled_from(names), st.sampled_from(names))
    return plans, draw(st.lists(edges, max_size=6))


class Model:
    """What networkx says of the same tasks."""

    def __init__(self):
        self.graph = networkx.DiGraph()

    def circle_with(self, edges):
        """Return the graph with *edges* if it has a circle; otherwise keep the edges."""
        grown = networkx.DiGraph(self.graph)
        grown.add_edges_from(edges)
        if not networkx.is_directed_acyclic_graph(grown):
            return grown
        self.graph = grown
        return None

    def check(self, edges, call):
        """Make the call, and hold its outcome against the graph."""
        circle = self.circle_with(edges)
        try:
            call()
        except PlanError as exc:
            error = cycle_error(exc)
            assert circle is not None, error
            assert is_circle(error.path), error
            for waiting, needed in pairwise(error.path):
                assert circle.has_edge(waiting, needed), error
        else:
            assert circle is None, list(networkx.simple_cycles(circle))


def cycle_error(exc):
    """Return the error about a circle, which may be one of several mistakes."""
    mistakes = exc.mistakes if isinstance(exc, InvalidPlanError) else (exc,)
    return next(mistake for mistake in mistakes if isinstance(mistake, CycleError))


def is_circle(path):
    """Check that *path* ends where it starts, with each task on it once."""
    first, *others = path
    return others[-1] == first and len(set(others)) == len(others)


def drafts_and_edges(nodes, known):
    """Return the drafts of *nodes*, and who waits for whom; unknown names are left out."""
    drafts, edges = [], []
    for node in nodes:
        needs = sorted(node.needs & known)
        parent = node.parent if node.parent in known else None
        dependencies = tuple(Dependency(need) for need in needs)
        drafts.append(
            TaskDraft(title=node.name, alias=node.name, dependencies=dependencies, parent=parent)
        )
        edges += [(node.name, need) for need in needs]
        if parent:
            edges.append((parent, node.name))
    return drafts, edges


@PATIENT
@given(growing_plans())
def test_circles_are_refused_exactly_where_networkx_finds_them(grown):
    """Plan by plan and edge by edge: refused if and only if a circle would close.

    The error has a path that is one; otherwise the plan is written.
    """
    plans, later_edges = grown
    store = SQLiteStore.open(None)
    session_id = start_session(store).id
    model = Model()
    for nodes in plans:
        known = {node.name for node in nodes} | set(store.aliases(session_id))
        drafts, edges = drafts_and_edges(nodes, known)
        model.check(edges, lambda drafts=drafts: store.plan(session_id, drafts))
    ids = {task.alias: task.id for task in store.tasks(TaskQuery(limit=None))}
    for waiting, needed in later_edges:
        if waiting in ids and needed in ids:
            pair = ids[waiting], ids[needed]
            model.check(
                [(waiting, needed)],
                lambda pair=pair: store.add_dependency(*pair, Outcome.SUCCESS),
            )
    store.close()

"""The answers to a search, put into their final order."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from support.records import artifact
from vespera_orchestrator.artifacts.hits import hits_of
from vespera_orchestrator.artifacts.search.ranking import PassageMatch, RankedArtifact
from vespera_orchestrator.artifacts.surroundings import Surroundings


def ids(records, *, limit=10, include_superseded=False):
    """Return the ids of the hits for records that a search ranked in this order."""
    ranked = []
    for record in records:
        passage = PassageMatch(
            artifact_id=record.id, title="T", start=3, end=4, text=record.id, passage_count=1
        )
        ranked.append(RankedArtifact(passage=passage, score=1.0))
    store = SimpleNamespace(find_artifact={record.id: record for record in records}.get)
    hits = hits_of(
        ranked,
        store,
        surroundings=Surroundings.of(store, None, None),
        mode="text",
        limit=limit,
        include_superseded=include_superseded,
    )
    assert all((hit.start, hit.end, hit.text) == (3, 4, hit.artifact_id) for hit in hits)
    return [hit.artifact_id for hit in hits]


def quoting(artifact_id, *sources):
    """Return an artifact that quotes others."""
    return artifact(id=artifact_id, metadata={"sources": list(sources)})


@pytest.mark.parametrize(
    ("records", "order"),
    [
        ([artifact(id="a"), quoting("b", "a")], ["a", "b"]),
        ([quoting("b", "a"), artifact(id="a")], ["a", "b"]),
        ([quoting("b", "x"), artifact(id="a")], ["b", "a"]),
        (
            [quoting("d", "a", "b"), artifact(id="a"), artifact(id="b")],
            ["a", "d", "b"],
        ),
    ],
)
def test_a_source_comes_before_what_quotes_it(records, order):
    """What quotes others moves behind the first of them, and everything else stays."""
    assert ids(records) == order


def test_a_source_just_below_the_limit_is_found():
    """The limit applies after the sources have moved up."""
    records = [quoting("b", "a"), artifact(id="x"), artifact(id="a")]
    assert ids(records, limit=2) == ["x", "a"]


def test_superseded_versions_are_left_out_unless_requested():
    """The index may not know yet that there is a later version."""
    records = [artifact(id="a", superseded=True), artifact(id="b")]
    assert ids(records) == ["b"]
    assert ids(records, include_superseded=True) == ["b", "a"]

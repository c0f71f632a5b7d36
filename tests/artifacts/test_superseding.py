"""Correcting: what no longer holds is not offered any more, and who relies on it is told."""

from __future__ import annotations

import pytest

from vespera_orchestrator.errors import (
    ArtifactNotFoundError,
    ArtifactSupersededError,
    InvalidInputError,
)


@pytest.fixture
def corrected(artifacts):
    """An old note in a task, and what has taken its place in another."""
    old = artifacts.save("Boiling", "Boiling reads as 93 degrees.", task="build")
    new = artifacts.save("Kettle", "Boiling reads as 97 degrees.", task="check", supersedes=old)
    return old, new


def test_a_search_offers_what_holds(artifacts, corrected):
    """The other one only on demand, after it, with a mark that says what has superseded it."""
    old, new = corrected
    assert [hit.artifact_id for hit in artifacts.search("boiling degrees")] == [new.id]
    both = artifacts.search("boiling degrees", include_superseded=True)
    assert [hit.artifact_id for hit in both] == [new.id, old.id]
    assert [hit.superseded_by for hit in both] == [None, new.id]
    assert f"superseded by {new.id}" in str(both[1])
    assert artifacts.verify_index() == []


def test_the_index_follows_what_was_superseded_later(artifacts):
    """Also what it took in before, without reading it again."""
    old = artifacts.save("Boiling", "Boiling reads as 93 degrees.")
    assert len(artifacts.search("boiling")) == 1
    new = artifacts.save("Kettle", "It boils at 97 degrees.", supersedes=[old.id])
    assert [hit.artifact_id for hit in artifacts.search("boils")] == [new.id]
    assert artifacts.verify_index() == []
    artifacts.rebuild_index()
    assert artifacts.verify_index() == []


def test_lists_and_context_offer_what_holds(artifacts, corrected):
    """A context never has the old text, whoever asks."""
    old, new = corrected
    assert artifacts.list() == [new]
    assert [each.id for each in artifacts.list(include_superseded=True)] == [new.id, old.id]
    assert artifacts.find("Boiling") is None
    context = artifacts.context("boiling", task="check")
    assert old.id not in context.artifact_ids


def test_who_relies_on_the_old_text_is_listed(artifacts, scope):
    """With what holds instead, for the artifact that was superseded."""
    old = artifacts.save("Boiling", "Boiling reads as 93 degrees.", task="build")
    artifacts.context("boiling", task="check")
    scope.store.claim(scope.session_id(), "ada", task_id=scope.task("check").id, lease_s=60)
    new = artifacts.save("Kettle", "Boiling reads as 97 degrees.", supersedes=old)
    (use,) = artifacts.context_uses(artifact=old, outdated=True)
    assert str(use) == (
        f"check was given 'Boiling' version 1 ({old.id}); 'Kettle' has taken its place ({new.id})"
    )


@pytest.mark.parametrize("wrong", [7, [""], [None], object()])
def test_what_is_no_artifact_is_refused(artifacts, wrong):
    """With the name of the argument; nothing is written."""
    with pytest.raises(InvalidInputError, match=r"^supersedes: "):
        artifacts.save("New", "text", supersedes=wrong)
    assert artifacts.list() == []


def test_only_what_holds_can_be_superseded(artifacts, corrected):
    """The error names what holds, and what it says to do works."""
    old, new = corrected
    with pytest.raises(ArtifactSupersededError) as caught:
        artifacts.save("Third", "98", supersedes=old)
    assert repr(new.id) in str(caught.value)
    third = artifacts.save("Third", "98", supersedes=new.id)
    assert artifacts.list() == [third]
    with pytest.raises(ArtifactNotFoundError):
        artifacts.save("Fourth", "99", supersedes="a_nowhere00000")
    with pytest.raises(InvalidInputError, match="partial"):
        artifacts.save("Fourth", "99", partial=True, supersedes=third)

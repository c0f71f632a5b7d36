"""Texts that say nothing of their topic are put where earlier texts like them are, or nowhere."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.documents import START
from vespera_orchestrator._model import Artifact
from vespera_orchestrator.documents.likeness import Likeness, Placements, words_of
from vespera_orchestrator.documents.sections import section_contents

METHOD = "Participants guess the next letter of a printed text, while an assistant keeps the time."
FINDING = "Entropy falls below two bits for every letter, once readers know the author's style."
ALIKE = "Again entropy falls for every letter: below one bit, once readers know author and style."
UNLIKE = "The kettle in the kitchen leaks, and somebody should call a plumber before Friday."


@pytest.fixture
def project(make_project):
    """A research project with a method and a finding."""
    made = make_project("research_project")
    made.complete("Plan", made.draft("Guessing", METHOD, "protocol"))
    made.complete("Analyse", made.draft("Entropy", FINDING, "finding"))
    return made


def found(project) -> str:
    """Return what the findings say after an update."""
    project.documents.update()
    return section_contents(project.text("FINDINGS.md"))["findings"]


def test_a_text_like_findings_is_one(project):
    """The decision is recorded with its reason; what is like nothing is left out."""
    project.complete("Tuesday", project.draft("Notes", ALIKE), project.draft("Kitchen", UNLIKE))
    text = found(project)
    assert ALIKE in text
    assert "kettle" not in text
    reasons = {
        each.title: each.reason for each in project.documents.explain("FINDINGS.md", "findings")
    }
    assert reasons["Entropy"] == "its kind 'finding'"
    assert reasons["Notes"].startswith("its likeness to other texts about that, ")
    assert "Kitchen" not in reasons


def test_what_a_text_says_itself_comes_first(project):
    """Tags decide before likeness; so does a heading."""
    project.complete(
        "Tuesday",
        project.draft("Tagged", ALIKE, tags=("literature",)),
        project.draft("Headed", f"## Deviations\n\n{ALIKE}\n\n## Methods\n\n{ALIKE}\n"),
    )
    assert "Again entropy" not in found(project)


def test_a_decision_does_not_change_because_something_new_comes(project):
    """A process that saw everything grow and one that comes later say the same."""
    project.complete("Tuesday", project.draft("Notes", ALIKE))
    project.documents.update()
    project.complete("Later", project.draft("Other", f"{ALIKE} Truly.", "literature"))
    project.complete("Last", project.draft("More", UNLIKE))
    text = found(project)
    assert ALIKE in text
    fresh = project.opened().update(dry_run=True)
    assert fresh.diffs == ()


_TEXTS = st.sampled_from([METHOD, FINDING, ALIKE, UNLIKE])
_STEPS = st.lists(st.tuples(_TEXTS, st.sampled_from(["", "findings", "methodology"])), max_size=8)


def _artifact(number: int) -> Artifact:
    at = START + timedelta(minutes=number)
    names = {"session_id": "s", "task_id": None, "attempt": None, "agent": None}
    return Artifact(
        **names,
        id=f"a_{number}",
        kind="general",
        title="Notes",
        media_type="text/markdown",
        digest=f"{number}",
        size_bytes=1,
        version=1,
        supersedes_id=None,
        superseded=False,
        partial=False,
        tags=(),
        metadata={},
        created_at=at,
    )


def _decide(placements: Placements, steps, first: int) -> None:
    artifacts = [_artifact(first + number) for number in range(len(steps))]
    kept = placements.go_back(artifacts)
    for artifact, (text, topic) in list(zip(artifacts, steps, strict=True))[kept:]:
        placements.add(artifact, (topic,) if topic else (), words_of(text))


@settings(deadline=None, max_examples=60)
@given(before=_STEPS, after=_STEPS, first=st.integers(0, 3))
def test_going_back_forgets_what_came_after(before, after, first):
    """Whatever was decided meanwhile, the rest is decided as by somebody who comes now."""
    grown, fresh = Placements(), Placements()
    _decide(grown, before, 0)
    _decide(grown, [("", "")] * 9, 20)
    _decide(grown, after, first)
    _decide(fresh, after, first)
    assert grown.by_artifact() == fresh.by_artifact()


def test_words_that_all_topics_share_do_not_count():
    """Nor do a few words make a likeness; Chinese is compared as well."""
    likeness = Likeness()
    likeness.learn(("findings",), words_of(FINDING))
    likeness.learn(("methodology",), words_of(METHOD))
    assert likeness.place(words_of("every letter of a text")) is None
    assert likeness.place(words_of(FINDING)).topic == "findings"
    likeness.learn(
        ("literature",), words_of("\u4fe1\u606f\u8bba\u7814\u7a76\u4fe1\u606f\u7684\u91cf")
    )
    chinese = "\u4fe1\u606f\u8bba\u7814\u7a76\u4fe1\u606f\u7684\u91cf\u3002"
    assert likeness.place(words_of(chinese)).topic == "literature"

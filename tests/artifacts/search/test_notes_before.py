"""A short note is found by what was said before it; a search for a word or two sees no context."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from artifacts.search.test_index import titles
from vespera_orchestrator.artifacts.search import index, passages

QUESTION = "How often does Ada measure the temperature of the boiler?"


@pytest.fixture(params=["small", "large"])
def orch(tmp_path, monkeypatch, request):
    """Have a home whose index is of each kind."""
    if request.param == "large":
        monkeypatch.setattr(index, "SMALL_PASSAGES", 0)
    with vespera.open(tmp_path) as opened:
        opened.initialize_session("talk")
        opened.plan_task("Talk")
        yield opened


def talk(orch, *notes):
    """Save notes of one task, one after the other."""
    for title, text in notes:
        orch.artifacts.save(title, text, task="talk")


def test_a_note_is_found_by_what_it_answers(orch):
    """Also when it is indexed by itself, and when the index is built again."""
    talk(orch, ("Ben 1", "Ada, how often do you measure the temperature of the boiler?"))
    orch.artifacts.catch_up()
    talk(orch, ("Ada 2", "Twice a day."), ("Ben 3", "Fine."), ("Cy 4", "Lunch, then?"))
    assert "Ada 2" in titles(orch.artifacts, QUESTION, mode="text")
    assert "Cy 4" not in titles(orch.artifacts, QUESTION, mode="text")
    before = titles(orch.artifacts, QUESTION)
    orch.artifacts.rebuild_index()
    assert titles(orch.artifacts, QUESTION) == before
    hit = next(hit for hit in orch.artifacts.search(QUESTION) if hit.title == "Ada 2")
    assert hit.text == "Twice a day."


def test_a_word_or_two_are_looked_for_in_the_note_itself(orch):
    """Phrases as well."""
    talk(orch, ("One", "the ocelot sleeps"), ("Two", "so it does"))
    assert titles(orch.artifacts, "ocelot sleeps", mode="text") == ["One"]
    assert titles(orch.artifacts, '"ocelot sleeps" here', mode="text") == ["One"]


def test_what_others_said_is_no_context(orch):
    """Nor what the task itself said in an earlier version, which may hold no longer."""
    talk(orch, ("Note", "We measure the temperature of the boiler often"))
    orch.artifacts.save("Elsewhere", "Thrice.")
    talk(orch, ("Note", "Never mind"))
    found = titles(orch.artifacts, QUESTION, mode="text", include_superseded=True)
    assert found == ["Note"]
    assert titles(orch.artifacts, QUESTION, mode="text") == []


def test_a_long_text_speaks_for_itself(orch):
    """Its passages have each other."""
    talk(orch, ("Question", QUESTION), ("Report", "\n\n".join(["So much to say. " * 40] * 4)))
    assert titles(orch.artifacts, QUESTION, mode="text") == ["Question"]


@pytest.mark.parametrize(
    ("query", "wordy"),
    [("the ocelot of the house", False), ("parseHTTPConfigNow twice", False), (QUESTION, True)],
)
def test_a_question_of_several_words_is_wordy(query, wordy):
    """The parts of one identifier are not several."""
    assert passages.is_wordy(query) == wordy

"""A question may name the text that answers it."""

from __future__ import annotations

import pytest

from vespera_orchestrator.artifacts.search.naming import NamesInQuery
from vespera_orchestrator.artifacts.search.passages import quoted_phrases

PATH = "src/_pytest/mark/evaluate.py"


@pytest.mark.parametrize(
    ("query", "title", "share"),
    [
        ('File "/usr/lib/_pytest/mark/evaluate.py", line 12, in cached_eval', PATH, 1.0),
        (r"it fails in mark\evaluate.py", PATH, 1.0),
        ("from _pytest.mark.evaluate import MarkEvaluator", PATH, 1.0),
        ("why does evaluate.py cache?", PATH, 0.6),
        ("why does it evaluate twice?", PATH, 0.0),
        ("remark/evaluate.pyc", PATH, 0.0),
        ("what does the Sensor Report say?", "Sensor report", 1.0),
        ("what does the report say?", "Report", 0.0),
        ("anything", "", 0.0),
        ("", "Sensor report", 0.0),
    ],
)
def test_a_title_is_named_whole_or_by_the_end_of_its_path(query, title, share):
    """In the spellings of tracebacks, Windows and imports; a single word may be any word."""
    assert NamesInQuery(query).share(title) == share


def test_quotes_in_a_pasted_text_demand_nothing():
    """Typed, they do: the words between them must stand together."""
    typed = 'where is "end of the line" set'
    assert quoted_phrases(typed) == ("end of the line",)
    assert quoted_phrases(f"Traceback:\n  {typed}") == ()
    assert quoted_phrases(f"{typed} {'and so on ' * 30}") == ()

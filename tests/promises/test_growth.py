"""Work grows in proportion to the text: four times as long may not take sixteen times as long."""

from __future__ import annotations

import contextlib
import gc
import tempfile
import time

import pytest

import vespera_orchestrator as vespera
from support.bounds import Tally
from vespera_orchestrator.artifacts.search import passages
from vespera_orchestrator.documents.sections import MarkerError, parse_sections
from vespera_orchestrator.documents.sources.bibliography import read_bibtex, read_csl
from vespera_orchestrator.errors import PlanError
from vespera_orchestrator.home.yaml_text import YamlMistakeError, read_plain_yaml
from vespera_orchestrator.tasks.plan_text import tasks_in

PATTERNS = {
    "addresses": ("", "http://a))", ""),
    "one address": ("http://a", ")", ""),
    "a marker with spaces": ("<!-- vespera:begin x", " ", ""),
    "markers": ("", "<!-- vespera:begin x -->\n", ""),
    "comments": ("", "<!--", ""),
    "brackets": ("", "[", ""),
    "links": ("", "[a](", ""),
    "images": ("", "![", ""),
    "closed brackets": ("", "]", ""),
    "backticks": ("", "`a", ""),
    "fences": ("", "```\n", ""),
    "stars": ("", "*a ", ""),
    "underscores": ("", "_a_ ", ""),
    "one underscore after another": ("a", "_", "a"),
    "tags": ("", "<a ", ""),
    "entities": ("", "&a", ""),
    "headings": ("", "# a\n", ""),
    "signs of a heading": ("", "#", ""),
    "quotes": ("", "> ", "x"),
    "lists": ("", "- ", "x"),
    "rows": ("", "|a", "\n|-|\n"),
    "table": ("|a|\n|-|\n", "|a|\n", ""),
    "spaces": ("a", " ", "b"),
    "line breaks": ("a", "\n", "b"),
    "labels": ("", "Fixed: ", ""),
    "lines with a label": ("", "Decision: a\n", ""),
    "dashes": ("", "a-", ""),
    "dots": ("", "a.", ""),
    "digits": ("", "1", ""),
    "citations": ("", "(A, 2001; ", ""),
    "mail": ("", "a@", ""),
    "names": ("", "Ann ", ""),
    "quoted": ("", '"a ', ""),
    "entries": ("", "@a{b, c = {", ""),
    "braces": ("@a{b, c = ", "{", ""),
    "equal signs": ("", "a = ", ""),
    "conflict": ("", "<<<<<<< a\n", ""),
    "escapes": ("", "\x1b[1", ""),
    "letters of two": ("", "e\u0301", ""),
    "code": ("```python\n", "def f(a): pass\n", "```"),
    "classes": ("```python\n", "x = (", "```"),
}
TYPES = ("software_development", "research_project", "creative_writing")
MOST_TIMES = 9
"""Four times the text; sixteen would be the square."""
GROWTH_CPU_S = 60
"""For up to three times both lengths, each with all that follows."""
NOISE_S = 0.06
"""What takes less is not compared: a busy machine adds as much."""


def text_of(words, length):
    """Return a text of about this length."""
    before, part, after = PATTERNS[words]
    return before + part * (length // len(part)) + after


def cpu_of(function, text):
    """Return the CPU time of one call, without what collecting garbage takes."""
    gc.disable()
    try:
        start = time.thread_time()
        function(text)
        return time.thread_time() - start
    finally:
        gc.enable()


def too_steep(function, words, length):
    """Return how much longer four times the text takes, if it is too long three times in a row."""
    for _ in range(3):
        long = cpu_of(function, text_of(words, 4 * length))
        if long < NOISE_S:
            return None
        short = cpu_of(function, text_of(words, length))
        if long < MOST_TIMES * short:
            return None
    return f"{words}: {short:.3f} s, then {long:.3f} s"


def sections(text):
    """Find the sections of a document."""
    with contextlib.suppress(MarkerError):
        parse_sections(text)


def yaml_plan(text):
    """Read a plan."""
    with contextlib.suppress(PlanError):
        tasks_in(text)


def settings_text(text):
    """Read YAML of a home."""
    with contextlib.suppress(YamlMistakeError):
        read_plain_yaml(text.encode())


FUNCTIONS = {
    "sections": sections,
    "a plan": yaml_plan,
    "YAML of the home": settings_text,
    "BibTeX": read_bibtex,
    "CSL": read_csl,
    "passages": lambda text: passages.split(text, "text/markdown"),
}
LENGTHS = {"YAML of the home": 2_000, "passages": 4_000}
"""Of those that are slow without being steep."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_reader_takes_time_in_proportion(name):
    """Whatever the text is made of."""
    length = LENGTHS.get(name, 10_000)
    steep = [too_steep(FUNCTIONS[name], words, length) for words in PATTERNS]
    assert [each for each in steep if each] == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("project_type", TYPES)
@pytest.mark.parametrize("words", PATTERNS)
def test_completing_takes_time_in_proportion(project_type, words):
    """With the documents, the briefing and the status that follow."""

    def complete(text):
        with tempfile.TemporaryDirectory() as folder, vespera.open(folder) as orch:
            orch.initialize_session("x", project_type=project_type)
            orch.plan_tasks([{"title": "A"}, {"title": "B", "dependencies": ["a"]}])
            summary = text[:2000]
            kind = "research" if project_type == "research_project" else "general"
            orch.complete_task("a", summary=summary, detailed_work=text, artifact_type=kind)
            orch.documents.update()
            with orch.execute_task("b") as work:
                str(work.briefing())
                work.release()
            str(orch.resume())

    tally = Tally()
    steep = tally.call(words, too_steep, complete, words, 40_000, cpu_s=GROWTH_CPU_S)
    tally.slow += [steep] if steep else []
    tally.judge(f"growth, {project_type}, {words}")

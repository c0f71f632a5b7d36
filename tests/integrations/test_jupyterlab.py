"""Every rich display in a real JupyterLab, in light and dark, before axe-core.

Run by ``nox -s notebook``; with ``VESPERA_PICTURES=folder`` it leaves pictures to look at.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest

TOUR = Path(__file__).parents[2] / "examples" / "tour.ipynb"
THEMES = ("JupyterLab Light", "JupyterLab Dark")

FAULTS = {
    "color-contrast": """HTML('<p style="color:#bbb;background:#fff">pale words</p>')""",
    "button-name": "HTML('<button></button>')",
    "svg-img-alt": """HTML('<svg role="img" width="20" height="20"></svg>')""",
    "drawing": """HTML('<svg width="90" height="30"><text y="20" fill="#777">pale</text></svg>')""",
    "list": "HTML('<ul><div>no item</div></ul>')",
}
"""One fault a cell, and the rule that must find it. #777 is too pale on white and on black."""

SETUP = """
import subprocess, tempfile
from pathlib import Path
import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.notebook import board

folder = Path(tempfile.mkdtemp()) / "kettle"
folder.mkdir()
for command in ("init -q -b main", "config user.name Eve", "config user.email eve@example.org",
                "commit -q --allow-empty -m start"):
    subprocess.run(["git", *command.split()], cwd=folder, check=True)
orch = vespera.open(folder, agent="eve")
orch.initialize_session("A kettle that whistles")
orch.plan_tasks([
    {"title": "Sketch"},
    {"title": "Forge", "dependencies": ["sketch"]},
    {"title": "Tune", "dependencies": ["sketch"], "condition": "sketch.outputs.hertz > 400"},
    {"title": "Rescue", "dependencies": [{"task": "forge", "on": "failure"}]},
    {"title": "Paint"}, {"title": "Polish"}, {"title": "Engrave"}, {"title": "Wrap"},
])
DONE = {"summary": "done", "detailed_work": "# All of it\\n\\n* copper\\n* two litres"}
orch.complete_task("sketch", outputs={"hertz": 440}, **DONE)
orch.cancel_task("wrap", reason="no paper")
orch.abandon_task("engrave", reason="no tool")
orch.execute_task("paint").checkpoint({"n": 1}, note="half", progress=0.5)
for alias in ("forge", "polish"):
    work = orch.execute_task(alias, worktree=True)
    (work.path / "kettle.txt").write_text(f"{alias}\\n")
    work.checkpoint({"file": "kettle.txt"}, note="one handle")
try:
    with orch.work("polish"):
        raise RuntimeError("the cloth tore")
except RuntimeError:
    pass
"""
DISPLAYS = (
    "orch.current_session()",
    "orch.get_task('forge')",
    "orch.get_status()",
    "orch.session_status()",
    "orch.graph()",
    "orch.next_step()",
    "orch.why('tune')",
    "orch.why('polish')",
    "orch.resume()",
    "orch.pause('at the handle', 'bend it')",
    "orch.history(limit=8)",
    "next(iter(orch.watch(0, timeout_s=0)))",
    "orch.worktrees.forecast()",
    "orch.worktrees.list()[0]",
    "orch.artifacts.list()[0]",
    "orch.artifacts.search('copper litres')[0]",
    "orch.work('paint').attempt",
    "orch.shared_context()",
    "orch.pressure()",
    "orch.digest()",
    "orch.check()",
    "orch.run({'tune': lambda work: {'hertz': 450}}, progress=True, idle_s=0)",
    "board(orch, timeout_s=0)",
    "orch.set_energy('low')",
    "orch.get_status()",
    "orch.resume()",
    "orch.query_tasks()",
    "orch",
    "None",
)


@pytest.fixture(scope="module")
def axe():
    """The folder with axe-core; whatever is missing is named."""
    for module in ("jupyterlab", "ipykernel", "selenium"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: nox -s notebook")
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = Path(os.environ.get("VESPERA_AXE", "nowhere"))
    if not (folder / "node_modules" / "axe-core").is_dir():
        pytest.skip("axe-core is not installed: nox -s notebook")
    return folder


@pytest.fixture(scope="module")
def open_page(axe, tmp_path_factory):
    """Run a notebook, and show it."""
    from support.jupyterlab import Page, jupyterlab

    folder, pages = tmp_path_factory.mktemp("lab"), []
    with jupyterlab(folder) as address:

        def show(content):
            pages.append(Page(address, folder, content, axe))
            return pages[-1]

        yield show
        for page in pages:
            page.close()


def judged(page, name):
    """Return what is wrong under each theme, and how many texts were measured under the first."""
    pictures = os.environ.get("VESPERA_PICTURES")
    problems, counts = [], []
    for theme in THEMES:
        word = theme.split()[-1].lower()
        page.show(theme, Path(pictures, f"{name}-{word}.png") if pictures else None)
        lines, measured = page.judge()
        problems += [f"{word}: {line}" for line in lines]
        counts.append(measured)
    return problems, min(counts)


def test_the_judge_finds_planted_faults(open_page):
    """Pale words, a missing name, pale letters in a drawing, a wrong list: in both themes."""
    from support.jupyterlab import notebook

    page = open_page(notebook("from IPython.display import HTML", *FAULTS.values()))
    assert page.errors == []
    problems, _ = judged(page, "faults")
    for rule in FAULTS:
        for word in ("light", "dark"):
            assert any(line.startswith(f"{word}: {rule}") for line in problems), (word, rule)


def test_every_display_can_be_read(open_page):
    """Names, structure and contrast of every kind of record, in light and dark."""
    from support.jupyterlab import notebook

    page = open_page(notebook(SETUP, *DISPLAYS))
    assert page.errors == []
    problems, measured = judged(page, "displays")
    assert not problems, "\n".join(problems)
    assert measured > 100


def test_the_tour_can_be_read(open_page):
    """The notebook in examples/, run from top to bottom."""
    page = open_page(json.loads(TOUR.read_text("utf-8")))
    assert page.errors == []
    problems, measured = judged(page, "tour")
    assert not problems, "\n".join(problems)
    assert measured > 30

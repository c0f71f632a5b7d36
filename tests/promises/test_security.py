"""The page about security: each attack and each promise on it names its test, which is there."""

from __future__ import annotations

import ast
import re
import stat

import pytest

import vespera_orchestrator as vespera
from support import ROOT
from vespera_orchestrator._gitleaks import rule_book
from vespera_orchestrator.integrations.tools import Toolbox

PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
PROMISING = (
    "A home that came from somebody else",
    "Who can read a home",
    "Keys and passwords",
    "What must not be kept",
)
"""Sections in which every sentence has its test, unless it promises nothing."""
PROMISES_NOTHING = (
    "A home (`.task_orchestrator/`) can ask",
    "These are its",
    "`UntrustedHomeError`",
    "Otherwise your work would go",
    "Set it in a container",
    "To keep the bytes of artifacts on another disk",
    "When a key was saved, replace it",
    "Set `PGPASSWORD`",
    "`access = ",
)
"""Definitions, reasons and advice."""


def section(title):
    """Return a section of the page, without its tables and its code."""
    text = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.startswith("|"))


def sentences(title):
    """Yield the sentences of a section, without what makes words stand out."""
    for paragraph in re.split(r"\n\s*\n", section(title)):
        text = " ".join(paragraph.split()).replace("**", "")
        for sentence in re.split(r"(?<=[.:!?]) (?=[A-Z`])", text):
            if sentence:
                yield sentence


def rows(title):
    """Return the cells of the tables of a section, without their heads."""
    text = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()[2:]]
    return [line.strip("| ").split(" | ") for line in lines]


ATTACKS = rows("Attacks, and what happens")
PROMISES = rows("Each sentence, and its test")


def test_every_attack_says_what_happens_and_names_its_test():
    """Three cells in each row, and none twice."""
    assert {len(row) for row in ATTACKS} == {3}
    assert len({row[0] for row in ATTACKS}) == len(ATTACKS) > 30


def test_every_sentence_that_promises_something_names_its_test():
    """Whoever writes another one is asked for its test; one that is gone leaves no row."""
    starts = [row[0].removesuffix(" …") for row in PROMISES]
    written = [each for title in PROMISING for each in sentences(title)]
    known = (*starts, *PROMISES_NOTHING)
    assert [each for each in written if not each.startswith(known)] == []
    everything = [*written, *sentences("What is not defended")]
    assert [start for start in starts if not any(start in each for each in everything)] == []


@pytest.mark.parametrize("place", sorted({row[-1].strip("`") for row in ATTACKS + PROMISES}))
def test_the_test_is_there(place):
    """Whoever renames one corrects the page."""
    file, _, name = place.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_how_to_report_a_hole_is_said():
    """At the top of the repository, where hosts look for it."""
    page = (ROOT / "SECURITY.md").read_text("utf-8")
    assert "in private" in page
    assert "docs/security.md" in page


# --- what no other test is for ------------------------------------------------


def test_no_tool_gives_consent(tmp_path):
    """A model that reads a stranger's words must not be able to say yes for a person."""
    with vespera.open(tmp_path) as orch:
        for tool in Toolbox(orch, include="all").tools:
            assert "trust" not in f"{tool.name} {tool.spec.path} {list(tool.parameters)}"


def test_backups_and_exports_are_yours_alone(tmp_path):
    """Whatever the folder they are written to lets others do."""
    tmp_path.chmod(0o755)
    with vespera.open(tmp_path / ".", durability="normal") as orch:
        orch.initialize_session("x")
        orch.artifacts.save("Notes", "some")
        orch.export(tmp_path / "export.jsonl")
        orch.backup(tmp_path / "backup")
    assert stat.S_IMODE((tmp_path / "export.jsonl").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700


def test_two_hundred_services_are_known():
    """As the page says, by the rules of the library that is kept for it."""
    assert len(rule_book().rules) > 200

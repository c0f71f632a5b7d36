"""A home of an earlier release opens with today's code, reads the same, and its work goes on.

The homes, and the answers of their releases, lie in ``tests/fixtures``; ``make_home.py`` there
made them. Texts may be worded differently from release to release, so sentences are not compared.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from types import SimpleNamespace

import pytest

import vespera_orchestrator as vespera
from support import TESTS

FIXTURES = TESTS / "fixtures"
HOMES = sorted(FIXTURES.glob("home-of-schema-*.tar.xz"))
WORDING = {"sentence", "next_step"}
"""Fields that may change: texts, and advice."""

_spec = importlib.util.spec_from_file_location("make_home", FIXTURES / "make_home.py")
make_home = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_home)


@pytest.fixture(params=HOMES, ids=lambda path: path.name.split(".")[0])
def old(request, tmp_path, monkeypatch):
    """An unpacked home of an earlier release, and what that release said about it.

    It is trusted as on the machine that it was made on.
    """
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_TRUST", str(tmp_path))
    name = request.param.name.removesuffix(".tar.xz")
    record = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    root = tmp_path / "root"
    make_home.unpack(request.param, root, record["made_at"])
    return SimpleNamespace(root=root, answers=record["answers"])


def differences(old, new, place=""):
    """Yield where *new* lacks something of *old*. New fields, and wording, do not count."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old.keys() - WORDING:
            if name not in new:
                yield f"{place}.{name} is missing"
            else:
                yield from differences(old[name], new[name], f"{place}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{place}[{number}]")
    elif old != new:
        yield f"{place}: was {old!r}, is {new!r}"


def open_lantern(old, agent="ada"):
    """Open the project that is in git, as its first session."""
    return vespera.open(old.root / "lantern", agent=agent, clock=make_home.later)


def test_an_old_home_reads_the_same(old):
    """Tasks, causes, artifacts, documents, worktrees, events: all as before."""
    answers = make_home.answers(old.root)
    for session in (*old.answers.values(), *answers.values()):
        if isinstance(session, dict):  # documents are named in capitals since: update() moves them
            session["check"] = [line for line in session["check"] if line[1] != "document"]
            session["found"] = sorted(session["found"])  # the ranking may get better
    assert list(differences(old.answers, answers)) == []


def test_documents_of_an_old_home_get_their_new_names(old):
    """What `check` says of them is mended by what it names, and nothing of them is lost."""
    with open_lantern(old) as orch:
        before = orch.documents.versions("docs/CHANGELOG.md")
        assert before
        assert {f.kind for f in orch.check().findings if f.severity == "warning"} == {"document"}
        orch.documents.update()
        assert "document" not in {finding.kind for finding in orch.check().findings}
        assert orch.documents.versions("docs/CHANGELOG.md")[: len(before)] == before


def test_work_in_progress_goes_on_in_its_worktree(old):
    """Files that nobody had saved are there, the checkpoint too, and the work lands."""
    with open_lantern(old) as orch:
        work = orch.execute_task("polish_frame", take_over=True)
        assert work.resumed_from.state == {"sides": 1}
        assert (work.path / "frame.txt").read_text() == "four bars, shining twice\n"
        assert (work.path / "cloth.txt").read_text() == "not saved yet\n"
        task = work.complete(summary="Polished", detailed_work="It shines.\n")
        assert task.status == "completed"
        assert not work.path.exists()
        assert landed(orch, "frame.txt") == "four bars, shining twice\n"
        assert landed(orch, "oil.txt") == "a jug\n"
        assert orch.check().errors == ()


def test_work_that_waited_for_its_merge_is_merged(old):
    """What was handed in to be merged later is merged, and what waited for it is ready."""
    with open_lantern(old) as orch:
        assert orch.why("light_up").causes
        orch.worktrees.merge("weave_wick")
        assert orch.get_task("weave_wick").status == "completed"
        assert landed(orch, "wick.txt") == "cotton\n"
        assert orch.why("light_up").ready


def test_a_recovery_leads_back_to_the_checkpoint(old):
    """Completing the recovery of an old failure starts the task again where it had stopped."""
    with open_lantern(old) as orch:
        orch.complete_task("recover_cut_glass", summary="Thicker glass", detailed_work="Done.\n")
        assert orch.execute_task("cut_glass").resumed_from.state == {"panes": 2}


def test_an_old_export_and_an_old_backup_can_be_used(old, tmp_path):
    """The export is taken into an empty home, and both it and the backup hold the same tasks."""
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    with vespera.open(fresh, clock=make_home.later) as orch:
        orch.import_(old.root / "export.jsonl")
        imported = [make_home.plain(task) for task in orch.query_tasks(limit=None)]
        assert list(differences(old.answers["backup"], imported)) == []
        assert orch.check().errors == ()
        prices = [a for a in orch.artifacts.list(include_superseded=True) if a.title == "Prices"]
        assert sorted(artifact.version for artifact in prices) == [1, 2, 3]


def test_the_settings_of_an_old_home_hold(old):
    """Every setting is understood: where worktrees go, their branches, the check, the documents."""
    with open_lantern(old, agent="eve") as orch:
        worktree = orch.worktrees.create("show_off")
        assert worktree.branch == "job/any/show_off"
        assert worktree.path == str(old.root / "worktrees" / "lantern" / "show_off")
        assert orch.documents.update() is not None
        assert orch.repair().left.errors == ()


def landed(orch, name):
    """Return a file of the integration branch."""
    command = ["git", "show", f"assembly:{name}"]
    run = subprocess.run(command, cwd=orch.project, check=True, capture_output=True, text=True)
    return run.stdout

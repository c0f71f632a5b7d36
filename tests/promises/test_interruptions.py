"""Ctrl-C between any two lines of a call: no file stays open when the object is gone."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support.lines import run_traced
from vespera_orchestrator.home import files

SOURCE = str(Path(vespera.__file__).parent)
MOST = 8
"""How many lines are tried where not all are."""


def work(folder):
    """Open a home, do a little of everything, and close it."""
    folder.mkdir()
    with vespera.open(folder) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("One")
        held = orch.execute_task("one")
        held.checkpoint({"half": True})
        held.save_artifact("Notes", "text")
        held.complete(summary="done", detailed_work="# One\n")
        orch.backup(folder.parent / f"{folder.name}-backup")


def open_files():
    """Return what this process has open, by number."""
    places = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            places[entry.name] = str(entry.readlink())
        except FileNotFoundError:  # the one that listed them
            continue
    return places


def leaks_at(line, folder):
    """Interrupt the work where this line first runs; return what stays open."""
    is_over = False

    def interrupt(current):
        nonlocal is_over
        if current == line and not is_over:
            is_over = True
            raise KeyboardInterrupt

    before = open_files()
    # Python swallows what is raised while it disposes of an object.
    with suppress(KeyboardInterrupt):
        run_traced(lambda: work(folder), SOURCE, interrupt)
    gc.collect()
    return [place for number, place in open_files().items() if number not in before]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("most", [MOST, pytest.param(None, marks=pytest.mark.soak)])
def test_ctrl_c_leaves_no_file_open(tmp_path, most):
    """Wherever it comes."""
    work(tmp_path / "warm")
    lines = {}
    run_traced(lambda: work(tmp_path / "counted"), SOURCE, lines.setdefault)
    chosen = list(lines)
    assert len(chosen) > 1000
    step = 1 if most is None else len(chosen) // most
    leaks = {}
    for number, line in enumerate(chosen[::step]):
        leaked = leaks_at(line, tmp_path / f"n{number}")
        if leaked:
            leaks[line] = leaked
    assert leaks == {}


@pytest.mark.parametrize("sync", [files.sync_file, files.sync_folder])
def test_ctrl_c_while_something_is_put_on_disk(tmp_path, monkeypatch, sync):
    """Also while the disk is being waited for."""
    place = tmp_path / "file"
    place.touch()

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    before = open_files()
    with pytest.raises(KeyboardInterrupt):
        sync(place if sync is files.sync_file else tmp_path)
    assert open_files() == before

"""A home to maintain."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from support.homes import do_some_of_everything


@pytest.fixture
def orch(tmp_path, clock):
    """A home in which there was some of everything."""
    folder = tmp_path / "project"
    folder.mkdir()
    with vespera.open(folder, clock=clock) as opened:
        do_some_of_everything(opened)
        yield opened

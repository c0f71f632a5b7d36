"""How durable a home is: one setting, for rows and for git alike."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera


@pytest.mark.parametrize(
    ("words", "line", "is_durable"),
    [
        ({}, "", True),
        ({"durability": "full"}, "", True),
        ({"durability": "normal"}, "", False),
        ({}, 'durability = "normal"', False),
        ({"durability": "full"}, 'durability = "normal"', True),
        ({"store": "sqlite:///orchestrator.db?durability=normal"}, "", False),
        ({"store": "sqlite:///orchestrator.db?durability=full", "durability": "normal"}, "", True),
    ],
)
def test_rows_and_git_are_relaxed_alike(
    project,
    monkeypatch,
    words,
    line,
    is_durable,
):
    """Argument, address and setting relax git as they relax SQLite; what a call names wins."""
    monkeypatch.chdir(project.folder)
    with vespera.open(project.folder) as orch:
        orch.initialize_session("make the home")
        config = orch.home / "config.toml"
    config.write_text(f"[store]\n{line}\n", "utf-8")
    with vespera.open(project.folder, **words) as orch:
        repository = orch._rooms.worktrees._repository()
        assert repository.is_durable is is_durable


def test_an_unknown_durability_is_refused(project):
    """A word that is neither is refused with the two, whatever kind of store it is."""
    with pytest.raises(vespera.InvalidInputError, match="neither 'full' nor 'normal'"):
        vespera.open(project.folder, store="memory:", durability="fast")

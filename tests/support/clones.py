"""Clones of one repository, each with a home of its own, on one store."""

from __future__ import annotations

import contextlib

import pytest

import vespera_orchestrator as vespera
from support.git_project import git, make_repository


class Team:
    """Three clones, A, B and C, whose homes have one store and one content store."""

    def __init__(self, room, store):
        self.room = room
        self.store = store
        self.content = f"file://{room}/content"
        self.session = None
        self.opened = contextlib.ExitStack()
        first = make_repository(self.folder("a"), {"f.txt": "first\n"})
        for name in ("b", "c"):
            self.folder(name).parent.mkdir()
            git(room, "clone", "-q", str(first), str(self.folder(name)))

    def folder(self, name):
        """Return where the clone of this name is."""
        return self.room / name / "project"

    def configure(self, name, text):
        """Write the clone's ``config.toml``."""
        home = self.folder(name) / ".task_orchestrator"
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(text)

    def open(self, name, **changes):
        """Open the clone's home; the first one that is opened starts the session."""
        usual = {"store": self.store, "content": self.content, "agent": f"agent {name}"}
        orch = vespera.open(self.folder(name), **usual | {"session": self.session} | changes)
        self.opened.enter_context(orch)
        if self.session is None:
            self.session = orch.initialize_session("shared").id
        return orch


@pytest.fixture
def team(tmp_path, identity):  # noqa: ARG001 - git must know who commits
    """Three clones with homes of their own on one SQLite store."""
    team = Team(tmp_path, f"sqlite:///{tmp_path}/shared.db")
    with team.opened:
        yield team


@pytest.fixture(params=["sqlite", "postgresql"])
def any_team(request, tmp_path, identity):  # noqa: ARG001 - git must know who commits
    """Three clones with homes of their own, once for each kind of store."""
    store = f"sqlite:///{tmp_path}/shared.db"
    if request.param == "postgresql":
        store = request.getfixturevalue("empty_postgres_url")
    team = Team(tmp_path, store)
    with team.opened:
        yield team

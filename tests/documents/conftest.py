"""A project with documents, for the tests that need a whole one."""

from __future__ import annotations

import pytest

from support.documents import Project


@pytest.fixture
def make_project(tmp_path):
    """Make a project in the test's folder, and close its store afterwards."""
    projects = []

    def make(project_type: str | None = "software_development", **options) -> Project:
        projects.append(Project(tmp_path, project_type, **options))
        return projects[-1]

    yield make
    for project in projects:
        project.store.close()

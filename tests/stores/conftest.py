"""What the tests of each store need."""

from __future__ import annotations

import pytest

from support.stores import start_session


@pytest.fixture
def session_id(store):
    """A session in the test's store."""
    return start_session(store).id

"""An address that cannot be used is refused in our words, and no password in it is shown."""

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.stores.sql.address import masked


@pytest.mark.parametrize(
    "address",
    ["postgresql://ada:pw1@host/x", "postgres:/ada:pw1@x", "ada:/x:pw1@h", "x?password=pw1&a=b"],
)
def test_a_password_is_masked(address):
    """The message that refuses an address repeats it."""
    assert "pw1" not in masked(address)
    assert "***" in masked(address)


def test_the_top_of_the_disk_is_no_database(tmp_path):
    """It has no name to which SQLite could add one for its log."""
    with pytest.raises(InvalidInputError, match="name a file in it"):
        vespera.open(tmp_path, store="sqlite:////")

"""No password of an address is shown, however the address was mistyped."""

import pytest

from vespera_orchestrator.stores.sql.address import masked


@pytest.mark.parametrize(
    "address",
    ["postgresql://ada:pw1@host/x", "postgres:/ada:pw1@x", "ada:/x:pw1@h", "x?password=pw1&a=b"],
)
def test_a_password_is_masked(address):
    """The message that refuses an address repeats it."""
    assert "pw1" not in masked(address)
    assert "***" in masked(address)

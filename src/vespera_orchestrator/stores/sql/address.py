"""The address of a store, as it may be shown."""

from __future__ import annotations

import re
from typing import Final

_MASK: Final = "***"
_USER_PASSWORD: Final = re.compile(r"([/:][^:@/?#]*):.*@")
"""As far as it can reach: rather hide too much than too little."""
_PASSWORD_PARAMETER: Final = re.compile(r"(?i)((?:ssl)?password\s*=\s*)[^&\s]*")


def masked(address: str) -> str:
    """Replace every password in *address* by three stars."""
    without_userinfo = _USER_PASSWORD.sub(rf"\1:{_MASK}@", address, count=1)
    return _PASSWORD_PARAMETER.sub(rf"\1{_MASK}", without_userinfo)


def without_password(address: str) -> str:
    """Return an address that says nothing of a password, so that the driver looks for one.

    libpq then takes it from ``PGPASSWORD`` or ``~/.pgpass``.
    """
    without_parameter = re.sub(r"(?i)(?:ssl)?password\s*=\s*[^&\s]*&?", "", address)
    return _USER_PASSWORD.sub(r"\1@", without_parameter, count=1).rstrip("?&")

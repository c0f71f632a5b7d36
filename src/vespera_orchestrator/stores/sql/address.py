"""The address of a store, as it may be shown."""

from __future__ import annotations

import re


def masked(address: str) -> str:
    """Replace every password in *address* by three stars."""
    # As far as it can reach: rather hide too much than too little.
    without_userinfo = re.sub(r"([/:][^:@/?#]*):.*@", r"\1:***@", address, count=1)
    return re.sub(r"(?i)((?:ssl)?password\s*=\s*)[^&\s]*", r"\1***", without_userinfo)

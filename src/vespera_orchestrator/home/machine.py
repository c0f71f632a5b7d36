"""The machine we run on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return what tells this run of the system from the one before it; empty where none is told."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""

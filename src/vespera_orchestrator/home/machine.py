"""The machine we run on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_STATISTICS: Final = Path("/proc/stat")


def boot_id() -> str:
    """Return the id of this boot of the system; empty if the system gives none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def started_at() -> float:
    """Return when the system was started, in seconds since 1970; 0 if the system does not say."""
    try:
        lines = _STATISTICS.read_text("ascii").splitlines()
    except OSError:
        return 0.0
    times = [line.split()[1] for line in lines if line.startswith("btime ")]
    return float(times[0]) if times else 0.0

"""The time zone of the person: a setting, or that of this machine."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.errors import InvalidInputError

if TYPE_CHECKING:
    from datetime import tzinfo

_OFFSET: Final = re.compile(r"UTC([+-])(\d\d):(\d\d)")
_LOCALTIME: Final = Path("/etc/localtime")
_RULES: Final = "/zoneinfo/"
"""Stands before the name in the path that ``/etc/localtime`` points to."""


def person_zone(setting: str | None) -> tzinfo:
    """Return the zone that the setting names, else that of this machine.

    Raises:
        InvalidInputError: The setting names no zone.
    """
    if setting:
        try:
            return zone_named(setting)
        except LookupError:
            raise InvalidInputError(
                "person.timezone", f"{setting!r} is no time zone; write for example Europe/Berlin"
            ) from None
    return _machine_zone()


def _machine_zone() -> tzinfo:
    name = os.environ.get("TZ", "").removeprefix(":") or _linked_name()
    try:
        return zone_named(name) if name else _offset_now()
    except LookupError:
        return _offset_now()  # a rule, such as CET-1CEST, which the C library reads


def _linked_name() -> str:
    try:
        target = str(_LOCALTIME.readlink())
    except OSError:
        return ""
    _, found, name = target.partition(_RULES)
    return name if found else ""


def _offset_now() -> tzinfo:
    """Return the distance from UTC now, where nothing names the zone."""
    zone = datetime.now(UTC).astimezone().tzinfo
    offset = None if zone is None else zone.utcoffset(None)
    if not offset:
        return UTC
    sign, size = ("-", -offset) if offset < timedelta() else ("+", offset)
    hours, minutes = divmod(size // timedelta(minutes=1), 60)
    return zone_named(f"UTC{sign}{hours:02}:{minutes:02}")


# --- names -------------------------------------------------------------------


def zone_named(name: str | None) -> tzinfo:
    """Return the time zone of this name, as `zone_name` writes it; UTC for ``None``.

    Raises:
        LookupError: There is no such zone, or its rules are not installed.
    """
    if name in {None, "UTC"}:
        return UTC
    offset = _OFFSET.fullmatch(str(name))
    if offset is not None:
        sign = -1 if offset[1] == "-" else 1
        return timezone(sign * timedelta(hours=int(offset[2]), minutes=int(offset[3])))
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(str(name))
    except (ValueError, OSError) as exc:  # a path, or a folder
        raise LookupError(str(name)) from exc


def zone_name(zone: tzinfo) -> str:
    """Return the name under which `zone_named` finds the zone again."""
    key = getattr(zone, "key", None)
    if isinstance(key, str):
        return key
    return str(zone)

"""Which home this is: an id that stays when the home is moved, and that no copy of it shares.

Rows of a store may be about folders and refs that only one home has. They carry its id, so that
another home with the same store, or a copy with a copy of the store, leaves them alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import new_id
from vespera_orchestrator.home.files import sync_folder, translate_os_error, write_atomically
from vespera_orchestrator.home.reading import read_json

_MACHINE_ID: Final = Path("/etc/machine-id")
HOME_ID_FILE: Final = "home_id"


def machine_name() -> str:
    """Return what people call this machine."""
    return platform.node() or "a machine without a name"


@attrs.frozen(kw_only=True)
class HomeId:
    """What the file says: the id, and where the home was when it was written."""

    id: str
    path: str
    inode: int
    machine: str


def find_home_id(home: Path) -> HomeId | None:
    """Return what the home in this folder notes about itself, and write nothing."""
    return _read(home / HOME_ID_FILE)


def look_up_home_id(home: Path) -> str:
    """Return the id that `read_home_id` would return, and write nothing.

    A home that has none yet has made nothing that could carry one. So it gets one that is nobody's.
    """
    noted = find_home_id(home)
    here = _here(home)
    if noted is None:
        return here.id
    return noted.id if _is_same(noted, here) else _id_of_copy(noted, here)


def _here(home: Path) -> HomeId:
    """Describe the home as it is now, with a new id."""
    inode = home.stat().st_ino
    return HomeId(id=new_id("h"), path=str(home), inode=inode, machine=_machine_id())


def read_home_id(home: Path) -> str:
    """Return the id of the home in this folder, and make one where it has none of its own.

    Several processes may ask at once: all of them get the same.

    Raises:
        ReadOnlyError: It has none yet, and cannot be written.
    """
    file = home / HOME_ID_FILE
    try:
        here = _here(home)
        noted = _read(file)
        if noted is None:
            return _make(file, here)
        if not _is_same(noted, here):
            here = attrs.evolve(here, id=_id_of_copy(noted, here))
            _write(file, here)
            return here.id
        if noted.inode != here.inode:  # restored, or moved to another disk
            _write(file, attrs.evolve(here, id=noted.id))
    except OSError as exc:
        raise translate_os_error(exc, file) from exc
    return noted.id


def _is_same(noted: HomeId, here: HomeId) -> bool:
    """Tell whether the home is the one that was noted, and not a copy of it."""
    if noted.inode == here.inode:
        return True  # it was moved, or a container sees it at another place
    if noted.machine != here.machine:
        return False
    if noted.path == here.path:
        return True  # it was restored in its place
    original = _read(Path(noted.path) / HOME_ID_FILE)
    return original is None or original.id != noted.id


def _id_of_copy(noted: HomeId, here: HomeId) -> str:
    """Return the same new id to every process that finds the copy."""
    text = f"{noted.id} {here.machine} {here.inode} {here.path}"
    return "h_" + hashlib.sha256(os.fsencode(text)).hexdigest()[:12]


def _machine_id() -> str:
    """Return what tells this machine from others, in a form that gives nothing away."""
    try:
        text = _MACHINE_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        text = ""
    return hashlib.sha256(f"vespera {text or platform.node()}".encode()).hexdigest()[:12]


def _read(file: Path) -> HomeId | None:
    try:
        fields: dict[str, Any] = read_json(file)
        noted = HomeId(**fields)
    except (OSError, ValueError, TypeError, RecursionError):
        return None  # absent, or damaged
    texts = [fields[name] for name in ("id", "path", "machine")]
    is_sound = all(isinstance(text, str) and text.isprintable() for text in texts)
    return noted if is_sound and type(fields["inode"]) is int else None


def _make(file: Path, home_id: HomeId) -> str:
    """Write a first id; where another process was faster, return that one's."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    _write(temporary, home_id)
    try:
        if _read(file) is None:
            with suppress(FileNotFoundError):
                if not file.stat().st_size:
                    file.unlink()
        os.link(temporary, file)
    except FileExistsError:
        winner = _read(file)
        if winner is None:  # damaged
            _write(file, home_id)
            return home_id.id
        return winner.id
    except OSError:  # a file system without hard links
        _write(file, home_id)
    finally:
        temporary.unlink(missing_ok=True)
        sync_folder(file.parent)
    return home_id.id


def _write(file: Path, home_id: HomeId) -> None:
    write_atomically(file, json.dumps(attrs.asdict(home_id)) + "\n")

"""Who may read and write a home: its user alone, or a group as well.

One rule makes it so: what lies in a folder that is closed to others has the rights of that folder.
So whoever makes a file looks at the folder, and needs to know no setting.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PRIVATE_FOLDER: Final = 0o700
_SHARED_FOLDER: Final = 0o2770
"""New files in it belong to the group of the folder."""
_OTHERS: Final = 0o007
_NOT_OURS: Final = "worktrees"
"""Git and the agents decide about what is in there."""


def settle(home: Path, *, for_group: bool) -> None:
    """Give a home its rights; where it had others, also all that is in it.

    Usually that is two looks. A home of another user stays as it is: only its owner can change it.
    Where the file system knows no rights, nothing is done.
    """
    if os.name == "nt":
        return
    mode = _SHARED_FOLDER if for_group else _PRIVATE_FOLDER
    with suppress(OSError):
        status = home.stat()
        if status.st_uid != os.geteuid():
            return
        if stat.S_IMODE(status.st_mode) != mode:
            home.chmod(mode)
        elif _is_alike(home / "artifacts", mode, status.st_gid):
            return
        share_with(home)


def is_shared(home: Path) -> bool:
    """Tell whether a group may write in a home."""
    return bool(_rights(home) & stat.S_IWGRP)


def was_made_shared(home: Path) -> bool:
    """Tell whether a home has the rights that `settle` gives to one for a group."""
    return _rights(home) == _SHARED_FOLDER


def _rights(home: Path) -> int:
    """Return the rights of a home, none if there is none."""
    try:
        return stat.S_IMODE(home.stat().st_mode)
    except OSError:
        return 0


def _is_alike(folder: Path, mode: int, group: int) -> bool:
    status = folder.stat()
    is_of_group = status.st_gid == group or mode == _PRIVATE_FOLDER
    return stat.S_IMODE(status.st_mode) == mode and is_of_group


def share_with(folder: Path) -> None:
    """Give all that is in a folder the rights that the folder has, as far as it is ours.

    Call it after somebody else's code has written there. No link is followed.
    """
    status = folder.stat()
    for_group = is_shared(folder)
    for entry in _entries(os.fspath(folder)):
        with suppress(OSError):
            own = entry.stat(follow_symlinks=False)
            if not entry.is_dir(follow_symlinks=False) and own.st_nlink > 1:
                continue  # it belongs to a store of contents as well
            rights = stat.S_IMODE(own.st_mode)
            wanted = _folder_or_file_mode(rights, entry, for_group=for_group)
            if for_group and own.st_gid != status.st_gid:
                os.chown(entry.path, -1, status.st_gid, follow_symlinks=False)
            if wanted != rights:
                os.chmod(entry.path, wanted)


def _folder_or_file_mode(rights: int, entry: os.DirEntry[str], *, for_group: bool) -> int:
    if entry.is_dir(follow_symlinks=False):
        return _SHARED_FOLDER if for_group else _PRIVATE_FOLDER
    own = rights & stat.S_IRWXU
    return own | own >> 3 if for_group else own


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() or entry.name == _NOT_OURS:
                continue
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path)


# --- making files -------------------------------------------------------------


def file_mode_in(folder: str | Path) -> int:
    """Return which rights a new file in *folder* gets: those of the folder, or the usual ones."""
    try:
        rights = Path(folder).stat().st_mode
    except OSError:
        return usual_file_mode()
    return usual_file_mode() if rights & _OTHERS else rights & 0o660


def usual_file_mode() -> int:
    """Return which rights this process gives to new files."""
    return 0o666 & ~_umask()


def make_folder(folder: str | Path) -> None:
    """Make a folder, and those above it, with the rights of the first that is there already."""
    path = Path(folder)
    if path.is_dir():
        return
    missing = [above for above in (path, *path.parents) if not above.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for new in reversed(missing):
        inherit_rights(new)


def inherit_rights(folder: Path) -> None:
    """Give a new folder the rights of the one around it, where that is closed to others."""
    with suppress(OSError):
        rights = stat.S_IMODE(folder.parent.stat().st_mode)
        if not rights & _OTHERS and stat.S_IMODE(folder.stat().st_mode) != rights:
            folder.chmod(rights)


def _umask() -> int:
    # The only way to ask for it is to set it. 0o022 is what it nearly always is, and leaves the
    # other threads alone.
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0o022
    mask = re.search(r"^Umask:\s*(\d+)", status, re.MULTILINE)
    return 0o022 if mask is None else int(mask[1], 8)

"""The file system that a database would lie on.

SQLite's log needs memory that all its users share, which no network file system provides.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")
_NETWORK: Final = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|afs|auristorfs|ncpfs|coda|ceph|lustre|gpfs|beegfs|orangefs|glusterfs|ocfs2|gfs2"
    r"|fuse\.(sshfs|glusterfs|ceph|s3fs|goofys|rclone|gcsfuse|davfs2?|mount-s3|juicefs|blobfuse2?|cephfs.*)"
)

_POINT: Final = 4
"""Which word of a line is the mount point, counted from 0."""
_OCTAL: Final = re.compile(r"\\(\d{3})")
"""A character of a path that stands as a number, such as a space."""


def network_file_system(folder: Path) -> str | None:
    """Return the kind of network file system that *folder* is on, or ``None``. Linux only.

    The table of mounts is read only if the device does not have a disk's number. That is rare, so
    opening a store stays cheap.
    """
    try:
        if os.major(folder.stat().st_dev) != 0 or not MOUNTS.exists():
            return None
        kind = kind_of_mount(MOUNTS.read_text("utf-8", "surrogateescape"), folder.resolve())
    except OSError:
        return None
    return kind if kind is not None and _NETWORK.fullmatch(kind) else None


def kind_of_mount(table: str, path: Path) -> str | None:
    """Return the type of the file system that *path* is on.

    Args:
        table: The text of ``/proc/self/mountinfo``; see proc(5).
        path: An absolute path.
    """
    kind: str | None = None
    depth = 0
    for line in table.splitlines():
        mount = _read_mount(line)
        if mount is None:
            continue
        point, its_kind = mount
        # Of two mounts on one point, the later one hides the earlier.
        if path.is_relative_to(point) and len(point.parts) >= depth:
            kind, depth = its_kind, len(point.parts)
    return kind


def _read_mount(line: str) -> tuple[Path, str] | None:
    """Return where a file system is mounted, and its type."""
    fields, _, after_separator = line.partition(" - ")
    words = fields.split(" ")
    if len(words) <= _POINT or not after_separator:
        return None
    point = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), words[_POINT])
    kind, *_ = after_separator.split(" ")
    return Path(point), kind

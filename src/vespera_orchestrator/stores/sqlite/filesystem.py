"""Which file system a database would lie on: SQLite's log needs memory that all its users share, which no network gives."""

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


def network_file_system(folder: Path) -> str | None:
    """Return the kind of network file system that *folder* is on, or ``None``. Known on Linux only.

    The table of mounts is read only where the device has no number of a disk's: that is nearly never, and opening stays cheap.
    """
    try:
        if os.major(folder.stat().st_dev) != 0 or not MOUNTS.exists():
            return None
        kind = kind_of_mount(MOUNTS.read_text("utf-8", "surrogateescape"), folder.resolve())
    except OSError:
        return None
    return kind if kind is not None and _NETWORK.fullmatch(kind) else None


def kind_of_mount(table: str, path: Path) -> str | None:
    """Return the type of the file system that *path* is on, by the text of ``/proc/self/mountinfo``; see proc(5)."""
    found: tuple[int, str] | None = None
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) < 5 or not after:  # noqa: PLR2004 - the fifth field is the mount point
            continue
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        # Of two mounts on one point the later hides the earlier.
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), kinds[0]
    return None if found is None else found[1]

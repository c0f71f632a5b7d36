"""Files of the home: written whole or not at all, and the errors of the system in our words."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from vespera_orchestrator.errors import ReadOnlyError, StoreUnavailableError


def write_atomically(path: Path, text: str) -> None:
    """Replace the file as a whole: a reader sees the old text or the new, whatever kills the writer."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    # The only way to read it is to set it; 0o022 is what it nearly always is, and keeps other threads safe.
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0o022
    mask = re.search(r"^Umask:\s*(\d+)", status, re.MULTILINE)
    return 0o022 if mask is None else int(mask[1], 8)


def translate_os_error(exc: OSError, path: Path) -> ReadOnlyError | StoreUnavailableError:
    """Turn an `OSError` from below the home into the branch of ours a caller can act on."""
    import errno

    if exc.errno in (errno.ENOTDIR, errno.EEXIST):
        return ReadOnlyError(
            str(exc.filename or path), "a file stands where a folder should be: move it away"
        )
    if exc.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return ReadOnlyError(str(path), exc.strerror or str(exc))
    if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreUnavailableError(
            str(path), f"no room to write ({exc.strerror}): free some disk space"
        )
    return StoreUnavailableError(str(path), f"the system said: {exc}")

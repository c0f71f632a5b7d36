"""Merge drivers: how ``.gitattributes`` and git's configuration say to merge some files.

A lock file or a changelog would be in conflict each time; ``merge=union`` keeps the lines of both
sides, and ``merge=NAME`` runs the command in ``merge.NAME.driver``. libgit2 runs no commands, so
they are run here as git does.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import GitFailedError
from vespera_orchestrator.home.environment import without_repository
from vespera_orchestrator.worktrees.git_config import read_settings

if TYPE_CHECKING:
    import pygit2

UNION: Final = "union"
_BUILT_IN: Final = frozenset({"text", "binary", UNION})
_TIMEOUT_S: Final = 300
_MARKER_SIZE: Final = 7
_CRASHED: Final = 128
"""Git takes a driver that exits with more than this for one that failed, not for a conflict."""


@attrs.frozen(kw_only=True)
class MergeDriver:
    """A command that merges files."""

    name: str
    command: str
    """With git's placeholders: ``%O`` base, ``%A`` ours and the result, ``%B`` theirs."""
    folder: str
    """Where it runs."""

    def merge(self, path: str, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        """Return the merged content; ``None`` where the command says that there is a conflict.

        Raises:
            GitFailedError: The command failed.
        """
        with tempfile.TemporaryDirectory(prefix="vespera-merge-") as room:
            sides = {"%O": base, "%A": ours, "%B": theirs}
            places: dict[str, str] = {}
            for placeholder, content in sides.items():
                place = Path(room, placeholder[1:])
                place.write_bytes(content)
                places[placeholder] = str(place)
            command = self._filled(places, path)
            code = self._run(command)
            return Path(places["%A"]).read_bytes() if code == 0 else None

    def _filled(self, places: dict[str, str], path: str) -> str:
        values = {key: shlex.quote(place) for key, place in places.items()}
        values["%L"] = str(_MARKER_SIZE)
        values["%P"] = shlex.quote(path)
        values.update({"%S": "base", "%X": "ours", "%Y": "theirs", "%%": "%"})
        parts: list[str] = []
        rest = self.command
        while rest:
            piece = rest[:2]
            parts.append(values.get(piece, rest[0]))
            rest = rest[2:] if piece in values else rest[1:]
        return "".join(parts)

    def _run(self, command: str) -> int:
        doing = f"run the merge driver {self.name}"
        try:
            run = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=self.folder,
                env=without_repository(os.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as exc:
            reason = f"it did not end within {_TIMEOUT_S} s; correct merge.{self.name}.driver"
            raise GitFailedError(doing, reason) from exc
        is_crash = run.returncode < 0 or run.returncode >= _CRASHED
        if is_crash or run.returncode in (126, 127):
            said = " ".join(run.stderr.decode("utf-8", "replace").split()) or command
            reason = f"{said[:300]}; correct git's setting merge.{self.name}.driver"
            raise GitFailedError(doing, reason)
        return run.returncode


class MergeDrivers:
    """Knows which driver merges a file of one repository."""

    def __init__(self, repo: pygit2.Repository) -> None:
        self._repo = repo
        self._settings: dict[str, str] | None = None

    def name_for(self, path: str) -> str | None:
        """Return the driver that ``.gitattributes`` names for *path*, if it is a usable one."""
        value = self._repo.get_attr(os.fsencode(path), "merge")
        if not isinstance(value, str):
            return None
        if value == UNION or self._command(value):
            return value
        return None

    def get(self, name: str) -> MergeDriver:
        """Return the driver of this name, which `name_for` has returned."""
        folder = self._repo.workdir or self._repo.path
        return MergeDriver(name=name, command=self._command(name), folder=folder)

    def _command(self, name: str) -> str:
        if name in _BUILT_IN:
            return ""
        if self._settings is None:
            self._settings = read_settings(self._repo)
        return self._settings.get(f"merge.{name}.driver", "")

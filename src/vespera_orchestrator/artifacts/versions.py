"""The versions of an artifact, and how two of them differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Artifact, ArtifactKind, ArtifactQuery
from vespera_orchestrator.artifacts.content.decoding import decoded
from vespera_orchestrator.artifacts.content.media_types import is_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from vespera_orchestrator.contracts import Store

_MOST_COMPARED_LINES: Final = 20_000
_MOST_COMPARED_BYTES: Final = 8_000_000
"""Comparing more would take minutes."""


def versions_of(store: Store, artifact: Artifact) -> list[Artifact]:
    """Return every version of *artifact*, the oldest first."""
    task_ids = None if artifact.task_id is None else (artifact.task_id,)
    candidates = store.artifacts(
        ArtifactQuery(
            session_id=artifact.session_id,
            task_ids=task_ids,
            title=artifact.title,
            include_superseded=True,
        )
    )
    versions = [other for other in candidates if _is_same_series(artifact, other)]
    return sorted(versions, key=lambda version: version.version)


def _is_same_series(artifact: Artifact, other: Artifact) -> bool:
    """Return whether both count as one artifact: files and what was written do not mix."""
    if other.task_id != artifact.task_id:
        return False
    return (other.kind == ArtifactKind.FILE) == (artifact.kind == ArtifactKind.FILE)


def nothing_before(artifact: Artifact) -> Artifact:
    """Return a record for comparing a first version with nothing."""
    return attrs.evolve(artifact, digest="", size_bytes=0, version=0)


def difference(
    before: Artifact,
    after: Artifact,
    read: Callable[[Artifact], bytes],
    *,
    context_lines: int,
) -> str:
    """Return a unified diff; empty when the bytes are the same.

    Args:
        before: The older version; see `nothing_before`.
        after: The newer version.
        read: Returns the bytes of a version.
        context_lines: How many unchanged lines to show around a change.
    """
    if not _is_comparable(before) or not _is_comparable(after):
        return _summary(before, after)
    import difflib

    before_lines = _lines(read(before)) if before.digest else []
    after_lines = _lines(read(after))
    if max(len(before_lines), len(after_lines)) > _MOST_COMPARED_LINES:
        return _summary(before, after)
    diff = difflib.unified_diff(
        before_lines, after_lines, _name(before), _name(after), n=context_lines
    )
    return "".join(map(_with_line_end, diff))


def _is_comparable(artifact: Artifact) -> bool:
    """Return whether the content can be compared by line, within a moment."""
    if artifact.size_bytes > _MOST_COMPARED_BYTES:
        return False
    return is_text(artifact.media_type)


def _lines(content: bytes) -> list[str]:
    return decoded(content).splitlines(keepends=True)


def _with_line_end(line: str) -> str:
    if line.endswith("\n"):
        return line
    return f"{line}\n\\ No newline at end of file\n"


def _summary(before: Artifact, after: Artifact) -> str:
    """Say in a line how contents differ that are not compared by line."""
    if before.digest == after.digest:
        return ""
    return (
        f"--- {_name(before)}\n"
        f"+++ {_name(after)}\n"
        f"{_content_summary(before)} -> {_content_summary(after)}\n"
    )


def _content_summary(artifact: Artifact) -> str:
    if not artifact.digest:
        return "nothing"
    digest = artifact.digest[:12]
    return f"{artifact.media_type}, {artifact.size_bytes:,} bytes, sha256 {digest}"


def _name(artifact: Artifact) -> str:
    words = artifact.title.split()
    name = f"{' '.join(words)} v{artifact.version}"
    if not artifact.digest:
        return name
    return f"{name} ({artifact.id})"

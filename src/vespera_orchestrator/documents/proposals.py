"""What we would write where a person has edited: kept as artifacts until somebody answers.

The text of a person stays in the document. Ours, brought together with their edit where that goes
without a conflict, waits beside it.
"""

from __future__ import annotations

import difflib
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import Artifact, ArtifactDraft, ArtifactKind, ArtifactQuery
from vespera_orchestrator._records import Record
from vespera_orchestrator.home.reading import read_content

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.contracts import ContentStore
    from vespera_orchestrator.home.scope import Scope

_CONTEXT_LINES: Final = 2
_PIECE: Final = re.compile(r"\S+|\s+")
_MOST_PIECES: Final = 10_000
"""More are not compared word by word: it would take seconds."""


class Answer(StrEnum):
    """What became of a proposal."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    MOOT = "moot"
    """The edit that it was about is gone."""


@attrs.frozen(kw_only=True)
class Proposal(Record):
    """What we would write into a section that a person has edited.

    ``orch.documents.accept(proposal)`` writes it; ``orch.documents.decline(proposal)`` leaves the
    section as it is until there is something else to say.
    """

    id: str
    """The artifact that keeps it."""
    path: str
    """The document, relative to the project's folder."""
    section: str
    """The section."""
    theirs: str
    """What the section says now."""
    text: str
    """What it would say. Where no line was changed by both sides, their edit is in it."""

    @property
    def diff(self) -> str:
        """How the section would change."""
        return unified_diff(self.theirs, self.text, f"{self.path}, section {self.section}")

    def __str__(self) -> str:
        return f"{self.path}, section {self.section}: {self.id}\n{self.diff}"


def unified_diff(
    old: str, new: str, name: str, labels: tuple[str, str] = ("now", "proposed")
) -> str:
    """Return the difference of two texts, as people read it; empty when there is none."""
    before, after = labels
    lines = difflib.unified_diff(
        old.splitlines(),
        new.splitlines(),
        f"{name} ({before})",
        f"{name} ({after})",
        n=_CONTEXT_LINES,
        lineterm="",
    )
    return "\n".join(lines)


class Proposals:
    """Keeps proposals: an open one is an artifact that is marked as partial.

    Args:
        scope: Knows the store.
        content: Where the texts are.
    """

    def __init__(self, scope: Scope, content: ContentStore) -> None:
        self._scope = scope
        self._content = content

    def open(self, path: str | None = None) -> list[Artifact]:
        """Return the open ones, the oldest first; of one document if *path* names it."""
        query = ArtifactQuery(kind=ArtifactKind.PROPOSAL, partial=True)
        artifacts = self._scope.store.artifacts(query)
        return [
            artifact
            for artifact in artifacts
            if path is None or artifact.metadata.get("document") == path
        ]

    def read(self, artifact: Artifact, theirs: str) -> Proposal:
        """Return a proposal.

        Args:
            artifact: What keeps it.
            theirs: What the section says now.
        """
        return Proposal(
            id=artifact.id,
            path=str(artifact.metadata["document"]),
            section=str(artifact.metadata["section"]),
            theirs=theirs,
            text=read_content(self._content, artifact.digest, artifact.size_bytes).decode(),
        )

    def make(
        self, path: str, section: str, text: str, *, due: str, session_id: str
    ) -> Artifact | None:
        """Open a proposal, unless one with the same reason was answered or is open.

        Args:
            path: The document.
            section: The section.
            text: What it would say.
            due: What the section would say if nobody had edited it.
            session_id: The session that it is about.

        Returns:
            What keeps it; ``None`` if nothing was opened.
        """
        title = _title(path, section)
        due_digest, _ = self._content.put(due.encode())
        latest = self._latest(title)
        is_answered = latest is not None and latest.metadata.get("answer") != Answer.MOOT
        if latest is not None and is_answered and latest.metadata.get("due") == due_digest:
            return None
        metadata = {"document": path, "section": section, "due": due_digest}
        owner = session_id if latest is None else latest.session_id
        return self._save(owner, title, text, metadata)

    def answer(self, artifact: Artifact, answer: Answer) -> None:
        """Close a proposal."""
        metadata = {**artifact.metadata, "answer": str(answer)}
        draft = ArtifactDraft(
            title=artifact.title,
            digest=artifact.digest,
            size_bytes=artifact.size_bytes,
            kind=ArtifactKind.PROPOSAL,
            metadata=metadata,
        )
        self._put(artifact.session_id, draft)

    def _latest(self, title: str) -> Artifact | None:
        query = ArtifactQuery(kind=ArtifactKind.PROPOSAL, title=title, newest_first=True, limit=1)
        artifacts = self._scope.store.artifacts(query)
        return artifacts[0] if artifacts else None

    def _save(
        self, session_id: str, title: str, text: str, metadata: dict[str, JsonValue]
    ) -> Artifact:
        digest, size = self._content.put(text.encode())
        draft = ArtifactDraft(
            title=title,
            digest=digest,
            size_bytes=size,
            kind=ArtifactKind.PROPOSAL,
            metadata=metadata,
            partial=True,
        )
        return self._put(session_id, draft)

    def _put(self, session_id: str, draft: ArtifactDraft) -> Artifact:
        return self._scope.store.save_artifact(
            session_id, draft, task_id=None, attempt=None, agent=self._scope.agent
        )


def _title(path: str, section: str) -> str:
    return f"Proposal for {path}, section {section}"


# --- bringing two texts together ----------------------------------------------


def merge(base: str, theirs: str, ours: str) -> str | None:
    """Return *base* with the changes of both sides; ``None`` where they touch the same words."""
    by_line = merge_lines(base, theirs, ours)
    if by_line is not None:
        return by_line
    pieces = [_PIECE.findall(text) for text in (base, theirs, ours)]
    if max(map(len, pieces)) > _MOST_PIECES:
        return None
    merged = _merge_pieces(*pieces)
    return None if merged is None else "".join(merged)


def merge_lines(base: str, theirs: str, ours: str) -> str | None:
    """Return *base* with the changes of both sides; ``None`` where they touch the same lines."""
    if theirs in (base, ours):
        return ours
    if ours == base:
        return theirs
    lines = (text.split("\n") for text in (base, theirs, ours))
    merged = _merge_pieces(*lines)
    return None if merged is None else "\n".join(merged)


def _merge_pieces(base: list[str], theirs: list[str], ours: list[str]) -> list[str] | None:
    their_changes = list(_changes(base, theirs))
    our_changes = list(_changes(base, ours))
    if any(_collide(one, other) for one in their_changes for other in our_changes):
        return None
    merged = list(base)
    # From the end, so that the positions before stay right.
    for change in sorted({*their_changes, *our_changes}, reverse=True):
        start, end, replacement = change
        merged[start:end] = replacement
    return merged


_Change = tuple[int, int, tuple[str, ...]]
"""The pieces of the base from, and up to, and what stands there instead."""


def _changes(base: Sequence[str], changed: Sequence[str]) -> Iterator[_Change]:
    matcher = difflib.SequenceMatcher(None, base, changed, autojunk=False)
    for tag, start, end, first, last in matcher.get_opcodes():
        if tag != "equal":
            yield start, end, tuple(changed[first:last])


def _collide(one: _Change, other: _Change) -> bool:
    if one == other:
        return False
    (start, end, _), (other_start, other_end, _) = one, other
    if start == end == other_start == other_end:
        return True  # two insertions at one place: nobody knows which comes first
    return start < other_end and other_start < end

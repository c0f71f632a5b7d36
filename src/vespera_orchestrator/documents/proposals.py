"""What we would write where a person has edited: kept as artifacts until somebody answers.

The text of a person stays in the document. Ours, brought together with their edit where that goes
without a conflict, waits beside it.
"""

from __future__ import annotations

import difflib
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Artifact, ArtifactDraft, ArtifactKind, ArtifactQuery
from vespera_orchestrator._records import Record
from vespera_orchestrator.home.reading import read_content

if TYPE_CHECKING:
    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.contracts import ContentStore
    from vespera_orchestrator.home.scope import Scope

_CONTEXT_LINES: Final = 2


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

    def open(self) -> list[Artifact]:
        """Return the open ones, the oldest first."""
        query = ArtifactQuery(kind=ArtifactKind.PROPOSAL, partial=True)
        return list(self._scope.store.artifacts(query))

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

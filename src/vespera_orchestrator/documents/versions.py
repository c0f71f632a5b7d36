"""Every recorded state of the documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._model import DocumentVersion, utcnow
from vespera_orchestrator.documents.sections import MarkerError, section_contents
from vespera_orchestrator.errors import DocumentUpdateError

if TYPE_CHECKING:
    from vespera_orchestrator.contracts import ContentStore
    from vespera_orchestrator.home.scope import Scope


class DocumentVersions:
    """Reads and records versions: the records are in the store, the texts in the content store.

    Args:
        scope: Knows the store.
        content: Where the texts are.
    """

    def __init__(self, scope: Scope, content: ContentStore) -> None:
        self._scope = scope
        self._content = content

    def of(self, path: str) -> list[DocumentVersion]:
        """Return the versions of a document, the oldest first."""
        versions = self._scope.store.document_versions(path)
        return sorted(versions, key=lambda version: version.version)

    def read(self, version: DocumentVersion) -> str:
        """Return the text of a version, line ends as they were.

        Raises:
            DocumentUpdateError: It is not UTF-8.
            CorruptContentError: Its bytes are missing or damaged.
        """
        try:
            return self._content.read(version.digest).decode()
        except UnicodeDecodeError as exc:
            reason = f"version {version.version} is not UTF-8"
            raise DocumentUpdateError(version.path, reason) from exc

    def ever_had(self, path: str, section: str, content: str) -> bool:
        """Tell whether a version has this content in a section.

        Older ones count as well: a checkout may have brought an old file back.
        """
        for version in reversed(self.of(path)):
            if self._contents(version).get(section) == content:
                return True
        return False

    def _contents(self, version: DocumentVersion) -> dict[str, str]:
        try:
            return section_contents(self.read(version))
        except (DocumentUpdateError, MarkerError):
            return {}

    def keep(self, path: str, content: bytes, event_seq: int, session_id: str) -> DocumentVersion:
        """Record *content* unless some version has it already. The caller holds the lock."""
        digest, _ = self._content.put(content)
        versions = self.of(path)
        for version in versions:
            if version.digest == digest:
                return version
        return self._add(versions, path, digest, event_seq, session_id)

    def record(self, path: str, content: bytes, event_seq: int, session_id: str) -> DocumentVersion:
        """Record *content* unless the latest version has it. The caller holds the lock."""
        digest, _ = self._content.put(content)
        versions = self.of(path)
        if versions and versions[-1].digest == digest:
            return versions[-1]
        return self._add(versions, path, digest, event_seq, session_id)

    def _add(
        self,
        earlier: list[DocumentVersion],
        path: str,
        digest: str,
        event_seq: int,
        session_id: str,
    ) -> DocumentVersion:
        version = DocumentVersion(
            path=path,
            version=earlier[-1].version + 1 if earlier else 1,
            digest=digest,
            event_seq=event_seq,
            created_at=utcnow(),
        )
        return self._scope.store.put_document(version, session_id)

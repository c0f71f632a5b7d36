"""Every recorded state of the documents."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import DocumentVersion, utcnow
from vespera_orchestrator.documents.entries import differs_by_foreign_entries
from vespera_orchestrator.documents.markdown import read_alike
from vespera_orchestrator.documents.sections import MarkerError, section_contents
from vespera_orchestrator.errors import CorruptContentError, DocumentUpdateError
from vespera_orchestrator.home.reading import MOST_STATE_BYTES, read_content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator.contracts import ContentStore
    from vespera_orchestrator.documents.entries import IsForeign
    from vespera_orchestrator.home.scope import Scope

ExplainMissing: TypeAlias = Callable[[CorruptContentError, str, str], CorruptContentError]
_MOST_COMPARED: Final = 20
"""How many of the latest versions are compared entry by entry."""


class DocumentVersions:
    """Reads and records versions: the records are in the store, the texts in the content store.

    Args:
        scope: Knows the store.
        content: Where the texts are.
        former_path: Returns where the document at a path was kept earlier.
        keeper: Returns the home that has the texts, if only its own folder does.
        explain: Returns the error that says where a text is which is missing here, given the error,
            the home that recorded the version, and its name.
    """

    def __init__(
        self,
        scope: Scope,
        content: ContentStore,
        former_path: Callable[[str], str | None],
        keeper: Callable[[], str],
        explain: ExplainMissing,
    ) -> None:
        self._scope = scope
        self._content = content
        self._former_path = former_path
        self._keeper = keeper
        self._explain = explain
        self._cache: dict[str, dict[str, str]] = {}
        """The sections of texts, by digest."""

    def drop_memory(self) -> None:
        """Forget the sections of texts that were read."""
        self._cache.clear()

    def of(self, path: str) -> list[DocumentVersion]:
        """Return the versions of a document, the oldest first.

        Those that were recorded under a former path come first.
        """
        versions = self._scope.store.document_versions(path)
        former = self._former_path(path)
        if former is not None and former != path:
            versions = [*self._scope.store.document_versions(former), *versions]
        return sorted(versions, key=lambda version: version.version)

    def _latest(self, path: str) -> DocumentVersion | None:
        """Return the latest version of a document; ``None`` before there is one."""
        names = (self._former_path(path) or path, path)
        latest = [each for each in self._scope.store.document_versions() if each.path in names]
        return max(latest, key=lambda each: (each.version, names.index(each.path)), default=None)

    def _newest_first(self, path: str) -> Iterator[DocumentVersion]:
        """Yield the versions of a document. The many older ones are read when they are wanted.

        A document that was written under another name, and was moved by hand since, has none under
        its own: it says what the latest version of some document says.
        """
        latest = self._latest(path)
        if latest is None:
            yield from self._scope.store.document_versions()
            return
        yield latest
        yield from reversed(self.of(path)[:-1])

    def sections_of(self, path: str) -> frozenset[str]:
        """Return the sections that a document had when it was last recorded."""
        latest = self._latest(path)
        return frozenset() if latest is None else frozenset(self._contents(latest))

    def read(self, version: DocumentVersion) -> str:
        """Return the text of a version, line ends as they were.

        Raises:
            DocumentUpdateError: It is not UTF-8.
            ContentElsewhereError: Another home has it; the error says how to bring it.
            CorruptContentError: Its bytes are missing or damaged.
        """
        try:
            return read_content(self._content, version.digest, MOST_STATE_BYTES).decode()
        except CorruptContentError as exc:
            name = f"version {version.version} of {version.path}"
            error = self._explain(exc, version.home_id, name)
            raise attrs.evolve(error, about=name) from exc
        except UnicodeDecodeError as exc:
            reason = f"version {version.version} is not UTF-8"
            raise DocumentUpdateError(version.path, reason) from exc

    def is_ours(self, path: str, section: str, content: str) -> bool:
        """Tell whether we wrote this content into a section, and nobody else.

        Older versions count as well: a checkout may have brought an old file back.
        """
        for version in self._newest_first(path):
            if self._contents(version).get(section) == content:
                return section not in version.edited
        return False

    def is_ours_beside_others(
        self, path: str, section: str, content: str, is_foreign: IsForeign
    ) -> bool:
        """Tell whether we wrote a content but for entries of other homes.

        Args:
            path: The document.
            section: The section.
            content: What it says.
            is_foreign: Whether another home knows these ids, and this one does not.
        """
        ours = self._latest_of_ours(path, section)
        return any(
            differs_by_foreign_entries(content, each, is_foreign, earlier=ours) for each in ours
        )

    def ours_read_alike(
        self, path: str, section: str, content: str, definitions: str
    ) -> str | None:
        """Return what we wrote that reads as a content does; ``None`` if nothing does.

        Args:
            path: The document.
            section: The section.
            content: What it says.
            definitions: See `read_alike`.
        """
        for ours in self._latest_of_ours(path, section):
            if read_alike(content, ours, definitions):
                return ours
        return None

    def is_ours_in_lines(self, path: str, section: str, content: str, due: str) -> bool:
        """Tell whether a content has all lines that we last wrote, and none that we never did.

        So it is where git has merged two lines of history, and somebody has kept both sides.

        Args:
            path: The document.
            section: The section.
            content: What it says.
            due: What it should say.
        """
        ours = self._latest_of_ours(path, section)
        if not ours:
            return False
        lines = set(content.split("\n"))
        known = {line for text in (due, *ours) for line in text.split("\n")}
        return set(ours[0].split("\n")) <= lines <= known

    def _latest_of_ours(self, path: str, section: str) -> list[str]:
        """Return what we wrote into a section in the latest versions, the newest first."""
        versions = itertools.islice(self._newest_first(path), _MOST_COMPARED)
        contents = [
            self._contents(version).get(section)
            for version in versions
            if section not in version.edited
        ]
        return list(dict.fromkeys(each for each in contents if each is not None))

    def our_nearest(self, path: str, section: str, theirs: str) -> str | None:
        """Return what we wrote that an edited section is most like; ``None`` if that was nothing.

        It is what was edited, also where ours has gone on meanwhile.
        """
        lines = set(theirs.split("\n"))
        nearest, distance = None, -1
        for ours in self._latest_of_ours(path, section):
            difference = len(lines ^ set(ours.split("\n")))
            if nearest is None or difference < distance:
                nearest, distance = ours, difference
        return self.our_last(path, section) if nearest is None else nearest

    def our_last(self, path: str, section: str) -> str | None:
        """Return what we last wrote into a section; ``None`` if that was nothing."""
        for version in self._newest_first(path):
            content = self._contents(version).get(section)
            if content is not None and section not in version.edited:
                return content
        return None

    def _contents(self, version: DocumentVersion) -> dict[str, str]:
        if version.digest not in self._cache:
            try:
                self._cache[version.digest] = section_contents(self.read(version))
            except (DocumentUpdateError, MarkerError, CorruptContentError):
                # What cannot be read counts as written by nobody here: so nothing is overwritten.
                self._cache[version.digest] = {}
        return self._cache[version.digest]

    def record(
        self,
        path: str,
        content: bytes,
        event_seq: int,
        session_id: str,
        *,
        edited: tuple[str, ...] = (),
    ) -> DocumentVersion:
        """Record *content* unless the latest version has it. The caller holds the lock."""
        digest, _ = self._content.put(content)
        latest = self._latest(path)
        if latest is not None and latest.digest == digest:
            return latest
        version = DocumentVersion(
            path=path,
            version=1 if latest is None else latest.version + 1,
            digest=digest,
            event_seq=event_seq,
            created_at=utcnow(),
            edited=edited,
            home_id=self._keeper(),
        )
        return self._scope.store.put_document(version, session_id)

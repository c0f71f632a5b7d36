"""Bringing documents up to date, and keeping every state they were in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vespera_orchestrator._model import DocumentVersion, Finding, Session
from vespera_orchestrator.contracts import ContentStore
from vespera_orchestrator.documents.comparison import (
    Comparison,
    compare,
    finding,
    findings,
    read_document,
)
from vespera_orchestrator.documents.completed_work import ArtifactReader
from vespera_orchestrator.documents.folder import FOLDER, DocumentFolder
from vespera_orchestrator.documents.material import Material, gather
from vespera_orchestrator.documents.project_types import (
    PROJECT_TYPES,
    ProjectType,
    find_project_type,
)
from vespera_orchestrator.documents.rendering import Renderer, template_files
from vespera_orchestrator.documents.report import UpdateReport
from vespera_orchestrator.documents.sections import section_contents
from vespera_orchestrator.documents.state import UpdateState, file_stamp
from vespera_orchestrator.documents.versions import DocumentVersions
from vespera_orchestrator.errors import (
    DocumentError,
    DocumentUpdateError,
    InvalidInputError,
    SessionNotFoundError,
)
from vespera_orchestrator.home.files import translate_os_error
from vespera_orchestrator.home.scope import Scope

if TYPE_CHECKING:
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.documents.comparison import DocumentFile

LOCK_WAIT_S = 1.0
"""How long an update waits for another one before it leaves the work to that one, in seconds."""
_LOCK_POLL_S = 0.01
_MAX_ROUNDS = 3
"""How often one update looks again for tasks completed meanwhile."""


class Documents:
    """The documents of the project: ``orch.documents``.

    Which ones there are follows from the session's ``project_type``. A session without one keeps
    none, and neither does a home whose ``config.toml`` says ``[documents] enabled = false``. A
    template of the same name in the home's folder ``templates/`` takes the place of a packaged one.

    Several processes may call any of this at any time: one writes, the others wait a moment or
    leave it to the next caller.
    """

    def __init__(self, scope: Scope, content: ContentStore) -> None:
        self._scope = scope
        self._content = content
        self._folder = DocumentFolder(scope.home.project)
        self._versions = DocumentVersions(scope, content)
        self._state = UpdateState(scope)
        self._analyses: dict[tuple[str, str], object] = {}
        """What artifacts say, by digest."""
        self._renderer: tuple[dict[str, Any], Renderer] | None = None

    @property
    def _store(self) -> Store:
        return self._scope.store

    # --- updating -----------------------------------------------------------

    def update(self, *, session: str | Session | None = None) -> UpdateReport:
        """Bring the documents up to the last event.

        Costs a few reads when nothing has changed. Sections are replaced as a whole; everything
        outside them stays byte for byte. Where somebody edited inside a section, the whole file is
        kept as a version first. A file without any marker, or with damaged ones, is left as it is.
        The report says so, and the other documents go on.

        Args:
            session: The session whose project type decides which documents there are; by default
                the current one.

        Returns:
            What was done. Safe to repeat, as the same store gives the same text.

        Raises:
            SessionNotFoundError: No session is active, or there is none with this id.
            DocumentError: None of the documents could be brought up to date; each has an error,
                the first is raised.
            StoreError: The store or the home cannot be read or written; safe to repeat.
        """
        current = self._scope.session(session)
        kind = self._project_type(current)
        if kind is None:
            return UpdateReport(notes=(self._why_none(current),))
        if self._state.is_current(kind):
            return UpdateReport()
        with self._lock() as locked:
            if locked:
                return self._update(kind, current)
        note = "documents: another process is updating them; the next update looks again"
        return UpdateReport(notes=(note,), busy=True)

    def catch_up(self) -> UpdateReport:
        """Do as `update` for the current session; without one there is nothing to do."""
        try:
            return self.update()
        except SessionNotFoundError as exc:
            return UpdateReport(notes=(f"documents: {exc}",))

    def _project_type(self, session: Session) -> ProjectType | None:
        """Return the project type whose documents are kept; ``None`` when there are none."""
        if not self._scope.home.config.documents.enabled or self._is_trial():
            return None
        if self._is_bare_repository():
            return None
        return find_project_type(session, self._store)

    def _why_none(self, session: Session) -> str:
        """Say why no documents are kept."""
        if not self._scope.home.config.documents.enabled:
            reason = "config.toml of the home turns them off"
        elif self._is_trial():
            reason = "the store is in memory, and the documents belong to the project's own"
        elif self._is_bare_repository():
            reason = f"{self._scope.home.project} is a bare repository and has no place for them"
        elif session.project_type is None:
            reason = f"session {session.id} has no project type"
        else:
            types = ", ".join(PROJECT_TYPES)
            reason = f"project type {session.project_type!r} has none; those that have: {types}"
        return f"documents: none are kept, {reason}"

    def _is_trial(self) -> bool:
        return self._scope.store.url == "memory:"

    def _is_bare_repository(self) -> bool:
        head = self._scope.home.project / "HEAD"
        objects = self._scope.home.project / "objects"
        return head.is_file() and objects.is_dir()

    def _update(self, kind: ProjectType, session: Session) -> UpdateReport:
        report = UpdateReport()
        for _ in range(_MAX_ROUNDS):
            if self._state.is_current(kind):
                break
            report += self._update_once(kind, session)
            if report.errors:
                break
        if len(report.errors) == len(kind.documents):
            first, *others = report.errors
            for other in others:
                first.add_note(str(other))
            raise first
        return report

    def _update_once(self, kind: ProjectType, session: Session) -> UpdateReport:
        # Before anything is read: what comes later is for the next round.
        seq = self._store.last_seq()
        comparisons, notes = self._examine(kind)
        report = UpdateReport(notes=notes)
        for comparison in comparisons:
            try:
                report += self._bring_up_to_date(comparison, seq, session.id)
            except DocumentError as exc:
                report += UpdateReport(errors=(exc,))
        if not report.errors:
            self._state.save(kind, seq)
        return report

    def _bring_up_to_date(self, comparison: Comparison, seq: int, session_id: str) -> UpdateReport:
        if comparison.error is not None:
            raise comparison.error
        if not comparison.needs_writing:
            return UpdateReport(notes=comparison.notes)
        path, content = comparison.path, comparison.file.content
        if self._folder.read(path) != content:
            raise DocumentUpdateError(
                path,
                "was saved by somebody else just now and left as it is; "
                "update again to take that in",
            )
        kept: tuple[DocumentVersion, ...] = ()
        if comparison.edited and content is not None:
            kept = (self._versions.keep(path, content, seq, session_id),)
        version = self._versions.record(path, comparison.target.encode(), seq, session_id)
        self._folder.write(path, comparison.target)
        return UpdateReport(written=(version,), kept=kept, notes=comparison.notes)

    # --- looking ------------------------------------------------------------

    def check(self, *, session: str | Session | None = None) -> list[Finding]:
        """Find what is out of date, edited inside a section, without markers, or damaged.

        Changes nothing.

        Returns:
            A finding for each thing, each about one document; empty when all documents are up to
            date, or the project keeps none.

        Raises:
            SessionNotFoundError: No session is active, or there is none with this id.
        """
        kind = self._project_type(self._scope.session(session))
        if kind is None:
            return []
        comparisons, notes = self._examine(kind)
        result = []
        for comparison in comparisons:
            result += findings(comparison)
        result += [finding(FOLDER, note) for note in notes]
        return result

    def _examine(self, kind: ProjectType) -> tuple[list[Comparison], tuple[str, ...]]:
        """Compare every document with what it should say; also return notes on the material."""
        files = {name: self._read(name) for name in kind.documents}
        reader = ArtifactReader(self._content, self._analyses)
        linked = _has_log(files[kind.log_document], kind)
        material = gather(self._store, kind, reader, linked=linked)
        renderer = self._current_renderer(kind)
        comparisons = [
            self._compare(file, name, material, renderer) for name, file in files.items()
        ]
        return comparisons, material.notes

    def _read(self, name: str) -> DocumentFile:
        path = f"{FOLDER}/{name}"
        return read_document(self._folder, path)

    def _compare(
        self, file: DocumentFile, name: str, material: Material, renderer: Renderer
    ) -> Comparison:
        if file.error is not None:
            return Comparison(file=file, error=file.error)
        try:
            rendered = renderer.render(name, material.variables)
        except DocumentError as exc:
            return Comparison(file=file, error=exc)
        return compare(file, rendered, self._versions)

    def _current_renderer(self, kind: ProjectType) -> Renderer:
        # jinja2 would go on with a packaged template after one of the user's own has come to take
        # its place.
        overrides = self._scope.home.templates
        files = template_files(kind.documents, overrides)
        stamps = {str(path): file_stamp(path) for path in files}
        if self._renderer is None or self._renderer[0] != stamps:
            self._renderer = (stamps, Renderer(overrides))
        return self._renderer[1]

    # --- versions -----------------------------------------------------------

    def versions(self, path: str | os.PathLike[str]) -> list[DocumentVersion]:
        """Return every recorded state of a document, the oldest first.

        Args:
            path: The document: ``docs/changelog.md``, ``changelog.md``, or the absolute path.
        """
        name = self._folder.name(path)
        return self._versions.of(name)

    def read(self, version: DocumentVersion) -> str:
        """Return the text of a version, line ends as they were.

        Raises:
            DocumentUpdateError: It is not UTF-8.
            CorruptContentError: Its bytes are missing or damaged.
        """
        return self._versions.read(version)

    def restore(
        self, path: str | os.PathLike[str], version: int | DocumentVersion
    ) -> DocumentVersion:
        """Put the text of a version back as the file. The current text is kept as a version first.

        The sections follow the store again as soon as another task completes; what should stay
        belongs outside them.

        Args:
            path: The document.
            version: Which state, from `versions`, or its number.

        Returns:
            The version that records this; the latest one when the file says so already.

        Raises:
            InvalidInputError: The document has no such version.
            DocumentUpdateError: The file cannot be replaced, or another process is updating it;
                nothing was changed.
        """
        name = self._folder.name(path)
        number = version.version if isinstance(version, DocumentVersion) else version
        with self._lock() as locked:
            if not locked:
                raise DocumentUpdateError(
                    name, "another process is updating it; try again in a moment"
                )
            versions = self._versions.of(name)
            for candidate in versions:
                if candidate.version == number:
                    return self._restore(candidate, versions[-1])
        raise InvalidInputError(
            "version", f"{name} has no version {number}; {_which_there_are(versions)}"
        )

    def _restore(self, version: DocumentVersion, latest: DocumentVersion) -> DocumentVersion:
        path, seq = version.path, version.event_seq
        text = self._versions.read(version)
        present = self._folder.read(path)
        if present == text.encode() and latest.digest == version.digest:
            return latest
        session_id = self._scope.session_id()
        if present is not None:
            self._versions.keep(path, present, seq, session_id)
        restored = self._versions.record(path, text.encode(), seq, session_id)
        self._folder.write(path, text)
        self._state.accept(self._folder.place(path))
        return restored

    # --- one at a time ------------------------------------------------------

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        """Be the one who updates; yield ``False`` when another one was it for the whole wait."""
        from filelock import FileLock, Timeout

        path = self._scope.home.locks / "documents.lock"
        lock = FileLock(path, timeout=LOCK_WAIT_S)
        locked = True
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(poll_interval=_LOCK_POLL_S)
        except Timeout:
            locked = False
        except OSError as exc:
            raise translate_os_error(exc, path) from exc
        try:
            yield locked
        finally:
            lock.release()


def _has_log(file: DocumentFile, kind: ProjectType) -> bool:
    """Tell whether the document with the log is ours, or will be."""
    if file.error is not None:
        return False
    return file.content is None or kind.log_section in section_contents(file.text)


def _which_there_are(versions: Sequence[DocumentVersion]) -> str:
    if not versions:
        return "nothing is recorded of it yet"
    return f"those there are: 1 to {versions[-1].version}"

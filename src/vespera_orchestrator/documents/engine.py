"""Bringing documents up to date, and keeping every state they were in."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._mistakes import listed
from vespera_orchestrator._model import Artifact, DocumentVersion, Finding, Session, Severity
from vespera_orchestrator._records import RecordList
from vespera_orchestrator._text import one_line, show_value
from vespera_orchestrator.contracts import ContentStore
from vespera_orchestrator.documents.authorship import Authorship, foreign_ids
from vespera_orchestrator.documents.collection import Collected, Collection, LandingTask, knows
from vespera_orchestrator.documents.comparison import (
    Comparison,
    DocumentFile,
    compare,
    finding,
    findings,
    merge_sections,
    read_text,
)
from vespera_orchestrator.documents.completed_work import ArtifactReader, Inclusion
from vespera_orchestrator.documents.entries import combine, foreign_headings
from vespera_orchestrator.documents.layout import Layout, relative_link
from vespera_orchestrator.documents.links import dead_links, target_from_root
from vespera_orchestrator.documents.markdown import with_targets
from vespera_orchestrator.documents.material import Material, gather
from vespera_orchestrator.documents.merging import merge
from vespera_orchestrator.documents.place import (
    Branch,
    BranchPlace,
    CheckoutPlace,
    LandingPlace,
    Place,
    file_stamp,
)
from vespera_orchestrator.documents.project_types import (
    TOPICS,
    ProjectType,
    ProjectTypes,
    document_title,
    packaged_names,
)
from vespera_orchestrator.documents.proposals import (
    Answer,
    Proposal,
    Proposals,
    unified_diff,
)
from vespera_orchestrator.documents.readings import Readings, open_readings
from vespera_orchestrator.documents.rendering import Renderer, template_files
from vespera_orchestrator.documents.report import UpdateReport
from vespera_orchestrator.documents.sections import (
    MarkerError,
    outside_sections,
    replace_sections,
    section_contents,
)
from vespera_orchestrator.documents.state import UpdateState
from vespera_orchestrator.documents.tree import CommittedFiles, ProjectTree
from vespera_orchestrator.documents.versions import DocumentVersions, ExplainMissing
from vespera_orchestrator.errors import (
    DocumentError,
    DocumentUpdateError,
    InvalidInputError,
    RefMovedError,
    SessionNotFoundError,
)
from vespera_orchestrator.home.calls import explains_calls
from vespera_orchestrator.home.file_lock import file_lock
from vespera_orchestrator.home.files import translate_os_error
from vespera_orchestrator.home.permissions import make_folder
from vespera_orchestrator.home.reading import MOST_STATE_BYTES, read_content
from vespera_orchestrator.home.scope import Scope, writes

if TYPE_CHECKING:
    from vespera_orchestrator.contracts import Store

LOCK_WAIT_S = 1.0
"""How long an update waits for another one before it leaves the work to that one, in seconds."""
_LOCK_POLL_S = 0.01
_MAX_ROUNDS = 5
"""How often one update looks again for tasks completed, or work landed, meanwhile."""
_SHOWN_PATH_CHARS = 200
_NUMBERED = re.compile(r"#+ (\d{1,9})\. ")


@explains_calls
class Documents:
    """The documents of the project: ``orch.documents``.

    Which ones there are follows from the session's ``project_type``. A session without one keeps
    none, and neither does a home whose ``config.toml`` says ``[documents] enabled = false``. A
    template of the same name in the home's folder ``templates/`` takes the place of a packaged one.

    What a person wrote stays, also inside a section. What we would write there waits as a
    `Proposal`, which `accept` and `decline` answer.

    Several processes may call any of this at any time: one writes, the others wait a moment or
    leave it to the next caller.
    """

    def __init__(
        self,
        scope: Scope,
        content: ContentStore,
        branch: Branch | None = None,
        *,
        keeper: Callable[[], str] = lambda: "",
        explain: ExplainMissing = lambda missing, *_: missing,
    ) -> None:
        self._scope = scope
        self._content = content
        self._explain = explain
        self._branch = branch
        self._types = ProjectTypes(scope.home.templates)
        self._layout = Layout(
            settings=scope.home.config.documents, project=scope.home.project, types=self._types
        )
        self._versions = DocumentVersions(scope, content, self._former_path, keeper, explain)
        self._proposals = Proposals(scope, content)
        self._state = UpdateState(scope, self._layout)
        self._analyses: dict[tuple[str, str], object] = {}
        """What artifacts say, by digest."""
        self._collections: dict[str, Collection] = {}
        """What the store has, by project type."""
        self._known_ids: set[str] = set()
        """Ids of tasks and artifacts that the store has, or once had: that does not change."""
        self._renderer: tuple[dict[str, Any], Renderer] | None = None

    def __repr__(self) -> str:
        return "<Documents: project documents that update themselves: update, check, versions>"

    def project_types(self) -> tuple[str, ...]:
        """Return the types of projects that have documents, for `initialize_session`.

        Those are the library's, and the home's own in ``templates/project_types.yaml``.

        Raises:
            TemplateError: The home's own file cannot be understood.
        """
        return tuple(self._types.all())

    def _former_path(self, path: str) -> str | None:
        """Return where earlier versions of this library kept the document at *path*."""
        for name in packaged_names():
            if self._layout.path(name) == path:
                return self._layout.former_path(name)
        return None

    @property
    def _store(self) -> Store:
        return self._scope.store

    def _place(self) -> Place:
        """Return where the documents are: on the integration branch, once work lands there."""
        if self._branch is None:
            return CheckoutPlace(self._scope.home.project)
        if self._lands():
            return BranchPlace(self._branch)
        return CheckoutPlace(self._scope.home.project, self._branch.head_files())

    def _lands(self) -> bool:
        """Tell whether tasks of this project work in worktrees."""
        if self._branch is None or not self._store.worktrees(include_removed=True):
            return False
        return self._branch.tip() is not None

    def drop_memory(self) -> None:
        """Forget what was worked out from artifacts and documents; it is read again when needed."""
        self._analyses.clear()
        self._collections.clear()
        self._known_ids.clear()
        self._versions.drop_memory()

    # --- updating -----------------------------------------------------------

    @writes
    def update(
        self,
        *,
        session: str | Session | None = None,
        only: str | os.PathLike[str] | Iterable[str] | None = None,
        dry_run: bool = False,
    ) -> UpdateReport:
        """Bring the documents up to the last event.

        Costs a few reads when nothing has changed. Sections are replaced as a whole; everything
        outside them stays byte for byte. A section that a person has edited stays as well: what we
        would write there becomes a proposal, see `proposals`. A file without any marker, or with
        damaged ones, is left as it is. The report says so, and the other documents go on. A
        document that somebody deleted is not written again, unless *only* names it.

        Args:
            session: The session whose project type decides which documents there are; by default
                the current one.
            only: One document, or several, by name or path: ``"CHANGELOG.md"``. By default all.
            dry_run: Write nothing; the report shows how each document would change.

        Returns:
            What was done. Safe to repeat, as the same store gives the same text.

        Raises:
            SessionNotFoundError: No session is active, or there is none with this id.
            InvalidInputError: *only* names no document of this project.
            DocumentError: None of the documents could be brought up to date; each has an error,
                the first is raised.
            StoreError: The store or the home cannot be read or written; safe to repeat.
        """
        current = self._scope.session(session)
        kind = self._project_type(current)
        if kind is None:
            return UpdateReport(notes=(self._why_none(current),))
        job = _Job(
            kind=kind,
            session=current,
            place=self._place(),
            names=self._selected(kind, only),
            is_complete=only is None,
        )
        if dry_run:
            return self._preview(job)
        if self._branch is not None and job.place.writes_together:
            self._branch.catch_up()
            job = attrs.evolve(job, place=self._place())
        if job.is_complete and self._state.is_current(kind, job.place):
            return UpdateReport()
        with self._lock() as locked:
            if locked:
                return self._update(job)
        note = "documents: another process is updating them; the next update looks again"
        return UpdateReport(notes=(note,), busy=True)

    @writes
    def prepare_landing(
        self,
        session_id: str,
        files: CommittedFiles,
        landing: LandingTask | None = None,
    ) -> Mapping[str, bytes | None]:
        """Return the documents that change when work lands, so that they land with it.

        Versions are recorded already: after a crash they are known for ours. Documents that cannot
        be brought up to date are left out; the update that follows says why.

        Args:
            session_id: The session whose work it is.
            files: The files as they will be on the branch.
            landing: The task that is completed by it, if one is.

        Returns:
            The new contents, by path; empty when nothing changes.
        """
        session = self._scope.session(session_id)
        kind = self._project_type(session)
        if kind is None or self._branch is None:
            return {}
        place = LandingPlace(self._branch.branch, files)
        job = _Job(
            kind=kind,
            session=session,
            place=place,
            names=self._layout.documents(kind),
            landing=landing,
        )
        with self._lock() as locked:
            if not locked:
                return {}
            comparisons, _ = self._examine(job)
            seq = self._store.last_seq()
            waiting = self._proposals.open()
            changes = []
            for comparison in comparisons:
                if comparison.error is None:
                    _, change = self._prepare(job, comparison, seq, waiting)
                    if change is not None:
                        changes.append(change)
        texts = _texts_of(changes)
        return {path: None if text is None else text.encode() for path, text in texts.items()}

    def merge(self, path: str, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        """Merge a document that was edited on two lines of history.

        What only one side has changed is taken from it. Where both have changed the same lines of a
        section, and one of them is what we wrote there, the other's text stays: what we would say
        becomes a proposal with the next update.

        Args:
            path: The document, relative to the project's folder.
            base: What it was when they parted.
            ours: The one side's.
            theirs: The other side's.

        Returns:
            The merged document; ``None`` if it is none of ours, or both sides have edited the same
            lines by hand.
        """
        if not self._scope.home.config.documents.enabled:
            return None
        if path not in map(self._layout.path, self._layout.all_names()):
            return None
        try:
            before, here, there = (read_text(path, each) for each in (base, ours, theirs))
        except DocumentUpdateError:
            return None

        def is_ours(section: str, content: str) -> bool:
            return self._versions.is_ours(path, section, content)

        merged = merge_sections(before, here, there, is_ours)
        return None if merged is None else merged.encode()

    @writes
    def catch_up(self) -> UpdateReport:
        """Do as `update` for the current session; without one there is nothing to do."""
        try:
            return self.update()
        except SessionNotFoundError as exc:
            return UpdateReport(notes=(f"documents: {exc}",))

    def _selected(
        self, kind: ProjectType, only: str | os.PathLike[str] | Iterable[str] | None
    ) -> tuple[str, ...]:
        if only is None:
            return self._layout.documents(kind)
        if isinstance(only, str | os.PathLike):
            only = (os.fspath(only),)
        return self._layout.select(kind, listed("only", only))

    def _project_type(self, session: Session) -> ProjectType | None:
        """Return the project type whose documents are kept; ``None`` when there are none."""
        if not self._scope.home.config.documents.enabled or self._is_trial():
            return None
        if self._is_bare_repository():
            return None
        return self._types.of(session, self._store)

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
            types = ", ".join(self._types.all())
            reason = f"project type {session.project_type!r} has none; those that have: {types}"
        return f"documents: none are kept, {reason}"

    def _is_trial(self) -> bool:
        return self._scope.store.url == "memory:"

    def _is_bare_repository(self) -> bool:
        head = self._scope.home.project / "HEAD"
        objects = self._scope.home.project / "objects"
        return head.is_file() and objects.is_dir()

    def _preview(self, job: _Job) -> UpdateReport:
        comparisons, notes = self._examine(job)
        report = UpdateReport(notes=notes)
        for comparison in comparisons:
            errors = () if comparison.error is None else (comparison.error,)
            diffs: tuple[str, ...] = ()
            if comparison.needs_writing:
                diffs = (_diff_of(comparison),)
            report += UpdateReport(
                notes=_notes_on(comparison),
                errors=errors,
                diffs=diffs,
                edited=_edited_places(comparison),
            )
        return report

    def _update(self, job: _Job) -> UpdateReport:
        report = UpdateReport()
        for _ in range(_MAX_ROUNDS):
            if job.is_complete and self._state.is_current(job.kind, job.place):
                break
            try:
                report += self._update_once(job)
            except RefMovedError:
                job = attrs.evolve(job, place=self._place())
                continue
            if report.errors or not job.is_complete:
                break
        if report.errors and len(report.errors) == len(job.names):
            first, *others = report.errors
            for other in others:
                first.add_note(str(other))
            raise first
        return report

    def _update_once(self, job: _Job) -> UpdateReport:
        # Before anything is read: what comes later is for the next round.
        seq = self._store.last_seq()
        comparisons, notes = self._examine(job)
        report = UpdateReport(notes=notes)
        waiting = self._proposals.open()
        changes = []
        for comparison in comparisons:
            try:
                prepared, change = self._prepare(job, comparison, seq, waiting)
                report += prepared
                if change is not None:
                    changes.append(change)
            except DocumentError as exc:
                report += UpdateReport(errors=(exc,))
        report += self._write(job, changes)
        report += self._clear_copies(job, comparisons)
        kept = [comparison.path for comparison in comparisons if _is_kept(comparison)]
        self._state.remember_written(kept, job.place)
        self._state.remember_failing(
            (comparison.path for comparison in comparisons if comparison.error in report.errors),
            [comparison.path for comparison in comparisons],
        )
        if not report.errors and job.is_complete:
            self._state.save(job.kind, seq, job.place)
        return report

    def _prepare(
        self, job: _Job, comparison: Comparison, seq: int, waiting: Iterable[Artifact]
    ) -> tuple[UpdateReport, _Change | None]:
        """Record what is to be written, so that a crash before it is written loses nothing.

        Args:
            job: The update.
            comparison: The document.
            seq: The event up to which everything was read.
            waiting: The open proposals, for whatever document.
        """
        if comparison.error is not None:
            raise comparison.error
        self._propose(comparison, job.session.id, waiting)
        report = UpdateReport(notes=_notes_on(comparison), edited=_edited_places(comparison))
        path, file = comparison.path, comparison.file
        session_id, edited = job.session.id, comparison.edited_names
        not_as_written = (*edited, *comparison.reformatted)
        if edited and file.content is not None:
            self._versions.record(path, file.content, seq, session_id, edited=not_as_written)
        if not comparison.needs_writing:
            return report, None
        if comparison.rewritten != comparison.target:
            # What we said is known now, and the notation stays somebody else's.
            rewritten = comparison.rewritten.encode()
            self._versions.record(path, rewritten, seq, session_id, edited=edited)
        source = file.former_path or path
        if not file.is_moving and job.place.read(source) != file.content:
            raise DocumentUpdateError(
                path,
                "was saved by somebody else just now and left as it is; "
                "update again to take that in",
            )
        version = self._versions.record(
            path, comparison.target.encode(), seq, session_id, edited=not_as_written
        )
        change = _Change(version=version, text=comparison.target, former_path=file.former_path)
        return report, change

    def _write(self, job: _Job, changes: Sequence[_Change]) -> UpdateReport:
        """Write documents: all in one step where the place can do that, else one by one."""
        report = UpdateReport()
        groups = [[change] for change in changes]
        if job.place.writes_together:
            groups = [list(changes)] if changes else []
        for group in groups:
            try:
                job.place.write(_texts_of(group), _message(group))
                report += UpdateReport(written=tuple(change.version for change in group))
            except DocumentError as exc:
                report += UpdateReport(errors=(exc,))
        return report

    # --- moving to the branch -----------------------------------------------

    def _clear_copies(self, job: _Job, comparisons: Iterable[Comparison]) -> UpdateReport:
        """Take documents out of the project's folder that are on the integration branch now.

        They would be in the way of ``git merge``. A copy goes back to what is checked out, if it
        holds nothing but what we wrote and what is on the branch.
        """
        report = UpdateReport()
        if not job.place.writes_together or self._branch is None:
            return report
        folder = CheckoutPlace(self._scope.home.project)
        for comparison in comparisons:
            if self._state.was_written(comparison.path, folder) and comparison.error is None:
                notes = self._clear_copy(comparison, folder)
                self._state.remember_written([comparison.path], job.place)
                report += UpdateReport(notes=notes)
        return report

    def _clear_copy(self, comparison: Comparison, folder: CheckoutPlace) -> tuple[str, ...]:
        if self._branch is None:
            return ()
        path = comparison.path
        copy = folder.read(path)
        head = self._branch.head_files()
        committed = None if head is None else head.read(path)
        if copy is None or copy == committed:
            return ()
        references = [comparison.rendered, comparison.target, (committed or b"").decode()]
        is_staged = self._branch.staged(path) != committed
        if is_staged or not self._holds_only(path, copy, references):
            return (f"{path} in the project's folder has changes of yours and was left there",)
        text = None if committed is None else committed.decode()
        folder.write({path: text}, "")
        return (f"{path} is on the {self._branch.branch!r} branch now",)

    def _holds_only(self, path: str, copy: bytes, references: Iterable[str]) -> bool:
        """Tell whether a text has nothing but what we wrote and what a reference has."""
        try:
            text = read_text(path, copy)
            pieces = outside_sections(text)
            contents = section_contents(text)
            known = [reference for reference in references if reference]
            is_outside_known = any(outside_sections(each) == pieces for each in known)
            known_contents = [section_contents(each) for each in known]
        except (DocumentUpdateError, MarkerError):
            return False
        return is_outside_known and all(
            not content
            or self._versions.is_ours(path, name, content)
            or any(each.get(name) == content for each in known_contents)
            for name, content in contents.items()
        )

    def _propose(
        self, comparison: Comparison, session_id: str, waiting: Iterable[Artifact]
    ) -> None:
        """Open a proposal for each edited section, and close those whose edit is gone."""
        path = comparison.path
        edited = comparison.edited_names
        for artifact in waiting:
            is_here = artifact.metadata.get("document") == path
            if is_here and artifact.metadata.get("section") not in edited:
                self._proposals.answer(artifact, Answer.MOOT)
        for section in comparison.edited:
            base = self._versions.our_nearest(path, section.name, section.theirs)
            if base is not None:
                # What other homes have added since is no part of the edit.
                others = foreign_ids(comparison.rendered, self._knows)
                base = combine(base, section.theirs, others)
            text = None if base is None else merge(base, section.theirs, section.due)
            if text == section.theirs:
                continue  # it has all that we would say
            self._proposals.make(
                path,
                section.name,
                section.due if text is None else text,
                due=section.due,
                session_id=session_id,
            )

    # --- looking ------------------------------------------------------------

    def check(self, *, session: str | Session | None = None) -> list[Finding]:
        """Find what is out of date, edited inside a section, without markers, or damaged.

        Links of the documents that lead to no file or heading are found as well.

        Changes nothing. A finding that is a `Severity.WARNING` is one that an update would mend,
        or a document that it cannot bring up to date; others are good to know.

        Returns:
            A finding for each thing, each about one document; empty when all documents are up to
            date, or the project keeps none.

        Raises:
            SessionNotFoundError: No session is active, or there is none with this id.
        """
        current = self._scope.session(session)
        try:
            kind = self._project_type(current)
        except DocumentError as exc:
            problem = finding(self._layout.settings.folder, str(exc), severity=Severity.WARNING)
            return RecordList([problem])
        if kind is None:
            return RecordList()
        names = self._layout.documents(kind)
        job = _Job(kind=kind, session=current, place=self._place(), names=names)
        comparisons, notes = self._examine(job)
        result: RecordList[Finding] = RecordList()
        paths = job.place.paths()
        for comparison in comparisons:
            result += findings(comparison)
            result += self._moved_by_hand(comparison, job.place, paths)
            result += self._dead_links(comparison, job.place, paths)
        result += [finding(self._layout.settings.folder, note) for note in notes]
        return result

    def _moved_by_hand(
        self, comparison: Comparison, place: Place, paths: Iterable[str]
    ) -> Iterator[Finding]:
        """Find the file that a deleted document has become, if it only has another name now."""
        file = comparison.file
        if not file.is_deleted:
            return
        own = self._versions.sections_of(file.path) - {"see_also"}
        for path in paths:
            content = place.read(path) if own and path.endswith(".md") else None
            if content is None or not own & _section_names(content):
                continue
            yield finding(
                file.path,
                f"{file.path} is {path} now, where nothing updates it",
                remedy=f'names = {{"{file.name}" = "{path}"}} under [documents] in config.toml '
                "of the home keeps it there",
            )
            return

    def _dead_links(
        self, comparison: Comparison, place: Place, paths: Iterable[str]
    ) -> Iterator[Finding]:
        file = comparison.file
        if not file.text or comparison.addable:
            return  # a user's own file is theirs

        def read(path: str) -> str | None:
            content = place.read(path)
            return None if content is None else content.decode(errors="replace")

        for link in dead_links(file.text, file.path, paths, read):
            yield finding(file.path, f"{file.path}, {link}", severity=Severity.WARNING)

    def explain(
        self,
        path: str | os.PathLike[str],
        section: str | None = None,
        *,
        session: str | Session | None = None,
    ) -> list[Inclusion]:
        """Say why something is in a section, and why something else is not.

        Args:
            path: The document.
            section: One of its sections; by default all of them.
            session: The session whose project type decides; by default the current one.

        Returns:
            One for each artifact, task or module that was looked at for it, in the order in which
            they were.

        Raises:
            InvalidInputError: The project keeps no such document, or it has no such section.
            SessionNotFoundError: No session is active, or there is none with this id.
        """
        kind = self._project_type(self._scope.session(session))
        if kind is None:
            return RecordList()
        (name,) = self._layout.select(kind, [os.fspath(path)])
        material = self._gather(kind, self._place().tree())
        rendered = self._current_renderer(kind).render(
            name, {**material.variables, "see_also": [], "root": ""}
        )
        sections = list(section_contents(rendered))
        if section is not None and section not in sections:
            known = ", ".join(sections)
            raise InvalidInputError("section", f"{name} has no {section!r}; it has {known}")
        chosen = sections if section is None else [section]
        topics = {topic for each in chosen for topic in TOPICS.get(each, (each,))}
        return RecordList(each for each in material.inclusions if each.topic in topics)

    def _gather(
        self,
        kind: ProjectType,
        tree: ProjectTree,
        landing: LandingTask | None = None,
        taken_numbers: frozenset[int] = frozenset(),
    ) -> Material:
        reader = ArtifactReader(self._content, self._analyses, self._explain)
        if kind.name not in self._collections:
            self._collections[kind.name] = Collection(self._store, kind)
        collected = self._collections[kind.name].collect(landing)
        with self._open_readings() as readings:
            return gather(kind, collected, reader, tree, readings, taken_numbers=taken_numbers)

    def _open_readings(self) -> AbstractContextManager[Readings]:
        home = self._scope.home
        return open_readings(home.path, readonly=home.readonly)

    def _examine(self, job: _Job) -> tuple[list[Comparison], tuple[str, ...]]:
        """Compare the documents with what they should say; also return notes on the material."""
        files = [self._read(name, job) for name in job.names]
        taken = self._numbers_of_others(files)
        material = self._gather(job.kind, job.place.tree(), job.landing, taken)
        renderer = self._current_renderer(job.kind)
        comparisons = [self._compare(file, job, material, renderer) for file in files]
        return comparisons, material.notes

    def _numbers_of_others(self, files: Iterable[DocumentFile]) -> frozenset[int]:
        """Return the numbers of decisions in the documents that only another home knows."""
        others = foreign_ids("", self._knows)
        numbers = set()
        for file in files:
            decisions = section_contents(file.text).get("decisions", "") if file.text else ""
            for heading in foreign_headings(decisions, others):
                numbered = _NUMBERED.match(heading)
                if numbered is not None:
                    numbers.add(int(numbered[1]))
        return frozenset(numbers)

    def _read(self, name: str, job: _Job) -> DocumentFile:
        path = self._layout.path(name)
        file = DocumentFile(name=name, path=path)
        try:
            content = job.place.read(path)
            if content is not None:
                return attrs.evolve(file, content=content, text=read_text(path, content))
            former = self._read_former(name, job.place)
            if former is not None:
                return attrs.evolve(file, **former)
        except DocumentUpdateError as exc:
            return attrs.evolve(file, error=exc)
        moving = self._text_in_folder(path) if job.place.writes_together else None
        if moving is not None:
            return attrs.evolve(file, content=moving.encode(), text=moving, is_moving=True)
        is_deleted = job.is_complete and self._state.was_written(path, job.place)
        return attrs.evolve(file, is_deleted=is_deleted)

    def _text_in_folder(self, path: str) -> str | None:
        """Return a document of ours that was written to the project's folder, before work landed.

        What a person wrote in it goes along to the branch.
        """
        folder = CheckoutPlace(self._scope.home.project)
        if not self._state.was_written(path, folder):
            return None
        try:
            content = folder.read(path)
            text = None if content is None else read_text(path, content)
        except DocumentUpdateError:
            return None
        return text if text and section_contents(text) else None

    def _read_former(self, name: str, place: Place) -> dict[str, Any] | None:
        """Return the document as an earlier version of this library named it, if it is ours."""
        former = self._layout.former_path(name)
        if former == self._layout.path(name):
            return None
        if not self._store.document_versions(former):
            return None
        content = place.read(former)
        if content is None:
            return None
        text = read_text(former, content)
        if not section_contents(text):
            return None
        return {"content": content, "text": text, "former_path": former}

    def _compare(
        self, file: DocumentFile, job: _Job, material: Material, renderer: Renderer
    ) -> Comparison:
        if file.error is not None:
            return Comparison(file=file, error=file.error)
        variables = material.variables | self._links(file, job)
        try:
            rendered = self._with_right_links(renderer.render(file.name, variables), file, job)
        except DocumentError as exc:
            return Comparison(file=file, error=exc)
        authorship = Authorship(
            file.path,
            file.text,
            rendered,
            self._versions,
            is_foreign=foreign_ids(rendered, self._knows),
            written_then=functools.partial(self._sections_behind, file, job),
        )
        return compare(file, rendered, authorship)

    def _with_right_links(self, text: str, file: DocumentFile, job: _Job) -> str:
        """Return a document's text with links that lead to files from where it is."""

        @functools.cache
        def known() -> frozenset[str]:
            return frozenset(job.place.paths())

        return with_targets(text, lambda target: target_from_root(target, file.path, known()))

    def _knows(self, record_id: str) -> bool:
        """Tell whether the store has, or once had, a task or an artifact; see `knows`."""
        if record_id not in self._known_ids and knows(self._store, record_id):
            self._known_ids.add(record_id)
        return record_id in self._known_ids

    def _sections_behind(
        self, file: DocumentFile, job: _Job, *, is_without_tasks: bool
    ) -> Mapping[str, str]:
        """Return what we would have written when a document became what it is.

        So we recognise what another home wrote, which has the same files and other tasks.

        Args:
            file: The document.
            job: The update.
            is_without_tasks: Whether to write only what files say.
        """
        key = (file.path, is_without_tasks)
        if key not in job.behind:
            job.behind[key] = self._render_behind(file, job, is_without_tasks=is_without_tasks)
        return job.behind[key]

    def _render_behind(
        self, file: DocumentFile, job: _Job, *, is_without_tasks: bool
    ) -> Mapping[str, str]:
        tree = job.place.tree_behind(file.path)
        if tree is None and not is_without_tasks:
            return {}
        tree = tree or job.place.tree()
        if is_without_tasks:
            # What files say is known already. What texts of tasks are like is not to be unlearnt.
            analyses = {key: value for key, value in self._analyses.items() if key[0]}
            reader = ArtifactReader(self._content, analyses)
            with self._open_readings() as readings:
                material = gather(job.kind, Collected(), reader, tree, readings)
        else:
            material = self._gather(job.kind, tree)
        variables = material.variables | self._links(file, job)
        rendered = self._current_renderer(job.kind).render(file.name, variables)
        return section_contents(self._with_right_links(rendered, file, job))

    def _links(self, file: DocumentFile, job: _Job) -> dict[str, object]:
        """Return what templates need for links from a document: they depend on where it is."""
        root = relative_link(file.path, ".")
        return {
            "see_also": self._see_also(file, job),
            "root": "" if root == "." else f"{root}/",
        }

    def _see_also(self, file: DocumentFile, job: _Job) -> list[tuple[str, str]]:
        """Return title and link of the other documents, without those that were deleted."""
        return [
            (document_title(name), relative_link(file.path, self._layout.path(name)))
            for name in self._layout.documents(job.kind)
            if name != file.name and not self._is_gone(self._layout.path(name), job.place)
        ]

    def _is_gone(self, path: str, place: Place) -> bool:
        return place.stamp(path) is None and self._state.was_written(path, place)

    def _current_renderer(self, kind: ProjectType) -> Renderer:
        # jinja2 would go on with a packaged template after one of the user's own has come to take
        # its place.
        overrides = self._scope.home.templates
        files = template_files(kind.documents, overrides)
        stamps = {str(path): file_stamp(path) for path in files}
        if self._renderer is None or self._renderer[0] != stamps:
            self._renderer = (stamps, Renderer(overrides))
        return self._renderer[1]

    # --- proposals ----------------------------------------------------------

    def proposals(self) -> list[Proposal]:
        """Return what we would write where a person has edited, the oldest first.

        A proposal appears when an update meets the edit. It waits until you `accept` or `decline`
        it, or until the edit is gone.
        """
        return RecordList(map(self._proposal, self._proposals.open()))

    def _proposal(self, artifact: Artifact) -> Proposal:
        path, section = artifact.metadata["document"], artifact.metadata["section"]
        sections = self._sections_now(str(path))
        return self._proposals.read(artifact, sections.get(str(section), ""))

    def _sections_now(self, path: str) -> Mapping[str, str]:
        content = self._place().read(path)
        if content is None:
            return {}
        try:
            return section_contents(read_text(path, content))
        except DocumentUpdateError:
            return {}

    @writes
    def accept(self, proposal: str | Proposal) -> DocumentVersion:
        """Write a proposal into its section. The text that was there is kept as a version.

        Args:
            proposal: One of `proposals`, or its id.

        Returns:
            The version that records this.

        Raises:
            InvalidInputError: No proposal with this id is open.
            DocumentUpdateError: The section is gone or was edited again since you read the
                proposal, the file cannot be replaced, or another process is updating it; nothing
                was changed.
        """
        with self._writing("accept"):
            artifact = self._open_proposal(proposal)
            current = self._proposal(artifact)
            path = current.path
            if isinstance(proposal, Proposal) and proposal.theirs != current.theirs:
                reason = "its section was edited since; read orch.documents.proposals() again"
                raise DocumentUpdateError(path, reason)
            place = self._place()
            content = place.read(path)
            text = "" if content is None else read_text(path, content)
            if content is None or current.section not in section_contents(text):
                raise DocumentUpdateError(path, f"has no section {current.section!r} any more")
            return self._write_proposal(artifact, current, content)

    def _write_proposal(
        self, artifact: Artifact, proposal: Proposal, content: bytes
    ) -> DocumentVersion:
        path, section, place = proposal.path, proposal.section, self._place()
        text = content.decode()
        seq, session_id = self._store.last_seq(), artifact.session_id
        edited = self._edited_sections(path, text)
        self._versions.record(path, content, seq, session_id, edited=edited)
        due_digest = str(artifact.metadata["due"])
        due = read_content(self._content, due_digest, MOST_STATE_BYTES).decode()
        others = tuple(name for name in edited if name != section)
        plain = replace_sections(text, {section: due})
        version = self._versions.record(path, plain.encode(), seq, session_id, edited=others)
        target = replace_sections(text, {section: proposal.text})
        if target != plain:
            # What we said is known now, and what stays of the edit is still a person's.
            version = self._versions.record(path, target.encode(), seq, session_id, edited=edited)
        place.write({path: target}, f"Accept a proposal for {path}")
        self._proposals.answer(artifact, Answer.ACCEPTED)
        return version

    def _edited_sections(self, path: str, text: str) -> tuple[str, ...]:
        return tuple(
            name
            for name, content in section_contents(text).items()
            if content and not self._versions.is_ours(path, name, content)
        )

    @writes
    def decline(self, proposal: str | Proposal) -> None:
        """Leave an edited section as it is.

        You hear of it again when there is something else to say.

        Args:
            proposal: One of `proposals`, or its id.

        Raises:
            InvalidInputError: No proposal with this id is open.
        """
        with self._writing("decline"):
            self._proposals.answer(self._open_proposal(proposal), Answer.DECLINED)

    def _open_proposal(self, proposal: str | Proposal) -> Artifact:
        wanted = proposal.id if isinstance(proposal, Proposal) else proposal
        artifacts = self._proposals.open()
        for artifact in artifacts:
            if artifact.id == wanted:
                return artifact
        known = ", ".join(artifact.id for artifact in artifacts) or "there is none"
        raise InvalidInputError("proposal", f"{show_value(wanted)} is not open; open: {known}")

    # --- versions -----------------------------------------------------------

    def versions(self, path: str | os.PathLike[str]) -> list[DocumentVersion]:
        """Return every recorded state of a document, the oldest first.

        Args:
            path: The document: ``CHANGELOG.md``, ``docs/CHANGELOG.md``, or the absolute path.
        """
        return RecordList(self._versions.of(self._layout.resolve(path)))

    def read(self, version: DocumentVersion) -> str:
        """Return the text of a version, line ends as they were.

        Raises:
            DocumentUpdateError: It is not UTF-8.
            ContentElsewhereError: Another home has it; the error says how to bring it.
            CorruptContentError: Its bytes are missing or damaged.
        """
        if not isinstance(version, DocumentVersion):
            problem = f"{show_value(version)} should be a version, as `versions` returns them"
            raise InvalidInputError("version", problem)
        return self._versions.read(version)

    def diff(
        self,
        path: str | os.PathLike[str],
        old: int | DocumentVersion | None = None,
        new: int | DocumentVersion | None = None,
    ) -> str:
        """Return how a document changed from one version to another, as a unified diff.

        Args:
            path: The document.
            old: The earlier version, or its number; by default the one before *new*.
            new: The later one; by default the latest.

        Raises:
            InvalidInputError: The document has no such version.
        """
        name = self._layout.resolve(path)
        versions = self._versions.of(name)
        later = self._version_of(name, versions, new)
        before = [version for version in versions if version.version < later.version]
        if old is None and not before:
            earlier_text, label = "", "nothing"
        else:
            earlier = self._version_of(name, before or versions, old)
            earlier_text, label = self.read(earlier), f"version {earlier.version}"
        return unified_diff(
            earlier_text, self.read(later), name, (label, f"version {later.version}")
        )

    @writes
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
            ContentElsewhereError: Another home has its text; the error says how to bring it.
            DocumentUpdateError: The file cannot be replaced, or another process is updating it;
                nothing was changed.
        """
        name = self._layout.resolve(path)
        with self._writing(name):
            versions = self._versions.of(name)
            wanted = self._version_of(name, versions, version)
            return self._restore(name, wanted, versions[-1])

    @writes
    def undo(self, path: str | os.PathLike[str]) -> DocumentVersion:
        """Put back the text that a document had before its latest version.

        To undo several steps, use `restore` with a version's number: doing this twice puts back
        what was undone.

        Raises:
            InvalidInputError: There is no version before the latest.
            DocumentUpdateError: As for `restore`.
        """
        name = self._layout.resolve(path)
        versions = self._versions.of(name)
        if len(versions) < 2:  # noqa: PLR2004 - the latest, and one before it
            shown = one_line(name, _SHOWN_PATH_CHARS)
            raise InvalidInputError("path", f"{shown} has no version before the latest")
        return self.restore(name, versions[-2])

    def _version_of(
        self,
        name: str,
        versions: Sequence[DocumentVersion],
        wanted: int | DocumentVersion | None,
    ) -> DocumentVersion:
        """Return a version by its number; the latest if none is wanted."""
        if wanted is None and versions:
            return versions[-1]
        number = wanted.version if isinstance(wanted, DocumentVersion) else wanted
        for candidate in versions:
            if candidate.version == number:
                return candidate
        problem = f"{one_line(name, _SHOWN_PATH_CHARS)} has no version {show_value(number)}"
        raise InvalidInputError("version", f"{problem}; {_which_there_are(versions)}")

    def _restore(
        self, path: str, version: DocumentVersion, latest: DocumentVersion
    ) -> DocumentVersion:
        seq, place = version.event_seq, self._place()
        text = self._versions.read(version)
        present = place.read(path)
        if present == text.encode() and latest.digest == version.digest:
            return latest
        session_id = self._scope.session_id()
        if present is not None:
            self._versions.record(
                path, present, seq, session_id, edited=self._edited_in(path, present)
            )
        restored = self._versions.record(
            path, text.encode(), seq, session_id, edited=version.edited
        )
        place.write({path: text}, f"Restore version {version.version} of {path}")
        self._state.accept(path, place)
        self._state.remember_written([path], place)
        return restored

    def _edited_in(self, path: str, content: bytes) -> tuple[str, ...]:
        try:
            return self._edited_sections(path, read_text(path, content))
        except DocumentUpdateError:
            return ()

    # --- one at a time ------------------------------------------------------

    @contextmanager
    def _writing(self, subject: str) -> Iterator[None]:
        with self._lock() as locked:
            if not locked:
                raise DocumentUpdateError(
                    subject, "another process is updating it; try again in a moment"
                )
            yield

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        """Be the one who updates; yield ``False`` when another one was it for the whole wait."""
        path = self._scope.home.locks / "documents.lock"
        with ExitStack() as lock:
            locked = True
            try:
                make_folder(path.parent)
                lock.enter_context(file_lock(path, timeout_s=LOCK_WAIT_S, poll_s=_LOCK_POLL_S))
            except TimeoutError:
                locked = False
            except OSError as exc:
                raise translate_os_error(exc, path) from exc
            yield locked


@attrs.frozen(kw_only=True)
class _Job:
    """What one update is about."""

    kind: ProjectType
    session: Session
    place: Place
    names: tuple[str, ...]
    """The documents."""
    is_complete: bool = True
    """Whether these are all that the project keeps."""
    landing: LandingTask | None = None
    """A task that counts as completed."""
    behind: dict[tuple[str, bool], Mapping[str, str]] = attrs.field(factory=dict)
    """What `Documents._sections_behind` has worked out, by path, and whether without tasks."""


@attrs.frozen(kw_only=True)
class _Change:
    """A document that is to be written."""

    version: DocumentVersion
    text: str
    former_path: str


def _texts_of(changes: Iterable[_Change]) -> dict[str, str | None]:
    texts: dict[str, str | None] = {}
    for change in changes:
        if change.former_path:
            # First, so that a file system without upper case does not remove the new one.
            texts[change.former_path] = None
        texts[change.version.path] = change.text
    return texts


def _message(changes: Iterable[_Change]) -> str:
    paths = [change.version.path for change in changes]
    listed = "\n".join(f"* {path}" for path in paths)
    return f"Update the documents\n\n{listed}\n"


def _is_kept(comparison: Comparison) -> bool:
    """Tell whether a document is there now, and is ours."""
    if comparison.error is not None or comparison.addable:
        return False
    return not comparison.file.is_deleted


def _notes_on(comparison: Comparison) -> tuple[str, ...]:
    """Return what an update has to say about a document that it leaves as it is in parts."""
    if not comparison.lost:
        return comparison.notes
    remedy = "orch.documents.check() shows what to add to have it back"
    return (*comparison.notes, f"{comparison.lost_markers}; {remedy}")


def _section_names(content: bytes) -> frozenset[str]:
    """Return the sections of a file; none if its markers are damaged."""
    try:
        return frozenset(section_contents(content.decode(errors="replace")))
    except MarkerError:
        return frozenset()


def _edited_places(comparison: Comparison) -> tuple[str, ...]:
    return tuple(f"{comparison.path}, section {name!r}" for name in comparison.edited_names)


def _diff_of(comparison: Comparison) -> str:
    name = comparison.path
    return unified_diff(comparison.file.text, comparison.target, name)


def _which_there_are(versions: Sequence[DocumentVersion]) -> str:
    if not versions:
        return "nothing is recorded of it yet"
    return f"those there are: 1 to {versions[-1].version}"

"""Bringing documents up to date, and keeping every state they were in."""

from __future__ import annotations

import json
import stat
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import attrs

from vespera_orchestrator._model import (
    DocumentVersion,
    Finding,
    FindingKind,
    Severity,
    TaskStatus,
    utcnow,
)
from vespera_orchestrator.documents.rendering import Renderer, template_files
from vespera_orchestrator.documents.sections import (
    MarkerError,
    begin_marker,
    bodies,
    end_marker,
    framed,
    parse,
    replace,
)
from vespera_orchestrator.documents.sources import (
    PROJECT_TYPES,
    Material,
    ProjectType,
    Reader,
    gather,
    project_type,
)
from vespera_orchestrator.errors import (
    DocumentError,
    DocumentUpdateError,
    InvalidInputError,
    SessionNotFoundError,
)
from vespera_orchestrator.home.files import translate_os_error, write_atomically

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from vespera_orchestrator._model import Event, Session
    from vespera_orchestrator.contracts import ContentStore, Store
    from vespera_orchestrator.home.scope import Scope

FOLDER = "docs"
WAIT_S = 1.0
"""How long an update waits for another one before it leaves the work to it."""
_ROUNDS = 3
"""How often one update looks again for what was completed meanwhile."""
_LAYOUT = 1
"""Version of the state file; another one is ignored, and made anew."""

_ENDINGS = ("task_completed", "task_deleted")
_TELLING = (*_ENDINGS, "task_updated", "artifact_saved")
"""Kinds of events that can change what a document says. ``document_updated`` is none: an update must not bring about the next."""


@attrs.frozen(kw_only=True)
class UpdateReport:
    """What an update did. ``str()`` gives a line for each thing worth knowing."""

    written: tuple[DocumentVersion, ...] = ()
    """The documents that were changed, as they are now."""
    kept: tuple[DocumentVersion, ...] = ()
    """Texts that somebody had edited inside a section, kept as versions before the section was replaced."""
    notes: tuple[str, ...] = ()
    """What was left as it is, and why."""
    errors: tuple[DocumentError, ...] = ()
    """Documents that could not be brought up to date; the others were. The next update tries again."""
    busy: bool = False
    """Whether another process was at it, so that this update was left to the next caller."""

    def __str__(self) -> str:
        lines = [
            f"{v.path}: your edit inside a section is kept as version {v.version}, then the section was replaced"
            for v in self.kept
        ]
        lines += [f"{v.path}: up to date, version {v.version}" for v in self.written]
        lines += [*self.notes, *map(str, self.errors)]
        return "\n".join(lines) or "documents: nothing to change"

    def __add__(self, other: UpdateReport) -> UpdateReport:
        return UpdateReport(
            written=self.written + other.written,
            kept=self.kept + other.kept,
            notes=tuple(dict.fromkeys(self.notes + other.notes)),
            errors=self.errors + other.errors,
            busy=self.busy or other.busy,
        )


@attrs.frozen(kw_only=True)
class _Examined:
    """One document: what it says, what it should say, and what that means."""

    path: str
    """Relative to the project's folder."""
    bytes: bytes | None
    """The file as it is; ``None`` when there is none."""
    text: str = ""
    wanted: str = ""
    """The text as it should be."""
    edited: tuple[str, ...] = ()
    """Sections that somebody edited, and that have to be replaced."""
    stale: tuple[str, ...] = ()
    """Other sections that have to be replaced."""
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """The sections it could have, when it is somebody's own and has none."""
    error: DocumentError | None = None

    @property
    def changes(self) -> bool:
        return (
            self.error is None
            and not self.missing
            and (self.bytes is None or self.text != self.wanted)
        )


class Documents:
    """The documents of the project: ``orch.documents``.

    Which ones there are follows from the session's ``project_type``; a session without one keeps none, and so does a home whose
    ``config.toml`` says ``[documents] enabled = false``. A template of the same name in the home's folder ``templates/`` takes the
    place of a packaged one.

    Several processes may call any of this at any time: one writes, the others wait a moment or leave it to the next caller.
    """

    def __init__(self, scope: Scope, content: ContentStore) -> None:
        self._scope = scope
        self._content = content
        self._analysed: dict[tuple[str, str], object] = {}
        """What was found in artifacts, by digest."""
        self._renderer: tuple[dict[str, Any], Renderer] | None = None
        self._seen: dict[str, int] = {}
        """By project type: up to where the log holds nothing that a document would tell of."""

    @property
    def _store(self) -> Store:
        return self._scope.store

    # --- updating ---------------------------------------------------------------

    def update(self, *, session: str | Session | None = None) -> UpdateReport:
        """Bring the documents up to the last event.

        Costs a few reads when nothing has changed. Sections are replaced as a whole, everything outside of them stays byte for byte.
        Where somebody edited inside a section, the whole file is kept as a version first. A file without any marker, or with damaged
        ones, is left as it is; the report says so, and the other documents go on.

        Args:
            session: The session whose project type decides which documents there are; by default the current one.

        Returns:
            What was done. Safe to repeat, as the same store gives the same text.

        Raises:
            SessionNotFoundError: No session is active, or there is none with this id.
            DocumentError: None of the documents could be brought up to date; each has an error, the first is raised.
            StoreError: The store or the home cannot be read or written; safe to repeat.
        """
        current = self._scope.session(session)
        kind = self._kept(current)
        if isinstance(kind, str):
            return UpdateReport(notes=(kind,))
        if self._is_current(kind):
            return UpdateReport()
        with self._alone() as held:
            if not held:
                return UpdateReport(
                    notes=(
                        "documents: another process is updating them; the next update looks again",
                    ),
                    busy=True,
                )
            return self._updated(kind, current)

    def catch_up(self) -> UpdateReport:
        """Do as `update` for the current session; without one there is nothing to do."""
        try:
            return self.update()
        except SessionNotFoundError as exc:
            return UpdateReport(notes=(f"documents: {exc}",))

    def _kept(self, session: Session) -> ProjectType | str:
        """Return the project type whose documents are kept, or why none are."""
        if not self._scope.home.config.documents.enabled:
            return "documents: none are kept, config.toml of the home turns them off"
        project = self._scope.home.project
        if (project / "HEAD").is_file() and (project / "objects").is_dir():
            return f"documents: none are kept, {project} is a bare repository and has no place for them"
        kind = project_type(session, self._store)
        if kind is not None:
            return kind
        if session.project_type is None:
            return f"documents: none are kept, session {session.id} has no project type"
        return f"documents: none are kept, project type {session.project_type!r} has none; those that have: {', '.join(PROJECT_TYPES)}"

    def _updated(self, kind: ProjectType, session: Session) -> UpdateReport:
        report = UpdateReport()
        for _ in range(_ROUNDS):
            if self._is_current(kind):
                break
            report += self._round(kind, session)
            if report.errors:
                break
        if len(report.errors) == len(kind.documents):
            first, *others = report.errors
            for other in others:
                first.add_note(str(other))
            raise first
        return report

    def _round(self, kind: ProjectType, session: Session) -> UpdateReport:
        seq = (
            self._store.last_seq()
        )  # before anything is read: what comes later is for the next round
        examined, notes = self._examine(kind)
        report = UpdateReport(notes=notes)
        for one in examined:
            try:
                if one.error is not None:
                    raise one.error
                report += self._carry_out(one, seq, session.id)
            except DocumentError as exc:
                report += UpdateReport(errors=(exc,))
        if not report.errors:
            self._save_state(kind, seq)
        return report

    def _carry_out(self, one: _Examined, seq: int, session_id: str) -> UpdateReport:
        if not one.changes:
            return UpdateReport(notes=one.notes)
        if self._read(one.path) != one.bytes:
            raise DocumentUpdateError(
                one.path,
                "was saved by somebody else just now and left as it is; update again to take that in",
            )
        kept = (
            (self._pin(one.path, one.bytes, seq, session_id),)
            if one.edited and one.bytes is not None
            else ()
        )
        version = self._record(one.path, one.wanted.encode(), seq, session_id)
        self._write(one.path, one.wanted)
        return UpdateReport(written=(version,), kept=kept, notes=one.notes)

    # --- looking ----------------------------------------------------------------

    def check(self, *, session: str | Session | None = None) -> list[Finding]:
        """Find what is out of date, edited inside a section, without markers, or damaged.

        Changes nothing.

        Returns:
            A finding for each thing, each about one document; empty when all documents are up to
            date, or the project keeps none.

        Raises:
            SessionNotFoundError: No session is active, or there is none with this id.
        """
        kind = self._kept(self._scope.session(session))
        if isinstance(kind, str):
            return []
        examined, notes = self._examine(kind)
        findings = [finding for one in examined for finding in self._findings(one)]
        findings += [_finding(FOLDER, note) for note in notes]
        return findings

    def _findings(self, one: _Examined) -> list[Finding]:
        if one.error is not None:
            return [_finding(one.path, str(one.error))]
        if one.bytes is None:
            return [_finding(one.path, f"{one.path} does not exist", remedy=_UPDATE)]
        if one.missing:
            return [_unmarked(one.path, one.missing)]
        findings = [_finding(one.path, note) for note in one.notes]
        if one.edited:
            sentence = f"{one.path}: somebody edited inside {_named(one.edited)}"
            findings.append(_finding(one.path, sentence, remedy=_KEEP_EDITS_OUTSIDE))
        if one.stale:
            sentence = f"{one.path}: {_named(one.stale)} can be brought up to date"
            findings.append(_finding(one.path, sentence, remedy=_UPDATE))
        return findings

    def _examine(self, kind: ProjectType) -> tuple[list[_Examined], tuple[str, ...]]:
        paths = {f"{FOLDER}/{name}": name for name in kind.documents}
        found = {path: self._found(path) for path in paths}
        record = found[f"{FOLDER}/{kind.record}"]
        linked = record.error is None and (record.bytes is None or kind.log in bodies(record.text))
        material = gather(self._store, kind, Reader(self._content, self._analysed), linked=linked)
        renderer = self._rendering(kind)
        return [
            self._compared(found[path], name, material, renderer) for path, name in paths.items()
        ], material.notes

    def _found(self, path: str) -> _Examined:
        """Read a document as it is."""
        try:
            raw = self._read(path)
            text = "" if raw is None else raw.decode()
            parse(text)
        except DocumentUpdateError as exc:
            return _Examined(path=path, bytes=None, error=exc)
        except UnicodeDecodeError:
            return _Examined(
                path=path,
                bytes=None,
                error=DocumentUpdateError(
                    path, "is not UTF-8 and was left as it is; save it as UTF-8"
                ),
            )
        except MarkerError as exc:
            return _Examined(
                path=path, bytes=None, error=DocumentUpdateError(path, f"was left as it is, {exc}")
            )
        return _Examined(path=path, bytes=raw, text=text)

    def _rendering(self, kind: ProjectType) -> Renderer:
        # jinja2 would go on with a packaged template after one of the user's own has come to take its place.
        overrides = self._scope.home.templates
        stamps = {str(path): _stamp(path) for path in template_files(kind.documents, overrides)}
        if self._renderer is None or self._renderer[0] != stamps:
            self._renderer = stamps, Renderer(overrides)
        return self._renderer[1]

    def _compared(
        self, one: _Examined, name: str, material: Material, renderer: Renderer
    ) -> _Examined:
        """Work out what a document should say, and what was done to it meanwhile."""
        if one.error is not None:
            return one
        try:
            fresh = renderer.render(name, material)
        except DocumentError as exc:
            return attrs.evolve(one, error=exc)
        if one.bytes is None:
            return attrs.evolve(one, wanted=framed(fresh), notes=self._gone(one.path))
        wanted, present = bodies(fresh), bodies(one.text)
        if not wanted.keys() & present.keys():
            return attrs.evolve(
                one, missing=tuple(wanted), notes=(f"{one.path} is your own and was left as it is",)
            )
        differing = [
            section
            for section, body in present.items()
            if section in wanted and body != wanted[section]
        ]
        edited = tuple(
            section
            for section in differing
            if not self._is_ours(one.path, section, present[section])
        )
        stale = tuple(section for section in differing if section not in edited)
        unknown = tuple(
            f"{one.path}: section {section!r} is none that its template knows; it was left as it is"
            for section in present
            if section not in wanted
        )
        return attrs.evolve(
            one, wanted=replace(one.text, wanted), edited=edited, stale=stale, notes=unknown
        )

    def _gone(self, path: str) -> tuple[str, ...]:
        versions = self.versions(path)
        return (
            (
                f"{path} was gone and is made anew; version {versions[-1].version} has what stood there",
            )
            if versions
            else ()
        )

    def _is_ours(self, path: str, section: str, body: str) -> bool:
        """Tell whether *body* is what an update wrote, now or at any time (a checkout may have brought an old file back)."""
        if not body:
            return True
        return any(
            self._bodies(version).get(section) == body for version in reversed(self.versions(path))
        )

    def _bodies(self, version: DocumentVersion) -> dict[str, str]:
        try:
            return bodies(self.read(version))
        except (DocumentUpdateError, MarkerError):
            return {}

    # --- versions ---------------------------------------------------------------

    def versions(self, path: str | os.PathLike[str]) -> list[DocumentVersion]:
        """Return every recorded state of a document, the first first.

        Args:
            path: The document: ``docs/changelog.md``, ``changelog.md``, or the absolute path.
        """
        return sorted(
            self._store.document_versions(self._name(path)), key=lambda version: version.version
        )

    def read(self, version: DocumentVersion) -> str:
        """Return the text of a version, line ends as they were.

        Raises:
            DocumentUpdateError: It is not UTF-8.
            CorruptContentError: Its bytes are missing or damaged.
        """
        try:
            return self._content.read(version.digest).decode()
        except UnicodeDecodeError as exc:
            raise DocumentUpdateError(
                version.path, f"version {version.version} is not UTF-8"
            ) from exc

    def restore(
        self, path: str | os.PathLike[str], version: int | DocumentVersion
    ) -> DocumentVersion:
        """Put the text of a version back as the file. What stands there before is kept as a version first.

        The sections follow the store again as soon as another task completes; what should stay belongs outside of them.

        Args:
            path: The document.
            version: Which state, from `versions`, or its number.

        Returns:
            The version that records this; the latest one when the file says so already.

        Raises:
            InvalidInputError: The document has no such version.
            DocumentUpdateError: The file cannot be replaced, or another process is updating it; nothing was changed.
        """
        name = self._name(path)
        number = version.version if isinstance(version, DocumentVersion) else version
        with self._alone() as held:
            if not held:
                raise DocumentUpdateError(
                    name, "another process is updating it; try again in a moment"
                )
            versions = self.versions(name)
            wanted = next((v for v in versions if v.version == number), None)
            if wanted is None:
                raise InvalidInputError(
                    "version", f"{name} has no version {number}; {_numbers(versions)}"
                )
            return self._restored(wanted, versions)

    def _restored(
        self, wanted: DocumentVersion, versions: list[DocumentVersion]
    ) -> DocumentVersion:
        text = self.read(wanted)
        present = self._read(wanted.path)
        if present == text.encode() and versions[-1].digest == wanted.digest:
            return versions[-1]
        session_id = self._scope.session_id()
        if present is not None:
            self._pin(wanted.path, present, wanted.event_seq, session_id)
        version = self._record(wanted.path, text.encode(), wanted.event_seq, session_id)
        self._write(wanted.path, text)
        self._settle(wanted.path)
        return version

    def _pin(self, path: str, raw: bytes, seq: int, session_id: str) -> DocumentVersion:
        """Make sure that *raw* is among the versions."""
        digest, _ = self._content.put(raw)
        known = next((version for version in self.versions(path) if version.digest == digest), None)
        return known or self._record(path, raw, seq, session_id)

    def _record(self, path: str, raw: bytes, seq: int, session_id: str) -> DocumentVersion:
        """Record *raw* as the latest version, unless it is that already. Called by the one who holds the lock."""
        digest, _ = self._content.put(raw)
        versions = self.versions(path)
        if versions and versions[-1].digest == digest:
            return versions[-1]
        number = versions[-1].version + 1 if versions else 1
        return self._store.put_document(
            DocumentVersion(
                path=path, version=number, digest=digest, event_seq=seq, created_at=utcnow()
            ),
            session_id,
        )

    # --- files --------------------------------------------------------------------

    def _name(self, path: str | os.PathLike[str]) -> str:
        """Return *path* relative to the project's folder, with forward slashes."""
        given, project = Path(path), self._scope.home.project
        if given.is_absolute():
            whole = given.parent.resolve() / given.name
            given = whole.relative_to(project) if whole.is_relative_to(project) else whole
        parts = given.parts if len(given.parts) > 1 else (FOLDER, *given.parts)
        return PurePath(*parts).as_posix()

    def _place(self, path: str) -> Path:
        """Return where a document lies, having made sure that writing there stays inside the project's ``docs/``."""
        parts = PurePath(path).parts
        if len(parts) != 2 or parts[0] != FOLDER or parts[1] == "..":  # noqa: PLR2004 - the folder and the file
            raise DocumentUpdateError(
                path, f"is no file directly in {FOLDER}/; documents are kept nowhere else"
            )
        place = self._scope.home.project / path
        for part, wanted, what in (
            (place.parent, stat.S_ISDIR, "folder"),
            (place, stat.S_ISREG, "regular file"),
        ):
            try:
                mode = part.lstat().st_mode
            except FileNotFoundError:
                break
            if not wanted(mode):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else f"no {what}"
                raise DocumentUpdateError(
                    path,
                    f"{part} is {kind} and was not followed; put a {what} in its place, or {_TURN_OFF}",
                )
        return place

    def _read(self, path: str) -> bytes | None:
        try:
            return self._place(path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise DocumentUpdateError(
                path, f"cannot be read ({exc.strerror}); make it readable, or {_TURN_OFF}"
            ) from exc

    def _write(self, path: str, text: str) -> None:
        try:
            place = self._place(path)
            place.parent.mkdir(exist_ok=True)
            mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else None
            write_atomically(place, text)
            if mode is not None:
                place.chmod(mode)
        except OSError as exc:
            raise DocumentUpdateError(
                path,
                f"cannot be written ({exc.strerror}); make room or make it writable, or {_TURN_OFF}",
            ) from exc

    # --- one at a time, and only when needed --------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Hold the documents for this caller; gives ``False`` when another one has them for longer than the wait."""
        from filelock import FileLock, Timeout

        path = self._scope.home.locks / "documents.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=WAIT_S)
            held = True
            try:
                lock.acquire(poll_interval=0.01)
            except Timeout:
                held = False
        except OSError as exc:
            raise translate_os_error(exc, path) from exc
        try:
            yield held
        finally:
            lock.release()

    def _is_current(self, kind: ProjectType) -> bool:
        """Tell whether neither the log nor any file concerned has changed since the last update. Reads no document."""
        state = self._state().get(kind.name)
        if state is None or state["signature"] != self._signature(kind):
            return False
        after = max(state["seq"], self._seen.get(kind.name, 0))
        last = self._store.last_seq()
        if last == after:
            return True
        if last < after or any(
            self._tells(event) for event in self._store.events(after, kinds=_TELLING, limit=None)
        ):
            return False
        self._seen[kind.name] = last
        return True

    def _tells(self, event: Event) -> bool:
        """Tell whether an event can change a document: what belongs to a task counts once that is completed."""
        if event.kind in _ENDINGS or event.task_id is None:
            return True
        task = self._store.find_task(event.task_id, None)
        return task is None or task.status is TaskStatus.COMPLETED

    @property
    def _state_file(self) -> Path:
        return self._scope.home.path / "documents.json"

    def _state(self) -> dict[str, dict[str, Any]]:
        # A cache: whatever is wrong with it, the documents are examined anew.
        try:
            state = json.loads(self._state_file.read_text("utf-8"))
            if state["layout"] != _LAYOUT:
                return {}
            return {
                name: {"seq": int(of["seq"]), "signature": dict(of["signature"])}
                for name, of in state["types"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _signature(self, kind: ProjectType) -> dict[str, Any]:
        """Return what changes when a document, a template or this package changes, without reading them."""
        documents = [self._scope.home.project / FOLDER / name for name in kind.documents]
        code = [
            Path(__file__).with_name(name) for name in ("engine.py", "sources.py", "markdown.py")
        ]
        watched = [*documents, *template_files(kind.documents, self._scope.home.templates), *code]
        return {"store": self._store.url} | {str(path): _stamp(path) for path in watched}

    def _save_state(self, kind: ProjectType, seq: int) -> None:
        self._write_state(
            self._state() | {kind.name: {"seq": seq, "signature": self._signature(kind)}}
        )

    def _settle(self, path: str) -> None:
        """Let the file as it is now count as up to date, until there is news."""
        state = self._state()
        place = self._place(path)
        for entry in state.values():
            if str(place) in entry["signature"]:
                entry["signature"][str(place)] = _stamp(place)
        self._write_state(state)

    def _write_state(self, types: dict[str, dict[str, Any]]) -> None:
        try:
            write_atomically(self._state_file, json.dumps({"layout": _LAYOUT, "types": types}))
        except OSError as exc:
            raise translate_os_error(exc, self._state_file) from exc


_TURN_OFF = "turn documents off with enabled = false under [documents] in config.toml of the home"


def _stamp(path: Path) -> list[int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def _named(sections: tuple[str, ...]) -> str:
    return ("section " if len(sections) == 1 else "sections ") + ", ".join(map(repr, sections))


def _numbers(versions: list[DocumentVersion]) -> str:
    return (
        f"those there are: 1 to {versions[-1].version}"
        if versions
        else "nothing is recorded of it yet"
    )


_UPDATE = "orch.documents.update() does it"
_KEEP_EDITS_OUTSIDE = (
    "the next update keeps that text as a version and replaces it; "
    "move what should stay outside the marker lines"
)


def _finding(path: str, sentence: str, *, remedy: str = "") -> Finding:
    return Finding(
        severity=Severity.NOTE,
        kind=FindingKind.DOCUMENT,
        subject=path,
        sentence=sentence,
        remedy=remedy,
    )


def _unmarked(path: str, sections: tuple[str, ...]) -> Finding:
    markers = "\n".join(f"{begin_marker(name)}\n{end_marker(name)}" for name in sections)
    return _finding(
        path,
        f"{path} is your own file, without our markers, and was left as it is",
        remedy=f"for parts that keep themselves up to date, add:\n{markers}",
    )

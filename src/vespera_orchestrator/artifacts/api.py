"""Artifacts: the full record of the work, and the memory that later tasks are given.

`Artifacts` is what callers use (``orch.artifacts``). The bytes are in `FolderContent`, the records in the store, and the search index is a
view of both that follows the event log: it is loaded when somebody searches, and saving never waits for it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import attrs

from vespera_orchestrator._model import (
    Artifact,
    ArtifactDraft,
    ArtifactKind,
    ArtifactQuery,
    Finding,
    FindingKind,
    Session,
    Severity,
    Task,
    utcnow,
)
from vespera_orchestrator._text import CHARS_PER_TOKEN
from vespera_orchestrator.artifacts import browsing
from vespera_orchestrator.artifacts import context as choosing
from vespera_orchestrator.artifacts.browsing import Exported
from vespera_orchestrator.artifacts.content import Collected, files, media_types
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.artifacts.context import Context, ContextPassage
from vespera_orchestrator.artifacts.search.index import ArtifactIndex, IndexStatus
from vespera_orchestrator.artifacts.search.passages import is_text, quoted_phrases
from vespera_orchestrator.artifacts.search.table import SearchFilter
from vespera_orchestrator.artifacts.showing import (
    ArtifactList,
    Shown,
    comparable,
    difference,
    shown_bytes,
    summary,
)
from vespera_orchestrator.errors import (
    ArtifactIndexError,
    ArtifactNotFoundError,
    CorruptContentError,
    InvalidInputError,
    MissingDependencyError,
    ReadOnlyError,
    SessionNotFoundError,
    StoreError,
)
from vespera_orchestrator.tasks import arguments

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from vespera_orchestrator._model import ContextUse, JsonValue
    from vespera_orchestrator.artifacts.search.index import SearchMode
    from vespera_orchestrator.artifacts.search.ranking import RankedArtifact
    from vespera_orchestrator.contracts import ContentStore, Store
    from vespera_orchestrator.home.locate import Home
    from vespera_orchestrator.home.scope import Scope

__all__ = [
    "ArtifactList",
    "Artifacts",
    "Collected",
    "Context",
    "ContextPassage",
    "Damage",
    "Exported",
    "FolderContent",
    "Hit",
    "IndexStatus",
    "Shown",
]

log = logging.getLogger("vespera_orchestrator")

ALL_SESSIONS = "*"
DAY_S = 86_400.0
_SHORTEST_GRACE_S, _LONGEST_GRACE_S = 3600.0, 3.2e9
_NEAREST = 3
"""So many other versions are looked at for one that is sound."""

_SEARCH_WAIT_S = 2.0
_CATCH_UP_WAIT_S = 60.0
_MOST_HITS = 1000
_QUERY_CHARACTERS = 4000
_MOST_BEARING = 40
"""So many artifacts are looked at for a context."""
_MOST_DEPENDED_ON = 50
_QUOTED_WITHIN = 20
"""Among so many hits a source is looked for before what quotes it is shown first."""


@attrs.frozen(repr=False, kw_only=True)
class Hit:
    """An artifact that answers a search, by its best passage."""

    text: str
    """The passage, exactly as it stands in the artifact."""
    artifact_id: str
    title: str
    task_id: str | None
    score: float
    """Higher is better; compares within one answer only."""
    start: int
    """Offset of the passage's first character in ``artifacts.text(artifact_id)``."""
    end: int
    """Offset behind its last character."""
    version: int
    """Which version of the artifact this is."""
    superseded: bool = False
    """Whether a later version exists; only ever true with ``include_superseded``."""
    mode: SearchMode = "text"
    """How it was looked for: ``"hybrid"``, ``"text"`` or ``"vector"``."""

    def __repr__(self) -> str:
        return f"Hit({self.artifact_id!r}, {self.title!r}, {' '.join(self.text.split())[:60]!r})"

    def __str__(self) -> str:
        return f"{self.title} (v{self.version}, {self.artifact_id}, characters {self.start}-{self.end})\n{self.text}"


@attrs.frozen(kw_only=True)
class Damage:
    """A content that is missing or is not what was saved, whose it is, and what still can be had. Prints as a sentence."""

    digest: str
    """SHA-256 of what was saved, in hexadecimal."""
    problem: str
    """What is wrong with it."""
    artifacts: tuple[Artifact, ...]
    """The artifacts that refer to it, any version."""
    documents: tuple[str, ...]
    """The document versions that refer to it, e.g. ``docs/changelog.md v3``."""
    intact: tuple[str, ...]
    """What can be had instead, each with the call or command that gives it."""

    def __str__(self) -> str:
        whose = [
            f"artifact {a.id} {a.title!r} v{a.version}{f' of task {a.task_id}' if a.task_id else ''}"
            for a in self.artifacts
        ]
        whose += [f"document {name}" for name in self.documents]
        remedy = f"put {self.digest[:2]}/{self.digest[2:]} back from a backup of artifacts/, or save the same content again"
        intact = f"intact: {'; '.join(self.intact)}; " if self.intact else ""
        return f"{', '.join(whose)}: {self.problem}; {intact}{remedy}"

    def __contains__(self, text: str) -> bool:
        """Whether the sentence has *text* in it."""
        return text in str(self)


class Artifacts:
    """Save, read and search artifacts.

    Any number of threads and processes may do so at once. Wherever an artifact or a task is asked for, its id will do, or the record;
    for tasks also the alias.

    Args:
        scope: Gives the home, the store, the agent and the current session.
        content: Holds the bytes.
        elsewhere: Says where else the bytes of a file can be had, as the command that gives them; for when they are damaged.
    """

    def __init__(
        self,
        scope: Scope,
        content: ContentStore,
        *,
        elsewhere: Callable[[Artifact], str | None] | None = None,
    ) -> None:
        self._scope = scope
        self._content = content
        self._elsewhere = elsewhere
        self._index = ArtifactIndex(scope, content)
        own = _is_own(scope.home, scope.store) or scope.store.url.startswith("memory:")
        if (
            isinstance(content, FolderContent)
            and content.folder == scope.home.artifacts
            and not own
        ):
            # Otherwise whoever opens the home without naming that store would take its contents for garbage.
            with suppress(OSError):
                scope.home.shared.touch()

    # saving

    def save(
        self,
        title: str,
        content: JsonValue | bytes | Path | IO[bytes],
        *,
        task: str | Task | None = None,
        kind: str = "general",
        media_type: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, JsonValue] | None = None,
        partial: bool = False,
    ) -> Artifact:
        """Save *content* for good and record it, in this order, each durably.

        Saving under a title that the task (or, without a task, the session) already has makes the next version; saving the same bytes
        again makes nothing and returns the version that is there. Safe to repeat.

        Args:
            title: What it is called.
            content: Text is kept as Markdown in UTF-8, bytes as they are, a dict or list as JSON. A `Path` or a stream of bytes is read
                in pieces: its size does not matter.
            task: The task it belongs to; none for one of the session.
            kind: Any word, to filter by.
            media_type: What the bytes are. By default as the title's suffix tells (``plan.csv``), or for bytes their beginning, or as
                above.
            tags: Words to filter by.
            metadata: Whatever JSON can hold, kept beside it.
            partial: Whether the work it records was cut short.

        Raises:
            InvalidInputError: Nothing was written.
            SourceFileNotFoundError: *content* is a path that cannot be read; nothing was written.
            StoreUnavailableError: Disk full, I/O error, no connection; nothing was recorded, safe to repeat.
            ContentAccessError: The object store refuses; nothing was recorded.
        """
        owner = self._scope.task(task) if task is not None else None
        session_id = owner.session_id if owner is not None else self._scope.session().id
        draft = self.draft(
            title,
            content,
            kind=kind,
            media_type=media_type,
            tags=tags,
            metadata=metadata,
            partial=partial,
        )
        return self._scope.store.save_artifact(
            session_id,
            draft,
            task_id=owner.id if owner is not None else None,
            attempt=None,
            agent=self._scope.agent,
        )

    def draft(
        self,
        title: str,
        content: JsonValue | bytes | Path | IO[bytes],
        *,
        kind: str = "general",
        media_type: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, JsonValue] | None = None,
        partial: bool = False,
    ) -> ArtifactDraft:
        """Store the bytes durably without recording them, so that the record can go into somebody else's transaction.

        What is not recorded within a day may be collected. Arguments and errors as for `save`.
        """
        self._scope.require_open()
        empty = ArtifactDraft(
            title=_word("title", title),
            digest="",
            size_bytes=0,
            kind=_word("kind", kind),
            media_type="" if media_type is None else _word("media_type", media_type),
            tags=_tags(tags),
            metadata=_metadata(metadata),
            partial=bool(partial),
        )
        # Everything has been checked; only now is anything written.
        digest, size, default = self._put(title, content)
        return attrs.evolve(
            empty, digest=digest, size_bytes=size, media_type=empty.media_type or default
        )

    def _put(
        self, title: str, content: JsonValue | bytes | Path | IO[bytes]
    ) -> tuple[str, int, str]:
        """Store what a caller gave; return digest, size, and what it is unless the caller knows better."""
        if isinstance(content, Path):
            source = files.locate(content.absolute(), Path.cwd())
            source = attrs.evolve(source, requested=str(content))
            stored = files.store(source, self._content.put)
            return stored.digest, stored.size_bytes, stored.media_type
        if hasattr(content, "read"):
            digest, size = self._content.put(content)
            return digest, size, self._kind_of(title, digest)
        encoded, default = _encode(content)
        kind = media_types.by_name(title) or (
            media_types.by_signature(encoded)
            if isinstance(content, bytes | bytearray | memoryview)
            else None
        )
        if isinstance(content, str) and kind is not None and not is_text(kind):
            kind = None  # a text about "logo.png" is no picture
        return *self._content.put(
            encoded
        ), default if kind is None or default == "application/json" else kind

    def _kind_of(self, name: str, digest: str) -> str:
        with self._content.open(digest) as stream:
            return media_types.detect(name, stream.read(media_types.BEGINNING_BYTES))

    def draft_file(self, path: str | os.PathLike[str], *, root: Path) -> ArtifactDraft:
        """Take a file in as it is now, without recording it. Read once, in pieces: its size does not matter.

        A file that changes while it is read is read again. A symbolic link stands for the file it leads to.

        Args:
            path: The file. A relative path starts at *root* and stays within it; an absolute one may lead anywhere.
            root: The project's folder or the task's worktree. The title of a file inside is its path from there, with forward slashes.

        Raises:
            SourceFileNotFoundError: It is not there, is no regular file, cannot be read, leads out, or is being written to.
        """
        self._scope.require_open()
        source = files.locate(path, root)
        stored = files.store(source, self._content.put)
        return ArtifactDraft(
            title=_clean(source.title),
            digest=stored.digest,
            size_bytes=stored.size_bytes,
            kind=ArtifactKind.FILE,
            media_type=stored.media_type,
        )

    # reading

    def get(self, artifact: str | Artifact, *, version: int | None = None) -> Artifact:
        """Return the artifact's record as it is now.

        Args:
            artifact: The artifact, in any version.
            version: Another version of it; the first is 1.

        Raises:
            ArtifactNotFoundError: There is none with this id, or no such version.
        """
        record = self._scope.artifact(artifact)
        if version is None or version == record.version:
            return record
        found = next((other for other in self.versions(record) if other.version == version), None)
        if found is None:
            raise ArtifactNotFoundError(record.id, version)
        return found

    def find(
        self, title: str, *, task: str | Task | None = None, session: str | Session | None = None
    ) -> Artifact | None:
        """Return the newest artifact under exactly this title, or ``None``. *task* and *session* as for `list`."""
        owner = self._scope.task(task) if task is not None else None
        found = self._scope.store.artifacts(
            ArtifactQuery(
                session_id=self._session(session, owner),
                task_ids=None if owner is None else (owner.id,),
                title=_clean(title),
                newest_first=True,
                limit=1,
            )
        )
        return found[0] if found else None

    def read(self, artifact: str | Artifact) -> bytes:
        """Return the bytes, checked against their digest.

        Raises:
            ArtifactNotFoundError: There is none with this id.
            CorruptContentError: They are missing, or are not those that were saved; tells what still can be had.
        """
        record = self.get(artifact)
        with self._telling(record):
            return self._content.read(record.digest)

    @contextmanager
    def open(self, artifact: str | Artifact) -> Iterator[IO[bytes]]:
        """Open the bytes for reading in pieces, whatever their size. They are known to be right when the end was read.

        Raises:
            ArtifactNotFoundError: There is none with this id.
            CorruptContentError: Also from reading: they are missing, or are not those that were saved.
        """
        record = self.get(artifact)
        with self._telling(record), self._content.open(record.digest) as stream:
            yield stream

    def text(self, artifact: str | Artifact) -> str:
        """Return the text, decoded as UTF-8; what is not valid UTF-8 shows as U+FFFD. Offsets of a `Hit` count in this text.

        Raises:
            ArtifactNotFoundError: There is none with this id.
            InvalidInputError: It is no text.
            CorruptContentError: The bytes are missing, or are not those that were saved.
        """
        record = self.get(artifact)
        if not is_text(record.media_type):
            raise InvalidInputError(
                "artifact",
                f"{record.id} is {record.media_type}, no text; artifacts.read({record.id!r}) gives its bytes",
            )
        return self.read(record).decode("utf-8", "replace")

    def show(self, artifact: str | Artifact) -> Shown:
        """Return the artifact with its content, to print or to look at in a notebook: Markdown and images are drawn.

        Raises:
            ArtifactNotFoundError: There is none with this id.
            CorruptContentError: The bytes are missing, or are not those that were saved.
        """
        record = self.get(artifact)
        wanted = shown_bytes(record)
        if not wanted:
            return Shown(record, b"")
        if record.size_bytes <= wanted:
            return Shown(record, self.read(record))
        with self.open(record) as stream:
            return Shown(record, stream.read(wanted) if is_text(record.media_type) else b"")

    def list(
        self,
        *,
        task: str | Task | None = None,
        session: str | Session | None = None,
        kind: str | None = None,
        title: str | None = None,
        tags: str | Iterable[str] = (),
        agent: str | None = None,
        partial: bool | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        include_superseded: bool = False,
        limit: int | None = None,
    ) -> ArtifactList:
        """Return artifacts that pass every test given, the newest first. The list prints as a table.

        Args:
            task: Only those of this task.
            session: Only those of this session; by default the current one where there is one, and ``"*"`` for all of the home.
            kind: Only those of this kind.
            title: Only those under exactly this title.
            tags: Only those that have all of these.
            agent: Only those this agent saved.
            partial: Only those of work that was cut short; ``False``: all but these.
            created_after: Only those saved at this time or later; aware.
            created_before: Only those saved before this time; aware.
            include_superseded: Whether to return older versions as well.
            limit: Most artifacts to return.
        """
        owner = self._scope.task(task) if task is not None else None
        query = ArtifactQuery(
            session_id=self._session(session, owner),
            task_ids=None if owner is None else (owner.id,),
            kind=kind,
            title=None if title is None else _clean(title),
            tags=tuple(_tags(tags)),
            agent=agent,
            partial=partial,
            created_after=arguments.moment("created_after", created_after),
            created_before=arguments.moment("created_before", created_before),
            include_superseded=include_superseded,
            limit=arguments.whole_number("limit", limit, least=0),
            newest_first=True,
        )
        found = self._scope.store.artifacts(query)
        return ArtifactList(found)

    def versions(self, artifact: str | Artifact) -> ArtifactList:
        """Return every version of the artifact, the first first. Any version of it will do as the argument."""
        record = self.get(artifact)
        found = self._scope.store.artifacts(
            ArtifactQuery(
                session_id=record.session_id,
                task_ids=None if record.task_id is None else (record.task_id,),
                title=record.title,
                include_superseded=True,
            )
        )
        of_it = [
            other
            for other in found
            if other.task_id == record.task_id and (other.kind == "file") == (record.kind == "file")
        ]
        return ArtifactList(sorted(of_it, key=lambda other: other.version))

    def diff(
        self,
        artifact: str | Artifact,
        other: str | Artifact | None = None,
        *,
        context_lines: int = 3,
    ) -> str:
        """Return what changed from *artifact* to *other*, as a unified diff; empty when the bytes are the same.

        What is no text, or has more than 20,000 lines or 8 MB, is summed up in a line instead.

        Args:
            artifact: The older one.
            other: The newer one. Without it, *artifact* is compared with the version before it; a first version, with nothing.
            context_lines: How many unchanged lines to show around a change.

        Raises:
            ArtifactNotFoundError: There is none with this id.
            CorruptContentError: The bytes of one are missing, or are not those that were saved.
        """
        arguments.whole_number("context_lines", context_lines, least=0)
        after = self.get(artifact if other is None else other)
        before = (
            self.get(artifact)
            if other is not None
            else self.get(after.supersedes_id)
            if after.supersedes_id
            else None
        )
        before = before or attrs.evolve(after, digest="", size_bytes=0, version=0)
        if not comparable(before, after):
            return summary(before, after)
        old = self.read(before) if before.digest else b""
        return difference(before, after, old, self.read(after), context_lines=context_lines)

    # looking at it as files

    def browse(self) -> Exported:
        """Write the current artifacts of all sessions as plain files below ``browse/`` in the home, for a person; return where.

        By session, task and title. It is a copy: made anew whenever this is called, never read back, and may be deleted at any time.
        What has not changed is not written again.

        Raises:
            StoreError: It cannot be written.
        """
        return self.export(self._scope.home.path / "browse", session=ALL_SESSIONS)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        session: str | Session | None = None,
        task: str | Task | None = None,
        include_superseded: bool = False,
    ) -> Exported:
        """Write artifacts as plain files, for a person: a folder for each session and task, and a file for each title.

        Names are made safe for every system, and never lead out of the folder. Called again, it brings the folder up to date: files that
        have no artifact any more go, unless somebody has changed them; files that a person put there stay. A content that is damaged is
        told among the problems, and the rest is written.

        Args:
            path: A folder, new, empty, or made by this.
            session: Only those of this session; by default the current one where there is one, and ``"*"`` for all of the home.
            task: Only those of this task.
            include_superseded: Whether to write older versions as well.

        Raises:
            InvalidInputError: The folder holds other things.
            StoreError: It cannot be written.
        """
        store, owner = self._scope.store, self._scope.task(task) if task is not None else None
        found = store.artifacts(
            ArtifactQuery(
                session_id=self._session(session, owner),
                task_ids=None if owner is None else (owner.id,),
                include_superseded=include_superseded,
            )
        )
        sessions = {
            session_id: store.find_session(session_id)
            for session_id in {artifact.session_id for artifact in found}
        }
        tasks = {
            task_id: store.find_task(task_id, None)
            for task_id in {artifact.task_id for artifact in found if artifact.task_id}
        }
        return browsing.export(
            Path(path).absolute(),
            browsing.arrange(
                found,
                {
                    key: f"{record.created_at:%Y-%m-%d} {record.goal[:50] or key}"
                    for key, record in sessions.items()
                    if record
                },
                {key: record.alias for key, record in tasks.items() if record},
            ),
            self._content,
            lock=self._scope.home.locks / "export.lock",
        )

    # care

    def verify(
        self, *, progress: Callable[[int, int], object] | None = None
    ) -> builtins.list[Damage]:
        """Check every byte that a record refers to, artifacts and document versions; one `Damage` for each content that is not sound.

        Reads everything that was ever saved in this home, in pieces: expect a few seconds for each gigabyte.

        Args:
            progress: Called after each content with how many were read, and how many there are.
        """
        found = []
        digests = sorted(self._scope.store.content_digests())
        for done, digest in enumerate(digests, 1):
            problem = self._content.verify(digest)
            if problem is not None:
                found.append(self._damage(digest, problem))
            if progress is not None:
                progress(done, len(digests))
        return found

    def _damage(self, digest: str, problem: str) -> Damage:
        store = self._scope.store
        artifacts = store.artifacts(ArtifactQuery(digest=digest, include_superseded=True))
        documents = [
            f"{version.path} v{version.version}"
            for latest in store.document_versions()
            for version in store.document_versions(latest.path)
            if version.digest == digest
        ]
        intact = dict.fromkeys(call for artifact in artifacts for call in self._intact(artifact))
        return Damage(
            digest=digest,
            problem=problem,
            artifacts=tuple(artifacts),
            documents=tuple(documents),
            intact=tuple(intact),
        )

    def _intact(self, artifact: Artifact) -> Iterator[str]:
        """Say what can be had in place of a damaged content: the same bytes from git, then the nearest sound versions."""
        found = (
            self._elsewhere(artifact)
            if self._elsewhere is not None and artifact.kind == "file"
            else None
        )
        if found is not None:
            yield f"the same bytes: {found}"
        others = sorted(
            self.versions(artifact),
            key=lambda other: (abs(other.version - artifact.version), -other.version),
        )
        near = [other for other in others if other.digest != artifact.digest][:_NEAREST]
        sound = next((other for other in near if self._content.verify(other.digest) is None), None)
        if sound is not None:
            yield f"version {sound.version}: orch.artifacts.read({sound.id!r})"

    @contextmanager
    def _telling(self, artifact: Artifact) -> Iterator[None]:
        """Add to an error about damaged bytes whose they are, and what is intact."""
        try:
            yield
        except CorruptContentError as exc:
            about = f"artifact {artifact.id} {artifact.title!r} v{artifact.version}"
            raise attrs.evolve(exc, about=about, intact=tuple(self._intact(artifact))) from exc

    def collect_garbage(
        self, *, older_than_s: float = DAY_S, dry_run: bool = False, sole_user: bool = False
    ) -> Collected:
        """Take away contents that no record refers to: of calls that did not come to recording them, and of records that were pruned.

        Safe while others write: what somebody has put within *older_than_s* stays, and so does what is put again at that very moment.
        In an object store it takes two calls: the first marks them, another that comes at least *older_than_s* later takes away what is
        marked and still not referred to.

        Args:
            older_than_s: How long ago it must have been put; an hour at least, since a caller may take long from putting to recording.
            dry_run: Only tell what would go, and what would be marked.
            sole_user: Say that no other store refers to these contents. Without it, a folder is only collected by the home's own database,
                and only where it is the home's own: of any other it cannot be known from here who else relies on it. An object store
                knows who puts something there, and is collected by the only one who does.

        Raises:
            InvalidInputError: *older_than_s* is less than an hour; or it is not known that nobody else relies on the contents; or what
                holds them is neither a folder nor an object store.
            StoreError: Something could not be read or removed; safe to repeat.
        """
        if (
            not arguments.is_number(older_than_s)
            or not _SHORTEST_GRACE_S <= older_than_s < _LONGEST_GRACE_S
        ):
            raise InvalidInputError(
                "older_than_s",
                f"{older_than_s!r} should be {_SHORTEST_GRACE_S:.0f} seconds or more, up to a century",
            )
        store, home, content = self._scope.store, self._scope.home, self._content
        if not isinstance(content, FolderContent):
            from vespera_orchestrator.artifacts.content.object_store import ObjectContent

            if not isinstance(content, ObjectContent):
                raise InvalidInputError(
                    "content",
                    f"{content.url} is not collected from here; {type(content).__name__} may know how",
                )
            user = None if sole_user else store.identity
            return content.collect(
                store.content_digests, older_than_s=older_than_s, dry_run=dry_run, user=user
            )
        own = content.folder == home.artifacts and _is_own(home, store) and not home.shared.exists()
        if not sole_user and not own:
            raise InvalidInputError(
                "sole_user",
                f"other stores may refer to what is in {content.folder}, and what they alone refer to would be lost; "
                "say sole_user=True if there are none",
            )
        return content.collect(store.content_digests, older_than_s=older_than_s, dry_run=dry_run)

    # searching

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        mode: SearchMode | None = None,
        session: str | Session | None = None,
        task: str | Task | None = None,
        kind: str | None = None,
        tags: Iterable[str] = (),
        include_superseded: bool = False,
    ) -> builtins.list[Hit]:
        """Find artifacts by what they say, the best first, one hit for each, showing its best passage.

        Words count in any of their forms, and parts of identifiers count as words (``config`` finds ``parseConfig``). With vectors (the
        extra ``vectors``, or another embedder; see `Orchestrator.open`) what says it in other words is found as well. Words between double
        quotes must stand together so, endings and words such as "the" aside; where nothing has them so, they count singly. Any other
        character may occur in *query* and has no special meaning. Everything saved before the call is found, in whatever process it was
        saved, unless another process is bringing the index up to date and does not finish within two seconds: then the newest may be
        missing. The first search in a process loads LanceDB (a second or two).

        Text artifacts are searched (``text/*``, JSON, YAML, source code and the like), each in its first two million characters.

        Args:
            query: What to look for; its first 4,000 characters count.
            limit: Most hits, 1 to 1,000.
            mode: ``"text"``: by words alone. ``"vector"``: by vectors alone. ``"hybrid"``, the default: by both, or by words where no
                vectors can be had; ``Hit.mode`` tells which it was.
            session: Only artifacts of this session; by default the current one where there is one, and ``"*"`` for all of the home.
            task: Only artifacts of this task.
            kind: Only artifacts of this kind.
            tags: Only artifacts that have all of these.
            include_superseded: Whether older versions may be found as well; they come after all current ones.

        Returns:
            The hits; empty when nothing matches, or *query* has no words but such as "the".

        Raises:
            InvalidInputError: An argument cannot be used.
            ArtifactIndexError: The index cannot be used, nor made anew; or this process was forked from one that had used it.
            EmbedderError: Vectors alone were asked for, and the embedder failed.
            MissingDependencyError: Vectors alone were asked for, or an embedder was named, and it is not installed.
        """
        _check_search(query, limit, mode)
        query = _clean(query[:_QUERY_CHARACTERS])
        owner = self._scope.task(task) if task is not None else None
        session_id = self._session(session, owner)
        wanted = SearchFilter(
            session_ids=None if session_id is None else (session_id,),
            task_ids=None if owner is None else (owner.id,),
            kind=None if kind is None else _word("kind", kind),
            tags=_tags(tags),
            include_superseded=include_superseded,
            phrases=quoted_phrases(query),
            limit=limit,
        )
        if not any(character.isalnum() for character in query):
            return []
        hits: builtins.list[tuple[Hit, Artifact]] = []
        answer = self._index.search(query, wanted, wait_s=_SEARCH_WAIT_S, mode=mode)
        for entry in answer.ranked:
            # The store has the last word: the index may be a moment behind.
            record = self._scope.store.find_artifact(entry.passage.artifact_id)
            if record is not None and (include_superseded or not record.superseded):
                hits.append((_hit(entry, record, answer.mode), record))
            if len(hits) == max(limit, _QUOTED_WITHIN):
                break
        return [hit for hit, _ in _sources_first(hits)][:limit]

    def context(
        self,
        query: str,
        *,
        task: str | Task | None = None,
        session: str | Session | None = None,
        budget_tokens: int = 4000,
    ) -> Context:
        """Choose what to read for a piece of work: passages that bear on it, within a budget.

        They are chosen by how well they answer *query*, by how near they are to *task* in the graph (what it builds on, then its siblings,
        its session, the sessions that is part of), and a little by how new they are; nothing twice, and no superseded versions. An artifact
        of a dependency is there even when it shares no word with the query, whole where it is short. Where the index cannot be used, what
        the task builds on is given all the same.

        With *task* it is recorded which artifact versions the task was given (event ``context_given``); see `context_uses`.

        Args:
            query: What the work is about; its first 4,000 characters count.
            task: Whom it is for.
            session: Where to start without a task; by default the current session, and ``"*"`` for all of the home alike.
            budget_tokens: About how long it may be; one token is counted as four characters.

        Raises:
            InvalidInputError: An argument cannot be used.
        """
        _check_search(query, 1, None)
        if type(budget_tokens) is not int or budget_tokens < 1:
            raise InvalidInputError(
                "budget_tokens", f"{budget_tokens!r} should be a whole number of at least 1"
            )
        owner = self._scope.task(task) if task is not None else None
        session_id = owner.session_id if owner is not None else self._session(session, None)
        store = self._scope.store
        around = choosing.Surroundings.of(
            store, owner, None if session_id is None else store.find_session(session_id)
        )
        ranked = self._bearing_on(_clean(query[:_QUERY_CHARACTERS]), around)
        given = (
            store.artifacts(ArtifactQuery(task_ids=tuple(around.dependencies)))
            if around.dependencies
            else []
        )
        given = sorted(given, key=lambda artifact: around.dependencies[str(artifact.task_id)])[
            :_MOST_DEPENDED_ON
        ]
        records = {artifact.id: artifact for artifact in given}
        for entry in ranked:
            record = records.get(entry.passage.artifact_id) or store.find_artifact(
                entry.passage.artifact_id
            )
            if (
                record is not None
                and not record.superseded
                and (owner is None or record.task_id != owner.id)
            ):
                records[record.id] = record
        texts = {
            artifact.id: text
            for artifact in given
            if (text := self._opening(artifact, budget_tokens))
        }
        found = choosing.candidates(
            ranked, records, texts, around, now=utcnow(), budget_tokens=budget_tokens
        )
        context = Context(
            query=query,
            passages=tuple(choosing.choose(found, budget_tokens)),
            budget_tokens=budget_tokens,
        )
        if owner is not None and context.passages:
            store.record_context(owner.id, context.artifact_ids, agent=self._scope.agent)
        return context

    def _bearing_on(
        self, query: str, around: choosing.Surroundings
    ) -> builtins.list[RankedArtifact]:
        """Search the sessions around, and once more what the task builds on: there a poor match counts as well."""
        if not any(character.isalnum() for character in query):
            return []
        sessions = None if around.session_id is None else (around.session_id, *around.ancestors)
        wanted = [SearchFilter(session_ids=sessions, limit=_MOST_BEARING)]
        wanted += (
            [SearchFilter(task_ids=tuple(around.dependencies), limit=_MOST_BEARING)]
            if around.dependencies
            else []
        )
        found: dict[str, RankedArtifact] = {}
        try:
            for part in wanted:
                for entry in self._index.search(query, part, wait_s=_SEARCH_WAIT_S).ranked[
                    :_MOST_BEARING
                ]:
                    found.setdefault(entry.passage.artifact_id, entry)
        except (ArtifactIndexError, ReadOnlyError, MissingDependencyError) as exc:
            log.warning("context is chosen without searching: %s", exc)
        return list(found.values())

    def _opening(self, artifact: Artifact, budget_tokens: int) -> str:
        """Return as much of the beginning of a text as may be needed; nothing of what is no text or cannot be read."""
        if not is_text(artifact.media_type):
            return ""
        most = CHARS_PER_TOKEN * budget_tokens + 1
        try:
            with self._content.open(artifact.digest) as stream:
                return stream.read(4 * most).decode("utf-8", "replace")[
                    :most
                ]  # no character takes more than four bytes
        except StoreError:
            return ""

    def context_uses(
        self,
        *,
        artifact: str | Artifact | None = None,
        task: str | Task | None = None,
        session: str | Session | None = None,
        outdated: bool = False,
    ) -> builtins.list[ContextUse]:
        """Return which tasks were given which artifact versions to build on, in the order they were given.

        Args:
            artifact: Only those that were given this artifact, in any version.
            task: Only what this task was given.
            session: Only tasks of this session; by default the current one where there is one, and ``"*"`` for all of the home.
            outdated: Only where there is a later version by now and the task rests on the earlier one: it is held, blocked or completed.
        """
        owner = self._scope.task(task) if task is not None else None
        versions = None if artifact is None else [version.id for version in self.versions(artifact)]
        session_id = (
            None if artifact is not None and session is None else self._session(session, owner)
        )
        return self._scope.store.context_uses(
            session_id=session_id,
            task_id=None if owner is None else owner.id,
            artifact_ids=versions,
            outdated=outdated,
        )

    def catch_up(self) -> int:
        """Bring the search index up to the last artifact; `search` does so by itself. Returns how many were taken in.

        Raises:
            ArtifactIndexError: Another process was writing the index for a whole minute, or it could not be written.
        """
        return _counted(self._index.catch_up(wait_s=_CATCH_UP_WAIT_S))

    def index_cursor(self) -> int | None:
        """Return the last event that the search index has taken in; ``None`` when there is no index, or it belongs to another log.

        Loads nothing and changes nothing.
        """
        return self._index.cursor()

    def index_status(self) -> IndexStatus:
        """Tell what the search index has, and whether vectors are part of it; ``print`` it. Changes nothing, and loads LanceDB.

        Raises:
            ArtifactIndexError: The index cannot be read.
            MissingDependencyError: The embedder that was named is not installed.
        """
        return self._index.status()

    def verify_index(self) -> builtins.list[Finding]:
        """Compare the search index with the artifacts; one finding for each difference.

        What was saved since the index was last brought up to date does not count. `verify` checks
        the bytes themselves.
        """
        try:
            return self._index.verify()
        except ArtifactIndexError as exc:
            finding = Finding(
                severity=Severity.WARNING,
                kind=FindingKind.INDEX,
                subject="index",
                sentence=f"search index: cannot {exc.doing}: {exc.reason}",
                remedy=exc.remedy,
            )
            return [finding]

    def rebuild_index(self) -> int:
        """Make the search index anew from the artifacts. Until it is complete the old one is searched. Returns how many were taken in.

        Raises:
            ArtifactIndexError: Another process was writing the index for a whole minute, or it could not be written.
        """
        return _counted(self._index.rebuild(wait_s=_CATCH_UP_WAIT_S))

    def _session(self, session: str | Session | None, task: Task | None) -> str | None:
        """Return the session to filter by."""
        if session == ALL_SESSIONS or (session is None and task is not None):
            return None
        if session is not None:
            return self._scope.session(session).id
        try:
            return self._scope.session_id()
        except SessionNotFoundError:
            return None


def _is_own(home: Home, store: Store) -> bool:
    return store.url.partition("?")[0] == f"sqlite:///{home.database}"


def _sources_first(hits: list[tuple[Hit, Artifact]]) -> list[tuple[Hit, Artifact]]:
    """Move what quotes other artifacts (its metadata name them as ``sources``) behind the first of them that was found as well."""
    order = list(hits)
    for entry in hits:
        quoted = entry[1].metadata.get("sources", ())
        at = order.index(entry)
        later = next(
            (j for j in range(at + 1, len(order)) if order[j][0].artifact_id in quoted), None
        )
        if later is not None:
            order.insert(later, order.pop(at))
    return order


def _counted(count: int | None) -> int:
    if count is None:
        raise ArtifactIndexError(
            "write it",
            "another process has been writing it for a minute",
            "let it finish and call again; nothing is lost meanwhile",
        )
    return count


def _hit(entry: RankedArtifact, record: Artifact, mode: SearchMode) -> Hit:
    at = entry.passage.start
    text = entry.passage.text
    return Hit(
        text=text,
        artifact_id=record.id,
        title=record.title,
        task_id=record.task_id,
        score=entry.score,
        start=at,
        end=at + len(text),
        version=record.version,
        superseded=record.superseded,
        mode=mode,
    )


# --- what callers give --------------------------------------------------------


def _clean(text: str) -> str:
    """Replace lone surrogates, which neither the store nor the index can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _word(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(name, f"{value!r} should be a text that is not empty")
    return _clean(value)


def _tags(tags: str | Iterable[str]) -> tuple[str, ...]:
    """Accept one tag as it is: ``tags="design"`` can mean nothing else."""
    if not isinstance(tags, Iterable):
        raise InvalidInputError("tags", f"{tags!r} should be words")
    return tuple(
        dict.fromkeys(_word("tags", tag) for tag in ([tags] if isinstance(tags, str) else tags))
    )


def _metadata(metadata: object) -> Mapping[str, JsonValue]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidInputError("metadata", f"{metadata!r} should be a mapping")
    kept: Mapping[str, JsonValue] = json.loads(_clean(_json("metadata", dict(metadata))))
    return kept


def _encode(content: JsonValue | bytes) -> tuple[bytes, str]:
    """Return the bytes to keep, and the media type they have unless told otherwise."""
    if isinstance(content, str):
        # Lone surrogates come from damaged file names and half-cut emoji; they are kept, and shown as U+FFFD.
        return content.encode("utf-8", "surrogatepass"), "text/markdown"
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content), "application/octet-stream"
    if isinstance(content, Mapping):
        content = dict(content)
    if isinstance(content, dict | list | tuple):
        return _json("content", content).encode("utf-8", "surrogatepass"), "application/json"
    raise InvalidInputError(
        "content",
        f"{type(content).__name__} cannot be kept; give text, bytes, or a dict or list that JSON can hold",
    )


def _json(name: str, value: JsonValue) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidInputError(name, f"is not what JSON can hold: {exc}") from exc


def _check_search(query: object, limit: object, mode: object) -> None:
    if not isinstance(query, str):
        raise InvalidInputError("query", f"{query!r} should be a text")
    if not isinstance(limit, int) or not 1 <= limit <= _MOST_HITS:
        raise InvalidInputError(
            "limit", f"{limit!r} should be a whole number from 1 to {_MOST_HITS}"
        )
    if mode not in {None, "hybrid", "text", "vector"}:
        raise InvalidInputError(
            "mode",
            f"{mode!r} is not known; 'hybrid', 'text' and 'vector' are, and the default is 'hybrid'",
        )

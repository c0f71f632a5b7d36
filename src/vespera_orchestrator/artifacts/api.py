"""``orch.artifacts``: the full record of the work, and the memory that later tasks read.

`Artifacts` is what callers use. Records are in the store, bytes in a content store. The search
index is a view of both that follows the event log: it is loaded when somebody searches, and
saving never waits for it.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator import artifacts
from vespera_orchestrator._model import (
    Artifact,
    ArtifactDraft,
    ArtifactQuery,
    ContextUse,
    Finding,
    JsonValue,
    SearchGap,
    Session,
    Task,
    utcnow,
)
from vespera_orchestrator._rooms import Rooms
from vespera_orchestrator.artifacts import garbage, input_checks
from vespera_orchestrator.artifacts.content import Collected, pdfs, readable
from vespera_orchestrator.artifacts.content.media_types import is_text
from vespera_orchestrator.artifacts.damage import Damage, Verification
from vespera_orchestrator.artifacts.hits import (
    Hit,
    SearchHits,
    hits_of,
    note_on_gaps,
    note_on_other_sessions,
)
from vespera_orchestrator.artifacts.named import named_first
from vespera_orchestrator.artifacts.search.gaps import BY_TITLE, gap_words
from vespera_orchestrator.artifacts.search.index import ArtifactIndex, IndexStatus, SearchMode
from vespera_orchestrator.artifacts.search.passages import has_words, quoted_phrases
from vespera_orchestrator.artifacts.search.table import SearchFilter
from vespera_orchestrator.artifacts.selection import ALL_SESSIONS, Selection
from vespera_orchestrator.artifacts.surroundings import Surroundings
from vespera_orchestrator.artifacts.versions import difference, nothing_before, versions_of
from vespera_orchestrator.errors import (
    ArtifactForgottenError,
    ArtifactIndexError,
    ArtifactNotFoundError,
    InvalidInputError,
    MissingDependencyError,
)
from vespera_orchestrator.home.calls import explains_calls
from vespera_orchestrator.home.reading import read_content
from vespera_orchestrator.home.scope import writes
from vespera_orchestrator.tasks import arguments
from vespera_orchestrator.tasks.arguments import callback, moment, text, whole_number

if TYPE_CHECKING:
    from vespera_orchestrator.artifacts.forgetting import Forgetting

_DAY_S: Final = 86_400.0
_CATCH_UP_WAIT_S: Final = 60.0


@explains_calls
class Artifacts:
    """Save, read and search artifacts.

    Any number of threads and processes may do so at once. Wherever an artifact or a task is asked
    for, you may pass its id or its record; for a task also its alias.

    Args:
        rooms: The store and the session, the bytes, and git for bytes that are damaged.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._scope = rooms.scope
        self._content = rooms.content
        self._index = ArtifactIndex(self._scope, self._content)
        self._verification = Verification(rooms)
        garbage.note_foreign_store(self._scope, self._content)

    @cached_property
    def _forgetting(self) -> Forgetting:
        from vespera_orchestrator.artifacts.forgetting import Forgetting

        return Forgetting(self._rooms, self._index, self.browse)

    def __repr__(self) -> str:
        return "<Artifacts: the full record of the work: save, read, search, list>"

    # saving

    @writes
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
        supersedes: str | Artifact | Iterable[str | Artifact] | None = None,
    ) -> Artifact:
        """Save *content* and then record it; each step is durable.

        If the task (or without a task, the session) already has an artifact with this title, this
        becomes its next version. If the bytes are the same as well, nothing is written, and the
        existing version is returned. Safe to repeat.

        Args:
            title: What to call it.
            content: Text is stored as Markdown in UTF-8, bytes as they are, a dict or list as
                JSON. A `Path` or a stream of bytes is read in pieces, so it may have any size.
            task: The task it belongs to; without one it belongs to the session.
            kind: Any word, to filter by.
            media_type: What the bytes are. By default this follows from the suffix of the title
                (``plan.csv``), or for bytes from how they begin, or from the type of *content*.
            tags: Words to filter by.
            metadata: Anything that JSON can hold, recorded with it.
            partial: Whether the work that it records was cut short.
            supersedes: What no longer holds because of this: one artifact or several, of whatever
                title, task or session. The latest version of each is superseded from then on, and
                no search, context, briefing or document offers it; you still find it by its id, and
                with ``include_superseded``. `context_uses` lists who relies on it. Naming the same
                ones again is fine.

        Raises:
            ArtifactNotFoundError: An artifact that it is to supersede does not exist; nothing was
                recorded.
            ArtifactSupersededError: Another artifact has superseded it already; says which.
                Nothing was recorded.
            InvalidInputError: Nothing was written.
            SourceFileNotFoundError: *content* is a path that cannot be read; nothing was written.
            StoreUnavailableError: Disk full, I/O error, no connection; nothing was recorded, safe
                to repeat.
            ContentAccessError: The object store refuses; nothing was recorded.
        """
        owner = None if task is None else self._scope.task(task)
        session_id = self._scope.session().id if owner is None else owner.session_id
        draft = self.draft(
            title,
            content,
            kind=kind,
            media_type=media_type,
            tags=tags,
            metadata=metadata,
            partial=partial,
            supersedes=supersedes,
        )
        return self._scope.store.save_artifact(
            session_id,
            draft,
            task_id=None if owner is None else owner.id,
            attempt=None,
            agent=self._scope.agent,
        )

    @writes
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
        supersedes: str | Artifact | Iterable[str | Artifact] | None = None,
    ) -> ArtifactDraft:
        """Store the bytes durably without recording them.

        The record can then become part of another transaction. What is not recorded within a day
        may be collected as garbage. Arguments and errors are those of `save`.
        """
        from vespera_orchestrator.artifacts import drafting

        self._scope.require_open()
        # Every argument is checked before anything is written.
        description = drafting.Description.of(
            title=title,
            kind=kind,
            media_type=media_type,
            tags=tags,
            metadata=metadata,
            partial=partial,
            supersedes=self._ids_of("supersedes", supersedes),
        )
        draft = drafting.draft(description, content, self._content)
        return attrs.evolve(draft, home_id=self._rooms.keeper)

    def _ids_of(self, name: str, artifacts: object) -> tuple[str, ...]:
        refs = input_checks.artifact_refs(name, artifacts)
        return tuple(self._scope.artifact(ref).id for ref in refs)

    @writes
    def draft_file(self, path: str | os.PathLike[str], *, root: Path) -> ArtifactDraft:
        """Store a file as it is now, without recording it.

        It is read once, in pieces, so it may have any size. If it changes meanwhile, it is read
        again. A symbolic link stands for the file it points to.

        Args:
            path: The file. A relative path starts at *root* and stays within it; an absolute one
                may lead anywhere.
            root: The project's folder or the task's worktree. A file inside is titled with its
                path from there, with forward slashes.

        Raises:
            SourceFileNotFoundError: It does not exist, is not a regular file, cannot be read,
                leads out of *root*, or is being written to.
        """
        from vespera_orchestrator.artifacts import drafting

        self._scope.require_open()
        draft = drafting.draft_file(path, root, self._content)
        return attrs.evolve(draft, home_id=self._rooms.keeper)

    # reading

    def get(self, artifact: str | Artifact, *, version: int | None = None) -> Artifact:
        """Return the artifact's record as it is now.

        Args:
            artifact: The artifact, in any version.
            version: Another version of it; the first is 1.

        Raises:
            ArtifactNotFoundError: No artifact has this id, or it has no such version.
            ArtifactForgottenError: It was removed for good; says when and why.
        """
        record = self._scope.artifact(artifact)
        whole_number("version", version, least=1)
        if version is None or version == record.version:
            return record
        for other in versions_of(self._scope.store, record):
            if other.version == version:
                return other
        raise ArtifactNotFoundError(record.id, version)

    def find(
        self, title: str, *, task: str | Task | None = None, session: str | Session | None = None
    ) -> Artifact | None:
        """Return the newest artifact with exactly this title, or ``None``.

        *task* and *session* are those of `list`.
        """
        selection = Selection.of(self._scope, task, session)
        query = ArtifactQuery(
            session_id=selection.session_id,
            task_ids=selection.task_ids,
            title=input_checks.clean_title(input_checks.non_empty_text("title", title)),
            newest_first=True,
            limit=1,
        )
        newest = self._scope.store.artifacts(query)
        return newest[0] if newest else None

    def read(self, artifact: str | Artifact) -> bytes:
        """Return the bytes, checked against their digest.

        Raises:
            ArtifactNotFoundError: No artifact has this id.
            ContentElsewhereError: Another home has the bytes; says which, and how to bring them.
            CorruptContentError: The bytes are missing, or are not the saved ones; says what can
                be had instead.
        """
        record = self.get(artifact)
        with self._verification.explaining(record):
            return read_content(self._content, record.digest, record.size_bytes)

    @contextmanager
    def open(self, artifact: str | Artifact) -> Iterator[IO[bytes]]:
        """Open the bytes for reading in pieces, whatever their size.

        They are known to be right once you have read to the end.

        Raises:
            ArtifactNotFoundError: No artifact has this id.
            CorruptContentError: The bytes are missing, or are not the saved ones. Reading from
                the stream raises it as well.
        """
        record = self.get(artifact)
        with self._verification.explaining(record), self._content.open(record.digest) as stream:
            yield stream

    def text(self, artifact: str | Artifact) -> str:
        """Return the text: a notebook's by cell, a PDF's by page.

        The offsets of a `Hit` count in it.

        Raises:
            ArtifactNotFoundError: No artifact has this id.
            InvalidInputError: It is no text, or a PDF without one, or one that cannot be read.
            MissingDependencyError: It is a PDF, and their reader is not installed.
            CorruptContentError: The bytes are missing, or are not the saved ones.
        """
        record = self.get(artifact)
        with self._verification.explaining(record):
            text = readable.readable_text(self._content, record)
        if text.gap is SearchGap.NO_READER:
            raise MissingDependencyError("reading a PDF", pdfs.READER, pdfs.INSTALL)
        if text.gap in BY_TITLE:
            raise InvalidInputError(
                "artifact",
                f"{record.id} is {record.media_type}, {gap_words(text.gap)}; "
                f"orch.artifacts.read({record.id!r}) returns its bytes",
            )
        return text.text

    def show(self, artifact: str | Artifact) -> artifacts.Shown:
        """Return the artifact with its content, to print or to view in a notebook.

        A notebook renders Markdown and images.

        Raises:
            ArtifactNotFoundError: No artifact has this id.
            CorruptContentError: The bytes are missing, or are not the saved ones.
        """
        from vespera_orchestrator.artifacts.showing import bytes_to_show

        record = self.get(artifact)
        most_bytes = bytes_to_show(record)
        if not most_bytes:
            return artifacts.Shown(record, b"")
        if record.size_bytes <= most_bytes:
            return artifacts.Shown(record, self.read(record))
        with self.open(record) as stream:
            beginning = stream.read(most_bytes) if is_text(record.media_type) else b""
        return artifacts.Shown(record, beginning)

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
    ) -> artifacts.ArtifactList:
        """Return the artifacts that match every filter, the newest first.

        The list prints as a table.

        Args:
            task: Only those of this task.
            session: Only those of this session; by default the current one if there is one, and
                ``"*"`` for the whole home.
            kind: Only those of this kind.
            title: Only those with exactly this title.
            tags: Only those that have all of these.
            agent: Only those that this agent saved.
            partial: Only those of work that was cut short; ``False``: all others.
            created_after: Only those saved at this time or later; aware.
            created_before: Only those saved before this time; aware.
            include_superseded: Whether to return older versions, and what others have superseded,
                as well.
            limit: Most artifacts to return.
        """
        selection = Selection.of(self._scope, task, session)
        query = ArtifactQuery(
            session_id=selection.session_id,
            task_ids=selection.task_ids,
            kind=text("kind", kind),
            title=input_checks.optional_clean(text("title", title)),
            tags=input_checks.tag_words(tags),
            agent=text("agent", agent),
            partial=None if partial is None else bool(partial),
            created_after=moment("created_after", created_after),
            created_before=moment("created_before", created_before),
            include_superseded=include_superseded,
            limit=whole_number("limit", limit, least=0),
            newest_first=True,
        )
        return artifacts.ArtifactList(self._scope.store.artifacts(query))

    def versions(self, artifact: str | Artifact) -> artifacts.ArtifactList:
        """Return every version of the artifact, the oldest first.

        You may pass any of them.
        """
        record = self.get(artifact)
        return artifacts.ArtifactList(versions_of(self._scope.store, record))

    def diff(
        self,
        artifact: str | Artifact,
        other: str | Artifact | None = None,
        *,
        context_lines: int = 3,
    ) -> str:
        """Return what changed from *artifact* to *other*, as a unified diff.

        It is empty when the bytes are the same. Anything that is not text, or has more than
        20,000 lines or 8 MB, is summed up in one line instead.

        Args:
            artifact: The older one.
            other: The newer one. Without it, *artifact* is compared with the version before it,
                and a first version with nothing.
            context_lines: How many unchanged lines to show around a change.

        Raises:
            ArtifactNotFoundError: No artifact has this id.
            CorruptContentError: The bytes of one are missing, or are not the saved ones.
        """
        whole_number("context_lines", context_lines, least=0)
        if other is not None:
            after = self.get(other)
            before = self.get(artifact)
        else:
            after = self.get(artifact)
            before = self._previous_version(after)
        return difference(before, after, self.read, context_lines=context_lines)

    def _previous_version(self, record: Artifact) -> Artifact:
        if record.supersedes_id is None:
            return nothing_before(record)
        return self.get(record.supersedes_id)

    # forgetting

    @writes
    def forget(
        self, artifact: str | Artifact, *, versions: bool = True, reason: str = ""
    ) -> artifacts.Forgotten:
        """Remove an artifact for good: what it says is gone, and a tombstone says why.

        Gone are its record and bytes, its title in the history, the passages in the search index
        (which the next search builds again), the older versions of documents that quote it, and the
        files for browsing. The documents are updated first. Bytes that something else refers to
        stay. The answer says what was removed, which tasks had been given it, and what cannot be
        reached from here: backups, exports, git's history, other homes.

        To say that something no longer holds, save what does, with ``supersedes``.

        A process that is killed on the way leaves a tombstone: nothing offers the artifact any
        more, `Orchestrator.check` names what is left to do, and `Orchestrator.repair` or the same
        call does it. Called again, it returns the same answer.

        Args:
            artifact: The artifact. You may pass the id of one that was forgotten.
            versions: Whether every version goes, or only this one. In the latter case the version
                before it holds again if there is no later one.
            reason: Why. Whoever asks for the artifact later reads it.

        Raises:
            ArtifactNotFoundError: No artifact has this id, and none had.
            ArtifactIndexError: Another process is writing the search index. Safe to repeat.
            DocumentError: A document cannot be read or written. Safe to repeat.
            StoreError: Something could not be removed. Safe to repeat.
        """
        words = (text("reason", reason) or "").strip()
        try:
            record = self._scope.artifact(artifact)
        except ArtifactForgottenError as exc:
            return self._forgetting.resume(exc.artifact)
        series = versions_of(self._scope.store, record) if versions else [record]
        return self._forgetting.forget([each.id for each in series], words)

    @writes
    def forget_text(self, text: str | Task, *, reason: str = "") -> artifacts.Forgotten:
        """Put a mark in the place of a text, wherever it is kept: a password, a name.

        It is looked for, letter by letter, in everything that people and agents wrote: tasks with
        their summaries and outputs, the history, checkpoints, shared values, and the contents of
        artifacts that are text, which stay the artifacts they are. Documents are updated, and their
        older versions that have it are removed; so are the search index and the files for browsing.
        The answer says what was changed, and what cannot be reached from here. Names by which
        others refer to something stay, and the answer says where: an alias, an agent, a key.

        Of a task goes all that was written into it, its title and its checkpoints, too; what of
        that has 20 characters or more goes wherever else it is quoted. Its artifacts stay, and so
        does what it depends on: `forget` removes those, one by one.

        It reads everything that was ever saved in this home; others wait meanwhile. A call that was
        killed is finished by the same call, for a task with the same record. The text itself is
        written nowhere.

        Args:
            text: What to look for, six characters or more; or the record of a task.
            reason: Why.

        Raises:
            InvalidInputError: The text is too short, or a word or an id of the library's own.
            ArtifactIndexError: Another process is writing the search index. Safe to repeat.
            DocumentError: A document cannot be read or written. Safe to repeat.
            StoreError: Something could not be changed. Safe to repeat.
        """
        from vespera_orchestrator.artifacts.redaction import Redaction

        words = (arguments.text("reason", reason) or "").strip()
        return Redaction(self._rooms, self._forgetting).forget(text, words)

    @writes
    def finish_forgetting(self) -> builtins.list[artifacts.Forgotten]:
        """Do what killed calls of `forget` left to do; `Orchestrator.repair` calls it."""
        return self._forgetting.finish_all()

    # as files

    @writes
    def browse(self) -> artifacts.Exported:
        """Write the current artifacts of all sessions as plain files, and return where.

        They are below ``browse/`` in the home, by session, task and title, for a person to read.
        This is a copy: each call brings it up to date, it is never read back, and you may delete
        it at any time. What has not changed is not written again.

        Raises:
            StoreError: It cannot be written.
        """
        folder = self._scope.home.path / "browse"
        return self.export(folder, session=ALL_SESSIONS)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        session: str | Session | None = None,
        task: str | Task | None = None,
        include_superseded: bool = False,
    ) -> artifacts.Exported:
        """Write artifacts as plain files for a person.

        There is a folder for each session and task, and a file for each title. Names are made
        safe for every system, and never lead out of the folder. Another call brings the folder up
        to date: files without an artifact are removed unless somebody has changed them, and a
        person's own files stay. A damaged content is reported as a problem, and everything else
        is written.

        Args:
            path: A folder that is new, empty, or was written by an earlier export.
            session: Only those of this session; by default the current one if there is one, and
                ``"*"`` for the whole home.
            task: Only those of this task.
            include_superseded: Whether to write older versions as well.

        Raises:
            InvalidInputError: The folder holds other things.
            StoreError: It cannot be written.
        """
        from vespera_orchestrator.artifacts import browsing

        selection = Selection.of(self._scope, task, session)
        query = ArtifactQuery(
            session_id=selection.session_id,
            task_ids=selection.task_ids,
            include_superseded=include_superseded,
        )
        records = self._scope.store.artifacts(query)
        return browsing.export(
            arguments.absolute_path("path", path),
            browsing.paths_of(self._scope.store, records),
            self._content,
            lock=None if self._scope.readonly else self._scope.home.locks / "export.lock",
        )

    # maintenance

    def verify(
        self, *, progress: Callable[[int, int], object] | None = None
    ) -> builtins.list[Damage]:
        """Check every byte that a record refers to, of artifacts and document versions.

        Reads everything that was ever saved in this home, in pieces: expect a few seconds for
        each gigabyte.

        Args:
            progress: Called after each content with how many were checked, and how many there
                are.

        Returns:
            One `Damage` for each content that is missing or damaged.
        """
        return self._verification.verify(callback("progress", progress))

    def collect_garbage(
        self, *, older_than_s: float = _DAY_S, dry_run: bool = False, sole_user: bool = False
    ) -> Collected:
        """Remove contents that no record refers to.

        Such contents come from calls that stored them and then failed to record them, and from
        records that were pruned. This is safe while others write: whatever was put within
        *older_than_s* stays, and so does whatever is put again at the same moment. In an object
        store it takes two calls. The first one marks the contents; another one, at least
        *older_than_s* later, removes those that are marked and still unreferenced.

        Args:
            older_than_s: How long ago a content must have been put. At least an hour, since a
                caller may take long from putting it to recording it.
            dry_run: Only count what would be removed or marked.
            sole_user: Confirm that no other store refers to these contents. Without it, a folder
                is collected only if it is the home's own, and only by the home's own database:
                nobody can tell who else relies on any other folder. A folder in which another store
                has left its name is not collected at all. An object store knows who puts contents
                there, and is collected only if that is a single store.

        Raises:
            InvalidInputError: *older_than_s* is less than an hour; or others may rely on the
                contents; or they are neither in a folder nor in an object store.
            StoreError: Something could not be read or removed; safe to repeat.
        """
        if not dry_run:
            self._scope.require_writable()
        return garbage.collect(
            self._scope,
            self._content,
            older_than_s=older_than_s,
            dry_run=dry_run,
            sole_user=sole_user,
        )

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
        """Find artifacts by what they say: the best first, one hit each, with its best passage.

        Words match in any of their forms, and parts of identifiers match as words (``config``
        finds ``parseConfig``). With vectors (see `Orchestrator.open`), texts in other words are
        found as well. Words in double quotes must stand together, except for endings and words such
        as "the"; if they do so nowhere, they count singly. No other character has a special
        meaning. The id of an artifact or of a task finds what it names, in any session.

        Everything saved before the call is found, by whatever process. Above 10,000 passages, the
        first search in a process loads LanceDB, which takes a second or two.

        Texts are searched, notebooks by cell and PDFs by page, each in its first two million
        characters; anything else by its title. Hits that say the same are folded.

        Args:
            query: What to look for; its first 4,000 characters count.
            limit: Most hits, 1 to 1,000.
            mode: ``"text"``: by words alone. ``"vector"``: by vectors alone. ``"hybrid"``, the
                default: by both, or by words if there are no vectors; ``Hit.mode`` says which.
            session: Only artifacts of this session. By default the whole home is searched, and
                what is of the current session, or of one above it, comes a little higher; with
                ``"*"`` all sessions count alike.
            task: Only artifacts of this task.
            kind: Only artifacts of this kind.
            tags: Only artifacts that have all of these.
            include_superseded: Whether to find older versions, and what others have superseded, as
                well; they come after all current ones.

        Returns:
            The hits; empty when nothing matches, or *query* has only words such as "the". Printed,
            they say below how many hits other sessions have, where *session* left them out, and
            where there are none, that texts are searched in part.

        Raises:
            InvalidInputError: An argument cannot be used.
            ArtifactIndexError: The index can be neither used nor rebuilt; or it lacks thousands of
                artifacts and cannot be written now; or it is large, and this process was forked
                from one that had used it.
            EmbedderError: Only vectors were requested, and the embedder failed.
            MissingDependencyError: Only vectors were requested, or an embedder was named, and it
                is not installed.
        """
        query = input_checks.search_query(query)
        input_checks.check_limit(limit)
        input_checks.check_mode(mode)
        selection = Selection.of_home(self._scope, task, session)
        search_filter = SearchFilter(
            session_ids=None if selection.session_id is None else (selection.session_id,),
            task_ids=selection.task_ids,
            kind=None if kind is None else input_checks.non_empty_text("kind", kind),
            tags=input_checks.tag_words(tags),
            include_superseded=include_superseded,
            phrases=quoted_phrases(query),
            limit=limit,
        )
        if not has_words(query):
            return SearchHits()
        hits = self._hits(query, search_filter, mode, self._surroundings(None, session))
        notes = self._notes(query, search_filter, mode, hits)
        return SearchHits(hits, filter(None, notes))

    def _hits(
        self,
        query: str,
        search_filter: SearchFilter,
        mode: SearchMode | None,
        surroundings: Surroundings,
    ) -> builtins.list[Hit]:
        answer = self._index.search(query, search_filter, mode=mode)
        store = self._scope.store
        # In one transaction: to begin one for each of its many records would take longer.
        hits = store.read_together(
            lambda: hits_of(
                answer.ranked,
                store,
                surroundings=surroundings,
                mode=answer.mode,
                limit=search_filter.limit,
                include_superseded=search_filter.include_superseded,
            )
        )
        return named_first(query, hits, search_filter, self._scope.store, self._content)

    def _notes(
        self,
        query: str,
        search_filter: SearchFilter,
        mode: SearchMode | None,
        hits: Sequence[Hit],
    ) -> Iterator[str]:
        """Yield what the hits do not show. Nobody misses more who has as many as were wanted."""
        if search_filter.session_ids is not None and len(hits) < search_filter.limit:
            everywhere = attrs.evolve(search_filter, session_ids=None)
            others = self._hits(query, everywhere, mode, self._surroundings(None, ALL_SESSIONS))
            shown = {hit.artifact_id for hit in hits}
            yield note_on_other_sessions(
                len([hit for hit in others if hit.artifact_id not in shown])
            )
        if not hits:
            yield note_on_gaps(self._index.known_gaps())

    def context(
        self,
        query: str,
        *,
        task: str | Task | None = None,
        session: str | Session | None = None,
        budget_tokens: int = 4000,
    ) -> artifacts.Context:
        """Choose what to read for a piece of work: passages that matter to it, within a budget.

        They are chosen by how well they answer *query*, by how near they are to *task* in the
        graph (what it builds on, then its siblings, its session, the sessions that this one is
        part of), and a little by how new they are. Nothing appears twice, and nothing that is
        superseded. What *task* builds on is included even if it shares no word with
        the query, or the index cannot be used; and whole if it is short.

        With *task*, the store records what the task was given; see `context_uses`.

        Args:
            query: What the work is about; its first 4,000 characters count.
            task: Who it is for.
            session: Only this session and those above it. By default the whole home counts, what
                is of the current session a little more; with ``"*"`` all sessions count alike.
            budget_tokens: About how long it may be; a token is about four letters, or one digit.

        Raises:
            InvalidInputError: An argument cannot be used.
        """
        from vespera_orchestrator.artifacts import context as contexts
        from vespera_orchestrator.artifacts.material import MaterialReader

        query = input_checks.search_query(query)
        input_checks.check_budget(budget_tokens)
        store = self._scope.store
        surroundings = self._surroundings(task, session)
        reader = MaterialReader(store, self._content, self._index, self._verification)
        is_narrow = session is not None and session != ALL_SESSIONS
        material = reader.read(query, surroundings, budget_tokens, is_narrow=is_narrow)
        free_tokens = contexts.room_for_passages(material.unread, budget_tokens)
        passages = contexts.candidates(
            material, surroundings, now=utcnow(), budget_tokens=budget_tokens
        )
        context = contexts.Context(
            query=query,
            passages=tuple(contexts.choose(passages, free_tokens)),
            budget_tokens=budget_tokens,
            unread=material.unread,
        )
        owner = surroundings.task
        if owner is not None and context.passages and not self._scope.readonly:
            store.record_context(owner.id, context.artifact_ids, agent=self._scope.agent)
        return context

    def _surroundings(self, task: str | Task | None, session: str | Session | None) -> Surroundings:
        store = self._scope.store
        if task is not None:
            owner = self._scope.task(task)
            return Surroundings.of(store, owner, store.find_session(owner.session_id))
        session_id = Selection.of(self._scope, None, session).session_id
        if session_id is None:
            return Surroundings.of(store, None, None)
        return Surroundings.of(store, None, store.find_session(session_id))

    def context_uses(
        self,
        *,
        artifact: str | Artifact | None = None,
        task: str | Task | None = None,
        session: str | Session | None = None,
        outdated: bool = False,
    ) -> builtins.list[ContextUse]:
        """Return which tasks were given which artifact versions, in that order.

        Args:
            artifact: Only those that were given this artifact, in any version.
            task: Only what this task was given.
            session: Only tasks of this session; by default the current one if there is one, and
                ``"*"`` for the whole home.
            outdated: Only if something else holds now, a later version or what has superseded it,
                and the task relies on the earlier one: it is in progress, blocked or completed.
        """
        version_ids = None
        if artifact is not None:
            version_ids = [version.id for version in self.versions(artifact)]
            session = ALL_SESSIONS if session is None else session
        selection = Selection.of(self._scope, task, session)
        return self._scope.store.context_uses(
            session_id=selection.session_id,
            task_id=selection.task_id,
            artifact_ids=version_ids,
            outdated=outdated,
        )

    # the search index

    @writes
    def catch_up(self) -> int:
        """Bring the search index up to date; `search` does so by itself.

        Returns:
            How many artifacts were indexed.

        Raises:
            ArtifactIndexError: Another process was writing the index for a whole minute, or it
                could not be written.
        """
        count = self._index.catch_up(wait_s=_CATCH_UP_WAIT_S)
        return _require_written(count)

    def check_index(self) -> builtins.list[Finding]:
        """Look whether there is a search index for this store, and how far behind it is.

        Quick: loads nothing and changes nothing. `verify_index` compares the passages.
        """
        return self._index.check()

    def index_status(self) -> IndexStatus:
        """Return what the search index holds, and whether it has vectors. It prints as a sentence.

        Changes nothing. Loads LanceDB where there are more than 10,000 passages.

        Raises:
            ArtifactIndexError: The index cannot be read.
            MissingDependencyError: The configured embedder is not installed.
        """
        return self._index.status()

    def verify_index(self) -> builtins.list[Finding]:
        """Compare the search index with the artifacts; one finding for each difference.

        What was saved since the index was last brought up to date does not count. `verify` checks
        the bytes themselves.
        """
        return self._index.verify()

    @writes
    def rebuild_index(self) -> int:
        """Rebuild the search index from the artifacts.

        The old one is searched until the new one is complete.

        Returns:
            How many artifacts were indexed.

        Raises:
            ArtifactIndexError: Another process was writing the index for a whole minute, or it
                could not be written.
        """
        count = self._index.rebuild(wait_s=_CATCH_UP_WAIT_S)
        return _require_written(count)


def _require_written(count: int | None) -> int:
    """Return how many were indexed; ``None`` means that another process kept the lock."""
    if count is None:
        raise ArtifactIndexError(
            "write it",
            "another process has been writing it for a minute",
            "let it finish and call again; nothing is lost meanwhile",
        )
    return count

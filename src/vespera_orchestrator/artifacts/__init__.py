"""Artifacts: the full record of the work, and the memory that later tasks are given.

`Artifacts` is what callers use (``orch.artifacts``). The bytes are in `FolderContent`, the records in the store, and the search index is a
view of both that follows the event log: it is loaded when somebody searches, and saving never waits for it.
"""

from __future__ import annotations

import codecs
import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator._model import Artifact, ArtifactDraft, Session, Task
from vespera_orchestrator.artifacts.content import FolderContent
from vespera_orchestrator.artifacts.index import ArtifactIndex, Wanted
from vespera_orchestrator.artifacts.passages import is_text
from vespera_orchestrator.errors import ArtifactIndexError, InvalidInputError, SessionNotFoundError, SourceFileNotFoundError

if TYPE_CHECKING:
    import builtins

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator._sessions import Scope
    from vespera_orchestrator.contracts import ContentStore

__all__ = ["Artifacts", "FolderContent", "Hit"]

ALL_SESSIONS = "*"

_SEARCH_WAIT_S = 2.0
_CATCH_UP_WAIT_S = 60.0
_MOST_HITS = 1000
_QUERY_CHARACTERS = 4000
_QUOTED_WITHIN = 20
"""Among so many hits a source is looked for before what quotes it is shown first."""

_MEDIA_TYPES = {
    **dict.fromkeys((".md", ".markdown"), "text/markdown"),
    **dict.fromkeys((".py", ".pyi"), "text/x-python"),
    **dict.fromkeys((".yaml", ".yml"), "application/yaml"),
    ".ipynb": "application/x-ipynb+json",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".rst": "text/x-rst",
    ".sql": "application/sql",
    ".toml": "application/toml",
    ".ts": "text/x-typescript",
    ".tsx": "text/x-typescript",
}
"""What Python's own table gets wrong or leaves to the machine; the rest is looked up there, and last in the bytes."""


@attrs.frozen(repr=False)
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

    def __repr__(self) -> str:
        return f"Hit({self.artifact_id!r}, {self.title!r}, {' '.join(self.text.split())[:60]!r})"

    def __str__(self) -> str:
        return f"{self.title} (v{self.version}, {self.artifact_id}, characters {self.start}-{self.end})\n{self.text}"


class Artifacts:
    """Save, read and search artifacts.

    Any number of threads and processes may do so at once. Wherever an artifact or a task is asked for, its id will do, or the record;
    for tasks also the alias.

    Args:
        scope: Gives the home, the store, the agent and the current session.
        content: Holds the bytes.
    """

    def __init__(self, scope: Scope, content: ContentStore) -> None:
        self._scope = scope
        self._content = content
        self._index = ArtifactIndex(scope, content)

    # saving

    def save(
        self,
        title: str,
        content: JsonValue | bytes,
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
            content: Text is kept as Markdown in UTF-8, bytes as they are, a dict or list as JSON.
            task: The task it belongs to; none for one of the session.
            kind: Any word, to filter by.
            media_type: What the bytes are, when the default for *content* does not say it.
            tags: Words to filter by.
            metadata: Whatever JSON can hold, kept beside it.
            partial: Whether the work it records was cut short.

        Raises:
            InvalidInputError: Nothing was written.
            StoreUnavailableError: Disk full or I/O error; nothing was recorded, safe to repeat.
        """
        owner = self._scope.task(task) if task is not None else None
        session_id = owner.session_id if owner is not None else self._scope.session().id
        draft = self.draft(title, content, kind=kind, media_type=media_type, tags=tags, metadata=metadata, partial=partial)
        return self._scope.store.save_artifact(
            session_id, draft, task_id=owner.id if owner is not None else None, attempt=None, agent=self._scope.agent
        )

    def draft(
        self,
        title: str,
        content: JsonValue | bytes,
        *,
        kind: str = "general",
        media_type: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, JsonValue] | None = None,
        partial: bool = False,
    ) -> ArtifactDraft:
        """Store the bytes durably without recording them, so that the record can go into somebody else's transaction.

        Arguments and errors as for `save`.
        """
        encoded, default = _encode(content)
        empty = ArtifactDraft(
            title=_word("title", title),
            digest="",
            size_bytes=len(encoded),
            kind=_word("kind", kind),
            media_type=default if media_type is None else _word("media_type", media_type),
            tags=_tags(tags),
            metadata=_metadata(metadata),
            partial=bool(partial),
        )
        # Everything has been checked; only now is anything written.
        return attrs.evolve(empty, digest=self._content.put(encoded)[0])

    def draft_file(self, path: str | os.PathLike[str], *, root: Path) -> ArtifactDraft:
        """Take a file in as it is now, without recording it. Read in pieces: its size does not matter.

        Args:
            path: The file; a relative path starts at *root*.
            root: The project's folder or the task's worktree. The title of a file inside is its path from there, with forward slashes.

        Raises:
            SourceFileNotFoundError: It is not there, is no regular file, or cannot be read.
        """
        root = root.absolute()
        place = Path(os.path.normpath(root / path))
        try:
            # Looked at before it is opened: opening a pipe would wait for ever.
            if not stat.S_ISREG(place.stat().st_mode):
                raise SourceFileNotFoundError(os.fspath(path), str(root), "it is a folder, a pipe or a device; name regular files")
            stream = place.open("rb")
            media_type = _media_type(place, stream.peek(8192))
        except (OSError, ValueError) as exc:
            reason = "it is not there" if isinstance(exc, FileNotFoundError) else getattr(exc, "strerror", None) or str(exc)
            raise SourceFileNotFoundError(os.fspath(path), str(root), reason) from exc
        with stream:
            digest, size = self._content.put(stream)
        inside = place.relative_to(root) if place.is_relative_to(root) else place
        return ArtifactDraft(_clean(inside.as_posix()), digest, size, kind="file", media_type=media_type)

    # reading

    def get(self, artifact: str | Artifact) -> Artifact:
        """Return the artifact's record as it is now.

        Raises:
            ArtifactNotFoundError: There is none with this id.
        """
        return self._scope.artifact(artifact)

    def read(self, artifact: str | Artifact) -> bytes:
        """Return the bytes, checked against their digest.

        Raises:
            ArtifactNotFoundError: There is none with this id.
            CorruptContentError: They are missing, or are not those that were saved.
        """
        return self._content.read(self.get(artifact).digest)

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
                "artifact", f"{record.id} is {record.media_type}, no text; artifacts.read({record.id!r}) gives its bytes"
            )
        return self._content.read(record.digest).decode("utf-8", "replace")

    def list(
        self,
        *,
        task: str | Task | None = None,
        session: str | Session | None = None,
        kind: str | None = None,
        include_superseded: bool = False,
        limit: int | None = None,
    ) -> list[Artifact]:
        """Return artifacts, the newest first.

        Args:
            task: Only those of this task.
            session: Only those of this session; by default the current one where there is one, and ``"*"`` for all of the home.
            kind: Only those of this kind.
            include_superseded: Whether to return older versions as well.
            limit: Most artifacts to return.
        """
        owner = self._scope.task(task) if task is not None else None
        return self._scope.store.artifacts(
            session_id=self._session(session, owner),
            task_ids=None if owner is None else [owner.id],
            kind=kind,
            include_superseded=include_superseded,
            limit=limit,
            newest_first=True,
        )

    def versions(self, artifact: str | Artifact) -> builtins.list[Artifact]:
        """Return every version of the artifact, the first first. Any version of it will do as the argument."""
        record = self.get(artifact)
        found = self._scope.store.artifacts(
            session_id=record.session_id,
            task_ids=None if record.task_id is None else [record.task_id],
            title=record.title,
            include_superseded=True,
        )
        return sorted((other for other in found if other.task_id == record.task_id), key=lambda other: other.version)

    def verify(self) -> builtins.list[str]:
        """Check every byte that a record refers to, artifacts and document versions; one sentence for each problem, none when all is well.

        Reads everything that was ever saved in this home: expect a few seconds for each gigabyte.
        """
        problems = []
        for digest, names in self._referenced().items():
            problem = self._content.verify(digest)
            if problem is not None:
                problems.append(f"{', '.join(names)}: {problem}; put {digest[:2]}/{digest[2:]} back from a backup of artifacts/")
        return problems

    def _referenced(self) -> dict[str, builtins.list[str]]:
        store = self._scope.store
        names: dict[str, builtins.list[str]] = {}
        for artifact in store.artifacts(include_superseded=True):
            names.setdefault(artifact.digest, []).append(f"artifact {artifact.id} {artifact.title!r}")
        for latest in store.document_versions():
            for version in store.document_versions(latest.path):
                names.setdefault(version.digest, []).append(f"document {version.path} v{version.version}")
        return names

    # searching

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        mode: str = "text",
        session: str | Session | None = None,
        task: str | Task | None = None,
        kind: str | None = None,
        tags: Iterable[str] = (),
        include_superseded: bool = False,
    ) -> builtins.list[Hit]:
        """Find artifacts by what they say, the best first, one hit for each, showing its best passage.

        Words count, not order, in any of their forms; parts of identifiers count as words (``config`` finds ``parseConfig``). Any
        character may occur in *query*; none has a special meaning. Everything saved before the call is found, in whatever process it was
        saved, unless another process is bringing the index up to date and does not finish within two seconds: then the newest may be
        missing. The first search in a process loads LanceDB (a second or two).

        Text artifacts are searched (``text/*``, JSON, YAML, source code and the like), each in its first two million characters.

        Args:
            query: What to look for; its first 4,000 characters count.
            limit: Most hits, 1 to 1,000.
            mode: ``"text"``.
            session: Only artifacts of this session; by default the current one where there is one, and ``"*"`` for all of the home.
            task: Only artifacts of this task.
            kind: Only artifacts of this kind.
            tags: Only artifacts that have all of these.
            include_superseded: Whether older versions may be found as well.

        Returns:
            The hits; empty when nothing matches, or *query* has no words but such as "the".

        Raises:
            InvalidInputError: An argument cannot be used.
            ArtifactIndexError: The index cannot be used, nor made anew; or this process was forked from one that had used it.
        """
        _check_search(query, limit, mode)
        query = _clean(query[:_QUERY_CHARACTERS])
        owner = self._scope.task(task) if task is not None else None
        wanted = Wanted(
            session_id=self._session(session, owner),
            task_id=owner.id if owner is not None else None,
            kind=None if kind is None else _word("kind", kind),
            tags=_tags(tags),
            include_superseded=include_superseded,
            limit=limit,
        )
        if not any(character.isalnum() for character in query):
            return []
        hits: builtins.list[tuple[Hit, Artifact]] = []
        for entry in self._index.search(query, wanted, wait_s=_SEARCH_WAIT_S):
            # The store has the last word: the index may be a moment behind.
            record = self._scope.store.find_artifact(entry.passage.artifact_id)
            if record is not None and (include_superseded or not record.superseded):
                hits.append((_hit(entry.passage.text, entry.passage.start, entry.score, record), record))
            if len(hits) == max(limit, _QUOTED_WITHIN):
                break
        return [hit for hit, _ in _sources_first(hits)][:limit]

    def catch_up(self) -> int:
        """Bring the search index up to the last artifact; `search` does so by itself. Returns how many were taken in.

        Raises:
            ArtifactIndexError: Another process was writing the index for a whole minute, or it could not be written.
        """
        return _counted(self._index.catch_up(wait_s=_CATCH_UP_WAIT_S))

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


def _sources_first(hits: list[tuple[Hit, Artifact]]) -> list[tuple[Hit, Artifact]]:
    """Move what quotes other artifacts (its metadata name them as ``sources``) behind the first of them that was found as well."""
    order = list(hits)
    for entry in hits:
        quoted = entry[1].metadata.get("sources", ())
        at = order.index(entry)
        later = next((j for j in range(at + 1, len(order)) if order[j][0].artifact_id in quoted), None)
        if later is not None:
            order.insert(later, order.pop(at))
    return order


def _counted(count: int | None) -> int:
    if count is None:
        raise ArtifactIndexError(
            "write it", "another process has been writing it for a minute", "let it finish and call again; nothing is lost meanwhile"
        )
    return count


def _hit(text: str, start: int, score: float, record: Artifact) -> Hit:
    return Hit(text, record.id, record.title, record.task_id, score, start, start + len(text), record.version, record.superseded)


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
    return tuple(dict.fromkeys(_word("tags", tag) for tag in ([tags] if isinstance(tags, str) else tags)))


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
    raise InvalidInputError("content", f"{type(content).__name__} cannot be kept; give text, bytes, or a dict or list that JSON can hold")


def _json(name: str, value: JsonValue) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidInputError(name, f"is not what JSON can hold: {exc}") from exc


def _media_type(path: Path, beginning: bytes) -> str:
    """Tell by the name, the same on every machine; by the bytes where the name says nothing."""
    import mimetypes

    known = _MEDIA_TYPES.get(path.suffix.lower())
    # The instance has Python's table alone; the module's function would add this machine's.
    guessed, encoding = mimetypes.MimeTypes().guess_type(path.name)
    if known or (guessed and not encoding):
        return known or str(guessed)
    if encoding or b"\0" in beginning:
        return "application/octet-stream"
    try:
        # Not final: a character cut in two by the end of the piece is no fault.
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain"


def _check_search(query: object, limit: object, mode: object) -> None:
    if not isinstance(query, str):
        raise InvalidInputError("query", f"{query!r} should be a text")
    if not isinstance(limit, int) or not 1 <= limit <= _MOST_HITS:
        raise InvalidInputError("limit", f"{limit!r} should be a whole number from 1 to {_MOST_HITS}")
    if mode != "text":
        raise InvalidInputError("mode", f"{mode!r} is not known; 'text' is, and is the default")

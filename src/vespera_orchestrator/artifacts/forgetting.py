"""Forgetting for good: what is removed where, and what cannot be reached from here.

The first step is one transaction: the records go, and leave tombstones. From then on nothing offers
the artifact, and whoever asks for it is told. Everything that was made from it goes afterwards, in
steps that may be repeated. A tombstone without a proof says that these are not done: the same call,
or `Orchestrator.repair`, does them again. So a process may be killed anywhere.

The bytes go last but one, because it takes them to see which documents quote them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_time
from vespera_orchestrator._model import ArtifactQuery, EventKind
from vespera_orchestrator._records import Record
from vespera_orchestrator._text import one_line
from vespera_orchestrator.artifacts import garbage
from vespera_orchestrator.artifacts.content.decoding import decoded
from vespera_orchestrator.artifacts.whereabouts import Whereabouts
from vespera_orchestrator.errors import (
    CorruptContentError,
    InvalidInputError,
    StoreError,
    StoreUnavailableError,
)
from vespera_orchestrator.home.reading import MOST_STATE_BYTES, read_content, read_small_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from vespera_orchestrator._model import DocumentVersion, JsonValue, Tombstone
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.artifacts.search.index import ArtifactIndex

_INDEX_WAIT_S: Final = 60.0
_MOST_UPDATES: Final = 30
"""How often to wait a second for another process that updates the documents."""
_RUN_WORDS: Final = 5
"""A text quotes another one if it has that many words of it in a row."""
_MOST_NAMED: Final = 5
_SHORT_CHARS: Final = 12
"""What is shorter and has fewer words occurs anywhere by chance."""
_WORD: Final = re.compile(r"\w+")
TEXT: Final = "text "
"""Begins the ids of the tombstones of a text that was taken out of what is kept."""
_DOCUMENT: Final = "document "
"""Begins the id of the tombstone of a document's version."""
_TOKEN: Final = re.compile(r"\S{20,}")
"""A key, an address or a path: it says where it comes from by itself."""


class RemainderKind(StrEnum):
    """Where something of a forgotten artifact may still be."""

    CONTENT = "content"
    """The same bytes belong to something else, or are kept elsewhere."""
    DOCUMENT = "document"
    """A document quotes it still: a person edited it, or it could not be updated."""
    ARTIFACT = "artifact"
    """Another artifact was made from it."""
    TASK = "task"
    """A task quotes it."""
    NAME = "name"
    """Rows of the store have it in what names them: an alias, a key, an agent."""
    BACKUP = "backup"
    GIT = "git"
    """Commits may have it."""
    STORE = "store"
    """The database server keeps what was removed for a while."""
    COPY = "copy"
    """Files that the library cannot know: exports, backups elsewhere."""


@attrs.frozen(kw_only=True)
class Remainder(Record):
    """What could not be removed from here, and what you can do about it."""

    kind: RemainderKind
    """What it is."""
    name: str
    """Which: a path, an id; empty where that cannot be known."""
    problem: str
    """What is the matter, and what helps."""

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}" if self.name else self.problem


@attrs.frozen(kw_only=True)
class Forgotten(Record):
    """The proof that artifacts were removed for good: what is gone where, and what may be left."""

    artifact_ids: tuple[str, ...]
    """Every version that went, the oldest first."""
    reason: str
    """Why, in the words of whoever asked for it; may be empty."""
    agent: str | None
    """Who asked for it."""
    forgotten_at: datetime
    """When nothing offered it any more."""
    removed: Mapping[str, int]
    """How much was removed, by what it was: ``records``, ``contents``, ``document versions``,
    ``search indexes`` and ``files for browsing``.
    """
    given_to: tuple[str, ...]
    """Tasks that had been given it to build on: their own work may repeat it."""
    remainders: tuple[Remainder, ...]
    """What could not be reached, or may be left elsewhere."""
    is_complete: bool
    """Whether all of it was done; if not, the same call, or `Orchestrator.repair`, goes on."""

    def __str__(self) -> str:
        counts = [f"{name} {number}" for name, number in self.removed.items() if number]
        why = f", because {one_line(self.reason, 200)}" if self.reason else ""
        moment = f"{self.forgotten_at:%Y-%m-%d %H:%M} UTC"
        lines = [
            f"forgotten on {moment}{why}: {', '.join(self.artifact_ids)}",
            f"removed: {', '.join(counts) or 'nothing'}",
        ]
        if self.given_to:
            lines.append(f"was given to: {', '.join(self.given_to)}")
        lines += [f"beyond reach: {remainder}" for remainder in self.remainders]
        if not self.is_complete:
            lines.append("not finished: call again, or orch.repair()")
        return "\n".join(lines)


class Forgetting:
    """Removes what tombstones stand for.

    Args:
        rooms: The store, the bytes and the documents.
        index: The search index, which goes as a whole: the next search builds it anew.
        browse: Brings the files for browsing up to date.
    """

    def __init__(self, rooms: Rooms, index: ArtifactIndex, browse: Callable[[], object]) -> None:
        self._rooms = rooms
        self._index = index
        self._browse = browse

    def forget(self, artifact_ids: Sequence[str], reason: str) -> Forgotten:
        """Remove the records, and all that was made from them; see `Artifacts.forget`."""
        agent = self._rooms.scope.agent
        self._rooms.store.forget_artifacts(artifact_ids, reason=reason, agent=agent)
        return self.resume(artifact_ids[0])

    def resume(self, artifact_id: str) -> Forgotten:
        """Do what is left to do for an artifact that was forgotten; return the proof."""
        (first,) = self._rooms.store.tombstones(ids=[artifact_id])
        call = self._together_with(first)
        if any(each.is_pending for each in call):
            self._finish(call)
            call = self._together_with(first)
        return self._proof(call)

    def finish_all(self) -> list[Forgotten]:
        """Do what is left to do for all that was forgotten, as far as it can be done here."""
        proofs = {}
        for pending in self._rooms.store.tombstones(pending=True):
            call = self._together_with(pending)
            if pending.forgotten_at in proofs or _is_about_text(call):
                continue
            if self._is_ours(pending):
                self._finish(call)
                proofs[pending.forgotten_at] = self._proof(self._together_with(pending))
        return list(proofs.values())

    # --- for a text that is taken out of what is kept ---------------------------------

    def remove_copies(
        self, head: Tombstone, text: Quotable
    ) -> tuple[dict[str, int], list[Remainder]]:
        """Remove what was made from rows and contents that had *text*; return what and what stays.

        Args:
            head: The tombstone of the text.
            text: Tells what has it.
        """
        session_ids = [session.id for session in self._rooms.store.sessions(limit=None)]
        problems = list(self._update_documents(session_ids))
        removed = {
            "document versions": self._forget_document_versions([head], text),
            "search indexes": int(self._index.discard(wait_s=_INDEX_WAIT_S)),
            "files for browsing": self._update_browsing(),
        }
        problems += self._quoting_documents(text)
        problems += self._out_of_reach(
            in_git=True, remedy="call orch.artifacts.forget_text(…) there"
        )
        return removed, problems

    def complete_text(self, head: Tombstone, proof: Mapping[str, JsonValue]) -> Forgotten:
        """Remove the contents that had a text, also those that killed calls left."""
        everything = self._rooms.store.tombstones()
        moments = {each.forgotten_at for each in everything if each.id.startswith(TEXT)}
        call = [each for each in everything if each.forgotten_at in moments and each.is_pending]
        proof = self._remove_contents(call, proof)
        self._rooms.store.shrink(erase=True)
        finished = [each.id for each in call if self._is_ours(each)]
        self._rooms.store.complete_forgetting(finished, proof, whole=True)
        return self._proof(self._together_with(head))

    def _together_with(self, tombstone: Tombstone) -> list[Tombstone]:
        """Return the tombstones of one call, which have one time."""
        everything = self._rooms.store.tombstones()
        return [each for each in everything if each.forgotten_at == tombstone.forgotten_at]

    def _is_ours(self, tombstone: Tombstone) -> bool:
        """Tell whether this home can remove the bytes."""
        return tombstone.home_id in ("", self._rooms.scope.home.id)

    def _proof(self, call: Sequence[Tombstone]) -> Forgotten:
        artifacts = [each for each in call if not _is_document(each)]
        artifact_ids = [each.id for each in artifacts]
        if _is_about_text(call):
            artifacts = [each for each in artifacts if " content " not in each.id]
            artifact_ids = list(artifacts[0].proof.get("artifacts", ()))
        stored: Any = next((each.proof for each in artifacts if each.proof), {})
        removed = {str(name): int(number) for name, number in stored.get("removed", {}).items()}
        remainders = tuple(
            Remainder(kind=RemainderKind(item["kind"]), name=item["name"], problem=item["problem"])
            for item in stored.get("remainders", ())
        )
        return Forgotten(
            artifact_ids=tuple(artifact_ids),
            reason=artifacts[0].reason,
            agent=artifacts[0].agent,
            forgotten_at=artifacts[0].forgotten_at,
            removed=removed,
            given_to=self._given_to({each.id for each in artifacts}),
            remainders=tuple(remainders),
            is_complete=not any(each.is_pending for each in call),
        )

    def _given_to(self, artifact_ids: set[str]) -> tuple[str, ...]:
        events = self._rooms.store.events(kinds=[EventKind.ARTIFACT_FORGOTTEN], limit=None)
        names: dict[str, None] = {}
        for event in events:
            if event.data.get("artifact") in artifact_ids:
                names |= dict.fromkeys(map(str, event.data.get("given_to") or ()))
        return tuple(names)

    # --- the steps ----------------------------------------------------------------

    def _finish(self, call: Sequence[Tombstone]) -> None:
        """Remove what was made from it, then the bytes, and record the proof after each."""
        artifacts = [each for each in call if not _is_document(each)]
        proof = next((each.proof for each in artifacts if each.proof), None)
        if proof is None:
            proof = self._remove_views(artifacts)
            call = self._together_with(artifacts[0])
            self._rooms.store.complete_forgetting([each.id for each in call], proof, whole=False)
        proof = self._remove_contents(call, proof)
        self._rooms.store.shrink(erase=True)
        finished = [each.id for each in call if self._is_ours(each)]
        self._rooms.store.complete_forgetting(finished, proof, whole=True)

    def _remove_views(self, artifacts: Sequence[Tombstone]) -> Mapping[str, JsonValue]:
        texts = Quotations.of(self._readable(artifacts))
        problems = list(self._update_documents({each.session_id for each in artifacts}))
        documents = self._forget_document_versions(artifacts, texts)
        removed = {
            "records": len(artifacts),
            "document versions": documents,
            "search indexes": int(self._index.discard(wait_s=_INDEX_WAIT_S)),
            "files for browsing": self._update_browsing(),
        }
        problems += self._quoting_documents(texts)
        problems += self._quoting_artifacts({each.id for each in artifacts})
        problems += self._quoting_tasks(artifacts, texts)
        remedy = f"call orch.artifacts.forget({artifacts[0].id!r}) again"
        problems += self._out_of_reach(in_git=documents > 0, remedy=remedy)
        return proof_as_json(removed, problems)

    def _remove_contents(
        self, call: Sequence[Tombstone], proof: Mapping[str, JsonValue]
    ) -> Mapping[str, JsonValue]:
        """Remove the bytes; return the proof with what came of that."""
        removed, problems = _read_proof(proof)
        names = proof.get("artifacts") or ()
        problems = [each for each in problems if each.kind is not RemainderKind.CONTENT]
        for digest, owner in _contents_of(call).items():
            stays = self._remove_content(digest, owner.home_id)
            if stays:
                problem = Remainder(kind=RemainderKind.CONTENT, name=owner.id, problem=stays)
                problems.append(problem)
            else:
                removed["contents"] = removed.get("contents", 0) + 1
        return proof_as_json(removed, problems, artifact_ids=names)

    def _readable(self, tombstones: Iterable[Tombstone]) -> Iterator[str]:
        for tombstone in tombstones:
            if tombstone.digest is not None:
                with suppress(CorruptContentError):
                    yield decoded(self._rooms.content.read(tombstone.digest))

    # documents

    def _update_documents(self, session_ids: Iterable[str]) -> Iterator[Remainder]:
        """Bring the documents up to date; yield what is wrong with those that cannot be.

        Raises:
            DocumentError: One cannot be read or written. As long as it stands there as it was, its
                versions are needed to know it for ours, so that nothing is finished.
            StoreError: As above.
        """
        self._rooms.documents.drop_memory()
        for session_id in sorted(session_ids):
            for problem in self._update_documents_of(session_id):
                if isinstance(problem.__cause__, OSError):
                    raise problem
                words = f"the documents could not be updated: {one_line(str(problem), 300)}"
                yield Remainder(kind=RemainderKind.DOCUMENT, name="", problem=words)

    def _update_documents_of(self, session_id: str) -> Sequence[Exception]:
        try:
            for _ in range(_MOST_UPDATES):
                report = self._rooms.documents.update(session=session_id)
                if not report.busy:
                    return report.errors
        except StoreError:
            raise
        except Exception as exc:  # noqa: BLE001 - a library may stumble over somebody's text
            return [exc]
        reason = "another process has been updating the documents all the time; call again"
        raise StoreUnavailableError("documents", reason)

    def _quoting_documents(self, texts: Quotable) -> Iterator[Remainder]:
        """Yield the documents that quote it all the same."""
        project = self._rooms.scope.home.project
        problem = (
            "quotes it still: a person's own text does, or a task; change that, or write over it"
        )
        for latest in self._rooms.store.document_versions():
            on_disk = ""
            with suppress(OSError):
                on_disk = read_small_text(project / latest.path, MOST_STATE_BYTES, errors="replace")
            if texts.are_in(on_disk) or self._quotes(latest, texts):
                yield Remainder(kind=RemainderKind.DOCUMENT, name=latest.path, problem=problem)

    def _forget_document_versions(self, artifacts: Sequence[Tombstone], texts: Quotable) -> int:
        """Remove the older versions of documents that quote it, with a tombstone for each."""
        saved_at = min(each.saved_at for each in artifacts)
        is_text = _is_about_text(artifacts)
        quoting = []
        for latest in self._rooms.store.document_versions():
            for version in self._rooms.store.document_versions(latest.path):
                is_later = is_text or version.created_at >= saved_at
                is_candidate = is_later and version.version != latest.version
                if is_candidate and self._quotes(version, texts):
                    quoting.append(version)
        if quoting:
            with self._rooms.store.ledger(write=True) as ledger:
                ledger.remove("document_versions", map(_key, quoting))
                ledger.put("forgotten", [_document_row(each, artifacts[0]) for each in quoting])
        return sum(map(_is_document, self._together_with(artifacts[0])))

    def _quotes(self, version: DocumentVersion, texts: Quotable) -> bool:
        with suppress(CorruptContentError):
            content = read_content(self._rooms.content, version.digest, MOST_STATE_BYTES)
            return texts.are_in(content.decode("utf-8", "replace"))
        return False

    # views and bytes

    def _update_browsing(self) -> int:
        if not (self._rooms.scope.home.path / "browse").is_dir():
            return 0
        return int(getattr(self._browse(), "removed", 0))

    def _remove_content(self, digest: str, home_id: str) -> str:
        """Remove the bytes; return why they stay, empty if they do not."""
        home = Whereabouts(rooms=self._rooms).other_home([home_id])
        if home is not None:
            return f"its bytes are in another home, {home}; call orch.repair() there"
        if digest in self._rooms.store.content_digests():
            return self._shared_with(digest)
        try:
            garbage.remove(self._rooms.scope, self._rooms.content, digest)
        except InvalidInputError as exc:
            return f"its bytes stay: {exc.problem}"
        return ""

    def _shared_with(self, digest: str) -> str:
        query = ArtifactQuery(digest=digest, include_superseded=True)
        names = [each.id for each in self._rooms.store.artifacts(query)]
        listed = ", ".join(names[:_MOST_NAMED]) or "a document"
        return f"its bytes stay, because {listed} has the same; forget that, too"

    # what is left

    def _out_of_reach(self, *, in_git: bool, remedy: str) -> Iterator[Remainder]:
        """Yield where it may be that nobody can remove from here."""
        home = self._rooms.scope.home
        with suppress(OSError):
            for backup in sorted((home.path / "backups").iterdir()):
                problem = "this backup may have it; delete it, or open it and forget it there"
                yield Remainder(kind=RemainderKind.BACKUP, name=str(backup), problem=problem)
        if in_git and (home.project / ".git").exists():
            problem = "git's history: commits, and files and documents in them, may have it"
            yield Remainder(kind=RemainderKind.GIT, name="", problem=problem)
        if self._rooms.store.url.startswith(("postgresql:", "postgres:")):
            problem = "the server keeps removed rows until it vacuums, and in its log and backups"
            yield Remainder(kind=RemainderKind.STORE, name="", problem=problem)
        problem = (
            "exports and copies from before have it still, under the same id: after an import, "
            f"{remedy}"
        )
        yield Remainder(kind=RemainderKind.COPY, name="", problem=problem)

    def _quoting_artifacts(self, artifact_ids: set[str]) -> Iterator[Remainder]:
        """Yield what was gathered from it: such an artifact names its sources."""
        for artifact in self._rooms.store.artifacts(ArtifactQuery(include_superseded=True)):
            sources = artifact.metadata.get("sources")
            if isinstance(sources, list) and artifact_ids.intersection(map(str, sources)):
                problem = f"{one_line(artifact.title, 80)} was gathered from it; forget that, too"
                yield Remainder(kind=RemainderKind.ARTIFACT, name=artifact.id, problem=problem)

    def _quoting_tasks(
        self, artifacts: Sequence[Tombstone], texts: Quotations
    ) -> Iterator[Remainder]:
        for task_id in sorted({each.task_id for each in artifacts if each.task_id}):
            task = self._rooms.store.find_task(task_id, None)
            if task is None:
                continue
            said = [task.title, task.description, task.summary or "", task.reason or ""]
            said.append(json.dumps(dict(task.outputs), ensure_ascii=False))
            if any(map(texts.are_in, said)):
                problem = f"the texts of task {task.alias} repeat some of it"
                yield Remainder(kind=RemainderKind.TASK, name=task_id, problem=problem)


def _is_document(tombstone: Tombstone) -> bool:
    return tombstone.id.startswith(_DOCUMENT)


def _is_about_text(call: Iterable[Tombstone]) -> bool:
    return any(each.id.startswith(TEXT) for each in call)


def _contents_of(tombstones: Iterable[Tombstone]) -> dict[str, Tombstone]:
    """Return the first tombstone for each content that is not removed yet, by its digest."""
    contents: dict[str, Tombstone] = {}
    for each in tombstones:
        if each.digest is not None:
            contents.setdefault(each.digest, each)
    return contents


def proof_as_json(
    removed: Mapping[str, int], remainders: Iterable[Remainder], *, artifact_ids: Iterable[str] = ()
) -> Mapping[str, JsonValue]:
    """Return a proof as tombstones keep it."""
    items: list[JsonValue] = [
        {"kind": str(each.kind), "name": each.name, "problem": each.problem}
        for each in dict.fromkeys(remainders)
    ]
    return {"removed": dict(removed), "remainders": items, "artifacts": list(artifact_ids)}


def _read_proof(proof: Mapping[str, Any]) -> tuple[dict[str, int], list[Remainder]]:
    remainders = []
    for item in proof.get("remainders", ()):
        kind = RemainderKind(item["kind"])
        remainders.append(Remainder(kind=kind, name=item["name"], problem=item["problem"]))
    return dict(proof.get("removed", {})), remainders


def _key(version: DocumentVersion) -> dict[str, JsonValue]:
    return {"path": version.path, "version": version.version}


def _document_row(version: DocumentVersion, because_of: Tombstone) -> dict[str, JsonValue]:
    return {
        "id": f"{_DOCUMENT}{version.path} v{version.version}",
        "session_id": because_of.session_id,
        "task_id": None,
        "version": version.version,
        "reason": because_of.reason,
        "agent": because_of.agent,
        "saved_at": dump_time(version.created_at),
        "forgotten_at": dump_time(because_of.forgotten_at),
        "digest": version.digest,
        "home_id": version.home_id,
        "proof": None,
    }


class Quotable(Protocol):
    """Tells whether a text has something that was forgotten."""

    def are_in(self, text: str) -> bool:
        """Tell whether *text* has it."""


@attrs.frozen(kw_only=True)
class Quotations:
    """Knows texts by their runs of words, to tell whether another text quotes them."""

    runs: frozenset[tuple[str, ...]]
    tokens: frozenset[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Quotations:
        """Read the texts."""
        runs: set[tuple[str, ...]] = set()
        tokens: set[str] = set()
        for text in texts:
            words = _words(text)
            if len(words) >= _RUN_WORDS:
                runs.update(_runs(words, _RUN_WORDS))
            elif sum(map(len, words)) >= _SHORT_CHARS:
                runs.add(tuple(words))
            tokens.update(_TOKEN.findall(text))
        return cls(runs=frozenset(runs), tokens=frozenset(tokens))

    def are_in(self, text: str) -> bool:
        """Tell whether *text* has a run of words, or a long token, of one of the texts."""
        if any(token in text for token in self.tokens):
            return True
        words = _words(text)
        lengths = {len(run) for run in self.runs}
        return any(not self.runs.isdisjoint(_runs(words, length)) for length in lengths)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _runs(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    for start in range(len(words) - length + 1):
        yield tuple(words[start : start + length])

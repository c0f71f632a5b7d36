"""Contents that are lost or damaged: whose they are, and what can be had instead."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Artifact, ArtifactKind, ArtifactQuery
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator.artifacts.content.packing import is_digest
from vespera_orchestrator.artifacts.versions import versions_of
from vespera_orchestrator.artifacts.whereabouts import Whereabouts
from vespera_orchestrator.errors import ContentElsewhereError, CorruptContentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vespera_orchestrator._model import DocumentVersion
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.contracts import ContentStore

_MOST_VERSIONS_TRIED: Final = 3
"""How many other versions are checked to find a sound one."""


@attrs.frozen(kw_only=True)
class Damage(Record):
    """A content that is missing, or is not what was saved. Prints as a sentence."""

    digest: str
    """SHA-256 of what was saved, in hexadecimal."""
    problem: str
    """What is wrong with it."""
    artifacts: tuple[Artifact, ...]
    """The artifacts that refer to it, in any version."""
    documents: tuple[str, ...]
    """The document versions that refer to it, such as ``docs/CHANGELOG.md v3``."""
    intact: tuple[str, ...]
    """What can be had instead, each with the call or command that returns it."""
    fetch: str = ""
    """How to bring the bytes here, if another home has them."""

    json_form = JsonForm(properties=("remedy",))

    @property
    def remedy(self) -> str:
        """What you can do about it."""
        if self.fetch:
            return f"to bring them: {self.fetch}"
        if not is_digest(self.digest):
            return "save the content again for a sound new version, or restore the store"
        prefix, rest = self.digest[:2], self.digest[2:]
        file = f"{prefix}/{rest}"
        return f"put {file} back from a backup of artifacts/, or save the same content again"

    def __str__(self) -> str:
        artifacts = [_described(artifact) for artifact in self.artifacts]
        documents = [f"document {name}" for name in self.documents]
        owners = ", ".join(artifacts + documents)
        parts = [f"{owners}: {self.problem}"]
        if self.intact:
            intact = "; ".join(self.intact)
            parts.append(f"intact: {intact}")
        parts.append(self.remedy)
        return "; ".join(parts)

    def __contains__(self, text: str) -> bool:
        """Whether *text* is in the sentence."""
        return text in str(self)


def missing_here(content: ContentStore, digest: str) -> CorruptContentError | None:
    """Return the error of reading a content that is missing; ``None`` if there is one."""
    try:
        with content.open(digest):
            return None
    except CorruptContentError as exc:
        return exc if exc.is_missing else None


def _described(artifact: Artifact) -> str:
    name = f"artifact {artifact.id} {artifact.title!r} v{artifact.version}"
    if artifact.task_id:
        return f"{name} of task {artifact.task_id}"
    return name


class Verification:
    """Checks contents, and finds out what can replace a damaged one.

    Args:
        rooms: The store, the bytes, and git, which may have the bytes of a file too.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._content = rooms.content
        self._whereabouts = Whereabouts(rooms=rooms)

    def verify(self, progress: Callable[[int, int], object] | None) -> list[Damage]:
        """Check every content that a record refers to."""
        damages = []
        digests = sorted(self._rooms.store.content_digests())
        for count, digest in enumerate(digests, 1):
            problem = self._content.verify(digest)
            if problem is not None:
                damages.append(self._damage(digest, problem))
            if progress is not None:
                progress(count, len(digests))
        return damages

    @contextmanager
    def explaining(self, artifact: Artifact) -> Iterator[None]:
        """Add to an error about damaged bytes whose they are, and what is intact."""
        try:
            yield
        except CorruptContentError as exc:
            name = f"artifact {artifact.id} {artifact.title!r} v{artifact.version}"
            intact = tuple(self._intact(artifact))
            error = self._whereabouts.explain(artifact, exc)
            raise attrs.evolve(error, about=name, intact=intact) from exc

    def _damage(self, digest: str, problem: str) -> Damage:
        query = ArtifactQuery(digest=digest, include_superseded=True)
        artifacts = self._rooms.store.artifacts(query)
        fetch = ""
        documents = list(self._documents_with(digest))
        error = self._elsewhere(digest, artifacts, documents)
        if error is not None:
            problem, fetch = error.problem, error.fetch
        intact: dict[str, None] = {}
        for artifact in artifacts:
            intact.update(dict.fromkeys(self._intact(artifact)))
        return Damage(
            digest=digest,
            problem=problem,
            artifacts=tuple(artifacts),
            documents=tuple(map(_document_name, documents)),
            intact=tuple(intact),
            fetch=fetch,
        )

    def _elsewhere(
        self, digest: str, artifacts: Sequence[Artifact], documents: Sequence[DocumentVersion]
    ) -> ContentElsewhereError | None:
        """Return where another home has the bytes, if they are missing here."""
        missing = missing_here(self._content, digest)
        if missing is None:
            return None
        if not artifacts:
            keepers = {version.home_id for version in documents}
            names = [_document_name(version) for version in documents]
            return self._whereabouts.in_other_home(missing, keepers, ", ".join(names))
        error = self._whereabouts.explain(artifacts[0], missing)
        return error if isinstance(error, ContentElsewhereError) else None

    def _documents_with(self, digest: str) -> Iterator[DocumentVersion]:
        store = self._rooms.store
        for latest in store.document_versions():
            for version in store.document_versions(latest.path):
                if version.digest == digest:
                    yield version

    def _intact(self, artifact: Artifact) -> Iterator[str]:
        """Yield how to get the same bytes from git, and the nearest sound version."""
        if artifact.kind == ArtifactKind.FILE:
            command = self._rooms.find_in_git(artifact.title, artifact.digest)
            if command is not None:
                yield f"the same bytes: {command}"
        sound = self._nearest_sound_version(artifact)
        if sound is not None:
            yield f"version {sound.version}: orch.artifacts.read({sound.id!r})"

    def _nearest_sound_version(self, artifact: Artifact) -> Artifact | None:
        versions = versions_of(self._rooms.store, artifact)
        others = [other for other in versions if other.digest != artifact.digest]
        # The nearest first; of two equally near, the newer.
        others.sort(key=lambda other: (abs(other.version - artifact.version), -other.version))
        for other in others[:_MOST_VERSIONS_TRIED]:
            if self._content.verify(other.digest) is None:
                return other
        return None


def _document_name(version: DocumentVersion) -> str:
    return f"{version.path} v{version.version}"

"""From what callers save to a draft: the bytes are stored, the record is not yet written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import ArtifactDraft, ArtifactKind
from vespera_orchestrator._text import one_line
from vespera_orchestrator.artifacts import input_checks
from vespera_orchestrator.artifacts.content import files, media_types
from vespera_orchestrator.artifacts.content.readable import expected_gap
from vespera_orchestrator.artifacts.search.gaps import gap_words
from vespera_orchestrator.errors import InvalidInputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.contracts import ContentStore

log = logging.getLogger("vespera_orchestrator")

_JSON = "application/json"


@attrs.frozen(kw_only=True)
class Description:
    """What a caller says about a content, checked."""

    title: str
    kind: str
    media_type: str | None
    tags: tuple[str, ...]
    metadata: Mapping[str, JsonValue]
    partial: bool
    supersedes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        *,
        title: str,
        kind: str,
        media_type: str | None,
        tags: Iterable[str],
        metadata: Mapping[str, JsonValue] | None,
        partial: bool,
        supersedes: tuple[str, ...],
    ) -> Description:
        """Check the arguments of `Artifacts.draft`.

        Raises:
            InvalidInputError: One cannot be used.
        """
        if partial and supersedes:
            problem = "what is partial takes no place; leave it out, or save the whole work"
            raise InvalidInputError("supersedes", problem)
        if media_type is not None:
            media_type = input_checks.non_empty_text("media_type", media_type)
        return cls(
            title=input_checks.clean_title(input_checks.non_empty_text("title", title)),
            kind=input_checks.non_empty_text("kind", kind),
            media_type=media_type,
            tags=input_checks.tag_words(tags),
            metadata=input_checks.json_mapping("metadata", metadata),
            partial=bool(partial),
            supersedes=supersedes,
        )


def draft(
    description: Description,
    content: JsonValue | bytes | Path | IO[bytes],
    store: ContentStore,
) -> ArtifactDraft:
    """Store *content* and return the draft of its record."""
    stored = _store(description.title, content, store)
    made = ArtifactDraft(
        title=description.title,
        digest=stored.digest,
        size_bytes=stored.size_bytes,
        kind=description.kind,
        media_type=description.media_type or stored.media_type,
        tags=description.tags,
        metadata=description.metadata,
        partial=description.partial,
        supersedes=description.supersedes,
    )
    _say_what_is_not_searched(made, store)
    return made


def draft_file(path: str | os.PathLike[str], root: Path, store: ContentStore) -> ArtifactDraft:
    """Store a file as it is now and return the draft of its record."""
    source = files.locate(path, root)
    stored = files.store(source, store.put)
    made = ArtifactDraft(
        title=input_checks.clean(source.title),
        digest=stored.digest,
        size_bytes=stored.size_bytes,
        kind=ArtifactKind.FILE,
        media_type=stored.media_type,
    )
    _say_what_is_not_searched(made, store)
    return made


def _say_what_is_not_searched(saved: ArtifactDraft, store: ContentStore) -> None:
    """Warn of a text that no search will see as a whole, as far as it can be told at once."""
    gap = expected_gap(store, saved)
    if gap is not None:
        log.warning("'%s' is kept, but will be %s", one_line(saved.title), gap_words(gap))


def _store(
    title: str, content: JsonValue | bytes | Path | IO[bytes], store: ContentStore
) -> files.StoredFile:
    """Store the bytes, and find out their media type for callers who do not say it."""
    if isinstance(content, Path):
        source = files.locate(content.absolute(), Path.cwd())
        source = attrs.evolve(source, requested=str(content))
        return files.store(source, store.put)
    if hasattr(content, "read"):
        digest, size = store.put(content)
        with store.open(digest) as stream:
            beginning = stream.read(media_types.BEGINNING_BYTES)
        media_type = media_types.detect(title, beginning)
    else:
        encoded, media_type = _encode(title, content)
        digest, size = store.put(encoded)
    return files.StoredFile(digest=digest, size_bytes=size, media_type=media_type)


def _encode(title: str, content: JsonValue | bytes) -> tuple[bytes, str]:
    """Return the bytes to store, and their media type."""
    if isinstance(content, str):
        # Damaged file names and half-cut emoji contain lone surrogates. They are stored, and
        # shown as U+FFFD.
        return content.encode("utf-8", "surrogatepass"), _type_of_text(title)
    if isinstance(content, bytes | bytearray | memoryview):
        encoded = bytes(content)
        return encoded, _type_of_bytes(title, encoded)
    if isinstance(content, Mapping):
        content = dict(content)
    if isinstance(content, dict | list | tuple):
        text = input_checks.json_text("content", content)
        return text.encode("utf-8", "surrogatepass"), _JSON
    raise InvalidInputError(
        "content",
        f"{type(content).__name__} cannot be saved; "
        "give text, bytes, or a dict or list that JSON can hold",
    )


def _type_of_text(title: str) -> str:
    named = media_types.by_name(title)
    # A text about "logo.png" is not a picture.
    return named if named is not None and media_types.is_text(named) else "text/markdown"


def _type_of_bytes(title: str, content: bytes) -> str:
    return media_types.detect(title, content[: media_types.BEGINNING_BYTES])

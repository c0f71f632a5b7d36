"""What was said just before a note: the context in which its few words are to be read.

A note such as "yes, on Tuesday" says nothing by itself. It is found by what it answers, too: the
notes that the same task saved before it, in one sitting. They count for questions of several words
only (`passages.is_wordy`), and never in a passage's own text.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import ArtifactQuery
from vespera_orchestrator.artifacts.search.passages import searchable_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.artifacts.search.passages import Passage
    from vespera_orchestrator.contracts import Store

_NOTES: Final = 2
"""How many notes before it are read with a note. Three find no more than two."""
_CHARACTERS: Final = 300
"""The end of each: what is answered stands last. Also how long a short note is, at most."""
_SITTING: Final = timedelta(hours=1)
_ROWS_READ: Final = 20
"""How many records may be looked through for those of one owner."""

_Owner = tuple[str, str | None]
"""Session and task."""


@attrs.frozen(kw_only=True)
class _Note:
    title: str
    saved_at: datetime
    ending: str


class NotesBefore:
    """Follows the log, and knows the latest notes of every task.

    Args:
        store: Has what was saved before the first event that is followed.
        passages_of: Returns the passages of an artifact, none for what is no text.
    """

    def __init__(self, store: Store, passages_of: Callable[[Artifact], Sequence[Passage]]) -> None:
        self._store = store
        self._passages_of = passages_of
        self._latest: dict[_Owner, deque[_Note]] = {}

    def before(self, artifact: Artifact, passages: Sequence[Passage]) -> str:
        """Return what was said before *artifact*, as it is searched; empty for nothing.

        An earlier version of it is no context: what it said may hold no longer. A text that is
        longer than what would be read before it needs none: it says what it is about.

        Args:
            artifact: The artifact.
            passages: Its own passages.
        """
        if len(passages) != 1 or len(passages[0].text) > _CHARACTERS:
            return ""
        earliest = artifact.created_at - _SITTING
        endings = [
            note.ending
            for note in self._notes_of(artifact)
            if note.saved_at >= earliest and note.title != artifact.title
        ]
        return "\n".join(map(searchable_text, endings))

    def add(self, artifact: Artifact, passages: Sequence[Passage]) -> None:
        """Remember *artifact* as the latest of its owner."""
        if passages:
            self._notes_of(artifact).append(_note(artifact, passages))

    def _notes_of(self, artifact: Artifact) -> deque[_Note]:
        owner = (artifact.session_id, artifact.task_id)
        if owner not in self._latest:
            latest_first = list(islice(self._notes_in_store(artifact), _NOTES))
            self._latest[owner] = deque(reversed(latest_first), maxlen=_NOTES)
        return self._latest[owner]

    def _notes_in_store(self, artifact: Artifact) -> Iterator[_Note]:
        """Yield the notes that were saved before *artifact*, the latest first."""
        query = ArtifactQuery(
            session_id=artifact.session_id,
            task_ids=None if artifact.task_id is None else (artifact.task_id,),
            created_after=artifact.created_at - _SITTING,
            created_before=artifact.created_at,
            include_superseded=True,
            newest_first=True,
            limit=_ROWS_READ,
        )
        for other in self._store.artifacts(query):
            if other.task_id == artifact.task_id:
                passages = self._passages_of(other)
                if passages:
                    yield _note(other, passages)


def _note(artifact: Artifact, passages: Sequence[Passage]) -> _Note:
    ending = passages[-1].text[-_CHARACTERS:]
    return _Note(title=artifact.title, saved_at=artifact.created_at, ending=ending)

"""What a task is given to read: passages that bear on it, nearest and newest first among equals, each once, within a budget.

A passage counts by how well it answers the query, by how near the task that made it is in the graph, and a little by how new it is.
What a task builds on is given even where no word of it fits the query, for somebody planned that dependency.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import TaskQuery
from vespera_orchestrator._text import CHARS_PER_TOKEN, clip, one_line, tokens
from vespera_orchestrator.artifacts.search.ranking import terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from vespera_orchestrator._model import Artifact, Session, Task
    from vespera_orchestrator.artifacts.search.ranking import RankedArtifact
    from vespera_orchestrator.contracts import Store

DEPENDENCY, SIBLING, SESSION, ANCESTOR = "dependency", "sibling", "session", "ancestor"
_BONUS: Final = {DEPENDENCY: 1.2, SIBLING: 0.3, SESSION: 0.15, ANCESTOR: 0.05, "": 0.0}
"""Relevance is 0 to 1. What the task builds on directly goes before all else; each step away counts a fifth less."""
_STEP: Final = 0.8
_FRESH: Final = 0.1
_HALF_LIFE_S: Final = 7 * 86_400
_FURTHER: Final = 0.75
"""Each further passage of one artifact counts so much of the one before: others have something to say as well."""
_PASSAGES_EACH: Final = 4
_ASIDE: Final = frozenset({"late", "failure", "conflict"})
"""Kinds that tell of what went wrong; they count half."""
_MOST_UPSTREAM: Final = 200
_MOST_ANCESTORS: Final = 10
_SHORTEST: Final = 40
"""In tokens. Less than two lines say nothing."""
_WHOLE: Final = 1 / 3
"""An artifact of a dependency that takes no more than this share of the budget is given whole."""
_SHINGLE: Final = 5
_ALIKE: Final = 0.8
"""Two passages are the same when so large a share of the shorter one's runs of five words stands in the other."""


@attrs.frozen(repr=False, kw_only=True)
class ContextPassage:
    """A slice of an artifact, and why it was chosen."""

    text: str
    """Exactly what stands between *start* and *end* of ``artifacts.text(artifact_id)``."""
    artifact_id: str
    title: str
    version: int
    task_id: str | None
    start: int
    end: int
    nearness: str
    """Where it is from: ``dependency`` (something the task builds on), ``sibling``, ``session``, ``ancestor`` (an earlier session that
    this one is part of); empty for anything else."""
    score: float
    """Compares within one context only."""

    @property
    def heading(self) -> str:
        """Title, version and place on one line."""
        of = f", from a {self.nearness}" if self.nearness in {DEPENDENCY, SIBLING} else ""
        return f"## {one_line(self.title)} ({self.artifact_id}, v{self.version}, characters {self.start}-{self.end}{of})"

    def __str__(self) -> str:
        return f"{self.heading}\n\n{self.text}"

    def __repr__(self) -> str:
        return f"ContextPassage({self.artifact_id!r}, {self.start}, {self.end}, {self.nearness!r})"


@attrs.frozen(repr=False, kw_only=True)
class Context:
    """Passages for somebody's work, the most useful first. ``str()`` is what to read."""

    query: str
    passages: tuple[ContextPassage, ...]
    budget_tokens: int

    @property
    def artifact_ids(self) -> tuple[str, ...]:
        """The artifacts, each once, in order."""
        return tuple(dict.fromkeys(passage.artifact_id for passage in self.passages))

    @property
    def tokens(self) -> int:
        """About how long it is, one token being counted as four characters."""
        return tokens(str(self))

    def __iter__(self) -> Iterator[ContextPassage]:
        return iter(self.passages)

    def __len__(self) -> int:
        return len(self.passages)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.passages))

    def __repr__(self) -> str:
        return f"<Context of {len(self.passages)} passages, {self.tokens} tokens, for {one_line(self.query, 60)!r}>"


# --- how near -----------------------------------------------------------------


def upstream(store: Store, task: Task, most: int | None = None) -> dict[str, int]:
    """Return the ids of the tasks that *task* builds on, its subtasks included, nearest first, with how many steps away they are.

    Args:
        store: Knows the graph.
        task: Where to start.
        most: Look no further once there are so many.
    """
    seen: dict[str, int] = {}
    queue = deque([(task, 1)])
    while queue and (most is None or len(seen) < most):
        at, steps = queue.popleft()
        below = store.tasks(
            TaskQuery(
                session_id=at.session_id, parent_task_id=at.id, limit=most, include_archived=True
            )
        )
        for other in [*store.situation(at.id).needed.values(), *below]:
            if other.id not in seen and other.id != task.id:
                seen[other.id] = steps
                queue.append((other, steps + 1))
    return seen


@attrs.frozen(kw_only=True)
class Surroundings:
    """What is around a task, or around nothing but a session."""

    task: Task | None
    dependencies: Mapping[str, int]
    """Task ids with their distance."""
    siblings: frozenset[str]
    session_id: str | None
    ancestors: tuple[str, ...]
    """The sessions that the session is part of, the nearest first."""

    @classmethod
    def of(cls, store: Store, task: Task | None, session: Session | None) -> Surroundings:
        """Look around."""
        siblings = _siblings(store, task) if task is not None else frozenset()
        near = upstream(store, task, _MOST_UPSTREAM) if task is not None else {}
        return cls(
            task=task,
            dependencies=near,
            siblings=siblings,
            session_id=session.id if session else None,
            ancestors=_ancestors(store, session),
        )

    def nearness(self, artifact: Artifact) -> tuple[str, float]:
        """Return the word for where *artifact* is from, and what that counts."""
        steps = self.dependencies.get(artifact.task_id or "")
        if steps is not None:
            return DEPENDENCY, _BONUS[DEPENDENCY] * _STEP ** (steps - 1)
        if artifact.task_id in self.siblings:
            return SIBLING, _BONUS[SIBLING]
        if artifact.session_id == self.session_id:
            return SESSION, _BONUS[SESSION]
        if artifact.session_id in self.ancestors:
            return ANCESTOR, _BONUS[ANCESTOR] / (1 + self.ancestors.index(artifact.session_id))
        return "", 0.0


def _siblings(store: Store, task: Task) -> frozenset[str]:
    if task.parent_task_id is None:
        return frozenset()
    found = store.tasks(
        TaskQuery(
            session_id=task.session_id, parent_task_id=task.parent_task_id, limit=_MOST_UPSTREAM
        )
    )
    return frozenset(other.id for other in found if other.id != task.id)


def _ancestors(store: Store, session: Session | None) -> tuple[str, ...]:
    found: list[str] = []
    while (
        session is not None
        and session.parent_session_id is not None
        and len(found) < _MOST_ANCESTORS
    ):
        found.append(session.parent_session_id)
        session = store.find_session(session.parent_session_id)
    return tuple(found)


# --- choosing -----------------------------------------------------------------


def candidates(
    ranked: Sequence[RankedArtifact],
    records: Mapping[str, Artifact],
    texts: Mapping[str, str],
    around: Surroundings,
    *,
    now: datetime,
    budget_tokens: int,
) -> list[ContextPassage]:
    """Return what may be chosen, the best first.

    Args:
        ranked: What a search found, all of its passages.
        records: The artifacts it is from, and those of the dependencies.
        texts: The beginnings of those of the dependencies.
        around: What is near.
        now: To tell what is fresh.
        budget_tokens: For how much there is room.
    """
    best = max((entry.score for entry in ranked), default=0.0)
    relevance = {
        entry.passage.artifact_id: max(0.0, entry.score / best) if best > 0 else 0.0
        for entry in ranked
    }
    found: list[ContextPassage] = []
    for artifact_id, text in texts.items():
        whole = len(text) <= budget_tokens * CHARS_PER_TOKEN * _WHOLE
        if whole or artifact_id not in relevance:
            given = text if whole else text[: int(budget_tokens * CHARS_PER_TOKEN * _WHOLE)]
            found += _weighed(
                records[artifact_id], [(0, given)], relevance.get(artifact_id, 0.0), around, now
            )
            relevance.pop(artifact_id, None)
    for entry in ranked:
        record = records.get(entry.passage.artifact_id)
        if record is not None and record.id in relevance:
            slices = [
                (passage.start, passage.text)
                for passage in (entry.passage, *entry.others)[:_PASSAGES_EACH]
            ]
            found += _weighed(record, slices, relevance[record.id], around, now)
    return sorted(found, key=lambda passage: -passage.score)


def _weighed(
    artifact: Artifact,
    slices: Iterable[tuple[int, str]],
    relevance: float,
    around: Surroundings,
    now: datetime,
) -> Iterator[ContextPassage]:
    where, bonus = around.nearness(artifact)
    age_s = max(0.0, (now - artifact.created_at).total_seconds())
    score = relevance + bonus + _FRESH * 0.5 ** (age_s / _HALF_LIFE_S)
    score *= 0.5 if artifact.kind in _ASIDE else 1.0
    for start, text in slices:
        yield ContextPassage(
            text=text,
            artifact_id=artifact.id,
            title=artifact.title,
            version=artifact.version,
            task_id=artifact.task_id,
            start=start,
            end=start + len(text),
            nearness=where,
            score=round(score, 6),
        )
        score *= _FURTHER


def choose(found: Iterable[ContextPassage], budget_tokens: int) -> list[ContextPassage]:
    """Take from *found*, in order, what fits into the budget and does not repeat what was taken; the last may be cut short."""
    chosen: list[ContextPassage] = []
    seen: list[frozenset[tuple[str, ...]]] = []
    left = budget_tokens * CHARS_PER_TOKEN
    for passage in found:
        room = left - len(passage.heading) - 4  # blank lines before and after the heading
        if room < _SHORTEST * CHARS_PER_TOKEN and room < len(passage.text):
            continue
        runs = _runs(passage.text)
        if not passage.text.strip() or any(_alike(runs, other) for other in seen):
            continue
        fitting = passage if len(passage.text) <= room else _cut(passage, room)
        chosen.append(fitting)
        seen.append(runs)
        left -= len(fitting.heading) + len(fitting.text) + 4
    return chosen


def _cut(passage: ContextPassage, room: int) -> ContextPassage:
    """Keep the beginning, up to a line or a word; the heading cannot grow by it."""
    text = clip(passage.text, room // CHARS_PER_TOKEN).removesuffix(" …")
    return attrs.evolve(passage, text=text, end=passage.start + len(text))


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    words = terms(text)
    count = max(1, len(words) - _SHINGLE + 1)
    return frozenset(tuple(words[at : at + _SHINGLE]) for at in range(count))


def _alike(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> bool:
    return len(one & other) >= _ALIKE * min(len(one), len(other))

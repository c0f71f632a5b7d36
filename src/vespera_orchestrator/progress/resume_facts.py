"""Reads what somebody who comes back must know: from the store, and from git where there is any.

First everything is read in one state of the store (`ResumeReader`), then git is asked
(`ResumeView`). What it costs does not grow with the session: each question goes to an index, and
has a limit.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    ArtifactKind,
    EventKind,
    TaskStatus,
)
from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import WorktreeError
from vespera_orchestrator.progress.own_tasks import (
    LETTING_GO,
    held_tasks,
    unfinished_tasks,
)
from vespera_orchestrator.progress.pauses import standing_pause
from vespera_orchestrator.progress.resume import (
    CHANGE_WORDS,
    COUNTED_CHANGES,
    LISTED_CHANGES,
    Change,
    Drift,
    InHand,
    ResumeFacts,
    Whereabouts,
    change_words,
)
from vespera_orchestrator.worktrees.peek import read_position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from vespera_orchestrator._model import Attempt, Event, Look, Pause, Task, Worktree
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.agents.shared import SharedContext
    from vespera_orchestrator.progress.session_reader import SessionReader
    from vespera_orchestrator.progress.status import Status
    from vespera_orchestrator.worktrees.lookback import Changes

_T = TypeVar("_T")

_MOST_OWN: Final = 8
"""How many of the reader's tasks are looked at."""
_MOST_OWN_FILES: Final = 2
"""Of how many of them the files are."""
_MOST_OTHERS: Final = 2
_SKIPS_LOOKED_AT: Final = 8
_NAMED_WORKTREES: Final = 4
_NAMED_FILES: Final = 3
_QUOTE_WIDTH: Final = 40


@attrs.frozen(kw_only=True)
class _ChangeRecord:
    """A change, as the log tells it."""

    event: Event
    task: Task | None
    handed_in: tuple[str, ...] = ()
    """The paths of files that were handed in as artifacts."""


@attrs.frozen(kw_only=True)
class ResumeRecords:
    """What the store says to somebody who comes back."""

    seq: int
    """The last event that there was."""
    own: Sequence[InHand]
    """What the reader has in hand; the files are not known yet, as in *others*."""
    others: Sequence[InHand] = ()
    pause: Pause | None = None
    last_look: Look | None = None
    shared: SharedContext | None = None
    """What is shared, of which the conflicts are told."""
    changes: Sequence[_ChangeRecord] = ()
    """The oldest first."""
    new_changes: int = 0
    skipped: Sequence[_ChangeRecord] = ()
    worktrees: Sequence[Worktree] = ()
    """Those of this home that are in use."""
    documents: Sequence[str] = ()
    """Paths of the documents that update themselves: they land with the work of any task."""


class ResumeReader:
    """Reads from the store what has changed for one person or agent; git is not asked.

    Args:
        rooms: The store.
        status: Where the session stands, read in the same state of the store.
        session: What has read that.
        reader: Who reads it.
    """

    def __init__(self, rooms: Rooms, status: Status, session: SessionReader, reader: str) -> None:
        self._rooms = rooms
        self._store = rooms.store
        self._status = status
        self._session = session
        self._session_id = status.session.id
        self._reader = reader
        self._tasks: dict[str, Task | None] = {}
        self._recent = _of_tasks_that_are_there(
            self._events((*CHANGE_WORDS, EventKind.TASK_DELETED))
        )

    def records(self) -> ResumeRecords:
        """Return what the way back in tells: with little energy only what is in the reader's hands.

        What is not shown then is not read, either.
        """
        seq = self._store.last_seq()
        if self._status.gentleness is not None:
            own = self._own_tasks(most=1)
            return ResumeRecords(seq=seq, own=own, pause=self._pause(own))
        last_look = self._store.last_look(self._session_id, self._reader)
        own = self._own_tasks()
        changes = self._last_changes(own)
        worktrees = self._session.worktrees
        return ResumeRecords(
            seq=seq,
            own=own,
            others=self._others(),
            pause=self._pause(own),
            last_look=last_look,
            shared=self._rooms.shared.peek(self._status.session),
            changes=changes,
            new_changes=self._count_new(last_look, own),
            skipped=self._skipped(changes),
            worktrees=[each for each in worktrees if not self._rooms.is_elsewhere(each)],
            documents=self._documents(changes),
        )

    # --- the log ----------------------------------------------------------------

    def _events(self, kinds: Sequence[str]) -> list[Event]:
        return self._store.events(
            session_id=self._session_id,
            kinds=kinds,
            limit=COUNTED_CHANGES,
            newest_first=True,
        )

    def _count_new(self, last_look: Look | None, own: Sequence[InHand]) -> int:
        seen = 0 if last_look is None else last_look.seq
        return sum(event.seq > seen for event in self._without_own_end(own))

    def _without_own_end(self, own: Sequence[InHand]) -> Iterator[Event]:
        """Yield the recent events, but not how the reader let a task go: that is told elsewhere."""
        let_go = {mine.task.id for mine in own if not mine.is_held}
        for event in self._recent:
            if event.kind not in LETTING_GO or event.task_id not in let_go:
                yield event

    def _last_changes(self, own: Sequence[InHand]) -> list[_ChangeRecord]:
        """Return the last change of each of the tasks that changed last, the oldest first."""
        last: dict[str | None, Event] = {}
        for event in self._without_own_end(own):
            if len(last) == LISTED_CHANGES:
                break
            last.setdefault(event.task_id, event)
        changes = [
            _ChangeRecord(
                event=event, task=self._task(event.task_id), handed_in=self._handed_in(event)
            )
            for event in last.values()
        ]
        return changes[::-1]

    def _handed_in(self, event: Event) -> tuple[str, ...]:
        paths = []
        for artifact_id in event.data.get("artifacts", ())[:_NAMED_FILES]:
            artifact = self._store.find_artifact(artifact_id)
            if artifact is not None and artifact.kind == ArtifactKind.FILE:
                paths.append(artifact.title)
        return tuple(paths)

    def _documents(self, changes: Sequence[_ChangeRecord]) -> list[str]:
        """Return the paths of the documents, if they may be among what landed."""
        if not any(_landing(change.event) for change in changes):
            return []
        return [version.path for version in self._store.document_versions()]

    def _skipped(self, changes: Sequence[_ChangeRecord]) -> list[_ChangeRecord]:
        """Return which tasks were skipped last, unless *changes* tells of it anyway."""
        events = [change.event for change in changes]
        told = [event.task_id for event in events if event.kind == EventKind.TASK_SKIPPED]
        if self._status.counts.get(TaskStatus.SKIPPED, 0) <= len(told):
            return []
        records = []
        for event in self._events((EventKind.TASK_SKIPPED,))[:_SKIPS_LOOKED_AT]:
            task = self._task(event.task_id)
            is_still_skipped = task is not None and task.status is TaskStatus.SKIPPED
            if is_still_skipped and event.task_id not in told:
                records.append(_ChangeRecord(event=event, task=task))
        return records

    def _task(self, task_id: str | None) -> Task | None:
        if task_id is None:
            return None
        if task_id not in self._tasks:
            self._tasks[task_id] = self._store.find_task(task_id, None)
        return self._tasks[task_id]

    # --- who left off -----------------------------------------------------------

    def _pause(self, own: Sequence[InHand]) -> Pause | None:
        return standing_pause(
            self._store,
            self._session_id,
            self._reader,
            recent=self._recent,
            attempts=[mine.attempt for mine in own],
        )

    # --- who has what in hand ---------------------------------------------------

    def _own_tasks(self, most: int = _MOST_OWN) -> list[InHand]:
        """Return what the reader holds, and then what it has let go unfinished."""
        held = held_tasks(self._store, self._session_id, self._reader)
        unfinished = unfinished_tasks(self._store, self._recent, self._reader)
        in_hand = [self._in_hand(task, attempt) for task, attempt in held[:most]]
        in_hand += [
            self._in_hand(task, self._store.attempts(task.id)[-1])
            for task in unfinished[: most - len(in_hand)]
        ]
        return in_hand

    def _others(self) -> list[InHand]:
        """Return what others have in hand; work that is handed in is told by its change."""
        others = [
            InHand(task=run.task, attempt=run.attempt, checkpoint=run.checkpoint)
            for run in self._status.running
            if run.attempt.ended_at is None and run.attempt.agent != self._reader
        ]
        return others[:_MOST_OTHERS]

    def _in_hand(self, task: Task, attempt: Attempt) -> InHand:
        return InHand(task=task, attempt=attempt, checkpoint=self._store.last_checkpoint(task.id))


def _of_tasks_that_are_there(events: Sequence[Event]) -> list[Event]:
    """Leave out what happened to tasks that were deleted: they have no name any more."""
    gone = {event.task_id for event in events if event.kind == EventKind.TASK_DELETED}
    return [event for event in events if event.task_id not in gone]


class ResumeView:
    """Adds to what the store says where git is, and what changed there.

    A repository that cannot answer takes nothing else away.

    Args:
        rooms: Git, and where the look is remembered.
        status: Where the session stands.
        reader: Who reads it.
    """

    def __init__(self, rooms: Rooms, status: Status, reader: str) -> None:
        self._rooms = rooms
        self._status = status
        self._reader = reader
        branch = rooms.config.worktrees.integration_branch
        self._position = read_position(rooms.scope.home.project, branch)

    def facts(self, records: ResumeRecords) -> ResumeFacts:
        """Return what the way back in tells."""
        told = [self._with_files(mine) for mine in records.own[:_MOST_OWN_FILES]]
        own = [*told, *records.own[_MOST_OWN_FILES:]]
        known = ResumeFacts(status=self._status, reader=self._reader, pause=records.pause, own=own)
        if self._status.gentleness is not None:
            return known
        last_look = records.last_look
        newest = records.changes[-1:]
        return attrs.evolve(
            known,
            active_problem=self._rooms.scope.active_problem,
            conflicts=_conflicts(records),
            others=[self._with_files(other) for other in records.others],
            last_look=None if last_look is None else last_look.at,
            changes=[
                self._change(change, records.documents, with_quote=change in newest)
                for change in records.changes
            ],
            new_changes=records.new_changes,
            drift=self._drift(last_look, own, records.documents),
            skipped=[_change(change) for change in records.skipped],
            skipped_count=self._status.counts.get(TaskStatus.SKIPPED, 0),
            where=self._where(_own_first(records.worktrees, own)),
        )

    def note(self, records: ResumeRecords) -> None:
        """Remember that the reader has seen all this; what came meanwhile is still new."""
        session_id = self._status.session.id
        store = self._rooms.store
        store.note_look(session_id, self._reader, self._position, seq=records.seq)

    @property
    def _uses_git(self) -> bool:
        """Whether the session's work is in git: otherwise git is not even loaded."""
        return self._position.integration is not None

    def _from_git(self, ask: Callable[[], _T]) -> _T | None:
        try:
            return ask()
        except (WorktreeError, OSError):
            return None

    def _with_files(self, mine: InHand) -> InHand:
        snapshot = None if mine.checkpoint is None else mine.checkpoint.snapshot
        paths, count = _listed(self._unlanded(mine.task, snapshot), with_quote=True)
        return attrs.evolve(mine, files=paths, file_count=count)

    def _unlanded(self, task: Task, snapshot: str | None) -> Changes | None:
        """Return what the last save of the task's worktree holds, or else the checkpoint's."""
        if task.worktree:
            saved = self._from_git(lambda: self._rooms.worktrees.last_saved(str(task.worktree)))
            snapshot = saved or snapshot
        if snapshot is None:
            return None
        commit = snapshot
        return self._from_git(lambda: self._rooms.worktrees.unlanded_changes(commit))

    def _change(
        self, record: _ChangeRecord, documents: Sequence[str], *, with_quote: bool
    ) -> Change:
        changes = self._files_of(record, documents)
        paths, count = _listed(changes, with_quote=with_quote)
        if not paths:
            paths, count = record.handed_in, len(record.handed_in)
        return attrs.evolve(_change(record), files=paths, file_count=count)

    def _files_of(self, record: _ChangeRecord, documents: Sequence[str]) -> Changes | None:
        landed, task = _landing(record.event), record.task
        if landed is not None:
            worktrees = self._rooms.worktrees
            return self._from_git(lambda: worktrees.changes_of(landed, documents=documents))
        if not self._uses_git or task is None or not task.worktree:
            return None
        if task.status is TaskStatus.COMPLETED:
            return None
        return self._unlanded(task, None)

    def _drift(
        self, last_look: Look | None, own: Sequence[InHand], documents: Sequence[str]
    ) -> Drift | None:
        replaced = [
            str(use)
            for use in self._status.outdated
            if any(mine.task.id == use.task_id for mine in own)
        ]
        building = [mine.task.alias for mine in own[:2] if mine.task.dependencies]
        drift = Drift(replaced=tuple(replaced), relied_on=tuple(building))
        old, new = self._moved(last_look)
        if old is None or new is None or old == new:
            is_known = bool(own) and new is not None
            drift = attrs.evolve(drift, are_files_the_same=is_known)
            return drift if last_look is not None else None
        compared = self._from_git(
            lambda: self._rooms.worktrees.changes_between(old, new, documents=documents)
        )
        if compared is None:
            return None
        commits, changes = compared
        paths, count = _listed(changes)
        return attrs.evolve(drift, commits=commits, files=paths, file_count=count)

    def _moved(self, last_look: Look | None) -> tuple[str | None, str | None]:
        """Return where the work was at the last look, and where it is now."""
        if last_look is None:
            return None, None
        if self._position.integration is not None:
            return last_look.integration or last_look.head, self._position.integration
        return last_look.head, self._position.head

    def _where(self, records: Sequence[Worktree]) -> Whereabouts | None:
        position = self._position
        if position.head is None:
            return None
        missing = 0
        if self._uses_git and position.head != position.integration:
            missing = self._from_git(self._missing) or 0
        project = self._rooms.scope.home.project
        names = [_worktree_words(record, project) for record in records[:_NAMED_WORKTREES]]
        return Whereabouts(
            position=position,
            integration_branch=self._rooms.config.worktrees.integration_branch,
            missing=missing,
            worktrees=tuple(names),
            worktree_count=len(records),
        )

    def _missing(self) -> int:
        return self._rooms.worktrees.missing_in_checkout()


def _own_first(worktrees: Sequence[Worktree], own: Sequence[InHand]) -> list[Worktree]:
    """Return the worktrees, those of the reader's tasks first: not all of them are named."""
    names = {mine.task.worktree for mine in own}
    return sorted(worktrees, key=lambda worktree: worktree.name not in names)


def _worktree_words(record: Worktree, project: Path) -> str:
    """Say where a worktree is, and its branch where that is not named like it."""
    place = os.path.relpath(record.path, project)
    if record.branch.endswith(f"/{record.name}"):
        return f"{record.name} ({place})"
    return f"{record.name} ({place}, branch {record.branch})"


def _change(record: _ChangeRecord) -> Change:
    event, task = record.event, record.task
    data = event.data
    return Change(
        alias=task.alias if task else str(data.get("alias", "")),
        kind=event.kind,
        words=change_words(event),
        at=_happened_at(event),
        agent=None if data.get("taken_by") else event.agent,
        detail=_detail(event),
    )


def _happened_at(event: Event) -> datetime:
    """Return when it happened: the end of a lease is noted by whoever looks next."""
    since = event.data.get("silent_since")
    if since is None or event.data.get("taken_by"):
        return event.at
    try:
        return datetime.fromisoformat(str(since))
    except ValueError:
        return event.at


def _detail(event: Event) -> str:
    """Return why, or what came of it. What a reopened task came to before is no news."""
    summary = "" if event.kind == EventKind.TASK_REOPENED else event.data.get("summary")
    return str(summary or event.data.get("reason") or "")


def _landing(event: Event) -> str | None:
    """Return the commit with which the event's work landed, if it did."""
    landed = event.data.get("landed")
    return landed if isinstance(landed, str) else None


def _listed(changes: Changes | None, *, with_quote: bool = False) -> tuple[tuple[str, ...], int]:
    """Name the files that were changed; *with_quote*: with the first new line of the first."""
    if changes is None:
        return (), 0
    names = [str(file) for file in changes.files]
    line = changes.files[0].first_line if changes.files else ""
    if with_quote and line:
        names[0] += f" “{one_line(line, _QUOTE_WIDTH)}”"
    return tuple(names), changes.total


def _conflicts(records: ResumeRecords) -> list[str]:
    return [] if records.shared is None else [str(each) for each in records.shared.conflicts]

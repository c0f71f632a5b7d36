"""Reads what somebody who comes back must know: from the store, and from git where there is any.

What it costs does not grow with the session: each question goes to an index, and has a limit.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from vespera_orchestrator._model import (
    ArtifactKind,
    EventKind,
    Pause,
    TaskStatus,
)
from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import WorktreeError
from vespera_orchestrator.progress.own_tasks import (
    LETTING_GO,
    held_tasks,
    unfinished_tasks,
)
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

    from vespera_orchestrator._model import Event, Look, Task
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.progress.status import Status
    from vespera_orchestrator.worktrees.lookback import Changes

_T = TypeVar("_T")

_MOST_OWN: Final = 3
"""How many of the reader's tasks are looked at."""
_MOST_OTHERS: Final = 2
_PAUSES_LOOKED_AT: Final = 10
_SKIPS_LOOKED_AT: Final = 8
_NAMED_WORKTREES: Final = 4
_NAMED_FILES: Final = 3
_QUOTE_WIDTH: Final = 40


class ResumeReader:
    """Reads for one person or agent where a session stands, and what has changed.

    Args:
        rooms: The store, and git.
        status: Where the session stands.
        reader: Who reads it.
    """

    def __init__(self, rooms: Rooms, status: Status, reader: str) -> None:
        self._rooms = rooms
        self._store = rooms.store
        self._status = status
        self._session_id = status.session.id
        self._reader = reader
        self._tasks: dict[str, Task | None] = {}
        self._recent = self._events(tuple(CHANGE_WORDS))
        branch = rooms.config.worktrees.integration_branch
        self._position = read_position(rooms.scope.home.project, branch)

    def facts(self) -> ResumeFacts:
        """Return what the way back in tells: with little energy only what is in the reader's hands.

        What is not shown then is not read, either.
        """
        if self._status.gentleness is not None:
            own = self._own_tasks(most=1)
            return ResumeFacts(
                status=self._status, reader=self._reader, pause=self._pause(own), own=own
            )
        last_look = self._store.last_look(self._session_id, self._reader)
        own = self._own_tasks()
        changes = self._last_changes(own)
        return ResumeFacts(
            status=self._status,
            reader=self._reader,
            pause=self._pause(own),
            active_problem=self._rooms.scope.active_problem,
            conflicts=self._conflicts(),
            own=own,
            others=self._others(),
            last_look=None if last_look is None else last_look.at,
            changes=changes,
            new_changes=self._count_new(last_look, own),
            drift=self._drift(last_look, own),
            skipped=self._skipped(changes),
            skipped_count=self._status.counts.get(TaskStatus.SKIPPED, 0),
            where=self._where(),
        )

    def note(self) -> None:
        """Remember that the reader has seen all this."""
        self._store.note_look(self._session_id, self._reader, self._position)

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

    def _last_changes(self, own: Sequence[InHand]) -> list[Change]:
        """Return the last change of each of the tasks that changed last, the oldest first."""
        last: dict[str | None, Event] = {}
        for event in self._without_own_end(own):
            if len(last) == LISTED_CHANGES:
                break
            last.setdefault(event.task_id, event)
        events = list(last.values())
        changes = [
            self._change(event, with_files=True, with_quote=event is events[0]) for event in events
        ]
        return changes[::-1]

    def _skipped(self, changes: Sequence[Change]) -> list[Change]:
        """Return which tasks were skipped last, unless *changes* tells of it anyway."""
        told = [change.alias for change in changes if change.kind == EventKind.TASK_SKIPPED]
        if self._status.counts.get(TaskStatus.SKIPPED, 0) <= len(told):
            return []
        events = self._events((EventKind.TASK_SKIPPED,))[:_SKIPS_LOOKED_AT]
        skipped = [self._change(event) for event in events if self._is_still_skipped(event)]
        return [change for change in skipped if change.alias not in told]

    def _is_still_skipped(self, event: Event) -> bool:
        task = self._task(event.task_id)
        return task is not None and task.status is TaskStatus.SKIPPED

    def _change(
        self, event: Event, *, with_files: bool = False, with_quote: bool = False
    ) -> Change:
        task = self._task(event.task_id)
        data = event.data
        changes = self._files_of(event) if with_files else None
        paths, count = self._listed(changes, with_quote=with_quote)
        if with_files and not paths:
            paths = self._saved_files(event)
            count = len(paths)
        return Change(
            alias=task.alias if task else str(data.get("alias", "")),
            kind=event.kind,
            words=change_words(event),
            at=event.at,
            agent=None if data.get("taken_by") else event.agent,
            detail=str(data.get("summary") or data.get("reason") or ""),
            files=paths,
            file_count=count,
        )

    def _task(self, task_id: str | None) -> Task | None:
        if task_id is None:
            return None
        if task_id not in self._tasks:
            self._tasks[task_id] = self._store.find_task(task_id, None)
        return self._tasks[task_id]

    def _conflicts(self) -> list[str]:
        shared = self._rooms.shared.read(self._status.session)
        return [str(conflict) for conflict in shared.conflicts]

    # --- who left off -----------------------------------------------------------

    def _pause(self, own: Sequence[InHand]) -> Pause | None:
        """Return the reader's last pause, or else the last one of all, while it counts."""
        events = self._store.events(
            session_id=self._session_id,
            kinds=(EventKind.SESSION_PAUSED,),
            limit=_PAUSES_LOOKED_AT,
            newest_first=True,
        )
        events.sort(key=lambda event: event.agent != self._reader)
        for event in events[:1]:
            if not self._has_gone_on(event, own):
                return _pause_of(event)
        return None

    def _has_gone_on(self, pause: Event, own: Sequence[InHand]) -> bool:
        """Tell whether whoever paused has worked since: then the words are no longer about now."""
        done = any(
            event.seq > pause.seq and event.agent == pause.agent and event.kind not in LETTING_GO
            for event in self._recent
        )
        return done or any(
            mine.attempt.started_at > pause.at and mine.attempt.agent == pause.agent for mine in own
        )

    # --- the reader's own work --------------------------------------------------

    def _own_tasks(self, most: int = _MOST_OWN) -> list[InHand]:
        """Return what the reader holds, and then what it has let go unfinished."""
        held = held_tasks(self._store, self._session_id, self._reader)
        unfinished = unfinished_tasks(self._store, self._recent, self._reader)
        tasks = [*(task for task, _ in held), *unfinished]
        return [self._in_hand(task) for task in tasks[:most]]

    def _others(self) -> list[InHand]:
        """Return what others have in hand; work that is handed in is told by its change."""
        tasks = [
            run.task
            for run in self._status.running
            if run.attempt.ended_at is None and run.attempt.agent != self._reader
        ]
        return [self._in_hand(task) for task in tasks[:_MOST_OTHERS]]

    def _in_hand(self, task: Task) -> InHand:
        attempt = self._store.attempts(task.id)[-1]
        checkpoint = self._store.last_checkpoint(task.id)
        snapshot = None if checkpoint is None else checkpoint.snapshot
        paths, count = self._listed(self._unlanded(task, snapshot), with_quote=True)
        return InHand(
            task=task, attempt=attempt, checkpoint=checkpoint, files=paths, file_count=count
        )

    def _unlanded(self, task: Task, snapshot: str | None) -> Changes | None:
        """Return what the last save of the task's worktree holds, or else the checkpoint's."""
        if task.worktree:
            saved = self._from_git(lambda: self._rooms.worktrees.last_saved(str(task.worktree)))
            snapshot = saved or snapshot
        if snapshot is None:
            return None
        commit = snapshot
        return self._from_git(lambda: self._rooms.worktrees.unlanded_changes(commit))

    # --- git --------------------------------------------------------------------

    @property
    def _uses_git(self) -> bool:
        """Whether the session's work is in git: otherwise git is not even loaded."""
        return self._position.integration is not None

    def _from_git(self, ask: Callable[[], _T]) -> _T | None:
        """Ask git; a repository that cannot answer takes nothing else away."""
        try:
            return ask()
        except (WorktreeError, OSError):
            return None

    @cached_property
    def _documents(self) -> list[str]:
        """Paths of the documents that update themselves: they land with the work of any task."""
        return [version.path for version in self._store.document_versions()]

    def _files_of(self, event: Event) -> Changes | None:
        landed = event.data.get("landed")
        if isinstance(landed, str):
            worktrees, documents = self._rooms.worktrees, self._documents
            return self._from_git(lambda: worktrees.changes_of(landed, documents=documents))
        task = self._task(event.task_id)
        if not self._uses_git or task is None or not task.worktree:
            return None
        if task.status is TaskStatus.COMPLETED:
            return None
        return self._unlanded(task, None)

    def _saved_files(self, event: Event) -> tuple[str, ...]:
        """Return the paths of the files that were handed in as artifacts."""
        paths = []
        for artifact_id in event.data.get("artifacts", ())[:_NAMED_FILES]:
            artifact = self._store.find_artifact(artifact_id)
            if artifact is not None and artifact.kind == ArtifactKind.FILE:
                paths.append(artifact.title)
        return tuple(paths)

    def _listed(
        self, changes: Changes | None, *, with_quote: bool = False
    ) -> tuple[tuple[str, ...], int]:
        """Name the files that were changed; *with_quote*: with the first new line of the first."""
        if changes is None:
            return (), 0
        names = [str(file) for file in changes.files]
        line = changes.files[0].first_line if changes.files else ""
        if with_quote and line:
            names[0] += f" “{one_line(line, _QUOTE_WIDTH)}”"
        return tuple(names), changes.total

    def _drift(self, last_look: Look | None, own: Sequence[InHand]) -> Drift | None:
        replaced = [
            str(use)
            for use in self._status.outdated
            if any(mine.task.id == use.task_id for mine in own)
        ]
        drift = Drift(
            replaced=tuple(replaced), relied_on=tuple(mine.task.alias for mine in own[:2])
        )
        old, new = self._moved(last_look)
        if old is None or new is None or old == new:
            return drift if last_look is not None else None
        compared = self._from_git(lambda: self._rooms.worktrees.changes_between(old, new))
        if compared is None:
            return None
        commits, changes = compared
        paths, count = self._listed(changes)
        return attrs.evolve(drift, commits=commits, files=paths, file_count=count)

    def _moved(self, last_look: Look | None) -> tuple[str | None, str | None]:
        """Return where the work was at the last look, and where it is now."""
        if last_look is None:
            return None, None
        if self._position.integration is not None:
            return last_look.integration or last_look.head, self._position.integration
        return last_look.head, self._position.head

    def _where(self) -> Whereabouts | None:
        position = self._position
        if position.head is None:
            return None
        missing = 0
        if self._uses_git and position.head != position.integration:
            missing = self._from_git(self._missing) or 0
        all_records = self._store.worktrees(session_id=self._session_id)
        records = [each for each in all_records if not self._rooms.is_elsewhere(each)]
        project = self._rooms.scope.home.project
        names = [
            f"{record.name} (branch {record.branch}, {os.path.relpath(record.path, project)})"
            for record in records[:_NAMED_WORKTREES]
        ]
        return Whereabouts(
            position=position,
            integration_branch=self._rooms.config.worktrees.integration_branch,
            missing=missing,
            worktrees=tuple(names),
            worktree_count=len(records),
        )

    def _missing(self) -> int:
        return self._rooms.worktrees.missing_in_checkout()


def _pause_of(event: Event) -> Pause:
    return Pause(
        session_id=str(event.session_id),
        agent=str(event.agent),
        at=event.at,
        note=str(event.data.get("note", "")),
        next_step=str(event.data.get("next_step", "")),
        worded=tuple(event.data.get("worded", ())),
    )

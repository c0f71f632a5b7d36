"""A project whose completed tasks fill documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vespera_orchestrator._model import (
    ArtifactDraft,
    Ending,
    NextAction,
    Session,
    TaskDraft,
    new_id,
)
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.documents import Documents
from vespera_orchestrator.documents.sections import parse_sections
from vespera_orchestrator.home.config import Config
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 3, 1, 9, tzinfo=UTC)


class Project:
    """A project in a folder, with a clock that moves a minute with every completed task."""

    def __init__(
        self, folder: Path, project_type: str | None, *, config: Config | None = None
    ) -> None:
        self.now = START
        self.home = Home(
            path=folder / ".task_orchestrator", project=folder, config=config or Config()
        ).create()
        self.store = SQLiteStore.open(self.home.database, clock=lambda: self.now)
        self.content = FolderContent(self.home.artifacts)
        self.session = self.begin(project_type)
        self.documents = self.opened()

    def begin(self, project_type: str | None, *, parent: str | None = None) -> Session:
        return self.store.start_session(
            Session(
                id=new_id("s"),
                goal="a goal",
                project_type=project_type,
                parent_session_id=parent,
                context={},
                created_at=self.now,
                updated_at=self.now,
            )
        )

    def opened(self, session: Session | None = None) -> Documents:
        """Documents as a process that has just started sees them."""
        return Documents(
            Scope(self.home, self.store, session_id=(session or self.session).id), self.content
        )

    def draft(
        self,
        title: str,
        text: str,
        kind: str = "general",
        media_type: str = "text/markdown",
        tags: tuple[str, ...] = (),
    ):
        digest, size = self.content.put(text.encode())
        return ArtifactDraft(
            title=title, digest=digest, size_bytes=size, kind=kind, media_type=media_type, tags=tags
        )

    def complete(
        self,
        title: str,
        *artifacts: ArtifactDraft,
        summary: str = "",
        outputs=None,
        session: Session | None = None,
    ):
        self.now += timedelta(minutes=1)
        session_id = (session or self.session).id
        (task,) = self.store.plan(session_id, [TaskDraft(title=title)])
        claim = self.store.claim(session_id, "agent", task_id=task.id, lease_s=60)
        ending = Ending(action=NextAction.COMPLETE, summary=summary, outputs=outputs or {})
        return self.store.finish(
            task.id, claim.attempt.number, ending, agent="agent", artifacts=artifacts
        )

    def write(self, path: str, text: str) -> None:
        """Write a file of the project itself."""
        file = self.home.project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    def path(self, name: str) -> Path:
        return self.home.project / "docs" / name

    def text(self, name: str) -> str:
        return self.path(name).read_bytes().decode()

    def state(self):
        """Everything that an update could write."""
        files = {
            p.name: (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes())
            for p in sorted(self.path("").iterdir())
        }
        return (
            files,
            self.store.document_versions(),
            self.store.last_seq(),
            (self.home.path / "documents.json").stat().st_mtime_ns,
        )


def outside_sections(text: str) -> list[str]:
    """Return what is not ours in a document, piece by piece."""
    sections = parse_sections(text)
    starts = [0, *(section.end for section in sections)]
    ends = [*(section.start for section in sections), len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]

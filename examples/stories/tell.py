"""Three projects, from the first task to documents that can be published.

``python examples/stories/tell.py`` tells all of them and writes what they end with to ``pages/``;
``--check`` compares instead, and fails where a page would change. Names of stories choose some.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import finding_texts
import own_history
import wonderland

import vespera_orchestrator as vespera

if TYPE_CHECKING:
    from types import ModuleType

HERE = Path(__file__).parent
PAGES = HERE / "pages"
STORIES: dict[str, ModuleType] = {
    "wonderland": wonderland,
    "finding_texts": finding_texts,
    "own_history": own_history,
}


class Calendar:
    """A clock that moves when the story says so, so that every telling has the same dates."""

    def __init__(self, begins: datetime) -> None:
        self.now = begins

    def __call__(self) -> datetime:
        """Return the time."""
        self.now += timedelta(seconds=1)
        return self.now

    def turn_to(self, moment: datetime) -> None:
        """Let it be a later moment."""
        self.now = max(self.now, moment)


def tell(name: str, folder: Path) -> dict[str, str]:
    """Let a story happen in an empty folder, and return its documents by name."""
    story = STORIES[name]
    calendar = Calendar(datetime(2026, 3, 2, 9, tzinfo=UTC))
    story.prepare(folder)
    with vespera.open(folder, clock=calendar, durability="normal") as orch:
        orch.initialize_session(story.GOAL, project_type=story.PROJECT_TYPE)
        story.happen(orch, calendar)
        orch.documents.update()
        problems = orch.documents.check()
        if problems:
            raise RuntimeError("\n".join(map(str, problems)))
        folder_of_documents = folder / "docs"
        pages = {path.name: path for path in sorted(folder_of_documents.glob("[A-Z]*.md"))}
        return {page: without_ids(path.read_text("utf-8")) for page, path in pages.items()}


def without_ids(text: str) -> str:
    """Return a text in which ids, which are new in every telling, are dots."""
    return re.sub(r"\b([at])_[0-9a-z]{12}\b", r"\1_…", text)


def is_as_it_was(name: str, pages: dict[str, str]) -> bool:
    """Tell whether a story ends with the pages that are kept; say which differ."""
    kept = {path.name: path.read_text("utf-8") for path in (PAGES / name).glob("*.md")}
    for page in sorted(kept.keys() | pages.keys()):
        if kept.get(page) != pages.get(page):
            print(f"{name}/{page} is not what it was; run examples/stories/tell.py and read it")
    return kept == pages


def main() -> int:
    """Tell the stories that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stories", nargs="*", help=f"any of {', '.join(STORIES)}")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    is_right = True
    for name in arguments.stories or STORIES:
        with tempfile.TemporaryDirectory() as folder:
            pages = tell(name, Path(folder))
        if arguments.check:
            is_right &= is_as_it_was(name, pages)
            continue
        for page, text in pages.items():
            (PAGES / name).mkdir(parents=True, exist_ok=True)
            (PAGES / name / page).write_text(text, "utf-8")
            print(f"{name}/{page}: {len(text.splitlines())} lines")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())

"""What coding agents read about this library: a skill, and a block in ``AGENTS.md``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from vespera_orchestrator.documents.sections import (
    MarkerError,
    begin_marker,
    end_marker,
    parse_sections,
    replace_sections,
)
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.files import make_folders, translate_os_error, write_atomically
from vespera_orchestrator.home.permissions import usual_file_mode
from vespera_orchestrator.home.reading import read_small_text

SKILL_NAME: Final = "vespera-orchestrator"
SECTION: Final = "agents"
"""The section of ``AGENTS.md`` that is ours."""

AGENTS_BLOCK: Final = """\
## How work is done here

Work is planned and saved by vespera_orchestrator: nothing is lost when you are interrupted.

* First: `python -m vespera_orchestrator resume`. It says where the work stands, and the next step.
* Take a task: `python -m vespera_orchestrator tool execute_task '{"task_id": "ALIAS"}'`.
* On the way: `… tool checkpoint '{"task": "ALIAS", "state": {}, "note": "where you are"}'`.
* At the end: `… tool complete_task -`, with `summary` and all you did in `detailed_work`, as JSON.
* Stuck? `… tool fail_task '{"task": "ALIAS", "error": "why"}'`. Never just leave.
"""


def skill_text() -> str:
    """Return the skill for coding agents, as Markdown."""
    package = files("vespera_orchestrator.integrations")
    return (package / "skills" / SKILL_NAME / "SKILL.md").read_text("utf-8")


def install_skill(folder: str | None) -> str:
    """Write the skill below *folder*, such as ``.claude/skills``; without one, return its text.

    Raises:
        ReadOnlyError: The folder cannot be written.
    """
    if folder is None:
        return skill_text()
    path = Path(folder) / SKILL_NAME / "SKILL.md"
    _write(path, skill_text())
    return f"written: {path}"


def update_agents_file(file: str) -> str:
    """Keep our block in a file such as ``AGENTS.md``; whatever else is in it stays as it is.

    Raises:
        InvalidInputError: The markers in the file contradict each other.
        ReadOnlyError: The file cannot be written.
    """
    path = Path(file)
    try:
        text = read_small_text(path) if path.exists() else ""
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInputError("file", f"{file} cannot be read: {exc}") from exc
    updated = _with_block(text, file)
    if updated == text:
        return f"up to date: {path}"
    _write(path, updated)
    return f"written: {path}"


def _with_block(text: str, file: str) -> str:
    try:
        names = {section.name for section in parse_sections(text)}
    except MarkerError as exc:
        raise InvalidInputError("file", f"{file}, {exc}") from exc
    if SECTION not in names:
        if text and not text.endswith("\n"):
            text += "\n"
        gap = "\n" if text else ""
        text += f"{gap}{begin_marker(SECTION)}\n{end_marker(SECTION)}\n"
    return replace_sections(text, {SECTION: AGENTS_BLOCK})


def _write(path: Path, text: str) -> None:
    try:
        make_folders(path.parent)
        write_atomically(path, text, mode=usual_file_mode())
    except OSError as exc:
        raise translate_os_error(exc, path) from exc

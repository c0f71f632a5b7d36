"""The Markdown report about a merge conflict: all three sides of each file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from pygit2.enums import ObjectType

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.worktrees import libgit2
from vespera_orchestrator.worktrees.paths import display_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pygit2

Conflict: TypeAlias = (
    "tuple[pygit2.IndexEntry | None, pygit2.IndexEntry | None, pygit2.IndexEntry | None]"
)
"""Base, ours and theirs of one place in conflict, as pygit2 gives them."""

_MOST_CHARS: Final = 40_000
"""Longest text of one side of one file; the report names the commit that has the whole."""
WHOLE_FILES: Final = "\n## Whole files\n"
"""Begins the part of a report that only somebody who is in doubt reads."""
_CONTEXT_LINES: Final = 3
"""Lines shown before and after a place in conflict."""
_SNIFFED_BYTES: Final = 8000
"""Git looks for a zero byte in that many bytes to tell binary files."""


def conflict_paths(conflicts: Iterable[Conflict]) -> tuple[str, ...]:
    """Return the paths in conflict, as text, in order."""
    paths: set[str] = set()
    for sides in conflicts:
        paths.update(display_path(entry.path) for entry in sides if entry is not None)
    return tuple(sorted(paths))


@attrs.frozen(kw_only=True)
class ConflictReport:
    """What a merge of *theirs* into *branch* conflicts in."""

    repo: pygit2.Repository
    branch: str
    """The integration branch."""
    base: str
    ours: str
    """Its head."""
    theirs: str
    """The worktree's snapshot."""

    def render(self, conflicts: list[Conflict]) -> str:
        """Return the report as Markdown."""
        count = f"Places in conflict: {len(conflicts)}."
        lines = [
            f"# Merge conflict with {self.branch}",
            "",
            f"{count} Nothing was changed on {self.branch}, and the work is kept.",
            "",
            f"- base, where both started: `{self.base}`",
            f"- {self.branch}, as it is now: `{self.ours}`",
            f"- the worktree, the blocked task's work: `{self.theirs}`",
            "",
            "A whole file of one side: `git show <commit>:<path>`.",
            "",
            "To resolve it, execute the recovery task. It works in the same worktree, where both",
            "sides are put together between conflict markers. Correct the files and complete it;",
            "then execute the blocked task again, and complete it.",
        ]
        places: list[str] = []
        wholes: list[str] = []
        for sides in conflicts:
            merged = self._merge(sides)
            excerpt = merged if isinstance(merged, str) else _places_in_conflict(merged)
            places.append(_section(_path_of(sides), excerpt))
            wholes.append(self._whole_sides(sides, merged if merged != excerpt else None))
        return "".join(["\n".join(lines), "\n", *places, WHOLE_FILES, *wholes])

    def _whole_sides(self, sides: Conflict, merged: bytes | str | None) -> str:
        """Return one file whole: what both together are, if it is not shown yet; then each side."""
        path = _path_of(sides)
        text = ""
        if isinstance(merged, bytes):
            text = f"\n### {path}: both together\n\n{_code_block(merged)}"
        titles = ("base", f"on {self.branch}", "in the worktree")
        for title, entry in zip(titles, sides, strict=True):
            text += f"\n### {path}: {title}\n\n{self._side(entry, path)}"
        return text

    def _side(self, entry: pygit2.IndexEntry | None, path: str) -> str:
        if entry is None:
            return "Not there.\n"
        name = display_path(entry.path)
        renamed = f"Named `{name}` here.\n\n" if name != path else ""
        blob = self.repo.get(entry.id)
        if blob is None or blob.type != ObjectType.BLOB:
            return f"{renamed}A submodule at commit `{entry.id}`.\n"
        return renamed + _code_block(blob.data)

    def _merge(self, sides: Conflict) -> bytes | str:
        """Return the file with both sides between markers, or why there is none.

        The worktree's side comes first, as in the files that a recovery corrects.
        """
        base, landed, saved = sides
        if landed is None or saved is None:
            return "One side has no such file; there is nothing to put together."
        labels = (b"base", b"the worktree", self.branch.encode())
        merge = libgit2.merge_file(self.repo, (base, saved, landed), labels)
        if merge is None or not merge.content:
            return "It cannot be merged as text."
        return merge.content


def _section(path: str, excerpt: bytes | str) -> str:
    """Return what conflicts in one file, or why that cannot be shown."""
    if isinstance(excerpt, str):
        return f"\n## {path}\n\n{excerpt}\n"
    return f"\n## {path}\n\nBoth together (diff3):\n\n{_code_block(excerpt)}"


def _path_of(sides: Conflict) -> str:
    entries = [entry for entry in sides if entry is not None]
    return display_path(entries[0].path)


def _places_in_conflict(merged: bytes) -> bytes:
    """Return the places in conflict, each with a few lines before and after it.

    Where that is more than half of a file, it is the whole file.
    """
    lines = merged.splitlines(keepends=True)
    begins = _lines_with(b"<<<<<<< ", lines)
    ends = _lines_with(b">>>>>>> ", lines)
    places: list[bytes] = []
    for begin, end in zip(begins, ends, strict=False):
        first = max(0, begin - _CONTEXT_LINES)
        last = end + _CONTEXT_LINES
        places.append(b"".join(lines[first : last + 1]))
    joined = b"...\n".join(places)
    return merged if len(joined) > len(merged) // 2 else joined


def _lines_with(sign: bytes, lines: list[bytes]) -> list[int]:
    numbers: list[int] = []
    for number, line in enumerate(lines):
        if line.startswith(sign):
            numbers.append(number)
    return numbers


def _code_block(content: bytes) -> str:
    if b"\0" in content[:_SNIFFED_BYTES]:
        return f"Binary, {len(content)} bytes.\n"
    whole = content.decode("utf-8", "backslashreplace")
    text = whole[:_MOST_CHARS]
    longest_run = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest_run + 1)
    end = "" if text.endswith("\n") else "\n"
    block = f"{fence}text\n{text}{end}{fence}\n"
    if len(whole) > _MOST_CHARS:
        block += f"\nOnly the first {_MOST_CHARS} of {len(whole)} characters are shown.\n"
    return block

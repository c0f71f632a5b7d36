"""What a document says, beside what it should say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Finding, FindingKind, Severity
from vespera_orchestrator.documents.markdown import read_alike
from vespera_orchestrator.documents.merging import merge_lines
from vespera_orchestrator.documents.sections import (
    MarkerError,
    begin_marker,
    end_marker,
    normalize_sections,
    parse_sections,
    replace_sections,
    section_contents,
)
from vespera_orchestrator.errors import DocumentError, DocumentUpdateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vespera_orchestrator.documents.authorship import Authorship


_CONFLICT = re.compile(r"^<{7} ", re.MULTILINE)
_UPDATE = "orch.documents.update() does it"
_ANSWER = (
    "orch.documents.proposals() shows what we would write there; "
    "orch.documents.accept(…) or .decline(…) answers it"
)


@attrs.frozen(kw_only=True)
class DocumentFile:
    """A document as it is."""

    name: str
    """The document's name, such as ``CHANGELOG.md``."""
    path: str
    """Relative to the project's folder."""
    content: bytes | None = None
    """``None`` when there is no file, or it could not be read."""
    text: str = ""
    former_path: str = ""
    """Where the file lies, if that is not *path*: it has to be renamed."""
    is_moving: bool = False
    """Whether the text comes from another place, and is not in this one yet."""
    is_deleted: bool = False
    """Whether somebody deleted it after it had been written."""
    error: DocumentError | None = None
    """Why it could not be read."""


@attrs.frozen(kw_only=True)
class EditedSection:
    """A section that a person has edited, and that would say something else."""

    name: str
    theirs: str
    """What it says."""
    due: str
    """What it would say if nobody had edited it."""


@attrs.frozen(kw_only=True)
class Comparison:
    """A document, and what it should say."""

    file: DocumentFile
    target: str = ""
    """The text as it should be. What a person wrote in a section stays in it."""
    rendered: str = ""
    """What its template makes of the material."""
    edited: tuple[EditedSection, ...] = ()
    """Sections that a person has edited."""
    outdated: tuple[str, ...] = ()
    """Sections that have to be replaced."""
    reformatted: tuple[str, ...] = ()
    """Sections that stay in the notation of a formatter or a person."""
    rewritten: str = ""
    """The target, with these sections in our own notation."""
    lost: tuple[str, ...] = ()
    """Sections whose markers are gone."""
    addable: tuple[str, ...] = ()
    """The sections that it could have, if it is a user's own document and has none."""
    notes: tuple[str, ...] = ()
    error: DocumentError | None = None
    """Why it cannot be brought up to date."""

    @property
    def path(self) -> str:
        """The document, relative to the project's folder."""
        return self.file.path

    @property
    def lost_markers(self) -> str:
        """A sentence about sections whose markers are gone; empty if none are."""
        if not self.lost:
            return ""
        return f"{self.path}: the markers of {list_sections(self.lost)} are gone"

    @property
    def edited_names(self) -> tuple[str, ...]:
        """The names of the sections that a person has edited."""
        return tuple(section.name for section in self.edited)

    @property
    def needs_writing(self) -> bool:
        """Whether the file has to be replaced."""
        if self.error is not None or self.addable or self.file.is_deleted:
            return False
        file = self.file
        if file.content is None or file.former_path or file.is_moving:
            return True
        return file.text != self.target


def read_text(path: str, content: bytes) -> str:
    """Return the text of a document.

    Raises:
        DocumentUpdateError: It is not UTF-8, or its markers are damaged.
    """
    try:
        text = content.decode()
        parse_sections(text)
    except UnicodeDecodeError:
        reason = "is not UTF-8 and was left as it is; save it as UTF-8"
        raise DocumentUpdateError(path, reason) from None
    except MarkerError as exc:
        raise DocumentUpdateError(path, f"was left as it is, {exc}") from exc
    return text


def compare(
    file: DocumentFile,
    rendered: str,
    authorship: Authorship,
) -> Comparison:
    """Work out what a document should say, and how it was edited meanwhile.

    Args:
        file: The document as it is.
        rendered: What its template makes of the material.
        authorship: Tells who wrote what it says.
    """
    if file.is_deleted:
        note = (
            f"{file.path} was deleted and stays so; "
            f"orch.documents.update(only={file.name!r}) writes it again"
        )
        return Comparison(file=file, notes=(note,))
    if file.content is None:
        target = normalize_sections(rendered)
        return Comparison(file=file, target=target, rewritten=target, rendered=rendered)
    due, present = section_contents(rendered), section_contents(file.text)
    if not due.keys() & present.keys():
        note = f"{file.path} is your own and was left as it is"
        return Comparison(file=file, addable=tuple(due), notes=(note,), rendered=rendered)
    due |= {
        name: authorship.with_others(due[name], content)
        for name, content in present.items()
        if name in due
    }
    edited, changes, reformatted = [], dict[str, str](), dict[str, str]()
    alike = list[str]()
    for section, content in present.items():
        if content == due.get(section, content):
            continue
        if not content or authorship.is_as_written(section, content):
            changes[section] = due[section]
        elif read_alike(content, due[section], authorship.definitions):
            alike.append(section)  # only the notation is another
        elif text := authorship.in_its_notation(section, content, due[section]):
            reformatted[section] = text
        elif authorship.is_ours(section, content):
            changes[section] = due[section]
        else:
            edited.append(EditedSection(name=section, theirs=content, due=due[section]))
    outdated = (*changes, *reformatted)
    ours = {name: due[name] for name in (*outdated, *alike)}
    return Comparison(
        file=file,
        target=replace_sections(file.text, changes | reformatted),
        rendered=rendered,
        edited=tuple(edited),
        outdated=outdated,
        rewritten=replace_sections(file.text, ours),
        reformatted=(*reformatted, *alike),
        lost=tuple(name for name in due if name not in present),
        notes=tuple(_notes(file, due, present)),
    )


def merge_sections(
    base: str, ours: str, theirs: str, is_ours: Callable[[str, str], bool]
) -> str | None:
    """Return what two sides made of a document; ``None`` if both edited the same lines by hand.

    Args:
        base: What it was when they parted.
        ours: What the one side says.
        theirs: What the other side says.
        is_ours: Tells our own earlier texts from edits by hand: of a section, and what it says.
    """
    texts = (base, ours, theirs)
    frame = merge_lines(*map(_without_contents, texts))
    if frame is None:
        return None
    then, here, there = map(section_contents, texts)

    def merged(name: str) -> str | None:
        before, one, other = (side.get(name, "") for side in (then, here, there))
        result = merge_lines(before, one, other)
        if result is None and is_ours(name, one):
            return other
        if result is None and is_ours(name, other):
            return one
        return result

    contents = {name: merged(name) for name in then | here | there}
    if None in contents.values():
        return None
    try:
        kept = section_contents(frame).keys()
        return replace_sections(frame, {name: contents[name] or "" for name in kept})
    except MarkerError:
        return None


def _without_contents(text: str) -> str:
    """Return what lies around the sections, with nothing between their markers."""
    return replace_sections(text, dict.fromkeys(section_contents(text), ""))


def _notes(file: DocumentFile, due: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    notes = []
    if file.former_path:
        notes.append(f"{file.former_path} is {file.path} now")
    notes += [
        f"{file.path}: its template has no section {section!r}; it was left as it is"
        for section in present
        if section not in due
    ]
    return notes


# --- findings ---------------------------------------------------------------


def findings(comparison: Comparison) -> list[Finding]:
    """Return what a check has to say about a document."""
    path = comparison.path
    if comparison.error is not None:
        return [finding(path, str(comparison.error), severity=Severity.WARNING)]
    if comparison.file.is_deleted:
        return []
    if comparison.file.content is None:
        sentence = f"{path} does not exist"
        return [finding(path, sentence, remedy=_UPDATE, severity=Severity.WARNING)]
    if comparison.addable:
        return [_unmarked(path, comparison.addable)]
    result = [finding(path, note) for note in comparison.notes]
    result += _left_in_conflict(comparison)
    if comparison.edited:
        names = list_sections(comparison.edited_names)
        sentence = f"{path}: somebody edited inside {names}, and that text stays"
        result.append(finding(path, sentence, remedy=_ANSWER))
    if comparison.outdated:
        names = list_sections(comparison.outdated)
        sentence = f"{path}: {names} can be brought up to date"
        result.append(finding(path, sentence, remedy=_UPDATE, severity=Severity.WARNING))
    if comparison.lost:
        remedy = f"to have it back, add:\n{_marker_lines(comparison.lost)}"
        result.append(finding(path, comparison.lost_markers, remedy=remedy))
    return result


def _left_in_conflict(comparison: Comparison) -> list[Finding]:
    """Tell of sections in which git's marks of a conflict were left."""
    names = [each.name for each in comparison.edited if _CONFLICT.search(each.theirs)]
    if not names:
        return []
    sentence = f"{comparison.path}: {list_sections(names)} has the marks of a merge in conflict"
    remedy = "take the marks away and keep the lines of both sides"
    return [finding(comparison.path, sentence, remedy=remedy, severity=Severity.WARNING)]


def finding(
    path: str, sentence: str, *, remedy: str = "", severity: Severity = Severity.NOTE
) -> Finding:
    """Return a finding about a document."""
    return Finding(
        severity=severity,
        kind=FindingKind.DOCUMENT,
        subject=path,
        sentence=sentence,
        remedy=remedy,
    )


def _unmarked(path: str, sections: Sequence[str]) -> Finding:
    return finding(
        path,
        f"{path} is your own file, without our markers, and was left as it is",
        remedy=f"for parts that keep themselves up to date, add:\n{_marker_lines(sections)}",
    )


def _marker_lines(sections: Sequence[str]) -> str:
    return "\n".join(f"{begin_marker(name)}\n{end_marker(name)}" for name in sections)


def list_sections(sections: Sequence[str]) -> str:
    """Name sections in a sentence."""
    noun = "section" if len(sections) == 1 else "sections"
    names = ", ".join(map(repr, sections))
    return f"{noun} {names}"

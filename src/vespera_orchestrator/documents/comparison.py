"""What a document says, beside what it should say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator._model import Finding, FindingKind, Severity
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
    from collections.abc import Sequence

    from vespera_orchestrator.documents.folder import DocumentFolder
    from vespera_orchestrator.documents.versions import DocumentVersions

_UPDATE = "orch.documents.update() does it"
_KEEP_EDITS_OUTSIDE = (
    "the next update keeps that text as a version and replaces it; "
    "move what should stay outside the marker lines"
)


@attrs.frozen(kw_only=True)
class DocumentFile:
    """A document as it is."""

    path: str
    """Relative to the project's folder."""
    content: bytes | None = None
    """``None`` when there is no file, or it could not be read."""
    text: str = ""
    error: DocumentError | None = None
    """Why it could not be read."""


@attrs.frozen(kw_only=True)
class Comparison:
    """A document, and what it should say."""

    file: DocumentFile
    target: str = ""
    """The text as it should be."""
    edited: tuple[str, ...] = ()
    """Sections that were edited by hand, and that have to be replaced."""
    outdated: tuple[str, ...] = ()
    """Other sections that have to be replaced."""
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
    def needs_writing(self) -> bool:
        """Whether the file has to be replaced."""
        if self.error is not None or self.addable:
            return False
        file = self.file
        return file.content is None or file.text != self.target


def read_document(folder: DocumentFolder, path: str) -> DocumentFile:
    """Read a document as it is."""
    try:
        content = folder.read(path)
        text = "" if content is None else content.decode()
        parse_sections(text)
    except DocumentUpdateError as exc:
        return DocumentFile(path=path, error=exc)
    except UnicodeDecodeError:
        reason = "is not UTF-8 and was left as it is; save it as UTF-8"
        return DocumentFile(path=path, error=DocumentUpdateError(path, reason))
    except MarkerError as exc:
        reason = f"was left as it is, {exc}"
        return DocumentFile(path=path, error=DocumentUpdateError(path, reason))
    return DocumentFile(path=path, content=content, text=text)


def compare(file: DocumentFile, rendered: str, versions: DocumentVersions) -> Comparison:
    """Work out what a document should say, and how it was edited meanwhile.

    Args:
        file: The document as it is.
        rendered: What its template makes of the material.
        versions: Tells our own earlier texts from edits by hand.
    """
    if file.content is None:
        target = normalize_sections(rendered)
        return Comparison(file=file, target=target, notes=_gone_notes(file.path, versions))
    due, present = section_contents(rendered), section_contents(file.text)
    if not due.keys() & present.keys():
        note = f"{file.path} is your own and was left as it is"
        return Comparison(file=file, addable=tuple(due), notes=(note,))
    edited, outdated, notes = [], [], []
    for section, content in present.items():
        if section not in due:
            notes.append(
                f"{file.path}: its template has no section {section!r}; it was left as it is"
            )
        elif content == due[section]:
            continue
        elif content and not versions.ever_had(file.path, section, content):
            edited.append(section)
        else:
            outdated.append(section)
    return Comparison(
        file=file,
        target=replace_sections(file.text, due),
        edited=tuple(edited),
        outdated=tuple(outdated),
        notes=tuple(notes),
    )


def _gone_notes(path: str, versions: DocumentVersions) -> tuple[str, ...]:
    recorded = versions.of(path)
    if not recorded:
        return ()
    latest = recorded[-1].version
    return (f"{path} was gone and is written again; version {latest} has its last text",)


# --- findings ---------------------------------------------------------------


def findings(comparison: Comparison) -> list[Finding]:
    """Return what a check has to say about a document."""
    path = comparison.path
    if comparison.error is not None:
        return [finding(path, str(comparison.error))]
    if comparison.file.content is None:
        return [finding(path, f"{path} does not exist", remedy=_UPDATE)]
    if comparison.addable:
        return [_unmarked(path, comparison.addable)]
    result = [finding(path, note) for note in comparison.notes]
    if comparison.edited:
        sentence = f"{path}: somebody edited inside {_list_sections(comparison.edited)}"
        result.append(finding(path, sentence, remedy=_KEEP_EDITS_OUTSIDE))
    if comparison.outdated:
        sentence = f"{path}: {_list_sections(comparison.outdated)} can be brought up to date"
        result.append(finding(path, sentence, remedy=_UPDATE))
    return result


def finding(path: str, sentence: str, *, remedy: str = "") -> Finding:
    """Return a finding about a document."""
    return Finding(
        severity=Severity.NOTE,
        kind=FindingKind.DOCUMENT,
        subject=path,
        sentence=sentence,
        remedy=remedy,
    )


def _unmarked(path: str, sections: Sequence[str]) -> Finding:
    markers = "\n".join(f"{begin_marker(name)}\n{end_marker(name)}" for name in sections)
    return finding(
        path,
        f"{path} is your own file, without our markers, and was left as it is",
        remedy=f"for parts that keep themselves up to date, add:\n{markers}",
    )


def _list_sections(sections: Sequence[str]) -> str:
    noun = "section" if len(sections) == 1 else "sections"
    names = ", ".join(map(repr, sections))
    return f"{noun} {names}"

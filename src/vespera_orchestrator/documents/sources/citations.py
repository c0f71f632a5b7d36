"""Links, DOIs and other references that artifacts cite."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator.documents.completed_work import (
    ArtifactRef,
    is_labelled,
    is_prose,
    mentions,
)
from vespera_orchestrator.documents.markdown import code, headed_parts, inline, plain_text

if TYPE_CHECKING:
    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.documents.completed_work import CompletedWork

_REFERENCE = re.compile(
    r"(?P<doi>\b10\.\d{4,9}/[^\s\"'<>`\[\]{}|\\]+)"
    r"|(?P<url>\bhttps?://[^\s\"'<>`\[\]{}|\\^]+)"
    r"|(?P<arxiv>\barXiv:\d{4}\.\d{4,5}(?:v\d{1,3})?)"
    r"|\((?P<author>[A-Z][\w'-]{1,40}"
    r"(?: et al\.?| (?:and|&) [A-Z][\w'-]{1,40})?,? \d{4}[a-z]?)\)"
)
_DOI_ADDRESS = re.compile(r"//(?:dx\.)?doi\.org/(10\..+)")
_SENTENCE_ENDS = ".,;:!?*_~"


@attrs.frozen(kw_only=True)
class Citation:
    """A link, DOI or other reference."""

    text: str
    sources: tuple[ArtifactRef, ...]
    """The artifacts that cite it."""


@attrs.frozen(kw_only=True)
class Citations:
    """The references in texts of the topic that a project type cites."""

    citations: tuple[Citation, ...]
    """In alphabetical order."""

    @classmethod
    def collect(cls, work: CompletedWork) -> Citations:
        """Find references in artifacts of the topic, and in parts with a heading of it."""
        if work.kind.cited_topic is None:
            return cls(citations=())
        stems = work.kind.topics[work.kind.cited_topic]
        citing: dict[str, list[ArtifactRef]] = {}
        for artifact in work.current_artifacts:
            if is_prose(artifact):
                for reference in _references_in(work, artifact, stems):
                    citing.setdefault(reference, []).append(work.ref(artifact))
        references = sorted(citing, key=str.casefold)
        citations = [Citation(text=text, sources=tuple(citing[text])) for text in references]
        return cls(citations=tuple(citations))


def _references_in(work: CompletedWork, artifact: Artifact, stems: tuple[str, ...]) -> list[str]:
    if is_labelled(artifact, stems):
        return work.reader.analyse(artifact, "citations of all", find_references)
    find = functools.partial(_references_under_headings, stems=stems)
    return work.reader.analyse(artifact, "citations of parts", find)


def _references_under_headings(text: str, stems: tuple[str, ...]) -> list[str]:
    parts = headed_parts(text)
    texts = [part.text for part in parts if mentions((part.title,), stems)]
    return find_references("\n".join(texts))


def find_references(text: str) -> list[str]:
    """Return what *text* cites, as safe Markdown, each reference once."""
    matches = _REFERENCE.finditer(plain_text(text))
    references = map(_reference, matches)
    return list(dict.fromkeys(references))


def _reference(match: re.Match[str]) -> str:
    name = match["author"] or match["arxiv"]
    if name:
        return inline(name)
    address = _without_sentence_end(match[0])
    if match["doi"]:
        return f"DOI {code(address)}"
    doi = _DOI_ADDRESS.search(address)
    return f"DOI {code(doi[1])}" if doi else f"<{address}>"


def _without_sentence_end(address: str) -> str:
    """Cut off what belongs to the sentence around an address: stops, and an unmatched bracket."""
    address = address.rstrip(_SENTENCE_ENDS)
    while address.endswith(")") and address.count(")") > address.count("("):
        address = address[:-1].rstrip(_SENTENCE_ENDS)
    return address

"""Excerpts by topic: design, literature, methods, findings, world, characters, plot.

Which topics there are, and by which words they are known, is in `project_types`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator.documents.completed_work import (
    ArtifactRef,
    is_labelled,
    is_prose,
    mentions,
    title_line,
)
from vespera_orchestrator.documents.markdown import headed_parts, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.documents.completed_work import CompletedWork

_MAX_EXCERPTS = 200
"""The most excerpts for a topic, the latest; earlier ones are counted."""


@attrs.frozen(kw_only=True)
class Excerpt:
    """A part of an artifact, or the whole of a short one."""

    title: str
    text: str
    """A block quotation."""
    source: ArtifactRef


@attrs.frozen(kw_only=True)
class Topics:
    """What artifacts say about the topics of the project type."""

    excerpts: Mapping[str, tuple[Excerpt, ...]]
    """By topic, in the order the work was done."""
    earlier: Mapping[str, int]
    """By topic, how many excerpts are earlier than those."""

    @classmethod
    def collect(cls, work: CompletedWork) -> Topics:
        """Quote artifacts of each topic, and parts with a heading of it."""
        latest, earlier = {}, {}
        for topic, stems in work.kind.topics.items():
            excerpts = _excerpts(work, topic, stems)
            latest[topic] = excerpts[-_MAX_EXCERPTS:]
            earlier[topic] = len(excerpts) - len(latest[topic])
        return cls(excerpts=latest, earlier=earlier)


def _excerpts(work: CompletedWork, topic: str, stems: tuple[str, ...]) -> tuple[Excerpt, ...]:
    excerpts: list[Excerpt] = []
    for artifact in work.current_artifacts:
        if is_prose(artifact):
            excerpts += _excerpts_of(work, artifact, topic, stems)
    return tuple(excerpt for excerpt in excerpts if excerpt.text)


def _excerpts_of(
    work: CompletedWork, artifact: Artifact, topic: str, stems: tuple[str, ...]
) -> list[Excerpt]:
    ref = work.ref(artifact)
    if is_labelled(artifact, stems):
        text = work.reader.analyse(artifact, "whole", quote)
        return [Excerpt(title=ref.title, text=text, source=ref)]
    quote_parts = functools.partial(_quoted_parts, stems=stems)
    quotations = work.reader.analyse(artifact, topic, quote_parts)
    return [Excerpt(title=title, text=text, source=ref) for title, text in quotations]


def _quoted_parts(text: str, stems: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return title and quotation of each part whose heading is of the topic.

    A part inside one that is quoted already is not quoted again.
    """
    quotations = []
    quoted_to_line = -1
    for part in headed_parts(text):
        if part.start >= quoted_to_line and part.text and mentions((part.title,), stems):
            quotations.append((title_line(part.title), quote(part.text)))
            quoted_to_line = part.end
    return quotations

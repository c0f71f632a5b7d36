"""What a file of any language defines and brings out."""

from __future__ import annotations

from collections.abc import Mapping

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.sources.languages.comments import Comment
from vespera_orchestrator.documents.sources.python_code import Definition


@attrs.frozen(kw_only=True)
class Reexport:
    """A name that a file brings out of another one."""

    source: str
    """Where it is from, as the file writes it."""
    name: str
    """As it is called there; ``*`` for everything."""
    public_name: str
    """As it is called here."""


@attrs.frozen(kw_only=True)
class SourceFile:
    """What one file defines."""

    package: str = ""
    """The package that the file says it belongs to; empty where the language has none."""
    comment: Comment = attrs.field(factory=Comment)
    """What is said about the whole file."""
    definitions: tuple[Definition, ...] = ()
    """What is public, in order."""
    methods: Mapping[str, tuple[Definition, ...]] = attrs.field(factory=dict)
    """What belongs to types that this file, or another one of the package, defines."""
    reexports: tuple[Reexport, ...] = ()
    submodules: Mapping[str, bool] = attrs.field(factory=dict)
    """The modules that it declares, and whether they are public."""
    is_readable: bool = True
    """Whether anybody got through it within the time and memory that a file may take."""

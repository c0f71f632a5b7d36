"""Which languages there are: their files, their grammars, and who reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.sources.languages import c, ecmascript, go, java, rust
from vespera_orchestrator.documents.sources.languages.source_file import SourceFile
from vespera_orchestrator.documents.sources.languages.syntax import is_installed, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from tree_sitter import Node


@attrs.frozen(kw_only=True)
class Language:
    """A language that can be read."""

    name: str
    """As people write it."""
    word: str
    """What a fence of Markdown calls it."""
    grammar: str
    reader: Callable[[Node], SourceFile]

    @property
    def is_installed(self) -> bool:
        """Whether its grammar is there."""
        return is_installed(self.grammar)

    def read(self, source: str) -> SourceFile:
        """Read a file of this language. One that nobody gets through costs only itself."""
        try:
            return self.reader(parse(self.grammar, source))
        except (RecursionError, ValueError):
            return SourceFile()


_JAVASCRIPT: Final = Language(
    name="JavaScript", word="js", grammar="javascript", reader=ecmascript.read
)
_TYPESCRIPT: Final = Language(
    name="TypeScript", word="ts", grammar="typescript", reader=ecmascript.read
)
_TSX: Final = Language(name="TypeScript", word="tsx", grammar="tsx", reader=ecmascript.read)

LANGUAGES: Final = {
    ".js": _JAVASCRIPT,
    ".mjs": _JAVASCRIPT,
    ".cjs": _JAVASCRIPT,
    ".jsx": _JAVASCRIPT,
    ".ts": _TYPESCRIPT,
    ".mts": _TYPESCRIPT,
    ".cts": _TYPESCRIPT,
    ".tsx": _TSX,
    ".go": Language(name="Go", word="go", grammar="go", reader=go.read),
    ".rs": Language(name="Rust", word="rust", grammar="rust", reader=rust.read),
    ".java": Language(name="Java", word="java", grammar="java", reader=java.read),
    ".h": Language(name="C", word="c", grammar="c", reader=c.read),
}
"""The languages that can be read, by the ending of their files."""
COUNTED_ONLY: Final = {
    ".cc": "C++",
    ".cpp": "C++",
    ".cs": "C#",
    ".hpp": "C++",
    ".kt": "Kotlin",
    ".php": "PHP",
    ".rb": "Ruby",
    ".scala": "Scala",
    ".swift": "Swift",
}
"""Languages that are named where the reference leaves them out, by the ending of their files."""
SUFFIXES: Final = (*LANGUAGES, *COUNTED_ONLY, "go.mod", "Cargo.toml")
"""Endings of the files that the reference of other languages is made from."""


def language_of(path: str) -> Language | None:
    """Return the language of a file; ``None`` if it is none that can be read."""
    _, dot, ending = path.rpartition(".")
    return LANGUAGES.get(f"{dot}{ending}")

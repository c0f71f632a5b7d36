"""Languages besides Python: what a file of each makes public, read without running it.

One module reads each language, with the grammar of tree-sitter for it. The grammars are an extra,
``vespera-orchestrator[languages]``. Files of a language without its grammar are counted, and named.
"""

from __future__ import annotations

from vespera_orchestrator.documents.sources.languages.table import (
    COUNTED_ONLY,
    LANGUAGES,
    SUFFIXES,
    Language,
    language_of,
)

__all__ = ["COUNTED_ONLY", "LANGUAGES", "SUFFIXES", "Language", "language_of"]

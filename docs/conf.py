import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

project = "vespera_orchestrator"
author = "The vespera_orchestrator authors"
copyright = "2026, the vespera_orchestrator authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "vespera_orchestrator"
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures stay short; the docstrings say what matters
autodoc_default_options = {"members": True, "show-inheritance": True, "undoc-members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
suppress_warnings = [
    "misc.highlighting_failure"
]  # Mermaid drawings are shown as text here, as drawings elsewhere
nitpick_ignore = [("py:class", "enum.StrEnum")]  # nothing is fetched from elsewhere to link to


as_written: dict[str, list[str]] = {}


def remember(_app: Any, what: str, name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Keep a field's docstring as it is: napoleon would take what stands before a colon in it for a type."""
    if what in {"attribute", "property"}:
        as_written[name] = list(lines)


def restore(_app: Any, _what: str, name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Put back what was remembered."""
    if name in as_written:
        lines[:] = as_written.pop(name)


def setup(app: Any) -> None:
    """Run round napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", remember, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)

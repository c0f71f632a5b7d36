project = "vespera_orchestrator"
author = "The vespera_orchestrator authors"
copyright = "2026, the vespera_orchestrator authors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "vespera_orchestrator"
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = [
    "misc.highlighting_failure"
]  # Mermaid drawings are shown as text here, as drawings elsewhere

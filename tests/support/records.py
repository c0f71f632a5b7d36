"""Records for tests of what is decided without a store."""

from __future__ import annotations

import attrs

from vespera_orchestrator._model import Artifact, ArtifactKind, utcnow

_ARTIFACT = Artifact(
    id="a_0",
    session_id="s_0",
    task_id="t_0",
    attempt=1,
    agent="ada",
    kind=ArtifactKind.GENERAL,
    title="x",
    media_type="text/plain",
    digest="0" * 64,
    size_bytes=0,
    version=1,
    supersedes_id=None,
    superseded=False,
    partial=False,
    tags=(),
    metadata={},
    created_at=utcnow(),
)


def artifact_record(**fields):
    """Return an artifact with these fields, and plain values for the others."""
    return attrs.evolve(_ARTIFACT, **fields)


HOSTILE_TITLES = [
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "",
        "con",
        "NUL.txt",
        "COM1",
        "a/b\\c",
        "C:\\x",
        "-rf",
        "~root",
        ".bashrc",
        "x" * 300,
    ),
    *(
        "ü" * 200,
        "line\nbreak",
        "nul\0",
        "half \ud83d",
        "rtl \u202etxt.exe",
        "e\u0301",
        "trailing. . ",
        "  ",
        "?*<>|",
        "📎" * 90,
        "a.b." * 90,
    ),
]
"""What agents may call their artifacts, and no path may contain."""

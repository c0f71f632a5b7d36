"""What it costs to import the package and to open the default store: fresh interpreters, one after the other.

Compiled files are kept in the temporary folder, so that none are missing and none are left in the source tree.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs

from measure import Cost, Row, Scale, alternate, metered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_IMPORT = "import vespera_orchestrator as vespera"
_OPEN = f"{_IMPORT}; vespera.open().close()"
IMPORT_S, OPEN_S = 0.040, 0.120


def rows(scale: Scale) -> list[Row]:
    made, fresh = scale.folder / "made", scale.folder / "fresh"
    made.mkdir()
    fresh.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(scale.folder / "compiled")
    _run(_OPEN, made, env)  # makes the home, and the compiled files
    costs = alternate(
        scale.pick(25, 3),
        bare=_python("pass", made, env),
        load=_python(_IMPORT, made, env),
        names=_python(f"{_IMPORT}; vespera.Orchestrator", made, env),
        open=_python(_OPEN, made, env),
        new=_python(
            f"import tempfile; {_IMPORT}; vespera.open(tempfile.mkdtemp(dir='.')).close()",
            fresh,
            env,
        ),
    )
    return [
        _row("import", costs["load"], costs["bare"], IMPORT_S),
        _row("import, and use Orchestrator", costs["names"], costs["bare"], None),
        _row("import, and open the default store", costs["open"], costs["bare"], OPEN_S),
        _row("import, and make a new home with its store", costs["new"], costs["bare"], None),
    ]


def _python(code: str, folder: Path, env: Mapping[str, str]) -> Callable[[], Cost]:
    def side() -> Cost:
        with metered() as meter:
            _run(code, folder, env)
        return meter.per(1)

    return side


def _run(code: str, folder: Path, env: Mapping[str, str]) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, check=True)


def _row(what: str, ours: Sequence[Cost], bare: Sequence[Cost], most_s: float | None) -> Row:
    row = Row.of(what, ours, "bare interpreter", bare)
    more = statistics.median(a.cpu_s - b.cpu_s for a, b in zip(ours, bare, strict=True))
    return attrs.evolve(
        row,
        target="" if most_s is None else f"≤ {most_s * 1000:.0f} ms more",
        met=None if most_s is None else more <= most_s,
        reached=f"{more * 1000:.0f} ms more",
        figures={**row.figures, "more_cpu_s": more},
    )

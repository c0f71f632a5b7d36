"""What it costs to import the package, and to open the default store, in fresh interpreters.

Compiled files go to the temporary folder, so that none are missing and none are left in the source
tree.
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
_MCP = "import vespera_orchestrator.integrations.mcp"
_COMMAND = (
    "import runpy, sys; sys.argv = ['vespera', 'status']; "
    "runpy.run_module('vespera_orchestrator', run_name='__main__')"
)
_OPEN_NEW = f"import tempfile; {_IMPORT}; vespera.open(tempfile.mkdtemp(dir='.')).close()"
_BEGIN = f"{_IMPORT}; vespera.open().initialize_session('Start')"
MAX_IMPORT_S = 0.040
MAX_OPEN_S = 0.120
MAX_COMMAND_S = 0.2


def rows(scale: Scale) -> list[Row]:
    existing = scale.folder / "existing"
    empty = scale.folder / "empty"
    existing.mkdir()
    empty.mkdir()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(scale.folder / "compiled")
    _run(_BEGIN, existing, env)  # makes the home, and the compiled files
    costs = alternate(
        scale.pick(25, 3),
        bare=_python("pass", existing, env),
        load=_python(_IMPORT, existing, env),
        names=_python(f"{_IMPORT}; vespera.Orchestrator", existing, env),
        open=_python(_OPEN, existing, env),
        new=_python(_OPEN_NEW, empty, env),
        mcp=_python(_MCP, existing, env),
        sdk=_python("import mcp.server.mcpserver, mcp_types", existing, env),
        command=_python(_COMMAND, existing, env),
    )
    return [
        _row("import", costs["load"], costs["bare"], MAX_IMPORT_S),
        _row("import, and use Orchestrator", costs["names"], costs["bare"], None),
        _row("import, and open the default store", costs["open"], costs["bare"], MAX_OPEN_S),
        _row("import, and make a new home with its store", costs["new"], costs["bare"], None),
        Row.of("import the tools for an MCP server", costs["mcp"], "MCP's SDK", costs["sdk"]),
        _row("the command `status`", costs["command"], costs["bare"], MAX_COMMAND_S),
    ]


def _python(code: str, folder: Path, env: Mapping[str, str]) -> Callable[[], Cost]:
    def side() -> Cost:
        with metered() as meter:
            _run(code, folder, env)
        return meter.per(1)

    return side


def _run(code: str, folder: Path, env: Mapping[str, str]) -> None:
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, check=True)


def _row(what: str, ours: Sequence[Cost], bare: Sequence[Cost], max_s: float | None) -> Row:
    row = Row.of(what, ours, "bare interpreter", bare)
    rounds = zip(ours, bare, strict=True)
    more_s = statistics.median(our.cpu_s - floor.cpu_s for our, floor in rounds)
    row = attrs.evolve(
        row,
        reached=f"{more_s * 1000:.0f} ms more",
        figures={**row.figures, "more_cpu_s": more_s},
    )
    if max_s is None:
        return row
    target = f"≤ {max_s * 1000:.0f} ms more"
    return attrs.evolve(row, target=target, met=more_s <= max_s)

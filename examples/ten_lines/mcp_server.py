"""An MCP server for the project in this folder, in ten lines.

A client starts it: ``claude mcp add vespera -- python mcp_server.py``
"""

from mcp.server.mcpserver import MCPServer

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.mcp import INSTRUCTIONS, register_tools

server = MCPServer("vespera", instructions=INSTRUCTIONS)
with vespera.open() as orch:
    register_tools(server, orch)
    server.run("stdio")

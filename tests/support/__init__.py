"""What several tests share: real servers, repositories, and children that are killed."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent

# What the environment may say to the library; a test begins without any of it.
VARIABLES = (
    "MCP_ORCHESTRATOR_SESSION",
    "VESPERA_ORCHESTRATOR_AGENT",
    "VESPERA_ORCHESTRATOR_CONTENT",
    "VESPERA_ORCHESTRATOR_HOME",
    "VESPERA_ORCHESTRATOR_STORE",
    "VESPERA_ORCHESTRATOR_TRUST",
)

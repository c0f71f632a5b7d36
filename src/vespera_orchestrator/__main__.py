"""``python -m vespera_orchestrator``: what a person or a hook asks for most."""

from __future__ import annotations

import sys

from vespera_orchestrator.integrations.command import main

if __name__ == "__main__":
    sys.exit(main())

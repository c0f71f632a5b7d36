"""``python -m vespera_orchestrator``: what a person or a hook asks for most."""

from __future__ import annotations

import gc
import sys

gc.set_threshold(50_000)  # a command ends before there is anything worth collecting

from vespera_orchestrator.integrations.command import main  # noqa: E402 - collects less often

if __name__ == "__main__":
    sys.exit(main())

"""A program of its own: reads files of other languages, one after the other.

A grammar may take all memory, or for ever, for a few kilobytes that were made to do so, and nothing
in the same process can stop it. So the files are read in a process that the system bounds. Each
line of the input is a file; each line of the output is what it defines, in the same order, after an
empty one that says that it is ready.

    python -P reader_program.py FOLDERS_TO_IMPORT_FROM MOST_CPU_S MOST_MEMORY_BYTES
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress


def _bound(cpu_s: int, memory_bytes: int) -> None:
    """Let the system end this process when the next file takes more."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + cpu_s + 1, most))
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(folders: str, cpu_s: str, memory_bytes: str) -> None:
    """Read the input; see above."""
    sys.path[:] = json.loads(folders)
    from vespera_orchestrator._records import converter
    from vespera_orchestrator.documents.sources.languages import LANGUAGES
    from vespera_orchestrator.documents.sources.languages.source_file import SourceFile

    print(flush=True)  # noqa: T201 - it is ready
    for line in sys.stdin:
        ending, source = json.loads(line)
        _bound(int(cpu_s), int(memory_bytes))
        file = LANGUAGES[ending].read(source)
        record = converter().unstructure(file, SourceFile)
        print(json.dumps(record), flush=True)  # noqa: T201 - this is how the two processes speak


if __name__ == "__main__":
    main(*sys.argv[1:])

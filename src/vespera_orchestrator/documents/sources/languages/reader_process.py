"""Reading files of other languages in a process that cannot harm this one."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._records import converter
from vespera_orchestrator.documents.sources.languages.source_file import SourceFile

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_PROGRAM: Final = Path(__file__).with_name("reader_program.py")
MOST_CPU_S: Final = 20
"""For one file."""
MOST_MEMORY_BYTES: Final = 1_500_000_000


class ReaderProcess:
    """Reads one file after the other.

    The process begins with the first file, and ends with the block. One that the system has ended
    is followed by another one. On Windows nothing bounds it, and the harm is its own.

    Example:
        with ReaderProcess() as reader:
            file = reader.read(".h", source)
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(at_once=error is not None)

    def read(self, ending: str, source: str) -> SourceFile:
        """Return what a file defines.

        Args:
            ending: The end of its name, a key of `LANGUAGES`.
            source: Its text.

        Returns:
            A file that ``is_readable`` says no of where the process was ended within it.

        Raises:
            OSError: No process can be started: that says nothing of the file.
        """
        answer = self._ask(json.dumps([ending, source]))
        if not answer.endswith("\n"):
            self._end(at_once=True)
            return SourceFile(is_readable=False)
        return converter().structure(json.loads(answer), SourceFile)

    def _ask(self, question: str) -> str:
        process = self._running()
        assert process.stdin is not None  # noqa: S101 - it was started with one
        try:
            process.stdin.write(f"{question}\n")
            process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._read_line(process)

    @staticmethod
    def _read_line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None  # noqa: S101 - it was started with one
        return process.stdout.readline()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            # Not the folder that this process happens to be in: it may be a stranger's.
            folders = [folder for folder in sys.path if folder and isinstance(folder, str)]
            limits = (str(MOST_CPU_S), str(MOST_MEMORY_BYTES))
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM), json.dumps(folders), *limits],
                cwd=_PROGRAM.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            )
            if not self._read_line(self._process):
                self._end(at_once=True)
                raise OSError("the reader of other languages does not start")
        return self._process

    def _end(self, *, at_once: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if at_once:
            process.kill()
        # Closes both pipes, at which the program ends, and waits for it.
        with suppress(BrokenPipeError), process:
            pass

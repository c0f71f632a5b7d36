"""A home as readable JSON Lines.

The first line says what the file is, with counts; then comes a line for each row, table by table;
then the contents; the last line has the digest of everything before it. Times are ISO 8601,
structures are JSON. An export is derived: nothing reads it back but `import_`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import load_json, load_time
from vespera_orchestrator._records import Record
from vespera_orchestrator._text import one_line
from vespera_orchestrator._version import __version__
from vespera_orchestrator.contracts import COPIED_TABLES, TABLES
from vespera_orchestrator.errors import (
    CorruptContentError,
    CorruptRecordError,
    InvalidInputError,
    SessionNotFoundError,
)
from vespera_orchestrator.home.files import sync_folder, translate_os_error
from vespera_orchestrator.maintenance.backup import content_users
from vespera_orchestrator.maintenance.reports import counted, counted_all

if TYPE_CHECKING:
    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.contracts import ContentStore
    from vespera_orchestrator.home.scope import Scope

FORMAT: Final = 1
_NOTICE: Final = (
    "derived: an export of a vespera_orchestrator home for people and other programs; "
    "the store it was made from is the truth"
)
_MAX_TEXT_BYTES: Final = 1 << 20
"""Text up to this size is written as text; anything else in base64, in pieces of this size."""


@attrs.frozen(kw_only=True)
class ExportReport(Record):
    """What `Orchestrator.export` wrote, or `Orchestrator.import_` read."""

    path: Path
    """The file or folder."""
    rows: Mapping[str, int]
    """How many rows of each table."""
    contents: int
    """How many contents are in it; 0 when it only names them."""
    problems: tuple[str, ...] = ()
    """Contents that were damaged before, and are not in it."""
    as_of: str = ""
    """Of an import: when it was exported, in ISO 8601. What its home forgot later is in it."""

    def __str__(self) -> str:
        rows = counted_all(self.rows) or "nothing"
        contents = counted(self.contents, "contents")
        lines = [f"{self.path}: {rows}, {contents}"]
        lines.extend(f"- not in it: {problem}" for problem in self.problems)
        if self.as_of:
            moment = one_line(self.as_of, 40)
            lines.append(
                f"- exported {moment}: what was forgotten after that is in it again, under the "
                "same id; orch.artifacts.forget(id) removes it here"
            )
        return "\n".join(lines)


class _LineWriter:
    """Writes lines, and computes their digest."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._count = 0

    def write(self, value: Mapping[str, JsonValue]) -> None:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        line = text.encode("utf-8", "surrogatepass") + b"\n"
        self._digest.update(line)
        self._count += 1
        self._stream.write(line)

    def write_end(self) -> None:
        digest = self._digest.hexdigest()
        self.write({"end": True, "lines": self._count, "sha256": digest})


def _active_session_id(scope: Scope) -> str | None:
    try:
        return scope.active_session_id()
    except SessionNotFoundError:
        return None


def export(
    rooms: Rooms, path: Path, *, contents: bool, progress: Callable[[str], None]
) -> ExportReport:
    """See `Orchestrator.export`."""
    with _new_file(path) as stream, rooms.store.ledger() as ledger:
        tables = [table for table in COPIED_TABLES if table in ledger.tables]
        rows = {table: ledger.count(table) for table in tables}
        writer = _LineWriter(stream)
        writer.write(
            {
                "vespera_orchestrator": __version__,
                "notice": _NOTICE,
                "format": FORMAT,
                "schema": ledger.schema,
                "rows": rows,
                "exported_at": rooms.clock().isoformat(),
                "active_session": _active_session_id(rooms.scope),
                "contents": contents,
            }
        )
        for table in rows:
            progress(f"rows of {table}")
            for row in ledger.rows(table):
                writer.write({"table": table, **_readable(table, row)})
        users = content_users(ledger) if contents else {}
        problems = _write_contents(rooms.content, users, writer, progress)
        writer.write_end()
    return ExportReport(
        path=path,
        rows=rows,
        contents=len(users) - len(problems),
        problems=tuple(problems),
    )


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    if os.path.lexists(path):
        problem = f"{str(path)!r} exists already; choose a path that does not exist"
        raise InvalidInputError("path", problem)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        opener = partial(os.open, mode=0o600)
        with open(temporary, "xb", opener=opener) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(path)
        sync_folder(path.parent)
    except BaseException as exc:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            raise translate_os_error(exc, path) from exc
        raise


def _readable(table: str, row: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Write times as ISO 8601, and JSON text as JSON."""
    values = dict(row)
    for name in TABLES[table].times:
        if row[name] is not None:
            try:
                values[name] = load_time(row[name]).isoformat()
            except CorruptRecordError as exc:
                raise CorruptRecordError(f"a row of {table}", f"{name} is no time") from exc
    for name in TABLES[table].structures:
        if row[name] is not None:
            values[name] = load_json(row[name], f"a row of {table}")
    return values


def _write_contents(
    content: ContentStore,
    users: Mapping[str, str],
    writer: _LineWriter,
    progress: Callable[[str], None],
) -> list[str]:
    problems = []
    progress(f"{len(users):,} contents")
    for digest, user in users.items():
        try:
            data = content.read(digest)
        except CorruptContentError as exc:
            problems.append(f"{user}: {exc.reason}")
            continue
        for line in _content_lines(digest, data):
            writer.write(line)
    return problems


def _content_lines(digest: str, data: bytes) -> Iterator[dict[str, JsonValue]]:
    text = _short_text(data)
    if text is not None:
        yield {"content": digest, "text": text}
        return
    starts = range(0, len(data), _MAX_TEXT_BYTES)
    for number, start in enumerate(starts, 1):
        piece = base64.b64encode(data[start : start + _MAX_TEXT_BYTES]).decode("ascii")
        yield {"content": digest, "piece": number, "of": len(starts), "base64": piece}


def _short_text(data: bytes) -> str | None:
    if len(data) > _MAX_TEXT_BYTES:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None

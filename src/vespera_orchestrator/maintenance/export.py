"""A home as readable JSON Lines, and back from there into an empty home.

The first line says what it is, with counts; then a line for each row, table by table; then the contents; the last line has the digest of
all that stands before it. Times are ISO 8601, structures are JSON. An export is derived: nothing reads it but `import_lines`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from typing import IO, TYPE_CHECKING, Any, Final

import attrs

from vespera_orchestrator._codec import dump_json, dump_time, load_time
from vespera_orchestrator._model import EventKind, Severity
from vespera_orchestrator._version import __version__
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import CorruptContentError, InvalidInputError, TransitionError
from vespera_orchestrator.home.files import translate_os_error
from vespera_orchestrator.maintenance.backup import contents_of
from vespera_orchestrator.maintenance.reports import counted
from vespera_orchestrator.maintenance.row_checks import Facts, check_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.contracts import ContentStore, Ledger
    from vespera_orchestrator.orchestrator import Orchestrator

FORMAT: Final = 1
_NOTICE: Final = "derived: an export of a vespera_orchestrator home for people and other programs; the store it was made from is the truth"
_TEXT_BYTES: Final = 1 << 20
"""Contents up to here that are text are written as text; anything else in pieces of this size, in base64."""


@attrs.frozen(kw_only=True)
class ExportReport:
    """What `Orchestrator.export` wrote, or `Orchestrator.import_` read."""

    path: Path
    rows: Mapping[str, int]
    """How many of each table."""
    contents: int
    """How many contents are in it; 0 when they are only referred to."""
    problems: tuple[str, ...] = ()
    """Contents that were damaged already and are not in it."""

    def __str__(self) -> str:
        told = ", ".join(counted(number, table) for table, number in self.rows.items() if number)
        return "\n".join(
            [
                f"{self.path}: {told or 'nothing'}, {counted(self.contents, 'contents')}",
                *(f"- not in it: {problem}" for problem in self.problems),
            ]
        )


# --- out ----------------------------------------------------------------------


class _Lines:
    """Writes lines and digests them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._count = 0

    def write(self, value: Mapping[str, JsonValue]) -> None:
        line = (
            json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
                "utf-8", "surrogatepass"
            )
            + b"\n"
        )
        self._digest.update(line)
        self._count += 1
        self._stream.write(line)

    def end(self) -> None:
        self.write({"end": True, "lines": self._count, "sha256": self._digest.hexdigest()})


def export(
    orch: Orchestrator, path: Path, *, contents: bool, progress: Callable[[str], None]
) -> ExportReport:
    """See `Orchestrator.export`."""
    with _new_file(path) as stream, orch._store.ledger() as ledger:
        rows = {table: ledger.count(table) for table in TABLES if table in ledger.tables}
        lines = _Lines(stream)
        head = {
            "vespera_orchestrator": __version__,
            "notice": _NOTICE,
            "format": FORMAT,
            "schema": ledger.schema,
            "rows": rows,
        }
        lines.write(
            head
            | {
                "exported_at": orch._clock().isoformat(),
                "active_session": orch._scope._active(),
                "contents": contents,
            }
        )
        for table in rows:
            progress(f"rows of {table}")
            for row in ledger.rows(table):
                lines.write({"table": table, **_readable(table, row)})
        named = contents_of(ledger) if contents else {}
        problems = _write_contents(orch._rooms.content, named, lines, progress)
        lines.end()
    return ExportReport(
        path=path, rows=rows, contents=len(named) - len(problems), problems=tuple(problems)
    )


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    if os.path.lexists(path):
        raise InvalidInputError("path", f"{str(path)!r} is there already; give a name that is free")
    making = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with making.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        making.rename(path)
    except BaseException as exc:
        with suppress(OSError):
            making.unlink(missing_ok=True)
        if isinstance(exc, OSError):
            raise translate_os_error(exc, path) from exc
        raise


def _readable(table: str, row: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    spec = TABLES[table]
    made = dict(row)
    for name in spec.times:
        made[name] = None if row[name] is None else load_time(row[name]).isoformat()
    for name in spec.structures:
        made[name] = None if row[name] is None else json.loads(row[name])
    return made


def _kept(table: str, row: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    spec = TABLES[table]
    made = {name: value for name, value in row.items() if name != "table"}
    for name in spec.times:
        made[name] = None if row[name] is None else dump_time(datetime.fromisoformat(row[name]))
    for name in spec.structures:
        # The names of a condition may be absent; everything else that is a structure is there, if only as null.
        absent = row[name] is None and name == "condition_names"
        made[name] = None if absent else dump_json(row[name], name)
    return made


def _write_contents(
    content: ContentStore, named: Mapping[str, str], lines: _Lines, progress: Callable[[str], None]
) -> list[str]:
    problems = []
    progress(f"{len(named):,} contents")
    for digest, name in named.items():
        try:
            data = content.read(digest)
        except CorruptContentError as exc:
            problems.append(f"{name}: {exc.reason}")
            continue
        for line in _content_lines(digest, data):
            lines.write(line)
    return problems


def _content_lines(digest: str, data: bytes) -> Iterator[dict[str, JsonValue]]:
    if len(data) <= _TEXT_BYTES:
        try:
            yield {"content": digest, "text": data.decode("utf-8")}
        except UnicodeDecodeError:
            pass
        else:
            return
    pieces = range(0, len(data), _TEXT_BYTES)
    for number, start in enumerate(pieces, 1):
        piece = base64.b64encode(data[start : start + _TEXT_BYTES]).decode("ascii")
        yield {"content": digest, "piece": number, "of": len(pieces), "base64": piece}


# --- in -----------------------------------------------------------------------


def import_lines(
    orch: Orchestrator, path: Path, *, progress: Callable[[str], None]
) -> ExportReport:
    """See `Orchestrator.import_`."""
    progress("the file")
    head = _verified(path)
    if orch._store.last_seq():
        remedy = "open another folder, or give home= a new one, and import there"
        raise TransitionError(str(orch.home), "in use", "take an export in", remedy)
    progress("contents")
    brought = _take_contents(orch._rooms.content, path)
    with orch._store.ledger(write=True) as ledger:
        if ledger.count("events") or ledger.count(
            "sessions"
        ):  # somebody began to work here meanwhile
            raise TransitionError(
                str(orch.home), "in use", "take an export in", "import into another folder"
            )
        progress("rows")
        _put_rows(ledger, path, head["rows"])
        _look_over(ledger, head, orch)
        row = {
            "at": dump_time(orch._clock()),
            "kind": EventKind.STORE_IMPORTED,
            "session_id": None,
            "task_id": None,
            "agent": orch.agent,
        }
        ledger.put(
            "events",
            [
                row
                | {
                    "data": dump_json(
                        {"rows": head["rows"], "exported_at": head["exported_at"]},
                        EventKind.STORE_IMPORTED,
                    )
                }
            ],
        )
    missing = [] if not head["contents"] else _missing(orch, brought)
    if head.get("active_session"):
        orch._scope.activate(str(head["active_session"]))
    return ExportReport(
        path=path, rows=head["rows"], contents=len(brought), problems=tuple(missing)
    )


def _missing(orch: Orchestrator, brought: set[str]) -> list[str]:
    with orch._store.ledger() as ledger:
        return [
            f"{name}: its content was damaged when it was exported"
            for digest, name in contents_of(ledger).items()
            if digest not in brought
        ]


def _verified(path: Path) -> dict[str, Any]:
    """Read the file to its end, and return what its first line says.

    Raises:
        InvalidInputError: It is no export, of another format, cut short, or changed.
    """
    digest = hashlib.sha256()
    head: dict[str, Any] = {}
    last: dict[str, Any] = {}
    number = 0
    for number, line, raw in _lines(path):
        if number == 1:
            head = line
            _refuse_foreign(path, head)
        last = line
        if not line.get("end"):
            digest.update(raw)
    if not last.get("end") or last.get("lines") != number - 1:
        raise InvalidInputError(
            "path", f"{str(path)!r} is cut short: its last line should say how many there are"
        )
    if last.get("sha256") != digest.hexdigest():
        raise InvalidInputError(
            "path",
            f"{str(path)!r} was changed after it was exported: it is not what its last line says",
        )
    return head


def _refuse_foreign(path: Path, head: Mapping[str, JsonValue]) -> None:
    if "vespera_orchestrator" not in head or "format" not in head:
        raise InvalidInputError(
            "path", f"{str(path)!r} is no export of a vespera_orchestrator home"
        )
    if head["format"] != FORMAT:
        raise InvalidInputError(
            "path",
            f"{str(path)!r} has format {head['format']!r}; this version reads {FORMAT}: upgrade, or export anew",
        )


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    number = 0
    try:
        with path.open("rb") as stream:
            for number, raw in zip(count(1), stream, strict=False):
                line = json.loads(raw.decode("utf-8", "surrogatepass"))
                if not isinstance(line, dict):
                    raise InvalidInputError("path", f"{str(path)!r}, line {number}: no object")
                yield number, line, raw
    except OSError as exc:
        raise InvalidInputError(
            "path", f"{str(path)!r} cannot be read: {exc.strerror or exc}"
        ) from exc
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as exc:
        raise InvalidInputError(
            "path", f"{str(path)!r}, line {number + 1}: not JSON ({exc})"
        ) from exc


def _take_contents(content: ContentStore, path: Path) -> set[str]:
    brought: set[str] = set()
    pieces: list[bytes] = []
    for number, line, _ in _lines(path):
        digest = line.get("content")
        if digest is None:
            continue
        pieces.append(
            line["text"].encode("utf-8", "surrogatepass")
            if "text" in line
            else base64.b64decode(line["base64"])
        )
        if line.get("piece", 1) == line.get("of", 1):
            data, pieces = b"".join(pieces), []
            if hashlib.sha256(data).hexdigest() != digest:
                raise InvalidInputError(
                    "path", f"{str(path)!r}, line {number}: the content is not that of its digest"
                )
            content.put(data)
            brought.add(digest)
    return brought


def _put_rows(ledger: Ledger, path: Path, wanted: Mapping[str, int]) -> None:
    rows = ((str(line["table"]), line) for _, line, _ in _lines(path) if "table" in line)
    for table, row in rows:
        if table not in TABLES:
            raise InvalidInputError(
                "path",
                f"{str(path)!r} has rows of {table!r}, which this version does not know: upgrade",
            )
        try:
            ledger.put(table, [_kept(table, row)])
        except (KeyError, ValueError, TypeError) as exc:
            raise InvalidInputError(
                "path", f"{str(path)!r}: a row of {table} cannot be used ({exc})"
            ) from exc
    found = {table: ledger.count(table) for table in wanted}
    if found != dict(wanted):
        raise InvalidInputError(
            "path", f"{str(path)!r} should hold {dict(wanted)}, and holds {found}"
        )


def _look_over(ledger: Ledger, head: Mapping[str, Any], orch: Orchestrator) -> None:
    """Refuse, within the transaction, what a check would call an error and the export had not."""
    if head["schema"] > ledger.schema:
        raise InvalidInputError(
            "path",
            f"it was exported with schema {head['schema']}, this version knows {ledger.schema}: upgrade first",
        )
    found = [
        f
        for f in check_rows(
            Facts(ledger=ledger, now=dump_time(orch._clock()) or 0, progress=lambda _: None)
        )
        if f.severity is Severity.ERROR
    ]
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise InvalidInputError(
            "path",
            f"the export is of a damaged store: {found[0].sentence}{more}; repair that one, and export it anew",
        )

"""Taking an export into an empty home: all of it, or nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import contextmanager, suppress
from datetime import datetime
from io import BufferedReader
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from vespera_orchestrator._codec import dump_json, dump_time
from vespera_orchestrator._model import EventKind, Severity
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import InvalidInputError, TransitionError
from vespera_orchestrator.home.reading import open_plain_file
from vespera_orchestrator.maintenance.backup import content_users
from vespera_orchestrator.maintenance.events import record_event
from vespera_orchestrator.maintenance.export import FORMAT, ExportReport
from vespera_orchestrator.maintenance.row_checks import Facts, check_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.contracts import Ledger

_OPTIONAL_STRUCTURES: Final = frozenset({"condition_names", "answer", "proof"})
"""Structures that may be absent; any other is there, if only as JSON's null."""
_LONGEST_LINE_BYTES: Final = 256_000_000
_MOST_VALUES: Final = 2_000_000
"""Of one line. Each takes up to a hundred bytes of memory, and two in the file."""
_HOME_OF_EXPORT: Final = "h_exported"
"""Stands for a home that the export does not name."""


class _Line(NamedTuple):
    """A line of an export."""

    number: int
    values: dict[str, Any]
    raw: bytes


def import_(rooms: Rooms, path: Path, *, progress: Callable[[str], None]) -> ExportReport:
    """See `Orchestrator.import_`."""
    progress("the file")
    head = _verified_head(path)
    if rooms.store.last_seq():
        raise _home_in_use(rooms)
    progress("all of it, on trial")
    for _ in _contents(path):
        pass
    with suppress(_TrialOverError), _rows_put(rooms, path, head):
        raise _TrialOverError
    progress("contents")
    digests = set()
    for digest, data in _contents(path):
        rooms.content.put(data)
        digests.add(digest)
    progress("rows")
    with _rows_put(rooms, path, head) as ledger:
        facts = {"rows": head["rows"], "exported_at": head["exported_at"]}
        record_event(ledger, rooms, EventKind.STORE_IMPORTED, facts)
    missing = _missing_contents(rooms, digests) if head["contents"] else []
    active = str(head.get("active_session"))
    if rooms.store.find_session(active) is not None:
        with rooms.scope.activating(active):
            pass  # it came with the rows
    return ExportReport(
        path=path,
        rows=head["rows"],
        contents=len(digests),
        problems=tuple(missing),
        as_of=head["exported_at"],
    )


class _TrialOverError(Exception):
    """Undoes the rows: no content is written before all of them are known to be sound."""


@contextmanager
def _rows_put(rooms: Rooms, path: Path, head: Mapping[str, Any]) -> Iterator[Ledger]:
    """Put all rows of the file into the store, for good if the block ends well."""
    with rooms.store.ledger(write=True) as ledger:
        if ledger.count("events") or ledger.count("sessions"):  # since the first look
            raise _home_in_use(rooms)
        _put_rows(ledger, path, head["rows"])
        _refuse_damage(ledger, head, now=dump_time(rooms.clock()))
        yield ledger


def _home_in_use(rooms: Rooms) -> TransitionError:
    remedy = "open another folder, or give home= a new one, and import there"
    return TransitionError(str(rooms.scope.home.path), "in use", "take an export in", remedy)


def _missing_contents(rooms: Rooms, digests: set[str]) -> list[str]:
    with rooms.store.ledger() as ledger:
        users = content_users(ledger)
    problems = []
    for digest, user in users.items():
        if digest not in digests:
            problems.append(f"{user}: its content was damaged when it was exported")
    return problems


# --- the file ---------------------------------------------------------------------


def _bad_file(path: Path, problem: str) -> InvalidInputError:
    return InvalidInputError("path", f"{str(path)!r}{problem}")


def _verified_head(path: Path) -> dict[str, Any]:
    """Read the file to its end, and return what its first line says.

    Raises:
        InvalidInputError: It is not an export, has another format, is cut short, or was changed.
    """
    digest = hashlib.sha256()
    head: dict[str, Any] = {}
    last: dict[str, Any] = {}
    lines_before_last = -1
    for line in _lines(path):
        if line.number == 1:
            head = line.values
            _refuse_foreign(path, head)
        last = line.values
        lines_before_last = line.number - 1
        if not last.get("end"):
            digest.update(line.raw)
    if not last.get("end") or last.get("lines") != lines_before_last:
        problem = " is cut short: its last line should say how many lines there are"
        raise _bad_file(path, problem)
    if last.get("sha256") != digest.hexdigest():
        problem = " was changed after it was exported: it does not match the digest at its end"
        raise _bad_file(path, problem)
    return head


def _refuse_foreign(path: Path, head: Mapping[str, JsonValue]) -> None:
    if "vespera_orchestrator" not in head or "format" not in head:
        raise _bad_file(path, " is not an export of a vespera_orchestrator home")
    if head["format"] != FORMAT:
        number = str(head["format"])[:20]
        problem = f" has format {number!r}, this version reads {FORMAT}: upgrade, or export again"
        raise _bad_file(path, problem)
    if not _is_head(head):
        raise _bad_file(path, ", line 1: not what an export begins with")


def _is_head(head: Mapping[str, JsonValue]) -> bool:
    rows, active = head.get("rows"), head.get("active_session")
    has_counts = isinstance(rows, dict) and all(
        table in TABLES and type(number) is int for table, number in rows.items()
    )
    is_named = active is None or isinstance(active, str)
    schema = head.get("schema")
    has_schema = type(schema) is int and schema > 0
    has_contents = type(head.get("contents")) is bool
    return (
        has_counts
        and is_named
        and has_schema
        and has_contents
        and _is_moment(head.get("exported_at"))
    )


def _is_moment(text: Any) -> bool:
    with suppress(TypeError, ValueError):
        datetime.fromisoformat(text)
        return True
    return False


def _lines(path: Path) -> Iterator[_Line]:
    number = 0
    try:
        with open_plain_file(path) as file, BufferedReader(file) as stream:
            for number in count(1):
                raw = stream.readline(_LONGEST_LINE_BYTES + 1)
                if not raw:
                    break
                if len(raw) > _LONGEST_LINE_BYTES:
                    problem = f"longer than {_LONGEST_LINE_BYTES:,} bytes"
                    raise _bad_file(path, f", line {number}: {problem}")
                if sum(raw.count(sign) for sign in b",{[") > _MOST_VALUES:
                    problem = f"more than {_MOST_VALUES:,} values"
                    raise _bad_file(path, f", line {number}: {problem}")
                values = json.loads(raw.decode("utf-8", "surrogatepass"))
                if not isinstance(values, dict):
                    raise _bad_file(path, f", line {number}: not a JSON object")
                yield _Line(number, values, raw)
    except OSError as exc:
        raise _bad_file(path, f" cannot be read: {exc.strerror or exc}") from exc
    except (ValueError, RecursionError) as exc:
        if isinstance(exc, InvalidInputError):
            raise
        raise _bad_file(path, f", line {number + 1}: not JSON ({exc})") from exc


# --- contents and rows ------------------------------------------------------------


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each content with its digest, which it matches."""
    pieces: list[bytes] = []
    for line in _lines(path):
        values = line.values
        if "content" not in values:
            continue
        try:
            pieces.append(_bytes_of(values))
        except (KeyError, ValueError, TypeError, AttributeError) as exc:
            raise _bad_file(path, f", line {line.number}: not a content ({exc})") from exc
        if values.get("piece", 1) != values.get("of", 1):
            continue
        data, pieces = b"".join(pieces), []
        if hashlib.sha256(data).hexdigest() != values["content"]:
            raise _bad_file(path, f", line {line.number}: the content does not match its digest")
        yield values["content"], data
    if pieces:
        raise _bad_file(path, " ends in the middle of a content")


def _bytes_of(values: Mapping[str, Any]) -> bytes:
    if "text" in values:
        text: str = values["text"]
        return text.encode("utf-8", "surrogatepass")
    return base64.b64decode(values["base64"])


def _refuse_unknown(path: Path, line: _Line) -> None:
    """Refuse a line that is neither the first, nor the last, nor a row, nor a content."""
    if line.number > 1 and not line.values.keys() & {"content", "end"}:
        raise _bad_file(path, f", line {line.number}: neither a row nor a content")


def _put_rows(ledger: Ledger, path: Path, expected: Mapping[str, int]) -> None:
    tables: set[str] = set()
    for line in _lines(path):
        if "table" not in line.values:
            _refuse_unknown(path, line)
            continue
        table = str(line.values["table"])
        if table not in TABLES:
            raise _bad_file(path, f" has rows of {table!r}, unknown to this version: upgrade")
        tables.add(table)
        try:
            row = _made_anew(table, _stored(table, line.values))
            ledger.put(table, [row])
        except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as exc:
            raise _bad_file(path, f": a row of {table} cannot be used ({exc})") from exc
    counts = {table: ledger.count(table) for table in {*expected, *tables}}
    if counts != dict(expected):
        raise _bad_file(path, f" should hold {dict(expected)}, but holds {counts}")


def _made_anew(table: str, row: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the row without what is true of the exporting home only.

    A worktree stays where it is, and belongs to the home that made it. A record that names no home
    would count as one of this home's.
    """
    if table == "worktrees" and not row.get("home_id"):
        row["home_id"] = _HOME_OF_EXPORT
    if table == "forgotten":  # its bytes did not come along
        row |= {"home_id": "", "digest": None}
    return row


def _stored(table: str, row: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Turn ISO 8601 and JSON back into what a row holds."""
    values = {name: value for name, value in row.items() if name != "table"}
    columns = TABLES[table]
    for name in columns.times:
        if row.get(name) is not None:
            time = datetime.fromisoformat(row[name])
            values[name] = dump_time(time)
    for name in columns.structures:
        if name not in row:
            continue  # an earlier version exported it
        if row[name] is not None or name not in _OPTIONAL_STRUCTURES:
            values[name] = dump_json(row[name], name)
    if table == "tasks" and "due_until" not in row:  # an earlier version exported it
        values |= dict.fromkeys(("due_until", "needed_by", "press_at"), values["due_at"])
    return values


def _refuse_damage(ledger: Ledger, head: Mapping[str, Any], *, now: int) -> None:
    """Refuse, within the transaction, rows that a check would call an error."""
    if head["schema"] > ledger.schema:
        exported, known = head["schema"], ledger.schema
        problem = f"it has schema {exported}, this version knows {known}: upgrade first"
        raise InvalidInputError("path", problem)
    facts = Facts(ledger=ledger, now=now, progress=lambda _: None)
    findings = check_rows(facts)
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        problem = f"the exported store was damaged: {errors[0].sentence}"
        others = len(errors) - 1
        if others:
            problem += f", and {others} more"
        raise InvalidInputError("path", f"{problem}; repair that one, and export it again")

"""Forgetting one text wherever it is: a password in a summary, a log, an output, an event.

What holds it stays, with a mark in its place. The rows and the contents that artifacts refer to
change in one transaction. The text itself is written nowhere, so a killed call can only be finished
by the same call: it looks everywhere again, and removes what the earlier one left.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator import _model
from vespera_orchestrator._codec import dump_json, dump_time
from vespera_orchestrator._model import ArtifactQuery, EventKind, Task, find_ids
from vespera_orchestrator._text import plural, show_value
from vespera_orchestrator.artifacts.content.media_types import is_text
from vespera_orchestrator.artifacts.content.readable import has_readable_beginning, readable_text
from vespera_orchestrator.artifacts.forgetting import (
    TEXT,
    Forgotten,
    Remainder,
    RemainderKind,
    proof_as_json,
)
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import CorruptContentError, InvalidInputError
from vespera_orchestrator.home.reading import read_content
from vespera_orchestrator.tasks.aliases import slug

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vespera_orchestrator._model import Artifact, JsonValue
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.artifacts.forgetting import Forgetting
    from vespera_orchestrator.contracts import Ledger

MARK: Final = "[forgotten]"
"""Stands where the text was."""
_SHORTEST: Final = 6
"""What is shorter is part of ordinary words."""
_SHORTEST_OF_TASK: Final = 20
"""The same for a text of a task, where it is looked for in the work of others."""
_ONE_TASK: Final = frozenset({"tasks", "attempts", "checkpoints", "effects"})
"""Tables whose rows say what one task is about, and nothing else."""
_MAX_ROUNDS: Final = 5
"""How often to look again for what was saved meanwhile."""
_FREE_TEXT: Final[Mapping[str, tuple[str, ...]]] = {
    "sessions": ("goal", "context"),
    "tasks": (
        *("title", "description", "acceptance", "summary", "reason", "question"),
        *("specialist_type", "context", "outputs", "answer"),
    ),
    "attempts": ("error",),
    "checkpoints": ("note", "state", "left_out"),
    "artifacts": ("title", "tags", "metadata"),
    "shared_values": ("value",),
    "signals": ("payload",),
    "effects": ("result",),
    "events": ("data",),
    "forgotten": ("reason",),
}
"""The columns that hold what people and agents wrote. No id, status or path is among them."""
_ENCODINGS: Final = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "cp1252")
"""Those of the texts that are searched; see `content.decoding`."""
_DIGEST: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_OUR_WORDS: Final = frozenset(
    str(word)
    for kind in vars(_model).values()
    if isinstance(kind, type) and issubclass(kind, StrEnum)
    for word in kind
)


@attrs.frozen(kw_only=True)
class Literal:
    """Texts to be forgotten, as they are looked for."""

    texts: tuple[str, ...]
    """Looked for everywhere."""
    task_id: str = ""
    """The task that they are of; empty for a text by itself."""
    own_texts: tuple[str, ...] = ()
    """Shorter ones, too, looked for only in what is of that task."""

    @classmethod
    def of(cls, text: object) -> Literal:
        """Check what a caller passed.

        Raises:
            InvalidInputError: It is not a text, or too common to be looked for.
        """
        if not isinstance(text, str) or len(text.strip()) < _SHORTEST:
            problem = f"should be a task, or a text of {_SHORTEST} characters or more"
            raise InvalidInputError("text", problem)
        if _is_ours(text) or find_ids(text):
            problem = f"{show_value(text)} is a word or an id of the library's own"
            raise InvalidInputError("text", problem)
        return cls(texts=(text,))

    @classmethod
    def of_task(cls, task: Task, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Literal:
        """Return what people and agents wrote into a task.

        Args:
            task: Its record. A killed call may have blanked the rows already.
            rows: The rows that are about it alone, each with its table.
        """
        said: set[str | None] = {task.title, task.description, task.summary, task.reason}
        said.update(_leaves(task.context), _leaves(task.outputs))
        for table, row in rows:
            for name in _FREE_TEXT[table]:
                said.update(_leaves(_value(table, name, row)))
        own = {text for text in said if text and len(text) >= _SHORTEST and not _is_ours(text)}
        texts = tuple(text for text in own if len(text) >= _SHORTEST_OF_TASK)
        return cls(texts=texts, task_id=task.id, own_texts=tuple(own))

    def is_about(self, table: str, row: Mapping[str, Any]) -> bool:
        """Tell whether a row is about the task that is to be forgotten."""
        return bool(self.task_id) and _is_of(self.task_id, table, row)

    def in_row(self, table: str, row: Mapping[str, Any]) -> Literal | None:
        """Return what to look for in a row; ``None`` where all that was written in it goes."""
        if not self.is_about(table, row):
            return self
        if table in _ONE_TASK:
            return None
        return attrs.evolve(self, texts=self.own_texts)

    def are_in(self, text: str) -> bool:
        """Tell whether *text* has it, also with the backslashes that Markdown needs."""
        plain = text.replace("\\", "")
        return any(each in text or each in plain for each in self.texts)

    def without(self, text: str) -> str:
        """Return *text* with the mark in its place."""
        for each in self._longest_first:
            text = text.replace(each, MARK)
        return text

    def without_in_bytes(self, content: bytes) -> bytes:
        """Return a content with the mark in its place, also where it is written as in JSON."""
        for text in self._longest_first:
            for form in (text, json.dumps(text)[1:-1]):
                for encoding in _ENCODINGS:
                    with suppress(UnicodeEncodeError):  # Windows-1252 has few characters
                        content = content.replace(form.encode(encoding), MARK.encode(encoding))
        return content

    @property
    def _longest_first(self) -> list[str]:
        return sorted(self.texts, key=len, reverse=True)

    def without_in_json(self, value: JsonValue) -> JsonValue:
        """Return a value with the mark in the place of the text, in whatever it consists of.

        The names in a mapping stay: many are ours.
        """
        if isinstance(value, dict):
            return {name: self.without_in_json(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.without_in_json(item) for item in value]
        if isinstance(value, str):
            return value if _is_ours(value) else self.without(value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return MARK if is_number and str(value) in self.texts else value


def _is_of(task_id: str, table: str, row: Mapping[str, Any]) -> bool:
    return row.get("id" if table == "tasks" else "task_id") == task_id


def _value(table: str, name: str, row: Mapping[str, Any]) -> Any:
    """Return what a column holds: a text, or what its JSON says."""
    text = row.get(name)
    if isinstance(text, str) and name in TABLES[table].structures:
        return json.loads(text)
    return text


def _is_ours(text: str) -> bool:
    """Tell whether it is a word, an id or a digest of the library's own."""
    if text in _OUR_WORDS or find_ids(text) == [text]:
        return True
    return _DIGEST.fullmatch(text) is not None


def _leaves(value: object) -> Iterator[str]:
    """Yield the texts in a value that JSON can hold."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)


def _blank(value: JsonValue) -> JsonValue:
    """Return a value that says nothing: with the mark for every text and number in it."""
    if isinstance(value, dict):
        return {name: _blank(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_blank(item) for item in value]
    return value if value is None or isinstance(value, bool) or value == "" else MARK


@attrs.frozen(kw_only=True)
class _Change:
    """An artifact's content with and without the text."""

    artifact: Artifact
    digest: str
    size_bytes: int


class Redaction:
    """Takes one text out of a whole home.

    Args:
        rooms: The store and the bytes.
        forgetting: Removes what was made from them.
    """

    def __init__(self, rooms: Rooms, forgetting: Forgetting) -> None:
        self._rooms = rooms
        self._forgetting = forgetting

    def forget(self, text: str | Task, reason: str) -> Forgotten:
        """Put a mark wherever the text is; see `Artifacts.forget_text`."""
        literal = self._of_task(text) if isinstance(text, Task) else Literal.of(text)
        reason = literal.without(reason)
        now = dump_time(self._rooms.clock())
        head = f"{TEXT}{secrets.token_hex(6)}"
        removed: Counter[str] = Counter()
        changed: dict[str, None] = {}
        for number in range(_MAX_ROUNDS):
            changes = list(self._changes(literal))
            with self._rooms.store.ledger(write=True) as ledger:
                rows = _redact_rows(ledger, literal)
                _replace_contents(ledger, changes)
                is_first = not number
                stones = _tombstones(head, number, changes, is_first=is_first)
                common = {"reason": reason, "agent": self._rooms.scope.agent}
                times = {"saved_at": now, "forgotten_at": now}
                ledger.put("forgotten", [{**stone, **common, **times} for stone in stones])
                if is_first:
                    ledger.put("events", [self._event(reason, now)])
            removed += Counter(rows=rows, artifacts=len(changes))
            changed |= dict.fromkeys(change.artifact.id for change in changes)
            if not rows and not changes:
                break
        (stone,) = self._rooms.store.tombstones(ids=[head])
        removed_views, problems = self._forgetting.remove_copies(stone, literal)
        problems += self._unreachable(literal)
        problems += self._names(literal)
        proof = proof_as_json({**removed, **removed_views}, problems, artifact_ids=changed)
        return self._forgetting.complete_text(stone, proof)

    def _of_task(self, task: Task) -> Literal:
        with self._rooms.store.ledger() as ledger:
            rows = [
                (table, row)
                for table in _ONE_TASK
                for row in ledger.rows(table)
                if _is_of(task.id, table, row)
            ]
        return Literal.of_task(task, rows)

    def _event(self, reason: str, now: int) -> Mapping[str, JsonValue]:
        return {
            "at": now,
            "kind": EventKind.TEXT_FORGOTTEN,
            "session_id": None,
            "task_id": None,
            "agent": self._rooms.scope.agent,
            "data": dump_json({"reason": reason}, EventKind.TEXT_FORGOTTEN),
        }

    def _changes(self, literal: Literal) -> Iterator[_Change]:
        """Store what artifacts say without the text, and yield those that had it."""
        results: dict[str, tuple[str, int] | None] = {}
        for artifact in self._rooms.store.artifacts(ArtifactQuery(include_superseded=True)):
            if not is_text(artifact.media_type):
                continue
            if artifact.digest not in results:
                results[artifact.digest] = self._without(artifact, literal)
            result = results[artifact.digest]
            if result is not None:
                yield _Change(artifact=artifact, digest=result[0], size_bytes=result[1])

    def _without(self, artifact: Artifact, literal: Literal) -> tuple[str, int] | None:
        try:
            content = self._bytes_of(artifact)
        except CorruptContentError:
            return None  # in another home, or lost: `check` and the proof name it
        redacted = literal.without_in_bytes(content)
        return None if redacted == content else self._rooms.content.put(redacted)

    def _bytes_of(self, artifact: Artifact) -> bytes:
        return read_content(self._rooms.content, artifact.digest, artifact.size_bytes)

    def _unreachable(self, literal: Literal) -> Iterator[Remainder]:
        """Yield the artifacts that are no text and have it, and those that are not here."""
        for artifact in self._rooms.store.artifacts(ArtifactQuery(include_superseded=True)):
            kind, name = RemainderKind.ARTIFACT, artifact.id
            try:
                if has_readable_beginning(artifact.media_type):
                    with self._rooms.content.open(artifact.digest):
                        continue
                has_it = self._still_has(artifact, literal)
            except CorruptContentError:
                problem = "its bytes are not in this home; call forget_text where they are"
                yield Remainder(kind=kind, name=name, problem=problem)
                continue
            if has_it:
                problem = f"{artifact.media_type}, not plain text, and has it; forget it as a whole"
                yield Remainder(kind=kind, name=name, problem=problem)

    def _names(self, literal: Literal) -> Iterator[Remainder]:
        """Yield where rows have it in a name, by which others refer to them."""
        names, own_names = _with_aliases(literal.texts), _with_aliases(literal.own_texts)
        with self._rooms.store.ledger() as ledger:
            for table in TABLES:
                counts = Counter[str]()
                for row in ledger.rows(table):
                    is_own = literal.is_about(table, row)
                    counts.update(_columns_with(row, own_names if is_own else names))
                for column, count in counts.items():
                    yield Remainder(
                        kind=RemainderKind.NAME,
                        name=f"{table}.{column}",
                        problem=f"{plural(count, 'row')} with a name or a key that has it; "
                        "orch.update_task(…, alias=…) changes an alias",
                    )

    def _still_has(self, artifact: Artifact, literal: Literal) -> bool:
        """Tell whether the text is in the bytes, or in what a PDF or a notebook says."""
        content = self._bytes_of(artifact)
        if literal.without_in_bytes(content) != content:
            return True
        return literal.are_in(readable_text(self._rooms.content, artifact).text)


def _redact_rows(ledger: Ledger, literal: Literal) -> int:
    """Put the mark into every row that has the text; return how many rows these were."""
    count = 0
    for table, columns in _FREE_TEXT.items():
        changes = []
        for row in ledger.rows(table):
            values = dict(_redacted(table, columns, row, literal))
            if values:
                key = {name: row[name] for name in TABLES[table].key}
                changes.append((key, values))
        for key, values in changes:
            ledger.change(table, key, values)
        count += len(changes)
    return count


def _with_aliases(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts, and how each is spelt in an alias."""
    aliases = [alias for alias in map(slug, texts) if len(alias) >= _SHORTEST]
    return (*texts, *aliases)


def _columns_with(row: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    """Yield the columns of a row that have one of the names in them."""
    for column, value in row.items():
        if isinstance(value, str) and any(name in value for name in names):
            yield column


def _redacted(
    table: str, columns: tuple[str, ...], row: Mapping[str, Any], literal: Literal
) -> Iterator[tuple[str, str]]:
    here = literal.in_row(table, row)
    for name in columns:
        value = _value(table, name, row)
        redacted = _blank(value) if here is None else here.without_in_json(value)
        if redacted != value:
            is_json = name in TABLES[table].structures
            yield name, dump_json(redacted, name) if is_json else redacted


def _replace_contents(ledger: Ledger, changes: list[_Change]) -> None:
    for change in changes:
        values = {"digest": change.digest, "size_bytes": change.size_bytes}
        key = {"id": change.artifact.id, "digest": change.artifact.digest}
        ledger.change("artifacts", key, values)


def _tombstones(
    head: str, number: int, changes: list[_Change], *, is_first: bool
) -> Iterator[dict[str, JsonValue]]:
    """Yield one for the text, and one for each content that has to go."""
    empty = {"session_id": "", "task_id": None, "version": 0, "proof": None}
    if is_first:
        yield {"id": head, "digest": None, "home_id": "", **empty}
    old = {change.artifact.digest: change.artifact.home_id for change in changes}
    for place, (digest, home_id) in enumerate(old.items()):
        name = f"{head} content {number}.{place}"
        yield {"id": name, "digest": digest, "home_id": home_id, **empty}

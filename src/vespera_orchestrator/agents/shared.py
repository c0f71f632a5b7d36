"""What agents of a session share with each other: values under keys, with who set them and when.

A session sees what was shared in the sessions above it; what is shared in a session, those above
and beside it do not see.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import JsonValue, SharedValue
from vespera_orchestrator._records import Record
from vespera_orchestrator._secrets import mask_value
from vespera_orchestrator._text import one_line, show_methods
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.calls import explains_calls

if TYPE_CHECKING:
    from vespera_orchestrator._model import Session
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.home.scope import Scope

log = logging.getLogger("vespera_orchestrator")

MAX_VALUE_BYTES: Final = 8_192
"""A longer value belongs into an artifact: every agent of the session is given all values."""
MAX_KEYS: Final = 200
_MOST_ANCESTORS: Final = 50
_KEY = re.compile(r"[^\W\d][\w.-]{0,99}")
_SHOWN_WIDTH: Final = 200


def disputed_after(
    current: SharedValue | None, agent: str, *, is_same: bool, seen: int
) -> int | None:
    """Return which value is disputed once *agent* has shared one in place of *current*.

    Two agents that set a key differently contradict each other, unless the second one has seen a
    dispute and settles it. Sharing the value of the other settles it, too. An agent that did not
    know of the dispute settles nothing, not even by repeating itself.

    Args:
        current: The current value.
        agent: Who shares.
        is_same: Whether the value is the same.
        seen: The highest id of a value that the agent has read.

    Returns:
        The id of the disputed value; ``None`` if there is no dispute.
    """
    if current is None:
        return None
    is_own = current.agent == agent
    if is_same:
        return current.disputes if is_own and seen < current.id else None
    if current.disputes is not None and seen >= current.id:
        return None
    return current.disputes if is_own else current.id


@attrs.frozen(repr=False, kw_only=True)
class ContextConflict(Record):
    """Two agents set one key differently, and nobody has settled it yet."""

    key: str
    """The key."""
    current: SharedValue
    """The value that counts now: the later one."""
    disputed: SharedValue
    """The value of the other agent."""

    def __str__(self) -> str:
        one, other = self.current, self.disputed
        key = one_line(self.key)
        sides = [
            f"{_shown(self.key, side.value)} for {one_line(side.agent)}" for side in (one, other)
        ]
        return f"{key} is {' and '.join(sides)}; orch.share_context({key}=…) settles it"

    def __repr__(self) -> str:
        return str(self)


def _history_elsewhere(key: str) -> list[SharedValue]:
    problem = f"{one_line(repr(key))}: a copy has no history; ask orch.shared_context()"
    raise InvalidInputError("history", problem)


@show_methods
@explains_calls
class SharedContext(Mapping[str, JsonValue]):
    """What agents share in a session, those above it included: a mapping from key to value.

    It shows what was shared when it was read. ``context.conflicts`` are the keys that two agents
    set differently; ``context.source("key")`` says who set a value and when;
    ``context.history("key")`` lists all values that the key has had.
    """

    def __init__(
        self,
        values: Mapping[str, JsonValue],
        *,
        sources: Mapping[str, SharedValue],
        conflicts: tuple[ContextConflict, ...],
        read_history: Callable[[str], list[SharedValue]],
    ) -> None:
        self._values = dict(values)
        self._sources = dict(sources)
        self._read_history = read_history
        self.conflicts = conflicts
        """The keys that two agents set differently, and nobody has settled."""

    def __getstate__(self) -> dict[str, object]:
        """Leave the way to the store behind, when it is pickled or copied."""
        return {**vars(self), "_read_history": _history_elsewhere}

    def __getitem__(self, key: str) -> JsonValue:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def version(self) -> int:
        """Grows whenever something is shared; 0 if nothing ever was."""
        return max((value.id for value in self._sources.values()), default=0)

    def source(self, key: str) -> SharedValue | None:
        """Return who shared the value and when; ``None`` if it came with the session's start."""
        _ = self._values[key]
        return self._sources.get(key)

    def history(self, key: str) -> list[SharedValue]:
        """Return every value that was shared under the key, the oldest first."""
        return self._read_history(key)

    def to_dict(self) -> dict[str, Any]:
        """Return the values, who shared them, and the conflicts, as plain data."""
        return {
            "version": self.version,
            "values": dict(self._values),
            "sources": {key: value.to_dict() for key, value in self._sources.items()},
            "conflicts": [conflict.to_dict() for conflict in self.conflicts],
        }

    def to_json(self) -> str:
        """Return the same as `to_dict` as JSON text on one line."""
        from vespera_orchestrator._records import to_text

        return to_text(self.to_dict())

    def __str__(self) -> str:
        lines = [str(conflict) for conflict in self.conflicts]
        lines = [f"Conflict: {line}" for line in lines]
        for key, value in self._values.items():
            source = self._sources.get(key)
            who = "from the start" if source is None else one_line(source.agent)
            lines.append(f"{one_line(key)} = {_shown(key, value)} ({who})")
        return "\n".join(lines) or "Nothing is shared yet."

    def __repr__(self) -> str:
        return f"<SharedContext of {len(self)} keys, {len(self.conflicts)} conflicts>"


class ContextBoard:
    """Reads and writes what is shared, for one process.

    It remembers what the process has read: only who has seen a dispute can settle it.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._seen: dict[str, int] = {}

    def share(self, values: Mapping[str, JsonValue]) -> SharedContext:
        """Share *values* in the current session, and return all that is shared now.

        Raises:
            InvalidInputError: A key is no name, a value is too long or cannot be JSON, or there
                are too many keys. Nothing was shared.
        """
        session = self._scope.session()
        store = self._scope.store
        _check(values, {value.key for value in store.shared_values(session.id)})
        seen = self._seen.get(session.id, 0)
        shared = store.share_values(session.id, self._scope.agent, values, seen=seen)
        context = self.peek(session)
        disputed = {value.key for value in shared if value.disputes is not None}
        for conflict in context.conflicts:
            if conflict.key in disputed:
                log.warning("%s", conflict)
        self.note(session, context)
        return context

    def conflicts(self, session: Session) -> list[str]:
        """Return, in words, what agents set differently; it does not count as having read it."""
        return [str(conflict) for conflict in self.peek(session).conflicts]

    def read(self, session: Session | None = None) -> SharedContext:
        """Return all that is shared in a session, by default the current one, and those above."""
        session = session or self._scope.session()
        context = self.peek(session)
        self.note(session, context)
        return context

    def note(self, session: Session, context: SharedContext) -> None:
        """Remember that this process has been shown what was shared in a session."""
        self._seen[session.id] = max(context.version, self._seen.get(session.id, 0))

    def peek(self, session: Session) -> SharedContext:
        """Return all that is shared; it does not count as read until it is noted."""
        values: dict[str, JsonValue] = {}
        sources: dict[str, SharedValue] = {}
        line = ancestry(self._scope.store, session)
        for each in line:
            for key, value in each.context.items():
                values[key] = value
                sources.pop(key, None)
            for shared in self._scope.store.shared_values(each.id):
                values[shared.key] = shared.value
                sources[shared.key] = shared
        disputing = [shared for shared in sources.values() if shared.disputes is not None]
        return SharedContext(
            values,
            sources=sources,
            conflicts=tuple(filter(None, map(self._conflict, disputing))),
            read_history=lambda key: self._history(line, key),
        )

    def _conflict(self, current: SharedValue) -> ContextConflict | None:
        """Return what a value disputes; ``None`` where no row is it, which `check` reports."""
        history = self._scope.store.shared_values(current.session_id, key=current.key, history=True)
        for value in history:
            if value.id == current.disputes:
                return ContextConflict(key=current.key, current=current, disputed=value)
        return None

    def _history(self, line: list[Session], key: str) -> list[SharedValue]:
        store = self._scope.store
        values = []
        for session in line:
            values += store.shared_values(session.id, key=key, history=True)
        return values


def ancestry(store: Store, session: Session) -> list[Session]:
    """Return the sessions above *session*, the topmost first, and the session itself."""
    line = [session]
    while line[0].parent_session_id is not None and len(line) < _MOST_ANCESTORS:
        parent = store.find_session(line[0].parent_session_id)
        if parent is None:
            break
        line.insert(0, parent)
    return line


def _check(values: Mapping[str, JsonValue], existing: set[str]) -> None:
    for key, value in values.items():
        if not _KEY.fullmatch(key):
            problem = "is not a name: start with a letter; letters, digits, _ . - (at most 100)"
            raise InvalidInputError("share_context", f"{one_line(repr(key))} {problem}")
        size = len(dump_json(value, key).encode("utf-8", "surrogatepass"))
        if size > MAX_VALUE_BYTES:
            remedy = "save it with orch.artifacts.save(…) and share the artifact's id"
            raise InvalidInputError(key, f"{size:,} bytes of JSON are too much to share; {remedy}")
    if len(existing | set(values)) > MAX_KEYS:
        raise InvalidInputError(
            "share_context", f"a session shares at most {MAX_KEYS} keys; put related values in one"
        )


def _shown(key: str, value: JsonValue) -> str:
    if isinstance(value, str):
        value = mask_value(key, value)
    return one_line(repr(value), _SHOWN_WIDTH)

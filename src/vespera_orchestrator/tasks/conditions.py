"""The condition language: a small closed grammar over how dependencies have ended, in three values.

::

    condition   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | comparison
    comparison  = operand { sign operand }
    sign        = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not" "in"
    operand     = literal | list | reference | "(" condition ")"
    reference   = name "." attribute
                | name "." "outputs" { "." name | "[" literal "]" }
    attribute   = "success" | "failed" | "cancelled" | "skipped" | "blocked"
                | "done" | "status" | "attempts"

Nothing is ever evaluated as Python. A fact about a task that has not ended is *unknown* (``None``),
and ``and``/``or``/``not`` follow Kleene's strong logic, so a condition decides as soon as it can
and never has to take a decision back.

A new operator is one entry of `_COMPARE`: a sign or words, and the function that compares. Tokens,
keywords and the words that no alias may have follow from it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import JsonValue, Task, TaskStatus
from vespera_orchestrator._text import similar_names
from vespera_orchestrator.errors import ConditionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

VERSION: Final = 1
"""Version of the language, stored beside each condition."""
MAX_LENGTH: Final = 4000
"""Longest condition, in characters."""
MAX_DEPTH: Final = 40
"""Deepest nesting of parentheses and ``not``."""
MAX_LITERAL: Final = 500
"""Longest literal, in characters."""
MAX_ITEMS: Final = 200
"""Most operands, names and list items together."""

ATTRIBUTES: Final = (
    "success",
    "failed",
    "cancelled",
    "skipped",
    "blocked",
    "done",
    "status",
    "attempts",
    "outputs",
)
_CONSTANTS: Final = {
    "true": True,
    "True": True,
    "false": False,
    "False": False,
    "null": None,
    "None": None,
}

_NO_IN_WORDS: Final = frozenset({"no", "n", "false", "off", "0", "none", "null"})
"""Texts that are neither true nor false where yes or no is read."""

Truth: TypeAlias = bool | None
"""True, False, or ``None`` for unknown."""


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


_UNKNOWN: Final = _Unknown()

# --- what a condition is made of --------------------------------------------


@attrs.frozen
class Literal:
    """A value written in the condition."""

    value: JsonValue


@attrs.frozen(kw_only=True)
class Reference:
    """A fact about a dependency."""

    name: str
    attribute: str
    path: tuple[str | int, ...]
    column: int


@attrs.frozen
class Not:
    """Negation."""

    item: Node


@attrs.frozen
class Both:
    """Conjunction of all items."""

    items: tuple[Node, ...]


@attrs.frozen
class Either:
    """Disjunction of all items."""

    items: tuple[Node, ...]


@attrs.frozen
class Comparison:
    """A chain such as ``0.5 <= a.outputs.x < 1``: every link must hold."""

    first: Node
    links: tuple[tuple[str, Node], ...]


Node: TypeAlias = Literal | Reference | Not | Both | Either | Comparison


@attrs.frozen
class Condition:
    """A condition that was understood."""

    text: str
    root: Node

    def references(self) -> Iterator[Reference]:
        """Yield each reference, from left to right."""
        return _references(self.root)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of dependencies, each once, from left to right."""
        names = (reference.name for reference in self.references())
        return tuple(dict.fromkeys(names))


def read_as_truth(condition: Condition) -> Iterator[Reference]:
    """Yield each reference that is read as yes or no: nothing is compared with it."""
    return _read_as_truth(condition.root)


def _read_as_truth(node: Node) -> Iterator[Reference]:
    match node:
        case Reference():
            yield node
        case Not(item):
            yield from _read_as_truth(item)
        case Both(items) | Either(items):
            for item in items:
                yield from _read_as_truth(item)


def _references(node: Node) -> Iterator[Reference]:
    match node:
        case Reference():
            yield node
        case Not(item):
            yield from _references(item)
        case Both(items) | Either(items):
            for item in items:
                yield from _references(item)
        case Comparison(first, links):
            yield from _references(first)
            for _, item in links:
                yield from _references(item)
        case Literal():
            return


# --- comparing --------------------------------------------------------------


def _is_number(value: JsonValue) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float)


def _orderable(left: JsonValue, right: JsonValue) -> bool:
    if isinstance(left, str):
        return isinstance(right, str)
    return _is_number(left) and _is_number(right)


def _same(left: JsonValue, right: JsonValue) -> bool:
    # To Python 1 is True, to JSON it is not.
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def _contains(left: JsonValue, right: JsonValue) -> Truth:
    if not isinstance(right, list | dict | str):
        return None
    return bool(left in right)


def _negated(truth: Truth) -> Truth:
    return None if truth is None else not truth


_COMPARE: Final[dict[str, Callable[[JsonValue, JsonValue], Truth]]] = {
    "==": lambda a, b: _same(a, b),
    "!=": lambda a, b: not _same(a, b),
    "<": lambda a, b: bool(a < b) if _orderable(a, b) else None,
    "<=": lambda a, b: bool(a <= b) if _orderable(a, b) else None,
    ">": lambda a, b: bool(a > b) if _orderable(a, b) else None,
    ">=": lambda a, b: bool(a >= b) if _orderable(a, b) else None,
    "in": _contains,
    "not in": lambda a, b: _negated(_contains(a, b)),
}
"""The operators that compare. Each is a sign without letters, or one or several words.

A function returns ``None`` for values that cannot be compared, or raises ``TypeError`` or
``RecursionError``; both leave the comparison unknown. It must not raise anything else.
"""

_COMPARE_WORDS: Final = sorted((operator.split() for operator in _COMPARE), key=len, reverse=True)
"""The operators as lists of tokens, the longest first."""
_MOST_WORDS: Final = len(_COMPARE_WORDS[0])
_OPERATOR_TOKENS: Final = [token for words in _COMPARE_WORDS for token in words]
_OPERATOR_WORDS: Final = [token for token in _OPERATOR_TOKENS if token[0].isalpha()]
_SIGNS: Final = [token for token in _OPERATOR_TOKENS if not token[0].isalpha()]
_KEYWORDS: Final = frozenset({"and", "or", "not", *_OPERATOR_WORDS, *_CONSTANTS})
RESERVED_WORDS: Final = _KEYWORDS | {"none"}
"""Words that no alias may have; ``none`` is too easily taken for ``null``."""

# --- reading ----------------------------------------------------------------

_LONGEST_FIRST: Final = sorted(_SIGNS, key=len, reverse=True)
_SIGN_PATTERN: Final = "|".join(re.escape(sign) for sign in _LONGEST_FIRST)
_TOKEN = re.compile(
    rf"""(?P<space>\s+)
      | (?P<number>-?(?:\d+\.\d+|\d+)(?:[eE][+-]?\d+)?(?!\w))
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<name>[^\W\d]\w*)
      | (?P<sign>{_SIGN_PATTERN}|[().,\[\]])""",
    re.VERBOSE | re.DOTALL,
)
_OPERANDS: Final = ("a name", "a number", "a text in quotes", "true", "false", "null", "[")
_AFTER_OPERAND: Final = ("and", "or", "a comparison", "the end")
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


@attrs.frozen(kw_only=True)
class _Token:
    kind: str
    text: str
    column: int


def parse(text: str) -> Condition:
    """Read a condition.

    Args:
        text: At most 4,000 characters.

    Raises:
        ConditionError: With the column of the mistake, and what is allowed there.
    """
    if len(text) > MAX_LENGTH:
        raise ConditionError(
            f"is {len(text)} characters long; at most {MAX_LENGTH} are read",
            text=text[:80],
            column=1,
            allowed=("a shorter condition",),
        )
    return _parse_cached(text)


@lru_cache(maxsize=1024)
def _parse_cached(text: str) -> Condition:
    root = _Parser(text).parse()
    return Condition(text, root)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokens())
        self.at = 0
        self.depth = 0
        self.items = 0

    def parse(self) -> Node:
        node = self._truth(self._either)
        if self._peek().kind != "end":
            self._fail(self._peek(), _AFTER_OPERAND)
        return node

    # tokens

    def _tokens(self) -> Iterator[_Token]:
        at = 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                self._refuse(at + 1, self._unknown_sign(at), ())
            if match.lastgroup != "space":
                yield self._token(match, at + 1)
            at = match.end()
        yield _Token(
            kind="end",
            text="",
            column=len(self.text) + 1,
        )

    def _token(self, match: re.Match[str], column: int) -> _Token:
        text = match[0]
        kind = str(match.lastgroup)
        if kind in {"number", "text"} and len(text) > MAX_LITERAL:
            problem = f"a literal of {len(text)} characters; at most {MAX_LITERAL} are read"
            self._refuse(column, problem, ())
        if kind == "name" and text in _KEYWORDS:
            kind = "word"
        return _Token(
            kind=kind,
            text=text,
            column=column,
        )

    def _unknown_sign(self, at: int) -> str:
        sign = self.text[at]
        if sign in "\"'":
            return "this text has no closing quotation mark"
        hints = {
            "=": "equality is ==",
            "=>": "did you mean >= or <=?",
            "=<": "did you mean >= or <=?",
            "&": "write: and",
            "|": "write: or",
            "!": "write: not",
        }
        hint = hints.get(self.text[at : at + 2]) or hints.get(sign)
        return f"{sign!r} has no meaning here" + (f" ({hint})" if hint else "")

    def _peek(self) -> _Token:
        return self.tokens[self.at]

    def _take(self, *texts: str) -> _Token | None:
        token = self._peek()
        if token.kind in ("sign", "word") and token.text in texts:
            self.at += 1
            return token
        return None

    def _refuse(self, column: int, problem: str, allowed: tuple[str, ...]) -> NoReturn:
        raise ConditionError(
            problem,
            text=self.text,
            column=column,
            allowed=allowed,
        )

    def _fail(self, token: _Token, allowed: tuple[str, ...]) -> NoReturn:
        problem = "it ends too early"
        if token.text:
            problem = f"unexpected {token.text[:40]!r}"
        self._refuse(token.column, problem, allowed)

    # grammar

    def _nested(self, rule: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
            self._refuse(self._peek().column, problem, ("a flatter condition",))
        node = rule()
        self.depth -= 1
        return node

    def _truth(self, rule: Callable[[], Node]) -> Node:
        start = self._peek()
        node = rule()
        self._must_be_truth(node, start)
        return node

    def _must_be_truth(self, node: Node, start: _Token) -> None:
        if isinstance(node, Literal) and not isinstance(node.value, bool):
            self._refuse(
                start.column,
                "a bare value is neither true nor false",
                ("name.success", "a comparison", "true", "false"),
            )

    def _chain(self, word: str, rule: Callable[[], Node]) -> tuple[Node, ...]:
        start = self._peek()
        items = [rule()]
        while self._take(word):
            self._must_be_truth(items[0], start)
            items.append(self._truth(rule))
        return tuple(items)

    def _either(self) -> Node:
        items = self._chain("or", self._both)
        if len(items) == 1:
            return items[0]
        return Either(items)

    def _both(self) -> Node:
        items = self._chain("and", self._negation)
        if len(items) == 1:
            return items[0]
        return Both(items)

    def _negation(self) -> Node:
        if self._take("not"):
            return Not(self._nested(lambda: self._truth(self._negation)))
        return self._comparison()

    def _comparison(self) -> Node:
        first = left = self._operand()
        links: list[tuple[str, Node]] = []
        while True:
            column = self._peek().column
            sign = self._comparison_sign()
            if sign is None:
                break
            right = self._operand()
            self._refuse_nonsense(sign, left, right, column)
            links.append((sign, right))
            left = right
        return Comparison(first, tuple(links)) if links else first

    def _refuse_nonsense(self, sign: str, left: Node, right: Node, column: int) -> None:
        """Refuse a comparison that cannot hold, whatever the tasks do."""
        if isinstance(left, Literal) and isinstance(right, Literal):
            if _compare(sign, left.value, right.value) is None:
                problem = f"{left.value!r} and {right.value!r} cannot be compared by {sign}"
                self._refuse(column, problem, ("values of one kind",))
        elif sign in {"==", "!="}:
            self._refuse_unknown_status(left, right, column)
            self._refuse_unknown_status(right, left, column)

    def _refuse_unknown_status(self, one: Node, other: Node, column: int) -> None:
        if not isinstance(one, Reference) or not isinstance(other, Literal):
            return
        if one.attribute != "status" or not isinstance(other.value, str):
            return
        statuses = [str(status) for status in TaskStatus]
        if other.value not in statuses:
            allowed = tuple(f'"{status}"' for status in statuses)
            self._refuse(column, f"{other.value!r:.60} is not a status", allowed)

    def _comparison_sign(self) -> str | None:
        following = [token.text for token in self.tokens[self.at : self.at + _MOST_WORDS]]
        for words in _COMPARE_WORDS:
            if following[: len(words)] == words:
                self.at += len(words)
                return " ".join(words)
        return None

    def _operand(self) -> Node:
        self._count()
        token = self._peek()
        if self._take("("):
            node = self._nested(self._either)
            if not self._take(")"):
                self._fail(self._peek(), (")", "and", "or", "a comparison"))
            return node
        if token.kind == "name":
            self.at += 1
            return self._reference(token)
        if self._take("["):
            return self._list()
        return Literal(self._literal())

    def _count(self) -> None:
        self.items += 1
        if self.items > MAX_ITEMS:
            problem = f"more than {MAX_ITEMS} operands"
            self._refuse(self._peek().column, problem, ("a shorter condition",))

    def _list(self) -> Node:
        values: list[JsonValue] = []
        while not self._take("]"):
            self._count()
            values.append(self._literal())
            if not self._take(",") and self._peek().text != "]":
                self._fail(self._peek(), (",", "]"))
        return Literal(values)

    def _literal(self) -> JsonValue:
        token = self._peek()
        self.at += 1
        if token.kind == "number":
            return self._number(token)
        if token.kind == "text":
            return self._unescape(token)
        if token.kind != "word" or token.text not in _CONSTANTS:
            self._fail(token, _OPERANDS)
        return _CONSTANTS[token.text]

    def _number(self, token: _Token) -> int | float:
        if token.text.lstrip("-").isdigit():
            return int(token.text)
        value = float(token.text)
        if value in (float("inf"), float("-inf")):
            self._refuse(token.column, f"{token.text} is too large for a number", ())
        return value

    def _unescape(self, token: _Token) -> str:
        def replace(match: re.Match[str]) -> str:
            char = match[1]
            if char not in _ESCAPES:
                column = token.column + match.start() + 1
                known = tuple(f"\\{escape}" for escape in _ESCAPES)
                self._refuse(column, f"unknown escape \\{char}", known)
            return _ESCAPES[char]

        return re.sub(r"\\(.)", replace, token.text[1:-1], flags=re.DOTALL)

    def _refuse_function(self, name: _Token) -> None:
        """Refuse what looks like a call, with the way to say it."""
        if self._peek().text != "(":
            return
        advice = "compare an output, such as name.outputs.count > 3"
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else name
        if name.text in ATTRIBUTES and following.kind == "name":
            advice = f"write {following.text}.{name.text}"
        problem = f"there are no functions, such as {name.text[:40]!r}, in conditions; {advice}"
        self._refuse(name.column, problem, ())

    def _reference(self, name: _Token) -> Node:
        self._refuse_function(name)
        if not self._take("."):
            column = name.column + len(name.text)
            attributes = tuple(f".{attribute}" for attribute in ATTRIBUTES)
            self._refuse(column, f"{name.text!r} alone says nothing", attributes)
        attribute = self._attribute(name.text)
        path = tuple(self._path()) if attribute == "outputs" else ()
        if self._peek().text == "(":
            problem = f"there is nothing to call; write {name.text}.{attribute} without brackets"
            self._refuse(self._peek().column, problem, _AFTER_OPERAND)
        if self._peek().text in {".", "["}:
            problem = f"nothing can be taken from {attribute!r}"
            self._refuse(self._peek().column, problem, _AFTER_OPERAND)
        return Reference(
            name=name.text,
            attribute=attribute,
            path=path,
            column=name.column,
        )

    def _attribute(self, name: str) -> str:
        token = self._peek()
        if token.text not in ATTRIBUTES:
            hint = ""
            if token.kind == "name":
                hint = f"; what it hands in is {name}.outputs.{token.text[:40]}"
            similar = similar_names(token.text, [*ATTRIBUTES, "completed"])
            if similar:
                meant = "success" if similar == ["completed"] else similar[0]
                hint = f", did you mean {meant}?"
            problem = f"a task has no attribute {token.text[:40]!r}{hint}"
            self._refuse(token.column, problem, ATTRIBUTES)
        self.at += 1
        return token.text

    def _path(self) -> Iterator[str | int]:
        while True:
            self._count()
            if self._take("."):
                yield self._key()
            elif self._take("["):
                yield self._index()
            else:
                return

    def _key(self) -> str:
        token = self._peek()
        if token.kind not in ("name", "word"):
            self._fail(token, ("the name of an output",))
        self.at += 1
        return token.text

    def _index(self) -> str | int:
        token = self._peek()
        value = self._literal()
        if not isinstance(value, str | int) or isinstance(value, bool):
            allowed = ("a whole number", "a text in quotes")
            self._refuse(token.column, f"{token.text} is not an index", allowed)
        if not self._take("]"):
            self._fail(self._peek(), ("]",))
        return value


# --- deciding ---------------------------------------------------------------


def decide(condition: Condition, tasks: Mapping[str, Task]) -> Truth:
    """Decide as far as the tasks have come.

    Args:
        condition: What to decide.
        tasks: By the names that the condition uses.

    Returns:
        True or False, which no later state of the same attempts changes; ``None`` for unknown.
    """
    return _truth_of(condition.root, tasks)


@attrs.frozen(kw_only=True)
class MissingOutput:
    """An output that a condition reads, of a task that has ended without it."""

    name: str
    """The task, as the condition calls it."""
    status: TaskStatus
    """How the task ended."""
    key: str | int
    """What is missing."""
    present: tuple[str, ...]
    """What is there instead; empty where nothing is."""

    def __str__(self) -> str:
        has = ", ".join(self.present[:_MOST_SHOWN]) or "nothing"
        similar = similar_names(str(self.key), self.present)
        meant = f"did you mean {similar[0]!r}? " if similar else ""
        ended = "" if self.status is TaskStatus.COMPLETED else f" is {self.status} and"
        return f"{self.name}{ended} has no output {self.key!r:.60} ({meant}it handed in {has:.200})"


_MOST_SHOWN: Final = 10
"""How many of the outputs that are there a sentence names."""


def missing_outputs(condition: Condition, tasks: Mapping[str, Task]) -> list[MissingOutput]:
    """Return the outputs that the condition reads and that will never come."""
    missing: dict[MissingOutput, None] = {}
    for reference in condition.references():
        task = tasks[reference.name]
        output = _missing_output(reference, task) if task.status.is_terminal else None
        if output is not None:
            missing[output] = None
    return list(missing)


def _missing_output(reference: Reference, task: Task) -> MissingOutput | None:
    """Return the first step of a reference that leads nowhere; ``None`` if it leads to a value."""
    if reference.attribute != "outputs":
        return None
    value: JsonValue = task.outputs
    for step in reference.path:
        inner = _output(value, (step,))
        if isinstance(inner, _Unknown):
            present = tuple(value) if isinstance(value, dict) else ()
            return MissingOutput(name=reference.name, status=task.status, key=step, present=present)
        value = inner
    return None


def undecided(condition: Condition, tasks: Mapping[str, Task]) -> tuple[str, ...]:
    """Return the names that keep the condition undecided; empty when it is decided."""
    names = _undecided(condition.root, tasks)
    return tuple(dict.fromkeys(names))


def _truth_of(node: Node, tasks: Mapping[str, Task]) -> Truth:
    match node:
        case Not(item):
            inner = _truth_of(item, tasks)
            return None if inner is None else not inner
        case Both(items):
            return _kleene((_truth_of(item, tasks) for item in items), decisive=False)
        case Either(items):
            return _kleene((_truth_of(item, tasks) for item in items), decisive=True)
        case Comparison():
            return _compare_chain(node, tasks)
        case _:
            value = _value_of(node, tasks)
            is_unclear = isinstance(value, _Unknown) or _is_a_no_in_words(value)
            return None if is_unclear else bool(value)


def _is_a_no_in_words(value: JsonValue) -> bool:
    """Tell whether a text says no: as any other text it would count as true."""
    return isinstance(value, str) and value.strip().casefold() in _NO_IN_WORDS


def _kleene(truths: Iterator[Truth], *, decisive: bool) -> Truth:
    result: Truth = not decisive
    for truth in truths:
        if truth is decisive:
            return decisive
        if truth is None:
            result = None
    return result


def _compare_chain(node: Comparison, tasks: Mapping[str, Task]) -> Truth:
    left = _value_of(node.first, tasks)
    result: Truth = True
    for sign, item in node.links:
        right = _value_of(item, tasks)
        truth = _compare(sign, left, right)
        if truth is False:
            return False
        if truth is None:
            result = None
        left = right
    return result


def _value_of(node: Node, tasks: Mapping[str, Task]) -> JsonValue | _Unknown:
    match node:
        case Literal(value):
            return value
        case Reference():
            return _fact(node, tasks[node.name])
        case _:
            truth = _truth_of(node, tasks)
            return _UNKNOWN if truth is None else truth


_ENDED_AS = {
    "success": TaskStatus.COMPLETED,
    "failed": TaskStatus.FAILED,
    "cancelled": TaskStatus.CANCELLED,
    "skipped": TaskStatus.SKIPPED,
}


def _fact(reference: Reference, task: Task) -> JsonValue | _Unknown:
    attribute = reference.attribute
    if attribute == "blocked" and task.was_blocked:
        return True  # having been blocked cannot be undone, so it may decide before the end
    if not task.status.is_terminal:
        return _UNKNOWN
    if attribute == "outputs":
        return _output(task.outputs, reference.path)
    if attribute in _ENDED_AS:
        return task.status is _ENDED_AS[attribute]
    facts = {
        "blocked": False,
        "done": True,
        "status": str(task.status),
        "attempts": task.attempts,
    }
    return facts[attribute]


def _output(value: JsonValue, path: tuple[str | int, ...]) -> JsonValue | _Unknown:
    for step in path:
        key = str(step) if isinstance(value, dict) else step
        try:
            value = value[key]
        except (LookupError, TypeError):
            return _UNKNOWN
    return value


def _compare(sign: str, left: JsonValue | _Unknown, right: JsonValue | _Unknown) -> Truth:
    if isinstance(left, _Unknown) or isinstance(right, _Unknown):
        return None
    try:
        return _COMPARE[sign](left, right)
    except (TypeError, RecursionError):
        return None


def _undecided(node: Node, tasks: Mapping[str, Task]) -> Iterator[str]:
    if _truth_of(node, tasks) is not None:
        return
    match node:
        case Not(item):
            yield from _undecided(item, tasks)
        case Both(items) | Either(items):
            for item in items:
                yield from _undecided(item, tasks)
        case _:
            for reference in _references(node):
                if isinstance(_fact(reference, tasks[reference.name]), _Unknown):
                    yield reference.name
                else:
                    # An incomparable pair, or "no" as a text: all is known, and nothing follows.
                    yield reference.name

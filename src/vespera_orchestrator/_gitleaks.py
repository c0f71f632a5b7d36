"""The rules of gitleaks, a scanner for secrets: read from its file, run on short pieces of text.

The file is part of the package ``secretscreen``, none of whose code runs. gitleaks is written in
Go, whose expressions never backtrack. Python's do. So each rule sees only the surroundings of its
keywords, in pieces of bounded size: a hostile text costs more, and never more than in proportion
to its length.
"""

from __future__ import annotations

import logging
import math
import re
import tomllib
from collections import Counter
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

log = logging.getLogger("vespera_orchestrator.secrets")
"""Not the logger of all others: that one masks its lines, for which it asks for these rules."""

PACKAGE: Final = "secretscreen"
_FILE: Final = "gitleaks.toml"
_BEFORE: Final = 120
"""How many characters before a keyword a rule may need."""
_AFTER: Final = 600
_PIECE_CHARS: Final = 1500
_LEAD: Final = r"[\w.-]{0,50}?"
"""What many rules allow before their keyword. It decides nothing, and costs nearly everything."""
_LEAD_CHARS: Final = re.compile(r"[\w.-]{0,50}\Z")
_HEAD: Final = "[[rules]]\n"
_RULE_HEAD: Final = re.compile(r"^[ \t]*\[\[[ \t]*rules[ \t]*\]\].*\n", re.MULTILINE)
_PLAIN_KEYWORDS: Final = re.compile(
    r"""^keywords = \[((?:\s*"[^"\\\n]*",?)*\s*)\]\s*$""", re.MULTILINE
)
"""The keywords of a rule as gitleaks writes them; those written otherwise are read as TOML."""
_PLAIN_WORD: Final = re.compile(r'"([^"]*)"')
_LEFT_OUT: Final = frozenset({"private-key", "curl-auth-header", "curl-auth-user"})
"""Rules about several lines.

They take a time that grows with the square of a text in Python. `_secrets` has its own for them.
"""


@attrs.frozen(kw_only=True)
class Match:
    """What a rule recognised."""

    rule: str
    """The name that gitleaks has for it."""
    start: int
    end: int


@attrs.define(kw_only=True, slots=False)
class _Exceptions:
    """What a rule's pattern matches, and what is no secret all the same."""

    target: str
    """Which text the patterns are about: ``secret``, ``match`` or ``line``."""
    sources: tuple[str, ...]
    words: tuple[str, ...]

    @cached_property
    def patterns(self) -> list[re.Pattern[str]]:
        return [re.compile(for_python(source)) for source in self.sources]

    def allow(self, *, secret: str, match: str, line: str) -> bool:
        text = {"match": match, "line": line}.get(self.target, secret)
        if any(pattern.search(text) for pattern in self.patterns):
            return True
        lowered = secret.lower()
        return any(word in lowered for word in self.words)

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> _Exceptions:
        return cls(
            target=table.get("regexTarget", "secret"),
            sources=tuple(table.get("regexes", ())),
            words=tuple(word.lower() for word in table.get("stopwords", ())),
        )


@attrs.define(kw_only=True, slots=False)
class Rule:
    """One rule. Its pattern is compiled when a text has one of its keywords for the first time."""

    name: str
    source: str
    least_entropy: float
    group: int
    exceptions: tuple[_Exceptions, ...]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(for_python(self.source))

    def matches(self, text: str, lowered: str, present: Iterable[str]) -> Iterator[Match]:
        """Find what the rule recognises around its keywords.

        Args:
            text: The text.
            lowered: The same, character for character, in lower case.
            present: The rule's keywords that it has.
        """
        for start, end in _pieces(lowered, present):
            piece = text[start:end]
            for match in self.pattern.finditer(piece):
                group = self._secret_group(match)
                if self._counts(match, group):
                    first, last = match.span(group)
                    yield Match(rule=self.name, start=start + first, end=start + last)

    def _secret_group(self, match: re.Match[str]) -> int:
        if self.group or not match.re.groups:
            return self.group
        filled = (number for number in range(1, match.re.groups + 1) if match[number])
        return next(filled, 0)

    def _counts(self, match: re.Match[str], group: int) -> bool:
        secret = match[group]
        if not secret or _entropy(secret) < self.least_entropy:
            return False
        piece = match.string
        line_start = piece.rfind("\n", 0, match.start()) + 1
        line_end = piece.find("\n", match.end())
        line = piece[line_start : line_end if line_end >= 0 else len(piece)]
        lead = _LEAD_CHARS.search(piece, max(0, match.start() - 50), match.start())
        whole = (lead[0] if lead else "") + match[0]
        return not any(
            each.allow(secret=secret, match=whole, line=line) for each in self.exceptions
        )


@attrs.define(kw_only=True, slots=False)
class _Entry:
    """One rule as it stands in the file. Nearly all texts have no use for most of them."""

    text: str
    keywords: tuple[str, ...]
    exceptions: _Exceptions
    """Those of all rules."""

    @cached_property
    def rule(self) -> Rule | None:
        """The rule; ``None`` for what is left out."""
        table = tomllib.loads(self.text)["rules"][0]
        is_of_use = table.get("regex") and table["id"] not in _LEFT_OUT
        return _rule(table, self.exceptions) if is_of_use else None


@attrs.frozen(kw_only=True)
class RuleBook:
    """All rules, by their keywords."""

    entries: tuple[_Entry, ...]
    keywords: tuple[str, ...]

    def matches(self, text: str, lowered: str) -> Iterator[Match]:
        """Find what any rule recognises; see `Rule.matches`."""
        present = {keyword for keyword in self.keywords if keyword in lowered}
        if not present:
            return
        for entry in self.entries:
            own = present.intersection(entry.keywords)
            if own and entry.rule is not None:
                yield from entry.rule.matches(text, lowered, own)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule, read now."""
        return tuple(entry.rule for entry in self.entries if entry.rule is not None)


@cache
def rule_book() -> RuleBook:
    """Return the rules, read once. Without the package there are none, which is logged."""
    file = _rules_file()
    if file is None:
        log.warning(
            "keys of most services are not recognised, and not masked: the package %s is missing; "
            "pip install %s",
            PACKAGE,
            PACKAGE,
        )
        return RuleBook(entries=(), keywords=())
    return _read(file.read_text(encoding="utf-8"))


def _rules_file() -> Path | None:
    spec = find_spec(PACKAGE)
    folders = (spec.submodule_search_locations if spec is not None else None) or ()
    files = (Path(folder) / _FILE for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _read(text: str) -> RuleBook:
    """Read of each rule only its keywords: a hook cannot wait for the whole file."""
    head, *rules = _RULE_HEAD.split(text)
    everywhere = _Exceptions.read(tomllib.loads(head).get("allowlist", {}))
    entries = tuple(
        _Entry(text=_HEAD + rule, keywords=_keywords(_HEAD + rule), exceptions=everywhere)
        for rule in rules
    )
    keywords = dict.fromkeys(keyword for entry in entries for keyword in entry.keywords)
    return RuleBook(entries=entries, keywords=tuple(keywords))


def _keywords(entry: str) -> tuple[str, ...]:
    """Return the keywords of one rule, in lower case."""
    plain = _PLAIN_KEYWORDS.search(entry)
    if plain is not None:
        words = _PLAIN_WORD.findall(plain[1])
    else:
        words = tomllib.loads(entry)["rules"][0].get("keywords", ())
    return tuple(word.lower() for word in words)


def _rule(table: Mapping[str, Any], everywhere: _Exceptions) -> Rule:
    own = tuple(_Exceptions.read(each) for each in table.get("allowlists", ()))
    return Rule(
        name=table["id"],
        source=table["regex"],
        least_entropy=table.get("entropy", 0.0),
        group=table.get("secretGroup", 0),
        exceptions=(everywhere, *own),
    )


def _pieces(lowered: str, keywords: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Return the surroundings of the keywords, those that overlap as one, up to a size."""
    spans = sorted(_surroundings(lowered, keywords))
    start = end = -1
    for first, last in spans:
        if first <= end and last - start <= _PIECE_CHARS:
            end = last
            continue
        if end >= 0:
            yield start, end
        start, end = first, last
    if end >= 0:
        yield start, end


def _surroundings(lowered: str, keywords: Iterable[str]) -> Iterator[tuple[int, int]]:
    for keyword in keywords:
        place = lowered.find(keyword)
        while place >= 0:
            yield max(0, place - _BEFORE), min(len(lowered), place + _AFTER)
            # What stands directly after it is in the same piece.
            place = lowered.find(keyword, place + max(len(keyword), _BEFORE))


def _entropy(text: str) -> float:
    """Return how many bits a character of *text* has, by Shannon."""
    shares = (count / len(text) for count in Counter(text).values())
    return -sum(share * math.log2(share) for share in shares)


_FLAG: Final = "(?i)"


def for_python(source: str) -> str:
    """Write an expression of Go as one of Python.

    ``(?i)`` holds in Go from where it stands to the end of its group, in all its alternatives.
    """
    source = source.replace(_LEAD, "")
    text: list[str] = []
    open_flags = [0]
    place = 0
    while place < len(source):
        part = _part_at(source, place)
        place += len(part)
        if part == _FLAG:
            open_flags[-1] += 1
            text.append("(?i:")
        elif part == "|" and open_flags[-1]:
            text.append(")" * open_flags[-1] + "|" + "(?i:" * open_flags[-1])
        elif part == "(":
            open_flags.append(0)
            text.append(part)
        elif part == ")":
            text.append(")" * open_flags.pop() + part)
        else:
            text.append(r"\Z" if part == r"\z" else part)
    return "".join(text) + ")" * open_flags[0]


def _part_at(source: str, place: int) -> str:
    """Return the flag, the escape, the class or the character that stands at a place."""
    if source.startswith(_FLAG, place):
        return _FLAG
    if source[place] == "\\":
        return source[place : place + 2]
    if source[place] != "[":
        return source[place]
    end = place + 1 + source.startswith("^", place + 1)
    end += source.startswith("]", end)
    while source[end] != "]":
        end += 2 if source[end] == "\\" else 1
    return source[place : end + 1]

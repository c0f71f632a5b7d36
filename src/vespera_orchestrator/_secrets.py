"""Keys and passwords in a text: where they are, and the text without them.

Three kinds are recognised: keys of services, by the rules of gitleaks; keys that begin with a
well-known prefix, whatever their length; and what stands beside the word *password*, in an
address, or in a block that calls itself a private key.

Digests, commits, UUIDs and ids of ours are never taken for one, whatever stands beside them.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._gitleaks import rule_book

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

log = logging.getLogger("vespera_orchestrator")

_MARK: Final = "[masked: {}]"
_PLAUSIBLE: Final = re.compile(r"\S{16}|(?i:pass|pwd|secret)|-----BEGIN")
"""A text without any of these holds no secret; nearly all titles and sentences have none."""

_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN(?P<name>[A-Z0-9 _-]{0,40}PRIVATE KEY(?: BLOCK)?)-----"
    r"(?:(?s:.)*?-----END(?P=name)-----|(?s:.)*)"
)
"""To its end; where that was cut off, to the end of the text."""
_PREFIXED: Final = re.compile(
    r"""(?<![A-Za-z0-9_])(?:
      (?P<openai_or_anthropic_key>
        sk-(?:proj-|ant-|svcacct-|or-)?(?=[a-zA-Z_-]{0,40}[0-9])[\w-]{20,} )
    | (?P<github_token> gh[pousr]_[A-Za-z0-9]{20,} | github_pat_\w{22,} )
    | (?P<gitlab_token> gl(?:pat|ptt|dt|rt|cbt|soat|agent|oas)-[\w-]{20,} )
    | (?P<aws_key> (?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9]) )
    | (?P<slack_token> xox[abeoprs]-[\w-]{10,} | xapp-[\w-]{20,} )
    | (?P<stripe_key> [rs]k_(?:live|test|prod)_[A-Za-z0-9]{10,} )
    | (?P<google_key> AIza[\w-]{30,} | ya29\.[\w-]{20,} )
    | (?P<hugging_face_token> hf_[A-Za-z0-9]{30,} )
    | (?P<package_index_token> npm_[A-Za-z0-9]{36,} | pypi-AgE[\w-]{40,} )
    | (?P<sendgrid_key> SG\.[\w-]{16,}\.[\w-]{16,} )
    | (?P<json_web_token> eyJ[\w-]{10,}\.eyJ[\w-]{10,}(?:\.[\w-]*)? )
    )""",
    re.VERBOSE,
)
_ADDRESS: Final = re.compile(
    r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@'\"<>]{0,100}:"
    r"(?P<password_in_an_address>[^\s/@'\"<>]{1,200})@"
)
_BEARER: Final = re.compile(
    r"(?i:authorization)[\"']?\s{0,5}[:=]\s{0,5}[\"']?(?i:bearer|basic|token)\s{1,5}"
    r"(?P<authorization>[A-Za-z0-9._~+/=-]{8,})"
)
_ASSIGNED: Final = re.compile(
    r"""(?i:pass(?:word|wd|phrase)|pwd)\\?["'`]?[ \t]{0,5}(?:=|:|=>|:=)[ \t]{0,5}
    (?: \\?(?P<mark>["'`])(?P<password>[^"'`\r\n\\]{3,200})\\?(?P=mark)
      | (?P<bare_password>(?:[^\s"'`,;&<>(){}\[\]\\|]|&(?!\w{1,40}=)){4,200})(?![(\[])
    )""",
    re.VERBOSE,
)
_NAMED: Final = re.compile(
    r"""(?i:secret|api|access|auth|private|client)[_-]?(?i:secret|key|token)\\?["'`]?
    [ \t]{0,5}(?:=|:|=>|:=)[ \t]{0,5}
    \\?(?P<mark>["'`])(?P<key>(?=[^"'`\r\n\\]{0,199}[0-9])[^"'`\s\\]{8,200})\\?(?P=mark)""",
    re.VERBOSE,
)
_AWS_SECRET: Final = re.compile(
    r"(?i:secret_?access_?key)\\?[\"']?\s{0,5}[=:]\s{0,5}\\?[\"']?"
    r"(?P<aws_secret_key>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])"
)
_OWN: Final = (_PRIVATE_KEY, _PREFIXED, _ADDRESS, _BEARER, _ASSIGNED, _NAMED, _AWS_SECRET)
_NOT_A_NAME: Final = frozenset({"name", "mark"})

_NAME_OF_SOMETHING: Final = re.compile(
    r"""(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{56}|(?:[0-9a-fA-F]{32}){2,4})  # digests
    | [0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}                            # UUIDs
    | [a-z]_[0-9a-hjkmnp-tv-z]{12}                                                    # our ids
    | (?i:sha)-?[0-9]{1,3}[:=-].*                                 # digests that say which
    | \[masked:.* | \[forgotten\]
    """,
    re.VERBOSE | re.DOTALL,
)
_NUMBER: Final = re.compile(r"[0-9a-fA-F]{6,128}|[0-9.,_:-]+")
"""Short commits, numbers and times; not where a text says that they are a password."""
_PASSWORDS: Final = frozenset({"password", "password-in-an-address"})
_DIGEST_NAME: Final = re.compile(r"(?i)(?:sha-?[0-9]{1,3}|md5|blake[0-9][bs]?)[:=-]\Z")
_PLACEHOLDER: Final = re.compile(
    r"""[*x.•…_-]+ | [$%@].* | \{.* | <.* | .*\$\{.* | .*\.\.\. .* | .*[…*]{3,}
    | (?i:your|my|the|some|change|example|none|null|true|false|str|string|text|bytes|required
      |optional|hidden|masked|redacted|password|passwd|secret)(?:[ _-].*|me)?
    """,
    re.VERBOSE | re.DOTALL,
)
"""What stands where a password will be."""
_EXPRESSION: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[A-Z][A-Z_]*|[a-z_]+")
"""Code or a word, where a password without quotation marks might be."""


@attrs.frozen(kw_only=True)
class Secret:
    """A place in a text that holds what looks like a key or a password."""

    kind: str
    """What it is, such as ``github-token``."""
    start: int
    end: int


def mask(text: str) -> str:
    """Return *text* with ``[masked: kind]`` in the place of every secret.

    A text without any is returned as it is. It takes time in proportion to the length, whatever
    the text: a quarter of a second for a megabyte of code, ten times that where every word is
    *key*.
    """
    return _without(text, find_secrets(text))


def _without(text: str, secrets: Iterable[Secret]) -> str:
    """Return *text* with a mark in the place of each of the secrets that were found in it."""
    parts: list[str] = []
    place = 0
    for secret in secrets:
        parts += (text[place : secret.start], _MARK.format(secret.kind))
        place = secret.end
    return "".join([*parts, text[place:]])


def mask_and_warn(text: str, subject: str) -> str:
    """Do as `mask`, and log what *subject* holds, once in a process.

    Args:
        text: The text.
        subject: What it is from, such as ``artifact a_…``, and how a person finds it.
    """
    secrets = find_secrets(text)
    if secrets:
        _warn(subject, _kinds(secrets))
    return _without(text, secrets)


@lru_cache(maxsize=4096)
def _warn(subject: str, kinds: tuple[str, ...]) -> None:
    # The cache is what makes it once.
    log.warning(
        "%s holds what looks like a secret (%s): it is masked where it is shown, and kept as it is "
        "in the record; replace the key, and see orch.artifacts.forget",
        subject,
        ", ".join(kinds),
    )


def mask_value(name: str, value: str) -> str:
    """Do as `mask` for a value that *name* may call a password or a key."""
    masked = mask(value)
    if masked != value or '"' in value:
        return masked
    head = f'"{name}": "'
    for secret in find_secrets(f'{head}{value}"'):
        if secret.start >= len(head):
            return _MARK.format(secret.kind)
    return value


def find_secrets(text: str) -> tuple[Secret, ...]:
    """Return what looks like a secret, in the order of the text, without overlaps."""
    if _PLAUSIBLE.search(text) is None:
        return ()
    # A text is fitted into a budget in several tries, and each of them shows most of it again.
    return _remembered(text) if len(text) <= _REMEMBERED_CHARS else _find(text)


def _find(text: str) -> tuple[Secret, ...]:
    lowered = _lowered(text)
    candidates = [*_by_own_patterns(text), *_by_rules(text, lowered)]
    return tuple(_apart(each for each in candidates if not _is_harmless(text, each)))


_REMEMBERED_CHARS: Final = 50_000
_remembered = lru_cache(maxsize=32)(_find)


def kinds_of(text: str) -> tuple[str, ...]:
    """Return which kinds of secrets *text* holds, each once."""
    return _kinds(find_secrets(text))


def _kinds(secrets: Iterable[Secret]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(secret.kind for secret in secrets))


def _by_own_patterns(text: str) -> Iterator[Secret]:
    for pattern in _OWN:
        for match in pattern.finditer(text):
            group = _filled_group(match)
            value = match[group]
            if pattern is _PRIVATE_KEY:
                yield Secret(kind="private-key", start=match.start(), end=match.end())
            elif group == "bare_password" and not _is_bare_password(value):
                continue
            elif pattern is _PREFIXED or not _PLACEHOLDER.fullmatch(value):
                kind = group.removeprefix("bare_").replace("_", "-")
                yield Secret(kind=kind, start=match.start(group), end=match.end(group))


def _filled_group(match: re.Match[str]) -> str:
    names = (name for name, value in match.groupdict().items() if value and name not in _NOT_A_NAME)
    return next(names, "name")


def _is_bare_password(value: str) -> bool:
    """Tell whether a value without quotation marks is more than a word, and no code."""
    if _EXPRESSION.fullmatch(value.rstrip(".")) is not None:
        return False
    return any(character.isdigit() for character in value)


def _by_rules(text: str, lowered: str) -> Iterator[Secret]:
    for match in rule_book().matches(text, lowered):
        yield Secret(kind=match.rule, start=match.start, end=match.end)


def _is_harmless(text: str, secret: Secret) -> bool:
    value = text[secret.start : secret.end].strip("\"'` ")
    if _NAME_OF_SOMETHING.fullmatch(value) is not None:
        return True
    if secret.kind not in _PASSWORDS and _NUMBER.fullmatch(value) is not None:
        return True
    before = text[max(0, secret.start - 12) : secret.start]
    return _DIGEST_NAME.search(before) is not None


def _apart(secrets: Iterable[Secret]) -> list[Secret]:
    """Join those that overlap, under the name of the first."""
    joined: list[Secret] = []
    for secret in sorted(secrets, key=lambda each: (each.start, -each.end)):
        if joined and secret.start < joined[-1].end:
            longer = max(joined[-1].end, secret.end)
            joined[-1] = attrs.evolve(joined[-1], end=longer)
        else:
            joined.append(secret)
    return joined


def _lowered(text: str) -> str:
    """Return *text* in lower case, character for character."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(each.lower() if each.isascii() else each for each in text)

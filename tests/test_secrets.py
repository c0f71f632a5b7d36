"""Keys and passwords are recognised, and nothing else is, in time proportional to the text."""

from __future__ import annotations

import hashlib
import re
import time
import tomllib
import uuid
from importlib.util import find_spec

import pytest

from vespera_orchestrator import _gitleaks
from vespera_orchestrator._gitleaks import for_python, rule_book
from vespera_orchestrator._secrets import find_secrets, kinds_of, mask, mask_and_warn, mask_value
from vespera_orchestrator._text import beginning, clip, one_line

ALPHABET = "aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gH3jK5lM7nP9rS1tV3xY5bC7dF9gJ2kL4mQ6wR8"
DIGEST = hashlib.sha256(b"text").hexdigest()
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{ALPHABET}\n{ALPHABET}\n-----END RSA PRIVATE KEY-----"

SECRETS = {
    "an Anthropic key": f"sk-ant-api03-{ALPHABET}",
    "an OpenAI key": f"sk-proj-{ALPHABET}",
    "a GitHub token": f"ghp_{ALPHABET[:36]}",
    "a fine-grained GitHub token": f"github_pat_{ALPHABET}",
    "a GitLab token": f"glpat-{ALPHABET[:20]}",
    "an AWS key": "AKIA" + "QWERTZUIOP234567",
    "a Google key": f"AIza{ALPHABET[:35]}",
    "a Slack token": f"xoxb-123456789012-{ALPHABET[:24]}",
    "a Stripe key": f"sk_live_{ALPHABET[:24]}",
    "a DigitalOcean token": f"dop_v1_{DIGEST}",
    "a web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN",
    "a private key": PEM,
    "a private key that is cut off": PEM[:90],
}
ASSIGNED = [
    ("postgresql://ada:{}@db.example/app", "s3cr&t"),
    ("host=db user=ada password={} dbname=app", "s3cret"),
    ("PGPASSWORD={} psql", "hunter2"),
    ('{{"password": "{}"}}', "correct horse"),
    ("password: {}", "tr0ub4dor&3"),
    ("Authorization: Bearer {}", "abcdefgh12345678"),
    ("aws_secret_access_key = {}", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ('api_key = "{}"', ALPHABET[:32]),
    ("https://x.example/?user=1&password={}&page=2", "hunter2"),
]
HARMLESS = [
    "commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "token = 3f786850e387550fdab836ed7e6dc881de23001b",
    "password: 3f786850e387550fdab836ed7e6dc881de23001b",
    f"secret: {DIGEST}",
    f"api_key = '{uuid.UUID(DIGEST[:32])}'",
    "token: t_j2t9vrnxr61z, key: a_g6km5ak95s4z",
    "sha512-v2kDEe57lecTulaDIuNTPy3Ry4gLGJ6Z1O3vE1krgXZNrsQ+LFTGHVxVjcXPs17LhbZVGedAJv8XZ1tvj5FvSg==",
    'api_key = os.environ["API_KEY"]',
    "password = get_password(user)",
    "def connect(user: str, password: str) -> None:",
    "def connect(user, password=None):",
    "password=$DB_PASSWORD password=${DB_PASSWORD} password=<yours> password=***",
    "connect(password=settings.database.password)",
    'token = "identifier"; primary_key = "customer_identifier_2"',
    "task-force-of-many-people-2024 risk-of-rain-is-2-percent-today",
    "http://user@host:8080/x and https://example.com:443/@me",
    "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8",
]


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_key_is_masked(secret):
    """Wherever it stands; the rest of the text stays as it is."""
    masked = mask(f"Before, {secret}\nafter.")
    assert re.fullmatch(r"Before, \[masked: [a-z0-9-]+\]\n?(after\.)?", masked)


@pytest.mark.parametrize(("text", "secret"), ASSIGNED)
def test_a_password_is_masked_and_what_stands_around_it_is_not(text, secret):
    """The name, the quotation marks and the rest of an address can still be read."""
    masked = mask(text.format(secret))
    kinds = kinds_of(text.format(secret))
    assert masked == text.format(f"[masked: {kinds[0]}]")


@pytest.mark.parametrize("text", HARMLESS)
def test_nothing_else_is_masked(text):
    """Commits, digests, UUIDs, our ids, code and placeholders stay, whatever stands beside them."""
    assert mask(text) == text


def test_masking_twice_changes_nothing():
    """A text that went through one door may go through another."""
    texts = [*SECRETS.values(), *(text.format(secret) for text, secret in ASSIGNED)]
    once = mask("\n".join(texts))
    assert mask(once) == once


def test_a_value_is_masked_for_its_name():
    """What an output is called may be all that says what it is."""
    assert mask_value("db_password", "correct horse") == "[masked: password]"
    assert mask_value("password", "") == ""
    assert mask_value("note", "correct horse") == "correct horse"


@pytest.mark.parametrize("cut", [lambda t: clip(t, 20), lambda t: beginning(t, 20), one_line])
def test_a_cut_leaves_no_half_of_a_key(cut):
    """The half would not be recognised, and so be shown."""
    text = f"{'word ' * 10}{SECRETS['an Anthropic key']} and more {'word ' * 50}"
    assert "sk-ant" not in mask(cut(text))


def test_letters_that_grow_in_lower_case_move_nothing():
    """The place of a key is its place in the text, not in a text in lower case."""
    assert mask(f"İİİİ dop_v1_{DIGEST} end") == "İİİİ [masked: digitalocean-pat] end"


def test_the_warning_names_what_holds_the_secret_once(caplog):
    """Not at every look at it."""
    for _ in range(2):
        mask_and_warn(PEM, "artifact a_example")
    [record] = caplog.records
    assert "artifact a_example holds what looks like a secret (private-key)" in record.getMessage()
    assert "orch.artifacts.forget" in record.getMessage()


# --- the rules of gitleaks --------------------------------------------------------


@pytest.mark.parametrize(
    ("go", "python"),
    [
        ("a(?i)b", "a(?i:b)"),
        ("(a(?i)b|c)d", "(a(?i:b)|(?i:c))d"),
        (r"(?i)[(?i)|]\(\z", r"(?i:[(?i)|]\(\Z)"),
        (r"[\w.-]{0,50}?(?:key)", "(?:key)"),
        (r"[]|](?i)x", r"[]|](?i:x)"),
    ],
)
def test_expressions_of_go_are_written_for_python(go, python):
    """A flag holds to the end of its group, in every alternative, and not inside of a class."""
    assert for_python(go) == python


def test_every_rule_can_be_compiled():
    """The file of another release may hold what this module does not know yet."""
    assert len(rule_book().rules) > 150
    for rule in rule_book().rules:
        assert rule.pattern.groups >= rule.group
        for each in rule.exceptions:
            assert len(each.patterns) == len(each.sources)


def test_rules_are_read_when_a_text_has_one_of_their_keywords():
    """A hook cannot wait for all; and read by and by they are the same as read at once."""
    tables = tomllib.loads(_gitleaks._rules_file().read_text(encoding="utf-8"))["rules"]
    names = [each["id"] for each in tables if each.get("regex") and each.get("keywords")]
    entries = _gitleaks._read(_gitleaks._rules_file().read_text(encoding="utf-8")).entries
    assert not any("rule" in vars(each) for each in entries)
    read = [each.rule.name for each in entries if each.keywords and each.rule is not None]
    assert read == [name for name in names if name not in _gitleaks._LEFT_OUT]
    for entry, table in zip(entries, tables, strict=True):
        assert entry.keywords == tuple(word.lower() for word in table.get("keywords", ()))


@pytest.mark.parametrize("keywords", ['["Ab", "c"]', "['Ab',\n  'c']", '["\\u0041b", "c"]'])
def test_keywords_may_be_written_in_any_way(keywords):
    """The file of another release need not be written as this one is."""
    head = "[allowlist]\nregexes = []\n\n[[ rules ]]\nid = 'x'\nregex = 'ab.'\n"
    [entry] = _gitleaks._read(f"{head}keywords = {keywords}\n").entries
    assert (entry.keywords, entry.rule.name) == (("ab", "c"), "x")


def test_without_the_package_it_is_said(monkeypatch, caplog):
    """What the library knows by itself is masked all the same."""
    rule_book.cache_clear()
    monkeypatch.setattr(_gitleaks, "find_spec", lambda _: None)
    try:
        assert mask(f"x ghp_{ALPHABET[:36]}") == "x [masked: github-token]"
    finally:
        rule_book.cache_clear()
    assert "pip install secretscreen" in caplog.text
    assert find_spec("secretscreen") is not None


HOSTILE = [
    "password=", 'password="', "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "sk-", "a://b:", "a://",
    "pwd     ", "authorization: bearer ", 'api_key="', "password=a.a.a.a", "eyJaaaaaaaaaaa.",
    "okta ", "sumo", "co_api_key=", "key = 'aB3", "curl -H ", "token.token-", "x" * 30, "İ",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_no_text_takes_more_than_in_proportion_to_its_length(unit):
    """Eight times the text takes far less than sixty-four times as long."""

    def cpu_s(size: int) -> float:
        text = (unit * size)[:size]
        start = time.process_time()
        find_secrets(text)
        return time.process_time() - start

    cpu_s(100)
    short, long = cpu_s(4_000), cpu_s(32_000)
    assert long < 24 * short + 0.2

"""An export that somebody has edited is taken in whole and sound, or refused as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from support.bounds import Tally
from vespera_orchestrator._model import FindingKind
from vespera_orchestrator.errors import InvalidInputError, SessionNotFoundError

VALUES = [
    None, "", "zz", "../../x", "/etc", "refs/heads/main", "\x1b[2J", "a\0b", "\ud800", "x" * 5000,
    -1, 0, 2**62, 2**70, 1e300, True, [], {}, [1], {"a": 1}, [["a"]], "[1]", "9999-99-99",
    "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00", "completed", "in_progress",
]  # fmt: skip
LEFT_OUT = object()


@cache
def exported_lines():
    """Return the lines of an export with a row in most tables, without the last one."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.jsonl")
        with vespera.open(Path(folder), durability="normal") as orch:
            orch.initialize_session("x", project_type="software_development", context={"k": 1})
            specs = [
                {"title": "A"},
                {"title": "B", "dependencies": ["a"], "condition": "a.success"},
            ]
            orch.plan_tasks(specs)
            work = orch.execute_task("a")
            work.checkpoint({"s": 1}, "n")
            work.complete(summary="s", detailed_work="d", outputs={"x": 1})
            work = orch.execute_task("b")
            work.briefing()
            work.fail("no")
            orch.share_context(port=1)
            orch.resume()
            orch.pause("later")
            orch.export(file)
        return tuple(json.loads(line) for line in file.read_bytes().splitlines()[:-1])


def write_export(file, lines):
    """Write lines as an export whose digest is right."""
    write_lines(file, [json.dumps(line, ensure_ascii=True).encode() + b"\n" for line in lines])


def write_lines(file, text):
    """Write lines of bytes as an export whose digest is right."""
    end = {"end": True, "lines": len(text), "sha256": hashlib.sha256(b"".join(text)).hexdigest()}
    file.write_bytes(b"".join([*text, json.dumps(end).encode() + b"\n"]))


def take_in(lines, tally):
    """Take an export into a new home, and look at all that it brought."""
    with tempfile.TemporaryDirectory() as folder:
        write_export(Path(folder, "x.jsonl"), lines)
        with vespera.open(folder, durability="normal") as orch:
            report = tally.call("import", orch.import_, Path(folder, "x.jsonl"))
            if report is None:
                assert orch.list_sessions() == []
                return
            # Only contents may be missing, and only if the import or the export has said so.
            may_lack = bool(report.problems) or lines[0].get("contents") is not True
            errors = {finding.kind for finding in tally.call("check", orch.check).errors}
            assert errors <= ({FindingKind.CONTENT} if may_lack else set())
            with contextlib.suppress(SessionNotFoundError):
                orch.current_session()
                look_at_all(orch, tally)


def look_at_all(orch, tally):
    """Make the calls that read what was taken in; all of them work."""
    looks = (orch.resume, orch.next_step, orch.get_status, orch.artifacts.list)
    answers = [tally.call(look.__name__, look) for look in looks]
    assert None not in answers
    for task in tally.call("query_tasks", orch.query_tasks, limit=None):
        assert str(tally.call("why", orch.why, task))
    assert all(str(answer) for answer in answers)
    assert tally.call("plan_task", orch.plan_task, "one more")


@st.composite
def edits(draw):
    """Return the lines after one edit of one field, or one more field."""
    lines = [dict(line) for line in exported_lines()]
    line = draw(st.sampled_from(lines))
    name = draw(st.sampled_from([*line, "x) VALUES (1); --"]))
    value = draw(st.sampled_from([*VALUES, LEFT_OUT]))
    if value is LEFT_OUT:
        line.pop(name, None)
    else:
        line[name] = value
    return lines


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=25, derandomize=True, **QUIET)
@given(edits())
def test_an_edited_export_is_sound_or_refused(lines):
    """No other error comes out, and nothing that is taken in breaks a later call."""
    tally = Tally()
    take_in(lines, tally)
    tally.judge("an edited export")


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_edited_exports_at_length():
    """The same, for long, and counted."""
    tally, exports = Tally(), itertools.count()

    @settings(max_examples=3000, **QUIET)
    @given(edits())
    def take_in_each(lines):
        next(exports)
        take_in(lines, tally)

    take_in_each()
    tally.judge(f"exports, {next(exports)}")


def test_an_unedited_export_is_taken_in():
    """What the edits start from is sound."""
    tally = Tally()
    take_in(exported_lines(), tally)
    assert tally.tries > 7
    tally.judge("an export")


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ("document_versions", "path", "../../.ssh/authorized_keys"),
        ("document_versions", "path", ".git/hooks/pre-commit"),
        ("tasks", "worktree", "../../x"),
        ("events", "data", []),
        ("sessions", "id) SELECT 1 --", 1),
    ],
)
def test_what_becomes_a_path_or_a_statement_is_looked_at(tmp_path, table, name, value):
    """A crafted row is refused by name."""
    lines = [dict(line) for line in exported_lines()]
    row = next((line for line in lines if line.get("table") == table), None)
    assert row is not None
    row[name] = value
    write_export(tmp_path / "x.jsonl", lines)
    with vespera.open(tmp_path) as orch, pytest.raises(InvalidInputError, match=table):
        orch.import_(tmp_path / "x.jsonl")


HEAD = '{"vespera_orchestrator":"x","format":1,"rows":{},"schema":1,"exported_at":"2026-01-01",'
CRAFTED = {
    "brackets": (2, b"[" * 90_000, "recursion"),
    "values": (2, b'{"zzz":[' + b"1," * 2_100_000 + b"1]}", "more than 2,000,000 values"),
    "digits": (2, b'{"table":"tasks","seq":' + b"9" * 5000 + b"}", "not JSON"),
    "infinity": (2, b'{"table":"tasks","due_at":null,"seq":1e999}', "."),
    "not a table": (2, b'{"table":{}}', "unknown to this version"),
    "neither": (2, b"{}", "neither a row nor a content"),
    "byte order mark": (0, b"\xef\xbb\xbf{}", "not JSON"),
    "a link": (2, b'{"link":"/etc/passwd"}', "neither a row nor a content"),
    "absolute content": (2, b'{"content":"/etc/x","text":"x"}', "does not match its digest"),
    "a content without end": (999, b'{"content":"x","text":"x","piece":1,"of":9}', "in the middle"),
    "a content of a list": (999, b'{"content":{},"text":[]}', "not a content"),
    "no rows announced": (1, (HEAD + '"contents":true}').encode(), "should hold {}"),
    "no schema": (1, HEAD.replace(":1,", ":-1,").encode() + b'"contents":true}', "format"),
    "no moment": (1, HEAD.replace("2026", "soon").encode() + b'"contents":true}', "begins with"),
    "the end in the middle": (2, b'{"end":true,"lines":1}', "was changed"),
}
"""Where a line of bytes goes (1: in the place of the first, 999: at the end), and what is said."""


def test_a_crafted_file_is_refused_before_anything_is_written(tmp_path):
    """Not even a content of it is left; the unedited file is taken in afterwards."""
    plain = [json.dumps(line).encode() + b"\n" for line in exported_lines()]
    file = tmp_path / "x.jsonl"
    with vespera.open(tmp_path, durability="normal") as orch:
        for name, (place, line, said) in CRAFTED.items():
            text = list(plain)
            text[place - (place == 1) : place] = [line + b"\n"]
            write_lines(file, text)
            with pytest.raises(InvalidInputError, match=said):
                orch.import_(file)
            assert orch.list_sessions() == [], name
        assert [each for each in (orch.home / "artifacts").rglob("*") if each.is_file()] == []
        write_lines(file, plain)
        assert orch.import_(file).contents == 5


def test_of_a_key_that_comes_twice_the_last_counts(tmp_path):
    """As in every program of Python's that reads the file."""
    text = [json.dumps(line).encode() + b"\n" for line in exported_lines()]
    row = next(number for number, line in enumerate(text) if b'"title": "A"' in line)
    text[row] = text[row].replace(b'"title": "A"', b'"title": [], "title": "B"')
    write_lines(tmp_path / "x.jsonl", text)
    with vespera.open(tmp_path, durability="normal") as orch:
        orch.import_(tmp_path / "x.jsonl")
        assert "B" in [task.title for task in orch.query_tasks()]


def test_a_dispute_with_nothing_is_refused(tmp_path):
    """Reading what is shared looks for the other value."""
    lines = [dict(line) for line in exported_lines()]
    next(line for line in lines if line.get("table") == "shared_values")["disputes"] = 7000
    write_export(tmp_path / "x.jsonl", lines)
    with vespera.open(tmp_path) as orch, pytest.raises(InvalidInputError, match="disputes value"):
        orch.import_(tmp_path / "x.jsonl")


def test_an_event_without_what_others_read_in_it_is_refused(tmp_path):
    """Whoever resumes reads the note of the last pause."""
    lines = [dict(line) for line in exported_lines()]
    paused = next(line for line in lines if line.get("kind") == "session_paused")
    paused["data"] = {"worded": []}
    write_export(tmp_path / "x.jsonl", lines)
    with vespera.open(tmp_path) as orch, pytest.raises(InvalidInputError, match="note"):
        orch.import_(tmp_path / "x.jsonl")


def test_what_was_put_into_the_database_breaks_no_call(tmp_path):
    """Nobody imported these rows; `check` names them, `repair` fixes what can be fixed."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("x")
        orch.share_context(port=1)
        orch.pause("later")
    file = tmp_path / ".task_orchestrator" / "orchestrator.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE shared_values SET disputes = 7000")
        database.execute("UPDATE events SET data = '{}' WHERE kind = 'session_paused'")
        database.commit()
    with vespera.open(tmp_path) as orch:
        assert "port" in str(orch.shared_context())
        assert str(orch.resume())
        sentences = " ".join(finding.sentence for finding in orch.check().errors)
        assert "'port'" in sentences
        assert "disputes value 7000, which is not there" in sentences
        assert "no note" in sentences
        orch.repair()
        sentences = " ".join(finding.sentence for finding in orch.check().errors)
        assert "disputes" not in sentences


def test_a_trigger_of_ours_with_another_body_is_named(tmp_path):
    """Its name alone says nothing."""
    vespera.open(tmp_path).close()
    file = tmp_path / ".task_orchestrator" / "orchestrator.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        (name,) = database.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger' LIMIT 1"
        ).fetchone()
        database.execute(f"DROP TRIGGER {name}")
        body = "BEGIN DELETE FROM checkpoints; END"
        database.execute(f"CREATE TRIGGER {name} AFTER INSERT ON events {body}")
        database.commit()
    with vespera.open(tmp_path) as orch:
        sentences = [finding.sentence for finding in orch.check().errors]
    assert any(f"the trigger {name!r} does something else" in each for each in sentences)


def test_check_names_what_somebody_put_into_the_database(tmp_path):
    """A trigger changes what is written; a view may stand in the place of a table."""
    vespera.open(tmp_path).close()
    file = tmp_path / ".task_orchestrator" / "orchestrator.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        trigger = "CREATE TRIGGER evil AFTER INSERT ON events BEGIN DELETE FROM checkpoints; END"
        database.execute(trigger)
        database.execute("DROP TABLE given")
        database.execute("CREATE VIEW given AS SELECT 1 AS task_id")
        database.commit()
    with vespera.open(tmp_path) as orch:
        sentences = " ".join(finding.sentence for finding in orch.check().errors)
    assert "the trigger 'evil' was not made by this library" in sentences
    assert "the view 'given' was not made by this library" in sentences
    assert "the table 'given' is missing" in sentences

"""Exports come back the same, or are refused as a whole."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from support.homes import alter, rows_of
from vespera_orchestrator.errors import InvalidInputError, TransitionError


def test_an_export_comes_back_the_same(orch, tmp_path):
    """Rows, ids, contents and the active session are the same, and one event more."""
    report = orch.export(tmp_path / "all.jsonl")
    assert (report.contents, report.rows["tasks"]) == (6, 10)
    (tmp_path / "new").mkdir()
    with vespera.open(tmp_path / "new") as fresh:
        report = fresh.import_(tmp_path / "all.jsonl")
        assert f"exported {report.as_of}: what was forgotten after that" in str(report)
        after, before = rows_of(fresh), rows_of(orch)
        assert after.pop("events")[:-1] == before.pop("events")
        assert after == before
        assert fresh.check(), str(fresh.check())
        assert fresh.current_session().id == orch.current_session().id
        for artifact in orch.artifacts.list(include_superseded=True):
            assert fresh.artifacts.read(artifact.id) == orch.artifacts.read(artifact)
        assert fresh.plan_task("Next").id
        assert fresh._store.last_seq() > orch._store.last_seq()


def test_an_export_can_be_read(orch, tmp_path):
    """The first line says that it is derived; times, structures and texts can be read."""
    orch.export(tmp_path / "all.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text("utf-8").splitlines()]
    assert "derived" in lines[0]["notice"]
    first = next(line for line in lines if line.get("alias") == "first")
    assert (first["outputs"], first["created_at"]) == ({"n": 2}, "2026-01-01T12:00:00+00:00")
    assert "# First\n\nöäü\n" in [line.get("text") for line in lines]
    pieces = [line for line in lines if "base64" in line]
    assert b"".join(base64.b64decode(line["base64"]) for line in pieces) == bytes(range(256)) * 8000
    assert lines[-1]["lines"] == len(lines) - 1


def test_an_export_without_contents_names_them(orch, tmp_path):
    """Without contents it is small, and a home that has them already takes it."""
    orch.export(tmp_path / "rows.jsonl", contents=False)
    assert b"base64" not in (tmp_path / "rows.jsonl").read_bytes()
    fresh = tmp_path / "fresh"
    (fresh / ".task_orchestrator").mkdir(parents=True)
    shutil.copytree(orch.home / "artifacts", fresh / ".task_orchestrator" / "artifacts")
    with vespera.open(fresh) as new:
        new.import_(tmp_path / "rows.jsonl")
        assert new.check(), str(new.check())


def test_only_an_empty_home_takes_an_export(orch, tmp_path):
    """A home in which somebody has worked refuses, and is not changed."""
    orch.export(tmp_path / "all.jsonl")
    before = rows_of(orch)
    with pytest.raises(TransitionError, match="in use"):
        orch.import_(tmp_path / "all.jsonl")
    assert rows_of(orch) == before


def without_a_line(text):
    """Leave one line out."""
    lines = text.splitlines(keepends=True)
    return "".join(lines[:7] + lines[8:])


WRONG = {
    "cut short": lambda text: text[: len(text) * 2 // 3],
    "a line is missing": without_a_line,
    "changed": lambda text: text.replace('"Third"', '"Thirds"', 1),
    "another format": lambda text: text.replace('"format":1', '"format":99', 1),
    "something else": lambda _: '{"a": 1}\n',
    "no JSON": lambda _: "hello\n",
    "empty": lambda _: "",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_a_whole_export_is_refused_and_nothing_is_written(orch, tmp_path, wrong):
    """A file that is cut short, changed, or something else is refused; the home stays usable."""
    orch.export(tmp_path / "all.jsonl")
    text = (tmp_path / "all.jsonl").read_text("utf-8")
    (tmp_path / "bad.jsonl").write_text(WRONG[wrong](text), "utf-8")
    (tmp_path / "fresh").mkdir()
    with vespera.open(tmp_path / "fresh") as fresh:
        with pytest.raises(InvalidInputError, match=r"bad\.jsonl"):
            fresh.import_(tmp_path / "bad.jsonl")
        assert not any(rows_of(fresh).values())
        with pytest.raises(InvalidInputError, match="cannot be read"):
            fresh.import_(tmp_path / "missing.jsonl")
        fresh.import_(tmp_path / "all.jsonl")


def test_a_damaged_store_is_not_imported(orch, tmp_path):
    """An export of a store with wrong counters is refused as a whole: repair first."""
    alter(orch, "UPDATE tasks SET blockers = 9 WHERE alias = 'third'")
    orch.export(tmp_path / "all.jsonl")
    (tmp_path / "fresh").mkdir()
    with vespera.open(tmp_path / "fresh") as fresh:
        with pytest.raises(InvalidInputError, match="repair that one"):
            fresh.import_(tmp_path / "all.jsonl")
        assert not any(rows_of(fresh).values())


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)


jsons = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    context=st.dictionaries(texts, jsons, max_size=4),
    content=st.binary(max_size=200) | texts,
    titles=st.lists(texts, min_size=1, max_size=3),
)
def test_whatever_is_stored_survives_export_and_import(context, content, titles):
    """Any JSON, any text, any bytes come back exactly."""
    with tempfile.TemporaryDirectory() as room:
        one, two = Path(room, "one"), Path(room, "two")
        one.mkdir()
        two.mkdir()
        with vespera.open(one) as orch, vespera.open(two) as fresh:
            orch.initialize_session("", context=context)
            for title in titles:
                if title.strip():
                    orch.plan_task(title, context=context)
            artifact = orch.artifacts.save("A", content, metadata=context)
            orch.export(Path(room, "all.jsonl"))
            fresh.import_(Path(room, "all.jsonl"))
            after, before = rows_of(fresh), rows_of(orch)
            assert after.pop("events")[:-1] == before.pop("events")
            assert after == before
            assert fresh.artifacts.read(artifact.id) == orch.artifacts.read(artifact)

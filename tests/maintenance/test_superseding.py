"""Checks, exports and imports know what has taken another artifact's place."""

from __future__ import annotations

import hashlib
import json

import pytest

import vespera_orchestrator as vespera


def _open(folder):
    folder.mkdir()
    return vespera.open(folder)


@pytest.fixture
def orch(tmp_path):
    """A home in which one note has superseded another."""
    with _open(tmp_path / "one") as opened:
        opened.initialize_session("Boil water")
        old = opened.artifacts.save("Old", "93 degrees")
        opened.artifacts.save("New", "97 degrees", supersedes=old)
        yield opened


def _named(orch, title):
    (artifact,) = orch.artifacts.list(title=title, include_superseded=True)
    return artifact


def _damage(orch, title, **values):
    with orch._store.ledger(write=True) as ledger:
        ledger.change("artifacts", {"id": _named(orch, title).id}, values)


def test_a_wrong_mark_is_found_and_fixed(orch):
    """In both directions: what was superseded has the mark, and what holds has none."""
    assert orch.check()
    _damage(orch, "Old", superseded=0)
    _damage(orch, "New", superseded=1)
    assert len(orch.check().errors) == 2
    assert orch.repair()
    assert (_named(orch, "Old").superseded, _named(orch, "New").superseded) == (True, False)


@pytest.mark.parametrize("follower", ["nobody", "each other"])
def test_what_took_a_place_exists_and_holds(orch, follower):
    """Neither a missing artifact nor a circle passes."""
    if follower == "nobody":
        _damage(orch, "Old", superseded_by="a_missing00000")
        problem = "which does not exist"
    else:
        _damage(orch, "New", superseded=1, superseded_by=_named(orch, "Old").id)
        problem = "whose place it has taken"
    sentences = [finding.sentence for finding in orch.check().errors]
    assert sentences
    assert all(problem in sentence for sentence in sentences)


def test_an_export_carries_it(orch, tmp_path):
    """An import has the same; what an earlier version exported comes in as well."""
    path = tmp_path / "home.jsonl"
    orch.export(path)
    older = tmp_path / "older.jsonl"
    older.write_bytes(_of_an_earlier_version(path))
    for number, source in enumerate((path, older)):
        with _open(tmp_path / f"copy{number}") as copy:
            copy.import_(source)
            assert copy.check()
            old, new = _named(copy, "Old"), _named(copy, "New")
            expected = (True, new.id) if source is path else (False, None)
            assert (old.superseded, old.superseded_by) == expected


def _of_an_earlier_version(path) -> bytes:
    """Return the export as it would be if nothing had taken a place, without the new columns."""
    lines = []
    for line in path.read_text().splitlines()[:-1]:
        values = json.loads(line)
        if values.get("table") == "artifacts":
            del values["superseded_by"]
            values["superseded"] = 0
        lines.append(json.dumps(values).encode() + b"\n")
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    end = {"end": True, "lines": len(lines), "sha256": digest}
    return b"".join([*lines, json.dumps(end).encode() + b"\n"])

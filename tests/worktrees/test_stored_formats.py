"""What worktrees keep on disk and in git stays readable, by us and by older versions."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pygit2
import pytest

from vespera_orchestrator._records import converter, to_plain
from vespera_orchestrator.worktrees.admin_note import AdminNote, Brought
from vespera_orchestrator.worktrees.integration import _LandingJournal
from vespera_orchestrator.worktrees.landed_mark import LandedMark
from vespera_orchestrator.worktrees.retention import EarlierSnapshot
from vespera_orchestrator.worktrees.snapshot import is_snapshot_message
from vespera_orchestrator.worktrees.snapshot_index import _Basis
from vespera_orchestrator.worktrees.update import _UpdateJournal

A, B = "a" * 40, "b" * 40
LANDING = {
    "stage": "writing",
    "ref": "refs/heads/integration",
    "git_dir": "/project/.git",
    "folder": "/project",
    "old": A,
    "new": B,
    "token": "ea9536cf87d8325d",
}
UPDATE = {"old": A, "new": B, "mark": None}
NOTE = {
    "stage": "ready",
    "home": "/project/.task_orchestrator",
    "worktree": {
        "name": "two",
        "session_id": "s_b9pfzq86tvcm",
        "task_id": "t_y2r0wdg5m8vs",
        "agent": None,
        "path": "/worktrees/two",
        "branch": "feature/two",
        "base": A,
        "state": "active",
        "landed": None,
        "rescue_ref": None,
        "created_at": "2026-11-26T18:39:10.812523+00:00",
        "unlanded": False,
        "home_id": "h_0000000000a1",
        "machine": "laptop",
        "project": "/project",
        "saved": A,
    },
    "boot": "b",
    "common": "/project/.git",
    "folder_in_git": "../../worktrees/two",
    "index": 2,
    "is_furnished": False,
    "brought": {"copied": [".env"], "linked": ["node_modules"], "left": []},
}
NEW_IN_WORKTREE = {"home_id": "", "machine": "", "project": "", "saved": None}
OLD_WORKTREE = {
    name: value for name, value in NOTE["worktree"].items() if name not in NEW_IN_WORKTREE
}
OLD_NOTE = {"stage": "ready", "home": NOTE["home"], "worktree": OLD_WORKTREE}
BASIS = {"commit": A, "seen": [[1, 176, 2], [3, 240, 4], []], "unmerged": False, "index": [5, 6, 7]}


@pytest.mark.parametrize(
    ("kind", "stored"),
    [(_LandingJournal, LANDING), (_UpdateJournal, UPDATE), (AdminNote, NOTE)],
    ids=["a landing", "an update", "a note"],
)
def test_what_a_killed_process_left_is_read_and_written_as_ever(kind, stored):
    """Journals and notes: the next process may be of another version than the one that died."""
    record = converter().structure(stored, kind)
    assert to_plain(record) == stored


def test_an_older_note_is_read():
    """It has absolute paths only; where its folder lies beside the project follows from them."""
    note = converter().structure(OLD_NOTE, AdminNote)
    worktree = {**OLD_WORKTREE, **NEW_IN_WORKTREE}
    new = dict.fromkeys(("boot", "common", "folder_in_git"), "")
    usual = {"index": 0, "is_furnished": True, "brought": to_plain(Brought())}
    assert to_plain(note) == {**OLD_NOTE, "worktree": worktree, **new, **usual}
    assert note.earlier_common == Path("/project/.git")


def test_what_is_known_of_files_is_read_and_written_as_ever():
    """And whatever else stands there counts as nothing known."""
    basis = _Basis.parse(json.dumps(BASIS))
    assert attrs.asdict(basis) == BASIS
    for text in ("", "[]", "{}", json.dumps({**BASIS, "commit": None})[:-9]):
        with pytest.raises(ValueError, match=r".*"):
            _Basis.parse(text)


@pytest.mark.parametrize(
    ("line", "named"), [(f"{A} 1795718350 named", True), (f"{A} 1795718350 passing", False)]
)
def test_a_line_of_the_history_is_read_and_written_as_ever(line, named):
    """The message of the history commit lists the earlier snapshots."""
    snapshot = EarlierSnapshot.parse(line)
    assert (str(snapshot), snapshot.named) == (line, named)


def test_a_mark_is_read_and_written_as_ever(tmp_path):
    """What a worktree has of the integration branch is a commit: tree, parents and message."""
    repo = pygit2.init_repository(str(tmp_path), bare=True)
    who = pygit2.Signature("Ada", "ada@example.org")
    tree = str(repo.TreeBuilder().write())
    commits = [str(repo.create_commit(None, who, who, name, tree, [])) for name in ("1", "2")]
    snapshot, seen = commits
    message = f'caught up: work\n\nOrigin: {tree}\nMarked: "a.txt"\nMarked: "d/\\u00f6"\n'
    stored = str(repo.create_commit(None, who, who, message, tree, commits))
    mark = LandedMark.read(repo, stored)
    assert mark == LandedMark(
        tree=tree,
        snapshot=snapshot,
        seen=seen,
        origin=tree,
        marked=("a.txt", "d/ö"),
        commit=stored,
    )
    again = repo[mark.write(repo, "caught up: work")]
    # Between the two that count, a commit holds the files of the origin: who reads takes the first
    # parent and the last, as earlier versions do.
    first, holder, last = again.parent_ids
    assert (again.message, [str(first), str(last)]) == (message, commits)
    assert str(repo[holder].tree_id) == tree
    assert attrs.evolve(LandedMark.read(repo, str(again.id)), commit=stored) == mark


def test_a_snapshot_is_known_by_its_message():
    """Not by one of another worktree, nor by a commit that only mentions it."""
    message = "note\n\nWorktree: work\nBranch: feature/work\nLeft-out: big.bin\n"
    assert is_snapshot_message(message, "work")
    assert not is_snapshot_message(message, "wor")
    assert not is_snapshot_message("about Worktree: work", "work")

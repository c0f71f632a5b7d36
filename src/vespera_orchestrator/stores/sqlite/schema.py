"""The SQLite schema, as numbered steps from an empty file to today's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

APPLICATION_ID: Final = 0x56455350
"""``VESP``: marks the file as ours, so that no other program's database is ever touched."""

TODAY: Final = Path(__file__).with_name("today.sql")
"""What the steps make of an empty file, at once; after a new step run tests/stores/make_today.py.
"""

MIGRATIONS: Final[tuple[str, ...]] = (
    # 1: the first schema
    """
CREATE TABLE migrations (
    version INTEGER PRIMARY KEY,
    applied_at INTEGER NOT NULL,
    library TEXT NOT NULL
) STRICT;

CREATE TABLE sessions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    goal TEXT NOT NULL,
    project_type TEXT,
    parent_session_id TEXT REFERENCES sessions (id),
    context TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    alias TEXT NOT NULL,
    session_id TEXT NOT NULL REFERENCES sessions (id),
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    status TEXT NOT NULL,
    task_type TEXT NOT NULL,
    complexity TEXT NOT NULL,
    specialist_type TEXT,
    priority INTEGER NOT NULL,
    estimated_effort TEXT,
    due_at INTEGER,
    parent_task_id TEXT REFERENCES tasks (id) DEFERRABLE INITIALLY DEFERRED,
    condition TEXT,
    condition_version INTEGER,
    condition_names TEXT,
    context TEXT NOT NULL,
    outputs TEXT NOT NULL,
    summary TEXT,
    reason TEXT,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    was_blocked INTEGER NOT NULL,
    blockers INTEGER NOT NULL CHECK (blockers >= 0),
    effort_hours REAL NOT NULL,
    urgency REAL NOT NULL,
    weighed INTEGER NOT NULL,
    recovers_task_id TEXT REFERENCES tasks (id) DEFERRABLE INITIALLY DEFERRED,
    archived INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at INTEGER,
    worktree TEXT,
    UNIQUE (session_id, alias)
) STRICT;
-- effort_hours: the estimated effort as a number;
-- urgency: hours of the longest chain of work that starts with this task, as far as it was known;
-- weighed: whether its hours are counted in what it waits for as well.
CREATE INDEX tasks_ready ON tasks (session_id, priority DESC, urgency DESC, seq)
    WHERE status = 'pending' AND blockers = 0;
CREATE INDEX tasks_urgent ON tasks (session_id, urgency DESC, seq)
    WHERE status IN ('pending', 'in_progress', 'blocked');
CREATE INDEX tasks_unweighed ON tasks (session_id) WHERE weighed = 0;
CREATE INDEX tasks_status ON tasks (session_id, status, seq);
CREATE INDEX tasks_parent ON tasks (parent_task_id) WHERE parent_task_id IS NOT NULL;
CREATE INDEX tasks_recovers ON tasks (recovers_task_id) WHERE recovers_task_id IS NOT NULL;
CREATE INDEX tasks_worktree ON tasks (worktree) WHERE worktree IS NOT NULL;

-- How many tasks there are of each kind, so that nobody has to count them.
CREATE TABLE tallies (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    archived INTEGER NOT NULL,
    recovery INTEGER NOT NULL,
    status TEXT NOT NULL,
    tasks INTEGER NOT NULL,
    PRIMARY KEY (session_id, archived, recovery, status)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER tasks_tallied_in AFTER INSERT ON tasks BEGIN
    INSERT INTO tallies
    VALUES (new.session_id, new.archived, new.task_type = 'recovery', new.status, 1)
    ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER tasks_tallied_anew AFTER UPDATE OF status, archived, task_type ON tasks
WHEN old.status <> new.status OR old.archived <> new.archived OR old.task_type <> new.task_type
BEGIN
    UPDATE tallies SET tasks = tasks - 1
    WHERE session_id = old.session_id AND archived = old.archived
        AND recovery = (old.task_type = 'recovery') AND status = old.status;
    INSERT INTO tallies
    VALUES (new.session_id, new.archived, new.task_type = 'recovery', new.status, 1)
    ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER tasks_tallied_out AFTER DELETE ON tasks BEGIN
    UPDATE tallies SET tasks = tasks - 1
    WHERE session_id = old.session_id AND archived = old.archived
        AND recovery = (old.task_type = 'recovery') AND status = old.status;
END;

-- met: whether the outcome it waits for has come;
-- governed: whether the task's condition names this edge instead.
CREATE TABLE dependencies (
    task_id TEXT NOT NULL REFERENCES tasks (id) DEFERRABLE INITIALLY DEFERRED,
    needs_id TEXT NOT NULL REFERENCES tasks (id) DEFERRABLE INITIALLY DEFERRED,
    position INTEGER NOT NULL,
    on_outcome TEXT NOT NULL,
    governed INTEGER NOT NULL,
    met INTEGER NOT NULL,
    PRIMARY KEY (task_id, needs_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependencies_needs ON dependencies (needs_id);

CREATE TABLE attempts (
    task_id TEXT NOT NULL REFERENCES tasks (id),
    number INTEGER NOT NULL,
    agent TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    last_sign_at INTEGER NOT NULL,
    ended_at INTEGER,
    ending TEXT,
    error TEXT,
    receipt TEXT,
    PRIMARY KEY (task_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_lease ON attempts (lease_until) WHERE ended_at IS NULL;

CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL REFERENCES tasks (id),
    attempt INTEGER NOT NULL,
    state TEXT NOT NULL,
    note TEXT NOT NULL,
    progress REAL,
    snapshot TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX checkpoints_task ON checkpoints (task_id, id);

CREATE TABLE artifacts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    session_id TEXT NOT NULL REFERENCES sessions (id),
    task_id TEXT,
    attempt INTEGER,
    agent TEXT,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    media_type TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    version INTEGER NOT NULL,
    supersedes_id TEXT,
    superseded INTEGER NOT NULL,
    partial INTEGER NOT NULL,
    tags TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX artifacts_session ON artifacts (session_id, seq);
CREATE INDEX artifacts_task ON artifacts (task_id, title, version);

-- given: which artifact versions a task was given to build on;
-- stale: a later version was saved since.
CREATE TABLE given (
    task_id TEXT NOT NULL,
    artifact_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    session_id TEXT NOT NULL,
    stale INTEGER NOT NULL,
    given_at INTEGER NOT NULL,
    PRIMARY KEY (task_id, artifact_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX given_artifact ON given (artifact_id);
CREATE INDEX given_stale ON given (session_id, given_at) WHERE stale = 1;

CREATE TABLE worktrees (
    name TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    task_id TEXT,
    agent TEXT,
    path TEXT NOT NULL,
    branch TEXT NOT NULL,
    base TEXT NOT NULL,
    state TEXT NOT NULL,
    landed TEXT,
    rescue_ref TEXT,
    created_at INTEGER NOT NULL,
    unlanded INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX worktrees_task ON worktrees (task_id);

CREATE TABLE document_versions (
    path TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    event_seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (path, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    session_id TEXT,
    task_id TEXT,
    agent TEXT,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX events_session ON events (session_id, seq);
CREATE INDEX events_kind ON events (kind, seq);
""",
    # 2: which home made a worktree
    """
ALTER TABLE worktrees ADD COLUMN home_id TEXT NOT NULL DEFAULT '';
ALTER TABLE worktrees ADD COLUMN machine TEXT NOT NULL DEFAULT '';
ALTER TABLE worktrees ADD COLUMN project TEXT NOT NULL DEFAULT '';
""",
    # 3: when a task is done
    "ALTER TABLE tasks ADD COLUMN acceptance TEXT NOT NULL DEFAULT '';",
    # 4: what a checkpoint could not save
    "ALTER TABLE checkpoints ADD COLUMN left_out TEXT NOT NULL DEFAULT '[]';",
    # 5: who saw what, and the events that tell what became of the work
    """
CREATE TABLE looks (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    agent TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    branch TEXT,
    head TEXT,
    integration TEXT,
    PRIMARY KEY (session_id, agent)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_milestones ON events (session_id, seq) WHERE kind IN (
    'task_completed', 'task_handed_in', 'task_blocked', 'task_recovered', 'task_revised',
    'task_released', 'task_retried', 'task_reopened', 'task_skipped', 'task_cancelled',
    'task_failed', 'task_deleted', 'lease_expired', 'worktree_created', 'worktree_landed'
);
CREATE INDEX events_pauses ON events (session_id, seq) WHERE kind IN ('session_paused');
CREATE INDEX worktrees_in_use ON worktrees (session_id) WHERE state <> 'removed';
""",
    # 6: sections that a person has edited
    "ALTER TABLE document_versions ADD COLUMN edited TEXT NOT NULL DEFAULT '[]';",
    # 7: what agents share; disputes: the id of another agent's value that this one contradicts
    """
CREATE TABLE shared_values (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL REFERENCES sessions (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    agent TEXT NOT NULL,
    shared_at INTEGER NOT NULL,
    is_current INTEGER NOT NULL,
    disputes INTEGER
) STRICT;
CREATE INDEX shared_current ON shared_values (session_id, key) WHERE is_current = 1;
CREATE INDEX shared_history ON shared_values (session_id, key, id);
""",
    # 8: what the homes of a session have agreed on
    """
CREATE TABLE team_settings (
    session_id TEXT PRIMARY KEY REFERENCES sessions (id),
    integration_branch TEXT NOT NULL,
    landing_check TEXT NOT NULL,
    undoing TEXT NOT NULL,
    content_address TEXT,
    home_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    project TEXT NOT NULL,
    agreed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
""",
    # 9: the person's word, and levels of pressure
    """
CREATE INDEX events_moods ON events (session_id, seq)
    WHERE kind IN ('energy_set', 'pressure_changed');
""",
    # 10: which home has the bytes of an artifact, and where that home is
    """
CREATE TABLE homes (
    id TEXT PRIMARY KEY,
    machine TEXT NOT NULL,
    path TEXT NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE artifacts ADD COLUMN home_id TEXT NOT NULL DEFAULT '';
""",
    # 11: the processes that an attempt ends with
    "ALTER TABLE attempts ADD COLUMN process TEXT NOT NULL DEFAULT '';",
    # 12: dates; due_until: when the due date is over; needed_by: when the task should be done, so
    # that the due dates of all that waits for it hold, too; press_at: from when on it goes first;
    # pressed_by: from then on the same as needed_by, and before that a number behind all others
    """
ALTER TABLE tasks ADD COLUMN due_day TEXT;
ALTER TABLE tasks ADD COLUMN not_before INTEGER;
ALTER TABLE tasks ADD COLUMN zone TEXT;
ALTER TABLE tasks ADD COLUMN asleep INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN due_until INTEGER;
ALTER TABLE tasks ADD COLUMN needed_by INTEGER;
ALTER TABLE tasks ADD COLUMN press_at INTEGER;
ALTER TABLE tasks ADD COLUMN pressed_by INTEGER NOT NULL DEFAULT 9223372036854775807;
UPDATE tasks SET due_until = due_at, needed_by = due_at,
    press_at = due_at - 86400000000 - CAST(effort_hours * 10800000000 AS INTEGER)
WHERE due_at IS NOT NULL;
DROP INDEX tasks_ready;
CREATE INDEX tasks_ready ON tasks (session_id, priority DESC, pressed_by, urgency DESC, seq)
    WHERE status = 'pending' AND blockers = 0;
CREATE INDEX tasks_due ON tasks (session_id, due_until, seq)
    WHERE due_until IS NOT NULL AND status IN ('pending', 'in_progress', 'blocked');
CREATE INDEX tasks_asleep ON tasks (session_id, not_before, seq) WHERE asleep = 1;
CREATE INDEX tasks_wake ON tasks (not_before) WHERE asleep = 1;
CREATE INDEX tasks_press ON tasks (press_at) WHERE press_at IS NOT NULL;
""",
    # 13: what tasks wait for from outside, and what must not happen twice
    """
ALTER TABLE tasks ADD COLUMN question TEXT;
ALTER TABLE tasks ADD COLUMN signal TEXT;
ALTER TABLE tasks ADD COLUMN answered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN answer TEXT;
CREATE INDEX tasks_questions ON tasks (session_id, seq)
    WHERE question IS NOT NULL AND answered = 0;
CREATE INDEX tasks_signal ON tasks (session_id, signal)
    WHERE signal IS NOT NULL AND answered = 0;
CREATE TABLE signals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL REFERENCES sessions (id),
    name TEXT NOT NULL,
    payload TEXT NOT NULL,
    key TEXT,
    agent TEXT NOT NULL,
    taken INTEGER NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;
CREATE INDEX signals_waiting ON signals (session_id, name, id) WHERE taken = 0;
CREATE UNIQUE INDEX signals_key ON signals (session_id, name, key) WHERE key IS NOT NULL;
CREATE TABLE effects (
    task_id TEXT NOT NULL REFERENCES tasks (id),
    key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    is_done INTEGER NOT NULL,
    result TEXT NOT NULL,
    begun_at INTEGER NOT NULL,
    recorded_at INTEGER,
    question_id TEXT,
    PRIMARY KEY (task_id, key)
) STRICT, WITHOUT ROWID;
""",
    # 14: what replaces artifacts of other titles and tasks; and which ones were removed for good
    """
ALTER TABLE artifacts ADD COLUMN superseded_by TEXT;
CREATE INDEX artifacts_superseded_by ON artifacts (superseded_by) WHERE superseded_by IS NOT NULL;
CREATE TABLE forgotten (
    id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    task_id TEXT,
    version INTEGER NOT NULL,
    reason TEXT NOT NULL,
    agent TEXT,
    saved_at INTEGER NOT NULL,
    forgotten_at INTEGER NOT NULL,
    digest TEXT,
    home_id TEXT NOT NULL,
    proof TEXT
) STRICT, WITHOUT ROWID;
""",
    # 15: attempts that a coordinator ended; rounds without progress, and whether files changed
    """
ALTER TABLE tasks ADD COLUMN empty_rounds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN files_changed INTEGER NOT NULL DEFAULT 0;
DROP INDEX events_milestones;
CREATE INDEX events_milestones ON events (session_id, seq) WHERE kind IN (
    'task_completed', 'task_handed_in', 'task_blocked', 'task_recovered', 'task_revised',
    'task_released', 'task_retried', 'task_reopened', 'task_skipped', 'task_cancelled',
    'task_failed', 'task_deleted', 'lease_expired', 'attempt_ended', 'worktree_created',
    'worktree_landed'
);
""",
    # 16: what happened to a task
    """
CREATE INDEX events_task ON events (task_id, seq) WHERE task_id IS NOT NULL;
""",
    # 17: for whom a task is, and which named agent planned it
    """
ALTER TABLE tasks ADD COLUMN for_agent TEXT;
ALTER TABLE tasks ADD COLUMN planned_by TEXT NOT NULL DEFAULT '';
""",
    # 18: time limits, pauses before a task is tried again, and crashes in a row
    """
ALTER TABLE tasks ADD COLUMN retry_after_s REAL;
ALTER TABLE tasks ADD COLUMN time_limit_s REAL;
ALTER TABLE tasks ADD COLUMN stalled_after_s REAL;
ALTER TABLE tasks ADD COLUMN retry_at INTEGER;
ALTER TABLE tasks ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN times_out_at INTEGER;
ALTER TABLE attempts ADD COLUMN stalls_at INTEGER;
DROP INDEX events_milestones;
CREATE INDEX events_milestones ON events (session_id, seq) WHERE kind IN (
    'task_completed', 'task_handed_in', 'task_blocked', 'task_recovered', 'task_revised',
    'task_released', 'task_retried', 'task_reopened', 'task_skipped', 'task_cancelled',
    'task_failed', 'task_deleted', 'lease_expired', 'attempt_ended', 'attempt_timed_out',
    'attempt_stalled', 'retry_scheduled', 'worktree_created', 'worktree_landed'
);
""",
    # 19: which home has the text of a document's version
    """
ALTER TABLE document_versions ADD COLUMN home_id TEXT NOT NULL DEFAULT '';
""",
    # 20: the default name of each home's agent
    """
CREATE TABLE agent_names (
    name TEXT PRIMARY KEY,
    home_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
""",
    # 21: what was last saved of a worktree, which another home needs to go on
    """
ALTER TABLE worktrees ADD COLUMN saved TEXT;
""",
)

BEGIN TRANSACTION;
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
INSERT INTO "artifacts" VALUES(1,'a_6h88e3mefpjd','s_ydrhytbgwxpy','t_986gdfjyvpvv',1,'main','general','First','text/markdown','9deb94158e91742ee59a098729128779da85eef76b28890b6c0cb64401537a29',8,1,NULL,0,0,'[]','{}',1767225612000000);
INSERT INTO "artifacts" VALUES(2,'a_ch0h6mef15xn','s_ydrhytbgwxpy','t_38cjeevkwfnk',1,'main','general','Third','text/markdown','4e93f1dc7bd9bfba55106d5f70d2e910ed9e1894abe4b0dc933399f874504aca',6,1,NULL,0,1,'[]','{}',1767225621000000);
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
INSERT INTO "attempts" VALUES('t_38cjeevkwfnk',1,'main',1767225619000000,1767226519000000,1767225619000000,1767225623000000,'blocked','it broke','f73edd5c776d7889589346476f8d547513815942c30b3d6aeb79f094be545621');
INSERT INTO "attempts" VALUES('t_986gdfjyvpvv',1,'main',1767225607000000,1767226509000000,1767225609000000,1767225614000000,'completed',NULL,'2e3f55735388ce679d659240bfab5bb59c40b56f9fa95d63b19b84975787cac7');
INSERT INTO "attempts" VALUES('t_x1c5ek3sj2rn',1,'main',1767225629000000,1867225631000000,1767225631000000,NULL,NULL,NULL,NULL);
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
INSERT INTO "checkpoints" VALUES(1,'t_986gdfjyvpvv',1,'{"n":1}','half',0.5,NULL,1767225610000000);
INSERT INTO "checkpoints" VALUES(2,'t_x1c5ek3sj2rn',1,'{"at":1}','',NULL,NULL,1767225632000000);
CREATE TABLE dependencies (
    task_id TEXT NOT NULL REFERENCES tasks (id) DEFERRABLE INITIALLY DEFERRED,
    needs_id TEXT NOT NULL REFERENCES tasks (id) DEFERRABLE INITIALLY DEFERRED,
    position INTEGER NOT NULL,
    on_outcome TEXT NOT NULL,
    governed INTEGER NOT NULL,
    met INTEGER NOT NULL,
    PRIMARY KEY (task_id, needs_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "dependencies" VALUES('t_myrk8g39br5v','t_986gdfjyvpvv',0,'success',1,1);
INSERT INTO "dependencies" VALUES('t_x1c5ek3sj2rn','t_38cjeevkwfnk',0,'blocked',0,1);
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
INSERT INTO "events" VALUES(1,1767225603000000,'session_started','s_ydrhytbgwxpy',NULL,NULL,'{"goal":"A store of the past"}');
INSERT INTO "events" VALUES(2,1767225604000000,'task_planned','s_ydrhytbgwxpy','t_986gdfjyvpvv',NULL,'{"alias":"first","title":"First"}');
INSERT INTO "events" VALUES(3,1767225604000000,'task_planned','s_ydrhytbgwxpy','t_myrk8g39br5v',NULL,'{"alias":"second","title":"Second"}');
INSERT INTO "events" VALUES(4,1767225604000000,'task_planned','s_ydrhytbgwxpy','t_38cjeevkwfnk',NULL,'{"alias":"third","title":"Third"}');
INSERT INTO "events" VALUES(5,1767225604000000,'task_planned','s_ydrhytbgwxpy','t_x1c5ek3sj2rn',NULL,'{"alias":"held","title":"Held"}');
INSERT INTO "events" VALUES(6,1767225608000000,'task_started','s_ydrhytbgwxpy','t_986gdfjyvpvv','main','{"attempt":1}');
INSERT INTO "events" VALUES(7,1767225611000000,'checkpoint_saved','s_ydrhytbgwxpy','t_986gdfjyvpvv',NULL,'{"attempt":1,"checkpoint":1,"note":"half","progress":0.5}');
INSERT INTO "events" VALUES(8,1767225613000000,'artifact_saved','s_ydrhytbgwxpy','t_986gdfjyvpvv','main','{"artifact":"a_6h88e3mefpjd","title":"First","kind":"general","supersedes":null}');
INSERT INTO "events" VALUES(9,1767225617000000,'task_completed','s_ydrhytbgwxpy','t_986gdfjyvpvv','main','{"attempt":1,"artifacts":["a_6h88e3mefpjd"],"summary":"done"}');
INSERT INTO "events" VALUES(10,1767225620000000,'task_started','s_ydrhytbgwxpy','t_38cjeevkwfnk','main','{"attempt":1}');
INSERT INTO "events" VALUES(11,1767225622000000,'artifact_saved','s_ydrhytbgwxpy','t_38cjeevkwfnk','main','{"artifact":"a_ch0h6mef15xn","title":"Third","kind":"general","supersedes":null}');
INSERT INTO "events" VALUES(12,1767225625000000,'task_blocked','s_ydrhytbgwxpy','t_38cjeevkwfnk','main','{"attempt":1,"artifacts":["a_ch0h6mef15xn"],"summary":"it broke","reason":"it broke"}');
INSERT INTO "events" VALUES(13,1767225626000000,'task_planned','s_ydrhytbgwxpy','t_0mgdxharp1ka',NULL,'{"alias":"recover_third","title":"Recover: Third"}');
INSERT INTO "events" VALUES(14,1767225630000000,'task_started','s_ydrhytbgwxpy','t_x1c5ek3sj2rn','main','{"attempt":1}');
INSERT INTO "events" VALUES(15,1767225633000000,'checkpoint_saved','s_ydrhytbgwxpy','t_x1c5ek3sj2rn',NULL,'{"attempt":1,"checkpoint":2,"note":"","progress":null}');
CREATE TABLE given (
    task_id TEXT NOT NULL,
    artifact_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    session_id TEXT NOT NULL,
    stale INTEGER NOT NULL,
    given_at INTEGER NOT NULL,
    PRIMARY KEY (task_id, artifact_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE migrations (
    version INTEGER PRIMARY KEY,
    applied_at INTEGER NOT NULL,
    library TEXT NOT NULL
) STRICT;
INSERT INTO "migrations" VALUES(1,1767225600000000,'0.1.0.dev0');
CREATE TABLE sessions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    goal TEXT NOT NULL,
    project_type TEXT,
    parent_session_id TEXT REFERENCES sessions (id),
    context TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
INSERT INTO "sessions" VALUES(1,'s_ydrhytbgwxpy','A store of the past',NULL,NULL,'{"n":1}',1767225602000000);
CREATE TABLE tallies (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    archived INTEGER NOT NULL,
    recovery INTEGER NOT NULL,
    status TEXT NOT NULL,
    tasks INTEGER NOT NULL,
    PRIMARY KEY (session_id, archived, recovery, status)
) STRICT, WITHOUT ROWID;
INSERT INTO "tallies" VALUES('s_ydrhytbgwxpy',0,0,'blocked',1);
INSERT INTO "tallies" VALUES('s_ydrhytbgwxpy',0,0,'completed',1);
INSERT INTO "tallies" VALUES('s_ydrhytbgwxpy',0,0,'in_progress',1);
INSERT INTO "tallies" VALUES('s_ydrhytbgwxpy',0,0,'pending',1);
INSERT INTO "tallies" VALUES('s_ydrhytbgwxpy',0,1,'pending',1);
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
INSERT INTO "tasks" VALUES(1,'t_986gdfjyvpvv','first','s_ydrhytbgwxpy','First','','completed','standard','moderate',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'{}','{"n":2}','done',NULL,1,0,3,0,0,1.0,2.0,1,NULL,0,1767225604000000,1767225616000000,1767225615000000,NULL);
INSERT INTO "tasks" VALUES(2,'t_myrk8g39br5v','second','s_ydrhytbgwxpy','Second','','pending','standard','moderate',NULL,0,NULL,NULL,NULL,'first.outputs.n > 1',1,'{"first":"t_986gdfjyvpvv"}','{}','{}',NULL,NULL,0,0,3,0,0,1.0,1.0,1,NULL,0,1767225604000000,1767225604000000,NULL,NULL);
INSERT INTO "tasks" VALUES(3,'t_38cjeevkwfnk','third','s_ydrhytbgwxpy','Third','','blocked','standard','moderate',NULL,2,'2 hours',NULL,NULL,NULL,NULL,NULL,'{}','{}','it broke','it broke',1,1,3,1,0,2.0,3.0,1,NULL,0,1767225604000000,1767225624000000,NULL,NULL);
INSERT INTO "tasks" VALUES(4,'t_x1c5ek3sj2rn','held','s_ydrhytbgwxpy','Held','','in_progress','standard','moderate',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,'{}','{}',NULL,NULL,1,0,3,0,0,1.0,1.0,1,NULL,0,1767225604000000,1767225629000000,NULL,NULL);
INSERT INTO "tasks" VALUES(5,'t_0mgdxharp1ka','recover_third','s_ydrhytbgwxpy','Recover: Third','''Third'' could not be finished: it broke
What it had done is kept in: a_ch0h6mef15xn.
Remove the cause, then complete this task: the blocked one becomes ready again and goes on from its last checkpoint.','pending','recovery','moderate',NULL,3,NULL,NULL,NULL,NULL,NULL,NULL,'{"error":"it broke","attempt":1,"artifact_ids":["a_ch0h6mef15xn"]}','{}',NULL,NULL,0,0,3,0,0,1.0,1.0,1,'t_38cjeevkwfnk',0,1767225626000000,1767225626000000,NULL,NULL);
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
CREATE INDEX tasks_ready ON tasks (session_id, priority DESC, urgency DESC, seq) WHERE status = 'pending' AND blockers = 0;
CREATE INDEX tasks_urgent ON tasks (session_id, urgency DESC, seq) WHERE status IN ('pending', 'in_progress', 'blocked');
CREATE INDEX tasks_unweighed ON tasks (session_id) WHERE weighed = 0;
CREATE INDEX tasks_status ON tasks (session_id, status, seq);
CREATE INDEX tasks_parent ON tasks (parent_task_id) WHERE parent_task_id IS NOT NULL;
CREATE INDEX tasks_recovers ON tasks (recovers_task_id) WHERE recovers_task_id IS NOT NULL;
CREATE INDEX tasks_worktree ON tasks (worktree) WHERE worktree IS NOT NULL;
CREATE TRIGGER tasks_tallied_in AFTER INSERT ON tasks BEGIN
    INSERT INTO tallies VALUES (new.session_id, new.archived, new.task_type = 'recovery', new.status, 1)
    ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER tasks_tallied_anew AFTER UPDATE OF status, archived, task_type ON tasks
WHEN old.status <> new.status OR old.archived <> new.archived OR old.task_type <> new.task_type BEGIN
    UPDATE tallies SET tasks = tasks - 1
    WHERE session_id = old.session_id AND archived = old.archived AND recovery = (old.task_type = 'recovery') AND status = old.status;
    INSERT INTO tallies VALUES (new.session_id, new.archived, new.task_type = 'recovery', new.status, 1)
    ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER tasks_tallied_out AFTER DELETE ON tasks BEGIN
    UPDATE tallies SET tasks = tasks - 1
    WHERE session_id = old.session_id AND archived = old.archived AND recovery = (old.task_type = 'recovery') AND status = old.status;
END;
CREATE INDEX dependencies_needs ON dependencies (needs_id);
CREATE INDEX attempts_lease ON attempts (lease_until) WHERE ended_at IS NULL;
CREATE INDEX checkpoints_task ON checkpoints (task_id, id);
CREATE INDEX artifacts_session ON artifacts (session_id, seq);
CREATE INDEX artifacts_task ON artifacts (task_id, title, version);
CREATE INDEX given_artifact ON given (artifact_id);
CREATE INDEX given_stale ON given (session_id, given_at) WHERE stale = 1;
CREATE INDEX worktrees_task ON worktrees (task_id);
CREATE INDEX events_session ON events (session_id, seq);
CREATE INDEX events_kind ON events (kind, seq);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('sessions',1);
INSERT INTO "sqlite_sequence" VALUES('events',15);
INSERT INTO "sqlite_sequence" VALUES('tasks',5);
INSERT INTO "sqlite_sequence" VALUES('checkpoints',2);
INSERT INTO "sqlite_sequence" VALUES('artifacts',2);
COMMIT;
PRAGMA application_id=1447383888;
PRAGMA user_version=1;

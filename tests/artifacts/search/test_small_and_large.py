"""The two kinds of tables: which one there is, that both answer alike, and what moves between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

import vespera_orchestrator as vespera
from artifacts.search.test_index import open_artifacts, rows, titles
from vespera_orchestrator._model import SearchGap
from vespera_orchestrator.artifacts.content import readable
from vespera_orchestrator.artifacts.search import index, sqlite_table

TEXTS = {
    "Sensor": "# Sensor\n\nThe thermistor hangs on pin 4, at the end of the line.",
    "Reader": "def readTemperature(pin): return adc(pin) * SLOPE",
    "Enclosure": "The cover keeps water and dirt out.",
    "Kettle": "水を沸かす。データベース接続に失敗した場合、三回リトライします。",
    "Stove": "กาต้มน้ำจะปิดเองเมื่อน้ำเดือด 🔥",
    "Plan": "Readings of the sensor go to config.toml; see src/parse_config.py and line 4.",
}
QUESTIONS = (
    "temperature",
    "waterproof housing",
    '"end of the line" pin',
    '"no text has this" pin',
    "沸",
    "データベース",
    "🔥",
    "parse config",
    "reading the sensors",
    "the of",
)


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_both_kinds_answer_alike(tmp_path, monkeypatch, mode):
    """Words, parts, phrases, scripts without spaces, symbols and filters find the same texts."""
    answers = []
    for small_passages in (0, 10_000):
        monkeypatch.setattr(index, "SMALL_PASSAGES", small_passages)
        project = tmp_path / str(small_passages)
        project.mkdir()
        artifacts = open_artifacts(project)
        for number, (title, text) in enumerate(TEXTS.items()):
            artifacts.save(title, text, tags=["odd" if number % 2 else "even"])
        artifacts.save("Plan", TEXTS["Plan"] + " Twice.")
        found = [titles(artifacts, question, mode=mode) for question in QUESTIONS]
        found.append(titles(artifacts, "pin", tags=["even"], mode=mode))
        found.append(titles(artifacts, "sensor", include_superseded=True, mode=mode))
        assert artifacts._index._state().large == (small_passages == 0)
        answers.append(found)
    large, small = answers
    assert [set(answer) for answer in small] == [set(answer) for answer in large]
    assert [answer[:1] for answer in small] == [answer[:1] for answer in large]


def test_two_equal_stores_answer_alike(tmp_path):
    """Down to the scores, however often each was brought up to date, or built again."""
    answers = []
    for often in (True, False):
        project = tmp_path / str(often)
        project.mkdir()
        artifacts = open_artifacts(project)
        for number in range(3):
            for title, text in TEXTS.items():
                artifacts.save(title, f"{text} {'More of it. ' * number}")
                if often:
                    artifacts.catch_up()
            old = artifacts.save(f"Guess {number}", "the sensor hangs on pin 5")
            artifacts.save(f"Answer {number}", f"it is pin {number}", supersedes=old)
        if often:
            artifacts.rebuild_index()
        artifacts.save("Last", "the last word on the pin")
        found = [artifacts.search(question, include_superseded=True) for question in QUESTIONS]
        answers.append([(hit.title, hit.version, hit.score) for hits in found for hit in hits])
    assert answers[0] == answers[1]
    assert len(answers[0]) > len(QUESTIONS)


def test_a_text_that_is_searched_in_part_is_named(tmp_path, monkeypatch):
    """Only a text that is too long; one of as many bytes and fewer characters is searched whole."""
    monkeypatch.setattr(readable, "MAX_TEXT_CHARACTERS", 1000)
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Logs")
        log = orch.artifacts.save("Log", "fine\n" * 200 + "quasar")
        orch.artifacts.save("Whole", "é" * 999)
        assert orch.artifacts.search("quasar", mode="text") == []
        status = orch.artifacts.index_status()
        assert (status.in_part, status.not_text) == ((log.id,), ())
        assert "; searched in part only" in str(status)
        assert str(status).endswith(f": {log.id}")
        (hit,) = orch.artifacts.search("fine", mode="text")
        assert (hit.gap, "searched in part only" in str(hit)) == (SearchGap.PART, True)


NEW_PROCESS = """
import sys, vespera_orchestrator
with vespera_orchestrator.open(sys.argv[1]) as orch:
    assert orch.artifacts.search("waterproof housing")[0].mode == "hybrid"
    with orch.execute_task("read_the_sensor") as work:
        assert str(work.briefing())
        assert "numpy" not in sys.modules  # until something is to be indexed
        ours = {"artifacts.forgetting", "artifacts.context", "progress.status"}
        needless = {"yaml", *(f"vespera_orchestrator.{name}" for name in ours)}
        assert needless.isdisjoint(sys.modules)
        assert orch.artifacts.context("sensor", task=work.task).passages
        work.complete(summary="s", detailed_work="The sensor reads 93 degrees.")
    assert orch.artifacts.search("93 degrees")[0].title == "Read the sensor"
    assert orch.artifacts.verify_index() == []
    assert orch.artifacts.index_status().passages > 100
print(sorted({"lancedb", "pyarrow", "tokenizers", "safetensors"} & set(sys.modules)))
"""


def test_a_new_process_searches_without_lancedb(tmp_path):
    """Search, briefing, context, catching up and looking at the index load nothing heavy."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("kettle")
        orch.plan_task("Read the sensor")
        for title, text in TEXTS.items():
            orch.artifacts.save(title, text)
        for number in range(110):
            orch.artifacts.save(f"Note {number}", f"about subject {number}")
        orch.artifacts.catch_up()
    command = [sys.executable, "-c", NEW_PROCESS, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[]\n", "")


def test_what_outgrows_the_small_table_is_copied_into_a_large_one(tmp_path, monkeypatch):
    """With its vectors and marks, in a generation of its own; a rebuilt index is the same."""
    monkeypatch.setattr(index, "SMALL_PASSAGES", 12)
    artifacts = open_artifacts(tmp_path)
    for number in range(10):
        artifacts.save(f"Note {number % 8}", f"the {number}th ocelot")
        artifacts.catch_up()
    before = artifacts._index._state()
    assert not before.large
    for number in range(10, 20):
        artifacts.save(f"Note {number}", f"the {number}th ocelot")
        artifacts.catch_up()
    after = artifacts._index._state()
    assert after.large
    assert (after.generation != before.generation, after.embedder) == (True, before.embedder)
    assert len(list(artifacts._index._folder.path.glob("*/"))) == 1
    assert len(titles(artifacts, "ocelot", limit=50)) == 18
    assert len(titles(artifacts, "ocelot", limit=50, mode="vector")) == 18
    grown = rows(artifacts)
    assert artifacts.verify_index() == []
    artifacts.rebuild_index()
    assert rows(artifacts) == grown


def test_without_fts5_lancedb_has_every_passage(tmp_path, monkeypatch):
    """Some builds of SQLite lack it. What another interpreter has made there is rebuilt."""
    artifacts = open_artifacts(tmp_path)
    artifacts.save("One", "fossa")
    assert titles(artifacts, "fossa") == ["One"]
    monkeypatch.setattr(sqlite_table, "is_available", lambda: False)

    def missing(*_arguments):
        raise sqlite_table.sqlite3.OperationalError("no such module: fts5")

    monkeypatch.setattr(sqlite_table, "_scores", missing)
    assert titles(artifacts, "fossa") == ["One"]
    assert artifacts._index._state().large


KILLED_IN_A_COMMIT = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE passages SET text = 'gone wrong' || hex(randomblob(600))")
connection.execute("UPDATE artifacts SET title = 'gone wrong'")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_visitor_leaves_a_killed_writers_traces_and_finds_everything(tmp_path):
    """The journal of its half-done commit stays for the next writer, who rolls it back."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("kettle")
        for number in range(40):
            orch.artifacts.save(f"Note {number}", f"ocelot number {number} " + "tail " * 200)
        orch.artifacts.catch_up()
    (database,) = (tmp_path / ".task_orchestrator" / "index.lance").rglob("passages.db")
    command = [sys.executable, "-c", KILLED_IN_A_COMMIT, str(database)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    journal = database.with_name("passages.db-journal")
    left = journal.read_bytes(), database.read_bytes()
    assert left[0]
    assert b"gone wrong" in left[1]
    with vespera.open(tmp_path, readonly=True) as orch:
        assert orch.artifacts.search("number 17")[0].title == "Note 17"
    assert (journal.read_bytes(), database.read_bytes()) == left
    with vespera.open(tmp_path) as orch:
        assert orch.artifacts.search("number 17")[0].title == "Note 17"
        assert orch.artifacts.search("gone wrong", mode="text") == []
        assert orch.artifacts.verify_index() == []
    assert not journal.exists()


def test_its_files_have_the_rights_of_the_home(tmp_path):
    """Nobody else may read them, from the moment they are made."""
    old_mask = os.umask(0)
    try:
        table = sqlite_table.SQLiteTable.create(private_folder(tmp_path))
    finally:
        os.umask(old_mask)
    assert table.size().passages == 0
    modes = [path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.db*")]
    assert modes == [0o600]


def private_folder(parent):
    """Return a folder that nobody else may enter."""
    folder = parent / "private"
    folder.mkdir(mode=0o700)
    return folder


def test_no_link_is_followed(tmp_path):
    """A home from somebody else may name a file of ours: it is refused, and stays as it was."""
    artifacts = open_artifacts(tmp_path)
    artifacts.save("One", "fossa")
    artifacts.catch_up()
    (database,) = artifacts._index._folder.path.rglob("passages.db")
    ours = database.rename(tmp_path / "ours.db")
    database.symlink_to(ours)
    before = ours.read_bytes()
    artifacts.save("Two", "fossa")
    with pytest.raises(vespera.UntrustedHomeError, match=r"passages\.db"):
        titles(artifacts, "fossa")
    assert ours.read_bytes() == before


def test_an_index_of_an_earlier_version_is_rebuilt(tmp_path):
    """Its ``state.json`` has another format, and a table of LanceDB stands behind it."""
    artifacts = open_artifacts(tmp_path)
    artifacts.save("One", "fossa")
    artifacts.catch_up()
    folder = artifacts._index._folder.path
    earlier = folder / ("0" * 16)
    (earlier / "passages.lance").mkdir(parents=True)
    state = {"generation": earlier.name, "cursor": 1, "stamp": "", "version": 9, "tidied": 9}
    (folder / "state.json").write_text(json.dumps({"format": 4, "state": state}))
    assert titles(artifacts, "fossa") == ["One"]
    assert not earlier.exists()


def test_a_long_question_is_no_trouble_for_either(tmp_path):
    """Hundreds of different words are one query."""
    artifacts = open_artifacts(tmp_path)
    artifacts.save("One", "word7 word8")
    question = " ".join(f"word{number}" for number in range(600))
    assert titles(artifacts, question) == ["One"]


def test_base64_is_passed_over_and_all_else_searched(tmp_path):
    """As it stands in mail; digests stay."""
    picture = "".join(f"iVBORw0KGgo{number:06}AAAANSUhEUgAA" for number in range(20_000))
    lines = [picture[start : start + 76] for start in range(0, 40_000, 76)]
    digests = "\n".join(f"{number:064x}" for number in range(2**60, 2**60 + 30))
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Figures")
        orch.artifacts.save("Mail", "Subject: supernova\n\n" + "\n".join(lines) + "\n\nYours, Ada")
        orch.artifacts.save("Digests", digests)
        hit = orch.artifacts.search("Yours", mode="text")[0]
        assert hit.title == "Mail"
        assert orch.artifacts.text(hit.artifact_id)[hit.start : hit.end] == hit.text
        assert titles(orch.artifacts, f"{2**60 + 7:064x}", mode="text") == ["Digests"]
        assert orch.artifacts.index_status().passages < 20


def test_a_search_follows_a_generation_that_is_replaced_under_it(tmp_path, monkeypatch):
    """Another process rebuilds the index, and removes the old one, while this one opens it."""
    monkeypatch.setattr(index, "SMALL_PASSAGES", 0)
    artifacts, other = open_artifacts(tmp_path), open_artifacts(tmp_path)
    artifacts.save("Found", "an ocelot")
    other.catch_up()
    folder = artifacts._index._folder
    old, read_state = folder.read_state(), folder.read_state
    other.rebuild_index()
    stale = [old, old]
    monkeypatch.setattr(folder, "read_state", lambda: stale.pop() if stale else read_state())
    monkeypatch.setattr(artifacts._index, "_is_brought_up", lambda _: False)
    assert titles(artifacts, "ocelot") == ["Found"]
    assert stale == []

"""Vectors beside words, and what a task is given to read."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from vespera_orchestrator import (
    EmbedderError,
    InvalidInputError,
    MissingDependencyError,
)
from vespera_orchestrator.artifacts.content import pdfs
from vespera_orchestrator.artifacts.search import (
    embedders,
    index,
    lancedb_private,
    lancedb_table,
    passages,
    table,
    upkeep,
)
from vespera_orchestrator.artifacts.search.ranking import PassageMatch, rank
from vespera_orchestrator.artifacts.search.state import IndexState
from vespera_orchestrator.contracts import Embedder

PARAPHRASES = {
    "the automobile's motor failed to start": "car engine trouble",
    "physicians treated the patient in hospital": "doctor and sick person",
    "the painter sold her canvas to a gallery": "art exhibition picture",
    "heavy rain and thunder all night": "stormy weather",
    "the bakery sells bread and cake": "buy pastry",
}
"""Texts, and questions that share no word with them."""


class Letters:
    """An embedder of a test's own: how often each letter occurs. It can be told to fail."""

    dimensions = 26

    def __init__(self, identity: str = "letters") -> None:
        self.identity = identity
        self.fails: Exception | None = None
        self.embedded = 0

    def passages(self, texts):
        """Count letters."""
        if self.fails is not None:
            raise self.fails
        self.embedded += len(texts)
        return [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts]

    def query(self, text):
        """Count letters."""
        return self.passages([text])[0]


@pytest.fixture
def home(tmp_path):
    """A folder, with a way to open it under another embedder."""
    opened = []

    def open_with(embedder=None, **how):
        orch = vespera.open(tmp_path, embedder=embedder, **how)
        if not opened:
            orch.initialize_session("test")
        opened.append(orch)
        return orch

    yield open_with
    for orch in opened:
        orch.close()


def found(orch, query, **how):
    """Return the titles found, best first."""
    return [hit.title for hit in orch.artifacts.search(query, **how)]


def state(orch):
    """Return the index's state."""
    return orch.artifacts._index._state()


def vectors(orch):
    """Return for each title whether its passages have vectors."""
    rows = orch.artifacts._index._table(state(orch)).rows()
    return {row["title"]: row.get("vector") is not None for row in rows}


# --- embedders ----------------------------------------------------------------


def test_other_words_for_the_same_thing_are_found(home):
    """Vectors find a text that shares no word with the question, and each hit says how."""
    orch = home()
    for number, text in enumerate(PARAPHRASES):
        orch.artifacts.save(f"{number}", text)
    for number, question in enumerate(PARAPHRASES.values()):
        assert found(orch, question, mode="text") == []
        assert found(orch, question, mode="vector")[0] == str(number)
        (first, *_) = orch.artifacts.search(question)
        assert (first.title, first.mode) == (str(number), "hybrid")
    assert "words and vectors" in str(orch.artifacts.index_status())


def test_a_question_about_nothing_there_finds_nothing(home):
    """What is about something else is not an answer, though something is always nearest."""
    orch = home()
    orch.artifacts.save("Leases", "A lease lapses after fifteen minutes.")
    assert found(orch, "zebra") == found(orch, "天気") == []


def test_the_static_model_reaches_for_no_network():
    """Embedding and searching open no socket, and none of wordllama's own code runs."""
    script = """
import socket, sys, tempfile
def refuse(*args, **kwargs): raise AssertionError("a socket")
import vespera_orchestrator
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
with vespera_orchestrator.open(tempfile.mkdtemp()) as orch:
    orch.initialize_session("x")
    orch.artifacts.save("Car", "The automobile's motor failed.")
    assert orch.artifacts.search("car engine")[0].mode == "hybrid"
assert not {"wordllama", "requests", "huggingface_hub"} & set(sys.modules)
"""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_saving_and_completing_load_no_search():
    """A task is completed, with its artifact, without LanceDB, pyarrow, numpy or a model."""
    script = """
import sys, tempfile, vespera_orchestrator
with vespera_orchestrator.open(tempfile.mkdtemp()) as orch:
    orch.initialize_session("x")
    orch.complete_task(orch.plan_task("A"), summary="s", detailed_work="d")
    heavy = {"lancedb", "pyarrow", "numpy", "semantic_text_splitter"}
    print(sorted(heavy & set(sys.modules)))
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_without_the_model_words_are_searched_and_it_is_told(home, monkeypatch):
    """Without the model the search is by words, says so, and names the command to install it."""
    monkeypatch.setattr(embedders.StaticEmbedder, "find", classmethod(lambda _: None))
    orch = home()
    orch.artifacts.save("Note", "the walrus sleeps")
    assert [hit.mode for hit in orch.artifacts.search("walrus", mode="hybrid")] == ["text"]
    assert "pip install 'vespera-orchestrator[vectors]'" in str(orch.artifacts.index_status())
    with pytest.raises(MissingDependencyError, match="vectors"):
        orch.artifacts.search("walrus", mode="vector")
    with pytest.raises(MissingDependencyError):
        found(home("wordllama"), "walrus")


def test_embedders_are_chosen_by_name_or_given(home, monkeypatch, tmp_path):
    """By argument, environment or config.toml; a wrong name is refused with the right ones."""
    assert isinstance(Letters(), Embedder)
    home("none").artifacts.save("Note", "x")
    with pytest.raises(InvalidInputError, match="sentence-transformers"):
        found(home("no-such:model"), "x")
    with pytest.raises(InvalidInputError, match="identity"):
        found(home(object()), "x")
    assert found(home("none"), "x") == ["Note"]
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_EMBEDDER", "none")
    assert home().artifacts.search("x")[0].mode == "text"
    monkeypatch.delenv("VESPERA_ORCHESTRATOR_EMBEDDER")
    (tmp_path / ".task_orchestrator" / "config.toml").write_text('[search]\nembedder = "none"\n')
    orch = home()
    assert "switched off" in str(orch.artifacts.index_status())
    assert orch.spawn_agent_with_context().environ()["VESPERA_ORCHESTRATOR_EMBEDDER"] == "none"
    with pytest.raises(InvalidInputError, match="switched off"):
        orch.artifacts.search("x", mode="vector")


def test_a_model_of_the_registry_is_used_and_its_missing_package_named(home):
    """A registered function is found by its name; one whose package is missing names that."""
    lancedb_private.load()
    from lancedb.embeddings import TextEmbeddingFunction, get_registry, register

    if "test-letters" not in get_registry()._functions:

        @register("test-letters")
        class TestLetters(TextEmbeddingFunction):
            name: str = "a"

            def ndims(self):
                return 26

            def generate_embeddings(self, texts):
                return Letters().passages(texts)

    orch = home("test-letters:b")
    orch.artifacts.save("Zoo", "zzz zzz")
    assert orch.artifacts.search("zzz", mode="vector")[0].title == "Zoo"
    assert state(orch).embedder == "test-letters:b"
    lacking = home("instructor")
    with pytest.raises(MissingDependencyError, match="pip install"):
        found(lacking, "zzz")


@pytest.mark.parametrize(
    "given_",
    [
        lambda _: None,
        lambda texts: [[1.0]] * len(texts),
        lambda texts: [[float("nan")] * 26 for _ in texts],
        lambda _: [],
    ],
)
def test_what_is_no_vector_is_refused(given_):
    """Too few, too short, not finite, nothing at all: an error of ours that names the embedder."""
    embedder = Letters()
    embedder.passages = given_
    with pytest.raises(EmbedderError, match="letters"):
        embedders.embed(embedder, ["a", "b"])


@given(texts=st.lists(st.text(max_size=200), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_static_vectors_are_sound(texts):
    """Whatever the text: finite, of length one or zero, and the same alone as among others."""
    model = embedders.StaticEmbedder.find()
    made = embedders.embed(model, texts)
    lengths = np.linalg.norm(made, axis=1)
    assert np.isfinite(made).all()
    assert np.all((np.abs(lengths - 1) < 1e-4) | (lengths == 0))
    assert np.allclose(made[0], model.query(texts[0]), atol=1e-6)


# --- one embedder for an index --------------------------------------------------


def test_another_embedder_means_another_index(home):
    """Another embedder, or none, rebuilds the index, which never has vectors of two."""
    first = home(Letters("one"))
    first.artifacts.save("A", "aardvark")
    assert found(first, "aardvark") == ["A"]
    before = state(first)
    other = Letters("two")
    second = home(other)
    second.artifacts.save("B", "bison")
    assert found(second, "bison", mode="vector")[0] == "B"
    assert (state(second).embedder, other.embedded) == ("two", 3)
    assert state(second).generation != before.generation
    third = home("none")
    assert found(third, "bison") == ["B"]
    assert (state(third).embedder, state(third).dimensions, vectors(third)) == (
        "",
        0,
        {"A": False, "B": False},
    )
    fourth = home()
    assert found(fourth, "aardvark") == ["A"]
    assert all(vectors(fourth).values())


def test_a_process_without_the_embedder_leaves_the_vectors_of_others(home, monkeypatch):
    """It indexes its artifacts by words; the next process with the embedder makes the vectors."""
    letters = Letters()
    mine = home(letters)
    mine.artifacts.save("A", "aardvark")
    mine.catch_up()
    monkeypatch.setattr(embedders.StaticEmbedder, "find", classmethod(lambda _: None))
    other = home()
    other.artifacts.save("B", "bison")
    assert found(other, "bison") == ["B"]
    assert vectors(other) == {"A": True, "B": False}
    assert mine.artifacts.search("bison", mode="vector")[0].title == "B"
    assert vectors(mine) == {"A": True, "B": True}
    assert not state(mine).bare


def test_an_embedder_that_fails_costs_nothing_but_its_vectors(home, monkeypatch, caplog):
    """While it fails, the search is by words and one warning says so; later come its vectors."""
    letters = Letters()
    orch = home(letters)
    orch.artifacts.save("A", "aardvark")
    orch.catch_up()
    letters.fails = RuntimeError("the server is away")
    orch.artifacts.save("B", "bison")
    for _ in range(3):
        assert [hit.mode for hit in orch.artifacts.search("bison")] == ["text"]
    assert caplog.text.count("the server is away") == 1
    with pytest.raises(EmbedderError, match="server is away"):
        orch.artifacts.search("bison", mode="vector")
    letters.fails = None
    assert vectors(orch) == {"A": True, "B": False}
    monkeypatch.setattr(orch.artifacts._index._vectors, "paused_until", 0.0)
    assert orch.artifacts.search("bison")[0].mode == "hybrid"
    assert vectors(orch) == {"A": True, "B": True}


def test_a_pdf_read_later_gets_its_vectors_later_still(home, monkeypatch):
    """Its reader comes while the embedder fails: once that is back, it has vectors like others."""
    letters = Letters()
    orch = home(letters)
    with monkeypatch.context() as patch:
        patch.setattr(pdfs, "reader_folder", lambda: None)
        orch.artifacts.save("Sheet.pdf", b"%PDF-1.7 \0 sheet")
        orch.catch_up()
    monkeypatch.setattr(pdfs, "reader_folder", lambda: "somewhere")
    monkeypatch.setattr(pdfs, "_ask", lambda *_: b'{"page": "A quasar"}\n{"end": ""}\n')
    letters.fails = RuntimeError("the server is away")
    assert orch.artifacts.search("quasar")[0].place == "page 1"
    letters.fails = None
    monkeypatch.setattr(orch.artifacts._index._vectors, "paused_until", 0.0)
    assert orch.artifacts.search("quasar")[0].mode == "hybrid"
    assert vectors(orch) == {"Sheet.pdf": True}


def test_rebuilt_with_vectors_it_is_equal(home):
    """The rebuilt index has the same rows, and verify_index() agrees with both."""
    orch = home()
    for number in range(45):
        orch.artifacts.save(
            f"Note {number % 15}", f"version {number} about worktree merging and leases"
        )
        if number % 9 == 0:
            orch.catch_up()

    def rows():
        held = orch.artifacts._index._table(state(orch)).rows()
        return sorted(
            (
                r["artifact_id"],
                r["start"],
                r["superseded"],
                r["text"],
                tuple(np.round(r["vector"], 5)),
            )
            for r in held
        )

    orch.catch_up()
    before = rows()
    assert orch.artifacts.verify_index() == []
    orch.artifacts.rebuild_index()
    assert rows() == before
    assert orch.artifacts.verify_index() == []


def test_verify_tells_what_the_index_lacks(home):
    """Missing passages and those of no artifact are named; what was saved since does not count."""
    orch = home()
    kept, lost = orch.artifacts.save("Kept", "a"), orch.artifacts.save("Lost", "b")
    orch.catch_up()
    orch.artifacts.save("Later", "c")
    orch.artifacts.save("Kept", "a second time")
    assert orch.artifacts.verify_index() == []
    opened = orch.artifacts._index._table(state(orch))
    opened.replace(
        [lost, attrs.evolve(kept, id="a_unknown")],
        [
            table.passage_row(
                attrs.evolve(kept, id="a_unknown"), passages.Passage(start=0, end=1, text="a"), 1
            )
        ],
        None,
        0,
    )
    findings = orch.artifacts.verify_index()
    assert [finding.subject for finding in findings] == ["a_unknown", lost.id]
    assert all("rebuild_index()" in finding.remedy for finding in findings)
    assert lost.id in findings[1].sentence


# --- ranking --------------------------------------------------------------------


def test_superseded_versions_come_last(home):
    """However well an old version fits, every current one goes before it, in every mode."""
    orch = home()
    orch.artifacts.save("Plan", "marmot marmot marmot")
    orch.artifacts.save(
        "Plan", "a plan that mentions one marmot among many other animals of the mountains"
    )
    orch.artifacts.save("Other", "hibernation, and a marmot")
    for mode in ("text", "vector", "hybrid"):
        hits = orch.artifacts.search("marmot", include_superseded=True, mode=mode)
        assert [hit.superseded for hit in hits] == [False, False, True]


def test_a_passage_found_both_ways_counts_once_and_for_both():
    """Words and vectors of one passage add up; another scale of cosines changes nothing."""
    query, far = np.array([1.0, 0.0]), np.array([0.1, 1.0])
    worded = PassageMatch(
        artifact_id="a",
        title="",
        start=0,
        end=9,
        text="lease expiry",
        passage_count=1,
        score=5.0,
        vector=far,
    )
    other = PassageMatch(
        artifact_id="b",
        title="",
        start=0,
        end=9,
        text="lease expiry",
        passage_count=1,
        score=5.0,
        vector=query,
    )
    near = [
        attrs.evolve(other, score=0.0, cosine=0.9),
        PassageMatch(
            artifact_id="c",
            title="",
            start=0,
            end=4,
            text="rent",
            passage_count=1,
            cosine=0.4,
            vector=far,
        ),
    ]
    ranked = rank("lease expiry", [worded, other], near, vector=query)
    assert [entry.passage.artifact_id for entry in ranked] == ["b", "a", "c"]
    assert [
        e.passage.artifact_id
        for e in rank("lease expiry", [worded, other], near, vector=query, least_cosine=0.5)
    ] == ["b", "a"]
    narrow = [
        attrs.evolve(entry, vector=entry.vector + np.array([5.0, 0.0])) for entry in (worded, other)
    ]
    again = rank("lease expiry", narrow, vector=query)
    assert again[0].score - again[1].score == pytest.approx(0.5, abs=1e-6)
    assert [entry.passage.artifact_id for entry in rank("lease expiry", narrow)] == ["a", "b"]


# --- large tables, small writes ---------------------------------------------------


def test_a_large_table_gets_a_vector_index_that_finds_the_same(tmp_path, monkeypatch):
    """Above a size there is a vector index, retrained with growth, that finds what is nearest."""
    monkeypatch.setattr(lancedb_table, "VECTOR_INDEX_FROM", 3000)
    opened = lancedb_table.LanceTable.create(tmp_path / "t", 64)
    chance = np.random.default_rng(5)
    centres = chance.normal(size=(40, 64))

    def grow(start, count):
        made = (
            centres[chance.integers(40, size=count)] + chance.normal(scale=0.7, size=(count, 64))
        ).astype(np.float32)
        rows = [
            _row(f"a{number}", f"word{number % 50}", tag="even" if number % 2 == 0 else "odd")
            for number in range(start, start + count)
        ]
        opened.replace([], rows, made, 0)

    grow(0, 2000)
    assert opened.optimize(0, upkeep.KEEP_VERSIONS) == 0
    grow(2000, 2000)
    trained = opened.optimize(0, upkeep.KEEP_VERSIONS)
    assert trained == 4000
    grow(4000, 1000)
    assert opened.optimize(trained, upkeep.KEEP_VERSIONS) == trained
    right = total = 0
    queries = (chance.normal(size=(20, 64)) + centres[:20]).astype(np.float32)
    for filters in (table.SearchFilter(), table.SearchFilter(tags=("even",))):
        for vector in queries:
            near = nearest_ids(opened, vector, filters)
            exact = nearest_ids(opened, vector, filters, exact=True)
            assert len(exact) == 10
            right, total = right + len(near & exact), total + len(exact)
    assert right / total >= 0.98


def nearest_ids(opened, vector, filters, **how):
    """Return the artifacts of the ten passages nearest to a vector."""
    _, matches = opened.search(None, vector, filters, 200, **how)
    return {passage.artifact_id for passage in matches[:10]}


def _row(artifact_id, words, tag=""):
    passage = {
        "start": 0,
        "end": len(words),
        "text": words,
        "passages": 1,
        "superseded": False,
        "title": artifact_id,
    }
    return {
        "artifact_id": artifact_id,
        "session_id": "s",
        "task_id": "",
        "kind": "k",
        "tags": [tag],
        **passage,
    }


def test_many_small_writes_stay_few_files(home, monkeypatch):
    """Artifacts indexed one by one are compacted: files stay few, and disk follows the text."""
    monkeypatch.setattr(index, "SMALL_PASSAGES", 0)
    orch = home("none")
    sizes = []
    for number in range(80):
        orch.artifacts.save(f"Note {number}", f"about subject {number}")
        orch.catch_up()
        if number in {39, 79}:
            sizes.append(
                sum(
                    path.stat().st_size
                    for path in (orch.home / "index.lance").rglob("*")
                    if path.is_file()
                )
            )
    opened = orch.artifacts._index._table(state(orch))
    stats = lancedb_private.run(opened._table.stats())
    assert stats["fragment_stats"]["num_fragments"] <= upkeep.COMPACT_AFTER_VERSIONS + 1
    assert sizes[1] < 3 * sizes[0]
    assert len(found(orch, "subject", limit=200)) == 80


def test_a_second_copy_of_the_table_goes_once_no_reader_needs_it(home, monkeypatch):
    """Optimizing writes a new table anew; the next write removes what was there before."""
    monkeypatch.setattr(index, "SMALL_PASSAGES", 0)
    monkeypatch.setattr(upkeep, "MIN_UNINDEXED", 20)
    orch = home("none")
    for number in range(30):
        orch.artifacts.save(f"Note {number}", f"about subject {number}")
        if number in {14, 29}:
            orch.catch_up()
    files = orch.home / "index.lance" / state(orch).generation / "passages.lance" / "data"
    assert state(orch).copied_at
    copies = len(list(files.iterdir()))
    monkeypatch.setattr(upkeep, "KEEP_VERSIONS", timedelta(milliseconds=1))
    orch.artifacts.save("Later", "about subject 30")
    orch.catch_up()
    assert len(list(files.iterdir())) < copies
    assert not state(orch).copied_at
    assert len(found(orch, "subject", limit=200)) == 31


def test_what_is_not_indexed_yet_grows_slower_than_the_table():
    """Optimizing follows the square root of the table, so that its share shrinks with growth."""
    held = {"passages": 100_000, "unindexed": 0}

    class Counting:
        version = 1
        tidied = 0

        def size(self):
            return table.TableSize(**held)

        def optimize(self, trained, _):
            self.tidied += 1
            held["unindexed"] = 0
            return trained

        def compact(self, epoch):
            pass

    counting, at = Counting(), IndexState(generation="0" * 16, version=1)
    for _ in range(1000):
        held["passages"] += 5
        held["unindexed"] += 5
        counting.version += 1
        at = upkeep.maintain(counting, attrs.evolve(at, version=counting.version))
    assert counting.tidied == 1


# --- threads, loops, forks, kills ---------------------------------------------------


def test_searching_leaves_no_thread_behind():
    """LanceDB's own thread is stopped, and its blocking functions still work for others."""
    script = """
import sys, tempfile, threading, vespera_orchestrator
before = threading.enumerate()
with vespera_orchestrator.open(tempfile.mkdtemp()) as orch:
    orch.initialize_session("x")
    orch.artifacts.save("A", "walrus")
    assert orch.artifacts.search("walrus")
    assert threading.enumerate() == before, threading.enumerate()
import lancedb
database = lancedb.connect(tempfile.mkdtemp())
assert database.create_table("t", [{"a": 1}]).count_rows() == 1
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_search_works_inside_an_event_loop(home):
    """In a notebook, or any coroutine, the caller's loop is left alone and no thread stays."""
    orch = home()
    orch.artifacts.save("A", "walrus")

    async def inside():
        before = threading.enumerate()
        titles = found(orch, "walrus")
        assert threading.enumerate() == before
        return titles

    assert asyncio.run(inside()) == ["A"]


@pytest.mark.usefixtures("patient_search")
def test_threads_may_search_at_once(home):
    """Eight threads search while artifacts are saved, and each sees what was saved before."""
    orch = home()
    orch.artifacts.save("First", "walrus")
    failures = []

    def ask(number):
        try:
            orch.artifacts.save(f"Note {number}", f"walrus {number}")
            assert f"Note {number}" in found(orch, f"walrus {number}", limit=20)
        except BaseException as exc:  # noqa: BLE001 - told by the main thread
            failures.append(exc)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


KILLED = """
import sys, vespera_orchestrator
from vespera_orchestrator.artifacts.search import index, upkeep
index._BATCH_PASSAGES, upkeep.COMPACT_AFTER_VERSIONS = 3, 3
upkeep.MIN_UNINDEXED, upkeep.UNINDEXED_PER_ROOT = 5, 0
with vespera_orchestrator.open(sys.argv[1]) as orch:
    number = 0
    print("begun", flush=True)
    while True:
        orch.artifacts.save(f"Note {number % 40}", f"ocelot number {number}")
        if number % 2:
            orch.artifacts.catch_up()
        if number % 31 == 30:
            orch.artifacts.rebuild_index()
        number += 1
        print(number, flush=True)
"""


def kill_after(project, rounds):
    """Run the writer, and kill it in the midst of the round after so many."""
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(project)], stdout=subprocess.PIPE)
    for _ in range(1 + rounds):
        assert writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()


@pytest.mark.soak
def test_killed_at_any_time_it_opens_and_is_right(home):
    """SIGKILL while artifacts are saved, taken in, tidied and rebuilt: then all is found, once."""
    orch = home()
    project = orch.project
    for rounds in (32, 41):  # in a rebuild; while taken in and tidied
        kill_after(project, rounds)
        current = {artifact.title for artifact in orch.artifacts.list()}
        titles = found(orch, "ocelot", limit=100)
        assert sorted(titles) == sorted(current)
        assert orch.artifacts.verify_index() == []
    orch.artifacts.save(
        "One more", "ocelot"
    )  # whoever writes next takes away what a killed rebuild left
    assert "One more" in found(orch, "ocelot", limit=100)
    assert len(list((orch.home / "index.lance").glob("*/"))) == 1


def test_a_question_of_a_megabyte_is_answered_in_time(home):
    """Only its beginning counts, and neither its length nor a huge line takes long."""
    orch = home()
    orch.artifacts.save("Line", "walrus " + "x" * 3_000_000)
    orch.artifacts.save("Words", "walrus " + "tusk " * 400_000)
    orch.catch_up()
    begun = time.process_time()
    assert set(found(orch, "walrus " + "'\"\\%_;--\0\ud800" * 100_000)) == {"Line", "Words"}
    assert time.process_time() - begun < 5


# --- passages -------------------------------------------------------------------


CODE = '''import os


def first(path):
    """Say what is there."""
    return os.listdir(path)


class Second:
    """Holds nothing."""

    def third(self):
        return 3
'''


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_python_is_cut_where_functions_begin(ending):
    """Passages of code begin at a definition where they can."""
    text = (CODE * 8).replace("\n", ending)
    cut = passages.split(text, "text/x-python")
    assert len(cut) > 1
    for passage in cut:
        assert text[passage.start : passage.end] == passage.text
        assert passage.text.lstrip().startswith(("import", "def ", "class ")), passage.text[:40]


def test_json_and_huge_lines_are_cut_in_bounded_time():
    """Texts without seams have exact offsets and passages of bounded length, in seconds."""
    texts = [
        json.dumps([{"name": f"sensor {n}", "values": list(range(20))} for n in range(20_000)]),
        "x" * 2_500_000,
        "é" * 300_000,
    ]
    begun = time.process_time()
    for text in texts:
        cut = passages.split(text, "application/json")
        assert all(
            text[p.start : p.end] == p.text and len(p.text) <= passages.PASSAGE_CHARACTERS[1]
            for p in cut
        )
    assert time.process_time() - begun < 10

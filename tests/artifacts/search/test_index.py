"""The search index: a view that follows the event log and may be thrown away at any time."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import math
import multiprocessing
import re
import resource
import shutil
import signal
import string
import subprocess
import sys
import textwrap
from collections import Counter
from itertools import pairwise
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import TESTS
from support.rooms import rooms_of
from support.stores import start_session
from vespera_orchestrator.artifacts import Artifacts
from vespera_orchestrator.artifacts.search import index as index_module
from vespera_orchestrator.artifacts.search import passages, upkeep
from vespera_orchestrator.artifacts.search.index import ArtifactIndex
from vespera_orchestrator.artifacts.search.ranking import PassageMatch, rank, terms
from vespera_orchestrator.artifacts.search.state import FORMAT, IndexFolder
from vespera_orchestrator.artifacts.search.table import SearchFilter
from vespera_orchestrator.errors import ArtifactIndexError, InvalidInputError, ReadOnlyError
from vespera_orchestrator.home.file_lock import file_lock
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.stores.sqlite import SQLiteStore


def open_artifacts(project: Path) -> Artifacts:
    """Open the artifacts of the home in *project*, in one session however often it is called."""
    home = Home(
        path=project / ".task_orchestrator", project=project, config=Home.locate(project).config
    ).create()
    store = SQLiteStore.open(home.database)
    sessions = store.sessions()
    if not sessions:
        sessions = [start_session(store)]
    scope = Scope(home, store, agent="test", session_id=sessions[0].id)
    return Artifacts(rooms_of(scope))


@pytest.fixture
def artifacts(tmp_path):
    """Real store, real content, real LanceDB."""
    opened = open_artifacts(tmp_path)
    yield opened
    opened._scope.store.close()


def rows(artifacts: Artifacts) -> list[tuple]:
    """Return everything the index holds, in an order of our own."""
    index = artifacts._index
    table = index._table(index._state())
    return sorted(
        tuple(str(v) for name, v in row.items() if name != "epoch") for row in table.rows()
    )


def titles(artifacts: Artifacts, query: str, **how) -> list[str]:
    """Return the titles found, best first."""
    return [hit.title for hit in artifacts.search(query, **how)]


# --- passages ---------------------------------------------------------------

PIECES = st.sampled_from(
    [
        "# Heading\n",
        "\n\n",
        "```py\ndef f(x):\n    pass\n```\n",
        "- item\n",
        "| a | b |\n|--|--|\n",
        "\r\n",
        "> quote\n",
    ]
)
PROSE = st.lists(
    st.one_of(PIECES, st.text(st.characters(codec="utf-8"), max_size=300)), max_size=40
).map("".join)


@given(text=PROSE, media_type=st.sampled_from(["text/markdown", "text/x-python"]))
@settings(max_examples=60)
def test_offsets_are_exact(text, media_type):
    """A passage is the slice between its offsets, and only white space is between passages."""
    end = 0
    for passage in passages.split(text, media_type):
        assert text[passage.start : passage.end] == passage.text
        assert text[end : passage.start].strip() == ""
        assert len(passage.text) <= passages.PASSAGE_CHARACTERS[1]
        assert passages.searchable_text(passage.text, "title").startswith(passage.text)
        end = passage.end
    assert text[end:].strip() == ""


def test_identifiers_are_taken_apart():
    """The parts of camelCase and snake_case are words."""
    assert passages.identifier_parts("parseHTTPConfig2") == ("parse", "HTTP", "Config", "2")
    assert passages.identifier_parts("parse_config") == ("parse", "config")
    assert passages.identifier_parts("config") == ()
    assert passages.identifier_parts("größer_oderGleich") == ("größer", "oder", "Gleich")
    assert passages.identifier_parts("日本語") == ("日本", "本語")
    assert terms("parseConfigs running_late") == ["pars", "config", "run", "lat"]


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("水", "Japanese"),
        ("库", "Chinese"),
        ("数据库", "Chinese"),
        ("データベース", "Japanese"),
        ("데이터베이스", "Korean"),
        ("ต้มน้ำ", "Thai"),
        ("កំសៀវ", "Khmer"),
        ("🔥", "Emoji"),
        ("→", "Arrow"),
    ],
)
def test_scripts_without_spaces_are_searched(artifacts, query, title):
    """By what a reader takes for a word, also if that is a single character."""
    artifacts.save("Chinese", "# 错误处理\n\n数据库连接失败时系统会重试三次。")
    artifacts.save("Japanese", "データベース接続に失敗した場合、三回リトライします。水を沸かす。")
    artifacts.save("Korean", "데이터베이스연결에 실패하면 세 번 다시 시도한다.")
    artifacts.save("Thai", "กาต้มน้ำจะปิดเองเมื่อน้ำเดือด")
    artifacts.save("Khmer", "កំសៀវបិទដោយខ្លួនឯងនៅពេលទឹកពុះ")
    artifacts.save("Emoji", "The kettle is hot 🔥")
    artifacts.save("Arrow", "hot → cold")
    assert titles(artifacts, query, mode="text")[0] == title


# --- ranking ----------------------------------------------------------------


def test_what_a_text_begins_with_counts_more():
    """Of two texts with the same words, the one whose title or beginning has them goes first."""
    filler = (
        "many other words of no account stand here and take up a line of their own in the text "
    )
    late = PassageMatch(
        artifact_id="a",
        title="Notes",
        start=0,
        end=100,
        text=f"{filler}lease, then expiry",
        passage_count=1,
        score=5.0,
    )
    early = PassageMatch(
        artifact_id="b",
        title="Notes",
        start=0,
        end=100,
        text=f"lease, then expiry {filler}",
        passage_count=1,
        score=5.0,
    )
    titled = attrs.evolve(late, artifact_id="c", title="Expiry of a lease")
    deep = attrs.evolve(early, artifact_id="d", start=9000)
    assert [
        entry.passage.artifact_id for entry in rank("lease expiry", [late, deep, early, titled])
    ] == ["c", "b", "a", "d"]


@given(st.permutations(["alpha", "beta", "gamma", "delta"]), st.floats(-1e-9, 1e-9))
def test_what_scores_alike_has_one_order(titles, noise):
    """Equal scores have one order, whatever the ids, the order of writing and the last digits."""
    found = [
        PassageMatch(
            artifact_id=f"{number}",
            title=title,
            start=0,
            end=5,
            text="lease",
            passage_count=1,
            score=5.0 + number * noise,
        )
        for number, title in enumerate(titles)
    ]
    assert [entry.passage.title for entry in rank("lease", found)] == [
        "alpha",
        "beta",
        "delta",
        "gamma",
    ]


def test_a_dense_document_goes_before_a_mention():
    """Of two equal best passages, the one whose document speaks of nothing else wins."""
    mention = PassageMatch(
        artifact_id="a", title="", start=0, end=9, text="lease expiry", passage_count=10, score=5.0
    )
    dense = [
        PassageMatch(
            artifact_id="b",
            title="",
            start=0,
            end=9,
            text="lease expiry",
            passage_count=2,
            score=5.0,
        ),
        PassageMatch(
            artifact_id="b",
            title="",
            start=9,
            end=18,
            text="expiry of a lease",
            passage_count=2,
            score=4.0,
        ),
    ]
    assert [entry.passage.artifact_id for entry in rank("lease expiry", [mention, *dense])] == [
        "b",
        "a",
    ]
    assert rank("nothing", []) == []


def test_every_document_found_is_ranked():
    """What is not looked at closely follows below all others, in its rough order."""
    found = [
        PassageMatch(
            artifact_id=f"d{i:03}",
            title="",
            start=0,
            end=5,
            text="gamma",
            passage_count=5000,
            score=200.0 - i,
        )
        for i in range(150)
    ]
    ranked = rank("alpha beta", found)
    assert [entry.passage.artifact_id for entry in ranked] == [f"d{i:03}" for i in range(150)]
    assert all(a.score >= b.score for a, b in pairwise(ranked))


# --- following the log --------------------------------------------------------


def test_what_was_saved_is_found_with_exact_offsets(artifacts):
    """A hit is a slice of the artifact's text, emoji and all."""
    text = (
        "# Häfen 🚢\r\n\r\n"
        + "".join(f"Paragraph {i} is about nothing 😀.\n\n" for i in range(200))
        + "The zeppelin lands at noon."
    )
    saved = artifacts.save("Harbours", text)
    (hit,) = artifacts.search("zeppelin landing")
    assert (hit.artifact_id, hit.title, hit.version, hit.task_id) == (saved.id, "Harbours", 1, None)
    assert "zeppelin" in hit.text
    assert artifacts.text(saved)[hit.start : hit.end] == hit.text
    assert hit.score > 0
    assert "zeppelin" in str(hit)


def test_catching_up_twice_changes_nothing(artifacts):
    """Catch-up indexes each artifact once; reading the whole log again leaves the same index."""
    for i in range(5):
        artifacts.save(f"Note {i}", f"about subject {i} and leases")
    assert artifacts.catch_up() == 5
    assert artifacts.catch_up() == 0
    before = rows(artifacts)
    state = artifacts._index._folder.path / "state.json"
    raw = json.loads(state.read_text())
    raw["state"] |= {"cursor": 0, "stamp": ""}
    state.write_text(json.dumps(raw))
    assert artifacts.catch_up() == 5
    assert rows(artifacts) == before


def test_rebuilt_it_is_equal(artifacts):
    """After any history of saves and versions, the rebuilt index has and answers the same."""
    for i in range(60):
        artifacts.save(f"Note {i % 20}", f"version {i} of a note on worktreeMerge number {i}")
        if i % 3 == 0:
            artifacts.catch_up()
    answers = [
        artifacts.search(q, include_superseded=s)
        for q in ("worktree", "number 17", "note 3")
        for s in (False, True)
    ]
    before = rows(artifacts)
    assert artifacts.rebuild_index() == 60
    assert rows(artifacts) == before
    again = [
        artifacts.search(q, include_superseded=s)
        for q in ("worktree", "number 17", "note 3")
        for s in (False, True)
    ]
    assert [{hit.artifact_id for hit in answer} for answer in again[2:4]] == [
        {hit.artifact_id for hit in answer} for answer in answers[2:4]
    ]
    assert [answer[0] for answer in again[2:4]] == [answer[0] for answer in answers[2:4]]
    assert len(list(artifacts._index._folder.path.glob("*/"))) == 1


def test_superseded_versions_are_left_out(artifacts):
    """Only the current version is found, unless older ones are asked for."""
    old = artifacts.save("Plan", "the marmot sleeps in winter, marmot marmot")
    assert [hit.artifact_id for hit in artifacts.search("marmot")] == [old.id]
    new = artifacts.save("Plan", "the marmot wakes in spring")
    assert [hit.artifact_id for hit in artifacts.search("marmot")] == [new.id]
    both = artifacts.search("marmot", include_superseded=True)
    assert {(hit.artifact_id, hit.version, hit.superseded) for hit in both} == {
        (old.id, 1, True),
        (new.id, 2, False),
    }


def test_identifiers_are_found_by_their_parts(artifacts):
    """Part, whole and other spelling all find the code; a whole digest is found as well."""
    artifacts.save(
        "code", f"def parseHttpConfig(raw_lines): ...  # {'ab' * 32}", media_type="text/x-python"
    )
    for query in ("config", "parseHttpConfig", "parse_http_config", "lines", "ab" * 32):
        assert titles(artifacts, query) == ["code"], query


def test_scripts_without_spaces_are_found(artifacts):
    """A word inside a Chinese or Japanese sentence is found."""
    artifacts.save("Notes", "検索の索引は後で作り直すことができます。")
    assert titles(artifacts, "索引") == ["Notes"]
    assert titles(artifacts, "天気") == []


def test_an_empty_home_has_nothing_to_find(artifacts):
    """Before anything was saved a search is empty, and makes no index."""
    assert titles(artifacts, "anything") == []
    assert artifacts.catch_up() == 0
    assert not artifacts._index._folder.path.exists()


def test_filters_come_before_ranking(artifacts):
    """Filters choose among all artifacts, not among the best few, and hold any characters."""
    for i in range(30):
        artifacts.save(f"Loud {i}", "signal signal signal", kind="loud", tags=("a", "b"))
    artifacts.save(
        "Quiet", "a single signal in a long and quiet evening", kind="it's", tags=("a%b", 'q"')
    )
    assert titles(artifacts, "signal", kind="it's") == ["Quiet"]
    assert titles(artifacts, "signal", tags=("a%b", 'q"')) == ["Quiet"]
    assert titles(artifacts, "signal", tags=["%"]) == []
    assert len(titles(artifacts, "signal", tags="a", limit=50)) == 30
    assert titles(artifacts, "signal", kind="' OR 1=1 --") == []


def test_one_long_artifact_does_not_crowd_out_the_others(artifacts):
    """Hits are artifacts: a long one with hundreds of matching passages takes one place."""
    artifacts.save("Long", "\n\n".join(f"Tide tide tide {i} " + "x " * 300 for i in range(300)))
    artifacts.save(
        "Short",
        "Here a tide is mentioned, among many other words that have nothing to do with it at all, "
        * 3,
    )
    assert sorted(titles(artifacts, "tide")) == ["Long", "Short"]


def test_what_is_no_text_is_not_searched(artifacts):
    """Binary artifacts are passed over, text that is not valid UTF-8 is not."""
    artifacts.save("Picture", b"walrus", media_type="image/png")
    artifacts.save("Latin", b"walrus caf\xe9 walrus", media_type="text/plain")
    artifacts.save("Cut", "walrus \ud83d")
    artifacts.save("Data", {"animal": "walrus"})
    artifacts.save("Blank", " \n ")
    assert sorted(titles(artifacts, "walrus")) == ["Cut", "Data", "Latin"]


def test_damaged_content_does_not_stop_the_others(artifacts):
    """An artifact whose bytes are damaged is not found; everything else is."""
    broken = artifacts.save("Broken", "ibex one")
    artifacts._content.path(broken.digest).unlink()
    artifacts.save("Whole", "ibex two")
    assert titles(artifacts, "ibex") == ["Whole"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A home with a few artifacts, shared by tests that only read."""
    opened = open_artifacts(tmp_path_factory.mktemp("library"))
    opened.save("Quoting", 'Say "hello world" (and more) AND/OR nothing; it\'s 100% sure: a+b')
    opened.catch_up()
    yield opened
    opened._scope.store.close()


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(categories=("Cs", "Cc", "Po", "Sm")), max_size=20),
    st.lists(
        st.sampled_from(
            [
                '"',
                "'",
                "(",
                ")",
                "AND",
                "OR",
                "NOT",
                "*",
                "^2",
                "~",
                "\\",
                ":",
                "hello",
                "\0",
                "--",
                "{}",
                "\ud800",
            ]
        )
    ).map(" ".join),
)


@given(query=HOSTILE, word=HOSTILE)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_query_may_hold_any_characters(library, query, word):
    """No query and no filter raises a foreign error, and none causes a rebuild."""
    generation = library._index._state().generation
    assert isinstance(library.search(query), list)
    with contextlib.suppress(InvalidInputError):
        assert library.search("hello", kind=word, tags=[word]) == []
    assert library._index._state().generation == generation


def test_quoted_words_must_stand_together(artifacts):
    """Quoted words must stand together; where no text has them so, they count singly."""
    artifacts.save("together", "It began at the end of the world, in parse_args of all places.")
    artifacts.save("apart", "The world has an end; args are parsed, and the places differ.")
    assert set(titles(artifacts, "end of the world")) == {"together", "apart"}
    assert titles(artifacts, '"end of the world"') == ["together"]
    assert titles(artifacts, 'places "end of the world"') == ["together"]
    assert titles(artifacts, '"parse_args of all"') == ["together"]
    assert set(titles(artifacts, '"places world"')) == {"together", "apart"}
    assert titles(artifacts, 'world "end of the world" "') == ["together"]
    artifacts.catch_up()
    assert titles(artifacts, '"end of the world"') == ["together"]


def test_quotes_and_operators_are_just_characters(library):
    """What looks like query syntax still finds the words in it."""
    for query in ('"hello world"', '"hello', "hello AND (world", "hello*", "world~2", "hello\0"):
        assert titles(library, query) == ["Quoting"], query
    for query in ("", "   ", "the of", "\0", "\ud800", "???"):
        assert titles(library, query) == [], query
    assert titles(library, "hello " * 5000) == ["Quoting"]


def test_searching_takes_in_what_waits_once_it_has_cost_as_much(artifacts, monkeypatch):
    """After some searches unindexed passages are indexed, unless another process is writing."""
    monkeypatch.setattr(index_module, "SMALL_PASSAGES", 0)
    for number in range(40):
        artifacts.save(f"note {number}", f"the kettle number {number} sings")
    artifacts.catch_up()
    index = artifacts._index
    waiting = index._table(index._state()).size().unindexed
    assert waiting > 0
    searches = 5
    monkeypatch.setattr(upkeep, "MIN_OPTIMIZE_S", (searches - 0.5) * waiting * upkeep.SCAN_S)
    monkeypatch.setattr(upkeep, "OPTIMIZE_S", 0.0)
    before = titles(artifacts, "kettle 7 sings")
    for _ in range(searches - 2):
        assert titles(artifacts, "kettle 7 sings") == before
    assert index._table(index._state()).size().unindexed == waiting
    with file_lock(artifacts._scope.home.locks / "index.lock"):
        assert titles(artifacts, "kettle 7 sings") == before
    assert index._table(index._state()).size().unindexed == waiting
    for _ in range(searches):
        assert titles(artifacts, "kettle 7 sings")[0] == "note 7"
    assert index._table(index._state()).size().unindexed == 0
    assert artifacts.verify() == []


# --- damage, other processes, kills -------------------------------------------


def cut_table(folder: Path) -> None:
    """Truncate every data file of the index."""
    for path in [*folder.rglob("*.lance"), *folder.rglob("*.db")]:
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])


def cut_manifests(folder: Path) -> None:
    """Remove what makes the table a table."""
    for path in folder.rglob("_versions"):
        shutil.rmtree(path)
    for path in folder.rglob("*.db"):
        path.unlink()


def other_format(folder: Path) -> None:
    """Pretend that another version of the library wrote it."""
    state = folder / "state.json"
    state.write_text(state.read_text().replace(f'"format": {FORMAT}', '"format": 999'))


def garbage_state(folder: Path) -> None:
    """Write nonsense where the state should be."""
    (folder / "state.json").write_bytes(b"\xff\0{")


def old_version(folder: Path) -> None:
    """Pretend that writes were lost after the cursor was written."""
    raw = json.loads((folder / "state.json").read_text())
    raw["state"]["version"] += 1000
    (folder / "state.json").write_text(json.dumps(raw))


def no_folder(folder: Path) -> None:
    """Throw it all away."""
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "damage", [cut_table, cut_manifests, other_format, garbage_state, no_folder]
)
@pytest.mark.parametrize("opened_before", [True, False])
@pytest.mark.parametrize("small_passages", [0, 10_000], ids=["large", "small"])
def test_a_damaged_index_is_made_anew_by_itself(
    tmp_path, monkeypatch, damage, opened_before, small_passages
):
    """Whatever happened to the folder, the next search is right, in an old and a new process."""
    monkeypatch.setattr(index_module, "SMALL_PASSAGES", small_passages)
    artifacts = open_artifacts(tmp_path)
    artifacts.save("One", "the axolotl regrows its limbs")
    assert titles(artifacts, "axolotl") == ["One"]
    damage(artifacts._index._folder.path)
    if not opened_before:
        artifacts = open_artifacts(tmp_path)
    assert titles(artifacts, "axolotl") == ["One"]
    artifacts.save("Two", "another axolotl")
    assert sorted(titles(artifacts, "axolotl")) == ["One", "Two"]
    assert len(rows(artifacts)) == 2


def test_lost_writes_are_noticed(artifacts):
    """A table older than the cursor says is rebuilt at the next catch-up."""
    artifacts.save("One", "axolotl")
    artifacts.catch_up()
    old_version(artifacts._index._folder.path)
    artifacts.save("Two", "axolotl")
    assert artifacts.catch_up() == 2


def test_another_log_is_noticed(tmp_path):
    """An index that followed another store is rebuilt: a restored backup must hide nothing."""
    first = open_artifacts(tmp_path)
    first.save("First", "quokka")
    assert titles(first, "quokka") == ["First"]
    first._scope.store.close()
    for path in first._scope.home.path.glob("orchestrator.db*"):
        path.unlink()
    second = open_artifacts(tmp_path)
    second.save("Second", "quokka")
    assert titles(second, "quokka") == ["Second"]


@pytest.mark.parametrize("small_passages", [0, 10_000], ids=["large", "small"])
def test_while_another_process_writes_everything_is_found(artifacts, monkeypatch, small_passages):
    """A searcher that finds the lock held waits a bounded time, then looks at what waits itself."""
    monkeypatch.setattr(index_module, "SMALL_PASSAGES", small_passages)
    artifacts.save("One", "a capybara, and many other animals of the rivers of South America")
    artifacts.catch_up()
    old = artifacts.save("Two", "capybara, capybara")
    new = artifacts.save("Two", "capybara")
    filters = SearchFilter()

    def search(index, query="capybara", wanted=filters):
        result = index.search(query, wanted, wait_s=0)
        return [entry.passage.artifact_id for entry in result.ranked], result.mode

    index = artifacts._index
    with file_lock(artifacts._scope.home.locks / "index.lock"):
        assert index.catch_up(wait_s=0) is None
        found, mode = search(index)
        assert (found[0], len(found), mode) == (new.id, 2, "hybrid")
        assert old.id not in found
        third = artifacts.save("Three", "a capybara in three words")
        assert set(search(index)[0]) == {*found, third.id}
        quoted = SearchFilter(phrases=("in three",))
        assert search(index, '"in three"', quoted)[0][0] == third.id
        fresh = ArtifactIndex(artifacts._scope, artifacts._content)
        fresh._folder = IndexFolder(fresh._folder.path.with_name("none"))
        assert set(search(fresh)[0]) == {*found, third.id}
        monkeypatch.setattr(index_module, "_MOST_AHEAD", 3)
        unread = ArtifactIndex(artifacts._scope, artifacts._content)
        unread._folder = fresh._folder
        with pytest.raises(ArtifactIndexError, match="again in a moment"):
            search(unread)
    assert sorted(titles(artifacts, "capybara")) == ["One", "Three", "Two"]


def save_and_catch_up(project: Path, name: str, count: int) -> None:
    """Run in a child: save, and bring the index up to date after each."""
    artifacts = open_artifacts(project)
    for i in range(count):
        artifacts.save(f"{name} {i}", f"pangolin {name} {i}")
        artifacts.catch_up()


def test_processes_write_and_search_at_once(tmp_path):
    """Two processes save and catch up while a third searches: nothing twice, nothing missing."""
    artifacts = open_artifacts(tmp_path)
    artifacts.save("First", "pangolin")
    context = multiprocessing.get_context("spawn")
    children = [
        context.Process(target=save_and_catch_up, args=(tmp_path, name, 8))
        for name in ("left", "right")
    ]
    for child in children:
        child.start()
    while any(child.is_alive() for child in children):
        found = titles(artifacts, "pangolin", limit=100)
        assert "First" in found
        assert len(found) == len(set(found))
    assert [child.exitcode for child in children] == [0, 0]
    assert len(titles(artifacts, "pangolin", limit=100)) == len(rows(artifacts)) == 17


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from artifacts.search.test_index import open_artifacts
from vespera_orchestrator.artifacts.search import index, lancedb_table, sqlite_table, state, upkeep

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def then_die(real):
    def call(*args, **kwargs):
        real(*args, **kwargs)
        die()
    return call

def half(self, artifacts, rows, vectors, epoch, *, superseded):
    real_replace(self, artifacts, rows[: len(rows) // 2], None, 0)
    die()

point, index.SMALL_PASSAGES = sys.argv[2], int(sys.argv[3])
kind = sqlite_table.SQLiteTable if index.SMALL_PASSAGES else lancedb_table.LanceTable
real_replace = kind.replace
index._BATCH_PASSAGES, upkeep.MIN_UNINDEXED, upkeep.UNINDEXED_PER_ROOT = 4, 1, 0
artifacts = open_artifacts(Path(sys.argv[1]))
if point == "made":
    index.ArtifactIndex._create_generation = then_die(index.ArtifactIndex._create_generation)
elif point == "half":
    kind.replace = half
elif point == "written":
    kind.replace = then_die(kind.replace)
elif point == "copied":
    lancedb_table.LanceTable.add = then_die(lancedb_table.LanceTable.add)
elif point == "grown":
    index.ArtifactIndex._enlarged = then_die(index.ArtifactIndex._enlarged)
elif point == "tidied":
    upkeep.maintain = then_die(upkeep.maintain)
elif point == "rebuilt":
    artifacts.catch_up()
    state.IndexFolder.publish = die
    artifacts.rebuild_index()
artifacts.catch_up()
"""


@pytest.mark.parametrize(
    ("point", "small_passages"),
    [
        ("half", 10_000),
        ("rebuilt", 10_000),
        ("copied", 8),
        ("tidied", 0),
        pytest.param("made", 10_000, marks=pytest.mark.soak),
        pytest.param("written", 10_000, marks=pytest.mark.soak),
        pytest.param("grown", 8, marks=pytest.mark.soak),
        pytest.param("rebuilt", 8, marks=pytest.mark.soak),
        pytest.param("half", 0, marks=pytest.mark.soak),
        pytest.param("rebuilt", 0, marks=pytest.mark.soak),
        pytest.param("made", 0, marks=pytest.mark.soak),
        pytest.param("written", 0, marks=pytest.mark.soak),
    ],
)
def test_sigkill_at_any_moment_is_harmless(tmp_path, monkeypatch, point, small_passages):
    """Killed while it creates, writes or rebuilds the index, the next search finds all, once."""
    monkeypatch.setattr(index_module, "SMALL_PASSAGES", small_passages)
    artifacts = open_artifacts(tmp_path)
    if point in {"half", "written"}:
        artifacts.save("Before", "ocelot before")
        artifacts.catch_up()
    for i in range(12):
        artifacts.save(f"Note {i % 10}", f"ocelot number {i}")
    script = KILLED.format(tests=str(TESTS))
    command = [sys.executable, "-c", script, str(tmp_path), point, str(small_passages)]
    ended = subprocess.run(command, check=False)
    assert ended.returncode == -signal.SIGKILL
    expected = {f"Note {i}" for i in range(10)} | (
        {"Before"} if point in {"half", "written"} else set()
    )
    found = titles(artifacts, "ocelot", limit=50)
    assert len(found) == len(expected)
    assert set(found) == expected
    after_the_kill = rows(artifacts)
    artifacts.rebuild_index()
    assert rows(artifacts) == after_the_kill


def test_a_home_that_cannot_be_written_is_searched_all_the_same(artifacts):
    """Where no lock can be taken, what the index lacks is read into memory."""
    artifacts.save("One", "dugong")
    artifacts.catch_up()
    artifacts.save("Two", "dugong")
    locks = artifacts._scope.home.locks
    shutil.rmtree(locks)
    locks.write_text("in the way")
    assert sorted(titles(artifacts, "dugong")) == ["One", "Two"]
    with pytest.raises(ReadOnlyError):
        artifacts.catch_up()


def search_with_a_small_disk(project: Path, report) -> None:
    """Run in a child that may write small files only: search, and tell what happened."""
    artifacts = open_artifacts(project)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        report.put(titles(artifacts, "narwhal"))
    except ArtifactIndexError as exc:
        report.put(str(exc))


def test_no_room_is_told_and_harms_nothing(artifacts, tmp_path):
    """With the disk full the error says so; with room again the search is right."""
    artifacts.save("One", "narwhal")
    artifacts.catch_up()
    generation = artifacts._index._state().generation
    artifacts.save("Two", " ".join(f"narwhal{i} {i * 7919:x}" for i in range(4000)) + " narwhal")
    context = multiprocessing.get_context("spawn")
    report = context.Queue()
    child = context.Process(target=search_with_a_small_disk, args=(tmp_path, report))
    child.start()
    assert "free some disk space" in report.get(timeout=60)
    child.join()
    assert artifacts._index._state().generation == generation
    assert sorted(titles(artifacts, "narwhal")) == ["One", "Two"]
    assert len(list(artifacts._index._folder.path.glob("*/"))) == 1


FORKED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from artifacts.search.test_index import open_artifacts
from vespera_orchestrator.artifacts.search import index
from vespera_orchestrator.errors import ArtifactIndexError

index.SMALL_PASSAGES = int(sys.argv[2])
artifacts = open_artifacts(Path(sys.argv[1]))
artifacts.save("One", "fossa")
assert artifacts.search("fossa")
child = os.fork()
if child == 0:
    try:
        artifacts.save("Two", "fossa")
        print(len(artifacts.search("fossa")), flush=True)
    except ArtifactIndexError as exc:
        print(exc, flush=True)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert len(artifacts.search("fossa")) == 2
"""


@pytest.mark.parametrize(
    ("small_passages", "answer"), [(0, "spawn"), (10_000, "2")], ids=["large", "small"]
)
def test_after_a_fork_a_small_index_is_searched(tmp_path, small_passages, answer):
    """A child forked after a large index was used can save; searching names the remedy."""
    script = FORKED.format(tests=str(TESTS))
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path), str(small_passages)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert answer in ended.stdout


# --- quality ------------------------------------------------------------------


def described_functions() -> list[tuple[str, str, str]]:
    """Return functions of the standard library: first line of the docstring, source, module."""
    import argparse
    import configparser
    import email.message
    import http.client
    import inspect as inspect_module
    import logging
    import mailbox
    import shutil as shutil_module
    import smtplib
    import statistics
    import tarfile
    import urllib.request
    import zipfile

    modules = [argparse, configparser, email.message, http.client, inspect_module, logging, mailbox]
    modules += [
        shutil_module,
        smtplib,
        statistics,
        string,
        tarfile,
        textwrap,
        urllib.request,
        zipfile,
    ]
    found = {}
    for module in modules:
        source = inspect.getsource(module)
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if (
                not isinstance(node, ast.FunctionDef)
                or len(node.body) < 2
                or not (doc := ast.get_docstring(node))
            ):
                continue
            question = doc.splitlines()[0]
            body = "\n".join(
                lines[node.lineno - 1 : node.body[0].lineno - 1]
                + lines[node.body[0].end_lineno : node.end_lineno]
            )
            if len(question.split()) > 3 and len(body) > 200:
                found.setdefault(question, (question, body, module.__name__))
    return list(found.values())


def naive_bm25(documents: list[str], queries: list[str]) -> list[list[int]]:
    """Rank by textbook BM25 over lower-cased words (k1 1.2, b 0.75)."""
    counts = [Counter(re.findall(r"\w+", text.lower())) for text in documents]
    mean = sum(sum(c.values()) for c in counts) / len(counts)
    spread = Counter(word for c in counts for word in c)

    def score(count: Counter[str], words: list[str]) -> float:
        norm = 1.2 * (0.25 + 0.75 * sum(count.values()) / mean)
        return sum(
            math.log(1 + (len(counts) - spread[w] + 0.5) / (spread[w] + 0.5))
            * count[w]
            * 2.2
            / (count[w] + norm)
            for w in words
        )

    ranked = []
    for query in queries:
        words = re.findall(r"\w+", query.lower())
        scores = [score(c, words) for c in counts]
        ranked.append(sorted(range(len(counts)), key=lambda i: -scores[i])[:10])
    return ranked


def mrr(answers: list[list[int]]) -> float:
    """Return the mean reciprocal rank; the answer to query *i* is document *i*."""
    return sum(1 / (found.index(i) + 1) for i, found in enumerate(answers) if i in found) / len(
        answers
    )


def described_things() -> list[tuple[str, str, str]]:
    """Return docstrings of the standard library: the first line, the rest, the module."""
    found = {}
    for path in sorted(Path(inspect.__file__).parent.glob("[c-u]*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (
                doc := ast.get_docstring(node)
            ):
                question, _, body = doc.partition("\n")
                if len(question.split()) > 3 and len(body) > 200:
                    found.setdefault(question, (question, body.strip(), path.stem))
    return list(found.values())


@pytest.mark.parametrize(
    ("texts", "floor", "beyond"),
    [
        pytest.param(described_functions, 0.46, 0.15, id="code", marks=pytest.mark.soak),
        pytest.param(described_things, 0.46, 0.04, id="prose", marks=pytest.mark.soak),
    ],
)
def test_search_finds_what_was_asked_for(artifacts, texts, floor, beyond):
    """Texts are found by a line that they lack, better than by BM25, better still with vectors."""
    described = texts()
    assert len(described) > 150
    saved = [artifacts.save(f"{i} {module}", body) for i, (_, body, module) in enumerate(described)]
    place = {artifact.id: i for i, artifact in enumerate(saved)}
    questions = [question for question, _, _ in described[:120]]
    plain = mrr(naive_bm25([f"{module}\n{body}" for _, body, module in described], questions))
    text, hybrid = (
        mrr([[place[hit.artifact_id] for hit in artifacts.search(q, mode=mode)] for q in questions])
        for mode in ("text", "hybrid")
    )
    assert min(text, hybrid) > max(floor, plain + beyond), (plain, text, hybrid)
    assert hybrid > text + 0.005, (text, hybrid)

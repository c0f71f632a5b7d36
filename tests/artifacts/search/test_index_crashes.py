"""The search index under kills, a full disk and old age: all that was saved is found, once."""

from __future__ import annotations

import random
import signal
import string
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from artifacts.search.test_index import open_artifacts, titles
from support import TESTS
from vespera_orchestrator.artifacts.search import embedders, index, lancedb_table, upkeep
from vespera_orchestrator.artifacts.search.passages import WORD
from vespera_orchestrator.artifacts.search.table import SearchFilter

if TYPE_CHECKING:
    from pathlib import Path

# --- killed ---------------------------------------------------------------------

BUSY = """
import random, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from artifacts.search.test_index import open_artifacts
from vespera_orchestrator.artifacts.search import index, lancedb_table, upkeep

index._BATCH_PASSAGES, upkeep.COMPACT_AFTER_VERSIONS = 7, 4
upkeep.MIN_UNINDEXED, upkeep.UNINDEXED_PER_ROOT = 12, 0
lancedb_table.VECTOR_INDEX_FROM, lancedb_table._MAX_VECTOR_PARTS = 300, 2
run, choice = sys.argv[2], random.Random(sys.argv[2])
index.SMALL_PASSAGES = int(sys.argv[3])
artifacts = open_artifacts(Path(sys.argv[1]))
artifacts.search("ocelot")
print("ready", flush=True)
for number in range(100_000):
    for part in range(choice.randrange(1, 9)):
        title = f"{{run}} {{number}} {{part}}"
        artifacts.save(title, f"ocelot {{title}}")
        print(title, flush=True)
    artifacts.save("Shared", f"ocelot shared {{run}} {{number}}")
    search = lambda: artifacts.search("ocelot")
    choice.choice([artifacts.catch_up, artifacts.rebuild_index, search, search])()
"""


def killed_at_random(
    project: Path, run: int, choice: random.Random, small_passages: int
) -> set[str]:
    """Let a process work on the index, kill it, and return the titles that it had acknowledged."""
    command = [
        sys.executable,
        "-c",
        BUSY.format(tests=str(TESTS)),
        str(project),
        str(run),
        str(small_passages),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=choice.uniform(0, 0.8))
        child.kill()
        # The last line may be cut off: it was not acknowledged then.
        acknowledged = {
            line.rstrip("\n") for line in child.stdout.readlines() if line.endswith("\n")
        }
    assert child.returncode == -signal.SIGKILL
    return acknowledged


def check_kills(project: Path, kills: int, small_passages: int) -> None:
    """Kill, and compare what is found, what the index has, and what was saved, so many times."""
    choice, saved = random.Random(kills), {"Shared"}
    artifacts = open_artifacts(project)
    artifacts.save("Shared", "ocelot shared")
    for run in range(kills):
        saved |= killed_at_random(project, run, choice, small_passages)
        wanted = choice.sample(sorted(saved), min(20, len(saved)))
        assert all(title in titles(artifacts, f"ocelot {title}", limit=1000) for title in wanted)
        assert artifacts.verify_index() == []
        known = {artifact.title: artifact.id for artifact in artifacts.list(limit=None)}
        assert saved <= known.keys()
        rows = artifacts._index._table(artifacts._index._state()).rows()
        current = [row["artifact_id"] for row in rows if not row["superseded"]]
        assert sorted(current) == sorted(known.values())
    artifacts.save("One more", "ocelot")  # whoever writes next takes away what was left behind
    assert "One more" in titles(artifacts, "ocelot", limit=1000)
    assert len(list(artifacts._index._folder.path.glob("*/"))) == 1


SIZES = pytest.mark.parametrize(
    "small_passages", [0, 60, 10_000], ids=["large", "growing", "small"]
)


@pytest.mark.soak
@SIZES
def test_killed_at_random_moments_everything_is_found_once(tmp_path, monkeypatch, small_passages):
    """After each of a few kills the next search finds everything acknowledged, nothing twice."""
    monkeypatch.setattr(index, "SMALL_PASSAGES", small_passages)
    check_kills(tmp_path, 2, small_passages)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@SIZES
def test_a_hundred_kills_at_random_moments(tmp_path, monkeypatch, small_passages):
    """The same a hundred times, in one index that all of them leave their traces in."""
    monkeypatch.setattr(index, "SMALL_PASSAGES", small_passages)
    check_kills(tmp_path, 100, small_passages)


# --- no room ----------------------------------------------------------------------

FILLING = """
import os, random, resource, string, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from artifacts.search.test_index import open_artifacts
from vespera_orchestrator.errors import VesperaError

artifacts = open_artifacts(Path(sys.argv[1]))
if not os.path.ismount(artifacts._index._folder.path):
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
choice = random.Random(5)
for number in range(2_000):
    text = " ".join("".join(choice.choices(string.ascii_lowercase, k=8)) for _ in range(1500))
    artifacts.save(f"Text {{number}}", f"numbat {{text}}")
    try:
        artifacts.search("numbat")
    except VesperaError as exc:
        artifacts.save("After", "numbat after the disk was full")
        print(number, exc)
        break
"""


@pytest.fixture
def small_folder(tmp_path):
    """Give the index two megabytes; where none can be mounted, the child limits its files."""
    place = tmp_path / ".task_orchestrator" / "index.lance"
    place.mkdir(parents=True)
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
    yield place
    if mounted:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.soak
def test_an_index_whose_disk_fills_up_says_so_and_goes_on_with_room(tmp_path, small_folder):
    """When nothing fits any more, the error names the remedy; with room everything is found."""
    script = FILLING.format(tests=str(TESTS))
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True
    )
    last, _, told = ended.stdout.partition(" ")
    assert "free some disk space" in told, (ended.stdout, ended.stderr)
    if small_folder.is_mount():
        subprocess.run(["mount", "-o", "remount,size=100m", small_folder], check=True)
    artifacts = open_artifacts(tmp_path)
    assert set(titles(artifacts, "numbat", limit=1000)) == {
        "After",
        *(f"Text {n}" for n in range(int(last) + 1)),
    }
    assert artifacts.verify_index() == []


# --- old age ------------------------------------------------------------------------


def test_the_vector_index_stays_in_few_parts_and_finds_what_is_nearest(tmp_path, monkeypatch):
    """The vector index stays in few parts, and finds what comparing every vector finds."""
    monkeypatch.setattr(upkeep, "MIN_UNINDEXED", 100)
    monkeypatch.setattr(upkeep, "UNINDEXED_PER_ROOT", 0)
    monkeypatch.setattr(lancedb_table, "VECTOR_INDEX_FROM", 300)
    monkeypatch.setattr(lancedb_table, "_MAX_VECTOR_PARTS", 3)
    monkeypatch.setattr(index, "SMALL_PASSAGES", 0)
    choice, artifacts = random.Random(3), open_artifacts(tmp_path)
    words = ["".join(choice.choices(string.ascii_lowercase, k=5)) for _ in range(300)]
    parts = set()
    for batch in range(9):
        for number in range(120):
            artifacts.save(f"Note {batch * 100 + number}", " ".join(choice.choices(words, k=20)))
        artifacts.catch_up()
        inside = artifacts._index._table(artifacts._index._state())
        parts.add(inside._vector_index_parts())
    assert max(parts) == 3
    filters, embedder = SearchFilter(limit=10), embedders.choose("auto")
    for _ in range(10):
        vector = embedders.embed_query(embedder, " ".join(choice.choices(words, k=4)))
        found, exact = (
            inside.search(None, vector, filters, 20, exact=exact)[1][:10] for exact in (False, True)
        )
        assert len({p.artifact_id for p in found} & {p.artifact_id for p in exact}) >= 9


MODEL = embedders.StaticEmbedder.find()


@given(
    text=st.text(max_size=300)
    | st.lists(st.sampled_from(["parseConfig", "größer", "_x", "İ", "HTTP2"])).map(" ".join)
)
@settings(max_examples=200, deadline=None)
def test_tokens_word_by_word_are_those_of_the_whole_text(text):
    """Vectors are the same as if the model's own tokenizer had read the text in one piece."""
    pieces = MODEL._loaded_model().pieces
    whole = " ".join(
        plain for word in WORD.findall(text) if (plain := embedders._model_spelling(word))
    )
    own = its_own_tokenizer().encode(whole, add_special_tokens=False)
    assert list(MODEL._token_ids([text], pieces)) == [own.ids]


def test_a_word_without_end_is_known_by_its_beginning():
    """A line of base64 took the square of its length, which was minutes for a megabyte."""
    longest = embedders._LONGEST_WORD
    endless = MODEL.query("ab" * 500_000)
    assert endless == MODEL.query("ab" * (longest // 2))
    assert any(endless)


@lru_cache(maxsize=1)
def its_own_tokenizer():
    """Return the tokenizer that the model comes with."""
    tokenizer = Tokenizer.from_file(str(MODEL._tokenizer_file))
    tokenizer.no_truncation()
    return tokenizer

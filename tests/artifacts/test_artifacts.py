"""What callers do with ``orch.artifacts``: save, read, list, verify, search."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import TESTS, dying
from support.rooms import rooms_of
from support.stores import start_session
from vespera_orchestrator.artifacts import Artifacts
from vespera_orchestrator.errors import (
    ArtifactNotFoundError,
    CorruptContentError,
    InvalidInputError,
    SessionNotFoundError,
    SourceFileNotFoundError,
    TaskNotFoundError,
)
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.stores.sqlite import SQLiteStore

# --- saving -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "media_type", "kept"),
    [
        ("# Naïve\r\n", "text/markdown", "# Naïve\r\n".encode()),
        ("", "text/markdown", b""),
        ("half \ud83d emoji", "text/markdown", b"half \xed\xa0\xbd emoji"),
        (b"\x00\x01\xff", "application/octet-stream", b"\x00\x01\xff"),
        (bytearray(b"x"), "text/plain", b"x"),
    ],
)
def test_what_is_saved_is_kept_byte_for_byte(artifacts, content, media_type, kept):
    """Text is stored in UTF-8, bytes as they are; lone surrogates survive."""
    saved = artifacts.save("Title", content)
    assert (saved.media_type, saved.size_bytes, saved.version, saved.agent) == (
        media_type,
        len(kept),
        1,
        "ada",
    )
    assert artifacts.read(saved) == artifacts.read(saved.id) == kept
    assert artifacts.get(saved.id) == saved


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_json_comes_back_as_it_was(artifacts, value):
    """A dict or list is stored as JSON that reads back the same."""
    draft = artifacts.draft("Data", {"value": value})
    assert draft.media_type == "application/json"
    assert json.loads(artifacts._content.read(draft.digest)) == {"value": value}


def test_everything_that_describes_it_is_recorded(artifacts, scope):
    """Task, kind, tags, metadata, media type and the partial mark are on the record."""
    task = scope.task("build")
    saved = artifacts.save(
        "Log",
        "line",
        task="build",
        kind="log",
        media_type="text/plain",
        tags=["a", "b", "a"],
        metadata={"n": [1]},
        partial=True,
    )
    assert (saved.task_id, saved.session_id, saved.kind, saved.media_type) == (
        task.id,
        task.session_id,
        "log",
        "text/plain",
    )
    assert (saved.tags, saved.metadata, saved.partial) == (("a", "b"), {"n": [1]}, True)
    assert artifacts.save("Other", "x", task=task, tags="one").tags == ("one",)


def test_versions(artifacts):
    """The same title in the same task makes the next version, unless the bytes are the same.

    Every version stays readable.
    """
    first = artifacts.save("Plan", "one", task="build")
    assert artifacts.save("Plan", "one", task="build") == first
    second = artifacts.save("Plan", "two", task="build")
    elsewhere = artifacts.save("Plan", "three", task="check")
    at_large = artifacts.save("Plan", "four")
    assert (
        [a.id for a in artifacts.versions(first)]
        == [a.id for a in artifacts.versions(second.id)]
        == [first.id, second.id]
    )
    assert [artifacts.text(a) for a in artifacts.versions(second)] == ["one", "two"]
    assert [a.id for a in artifacts.versions(elsewhere)] == [elsewhere.id]
    assert [a.id for a in artifacts.versions(at_large)] == [at_large.id]
    assert (second.version, second.supersedes_id, artifacts.get(first).superseded) == (
        2,
        first.id,
        True,
    )


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"title": " "}, "title"),
        ({"title": None}, "title"),
        ({"content": 3.5}, "content"),
        ({"content": {"x": float("nan")}}, "content"),
        ({"content": {"x": {1, 2}}}, "content"),
        ({"kind": ""}, "kind"),
        ({"media_type": ""}, "media_type"),
        ({"tags": [1]}, "tags"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"x": object()}}, "metadata"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_written(artifacts, arguments, name):
    """The error names the argument; no bytes, no record."""
    with pytest.raises(InvalidInputError) as caught:
        artifacts.save(**({"title": "Title", "content": "text"} | arguments))
    assert caught.value.name == name
    assert artifacts.list() == []
    assert [p for p in artifacts._content.folder.rglob("*") if p.is_file()] == []


def test_unknown_names_are_told(artifacts):
    """The error names the artifact, task or session that does not exist."""
    with pytest.raises(ArtifactNotFoundError, match="a_nothing"):
        artifacts.read("a_nothing")
    with pytest.raises(TaskNotFoundError, match="did you mean build"):
        artifacts.save("Title", "text", task="bild")
    with pytest.raises(SessionNotFoundError):
        artifacts.search("text", session="s_nothing")


def test_a_title_may_hold_any_characters(artifacts):
    """Titles are data: they lead nowhere."""
    for title in ("../../escape", "a\0b", "half \ud83d", "'; DROP TABLE artifacts", "x" * 5000):
        artifacts.save(title, "zyzzyva")
    assert len(artifacts.list()) == 5
    assert len(artifacts.search("zyzzyva")) == 5


# --- reading ---------------------------------------------------------------------


def test_text_is_for_text(artifacts):
    """Text decodes any bytes; for other media types the error says how to read them."""
    assert (
        artifacts.text(artifacts.save("Latin", b"caf\xe9", media_type="text/plain")) == "caf\ufffd"
    )
    picture = artifacts.save("Picture", b"\x89PNG", media_type="image/png")
    with pytest.raises(InvalidInputError, match=r"artifacts\.read"):
        artifacts.text(picture)


def test_lists_are_newest_first_and_filtered(artifacts, scope):
    """They filter by task, session and kind; older versions come only on request."""
    old = artifacts.save("A", "1", task="build")
    new = artifacts.save("A", "2", task="build", kind="log")
    other = artifacts.save("B", "3")
    scope.pinned = start_session(scope.store).id
    later = artifacts.save("C", "4")
    assert artifacts.list() == [later]
    assert artifacts.list(session=old.session_id) == [other, new]
    assert artifacts.list(session="*") == [later, other, new]
    assert artifacts.list(session="*", limit=2) == [later, other]
    assert [a.id for a in artifacts.list(task=old.task_id, include_superseded=True)] == [
        new.id,
        old.id,
    ]
    assert artifacts.list(session="*", kind="log") == [new]


def test_verify_names_what_is_damaged(artifacts):
    """Every referenced digest is checked, with one `Damage` for each problem.

    Artifacts that share bytes are named together.
    """
    assert artifacts.verify() == []
    first, twin = artifacts.save("First", "same"), artifacts.save("Twin", "same")
    lost = artifacts.save("Gone", "one")
    artifacts.save("Gone", "two")
    assert artifacts.verify() == []
    artifacts._content.path(lost.digest).unlink()
    artifacts._content.path(first.digest).chmod(0o644)
    artifacts._content.path(first.digest).write_bytes(b"diff")
    changed, missing = artifacts.verify()
    assert first.id in changed
    assert twin.id in changed
    assert "not those" in changed
    assert lost.id in missing
    assert "missing" in missing
    with pytest.raises(CorruptContentError):
        artifacts.read(lost)


# --- searching -------------------------------------------------------------------


def test_sessions_and_tasks_bound_a_search(artifacts, scope):
    """The default is the whole home, the current session first; a task works from any session."""
    task = scope.task("build")
    mine = artifacts.save("Mine", "okapi", task=task)
    scope.pinned = start_session(scope.store).id
    other = artifacts.save("Other", "okapi")

    def found(**how):
        return {hit.artifact_id for hit in artifacts.search("okapi", **how)}

    assert found() == found(session="*") == {mine.id, other.id}
    assert artifacts.search("okapi")[0].artifact_id == other.id
    assert found(session=scope.session()) == {other.id}
    assert found(session=mine.session_id) == found(task=task) == found(task=task.id) == {mine.id}
    assert found(session=scope.session(), task=task) == set()
    assert [hit.task_id for hit in artifacts.search("okapi", task=task)] == [task.id]
    assert (
        artifacts.search("okapi", session="*", limit=1)
        == artifacts.search("okapi", session="*")[:1]
    )


def test_an_id_finds_what_it_names(artifacts, scope):
    """Of an artifact or of a task, alone or among words, in any session."""
    task = scope.task("build")
    for number in range(5):
        artifacts.save(f"Kettle {number}", f"The kettle {number} boils")
    first = artifacts.save("Notes", "water", task=task)
    second = artifacts.save("Notes", "hot water", task=task, kind="log")
    assert [hit.artifact_id for hit in artifacts.search(first.id)] == [first.id]
    assert artifacts.search(first.id)[0].superseded
    (hit,) = artifacts.search(f"see {second.id}!", limit=1)
    assert (hit.artifact_id, hit.text, hit.start, hit.end) == (second.id, "hot water", 0, 9)
    assert [hit.artifact_id for hit in artifacts.search(task.id)] == [second.id]
    hits = artifacts.search(f"kettle {second.id}")
    assert hits[0].artifact_id == second.id
    assert len(hits) == 6
    assert hits[0].score > hits[1].score
    assert artifacts.search(second.id, kind="general") == []
    assert artifacts.search("a_000000000000") == []
    about = artifacts.save("About", f"It says in {first.id} that water boils")
    assert [hit.artifact_id for hit in artifacts.search(first.id)] == [first.id, about.id]


def test_without_a_session_all_of_the_home_is_searched(artifacts, scope, monkeypatch):
    """Reading needs no session."""
    saved = artifacts.save("Mine", "okapi")
    monkeypatch.delenv("MCP_ORCHESTRATOR_SESSION", raising=False)
    scope.pinned = None
    assert [hit.artifact_id for hit in artifacts.search("okapi")] == [saved.id]
    assert artifacts.list() == [saved]


@pytest.mark.parametrize(
    "arguments",
    [
        {"query": None},
        {"query": b"x"},
        {"limit": 0},
        {"limit": 10**9},
        {"limit": "3"},
        {"mode": "both"},
        {"kind": ""},
        {"tags": [None]},
    ],
)
def test_a_search_that_makes_no_sense_is_refused(artifacts, arguments):
    """The error names the argument, before anything is loaded."""
    with pytest.raises(InvalidInputError) as caught:
        artifacts.search(**({"query": "x"} | arguments))
    assert caught.value.name == next(iter(arguments))


def test_a_hit_is_a_fact(artifacts):
    """Hits are frozen and print what a reader needs."""
    saved = artifacts.save("Report", "The thylacine was last seen here.")
    (hit,) = artifacts.search("thylacines")
    assert (
        str(hit) == f"Report (v1, {saved.id}, characters 0-33)\nThe thylacine was last seen here."
    )
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        hit.score = 1.0


LIGHT = """
import sys, threading
sys.path.insert(0, sys.argv[2])
from support.rooms import rooms_of
from support.stores import start_session
from vespera_orchestrator import artifacts as package
from pathlib import Path
from vespera_orchestrator._model import utcnow
from vespera_orchestrator.home.config import Config
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.stores.sqlite import SQLiteStore

folder = Path(sys.argv[1])
home = Home(path=folder / "home", project=folder, config=Config()).create()
store = SQLiteStore.open(home.database)
session = start_session(store)
scope = Scope(home, store, session_id=session.id)
artifacts = package.Artifacts(rooms_of(scope))
saved = artifacts.save("Title", "text")
(folder / "file.txt").write_text("x")
artifacts.draft_file("file.txt", root=folder)
assert artifacts.text(saved) == "text" and artifacts.list() == [saved] and artifacts.verify() == []
heavy = {"lancedb", "pyarrow", "numpy", "semantic_text_splitter", "pydantic"}
print(sorted(heavy & set(sys.modules)), threading.active_count())
"""


def test_saving_and_reading_load_nothing_heavy(tmp_path):
    """Saving, reading, listing and verifying load no heavy library and start no thread."""
    ended = subprocess.run(
        [sys.executable, "-c", LIGHT, str(tmp_path), str(TESTS)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert ended.stdout.strip() == "[] 1"


@pytest.mark.usefixtures("patient_search")
def test_threads_may_share_it(artifacts):
    """Threads that save and search at once all find what they saved."""
    missing = []

    def work(name):
        for i in range(5):
            saved = artifacts.save(f"{name} {i}", f"numbat {name}{i}")
            if saved.id not in {hit.artifact_id for hit in artifacts.search(f"{name}{i}")}:
                missing.append(saved.id)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert len(artifacts.search("numbat", limit=50)) == 15


# --- what bytes are, and where they come from --------------------------------------------


@pytest.mark.parametrize(
    ("title", "content", "media_type"),
    [
        ("Table.csv", "a,b", "text/csv"),
        ("run.py", "print()", "text/x-python"),
        ("About logo.png", "a text", "image/png"),
        ("Picture", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("Picture", b"RIFF0000WEBP", "image/webp"),
        ("Report", b"%PDF-1.7", "application/pdf"),
        ("logo.svg", b"<svg/>", "image/svg+xml"),
        ("data.json", {"a": 1}, "application/json"),
        ("table.csv", {"a": 1}, "application/json"),
        ("v1.2", "text", "text/markdown"),
        ("Log", io.BytesIO(b"plain"), "text/plain"),
    ],
)
def test_what_it_is_follows_from_name_and_bytes(artifacts, title, content, media_type):
    """The suffix of the title decides, then the first bytes; a text never becomes a picture."""
    expected = "text/markdown" if title == "About logo.png" else media_type
    assert artifacts.save(title, content).media_type == expected
    assert (
        artifacts.save(
            title, "x" if isinstance(content, str) else b"x", media_type="text/x-own"
        ).media_type
        == "text/x-own"
    )


def test_paths_and_streams_are_read_in_pieces(artifacts, tmp_path):
    """A large content is never whole in memory, and the source is not closed."""
    path = tmp_path / "model.bin"
    path.write_bytes(os.urandom(100) * 50_000)
    saved = artifacts.save("Model", path, task="build")
    assert (saved.size_bytes, saved.media_type, saved.title) == (
        5_000_000,
        "application/octet-stream",
        "Model",
    )
    with path.open("rb") as stream:
        assert artifacts.save("Model again", stream).digest == saved.digest
        assert not stream.closed
    with artifacts.open(saved) as stream, path.open("rb") as source:
        assert stream.read() == source.read()
    with pytest.raises(SourceFileNotFoundError):
        artifacts.save("Nothing", tmp_path / "missing")


# --- finding and comparing -------------------------------------------------------------------


def test_lists_are_filtered_by_everything_recorded(artifacts, scope):
    """Title, tags, agent, partial mark and time filter, alone and together."""
    first = artifacts.save("First", "1", tags=["a", "b"], task="build")
    scope.agent = "bob"
    second = artifacts.save("Second", "2", tags=["b"], partial=True)
    assert (
        artifacts.list(title="First")
        == artifacts.list(agent="ada")
        == artifacts.list(tags=["a", "b"])
        == [first]
    )
    assert artifacts.list(agent="bob") == artifacts.list(partial=True) == [second]
    assert artifacts.list(tags="b") == [second, first]
    assert artifacts.list(partial=False) == [first]
    assert artifacts.list(created_after=second.created_at) == [second]
    assert artifacts.list(created_before=second.created_at) == [first]
    assert artifacts.list(tags="b", agent="ada", partial=True) == []
    assert artifacts.find("First") == artifacts.find("First", task="build") == first
    assert artifacts.find("First", task="check") is artifacts.find("Nothing") is None
    with pytest.raises(InvalidInputError):
        artifacts.list(created_after="yesterday-ish")


def test_any_version_is_read_and_compared(artifacts):
    """Versions are found by number, and compared with the one before or any other.

    What is not text is summed up without being read.
    """
    one, two, three = (
        artifacts.save("Plan", text, task="build")
        for text in ("same\none\n", "same\ntwo\n", "same\nthree")
    )
    assert artifacts.get(three, version=1).id == one.id
    with pytest.raises(ArtifactNotFoundError, match="no version 9"):
        artifacts.get(one, version=9)
    head = [f"--- Plan v1 ({one.id})", f"+++ Plan v2 ({two.id})"]
    assert artifacts.diff(two).splitlines() == [*head, "@@ -1,2 +1,2 @@", " same", "-one", "+two"]
    assert artifacts.diff(one, three).endswith("-one\n+three\n\\ No newline at end of file\n")
    assert artifacts.diff(one).startswith("--- Plan v0\n+++ Plan v1")
    assert artifacts.diff(one, one) == ""
    picture, other = (
        artifacts.save("Picture", b"\x89PNG\r\n\x1a\n1"),
        artifacts.save("Picture", b"\x89PNG\r\n\x1a\n22"),
    )
    assert (
        f"image/png, 9 bytes, sha256 {picture.digest[:12]} -> image/png, 10 bytes"
        in artifacts.diff(other)
    )


def test_a_file_and_a_text_under_one_title_are_two_histories(artifacts, scope, tmp_path):
    """A file is not a version of a text with the same title."""
    (tmp_path / "plan.md").write_text("from the file")
    text = artifacts.save("plan.md", "from the agent", task="build")
    draft = artifacts.draft_file("plan.md", root=tmp_path)
    file = scope.store.save_artifact(
        text.session_id, draft, task_id=text.task_id, attempt=None, agent="ada"
    )
    assert [a.id for a in artifacts.versions(text)] == [text.id]
    assert [a.id for a in artifacts.versions(file)] == [file.id]


# --- looking ------------------------------------------------------------------------------------

HOSTILE = '<script>alert("x")</script>'


def test_lists_and_contents_show_as_what_they_are(artifacts):
    """Tables, pictures and Markdown show; nothing that an agent wrote becomes markup."""
    picture = artifacts.save("Picture", b"\x89PNG\r\n\x1a\n")
    code = artifacts.save(f"{HOSTILE}.py", HOSTILE, partial=True)
    note = artifacts.save("Note", f"# {HOSTILE}")
    listed = artifacts.list()
    assert [line.split()[0] for line in str(listed).splitlines()] == [
        "title",
        "Note",
        '<script>alert("x")</script>.py',
        "Picture",
    ]
    assert "(partial)" in str(listed)
    assert str(artifacts.list(kind="none")) == "(none)"
    html = listed._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert 'src="data:image/png;base64,' in artifacts.show(picture)._repr_mimebundle_()["text/html"]
    assert "<script>" not in artifacts.show(code)._repr_mimebundle_()["text/html"]
    view = artifacts.show(note)
    assert view._repr_mimebundle_()["text/markdown"] == f"# {HOSTILE}"
    assert str(view).endswith(HOSTILE)
    assert "<script>" not in note._repr_html_() + code._repr_html_()


def test_what_is_large_is_shown_by_its_beginning(artifacts):
    """A notebook is never flooded; the end says how to read the rest."""
    large = artifacts.save("Large", "line\n" * 100_000)
    assert len(str(artifacts.show(large))) < 21_000
    assert f"orch.artifacts.read('{large.id}') returns all 500,000 bytes" in str(
        artifacts.show(large)
    )
    image = artifacts.save("Image", b"\x89PNG\r\n\x1a\n" + os.urandom(4_100_000))
    assert "<img" not in artifacts.show(image)._repr_mimebundle_()["text/html"]


# --- damage --------------------------------------------------------------------------------------


def damage(artifacts, artifact):
    """Change a byte of what is stored."""
    path = artifacts._content.path(artifact.digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_problemis_told_with_what_is_intact(artifacts):
    """The error names the artifact and the nearest sound version.

    Saving the same bytes again repairs it.
    """
    versions = [artifacts.save("Plan", f"text {n}", task="build") for n in range(4)]
    damage(artifacts, versions[2])
    damage(artifacts, versions[3])
    with pytest.raises(CorruptContentError) as caught:
        artifacts.read(versions[3])
    assert f"artifact {versions[3].id} 'Plan' v4" in str(caught.value)
    assert caught.value.intact == (f"version 2: orch.artifacts.read('{versions[1].id}')",)
    with pytest.raises(CorruptContentError, match="Plan"), artifacts.open(versions[3]) as stream:
        stream.read()
    counts = []
    damages = artifacts.verify(progress=lambda done, total: counts.append((done, total)))
    assert counts == [(n, 4) for n in range(1, 5)]
    assert sorted(problem.artifacts[0].version for problem in damages) == [3, 4]
    assert all(
        f"task {versions[0].task_id}" in str(problem) and "version 2" in problem
        for problem in damages
    )
    artifacts.save("Elsewhere", "text 3")
    artifacts.save("Plan", "text 2", task="check")
    assert artifacts.verify() == []


def test_collecting_is_refused_where_somebody_else_may_rely_on_it(artifacts, scope, tmp_path):
    """A short grace time, another store and another folder are each refused with a reason."""
    saved = artifacts.save("Kept", "kept")
    unrecorded = artifacts.draft("Gone", "gone")
    for path in artifacts._content.folder.rglob("*"):
        os.utime(path, (0, 0))
    for seconds in (0, 3599, "1", None, float("nan")):
        with pytest.raises(InvalidInputError, match="3600 seconds or more"):
            artifacts.collect_garbage(older_than_s=seconds)
    elsewhere = Artifacts(rooms_of(scope, tmp_path / "shared"))
    with pytest.raises(InvalidInputError, match="sole_user=True"):
        elsewhere.collect_garbage()
    other = Scope(scope.home, SQLiteStore.open(None), session_id=scope.pinned)
    with pytest.raises(InvalidInputError, match="sole_user=True"):
        Artifacts(rooms_of(other)).collect_garbage()
    other.store.close()
    assert elsewhere.collect_garbage(sole_user=True).contents == 0
    assert artifacts.collect_garbage(dry_run=True).contents == 1
    assert artifacts.collect_garbage().contents == 1
    assert artifacts.read(saved) == b"kept"
    assert artifacts._content.verify(unrecorded.digest) is not None


SAVED_OR_NOT = """
import sys
from pathlib import Path
from support.dying import CHANGING, killed_before
import vespera_orchestrator as vespera

folder = Path(sys.argv[1])
with vespera.open(folder) as orch:
    orch.initialize_session("test")
    (folder / "made.txt").write_text("a file " * 2000)

def complete(orch):
    text = f"work of step {step} " * 900
    orch.complete_task(task, summary="done", detailed_work=text, file_paths=["made.txt"])

def act():
    with vespera.open(folder) as orch:
        orch.artifacts.save("Notes", f"notes of step {step} " * 900, task=task)
        complete(orch)

step, killed = 0, True
while killed:
    step += 1
    with vespera.open(folder) as orch:
        task = orch.plan_task(f"Write {step}")
    killed = killed_before(step, act, CHANGING)
    with vespera.open(folder) as orch:
        assert orch.artifacts.verify() == []
        complete(orch)
        assert {a.title for a in orch.artifacts.list(task=task)} >= {f"Write {step}", "made.txt"}
print(step)
"""


def test_killed_at_every_step_of_saving(tmp_path):
    """SIGKILL before each file operation of saving and completing.

    No record lacks its bytes, and the same call again succeeds.
    """
    assert dying.run(SAVED_OR_NOT, str(tmp_path)) > 25


def test_a_missing_version_is_named_as_such(artifacts):
    """The error says that the artifact exists, but not the version."""
    saved = artifacts.save("Plan\nof two lines", "x")
    with pytest.raises(ArtifactNotFoundError, match=f"artifact '{saved.id}' has no version 9"):
        artifacts.get(saved, version=9)
    assert str(saved) == f"{saved.id} Plan of two lines (v1, text/markdown, 1 bytes)"

"""Forgetting for good: gone from everything that can be reached, and told for the rest."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from contextlib import suppress

import pytest

import vespera_orchestrator as vespera
from support.pdf_files import pdf
from vespera_orchestrator import RemainderKind
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.artifacts.content.object_store import ObjectContent
from vespera_orchestrator.artifacts.forgetting import Quotations
from vespera_orchestrator.artifacts.search import index
from vespera_orchestrator.errors import (
    ArtifactForgottenError,
    ArtifactNotFoundError,
    CorruptContentError,
    InvalidInputError,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NAME = "Zaphod"
TEXT = f"# Decision\n\nPatient {NAME} Beeblebrox, born in 1952, gets the red pill."


@pytest.fixture
def orch(tmp_path):
    """A home in which two decisions were made, and looked at in every way but by a search."""
    with vespera.open(tmp_path) as opened:
        opened.initialize_session("A ward", project_type="software_development")
        opened.plan_task("Interview")
        opened.complete_task("interview", summary="talked", detailed_work=TEXT)
        opened.plan_task("Go on", dependencies=["interview"])
        with opened.execute_task("go_on") as work:
            str(work.briefing())
            work.complete(summary="went", detailed_work="# Decision\n\nWe go on as before.")
        opened.artifacts.browse()
        yield opened


def files_with(orch, word=NAME):
    """Return the files of the project, the home included, that hold a word, packed or not."""
    files = [path for path in orch.project.rglob("*") if path.is_file()]
    return [path for path in files if any(word.encode() in form for form in forms(path))]


def forms(path):
    """Return the bytes of a file as they are, and unpacked where artifacts or git pack them."""
    content = path.read_bytes()
    if content.startswith(b"\x28\xb5\x2f\xfd"):
        return content, zstd.decompress(content)
    if content.startswith(b"\x78"):
        with suppress(zlib.error):
            return content, zlib.decompress(content)
    return (content,)


@pytest.mark.parametrize(
    "small_passages",
    [pytest.param(10_000, id="small"), pytest.param(0, id="large", marks=pytest.mark.soak)],
)
def test_nothing_is_left_of_any_kind_of_content(orch, monkeypatch, small_passages):
    """Large and packed ones, notebooks, PDFs and bytes, in every version and either index."""
    monkeypatch.setattr(index, "SMALL_PASSAGES", small_passages)
    filling = "".join(f"line {number}\n" for number in range(1000))
    notebook = {"cells": [{"cell_type": "code", "source": TEXT}]}
    contents = {
        "Long": filling + TEXT,
        "Analysis.ipynb": json.dumps(notebook),
        "Letter.pdf": pdf(NAME),
        "Packed.pdf": pdf(NAME, compressed=True),
        "Bytes": b"\0" + NAME.encode(),
    }
    for title, content in contents.items():
        orch.artifacts.save(title, content, task="interview", metadata={"who": NAME})
    orch.artifacts.save("Long", filling + TEXT + filling, task="interview", tags=[NAME])
    assert orch.artifacts.search(f"{NAME} pill")
    assert str(orch.artifacts.context(NAME, task="go_on", budget_tokens=500))
    orch.artifacts.browse()
    packed = [path for path in files_with(orch) if path.suffix == ".zst"]
    assert len(packed) == 2
    for title in (*contents, "Interview"):
        assert orch.artifacts.forget(orch.artifacts.find(title, task="interview")).is_complete
    assert orch.artifacts.search(f"{NAME} pill") == []
    assert files_with(orch) == []
    assert orch.artifacts.verify_index() == []


def test_a_pdf_that_has_a_text_is_named(orch):
    """What is packed in it cannot be taken out of it."""
    pytest.importorskip("pypdf")
    letter = orch.artifacts.save("Packed.pdf", pdf("born as Zarniwoop", compressed=True))
    proof = orch.artifacts.forget_text("Zarniwoop")
    named = [each.name for each in proof.remainders if each.kind is RemainderKind.ARTIFACT]
    assert named == [letter.id]


def test_nothing_is_left_of_it(orch):
    """Not in the bytes, the documents and their versions, the files for browsing, the store."""
    secret = orch.artifacts.save(
        f"About {NAME}", TEXT, task="interview", tags=[NAME], metadata={"who": NAME}
    )
    orch.documents.update()
    assert len(files_with(orch)) > 3
    orch.artifacts.forget(orch.artifacts.find("Interview"), reason="she asked us to")
    proof = orch.artifacts.forget(secret, reason="she asked us to")
    assert proof.is_complete
    assert files_with(orch) == []
    assert orch.check().is_clean
    assert orch.documents.check() == []
    assert "We go on as before" in (orch.project / "docs" / "ARCHITECTURE.md").read_text()


def test_the_proof_says_what_went_where(orch):
    """And who had been given it; asked again it is the same, and nothing more is written."""
    artifact = orch.artifacts.find("Interview")
    proof = orch.artifacts.forget(artifact, reason="she asked us to")
    assert proof.artifact_ids == (artifact.id,)
    assert proof.removed["records"] == 1
    assert proof.removed["files for browsing"] == 1
    assert proof.removed["document versions"] >= 1
    assert proof.removed["contents"] == 1 + proof.removed["document versions"]
    assert proof.given_to == (orch.get_task("go_on").id,)
    assert [each.kind for each in proof.remainders] == [RemainderKind.COPY]
    assert "because she asked us to" in str(proof)
    last_seq = orch._store.last_seq()
    assert orch.artifacts.forget(artifact.id) == proof
    assert orch._store.last_seq() == last_seq


def test_whoever_asks_for_it_is_told(orch):
    """When and why, by every call that takes an artifact."""
    artifact = orch.artifacts.find("Interview")
    orch.artifacts.forget(artifact, reason="she asked us to")
    for call in (orch.artifacts.get, orch.artifacts.read, orch.artifacts.versions):
        with pytest.raises(ArtifactForgottenError, match="because 'she asked us to'") as caught:
            call(artifact)
        assert caught.value.forgotten_at is not None
    with pytest.raises(ArtifactForgottenError):
        orch.artifacts.save("New", "text", supersedes=artifact)
    with pytest.raises(ArtifactNotFoundError) as caught:
        orch.artifacts.forget("a_neverwas0000")
    assert not isinstance(caught.value, ArtifactForgottenError)


def test_every_version_goes_or_one(orch):
    """By default every version; else the one that was named, and the one before holds again."""
    first, second, third = (orch.artifacts.save("Note", f"{n} {NAME} note") for n in (1, 2, 3))
    orch.artifacts.forget(third, versions=False)
    assert orch.artifacts.find("Note") == orch.artifacts.get(second)
    proof = orch.artifacts.forget(first)
    assert proof.artifact_ids == (first.id, second.id)
    assert orch.artifacts.find("Note") is None
    assert orch.check().is_clean


def test_bytes_that_something_else_has_stay(orch):
    """And that is said, with whose they are."""
    one = orch.artifacts.save("One", f"the same {NAME} text")
    two = orch.artifacts.save("Two", f"the same {NAME} text")
    proof = orch.artifacts.forget(one)
    (shared,) = [each for each in proof.remainders if each.kind is RemainderKind.CONTENT]
    assert two.id in shared.problem
    assert orch.artifacts.text(two) == f"the same {NAME} text"
    assert orch.check().is_clean
    orch.artifacts.forget(two)
    with pytest.raises(CorruptContentError):
        orch.artifacts._content.read(one.digest)


def test_what_cannot_be_reached_is_told(orch):
    """Backups, a text that a person wrote, what was gathered from it, the task's own words."""
    subprocess.run(["git", "init", "-q", orch.project], check=True)
    backup = orch.backup(orch.home / "backups" / "one").path
    artifact = orch.artifacts.find("Interview")
    gathered = orch.artifacts.save("Gathered", "In short", metadata={"sources": [artifact.id]})
    orch.correct_task("interview", summary=f"Patient {NAME} Beeblebrox, born in 1952")
    page = orch.project / "docs" / "ARCHITECTURE.md"
    page.write_text(page.read_text() + f"\nMine: {NAME} Beeblebrox, born in 1952, gets\n")
    proof = orch.artifacts.forget(artifact)
    told = {(each.kind, each.name) for each in proof.remainders}
    assert told >= {
        (RemainderKind.BACKUP, str(backup)),
        (RemainderKind.DOCUMENT, "docs/ARCHITECTURE.md"),
        (RemainderKind.ARTIFACT, gathered.id),
        (RemainderKind.TASK, orch.get_task("interview").id),
        (RemainderKind.GIT, ""),
    }
    assert f"Mine: {NAME}" in page.read_text()


def test_a_search_finds_nothing_of_it(orch):
    """The index goes as a whole, and the next search builds it again."""
    assert orch.artifacts.search(NAME)
    proof = orch.artifacts.forget(orch.artifacts.find("Interview"))
    assert proof.removed["search indexes"] == 1
    assert files_with(orch) == []
    assert orch.artifacts.search(NAME) == []
    assert orch.artifacts.search("decision")
    assert orch.artifacts.verify_index() == []
    assert files_with(orch) == []


def test_another_index_of_the_store_follows(orch):
    """That of another home, or one that was put back: it is built anew, and holds nothing of it."""
    assert orch.artifacts.search(NAME)
    index = orch.artifacts._index
    kept, index.discard = index.discard, lambda **_: False
    orch.artifacts.forget(orch.artifacts.find("Interview"))
    index.discard = kept
    assert orch.artifacts.search(NAME) == []
    assert files_with(orch) == []


def test_a_document_that_cannot_be_written_leaves_it_unfinished(orch, monkeypatch):
    """Its versions are needed to know it for ours. Once it can be written, the call goes on."""
    artifact = orch.artifacts.find("Interview")

    def refused(*_, **__):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("vespera_orchestrator.documents.place.write_atomically", refused)
        with pytest.raises(vespera.DocumentError, match="cannot be written"):
            orch.artifacts.forget(artifact)
    assert [each.subject for each in orch.check().findings if each.kind == "forgetting"]
    assert orch.artifacts.forget(artifact).is_complete
    assert files_with(orch) == []
    assert orch.check().is_clean


class _Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("step", ["views", "contents", "shrink"])
def test_what_a_kill_left_is_finished(orch, monkeypatch, step):
    """Nothing offers it from the first step on; `check` names the rest, `repair` does it."""
    artifact = orch.artifacts.find("Interview")
    target = orch.artifacts._forgetting

    def killed(*_, **__):
        raise _Killed

    with monkeypatch.context() as patched:
        if step == "shrink":
            patched.setattr(orch._store, "shrink", killed)
        else:
            patched.setattr(target, f"_remove_{step}", killed)
        with pytest.raises(_Killed):
            orch.artifacts.forget(artifact, reason="asked")
    with pytest.raises(ArtifactForgottenError):
        orch.artifacts.get(artifact)
    findings = [each for each in orch.check().findings if each.kind == "forgetting"]
    assert findings[0].subject == artifact.id
    report = orch.repair()
    assert any("Finished forgetting" in sentence for sentence in report.done)
    assert report.left.is_clean
    assert files_with(orch) == []
    proof = orch.artifacts.forget(artifact)
    assert (proof.is_complete, proof.reason, proof.removed["records"]) == (True, "asked", 1)
    assert RemainderKind.COPY in {each.kind for each in proof.remainders}


def test_an_import_keeps_the_tombstones(orch, tmp_path_factory):
    """An export from afterwards tells of it; one from before has it, under the same id."""
    folder = tmp_path_factory.mktemp("exports")
    artifact = orch.artifacts.find("Interview")
    orch.export(folder / "before.jsonl")
    orch.artifacts.forget(artifact, reason="asked")
    orch.export(folder / "after.jsonl")
    for name in ("before", "after"):
        place = folder / name
        place.mkdir()
        with vespera.open(place) as copy:
            copy.import_(folder / f"{name}.jsonl")
            assert not copy.check().errors
            if name == "before":
                assert copy.artifacts.forget(artifact.id, reason="asked").removed["records"] == 1
            with pytest.raises(ArtifactForgottenError, match="asked"):
                copy.artifacts.get(artifact.id)
            assert NAME not in "".join(map(str, copy.artifacts.list()))


# --- bytes --------------------------------------------------------------------------


def test_a_folder_removes_a_content_at_once(tmp_path):
    """However young, packed or not; one that is not there is removed already."""
    content = FolderContent(tmp_path / "artifacts")
    for data in (b"small", b"large " * 10_000):
        digest, _ = content.put(data)
        for _ in range(2):
            content.remove(digest)
            with pytest.raises(CorruptContentError):
                content.read(digest)
        assert content.put(data)[0] == digest
        assert content.read(digest) == data


def test_an_object_store_removes_every_copy():
    """Who puts the same bytes afterwards makes another copy; others' bytes are not touched."""
    content = ObjectContent("memory://")
    content.used_by("mine")
    digest, _ = content.put(b"secret")
    kept, _ = content.put(b"other")
    content.remove(digest, user="mine")
    with pytest.raises(CorruptContentError):
        content.read(digest)
    assert content.read(kept) == b"other"
    content.put(b"secret")
    assert content.read(digest) == b"secret"
    content.used_by("theirs")
    content.put(b"third")
    with pytest.raises(InvalidInputError, match="other stores"):
        content.remove(digest, user="mine")
    assert content.read(digest) == b"secret"


@pytest.mark.parametrize(
    ("text", "quotes"),
    [
        ("he said: born in 1952, gets the red pill", True),
        ("BORN IN 1952 *gets* the", True),
        ("born in 1952 and gets the", False),
        ("the key is sk-1234567890abcdefghij!", True),
        ("", False),
    ],
)
def test_what_counts_as_a_quotation(text, quotes):
    """Five words in a row, or a long token; markup and letter case do not matter."""
    known = Quotations.of([TEXT, "sk-1234567890abcdefghij", "yes"])
    assert known.are_in(text) is quotes
    assert not known.are_in("yes, no, and so on and so forth")

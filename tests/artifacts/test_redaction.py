"""One text is taken out of everything that is kept: a password, wherever an agent put it."""

from __future__ import annotations

import subprocess

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import RemainderKind
from vespera_orchestrator.artifacts.redaction import MARK
from vespera_orchestrator.errors import InvalidInputError

KEY = 'correct "horse" battery_staple'


@pytest.fixture
def orch(tmp_path):
    """A home in which an agent has put a password everywhere."""
    with vespera.open(tmp_path) as opened:
        opened.initialize_session(f"Use {KEY}", project_type="software_development")
        opened.share_context(password=KEY)
        opened.plan_task("Set up", f"with {KEY}", alias="setup")
        with opened.execute_task("setup") as work:
            work.checkpoint({"tried": [KEY, 1]}, f"tried {KEY}")
            work.save_artifact("env.json", {"password": KEY}, tags=[KEY], metadata={"key": KEY})
            work.complete(
                summary=f"works with {KEY}",
                detailed_work=f"# Decision\n\nWe log in with {KEY} now.",
                outputs={"login": {"password": KEY}, "status": "completed"},
            )
        opened.correct_task("setup", summary=f"Works with {KEY}")
        opened.plan_task("Rest")
        opened.complete_task("rest", summary="rested", detailed_work="# Decision\n\nWe rest.")
        opened.artifacts.browse()
        opened.artifacts.save("blob", b"\x00" + KEY.encode())
        yield opened


def files_with(orch):
    """Return the files of the project, the home included, that hold the password."""
    forms = (KEY.encode(), KEY.replace('"', '\\"').encode(), b"battery_staple")
    files = [path for path in orch.project.rglob("*") if path.is_file()]
    return [path for path in files if any(form in path.read_bytes() for form in forms)]


def test_a_text_is_taken_out_of_everything(orch):
    """The work stays: with a mark where the text was. What is no text is named."""
    blob = orch.artifacts.find("blob")
    assert len(files_with(orch)) > 4
    proof = orch.artifacts.forget_text(KEY, reason=f"{KEY} is valid")
    (named,) = [each for each in proof.remainders if each.kind is RemainderKind.ARTIFACT]
    assert named.name == blob.id
    orch.artifacts.forget(blob)
    assert files_with(orch) == []
    task = orch.get_task("setup")
    assert task.summary == f"Works with {MARK}"
    assert task.outputs == {"login": {"password": MARK}, "status": "completed"}
    work = orch.artifacts.find("Set up")
    assert orch.artifacts.text(work) == f"# Decision\n\nWe log in with {MARK} now."
    assert work.id in proof.artifact_ids
    assert orch.artifacts.find("env.json").tags == (MARK,)
    assert orch.shared_context()["password"] == MARK
    assert orch.current_session().goal == f"Use {MARK}"
    assert (proof.is_complete, proof.reason) == (True, f"{MARK} is valid")
    assert proof.removed["contents"] >= 2
    assert orch.check().is_clean
    assert orch.artifacts.verify() == []
    assert orch.documents.check() == []


def test_a_search_no_longer_shows_it(orch):
    """The index is built again from what is kept now."""
    orch.artifacts.forget(orch.artifacts.find("blob"))
    assert any("horse" in hit.text for hit in orch.artifacts.search("log in decision"))
    orch.artifacts.forget_text(KEY)
    hits = orch.artifacts.search("log in decision")
    assert hits
    assert not any("horse" in hit.text for hit in hits)
    assert orch.artifacts.verify_index() == []
    assert files_with(orch) == []


@pytest.mark.parametrize("step", ["remove_copies", "_remove_contents"])
def test_a_killed_call_is_finished_by_the_same(orch, monkeypatch, step):
    """`check` says so. Nothing that is read has the text any more in between."""
    orch.artifacts.forget(orch.artifacts.find("blob"))

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(orch.artifacts._forgetting, step, killed)
        with pytest.raises(KeyboardInterrupt):
            orch.artifacts.forget_text(KEY, reason="valid")
    assert "horse" not in orch.artifacts.text(orch.artifacts.find("Set up"))
    pending = [each for each in orch.check().findings if each.kind == "forgetting"]
    assert "forget_text" in pending[0].remedy
    assert not orch.repair().left.errors
    orch.artifacts.forget_text(KEY)
    assert orch.check().is_clean
    assert files_with(orch) == []


def test_git_is_named(orch):
    """Its history is not ours to change."""
    subprocess.run(["git", "init", "-q", orch.project], check=True)
    proof = orch.artifacts.forget_text(KEY)
    assert RemainderKind.GIT in {each.kind for each in proof.remainders}


@pytest.mark.parametrize("text", ["short", "completed", "a_0123456789ab", "f" * 40, 7, None])
def test_what_is_too_common_is_refused(orch, text):
    """A word of our own, an id or a digest: nothing was changed."""
    last_seq = orch._store.last_seq()
    with pytest.raises(InvalidInputError, match=r"^text: "):
        orch.artifacts.forget_text(text)
    assert orch._store.last_seq() == last_seq


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "cp1252"])
def test_it_is_taken_out_of_texts_of_windows(tmp_path, encoding):
    """Such a log is searched, so its text can be forgotten, too."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Logs")
        content = "The key is Grüße_2026, as always in the log.\n".encode(encoding)
        log = orch.artifacts.save("run.log", content, media_type="text/plain")
        assert "Grüße_2026" in orch.artifacts.text(log)
        proof = orch.artifacts.forget_text("Grüße_2026")
        assert log.id in proof.artifact_ids
        assert orch.artifacts.text(log) == f"The key is {MARK}, as always in the log.\n"


def test_names_that_have_it_are_told(tmp_path):
    """What others refer to by a name, an alias or a key, keeps it; the proof says where."""
    with vespera.open(tmp_path, agent="kestrel77") as orch:
        orch.initialize_session("Names", context={"kestrel77": 1})
        orch.plan_task("Ask kestrel77", specialist_type="who knows kestrel77")
        with orch.execute_task("ask_kestrel77") as work:
            work.once("mail to kestrel77", lambda: 1)
        proof = orch.artifacts.forget_text("Kestrel77".lower())
        kept = {each.name for each in proof.remainders if each.kind is RemainderKind.NAME}
        assert {"tasks.alias", "sessions.context", "effects.key", "attempts.agent"} <= kept
        assert "tasks.title" not in kept
        assert orch.get_task("ask_kestrel77").specialist_type == f"who knows {MARK}"
        assert "beyond reach: tasks.alias: " in str(proof)


def test_an_alias_is_known_in_its_own_spelling(tmp_path):
    """It has no capitals and no spaces."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Names")
        orch.plan_task("Ask Doctor Kestrel")
        proof = orch.artifacts.forget_text("Doctor Kestrel")
        kept = [each for each in proof.remainders if each.name == "tasks.alias"]
        assert [each.kind for each in kept] == [RemainderKind.NAME]
        orch.update_task("ask_doctor_kestrel", alias="ask_somebody")
        proof = orch.artifacts.forget_text("Doctor Kestrel")
        assert "tasks.alias" not in {each.name for each in proof.remainders}


def test_the_alias_of_a_forgotten_task_is_named_however_short_its_title_is(tmp_path):
    """The alias was made from the title, and others refer to it."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Names")
        proof = orch.artifacts.forget_text(orch.plan_task("Ask Kestrel"))
        assert "tasks.alias" in {each.name for each in proof.remainders}


@pytest.mark.parametrize("killed_at", [None, "remove_copies", "_remove_contents"])
def test_a_task_loses_all_that_was_written_into_it(tmp_path, monkeypatch, killed_at):
    """In its own rows and where others quote it; what others wrote in few words stays.

    A killed call is finished by the same one, with the record from before.
    """

    def killed(*_, **__):
        raise KeyboardInterrupt

    lane = "She lives at 12 Harbour Lane."
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Visits", project_type="software_development")
        task = orch.plan_task("Ask her", lane, alias="visit", context={"phone": 4711, "who": "Eve"})
        with orch.execute_task("visit") as work:
            work.checkpoint({"heard": "a dog"}, "at the door")
            work.complete(
                summary=lane, detailed_work=f"Done. {lane}", outputs={"who": "Eve", "n": 3}
            )
        orch.plan_task("Ask her and Eve again")
        orch.documents.update()
        before = orch.get_task("visit")
        if killed_at is not None:
            with monkeypatch.context() as patched:
                patched.setattr(orch.artifacts._forgetting, killed_at, killed)
                with pytest.raises(KeyboardInterrupt):
                    orch.artifacts.forget_text(before)
        proof = orch.artifacts.forget_text(before, reason="she asked for it")
        after = orch.get_task(task.id)
        assert (after.title, after.description, after.summary) == (MARK, MARK, MARK)
        assert after.context == {"phone": MARK, "who": MARK}
        assert after.outputs == {"who": MARK, "n": MARK}
        assert orch.artifacts.text(orch.artifacts.list()[0]) == f"Done. {MARK}"
        assert orch.query_tasks()[-1].title == "Ask her and Eve again"
        assert proof.is_complete
        assert orch.check().is_clean
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for trace in (b"Harbour Lane", b"4711", b"a dog", b"at the door"):
        assert [path for path in files if trace in path.read_bytes()] == [], trace

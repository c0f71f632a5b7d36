"""A record whose digest is none: it is named, and everything else goes on."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.errors import CorruptContentError


@pytest.fixture(params=["", "zz", "../../../etc/passwd", "A" * 64, "\x00"])
def digest(request):
    """What a faulty program wrote instead of a digest."""
    return request.param


@pytest.fixture(params=["sqlite", "postgres"])
def orch(request, tmp_path, digest):
    """A home in which one of two artifacts has that digest."""
    store = None
    if request.param == "postgres":
        if digest == "\x00":
            pytest.skip("PostgreSQL holds no NUL")
        store = request.getfixturevalue("empty_postgres_url")
    folder = tmp_path / "project"
    folder.mkdir()
    with vespera.open(folder, store=store) as opened:
        opened.initialize_session("Goal")
        opened.artifacts.save("Sound", "what is sound")
        bad = opened.artifacts.save("Bad", "what is bad")
        with opened._store.ledger(write=True) as ledger:
            ledger.change("artifacts", {"id": bad.id}, {"digest": digest})
        yield opened


def test_a_digest_that_is_none_is_named_and_the_rest_goes_on(orch, digest, tmp_path):
    """Checking, repairing, backing up, exporting, verifying and collecting name the artifact and do
    their work for the others.
    """
    (finding,) = orch.check().errors
    assert "'Bad'" in finding.sentence
    assert "is not a SHA-256 digest" in finding.sentence
    assert "to save the content again makes a sound new version" in finding.remedy
    assert finding.subject == digest
    assert "'Bad'" in str(orch.repair())
    (problem,) = orch.backup(tmp_path / "backup", link=True).problems
    assert "'Bad'" in problem
    (problem,) = orch.export(tmp_path / "export").problems
    assert "'Bad'" in problem
    (damage,) = orch.artifacts.verify()
    assert "Bad" in str(damage)
    assert orch.artifacts.collect_garbage(sole_user=True).contents == 0
    orch.catch_up()
    assert [hit.title for hit in orch.artifacts.search("sound")] == ["Sound"]
    assert orch.artifacts.text(orch.artifacts.find("Sound")) == "what is sound"
    bad = orch.artifacts.find("Bad")
    with pytest.raises(CorruptContentError, match="is not a SHA-256 digest"):
        orch.artifacts.read(bad)


def test_saving_the_content_again_heals_it(orch):
    """The remedy works: the newest version is sound, and what searches and shows uses that."""
    saved = orch.artifacts.save("Bad", "what is bad")
    assert saved.version == 2
    assert orch.artifacts.text(saved) == "what is bad"

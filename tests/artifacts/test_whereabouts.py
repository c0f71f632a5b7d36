"""Bytes that another home keeps: it is named, they can be brought, and nobody collects them."""

from __future__ import annotations

import os
import subprocess

import pytest

import vespera_orchestrator as vespera
from support.git_project import git, make_repository
from vespera_orchestrator import ContentElsewhereError, InvalidInputError
from vespera_orchestrator.artifacts.context import UnreadArtifact, unread_lines
from vespera_orchestrator.artifacts.garbage import _SHORTEST_GRACE_S

TEXT = "# Measured\n\nThe thermistor reads 93 at pin 4.\n"
NOTHING = "Nothing was done here.\n"


@pytest.fixture
def homes(tmp_path):
    """Two homes on one store, each with its own contents; A has completed what B builds on."""
    store = f"sqlite:///{tmp_path}/store.db"
    for name in ("a", "b"):
        tmp_path.joinpath(name).mkdir()
    with vespera.open(tmp_path / "a", store=store, agent="ada") as one:
        session = one.initialize_session("Measure")
        one.plan_tasks(
            [
                {"title": "Measure the thermistor"},
                {"title": "Write about the thermistor", "dependencies": ["measure_the_thermistor"]},
                {"title": "Calibrate the thermistor"},
            ]
        )
        one.complete_task("measure_the_thermistor", summary="measured", detailed_work=TEXT)
        with vespera.open(tmp_path / "b", store=store, agent="bob", session=session.id) as two:
            yield one, two


def record(orch):
    """Return the record of A's work."""
    (artifact,) = orch.artifacts.list(task="measure_the_thermistor")
    return artifact


def test_the_error_names_the_home_and_its_command_brings_the_bytes(homes):
    """It works also for a content that is stored compressed."""
    one, two = homes
    long = one.artifacts.save("Long", TEXT * 1000)
    for artifact, text in ((record(two), TEXT), (long, TEXT * 1000)):
        with pytest.raises(ContentElsewhereError) as caught:
            two.artifacts.read(artifact.id)
        error = caught.value
        assert f"{artifact.title!r} v1: its bytes are in another home, {one.home} on" in str(error)
        assert error.place == str(one.home)
        subprocess.run(["bash", "-c", error.fetch], check=True)
        assert two.artifacts.text(artifact.id) == text
    assert two.check().findings == ()


def test_what_builds_on_them_says_where_they_are(homes):
    """A context, a briefing and a verification name the home; nothing passes over them silently."""
    one, two = homes
    where = f"in another home, {one.home} on"
    context = two.artifacts.context("the thermistor", task="write_about_the_thermistor")
    (unread,) = context.unread
    assert unread.artifact_id == record(two).id
    assert where in unread.problem
    assert where in str(context)
    assert context.tokens <= context.budget_tokens
    (damage,) = two.artifacts.verify()
    assert where in damage.problem
    assert damage.remedy.startswith("to bring them: mkdir -p")
    with two.execute_task("write_about_the_thermistor") as work:
        briefing = work.briefing()
    assert where in briefing
    assert f"cp {one.home}/artifacts/" in briefing
    with two.execute_task("calibrate_the_thermistor") as work:
        (line,) = (line for line in work.briefing().splitlines() if "1 more text" in line)
    assert f"1 more text was not looked at: the bytes are {where}" in line
    named = f"says how to bring them: {record(two).id} (Measure the thermistor)"
    assert line.endswith(named)


def test_a_briefing_names_files_and_pictures_whose_bytes_are_elsewhere(homes, tmp_path):
    """They are not quoted in a briefing, and are not passed over either; brought, they are here."""
    one, two = homes
    where = f"in another home, {one.home} on"
    tmp_path.joinpath("a", "readings.csv").write_text("pin,value\n4,93\n")
    one.plan_task("Plot the thermistor")
    with one.execute_task("plot_the_thermistor") as work:
        plot = work.save_artifact("Plot", b"\x89PNG", media_type="image/png")
        work.complete(summary="s", detailed_work="d", file_paths=["readings.csv"])
    one.plan_task("Show it", dependencies=["plot_the_thermistor"])
    (file,) = one.artifacts.list(kind="file")
    work = two.execute_task("show_it")
    lines = work.briefing(8000).splitlines()
    (picture,) = (line for line in lines if plot.id in line)
    assert f"its bytes are {where}" in picture
    assert picture.endswith(f" {two.home}/artifacts/{plot.digest[:2]}/")  # no command is cut
    (reading,) = (line for line in lines if file.id in line)
    assert reading.startswith("- readings.csv (by plot_the_thermistor, ")
    assert reading.endswith(f"; orch.artifacts.read({file.id!r}) says how to bring them")
    for artifact in (plot, file):
        with pytest.raises(ContentElsewhereError) as caught:
            two.artifacts.read(artifact)
        subprocess.run(["bash", "-c", caught.value.fetch], check=True)
    again = [
        line for line in work.briefing(8000).splitlines() if plot.id in line or file.id in line
    ]
    assert len(again) == 2
    assert not any("its bytes are" in line for line in again)


def test_a_home_that_was_moved_is_named_at_its_new_place(homes, tmp_path):
    """What it saves next tells the store where it is."""
    one, two = homes
    one.close()
    moved = (tmp_path / "a").rename(tmp_path / "moved")
    with vespera.open(moved, store=two._store.url, session=two.current_session().id) as again:
        again.artifacts.save("Note", NOTHING)
        with pytest.raises(ContentElsewhereError) as caught:
            two.artifacts.read(record(two).id)
        assert caught.value.place == str(again.home)


def test_bytes_that_this_home_has_lost_are_lost_unless_another_saved_them_too(homes):
    """`check` calls it an error in the home that has lost them; reading names who has them."""
    one, two = homes
    lost = two.artifacts.save("Note", NOTHING)
    file = two._rooms.content.path(lost.digest)
    file.unlink()
    (error,) = two.check().errors
    assert error.subject == lost.digest
    with pytest.raises(vespera.CorruptContentError) as caught:
        two.artifacts.read(lost)
    assert not isinstance(caught.value, ContentElsewhereError)
    one.artifacts.save("The same", NOTHING)
    with pytest.raises(ContentElsewhereError, match="in another home"):
        two.artifacts.read(lost)


def test_what_cannot_be_read_takes_a_quarter_of_the_budget():
    """The rest is counted; where there is no room for a line, nothing is said."""
    unread = [
        UnreadArtifact(artifact_id=f"a_{number}", title="T", problem="elsewhere")
        for number in range(100)
    ]
    text = unread_lines(unread, 400)
    assert len(text) < 4 * 110
    assert text.endswith("more")
    assert unread_lines(unread, 20) == unread_lines([], 400) == ""


# --- one folder for several stores ----------------------------------------------------


def age(folder):
    """Make every file old enough to be collected."""
    for file in folder.rglob("*"):
        if file.is_file():
            os.utime(file, (1, 1))


def test_a_shared_folder_is_not_collected_while_another_store_puts_contents_there(tmp_path):
    """Even if the caller says that there is no other; what the error names helps."""
    content = f"file://{tmp_path}/content"
    saved = {}
    for name in ("a", "b"):
        tmp_path.joinpath(name).mkdir()
        with vespera.open(tmp_path / name, content=content) as orch:
            orch.initialize_session(name)
            saved[name] = orch.artifacts.save("Note", f"word of {name}")
    age(tmp_path / "content")
    with vespera.open(tmp_path / "a", content=content) as orch:
        with pytest.raises(InvalidInputError, match=r"/b/.*if one of these is gone") as caught:
            orch.artifacts.collect_garbage(older_than_s=_SHORTEST_GRACE_S, sole_user=True)
        assert orch.check().findings == ()
        (marker,) = (
            file
            for file in tmp_path.joinpath("content", "users").iterdir()
            if str(file) in str(caught.value)
        )
        marker.unlink()
        collected = orch.artifacts.collect_garbage(older_than_s=_SHORTEST_GRACE_S, sole_user=True)
        assert collected.contents == 1
        assert orch.artifacts.text(saved["a"]) == "word of a"


@pytest.mark.parametrize("collector", ["owner", "guest"])
def test_a_home_s_own_folder_that_another_store_uses_too_is_not_collected(tmp_path, collector):
    """Neither by the home itself, which finds the other's name, nor by the other."""
    for name in ("owner", "guest"):
        tmp_path.joinpath(name).mkdir()
    content = {"owner": None, "guest": f"file://{tmp_path}/owner/.task_orchestrator/artifacts"}
    for name, address in content.items():
        with vespera.open(tmp_path / name, content=address) as orch:
            orch.initialize_session(name)
            orch.artifacts.save("Note", f"word of {name}")
    age(tmp_path / "owner" / ".task_orchestrator" / "artifacts")
    other = "guest" if collector == "owner" else "owner"
    with (
        vespera.open(tmp_path / collector, content=content[collector]) as orch,
        pytest.raises(InvalidInputError, match=f"/{other}/"),
    ):
        orch.artifacts.collect_garbage(older_than_s=_SHORTEST_GRACE_S, sole_user=True)
    for name, address in content.items():
        with vespera.open(tmp_path / name, content=address) as orch:
            (note,) = orch.artifacts.list()
            assert orch.artifacts.text(note) == f"word of {name}"


@pytest.fixture
def software_homes(tmp_path):
    """Two clones that share a store and no contents; each has completed a task, and A was first."""
    first = make_repository(tmp_path / "a", {"kettle.py": 'def boil():\n    "Boil."\n'})
    git(tmp_path, "clone", "-q", str(first), "b")
    store = f"sqlite:///{tmp_path}/store.db"
    with vespera.open(tmp_path / "a", store=store, agent="ada") as one:
        session = one.initialize_session("Kettle", project_type="software_development")
        with vespera.open(tmp_path / "b", store=store, agent="bob", session=session.id) as two:
            for number in range(2):
                for orch in (one, two):
                    title = f"part {number} of {orch.agent}"
                    task = orch.plan_task(title)
                    orch.complete_task(task, summary=f"{title} is done", detailed_work=title)
            yield one, two


@pytest.mark.usefixtures("identity")
def test_a_version_that_another_home_wrote_is_named_and_can_be_brought(software_homes):
    """Reading it and putting it back say whose it is; the command that they name works."""
    one, two = software_homes
    theirs = next(
        version
        for version in two.documents.versions("CHANGELOG.md")
        if version.home_id != two._scope.home.id
    )
    for call in (
        lambda: two.documents.read(theirs),
        lambda: two.documents.restore("CHANGELOG.md", theirs),
        lambda: two.documents.diff("CHANGELOG.md", theirs),
    ):
        with pytest.raises(ContentElsewhereError) as caught:
            call()
        name = f"version {theirs.version} of {theirs.path}"
        assert str(caught.value).startswith(f"{name}: its bytes are in another home, {one.home} on")
    subprocess.run(["bash", "-c", caught.value.fetch], check=True)
    assert two.documents.read(theirs) == one.documents.read(theirs)
    two.documents.restore("CHANGELOG.md", theirs)


@pytest.mark.usefixtures("identity")
def test_documents_follow_beside_a_home_whose_texts_are_not_here(software_homes):
    """Each home's documents have its own work; none is behind because another wrote last."""
    for orch in software_homes:
        orch.documents.update()
        assert all(
            each.severity == "note" and "in another home" in each.sentence
            for each in orch.documents.check()
        )
        text = orch.project.joinpath("docs", "CHANGELOG.md").read_text("utf-8")
        for number in range(2):
            assert f"task part_{number}_of_{orch.agent} " in text

"""Settings that are about everybody's work: the homes of a session have them in common."""

from __future__ import annotations

import logging
import tomllib

import pytest

import vespera_orchestrator as vespera
from support.git_project import git
from vespera_orchestrator._model import EventKind

DONE = {"summary": "done", "detailed_work": "all of it"}
CHECK = '[worktrees]\ncheck = ["test", "-e", "f.txt"]\n'
FAILING = '[worktrees]\ncheck = ["false"]\n'


def plan(team):
    """Open A, which starts the session, and plan two tasks."""
    one = team.open("a")
    one.plan_tasks([{"title": "Task"}, {"title": "Other"}])
    return one


def follow(team, name, error):
    """Write into the clone's settings what the error says."""
    settings = team.folder(name) / ".task_orchestrator" / "config.toml"
    assert error.config == str(settings)
    lines = [remedy.rpartition(" (")[0] for remedy in error.remedies]
    assert all(line in str(error) for line in lines)
    before = [line for line in lines if line.startswith("content")]
    inside = [line for line in lines if line not in before]
    settings.write_text("\n".join([*before, "[worktrees]", *inside, ""]))
    tomllib.loads(settings.read_text())


@pytest.mark.parametrize("own", ["", '[worktrees]\ncheck = "true"\n'])
def test_the_check_of_one_home_is_not_skipped_by_another(team, own):
    """Without it, or with another one, nothing is started or landed; what the error says helps."""
    team.configure("a", CHECK)
    team.configure("b", own)
    plan(team)
    two = team.open("b")
    with pytest.raises(vespera.SettingsConflictError, match="check") as caught:
        two.execute_task("task", worktree=True)
    assert two.get_task("task").attempts == 0
    with pytest.raises(vespera.SettingsConflictError):
        two.execute_task(worktree=True)
    record = two.worktrees.create("task")
    with pytest.raises(vespera.SettingsConflictError):
        two.worktrees.merge(record)
    follow(team, "b", caught.value)
    again = team.open("b")
    with again.execute_task("task", worktree=True) as work:
        (work.path / "f.txt").unlink()
        assert work.complete(**DONE).status == "blocked"  # the check refused
    assert git(again.project, "ls-tree", "--name-only", "integration") == "f.txt"
    assert again.check().findings == ()


def test_work_that_is_finished_before_the_settings_fit_is_kept(team):
    """The holder keeps the task, its files and what it handed in, and completes it later."""
    plan(team)
    two = team.open("b")
    work = two.execute_task("task", worktree=True)
    (work.path / "new.txt").write_text("by bob\n")
    team.configure("a", CHECK)
    team.open("a").execute_task("other", worktree=True)
    with pytest.raises(vespera.SettingsConflictError) as caught:
        work.complete(**DONE)
    assert two.artifacts.read(caught.value.kept_artifact_id) == b"all of it"
    assert two.get_task("task").status == "in_progress"
    follow(team, "b", caught.value)
    again = team.open("b")
    assert again.complete_task("task", **DONE).status == "completed"
    assert git(again.project, "show", "integration:new.txt") == "by bob"


def test_bytes_go_where_the_others_can_read_them(any_team):
    """A home that forgot its content store is refused, whether it lands anything or not."""
    plan(any_team)
    forgetful = any_team.open("b", content=None)
    for start in ({"task_id": "task"}, {}):
        with pytest.raises(vespera.SettingsConflictError, match="content"):
            forgetful.execute_task(**start)
    with pytest.raises(vespera.SettingsConflictError) as caught:
        forgetful.complete_task("task", **DONE)
    assert forgetful.artifacts.read(caught.value.kept_artifact_id) == b"all of it"
    assert forgetful.get_task("task").status == "pending"
    step = forgetful.next_step()
    assert any_team.content in str(step)
    assert eval(step.call, {"orch": forgetful}) is not None
    follow(any_team, "b", caught.value)
    two = any_team.open("b", content=None)  # it is in the file now
    assert two.complete_task("task", **DONE).status == "completed"
    (artifact,) = (each for each in two.artifacts.list(task="task") if not each.partial)
    assert any_team.open("c").artifacts.read(artifact) == b"all of it"


def test_the_home_itself_forgets_its_content_store(team):
    """One call that names it and another that does not are refused on one machine, too."""
    plan(team)
    with pytest.raises(vespera.SettingsConflictError, match="content"):
        team.open("a", content=None).execute_task("task")
    moved = f"file://{team.room}/moved"
    assert team.open("a", content=moved).execute_task("task").task.alias == "task"
    with pytest.raises(vespera.SettingsConflictError, match="moved"):
        team.open("b").execute_task("other")


def test_branch_and_undoing_are_alike(team):
    """Both are refused where they ask less, or something else, of a home."""
    team.configure("a", '[worktrees]\nintegration_branch = "trunk"\nundoing = "refuse"\n')
    plan(team)
    two = team.open("b")
    with pytest.raises(vespera.SettingsConflictError) as caught:
        two.execute_task("task", worktree=True)
    assert caught.value.settings == ("worktrees.integration_branch", "worktrees.undoing")
    assert two.execute_task("task").complete(**DONE).status == "completed"  # it lands nothing
    follow(team, "b", caught.value)
    assert team.open("b").execute_task("other", worktree=True).path.exists()


def test_a_home_that_does_more_is_told_and_goes_on(team, caplog):
    """Its own check runs; how to make it everybody's is said, and works."""
    plan(team)
    team.configure("b", FAILING)
    with caplog.at_level(logging.WARNING):
        two = team.open("b")
    assert "worktrees.check" in caplog.text
    (finding,) = two.check().findings
    assert (finding.severity, finding.subject) == ("warning", "worktrees.check")
    with two.execute_task("task", worktree=True) as work:
        (work.path / "new.txt").write_text("x")
        assert work.complete(**DONE).status == "blocked"
    assert finding.remedy.startswith("orch.share_settings()")
    assert two.share_settings().landing_check == ("false",)
    assert two.check().findings == ()
    with pytest.raises(vespera.SettingsConflictError, match="false"):
        team.open("a").execute_task("other", worktree=True)
    agreed = [event for event in two._store.events() if event.kind == EventKind.SETTINGS_AGREED]
    assert [event.data["check"] for event in agreed] == [["false"]]


def test_the_home_that_decides_changes_its_mind_in_its_file(any_team):
    """It need not say so twice; a process that was started before does not change it back."""
    plan(any_team)
    before = any_team.open("a")
    any_team.configure("a", CHECK)
    after = any_team.open("a")
    assert after.team_settings().landing_check == ("test", "-e", "f.txt")
    after.execute_task("task", worktree=True)
    with pytest.raises(vespera.SettingsConflictError):
        before.execute_task("other", worktree=True)
    (finding,) = before.check().findings
    assert finding.subject == "worktrees.check"
    assert finding.remedy.endswith("open it again")  # the file has the line already
    assert after.check().findings == ()
    assert after.team_settings().landing_check == ("test", "-e", "f.txt")
    any_team.configure("a", "")
    last = any_team.open("a")
    last.execute_task("other", worktree=True)
    assert last.team_settings().landing_check is None


def test_each_session_has_settings_of_its_own(team):
    """Projects that share a store do not share a check."""
    team.configure("a", CHECK)
    plan(team)
    two = team.open("b", session=None)
    two.initialize_session("another project")
    two.plan_task("Alone")
    assert two.team_settings().landing_check is None
    assert two.execute_task("alone", worktree=True).complete(**DONE).status == "completed"
    assert two.check().findings == ()


def test_an_older_session_is_agreed_on_by_whoever_works_first(team):
    """Looking decides nothing."""
    one = plan(team)
    with one._store.ledger(write=True) as ledger:
        ledger.remove("team_settings", [{"session_id": team.session}])
    two = team.open("b")
    two.get_status()
    two.next_step()
    assert two.check().findings == ()
    assert two._store.team_settings(team.session) is None
    two.execute_task("task")
    assert two._store.team_settings(team.session).home_id == two._scope.home.id


def test_copies_of_a_store_agree_anew(team, tmp_path):
    """What homes with this store agreed on means nothing in an export or a backup of it."""
    team.configure("a", CHECK)
    one = plan(team)
    one.export(tmp_path / "all.jsonl")
    one.backup(tmp_path / "backup")
    with vespera.open(team.folder("b"), agent="copy") as copy:
        copy.import_(tmp_path / "all.jsonl")
        assert copy.check().findings == ()
        assert copy.execute_task("task", worktree=True).path.exists()
        assert copy.team_settings().landing_check is None
    with vespera.open(team.folder("c"), home=tmp_path / "backup") as kept:
        assert kept.check().findings == ()


def test_bytes_that_another_home_keeps_are_not_called_lost(team):
    """Each home keeps its own; the others say where, and still tell damage from absence."""
    one = team.open("a", content=None)
    one.plan_tasks([{"title": "Task"}, {"title": "Other"}])
    one.complete_task("task", **DONE)
    two = team.open("b", content=None)
    (finding,) = two.check().findings
    assert finding.severity == "note"
    assert f"is in another home, {one.home} on" in finding.sentence
    assert one.check().findings == ()
    two.complete_task("other", summary="s", detailed_work="bytes of b")
    (artifact,) = two.artifacts.list(task="other")
    next(two.home.joinpath("artifacts").rglob(f"{artifact.digest[2:]}*")).write_bytes(b"damaged")
    (error,) = two.check().errors
    assert error.subject == artifact.digest


def test_a_document_that_another_home_wrote_is_not_called_lost(tmp_path):
    """Its text is in the home that wrote it, which is named; the home itself misses it."""
    store = f"sqlite:///{tmp_path}/store.db"
    for name in ("a", "b"):
        tmp_path.joinpath(name).mkdir()
    with vespera.open(tmp_path / "a", store=store) as one:
        session = one.initialize_session("A kettle", project_type="software_development")
        one.complete_task(one.plan_task("Lid"), summary="fits", detailed_work="it fits")
        versions = one.documents.versions("docs/CHANGELOG.md")
        assert {version.home_id for version in versions} == {one.artifacts.list()[0].home_id}
        with vespera.open(tmp_path / "b", store=store, session=session.id) as two:
            findings = [each for each in two.check().findings if each.kind == "content"]
            assert {finding.severity for finding in findings} == {"note"}
            damages = two.artifacts.verify()
            assert {damage.documents for damage in damages if damage.documents}
            assert all(f"in another home, {one.home}" in damage.problem for damage in damages)
            assert f"is in another home, {one.home} on" in findings[0].sentence
        digest = versions[0].digest
        next(one.home.joinpath("artifacts").rglob(f"{digest[2:]}*")).unlink()
        assert [error.subject for error in one.check().errors] == [digest]


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_bytes_that_the_only_home_has_lost_are_an_error(tmp_path, durability):
    """Nobody else can have them."""
    with vespera.open(tmp_path, durability=durability) as orch:
        orch.initialize_session("alone")
        artifact = orch.artifacts.save("T", "text")
        next(orch.home.joinpath("artifacts").rglob(f"{artifact.digest[2:]}*")).unlink()
        (error,) = orch.check().errors
    assert error.subject == artifact.digest

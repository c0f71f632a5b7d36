"""Documents where work lands: on the integration branch, so that nothing is in anybody's way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support.git_project import git, identity, make
from vespera_orchestrator.documents.place import LandingPlace
from vespera_orchestrator.documents.sections import section_contents
from vespera_orchestrator.worktrees.branch_files import IntegrationFiles

__all__ = ["identity", "make"]  # fixtures


@pytest.fixture
def orch(make):
    """An open home in a repository with one file."""
    project = make(files={"core.py": 'def existing():\n    """Be there."""\n'})
    with vespera.open(project.folder) as opened:
        opened.initialize_session("Goal", project_type="software_development")
        yield opened


def land(orch, title, files, **how):
    """Complete a task that worked in a worktree."""
    task = orch.plan_task(title)
    with orch.execute_task(task, worktree=True) as work:
        for name, text in files.items():
            path = work.path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return work.complete(summary=how.get("summary", title), detailed_work="It is done.")


def shown(orch, name):
    return git(orch.project, "show", f"integration:docs/{name}")


def assert_can_merge(orch):
    """The user's own checkout is clean, and takes the integration branch."""
    assert git(orch.project, "status", "--porcelain") == ""
    git(orch.project, "merge", "-q", "integration")
    assert git(orch.project, "status", "--porcelain") == ""


def test_documents_land_with_the_work(orch):
    """They are read from the branch and written to it; the checkout stays as it is."""
    land(orch, "Add shine", {"new.py": "def shiny(): ...\n"})
    api = section_contents(shown(orch, "API_REFERENCE.md"))["api"]
    assert "def shiny()" in api
    assert "Be there." in api
    assert "- Add shine." in shown(orch, "CHANGELOG.md")
    assert not (orch.project / "docs").exists()
    assert orch.documents.check() == []
    assert orch.documents.update().written == ()
    assert git(orch.project, "rev-list", "--count", "main..integration") == "1", "one commit"
    assert_can_merge(orch)
    land(orch, "Take it back", {"new.py": "def dull(): ...\n"})
    assert "shiny" not in shown(orch, "API_REFERENCE.md")
    assert_can_merge(orch)


def test_what_completes_without_a_worktree_goes_there_too(orch):
    """Once work lands, the documents are in one place only."""
    land(orch, "Add shine", {"new.py": "x = 1\n"})
    orch.complete_task(orch.plan_task("Add polish"), summary="Added polish", detailed_work="x")
    assert "- Added polish." in shown(orch, "CHANGELOG.md")
    assert git(orch.project, "log", "-1", "--format=%s", "integration") == "Update the documents"
    assert_can_merge(orch)


def test_documents_that_were_made_before_work_landed_move(orch):
    """Untracked copies of ours would abort the merge; what a person wrote in one comes along."""
    orch.complete_task(orch.plan_task("Begin"), summary="Began the work", detailed_work="x")
    docs = orch.project / "docs"
    assert len(list(docs.iterdir())) == 3
    with (docs / "CHANGELOG.md").open("a") as stream:
        stream.write("\nMy own words.\n")
    land(orch, "Add shine", {"docs/ARCHITECTURE.md": "# Mine\n"})
    assert "My own words." in shown(orch, "CHANGELOG.md")
    assert "- Add shine." in shown(orch, "CHANGELOG.md")
    assert shown(orch, "ARCHITECTURE.md") == "# Mine"
    assert_can_merge(orch)
    assert "My own words." in (docs / "CHANGELOG.md").read_text()


def test_documents_that_were_committed_are_left_clean(orch):
    """A copy that we wrote over a committed one goes back to what is committed."""
    orch.complete_task(orch.plan_task("Begin"), summary="Began the work", detailed_work="x")
    git(orch.project, "add", "docs")
    git(orch.project, "commit", "-qm", "docs")
    orch.complete_task(orch.plan_task("Go on"), summary="Went on and on", detailed_work="x")
    assert git(orch.project, "status", "--porcelain") == " M docs/CHANGELOG.md"
    land(orch, "Add shine", {"new.py": "x = 1\n"})
    assert "Went on" in shown(orch, "CHANGELOG.md")
    assert_can_merge(orch)


def test_a_copy_with_words_of_a_person_is_left(orch):
    """What is not on the branch is not taken away."""
    orch.complete_task(orch.plan_task("Begin"), summary="Began the work", detailed_work="x")
    git(orch.project, "add", "docs")
    git(orch.project, "commit", "-qm", "docs")
    path = orch.project / "docs" / "CHANGELOG.md"
    path.write_text(path.read_text().replace("- Began the work.", "- Mine."))
    land(orch, "Add shine", {"new.py": "x = 1\n"})
    assert "- Mine." in path.read_text()


def test_an_agents_edit_beside_the_sections_merges(orch):
    """A document is a file like others to whoever works in a worktree."""
    land(orch, "Add shine", {"new.py": "x = 1\n"})
    task = orch.plan_task("Explain")
    with orch.execute_task(task, worktree=True) as work:
        path = work.path / "docs" / "ARCHITECTURE.md"
        path.write_text(path.read_text() + "\n## Why\n\nBecause.\n")
        work.complete(summary="Explained", detailed_work="x")
    assert shown(orch, "ARCHITECTURE.md").endswith("Because.")
    assert_can_merge(orch)


def test_an_agents_edit_inside_a_section_lands(orch):
    """Others have landed meanwhile, and the section went on: the edit stays, ours is proposed."""
    land(orch, "Add shine", {"shine.py": "shine = 1\n"})
    work = orch.execute_task(orch.plan_task("Add polish"), worktree=True)
    edit(work.path / "docs" / "CHANGELOG.md", "Add shine.", "Add shine, mind.")
    (work.path / "polish.py").write_text("polish = 1\n")
    land(orch, "Add wax", {"wax.py": "wax = 1\n"})
    done = work.complete(summary="Add polish", detailed_work="x")
    assert done.status == "completed"
    changelog = shown(orch, "CHANGELOG.md")
    assert "Add shine, mind." in changelog
    assert "<<<<" not in changelog
    (proposal,) = orch.documents.proposals()
    assert "Add wax." in proposal.text
    orch.documents.accept(proposal)
    assert re.findall(r"^- Add (\w+)", shown(orch, "CHANGELOG.md"), re.MULTILINE) == [
        "polish",
        "wax",
        "shine",
    ]
    assert_can_merge(orch)


def test_two_edits_by_hand_of_one_section_are_a_conflict(orch):
    """Nobody but a person can tell which of them is meant."""
    land(orch, "Add shine", {"shine.py": "shine = 1\n"})
    works = [
        orch.execute_task(orch.plan_task(title), agent=title, worktree=True)
        for title in ("One", "Other")
    ]
    for work, words in zip(works, ("Add shine at last.", "Add some shine."), strict=True):
        edit(work.path / "docs" / "CHANGELOG.md", "Add shine.", words)
    first, second = (work.complete(summary="Done", detailed_work="x") for work in works)
    assert first.status == "completed"
    assert second.status == "blocked"
    assert "Add shine at last." in shown(orch, "CHANGELOG.md")


def test_catching_up_merges_a_document_by_its_sections(orch):
    """An edit in a worktree meets what we wrote meanwhile: no marks of a conflict in the file."""
    land(orch, "Add shine", {"shine.py": "shine = 1\n"})
    work = orch.execute_task(orch.plan_task("Add polish"), agent="A", worktree=True)
    path = work.path / "docs" / "CHANGELOG.md"
    edit(path, "### Added", "### Added, at last")
    orch.complete_task(orch.plan_task("Add wax"), summary="Add wax", detailed_work="x")
    orch.correct_task("add_shine", summary="Add much shine")
    orch.documents.update()
    edit(path, "- Add shine.", "- Add shine, mind.")
    orch.worktrees.snapshot(work.task)
    assert not orch.worktrees.forecast().clashes
    assert orch.worktrees.catch_up(work.task) == ()
    text = path.read_text("utf-8")
    assert "- Add shine, mind." in text
    assert "<<<<" not in text
    assert work.complete(summary="Add polish", detailed_work="x").status == "completed"
    assert "- Add shine, mind." in shown(orch, "CHANGELOG.md")


def test_work_that_lands_without_a_task_brings_the_documents_along(orch):
    """The reference of the merged files is part of the same commit, and edits are merged."""
    land(orch, "Add shine", {"shine.py": "shine = 1\n"})
    tree = orch.worktrees.create(agent="B")
    folder = Path(tree.path)
    (folder / "polish.py").write_text("def polish(): ...\n")
    edit(folder / "docs" / "CHANGELOG.md", "- Add shine.", "- Add shine, mind.")
    orch.correct_task("add_shine", summary="Add much shine")
    orch.documents.update()
    before = git(orch.project, "rev-list", "--count", "integration")
    assert orch.worktrees.merge(tree).changed
    assert "def polish()" in shown(orch, "API_REFERENCE.md")
    assert "- Add shine, mind." in shown(orch, "CHANGELOG.md")
    assert int(git(orch.project, "rev-list", "--count", "integration")) == int(before) + 1
    assert orch.worktrees.is_merged(tree)


def test_a_project_below_the_top_keeps_its_documents_there(make):
    """It is about the project's own files, in its own folder, and merges by section."""
    project = make(files={"a/core.py": "def core(): ...\n", "b/other.py": "def other(): ...\n"})
    folder = project.folder / "a"
    with vespera.open(folder, home=folder / ".task_orchestrator") as orch:
        orch.initialize_session("Goal", project_type="software_development")
        orch.complete_task(orch.plan_task("Begin"), summary="Add a start", detailed_work="x")
        assert (folder / "docs" / "CHANGELOG.md").is_file()
        work = orch.execute_task(orch.plan_task("Add polish"), agent="A", worktree=True)
        land(orch, "Add shine", {"a/shine.py": "def shine(): ...\n"})
        assert orch.worktrees.catch_up(work.task) == ()
        land(orch, "Add wax", {"a/wax.py": "def wax(): ...\n"})
        edit(work.path / "a" / "docs" / "CHANGELOG.md", "- Add shine.", "- Add shine, mind.")
        orch.correct_task("add_shine", summary="Add much shine")
        work.complete(summary="Add polish", detailed_work="x")
        files = git(project.folder, "ls-tree", "-r", "--name-only", "integration").split()
        assert [each for each in files if each.endswith(".md")] == [
            f"a/docs/{name}" for name in ("API_REFERENCE.md", "ARCHITECTURE.md", "CHANGELOG.md")
        ]
        api = git(project.folder, "show", "integration:a/docs/API_REFERENCE.md")
        assert "def shine()" in api
        assert "other" not in api
        changelog = git(project.folder, "show", "integration:a/docs/CHANGELOG.md")
        assert "- Add shine, mind." in changelog
        (proposal,) = orch.documents.proposals()
        orch.documents.accept(proposal)
        assert "- Add polish." in git(project.folder, "show", "integration:a/docs/CHANGELOG.md")
        assert orch.documents.check() == []
    assert_merges(project.folder)


def assert_merges(folder):
    """The checkout is clean, and takes the integration branch."""
    assert git(folder, "status", "--porcelain") == ""
    git(folder, "merge", "-q", "integration")


def edit(path, old, new):
    """Put other words into a file."""
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def test_a_document_that_lands_deleted_stays_deleted(orch):
    """Whoever does not want one removes it where they work."""
    land(orch, "Add shine", {"new.py": "x = 1\n"})
    task = orch.plan_task("Tidy")
    with orch.execute_task(task, worktree=True) as work:
        (work.path / "docs" / "ARCHITECTURE.md").unlink()
        work.complete(summary="Tidied", detailed_work="x")
    land(orch, "Go on", {"new.py": "x = 2\n"})
    assert "ARCHITECTURE.md" not in git(orch.project, "ls-tree", "-r", "--name-only", "integration")


def test_an_edit_inside_a_section_stays_on_the_branch(orch):
    """Its proposal is accepted by a commit."""
    land(orch, "Add shine", {"new.py": "x = 1\n"})
    task = orch.plan_task("Correct")
    with orch.execute_task(task, worktree=True) as work:
        path = work.path / "docs" / "CHANGELOG.md"
        path.write_text(path.read_text().replace("- Add shine.", "- Added a shine."))
        work.complete(summary="Corrected the words", detailed_work="x")
    assert "- Added a shine." in shown(orch, "CHANGELOG.md")
    assert "Corrected" not in shown(orch, "CHANGELOG.md")
    (proposal,) = orch.documents.proposals()
    assert "documents.proposals()" in str(orch.next_step())
    orch.documents.accept(proposal)
    assert "- Added a shine." in shown(orch, "CHANGELOG.md")
    assert "- Corrected the words." in shown(orch, "CHANGELOG.md")
    assert orch.documents.proposals() == []
    assert_can_merge(orch)


def test_a_change_belongs_to_the_version_whose_tag_is_on_its_commit(orch):
    """Git keeps whole seconds, and a task is completed after the commit that lands it."""
    land(orch, "Add shine", {"new.py": "def shiny(): ...\n"})
    git(orch.project, "tag", "v1.0.0", "integration")
    land(orch, "Add polish", {"more.py": "def polished(): ...\n"})
    changelog = section_contents(shown(orch, "CHANGELOG.md"))["changelog"]
    unreleased, _, released = changelog.partition("\n## [1.0.0]")
    assert "- Add polish." in unreleased
    assert "- Add shine." in released


def test_versions_are_tags_and_breaking_changes_are_named(orch):
    """What changed since the last tag of a version that the branch contains."""
    git(orch.project, "tag", "v1.0.0")
    land(orch, "Change", {"core.py": "def existing(a): ...\ndef more(): ...\n"})
    api = section_contents(shown(orch, "API_REFERENCE.md"))["api"]
    assert "### Breaking since v1.0.0" in api
    assert "- `core.existing`: the new parameter `a` is required." in api
    assert "*New since v1.0.0.*" in api
    changelog = shown(orch, "CHANGELOG.md")
    assert changelog.index("- Change.") < changelog.index("## [1.0.0] - ")


def test_two_writers_do_not_lose_each_others_commits(orch):
    """A branch that moved meanwhile is looked at again."""
    land(orch, "Add shine", {"new.py": "x = 1\n"})
    orch.complete_task(orch.plan_task("Add polish"), summary="Added polish", detailed_work="x")
    files = IntegrationFiles(orch._rooms.scope.home)
    tip = files.tip()
    files.write(tip, {"other.txt": b"other\n"}, "Other")
    with pytest.raises(vespera.RefMovedError):
        files.write(tip, {"late.txt": b"late\n"}, "Late")
    assert files.files().read("late.txt") is None
    assert files.files().read("other.txt") == b"other\n"
    land(orch, "Go on", {"new.py": "x = 2\n"})
    assert files.files().read("other.txt") == b"other\n"
    assert files.files().read("docs/CHANGELOG.md") is not None


def test_a_landing_refuses_to_be_written_by_itself(orch):
    """Its documents go with the work, in one commit."""
    land(orch, "Add shine", {"new.py": "x = 1\n"})
    files = IntegrationFiles(orch._rooms.scope.home)
    place = LandingPlace("integration", files.files())
    tip = files.tip()
    with pytest.raises(vespera.DocumentUpdateError, match="by the landing, and not before"):
        place.write({"docs/CHANGELOG.md": "Ours\n"}, "Update")
    assert files.tip() == tip


def test_what_the_work_supersedes_is_withdrawn_in_the_same_commit(make):
    """The documents that land say so at once, and the update after it has nothing to add."""
    project = make(files={"README.md": "Tea.\n"})
    with vespera.open(project.folder) as orch:
        orch.initialize_session("Goal", project_type="research_project")
        first = orch.artifacts.save("First", "OR = 1.5", kind="finding")
        with orch.execute_task(orch.plan_task("Second"), worktree=True) as work:
            (work.path / "data.csv").write_text("1\n")
            work.complete(
                summary="Done",
                detailed_work="OR = 1.3",
                artifact_type="finding",
                supersedes=first,
            )
        withdrawn = section_contents(shown(orch, "FINDINGS.md"))["withdrawn"]
        assert "superseded by: [Second](#second)." in withdrawn
        assert git(orch.project, "rev-list", "--count", "main..integration") == "1", "one commit"


@pytest.fixture
def other_home(orch, tmp_path):
    """Return the home of a clone, in which another one's documents are checked out."""
    land(orch, "Add shine", {"new.py": "def shiny(): ...\n"})
    git(orch.project, "merge", "-q", "integration")
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(orch.project), str(folder))
    with vespera.open(folder) as opened:
        opened.initialize_session("Goal", project_type="software_development")
        yield opened


def test_two_homes_write_into_one_document(orch, other_home):
    """Each adds its entries to the other's, in turn; what files say is brought up to date."""
    land(other_home, "Add polish", {"polish.py": "def polish(): ...\n"})
    assert "def polish()" in shown(other_home, "API_REFERENCE.md")
    assert entries(other_home) == ["Add polish.", "Add shine."]
    assert other_home.documents.proposals() == []
    assert other_home.documents.check() == []
    git(orch.project, "pull", "-q", str(other_home.project), "integration")
    land(orch, "Add wax", {"wax.py": "def wax(): ...\n"})
    api = shown(orch, "API_REFERENCE.md")
    assert "def polish()" in api
    assert "def wax()" in api
    assert entries(orch) == ["Add wax.", "Add polish.", "Add shine."]
    assert orch.documents.proposals() == []


def entries(orch):
    """The changes that the changelog tells, in order."""
    return re.findall(r"^- ([^(<]+?\.) ", shown(orch, "CHANGELOG.md"), re.MULTILINE)


def test_both_sides_of_a_merge_in_conflict_can_be_kept(orch, other_home):
    """Each clone has added to the top of the same list: who keeps all lines has nothing to mend."""
    land(other_home, "Add polish", {"polish.py": "def polish(): ...\n"})
    land(orch, "Add wax", {"wax.py": "def wax(): ...\n"})
    git(orch.project, "merge", "-q", "integration")
    pulled = ("pull", "-q", "--no-rebase", str(other_home.project), "integration")
    git(orch.project, *pulled, check=False)
    for path in (orch.project / "docs").iterdir():
        text = path.read_text("utf-8")
        path.write_text(re.sub(r"^(<{7}|={7}|>{7}).*\n", "", text, flags=re.MULTILINE), "utf-8")
    git(orch.project, "add", "-A")
    git(orch.project, "commit", "-qm", "Merge the clone")
    land(orch, "Add oil", {"oil.py": "def oil(): ...\n"})
    assert sorted(entries(orch)) == ["Add oil.", "Add polish.", "Add shine.", "Add wax."]
    assert orch.documents.proposals() == []
    assert orch.documents.check() == []
    api = shown(orch, "API_REFERENCE.md")
    assert [api.count(f"def {name}()") for name in ("oil", "polish", "shiny", "wax")] == [1] * 4
    git(other_home.project, "pull", "-q", str(orch.project), "integration")
    land(other_home, "Add glue", {"glue.py": "def glue(): ...\n"})
    assert len(entries(other_home)) == 5
    assert other_home.documents.proposals() == []


def test_what_another_home_takes_back_goes(orch, other_home):
    """And what this one takes back does not stay as if another had written it."""
    land(other_home, "Add polish", {"polish.py": "def polish(): ...\n"})
    git(orch.project, "pull", "-q", str(other_home.project), "integration")
    orch.correct_task("add_shine", summary="Add lustre")
    (polish,) = [task for task in other_home.query_tasks() if task.title == "Add polish"]
    other_home.delete_task(polish, hard=True)
    orch.documents.update()
    assert entries(orch) == ["Add polish.", "Add lustre."]
    git(other_home.project, "pull", "-q", str(orch.project), "integration")
    other_home.documents.update()
    assert entries(other_home) == ["Add lustre."]
    assert other_home.documents.proposals() == []


def test_an_edit_beside_another_homes_entries_stays(other_home):
    """What a person writes into an entry of ours waits for an answer, and costs nobody's entry."""
    land(other_home, "Add polish", {"polish.py": "def polish(): ...\n"})
    git(other_home.project, "merge", "-q", "integration")
    path = other_home.project / "docs" / "CHANGELOG.md"
    path.write_text(path.read_text("utf-8").replace("Add polish.", "Add a polish, mind."), "utf-8")
    git(other_home.project, "commit", "-qam", "Say it better")
    land(other_home, "Add wax", {"wax.py": "def wax(): ...\n"})
    assert entries(other_home) == ["Add a polish, mind.", "Add shine."]
    (proposal,) = other_home.documents.proposals()
    other_home.documents.accept(proposal)
    assert entries(other_home) == ["Add wax.", "Add a polish, mind.", "Add shine."]


def test_an_edit_that_comes_from_another_clone_is_proposed_once(orch, other_home):
    """Beside an entry that came along: what is accepted has each entry once, and the edit."""
    edit(other_home.project / "docs" / "CHANGELOG.md", "Add shine.", "Add shine, mind.")
    git(other_home.project, "commit", "-qam", "Say it better")
    land(other_home, "Add polish", {"polish.py": "def polish(): ...\n"})
    git(orch.project, "pull", "-q", str(other_home.project), "integration")
    land(orch, "Add wax", {"wax.py": "def wax(): ...\n"})
    (proposal,) = orch.documents.proposals()
    orch.documents.accept(proposal)
    told = re.findall(r"^- Add (\w+)", shown(orch, "CHANGELOG.md"), re.MULTILINE)
    assert told == ["wax", "polish", "shine"]


def test_decisions_of_two_homes_have_different_numbers(orch, tmp_path):
    """A number that another home has given is taken; each says of its own what replaced it."""
    decide(orch, "Use slate")
    git(orch.project, "merge", "-q", "integration")
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(orch.project), str(folder))
    with vespera.open(folder) as other:
        other.initialize_session("Goal", project_type="software_development")
        decide(other, "Use chalk")
        decide(other, "Use ink", supersedes="use_chalk")
        assert numbered(other) == ["3. Use ink", "2. Use chalk", "1. Use slate"]
        assert "*Superseded by [3](#3-use-ink), " in shown(other, "ARCHITECTURE.md")
        git(orch.project, "pull", "-q", str(folder), "integration")
    decide(orch, "Use paper")
    assert numbered(orch) == ["4. Use paper", "3. Use ink", "2. Use chalk", "1. Use slate"]
    assert orch.documents.check() == []


def decide(orch, title, supersedes=None):
    """Complete a task that decides something and changes a file."""
    with orch.execute_task(orch.plan_task(title), worktree=True) as work:
        (work.path / f"{work.task.alias}.txt").write_text(title)
        outputs = {"supersedes": supersedes} if supersedes else {}
        work.complete(
            summary="Decided",
            detailed_work=f"# {title}\n\nIt is the best.\n",
            artifact_type="decision",
            outputs=outputs,
        )


def numbered(orch):
    """The headings of decisions, in order."""
    return re.findall(r"^### (\d+\. .+)$", shown(orch, "ARCHITECTURE.md"), re.MULTILINE)


def test_homes_that_found_the_same_agree_in_every_document(make, tmp_path):
    """Findings, works and protocols of both stand side by side, also where one has none."""
    project = make(
        files={"library.bib": "@book{knuth97, author={Knuth, D.}, title={Art}, year=1997}\n"}
    )
    with vespera.open(project.folder) as orch:
        orch.initialize_session("Goal", project_type="research_project")
        find(orch, "First round", "OR = 1.5, as [@knuth97] says.")
        git(orch.project, "merge", "-q", "integration")
        git(tmp_path, "clone", "-q", str(orch.project), str(tmp_path / "clone"))
        with vespera.open(tmp_path / "clone") as other:
            other.initialize_session("Goal", project_type="research_project")
            find(other, "Second round", "OR = 1.3")
            other.artifacts.save("How", "Ask [@knuth97].", kind="protocol")
            other.documents.update()
            assert other.documents.check() == []
            git(orch.project, "pull", "-q", str(other.project), "integration")
        find(orch, "Third round", "OR = 1.4")
        assert orch.documents.check() == []
        findings = shown(orch, "FINDINGS.md")
        titles = re.findall(r"^### (.+)$", findings, re.MULTILINE)
        assert titles == ["Third round", "Second round", "First round"]
        assert "### How" in shown(orch, "METHODOLOGY.md")
        works = shown(orch, "LITERATURE_REVIEW.md")
        assert works.count("### Knuth (1997)") == 1
        assert "Cited in “First round”." in works
        assert "Cited in “How”." in works


def test_a_document_that_was_moved_by_hand_can_be_kept_there(make):
    """A check says how, and what we wrote under the old name counts as ours under the new one."""
    project = make(files={"core.py": "size = 1\n"})
    with vespera.open(project.folder) as orch:
        orch.initialize_session("Goal", project_type="software_development")
        land(orch, "Add shine", {"new.py": "def shiny(): ...\n"})
        git(orch.project, "merge", "-q", "integration")
        git(orch.project, "mv", "docs/CHANGELOG.md", "HISTORY.md")
        git(orch.project, "commit", "-qm", "Rename it")
        git(orch.project, "branch", "-f", "integration", "main")
        moved = [each for each in orch.documents.check() if "CHANGELOG.md is" in each.sentence]
        assert "docs/CHANGELOG.md is HISTORY.md now" in moved[0].sentence
        setting = moved[0].remedy.partition(" under ")[0]
        assert setting == 'names = {"CHANGELOG.md" = "HISTORY.md"}'
    home = project.folder / ".task_orchestrator"
    (home / "config.toml").write_text(f"[documents]\n{setting}\n")
    with vespera.open(project.folder) as orch:
        land(orch, "Add polish", {"polish.py": "def polish(): ...\n"})
        assert orch.documents.proposals() == []
        assert orch.documents.check() == []
        text = git(orch.project, "show", "integration:HISTORY.md")
        assert "- Add polish." in text
        assert "[API reference](docs/API_REFERENCE.md)" in text


def test_two_homes_know_one_character(make, tmp_path):
    """Each has a sheet; the chapters stand there once, as they are, whoever wrote last."""
    project = make(files={"chapters/01.md": "# One\n\nMara came.\n"})
    with vespera.open(project.folder) as orch:
        orch.initialize_session("Goal", project_type="creative_writing")
        describe(orch, "# Mara\n\nShe is tall.\n", "02.md")
        git(orch.project, "merge", "-q", "integration")
        git(tmp_path, "clone", "-q", str(orch.project), str(tmp_path / "clone"))
        with vespera.open(tmp_path / "clone") as other:
            other.initialize_session("Goal", project_type="creative_writing")
            describe(other, "# Mara\n\nShe sings.\n", "03.md")
            assert appearances(other) == ["One", "02.md", "03.md"]
            assert other.documents.check() == []
            git(orch.project, "pull", "-q", str(other.project), "integration")
            describe(orch, "# Ivo\n\nHe waits.\n", "04.md")
            assert appearances(orch) == ["One", "02.md", "03.md", "04.md"]
            assert orch.documents.check() == []
            git(other.project, "pull", "-q", str(orch.project), "integration")
            assert other.documents.update().written == (), "there is nothing to add"
            assert other.documents.check() == []
        sheets = shown(orch, "CHARACTER_SHEETS.md")
        assert "She is tall." in sheets
        assert "She sings." in sheets


def describe(orch, sheet, chapter):
    """Complete a task that describes somebody and writes a chapter in which Mara is."""
    with orch.execute_task(orch.plan_task(f"Write {chapter}"), worktree=True) as work:
        (work.path / "chapters" / chapter).write_text("Mara stayed.\n")
        work.complete(summary="Done", detailed_work=sheet, artifact_type="character")


def appearances(orch):
    """The chapters in which the sheets of a document say that Mara is."""
    sheet = shown(orch, "CHARACTER_SHEETS.md").partition("### Mara\n")[2]
    return re.findall(r"^- \[(.+?)\]\(", sheet, re.MULTILINE)


def find(orch, title, text):
    """Complete a task that found something and wrote a file."""
    with orch.execute_task(orch.plan_task(title), worktree=True) as work:
        (work.path / f"{work.task.alias}.csv").write_text("1\n")
        work.complete(summary="Done", detailed_work=text, artifact_type="finding")


def test_what_a_person_committed_stays_in_another_home(other_home):
    """The text is not what we would have written from the files of that commit."""
    path = other_home.project / "docs" / "API_REFERENCE.md"
    path.write_text(path.read_text("utf-8").replace("Be there.", "Be here, now."), "utf-8")
    git(other_home.project, "commit", "-qam", "Say it better")
    land(other_home, "Add polish", {"polish.py": "def polish(): ...\n"})
    api = shown(other_home, "API_REFERENCE.md")
    assert "Be here, now." in api
    assert "polish()" not in api
    paths = [each.path for each in other_home.documents.proposals()]
    assert "docs/API_REFERENCE.md" in paths

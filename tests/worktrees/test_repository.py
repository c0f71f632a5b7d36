"""The project's repository: locks between processes, and git tidying up beside us."""

import pytest

from vespera_orchestrator.errors import RefMovedError, WorktreeLockedError
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.worktrees import locks, refs
from vespera_orchestrator.worktrees.durability import KnownCommits
from vespera_orchestrator.worktrees.locks import lock_path
from vespera_orchestrator.worktrees.repository import ProjectRepository


@pytest.fixture
def repository(project):
    """Return the repository around a home, as the engine opens it."""
    return ProjectRepository.of(Home.locate(project.folder).create())


def test_a_lock_that_another_holds_is_an_error_of_its_own(repository):
    """Whoever waits in vain learns what is locked, and that it may be tried again."""
    with (
        repository.lock("landing"),
        pytest.raises(WorktreeLockedError, match="cannot work on landing: another") as raised,
        repository.lock("landing", patience_s=0),
    ):
        pass
    assert (raised.value.what, raised.value.waited_s, raised.value.retryable) == (
        "landing",
        0,
        True,
    )
    assert raised.value.lock.startswith(str(repository.home.locks))


def test_a_lock_is_free_again_after_the_block(repository):
    """Also after an error inside."""
    with pytest.raises(KeyError), repository.lock("landing"):
        raise KeyError
    with repository.lock("landing", patience_s=0):
        pass


# --- after a kill in the middle of a move -------------------------------------------


def die_moving(repository, ref):
    """Leave what a process leaves that is killed while git has *ref* locked for it."""
    lock_path(repository.home.locks, f"ref {ref}").write_text(ref)
    lock = repository.common / f"{ref}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    return lock


def test_the_next_move_takes_the_lock_of_a_dead_one(project, repository):
    """At once: it need not wait until the lock is old, and repair has nothing left to do."""
    ref = "refs/vespera/wip/part"
    lock = die_moving(repository, ref)
    assert ref in repository.maybe_locked_refs()
    repository.move(ref, None, new_commit(project))
    assert not lock.exists()
    assert ref not in repository.maybe_locked_refs()


def test_who_moves_another_ref_under_the_same_lock_of_ours_takes_it_as_well(
    project, repository, monkeypatch
):
    """There are fewer locks of ours than refs; the evidence is gone after the next move."""
    monkeypatch.setattr(locks, "_STRIPES", 1)
    lock = die_moving(repository, "refs/vespera/wip/dead")
    repository.move("refs/vespera/wip/part", None, new_commit(project))
    assert not lock.exists()


def test_of_a_longer_name_before_it_nothing_is_read(project, repository, monkeypatch):
    """The name of the ref that is moved is written over the one before."""
    monkeypatch.setattr(locks, "_STRIPES", 1)
    repository.move("refs/vespera/wip/of_a_long_name", None, new_commit(project))
    dead = "refs/vespera/wip/dead"
    evidence = lock_path(repository.home.locks, f"ref {dead}")
    with evidence.open("r+") as stream:
        stream.write(f"{dead}\n")
    assert dead in repository.maybe_locked_refs()
    assert evidence.stat().st_size > len(dead) + 1


@pytest.mark.parametrize("ref", ["../config", "/etc/passwd", "refs/../config", "config"])
def test_a_planted_name_leads_to_no_file(project, repository, ref):
    """The folder of locks may have come with a stranger's repository."""
    moved = "refs/vespera/wip/part"
    evidence = lock_path(repository.home.locks, f"ref {moved}")
    evidence.write_text(ref)
    theirs = project.folder / ".git" / "config.lock"
    theirs.touch()
    assert ref not in repository.maybe_locked_refs()
    repository.move(moved, None, new_commit(project))
    assert theirs.exists()
    assert evidence.read_text().startswith("\n")


# --- refs on disk -------------------------------------------------------------------


def test_a_ref_is_where_it_is_said_to_be(project, repository):
    """To confirm it changes nothing, and what is elsewhere is told."""
    first, second = new_commit(project), project.git("rev-parse", "HEAD")
    repository.move("refs/vespera/wip/part", None, first)
    repository.confirm("refs/vespera/wip/part", first)
    repository.confirm("refs/vespera/wip/other", None)
    for ref, commit in (("part", second), ("part", None), ("other", first)):
        with pytest.raises(RefMovedError):
            repository.confirm(f"refs/vespera/wip/{ref}", commit)
    assert repository.tip("refs/vespera/wip/part") == first


@pytest.fixture
def synced(monkeypatch):
    """Return the folders that are synced, one after the other."""
    folders = []
    monkeypatch.setattr(refs, "sync_folder", lambda folder: folders.append(folder.name))
    return folders


def test_only_folders_that_may_be_new_are_synced(project, repository, synced):
    """The folder that the ref is in holds a new name each time; those above it, only when new."""
    one, other = new_commit(project), project.git("rev-parse", "HEAD")
    repository.move("refs/vespera/landed/part", None, one)
    assert synced == ["landed", "vespera", "refs", ".git"]
    repository.move("refs/vespera/landed/part", one, other)
    repository.confirm("refs/vespera/landed/part", other)
    assert synced[4:] == ["landed"]
    project.git("update-ref", "-d", "refs/vespera/landed/part")  # git removes the empty folder
    repository.move("refs/vespera/landed/part", None, one)
    assert synced[5:] == ["landed", "vespera"]


def test_what_somebody_else_wrote_is_put_on_disk(project, repository, synced):
    """Who moved it may have been killed before it was there."""
    commit = project.git("rev-parse", "HEAD")
    project.git("update-ref", "refs/vespera/wip/part", commit)
    repository.confirm("refs/vespera/wip/part", commit)
    assert synced == ["wip", "vespera", "refs", ".git"]


# --- beside git gc ------------------------------------------------------------------

PRUNED = "1" * 40
"""A commit that a ref named a moment ago, and that git has taken away since."""


def new_commit(project):
    """Write a commit that no ref names yet."""
    return project.git("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "new")


def test_another_snapshot_that_is_pruned_is_no_obstacle(project, repository, monkeypatch):
    """What other refs named only saves work: a ref is moved also when one of them is gone."""
    monkeypatch.setattr(repository, "refs", lambda _: {"refs/vespera/wip/other": PRUNED})
    commit = new_commit(project)
    repository.move("refs/heads/work", None, commit)
    assert project.git("rev-parse", "work") == commit


def test_pruned_in_the_moment_it_is_used(project, repository, monkeypatch):
    """Then the refs are read again."""
    answers = iter([PRUNED, project.git("rev-parse", "HEAD")])

    def known(*_):
        return KnownCommits(near={next(answers)}, list_others=set)

    monkeypatch.setattr(repository, "_known_commits", known)
    commit = new_commit(project)
    repository.move("refs/heads/work", None, commit)
    assert project.git("rev-parse", "work") == commit


def test_a_commit_that_is_gone_itself_is_told(project, repository):
    """The ref does not move, and the error says why and that it may be tried again."""
    with pytest.raises(RefMovedError, match="heads/work was not moved: an object") as raised:
        repository.move("refs/heads/work", None, PRUNED)
    assert PRUNED in str(raised.value)
    assert raised.value.retryable
    assert project.git("branch", "--list", "work") == ""


def test_who_slept_while_its_pack_was_deleted_moves_no_ref(project, repository):
    """After an hour others let git tidy up what a sleeper has written: it has to write it again."""
    commit = new_commit(project)
    packs = project.folder / ".git" / "objects" / "pack"
    with repository.holding([commit], expected=None, ref="refs/heads/work") as held:
        for file in packs.iterdir():
            file.unlink()
        with pytest.raises(RefMovedError, match="pruned in the meantime"):
            repository.move("refs/heads/work", None, commit, held=held)
    assert project.git("branch", "--list", "work") == ""

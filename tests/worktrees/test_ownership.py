"""A folder is ours only if git's two pointers lead there and back; others are left alone."""

import os
import shutil
from pathlib import Path

import pytest

from support.dying import CALLS, killed_before
from support.git_project import files_of
from vespera_orchestrator.errors import GitFailedError, WorktreeFolderLostError, WorktreeLockedError
from vespera_orchestrator.worktrees import checkout, engine
from vespera_orchestrator.worktrees.ownership import FolderState, find_place

SECRET = {".env": "PASSWORD=1", "notes/mine.txt": "years of work"}


def saved_worktree(project, trees):
    """Return the worktree of ``work`` with one file that was saved."""
    worktree = trees.create("work")
    project.write({"half.txt": "half"}, worktree.path)
    trees.snapshot("work")
    return worktree


def recreated(project, folder):
    """An editor makes the deleted folder again, with files of its own."""
    shutil.rmtree(folder)
    project.write(SECRET, folder)


def of_another_repository(project, folder):
    """The folder is a repository of its own."""
    recreated(project, folder)
    project.git("init", "-q", cwd=folder)


def bare_repository(project, folder):
    """The folder looks like a bare repository."""
    shutil.rmtree(folder)
    project.git("init", "-q", "--bare", str(folder))
    project.write(SECRET, folder)


def of_another_worktree(project, folder):
    """The folder's ``.git`` leads to a worktree that somebody else made."""
    recreated(project, folder)
    theirs = folder.with_name("theirs")
    project.git("worktree", "add", "-q", "--detach", str(theirs))
    shutil.copy(theirs / ".git", folder / ".git")


def link(project, folder):
    """A link to a person's folder stands there."""
    shutil.rmtree(folder)
    person = folder.with_name("person")
    project.write(SECRET, person)
    folder.symlink_to(person)


def file(project, folder):  # noqa: ARG001 - as the others
    """A file stands there."""
    shutil.rmtree(folder)
    folder.write_text("mine")


STRANGERS = (recreated, of_another_repository, bare_repository, of_another_worktree, link, file)


@pytest.fixture(params=STRANGERS, ids=lambda stranger: stranger.__name__)
def stranger(request, project, trees):
    """A worktree whose folder was replaced, and what stands there now."""
    worktree = saved_worktree(project, trees)
    folder = Path(worktree.path)
    request.param(project, folder)
    return folder, look(folder)


def look(folder):
    """Return what stands there, to be compared later."""
    return (folder.is_symlink(), folder.is_file() or files_of(folder))


def test_what_stands_in_its_place_is_never_saved_or_landed(project, trees, stranger):
    """Saving and landing are refused with the folder's name, and nothing is changed."""
    folder, before = stranger
    saved = project.git("rev-parse", "refs/vespera/wip/work")
    for call in (trees.snapshot, trees.merge, trees.catch_up, trees.is_merged):
        with pytest.raises(WorktreeFolderLostError) as caught:
            call("work")
        assert (caught.value.worktree, caught.value.path) == ("work", str(folder))
    trees.forecast(fresh=True)
    assert project.git("rev-parse", "refs/vespera/wip/work") == saved
    assert look(folder) == before


def test_the_next_attempt_gets_the_last_save_elsewhere(project, trees, stranger):
    """Made again, it has its files in a fresh folder, and lands them and nothing else."""
    folder, before = stranger
    again = trees.create("work")
    assert again.path != str(folder)
    assert Path(again.path, "half.txt").read_text() == "half"
    assert not trees.snapshot("work").changed
    trees.merge("work")
    landed = project.git("ls-tree", "-r", "--name-only", "integration").split()
    assert landed == [".gitignore", "a.txt", "gone.txt", "half.txt", "src/b.py"]
    assert look(folder) == before


def test_removal_leaves_what_is_not_ours(project, trees, stranger):
    """Removal, and repair in any order with it, keep the last save and leave the folder."""
    folder, before = stranger
    trees.repair()
    removed = trees.remove("work")
    assert project.git("show", f"{removed.rescue_ref}:half.txt") == "half"
    trees.repair()
    assert look(folder) == before
    project.assert_sound()


def test_an_agent_may_delete_everything_on_purpose(project, trees):
    """With its ``.git`` file the folder is ours: deleted files are deletions, and land."""
    worktree = saved_worktree(project, trees)
    for entry in Path(worktree.path).iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != ".git":
            entry.unlink()
    trees.merge("work")
    assert project.git("ls-tree", "-r", "--name-only", "integration") == ""


def test_an_empty_folder_is_filled_again(project, trees):
    """Where nothing stands in its place, or an empty folder, that place is used again."""
    worktree = saved_worktree(project, trees)
    for refill in (False, True):
        shutil.rmtree(worktree.path)
        if refill:
            Path(worktree.path).mkdir()
        with pytest.raises(WorktreeFolderLostError, match="is gone"):
            trees.snapshot("work")
        assert trees.create("work") == worktree
        assert Path(worktree.path, "half.txt").read_text() == "half"


@pytest.mark.parametrize("left", [b"", b"DIRC", b"DIRC\0\0\0\2\0\0\0\5"])
def test_an_index_that_a_power_cut_damaged(project, trees, left):
    """Cut short while the folder was being filled, it is made again with the files."""
    worktree = saved_worktree(project, trees)
    shutil.rmtree(worktree.path)
    project.folder.joinpath(".git", "worktrees", "work", "index").write_bytes(left)
    assert trees.create("work") == worktree
    status = project.git("status", "--porcelain", cwd=worktree.path)
    assert status == "?? half.txt"


def test_a_split_index_is_not_taken_for_a_damaged_one(project, trees):
    """What an agent has staged stays staged when its folder is made again."""
    worktree = saved_worktree(project, trees)
    project.git("add", "half.txt", cwd=worktree.path)
    project.git("update-index", "--split-index", cwd=worktree.path)
    trees.snapshot("work")
    index = project.folder.joinpath(".git", "worktrees", "work", "index")
    before = index.read_bytes()
    repository = trees._engine._repository()
    assert not checkout.drop_damaged_index(repository, worktree)
    assert index.read_bytes() == before


def test_a_record_alone_proves_nothing(project, trees):
    """A record, as from an import, cannot make us write into a folder, be it there or not."""
    worktree = saved_worktree(project, trees)
    trees.remove("work")
    for number, victim in enumerate(("there", "not there")):
        folder = project.folder.parent / victim
        if number == 0:
            project.write(SECRET, folder)
        forged = worktree.__class__(
            **{name: getattr(worktree, name) for name in _fields(worktree)} | {"path": str(folder)}
        )
        project.stores[0].put_worktree(forged, "worktree_created")
        made = trees.create("work")
        assert Path(made.path).parent == project.folder.parent / "worktrees"
        trees.remove("work")
        assert folder.exists() == (number == 0)
    assert files_of(project.folder.parent / "there").keys() == {b".env", b"notes/mine.txt"}


def _fields(record):
    return [field.name for field in record.__attrs_attrs__]


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.soak)])
def test_a_removal_that_was_killed_goes_on(project, trees, stride):
    """The ``.git`` file goes last, so that at every moment it can be told whose the folder is."""
    worktree = saved_worktree(project, trees)
    for step in range(1, 400, stride):
        if not killed_before(step, lambda: trees.remove("work"), (*CALLS, "rmdir", "rename")):
            break
        trees.repair()
        if not Path(worktree.path).exists():
            trees.create("work", resume=True)
        assert Path(trees.create("work", resume=True).path, "half.txt").read_text() == "half"
        assert trees.create("work").path == worktree.path
    else:
        pytest.fail("it never came to its end")
    assert not Path(worktree.path).exists()
    project.assert_sound()


def test_a_checkout_of_the_branch_that_is_another_repository(project, trees):
    """Landing never writes into a folder whose ``.git`` leads elsewhere, whatever git lists."""
    holder = project.folder.parent / "holder"
    project.git("branch", "integration")
    project.git("worktree", "add", "-q", str(holder), "integration")
    shutil.rmtree(holder)
    project.write({"a.txt": "theirs"}, holder)
    worktree = trees.create("work")
    project.write({"a.txt": "ours"}, worktree.path)
    trees.merge("work")
    assert project.git("show", "integration:a.txt") == "ours"
    assert files_of(holder) == {b"a.txt": (False, b"theirs")}


def test_states_of_a_place(project, trees):
    """What stands in a worktree's place is told apart without changing anything."""
    worktree = saved_worktree(project, trees)
    repository = trees._engine._repository()
    folder, git_file = Path(worktree.path), Path(worktree.path, ".git")
    assert find_place(repository, worktree).state is FolderState.OURS
    folder.rename(folder.with_name("moved"))
    place = find_place(repository, worktree)
    assert (place.folder.name, place.state) == ("moved", FolderState.MOVED)
    shutil.copytree(folder.with_name("moved"), folder.with_name("copy"))
    assert find_place(repository, worktree).state is FolderState.VACANT  # which one is it?
    folder.mkdir()
    git_file.write_text("gitdir: ")  # cut short when it was written
    assert find_place(repository, worktree).state is FolderState.VACANT
    git_file.write_text("gitdir: /elsewhere/worktrees/work\n")
    assert find_place(repository, worktree).state is FolderState.TAKEN


def test_a_forecast_goes_on_beside_a_worktree_in_use(project, trees, monkeypatch):
    """Where a worktree cannot be saved just now, its last snapshot is compared."""
    saved_worktree(project, trees)

    def locked(*_, **__):
        raise WorktreeLockedError("worktree work", 0, "work.lock")

    monkeypatch.setattr(engine.WorktreeEngine, "snapshot", locked)
    assert trees.forecast(fresh=True).worktrees == ("work",)


def test_a_folder_that_cannot_be_removed_is_kept_whole_for_the_next_try(
    project, trees, monkeypatch
):
    """When the system refuses in the middle, the next call goes on, and the work is kept."""
    worktree = saved_worktree(project, trees)

    def refuse(path):
        raise PermissionError(13, "no", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkout, "_remove_entry", refuse)
        with pytest.raises(GitFailedError):
            trees.remove("work")
    removed = trees.remove("work")
    assert not os.path.lexists(worktree.path)
    assert project.git("show", f"{removed.rescue_ref}:half.txt") == "half"

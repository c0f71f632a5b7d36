"""What was landed comes into a worktree beside whoever works there; judged by the git command
line.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import TESTS
from support.git_project import ODD, files_of
from vespera_orchestrator.errors import DirtyCheckoutError
from vespera_orchestrator.worktrees import catch_up, tree_switch, update

BYTES = os.fsdecode(b"bytes\xff")


def landed(trees, change):
    """Land what *change* does to a fresh worktree."""
    worktree = trees.create("other")
    change(Path(worktree.path))
    trees.merge("other", message="landed")
    trees.remove("other")


def left(folder):
    """Return what of ours is left anywhere."""
    return [path for place in (folder, folder.parent) for path in place.rglob("*vespera-*")]


# --- as git would -----------------------------------------------------------------

NAMES = ("a.txt", "b", "d/a.txt", "d/e/b", "b/c", "gone.txt", ODD, BYTES)
CHANGES = st.one_of(
    st.tuples(
        st.just("write"), st.sampled_from(NAMES), st.sampled_from(["", "1\n", "2\n", "1\r\n2\r\n"])
    ),
    st.tuples(st.sampled_from(["delete", "link", "mode"]), st.sampled_from(NAMES), st.just("")),
)


def clear(path, folder):
    """Take away whatever stands in the way of a file at *path*."""
    for place in (path, *path.parents):
        if place == folder:
            break
        if place.is_symlink() or place.is_file():
            place.unlink()
        elif place == path and place.is_dir():
            shutil.rmtree(place)


def change(folder, what, name, content):
    """Change one file."""
    path = folder / name
    if what == "mode":
        if path.is_file() and not path.is_symlink():
            path.chmod(path.stat().st_mode ^ 0o111)
        return
    clear(path, folder)
    if what == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    elif what == "link":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(f"to {name}")


def written_by_git(project, tree):
    """Return the files that git writes for *tree*."""
    place = project.folder.parent / "by git"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    environment = {**os.environ, "GIT_INDEX_FILE": str(project.folder.parent / "index by git")}
    words = [f"--git-dir={project.folder / '.git'}", f"--work-tree={place}"]
    subprocess.run(
        ["git", *words, "read-tree", tree], env=environment, check=True, capture_output=True
    )
    subprocess.run(
        ["git", *words, "checkout-index", "-a", "-f"],
        env=environment,
        check=True,
        capture_output=True,
        cwd=place,
    )
    return files_of(place)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    theirs=st.lists(CHANGES, min_size=1, max_size=6),
    mine=st.lists(CHANGES, max_size=6),
    eol=st.sampled_from(["", "* text=auto eol=crlf\n"]),
)
def test_what_comes_in_is_what_git_would_write(project, trees, theirs, mine, eol):
    """Whatever was landed and whatever the agent has: without a conflict, the files are those of
    git's own merge, and its checkout.
    """
    if trees.find("work") is not None:  # of the example before
        trees.remove("work")
        project.git("update-ref", "refs/heads/integration", "main")
    folder = Path(trees.create("work").path)
    for step in mine:
        change(folder, *step)

    def land(place):
        for step in theirs:
            change(place, *step)
        if eol:
            place.joinpath(".gitattributes").write_text(eol)

    saved = trees.snapshot("work").commit
    landed(trees, land)
    git = [
        "git",
        "-c",
        "merge.directoryRenames=false",
        "merge-tree",
        "--write-tree",
        saved,
        "integration",
    ]
    merged = subprocess.run(
        git,
        cwd=project.folder,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    index = project.folder.joinpath(".git", "worktrees", "work", "index").read_bytes()
    conflicts = trees.catch_up("work")
    if merged.returncode == 0:
        assert conflicts == ()
        assert project.git("ls-tree", "-r", trees.snapshot("work").tree) == project.git(
            "ls-tree", "-r", merged.stdout.strip()
        )
        if not eol:  # else what nobody touched keeps the line ends it had, as with git
            assert files_of(folder) == written_by_git(project, merged.stdout.strip())
    elif (
        "distinct" in merged.stdout or "content" in merged.stdout
    ):  # of two modes for one content libgit2 takes the executable one
        assert conflicts
    assert project.folder.joinpath(".git", "worktrees", "work", "index").read_bytes() == index
    project.assert_sound()
    assert not left(project.folder)


def test_line_ends_follow_what_was_landed_with_them(project, trees):
    """A file that comes with the .gitattributes that speak of it has the line ends that these ask
    for.
    """
    folder = Path(trees.create("work").path)
    landed(
        trees,
        lambda place: project.write(
            {"w/.gitattributes": "*.bat eol=crlf\n", "w/run.bat": "1\n2\n"}, place
        ),
    )
    trees.catch_up("work")
    assert folder.joinpath("w/run.bat").read_bytes() == b"1\r\n2\r\n"
    landed(trees, lambda place: project.write({"w/run.bat": "1\r\n3\r\n"}, place))
    trees.catch_up("work")
    assert folder.joinpath("w/run.bat").read_bytes() == b"1\r\n3\r\n"


def test_unchanged_files_are_not_touched(project, trees):
    """Only what differs between the two trees is written."""
    folder = Path(trees.create("work").path)
    before = [(folder / name).stat() for name in ("gone.txt", "src/b.py")]
    landed(trees, lambda place: project.write({"a.txt": "landed\n"}, place))
    trees.catch_up("work")
    after = [(folder / name).stat() for name in ("gone.txt", "src/b.py")]
    assert [(s.st_ino, s.st_ctime_ns) for s in after] == [(s.st_ino, s.st_ctime_ns) for s in before]
    assert (folder / "a.txt").read_text() == "landed\n"


def test_a_folder_that_became_a_link_is_not_followed(project, trees):
    """What was landed below a folder, which the agent has replaced by a link to elsewhere, is not
    written there.
    """
    worktree = trees.create("work")
    elsewhere = project.folder.parent / "elsewhere"
    elsewhere.mkdir()
    project.write({"src/.gitignore": "*\n"}, worktree.path)
    trees.snapshot("work")
    Path(worktree.path, "out").symlink_to(elsewhere)
    with project.folder.joinpath(".git", "info", "exclude").open("a") as exclude:
        exclude.write("out\n")

    def land(place):
        project.write({"out/n.txt": "n"}, place)
        project.git("add", "-f", "out", cwd=place)

    landed(trees, land)
    with pytest.raises(DirtyCheckoutError, match="in the way of what was landed: out; move"):
        trees.catch_up("work")
    assert list(elsewhere.iterdir()) == []


def test_files_in_the_way_stay(project, trees):
    """Ignored ones, and a folder that holds any: nothing is changed, and all are named."""
    folder = Path(trees.create("work").path)
    project.write({"x.log": "mine", "n/deep/y.log": "mine too"}, folder)
    before = files_of(folder)

    def land(place):
        project.write({"x.log": "landed", "n": "a file", "a.txt": "landed\n"}, place)
        project.git("add", "-f", "x.log", cwd=place)

    landed(trees, land)
    with pytest.raises(
        DirtyCheckoutError, match=r"in the way of what was landed: n/deep/y\.log, x\.log; move"
    ):
        trees.catch_up("work")
    assert files_of(folder) == before
    shutil.rmtree(folder / "n")
    folder.joinpath("n").mkdir()  # an empty folder is in nobody's way
    folder.joinpath("x.log").unlink()
    assert trees.catch_up("work") == ()
    assert (folder / "n").read_text() == "a file"


def test_what_no_snapshot_can_hold_is_not_deleted_by_the_next_landing(project, trees):
    """An ignored file and a submodule that others landed come in, stay on the branch, and do not
    hinder catching up again.
    """
    folder = Path(trees.create("work").path)

    def land(place):
        project.write({"x.log": "landed"}, place)
        project.git("add", "-f", "x.log", cwd=place)
        project.git(
            "update-index",
            "--add",
            "--cacheinfo",
            f"160000,{project.git('rev-parse', 'HEAD')},module",
            cwd=place,
        )
        place.joinpath("module").mkdir()

    landed(trees, land)
    trees.catch_up("work")
    assert folder.joinpath("x.log").read_text() == "landed"
    landed(trees, lambda place: project.write({"n.txt": "n"}, place))
    assert trees.catch_up("work") == ()
    project.write({"mine.txt": "mine"}, folder)
    trees.merge("work")
    landed(trees, lambda place: project.write({"m.txt": "m"}, place))
    assert trees.catch_up("work") == ()
    trees.merge("work")
    assert {"x.log", "module", "mine.txt", "n.txt", "m.txt"} < set(
        project.git("ls-tree", "-r", "--name-only", "integration").split()
    )
    project.assert_sound()


# --- beside somebody at work ------------------------------------------------------------


class Agent:
    """Writes unique words into a worktree's files, and knows which it has written."""

    def __init__(self, folder, seed=0):
        self.folder, self.choice, self.words = Path(folder), random.Random(seed), []
        self.held = None

    def write(self, stream):
        """Write a word; it counts once it is written."""
        word = f"word-{os.getpid()}-{len(self.words)}-{self.choice.random()}."
        stream.write(f"{word}\n")
        stream.flush()
        self.words.append(word)

    def replace(self, name):
        """Write beside and rename, as editors do."""
        self.release()
        path, beside = self.folder / name, self.folder / f"{name}.{self.choice.random()}"
        before = path.read_text() if path.is_file() else ""
        with beside.open("w") as stream:
            stream.write(before)
            self.write(stream)
        beside.replace(path)

    def append(self, name):
        with self.folder.joinpath(name).open("a") as stream:
            self.write(stream)

    def hold(self, name):
        """Open now and write later."""
        self.release()
        self.held = self.folder.joinpath(name).open("a")

    def release(self, _=None):
        if self.held is not None:
            with self.held:
                self.write(self.held)
            self.held = None

    def move(self, name):
        path = self.folder / name
        if os.path.lexists(path):
            path.rename(path.with_name(f"{path.name}.{self.choice.random()}"))

    def block(self, name):
        """Put a folder where a file was."""
        self.move(name)
        path = self.folder / name
        path.mkdir()
        with path.joinpath("inside.txt").open("a") as stream:
            self.write(stream)

    def act(self, what, name):
        try:
            self.folder.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            getattr(self, what)(name)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, FileExistsError):
            pass


ACTS = ("replace", "append", "hold", "release", "move", "block")
PLACES = ("a.txt", "gone.txt", "n/new.txt", "src/b.py", "mine.txt")


def everything_kept(project, folder):
    """Return all words in the worktree's files and in whatever git's refs hold."""
    text = b"".join(
        content for kind, content in files_of(folder).values() if isinstance(content, bytes)
    )
    objects = project.git("rev-list", "--objects", "--all").splitlines()
    names = "".join(f"{line.split()[0]}\n" for line in objects)
    return (text.decode() + project.git("cat-file", "--batch", text=names.encode())).split()


def assert_nothing_lost(project, folder, words):
    """Every word is in the worktree, or git keeps it."""
    kept = set(everything_kept(project, folder))
    assert [word for word in words if word not in kept] == []
    project.assert_sound()


def to_land(project, number):
    """Return what changes a worktree, another way each time."""

    def land(place):
        project.write(
            {"a.txt": f"one\nlanded {number}\nthree\n", "n/new.txt": f"{number}\n"}, place
        )
        if number % 2:
            (place / "gone.txt").unlink(missing_ok=True)
            shutil.rmtree(place / "src", ignore_errors=True)
            project.write({"src": "a file\n"}, place)
        else:
            project.write({"gone.txt": "back\n"}, place)

    return land


class Steps:
    """Stands for ``os`` and has something done just before one of the calls by which files are
    changed.
    """

    def __init__(self, point, do):
        self.left, self.do = point, do

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in ("rename", "link", "rmdir", "mkdir"):
            return real

        def call(*given, **named):
            self.left -= 1
            if self.left == 0:
                self.do()
            return real(*given, **named)

        return call


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("what", ["replace", "append", "hold", "move", "block"])
def test_an_edit_at_every_step_is_kept(project, trees, monkeypatch, what, stride):
    """Somebody writes just before any step by which a file is changed: every word is kept, and it
    comes to an end.
    """
    folder = Path(trees.create("work").path)
    landed(trees, to_land(project, 1))
    base = trees.snapshot("work").commit
    point, words, over = 1, [], dict.fromkeys(("a.txt", "gone.txt", "n/new.txt", "src/b.py"), False)
    while not all(over.values()):
        for number, name in enumerate(over):
            agent = Agent(folder, point * 100 + number)
            project.git("update-ref", "-d", "refs/vespera/landed/work")
            for path in (path for path in folder.iterdir() if path.name != ".git"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            project.git("restore", "-q", f"--source={base}", ".", cwd=folder)
            steps = Steps(point + number, lambda agent=agent, name=name: agent.act(what, name))
            with monkeypatch.context() as patch:
                patch.setattr(tree_switch, "os", steps)
                with suppress(DirtyCheckoutError):  # what it has put in the way stays there
                    trees.catch_up("work")
            agent.release()
            trees.snapshot("work")
            words += agent.words
            over[name] = steps.left > 0
            assert not left(project.folder)
        point += stride
    assert point > 12  # there are eleven steps and more
    assert_nothing_lost(project, folder, words)


@pytest.mark.parametrize("becomes", ["a folder", "nothing", "a file of a folder's"])
def test_what_changes_while_it_is_looked_at_is_not_there(project, trees, monkeypatch, becomes):
    """A file that turns into something else between two looks does not fail the call, and stays."""
    folder = Path(trees.create("work").path)
    landed(trees, lambda place: project.write({"n/new.txt": "landed\n"}, place))
    project.write({"n/new.txt": "landed\n"}, folder)  # ignored, so that no snapshot has it
    project.git("config", "core.excludesFile", str(project.folder / "ignored"))
    project.write({"ignored": "n/\n"})
    look, changed = tree_switch._is_written, []

    def change_first(place):
        if place == folder / "n/new.txt" and not changed:
            changed.append(becomes)
            clear(place, folder)
            if becomes == "a folder":
                project.write({"n/new.txt/inside": "mine\n"}, folder)
            elif becomes == "a file of a folder's":
                shutil.rmtree(place.parent)
                project.write({"n": "mine\n"}, folder)
        return look(place)

    monkeypatch.setattr(tree_switch, "_is_written", change_first)
    with suppress(DirtyCheckoutError):
        trees.catch_up("work")
    assert changed == [becomes]
    assert_nothing_lost(project, folder, ["mine"] if becomes != "nothing" else [])
    assert not left(project.folder)


BUSY = """
import os, select, sys
sys.path.insert(0, sys.argv[1])
from worktrees.test_update import ACTS, PLACES, Agent
agent = Agent(sys.argv[2], int(sys.argv[3]))
allowed = 0
while True:
    pause_s = agent.choice.random() * 0.004 if len(agent.words) < allowed else None
    if select.select([0], [], [], pause_s)[0]:
        if not os.read(0, 1):
            break
        allowed += 25
        continue
    known = len(agent.words)
    agent.act(agent.choice.choice(ACTS), agent.choice.choice(PLACES))
    for word in agent.words[known:]:
        print(word, flush=True)
known = len(agent.words)
agent.release()
for word in agent.words[known:]:
    print(word)
"""


def test_nothing_is_lost_beside_a_process_that_writes_all_the_time(project, trees):
    """Each word of a process that edits at random is in the files, or in a commit that is kept.

    It writes while the worktree catches up again and again, 25 words each time.
    """
    folder, written = Path(trees.create("work").path), 0
    for seed in range(2):
        command = [sys.executable, "-c", BUSY, str(TESTS), str(folder), str(seed)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            words = []
            for number in range(4):
                landed(trees, to_land(project, seed * 4 + number))
                process.stdin.write("+")
                process.stdin.flush()
                words += [process.stdout.readline().strip() for _ in range(3)]
                with suppress(DirtyCheckoutError):
                    trees.catch_up("work")
            process.stdin.close()
            words += process.stdout.read().split()
        written += len(words)
        assert_nothing_lost(project, folder, words)
        assert not left(project.folder)
    assert written > 20


# --- after a kill ---------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["repair", "snapshot", "catch_up", "remove"])
def test_what_was_half_brought_in_is_taken_back(project, trees, monkeypatch, by):
    """Whoever comes by next takes it back; what somebody has written since, in place or anew,
    stays; `check` tells of it before.
    """
    worktree = trees.create("work")
    folder = Path(worktree.path)
    project.write({"mine.txt": "mine"}, folder)
    before = files_of(folder)
    landed(trees, to_land(project, 1))

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(catch_up, "_save", die)
        patch.setattr(update, "_finish", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            trees.catch_up("work")
    assert (folder / "src").read_text() == "a file\n"
    assert not (folder / "gone.txt").exists()
    project.write({"a.txt": "later\n", "gone.txt": "anew\n"}, folder)
    problem = "newer work of the integration branch is half merged into the worktree work"
    assert [(f.subject, f.sentence) for f in trees.check()] == [("work", problem)]
    if by == "repair":
        assert trees.repair() == [
            (
                "Undid what was half written into the worktree work. "
                "Left as they are, because somebody has changed them since: a.txt, gone.txt."
            )
        ]
    if by in ("repair", "snapshot"):
        trees.snapshot("work")
        assert files_of(folder) == {
            **before,
            b"a.txt": (False, b"later\n"),
            b"gone.txt": (False, b"anew\n"),
        }
    if by == "remove":
        kept = trees.remove("work").rescue_ref
        assert [
            project.git("show", f"{kept}:{name}") for name in ("a.txt", "gone.txt", "src/b.py")
        ] == ["later", "anew", "b = 1"]
        return
    assert set(trees.catch_up("work")) == {"a.txt", "gone.txt"}
    assert (folder / "src").read_text() == "a file\n"
    assert "later\n" in (folder / "a.txt").read_text()
    assert (trees.check(), trees.repair(), left(project.folder)) == ([], [], [])
    project.assert_sound()

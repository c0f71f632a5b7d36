"""Whatever stands where a home or a repository has a file: calls end, with an error of ours."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support.bounds import CPU_S, Tally
from support.git_project import git


def replace_by_pipe(file):
    """Reading it waits for a writer."""
    os.mkfifo(file)


def replace_by_folder(file):
    """Neither reading nor replacing it works."""
    file.mkdir()
    (file / "x").touch()


def replace_by_endless(file):
    """Two gigabytes that take no room on the disk."""
    file.touch()
    os.truncate(file, 2**31)


def write(content):
    """Return what writes this content."""
    return lambda file: file.write_bytes(content)


ENDS = {
    "a pipe": replace_by_pipe,
    "a folder": replace_by_folder,
    "a very large file": replace_by_endless,
    "nothing in it": write(b""),
    "bytes that are no text": write(b"\xff\x00\xfe" * 50),
    "brackets without end": write(b"[" * 200_000),
    "a list": write(b"[1, [2], null]"),
    "a mapping": write(b'{"layout": 1, "format": 1, "files": [], "state": {}, "id": 1e999}'),
    "a long line": write(b"x" * 900_000),
    "escape sequences": write(b"\x1b[2J\x1b]0;owned\x07\n" * 3),
    "no file": lambda _: None,
}
CALLS = {
    "status": lambda orch: str(orch.get_status()),
    "resume": lambda orch: str(orch.resume()),
    "next_step": lambda orch: str(orch.next_step()),
    "plan": lambda orch: orch.plan_task("One more"),
    "roles": lambda orch: orch.roles(),
    "list": lambda orch: [orch.artifacts.read(each) for each in orch.artifacts.list()],
    "verify": lambda orch: orch.artifacts.verify(),
    "browse": lambda orch: orch.artifacts.browse(),
    "documents": lambda orch: orch.documents.update(),
    "worktrees": lambda orch: orch.worktrees.list(),
    "work": lambda orch: orch.execute_task("third", worktree=True).complete(
        summary="s", detailed_work="d"
    ),
    "checkpoint": lambda orch: orch.execute_task("fourth", worktree=True).checkpoint({}),
    "check": lambda orch: orch.check(),
    "repair": lambda orch: orch.repair(),
    "forget": lambda orch: orch.artifacts.forget_text("nowhere at all"),
    "collect": lambda orch: orch.artifacts.collect_garbage(),
    "session": lambda orch: orch.initialize_session("Another one"),
}
READS_BYTES = {"verify", "check", "repair", "browse", "list"}
BYTES_CPU_S = 30
"""For the two gigabytes of the largest file: reading them takes time in proportion."""
KEPT = {"orchestrator.db", "orchestrator.db-wal", "orchestrator.db-shm"}
OF_GIT = (".git/worktrees", ".git/FETCH_HEAD")
"""The other ones, such as ``.git/info/exclude`` and ``.gitattributes``, git reads by itself."""
OF_PROJECT = (
    ".worktreeinclude", ".gitmodules", "refs.bib", "docs/changelog.md",
    "pyproject.toml", "AGENTS.md",
)  # fmt: skip


@cache
def used_project():
    """Return a project with one of most things that a home can hold; it is only ever copied."""
    folder = Path(tempfile.mkdtemp(prefix="vespera-hostile-"))
    project = folder / "project"
    project.mkdir()
    git(project, "init", "-q", "-b", "main")
    for name in OF_PROJECT:
        file = project / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "x")
    with vespera.open(project, durability="normal") as orch:
        orch.initialize_session("x", project_type="software_development")
        titles = ("First", "Second", "Third", "Fourth")
        orch.plan_tasks([{"title": title} for title in titles])
        with orch.execute_task("first", worktree=True) as work:
            (work.path / "a.py").write_text('"""A."""\n')
            work.checkpoint({"k": 1})
            work.complete(summary="s", detailed_work="d " * 5000, outputs={"x": 1})
        work = orch.execute_task("second", worktree=True)
        (work.path / "b.txt").write_text("b")
        work.fail("no")
        orch.documents.update()
        orch.artifacts.browse()
        orch.check()
    home = project / ".task_orchestrator"
    (home / "roles").mkdir(exist_ok=True)
    (home / "roles" / "project_roles.yaml").write_text("coder:\n  role_definition: x\n")
    (home / "templates" / "changelog.md.j2").write_text("<!-- vespera:begin x -->\n")
    (home / "templates" / "project_types.yaml").write_text("mine:\n  documents: [changelog]\n")
    return project


def names():
    """Return the files that may be replaced, relative to the project."""
    project = used_project()
    home = project / ".task_orchestrator"
    files = [each for each in home.rglob("*") if each.is_file() and each.name not in KEPT]
    own = [each.relative_to(project).as_posix() for each in files if "worktrees" not in each.parts]
    return sorted({*own, *OF_GIT, *OF_PROJECT})


def look(tally, name, words, calls):
    """Replace one file in a copy of the project, and make the calls."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        shutil.copytree(used_project(), project, symlinks=True)
        file = project / name
        if file.is_dir():
            shutil.rmtree(file)
        file.unlink(missing_ok=True)
        ENDS[words](file)
        described = f"{name} is {words}"
        orch = tally.call(f"{described}: open", vespera.open, project, durability="normal")
        if orch is not None:
            with orch:
                for call in calls:
                    cpu_s = BYTES_CPU_S if call in READS_BYTES else CPU_S
                    tally.call(f"{described}: {call}", CALLS[call], orch, cpu_s=cpu_s)


def test_a_sample_of_files(identity):  # noqa: ARG001 - git must know who commits
    """Each ending for a few files, with some calls."""
    chance = random.Random(13)
    tally = Tally()
    for words in ENDS:
        look(tally, chance.choice(names()), words, chance.sample(sorted(CALLS), 4))
    tally.judge("a sample of files")


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("words", ENDS)
def test_every_file_in_every_way(identity, words):  # noqa: ARG001 - git must know who commits
    """Some 8,000 calls in all."""
    tally = Tally()
    for name in names():
        look(tally, name, words, CALLS)
    tally.judge(f"files, {words}")

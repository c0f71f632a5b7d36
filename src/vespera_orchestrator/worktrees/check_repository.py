"""The git directory of the folder in which a check runs, so that the check may call git.

It is a repository of its own that borrows the objects of the project's. Its HEAD is the commit that
is to land, on a branch named like the integration branch, with all other branches and tags beside
it. Whatever a check does with git there, the project's repository does not notice.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import CheckoutStrategy

from vespera_orchestrator.worktrees.opening import open_repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator.worktrees.repository import ProjectRepository

_PRIVATE: Final = ("refs/vespera/", "refs/stash")
"""What is nobody's business but ours and the user's."""
_CONFIG: Final = """\
[include]
\tpath = "{config}"
[core]
\trepositoryformatversion = 0
\tbare = false
\tworktree = "{folder}"
"""
"""The user's settings apply, for example those for line ends; but this is another repository."""


def make_repository(project: ProjectRepository, folder: Path, commit: str) -> pygit2.Repository:
    """Write the files of *commit* into the empty *folder*, and make it a repository."""
    git = folder / ".git"
    for name in ("objects/info", "refs/heads", "refs/tags", "info"):
        git.joinpath(name).mkdir(parents=True)
    branch = project.integration_ref
    objects = project.common / "objects"
    config = _CONFIG.format(config=_quoted(project.common / "config"), folder=_quoted(folder))
    git.joinpath("config").write_text(config, "utf-8", "surrogateescape")
    alternates = git.joinpath("objects", "info", "alternates")
    alternates.write_text(f"{objects}\n", "utf-8", "surrogateescape")
    git.joinpath("HEAD").write_text(f"ref: {branch}\n", "utf-8")
    refs = "".join(f"{target} {name}\n" for name, target in _refs(project, branch, commit))
    git.joinpath("packed-refs").write_text(refs, "utf-8", "surrogateescape")
    for name in ("shallow", "info/exclude", "info/attributes"):
        if project.common.joinpath(name).is_file():
            shutil.copyfile(project.common / name, git / name)
    repo = open_repository(git)
    strategy = CheckoutStrategy.FORCE | CheckoutStrategy.RECREATE_MISSING
    repo.checkout_tree(repo[commit].peel(pygit2.Tree), strategy=strategy)
    return repo


def _refs(project: ProjectRepository, branch: str, commit: str) -> Iterator[tuple[str, str]]:
    yield branch, commit
    repo = project.open()
    for ref in repo.references.iterator():
        if ref.name == branch or ref.name.startswith(_PRIVATE):
            continue
        if isinstance(ref.target, pygit2.Oid):
            yield ref.name, str(ref.target)


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')

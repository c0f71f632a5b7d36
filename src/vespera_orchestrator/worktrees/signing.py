"""Signing what lands, where git is configured to sign commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator.errors import GitFailedError
from vespera_orchestrator.worktrees.git_command import run_git
from vespera_orchestrator.worktrees.git_config import is_true

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pygit2

_DOING: Final = "sign the commit that lands the work"
_REMEDY: Final = (
    "make signing work (git commit --allow-empty -S shows what is missing), or land without a "
    "signature: git config commit.gpgsign false"
)
_MINUTE_S: Final = 60


def are_commits_signed(settings: Mapping[str, str]) -> bool:
    """Tell whether git is configured to sign every commit."""
    return is_true(settings.get("commit.gpgsign", ""))


def write_signed(
    repo: pygit2.Repository,
    signatures: tuple[pygit2.Signature, pygit2.Signature],
    *,
    message: str,
    tree: str,
    parents: Sequence[str],
) -> str:
    """Write a commit that git signs, and return it. No ref is moved.

    Args:
        repo: The repository.
        signatures: Author and committer.
        message: The commit's message.
        tree: Its files.
        parents: Its parents.

    Raises:
        GitFailedError: It could not be signed; with the reason and the remedy.
    """
    names = [word for parent in parents for word in ("-p", parent)]
    author, committer = signatures
    environment = {**_identity("AUTHOR", author), **_identity("COMMITTER", committer)}
    run = run_git(
        *(f"--git-dir={repo.path}", "commit-tree", "-S", tree, *names),
        cwd=repo.path,
        environment=environment,
        text=message.encode(),
    )
    if run.returncode != 0:
        said = " ".join(run.stderr.decode("utf-8", "replace").split())
        raise GitFailedError(_DOING, f"{said or 'git said nothing'}; {_REMEDY}")
    return run.stdout.decode("ascii").strip()


def _identity(role: str, who: pygit2.Signature) -> dict[str, str]:
    sign = "-" if who.offset < 0 else "+"
    hours, minutes = divmod(abs(who.offset), _MINUTE_S)
    return {
        f"GIT_{role}_NAME": who.name,
        f"GIT_{role}_EMAIL": who.email,
        f"GIT_{role}_DATE": f"@{who.time} {sign}{hours:02}{minutes:02}",
    }

"""Git's configuration, as git itself reads it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import pygit2
from pygit2.enums import ConfigLevel

from vespera_orchestrator.worktrees.git_command import find_git, run_git

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NO_NAME = "vespera_orchestrator"
_NO_EMAIL = "vespera@localhost"


_known_settings: Final[WeakKeyDictionary[pygit2.Repository, dict[str, str]]] = WeakKeyDictionary()
_FALSE: Final = frozenset({"false", "no", "off", "0", ""})


def is_true(value: str) -> bool:
    """Tell whether git takes a setting's value for yes."""
    return value.lower() not in _FALSE


def read_settings(repo: pygit2.Repository) -> dict[str, str]:
    """Return git's configuration; of a name that is set several times, the value that counts.

    It is read once for each object *repo*, which lives as long as one call.
    """
    if repo not in _known_settings:
        _known_settings[repo] = _read(repo)
    return _known_settings[repo]


def _read(repo: pygit2.Repository) -> dict[str, str]:
    entries = list(repo.config)  # from the lowest level to the highest
    global_file = os.environ.get("GIT_CONFIG_GLOBAL")
    if global_file is not None:
        # Git reads this file instead of the user's own ones; libgit2 does not know about it.
        instead = list(pygit2.Config(global_file)) if Path(global_file).is_file() else []
        system = [entry for entry in entries if entry.level <= ConfigLevel.SYSTEM]
        local = [entry for entry in entries if entry.level >= ConfigLevel.LOCAL]
        entries = [*system, *instead, *local]
    # A name without a value is switched on.
    return {entry.name: entry.value or "true" for entry in entries}


def read_signatures(repo: pygit2.Repository) -> tuple[pygit2.Signature, pygit2.Signature]:
    """Return author and committer: from the environment, from git's configuration, or ours.

    libgit2 itself ignores the environment, and raises where nothing is configured.
    """
    settings = read_settings(repo)
    if any(name.startswith("includeif.") for name in settings):
        by_git = _identity_by_git(repo, "AUTHOR"), _identity_by_git(repo, "COMMITTER")
        if None not in by_git:
            return by_git
    return _signature("author", settings), _signature("committer", settings)


def ref_signature(repo: pygit2.Repository) -> pygit2.Signature:
    """Return who moves a ref, as git's configuration says; ours if it says nobody."""
    try:
        return repo.default_signature
    except KeyError:
        return pygit2.Signature(_NO_NAME, _NO_EMAIL)


def _identity_by_git(repo: pygit2.Repository, role: str) -> pygit2.Signature | None:
    """Ask git, which knows more conditions of ``includeIf`` than libgit2 does.

    ``None`` where there is no git, or it knows nobody.
    """
    if find_git() is None:
        return None
    run = run_git(f"--git-dir={repo.path}", "var", f"GIT_{role}_IDENT", cwd=repo.path)
    match = re.fullmatch("(.*) <(.*)> [0-9]+ [+-][0-9]+", run.stdout.decode().strip())
    if run.returncode != 0 or match is None or not match[1]:
        return None
    return pygit2.Signature(match[1], match[2])


def excludes_file(repo: pygit2.Repository) -> Path:
    """Return the file in which the user says what is ignored everywhere; it need not exist."""
    return _user_file(read_settings(repo).get("core.excludesfile"), "ignore")


def attribute_files(common: Path, settings: Mapping[str, str]) -> list[Path]:
    """Return the files outside of the tree in which attributes are set; only those that exist."""
    user_file = _user_file(settings.get("core.attributesfile"), "attributes")
    candidates = (common / "info" / "attributes", user_file, *_system_attribute_files())
    return [path for path in candidates if path.is_file()]


def _system_attribute_files() -> Iterator[Path]:
    folders = pygit2.settings.search_path[ConfigLevel.SYSTEM]
    for folder in filter(None, folders.split(os.pathsep)):
        yield Path(folder, "gitattributes")


def _user_file(configured: str | None, name: str) -> Path:
    config_home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    default = Path(config_home, "git", name)
    return Path(os.path.expanduser(configured or default))  # noqa: PTH111 - must not raise without a home


def _signature(role: str, settings: Mapping[str, str]) -> pygit2.Signature:
    name = _identity(role, "name", settings)
    email = _identity(role, "email", settings)
    return pygit2.Signature(name or _NO_NAME, email or _NO_EMAIL)


def _identity(role: str, field: str, settings: Mapping[str, str]) -> str:
    """Return the first candidate that is not empty once git's own separators are taken out."""
    candidates = (
        os.environ.get(f"GIT_{role.upper()}_{field.upper()}"),
        settings.get(f"{role}.{field}"),
        settings.get(f"user.{field}"),
    )
    for candidate in candidates:
        cleaned = re.sub(r"[<>\x00-\x1f]", "", candidate or "").strip()
        if cleaned:
            return cleaned
    return ""

"""What a home may do beyond its own folder, and what a person has allowed.

A home can ask for things in ``config.toml`` (commands, addresses, folders), in its templates and in
its roles: its *powers*. A home that came with somebody else's files gets none of them before a
person has said yes once. The answer is kept in the person's own configuration folder, never in the
home, under the path of the home and a digest of everything it asks for. So a change asks again.

A home of your own needs no answer. It is yours when it belongs to you and git does not track it,
and one of these is true:

* You named it, with ``home=`` or ``VESPERA_ORCHESTRATOR_HOME``.
* It was made here: its id has the folder's inode (`identity`). Moving a folder keeps that.
* It is a copy, or came from another disk, and asks for the same as the home of this id here.
* You wrote it by hand before you opened it the first time.

Where others may write in it, none of these is enough: it is yours as long as it asks for what it
asked for before. Such is a home that a group shares, and one in a working copy of anything but git:
nobody is asked what that tracks, and what it brings looks as if it had been written by hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import one_line, show_methods
from vespera_orchestrator.home.environment import without_repository
from vespera_orchestrator.home.files import create_file, make_folders, write_atomically
from vespera_orchestrator.home.identity import HomeId, find_home_id
from vespera_orchestrator.home.reading import MOST_GIT_BYTES, read_json, read_small_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENV_TRUST: Final = "VESPERA_ORCHESTRATOR_TRUST"
"""Folders whose homes are trusted, separated as in PATH; ``*`` for every home."""
VERSION_CONTROL: Final = (".hg", ".jj", ".svn", ".bzr", ".pijul", "_darcs", ".fslckout")
"""What marks the top of a working copy, besides git's."""
_MARK: Final = ".came_from_elsewhere"
"""Stands in a home that was not made here. Its id is written at the first opening, and must not
pass for that of a home of one's own at the second.
"""
_FILES: Final = ("config.toml", "templates", "roles")
"""Where a home says what it wants."""
_LONGEST_VALUE: Final = 200
_WRITTEN_AT_ONCE_S: Final = 60
"""How far the times of writing and of the last change may be apart in a file written by hand.

Archives keep the time of writing. So a file that was unpacked is usually older than its inode.
"""
_GIT_PATIENCE_S: Final = 20
_INDEX_HEADER: Final = re.compile(rb"DIRC\0\0\0[\x02\x03]")
"""Versions of git's index in which every path is written out."""
_SPLIT_INDEX: Final = re.compile(rb"link[\x00-\x1f]")
"""What an index says where other paths are in another file; the length of that part follows.

It has four bytes. So a path with this word in it is not taken for it, unless it ends there.
"""


@show_methods
@attrs.frozen(kw_only=True)
class Power:
    """Something that a home wants to do beyond its own folder."""

    name: str
    """The setting with its value, or the folder in the home."""
    value: str
    """What the setting says, on one line; a digest of the folder."""
    setting: str = ""
    """The dotted name of the setting; empty for a folder."""
    effect: str
    """What follows from it, as the rest of a sentence."""

    def __str__(self) -> str:
        return f"{self.name} {self.effect}"


def powers_of_settings(settings: Mapping[str, tuple[object, str]]) -> tuple[Power, ...]:
    """Return the powers that settings ask for, given their values and effects by name."""
    powers = []
    for name, (value, effect) in settings.items():
        text = json.dumps(value, ensure_ascii=False, sort_keys=True)
        shown = one_line(text, _LONGEST_VALUE)
        power = Power(name=f"{name} = {shown}", value=text, setting=name, effect=f"({effect})")
        powers.append(power)
    return tuple(powers)


def powers_of_files(home: Path) -> tuple[Power, ...]:
    """Return the powers that the templates and roles of a home ask for."""
    effects = {"templates": "(decide what documents say)", "roles": "(instruct agents)"}
    powers = []
    for name, effect in effects.items():
        files = list(_files_in(home / name))
        if files:
            value = _digest_of(home / name, files)
            powers.append(Power(name=f"{name}/", value=value, effect=effect))
    return tuple(powers)


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files and links in a folder, and in those below it, in order."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _files_in(Path(entry.path))
            else:
                yield Path(entry.path)


def _digest_of(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file.relative_to(folder)) + b"\0")
        digest.update(_bytes_of(file))
    return digest.hexdigest()


def _bytes_of(file: Path) -> bytes:
    try:
        content = read_small_file(file, follow_links=False)
    except OSError:
        return b"unreadable"
    return hashlib.sha256(content).digest()


# --- deciding ---------------------------------------------------------------


def is_trusted(home: Path, powers: tuple[Power, ...], *, is_named: bool) -> bool:
    """Tell whether the home in this folder may have its powers.

    Args:
        home: The folder, which need not exist.
        powers: What it asks for.
        is_named: Whether the caller or the environment named this very folder.
    """
    if not powers:
        return True
    if _is_trusted_by_environment(home):
        return True
    asked = digest_of_powers(powers)
    if _is_recorded(_consent_file(home), asked):
        return True
    try:
        is_own = _is_own(home, asked, is_named=is_named)
    except OSError:
        return False  # what cannot be looked at is not believed
    if is_own:
        _remember_own(home, asked)
    return is_own


def digest_of_powers(powers: tuple[Power, ...]) -> str:
    """Return what tells this set of powers from any other."""
    pairs = sorted((power.name, power.value) for power in powers)
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


def _is_trusted_by_environment(home: Path) -> bool:
    named = os.environ.get(ENV_TRUST, "").strip()
    if named == "*":
        return True
    folders = [Path(folder.strip()) for folder in named.split(os.pathsep) if folder.strip()]
    return any(home.is_relative_to(folder.resolve()) for folder in folders)


def _is_own(home: Path, asked: str, *, is_named: bool) -> bool:
    if not _belongs_to_user(home) or os.path.lexists(home / _MARK):
        return False
    repository = _repository_around(home)
    may_bring_it = not is_named and _is_in_other_working_copy(home, repository)
    if may_bring_it or _may_others_write(home):
        shared = find_home_id(home)
        return shared is not None and _is_recorded(_own_file(shared), asked)
    if repository is not None and _is_tracked(repository, home):
        return False
    if is_named:
        return True
    noted = find_home_id(home)
    if noted is None:
        return _is_written_by_hand(home)
    return noted.inode == home.stat().st_ino or _is_recorded(_own_file(noted), asked)


def _belongs_to_user(home: Path) -> bool:
    if os.name == "nt":
        return True
    user = os.geteuid()
    present = [path for path in (home / name for name in _FILES) if os.path.lexists(path)]
    return all(path.lstat().st_uid == user for path in (home, *present))


def _may_others_write(home: Path) -> bool:
    """Tell whether somebody else may have changed what a home asks for.

    A folder of one's own group is shared only if it was made so: on many systems that group is the
    person's alone, and every new folder has its rights.
    """
    if os.name == "nt":
        return False
    status = home.stat()
    is_ones_own_group = status.st_gid == os.getegid() and not status.st_mode & stat.S_ISGID
    of_group = bool(status.st_mode & stat.S_IWGRP) and not is_ones_own_group
    return of_group or bool(status.st_mode & stat.S_IWOTH)


def _is_written_by_hand(home: Path) -> bool:
    """Tell whether somebody wrote the settings here, before anything was opened."""
    if (home / "orchestrator.db").exists():
        return False
    written = [home / "config.toml", *_files_in(home / "templates"), *_files_in(home / "roles")]
    for file in written:
        if os.path.lexists(file):
            status = file.lstat()
            if abs(status.st_ctime - status.st_mtime) > _WRITTEN_AT_ONCE_S:
                return False
    return True


# --- git --------------------------------------------------------------------


def _repository_around(home: Path) -> Path | None:
    """Return the folder above the home that has a ``.git``."""
    return next((folder for folder in home.parents if (folder / ".git").exists()), None)


def _is_in_other_working_copy(home: Path, repository: Path | None) -> bool:
    """Tell whether the nearest version control around the home is not git's."""
    for folder in home.parents:
        if folder == repository:
            return False
        if any((folder / name).exists() for name in VERSION_CONTROL):
            return True
    return False


def _is_tracked(repository: Path, home: Path) -> bool:
    """Tell whether git tracks anything of the home, or a link in its place.

    Usually the index answers without git: the name is not in it. A folder called ``.git`` in which
    git finds no repository may have come with an archive: then nobody can tell.
    """
    if (repository / ".git").is_dir() and not (repository / ".git" / "HEAD").is_file():
        return True
    index = repository / ".git" / "index"
    with suppress(OSError):
        content = read_small_file(index, MOST_GIT_BYTES)
        is_spelled_out = _INDEX_HEADER.match(content) and not _SPLIT_INDEX.search(content)
        if is_spelled_out and os.fsencode(home.name).lower() not in content.lower():
            return False
    return _git_tracks(repository, home)


def _git_tracks(repository: Path, home: Path) -> bool:
    place = home.relative_to(repository).as_posix()
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(repository), "ls-files", "-z", "--"]
    command.append(f":(top,icase){_literal(place)}")
    import subprocess

    environment = without_repository(os.environ) | {"GIT_OPTIONAL_LOCKS": "0"}
    # Not the repository further up, where this one is none.
    environment["GIT_CEILING_DIRECTORIES"] = str(repository.parent)
    try:
        run = subprocess.run(
            command, capture_output=True, check=False, env=environment, timeout=_GIT_PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError):
        return True  # nobody can tell
    return run.returncode != 0 or bool(run.stdout)


def _literal(path: str) -> str:
    """Escape what git takes for a pattern."""
    return re.sub(r"([*?\[\\])", r"\\\1", path)


# --- what was allowed -------------------------------------------------------


def user_folder() -> Path:
    """Return the folder of this person's own settings."""
    variable = "APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME"
    base = Path(os.environ.get(variable, ""))
    if not base.is_absolute():
        try:
            base = Path("~/.config").expanduser()
        except RuntimeError:  # a user without a home: nothing is remembered
            base = Path(os.devnull)
    return base / "vespera_orchestrator"


def _consent_file(home: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()
    return user_folder() / "trusted" / f"{digest[:32]}.json"


def _own_file(noted: HomeId) -> Path:
    digest = hashlib.sha256(noted.id.encode()).hexdigest()
    return user_folder() / "own" / f"{digest[:32]}.json"


def _is_recorded(file: Path, asked: str) -> bool:
    try:
        record = read_json(file)
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("powers") == asked


def _remember_own(home: Path, asked: str) -> None:
    """Note what a home of one's own asks for, so that a copy of it needs no question."""
    noted = find_home_id(home)
    if noted is None:
        return
    file = _own_file(noted)
    if not _is_recorded(file, asked):
        with suppress(OSError):  # the home is trusted all the same
            _write_record(file, home, asked)


def _write_record(file: Path, home: Path, asked: str) -> None:
    make_folders(file.parent)
    file.parent.chmod(0o700)
    write_atomically(file, json.dumps({"home": str(home), "powers": asked}) + "\n")


def record_consent(home: Path, powers: tuple[Power, ...]) -> Path:
    """Remember that the home in this folder may have these powers; return the file that says so.

    A home that git does not track changes only when its owner changes it: from now on it is the
    person's own.

    Raises:
        OSError: The person's own folder cannot be written.
    """
    file = _consent_file(home)
    _write_record(file, home, digest_of_powers(powers))
    with suppress(OSError):
        (home / _MARK).unlink()
    return file


def mark_as_foreign(home: Path) -> None:
    """Note in a home that it was not made here.

    One that belongs to another user says so by itself, and for its owner nothing has changed.
    """
    with suppress(OSError):
        if _belongs_to_user(home):
            create_file(home / _MARK)

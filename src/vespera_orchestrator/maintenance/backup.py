"""A backup of a home in use: a folder that is a home itself, and opens."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tomllib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator._version import __version__
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import CorruptContentError, CorruptStoreError, InvalidInputError
from vespera_orchestrator.home.files import translate_os_error
from vespera_orchestrator.maintenance.reports import counted
from vespera_orchestrator.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vespera_orchestrator.contracts import ContentStore, Ledger, Store
    from vespera_orchestrator.orchestrator import Orchestrator

_NOTE = "backup.json"
_SETTINGS = ("config.toml", ".gitignore", ".active_session")
_FOLDERS = ("templates", "roles")
_CONTENT_SETTING = re.compile(r"""^[ \t]*["']?content["']?[ \t]*=""", re.MULTILINE)


@attrs.frozen(kw_only=True)
class BackupReport:
    """What `Orchestrator.backup` wrote."""

    path: Path
    """The folder; ``vespera_orchestrator.open(home=path)`` opens it."""
    tasks: int
    contents: int
    size_bytes: int
    """What the contents are long together."""
    problems: tuple[str, ...]
    """What was damaged before, and is so in the backup: rows as they are, contents not at all. Empty when all is well."""

    def __str__(self) -> str:
        lines = [
            f"backup in {self.path}: {counted(self.tasks, 'tasks')}, {counted(self.contents, 'contents')}, {self.size_bytes:,} bytes"
        ]
        return "\n".join([*lines, *(f"- damaged before: {problem}" for problem in self.problems)])


def back_up(
    orch: Orchestrator, path: Path, *, link: bool, progress: Callable[[str], None]
) -> BackupReport:
    """See `Orchestrator.backup`."""
    home = orch._scope.home
    with appearing(path, "path") as making:
        # The rows first: contents are stored before the rows that name them, so all that these rows name is there already, and nothing
        # takes it away. The other way round a completion between the two would be in the backup without its work.
        progress("rows")
        tasks, problems = copy_rows(orch._store, making / "orchestrator.db")
        progress("contents")
        count, size, lost = _copy_contents(orch, making, link=link)
        for name in _SETTINGS:
            if (home.path / name).is_file():
                shutil.copy2(home.path / name, making / name)
        for name in _FOLDERS:
            if (home.path / name).is_dir():
                shutil.copytree(home.path / name, making / name)
        _rely_on_own_contents(making / "config.toml")
        report = BackupReport(
            path=path, tasks=tasks, contents=count, size_bytes=size, problems=(*problems, *lost)
        )
        about = {
            "of": str(home.path),
            "project": str(home.project),
            "at": orch._clock().isoformat(),
            "library": __version__,
        }
        (making / _NOTE).write_text(
            json.dumps(about | attrs.asdict(report, filter=_plain), indent=1, default=str), "utf-8"
        )
    return report


def _plain(attribute: attrs.Attribute[object], _: object) -> bool:
    return attribute.name != "path"


@contextmanager
def appearing(path: Path, argument: str) -> Iterator[Path]:
    """Give a new folder beside *path* to fill; at the end of the block it takes its place, durable and whole, or nothing appears.

    Raises:
        InvalidInputError: There is something at *path* already.
    """
    if os.path.lexists(path):
        raise InvalidInputError(
            argument, f"{str(path)!r} is there already; give a place where nothing is"
        )
    making = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        making.mkdir(parents=True)
        yield making
        for place in (*making.rglob("*"), making):
            _sync(place)
        making.rename(path)
        _sync(path.parent)
    except OSError as exc:
        raise translate_os_error(exc, path) from exc
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _sync(path: str | Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy_rows(store: Store, file: Path) -> tuple[int, list[str]]:
    """Write all rows of *store*, as of one moment, into a new SQLite database, and look it over.

    Returns:
        How many tasks it has, and what is wrong with it as it is with the store.

    Raises:
        CorruptStoreError: The copy has faults that the store has not.
    """
    if isinstance(store, SQLiteStore):
        store.copy_to(file)
    else:
        _carry_over(store, file)
    copy = SQLiteStore.open(file)
    try:
        with copy.ledger() as ledger:
            problems = [*ledger.problems()]
            tasks = ledger.count("tasks")
    finally:
        copy.close()
    if problems:
        with store.ledger() as ledger:
            known = {*ledger.problems()}
        if new := [problem for problem in problems if problem not in known]:
            raise CorruptStoreError(str(file), f"the copy is not whole: {new[0]}")
    return tasks, problems


def _carry_over(store: Store, file: Path) -> None:
    """Carry rows over from another kind of store, by columns that both have."""
    copy = SQLiteStore.open(file)
    try:
        with store.ledger() as source, copy.ledger(write=True) as target:
            for table in TABLES:
                target.put(table, source.rows(table))
    finally:
        copy.close()


def _rely_on_own_contents(settings: Path) -> None:
    """Let the backup read the contents that lie in it, not those of the place that it is to stand in for."""
    try:
        text = settings.read_text("utf-8")
        if "content" not in tomllib.loads(text):
            return
    except (FileNotFoundError, ValueError):  # the home opened without it, or before it was spoilt
        return
    note = "# The contents are in artifacts/ of this backup. Where they were: "
    settings.write_text(_CONTENT_SETTING.sub(lambda line: note + line[0], text, count=1), "utf-8")


def _copy_contents(orch: Orchestrator, making: Path, *, link: bool) -> tuple[int, int, list[str]]:
    target = FolderContent(making / "artifacts")
    target.folder.mkdir()
    count, size, problems = 0, 0, []
    for digest, name in _named(making / "orchestrator.db").items():
        try:
            size += _copy_content(orch._rooms.content, target, digest, link=link)
            count += 1
        except CorruptContentError as exc:
            problems.append(f"{name}: {exc.reason}")
    return count, size, problems


def _named(database: Path) -> dict[str, str]:
    """Return every content that the rows of a copy name, and what names it."""
    store = SQLiteStore.open(database)
    try:
        with store.ledger() as ledger:
            return contents_of(ledger)
    finally:
        store.close()


def contents_of(ledger: Ledger) -> dict[str, str]:
    """Return the digest of every content that the rows name, and one thing that it belongs to, in words."""
    named = {
        row["digest"]: f"document {row['path']} version {row['version']}"
        for row in ledger.rows("document_versions")
    }
    return named | {
        row["digest"]: f"artifact {row['id']} {row['title']!r}" for row in ledger.rows("artifacts")
    }


def _copy_content(source: ContentStore, target: FolderContent, digest: str, *, link: bool) -> int:
    if link and isinstance(source, FolderContent):
        (target.folder / digest[:2]).mkdir(exist_ok=True)
        for name in (f"{digest[:2]}/{digest[2:]}", f"{digest[:2]}/{digest[2:]}.zst"):
            with suppress(
                OSError
            ):  # not under this name; or another disk, or no links: then it is copied like the others
                os.link(source.folder / name, target.folder / name)
                return (target.folder / name).stat().st_size
    with source.open(digest) as stream:
        return target.put(stream)[1]

"""A backup of a home in use: a folder that is a home itself, and can be opened."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import Record
from vespera_orchestrator._version import __version__
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.artifacts.content.packing import is_digest
from vespera_orchestrator.contracts import COPIED_TABLES, TABLES
from vespera_orchestrator.errors import CorruptContentError, CorruptStoreError, InvalidInputError
from vespera_orchestrator.home.files import sync_file, sync_folder, translate_os_error
from vespera_orchestrator.home.identity import HOME_ID_FILE
from vespera_orchestrator.home.permissions import make_folder, share_with
from vespera_orchestrator.home.reading import read_small_text
from vespera_orchestrator.maintenance.reports import counted
from vespera_orchestrator.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.contracts import ContentStore, Ledger, Store
    from vespera_orchestrator.home.locate import Home

_DATABASE: Final = "orchestrator.db"
_DESCRIPTION: Final = "backup.json"
_COPIED_FILES: Final = ("config.toml", ".gitignore", ".active_session", HOME_ID_FILE)
_COPIED_FOLDERS: Final = ("templates", "roles")
_CONTENT_SETTING: Final = re.compile(r"""^[ \t]*["']?content["']?[ \t]*=""", re.MULTILINE)
_STORE_SETTING: Final = re.compile(
    r"""^[ \t]*(?:["']?store["']?[ \t]*\.[ \t]*)?["']?url["']?[ \t]*=""", re.MULTILINE
)


@attrs.frozen(kw_only=True)
class BackupReport(Record):
    """What `Orchestrator.backup` wrote."""

    path: Path
    """The folder; ``vespera_orchestrator.open(home=path)`` opens it."""
    tasks: int
    """How many tasks it holds."""
    contents: int
    """How many contents it holds."""
    size_bytes: int
    """The size of all contents together."""
    problems: tuple[str, ...]
    """What was damaged before. Damaged rows are in the backup as they are, contents are not."""

    def __str__(self) -> str:
        tasks = counted(self.tasks, "tasks")
        contents = counted(self.contents, "contents")
        lines = [f"backup in {self.path}: {tasks}, {contents}, {self.size_bytes:,} bytes"]
        lines.extend(f"- damaged before: {problem}" for problem in self.problems)
        return "\n".join(lines)


def back_up(
    rooms: Rooms, path: Path, *, link: bool, progress: Callable[[str], None]
) -> BackupReport:
    """See `Orchestrator.backup`."""
    home = rooms.scope.home
    with new_folder(path, "path") as folder:
        # The rows first. Contents are stored before the rows that name them, so everything that
        # these rows name is there already, and nothing removes it. The other way round, a
        # completion between the two would be in the backup without its work.
        progress("rows")
        tasks, row_problems = copy_rows(rooms.store, folder / _DATABASE)
        progress("contents")
        copier = _ContentCopier(source=rooms.content, folder=folder / "artifacts", link=link)
        copier.copy_all(_users_by_digest(folder / _DATABASE))
        _copy_settings(home, folder)
        report = BackupReport(
            path=path,
            tasks=tasks,
            contents=copier.number,
            size_bytes=copier.size_bytes,
            problems=(*row_problems, *copier.problems),
        )
        origin = {
            "of": str(home.path),
            "project": str(home.project),
            "at": rooms.clock().isoformat(),
            "library": __version__,
        }
        _describe(folder / _DESCRIPTION, origin, report)
    return report


def _describe(file: Path, origin: dict[str, str], report: BackupReport) -> None:
    figures = attrs.asdict(report)
    del figures["path"]  # where it is now says nothing about where it will be
    file.write_text(json.dumps(origin | figures, indent=1), "utf-8")


@contextmanager
def new_folder(path: Path, argument: str) -> Iterator[Path]:
    """Yield a temporary folder beside *path* to fill. When the block ends well, it becomes *path*.

    It appears whole and durable, or not at all.

    Raises:
        InvalidInputError: There is something at *path* already.
    """
    if os.path.lexists(path):
        problem = f"{str(path)!r} exists already; choose a path that does not exist"
        raise InvalidInputError(argument, problem)
    folder = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        folder.mkdir(parents=True)
        folder.chmod(0o700)
        yield folder
        share_with(folder)
        for entry in (*folder.rglob("*"), folder):
            sync = sync_folder if entry.is_dir() else sync_file
            sync(entry)
        folder.rename(path)
        sync_folder(path.parent)
    except OSError as exc:
        raise translate_os_error(exc, path) from exc
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- rows -------------------------------------------------------------------------


def copy_rows(store: Store, file: Path) -> tuple[int, list[str]]:
    """Write all rows of *store*, as of one moment, into a new SQLite database, and check it.

    Returns:
        How many tasks the copy has, and what is wrong with it because it is wrong with the store.

    Raises:
        CorruptStoreError: The copy has faults that the store does not have.
    """
    if isinstance(store, SQLiteStore):
        store.copy_to(file)
    else:
        _transfer_rows(store, file)
    with _opened(file) as copy:
        with copy.ledger() as ledger:
            problems = list(ledger.problems())
            tasks = ledger.count("tasks")
        if not problems:
            _remove_uncopied(copy)
    if problems:
        with store.ledger() as ledger:
            known = set(ledger.problems())
        new = [problem for problem in problems if problem not in known]
        if new:
            raise CorruptStoreError(str(file), f"the copy is not whole: {new[0]}")
    return tasks, problems


def _remove_uncopied(copy: Store) -> None:
    """Remove what a copy of the whole file contains, and no copy of the store should."""
    with copy.ledger(write=True) as ledger:
        for name in TABLES.keys() - set(COPIED_TABLES):
            keys = [{key: row[key] for key in TABLES[name].key} for row in ledger.rows(name)]
            ledger.remove(name, keys)


def _transfer_rows(store: Store, file: Path) -> None:
    """Copy rows from another kind of store, by the columns that both have."""
    with (
        _opened(file) as copy,
        store.ledger() as source,
        copy.ledger(write=True) as target,
    ):
        for table in COPIED_TABLES:
            rows = source.rows(table)
            target.put(table, rows)


@contextmanager
def _opened(file: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore.open(file)
    try:
        yield store
    finally:
        store.close()


# --- settings and contents --------------------------------------------------------


def _copy_settings(home: Home, folder: Path) -> None:
    for name in _COPIED_FILES:
        if (home.path / name).is_file():
            shutil.copy2(home.path / name, folder / name)
    for name in _COPIED_FOLDERS:
        if (home.path / name).is_dir():
            shutil.copytree(home.path / name, folder / name)
    _use_own_records(folder / "config.toml")


def _use_own_records(settings: Path) -> None:
    """Let the backup read the rows and contents that it holds, not those that it may replace."""
    try:
        text = read_small_text(settings)
        if not _leads_elsewhere(text):
            return
    except (FileNotFoundError, ValueError):  # the home was opened without it, or before it broke
        return
    for setting, kept in (
        (_CONTENT_SETTING, "The contents are in artifacts/"),
        (_STORE_SETTING, f"The records are in {_DATABASE}"),
    ):
        note = f"# {kept} of this backup. Where they were: "
        text = setting.sub(lambda line, note=note: note + line[0], text, count=1)  # type: ignore[misc]
    if _leads_elsewhere(text):  # written in another way; better no setting than a wrong one
        text = re.sub("^", "# ", text, flags=re.MULTILINE)
    settings.write_text(text, "utf-8")


def _leads_elsewhere(settings: str) -> bool:
    tables = tomllib.loads(settings)
    return "content" in tables or "url" in tables.get("store", {})


def _users_by_digest(database: Path) -> dict[str, str]:
    with (
        _opened(database) as store,
        store.ledger() as ledger,
    ):
        return content_users(ledger)


def content_users(ledger: Ledger) -> dict[str, str]:
    """Return the digest of every content that a row names, and one thing that uses it, in words."""
    users = {}
    for row in ledger.rows("document_versions"):
        users[row["digest"]] = f"document {row['path']} version {row['version']}"
    for row in ledger.rows("artifacts"):
        users[row["digest"]] = f"artifact {row['id']} {row['title']!r}"
    return users


@attrs.define(kw_only=True)
class _ContentCopier:
    """Copies contents into a backup, and counts."""

    source: ContentStore
    folder: Path
    link: bool
    number: int = 0
    size_bytes: int = 0
    problems: list[str] = attrs.field(factory=list)

    def copy_all(self, users: dict[str, str]) -> None:
        target = FolderContent(self.folder)
        make_folder(self.folder)
        for digest, user in users.items():
            try:
                self.size_bytes += self._copy(target, digest)
                self.number += 1
            except CorruptContentError as exc:
                self.problems.append(f"{user}: {exc.reason}")

    def _copy(self, target: FolderContent, digest: str) -> int:
        if self.link and isinstance(self.source, FolderContent):
            size_bytes = _link(self.source.folder, target.folder, digest)
            if size_bytes is not None:
                return size_bytes
        with self.source.open(digest) as stream:
            return target.put(stream)[1]


def _link(source: Path, target: Path, digest: str) -> int | None:
    """Link a content and return its size; ``None`` where there is another disk, or no links."""
    if not is_digest(digest):
        return None
    plain = f"{digest[:2]}/{digest[2:]}"
    make_folder(target / digest[:2])
    for name in (plain, f"{plain}.zst"):
        with suppress(OSError):
            os.link(source / name, target / name)
            return (target / name).stat().st_size
    return None

"""Plain files for a person to look at, made from the artifacts and never read back."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import Record
from vespera_orchestrator.artifacts.file_tree import MANIFEST_NAME, README_NAME, arrange
from vespera_orchestrator.errors import InvalidInputError, StoreError, StoreUnavailableError
from vespera_orchestrator.home.file_lock import file_lock
from vespera_orchestrator.home.files import sync_folder, translate_os_error
from vespera_orchestrator.home.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vespera_orchestrator._model import Artifact, Session
    from vespera_orchestrator.contracts import ContentStore, Store

_TEMPORARY_PREFIX: Final = ".part-"
_README: Final = """\
These files are copies of artifacts, written for reading by vespera_orchestrator
(orch.artifacts.browse() or export()). Each such call brings them up to date: what you change here
is overwritten, and nothing here is ever read back. To change an artifact, save it again under the
same title; to read one in code, call orch.artifacts.read(id).
"""
_MOST_GOAL_CHARS: Final = 50
_COPY_BYTES: Final = 1 << 20
_LOCK_WAIT_S: Final = 60


@attrs.frozen(kw_only=True)
class Exported(Record):
    """What an export wrote, and where. Can be used as a path."""

    path: Path
    """The folder."""
    written: int
    """Files that were new or had changed."""
    unchanged: int
    """Files that were up to date."""
    removed: int
    """Files of an earlier export that have no artifact any more."""
    problems: tuple[str, ...]
    """What could not be written, a sentence each."""

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        total = self.written + self.unchanged
        changes = f"{self.written} written, {self.removed} removed"
        summary = f"{self.path}: {total} artifacts, {changes}"
        problems = [f"- {problem}" for problem in self.problems]
        return "\n".join([summary, *problems])


def paths_of(store: Store, artifacts: Iterable[Artifact]) -> dict[str, Artifact]:
    """Return the artifact for each path, with folders named after sessions and tasks."""
    artifacts = list(artifacts)
    session_names = {}
    for session_id in {artifact.session_id for artifact in artifacts}:
        session = store.find_session(session_id)
        if session is not None:
            session_names[session_id] = _session_name(session)
    task_names = {}
    for task_id in {artifact.task_id for artifact in artifacts if artifact.task_id}:
        task = store.find_task(task_id, None)
        if task is not None:
            task_names[task_id] = task.alias
    return arrange(artifacts, session_names, task_names)


def _session_name(session: Session) -> str:
    day = f"{session.created_at:%Y-%m-%d}"
    goal = session.goal[:_MOST_GOAL_CHARS]
    return f"{day} {goal or session.id}"


def export(
    root: Path, artifacts: Mapping[str, Artifact], content: ContentStore, *, lock: Path | None
) -> Exported:
    """Bring *root* up to date, so that it holds these artifacts and a person's own files.

    What is up to date is left alone. If a content is damaged, only its own file is missing.

    Args:
        root: The folder.
        artifacts: The artifact for each path; see `paths_of`.
        content: Has the bytes.
        lock: The file that keeps a second export out; ``None`` where none can be written.

    Raises:
        InvalidInputError: The folder holds other things and was not made by an export.
        StoreError: It cannot be written.
    """
    is_alone = nullcontext() if lock is None else file_lock(lock, timeout_s=_LOCK_WAIT_S)
    try:
        with is_alone:
            folder = _ExportFolder(root)
            return folder.update(artifacts, content)
    except TimeoutError as exc:
        raise StoreUnavailableError(
            str(root), "another process has been exporting for a minute"
        ) from exc
    except OSError as exc:
        raise translate_os_error(exc, root) from exc


@attrs.frozen
class _Entry:
    """What the manifest knows about a file."""

    digest: str
    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, artifact: Artifact) -> _Entry:
        time_s = artifact.created_at.timestamp()
        microseconds = int(time_s * 1_000_000)
        return cls(artifact.digest, artifact.size_bytes, microseconds * 1000)

    def matches(self, path: Path) -> bool:
        """Return whether the file is still as it was written."""
        try:
            status = os.lstat(path)
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size_bytes, self.mtime_ns)


class _ExportFolder:
    """A folder of exported files, with the manifest that says which of them are ours."""

    def __init__(self, root: Path) -> None:
        self._root = root
        if root.exists() and not self._is_ours():
            raise InvalidInputError(
                "path", f"{str(root)!r} holds other things; give a new or empty folder"
            )
        root.mkdir(parents=True, exist_ok=True)
        # There is one export at a time, so these were left by a killed one.
        for temporary in root.glob(_TEMPORARY_PREFIX + "*"):
            temporary.unlink()
        self._manifest = self._read_manifest()

    def _is_ours(self) -> bool:
        if not self._root.is_dir():
            return False
        if (self._root / MANIFEST_NAME).is_file():
            return True
        return all(path.name.startswith(_TEMPORARY_PREFIX) for path in self._root.iterdir())

    def _read_manifest(self) -> dict[str, _Entry]:
        manifest = {}
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            document: Any = read_json(self._root / MANIFEST_NAME)
            for name, entry in document["files"].items():
                if not {"", ".", ".."} & set(name.split("/")):
                    manifest[name] = _Entry(*entry)
        return manifest

    def _write_manifest(self, manifest: Mapping[str, _Entry]) -> None:
        files = {}
        for name, entry in manifest.items():
            files[name] = [entry.digest, entry.size_bytes, entry.mtime_ns]
        document = {"made_by": "vespera_orchestrator", "files": files}
        text = json.dumps(document, ensure_ascii=False, indent=0)
        self._write_text(MANIFEST_NAME, text)

    def update(self, artifacts: Mapping[str, Artifact], content: ContentStore) -> Exported:
        """Write what is new or has changed, and remove what is not exported any more."""
        entries = {name: _Entry.of(artifact) for name, artifact in artifacts.items()}
        self._announce(entries)
        self._write_text(README_NAME, _README)
        written = unchanged = 0
        problems = []
        manifest: dict[str, _Entry] = {}
        for name, artifact in artifacts.items():
            entry = entries[name]
            if self._is_up_to_date(name, entry):
                unchanged += 1
                manifest[name] = entry
                continue
            try:
                self._write(name, artifact, entry, content)
            except (StoreError, InvalidInputError) as exc:
                problems.append(f"{name}: {exc}")
            else:
                written += 1
                manifest[name] = entry
        obsolete = [name for name in self._manifest if name not in manifest]
        removed = sum(self._remove(name) for name in obsolete)
        # What was forgotten must not come back with a power cut, least of all in a file that the
        # manifest does not know any more.
        self._sync_names(
            name for name, entry in self._manifest.items() if manifest.get(name) != entry
        )
        self._write_manifest(manifest)
        return Exported(
            path=self._root,
            written=written,
            unchanged=unchanged,
            removed=removed,
            problems=tuple(problems),
        )

    def _announce(self, entries: Mapping[str, _Entry]) -> None:
        """Put new files into the manifest before they are written.

        If this export is killed, the next one must know them as ours.
        """
        new_entries = {
            name: entry for name, entry in entries.items() if not os.path.lexists(self._root / name)
        }
        self._write_manifest(self._manifest | new_entries)

    def _is_up_to_date(self, name: str, entry: _Entry) -> bool:
        if self._manifest.get(name) != entry:
            return False
        return entry.matches(self._root / name)

    def _write(self, name: str, artifact: Artifact, entry: _Entry, content: ContentStore) -> None:
        path = self._root / name
        if name not in self._manifest and os.path.lexists(path):
            raise InvalidInputError("path", "something else is there; move it away, and call again")
        self._make_folders(path)
        with self._temporary_file() as temporary:
            with content.open(artifact.digest) as source, temporary.open("xb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            os.utime(temporary, ns=(entry.mtime_ns, entry.mtime_ns))
            os.replace(temporary, path)

    def _make_folders(self, path: Path) -> None:
        folder = self._root
        for part in path.relative_to(self._root).parts[:-1]:
            folder /= part
            if folder.is_symlink():
                folder.unlink()  # it is not ours, and could lead anywhere
            folder.mkdir(exist_ok=True)

    @contextmanager
    def _temporary_file(self) -> Iterator[Path]:
        temporary = self._root / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _write_text(self, name: str, text: str) -> None:
        with self._temporary_file() as temporary:
            temporary.write_text(text, "utf-8")
            os.replace(temporary, self._root / name)

    def _remove(self, name: str) -> bool:
        """Remove a file of an earlier export, unless somebody has changed it."""
        path = self._root / name
        if not self._is_within_root(name) or not self._manifest[name].matches(path):
            return False
        path.unlink()
        for folder in path.relative_to(self._root).parents[:-1]:
            with suppress(OSError):  # not empty yet
                (self._root / folder).rmdir()
        return True

    def _sync_names(self, names: Iterable[str]) -> None:
        """Put on disk that files are gone or have others in their place."""
        folders = set()
        for name in names:
            above = self._root.joinpath(name).parents
            folders.add(next(folder for folder in above if folder.is_dir()))
        for folder in folders:
            sync_folder(folder)

    def _is_within_root(self, name: str) -> bool:
        """Return whether no link leads out of the folder on the way to the file."""
        relative = Path(name).parent
        folder = self._root / relative
        expected = self._root.resolve() / relative
        return folder.resolve() == expected

"""A tree of plain files for a person to look at, made from the artifacts and never read back."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import unicodedata
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from vespera_orchestrator.artifacts.content import media_types
from vespera_orchestrator.errors import InvalidInputError, StoreError, StoreUnavailableError
from vespera_orchestrator.home.files import translate_os_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.contracts import ContentStore

_LIST = ".derived.json"
_README = "README.txt"
_PART = ".part-"
_NOTE = """\
These files are copies of artifacts, made for reading by vespera_orchestrator (orch.artifacts.browse() or export()).
They are made anew whenever that is called again: what is changed here is overwritten, and nothing here is ever read back.
To change an artifact, save it again under the same title; to read one in code, orch.artifacts.read(id).
"""
_NAME_BYTES = 80
_DEPTH = 8
"""Folders below each other, for files that were taken in by their path; deeper ones are named in one line."""
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))}
)
"""What Windows takes for devices, with any suffix."""
_LOCK_S = 60


@attrs.frozen(kw_only=True)
class Exported:
    """What was made, and where. Can be used as a path."""

    path: Path
    """The folder."""
    written: int
    """Files that were new or had changed."""
    unchanged: int
    """Files that were there already."""
    removed: int
    """Files of an earlier time that have no artifact any more."""
    problems: tuple[str, ...]
    """What could not be written, a sentence each."""

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        told = "".join(f"\n- {problem}" for problem in self.problems)
        return f"{self.path}: {self.written + self.unchanged} artifacts, {self.written} written, {self.removed} removed{told}"


# --- names ------------------------------------------------------------------------


def safe_name(text: str) -> str:
    """Return a file name that every system takes and that leads nowhere: one component, visible, at most 80 bytes."""
    text = unicodedata.normalize("NFC", text)
    text = "".join(_safe_character(character) for character in text)
    text = " ".join(text.split()).strip(". ")
    stem, suffix = os.path.splitext(text)
    if len(suffix.encode()) > _NAME_BYTES // 4:
        stem, suffix = text, ""
    room = _NAME_BYTES - len(suffix.encode())
    text = stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ") + suffix
    if not text or text[0] in "-~" or text.partition(".")[0].strip().casefold() in _RESERVED:
        text = f"_{text}"
    return text


def _safe_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return ""  # what is not seen, or turns the direction of writing
    return (
        "_"
        if character in '<>:"/\\|?*' or category in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}
        else character
    )


class _Tree:
    """Gives every file a place of its own, also where letter case does not count."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, ...], tuple[str, bool]] = {
            (_LIST,): (_LIST, False),
            (_README.casefold(),): (_README, False),
        }
        """For each folded path its spelling, and whether it is a folder."""
        self._owners: dict[tuple[str, ...], str] = {}

    def folder(self, above: tuple[str, ...], name: str, *, sole: str = "") -> tuple[str, ...]:
        """Return the folder of this name; with *sole* one that no other has, told apart by it."""
        for spelling in (
            name,
            f"{name} ({sole[-6:]})" if sole else f"{name}~",
            f"{name} ({sole})~",
        ):
            key = self._key((*above, spelling))
            known, is_folder = self._taken.setdefault(key, (spelling, True))
            if is_folder and (not sole or self._owners.setdefault(key, sole) == sole):
                return (*above, known)
        raise AssertionError(name)

    def file(self, above: tuple[str, ...], name: str, artifact_id: str) -> tuple[str, ...]:
        """Return the path of a new file."""
        stem, suffix = os.path.splitext(name)
        for spelling in (
            name,
            f"{stem} ({artifact_id[-6:]}){suffix}",
            f"{stem} ({artifact_id}){suffix}",
        ):
            key = self._key((*above, spelling))
            if key not in self._taken:
                self._taken[key] = (spelling, False)
                return (*above, spelling)
        raise AssertionError(name)

    @staticmethod
    def _key(path: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(unicodedata.normalize("NFC", part.casefold()) for part in path)


def arrange(
    artifacts: Iterable[Artifact], session_names: Mapping[str, str], task_names: Mapping[str, str]
) -> dict[str, Artifact]:
    """Return the artifact for each path, with forward slashes: session, task, title. The same records give the same paths."""
    tree = _Tree()
    places = {}
    for artifact in artifacts:
        above = tree.folder(
            (),
            safe_name(session_names.get(artifact.session_id, artifact.session_id)),
            sole=artifact.session_id,
        )
        if artifact.task_id is not None:
            above = tree.folder(
                above,
                safe_name(task_names.get(artifact.task_id, artifact.task_id)),
                sole=artifact.task_id,
            )
        *folders, name = _title_parts(artifact)
        for folder in folders:
            above = tree.folder(above, folder)
        places["/".join(tree.file(above, name, artifact.id))] = artifact
    return places


def _title_parts(artifact: Artifact) -> list[str]:
    parts = (
        [part for part in artifact.title.split("/") if part not in {"", ".", ".."}]
        if artifact.kind == "file"
        else [artifact.title]
    )
    if not 0 < len(parts) <= _DEPTH:
        parts = ["_".join(parts)]
    stem, suffix = os.path.splitext(parts[-1])
    if media_types.by_name(parts[-1]) != artifact.media_type and artifact.kind != "file":
        stem, suffix = parts[-1], media_types.suffix_of(artifact.media_type)
    version = f" v{artifact.version}" if artifact.superseded else ""
    room = _NAME_BYTES - len(suffix.encode()) - len(version)
    stem = safe_name(stem).encode()[:room].decode("utf-8", "ignore").rstrip(". ")
    return [*(safe_name(part) for part in parts[:-1]), safe_name(f"{stem}{version}{suffix}")]


# --- writing ----------------------------------------------------------------------


def export(
    root: Path, places: Mapping[str, Artifact], content: ContentStore, *, lock: Path
) -> Exported:
    """Make the folder hold exactly these artifacts, beside what a person has put there under names of their own.

    What is as it should be is left as it is. A damaged content is a problem of its own file only.

    Raises:
        InvalidInputError: The folder holds other things and was not made by this.
        StoreError: It cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        with _translating(root), FileLock(lock, timeout=_LOCK_S):
            return _Writing(root, content).run(places)
    except Timeout as exc:
        raise StoreUnavailableError(
            str(root), "another process has been exporting for a minute"
        ) from exc


class _Writing:
    def __init__(self, root: Path, content: ContentStore) -> None:
        self._root = root
        self._content = content
        self._made = self._open()
        """For each file made earlier: digest, size, and time of change in nanoseconds."""

    def _open(self) -> dict[str, list[Any]]:
        if self._root.exists() and not self._is_ours():
            raise InvalidInputError(
                "path", f"{str(self._root)!r} holds other things; give a new or empty folder"
            )
        self._root.mkdir(parents=True, exist_ok=True)
        for left in self._root.glob(
            _PART + "*"
        ):  # by one that was killed: there is only one at a time
            left.unlink()
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            made = json.loads((self._root / _LIST).read_text("utf-8"))["files"]
            return {
                str(name): list(entry)
                for name, entry in made.items()
                if not {"", ".", ".."} & set(name.split("/"))
            }
        return {}

    def _is_ours(self) -> bool:
        return self._root.is_dir() and (
            (self._root / _LIST).is_file()
            or all(path.name.startswith(_PART) for path in self._root.iterdir())
        )

    def run(self, places: Mapping[str, Artifact]) -> Exported:
        entries = {name: _entry(artifact) for name, artifact in places.items()}
        # Before they are made: whoever comes after a kill must know them for ours.
        self._note(
            self._made
            | {
                name: entry
                for name, entry in entries.items()
                if not os.path.lexists(self._root / name)
            }
        )
        self._write_text(_README, _NOTE)
        problems, written, unchanged = [], 0, 0
        now: dict[str, list[Any]] = {}
        for name, artifact in places.items():
            entry = entries[name]
            if self._made.get(name) == entry and self._is_as_made(name, entry):
                unchanged, now[name] = unchanged + 1, entry
                continue
            try:
                self._write(name, artifact, entry)
                written, now[name] = written + 1, entry
            except (StoreError, InvalidInputError) as exc:
                problems.append(f"{name}: {exc}")
        removed = sum(
            self._remove(name, entry) for name, entry in self._made.items() if name not in now
        )
        self._note(now)
        return Exported(
            path=self._root,
            written=written,
            unchanged=unchanged,
            removed=removed,
            problems=tuple(problems),
        )

    def _is_as_made(self, name: str, entry: list[Any]) -> bool:
        try:
            found = os.lstat(self._root / name)
        except OSError:
            return False
        return [found.st_size, found.st_mtime_ns] == entry[1:]

    def _write(self, name: str, artifact: Artifact, entry: list[Any]) -> None:
        place = self._root / name
        if name not in self._made and os.path.lexists(place):
            raise InvalidInputError(
                "path",
                "something else stands there; move it away, and it will be written the next time",
            )
        self._make_folders(place)
        with self._temporary() as temporary:
            with self._content.open(artifact.digest) as source, temporary.open("xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            os.utime(temporary, ns=(entry[2], entry[2]))
            os.replace(temporary, place)

    def _make_folders(self, place: Path) -> None:
        at = self._root
        for part in place.relative_to(self._root).parts[:-1]:
            at /= part
            if at.is_symlink():
                at.unlink()  # it could lead anywhere, and is none of ours
            at.mkdir(exist_ok=True)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        temporary = self._root / f"{_PART}{secrets.token_hex(8)}"
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _write_text(self, name: str, text: str) -> None:
        with self._temporary() as temporary:
            temporary.write_text(text, "utf-8")
            os.replace(temporary, self._root / name)

    def _note(self, made: Mapping[str, list[Any]]) -> None:
        self._write_text(
            _LIST,
            json.dumps(
                {"made_by": "vespera_orchestrator", "files": made}, ensure_ascii=False, indent=0
            ),
        )

    def _remove(self, name: str, entry: list[Any]) -> bool:
        place = self._root / name
        if place.parent.resolve() != self._root.resolve() / Path(
            name
        ).parent or not self._is_as_made(name, entry):
            return False  # somebody has made it their own
        place.unlink()
        for folder in place.relative_to(self._root).parents[:-1]:
            with suppress(OSError):  # not empty yet
                (self._root / folder).rmdir()
        return True


def _entry(artifact: Artifact) -> list[Any]:
    return [
        artifact.digest,
        artifact.size_bytes,
        int(artifact.created_at.timestamp() * 1_000_000) * 1000,
    ]


@contextmanager
def _translating(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise translate_os_error(exc, root) from exc

"""Packages of npm: which of their files ``package.json`` brings out, and under which name."""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vespera_orchestrator.documents.tree import ProjectTree

_ENDING: Final = re.compile(r"(?:\.d)?\.[cm]?[jt]sx?\Z")
_BUILT: Final = frozenset({"dist", "lib", "build", "out", "esm", "cjs", "es"})
"""Folders into which builds put what was made from ``src``."""
_MAIN_FIELDS: Final = ("source", "types", "typings", "module", "main")
_MOST_DEPTH: Final = 8
"""How deep conditions of exports may be nested."""


@attrs.frozen(kw_only=True)
class NodePackage:
    """A package whose ``package.json`` says what can be imported."""

    folder: str
    """Where it is; empty for the project's own folder."""
    entries: Mapping[str, str]
    """The import names, by the file without its ending."""

    def holds(self, path: str) -> bool:
        """Tell whether a file is inside of it."""
        return not self.folder or path.startswith(f"{self.folder}/")


def stem_of(path: str) -> str:
    """Return a file of JavaScript or TypeScript without its ending."""
    return _ENDING.sub("", path)


def node_packages(tree: ProjectTree) -> list[NodePackage]:
    """Return the packages of a tree, those in the deepest folders first.

    A package of which no file in the tree is brought out is not among them.
    """
    stems = {stem_of(path) for path in tree.files if _ENDING.search(path)}
    packages = [
        package
        for path in tree.files
        if stems and posixpath.basename(path) == "package.json"
        if (package := _read(tree.read(path) or "", posixpath.dirname(path), stems)) is not None
    ]
    return sorted(packages, key=lambda package: len(package.folder), reverse=True)


def _read(text: str, folder: str, stems: set[str]) -> NodePackage | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return None
    entries: dict[str, str] = {}
    for subpath, target in _targets(data):
        stem = _source_of(target, folder, stems)
        if stem is not None:
            entries.setdefault(stem, f"{data['name']}{subpath.removeprefix('.')}")
    return NodePackage(folder=folder, entries=entries) if entries else None


def _targets(data: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield what can be imported, such as ``./cups``, and the file that this gives."""
    exports = data.get("exports")
    if exports is None:
        for field in _MAIN_FIELDS:
            yield from ((".", target) for target in _files(data.get(field), _MOST_DEPTH))
    elif isinstance(exports, dict) and any(str(key).startswith(".") for key in exports):
        for subpath, target in exports.items():
            yield from ((str(subpath), file) for file in _files(target, _MOST_DEPTH))
    else:
        yield from ((".", file) for file in _files(exports, _MOST_DEPTH))


def _files(target: object, depth: int) -> Iterator[str]:
    """Yield the files of a target, under whatever conditions."""
    if isinstance(target, str) and "*" not in target:
        yield target
    elif isinstance(target, dict | list) and depth:
        for inner in target.values() if isinstance(target, dict) else target:
            yield from _files(inner, depth - 1)


def _source_of(target: str, folder: str, stems: set[str]) -> str | None:
    """Return the file in the tree that a target means, without its ending.

    Where it is built, that is the file of the same name in ``src``.
    """
    inner = posixpath.normpath(target)
    first, _, rest = inner.partition("/")
    candidates = [inner, posixpath.join(inner, "index")]
    if first in _BUILT:
        candidates += [posixpath.join("src", rest), rest]
        candidates.append(posixpath.join("src", rest.partition("/")[2]))
    for candidate in candidates:
        stem = stem_of(posixpath.normpath(posixpath.join(folder, candidate)))
        if stem in stems:
            return stem
    return None

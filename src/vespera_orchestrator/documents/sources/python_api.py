"""The public Python of the project: what can be imported, and what changed since the last version.

It is read from the project's tree as it is now. A name is public when ``__all__`` lists it, or when
it is defined without an underscore in a module without ``__all__``. Each is described once, under
the shortest name by which it can be imported.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.links import anchor_of
from vespera_orchestrator.documents.markdown import code
from vespera_orchestrator.documents.sources.python_code import (
    Definition,
    Parameter,
    PythonFile,
    read_python,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from vespera_orchestrator.documents.completed_work import CompletedWork
    from vespera_orchestrator.documents.tree import ProjectTree, VersionTag

_SUFFIXES: Final = (".py", ".pyi")
_NO_API_FOLDERS: Final = frozenset(
    {"tests", "test", "testing_data", "docs", "doc", "examples", "example", "benchmarks"}
    | {"scripts", "ci", "tools", "devtools"}
)
_NO_API_FILES: Final = frozenset(
    {"conftest.py", "setup.py", "noxfile.py", "tasks.py", "fabfile.py"}
)
_SOURCE_FOLDERS: Final = ("src", "lib", "python")
_MOST_STEPS: Final = 20
"""How many modules a name may be imported through."""
_PRESENTED: Final = 10
"""A package that brings so many names out of its modules presents its API that way."""
_BRIEF: Final = "as its package presents its API and this module has no __all__"


@attrs.frozen(kw_only=True)
class Entry:
    """A public name, as the reference shows it."""

    name: str
    """As it is imported, without the module."""
    path: str
    """With the module."""
    definition: Definition
    also: tuple[str, ...]
    """Other names by which it can be imported, as code spans."""
    change: str
    """``new`` or ``changed`` since the last version; empty when neither."""


@attrs.frozen(kw_only=True)
class Module:
    """A module, and the names that have their home in it."""

    name: str
    """Its import name."""
    title: str
    """Its import name, as a code span."""
    doc: str
    summary: str
    entries: tuple[Entry, ...]
    elsewhere: tuple[str, ...]
    """Public names of it that are described elsewhere, as code spans."""
    problem: str
    """Why nothing could be read from it; empty when it could."""
    is_brief: bool
    """Whether only its names are listed: its package presents its API elsewhere."""
    names: tuple[str, ...]
    """The names of its entries, as code spans."""
    word: str = "python"
    """What a fence of Markdown calls its language."""

    @property
    def anchor(self) -> str:
        """What links to its heading."""
        return anchor_of(self.name)


@attrs.frozen(kw_only=True)
class PythonApi:
    """The public Python of a software project."""

    modules: tuple[Module, ...]
    """By import name."""
    since: str
    """The last version, with which this is compared; empty where there is none."""
    breaking: tuple[str, ...]
    """What code that used the last version must be changed for, as Markdown."""

    @classmethod
    def collect(cls, work: CompletedWork) -> PythonApi:
        """Read the project's tree."""
        if not work.kind.has_python_api:
            return cls(modules=(), since="", breaking=())
        state = tuple(work.tree.files.items()), work.tree.tags
        api = work.reader.remember_latest("the Python API", state, lambda: cls._read(work))
        for module in api.modules:
            names = ", ".join(entry.name for entry in module.entries)
            reason = f"public: {names}"
            if module.is_brief:
                reason = f"only its names are listed, {_BRIEF}: {names}"
            work.explain("api", module.name, module.name, reason, shown=True)
        return api

    @classmethod
    def _read(cls, work: CompletedWork) -> PythonApi:
        package = _Packages.read(work, work.tree)
        tree, tag = last_version(work)
        before = None if tree is None else _Packages.read(work, tree).public()
        modules = package.modules(before)
        breaking = () if before is None else tuple(breaking_changes(before, package.public()))
        return cls(modules=modules, since="" if tag is None else tag.name, breaking=breaking)


def last_version(work: CompletedWork) -> tuple[ProjectTree | None, VersionTag | None]:
    """Return the files of the project's last version, and its tag; ``None`` where there is none."""
    tags = work.tree.tags
    tree = work.tree.at(tags[-1].commit) if tags else None
    return (None, None) if tree is None else (tree, tags[-1])


# --- files and modules ----------------------------------------------------------


def package_folders(paths: Iterable[str]) -> frozenset[str]:
    """Return the folders that have an ``__init__``."""
    return frozenset(
        str(PurePosixPath(path).parent) for path in paths if path.endswith("/__init__.py")
    )


def import_name(path: str, packages: frozenset[str]) -> str | None:
    """Return the import name of a file; ``None`` if it belongs to no public API.

    Args:
        path: The file.
        packages: See `package_folders`.
    """
    file = PurePosixPath(path)
    if not path.endswith(_SUFFIXES) or file.name in _NO_API_FILES or _is_test(file):
        return None
    top = _import_root(file, packages)
    if _NO_API_FOLDERS.intersection(file.parts[:-1][:top]):
        return None
    parts = list(file.with_suffix("").parts[top or 0 :])
    if parts[-1] == "__init__":
        parts.pop()
    if not parts or not all(part.isidentifier() for part in parts):
        return None
    return ".".join(parts)


def _import_root(file: PurePosixPath, packages: frozenset[str]) -> int | None:
    """Return how many folders above a file its import name leaves out.

    ``None`` means none, and that no package or source folder says so.
    """
    folders = file.parts[:-1]
    if file.parent.as_posix() in packages:
        top = len(folders)
        while top > 0 and "/".join(folders[:top]) in packages:
            top -= 1
        return top
    return 1 if folders and folders[0] in _SOURCE_FOLDERS else None


def _is_test(path: PurePosixPath) -> bool:
    if any(_is_test_folder(folder) for folder in path.parts[:-1]):
        return True
    return path.name.startswith("test_") or path.stem.endswith("_test")


def _is_test_folder(name: str) -> bool:
    words = name.split("_")
    return "tests" in words or words[-1] == "test"


def _is_public_module(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


class _Packages:
    """The modules of a tree, and what their names lead to."""

    def __init__(self, files: Mapping[str, PythonFile]) -> None:
        self._files = files
        self._packages = {name.rpartition(".")[0] for name in files}

    @classmethod
    def read(cls, work: CompletedWork, tree: ProjectTree) -> _Packages:
        """Read every Python file of a tree; one that was read before is not read again."""
        packages = package_folders(tree.files)
        files: dict[str, PythonFile] = {}
        for path, stamp in tree.files.items():
            name = import_name(path, packages)
            if name is not None and (name not in files or path.endswith(".py")):
                files[name] = read_module(work, tree, path, stamp, name)
        return cls(files)

    def public(self) -> dict[str, Definition]:
        """Return each public definition by the name under which it is described."""
        return {
            entry.path: entry.definition
            for module in self.modules(None)
            if not module.is_brief
            for entry in module.entries
        }

    def modules(self, before: Mapping[str, Definition] | None) -> tuple[Module, ...]:
        """Return the public modules, each name described once.

        Args:
            before: The public definitions of the last version.
        """
        names = sorted(filter(_is_public_module, self._files))
        exported = {name: dict(self._public_names(name)) for name in names}
        homes = _homes(exported)
        described = frozenset(
            origin for origin, paths in homes.items() if not self._is_brief(_module_of(paths[0]))
        )
        modules = []
        for name in names:
            own = {
                public: origin
                for public, origin in exported[name].items()
                if homes[origin][0] == f"{name}.{public}"
            }
            entries = tuple(
                self._entry(name, public, self._shown(origin, described), homes[origin], before)
                for public, origin in own.items()
            )
            elsewhere = [
                code(homes[origin][0])
                for public, origin in exported[name].items()
                if public not in own
            ]
            module = self._module(name, entries, tuple(elsewhere))
            if entries or elsewhere or module.problem:
                modules.append(module)
        return tuple(modules)

    def _module(self, name: str, entries: tuple[Entry, ...], elsewhere: tuple[str, ...]) -> Module:
        file = self._files[name]
        return Module(
            name=name,
            title=code(name),
            doc=file.doc,
            summary=file.summary,
            entries=entries,
            elsewhere=elsewhere,
            problem=file.problem,
            is_brief=self._is_brief(name),
            names=tuple(code(entry.name) for entry in entries),
        )

    @functools.cache  # noqa: B019 - as for `_surface`
    def _is_brief(self, name: str) -> bool:
        """Tell whether a module only serves those that present the API of its package."""
        top, _, rest = name.partition(".")
        file = self._files[name]
        is_facade = bool(file.reexports) or not file.definitions
        presents_itself = file.exports is not None or is_facade
        if not rest or presents_itself or top not in self._files:
            return False
        parent, _, own_name = name.rpartition(".")
        package = self._files.get(parent)
        if package is not None:
            is_brought_out = package.imports.get(own_name) == name
            if is_brought_out or own_name in (package.exports or ()):
                return False
        brought_out = [
            public for public in self._surface(top) if public not in self._files[top].definitions
        ]
        return len(brought_out) >= _PRESENTED

    @functools.cache  # noqa: B019 - it lives as long as one reading of the tree
    def _surface(self, package: str) -> tuple[str, ...]:
        return tuple(name for name, _ in self._public_names(package))

    def _entry(
        self,
        module: str,
        public: str,
        definition: Definition,
        names: list[str],
        before: Mapping[str, Definition] | None,
    ) -> Entry:
        path = f"{module}.{public}"
        also = [code(name) for name in names if name != path]
        return Entry(
            name=public,
            path=path,
            definition=definition,
            also=tuple(also),
            change=change_since(before, path, definition),
        )

    def _definition_at(self, origin: str) -> Definition:
        module, _, name = origin.rpartition(".")
        return self._files[module].definitions[name]

    def _shown(self, origin: str, described: Container[str]) -> Definition:
        """Return a definition as the reference shows it.

        What a class has from one that the reference describes nowhere, as it is private, is shown
        as its own: no reader would find it otherwise.
        """
        definition = self._definition_at(origin)
        members = {member.name: member for member in definition.members}
        for base in self._hidden_bases(origin, described, _MOST_STEPS):
            for member in self._definition_at(base).members:
                members.setdefault(member.name, member)
        return attrs.evolve(definition, members=tuple(members.values()))

    def _hidden_bases(self, origin: str, described: Container[str], steps: int) -> Iterator[str]:
        """Yield the classes that a class derives from and that are described nowhere."""
        if not steps:
            return
        for written in self._definition_at(origin).bases:
            base = self._class_named(written, _module_of(origin))
            if base is not None and base not in described:
                yield base
                yield from self._hidden_bases(base, described, steps - 1)

    def _class_named(self, written: str, module: str) -> str | None:
        """Return where a class is defined, as a module names it: ``Base[T]`` or ``models.Base``."""
        source, _, name = written.partition("[")[0].rpartition(".")
        if source:
            module = self._files[module].imports.get(source, source)
        return self._origin(module, name, _MOST_STEPS)

    # --- names ------------------------------------------------------------------

    def _public_names(self, module: str) -> Iterator[tuple[str, str]]:
        """Yield each public name of a module, and where it is defined."""
        file = self._files[module]
        exports = self._exports(module, _MOST_STEPS)
        if exports is None:
            names = [name for name in file.definitions if not name.startswith("_")]
            names += [name for name in file.imports if self._is_reexported(module, name)]
            names += self._from_wildcards(module)
        else:
            names = list(exports)
        for name in dict.fromkeys(names):
            origin = self._origin(module, name, _MOST_STEPS)
            if origin is not None:
                yield name, origin

    def _exports(self, module: str, steps: int) -> tuple[str, ...] | None:
        file = self._files.get(module)
        if file is None or file.exports is None or not steps:
            return None
        names = list(file.exports)
        for other in file.exported_from:
            names += self._exports(other, steps - 1) or ()
        return tuple(names)

    def _is_reexported(self, module: str, name: str) -> bool:
        """Tell whether an import makes a name public where there is no ``__all__``.

        That is so when it is imported as itself. Where nothing is, a package also brings out what
        it imports from its private modules, and so does a module that defines nothing of its own.
        """
        file = self._files[module]
        if name.startswith("_"):
            return False
        if file.reexports:
            # Also one that only type checkers see: so a package types what it imports on first use.
            return name in file.reexports
        if name in file.typing_imports:
            return False
        source, _, _ = file.imports[name].rpartition(".")
        presents_others = module in self._packages or not file.definitions
        return presents_others and source in self._files and not _is_public_module(source)

    def _from_wildcards(self, module: str) -> list[str]:
        """Return what a module brings out of others as a whole.

        A package does so with its public modules as well: nobody needs all of their names inside.
        """
        names = []
        for source in self._files[module].wildcards:
            is_brought_out = module in self._packages or not _is_public_module(source)
            if source in self._files and is_brought_out:
                names += [name for name, _ in self._public_names(source)]
        return names

    def _origin(self, module: str, name: str, steps: int) -> str | None:
        """Return where a name of a module is defined, such as ``pkg._impl.boil``."""
        file = self._files.get(module)
        if file is None or not steps:
            return None
        if name in file.definitions:
            return f"{module}.{name}"
        if name in file.imports:
            source, _, original = file.imports[name].rpartition(".")
            return self._origin(source, original, steps - 1)
        for source in file.wildcards:
            origin = self._origin(source, name, steps - 1)
            if origin is not None:
                return origin
        return None


def _module_of(path: str) -> str:
    return path.rpartition(".")[0]


def read_module(
    work: CompletedWork, tree: ProjectTree, path: str, stamp: str, name: str
) -> PythonFile:
    """Read a file of Python, or remember it.

    Args:
        work: Remembers it.
        tree: Where the file is.
        path: The file.
        stamp: Its state.
        name: Its import name. A file that stays has another, and other imports, once a folder above
            it is a package.
    """

    def read() -> PythonFile:
        source = tree.read(path)
        if source is None:
            return PythonFile(problem="not readable as text")
        is_package = PurePosixPath(path).stem == "__init__"
        return work.readings.recall(
            PythonFile,
            f"Python {name} {is_package}",
            source,
            lambda: read_python(source, name, is_package=is_package),
        )

    return work.reader.remember((f"{path}@{stamp}", f"python {name}"), read)


def _homes(exported: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Return for each definition the names by which it can be imported, the best first.

    The best is the one with the fewest dots; of those, the first.
    """
    names: dict[str, list[str]] = {}
    for module, public_names in exported.items():
        for name, origin in public_names.items():
            names.setdefault(origin, []).append(f"{module}.{name}")
    for paths in names.values():
        paths.sort(key=lambda path: (path.count("."), path))
    return names


# --- what changed since the last version ------------------------------------------


def change_since(before: Mapping[str, Definition] | None, path: str, definition: Definition) -> str:
    """Return ``new`` or ``changed``, or nothing, as a definition compares to the last version."""
    if before is None:
        return ""
    earlier = before.get(path)
    if earlier is None:
        return "new"
    return "changed" if _shape(earlier) != _shape(definition) else ""


def _shape(definition: Definition) -> object:
    """Return what callers depend on, so that a change of words does not count."""
    members = {member.name: _shape(member) for member in definition.members}
    return definition.signature, members


def breaking_changes(
    before: Mapping[str, Definition], now: Mapping[str, Definition]
) -> Iterator[str]:
    """Yield what code that used the last version must be changed for, as Markdown.

    Args:
        before: The public definitions of the last version, by path.
        now: Those of today.
    """
    modules = {path.rpartition(".")[0] for path in now}
    gone: dict[str, None] = {}
    for path, earlier in before.items():
        definition = now.get(path)
        module = path.rpartition(".")[0]
        if definition is None and module not in modules:
            gone[module] = None
        elif definition is None:
            yield f"{code(path)} is gone."
        else:
            yield from _broken(path, earlier, definition)
    for module in gone:
        yield f"{code(module)} is gone, with everything in it."


def _broken(path: str, earlier: Definition, now: Definition) -> Iterator[str]:
    if earlier.kind != now.kind:
        yield f"{code(path)} is a {now.kind}; it was a {earlier.kind}."
        return
    members = {member.name: member for member in now.members}
    for member in earlier.members:
        if member.name not in members:
            yield f"{code(f'{path}.{member.name}')} is gone."
        else:
            yield from _broken(f"{path}.{member.name}", member, members[member.name])
    yield from _broken_parameters(path, earlier.parameters, now.parameters)


def _broken_parameters(
    path: str, before: tuple[Parameter, ...], now: tuple[Parameter, ...]
) -> Iterator[str]:
    present = {parameter.name: parameter for parameter in now}
    earlier = {parameter.name for parameter in before}
    takes_anything = any(parameter.kind == "variadic keyword" for parameter in now)
    for parameter in before:
        if parameter.name in present:
            if present[parameter.name].is_required and not parameter.is_required:
                yield f"{code(path)}: {code(parameter.name)} is required now."
        elif not takes_anything and not parameter.kind.startswith("variadic"):
            yield f"{code(path)}: the parameter {code(parameter.name)} is gone."
    for parameter in now:
        if parameter.is_required and parameter.name not in earlier:
            yield f"{code(path)}: the new parameter {code(parameter.name)} is required."

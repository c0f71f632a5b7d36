"""The public names of files in other languages than Python, module by module.

What a module is depends on the language: a file of JavaScript or TypeScript, a header of C, a
package of Go or Java, a public module of a Rust crate.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import first_names
from vespera_orchestrator.documents.markdown import code
from vespera_orchestrator.documents.sources.languages import (
    COUNTED_ONLY,
    LANGUAGES,
    Language,
    language_of,
)
from vespera_orchestrator.documents.sources.languages.c import is_cplusplus
from vespera_orchestrator.documents.sources.languages.reader_process import (
    MOST_CPU_S,
    MOST_MEMORY_BYTES,
    ReaderProcess,
)
from vespera_orchestrator.documents.sources.languages.source_file import SourceFile
from vespera_orchestrator.documents.sources.languages.syntax import grammar_stamp
from vespera_orchestrator.documents.sources.node_packages import node_packages, stem_of
from vespera_orchestrator.documents.sources.python_api import (
    Entry,
    Module,
    breaking_changes,
    change_since,
    last_version,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vespera_orchestrator.documents.completed_work import CompletedWork
    from vespera_orchestrator.documents.sources.languages.comments import Comment
    from vespera_orchestrator.documents.sources.languages.source_file import Reexport
    from vespera_orchestrator.documents.sources.python_code import Definition
    from vespera_orchestrator.documents.tree import ProjectTree

_NO_API_FOLDERS: Final = frozenset(
    {"tests", "test", "__tests__", "__mocks__", "testdata", "e2e", "spec", "fixtures", "benches"}
    | {"docs", "doc", "examples", "example", "benchmarks", "scripts", "vendor", "third_party"}
    | {"internal", "stories", "_static"}
)
_NO_API_FILE: Final = re.compile(
    r".*(?:_test\.go|[._-](?:test|spec|stories|config|min|conf)\.[cm]?[jt]sx?|Tests?\.java)"
    r"|(?:build|main)\.rs|package-info\.java|(?:test|conftest)[_.].*"
)
_GO_MODULE: Final = re.compile(r"^module[ \t]+\"?([^\s\"]+)", re.MULTILINE)
_ECMASCRIPT: Final = frozenset({"JavaScript", "TypeScript"})
_MOST_STEPS: Final = 20
"""How many modules a name may be brought out through."""


@attrs.frozen(kw_only=True)
class OtherLanguages:
    """The public names of a software project that are not Python's."""

    other_modules: tuple[Module, ...]
    """By language and name."""
    other_breaking: tuple[str, ...]
    """What was public in the last version and is not the same any more, as Markdown."""
    languages_left_out: tuple[str, ...]
    """Languages that are not described here, with the number of their files."""
    files_left_out: tuple[str, ...] = ()
    """Paths of files that took more time or memory than a file may."""

    @classmethod
    def collect(cls, work: CompletedWork) -> OtherLanguages:
        """Read the project's tree."""
        if not work.kind.has_python_api:
            return cls(other_modules=(), other_breaking=(), languages_left_out=())
        state = tuple(work.tree.files.items()), work.tree.tags
        api = work.reader.remember_latest("other languages", state, lambda: cls._read(work))
        for module in api.other_modules:
            names = ", ".join(entry.name for entry in module.entries)
            work.explain("api", module.name, module.name, f"public: {names}", shown=True)
        left_out = {language.name for language in LANGUAGES.values() if not language.is_installed}
        missing = [each for each in api.languages_left_out if each.partition(" (")[0] in left_out]
        if missing:
            work.reader.notes.append(
                f"the API reference leaves out {', '.join(missing)}: "
                "pip install 'vespera-orchestrator[languages]' adds that"
            )
        if api.files_left_out:
            names = first_names(api.files_left_out, 5)
            work.reader.notes.append(
                f"the API reference leaves out {names}: "
                f"reading takes more than {MOST_CPU_S} s or {MOST_MEMORY_BYTES / 1e9:.1f} GB"
            )
        return api

    @classmethod
    def _read(cls, work: CompletedWork) -> OtherLanguages:
        before = None
        tree, _ = last_version(work)
        with ReaderProcess() as reader:
            code_now = _Code(work, work.tree, reader)
            if tree is not None:
                before = _public(_Code(work, tree, reader).modules(None))
        modules = tuple(code_now.modules(before))
        breaking = () if before is None else tuple(breaking_changes(before, _public(modules)))
        return cls(
            other_modules=modules,
            other_breaking=breaking,
            languages_left_out=tuple(code_now.left_out()),
            files_left_out=tuple(code_now.unreadable),
        )


def _public(modules: Iterable[Module]) -> dict[str, Definition]:
    return {entry.path: entry.definition for module in modules for entry in module.entries}


# --- files ------------------------------------------------------------------------


def is_api_file(path: str, language: str) -> bool:
    """Tell whether a file may belong to a public API, by its name and folders."""
    *folders, name = path.split("/")
    if _NO_API_FILE.fullmatch(name) is not None:
        return False
    if language == "Java" and "java" in folders:
        folders = folders[: folders.index("java")]  # what follows are the names of packages
    return not _NO_API_FOLDERS.intersection(folders)


def count_languages(paths: Iterable[str]) -> Iterator[str]:
    """Yield the languages besides Python, with the number of their files that belong to an API."""
    counts: Counter[str] = Counter()
    for path in paths:
        language = _language_name(path)
        if language and is_api_file(path, language):
            counts[language] += 1
    yield from _counted(counts)


def _language_name(path: str) -> str:
    """Return the language of a file; empty if it is none, or Python."""
    language = language_of(path)
    if language is not None:
        return language.name
    return COUNTED_ONLY.get(f".{path.rpartition('.')[2]}", "")


def _counted(counts: Counter[str]) -> Iterator[str]:
    for name, number in sorted(counts.items()):
        yield f"{name} ({number} {'file' if number == 1 else 'files'})"


@attrs.frozen(kw_only=True)
class _Draft:
    """A module, before it is known what it has in common with others."""

    name: str
    language: Language
    files: dict[str, SourceFile] = attrs.field(factory=dict)
    """By path."""


class _Code:
    """The files of a tree in other languages than Python."""

    def __init__(self, work: CompletedWork, tree: ProjectTree, reader: ReaderProcess) -> None:
        self._work = work
        self._tree = tree
        self._reader = reader
        self.unreadable: list[str] = []
        """Paths of files that took more time or memory than a file may."""
        self._drafts: dict[tuple[str, str], _Draft] = {}
        self._unread: Counter[str] = Counter()
        self._crates: dict[str, dict[str, SourceFile]] = {}
        """The modules of each Rust crate, by the folder of its root."""
        self._node_packages = node_packages(tree)
        self._inner: dict[str, SourceFile] = {}
        """Files of packages of npm that nobody can import, by their paths without ending."""
        self._go_modules = dict(self._find_go_modules())
        for path in tree.files:
            self._read(path)

    def left_out(self) -> Iterator[str]:
        """Yield the languages that are not read, with the number of their files."""
        yield from _counted(self._unread)

    def _read(self, path: str) -> None:
        language = language_of(path)
        name = _language_name(path)
        if not name or not is_api_file(path, name):
            return
        if language is None or not language.is_installed:
            self._unread[name] += 1
            return
        file = self._source_file(path, language)
        if file is None:
            self._unread["C++"] += 1
        elif not file.is_readable:
            self._unread[name] += 1
            self.unreadable.append(path)
        elif language.name == "Rust":
            self._add_to_crate(path, file)
        else:
            module = self._module_name(path, language, file)
            if module:
                draft = _Draft(name=module, language=language)
                self._drafts.setdefault((language.name, module), draft).files[path] = file

    def _source_file(self, path: str, language: Language) -> SourceFile | None:
        """Read a file, or remember it; ``None`` if it is in another language after all."""

        def read() -> SourceFile | None:
            source = self._tree.read(path) or ""
            if language.name == "C" and is_cplusplus(source):
                return None
            label = f"{language.grammar} {grammar_stamp(language.grammar)}"
            ending = path[path.rindex(".") :]
            try:
                return self._work.readings.recall(
                    SourceFile, label, source, lambda: self._reader.read(ending, source)
                )
            except OSError:  # no process can be started now; the next process tries again
                return SourceFile(is_readable=False)

        key = (f"{path}@{self._tree.files[path]}", f"public names in {language.grammar}")
        return self._work.reader.remember(key, read)

    def _module_name(self, path: str, language: Language, file: SourceFile) -> str:
        """Return the module that a file belongs to; empty if it is none that can be imported."""
        if language.name in _ECMASCRIPT:
            stem = stem_of(path)
            is_declared_twice = path.endswith(".d.ts") and f"{stem}.ts" in self._tree.files
            return "" if is_declared_twice else self._node_name(stem, file)
        if language.name == "Go":
            return "" if file.package == "main" else self._go_path(posixpath.dirname(path), file)
        if language.name == "Java":
            return file.package or "(no package)"
        return path

    # --- JavaScript ---------------------------------------------------------------

    def _node_name(self, stem: str, file: SourceFile) -> str:
        """Return the name by which a file is imported; empty if its package keeps it inside."""
        for package in self._node_packages:
            if package.holds(stem):
                name = package.entries.get(stem, "")
                if not name:
                    self._inner[stem] = file
                return name
        return stem

    def _from_inside(
        self, stem: str, reexport: Reexport, steps: int
    ) -> Iterator[tuple[str, Definition]]:
        """Yield what a file brings out of one that its package keeps inside, by its new name."""
        if not steps or not reexport.source.startswith(".") or reexport.public_name == "default":
            return
        target = posixpath.normpath(posixpath.join(posixpath.dirname(stem), reexport.source))
        inner = stem_of(target)
        if inner not in self._inner:
            inner = posixpath.join(target, "index")
        file = self._inner.get(inner)
        if file is None or (reexport.name == "*" and reexport.public_name != "*"):
            return
        is_all = reexport.name == "*"
        for definition in file.definitions:
            if is_all or definition.name == reexport.name:
                yield (definition.name if is_all else reexport.public_name), definition
        for other in file.reexports:
            for name, definition in self._from_inside(inner, other, steps - 1):
                if is_all or name == reexport.name:
                    yield (name if is_all else reexport.public_name), definition

    # --- Go -----------------------------------------------------------------------

    def _find_go_modules(self) -> Iterator[tuple[str, str]]:
        for path in self._tree.files:
            if posixpath.basename(path) == "go.mod":
                match = _GO_MODULE.search(self._tree.read(path) or "")
                if match is not None:
                    yield posixpath.dirname(path), match[1]

    def _go_path(self, folder: str, file: SourceFile) -> str:
        """Return the import path of a package."""
        root = folder
        while root not in self._go_modules:
            if not root:
                return folder or file.package
            root = posixpath.dirname(root)
        inner = folder.removeprefix(root).strip("/")
        return posixpath.join(self._go_modules[root], inner).rstrip("/")

    # --- Rust ---------------------------------------------------------------------

    def _add_to_crate(self, path: str, file: SourceFile) -> None:
        root = posixpath.dirname(path)
        while f"{root}/lib.rs".lstrip("/") not in self._tree.files:
            if not root:
                return
            root = posixpath.dirname(root)
        inner = path.removeprefix(root).strip("/").removesuffix(".rs")
        parts = [part for part in inner.split("/") if part not in ("lib", "mod")]
        self._crates.setdefault(root, {})["::".join(parts)] = file

    def _crate_name(self, root: str) -> str:
        folder = posixpath.dirname(root)
        text = self._tree.read(posixpath.join(folder, "Cargo.toml")) or ""
        try:
            name = tomllib.loads(text)["package"]["name"]
        except (ValueError, KeyError, TypeError):
            name = posixpath.basename(folder) or "crate"
        return str(name).replace("-", "_")

    # --- modules ------------------------------------------------------------------

    def modules(self, before: Mapping[str, Definition] | None) -> Iterator[Module]:
        """Yield the modules that have public names, by language and name.

        Args:
            before: The public definitions of the last version.
        """
        by_language: dict[tuple[str, str], Module] = {}
        for key, draft in self._drafts.items():
            by_language[key] = self._module(draft, before)
        for root, files in self._crates.items():
            crate = _Crate(self._crate_name(root), files)
            for module in crate.modules(before):
                by_language["Rust", module.name] = module
        for _, module in sorted(by_language.items()):
            if module.entries or module.elsewhere:
                yield module

    def _module(self, draft: _Draft, before: Mapping[str, Definition] | None) -> Module:
        files = draft.files.values()
        definitions: dict[str, Definition] = {}
        for file in files:
            for definition in file.definitions:
                definitions.setdefault(definition.name, definition)
        elsewhere: list[str] = []
        for path, file in draft.files.items():
            for reexport in file.reexports:
                brought_out = list(self._from_inside(path, reexport, _MOST_STEPS))
                for name, definition in brought_out:
                    definitions.setdefault(name, _renamed(definition, name))
                if not brought_out:
                    elsewhere.append(_named_elsewhere(path, reexport))
        with_methods = (_with_methods(each, files) for each in definitions.values())
        return make_module(
            draft.name,
            draft.language,
            (file.comment for file in files),
            with_methods,
            elsewhere=elsewhere,
            before=before,
        )


def _named_elsewhere(path: str, reexport: Reexport) -> str:
    """Say what a file of JavaScript brings out of another one, as Markdown."""
    if reexport.name != "*" or reexport.public_name != "*":
        return code(reexport.public_name)
    source = reexport.source
    if source.startswith("."):
        source = posixpath.normpath(posixpath.join(posixpath.dirname(path), source))
    return f"everything in {code(stem_of(source))}"


def _with_methods(definition: Definition, files: Iterable[SourceFile]) -> Definition:
    """Return a type with the methods that stand beside it, in whatever file."""
    methods = [method for file in files for method in file.methods.get(definition.name, ())]
    if definition.kind != "class" or not methods:
        return definition
    return attrs.evolve(definition, members=(*definition.members, *methods))


def _renamed(definition: Definition, public: str) -> Definition:
    if definition.name == public:
        return definition
    own = rf"\b{re.escape(definition.name)}\b"
    signature = re.sub(own, public, definition.signature, count=1)
    return attrs.evolve(definition, name=public, signature=signature)


def make_module(
    name: str,
    language: Language,
    comments: Iterable[Comment],
    definitions: Iterable[Definition],
    *,
    elsewhere: Iterable[str],
    before: Mapping[str, Definition] | None,
) -> Module:
    """Return a module with these definitions, as the reference shows it."""
    said = [comment for comment in comments if comment.doc]
    entries = tuple(
        Entry(
            name=definition.name,
            path=f"{name}.{definition.name}",
            definition=definition,
            also=(),
            change=change_since(before, f"{name}.{definition.name}", definition),
        )
        for definition in definitions
    )
    return Module(
        name=name,
        title=code(name),
        doc="\n\n".join(comment.doc for comment in said),
        summary=said[0].summary if said else "",
        entries=entries,
        elsewhere=tuple(dict.fromkeys(elsewhere)),
        problem="",
        is_brief=False,
        names=tuple(code(entry.name) for entry in entries),
        word=language.word,
    )


class _Crate:
    """A Rust crate: which of its modules are public, and what they bring out of others.

    Args:
        name: As it is used in other crates.
        files: Its modules, by their path within it; the root is the empty one.
    """

    def __init__(self, name: str, files: Mapping[str, SourceFile]) -> None:
        self._name = name
        self._files = files

    def modules(self, before: Mapping[str, Definition] | None) -> Iterator[Module]:
        """Yield the public modules."""
        for path in sorted(filter(self._is_public, self._files)):
            file = self._files[path]
            name = "::".join(filter(None, (self._name, path)))
            definitions = {each.name: each for each in file.definitions}
            elsewhere: list[str] = []
            for reexport in file.reexports:
                self._bring_out(path, reexport, definitions, elsewhere)
            with_methods = (
                _with_methods(each, self._files.values()) for each in definitions.values()
            )
            yield make_module(
                name,
                LANGUAGES[".rs"],
                [file.comment],
                with_methods,
                elsewhere=elsewhere,
                before=before,
            )

    def _is_public(self, path: str) -> bool:
        while path:
            parent, _, name = path.rpartition("::")
            file = self._files.get(parent)
            if file is None or not file.submodules.get(name, False):
                return False
            path = parent
        return True

    def _bring_out(
        self,
        path: str,
        reexport: Reexport,
        definitions: dict[str, Definition],
        elsewhere: list[str],
    ) -> None:
        """Put what a module brings out of another one to its definitions.

        What has a public home already is only named.
        """
        for home, public, definition in self._resolve(path, reexport, _MOST_STEPS):
            if self._is_public(home) and home != path:
                full = "::".join(filter(None, (self._name, home, definition.name)))
                elsewhere.append(code(full))
            else:
                definitions.setdefault(public, _renamed(definition, public))

    def _resolve(
        self, path: str, reexport: Reexport, steps: int
    ) -> Iterator[tuple[str, str, Definition]]:
        """Yield where a reexported name is defined, how it is called here, and what it is."""
        source = self._absolute(path, reexport.source)
        file = self._files.get(source)
        if file is None or not steps:
            return
        for definition in file.definitions:
            if reexport.name == "*":
                yield source, definition.name, definition
            elif definition.name == reexport.name:
                yield source, reexport.public_name, definition
        for other in file.reexports:
            if reexport.name in ("*", other.public_name) or other.name == "*":
                for home, public, definition in self._resolve(source, other, steps - 1):
                    if reexport.name == "*":
                        yield home, public, definition
                    elif public == reexport.name:
                        yield home, reexport.public_name, definition

    def _absolute(self, path: str, source: str) -> str:
        """Return the path of a module within the crate, as it is written in another one."""
        first, *rest = source.split("::")
        base = path
        if first == "crate":
            base = ""
        elif first == "super":
            base = path.rpartition("::")[0]
        elif first != "self":
            rest = [first, *rest]
        return "::".join(filter(None, (base, *rest)))

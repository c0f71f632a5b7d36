"""Public functions and classes, read from the Python that artifacts hold."""

from __future__ import annotations

import ast
import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator.documents.completed_work import (
    ArtifactRef,
    is_prose,
    is_python,
    mentions,
)
from vespera_orchestrator.documents.markdown import code, fenced_code, inline

if TYPE_CHECKING:
    from collections.abc import Callable

    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.documents.completed_work import CompletedWork

    Function = ast.FunctionDef | ast.AsyncFunctionDef

_CODE_STEMS = ("api", "code")
"""An artifact whose kind has a word like these is read for its code fences."""
_PYTHON_FENCES = frozenset({"python", "py"})
_SHOWN_DECORATORS = ("property", "cached_property", "classmethod", "staticmethod")
_SHOWN_SPECIAL_METHODS = ("__init__", "__call__")


@attrs.frozen(kw_only=True)
class Definition:
    """A public function or class."""

    signature: str
    """As a code span."""
    doc: str
    """The first line of its docstring; may be empty."""
    members: tuple[Definition, ...] = ()


@attrs.frozen(kw_only=True)
class PythonSource:
    """What can be read from Python without running it."""

    doc: str = ""
    """The first line of the module's docstring."""
    definitions: tuple[Definition, ...] = ()
    """In the order they stand."""
    problem: str = ""
    """Why nothing could be read from it; empty when it could."""


@attrs.frozen(kw_only=True)
class Module:
    """Python in an artifact."""

    title: str
    doc: str
    definitions: tuple[Definition, ...]
    problem: str
    """Why nothing could be read from it; empty when it could."""
    source: ArtifactRef


@attrs.frozen(kw_only=True)
class PythonApi:
    """The public Python of a software project."""

    modules: tuple[Module, ...]
    """By title; of artifacts with the same title the latest."""

    @classmethod
    def collect(cls, work: CompletedWork) -> PythonApi:
        """Read Python files, and Python fences in artifacts that are about code."""
        if not work.kind.has_python_api:
            return cls(modules=())
        modules: dict[str, Module] = {}
        for artifact in work.current_artifacts:
            module = _module_of(work, artifact)
            if module is not None:
                modules[artifact.title] = module
        return cls(modules=tuple(modules[title] for title in sorted(modules)))


def _module_of(work: CompletedWork, artifact: Artifact) -> Module | None:
    """Return what an artifact has of the public API; ``None`` if that is nothing."""
    if is_python(artifact):
        if not _is_public_module(artifact.title):
            return None
        return _module(work, artifact, "python", read_python)
    if not is_prose(artifact) or not mentions((artifact.kind,), _CODE_STEMS):
        return None
    module = _module(work, artifact, "fences", _read_fences)
    return module if module.definitions or module.problem else None


def _module(
    work: CompletedWork, artifact: Artifact, analysis: str, read: Callable[[str], PythonSource]
) -> Module:
    python = work.reader.analyse(artifact, analysis, read)
    return Module(
        title=code(artifact.title),
        doc=python.doc,
        definitions=python.definitions,
        problem=python.problem,
        source=work.ref(artifact),
    )


def _is_public_module(title: str) -> bool:
    path = PurePosixPath(title.replace("\\", "/"))
    if path.name == "conftest.py" or "tests" in path.parts:
        return False
    if path.name.startswith("test_") or path.stem.endswith("_test"):
        return False
    return not path.name.startswith("_") or path.stem == "__init__"


# --- reading Python ---------------------------------------------------------


def _read_fences(text: str) -> PythonSource:
    fences = fenced_code(text, _PYTHON_FENCES)
    return read_python("\n".join(fences))


def read_python(source: str) -> PythonSource:
    """Read public functions and classes from Python, without running it."""
    try:
        with warnings.catch_warnings():
            # An invalid escape in somebody's string does not concern us.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        definitions = _definitions(tree.body, _exported_names(tree))
        return PythonSource(doc=_first_doc_line(tree), definitions=tuple(definitions))
    except SyntaxError as exc:
        return PythonSource(problem=f"not readable as Python, line {exc.lineno or 0}")
    except (ValueError, RecursionError, MemoryError):
        return PythonSource(problem="not readable as Python")


def _exported_names(tree: ast.Module) -> frozenset[str] | None:
    """Return what ``__all__`` lists; ``None`` where there is none, or it is computed."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and _assigns_all(node):
            try:
                names = ast.literal_eval(node.value)
                return frozenset(str(name) for name in names)
            except (ValueError, TypeError):
                return None
    return None


def _assigns_all(node: ast.Assign) -> bool:
    names = [target.id for target in node.targets if isinstance(target, ast.Name)]
    return "__all__" in names


def _definitions(body: list[ast.stmt], exported: frozenset[str] | None) -> list[Definition]:
    definitions = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if _is_public(node.name, exported):
                definitions.append(_function_definition(node))
        elif isinstance(node, ast.ClassDef) and _is_public(node.name, exported):
            definitions.append(_class_definition(node))
    return definitions


def _is_public(name: str, exported: frozenset[str] | None) -> bool:
    if exported is not None:
        return name in exported
    return not name.startswith("_")


def _function_definition(node: Function) -> Definition:
    signature = _function_signature(node)
    return Definition(signature=code(signature), doc=_first_doc_line(node))


def _class_definition(node: ast.ClassDef) -> Definition:
    members = []
    for member in node.body:
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and _is_member(member.name):
            signature = code(_decorator(member) + _function_signature(member))
            members.append(Definition(signature=signature, doc=_first_doc_line(member)))
    return Definition(
        signature=code(_class_signature(node)),
        doc=_first_doc_line(node),
        members=tuple(members),
    )


def _is_member(name: str) -> bool:
    if name in _SHOWN_SPECIAL_METHODS:
        return True
    return not name.startswith("_")


def _decorator(node: Function) -> str:
    """Return the decorator that changes how a method is called, with a space behind it."""
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    for name in _SHOWN_DECORATORS:
        if name in decorators:
            return f"@{name} "
    return ""


def _function_signature(node: Function) -> str:
    keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    name = f"{node.name}{_type_parameters(node)}"
    parameters = ast.unparse(node.args)
    signature = f"{keyword} {name}({parameters})"
    if node.returns is None:
        return signature
    return f"{signature} -> {ast.unparse(node.returns)}"


def _class_signature(node: ast.ClassDef) -> str:
    name = f"class {node.name}{_type_parameters(node)}"
    arguments = [*node.bases, *node.keywords]
    if not arguments:
        return name
    bases = ", ".join(map(ast.unparse, arguments))
    return f"{name}({bases})"


def _type_parameters(node: ast.stmt) -> str:
    # Python before 3.12 has none.
    parameters = getattr(node, "type_params", ())
    if not parameters:
        return ""
    names = ", ".join(map(ast.unparse, parameters))
    return f"[{names}]"


def _first_doc_line(node: ast.Module | ast.ClassDef | Function) -> str:
    doc = ast.get_docstring(node) or ""
    first_line, _, _ = doc.strip().partition("\n")
    return inline(first_line)

"""What the documents tell, drawn from the store: completed tasks, their artifacts, and what stands in those.

No language model is asked: the same store gives the same material, in the same order. Every text in the records below is already safe
Markdown (see `markdown`), so that a template can put it anywhere.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar, cast

import attrs

from vespera_orchestrator._model import ArtifactQuery, TaskQuery, TaskStatus
from vespera_orchestrator.documents.markdown import code, fences, inline, parts, plain, quote
from vespera_orchestrator.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from vespera_orchestrator._model import Artifact, Session, Task
    from vespera_orchestrator.contracts import ContentStore, Store

    T = TypeVar("T")

LOG_ENTRIES = 200
"""Most tasks that a document tells of; older ones are counted. Each change keeps the whole text as a version: it must not grow for ever."""
EXCERPTS = 200
"""Most excerpts for a topic, the latest; older ones are counted."""
READ_BYTES = 1_000_000
"""Artifacts larger than this are listed, not read."""
_OUTPUTS = 6
_OUTPUT_CHARACTERS = 60

# --- the types of projects ----------------------------------------------------


@attrs.frozen(kw_only=True)
class ProjectType:
    """Which documents a type of project has, and what goes into them."""

    name: str
    documents: tuple[str, ...]
    """File names under ``docs/``; the template of ``x.md`` is ``x.md.j2``."""
    record: str
    """The document that tells of every completed task; mentions of tasks link there."""
    log: str
    """The section of it that does."""
    topics: Mapping[str, tuple[str, ...]]
    """What is looked for: an artifact belongs to a topic when a word of its kind or tags begins like this, a headed part when its heading
    does."""


PROJECT_TYPES = {
    kind.name: kind
    for kind in (
        ProjectType(
            name="software_development",
            documents=("api_reference.md", "changelog.md", "architecture.md"),
            record="changelog.md",
            log="changelog",
            topics={"design": ("architectur", "design", "decision")},
        ),
        ProjectType(
            name="research_project",
            documents=("literature_review.md", "methodology.md", "findings.md"),
            record="methodology.md",
            log="research_log",
            topics={
                "literature": ("literature", "source", "reference", "bibliograph"),
                "methodology": ("method", "protocol", "procedure"),
                "findings": ("finding", "result", "conclusion", "synthesis"),
            },
        ),
        ProjectType(
            name="creative_writing",
            documents=("world_building.md", "character_sheets.md", "plot_outline.md"),
            record="plot_outline.md",
            log="writing_log",
            topics={
                "world": ("world", "setting", "location"),
                "characters": ("character",),
                "plot": ("plot", "outline", "synopsis"),
            },
        ),
    )
}

# --- what a template is given -------------------------------------------------


@attrs.frozen(kw_only=True)
class Source:
    """An artifact, as a document names it."""

    id: str
    title: str
    date: str
    """The day it was saved, UTC."""
    task: str
    """The task it belongs to, as a link to the log where there is one; empty for an artifact without a task."""

    @property
    def credit(self) -> str:
        """Where something comes from, in one phrase."""
        return (
            f"artifact `{self.id}`"
            + (f", task {self.task}" if self.task else "")
            + f", {self.date}"
        )


@attrs.frozen
class Folder:
    """Files that were delivered together."""

    name: str
    files: tuple[Source, ...]


@attrs.frozen(kw_only=True)
class Entry:
    """A completed task."""

    id: str
    alias: str
    """As a code span."""
    link: str
    """The alias, as a link to the log where there is one."""
    title: str
    summary: str
    date: str
    """The day it was completed, UTC."""
    repairs: str
    """For a recovery task: the task it repaired."""
    outputs: tuple[tuple[str, str], ...]
    """Names and values, where they are small."""
    artifacts: tuple[Source, ...]
    folders: tuple[Folder, ...]
    """The files among the artifacts, by folder."""


@attrs.frozen(kw_only=True)
class Excerpt:
    """A part of an artifact, or the whole of a short one."""

    title: str
    text: str
    """A block quotation."""
    source: Source


@attrs.frozen(kw_only=True)
class Definition:
    """A public function or class."""

    signature: str
    """As a code span."""
    doc: str
    """The first line of its docstring; may be empty."""
    members: tuple[Definition, ...] = ()


@attrs.frozen(kw_only=True)
class Module:
    """Python that an artifact holds."""

    title: str
    doc: str
    definitions: tuple[Definition, ...]
    problem: str
    """Why nothing could be read from it; empty when it could."""
    source: Source


@attrs.frozen
class Citation:
    """A link, DOI or other reference found in artifacts."""

    text: str
    sources: tuple[Source, ...]


@attrs.frozen(kw_only=True)
class Material:
    """Everything that the templates of one project type are given, under these names."""

    entries: tuple[Entry, ...]
    """Completed tasks, the latest first."""
    older: int
    """How many completed tasks are older than those."""
    modules: tuple[Module, ...]
    excerpts: Mapping[str, tuple[Excerpt, ...]]
    """By topic, in the order the work was done."""
    earlier: Mapping[str, int]
    """By topic, how many excerpts are earlier than those."""
    citations: tuple[Citation, ...]
    see_also: tuple[tuple[str, str], ...]
    """Title and file of each document of the type."""
    notes: tuple[str, ...] = ()
    """What could not be taken into account, and why; not for templates."""


# --- reading artifacts ----------------------------------------------------------


class Reader:
    """Reads artifacts and remembers what it found, by digest: the same bytes are analysed once.

    Args:
        content: Where the bytes are.
        found: What was found before; one mapping may serve many readers, and threads.
    """

    def __init__(self, content: ContentStore, found: dict[tuple[str, str], object]) -> None:
        self._content = content
        self._found = found
        self.notes: list[str] = []
        """Artifacts that could not be read."""

    def text(self, artifact: Artifact) -> str:
        """Return the text of an artifact; empty when it is none, too large, or cannot be read."""
        if artifact.size_bytes > READ_BYTES:
            self.notes.append(
                f"artifact {artifact.id} is larger than {READ_BYTES:,} bytes: it is listed, but was not read for its content"
            )
            return ""
        try:
            return self._content.read(artifact.digest).decode("utf-8-sig")
        except UnicodeDecodeError:
            return ""
        except StoreError as exc:
            self.notes.append(f"artifact {artifact.id} is listed without its content: {exc}")
            return ""

    def once(self, artifact: Artifact, what: str, make: Callable[[str], T]) -> T:
        """Return ``make(text of the artifact)``, worked out once for each digest and *what*."""
        key = (artifact.digest, what)
        if key not in self._found:
            before = len(self.notes)
            made = make(self.text(artifact))
            if len(self.notes) > before:  # what could not be read now may be readable next time
                return made
            self._found[key] = made
        return cast("T", self._found[key])


def _is_prose(artifact: Artifact) -> bool:
    return artifact.media_type.partition(";")[0] in (
        "text/markdown",
        "text/plain",
    ) and not _is_python(artifact)


def _is_python(artifact: Artifact) -> bool:
    return artifact.media_type in (
        "text/x-python",
        "text/x-script.python",
    ) or artifact.title.endswith((".py", ".pyi"))


def _says(texts: Iterable[str], stems: tuple[str, ...]) -> bool:
    return any(
        word.startswith(stems) for text in texts for word in re.findall(r"[^\W_]+", text.lower())
    )


# --- gathering --------------------------------------------------------------


def project_type(session: Session, store: Store) -> ProjectType | None:
    """Return the type of the session's project: its own, or that of the nearest session above it that has one."""
    seen = set()
    above: Session | None = session
    while above is not None and above.project_type is None and above.id not in seen:
        seen.add(above.id)
        above = store.find_session(above.parent_session_id) if above.parent_session_id else None
    return PROJECT_TYPES.get(above.project_type or "") if above is not None else None


def gather(store: Store, kind: ProjectType, reader: Reader, *, linked: bool) -> Material:
    """Collect the material for the documents of *kind* from all sessions of that type.

    All of them, not only the current one: a document outlives the session in which it was begun.

    Args:
        store: Where the work is.
        kind: The type.
        reader: Reads artifacts.
        linked: Whether the document with the log is ours, so that mentions of a task can link there.
    """
    sessions = sorted(
        (s for s in store.sessions(limit=None) if project_type(s, store) is kind),
        key=lambda s: (s.created_at, s.id),
    )
    tasks: list[Task] = []
    saved: list[Artifact] = []
    for session in sessions:
        query = TaskQuery(
            session_id=session.id, status=(TaskStatus.COMPLETED,), include_archived=True, limit=None
        )
        completed = store.tasks(query)
        ids = {task.id for task in completed}
        tasks += completed
        saved += [
            a
            for a in store.artifacts(ArtifactQuery(session_id=session.id))
            if not a.partial and (a.task_id is None or a.task_id in ids)
        ]
    tasks.sort(key=lambda task: task.ended_at or task.updated_at)
    saved.sort(key=lambda artifact: artifact.created_at)
    return _Gathering(kind, reader, tasks, saved, linked=linked).material()


class _Gathering:
    """One pass over the completed work, the oldest first."""

    def __init__(
        self,
        kind: ProjectType,
        reader: Reader,
        tasks: Sequence[Task],
        saved: Sequence[Artifact],
        *,
        linked: bool,
    ) -> None:
        self.kind = kind
        self.reader = reader
        self.tasks = tasks
        self.saved = saved
        latest = {artifact.title: artifact.id for artifact in saved if artifact.kind == "file"}
        self.read = [
            artifact
            for artifact in saved
            if artifact.kind != "file" or latest[artifact.title] == artifact.id
        ]
        told = {task.id for task in tasks[-LOG_ENTRIES:]} if linked else set()
        self.links = {task.id: self._link(task, linked=task.id in told) for task in tasks}
        self.sources = {artifact.id: self._source(artifact) for artifact in saved}

    def material(self) -> Material:
        software = self.kind.name == "software_development"
        latest = self._by_task()[-LOG_ENTRIES:]
        excerpts = {
            topic: self._excerpts(topic, stems) for topic, stems in self.kind.topics.items()
        }
        return Material(
            entries=tuple(self._entry(task, artifacts) for task, artifacts in reversed(latest)),
            older=len(self.tasks) - len(latest),
            modules=self._modules() if software else (),
            excerpts={topic: found[-EXCERPTS:] for topic, found in excerpts.items()},
            earlier={topic: max(0, len(found) - EXCERPTS) for topic, found in excerpts.items()},
            citations=self._citations(self.kind.topics["literature"])
            if "literature" in self.kind.topics
            else (),
            see_also=tuple((title_of(name), name) for name in self.kind.documents),
            notes=tuple(dict.fromkeys(self.reader.notes)),
        )

    def _link(self, task: Task, *, linked: bool) -> str:
        return f"[{code(task.alias)}]({self.kind.record}#{task.id})" if linked else code(task.alias)

    def _source(self, artifact: Artifact) -> Source:
        title = inline(artifact.title) or "(untitled)"
        return Source(
            id=artifact.id,
            title=title,
            date=f"{artifact.created_at:%Y-%m-%d}",
            task=self.links.get(artifact.task_id or "", ""),
        )

    def _by_task(self) -> list[tuple[Task, list[Artifact]]]:
        grouped: dict[str, list[Artifact]] = {task.id: [] for task in self.tasks}
        for artifact in self.saved:
            if artifact.task_id is not None:
                grouped[artifact.task_id].append(artifact)
        return [(task, grouped[task.id]) for task in self.tasks]

    def _entry(self, task: Task, artifacts: list[Artifact]) -> Entry:
        return Entry(
            id=task.id,
            alias=code(task.alias),
            link=self.links[task.id],
            title=inline(task.title) or "(untitled)",
            summary=inline(task.summary or "", limit=500),
            date=f"{task.ended_at or task.updated_at:%Y-%m-%d}",
            repairs=self.links.get(task.recovers_task_id or "", ""),
            outputs=_small(task.outputs),
            artifacts=tuple(self.sources[artifact.id] for artifact in artifacts),
            folders=self._folders([artifact for artifact in artifacts if artifact.kind == "file"]),
        )

    def _folders(self, files: list[Artifact]) -> tuple[Folder, ...]:
        by_folder: dict[str, list[Source]] = {}
        for artifact in sorted(files, key=lambda a: a.title):
            path = PurePosixPath(artifact.title.replace("\\", "/"))
            shown = attrs.evolve(self.sources[artifact.id], title=code(path.name))
            by_folder.setdefault(str(path.parent), []).append(shown)
        return tuple(
            Folder(code(name if name != "." else "./"), tuple(inside))
            for name, inside in by_folder.items()
        )

    # what stands in the artifacts

    def _excerpts(self, topic: str, stems: tuple[str, ...]) -> tuple[Excerpt, ...]:
        found: list[Excerpt] = []
        for artifact in self.read:
            if not _is_prose(artifact):
                continue
            source = self.sources[artifact.id]
            if _says((artifact.kind, *artifact.tags), stems):
                text = self.reader.once(artifact, "whole", quote)
                found.append(Excerpt(title=source.title, text=text, source=source))
            else:
                headed = self.reader.once(artifact, topic, functools.partial(_headed, stems=stems))
                found += [Excerpt(title=title, text=text, source=source) for title, text in headed]
        return tuple(excerpt for excerpt in found if excerpt.text)

    def _modules(self) -> tuple[Module, ...]:
        found: dict[str, Module] = {}
        for artifact in self.read:  # the latest of a name wins: they are sorted by time
            if _is_python(artifact):
                if _is_public(artifact.title):
                    found[artifact.title] = self._module(artifact, "python", lambda text: text)
            elif _is_prose(artifact) and _says((artifact.kind,), ("api", "code")):
                module = self._module(
                    artifact,
                    "fences",
                    lambda text: "\n".join(fences(text, frozenset({"python", "py"}))),
                )
                if module.definitions or module.problem:
                    found[artifact.title] = module
        return tuple(found[title] for title in sorted(found))

    def _module(self, artifact: Artifact, what: str, python_of: Callable[[str], str]) -> Module:
        doc, definitions, problem = self.reader.once(
            artifact, what, lambda text: read_python(python_of(text))
        )
        return Module(
            title=code(artifact.title),
            doc=doc,
            definitions=definitions,
            problem=problem,
            source=self.sources[artifact.id],
        )

    def _citations(self, stems: tuple[str, ...]) -> tuple[Citation, ...]:
        cited: dict[str, list[Source]] = {}
        for artifact in self.read:
            if _is_prose(artifact):
                where = "all" if _says((artifact.kind, *artifact.tags), stems) else "headed"
                find = functools.partial(_cited, stems=stems, where=where)
                for reference in self.reader.once(artifact, f"citations {where}", find):
                    cited.setdefault(reference, []).append(self.sources[artifact.id])
        return tuple(
            Citation(reference, tuple(cited[reference]))
            for reference in sorted(cited, key=str.casefold)
        )


def title_of(document: str) -> str:
    """Return the title of a document: ``api_reference.md`` is "API reference"."""
    words = document.removesuffix(".md").replace("_", " ")
    return f"API{words[3:]}" if words.startswith("api ") else words.capitalize()


def _small(outputs: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    shown = []
    for name in sorted(outputs):
        value = json.dumps(outputs[name], ensure_ascii=False, sort_keys=True, default=str)
        if len(value) <= _OUTPUT_CHARACTERS:
            shown.append((code(name, limit=_OUTPUT_CHARACTERS), code(value)))
    return tuple(shown[:_OUTPUTS])


def _headed(text: str, stems: tuple[str, ...]) -> list[tuple[str, str]]:
    found, reached = [], -1
    for part in parts(text):
        if part.start >= reached and part.text and _says((part.title,), stems):
            found.append((inline(part.title) or "(untitled)", quote(part.text)))
            reached = part.end
    return found


_CITED = re.compile(
    r"(?P<doi>\b10\.\d{4,9}/[^\s\"'<>`\[\]{}|\\]+)"
    r"|(?P<url>\bhttps?://[^\s\"'<>`\[\]{}|\\^]+)"
    r"|(?P<arxiv>\barXiv:\d{4}\.\d{4,5}(?:v\d{1,3})?)"
    r"|\((?P<author>[A-Z][\w'-]{1,40}(?: et al\.?| (?:and|&) [A-Z][\w'-]{1,40})?,? \d{4}[a-z]?)\)"
)


def _cited(text: str, stems: tuple[str, ...], where: str) -> list[str]:
    text = plain(text)
    if where == "headed":
        text = "\n".join(part.text for part in parts(text) if _says((part.title,), stems))
    return list(dict.fromkeys(_reference(match) for match in _CITED.finditer(text)))


def _reference(match: re.Match[str]) -> str:
    if match["author"] or match["arxiv"]:
        return inline(match["author"] or match["arxiv"])
    address = match[0].rstrip(".,;:!?*_~")
    while address.endswith(")") and address.count(")") > address.count("("):
        address = address[:-1].rstrip(".,;:!?*_~")
    if match["doi"]:
        return f"DOI {code(address)}"
    doi = re.search(r"//(?:dx\.)?doi\.org/(10\..+)", address)
    return f"DOI {code(doi[1])}" if doi else f"<{address}>"


# --- reading Python ---------------------------------------------------------


def _is_public(title: str) -> bool:
    path = PurePosixPath(title.replace("\\", "/"))
    is_test = (
        path.name.startswith("test_")
        or path.stem.endswith("_test")
        or path.name == "conftest.py"
        or "tests" in path.parts
    )
    return not is_test and (not path.name.startswith("_") or path.stem == "__init__")


def read_python(source: str) -> tuple[str, tuple[Definition, ...], str]:
    """Read public functions and classes from Python, without running it.

    Returns:
        The first line of the module's docstring, the definitions in the order they stand, and what is wrong with the source, if anything.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # an invalid escape in somebody's string is none of our business
            tree = ast.parse(source)
        return _doc(tree), tuple(_definitions(tree.body, _exported(tree))), ""
    except SyntaxError as exc:
        return "", (), f"not readable as Python, line {exc.lineno or 0}"
    except (ValueError, RecursionError, MemoryError):
        return "", (), "not readable as Python"


def _exported(tree: ast.Module) -> frozenset[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
        ):
            try:
                return frozenset(str(name) for name in ast.literal_eval(node.value))
            except (ValueError, TypeError):
                return None
    return None


def _definitions(body: list[ast.stmt], exported: frozenset[str] | None) -> list[Definition]:
    found = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _shown(node.name, exported):
            found.append(Definition(signature=code(_function(node)), doc=_doc(node)))
        elif isinstance(node, ast.ClassDef) and _shown(node.name, exported):
            members = [
                _member(n)
                for n in node.body
                if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and _is_member(n.name)
            ]
            found.append(
                Definition(signature=code(_class(node)), doc=_doc(node), members=tuple(members))
            )
    return found


def _shown(name: str, exported: frozenset[str] | None) -> bool:
    return not name.startswith("_") if exported is None else name in exported


def _is_member(name: str) -> bool:
    return not name.startswith("_") or name in ("__init__", "__call__")


def _member(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Definition:
    decorators = {ast.unparse(d) for d in node.decorator_list}
    mark = next(
        (
            f"@{d} "
            for d in ("property", "cached_property", "classmethod", "staticmethod")
            if d in decorators
        ),
        "",
    )
    return Definition(signature=code(mark + _function(node)), doc=_doc(node))


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{word} {node.name}{_type_parameters(node)}({ast.unparse(node.args)}){returns}"


def _class(node: ast.ClassDef) -> str:
    bases = ", ".join(
        [ast.unparse(base) for base in node.bases]
        + [ast.unparse(keyword) for keyword in node.keywords]
    )
    return f"class {node.name}{_type_parameters(node)}" + (f"({bases})" if bases else "")


def _type_parameters(node: ast.stmt) -> str:
    given = [ast.unparse(parameter) for parameter in getattr(node, "type_params", ())]
    return f"[{', '.join(given)}]" if given else ""


def _doc(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    lines = (ast.get_docstring(node) or "").strip().split("\n")
    return inline(lines[0])

"""Write the reference, ``docs/reference/*.md``, from the docstrings. The pages are committed.

    python docs/make_reference.py           write the pages
    python docs/make_reference.py --check   only say whether they are up to date

The source is read as text, so a signature is shown as it was written. A test compares the
committed pages with what this script makes: run it after you change a public docstring.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import textwrap
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

import vespera_orchestrator as vespera
from vespera_orchestrator.home import config

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PACKAGE: Final = "vespera_orchestrator"
FOLDER: Final = Path(__file__).parent / "reference"
WIDTH: Final = 100
NOTICE: Final = "<!-- Made from the docstrings by docs/make_reference.py. Do not edit. -->"

Definition = ast.ClassDef | ast.FunctionDef


# --- reading the source --------------------------------------------------------


@cache
def parsed(module: str) -> ast.Module:
    """Return the syntax tree of a module of the package, without running the module."""
    spec = find_spec(f"{PACKAGE}.{module}" if module else PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"there is no module {module!r}; correct PAGES in {__file__}")
    return ast.parse(Path(spec.origin).read_text("utf-8"))


def error_names() -> tuple[str, ...]:
    """Return the names of all errors, in the order of their source."""
    body = [*parsed("_mistakes").body, *parsed("errors").body]
    return tuple(node.name for node in body if isinstance(node, ast.ClassDef))


def decorators(node: Definition) -> list[str]:
    """Return the decorators of *node* as text."""
    return [ast.unparse(decorator) for decorator in node.decorator_list]


def is_property(node: Definition) -> bool:
    """Tell whether a method is read like an attribute."""
    return any(name in {"property", "cached_property"} for name in decorators(node))


# --- what stands on which page -------------------------------------------------


@attrs.frozen(kw_only=True)
class Page:
    """A page of the reference."""

    name: str
    """Name of the file, without suffix."""
    title: str
    about: str
    """One sentence for the index."""
    names: tuple[str, ...]
    """Public names of the package's root, or ``module:Name`` for names that live elsewhere."""
    module: str = ""
    """The module whose docstring opens the page, and from which its names are imported."""


PAGES: Final = (
    Page(
        name="orchestrator",
        title="Orchestrator",
        about="Everything starts here: open a project, plan tasks, start and complete them.",
        names=("Orchestrator",),
    ),
    Page(
        name="work",
        title="Work",
        about="A task in your hands: briefing, checkpoints, artifacts, completion.",
        names=("Work",),
    ),
    Page(
        name="running",
        title="Runs",
        about="Driving the graph with your own functions: what they return, what is reported.",
        names=("Result", "RunReport", "RunEnding", "RunProgress", "Trouble"),
    ),
    Page(
        name="records",
        title="Records",
        about="What the calls return: sessions, tasks, attempts, artifacts, events, causes.",
        module="_model",
        names=(
            *(
                "Record",
                "Session",
                "Task",
                "TaskStatus",
                "Reopening",
                "Dependency",
                "Outcome",
                "TaskDraft",
                "PlannedTasks",
            ),
            *("Attempt", "NextAction", "Checkpoint", "HandedIn", "Artifact", "ArtifactKind"),
            *("ContextUse", "SharedValue", "Pause", "Event", "PastEvent", "EventKind", "Existing"),
            *("Worktree", "GitOperation", "TeamSettings", "HomePlace", "SettingDifference"),
            *("DocumentVersion", "Why", "Cause", "CauseKind"),
            *("NextStep", "Finding", "FindingKind", "HomeSource", "Severity", "RefusalKind"),
            *("Energy", "PressureLevel", "PressureKind"),
        ),
    ),
    Page(
        name="progress",
        title="Progress",
        about="What people and agents read: status, briefing, graph, what a child inherits.",
        names=(
            *("Status", "Running", "SessionStatus", "Briefing", "EventWatch", "TaskGraph"),
            *("AgentContext", "Role", "SharedContext", "ContextConflict"),
            *("Digest", "History", "Pressure", "PressureCause", "UsualTime"),
        ),
    ),
    Page(
        name="artifacts",
        title="Artifacts",
        about="Save, read, list, search and export artifacts; choose context for a task.",
        names=(
            *("Artifacts", "Hit", "Context", "ContextPassage", "IndexStatus", "SearchGap"),
            *("ArtifactList", "Shown", "Exported", "Damage", "Collected"),
            *("Forgotten", "Remainder", "RemainderKind"),
        ),
    ),
    Page(
        name="worktrees",
        title="Worktrees",
        about="Create, save, merge, forecast, remove and rescue git worktrees.",
        names=(
            *(
                "Worktrees",
                "Snapshot",
                "Landing",
                "LandAllReport",
                "Revert",
                "Forecast",
                "Clash",
                "Rescued",
            ),
            "Brought",
        ),
    ),
    Page(
        name="documents",
        title="Documents",
        about="Project documents that update themselves.",
        names=("Documents", "Proposal", "Inclusion", "UpdateReport"),
    ),
    Page(
        name="maintenance",
        title="Maintenance",
        about="What `check`, `repair`, `backup`, `export` and `prune` report.",
        names=("CheckReport", "RepairReport", "BackupReport", "ExportReport", "PruneReport"),
    ),
    Page(
        name="trust",
        title="Trust",
        about="Allowing a home that came from somebody else what it asks for.",
        names=("trust", "Consent"),
    ),
    Page(
        name="errors",
        title="Errors",
        about="Every error the library raises on purpose, sorted by what you can do about it.",
        module="errors",
        names=error_names(),
    ),
    Page(
        name="contracts",
        title="Contracts for backends",
        about="What a store, a content store or an embedder of your own must promise.",
        module="contracts",
        names=(
            *("contracts:Store", "contracts:Ledger", "contracts:Table"),
            *("contracts:ContentStore", "contracts:Embedder"),
            *("_model:ArtifactDraft", "_model:ArtifactQuery", "_model:TaskQuery"),
            *("_model:Claim", "_model:Ending", "_model:Finished", "_model:Situation"),
        ),
    ),
    Page(
        name="testing",
        title="Testing",
        about="A clock, a store in memory, and the test that a store keeps its contract.",
        module="testing",
        names=(
            *("testing.clock:ManualClock", "testing:MemoryStore"),
            "testing.store_contract:StoreContract",
        ),
    ),
)


ALIASES: Final = {"open": "Orchestrator.open"}
"""Names of the package's root that stand for a method."""


@attrs.frozen(kw_only=True, slots=False)
class Entry:
    """A class or function of the reference, with its place."""

    page: str
    name: str
    module: str
    """The public module to import it from; empty for the package's root."""
    node: Definition

    @property
    def full_name(self) -> str:
        """The name as it is reached from the package."""
        return f"{self.module}.{self.name}" if self.module else self.name

    @cached_property
    def methods(self) -> list[ast.FunctionDef]:
        """The public methods, without properties."""
        if self.name == "StoreContract":  # its methods are tests, not calls
            return []
        functions = [node for node in self._functions() if not is_property(node)]
        return [node for node in functions if not self._makes_object(node)]

    def _makes_object(self, node: ast.FunctionDef) -> bool:
        """Whether a method makes an object that you get from elsewhere."""
        is_alias = f"{self.name}.{node.name}" in ALIASES.values()
        return "classmethod" in decorators(node) and not is_alias

    @cached_property
    def properties(self) -> list[ast.FunctionDef]:
        """The public properties."""
        return [node for node in self._functions() if is_property(node)]

    def _functions(self) -> Iterator[ast.FunctionDef]:
        body = self.node.body if isinstance(self.node, ast.ClassDef) else []
        for node in body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield node


def find_entry(page: Page, name: str) -> Entry:
    """Return the entry for one of the names of *page*."""
    module, elsewhere, bare = name.rpartition(":")
    if not elsewhere:
        home = getattr(vespera, name).__module__
        module = home.removeprefix(PACKAGE).removeprefix(".")
    for node in parsed(module).body:
        if isinstance(node, Definition) and node.name == bare:
            public_module = page.module if elsewhere else ""
            return Entry(page=page.name, name=bare, module=public_module, node=node)
    raise SystemExit(f"{module} has no {bare}; correct PAGES in {__file__}")


@attrs.frozen(kw_only=True)
class Field:
    """A field of a record, or a member of an enum."""

    name: str
    text: str
    """As the reference shows it, with its type or value."""
    about: str


def fields(node: Definition) -> Iterator[Field]:
    """Yield the public fields of a class with the docstrings that stand under them."""
    body = node.body if isinstance(node, ast.ClassDef) else []
    for index, statement in enumerate(body):
        below = body[index + 1] if index + 1 < len(body) else None
        about = ""
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            about = str(below.value.value)
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                text = f"{name}: {source(annotation)}"
                if isinstance(value, ast.Constant | ast.Tuple | ast.Attribute):
                    text += f" = {source(value)}"
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))):
                text = f'{name} = "{value}"'
            case _:
                continue
        if not name.startswith("_"):
            yield Field(name=name, text=text, about=about)


# --- Markdown ------------------------------------------------------------------

_SPACE_IN_CODE: Final = "\0"


def wrap(text: str, indent: str = "") -> str:
    """Return *text* in lines of at most `WIDTH` characters; code is not broken."""
    joined = re.sub(r"`[^`]+`", lambda match: match[0].replace(" ", _SPACE_IN_CODE), text)
    wrapped = textwrap.fill(
        joined, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return wrapped.replace(_SPACE_IN_CODE, " ")


def bullet(text: str) -> str:
    """Return *text* as an item of a list."""
    return wrap(f"* {text}", "  ")


def fence(language: str, code: str) -> str:
    """Return *code* as a fenced block. ``py`` instead of ``python``: these blocks are not run."""
    return f"```{language}\n{code}\n```"


def anchor(heading: str) -> str:
    """Return the anchor that git browsers and MyST give to *heading*."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# --- docstrings ----------------------------------------------------------------

SECTION_LINE: Final = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example):")
ITEM_LINE: Final = re.compile(r"([\w, *]+): ?(.*)")
CODE: Final = re.compile(r"``(.+?)``|`([^`]+)`")


class Writer:
    """Turns docstrings into Markdown, with links between the pages."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._targets: dict[str, str] = {}
        for entry in entries:
            self._add(entry, "", anchor(entry.name))
            for method in entry.methods:
                self._add(entry, f".{method.name}", anchor(f"{entry.name}.{method.name}"))
            members = [node.name for node in entry.properties]
            members += [field.name for field in fields(entry.node)]
            for name in members:
                self._add(entry, f".{name}", anchor(entry.name))
        for alias, target in ALIASES.items():
            self._targets[f"{PACKAGE}.{alias}"] = self._targets[target]

    def _add(self, entry: Entry, member: str, target: str) -> None:
        link = f"{entry.page}.md#{target}"
        for name in (entry.name, entry.full_name, f"{PACKAGE}.{entry.full_name}"):
            self._targets.setdefault(f"{name}{member}", link)

    def inline(self, text: str, owner: str = "") -> str:
        """Return one paragraph as Markdown; names of *owner*'s members need no prefix."""

        def code(match: re.Match[str]) -> str:
            literal, name = match.groups()
            target = None
            if name is not None:
                target = self._targets.get(f"{owner}.{name}") or self._targets.get(name)
            shown = f"`{literal or name}`"
            return f"[{shown}]({target})" if target else shown

        return CODE.sub(code, " ".join(text.split()))

    def docstring(self, node: Definition | ast.Module, owner: str = "") -> Iterator[str]:
        """Yield the blocks of *node*'s docstring."""
        for title, text in split_sections(ast.get_docstring(node) or ""):
            if not title:
                yield from self._prose(text, owner)
            elif title == "Example":
                yield fence("py", text)
            elif title in {"Returns", "Yields"}:
                yield wrap(f"**{title}:** {self.inline(text, owner)}")
            else:
                heading = "Arguments" if title == "Args" else title
                lines = [f"**{heading}:**", ""]
                for name, about in section_items(text):
                    term = self.inline(f"`{name}`") if title == "Raises" else f"`{name}`"
                    lines.append(bullet(f"{term}: {self.inline(about, owner)}"))
                yield "\n".join(lines)

    def _prose(self, text: str, owner: str) -> Iterator[str]:
        for block in re.split(r"\n\s*\n(?=\S)", text.strip("\n")):
            if block.startswith(" "):
                yield fence("text", textwrap.dedent(block))
            elif block.startswith(">>>"):
                yield fence("pycon", block)
            elif block.startswith("* "):
                items = re.split(r"\n(?=\* )", block)
                yield "\n".join(bullet(self.inline(item[2:], owner)) for item in items)
            elif block:
                prose, _, literal = block.partition("::\n\n")
                colon = ":" if literal else ""
                yield wrap(self.inline(prose + colon, owner))
                if literal:
                    yield fence("text", textwrap.dedent(literal))


def split_sections(docstring: str) -> Iterator[tuple[str, str]]:
    """Yield the prose of a Google-style docstring under ``""``, and each section by its title."""
    title, lines = "", list[str]()
    for line in docstring.splitlines():
        match = SECTION_LINE.fullmatch(line)
        ends_section = title and line and not line.startswith(" ")
        if match or ends_section:
            yield title, textwrap.dedent("\n".join(lines)).strip("\n")
            title, lines = "", []
        if match:
            title = match[1]
        else:
            lines.append(line)
    yield title, textwrap.dedent("\n".join(lines)).strip("\n")


def section_items(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and description of each item of an ``Args`` or ``Raises`` section."""
    for item in re.split(r"\n(?=\S)", text):
        match = ITEM_LINE.match(item)
        if match is None:
            raise SystemExit(f"should be 'name: description': {item!r}")
        yield match[1], f"{match[2]} {item[match.end() :]}"


# --- signatures ----------------------------------------------------------------


def source(node: ast.expr) -> str:
    """Return an expression as text, with double quotes."""
    return re.sub(r"'([^'\"\\]*)'", r'"\1"', ast.unparse(node))


def parameter(argument: ast.arg, default: ast.expr | None = None) -> str:
    """Return one parameter as it was written."""
    text = argument.arg
    if argument.annotation:
        text += f": {source(argument.annotation)}"
    if default is not None:
        text += f" = {source(default)}" if argument.annotation else f"={source(default)}"
    return text


def parameters(node: ast.FunctionDef) -> list[str]:
    """Return the parameters of *node* as they were written, ``self`` and ``cls`` left out."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    without_default = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*without_default, *arguments.defaults]
    texts = [parameter(*pair) for pair in zip(positional, defaults, strict=True)]
    if positional and positional[0].arg in {"self", "cls"}:
        texts = texts[1:]
    if arguments.vararg:
        texts.append(f"*{parameter(arguments.vararg)}")
    elif arguments.kwonlyargs:
        texts.append("*")
    keyword_pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    texts += [parameter(*pair) for pair in keyword_pairs]
    if arguments.kwarg:
        texts.append(f"**{parameter(arguments.kwarg)}")
    return texts


def signature(node: ast.FunctionDef) -> str:
    """Return the head of a function, one parameter a line if one line is too short for it."""
    head = f"def {node.name}"
    if "classmethod" in decorators(node):
        head = f"@classmethod\n{head}"
    returns = f" -> {source(node.returns)}" if node.returns else ""
    texts = parameters(node)
    one_line = f"{head}({', '.join(texts)}){returns}"
    if len(one_line) <= WIDTH:
        return one_line
    lines = "".join(f"    {text},\n" for text in texts)
    return f"{head}(\n{lines}){returns}"


# --- pages ---------------------------------------------------------------------


def page_text(page: Page, entries: Iterable[Entry], writer: Writer) -> str:
    """Return the whole of one page."""
    blocks = [NOTICE, f"# {page.title}"]
    if page.module:
        blocks += writer.docstring(parsed(page.module))
    else:
        blocks.append(page.about)
    for entry in entries:
        blocks += entry_blocks(entry, writer)
    return "\n\n".join(blocks) + "\n"


def entry_blocks(entry: Entry, writer: Writer) -> Iterator[str]:
    """Yield what a page says about a class or function."""
    yield f"## {entry.name}"
    if isinstance(entry.node, ast.FunctionDef):
        yield fence("py", signature(entry.node))
        yield from writer.docstring(entry.node)
        return
    if entry.page == "errors" and entry.node.bases:
        bases = ", ".join(f"`{ast.unparse(base)}`" for base in entry.node.bases)
        yield writer.inline(f"Base: {bases}")
    yield from writer.docstring(entry.node, entry.name)
    yield from constructor(entry.node, writer)
    members = list(member_lines(entry, writer))
    if members:
        yield "\n".join(members)
    for method in entry.methods:
        yield f"### {entry.name}.{method.name}"
        yield fence("py", signature(method))
        yield from writer.docstring(method, entry.name)


def constructor(node: ast.ClassDef, writer: Writer) -> Iterator[str]:
    """Yield how to make an object, if its class documents that."""
    functions = [member for member in node.body if isinstance(member, ast.FunctionDef)]
    for function in functions:
        if function.name == "__init__" and ast.get_docstring(function):
            yield fence("py", f"{node.name}({', '.join(parameters(function))})")
            yield from writer.docstring(function, node.name)


def member_lines(entry: Entry, writer: Writer) -> Iterator[str]:
    """Yield a line for each field and property."""
    for field in fields(entry.node):
        about = f": {writer.inline(field.about, entry.name)}" if field.about else ""
        yield bullet(f"`{field.text}`{about}")
    for node in entry.properties:
        returns = f": {source(node.returns)}" if node.returns else ""
        about = " ".join(writer.docstring(node, entry.name))
        yield bullet(f"`{node.name}{returns}` (property): {about}")


def index_text(entries: Mapping[str, list[Entry]]) -> str:
    """Return the index: what is on which page, and every name."""
    table = ["| page | what it has |", "| --- | --- |"]
    links = {}
    for page in PAGES:
        table.append(f"| [{page.title}]({page.name}.md) | {page.about} |")
        for entry in entries[page.name]:
            target = f"{page.name}.md#{anchor(entry.name)}"
            links[entry.full_name] = f"[`{entry.full_name}`]({target})"
    table.append("| [Settings](settings.md) | `config.toml`, and the environment variables. |")
    table.append("| [Modules](modules.md) | For those who change the library: every module. |")
    for name, method in ALIASES.items():
        links[name] = f"[`{name}`]({PAGES[0].name}.md#{anchor(method)})"
    blocks = [
        NOTICE,
        "# Reference",
        wrap(
            "Everything starts with `vespera_orchestrator.open`, which is"
            " [`Orchestrator.open`](orchestrator.md#orchestratoropen)."
            " Wherever a call takes a task,"
            " you can pass its id, its alias or its `Task` record. These pages are made from the"
            " docstrings: `help(vespera.Task)` says the same."
        ),
        "\n".join(table),
        "## All names",
        "\n".join(f"* {links[name]}" for name in sorted(links, key=str.lower)),
    ]
    return "\n\n".join(blocks) + "\n"


# --- settings ------------------------------------------------------------------

VARIABLES: Final = {
    "ENV_SESSION": "the session to work in; a spawned agent inherits it. It must be in the store",
    "ENV_HOME": "the home's folder. If a call names another, only the agent's variable counts",
    "ENV_STORE": "the address of the store; wins over `[store] url` in `config.toml`",
    "ENV_CONTENT": "where the bytes of artifacts go; wins over `content` in `config.toml`",
    "ENV_AGENT": "who is calling",
    "ENV_ACCESS": "who may read and write the home; wins over `access` in `config.toml`",
    "ENV_EMBEDDER": "what makes the vectors; wins over `[search] embedder` in `config.toml`",
}


def settings_text(writer: Writer) -> str:
    """Return the page about ``config.toml`` and the environment."""
    blocks = [
        NOTICE,
        "# Settings",
        wrap(
            "The settings of a home are in its `config.toml`. Every line is optional, and a change"
            " takes effect when you open the home again. An argument of"
            " [`Orchestrator.open`](orchestrator.md#orchestratoropen)"
            " wins over the environment, and"
            " the environment wins over the file."
        ),
        "A new `config.toml` shows every setting as a comment:",
        fence("toml", config.initial_text(None).rstrip("\n")),
        *section_blocks(config.Config(), "", writer),
        "## Environment variables",
        "\n".join(variable_lines()),
    ]
    return "\n\n".join(blocks) + "\n"


def section_blocks(section: object, name: str, writer: Writer) -> Iterator[str]:
    """Yield the settings of one section, then those of the sections below it."""
    yield f"## Section `[{name}]`" if name else "## Outside any section"
    sections = {}
    lines = []
    for field in fields(class_of(section)):
        value = getattr(section, field.name)
        if attrs.has(type(value)):
            sections[field.name] = value
        else:
            default = "" if value is None else f" (default `{toml(value)}`)"
            lines.append(bullet(f"`{field.name}`{default}: {writer.inline(field.about)}"))
    yield "\n".join(lines)
    for key, value in sections.items():
        yield from section_blocks(value, key, writer)


def class_of(section: object) -> ast.ClassDef:
    """Return the source of a section's class."""
    name = type(section).__name__
    for node in parsed("home.config").body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    raise SystemExit(f"there is no {name} in home/config.py; correct {__file__}")


def toml(value: object) -> str:
    """Return a setting's value as it is written in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def variable_lines() -> Iterator[str]:
    """Yield the table of environment variables."""
    constants = {name for name in vars(config) if name.startswith("ENV_")}
    if constants != VARIABLES.keys():
        wrong = ", ".join(sorted(constants ^ VARIABLES.keys()))
        raise SystemExit(f"correct VARIABLES in {__file__}: {wrong}")
    yield "| variable | what it sets |"
    yield "| --- | --- |"
    for constant, about in VARIABLES.items():
        yield f"| `{getattr(config, constant)}` | {about} |"


# --- modules -------------------------------------------------------------------


def modules_text(writer: Writer) -> str:
    """Return the page that lists every module with the first line of its docstring."""
    root = Path(vespera.__file__).parent
    blocks = [
        NOTICE,
        "# Modules",
        wrap(
            "For those who change the library: every module in one line, room by room."
            " [Architecture](../architecture.md) says how they work together."
        ),
    ]
    folders = sorted({path.parent for path in root.rglob("*.py")})
    for folder in folders:
        room = folder.relative_to(root).as_posix()
        blocks.append("## The package" if room == "." else f"## {room}/")
        lines = [module_line(path, writer) for path in sorted(folder.glob("*.py"))]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def module_line(path: Path, writer: Writer) -> str:
    """Return a module's name and what it is for."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    paragraph = docstring.partition("\n\n")[0]
    return bullet(f"`{path.name}`: {writer.inline(paragraph)}")


# --- writing -------------------------------------------------------------------


def make() -> dict[str, str]:
    """Return the text of each file of the reference, by its name."""
    entries = {page.name: [find_entry(page, name) for name in page.names] for page in PAGES}
    everything = [entry for on_page in entries.values() for entry in on_page]
    missing = set(vespera.__all__) - {entry.name for entry in everything} - ALIASES.keys()
    if missing:
        names = ", ".join(sorted(missing))
        raise SystemExit(f"on no page of the reference: {names}; add to PAGES in {__file__}")
    writer = Writer(everything)
    files = {f"{page.name}.md": page_text(page, entries[page.name], writer) for page in PAGES}
    files["settings.md"] = settings_text(writer)
    files["modules.md"] = modules_text(writer)
    files["index.md"] = index_text(entries)
    return files


def outdated(files: Mapping[str, str]) -> list[str]:
    """Return the names of the committed pages that differ from *files*, or are missing in one."""
    committed = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.md")}
    names = sorted(files.keys() | committed.keys())
    return [name for name in names if files.get(name) != committed.get(name)]


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    files = make()
    names = outdated(files)
    if arguments.check:
        if names:
            print(f"out of date: {', '.join(names)}; run python docs/make_reference.py")
        return 1 if names else 0
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        if name in files:
            (FOLDER / name).write_text(files[name], "utf-8")
        else:
            (FOLDER / name).unlink()
    print(f"{len(names)} of {len(files)} pages changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

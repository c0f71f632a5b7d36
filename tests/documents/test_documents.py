"""Documents: what is ours follows the store, what is not ours is never touched, and no state is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_orchestrator._model import (
    ArtifactDraft,
    Ending,
    NextAction,
    Session,
    TaskDraft,
    new_id,
)
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.documents import Documents, engine
from vespera_orchestrator.documents.markdown import (
    code,
    fenced_code,
    headed_parts,
    inline,
    quote,
)
from vespera_orchestrator.documents.project_types import PROJECT_TYPES
from vespera_orchestrator.documents.sections import (
    MarkerError,
    begin_marker,
    end_marker,
    normalize_sections,
    parse_sections,
    replace_sections,
    section_contents,
)
from vespera_orchestrator.documents.sources.python_api import read_python
from vespera_orchestrator.errors import (
    DocumentUpdateError,
    InvalidInputError,
    SessionNotFoundError,
    TemplateError,
)
from vespera_orchestrator.home.config import Config, DocumentSettings
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
CHANGELOG = "docs/changelog.md"


class Project:
    """A project in a folder, with a clock that moves a minute with every completed task."""

    def __init__(
        self, folder: Path, project_type: str | None, *, config: Config | None = None
    ) -> None:
        self.now = START
        self.home = Home(
            path=folder / ".task_orchestrator", project=folder, config=config or Config()
        ).create()
        self.store = SQLiteStore.open(self.home.database, clock=lambda: self.now)
        self.content = FolderContent(self.home.artifacts)
        self.session = self.begin(project_type)
        self.documents = self.opened()

    def begin(self, project_type: str | None, *, parent: str | None = None) -> Session:
        return self.store.start_session(
            Session(
                id=new_id("s"),
                goal="a goal",
                project_type=project_type,
                parent_session_id=parent,
                context={},
                created_at=self.now,
                updated_at=self.now,
            )
        )

    def opened(self, session: Session | None = None) -> Documents:
        """Documents as a process that has just started sees them."""
        return Documents(
            Scope(self.home, self.store, session_id=(session or self.session).id), self.content
        )

    def draft(
        self,
        title: str,
        text: str,
        kind: str = "general",
        media_type: str = "text/markdown",
        tags: tuple[str, ...] = (),
    ):
        digest, size = self.content.put(text.encode())
        return ArtifactDraft(
            title=title, digest=digest, size_bytes=size, kind=kind, media_type=media_type, tags=tags
        )

    def complete(
        self,
        title: str,
        *artifacts: ArtifactDraft,
        summary: str = "",
        outputs=None,
        session: Session | None = None,
    ):
        self.now += timedelta(minutes=1)
        session_id = (session or self.session).id
        (task,) = self.store.plan(session_id, [TaskDraft(title=title)])
        claim = self.store.claim(session_id, "agent", task_id=task.id, lease_s=60)
        ending = Ending(action=NextAction.COMPLETE, summary=summary, outputs=outputs or {})
        return self.store.finish(
            task.id, claim.attempt.number, ending, agent="agent", artifacts=artifacts
        )

    def path(self, name: str) -> Path:
        return self.home.project / "docs" / name

    def text(self, name: str) -> str:
        return self.path(name).read_bytes().decode()

    def state(self):
        """Everything that an update could write."""
        files = {
            p.name: (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes())
            for p in sorted(self.path("").iterdir())
        }
        return (
            files,
            self.store.document_versions(),
            self.store.last_seq(),
            (self.home.path / "documents.json").stat().st_mtime_ns,
        )


@pytest.fixture
def make(tmp_path):
    """Make a project in the test's folder, and close its store afterwards."""
    made = []

    def _make(project_type: str | None = "software_development", **kw) -> Project:
        made.append(Project(tmp_path, project_type, **kw))
        return made[-1]

    yield _make
    for project in made:
        project.store.close()


# --- sections: pure text --------------------------------------------------------

_plain = st.text(st.sampled_from("ab <>!-#`~|\r\n\t\x0c\u2028\ufeffé世"), max_size=30)


@st.composite
def _documents(draw) -> str:
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    text = ""
    for name in draw(st.lists(st.sampled_from(["changelog", "api", "see_also"]), unique=True)):
        before = draw(_plain)
        text += before + (newline if before else "") + begin_marker(name) + newline
        inside = draw(_plain)
        text += inside + (newline if inside else "") + end_marker(name) + newline
    return text + draw(_plain)


def _outside(text: str) -> list[str]:
    sections = parse_sections(text)
    starts = [0, *(section.end for section in sections)]
    ends = [*(section.start for section in sections), len(text)]
    return [text[a:b] for a, b in zip(starts, ends, strict=True)]


@given(_documents(), st.dictionaries(st.sampled_from(["changelog", "api", "other"]), _plain))
def test_replacing_leaves_everything_outside_as_it_was(text, contents):
    """Whatever people wrote outside the markers survives character for character, and doing it twice is doing it once."""
    once = replace_sections(text, contents)
    assert _outside(once) == _outside(text)
    assert replace_sections(once, contents) == once
    assert {
        name: body for name, body in section_contents(once).items() if name not in contents
    } == {name: body for name, body in section_contents(text).items() if name not in contents}
    assert normalize_sections(normalize_sections(text)) == normalize_sections(text)


@given(st.text(max_size=200) | _plain)
def test_foreign_text_forms_no_marker_and_no_second_line(text):
    """No title, summary or artifact can end a section, begin one, or break out of its line."""
    hostile = f"{text}\n{end_marker('changelog')}\n{begin_marker('api')}\n{text}"
    for given_text in (text, hostile):
        assert "\n" not in inline(given_text)
        assert "\n" not in code(given_text)
        assert all(line.startswith(">") for line in quote(given_text).split("\n") if line)
        body = f"{inline(given_text)}\n{code(given_text)}\n{quote(given_text)}\n"
        document = f"{begin_marker('changelog')}\n{body}{end_marker('changelog')}\n"
        assert [section.name for section in parse_sections(document)] == ["changelog"]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("\n<!-- vespera:section a -->\n", 2, "never ends"),
        ("x\n\n<!-- vespera:end a -->\n", 3, "does not begin"),
        (
            "<!-- vespera:section a -->\n<!-- vespera:section b -->\n<!-- vespera:end b -->\n",
            2,
            "inside section 'a'",
        ),
        (
            "<!-- vespera:section a -->\n<!-- vespera:end a -->\n<!-- vespera:section a -->\n<!-- vespera:end a -->",
            3,
            "second time",
        ),
        ("<!-- vespera:section a -->\r\n<!-- vespera:end b -->\r\n", 2, "does not begin"),
        ("<!-- vespera:sektion a -->\n", 1, "cannot be read"),
    ],
)
def test_damaged_markers_are_found_with_their_line(text, line, problem):
    """Markers that contradict each other are told with the line to look at, never guessed at."""
    with pytest.raises(MarkerError, match=problem) as caught:
        parse_sections(text)
    assert caught.value.line == line


def test_an_indented_marker_is_an_example():
    """A document can show what markers look like."""
    assert (
        parse_sections(" <!-- vespera:section a -->\ntext with <!-- vespera:end a --> in it\n")
        == ()
    )


# --- Markdown and Python: pure text ---------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines | and <b>html</b>", r"two lines \| and &lt;b>html&lt;/b>"),
        (
            "*bold* `code` [link](x) snake_case __init__",
            r"\*bold\* \`code\` \[link\](x) snake_case \_\_init\_\_",
        ),
        ("# heading", r"\# heading"),
        ("1. first", r"1\. first"),
        ("in C #", r"in C \#"),
        ("&lt; is &", "&amp;lt; is &"),
        ("turned \u202eback", "turned back"),
        ("lone \ud800", "lone \ufffd"),
    ],
)
def test_a_title_is_shown_literally(text, shown):
    """What somebody typed is what a reader sees, not a link, a heading or a tag."""
    assert inline(text) == shown


def test_a_quotation_keeps_code_and_disarms_html():
    """Code in an excerpt stays as it was written; HTML and link definitions outside of it do nothing."""
    text = "<details>\n[a]: http://x\n```html\n<b>\n```\n  ```\n<i>"
    assert quote(text).split("\n") == [
        "> &lt;details>",
        "> \\[a]: http://x",
        "> ```html",
        "> <b>",
        "> ```",
        ">   ```",
        "> &lt;i>",
    ]


def test_a_long_quotation_is_cut_and_says_so():
    """A document stays readable; the artifact has the rest."""
    assert quote("line\n" * 100).endswith(">\n> …")
    assert len(quote("x" * 100_000)) < 5_000


def test_parts_and_fences_are_found_where_markdown_sees_them():
    """A heading inside a code fence is no heading."""
    text = "# A\none\n```python\n# no heading\nx = 1\n```\n## B ##\ntwo\n# C\nthree"
    assert [(part.title, part.text.split("\n")[-1]) for part in headed_parts(text)] == [
        ("A", "two"),
        ("B", "two"),
        ("C", "three"),
    ]
    assert fenced_code(text, frozenset({"python"})) == ["# no heading\nx = 1\n"]


def test_python_is_read_without_being_run():
    """Public names with their signature and first docstring line; `__all__` decides where there is one."""
    source = '''
    """Module."""
    def public(a: int, *, b="\\d") -> str:
        """Do it.

        More.
        """
    async def later(): ...
    def _private(): ...
    class Thing(Base, metaclass=M):
        """A thing."""
        def __init__(self, x): ...
        @property
        def size(self) -> int:
            "How big."
        def _hidden(self): ...
    '''
    python = read_python(dedent(source))
    definitions = python.definitions
    assert (python.doc, python.problem) == ("Module.", "")
    assert [(d.signature, d.doc) for d in definitions] == [
        ("`def public(a: int, *, b='\\\\d') -> str`", "Do it."),
        ("`async def later()`", ""),
        ("`class Thing(Base, metaclass=M)`", "A thing."),
    ]
    assert [m.signature for m in definitions[2].members] == [
        "`def __init__(self, x)`",
        "`@property def size(self) -> int`",
    ]
    assert [
        d.signature
        for d in read_python("__all__ = ['_odd']\ndef _odd(): ...\ndef other(): ...").definitions
    ] == ["`def _odd()`"]


@pytest.mark.parametrize(
    "source", ["def (", "x = '\0'", "(" * 5000 + ")" * 5000, "a" + "+a" * 100_000]
)
def test_python_that_cannot_be_read_is_no_trouble(source):
    """Somebody's broken or absurd file does not stop a document."""
    python = read_python(source)
    assert (python.doc, python.definitions) == ("", ())


# --- the three types of projects --------------------------------------------------


def test_software_documents_tell_what_was_done(make):
    """Changelog, API reference and architecture follow from completed tasks, with the ids of their artifacts."""
    project = make()
    module = project.draft(
        "src/app/core.py", 'def run(n: int) -> None:\n    """Run it."""\n', "file", "text/x-python"
    )
    hidden = project.draft("tests/test_core.py", "def test_run(): ...\n", "file", "text/x-python")
    notes = project.draft(
        "Work", "# Work\n\n## Design decisions\n\nSQLite it is.\n\n## Rest\n\nnothing\n"
    )
    first = project.complete(
        "Build the core", module, hidden, notes, summary="It runs.", outputs={"coverage": 0.9}
    )
    second = project.complete(
        "Write snippets", project.draft("Snippets", "```python\ndef extra(): ...\n```\n", "code")
    )
    report = project.documents.update()
    assert [version.path for version in report.written] == [
        "docs/api_reference.md",
        CHANGELOG,
        "docs/architecture.md",
    ]

    changelog = project.text("changelog.md")
    ids = {artifact.title: artifact.id for artifact in first.artifacts}
    assert "### 2026-03-01" in changelog
    assert changelog.index("Write snippets") < changelog.index("Build the core")
    assert (
        f'<a id="{first.task.id}"></a>**Build the core** (`build_the_core`): It runs.' in changelog
    )
    assert f"src/app/core.py `{ids['src/app/core.py']}`" in changelog
    assert "`coverage` = `0.9`" in changelog

    api = project.text("api_reference.md")
    assert "- `def run(n: int) -> None` — Run it." in api
    assert "test_run" not in api
    assert "- `def extra()`" in api
    assert (
        f"artifact `{second.artifacts[0].id}`, task [`write_snippets`](changelog.md#{second.task.id})"
        in api
    )

    architecture = project.text("architecture.md")
    assert f"- `src/app`: `core.py` (artifact `{ids['src/app/core.py']}`)" in architecture
    assert "### Design decisions" in architecture
    assert "> SQLite it is." in architecture
    assert "nothing" not in architecture
    assert "[Changelog](changelog.md)" in architecture
    assert project.documents.check() == []


def test_research_documents_collect_literature_methods_and_findings(make):
    """What an artifact is, its tags and its headings decide where it is told of; references are gathered."""
    project = make("research_project")
    review = project.draft(
        "Review",
        "See https://example.org/a_b. (Smith et al., 2020), doi 10.1000/182.",
        "literature",
    )
    tagged = project.draft("Interviews", "We asked.", tags=("method",))
    project.complete("Read", review)
    project.complete("Ask", tagged)
    done = project.complete(
        "Conclude", project.draft("Work", "## Key findings\n\nIt holds.\n\n## Aside\n\nno\n")
    )
    project.documents.update()
    literature = project.text("literature_review.md")
    assert "- <https://example.org/a_b> (artifact `" in literature
    assert "- DOI `10.1000/182` (artifact `" in literature
    assert "- Smith et al., 2020 (artifact `" in literature
    methodology = project.text("methodology.md")
    assert "> We asked." in methodology
    assert methodology.count('<a id="t_') == 3
    findings = project.text("findings.md")
    assert "> It holds." in findings
    assert "no" not in section_contents(findings)["findings"].split()
    assert (
        f"artifact `{done.artifacts[0].id}`, task [`conclude`](methodology.md#{done.task.id})"
        in findings
    )


def test_creative_documents_collect_world_characters_and_plot(make):
    """A world, its characters and the plot are found by kind, tag or heading."""
    project = make("creative_writing")
    project.complete(
        "Invent",
        project.draft("Mira", "A pilot.", "character"),
        project.draft("Notes", "## The world\n\nFlat.\n"),
    )
    project.complete("Arrange", project.draft("Acts", "Three.", tags=("plot_outline",)))
    project.documents.update()
    assert "> A pilot." in project.text("character_sheets.md")
    assert "> Flat." in project.text("world_building.md")
    plot = project.text("plot_outline.md")
    assert "> Three." in plot
    assert "**Invent** (`invent`)" in plot


def test_only_completed_work_is_told(make):
    """What is open, partial or was replaced by a later version stays out."""
    project = make()
    (task,) = project.store.plan(project.session.id, [TaskDraft(title="Open work")])
    project.store.claim(project.session.id, "agent", task_id=task.id, lease_s=60)
    for text in ("## Design\n\nunfinished\n", "## Design\n\nstill unfinished\n"):
        project.store.save_artifact(
            project.session.id, project.draft("D", text), task_id=task.id, attempt=1, agent="agent"
        )
    project.documents.update()
    assert "nfinished" not in project.text("architecture.md")
    project.store.finish(task.id, 1, Ending(action=NextAction.COMPLETE), agent="agent")
    project.documents.update()
    design = section_contents(project.text("architecture.md"))["design"]
    assert "> still unfinished" in design
    assert "> unfinished" not in design


def test_sessions_of_one_type_share_their_documents(make):
    """A new session does not wipe the changelog of the last one, and both sessions write the same text."""
    project = make()
    project.complete("First session")
    project.documents.update()
    later = project.begin("software_development")
    below = project.begin(None, parent=later.id)
    project.complete("Second session", session=later)
    project.complete("Below it", session=below)
    project.complete("First again")
    project.begin("creative_writing")
    project.opened(later).update()
    text = project.text("changelog.md")
    places = [
        text.index(title)
        for title in ("First again", "Below it", "Second session", "First session")
    ]
    assert places == sorted(places), "the latest first, whatever session it is of"
    assert project.opened().update().written == ()
    assert project.opened(below).update().written == ()


@pytest.mark.parametrize("case", ["untyped", "unknown", "off", "bare"])
def test_no_documents_are_kept_where_none_are_wanted(make, case):
    """Without a project type, with an unknown one, turned off, or in a bare repository: no file is made, and the report says why."""
    kind = {"untyped": None, "unknown": "gardening"}.get(case, "software_development")
    project = make(kind, config=Config(documents=DocumentSettings(enabled=case != "off")))
    if case == "bare":
        (project.home.project / "HEAD").write_text("ref: refs/heads/main\n")
        (project.home.project / "objects").mkdir()
    project.complete("Work")
    report = project.documents.update()
    assert report.written == ()
    assert "none are kept" in str(report)
    assert project.documents.check() == []
    assert not project.path("").exists()


def test_without_a_session_update_raises_and_catching_up_does_not(make, monkeypatch):
    """Catching up is for callers who only came by."""
    monkeypatch.delenv("MCP_ORCHESTRATOR_SESSION", raising=False)
    project = make()
    documents = Documents(Scope(project.home, project.store), project.content)
    with pytest.raises(SessionNotFoundError):
        documents.update()
    assert "no session is active" in str(documents.catch_up())


# --- a view that follows the log ----------------------------------------------------


def test_an_update_without_news_writes_nothing(make):
    """No file, no version, no event, no state; and events that no document tells of bring about nothing either."""
    project = make()
    project.complete("Work")
    project.documents.update()
    before = project.state()
    assert str(project.documents.update()) == "documents: nothing to change"
    assert str(project.opened().update()) == "documents: nothing to change"
    assert project.state() == before
    (task,) = project.store.plan(project.session.id, [TaskDraft(title="Later")])
    project.store.update_task(task.id, {"title": "Much later"})
    seq = project.store.last_seq()
    for documents in (project.documents, project.opened()):
        assert documents.update().written == ()
    files, versions, _, state = project.state()
    assert (files, versions, seq, state) == (
        before[0],
        before[1],
        project.store.last_seq(),
        before[3],
    )


def test_the_rooms_behind_stay_shut_until_there_is_something_to_render(make):
    """Importing, and an update that changes nothing, load neither jinja2 nor filelock."""
    project = make()
    project.complete("Work")
    project.documents.update()
    script = (
        _CHILD + "print(orch.update()); print(sorted({'jinja2', 'filelock'} & sys.modules.keys()))"
    )
    done = _child(project, script)
    assert done.communicate(timeout=30)[0].splitlines() == ["documents: nothing to change", "[]"]


def test_the_same_store_gives_the_same_bytes(make):
    """Documents may be thrown away and made anew, by anybody."""
    project = make()
    project.complete("One", project.draft("N", "## Design\n\nx\n"))
    project.complete("Two")
    project.documents.update()
    before = {p.name: p.read_bytes() for p in project.path("").iterdir()}
    for path in project.path("").iterdir():
        path.unlink()
    (project.home.path / "documents.json").unlink()
    report = project.opened().update()
    assert {p.name: p.read_bytes() for p in project.path("").iterdir()} == before
    assert "was gone and is made anew" in str(report)
    assert len(project.documents.versions(CHANGELOG)) == 1


def test_a_damaged_state_file_costs_nothing_but_a_look(make):
    """What is only a cache may be wrong."""
    project = make()
    project.complete("Work")
    project.documents.update()
    before = project.state()[0]
    for text in (
        "",
        "[]",
        '{"layout": 1}',
        '{"layout": 1, "types": {"software_development": {"seq": "x"}}}',
    ):
        (project.home.path / "documents.json").write_text(text)
        assert project.opened().update().written == ()
    assert project.state()[0] == before


def test_several_processes_update_at_once(make):
    """Each completed task is told, versions are numbered without gaps, and the last state needs no further update."""
    project = make()
    script = _CHILD + dedent("""
        from vespera_orchestrator._model import Ending, NextAction, TaskDraft
        for number in range(6):
            (task,) = store.plan(session, [TaskDraft(title=f"{sys.argv[3]} {number}")])
            store.claim(session, "agent", task_id=task.id, lease_s=60)
            store.finish(task.id, 1, Ending(action=NextAction.COMPLETE), agent="agent")
            orch.update()
    """)
    children = [_child(project, script, name) for name in ("left", "right")]
    for child in children:
        assert child.communicate(timeout=60)[1] == ""
        assert child.returncode == 0
    text = project.text("changelog.md")
    assert all(f"**{name} {number}**" in text for name in ("left", "right") for number in range(6))
    versions = project.documents.versions(CHANGELOG)
    assert [version.version for version in versions] == list(range(1, len(versions) + 1))
    assert project.documents.read(versions[-1]) == text
    assert project.documents.check() == []
    assert project.documents.update().written == ()


def test_several_threads_update_at_once(make):
    """One `Documents` may be used from any thread."""
    project = make()
    for number in range(8):
        project.complete(f"Task {number}", project.draft("N", f"## Design\n\n{number}\n"))
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(call) for call in (project.documents.update, project.documents.check) * 4
        ]
        reports = [call.result() for call in calls[::2]]
    assert sum(len(report.written) for report in reports) == 3
    assert project.documents.check() == []


def test_an_update_is_left_to_the_one_who_is_at_it(make, monkeypatch):
    """Nobody waits long for documents; the report says so, and the next update does what is left."""
    from filelock import FileLock

    monkeypatch.setattr(engine, "LOCK_WAIT_S", 0.0)
    project = make()
    project.complete("Work")
    with FileLock(project.home.locks / "documents.lock"):
        report = project.documents.update()
        assert report.busy
        with pytest.raises(DocumentUpdateError, match="another process"):
            project.documents.restore(CHANGELOG, 1)
    assert not project.path("").exists()
    assert len(project.documents.update().written) == 3


# --- what belongs to people -----------------------------------------------------------


def test_text_outside_the_sections_stays_byte_for_byte(make):
    """CRLF, a byte order mark, no final newline, moved and removed sections: as their writer left them."""
    project = make()
    own = f"\ufeff# Mine\r\n{begin_marker('changelog')}\r\n{end_marker('changelog')}\r\nlast \u2028 line\x0c without end"
    project.path("").mkdir()
    project.path("changelog.md").write_bytes(own.encode())
    project.path("changelog.md").chmod(0o600)
    project.complete("Work")
    project.documents.update()
    text = project.text("changelog.md")
    assert _outside(text) == _outside(own)
    assert "**Work** (`work`)\r\n" in text
    assert "\n" not in text.replace("\r\n", "")
    assert project.path("changelog.md").stat().st_mode & 0o777 == 0o600


def test_a_file_without_markers_is_left_alone(make):
    """A person's own file is theirs; `check` gives the lines that would make parts of it keep themselves up to date."""
    project = make()
    project.path("").mkdir()
    project.path("changelog.md").write_bytes(b"my own\n")
    done = project.complete("Work", project.draft("N", "## Design\n\nx\n"))
    report = project.documents.update()
    assert "docs/changelog.md is your own" in str(report)
    assert project.text("changelog.md") == "my own\n"
    assert project.documents.versions(CHANGELOG) == []
    (finding,) = project.documents.check()
    assert finding.subject == CHANGELOG
    assert f"{begin_marker('changelog')}\n{end_marker('changelog')}" in finding.remedy
    assert done.task.id not in project.text("architecture.md"), (
        "no link into a document that has no such place"
    )
    project.path("changelog.md").write_text(
        f"my own\n{begin_marker('changelog')}\n{end_marker('changelog')}\n"
    )
    project.documents.update()
    assert project.text("changelog.md").startswith("my own\n")
    assert f"changelog.md#{done.task.id}" in project.text("architecture.md")


def test_an_edit_inside_a_section_is_kept_as_a_version(make):
    """Nothing that somebody wrote is lost, wherever they wrote it."""
    project = make()
    project.complete("Work")
    project.documents.update()
    edited = project.text("changelog.md").replace("**Work**", "**Work, done by Ada**")
    project.path("changelog.md").write_text(edited)
    (finding,) = project.documents.check()
    assert finding.subject == CHANGELOG
    assert "edited inside section 'changelog'" in finding.sentence
    report = project.documents.update()
    assert [version.path for version in report.kept] == [CHANGELOG]
    assert f"your edit inside a section is kept as version {report.kept[0].version}" in str(report)
    assert project.documents.read(report.kept[0]) == edited
    assert "Ada" not in project.text("changelog.md")
    assert project.documents.check() == []


def test_a_file_saved_while_it_is_updated_is_left_to_the_next_update(make):
    """Between looking at a document and writing it, somebody may save it; what they saved stays."""
    project = make()
    project.documents.update()
    project.complete("Work", project.draft("N", "## Design\n\nx\n"))

    class SavedMeanwhile(FolderContent):
        def read(self, digest: str) -> bytes:
            with project.path("changelog.md").open("a") as stream:
                stream.write("a last word\n")
            return super().read(digest)

    scope = Scope(project.home, project.store, session_id=project.session.id)
    (error,) = Documents(scope, SavedMeanwhile(project.home.artifacts)).update().errors
    assert "saved by somebody else just now" in str(error)
    assert "Work" not in project.text("changelog.md")
    project.documents.update()
    assert "Work" in project.text("changelog.md")
    assert project.text("changelog.md").endswith("a last word\n")


def test_an_older_text_of_ours_is_no_edit(make):
    """Checking out an older commit, or other line ends, is not taken for somebody's writing."""
    project = make()
    project.complete("One")
    project.documents.update()
    old = project.text("changelog.md")
    project.complete("Two")
    project.documents.update()
    new = project.text("changelog.md")
    project.path("changelog.md").write_bytes(old.replace("\n", "\r\n").encode())
    report = project.documents.update()
    assert report.kept == ()
    assert project.text("changelog.md").replace("\r\n", "\n") == new
    project.path("changelog.md").write_bytes(new.replace("\n", "\r\n").encode())
    before = project.path("changelog.md").stat().st_ino
    project.documents.update()
    assert project.path("changelog.md").stat().st_ino == before


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (
            b"x\n<!-- vespera:section changelog -->\n",
            "line 2: section 'changelog' begins here and never ends",
        ),
        ("# Ünicode".encode("latin-1"), "is not UTF-8"),
    ],
)
def test_a_document_that_cannot_be_read_is_left_and_the_others_go_on(make, raw, reason):
    """One document's trouble is told with its remedy, is tried again, and is nobody else's trouble."""
    project = make()
    project.path("").mkdir()
    project.path("changelog.md").write_bytes(raw)
    project.complete("Work")
    for documents in (project.documents, project.opened()):
        (error,) = documents.update().errors
        assert isinstance(error, DocumentUpdateError)
        assert reason in str(error)
    assert project.path("changelog.md").read_bytes() == raw
    assert reason in str(project.documents.check())
    assert project.path("architecture.md").exists()
    project.path("changelog.md").unlink()
    assert project.documents.update().errors == ()


def test_an_update_that_can_do_nothing_at_all_raises(make):
    """Where no document can be brought up to date, the caller is told by an error."""
    project = make()
    project.path("").mkdir()
    for name in PROJECT_TYPES["software_development"].documents:
        project.path(name).write_text(end_marker("x"))
    with pytest.raises(DocumentUpdateError, match="does not begin before") as caught:
        project.documents.update()
    assert len(caught.value.__notes__) == 2


@pytest.mark.parametrize("what", ["folder", "file", "fifo"])
def test_nothing_is_written_outside_of_the_projects_docs(make, tmp_path_factory, what):
    """A symbolic link is not followed, and what is no regular file is not opened."""
    project = make()
    outside = tmp_path_factory.mktemp("outside")
    (outside / "changelog.md").write_text(
        f"{begin_marker('changelog')}\n{end_marker('changelog')}\n"
    )
    if what == "folder":
        project.path("").symlink_to(outside, target_is_directory=True)
    else:
        project.path("").mkdir()
        make_it = (
            project.path("changelog.md").symlink_to
            if what == "file"
            else lambda _: os.mkfifo(project.path("changelog.md"))
        )
        make_it(outside / "changelog.md")
    project.complete("Work")
    if what == "folder":
        with pytest.raises(DocumentUpdateError, match="symbolic link"):
            project.documents.update()
    else:
        assert [type(error) for error in project.documents.update().errors] == [DocumentUpdateError]
    assert [path.name for path in outside.iterdir()] == ["changelog.md"]
    assert "Work" not in (outside / "changelog.md").read_text()
    with pytest.raises(InvalidInputError):
        project.documents.restore("../outside.md", 1)


def test_hostile_titles_break_nothing(make):
    """Whatever a task or an artifact is called, the document keeps its shape."""
    project = make()
    title = f"</a>\n{end_marker('changelog')}\n# <script>alert(1)</script> | ``` [x](y)"
    project.complete(
        title,
        project.draft(title, f"## Design\n{end_marker('design')}\n```\nunclosed", title),
        summary=title,
    )
    project.complete("Harmless")
    project.documents.update()
    for name in PROJECT_TYPES["software_development"].documents:
        text = project.text(name)
        assert "<script>" not in text
        assert "</a>" not in text.replace('"></a>', "")
        assert "see_also" in section_contents(text)
    assert project.documents.check() == []


# --- versions and restoring -------------------------------------------------------------


def test_every_state_can_be_read_and_put_back(make):
    """An older text comes back as a new version; what stood there is a version too, even if nobody recorded it."""
    project = make()
    for title in ("One", "Two"):
        project.complete(title)
        project.documents.update()
    first, second = project.documents.versions("changelog.md")
    assert "Two" not in project.documents.read(first)
    assert project.documents.read(second) == project.text("changelog.md")
    edited = project.text("changelog.md") + "a last word"
    project.path("changelog.md").write_text(edited)

    restored = project.documents.restore(CHANGELOG, first)
    assert restored.version == 4
    assert project.text("changelog.md") == project.documents.read(first)
    assert (
        project.documents.read(project.documents.versions(project.path("changelog.md"))[2])
        == edited
    )
    assert project.documents.restore(CHANGELOG, 4) == restored, (
        "what is there already is not recorded again"
    )

    assert project.documents.update().written == (), "it stays until there is news"
    assert "can be brought up to date" in str(project.documents.check())
    project.complete("Three")
    report = project.documents.update()
    assert report.kept == ()
    assert all(title in project.text("changelog.md") for title in ("One", "Two", "Three"))


def test_a_version_that_is_not_there_is_named(make):
    """The error says which versions there are."""
    project = make()
    project.documents.update()
    with pytest.raises(InvalidInputError, match="has no version 7; those there are: 1 to 1"):
        project.documents.restore(CHANGELOG, 7)
    with pytest.raises(InvalidInputError, match="nothing is recorded"):
        project.documents.restore("docs/nothing.md", 1)


# --- templates ----------------------------------------------------------------------------


def test_a_template_of_the_users_own_takes_the_place_of_ours(make):
    """A file of the same name decides; changing it is news enough for an update."""
    project = make()
    project.complete("Work")
    project.documents.update()
    template = f"# Log\n{begin_marker('changelog')}\n{{% for e in entries %}}* {{{{ e.title }}}}\n{{% endfor %}}\n{end_marker('changelog')}\n"
    (project.home.templates / "changelog.md.j2").write_text(template)
    report = project.documents.update()
    assert [version.path for version in report.written] == [CHANGELOG]
    assert section_contents(project.text("changelog.md"))["changelog"] == "* Work"
    assert "section 'see_also' is none that its template knows" in str(report)


@pytest.mark.parametrize(
    ("template", "line", "reason"),
    [
        ("one\ntwo {{ nothing }}\n", 2, "'nothing' is undefined"),
        ("one\n{% for %}\n", 2, "[Ee]xpected"),
        ("{% set a = 1 %}\n\n{{ a / 0 }}\n", 3, "ZeroDivisionError"),
        ("{{ ''.__class__.__mro__ }}\n", 1, "unsafe"),
        ("{% include 'gone.md' %}\n", 1, "there is no template 'gone.md'"),
        ("no section\n", 0, "without a section"),
        ("<!-- vespera:section a -->\n", 0, "damaged markers"),
        (b"\xff\xfe", 0, "UnicodeDecodeError"),
    ],
)
def test_a_template_that_does_not_render_names_its_line(make, template, line, reason):
    """The person who wrote it can mend it; the other documents go on, and the mended one is taken up."""
    project = make()
    own = project.home.templates / "changelog.md.j2"
    own.write_bytes(template if isinstance(template, bytes) else template.encode())
    project.complete("Work")
    (error,) = project.documents.update().errors
    assert isinstance(error, TemplateError)
    assert (error.template, error.line) == ("changelog.md.j2", line)
    assert re.search(reason, error.reason)
    assert project.path("architecture.md").exists()
    assert not project.path("changelog.md").exists()
    own.unlink()
    assert [version.path for version in project.documents.update().written] == [CHANGELOG]


def test_an_artifact_that_cannot_be_read_is_listed_and_told(make):
    """Damage to one artifact costs its excerpt, not the document."""
    project = make()
    draft = project.draft("N", "## Design\n\nx\n")
    project.complete("Work", draft)
    project.content.path(draft.digest).unlink()
    report = project.documents.update()
    assert "is listed without its content" in str(report)
    assert "**Work**" in project.text("changelog.md")


# --- children ---------------------------------------------------------------------------------

_CHILD = """
import sys
from pathlib import Path
from vespera_orchestrator.home.config import Config
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.documents import Documents
from vespera_orchestrator.stores.sqlite import SQLiteStore
project, session = Path(sys.argv[1]), sys.argv[2]
home = Home(path=project / ".task_orchestrator", project=project, config=Config())
store = SQLiteStore.open(home.database)
orch = Documents(Scope(home, store, session_id=session), FolderContent(home.artifacts))
"""


def _child(project: Project, script: str, *args: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        script,
        str(project.home.project),
        project.session.id,
        *args,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

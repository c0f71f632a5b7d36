"""What we use of LanceDB without a promise. A failure here names what an upgrade has moved."""

from __future__ import annotations

import ast
import mmap
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vespera_orchestrator.artifacts.search import lancedb_private
from vespera_orchestrator.errors import ArtifactIndexError

SOURCE = Path(lancedb_private.__file__)
THREAD = "lancedb_private._stop_background_thread"
REGISTRY = "lancedb_private.embedding_functions"
MISSING = "lancedb_private.missing_package"
PANIC = "lancedb_private.translated_errors"


def moved(what: str, where: str) -> str:
    """Say what an upgrade has changed, and which function to look at."""
    return f"LanceDB moved {what}; look at {where}"


def test_the_background_loop_is_where_we_stop_its_thread():
    """A fresh import has one loop object, with the thread and the methods that we replace."""
    script = """
import threading
from lancedb import background_loop
background = getattr(background_loop, "LOOP", None)
print(isinstance(getattr(background, "thread", None), threading.Thread))
print(hasattr(getattr(background, "loop", None), "call_soon_threadsafe"))
print(callable(getattr(type(background), "_start", None)))
print(callable(getattr(type(background), "run", None)))
"""
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    answers = child.stdout.split()
    parts = ("LOOP.thread", "LOOP.loop", "LOOP._start", "LOOP.run")
    assert len(answers) == len(parts), moved("background_loop", THREAD) + child.stderr
    for part, answer in zip(parts, answers, strict=True):
        assert answer == "True", moved(f"background_loop.{part}", THREAD)


def test_no_thread_is_left_after_loading():
    """Importing LanceDB through our door leaves the threads that there were."""
    script = """
import threading
from vespera_orchestrator.artifacts.search import lancedb_private
lancedb_private.load()
print(*(thread.name for thread in threading.enumerate() if thread is not threading.main_thread()))
"""
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert child.stdout.split() == [], moved("the thread that it starts on import", THREAD)
    assert child.stderr == "", moved("the variable LANCEDB_LOG", "lancedb_private._import_quietly")


def test_the_registry_lists_its_functions():
    """The names of the embedders are in a dictionary of the registry, each with ``create``."""
    try:
        functions = lancedb_private.embedding_functions()
    except (AttributeError, ImportError) as exc:
        pytest.fail(moved(f"the registry's _functions ({exc})", REGISTRY))
    assert isinstance(functions, dict), moved("the registry's _functions", REGISTRY)
    for name in ("sentence-transformers", "openai", "ollama"):
        assert name in functions, moved(f"the embedder {name!r}", REGISTRY)
        assert callable(functions[name].create), moved("EmbeddingFunction.create", REGISTRY)


def test_a_missing_package_is_named_in_the_words_that_we_read():
    """LanceDB says "Please install" and the name of the package."""
    lancedb_private.load()
    try:
        from lancedb.util import attempt_import_or_raise
    except ImportError:
        pytest.fail(moved("util.attempt_import_or_raise", MISSING))
    with pytest.raises(ImportError) as caught:
        attempt_import_or_raise("no_such_module", "no-such-package")
    package = lancedb_private.missing_package(caught.value)
    assert package == "no-such-package", moved('the words "Please install"', MISSING)


def test_a_panic_has_the_type_that_we_translate():
    """The extension module has the name of pyo3's panic in it."""
    lancedb_private.load()
    import lancedb._lancedb

    library = Path(lancedb._lancedb.__file__)
    with (
        library.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        name = f"{lancedb_private._PANIC_MODULE}.PanicException".encode()
        assert content.find(name) >= 0, moved("the type of its panics", PANIC)


def test_panics_and_builtin_errors_become_ours():
    """Nothing but our own errors leaves the door; an interrupt goes through."""
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    for foreign in (panic("index out of bounds"), RuntimeError("lance error"), KeyError("vector")):
        with (
            pytest.raises(ArtifactIndexError, match="cannot read it"),
            lancedb_private.translated_errors("read it"),
        ):
            raise foreign
    with pytest.raises(KeyboardInterrupt), lancedb_private.translated_errors("read it"):
        raise KeyboardInterrupt
    with (
        pytest.raises(ArtifactIndexError, match="free some disk space"),
        lancedb_private.translated_errors("write it"),
    ):
        raise RuntimeError("LanceError(IO): No space left on device (os error 28), /build/x.rs:1")


def test_a_coroutine_runs_to_its_end_without_a_thread():
    """Calls run in the calling thread, on a loop that ends with them."""

    async def current_thread():
        return threading.current_thread()

    assert lancedb_private.run(current_thread()) is threading.current_thread()


def test_no_other_module_imports_lancedbs_private_names():
    """Only the door touches names with an underscore, and only the table imports the rest."""
    room = SOURCE.parent
    allowed = {"lancedb_private.py", "lancedb_table.py"}
    for path in sorted(room.parent.rglob("*.py")):
        source = path.read_text("utf-8")
        if "lancedb" not in source and "pyarrow" not in source:
            continue
        tree = ast.parse(source)
        modules = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
        if path.name not in allowed:
            assert not {"lancedb", "pyarrow"} & modules, (
                f"{path.name} goes past the door to LanceDB"
            )

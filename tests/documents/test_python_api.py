"""Reading Python that somebody else wrote, without running it."""

from __future__ import annotations

from textwrap import dedent

import pytest

from vespera_orchestrator.documents.sources.python_api import read_python


def test_python_is_read_without_being_run():
    """Public names with signature and first docstring line; `__all__` decides if there is one."""
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

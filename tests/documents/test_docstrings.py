"""Docstrings in which reStructuredText stands, as Markdown."""

from __future__ import annotations

from textwrap import dedent

import pytest

from vespera_orchestrator.documents.sources.docstrings import as_markdown, deprecation_in
from vespera_orchestrator.documents.sources.python_code import read_python

_FENCED = "```python\npour(1)\n```"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("Two lines\nof prose.", "Two lines of prose."),
        ("See :class:`~pkg.Kettle`\\ s.", "See `pkg.Kettle`s."),
        (".. versionadded:: 24.1.0\n\nMore.", "*New in version 24.1.0*.\n\nMore."),
        (
            ".. versionchanged:: 2.0\n   *lid* may\n   be open.",
            "*Changed in version 2.0*: *lid* may be open.",
        ),
        (".. warning::\n\n    Hot.\n\nCold.", "**Warning:** Hot.\n\nCold."),
        (".. note:: Hot.", "**Note:** Hot."),
        ("Sugar for::\n\n   pour(1)\n\nThat is all.", f"Sugar for:\n\n{_FENCED}\n\nThat is all."),
        (".. code-block:: python\n   :linenos:\n\n   pour(1)", _FENCED),
        (".. doctest::\n\n    >>> 1\n    1", "```pycon\n>>> 1\n1\n```"),
        ("A\n\n    >>> 1\n    1", "A\n\n```pycon\n>>> 1\n1\n```"),
        (".. _label:\n\nA.", "A."),
        (".. deprecated:: 2\n   Gone.\n\nA.", "A."),
        ("- one\n- two", "- one\n- two"),
        ("A line ends with::", "A line ends with:"),
        ("", ""),
    ],
)
def test_what_restructuredtext_writes_differently(text, markdown):
    """A directive becomes what it shows; what is Markdown already stays."""
    assert as_markdown(text) == markdown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "A.\n\n.. deprecated:: 26.1.0\n   Use `pour`.\n   Soon.\n",
            "since 26.1.0. Use `pour`. Soon.",
        ),
        ("A.\n\n.. deprecated:: 26.1.0\n", "since 26.1.0."),
        ("A.\n\nDeprecated: use `pour`\ninstead.\n", "use `pour` instead."),
        ("This is not deprecated.", None),
    ],
)
def test_a_deprecation_is_told_whole(text, said):
    """With its version and its reason, however it is written."""
    assert deprecation_in(text, str.strip) == said


def _class(source: str):
    return read_python(dedent(source), "pkg", is_package=False).definitions["Kettle"]


def test_attributes_are_described_once():
    """What a class says of its attributes stands beside them, and other sections stay whole."""
    kettle = _class('''
        class Kettle:
            """A kettle.

            Attributes:
                size: How
                    large.
                maker: Who made it.
            """

            size: int = attrs.field(default=3, hash=False)
            lids: list = field(default_factory=list)
        ''')
    size, lids = kettle.members
    assert (size.signature, size.summary) == ("size: int = 3", "How large.")
    assert lids.signature == "lids: list = list()"
    assert kettle.doc == "A kettle.\n\n**Attributes**\n\n- `maker`: Who made it."


def test_what_is_returned_is_one_thing_on_several_lines():
    """And a special method that says nothing is not shown."""
    kettle = _class('''
        class Kettle:
            def pour(self) -> str:
                """Pour.

                Returns:
                    What is in the cup, which
                    may be nothing.
                """
            def __enter__(self): ...
        ''')
    (pour,) = kettle.members
    assert "- `str`: What is in the cup, which may be nothing." in pour.doc


def test_many_overloads_are_counted():
    """Ten pages of one function help nobody."""
    overloads = "\n".join(
        f"    @t.overload\n    def pour(self, a{number}): ..." for number in range(9)
    )
    kettle = _class(f"import typing as t\nclass Kettle:\n{overloads}\n    def pour(self, *a): ...")
    assert kettle.members[0].signature.count("def pour") == 3
    assert kettle.members[0].signature.endswith("# and 6 more overloads")


def test_an_example_that_prints_a_fence_stays_whole():
    """What stands in an example does not end it."""
    kettle = _class("""
        class Kettle:
            '''A kettle.

            Examples:
                >>> print(kettle)
                ```
                hot
                ```
            '''
        """)
    assert kettle.doc.endswith("````pycon\n>>> print(kettle)\n```\nhot\n```\n````")


def test_a_section_directly_behind_another_is_one():
    """People leave out the blank line that separates them."""
    kettle = _class('''
        class Kettle:
            def pour(self, cup_) -> bool:
                """Pour.

                Parameters:
                    cup\\_: Where
                        to.
                Returns:
                    Bool: Whether it is full.
                """
        ''')
    (pour,) = kettle.members
    assert "**Parameters**\n\n- `cup_`: Where to." in pour.doc
    assert "**Returns**\n\n- `Bool`: Whether it is full." in pour.doc


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("See `Trio <https://trio.io/>`_ or `x`.", "See [Trio](https://trio.io/) or `x`."),
        (
            ".. versionadded:: 2.1 `Trio <https://trio.io/>`__ support.",
            "*New in version 2.1*: [Trio](https://trio.io/) support.",
        ),
        (".. versionadded:: 2.1\n\n   It *all*.", "*New in version 2.1*: It *all*."),
        (":math:`a\\_b * 2`", "`a_b * 2`"),
        (".. math::\n\n   a\\_b", "```math\na\\_b\n```"),
    ],
)
def test_restructured_text_is_markdown(text, shown):
    """Links, versions and formulas are written otherwise there."""
    assert as_markdown(text) == shown

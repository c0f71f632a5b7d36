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
        ("E.g.,\n\n::\n\n    pour(1)", f"E.g.,\n\n{_FENCED}"),
        ("Tea\n~~~\n\nHot.", "## Tea\n\nHot."),
        ("*****\nTea\n*****\nHot.", "## Tea\n\nHot."),
        ("A title that is long\n~~~~~\n\nHot.", "## A title that is long\n\nHot."),
        ("Code:\n~~~\npour(1)\n~~~", "Code:\n~~~\npour(1)\n~~~"),
        (
            ":copyright: (c) 2017 by Iris,\n    and others.\n:license: MIT.",
            "- **Copyright:** (c) 2017 by Iris, and others.\n- **License:** MIT.",
        ),
        ("[0]: /lids\n[1]: /spouts", "[0]: /lids\n[1]: /spouts"),
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


@pytest.mark.parametrize(
    ("docstring", "summary", "doc"),
    [
        ("pkg.kettle\n~~~~~~\n\nBoils water.", "Boils water.", "Boils water."),
        ("Kettles\n~~~~~~~\n\nThey boil.", "They boil.", "###### Kettles\n\nThey boil."),
        ("Kettles\n=======\n", "Kettles", "###### Kettles"),
        ("All kettles:\n\n- one", "All kettles", "All kettles:\n\n- one"),
    ],
)
def test_the_title_of_a_module_is_no_code(docstring, summary, doc):
    """Tildes below it would begin code; the first sentence is what a table says of the module."""
    file = read_python(f'"""{docstring}"""', "pkg.kettle", is_package=False)
    assert (file.summary, file.doc) == (summary, doc)


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
        (
            ".. versionchanged:: 2.1 The lid\n    is `open`.",
            "*Changed in version 2.1*: The lid is `open`.",
        ),
        ("``\\b``, `Lid`\\ s, `Lid`\\s, `lid`\\ -ed.", "``\\b``, `Lid`s, `Lid`s, `lid`-ed."),
        ("#. one\n#. two", "1. one\n1. two"),
        ("If Rich_ is there.", "If Rich is there."),
        ("No __str__, ``__repr__`` or __x__.y.", "No `__str__`, ``__repr__`` or `__x__`.y."),
        ("`sys.out`\\ ``.buffer``", "`sys.out.buffer`"),
        ("``x``: follow `best ways <best-ways>`.", "``x``: follow best ways."),
        ("Use `install <name>`.", "Use `install <name>`."),
        ("Use Rich_ or ``lid_``.", "Use Rich or ``lid_``."),
        ("`Rich docs`_, rich_.\n\n.. _rich: https://r.io", "Rich docs, [rich](https://r.io)."),
        ("A name such as id_ or snake_case.", "A name such as id_ or snake_case."),
        (".. math::\n\n   a\\_b", "```math\na\\_b\n```"),
    ],
)
def test_restructured_text_is_markdown(text, shown):
    """Links, versions and formulas are written otherwise there."""
    assert as_markdown(text) == shown


_FIELDS = '''
    class Kettle:
        """A kettle.

        :param size: How
                     large.
        :param str maker: Who made it.

        .. versionchanged:: 2
            It whistles.
        """

        size: int
        def __init__(self, size, maker): ...
        def pour(self, cup):
            """Pour.

            :param cup: Where to.
            """
    '''


def test_what_follows_the_fields_is_no_part_of_the_last_one():
    """And a parameter is told also where an attribute has its name."""
    kettle = _class(_FIELDS)
    assert kettle.doc == (
        "A kettle.\n\n**Parameters**\n\n- `size`: How large.\n- `maker` (`str`): Who made it."
        "\n\n*Changed in version 2*: It whistles."
    )
    (pour,) = [member for member in kettle.members if member.name == "pour"]
    assert pour.doc == "Pour.\n\n**Parameters**\n\n- `cup`: Where to."


def test_parameters_of_a_dataclass_are_its_attributes():
    """They stand beside them, also where their type is written first."""
    kettle = _class('''
        class Kettle:
            """A kettle.

            :param size: How large.
            :ivar List[Lid] lids: What closes it.
            """

            size: int
        ''')
    assert [member.summary for member in kettle.members] == ["How large."]
    assert kettle.doc == "A kettle.\n\n**Attributes**\n\n- `lids` (`List[Lid]`): What closes it."


def test_further_names_of_a_method_stand_beside_it():
    """Ten lines of ``debug = pour`` are no attributes."""
    kettle = _class("""
        class Kettle:
            def pour(self): ...
            serve = pour
            size = pour_size
        """)
    assert [(member.name, member.kind) for member in kettle.members] == [
        ("pour", "function"),
        ("serve", "alias"),
        ("size", "value"),
    ]
    assert kettle.members[0].aliases == ("`serve`",)


def test_what_stands_for_a_failed_import_is_no_value():
    """It says nothing of what the name is where the import succeeds."""
    source = "try:\n    from pkg import lid\nexcept ImportError:\n    lid = None\nsize = 1\n"
    read = read_python(source, "pkg", is_package=True)
    assert list(read.definitions) == ["size"]
    assert read.uses == {"pkg.lid"}


def test_a_parameter_may_need_more_than_a_line():
    """What is no first paragraph stands below it, as a list or as code."""
    kettle = _class('''
        class Kettle:
            def pour(self, cup):
                """Pour.

                :param cup: Where to, such as::

                        pour(cup)

                    - warm
                    - clean
                """
        ''')
    assert kettle.members[0].doc == (
        "Pour.\n\n**Parameters**\n\n- `cup`: Where to, such as:\n\n"
        "  ```python\n  pour(cup)\n  ```\n\n  - warm\n  - clean"
    )

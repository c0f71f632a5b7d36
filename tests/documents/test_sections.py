"""Sections of a document: pure text in, pure text out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.documents import outside_sections
from vespera_orchestrator.documents.sections import (
    MarkerError,
    begin_marker,
    end_marker,
    normalize_sections,
    parse_sections,
    replace_sections,
    section_contents,
)

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


@given(_documents(), st.dictionaries(st.sampled_from(["changelog", "api", "other"]), _plain))
def test_replacing_leaves_everything_outside_as_it_was(text, contents):
    """Text outside the markers survives, character for character, and again changes nothing."""
    once = replace_sections(text, contents)
    assert outside_sections(once) == outside_sections(text)
    assert replace_sections(once, contents) == once
    assert {
        name: body for name, body in section_contents(once).items() if name not in contents
    } == {name: body for name, body in section_contents(text).items() if name not in contents}
    assert normalize_sections(normalize_sections(text)) == normalize_sections(text)


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
            "<!-- vespera:section a -->\n<!-- vespera:end a -->\n" * 2,
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

"""Sections of a document: pure text in, pure text out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.documents import outside_sections
from vespera_orchestrator.documents.comparison import merge_sections
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


_PAIR = "<!-- vespera:section a -->\ntext\n<!-- vespera:end a -->\n"


@pytest.mark.parametrize(
    "text",
    [
        f"```html\n{_PAIR}```\n",
        f"~~~~\n```\n{_PAIR}~~~~\n",
        "    <!-- vespera:section a -->\n",
        f"<pre>\n{_PAIR}</pre>\n",
        "text with <!-- vespera:end a --> in it\n",
        "> <!-- vespera:section a -->\n",
    ],
)
def test_what_markdown_shows_as_it_is_holds_no_marker(text):
    """A document can show what markers look like."""
    assert parse_sections(text) == ()
    ours = f"{begin_marker('b')}\n{end_marker('b')}\n"
    (section,) = parse_sections(f"{text}\n-->\n\n{ours}")
    assert section.name == "b"


@pytest.mark.parametrize("inside", ["```\n", "- x\n  ~~~\n", "<pre>\n", "<!-- \n", "    code\n"])
def test_what_is_left_open_in_a_section_ends_with_it(inside):
    """A fence that somebody forgot to close does not swallow the sections behind it."""
    broken = f"{begin_marker('a')}\n{inside}{end_marker('a')}\n"
    text = broken + f"{begin_marker('b')}\n{end_marker('b')}\n"
    assert [section.name for section in parse_sections(text)] == ["a", "b"]


def test_front_matter_is_no_markdown():
    """A file may begin with settings of another tool, and they may hold anything."""
    text = f'---\ntitle: "x"\nnote: |\n  ```\n---\n{_PAIR}'
    assert replace_sections(text, {"a": "new"}) == text.replace("text", "\nnew\n")


@pytest.mark.parametrize("marker", [" <!-- vespera:section a -->", "- a\n  <!-- vespera:end a -->"])
def test_an_indented_marker_is_told(marker):
    """It may have been moved by accident: nobody guesses which."""
    with pytest.raises(MarkerError, match="is indented"):
        parse_sections(f"{marker}\n")


def _with_sections(between="", **contents):
    pairs = [
        f"{begin_marker(name)}\n\n{content}\n\n{end_marker(name)}\n"
        for name, content in contents.items()
    ]
    return f"# Title\n\n{between}" + "\n".join(pairs)


@pytest.mark.parametrize(
    ("ours", "theirs", "merged"),
    [
        # Different lines of one section, and words around the sections on both sides.
        (
            {"a": "1\n2\nx", "b": "b"},
            {"a": "y\n2\n3", "b": "b", "between": "Mine.\n\n"},
            {"a": "y\n2\nx", "b": "b"},
        ),
        # The same line: what is not ours stays, whichever side it is on.
        ({"a": "ours"}, {"a": "hand"}, {"a": "hand"}),
        ({"a": "hand"}, {"a": "ours"}, {"a": "hand"}),
        ({"a": "hand"}, {"a": "other"}, None),
        # A section that one side has deleted while we went on writing it stays deleted.
        ({"a": "1\n2\n3", "b": "ours"}, {"a": "1\n2\n3"}, {"a": "1\n2\n3"}),
        ({"a": "1\n2\n3", "b": "hand"}, {"a": "1\n2\n3"}, None),
    ],
)
def test_two_sides_of_a_document_are_merged(ours, theirs, merged):
    """Line by line, then section by section; only two edits by hand are a conflict."""
    base = _with_sections(a="1\n2\n3", b="b")
    text = merge_sections(
        base,
        _with_sections(**ours),
        _with_sections(**theirs),
        lambda _, content: "ours" in content,
    )
    if merged is None:
        assert text is None
        return
    assert section_contents(text) == merged
    assert outside_sections(text)[0].startswith("# Title\n\n" + theirs.get("between", ""))

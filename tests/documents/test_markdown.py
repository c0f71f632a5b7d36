"""Markdown: text of others is shown and never obeyed; theirs is read as Markdown reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from vespera_orchestrator.documents.markdown import (
    code,
    embed,
    front_matter,
    headed_parts,
    inline,
    read_alike,
    sentences_in,
    with_targets,
    without_empty_parts,
)
from vespera_orchestrator.documents.sections import begin_marker, end_marker, parse_sections

_plain = st.text(st.sampled_from("ab <>!-#`~|\r\n\t\x0c\u2028\ufeffé世"), max_size=30)


@given(st.text(max_size=200) | _plain)
def test_foreign_text_forms_no_marker_and_no_second_line(text):
    """No title, summary or artifact can end a section, begin one, or break out of its line."""
    hostile = f"{text}\n{end_marker('changelog')}\n{begin_marker('api')}\n{text}"
    for given_text in (text, hostile):
        assert "\n" not in inline(given_text)
        assert "\n" not in code(given_text)
        body = f"{inline(given_text)}\n\n{code(given_text)}\n\n{embed(given_text, 4)}\n"
        document = f"{begin_marker('changelog')}\n{body}{end_marker('changelog')}\n"
        behind = f"{begin_marker('api')}\n{end_marker('api')}\n"
        assert [section.name for section in parse_sections(document + behind)] == [
            "changelog",
            "api",
        ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines | and <b>html</b>", r"two lines \| and &lt;b>html&lt;/b>"),
        (
            "*bold* `code` [link](x) snake_case __init__",
            r"\*bold\* `code` \[link\](x) snake_case \_\_init\_\_",
        ),
        ("`a<b` <c>", "`a<b` &lt;c>"),
        ("sphinx<9, 1 < 2 <", "sphinx<9, 1 < 2 &lt;"),
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


def test_an_embedded_text_keeps_code_and_disarms_html():
    """Code stays as it was written; HTML and link definitions do nothing, and fences end."""
    text = "<details> `<b>`\n[a]: http://x\n<https://x.org>\n```html\n<b>\n<!-- vespera:end a -->"
    assert embed(text, 4).split("\n") == [
        "&lt;details> `<b>`",
        "\\[a]: http://x",
        "<https://x.org>",
        "```html",
        "<b>",
        " <!-- vespera:end a -->",
        "```",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("How doth  \nthe little  \n", "How doth\\\nthe little"),
        ("- one  \n- two  \n  more", "- one\n- two\\\n  more"),
        ("# Verse  \nHow  \n\ndoth", "#### Verse\n\nHow\n\ndoth"),
        ("| a |  \n| - |  \n", "| a |\n| - |"),
        ("```\na  \nb\n```", "```\na\nb\n```"),
    ],
)
def test_lines_of_a_verse_stay_lines(text, shown):
    """Two spaces at the end break a line where the paragraph goes on, and only there."""
    assert embed(text, 4) == shown


def test_headings_of_an_embedded_text_stand_below_ours():
    """Whatever level they had, and however they were written."""
    assert embed("Title\n=====\n\n### Sub\n\nx", 4) == "#### Title\n\n###### Sub\n\nx"
    assert embed("###### Deep\n\nx", 3) == "### Deep\n\nx"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("See [the table](#elsewhere).", "See the table."),
        ("# Here\n\nSee [above](#here).", "#### Here\n\nSee [above](#here)."),
        ("`[a](#b)` and ``[c](#d)``", "`[a](#b)` and ``[c](#d)``"),
        ("[`why()`](#why), [it](https://a.org/#b)", "`why()`, [it](https://a.org/#b)"),
        ("See [that file](../other.md#part).", "See that file."),
    ],
)
def test_a_link_to_what_did_not_come_along_becomes_its_words(text, shown):
    """It would lead nowhere; what looks like one in code is none."""
    assert embed(text, 4, has_place=False) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("See [the\ntable][1].\n\n[1]: https://a.org", "See [the\ntable](https://a.org)."),
        ("[A] and [a][], [b]\n\n[a]: <x.md> 'A'\n", "[A](x.md) and [a](x.md), [b]"),
        ("`[a]` ![a] [a](y)\n\n[a]: x.md", "`[a]` ![a] [a](y)"),
        ("text\n[a]: x.md", "text\n\\[a]: x.md"),
        ("```\n[a]: x.md\n```\n[a]", "```\n[a]: x.md\n```\n[a]"),
    ],
)
def test_a_link_holds_its_target(text, shown):
    """The list of targets at the end of a text would be that of the whole document."""
    assert embed(text, 4) == shown


def test_a_text_that_would_swallow_what_follows_is_quoted():
    """A fence that is left open in a list ends with the quotation."""
    assert embed("- a\n\n  <!--\n", 4) != ""
    open_fence = embed("1. a\n\n   ```\n   x", 4)
    assert parse_sections(f"{open_fence}\n\n{begin_marker('a')}\n{end_marker('a')}\n") != ()


def test_a_long_text_is_cut_and_says_so():
    """A document stays readable; the artifact has the rest."""
    assert embed("line\n" * 10_000, 4).endswith("\n\n…")
    assert len(embed("x\n" * 100_000, 4)) < 25_000


def test_front_matter_is_read_and_left_out():
    """Simple settings decide where a text belongs."""
    text = '---\ntitle: "A house"\ntags: [place, old]\nkinds:\n  - rule\n---\n\n# Text\n'
    settings, body = front_matter(text)
    assert settings == {"title": "A house", "tags": ["place", "old"], "kinds": ["rule"]}
    assert body == "\n# Text\n"
    assert front_matter("no\n---\nx: y\n---\n")[0] == {}


def test_a_label_heads_what_follows():
    """A line such as ``Decisions:`` does, without being a heading; a file's name does not."""
    parts = headed_parts("Some text.\n\nDecisions:\n\n- SQLite\n\n**Status:** done\n")
    assert [(part.title, part.text) for part in parts] == [
        ("Decisions", "- SQLite"),
        ("Status", "done"),
    ]


def test_parts_and_fences_are_found_where_markdown_sees_them():
    """A heading inside a code fence is no heading."""
    text = "# A\none\n```python\n# no heading\nx = 1\n```\n## B ##\ntwo\n# C\nthree"
    assert [(part.title, part.text.split("\n")[-1]) for part in headed_parts(text)] == [
        ("A", "two"),
        ("B", "two"),
        ("C", "three"),
    ]


@pytest.mark.parametrize("before", ["", "- ", "> ", "1. ", "> - ", "  ", "* > "])
@pytest.mark.parametrize(
    "lines",
    [
        ("# Owned",),
        ("Owned", "==="),
        ("Owned", "---"),
        ("[last]: http://evil",),
        ("[last]:", "http://evil"),
        ("[la", "st]: http://evil"),
    ],
)
def test_nothing_within_lists_or_quotations_reaches_beyond_the_text(before, lines):
    """No heading above its place, and no address for what others write in brackets."""
    first, *rest = lines
    indentation = before.translate({ord(mark): " " for mark in "-*1."})
    text = "\n".join([f"{before}{first}", *(f"{indentation}{line}" for line in rest)])
    parser = MarkdownIt("commonmark")
    environment = {}
    tokens = parser.parse(f"## Ours\n\n{embed(text, 4)}\n\n[last] [la st]\n", environment)
    headings = [token.tag for token in tokens if token.type == "heading_open"]
    assert all(tag >= "h4" for tag in headings[1:]), tokens
    assert environment.get("references", {}) == {}


def test_rules_and_lists_stay_as_they_are():
    """What forms no heading is not escaped."""
    text = "- one\n- two\n\n---\n\n> quoted\n>\n> ---\n\n| a |\n| --- |\n| 1 |"
    assert embed(text, 4) == text


def test_lists_have_dashes_and_code_has_what_it_had():
    """One bullet for all that stands in a document; what only looks like one stays."""
    text = "* one\n  + two\n\nSo:\n\n    * code\n\n```c\n* code\n```\n\n* * *\n\n3 * 4\n"
    assert embed(text, 3) == (
        "- one\n  - two\n\nSo:\n\n    * code\n\n```c\n* code\n```\n\n* * *\n\n3 * 4"
    )


@pytest.mark.parametrize(
    ("one", "other", "are_alike"),
    [
        ("- a\n- *b*", "* a\n* _b_", True),
        ("| a |\n| --- |\n| b |", "| a   |\n| :-- |\n| b   |", False),
        ("| a |\n| --- |\n| b |", "| a   |\n| --- |\n| b   |", True),
        ("one\ntwo", "one two", True),
        ("1. a\n2. b", "1. a\n1. b", True),
        ("1. a\n2. b", "2. a\n3. b", False),
        ("## [1]\n\n[1]: #1", "## [1]", False),
        ("## [2]\n\n[2]: #2", "## [2]", True),
        ("## [1]\n\n[1]: #1", "## [1]\n\n[1]: https://a.b/1", False),
        ("# a", "## a", False),
        ("```\na  b\n```", "```\na b\n```", False),
        ("a <!-- x -->", "a <!-- y -->", False),
    ],
)
def test_texts_that_read_alike(one, other, are_alike):
    """A formatter changes how a text is written, not what it says."""
    assert read_alike(one, other, "[2]: #2\n[3]: #3") is are_alike


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two is\nlonger! 3 is no beginning", ["One.", "Two is longer! 3 is no beginning"]),
        ("See Smith et al. (2020). It holds.", ["See Smith et al. (2020).", "It holds."]),
        ("By M. Axer, cf. Fig. 2. »So.« Then", ["By M. Axer, cf. Fig. 2.", "»So.«", "Then"]),
        ("Es gilt z.B. Äpfel. Ändern?", ["Es gilt z.B. Äpfel.", "Ändern?"]),
        ("雨だ。行こう。", ["雨だ。", "行こう。"]),
    ],
)
def test_sentences_end_where_readers_see_an_end(text, sentences):
    """An abbreviation, an initial and a number have points as well."""
    assert sentences_in(text) == sentences


def test_a_heading_without_anything_below_it_is_left_out():
    """Also one that has only such headings below it."""
    assert without_empty_parts("# A\n\n## B\n\n# C\n\nx\n\n## D\n") == "# C\n\nx\n"


def test_targets_are_changed_in_links_and_pictures_only():
    """Code, addresses of the web and headings of the same text stay."""
    text = (
        '[a](x) ![b](y "B") [![c](z)](x) `[d](x)` [e](https://x) [f](#x) \\[g](x)\n```\n[h](x)\n```'
    )
    assert with_targets(text, str.upper) == (
        '[a](X) ![b](Y "B") [![c](z)](X) `[d](x)` [e](https://x) [f](#x) \\[g](x)\n```\n[h](x)\n```'
    )

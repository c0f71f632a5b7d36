"""Markdown: text of others is shown and never obeyed; theirs is read as Markdown reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_orchestrator.documents.markdown import (
    code,
    fenced_code,
    headed_parts,
    inline,
    quote,
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
        assert all(line.startswith(">") for line in quote(given_text).split("\n") if line)
        body = f"{inline(given_text)}\n{code(given_text)}\n{quote(given_text)}\n"
        document = f"{begin_marker('changelog')}\n{body}{end_marker('changelog')}\n"
        assert [section.name for section in parse_sections(document)] == ["changelog"]


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
    """Code in an excerpt stays as it was written; HTML and link definitions do nothing."""
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

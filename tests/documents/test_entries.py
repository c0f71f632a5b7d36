"""Entries of several homes in one section: pure text in, pure text out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_orchestrator.documents.entries import (
    FROM_FILES,
    combine,
    differs_by_foreign_entries,
    foreign_headings,
    has_foreign,
    ids_in,
)
from vespera_orchestrator.documents.sections import section_contents

GOLDEN = Path(__file__).parent / "golden"
OTHERS = frozenset("uvwxyz")
"""The last character of the ids that another home made."""
_KINDS = ("Added", "Changed", "Removed", "Fixed")
_TEXTS = (
    "It is so.",
    "First.\n\n##### Below\n\n```\n# no heading\n```",
    "- one\n- two",
)


def is_foreign(ids):
    """Tell whether another home made all of these."""
    return bool(ids) and all(each[-1] in OTHERS for each in ids)


def comment(who):
    """Return what stands behind a change."""
    return f"<!-- task some_{who} (t_00000000000{who}) -->"


def change(who, *others):
    """Return the lines of changes."""
    return "\n".join(f"- Change {each}. {comment(each)}" for each in (who, *others))


def note(who, title, text="It is so."):
    """Return a text below a heading."""
    origin = f"<!-- artifact a_00000000000{who}, task b (t_00000000000{who}) -->"
    return f"### {title}\n\n{origin}\n\n{text}"


def told(*chapters):
    """Return what files say of a subject, as it stands behind its text."""
    listed = "\n".join(f"- {chapter}" for chapter in chapters)
    return f"\n\n{FROM_FILES}\n\n**Appears in**\n\n{listed}"


@st.composite
def _changelogs(draw, who):
    """What a home writes of the changes it knows."""
    blocks, definitions = [], []
    for version in ("Unreleased", "2.0.0", "1.0.0"):
        by_kind = {kind: draw(st.lists(st.sampled_from(who), unique=True)) for kind in _KINDS}
        if version != "Unreleased" and not any(by_kind.values()):
            continue
        blocks.append(f"## [{version}]")
        definitions.append(f"[{version}]: #{version.lower()}")
        for kind, listed in by_kind.items():
            if listed:
                blocks += [f"### {kind}", change(*listed)]
    return "\n\n".join([*blocks, "\n".join(definitions)])


@st.composite
def _notes(draw, who):
    """What a home writes about its subjects."""
    blocks = []
    for each in draw(st.lists(st.sampled_from(who), unique=True)):
        title = draw(st.sampled_from(["Tea", "Milk", f"Cup {each}"]))
        # Homes with the same files say the same, once under a heading.
        facts = "" if any(f"### {title}\n" in block for block in blocks) else told("one")
        blocks.append(note(each, title, draw(st.sampled_from(_TEXTS)) + facts))
    return "\n\n".join(blocks) or "Nothing is known yet."


@given(
    st.one_of(
        st.tuples(_changelogs("abc"), _changelogs("uvw")), st.tuples(_notes("abc"), _notes("uvw"))
    )
)
def test_two_homes_agree(texts):
    """Each adds its own to what the other wrote; nobody's is lost, and then both are content."""
    ours, theirs = texts

    def is_ours(ids):
        return not is_foreign(ids)

    both = combine(ours, theirs, is_foreign)
    assert ids_in(both) == ids_in(ours) | ids_in(theirs)
    assert differs_by_foreign_entries(both, ours, is_foreign)
    assert combine(ours, both, is_foreign) == both, "the first has nothing to add"
    assert combine(theirs, both, is_ours) == both, "neither has the second"
    assert differs_by_foreign_entries(both, theirs, is_ours)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.md")), ids=lambda path: path.name)
def test_a_section_of_one_home_stays_as_it_is(path):
    """Of whole documents every entry is recognised; taken apart and put together it is the same."""
    contents = section_contents(path.read_text("utf-8").replace("_…", "_00000000000a"))
    for content in contents.values():
        assert combine(content, content, is_foreign) == content
        everything = combine("", content, lambda ids: bool(ids))
        assert ids_in(everything) == ids_in(content)


def test_entries_are_put_where_they_were():
    """A new entry comes first, a kind of change in its usual place, a version in its order."""
    head = "## [Unreleased]\n\n### Added\n\n"
    ours = f"{head}{change('b', 'a')}\n\n### Security\n\n{change('c')}"
    theirs = f"{head}{change('a', 'u')}\n\n### Fixed\n\n{change('v')}"
    fixed = f"### Fixed\n\n{change('v')}\n\n### Security\n\n{change('c')}"
    expected = f"{head}{change('b', 'a', 'u')}\n\n{fixed}"
    assert combine(ours, theirs, is_foreign) == expected


def test_texts_about_one_subject_stand_under_one_heading():
    """The other home's comes behind ours, and each stays a text of its own."""
    both = combine(note("a", "Tea", "Ours."), note("u", "Tea", "Theirs."), is_foreign)
    assert both.count("### Tea") == 1
    assert both.index("Ours.") < both.index("Theirs.")
    assert has_foreign(both, is_foreign)
    assert foreign_headings(both, is_foreign) == [], "half of it is ours"


def test_what_files_say_of_a_subject_stands_there_once():
    """As it is now, whichever home writes it; neither takes the other's for an edit."""

    def is_ours(ids):
        return not is_foreign(ids)

    ours = note("a", "Tea", "Ours." + told("one"))
    theirs = note("u", "Tea", "Theirs." + told("one", "two"))
    both = combine(theirs, ours, is_ours)
    assert (both.count("Appears in"), both.count("- two")) == (1, 1)
    assert differs_by_foreign_entries(both, ours, is_foreign)
    due = note("a", "Tea", "Ours." + told("one", "two"))
    assert combine(due, both, is_foreign) == both, "there is nothing to add"
    later = combine(note("a", "Tea", "Ours." + told("two")), both, is_foreign)
    assert (later.count("Appears in"), later.count("- one")) == (1, 0)
    assert differs_by_foreign_entries(later, both, is_ours)
    edited = both.replace("- two", "- two, by hand")
    assert not differs_by_foreign_entries(edited, theirs, is_ours)


def test_the_sentence_that_there_is_nothing_goes():
    """It would not be true beside what another home has."""
    theirs = note("u", "Tea")
    assert combine("Nothing yet.", theirs, is_foreign) == theirs
    assert differs_by_foreign_entries(theirs, "Nothing yet.", is_foreign)


@pytest.mark.parametrize(
    "edited",
    [
        note("a", "Tea", "It is not so.") + "\n\n" + note("u", "Milk"),
        "A word before.\n\n" + note("a", "Tea") + "\n\n" + note("u", "Milk"),
        note("a", "Coffee") + "\n\n" + note("u", "Milk"),
        note("u", "Milk"),
    ],
    ids=["another word", "a word before", "another heading", "taken away"],
)
def test_an_edit_of_what_is_ours_is_one(edited):
    """However much another home has written beside it."""
    assert not differs_by_foreign_entries(edited, note("a", "Tea"), is_foreign)


def test_an_example_of_a_comment_is_none():
    """A text of ours that shows one in a block of code stays ours as a whole."""
    text = note("a", "Tea", f"```\n{comment('u')}\n```\n\nSee above.")
    assert not has_foreign(text, is_foreign)
    assert combine(text, text, is_foreign) == text

"""Whole documents, judged by reading: the files in ``golden`` are what three projects get.

After a change that is meant, write them anew and read them: ``WRITE_GOLDEN=1 pytest`` this file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from textwrap import dedent

import pytest

GOLDEN = Path(__file__).parent / "golden"


def software(project):
    """A small library with two releases, a record of decisions, and a correction of one."""
    project.write(
        "src/teapot/__init__.py",
        dedent('''
            """Tea, made to order.

            `brew` does everything that most people need.
            """

            from teapot._brewing import Brew, brew
            from teapot.leaves import Leaf

            __all__ = ["Brew", "Leaf", "brew"]
            ''').lstrip(),
    )
    project.write(
        "src/teapot/_brewing.py",
        dedent('''
            """Brewing itself."""

            from dataclasses import dataclass

            from teapot.leaves import Leaf


            @dataclass(frozen=True)
            class Brew:
                """A pot of tea.

                It cools down; drink it soon.
                """

                leaf: Leaf
                """What was brewed."""
                minutes: float = 3.0
                """How long it drew."""

                @property
                def is_bitter(self) -> bool:
                    """Whether it drew too long."""
                    return self.minutes > self.leaf.longest

                async def pour(self, cups: int = 1) -> list[str]:
                    """Pour some cups.

                    Args:
                        cups: How many; each holds 200 ml.

                    Returns:
                        What is in each cup.
                    """
                    return [self.leaf.name] * cups


            def brew(leaf: Leaf, *, minutes: float | None = None) -> Brew:
                """Brew a pot.

                Args:
                    leaf: The leaves to use.
                    minutes: How long it draws; by default as long as the
                        leaves can take.

                Raises:
                    ValueError: No time is left.

                Example:
                    >>> brew(Leaf("Assam", 4)).minutes
                    4
                """
                return Brew(leaf, leaf.longest if minutes is None else minutes)
            ''').lstrip(),
    )
    project.write(
        "src/teapot/leaves.py",
        dedent('''
            """Kinds of leaves."""

            from typing import NamedTuple

            LONGEST: float = 5.0
            """No leaf takes more, in minutes."""


            class Leaf(NamedTuple):
                """A kind of tea."""

                name: str
                longest: float = LONGEST
                """How long it may draw, in minutes."""
            ''').lstrip(),
    )
    record = dedent("""
        # Work

        ## Design

        A `Brew` is a value: it is made once and never changed. `brew()` is the only function that
        most callers need.

        ## Decisions

        - Time is measured in minutes. Cooks think in minutes, and nobody brews for milliseconds.
        - **No kettle in the library**: water comes from the caller.
        """)
    project.complete(
        "feat: brew a pot of tea",
        project.draft("Brewing", record),
        summary="Added `brew()`, which makes a pot of tea from any leaf",
    )
    project.complete("Look at what other libraries do", summary="nothing to borrow")
    project.complete("fix: cups overflow", summary="Fixed `pour()`, which filled cups over the rim")
    project.complete("Release 1.0.0", summary="v1.0.0 is out")
    seconds = "# Time is measured in seconds\n\nSupersedes: 1\n\nSensors report seconds.\n"
    project.complete(
        "Decide on the unit of time", project.draft("Unit", seconds, "decision"), summary="Decided"
    )
    project.complete(
        "feat!: pour() is asynchronous", summary="BREAKING: `pour()` has to be awaited"
    )
    project.complete("Security: check the length of names", summary="names of any length were kept")


def research(project):
    """A small study with its bibliography, a changed protocol, and a withdrawn finding."""
    project.write(
        "library.bib",
        dedent(r"""
            @article{shannon48,
              author = {Shannon, Claude E.},
              title = {A Mathematical Theory of Communication},
              journal = {Bell System Technical Journal},
              volume = 27, number = 3, pages = {379--423}, year = 1948,
              doi = {10.1002/j.1538-7305.1948.tb01338.x},
            }
            @book{knuth97,
              author = {Knuth, Donald E.},
              title = {The Art of Computer Programming},
              publisher = {Addison-Wesley}, year = {1997},
            }
            @article{goedel31,
              author = {G{\"o}del, Kurt},
              title = {{\"U}ber formal unentscheidbare S{\"a}tze},
              journal = {Monatshefte f{\"u}r Mathematik}, volume = 38,
              pages = {173--198}, year = 1931,
            }
            """),
    )
    project.write(
        "paper/intro.tex", r"Entropy \cite{shannon48} is not provability \citep{goedel31}."
    )
    review = dedent("""
        The three works below ask what can be said at all, and at what price.

        Shannon (1948) measures what a message costs when its source is known
        (https://doi.org/10.1002/J.1538-7305.1948.TB01338.X).

        [@knuth97, vol. 1] counts the steps instead. Lovelace et al. (1843) had counted them before
        there was a machine.
        """)
    project.complete("Read the classics", project.draft("Review", review, "literature"))
    first = "We ask twenty people to guess the next letter of a text.\n"
    project.complete("Write the protocol", project.draft("Guessing letters", first, "protocol"))
    second = dedent("""
        We ask forty people to guess the next letter of a text, each for ten minutes.

        ## Deviations

        Two people guessed for nine minutes only, because the alarm went off.
        """)
    project.complete("Revise the protocol", project.draft("Guessing letters", second, "protocol"))
    project.write("data/first.csv", "")
    project.complete(
        "Analyse the first round",
        project.draft("First round", "A letter carries 1.9 bits.\n", "finding"),
        project.draft("data/first.csv", "guess\n", "file", media_type="text/csv"),
        outputs={"bits_per_letter": 1.9, "people": 20},
    )
    project.complete(
        "Analyse without the doubles",
        project.draft("Second round", "A letter carries 1.3 bits.\n", "finding"),
        outputs={"bits_per_letter": 1.3, "people": 38, "supersedes": "First round"},
    )
    german = "# Bericht\n\n## Ergebnisse\n\nWer viel liest, rät besser.\n"
    project.complete("Compare readers", project.draft("Lesende", german))


def fiction(project):
    """A short story with two drafts of its cast, three chapters and a world."""
    cast = dedent("""
        # Mara Quill

        Age: 34
        Trade: keeper of the light

        She came back to the rock when her father stopped writing. She counts the ships that do
        not come.

        # Ivo Sand

        Trade: ferryman

        He takes what he is paid and asks nothing.
        """)
    project.complete("Invent the cast", project.draft("Cast", cast, "character"))
    world = dedent("""
        # Places

        ## The rock

        Two acres of slate, an hour from the town by rowing boat.

        ## The town

        Everybody there is somebody's cousin.

        # Rules

        The light must burn from dusk to dawn. Nobody remembers why.

        # Objects

        ## The lamp

        It holds nine litres, and has never gone out.
        """)
    project.complete("Draw the map", project.draft("World", world, "world"))
    chapters = {
        "chapters/01-the-crossing.md": """
            ---
            pov: Mara
            act: I
            ---
            # The crossing

            Ivo did not look up when she put the coins on the thwart. "The rock," said Mara.

            "Nobody goes to the rock," said Ivo, and began to row.
            """,
        "chapters/02-nine-litres.md": """
            ---
            pov: Mara
            act: I
            ---
            # Nine litres

            Mara Quill, 36 years old that night, filled the lamp and sat down to count.
            """,
        "chapters/10-the-dark.md": """
            ---
            pov: Ivo
            act: II
            ---
            # The dark

            From the town he saw it go out.
            """,
    }
    for path, text in chapters.items():
        project.write(path, dedent(text).lstrip())
    endings = {"Outline": "the light goes out.", "Outline, second": "she puts it out."}
    for title, ending in endings.items():
        text = dedent(f"""
            Mara returns to the light. In the second act {ending}

            ## Open threads

            - Why did the letters stop?
            - Who taught Ivo to wait?
            """)
        project.complete(title, project.draft(title, text, "outline"))
    older = "# Mara Quill\n\nAge: 36\n\nShe hums when she counts.\n"
    project.complete("Make her older", project.draft("Rework", older, "character"))


STORIES = {
    "software_development": software,
    "research_project": research,
    "creative_writing": fiction,
}


def _without_ids(text: str) -> str:
    return re.sub(r"\b([at])_[0-9a-z]{12}\b", r"\1_…", text)


@pytest.mark.parametrize("project_type", STORIES)
def test_documents_read_as_they_should(make_project, project_type):
    """They could be published as they are; and nothing in them is out of date or leads nowhere."""
    project = make_project(project_type)
    STORIES[project_type](project)
    project.documents.update()
    assert project.documents.check() == []
    for path in sorted(project.path("").iterdir()):
        text = _without_ids(path.read_text("utf-8"))
        golden = GOLDEN / path.name
        if os.environ.get("WRITE_GOLDEN"):
            golden.write_text(text, "utf-8")
        assert text == golden.read_text("utf-8")
        assert "\n\n\n" not in text

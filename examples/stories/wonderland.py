"""The first five chapters of *Alice's Adventures in Wonderland*, with the notes of who edits them.

The text is Lewis Carroll's, of 1865, and free of rights. The notes are as an editor makes them: a
cast, a map, the rules of the place, an outline that is revised when more has been read.
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tell import Calendar

    from vespera_orchestrator import Orchestrator

GOAL = "An annotated edition of Alice's Adventures in Wonderland, chapters I to V"
PROJECT_TYPE = "creative_writing"
TEXT = Path(__file__).with_suffix("") / "chapters"

CAST = """\
# Alice

Age: 7
Home: above ground, with her sister and her cat
Wants: to get into the garden behind the small door

She gives herself very good advice, and very seldom follows it. She is polite to everyone and takes
every answer at its word, which is why everyone is offended. What she learnt at school comes out
wrong as soon as she says it aloud.

# The White Rabbit

Dress: waistcoat, watch, white kid gloves, a fan
Serves: the Duchess

He is late, and afraid of what it will cost him. To his servants he is sharp; to the great he runs.
He takes Alice for Mary Ann, his housemaid.

# Dinah

Kind: cat

Alice's cat, who stays at home. Wherever Alice praises her, the company leaves.
"""

MORE_CAST = """\
# The Mouse

Kind: mouse
Fears: cats, and terriers

It swims in the pool of tears, takes offence at every word about cats, and dries the others with the
driest history it knows. Its own history, a long tale, is in the shape of a tail.

# The Dodo

Kind: dodo

It proposes the caucus-race, in which all have won and all must have prizes, and hands Alice her own
thimble.

# The Lory

Kind: parrot

It is older than Alice and must know better, but will not say how old it is.

# Bill

Kind: lizard
Trade: the one who is sent down the chimney

The others volunteer him. He comes out of the chimney faster than he went in, and remembers nothing
but that something came at him like a jack-in-the-box.

# The Caterpillar

Kind: caterpillar
Height: three inches

It sits on the mushroom, smokes a hookah and asks Alice who she is. It is the first in the story who
helps her, though it does so in passing and without being asked.

# The Pigeon

Kind: bird

It guards its eggs, and proves that Alice is a serpent: serpents have long necks and eat eggs.
"""

WORLD = """\
# Places

## The rabbit-hole

It goes straight on like a tunnel and then down, so slowly that one can take a jar from a shelf in
passing. The walls are cupboards, bookshelves and maps.

## The hall of doors

Long and low, lit by a row of lamps. All its doors are locked. Behind a curtain is one of fifteen
inches; the garden lies behind it.

## The pool of tears

Four inches deep where Alice is nine feet high, deep enough to swim in where she is not.

## The Rabbit's house

Neat, with a brass plate, *W. RABBIT*, a looking-glass upstairs, and a cucumber-frame below the
window.

# Rules

## Size

Whatever is eaten or drunk changes the size, at once and of the whole body: the bottle makes small,
the cake makes tall, the pebbles that turn into cakes make small. The fan makes small as long as it
is held. Of the mushroom one side makes taller, the other shorter.

## Verses

Nobody can say a poem as it was learnt. It comes out about other animals.

# Things

## The golden key

It fits the small door. It lies on a glass table, out of reach whenever it is wanted.

## The bottle

*DRINK ME*. Not marked *poison*. It tastes of cherry-tart, custard, pine-apple, roast turkey, toffee
and hot buttered toast.

## The mushroom

It is as high as Alice is at three inches, and round, so that its sides have to be found out.
"""

FIRST_OUTLINE = """\
Alice follows the White Rabbit down his hole. She sees a garden that she is too large to reach, and
becomes too small to open its door.

## Open threads

- What is the Rabbit late for?
- How does Alice get into the garden?
"""

OUTLINE = """\
Alice follows the White Rabbit down his hole and sees a garden that she is too large to reach. She
weeps a pool and swims in it, small, with a company that she drives away by speaking of her cat. In
the Rabbit's house she grows until she fills it. A caterpillar shows her how to choose her size, and
with that she can set out for the garden in earnest.

The chapters fall into pairs: each time she changes, she first loses somebody by it. In the fifth
she decides on her size herself for the first time.

## Open threads

- What is the Rabbit late for, and what will the Duchess do to him?
- How does Alice get into the garden?
- Who is Alice, if she cannot say her poems? The Caterpillar's question stands.
"""


def prepare(folder: Path) -> None:
    """Nothing is written yet."""


def happen(orch: Orchestrator, calendar: Calendar) -> None:
    """Read chapter after chapter, and note what each adds."""
    chapters = sorted(TEXT.glob("*.md"))
    note(orch, "Cast of the first chapters", CAST, "character")
    for chapter in chapters[:2]:
        take_in(orch, chapter)
    note(orch, "Outline of chapters I and II", FIRST_OUTLINE, "outline")
    calendar.turn_to(calendar.now + timedelta(days=7))
    for chapter in chapters[2:]:
        take_in(orch, chapter)
    note(orch, "The others", MORE_CAST, "character")
    note(orch, "The place and its rules", WORLD, "world")
    note(orch, "Outline of chapters I to V", OUTLINE, "outline")


def take_in(orch: Orchestrator, chapter: Path) -> None:
    """Bring a chapter into the project."""
    task = orch.plan_task(f"Take in {chapter.stem}")
    target = orch.project / "chapters" / chapter.name
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(chapter, target)
    orch.complete_task(
        task,
        summary=f"{chapter.stem} is in the project",
        detailed_work="Compared with the print, line by line.",
        file_paths=[str(target)],
    )


def note(orch: Orchestrator, title: str, text: str, kind: str) -> None:
    """Complete a task that has written something about the book."""
    task = orch.plan_task(title)
    orch.complete_task(task, summary=title, detailed_work=text, artifact_type=kind)

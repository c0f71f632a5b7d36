"""Live through the simulated fortnight, and write what came of it.

    python docs/make_fortnight.py           write docs/fortnight.md and docs/fortnight.svg
    python docs/make_fortnight.py --check   only say whether they are up to date

The simulation is the one of the tests, `tests/support/fortnight.py`. It is drawn from a seed, so
the same library gives the same picture. The picture needs no library of its own.
"""

from __future__ import annotations

import argparse
import html
import sys
import tempfile
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

DOCS: Final = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from support.fortnight import (  # noqa: E402 - found through the path above
    AWAY,
    BAD,
    LONG,
    MONDAY,
    TROUBLED,
    Fortnight,
)
from vespera_orchestrator.home.config import PressureSettings  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from support.fortnight import Day

SEED: Final = 3
NOTICE: Final = "<!-- Made by docs/make_fortnight.py. Do not edit. -->"
WIDTH, HEIGHT = 960, 396
LEFT, TOP, RIGHT = 76, 54, 16
PLOT_HEIGHT: Final = 240
DOTS_TOP: Final = TOP + PLOT_HEIGHT + 46
DOT_GAP: Final = 13
HALF_HOUR: Final = timedelta(minutes=30)
STYLE: Final = """
svg { color-scheme: light dark; font: 13px system-ui, sans-serif; }
.page { fill: #ffffff; stroke: #d0d7de; } .text { fill: #24292f; } .soft { fill: #57606a; }
.bad { fill: #ddeeff; } .away { fill: #eceff1; } .rule { stroke: #8c959f; stroke-dasharray: 4 4; }
.axis { stroke: #57606a; } .score { fill: none; stroke: #0550ae; stroke-width: 2; }
.dot { fill: #8250df; } .low { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; stroke: #30363d; } .text { fill: #e6edf3; } .soft { fill: #9ea7b3; }
.bad { fill: #12304f; } .away { fill: #22272e; } .rule { stroke: #6e7681; }
.axis { stroke: #9ea7b3; } .score { stroke: #79c0ff; }
.dot { fill: #d2a8ff; } .low { fill: #56d364; }
}"""
"""It brings its own background, so it can be read on a page of either colour."""
PAGE: Final = """{notice}

# A fortnight with bad days

One person and three agents, for two weeks. The person plans in the morning, works when they can,
and looks every half hour from 9 to 19. On {bad_count} days they can take exactly one step. On
{away_count} days they do not come at all. On {trouble_count} days most of what the agents try goes
wrong, and on one the person works for eight hours without a break.

It is a simulation (`tests/support/fortnight.py`) on the real library, with a clock that it moves.
With other seeds it is a test.

![{alt}](fortnight.svg)

The line is the pressure, from 0 to 100. It was read from outside, without a trace. Each dot is a
digest with news, the only interruption there is. The green bar says when the person saw one step at
a time: from their word in the morning until it ran out, sixteen hours later.

{table}

In these {length} days the person looked for news {looks} times and was told some {digests} times,
at most {most} times a day. Nothing was told twice, and what was put off did not come back on that
day. No checkpoint was lost. [Pressure](pressure.md) says how all this is worked out.
"""


# --- the picture ---------------------------------------------------------------


def drawn(days: Sequence[Day]) -> str:
    """Return the picture as SVG."""
    settings = PressureSettings()
    thresholds = {"strained": settings.strained_at, "overwhelmed": settings.overwhelmed_at}
    shapes = [
        element("rect", x=0.5, y=0.5, width=WIDTH - 1, height=HEIGHT - 1, rx=6, cls="page"),
        label("Pressure, day by day", LEFT, 26, "text", anchor="start"),
        *(shape for day in days for shape in _background(day, len(days))),
        *_scale(thresholds),
        element("polyline", points=_line(days), cls="score"),
        *(shape for day in days for shape in _below(day, len(days))),
        label("news", LEFT - 8, DOTS_TOP + 4, "soft", anchor="end"),
        label("one step", LEFT - 8, DOTS_TOP + 38, "soft", anchor="end"),
    ]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
        '<title id="title">Pressure on each day of a simulated fortnight</title>',
        f'<desc id="desc">{html.escape(described(days))}</desc>',
        f"<style>{STYLE}\n</style>",
        *shapes,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def described(days: Sequence[Day]) -> str:
    """Say in a sentence what the picture shows."""
    highest = max(days, key=lambda day: day.highest)
    news = max(day.digests for day in days)
    return (
        f"The pressure is highest, {highest.highest} of 100, on {_name(highest)}, and returns to "
        f"steady after each bad day. News came at most {news} times a day."
    )


def element(name: str, *, cls: str, **attributes: float | str) -> str:
    """Return an SVG element without content."""
    listed = " ".join(f'{key}="{_number(value)}"' for key, value in attributes.items())
    return f'<{name} class="{cls}" {listed}/>'


def label(text: str, x: float, y: float, cls: str, *, anchor: str = "middle") -> str:
    """Return a text."""
    place = f'x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}"'
    return f'<text class="{cls}" {place}>{html.escape(text)}</text>'


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _day_width(length: int) -> float:
    return (WIDTH - LEFT - RIGHT) / length


def _height(score: float) -> float:
    return TOP + PLOT_HEIGHT * (1 - score / 100)


def _background(day: Day, length: int) -> Iterable[str]:
    """Shade a bad day and a day away, and name every day."""
    width = _day_width(length)
    x = LEFT + day.number * width
    kind = _kind(day)
    shades = {"bad day": "bad", "away": "away"}
    if kind in shades:
        yield element("rect", x=x, y=TOP, width=width, height=PLOT_HEIGHT, cls=shades[kind])
    if kind:
        yield label(kind, x + width / 2, TOP - 6, "soft")
    yield label(_name(day)[:3], x + width / 2, TOP + PLOT_HEIGHT + 20, "text")


def _scale(thresholds: dict[str, int]) -> Iterable[str]:
    bottom = TOP + PLOT_HEIGHT
    for name, score in thresholds.items():
        y = _height(score)
        yield element("line", x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, cls="rule")
        yield label(name, WIDTH - RIGHT - 4, y - 5, "soft", anchor="end")
    for score in (0, *thresholds.values(), 100):
        yield label(str(score), LEFT - 8, _height(score) + 4, "soft", anchor="end")
    yield element("line", x1=LEFT, y1=bottom, x2=WIDTH - RIGHT, y2=bottom, cls="axis")


def _line(days: Sequence[Day]) -> str:
    """Return the corners of the line of the score, in steps."""
    corners: list[str] = []
    before = None
    for day in days:
        for moment in day.moments:
            x = _x(moment.at, len(days))
            if before is not None and before != moment.score:
                corners.append(f"{x:g},{_height(before):g}")
            if before != moment.score:
                corners.append(f"{x:g},{_height(moment.score):g}")
            before = moment.score
    corners.append(f"{WIDTH - RIGHT},{_height(before or 0):g}")
    return " ".join(corners)


def _x(at: datetime, length: int) -> float:
    days = (at - MONDAY).total_seconds() / 86_400
    return round(LEFT + days * _day_width(length), 1)


def _below(day: Day, length: int) -> Iterable[str]:
    """Draw the digests of a day as dots, and when one step was shown as a bar."""
    width = _day_width(length)
    middle = LEFT + (day.number + 0.5) * width
    first = middle - (day.digests - 1) * DOT_GAP / 2
    for number in range(day.digests):
        yield element("circle", cx=first + number * DOT_GAP, cy=DOTS_TOP, r=4.5, cls="dot")
    for start, end in _low_energy(day):
        x = _x(start, length)
        bar = round(_x(end, length) - x, 1)
        yield element("rect", x=x, y=DOTS_TOP + 28, width=bar, height=10, cls="low")


def _low_energy(day: Day) -> Iterable[tuple[datetime, datetime]]:
    """Yield from when to when the person saw one step at a time."""
    for is_low_energy, moments in groupby(day.moments, key=lambda moment: moment.is_low_energy):
        if is_low_energy:
            times = [moment.at for moment in moments]
            yield times[0], times[-1] + HALF_HOUR


# --- the page ------------------------------------------------------------------


def _name(day: Day) -> str:
    at = day.moments[0].at
    return f"{at:%A} of week {day.number // 7 + 1}"


def _kind(day: Day) -> str:
    kinds = {"bad day": BAD, "away": AWAY, "trouble": TROUBLED, "no break": LONG}
    return next((name for name, numbers in kinds.items() if day.number in numbers), "")


def table(days: Sequence[Day]) -> str:
    """Return a row for each day, as Markdown."""
    titles = (
        "day",
        "what it was",
        "pressure",
        "level",
        "one step at a time",
        "begun, completed, went wrong",
        "interruptions",
        "said twice",
    )
    head = f"| {' | '.join(titles)} |"
    rows = [head, "| --- " * len(titles) + "|"]
    for day in days:
        cells = [
            _name(day),
            _kind(day),
            f"{day.lowest} to {day.highest}",
            _worst_level(day),
            _hours(day),
            f"{day.begun}, {day.completed}, {day.troubles}",
            str(day.digests),
            str(day.nags),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _worst_level(day: Day) -> str:
    levels = {moment.level for moment in day.moments}
    return next(name for name in ("overwhelmed", "strained", "steady") if name in levels)


def _hours(day: Day) -> str:
    shown = sum(moment.is_low_energy for moment in day.moments)
    return f"{shown / 2:g} h" if shown else "no"


def page(days: Sequence[Day]) -> str:
    """Return the page as Markdown."""
    return PAGE.format(
        notice=NOTICE,
        alt=described(days),
        table=table(days),
        length=len(days),
        bad_count=len(BAD),
        away_count=len(AWAY),
        trouble_count=len(TROUBLED),
        looks=sum(day.looks for day in days),
        digests=sum(day.digests for day in days),
        most=max(day.digests for day in days),
    )


def main() -> int:
    """Write the page and the picture, or compare them with what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        days = Fortnight(Path(folder), SEED).run()
    files = {DOCS / "fortnight.svg": drawn(days), DOCS / "fortnight.md": page(days)}
    if not chosen.check:
        for path, text in files.items():
            path.write_text(text, "utf-8")
        return 0
    old = [path.name for path, text in files.items() if not _is_same(path, text)]
    if old:
        print(f"out of date: {', '.join(old)}; run python docs/make_fortnight.py")
    return int(bool(old))


def _is_same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text("utf-8") == text


if __name__ == "__main__":
    raise SystemExit(main())

"""What every benchmark shares: costs in CPU and wall time, alternating rounds, a table."""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


@attrs.frozen
class Scale:
    """How much to do."""

    quick: bool
    """Little, to see that everything runs."""
    large: bool
    """The largest sizes as well."""
    folder: Path
    """An empty folder, removed afterwards."""

    def pick(self, full: int, quick: int) -> int:
        """Return *full*, or *quick* in a quick run."""
        return quick if self.quick else full


# --- costs -------------------------------------------------------------------


@attrs.frozen
class Cost:
    """What one operation took."""

    cpu_s: float
    wall_s: float

    def __str__(self) -> str:
        unit, per_second = _unit(self.cpu_s)
        cpu = _short(self.cpu_s * per_second)
        wall = _short(self.wall_s * per_second)
        return f"{cpu} {unit} ({wall})"

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.cpu_s - other.cpu_s,
            self.wall_s - other.wall_s,
        )


def _unit(seconds: float) -> tuple[str, float]:
    """Return the unit to print, and how many of them make a second."""
    if seconds >= 1:
        return "s", 1
    if seconds >= 1e-3:  # noqa: PLR2004 - a millisecond
        return "ms", 1e3
    return "µs", 1e6


def _short(number: float) -> str:
    if abs(number) < 100:  # noqa: PLR2004 - three digits say all there is to say
        return f"{number:.3g}"
    return f"{number:,.0f}"


class Meter:
    """The time a block took, once it has ended."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0

    def per(self, operations: int) -> Cost:
        """Return the cost of one of so many operations."""
        return Cost(
            self.cpu_s / operations,
            self.wall_s / operations,
        )


@contextmanager
def metered() -> Iterator[Meter]:
    """Measure a block: CPU of this process and of the children it waited for, and wall time."""
    meter = Meter()
    cpu, wall = _cpu(), time.perf_counter()
    yield meter
    meter.wall_s = time.perf_counter() - wall
    meter.cpu_s = _cpu() - cpu


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def alternate(rounds: int, **sides: Callable[[], Cost]) -> dict[str, list[Cost]]:
    """Let the sides take turns, A B A B, so that what else the machine does falls on all of them.

    The first round does not count.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            gc.collect()
            cost = side()
            if number:
                costs[name].append(cost)
    return costs


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of CPU and of wall time, each for itself."""
    return Cost(
        statistics.median(cost.cpu_s for cost in costs),
        statistics.median(cost.wall_s for cost in costs),
    )


_TIMES, _DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"

# --- rows --------------------------------------------------------------------


@attrs.frozen
class Row:
    """One line of the table."""

    what: str
    ours: str
    against: str
    """What it is compared with."""
    floor: str
    ratio: float | None
    """Ours divided by the floor, the median over the rounds; in CPU time unless *what* says not."""
    spread: tuple[float, float] | None = None
    """The smallest and the largest ratio of a round."""
    target: str = ""
    met: bool | None = None
    """``None``: there is no target, or this run cannot tell."""
    reached: str = ""
    """What is compared with the target, where that is not the ratio."""
    figures: Mapping[str, float] = attrs.field(factory=dict)
    """The same in numbers, for programs."""

    @classmethod
    def of(
        cls,
        what: str,
        ours: Sequence[Cost],
        against: str,
        floor: Sequence[Cost],
        *,
        at_most: float | None = None,
        target: str | None = None,
    ) -> Self:
        """Make the row of two sides whose rounds alternated.

        Args:
            what: What was done.
            ours: Our rounds.
            against: What the other side is.
            floor: Its rounds.
            at_most: The largest ratio of CPU times that meets the target.
            target: The target in words; by default made from *at_most*.
        """
        rounds = zip(ours, floor, strict=True)
        ratios = sorted(our.cpu_s / other.cpu_s for our, other in rounds)
        our_cost, floor_cost = median(ours), median(floor)
        row = cls(
            what=what,
            ours=str(our_cost),
            against=against,
            floor=str(floor_cost),
            ratio=statistics.median(ratios),
            spread=(ratios[0], ratios[-1]),
            target=target or "",
            figures={
                "cpu_s": our_cost.cpu_s,
                "wall_s": our_cost.wall_s,
                "floor_cpu_s": floor_cost.cpu_s,
                "floor_wall_s": floor_cost.wall_s,
            },
        )
        return row if at_most is None else row._beside(at_most)

    def _beside(self, at_most: float) -> Self:
        """Return the row with a largest ratio as its target."""
        assert self.ratio is not None
        assert self.spread is not None
        smallest, largest = self.spread
        return attrs.evolve(
            self,
            target=self.target or f"≤ {at_most:g}{_TIMES}",
            met=self.ratio <= at_most,
            reached="within the spread" if smallest <= at_most <= largest else "",
        )

    def cells(self) -> tuple[str, ...]:
        """Return what stands in the table."""
        ratio = _DASH if self.ratio is None else f"{self.ratio:.2f}{_TIMES}"
        if self.spread is not None:
            smallest, largest = self.spread
            ratio += f" [{smallest:.2f}{_DASH}{largest:.2f}]"
        verdict = {True: "yes", False: "**no**", None: _DASH}[self.met]
        if self.reached:
            verdict += f", {self.reached}"
        return (
            self.what,
            self.ours,
            self.against,
            self.floor,
            ratio,
            self.target,
            verdict,
        )


HEAD = ("what", "ours", "against", "that", "ratio", "target", "met")


def table(rows: Sequence[Row]) -> str:
    """Draw the rows as a Markdown table with aligned columns."""
    lines = [HEAD, *(row.cells() for row in rows)]
    columns = zip(*lines, strict=True)
    widths = [max(len(cell) for cell in column) for column in columns]
    head, *body = [_table_line(line, widths) for line in lines]
    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([head, f"|{rule}|", *body])


def _table_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join(padded)} |"


def say(text: str) -> None:
    """Tell whoever waits what is being done."""
    print(f"  {text}", file=sys.stderr, flush=True)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* of all values lie."""
    ordered = sorted(values)
    last = len(ordered) - 1
    position = int(len(ordered) * share)
    return ordered[min(position, last)]


def size_bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder."""
    beside = path.parent.glob(f"{path.name}*")  # a database has its log beside it
    files = path.rglob("*") if path.is_dir() else beside
    return sum(file.stat().st_size for file in files if file.is_file())

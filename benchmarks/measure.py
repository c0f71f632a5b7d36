"""What every benchmark shares: costs in CPU and wall time, rounds that alternate, rows of the table."""

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
        unit, factor = next((u, f) for u, f, least in _UNITS if self.cpu_s >= least)
        return f"{_short(self.cpu_s * factor)} {unit} ({_short(self.wall_s * factor)})"

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu_s - other.cpu_s, self.wall_s - other.wall_s)


_UNITS = (("s", 1, 1.0), ("ms", 1e3, 1e-3), ("µs", 1e6, float("-inf")))


def _short(number: float) -> str:
    return f"{number:.3g}" if abs(number) < 100 else f"{number:,.0f}"  # noqa: PLR2004 - three digits say all there is to say


class Meter:
    """The time a block took, once it has ended."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0

    def per(self, operations: int) -> Cost:
        """Return the cost of one of so many operations."""
        return Cost(self.cpu_s / operations, self.wall_s / operations)


@contextmanager
def metered() -> Iterator[Meter]:
    """Measure a block: CPU of this process with all its threads, and of the children it waited for; wall time beside it."""
    meter = Meter()
    cpu, wall = _cpu(), time.perf_counter()
    yield meter
    meter.wall_s = time.perf_counter() - wall
    meter.cpu_s = _cpu() - cpu


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def alternate(rounds: int, **sides: Callable[[], Cost]) -> dict[str, list[Cost]]:
    """Let the sides take turns, A B A B, after one round that does not count: what the machine does meanwhile falls on all of them."""
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
        statistics.median(c.cpu_s for c in costs), statistics.median(c.wall_s for c in costs)
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
    """Ours through the floor, in CPU time unless *what* says otherwise: the median over the rounds."""
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
        ratios = sorted(a.cpu_s / b.cpu_s for a, b in zip(ours, floor, strict=True))
        ratio, a, b = statistics.median(ratios), median(ours), median(floor)
        return cls(
            what=what,
            ours=str(a),
            against=against,
            floor=str(b),
            ratio=ratio,
            spread=(ratios[0], ratios[-1]),
            target=target or ("" if at_most is None else f"≤ {at_most:g}{_TIMES}"),
            met=None if at_most is None else ratio <= at_most,
            reached="within the spread"
            if at_most is not None and ratios[0] <= at_most <= ratios[-1]
            else "",
            figures={
                "cpu_s": a.cpu_s,
                "wall_s": a.wall_s,
                "floor_cpu_s": b.cpu_s,
                "floor_wall_s": b.wall_s,
            },
        )

    def cells(self) -> tuple[str, ...]:
        """Return what stands in the table."""
        ratio = _DASH if self.ratio is None else f"{self.ratio:.2f}{_TIMES}"
        if self.spread is not None:
            ratio += f" [{self.spread[0]:.2f}{_DASH}{self.spread[1]:.2f}]"
        verdict = {True: "yes", False: "**no**", None: _DASH}[self.met]
        return (
            self.what,
            self.ours,
            self.against,
            self.floor,
            ratio,
            self.target,
            f"{verdict}, {self.reached}" if self.reached else verdict,
        )


HEAD = ("what", "ours", "against", "that", "ratio", "target", "met")


def table(rows: Sequence[Row]) -> str:
    """Draw the rows as a Markdown table whose columns stand below each other."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    drawn = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([drawn[0], rule, *drawn[1:]])


def say(text: str) -> None:
    """Tell whoever waits what is being done."""
    print(f"  {text}", file=sys.stderr, flush=True)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which *share* of all values lie."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def size_bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder."""
    files = (
        path.rglob("*") if path.is_dir() else path.parent.glob(path.name + "*")
    )  # a database has its log beside it
    return sum(file.stat().st_size for file in files if file.is_file())

"""How close to too much it is: a score from what happened, and what follows from it. Pure.

Each cause adds points, from nothing up to its weight. More of a cause never means fewer points. So
the score can be explained, and the level can only rise with it. A level ends later than it began:
it does not flicker.

A new cause is a `PressureKind`, a rule and a field of `PressureFacts` here, its count in
`progress.pressure`, and its threshold in `home.config`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Energy, PressureKind, PressureLevel
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator._text import duration, one_line, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vespera_orchestrator.home.config import PressureSettings

_HIGHEST_SCORE: Final = 100
_LOW_ENERGY_POINTS: Final = 45
_FULL_SHARE: Final = 1 / 3
"""If a third of the attempts went wrong, their number counts fully; else it counts less."""
_USUAL_PART: Final = 25 / 40
"""The part of the weight of failures that they have while something succeeds."""


@attrs.frozen(kw_only=True)
class PressureFacts:
    """What pressure is computed from. More of anything but *completed* never lowers the score."""

    failures: int = 0
    """Attempts that were blocked, in the last day."""
    retries: int = 0
    """Attempts that were not the first at their task, in the last day; going on with what was
    handed back apart.
    """
    expired_leases: int = 0
    """Agents that stopped responding, in the last day."""
    completed: int = 0
    """Tasks that were completed in the last day. Failures among many successes weigh less."""
    growth: int = 0
    """How many more tasks were planned than ended, in the last day."""
    conflicts: int = 0
    """Conflicts and refused landings that nobody has settled."""
    running: int = 0
    """Tasks that somebody holds now."""
    silent_s: float = 0.0
    """How long a running task has gone without saving, at most."""
    unbroken_s: float = 0.0
    """How long the person has been at it without a break."""
    unseen: int = 0
    """Tasks that were completed since somebody last looked."""
    energy: Energy = Energy.NORMAL
    """A person's own word; low if anybody's is."""
    energy_of: str = ""
    """Whose it is; empty for the reader's own."""


@attrs.frozen(kw_only=True)
class PressureCause(Record):
    """One reason for pressure, with the points that it adds."""

    kind: PressureKind
    """What sort of reason it is."""
    points: int
    """How much it adds to the score."""
    sentence: str
    """The reason, in plain words."""

    def __str__(self) -> str:
        return f"{self.sentence} (+{self.points})"


@attrs.frozen(kw_only=True)
class Standing:
    """The level as it was last recorded."""

    level: PressureLevel = PressureLevel.STEADY
    since: datetime | None = None
    """When it began; ``None`` if no level was ever recorded."""
    energy: Energy = Energy.NORMAL
    """The person's word at that time."""


@attrs.frozen(repr=False, kw_only=True)
class Pressure(Record):
    """How close to too much it is, why, and what follows. ``str()`` tells it in a few lines."""

    level: PressureLevel
    """``steady``, ``strained`` or ``overwhelmed``."""
    score: int
    """From 0 to 100."""
    causes: tuple[PressureCause, ...]
    """What adds to the score, the strongest first."""
    acts: tuple[str, ...]
    """What this level changes, and how to undo it, one sentence each."""
    energy: Energy
    """The person's own word; see `Orchestrator.set_energy`."""
    max_parallel: int | None
    """How many tasks may be held at a time; ``None`` for any number."""
    checkpoint_s: int
    """Running work should be saved at least this often, in seconds."""
    since: datetime | None
    """When the level began; ``None`` if it never was another one."""

    json_form = JsonForm(properties=("is_low_energy",), rest="orch.pressure()", first=("level",))

    @property
    def is_low_energy(self) -> bool:
        """Whether one step is shown at a time, with few choices."""
        return self.energy is Energy.LOW or self.level is PressureLevel.OVERWHELMED

    def __str__(self) -> str:
        lines = [f"{str(self.level).capitalize()} ({self.score} of {_HIGHEST_SCORE})."]
        lines += [f"  because {cause}" for cause in self.causes]
        lines += [f"  so {act}" for act in self.acts]
        if not self.causes:
            lines.append("  Nothing weighs on it.")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def assess(
    facts: PressureFacts, settings: PressureSettings, standing: Standing, now: datetime
) -> Pressure:
    """Judge how close to too much it is.

    Args:
        facts: What happened.
        settings: The thresholds.
        standing: The level as it was last recorded.
        now: When it is.
    """
    causes = sorted(_causes(facts, settings), key=lambda cause: -cause.points)
    score = min(_HIGHEST_SCORE, sum(cause.points for cause in causes))
    level = _level(score, facts, settings, standing, now)
    limit = parallel_limit(level, settings)
    checkpoint_s = checkpoint_interval_s(level, settings)
    return Pressure(
        level=level,
        score=score,
        causes=tuple(causes),
        acts=tuple(_acts(level, facts, limit, checkpoint_s)),
        energy=facts.energy,
        max_parallel=limit,
        checkpoint_s=checkpoint_s,
        since=standing.since if level is standing.level else now,
    )


# --- the score -----------------------------------------------------------------


def _causes(facts: PressureFacts, settings: PressureSettings) -> Iterable[PressureCause]:
    for kind, rule in _RULES.items():
        points = round(rule.weight * rule.share(facts, settings))
        if points > 0:
            yield PressureCause(kind=kind, points=points, sentence=rule.sentence(facts))
    if facts.energy is Energy.LOW:
        who = one_line(facts.energy_of) or "you"
        yield PressureCause(
            kind=PressureKind.ENERGY, points=_LOW_ENERGY_POINTS, sentence=f"{who} said: low energy"
        )


@attrs.frozen(kw_only=True)
class _Rule:
    """How one cause weighs."""

    weight: int
    """The points it adds at most."""
    share: Callable[[PressureFacts, PressureSettings], float]
    """Which part of the weight it has, from 0 to 1."""
    sentence: Callable[[PressureFacts], str]


def _ramp(amount: float, free: float, full: float) -> float:
    """Return 0 up to *free*, 1 from *full* on, and what lies between in proportion."""
    share = (amount - free) / (full - free)
    return max(0.0, min(1.0, share))


def _trouble(amount: int, completed: int, full: int) -> float:
    """Weigh troubles by their number, and by how many they are beside the successes."""
    if amount == 0:
        return 0.0
    share = amount / (amount + completed)
    return _ramp(amount, 0, full) * min(1.0, share / _FULL_SHARE)


def _failing(facts: PressureFacts, at: PressureSettings) -> float:
    """Weigh failures as troubles, and beyond that the more, the less succeeds beside them.

    A day on which nothing at all succeeds is not steady, whatever else happens.
    """
    usual = _trouble(facts.failures, facts.completed, at.failures)
    if not facts.failures:
        return usual
    failed = facts.failures / (facts.failures + facts.completed)
    further = _ramp(facts.failures, at.failures, 2 * at.failures)
    return _USUAL_PART * usual + (1 - _USUAL_PART) * further * _ramp(failed, _FULL_SHARE, 1)


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


_HOUR_S: Final = 3600
_MINUTE_S: Final = 60
_RULES: Final[dict[PressureKind, _Rule]] = {
    PressureKind.FAILURES: _Rule(
        weight=40,
        share=_failing,
        sentence=lambda facts: f"work was blocked {_times(facts.failures)} in a day",
    ),
    PressureKind.RETRIES: _Rule(
        weight=10,
        share=lambda facts, at: _trouble(facts.retries, facts.completed, at.retries),
        sentence=lambda facts: f"work was tried again {_times(facts.retries)} in a day",
    ),
    PressureKind.EXPIRED_LEASES: _Rule(
        weight=15,
        share=lambda facts, at: _trouble(facts.expired_leases, facts.completed, at.expired_leases),
        sentence=lambda facts: f"an agent stopped responding {_times(facts.expired_leases)}",
    ),
    PressureKind.QUEUE: _Rule(
        weight=10,
        share=lambda facts, at: _ramp(facts.growth, at.growth / 4, at.growth),
        sentence=lambda facts: f"{facts.growth} more tasks were planned than ended in a day",
    ),
    PressureKind.CONFLICTS: _Rule(
        weight=20,
        share=lambda facts, at: _ramp(facts.conflicts, 0, at.conflicts),
        sentence=lambda facts: f"{plural(facts.conflicts, 'landing')} could not be settled yet",
    ),
    PressureKind.RUNNING: _Rule(
        weight=15,
        share=lambda facts, at: _ramp(facts.running, at.capacity, 2 * at.capacity),
        sentence=lambda facts: f"{plural(facts.running, 'task')} are under way at once",
    ),
    PressureKind.CHECKPOINTS: _Rule(
        weight=10,
        share=lambda facts, at: _ramp(
            facts.silent_s, at.unsaved_minutes * _MINUTE_S / 4, at.unsaved_minutes * _MINUTE_S
        ),
        sentence=lambda facts: f"running work was not saved for {duration(int(facts.silent_s))}",
    ),
    PressureKind.HOURS: _Rule(
        weight=25,
        share=lambda facts, at: _ramp(facts.unbroken_s, at.hours * _HOUR_S / 2, at.hours * _HOUR_S),
        sentence=lambda facts: f"no break for {duration(int(facts.unbroken_s))}",
    ),
    PressureKind.UNSEEN: _Rule(
        weight=20,
        share=lambda facts, at: _ramp(facts.unseen, at.unseen / 4, at.unseen),
        sentence=lambda facts: f"nobody has looked at {plural(facts.unseen, 'finished task')} yet",
    ),
}


# --- the level -----------------------------------------------------------------


def _level(
    score: int,
    facts: PressureFacts,
    settings: PressureSettings,
    standing: Standing,
    now: datetime,
) -> PressureLevel:
    """Return the level: it rises at once, and falls only when the score has clearly fallen.

    A new word of the person counts at once, both ways.
    """
    reached = _reached(score, settings.strained_at, settings.overwhelmed_at)
    if facts.energy is not standing.energy or standing.since is None:
        return reached
    if _RANK[reached] >= _RANK[standing.level]:
        return reached
    if now - standing.since < timedelta(minutes=settings.hold_minutes):
        return standing.level
    margin = settings.calm_margin
    kept = _reached(score, settings.strained_at - margin, settings.overwhelmed_at - margin)
    return min(kept, standing.level, key=_RANK.__getitem__)


_RANK: Final = {level: number for number, level in enumerate(PressureLevel)}


def _reached(score: int, strained_at: int, overwhelmed_at: int) -> PressureLevel:
    if score >= overwhelmed_at:
        return PressureLevel.OVERWHELMED
    if score >= strained_at:
        return PressureLevel.STRAINED
    return PressureLevel.STEADY


# --- what follows --------------------------------------------------------------


def parallel_limit(level: PressureLevel, settings: PressureSettings) -> int | None:
    """Return how many tasks may be held at a time; ``None`` for any number."""
    if level is PressureLevel.STEADY or not settings.limit_claims:
        return None
    if level is PressureLevel.OVERWHELMED:
        return 1
    return max(1, settings.capacity // 2)


def checkpoint_interval_s(level: PressureLevel, settings: PressureSettings) -> int:
    """Return how often running work should be saved: closer together under pressure."""
    shares = {
        PressureLevel.STEADY: 1,
        PressureLevel.STRAINED: 2,
        PressureLevel.OVERWHELMED: 5,
    }
    return max(_MINUTE_S, settings.checkpoint_minutes * _MINUTE_S // shares[level])


def _acts(
    level: PressureLevel, facts: PressureFacts, limit: int | None, checkpoint_s: int
) -> Iterable[str]:
    if level is not PressureLevel.STEADY:
        yield f"running work should be saved every {duration(checkpoint_s)}"
        yield "a heavy task is better taken in pieces: orch.simplify(…)"
    if limit is not None:
        yield (
            f"at most {plural(limit, 'task')} at a time: "
            "orch.execute_task(…, despite_pressure=True) takes one more"
        )
    if facts.energy is Energy.LOW and not facts.energy_of:
        yield "one step is shown at a time: orch.set_energy('normal') shows all again"
    elif level is PressureLevel.OVERWHELMED:
        yield "one step is shown at a time, until it is calmer"

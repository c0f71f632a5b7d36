"""Planning, claiming and completing: through the façade, through the store, and by hand; and the same where more is stored."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from by_hand import DESCRIPTION, ByHand, copy_store, new_store, put_content
from measure import Cost, Row, Scale, alternate, metered, say

import vespera_orchestrator as vespera
from vespera_orchestrator._model import ArtifactDraft, Dependency, Ending, NextAction, TaskDraft
from vespera_orchestrator.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LEASE_S = 900.0
_SEED = 50


class Side(Protocol):
    """One way to plan a task, and to take and complete one."""

    def plan(self, number: int, needs: Sequence[str]) -> str: ...

    def live(self, number: int) -> None: ...

    def close(self) -> None: ...


class Facade:
    """What callers use. Completing includes the content file with three syncs, its record, and the look for worktree and documents."""

    def __init__(self, folder: Path, source: Path) -> None:
        copy_store(source, folder / ".task_orchestrator" / "orchestrator.db")
        self.orch = vespera.open(folder)
        self.orch.resume_session(self.orch.list_sessions()[0])

    def plan(self, number: int, needs: Sequence[str]) -> str:
        return self.orch.plan_task(f"Task {number}", DESCRIPTION, dependencies=needs, priority=1).id

    def live(self, number: int) -> None:
        work = self.orch.execute_task()
        work.complete(summary="done", detailed_work=f"# {number}\n")

    def close(self) -> None:
        self.orch.close()


class Operations:
    """The store's operations; the artifact's content is taken as written."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.store = SQLiteStore.open(copy_store(source, folder / "store.db"))
        self.session_id = self.store.sessions()[0].id

    def plan(self, number: int, needs: Sequence[str]) -> str:
        edges = tuple(Dependency(other) for other in needs)
        return self.store.plan(self.session_id, [TaskDraft(f"Task {number}", DESCRIPTION, edges, priority=1)])[0].id

    def live(self, number: int) -> None:
        claim = self.store.claim(self.session_id, "main", lease_s=LEASE_S)
        if claim is None:
            raise RuntimeError(number)
        ending = Ending(NextAction.COMPLETE, summary="done")
        draft = ArtifactDraft(claim.task.title, f"{number:064x}", 9)
        self.store.finish(claim.task.id, claim.attempt.number, ending, agent="main", artifacts=[draft])

    def close(self) -> None:
        self.store.close()


class Floor:
    """The same SQL by hand; with *contents*, the content file as well."""

    def __init__(self, folder: Path, source: Path, *, contents: bool = False) -> None:
        self.floor = ByHand(copy_store(source, folder / "hand.db"))
        self.contents = folder / "contents" if contents else None
        if self.contents is not None:
            self.contents.mkdir()

    def plan(self, number: int, needs: Sequence[str]) -> str:
        return self.floor.plan(number, needs, priority=1)

    def live(self, number: int) -> None:
        claim = self.floor.claim()
        if claim is None:
            raise RuntimeError(number)
        digest, size = (f"{number:064x}", 9) if self.contents is None else put_content(self.contents, f"# {number}\n".encode())
        self.floor.complete(*claim, digest, size)

    def close(self) -> None:
        self.floor.close()


class Player:
    """Plans tasks that each wait for two of the fifty before, and completes as many, so that the store's open part stays the same."""

    def __init__(self, side: Side, count: int) -> None:
        self.side, self.count = side, count
        self.choice = random.Random(7)  # the same graph on every side
        self.ids = [side.plan(number, ()) for number in range(_SEED)]
        self.lived = 0

    def plan(self) -> Cost:
        picks = [self.choice.sample(range(1, _SEED), 2) for _ in range(self.count)]
        with metered() as meter:
            for a, b in picks:
                self.ids.append(self.side.plan(len(self.ids), (self.ids[-a], self.ids[-b])))
        return meter.per(self.count)

    def live(self) -> Cost:
        with metered() as meter:
            for number in range(self.lived, self.lived + self.count):
                self.side.live(number)
        self.lived += self.count
        return meter.per(self.count)


def rows(scale: Scale) -> list[Row]:
    with ExitStack() as stack:
        return [*_against_by_hand(scale, stack), *_where_more_is_stored(scale, stack)]


def _against_by_hand(scale: Scale, stack: ExitStack) -> list[Row]:
    count, rounds = scale.pick(300, 40), scale.pick(9, 2)
    empty = scale.folder / "empty.db"
    new_store(empty)
    folder = scale.folder
    sides = {
        "facade": Facade(folder / "facade", empty),
        "store": Operations(folder / "store", empty),
        "hand": Floor(folder / "hand", empty),
        "file": Floor(folder / "file", empty, contents=True),
    }
    players = _players(sides, count, stack)
    plan = alternate(rounds, **{name: player.plan for name, player in players.items()})
    live = alternate(rounds, **{name: player.live for name, player in players.items()})
    sql, file = "same SQL by hand", "same SQL and content file by hand"
    return [
        Row.of("plan, façade", plan["facade"], sql, plan["hand"], at_most=2),
        Row.of("plan, store", plan["store"], sql, plan["hand"], at_most=2),
        Row.of("claim + complete, façade", live["facade"], sql, live["hand"], at_most=2),
        Row.of("claim + complete, façade", live["facade"], file, live["file"]),
        Row.of("claim + complete, store", live["store"], sql, live["hand"], at_most=2),
    ]


def _players(sides: dict[str, Side], count: int, stack: ExitStack) -> dict[str, Player]:
    for side in sides.values():
        stack.callback(side.close)
    return {name: Player(side, count) for name, side in sides.items()}


def _where_more_is_stored(scale: Scale, stack: ExitStack) -> list[Row]:
    sizes = [200, 1000] if scale.quick else [1000, 10_000, 100_000, *([1_000_000] if scale.large else [])]
    count, rounds = scale.pick(100, 20), scale.pick(7, 2)
    sides: dict[str, Side] = {}
    for size in sizes:
        source = _filled(scale.folder, size)
        sides[f"ours {size}"] = Facade(scale.folder / f"ours {size}", source)
        sides[f"hand {size}"] = Floor(scale.folder / f"hand {size}", source)
    players = _players(sides, count, stack)
    plan = alternate(rounds, **{name: player.plan for name, player in players.items()})
    live = alternate(rounds, **{name: player.live for name, player in players.items()})
    found, least = [], sizes[0]
    for what, costs in (("plan", plan), ("claim + complete", live)):
        for size in sizes[1:]:
            label = f"{what}, façade, {size:,} tasks stored"
            found.append(Row.of(label, costs[f"ours {size}"], f"with {least:,}", costs[f"ours {least}"], at_most=1.3))
        label = f"{what}, SQL by hand, {sizes[-1]:,} tasks stored"
        found.append(Row.of(label, costs[f"hand {sizes[-1]}"], f"with {least:,}", costs[f"hand {least}"]))
    return found


def _filled(folder: Path, size: int) -> Path:
    path, begun = folder / f"{size}.db", time.perf_counter()
    new_store(path)
    floor = ByHand(path)
    floor.fill(size)
    floor.close()
    say(f"{size:,} tasks put in, {time.perf_counter() - begun:.1f} s, {path.stat().st_size / 1e6:.0f} MB")
    return path

"""Planning, claiming and completing: through the façade, through the store, and by hand.

And the same where more is stored.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import attrs

import vespera_orchestrator as vespera
from by_hand import DESCRIPTION, ByHand, copy_store, new_store, put_content
from measure import Cost, Row, Scale, alternate, metered, say
from vespera_orchestrator._model import ArtifactDraft, Dependency, Ending, NextAction, TaskDraft
from vespera_orchestrator.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LEASE_S = 900.0
_SEED = 50


@attrs.frozen
class Side:
    """One way to plan a task, and to take and complete one."""

    plan: Callable[[int, Sequence[str]], str]
    """Plans the task of this number, which waits for these, and returns its id."""
    live: Callable[[int], object]
    """Claims the best ready task and completes it; the number makes each content different."""
    close: Callable[[], object]
    orch: vespera.Orchestrator | None = None
    """For what only callers of the façade can ask."""


def facade(folder: Path, source: Path) -> Side:
    """Do what callers do.

    Completing includes the content file with three syncs, its record, and the look for a worktree
    and documents.
    """
    copy_store(source, folder / ".task_orchestrator" / "orchestrator.db")
    orch = vespera.open(folder)
    orch.resume_session(orch.list_sessions()[0])

    def plan(number: int, needs: Sequence[str]) -> str:
        return orch.plan_task(f"Task {number}", DESCRIPTION, dependencies=needs, priority=1).id

    def live(number: int) -> None:
        orch.execute_task().complete(summary="done", detailed_work=f"# {number}\n")

    return Side(plan, live, orch.close, orch)


def operations(folder: Path, source: Path) -> Side:
    """Call the store's operations; the artifact's content is taken as written."""
    store = SQLiteStore.open(copy_store(source, folder / "store.db"))
    session_id = store.sessions()[0].id

    def plan(number: int, needs: Sequence[str]) -> str:
        edges = tuple(Dependency(other) for other in needs)
        return store.plan(
            session_id,
            [
                TaskDraft(
                    title=f"Task {number}", description=DESCRIPTION, dependencies=edges, priority=1
                )
            ],
        )[0].id

    def live(number: int) -> None:
        claim = store.claim(session_id, "main", lease_s=LEASE_S)
        if claim is None:
            raise RuntimeError(number)
        draft = ArtifactDraft(title=claim.task.title, digest=f"{number:064x}", size_bytes=9)
        ending = Ending(action=NextAction.COMPLETE, summary="done")
        store.finish(claim.task.id, claim.attempt.number, ending, agent="main", artifacts=[draft])

    return Side(plan, live, store.close)


def hand(folder: Path, source: Path, *, contents: bool = False) -> Side:
    """Write the same SQL by hand; with *contents*, the content file as well."""
    floor, place = ByHand(copy_store(source, folder / "hand.db")), folder / "contents"
    place.mkdir()

    def plan(number: int, needs: Sequence[str]) -> str:
        return floor.plan(number, needs, priority=1)

    def live(number: int) -> None:
        claim = floor.claim()
        if claim is None:
            raise RuntimeError(number)
        written = (
            put_content(place, f"# {number}\n".encode()) if contents else (f"{number:064x}", 9)
        )
        floor.complete(*claim, *written)

    return Side(plan, live, floor.close)


class Player:
    """Plans tasks that each wait for two of the fifty before, and completes as many.

    So the open part of the store stays the same.
    """

    def __init__(self, side: Side, count: int) -> None:
        self.side, self.count = side, count
        self.choice = random.Random(7)  # the same graph on every side
        self.ids = [side.plan(number, ()) for number in range(_SEED)]
        self.lived = 0

    def plan(self) -> Cost:
        """Plan so many tasks."""
        picks = [self.choice.sample(range(1, _SEED), 2) for _ in range(self.count)]
        with metered() as meter:
            for a, b in picks:
                self.ids.append(self.side.plan(len(self.ids), (self.ids[-a], self.ids[-b])))
        return meter.per(self.count)

    def live(self) -> Cost:
        """Claim and complete so many tasks."""
        with metered() as meter:
            for number in range(self.lived, self.lived + self.count):
                self.side.live(number)
        self.lived += self.count
        return meter.per(self.count)


def rows(scale: Scale) -> list[Row]:
    with ExitStack() as stack:
        return [
            *_against_by_hand(scale, stack),
            *_where_more_is_stored(scale, stack),
            _in_a_chain(scale, stack),
            _whole_plan(scale, stack),
        ]


def _against_by_hand(scale: Scale, stack: ExitStack) -> list[Row]:
    count, rounds = scale.pick(300, 40), scale.pick(9, 2)
    empty = scale.folder / "empty.db"
    new_store(empty)
    folder = scale.folder
    sides = {
        "facade": facade(folder / "facade", empty),
        "store": operations(folder / "store", empty),
        "hand": hand(folder / "hand", empty),
        "file": hand(folder / "file", empty, contents=True),
    }
    plan, live = play(sides, count, rounds, stack)
    sql, file = "same SQL by hand", "same SQL and content file by hand"
    return [
        Row.of("plan, façade", plan["facade"], sql, plan["hand"], at_most=2),
        Row.of("plan, store", plan["store"], sql, plan["hand"], at_most=2),
        Row.of("claim + complete, façade", live["facade"], sql, live["hand"], at_most=2),
        Row.of("claim + complete, façade", live["facade"], file, live["file"]),
        Row.of("claim + complete, store", live["store"], sql, live["hand"], at_most=2),
    ]


def play(
    sides: dict[str, Side], count: int, rounds: int, stack: ExitStack
) -> tuple[dict[str, list[Cost]], dict[str, list[Cost]]]:
    """Let the sides take turns: in each round all plan, then all complete as many tasks.

    Returns:
        What planning cost, and what completing cost, by side.
    """
    for side in sides.values():
        stack.callback(side.close)
    players = {name: Player(side, count) for name, side in sides.items()}
    turns = {f"plan {name}": player.plan for name, player in players.items()}
    turns |= {f"live {name}": player.live for name, player in players.items()}
    costs = alternate(rounds, **turns)
    return {name: costs[f"plan {name}"] for name in sides}, {
        name: costs[f"live {name}"] for name in sides
    }


def _where_more_is_stored(scale: Scale, stack: ExitStack) -> list[Row]:
    sizes = [200, 1000] if scale.quick else [1000, 10_000, 100_000]
    if scale.large and not scale.quick:
        sizes.append(1_000_000)
    count, rounds = scale.pick(100, 20), scale.pick(7, 2)
    sides: dict[str, Side] = {}
    for size in sizes:
        source = _filled(scale.folder, size)
        sides[f"ours {size}"] = facade(scale.folder / f"ours {size}", source)
        sides[f"hand {size}"] = hand(scale.folder / f"hand {size}", source)
        source.unlink()
    plan, live = play(sides, count, rounds, stack)
    compared, least = [], sizes[0]
    for what, costs in (("plan", plan), ("claim + complete", live)):
        for size in sizes[1:]:
            label = f"{what}, façade, {size:,} tasks stored"
            ours, ours_least = costs[f"ours {size}"], costs[f"ours {least}"]
            compared.append(Row.of(label, ours, f"with {least:,}", ours_least, at_most=1.3))
        label = f"{what}, SQL by hand, {sizes[-1]:,} tasks stored"
        by_hand, by_hand_least = costs[f"hand {sizes[-1]}"], costs[f"hand {least}"]
        compared.append(Row.of(label, by_hand, f"with {least:,}", by_hand_least))
    opened = {size: sides[f"ours {size}"].orch for size in sizes}
    facades = {size: orch for size, orch in opened.items() if orch is not None}
    return compared + _looks(scale, facades)


def _looks(scale: Scale, opened: dict[int, vespera.Orchestrator]) -> list[Row]:
    """Ask what callers ask all the time, in stores of different sizes."""
    count, least = scale.pick(50, 5), min(opened)
    compared = []
    for what in ("why", "ready_tasks", "next_step", "get_status"):

        def ask(orch: vespera.Orchestrator, what: str = what) -> Cost:
            ids = [task.id for task in orch.query_tasks(status="pending", limit=count)]
            with metered() as meter:
                for task_id in ids:
                    getattr(orch, what)(*([task_id] if what == "why" else []))
            return meter.per(len(ids))

        costs = alternate(
            scale.pick(7, 2), **{str(size): partial(ask, orch) for size, orch in opened.items()}
        )
        compared += [
            Row.of(
                f"{what}, {size:,} tasks stored",
                costs[str(size)],
                f"with {least:,}",
                costs[str(least)],
                at_most=1.3,
            )
            for size in list(opened)[1:]
        ]
    return compared


def _whole_plan(scale: Scale, stack: ExitStack) -> Row:
    """Plan 10,000 tasks with 30,000 dependencies in one call.

    Against it stand the same rows, put in by hand in one transaction.
    """
    size = scale.pick(10_000, 200)
    specs = [
        {
            "title": f"Task {n}",
            "alias": f"x{n}",
            "dependencies": [f"x{other}" for other in range(max(0, n - 3), n)],
        }
        for n in range(size)
    ]
    numbers = iter(range(1_000))

    def ours() -> Cost:
        folder = scale.folder / f"whole {next(numbers)}"
        folder.mkdir()
        orch = stack.enter_context(vespera.open(folder))
        orch.initialize_session("whole")
        with metered() as meter:
            orch.plan_tasks(specs)
        return meter.per(size)

    def by_hand() -> Cost:
        path = scale.folder / f"whole {next(numbers)}.db"
        new_store(path)
        floor = ByHand(path)
        stack.callback(floor.close)
        with metered() as meter:
            floor.fill(size)
        return meter.per(size)

    costs = alternate(scale.pick(5, 2), ours=ours, hand=by_hand)
    return Row.of(
        f"plan_tasks with {size:,} tasks at once, a task",
        costs["ours"],
        "rows put in by hand at once",
        costs["hand"],
    )


def _filled(folder: Path, size: int) -> Path:
    path, begun = folder / f"{size}.db", time.perf_counter()
    new_store(path)
    floor = ByHand(path)
    floor.fill(size)
    floor.close()
    seconds, megabytes = time.perf_counter() - begun, path.stat().st_size / 1e6
    say(f"{size:,} tasks put in, {seconds:.1f} s, {megabytes:.0f} MB")
    return path


def _in_a_chain(scale: Scale, stack: ExitStack) -> Row:
    """Plan tasks one after the other, each waiting for the one before.

    In one long chain that nobody has begun, and in short ones.
    """
    empty = scale.folder / "chains.db"
    new_store(empty)
    count, before = scale.pick(60, 10), scale.pick(300, 30)
    sides = {name: facade(scale.folder / name, empty) for name in ("long", "short")}
    planned: dict[str, list[str]] = {name: [] for name in sides}
    for opened in sides.values():
        stack.callback(opened.close)

    def plan(name: str, number: int) -> Cost:
        ids = planned[name]
        with metered() as meter:
            for _ in range(number):
                begins = not ids or (name == "short" and len(ids) % 10 == 0)
                ids.append(sides[name].plan(len(ids), () if begins else ids[-1:]))
        return meter.per(number)

    for name in sides:
        plan(name, before)
    costs = alternate(scale.pick(7, 2), **{name: partial(plan, name, count) for name in sides})
    label = f"plan, façade, at the end of a chain of {before:,} open tasks"
    return Row.of(label, costs["long"], "of at most ten", costs["short"], at_most=1.3)

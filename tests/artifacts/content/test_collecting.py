"""Collecting in an object store never removes what a record relies on.

That holds for every order of requests, every pause and every kill.
"""

from __future__ import annotations

import hashlib
import random
from itertools import combinations

import obstore
import pytest

from support.steered_objects import Actor, SteeredObjects
from vespera_orchestrator.artifacts.content import object_store
from vespera_orchestrator.errors import CorruptContentError

GRACE = 100.0
SMALL, MIDDLE, LARGE = (
    b"small",
    b"in the middle, asked for",
    b"large, goes up in parts, and is asked for as well",
)
CONTENTS = {hashlib.sha256(data).hexdigest(): data for data in (SMALL, MIDDLE, LARGE)}


@pytest.fixture(autouse=True)
def sizes(monkeypatch):
    """A few bytes are enough to be large."""
    monkeypatch.setattr(object_store, "_COMPARED_FROM_BYTES", len(SMALL) + 1)
    monkeypatch.setattr(object_store, "_PART_BYTES", len(MIDDLE))


class World:
    """A store with its records, and the actors on it. Checks the promise after every step."""

    def __init__(self):
        self.objects = SteeredObjects()
        self.records, self.forgotten = set(), dict.fromkeys(CONTENTS, 0)
        self.actors, self.began = [], {}
        self._held = None
        self._look = self.objects.content(steered=False)

    # who works

    def write(self, data):
        """Start to put *data* and to record it afterwards."""

        def act(actor):
            digest, _ = content.put(data)
            actor.rely()
            actor.stand()
            self.records.add(digest)
            del self.began[actor]

        content = self.objects.content()
        actor = Actor(act)
        # A long upload may take what it takes: there, time counts from the last look for a mark.
        self.began[actor] = self.objects.now if len(data) <= object_store._PART_BYTES else None
        return self._with(actor)

    def collect(self):
        """Start to collect."""

        def act(actor):
            def referenced():
                actor.stand()
                return set(self.records)

            content.collect(referenced, older_than_s=GRACE)

        content = self.objects.content()
        return self._with(Actor(act))

    def read(self, digest):
        """Start to read what a record refers to."""

        def act(_):
            forgotten, began = self.forgotten[digest], self.objects.now
            try:
                assert content.read(digest) == CONTENTS[digest]
            except CorruptContentError:
                # Whoever takes longer than the grace time over it may meet copies come and go.
                is_slow = (self.objects.now - began).total_seconds() >= GRACE
                was_forgotten = self.forgotten[digest] != forgotten
                assert is_slow or was_forgotten, "it was referred to all the while"

        content = self.objects.content()
        return self._with(Actor(act))

    def _with(self, actor):
        self.actors.append(actor)
        return actor

    # what happens

    def step(self, actor):
        """Let one request arrive."""
        actor.step()
        self.hold()

    def kill(self, actor):
        """Let none of its requests arrive any more."""
        actor.kill()
        self.began.pop(actor, None)

    def forget(self, digest):
        """Remove the record."""
        self.records.discard(digest)
        self.forgotten[digest] += 1

    def wait(self, seconds):
        """Let time pass.

        A writer that would record later than the grace time gives up: it was promised nothing.
        """
        self.objects.wait(seconds)
        for actor, began in list(self.began.items()):
            since = began or actor.relies_since
            if since is not None and (self.objects.now - since).total_seconds() >= GRACE:
                self.kill(actor)

    def hold(self):
        """Check that everything recorded can be read."""
        now = (self.objects.deleted, frozenset(self.records))
        for digest in self.records if now != self._held else ():
            assert self._look.read(digest) == CONTENTS[digest]
        self._held = now

    def end(self):
        """Kill everybody who is left, and collect until nothing is left to do.

        Everything recorded stays, and nothing else.
        """
        for actor in self.actors:
            self.kill(actor)
        for _ in range(3):
            self._look.collect(lambda: set(self.records), older_than_s=GRACE)
            self.wait(GRACE + 1)
            self.hold()
        left = {key[:2] + key[3:65] for key in self.keys() if key[2] == "/"}
        assert left == self.records

    def keys(self):
        """Return every key."""
        return [about["path"] for some in obstore.list(self.objects.store) for about in some]


def world_with(data, state):
    """Return a world in which the content is in the named state."""
    world = World()
    content = world.objects.content(steered=False)
    content.put(data)
    if state != "young":
        world.wait(GRACE + 1)
    if state in {"marked", "ripe", "gone", "twice"}:
        content.collect(set, older_than_s=GRACE)
    if state in {"ripe", "gone", "twice"}:
        world.wait(GRACE + 1)
    if state == "twice":
        content.put(data)
        world.wait(GRACE + 1)
    if state == "gone":
        assert content.collect(set, older_than_s=GRACE).contents == 1
    return world


STATES = ["young", "old", "marked", "ripe", "gone", "twice"]


@pytest.mark.parametrize(
    ("data", "state"),
    [
        *((SMALL, state) for state in STATES if state != "twice"),
        pytest.param(SMALL, "twice", marks=pytest.mark.soak),
        *(
            pytest.param(LARGE, state, marks=pytest.mark.soak)
            for state in ("marked", "ripe", "twice")
        ),
    ],
)
def test_every_order_of_a_writer_and_a_collector(data, state):
    """What the writer records is there, then and after later collecting.

    That holds for every order in which the requests arrive.
    """
    digest = hashlib.sha256(data).hexdigest()

    def lengths():
        for begin in (lambda world: world.write(data), lambda world: world.collect()):
            world, steps = world_with(data, state), 0
            actor = begin(world)
            while not actor.done:
                actor.step()
                steps += 1
            yield steps

    of_writer, of_collector = lengths()
    for turns in combinations(range(of_writer + of_collector), of_writer):
        world = world_with(data, state)
        writer, collector = world.write(data), world.collect()
        for turn in range(of_writer + of_collector):
            actor = writer if turn in turns else collector
            if not actor.done:
                world.step(actor)
        writer.finish()
        assert digest in world.records
        world.hold()
        world.wait(GRACE + 1)
        world.collect().finish()
        world.hold()
        world.end()


@pytest.mark.parametrize("state", STATES)
def test_every_order_of_a_reader_and_a_writer_beside_collectors(state):
    """A reader finds what is recorded while it is put again and an old copy is removed."""
    digest = hashlib.sha256(SMALL).hexdigest()
    for turns in combinations(range(11), 3):
        world = world_with(SMALL, state)
        world.write(SMALL).finish()
        reader, collector, writer = world.read(digest), world.collect(), world.write(SMALL)
        for turn in range(11):
            others = collector if turn % 3 == 0 else writer
            actor = reader if turn in turns else others
            if not actor.done:
                world.step(actor)
        reader.finish()
        world.end()


@pytest.mark.parametrize("data", [SMALL, MIDDLE, LARGE], ids=["small", "middle", "large"])
@pytest.mark.parametrize("asleep", range(10))
def test_a_collector_that_sleeps(data, asleep):
    """It wakes up much later, at any request, and continues: what was recorded meanwhile stays."""
    for state in STATES:
        world = world_with(data, state)
        sleeper = world.collect()
        for _ in range(asleep):
            if not sleeper.done:
                world.step(sleeper)
        writer = world.write(data)
        world.step(writer)
        world.collect().finish()
        writer.finish()
        world.wait(GRACE + 1)
        sleeper.finish()
        world.hold()
        world.end()


@pytest.mark.parametrize("asleep", range(6))
def test_an_upload_that_takes_longer_than_the_grace_time(asleep):
    """Whatever is marked and removed meanwhile, the upload is there when the call returns."""
    for state in STATES:
        world = world_with(LARGE, state)
        writer = world.write(LARGE)
        for _ in range(asleep):
            if not writer.done:
                world.step(writer)
        for _ in range(3):
            world.collect().finish()
            if writer.relies_since is None:  # from then on its caller has the grace time
                world.wait(GRACE + 1)
        while not writer.done:
            world.step(writer)
            world.collect().finish()
        assert world.records == {hashlib.sha256(LARGE).hexdigest()}
        world.hold()
        world.end()


MOVES = {
    "step": 55,
    "run": 8,
    "kill": 1,
    "wait": 10,
    "write": 9,
    "collect": 8,
    "forget": 5,
    "read": 4,
}
PAUSES = (1.0, GRACE / 3, GRACE / 3, GRACE / 2, GRACE + 1, GRACE + 1, 30 * GRACE)
MOST_AT_WORK = 5


@pytest.mark.parametrize("seed", range(4))
def test_nothing_recorded_is_lost_whatever_happens(seed):
    """Any number of writers, readers and collectors, paused and killed at any request."""
    for number in range(25):
        walk(random.Random(f"{seed} {number}"), 200)


@pytest.mark.soak
def test_nothing_recorded_is_lost_for_long():
    """The same for much longer."""
    for number in range(4_000):
        walk(random.Random(f"long {number}"), 400)


def walk(chance, length):
    """Make random moves."""
    world, digests = World(), chance.sample(sorted(CONTENTS), chance.choice((1, 1, 2, 3)))
    moves = chance.choices(list(MOVES), list(MOVES.values()), k=length)
    try:
        for what in moves:
            move(world, what, chance, chance.choice(digests))
            world.hold()
        world.end()
    finally:
        for actor in world.actors:
            actor.kill()


def move(world, what, chance, digest):
    """Make one move."""
    at_work = [actor for actor in world.actors if not actor.done]
    if what == "wait":
        world.wait(chance.choice(PAUSES))
    elif what == "forget":
        world.forget(digest)
    elif what in {"step", "run", "kill"}:
        if at_work:
            go_on(world, what, chance.choice(at_work))
    elif len(at_work) >= MOST_AT_WORK:
        return
    elif what == "collect":
        world.collect()
    elif what == "write":
        world.write(CONTENTS[digest])
    elif digest in world.records:
        world.read(digest)


def go_on(world, how, actor):
    """Let an actor continue, or kill it."""
    if how == "kill":
        world.kill(actor)
    while not actor.done:
        world.step(actor)
        if how == "step":
            break

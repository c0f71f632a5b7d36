"""An object store in which the test decides whose request arrives next, and what time it is.

The bytes are in obstore's own `MemoryStore`. Times and e-tags are those that S3 would give, and
a listing comes in pages. A request that an actor has sent may arrive at any later moment, or
never, if the actor is killed before.
"""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta

import obstore

from vespera_orchestrator.artifacts.content import object_store
from vespera_orchestrator.artifacts.content.object_store import ObjectContent

PAGE = 3


class KilledError(BaseException):
    """Ends the thread of an actor."""


class Actor:
    """Somebody at work, who waits before each request until `step` lets it arrive."""

    working = threading.local()

    def __init__(self, act):
        self.done, self.killed, self.error = False, False, None
        self.looked_at = self.relies_since = None
        self._turn, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(act,), daemon=True)
        self._thread.start()
        self._wait()

    def _run(self, act):
        Actor.working.by = self
        try:
            act(self)
        except KilledError:
            pass
        except BaseException as exc:  # noqa: BLE001 - told by whoever steers
            self.error = exc
        self.done = True
        self._stands.release()

    def stand(self):
        """Wait, in the actor's thread, until the next request may arrive."""
        self._stands.release()
        self._turn.acquire()
        if self.killed:
            raise KilledError

    def rely(self):
        """Note that it relies on a copy since its last look for a mark."""
        self.relies_since = self.relies_since or self.looked_at

    def step(self):
        """Let the next request arrive, and run until the one after."""
        self._turn.release()
        self._wait()

    def kill(self):
        """Let no request arrive any more."""
        if not self.done:
            self.killed = True
            self.step()

    def finish(self):
        """Let all remaining requests arrive."""
        while not self.done:
            self.step()

    def _wait(self):
        self._stands.acquire()
        if self.done:
            self._thread.join()
        if self.error is not None:
            raise self.error


class SteeredObjects:
    """Stands in for the module ``obstore``."""

    exceptions = obstore.exceptions

    def __init__(self):
        self.store = obstore.store.MemoryStore()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.modified = {}
        self.deleted = 0

    def content(self, *, steered=True) -> ObjectContent:
        """Return the content store of another process; if *steered*, its requests wait."""
        content = ObjectContent("memory://")
        bucket = content._bucket
        bucket._obstore, bucket._store = self if steered else _Straight(self), self.store
        return content

    def wait(self, seconds):
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def _arrive(self, what, path=""):
        actor = getattr(Actor.working, "by", None)
        if actor is not None:
            if what == "delete":  # the last thing that a writer does
                actor.rely()
            actor.stand()
            if what == "head" and path.startswith("condemned/"):
                actor.looked_at = self.now
        self.deleted += what == "delete"

    def put(self, _, path, body, **how):
        self._arrive("put", path)
        obstore.put(self.store, path, body, **how)
        self.modified[path] = self.now

    def get(self, _, path):
        self._arrive("get", path)
        return obstore.get(self.store, path)

    def head(self, _, path):
        self._arrive("head", path)
        return self._about(obstore.head(self.store, path))

    def delete(self, _, paths):
        for path in (
            [paths] if isinstance(paths, str) else paths
        ):  # a request for many is carried out one after the other
            self._arrive("delete", path)
            obstore.delete(self.store, path)

    def list(self, _, prefix=None):
        after = ""
        while True:
            self._arrive("list", after)
            every = sorted(
                (self._about(about) for some in obstore.list(self.store, prefix) for about in some),
                key=lambda about: about["path"],
            )
            page = [about for about in every if about["path"] > after][:PAGE]
            yield page
            if len(page) < PAGE:
                return
            after = page[-1]["path"]

    def _about(self, about):
        data, size = bytes(obstore.get(self.store, about["path"]).bytes()), object_store._PART_BYTES
        parts = [hashlib.md5(data[start : start + size]) for start in range(0, len(data), size)]
        tag = (
            parts[0].hexdigest()
            if len(parts) == 1
            else f"{hashlib.md5(b''.join(p.digest() for p in parts)).hexdigest()}-{len(parts)}"
        )
        return {**about, "last_modified": self.modified[about["path"]], "e_tag": f'"{tag}"'}


class _Straight:
    """The same store for the test itself: no request waits."""

    exceptions = obstore.exceptions

    def __init__(self, steered):
        self._steered = steered

    def __getattr__(self, name):
        def call(*args, **more):
            by, Actor.working.by = getattr(Actor.working, "by", None), None
            try:
                found = getattr(self._steered, name)(*args, **more)
                return list(found) if name == "list" else found
            finally:
                Actor.working.by = by

        return call

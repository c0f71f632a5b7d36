"""The life of a task against a small model in plain dictionaries, which says beforehand what every
step makes of every task.
"""

from __future__ import annotations

import tempfile
from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from vespera_orchestrator.errors import (
    AnswerNeededError,
    NothingReadyError,
    NotReadyError,
    TransitionError,
)
from vespera_orchestrator.orchestrator import Orchestrator

ENDED = ("completed", "failed", "cancelled", "skipped")
MET_BY = {
    "success": ("completed",),
    "failure": ("failed",),
    "done": ENDED,
    "skipped": ("skipped",),
    "cancelled": ("cancelled",),
    "blocked": (),
}
"""Which ends of a task meet a dependency on it.

Having been blocked, at any time, meets `blocked`.
"""
TRUE_AFTER = {
    "success": ("completed",),
    "failed": ("failed",),
    "skipped": ("skipped",),
    "done": ENDED,
    "not_failed": ("completed", "cancelled", "skipped"),
}
"""After which ends of a task a condition on it is true; before its end it is undecided."""
MOST_FAILURES = 3
MOST_EMPTY_ROUNDS = 3
MOST_CRASHES = 3
PAUSE_S = 45
TIME_LIMIT_S = 100
STALLED_AFTER_S = 40
MOST_TASKS = 14


class Model:
    """What is promised about the life of tasks, in as few words as possible."""

    def __init__(self):
        self.tasks = {}
        self.now = None

    def named(self, *statuses):
        """The tasks in these states, in the order they were planned."""
        return [alias for alias, task in self.tasks.items() if task["status"] in statuses]

    def open(self):
        """The tasks that have not ended."""
        return self.named("pending", "in_progress", "blocked")

    def children(self, alias):
        """The tasks right below this one."""
        return [name for name, task in self.tasks.items() if task["parent"] == alias]

    def has_open_children(self, alias):
        """Whether something right below this task has not ended."""
        return any(self.tasks[name]["status"] not in ENDED for name in self.children(alias))

    def recoveries(self, alias):
        """The recoveries of this task, ended ones included."""
        return [name for name, task in self.tasks.items() if task["recovers"] == alias]

    # verdicts

    def met(self, alias, on):
        """Whether a dependency is met: yes, never (False), or not yet (None)."""
        needed = self.tasks[alias]
        if needed["status"] in MET_BY[on] or (on == "blocked" and needed["was_blocked"]):
            return True
        return False if needed["status"] in ENDED else None

    def verdict(self, alias):
        """Whether this task, if it were pending, is ready, waits, or can never become ready."""
        task = self.tasks[alias]
        fact, governed = task["condition"] or (None, None)
        answers = [self.met(name, on) for name, on in task["needs"].items() if name != governed]
        if fact is not None:
            status = self.tasks[governed]["status"]
            answers.append(status in TRUE_AFTER[fact] if status in ENDED else None)
        if False in answers or self.is_unwanted(alias):
            return "never"
        waits = None in answers or self.has_open_children(alias) or task["asks"]
        return "waiting" if waits or task["rests_until"] is not None else "ready"

    def is_unwanted(self, alias):
        """Whether what this is a part of, or what it recovers, is skipped."""
        task = self.tasks[alias]
        whole = self.tasks.get(task["recovers"] or task["parent"])
        return whole is not None and whole["status"] == "skipped"

    def fate(self, alias):
        """How a task ends by itself, if it does: what runs or is blocked only with the whole."""
        if self.tasks[alias]["status"] != "pending":
            return "skipped" if self.is_unwanted(alias) else None
        verdict = self.verdict(alias)
        if verdict == "never":
            return "skipped"
        return "completed" if verdict == "ready" and self.tasks[alias]["answered"] else None

    def answer(self, alias, says=None):
        """Answer a task, which completes it as soon as it waits for nothing else."""
        self.tasks[alias] |= {"asks": False, "answered": True, "asked": self.tasks[alias]["asks"]}
        if not self.tasks[alias]["pauses"]:  # somebody had put it off
            self.tasks[alias]["rests_until"] = None
        self.tasks[alias]["says"] = says
        self.settle()

    def ready(self):
        """The tasks that can be started now."""
        return [alias for alias in self.named("pending") if self.verdict(alias) == "ready"]

    def waits_for(self, alias):
        """Everything this task waits for, however indirectly, itself included."""
        seen, queue = {alias}, [alias]
        while queue:
            at = queue.pop()
            for name in {*self.tasks[at]["needs"], *self.children(at), *self.recoveries(at)} - seen:
                seen.add(name)
                queue.append(name)
        return seen

    # what happens

    def settle(self):
        """Skip what can never become ready, with its parts, until nothing changes any more."""
        while over := [alias for alias in self.open() if self.fate(alias)]:
            for alias in over:
                self.tasks[alias]["status"] = self.fate(alias)

    def become(self, alias, status):
        """Let one task change, and all that follows from it."""
        self.tasks[alias]["status"] = status
        self.settle()

    def snooze(self, alias, until):
        """Let a task rest with all below it, but for what is held, or wake it now."""
        below = [alias]
        for name in below:
            below += self.children(name)
        for name in set(below) & set(self.named("pending", "blocked")):
            self.tasks[name] |= {
                "rests_until": until,
                "pauses": self.tasks[name]["pauses"] and until == self.tasks[name]["rests_until"],
            }
        self.settle()

    def add(
        self, alias, needs=None, condition=None, parent=None, *, recovers=None, asks=False, **limits
    ):
        """Plan a task."""
        self.tasks[alias] = {
            "status": "pending",
            "needs": needs or {},
            "condition": condition,
            "parent": parent,
            "attempts": 0,
            "failures": 0,
            "was_blocked": False,
            "recovers": recovers,
            "until": None,
            "rests_until": None,
            "asks": asks,
            "asks_ever": asks,
            "answered": False,
            "planned_at": self.now,
            "started_at": None,
            "has_content": False,
            "brought": False,
            "effects": {},
            "questions": [],
            "ended_with": None,
            "says": None,
            "empty_rounds": 0,
            "crashes": 0,
            "retries": False,
            "pauses": False,
            "time_limit": None,
            "stalled_after": None,
            "brought_at": None,
            **limits,
        }
        above = self.tasks.get(parent)
        rests = above is not None and above["rests_until"] and not above["pauses"]
        if rests and not asks and recovers is None:
            self.tasks[alias]["rests_until"] = above["rests_until"]
        if above is not None and above["status"] == "in_progress":
            above["brought_at"] = self.now  # whoever gets parts for its task has not stalled
        self.settle()

    def claim(self, alias, until):
        """Start a task."""
        task = self.tasks[alias]
        task |= {"status": "in_progress", "attempts": task["attempts"] + 1, "until": until}
        task |= {"started_at": self.now, "brought_at": self.now, "brought": False}

    def made_progress(self, alias):
        """Whether the running attempt has brought an effect or a subtask."""
        task = self.tasks[alias]
        planned = [self.tasks[name]["planned_at"] for name in self.children(alias)]
        return task["brought"] or any(at >= task["started_at"] for at in planned)

    def begin_effect(self, alias, key, *, happens):
        """Begin something that must happen once, and leave it open whether it has."""
        task = self.tasks[alias]
        task["effects"][key] = {"is_done": False, "happened": happens, "question": None}
        task |= {"brought": True, "brought_at": self.now}

    def record_effect(self, alias, key):
        """Record that it has happened."""
        task = self.tasks[alias]
        task["effects"][key] |= {"is_done": True, "happened": True}
        task |= {"brought": True, "brought_at": self.now}

    def said(self, alias, key):
        """What a person has said about an effect in doubt, if anything that can be understood."""
        asking = self.tasks.get(self.tasks[alias]["effects"][key]["question"])
        return asking["says"] if asking is not None and asking["status"] == "completed" else None

    def effect_questions(self):
        """The questions that were asked about effects in doubt."""
        effects = [effect for task in self.tasks.values() for effect in task["effects"].values()]
        return {effect["question"] for effect in effects}

    def doubts(self):
        """The effects of running tasks of which nobody knows whether they have happened."""
        return [
            (alias, key)
            for alias in self.named("in_progress")
            for key, effect in self.tasks[alias]["effects"].items()
            if not effect["is_done"]
        ]

    def ask(self, alias, key, question):
        """Ask a person about an effect; the task is given back, and waits for any end of that."""
        task = self.tasks[alias]
        task["effects"][key]["question"] = question
        self.add(question, parent=task["parent"], asks=True)
        task["needs"][question] = "done"
        task["questions"].append(question)
        self.become(alias, "pending")

    def lose(self, alias):
        """A holder is lost: too often without progress, and the task is blocked."""
        task = self.tasks[alias]
        task["crashes"] = 0 if self.made_progress(alias) else task["crashes"] + 1
        if task["crashes"] >= MOST_CRASHES:
            task["was_blocked"] = True
            self.become(alias, "blocked")
        else:
            self.become(alias, "pending")

    def hand_back(self, alias, *, brings):
        """Give a task back, with the same words or none: too often, and it is blocked."""
        task = self.tasks[alias]
        is_new = brings and not task["has_content"]
        task["has_content"] |= brings
        if is_new or self.made_progress(alias):
            task |= {"empty_rounds": 0, "crashes": 0}
        else:
            task["empty_rounds"] += 1
        if task["empty_rounds"] < MOST_EMPTY_ROUNDS:
            self.become(alias, "pending")
        else:
            task["was_blocked"] = True
            self.become(alias, "blocked")

    def complete(self, alias):
        """Complete a task; what it recovers is pending again."""
        self.tasks[alias]["has_content"] = True
        self.become(alias, "completed")
        target = self.tasks[alias]["recovers"]
        if target is not None and self.tasks[target]["status"] == "blocked":
            self.tasks[target] |= {"empty_rounds": 0, "crashes": 0}
            self.become(target, "pending")

    def fail(self, alias, *, may_retry=True):
        """Try a task again after a pause, if it was planned so; else block it, with one recovery
        unless a person must decide.
        """
        task = self.tasks[alias]
        task["failures"] += 1
        task |= {"empty_rounds": 0, "crashes": 0}
        if may_retry and task["retries"] and task["failures"] < MOST_FAILURES:
            pause_s = PAUSE_S * 2 ** (task["failures"] - 1)
            task |= {"rests_until": self.now + timedelta(seconds=pause_s), "pauses": True}
            self.become(alias, "pending")
            return
        task["was_blocked"] = True
        self.become(alias, "blocked")
        is_blocked = task["status"] == "blocked"  # or skipped, because of that
        if is_blocked and task["recovers"] is None and task["failures"] < MOST_FAILURES:
            name, number = f"recover_{alias}", 2
            while name in self.tasks:
                name, number = f"recover_{alias}_{number}", number + 1
            self.add(name, parent=task["parent"], recovers=alias)

    def give_up(self, alias, status, whole=None):
        """End a task without success; it needs no recovery any more, and no answer."""
        task = self.tasks[alias]
        if task["status"] in ENDED:
            return
        task |= {"status": status, "ended_with": whole or alias}
        for name in self.recoveries(alias):
            self.give_up(name, "cancelled")
        for name in task["questions"]:
            if self.tasks[name]["status"] == "pending" and not self.is_awaited(name, alias):
                self.give_up(name, "cancelled", whole or alias)
        self.settle()

    def is_awaited(self, question, apart):
        """Whether another open task than this one waits for an answer."""
        return any(name != apart and question in self.tasks[name]["needs"] for name in self.open())

    def cancel(self, alias, *, subtree, last="cancelled"):
        """Cancel a task, with all below it: the last planned first. It may end in another way."""
        below = [alias]
        for name in below:
            below += self.children(name) if subtree else []
        for name in [name for name in reversed(self.tasks) if name in below]:
            if name != alias:
                self.give_up(name, "cancelled", alias)
            elif last == "cancelled":
                self.give_up(name, last)
        self.give_up(alias, last)

    def taken_down_with(self, alias):
        """What was cancelled in the same call: what is below, and what was asked."""
        if self.tasks[alias]["status"] not in ("cancelled", "failed"):
            return []
        below = [alias]
        for name in below:
            below += self.children(name)
        parts = [
            name
            for name in below[1:]
            if self.tasks[name]["status"] == "cancelled" and self.tasks[name]["recovers"] is None
        ]
        asked = [name for asker in [alias, *parts] for name in self.tasks[asker]["questions"]]
        whole = self.tasks[alias]["ended_with"]
        return [
            name
            for name in dict.fromkeys(parts + asked)
            if self.tasks[name]["status"] == "cancelled" and self.tasks[name]["ended_with"] == whole
        ]

    def may_retry(self, alias):
        """Whether trying this task again is possible."""
        task = self.tasks[alias]
        if task["status"] not in ("blocked", "failed", "cancelled", "skipped"):
            return False
        target = task["recovers"]
        if target is not None and task["status"] != "blocked":
            others_open = any(
                self.tasks[name]["status"] not in ENDED for name in self.recoveries(target)
            )
            if self.tasks[target]["status"] != "blocked" or others_open:
                return False
        if task["parent"] is not None and self.tasks[task["parent"]]["status"] == "completed":
            return False
        return self.verdict(alias) != "never"

    def retry(self, alias):
        """Open a task again, and what was skipped because of it, and so on downward."""
        for name in self.recoveries(alias):
            self.give_up(name, "cancelled")
        opened = [alias, *self.taken_down_with(alias)]
        for name in opened + self.skipped_after(opened):
            task = self.tasks[name]
            if task["status"] != "skipped":  # nobody has taken back what was answered before
                task |= {"answered": False, "asks": task["asks"] or task.get("asked", False)}
            task |= {"status": "pending", "failures": 0}
            task |= {"empty_rounds": 0, "crashes": 0}
            if task["pauses"]:
                task |= {"rests_until": None, "pauses": False}
        self.settle()

    def may_reopen(self, alias):
        """Whether this task may be opened again."""
        task = self.tasks[alias]
        if task["status"] != "completed" or task["recovers"] is not None:
            return False
        return task["parent"] is None or self.tasks[task["parent"]]["status"] != "completed"

    def would_be_skipped(self, alias):
        """Whether a completed task that is opened again would be skipped at once."""
        trial = deepcopy(self)
        trial.retry(alias)
        return trial.tasks[alias]["status"] == "skipped"

    def skipped_after(self, aliases):
        """The skipped tasks that wait for these or are skipped with them, and so on downward."""
        found = list(aliases)
        for name in found:
            is_skipped = self.tasks[name]["status"] == "skipped"
            found += [
                other
                for other in self.named("skipped")
                if other not in found
                and self.tasks[other]["recovers"] is None  # nobody waits for an old recovery
                and (
                    name in self.tasks[other]["needs"]
                    or (is_skipped and self.tasks[other]["parent"] == name)
                )
            ]
        return found[len(aliases) :]

    def reopens_part_of_completed(self, alias):
        """Whether trying this task again would open something skipped below a completed parent."""
        return any(
            parent and self.tasks[parent]["status"] == "completed"
            for parent in self.parents(self.skipped_after([alias, *self.taken_down_with(alias)]))
        )

    def parents(self, aliases):
        """The tasks right above these."""
        return {self.tasks[alias]["parent"] for alias in aliases}

    def lapse(self, now):
        """Let every rest and every hold end whose time is over, by whichever limit came first."""
        for task in self.tasks.values():
            if task["rests_until"] is not None and task["rests_until"] <= now:
                task |= {"rests_until": None, "pauses": False}
        self.settle()
        for alias in self.lapsing(now):
            task = self.tasks[alias]
            if task["status"] != "in_progress":
                continue
            limit = task["time_limit"]
            times_out_at = limit and task["started_at"] + timedelta(seconds=limit)
            if times_out_at and times_out_at <= task["until"] and times_out_at < now:
                self.fail(alias)
            else:
                self.lose(alias)

    def lapsing(self, now):
        """The running tasks whose lease or one of whose limits is over."""
        return [alias for alias in self.named("in_progress") if self.ends_at(alias) < now]

    def ends_at(self, alias):
        """When the running attempt is over if nothing happens."""
        task = self.tasks[alias]
        ends = [task["until"]]
        if task["time_limit"]:
            ends.append(task["started_at"] + timedelta(seconds=task["time_limit"]))
        if task["stalled_after"]:
            ends.append(task["brought_at"] + timedelta(seconds=task["stalled_after"]))
        return min(ends)


some = st.integers(0, 999)
needs = st.lists(st.tuples(some, st.sampled_from(["success"] * 4 + list(MET_BY))), max_size=3)
specs = st.lists(
    st.tuples(needs, st.none() | st.sampled_from(list(TRUE_AFTER)), st.none() | some),
    min_size=1,
    max_size=4,
)
"""For each task what it waits for, the fact that its condition names, and which task it is a
part of.
"""


class Predicted(RuleBasedStateMachine):
    """Takes each step with the façade and with the model, and compares all tasks afterwards."""

    @staticmethod
    def address():
        """Where the store is."""
        return "memory:"

    @initialize(specs=specs.filter(lambda drawn: len(drawn) > 1))
    def open(self, specs):
        """Start with a session of a few tasks."""
        self.folder = tempfile.TemporaryDirectory()
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self.orch = Orchestrator.open(
            self.folder.name,
            store=self.address(),
            clock=lambda: self.now,
            home=f"{self.folder.name}/home",
        )
        self.orch.initialize_session("what was foretold")
        self.model = Model()
        self.model.now = self.now
        self.works = {}
        self.planned = 0
        self.plan(specs)

    def teardown(self):
        """Leave nothing behind."""
        if hasattr(self, "orch"):
            self.orch.close()
            self.folder.cleanup()

    def start(self, alias, lease_s=600, *, by_name=True):
        """Start a task; return its alias."""
        work = self.orch.execute_task(
            alias if by_name else None, lease_s=lease_s, despite_pressure=True
        )
        taken = work.task.alias
        assert taken == alias if by_name else taken in self.model.ready()
        self.model.claim(taken, self.now + timedelta(seconds=lease_s))
        assert work.attempt.number == self.model.tasks[taken]["attempts"]
        self.works[taken] = work
        return taken

    def held(self, number):
        """One of the running tasks."""
        running = self.model.named("in_progress")
        return running[number % len(running)]

    # planning

    @precondition(lambda self: self.planned < MOST_TASKS)
    @rule(specs=specs)
    def plan(self, specs):
        """Plan tasks that wait for earlier ones. A parent that would close a circle is left out."""
        for needs, fact, parent in specs:
            self.plan_one(needs, fact, parent)

    def plan_one(self, needs, fact, parent):
        """Plan one task, with the façade and the model."""
        alias, self.planned = f"t{self.planned}", self.planned + 1
        known, parents = list(self.model.tasks), self.model.open()
        edges = {known[number % len(known)]: on for number, on in needs} if known else {}
        condition = (fact, next(iter(edges))) if fact and edges else None
        above = parents[parent % len(parents)] if parents and parent is not None else None
        if any(above in self.model.waits_for(name) for name in edges):
            above = None
        text = None
        if condition is not None:
            text = (
                f"not {condition[1]}.failed" if fact == "not_failed" else f"{condition[1]}.{fact}"
            )
        dependencies = [self.orch.get_task(name).on(on) for name, on in edges.items()]
        asks = self.planned % 5 == 0
        if above is not None:
            over = self.model.tasks[above]
            if over["asks_ever"] or (over["answered"] and over["status"] == "pending"):
                above = None
        self.orch.plan_task(
            alias,
            alias=alias,
            dependencies=dependencies,
            condition=text,
            parent_task_id=above,
            question="What now?" if asks else None,
            retry_after=PAUSE_S if self.planned % 4 == 1 else None,
            time_limit=TIME_LIMIT_S if self.planned % 3 == 2 else None,
            stalled_after=STALLED_AFTER_S if self.planned % 4 == 3 else None,
        )
        self.model.add(
            alias,
            edges,
            condition,
            above,
            asks=asks,
            retries=self.planned % 4 == 1,
            time_limit=TIME_LIMIT_S if self.planned % 3 == 2 else None,
            stalled_after=STALLED_AFTER_S if self.planned % 4 == 3 else None,
        )

    # working

    @precondition(lambda self: self.model.ready())
    @rule(number=some, by_name=st.booleans(), lease_s=st.sampled_from([60, 600]))
    def execute(self, number, by_name, lease_s):
        """Start a ready task, or whichever is the best."""
        found = self.model.ready()
        self.start(found[number % len(found)], lease_s, by_name=by_name)

    @precondition(lambda self: not self.model.ready())
    @rule()
    def execute_nothing(self):
        """Without a ready task there is none to start."""
        with pytest.raises(NothingReadyError):
            self.orch.execute_task(despite_pressure=True)

    @rule(number=some)
    def execute_too_early(self, number):
        """A task that waits, or has ended, or is blocked, is not started."""
        found = [
            alias
            for alias in self.model.named("pending", "blocked", *ENDED)
            if alias not in self.model.ready()
        ]
        if found:
            with pytest.raises(NotReadyError):
                self.orch.execute_task(found[number % len(found)], despite_pressure=True)

    @precondition(lambda self: self.model.named("in_progress"))
    @rule(number=some)
    def complete(self, number):
        """Complete a running task, which is refused while its subtasks are open."""
        alias = self.held(number)
        if self.model.has_open_children(alias):
            with pytest.raises(NotReadyError):
                self.works[alias].complete(summary="s", detailed_work="d")
            self.model.tasks[alias]["has_content"] = True  # the refused work is kept
        else:
            self.works[alias].complete(summary="s", detailed_work="d")
            self.model.complete(alias)

    @precondition(lambda self: self.model.ready())
    @rule(number=some)
    def start_and_complete(self, number):
        """Do a ready task."""
        found = self.model.ready()
        alias = self.start(found[number % len(found)])
        self.orch.complete_task(alias, summary="s", detailed_work="d")
        self.model.complete(alias)

    @precondition(
        lambda self: any(self.model.tasks[alias]["recovers"] for alias in self.model.ready())
    )
    @rule(number=some)
    def recover(self, number):
        """Do a ready recovery."""
        found = [alias for alias in self.model.ready() if self.model.tasks[alias]["recovers"]]
        alias = self.start(found[number % len(found)])
        self.works[alias].complete(summary="s", detailed_work="d")
        self.model.complete(alias)

    @precondition(lambda self: self.model.named("in_progress"))
    @rule(number=some, says_so=st.booleans())
    def fail(self, number, says_so):
        """Fail a running task, or hand it in as blocked."""
        alias = self.held(number)
        if says_so:
            self.works[alias].complete(summary="s", detailed_work="d", next_action="blocked")
            self.model.tasks[alias]["has_content"] = True
        else:
            self.works[alias].fail("it broke")
        self.model.fail(alias, may_retry=not says_so)

    @precondition(lambda self: self.model.ready())
    @rule(number=some)
    def start_and_fail(self, number):
        """Fail a ready task."""
        found = self.model.ready()
        alias = self.start(found[number % len(found)])
        self.works[alias].fail("it broke")
        self.model.fail(alias)

    @precondition(lambda self: self.model.named("in_progress"))
    @rule(number=some, revise=st.booleans())
    def give_back(self, number, revise):
        """Give a running task back, with or without a word."""
        alias = self.held(number)
        if revise:
            self.works[alias].complete(summary="s", detailed_work="d", next_action="needs_revision")
        else:
            self.works[alias].release()
        self.model.hand_back(alias, brings=revise)

    @precondition(lambda self: self.model.ready())
    @rule(number=some, times=st.integers(1, 4))
    def start_and_give_back(self, number, times):
        """Take a task and give it back as it was, until it is no longer handed out."""
        found = self.model.ready()
        alias = found[number % len(found)]
        for _ in range(times):
            if alias in self.model.ready():
                self.start(alias)
                self.works[alias].release("too hard")
                self.model.hand_back(alias, brings=False)

    @precondition(lambda self: self.model.named("in_progress"))
    @rule(number=some)
    def end_attempt(self, number):
        """End the attempt of a holder that is gone."""
        alias = self.held(number)
        self.orch.end_attempt(alias, "it was killed")
        self.model.lose(alias)

    @precondition(lambda self: self.model.ready())
    @rule(number=some, times=st.integers(1, 4))
    def start_and_lose(self, number, times):
        """Lose one holder after the other, until the task is no longer handed out."""
        found = self.model.ready()
        alias = found[number % len(found)]
        for _ in range(times):
            if alias in self.model.ready():
                self.start(alias)
                self.orch.end_attempt(alias, "it was killed")
                self.model.lose(alias)

    @precondition(lambda self: self.model.named("in_progress"))
    @rule(number=some, key=st.sampled_from(["mail", "payment"]))
    def once(self, number, key):
        """An effect happens once, in whichever attempt, and its result stays."""
        alias = self.held(number)
        if (alias, key) in self.model.doubts():
            return
        calls = []
        result = self.works[alias].once(key, lambda: calls.append(1) or f"{key} of {alias}")
        assert result == f"{key} of {alias}"
        assert bool(calls) == (key not in self.model.tasks[alias]["effects"])
        if calls:
            self.model.begin_effect(alias, key, happens=True)
            self.model.record_effect(alias, key)

    @precondition(lambda self: self.model.named("in_progress"))
    @rule(number=some, key=st.sampled_from(["mail", "payment"]), happens=st.booleans())
    def break_off(self, number, key, happens):
        """Something goes wrong in the middle of an effect: nobody knows whether it has happened."""
        alias = self.held(number)
        if key in self.model.tasks[alias]["effects"]:
            return

        def break_off():
            raise TimeoutError

        with pytest.raises(TimeoutError):
            self.works[alias].once(key, break_off)
        self.model.begin_effect(alias, key, happens=happens)

    @precondition(lambda self: self.model.doubts())
    @rule(number=some)
    def look(self, number):
        """A probe settles the doubt: it is done now if it had not happened, and never twice."""
        doubts = self.model.doubts()
        alias, key = doubts[number % len(doubts)]
        happened = self.model.tasks[alias]["effects"][key]["happened"]
        calls = []
        result = self.works[alias].once(
            key,
            lambda: calls.append(1) or f"{key} of {alias}",
            probe=lambda: f"{key} of {alias}" if happened else None,
        )
        assert result == f"{key} of {alias}"
        assert bool(calls) != happened
        self.model.record_effect(alias, key)

    @precondition(lambda self: self.model.doubts())
    @rule(number=some)
    def doubt(self, number):
        """Without a probe, a person is asked, until one says what can be understood."""
        doubts = self.model.doubts()
        alias, key = doubts[number % len(doubts)]
        said = self.model.said(alias, key)
        calls = []

        def do():
            calls.append(1)
            return f"{key} of {alias}"

        if said is None:
            with pytest.raises(AnswerNeededError) as caught:
                self.works[alias].once(key, do)
            assert not calls
            self.model.ask(alias, key, caught.value.question)
        else:
            assert self.works[alias].once(key, do) == f"{key} of {alias}"
            assert bool(calls) != said
            self.model.record_effect(alias, key)

    @precondition(lambda self: self.questions())
    @rule(number=some)
    def tell(self, number):
        """A person looks, and says whether an effect has happened."""
        questions = self.questions()
        question, happened, key, alias = questions[number % len(questions)]
        self.orch.answer(question, happened=happened, result=f"{key} of {alias}")
        self.model.answer(question, says=happened)

    def questions(self):
        """Open questions about effects, and what a person who looks will find."""
        return [
            (effect["question"], effect["happened"], key, alias)
            for alias, task in self.model.tasks.items()
            for key, effect in task["effects"].items()
            if effect["question"] and self.model.tasks[effect["question"]]["status"] == "pending"
            if self.model.tasks[effect["question"]]["asks"]
        ]

    @rule(seconds=st.sampled_from([30, 61, 601]))
    def let_time_pass(self, seconds):
        """Holds lapse without a sign of life."""
        self.now += timedelta(seconds=seconds)
        self.model.now = self.now
        self.model.lapse(self.now)

    # deciding

    @precondition(lambda self: self.model.tasks)
    @rule(number=some, seconds=st.none() | st.sampled_from([30, 61, 601]))
    def snooze(self, number, seconds):
        """Let a task rest, or wake it; what is held, or has ended, does not rest."""
        alias = list(self.model.tasks)[number % len(self.model.tasks)]
        until = None if seconds is None else self.now + timedelta(seconds=seconds)
        if self.model.tasks[alias]["status"] in ("in_progress", *ENDED):
            with pytest.raises(TransitionError):
                self.orch.snooze_task(alias, until)
        else:
            self.orch.snooze_task(alias, until)
            self.model.snooze(alias, until)

    @precondition(lambda self: self.model.tasks)
    @rule(number=some, likely=st.booleans())
    def answer(self, number, likely):
        """Answer a task, also before it can be; what was begun, or has ended, is not answered.

        Questions about effects want another answer, see `tell`.
        """
        own = [
            alias
            for alias, task in self.model.tasks.items()
            if task["recovers"] is None and alias not in self.model.effect_questions()
        ]
        asking = [alias for alias in own if self.model.tasks[alias]["asks"]]
        named = (likely and asking) or own
        alias = named[number % len(named)]
        task = self.model.tasks[alias]
        may = task["status"] == "pending" and not self.model.has_open_children(alias)
        may = may and (task["asks_ever"] or not task["attempts"])
        if may or task["answered"]:
            self.orch.answer(alias, "go on")
        else:
            with pytest.raises(TransitionError):
                self.orch.answer(alias, "go on")
        if may and not task["answered"]:
            self.model.answer(alias)

    @precondition(lambda self: self.model.tasks)
    @rule(number=some, subtree=st.booleans())
    def cancel(self, number, subtree):
        """Cancel a task; twice is no error, after another end it is refused."""
        alias = list(self.model.tasks)[number % len(self.model.tasks)]
        if self.model.tasks[alias]["status"] in ("completed", "failed", "skipped"):
            with pytest.raises(TransitionError):
                self.orch.cancel_task(alias, subtree=subtree)
            return
        again = self.model.tasks[alias]["status"] == "cancelled"
        self.orch.cancel_task(alias, subtree=subtree)
        if not again:
            self.model.cancel(alias, subtree=subtree)

    @precondition(lambda self: self.model.tasks)
    @rule(number=some)
    def abandon(self, number):
        """Give a task up, which is refused when it has ended."""
        alias = list(self.model.tasks)[number % len(self.model.tasks)]
        if self.model.tasks[alias]["status"] in ENDED:
            with pytest.raises(TransitionError):
                self.orch.abandon_task(alias)
        else:
            self.orch.abandon_task(alias)
            self.model.cancel(alias, subtree=True, last="failed")

    @precondition(lambda self: self.model.tasks)
    @rule(number=some, likely=st.booleans())
    def retry(self, number, likely):
        """Try a task again, which is refused when it could not become ready, or is needed no
        more.
        """
        found = (
            likely and [alias for alias in self.model.tasks if self.model.may_retry(alias)]
        ) or list(self.model.tasks)
        alias = found[number % len(found)]
        if self.model.reopens_part_of_completed(alias):
            return
        if self.model.may_retry(alias):
            self.orch.retry_task(alias)
            self.model.retry(alias)
        else:
            with pytest.raises(TransitionError):
                self.orch.retry_task(alias)

    @precondition(lambda self: any(self.model.may_reopen(name) for name in self.model.tasks))
    @rule(number=some)
    def reopen(self, number):
        """Open a completed task again; what waits for it and has not begun waits again.

        That is refused where it would be skipped at once.
        """
        found = [name for name in self.model.tasks if self.model.may_reopen(name)]
        alias = found[number % len(found)]
        if self.model.reopens_part_of_completed(alias):
            return
        if self.model.would_be_skipped(alias):
            with pytest.raises(TransitionError):
                self.orch.reopen_task(alias, "not good enough")
            return
        reopening = self.orch.reopen_task(alias, "not good enough")
        assert reopening.task.attempts == self.model.tasks[alias]["attempts"]
        self.model.retry(alias)

    # what always holds

    @invariant()
    def it_is_as_foretold(self):
        """Every task is in the state that the model foretold, and the ready ones are those that it
        names.
        """
        if not hasattr(self, "orch"):
            return
        ready = {task.alias for task in self.orch.ready_tasks(limit=1000)}
        tasks = self.orch.query_tasks(limit=None, include_archived=True)
        assert {task.alias: str(task.status) for task in tasks} == {
            alias: task["status"] for alias, task in self.model.tasks.items()
        }
        assert ready == set(self.model.ready())


SETTINGS = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_predicted(part):
    """Whatever is done to tasks in whatever order, each becomes what the model says."""
    run_state_machine_as_test(seed(part)(Predicted), settings=SETTINGS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_predicted_for_long():
    """The same for thousands of histories."""
    longer = settings(SETTINGS, max_examples=4000, stateful_step_count=50)
    run_state_machine_as_test(seed(9)(Predicted), settings=longer)


def test_predicted_on_postgresql(new_postgres_url):
    """The same on a server, for a few histories, each in a store of its own."""

    class OnPostgres(Predicted):
        """Opens another address each time."""

        address = staticmethod(new_postgres_url)

    run_state_machine_as_test(seed(4)(OnPostgres), settings=settings(SETTINGS, max_examples=3))

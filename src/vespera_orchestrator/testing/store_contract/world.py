"""What tasks wait for from outside, and what they do to the world."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vespera_orchestrator._model import (
    Agenda,
    CauseKind,
    EventKind,
    Outcome,
    TaskQuery,
    TaskStatus,
)
from vespera_orchestrator.errors import (
    InvalidInputError,
    LeaseLostError,
    NotReadyError,
    PlanError,
    TransitionError,
)
from vespera_orchestrator.tasks import causes
from vespera_orchestrator.testing.store_contract.examples import (
    agenda,
    completion,
    draft,
    everything,
    kinds,
    ready_aliases,
    status_of,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures

YES = {"approved": True}


def questions(store, session_id) -> list[str]:
    """Return the aliases of the tasks that a person can answer now."""
    return agenda(store, session_id, Agenda.QUESTIONS)


class WorldContract(StoreFixtures):
    """What tasks wait for from outside, and what they do to the world."""

    # --- answers ---

    def test_an_answer_completes_what_asks(self, store, session_id):
        """Its outputs are the answer, and conditions read them."""
        gate = draft("gate", question="May we?")
        ship = draft("ship", "gate", condition="gate.outputs.approved")
        stop = draft("stop", "gate", condition="not gate.outputs.approved")
        task, _, stopped = store.plan(session_id, [gate, ship, stop])
        assert questions(store, session_id) == ["gate"]
        (cause,) = causes.why(store.situation(task.id)).causes
        assert cause.kind is CauseKind.ANSWER
        assert store.claim(session_id, "ada", lease_s=60) is None
        with pytest.raises(NotReadyError):
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
        done = store.answer(task.id, YES, agent="eve")
        assert (done.status, done.outputs) == (TaskStatus.COMPLETED, YES)
        assert ready_aliases(store, session_id) == ["ship"]
        assert status_of(store, stopped.id) == "skipped"
        assert questions(store, session_id) == []

    def test_an_early_answer_waits_with_its_task(self, store, session_id):
        """It completes the task in the moment in which the last thing before it ends."""
        drafts = [draft("build"), draft("gate", "build", question="May we?"), draft("x", "gate")]
        build, gate, _ = store.plan(session_id, drafts)
        assert questions(store, session_id) == []
        early = store.answer(gate.id, YES, agent="eve")
        assert (early.status, early.answered) == (TaskStatus.PENDING, True)
        store.answer(gate.id, {"approved": False}, agent="eve")
        store.answer(gate.id, YES, agent="eve")
        assert ready_aliases(store, session_id) == ["build"]
        store.finish(build.id, None, completion(), agent="ada")
        assert store.find_task(gate.id, None).outputs == YES
        assert ready_aliases(store, session_id) == ["x"]

    def test_the_same_answer_twice_is_one(self, store, session_id):
        """Another one after the end is refused, and so is one to what is held."""
        task, other = store.plan(session_id, [draft("gate", question="May we?"), draft("other")])
        store.answer(task.id, YES, agent="eve")
        before = everything(store)
        assert store.answer(task.id, YES, agent="eve").status is TaskStatus.COMPLETED
        with pytest.raises(TransitionError):
            store.answer(task.id, {"approved": False}, agent="eve")
        assert everything(store) == before
        store.claim(session_id, "ada", task_id=other.id, lease_s=60)
        with pytest.raises(TransitionError):
            store.answer(other.id, YES, agent="eve")

    def test_a_question_tried_again_is_asked_again(self, store, session_id):
        """Cancelled, or answered by mistake early and cancelled: it has no answer any more."""
        drafts = [draft("a"), draft("gate", "a", question="May we?")]
        _, gate = store.plan(session_id, drafts)
        store.answer(gate.id, YES, agent="eve")
        store.cancel(gate.id, "", subtree=False)
        again = store.retry(gate.id, "")
        assert (again.answered, again.blockers) == (False, 2)

    def test_a_question_has_no_subtasks(self, store, session_id):
        """It has no work of its own; in the same plan and later."""
        gate = draft("gate", question="May we?")
        with pytest.raises(PlanError):
            store.plan(session_id, [gate, draft("part", parent="gate")])
        store.plan(session_id, [gate])
        with pytest.raises(PlanError):
            store.plan(session_id, [draft("part", parent="gate")])
        top, _ = store.plan(session_id, [draft("top"), draft("part", parent="top")])
        with pytest.raises(TransitionError):
            store.answer(top.id, YES, agent="eve")

    def test_what_is_answered_early_has_no_subtasks(self, store, session_id):
        """It would be done the moment that it waits for nothing else, whatever they do."""
        _, early = store.plan(session_id, [draft("before"), draft("early", "before")])
        store.answer(early.id, YES, agent="eve")
        with pytest.raises(PlanError, match="is answered"):
            store.plan(session_id, [draft("part", parent="early")])

    @pytest.mark.parametrize("last", ["part", "need"])
    @pytest.mark.parametrize("end", ["finish", "cancel"])
    def test_an_answered_whole_waits_for_a_part_that_is_opened_again(
        self, store, session_id, last, end
    ):
        """It is done with the last of all that it waits for, its parts among that."""
        plan = [draft("need"), draft("whole", "need"), draft("part", parent="whole")]
        need, whole, part = store.plan(session_id, [*plan, draft("after", "whole")])[:3]
        store.finish(part.id, None, completion(), agent="ada")
        store.answer(whole.id, YES, agent="eve")
        store.reopen(part.id, "again")
        if last == "part":
            store.finish(need.id, None, completion(), agent="ada")
        assert status_of(store, whole.id) == "pending"
        if end == "finish":
            store.finish(part.id, None, completion(), agent="ada")
        else:
            store.cancel(part.id, "", subtree=False)
        if last == "need":
            store.finish(need.id, None, completion(), agent="ada")
        assert store.find_task(whole.id, None).outputs == YES
        assert ready_aliases(store, session_id) == ["after"]

    def test_what_was_answered_before_its_moment_is_done_then(self, store, session_id, clock):
        """Or when somebody wakes it; `why` says that the answer has come."""
        later = clock.now + timedelta(hours=1)
        (task,) = store.plan(session_id, [draft("a", not_before=later, question="May we?")])
        assert store.answer(task.id, YES, agent="eve").status is TaskStatus.PENDING
        assert "it is answered, and it rests until" in str(causes.why(store.situation(task.id)))
        (woken,) = store.snooze(task.id, None, zone="UTC", subtree=True)
        assert woken.status is TaskStatus.COMPLETED

    def test_an_answer_ends_a_snooze(self, store, session_id, clock):
        """Whoever did not want to be asked has answered after all."""
        gate = draft("gate", question="May we?")
        task, other = store.plan(session_id, [gate, draft("other", "build"), draft("build")])[:2]
        for each in (task, other):
            store.snooze(each.id, clock.now + timedelta(days=1), zone="UTC", subtree=True)
        assert store.answer(task.id, YES, agent="eve").status is TaskStatus.COMPLETED
        early = store.answer(other.id, YES, agent="eve")
        assert (early.status, early.asleep, early.blockers) == (TaskStatus.PENDING, False, 1)
        assert kinds(store).count(EventKind.TASK_WOKEN) == 2

    def test_an_answer_again_leaves_no_earlier_reason(self, store, session_id):
        """A question that was reopened and answered is completed without that reason."""
        (task,) = store.plan(session_id, [draft("gate", question="May we?")])
        store.answer(task.id, YES, agent="eve")
        assert store.reopen(task.id, "nobody had looked").task.reason == "nobody had looked"
        assert store.answer(task.id, {"approved": False}, agent="eve").reason is None

    @pytest.mark.parametrize("first", ["question", "signal"])
    def test_a_task_waits_for_an_answer_or_a_signal(self, store, session_id, first):
        """Both at once are refused, at once and later."""
        both = {"question": "May we?", "signal": "green"}
        with pytest.raises(PlanError, match="not for both"):
            store.plan(session_id, [draft("a", **both)])
        task = store.plan(session_id, [draft("a", **{first: both[first]})])[0]
        with pytest.raises(PlanError, match="not for both"):
            store.update_task(task.id, both)
        other = ({*both} - {first}).pop()
        changed = store.update_task(task.id, {first: None, other: both[other]})
        assert getattr(changed, other) == both[other]

    def test_what_was_begun_is_no_question(self, store, session_id):
        """An answer would complete it without its work; what it asked is answered instead."""
        store.plan(session_id, [draft("a")])
        task = store.claim(session_id, "ada", lease_s=60).task
        question = store.ask(task.id, 1, "Which?", agent="ada")
        with pytest.raises(TransitionError, match=f"orch.answer\\('{question.alias}'"):
            store.answer(task.id, YES, agent="eve")
        store.answer(question.id, YES, agent="eve")
        with pytest.raises(TransitionError, match=r"orch.complete_task\('a'"):
            store.answer(task.id, YES, agent="eve")
        for change in ({"question": "May we?"}, {"signal": "green"}):
            with pytest.raises(TransitionError, match="plan a task that waits for it"):
                store.update_task(task.id, change)
        assert store.find_task(task.id, None).status is TaskStatus.PENDING

    # --- signals ---

    def test_a_signal_completes_all_that_wait_for_it(self, store, session_id):
        """With its payload as their outputs; others of another name go on waiting."""
        drafts = [draft(name, signal="green") for name in "ab"]
        store.plan(session_id, [*drafts, draft("c", signal="red")])
        done = store.signal(session_id, "green", {"build": 7}, agent="ci")
        assert [(task.alias, task.outputs) for task in done] == [
            ("a", {"build": 7}),
            ("b", {"build": 7}),
        ]
        (waiting,) = store.tasks(TaskQuery(session_id=session_id, status=(TaskStatus.PENDING,)))
        (cause,) = causes.why(store.situation(waiting.id)).causes
        assert (cause.kind, cause.names) == (CauseKind.SIGNAL, ("red",))

    def test_an_early_signal_is_kept_for_the_first_that_waits(self, store, session_id):
        """Nothing is lost by coming early, and each is used once."""
        assert store.signal(session_id, "green", {"build": 1}, agent="ci") == []
        store.signal(session_id, "green", {"build": 2}, agent="ci")
        first, second, third = store.plan(
            session_id, [draft(name, signal="green") for name in "abc"]
        )
        assert (first.outputs, second.outputs) == ({"build": 1}, {"build": 2})
        assert third.status is TaskStatus.PENDING

    @pytest.mark.parametrize("early", [True, False], ids=["before", "while away"])
    @pytest.mark.parametrize("way", ["cancelled", "skipped"])
    def test_a_task_that_comes_back_has_the_signal_already(self, store, session_id, way, early):
        """The host reports once, before the task went away or meanwhile."""
        plan = [draft("a"), draft("green", "a", signal="green")]
        a, green = store.plan(session_id, plan)
        if early:
            store.signal(session_id, "green", {"build": 1}, agent="ci")
        ended = green if way == "cancelled" else a
        store.cancel(ended.id, "", subtree=False)
        assert status_of(store, green.id) == way
        if not early:
            store.signal(session_id, "green", {"build": 1}, agent="ci")
        store.retry(ended.id, "")
        assert store.find_task(green.id, None).answered
        store.finish(a.id, None, completion(), agent="ada")
        assert store.find_task(green.id, None).outputs == {"build": 1}

    def test_an_early_answer_outlives_a_skip(self, store, session_id):
        """What the question waits for was cancelled, and not what the person has said."""
        plan = [draft("a"), draft("gate", "a", question="May we?")]
        a, gate = store.plan(session_id, plan)
        store.answer(gate.id, YES, agent="eve")
        store.cancel(a.id, "", subtree=False)
        assert status_of(store, gate.id) == "skipped"
        store.retry(a.id, "")
        store.finish(a.id, None, completion(), agent="ada")
        assert store.find_task(gate.id, None).outputs == YES

    def test_an_early_signal_is_not_spent_on_what_is_skipped(self, store, session_id):
        """It goes to a task that waits; what is skipped at once is skipped once."""
        (gone,) = store.plan(session_id, [draft("gone")])
        store.cancel(gone.id, "", subtree=False)
        store.signal(session_id, "green", {"build": 1}, agent="ci")
        (skipped,) = store.plan(session_id, [draft("a", "gone", signal="green")])
        assert (skipped.status, skipped.answered) == (TaskStatus.SKIPPED, False)
        assert kinds(store, skipped.id).count(EventKind.TASK_SKIPPED) == 1
        (waiting,) = store.plan(session_id, [draft("b", signal="green")])
        assert waiting.outputs == {"build": 1}

    def test_what_an_early_signal_rules_out_is_skipped_once(self, store, session_id):
        """Of two reasons to skip a task of the same plan, one is recorded."""
        (gone,) = store.plan(session_id, [draft("gone")])
        store.cancel(gone.id, "", subtree=False)
        store.signal(session_id, "green", {}, agent="ci")
        gate = draft("gate", signal="green")
        plan = [gate, draft("never", "gone", ("gate", "failure"))]
        done, never = store.plan(session_id, plan)
        assert (done.status, never.status) == (TaskStatus.COMPLETED, TaskStatus.SKIPPED)
        assert kinds(store, never.id).count(EventKind.TASK_SKIPPED) == 1

    def test_a_name_that_was_stored_decomposed_is_the_same(self, store, session_id):
        """Earlier versions kept the name of a signal as it was typed."""
        (task,) = store.plan(session_id, [draft("a", signal="cafe\u0301")])
        (done,) = store.signal(session_id, "caf\u00e9", {}, agent="ci")
        assert done.id == task.id

    def test_a_signal_under_the_same_key_is_one(self, store, session_id):
        """However often it is delivered."""
        store.plan(session_id, [draft("a", signal="green")])
        for _ in range(2):
            store.signal(session_id, "green", {}, agent="ci", key="delivery 1")
        assert kinds(store).count(EventKind.SIGNAL_RECEIVED) == 1
        later = store.plan(session_id, [draft("b", signal="green")])[0]
        assert later.status is TaskStatus.PENDING

    # --- questions on the way ---

    def test_asking_gives_the_task_back_until_the_answer(self, store, session_id):
        """The task waits for the end of the question, however that ends; the asker has let go."""
        store.plan(session_id, [draft("a")])
        claim = store.claim(session_id, "ada", lease_s=60)
        asking = store.ask(claim.task.id, 1, "Which one?", agent="ada")
        assert questions(store, session_id) == [asking.alias]
        assert ready_aliases(store, session_id) == []
        with pytest.raises(LeaseLostError):
            store.renew(claim.task.id, 1, lease_s=60)
        store.cancel(asking.id, "never mind", subtree=False)
        assert ready_aliases(store, session_id) == ["a"]

    @pytest.mark.parametrize("decision", ["cancel", "abandon"])
    def test_a_question_goes_with_the_task_that_it_was_asked_for(self, store, session_id, decision):
        """And comes back with it. One for which another task waits, too, stays."""
        asker, other = store.plan(session_id, [draft("asker"), draft("other")])[:2]
        asked = []
        for _ in range(2):
            attempt = store.claim(session_id, "ada", task_id=asker.id, lease_s=60).attempt
            asked.append(store.ask(asker.id, attempt.number, "Which?", agent="ada"))
            if len(asked) == 1:
                store.answer(asked[0].id, YES, agent="eve")
        getattr(store, decision)(asker.id, "", subtree=True)
        assert questions(store, session_id) == []
        assert store.find_task(asked[0].id, None).status is TaskStatus.COMPLETED
        store.retry(asker.id, "after all")
        assert questions(store, session_id) == [asked[1].alias]
        assert store.find_task(asker.id, None).blockers == 1
        store.add_dependency(other.id, asked[1].id, Outcome.DONE)
        getattr(store, decision)(asker.id, "", subtree=True)
        assert questions(store, session_id) == [asked[1].alias]

    def test_a_question_below_a_whole_that_has_ended(self, store, session_id):
        """It is asked beside it: somebody works on the part all the same."""
        whole, part = store.plan(session_id, [draft("whole"), draft("part", parent="whole")])
        store.claim(session_id, "ada", task_id=part.id, lease_s=60)
        store.cancel(whole.id, "only its parts are wanted", subtree=False)
        question = store.ask(part.id, 1, "Which?", agent="ada")
        assert question.parent_task_id is None
        assert questions(store, session_id) == [question.alias]

    # --- effects ---

    def test_an_effect_is_begun_once_and_recorded_once(self, store, session_id):
        """Who begins it a second time gets nothing; what was recorded first stays."""
        store.plan(session_id, [draft("a")])
        task = store.claim(session_id, "ada", lease_s=60).task
        assert store.find_effect(task.id, "mail") is None
        begun = store.begin_effect(task.id, 1, "mail")
        assert (begun.is_done, begun.attempt) == (False, 1)
        before = everything(store)
        assert store.begin_effect(task.id, 1, "mail") is None
        assert everything(store) == before
        done = store.record_effect(task.id, 1, "mail", {"id": 5})
        assert (done.is_done, done.result) == (True, {"id": 5})
        assert store.record_effect(task.id, 1, "mail", None) == done
        assert store.begin_effect(task.id, 1, "mail", instead_of=begun) is None
        assert store.begin_effect(task.id, 1, "mail", instead_of=done) is None

    def test_what_has_not_happened_is_begun_again_by_one(self, store, session_id):
        """Of two callers that know it, also under the same attempt and at the same moment."""
        store.plan(session_id, [draft("a")])
        task = store.claim(session_id, "ada", lease_s=60).task
        begun = store.begin_effect(task.id, 1, "mail")
        again = store.begin_effect(task.id, 1, "mail", instead_of=begun)
        assert again.begun_at > begun.begun_at
        assert store.begin_effect(task.id, 1, "mail", instead_of=begun) is None
        assert store.find_effect(task.id, "mail") == again

    def test_only_the_holder_begins_an_effect(self, store, session_id):
        """And whoever was replaced still records what it has done."""
        store.plan(session_id, [draft("a")])
        task = store.claim(session_id, "ada", lease_s=60).task
        store.begin_effect(task.id, 1, "mail")
        store.claim(session_id, "bob", task_id=task.id, lease_s=60, take_over=True)
        with pytest.raises(LeaseLostError):
            store.begin_effect(task.id, 1, "letter")
        earlier = store.find_effect(task.id, "mail")
        assert store.begin_effect(task.id, 2, "mail") is None
        assert store.begin_effect(task.id, 2, "mail", instead_of=earlier).attempt == 2
        assert store.record_effect(task.id, 1, "mail", "sent").result == "sent"

    @pytest.mark.parametrize(
        ("condition", "value", "ready"),
        [
            ("gate.outputs.approved", True, True),
            ("not gate.outputs.approved", False, True),
            ("gate.outputs.approved", False, False),
            ("gate.outputs.cups > 2", 3, True),
            ("gate.outputs.colour == 'red'", "red", True),
            ("gate.outputs.answer == 'red'", "red", True),
        ],
    )
    def test_a_plain_answer_is_meant_for_the_one_output_that_is_read(
        self, store, session_id, condition, value, ready
    ):
        """Nobody needs to know its name; and the same answer once more is still one."""
        readers = [draft("a", "gate", condition=condition), draft("b", "gate")]
        asked = store.plan(session_id, [draft("gate", question="may we?"), *readers])[0]
        done = store.answer(asked.id, {"answer": value}, agent="ada")
        assert done.outputs["answer"] == value
        assert ready_aliases(store, session_id) == (["a", "b"] if ready else ["b"])
        assert store.answer(asked.id, {"answer": value}, agent="ada") == done

    @pytest.mark.parametrize(
        ("condition", "outputs", "says"),
        [
            ("gate.outputs.approved", {"answer": "yes"}, "say approved=True or approved=False"),
            (
                "gate.outputs.ok",
                {"okay": True},
                r"a reads gate.outputs.ok, .*answer\('gate', ok=…\)",
            ),
            (
                "gate.outputs.ok and gate.outputs.cups > 2",
                {"answer": True},
                r"a reads gate.outputs.ok and gate.outputs.cups, .*\(.gate., ok=…, cups=…\)",
            ),
            ("gate.outputs.report.ok", {"answer": True}, r"orch.answer\('gate', report=True\)"),
            ("gate.outputs.cups > 2", {"cups": "three"}, "a cannot compare it"),
            (
                "gate.outputs.colour == 'red'",
                {"answer": "red, please"},
                r"a would be skipped; .*orch.answer\('gate', colour='red, please'\)",
            ),
        ],
    )
    def test_an_answer_without_what_is_read_is_refused_with_its_name(
        self, store, session_id, condition, outputs, says
    ):
        """Recorded, it would skip the task without a word."""
        reader = draft("a", "gate", condition=condition)
        asked = store.plan(session_id, [draft("gate", question="may we?"), reader])[0]
        with pytest.raises(InvalidInputError, match=says):
            store.answer(asked.id, outputs, agent="ada")
        assert kinds(store, asked.id) == [EventKind.TASK_PLANNED]

    def test_the_call_for_an_answer_names_what_is_read(self, store, session_id):
        """So that nobody has to look for it."""
        asked = draft("gate", question="may we?")
        readers = [
            draft("a", "gate", condition="gate.outputs.approved"),
            draft("b", "gate", condition="not gate.outputs.approved and gate.outputs.cups > 2"),
        ]
        task = store.plan(session_id, [asked, *readers])[0]
        call = "orch.answer('gate', approved=…, cups=…)"
        assert call in str(causes.why(store.situation(task.id)))

    def test_a_text_is_no_answer_to_yes_or_no(self, store, session_id):
        """Where a condition reads yes or no, any text would be a yes; nothing is recorded."""
        gate = draft("gate", question="may we?")
        readers = [
            draft("a", "gate", condition="not gate.outputs.fine and gate.success"),
            draft("b", "gate", condition="gate.outputs.by == 'ada' or gate.outputs.by.name"),
        ]
        asked = store.plan(session_id, [gate, *readers])[0]
        with pytest.raises(InvalidInputError, match="a reads it as yes or no"):
            store.answer(asked.id, {"fine": "no"}, agent="ada")
        assert kinds(store, asked.id) == [EventKind.TASK_PLANNED]
        answered = store.answer(asked.id, {"fine": False, "by": "ada"}, agent="ada")
        assert answered.status is TaskStatus.COMPLETED

    def test_a_no_in_words_is_no_yes(self, store, session_id):
        """Neither in a signal, nor in outputs, nor in an answer from before its reader."""
        plan = [draft("gate", question="?"), draft("tests"), draft("ci", signal="ci")]
        gate, tests = store.plan(session_id, plan)[:2]
        store.answer(gate.id, {"fine": "no"}, agent="eve")
        names = ("gate", "tests", "ci")
        readers = [draft(f"after_{name}", name, condition=f"{name}.outputs.fine") for name in names]
        store.plan(session_id, readers)
        store.finish(tests.id, None, completion(fine="False"), agent="ada")
        store.signal(session_id, "ci", {"fine": " NO "}, agent="ci")
        skipped = TaskQuery(session_id=session_id, status=(TaskStatus.SKIPPED,))
        ended = store.tasks(skipped)
        assert [task.alias for task in ended] == ["after_gate", "after_tests", "after_ci"]
        assert "not comparable" in ended[0].reason

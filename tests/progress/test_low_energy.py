"""A day with little energy: one step, at most three choices, and no word of blame."""

from __future__ import annotations

import contextlib
import random

import attrs
import pytest

import vespera_orchestrator as vespera
from support.kind_words import UNKIND
from support.records import STEP, session, status, task
from vespera_orchestrator._model import NextStep
from vespera_orchestrator.progress.low_energy import Gentleness


def page(step=STEP, **fields):
    """Return the lines of the page."""
    gentleness = fields.pop("gentleness", Gentleness())
    return str(status(gentleness=gentleness, next_step=step, **fields)).splitlines()


def choices(lines):
    """Return what one can do."""
    return [line for line in lines if "→" in line]


def test_one_step_and_a_way_out():
    """In few lines."""
    assert page(gentleness=Gentleness(begun=2, completed=1)) == [
        "Boil water",
        "Today: 2 things begun, 1 done. That counts.",
        "One thing, if you like:",
        "  Start 'a'.  →  orch.execute_task('a')",
        "Or:",
        "  not today: everything is kept  →  orch.pause()",
    ]


def test_a_heavy_task_can_be_made_smaller():
    """That makes three choices, and there are never more."""
    heavy = task("a", complexity="complex")
    step = NextStep(action="execute", sentence="Start.", call="x()", task_id=heavy.id)
    lines = page(step, ready=(heavy, *(task(f"b{number}") for number in range(9))))
    assert len(choices(lines)) == 3
    assert "orch.simplify('a')" in choices(lines)[1]
    assert choices(lines)[2] == "  not today  →  orch.snooze_task('a')"


@pytest.mark.parametrize("action", ["wait", "done"])
def test_where_nothing_needs_you_it_says_so(action):
    """Rather than nothing at all."""
    step = NextStep(action=action, sentence="Wait.", call="")
    assert page(step, session=session("")) == ["Nothing needs you now. Rest."]


def test_the_page_comes_and_goes_with_the_persons_word(tmp_path):
    """Beginning counts, the usual page is one call away, and no word is unkind."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Tea")
        assert str(orch.set_energy("low")).count("\n") <= 8
        seen = []

        def look():
            text = str(orch.get_status())
            assert len(choices(text.splitlines())) <= 3
            assert len(text.splitlines()) <= 8
            seen.append(text)

        look()
        orch.plan_tasks([{"title": "Boil", "due_date": "2020-01-01"}, {"title": "Pour"}])
        look()
        orch.execute_task("boil").release("tired")
        look()
        work = orch.execute_task("boil")
        orch.execute_task("pour")
        look()
        work.complete(summary="hot", detailed_work="It boils.")
        look()
        orch.complete_task("pour", summary="poured", detailed_work="It is poured.")
        look()
        assert "begun" in seen[3]
        assert [UNKIND.findall(text) for text in seen if UNKIND.search(text)] == []
        assert UNKIND.search(str(orch.pressure())) is None
        orch.set_energy("normal")
        assert "completed (100 %)" in str(orch.get_status())


def low(tmp_path, clock, **options):
    """Open a home where somebody has said that it is a day with little energy."""
    orch = vespera.open(tmp_path, clock=clock, **options)
    orch.initialize_session("Tea")
    orch.set_energy("low")
    return orch


def everything(orch):
    """Return all that a person reads."""
    step, status = orch.next_step(), orch.get_status()
    return [str(orch.resume()), str(step), str(status), step._repr_html_(), status._repr_html_()]


def give_up_trying(orch):
    """Let a task be blocked for good."""
    orch.plan_task("Boil")
    for _ in range(2):
        orch.execute_task("boil").fail("the fuse blew")
        orch.complete_task(orch.ready_tasks()[0], summary="s", detailed_work="d")
    orch.execute_task("boil").fail("the fuse blew")


def hold(orch):
    """Hold a task, and leave a note."""
    orch.plan_task("Boil")
    orch.execute_task("boil").checkpoint({}, "water is in")


def leave(orch):
    """Hold a task that expired."""
    hold(orch)
    orch._clock.advance(9 * 3600)


def ask(orch):
    """Let a question wait."""
    orch.plan_task("Boil", question="Gas or electricity?")


def expect(orch):
    """Let a signal be awaited."""
    orch.plan_task("Boil", signal="water_is_on")


def somebody_works(orch):
    """Let somebody else hold the only task, and fall silent."""
    orch.plan_task("Boil")
    orch.execute_task("boil", agent="ada")
    orch._clock.advance(800)


def recover(orch):
    """Let a task need its recovery."""
    orch.plan_task("Boil")
    orch.execute_task("boil").fail("the fuse blew")


def end_badly(orch):
    """Give everything up."""
    give_up_trying(orch)
    orch.abandon_task("boil", "no fuse")


def subtasks_ended(orch):
    """Let the parts of a task end."""
    orch.plan_tasks([{"title": "Tea"}, {"title": "Boil", "parent_task_id": "tea"}])
    orch.complete_task("boil", summary="hot", detailed_work="It boils.")


@pytest.mark.parametrize(
    "begin",
    [
        give_up_trying,
        hold,
        leave,
        ask,
        expect,
        somebody_works,
        recover,
        end_badly,
        subtasks_ended,
    ],
    ids=lambda begin: begin.__name__,
)
def test_no_word_is_unkind_anywhere(tmp_path, clock, begin):
    """Wherever the work stands, and wherever it is read; the task's own words apart."""
    with low(tmp_path, clock) as orch:
        begin(orch)
        for text in everything(orch):
            own_words = text.replace("the fuse blew", "").replace("no fuse", "")
            assert UNKIND.search(own_words) is None, text
            assert len(text.splitlines()) <= 9


def test_a_question_is_shown_and_a_signal_needs_nobody(tmp_path, clock):
    """One reads what is asked; where the host has something to report, there is nothing to do."""
    with low(tmp_path, clock) as orch:
        expect(orch)
        assert (orch.next_step().action, orch.next_step().call) == ("wait", "")
        assert "waits for the signal 'water_is_on'" in str(orch.next_step())
        orch.signal("water_is_on")
        orch.plan_task("Cook", question="Gas or electricity?")
        step = orch.next_step()
        assert "it can wait: Gas or electricity?" in step.sentence
        assert step.call.startswith("orch.answer('cook'")


def test_the_step_is_the_same_one(tmp_path, clock):
    """Only its words are others: the call works as before."""
    with low(tmp_path, clock) as orch:
        leave(orch)
        gentle = orch.next_step()
        assert gentle.sentence.startswith("'Boil' is where you left it. You were at: water is in.")
        orch.set_energy("normal")
        assert orch.next_step().call == gentle.call


def test_the_way_back_has_your_words_and_keeps_the_news(tmp_path, clock):
    """What was written at a pause stands there verbatim. Later the news are still new."""
    with low(tmp_path, clock) as orch:
        hold(orch)
        orch.plan_task("Pour")
        orch.pause("the lid is hot", "find the cloth")
        lines = [
            "Goal: Tea",
            "Paused by you: “the lid is hot”",
            "Meant to be next: “find the cloth”",
            "You hold boil: water is in (saved just now)",
            "Today: 1 thing begun. That counts.",
            "One thing, if you like:",
            f"  {attrs.evolve(orch.next_step(), own_words='')}",
            "Everything else is kept: orch.set_energy('normal') shows it.",
        ]
        assert str(orch.resume()).splitlines() == lines
        assert "You are in the middle of 'Boil'. You were at: water is in." in lines[6]
        orch.set_energy("normal")
        assert "This is your first look at all of it" in str(orch.resume())


def test_how_long_somebody_was_away_is_no_matter(tmp_path, clock):
    """The first words of the description come last, as they were written."""
    with low(tmp_path, clock) as orch:
        orch.plan_task("Boil", "Fill it")
        orch.pause("the lid is hot")
        clock.advance(300 * 86_400)
        orch.set_energy("low")
        assert "days ago" not in str(orch.resume())
        assert orch.next_step().sentence.endswith("Ten minutes are enough. It begins: Fill it")


def test_each_person_has_a_word_of_their_own(tmp_path, clock):
    """Others see everything; the pressure is that of all, and says whose word it is."""
    with (
        low(tmp_path, clock) as orch,
        vespera.open(tmp_path, clock=clock, agent="eve") as eve,
    ):
        orch.plan_task("Boil")
        assert "One thing, if you like" in str(orch.get_status())
        assert "0 of 1 completed" in str(eve.get_status())
        assert "main said: low energy" in str(eve.pressure())
        assert "set_energy" not in str(eve.pressure())
        eve.set_energy("normal")
        assert eve.pressure().energy == "low"
        orch.set_energy("normal")
        assert eve.pressure().level == "steady"


def test_settings_say_who_sees_one_step(tmp_path, clock):
    """By name, by the level, or after days away; the person's own word goes before them."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Tea")
        orch.plan_task("Boil")
    text = '[low_energy]\npeople = ["main"]\ndays_away = 7\nwhen_overwhelmed = false\n'
    (tmp_path / ".task_orchestrator" / "config.toml").write_text(text)
    with (
        vespera.open(tmp_path, clock=clock) as orch,
        vespera.open(tmp_path, clock=clock, agent="eve") as eve,
    ):
        assert orch.get_status().gentleness is not None
        orch.set_energy("normal")
        assert orch.get_status().gentleness is None
        eve.resume()
        assert eve.get_status().gentleness is None
        clock.advance(8 * 86_400)
        assert eve.get_status().gentleness is not None
        with eve.execute_task("boil") as work:
            work.complete(summary="s", detailed_work="d")
        assert eve.get_status().gentleness is None


# --- a long day ------------------------------------------------------------------------

LOOKS = ("resume", "next_step", "get_status", "session_status", "digest", "pressure")
"""All that a person asks without naming a task."""
DONE = {"summary": "hot", "detailed_work": "It boils."}


def plan_something(orch, chance, number):
    """Plan a task that may wait for another, ask something, be due, or be heavy."""
    fields, tasks = {}, orch.query_tasks(limit=None)
    if tasks and chance.random() < 0.6:
        fields["dependencies"] = [chance.choice(tasks)]
    if chance.random() < 0.2:
        fields["due_date"] = orch._clock().date().isoformat()
    if chance.random() < 0.2:
        fields["complexity"] = "complex"
    if chance.random() < 0.1:
        fields["question"] = "Red or green?"
    orch.plan_task(f"Tea {number}", **fields)


def live(orch, chance, clock):
    """Do something, or let time pass or somebody else work."""
    tasks = orch.query_tasks(limit=None)
    task = chance.choice(tasks)
    held = chance.choice([each for each in tasks if each.status == "in_progress"] or tasks)
    chance.choice(
        [
            orch.execute_task,
            lambda: orch.execute_task(agent="ada"),
            lambda: orch.complete_task(held, **DONE),
            lambda: orch.fail(held, "the fuse blew"),
            lambda: orch.release(held, "tired"),
            lambda: orch.checkpoint(held, {"n": 1}, "half"),
            lambda: orch.cancel_task(task, "no tea"),
            lambda: orch.abandon_task(task, "no fuse"),
            lambda: orch.retry_task(task, "again"),
            lambda: orch.reopen_task(task, "again"),
            lambda: orch.answer(task, "red"),
            lambda: orch.simplify(task),
            lambda: orch.snooze_task(task),
            orch.pause,
            lambda: clock.advance(chance.choice([60, 800, 1200])),
            lambda: (clock.advance(hours=chance.choice([9, 30])), orch.set_energy("low")),
        ]
    )()


def live_through(orch, clock, *, seed, steps):
    """Return every text that could be read on the way, with what asked for it."""
    chance, texts = random.Random(seed), []
    for number in range(1, steps):
        if number < 4 or chance.random() < 0.15:
            with contextlib.suppress(vespera.VesperaError):
                plan_something(orch, chance, number)
            continue
        with contextlib.suppress(vespera.VesperaError):  # it was not possible just then
            live(orch, chance, clock)
        for look in LOOKS:
            answer = getattr(orch, look)()
            texts += [(look, str(answer)), (look, answer._repr_html_())]
    return texts


SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 60))]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_text_of_a_long_day_is_unkind(tmp_path, clock, seed):
    """Whatever happens in any order: whoever looks reads no word that hurts."""
    with low(tmp_path, clock, durability="normal") as orch:
        texts = live_through(orch, clock, seed=seed, steps=40)
    unkind = {(look, UNKIND.search(text)[0]) for look, text in texts if UNKIND.search(text)}
    assert len(texts) > 300
    assert unkind == set()

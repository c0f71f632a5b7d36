"""The condition language: what it says of every outcome, what it refuses and where, and that
nothing hostile gets through.
"""

# ruff: noqa: PT017 - an error is one of two right answers to hostile text

from __future__ import annotations

import inspect
import itertools
import pickle
import time
import types

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import records
from vespera_orchestrator._model import utcnow
from vespera_orchestrator.errors import ConditionError
from vespera_orchestrator.tasks import conditions
from vespera_orchestrator.tasks.aliases import is_alias, slug
from vespera_orchestrator.tasks.conditions import (
    ATTRIBUTES,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_LENGTH,
    MAX_LITERAL,
    decide,
    missing_outputs,
    parse,
    undecided,
)

PATIENT = settings(deadline=None, derandomize=True, max_examples=150)
NOW = utcnow()


def task(alias="a", status="completed", *, outputs=None, attempts=1, was_blocked=False):
    """Make a task as a condition sees it."""
    return records.task(
        alias, status, outputs=outputs or {}, attempts=attempts, was_blocked=was_blocked
    )


def truth(text, **tasks):
    """Decide *text* for the tasks given by name."""
    return decide(parse(text), tasks)


# --- every outcome in every form ------------------------------------------------

STATES = {
    "pending": task(status="pending", attempts=0),
    "in_progress": task(status="in_progress"),
    "blocked": task(status="blocked", was_blocked=True),
    "pending after a block": task(status="pending", was_blocked=True),
    "completed": task(status="completed"),
    "completed after a block": task(status="completed", attempts=2, was_blocked=True),
    "failed": task(status="failed"),
    "failed after a block": task(status="failed", attempts=3, was_blocked=True),
    "cancelled": task(status="cancelled", attempts=0),
    "skipped": task(status="skipped", attempts=0),
}
# One column for each outcome: success, failed, cancelled, skipped, blocked, done. T true, F false,
# ? not known yet.
OUTCOMES = ("success", "failed", "cancelled", "skipped", "blocked", "done")
TABLE = {
    "pending": "??????",
    "in_progress": "??????",
    "blocked": "????T?",
    "pending after a block": "????T?",
    "completed": "TFFFFT",
    "completed after a block": "TFFFTT",
    "failed": "FTFFFT",
    "failed after a block": "FTFFTT",
    "cancelled": "FFTFFT",
    "skipped": "FFFTFT",
}
VALUE = {"T": True, "F": False, "?": None}
CASES = [
    (state, outcome, VALUE[mark])
    for state, marks in TABLE.items()
    for outcome, mark in zip(OUTCOMES, marks, strict=True)
]


def negated(value):
    """Kleene's not."""
    return None if value is None else not value


FORMS = {
    "{x}": lambda v: v,
    "({x})": lambda v: v,
    "not {x}": negated,
    "not not {x}": lambda v: v,
    "not ({x})": negated,
    "{x} == true": lambda v: v,
    "True == {x}": lambda v: v,
    "{x} == false": negated,
    "{x} != true": negated,
    "{x} == {x}": lambda v: None if v is None else True,
    "{x} in [true]": lambda v: v,
    "{x} not in [true]": negated,
    "{x} and true": lambda v: v,
    "{x} and false": lambda _: False,
    "false and {x}": lambda _: False,
    "{x} or true": lambda _: True,
    "true or {x}": lambda _: True,
    "{x} or false": lambda v: v,
    "{x} or {x}": lambda v: v,
    "({x} and true) or (not {x} and false)": lambda v: v,
    "{x} < true": lambda _: None,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_outcome_in_every_form(form):
    """Each outcome of each state, in each form it can be written in, has the value that the table
    says.
    """
    for state, outcome, value in CASES:
        assert truth(form.format(x=f"a.{outcome}"), a=STATES[state]) is FORMS[form](value), (
            state,
            outcome,
        )


@pytest.mark.parametrize("state", TABLE)
def test_the_status_and_the_attempts_are_known_at_the_end(state):
    """``status`` and ``attempts`` may change until a task has ended, and are plain values from then
    on.
    """
    one = STATES[state]
    over = one.status.is_terminal
    assert truth(f'a.status == "{one.status}"', a=one) is (True if over else None)
    assert truth(f'a.status != "{one.status}"', a=one) is (False if over else None)
    assert truth('a.status in ["completed", "failed", "cancelled", "skipped"]', a=one) is (
        True if over else None
    )
    assert truth(f"a.attempts == {one.attempts}", a=one) is (True if over else None)
    assert truth(f"0 <= a.attempts < {one.attempts + 1}", a=one) is (True if over else None)
    assert truth(f"a.attempts > {one.attempts}", a=one) is (False if over else None)


OUTPUTS = {
    "n": 0.85,
    "i": 3,
    "s": "beta",
    "yes": True,
    "no": False,
    "nothing": None,
    "empty": [],
    "items": [1, "two", {"three": 3}],
    "deep": {"or": {"x y": [10, 20]}, "7": "seven"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.outputs.n >= 0.8", True),
        ("a.outputs.n < 0.8", False),
        ("0.8 <= a.outputs.n < 0.9 <= 1", True),
        ("a.outputs.i == 3 and a.outputs.i == 3.0", True),
        ("a.outputs.i > -1e3", True),
        ('a.outputs.s == "beta"', True),
        ("a.outputs.s == 'beta'", True),
        ('a.outputs.s < "gamma"', True),
        ('"et" in a.outputs.s', True),
        ('a.outputs.s in ["alpha", "beta"]', True),
        ("a.outputs.s not in []", True),
        ("a.outputs.yes", True),
        ("a.outputs.no", False),
        ("a.outputs.nothing", False),
        ("a.outputs.nothing == null and a.outputs.nothing == None", True),
        ("a.outputs.empty", False),
        ("a.outputs", True),
        ('"n" in a.outputs', True),
        ('"missing" in a.outputs', False),
        ("a.outputs.items[0] == 1", True),
        ("a.outputs.items[-1].three == 3", True),
        ("a.outputs.items[1] == 'two'", True),
        ("'two' in a.outputs.items", True),
        ("a.outputs['deep'].or['x y'][1] == 20", True),
        ("a.outputs.deep[7] == 'seven'", True),
        ('a.outputs.s == "b\\u0065ta"', None),
        ("a.outputs.missing == 1", None),
        ("a.outputs.missing != 1", None),
        ("not a.outputs.missing", None),
        ("a.outputs.items[9] == 1", None),
        (f"a.outputs.items[{'9' * 400}] == 1", None),
        ("a.outputs.n.x == 1", None),
        ("a.outputs.n < 'text'", None),
        ("a.outputs.yes < 2", None),
        ("a.outputs.items < [2]", None),
        ("1 in a.outputs.n", None),
        ("1 in a.outputs.s", None),
        ("[1] in a.outputs.deep", None),
        ("1 < a.outputs.n < 'text'", False),
    ],
)
def test_outputs_are_read_and_compared(text, expected):
    """Below ``outputs`` everything JSON can hold is found by name and index; what is missing or not
    comparable is unknown.
    """
    if "\\u" in text:
        with pytest.raises(ConditionError, match="unknown escape"):
            parse(text)
        return
    assert truth(text, a=task(outputs=OUTPUTS)) is expected
    assert truth(text, a=task(status="in_progress", outputs={})) in (
        {expected, None} if text.startswith("1 < a") else {None}
    )


T, F, U = task("t"), task("f", "failed"), task("u", "pending")
MARKS = {"T": "t.success", "F": "f.success", "?": "u.success"}


@pytest.mark.parametrize(
    ("word", "rows"),
    [("and", {"T": "TF?", "F": "FFF", "?": "?F?"}), ("or", {"T": "TTT", "F": "TF?", "?": "T??"})],
)
def test_and_or_follow_kleene(word, rows):
    """``and`` and ``or`` have Kleene's strong truth tables, from whichever side."""
    for left, row in rows.items():
        for right, mark in zip("TF?", row, strict=True):
            assert truth(f"{MARKS[left]} {word} {MARKS[right]}", t=T, f=F, u=U) is VALUE[mark], (
                left,
                word,
                right,
            )


def test_words_bind_as_people_expect():
    """``not`` binds closer than ``and``, ``and`` closer than ``or``, comparisons closest;
    parentheses change that.
    """
    assert truth("t.success or t.success and f.success", t=T, f=F) is True
    assert truth("(t.success or t.success) and f.success", t=T, f=F) is False
    assert truth("not f.success and f.success", f=F) is False
    assert truth("not (f.success and f.success)", f=F) is True
    assert truth('not f.status == "completed"', f=F) is True


def test_names_are_told_in_order():
    """``names`` holds each dependency that a condition speaks of, once, from left to right."""
    assert parse("b.success or (a.failed and not b.done) or ü_1.outputs.x in [1]").names == (
        "b",
        "a",
        "ü_1",
    )
    assert parse("true").names == ()


# --- an independent judge --------------------------------------------------------
# Expressions are tuples here; they are judged over plain dictionaries, without a line of the
# library's own evaluator.

NAMES = ("a", "b", "c")
ENDS = ("completed", "failed", "cancelled", "skipped")
OUTPUT_CHOICES = ({}, {"x": 1}, {"x": "s"})
COMPLETIONS = [
    {"status": status, "attempts": attempts, "was_blocked": blocked, "outputs": outputs}
    for status, attempts, blocked in itertools.product(ENDS, (1, 2), (False, True))
    for outputs in (OUTPUT_CHOICES if status == "completed" else ({},))
]
OPEN = [
    {"status": s, "attempts": 1, "was_blocked": b, "outputs": {}}
    for s in ("pending", "in_progress")
    for b in (False, True)
]

facts = st.sampled_from(NAMES).flatmap(
    lambda n: st.sampled_from([*OUTCOMES, "status", "attempts", "x"]).map(lambda f: ("fact", n, f))
)
literals = st.sampled_from(
    [True, False, 1, 2, 0.5, "completed", "failed", "s", None, [], [1, 2], ["completed", "s"]]
).map(lambda v: ("is", v))
booleans = st.sampled_from([True, False]).map(lambda v: ("is", v))
SIGNS = ("==", "!=", "<", "<=", ">", ">=", "in", "not in")


def bigger(inner):
    """Combine smaller expressions to bigger ones."""
    return st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(
            st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple)
        ),
        st.tuples(
            st.just("compare"),
            facts | inner.filter(lambda node: node[0] != "is"),
            st.sampled_from(SIGNS),
            facts | literals,
        ).filter(no_unknown_status),
        st.tuples(st.just("compare"), literals, st.sampled_from(SIGNS), facts).filter(
            no_unknown_status
        ),
    )


def no_unknown_status(comparison):
    """Tell whether no status is compared with a text that is none: that is refused when it is
    read.
    """
    _, left, sign, right = comparison
    sides = {left[2] if left[0] == "fact" else "", right[2] if right[0] == "fact" else ""}
    return not (sign in {"==", "!="} and "status" in sides and ("is", "s") in (left, right))


expressions = st.recursive(facts | booleans, bigger, max_leaves=8)


def render(node):
    """Write an expression in the condition language."""
    match node:
        case ("fact", name, fact):
            return f"{name}.outputs.x" if fact == "x" else f"{name}.{fact}"
        case ("is", value):
            return written(value)
        case ("not", inner):
            return f"not ({render(inner)})"
        case ("compare", left, sign, right):
            return f"({render(left)}) {sign} {render(right)}"
        case (word, items):
            return f" {word} ".join(f"({render(item)})" for item in items)


def written(value):
    """Write a literal."""
    if isinstance(value, list):
        return f"[{', '.join(written(v) for v in value)}]"
    return (
        {True: "true", False: "false", None: "null"}[value]
        if value is None or isinstance(value, bool)
        else repr(value)
    )


UNKNOWN = object()


def value_of(node, world):
    """Judge a value in a world of plain dictionaries, or `UNKNOWN`."""
    if node[0] == "is":
        return node[1]
    if node[0] != "fact":
        judged = judge(node, world)
        return UNKNOWN if judged is None else judged
    state, fact = world[node[1]], node[2]
    if fact == "blocked" and state["was_blocked"]:
        return True
    if state["status"] not in ENDS:
        return UNKNOWN
    if fact == "x":
        return state["outputs"].get("x", UNKNOWN)
    named = {
        "success": "completed",
        "failed": "failed",
        "cancelled": "cancelled",
        "skipped": "skipped",
    }
    return {
        "blocked": False,
        "done": True,
        "status": state["status"],
        "attempts": state["attempts"],
    }.get(fact, state["status"] == named.get(fact))


def judge(node, world):
    """Judge an expression: True, False or None."""
    match node:
        case ("not", inner):
            return negated(judge(inner, world))
        case ("compare", left, sign, right):
            return compared(value_of(left, world), sign, value_of(right, world))
        case (("and" | "or") as word, items):
            judged = [judge(item, world) for item in items]
            wins = word == "or"
            if wins in judged:
                return wins
            return None if None in judged else not wins
        case _:
            value = value_of(node, world)
            return None if value is UNKNOWN else bool(value)


def kind_of(value):
    """Return what a value can be ordered with: text or a number."""
    if isinstance(value, str):
        return str
    return float if type(value) in (int, float) else None


def compared(left, sign, right):
    """Judge a comparison of two values."""
    if UNKNOWN in (left, right):
        return None
    if sign in ("in", "not in"):
        if isinstance(right, list) or (isinstance(right, str) and isinstance(left, str)):
            return (left in right) == (sign == "in")
        return None
    if sign in ("==", "!="):
        return (left == right) == (sign == "==")
    kinds = {kind_of(left), kind_of(right)}
    if len(kinds) != 1 or None in kinds:
        return None
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign]


def tasks_of(world):
    """Turn a world of plain dictionaries into the tasks it describes."""
    return {
        name: task(name, s["status"], **{k: s[k] for k in ("outputs", "attempts", "was_blocked")})
        for name, s in world.items()
    }


worlds = st.fixed_dictionaries(dict.fromkeys(NAMES, st.sampled_from([*OPEN, *COMPLETIONS])))


def completions(world, names):
    """Yield every world in which the open tasks among *names* have ended; having been blocked
    stays.
    """
    open_names = [name for name in names if world[name]["status"] not in ENDS]
    for ends in itertools.product(COMPLETIONS, repeat=len(open_names)):
        if all(
            end["was_blocked"] or not world[name]["was_blocked"]
            for name, end in zip(open_names, ends, strict=True)
        ):
            yield world | dict(zip(open_names, ends, strict=True))


@PATIENT
@given(expressions, worlds)
def test_decisions_agree_with_an_independent_judge(expression, world):
    """On whatever has ended and has not, the decision is the one an evaluator written apart comes
    to.
    """
    assert decide(parse(render(expression)), tasks_of(world)) is judge(expression, world)


@settings(PATIENT, max_examples=60)
@given(expressions, worlds)
def test_a_decision_is_never_taken_back(expression, world):
    """True or False now is the same True or False in every way in which the open tasks can end."""
    condition = parse(render(expression))
    now = decide(condition, tasks_of(world))
    if now is not None and len(
        [n for n in condition.names if world[n]["status"] not in ENDS]
    ) < len(NAMES):
        assert {judge(expression, ended) for ended in completions(world, condition.names)} == {now}


@settings(PATIENT, max_examples=60)
@given(expressions, worlds)
def test_undecided_names_what_it_hangs_on(expression, world):
    """A decided condition hangs on nothing; an undecided one on names of its own, and where none of
    these is open, on nothing to come.
    """
    condition = parse(render(expression))
    tasks = tasks_of(world)
    names = undecided(condition, tasks)
    assert set(names) <= set(condition.names)
    if decide(condition, tasks) is not None:
        assert names == ()
    elif all(tasks[name].status.is_terminal for name in names) and len(
        [n for n in condition.names if n not in names]
    ) < len(NAMES):
        assert {judge(expression, ended) for ended in completions(world, condition.names)} == {None}


# --- what is refused, and where -----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "column", "problem", "allowed"),
    [
        ("", 1, "ends too early", "a name"),
        ("   ", 4, "ends too early", "a name"),
        ("a", 2, "'a' alone says nothing", ".success"),
        ("a.", 3, "no attribute ''", "success"),
        ("a.succes", 3, "no attribute 'succes'", "success"),
        ("a.success.x", 10, "nothing can be taken from 'success'", "and"),
        ("a.status[0]", 9, "nothing can be taken from 'status'", "and"),
        ("a.outputs.", 11, "ends too early", "the name of an output"),
        ("a.outputs[", 11, "ends too early", "a number"),
        ("a.outputs[1.5]", 11, "1.5 is not an index", "a whole number"),
        ("a.outputs[true]", 11, "true is not an index", "a whole number"),
        ("a.outputs[1", 12, "ends too early", "]"),
        ("a.success b.success", 11, "unexpected 'b'", "and"),
        ("a.success and", 14, "ends too early", "a name"),
        ("and a.success", 1, "unexpected 'and'", "a name"),
        ("a.success or or b.success", 14, "unexpected 'or'", "a name"),
        ("not", 4, "ends too early", "a name"),
        ("(a.success", 11, "ends too early", ")"),
        ("a.success)", 10, "unexpected ')'", "and"),
        ("()", 2, "unexpected ')'", "a name"),
        ("a.success = true", 11, "equality is ==", None),
        ("a.success & b.success", 11, "write: and", None),
        ("a.success || b.success", 11, "write: or", None),
        ("!a.success", 1, "write: not", None),
        ("a.attempts + 1 == 2", 12, "'+' has no meaning here", None),
        ("a.attempts - 1 == 2", 12, "'-' has no meaning here", None),
        ("len(a.outputs) == 1", 1, "no functions, such as 'len'", None),
        ("a.outputs.x()", 12, "there is nothing to call", "the end"),
        ("__import__('os').system('x')", 1, "no functions, such as '__import__'", None),
        ("lambda: 1", 7, "':' has no meaning here", None),
        ("a.__class__", 3, "no attribute '__class__'", "success"),
        ("5", 1, "neither true nor false", "true"),
        ("a.success and 'x'", 15, "neither true nor false", "a comparison"),
        ("'x' or a.success", 1, "neither true nor false", "a comparison"),
        ("not ([1])", 5, "neither true nor false", "a comparison"),
        ("null", 1, "neither true nor false", "true"),
        ("a.status == 'x", 13, "no closing quotation mark", None),
        ("a.status == \"x'", 13, "no closing quotation mark", None),
        (r'a.status == "x\d"', 15, r"unknown escape \d", "\\n"),
        ("a.status in ['x' 'y']", 18, "unexpected \"'y'\"", ","),
        ("a.status in [a]", 14, "unexpected 'a'", "a number"),
        ("a.status in [[1]]", 14, "unexpected '['", "a number"),
        ("a.done and 1 < 'x'", 14, "cannot be compared by <", "values of one kind"),
        ("1 in 2 or a.done", 3, "cannot be compared by in", "values of one kind"),
        ("a.attempts == 1e999", 15, "too large", None),
        ("a.attempts == 12abc", 15, "has no meaning", None),
        ("a.success\nand\nb.x", 17, "no attribute 'x'", "success"),
        ("ü.success and ß.x", 17, "no attribute 'x'", "success"),
        ("a.success and \ud800", 15, "has no meaning", None),
        ("a.success and \x00", 15, "has no meaning", None),
        ("a.success if b.success else c.success", 11, "unexpected 'if'", "and"),
        ("a.success is true", 11, "unexpected 'is'", "and"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text, column, problem, allowed):
    """What cannot be understood is refused with the column, the offending text, and what could
    stand there; the error pickles.
    """
    with pytest.raises(ConditionError) as caught:
        parse(text)
    assert (caught.value.column, caught.value.text) == (column, text)
    assert problem in caught.value.problem
    assert allowed is None or allowed in caught.value.allowed
    assert f"column {column}" in str(caught.value)
    assert attrs.astuple(pickle.loads(pickle.dumps(caught.value))) == attrs.astuple(caught.value)


def test_the_pointer_stands_under_the_trouble():
    """In the printed error the caret stands under the column, however far to the right it is."""
    for before in (0, 1, 39, 40, 41, 200):
        text = " " * before + "a.success and § and " + "b.success and " * 10
        with pytest.raises(ConditionError) as caught:
            parse(text)
        _, shown, pointer = str(caught.value).split("\n")
        assert shown[pointer.index("^")] == "§"


@pytest.mark.parametrize(
    ("fits", "too_much", "problem"),
    [
        ("a.done".ljust(MAX_LENGTH), "a.done".ljust(MAX_LENGTH + 1), "characters long"),
        (
            "(" * MAX_DEPTH + "a.done" + ")" * MAX_DEPTH,
            "(" * (MAX_DEPTH + 1) + "a.done" + ")" * (MAX_DEPTH + 1),
            "nested deeper",
        ),
        ("not " * MAX_DEPTH + "a.done", "not " * (MAX_DEPTH + 1) + "a.done", "nested deeper"),
        (
            f"a.status < '{'x' * (MAX_LITERAL - 2)}'",
            f"a.status < '{'x' * (MAX_LITERAL - 1)}'",
            "literal of",
        ),
        (
            f"a.attempts == {'1' * MAX_LITERAL}",
            f"a.attempts == {'1' * (MAX_LITERAL + 1)}",
            "literal of",
        ),
        (
            " or ".join(["a.done"] * MAX_ITEMS),
            " or ".join(["a.done"] * (MAX_ITEMS + 1)),
            "operands",
        ),
        (
            f"a.attempts in [{','.join('1' * (MAX_ITEMS - 2))}]",
            f"a.attempts in [{','.join('1' * (MAX_ITEMS - 1))}]",
            "operands",
        ),
    ],
)
def test_size_and_depth_are_bounded(fits, too_much, problem):
    """The limits are where they say they are: what just fits is read and decided, one more is
    refused.
    """
    assert decide(parse(fits), {"a": task()}) in (True, False)
    with pytest.raises(ConditionError, match=problem) as caught:
        parse(too_much)
    assert 1 <= caught.value.column <= len(too_much) + 1


# --- hostile text -------------------------------------------------------------------


def understood_or_refused(text):
    """Read *text*; a condition that is understood is also decided, whatever its tasks are like."""
    try:
        condition = parse(text)
    except ConditionError as exc:
        assert 1 <= exc.column <= len(text) + 1
        assert "column" in str(exc)
        return
    for one in STATES.values():
        tasks = dict.fromkeys(condition.names, one)
        assert decide(condition, tasks) in (True, False, None)
        assert set(undecided(condition, tasks)) <= set(condition.names)


@settings(PATIENT, max_examples=300)
@given(st.text(max_size=60) | st.text(st.characters(), max_size=20))
def test_arbitrary_text_is_understood_or_refused(text):
    """Nothing but `ConditionError` comes out of any text at all."""
    understood_or_refused(text)


PIECES = (
    *(
        "a",
        "b",
        ".",
        "success",
        "failed",
        "outputs",
        "status",
        "x",
        "[",
        "]",
        "(",
        ")",
        ",",
        "==",
        "!=",
        "<",
        ">=",
        "in",
        "not",
        "and",
    ),
    *(
        "or",
        "true",
        "null",
        "1",
        "-2",
        "0.5",
        "1e9",
        "'s'",
        '"',
        "'",
        "\\",
        " ",
        "\n",
        "\t",
        "é",
        "\ud800",
        "٣",
        "²",
        "=",
        "-",
        "a.success",
    ),
)


@settings(PATIENT, max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from(["", " "]))
def test_any_order_of_the_languages_own_pieces_is_understood_or_refused(pieces, glue):
    """Nothing but `ConditionError` comes out of the language's own words in any order."""
    understood_or_refused(glue.join(pieces))


@settings(PATIENT, max_examples=200)
@given(expressions.map(render), st.data())
def test_a_damaged_condition_is_understood_or_refused(text, data):
    """Nothing but `ConditionError` comes out of a condition in which something was cut, doubled or
    replaced.
    """
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 8)))
        text = (
            text[:start]
            + data.draw(st.sampled_from(["", *PIECES, text[start:end] * 2]))
            + text[end:]
        )
    understood_or_refused(text)


@pytest.mark.parametrize(
    "unit",
    [
        "(",
        ")",
        "[",
        "not ",
        "not",
        "-",
        "1",
        "1.",
        "9e",
        "'",
        '"',
        "\\",
        '"\\',
        "a",
        "a.",
        "a.outputs",
        ".x",
        "[0]",
        "[1,",
        "< 1 ",
        "in ",
        "== (",
        *(
            " ",
            "\n",
            "\u00a0",
            "a.success and ",
            "a.success or not (",
            "x.outputs.y in [1,2] and ",
            "\U0001f600",
        ),
    ],
)
def test_the_longest_text_costs_little(unit):
    """The worst text of full length is judged within a fraction of a second of CPU time."""
    text = (unit * MAX_LENGTH)[:MAX_LENGTH]
    started = time.process_time()
    for at in (text, "a.outputs" + text[:-9], "'" + text[:-2] + "'"):
        understood_or_refused(at)
    assert time.process_time() - started < 1.0


def test_a_condition_keeps_its_text_and_language_has_a_version():
    """A condition remembers how it was written; the language's version is a number that is stored
    beside it.
    """
    text = "  a.success   and not b.failed "
    assert parse(text).text == text
    assert conditions.VERSION == 1
    assert {*OUTCOMES, "status", "attempts", "outputs"} == set(ATTRIBUTES)


def test_an_operator_is_added_in_one_place():
    """One entry of the table is enough: tokens, keywords and reserved words follow from it."""
    source = inspect.getsource(conditions)
    entry = '    "in": _contains,\n'
    assert source.count(entry) == 1
    more = '    "starts with": lambda a, b: a.startswith(b),\n    "<>": lambda a, b: a != b,\n'
    language = types.ModuleType(conditions.__name__)
    exec(source.replace(entry, entry + more), vars(language))
    world = {"a": task(outputs={"x": "abc"})}
    for text, expected in [
        ("a.outputs.x starts with 'ab'", True),
        ("a.outputs.x starts with 'b'", False),
        ("a.outputs.x <> 'b'", True),
        ("a.outputs.x <= 'b'", True),
        ("a.outputs.x not in ['b']", True),
    ]:
        assert language.decide(language.parse(text), world) is expected, text
    assert {"starts", "with"} == language.RESERVED_WORDS - conditions.RESERVED_WORDS


@pytest.mark.parametrize("word", sorted(conditions.RESERVED_WORDS))
def test_a_word_of_the_language_is_not_an_alias(word):
    """A condition could not name such a task."""
    assert not is_alias(word)
    assert is_alias(f"{word}_")
    assert slug(word) == f"task_{word.lower()}"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("success(gate)", "no functions, such as 'success', in conditions; write gate.success"),
        (
            "len(gate.outputs.x) > 3",
            "no functions, such as 'len', in conditions; compare an output",
        ),
        ("success(", "no functions"),
        ("gate.success()", "there is nothing to call; write gate.success without brackets"),
        ("gate.approved", "what it hands in is gate.outputs.approved"),
        ("gate.sucess", "did you mean success?"),
    ],
)
def test_what_looks_like_python_is_answered_with_what_to_write(text, advice):
    """A function, a method, an output without ``outputs``, a misspelt attribute."""
    with pytest.raises(ConditionError) as caught:
        parse(text)
    assert advice in str(caught.value)


def test_an_output_that_never_came_is_named_with_those_that_did():
    """Also one within an output; what is still to come is not missing."""
    condition = parse("a.outputs.aproved and a.outputs.n.y == 1 and b.outputs.x and c.outputs.x")
    tasks = {
        "a": task(outputs={"approved": True, "n": {"x": 1}}),
        "b": task(status="failed", outputs={}),
        "c": task(status="pending", outputs={}),
    }
    assert [str(missing) for missing in missing_outputs(condition, tasks)] == [
        "a has no output 'aproved' (did you mean 'approved'? it handed in approved, n)",
        "a has no output 'y' (it handed in x)",
        "b is failed and has no output 'x' (it handed in nothing)",
    ]

"""Plans as text: JSON is read as JSON, YAML as YAML 1.2, and each mistake has its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vespera_orchestrator.errors import PlanError
from vespera_orchestrator.tasks import plans
from vespera_orchestrator.tasks.plan_text import tasks_in

VALUES = {
    "12:30": "12:30",
    "190:20:30": "190:20:30",
    "NO": "NO",
    "on": "on",
    "y": "y",
    "1_000": "1_000",
    "2026-12-24": "2026-12-24",
    "2026-12-24 18:00:00": "2026-12-24 18:00:00",
    "0b11": "0b11",
    "01234": 1234,
    "0o17": 15,
    "0x1F": 31,
    "+12": 12,
    "1e3": 1000.0,
    ".5": 0.5,
    "5.": 5.0,
    "-0.0": 0.0,
    "True": True,
    "FALSE": False,
    "tRUE": "tRUE",
    "~": None,
    "Null": None,
    "": None,
    "'5'": "5",
    '"true"': "true",
    "! 5": "5",
    "!!str 5": "5",
    "!!float 5": 5.0,
    "!!int 0x10": 16,
    "=": "=",
}


@pytest.mark.parametrize("written", VALUES)
def test_yaml_values_follow_the_core_schema(written):
    """What is written is what is meant in YAML 1.2: no sexagesimals, no ``NO``, no dates."""
    [[value]] = tasks_in(f"- [{written}]") if written else tasks_in("- - ")
    assert (value, type(value)) == (VALUES[written], type(VALUES[written]))


def test_json_is_read_as_json():
    """Surrogate pairs, tabs, exponents and slashes are as ``json`` reads them."""
    plan = [{"title": "Ship \U0001f680", "context": {"rate": 1e-05, "a/b": "\u2028", "big": 1e22}}]
    for text in (
        json.dumps(plan),
        json.dumps(plan, indent="\t"),
        "\ufeff" + json.dumps(plan, ensure_ascii=False),
        json.dumps({"tasks": plan}),
    ):
        assert tasks_in(text) == plan
    assert tasks_in('[{"title": "a\\/b"}]') == [{"title": "a/b"}]


def test_yaml_with_brackets_is_yaml():
    """What begins like JSON and is none may be YAML: words without quotes, a last comma."""
    assert tasks_in("[{title: a, context: {at: 12:30}}, ]") == [
        {"title": "a", "context": {"at": "12:30"}}
    ]


def test_merge_keys():
    """``<<`` adds what a mapping has not; own keys win, then earlier sources; ``x-`` is ignored."""
    text = """
    x-defaults: &defaults {task_type: research, priority: 1}
    x-urgent: &urgent {priority: 9}
    tasks:
    - {title: a, <<: *defaults}
    - <<: [*urgent, *defaults]
      title: b
    - {title: c, '<<': *urgent}
    """
    first, second, third = tasks_in(text)
    assert first == {"title": "a", "task_type": "research", "priority": 1}
    assert second == {"title": "b", "task_type": "research", "priority": 9}
    assert third["<<"] == {"priority": 9}  # in quotes it is a word


LAUGHS = "\n".join(
    ["a0: &a0 [1, 1, 1, 1]"] + [f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]" for n in range(1, 9)]
)
MISTAKES = {
    '[{"title": "a",\n "context": {"v": NaN}}]': "line 2, column 19: NaN is not a number",
    '[{"title": "NaN",\n\n "context": {"v": -Infinity}}]': "column 19: -Infinity is not a number",
    '[{"title": "a", "context": 1e999}]': "line 1, column 28: 1e999 is not a number",
    '[{"title": "a",\n "context": {"title": 1},\n "title": "b"}]': "line 3, column 2: .* twice",
    '[{"title": "a",\n "b": ]': "line 2, column 7: this is neither JSON .Expecting value. nor YAML",
    "[" * 3000: "line 1, column 201: this is nested too deeply",
    f'[{{"title": {"9" * 5000}}}]': "line 1, column 12: this number is too long",
    "- title: a\n  context: {v: .nan}": "line 2, column 16: .nan is not a number",
    "- title: a\n  context:\n    v: 1e999": "line 3, column 8: 1e999 is not a number",
    "- title: a\n- title: b\n  title: c": "line 3, column 3: .*'title'.* twice",
    "- title: a\n  context: {1: x}": "line 2, column 13: the key 1 is not a text.*'1'",
    "- {[a]: x}": "line 1, column 4: a key is not a plain word",
    "- title: a\n\tdescription: b": "line 2, column 1: .*tab",
    "- title: !!python/object:os.system x": "line 1, column 10: the tag !!python/object:os.system",
    "- !!set {a}": "line 1, column 3: the tag !!set",
    "- !!int x": "line 1, column 3: the tag !!int",
    "- *x": "line 1, column 3: .x names no anchor",
    "- &x [*x]": "line 1, column 7: .x stands inside of what it repeats",
    "- {<<: 5}": "line 1, column 4: << takes a mapping",
    "- title: a\n---\n- title: b": "line 2, column 1: a second document",
    LAUGHS: "the aliases repeat too much",
    "- " * 300 + "x": "column 403: this is nested too deeply",
    "[" * 201 + "]" * 201: "column 201: this is nested too deeply",
    f"- {'9' * 5000}": "line 1, column 3: this number is too long",
    "a\x00b: 1": "not YAML",
    "- 'a": "line 1, column 5: .*quoted scalar",
    "plan.yaml": r"should be a list of tasks; to read a file",
    "tasks: []\ndefaults: {}": "line 2, column 1: the key 'defaults' .*'x-defaults'",
}


@pytest.mark.parametrize("text", MISTAKES, ids=range(len(MISTAKES)))
def test_a_text_that_cannot_be_read_is_refused_with_its_line(text):
    """Each mistake is named where it stands; what JSON cannot hold is refused by name."""
    with pytest.raises(PlanError, match=MISTAKES[text]):
        tasks_in(text)


def test_a_mistake_in_a_task_names_its_line():
    """Beside the task's number and title; a misspelt key is answered with the right one."""
    text = "- title: a\n\n- title: b\n  priority: high\n  titel: x\n  children:\n  - title: 404"
    _, mistakes = plans.plan(text)
    assert [mistake.place for mistake in mistakes] == [
        "task 2 (b), line 5, column 3",
        "task 2 (b), line 4, column 3",
        "task 2 (b), child 1 (404), line 7, column 5",
    ]
    assert "did you mean 'title'?" in str(mistakes[0])
    assert "in quotes" in str(mistakes[2])


def test_an_empty_text_is_an_empty_plan():
    """Comments alone plan nothing."""
    assert [*tasks_in(""), *tasks_in("# later"), *tasks_in("[]"), *tasks_in("tasks: []")] == []


PLAN = [
    {"title": "a", "context": {"b\u00e9": [{"c": 1}], "\U0001f389": {"d": {}}}},
    {"title": '{"x": [', "children": [{"title": ":,", "priority": -1.5}]},
]


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_json_has_the_places_that_yaml_has(indent):
    """Of each mapping and of each key: this text is both."""
    text = json.dumps(PLAN, indent=indent, ensure_ascii=False)
    from_json, from_yaml = tasks_in(text), tasks_in(f"# as YAML\n{text}")
    assert from_json == from_yaml == PLAN
    assert [*spots(from_json, 1)] == [*spots(from_yaml, 0)]
    assert len([*spots(from_json, 0)]) == 17


def spots(value, lines_down):
    """Where all mappings and keys stand, so many lines further down."""
    if isinstance(value, dict):
        for spot in (value.spot, *value.key_spots.values()):
            yield spot.line + lines_down, spot.column
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from spots(inner, lines_down)


def test_a_mistake_in_json_has_the_place_that_it_has_in_yaml():
    """Of a key in a task below a task, and of a reference that the store looks up."""
    text = '[\n {"title": "a",\n  "children": [{"title": "b",\n    "priority": "high"}]}\n]'
    for written in (text, f"--- {text}"):
        _, (mistake,) = plans.plan(written)
        assert mistake.place == "task 1 (a), child 1 (b), line 4, column 5"


@pytest.mark.parametrize(
    "written", ['[\n {"title": "a", "priority": "high"}]', "- title: a\n  priority: x"]
)
def test_a_fence_around_a_plan_is_no_part_of_it(written):
    """Models write one around a whole file; each line keeps its number."""
    for fenced in (f"\n```json\n{written}\n```\n", f"````\n{written}\n````"):
        _, (mistake,) = plans.plan(fenced)
        lines_before = fenced[: fenced.index(written)].count("\n")
        assert mistake.place.startswith(f"task 1 (a), line {lines_before + 2}, column ")


TEXTS = st.text("ab\u00e9\U0001f389\\\"':,#-{}[]&*!|>%@` \t\n", max_size=8)
VALUES_IN_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e300, 1e300) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(VALUES_IN_JSON, max_size=3), st.sampled_from([None, 0, 2]), st.booleans())
def test_what_json_writes_is_read_back_as_both(value, indent, is_ascii):
    """Whatever stands in the texts; of a number the kind is read back, too."""
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    assert json.dumps(tasks_in(text)) == json.dumps(value)
    if "\\ud" not in text:  # half of a character, twice, is JSON's own way to write one
        from_yaml = tasks_in(f"--- {text}")
        assert json.dumps(from_yaml) == json.dumps(value)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("- title: a\n- hello\n-   3\n", ["task 2, line 2, column 3", "task 3, line 3, column 5"]),
        (
            '[{"title": "a"},\n "x", [{"b": 1}]]',
            ["task 2, line 2, column 2", "task 3, line 2, column 7"],
        ),
        (
            '{"tasks": [3,\n{"title": "a"}, null]}',
            ["task 1, line 1, column 12", "task 3, line 2, column 17"],
        ),
        ('[{"title": "a", "children": [\n"x"]}]', ["task 1 (a), child 1, line 2, column 1"]),
        ("- title: a\n  children:\n  - x", ["task 1 (a), child 1, line 3, column 5"]),
        ("- title: a\n  children: x", ["task 1 (a), line 2, column 3"]),
        ("- title: a\n  children: false", ["task 1 (a), line 2, column 3"]),
        ('[{"title": "a",\n"children": {}}]', ["task 1 (a), line 2, column 1"]),
        ('[{"title": "a \\ud800"}]', ["task 1 (a ?), line 1, column 3"]),
        ('[{"title": "a",\n"description": "\\udc00"}]', ["task 1 (a), line 2, column 1"]),
    ],
)
def test_what_is_no_task_has_a_place_too(text, places):
    """Something else in a list of tasks, no list where one should be, half a character."""
    _, mistakes = plans.plan(text)
    assert [mistake.place for mistake in mistakes] == places
    assert all(str(mistake).encode() for mistake in mistakes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- title: a\n- title: b\udc80d\n", "line 2, column 11: the byte 0x80 is not UTF-8"),
        ('[{"title": "a"},\n {"title": "b\udcff"}]', "line 2, column 14: the byte 0xff is not"),
        ("- title: \ud83d", "line 1, column 10: this is half of a surrogate pair"),
    ],
)
def test_what_no_file_can_store_has_its_place(text, problem):
    """A byte that is no UTF-8 comes from a pipe, and half of a character from a program."""
    with pytest.raises(PlanError, match=problem):
        tasks_in(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[\n {"title": "\\ud83d\\ude00"},\n]', "line 2, column 27"),
        ('[{"title": "\\ud83d\\ude00", }]', "line 1, column 26"),
    ],
)
def test_a_comma_before_the_end_is_named_where_it_stands(text, place):
    """Where YAML, which allows it, cannot read the rest."""
    with pytest.raises(PlanError, match=r"there is a comma before .; leave it out") as caught:
        tasks_in(text)
    assert caught.value.place == place


def test_no_tasks_are_an_empty_plan():
    """Not a value of Python."""
    assert tasks_in("tasks:\n") == ()

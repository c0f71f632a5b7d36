"""Plans as text: JSON is read as JSON, YAML as YAML 1.2, and each mistake has its place."""

from __future__ import annotations

import json

import pytest

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
    '[{"title": "a",\n "context": {"v": NaN}}]': "line 2: NaN is not a number",
    '[{"title": "NaN",\n\n "context": {"v": -Infinity}}]': "line 3: -Infinity is not a number",
    '[{"title": "a", "context": 1e999}]': "line 1: 1e999 is not a number",
    '[{"title": "a",\n "context": {"title": 1},\n "title": "b"}]': "line 3: .*'title'.* twice",
    '[{"title": "a",\n "b": ]': "neither JSON nor YAML .JSON: line 2, column 7",
    "[" * 3000: "nested too deeply",
    f'[{{"title": {"9" * 5000}}}]': "number that is too long",
    "- title: a\n  context: {v: .nan}": "line 2: .nan is not a number",
    "- title: a\n  context:\n    v: 1e999": "line 3: 1e999 is not a number",
    "- title: a\n- title: b\n  title: c": "line 3: .*'title'.* twice",
    "- title: a\n  context: {1: x}": "line 2: the key 1 is not a text.*'1'",
    "- {[a]: x}": "line 1: a key is not a plain word",
    "- title: a\n\tdescription: b": "line 2, column 1: .*tab",
    "- title: !!python/object:os.system x": "line 1: the tag !!python/object:os.system",
    "- !!set {a}": "line 1: the tag !!set",
    "- !!int x": "line 1: the tag !!int",
    "- *x": "line 1: .x names no anchor",
    "- &x [*x]": "line 1: .x stands inside of what it repeats",
    "- {<<: 5}": "line 1: << takes a mapping",
    "- title: a\n---\n- title: b": "line 2: a second document",
    LAUGHS: "the aliases repeat too much",
    "- " * 300 + "x": "nested too deeply",
    "a\x00b: 1": "not YAML",
    "- 'a": "line 1, column 5: .*quoted scalar",
    "plan.yaml": r"should be a list of tasks; to read a file",
    "tasks: []\ndefaults: {}": "line 2: the key 'defaults' .*'x-defaults'",
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
        "task 2 (b), line 5",
        "task 2 (b), line 4",
        "task 2 (b), child 1 (404), line 7",
    ]
    assert "did you mean 'title'?" in str(mistakes[0])
    assert "in quotes" in str(mistakes[2])


def test_an_empty_text_is_an_empty_plan():
    """Comments alone plan nothing."""
    assert [*tasks_in(""), *tasks_in("# later"), *tasks_in("[]"), *tasks_in("tasks: []")] == []

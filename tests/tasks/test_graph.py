"""The task graph: levels, the critical path, what comes before and after, and drawings that no
title can break.
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
import time

import networkx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from support import records
from vespera_orchestrator._model import Dependency, Outcome, TaskStatus, utcnow
from vespera_orchestrator.errors import InvalidInputError, TaskNotFoundError
from vespera_orchestrator.tasks.effort import effort_hours
from vespera_orchestrator.tasks.graph import TaskGraph

NOW = utcnow()
PATIENT = settings(deadline=None, derandomize=True, max_examples=60)


def task(
    alias, *needs, title=None, status="pending", effort=None, parent=None, condition=None, names=()
):
    """Make a task that waits for *needs*, each an alias or a dependency."""
    edges = tuple(n if isinstance(n, Dependency) else Dependency(f"t_{n}") for n in needs)
    return records.task(
        alias,
        status,
        title=title or alias,
        estimated_effort=effort,
        parent_task_id=parent and f"t_{parent}",
        dependencies=edges,
        condition=condition,
        condition_names={name: f"t_{name}" for name in names},
    )


def aliases(tasks):
    """The aliases of tasks."""
    return [one.alias for one in tasks]


DIAMOND = [task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"), task("alone")]


def test_levels_hold_what_can_run_side_by_side():
    """Each level holds the tasks whose dependencies lie in the levels before."""
    assert [set(aliases(level)) for level in TaskGraph(DIAMOND).levels()] == [
        {"a", "alone"},
        {"b", "c"},
        {"d"},
    ]
    assert TaskGraph([]).levels() == []


def test_a_parent_comes_after_its_subtasks():
    """A subtask lies before its parent, and the edge says that it is a part."""
    graph = TaskGraph([task("p"), task("one", parent="p"), task("two", "one", parent="p")])
    assert [aliases(level) for level in graph.levels()] == [["one"], ["two"], ["p"]]
    assert graph.nx.edges["t_one", "t_p"]["kind"] == "part"
    assert graph.nx.edges["t_one", "t_two"] == {
        "kind": "dependency",
        "on": "success",
        "condition": None,
    }


def test_a_subtask_that_its_parent_also_waits_for_is_one_edge():
    """Hierarchy and dependency between the same two tasks are drawn once, as the dependency, in
    whatever order they come.
    """
    tasks = [task("p", Dependency("t_c", "failure")), task("c", parent="p")]
    for order in (tasks, tasks[::-1]):
        assert dict(TaskGraph(order).nx.edges) == {
            ("t_c", "t_p"): {"kind": "dependency", "on": "failure", "condition": None}
        }


def test_ancestors_and_descendants_are_all_that_comes_before_and_after():
    """Direct or not, by alias, id or record, without the task itself, in the order planned."""
    graph = TaskGraph(DIAMOND)
    assert aliases(graph.ancestors("d")) == ["a", "b", "c"]
    assert aliases(graph.descendants("t_a")) == ["b", "c", "d"]
    assert graph.ancestors(DIAMOND[0]) == graph.descendants("d") == graph.ancestors("alone") == []
    assert len(graph) == 5
    assert graph.task("b") is DIAMOND[1]
    with pytest.raises(TaskNotFoundError):
        graph.ancestors("nowhere")


def test_an_edge_to_a_task_outside_is_left_out():
    """A graph of some of the tasks holds only the edges between them."""
    graph = TaskGraph([task("b", "a", parent="p")])
    assert (list(graph.nx.nodes), list(graph.nx.edges)) == (["t_b"], [])


# --- the critical path ------------------------------------------------------------

EFFORTS = (None, "0 h", "30 min", "2 hours", "1 day")


@st.composite
def plans(draw):
    """Small random graphs of tasks with efforts, some of them ended."""
    count = draw(st.integers(0, 7))
    tasks = []
    for number in range(count):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        status = draw(
            st.sampled_from(
                ["pending", "pending", "in_progress", "blocked", "completed", "skipped"]
            )
        )
        tasks.append(
            task(
                f"n{number}",
                *(f"n{n}" for n in sorted(needs)),
                status=status,
                effort=draw(st.sampled_from(EFFORTS)),
            )
        )
    return tasks


def hours(path):
    """How long a chain of tasks takes; a task without an estimate counts one hour."""
    return sum(
        {None: 1.0, "0 h": 0.0, "30 min": 0.5, "2 hours": 2.0, "1 day": 8.0}[one.estimated_effort]
        for one in path
    )


def chains(tasks):
    """Every chain of open tasks, by brute force."""
    still_open = [one for one in tasks if not one.status.is_terminal]
    after = {
        one.id: [t for t in still_open if any(edge.task == one.id for edge in t.dependencies)]
        for one in still_open
    }
    stack = [[one] for one in still_open]
    while stack:
        chain = stack.pop()
        yield chain
        stack += [[*chain, follower] for follower in after[chain[-1].id]]


@PATIENT
@given(plans())
def test_the_critical_path_is_the_longest_chain(tasks):
    """It is a chain of open tasks, and by brute force over all chains none takes longer."""
    path = TaskGraph(tasks).critical_path()
    every = list(chains(tasks))
    assert path in every if every else path == []
    assert hours(path) == pytest.approx(max(map(hours, every), default=0))


@PATIENT
@given(plans())
def test_levels_and_relatives_agree_with_the_edges(tasks):
    """Levels are the longest distance from a start; ancestors and descendants mirror each other."""
    graph = TaskGraph(tasks)
    level = {one.id: number for number, some in enumerate(graph.levels()) for one in some}
    assert set(level) == {one.id for one in tasks}
    for one in tasks:
        assert level[one.id] == max((level[edge.task] + 1 for edge in one.dependencies), default=0)
    for one, other in itertools.permutations(tasks, 2):
        assert (
            (one in graph.ancestors(other))
            == (other in graph.descendants(one))
            == networkx.has_path(graph.nx, one.id, other.id)
        )


def test_the_critical_path_counts_hours_not_tasks():
    """One long task outweighs three short ones; what has ended counts no more."""
    short = [task("x", effort="1 h"), task("y", "x", effort="1 h"), task("z", "y", effort="1 h")]
    assert aliases(TaskGraph([*short, task("long", effort="1 day")]).critical_path()) == ["long"]
    assert aliases(
        TaskGraph([*short, task("long", effort="1 day", status="completed")]).critical_path()
    ) == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            ("2 hours", 2),
            ("1 hour", 1),
            ("3h", 3),
            ("1.5 h", 1.5),
            ("30 min", 0.5),
            ("30 minutes", 0.5),
            ("1 minute", 1 / 60),
            ("90m", 1.5),
        ),
        *(
            ("1 day", 8),
            ("2 days", 16),
            ("1d", 8),
            ("1 week", 40),
            ("2w", 80),
            ("1 Day", 8),
            ("1 d 2 h", 10),
            ("2 hours and 30 minutes", 2.5),
        ),
        *(
            ("0 h", 0),
            ("about 3 hours", 3),
            ("", None),
            (None, None),
            ("soon", None),
            ("5", None),
            ("3 people", None),
            ("two hours", None),
        ),
        ("1h30m", 1.5),
    ],
)
def test_efforts_are_read_as_people_write_them(text, expected):
    """Hours from minutes, hours, days of 8 and weeks of 40 hours; what says no time counts one
    hour.
    """
    assert effort_hours(text) == pytest.approx(1.0 if expected is None else expected)


@pytest.mark.parametrize(
    "text", ["1" * 10_000, "1 " * 5_000, "1." * 5_000, " " * 20_000 + "x", "1h" * 5_000]
)
def test_a_hostile_effort_costs_little(text):
    """Reading an estimate takes a moment, however long it is and whatever it holds."""
    started = time.process_time()
    effort_hours(text)
    assert time.process_time() - started < 1.0


# --- drawing ----------------------------------------------------------------------

NODE = re.compile(r'    (n\d+|more)\["([^"\[\]]|#91;|#93;)*"\](:::[a-z_]+)?')
EDGE = re.compile(
    r'    n\d+ (-->|-->\|"on [a-z]+"\||-->\|"if [^"|]*"\||-\.->\|"(?:part of|repairs)"\|) n\d+'
)
STYLE = re.compile(
    r"    classDef [a-z_]+ fill:#[0-9a-f]{6},color:#[0-9a-f]{6},stroke:#[0-9a-f]{6}"
    r"|    linkStyle default stroke:#888888"
)


def well_formed(text):
    """Check each line of a drawing against the three forms there are."""
    first, *lines = text.split("\n")
    assert re.fullmatch(r"flowchart (TD|TB|LR|BT|RL)", first)
    for line in lines:
        assert NODE.fullmatch(line) or EDGE.fullmatch(line) or STYLE.fullmatch(line), line


HOSTILE = (
    *(
        "end",
        "graph",
        "subgraph",
        "click n0 callback",
        "x-->y",
        '"] --> evil["',
        "a\nb --> c",
        "a\r\nclassDef x",
        "#quot;",
        "<script>alert(1)</script>",
    ),
    *(
        "a | b",
        "`code`",
        "```",
        "&amp;",
        "\\n",
        "a;b",
        "end\u2028end",
        "x" * 500,
        "\u202ertl",
        ":::failed",
        "n0",
    ),
)


@pytest.mark.parametrize("title", HOSTILE)
def test_no_title_breaks_a_drawing(title):
    """Titles and aliases such as ``end``, quotes, brackets, arrows and line breaks are text in a
    box and nothing else.
    """
    text = TaskGraph([task("end", title=title), task("graph", "end", title=title)]).to_mermaid()
    lines = text.split("\n")
    assert lines[0] == "flowchart TD"
    assert [line.split("[")[0].strip() for line in lines[1:3]] == ["n0", "n1"]
    assert lines[3] == "    n0 --> n1"
    assert lines[4].startswith("    classDef pending ")
    assert lines[5:] == ["    linkStyle default stroke:#888888"]
    label = lines[1].removeprefix('    n0["').removesuffix('"]:::pending')
    assert not set('"<>`|\\\n\r\u2028') & set(label.replace("<br/>", ""))


@PATIENT
@given(st.text(min_size=1, max_size=80))
def test_any_title_keeps_its_line(title):
    """Whatever a title holds, the drawing has one line for each task and one for each edge."""
    lines = (
        TaskGraph([task("a", title=title), task("b", "a", title=title)]).to_mermaid().splitlines()
    )
    assert len(lines) == 6
    assert all(line.endswith('"]:::pending') and line.count('"') == 2 for line in lines[1:3])


def test_a_title_gives_mermaid_no_orders():
    """``%%{init: …}%%`` is read by Mermaid wherever it stands, quoted or not, so a title must not
    be able to hold it.
    """
    assert "%%{" not in TaskGraph([task("a", title="%%{init: {'theme': 'dark'}}%%")]).to_mermaid()


def test_edges_say_what_they_wait_for():
    """Outcome, condition and hierarchy are drawn in words on the edge; states are colours."""
    text = TaskGraph(
        [
            task("a", status="completed"),
            task("b", Dependency("t_a", "failure"), status="skipped"),
            task("c", "a", condition='a.success and a.outputs.x == "y"', names=["a"]),
            task("d", parent="c", status="in_progress"),
        ]
    ).to_mermaid(direction="LR")
    assert text.split("\n") == [
        "flowchart LR",
        '    n0["a<br/>completed"]:::completed',
        '    n1["b<br/>skipped"]:::skipped',
        '    n2["c<br/>pending"]:::pending',
        '    n3["d<br/>in progress"]:::in_progress',
        '    n0 -->|"on failure"| n1',
        '    n0 -->|"if a.success and a.outputs.x == #34;y#34;"| n2',
        '    n3 -.->|"part of"| n2',
        *(line for line in text.split("\n") if "classDef" in line),
        "    linkStyle default stroke:#888888",
    ]
    assert text.count("classDef") == 4
    well_formed(text)


def test_a_drawing_stays_small_and_says_what_it_leaves_out():
    """At most *limit* boxes, open tasks first, and a box that counts the rest."""
    tasks = [task(f"x{n}", status="completed" if n < 150 else "pending") for n in range(300)]
    text = TaskGraph(tasks).to_mermaid()
    assert text.count(":::") == text.count(":::pending") == 150
    assert '    more["… and 150 more tasks"]' in text
    assert TaskGraph(tasks).to_mermaid(limit=0).split("\n") == [
        "flowchart TD",
        '    more["… and 300 more tasks"]',
    ]
    assert TaskGraph([]).to_mermaid() == "flowchart TD"
    well_formed(text)


def test_an_unknown_direction_is_refused():
    """The direction is one of Mermaid's; anything else could smuggle text into the drawing."""
    with pytest.raises(InvalidInputError, match="not one of TD"):
        TaskGraph([]).to_mermaid(direction="TD\nclick n0 evil")


def test_nx_gives_the_graph_for_everything_else():
    """``.nx`` is a networkx DiGraph with the tasks on its nodes."""
    graph = TaskGraph(DIAMOND)
    assert isinstance(graph.nx, networkx.DiGraph)
    assert graph.nx.nodes["t_a"]["task"] is DIAMOND[0]
    assert networkx.is_directed_acyclic_graph(graph.nx)


# --- what if, bottlenecks, other formats --------------------------------------


def random_plans():
    """Plans of up to eight tasks that wait for earlier ones, in all ways and with conditions."""
    one = st.tuples(
        st.lists(
            st.tuples(st.integers(0, 6), st.sampled_from([str(on) for on in Outcome])),
            max_size=3,
            unique_by=lambda edge: edge[0],
        ),
        st.sampled_from(
            [None, "{}.success", "not {}.failed", "{}.skipped or {}.success", "{}.outputs.x > 1"]
        ),
    )
    return st.lists(one, min_size=2, max_size=8)


def specs_of(plan):
    """Write a random plan as ``plan_tasks`` takes it: a task waits only for those before it."""
    for number, (edges, form) in enumerate(plan):
        needs = [{"task": f"t{to}", "on": on} for to, on in edges if to < number]
        condition = form.replace("{}", needs[0]["task"]) if form and needs else None
        yield {
            "title": f"T{number}",
            "alias": f"t{number}",
            "dependencies": needs,
            "condition": condition,
        }


@settings(PATIENT, max_examples=30)
@given(random_plans(), st.integers(0, 7))
def test_what_if_is_what_happens(plan, chosen):
    """What the graph says would be skipped is what is skipped when it happens."""
    with tempfile.TemporaryDirectory() as room, vespera.open(room, store="memory:") as orch:
        orch.initialize_session("Goal")
        orch.plan_tasks(list(specs_of(plan)))
        alias = f"t{chosen % len(plan)}"
        assume(orch.get_task(alias).status is TaskStatus.PENDING)
        before = {t.alias for t in orch.query_tasks(status="skipped")}
        said = {t.alias for t in orch.graph().what_if(alias)}
        orch.abandon_task(alias)
        assert said == {t.alias for t in orch.query_tasks(status="skipped")} - before


def test_what_if_names_the_parts():
    """What is open below a task goes with it, with recoveries, whether it has begun or not."""
    with tempfile.TemporaryDirectory() as room, vespera.open(room, store="memory:") as orch:
        orch.initialize_session("Goal")
        parts = [{"title": "B"}, {"title": "C"}]
        whole = {"title": "Whole", "dependencies": ["a"], "children": parts}
        orch.plan_tasks([{"title": "A"}, whole])
        orch.execute_task("b")
        orch.execute_task("c").fail("it broke")
        said = orch.graph().what_if("a")
        orch.abandon_task("a")
        assert {t.alias for t in said} == {"whole", "b", "c", "recover_c"}
        assert {t.alias for t in orch.query_tasks(status="skipped")} == {t.alias for t in said}


def test_what_if_refuses_what_is_no_end():
    """Only an end can be supposed."""
    with pytest.raises(InvalidInputError, match="is not an end"):
        TaskGraph(DIAMOND).what_if("a", "pending")
    assert aliases(TaskGraph(DIAMOND).what_if("a")) == ["b", "c", "d"]
    assert TaskGraph(DIAMOND).what_if("a", "completed") == []


@PATIENT
@given(st.lists(st.sets(st.integers(0, 8), max_size=3), min_size=1, max_size=9))
def test_bottlenecks_hold_what_cannot_be_reached_without_them(needs):
    """A bottleneck counts exactly the open tasks to which every way leads through it."""
    tasks = [task(f"x{n}", *(f"x{to}" for to in edges if to < n)) for n, edges in enumerate(needs)]
    graph = TaskGraph(tasks)
    found = {one.alias: held for one, held in graph.bottlenecks(limit=99)}
    roots = [node for node in graph.nx if not graph.nx.in_degree(node)]
    for one in tasks:
        rest = graph.nx.subgraph(set(graph.nx) - {one.id})
        reached = {
            to
            for root in roots
            if root != one.id
            for to in [root, *networkx.descendants(rest, root)]
        }
        assert found.get(one.alias, 0) == len(tasks) - 1 - len(reached)


def test_the_graph_as_dot_and_json():
    """Both formats hold every task and edge, whatever the titles."""
    hostile = [
        task("a", title='a "quoted"\n\\ title'),
        task("b", Dependency("t_a", "failure")),
        task("c", "a", condition="a.success", names=["a"]),
    ]
    graph = TaskGraph(hostile)
    dot = graph.to_dot()
    assert dot.count("->") == 2
    assert '"t_a" -> "t_b" [label="on failure"];' in dot
    assert '"t_a" -> "t_c" [label="if a.success"];' in dot
    assert r'label="a \"quoted\"\n\\ title\npending"' in dot
    data = json.loads(graph.to_json())
    assert [one["alias"] for one in data["tasks"]] == ["a", "b", "c"]
    assert [(e["before"], e["after"], e["on"], e["condition"]) for e in data["edges"]] == [
        ("t_a", "t_b", "failure", None),
        ("t_a", "t_c", "success", "a.success"),
    ]


def test_a_notebook_draws_the_graph():
    """In a notebook the graph is shown as a drawing, and as text where no drawing can be shown."""
    graph = TaskGraph([task("a"), task("b", "a")])
    assert graph._repr_mimebundle_() == {
        "text/plain": repr(graph),
        "text/html": graph.to_svg(),
        "text/vnd.mermaid": graph.to_mermaid(),
    }


def test_an_open_recovery_stands_before_the_task_it_repairs(tmp_path):
    """What is blocked waits for its recovery, in the levels and in the drawing; a recovery that has
    ended holds nobody up.
    """
    with vespera.open(tmp_path, store="memory:") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("build")
        orch.execute_task("build").fail("no compiler")
        graph = orch.graph()
        assert [[one.alias for one in level] for level in graph.levels()] == [
            ["recover_build"],
            ["build"],
        ]
        assert [one.alias for one in graph.critical_path()] == ["recover_build", "build"]
        assert '-.->|"repairs"|' in graph.to_mermaid()
        well_formed(graph.to_mermaid())
        orch.complete_task("recover_build", summary="installed one", detailed_work="apt")
        assert not orch.graph().nx.edges

"""The drawing of the task graph in SVG: well-formed, complete, in the notebook's own colours."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from vespera_orchestrator import TaskGraph
from vespera_orchestrator.tasks.graph_layout import Box, Edge, Node, lay_out

SVG = "{http://www.w3.org/2000/svg}"


def drawing(graph, **options):
    """Parse what a graph draws."""
    return ET.fromstring(graph.to_svg(**options))


def texts(svg):
    """Return every text in the drawing."""
    return [element.text for element in svg.iter(f"{SVG}text")]


def planned(*specs):
    """Return the graph of a session with these tasks."""
    with vespera.open(store="memory:") as orch:
        orch.initialize_session("Goal")
        orch.plan_tasks(specs)
        return orch.graph()


def test_every_task_and_every_line_is_there():
    """Each task once, in a row below what comes before it; conditions stand in its box."""
    svg = drawing(
        planned(
            {"title": "Alpha"},
            {"title": "Beta", "dependencies": ["alpha"]},
            {"title": "Gamma", "dependencies": [{"task": "alpha", "on": "failure"}]},
            {"title": "Delta", "dependencies": ["beta", "gamma"]},
        )
    )
    rows = {alias: box.y for alias, box in boxes_of(svg).items()}
    assert rows["alpha"] < rows["beta"] == rows["gamma"] < rows["delta"]
    assert len(list(lines_of(svg))) == 4
    assert "if Alpha fails" in texts(svg)
    assert "○ pending" in texts(svg)


def test_it_follows_the_theme():
    """No colour of its own: lines and letters have the colour of the text around the drawing."""
    svg = planned({"title": "One"}, {"title": "Two", "dependencies": ["one"]}).to_svg()
    assert "currentColor" in svg
    assert "#" not in svg.replace("url(#", "")
    for word in ("rgb", "black", "white", "var("):
        assert word not in svg


def test_it_can_be_read_aloud():
    """It is one picture with a name, and each box has the whole title."""
    long_title = "A title that is much too long for its box, and is shortened there"
    svg = drawing(planned({"title": long_title, "alias": "long"}))
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == "Task graph with 1 task"
    assert next(svg.iter(f"{SVG}title")).text == f"long: {long_title}"
    assert texts(svg)[0].endswith("…")


def test_a_title_forms_no_markup():
    """Texts of others are data."""
    hostile = "<script>alert(1)</script>&\"'"
    svg = planned({"title": hostile, "alias": "a"}).to_svg()
    assert "<script" not in svg
    assert next(ET.fromstring(svg).iter(f"{SVG}title")).text == f"a: {hostile}"


def test_what_is_left_out_is_counted():
    """A large graph shows its open tasks first."""
    graph = planned(*({"title": f"T{number}"} for number in range(5)))
    svg = drawing(graph, limit=2)
    assert len(list(svg.iter(f"{SVG}rect"))) == 2
    assert "… and 3 more tasks" in texts(svg)
    assert TaskGraph([]).to_svg() == "<svg></svg>"


def test_what_no_short_line_shows_is_said_in_words():
    """Conditions and outcomes stand in the box that waits, and so does what is far away."""
    chain = [
        {"title": "T0"},
        *({"title": f"T{n}", "dependencies": [f"t{n - 1}"]} for n in range(1, 7)),
    ]
    needs = ["t0", "t1", "t6", "whole"]
    late = {"title": "Late", "dependencies": needs, "condition": "t6.success"}
    tidy = {"title": "Tidy", "dependencies": [{"task": "t6", "on": "failure"}, "part"]}
    whole = {"title": "Whole", "children": [{"title": "Part"}]}
    svg = drawing(planned(whole, *chain, late, tidy))
    words = texts(svg)
    for note in ("if t6.success", "after Whole, T0 and 1 more", "if T6 fails", "after Part"):
        assert note in words
    assert len(list(lines_of(svg))) == 6 + 2


def test_subtasks_stand_in_the_frame_of_their_parent():
    """The frame says how the parent is, and what it waits for; no line joins them."""
    whole = {"title": "Whole", "dependencies": ["first"], "children": [{"title": "Part"}]}
    graph = planned({"title": "First"}, whole)
    svg = drawing(graph)
    boxes = boxes_of(svg)
    assert contains(boxes["whole"], boxes["part"])
    assert not contains(boxes["whole"], boxes["first"])
    assert "○ pending · after First" in texts(svg)
    assert not list(lines_of(svg))


def test_wide_letters_fit_their_box():
    """A title in Chinese is cut at half the number of letters."""
    svg = drawing(planned({"title": "制" * 40, "alias": "a"}, {"title": "a" * 40}))
    chinese, latin = texts(svg)[0], texts(svg)[2]
    assert 2 * len(chinese) <= len(latin) + 2


# --- the layout --------------------------------------------------------------------


@st.composite
def plans(draw):
    """Draw tasks in nested frames that wait for earlier ones, and these edges."""
    nodes, edges = [], {}
    for number in range(draw(st.integers(1, 16))):
        task = f"t{number}"
        parent = (
            draw(st.none() | st.sampled_from(nodes).map(lambda node: node.id)) if nodes else None
        )
        parent = parent if draw(st.booleans()) else None
        nodes.append(Node(id=task, parent=parent, notes=draw(st.integers(0, 2))))
        for before in draw(st.sets(st.integers(0, number), max_size=3)):
            if before != number:
                edges[before, number] = Edge(before=f"t{before}", after=task)
    return nodes, list(edges.values())


@settings(max_examples=40)
@given(plans())
def test_no_line_runs_behind_a_box(plan):
    """Boxes overlap only as frames do, lines touch none between their ends, and all is shown."""
    nodes, edges = plan
    layout = lay_out(nodes, edges)
    assert set(layout.boxes) == {node.id for node in nodes}
    parents = {node.id: node.parent for node in nodes}
    assert layout.frames == set(parents.values()) - {None}
    for (one, first), (other, second) in itertools.combinations(layout.boxes.items(), 2):
        if one in lineage(other, parents) or other in lineage(one, parents):
            assert contains(first, second) or contains(second, first)
        else:
            assert not overlap(first, second), (one, other)
    simple = [box for task, box in layout.boxes.items() if task not in layout.frames]
    for line in layout.lines:
        for x, y in points_on(line):
            assert not any(is_inside(x, y, box) for box in simple), line
    shown = {line.edge for line in layout.lines} | set(layout.references)
    assert shown == {edge for edge in edges if not is_implied(edge, parents)}
    assert all(box.x >= 0 and box.x + box.width <= layout.width + 0.01 for box in simple)


def lineage(task, parents):
    """Return the tasks that a task is part of."""
    while (task := parents[task]) is not None:
        yield task


def is_implied(edge, parents):
    """Tell whether an edge joins a task and a frame around it."""
    return edge.before in lineage(edge.after, parents) or edge.after in lineage(
        edge.before, parents
    )


def points_on(line):
    """Return points along a line, between its ends."""
    for number, ((x, y), (to_x, to_y)) in enumerate(itertools.pairwise(line.points)):
        for step in range(1, 20):
            share = step / 20
            across = share * share * (3 - 2 * share) if number % 2 == 0 else share
            down = share if number % 2 else 1.5 * share * (1 - share) + share**3
            yield x + (to_x - x) * across, y + (to_y - y) * down


def is_inside(x, y, box):
    """Tell whether a point is within a box, not on its border."""
    return box.x < x < box.x + box.width and box.y < y < box.y + box.height


def overlap(first, second):
    """Tell whether two boxes have a point in common."""
    return (
        first.x < second.x + second.width
        and second.x < first.x + first.width
        and first.y < second.y + second.height
        and second.y < first.y + first.height
    )


def contains(outer, inner):
    """Tell whether a box is within another one."""
    return (
        outer.x < inner.x
        and inner.x + inner.width < outer.x + outer.width
        and outer.y < inner.y
        and inner.y + inner.height < outer.y + outer.height
    )


def boxes_of(svg):
    """Return each task's box, by alias."""
    boxes = {}
    for group in svg.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        sides = {side: float(rect.get(side)) for side in ("x", "y", "width", "height")}
        boxes[group.find(f"{SVG}title").text.split(":")[0]] = Box(**sides)
    return boxes


def lines_of(svg):
    """Return every line."""
    return (path for path in svg.iter(f"{SVG}path") if path.get("marker-end"))

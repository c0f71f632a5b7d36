"""The drawing of the task graph in SVG: well-formed, complete, in the notebook's own colours."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree as ET

import vespera_orchestrator as vespera
from vespera_orchestrator import TaskGraph

GAP = r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h-"
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
    """Each task once, in a row below what comes before it; conditions stand at their line."""
    svg = drawing(
        planned(
            {"title": "Alpha"},
            {"title": "Beta", "dependencies": ["alpha"]},
            {"title": "Gamma", "dependencies": [{"task": "alpha", "on": "failure"}]},
            {"title": "Delta", "dependencies": ["beta", "gamma"]},
        )
    )
    boxes = {}
    for group in svg.iter(f"{SVG}g"):
        rect = group.find(f"{SVG}rect")
        boxes[group.find(f"{SVG}title").text.split(":")[0]] = rect
    rows = {alias: float(box.get("y")) for alias, box in boxes.items()}
    assert rows["alpha"] < rows["beta"] == rows["gamma"] < rows["delta"]
    paths = [path for path in svg.iter(f"{SVG}path") if path.get("marker-end")]
    assert len(paths) == 4
    assert "on failure" in texts(svg)
    assert "○ pending" in texts(svg)
    places = {(box.get("x"), box.get("y")) for box in boxes.values()}
    assert len(places) == 4


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
    assert svg.get("aria-label") == "Task graph with 1 tasks"
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


def test_a_label_stands_on_a_gap_in_the_lines():
    """Nothing is drawn under the words, and they cover no box and no other label."""
    specs = [{"title": f"Source {number}"} for number in range(4)]
    needs = [{"task": f"source_{number}", "on": "failure"} for number in range(4)]
    specs.append({"title": "Sink", "dependencies": needs})
    specs.append({"title": "Late", "dependencies": ["sink", {"task": "source_0", "on": "done"}]})
    svg = drawing(planned(*specs))
    lines = [path for path in svg.iter(f"{SVG}path") if path.get("marker-end")]
    (clip,) = svg.iter(f"{SVG}clipPath")
    assert {line.get("clip-path") for line in lines} == {f"url(#{clip.get('id')})"}
    gaps = [tuple(map(float, gap)) for gap in re.findall(GAP, clip[0].get("d"))]
    words = [text for text in svg.iter(f"{SVG}text") if text.get("font-size") == "10"]
    assert len(gaps) == len(words) == 5
    for (x, y, width, height), text in zip(gaps, words, strict=True):
        assert float(text.get("x")) == x + width / 2
        assert y < float(text.get("y")) < y + height
    boxes = [
        tuple(float(box.get(side)) for side in ("x", "y", "width", "height"))
        for box in svg.iter(f"{SVG}rect")
    ]
    areas = [*gaps, *boxes]
    for first, second in itertools.combinations(areas, 2):
        assert not overlap(first, second), (first, second)


def overlap(first, second):
    """Tell whether two rectangles have a point in common."""
    return all(
        first[side] < second[side] + second[side + 2]
        and second[side] < first[side] + first[side + 2]
        for side in (0, 1)
    )

"""The classes of the library behave as those that attrs makes by itself."""

import ast
import copy
import pickle

import attrs
import pytest

from support import ROOT
from vespera_orchestrator import _attrs as ours

PACKAGE = ROOT / "src" / "vespera_orchestrator"


def _point(library, **options):
    @library.define(**options)
    class Point:
        x: int
        names: list = library.field(factory=list)
        _seen: int = library.field(default=0, eq=False)
        draw: object = library.field(default=None, repr=False)

    return Point


PAIRS = [((1,), {}), ((2,), {}), ((1,), {"names": ["a"]}), ((1,), {"seen": 7, "draw": print})]


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"slots": False}, {"repr": False}])
def test_objects_are_shown_and_compared_as_by_attrs(options):
    """All of their fields, but for those that say otherwise; and never with another class."""
    mine, theirs = _point(ours, **options), _point(attrs, **options)
    if options.get("repr", True):
        shown = [repr(mine(*args, **named)) for args, named in PAIRS]
        assert shown == [repr(theirs(*args, **named)) for args, named in PAIRS]
    for args, named in PAIRS:
        same = [mine(*args, **named) == mine(*a, **n) for a, n in PAIRS]
        assert same == [theirs(*args, **named) == theirs(*a, **n) for a, n in PAIRS]
    assert mine(1) != theirs(1)
    assert (mine.__hash__ is None) is (theirs.__hash__ is None)


def test_what_is_frozen_is_hashed_by_what_is_compared():
    """Equal objects are one key; a value that cannot be hashed is refused."""
    assert len({Pair(left=1, right=2), Pair(left=1, right=2), Pair(left=2, right=1)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Pair(left=[], right=2))
    assert pickle.loads(pickle.dumps(Pair(left=1, right=2))) == copy.copy(Pair(left=1, right=2))


@ours.frozen(kw_only=True)
class Pair:
    left: object
    right: object


@ours.frozen
class Nothing:
    pass


@ours.define
class Own:
    x: int

    def __eq__(self, other):
        return True

    __hash__ = None

    def __repr__(self):
        return "mine"


def test_what_a_class_writes_itself_stays():
    """And one without fields is equal to its like; one that holds itself can be shown."""
    assert (Own(1) == Own(2), repr(Own(1))) == (True, "mine")
    assert (Nothing() == Nothing(), repr(Nothing())) == (True, "Nothing()")
    loop = _point(ours)(1)
    loop.names.append(loop)
    assert "names=[...]" in repr(loop)


def test_every_module_uses_it():
    """One that imports attrs itself would compile again what is written here once."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module]
            assert "attrs" not in modules or file.name == "_attrs.py", file

"""Running a notebook without Jupyter."""

from __future__ import annotations

RUN = """
import ast, json, sys
import pathlib
cells = json.loads(pathlib.Path(sys.argv[1]).read_text("utf-8"))["cells"]
cells = [cell for cell in cells if cell["cell_type"] == "code"]
space = {}
for cell in cells:
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), space)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), space)
        assert " object at 0x" not in repr(value), repr(value)
        if value is not None:
            print(repr(value))
"""
"""A program: it runs the cells of the notebook that it is given, and prints what each shows."""

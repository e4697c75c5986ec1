"""Every promise names a test that there is."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "promises.md").read_text("utf-8")


def test_every_promise_names_a_test():
    rows = [
        line
        for line in PAGE.splitlines()
        if line.startswith("|") and not line.startswith(("|--", "| promise"))
    ]
    assert rows
    assert [row for row in rows if not re.search(r"`test_\w+\.py::test_\w+`", row)] == []


def test_every_test_that_is_named_is_there():
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE))
    there = {
        (path.name, node.name)
        for path in HERE.glob("test_*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert named <= there, named - there

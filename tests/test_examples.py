"""Every public name has a docstring with an example, and every example, in the README and docs too, runs."""

import doctest
import inspect
import re
from pathlib import Path

import pytest

import triconv

ROOT = Path(__file__).parents[1]


def public_objects():
    """Every public name and, of classes, every public member that is defined there."""
    for name in triconv.__all__:
        value = getattr(triconv, name)
        yield name, value
        if inspect.isclass(value):
            for member, function in vars(value).items():
                if not member.startswith("_") and callable(function):
                    yield f"{name}.{member}", function


OBJECTS = dict(public_objects())
HELPED = OBJECTS | {f"plot.{name}": getattr(triconv.plot, name) for name in triconv.plot.__all__}
del HELPED["plot"]
MADE = {"ConvPlan": (), "Comparison": ()}  # by functions, not by their constructors


@pytest.fixture(autouse=True)
def as_before(tmp_path, monkeypatch):
    """An example may write files, and set the number of threads."""
    monkeypatch.chdir(tmp_path)
    threads = triconv.get_num_threads()
    yield
    triconv.set_num_threads(threads)


@pytest.mark.parametrize("name", OBJECTS)
def test_docstring_has_an_example_that_runs(name):
    examples = doctest.DocTestFinder(recurse=False).find(OBJECTS[name], name, globs={})
    assert sum(len(test.examples) for test in examples) > 0, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples:
        skipped = [e.source for e in test.examples if doctest.SKIP in e.options]
        assert not skipped, f"{name} skips {skipped}"
        assert runner.run(test).failed == 0


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = {
    page.relative_to(ROOT).as_posix(): re.findall(
        r"^```(?:python|pycon)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    for page in PAGES
}


@pytest.mark.parametrize("name", [name for name, blocks in BLOCKS.items() if blocks])
def test_page_python_runs(name):
    """All blocks in one namespace, in order, as a reader would type them."""
    namespace = {}
    for block in BLOCKS[name]:
        if ">>>" in block:
            test = doctest.DocTestParser().get_doctest(block, namespace, name, name, 0)
            runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
            assert runner.run(test, clear_globs=False).failed == 0
            namespace.update(test.globs)
        else:
            exec(compile(block, name, "exec"), namespace)


@pytest.mark.parametrize("name", triconv.__all__)
def test_reference_has_every_public_name(name):
    reference = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    assert re.search(rf"^\.\. auto\w+:: (triconv\.)?{name}$", reference, re.MULTILINE)


@pytest.mark.cheap
@pytest.mark.parametrize("name", HELPED)
def test_help_needs_no_other_page(name):
    """Every argument is described where it is taken, by a text that is there."""
    text = inspect.getdoc(HELPED[name])
    assert "%(" not in text
    assert not re.search(r"\bAs (in |for )?`", text)
    for argument in MADE.get(name, inspect.signature(HELPED[name]).parameters):
        if argument != "self":
            named = rf"^(\*\*)?([\w, ]+, )?{argument}(, [\w, ]+)?( :|$)"
            assert re.search(named, text, re.MULTILINE), argument

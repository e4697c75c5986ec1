"""Every notebook runs from top to bottom, and is kept as it ran."""

import json
import re
import sys
import time
from pathlib import Path

import pytest

import triconv
from triconv.runtime import cache

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SECONDS = 120  # for a notebook
LARGEST = 600_000  # bytes
EXPLORERS = ("01_one_convolution_three_ways", "02_strides_and_paddings")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """The name of a kernel that is this interpreter, and an empty home for it."""
    pytest.importorskip("ipykernel", reason="the extra `test` brings ipykernel, which runs notebooks")
    folder = tmp_path / "jupyter" / "kernels" / "here"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "here", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))

    monkeypatch.setenv("TRICONV_CACHE_DIR", str(cache.folder().resolve()))  # else it compiles all again
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("IPYTHONDIR", "MPLBACKEND", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("PYTHONPATH", str(Path(triconv.__file__).parents[1]))
    return "here"


def read(path):
    nbformat = pytest.importorskip(
        "nbformat", reason="the extra `test` brings nbclient, which brings nbformat"
    )
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text(cell):
    return "".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs
    )


def truths(cell):
    """What a cell says of equality, which is the same on every machine."""
    return re.findall(r"\b(?:True|False)\b", text(cell))


def test_there_are_notebooks_in_order():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.filterwarnings("default")  # Jupyter's own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom_and_finds_what_it_says(path, kernel, tmp_path):
    nbclient = pytest.importorskip(
        "nbclient", reason="the extra `test` brings nbclient, which runs notebooks"
    )
    notebook, kept = read(path), read(path)
    where = {"metadata": {"path": str(tmp_path)}}
    start = time.perf_counter()
    nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name=kernel, resources=where).execute()
    assert time.perf_counter() - start < SECONDS
    assert [truths(cell) for cell in code(notebook)] == [truths(cell) for cell in code(kept)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_executed_and_small(path):
    notebook = read(path)
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < LARGEST
    assert "widgets" not in notebook.metadata
    for cell in code(notebook):
        assert not [output for output in cell.outputs if output.get("name") == "stderr"]
        assert not re.search(r"/home/|/root/|/tmp/| at 0x", text(cell))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_opens_with_what_you_will_see_and_need(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# .*\*\*You will see\*\*.*\*\*You need\*\*", first.source, re.DOTALL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_widget_has_its_picture_below(path):
    cells = code(read(path))
    shown = [[kind for output in cell.outputs for kind in output.get("data", {})] for cell in cells]
    widgets = [n for n, kinds in enumerate(shown) if "application/vnd.jupyter.widget-view+json" in kinds]
    assert bool(widgets) == (path.stem in EXPLORERS)
    assert all("image/png" in shown[n + 1] for n in widgets)

"""Every notebook runs from top to bottom."""

import json
import sys
from pathlib import Path

import pytest

import triconv
from triconv.runtime import cache

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SECONDS = 120  # for a cell


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


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.filterwarnings("default")  # Jupyter's own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, kernel, tmp_path):
    nbclient = pytest.importorskip(
        "nbclient", reason="the extra `test` brings nbclient, which runs notebooks"
    )
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name=kernel, resources=where).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_executed_and_small(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert path.stat().st_size < 600_000

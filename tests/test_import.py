"""What importing the package does, and what it must not do; each in a process of its own."""

import sys
import warnings
from pathlib import Path

import pytest
from processes import run

import triconv

pytestmark = pytest.mark.processes

PUBLIC = {
    *("conv2d", "im2col", "pad", "flatten_weight", "conv_matrix", "ConvGeometry"),
    *("conv2d_input_grad", "conv2d_weight_grad", "conv_transpose2d", "col2im"),
    *("ConvOperator", "Conv2d"),
    *("plan", "ConvPlan", "compare", "Comparison"),
    *("set_num_threads", "get_num_threads", "threads", "warmup", "plot", "explore"),
}


def loaded_beyond_numba(code):
    """Which of the packages that are slow to import `code` loads, or loads more of."""
    slow = {"scipy", "matplotlib", "PIL", "rich", "pandas", "IPython", "ipywidgets", "anywidget"}
    names = run(f"import numba\nbefore = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))")
    return slow & {name.partition(".")[0] for name in names}


def test_import_loads_nothing_that_is_rarely_needed():
    """Numba imports the bare package scipy itself, so what counts is what comes on top of Numba."""
    assert loaded_beyond_numba("import triconv") == set()


def test_a_convolution_loads_no_sparse_matrices():
    """Compiling makes Numba load scipy.linalg, and that, in some releases, sparse matrices."""
    loaded = "print('scipy.sparse' in sys.modules)"
    code = "import triconv; triconv.conv2d([[1.0, 2.0]], [[3.0]])"
    assert run(f"{code}; {loaded}") == run(f"import scipy.linalg; {loaded}")


def test_a_matrix_loads_scipy_sparse():
    code = "import triconv; triconv.conv_matrix([[3.0]], (1, 2))"
    assert loaded_beyond_numba(code) == {"scipy"}


def test_import_compiles_nothing_and_starts_no_threads():
    code = """
import os, threading
import numba, numpy
from numba.core import event
def tasks():
    return len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 0
before = tasks()  # NumPy's BLAS has started its own
with event.install_recorder("numba:compile") as recorder:
    import triconv
print(len(recorder.buffer), threading.active_count(), tasks() - before)
try:
    print(numba.threading_layer())
except ValueError:
    print("none")
"""
    assert run(code) == ["0", "1", "0", "none"]


def test_import_changes_no_setting():
    code = """
import gc, locale, logging, multiprocessing, os, random, signal, sys, threading, warnings
import numba, numpy
def state():
    config = {name: getattr(numba.config, name) for name in dir(numba.config) if name.isupper()}
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    count = numba.get_num_threads()
    return (
        dict(os.environ), config, count, handlers, list(warnings.filters),
        numpy.geterr(), numpy.get_printoptions(), list(logging.getLogger().handlers), os.getcwd(),
        locale.setlocale(locale.LC_ALL), multiprocessing.get_start_method(allow_none=True),
        sys.getrecursionlimit(), sys.getswitchinterval(), sys.excepthook, threading.excepthook,
        threading.stack_size(), gc.isenabled(), random.getstate(), numpy.random.get_state()[1].tolist(),
    )
before = state()
import triconv
after = state()
print(*[n for n, pair in enumerate(zip(before, after)) if pair[0] != pair[1]])
"""
    assert run(code) == []


def test_import_writes_nothing(tmp_path):
    assert run("import triconv", TRICONV_CACHE_DIR=str(tmp_path), HOME=str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_public_names_are_the_documented_ones():
    assert set(triconv.__all__) == PUBLIC
    assert len(triconv.__all__) == len(PUBLIC)
    for name in PUBLIC:
        assert getattr(triconv, name) is not None
    assert set(dir(triconv)) >= PUBLIC
    modules = {name for name in vars(triconv) if name.startswith("_") or f"triconv.{name}" in sys.modules}
    assert set(vars(triconv)) - modules <= PUBLIC


def test_public_objects_name_their_public_home():
    for name in triconv.__all__:
        assert getattr(triconv, name).__name__.rpartition(".")[2] == name


def test_an_unknown_name_is_an_attribute_error():
    code = """
import triconv
try:
    triconv.conv3d
except AttributeError as error:
    print(error)
"""
    assert run(code) == ["module", "'triconv'", "has", "no", "attribute", "'conv3d'"]


def test_typed():
    assert (Path(triconv.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("kind", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
def test_what_is_to_change_is_an_error_where_the_package_runs_into_it(kind):
    """And nowhere else; other warnings are errors everywhere. So the settings of these tests say."""
    for module in ("numpy", "matplotlib.figure", __name__):
        warnings.warn_explicit("will change", kind, "file.py", 1, module)
    with pytest.raises(kind):
        warnings.warn_explicit("will change", kind, "file.py", 1, "triconv.convolution")
    with pytest.raises(UserWarning):
        warnings.warn_explicit("odd", UserWarning, "file.py", 1, "numpy")

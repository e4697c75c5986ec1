"""Numbas that lack a part which none promises: results are right, and ``triconv info`` says what is lost."""

import numba
import pytest
from processes import run

from triconv.runtime import internals

pytestmark = pytest.mark.processes

# A Numba that calls a part otherwise: whatever is imported of it is read with another word.
RENAMED = """
import importlib.machinery, re
as_it_is = importlib.machinery.SourceFileLoader.get_code
def get_code(loader, module):
    if module.partition(".")[0] != "numba":
        return as_it_is(loader, module)
    source = re.sub({old!r}, {new!r}, loader.get_source(module))
    return compile(source, loader.path, "exec", dont_inherit=True)
importlib.machinery.SourceFileLoader.get_code = get_code
"""
WORK = """
import os, numpy, triconv
from triconv.cli import main
from triconv.runtime import jit, threads
from triconv.kernels.addresses import claim
def fill(worker, y, counters, workers):
    task = claim(counters, 0)
    while task < y.size:
        y[task] += task
        task = claim(counters, 0)
kernel, y = jit.Kernel("fill", fill, jit.writes(numpy.dtype("f8"))), numpy.zeros(99)
for workers in (1, 2):
    kernel(workers, y)
files = os.listdir(os.environ["TRICONV_CACHE_DIR"])
print((y == 2 * numpy.arange(99)).all(), len(files), "launch" in vars(kernel))
child = os.fork() if hasattr(os, "fork") else 0
if child == 0:
    kernel(2, y)
    os._exit(int((y == 3 * numpy.arange(99)).all()) + threads._inherited)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
main(["info"])
"""
OTHERS = {"dumps": r"(?<!pickle\.)\bdumps\b"}


def without(path):
    """Code after which Numba has the last part of a path no more."""
    name = path.replace(":", ".").rpartition(".")[2]
    return RENAMED.format(old=OTHERS.get(name, rf"\b{name}\b"), new=f"{name}_of_late")


def state(folder):
    """What tells whether anything was written."""
    return {file.name: (file.stat().st_mtime_ns, file.stat().st_ino) for file in folder.iterdir()}


def printed(folder, before=""):
    """Whether the work is right, how much is kept, how it was shared, and what `info` says of both."""
    words = " ".join(run(before + WORK, TRICONV_CACHE_DIR=str(folder), NUMBA_NUM_THREADS="2"))
    start, _, rest = words.partition(" triconv ")
    _, _, rest = rest.partition(" threads ")
    threads, _, cache = rest.partition(" cache ")
    return start.split(), threads.partition("; ")[2], cache.partition("; ")[2]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder with what a process has kept that lacks nothing."""
    folder = tmp_path_factory.mktemp("kernels")
    assert printed(folder) == printed(folder) == (["True", "2", "True", "2"], "", "")
    return folder


@pytest.mark.parametrize("path", internals.KEEPING)
def test_without_what_keeps_kernels_each_process_compiles(path, filled):
    """And leaves alone what others have kept, whose symbols could be those of its own."""
    before = state(filled)
    right, threads, cache = printed(filled, without(path))
    assert right == ["True", "2", "True", "2"]
    assert threads == ""
    assert cache == f"Numba {numba.__version__} lacks {path.partition(':')[2]}: each process compiles its own"
    assert state(filled) == before


@pytest.mark.parametrize("path", internals.LAUNCHING)
def test_without_what_calls_by_address_other_threads_share(path, filled):
    right, threads, cache = printed(filled, without(path))
    assert right == ["True", "2", "False", "1"]
    lost = f"Numba {numba.__version__} lacks {path.partition(':')[2]}"
    assert threads == f"{lost}: threads of triconv's own take their place"
    assert cache == ""


@pytest.mark.parametrize("path", internals.FORKING)
def test_without_what_tells_of_threads_forked_children_have_one(path, filled):
    right, threads, cache = printed(filled, without(path))
    assert right == ["True", "2", "True", "2"]
    assert threads == f"Numba {numba.__version__} lacks {path.partition(':')[2]}: a forked child has one"
    assert cache == ""


def test_kernels_that_bear_other_numbers_are_not_kept(tmp_path):
    """Where Numba has the part and no longer heeds it."""
    tmp_path.chmod(0o700)
    others = 'next(globals().setdefault("_others", itertools.count(1)))'
    before = RENAMED.format(old=r"next\(cls\._unique_ids\)", new=others)
    assert printed(tmp_path, before) == (["True", "0", "True", "2"], "", "")


# --- Where Numba is told to compile nothing ----------------------------------------------------------

EVERY = """
import numba, numpy as np, triconv
if LATER:
    numba.config.DISABLE_JIT = True
from calls import alone, every_call
for digest in alone(every_call(("small",))).values():
    print(digest)
x, weight = np.ones((5, 6, 2)), np.ones((3, 2, 2, 2))
triconv.warmup()
layer = triconv.Conv2d(2, 3, 2, dtype=float, rng=0)
operator = triconv.ConvOperator(weight, x.shape)
print(triconv.compare(x, weight, repeat=1).error_bound, layer.backward(layer(x)).sum())
print(operator.norm(), operator.norm_bound(), *operator.svdvals(2), triconv.flatten_weight(weight).sum())
with triconv.threads(triconv.get_num_threads()):
    print(triconv.conv2d(np.ones((99, 99, 8)), np.ones((8, 3, 3, 8))).sum())
"""


@pytest.mark.slow
@pytest.mark.parametrize("later", [False, True])
def test_kernels_are_compiled_even_where_other_functions_are_not(later):
    """``NUMBA_DISABLE_JIT`` is for one's own functions, and for them it holds."""
    code = EVERY.replace("LATER", str(later))
    expected = run(code.replace("numba.config.DISABLE_JIT = True", "pass"), 600, NUMBA_DISABLE_JIT=None)
    own = "print(type(numba.njit(lambda: None)).__name__, numba.njit(lambda: 1)())"
    assert len(expected) > 30
    words = run(code + own, 600, NUMBA_DISABLE_JIT=None if later else "1")
    assert words == [*expected, "function", "1"]

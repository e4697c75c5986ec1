"""Thread counts belong to the calling thread, Numba's own count is left alone, and any thread may call."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata

import numba
import numpy as np
import pytest
from processes import run
from strategies import METHODS, SIZES

from triconv import conv2d, conv_matrix, get_num_threads, plan, set_num_threads, threads
from triconv.runtime.threads import share

pytestmark = pytest.mark.processes

MOST = numba.config.NUMBA_NUM_THREADS
several = pytest.mark.skipif(MOST < 2, reason="needs two threads; this machine or its settings allow one")


@pytest.fixture(autouse=True)
def counts_as_before():
    ours, numbas = get_num_threads(), numba.get_num_threads()
    yield
    set_num_threads(ours)
    numba.set_num_threads(numbas)


def elsewhere(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_numbas_count_is_the_default():
    assert elsewhere(get_num_threads) == MOST


@several
def test_numbas_own_count_is_followed():
    def count():
        numba.set_num_threads(1)
        return get_num_threads()

    assert elsewhere(count) == 1


@several
def test_set_for_the_calling_thread_alone():
    set_num_threads(1)
    assert get_num_threads() == 1
    assert elsewhere(get_num_threads) == MOST
    elsewhere(lambda: set_num_threads(2))
    assert get_num_threads() == 1


@several
def test_the_context_puts_the_count_back():
    set_num_threads(2)
    with threads(1):
        assert get_num_threads() == 1
        with threads(2):
            assert get_num_threads() == 2
        assert get_num_threads() == 1
        assert elsewhere(get_num_threads) == MOST
    assert get_num_threads() == 2


@several
def test_the_context_puts_the_count_back_after_an_exception():
    set_num_threads(2)
    with pytest.raises(KeyError), threads(1):
        raise KeyError
    assert get_num_threads() == 2
    with pytest.raises(ValueError, match="kernel"), threads(1):
        conv2d(np.ones((2, 2)), np.ones((3, 3)))
    assert get_num_threads() == 2


@several
def test_a_default_that_was_never_set_stays_a_default():
    """After the context the count follows Numba's again, and is not frozen to what it was."""

    def count():
        with threads(1):
            pass
        numba.set_num_threads(1)
        first = get_num_threads()
        numba.set_num_threads(2)
        return first, get_num_threads()

    assert elsewhere(count) == (1, 2)


@several
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ours", [1, 2])
@pytest.mark.parametrize("numbas", [1, 2])
def test_numbas_count_is_the_same_after_each_call(numbas, ours, method):
    numba.set_num_threads(numbas)
    x, weight, _ = replace(SIZES["large"], batch=None).integers()
    with threads(ours):
        conv2d(x, weight, method=method)
        assert numba.get_num_threads() == numbas
        conv_matrix(weight, x.shape)
        assert numba.get_num_threads() == numbas
        plan(weight, x.shape, method=method)(x)
        assert numba.get_num_threads() == numbas
        with pytest.raises(ValueError, match="out"):
            conv2d(x, weight, method=method, out=np.empty((1, 1), x.dtype))
        assert numba.get_num_threads() == numbas
        assert get_num_threads() == ours
    assert numba.get_num_threads() == numbas


@pytest.mark.parametrize("function", [set_num_threads, threads])
@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1, ValueError), (MOST + 1, ValueError), (2**70, ValueError)]
    + [(value, TypeError) for value in (True, 1.0, "1", None, [1], np.array([1]))],
)
def test_bad_counts_are_refused_and_change_nothing(function, value, error):
    before = get_num_threads()
    with pytest.raises(error, match=rf"^{function.__name__}: n "), function(value):
        pass
    assert get_num_threads() == before


@pytest.mark.parametrize("value", [1, np.int8(1), np.uint64(1)])
def test_any_int_is_a_count(value):
    set_num_threads(value)
    assert get_num_threads() == 1
    assert type(get_num_threads()) is int


# --- Many threads at once ----------------------------------------------------------------------------


def layer(name):
    """The environment that chooses one of Numba's threading layers, None for its own choice."""
    if name is None:
        return {"NUMBA_THREADING_LAYER": None}
    if name == "tbb":
        try:
            [library, *_] = [file for file in metadata.files("tbb") or () if file.match("libtbb.so.*")]
        except (metadata.PackageNotFoundError, ValueError):
            pytest.skip("the layer tbb needs the package tbb, which is not installed")
        folder = str(library.locate().resolve().parent)
        return {"NUMBA_THREADING_LAYER": "tbb", "LD_LIBRARY_PATH": folder}
    if name == "omp" and sys.platform == "darwin":
        pytest.skip("the layer omp needs an OpenMP library, which this system lacks")
    return {"NUMBA_THREADING_LAYER": name}


@pytest.mark.long
@pytest.mark.parametrize("name", [None, "omp", "tbb", "workqueue"])
def test_64_threads_give_the_bits_of_one(name, fuzz):
    """Every function by every method, beside a caller's own parallel kernel, which one thread runs.

    Numba's layer ``workqueue`` ends the process where two threads run a parallel kernel at once.
    """
    seconds = 60 if fuzz else 3
    code = f"""
import faulthandler, threading
import numba, numpy as np
from calls import MIXED, alone, every_call, together

@numba.njit(parallel=True, nogil=True)
def own(a):
    total = 0
    for i in numba.prange(a.size):
        total += a[i]
    return total

made = every_call(MIXED)
expected = alone(made)
ended, sums = threading.Event(), []

def beside():
    while not ended.is_set():
        sums.append(own(numbers))

numbers = np.arange(1_000_000)
own(numbers)
faulthandler.dump_traceback_later({seconds + 60}, exit=True)
user = threading.Thread(target=beside)
user.start()
wrong = together(made, expected, 64, {seconds})
ended.set()
user.join()
print(len(wrong), set(sums) == {{499999500000}}, numba.threading_layer())
print(*wrong[:5])
"""
    words = run(code, timeout=seconds + 500, NUMBA_NUM_THREADS="4", **layer(name))
    assert words[:2] == ["0", "True"], words
    assert name in (None, words[2])


SCHEDULERS = {
    "dask, threaded": """
import dask
with dask.config.set(scheduler="threads", num_workers=8):
    results = dask.compute(*[dask.delayed(bits_of, pure=False)(key) for key in keys])
""",
    **{
        f"joblib, {backend}": f"""
from joblib import Parallel, delayed
results = Parallel(n_jobs=3, backend="{backend}")(delayed(bits_of)(key) for key in keys)
"""
        for backend in ("threading", "loky", "multiprocessing")
    },
}


@pytest.mark.parametrize(
    ("name", "layers"),
    [(name, None) for name in SCHEDULERS]
    + [(name, "workqueue") for name in ("dask, threaded", "joblib, threading")],
)
def test_inside_other_schedulers(name, layers):
    """After use in the parent, in whose threads and processes the same calls give the same bits."""
    pytest.importorskip(name.partition(",")[0])
    code = """
from calls import alone, bits_of, every_call
if __name__ == "__main__":
    made = every_call(("small", "channels"))
    expected = alone(made)
    keys = list(made)
"""
    code += "".join(f"    {line}\n" for line in SCHEDULERS[name].splitlines())
    code += "    print(len(made) > 50, list(results) == list(expected.values()))"
    assert run(code, timeout=500, **layer(layers)) == ["True", "True"]


CORES = os.cpu_count() or 1


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", [None, "workqueue"])
def test_a_count_is_the_cores_that_are_busy(name, n):
    """Time of the processor over that on the clock, after a call by all threads that there are.

    One thread is the caller's own, so that its time is the whole process's, however busy the machine is.
    """
    if n >= CORES or n > MOST:
        pytest.skip(f"{n} threads can keep all {CORES} cores busy, or are not to be had")
    code = f"""
import time
from concurrent.futures import ThreadPoolExecutor
import numpy as np, triconv
x, weight = np.ones((750, 750, 64), "float32"), np.ones((33, 3, 3, 64), "float32")
small, grad = x[:200, :200], np.ones((198, 198, 33), "float32")
def work():
    triconv.conv2d(x, weight, method="direct")  # so long that it runs in a thread of its own
    triconv.conv2d(small, weight, method="im2col")
    triconv.conv2d(x[:30, :30], weight, method="matrix")
    triconv.conv2d_input_grad(grad, weight, small.shape)
    triconv.conv2d_weight_grad(grad, small, 3)
work()
def busy(clock):
    with triconv.threads({n}):
        start, cores = clock(), time.process_time()
        work()
        return (time.process_time() - cores) / (clock() - start)
print(busy(time.perf_counter))
with ThreadPoolExecutor(1) as pool:
    print(pool.submit(busy, time.thread_time).result())
"""
    busy, others = map(float, run(code, timeout=500, **layer(name)))
    assert busy <= 1.15 * n
    if n == 1:
        assert others <= 1.15


LARGE = """
import multiprocessing, numba, numpy, triconv
x, weight = numpy.ones((99, 99, 8)), numpy.ones((40, 3, 3, 8))
expected = triconv.conv2d(x, weight)
def right(method):
    return all((triconv.conv2d(x, weight, method=method) == expected).all() for _ in range(10))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_finishes():
    """It cannot use the threads that its parent started."""
    code = """
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(all(pool.map(right, ["direct", "im2col"])))
"""
    assert run(LARGE + code) == ["True"]


@several
def test_a_count_set_before_anything_ran():
    """Numba's layer has no name before it starts, and nothing may ask for one."""
    code = """
import numpy as np, triconv
triconv.set_num_threads(2)
y = triconv.conv2d(np.ones((64, 64, 16)), np.ones((16, 3, 3, 16)))
print((y == 144).all())
"""
    assert run(code) == ["True"]


def test_where_no_thread_can_be_started_the_caller_works_alone(monkeypatch):
    """Whoever works takes tasks until none are left."""
    tasks, done = list(range(9)), []

    def work(worker):
        while tasks:
            done.append((worker, tasks.pop(0)))

    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    share(4, work)
    assert done == [(0, task) for task in range(9)]

"""Thread counts belong to the calling thread, and Numba's own count is left alone."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numba
import numpy as np
import pytest
from processes import run
from strategies import METHODS, SIZES

from triconv import conv2d, conv_matrix, get_num_threads, plan, set_num_threads, threads

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


LARGE = """
import multiprocessing, numba, numpy, triconv
x, weight = numpy.ones((99, 99, 8)), numpy.ones((40, 3, 3, 8))
expected = triconv.conv2d(x, weight)
def right(method):
    return all((triconv.conv2d(x, weight, method=method) == expected).all() for _ in range(10))
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_many_threads_at_once(layer):
    """Numba's own layer ends the process where two threads run a parallel kernel at once."""
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    print(all(pool.map(right, ["direct", "im2col"] * 8)), numba.threading_layer())
"""
    assert run(LARGE + code, NUMBA_THREADING_LAYER=layer) == ["True", layer]


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

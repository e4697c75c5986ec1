"""Kernels read and write nothing outside their arrays: memory beside these is taken away."""

import ctypes
import mmap
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from strategies import METHODS, SIZES, Problem

from triconv import get_num_threads, plan, threads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="takes memory away by mprotect")

PAGE = mmap.PAGESIZE
NONE, BOTH = 0, mmap.PROT_READ | mmap.PROT_WRITE
SHORT = {
    "fewer rows than a tile": Problem((4, 360), (5, 5), padding=((2, 2), (0, 0))),
    "fewer rows, several channels": Problem((5, 164), (5, 5), 2, 2, padding=((0, 0), (1, 0)), groups=2),
    "channels that fill no vector": Problem((9, 58), (3, 3), 40, 40, padding=((0, 0), (1, 0)), groups=40),
}
PROBLEMS = SHORT | {name: replace(problem, batch=None) for name, problem in SIZES.items()}


class Guarded:
    """A copy of an array that begins, or ends, where memory does; to be closed."""

    def __init__(self, array, *, at_end):
        size = -(-array.nbytes // PAGE) * PAGE
        self.memory = mmap.mmap(-1, size + 2 * PAGE)
        start = PAGE + (size - array.nbytes if at_end else 0)
        self.array = np.ndarray(array.shape, array.dtype, self.memory, start)
        self.array[...] = array
        self.ends = [self.array.ctypes.data - start, self.array.ctypes.data - start + PAGE + size]
        self.protect(NONE)

    def protect(self, how):
        for end in self.ends:
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(end), ctypes.c_size_t(PAGE), how) == 0

    def __enter__(self):
        return self.array

    def __exit__(self, *_):
        self.protect(BOTH)


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("method", METHODS[:3])
@pytest.mark.parametrize("name", PROBLEMS)
def test_nothing_outside_is_touched(name, method, at_end):
    problem = PROBLEMS[name]
    x, weight, bias = problem.integers()
    expected = plan(weight, problem.x_shape, bias, method="matrix", **problem.keywords)(x)
    made = plan(weight, problem.x_shape, bias, method=method, **problem.keywords)
    x = x.astype(expected.dtype)
    with Guarded(x, at_end=at_end) as inside, Guarded(np.empty_like(expected), at_end=at_end) as out:
        for count in sorted({1, get_num_threads()}):
            with threads(count):
                assert_array_equal(made(inside, out), expected)

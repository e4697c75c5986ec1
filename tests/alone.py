"""What kernels are made of, called by itself, and memory for it: small integers, and what none may touch."""

from functools import cache

import numba
import numpy as np
from numba import types

from triconv.runtime.jit import Kernel

UNTOUCHED = 77  # more than what any array of `integers` holds


@cache
def _kernel(name, function, signature):
    def call(worker, arguments, counters, workers):
        function(*arguments)

    return Kernel(f"alone_{name}", call, types.Tuple(signature))


def alone(name, function, *arguments):
    """Call what kernels call; ``name`` tells it from all others, since it is kept as a kernel is."""
    _kernel(name, function, tuple(map(numba.typeof, arguments)))(1, arguments)


def integers(shape, dtype, seed=0):
    """Integers so small that every order of summation gives the same float, different in most places."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(-9, 10, shape)
    if np.dtype(dtype).kind == "c":
        whole = whole + 1j * rng.integers(-9, 10, shape)
    return whole.astype(dtype)


def untouched(size, dtype):
    """Memory to write to: what is not written stays as it is."""
    return np.full(size, UNTOUCHED, dtype)


def address(array, index=0):
    """Where an element of a flat array lies."""
    return array.ctypes.data + index * array.itemsize

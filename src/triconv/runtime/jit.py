"""The one place that names Numba's options: a function compiled twice, in parallel and serially."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.bytecode import FunctionIdentity
from numba.core.compiler_lock import global_compiler_lock

from triconv.runtime import cache, threads

LINE = 8  # int64s in a line of the cache: counters that lie further apart do not disturb each other
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

int64s = types.Array(types.int64, 1, "C")


def writes(dtype: np.dtype[Any]) -> types.Array:
    """Type of a flat array that the kernel may write."""
    return types.Array(numba.from_dtype(dtype), 1, "C")


def reads(dtype: np.dtype[Any]) -> types.Array:
    """Type of a caller's flat array; takes read-only ones and others alike."""
    return types.Array(numba.from_dtype(dtype), 1, "C", readonly=True)


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that kernels call."""
    return numba.njit(**OPTIONS)(function)


class Kernel:
    """Loops over arrays, compiled for one signature on first use.

    The last two arguments of every kernel are ``counters``, zeros of which each worker has a line of the
    cache, and ``workers``, the trip count of its one parallel loop.
    """

    def __init__(self, name: str, function: Callable[..., Any], *signature: Any) -> None:
        self.name = name
        self.function = function
        self.signature = types.void(*signature, int64s, types.int64)

    def __call__(self, workers: int, *arrays: Any) -> None:
        """Run with that many workers; one means the serial twin, in the calling thread."""
        counters = np.zeros(workers * LINE, np.int64)
        if workers == 1:
            self.serial(*arrays, counters, 1)
            return
        former = threads.enter(workers)
        if not former:
            self.serial(*arrays, counters, workers)
            return
        try:
            self.parallel(*arrays, counters, workers)
        finally:
            threads.leave(former)

    @functools.cached_property
    def serial(self) -> Callable[..., Any]:
        """The twin for small calls and for callers that are parallel already."""
        return self._compiled(parallel=False)

    @functools.cached_property
    def parallel(self) -> Callable[..., Any]:
        """The twin whose loop over workers runs in Numba's threads."""
        return self._compiled(parallel=True)

    def _compiled(self, **options: Any) -> Callable[..., Any]:
        options |= OPTIONS
        dispatcher = numba.njit(**options)(self.function)
        dispatcher._cache = store = cache.Cache(self.name, options)
        # Numba numbers the functions of a process from 1 and puts the numbers into its symbols, so the
        # symbols of a kernel from disk could be those of another one compiled here, and its code be run
        # instead. Each kernel numbers from a place of its own.
        with global_compiler_lock:
            numbers = FunctionIdentity._unique_ids
            FunctionIdentity._unique_ids = itertools.count(store.number(self.signature))
            try:
                dispatcher.compile(self.signature)
                # Else a writable array, which the signature takes too, would be compiled for anew.
                dispatcher.disable_compile()
            finally:
                FunctionIdentity._unique_ids = numbers
        return dispatcher

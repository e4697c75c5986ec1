"""The one place that names Numba's options: what a worker does, and the parallel loop over workers."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from triconv.runtime import cache, internals, interrupts, threads

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
    return internals.dispatcher(function, **OPTIONS)


class once:  # noqa: N801 - used as a decorator
    """A property that is computed once, under the lock that compiling takes.

    `functools.cached_property` may have a lock of its own, for which a child would wait for ever that was
    forked while another thread held it.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, kernel: Any, owner: type) -> Any:
        values = vars(kernel)
        with internals.lock:
            if self.name not in values:
                values[self.name] = self.function(kernel)
            return values[self.name]


class Kernel:
    """What one worker does, compiled for one signature on first use.

    The first argument of every kernel is the worker's number. The last two are ``counters``, zeros of which
    each worker has a line of the cache, and ``workers``, how many there are.
    """

    def __init__(self, name: str, function: Callable[..., Any], *signature: Any) -> None:
        self.name = name
        self.function = function
        self.signature = types.void(types.int64, *signature, int64s, types.int64)

    def __call__(self, workers: int, *arrays: Any) -> None:
        """Let that many workers share the tasks, in Numba's threads; where these may not run, in others."""
        counters = np.zeros(workers * LINE, np.int64)
        interrupts.begin(counters)
        if workers == 1:
            self.compiled(0, *arrays, counters, 1)
            return
        former = threads.enter(workers)
        if not former:
            threads.share(workers, lambda worker: self.compiled(worker, *arrays, counters, workers))
            return
        try:
            self.launch(self.address, (*arrays, counters, workers), workers)
        finally:
            threads.leave(former)

    @once
    def compiled(self) -> Any:
        """The compiled function, one for all threads: its machine code goes with it."""
        return compiled(self.name, self.function, self.signature)

    @once
    def address(self) -> int:
        """Where its machine code is, which `launcher` calls."""
        result = self.compiled.overloads[self.signature.args]
        return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))

    @once
    def launch(self) -> Any:
        """The parallel loop over workers."""
        return launcher(self.signature.args)


@functools.cache
def launcher(signature: tuple[Any, ...]) -> Any:
    """The parallel loop over workers, for every kernel of a signature: Numba takes long to compile these."""

    @intrinsic
    def call(context: Any, address: Any, worker: Any, arguments: Any) -> Any:
        def codegen(context: Any, builder: Any, signature_: Any, values: Any) -> Any:
            address, worker, rest = values
            convention = context.call_conv
            pointer = builder.inttoptr(
                address, convention.get_function_type(types.none, signature).as_pointer()
            )
            unpacked = [builder.extract_value(rest, n) for n in range(len(signature) - 1)]
            status, _ = convention.call_function(builder, pointer, types.none, signature, [worker, *unpacked])
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, arguments), codegen

    def launch(address: int, arguments: tuple[Any, ...], workers: int) -> None:
        for worker in numba.prange(workers):
            call(address, worker, arguments)

    takes = types.void(types.int64, types.Tuple(signature[1:]), types.int64)
    return compiled("launch", launch, takes, parallel=True)


def compiled(name: str, function: Callable[..., Any], signature: Any, **options: Any) -> Any:
    """Compile a function for one signature, or find it in the cache."""
    options |= OPTIONS
    made = internals.dispatcher(function, **options)
    store = cache.Cache(name, options)
    with internals.compiling(), internals.kept(made, store, store.number(signature)):
        made.compile(signature)
        # Else a writable array, which the signature takes too, would be compiled for anew.
        made.disable_compile()
    return made


if hasattr(os, "register_at_fork"):
    # Else a child that was forked while another thread compiled would wait for the lock for ever.
    os.register_at_fork(
        before=internals.lock.acquire,
        after_in_parent=internals.lock.release,
        after_in_child=internals.lock.release,
    )

"""How time is taken: blocks of calls, a pause before each, medians; and what the machine could do at most.

The pause lets the threads of the contender before fall asleep, which for a while spin and steal time. Blocks
of different contenders take turns, so that a machine that slows down slows all of them down.
"""

import functools
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
from numba.core import cgutils
from numba.extending import intrinsic

import triconv
from triconv.kernels.simd import Emitter, Tile
from triconv.runtime.machine import machine

PAUSE = 0.03  # seconds
MOST_CALLS = 100  # in a block
PATIENCE = 2.0  # seconds after which a slow contender has no more blocks


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    blocks: int
    seconds: float  # that a block lasts, where one call does not last longer


FULL = Effort(blocks=5, seconds=0.05)
QUICK = Effort(blocks=2, seconds=0.01)


def block(call: Callable, count: int) -> list[float]:
    """Seconds of each of some calls in a row, after a pause."""
    time.sleep(PAUSE)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def calls_in(call: Callable, seconds: float) -> int:
    """How many calls, warm, fill a block."""
    return max(1, min(MOST_CALLS, int(seconds / min(block(call, 2)))))


def race(benchmark, ours: Callable, others: dict[str, Callable], effort: Effort) -> dict[str, list[float]]:
    """Time ``ours`` with pytest-benchmark's fixture, and the others in blocks between its own.

    Returns the seconds of each call of the others.
    """
    count = calls_in(ours, effort.seconds)
    counts = {name: calls_in(call, effort.seconds) for name, call in others.items()}
    times = {name: [] for name in others}
    rounds = itertools.count()

    def setup():
        if next(rounds) % count == 0:
            for name, call in others.items():
                if sum(times[name]) < PATIENCE:
                    times[name] += block(call, counts[name])
            time.sleep(PAUSE)

    benchmark.pedantic(ours, setup=setup, rounds=effort.blocks * count)
    return times


# --- ceilings ---------------------------------------------------------------------------------------


@functools.cache
def fma_loop(dtype: str) -> tuple[Callable, float]:
    """A call that does nothing but multiply-adds in registers, on all threads, and its operations."""
    target, scalar = machine(), np.dtype(dtype)
    lanes = target.vector_bits // (8 * scalar.itemsize)
    tile = Tile(scalar.name, lanes, target.registers - 4, 1, target.fma)
    turns, workers = 200_000, triconv.get_num_threads()

    @intrinsic
    def work(context, count, number):
        def codegen(context, b, signature, arguments):
            count, number = arguments
            emit = Emitter(b, tile)
            vector = emit.splat(number)
            with cgutils.for_range(b, count):
                for p in range(tile.rows):
                    emit.add_product(p, 0, [vector], vector)
            total = functools.reduce(b.fadd, (emit.result(p, 0) for p in range(tile.rows)))
            return b.extract_element(total, cgutils.int32_t(0))

        return number(count, number), codegen

    @numba.njit(parallel=True)
    def loop(out, count, number):
        for worker in numba.prange(len(out)):
            out[worker] = work(count, number)

    out, number = np.zeros(workers, scalar), scalar.type(0.5)
    return lambda: loop(out, turns, number), 2.0 * workers * turns * tile.rows * lanes


@functools.cache
def read_loop() -> tuple[Callable, float]:
    """A call that reads an array far larger than the caches, on all threads, and its bytes."""
    data = np.ones(1 << 25)
    whole = data.view(np.int64)

    @numba.njit(parallel=True)
    def loop(values):
        total = 0
        for n in numba.prange(len(values)):
            total += values[n]
        return total

    return lambda: loop(whole), float(data.nbytes)

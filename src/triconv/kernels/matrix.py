"""The matrix form: W written straight into CSR, and its products with one sample and with many."""

from __future__ import annotations

import functools

import numpy as np
from numba import prange

from triconv.kernels import loops
from triconv.kernels.addresses import address
from triconv.kernels.simd import Tile, columns_tile
from triconv.kernels.tasks import take
from triconv.runtime.jit import Kernel, int64s, reads, writes


@functools.cache
def assemble(dtype: str, index: str) -> Kernel:
    """Write every row of W: the entries of ``k_m``, each in the column of the pixel that it multiplies.

    An axis comes as three tables: how many pixels output ``i`` reads, which pixel tap ``u`` reads (-1
    for a zero), and the rank of that pixel among them. Taps that read the same pixel are added up.
    """

    def assemble(
        height,
        rows,
        row_ranks,
        width,
        columns,
        column_ranks,
        weight,
        indptr,
        indices,
        data,
        loops,
        counters,
        workers,
    ):
        for worker in prange(workers):
            p = loops[0]
            total = p.out_height * p.out_width * p.filters
            task = take(counters, worker, workers, p.tasks)
            while task < p.tasks:
                for n in range(task * p.rows, min((task + 1) * p.rows, total)):
                    i = n // p.y_row % p.out_height
                    j = n // p.y_column % p.out_width
                    m = n // p.y_filter % p.filters
                    high, wide, deep = height[i], width[j], p.group_channels
                    row_step = (wide if p.column_first else 1) * (deep if p.channel_before_row else 1)
                    column_step = (1 if p.column_first else high) * (deep if p.channel_before_column else 1)
                    channel_step = (1 if p.channel_before_row else high) * (
                        1 if p.channel_before_column else wide
                    )
                    start = indptr[n]
                    for entry in range(start, indptr[n + 1]):
                        data[entry] = 0
                    channel = m // p.group_filters * deep
                    tap = m * p.patch_size
                    for u in range(p.kernel_height):
                        row = rows[i * p.kernel_height + u]
                        for v in range(p.kernel_width):
                            column = columns[j * p.kernel_width + v]
                            if row >= 0 and column >= 0:
                                rank = start + row_ranks[i * p.kernel_height + u] * row_step
                                rank += column_ranks[j * p.kernel_width + v] * column_step
                                place = row * p.x_row + column * p.x_column + channel * p.x_channel
                                for c in range(deep):
                                    indices[rank + c * channel_step] = place + c * p.x_channel
                                    data[rank + c * channel_step] += weight[tap + c]
                            tap += deep
                task = take(counters, worker, workers, p.tasks)

    entry, integer = np.dtype(dtype), np.dtype(index)
    return Kernel(
        f"assemble_{dtype}_{index}",
        assemble,
        *(int64s, int64s, int64s, int64s, int64s, int64s, reads(entry)),
        *(writes(integer), writes(integer), writes(entry), loops.TYPE),
    )


@functools.cache
def interleave(dtype: str, width: int) -> Kernel:
    """Turn ``samples`` samples from ``first`` on into one row a pixel, ``width`` numbers wide, zeros last."""

    def interleave(x, data, loops, first, samples, counters, workers):
        for worker in prange(workers):
            p = loops[0]
            task = take(counters, worker, workers, p.tasks)
            while task < p.tasks:
                for n in range(task * p.rows, min((task + 1) * p.rows, p.x_sample)):
                    for s in range(samples):
                        data[n * width + s] = x[(first + s) * p.x_sample + n]
                    for s in range(samples, width):
                        data[n * width + s] = 0
                task = take(counters, worker, workers, p.tasks)

    entry = np.dtype(dtype)
    return Kernel(
        f"interleave_{dtype}_{width}",
        interleave,
        *(reads(entry), writes(entry), loops.TYPE, loops.INTEGER, loops.INTEGER),
    )


@functools.cache
def product(tile: Tile, index: str) -> Kernel:
    """``W X + b`` for as many interleaved samples as the tile is wide: an entry of W is read once for all."""
    integer = np.dtype(index)
    micro = columns_tile(tile, 8 * integer.itemsize)
    width = tile.width

    def product(x, indptr, indices, data, bias, y, loops, first, samples, counters, workers):
        for worker in prange(workers):
            p = loops[0]
            total = indptr.shape[0] - 1
            task = take(counters, worker, workers, p.tasks)
            while task < p.tasks:
                for n in range(task * p.rows, min((task + 1) * p.rows, total)):
                    start = indptr[n]
                    micro(
                        address(x, 0),
                        address(indices, start),
                        indptr[n + 1] - start,
                        width,
                        address(data, start),
                        address(bias, n // p.y_filter % p.filters),
                        address(y, first * total + n),
                        1,
                        samples,
                        1,
                        total,
                    )
                task = take(counters, worker, workers, p.tasks)

    entry = np.dtype(tile.dtype)
    return Kernel(
        f"product_{tile}_{index}",
        product,
        *(reads(entry), reads(integer), reads(integer), reads(entry), reads(entry)),
        *(writes(entry), loops.TYPE, loops.INTEGER, loops.INTEGER),
    )

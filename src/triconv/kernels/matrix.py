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

    An axis comes as five tables: of each row how many columns it has and where its pairs start; of each
    pair the column, the tap and the column's rank. Taps of the same column are added up.
    """

    def assemble(
        high,
        row_starts,
        rows,
        row_taps,
        row_ranks,
        wide,
        column_starts,
        columns,
        column_taps,
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
            deep, x_channel, w_channel = p.group_channels, p.x_channel, p.w_channel
            task = take(counters, worker, workers, p.tasks)
            while task < p.tasks:
                for n in range(task * p.rows, min((task + 1) * p.rows, total)):
                    i = n // p.y_row % p.out_height
                    j = n // p.y_pixel % p.out_width
                    group, m = divmod(n // p.y_filter % p.filters, p.group_filters)
                    row_step = (wide[j] if p.column_first else 1) * (deep if p.channel_before_row else 1)
                    column_step = (1 if p.column_first else high[i]) * (
                        deep if p.channel_before_column else 1
                    )
                    channel_step = (1 if p.channel_before_row else high[i]) * (
                        1 if p.channel_before_column else wide[j]
                    )
                    start = indptr[n]
                    for entry in range(start, indptr[n + 1]):
                        data[entry] = 0
                    first = group * deep * x_channel
                    filter_start = group * p.w_group + m * p.w_filter
                    for a in range(row_starts[i], row_starts[i + 1]):
                        for b in range(column_starts[j], column_starts[j + 1]):
                            rank = start + row_ranks[a] * row_step + column_ranks[b] * column_step
                            place = first + rows[a] * p.x_row + columns[b] * p.x_column
                            tap = filter_start + row_taps[a] * p.w_row + column_taps[b] * p.w_column
                            for c in range(deep):
                                indices[rank + c * channel_step] = place + c * x_channel
                                data[rank + c * channel_step] += weight[tap + c * w_channel]
                task = take(counters, worker, workers, p.tasks)

    entry, integer = np.dtype(dtype), np.dtype(index)
    return Kernel(
        f"assemble_{dtype}_{index}",
        assemble,
        *(int64s, int64s, int64s, int64s, int64s, int64s, int64s, int64s, int64s, int64s, reads(entry)),
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

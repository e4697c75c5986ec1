"""The matrix form: W written straight into CSR, and its products with one sample and with many."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from triconv.kernels.addresses import address
from triconv.kernels.records import GROUPS, INTEGER, TAPS, Group, Record
from triconv.kernels.simd import Tile
from triconv.kernels.tasks import take
from triconv.kernels.tiles import sparse_tile
from triconv.runtime.jit import Kernel, int64s, reads, writes

# W's rows: how many a task takes; which of the three axes, fastest first, is that of rows, of columns and of
# filters; whether it is along columns that a row has the pattern of the one ``back`` before it, its columns
# ``shift`` further on.
ROWS = Group("rows", ("task", "of_filters", "along_columns", "back", "shift"), ("axis",))
# W's columns: steps of the samples that they run over, and whether columns run faster than rows, channels
# faster than either.
COLUMNS = Group("columns", ("channel", "before_rows"), ("step", "after_channel"))
ASSEMBLE = Record(ROWS, COLUMNS, GROUPS, TAPS, "tasks")
INTERLEAVE = Record("pixels", "block", "tasks")
# Rows of W that a task takes; filters, and rows from one to the next; elements of ``x`` from pixel to pixel.
PRODUCT = Record("rows", "filters", "filter", "pixel", "tasks")


@functools.cache
def assemble(dtype: str, index: str) -> Kernel:
    """Write every row of W: the entries of ``k_m``, each in the column of the pixel that it multiplies.

    Rows run over three axes, fastest first, of which the sums of the lengths of their rows so far come as
    ``fast``, ``middle`` and ``slow``. The axes of pixels come as six tables: of each row how many columns it
    has and where its pairs start, whether its pattern is that of the row ``back`` before it, moved; of each
    pair the column, the tap and the column's rank. Taps of the same column are added up.
    """

    def assemble(
        worker,
        fast,
        middle,
        slow,
        high,
        row_starts,
        row_moved,
        rows,
        row_taps,
        row_ranks,
        wide,
        column_starts,
        column_moved,
        columns,
        column_taps,
        column_ranks,
        weight,
        indptr,
        indices,
        data,
        record,
        counters,
        workers,
    ):
        p = record[0]
        n_fast, n_middle = fast.size - 1, middle.size - 1
        total = n_fast * n_middle * (slow.size - 1)
        row_axis, column_axis, filter_axis = p.rows.axis[0], p.rows.axis[1], p.rows.of_filters
        deep, x_channel, w_channel = p.groups.channels, p.columns.channel, p.taps.channel
        x_row, x_column, w_row, w_column = (
            p.columns.step[0], p.columns.step[1], p.taps.step[0], p.taps.step[1]
        )  # fmt: skip
        channel_before_row, channel_before_column = p.columns.after_channel[0], p.columns.after_channel[1]
        column_first = p.columns.before_rows
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            first = task * p.rows.task
            c, a = divmod(first, n_fast)
            c, b = divmod(c, n_middle)
            start = fast[a] * (middle[b + 1] - middle[b]) + fast[-1] * middle[b]
            start = deep * (start * (slow[c + 1] - slow[c]) + fast[-1] * middle[-1] * slow[c])
            for n in range(first, min(first + p.rows.task, total)):
                i = a if row_axis == 0 else b if row_axis == 1 else c
                j = a if column_axis == 0 else b if column_axis == 1 else c
                m = a if filter_axis == 0 else b if filter_axis == 1 else c
                length = deep * high[i] * wide[j]
                indptr[n] = start
                back = n - p.rows.back
                if back >= first and (column_moved[j] if p.rows.along_columns else row_moved[i]):
                    source = indptr[back]
                    for entry in range(length):
                        indices[start + entry] = indices[source + entry] + p.rows.shift
                    for entry in range(length):
                        data[start + entry] = data[source + entry]
                else:
                    group = m // p.groups.filters
                    row_step = (wide[j] if column_first else 1) * (deep if channel_before_row else 1)
                    column_step = (1 if column_first else high[i]) * (deep if channel_before_column else 1)
                    channel_step = (1 if channel_before_row else high[i]) * (
                        1 if channel_before_column else wide[j]
                    )
                    for entry in range(start, start + length):
                        data[entry] = 0
                    channel = group * deep * x_channel
                    taps = group * p.taps.group + (m - group * p.groups.filters) * p.taps.filter
                    for y in range(row_starts[i], row_starts[i + 1]):
                        for x in range(column_starts[j], column_starts[j + 1]):
                            rank = start + row_ranks[y] * row_step + column_ranks[x] * column_step
                            place = channel + rows[y] * x_row + columns[x] * x_column
                            tap = taps + row_taps[y] * w_row + column_taps[x] * w_column
                            for d in range(deep):
                                indices[rank + d * channel_step] = place + d * x_channel
                                data[rank + d * channel_step] += weight[tap + d * w_channel]
                start += length
                a += 1
                if a == n_fast:
                    a, b = 0, b + 1
                if b == n_middle:
                    b, c = 0, c + 1
            task = take(counters, worker, workers, p.tasks)

    entry, integer = np.dtype(dtype), np.dtype(index)
    return Kernel(
        f"assemble_{dtype}_{index}",
        assemble,
        *([int64s] * 15),
        *(reads(entry), writes(integer), writes(integer), writes(entry), ASSEMBLE.type),
    )


@functools.cache
def interleave(dtype: str, width: int) -> Kernel:
    """Turn ``samples`` samples from ``first`` on into one row a pixel, ``width`` numbers wide, zeros last."""

    def interleave(worker, x, data, record, first, samples, counters, workers):
        p = record[0]
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            for n in range(task * p.block, min((task + 1) * p.block, p.pixels)):
                for s in range(samples):
                    data[n * width + s] = x[(first + s) * p.pixels + n]
                for s in range(samples, width):
                    data[n * width + s] = 0
            task = take(counters, worker, workers, p.tasks)

    entry = np.dtype(dtype)
    return Kernel(
        f"interleave_{dtype}_{width}",
        interleave,
        *(reads(entry), writes(entry), INTERLEAVE.type, INTEGER, INTEGER),
    )


@functools.cache
def product(tile: Tile, index: str, shared: bool) -> Kernel:
    """``W X + b`` for as many interleaved samples as the tile is wide: an entry of W is read once for all.

    Rows are taken as many at a time as the tile has, where they are of one length; ``shared`` ones, which
    are filters at one pixel, have the same columns too.
    """
    integer = np.dtype(index)
    single = replace(tile, rows=1)
    several, one = (sparse_tile(each, 8 * integer.itemsize, shared) for each in (tile, single))
    count = tile.rows

    def product(
        worker, x, indptr, indices, data, bias, y, record, at,
        row_step, step, samples, counters, workers,
    ):  # fmt: skip
        p = record[0]
        total = indptr.shape[0] - 1
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            n, last = task * p.rows, min((task + 1) * p.rows, total)
            while n < last:
                start, length = indptr[n], indptr[n + 1] - indptr[n]
                alike = n + count <= last
                if alike and not shared:
                    for row in range(n + 1, n + count):
                        alike = alike and indptr[row + 1] - indptr[row] == length
                m = n // p.filter % p.filters if p.filters > 1 else 0
                # Rows side by side are of several filters, or of one.
                filters = p.filter == 1 and p.filters > 1
                apart = 1 if filters else 0
                left = p.filters - m if filters else total if p.filters == 1 else p.filter - n % p.filter
                begin, there, entries = address(x, 0), address(indices, start), address(data, start)
                to, bias_at, scale = address(y, at + n * row_step), address(bias, m), p.pixel
                if alike and count <= left:
                    several(begin, scale, there, length, entries, bias_at, apart, to, samples, row_step, step)
                    n += count
                else:
                    one(begin, scale, there, length, entries, bias_at, 0, to, samples, row_step, step)
                    n += 1
            task = take(counters, worker, workers, p.tasks)

    entry = np.dtype(tile.dtype)
    return Kernel(
        f"product_{tile}_{index}{'_shared' * shared}",
        product,
        *(reads(entry), reads(integer), reads(integer), reads(entry), reads(entry)),
        *(writes(entry), PRODUCT.type, *([INTEGER] * 4)),
    )

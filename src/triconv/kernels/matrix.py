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

# W's rows. They run over three axes of the output: 0 is the fastest, 2 the slowest.
#   task           rows that a task writes
#   of_filters     which axis is that of filters
#   along_columns  whether rows are moved on along the output's columns, or else along its rows
#   back, shift    a row may be that of ``back`` rows before, its columns ``shift`` further on
#   axis           which axis is that of the output's rows, and which that of its columns
ROWS = Group("rows", ("task", "of_filters", "along_columns", "back", "shift"), ("axis",))
# W's columns: x[r, c, C] has column r * step[0] + c * step[1] + C * channel of W.
#   before_rows    whether the image's columns run faster than its rows
#   after_channel  whether channels run faster than the image's rows, and than its columns
COLUMNS = Group("columns", ("channel", "before_rows"), ("step", "after_channel"))
ASSEMBLE = Record(ROWS, COLUMNS, GROUPS, TAPS, "tasks")
INTERLEAVE = Record("pixels", "block", "tasks")
# W's rows: how many a task takes; how many filters they are of, and rows from filter to filter. Elements of
# ``x`` from column to column of W.
PRODUCT = Record("rows", "filters", "filter", "pixel", "tasks")


@functools.cache
def assemble(dtype: str, index: str) -> Kernel:
    """Write every row of W: the entries of ``k_m``, each in the column of the pixel that it multiplies.

    The row of output pixel i, j and filter m holds an entry for each pixel that it sees and each of the C
    channels of its group::

        nnz(row) = C h(i) w(j)          h(i) = high[i] rows of the image, w(j) = wide[j] of its columns

    An image of 1 x 4, a kernel a b, zero padding of one column at each side, in C order::

        j    w(j)    W            indptr    indices    data
        0    1       b . . .      0         0          b
        1    2       a b . .      1         0 1        a b
        2    2       . a b .      3         1 2        a b      row 1, moved on by one column
        3    2       . . a b      5         2 3        a b      row 2, moved on by one column
        4    1       . . . a      7         3          a

    Rows run over three axes, fastest first: ``n = (c * n_middle + b) * n_fast + a``. ``fast``, ``middle``
    and ``slow`` are the sums so far of ``high``, of ``wide`` and of ones, in the order of the axes. So a task
    finds where its first row starts without the rows before::

        start = C (F M slow[c] + (slow[c + 1] - slow[c]) (F middle[b] + (middle[b + 1] - middle[b]) fast[a]))
        F, M = fast[-1], middle[-1]

    What row i of the output sees are the pairs from ``row_starts[i]`` to ``row_starts[i + 1]`` of three
    tables: a row of the image (``rows``), the tap (``row_taps``), and how many of these rows come before it
    (``row_ranks``). Columns have the same. Where padding shows a pixel again, several taps have one rank.

    Algorithm, for each row n of a task:

    1. ``indptr[n]`` is ``start``, where the row before ended; ``length`` is nnz(n).
    2. Where ``column_moved[j]``, or ``row_moved[i]``, says so, copy the row ``n - back``, with ``shift``
       added to its columns: it is of the same filter, and sees by the same taps pixels that lie ``shift``
       columns of W before. Not where it is another task's, which may not have written it yet.
    3. Else clear the entries; then, for each pair of a row and a column of the image, add the weights of the
       tap, channel by channel. An entry's place in the row counts those in columns of W before its own::

           row_ranks * row_step + column_ranks * column_step + d * channel_step

       with the image's rows, columns and channels in the order in which W's columns run over them. So columns
       are sorted.

    For the transpose, pixels of the image and of the output change places, and so do filters and channels.
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
                    # Several taps may add up in an entry.
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
    """Turn ``samples`` samples from ``first`` on into one row a pixel, ``width`` numbers wide, zeros last.

    For pixel n and s < ``samples``, and 0 up to ``width``::

        data[n * width + s] = x[(first + s) * pixels + n]

        x      sample 0   p0 p1 p2 ...           data    p0   s0 s1 s2  0
               sample 1   p0 p1 p2 ...                   p1   s0 s1 s2  0
               sample 2   p0 p1 p2 ...                   p2   s0 s1 s2  0

    So one vector holds what an entry of W multiplies. A task turns ``block`` pixels.
    """

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

    For row n of W, of filter m, and s < ``samples``::

        y[at + n * row_step + s * step] = bias[m] + sum over e from indptr[n] to indptr[n + 1] of
            data[e] * x[indices[e] * pixel + s]

        m = n // filter % filters

    Rows are taken as many at a time as the tile has, where they are of one length; ``shared`` ones, which
    are filters at one pixel, have the same columns too. A tile's rows are of filters side by side, or all of
    one filter; ``left`` counts the rows up to where that ends. Others are taken one by one.
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

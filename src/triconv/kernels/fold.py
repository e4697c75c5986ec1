"""Sums of all the places that show a pixel: the adjoint of padding, and of taking patches."""

from __future__ import annotations

import functools

import numpy as np

from triconv.kernels import loops
from triconv.kernels.tasks import take
from triconv.runtime.jit import Kernel, int64s, reads, writes


@functools.cache
def kernel(dtype: str) -> Kernel:
    """Write every pixel: the sum, in order, of those from its row's start and from its column's start on.

    ``places`` of rows and of columns are offsets into ``data``; ``data_channel`` leads to the next channel.
    """

    def fold(worker, data, row_starts, rows, column_starts, columns, y, loops, counters, workers):
        p = loops[0]
        height, width, channels = p.out_height, p.out_width, p.channels
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            n, r = divmod(task, height)
            for c in range(width):
                to = n * p.y_sample + r * p.y_row + c * p.y_pixel
                for channel in range(channels):
                    y[to + channel * p.y_filter] = 0
                for a in range(row_starts[r], row_starts[r + 1]):
                    for b in range(column_starts[c], column_starts[c + 1]):
                        source = n * p.x_sample + rows[a] + columns[b]
                        for channel in range(channels):
                            y[to + channel * p.y_filter] += data[source + channel * p.data_channel]
            task = take(counters, worker, workers, p.tasks)

    kind = np.dtype(dtype)
    return Kernel(
        f"fold_{dtype}",
        fold,
        *(reads(kind), int64s, int64s, int64s, int64s, writes(kind), loops.TYPE),
    )

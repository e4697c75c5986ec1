"""Sums of all the places that show a pixel: the adjoint of padding, and of taking patches."""

from __future__ import annotations

import functools

import numpy as np

from triconv.kernels.records import IMAGE, Group, Record
from triconv.kernels.tasks import take
from triconv.runtime.jit import Kernel, int64s, reads, writes

# The array whose places are summed, and how many rows and columns of sums there are.
PLACES = Group("places", ("sample", "channel"), ("size",))
RECORD = Record(IMAGE, PLACES, "tasks")


@functools.cache
def kernel(dtype: str) -> Kernel:
    """Write every pixel: the sum, in order, of those from its row's start and from its column's start on.

    ``places`` of rows and of columns are offsets into ``data``; ``places.channel`` leads to the next channel.
    """

    def fold(worker, data, row_starts, rows, column_starts, columns, y, record, counters, workers):
        p = record[0]
        height, width, channels = p.places.size[0], p.places.size[1], p.image.channels
        x_channel, y_channel = p.places.channel, p.image.channel
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            n, r = divmod(task, height)
            for c in range(width):
                to = n * p.image.sample + r * p.image.step[0] + c * p.image.step[1]
                for channel in range(channels):
                    y[to + channel * y_channel] = 0
                for a in range(row_starts[r], row_starts[r + 1]):
                    for b in range(column_starts[c], column_starts[c + 1]):
                        source = n * p.places.sample + rows[a] + columns[b]
                        for channel in range(channels):
                            y[to + channel * y_channel] += data[source + channel * x_channel]
            task = take(counters, worker, workers, p.tasks)

    kind = np.dtype(dtype)
    return Kernel(
        f"fold_{dtype}",
        fold,
        *(reads(kind), int64s, int64s, int64s, int64s, writes(kind), RECORD.type),
    )

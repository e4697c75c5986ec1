"""Sums of all the places that show a pixel: the adjoint of padding, and of taking patches."""

from __future__ import annotations

import functools

import numpy as np

from triconv.kernels.records import IMAGE, Group, Record
from triconv.kernels.tasks import take
from triconv.runtime.jit import Kernel, int64s, reads, writes

# The array whose places are summed: elements between samples and between channels; and how many rows and
# columns of sums there are (size).
PLACES = Group("places", ("sample", "channel"), ("size",))
RECORD = Record(IMAGE, PLACES, "tasks")


@functools.cache
def kernel(dtype: str) -> Kernel:
    """Write every pixel: the sum, in order, of those from its row's start and from its column's start on.

    ``rows`` and ``columns`` are offsets into ``data``::

        y[n, r, c, C] = sum over a from row_starts[r] to row_starts[r + 1],
                                 b from column_starts[c] to column_starts[c + 1] of
            data[n * places.sample + rows[a] + columns[b] + C * places.channel]

        padding of 2 and 1, reflect      2 1 0 1 2 3 2      the pixels that padded positions 0 to 6 show

        pixel             0     1       2           3
        column_starts     0     1       3           6   7
        columns           2     1 3     0 4 6       5       times the elements from column to column

    Where patches are summed, rows and columns list the places of a pixel in all patches. A task is a row of a
    sample, so each pixel is written by one worker.
    """

    def fold(worker, data, row_starts, rows, column_starts, columns, y, record, counters, workers):
        p = record[0]
        height, width, channels = p.places.size[0], p.places.size[1], p.image.channels
        data_channel, y_channel = p.places.channel, p.image.channel
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
                            y[to + channel * y_channel] += data[source + channel * data_channel]
            task = take(counters, worker, workers, p.tasks)

    kind = np.dtype(dtype)
    return Kernel(
        f"fold_{dtype}",
        fold,
        *(reads(kind), int64s, int64s, int64s, int64s, writes(kind), RECORD.type),
    )

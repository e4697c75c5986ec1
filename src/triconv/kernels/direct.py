"""The direct form: every patch is read where it lies, in the input or in a band of it with its border."""

from __future__ import annotations

import functools

import numpy as np

from triconv.kernels import multiply, pack
from triconv.kernels.addresses import address, clear
from triconv.kernels.records import (
    BAND,
    COPY,
    DATA,
    GROUPS,
    IMAGE,
    INSIDE,
    OUTPUT,
    PACKED,
    SUM,
    WINDOW,
    WORK,
    Record,
)
from triconv.kernels.simd import Tile
from triconv.kernels.tasks import take
from triconv.runtime.arrays import LINE_BYTES
from triconv.runtime.jit import Kernel, int64s, reads, writes

RECORD = Record(
    IMAGE, INSIDE, OUTPUT, WINDOW, GROUPS, PACKED, COPY, BAND, DATA, SUM, WORK, "tasks"
)  # fmt: skip


@functools.cache
def kernel(orientation: str, tile: Tile) -> Kernel:
    """Loops over samples, bands of output rows and chunks of filters, which share a band.

    A task is a band and a chunk. Which of them changes from one task to the next depends on
    ``band.weight_stays``::

        weights stay cached     task = (n * pieces + piece) * chunks + chunk
        else                    task = chunk * batch * pieces + n * pieces + piece

    A row of the output where the middle is read in place::

        |<- edge ->|<------- middle ------->|<- the rest ->|
          copied     read where it lies       copied

    Bands that reach into the padding above or below are copied whole.

    Algorithm, for each task:

    1. The band makes output rows ``line`` to ``line + lines`` from padded rows ``top`` to ``top + height``.
    2. Cut the rows into stretches of pixels, ``low`` to ``high``: the three above, or one.
    3. For each stretch, copy what it reads, unless it is read in place, or the worker's task before had the
       same band and copied all of it; then multiply.
    """
    product = multiply.PRODUCTS[orientation](tile)
    fill = pack.band(tile.dtype, tile.lanes)
    size = np.dtype(tile.dtype).itemsize

    def direct(
        worker, x, rows, columns, places, offsets, steps, weight, bias,
        y, data, record, counters, workers,
    ):  # fmt: skip
        p = record[0]
        blocks = p.groups.count * p.packed.blocks
        start = worker * p.work.elements + -address(data, 0) % LINE_BYTES // size
        if p.work.clears:
            # Lanes that no one asks for read what lies there, and garbage may be slow to multiply.
            clear(address(data, start), p.work.elements * size)
        reach = (p.window.size[0] - 1) * p.window.dilation[0] + 1
        reach_across = (p.window.size[1] - 1) * p.window.dilation[1] + 1
        held = -1
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            # Either a band serves all filters before the next one, or filters all bands.
            if p.band.weight_stays:
                band, chunk = divmod(task, p.work.chunks)
            else:
                chunk, band = divmod(task, p.work.batch * p.work.pieces)
            n, piece = divmod(band, p.work.pieces)
            first = chunk * p.work.chunk
            last = min(first + p.work.chunk, blocks)
            line = piece * p.band.rows
            lines = min(p.band.rows, p.output.size[0] - line)
            at = p.output.start + n * p.output.sample + line * p.output.step[0]
            top = line * p.window.stride[0]
            height = (lines - 1) * p.window.stride[0] + reach
            # Where a middle is read in place, tiles may read all rows of a band, also where fewer are left.
            bottom = top + ((p.band.rows if p.band.edge > 0 else lines) - 1) * p.window.stride[0] + reach
            inside = p.band.middle > 0 and top >= p.inside.first[0] and bottom <= p.inside.last[0]
            low = 0
            while low < p.output.size[1]:
                high = p.output.size[1]
                if inside and low < p.band.edge:
                    high = p.band.edge
                elif inside and low < p.band.edge + p.band.middle:
                    high = p.band.edge + p.band.middle
                left = low * p.window.stride[1]
                if inside and p.band.edge <= low < p.band.edge + p.band.middle:
                    place = (top - p.inside.first[0]) * p.image.step[0]
                    place += (left - p.inside.first[1]) * p.image.step[1]
                    begin, row = address(x, n * p.image.sample + place), p.image.step[0]
                    group_step = p.groups.channels * p.image.channel
                else:
                    right = (high - 1) * p.window.stride[1] + reach_across
                    if held != band or p.band.edge > 0:
                        sample = n * p.image.sample
                        fill(
                            data, start, x, sample, rows, columns, places, top, height, left, right,
                            p.image, p.inside, p.copy,
                        )  # fmt: skip
                    held = band
                    begin, row, group_step = address(data, start), p.copy.row, p.data.group
                to, length = at + low * p.output.step[1], high - low
                product(
                    begin, row, group_step, offsets, lines, length, steps, weight, bias, y, to, first, last, p
                )  # fmt: skip
                low = high
            task = take(counters, worker, workers, p.tasks)

    dtype = np.dtype(tile.dtype)
    out = writes(dtype)
    return Kernel(
        f"direct_{orientation}_{tile}",
        direct,
        reads(dtype),
        *(int64s, int64s, int64s, int64s, int64s, out, out, out, out, RECORD.type),
    )

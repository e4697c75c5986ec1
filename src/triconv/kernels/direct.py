"""The direct form: every patch is read where it lies, in the input or in a band of it with its border."""

from __future__ import annotations

import functools

import numpy as np

from triconv.kernels import loops, multiply, pack
from triconv.kernels.addresses import ALIGNED, address, clear
from triconv.kernels.simd import Tile
from triconv.kernels.tasks import take
from triconv.runtime.jit import Kernel, int64s, reads, writes


@functools.cache
def kernel(orientation: str, tile: Tile) -> Kernel:
    """Loops over samples, bands of output rows and chunks of filters, which share a band."""
    product = getattr(multiply, orientation)(tile)
    band = pack.band(tile.dtype, tile.lanes)
    size = np.dtype(tile.dtype).itemsize

    def direct(
        worker, x, rows, columns, places, offsets, steps, weight, bias,
        y, data, loops, counters, workers,
    ):  # fmt: skip
        p = loops[0]
        blocks = p.groups * p.group_blocks
        start = worker * p.share + -address(data, 0) % ALIGNED // size
        if p.clears:
            # Lanes that no one asks for read what lies there, and garbage may be slow to multiply.
            clear(address(data, start), p.share * size)
        held = -1
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            # Either a band serves all filters before the next one, or filters all bands.
            if p.band_stays:
                block, chunk = divmod(task, p.chunks)
            else:
                chunk, block = divmod(task, p.batch * p.pieces)
            n, piece = divmod(block, p.pieces)
            first = chunk * p.chunk
            last = min(first + p.chunk, blocks)
            line = piece * p.rows
            lines = min(p.rows, p.out_height - line)
            at = p.y_start + n * p.y_sample + line * p.y_row
            top = line * p.stride_height
            reach = (p.kernel_height - 1) * p.dilation_height + 1
            height = (lines - 1) * p.stride_height + reach
            # Tiles of rows read all of their rows, also where fewer are asked for.
            bottom = top + ((p.rows if p.edge > 0 else lines) - 1) * p.stride_height + reach
            inside = p.middle > 0 and top >= p.inside_top and bottom <= p.inside_bottom
            # The middle is read where it lies; the sides, and all of a band at an end, with their border.
            low = 0
            while low < p.out_width:
                high = p.out_width
                if inside and low < p.edge:
                    high = p.edge
                elif inside and low < p.edge + p.middle:
                    high = p.edge + p.middle
                left = low * p.stride_width
                if inside and p.edge <= low < p.edge + p.middle:
                    place = (top - p.inside_top) * p.x_row + (left - p.inside_first) * p.x_column
                    begin, row = address(x, n * p.x_sample + place), p.x_row
                    depth = p.group_channels * p.x_channel
                else:
                    right = (high - 1) * p.stride_width + (p.kernel_width - 1) * p.dilation_width + 1
                    if held != block or p.edge > 0:
                        sample = n * p.x_sample
                        band(data, start, x, sample, rows, columns, places, top, height, left, right, p)
                    held = block
                    begin, row, depth = address(data, start), p.data_row, p.data_group
                to, length = at + low * p.y_pixel, high - low
                product(begin, row, depth, offsets, lines, length, steps, weight, bias, y, to, first, last, p)
                low = high
            task = take(counters, worker, workers, p.tasks)

    dtype = np.dtype(tile.dtype)
    out = writes(dtype)
    return Kernel(
        f"direct_{orientation}_{tile}",
        direct,
        reads(dtype),
        *(int64s, int64s, int64s, int64s, int64s, out, out, out, out, loops.TYPE),
    )

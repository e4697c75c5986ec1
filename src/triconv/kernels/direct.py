"""The direct form: every patch is read where it lies, in the input or in a band of it with its border."""

from __future__ import annotations

import functools

import numpy as np
from numba import prange

from triconv.kernels import loops, multiply, pack
from triconv.kernels.simd import ALIGNED, Tile, address, clear
from triconv.kernels.tasks import take
from triconv.runtime.jit import Kernel, int64s, reads, writes


@functools.cache
def kernel(orientation: str, tile: Tile) -> Kernel:
    """Loops over chunks of filters, samples and bands of output rows."""
    product = getattr(multiply, orientation)(tile)
    band = pack.band(tile.dtype, tile.lanes)
    size = np.dtype(tile.dtype).itemsize

    def direct(x, rows, columns, places, offsets, steps, weight, bias, y, data, loops, counters, workers):
        for worker in prange(workers):
            p = loops[0]
            blocks = p.groups * p.group_blocks
            start = worker * p.share + -address(data, 0) % ALIGNED // size
            # Lanes that no one asks for read what lies there, and garbage may be slow to multiply.
            clear(address(data, start), p.share * size)
            task = take(counters, worker, workers, p.tasks)
            while task < p.tasks:
                rest, piece = divmod(task, p.pieces)
                chunk, n = divmod(rest, p.batch)
                first = chunk * p.chunk
                last = min(first + p.chunk, blocks)
                line = piece * p.rows
                lines = min(p.rows, p.out_height - line)
                at = n * p.y_sample + line * p.out_width * p.y_pixel
                top = line * p.stride_height
                if p.packs:
                    height = (lines - 1) * p.stride_height + (p.kernel_height - 1) * p.dilation_height + 1
                    band(data, start, x, n * p.x_sample, rows, columns, places, top, height, p)
                    begin = address(data, start)
                else:
                    begin = address(x, n * p.x_sample + top * p.x_row)
                product(begin, offsets, lines, p.out_width, steps, weight, bias, y, at, first, last, p)
                task = take(counters, worker, workers, p.tasks)

    dtype = np.dtype(tile.dtype)
    out = writes(dtype)
    return Kernel(
        f"direct_{orientation}_{tile}",
        direct,
        reads(dtype),
        *(int64s, int64s, int64s, int64s, int64s, out, out, out, out, loops.TYPE),
    )

"""The im2col form: patches are copied into a block, one a row, and the block is multiplied."""

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
    """Loops over samples, blocks of patches and chunks of filters, which share a block."""
    product = getattr(multiply, orientation)(tile)
    size = np.dtype(tile.dtype).itemsize
    by_lines = orientation == "columns"
    patches, patch_lines = pack.patches, pack.patch_lines(tile.dtype, tile.lanes)

    def im2col(worker, x, rows, columns, steps, weight, bias, y, data, loops, counters, workers):
        p = loops[0]
        blocks = p.groups * p.group_blocks
        pixels = p.out_height * p.out_width
        start = worker * p.share + -address(data, 0) % ALIGNED // size
        if p.clears:
            # Lanes that no one asks for read what lies there, and garbage may be slow to multiply.
            clear(address(data, start), p.share * size)
        held = -1
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            block, chunk = divmod(task, p.chunks)
            n, piece = divmod(block, p.pieces)
            begin = chunk * p.chunk
            end = min(begin + p.chunk, blocks)
            first = piece * p.pixels
            count = min(p.pixels, pixels - first)
            sample = n * p.x_sample
            fresh = block != held
            if fresh and by_lines:
                patch_lines(data, start, x, sample, rows, columns, first, count, p)
            elif fresh:
                row = p.kernel_width * p.group_channels
                patches(
                    data,
                    start,
                    x,
                    sample,
                    rows,
                    columns,
                    first,
                    count,
                    p.data_row,
                    row,
                    p.group_channels,
                    1,
                    p,
                )
            held = block
            done = 0
            while done < count:
                # Pixels that lie in a row of the output, where its rows do not follow each other.
                i, j = divmod(first + done, p.line)
                length = min(count - done, p.line - j)
                here = address(data, start + done * p.data_pixel)
                at = p.y_start + n * p.y_sample + i * p.y_row + j * p.y_pixel
                product(here, 0, p.data_group, steps, 1, length, steps, weight, bias, y, at, begin, end, p)
                done += length
            task = take(counters, worker, workers, p.tasks)

    dtype = np.dtype(tile.dtype)
    out = writes(dtype)
    return Kernel(
        f"im2col_{orientation}_{tile}",
        im2col,
        reads(dtype),
        *(int64s, int64s, int64s, out, out, out, out, loops.TYPE),
    )


@functools.cache
def matrix(dtype: str) -> Kernel:
    """The whole patch matrix, a row an output pixel, columns in the order of ``x_ij``."""
    patches = pack.patches

    def patch_matrix(worker, x, rows, columns, y, loops, counters, workers):
        p = loops[0]
        pixels = p.out_height * p.out_width
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            n, piece = divmod(task, p.pieces)
            first = piece * p.pixels
            count = min(p.pixels, pixels - first)
            start = (n * pixels + first) * p.patch_size
            channel = p.kernel_height * p.kernel_width
            sample = n * p.x_sample
            patches(
                y,
                start,
                x,
                sample,
                rows,
                columns,
                first,
                count,
                p.patch_size,
                1,
                p.kernel_height,
                channel,
                p,
            )
            task = take(counters, worker, workers, p.tasks)

    kind = np.dtype(dtype)
    return Kernel(
        f"patch_matrix_{dtype}", patch_matrix, reads(kind), int64s, int64s, writes(kind), loops.TYPE
    )

"""The im2col form: patches are copied into a block, one a row, and the block is multiplied."""

from __future__ import annotations

import functools

import numpy as np

from triconv.kernels import multiply, pack
from triconv.kernels.addresses import address, clear
from triconv.kernels.records import (
    DATA,
    GROUPS,
    IMAGE,
    INSIDE,
    OUTPUT,
    PACKED,
    PATCHES,
    SUM,
    WINDOW,
    WORK,
    Record,
)
from triconv.kernels.simd import Tile
from triconv.kernels.tasks import take
from triconv.runtime.arrays import LINE_BYTES
from triconv.runtime.jit import Kernel, int64s, reads, writes

RECORD = Record(IMAGE, INSIDE, OUTPUT, WINDOW, GROUPS, PACKED, PATCHES, DATA, SUM, WORK, "tasks")
MATRIX = Record(IMAGE, INSIDE, OUTPUT, WINDOW, GROUPS, PATCHES, DATA, WORK, "tasks")


@functools.cache
def kernel(orientation: str, tile: Tile) -> Kernel:
    """Loops over samples, blocks of patches and chunks of filters, which share a block.

    A task is a block of patches and a chunk: ``task = (n * pieces + piece) * chunks + chunk``. The block is
    copied unless the worker's task before had the same, and multiplied with the filters of the chunk.

    A block lies in one of two ways, as the vectors want it::

        over filters: a patch a row             over pixels: an element of all patches a row

        x_0   u0v0c0 u0v0c1 ... | slack         u0v0c0   x_0 x_1 x_2 ... | slack
        x_1   u0v0c0 u0v0c1 ... |               u0v0c1   x_0 x_1 x_2 ... |
    """
    product = multiply.PRODUCTS[orientation](tile)
    size = np.dtype(tile.dtype).itemsize
    by_lines = orientation == "columns"
    patches, patch_lines = pack.patches, pack.patch_lines(tile.dtype, tile.lanes)

    def im2col(worker, x, rows, columns, steps, weight, bias, y, data, record, counters, workers):
        p = record[0]
        blocks = p.groups.count * p.packed.blocks
        pixels = p.output.size[0] * p.output.size[1]
        start = worker * p.work.elements + -address(data, 0) % LINE_BYTES // size
        if p.work.clears:
            # Lanes that no one asks for read what lies there, and garbage may be slow to multiply.
            clear(address(data, start), p.work.elements * size)
        held = -1
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            block, chunk = divmod(task, p.work.chunks)
            n, piece = divmod(block, p.work.pieces)
            begin = chunk * p.work.chunk
            end = min(begin + p.work.chunk, blocks)
            first = piece * p.patches.count
            count = min(p.patches.count, pixels - first)
            sample = n * p.image.sample
            fresh = block != held
            if fresh and by_lines:
                patch_lines(data, start, x, sample, rows, columns, first, count, p)
            elif fresh:
                tap, line = p.groups.channels, p.window.size[1] * p.groups.channels
                patches(data, start, x, sample, rows, columns, first, count, p.patches.row, line, tap, 1, p)
            held = block
            done = 0
            while done < count:
                # Pixels that lie in a row of the output, where its rows do not follow each other.
                i, j = divmod(first + done, p.patches.line)
                length = min(count - done, p.patches.line - j)
                here = address(data, start + done * p.data.pixel)
                at = p.output.start + n * p.output.sample + i * p.output.step[0] + j * p.output.step[1]
                product(here, 0, p.data.group, steps, 1, length, steps, weight, bias, y, at, begin, end, p)
                done += length
            task = take(counters, worker, workers, p.tasks)

    dtype = np.dtype(tile.dtype)
    out = writes(dtype)
    return Kernel(
        f"im2col_{orientation}_{tile}",
        im2col,
        reads(dtype),
        *(int64s, int64s, int64s, out, out, out, out, RECORD.type),
    )


@functools.cache
def matrix(dtype: str) -> Kernel:
    """The whole patch matrix, a row an output pixel, columns in the order of ``x_ij``.

    ::

        y[(n * pixels + i * W_out + j) * row + c * k_h * k_w + v * k_h + u]
            = X_pad[n, i s_h + u d_h, j s_w + v d_w, c]
    """
    patches = pack.patches

    def patch_matrix(worker, x, rows, columns, y, record, counters, workers):
        p = record[0]
        pixels = p.output.size[0] * p.output.size[1]
        tap, channel = p.window.size[0], p.window.size[0] * p.window.size[1]
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            n, piece = divmod(task, p.work.pieces)
            first = piece * p.patches.count
            count = min(p.patches.count, pixels - first)
            start = (n * pixels + first) * p.patches.row
            sample = n * p.image.sample
            patches(y, start, x, sample, rows, columns, first, count, p.patches.row, 1, tap, channel, p)
            task = take(counters, worker, workers, p.tasks)

    kind = np.dtype(dtype)
    return Kernel(
        f"patch_matrix_{dtype}", patch_matrix, reads(kind), int64s, int64s, writes(kind), MATRIX.type
    )

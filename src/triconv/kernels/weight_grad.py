"""The gradient of the weights: sums over pixels of an output's gradient times what the output saw.

Work goes over bands of pixels, which are cut into ``splits`` that are summed apart, and over chunks of
the result's tiles. ``loops`` holds three records: of the input, of the output's gradient, and of the product.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from triconv.kernels import loops, pack
from triconv.kernels.addresses import ALIGNED, address, clear
from triconv.kernels.simd import Tile
from triconv.kernels.tasks import take
from triconv.kernels.tiles import outer_tile
from triconv.runtime.interrupts import STOPPED
from triconv.runtime.jit import LINE, Kernel, inline, int64s, reads, writes


@functools.cache
def product(tile: Tile, swapped: bool) -> Any:
    """The tiles of one band: rows of filters and vectors of channels, or, ``swapped``, the other way."""
    micro = outer_tile(tile, False)
    rows, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize
    kept = rows * width * size * (2 if np.dtype(tile.dtype).kind == "c" else 1)

    @inline
    def multiply(x, grad, lines, length, held, starts, ends, y, at, first, last, q, r):
        n_rows, n_columns = (r.depth, r.group_filters) if swapped else (r.group_filters, r.depth)
        x_line = r.stride_height * r.data_row
        for block in range(first, last):
            group, rest = divmod(block, r.row_blocks * r.column_blocks)
            column, row = divmod(rest, r.row_blocks)
            row, column = row * rows, column * width
            c, f = (row, column) if swapped else (column, row)
            wanted = grad + (group * r.group_filters + f) * size
            to = at + group * r.w_group + f * r.w_filter + c * r.w_channel
            for u in range(r.kernel_height):
                for v in range(r.kernel_width):
                    place = group * r.depth + c + u * r.dilation_height * r.data_row + v * r.data_column
                    seen = x + place * size
                    micro(
                        seen if swapped else wanted,
                        x_line if swapped else q.data_row,
                        r.data_pixel if swapped else q.data_pixel,
                        1,
                        wanted if swapped else seen,
                        q.data_row if swapped else x_line,
                        q.data_pixel if swapped else r.data_pixel,
                        lines,
                        length,
                        0,
                        held,
                        starts,
                        ends,
                        address(y, to + u * r.w_row + v * r.w_column),
                        min(rows, n_rows - row),
                        min(width, n_columns - column),
                        r.row_step,
                        r.step,
                    )
                    held += kept

    return multiply


@functools.cache
def each_product(tile: Tile) -> Any:
    """The tiles of one band where channels have a filter each: rows of taps, vectors of channels."""
    micro = outer_tile(tile, True)
    rows, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize
    kept = rows * width * size * (2 if np.dtype(tile.dtype).kind == "c" else 1)

    @inline
    def multiply(x, grad, lines, length, held, starts, ends, y, at, first, last, q, r):
        for block in range(first, last):
            column, row = divmod(block, r.row_blocks)
            for u in range(r.kernel_height):
                place = column * width + u * r.dilation_height * r.data_row + row * rows * r.data_column
                micro(
                    x + place * size,
                    r.stride_height * r.data_row,
                    r.data_pixel,
                    r.data_column,
                    grad + column * width * size,
                    q.data_row,
                    q.data_pixel,
                    lines,
                    length,
                    r.more,
                    held,
                    starts,
                    ends,
                    address(y, at + (u * r.row_blocks + row) * rows * r.row_step + column * width),
                    rows,
                    width,
                    r.row_step,
                    r.step,
                )
                held += kept

    return multiply


@functools.cache
def bands(tile: Tile) -> Any:
    """Copies of a band of rows, of the input with its border and of the gradient; their lines and pixels."""
    band = pack.band(tile.dtype, tile.lanes)

    @inline
    def fill(data, start, second, x, rows, columns, places, grad, lines, pixels, there, piece, p, q, r):
        n, line = divmod(piece, r.pieces)
        line *= r.rows
        count = min(r.rows, p.out_height - line)
        height = (count - 1) * p.stride_height + (p.kernel_height - 1) * p.dilation_height + 1
        wide = (p.out_width - 1) * p.stride_width + (p.kernel_width - 1) * p.dilation_width + 1
        top = line * p.stride_height
        band(data, start, x, n * p.x_sample, rows, columns, places, top, height, 0, wide, p)
        band(data, second, grad, n * q.x_sample, lines, pixels, there, line, count, 0, p.out_width, q)
        return count, r.out_width

    return fill


@functools.cache
def blocks(tile: Tile) -> Any:
    """The same of one block of patches, in which the taps of a filter lie side by side."""
    band, patches = pack.band(tile.dtype, tile.lanes), pack.patches

    @inline
    def fill(data, start, second, x, rows, columns, places, grad, lines, pixels, there, piece, p, q, r):
        n, first = divmod(piece, r.pieces)
        first *= r.rows
        count = min(r.rows, p.out_height * p.out_width - first)
        step, row, column, channel = r.data_pixel, p.w_row, p.w_column, p.w_channel
        patches(data, start, x, n * p.x_sample, rows, columns, first, count, step, row, column, channel, p)
        band(data, second, grad, n * q.x_sample, lines, pixels, there, 0, 1, first, first + count, q)
        return 1, count

    return fill


@functools.cache
def kernel(form: str, tile: Tile, orientation: str) -> Kernel:
    """Loops over splits of the bands and chunks of the result's tiles, which share a band."""
    fill = bands(tile) if form == "direct" else blocks(tile)
    multiply = each_product(tile) if orientation == "each" else product(tile, orientation == "filters")
    size = np.dtype(tile.dtype).itemsize

    def weight_grad(
        worker, x, rows, columns, places, grad, lines, pixels, there,
        y, data, loops, counters, workers,
    ):  # fmt: skip
        p, q, r = loops[0], loops[1], loops[2]
        start = worker * r.share + -address(data, 0) % ALIGNED // size
        second = start + r.grad_start
        clear(address(data, start), r.share * size)
        task = take(counters, worker, workers, r.tasks)
        while task < r.tasks:
            split, chunk = divmod(task, r.chunks)
            first, last = split * r.bands // r.splits, (split + 1) * r.bands // r.splits
            begin = chunk * r.chunk
            end = min(begin + r.chunk, r.groups * r.row_blocks * r.column_blocks)
            to = split * r.size
            held = address(data, start + r.held_start)
            for piece in range(first, last):
                count, length = fill(
                    data,
                    start,
                    second,
                    x,
                    rows,
                    columns,
                    places,
                    grad,
                    lines,
                    pixels,
                    there,
                    piece,
                    p,
                    q,
                    r,
                )
                seen, wanted = address(data, start), address(data, second)
                starts, ends = piece == first, piece == last - 1
                multiply(seen, wanted, count, length, held, starts, ends, y, to, begin, end, q, r)
                if counters[worker * LINE] >= STOPPED:
                    break
            task = take(counters, worker, workers, r.tasks)

    kind = np.dtype(tile.dtype)
    return Kernel(
        f"weight_grad_{form}_{orientation}_{tile}",
        weight_grad,
        *(reads(kind), int64s, int64s, int64s, reads(kind), int64s, int64s, int64s),
        *(writes(kind), writes(kind), loops.TYPE),
    )


@functools.cache
def total(dtype: str) -> Kernel:
    """Add up the sums over parts of the pixels, in order."""

    def total(worker, parts, y, loops, counters, workers):
        p = loops[0]
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            first, last = task * y.size // p.tasks, (task + 1) * y.size // p.tasks
            for n in range(first, last):
                y[n] = parts[n]
            for split in range(1, p.splits):
                start = split * y.size
                for n in range(first, last):
                    y[n] += parts[start + n]
            task = take(counters, worker, workers, p.tasks)

    kind = np.dtype(dtype)
    return Kernel(f"weight_grad_total_{dtype}", total, reads(kind), writes(kind), loops.TYPE)

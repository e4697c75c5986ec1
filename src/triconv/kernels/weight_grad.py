"""The gradient of the weights: sums over pixels of an output's gradient times what the output saw.

Work goes over bands of pixels, which are cut into ``splits`` that are summed apart, and over chunks of
the result's tiles.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from triconv.kernels import pack
from triconv.kernels.addresses import address, clear
from triconv.kernels.records import COPY, DATA, GROUPS, IMAGE, INSIDE, OUTPUT, TAPS, WINDOW, Group, Record
from triconv.kernels.simd import Tile
from triconv.kernels.tasks import take
from triconv.kernels.tiles import outer_tile
from triconv.runtime.arrays import LINE_BYTES, parts
from triconv.runtime.interrupts import STOPPED
from triconv.runtime.jit import LINE, Kernel, inline, int64s, reads, writes

# The output's gradient, as its caller has it and as it is copied.
GRADIENT = (IMAGE.called("gradient"), INSIDE.called("all_of_it"), COPY.called("gradient_copy"))
# A patch in a block: elements from patch to patch, tap to tap and channel to channel.
PATCH = Group("patch", ("row", "channel"), ("step",))
# What a tile reads of the copied input: elements from line to line of pixels, pixel to pixel, tap to tap.
SEEN = Group("seen", ("line", "pixel"), ("step",))
# The same of the gradient.
WANTED = Group("wanted", ("line", "pixel"))
# The result as tiles: blocks of them by rows and columns, and in all; elements side by side that a filter
# sees, and how often it sees so many; vectors of a line, and elements more, where these are pixels; steps of
# the result between a tile's rows and columns.
TILES = Group(
    "tiles",
    ("row_blocks", "column_blocks", "blocks", "depth", "vectors", "more", "row_step", "step"),
    ("taps",),
)
# The split into tasks: bands of a sample and in all, rows of a band; sums over parts of the bands, and their
# size; chunks of blocks; elements of a worker, and where in it the gradient and unfinished sums start.
SPLIT = Group(
    "split",
    ("pieces", "bands", "rows", "splits", "size", "chunk", "chunks", "elements", "gradient", "held"),
)
RECORD = Record(
    IMAGE, INSIDE, COPY, *GRADIENT, OUTPUT, WINDOW, GROUPS, DATA, PATCH, TAPS, SEEN, WANTED, TILES, SPLIT,
    "tasks",
)  # fmt: skip
TOTAL = Record("splits", "tasks")


@functools.cache
def product(tile: Tile, swapped: bool) -> Any:
    """The tiles of one band: rows of filters and vectors of channels, or, ``swapped``, the other way."""
    micro = outer_tile(tile, False)
    rows, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize
    kept = rows * width * size * parts(np.dtype(tile.dtype))

    @inline
    def multiply(x, grad, lines, length, held, starts, ends, y, at, first, last, p):
        depth, filters = p.tiles.depth, p.groups.filters
        n_rows, n_columns = (depth, filters) if swapped else (filters, depth)
        for block in range(first, last):
            group, rest = divmod(block, p.tiles.row_blocks * p.tiles.column_blocks)
            column, row = divmod(rest, p.tiles.row_blocks)
            row, column = row * rows, column * width
            c, f = (row, column) if swapped else (column, row)
            wanted = grad + (group * filters + f) * size
            to = at + group * p.taps.group + f * p.taps.filter + c * p.taps.channel
            for u in range(p.tiles.taps[0]):
                for v in range(p.tiles.taps[1]):
                    place = group * depth + c + u * p.seen.step[0] + v * p.seen.step[1]
                    seen = x + place * size
                    micro(
                        seen if swapped else wanted,
                        p.seen.line if swapped else p.wanted.line,
                        p.seen.pixel if swapped else p.wanted.pixel,
                        1,
                        wanted if swapped else seen,
                        p.wanted.line if swapped else p.seen.line,
                        p.wanted.pixel if swapped else p.seen.pixel,
                        lines,
                        length,
                        0,
                        held,
                        starts,
                        ends,
                        address(y, to + u * p.taps.step[0] + v * p.taps.step[1]),
                        min(rows, n_rows - row),
                        min(width, n_columns - column),
                        p.tiles.row_step,
                        p.tiles.step,
                    )
                    held += kept

    return multiply


@functools.cache
def each_product(tile: Tile) -> Any:
    """The tiles of one band where channels have a filter each: rows of taps, vectors of channels."""
    micro = outer_tile(tile, True)
    rows, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize
    kept = rows * width * size * parts(np.dtype(tile.dtype))

    @inline
    def multiply(x, grad, lines, length, held, starts, ends, y, at, first, last, p):
        for block in range(first, last):
            column, row = divmod(block, p.tiles.row_blocks)
            for u in range(p.tiles.taps[0]):
                place = column * width + u * p.seen.step[0] + row * rows * p.seen.step[1]
                micro(
                    x + place * size,
                    p.seen.line,
                    p.seen.pixel,
                    p.seen.step[1],
                    grad + column * width * size,
                    p.wanted.line,
                    p.wanted.pixel,
                    lines,
                    length,
                    p.tiles.more,
                    held,
                    starts,
                    ends,
                    address(
                        y, at + (u * p.tiles.row_blocks + row) * rows * p.tiles.row_step + column * width
                    ),
                    rows,
                    width,
                    p.tiles.row_step,
                    p.tiles.step,
                )
                held += kept

    return multiply


@functools.cache
def bands(tile: Tile) -> Any:
    """Copies of a band of rows, of the input with its border and of the gradient; their lines and pixels."""
    band = pack.band(tile.dtype, tile.lanes)

    @inline
    def fill(data, start, second, x, rows, columns, places, grad, lines, pixels, there, piece, p):
        n, line = divmod(piece, p.split.pieces)
        line *= p.split.rows
        width = p.output.size[1]
        count = min(p.split.rows, p.output.size[0] - line)
        reach = (p.window.size[0] - 1) * p.window.dilation[0] + 1
        high = (count - 1) * p.window.stride[0] + reach
        wide = (width - 1) * p.window.stride[1] + (p.window.size[1] - 1) * p.window.dilation[1] + 1
        top, sample = line * p.window.stride[0], n * p.image.sample
        band(data, start, x, sample, rows, columns, places, top, high, 0, wide, p.image, p.inside, p.copy)
        sample = n * p.gradient.sample
        band(
            data, second, grad, sample, lines, pixels, there, line, count, 0, width,
            p.gradient, p.all_of_it, p.gradient_copy,
        )  # fmt: skip
        return count, p.tiles.vectors

    return fill


@functools.cache
def blocks(tile: Tile) -> Any:
    """The same of one block of patches, in which the taps of a filter lie side by side."""
    band, patches = pack.band(tile.dtype, tile.lanes), pack.patches

    @inline
    def fill(data, start, second, x, rows, columns, places, grad, lines, pixels, there, piece, p):
        n, first = divmod(piece, p.split.pieces)
        first *= p.split.rows
        count = min(p.split.rows, p.output.size[0] * p.output.size[1] - first)
        step, row, column, channel = p.patch.row, p.patch.step[0], p.patch.step[1], p.patch.channel
        sample = n * p.image.sample
        patches(data, start, x, sample, rows, columns, first, count, step, row, column, channel, p)
        sample = n * p.gradient.sample
        band(
            data, second, grad, sample, lines, pixels, there, 0, 1, first, first + count,
            p.gradient, p.all_of_it, p.gradient_copy,
        )  # fmt: skip
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
        y, data, record, counters, workers,
    ):  # fmt: skip
        p = record[0]
        start = worker * p.split.elements + -address(data, 0) % LINE_BYTES // size
        second = start + p.split.gradient
        clear(address(data, start), p.split.elements * size)
        bands, splits = p.split.bands, p.split.splits
        task = take(counters, worker, workers, p.tasks)
        while task < p.tasks:
            split, chunk = divmod(task, p.split.chunks)
            first, last = split * bands // splits, (split + 1) * bands // splits
            begin = chunk * p.split.chunk
            end = min(begin + p.split.chunk, p.tiles.blocks)
            to = split * p.split.size
            held = address(data, start + p.split.held)
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
                )
                seen, wanted = address(data, start), address(data, second)
                starts, ends = piece == first, piece == last - 1
                multiply(seen, wanted, count, length, held, starts, ends, y, to, begin, end, p)
                if counters[worker * LINE] >= STOPPED:
                    break
            task = take(counters, worker, workers, p.tasks)

    kind = np.dtype(tile.dtype)
    return Kernel(
        f"weight_grad_{form}_{orientation}_{tile}",
        weight_grad,
        *(reads(kind), int64s, int64s, int64s, reads(kind), int64s, int64s, int64s),
        *(writes(kind), writes(kind), RECORD.type),
    )


@functools.cache
def total(dtype: str) -> Kernel:
    """Add up the sums over parts of the pixels, in order."""

    def total(worker, parts, y, record, counters, workers):
        p = record[0]
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
    return Kernel(f"weight_grad_total_{dtype}", total, reads(kind), writes(kind), TOTAL.type)

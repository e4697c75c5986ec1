"""The gradient of the weights: sums over pixels of an output's gradient times what the output saw.

With ``G`` the gradient and ``X_pad`` the padded input of sample n::

    dW[f][u, v, c] = sum over n, i, j of G[n, i, j, f] * X_pad[n, i s_h + u d_h, j s_w + v d_w, c]

(complex numbers are conjugated above). Work goes over bands of pixels, which are cut into ``splits`` that are
summed apart, and over chunks of the result's tiles. A task is a split and a chunk::

    8 bands, 3 splits       0 1 | 2 3 4 | 5 6 7
    parts of the result      0      1       2             dW = parts[0] + parts[1] + parts[2], by `total`

A worker's workspace, and where a tile finds pixel i, j of a band in it::

    | copy of the input           | copy of the gradient     | unfinished sums |
    start                         start + gradient           start + held

    X_pad at tap u, v   i * seen.line + j * seen.pixel + u * seen.step[0] + v * seen.step[1]
    G                   i * wanted.line + j * wanted.pixel
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
# A patch in a block: elements from patch to patch (row), channel to channel, and tap to tap (step).
PATCH = Group("patch", ("row", "channel"), ("step",))
# What a tile reads of the copied input: elements from line to line of pixels, from pixel to pixel (where a
# vector holds several, from vector to vector), and from tap to tap (step).
SEEN = Group("seen", ("line", "pixel"), ("step",))
# The same of the copied gradient, which has no taps.
WANTED = Group("wanted", ("line", "pixel"))
# The result as tiles. A block is the tiles at one place, one for each of the taps that ``taps`` counts.
#   row_blocks      blocks along the rows of tiles, of one group
#   column_blocks   blocks along the vectors of tiles, of one group
#   blocks          in all
#   depth           elements side by side that a filter sees
#   vectors         pixels of a line; where a vector holds several, whole vectors of a line
#   more            elements of a line after these
#   row_step, step  elements of the result between a tile's rows, and between its columns
#   taps            how often a filter sees ``depth`` elements, down and across
TILES = Group(
    "tiles",
    ("row_blocks", "column_blocks", "blocks", "depth", "vectors", "more", "row_step", "step"),
    ("taps",),
)
# The split into tasks.
#   pieces          bands of a sample
#   bands           in all
#   rows            rows of the output in a band; of blocks of patches, pixels
#   splits, size    parts of the bands that are summed apart; elements of such a sum
#   chunk, chunks   blocks of tiles in a task, and how many such chunks there are
#   elements        of a worker's workspace
#   gradient, held  where in it the copy of the gradient starts, and where unfinished sums do
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
    """The tiles of one band: rows of filters and vectors of channels, or, ``swapped``, the other way.

    Block by block; for each of its taps u, v one tile, with f from ``row`` and c from ``column`` on, or,
    ``swapped``, c from ``row`` and f from ``column`` on. With the sums over all bands of the split::

        y[at + group * taps.group + f * taps.filter + c * taps.channel + u * taps.step[0] + v * taps.step[1]]
            = sum over pixels of G[f] * X_pad[c] at tap u, v

    c counts the ``depth`` elements that lie side by side. The schedule swaps where tiles then fit the counts
    of filters and of these elements better. ``held`` moves on by ``kept`` bytes a tile, its unfinished sums.
    """
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
    """The tiles of one band where channels have a filter each: rows of taps, vectors of channels.

    Block by block; for each row u of the kernel one tile, with its rows from v = ``row * rows`` on and its
    vectors from channel ``column * width`` on::

        y[at + (u * row_blocks * rows + v) * row_step + c] = sum over pixels of G[c] * X_pad[c] at tap u, v

    The result is ``[u][v][lane]``, v going up to whole tiles; what only fills tiles up is dropped above.
    """
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
    """Copies of a band of rows, of the input with its border and of the gradient; their lines and pixels.

    A band of one row of the output, a 2 x 2 kernel, both as `triconv.kernels.pack.band` copies them::

        input      row 0    x00 x01 x02 x03           gradient   line 0    g00 g01 g02
                   row 1    x10 x11 x12 x13

        g00 meets  x00 x01 x10 x11, g01 meets x01 x02 x11 x12, ...
    """
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
    """The same of one block of patches, in which the taps of a filter lie side by side.

    One line of ``count`` pixels, which may go on over rows of the output::

        input      patch 0    x00 x01 x10 x11           gradient   line 0    g00 g01 g02 ...
                   patch 1    x01 x02 x11 x12

        g00 meets  patch 0, g01 meets patch 1, ...
    """
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
    """Loops over splits of the bands and chunks of the result's tiles, which share a band.

    Algorithm, for each task:

    1. Take a split, the bands from ``first`` to ``last``, and a chunk, the blocks from ``begin`` to ``end``.
    2. For each of these bands, copy the input and the gradient.
    3. Go through the tiles of the chunk. The first band starts their sums; between bands these lie in the
       workspace; the last band ends them, and they go to part ``split`` of the result.
    """
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
        # Tiles read past what is copied: gradients are zeros there, and garbage may be slow to multiply.
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
                # A task takes long, so an interrupt ends it between two bands.
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
    """Add up the sums over parts of the pixels, in order.

    ::

        y[n] = parts[n] + parts[size + n] + parts[2 size + n] + ...     a task: a stretch of n, all parts
    """

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

"""Data times packed weights, tile by tile: where direct and im2col meet.

Every product makes ``lines`` rows of ``length`` output pixels, for blocks of filters::

    for each block of filters, first to last          all its tiles read the same weights
        for each row, or rows, of the output
            for each tile along it
                a microkernel: the whole reduction, results in registers

Their arguments::

    data      address   what the first output pixel reads, of group 0
    row       elements  of data, from one padded row to the next; in place, of the image
    group_step elements of data, from group to group
    offsets   int64s    wrapped alone: where each of the pixels reads, in elements from data
    lines     count     rows of the output
    length    count     pixels of a row
    steps     int64s    where the steps of the reduction read, as the microkernel takes them
    weight    array     packed weights
    bias      array     packed biases
    y         array     output
    at        elements  of y, the place of the first pixel and of filter 0
    first     count     number of the first block
    last      count     number of the block after the last
    p         record    the rest; see the kernels that call

A row of the output seldom holds whole tiles. What is left of it goes one of two ways::

    10 pixels, tiles of 4 pixels as rows          10 pixels, vectors of 4 pixels

    0 1 2 3                                       0 1 2 3
            4 5 6 7                                       4 5 6 7
                6 7 8 9     starts early                          8 9 . .     reads on

Along the tile's rows the last tile starts early and computes a few results again: the same bits, written
twice, and nothing is read that the others do not read. Along its vectors the last tile reads past the end,
and stores what counts. Where there are fewer rows than one tile has, it reads past them too.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from triconv.kernels.addresses import address
from triconv.kernels.simd import Tile
from triconv.kernels.tiles import channels_tile, columns_tile, depth_tile, rows_tile
from triconv.runtime.jit import inline


@functools.cache
def channels(tile: Tile, wrapped: bool = False) -> Any:
    """Vectors over output channels: tiles of pixels of a row.

    Or, ``wrapped``, tiles going on from row to row: ``lines * length`` pixels, found through ``offsets``.

    A tile reads the patches of ``n_pixels`` pixels, ``data_pixel`` apart or as ``offsets`` say, and the
    weights of one block. The last tile of a row, or ``wrapped`` of all rows, starts early; filters that only
    fill a block up are not stored.
    """
    micro = channels_tile(tile, wrapped)
    n_pixels, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, row, group_step, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        stretches, pixels = (1, lines * length) if wrapped else (lines, length)
        blocks, count, size_of_block = p.packed.blocks, p.groups.filters, p.packed.size
        data_pixel, n_steps, run = p.data.pixel, p.sum.steps, p.sum.run
        y_row, y_pixel, y_filter = p.output.step[0], p.output.step[1], p.output.filter
        line_step = p.window.stride[0] * row
        for block in range(first, last):
            group, part = divmod(block, blocks)
            m = group * count + part * width
            filters = min(width, count - part * width)
            for line in range(stretches):
                begin = group * group_step + line * line_step
                for start in range(0, pixels, n_pixels):
                    # The last tile starts early, but not before the first pixel.
                    pixel = max(0, min(start, pixels - n_pixels))
                    micro(
                        data + (begin if wrapped else begin + pixel * data_pixel) * size,
                        address(offsets, pixel) if wrapped else data_pixel,
                        address(steps, 0),
                        n_steps,
                        run,
                        address(weight, block * size_of_block),
                        address(bias, block * width),
                        address(y, at + line * y_row + pixel * y_pixel + m * y_filter),
                        min(n_pixels, pixels),
                        filters,
                        y_pixel,
                        y_filter,
                    )

    return multiply


@functools.cache
def wrapped(tile: Tile) -> Any:
    """As `channels`, its tiles wrapped."""
    return channels(tile, True)


@functools.cache
def columns(tile: Tile) -> Any:
    """Vectors over pixels: ``lines`` of ``length`` pixels that lie side by side.

    A tile reads the patches of ``width`` pixels and the weights of one block of ``n_filters``. Pixels past
    the end of a row and filters that only fill a block up are not stored.
    """
    micro = columns_tile(tile)
    n_filters, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, row, group_step, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        blocks, count, size_of_block, n_steps = p.packed.blocks, p.groups.filters, p.packed.size, p.sum.steps
        y_row, y_pixel, y_filter = p.output.step[0], p.output.step[1], p.output.filter
        line_step = p.window.stride[0] * row
        for block in range(first, last):
            group, part = divmod(block, blocks)
            m = group * count + part * n_filters
            filters = min(n_filters, count - part * n_filters)
            for line in range(lines):
                begin = group * group_step + line * line_step
                for column in range(0, length, width):
                    micro(
                        data + (begin + column) * size,
                        address(steps, 0),
                        n_steps,
                        address(weight, block * size_of_block),
                        address(bias, block * n_filters),
                        address(y, at + line * y_row + column * y_pixel + m * y_filter),
                        filters,
                        min(width, length - column),
                        y_filter,
                        y_pixel,
                    )

    return multiply


@functools.cache
def rows(tile: Tile, flat: bool = False) -> Any:
    """Vectors over pixels, several output rows of one filter at a time.

    Or, ``flat``, where few channels have a filter each: vectors over pixels and channels of a row alike. A
    tile's width holds whole pixels, so the weights repeat from tile to tile.

    A tile reads the rows of the band that its ``n_lines`` output rows see, and all weights of the filter.
    Where it knows the kernel's height, these are ``tile.span`` rows, each read once for all output rows. The
    last tile of rows starts early; elements past the end of a row are not stored.
    """
    micro, is_unrolled = rows_tile(tile, flat), tile.kernel > 1
    n_lines, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, row, group_step, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        across, step = (length * p.image.channels, 1) if flat else (length, p.output.step[1])
        count, size_of_block, n_steps = p.groups.filters, p.packed.size, p.sum.steps
        y_row, y_filter, line_step = p.output.step[0], p.output.filter, p.window.stride[0] * row
        pitch, height = (row, 1) if is_unrolled else (line_step, p.window.size[0])
        tap_line = row * p.window.dilation[0]
        for m in range(first, last):
            group = m // count
            for start in range(0, lines, n_lines):
                line = max(0, min(start, lines - n_lines))
                begin = group * group_step + line * line_step
                for column in range(0, across, width):
                    micro(
                        data + (begin + column) * size,
                        pitch,
                        height,
                        tap_line,
                        address(steps, 0),
                        n_steps,
                        address(weight, m * size_of_block),
                        address(bias, m),
                        address(y, at + line * y_row + column * step + m * y_filter),
                        min(n_lines, lines),
                        min(width, across - column),
                        y_row,
                        step,
                    )

    return multiply


@functools.cache
def flat(tile: Tile) -> Any:
    """As `rows`, its vectors flat."""
    return rows(tile, True)


@functools.cache
def depth(tile: Tile) -> Any:
    """Vectors over channels that have a filter each, or small groups of filters: tiles of pixels of a row.

    A tile reads the columns that its ``n_pixels`` pixels see, of ``width`` channels, and the weights of one
    block, whose number says which channels these are. The last tile of a row starts early; channels past the
    last are not stored.
    """
    micro, is_unrolled = depth_tile(tile), tile.kernel > 1
    n_pixels, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, row, group_step, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        size_of_block, channels = p.packed.size, p.image.channels
        y_row, y_pixel, data_pixel = p.output.step[0], p.output.step[1], p.data.pixel
        line_step, tap_line = p.window.stride[0] * row, row * p.window.dilation[0]
        height, pitch = p.window.size[0], p.copy.column if is_unrolled else p.data.pixel
        across, tap = 1 if is_unrolled else p.window.size[1], p.copy.column * p.window.dilation[1]
        for block in range(first, last):
            channel = block * width
            for line in range(lines):
                for start in range(0, length, n_pixels):
                    pixel = max(0, min(start, length - n_pixels))
                    micro(
                        data + (line * line_step + pixel * data_pixel + channel) * size,
                        pitch,
                        height,
                        tap_line,
                        across,
                        tap,
                        address(weight, block * size_of_block),
                        address(bias, block * width),
                        address(y, at + line * y_row + pixel * y_pixel + channel),
                        min(n_pixels, length),
                        min(width, channels - channel),
                        y_pixel,
                    )

    return multiply


# By the names of `triconv.schedules.orientations`.
PRODUCTS = {
    "channels": channels,
    "wrapped": wrapped,
    "columns": columns,
    "rows": rows,
    "depth": depth,
    "flat": flat,
}

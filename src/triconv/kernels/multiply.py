"""Data times packed weights, tile by tile: where direct and im2col meet.

Every product goes over ``lines`` rows of ``length`` output pixels. Its ``data`` is the address of what the
first of them reads; ``row`` and ``depth`` are its elements between rows and between groups.
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
    """
    micro = channels_tile(tile, wrapped)
    n_pixels, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, row, depth, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        stretches, pixels = (1, lines * length) if wrapped else (lines, length)
        for block in range(first, last):
            group, part = divmod(block, p.packed.blocks)
            m = group * p.groups.filters + part * width
            filters = min(width, p.groups.filters - part * width)
            for line in range(stretches):
                begin = group * depth + line * p.window.stride[0] * row
                for start in range(0, pixels, n_pixels):
                    # The last tile starts early and computes a few pixels again.
                    pixel = max(0, min(start, pixels - n_pixels))
                    micro(
                        data + (begin if wrapped else begin + pixel * p.data.pixel) * size,
                        address(offsets, pixel) if wrapped else p.data.pixel,
                        address(steps, 0),
                        p.sum.steps,
                        p.sum.run,
                        address(weight, block * p.packed.size),
                        address(bias, block * width),
                        address(
                            y, at + line * p.output.step[0] + pixel * p.output.step[1] + m * p.output.filter
                        ),
                        min(n_pixels, pixels),
                        filters,
                        p.output.step[1],
                        p.output.filter,
                    )

    return multiply


@functools.cache
def wrapped(tile: Tile) -> Any:
    """As `channels`, its tiles wrapped."""
    return channels(tile, True)


@functools.cache
def columns(tile: Tile) -> Any:
    """Vectors over pixels: ``lines`` of ``length`` pixels that lie side by side."""
    micro = columns_tile(tile)
    n_filters, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, row, depth, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        for block in range(first, last):
            group, part = divmod(block, p.packed.blocks)
            m = group * p.groups.filters + part * n_filters
            filters = min(n_filters, p.groups.filters - part * n_filters)
            for line in range(lines):
                begin = group * depth + line * p.window.stride[0] * row
                for column in range(0, length, width):
                    micro(
                        data + (begin + column) * size,
                        address(steps, 0),
                        p.sum.steps,
                        address(weight, block * p.packed.size),
                        address(bias, block * n_filters),
                        address(
                            y, at + line * p.output.step[0] + column * p.output.step[1] + m * p.output.filter
                        ),
                        filters,
                        min(width, length - column),
                        p.output.filter,
                        p.output.step[1],
                    )

    return multiply


@functools.cache
def rows(tile: Tile, flat: bool = False) -> Any:
    """Vectors over pixels, several output rows of one filter at a time.

    Or, ``flat``, where few channels have a filter each: vectors over pixels and channels of a row alike. A
    tile's width holds whole pixels, so the weights repeat from tile to tile.
    """
    micro, known = rows_tile(tile, flat), tile.kernel > 1
    n_lines, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, row, depth, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        across, step = (length * p.image.channels, 1) if flat else (length, p.output.step[1])
        for m in range(first, last):
            group = m // p.groups.filters
            for start in range(0, lines, n_lines):
                line = max(0, min(start, lines - n_lines))
                begin = group * depth + line * p.window.stride[0] * row
                for column in range(0, across, width):
                    micro(
                        data + (begin + column) * size,
                        row if known else row * p.window.stride[0],
                        1 if known else p.window.size[0],
                        row * p.window.dilation[0],
                        address(steps, 0),
                        p.sum.steps,
                        address(weight, m * p.packed.size),
                        address(bias, m),
                        address(y, at + line * p.output.step[0] + column * step + m * p.output.filter),
                        min(n_lines, lines),
                        min(width, across - column),
                        p.output.step[0],
                        step,
                    )

    return multiply


@functools.cache
def flat(tile: Tile) -> Any:
    """As `rows`, its vectors flat."""
    return rows(tile, True)


@functools.cache
def depth(tile: Tile) -> Any:
    """Vectors over channels that have a filter each: tiles of pixels of a row."""
    micro, known = depth_tile(tile), tile.kernel > 1
    n_pixels, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, row, depth, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        for block in range(first, last):
            channel = block * width
            for line in range(lines):
                for start in range(0, length, n_pixels):
                    pixel = max(0, min(start, length - n_pixels))
                    micro(
                        data + (line * p.window.stride[0] * row + pixel * p.data.pixel + channel) * size,
                        p.copy.column if known else p.data.pixel,
                        p.window.size[0],
                        row * p.window.dilation[0],
                        1 if known else p.window.size[1],
                        p.copy.column * p.window.dilation[1],
                        address(weight, block * p.packed.size),
                        address(bias, block * width),
                        address(y, at + line * p.output.step[0] + pixel * p.output.step[1] + channel),
                        min(n_pixels, length),
                        min(width, p.image.channels - channel),
                        p.output.step[1],
                    )

    return multiply

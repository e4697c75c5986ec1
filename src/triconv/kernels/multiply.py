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
            group, part = divmod(block, p.group_blocks)
            m = group * p.group_filters + part * width
            filters = min(width, p.group_filters - part * width)
            for line in range(stretches):
                begin = group * depth + line * p.stride_height * row
                for start in range(0, pixels, n_pixels):
                    # The last tile starts early and computes a few pixels again.
                    pixel = max(0, min(start, pixels - n_pixels))
                    micro(
                        data + (begin if wrapped else begin + pixel * p.data_pixel) * size,
                        address(offsets, pixel) if wrapped else p.data_pixel,
                        address(steps, 0),
                        p.steps,
                        p.run,
                        address(weight, block * p.block_size),
                        address(bias, block * width),
                        address(y, at + line * p.y_row + pixel * p.y_pixel + m * p.y_filter),
                        min(n_pixels, pixels),
                        filters,
                        p.y_pixel,
                        p.y_filter,
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
            group, part = divmod(block, p.group_blocks)
            m = group * p.group_filters + part * n_filters
            filters = min(n_filters, p.group_filters - part * n_filters)
            for line in range(lines):
                begin = group * depth + line * p.stride_height * row
                for column in range(0, length, width):
                    micro(
                        data + (begin + column) * size,
                        address(steps, 0),
                        p.steps,
                        address(weight, block * p.block_size),
                        address(bias, block * n_filters),
                        address(y, at + line * p.y_row + column * p.y_pixel + m * p.y_filter),
                        filters,
                        min(width, length - column),
                        p.y_filter,
                        p.y_pixel,
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
        across, step = (length * p.channels, 1) if flat else (length, p.y_pixel)
        for m in range(first, last):
            group = m // p.group_filters
            for start in range(0, lines, n_lines):
                line = max(0, min(start, lines - n_lines))
                begin = group * depth + line * p.stride_height * row
                for column in range(0, across, width):
                    micro(
                        data + (begin + column) * size,
                        row if known else row * p.stride_height,
                        1 if known else p.kernel_height,
                        row * p.dilation_height,
                        address(steps, 0),
                        p.steps,
                        address(weight, m * p.block_size),
                        address(bias, m),
                        address(y, at + line * p.y_row + column * step + m * p.y_filter),
                        min(n_lines, lines),
                        min(width, across - column),
                        p.y_row,
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
                        data + (line * p.stride_height * row + pixel * p.data_pixel + channel) * size,
                        p.data_column if known else p.data_pixel,
                        p.kernel_height,
                        row * p.dilation_height,
                        1 if known else p.kernel_width,
                        p.data_column * p.dilation_width,
                        address(weight, block * p.block_size),
                        address(bias, block * width),
                        address(y, at + line * p.y_row + pixel * p.y_pixel + channel),
                        min(n_pixels, length),
                        min(width, p.channels - channel),
                        p.y_pixel,
                    )

    return multiply

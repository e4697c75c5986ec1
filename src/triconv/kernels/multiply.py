"""Packed data times packed weights, tile by tile: where direct and im2col meet."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from triconv.kernels.simd import Tile, address, channels_tile, columns_tile, depth_tile, rows_tile
from triconv.runtime.jit import inline


@functools.cache
def channels(tile: Tile) -> Any:
    """Vectors over output channels: ``lines * length`` pixels, found through ``offsets``."""
    micro = channels_tile(tile)
    n_pixels, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        pixels = lines * length
        for block in range(first, last):
            group, part = divmod(block, p.group_blocks)
            m = group * p.group_filters + part * width
            filters = min(width, p.group_filters - part * width)
            for start in range(0, pixels, n_pixels):
                # The last tile starts early and computes a few pixels again.
                pixel = max(0, min(start, pixels - n_pixels))
                micro(
                    data + group * p.data_group * size,
                    address(offsets, pixel),
                    address(steps, 0),
                    p.steps,
                    p.run,
                    address(weight, block * p.block_size),
                    address(bias, block * width),
                    address(y, at + pixel * p.y_pixel + m * p.y_filter),
                    min(n_pixels, pixels),
                    filters,
                    p.y_pixel,
                    p.y_filter,
                )

    return multiply


@functools.cache
def columns(tile: Tile) -> Any:
    """Vectors over pixels: ``lines`` of ``length`` pixels that lie side by side."""
    micro = columns_tile(tile, 64)
    n_filters, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        for block in range(first, last):
            group, part = divmod(block, p.group_blocks)
            m = group * p.group_filters + part * n_filters
            filters = min(n_filters, p.group_filters - part * n_filters)
            for line in range(lines):
                begin = group * p.data_group + offsets[line]
                pixel = line * length
                for column in range(0, length, width):
                    micro(
                        data + (begin + column) * size,
                        address(steps, 0),
                        p.steps,
                        1,
                        address(weight, block * p.block_size),
                        address(bias, block * n_filters),
                        address(y, at + (pixel + column) * p.y_pixel + m * p.y_filter),
                        filters,
                        min(width, length - column),
                        p.y_filter,
                        p.y_pixel,
                    )

    return multiply


@functools.cache
def rows(tile: Tile) -> Any:
    """Vectors over pixels, several output rows of one filter at a time."""
    micro = rows_tile(tile)
    n_lines, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        for m in range(first, last):
            group = m // p.group_filters
            for line in range(0, lines, n_lines):
                begin = group * p.data_group + offsets[line]
                for column in range(0, length, width):
                    micro(
                        data + (begin + column) * size,
                        p.data_row,
                        address(steps, 0),
                        p.steps,
                        p.kernel_height,
                        p.stride_height,
                        address(weight, m * p.block_size),
                        address(bias, m),
                        address(y, at + (line * length + column) * p.y_pixel + m * p.y_filter),
                        min(n_lines, lines - line),
                        min(width, length - column),
                        length * p.y_pixel,
                        p.y_pixel,
                    )

    return multiply


@functools.cache
def depth(tile: Tile) -> Any:
    """Vectors over channels that have a filter each: ``lines * length`` pixels, found through ``offsets``."""
    micro = depth_tile(tile)
    n_pixels, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        pixels = lines * length
        for block in range(first, last):
            channel = block * width
            for start in range(0, pixels, n_pixels):
                pixel = max(0, min(start, pixels - n_pixels))
                micro(
                    data + channel * size,
                    address(offsets, pixel),
                    address(steps, 0),
                    p.steps,
                    address(weight, block * p.block_size),
                    address(bias, block * width),
                    address(y, at + pixel * p.y_pixel + channel),
                    min(n_pixels, pixels),
                    min(width, p.channels - channel),
                    p.y_pixel,
                )

    return multiply


@functools.cache
def flat(tile: Tile) -> Any:
    """As `depth` where channels are few: vectors run over the pixels and channels of a row alike.

    A vector holds whole pixels, so the weights repeat from vector to vector.
    """
    micro = depth_tile(tile)
    n_lines, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, offsets, lines, length, steps, weight, bias, y, at, first, last, p):
        across = length * p.channels
        for start in range(0, lines, n_lines):
            line = max(0, min(start, lines - n_lines))
            for column in range(0, across, width):
                micro(
                    data + column * size,
                    address(offsets, line),
                    address(steps, 0),
                    p.steps,
                    address(weight, 0),
                    address(bias, 0),
                    address(y, at + line * across + column),
                    min(n_lines, lines),
                    min(width, across - column),
                    across,
                )

    return multiply

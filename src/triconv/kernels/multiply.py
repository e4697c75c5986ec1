"""Packed data times packed weights, tile by tile: where direct and im2col meet."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from triconv.kernels.simd import Tile, address, channels_tile, columns_tile
from triconv.runtime.jit import inline


@functools.cache
def channels(tile: Tile) -> Any:
    """Vectors over output channels: ``lines * length`` pixels, found through ``offsets``."""
    micro = channels_tile(tile)
    n_pixels, width, size = tile.rows, tile.width, np.dtype(tile.dtype).itemsize

    @inline
    def multiply(data, offsets, lines, length, steps, weight, bias, y, at, first, last, p):  # type: ignore[no-untyped-def]
        pixels = lines * length
        for block in range(first, last):
            group, part = divmod(block, p.group_blocks)
            filter = group * p.group_filters + part * width
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
                    address(y, at + pixel * p.y_pixel + filter * p.y_filter),
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
    def multiply(data, offsets, lines, length, steps, weight, bias, y, at, first, last, p):  # type: ignore[no-untyped-def]
        for block in range(first, last):
            group, part = divmod(block, p.group_blocks)
            filter = group * p.group_filters + part * n_filters
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
                        address(y, at + (pixel + column) * p.y_pixel + filter * p.y_filter),
                        filters,
                        min(width, length - column),
                        p.y_filter,
                        p.y_pixel,
                    )

    return multiply

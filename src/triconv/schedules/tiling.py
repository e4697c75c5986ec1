"""Tiles: which part of the output the registers hold while a sum runs.

A tile has ``rows`` rows of ``vectors`` vectors, an accumulator each. A step of the sum reads a number, or a
vector, for each row and a vector for each column, and makes ``rows x vectors`` products of them: the more
accumulators, the fewer reads a product needs. They fit where

    rows * vectors * parts  +  what a step reads at once  <=  registers

``parts`` being the vectors that an element's accumulator takes. A step's products have to hide that each sum
can go on only `cost.LATENCY` cycles after its last product, for which 8 accumulators are enough.

Figures beside a number are measurements on two cores with AVX-512.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.core.axis import Axis
from triconv.core.problem import Problem
from triconv.kernels.simd import Tile
from triconv.runtime.arrays import parts
from triconv.runtime.machine import Machine
from triconv.schedules import cost
from triconv.schedules.orientations import CHANNELS, COLUMNS, Orientation

PIXELS = 14  # pixels in a tile at most: of wrapped tiles, where each has a pointer, more leave the registers
ROWS = 8  # rows of a tile at most, where rows share what they read: 5x5 took 0.68 ms with 6, 0.93 with 2
FILTERS = (1, 2, 4, 8)  # filters in a tile of columns: a bank of 8 took 1.1 ms by fours, 0.5 by eights
# Which kernels are unrolled into a tile's code: each one is one more function to compile.
UNROLLED_KERNELS = (3, 5, 7, 9, 11, 13, 15)
UNROLLED_STRIDES = (1, 2)
UNROLLED_DTYPES = ("float32", "float64")


def lanes(dtype: np.dtype[Any], machine: Machine) -> int:
    """Elements in a vector."""
    return machine.vector_bits // (8 * dtype.itemsize)


def rounded(count: int, step: int) -> int:
    """The least multiple of ``step`` that is not under ``count``."""
    return -(-count // step) * step


def tiled(total: int, piece: int, tile: int) -> int:
    """Pixels that are computed where ``total`` come in pieces, and pieces in whole tiles."""
    pieces, rest = divmod(total, piece)
    return pieces * rounded(piece, tile) + rounded(rest, tile)


# --- which way vectors lie --------------------------------------------------------------------------


def vectors(problem: Problem, machine: Machine) -> tuple[Orientation, Tile]:
    """Whether lanes are filters or pixels of a row, and the tile: what is predicted to take fewer cycles."""
    g = problem.geometry
    filters = g.out_channels // g.groups
    options = [(COLUMNS, tile) for tile in columns_tiles(problem.dtype, filters, machine)]
    if filters > 1 and not is_grouped(problem, machine):
        options += [(CHANNELS, tile) for tile in channels_tiles(problem.dtype, filters, machine)]
    return min(options, key=lambda option: row_cycles(problem, *option))


def row_cycles(problem: Problem, orientation: Orientation, tile: Tile) -> float:
    """Cycles that the tiles of a row of pixels take, by the model of `cost`; lanes over filters wrapped.

    Vectors of weights lie along the lines of the cache, each read at once. Vectors of pixels mostly lie
    across two.
    """
    g = problem.geometry
    h, w = problem.axes
    filters, pixels = g.out_channels // g.groups, w.out
    products = tile.rows * tile.vectors * parts(problem.dtype)
    if orientation.over_filters:
        reads = tile.vectors + tile.rows
        tiles = (
            rounded(filters, tile.width) / tile.width * rounded(pixels * h.out, tile.rows) / tile.rows / h.out
        )
        together = problem.layout == "NHWC"
    else:
        reads = 2 * tile.vectors + tile.rows
        tiles = rounded(filters, tile.rows) / tile.rows * rounded(pixels, tile.width) / tile.width
        together = problem.layout == "NCHW" or (filters == tile.rows and g.groups == 1)
    store = tile.rows * tile.vectors * (cost.STORE if together else cost.SCATTER * tile.lanes)
    return tiles * (g.patch_size * cost.step(products, reads) + store + cost.START)


def is_grouped(problem: Problem, machine: Machine) -> bool:
    """Whether groups have as many filters as channels, and several of them fill a vector."""
    g = problem.geometry
    size = g.group_channels
    count = lanes(problem.dtype, machine)
    return g.groups > 1 and g.out_channels == g.in_channels and size < count and count % size == 0


# --- the tiles of each orientation ------------------------------------------------------------------


def channels_tiles(dtype: np.dtype[Any], filters: int, machine: Machine) -> Iterator[Tile]:
    """Pixels x channel vectors: what the registers hold beside the weights and one broadcast pixel."""
    for across in (2, 3, 1) if filters > lanes(dtype, machine) else (1,):
        rows = min(PIXELS, (machine.registers - across - parts(dtype)) // (across * parts(dtype)))
        yield Tile(dtype.name, lanes(dtype, machine), rows, across, machine.fma)


def columns_tiles(dtype: np.dtype[Any], filters: int, machine: Machine) -> Iterator[Tile]:
    """Filters x pixel vectors, for as many filters at a time as are there, or nearly."""
    for rows in FILTERS:
        if rows == 1 or rows < 2 * filters:
            across = (machine.registers - parts(dtype)) // (rows * parts(dtype) + 1)
            across = min(8 // parts(dtype), across)
            if across > 0:
                yield Tile(dtype.name, lanes(dtype, machine), rows, across, machine.fma)


def unrolled(tile: Tile, axis: Axis) -> Tile:
    """The tile with the kernel along its rows unrolled into its code, where that is one of those."""
    one_by_one = axis.dilation == 1 and tile.dtype in UNROLLED_DTYPES
    if one_by_one and axis.kernel in UNROLLED_KERNELS and axis.stride in UNROLLED_STRIDES:
        return replace(tile, kernel=axis.kernel, stride=axis.stride)
    return tile


def rows_tile(dtype: np.dtype[Any], axis: Axis, machine: Machine) -> Tile:
    """Output rows x pixel vectors, those of a row sharing each weight."""
    across = 4 if machine.registers >= 32 else 2
    rows = min(ROWS, (machine.registers - across - parts(dtype)) // (across * parts(dtype)))
    return unrolled(Tile(dtype.name, lanes(dtype, machine), rows, across, machine.fma), axis)


def flat_tile(dtype: np.dtype[Any], across: int, axis: Axis, machine: Machine) -> Tile:
    """Output rows x vectors over pixels and channels alike."""
    rows = min(ROWS, (machine.registers - 1 - parts(dtype)) // (across * parts(dtype)))
    return unrolled(Tile(dtype.name, lanes(dtype, machine), rows, across, machine.fma), axis)


def depth_tile(dtype: np.dtype[Any], channels: int, group: int, axis: Axis, machine: Machine) -> Tile:
    """Pixels x vectors of channels; the weights of a row of the kernel are held where registers allow."""
    count, shared = lanes(dtype, machine), int(group > 1)
    for across in (2, 1) if channels > count and group == 1 else (1,):
        tile = unrolled(Tile(dtype.name, count, ROWS, across, machine.fma, group), axis)
        held = across * (parts(dtype) * tile.kernel * group + 1 + shared)
        if ROWS * across * parts(dtype) + held <= machine.registers:
            break
    else:
        rows = min(ROWS, (machine.registers - 2 * parts(dtype) - shared) // parts(dtype))
        tile = replace(tile, rows=rows)
    # One pixel fewer where as many tiles do: the last one computes fewer pixels again.
    fewer = tile.rows - 1
    return replace(tile, rows=fewer) if -(-axis.out // fewer) == -(-axis.out // tile.rows) else tile

"""W's sparsity pattern: which pixels an output reads, axis by axis.

A row of W has an entry for each different pixel that its output's patch shows. Rows, columns and channels of
a patch are chosen one without the other, so the pattern is a product of patterns over axes. With ``h(i)`` and
``w(j)`` the different rows and columns of the image that the output ``(i, j)`` reads, and ``C`` the channels
of a group,

    nnz(row (i, j, m)) = C h(i) w(j)          nnz(W) = C_out C  sum of h(i)  sum of w(j)

An axis of 4 pixels, 3 taps, one pixel of padding on both sides; a letter a tap, ``+`` where taps meet:

    zeros         replicate         circular
    b c . .       a+b c . .         b c . a
    a b c .       a b c .           a b c .
    . a b c       . a b c           . a b c
    . . a b       . . a b+c         c . a b
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv.core.axis import Axis
from triconv.core.problem import Problem, Shape

BLOCK = 1 << 20  # pairs of an output and a pixel that are counted at a time
PAIR = 96  # bytes a pair of an axis takes while its tables are made


class Pairs(NamedTuple):
    """The pairs of a row and a column of W that one axis allows: row ``i`` has those from ``starts[i]`` on.

    Pairs with the same pixel share a rank, and their taps are added up.
    """

    counts: NDArray[np.int64]  # a row: the different columns
    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    taps: NDArray[np.int64]
    ranks: NDArray[np.int64]  # of a column among those of its row
    moved: NDArray[Any]  # whether a row has the pairs of the one ``back`` before it, columns moved on
    back: int
    step: int  # columns by which they are moved


def entries(axis: Axis, mode: str, *, padded: bool) -> int:
    """How many pairs of an output and a pixel that it reads there are along an axis."""
    if padded:
        return axis.out * axis.kernel
    if mode == "zeros":
        return sum(axis.inside(u) for u in range(axis.kernel))
    if mode == "circular":
        return axis.out * min(axis.kernel, axis.size // math.gcd(axis.size, axis.dilation))
    first, last = axis.border()
    total = (last - first) * axis.kernel
    step = max(1, BLOCK // axis.kernel)
    for low, high in ((0, first), (last, axis.out)):
        for start in range(low, high, step):
            outputs = np.arange(start, min(start + step, high))
            seen = np.sort(axis.sources(axis.taps(outputs), mode))
            total += seen.size - int(np.count_nonzero(seen[:, 1:] == seen[:, :-1]))
    return total


def pairs(
    axis: Axis, outputs: NDArray[np.int64], mode: str, *, padded: bool, transposed: bool = False
) -> Pairs:
    """Which pixels these outputs of an axis read; ``transposed``, which of all outputs read each pixel."""
    positions = axis.taps(outputs)
    sources = positions if padded else axis.sources(positions, mode)
    shape = sources.shape
    rows, columns, taps = np.arange(shape[0])[:, None], sources, np.arange(shape[1])
    if transposed:
        rows, columns = columns, rows
    held = sources >= 0
    row, column, tap = (np.broadcast_to(each, shape)[held] for each in (rows, columns, taps))
    order = np.lexsort((tap, column, row))
    row, column, tap = row[order], column[order], tap[order]
    fresh = (np.diff(row, prepend=-1) != 0) | (np.diff(column, prepend=-1) != 0)
    size = (axis.padded if padded else axis.size) if transposed else len(outputs)
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=size))])
    counts = np.bincount(row[fresh], minlength=size)
    ranks = np.cumsum(fresh) - 1 - np.concatenate([[0], np.cumsum(counts)])[row]
    back, step = (axis.stride, 1) if transposed else (1, axis.stride)
    lengths = np.diff(starts)
    alike = lengths == np.concatenate([np.full(min(back, size), -1), lengths[:-back]])
    ours = np.flatnonzero(alike[row])
    there = ours - starts[row[ours]] + starts[row[ours] - back]
    same = (tap[ours] == tap[there]) & (column[ours] == column[there] + step)
    moved = alike & (np.bincount(row[ours][same], minlength=size) == lengths)
    return Pairs(counts, starts, column, tap, ranks, moved, back, step)


def raveled(problem: Problem, shape: Shape, order: str) -> tuple[int, int, int]:
    """Strides of rows, columns and channels in ``sample.ravel(order)`` of a sample in its layout."""
    h, w, c = shape
    axes = [(0, h), (1, w), (2, c)] if problem.layout == "NHWC" else [(2, c), (0, h), (1, w)]
    strides, step = [0, 0, 0], 1
    for axis, size in axes if order == "F" else reversed(axes):
        strides[axis] = step
        step *= size
    return strides[0], strides[1], strides[2]


def table_bytes(problem: Problem) -> int:
    """Bytes of the pairs of both axes."""
    return PAIR * sum(axis.out * axis.kernel for axis in problem.axes)

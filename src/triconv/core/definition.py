"""The definition itself, tap by tap in NumPy: what is asked where something is infinite.

As long as all numbers are finite, a method may leave out products with the padding's zeros, put some in, or
add up taps that read the same pixel before it multiplies. But infinity times zero is NaN, and so is infinity
less itself: there every method's answer is the one that is found here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv.core.problem import Problem, Shape, in_layout
from triconv.runtime import memory

Array = NDArray[Any]


def forward(problem: Problem, x: Array, weight: Array, bias: Array) -> Array:
    """``y``, of the problem's shape: each output is the bias and, tap by tap, what it sees times the tap."""
    g = problem.geometry
    image, taps = channels_last(problem, x, g.input_shape), by_group(problem, weight)
    pixels = problem.batch * math.prod(g.output_shape[:2])
    y = np.zeros((g.groups, pixels, taps.shape[-1]), x.dtype)
    with np.errstate(all="ignore"):
        for u, v, rows, columns in sources(problem):
            seen = image[:, rows[:, None], columns]
            seen[:, rows < 0] = 0
            seen[:, :, columns < 0] = 0
            y += product(seen.reshape(pixels, g.groups, g.group_channels).swapaxes(0, 1), taps[u, v])
        whole = y.swapaxes(0, 1).reshape(problem.batch, *g.output_shape) + bias
    return as_given(problem, whole, problem.y_shape)


def backward(problem: Problem, y: Array, weight: Array, bias: Array | None = None) -> Array:
    """W's plain transpose of ``y``, of ``x``'s shape: each output gives back, tap by tap, itself times it."""
    g = problem.geometry
    outputs, taps = channels_last(problem, y, g.output_shape), by_group(problem, weight).swapaxes(-1, -2)
    flat = outputs.reshape(math.prod(outputs.shape[:3]), g.groups, taps.shape[-2]).swapaxes(0, 1)
    x = np.zeros((problem.batch, *g.input_shape), y.dtype)
    with np.errstate(all="ignore"):
        for u, v, rows, columns in sources(problem):
            back = product(flat, taps[u, v]).swapaxes(0, 1).reshape(*outputs.shape[:3], g.in_channels)
            of_rows, of_columns = rows >= 0, columns >= 0
            at: Any = slice(None), rows[of_rows, None], columns[of_columns]
            np.add.at(x, at, back[:, of_rows][:, :, of_columns])
        if bias is not None:
            x = x + bias
    return as_given(problem, x, problem.x_shape)


def settled(found: Array, exact: Array) -> Array:
    """What a method found, bit for bit, where it and the definition's answer are finite; elsewhere that."""
    return np.where(np.isfinite(exact) & np.isfinite(found), found, exact)


def is_finite(array: Array) -> bool:
    """Whether all numbers are finite; their sum tells, unless it is too large."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def w_may_differ(problem: Problem, weight: Array) -> bool:
    """Whether W, which has no entries for zeros, may make something else of numbers that are not finite."""
    return copies_pixels(problem) or not is_finite(weight)


def copies_pixels(problem: Problem) -> bool:
    """Whether several taps of an output may read one pixel, so that W holds their sum."""
    return problem.mode != "zeros" and problem.geometry.pads != ((0, 0), (0, 0))


def require(where: str, problem: Problem) -> None:
    """Refuse what the definition takes where it would not fit."""
    g = problem.geometry
    pixels = problem.batch * math.prod(g.output_shape[:2])
    elements = 2 * pixels * (g.in_channels + g.out_channels) + 2 * math.prod(problem.x_shape)
    memory.require(where, elements * problem.dtype.itemsize, "a sum of infinite numbers")


def sources(problem: Problem) -> Iterator[tuple[int, int, NDArray[np.int64], NDArray[np.int64]]]:
    """Every tap, with the rows and the columns of the image that outputs see by it, -1 for zeros."""
    h, w = (axis.sources(axis.taps(axis.outputs()), problem.mode) for axis in problem.axes)
    for u, v in itertools.product(range(h.shape[1]), range(w.shape[1])):
        yield u, v, h[:, u], w[:, v]


def product(a: Array, b: Array) -> Array:
    """``a @ b``, in real numbers: the complex products of fast libraries make NaN of infinity in a sum."""
    if a.dtype.kind != "c":
        return a @ b
    made = np.empty((*a.shape[:-1], b.shape[-1]), a.dtype)
    made.real = a.real @ b.real - a.imag @ b.imag
    made.imag = a.real @ b.imag + a.imag @ b.real
    return made


def by_group(problem: Problem, weight: Array) -> Array:
    """The taps as ``(k_h, k_w, groups, C_in / groups, C_out / groups)``."""
    filters = problem.filters(weight).astype(problem.dtype, copy=False)
    return filters.reshape(problem.geometry.groups, -1, *filters.shape[1:]).transpose(2, 3, 0, 4, 1)


def channels_last(problem: Problem, array: Array, shape: Shape) -> Array:
    """Samples in the problem's layout as ``(N, H, W, C)``, where one is of shape ``(H, W, C)``."""
    whole = array.reshape(problem.batch, *in_layout(problem.layout, *shape))
    return whole if problem.layout == "NHWC" else np.moveaxis(whole, 1, -1)


def as_given(problem: Problem, whole: Array, shape: Shape) -> Array:
    """An array ``(N, H, W, C)`` in the problem's layout, and of this shape."""
    return (whole if problem.layout == "NHWC" else np.moveaxis(whole, -1, 1)).reshape(shape)

"""The definition in double precision, by NumPy alone: what errors are measured against, and their bound.

It gathers patches, whatever the kernels do. Where all of them would take long, it gathers a sample.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv import arguments
from triconv.core.axis import Axis
from triconv.core.problem import Problem, batch_channels_last
from triconv.runtime import memory

GATHERED = (
    1 << 24
)  # elements of all patches together, and of the values, up to which all are looked at: 0.3 s
SAMPLED = 1 << 22  # and of a sample
PRODUCTS = 1 << 28  # multiply-adds at most: 0.1 s
BLOCK = 1 << 20  # elements of the patches that are held at a time
FEWEST = 32  # positions at least, however large a patch is


class Reference(NamedTuple):
    """The definition at some positions of the output.

    Attributes
    ----------
    places : tuple of ndarray
        The positions: samples, rows and columns, each ``(n,)``.
    values : ndarray
        ``(n, C_out)``, in double precision.
    """

    places: tuple[NDArray[np.intp], ...]
    values: NDArray[Any]

    @np.errstate(all="ignore")
    def error(self, y: NDArray[Any]) -> float:
        """Largest absolute difference to ``y``, ``(N, H_out, W_out, C_out)``.

        Equal infinities, NaN in the same place, and what overflows in the dtype of ``y``, are no difference.
        """
        found = y[self.places]
        difference = np.abs(found - self.values)
        same = (found == self.values) | (np.isnan(found) & np.isnan(self.values))
        same |= np.isinf(found) & (found == self.values.astype(found.dtype))
        difference[same] = 0.0
        return float(difference.max(initial=0.0))


def reference(task: Problem, x: NDArray[Any], weight: NDArray[Any], bias: Any) -> Reference:
    """The definition at every position, or where that would take long at a sample of them."""
    task = task.canonical(cut=False)
    g = task.geometry
    precise = np.result_type(task.dtype, np.float64)
    size = 2 * weight.size * precise.itemsize + x.nbytes * (not x.flags.c_contiguous)
    memory.require("compare", size, f"the weight of shape {weight.shape} in {precise}, beside copies,")
    filters = task.filters(weight).reshape(g.groups, -1, g.patch_size)
    filters = np.ascontiguousarray(filters.swapaxes(1, 2), precise)
    pixels = batch_channels_last(x, task.layout).reshape(-1, g.in_channels)
    places = _places(task)
    values = np.zeros((len(places[0]), g.out_channels), precise)
    if bias is not None:
        values += np.asarray(bias, precise)
    shown = [_shown(axis, task.mode) for axis in task.axes]
    step = max(1, BLOCK // max(math.prod(g.kernel_size) * g.in_channels, g.out_channels))
    for first in range(0, len(values), step):
        block = slice(first, first + step)
        n, i, j = (place[block] for place in places)
        rows, columns = (s[axis.taps(at)] for s, axis, at in zip(shown, task.axes, (i, j), strict=True))
        patches = _patches(pixels, n, rows, columns, g.input_shape, precise)
        patches = patches.reshape(len(n), -1, g.groups, g.group_channels).transpose(2, 0, 1, 3)
        with np.errstate(all="ignore"):
            sums = patches.reshape(g.groups, len(n), -1) @ filters
            values[block] += np.moveaxis(sums, 0, 1).reshape(len(n), -1)
    return Reference(places, values)


def _places(task: Problem) -> tuple[NDArray[np.intp], ...]:
    """The positions to look at. Half of a sample lies on the border, where the padding is seen."""
    g = task.geometry
    taps = math.prod(g.kernel_size)
    shape = task.batch, *g.output_shape[:2]
    size, held = math.prod(shape), max(taps * g.in_channels, g.out_channels)
    fewer = PRODUCTS // (g.patch_size * g.out_channels)
    if size <= max(FEWEST, min(GATHERED // held, fewer)):
        return np.unravel_index(np.arange(size), shape)
    most = max(FEWEST, min(SAMPLED // held, fewer))
    places = np.random.default_rng(0).integers(0, shape, (most, 3))
    for n, (axis, last) in enumerate(product((1, 2), (False, True))):
        places[n::8, axis] = last * (shape[axis] - 1)
    corners = list(product(*((0, size - 1) for size in shape)))
    places[: len(corners)] = corners
    return np.unravel_index(np.unique(np.ravel_multi_index(tuple(places.T), shape)), shape)


def _shown(axis: Axis, mode: str) -> NDArray[np.int64]:
    """Which pixel each padded position shows, -1 for a zero."""
    zeros = {"constant_values": -1} if mode == "zeros" else {}
    pads = axis.before, axis.after
    return np.pad(np.arange(axis.size), pads, mode=arguments.NUMPY_MODES[mode], **zeros)  # type: ignore[call-overload]


def _patches(
    pixels: NDArray[Any],
    n: NDArray[Any],
    rows: NDArray[Any],
    columns: NDArray[Any],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """``(len(n), k_h, k_w, C_in)`` of the pixels ``(N H W, C_in)``; rows and columns of -1 are zero."""
    n, rows, columns = n[:, np.newaxis, np.newaxis], rows[:, :, np.newaxis], columns[:, np.newaxis, :]
    if not len(pixels):
        return np.zeros((*np.broadcast_shapes(n.shape, rows.shape, columns.shape), shape[2]), dtype)
    at = (n * shape[0] + np.maximum(rows, 0)) * shape[1] + np.maximum(columns, 0)
    patches = pixels.take(at, axis=0).astype(dtype, copy=False)
    patches[(rows < 0) | (columns < 0)] = 0
    return patches


# --- rounding ---------------------------------------------------------------------------------------


@np.errstate(all="ignore")
def error_bound(task: Problem, x: NDArray[Any], weight: NDArray[Any], bias: Any) -> float:
    """``n u / (1 - n u)`` times the largest sum of absolute values that an output can have.

    Beside the method's own rounding this counts that of the double precision reference, that of a half
    precision result, and underflow.
    """
    geometry, complex_valued = task.geometry, task.dtype.kind == "c"
    filters = _magnitudes(weight).reshape(geometry.out_channels, -1)
    largest = _largest(x) * filters.sum(axis=1).max()
    if bias is not None:
        largest += _magnitudes(bias).max()
    terms = (geometry.patch_size + 1) * (2 if complex_valued else 1)
    relative = _gamma(terms, task.dtype) + _gamma(terms, np.dtype(np.float64))
    if task.result != task.dtype:
        relative += float(np.finfo(task.result).eps)
    parts = math.sqrt(2) if complex_valued else 1.0
    return float(parts * (relative * largest + terms * np.finfo(task.result).smallest_subnormal))


def _largest(x: NDArray[Any]) -> float:
    """The largest of the magnitudes, a piece at a time."""
    pieces = np.nditer(x, ["external_loop", "buffered", "zerosize_ok"], buffersize=BLOCK >> 3)
    return max((float(_magnitudes(piece).max(initial=0.0)) for piece in pieces), default=0.0)


def _magnitudes(values: Any) -> NDArray[np.float64]:
    """Absolute values; what is not finite counts for nothing, its error is judged exactly."""
    sizes = np.abs(np.asarray(values, np.result_type(values, np.float64)))
    return np.where(np.isfinite(sizes), sizes, 0.0)


def _gamma(terms: int, dtype: np.dtype[Any]) -> float:
    share = terms * float(np.finfo(dtype).eps) / 2
    return share / (1 - share) if share < 1 else math.inf

"""Arrays as kernels take them: contiguous, aligned, of the kernel's dtype; copied where they are not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv.runtime import memory

LINE_BYTES = 64  # of a line of the cache
LARGE = 4096  # elements from which a new array starts at a line of the cache


def contiguous(where: str, name: str, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array as kernels take it: itself, or a copy, refused where that would not fit."""
    if is_ready(array, dtype):
        return array
    require_copy(where, name, array, dtype)
    return ready(array, dtype)


def ready(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The same where a copy is known to fit."""
    if is_ready(array, dtype):
        return array
    with np.errstate(all="ignore"):  # as in `arguments.cast`
        return array.astype(dtype, order="C")


def is_ready(array: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Whether kernels for this dtype take the array as it lies in memory."""
    flags = array.flags
    return array.dtype == dtype and flags.c_contiguous and flags.aligned


def require_copy(where: str, name: str, array: NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Refuse a copy that would not fit, as of an array with strides of zero, which itself takes nothing."""
    memory.require(where, array.size * dtype.itemsize, f"a copy of {name} of shape {array.shape} ({dtype})")


def parts(dtype: np.dtype[Any]) -> int:
    """Numbers that an element is made of: two for complex ones, each of which takes a product of its own."""
    return 2 if dtype.kind == "c" else 1


def aligned(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A new array whose first element starts a line of the cache, so that vectors do not straddle two.

    Not where it is small: finding its address takes a microsecond.
    """
    if count < LARGE:
        return np.empty(count, dtype)
    held = np.empty(count + LINE_BYTES // dtype.itemsize, dtype)
    first = -held.ctypes.data % LINE_BYTES // dtype.itemsize
    return held[first : first + count]

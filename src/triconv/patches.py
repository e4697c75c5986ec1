"""Patches and padding as arrays of their own, each function beside its adjoint or inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triconv import arguments
from triconv.core import checked, pattern
from triconv.core.keywords import Keywords, check_mode, pads
from triconv.described import described
from triconv.methods import im2col as im2col_method
from triconv.methods import transposed
from triconv.runtime import arrays, memory
from triconv.runtime.interrupts import interruptible
from triconv.schedules import tables, workspace
from triconv.types import Layout, Padding, PaddingMode, Size


@described
def im2col(
    x: ArrayLike,
    kernel_size: Size,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
) -> NDArray[Any]:
    """Every patch as a row of one matrix.

    Parameters
    ----------
    %(x, kernel_size, stride, padding, dilation, padding_mode, layout)

    Returns
    -------
    ndarray, shape (H_out * W_out, C_in * k_h * k_w), or with N in front
        Row ``i W_out + j`` is ``x_ij``, channel by channel and each channel column by column.

    Raises
    ------
    %(errors)
    MemoryError
        Where the matrix would not fit.

    See Also
    --------
    col2im : the other direction, its exact adjoint.
    flatten_weight : the filters in the same order, so that ``im2col(x, k) @ flatten_weight(w).T`` convolves.

    Notes
    -----
    Holds each pixel up to ``k_h k_w`` times [1]_. Element ``(u, v, c)`` of a patch is in column
    ``c k_h k_w + v k_h + u``.

    References
    ----------
    .. [1] K. Chellapilla, S. Puri and P. Simard, "High performance convolutional neural networks for document
       processing", 2006.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> triconv.im2col(np.arange(9).reshape(3, 3), 2)
    array([[0., 3., 1., 4.],
           [1., 4., 2., 5.],
           [3., 6., 4., 7.],
           [4., 7., 5., 8.]])
    """
    where = "im2col"
    image = arguments.array(where, "x", x)
    keywords = Keywords(stride, padding, dilation, 1, padding_mode, layout)
    problem = checked.patches(where, image.shape, image.dtype, kernel_size, keywords)
    g = problem.geometry
    pixels = problem.axes[0].out * problem.axes[1].out
    shape = (*((problem.batch,) if image.ndim == 4 else ()), pixels, g.patch_size)
    elements = problem.batch * pixels * g.patch_size + image.size
    size = elements * problem.dtype.itemsize + tables.maps_bytes(problem)
    memory.require(where, size, f"the matrix of shape {shape}")
    y = np.empty(shape, problem.dtype)
    if problem.batch:
        flat = arrays.contiguous(where, "x", image, problem.dtype).reshape(-1)
        workers = workspace.threads_for(y.size)
        interruptible(y.size, im2col_method.patch_matrix, problem, flat, y.reshape(-1), workers)
    return arguments.cast(y, problem.result)


@described
def col2im(
    cols: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    kernel_size: Size,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
) -> NDArray[Any]:
    """Add every patch back to where it was taken from: the exact adjoint of `im2col`.

    Parameters
    ----------
    cols : array_like, shape (H_out * W_out, C_in * k_h * k_w), or with N in front
        Patches as rows, as `im2col` returns them.
    input_shape : tuple of int
        The full shape of the image, the batch axis included.
    %(kernel_size, stride, padding, dilation, padding_mode, layout)

    Returns
    -------
    ndarray, shape input_shape
        Each pixel is the sum of all that patches hold of it, those of its copies in the padding included.

    Raises
    ------
    %(errors)
    MemoryError
        Where the result would not fit.

    See Also
    --------
    im2col : the other direction. ``col2im(im2col(x, k), x.shape, k)`` counts each pixel once a patch.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> triconv.col2im(np.ones((4, 4)), (3, 3), 2)
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    where = "col2im"
    patches = arguments.array(where, "cols", cols)
    shape = arguments.integers(
        where, "input_shape", input_shape, "a sequence of ints, the full shape of x", 0
    )
    keywords = Keywords(stride, padding, dilation, 1, padding_mode, layout)
    problem = checked.patches(where, shape, patches.dtype, kernel_size, keywords, "input_shape")
    g = problem.geometry
    h, w = g.axes
    expected = (*((problem.batch,) if len(shape) == 4 else ()), h.out * w.out, g.patch_size)
    if patches.shape != expected:
        raise ValueError(f"{where}: cols expects shape {expected}, got {patches.shape}")
    checked.require_result(where, problem, pattern.table_bytes(problem))
    fold = transposed.patch_folder(problem)
    return arguments.cast(fold(arrays.contiguous(where, "cols", patches, problem.dtype)), problem.result)


@described
def pad(
    x: ArrayLike, padding: Padding, *, padding_mode: PaddingMode = "zeros", layout: Layout = "NHWC"
) -> NDArray[Any]:
    """The padded input ``X_pad``.

    Parameters
    ----------
    %(x)
    padding : int, (int, int) or ((int, int), (int, int))
        Both sides; rows and columns; or ``((top, bottom), (left, right))``. Of the words of `conv2d` only
        ``"valid"``, since the others need a kernel.
    %(padding_mode, layout)

    Returns
    -------
    ndarray
        ``(H_pad, W_pad, C_in)`` in the layout, with ``N`` where ``x`` has it; always a new array.

    Raises
    ------
    %(errors)
    MemoryError
        Where the result would not fit.

    Examples
    --------
    >>> import triconv
    >>> triconv.pad([[1.0, 2.0]], (0, 1), padding_mode="reflect")
    array([[2., 1., 2., 1.]])
    """
    where = "pad"
    image = arguments.array(where, "x", x)
    keywords = Keywords(padding=padding, padding_mode=padding_mode, layout=layout)
    layout = keywords.checked_layout(where)
    mode = keywords.checked_mode(where)
    batch, (height, width, channels) = checked.image_shape(where, "x", image.shape, layout)
    sides = pads(where, padding, None)
    for size, of_axis, name in zip((height, width), sides, ("height", "width"), strict=True):
        check_mode(where, size, of_axis, mode, name)
    dtype = arguments.result_dtype(image)
    high, wide = height + sum(sides[0]), width + sum(sides[1])
    memory.require(
        where, max(batch, 1) * high * wide * channels * dtype.itemsize, f"the padded input {high} x {wide}"
    )
    axes: list[tuple[int, int]] = [(0, 0)] * image.ndim
    first = image.ndim - (3 if layout == "NHWC" and image.ndim > 2 else 2)
    axes[first : first + 2] = sides
    return np.pad(arguments.cast(image, dtype), axes, mode=arguments.NUMPY_MODES[mode])


@described
def flatten_weight(weight: ArrayLike, *, layout: Layout = "NHWC") -> NDArray[Any]:
    """Every filter as a row, in the order of `im2col`'s columns.

    Parameters
    ----------
    %(weight, layout)

    Returns
    -------
    ndarray, shape (C_out, C_in / groups * k_h * k_w)
        Row ``m`` is ``k_m``; always a new array.

    Raises
    ------
    %(errors)
    MemoryError
        Where the result would not fit.

    Examples
    --------
    >>> import triconv
    >>> triconv.flatten_weight([[1, 2], [3, 4]])
    array([[1., 3., 2., 4.]])
    """
    where = "flatten_weight"
    filters = arguments.array(where, "weight", weight)
    layout = Keywords(layout=layout).checked_layout(where)
    checked.check_weight(where, filters.shape, layout)
    if filters.ndim == 2:
        rows = filters.T[None]
    else:
        rows = filters.transpose((0, 3, 2, 1) if layout == "NHWC" else (0, 1, 3, 2))
    dtype = arguments.result_dtype(filters)
    arrays.require_copy(where, "weight", filters, dtype)
    return np.array(rows, dtype, order="C").reshape(len(rows), -1)

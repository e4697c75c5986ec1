"""The derivatives of a convolution and its transpose, as people call them: check, prepare, run."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triconv import arguments
from triconv.adjoint import Transposed, folding, transposed, weight_grad_by_matrix
from triconv.axis import Axis
from triconv.geometry import ConvGeometry
from triconv.methods import choice, common, matrix, names, weight_grad
from triconv.problem import (
    Problem,
    Shape,
    channels_last,
    check_bias,
    check_count,
    check_weight,
    image_shape,
    in_layout,
    problem,
    require_tables,
    unfiltered,
)
from triconv.runtime import memory
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import machine


def conv2d_input_grad(
    grad: ArrayLike,
    weight: ArrayLike,
    input_shape: tuple[int, ...],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    layout: str = "NHWC",
    method: str = "auto",
) -> NDArray[Any]:
    r"""The gradient of a convolution with respect to its input: the adjoint, :math:`W^H \mathrm{vec}(G)`.

    Parameters
    ----------
    grad : array_like
        ``G``, the gradient with respect to what `conv2d` returns, and of its shape.
    weight : array_like
        As in `conv2d`.
    input_shape : tuple of int
        The full shape of ``x``, the batch axis included.
    stride, padding, dilation, groups, padding_mode, layout
        As in the `conv2d` call.
    method : {"auto", "direct", "im2col", "matrix"}
        How it is computed; ``"matrix"`` assembles the transpose of W.

    Returns
    -------
    ndarray, shape input_shape
        Of dtype ``numpy.result_type(grad, weight)``, float64 where that is an integer.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.
    MemoryError
        Where the result, or W for ``method="matrix"``, would not fit.

    See Also
    --------
    conv_transpose2d : the plain transpose, not conjugated, with a bias.
    ConvOperator : the same pair of maps as an operator of SciPy's.

    Notes
    -----
    Takes as many operations as the convolution. Pixels of one remainder mod the stride see the same taps,
    so each of these phases is a convolution of stride 1 over ``grad``; no zeros are put between its pixels.
    For complex numbers this is PyTorch's convention. V. Dumoulin and F. Visin, "A guide to convolution
    arithmetic for deep learning" (2016), chapter 4.

    Examples
    --------
    >>> import triconv
    >>> triconv.conv2d_input_grad([[1.0, 2.0]], [[3.0, 4.0]], (1, 3))
    array([[ 3., 10.,  8.]])
    """
    where = "conv2d_input_grad"
    y = arguments.array(where, "grad", grad)
    filters = arguments.array(where, "weight", weight)
    operator = arguments.recall(
        known_input_grad,
        (where, y.shape, y.dtype, filters.shape, filters.dtype),
        (input_shape, stride, padding, dilation, groups, padding_mode, layout, method),
    )
    if filters.dtype.kind == "c":
        common.require_copy(where, "weight", filters, filters.dtype)
        filters = filters.conj()
    return transpose(where, operator, y, filters)


def conv2d_weight_grad(
    grad: ArrayLike,
    x: ArrayLike,
    kernel_size: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    layout: str = "NHWC",
    method: str = "auto",
) -> NDArray[Any]:
    r"""The gradient with respect to the filters: :math:`\sum_{ij} G_{ijm} \overline{x_{ij}}`.

    Parameters
    ----------
    grad : array_like
        ``G``, the gradient with respect to what `conv2d` returns, and of its shape.
    x : array_like
        The input of the convolution.
    kernel_size : int or (int, int)
        ``k_h, k_w``.
    stride, padding, dilation, groups, padding_mode, layout
        As in the `conv2d` call.
    method : {"auto", "direct", "im2col", "matrix"}
        How it is computed: bands of the input, blocks of patches, or the matrix of the convolution of
        ``x`` with ``grad``, which this is too.

    Returns
    -------
    ndarray
        Of the shape of the weight: ``(C_out, k_h, k_w, C_in / groups)`` in the layout, ``(k_h, k_w)`` where
        both arrays are 2-D. Of dtype ``numpy.result_type(grad, x)``, float64 where that is an integer.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.
    MemoryError
        Where the result, or the matrix for ``method="matrix"``, would not fit.

    See Also
    --------
    conv2d_input_grad : the gradient with respect to the input.

    Notes
    -----
    Takes as many operations as the convolution. Pixels are summed in bands, and up to 16 sums of bands
    are added up, as shapes and dtypes say; the number of threads changes no bit. The gradient with
    respect to the bias is the sum of ``grad`` over samples, rows and columns.

    Examples
    --------
    >>> import triconv
    >>> triconv.conv2d_weight_grad([[1.0, 2.0]], [[3.0, 4.0, 5.0]], (1, 2))
    array([[11., 14.]])
    """
    where = "conv2d_weight_grad"
    y = arguments.array(where, "grad", grad)
    image = arguments.array(where, "x", x)
    made, run, plan = arguments.recall(
        known_weight_grad,
        (where, y.shape, y.dtype, image.shape, image.dtype),
        (kernel_size, stride, padding, dilation, groups, padding_mode, layout, method),
    )
    workers = common.threads_for(made.flops)
    size = math.prod(made.weight_shape) * made.dtype.itemsize
    if run is not None:
        size += weight_grad.workspace_bytes(made, plan, workers) + run.bytes
    size += sum(a.nbytes for a in (y, image) if a.dtype != made.dtype or not a.flags.c_contiguous)
    memory.require(where, size, f"the result of shape {made.weight_shape}")
    if not made.batch:
        return np.zeros(made.weight_shape, made.result)
    y = common.contiguous(where, "grad", y, made.dtype)
    image = common.contiguous(where, "x", image, made.dtype)
    if y.dtype.kind == "c":  # conj(sum of conj(G) x) is the sum of G conj(x)
        y = y.conj()
    if run is None:
        w = weight_grad_by_matrix(where, made, y, image, machine())
    else:
        w = interruptible(made.flops / 8, run, image.reshape(-1), y.reshape(-1), workers)
    w = w.reshape(made.weight_shape)
    return arguments.cast(w.conj() if made.dtype.kind == "c" else w, made.result)


def conv_transpose2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    layout: str = "NHWC",
    method: str = "auto",
) -> NDArray[Any]:
    r"""The transposed convolution: :math:`W^T \mathrm{vec}(X) + b \otimes 1`, never conjugated.

    ``W`` is that of the `conv2d` with the same weight and keywords.

    Parameters
    ----------
    x : array_like
        ``(H, W, C_in)`` or ``(N, H, W, C_in)``; in NCHW ``(C_in, H, W)`` or ``(N, C_in, H, W)``; or one
        channel ``(H, W)``.
    weight : array_like
        ``(C_in, k_h, k_w, C_out / groups)``; in NCHW ``(C_in, C_out / groups, k_h, k_w)``; or, for a 2-D
        ``x``, one filter ``(k_h, k_w)``.
    bias : array_like, optional
        ``(C_out,)``; a scalar for a 2-D weight.
    stride, dilation, groups, layout, method
        As in `conv2d`.
    padding : int, (int, int), ((int, int), (int, int)) or "valid"
        What the convolution pads, which is cut off here.
    output_padding : int or (int, int), default 0
        Rows and columns more at the bottom and right, fewer than the larger of stride and dilation;
        those that no input reaches get the bias alone.

    Returns
    -------
    ndarray
        ``H_out = (H - 1) s_h - (top + bottom) + d_h (k_h - 1) + output_padding_h + 1`` rows, and columns
        likewise, in the layout of ``x``.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `conv2d`.

    See Also
    --------
    conv2d_input_grad : the adjoint, for an input of any shape and every padding mode.

    Notes
    -----
    M. D. Zeiler, D. Krishnan, G. W. Taylor and R. Fergus, "Deconvolutional networks" (2010).

    Examples
    --------
    >>> import triconv
    >>> triconv.conv_transpose2d([[1.0, 2.0]], [[1.0, 1.0, 1.0]], stride=2)
    array([[1., 1., 3., 2., 2.]])
    """
    where = "conv_transpose2d"
    y = arguments.array(where, "x", x)
    filters = arguments.array(where, "weight", weight)
    start = arguments.bias_array(where, bias)
    layout = arguments.choice(where, "layout", layout, arguments.LAYOUTS)
    groups = arguments.integer(where, "groups", groups, 1)
    check_weight(where, filters.shape, layout, "C_in", "C_out / groups")
    batch, (height, width, channels) = image_shape(where, "x", y.shape, layout)
    flat = filters.ndim == 2
    if flat and y.ndim != 2:
        raise ValueError(f"{where}: a 2-D weight expects a 2-D x, got shape {y.shape}")
    rows, columns, depth = (*filters.shape, 1) if flat else channels_last(layout, filters.shape)
    count = 1 if flat else filters.shape[0]
    if count != channels:
        raise ValueError(
            f"{where}: weight expects a filter for each of the {channels} channels of x, got {count} "
            f"(layout={layout!r})"
        )
    if channels % groups:
        raise ValueError(f"{where}: groups expects a divisor of the {channels} channels of x, got {groups}")
    check_bias(where, None if start is None else np.shape(start), depth * groups, flat=flat)
    axes = transposed_axes(where, (height, width), (rows, columns), stride, padding, dilation, output_padding)
    require_tables(where, axes)
    geometry = ConvGeometry.from_axes(where, axes, depth * groups, channels, groups)
    check_count(where, batch, geometry)
    result = arguments.result_dtype(y, filters, start)
    shape = in_layout(layout, *geometry.input_shape)
    if y.ndim == 4:
        shape = (batch, *shape)
    elif flat:
        shape = geometry.input_shape[:2]
    made = Problem(
        *(geometry, batch, "zeros", layout, arguments.computed(result), result),
        *(shape, filters.shape, y.shape),
    )
    require(where, made)
    method = arguments.choice(where, "method", method, names())
    choice.require(where, method, made)
    return transpose(where, transposed(made, method, machine()), y, filters, start, "x")


def col2im(
    cols: ArrayLike,
    input_shape: tuple[int, ...],
    kernel_size: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    padding_mode: str = "zeros",
    layout: str = "NHWC",
) -> NDArray[Any]:
    """Add every patch back to where it was taken from: the exact adjoint of `im2col`.

    Parameters
    ----------
    cols : array_like, shape (H_out * W_out, C_in * k_h * k_w), or with N in front
        Patches as rows, as `im2col` returns them.
    input_shape : tuple of int
        The full shape of the image, the batch axis included.
    kernel_size, stride, padding, dilation, padding_mode, layout
        As in `im2col`.

    Returns
    -------
    ndarray, shape input_shape
        Each pixel is the sum of all that patches hold of it, those of its copies in the padding included.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.
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
    made = unfiltered(
        *(where, shape, patches.dtype, kernel_size, stride, padding, dilation, padding_mode, layout),
        x_name="input_shape",
    )
    g = made.geometry
    h, w = g.axes
    expected = (*((made.batch,) if len(shape) == 4 else ()), h.out * w.out, g.patch_size)
    if patches.shape != expected:
        raise ValueError(f"{where}: cols expects shape {expected}, got {patches.shape}")
    require(where, made, matrix.PAIR * (h.out * h.kernel + w.out * w.kernel))
    size = g.patch_size
    tables = []
    for axis, output, tap in ((h, w.out * size, 1), (w, size, h.kernel)):
        starts, places = axis.listed(axis.taps(axis.outputs()).reshape(-1), made.mode)
        tables += [starts, places // axis.kernel * output + places % axis.kernel * tap]
    fold = folding(made, tables, h.out * w.out * size, h.kernel * w.kernel)
    return arguments.cast(fold(common.contiguous(where, "cols", patches, made.dtype)), made.result)


@functools.lru_cache(maxsize=1024)
def known_input_grad(
    where: str,
    grad_shape: Shape,
    grad_dtype: np.dtype[Any],
    weight_shape: Shape,
    weight_dtype: np.dtype[Any],
    input_shape: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
    layout: Any,
    method: Any,
) -> Transposed:
    """Check what `conv2d_input_grad` is told, and choose how it is computed; kept for a second call."""
    method = arguments.choice(where, "method", method, names())
    made = problem(
        where,
        arguments.integers(where, "input_shape", input_shape, "a sequence of ints, the full shape of x", 0),
        weight_shape,
        None,
        arguments.result_dtype(grad_dtype, weight_dtype),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        layout=layout,
        x_name="input_shape",
    )
    check_grad(where, grad_shape, made)
    require(where, made)
    choice.require(where, method, made)
    return transposed(made, method, machine())


@functools.lru_cache(maxsize=1024)
def known_weight_grad(
    where: str,
    grad_shape: Shape,
    grad_dtype: np.dtype[Any],
    x_shape: Shape,
    x_dtype: np.dtype[Any],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
    layout: Any,
    method: Any,
) -> tuple[Problem, Any, Any]:
    """The same of `conv2d_weight_grad`: the problem, what runs it, None for the matrix, and its schedule."""
    kernel = arguments.pair(where, "kernel_size", kernel_size)
    groups = arguments.integer(where, "groups", groups, 1)
    layout = arguments.choice(where, "layout", layout, arguments.LAYOUTS)
    method = arguments.choice(where, "method", method, names())
    _, (_, _, channels) = image_shape(where, "x", x_shape, layout)
    if len(x_shape) == 2 == len(grad_shape):
        weight_shape: Shape = kernel
    else:
        _, (_, _, filters) = image_shape(where, "grad", grad_shape, layout)
        if channels % groups:
            raise ValueError(
                f"{where}: groups expects a divisor of the {channels} channels of x, got {groups}"
            )
        weight_shape = (filters, *in_layout(layout, *kernel, channels // groups))
    made = problem(
        where,
        x_shape,
        weight_shape,
        None,
        arguments.result_dtype(grad_dtype, x_dtype),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        layout=layout,
    ).plain()
    check_grad(where, grad_shape, made)
    if method == "auto":
        method = weight_grad.chosen(replace(made, batch=1), machine())
    if method not in (*weight_grad.FORMS, matrix.NAME):
        known = ", ".join(map(repr, (*weight_grad.FORMS, matrix.NAME)))
        raise ValueError(f"{where}: method {method!r} makes no gradients of weights; {known} do")
    if method == matrix.NAME or not made.batch:
        return made, None, None
    plan = weight_grad.schedule(made, machine(), method)
    run = functools.partial(weight_grad.runner, made, plan)
    return made, common.Made(made, run, weight_grad.table_bytes(made, plan)), plan


def transpose(
    where: str,
    operator: Transposed,
    y: NDArray[Any],
    weight: NDArray[Any],
    bias: Any = None,
    name: str = "grad",
) -> NDArray[Any]:
    """Apply the transpose of a problem's W to ``y``, and add a bias for each channel of its input."""
    made = operator.problem
    operator.require(where, 0 if y.flags.c_contiguous and y.dtype == made.dtype else y.size)
    start = None
    if bias is not None:
        start = np.empty(made.geometry.in_channels, made.dtype)
        start[:] = arguments.cast(np.asarray(bias), start.dtype)
    packed = operator.pack(where, weight, start)
    x = operator.run(packed, common.contiguous(where, name, y, made.dtype), start)
    return arguments.cast(x, made.result)


def require(where: str, made: Problem, tables: int = 0) -> None:
    """Refuse a result of the input's shape that would not fit, beside so many bytes of tables."""
    g = made.geometry
    # Padding that copies pixels is there until it is folded.
    shape = g.input_shape if made.mode == "zeros" else g.padded_shape
    size = made.batch * math.prod(shape) * made.dtype.itemsize
    memory.require(where, size + tables, f"the result of shape {made.x_shape}")


def check_grad(where: str, shape: Shape, made: Problem) -> None:
    """Refuse a gradient that is not of the output's shape."""
    if shape != made.y_shape:
        raise ValueError(f"{where}: grad expects the output's shape {made.y_shape}, got {shape}")


def transposed_axes(
    where: str,
    sizes: tuple[int, int],
    kernel: tuple[int, int],
    stride: Any,
    padding: Any,
    dilation: Any,
    output_padding: Any,
) -> tuple[Axis, Axis]:
    """The axes of the convolution whose outputs have these sizes."""
    steps = arguments.pair(where, "stride", stride)
    spread = arguments.pair(where, "dilation", dilation)
    extra = arguments.pair(where, "output_padding", output_padding, 0)
    if isinstance(padding, str) and padding != "valid":
        arguments.choice(where, "padding", padding, ("valid",))
    pads = arguments.pads_of(where, padding, None)
    made = []
    for n, k, s, d, (before, after), more, name in zip(
        sizes, kernel, steps, spread, pads, extra, ("height", "width"), strict=True
    ):
        if more >= max(s, d):
            raise ValueError(
                f"{where}: output_padding expects less than the larger of stride {s} and dilation {d}, "
                f"got {more}"
            )
        size = (n - 1) * s - (before + after) + d * (k - 1) + more + 1
        if n < 1:
            raise ValueError(f"{where}: x expects at least 1 for its {name}, got {n}")
        if size < 1:
            raise ValueError(
                f"{where}: the output would be empty: {name} {n} gives "
                f"({n} - 1) * {s} - ({before} + {after}) + {d} * ({k} - 1) + {more} + 1 = {size}"
            )
        # What the convolution would read beyond its last output is cut off.
        made.append(Axis(size, k, s, d, before, after - more))
    return made[0], made[1]

"""The transpose of a convolution: as a layer of its own, and as the gradient with respect to the input."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triconv import arguments
from triconv.core import checked
from triconv.core.keywords import Keywords
from triconv.core.problem import Shape
from triconv.described import described
from triconv.methods import choice
from triconv.methods.transposed import Transposed, transposed
from triconv.runtime import arrays
from triconv.runtime.machine import machine
from triconv.types import Layout, Padding, PaddingMode, Size


@described
def conv_transpose2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    layout: Layout = "NHWC",
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
    stride : int or (int, int), default 1
        Rows and columns that the output has from one pixel of ``x`` to the next.
    padding : int, (int, int), ((int, int), (int, int)) or "valid"
        What the convolution pads, which is cut off here.
    output_padding : int or (int, int), default 0
        Rows and columns more at the bottom and right, fewer than the larger of stride and dilation;
        those that no input reaches get the bias alone.
    %(dilation)
    groups : int, default 1
        Splits channels: each group of ``C_in / groups`` makes ``C_out / groups`` channels of the output.
    %(layout)
    %(method_of_transpose)

    Returns
    -------
    ndarray
        ``H_out = (H - 1) s_h - (top + bottom) + d_h (k_h - 1) + output_padding_h + 1`` rows, and columns
        likewise, in the layout of ``x``.

    Raises
    ------
    %(errors)
    MemoryError
        Where the result, or W for ``method="matrix"``, would not fit.

    See Also
    --------
    conv2d_input_grad : the adjoint, for an input of any shape and every padding mode.

    Notes
    -----
    Layers of this kind are also called deconvolutions [1]_. Takes as many operations as the convolution.

    References
    ----------
    .. [1] M. D. Zeiler, D. Krishnan, G. W. Taylor and R. Fergus, "Deconvolutional networks", 2010.

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
    keywords = Keywords(stride, padding, dilation, groups, layout=layout, method=method)
    bias_shape = None if start is None else np.shape(start)
    result = arguments.result_dtype(y, filters, start)
    problem = checked.transposed(where, y.shape, filters.shape, bias_shape, result, keywords, output_padding)
    checked.require_result(where, problem)
    operator = transposed(problem, choice.checked(where, method, problem), machine())
    return applied(where, operator, "x", y, filters, start)


@described
def conv2d_input_grad(
    grad: ArrayLike,
    weight: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    method: str = "auto",
) -> NDArray[Any]:
    r"""The gradient of a convolution with respect to its input: the adjoint, :math:`W^H \mathrm{vec}(G)`.

    Parameters
    ----------
    grad : array_like
        ``G``, the gradient with respect to what `conv2d` returns, and of its shape.
    %(weight, input_shape, keywords)
    %(method_of_transpose)

    Returns
    -------
    ndarray, shape input_shape
        Of dtype ``numpy.result_type(grad, weight)``, float64 where that is an integer.

    Raises
    ------
    %(errors)
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
    For complex numbers this is PyTorch's convention. The arithmetic is that of [1]_, chapter 4.

    References
    ----------
    .. [1] V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016.

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
        prepared_input_grad,
        (where, y.shape, y.dtype, filters.shape, filters.dtype),
        Keywords(stride, padding, dilation, groups, padding_mode, layout, method),
        input_shape,
    )
    if filters.dtype.kind == "c":
        arrays.require_copy(where, "weight", filters, filters.dtype)
        filters = filters.conj()
    return applied(where, operator, "grad", y, filters)


@functools.lru_cache(maxsize=1024)
def prepared_input_grad(
    where: str,
    grad_shape: Shape,
    grad_dtype: np.dtype[Any],
    weight_shape: Shape,
    weight_dtype: np.dtype[Any],
    input_shape: Any,
    keywords: Keywords,
) -> Transposed:
    """Check what `conv2d_input_grad` is told, and choose how it is computed; kept for a second call."""
    choice.named(where, keywords.method)
    shape = arguments.integers(
        where, "input_shape", input_shape, "a sequence of ints, the full shape of x", 0
    )
    result = arguments.result_dtype(grad_dtype, weight_dtype)
    problem = checked.convolution(where, shape, weight_shape, None, result, keywords, "input_shape")
    checked.check_grad(where, grad_shape, problem)
    checked.require_result(where, problem)
    return transposed(problem, choice.checked(where, keywords.method, problem), machine())


def applied(
    where: str,
    operator: Transposed,
    name: str,
    y: NDArray[Any],
    weight: NDArray[Any],
    bias: Any = None,
) -> NDArray[Any]:
    """Apply the transpose of a problem's W to ``y``, and add a bias for each channel of its input."""
    problem = operator.problem
    operator.require(where, 0 if arrays.is_ready(y, problem.dtype) else y.size)
    start = None
    if bias is not None:
        start = np.empty(problem.geometry.in_channels, problem.dtype)
        start[:] = arguments.cast(np.asarray(bias), start.dtype)
    packed = operator.pack(where, weight, start)
    x = operator.run(packed, arrays.contiguous(where, name, y, problem.dtype), start)
    return arguments.cast(x, problem.result)

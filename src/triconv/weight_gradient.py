"""The gradient of a convolution with respect to its filters."""

from __future__ import annotations

import functools
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triconv import arguments
from triconv.core import checked
from triconv.core.keywords import Keywords
from triconv.core.problem import Shape
from triconv.described import described
from triconv.methods import choice
from triconv.methods.weight_grad import WeightGradient, weight_gradient
from triconv.runtime import arrays
from triconv.runtime.machine import machine
from triconv.types import Layout, Padding, PaddingMode, Size


@described
def conv2d_weight_grad(
    grad: ArrayLike,
    x: ArrayLike,
    kernel_size: Size,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    method: str = "auto",
) -> NDArray[Any]:
    r"""The gradient with respect to the filters: :math:`\sum_{ij} G_{ijm} \overline{x_{ij}}`.

    Parameters
    ----------
    grad : array_like
        ``G``, the gradient with respect to what `conv2d` returns, and of its shape.
    %(x, kernel_size, keywords)
    %(method_of_weights)

    Returns
    -------
    ndarray
        Of the shape of the weight: ``(C_out, k_h, k_w, C_in / groups)`` in the layout, ``(k_h, k_w)`` where
        both arrays are 2-D. Of dtype ``numpy.result_type(grad, x)``, float64 where that is an integer.

    Raises
    ------
    %(errors)
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
    gradient = arguments.recall(
        prepared_weight_grad,
        (where, y.shape, y.dtype, image.shape, image.dtype),
        Keywords(stride, padding, dilation, groups, padding_mode, layout, method),
        kernel_size,
    )
    problem = gradient.problem
    gradient.require(where, y, image)
    y = arrays.contiguous(where, "grad", y, problem.dtype)
    image = arrays.contiguous(where, "x", image, problem.dtype)
    return arguments.cast(gradient.run(where, y, image), problem.result)


@functools.lru_cache(maxsize=1024)
def prepared_weight_grad(
    where: str,
    grad_shape: Shape,
    grad_dtype: np.dtype[Any],
    x_shape: Shape,
    x_dtype: np.dtype[Any],
    kernel_size: Any,
    keywords: Keywords,
) -> WeightGradient:
    """Check what `conv2d_weight_grad` is told, and choose how it is computed; kept for a second call."""
    method = choice.named(where, keywords.method)
    result = arguments.result_dtype(grad_dtype, x_dtype)
    problem = checked.weight_gradient(where, grad_shape, x_shape, kernel_size, result, keywords)
    return weight_gradient(where, problem.canonical(), method, machine())

"""The convolution of a layer: check the arguments, prepare, run."""

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
from triconv.methods.prepared import Prepared, prepare
from triconv.runtime import arrays
from triconv.runtime.machine import machine
from triconv.types import Layout, Padding, PaddingMode, Size


@described
def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    method: str = "auto",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    r"""Convolve as a neural network's layer does: cross-correlate, the kernel not flipped.

    .. math:: Y_{ijm} = b_m + \sum_{u,v,c} X_{pad}[i s_h + u d_h, j s_w + v d_w, c] \, K^{(m)}_{uvc}

    Parameters
    ----------
    %(x, weight, bias, keywords, method)
    out : ndarray, optional
        Where the result goes: of exactly its shape and dtype, sharing no memory with an input.

    Returns
    -------
    ndarray
        ``(H_out, W_out, C_out)`` in the layout, with ``N`` where ``x`` has it; ``(H_out, W_out)`` for a
        2-D weight. Of dtype ``numpy.result_type(x, weight, bias)``, float64 where that is an integer.

    Raises
    ------
    %(errors)
    MemoryError
        Where the output with what is needed beside it, or W for ``method="matrix"``, would not fit.

    See Also
    --------
    plan : decide and pack once, run many times.
    conv_matrix : the same map as a sparse matrix.

    Notes
    -----
    Takes ``2 H_out W_out C_out k_h k_w C_in / groups`` operations a sample. Each output is summed from
    the bias on over ``u``, then ``v``, then ``c``, whatever the number of threads; W sums in the order
    of its columns. The definition is that of [1]_, section 9.5.

    References
    ----------
    .. [1] I. Goodfellow, Y. Bengio and A. Courville, "Deep Learning", 2016.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> x = np.arange(16.0).reshape(4, 4)
    >>> triconv.conv2d(x, [[1, 0], [0, -1]], stride=2)
    array([[-5., -5.],
           [-5., -5.]])
    >>> rgb = np.ones((32, 32, 3), np.float32)
    >>> triconv.conv2d(rgb, np.ones((8, 3, 3, 3), np.float32), padding="same").shape
    (32, 32, 8)
    """
    keywords = Keywords(stride, padding, dilation, groups, padding_mode, layout, method)
    return convolved("conv2d", x, weight, bias, keywords, out)


def convolved(
    where: str, x: Any, weight: Any, bias: Any, keywords: Keywords, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Convolve as `conv2d` does; messages open with ``where``."""
    image = x if type(x) is np.ndarray else arguments.array(where, "x", x)
    filters = weight if type(weight) is np.ndarray else arguments.array(where, "weight", weight)
    start = bias if bias is None else arguments.bias_array(where, bias)
    prepared = arguments.recall(
        prepared_call,
        (where, image.shape, image.dtype, filters.shape, filters.dtype, *arguments.signature(start)),
        keywords,
    )
    y = prepared.result(where, image, out, (x, weight, bias, image, filters, start))
    packed = prepared.pack(where, filters, start)
    prepared.run(packed, arrays.contiguous(where, "x", image, prepared.problem.dtype), y)
    return y


@functools.lru_cache(maxsize=1024)
def prepared_call(
    where: str,
    x_shape: Shape,
    x_dtype: np.dtype[Any],
    weight_shape: Shape,
    weight_dtype: np.dtype[Any],
    bias_shape: Shape | None,
    bias_dtype: Any,
    keywords: Keywords,
) -> Prepared:
    """Check a convolution's shapes, dtypes and keywords and prepare it; kept, so a second call finds it."""
    arguments.supported(where, "x", x_dtype)
    arguments.supported(where, "weight", weight_dtype)
    weak = isinstance(bias_dtype, type)
    # Byte order aside, which arrays keep until they are copied.
    dtypes = [d.newbyteorder("=") for d in (x_dtype, weight_dtype, bias_dtype) if isinstance(d, np.dtype)]
    result = arguments.result_dtype(*dtypes, bias_dtype(0) if weak else None)
    problem = checked.convolution(where, x_shape, weight_shape, bias_shape, result, keywords)
    return prepare(problem, choice.checked(where, keywords.method, problem), machine())


def warmup() -> None:
    """Compile, or load from the cache, the kernels that ordinary use needs.

    Compiling takes a second or two a kernel, once a machine; this moves it out of the first calls, into
    the making of a container, say. Other kernels are compiled when they are first needed.

    Notes
    -----
    Covers float32 and float64, layers of few and of many filters, images of one channel and channels
    with a filter each, for small calls and for large ones.

    Examples
    --------
    >>> import triconv
    >>> triconv.warmup()
    """
    for dtype in (np.float32, np.float64):
        for channels, filters, groups in ((3, 16, 1), (8, 64, 1), (1, 1, 1), (64, 64, 64)):
            weight = np.zeros((filters, 3, 3, channels // groups), dtype)
            for size in (4, 128):
                conv2d(np.zeros((size, size, channels), dtype), weight, padding=1, groups=groups)

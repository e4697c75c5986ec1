"""The functions that people call: check the arguments, plan, run."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from triconv import arguments
from triconv.kernels import im2col as patch_kernels
from triconv.methods import choice, common, matrix, names, numbers
from triconv.plan import Prepared, prepare
from triconv.problem import Shape, check_weight, image_shape, problem, unfiltered
from triconv.runtime import memory
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import machine

if TYPE_CHECKING:
    from scipy.sparse import csr_array

PIXELS = 256  # patches that one task of im2col() copies


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    layout: str = "NHWC",
    method: str = "auto",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    r"""Convolve as a neural network's layer does: cross-correlate, the kernel not flipped.

    .. math:: Y_{ijm} = b_m + \sum_{u,v,c} X_{pad}[i s_h + u d_h, j s_w + v d_w, c] \, K^{(m)}_{uvc}

    Parameters
    ----------
    x : array_like
        ``(H, W, C_in)`` or ``(N, H, W, C_in)``; in NCHW ``(C_in, H, W)`` or ``(N, C_in, H, W)``; or one
        channel ``(H, W)``. Any strides; never modified.
    weight : array_like
        ``(C_out, k_h, k_w, C_in / groups)``; in NCHW ``(C_out, C_in / groups, k_h, k_w)``; or, for a 2-D
        ``x``, one filter ``(k_h, k_w)``.
    bias : array_like, optional
        ``(C_out,)``; a scalar for a 2-D weight.
    stride, dilation : int or (int, int), default 1
        Rows and columns between patches, and between taps.
    padding : int, (int, int), ((int, int), (int, int)) or str, default 0
        Both sides; rows and columns; ``((top, bottom), (left, right))``; or ``"valid"`` (none),
        ``"same"`` (``H_out = ceil(H_in / s_h)``, an odd one more at the bottom and right),
        ``"same_lower"`` (at the top and left), ``"full"`` (every overlap).
    groups : int, default 1
        Splits channels and filters; filter ``m`` sees its own group's ``C_in / groups`` channels.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the padding shows; NumPy's names ``"constant"``, ``"edge"``, ``"wrap"`` work too.
    layout : {"NHWC", "NCHW"}
        Where the channels stand.
    method : {"auto", "direct", "im2col", "matrix"}
        How it is computed; the answer is the same up to rounding.
    out : ndarray, optional
        Where the result goes: of exactly its shape and dtype, sharing no memory with an input.

    Returns
    -------
    ndarray
        ``(H_out, W_out, C_out)`` in the layout, with ``N`` where ``x`` has it; ``(H_out, W_out)`` for a
        2-D weight. Of dtype ``numpy.result_type(x, weight, bias)``, float64 where that is an integer.

    Raises
    ------
    ValueError
        For shapes, values and names that do not fit, with the arithmetic.
    TypeError
        For dtypes and types.
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
    of its columns. The definition is that of I. Goodfellow, Y. Bengio and A. Courville, "Deep Learning"
    (2016), section 9.5.

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
    return convolved(
        "conv2d", x, weight, bias, stride, padding, dilation, groups, padding_mode, layout, method, out
    )


def convolved(
    where: str,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
    layout: Any,
    method: Any,
    out: Any = None,
) -> NDArray[Any]:
    """Convolve as `conv2d` does; messages open with ``where``."""
    image = x if type(x) is np.ndarray else arguments.array(where, "x", x)
    filters = weight if type(weight) is np.ndarray else arguments.array(where, "weight", weight)
    start = bias if bias is None else arguments.bias_array(where, bias)
    prepared = arguments.recall(
        known,
        (where, image.shape, image.dtype, filters.shape, filters.dtype, *arguments.signature(start)),
        (stride, padding, dilation, groups, padding_mode, layout, method),
    )
    y = prepared.result(where, image, out, (x, weight, bias, image, filters, start))
    packed = prepared.pack(where, filters, start)
    prepared.run(packed, common.contiguous(where, "x", image, prepared.problem.dtype), y)
    return y


@functools.lru_cache(maxsize=1024)
def known(
    where: str,
    x_shape: Shape,
    x_dtype: np.dtype[Any],
    weight_shape: Shape,
    weight_dtype: np.dtype[Any],
    bias_shape: Shape | None,
    bias_dtype: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
    layout: Any,
    method: Any,
) -> Prepared:
    """Check a convolution's shapes, dtypes and keywords and prepare it; kept, so a second call finds it."""
    arguments.supported(where, "x", x_dtype)
    arguments.supported(where, "weight", weight_dtype)
    weak = isinstance(bias_dtype, type)
    # Byte order aside, which arrays keep until they are copied.
    dtypes = [d.newbyteorder("=") for d in (x_dtype, weight_dtype, bias_dtype) if isinstance(d, np.dtype)]
    result = arguments.result_dtype(*dtypes, bias_dtype(0) if weak else None)
    made = problem(
        where,
        x_shape,
        weight_shape,
        bias_shape,
        result,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        layout=layout,
    )
    method = arguments.choice(where, "method", method, names())
    choice.require(where, method, made)
    return prepare(made, method, machine())


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


def im2col(
    x: ArrayLike,
    kernel_size: Any,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    padding_mode: str = "zeros",
    layout: str = "NHWC",
) -> NDArray[Any]:
    """Every patch as a row of one matrix.

    Parameters
    ----------
    x : array_like
        As in `conv2d`.
    kernel_size : int or (int, int)
        ``k_h, k_w``.
    stride, padding, dilation, padding_mode, layout
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (H_out * W_out, C_in * k_h * k_w), or with N in front
        Row ``i W_out + j`` is ``x_ij``, channel by channel and each channel column by column.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.
    MemoryError
        Where the matrix would not fit.

    See Also
    --------
    flatten_weight : the filters in the same order, so that ``im2col(x, k) @ flatten_weight(w).T`` convolves.

    Notes
    -----
    Holds each pixel up to ``k_h k_w`` times. K. Chellapilla, S. Puri and P. Simard, "High performance
    convolutional neural networks for document processing" (2006).

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
    made = unfiltered(
        where, image.shape, image.dtype, kernel_size, stride, padding, dilation, padding_mode, layout
    )
    g = made.geometry
    pixels = made.axes[0].out * made.axes[1].out
    shape = (*((made.batch,) if image.ndim == 4 else ()), pixels, g.patch_size)
    size = (made.batch * pixels * g.patch_size + image.size) * made.dtype.itemsize + common.maps_bytes(made)
    memory.require(where, size, f"the matrix of shape {shape}")
    y = np.empty(shape, made.dtype)
    if made.batch:
        pieces = -(-pixels // PIXELS)
        record = patch_kernels.MATRIX(
            image=numbers.image(made),
            inside=numbers.inside(made),
            output=numbers.output(made),
            window=numbers.window(made),
            groups=numbers.groups(made, 1),
            patches={"count": PIXELS, "line": pixels, "row": g.patch_size},
            data={"pixel": g.patch_size, "group": 0},
            work={
                "batch": made.batch,
                "pieces": pieces,
                "chunk": 1,
                "chunks": 1,
                "share": 0,
                "clears": False,
            },
            tasks=made.batch * pieces,
        )
        flat = common.contiguous(where, "x", image, made.dtype).reshape(-1)
        kernel = patch_kernels.matrix(made.dtype.name)
        workers = common.threads_for(y.size)
        interruptible(y.size, kernel, workers, flat, *common.maps(made), y.reshape(-1), record)
    return arguments.cast(y, made.result)


def pad(x: ArrayLike, padding: Any, *, padding_mode: str = "zeros", layout: str = "NHWC") -> NDArray[Any]:
    """The padded input ``X_pad``.

    Parameters
    ----------
    x : array_like
        As in `conv2d`.
    padding : int, (int, int) or ((int, int), (int, int))
        As in `conv2d`; of the words only ``"valid"``, since the others need a kernel.
    padding_mode, layout
        As in `conv2d`.

    Returns
    -------
    ndarray
        ``(H_pad, W_pad, C_in)`` in the layout, with ``N`` where ``x`` has it; always a new array.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `conv2d`.

    Examples
    --------
    >>> import triconv
    >>> triconv.pad([[1.0, 2.0]], (0, 1), padding_mode="reflect")
    array([[2., 1., 2., 1.]])
    """
    where = "pad"
    image = arguments.array(where, "x", x)
    layout = arguments.choice(where, "layout", layout, arguments.LAYOUTS)
    mode = arguments.padding_mode(where, padding_mode)
    batch, (height, width, channels) = image_shape(where, "x", image.shape, layout)
    pads = arguments.pads_of(where, padding, None)
    for size, sides, name in zip((height, width), pads, ("height", "width"), strict=True):
        arguments.check_mode(where, size, sides, mode, name)
    dtype = arguments.result_dtype(image)
    high, wide = height + sum(pads[0]), width + sum(pads[1])
    memory.require(
        where, max(batch, 1) * high * wide * channels * dtype.itemsize, f"the padded input {high} x {wide}"
    )
    axes: list[tuple[int, int]] = [(0, 0)] * image.ndim
    first = image.ndim - (3 if layout == "NHWC" and image.ndim > 2 else 2)
    axes[first : first + 2] = pads
    return np.pad(arguments.cast(image, dtype), axes, mode=arguments.NUMPY_MODES[mode])


def flatten_weight(weight: ArrayLike, *, layout: str = "NHWC") -> NDArray[Any]:
    """Every filter as a row, in the order of `im2col`'s columns.

    Parameters
    ----------
    weight : array_like
        As in `conv2d`.
    layout : {"NHWC", "NCHW"}
        As in `conv2d`.

    Returns
    -------
    ndarray, shape (C_out, C_in / groups * k_h * k_w)
        Row ``m`` is ``k_m``; always a new array.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As `conv2d`.

    Examples
    --------
    >>> import triconv
    >>> triconv.flatten_weight([[1, 2], [3, 4]])
    array([[1., 3., 2., 4.]])
    """
    where = "flatten_weight"
    filters = arguments.array(where, "weight", weight)
    layout = arguments.choice(where, "layout", layout, arguments.LAYOUTS)
    check_weight(where, filters.shape, layout)
    if filters.ndim == 2:
        rows = filters.T[None]
    else:
        rows = filters.transpose((0, 3, 2, 1) if layout == "NHWC" else (0, 1, 3, 2))
    dtype = arguments.result_dtype(filters)
    common.require_copy(where, "weight", filters, dtype)
    return np.array(rows, dtype, order="C").reshape(len(rows), -1)


def conv_matrix(
    weight: ArrayLike,
    input_shape: tuple[int, ...],
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    layout: str = "NHWC",
    padded: bool = False,
    order: str = "F",
    dtype: DTypeLike | None = None,
) -> csr_array:
    r"""The matrix ``W`` of a convolution: :math:`\mathrm{vec}(Y) = W\,\mathrm{vec}(X) + b \otimes 1`.

    Parameters
    ----------
    weight : array_like
        As in `conv2d`.
    input_shape : tuple of int
        Of one sample: ``(H, W, C_in)``, in NCHW ``(C_in, H, W)``, or ``(H, W)`` with a 2-D weight.
    stride, padding, dilation, groups, padding_mode, layout
        As in `conv2d`.
    padded : bool, default False
        Columns over ``vec(X_pad)``; otherwise over ``vec(X)``, with the padding folded in.
    order : {"F", "C"}
        ``vec`` is ``sample.ravel(order)`` of a sample in its own layout.
    dtype : dtype, optional
        Of the entries; by default that of ``weight``, floating.

    Returns
    -------
    scipy.sparse.csr_array, shape (H_out W_out C_out, H W C_in)
        Canonical, indices sorted and of int32 where they fit; no structural zeros.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.
    MemoryError
        Where W would not fit, before anything is allocated.

    Notes
    -----
    Holds ``H_out W_out C_out k_h k_w C_in / groups`` entries, fewer where zero padding is folded in: no
    entry stands for a tap that meets a zero of the padding, and one for all taps that meet one pixel. Where
    a weight or a pixel is infinite, ``W @ x`` may hence differ from `conv2d`, which gives NaN for infinity
    times such a zero by every method, the matrix too.
    With one channel and no stride it is the doubly block Toeplitz matrix of A. K. Jain, "Fundamentals
    of Digital Image Processing" (1989), chapter 2.

    Examples
    --------
    >>> import triconv
    >>> triconv.conv_matrix([[1.0, 2.0]], (1, 3)).toarray()
    array([[1., 2., 0.],
           [0., 1., 2.]])
    """
    where = "conv_matrix"
    filters = arguments.array(where, "weight", weight)
    wanted = arguments.result_dtype(filters) if dtype is None else arguments.dtype_of(where, dtype)
    if filters.dtype.kind == "c" and wanted.kind != "c":
        raise TypeError(f"{where}: dtype expects a complex dtype for complex weights, got {wanted}")
    shape = arguments.integers(where, "input_shape", input_shape, "a sequence of ints, one sample's shape", 0)
    layout = arguments.choice(where, "layout", layout, arguments.LAYOUTS)
    order = arguments.choice(where, "order", order, arguments.ORDERS)
    padded = arguments.boolean(where, "padded", padded)
    if len(shape) > 3:
        raise ValueError(f"{where}: input_shape expects one sample's shape, got {shape}; W maps one sample")
    made = problem(
        where,
        shape,
        filters.shape,
        None,
        wanted,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        layout=layout,
        x_name="input_shape",
    )
    made = made.plain(cut=not padded)
    plan = matrix.schedule(made, machine(), order, padded=padded)
    matrix.require(where, made, plan)
    common.require_copy(where, "weight", filters, made.dtype)
    from scipy.sparse import csr_array

    indptr, indices, data = matrix.assemble(made, plan, filters, common.threads_for(plan.entries))
    made_matrix = csr_array((data, indices, indptr), shape=(plan.rows, plan.columns))
    made_matrix.has_canonical_format = True
    return made_matrix

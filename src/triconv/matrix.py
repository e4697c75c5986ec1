"""W as a sparse matrix of SciPy's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsIndex

from numpy.typing import ArrayLike, DTypeLike

from triconv import arguments
from triconv.core import checked
from triconv.core.keywords import Keywords
from triconv.described import described
from triconv.methods import matrix
from triconv.runtime import arrays
from triconv.runtime.machine import machine
from triconv.schedules import workspace
from triconv.types import Layout, Order, Padding, PaddingMode, Size

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@described
def conv_matrix(
    weight: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    padded: bool = False,
    order: Order = "F",
    dtype: DTypeLike | None = None,
) -> csr_array:
    r"""The matrix ``W`` of a convolution: :math:`\mathrm{vec}(Y) = W\,\mathrm{vec}(X) + b \otimes 1`.

    Parameters
    ----------
    %(weight, sample_shape, keywords)
    padded : bool, default False
        Columns over ``vec(X_pad)``; otherwise over ``vec(X)``, with the padding folded in.
    %(order)
    dtype : dtype, optional
        Of the entries; by default that of ``weight``, floating.

    Returns
    -------
    scipy.sparse.csr_array, shape (H_out W_out C_out, H W C_in)
        Canonical, indices sorted and of int32 where they fit; no structural zeros.

    Raises
    ------
    %(errors)
    MemoryError
        Where W would not fit, before anything is allocated.

    Notes
    -----
    Holds ``H_out W_out C_out k_h k_w C_in / groups`` entries, fewer where zero padding is folded in: no
    entry stands for a tap that meets a zero of the padding, and one for all taps that meet one pixel. Where
    a weight or a pixel is infinite, ``W @ x`` may hence differ from `conv2d`, which gives NaN for infinity
    times such a zero by every method, the matrix too.
    With one channel and no stride it is a doubly block Toeplitz matrix [1]_.

    References
    ----------
    .. [1] A. K. Jain, "Fundamentals of Digital Image Processing", 1989, chapter 2.

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
    keywords = Keywords(stride, padding, dilation, groups, padding_mode, layout)
    keywords.checked_layout(where)
    order = arguments.choice(where, "order", order, arguments.ORDERS)
    padded = arguments.boolean(where, "padded", padded)
    if len(shape) > 3:
        raise ValueError(f"{where}: input_shape expects one sample's shape, got {shape}; W maps one sample")
    problem = checked.convolution(where, shape, filters.shape, None, wanted, keywords, "input_shape")
    problem = problem.canonical(cut=not padded)
    schedule = matrix.schedule(problem, machine(), order, padded=padded)
    matrix.require(where, problem, schedule)
    arrays.require_copy(where, "weight", filters, problem.dtype)
    from scipy.sparse import csr_array

    workers = workspace.threads_for(schedule.entries)
    indptr, indices, data = matrix.assemble(problem, schedule, filters, workers)
    W = csr_array((data, indices, indptr), shape=(schedule.rows, schedule.columns))
    W.has_canonical_format = True
    return W

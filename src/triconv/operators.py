"""A convolution as a linear operator of SciPy's: matrix-free, or with W held."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from triconv import arguments
from triconv.algebra import WHERE, Operator
from triconv.core import checked, spectrum
from triconv.core.keywords import Keywords
from triconv.core.problem import Shape
from triconv.described import described
from triconv.matrix import conv_matrix
from triconv.methods import choice
from triconv.methods.linear import Linear
from triconv.runtime import arrays, memory
from triconv.types import Layout, Order, Padding, PaddingMode, Size

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@described
class ConvOperator(Operator):
    r"""A convolution without its bias as a linear operator: :math:`\mathrm{vec}(Y) = W\,\mathrm{vec}(X)`.

    Takes part in all of SciPy's operator algebra and solvers. Its adjoint is exact for every keyword.

    Parameters
    ----------
    %(weight)
        Copied, so that later changes do not reach the operator.
    %(sample_shape)
    %(keywords)
    %(order)
        Neither order copies a vector.
    %(method_of_operator)

    Attributes
    ----------
    shape : (int, int)
        ``(H_out W_out C_out, H W C_in)``, that of W.
    dtype : dtype
        That of ``weight``, floating; float32 for float16.
    input_shape, output_shape : tuple of int
        Of one sample.

    Raises
    ------
    %(errors)
    MemoryError
        Where W would not fit, for ``method="matrix"``, before anything is allocated.

    See Also
    --------
    conv_matrix : W itself.
    conv2d_input_grad : the adjoint on arrays.

    Notes
    -----
    ``A @ x`` and ``A.H @ y`` take ``2 H_out W_out C_out k_h k_w C_in / groups`` operations each; the ``k``
    columns of a matrix are run as one batch. What is computed has dtype
    ``numpy.result_type(A.dtype, x)``, in which it is also summed, so a float64 vector keeps its precision
    under float32 weights. ``A.T`` is the plain transpose and ``A.H`` the conjugate one. Packed weights are
    kept for the last four numbers of columns and dtypes, W for the last dtype in each direction.

    ``matvec`` and ``rmatvec`` take batches of vectors ``(..., N)``, ``matmat``, ``rmatmat`` and ``@``
    batches of matrices ``(..., N, K)``, with every SciPy, and so does what is composed with an operator on
    the left: ``.T``, ``.H``, sums, products, multiples and powers. A batch gives the bits of single calls.

    Operators can be pickled and used from many threads. The definition of W is that of [1]_, chapter 2, with
    channels and strides.

    References
    ----------
    .. [1] A. K. Jain, "Fundamentals of Digital Image Processing", 1989.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> from scipy.sparse.linalg import lsqr
    >>> blur = triconv.ConvOperator([[0.0, 0.1, 0.0], [0.1, 0.6, 0.1], [0.0, 0.1, 0.0]], (8, 9), padding=1)
    >>> image = np.arange(72.0).reshape(8, 9)
    >>> restored = lsqr(blur, blur @ blur.vec(image), atol=1e-12, btol=1e-12)[0]
    >>> np.allclose(blur.unvec_input(restored), image)
    True
    """

    def __init__(
        self,
        weight: ArrayLike,
        input_shape: Sequence[SupportsIndex],
        *,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: SupportsIndex = 1,
        padding_mode: PaddingMode = "zeros",
        layout: Layout = "NHWC",
        order: Order = "F",
        method: str = "auto",
    ) -> None:
        filters = arguments.array(WHERE, "weight", weight)
        shape = arguments.integers(
            WHERE, "input_shape", input_shape, "a sequence of ints, one sample's shape", 0
        )
        keywords = Keywords(stride, padding, dilation, groups, padding_mode, layout, method)
        keywords.checked_layout(WHERE)
        self._order: Order = arguments.choice(WHERE, "order", order, arguments.ORDERS)
        self._method = choice.named(WHERE, method)
        if len(shape) > 3:
            raise ValueError(
                f"{WHERE}: input_shape expects one sample's shape, got {shape}; the operator maps one sample"
            )
        dtype = arguments.computed(arguments.result_dtype(filters))
        self._problem = checked.convolution(WHERE, shape, filters.shape, None, dtype, keywords, "input_shape")
        choice.checked(WHERE, method, self._problem)
        arrays.require_copy(WHERE, "weight", filters, dtype)
        self._weight = np.array(filters, dtype, order="C")
        self._linear = Linear(WHERE, self._problem, self._weight, self._order, self._method)
        super().__init__(dtype, (math.prod(self.output_shape), math.prod(self.input_shape)))

    @property
    def input_shape(self) -> Shape:
        """The shape of a sample that the operator takes."""
        return self._problem.x_shape

    @property
    def output_shape(self) -> Shape:
        """The shape of a sample that it returns."""
        return self._problem.y_shape

    def vec(self, array: ArrayLike) -> NDArray[Any]:
        """An input or output sample as the vector that the operator knows it by.

        Parameters
        ----------
        array : array_like
            Of shape ``input_shape`` or ``output_shape``.

        Returns
        -------
        ndarray
            ``array.ravel(order)``: a view where it can be one.

        Raises
        ------
        ValueError
            If the shape is neither.

        Examples
        --------
        >>> import numpy as np, triconv
        >>> triconv.ConvOperator(np.ones((1, 1)), (2, 2)).vec([[1, 2], [3, 4]])
        array([1, 3, 2, 4])
        """
        where = f"{WHERE}.vec"
        sample = arguments.array(where, "array", array)
        if sample.shape not in (self.input_shape, self.output_shape):
            raise ValueError(
                f"{where}: array expects shape {self.input_shape} of an input or {self.output_shape} "
                f"of an output, got {sample.shape}"
            )
        if not (sample.flags.c_contiguous if self._order == "C" else sample.flags.f_contiguous):
            arrays.require_copy(where, "array", sample, sample.dtype)
        return sample.ravel(self._order)

    def unvec(self, y: ArrayLike) -> NDArray[Any]:
        """A vector that the operator returned as an output sample.

        Parameters
        ----------
        y : array_like
            ``(H_out W_out C_out,)``, or with one column.

        Returns
        -------
        ndarray, shape output_shape
            A view where it can be one.

        Raises
        ------
        ValueError
            If it has another number of elements.

        Examples
        --------
        >>> import numpy as np, triconv
        >>> A = triconv.ConvOperator(np.ones((1, 1)), (2, 2))
        >>> A.unvec([1, 3, 2, 4])
        array([[1, 2],
               [3, 4]])
        """
        return self._shaped("unvec", "y", y, self.output_shape)

    def unvec_input(self, v: ArrayLike) -> NDArray[Any]:
        """A vector that the operator takes, or its adjoint returned, as an input sample.

        Parameters
        ----------
        v : array_like
            ``(H W C_in,)``, or with one column.

        Returns
        -------
        ndarray, shape input_shape
            A view where it can be one.

        Raises
        ------
        ValueError
            If it has another number of elements.

        Examples
        --------
        >>> import numpy as np, triconv
        >>> A = triconv.ConvOperator(np.ones((2, 2)), (2, 2))
        >>> A.unvec_input(A.H @ [1.0])
        array([[1., 1.],
               [1., 1.]])
        """
        return self._shaped("unvec_input", "v", v, self.input_shape)

    def to_sparse(self) -> csr_array:
        """W as a sparse matrix, a new one.

        Returns
        -------
        scipy.sparse.csr_array, of the operator's shape and dtype
            What `conv_matrix` returns.

        Raises
        ------
        MemoryError
            Where W would not fit, before anything is allocated.

        Examples
        --------
        >>> import numpy as np, triconv
        >>> triconv.ConvOperator([[1.0, 2.0]], (1, 3)).to_sparse().nnz
        4
        """
        return conv_matrix(
            self._weight, self.input_shape, order=self._order, **self._problem.keywords().but_method()
        )

    def to_dense(self) -> NDArray[Any]:
        """W as an array, zeros and all.

        Returns
        -------
        ndarray, of the operator's shape and dtype

        Raises
        ------
        MemoryError
            Where it would not fit, before anything is allocated.

        Examples
        --------
        >>> import numpy as np, triconv
        >>> triconv.ConvOperator([[1.0, 2.0]], (1, 3)).to_dense()
        array([[1., 2., 0.],
               [0., 1., 2.]])
        """
        require_dense(f"{WHERE}.to_dense", self.shape, self.dtype)
        return self.to_sparse().toarray()

    # --- the spectrum -------------------------------------------------------------------------------

    @np.errstate(all="ignore")
    def norm(self) -> float:
        """The largest singular value of W, its operator norm.

        Returns
        -------
        float
            Exact up to rounding where W is circular, as in `svdvals`; otherwise to about ten digits.

        Raises
        ------
        ValueError
            If a weight is NaN or infinite.
        MemoryError
            Where the spectrum of a circular W, or the vectors of an iteration, would not fit.

        See Also
        --------
        norm_bound : what it is at most, whatever the image's size.
        norm_estimate : what is often taken for it.

        Examples
        --------
        >>> import triconv
        >>> A = triconv.ConvOperator([[1.0, -1.0]], (1, 8), padding="same", padding_mode="circular")
        >>> round(A.norm(), 12)
        2.0
        """
        return float(self._largest(f"{WHERE}.norm", 1)[0]) if min(self.shape) else 0.0

    @np.errstate(all="ignore")
    def svdvals(self, k: int) -> NDArray[np.float64]:
        r"""The largest singular values of W.

        Parameters
        ----------
        k : int
            How many, from 1 to ``min(shape)``.

        Returns
        -------
        ndarray of float64, shape (k,)
            In descending order. Computed in double precision from the weights, whatever their dtype.

        Raises
        ------
        ValueError, TypeError
            If ``k`` is not such an int, or a weight is NaN or infinite.
        MemoryError
            Where more than a quarter of all values are asked for and W as an array would not fit;
            otherwise as `norm`.

        See Also
        --------
        norm : the largest alone.

        Notes
        -----
        With stride 1, circular padding and as many outputs as pixels, a Fourier transform takes W to one
        matrix of ``C_out / groups`` by ``C_in / groups`` for each frequency and group,

        .. math:: T_{mc}(a, b) = \sum_{u,v} K^{(m)}_{uvc} \, e^{-2 \pi i (a u d_h / H + b v d_w / W)}

        and its singular values are theirs [1]_. They are found by one small singular value decomposition
        each, by the calling thread's count of threads; those of real weights come in conjugate pairs, of
        which one is enough. Otherwise a small W is decomposed as an array, and the values of a larger one
        come from Lanczos iterations on :math:`W^H W` with restarts [2]_, always from the same vector. One
        vector may see a value once that occurs several times, so what was found is taken out and the rest
        looked at again.

        References
        ----------
        .. [1] H. Sedghi, V. Gupta and P. M. Long, "The singular values of convolutional layers", 2019.
        .. [2] R. B. Lehoucq, D. C. Sorensen and C. Yang, "ARPACK users' guide", 1998.

        Examples
        --------
        >>> import triconv
        >>> A = triconv.ConvOperator([[1.0, -1.0]], (1, 4), padding="same", padding_mode="circular")
        >>> A.svdvals(3).round(6)
        array([2.      , 1.414214, 1.414214])
        """
        where = f"{WHERE}.svdvals"
        k = arguments.integer(where, "k", k, 1)
        if k > min(self.shape):
            raise ValueError(f"{where}: k expects at most min(shape) = {min(self.shape)}, got {k}")
        return self._largest(where, k)

    @np.errstate(all="ignore")
    def norm_bound(self, iterations: int = 6) -> float:
        r"""A number that the largest singular value never exceeds, by Gram iteration on the kernel.

        Costs the same for an image of any size: W is a part of the convolution of an endless image, which
        is what is bounded.

        Parameters
        ----------
        iterations : int, default 6
            Products of the transfer matrices with themselves, ``t`` below.

        Returns
        -------
        float
            At least `norm`. For zero padding and for circular ``"same"`` padding it comes near to it as
            images and ``iterations`` grow.

        Raises
        ------
        ValueError, TypeError
            If ``iterations`` is no positive int, or a weight is NaN or infinite.
        MemoryError
            Where padding copies pixels and a table of those that outputs read along an axis would not fit.

        See Also
        --------
        norm : the value itself.

        Notes
        -----
        With :math:`G_0 = T` at a frequency and :math:`G_{i+1} = G_i^H G_i`,

        .. math:: \|T\|_2 \le \|G_t\|_F^{1 / 2^t} \le r^{1 / 2^{t+1}} \|T\|_2

        for a matrix of rank ``r``. This is the Gram iteration of [1]_; that the bound serves for zero padding
        too is in [2]_.

        Frequencies lie on a grid of ``N = 16 (k - 1)`` points an axis. Between them
        :math:`\|T(\theta) x\|^2` is a polynomial in sines and cosines of degree ``k - 1``, which by an
        inequality of M. Riesz falls off from its maximum no faster than :math:`\cos^2((k - 1) \tau / 2)`,
        so the largest on the grid is divided by :math:`\cos(\pi (k - 1) / 2 N) = 0.995` an axis.

        With a stride every tap modulo ``s / gcd(s, d)`` reads pixels of its own, so these count as
        channels of a kernel with stride 1; dilation alone changes nothing, and the largest group counts.
        Padding that copies pixels multiplies by the square root of the most places that one pixel is read
        from, or, where strides go evenly round a circular image, of the most outputs that are the same, if
        these are fewer. The result is enlarged by what rounding may have taken from it, less than a part in
        a million.

        References
        ----------
        .. [1] B. Delattre, Q. Barthelemy, A. Araujo and A. Allauzen, "Efficient bound of Lipschitz constant
           for convolutional layers by Gram iteration", 2023.
        .. [2] B. Delattre, Q. Barthelemy and A. Allauzen, "Spectral norm of convolutional layers with
           circular and zero paddings", 2024.

        Examples
        --------
        >>> import numpy as np, triconv
        >>> A = triconv.ConvOperator(np.ones((3, 3)), (100, 100), padding=1)
        >>> A.norm() <= A.norm_bound() < 1.02 * A.norm()
        True
        """
        where = f"{WHERE}.norm_bound"
        iterations = arguments.integer(where, "iterations", iterations, 1)
        kernel, scale = spectrum.scaled(where, self._problem, self._weight)
        return scale * spectrum.bound(where, self._problem, kernel, iterations)

    @np.errstate(all="ignore")
    def norm_estimate(self) -> float:
        r"""The largest singular value of ``weight.reshape(C_out, -1)``: often taken for the norm, and not it.

        Returns
        -------
        float
            Neither below nor above `norm` in general.

        Raises
        ------
        ValueError
            If a weight is NaN or infinite.

        See Also
        --------
        norm, norm_bound

        Notes
        -----
        The estimate of [1]_. With zero padding, :math:`\sqrt{k_h k_w}` times it is a bound [2]_.

        References
        ----------
        .. [1] T. Miyato, T. Kataoka, M. Koyama and Y. Yoshida, "Spectral normalization for generative
           adversarial networks", 2018.
        .. [2] Y. Tsuzuku, I. Sato and M. Sugiyama, "Lipschitz-margin training", 2018.

        Examples
        --------
        >>> import numpy as np, triconv
        >>> A = triconv.ConvOperator(np.ones((3, 3)), (100, 100), padding=1)
        >>> round(A.norm_estimate(), 6), round(A.norm(), 2)
        (3.0, 8.99)
        """
        kernel, scale = spectrum.scaled(f"{WHERE}.norm_estimate", self._problem, self._weight)
        return scale * spectrum.estimate(kernel)

    def _largest(self, where: str, k: int) -> NDArray[np.float64]:
        kernel, scale = spectrum.scaled(where, self._problem, self._weight)
        if spectrum.is_circular(self._problem):
            return scale * spectrum.circular(where, self._problem, kernel)[:k]
        if not kernel.any():
            return np.zeros(k)
        wide = type(self)(
            self._weight.astype(kernel.dtype) / scale,
            self.input_shape,
            **self._problem.keywords().but_method(),
            order="C",
            method=self._method,
        )
        if spectrum.is_small(self.shape, k):
            require_dense(where, wide.shape, wide.dtype)
            return scale * np.linalg.svd(wide.to_dense(), compute_uv=False)[:k]
        return scale * spectrum.lanczos(where, wide, k)

    # --- what SciPy calls ---------------------------------------------------------------------------

    def _matvec(self, x: Any) -> NDArray[Any]:
        return self._of_rows(x, adjoint=False)

    def _rmatvec(self, x: Any) -> NDArray[Any]:
        return self._of_rows(x, adjoint=True)

    def _matmat(self, X: Any) -> NDArray[Any]:
        return self._of_columns(X, adjoint=False)

    def _rmatmat(self, X: Any) -> NDArray[Any]:
        return self._of_columns(X, adjoint=True)

    def _of_rows(self, x: NDArray[Any], *, adjoint: bool) -> NDArray[Any]:
        """The product with each vector of a batch ``(..., N)``; SciPy's own calls may bring a column."""
        if x.shape == (self.shape[1 - adjoint], 1):
            x = x[:, 0]
        y = self._linear.apply(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), adjoint=adjoint)
        return y.reshape(*x.shape[:-1], y.shape[1])

    def _of_columns(self, X: NDArray[Any], *, adjoint: bool) -> NDArray[Any]:
        """The product with each column of a batch ``(..., N, K)``: one run of the kernels for them all."""
        if X.ndim > 2:
            arrays.require_copy(WHERE, "x", X, X.dtype)
        rows = X.swapaxes(-1, -2)
        y = self._linear.apply(rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1]), adjoint=adjoint)
        return y.reshape(*rows.shape[:-1], y.shape[1]).swapaxes(-1, -2)

    def _transpose(self) -> LinearOperator:
        return super()._transpose() if self.dtype.kind == "c" else self._adjoint()

    def __reduce__(self) -> tuple[Any, ...]:
        keywords = self._problem.keywords().but_method() | {"order": self._order, "method": self._method}
        return functools.partial(type(self), **keywords), (self._weight, self.input_shape)

    def _shaped(self, method: str, name: str, value: ArrayLike, shape: Shape) -> NDArray[Any]:
        where = f"{WHERE}.{method}"
        vector = arguments.array(where, name, value)
        size = math.prod(shape)
        if vector.shape not in ((size,), (size, 1)):
            raise ValueError(f"{where}: {name} expects shape ({size},), got {vector.shape}")
        return vector.reshape(shape, order=self._order)


def require_dense(where: str, shape: Shape, dtype: np.dtype[Any]) -> None:
    """Refuse W as an array where it would not fit."""
    size = math.prod(shape) * dtype.itemsize
    memory.require(where, size, f"W as an array of shape {shape}", "use to_sparse(), or the operator itself")

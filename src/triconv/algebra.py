"""SciPy's algebra of operators, the same on every SciPy: products take batches, and refuse in our words."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator

from triconv import arguments

WHERE = "ConvOperator"
Product = Callable[[NDArray[Any]], NDArray[Any]]


class Operator(LinearOperator):  # type: ignore[misc]  # SciPy's class has no types here
    """An operator of shape ``(M, N)`` on batches of vectors and of matrices, as SciPy has them from 1.18 on.

    A subclass has ``_matvec`` of arrays ``(..., N)`` and ``_matmat`` of arrays ``(..., N, K)``, and, of the
    adjoint, ``_rmatvec`` and ``_rmatmat``. What SciPy composes of it is such an operator too.
    """

    def matvec(self, x: Any) -> Any:
        """``self`` applied to ``(N,)``, to a column ``(N, 1)``, or to each vector of ``(..., N)``."""
        return self._of_vectors(self._matvec, x, self.shape[1])

    def rmatvec(self, x: Any) -> Any:
        """The adjoint applied to ``(M,)``, to a column ``(M, 1)``, or to each vector of ``(..., M)``."""
        return self._of_vectors(self._rmatvec, x, self.shape[0])

    def matmat(self, X: Any) -> Any:
        """``self`` applied to each column of each matrix of ``(..., N, K)``."""
        return self._of_matrices(self._matmat, X, self.shape[1])

    def rmatmat(self, X: Any) -> Any:
        """The adjoint applied to each column of each matrix of ``(..., M, K)``."""
        return self._of_matrices(self._rmatmat, X, self.shape[0])

    def dot(self, x: Any) -> Any:
        """``self`` times a vector ``(N,)``, matrices ``(..., N, K)``, an operator or a number."""
        return composed(super().dot(number)) if (number := number_of(x)) is not None else self @ x

    def rdot(self, x: Any) -> Any:
        """A vector ``(M,)``, matrices ``(..., K, M)``, an operator or a number times ``self``."""
        if isinstance(x, LinearOperator):
            return batched(x) @ self
        return self.dot(x) if number_of(x) is not None else self.__rmatmul__(x)

    __mul__, __rmul__ = dot, rdot

    def __matmul__(self, x: Any) -> Any:
        if isinstance(x, LinearOperator):
            return composed(super().dot(batched(x)))
        values, size = operand(x), self.shape[1]
        if values.shape == (size,):
            return self._matvec(values)
        if values.ndim > 1 and values.shape[-2] == size:
            return self._matmat(values)
        raise ValueError(f"{WHERE}: x expects shape ({size},) or (..., {size}, K), got {values.shape}")

    def __rmatmul__(self, x: Any) -> Any:
        values, size = operand(x), self.shape[0]
        if values.shape == (size,):
            return self.T.matvec(values)
        if values.ndim > 1 and values.shape[-1] == size:
            return self.T.matmat(values.swapaxes(-1, -2)).swapaxes(-1, -2)
        raise ValueError(f"{WHERE}: x expects shape ({size},) or (..., K, {size}), got {values.shape}")

    def __add__(self, other: Any) -> Any:
        return composed(super().__add__(batched(other)))

    def __neg__(self) -> Any:
        return composed(super().__neg__())

    def __truediv__(self, number: Any) -> Any:
        return composed(super().__truediv__(number))

    def __pow__(self, p: Any) -> Any:
        return composed(super().__pow__(p))

    def _adjoint(self) -> LinearOperator:
        return composed(super()._adjoint())

    def _transpose(self) -> LinearOperator:
        return composed(super()._transpose())

    def _of_vectors(self, product: Product, x: Any, size: int) -> Any:
        values = operand(x)
        if values.shape == (size, 1):
            y = product(values[:, 0])[:, None]
        elif values.ndim and values.shape[-1] == size:
            y = product(values)
        else:
            raise ValueError(
                f"{WHERE}: x expects shape ({size},), ({size}, 1) or (..., {size}), got {values.shape}"
            )
        return y.view(np.matrix) if isinstance(x, np.matrix) else y

    def _of_matrices(self, product: Product, X: Any, size: int) -> Any:
        values = operand(X)
        if values.ndim < 2 or values.shape[-2] != size:
            raise ValueError(f"{WHERE}: X expects shape ({size}, K) or (..., {size}, K), got {values.shape}")
        y = product(values)
        return y.view(np.matrix) if isinstance(X, np.matrix) else y


class Composed(Operator):
    """What SciPy made of operators of this kind: a sum, a product, a multiple, a power or a transpose."""

    def __init__(self, made: LinearOperator) -> None:
        super().__init__(made.dtype, made.shape)
        self._made = made

    @np.errstate(all="ignore")
    def _matvec(self, x: Any) -> Any:
        return self._made._matvec(x)

    @np.errstate(all="ignore")
    def _rmatvec(self, x: Any) -> Any:
        return self._made._rmatvec(x)

    @np.errstate(all="ignore")
    def _matmat(self, X: Any) -> Any:
        return self._made._matmat(X)

    @np.errstate(all="ignore")
    def _rmatmat(self, X: Any) -> Any:
        return self._made._rmatmat(X)

    def _adjoint(self) -> LinearOperator:
        return composed(self._made.adjoint())


class Single(Operator):
    """Someone else's operator, which may know no batches, given one vector or one matrix at a time."""

    def __init__(self, other: LinearOperator) -> None:
        super().__init__(other.dtype, other.shape)
        self._other = other

    def _matvec(self, x: Any) -> Any:
        return self._each(self._other.matvec, x, self.shape[:1])

    def _rmatvec(self, x: Any) -> Any:
        return self._each(self._other.rmatvec, x, self.shape[1:])

    def _matmat(self, X: Any) -> Any:
        return self._each(self._other.matmat, X, (self.shape[0], X.shape[-1]))

    def _rmatmat(self, X: Any) -> Any:
        return self._each(self._other.rmatmat, X, (self.shape[1], X.shape[-1]))

    def _each(self, product: Product, x: NDArray[Any], shape: tuple[int, ...]) -> Any:
        """The product of every array of the batch, each of which becomes one of ``shape``."""
        batch, one = x.shape[: -len(shape)], x.shape[-len(shape) :]
        if 0 in (*batch, shape[-1]):
            return np.empty((*batch, *shape), np.result_type(self.dtype, x.dtype))
        if not batch:
            return product(x)
        made = [product(each) for each in x.reshape(math.prod(batch), *one)]
        return np.stack(made).reshape(*batch, *shape)


def composed(made: Any) -> Any:
    """What SciPy made of operators, as one of this kind; what is no operator as it is."""
    return Composed(made) if isinstance(made, LinearOperator) and not isinstance(made, Operator) else made


def batched(other: Any) -> Any:
    """Someone else's operator as one of this kind; what is no operator as it is."""
    return Single(other) if isinstance(other, LinearOperator) and not isinstance(other, Operator) else other


def number_of(x: Any) -> Any:
    """A number, also one that is an array without axes; None for all else."""
    if isinstance(x, np.ndarray) and not x.ndim:
        return x[()]
    return x if isinstance(x, Number | np.generic) else None


def operand(x: Any) -> NDArray[Any]:
    """What an operator is applied to, as an array."""
    if issparse(x):
        raise TypeError(
            f"{WHERE}: x is a sparse matrix; give x.toarray(), or scipy.sparse.linalg.aslinearoperator(x)"
        )
    return arguments.array(WHERE, "x", x)

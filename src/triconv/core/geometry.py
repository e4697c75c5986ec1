"""The geometry of a convolution: sizes, patches, and every index formula of the matrix form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triconv import arguments
from triconv.core.axis import Axis
from triconv.core.keywords import Keywords
from triconv.described import described
from triconv.runtime import memory
from triconv.types import Padding, Size

Index = NDArray[np.int64]
INT64_MOST = 2**63 - 1
LISTED = 256  # bytes of an entry while a list of positions is made


@described
@dataclass(frozen=True, init=False, slots=True)
class ConvGeometry:
    r"""Sizes and index formulas of one convolution, for a channels-last sample.

    Knows nothing of values: it says which patches hold an element, where an element stands in
    :math:`\mathrm{vec}(X_{pad})`, and what a row of :math:`W` looks like. Immutable and hashable.

    Parameters
    ----------
    input_shape : sequence of int
        ``(H_in, W_in, C_in)``; ``(H_in, W_in)`` is one channel.
    %(kernel_size)
    out_channels : int, default 1
        ``C_out``, the number of filters.
    %(stride, padding, dilation, groups)

    Attributes
    ----------
    pads : tuple
        ``((top, bottom), (left, right))``.
    padded_shape, output_shape : tuple of int
        ``(H_pad, W_pad, C_in)`` and ``(H_out, W_out, C_out)``.
    nnz : int
        Entries of ``W`` over the padded input, ``H_out W_out C_out k_h k_w C_in / groups``.
    flops : int
        Operations of one sample, two a multiply-add.

    Raises
    ------
    ValueError
        If a value is out of range or the output would be empty.
    TypeError
        If something is not an int.

    Notes
    -----
    The formulas are those of [1]_, with ``vec`` stacking the columns of one channel after the other.

    References
    ----------
    .. [1] V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016.

    Examples
    --------
    >>> from triconv import ConvGeometry
    >>> g = ConvGeometry((5, 6, 2), 3, out_channels=4, stride=2, padding=1)
    >>> g.padded_shape, g.output_shape
    ((7, 8, 2), (3, 3, 4))
    >>> g.patches_containing(2, 2).tolist()
    [[0, 0, 2, 2], [0, 1, 2, 0], [1, 0, 0, 2], [1, 1, 0, 0]]
    >>> columns, taps = g.row(0, 0, 3)
    >>> columns[:4], taps[:4]
    (array([0, 1, 2, 7]), array([0, 1, 2, 3]))
    """

    axes: tuple[Axis, Axis]
    in_channels: int
    out_channels: int
    groups: int

    def __init__(
        self,
        input_shape: Sequence[SupportsIndex],
        kernel_size: Size,
        out_channels: SupportsIndex = 1,
        *,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: SupportsIndex = 1,
    ) -> None:
        where = "ConvGeometry"
        shape = arguments.integers(where, "input_shape", input_shape, "(H, W, C)", 0)
        if len(shape) not in (2, 3):
            raise ValueError(f"{where}: input_shape expects (H, W, C), got {len(shape)} values")
        axes = Keywords(stride, padding, dilation).axes(where, (shape[0], shape[1]), kernel_size)
        self._set(where, axes, (*shape, 1)[2], out_channels, groups)

    @classmethod
    def from_axes(
        cls, where: str, axes: tuple[Axis, Axis], in_channels: int, out_channels: int, groups: Any
    ) -> ConvGeometry:
        """Build from checked axes; messages open with ``where``."""
        made = cls.__new__(cls)
        made._set(where, axes, in_channels, out_channels, groups)
        return made

    def _set(
        self, where: str, axes: tuple[Axis, Axis], in_channels: int, out_channels: Any, groups: Any
    ) -> None:
        out_channels = arguments.integer(where, "out_channels", out_channels, 1)
        groups = arguments.integer(where, "groups", groups, 1)
        if in_channels < 1:
            raise ValueError(f"{where}: the input expects at least 1 channel, got {in_channels}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{where}: groups expects a divisor of C_in and C_out, "
                f"got {groups} for C_in={in_channels}, C_out={out_channels}"
            )
        for name, value in (
            ("axes", axes),
            ("in_channels", in_channels),
            ("out_channels", out_channels),
            ("groups", groups),
        ):
            object.__setattr__(self, name, value)

    # --- sizes --------------------------------------------------------------------------------------

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(H_in, W_in, C_in)``."""
        return (*self._of("size"), self.in_channels)

    @property
    def kernel_size(self) -> tuple[int, int]:
        """``(k_h, k_w)``."""
        return self._of("kernel")

    @property
    def stride(self) -> tuple[int, int]:
        """``(s_h, s_w)``."""
        return self._of("stride")

    @property
    def dilation(self) -> tuple[int, int]:
        """``(d_h, d_w)``."""
        return self._of("dilation")

    @property
    def pads(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """``((top, bottom), (left, right))``."""
        h, w = self.axes
        return (h.before, h.after), (w.before, w.after)

    @property
    def padded_shape(self) -> tuple[int, int, int]:
        """``(H_pad, W_pad, C_in)``."""
        return (*self._of("padded"), self.in_channels)

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """``(H_out, W_out, C_out)``."""
        return (*self._of("out"), self.out_channels)

    @property
    def group_channels(self) -> int:
        """Input channels that one filter sees, ``C_in / groups``."""
        return self.in_channels // self.groups

    @property
    def patch_size(self) -> int:
        """Length of ``k_m``, ``k_h k_w C_in / groups``."""
        k_h, k_w = self.kernel_size
        return k_h * k_w * self.group_channels

    @property
    def nnz(self) -> int:
        """Entries of ``W`` over ``vec(X_pad)``."""
        h, w, c = self.output_shape
        return h * w * c * self.patch_size

    @property
    def flops(self) -> int:
        """Operations of one sample, two a multiply-add."""
        return 2 * self.nnz

    def _of(self, name: str) -> tuple[int, int]:
        h, w = self.axes
        return getattr(h, name), getattr(w, name)

    # --- patches ------------------------------------------------------------------------------------

    def patch(self, i: int, j: int) -> tuple[slice, slice, slice]:
        """Slices that cut patch ``(i, j)`` out of the padded input.

        Parameters
        ----------
        i, j : int
            Position of the output.

        Returns
        -------
        tuple of slice
            ``X_pad[geometry.patch(i, j)]`` has shape ``(k_h, k_w, C_in)``.

        Raises
        ------
        ValueError
            If the position is outside the output.

        Examples
        --------
        >>> from triconv import ConvGeometry
        >>> ConvGeometry((8, 8, 1), 3, stride=2, dilation=2).patch(1, 0)
        (slice(2, 7, 2), slice(0, 5, 2), slice(None, None, None))
        """
        h, w = self.axes
        i = arguments.position("ConvGeometry.patch", "i", i, h.out)
        j = arguments.position("ConvGeometry.patch", "j", j, w.out)
        return h.patch(i), w.patch(j), slice(None)

    def patches_containing(self, r: int, c: int) -> Index:
        """Every patch that holds one element of the padded input, and where in it: the inverse map.

        Parameters
        ----------
        r, c : int
            Row and column of ``X_pad``.

        Returns
        -------
        ndarray of int64, shape (n, 4)
            Every ``(i, j, u, v)`` with ``X_patch[i, j][u, v] = X_pad[r, c]``, in lexicographic order.

        Raises
        ------
        ValueError
            If the position is outside the padded input.

        Examples
        --------
        >>> from triconv import ConvGeometry
        >>> ConvGeometry((4, 4, 1), 2).patches_containing(0, 1).tolist()
        [[0, 0, 0, 1], [0, 1, 0, 0]]
        """
        h, w = self.axes
        self._require("patches_containing", min(h.kernel, h.out) * min(w.kernel, w.out))
        r = arguments.position("ConvGeometry.patches_containing", "r", r, h.padded)
        c = arguments.position("ConvGeometry.patches_containing", "c", c, w.padded)
        rows, columns = h.patches_containing(r), w.patches_containing(c)
        found = [(i, j, u, v) for i, u in rows for j, v in columns]
        return np.array(found, dtype=np.int64).reshape(-1, 4)

    # --- index formulas -----------------------------------------------------------------------------

    def patch_index(self, u: ArrayLike, v: ArrayLike, c: ArrayLike) -> Any:
        """Position of ``X_patch[u, v, c]`` in ``x_ij``: ``c k_h k_w + v k_h + u``.

        Parameters
        ----------
        u, v, c : int or array of int
            Row and column in the patch, and channel; broadcast together.

        Returns
        -------
        int or ndarray of int64
            The positions.

        Raises
        ------
        TypeError, ValueError
            If an index is not an integer, or out of range.

        Examples
        --------
        >>> from triconv import ConvGeometry
        >>> ConvGeometry((8, 8, 2), (2, 3)).patch_index(1, 2, [0, 1])
        array([ 5, 11])
        """
        return self._index("patch_index", (u, v, c), ("u", "v", "c"), (*self.kernel_size, self.in_channels))

    def padded_index(self, r: ArrayLike, c: ArrayLike, C: ArrayLike) -> Any:
        """Position of ``X_pad[r, c, C]`` in ``vec(X_pad)``: ``C H_pad W_pad + c H_pad + r``.

        Parameters
        ----------
        r, c, C : int or array of int
            Row, column and channel; broadcast together.

        Returns
        -------
        int or ndarray of int64
            The positions.

        Raises
        ------
        TypeError, ValueError
            If an index is not an integer, or out of range.

        Examples
        --------
        >>> from triconv import ConvGeometry
        >>> ConvGeometry((4, 5, 2), 3).padded_index(1, 2, 1)
        29
        """
        return self._index("padded_index", (r, c, C), ("r", "c", "C"), self.padded_shape)

    def output_index(self, i: ArrayLike, j: ArrayLike, m: ArrayLike) -> Any:
        """Position of ``Y[i, j, m]`` in ``vec(Y)``: ``m H_out W_out + j H_out + i``.

        Parameters
        ----------
        i, j, m : int or array of int
            Row, column and filter; broadcast together.

        Returns
        -------
        int or ndarray of int64
            The positions.

        Raises
        ------
        TypeError, ValueError
            If an index is not an integer, or out of range.

        Examples
        --------
        >>> from triconv import ConvGeometry
        >>> ConvGeometry((4, 5, 1), 3, 2).output_index([0, 1], 2, 1)
        array([10, 11])
        """
        return self._index("output_index", (i, j, m), ("i", "j", "m"), self.output_shape)

    def padded_position(self, n: ArrayLike) -> tuple[Any, Any, Any]:
        """The inverse of `padded_index`.

        Parameters
        ----------
        n : int or array of int
            Positions in ``vec(X_pad)``.

        Returns
        -------
        tuple
            ``(r, c, C)``, each of the shape of ``n``.

        Raises
        ------
        TypeError, ValueError
            If ``n`` is not an integer, or out of range.

        Examples
        --------
        >>> from triconv import ConvGeometry
        >>> ConvGeometry((4, 5, 2), 3).padded_position(29)
        (1, 2, 1)
        """
        return self._unravel("padded_position", n, self.padded_shape)

    def output_position(self, n: ArrayLike) -> tuple[Any, Any, Any]:
        """The inverse of `output_index`.

        Parameters
        ----------
        n : int or array of int
            Positions in ``vec(Y)``.

        Returns
        -------
        tuple
            ``(i, j, m)``, each of the shape of ``n``.

        Raises
        ------
        TypeError, ValueError
            If ``n`` is not an integer, or out of range.

        Examples
        --------
        >>> from triconv import ConvGeometry
        >>> ConvGeometry((4, 5, 1), 3, 2).output_position(10)
        (0, 2, 1)
        """
        return self._unravel("output_position", n, self.output_shape)

    def row(self, i: int, j: int, m: int) -> tuple[Index, Index]:
        """The row of ``W`` for ``Y[i, j, m]``.

        Parameters
        ----------
        i, j, m : int
            Position of the output.

        Returns
        -------
        columns, taps : ndarray of int64, shape (k_h * k_w * C_in / groups,)
            The row holds ``k_m[taps]`` at ``columns`` of ``vec(X_pad)``, which ascend.

        Raises
        ------
        ValueError
            If the position is outside the output.

        Examples
        --------
        >>> from triconv import ConvGeometry
        >>> columns, taps = ConvGeometry((3, 3, 1), 2).row(1, 0, 0)
        >>> columns, taps
        (array([1, 2, 4, 5]), array([0, 1, 2, 3]))
        """
        h, w = self.axes
        self._require("row", self.patch_size)
        i = arguments.position("ConvGeometry.row", "i", i, h.out)
        j = arguments.position("ConvGeometry.row", "j", j, w.out)
        m = arguments.position("ConvGeometry.row", "m", m, self.out_channels)
        first = m // (self.out_channels // self.groups) * self.group_channels
        # vec and x_ij order rows, columns and channels alike, so both ascend together.
        c, v, u = np.ogrid[: self.group_channels, : w.kernel, : h.kernel]
        rows, columns = i * h.stride + u * h.dilation, j * w.stride + v * w.dilation
        at = (first + c) * (h.padded * w.padded) + columns * h.padded + rows
        return at.astype(np.int64).ravel(), np.arange(self.patch_size, dtype=np.int64)

    # --- checks -------------------------------------------------------------------------------------

    def _require(self, method: str, entries: int) -> None:
        """Refuse positions that 64 bits cannot hold, and more of them than fit."""
        where = f"ConvGeometry.{method}"
        if max(math.prod(self.padded_shape), math.prod(self.output_shape)) > INT64_MOST:
            raise ValueError(f"{where}: positions in arrays of this size need more than 64 bits")
        memory.require(where, LISTED * entries, f"a list of up to {entries} entries")

    @staticmethod
    def _positions(method: str, name: str, value: Any, size: int) -> Index:
        where = f"ConvGeometry.{method}"
        arguments.unmasked(where, name, value)
        numbers = np.asarray(value)
        huge = numbers.dtype.kind == "O" and all(map(arguments.is_integer, numbers.flat))
        if numbers.dtype.kind not in "iu" and numbers.size and not huge:
            raise TypeError(f"{where}: {name} expects integers, got {numbers.dtype}")
        if numbers.size and (numbers.min() < 0 or numbers.max() >= size):
            raise ValueError(
                f"{where}: {name} expects 0 to {size - 1}, got {numbers.min()} to {numbers.max()}"
            )
        return numbers.astype(np.int64)

    def _index(
        self, method: str, values: tuple[Any, ...], names: tuple[str, ...], shape: tuple[int, ...]
    ) -> Any:
        self._require(method, 0)
        a, b, c = (
            self._positions(method, name, value, size)
            for name, value, size in zip(names, values, shape, strict=True)
        )
        return _int_or_array(a + shape[0] * (b + shape[1] * c))

    def _unravel(self, method: str, n: Any, shape: tuple[int, int, int]) -> tuple[Any, Any, Any]:
        self._require(method, 0)
        numbers = self._positions(method, "n", n, shape[0] * shape[1] * shape[2])
        rest, first = np.divmod(numbers, shape[0])
        third, second = np.divmod(rest, shape[1])
        return _int_or_array(first), _int_or_array(second), _int_or_array(third)


def _int_or_array(numbers: Any) -> Any:
    return int(numbers) if np.ndim(numbers) == 0 else numbers

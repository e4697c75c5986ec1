"""Everything about one convolution decided and packed once: the method, its schedule, its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from triconv import arguments
from triconv.core import checked
from triconv.core.geometry import ConvGeometry
from triconv.core.keywords import Keywords
from triconv.core.problem import Problem
from triconv.described import described
from triconv.methods import METHODS, choice
from triconv.methods.prepared import Prepared, prepare
from triconv.runtime import arrays
from triconv.runtime.machine import machine
from triconv.runtime.memory import human
from triconv.schedules import workspace
from triconv.types import Layout, Padding, PaddingMode, Size


class ConvPlan:
    """A convolution with its method, schedule and packed weights settled; made by `plan`.

    Callable from many threads at once. Holds a packed copy of weights and bias of its own, so later
    changes to the arrays it was made from do not reach it. Can be pickled: what is pickled is a plain copy,
    which is held too, and packed again where it is read.

    Attributes
    ----------
    method : str
        The method that it runs, never ``"auto"``.
    geometry : ConvGeometry
        Sizes of one sample.
    flops : int
        Operations of a call on the whole batch, two a multiply-add.
    workspace_bytes : int
        What a call allocates beside its output, with the calling thread's count of threads; copies of
        arrays that are not contiguous, or of another dtype, come on top.
    packed_bytes : int
        What the plan itself holds: packed weights, or W.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> weight = np.ones((4, 3, 3, 2), np.float32)
    >>> layer = triconv.plan(weight, (8, 8, 2), padding=1)
    >>> layer(np.ones((8, 8, 2), np.float32))[0, 0, 0]
    np.float32(8.0)
    """

    def __init__(
        self, prepared: Prepared, weight: NDArray[Any], bias: NDArray[Any] | complex | None, asked: str
    ) -> None:
        self._prepared = prepared
        self._packed = prepared.pack("plan", weight, bias)
        self._given = weight, bias
        self._asked = asked

    @property
    def method(self) -> str:
        """The method that a call runs."""
        return self._prepared.name

    @property
    def geometry(self) -> ConvGeometry:
        """Sizes of one sample."""
        return self._prepared.problem.geometry

    @property
    def flops(self) -> int:
        """Operations of a call on the whole batch, two a multiply-add."""
        return self._prepared.problem.flops

    @property
    def workspace_bytes(self) -> int:
        """Bytes that a call allocates beside its output, with the calling thread's count of threads.

        Copies of arrays that are not contiguous, or of another dtype, come on top.
        """
        p = self._prepared.problem
        workers = workspace.threads_for(self._prepared.flops)
        return self._prepared.method.workspace_bytes(p, self._prepared.schedule, workers)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights, or of W."""
        return self._prepared.method.packed_bytes(self._prepared.problem, self._prepared.schedule)

    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Convolve one input.

        Parameters
        ----------
        x : array_like
            Of the shape that the plan was made for; a narrower dtype is cast up.
        out : ndarray, optional
            Where the result goes; of exactly its shape and dtype.

        Returns
        -------
        ndarray
            The result; ``out`` where it was given.

        Raises
        ------
        ValueError
            If a shape is another, or ``out`` shares memory with ``x``.
        TypeError
            If ``x`` is wider than the plan's dtype, or of an unsupported one.

        Examples
        --------
        >>> import numpy as np, triconv
        >>> triconv.plan(np.ones((2, 2)), (3, 3))(np.eye(3))
        array([[2., 1.],
               [1., 2.]])
        """
        where = "ConvPlan"
        p = self._prepared.problem
        image = arguments.array(where, "x", x)
        if image.shape != p.x_shape:
            raise ValueError(f"{where}: x expects shape {p.x_shape}, got {image.shape}")
        if image.dtype != p.result and np.result_type(image.dtype, p.result) != p.result:
            raise TypeError(f"{where}: x expects at most dtype {p.result}, got {image.dtype}")
        y = self._prepared.result(where, image, out, (x,) if image is x else (x, image))
        self._prepared.run(self._packed, arrays.contiguous(where, "x", image, p.dtype), y)
        return y

    def explain(self) -> str:
        """Say in words which method and schedule were chosen, and why.

        Returns
        -------
        str
            A line on the choice, one a candidate with its predicted operations and bytes, and one on
            the schedule.

        Examples
        --------
        >>> import numpy as np, triconv
        >>> print(triconv.plan(np.ones((8, 3, 3, 4)), (16, 16, 4)).explain().splitlines()[0])
        direct was chosen: it is predicted to take the fewest cycles
        """
        p = self._prepared.problem
        options = choice.candidates(p, machine())
        reason = "it was asked for"
        if self._asked == "auto":
            reason = "it is predicted to take the fewest cycles"
            one = choice.candidates(replace(p, batch=1), machine())
            fastest = min(one, key=lambda each: each.cost.cycles).name
            if METHODS[fastest].NEEDS_MATRIX and not METHODS[self.method].NEEDS_MATRIX:
                reason += " without W, which would take more memory"
        lines = [f"{self.method} was chosen: {reason}"]
        for name, schedule, cost in options:
            bytes_ = METHODS[name].packed_bytes(p, schedule)
            lines.append(
                f"  {name:8}{cost.operations:>16,} multiply-adds, {human(cost.bytes)} moved beside input and "
                f"output, {human(bytes_)} packed, {cost.cycles:.3g} cycles"
            )
        lines.append(f"schedule: {self._prepared.method.explain(p, self._prepared.schedule)}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return unpickled, (self._prepared.problem, self.method, self._asked, *self._given)

    def __repr__(self) -> str:
        p = self._prepared.problem
        return f"<ConvPlan {self.method} {p.x_shape} -> {p.y_shape} {p.result}>"


def unpickled(problem: Problem, method: str, asked: str, weight: NDArray[Any], bias: Any) -> ConvPlan:
    """A plan of the same method, with weights packed as this machine reads them."""
    return ConvPlan(prepare(problem, method, machine()), weight, bias, asked)


@described
def plan(
    weight: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    bias: ArrayLike | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    method: str = "auto",
    dtype: DTypeLike | None = None,
) -> ConvPlan:
    """Decide and pack a convolution once, to run it many times.

    Parameters
    ----------
    %(weight, input_shape, bias)
    %(keywords, method)
    dtype : dtype, optional
        What to compute in, and what inputs may be at most; by default that of ``weight`` and ``bias``.

    Returns
    -------
    ConvPlan
        To be called with inputs.

    Raises
    ------
    %(errors)
    MemoryError
        For ``method="matrix"`` where W would not fit.

    See Also
    --------
    conv2d : the same without a plan.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> blur = triconv.plan(np.full((3, 3), 1 / 9), (480, 640), padding="same")
    >>> blur(np.ones((480, 640)))[100, 100].round(6)
    np.float64(1.0)
    """
    where = "plan"
    filters = arguments.array(where, "weight", weight)
    start = arguments.bias_array(where, bias)
    shape = arguments.integers(
        where, "input_shape", input_shape, "a sequence of ints, the full shape of x", 0
    )
    result = arguments.result_dtype(filters, start)
    if dtype is not None:
        wanted = arguments.dtype_of(where, dtype)
        if result.kind == "c" and wanted.kind != "c":
            raise TypeError(f"{where}: dtype expects a complex dtype for complex weights, got {wanted}")
        result = wanted
    asked = choice.named(where, method)
    keywords = Keywords(stride, padding, dilation, groups, padding_mode, layout, method)
    bias_shape = None if start is None else np.shape(start)
    problem = checked.convolution(where, shape, filters.shape, bias_shape, result, keywords, "input_shape")
    prepared = prepare(problem, choice.checked(where, asked, problem), machine())
    arrays.require_copy(where, "weight", filters, filters.dtype)
    prepared.require_packed(where)
    return ConvPlan(prepared, filters.copy(), start.copy() if isinstance(start, np.ndarray) else start, asked)

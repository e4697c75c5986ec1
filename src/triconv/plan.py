"""Everything about one convolution decided and packed once: the method, its schedule, its weights."""

from __future__ import annotations

import functools
import math
import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from triconv import arguments, definition
from triconv.geometry import ConvGeometry
from triconv.methods import METHODS, choice, common, names
from triconv.problem import Problem, problem
from triconv.runtime import memory
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import Machine, machine
from triconv.runtime.memory import human


class Prepared:
    """A method ready to take weights, for one problem; what every call asks for is worked out here."""

    def __init__(self, problem: Problem, name: str, schedule: Any) -> None:
        self.problem = problem
        self.name = name
        self.schedule = schedule
        self.module = METHODS[name]
        self.flops = problem.flops
        self.cycles = self.module.cost(problem, schedule).cycles
        self._held_bytes = self.module.packed_bytes(problem, schedule)
        self.result_bytes = problem.result.itemsize * math.prod(problem.y_shape)
        sizes = math.prod(problem.x_shape) + 2 * math.prod(problem.y_shape)
        self._most_bytes = sizes * problem.dtype.itemsize + self._beside(os.cpu_count() or 1)
        self._pack = self.module.packer(problem.plain(), schedule)
        self._run = common.Made(
            problem.plain(), functools.partial(self.module.runner, problem.plain(), schedule)
        )
        self._no_bias = np.zeros(problem.geometry.out_channels, problem.dtype)

    def require_packed(self, where: str) -> None:
        """Refuse weights, or a W, that would not fit."""
        self.module.require(where, self.problem, self.schedule)

    def pack(self, where: str, weight: NDArray[Any], bias: Any) -> common.Packed:
        """Weights and bias in the method's order."""
        if self.module.NEEDS_MATRIX or self._held_bytes > memory.SMALL // 2:
            self.require_packed(where)
        start = self._no_bias
        if bias is not None:
            start = np.empty_like(start)
            start[:] = arguments.cast(np.asarray(bias), start.dtype)
        packed = self._pack(weight, start)
        if self.module.NEEDS_MATRIX:
            given = arguments.cast(weight, self.problem.dtype)  # in which a weight may have become infinite
            if definition.w_may_differ(self.problem, given):
                definition.require(where, self.problem)
                packed = packed._replace(given=given)
        return packed

    def run(self, packed: common.Packed, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Convolve contiguous ``x`` of the problem's dtype into ``y``, an array of the result's."""
        p = self.problem
        if not p.batch:
            return
        whole = y if common.is_ready(y, p.dtype) else np.empty(p.y_shape, p.dtype)
        workers = common.threads_for(self.flops)
        interruptible(self.cycles, self._run, packed, x.reshape(-1), whole.reshape(-1), workers)
        given = packed.given
        if given is not None and not (definition.is_finite(given) and definition.is_finite(whole)):
            whole[...] = definition.settled(whole, definition.forward(p, x, given, packed.bias))
        if whole is not y:
            y[...] = arguments.cast(whole, p.result)

    def _beside(self, workers: int) -> int:
        """Bytes of workspace and index tables."""
        p = self.problem.plain()
        return self.module.workspace_bytes(p, self.schedule, workers) + common.maps_bytes(p)

    def _require(self, where: str, x: NDArray[Any], out: NDArray[Any] | None) -> None:
        """Refuse a call that would not fit."""
        p = self.problem
        more = self._beside(common.threads_for(self.flops))
        if x.dtype != p.dtype or not x.flags.c_contiguous:
            common.require_copy(where, "x", x, p.dtype)
            more += x.size * p.dtype.itemsize
        if p.result != p.dtype or (out is not None and not out.flags.c_contiguous):
            more += math.prod(p.y_shape) * p.dtype.itemsize
        copies = " with its workspace and copies" if more > memory.SMALL else ""
        size = more + (self.result_bytes if out is None else 0)
        memory.require(where, size, f"the output of shape {p.y_shape} ({p.result}){copies}")

    def result(
        self, where: str, image: NDArray[Any], out: NDArray[Any] | None = None, inputs: tuple[Any, ...] = ()
    ) -> NDArray[Any]:
        """The array that the result goes into, refused where it cannot be had."""
        p = self.problem
        if out is not None:
            arguments.output(where, out, p.y_shape, p.result, inputs)
        if self._most_bytes > memory.SMALL:
            self._require(where, image, out)
        return np.empty(p.y_shape, p.result) if out is None else out


@functools.lru_cache(maxsize=1024)
def prepare(problem: Problem, method: str, machine: Machine) -> Prepared:
    """Choose the method where it is ``"auto"``, and build what its kernels index by."""
    if method == "auto":
        method = choice.fastest(problem, machine)
    return Prepared(problem, method, METHODS[method].schedule(problem.plain(), machine))


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

    def __init__(self, prepared: Prepared, weight: NDArray[Any], bias: Any, asked: str) -> None:
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
        workers = common.threads_for(self._prepared.flops)
        return self._prepared.module.workspace_bytes(p, self._prepared.schedule, workers)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights, or of W."""
        return self._prepared.module.packed_bytes(self._prepared.problem, self._prepared.schedule)

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
        self._prepared.run(self._packed, common.contiguous(where, "x", image, p.dtype), y)
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
        lines.append(f"schedule: {self._prepared.module.explain(p, self._prepared.schedule)}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return unpickled, (self._prepared.problem, self.method, self._asked, *self._given)

    def __repr__(self) -> str:
        p = self._prepared.problem
        return f"<ConvPlan {self.method} {p.x_shape} -> {p.y_shape} {p.result}>"


def unpickled(problem: Problem, method: str, asked: str, weight: NDArray[Any], bias: Any) -> ConvPlan:
    """A plan of the same method, with weights packed as this machine reads them."""
    return ConvPlan(prepare(problem, method, machine()), weight, bias, asked)


def plan(
    weight: ArrayLike,
    input_shape: tuple[int, ...],
    bias: ArrayLike | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    layout: str = "NHWC",
    method: str = "auto",
    dtype: DTypeLike | None = None,
) -> ConvPlan:
    """Decide and pack a convolution once, to run it many times.

    Parameters
    ----------
    weight : array_like
        ``(C_out, k_h, k_w, C_in / groups)``, or in NCHW ``(C_out, C_in / groups, k_h, k_w)``, or one
        filter ``(k_h, k_w)``.
    input_shape : tuple of int
        The full shape of the inputs to come, the batch axis included.
    bias : array_like, optional
        ``(C_out,)``; a scalar for a 2-D weight.
    stride, padding, dilation, groups, padding_mode, layout, method
        As in `conv2d`.
    dtype : dtype, optional
        What to compute in, and what inputs may be at most; by default that of ``weight`` and ``bias``.

    Returns
    -------
    ConvPlan
        To be called with inputs.

    Raises
    ------
    ValueError
        For shapes and values that do not fit.
    TypeError
        For dtypes and types.
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
    asked = arguments.choice(where, "method", method, names())
    made = problem(
        where,
        shape,
        filters.shape,
        None if start is None else np.shape(start),
        result,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        layout=layout,
        x_name="input_shape",
    )
    choice.require(where, asked, made)
    prepared = prepare(made, asked, machine())
    common.require_copy(where, "weight", filters, filters.dtype)
    prepared.require_packed(where)
    return ConvPlan(prepared, filters.copy(), start.copy() if isinstance(start, np.ndarray) else start, asked)

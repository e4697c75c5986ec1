"""W and its adjoint applied to vectors: by the kernels that need no matrix, or by W."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv import arguments, definition
from triconv.adjoint import transposed
from triconv.geometry import ConvGeometry
from triconv.methods import choice, common, matrix
from triconv.plan import prepare
from triconv.problem import Problem
from triconv.runtime import memory
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import machine

KEPT = 4  # counts and dtypes of vectors, in both directions, for which packed weights are kept
Run = Callable[[NDArray[Any]], NDArray[Any]]


class Linear:
    """The map of one sample's problem; ``order`` says how a vector lists the elements of a sample."""

    def __init__(self, where: str, problem: Problem, weight: NDArray[Any], order: str, method: str) -> None:
        self.where = where
        self.problem = problem = problem.plain()
        self.weight = weight
        self.order = order
        self.method = method
        self._ready: dict[tuple[bool, int, np.dtype[Any]], Run] = {}
        self._held: dict[bool, tuple[np.dtype[Any], common.Packed]] = {}
        if method == matrix.NAME:
            matrix.require(where, problem, matrix.schedule(problem, machine()))

    def apply(self, vectors: Any, *, adjoint: bool = False) -> NDArray[Any]:
        """Apply W, or its adjoint, to every row."""
        rows = arguments.array(self.where, "x", vectors)
        expected = math.prod(self.problem.y_shape if adjoint else self.problem.x_shape)
        if rows.shape[1] != expected:
            raise ValueError(f"{self.where}: x expects vectors of {expected} elements, got {rows.shape[1]}")
        dtype = arguments.computed(arguments.result_dtype(rows, self.weight.dtype))
        if dtype.kind == "c" and self.weight.dtype.kind != "c":
            parts = self.apply(np.concatenate([rows.real, rows.imag]), adjoint=adjoint)
            whole = np.empty((len(rows), parts.shape[1]), dtype)
            whole.real, whole.imag = parts[: len(rows)], parts[len(rows) :]
            return whole
        key = adjoint, len(rows), dtype
        run = self._ready.get(key)
        if run is None:
            run = self._runner(*key)
            for oldest in list(self._ready)[: len(self._ready) + 1 - KEPT]:
                self._ready.pop(oldest, None)  # another thread may have been here
            self._ready[key] = run
        size = math.prod(self.problem.x_shape if adjoint else self.problem.y_shape)
        shape = len(rows), size
        memory.require(self.where, math.prod(shape) * dtype.itemsize, f"the result of shape {shape[::-1]}")
        if rows.dtype != dtype:
            common.require_copy(self.where, "x", rows, dtype)
        return run(arguments.cast(rows, dtype)).reshape(shape)

    def _runner(self, adjoint: bool, batch: int, dtype: np.dtype[Any]) -> Run:
        """A function of ``batch`` contiguous rows of a dtype that applies W, or its adjoint, to them."""
        one = replace(self.problem, dtype=dtype, result=dtype)
        weight = self.weight.conj() if adjoint and dtype.kind == "c" else self.weight
        if self.order == "F":
            one, weight = reversed_axes(one), weight.T if weight.ndim == 2 else weight.transpose(0, 3, 2, 1)
        made = replace(one, batch=batch, x_shape=(batch, *one.x_shape), y_shape=(batch, *one.y_shape))
        if self.method == matrix.NAME:
            return self._matrix_runner(adjoint, made, weight)
        if adjoint:
            back = transposed(made, self.method, machine())
            turned = back.pack(self.where, weight)

            def transpose(rows: NDArray[Any]) -> NDArray[Any]:
                back.require(self.where)
                return back.run(turned, common.contiguous(self.where, "x", rows, dtype))

            return transpose
        method = choice.without_matrix(one, machine()) if self.method == "auto" else self.method
        prepared = prepare(made, method, machine())
        packed = prepared.pack(self.where, weight, None)

        def run(rows: NDArray[Any]) -> NDArray[Any]:
            y = prepared.result(self.where, rows)
            prepared.run(packed, common.contiguous(self.where, "x", rows, dtype), y)
            return y

        return run

    def _matrix_runner(self, adjoint: bool, made: Problem, weight: NDArray[Any]) -> Run:
        """The same by W, or its adjoint, which is kept for any number of rows."""
        plan = matrix.schedule(made, machine(), transposed=adjoint)
        held = self._held.get(adjoint)
        if held is None or held[0] != made.dtype:
            for key in list(self._ready):
                if key[0] == adjoint:  # these hold the former W
                    self._ready.pop(key, None)
            matrix.require(self.where, made, plan)
            channels = made.geometry.in_channels if adjoint else made.geometry.out_channels
            packed = matrix.packer(made, plan)(weight, np.zeros(channels, made.dtype))
            held = self._held[adjoint] = made.dtype, packed
        W, product = held[1], matrix.runner(made, plan)
        finite = definition.is_finite(weight)
        differs = definition.copies_pixels(made) or not (adjoint or finite)
        exact = definition.backward if adjoint else definition.forward
        if batch_fits := made.batch > 1 and made.batch % plan.tile.width == 0:
            product = matrix.columns_runner(made, plan)

        def run(rows: NDArray[Any]) -> NDArray[Any]:
            # Vectors side by side are as SciPy's callers have them, and as W takes them.
            columns = common.contiguous(self.where, "x", rows.T if batch_fits else rows, made.dtype)
            y = np.empty((plan.rows, made.batch) if batch_fits else (made.batch, plan.rows), made.dtype)
            workers = common.threads_for(made.flops)
            interruptible(plan.entries * made.batch, product, W, columns.reshape(-1), y.reshape(-1), workers)
            y = y.T if batch_fits else y
            if differs and not (finite and definition.is_finite(y)):
                definition.require(self.where, made)
                return definition.settled(y, exact(made, rows, weight, W.bias).reshape(y.shape))
            return y

        return run


def reversed_axes(problem: Problem) -> Problem:
    """The problem that has the axes of all its samples in reverse: in C order what this is in F order.

    Rows become columns, and the other layout's place is where the channels stand.
    """
    g = problem.geometry
    geometry = ConvGeometry.from_axes(
        "reversed", (g.axes[1], g.axes[0]), g.in_channels, g.out_channels, g.groups
    )
    weight = problem.weight_shape
    return replace(
        problem,
        geometry=geometry,
        layout="NCHW" if problem.layout == "NHWC" else "NHWC",
        x_shape=problem.x_shape[::-1],
        weight_shape=weight[::-1] if len(weight) == 2 else (weight[0], *weight[:0:-1]),
        y_shape=problem.y_shape[::-1],
    )

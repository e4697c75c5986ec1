"""W and its adjoint applied to vectors: by the kernels that need no matrix, or by W."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv import arguments
from triconv.core import definition
from triconv.core.problem import Problem
from triconv.methods import METHODS, choice, matrix
from triconv.methods.prepared import prepare
from triconv.methods.transposed import transposed
from triconv.runtime import arrays, memory
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import machine
from triconv.schedules import workspace
from triconv.schedules.packing import Packed

KEPT = 4  # counts and dtypes of vectors, in both directions, for which packed weights are kept
INSTEAD = "use another method, which needs no W"
Run = Callable[[NDArray[Any]], NDArray[Any]]


class Linear:
    """The map of one sample's problem; ``order`` says how a vector lists the elements of a sample."""

    def __init__(self, where: str, problem: Problem, weight: NDArray[Any], order: str, method: str) -> None:
        self.where = where
        self.problem = problem = problem.canonical()
        self.weight = weight
        self.order = order
        self.method = method
        self._ready: dict[tuple[bool, int, np.dtype[Any]], Run] = {}
        self._held: dict[bool, tuple[np.dtype[Any], Packed]] = {}
        self.has_matrix = method != "auto" and METHODS[method].NEEDS_MATRIX
        if self.has_matrix:
            matrix.require(where, problem, matrix.schedule(problem, machine()), INSTEAD)

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
            arrays.require_copy(self.where, "x", rows, dtype)
        return run(arguments.cast(rows, dtype)).reshape(shape)

    def _runner(self, adjoint: bool, batch: int, dtype: np.dtype[Any]) -> Run:
        """A function of ``batch`` contiguous rows of a dtype that applies W, or its adjoint, to them."""
        one = replace(self.problem, dtype=dtype, result=dtype)
        weight = self.weight.conj() if adjoint and dtype.kind == "c" else self.weight
        if self.order == "F":
            one, weight = one.reversed(), weight.T if weight.ndim == 2 else weight.transpose(0, 3, 2, 1)
        problem = replace(one, batch=batch, x_shape=(batch, *one.x_shape), y_shape=(batch, *one.y_shape))
        if self.has_matrix:
            return self._matrix_runner(adjoint, problem, weight)
        if adjoint:
            back = transposed(problem, self.method, machine())
            turned = back.pack(self.where, weight)

            def transpose(rows: NDArray[Any]) -> NDArray[Any]:
                back.require(self.where)
                return back.run(turned, arrays.contiguous(self.where, "x", rows, dtype))

            return transpose
        method = choice.without_matrix(one, machine()) if self.method == "auto" else self.method
        prepared = prepare(problem, method, machine())
        packed = prepared.pack(self.where, weight, None)

        def run(rows: NDArray[Any]) -> NDArray[Any]:
            y = prepared.result(self.where, rows)
            prepared.run(packed, arrays.contiguous(self.where, "x", rows, dtype), y)
            return y

        return run

    def _matrix_runner(self, adjoint: bool, problem: Problem, weight: NDArray[Any]) -> Run:
        """The same by W, or its adjoint, which is kept for any number of rows."""
        schedule = matrix.schedule(problem, machine(), transposed=adjoint)
        held = self._held.get(adjoint)
        if held is None or held[0] != problem.dtype:
            for key in list(self._ready):
                if key[0] == adjoint:  # these hold the former W
                    self._ready.pop(key, None)
            matrix.require(self.where, problem, schedule, INSTEAD)
            channels = problem.geometry.in_channels if adjoint else problem.geometry.out_channels
            packed = matrix.packer(problem, schedule)(weight, np.zeros(channels, problem.dtype))
            held = self._held[adjoint] = problem.dtype, packed
        W, product = held[1], matrix.runner(problem, schedule)
        finite = definition.is_finite(weight)
        differs = definition.copies_pixels(problem) or not (adjoint or finite)
        exact = definition.backward if adjoint else definition.forward
        if batch_fits := problem.batch > 1 and problem.batch % schedule.tile.width == 0:
            product = matrix.columns_runner(problem, schedule)

        def run(rows: NDArray[Any]) -> NDArray[Any]:
            # Vectors side by side are as SciPy's callers have them, and as W takes them.
            columns = arrays.contiguous(self.where, "x", rows.T if batch_fits else rows, problem.dtype)
            y = np.empty(
                (schedule.rows, problem.batch) if batch_fits else (problem.batch, schedule.rows),
                problem.dtype,
            )
            workers = workspace.threads_for(problem.flops)
            interruptible(
                schedule.entries * problem.batch, product, W, columns.reshape(-1), y.reshape(-1), workers
            )
            y = y.T if batch_fits else y
            if differs and not (finite and definition.is_finite(y)):
                definition.require(self.where, problem)
                return definition.settled(y, exact(problem, rows, weight, W.bias).reshape(y.shape))
            return y

        return run

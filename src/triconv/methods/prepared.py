"""A method ready to take the weights and images of one problem."""

from __future__ import annotations

import functools
import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv import arguments
from triconv.core import definition
from triconv.core.problem import Problem
from triconv.methods import METHODS, choice
from triconv.runtime import arrays, memory
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import Machine
from triconv.schedules import tables, workspace
from triconv.schedules.packing import Packed


class Prepared:
    """A method ready to take weights, for one problem; what every call asks for is worked out here."""

    def __init__(self, problem: Problem, name: str, schedule: Any) -> None:
        self.problem = problem
        self.name = name
        self.schedule = schedule
        self.method = METHODS[name]
        self._needs_matrix = self.method.NEEDS_MATRIX
        self.flops = problem.flops
        self.cycles = self.method.cost(problem, schedule).cycles
        self._held_bytes = self.method.packed_bytes(problem, schedule)
        self.result_bytes = problem.result.itemsize * math.prod(problem.y_shape)
        sizes = math.prod(problem.x_shape) + 2 * math.prod(problem.y_shape)
        self._most_bytes = sizes * problem.dtype.itemsize + self._beside(os.cpu_count() or 1)
        laid_out = problem.canonical()
        self._pack = self.method.packer(laid_out, schedule)
        self._run = tables.Deferred(laid_out, functools.partial(self.method.runner, laid_out, schedule))
        self._no_bias = np.zeros(problem.geometry.out_channels, problem.dtype)

    def require_packed(self, where: str) -> None:
        """Refuse weights, or a W, that would not fit."""
        self.method.require(where, self.problem, self.schedule)

    def pack(self, where: str, weight: NDArray[Any], bias: Any) -> Packed:
        """Weights and bias in the method's order."""
        if self._needs_matrix or self._held_bytes > memory.SMALL // 2:
            self.require_packed(where)
        start = self._no_bias
        if bias is not None:
            start = np.empty_like(start)
            start[:] = arguments.cast(np.asarray(bias), start.dtype)
        packed = self._pack(weight, start)
        if self._needs_matrix:
            given = arguments.cast(weight, self.problem.dtype)  # in which a weight may have become infinite
            if definition.w_may_differ(self.problem, given):
                definition.require(where, self.problem)
                packed = packed._replace(given=given)
        return packed

    def run(self, packed: Packed, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Convolve contiguous ``x`` of the problem's dtype into ``y``, an array of the result's."""
        p = self.problem
        if not p.batch:
            return
        whole = y if arrays.is_ready(y, p.dtype) else np.empty(p.y_shape, p.dtype)
        workers = workspace.threads_for(self.flops)
        interruptible(self.cycles, self._run, packed, x.reshape(-1), whole.reshape(-1), workers)
        given = packed.given
        if given is not None and not (definition.is_finite(given) and definition.is_finite(whole)):
            whole[...] = definition.settled(whole, definition.forward(p, x, given, packed.bias))
        if whole is not y:
            y[...] = arguments.cast(whole, p.result)

    def _beside(self, workers: int) -> int:
        """Bytes of workspace and index tables."""
        p = self.problem.canonical()
        return self.method.workspace_bytes(p, self.schedule, workers) + tables.maps_bytes(p)

    def _require(self, where: str, x: NDArray[Any], out: NDArray[Any] | None) -> None:
        """Refuse a call that would not fit."""
        p = self.problem
        more = self._beside(workspace.threads_for(self.flops))
        if x.dtype != p.dtype or not x.flags.c_contiguous:
            arrays.require_copy(where, "x", x, p.dtype)
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
    """Choose the method where it is ``"auto"``, and prepare it."""
    if method == "auto":
        method = choice.fastest(problem, machine)
    return Prepared(problem, method, METHODS[method].schedule(problem.canonical(), machine))

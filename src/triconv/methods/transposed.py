"""The transpose of a convolution, without its matrix: convolutions of stride 1 over its outputs."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv.core import definition
from triconv.core.axis import Axis
from triconv.core.problem import Problem
from triconv.kernels import fold
from triconv.methods import METHODS, choice, matrix
from triconv.runtime import memory
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import Machine
from triconv.schedules import numbers, tables, workspace
from triconv.schedules.packing import Packed, Packer


class Part(NamedTuple):
    """A convolution ready to take weights and to write its pixels."""

    pack: Packer
    run: tables.Deferred
    workspace: Callable[[int], int]  # its bytes, for so many threads
    flops: int
    cycles: float  # predicted, of one thread


class Turned(NamedTuple):
    """Weights in the order of each part; and as they came, where infinite numbers may need them."""

    parts: list[Packed]
    given: NDArray[Any] | None


class Transposed:
    """The transpose of a problem's W by one method, never conjugated; every call finds it worked out.

    The matrix method assembles the transpose of W. The others take the input's positions by their
    remainders mod the stride: each of these phases is a convolution of stride 1 over the outputs with
    some of the taps, and writes where its pixels lie. Padding that copies pixels is folded back at the end.
    """

    def __init__(self, problem: Problem, name: str, machine: Machine) -> None:
        self.problem = problem
        self.name = name
        g = problem.geometry
        self._shape = problem.x_shape
        self._fold: tables.Deferred | None = None
        self._whole = True
        self._matrix = None
        problem = problem.canonical()
        if METHODS[name].NEEDS_MATRIX:
            self._matrix = matrix.schedule(problem, machine, transposed=True)
            self._parts = [part(problem, name, self._matrix)]
            return
        axes = problem.axes
        if problem.mode != "zeros" and problem.geometry.pads != ((0, 0), (0, 0)):
            axes = unpadded(axes[0]), unpadded(axes[1])
            self._shape = (problem.batch * axes[0].size * axes[1].size * g.in_channels,)
            self._fold = tables.Deferred(problem, functools.partial(folder, problem))
        # The phases share the taps; they are copied at once, and packed.
        self._pack_bytes = 2 * math.prod(problem.weight_shape) * problem.dtype.itemsize
        problems, self._whole = problem.transposed(axes)
        self._parts = [part(each, name, METHODS[name].schedule(each, machine)) for each in problems]

    @property
    def cycles(self) -> float:
        """Predicted cycles of one thread."""
        return sum(part.cycles for part in self._parts)

    def pack(self, where: str, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> Turned:
        """Weights in the order of each part, and a bias for the channels of the input."""
        given = None
        if definition.copies_pixels(self.problem) if self._matrix else not definition.is_finite(weight):
            definition.require(where, self.problem)
            given = weight
            # Taps at the border meet zeros beyond the outputs, with which infinity would make NaN.
            weight = weight if self._matrix else np.where(np.isfinite(weight), weight, 0)
        if self._matrix is not None:
            matrix.require(where, self.problem, self._matrix)
        elif self._pack_bytes > memory.SMALL:
            shape = self.problem.weight_shape
            memory.require(where, self._pack_bytes, f"a packed copy of the weight of shape {shape}")
        start = np.zeros(self.problem.geometry.in_channels, self.problem.dtype) if bias is None else bias
        return Turned([part.pack(weight, start) for part in self._parts], given)

    def require(self, where: str, copied: int = 0) -> None:
        """Refuse a result that would not fit, beside so many elements that are copied."""
        p = self.problem
        if self._most_bytes + copied * p.dtype.itemsize <= memory.SMALL:
            return
        size = self._bytes(workspace.threads_for) + copied * p.dtype.itemsize
        memory.require(where, size, f"the result of shape {p.x_shape}")

    @functools.cached_property
    def _most_bytes(self) -> int:
        return self._bytes(lambda flops: os.cpu_count() or 1)

    def _bytes(self, workers: Callable[[int], int]) -> int:
        """What a call allocates, W aside."""
        p = self.problem
        elements = math.prod(self._shape)
        if self._fold is not None or p.result != p.dtype:
            elements += math.prod(p.x_shape)
        work = max((part.workspace(workers(part.flops)) for part in self._parts), default=0)
        indices = sum(part.run.bytes for part in self._parts) + (self._fold.bytes if self._fold else 0)
        return elements * p.dtype.itemsize + work + indices

    def run(self, packed: Turned, y: NDArray[Any], bias: NDArray[Any] | None = None) -> Any:
        """Apply the transpose to contiguous ``y`` of the problem's dtype: a new array of ``x``'s shape."""
        p = self.problem
        x = (np.empty if self._whole else np.zeros)(self._shape, p.dtype)
        if not self._whole and bias is not None:
            x += bias if p.layout == "NHWC" or x.ndim == 2 else bias[:, None, None]
        if p.batch:
            for part, weights in zip(self._parts, packed.parts, strict=True):
                workers = workspace.threads_for(part.flops)
                interruptible(part.cycles, part.run, weights, y.reshape(-1), x.reshape(-1), workers)
        x = x if self._fold is None else self._fold(x)
        if packed.given is None or (self._matrix and definition.is_finite(x)):
            return x
        return definition.settled(x.reshape(p.x_shape), definition.backward(p, y, packed.given, bias))


@functools.lru_cache(maxsize=1024)
def transposed(problem: Problem, method: str, machine: Machine) -> Transposed:
    """The transpose by a method, ``"auto"`` being the faster of those that need no matrix."""
    if method == "auto":
        method = choice.without_matrix(
            problem, machine, lambda one, name: Transposed(one, name, machine).cycles
        )
    return Transposed(problem, method, machine)


def part(problem: Problem, name: str, schedule: Any) -> Part:
    """A convolution by a method with its schedule."""
    method = METHODS[name]
    cycles = method.cost(problem, schedule).cycles
    run = tables.Deferred(problem, functools.partial(method.runner, problem, schedule))
    workspace_bytes = functools.partial(method.workspace_bytes, problem, schedule)
    return Part(method.packer(problem, schedule), run, workspace_bytes, problem.flops, cycles)


def unpadded(axis: Axis) -> Axis:
    """The axis of the padded input itself."""
    return replace(axis, size=axis.padded, before=0, after=0)


def folder(problem: Problem) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A function that adds the padding's pixels of a flat array onto those that they copy."""
    g = problem.geometry
    h, w = g.axes
    strides = problem.strides(h.padded, w.padded, g.in_channels)
    listed = [axis.listed(np.arange(axis.padded), problem.mode) for axis in g.axes]
    offsets = [
        table
        for (starts, places), step in zip(listed, strides[1:3], strict=True)
        for table in (starts, places * step)
    ]
    return folding(problem, offsets, strides[0], strides[3])


def patch_folder(problem: Problem) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A function that adds every element of a matrix of patches onto the pixel that it was taken from."""
    h, w = problem.axes
    size = problem.geometry.patch_size
    offsets = []
    for axis, output, tap in ((h, w.out * size, 1), (w, size, h.kernel)):
        starts, places = axis.listed(axis.taps(axis.outputs()).reshape(-1), problem.mode)
        offsets += [starts, places // axis.kernel * output + places % axis.kernel * tap]
    return folding(problem, offsets, h.out * w.out * size, h.kernel * w.kernel)


def folding(
    problem: Problem, listed: list[NDArray[np.int64]], sample: int, channel: int
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A function that sums, for each pixel of the input, the places that are listed for it.

    The flat array that it takes has ``sample`` elements between samples and ``channel`` between channels.
    """
    g = problem.geometry
    record = fold.RECORD(
        image=numbers.image(problem),
        places={"sample": sample, "channel": channel, "size": g.input_shape[:2]},
        tasks=problem.batch * g.input_shape[0],
    )
    kernel = fold.kernel(problem.dtype.name)
    flat = [tables.flat(table) for table in listed]

    def run(data: NDArray[Any]) -> NDArray[Any]:
        x = np.empty(problem.x_shape, problem.dtype)
        workers = workspace.threads_for(data.size)
        interruptible(data.size, kernel, workers, data.reshape(-1), *flat, x.reshape(-1), record)
        return x

    return run

"""The transpose of a convolution, without its matrix: convolutions of stride 1 over its outputs."""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv import definition
from triconv.axis import Axis, Phase
from triconv.geometry import ConvGeometry
from triconv.kernels import fold
from triconv.methods import METHODS, choice, common, matrix, numbers
from triconv.plan import prepare
from triconv.problem import Place, Problem, Taps, in_layout
from triconv.runtime import memory
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import Machine


class Part(NamedTuple):
    """A convolution ready to take weights and to write its share of the pixels."""

    pack: common.Packer
    run: common.Made
    workspace: Callable[[int], int]  # its bytes, for so many threads
    flops: int
    cycles: float  # predicted, of one thread


class Turned(NamedTuple):
    """Weights in the order of each part; and as they came, where infinite numbers may need them."""

    parts: list[common.Packed]
    given: NDArray[Any] | None


class Transposed:
    """The plain transpose of a problem's W by one method; what every call asks for is worked out here.

    The matrix method assembles the transpose of W. The others take the input's positions by their
    remainders mod the stride: each of these phases is a convolution of stride 1 over the outputs with
    some of the taps, and writes where its pixels lie. Padding that copies pixels is folded back at the end.
    """

    def __init__(self, problem: Problem, name: str, machine: Machine) -> None:
        self.problem = problem
        self.name = name
        g = problem.geometry
        self._shape = problem.x_shape
        self._fold: common.Made | None = None
        self._whole = True
        self._matrix = None
        self._weight_bytes = 2 * problem.dtype.itemsize * math.prod(problem.weight_shape)
        problem = problem.plain()
        if name == matrix.NAME:
            self._matrix = matrix.schedule(problem, machine, transposed=True)
            self._parts = [part(problem, name, self._matrix)]
            return
        axes = problem.axes
        if problem.mode != "zeros" and problem.geometry.pads != ((0, 0), (0, 0)):
            axes = unpadded(axes[0]), unpadded(axes[1])
            self._shape = (problem.batch * axes[0].size * axes[1].size * g.in_channels,)
            self._fold = common.Made(problem, functools.partial(folder, problem))
        # The phases share the taps; they are copied at once, and packed.
        self._pack_bytes = 2 * math.prod(problem.weight_shape) * problem.dtype.itemsize
        phases = [list(axis.phases()) for axis in axes]
        self._whole = all(
            len(held) == min(axis.stride, axis.size) for held, axis in zip(phases, axes, strict=True)
        )
        self._parts = [
            part(each, name, METHODS[name].schedule(each, machine)) for each in phased(problem, axes, phases)
        ]

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
        size = self._bytes(common.threads_for) + copied * p.dtype.itemsize
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
        tables = sum(part.run.bytes for part in self._parts) + (self._fold.bytes if self._fold else 0)
        return elements * p.dtype.itemsize + work + tables

    def run(self, packed: Turned, y: NDArray[Any], bias: NDArray[Any] | None = None) -> Any:
        """Apply the transpose to contiguous ``y`` of the problem's dtype: a new array of ``x``'s shape."""
        p = self.problem
        x = (np.empty if self._whole else np.zeros)(self._shape, p.dtype)
        if not self._whole and bias is not None:
            x += bias if p.layout == "NHWC" or x.ndim == 2 else bias[:, None, None]
        if p.batch:
            for part, weights in zip(self._parts, packed.parts, strict=True):
                workers = common.threads_for(part.flops)
                interruptible(part.cycles, part.run, weights, y.reshape(-1), x.reshape(-1), workers)
        x = x if self._fold is None else self._fold(x)
        if packed.given is None or (self._matrix and definition.is_finite(x)):
            return x
        return definition.settled(x.reshape(p.x_shape), definition.backward(p, y, packed.given, bias))


@functools.lru_cache(maxsize=1024)
def transposed(problem: Problem, method: str, machine: Machine) -> Transposed:
    """The transpose by a method, ``"auto"`` being the faster of those that need no matrix."""
    if method == "auto":
        method = choice.fastest_without_matrix(
            problem, lambda one, name: Transposed(one, name, machine).cycles
        )
    return Transposed(problem, method, machine)


def part(problem: Problem, name: str, schedule: Any) -> Part:
    """A convolution by a method with its schedule."""
    module = METHODS[name]
    cycles = module.cost(problem, schedule).cycles
    run = common.Made(problem, functools.partial(module.runner, problem, schedule))
    workspace = functools.partial(module.workspace_bytes, problem, schedule)
    return Part(module.packer(problem, schedule), run, workspace, problem.flops, cycles)


def unpadded(axis: Axis) -> Axis:
    """The axis of the padded input itself."""
    return replace(axis, size=axis.padded, before=0, after=0)


def phased(problem: Problem, axes: tuple[Axis, Axis], phases: list[list[Phase]]) -> Iterator[Problem]:
    """The convolutions that make the transpose."""
    g = problem.geometry
    sample, row, column, channel = problem.strides(axes[0].size, axes[1].size, g.in_channels)
    taps = problem.tapped()
    dense = axes[0].stride == axes[1].stride == 1
    for h, w in itertools.product(*phases):
        place = Place(
            h.first * row + w.first * column,
            *(sample, axes[0].stride * row, axes[1].stride * column, channel),
        )
        turned = Taps(
            taps.start + h.tap * taps.row + w.tap * taps.column,
            g.out_channels // g.groups * taps.filter - g.group_channels * taps.channel,
            *(taps.channel, h.step * taps.row, w.step * taps.column, taps.filter),
        )
        yield Problem(
            ConvGeometry.from_axes("transposed", (h.axis, w.axis), g.out_channels, g.in_channels, g.groups),
            *(problem.batch, "zeros", problem.layout, problem.dtype, problem.dtype),
            *(problem.y_shape, problem.weight_shape, problem.x_shape),
            place=None if dense else place,
            taps=turned,
        )


def weight_grad_by_matrix(
    where: str, made: Problem, y: NDArray[Any], x: NDArray[Any], machine: Machine
) -> NDArray[Any]:
    """The gradient of the weights as ``x``, a sample a channel, convolved with ``y`` as the filters."""
    g = made.geometry
    axes = [
        Axis(
            a.size,
            a.out,
            a.dilation,
            a.stride,
            a.before,
            (a.out - 1) * a.stride + a.reach - a.size - a.before,
        )
        for a in g.axes
    ]
    depth, filters = g.group_channels, g.out_channels // g.groups
    geometry = ConvGeometry.from_axes(where, (axes[0], axes[1]), made.batch, filters, 1)
    shape = depth, *g.input_shape[:2], made.batch
    turned = Problem(
        *(geometry, depth, made.mode, "NHWC", made.dtype, made.dtype),
        *(shape, (filters, *g.output_shape[:2], made.batch), (depth, *g.kernel_size, filters)),
    )
    prepared = prepare(turned, matrix.NAME, machine)
    last = (0, 1, 2, 3) if made.layout == "NHWC" else (0, 2, 3, 1)
    channels = x.reshape(made.batch, *in_layout(made.layout, *g.input_shape)).transpose(last)
    outputs = y.reshape(made.batch, *in_layout(made.layout, *g.output_shape)).transpose(last)
    result = np.empty((g.out_channels, *g.kernel_size, depth), made.dtype)
    part = np.empty(turned.y_shape, made.dtype)
    for group in range(g.groups):
        of_group = slice(group * depth, (group + 1) * depth), slice(group * filters, (group + 1) * filters)
        packed = prepared.pack(where, outputs[..., of_group[1]].transpose(3, 1, 2, 0), None)
        samples = channels[..., of_group[0]].transpose(3, 1, 2, 0)
        prepared.run(packed, common.contiguous(where, "x", samples, made.dtype), part)
        result[of_group[1]] = part.transpose(3, 1, 2, 0)
    if len(made.weight_shape) == 2:
        return result.reshape(made.weight_shape)
    return result if made.layout == "NHWC" else result.transpose(0, 3, 1, 2)


def folder(problem: Problem) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A function that adds the padding's pixels of a flat array onto those that they copy."""
    g = problem.geometry
    h, w = g.axes
    strides = problem.strides(h.padded, w.padded, g.in_channels)
    listed = [axis.listed(np.arange(axis.padded), problem.mode) for axis in g.axes]
    tables = [
        table
        for (starts, places), step in zip(listed, strides[1:3], strict=True)
        for table in (starts, places * step)
    ]
    return folding(problem, tables, strides[0], strides[3])


def folding(
    problem: Problem, tables: list[NDArray[np.int64]], sample: int, channel: int
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A function that sums, for each pixel of the input, the places that the tables list.

    The flat array that it takes has ``sample`` elements between samples and ``channel`` between channels.
    """
    g = problem.geometry
    record = fold.RECORD(
        image=numbers.image(problem),
        places={"sample": sample, "channel": channel, "size": g.input_shape[:2]},
        tasks=problem.batch * g.input_shape[0],
    )
    kernel = fold.kernel(problem.dtype.name)
    flat = [common.flat(table) for table in tables]

    def run(data: NDArray[Any]) -> NDArray[Any]:
        x = np.empty(problem.x_shape, problem.dtype)
        workers = common.threads_for(data.size)
        interruptible(data.size, kernel, workers, data.reshape(-1), *flat, x.reshape(-1), record)
        return x

    return run

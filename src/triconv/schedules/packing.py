"""Packed weights: filters in blocks, in the order in which a kernel reads them.

    [group][block][u, v, c][width]        block 0 of a group             block 1, filled up with zeros
                                          u0v0c0   m0 m1 ... m(width-1)  u0v0c0   m(width) ... 0 0
                                          u0v0c1   m0 m1 ... m(width-1)  u0v0c1   m(width) ... 0 0
                                          ...                            ...

A step of the sum reads one row of it, ``width`` taps of as many filters that lie side by side. What each
orientation takes for a group and for a width stands in `orientations`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from triconv.core.problem import Problem
from triconv.kernels import pack as kernels
from triconv.runtime import arrays, memory, threads
from triconv.schedules import numbers
from triconv.schedules.tiling import rounded

PARALLEL = 1 << 16  # packed weights from which threads share the packing


class Packed(NamedTuple):
    """Weights and bias in the order in which a kernel reads them."""

    weight: Any
    bias: NDArray[Any]
    given: NDArray[Any] | None = None  # the weights as they came, where infinite numbers may need them


Packer = Callable[[NDArray[Any], NDArray[Any]], Packed]


def packer(problem: Problem, groups: int, width: int) -> Packer:
    """A function that packs weights and a bias."""
    g, dtype = problem.geometry, problem.dtype
    filters = groups * rounded(g.out_channels // groups, width)
    size = filters * g.patch_size
    record = kernels.FILTERS(
        window=numbers.window(problem),
        groups=numbers.groups(problem, groups),
        weight=numbers.weight(problem),
        packed=numbers.packed(problem, groups, width),
    )
    kernel = kernels.filters(dtype.name)

    def pack(weight: NDArray[Any], bias: NDArray[Any]) -> Packed:
        held = arrays.aligned(size + filters, dtype)
        packed, start = held[:size], held[size:]
        workers = threads.get_num_threads() if size > PARALLEL else 1
        kernel(workers, arrays.ready(weight, dtype).reshape(-1), bias, packed, start, record)
        return Packed(packed, start)

    return pack


def packed_bytes(problem: Problem, groups: int, width: int) -> int:
    """Bytes of the packed weights and bias."""
    g = problem.geometry
    filters = groups * rounded(g.out_channels // groups, width)
    return filters * (g.patch_size + 1) * problem.dtype.itemsize


def require(where: str, problem: Problem, size: int) -> None:
    """Refuse packed weights of ``size`` bytes that would not fit beside a copy in the order of the kernel."""
    if 2 * size > memory.SMALL:
        shape = problem.weight_shape
        memory.require(where, 2 * size, f"a packed copy of the weight of shape {shape}")

"""The matrix form: W is assembled in CSR, padding folded in, and multiplied with samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv.axis import Axis
from triconv.kernels import matrix as kernels
from triconv.kernels.simd import Tile
from triconv.methods import common
from triconv.methods.common import Cost, Packed, Packer, Runner
from triconv.problem import Problem, Shape
from triconv.runtime import memory
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import Machine

INT32_MOST = 2**31 - 1  # the largest number that an int32 index of W can hold
ASSEMBLY = 4  # cycles to write an entry of W
ENTRIES = 1 << 14  # entries of W that one task reads, about
BLOCK = 1 << 20  # pairs of an output and a pixel that are counted at a time
PAIR = 96  # bytes a pair of an axis takes while its tables are made
ROWS = (8, 4, 2, 1)  # rows of W that a tile takes: one alone waits 4 cycles for each of its sums


class CSR(NamedTuple):
    """The arrays of a compressed sparse row matrix."""

    indptr: NDArray[Any]
    indices: NDArray[Any]
    data: NDArray[Any]


class Pairs(NamedTuple):
    """The pairs of a row and a column of W that one axis allows: row ``i`` has those from ``starts[i]`` on.

    Pairs with the same pixel share a rank, and their taps are added up.
    """

    counts: NDArray[np.int64]  # a row: the different columns
    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    taps: NDArray[np.int64]
    ranks: NDArray[np.int64]  # of a column among those of its row
    moved: NDArray[Any]  # whether a row has the pairs of the one ``back`` before it, columns moved on
    back: int
    step: int  # columns by which they are moved


NAME = "matrix"
NEEDS_MATRIX = True


@dataclass(frozen=True, slots=True)
class Schedule:
    """How W is laid out and multiplied."""

    index: str
    order: str
    padded: bool
    transposed: bool
    entries: int
    rows: int
    columns: int
    task_rows: int
    tile: Tile
    shared: bool  # rows of a tile have the same columns


def supports(problem: Problem) -> str:
    """Why it cannot do a problem: it can do them all."""
    return ""


def schedule(
    problem: Problem,
    machine: Machine,
    order: str = "C",
    *,
    padded: bool = False,
    transposed: bool = False,
) -> Schedule:
    """Choose the schedule of W, or of its transpose; a pure function of its arguments."""
    g = problem.geometry
    h, w = (entries(axis, problem.mode, padded=padded) for axis in problem.axes)
    total = h * w * g.out_channels * g.group_channels
    rows = g.output_shape[0] * g.output_shape[1] * g.output_shape[2]
    shape = g.padded_shape if padded else g.input_shape
    columns = shape[0] * shape[1] * shape[2]
    index = "int32" if max(total, rows, columns) <= INT32_MOST else "int64"
    lanes, _ = common.lanes_of(problem.dtype, machine)
    filters = (g.in_channels if transposed else g.out_channels) // g.groups
    shared = order == "C" and problem.layout == "NHWC" and filters > 1
    across = 1 if problem.batch <= lanes else 2
    lanes, across = (lanes, across) if problem.batch > 1 else (1, 1)
    at_once = max(count for count in ROWS if filters % count == 0) if shared else ROWS[1]
    tile = Tile(problem.dtype.name, lanes, at_once, across, machine.fma)
    task_rows = max(1, ENTRIES // g.patch_size)
    if transposed:
        rows, columns = columns, rows
    task_rows = common.rounded(task_rows, at_once)
    return Schedule(index, order, padded, transposed, total, rows, columns, task_rows, tile, shared)


def cost(problem: Problem, plan: Schedule) -> Cost:
    """Predict operations, bytes beyond input and output, and cycles of one thread, W's assembly included."""
    moved = (
        -(-problem.batch // plan.tile.width)
        * plan.entries
        * (problem.dtype.itemsize + np.dtype(plan.index).itemsize)
    )
    operations = problem.batch * plan.entries
    return Cost(operations, moved, moved / 4 + operations + ASSEMBLY * plan.entries)


def packed_bytes(problem: Problem, plan: Schedule) -> int:
    """Bytes of W in CSR, and of the bias."""
    entry, index = problem.dtype.itemsize, np.dtype(plan.index).itemsize
    filters = ends(problem, plan)[0][2]
    return plan.entries * (entry + index) + (plan.rows + 1) * index + filters * entry


def workspace_bytes(problem: Problem, plan: Schedule, workers: int) -> int:
    """Bytes that a call needs beside its input and output: a block of samples, interleaved."""
    return plan.columns * plan.tile.width * problem.dtype.itemsize if plan.tile.width > 1 else 0


def packer(problem: Problem, plan: Schedule) -> Packer:
    """A function that assembles W."""

    def pack(weight: NDArray[Any], bias: NDArray[Any]) -> Packed:
        return Packed(assemble(problem, plan, weight, common.threads_for(problem.geometry.flops)), bias)

    return pack


def tables(problem: Problem, plan: Schedule) -> tuple[Any, ...]:
    """The records that the kernels read: one for W's rows, one for the pixels that are interleaved."""
    shape, _ = ends(problem, plan)
    rows = kernels.PRODUCT(
        rows=plan.task_rows,
        filters=shape[2],
        filter=raveled(problem, shape, plan.order)[2],
        pixel=plan.tile.width,
        tasks=-(-plan.rows // plan.task_rows),
    )
    pixels = kernels.INTERLEAVE(pixels=plan.columns, block=ENTRIES, tasks=-(-plan.columns // ENTRIES))
    return rows, pixels


def runner(problem: Problem, plan: Schedule) -> Runner:
    """A function of W that multiplies it with each sample of flat, contiguous ``x`` into ``y``."""
    rows, pixels = tables(problem, plan)
    width = plan.tile.width
    product = kernels.product(plan.tile, plan.index, plan.shared)
    interleave = kernels.interleave(problem.dtype.name, width)

    def run(packed: Packed, x: Any, y: Any, workers: int) -> None:
        data = np.empty(plan.columns * width, problem.dtype) if width > 1 else x
        for first in range(0, problem.batch, width):
            samples = min(width, problem.batch - first)
            if width > 1:
                interleave(workers, x, data, pixels, first, samples)
            at, step = first * plan.rows, plan.rows if width > 1 else 1
            product(workers, data, *packed.weight, packed.bias, y, rows, at, 1, step, samples)

    return run


def columns_runner(problem: Problem, plan: Schedule) -> Callable[[Packed, Any, Any, int], None]:
    """A function of W that multiplies it with all columns of a contiguous matrix, into another.

    There are as many columns as samples in the problem, a multiple of the tile's width.
    """
    rows, _ = tables(problem, plan)
    rows["pixel"] = count = problem.batch
    product = kernels.product(plan.tile, plan.index, plan.shared)
    width = plan.tile.width

    def run(packed: Packed, x: Any, y: Any, workers: int) -> None:
        for first in range(0, count, width):
            product(workers, x[first:], *packed.weight, packed.bias, y, rows, first, count, 1, width)

    return run


def explain(problem: Problem, plan: Schedule) -> str:
    """The schedule in words."""
    how = "read once a sample" if plan.tile.width == 1 else f"read once for {plan.tile.width} samples"
    shape = f"({plan.rows}, {plan.columns})"
    return f"W of shape {shape} with {plan.entries} entries and {plan.index} indices, {how}"


# --- W itself ---------------------------------------------------------------------------------------


def entries(axis: Axis, mode: str, *, padded: bool) -> int:
    """How many pairs of an output and a pixel that it reads there are along an axis."""
    if padded:
        return axis.out * axis.kernel
    if mode == "zeros":
        return sum(axis.inside(u) for u in range(axis.kernel))
    if mode == "circular":
        return axis.out * min(axis.kernel, axis.size // math.gcd(axis.size, axis.dilation))
    first, last = axis.border()
    total = (last - first) * axis.kernel
    step = max(1, BLOCK // axis.kernel)
    for low, high in ((0, first), (last, axis.out)):
        for start in range(low, high, step):
            outputs = np.arange(start, min(start + step, high))
            seen = np.sort(axis.sources(axis.taps(outputs), mode))
            total += seen.size - int(np.count_nonzero(seen[:, 1:] == seen[:, :-1]))
    return total


def pairs(
    axis: Axis, outputs: NDArray[np.int64], mode: str, *, padded: bool, transposed: bool = False
) -> Pairs:
    """Which pixels these outputs of an axis read; ``transposed``, which of all outputs read each pixel."""
    positions = axis.taps(outputs)
    sources = positions if padded else axis.sources(positions, mode)
    shape = sources.shape
    rows, columns, taps = np.arange(shape[0])[:, None], sources, np.arange(shape[1])
    if transposed:
        rows, columns = columns, rows
    held = sources >= 0
    row, column, tap = (np.broadcast_to(each, shape)[held] for each in (rows, columns, taps))
    order = np.lexsort((tap, column, row))
    row, column, tap = row[order], column[order], tap[order]
    fresh = (np.diff(row, prepend=-1) != 0) | (np.diff(column, prepend=-1) != 0)
    size = (axis.padded if padded else axis.size) if transposed else len(outputs)
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=size))])
    counts = np.bincount(row[fresh], minlength=size)
    ranks = np.cumsum(fresh) - 1 - np.concatenate([[0], np.cumsum(counts)])[row]
    back, step = (axis.stride, 1) if transposed else (1, axis.stride)
    lengths = np.diff(starts)
    alike = lengths == np.concatenate([np.full(min(back, size), -1), lengths[:-back]])
    ours = np.flatnonzero(alike[row])
    there = ours - starts[row[ours]] + starts[row[ours] - back]
    same = (tap[ours] == tap[there]) & (column[ours] == column[there] + step)
    moved = alike & (np.bincount(row[ours][same], minlength=size) == lengths)
    return Pairs(counts, starts, column, tap, ranks, moved, back, step)


def raveled(problem: Problem, shape: Shape, order: str) -> tuple[int, int, int]:
    """Strides of rows, columns and channels in ``sample.ravel(order)`` of a sample in its layout."""
    h, w, c = shape
    axes = [(0, h), (1, w), (2, c)] if problem.layout == "NHWC" else [(2, c), (0, h), (1, w)]
    strides, step = [0, 0, 0], 1
    for axis, size in axes if order == "F" else reversed(axes):
        strides[axis] = step
        step *= size
    return strides[0], strides[1], strides[2]


def table_bytes(problem: Problem) -> int:
    """Bytes of the tables that W is assembled by."""
    return PAIR * sum(axis.out * axis.kernel for axis in problem.axes)


def assembly_bytes(problem: Problem, plan: Schedule) -> int:
    """Bytes of W and of those tables, which are there together."""
    return packed_bytes(problem, plan) + table_bytes(problem)


def require(where: str, problem: Problem, plan: Schedule) -> None:
    """Refuse a W that would not fit."""
    g = problem.geometry
    held, tables = packed_bytes(problem, plan), table_bytes(problem)
    by_tables = f" and its tables of {tables // PAIR} pairs" if tables > held else ""
    instead = "use method='direct', or ConvOperator, which need no W"
    if where == "ConvOperator":
        instead = "use another method, which needs no W"
    memory.require(
        where,
        assembly_bytes(problem, plan),
        f"W of shape ({plan.rows}, {plan.columns}) with {plan.entries} entries{by_tables}",
        instead if g.flops else "",
    )


def assemble(problem: Problem, plan: Schedule, weight: NDArray[Any], workers: int) -> CSR:
    """W in CSR, or its transpose; canonical, with sorted indices."""
    g = problem.geometry
    index = np.dtype(plan.index)
    h, w = (
        pairs(axis, axis.outputs(), problem.mode, padded=plan.padded, transposed=plan.transposed)
        for axis in problem.axes
    )
    rows, columns = ends(problem, plan)
    strides, out = (raveled(problem, shape, plan.order) for shape in (columns, rows))
    depth = columns[2] // g.groups
    order = sorted(range(3), key=lambda axis: out[axis])
    lengths = [h.counts, w.counts, np.ones(rows[2], np.int64)]
    sums = [np.concatenate([[0], np.cumsum(lengths[axis])]) for axis in order]
    # The rows before a row along the axis of pixels that runs faster are still in the cache.
    moves_column = out[1] < out[0]
    along, axis = (w, 1) if moves_column else (h, 0)
    indptr = np.empty(plan.rows + 1, index)
    indptr[-1] = plan.entries
    indices = np.empty(plan.entries, index)
    data = np.empty(plan.entries, problem.dtype)
    taps = problem.tapped()
    group = g.out_channels // g.groups * taps.filter
    if plan.transposed:
        taps = taps._replace(filter=taps.channel, channel=taps.filter)
    record = kernels.ASSEMBLE(
        rows={
            "task": plan.task_rows,
            "axis": (order.index(0), order.index(1)),
            "of_filters": order.index(2),
            "along_columns": moves_column,
            "back": along.back * out[axis],
            "shift": along.step * strides[axis],
        },
        columns={
            "step": strides[:2],
            "channel": strides[2],
            "before_rows": strides[1] < strides[0],
            "after_channel": (strides[2] < strides[0], strides[2] < strides[1]),
        },
        groups={"count": g.groups, "channels": depth, "filters": rows[2] // g.groups},
        taps={
            "group": group,
            "filter": taps.filter,
            "channel": taps.channel,
            "step": (taps.row, taps.column),
        },
        tasks=-(-plan.rows // plan.task_rows),
    )
    kernel = kernels.assemble(problem.dtype.name, plan.index)
    interruptible(
        ASSEMBLY * plan.entries,
        kernel,
        workers,
        *(common.flat(table) for table in sums),
        *(common.flat(table) for pairs in (h, w) for table in tables_of(pairs)),
        *(common.ready(weight, problem.dtype).reshape(-1), indptr, indices, data, record),
    )
    return CSR(indptr, indices, data)


def tables_of(axis: Pairs) -> tuple[NDArray[Any], ...]:
    """The tables of an axis in the kernel's order."""
    return axis.counts, axis.starts, axis.moved, axis.columns, axis.taps, axis.ranks


def ends(problem: Problem, plan: Schedule) -> tuple[Shape, Shape]:
    """The samples, as rows, columns and channels, that W's rows and columns run over."""
    g = problem.geometry
    inputs = g.padded_shape if plan.padded else g.input_shape
    return (inputs, g.output_shape) if plan.transposed else (g.output_shape, inputs)

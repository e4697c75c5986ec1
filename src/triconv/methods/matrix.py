"""The matrix form.

Idea. W is assembled as a sparse matrix, its padding folded in, and multiplied with samples.

Formula. ``vec(Y) = W vec(X) + b (x) 1``, with the sparsity of `triconv.core.pattern`

What it holds. W in CSR: a value and an index for each entry. A tap is held for every output that sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv.core.pattern import PAIR, Pairs, entries, pairs, raveled, table_bytes
from triconv.core.problem import Problem, Shape
from triconv.kernels import matrix as kernels
from triconv.kernels.simd import Tile
from triconv.methods.method import Runner
from triconv.runtime import arrays, memory
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import Machine
from triconv.schedules import cost as model
from triconv.schedules import tables, tiling, workspace
from triconv.schedules.cost import Cost
from triconv.schedules.packing import Packed, Packer

INT32_MOST = 2**31 - 1  # the largest number that an int32 index of W can hold
ENTRIES = 1 << 14  # entries of W that one task reads, about
ROWS = (8, 4, 2, 1)  # rows of W that a tile takes: one alone waits 4 cycles for each of its sums

NAME = "matrix"
NEEDS_MATRIX = True
IS_EXACT = True


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
    """Choose the schedule of W, or of its transpose; a pure function of its arguments.

    1. Entries, rows and columns, hence the width of an index.
    2. Vectors over samples, as many as the batch fills; one alone is multiplied entry by entry.
    3. Rows of W a tile: where filters lie side by side, rows that follow each other have the same columns,
       which are read once for all of them.
    4. Rows a task, of so many entries in all.
    """
    g = problem.geometry
    h, w = (entries(axis, problem.mode, padded=padded) for axis in problem.axes)
    total = h * w * g.out_channels * g.group_channels
    rows = g.output_shape[0] * g.output_shape[1] * g.output_shape[2]
    shape = g.padded_shape if padded else g.input_shape
    columns = shape[0] * shape[1] * shape[2]
    index = "int32" if max(total, rows, columns) <= INT32_MOST else "int64"
    lanes = tiling.lanes(problem.dtype, machine)
    filters = (g.in_channels if transposed else g.out_channels) // g.groups
    shared = order == "C" and problem.layout == "NHWC" and filters > 1
    across = 1 if problem.batch <= lanes else 2
    lanes, across = (lanes, across) if problem.batch > 1 else (1, 1)
    at_once = max(count for count in ROWS if filters % count == 0) if shared else ROWS[1]
    tile = Tile(problem.dtype.name, lanes, at_once, across, machine.fma)
    task_rows = max(1, ENTRIES // g.patch_size)
    if transposed:
        rows, columns = columns, rows
    task_rows = tiling.rounded(task_rows, at_once)
    return Schedule(index, order, padded, transposed, total, rows, columns, task_rows, tile, shared)


def cost(problem: Problem, schedule: Schedule) -> Cost:
    """Predict operations, bytes beyond input and output, and cycles of one thread, W's assembly included."""
    moved = (
        -(-problem.batch // schedule.tile.width)
        * schedule.entries
        * (problem.dtype.itemsize + np.dtype(schedule.index).itemsize)
    )
    operations = problem.batch * schedule.entries
    return Cost(
        operations,
        moved,
        moved * model.MATRIX_BYTE + model.MATRIX_PRODUCT * operations + model.MATRIX_ENTRY * schedule.entries,
    )


def packed_bytes(problem: Problem, schedule: Schedule) -> int:
    """Bytes of W in CSR, and of the bias."""
    entry, index = problem.dtype.itemsize, np.dtype(schedule.index).itemsize
    filters = ends(problem, schedule)[0][2]
    return schedule.entries * (entry + index) + (schedule.rows + 1) * index + filters * entry


def workspace_bytes(problem: Problem, schedule: Schedule, workers: int) -> int:
    """Bytes that a call needs beside its input and output: a block of samples, interleaved."""
    return schedule.columns * schedule.tile.width * problem.dtype.itemsize if schedule.tile.width > 1 else 0


def packer(problem: Problem, schedule: Schedule) -> Packer:
    """A function that assembles W."""

    def pack(weight: NDArray[Any], bias: NDArray[Any]) -> Packed:
        return Packed(
            assemble(problem, schedule, weight, workspace.threads_for(problem.geometry.flops)), bias
        )

    return pack


def told(problem: Problem, schedule: Schedule) -> tuple[Any, ...]:
    """The records that the kernels read: one for W's rows, one for the pixels that are interleaved."""
    shape, _ = ends(problem, schedule)
    rows = kernels.PRODUCT(
        rows=schedule.task_rows,
        filters=shape[2],
        filter=raveled(problem, shape, schedule.order)[2],
        pixel=schedule.tile.width,
        tasks=-(-schedule.rows // schedule.task_rows),
    )
    pixels = kernels.INTERLEAVE(pixels=schedule.columns, block=ENTRIES, tasks=-(-schedule.columns // ENTRIES))
    return rows, pixels


def runner(problem: Problem, schedule: Schedule) -> Runner:
    """A function of W that multiplies it with each sample of flat, contiguous ``x`` into ``y``."""
    rows, pixels = told(problem, schedule)
    width = schedule.tile.width
    product = kernels.product(schedule.tile, schedule.index, schedule.shared)
    interleave = kernels.interleave(problem.dtype.name, width)

    def run(packed: Packed, x: Any, y: Any, workers: int) -> None:
        data = np.empty(schedule.columns * width, problem.dtype) if width > 1 else x
        for first in range(0, problem.batch, width):
            samples = min(width, problem.batch - first)
            if width > 1:
                interleave(workers, x, data, pixels, first, samples)
            at, step = first * schedule.rows, schedule.rows if width > 1 else 1
            product(workers, data, *packed.weight, packed.bias, y, rows, at, 1, step, samples)

    return run


def columns_runner(problem: Problem, schedule: Schedule) -> Callable[[Packed, Any, Any, int], None]:
    """A function of W that multiplies it with all columns of a contiguous matrix, into another.

    There are as many columns as samples in the problem, a multiple of the tile's width.
    """
    rows, _ = told(problem, schedule)
    rows["pixel"] = count = problem.batch
    product = kernels.product(schedule.tile, schedule.index, schedule.shared)
    width = schedule.tile.width

    def run(packed: Packed, x: Any, y: Any, workers: int) -> None:
        for first in range(0, count, width):
            product(workers, x[first:], *packed.weight, packed.bias, y, rows, first, count, 1, width)

    return run


def explain(problem: Problem, schedule: Schedule) -> str:
    """The schedule in words."""
    how = "read once a sample" if schedule.tile.width == 1 else f"read once for {schedule.tile.width} samples"
    shape = f"({schedule.rows}, {schedule.columns})"
    return f"W of shape {shape} with {schedule.entries} entries and {schedule.index} indices, {how}"


# --- W itself ---------------------------------------------------------------------------------------


class CSR(NamedTuple):
    """The arrays of a compressed sparse row matrix."""

    indptr: NDArray[Any]
    indices: NDArray[Any]
    data: NDArray[Any]


def assembly_bytes(problem: Problem, schedule: Schedule) -> int:
    """Bytes of W and of those tables, which are there together."""
    return packed_bytes(problem, schedule) + table_bytes(problem)


def require(
    where: str,
    problem: Problem,
    schedule: Schedule,
    instead: str = "use method='direct', or ConvOperator, which need no W",
) -> None:
    """Refuse a W that would not fit; say what to do ``instead``."""
    held, pairs_bytes = packed_bytes(problem, schedule), table_bytes(problem)
    by_tables = f" and its tables of {pairs_bytes // PAIR} pairs" if pairs_bytes > held else ""
    memory.require(
        where,
        assembly_bytes(problem, schedule),
        f"W of shape ({schedule.rows}, {schedule.columns}) with {schedule.entries} entries{by_tables}",
        instead if problem.geometry.flops else "",
    )


def assemble(problem: Problem, schedule: Schedule, weight: NDArray[Any], workers: int) -> CSR:
    """W in CSR, or its transpose; canonical, with sorted indices."""
    g = problem.geometry
    index = np.dtype(schedule.index)
    h, w = (
        pairs(axis, axis.outputs(), problem.mode, padded=schedule.padded, transposed=schedule.transposed)
        for axis in problem.axes
    )
    rows, columns = ends(problem, schedule)
    strides, out = (raveled(problem, shape, schedule.order) for shape in (columns, rows))
    depth = columns[2] // g.groups
    order = sorted(range(3), key=lambda axis: out[axis])
    lengths = [h.counts, w.counts, np.ones(rows[2], np.int64)]
    sums = [np.concatenate([[0], np.cumsum(lengths[axis])]) for axis in order]
    # The rows before a row along the axis of pixels that runs faster are still in the cache.
    moves_column = out[1] < out[0]
    along, axis = (w, 1) if moves_column else (h, 0)
    indptr = np.empty(schedule.rows + 1, index)
    indptr[-1] = schedule.entries
    indices = np.empty(schedule.entries, index)
    data = np.empty(schedule.entries, problem.dtype)
    taps = problem.weight_strides()
    group = g.out_channels // g.groups * taps.filter
    if schedule.transposed:
        taps = taps._replace(filter=taps.channel, channel=taps.filter)
    record = kernels.ASSEMBLE(
        rows={
            "task": schedule.task_rows,
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
        tasks=-(-schedule.rows // schedule.task_rows),
    )
    kernel = kernels.assemble(problem.dtype.name, schedule.index)
    interruptible(
        model.MATRIX_ENTRY * schedule.entries,
        kernel,
        workers,
        *(tables.flat(table) for table in sums),
        *(tables.flat(table) for each in (h, w) for table in tables_of(each)),
        *(arrays.ready(weight, problem.dtype).reshape(-1), indptr, indices, data, record),
    )
    return CSR(indptr, indices, data)


def tables_of(axis: Pairs) -> tuple[NDArray[Any], ...]:
    """The tables of an axis in the kernel's order."""
    return axis.counts, axis.starts, axis.moved, axis.columns, axis.taps, axis.ranks


def ends(problem: Problem, schedule: Schedule) -> tuple[Shape, Shape]:
    """The samples, as rows, columns and channels, that W's rows and columns run over."""
    g = problem.geometry
    inputs = g.padded_shape if schedule.padded else g.input_shape
    return (inputs, g.output_shape) if schedule.transposed else (g.output_shape, inputs)

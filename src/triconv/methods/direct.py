"""The direct form: patches are read where they lie; only a border ever makes a copy, a band at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv.kernels import direct as kernels
from triconv.kernels import loops
from triconv.kernels.simd import Tile
from triconv.methods import common
from triconv.methods.common import Cost, Packed
from triconv.problem import Problem
from triconv.runtime.machine import Machine


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the work is laid out: the tile, rows of output a band, filters a chunk."""

    orientation: str
    tile: Tile
    rows: int
    pieces: int
    chunk: int
    chunks: int
    packs: bool
    row_elements: int
    share: int  # elements of workspace that a worker needs

    @property
    def tasks(self) -> int:
        """Parts that threads share, for one sample."""
        return self.pieces * self.chunks


def schedule(problem: Problem, machine: Machine) -> Schedule:
    """Choose the schedule; a pure function of its arguments."""
    h, w = problem.axes
    g = problem.geometry
    orientation, tile = common.vectors(problem, machine)
    if orientation == "channels":
        line = row = w.padded * g.in_channels
    else:
        # Columns of the same phase of the stride lie side by side, one plane a channel.
        line = -(-w.padded // w.stride) * w.stride
        row = line * g.in_channels
    rows = max(1, common.BAND // (row * h.stride * problem.dtype.itemsize))
    rows = min(rows, max(1, -(-h.out * max(1, problem.batch) // common.TASKS)), h.out)
    pieces = -(-h.out // rows)
    rows = -(-h.out // pieces)
    pieces = -(-h.out // rows)
    chunk, chunks = common.chunked(problem, common.block_width(orientation, tile), pieces)
    packs = (
        orientation == "columns"
        or problem.layout == "NCHW"
        or g.padded_shape != g.input_shape
        or (h.out - (pieces - 1) * rows) * w.out < tile.rows
    )
    height = (rows - 1) * h.stride + h.reach
    share = height * row + (tile.width if orientation == "columns" else 0)
    return Schedule(orientation, tile, rows, pieces, chunk, chunks, packs, line, share if packs else 0)


def cost(problem: Problem, plan: Schedule) -> Cost:
    """Predict operations, bytes beyond input and output, and cycles of one thread."""
    h, w = problem.axes
    g, tile = problem.geometry, plan.tile
    width = common.block_width(plan.orientation, tile)
    filters = g.groups * common.rounded(g.out_channels // g.groups, width)
    if plan.orientation == "channels":
        pixels = plan.pieces * max(tile.rows, plan.rows * w.out)
    else:
        pixels = h.out * common.rounded(w.out, tile.width)
    operations = problem.batch * pixels * filters * g.patch_size
    moved = problem.batch * plan.tasks * plan.share * problem.dtype.itemsize
    return Cost(operations, moved, operations / (2 * tile.lanes) * common.lanes_parts(problem) + moved / 8)


def packed_bytes(problem: Problem, plan: Schedule) -> int:
    """Bytes of the packed weights and bias."""
    return common.packed_bytes(problem, common.block_width(plan.orientation, plan.tile))


def workspace_bytes(problem: Problem, plan: Schedule, workers: int) -> int:
    """Bytes that a call needs beside its input and output."""
    return workers * plan.share * problem.dtype.itemsize


def pack(problem: Problem, plan: Schedule, weight: NDArray[Any], bias: NDArray[Any]) -> Packed:
    """Put weights and bias in the kernel's order."""
    return common.pack_weight(problem, common.block_width(plan.orientation, plan.tile), weight, bias)


def tables(problem: Problem, plan: Schedule) -> tuple[Any, ...]:
    """The index tables and the record that the kernel reads."""
    h, w = problem.axes
    g = problem.geometry
    width = common.block_width(plan.orientation, plan.tile)
    rows, columns = common.maps(problem)
    line, pixel = np.ogrid[: plan.rows, : w.out]
    u, v, c = np.ogrid[: h.kernel, : w.kernel, : g.group_channels]
    row = plan.row_elements
    if plan.orientation == "channels":
        places = np.arange(w.padded) * g.in_channels
        column, plane, group, run = g.in_channels, 1, g.group_channels, g.group_channels
        offsets = line * h.stride * row + pixel * w.stride * g.in_channels
        offsets = np.pad(offsets.ravel(), (0, max(0, plan.tile.rows - offsets.size)), "edge")
        starts = u * h.dilation * row + v * w.dilation * g.in_channels + 0 * c[..., :1]
        taps = (u * w.kernel + v) * g.group_channels * width + 0 * c[..., :1]
        if g.groups == 1 and w.dilation == 1:
            starts, taps, run = starts[:, :1], taps[:, :1], run * w.kernel
        steps = np.stack([starts.ravel(), taps.ravel()], axis=1)
    else:
        phase = row // w.stride
        padded = np.arange(w.padded)
        places = padded % w.stride * phase + padded // w.stride
        plane = ((plan.rows - 1) * h.stride + h.reach) * row
        column, group, run = int(w.stride == 1), g.group_channels * plane, 1
        offsets = line * h.stride * row
        steps = u * h.dilation * row + v * w.dilation % w.stride * phase + v * w.dilation // w.stride + c * plane
    record = loops.record(
        **common.sizes(problem, width),
        packs=plan.packs,
        share=plan.share,
        rows=plan.rows,
        data_row=row,
        data_column=column,
        data_channel=plane,
        data_group=group,
        steps=len(steps) if plan.orientation == "channels" else steps.size,
        run=run,
        chunk=plan.chunk,
        chunks=plan.chunks,
        pieces=plan.pieces,
        tasks=problem.batch * plan.tasks,
    )
    return rows, columns, places, common.flat(offsets), common.flat(steps), record


def run(
    problem: Problem, plan: Schedule, made: tuple[Any, ...], packed: Packed, x: Any, y: Any, workers: int
) -> None:
    """Convolve flat, contiguous ``x`` into ``y``."""
    *indices, record = made
    data = np.empty(max(1, workers * plan.share), problem.dtype)
    kernel = kernels.kernel(plan.orientation, plan.tile)
    kernel(workers, x, *indices, packed.weight, packed.bias, y, data, np.zeros(1, np.int64), record)


def explain(problem: Problem, plan: Schedule) -> str:
    """The schedule in words."""
    how = "copied with their border" if plan.packs else "read in place"
    return (
        f"{common.describe(plan.orientation, plan.tile)}; {plan.pieces} bands of {plan.rows} output rows, {how}; "
        f"{plan.chunks} chunks of {plan.chunk} blocks of filters"
    )

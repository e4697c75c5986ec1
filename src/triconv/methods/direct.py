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
from triconv.methods.common import Cost, Packed, Packer, Runner
from triconv.problem import Problem
from triconv.runtime.machine import Machine

TILES = 4  # tiles of pixels in a band at least
PLANES = ("columns", "rows")  # the orientations that read one plane a channel


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
    orientation, tile = vectors(problem, machine)
    line = row = w.padded * g.in_channels
    if orientation in PLANES:
        # Columns of the same phase of the stride lie side by side, one plane a channel.
        line = w.stride * common.spread(-(-w.padded // w.stride), problem.dtype)
        row = line * g.in_channels
    most = max(1, common.BAND // (row * h.stride * problem.dtype.itemsize))
    fair = -(-h.out * max(1, problem.batch) // common.TASKS)
    # Few pixels fill no tile; then the filters are shared out instead.
    least = -(-TILES * tile.rows // w.out) if orientation in ("channels", "depth") else 1
    rows = min(most, max(least, fair), h.out)
    if orientation in ("rows", "flat"):
        rows = min(common.rounded(rows, tile.rows), h.out)
    pieces = -(-h.out // rows)
    groups, width = blocks_of(problem, orientation, tile)
    chunk, chunks = common.chunked(problem, groups, width, pieces)
    in_place = (
        problem.layout == "NHWC"
        and g.padded_shape == g.input_shape
        and (orientation == "channels" or (orientation == "depth" and g.in_channels % tile.width == 0))
        and (h.out - (pieces - 1) * rows) * w.out >= tile.rows
    )
    share = common.spread(((rows - 1) * h.stride + h.reach) * row + tile.width, problem.dtype)
    return Schedule(
        orientation, tile, rows, pieces, chunk, chunks, not in_place, line, 0 if in_place else share
    )


def vectors(problem: Problem, machine: Machine) -> tuple[str, Tile]:
    """The common choice, and what a method that sees the image's rows can do better."""
    g = problem.geometry
    h, w = problem.axes
    if problem.layout == "NHWC" and common.grouped(problem, machine):
        size = g.group_channels
        lanes, _ = common.lanes_of(problem.dtype, machine)
        even = [across for across in (1, 2, 3) if across * lanes % g.in_channels == 0]
        if size == 1 and even and w.stride == 1 and g.in_channels < lanes:
            return "flat", common.depth_tile(problem.dtype, even[-1], size, machine)
        across = 1 if size > 1 or g.in_channels <= lanes else 2
        return "depth", common.depth_tile(problem.dtype, across, size, machine)
    orientation, tile = common.vectors(problem, machine)
    if orientation == "columns" and g.out_channels == g.groups and h.dilation == 1:
        return "rows", common.rows_tile(problem.dtype, machine)
    return orientation, tile


def cost(problem: Problem, plan: Schedule) -> Cost:
    """Predict operations, bytes beyond input and output, and cycles of one thread."""
    h, w = problem.axes
    g, tile = problem.geometry, plan.tile
    groups, width = blocks_of(problem, plan.orientation, tile)
    filters = groups * common.rounded(g.out_channels // groups, width)
    if plan.orientation in ("channels", "depth"):
        pixels = common.tiled(h.out * w.out, plan.rows * w.out, tile.rows)
    elif plan.orientation == "flat":
        pixels = common.rounded(h.out, tile.rows) * common.rounded(w.out * g.in_channels, tile.width)
        filters = 1
    else:
        pixels = h.out * common.rounded(w.out, tile.width)
    operations = problem.batch * pixels * filters * g.patch_size
    moved = problem.batch * plan.tasks * plan.share * problem.dtype.itemsize
    return Cost(operations, moved, operations / (2 * tile.lanes) * common.lanes_parts(problem) + moved / 8)


def blocks_of(problem: Problem, orientation: str, tile: Tile) -> tuple[int, int]:
    """Groups of packed filters, and filters in a block."""
    groups = problem.geometry.groups
    return {
        "channels": (groups, tile.width),
        "columns": (groups, tile.rows),
        "rows": (groups, 1),
        "depth": (1, tile.width),
        "flat": (1, tile.width),
    }[orientation]


def packed_bytes(problem: Problem, plan: Schedule) -> int:
    """Bytes of the packed weights and bias."""
    return common.packed_bytes(problem, *blocks_of(problem, plan.orientation, plan.tile))


def workspace_bytes(problem: Problem, plan: Schedule, workers: int) -> int:
    """Bytes that a call needs beside its input and output."""
    return common.workspace_bytes(problem, workers, plan.share)


def packer(problem: Problem, plan: Schedule) -> Packer:
    """A function that puts weights and bias in the kernel's order."""
    pack = common.packer(problem, *blocks_of(problem, plan.orientation, plan.tile))
    if plan.orientation != "flat":
        return pack
    channels, width = problem.geometry.in_channels, plan.tile.width

    def repeat(weight: NDArray[Any], bias: NDArray[Any]) -> Packed:
        packed, start = pack(weight, bias)
        rows = packed.reshape(-1, width)[:, :channels]
        return Packed(
            np.tile(rows, width // channels).reshape(-1), np.tile(start[:channels], width // channels)
        )

    return repeat


def tables(problem: Problem, plan: Schedule) -> tuple[Any, ...]:
    """The index tables and the record that the kernel reads."""
    h, w = problem.axes
    g = problem.geometry
    groups, width = blocks_of(problem, plan.orientation, plan.tile)
    rows, columns = common.maps(problem)
    line, pixel = np.ogrid[: plan.rows, : w.out]
    u, v, c = np.ogrid[: h.kernel, : w.kernel, : g.group_channels]
    row, c_in = plan.row_elements, g.in_channels
    if plan.orientation in PLANES:
        phase = row // w.stride
        place = np.arange(w.padded)
        places = place % w.stride * phase + place // w.stride
        column, phases, plane, run = 1, w.stride, ((plan.rows - 1) * h.stride + h.reach) * row, 1
        offsets = line * h.stride * row
        taps = v * w.dilation % w.stride * phase + v * w.dilation // w.stride + c * plane
        steps = taps[0] if plan.orientation == "rows" else u * h.dilation * row + taps
        n_steps = steps.size
    else:
        places = np.arange(w.padded) * c_in
        column, phases, plane, run = c_in, 1, 1, g.group_channels
        offsets = line * h.stride * row + (0 if plan.orientation == "flat" else pixel * w.stride * c_in)
        offsets = np.pad(offsets.ravel(), (0, max(0, plan.tile.rows - offsets.size)), "edge")
        steps = (u * h.dilation * row + v * w.dilation * c_in)[..., 0]
        n_steps = steps.size
        if plan.orientation == "channels":
            taps = (u * w.kernel + v)[..., 0] * g.group_channels * width
            if groups == 1 and w.dilation == 1:
                steps, taps, run, n_steps = steps[:, :1], taps[:, :1], run * w.kernel, h.kernel
            steps = np.stack([steps, taps], axis=-1)
    record = loops.record(
        **common.sizes(problem, groups, width),
        packs=plan.packs,
        share=plan.share,
        rows=plan.rows,
        data_row=row,
        data_column=column,
        phases=phases,
        data_channel=plane,
        data_group=g.group_channels * plane,
        steps=n_steps,
        run=run,
        chunk=plan.chunk,
        chunks=plan.chunks,
        pieces=plan.pieces,
        tasks=problem.batch * plan.tasks,
    )
    return rows, columns, places, common.flat(offsets), common.flat(steps), record


def runner(problem: Problem, plan: Schedule) -> Runner:
    """A function of packed weights that convolves flat, contiguous ``x`` into ``y``."""
    *indices, record = tables(problem, plan)
    kernel = kernels.kernel(plan.orientation, plan.tile)

    def run(packed: Packed, x: Any, y: Any, workers: int) -> None:
        data = common.workspace(problem, workers, plan.share)
        kernel(workers, x, *indices, packed.weight, packed.bias, y, data, record)

    return run


def explain(problem: Problem, plan: Schedule) -> str:
    """The schedule in words."""
    how = "copied with their border" if plan.packs else "read in place"
    return (
        f"{common.describe(plan.orientation, plan.tile)}; {plan.pieces} bands of {plan.rows} output rows, "
        f"{how}; {plan.chunks} chunks of {plan.chunk} blocks of filters"
    )

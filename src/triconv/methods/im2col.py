"""The im2col form.

Idea. Patches are copied out, a block of them at a time, and the block is multiplied as a matrix.

Formula. ``Y = P K^T + b``: row ``i W_out + j`` of ``P`` is the patch ``x_ij``, row ``m`` of ``K`` is ``k_m``

What it holds. The packed weights; for each worker a block of patches, a pixel up to ``k_h k_w`` times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triconv.core.problem import Problem
from triconv.kernels import im2col as kernels
from triconv.kernels.simd import Tile
from triconv.methods.method import Runner
from triconv.runtime import arrays
from triconv.runtime.machine import Machine
from triconv.schedules import cost as model
from triconv.schedules import numbers, packing, tables, tiling, workspace
from triconv.schedules.cost import Cost
from triconv.schedules.orientations import Orientation
from triconv.schedules.packing import Packed, Packer

# Bytes of patches that a worker holds at most, unless a single one is larger; a vector reads past their end.
MOST = (8 << 20) - workspace.PAGE
TILES = 4  # tiles of pixels in a block at least
PATCHES = 256  # that one task copies where they are wanted as a matrix of their own

NAME = "im2col"
NEEDS_MATRIX = False
IS_EXACT = True


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the work is laid out, for each sample."""

    orientation: Orientation
    tile: Tile
    pixels: int  # patches of a block
    pieces: int  # blocks of patches
    chunk: int  # blocks of filters of a task
    chunks: int
    row_elements: int  # of a block of patches, from row to row
    elements: int  # of workspace that a worker needs

    @property
    def tasks(self) -> int:
        """Parts that threads take, for one sample."""
        return self.pieces * self.chunks


def supports(problem: Problem) -> str:
    """Why it cannot do a problem: it can do them all."""
    return ""


def schedule(problem: Problem, machine: Machine) -> Schedule:
    """Choose the schedule; a pure function of its arguments.

    1. Which way vectors lie, and the tile (`tiling.vectors`).
    2. Patches of a block: as many whole tiles of pixels as let it stay in the cache; fewer where there would
       be too few tasks.
    3. Blocks of filters a task (`workspace.chunked`).
    4. A worker's memory: the block, a patch a row where lanes are filters, an element of all patches a row
       where they are pixels.
    """
    h, w = problem.axes
    g = problem.geometry
    orientation, tile = tiling.vectors(problem, machine)
    size = problem.dtype.itemsize
    length = g.patch_size * g.groups
    row = workspace.pitch(length, problem.dtype)
    total = h.out * w.out
    most = max(1, MOST // (row * size))
    if orientation.over_filters:
        tile = replace(tile, rows=min(tile.rows, most))
    step = tile.rows if orientation.over_filters else tile.width
    # Few pixels would read all the weights for little; then the filters are shared out instead.
    fair = max(-(-total * max(1, problem.batch) // workspace.TASKS), TILES * tiling.PIXELS)
    pixels = max(step, workspace.BAND // (row * size) // step * step)
    pixels = min(pixels, tiling.rounded(fair, step), total, most)
    pieces = -(-total // pixels)
    chunk, chunks = workspace.chunked(problem, g.groups, orientation.blocks(g.groups, tile)[1], pieces)
    if orientation.planes:
        row = workspace.pitch(pixels, problem.dtype)
        row = row if row * length * size <= MOST else pixels
    # Where a row of the output ends in the middle of a block, tiles read on past its pixels.
    held = max(pixels, step) + (step if problem.output else 0) if orientation.over_filters else length
    elements = workspace.pitch(held * row + tile.width, problem.dtype)
    return Schedule(orientation, tile, pixels, pieces, chunk, chunks, row, elements)


def cost(problem: Problem, schedule: Schedule) -> Cost:
    """Predict operations, bytes beyond input and output, and cycles of one thread."""
    h, w = problem.axes
    g, tile = problem.geometry, schedule.tile
    _, width = blocks(problem, schedule)
    filters = g.groups * tiling.rounded(g.out_channels // g.groups, width)
    step = tile.rows if schedule.orientation.over_filters else tile.width
    pixels = tiling.tiled(h.out * w.out, schedule.pixels, step)
    operations = problem.batch * pixels * filters * g.patch_size
    elements = h.out * w.out * g.patch_size * g.groups * schedule.chunks
    moved = 2 * problem.batch * elements * problem.dtype.itemsize
    rate = model.rate(tile.lanes, arrays.parts(problem.dtype))
    return Cost(operations, moved, operations / rate + model.PATCH_ELEMENT * problem.batch * elements)


def packed_bytes(problem: Problem, schedule: Schedule) -> int:
    """Bytes of the packed weights and bias."""
    return packing.packed_bytes(problem, *blocks(problem, schedule))


def workspace_bytes(problem: Problem, schedule: Schedule, workers: int) -> int:
    """Bytes that a call needs beside its input and output."""
    return (workers * schedule.elements + workspace.slack(problem)) * problem.dtype.itemsize


def blocks(problem: Problem, schedule: Schedule) -> tuple[int, int]:
    """Groups of packed filters, and filters in a block."""
    return schedule.orientation.blocks(problem.geometry.groups, schedule.tile)


def require(where: str, problem: Problem, schedule: Schedule) -> None:
    """Refuse packed weights that would not fit."""
    packing.require(where, problem, packed_bytes(problem, schedule))


def packer(problem: Problem, schedule: Schedule) -> Packer:
    """A function that puts weights and bias in the kernel's order."""
    return packing.packer(problem, *blocks(problem, schedule))


def told(problem: Problem, schedule: Schedule) -> tuple[Any, ...]:
    """The index tables and the record that the kernel reads."""
    g = problem.geometry
    if schedule.orientation.over_filters:
        steps, n_steps, run, group = np.zeros(2, np.int64), 1, g.patch_size, g.patch_size
    else:
        steps, n_steps, run = np.arange(g.patch_size) * schedule.row_elements, g.patch_size, 1
        group = g.patch_size * schedule.row_elements
    groups, width = blocks(problem, schedule)
    has_gaps = schedule.pixels < schedule.tile.rows or problem.output is not None
    record = kernels.RECORD(
        **numbers.multiplied(problem, groups, width),
        patches={
            "count": schedule.pixels,
            "line": problem.axes[1].out * (1 if problem.output else problem.axes[0].out),
            "row": schedule.row_elements,
        },
        data={"pixel": schedule.row_elements if schedule.orientation.over_filters else 1, "group": group},
        sum={"steps": n_steps, "run": run},
        work={
            "batch": problem.batch,
            "pieces": schedule.pieces,
            "chunk": schedule.chunk,
            "chunks": schedule.chunks,
            "elements": schedule.elements,
            "clears": schedule.orientation.planes or has_gaps,
        },
        tasks=problem.batch * schedule.tasks,
    )
    return *tables.maps(problem), tables.flat(steps), record


def runner(problem: Problem, schedule: Schedule) -> Runner:
    """A function of packed weights that convolves flat, contiguous ``x`` into ``y``."""
    *indices, record = told(problem, schedule)
    kernel = kernels.kernel(schedule.orientation.name, schedule.tile)
    dtype, elements, slack = problem.dtype, schedule.elements, workspace.slack(problem)

    def run(packed: Packed, x: Any, y: Any, workers: int) -> None:
        data = np.empty(workers * elements + slack, dtype)
        kernel(workers, x, *indices, packed.weight, packed.bias, y, data, record)

    return run


def explain(problem: Problem, schedule: Schedule) -> str:
    """The schedule in words."""
    return (
        f"{schedule.orientation.describe(schedule.tile)}; {schedule.pieces} blocks of {schedule.pixels} "
        f"patches; {schedule.chunks} chunks of {schedule.chunk} blocks of filters"
    )


def patch_matrix(problem: Problem, x: Any, y: Any, workers: int) -> None:
    """Write the whole matrix of patches of flat ``x`` into flat ``y``."""
    h, w = problem.axes
    g, pixels = problem.geometry, h.out * w.out
    pieces = -(-pixels // PATCHES)
    record = kernels.MATRIX(
        image=numbers.image(problem),
        inside=numbers.inside(problem),
        output=numbers.output(problem),
        window=numbers.window(problem),
        groups=numbers.groups(problem, 1),
        patches={"count": PATCHES, "line": pixels, "row": g.patch_size},
        data={"pixel": g.patch_size, "group": 0},
        work={
            "batch": problem.batch,
            "pieces": pieces,
            "chunk": 1,
            "chunks": 1,
            "elements": 0,
            "clears": False,
        },
        tasks=problem.batch * pieces,
    )
    kernels.matrix(problem.dtype.name)(workers, x, *tables.maps(problem), y, record)

"""The im2col form: a block of patches at a time is copied out and multiplied as a matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triconv.kernels import im2col as kernels
from triconv.kernels.simd import Tile
from triconv.methods import common, numbers
from triconv.methods.common import Cost, Packed, Packer, Runner
from triconv.methods.orientations import Orientation
from triconv.problem import Problem
from triconv.runtime.machine import Machine

PATCH = 6  # cycles to copy an element of a patch: 2.7 to 6 where a 1x1 kernel copies pixel by pixel
# Bytes of patches that a worker holds at most, unless a single one is larger; a vector reads past their end.
MOST = (8 << 20) - common.PAGE


NAME = "im2col"
NEEDS_MATRIX = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the work is laid out: the tile, patches a block, filters a chunk."""

    orientation: Orientation
    tile: Tile
    pixels: int
    pieces: int
    chunk: int
    chunks: int
    row_elements: int
    share: int  # elements of workspace that a worker needs

    @property
    def tasks(self) -> int:
        """Parts that threads share, for one sample."""
        return self.pieces * self.chunks


def supports(problem: Problem) -> str:
    """Why it cannot do a problem: it can do them all."""
    return ""


def schedule(problem: Problem, machine: Machine) -> Schedule:
    """Choose the schedule; a pure function of its arguments."""
    h, w = problem.axes
    g = problem.geometry
    orientation, tile = common.vectors(problem, machine)
    size = problem.dtype.itemsize
    length = g.patch_size * g.groups
    row = common.spread(length, problem.dtype)
    total = h.out * w.out
    most = max(1, MOST // (row * size))
    if orientation.over_filters:
        tile = replace(tile, rows=min(tile.rows, most))
    step = tile.rows if orientation.over_filters else tile.width
    # Few pixels would read all the weights for little; then the filters are shared out instead.
    fair = max(-(-total * max(1, problem.batch) // common.TASKS), common.TILES * common.PIXELS)
    pixels = max(step, common.BAND // (row * size) // step * step)
    pixels = min(pixels, common.rounded(fair, step), total, most)
    pieces = -(-total // pixels)
    chunk, chunks = common.chunked(problem, g.groups, orientation.blocks(g.groups, tile)[1], pieces)
    if orientation.planes:
        row = common.spread(pixels, problem.dtype)
        row = row if row * length * size <= MOST else pixels
    # Where a row of the output ends in the middle of a block, tiles read on past its pixels.
    held = max(pixels, step) + (step if problem.place else 0) if orientation.over_filters else length
    share = common.spread(held * row + tile.width, problem.dtype)
    return Schedule(orientation, tile, pixels, pieces, chunk, chunks, row, share)


def cost(problem: Problem, plan: Schedule) -> Cost:
    """Predict operations, bytes beyond input and output, and cycles of one thread."""
    h, w = problem.axes
    g, tile = problem.geometry, plan.tile
    _, width = blocks(problem, plan)
    filters = g.groups * common.rounded(g.out_channels // g.groups, width)
    step = tile.rows if plan.orientation.over_filters else tile.width
    pixels = common.tiled(h.out * w.out, plan.pixels, step)
    operations = problem.batch * pixels * filters * g.patch_size
    elements = h.out * w.out * g.patch_size * g.groups * plan.chunks
    moved = 2 * problem.batch * elements * problem.dtype.itemsize
    cycles = operations / (2 * tile.lanes) * common.lanes_parts(problem) + PATCH * problem.batch * elements
    return Cost(operations, moved, cycles)


def packed_bytes(problem: Problem, plan: Schedule) -> int:
    """Bytes of the packed weights and bias."""
    return common.packed_bytes(problem, *blocks(problem, plan))


def workspace_bytes(problem: Problem, plan: Schedule, workers: int) -> int:
    """Bytes that a call needs beside its input and output."""
    return (workers * plan.share + common.spare(problem)) * problem.dtype.itemsize


def blocks(problem: Problem, plan: Schedule) -> tuple[int, int]:
    """Groups of packed filters, and filters in a block."""
    return plan.orientation.blocks(problem.geometry.groups, plan.tile)


def require(where: str, problem: Problem, plan: Schedule) -> None:
    """Refuse packed weights that would not fit."""
    common.require_packed(where, problem, packed_bytes(problem, plan))


def packer(problem: Problem, plan: Schedule) -> Packer:
    """A function that puts weights and bias in the kernel's order."""
    return common.packer(problem, *blocks(problem, plan))


def tables(problem: Problem, plan: Schedule) -> tuple[Any, ...]:
    """The index tables and the record that the kernel reads."""
    g = problem.geometry
    if plan.orientation.over_filters:
        steps, n_steps, run, group = np.zeros(2, np.int64), 1, g.patch_size, g.patch_size
    else:
        steps, n_steps, run = np.arange(g.patch_size) * plan.row_elements, g.patch_size, 1
        group = g.patch_size * plan.row_elements
    groups, width = blocks(problem, plan)
    record = kernels.RECORD(
        **numbers.multiplied(problem, groups, width),
        patches={
            "count": plan.pixels,
            "line": problem.axes[1].out * (1 if problem.place else problem.axes[0].out),
            "row": plan.row_elements,
        },
        data={"pixel": plan.row_elements if plan.orientation.over_filters else 1, "group": group},
        sum={"steps": n_steps, "run": run},
        work={
            "batch": problem.batch,
            "pieces": plan.pieces,
            "chunk": plan.chunk,
            "chunks": plan.chunks,
            "share": plan.share,
            "clears": plan.orientation.planes or plan.pixels < plan.tile.rows or problem.place is not None,
        },
        tasks=problem.batch * plan.tasks,
    )
    return *common.maps(problem), common.flat(steps), record


def runner(problem: Problem, plan: Schedule) -> Runner:
    """A function of packed weights that convolves flat, contiguous ``x`` into ``y``."""
    *indices, record = tables(problem, plan)
    kernel = kernels.kernel(plan.orientation.name, plan.tile)
    dtype, share, spare = problem.dtype, plan.share, common.spare(problem)

    def run(packed: Packed, x: Any, y: Any, workers: int) -> None:
        data = np.empty(workers * share + spare, dtype)
        kernel(workers, x, *indices, packed.weight, packed.bias, y, data, record)

    return run


def explain(problem: Problem, plan: Schedule) -> str:
    """The schedule in words."""
    return (
        f"{plan.orientation.describe(plan.tile)}; {plan.pieces} blocks of {plan.pixels} patches; "
        f"{plan.chunks} chunks of {plan.chunk} blocks of filters"
    )

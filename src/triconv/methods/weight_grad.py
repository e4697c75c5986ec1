"""The gradient of the weights, by bands of the input or by blocks of patches: what is cut, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv.kernels import loops
from triconv.kernels import weight_grad as kernels
from triconv.kernels.simd import Tile
from triconv.methods import common, im2col
from triconv.problem import Problem
from triconv.runtime.machine import Machine

TASKS = 16  # parts that the work is cut into at least
BAND = 96 << 10  # bytes of input, or of patches, that a tile streams through
HELD = 1 << 20  # bytes of unfinished sums that a worker goes through for every band
ROWS = (12, 10, 8, 7, 6, 5, 4, 3, 2, 1)  # rows of a tile


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the work is laid out: the tile, the bands, and the parts that threads share."""

    form: str  # "direct" or "im2col"
    tile: Tile
    swapped: bool  # vectors over filters, not over what they see
    depth: int  # numbers that a filter sees at a tap, or, by patches, at all
    row_blocks: int
    column_blocks: int
    rows: int  # rows of the output, or pixels, that a band holds
    pieces: int  # bands of a sample
    splits: int  # sums over parts of the bands
    chunk: int  # blocks of tiles of a task
    chunks: int
    row_elements: int
    grad_start: int
    held_start: int
    share: int


def schedule(problem: Problem, machine: Machine, form: str) -> Schedule:
    """Choose the schedule; a pure function of its arguments."""
    g = problem.geometry
    h, w = problem.axes
    size = problem.dtype.itemsize
    filters = g.out_channels // g.groups
    taps = 1 if form == "im2col" else h.kernel * w.kernel
    depth = g.patch_size // taps
    tile, swapped = min(
        tiles(problem, machine, filters, depth), key=lambda each: cycles(filters, depth, *each)
    )
    across, down = (filters, depth) if swapped else (depth, filters)
    row_blocks, column_blocks = -(-down // tile.rows), -(-across // tile.width)
    blocks = g.groups * row_blocks * column_blocks
    if form == "im2col":
        row, total, step, reach = g.patch_size * g.groups, h.out * w.out, 1, 1
    else:
        row, total, step, reach = w.padded * g.in_channels, h.out, h.stride, h.reach
    fits = (BAND // (row * size) - reach) // step + 1
    pixels = 1 if form == "im2col" else w.out
    rows = max(1, min(total, fits))
    pieces = -(-total // rows)
    rows = -(-total // pieces)
    bands = pieces * max(1, problem.batch)
    # A task repeats the copies of its bands; a split repeats the result.
    kept = taps * tile.rows * tile.width * size * common.lanes_parts(problem)
    moved = bands * rows * (step * row + pixels * g.out_channels)
    least = 1 if bands == 1 else -(-blocks * kept // HELD)
    result = 3 * g.out_channels * g.patch_size
    options = [(s, min(blocks, max(least, -(-TASKS // s)))) for s in range(1, min(TASKS, bands) + 1)]
    splits, chunks = min(options, key=lambda each: each[1] * moved + (each[0] > 1) * each[0] * result)
    chunk = -(-blocks // chunks)
    chunks = -(-blocks // chunk)
    grad_start = common.spread(((rows - 1) * step + reach) * row, problem.dtype)
    held_start = grad_start + common.spread(rows * pixels * g.out_channels + tile.rows, problem.dtype)
    held = chunk * kept // size if bands > splits else 0
    share = common.spread(held_start + held + tile.width, problem.dtype)
    return Schedule(
        *(form, tile, swapped, depth, row_blocks, column_blocks, rows, pieces, splits, chunk, chunks),
        *(row, grad_start, held_start, share),
    )


def chosen(problem: Problem, machine: Machine) -> str:
    """The form that is predicted to take fewer cycles a pixel."""

    def predicted(form: str) -> float:
        plan = schedule(problem, machine, form)
        g = problem.geometry
        taps = g.patch_size // plan.depth
        copied = im2col.PATCH * g.patch_size if form == "im2col" else 0
        return g.groups * (
            taps * cycles(g.out_channels // g.groups, plan.depth, plan.tile, plan.swapped) + copied
        )

    return min(("direct", "im2col"), key=predicted)


def tiles(problem: Problem, machine: Machine, filters: int, depth: int) -> Iterator[tuple[Tile, bool]]:
    """The tiles that registers hold, each with vectors over what filters see and over filters."""
    lanes, parts = common.lanes_of(problem.dtype, machine)
    for across in (1, 2, 3, 4):
        for rows in ROWS:
            if rows * across * parts + across + parts <= machine.registers:
                tile = Tile(problem.dtype.name, lanes, rows, across, machine.fma)
                yield tile, False
                yield tile, True


def cycles(filters: int, depth: int, tile: Tile, swapped: bool) -> float:
    """Cycles that a pixel takes: two multiply-adds and two reads in one, and 4 until a sum goes on."""
    down, across = (depth, filters) if swapped else (filters, depth)
    count = -(-down // tile.rows) * -(-across // tile.width)
    products = tile.rows * tile.vectors
    return count * max(products / 2, (tile.rows + tile.vectors) / 2, 4) + 1e-3 * count


def runner(problem: Problem, plan: Schedule) -> Callable[[Any, Any, int], NDArray[Any]]:
    """A function of flat, contiguous ``x`` and ``grad`` that makes the flat gradient of the weights."""
    g = problem.geometry
    h, w = problem.axes
    dtype, size = problem.dtype, g.out_channels * g.patch_size
    taps, patches = problem.tapped(), plan.form == "im2col"
    c_in, c_out = g.in_channels, g.out_channels
    base = common.sizes(problem, g.groups, 1)
    product = base | {
        "depth": plan.depth,
        "row_blocks": plan.row_blocks,
        "column_blocks": plan.column_blocks,
        "rows": plan.rows,
        "pieces": plan.pieces,
        "bands": plan.pieces * problem.batch,
        "splits": plan.splits,
        "chunk": plan.chunk,
        "chunks": plan.chunks,
        "tasks": plan.splits * plan.chunks,
        "share": plan.share,
        "grad_start": plan.grad_start,
        "held_start": plan.held_start,
        "data_row": plan.row_elements,
        "data_column": w.dilation * c_in,
        "data_pixel": w.stride * c_in,
        "w_group": g.out_channels // g.groups * taps.filter,
    }
    seen = base | {
        "phases": 1,
        "data_row": plan.row_elements,
        "data_column": c_in,
        "data_channel": 1,
        "data_group": g.patch_size,
    }
    y_sample, y_row, y_column, y_channel = problem.strides(*g.output_shape)
    lines, pixels = np.arange(h.out), np.arange(w.out)
    if patches:
        lines, pixels, y_row = np.zeros(1, np.int64), np.arange(h.out * w.out), 0
        product |= {
            "kernel_height": 1,
            "kernel_width": 1,
            "data_pixel": plan.row_elements,
            "w_channel": 1,
            "data_row": 0,
        }
    wanted = {
        "channels": c_out,
        "x_sample": y_sample,
        "x_row": y_row,
        "x_column": y_column,
        "x_channel": y_channel,
        "inside_last": len(pixels),
        "phases": 1,
        "data_row": len(pixels) * c_out,
        "data_column": c_out,
        "data_pixel": c_out,
        "data_channel": 1,
    }
    steps = product["w_filter"], product["w_channel"]
    product |= dict(zip(("row_step", "step"), reversed(steps) if plan.swapped else steps, strict=True))
    records = np.concatenate([loops.record(**each) for each in (seen, wanted, product)])
    tables = (*common.maps(problem), np.arange(w.padded) * c_in)
    grad_tables = lines, pixels, pixels * c_out
    kernel = getattr(kernels, plan.form)(plan.tile, plan.swapped)
    total = kernels.total(dtype.name)
    sums = loops.record(splits=plan.splits, tasks=TASKS)

    def run(x: Any, grad: Any, workers: int) -> NDArray[Any]:
        parts = np.empty(plan.splits * size, dtype)
        data = np.empty(workers * plan.share + common.spare(problem), dtype)
        kernel(workers, x, *tables, grad, *grad_tables, parts, data, records)
        if plan.splits == 1:
            return parts
        y = np.empty(size, dtype)
        total(workers, parts, y, sums)
        return y

    return run

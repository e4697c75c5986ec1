"""The gradient of the weights, by bands of the input or by blocks of patches: what is cut, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv.kernels import weight_grad as kernels
from triconv.kernels.addresses import ALIGNED
from triconv.kernels.simd import Tile
from triconv.methods import common, direct, im2col, numbers
from triconv.problem import Problem
from triconv.runtime.machine import Machine

TASKS = 8  # parts that the work is cut into at least: with 16, copies took 2x2 ms more of a 3x3 layer's 17
UNEVEN = 1.15  # a split may have up to this many times the bands of an average one
BAND = 384 << 10  # bytes of both images that tiles stream through
LONG = 8  # lines of the cache from which pixels are laid apart, each copied by itself
HELD = 1 << 20  # bytes of unfinished sums that a worker goes through for every band
ROWS = (12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)  # rows of a tile
FORMS = (direct.NAME, im2col.NAME)
PLACES = 8  # rows of a tile where each channel has a filter


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the work is laid out: the tile, the bands, and the parts that threads share.

    Vectors lie over what filters see (``"channels"``), over the filters (``"filters"``), or over channels
    that have a filter each (``"each"``), few of which lie in a vector several times (``flat``).
    """

    form: str  # the method whose copies it works on: bands or blocks of patches
    orientation: str
    flat: bool
    tile: Tile
    depth: int  # numbers that a filter sees side by side
    taps: tuple[int, int]  # how often it sees them
    row_blocks: int
    column_blocks: int
    size: int  # elements of the result, or of what it is folded from
    rows: int  # rows of the output, or pixels, that a band holds
    pieces: int  # bands of a sample
    splits: int  # sums over parts of the bands
    chunk: int  # blocks of tiles of a task
    chunks: int
    row_elements: int  # of the input, from row to row of a band
    pixel_elements: int  # from pixel to pixel
    grad_row: int  # the same of the output's gradient
    grad_pixel: int
    grad_start: int
    held_start: int
    share: int


def schedule(problem: Problem, machine: Machine, form: str) -> Schedule:
    """Choose the schedule; a pure function of its arguments."""
    g = problem.geometry
    h, w = problem.axes
    dtype, size, line = problem.dtype, problem.dtype.itemsize, ALIGNED // problem.dtype.itemsize
    filters = g.out_channels // g.groups
    pixel, of_grad = apart(g.in_channels, dtype), apart(g.out_channels, dtype)
    taps, depth, flat = (h.kernel, w.kernel), g.group_channels, False
    if form == im2col.NAME:
        taps, depth = (1, 1), g.patch_size
        pixel = apart(depth * g.groups, dtype)
    elif g.groups == 1 and pixel == g.in_channels and w.dilation == 1 and side_by_side(problem):
        taps, depth = (h.kernel, 1), w.kernel * g.group_channels
    own = list(each_tiles(problem, machine)) if form == direct.NAME else []
    if own:
        orientation, (tile, flat) = "each", own[0]
        taps = h.kernel, -(-w.kernel // tile.rows) * tile.rows
        row_blocks, column_blocks = taps[1] // tile.rows, 1 if flat else -(-g.in_channels // tile.width)
        total = taps[0] * taps[1] * column_blocks * tile.width
        blocks, kept = row_blocks * column_blocks, h.kernel
        if flat:
            pixel = of_grad = g.in_channels
    else:
        orientation, tile = min(tiles(problem, machine), key=lambda each: cycles(filters, depth, *each))
        across, down = (filters, depth) if orientation == "filters" else (depth, filters)
        row_blocks, column_blocks = -(-down // tile.rows), -(-across // tile.width)
        total = g.out_channels * g.patch_size
        blocks, kept = g.groups * row_blocks * column_blocks, taps[0] * taps[1]
    kept *= tile.rows * tile.width * common.lanes_parts(problem)
    if form == im2col.NAME:
        row, lines, step, reach, grad_row = pixel, h.out * w.out, 1, 1, of_grad
    else:
        row, lines, step, reach, grad_row = w.padded * pixel, h.out, h.stride, h.reach, w.out * of_grad
    if flat:
        # A vector may reach past the end of a row, where the gradient has zeros.
        row, grad_row = row + tile.width, common.rounded(grad_row, tile.width)
    rows = (BAND // size - (reach - step) * row) // (step * row + grad_row)
    fair = lines * max(1, problem.batch) * min(blocks, TASKS) // TASKS
    rows = max(1, min(lines, rows, fair))
    pieces = -(-lines // rows)
    rows = -(-lines // pieces)
    bands = pieces * max(1, problem.batch)
    # A task repeats the copies of its bands; a split repeats the result. There are enough of them first.
    moved = bands * rows * (step * row + grad_row)
    least = 1 if bands == 1 else -(-blocks * kept * size // HELD)
    options = [
        (s, min(blocks, max(least, -(-TASKS // s))))
        for s in range(1, min(TASKS, bands) + 1)
        if -(-bands // s) * s <= UNEVEN * bands or s == min(TASKS, bands)
    ]
    splits, chunks = min(
        options,
        key=lambda each: (
            -min(TASKS, each[0] * each[1]),
            each[1] * moved + (each[0] > 1) * each[0] * 3 * total,
        ),
    )
    chunk = -(-blocks // chunks)
    chunks = -(-blocks // chunk)
    grad_start = common.spread(((rows - 1) * step + reach) * row + tile.rows * pixel * flat, dtype)
    held_start = grad_start + common.spread(rows * grad_row + max(tile.rows, line), dtype)
    held = chunk * kept if bands > splits else 0
    share = common.spread(held_start + held + max(tile.width, tile.rows * pixel), dtype)
    return Schedule(
        *(form, orientation, flat, tile, depth, taps, row_blocks, column_blocks, total),
        *(rows, pieces, splits, chunk, chunks),
        *(row, pixel, grad_row, of_grad, grad_start, held_start, share),
    )


def side_by_side(problem: Problem) -> bool:
    """Whether a row of a filter lies in its own layout as in a channels-last image."""
    return problem.layout == "NHWC" or problem.geometry.group_channels == 1


def apart(channels: int, dtype: np.dtype[Any]) -> int:
    """Elements from pixel to pixel: an odd number of lines, so that pixels fill all sets of the cache."""
    line = ALIGNED // dtype.itemsize
    return channels if channels < LONG * line else (-(-channels // line) | 1) * line


def chosen(problem: Problem, machine: Machine) -> str:
    """The form that is predicted to take fewer cycles a pixel."""
    g = problem.geometry
    bands, patches = (schedule(problem, machine, form) for form in FORMS)
    if bands.orientation == "each":
        return direct.NAME

    def predicted(plan: Schedule) -> float:
        taps = plan.taps[0] * plan.taps[1]
        return taps * cycles(g.out_channels // g.groups, plan.depth, plan.orientation, plan.tile)

    copied = im2col.PATCH * g.patch_size
    return direct.NAME if predicted(bands) <= predicted(patches) + copied else im2col.NAME


def tiles(problem: Problem, machine: Machine) -> Iterator[tuple[str, Tile]]:
    """The tiles that registers hold, each with vectors over what filters see and over filters."""
    lanes, parts = common.lanes_of(problem.dtype, machine)
    for across in (1, 2, 3, 4):
        for rows in ROWS:
            if rows * across * parts + across + parts <= machine.registers:
                tile = Tile(problem.dtype.name, lanes, rows, across, machine.fma)
                yield "channels", tile
                yield "filters", tile


def each_tiles(problem: Problem, machine: Machine) -> Iterator[tuple[Tile, bool]]:
    """The tiles for channels that have a filter each, the widest first, and whether pixels share a vector."""
    g, w = problem.geometry, problem.axes[1]
    if not g.groups == g.in_channels == g.out_channels:
        return
    lanes, parts = common.lanes_of(problem.dtype, machine)
    rows = -(-w.kernel // -(-w.kernel // PLACES))
    for across in (4, 3, 2, 1):
        if rows * across * parts + across * (1 + parts) > machine.registers:
            continue
        tile = Tile(problem.dtype.name, lanes, rows, across, machine.fma)
        if g.in_channels >= tile.width or (across == 1 and g.in_channels > lanes // 2):
            yield tile, False
        elif w.stride == 1 and tile.width % g.in_channels == 0:
            yield tile, True


def cycles(filters: int, depth: int, orientation: str, tile: Tile) -> float:
    """Cycles that a pixel takes: two multiply-adds and two reads in one, and 4 until a sum goes on."""
    down, across = (depth, filters) if orientation == "filters" else (filters, depth)
    count = -(-down // tile.rows) * -(-across // tile.width)
    products = tile.rows * tile.vectors
    return count * (max(products / 2, (tile.rows + tile.vectors) / 2, 4) + 1e-3)


def table_bytes(problem: Problem, plan: Schedule) -> int:
    """Bytes of the places of the gradient's pixels, of which blocks of patches need all."""
    h, w = problem.axes
    return 3 * 8 * h.out * w.out if plan.form == im2col.NAME else 0


def workspace_bytes(problem: Problem, plan: Schedule, workers: int) -> int:
    """Bytes that a call needs beside its inputs and its result."""
    size = plan.splits * plan.size + workers * plan.share + common.spare(problem)
    return size * problem.dtype.itemsize


def runner(problem: Problem, plan: Schedule) -> Callable[[Any, Any, int], NDArray[Any]]:
    """A function of flat, contiguous ``x`` and ``grad`` that makes the flat gradient of the weights."""
    g = problem.geometry
    h, w = problem.axes
    dtype, taps = problem.dtype, problem.tapped()
    y_sample, y_row, y_column, y_channel = problem.strides(*g.output_shape)
    lines, pixels = np.arange(h.out), np.arange(w.out)
    pixel = w.stride * plan.pixel_elements
    channel = taps.channel
    if plan.form == im2col.NAME:
        lines, pixels, y_row = np.zeros(1, np.int64), np.arange(h.out * w.out), 0
        pixel, channel = plan.pixel_elements, 1
    elif plan.depth > g.group_channels and g.group_channels == 1:
        channel = taps.column
    wanted_pixel, vectors, more = plan.grad_pixel, w.out, 0
    if plan.flat:
        pixel = wanted_pixel = plan.tile.width
        vectors, more = divmod(w.out * g.in_channels, plan.tile.width)
    steps = (channel, taps.filter) if plan.orientation == "filters" else (taps.filter, channel)
    if plan.orientation == "each":
        steps = plan.column_blocks * plan.tile.width, 1
    groups = 1 if plan.orientation == "each" else g.groups
    record = kernels.RECORD(
        image=numbers.image(problem),
        inside=numbers.inside(problem),
        copy={"row": plan.row_elements, "column": plan.pixel_elements, "channel": 1, "phases": 1},
        gradient={
            "channels": g.out_channels,
            "sample": y_sample,
            "channel": y_channel,
            "step": (y_row, y_column),
        },
        all_of_it={"first": (0, 0), "last": (len(lines), len(pixels))},
        gradient_copy={"row": plan.grad_row, "column": plan.grad_pixel, "channel": 1, "phases": 1},
        output=numbers.output(problem),
        window=numbers.window(problem),
        groups=numbers.groups(problem, g.groups),
        data={"pixel": plan.pixel_elements, "group": g.patch_size},
        patch={"row": plan.pixel_elements, "channel": taps.channel, "step": (taps.row, taps.column)},
        taps={
            "group": g.out_channels // g.groups * taps.filter,
            "filter": taps.filter,
            "channel": channel,
            "step": (taps.row, taps.column),
        },
        seen={
            "line": h.stride * plan.row_elements,
            "pixel": pixel,
            "step": (h.dilation * plan.row_elements, w.dilation * plan.pixel_elements),
        },
        wanted={"line": plan.grad_row, "pixel": wanted_pixel},
        tiles={
            "row_blocks": plan.row_blocks,
            "column_blocks": plan.column_blocks,
            "blocks": groups * plan.row_blocks * plan.column_blocks,
            "depth": plan.depth,
            "vectors": vectors,
            "more": more,
            "row_step": steps[0],
            "step": steps[1],
            "taps": plan.taps,
        },
        split={
            "pieces": plan.pieces,
            "bands": plan.pieces * problem.batch,
            "rows": plan.rows,
            "splits": plan.splits,
            "size": plan.size,
            "chunk": plan.chunk,
            "chunks": plan.chunks,
            "share": plan.share,
            "gradient": plan.grad_start,
            "held": plan.held_start,
        },
        tasks=plan.splits * plan.chunks,
    )
    tables = (*common.maps(problem), np.arange(w.padded) * plan.pixel_elements)
    grad_tables = lines, pixels, pixels * plan.grad_pixel
    kernel = kernels.kernel(plan.form, plan.tile, plan.orientation)
    total = kernels.total(dtype.name)
    sums = kernels.TOTAL(splits=plan.splits, tasks=TASKS)

    def run(x: Any, grad: Any, workers: int) -> NDArray[Any]:
        parts = np.empty(plan.splits * plan.size, dtype)
        data = np.empty(workers * plan.share + common.spare(problem), dtype)
        kernel(workers, x, *tables, grad, *grad_tables, parts, data, record)
        if plan.orientation == "each":
            return folded(problem, plan, parts)
        if plan.splits == 1:
            return parts
        y = np.empty(plan.size, dtype)
        total(workers, parts, y, sums)
        return y

    return run


def folded(problem: Problem, plan: Schedule, parts: NDArray[Any]) -> NDArray[Any]:
    """The gradient of filters of one channel each, from sums ``[split][u][v][lane]``."""
    channels, (height, width) = problem.geometry.in_channels, problem.geometry.kernel_size
    sums = parts.reshape(plan.splits, plan.taps[0], plan.taps[1], -1)[:, :, :width]
    with np.errstate(all="ignore"):
        if plan.flat:
            sums = sums.reshape(plan.splits, height, width, -1, channels).sum(axis=3)
        total = sums.sum(axis=0)
    return np.ascontiguousarray(total[..., :channels].transpose(2, 0, 1)).reshape(-1)

"""The gradient of the weights, by bands of the input or by blocks of patches: what is cut, and how."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv.core import definition
from triconv.core.problem import Problem
from triconv.kernels import weight_grad as kernels
from triconv.kernels.simd import Tile
from triconv.methods import METHODS, choice, direct, im2col
from triconv.methods.prepared import Prepared, prepare
from triconv.runtime import arrays, memory
from triconv.runtime.arrays import LINE_BYTES
from triconv.runtime.interrupts import interruptible
from triconv.runtime.machine import Machine
from triconv.schedules import cost as model
from triconv.schedules import numbers, tables, tiling, workspace
from triconv.schedules.orientations import EACH, EACH_WRAPPED, SEEN, WANTED, Sums

TASKS = 8  # parts that the work is cut into at least: with 16, copies took 2x2 ms more of a 3x3 layer's 17
UNEVEN = 1.15  # a split may have up to this many times the bands of an average one
BAND = 384 << 10  # bytes of both images that tiles stream through
LONG = 8  # lines of the cache from which pixels are laid apart, each copied by itself
HELD = 1 << 20  # bytes of unfinished sums that a worker goes through for every band
ROWS = (12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)  # rows of a tile
FORMS = (direct.NAME, im2col.NAME)  # methods whose copies it works on: bands, blocks of patches
TIE = 1e-3  # cycles by which fewer tiles are preferred where nothing else tells them apart
FLOPS = 8  # operations a cycle at least, by which a call is known to be long
PLACES = 8  # rows of a tile where each channel has a filter


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the work is laid out: the tile, the bands, and the parts that threads share."""

    form: str  # the method whose copies it works on: bands or blocks of patches
    orientation: Sums
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
    elements: int  # of workspace that a worker needs


def schedule(problem: Problem, machine: Machine, form: str) -> Schedule:
    """Choose the schedule; a pure function of its arguments.

    1. What a filter sees side by side: the channels of a tap; where memory has them so, a row of the patch;
       in blocks of patches, all of it.
    2. The tile that makes the sums of that in the fewest cycles, hence the blocks of tiles of the result.
    3. Rows of a band: as many as let the copies of both images stay in the cache, and give enough tasks.
    4. The split into tasks, by bands and by blocks (`split`).
    5. A worker's memory: the copy of the input, that of the gradient, sums that are not finished.
    """
    g = problem.geometry
    h, w = problem.axes
    dtype, size, line = problem.dtype, problem.dtype.itemsize, LINE_BYTES // problem.dtype.itemsize
    filters = g.out_channels // g.groups
    pixel, of_grad = apart(g.in_channels, dtype), apart(g.out_channels, dtype)
    taps, depth = (h.kernel, w.kernel), g.group_channels
    if form == im2col.NAME:
        taps, depth = (1, 1), g.patch_size
        pixel = apart(depth * g.groups, dtype)
    elif g.groups == 1 and pixel == g.in_channels and w.dilation == 1 and side_by_side(problem):
        taps, depth = (h.kernel, 1), w.kernel * g.group_channels
    own = list(each_tiles(problem, machine)) if form == direct.NAME else []
    if own:
        orientation, tile = own[0]
        taps = h.kernel, -(-w.kernel // tile.rows) * tile.rows
        row_blocks, column_blocks = taps[1] // tile.rows, -(-g.in_channels // tile.width)
        total = taps[0] * taps[1] * column_blocks * tile.width
        blocks, kept = row_blocks * column_blocks, h.kernel
        if orientation.wraps:
            pixel = of_grad = g.in_channels
    else:
        orientation, tile = min(tiles(problem, machine), key=lambda each: cycles(filters, depth, *each))
        across, down = (filters, depth) if orientation.over_filters else (depth, filters)
        row_blocks, column_blocks = -(-down // tile.rows), -(-across // tile.width)
        total = g.out_channels * g.patch_size
        blocks, kept = g.groups * row_blocks * column_blocks, taps[0] * taps[1]
    kept *= tile.rows * tile.width * arrays.parts(problem.dtype)
    if form == im2col.NAME:
        row, lines, step, reach, grad_row = pixel, h.out * w.out, 1, 1, of_grad
    else:
        row, lines, step, reach, grad_row = w.padded * pixel, h.out, h.stride, h.reach, w.out * of_grad
    if orientation.wraps:
        # A vector may reach past the end of a row, where the gradient has zeros.
        row, grad_row = row + tile.width, tiling.rounded(grad_row, tile.width)
    rows = (BAND // size - (reach - step) * row) // (step * row + grad_row)
    fair = lines * max(1, problem.batch) * min(blocks, TASKS) // TASKS
    rows = max(1, min(lines, rows, fair))
    pieces = -(-lines // rows)
    rows = -(-lines // pieces)
    bands = pieces * max(1, problem.batch)
    least = 1 if bands == 1 else -(-blocks * kept * size // HELD)
    splits, chunk, chunks = split(bands, blocks, least, bands * rows * (step * row + grad_row), total)
    past = tile.rows * pixel if orientation.wraps else 0
    grad_start = workspace.pitch(((rows - 1) * step + reach) * row + past, dtype)
    held_start = grad_start + workspace.pitch(rows * grad_row + max(tile.rows, line), dtype)
    held = chunk * kept if bands > splits else 0
    elements = workspace.pitch(held_start + held + max(tile.width, tile.rows * pixel), dtype)
    return Schedule(
        *(form, orientation, tile, depth, taps, row_blocks, column_blocks, total),
        *(rows, pieces, splits, chunk, chunks),
        *(row, pixel, grad_row, of_grad, grad_start, held_start, elements),
    )


def split(bands: int, blocks: int, least: int, moved: int, total: int) -> tuple[int, int, int]:
    """Splits of the bands, and blocks of a chunk and how many such: enough tasks, then the least to move.

    Every chunk copies the bands again, ``moved`` elements. Every split has sums of its own, ``total``
    elements that are cleared, written, and read again where they are added up. There are at least ``least``
    chunks, so that unfinished sums stay in the cache.
    """
    most = min(TASKS, bands)
    even = [s for s in range(1, most + 1) if -(-bands // s) * s <= UNEVEN * bands or s == most]
    options = [(s, min(blocks, max(least, -(-TASKS // s)))) for s in even]

    def price(option: tuple[int, int]) -> tuple[int, int]:
        splits, chunks = option
        return -min(TASKS, splits * chunks), chunks * moved + (splits > 1) * splits * 3 * total

    splits, chunks = min(options, key=price)
    chunk = -(-blocks // chunks)
    return splits, chunk, -(-blocks // chunk)


def side_by_side(problem: Problem) -> bool:
    """Whether a row of a filter lies in its own layout as in a channels-last image."""
    return problem.layout == "NHWC" or problem.geometry.group_channels == 1


def apart(channels: int, dtype: np.dtype[Any]) -> int:
    """Elements from pixel to pixel: an odd number of lines, so that pixels fill all sets of the cache."""
    line = LINE_BYTES // dtype.itemsize
    return channels if channels < LONG * line else (-(-channels // line) | 1) * line


def form_cycles(problem: Problem, form: str, machine: Machine) -> float:
    """Cycles that a pixel is predicted to take by a form."""
    g = problem.geometry
    found = schedule(problem, machine, form)
    taps = found.taps[0] * found.taps[1]
    copied = model.PATCH_ELEMENT * g.patch_size if form == im2col.NAME else 0
    return taps * cycles(g.out_channels // g.groups, found.depth, found.orientation, found.tile) + copied


def chosen(problem: Problem, machine: Machine) -> str:
    """The form that is predicted to take fewer cycles a pixel."""
    if any(each_tiles(problem, machine)):
        return direct.NAME  # patches would read every pixel once for each tap, with nothing to share
    return choice.cheapest(problem, FORMS, lambda one, form: form_cycles(one, form, machine))


def tiles(problem: Problem, machine: Machine) -> Iterator[tuple[Sums, Tile]]:
    """The tiles that registers hold, each with vectors over what filters see and over filters."""
    lanes, parts = tiling.lanes(problem.dtype, machine), arrays.parts(problem.dtype)
    for across in (1, 2, 3, 4):
        for rows in ROWS:
            if rows * across * parts + across + parts <= machine.registers:
                tile = Tile(problem.dtype.name, lanes, rows, across, machine.fma)
                yield SEEN, tile
                yield WANTED, tile


def each_tiles(problem: Problem, machine: Machine) -> Iterator[tuple[Sums, Tile]]:
    """The tiles for channels that have a filter each, the widest first, and whether pixels share a vector."""
    g, w = problem.geometry, problem.axes[1]
    if not g.groups == g.in_channels == g.out_channels:
        return
    lanes, parts = tiling.lanes(problem.dtype, machine), arrays.parts(problem.dtype)
    rows = -(-w.kernel // -(-w.kernel // PLACES))
    for across in (4, 3, 2, 1):
        if rows * across * parts + across * (1 + parts) > machine.registers:
            continue
        tile = Tile(problem.dtype.name, lanes, rows, across, machine.fma)
        if g.in_channels >= tile.width or (across == 1 and g.in_channels > lanes // 2):
            yield EACH, tile
        elif w.stride == 1 and tile.width % g.in_channels == 0:
            yield EACH_WRAPPED, tile


def cycles(filters: int, depth: int, orientation: Sums, tile: Tile) -> float:
    """Cycles that a pixel takes, by the model of `cost`: a tile's sums wait for each other at least."""
    down, across = (depth, filters) if orientation.over_filters else (filters, depth)
    count = -(-down // tile.rows) * -(-across // tile.width)
    products = tile.rows * tile.vectors
    return count * (max(model.step(products, tile.rows + tile.vectors), model.LATENCY) + TIE)


def table_bytes(problem: Problem, schedule: Schedule) -> int:
    """Bytes of the places of the gradient's pixels, of which blocks of patches need all."""
    h, w = problem.axes
    return 3 * 8 * h.out * w.out if schedule.form == im2col.NAME else 0


def workspace_bytes(problem: Problem, schedule: Schedule, workers: int) -> int:
    """Bytes that a call needs beside its inputs and its result."""
    size = schedule.splits * schedule.size + workers * schedule.elements + workspace.slack(problem)
    return size * problem.dtype.itemsize


def runner(problem: Problem, schedule: Schedule) -> Callable[[Any, Any, int], NDArray[Any]]:
    """A function of flat, contiguous ``x`` and ``grad`` that makes the flat gradient of the weights."""
    g = problem.geometry
    h, w = problem.axes
    dtype, taps = problem.dtype, problem.weight_strides()
    y_sample, y_row, y_column, y_channel = problem.strides(*g.output_shape)
    lines, pixels = np.arange(h.out), np.arange(w.out)
    pixel = w.stride * schedule.pixel_elements
    channel = taps.channel
    if schedule.form == im2col.NAME:
        lines, pixels, y_row = np.zeros(1, np.int64), np.arange(h.out * w.out), 0
        pixel, channel = schedule.pixel_elements, 1
    elif schedule.depth > g.group_channels and g.group_channels == 1:
        channel = taps.column
    wanted_pixel, vectors, more = schedule.grad_pixel, w.out, 0
    if schedule.orientation.wraps:
        pixel = wanted_pixel = schedule.tile.width
        vectors, more = divmod(w.out * g.in_channels, schedule.tile.width)
    steps = (channel, taps.filter) if schedule.orientation.over_filters else (taps.filter, channel)
    if schedule.orientation.by_taps:
        steps = schedule.column_blocks * schedule.tile.width, 1
    groups = 1 if schedule.orientation.by_taps else g.groups
    record = kernels.RECORD(
        image=numbers.image(problem),
        inside=numbers.inside(problem),
        copy={"row": schedule.row_elements, "column": schedule.pixel_elements, "channel": 1, "phases": 1},
        gradient={
            "channels": g.out_channels,
            "sample": y_sample,
            "channel": y_channel,
            "step": (y_row, y_column),
        },
        all_of_it={"first": (0, 0), "last": (len(lines), len(pixels))},
        gradient_copy={"row": schedule.grad_row, "column": schedule.grad_pixel, "channel": 1, "phases": 1},
        output=numbers.output(problem),
        window=numbers.window(problem),
        groups=numbers.groups(problem, g.groups),
        data={"pixel": schedule.pixel_elements, "group": g.patch_size},
        patch={"row": schedule.pixel_elements, "channel": taps.channel, "step": (taps.row, taps.column)},
        taps={
            "group": g.out_channels // g.groups * taps.filter,
            "filter": taps.filter,
            "channel": channel,
            "step": (taps.row, taps.column),
        },
        seen={
            "line": h.stride * schedule.row_elements,
            "pixel": pixel,
            "step": (h.dilation * schedule.row_elements, w.dilation * schedule.pixel_elements),
        },
        wanted={"line": schedule.grad_row, "pixel": wanted_pixel},
        tiles={
            "row_blocks": schedule.row_blocks,
            "column_blocks": schedule.column_blocks,
            "blocks": groups * schedule.row_blocks * schedule.column_blocks,
            "depth": schedule.depth,
            "vectors": vectors,
            "more": more,
            "row_step": steps[0],
            "step": steps[1],
            "taps": schedule.taps,
        },
        split={
            "pieces": schedule.pieces,
            "bands": schedule.pieces * problem.batch,
            "rows": schedule.rows,
            "splits": schedule.splits,
            "size": schedule.size,
            "chunk": schedule.chunk,
            "chunks": schedule.chunks,
            "elements": schedule.elements,
            "gradient": schedule.grad_start,
            "held": schedule.held_start,
        },
        tasks=schedule.splits * schedule.chunks,
    )
    maps = (*tables.maps(problem), np.arange(w.padded) * schedule.pixel_elements)
    grad_tables = lines, pixels, pixels * schedule.grad_pixel
    kernel = kernels.kernel(schedule.form, schedule.tile, schedule.orientation.name)
    total = kernels.total(dtype.name)
    sums = kernels.TOTAL(splits=schedule.splits, tasks=TASKS)

    def run(x: Any, grad: Any, workers: int) -> NDArray[Any]:
        parts = np.empty(schedule.splits * schedule.size, dtype)
        data = np.empty(workers * schedule.elements + workspace.slack(problem), dtype)
        kernel(workers, x, *maps, grad, *grad_tables, parts, data, record)
        if schedule.orientation.by_taps:
            return folded(problem, schedule, parts)
        if schedule.splits == 1:
            return parts
        y = np.empty(schedule.size, dtype)
        total(workers, parts, y, sums)
        return y

    return run


def folded(problem: Problem, schedule: Schedule, parts: NDArray[Any]) -> NDArray[Any]:
    """The gradient of filters of one channel each, from sums ``[split][u][v][lane]``."""
    channels, (height, width) = problem.geometry.in_channels, problem.geometry.kernel_size
    sums = parts.reshape(schedule.splits, schedule.taps[0], schedule.taps[1], -1)[:, :, :width]
    with np.errstate(all="ignore"):
        if schedule.orientation.wraps:
            sums = sums.reshape(schedule.splits, height, width, -1, channels).sum(axis=3)
        total = sums.sum(axis=0)
    return np.ascontiguousarray(total[..., :channels].transpose(2, 0, 1)).reshape(-1)


# --- by any method ----------------------------------------------------------------------------------


class WeightGradient:
    """The gradient of a problem's weights by one method; every call finds it worked out.

    It is a convolution too, of ``x`` with the output's gradient as its filters, and the matrix method
    assembles that one's W. The others sum over the pixels of bands or of blocks of patches.
    """

    def __init__(self, problem: Problem, name: str, machine: Machine) -> None:
        self.problem = problem
        self._matrix: Prepared | None = None
        self._schedule: Schedule | None = None
        if not problem.batch:
            return
        if METHODS[name].NEEDS_MATRIX:
            self._matrix = prepare(problem.weight_gradient(), name, machine)
            return
        self._schedule = schedule(problem, machine, name)
        make = functools.partial(runner, problem, self._schedule)
        self._run = tables.Deferred(problem, make, table_bytes(problem, self._schedule))

    def require(self, where: str, *given: NDArray[Any]) -> None:
        """Refuse a result that would not fit, beside workspace and copies of what was given."""
        p = self.problem
        size = math.prod(p.weight_shape) * p.dtype.itemsize
        if self._schedule is not None:
            workers = workspace.threads_for(p.flops)
            size += workspace_bytes(p, self._schedule, workers) + self._run.bytes
        size += sum(a.nbytes for a in given if a.dtype != p.dtype or not a.flags.c_contiguous)
        memory.require(where, size, f"the result of shape {p.weight_shape}")

    def run(self, where: str, grad: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
        """Sum contiguous ``grad`` times the conjugate of ``x``, both of the problem's dtype."""
        p = self.problem
        if not p.batch:
            return np.zeros(p.weight_shape, p.dtype)
        if p.dtype.kind == "c":  # which is the conjugate of the sum of conj(grad) x
            return self._sum(where, grad.conj(), x).conj()
        return self._sum(where, grad, x)

    def _sum(self, where: str, grad: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
        p = self.problem
        if self._matrix is not None:
            return self._by_matrix(where, self._matrix, grad, x)
        workers = workspace.threads_for(p.flops)
        w = interruptible(p.flops / FLOPS, self._run, x.reshape(-1), grad.reshape(-1), workers)
        return np.reshape(w, p.weight_shape)

    def _by_matrix(self, where: str, prepared: Prepared, grad: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
        p, g = self.problem, self.problem.geometry
        depth, filters = g.group_channels, g.out_channels // g.groups
        channels = definition.channels_last(p, x, g.input_shape)
        outputs = definition.channels_last(p, grad, g.output_shape)
        result = np.empty((g.out_channels, *g.kernel_size, depth), p.dtype)
        part = np.empty(prepared.problem.y_shape, p.dtype)
        for group in range(g.groups):
            seen, wanted = (slice(group * count, (group + 1) * count) for count in (depth, filters))
            packed = prepared.pack(where, outputs[..., wanted].transpose(3, 1, 2, 0), None)
            samples = channels[..., seen].transpose(3, 1, 2, 0)
            prepared.run(packed, arrays.contiguous(where, "x", samples, p.dtype), part)
            result[wanted] = part.transpose(3, 1, 2, 0)
        if len(p.weight_shape) == 2:
            return result.reshape(p.weight_shape)
        return result if p.layout == "NHWC" else result.transpose(0, 3, 1, 2)


@functools.lru_cache(maxsize=1024)
def weight_gradient(where: str, problem: Problem, method: str, machine: Machine) -> WeightGradient:
    """The gradient by a method, refused where it makes none; ``"auto"`` assembles no W."""
    makers = [name for name, each in METHODS.items() if name in FORMS or each.NEEDS_MATRIX]
    if method == "auto":
        method = chosen(problem, machine)
    if method not in makers:
        words = ", ".join(map(repr, makers))
        raise ValueError(f"{where}: method {method!r} makes no gradients of weights; {words} do")
    return WeightGradient(problem, method, machine)

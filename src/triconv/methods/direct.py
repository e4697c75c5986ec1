"""The direct form.

Idea. A patch is read where it lies: in the input, or in a band of it that was copied with its border.

Formula. ``Y[i, j, m] = b[m] + sum over u, v, c of X_pad[i s_h + u d_h, j s_w + v d_w, c] K[m, u, v, c]``

What it holds. The packed weights; for each worker a band, some rows of the padded input. No pixel of a band
is held twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv.core.problem import Problem
from triconv.kernels import direct as kernels
from triconv.kernels.simd import Tile
from triconv.methods.method import Runner
from triconv.runtime import arrays
from triconv.runtime.machine import Machine
from triconv.schedules import cost as model
from triconv.schedules import numbers, packing, tables, tiling, workspace
from triconv.schedules.cost import Cost
from triconv.schedules.orientations import CHANNELS, COLUMNS, DEPTH, FLAT, ROWS, WRAPPED, Orientation
from triconv.schedules.packing import Packed, Packer

STAY = 1 << 20  # bytes of weights that stay cached from band to band: with 2.4 MB it cost 10 % to rely on it
IN_PLACE_ROWS = 2  # of a band whose middle is read in place; more would copy more at the top and bottom
IDLE = 1.05  # pixels computed over pixels wanted, from which tiles go on in the next row
TILES = 4  # tiles of pixels in a task at least

NAME = "direct"
NEEDS_MATRIX = False
IS_EXACT = True


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the work is laid out, for each sample."""

    orientation: Orientation
    tile: Tile
    rows: int  # of the output, in a band
    pieces: int  # bands
    chunk: int  # blocks of filters of a task
    chunks: int
    edge: int  # pixels at the left that are copied with their border
    middle: int  # pixels that are read in place, where their rows lie inside
    row_elements: int  # of a band, from row to row; of planes, of one plane
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

    1. Which way vectors lie, and the tile (`vectors`).
    2. Rows of output of a band: as many as let its copy of the input stay in the cache; fewer where there
       would be too few tasks, but enough pixels for some tiles.
    3. Which pixels of a row are read in place (`in_place`); where only the middle is, bands are low.
    4. Blocks of filters a task (`workspace.chunked`): where few pixels fill no tile, filters are shared out.
    5. A worker's memory: the band, and what the last tile reads past its end.
    """
    h, w = problem.axes
    g = problem.geometry
    orientation, tile = vectors(problem, machine)
    row = padded_row = w.padded * g.in_channels
    if orientation.planes:
        # Columns of the same phase of the stride lie side by side, one plane a channel.
        row = w.stride * workspace.pitch(-(-w.padded // w.stride), problem.dtype)
        padded_row = row * g.in_channels
    most = max(1, workspace.BAND // (padded_row * h.stride * problem.dtype.itemsize))
    fair = -(-h.out * max(1, problem.batch) // workspace.TASKS)
    least = -(-TILES * tiling.PIXELS // w.out) if orientation.over_filters else 1
    rows = min(most, max(least, fair), h.out)
    edge, middle = in_place(problem, orientation, tile)
    if edge:
        rows = min(h.out, tile.rows if orientation.by_lines else IN_PLACE_ROWS)
    elif orientation.by_lines:
        rows = min(tiling.rounded(rows, tile.rows), h.out)
    pieces = -(-h.out // rows)
    groups, width = orientation.blocks(g.groups, tile)
    # Other orientations have few filters, which all go over a band while it is cached: one chunk.
    enough = pieces if orientation.over_filters else workspace.TASKS
    chunk, chunks = workspace.chunked(problem, groups, width, enough)
    # A tile may reach past the last row and the last pixel of one, and a vector past the last channel.
    computed = max(rows, tile.rows if orientation.by_lines else 1)
    pixels = (tile.rows - 1) * w.stride + w.reach if orientation is DEPTH else 0
    past = tile.width + pixels * g.in_channels
    elements = ((computed - 1) * h.stride + h.reach) * padded_row + past
    elements = 0 if middle == w.out else workspace.pitch(elements, problem.dtype)
    return Schedule(orientation, tile, rows, pieces, chunk, chunks, edge, middle, row, elements)


def in_place(problem: Problem, orientation: Orientation, tile: Tile) -> tuple[int, int]:
    """Pixels of a row that are copied at its left, and pixels after them that are read in place.

    ::

        |<- edge ->|<------- middle ------->|<- the rest ->|
          copied     read where it lies       copied

    The edge is one tile, the middle whole tiles, so that none reads past the end of a row. Rows that reach
    into the padding are copied whole. What is read in place must lie as the offsets of `reads` say: these
    hold no rows of the image, unless there is no padding, so that a band's rows would be as long.
    """
    g = problem.geometry
    h, w = problem.axes
    unpadded = problem.layout == "NHWC" and g.pads == ((0, 0), (0, 0)) and w.out >= tile.rows
    if unpadded and (orientation.over_filters or (orientation is DEPTH and g.in_channels % tile.width == 0)):
        return 0, w.out
    if orientation.over_filters or orientation is COLUMNS:
        return 0, 0  # offsets hold rows; and copies are small beside the work
    if orientation is ROWS and (
        w.stride > 1 or g.group_channels > 1 or (problem.layout == "NHWC" and g.in_channels > 1)
    ):
        return 0, 0  # pixels of a channel do not lie side by side, or offsets hold channels
    if orientation.by_lines and h.out < tile.rows:
        return 0, 0  # the tile would read rows that are not there
    edge = {ROWS: tile.width, FLAT: tile.width // g.in_channels, DEPTH: tile.rows}[orientation]
    middle = (w.out - 2 * edge) // edge * edge
    # Where lanes are channels, the last vector goes on into the next pixels.
    past = -(-tile.width // g.in_channels) if orientation is DEPTH else 0
    last = (edge + middle - 1) * w.stride + w.reach + past
    if middle < edge or edge * w.stride < w.before or last > w.before + w.size:
        return 0, 0
    return edge, middle


def vectors(problem: Problem, machine: Machine) -> tuple[Orientation, Tile]:
    """The common choice, and what a method that sees the image's rows can do better."""
    g, dtype = problem.geometry, problem.dtype
    h, w = problem.axes
    if problem.layout == "NHWC" and tiling.is_grouped(problem, machine):
        size = g.group_channels
        lanes = tiling.lanes(dtype, machine)
        even = [across for across in (1, 2, 3) if across * lanes % g.in_channels == 0]
        along = h.stride <= h.reach  # else rows of a tile share nothing, and would lie far apart
        if size == 1 and even and w.stride == 1 and g.in_channels < lanes and along and not problem.output:
            return FLAT, tiling.flat_tile(dtype, even[-1], h, machine)
        return DEPTH, tiling.depth_tile(dtype, g.in_channels, size, w, machine)
    orientation, tile = tiling.vectors(problem, machine)
    if orientation is COLUMNS and g.out_channels == g.groups and h.stride <= h.reach:
        return ROWS, tiling.rows_tile(dtype, h, machine)
    if orientation is CHANNELS and problem.output:
        # Tiles cannot go on in the next row, which lies elsewhere; they share a row evenly.
        return orientation, replace(tile, rows=-(-w.out // -(-w.out // tile.rows)))
    if orientation is CHANNELS and tiling.rounded(w.out, tile.rows) > IDLE * w.out:
        return WRAPPED, tile
    return orientation, tile


def cost(problem: Problem, schedule: Schedule) -> Cost:
    """Predict operations, bytes beyond input and output, and cycles of one thread.

    Bytes are those of a worker's memory once a task, which is at most what tasks copy: a band may serve
    several chunks, and of one whose middle is read in place the edges alone are copied.
    """
    h, w = problem.axes
    g, tile = problem.geometry, schedule.tile
    groups, width = schedule.orientation.blocks(g.groups, tile)
    filters = groups * tiling.rounded(g.out_channels // groups, width)
    if schedule.orientation.wraps:
        pixels = tiling.tiled(h.out * w.out, schedule.rows * w.out, tile.rows)
    elif schedule.orientation.rows == "pixels":
        pixels = h.out * tiling.rounded(w.out, tile.rows)
    elif schedule.orientation is FLAT:
        pixels = tiling.rounded(h.out, tile.rows) * tiling.rounded(w.out * g.in_channels, tile.width)
        filters = 1
    else:
        pixels = h.out * tiling.rounded(w.out, tile.width)
    operations = problem.batch * pixels * filters * g.patch_size
    moved = problem.batch * schedule.tasks * schedule.elements * problem.dtype.itemsize
    rate = model.rate(tile.lanes, arrays.parts(problem.dtype))
    return Cost(operations, moved, operations / rate + moved * model.BAND_BYTE)


def packed_bytes(problem: Problem, schedule: Schedule) -> int:
    """Bytes of the packed weights and bias."""
    return packing.packed_bytes(problem, *schedule.orientation.blocks(problem.geometry.groups, schedule.tile))


def workspace_bytes(problem: Problem, schedule: Schedule, workers: int) -> int:
    """Bytes that a call needs beside its input and output."""
    return (workers * schedule.elements + workspace.slack(problem)) * problem.dtype.itemsize


def require(where: str, problem: Problem, schedule: Schedule) -> None:
    """Refuse packed weights that would not fit."""
    packing.require(where, problem, packed_bytes(problem, schedule))


def packer(problem: Problem, schedule: Schedule) -> Packer:
    """A function that puts weights and bias in the kernel's order."""
    pack = packing.packer(problem, *schedule.orientation.blocks(problem.geometry.groups, schedule.tile))
    unrolled = schedule.tile.kernel > 1
    if not (schedule.orientation is FLAT or (schedule.orientation is ROWS and unrolled)):
        return pack
    g, k_h, width = problem.geometry, problem.geometry.kernel_size[0], schedule.tile.width
    if schedule.orientation is ROWS:
        shape = g.groups, k_h, g.patch_size // k_h

        def turn(weight: NDArray[Any], bias: NDArray[Any]) -> Packed:
            packed, start, _ = pack(weight, bias)
            return Packed(packed.reshape(shape).swapaxes(1, 2).ravel(), start)

        return turn

    def repeat(weight: NDArray[Any], bias: NDArray[Any]) -> Packed:
        packed, start, _ = pack(weight, bias)
        packed = packed.reshape(k_h, -1, width)
        packed = (packed.swapaxes(0, 1) if unrolled else packed)[..., : g.in_channels]
        times = width // g.in_channels
        repeated = np.tile(packed, times).ravel()
        held = arrays.aligned(repeated.size, problem.dtype)
        held[:] = repeated
        return Packed(held, np.tile(start[: g.in_channels], times))

    return repeat


class Reads(NamedTuple):
    """Where tiles find in a band what they multiply, in elements."""

    column: int  # from column to column of a phase
    channel: int  # from channel to channel
    phases: int  # that the columns of a row lie in
    pixel: int  # from pixel to pixel of the output
    places: NDArray[np.int64]  # of the columns of a row
    run: int  # elements side by side that belong to one step
    steps: NDArray[np.int64]  # where steps of the sum read, as the product takes them


def reads(problem: Problem, schedule: Schedule) -> Reads:
    """Where tiles read, by the way that vectors lie.

    =================== ====================================================================
    orientation         a step is
    =================== ====================================================================
    channels, wrapped   a run: where it starts in the band, and in a block of packed weights
    columns             a tap of a channel, in the order u, v, c
    rows                a tap of a row of the kernel, of a channel: v, c
    flat                a tap of a row of the kernel: v
    depth               none: the product counts rows and columns of the kernel by itself
    =================== ====================================================================
    """
    h, w = problem.axes
    g, row, orientation = problem.geometry, schedule.row_elements, schedule.orientation
    u, v, c = np.ogrid[: h.kernel, : w.kernel, : g.group_channels]
    columns = np.arange(w.padded)
    if orientation.planes:
        phase = row // w.stride
        plane = ((schedule.rows - 1) * h.stride + h.reach) * row
        across = v * w.dilation % w.stride * phase + v * w.dilation // w.stride + c * plane
        steps = across[0] if orientation is ROWS else u * h.dilation * row + across
        return Reads(1, plane, w.stride, 1, columns % w.stride * phase + columns // w.stride, 1, steps)
    channels = g.in_channels
    # A row of the kernel lies side by side in a channels-last band where nothing lies between its taps.
    run = g.group_channels * (w.kernel if g.groups == 1 and w.dilation == 1 else 1)
    steps = (u * h.dilation * row + v * w.dilation * channels)[..., 0]
    if orientation.over_filters:
        of_weight = (u * w.kernel + v)[..., 0] * g.group_channels * orientation.blocks(1, schedule.tile)[1]
        steps = np.stack([steps, of_weight], axis=-1)
        steps = steps[:, :1] if run > g.group_channels else steps
    elif orientation is FLAT:
        steps = steps[:1]
    return Reads(channels, 1, 1, w.stride * channels, columns * channels, run, steps)


def told(problem: Problem, schedule: Schedule) -> tuple[Any, ...]:
    """The index tables and the record that the kernel reads."""
    h, w = problem.axes
    g, row = problem.geometry, schedule.row_elements
    rows, columns = tables.maps(problem)
    found = reads(problem, schedule)
    offsets = np.zeros(1, np.int64)  # of the pixels of a band, where tiles go on from row to row
    if schedule.orientation.wraps:
        line, pixel = np.ogrid[: schedule.rows, : w.out]
        offsets = (line * h.stride * row + pixel * found.pixel).ravel()
        offsets = np.pad(offsets, (0, max(0, schedule.tile.rows - offsets.size)), "edge")
    per_step = 2 if schedule.orientation.over_filters else 1  # offsets: into data and into weights, or one
    record = kernels.RECORD(
        **numbers.multiplied(problem, *schedule.orientation.blocks(g.groups, schedule.tile)),
        copy={"row": row, "column": found.column, "channel": found.channel, "phases": found.phases},
        band={
            "rows": schedule.rows,
            "edge": schedule.edge,
            "middle": schedule.middle,
            "weight_stays": packed_bytes(problem, schedule) <= STAY,
        },
        data={"pixel": found.pixel, "group": g.group_channels * found.channel},
        sum={"steps": found.steps.size // per_step, "run": found.run},
        work={
            "batch": problem.batch,
            "pieces": schedule.pieces,
            "chunk": schedule.chunk,
            "chunks": schedule.chunks,
            "elements": schedule.elements,
            "clears": not schedule.orientation.over_filters,
        },
        tasks=problem.batch * schedule.tasks,
    )
    return rows, columns, found.places, tables.flat(offsets), tables.flat(found.steps), record


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
    how = {0: "copied with their border", problem.axes[1].out: "read in place"}.get(
        schedule.middle, f"{schedule.middle} pixels of a row inside read in place"
    )
    return (
        f"{schedule.orientation.describe(schedule.tile)}; {schedule.pieces} bands of {schedule.rows} "
        f"output rows, {how}; {schedule.chunks} chunks of {schedule.chunk} blocks of filters"
    )

"""The direct form: patches are read where they lie, in the input or in a band of it with its border."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv.kernels import direct as kernels
from triconv.kernels.simd import Tile
from triconv.methods import common, numbers
from triconv.methods.common import Cost, Packed, Packer, Runner
from triconv.methods.orientations import CHANNELS, COLUMNS, DEPTH, FLAT, ROWS, WRAPPED, Orientation
from triconv.problem import Problem
from triconv.runtime.machine import Machine

STAY = 1 << 20  # bytes of weights that stay cached from band to band: with 2.4 MB it cost 10 % to rely on it
LINES = 2  # rows a task where they are read in place; more would copy more at the top and bottom
IDLE = 1.05  # idle pixels from which tiles go on in the next row


NAME = "direct"
NEEDS_MATRIX = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the work is laid out: the tile, rows of output a band, filters a chunk."""

    orientation: Orientation
    tile: Tile
    rows: int
    pieces: int
    chunk: int
    chunks: int
    edge: int  # pixels at the left that are copied with their border
    middle: int  # pixels that are read in place, where their rows lie inside
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
    orientation, tile = vectors(problem, machine)
    line = row = w.padded * g.in_channels
    if orientation.planes:
        # Columns of the same phase of the stride lie side by side, one plane a channel.
        line = w.stride * common.spread(-(-w.padded // w.stride), problem.dtype)
        row = line * g.in_channels
    most = max(1, common.BAND // (row * h.stride * problem.dtype.itemsize))
    fair = -(-h.out * max(1, problem.batch) // common.TASKS)
    # Few pixels fill no tile; then the filters are shared out instead.
    least = -(-common.TILES * common.PIXELS // w.out) if orientation.over_filters else 1
    rows = min(most, max(least, fair), h.out)
    edge, middle = in_place(problem, orientation, tile)
    if edge:
        rows = min(h.out, tile.rows if orientation.by_lines else LINES)
    elif orientation.by_lines:
        rows = min(common.rounded(rows, tile.rows), h.out)
    pieces = -(-h.out // rows)
    groups, width = orientation.blocks(g.groups, tile)
    tasks = pieces if orientation.over_filters else common.TASKS
    chunk, chunks = common.chunked(problem, groups, width, tasks)
    # A tile may reach past the last row and the last pixel of one, and a vector past the last channel.
    reach = max(rows, tile.rows if orientation.by_lines else 1)
    pixels = (tile.rows - 1) * w.stride + w.reach if orientation is DEPTH else 0
    past = tile.width + pixels * g.in_channels
    share = common.spread(((reach - 1) * h.stride + h.reach) * row + past, problem.dtype)
    if middle == w.out:
        share = 0
    return Schedule(orientation, tile, rows, pieces, chunk, chunks, edge, middle, line, share)


def in_place(problem: Problem, orientation: Orientation, tile: Tile) -> tuple[int, int]:
    """Pixels of a row that are copied at its left, and pixels after them that are read in place.

    The rest of the row is copied, and so are rows that reach into the padding. Nothing is read in place
    where copies are small beside the work, nor where vectors could not lie as the pixels do.
    """
    g = problem.geometry
    h, w = problem.axes
    alike = problem.layout == "NHWC" and g.pads == ((0, 0), (0, 0)) and w.out >= tile.rows
    if alike and (orientation.over_filters or (orientation is DEPTH and g.in_channels % tile.width == 0)):
        return 0, w.out
    if orientation.over_filters or orientation is COLUMNS:
        return 0, 0
    if orientation is ROWS and (
        w.stride > 1 or g.group_channels > 1 or (problem.layout == "NHWC" and g.in_channels > 1)
    ):
        return 0, 0
    if orientation.by_lines and h.out < tile.rows:
        return 0, 0  # the tile would read rows that are not there
    # Whole tiles, so that none reads past the end of a row.
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
    if problem.layout == "NHWC" and common.grouped(problem, machine):
        size = g.group_channels
        lanes, _ = common.lanes_of(dtype, machine)
        even = [across for across in (1, 2, 3) if across * lanes % g.in_channels == 0]
        along = h.stride <= h.reach  # else rows of a tile share nothing, and would lie far apart
        if size == 1 and even and w.stride == 1 and g.in_channels < lanes and along and not problem.place:
            return FLAT, common.flat_tile(dtype, even[-1], h, machine)
        return DEPTH, common.depth_tile(dtype, g.in_channels, size, w, machine)
    orientation, tile = common.vectors(problem, machine)
    if orientation is COLUMNS and g.out_channels == g.groups and h.stride <= h.reach:
        return ROWS, common.rows_tile(dtype, h, machine)
    if orientation is CHANNELS and problem.place:
        # Tiles cannot go on in the next row, which lies elsewhere; they share a row evenly.
        return orientation, replace(tile, rows=-(-w.out // -(-w.out // tile.rows)))
    if orientation is CHANNELS and common.rounded(w.out, tile.rows) > IDLE * w.out:
        return WRAPPED, tile
    return orientation, tile


def run_of(problem: Problem) -> int:
    """Steps of the reduction that lie side by side in a channels-last image."""
    g, w = problem.geometry, problem.axes[1]
    return g.group_channels * (w.kernel if g.groups == 1 and w.dilation == 1 else 1)


def cost(problem: Problem, plan: Schedule) -> Cost:
    """Predict operations, bytes beyond input and output, and cycles of one thread."""
    h, w = problem.axes
    g, tile = problem.geometry, plan.tile
    groups, width = plan.orientation.blocks(g.groups, tile)
    filters = groups * common.rounded(g.out_channels // groups, width)
    if plan.orientation.wraps:
        pixels = common.tiled(h.out * w.out, plan.rows * w.out, tile.rows)
    elif plan.orientation.rows == "pixels":
        pixels = h.out * common.rounded(w.out, tile.rows)
    elif plan.orientation is FLAT:
        pixels = common.rounded(h.out, tile.rows) * common.rounded(w.out * g.in_channels, tile.width)
        filters = 1
    else:
        pixels = h.out * common.rounded(w.out, tile.width)
    operations = problem.batch * pixels * filters * g.patch_size
    moved = problem.batch * plan.tasks * plan.share * problem.dtype.itemsize
    return Cost(operations, moved, operations / (2 * tile.lanes) * common.lanes_parts(problem) + moved / 8)


def packed_bytes(problem: Problem, plan: Schedule) -> int:
    """Bytes of the packed weights and bias."""
    return common.packed_bytes(problem, *plan.orientation.blocks(problem.geometry.groups, plan.tile))


def workspace_bytes(problem: Problem, plan: Schedule, workers: int) -> int:
    """Bytes that a call needs beside its input and output."""
    return (workers * plan.share + common.spare(problem)) * problem.dtype.itemsize


def require(where: str, problem: Problem, plan: Schedule) -> None:
    """Refuse packed weights that would not fit."""
    common.require_packed(where, problem, packed_bytes(problem, plan))


def packer(problem: Problem, plan: Schedule) -> Packer:
    """A function that puts weights and bias in the kernel's order."""
    pack = common.packer(problem, *plan.orientation.blocks(problem.geometry.groups, plan.tile))
    known = plan.tile.kernel > 1
    if not (plan.orientation is FLAT or (plan.orientation is ROWS and known)):
        return pack
    g, width = problem.geometry, plan.tile.width
    wide = 1 if plan.orientation is ROWS else g.in_channels
    blocks = g.groups if plan.orientation is ROWS else 1
    axis = problem.axes[0]

    def turn(weight: NDArray[Any], bias: NDArray[Any]) -> Packed:
        packed, start, _ = pack(weight, bias)
        packed = packed.reshape(blocks, axis.kernel, -1, packed.size // (blocks * g.patch_size))
        packed = (packed.swapaxes(1, 2) if known else packed)[..., :wide]
        if plan.orientation is FLAT:
            packed, start = np.tile(packed, width // wide), np.tile(start[:wide], width // wide)
        turned = common.aligned(packed.size, problem.dtype)
        turned.reshape(packed.shape)[...] = packed
        return Packed(turned, start)

    return turn


def tables(problem: Problem, plan: Schedule) -> tuple[Any, ...]:
    """The index tables and the record that the kernel reads."""
    h, w = problem.axes
    g = problem.geometry
    groups, width = plan.orientation.blocks(g.groups, plan.tile)
    rows, columns = common.maps(problem)
    u, v, c = np.ogrid[: h.kernel, : w.kernel, : g.group_channels]
    row, c_in = plan.row_elements, g.in_channels
    offsets = np.zeros(1, np.int64)
    places = np.arange(w.padded)
    if plan.orientation.planes:
        phase = row // w.stride
        places = places % w.stride * phase + places // w.stride
        column, pixel, phases, plane, run = 1, 1, w.stride, ((plan.rows - 1) * h.stride + h.reach) * row, 1
        taps = v * w.dilation % w.stride * phase + v * w.dilation // w.stride + c * plane
        steps = taps[0] if plan.orientation is ROWS else u * h.dilation * row + taps
        n_steps = steps.size
    else:
        places = places * c_in
        column, pixel, phases, plane, run = c_in, w.stride * c_in, 1, 1, run_of(problem)
        steps = (u * h.dilation * row + v * w.dilation * c_in)[..., 0]
        steps = steps[:1] if plan.orientation is FLAT else steps
        n_steps = steps.size
    if plan.orientation.over_filters:
        taps = (u * w.kernel + v)[..., 0] * g.group_channels * width
        if run > g.group_channels:
            steps, taps, n_steps = steps[:, :1], taps[:, :1], h.kernel
        steps = np.stack([steps, taps], axis=-1)
    if plan.orientation.wraps:
        line, place = np.ogrid[: plan.rows, : w.out]
        offsets = (line * h.stride * row + place * pixel).ravel()
        offsets = np.pad(offsets, (0, max(0, plan.tile.rows - offsets.size)), "edge")
    record = kernels.RECORD(
        **numbers.multiplied(problem, groups, width),
        copy={"row": row, "column": column, "channel": plane, "phases": phases},
        band={
            "rows": plan.rows,
            "edge": plan.edge,
            "middle": plan.middle,
            "stays": packed_bytes(problem, plan) <= STAY,
        },
        data={"pixel": pixel, "group": g.group_channels * plane},
        sum={"steps": n_steps, "run": run},
        work={
            "batch": problem.batch,
            "pieces": plan.pieces,
            "chunk": plan.chunk,
            "chunks": plan.chunks,
            "share": plan.share,
            "clears": not plan.orientation.over_filters,
        },
        tasks=problem.batch * plan.tasks,
    )
    return rows, columns, places, common.flat(offsets), common.flat(steps), record


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
    how = {0: "copied with their border", problem.axes[1].out: "read in place"}.get(
        plan.middle, f"{plan.middle} pixels of a row inside read in place"
    )
    return (
        f"{plan.orientation.describe(plan.tile)}; {plan.pieces} bands of {plan.rows} output rows, "
        f"{how}; {plan.chunks} chunks of {plan.chunk} blocks of filters"
    )

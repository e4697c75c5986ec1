"""What the methods share: how weights are packed, how vectors are laid, what is predicted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv.axis import Axis
from triconv.kernels import pack as kernels
from triconv.kernels.addresses import ALIGNED
from triconv.kernels.simd import Tile
from triconv.methods import numbers
from triconv.methods.orientations import CHANNELS, COLUMNS, Orientation
from triconv.problem import Problem
from triconv.runtime import memory, threads
from triconv.runtime.machine import Machine

# Figures beside a number are measurements on two cores with AVX-512 and 2 MiB of second-level cache each.
BAND = 256 << 10  # bytes of input that a task works on: from 128 to 512 KiB times differ by 5 % at most
ALIGN = 4096  # elements from which packed weights start at a line of the cache
PAGE = 4096  # rows that lie this far apart would fight for one set of the first-level cache
SERIAL = 600_000  # operations of a call that stays in its thread: two are faster from 0.5 to 1.5 million
PARALLEL_PACK = 1 << 16  # packed weights from which threads share the packing
PIXELS = 14  # pixels in a tile at most: more pointers to pixels than this do not stay in registers
ROWS = 8  # rows of a tile at most, where rows share what they read: 5x5 took 0.68 ms with 6, 0.93 with 2
KERNELS = (3, 5, 7, 9, 11, 13, 15)  # that tiles may know, each one more kernel to compile
STRIDES = (1, 2)  # the same
KNOWN = ("float32", "float64")  # the same
FILTERS = (1, 2, 4, 8)  # filters in a tile of columns: a bank of 8 took 1.1 ms by fours, 0.5 by eights
STORE = 2  # cycles to write a vector of results, about
SCATTER = 1.5  # cycles to write a single result: a fifth of the time of 4 filters of 15x15
START = 30  # cycles to start a tile, about
TILES = 4  # tiles of pixels in a task at least
MAPS = 6  # int64s a row or column of the padded image takes while index tables are made
KEPT = 256 << 10  # bytes of tables that are kept as long as the plan that they belong to
LARGE = 256 << 20  # bytes of larger ones that are kept together
TASKS = 8  # parts that the work is cut into at least, so that threads finish together


Packer = Callable[[NDArray[Any], NDArray[Any]], "Packed"]
Runner = Callable[["Packed", Any, Any, int], None]


class Packed(NamedTuple):
    """Weights and bias in the order in which a kernel reads them."""

    weight: Any
    bias: NDArray[Any]
    given: NDArray[Any] | None = None  # the weights as they came, where infinite numbers may need them


class Made:
    """A function with the index tables that it holds, made when it is first called.

    Large tables are kept for those of these functions that were called last.
    """

    _large: ClassVar[dict[Made, Any]] = {}
    _lock = threading.Lock()

    def __init__(self, problem: Problem, make: Callable[[], Any], more: int = 0) -> None:
        self.bytes = maps_bytes(problem) + more
        self.make = make
        self._function: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return (self._function or self._found())(*arguments)

    def _found(self) -> Any:
        if self.bytes <= KEPT:
            self._function = self.make()
            return self._function
        found = self._large.get(self) or self.make()
        with self._lock:
            self._large.pop(self, None)
            self._large[self] = found
            total = sum(made.bytes for made in self._large)
            for oldest in list(self._large)[:-1]:
                if total <= LARGE:
                    break
                del self._large[oldest]
                total -= oldest.bytes
        return found


@dataclass(frozen=True, slots=True)
class Cost:
    """What a schedule is predicted to take, for the whole batch."""

    operations: int  # multiply-adds, idle vector lanes included
    bytes: int  # written and read beyond the arrays that every method reads
    cycles: float


def vectors(problem: Problem, machine: Machine) -> tuple[Orientation, Tile]:
    """Whether lanes are filters or pixels of a row, and the tile: what is predicted to take fewer cycles."""
    g = problem.geometry
    filters = g.out_channels // g.groups
    options = [(COLUMNS, tile) for tile in columns_tiles(problem.dtype, filters, machine)]
    if filters > 1 and not grouped(problem, machine):
        options += [(CHANNELS, tile) for tile in channels_tiles(problem.dtype, filters, machine)]
    return min(options, key=lambda option: tile_cycles(problem, *option))


def tile_cycles(problem: Problem, orientation: Orientation, tile: Tile) -> float:
    """Cycles that the tiles of a row of pixels take, by what a core can do in one of them.

    That is two multiply-adds and two reads of a line of the cache. Vectors of weights lie along its lines;
    vectors of pixels mostly lie across two.
    """
    g = problem.geometry
    h, w = problem.axes
    filters, pixels = g.out_channels // g.groups, w.out
    multiplied = tile.rows * tile.vectors * lanes_parts(problem)
    if orientation.over_filters:
        reads = tile.vectors + tile.rows
        tiles = (
            rounded(filters, tile.width) / tile.width * rounded(pixels * h.out, tile.rows) / tile.rows / h.out
        )
        together = problem.layout == "NHWC"
    else:
        reads = 2 * tile.vectors + tile.rows
        tiles = rounded(filters, tile.rows) / tile.rows * rounded(pixels, tile.width) / tile.width
        together = problem.layout == "NCHW" or (filters == tile.rows and g.groups == 1)
    store = tile.rows * tile.vectors * (STORE if together else SCATTER * tile.lanes)
    return tiles * (g.patch_size * max(multiplied, reads) / 2 + store + START)


def grouped(problem: Problem, machine: Machine) -> bool:
    """Whether groups have as many filters as channels, and several of them fill a vector."""
    g = problem.geometry
    size = g.group_channels
    lanes, _ = lanes_of(problem.dtype, machine)
    return g.groups > 1 and g.out_channels == g.in_channels and size < lanes and lanes % size == 0


def channels_tiles(dtype: np.dtype[Any], filters: int, machine: Machine) -> Iterator[Tile]:
    """Pixels x channel vectors: what the registers hold beside the weights and one broadcast pixel."""
    lanes, parts = lanes_of(dtype, machine)
    for across in (2, 3, 1) if filters > lanes else (1,):
        rows = min(PIXELS, (machine.registers - across - parts) // (across * parts))
        yield Tile(dtype.name, lanes, rows, across, machine.fma)


def columns_tiles(dtype: np.dtype[Any], filters: int, machine: Machine) -> Iterator[Tile]:
    """Filters x pixel vectors, for as many filters at a time as are there, or nearly."""
    lanes, parts = lanes_of(dtype, machine)
    for rows in FILTERS:
        if rows == 1 or rows < 2 * filters:
            across = min(8 // parts, (machine.registers - parts) // (rows * parts + 1))
            if across > 0:
                yield Tile(dtype.name, lanes, rows, across, machine.fma)


def knowing(tile: Tile, axis: Axis) -> Tile:
    """The tile told of the kernel along its rows, where that is one that code is made for."""
    if axis.kernel in KERNELS and axis.stride in STRIDES and axis.dilation == 1 and tile.dtype in KNOWN:
        return replace(tile, kernel=axis.kernel, stride=axis.stride)
    return tile


def rows_tile(dtype: np.dtype[Any], axis: Axis, machine: Machine) -> Tile:
    """Output rows x pixel vectors, those of a row sharing each weight."""
    lanes, parts = lanes_of(dtype, machine)
    across = 4 if machine.registers >= 32 else 2
    rows = min(ROWS, (machine.registers - across - parts) // (across * parts))
    return knowing(Tile(dtype.name, lanes, rows, across, machine.fma), axis)


def flat_tile(dtype: np.dtype[Any], across: int, axis: Axis, machine: Machine) -> Tile:
    """Output rows x vectors over pixels and channels alike."""
    lanes, parts = lanes_of(dtype, machine)
    rows = min(ROWS, (machine.registers - 1 - parts) // (across * parts))
    return knowing(Tile(dtype.name, lanes, rows, across, machine.fma), axis)


def depth_tile(dtype: np.dtype[Any], channels: int, group: int, axis: Axis, machine: Machine) -> Tile:
    """Pixels x vectors of channels; the weights of a row of the kernel are held where registers allow."""
    lanes, parts = lanes_of(dtype, machine)
    shared = int(group > 1)
    for across in (2, 1) if channels > lanes and group == 1 else (1,):
        tile = knowing(Tile(dtype.name, lanes, ROWS, across, machine.fma, group), axis)
        held = across * (parts * tile.kernel * group + 1 + shared)
        if ROWS * across * parts + held <= machine.registers:
            break
    else:
        rows = min(ROWS, (machine.registers - 2 * parts - shared) // parts)
        tile = replace(tile, rows=rows)
    # One pixel fewer where as many tiles do: the last one computes fewer pixels again.
    fewer = tile.rows - 1
    return replace(tile, rows=fewer) if -(-axis.out // fewer) == -(-axis.out // tile.rows) else tile


def lanes_of(dtype: np.dtype[Any], machine: Machine) -> tuple[int, int]:
    """Elements in a vector, and vectors that an accumulator takes."""
    return machine.vector_bits // (8 * dtype.itemsize), 2 if dtype.kind == "c" else 1


def rounded(count: int, step: int) -> int:
    """The least multiple of ``step`` that is not under ``count``."""
    return -(-count // step) * step


def packer(problem: Problem, groups: int, width: int) -> Packer:
    """A function that packs weights as ``[group][block][u, v, c][width]``, zeros filling a block up."""
    g, dtype = problem.geometry, problem.dtype
    filters = groups * rounded(g.out_channels // groups, width)
    size = filters * g.patch_size
    record = kernels.FILTERS(
        window=numbers.window(problem),
        groups=numbers.groups(problem, groups),
        weight=numbers.weight(problem),
        packed=numbers.packed(problem, groups, width),
    )
    kernel = kernels.filters(dtype.name)

    def pack(weight: NDArray[Any], bias: NDArray[Any]) -> Packed:
        held = aligned(size + filters, dtype)
        packed, start = held[:size], held[size:]
        workers = threads.get_num_threads() if size > PARALLEL_PACK else 1
        kernel(workers, ready(weight, dtype).reshape(-1), bias, packed, start, record)
        return Packed(packed, start)

    return pack


def contiguous(where: str, name: str, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array as kernels take it: itself, or a copy, refused where that would not fit."""
    if is_ready(array, dtype):
        return array
    require_copy(where, name, array, dtype)
    return ready(array, dtype)


def ready(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The same where a copy is known to fit."""
    if is_ready(array, dtype):
        return array
    with np.errstate(all="ignore"):  # as in `arguments.cast`
        return array.astype(dtype, order="C")


def is_ready(array: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Whether kernels for this dtype take the array as it lies in memory."""
    flags = array.flags
    return array.dtype == dtype and flags.c_contiguous and flags.aligned


def require_copy(where: str, name: str, array: NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Refuse a copy that would not fit, as of an array with strides of zero, which itself takes nothing."""
    memory.require(where, array.size * dtype.itemsize, f"a copy of {name} of shape {array.shape} ({dtype})")


def require_packed(where: str, problem: Problem, size: int) -> None:
    """Refuse packed weights of ``size`` bytes that would not fit beside a copy in the order of the kernel."""
    if 2 * size > memory.SMALL:
        shape = problem.weight_shape
        memory.require(where, 2 * size, f"a packed copy of the weight of shape {shape}")


def aligned(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A new array whose first element starts a line of the cache, so that vectors do not straddle two.

    Not where it is small: finding its address takes a microsecond.
    """
    if count < ALIGN:
        return np.empty(count, dtype)
    held = np.empty(count + ALIGNED // dtype.itemsize, dtype)
    first = -held.ctypes.data % ALIGNED // dtype.itemsize
    return held[first : first + count]


def spare(problem: Problem) -> int:
    """Elements of workspace beside the workers' shares, so that these can start at a line of the cache."""
    return ALIGNED // problem.dtype.itemsize


def spread(length: int, dtype: np.dtype[Any]) -> int:
    """Elements from row to row: whole lines of the cache, but no whole pages, which share a set of it."""
    line = ALIGNED // dtype.itemsize
    row = rounded(length, line)
    return row + line if row * dtype.itemsize % PAGE == 0 else row


def tiled(total: int, piece: int, tile: int) -> int:
    """Pixels that are computed where ``total`` come in pieces, and pieces in whole tiles."""
    pieces, rest = divmod(total, piece)
    return pieces * rounded(piece, tile) + rounded(rest, tile)


def packed_bytes(problem: Problem, groups: int, width: int) -> int:
    """Bytes of the packed weights and bias."""
    g = problem.geometry
    filters = groups * rounded(g.out_channels // groups, width)
    return filters * (g.patch_size + 1) * problem.dtype.itemsize


def maps(problem: Problem) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The index maps of rows and of columns that stand for the padding."""
    h, w = (axis.sources(np.arange(axis.padded), problem.mode) for axis in problem.axes)
    return h, w


def maps_bytes(problem: Problem) -> int:
    """Bytes that the index tables of a problem take at most, while they are made."""
    h, w = problem.axes
    return MAPS * 8 * (h.padded + w.padded)


def chunked(problem: Problem, groups: int, width: int, pieces: int) -> tuple[int, int]:
    """Blocks of filters a task, and how many such chunks: few, but enough tasks for the threads."""
    blocks = groups * (rounded(problem.geometry.out_channels // groups, width) // width)
    chunks = min(blocks, max(1, -(-TASKS // (pieces * max(1, problem.batch)))))
    chunk = -(-blocks // chunks)
    return chunk, -(-blocks // chunk)


def lanes_parts(problem: Problem) -> int:
    """Fused multiply-adds on a vector that one multiply-add of elements takes."""
    return 2 if problem.dtype.kind == "c" else 1


def flat(table: NDArray[Any]) -> NDArray[np.int64]:
    """An index table as the kernels take it."""
    return np.ascontiguousarray(table, np.int64).reshape(-1)


def threads_for(flops: int) -> int:
    """How many threads a call of this size uses: one where waking the others would take longer."""
    return 1 if flops < SERIAL else threads.get_num_threads()

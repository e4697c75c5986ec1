"""Every microkernel by itself: the table in `triconv.kernels.tiles` as places in memory, bit for bit.

acc[p, q] = bias + sum over k of a[p, k] * b[k, q]
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from alone import address, alone, integers, untouched
from numpy.lib.stride_tricks import as_strided
from numpy.testing import assert_array_equal

from triconv.kernels import tiles
from triconv.kernels.simd import Tile
from triconv.runtime.machine import machine

SIZE = 4096  # elements of a memory, more than any case reads
FIRST = 3  # the element of a memory that a tile is told of, which lies as no vector would
WIDE = machine().vector_bits


def tile(dtype, bits, rows, vectors, fma=True):
    return Tile(dtype, bits // (8 * np.dtype(dtype).itemsize), rows, vectors, fma and machine().fma)


TILES = {
    "eight rows, turned to be stored in one stretch": tile("float32", 128, 8, 2),
    "more rows than share a pointer, stored one by one": tile("float64", WIDE, 5, 2),
    "complex, turned, every product rounded": tile("complex64", WIDE, 4, 1, fma=False),
    "vectors of one complex number": tile("complex128", 128, 2, 3),
}


@dataclass
class Case:
    """A microkernel and where it reads.

    ``a`` and ``b`` are places in two memories, over (rows, k, width), and ``bias`` those in a third one, over
    (rows, width); an axis along which nothing changes has length 1. ``told`` makes the arguments before
    ``out`` from the three memories; ``lacks`` names one after ``out`` that this microkernel does without.
    """

    name: str
    micro: Any
    tile: Tile
    a: np.ndarray
    b: np.ndarray
    bias: np.ndarray | None
    told: Any
    lacks: str = ""

    def memories(self):
        return [integers(FIRST + SIZE, self.tile.dtype, seed)[FIRST:] for seed in range(3)]

    def sums(self, a, b, bias):
        start = 0 if self.bias is None else bias[self.bias]
        return start + (a[self.a] * b[self.b]).sum(axis=1)

    def call(self, memories, out, *extent):
        wanted = dict(zip(("rows", "width", "row_step", "step"), extent, strict=True))
        wanted.pop(self.lacks, None)
        arguments = *self.told(*memories), out, *wanted.values()
        numbers = [address(each) if isinstance(each, np.ndarray) else int(each) for each in arguments]
        alone(f"{self.name}_{self.tile}", self.micro, *numbers)

    def whole(self, *memories):
        """All results of a tile, row after row."""
        out = untouched((self.tile.rows, self.tile.width), self.tile.dtype)
        self.call(memories, out, *out.shape, self.tile.width, 1)
        return out


# --- The table ------------------------------------------------------------------------------------


def channels(tile, wrapped=False):
    p, k, q = np.ogrid[: tile.rows, :21, : tile.width]
    stretch, step = np.divmod(k, 7)  # a turn of the unrolled loop, and three steps more
    runs = np.array([[90, 7], [0, 14], [41, 0]]) * [1, tile.width]
    places = np.random.default_rng(0).permutation(tile.rows) * 150 if wrapped else np.arange(tile.rows) * 150
    return Case(
        "wrapped" if wrapped else "channels",
        tiles.channels_tile(tile, wrapped),
        tile,
        places[p] + runs[stretch, 0] + step,
        runs[stretch, 1] + step * tile.width + q,
        q[0],
        lambda a, b, bias: (a, places if wrapped else 150, runs, 3, 7, b, bias),
    )


def columns(tile):
    p, k, q = np.ogrid[: tile.rows, :5, : tile.width]
    taps = np.array([3, 0, 1, 4, 2]) * tile.width
    return Case(
        "columns",
        tiles.columns_tile(tile),
        tile,
        k * tile.rows + p,
        taps[k] + q,
        p[:, 0],
        lambda a, b, bias: (b, taps, 5, a, bias),
    )


def sparse(tile, index, shared):
    p, k, q = np.ogrid[: tile.rows, :6, : tile.width]
    columns = [np.arange(SIZE // (tile.width + 1))] * tile.rows
    indices = np.random.default_rng(0).permuted(columns, axis=1)[:, :6].astype(index)
    return Case(
        f"sparse_{index}{'_shared' * shared}",
        tiles.sparse_tile(tile, 8 * indices.itemsize, shared),
        tile,
        p * 6 + k,
        indices[0 if shared else p, k] * (tile.width + 1) + q,
        p[:, 0] * 2,
        lambda a, b, bias: (b, tile.width + 1, indices.copy(), 6, a, bias, 2),
        lacks="rows",
    )


def rows(tile, flat=False, **known):
    tile = replace(tile, **known)
    height, taps = 2, np.array([0, 5, 2])
    p, k, q = np.ogrid[: tile.rows, : height * taps.size * tile.kernel, : tile.width]
    u, t, v = np.unravel_index(k, (height, taps.size, tile.kernel))
    return Case(
        "flat" if flat else "rows",
        tiles.rows_tile(tile, flat),
        tile,
        k * tile.width + q if flat else k,
        u * 1300 + taps[t] + (p * tile.stride + v) * 60 + q,
        q[0] if flat else 0 * p[:, 0],
        lambda a, b, bias: (b, 60, height, 1300, taps, taps.size, a, bias),
    )


def depth(tile, **known):
    tile = replace(tile, **known)
    height, across = 2, 3
    p, k, q = np.ogrid[: tile.rows, : height * across * tile.kernel * tile.group, : tile.width]
    u, v, known, channel = np.unravel_index(k, (height, across, tile.kernel, tile.group))
    return Case(
        "depth",
        tiles.depth_tile(tile),
        tile,
        k * tile.width + q,
        u * 1300 + v * 70 + (p * tile.stride + known) * 60 + q // tile.group * tile.group + channel,
        q[0],
        lambda a, b, bias: (b, 60, height, 1300, across, 70, a, bias),
        lacks="step",
    )


def outer(tile, each=False, pixels=3, more=0, starts=True, ends=True):
    """Here the third memory is where sums are kept between calls."""
    p, k, q = np.ogrid[: tile.rows, : 2 * pixels, : tile.width]
    line, pixel = np.divmod(k, pixels)
    return Case(
        "outer_each" if each else "outer",
        tiles.outer_tile(tile, each),
        tile,
        line * 1300 + pixel * 300 + (p * 33 + q if each else p),
        line * 270 + pixel * 50 + q,
        None,
        lambda a, b, held: (a, 1300, 300, 33, b, 270, 50, 2, pixels, more, held, starts, ends),
    )


VARIANTS = {
    "channels": channels,
    "wrapped": partial(channels, wrapped=True),
    "columns": columns,
    "sparse": partial(sparse, index="int32", shared=False),
    "sparse, shared": partial(sparse, index="int64", shared=True),
    "rows": rows,
    "rows, kernel 3": partial(rows, kernel=3),
    "rows, kernel 3, stride 2": partial(rows, kernel=3, stride=2),
    "rows, kernel 2, stride 3, places that no row reads": partial(rows, kernel=2, stride=3),
    "flat": partial(rows, flat=True),
    "flat, kernel 3, stride 2": partial(rows, flat=True, kernel=3, stride=2),
    "depth": depth,
    "depth, kernel 3": partial(depth, kernel=3),
    "depth, kernel 3, stride 2": partial(depth, kernel=3, stride=2),
    "depth, groups of 2": partial(depth, group=2),
    "depth, groups of 2, kernel 3, stride 2": partial(depth, group=2, kernel=3, stride=2),
    "outer": outer,
    "outer, each": partial(outer, each=True),
}
# What a tile knows of the kernel, no way of storing it sees; and a vector holds whole groups.
CASES = [
    pytest.param(make(tile), id=f"{variant}: {words}")
    for variant, make in VARIANTS.items()
    for words, tile in TILES.items()
    if not ("kernel" in variant and tile.dtype != "float64")
    if not ("groups" in variant and tile.lanes == 1)
]
each_case = pytest.mark.parametrize("case", CASES)


# --- What tiles write -----------------------------------------------------------------------------


@each_case
def test_sums_go_where_they_are_asked_for(case):
    tile, memories = case.tile, case.memories()
    sums = case.sums(*memories)
    steps = (
        (tile.width + 2, 1),
        (1, tile.rows),  # one stretch, where all rows are asked for
        (1, tile.rows + 2),
        (tile.rows * tile.width + 1, tile.rows),
        (3 * tile.width + 1, 3),
    )
    rows, widths = {1, tile.rows - 1, tile.rows}, {1, tile.lanes, tile.width - 1, tile.width}
    for count, width, (row_step, step) in product(rows, widths, steps):
        if (case.lacks == "rows" and count < tile.rows) or (case.lacks == "step" and step > 1):
            continue
        out = untouched(SIZE, tile.dtype)
        expected = out.copy()
        bytes_apart = row_step * out.itemsize, step * out.itemsize
        as_strided(expected[FIRST:], (count, width), bytes_apart)[...] = sums[:count, :width]
        case.call(memories, out[FIRST:], count, width, row_step, step)
        assert_array_equal(out, expected)


@each_case
def test_the_identity_gives_the_other_operand(case):
    """As ``A I = I A = A``; an operand that all rows share is 1 in one step alone."""
    a, b, bias = case.memories()
    shape = np.broadcast_shapes(case.a.shape, case.b.shape)
    in_a, in_b = np.broadcast_to(case.a, shape), np.broadcast_to(case.b, shape)
    p, q = np.ogrid[: shape[0], : shape[2]]
    for shift in range(shape[1]):
        at = p, ((p if len(case.a) > 1 else 0 * p) + shift) % shape[1], q
        identity = np.zeros_like(a)
        identity[in_a[at]] = 1
        assert_array_equal(case.whole(identity, b, 0 * bias), b[in_b[at]])
        if len(case.b) == 1:
            at = p, (q + shift) % shape[1], q
            identity = np.zeros_like(b)
            identity[in_b[at]] = 1
            assert_array_equal(case.whole(a, identity, 0 * bias), a[in_a[at]])


# --- Sums over pixels -----------------------------------------------------------------------------


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("tile", TILES.values(), ids=TILES)
def test_sums_that_are_kept_go_on(tile, each):
    case = outer(tile, each)
    a, b, more = case.memories()
    count = tile.rows * tile.width * (2 if a.dtype.kind == "c" else 1)
    held, out = untouched(count + 1, tile.dtype), untouched((tile.rows, tile.width), tile.dtype)
    outer(tile, each, ends=False).call((a, b, held), out, *out.shape, tile.width, 1)
    assert_array_equal(out, untouched(out.shape, tile.dtype))
    assert_array_equal(held[count:], untouched(1, tile.dtype))
    total = outer(tile, each, starts=False).whole(a, more, held)
    assert_array_equal(total, case.sums(a, b, None) + case.sums(a, more, None))


@pytest.mark.parametrize("tile", TILES.values(), ids=TILES)
def test_elements_past_the_end_of_a_line_do_not_count(tile):
    """Nor do they spoil sums where they are no numbers."""
    case = outer(tile, each=True, pixels=4)
    for more in range(1, tile.width):
        a, b, held = case.memories()
        past = case.a[:, 3::4, more:]
        a[past] = np.nan
        sums = outer(tile, each=True, pixels=3, more=more).whole(a, b, held)
        a[past] = 0
        assert_array_equal(sums, case.sums(a, b, None))

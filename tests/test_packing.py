"""Every copy by itself: weights, bands and patches go where NumPy's indexing puts them, bit for bit.

What depends on the dtype is how elements some way apart are copied, so that one has them all.
"""

from math import prod

import numpy as np
import pytest
from alone import UNTOUCHED, address, alone, integers, untouched
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from triconv.kernels import pack
from triconv.kernels.addresses import strided_copy
from triconv.kernels.records import COPY, DATA, GROUPS, IMAGE, INSIDE, OUTPUT, PATCHES, WINDOW, Record
from triconv.runtime.machine import machine

BAND = Record(IMAGE, INSIDE, COPY)
# Not the beginning of a kernel's record, which Numba would take for it.
BLOCK = Record(DATA, IMAGE, INSIDE, OUTPUT, WINDOW, GROUPS, PATCHES)
WIDE = machine().vector_bits
FIRST = 3  # the element of a memory where a copy begins, which lies as no vector would


def ordered(memory, shape, order):
    """A view of all of a memory whose axes lie in it in some order, the last one of that side by side."""
    return memory.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def steps(view):
    """Elements along each axis from one to the next."""
    return [step // view.itemsize for step in view.strides]


# --- Every n-th element ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "bits"), [("float32", WIDE), ("float64", 128), ("complex64", WIDE), ("complex128", 128)]
)
def test_every_nth_element(dtype, bits):
    lanes = bits // (8 * np.dtype(dtype).itemsize)
    strided, x = strided_copy(dtype, lanes), integers(400, dtype)
    for stride in (1, 2, 3, 4, 5, 9):
        for count in (0, 1, lanes, lanes + 1, 2 * lanes, 2 * lanes + 1, 2 * lanes + 2):
            data = untouched(FIRST + count + 1, dtype)
            alone(f"strided_{dtype}_{lanes}", strided, address(data, FIRST), address(x, 5), count, stride)
            assert_array_equal(data[FIRST:-1], x[5:][: stride * count : stride])
            assert_array_equal(np.delete(data, slice(FIRST, -1)), UNTOUCHED)


# --- Weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["complex64"])
@given(
    shape=st.tuples(*(st.integers(1, most) for most in (3, 5, 3, 3)), st.sampled_from((1, 2, 16, 17, 33))),
    order=st.permutations(range(5)),
    backwards=st.booleans(),
    together=st.booleans(),
    width=st.sampled_from((1, 2, 4)),
)
@example((2, 5, 2, 3, 2), (0, 4, 2, 3, 1), True, False, 4)  # filters side by side, the other way round
@example((3, 2, 1, 2, 33), (0, 1, 2, 3, 4), False, True, 4)  # blocks across groups, three strips of channels
def test_filters_lie_in_blocks(dtype, shape, order, backwards, together, width):
    """Weights over (group, filter, u, v, c), ``together`` packed as one group."""
    stored = integers(prod(shape), dtype)
    weight = ordered(stored, shape, order)
    weight = weight[:, :, ::-1, ::-1] if backwards else weight
    count, filters = (1, shape[0] * shape[1]) if together else shape[:2]
    blocks, taps = -(-filters // width), shape[2:]
    bias = integers(count * filters, dtype, 1)
    group, filter_, *step, channel = steps(weight)
    record = pack.FILTERS(
        window={"size": taps[:2], "stride": 0, "dilation": 0},
        groups={"count": count, "channels": taps[2], "filters": filters},
        weight={
            "start": (address(weight) - address(stored)) // stored.itemsize,
            "filters": shape[1],
            "gap": group - shape[1] * filter_,
            "filter": filter_,
            "channel": channel,
            "step": step,
        },
        packed={"width": width, "blocks": blocks, "size": prod(taps) * width},
    )
    packed = untouched(count * blocks * width * prod(taps) + 1, dtype)
    start = untouched(count * blocks * width + 1, dtype)
    pack.filters(dtype)(1, stored, bias, packed, start, record)

    filled = np.zeros((count, blocks * width, *taps), dtype)
    filled[:, :filters] = weight.reshape(count, filters, *taps)
    expected = np.moveaxis(filled.reshape(count, blocks, width, *taps), 2, -1)
    assert_array_equal(packed, np.append(expected, UNTOUCHED))
    filled = np.zeros((count, blocks * width), dtype)
    filled[:, :filters] = bias.reshape(count, filters)
    assert_array_equal(start, np.append(filled, UNTOUCHED))


# --- Bands ----------------------------------------------------------------------------------------

LAYOUTS = {"NHWC": (0, 1, 2), "NCHW": (2, 0, 1)}
images = st.fixed_dictionaries(
    {
        "size": st.tuples(st.integers(9, 11), st.sampled_from((9, 12, 41))),
        "channels": st.integers(1, 3),
        "pads": st.tuples(*[st.tuples(*[st.integers(-2, 4)] * 2)] * 2),
        "edge": st.booleans(),
        "layout": st.sampled_from(tuple(LAYOUTS)),
        "spare": st.integers(0, 1),
    }
)


class Image:
    """The second sample of a batch, as kernels are told of it, and ``padded``, as NumPy has it.

    The border shows zeros or repeats the ``edge``, and is cut off where ``pads`` are negative. The caller's
    array has ``spare`` channels that are not looked at.
    """

    def __init__(self, dtype, size, channels, pads, edge, layout, spare):
        batch = integers((2, prod(size) * (channels + spare)), dtype)
        batch.flags.writeable = False
        x = ordered(batch[1], (*size, channels + spare), LAYOUTS[layout])[..., :channels]
        maps = []
        for n, (before, after) in zip(size, pads, strict=True):
            shown = np.arange(-before, n + after)
            inside = np.clip(shown, 0, n - 1)
            maps.append(inside if edge else np.where(shown == inside, shown, -1))
        rows, columns = maps
        self.padded = np.where(np.minimum.outer(rows, columns)[..., None] < 0, 0, x[rows][:, columns])
        self.told = batch.reshape(-1), batch.shape[1], rows, columns
        *step, channel = steps(x)
        first = [before for before, _ in pads]
        self.groups = {
            "image": {"channels": channels, "sample": 0, "channel": channel, "step": step},
            "inside": {"first": first, "last": np.add(first, size)},
        }


@pytest.mark.parametrize(("dtype", "lanes"), [("float32", WIDE // 32), ("complex128", 1)])
@given(drawn=images, planes=st.booleans(), phases=st.integers(1, 3), gap=st.integers(0, 2), data=st.data())
def test_bands_hold_pixels_and_their_border(dtype, lanes, drawn, planes, phases, gap, data):
    """A part of the padded rows and columns: planes with columns by phase, or pixels; with gaps."""
    image = Image(dtype, **drawn)
    height, width, channels = image.padded.shape
    first = data.draw(st.integers(0, height - 1))
    count = data.draw(st.integers(1, height - first))
    c = np.arange(width)
    if planes:
        line = -(-width // phases) + gap
        row, column, places = phases * line, 1, c % phases * line + c // phases
        channel = count * row + gap
        size = channels * channel
    else:
        phases, column, channel = 1, channels + gap, 1
        row, places = width * column + gap, c * column
        size = count * row
    low = phases * data.draw(st.integers(0, (width - 1) // phases))
    high = data.draw(st.integers(low + 1, width))
    copied = {"row": row, "column": column, "channel": channel, "phases": phases}
    record = BAND(**image.groups, copy=copied)[0]
    memory = untouched(FIRST + size + 1, dtype)
    alone(
        f"band_{dtype}_{lanes}",
        pack.band(dtype, lanes),
        *(memory, FIRST, *image.told, places, first, count, low, high),
        *(record[name] for name in ("image", "inside", "copy")),
    )
    r, c, channels = np.ogrid[:count, low:high, :channels]
    there = FIRST + r * row + places[c] - places[low] + channels * channel
    assert_array_equal(memory[there], image.padded[first : first + count, low:high])
    # Rows of zeros are cleared with their gaps.
    assert np.isin(np.delete(memory, there), (0, UNTOUCHED)).all()
    assert_array_equal(np.delete(memory, slice(FIRST, -1)), UNTOUCHED)


# --- Patches --------------------------------------------------------------------------------------

one_or_more = [st.tuples(*[st.integers(1, most)] * 2) for most in (3, 3, 2)]
windows = st.fixed_dictionaries(dict(zip(("size", "stride", "dilation"), one_or_more, strict=True)))


class Block:
    """Some patches of an image over (patch, group, u, v, c), and what kernels are told of them."""

    def __init__(self, dtype, data, most_groups=3, layouts=tuple(LAYOUTS)):
        self.window, groups = data.draw(windows), data.draw(st.integers(1, most_groups))
        drawn, layout = data.draw(images), data.draw(st.sampled_from(layouts))
        self.image = Image(dtype, **drawn | {"channels": groups * drawn["channels"], "layout": layout})
        k, s, d = (np.array(self.window[name]) for name in ("size", "stride", "dilation"))
        self.out = (self.image.padded.shape[:2] - (k - 1) * d - 1) // s + 1
        self.first = data.draw(st.integers(0, prod(self.out) - 1))
        self.count = data.draw(st.integers(1, prod(self.out) - self.first))
        corners = np.divmod(np.arange(self.first, self.first + self.count), self.out[1])
        i, j = (corner[:, None, None] * step for corner, step in zip(corners, s, strict=True))
        u, v = np.ogrid[: k[0], : k[1]]
        seen = self.image.padded[i + u * d[0], j + v * d[1]]
        self.patches = np.moveaxis(seen.reshape(*seen.shape[:3], groups, -1), 3, 1)

    def record(self, row, group):
        groups, depth = self.patches.shape[1], self.patches.shape[-1]
        return BLOCK(
            **self.image.groups,
            output={"start": 0, "sample": 0, "filter": 0, "size": self.out, "step": 0},
            window=self.window,
            groups={"count": groups, "channels": depth, "filters": 0},
            patches={"count": 0, "line": 0, "row": row},
            data={"pixel": 0, "group": group},
        )[0]


# The order of blocks of patches, the one of the matrix of patches, and others.
orders = st.one_of(st.sampled_from([(0, 1, 2, 3, 4), (0, 1, 4, 3, 2)]), st.permutations(range(5)))


@pytest.mark.parametrize("dtype", ["float64"])
@given(order=orders, data=st.data())
def test_patches_lie_in_any_order(dtype, order, data):
    check_patches(Block(dtype, data), order)


@pytest.mark.parametrize("dtype", ["float64"])
@given(data=st.data())
def test_patches_lie_as_the_image_does(dtype, data):
    """So that a line of a patch is one copy, unless taps lie apart, channels are left out or it is cut."""
    check_patches(Block(dtype, data, most_groups=1, layouts=["NHWC"]), (0, 1, 2, 3, 4))


def check_patches(block, order):
    dtype = block.patches.dtype
    memory = untouched(FIRST + block.patches.size + 1, dtype)
    expected = memory.copy()
    ordered(expected[FIRST:-1], block.patches.shape, order)[...] = block.patches
    pixel, group, row, column, channel = steps(ordered(memory[FIRST:-1], block.patches.shape, order))
    alone(
        f"patches_{dtype}",
        pack.patches,
        *(memory, FIRST, *block.image.told, block.first, block.count, pixel, row, column, channel),
        block.record(0, group),
    )
    assert_array_equal(memory, expected)


@pytest.mark.parametrize(("dtype", "lanes"), [("complex64", 2)])
@given(gap=st.integers(0, 2), data=st.data())
def test_patches_lie_in_lines(dtype, lanes, gap, data):
    """A line an element of all patches, in the order of packed weights."""
    block = Block(dtype, data)
    lines = np.moveaxis(block.patches, 0, -1)
    row = block.count + gap
    memory = untouched(FIRST + lines.size // block.count * row + 1, dtype)
    expected = memory.copy()
    expected[FIRST:-1].reshape(*lines.shape[:-1], row)[..., : block.count] = lines
    alone(
        f"patch_lines_{dtype}_{lanes}",
        pack.patch_lines(dtype, lanes),
        *(memory, FIRST, *block.image.told, block.first, block.count),
        block.record(row, prod(lines.shape[1:-1]) * row),
    )
    assert_array_equal(memory, expected)

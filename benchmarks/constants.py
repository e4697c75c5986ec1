"""Measure the constants of `triconv.schedules.cost` on this machine, in one thread, beside what they are.

    python benchmarks/constants.py

Cycles are counted by a chain of integer products, of which one takes 3 on every present x86 and ARM core.
Each figure is the median of several runs.
"""

import datetime
import time

import numba
import numpy as np

import triconv
from triconv.core import checked
from triconv.core.keywords import Keywords
from triconv.kernels import pack
from triconv.kernels.simd import Tile
from triconv.kernels.tiles import columns_tile
from triconv.methods import direct, im2col
from triconv.runtime.arrays import aligned
from triconv.runtime.machine import machine
from triconv.schedules import cost
from triconv.schedules.tiling import lanes

RUNS = 15
SECONDS = 0.02  # of a run, about
TAPS = 27  # of a 3x3 kernel on 3 channels
FLOAT = np.dtype(np.float32)


@numba.njit
def chain(count, value):
    for _ in range(count):
        value = value * value
    return value


def seconds(call, *arguments):
    """A call's time: the median over runs of as many calls as fill some time."""
    call(1, *arguments)
    count, taken = 1, 0.0
    while taken < SECONDS:
        start = time.perf_counter()
        call(count, *arguments)
        taken = time.perf_counter() - start
        count *= 2
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call(count, *arguments)
        times.append((time.perf_counter() - start) / count)
    return float(np.median(times))


def clock():
    return 3 / seconds(chain, 3)


def address(array, index=0):
    return array.ctypes.data + index * array.itemsize


def tile_cycles(rows, vectors, steps, shift=0, apart=1):
    """Cycles of a tile of filters x pixels; its pixels lie ``shift`` past a line, its results apart."""
    tile = Tile(FLOAT.name, lanes(FLOAT, machine()), rows, vectors, machine().fma)
    micro = columns_tile(tile)

    @numba.njit
    def call(count, data, taps, weight, bias, out, n_taps, rows, width, row_step, step):
        for _ in range(count):
            micro(data, taps, n_taps, weight, bias, out, rows, width, row_step, step)

    data, weight, out = (aligned(1 << 16, FLOAT) for _ in range(3))
    for array in (data, weight, out):
        array[:] = 0
    taps = np.zeros(max(1, steps), np.int64)
    places = address(data, shift), address(taps), address(weight), address(weight), address(out)
    extent = rows, tile.width, tile.width * apart, apart
    return seconds(call, *places, steps, *extent) * CLOCK


def per_step(rows, vectors, shift=0):
    few, many = 64, 320
    return (tile_cycles(rows, vectors, many, shift) - tile_cycles(rows, vectors, few, shift)) / (many - few)


def problem(shape, weight_shape, dtype=FLOAT, **keywords):
    return checked.convolution("constants", shape, weight_shape, None, np.dtype(dtype), Keywords(**keywords))


def band_byte(shape, weight_shape, **keywords):
    """Cycles a byte of the band of a task."""
    task = problem(shape, weight_shape, **keywords)
    schedule = direct.schedule(task, machine())
    rows, columns, places, _, _, record = direct.told(task, schedule)
    band = pack.band(FLOAT.name, schedule.tile.lanes)
    height = (schedule.rows - 1) * task.axes[0].stride + task.axes[0].reach
    width = task.axes[1].padded

    @numba.njit
    def call(count, data, x, rows, columns, places, record, height, width):
        p = record[0]
        for _ in range(count):
            band(data, 0, x, 0, rows, columns, places, 0, height, 0, width, p.image, p.inside, p.copy)

    data, x = np.zeros(schedule.elements, FLOAT), np.zeros(shape, FLOAT).reshape(-1)
    taken = seconds(call, data, x, rows, columns, places, record, height, width)
    return taken * CLOCK / (height * width * task.geometry.in_channels * FLOAT.itemsize)


def patch_element(shape, weight_shape, **keywords):
    """Cycles an element of the block of patches of a task, a patch a row."""
    task = problem(shape, weight_shape, **keywords)
    schedule = im2col.schedule(task, machine())
    assert schedule.orientation.over_filters
    rows, columns, _, record = im2col.told(task, schedule)
    patches, count = pack.patches, schedule.pixels

    @numba.njit
    def call(times, data, x, rows, columns, record):
        p = record[0]
        tap, line = p.groups.channels, p.window.size[1] * p.groups.channels
        for _ in range(times):
            patches(data, 0, x, 0, rows, columns, 0, count, p.patches.row, line, tap, 1, p)

    data, x = np.zeros(schedule.elements, FLOAT), np.zeros(shape, FLOAT).reshape(-1)
    return seconds(call, data, x, rows, columns, record) * CLOCK / (count * task.geometry.patch_size)


def matrix_entry(dtype):
    """Cycles an entry of W, by a product with one sample, and by its assembly."""
    shape, weight = (48, 48, 8), np.ones((8, 3, 3, 8), dtype)
    plan = triconv.plan(weight, shape, padding=1, method="matrix")
    x, y = np.zeros(shape, dtype), np.zeros((48, 48, 8), dtype)
    entries = plan._prepared.schedule.entries

    def multiply(count):
        for _ in range(count):
            plan(x, out=y)

    def assemble(count):
        for _ in range(count):
            triconv.conv_matrix(weight, shape, padding=1)

    return seconds(multiply) * CLOCK / entries, seconds(assemble) * CLOCK / entries


def measured():
    """A row a constant: its name, what the model has, what it is here, and of which problem."""
    few, many = tile_cycles(1, 1, 0), tile_cycles(6, 4, 0)
    store = (many - few) / (6 * 4 - 1)
    around = tile_cycles(6, 4, TAPS) - TAPS * per_step(6, 4)
    apart = tile_cycles(6, 4, 0, apart=16)
    width = lanes(FLOAT, machine())
    yield "MULTIPLIED", cost.MULTIPLIED, 24 / per_step(6, 4), "a tile of 6 x 4 vectors, a step"
    yield "READ", cost.READ, 17 / per_step(1, 8, shift=1), "a tile of 1 x 8 vectors across lines, a step"
    yield "LATENCY", cost.LATENCY, per_step(1, 1), "a tile of one vector, a step"
    yield "STORE", cost.STORE, store, "a vector: a tile of 6 x 4 without steps, less one of 1 x 1"
    both = f"{cost.START} + 24 * {cost.STORE}"
    yield "START", both, around, f"with its stores: a tile of 6 x 4 of {TAPS} steps, less these"
    yield "SCATTER", cost.SCATTER, (apart - few + store) / (24 * width), "a tile of 6 x 4, results apart"
    yield "BAND_BYTE", cost.BAND_BYTE, band_byte((56, 56, 64), (64, 3, 3, 64), padding=1), "3x3, 64 channels"
    yield "", "", band_byte((224, 224, 3), (2, 3, 3, 3), stride=2, padding=1), "3x3, planes of stride 2"
    yield "PATCH_ELEMENT", cost.PATCH_ELEMENT, patch_element((112, 112, 3), (64, 1, 1, 3)), "1x1, 3 channels"
    yield "", "", patch_element((56, 56, 64), (64, 3, 3, 64), padding=1), "3x3, 64 channels"
    (single, assembly), (double, _) = matrix_entry("float32"), matrix_entry("float64")
    a_byte = (double - single) / 4
    yield "MATRIX_BYTE", cost.MATRIX_BYTE, a_byte, "float64 less float32, 3x3, 8 channels"
    yield "MATRIX_PRODUCT", cost.MATRIX_PRODUCT, single - 8 * a_byte, "float32, less its 8 bytes"
    yield "MATRIX_ENTRY", cost.MATRIX_ENTRY, assembly, "float32, assembly"


if __name__ == "__main__":
    with triconv.threads(1):
        CLOCK = clock()
        bits, today = machine().vector_bits, datetime.date.today()
        print(f"{machine().cpu_name}, {CLOCK / 1e9:.2f} GHz, vectors of {bits} bits, {today}\n")
        print("| constant | model | measured | on |\n| :-- | --: | --: | :-- |")
        for name, model, value, on in measured():
            print(f"| {name and f'`{name}`'} | {model} | {value:.3g} | {on} |", flush=True)

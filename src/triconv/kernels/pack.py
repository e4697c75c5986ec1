"""Copies of the input in the order in which a microkernel reads it, padding included.

Padding is an index map: ``rows[r]`` and ``columns[c]`` say which input row and column a padded position
shows, -1 being a zero. All four padding modes are such maps, so no kernel knows them. The padded columns
from ``inside.first`` to ``inside.last`` show the input's own in order, and are copied as they lie.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from triconv.kernels.addresses import address, clear, copy, strided_copy
from triconv.kernels.records import GROUPS, PACKED, WEIGHT, WINDOW, Record
from triconv.kernels.tasks import take
from triconv.runtime.jit import Kernel, inline, reads, writes

FILTERS = Record(WINDOW, GROUPS, WEIGHT, PACKED)
STRIP = 16  # channels of one tap that are turned at a time: two strips fit the first-level cache


@functools.cache
def band(dtype: str, lanes: int) -> Any:
    """The copy of a band of rows, for one dtype and vectors of so many lanes."""
    strided = strided_copy(dtype, lanes)
    size = np.dtype(dtype).itemsize

    @inline
    def band(data, start, x, sample, rows, columns, places, first, count, low, high, image, inside, copied):
        """Copy ``count`` padded rows from ``first`` on, and of them the columns from ``low`` to ``high``.

        Column ``c`` goes as far behind column ``low`` as ``places`` says.
        """
        lines = high - low
        left = max(low, inside.first[1])
        right = max(left, min(high, inside.last[1]))
        # Read once: a store might change the record, as far as the compiler knows.
        channels, phases = image.channels, copied.phases
        x_column, x_channel = image.step[1], image.channel
        data_row, data_column, data_channel = copied.row, copied.column, copied.channel
        last = data_channel == 1
        for r in range(count):
            row = rows[first + r]
            to = start + r * data_row - places[low]
            if row < 0:
                if last:
                    clear(address(data, to + places[low]), lines * data_column * size)
                else:
                    for c in range(channels):
                        clear(address(data, to + places[low] + c * data_channel), data_row * size)
                continue
            source = sample + row * image.step[0] + (left - inside.first[1]) * x_column
            if right > left:
                if last and x_channel == 1 and x_column == channels == data_column:
                    length = (right - left) * channels
                    copy(address(data, to + places[left]), address(x, source), length * size)
                elif data_column == 1 and not (last and channels > 1):
                    for c in range(channels):
                        for phase in range(min(phases, right - left)):
                            strided(
                                address(data, to + c * data_channel + places[left + phase]),
                                address(x, source + c * x_channel + phase * x_column),
                                (right - left - phase + phases - 1) // phases,
                                phases * x_column,
                            )
                elif last and x_channel == 1:
                    for n in range(right - left):
                        target = address(data, to + places[left] + n * data_column)
                        copy(target, address(x, source + n * x_column), channels * size)
                else:
                    for c in range(channels):
                        target = to + places[left] + c * data_channel
                        there = source + c * x_channel
                        for n in range(right - left):
                            data[target + n * data_column] = x[there + n * x_column]
            source = sample + row * image.step[0]
            for n in range(low, high - (right - left)):
                line = n if n < left else n + right - left
                column = columns[line]
                target = to + places[line]
                if last and column < 0:
                    clear(address(data, target), channels * size)
                elif last and x_channel == 1:
                    copy(address(data, target), address(x, source + column * x_column), channels * size)
                else:
                    for c in range(channels):
                        there = source + column * x_column + c * x_channel
                        data[target + c * data_channel] = x[there] if column >= 0 else 0

    return band


@inline
def patches(data, start, x, sample, rows, columns, first, count, pixel, row, column, channel, p):
    """Copy ``count`` patches from pixel ``first`` on, one after the other.

    ``pixel``, ``row``, ``column`` and ``channel`` are the strides of ``data``; groups follow each other
    every ``data.group``.
    """
    size = data.itemsize
    # Read once: a store might change the record, as far as the compiler knows.
    groups, depth, channels = p.groups.count, p.groups.channels, p.image.channels
    x_row, x_column, x_channel = p.image.step[0], p.image.step[1], p.image.channel
    data_group, width = p.data.group, p.output.size[1]
    k_h, k_w, s_h, s_w = p.window.size[0], p.window.size[1], p.window.stride[0], p.window.stride[1]
    d_h, d_w = p.window.dilation[0], p.window.dilation[1]
    inside, past = p.inside.first[1], p.inside.last[1]
    # A line of a patch that lies in both arrays as it is read.
    straight = groups == 1 and channel == 1 and x_channel == 1 and d_w == 1
    straight = straight and x_column == channels and column == channels
    i, j = divmod(first, width)
    for t in range(count):
        left = j * s_w
        whole = straight and left >= inside and left + k_w <= past
        for u in range(k_h):
            r = rows[i * s_h + u * d_h]
            to = start + t * pixel + u * row
            if whole and r >= 0:
                source = sample + r * x_row + (left - inside) * x_column
                copy(address(data, to), address(x, source), k_w * channels * size)
                continue
            for v in range(k_w):
                s = columns[left + v * d_w]
                source = sample + r * x_row + s * x_column
                for g in range(groups):
                    for c in range(depth):
                        shown = r >= 0 and s >= 0
                        data[to + g * data_group + c * channel] = x[source + c * x_channel] if shown else 0
                    source += depth * x_channel
                to += column
        j += 1
        if j == width:
            i, j = i + 1, 0


@functools.cache
def patch_lines(dtype: str, lanes: int) -> Any:
    """The copy of patches into lines, for one dtype and vectors of so many lanes."""
    strided = strided_copy(dtype, lanes)
    size = np.dtype(dtype).itemsize

    @inline
    def patch_lines(data, start, x, sample, rows, columns, first, count, p):
        """Copy ``count`` patches from pixel ``first`` on, one line of ``patches.row`` pixels an element."""
        stride, x_column = p.window.stride[1], p.image.step[1]
        for each in range(p.image.channels * p.window.size[0] * p.window.size[1]):
            rest, v = divmod(each, p.window.size[1])
            channel, u = divmod(rest, p.window.size[0])
            g, c = divmod(channel, p.groups.channels)
            element = (u * p.window.size[1] + v) * p.groups.channels + c
            line = start + g * p.data.group + element * p.patches.row
            i, j = divmod(first, p.output.size[1])
            t = 0
            while t < count:
                n = min(count - t, p.output.size[1] - j)
                r = rows[i * p.window.stride[0] + u * p.window.dilation[0]]
                if r < 0:
                    clear(address(data, line + t), n * size)
                else:
                    source = sample + r * p.image.step[0] + channel * p.image.channel
                    place = j * stride + v * p.window.dilation[1]
                    low = min(n, max(0, (p.inside.first[1] - place + stride - 1) // stride))
                    high = max(low, min(n, (p.inside.last[1] - place + stride - 1) // stride))
                    strided(
                        address(data, line + t + low),
                        address(x, source + (place + low * stride - p.inside.first[1]) * x_column),
                        high - low,
                        stride * x_column,
                    )
                    for m in range(n - (high - low)):
                        at = m if m < low else m + high - low
                        s = columns[place + at * stride]
                        data[line + t + at] = x[source + s * x_column] if s >= 0 else 0
                t += n
                i, j = i + 1, 0

    return patch_lines


@functools.cache
def filters(dtype: str) -> Kernel:
    """Weights as ``[group][block][u, v, c][width]``, filters that only fill a block up being zeros."""
    size = np.dtype(dtype).itemsize

    def filters(worker, weight, bias, packed, start, record, counters, workers):
        p = record[0]
        blocks, width, size_of_block = p.groups.count * p.packed.blocks, p.packed.width, p.packed.size
        deep, of_group, blocks_of_group = p.groups.channels, p.groups.filters, p.packed.blocks
        w_filters, w_gap, w_filter, w_channel = (
            p.weight.filters, p.weight.gap, p.weight.filter, p.weight.channel
        )  # fmt: skip
        w_start, w_row, w_column = p.weight.start, p.weight.step[0], p.weight.step[1]
        block = take(counters, worker, workers, blocks)
        while block < blocks:
            group, part = divmod(block, blocks_of_group)
            first = group * of_group + part * width
            count = min(width, of_group - part * width)
            # Filters that lie side by side, as those of a transposed convolution do, and in one group.
            straight = w_filter == 1 and of_group == w_filters
            for lane in range(width):
                start[block * width + lane] = bias[first + lane] if lane < count else 0
            to = block * size_of_block
            for u in range(p.window.size[0]):
                for v in range(p.window.size[1]):
                    tap = w_start + u * w_row + v * w_column
                    if straight:
                        tap += first + first // w_filters * w_gap
                        for c in range(deep):
                            copy(address(packed, to), address(weight, tap + c * w_channel), count * size)
                            for lane in range(count, width):
                                packed[to + lane] = 0
                            to += width
                        continue
                    for strip in range(0, deep, STRIP):
                        depth = min(STRIP, deep - strip)
                        for lane in range(width):
                            source = tap + (first + lane) * w_filter
                            if w_gap:
                                source += (first + lane) // w_filters * w_gap
                            for c in range(depth):
                                at = source + (strip + c) * w_channel
                                packed[to + c * width + lane] = weight[at] if lane < count else 0
                        to += depth * width
            block = take(counters, worker, workers, blocks)

    kind = np.dtype(dtype)
    return Kernel(
        f"filters_{dtype}", filters, reads(kind), reads(kind), writes(kind), writes(kind), FILTERS.type
    )

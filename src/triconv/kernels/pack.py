"""Copies of the input in the order in which a microkernel reads it, padding included.

Padding is an index map: ``rows[r]`` and ``columns[c]`` say which input row and column a padded position
shows, -1 being a zero. All four padding modes are such maps, so no kernel knows them. The padded columns
from ``inside_first`` to ``inside_last`` show the input's own in order, and are copied as they lie.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from triconv.kernels import loops
from triconv.kernels.addresses import address, clear, copy, strided_copy
from triconv.kernels.tasks import take
from triconv.runtime.jit import Kernel, inline, reads, writes

STRIP = 16  # channels of one tap that are turned at a time: two strips fit the first-level cache


@functools.cache
def band(dtype: str, lanes: int) -> Any:
    """The copy of a band of rows, for one dtype and vectors of so many lanes."""
    strided = strided_copy(dtype, lanes)
    size = np.dtype(dtype).itemsize

    @inline
    def band(data, start, x, sample, rows, columns, places, first, count, low, high, p):
        """Copy ``count`` padded rows from ``first`` on, and of them the columns from ``low`` to ``high``.

        Column ``c`` goes as far behind column ``low`` as ``places`` says.
        """
        lines = high - low
        left = max(low, p.inside_first)
        right = max(left, min(high, p.inside_last))
        # Read once: a store might change the record, as far as the compiler knows.
        channels, phases = p.channels, p.phases
        x_column, x_channel, data_column, data_channel = (
            p.x_column,
            p.x_channel,
            p.data_column,
            p.data_channel,
        )
        last = data_channel == 1
        for r in range(count):
            row = rows[first + r]
            to = start + r * p.data_row - places[low]
            if row < 0:
                if last:
                    clear(address(data, to + places[low]), lines * data_column * size)
                else:
                    for c in range(channels):
                        clear(address(data, to + places[low] + c * data_channel), p.data_row * size)
                continue
            source = sample + row * p.x_row + (left - p.inside_first) * x_column
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
            source = sample + row * p.x_row
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
    every ``data_group``.
    """
    size = data.itemsize
    groups, depth, x_channel, data_group = p.groups, p.group_channels, p.x_channel, p.data_group
    # A line of a patch that lies in both arrays as it is read.
    straight = groups == 1 and channel == 1 and x_channel == 1 and p.dilation_width == 1
    straight = straight and p.x_column == p.channels and column == p.channels
    i, j = divmod(first, p.out_width)
    for t in range(count):
        left = j * p.stride_width
        whole = straight and left >= p.inside_first and left + p.kernel_width <= p.inside_last
        for u in range(p.kernel_height):
            r = rows[i * p.stride_height + u * p.dilation_height]
            to = start + t * pixel + u * row
            if whole and r >= 0:
                source = sample + r * p.x_row + (left - p.inside_first) * p.x_column
                copy(address(data, to), address(x, source), p.kernel_width * p.channels * size)
                continue
            for v in range(p.kernel_width):
                s = columns[left + v * p.dilation_width]
                source = sample + r * p.x_row + s * p.x_column
                for g in range(groups):
                    for c in range(depth):
                        shown = r >= 0 and s >= 0
                        data[to + g * data_group + c * channel] = x[source + c * x_channel] if shown else 0
                    source += depth * x_channel
                to += column
        j += 1
        if j == p.out_width:
            i, j = i + 1, 0


@functools.cache
def patch_lines(dtype: str, lanes: int) -> Any:
    """The copy of patches into lines, for one dtype and vectors of so many lanes."""
    strided = strided_copy(dtype, lanes)
    size = np.dtype(dtype).itemsize

    @inline
    def patch_lines(data, start, x, sample, rows, columns, first, count, p):
        """Copy ``count`` patches from pixel ``first`` on, one line of ``data_row`` pixels an element."""
        stride, x_column = p.stride_width, p.x_column
        for each in range(p.channels * p.kernel_height * p.kernel_width):
            rest, v = divmod(each, p.kernel_width)
            channel, u = divmod(rest, p.kernel_height)
            g, c = divmod(channel, p.group_channels)
            line = start + g * p.data_group + ((u * p.kernel_width + v) * p.group_channels + c) * p.data_row
            i, j = divmod(first, p.out_width)
            t = 0
            while t < count:
                n = min(count - t, p.out_width - j)
                r = rows[i * p.stride_height + u * p.dilation_height]
                if r < 0:
                    clear(address(data, line + t), n * size)
                else:
                    source = sample + r * p.x_row + channel * p.x_channel
                    place = j * stride + v * p.dilation_width
                    low = min(n, max(0, (p.inside_first - place + stride - 1) // stride))
                    high = max(low, min(n, (p.inside_last - place + stride - 1) // stride))
                    strided(
                        address(data, line + t + low),
                        address(x, source + (place + low * stride - p.inside_first) * x_column),
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

    def filters(worker, weight, bias, packed, start, loops, counters, workers):
        p = loops[0]
        blocks = p.groups * p.group_blocks
        block = take(counters, worker, workers, blocks)
        while block < blocks:
            group, part = divmod(block, p.group_blocks)
            first = group * p.group_filters + part * p.width
            count = min(p.width, p.group_filters - part * p.width)
            # Filters that lie side by side, as those of a transposed convolution do, and in one group.
            straight = p.w_filter == 1 and p.group_filters == p.w_filters
            for lane in range(p.width):
                start[block * p.width + lane] = bias[first + lane] if lane < count else 0
            to = block * p.block_size
            for u in range(p.kernel_height):
                for v in range(p.kernel_width):
                    tap = p.w_start + u * p.w_row + v * p.w_column
                    if straight:
                        tap += first + first // p.w_filters * p.w_group
                        for c in range(p.group_channels):
                            copy(address(packed, to), address(weight, tap + c * p.w_channel), count * size)
                            for lane in range(count, p.width):
                                packed[to + lane] = 0
                            to += p.width
                        continue
                    for strip in range(0, p.group_channels, STRIP):
                        depth = min(STRIP, p.group_channels - strip)
                        for lane in range(p.width):
                            source = tap + (first + lane) * p.w_filter
                            if p.w_group:
                                source += (first + lane) // p.w_filters * p.w_group
                            for c in range(depth):
                                at = source + (strip + c) * p.w_channel
                                packed[to + c * p.width + lane] = weight[at] if lane < count else 0
                        to += depth * p.width
            block = take(counters, worker, workers, blocks)

    kind = np.dtype(dtype)
    return Kernel(
        f"filters_{dtype}", filters, reads(kind), reads(kind), writes(kind), writes(kind), loops.TYPE
    )

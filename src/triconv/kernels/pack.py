"""Copies of the input in the order in which a microkernel reads it, padding included, and packed weights.

Padding is an index map: ``rows[r]`` and ``columns[c]`` say which input row and column a padded position
shows, -1 being a zero. All four padding modes are such maps, so no kernel knows them. The padded columns
from ``inside.first`` to ``inside.last`` show the input's own in order, and are copied as they lie::

    image                  0 1 2 3
    padded position    0 1 2 3 4 5 6          padding of 2 and 1
    columns, zeros    -1-1 0 1 2 3-1          inside.first = 2, inside.last = 6
             reflect   2 1 0 1 2 3 2

Below, ``x[r, c, C]`` is the number that the image has there, and 0 where ``r`` or ``c`` is -1.
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
# Channels of one tap that are transposed at a time. What is written of such a strip, and what is read of it
# where channels lie side by side, fit the first-level cache together.
STRIP = 16


@functools.cache
def band(dtype: str, lanes: int) -> Any:
    """The copy of a band of rows, for one dtype and vectors of so many lanes.

    For r < ``count``, padded columns n from ``low`` to ``high`` and channels C::

        data[start + r * row + places[n] - places[low] + C * channel] = x[rows[first + r], columns[n], C]

    ``row``, ``column``, ``channel`` and ``phases`` are those of ``copied``; ``places`` follows from the last
    three. A band of 2 channels, with a border of one column::

        channels side by side                    planes, stride 2: phases = 2
        column = 2, channel = 1                  column = 1, channel = count * row

        n          0   1   2   3                 n             0  2  4  6 | 1  3  5
        row 0      0 0 a b a b a b ...           C = 0, row 0  0  a  a  0 | a  a  a
        row 1      0 0 a b a b a b ...                  row 1  0  a  a  0 | a  a  a
        places     0   2   4   6                 C = 1, row 0  0  b  b  0 | b  b  b
                                                 places[n] = n % 2 * row / 2 + n // 2

    Algorithm, for each padded row:

    1. If it shows no row of the image, clear it.
    2. Find the columns from ``left`` to ``right``, those from ``low`` to ``high`` that lie inside; copy them

       - in one piece, where pixels with all their channels follow each other in the image and in the band;
       - phase by phase of each channel, where numbers of a phase follow each other in the band;
       - pixel by pixel, where the channels of one do in both;
       - number by number otherwise.
    3. Copy the columns before ``left`` and from ``right`` on one by one, through ``columns``.
    """
    strided = strided_copy(dtype, lanes)
    size = np.dtype(dtype).itemsize

    @inline
    def band(data, start, x, sample, rows, columns, places, first, count, low, high, image, inside, copied):
        """Copy ``count`` padded rows from ``first`` on, and of them the columns from ``low`` to ``high``.

        Column ``c`` goes as far behind column ``low`` as ``places`` says. In elements, ``sample`` is where
        the image's sample starts in ``x``, ``start`` where the copy starts in ``data``.
        """
        width = high - low
        left = max(low, inside.first[1])
        right = max(left, min(high, inside.last[1]))
        # Read once: as far as the compiler knows, a store may change the record.
        channels, phases = image.channels, copied.phases
        x_column, x_channel = image.step[1], image.channel
        data_row, data_column, data_channel = copied.row, copied.column, copied.channel
        side_by_side = data_channel == 1
        for r in range(count):
            row = rows[first + r]
            to = start + r * data_row - places[low]
            if row < 0:
                if side_by_side:
                    clear(address(data, to + places[low]), width * data_column * size)
                else:
                    for c in range(channels):
                        clear(address(data, to + places[low] + c * data_channel), data_row * size)
                continue
            source = sample + row * image.step[0] + (left - inside.first[1]) * x_column
            if right > left:
                if side_by_side and x_channel == 1 and x_column == channels == data_column:
                    length = (right - left) * channels
                    copy(address(data, to + places[left]), address(x, source), length * size)
                elif data_column == 1 and not (side_by_side and channels > 1):
                    for c in range(channels):
                        for phase in range(min(phases, right - left)):
                            strided(
                                address(data, to + c * data_channel + places[left + phase]),
                                address(x, source + c * x_channel + phase * x_column),
                                (right - left - phase + phases - 1) // phases,
                                phases * x_column,
                            )
                elif side_by_side and x_channel == 1:
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
                at = n if n < left else n + right - left
                column = columns[at]
                target = to + places[at]
                if side_by_side and column < 0:
                    clear(address(data, target), channels * size)
                elif side_by_side and x_channel == 1:
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
    every ``data.group``. For t < ``count``, with ``i, j = divmod(first + t, width)``::

        data[start + t * pixel + u * row + v * column + g * data_group + c * channel]
            = x[rows[i * s_h + u * d_h], columns[j * s_w + v * d_w], g * depth + c]

    The strides make the order. The im2col form wants channels fastest, a group after the other; the patch
    matrix wants ``x_ij``; the gradient of the weights wants the order of the weights themselves::

        im2col      u0v0c0 u0v0c1 u0v1c0 u0v1c1 u1v0c0 ...      channel = 1, column = depth, row = k_w * depth
        x_ij        u0v0c0 u1v0c0 u0v1c0 u1v1c0 u0v0c1 ...      row = 1, column = k_h, channel = k_h * k_w

    A row of a patch that lies inside is copied in one piece, where it lies in both arrays as it is read;
    others go number by number, through ``columns``.
    """
    size = data.itemsize
    # Read once: as far as the compiler knows, a store may change the record.
    groups, depth, channels = p.groups.count, p.groups.channels, p.image.channels
    x_row, x_column, x_channel = p.image.step[0], p.image.step[1], p.image.channel
    data_group, width = p.data.group, p.output.size[1]
    k_h, k_w, s_h, s_w = p.window.size[0], p.window.size[1], p.window.stride[0], p.window.stride[1]
    d_h, d_w = p.window.dilation[0], p.window.dilation[1]
    inside, past = p.inside.first[1], p.inside.last[1]
    # Whether a row of a patch, k_w pixels with their channels, follows itself in both arrays.
    is_run = groups == 1 and channel == 1 and x_channel == 1 and d_w == 1
    is_run = is_run and x_column == channels and column == channels
    i, j = divmod(first, width)
    for t in range(count):
        left = j * s_w
        whole = is_run and left >= inside and left + k_w <= past
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
    """The copy of patches into lines, for one dtype and vectors of so many lanes.

    A line holds one element of all patches, so that vectors over pixels lie in it. For t < ``count``, with
    ``i, j = divmod(first + t, width)`` of an output ``width`` pixels wide::

        data[start + g * data.group + ((u * k_w + v) * depth + c) * patches.row + t]
            = x[rows[i * s_h + u * d_h], columns[j * s_w + v * d_w], g * depth + c]

        u0v0c0    pixel 0, 1, 2, ...    count pixels, then up to patches.row
        u0v0c1    pixel 0, 1, 2, ...
        u0v1c0    ...

    Algorithm, for each line:

    1. Take the pixels that are left of one row of the output: ``n`` of them, from column ``j`` on.
    2. If the row that they read shows none of the image, clear them.
    3. Pixel m of them reads padded column ``place + m * stride``. Those from ``low`` to ``high`` read inside,
       and are one strided copy.
    4. Copy the others one by one, through ``columns``.
    5. Go on with the next row of the output, until ``count`` pixels are copied.
    """
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
    """Weights as ``[group][block][u, v, c][width]``, filters that only fill a block up being zeros.

    A lane of block ``part`` of a group holds filter ``m = group * groups.filters + part * width + lane``::

        packed[block * size + ((u * k_w + v) * deep + c) * width + lane] = weight[m][u, v, c]
        start[block * width + lane] = bias[m]

        block = group * blocks + part              0 where part * width + lane is not under groups.filters

        5 filters, width 4       block 0   u0v0c0   m0 m1 m2 m3        start   b0 b1 b2 b3
                                           u0v0c1   m0 m1 m2 m3
                                           ...
                                 block 1   u0v0c0   m4  0  0  0                b4  0  0  0

    and ``weight[m][u, v, c]`` stands in the weights as they come at::

        w_start + u * w_row + v * w_column + m * w_filter + m // w_filters * w_gap + c * w_channel

    Where filters lie side by side, those of a block are copied in one piece for each ``u, v, c``. Otherwise a
    tap of all filters of the block is transposed, `STRIP` channels at a time. A task is a block.
    """
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
            # Filters lie side by side, as those of a transposed convolution do, and a block in one group.
            are_adjacent = w_filter == 1 and of_group == w_filters
            for lane in range(width):
                start[block * width + lane] = bias[first + lane] if lane < count else 0
            to = block * size_of_block
            for u in range(p.window.size[0]):
                for v in range(p.window.size[1]):
                    tap = w_start + u * w_row + v * w_column
                    if are_adjacent:
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

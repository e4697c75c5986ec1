"""Copies of the input in the order in which a microkernel reads it, padding included.

Padding is an index map: ``rows[r]`` and ``columns[c]`` say which input row and column a padded position
shows, -1 being a zero. All four padding modes are such maps, so no kernel knows them.
"""

from __future__ import annotations

from triconv.runtime.jit import inline


@inline
def band(data, start, x, sample, rows, columns, places, first, count, p):  # type: ignore[no-untyped-def]
    """Copy ``count`` padded rows from ``first`` on; padded column ``c`` goes to ``places[c]`` of its row."""
    lines = columns.shape[0]
    straight = p.x_channel == 1 and p.data_channel == 1 and p.x_column == p.channels
    planes = p.x_column == 1 and p.data_column == 1
    for r in range(count):
        row = rows[first + r]
        to = start + r * p.data_row
        left, right = p.inside_first, p.inside_last
        if row < 0:
            left, right = 0, 0
        elif straight:
            source, target = sample + row * p.x_row, to + places[left]
            for n in range((right - left) * p.channels):
                data[target + n] = x[source + n]
        elif planes:
            for c in range(p.channels):
                source = sample + row * p.x_row + c * p.x_channel
                target = to + c * p.data_channel + left
                for n in range(right - left):
                    data[target + n] = x[source + n]
        else:
            left, right = 0, 0
        for n in range(lines - (right - left)):
            line = n if n < left else n + right - left
            column = columns[line]
            target = to + places[line]
            if row < 0 or column < 0:
                for c in range(p.channels):
                    data[target + c * p.data_channel] = 0
            else:
                source = sample + row * p.x_row + column * p.x_column
                for c in range(p.channels):
                    data[target + c * p.data_channel] = x[source + c * p.x_channel]


@inline
def patches(data, start, x, sample, rows, columns, first, count, pixel, row, column, channel, p):  # type: ignore[no-untyped-def]
    """Copy ``count`` patches from pixel ``first`` on, element by element in the order of the output's strides.

    ``pixel``, ``row``, ``column`` and ``channel`` are the strides of ``data``; groups follow each other
    every ``data_group``.
    """
    for t in range(count):
        i, j = divmod(first + t, p.out_width)
        for u in range(p.kernel_height):
            r = rows[i * p.stride_height + u * p.dilation_height]
            for v in range(p.kernel_width):
                s = columns[j * p.stride_width + v * p.dilation_width]
                to = start + t * pixel + u * row + v * column
                if r < 0 or s < 0:
                    for g in range(p.groups):
                        for c in range(p.group_channels):
                            data[to + g * p.data_group + c * channel] = 0
                else:
                    source = sample + r * p.x_row + s * p.x_column
                    for g in range(p.groups):
                        for c in range(p.group_channels):
                            data[to + g * p.data_group + c * channel] = x[source + c * p.x_channel]
                        source += p.group_channels * p.x_channel


@inline
def patch_lines(data, start, x, sample, rows, columns, first, count, p):  # type: ignore[no-untyped-def]
    """Copy ``count`` patches from pixel ``first`` on, one line of ``data_row`` pixels an element."""
    line = start
    for channel in range(p.channels):
        g, c = divmod(channel, p.group_channels)
        for u in range(p.kernel_height):
            for v in range(p.kernel_width):
                line = start + g * p.data_group + ((u * p.kernel_width + v) * p.group_channels + c) * p.data_row
                i, j = divmod(first, p.out_width)
                t = 0
                while t < count:
                    n = min(count - t, p.out_width - j)
                    r = rows[i * p.stride_height + u * p.dilation_height]
                    if r < 0:
                        for m in range(n):
                            data[line + t + m] = 0
                    else:
                        source = sample + r * p.x_row + channel * p.x_channel
                        place = j * p.stride_width + v * p.dilation_width
                        for m in range(n):
                            s = columns[place + m * p.stride_width]
                            data[line + t + m] = x[source + s * p.x_column] if s >= 0 else 0
                    t += n
                    i += 1
                    j = 0

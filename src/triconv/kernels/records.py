"""What kernels are told: records of named groups of numbers; steps and places count elements.

A number has one meaning wherever it is read. A kernel's record is the sum of the groups that it reads, which
stands above it. Numbers over axes hold rows, then columns. How an array lies in memory is told by its steps
alone, so that no kernel knows a layout:

    x[n, r, c, C]   stands at   n * sample + r * step[0] + c * step[1] + C * channel

    NHWC, 2 channels      C C C C C C          NCHW, 2 planes      C = 0     C = 1
                          0 1 0 1 0 1   row 0                      . . .     . . .
                          0 1 0 1 0 1   row 1                      . . .     . . .
                          step[1] = 2, channel = 1                 step[1] = 1, channel = 6
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np

AXES = 2  # of rows and of columns
INTEGER = numba.types.int64
Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Numbers that belong together: single ones, and those that there is one an axis of."""

    name: str
    single: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """How a kernel reads them."""
        fields: list[Any] = [(name, np.int64) for name in self.single]
        return np.dtype(fields + [(name, np.int64, (AXES,)) for name in self.axes])

    def called(self, name: str) -> Group:
        """The same numbers of something else."""
        return replace(self, name=name)


class Record:
    """The groups and the single numbers that a kernel reads."""

    def __init__(self, *parts: Group | str) -> None:
        fields = [(part, np.int64) if isinstance(part, str) else (part.name, part.dtype) for part in parts]
        self.dtype = np.dtype(fields)
        self.type = numba.types.Array(numba.from_dtype(self.dtype), 1, "C")

    def __call__(self, **values: int | Numbers) -> Any:
        """The record of these values, by groups; a name that is unknown or missing is a `TypeError`."""
        made = np.zeros(1, self.dtype)
        fill(made[0], "record", values)
        return made


def fill(record: Any, name: str, values: Numbers) -> None:
    """Set every number of a record, or of a group of it."""
    names = record.dtype.names
    if wrong := sorted(set(values) ^ set(names)):
        unknown = [each for each in wrong if each in values]
        raise TypeError(f"{name}: {'unknown' if unknown else 'missing'} {', '.join(unknown or wrong)}")
    for field, value in values.items():
        if isinstance(value, Mapping):
            fill(record[field], f"{name}.{field}", value)
        else:
            record[field] = value


# --- the caller's arrays ----------------------------------------------------------------------------

# An image: its channels, and its steps as drawn above.
IMAGE = Group("image", ("channels", "sample", "channel"), ("step",))
# Padded positions from ``first`` up to ``last`` show the image's own pixels in order.
INSIDE = Group("inside", axes=("first", "last"))
# The output: y[n, i, j, m] stands at start + n * sample + i * step[0] + j * step[1] + m * filter; ``size`` is
# how many rows and columns of pixels there are.
OUTPUT = Group("output", ("start", "sample", "filter"), ("size", "step"))
# A patch: ``size`` taps; ``stride`` pixels from patch to patch, ``dilation`` pixels from tap to tap.
WINDOW = Group("window", axes=("size", "stride", "dilation"))
# Groups: how many (count), the ``channels`` that a filter sees, the ``filters`` of one. Where lanes are
# channels, filters are packed as those of one group.
GROUPS = Group("groups", ("count", "channels", "filters"))
# Weights as they come: weight m, u, v, c stands at
# start + m * filter + m // filters * gap + u * step[0] + v * step[1] + c * channel.
WEIGHT = Group("weight", ("start", "filters", "gap", "filter", "channel"), ("step",))
# The same where groups are counted: weight u, v, c of filter m of group g stands at
# g * group + m * filter + u * step[0] + v * step[1] + c * channel.
TAPS = Group("taps", ("group", "filter", "channel"), ("step",))

# --- what workers copy and multiply -----------------------------------------------------------------

# Packed weights, [group][block][u, v, c][width]: ``width`` filters a block, ``blocks`` a group, ``size``
# elements a block.
PACKED = Group("packed", ("width", "blocks", "size"))
# A band, with its border: elements from ``row`` to row, ``column`` to column of a phase, ``channel`` to
# channel. In planes, columns lie in as many ``phases`` as the stride has, else in one.
COPY = Group("copy", ("row", "column", "channel", "phases"))
# Output ``rows`` of a band; of each, ``edge`` pixels at the left that are copied, and ``middle`` pixels after
# them that are read in place. Where the ``weight_stays`` cached from band to band, a band serves all filters
# before the next one; otherwise a chunk of filters goes over all bands.
BAND = Group("band", ("rows", "edge", "middle", "weight_stays"))
# A block of patches: how many (count); pixels of the output that follow each other in memory, before its next
# row lies elsewhere (line); elements from row to row of the block (row).
PATCHES = Group("patches", ("count", "line", "row"))
# What is multiplied: elements from ``pixel`` to pixel of the output and from ``group`` to group.
DATA = Group("data", ("pixel", "group"))
# A sum: ``steps`` of it are listed, each of a ``run`` of elements side by side.
SUM = Group("sum", ("steps", "run"))
# The split into tasks: samples (batch), ``pieces`` of a sample; blocks of filters in a ``chunk``, and how
# many ``chunks``; ``elements`` of a worker's workspace, and whether these are cleared first (clears).
WORK = Group("work", ("batch", "pieces", "chunk", "chunks", "elements", "clears"))

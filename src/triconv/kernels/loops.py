"""The numbers that every kernel reads, as one record; strides and offsets count elements."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

FIELDS = (
    # sizes
    "batch", "channels", "filters", "groups", "group_channels", "group_filters",
    "out_height", "out_width", "kernel_height", "kernel_width", "patch_size",
    "stride_height", "stride_width", "dilation_height", "dilation_width",
    # the caller's arrays: x by sample, row, column, channel; y by sample, pixel, filter
    "x_sample", "x_row", "x_column", "x_channel",
    "y_start", "y_sample", "y_pixel", "y_filter", "y_row",
    # which axis of a sample runs faster, for the order of W's columns
    "column_first", "channel_before_row", "channel_before_column",
    # the axes of its rows, fastest first; how far back a row of the same pattern is, and by how much moved
    "row_axis", "column_axis", "filter_axis", "moves_column", "back", "shift", "scale",
    # weight by filter, row, column, channel; after ``w_filters`` of them a step of ``w_group`` more
    "w_start", "w_filters", "w_group", "w_filter", "w_row", "w_column", "w_channel",
    # padded columns that show the input's own columns in order
    "inside_first", "inside_last", "inside_top", "inside_bottom",
    # what a worker packs: a band of rows, or a block of patches
    "edge", "middle", "share", "clears", "rows", "pixels", "line", "phases",
    "data_row", "data_column", "data_pixel", "data_channel", "data_group",
    # the reduction: runs or taps
    "steps", "run",
    # packed weights, and the split of the work into tasks
    "width", "block_size", "group_blocks", "chunk", "chunks", "pieces", "band_stays", "tasks",
    # the weights' gradient: how its matrix is cut, sums over parts of the pixels, what a worker holds
    "row_blocks", "column_blocks", "row_step", "step", "depth", "more", "size", "bands", "splits",
    "grad_start", "held_start",
)  # fmt: skip

LOOPS = np.dtype([(name, np.int64) for name in FIELDS])
INTEGER = numba.types.int64
TYPE = numba.types.Array(numba.from_dtype(LOOPS), 1, "C")


def record(**values: int) -> Any:
    """The record with these values; what a kernel does not read may be left out."""
    made = np.zeros(1, LOOPS)
    for name, value in values.items():
        made[name] = value
    return made

"""The memory that a worker copies into, and the split of a call into tasks.

A worker has a stretch of the workspace of its own, which starts at a line of the cache. Rows in it lie a
`pitch` apart:

    |<------------- pitch ------------->|
    | row 0, length elements    | unused |     a whole number of lines, so that every row starts at one,
    | row 1                     | unused |     but no whole number of pages, whose starts would fight for
    | ...                                |     the same few places of the first-level cache
"""

from __future__ import annotations

from typing import Any

import numpy as np

from triconv.core.problem import Problem
from triconv.runtime import threads
from triconv.runtime.arrays import LINE_BYTES
from triconv.schedules.tiling import rounded

# Figures beside a number are measurements on two cores with AVX-512 and 2 MiB of second-level cache each.
BAND = 256 << 10  # bytes of input that a task works on: from 128 to 512 KiB times differ by 5 % at most
PAGE = 4096  # bytes
SERIAL = 600_000  # operations of a call that stays in its thread: two are faster from 0.5 to 1.5 million
TASKS = 8  # parts that the work is cut into where it can be, so that a few threads finish together


def pitch(length: int, dtype: np.dtype[Any]) -> int:
    """Elements from row to row, for rows of so many."""
    line = LINE_BYTES // dtype.itemsize
    row = rounded(length, line)
    return row + line if row * dtype.itemsize % PAGE == 0 else row


def slack(problem: Problem) -> int:
    """Elements of workspace beside the workers' own, so that these can start at a line of the cache."""
    return LINE_BYTES // problem.dtype.itemsize


def chunked(problem: Problem, groups: int, width: int, pieces: int) -> tuple[int, int]:
    """Blocks of filters a task, and how many such chunks: few, but enough tasks for the threads."""
    blocks = groups * (rounded(problem.geometry.out_channels // groups, width) // width)
    chunks = min(blocks, max(1, -(-TASKS // (pieces * max(1, problem.batch)))))
    chunk = -(-blocks // chunks)
    return chunk, -(-blocks // chunk)


def threads_for(flops: int) -> int:
    """How many threads a call of this size uses: one where waking the others would take longer."""
    return 1 if flops < SERIAL else threads.get_num_threads()

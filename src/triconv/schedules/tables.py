"""Index tables, by which kernels look up what the padding shows: made when they are first needed, and kept.

``rows[r]`` is the row of the image that row ``r`` of the padded image shows, -1 for zeros; so are
``columns``. For a row of 4 pixels with 2 before and 1 after:

    zeros       -1 -1  0  1  2  3 -1           reflect      2  1  0  1  2  3  2
    circular     2  3  0  1  2  3  0           replicate    0  0  0  1  2  3  3
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from triconv.core.problem import Problem

MAPS = 6  # int64s that a row or column of the padded image takes while its tables are made
KEPT = 256 << 10  # bytes of tables that are kept as long as the plan that they belong to
LARGE = 256 << 20  # bytes of larger ones that are kept together


class Deferred:
    """A function that holds index tables, made when it is first called.

    Where the tables are large, those of the functions that were called last are kept, up to `LARGE` bytes.
    """

    _large: ClassVar[dict[Deferred, Any]] = {}
    _lock = threading.Lock()

    def __init__(self, problem: Problem, make: Callable[[], Any], more: int = 0) -> None:
        self.bytes = maps_bytes(problem) + more
        self.make = make
        self._function: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return (self._function or self._found())(*arguments)

    def _found(self) -> Any:
        if self.bytes <= KEPT:
            self._function = self.make()
            return self._function
        found = self._large.get(self) or self.make()
        with self._lock:
            self._large.pop(self, None)
            self._large[self] = found
            total = sum(each.bytes for each in self._large)
            for oldest in list(self._large)[:-1]:
                if total <= LARGE:
                    break
                del self._large[oldest]
                total -= oldest.bytes
        return found


def maps(problem: Problem) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The index maps of rows and of columns that stand for the padding."""
    h, w = (axis.sources(np.arange(axis.padded), problem.mode) for axis in problem.axes)
    return h, w


def maps_bytes(problem: Problem) -> int:
    """Bytes that the index tables of a problem take at most, while they are made."""
    h, w = problem.axes
    return MAPS * 8 * (h.padded + w.padded)


def flat(table: NDArray[Any]) -> NDArray[np.int64]:
    """An index table as the kernels take it."""
    return np.ascontiguousarray(table, np.int64).reshape(-1)

"""The methods side by side: time, memory, and error against the definition."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triconv import arguments
from triconv.core import checked
from triconv.core.keywords import Keywords
from triconv.core.problem import Problem, batch_channels_last
from triconv.described import described
from triconv.methods import EXACT, METHODS, choice, names
from triconv.plan import ConvPlan, plan
from triconv.reference import Reference, error_bound, reference
from triconv.runtime import memory
from triconv.runtime.machine import machine
from triconv.runtime.memory import human
from triconv.schedules.workspace import threads_for
from triconv.text import format_digits, format_seconds, format_table
from triconv.types import Layout, Padding, PaddingMode, Size

__all__ = ["Comparison", "ComparisonRow", "compare"]

# The last column holds the notes; it needs no name.
COLUMNS = ("method", "time", "GFLOP/s", "workspace", "packed", "max error", "")
CLOCK = 2.5e9  # cycles a second, about: only what a call is predicted to take hangs on it


@dataclass(frozen=True)
class ComparisonRow:
    """What one method did.

    Attributes
    ----------
    method : str
        Its name.
    seconds : float
        Median time of a call; NaN where the method did not run.
    gflops : float
        Operations of the definition, two a multiply-add, per second, in units of 10**9.
    workspace_bytes : int
        Memory that a call needs beside its input and output.
    packed_bytes : int
        Memory that the plan holds between calls: the packed weight, or W.
    max_error : float
        Largest absolute difference to the definition evaluated in double precision.
    note : str
        Why the method did not run, else empty.
    """

    method: str
    seconds: float
    gflops: float
    workspace_bytes: int
    packed_bytes: int
    max_error: float
    note: str = ""

    @property
    def ran(self) -> bool:
        """Whether the method ran."""
        return not math.isnan(self.seconds)

    def cells(self) -> tuple[str, ...]:
        """The row's values as text with units, in the order of a comparison's columns."""
        if not self.ran:
            return (self.method, *("-",) * (len(COLUMNS) - 2), self.note)
        return (
            self.method,
            format_seconds(self.seconds),
            format_digits(self.gflops),
            human(self.workspace_bytes),
            human(self.packed_bytes),
            f"{self.max_error:.1e}",
            self.note,
        )


@dataclass(frozen=True, repr=False)
class Comparison:
    """The rows of `compare`, in the order of its ``methods``.

    Iterating gives the rows; an index is a position or a method's name. It prints as a table, and shows as
    one in a notebook.

    Attributes
    ----------
    rows : tuple of ComparisonRow
        One a method.
    error_bound : float
        The largest error that rounding explains, for any of the methods and any order of summation.
    outputs : int
        Elements of the output.
    measured : int
        Those of them on which the errors were measured: all, or a sample where all would take long.
    finite : int
        Those of these on which the definition is a finite number.

    Examples
    --------
    >>> import numpy as np
    >>> from triconv import compare
    >>> comparison = compare(np.ones((6, 6)), np.ones((3, 3)), methods=["direct", "im2col"], repeat=1)
    >>> [row.max_error for row in comparison]
    [0.0, 0.0]
    >>> comparison["im2col"].max_error <= comparison.error_bound
    True
    >>> comparison.fastest in comparison
    True
    """

    rows: tuple[ComparisonRow, ...]
    error_bound: float
    outputs: int = 0
    measured: int = 0
    finite: int = 0

    @property
    def fastest(self) -> ComparisonRow:
        """The row with the least time; a ValueError where no method ran."""
        ran = [row for row in self.rows if row.ran]
        if not ran:
            raise ValueError("Comparison.fastest: none of the methods ran")
        return min(ran, key=lambda row: row.seconds)

    @property
    def disagreeing(self) -> tuple[ComparisonRow, ...]:
        """The rows whose error is more than rounding explains."""
        return tuple(row for row in self.rows if row.ran and not row.max_error <= self.error_bound)

    def __iter__(self) -> Iterator[ComparisonRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | str) -> ComparisonRow:
        if not isinstance(key, str):
            return self.rows[key]
        for row in self.rows:
            if row.method == key:
                return row
        raise KeyError(key)

    def __str__(self) -> str:
        table = format_table(COLUMNS, [row.cells() for row in self.rows])
        return "\n".join([table, *format_sample(self)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line("td", row.cells()) for row in self.rows)
        caption = "".join(f"<caption>{text}</caption>" for text in format_sample(self))
        return f"<table>{caption}<thead>{line('th', COLUMNS)}</thead><tbody>{body}</tbody></table>"


@described
@np.errstate(all="ignore")
def compare(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    methods: Sequence[str] = EXACT,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    repeat: int = 5,
    matrix_limit: int | None = None,
    call_limit: float | None = None,
    time_limit: float | None = None,
    progress: Callable[[ComparisonRow], object] | None = None,
) -> Comparison:
    """Run one convolution by several methods; time them, and check each against the definition.

    Each method runs through a plan of its own. Making the plan and one first call, which may compile, are not
    timed. The error is taken against the definition's sum in plain NumPy, in double precision; where that
    would take long for all outputs, on a sample of them, always the same, half of it on the borders.

    Parameters
    ----------
    %(x, weight, bias)
    methods : sequence of str
        Which to run, in this order.
    %(keywords)
    repeat : int
        Timed calls of each method, of which the median counts.
    matrix_limit : int, optional
        Bytes that W may take. Above it, as where W would not fit into memory, the method ``"matrix"`` is not
        run, and its row's ``note`` says how large W would be.
    call_limit : float, optional
        Seconds that a call may take. A method that is predicted to take longer, and longer than another, is
        not run, and its row's ``note`` says so.
    time_limit : float, optional
        Seconds after which the timed calls of a method end, before there are ``repeat`` of them.
    progress : callable, optional
        Called with each row as it is ready.

    Returns
    -------
    Comparison
        A row a method.

    Raises
    ------
    ValueError
        For shapes, values and names that `conv2d` refuses, a ``repeat`` below 1, and limits below 0.
    TypeError
        For dtypes and types that `conv2d` refuses.

    See Also
    --------
    plan : What is timed.

    Examples
    --------
    >>> import numpy as np
    >>> from triconv import compare
    >>> x = np.arange(64.0).reshape(8, 8)
    >>> comparison = compare(x, np.ones((3, 3)), padding="same", repeat=1)
    >>> [row.method for row in comparison]
    ['direct', 'im2col', 'matrix']
    >>> all(row.max_error == 0.0 for row in comparison)
    True
    """
    x = arguments.array("compare", "x", x)
    weight = arguments.array("compare", "weight", weight)
    bias = arguments.bias_array("compare", bias)
    repeat = arguments.integer("compare", "repeat", repeat, 1)
    call_limit = _seconds("call_limit", call_limit)
    time_limit = _seconds("time_limit", time_limit)
    if isinstance(methods, str) or not isinstance(methods, Sequence):
        raise TypeError(f"compare: methods expects a sequence of str, got {arguments.describe(methods)}")
    methods = [arguments.choice("compare", "methods", method, names()) for method in methods]
    dtype = arguments.result_dtype(x, weight, bias)
    keywords = Keywords(stride, padding, dilation, groups, padding_mode, layout)
    bias_shape = None if bias is None else np.shape(bias)
    task = checked.convolution("compare", x.shape, weight.shape, bias_shape, dtype, keywords)
    size = math.prod(task.y_shape) * task.result.itemsize
    memory.require("compare", size, f"the output of shape {task.y_shape} ({task.result})")
    expected = reference(task, x, weight, bias)
    bound = error_bound(task, x, weight, bias)
    x = arguments.cast(x, dtype)
    notes = left_out(task, methods, matrix_limit, call_limit)
    rows = []
    for method in methods:
        row = ComparisonRow(method, math.nan, math.nan, 0, 0, math.nan, notes.get(method, ""))
        if row.note == "":
            try:
                planned = plan(weight, x.shape, bias, method=method, dtype=dtype, **keywords.but_method())
                row = _measured(method, planned, x, expected, task.layout, repeat, time_limit)
                del planned  # W, before the next method takes memory
            except MemoryError as error:
                row = replace(row, note=str(error) or "there is not enough memory")
        rows.append(row)
        if progress is not None:
            progress(row)
    finite = int(np.isfinite(expected.values).sum())
    return Comparison(tuple(rows), bound, math.prod(task.y_shape), expected.values.size, finite)


def _seconds(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"compare: {name} expects a number of seconds, got {arguments.describe(value)}")
    if not value >= 0:
        raise ValueError(f"compare: {name} expects a number of seconds of at least 0, got {value}")
    return float(value)


def predicted_seconds(task: Problem, method: str) -> float:
    """What one call is predicted to take, roughly; for ``"matrix"`` with W's assembly."""
    cycles = {name: cost.cycles for name, _, cost in choice.candidates(task, machine())}
    return cycles.get(method, min(cycles.values())) / CLOCK / threads_for(task.flops)


def left_out(
    task: Problem, methods: Sequence[str], matrix_limit: int | None, call_limit: float | None
) -> dict[str, str]:
    """Which of the methods do not run, and why."""
    notes = {}
    for name in methods:
        form = METHODS.get(name)  # None for "auto"
        if matrix_limit is not None and form is not None and form.NEEDS_MATRIX:
            size = form.packed_bytes(task, form.schedule(task.canonical(), machine()))
            if size > matrix_limit:
                notes[name] = f"not built: W would take {human(size)}, more than {human(matrix_limit)}"
    seconds = {method: predicted_seconds(task, method) for method in methods if method not in notes}
    for method, needed in seconds.items():
        if call_limit is not None and needed > max(call_limit, min(seconds.values())):
            notes[method] = (
                f"not run: a call would take about {format_seconds(needed)}, "
                f"more than {format_seconds(call_limit)}"
            )
    return notes


def _measured(
    method: str,
    made: ConvPlan,
    x: NDArray[Any],
    expected: Reference,
    layout: str,
    repeat: int,
    time_limit: float | None,
) -> ComparisonRow:
    y = made(x)
    times: list[float] = []
    while len(times) < repeat and not (times and time_limit is not None and sum(times) >= time_limit):
        start = time.perf_counter()
        made(x, out=y)
        times.append(time.perf_counter() - start)
    seconds = float(np.median(times))
    gflops = made.flops / seconds / 1e9
    error = expected.error(batch_channels_last(y, layout))
    return ComparisonRow(method, seconds, gflops, made.workspace_bytes, made.packed_bytes, error)


def format_sample(*comparisons: Comparison) -> list[str]:
    """A line on how many outputs the errors were measured on; none where these were all."""
    outputs, measured = (sum(getattr(c, name) for c in comparisons) for name in ("outputs", "measured"))
    return [f"max error: over a sample, {measured:,} of {outputs:,} outputs"] if measured < outputs else []

"""The methods side by side: time, memory, and error against the definition."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triconv import arguments
from triconv.methods import NAMES, matrix
from triconv.plan import ConvPlan, plan
from triconv.problem import Problem, batch_channels_last, problem
from triconv.runtime import memory
from triconv.runtime.machine import machine
from triconv.runtime.memory import human

__all__ = ["Comparison", "ComparisonRow", "compare"]

# The last column holds the notes; it needs no name.
COLUMNS = ("method", "time", "GFLOP/s", "workspace", "packed", "max error", "")


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
        return format_table(COLUMNS, [row.cells() for row in self.rows])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line("td", row.cells()) for row in self.rows)
        return f"<table><thead>{line('th', COLUMNS)}</thead><tbody>{body}</tbody></table>"


@np.errstate(all="ignore")
def compare(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    methods: Sequence[str] = ("direct", "im2col", "matrix"),
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    padding_mode: str = "zeros",
    layout: str = "NHWC",
    repeat: int = 5,
    matrix_limit: int | None = None,
    progress: Callable[[ComparisonRow], object] | None = None,
) -> Comparison:
    """Run one convolution by several methods; time them, and check each against the definition.

    Each method runs through a plan of its own. Making the plan and one first call, which may compile, are not
    timed. The error is taken against the definition's sum in plain NumPy, in double precision.

    Parameters
    ----------
    x : array_like
        Input, ``(H, W, C_in)`` or ``(N, H, W, C_in)``; ``(C_in, H, W)`` or ``(N, C_in, H, W)`` in the layout
        ``"NCHW"``; or ``(H, W)``.
    weight : array_like
        ``(C_out, k_h, k_w, C_in / groups)``; ``(C_out, C_in / groups, k_h, k_w)`` in the layout ``"NCHW"``;
        or ``(k_h, k_w)``.
    bias : array_like, optional
        ``(C_out,)``.
    methods : sequence of str
        Which to run, in this order.
    stride, padding, dilation, groups, padding_mode, layout
        As for `conv2d`.
    repeat : int
        Timed calls of each method, of which the median counts.
    matrix_limit : int, optional
        Bytes that W may take. Above it, as where W would not fit into memory, the method ``"matrix"`` is not
        run, and its row's ``note`` says how large W would be.
    progress : callable, optional
        Called with each row as it is ready.

    Returns
    -------
    Comparison
        A row a method.

    Raises
    ------
    ValueError
        For shapes, values and names that `conv2d` refuses, and a ``repeat`` below 1.
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
    if isinstance(methods, str) or not isinstance(methods, Sequence):
        raise TypeError(f"compare: methods expects a sequence of str, got {arguments.describe(methods)}")
    methods = [arguments.choice("compare", "methods", method, NAMES) for method in methods]
    dtype = arguments.result_dtype(x, weight, bias)
    keywords: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": padding_mode,
        "layout": layout,
    }
    task = problem(
        "compare", x.shape, weight.shape, None if bias is None else np.shape(bias), dtype, **keywords
    )
    expected = _definition(task, x, weight, bias)
    x = x.astype(dtype, copy=False)
    rows = []
    for method in methods:
        try:
            if method == "matrix" and matrix_limit is not None:
                _check_matrix(task, matrix_limit)
            made = plan(weight, x.shape, bias, method=method, dtype=dtype, **keywords)
        except MemoryError as error:
            row = ComparisonRow(method, math.nan, math.nan, 0, 0, math.nan, note=str(error))
        else:
            row = _measured(method, made, x, expected, task.layout, repeat)
        rows.append(row)
        if progress is not None:
            progress(row)
    return Comparison(tuple(rows), _error_bound(task, x, weight, bias))


def _check_matrix(task: Problem, limit: int) -> None:
    size = matrix.packed_bytes(task, matrix.schedule(task, machine()))
    if size > limit:
        raise MemoryError(f"not built: W would take {human(size)}, more than {human(limit)}")


def _measured(
    method: str, made: ConvPlan, x: NDArray[Any], expected: NDArray[Any], layout: str, repeat: int
) -> ComparisonRow:
    y = made(x)
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        made(x, out=y)
        times.append(time.perf_counter() - start)
    seconds = float(np.median(times))
    gflops = made.flops / seconds / 1e9
    error = _largest_difference(batch_channels_last(y, layout), expected)
    return ComparisonRow(method, seconds, gflops, made.workspace_bytes, made.packed_bytes, error)


# --- the definition ---------------------------------------------------------------------------------


def _definition(task: Problem, x: NDArray[Any], weight: NDArray[Any], bias: Any) -> NDArray[Any]:
    """The direct form, tap by tap in double precision, by NumPy alone: ``(N, H_out, W_out, C_out)``."""
    geometry = task.geometry
    precise = np.result_type(task.dtype, np.float64)
    # The image and its padded copy; the sum, a product that is added to it, and what is measured.
    elements = task.batch * (math.prod(geometry.padded_shape) + 3 * math.prod(geometry.output_shape))
    size = (x.size + elements + weight.size) * precise.itemsize
    memory.require("compare", size, f"the definition's output of shape {task.y_shape} in {precise}")
    weight = task.filters(weight).astype(precise, copy=False)
    x = batch_channels_last(x, task.layout).astype(precise, copy=False)
    x_pad = np.pad(x, ((0, 0), *geometry.pads, (0, 0)), mode=arguments.NUMPY_MODES[task.mode])
    (h_out, w_out, c_out), (s_h, s_w), (d_h, d_w) = geometry.output_shape, geometry.stride, geometry.dilation
    y = np.zeros((len(x), h_out, w_out, c_out), precise)
    if bias is not None:
        y += np.asarray(bias, precise)
    filters, channels = c_out // geometry.groups, geometry.group_channels
    for group in range(geometry.groups):
        m = slice(group * filters, (group + 1) * filters)
        c = slice(group * channels, (group + 1) * channels)
        for u, v in np.ndindex(geometry.kernel_size):
            rows = slice(u * d_h, u * d_h + (h_out - 1) * s_h + 1, s_h)
            columns = slice(v * d_w, v * d_w + (w_out - 1) * s_w + 1, s_w)
            y[..., m] += x_pad[:, rows, columns, c] @ weight[m, u, v].T
    return y


def _largest_difference(y: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest absolute difference; equal infinities, and NaN in the same place, are none."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(y - expected)
    difference[(y == expected) | (np.isnan(y) & np.isnan(expected))] = 0.0
    return float(difference.max(initial=0.0))


def _error_bound(task: Problem, x: NDArray[Any], weight: NDArray[Any], bias: Any) -> float:
    """``n u / (1 - n u)`` times the largest sum of absolute values that an output can have.

    Beside the method's own rounding this counts that of the double precision reference, that of a half
    precision result, and underflow.
    """
    geometry, complex_valued = task.geometry, task.dtype.kind == "c"
    filters = _magnitudes(weight).reshape(geometry.out_channels, -1)
    largest = _magnitudes(x).max(initial=0.0) * filters.sum(axis=1).max()
    if bias is not None:
        largest += _magnitudes(bias).max()
    terms = (geometry.patch_size + 1) * (2 if complex_valued else 1)
    relative = _gamma(terms, task.dtype) + _gamma(terms, np.dtype(np.float64))
    if task.result != task.dtype:
        relative += float(np.finfo(task.result).eps)
    parts = math.sqrt(2) if complex_valued else 1.0
    return float(parts * (relative * largest + terms * np.finfo(task.result).smallest_subnormal))


def _magnitudes(values: Any) -> NDArray[np.float64]:
    """Absolute values; what is not finite counts for nothing, its error is judged exactly."""
    sizes = np.abs(np.asarray(values, np.result_type(values, np.float64)))
    return np.where(np.isfinite(sizes), sizes, 0.0)


def _gamma(terms: int, dtype: np.dtype[Any]) -> float:
    share = terms * float(np.finfo(dtype).eps) / 2
    return share / (1 - share) if share < 1 else math.inf


# --- text -------------------------------------------------------------------------------------------


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their names; the first and the last to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for cells in (head, ["-" * len(name) for name in head], *rows):
        first, *others, last = cells
        middle = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False)]
        lines.append("  ".join([first.ljust(widths[0]), *middle, last]).rstrip())
    return "\n".join(lines)


def format_seconds(seconds: float) -> str:
    """A time in the unit that reads best."""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{format_digits(seconds * scale)} {unit}"
    return f"{format_digits(seconds * 1e6)} us"


def format_digits(value: float) -> str:
    """Three digits, without an exponent."""
    if not (math.isfinite(value) and value > 0):
        return f"{value:.3g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"

"""The matrix W: where its entries stand, and its rows and columns as images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triconv import arguments
from triconv.core import checked
from triconv.core.keywords import Keywords
from triconv.core.problem import Problem
from triconv.described import described
from triconv.matrix import conv_matrix
from triconv.patches import flatten_weight, pad
from triconv.plot import drawing
from triconv.types import Layout, Order, Padding, PaddingMode, Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PIXELS = 500  # on the longer side; finer structure than that is not seen


@np.errstate(all="ignore")
@described
def matrix(
    weight: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    padded: bool = False,
    order: Order = "F",
    ax: Axes | None = None,
) -> Axes:
    """Where ``W`` has entries, with a colour for each tap ``(u, v)``, the same in every filter and channel.

    Fine lines part the blocks of filters and channels, where ``order`` keeps these together. An entry that is
    the sum of several taps, as padding that copies pixels makes them, is grey.

    Parameters
    ----------
    %(weight)
        Its values do not matter.
    %(sample_shape)
    padded : bool, default False
        Columns over ``vec(X_pad)``; otherwise over ``vec(X)``, with the padding folded in.
    %(order)
    %(keywords)
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    matplotlib.axes.Axes
        A unit is an entry; that of row ``n`` and column ``k`` is at ``(k, n)``. Of a ``W`` with more than 500
        rows or columns a pixel of the image stands for a square of entries, and shows the tap that most of
        them are.

    Raises
    ------
    %(errors)
    MemoryError
        Where W would not fit.
    ImportError
        Where matplotlib is missing.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> ax = triconv.plot.matrix(np.ones((2, 2)), (3, 4))
    >>> ax.images[0].get_array().shape
    (6, 12)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['0, 0', '1, 0', '0, 1', '1, 1']
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    where = "plot.matrix"
    weight = arguments.array(where, "weight", weight)
    keywords = Keywords(stride, padding, dilation, groups, padding_mode, layout)
    problem = _problem(where, weight, input_shape, keywords)
    padded = arguments.boolean(where, "padded", padded)
    order = arguments.choice(where, "order", order, arguments.ORDERS)
    g = problem.geometry
    k_h, k_w = g.kernel_size
    several = k_h * k_w
    # The tap's number as the weight puts it where the tap goes; ones count the taps of an entry.
    numbers = np.empty(weight.shape)
    u, v = np.ogrid[:k_h, :k_w]
    problem.filters(numbers)[...] = g.patch_index(u, v, 0)[:, :, None] + 1
    named = keywords.but_method() | {"padded": padded, "order": order}
    W = conv_matrix(numbers, input_shape, **named)
    counts = conv_matrix(np.ones(weight.shape), input_shape, **named)
    taps = np.where(counts.data > 1, several, W.data - 1).astype(np.int64)
    rows, columns = W.shape
    square = -(-max(W.shape) // MOST_PIXELS)
    # Where the blocks of filters and channels are whole numbers of pixels they all look alike.
    blocks = math.gcd(rows // g.out_channels, columns // g.in_channels)
    square = next((n for n in range(square, 2 * square + 1) if blocks % n == 0), square)
    high, wide = -(-rows // square), -(-columns // square)
    at = np.repeat(np.arange(rows), np.diff(W.indptr)) // square, W.indices // square, taps
    found, times = np.unique(np.ravel_multi_index(at, (high, wide, several + 1)), return_counts=True)
    pixels, taps_there = np.divmod(found[np.argsort(times, kind="stable")], several + 1)
    picture = np.full((high, wide), np.nan)
    picture.flat[pixels] = taps_there  # of several the last, which the pixel has most of

    ax = drawing.axes_or_new(where, ax, 1.25 * columns, rows, least=3.2)
    colours = [*drawing.tap_colours(several), (0.5, 0.5, 0.5, 1.0)]
    small = min(drawing.cell_sides(ax, wide, high)) < 1
    ax.imshow(
        picture,
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=several + 0.5,
        extent=(-0.5, wide * square - 0.5, high * square - 0.5, -0.5),
        interpolation=None if small else "nearest",
        interpolation_stage="rgba",
    )
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
    if g.in_channels * g.out_channels > 1 and (order == "F") == (layout == "NHWC"):
        for line, length, count in (
            (ax.axvline, columns, g.in_channels),
            (ax.axhline, rows, g.out_channels),
        ):
            for n in range(1, count):
                line(n * length // count - 0.5, color=drawing.LINES, linewidth=0.6)
    ax.set_xlabel(f"position in vec({_name(padded)})")
    ax.set_ylabel("position in vec($Y$)")
    ax.set_title(f"$W$, {rows} x {columns}, {W.nnz} entries")
    handles = []
    if several <= len(drawing.CATEGORIES):
        handles = [
            Patch(facecolor=colours[g.patch_index(u, v, 0)], label=f"{u}, {v}")
            for v in range(k_w)
            for u in range(k_h)
        ]
    if (taps == several).any():
        handles.append(Patch(facecolor=colours[several], label="several"))
    if handles:
        ax.legend(handles=handles, title="tap $u, v$", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return ax


@np.errstate(all="ignore")
@described
def matrix_row(
    weight: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    i: int,
    j: int,
    m: int = 0,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    padded: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """The row of ``W`` for ``Y[i, j, m]``, folded back into an image of the input.

    It shows what the output sums, and with which weights. Channels stand side by side. Where the row has no
    entry nothing is drawn; of complex entries the magnitude is.

    Parameters
    ----------
    %(weight, sample_shape)
    i, j, m : int
        The output: row, column and filter.
    %(keywords)
    padded : bool, default False
        Show the row over ``X_pad``; otherwise over ``X``, with the padding folded in.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    matplotlib.axes.Axes
        Holds one image, masked where ``W`` has no entry.

    Raises
    ------
    ValueError
        For shapes, values and names that do not fit, and for positions outside the output.
    TypeError
        For dtypes and types.
    ImportError
        Where matplotlib is missing.

    See Also
    --------
    matrix_column : the same for a pixel of the input.

    Examples
    --------
    >>> import triconv
    >>> ax = triconv.plot.matrix_row([[1.0, 0.0], [2.0, 3.0]], (3, 3), 0, 1)
    >>> ax.images[0].get_array().compressed()
    array([1., 0., 2., 3.])
    """
    where = "plot.matrix_row"
    weight = arguments.array(where, "weight", weight)
    keywords = Keywords(stride, padding, dilation, groups, padding_mode, layout)
    problem = _problem(where, weight, input_shape, keywords)
    g = problem.geometry
    h_out, w_out, c_out = g.output_shape
    i = arguments.position(where, "i", i, h_out)
    j = arguments.position(where, "j", j, w_out)
    m = arguments.position(where, "m", m, c_out)
    padded = arguments.boolean(where, "padded", padded)

    shown, (height, width, channels) = _pixels(problem, padded)
    columns, taps = g.row(i, j, m)
    r, c, C = g.padded_position(columns)
    inside = shown[r, c] >= 0
    at = shown[r, c][inside], C[inside]
    values = np.zeros((height * width, channels), problem.dtype)
    held = np.zeros(values.shape, bool)
    np.add.at(values, at, flatten_weight(weight, layout=layout)[m][taps][inside])
    held[at] = True
    entries = np.ma.array(values, mask=~held).reshape(height, width, channels)
    ax = drawing.mosaic(where, ax, entries, "C")
    ax.set_title(f"row of $W$ for $Y[{i}, {j}, {m}]$, over {_name(padded)}")
    ax.set_xlabel("$c$")
    ax.set_ylabel("$r$")
    return ax


@np.errstate(all="ignore")
@described
def matrix_column(
    weight: ArrayLike,
    input_shape: Sequence[SupportsIndex],
    r: int,
    c: int,
    C: int = 0,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    padded: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """The column of ``W`` for a pixel of the input, folded back into an image of the output.

    It shows which outputs the pixel reaches, and with which weights. Filters stand side by side. Where the
    column has no entry nothing is drawn; of complex entries the magnitude is.

    Parameters
    ----------
    %(weight, sample_shape)
    r, c, C : int
        The pixel: row, column and channel.
    %(keywords)
    padded : bool, default False
        ``(r, c)`` is a position in ``X_pad``; otherwise in ``X``, with the padding folded in.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    matplotlib.axes.Axes
        Holds one image, masked where ``W`` has no entry.

    Raises
    ------
    ValueError
        For shapes, values and names that do not fit, and for positions outside the input.
    TypeError
        For dtypes and types.
    ImportError
        Where matplotlib is missing.

    See Also
    --------
    matrix_row : the same for an element of the output.

    Examples
    --------
    >>> import triconv
    >>> ax = triconv.plot.matrix_column([[1.0, 0.0], [2.0, 3.0]], (3, 3), 1, 1)
    >>> ax.images[0].get_array().compressed()
    array([3., 2., 0., 1.])
    """
    where = "plot.matrix_column"
    weight = arguments.array(where, "weight", weight)
    keywords = Keywords(stride, padding, dilation, groups, padding_mode, layout)
    problem = _problem(where, weight, input_shape, keywords)
    g = problem.geometry
    padded = arguments.boolean(where, "padded", padded)
    shown, (height, width, channels) = _pixels(problem, padded)
    r = arguments.position(where, "r", r, height)
    c = arguments.position(where, "c", c, width)
    C = arguments.position(where, "C", C, channels)

    group, channel = divmod(C, g.group_channels)
    filters = g.out_channels // g.groups
    own = slice(group * filters, (group + 1) * filters)
    values = np.zeros(g.output_shape, problem.dtype)
    held = np.zeros(g.output_shape, bool)
    K = problem.filters(weight)[own, :, :, channel]
    for place in np.argwhere(shown == r * width + c):
        i, j, u, v = g.patches_containing(*place).T
        values[i, j, own] += K[:, u, v].T
        held[i, j, own] = True
    ax = drawing.mosaic(where, ax, np.ma.array(values, mask=~held), "m")
    ax.set_title(f"column of $W$ for {_name(padded)}$[{r}, {c}, {C}]$, over $Y$")
    ax.set_xlabel("$j$")
    ax.set_ylabel("$i$")
    return ax


def _problem(where: str, weight: NDArray[Any], input_shape: Any, keywords: Keywords) -> Problem:
    shape = arguments.integers(where, "input_shape", input_shape, "one sample's shape", 0)
    dtype = arguments.result_dtype(weight)
    problem = checked.convolution(where, shape, weight.shape, None, dtype, keywords, "input_shape")
    drawing.one_sample(where, "input_shape", shape)
    return problem


def _pixels(problem: Problem, padded: bool) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    """Which pixel each place of ``X_pad`` shows, -1 for none, and the shape of what has these pixels."""
    g = problem.geometry
    shape = g.padded_shape if padded else g.input_shape
    numbers = np.arange(1.0, shape[0] * shape[1] + 1).reshape(shape[:2])
    shown = numbers if padded else pad(numbers, g.pads, padding_mode=problem.mode)
    return shown.astype(np.int64) - 1, shape


def _name(padded: bool) -> str:
    return "$X_{pad}$" if padded else "$X$"

"""What comes out: times, singular values, feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triconv import arguments
from triconv.compare import Comparison
from triconv.core import checked
from triconv.core.problem import batch_channels_last
from triconv.described import described
from triconv.plot import drawing
from triconv.text import format_digits, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from triconv.operators import ConvOperator

MOST_MARKERS = 60
LINES = 4, 5, 2, 6, 1, 0  # of the categories, those that are seen as thin lines


@np.errstate(all="ignore")
def heat_map(
    comparisons: Mapping[tuple[Any, Any], Comparison], method: str | None = None, *, ax: Axes | None = None
) -> Axes:
    """Methods against stride and padding: the time of one of them, or which is the fastest and by how much.

    Parameters
    ----------
    comparisons : mapping
        From ``(stride, padding)`` to the comparison made there.
    method : str, optional
        Whose time to show, dark where it is short. By default each cell has the colour of the fastest method,
        its name, and how many times as long the next one took; ``"auto"``, which is one of the others, does
        not take part.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    matplotlib.axes.Axes
        Strides from left to right and paddings from top to bottom, in the order of the mapping. A cell where
        nothing ran holds a hyphen, one without a comparison nothing.

    Raises
    ------
    ValueError
        If there is no comparison, a key is not a pair, or none of them has the method.
    TypeError
        If ``comparisons`` is not a mapping to comparisons.
    ImportError
        Where matplotlib is missing.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> x, weight = np.eye(16), np.ones((3, 3))
    >>> comparisons = {(1, p): triconv.compare(x, weight, padding=p, repeat=1) for p in (0, "same")}
    >>> ax = triconv.plot.heat_map(comparisons, "direct")
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['0', 'same']
    """
    from matplotlib.colors import LogNorm, to_rgba

    where = "plot.heat_map"
    if not isinstance(comparisons, Mapping):
        what = arguments.describe(comparisons)
        raise TypeError(f"{where}: comparisons expects a mapping from (stride, padding), got {what}")
    if not comparisons:
        raise ValueError(f"{where}: comparisons expects at least one comparison")
    for key, comparison in comparisons.items():
        if not isinstance(key, tuple) or len(key) != 2:
            raise ValueError(f"{where}: comparisons expects keys (stride, padding), got {key!r}")
        if not isinstance(comparison, Comparison):
            what = arguments.describe(comparison)
            raise TypeError(f"{where}: comparisons expects a Comparison at {key!r}, got {what}")
    known = dict.fromkeys(row.method for comparison in comparisons.values() for row in comparison)
    if method is not None:
        arguments.choice(where, "method", method, tuple(known))

    strides = list(dict.fromkeys(stride for stride, _ in comparisons))
    paddings = list(dict.fromkeys(padding for _, padding in comparisons))
    shape = len(paddings), len(strides)
    seconds = np.full(shape, np.nan)
    faces = np.zeros((*shape, 4))
    texts = np.full(shape, "", object)
    for (stride, padding), comparison in comparisons.items():
        at = paddings.index(padding), strides.index(stride)
        rows = [
            row
            for row in comparison
            if row.ran and (row.method == method if method else row.method != "auto")
        ]
        rows.sort(key=lambda row: row.seconds)
        texts[at] = "-"
        if not rows:
            continue
        best = rows[0]
        seconds[at] = best.seconds
        if method:
            texts[at] = format_seconds(best.seconds)
            continue
        faces[at] = to_rgba(drawing.STYLES.get(best.method, drawing.OTHER_STYLE)[0])
        texts[at] = best.method
        if len(rows) > 1:
            texts[at] += f"\n{format_digits(rows[1].seconds / best.seconds)}x"

    ax = drawing.axes_or_new(where, ax, 2 * shape[1], shape[0])
    if method:
        ran = seconds[np.isfinite(seconds)]
        norm = LogNorm(ran.min(), ran.max()) if ran.size else None
        image = ax.imshow(seconds, cmap=drawing.SIZES, norm=norm, aspect="auto")
        faces = image.to_rgba(seconds)
        ax.set_title(f"time of a call, {method}")
    else:
        ax.imshow(faces, aspect="auto", interpolation="nearest")
        ax.set_title("the fastest method, and the time of the next over its")
    wide, high = drawing.cell_sides(ax, shape[1], shape[0])
    points = drawing.text_points(list(texts.flat), 0.95 * wide, high)
    if points:
        drawing.write(ax, list(texts.flat), faces, points)
    ax.set_xticks(range(shape[1]), [str(stride) for stride in strides])
    ax.set_yticks(range(shape[0]), [str(padding) for padding in paddings])
    ax.tick_params(length=0)
    for n in range(1, shape[1]):
        ax.axvline(n - 0.5, color=drawing.LINES, linewidth=0.6)
    for n in range(1, shape[0]):
        ax.axhline(n - 0.5, color=drawing.LINES, linewidth=0.6)
    ax.set_xlabel("stride")
    ax.set_ylabel("padding")
    return ax


@np.errstate(all="ignore")
def spectrum(
    values: ConvOperator | ArrayLike | Mapping[str, ConvOperator | ArrayLike],
    *,
    k: int = 100,
    scale: str = "log",
    ax: Axes | None = None,
) -> Axes:
    """Singular values in descending order, of one operator or of several.

    Parameters
    ----------
    values : ConvOperator, array_like or mapping
        An operator; singular values, ``(n,)``, in any order; or a mapping from labels to these.
    k : int, default 100
        How many of an operator's values are computed, the largest; all where it has fewer.
    scale : {"log", "linear"}
        Of the values' axis. On a logarithmic one zeros do not show.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    matplotlib.axes.Axes
        Holds a line for each label.

    Raises
    ------
    ValueError
        If values are negative, NaN or infinite, or not ``(n,)``, if there are none, and as
        `ConvOperator.svdvals`.
    TypeError
        If values are complex, or ``k`` is not an int.
    ImportError
        Where matplotlib is missing.

    Examples
    --------
    >>> import triconv
    >>> A = triconv.ConvOperator([[1.0, -1.0]], (1, 4), padding="same", padding_mode="circular")
    >>> ax = triconv.plot.spectrum({"differences": A, "identity": [1, 1, 1, 1]}, scale="linear")
    >>> ax.lines[0].get_ydata().round(3)
    array([2.   , 1.414, 1.414, 0.   ])
    """
    where = "plot.spectrum"
    k = arguments.integer(where, "k", k, 1)
    scale = arguments.choice(where, "scale", scale, ("log", "linear"))
    several = isinstance(values, Mapping)
    named = dict(values) if several else {"values": values}  # type: ignore[arg-type]
    if not named:
        raise ValueError(f"{where}: values expects at least one operator or array")
    lines = {str(label): _descending(where, str(label), value, k) for label, value in named.items()}

    ax = drawing.axes_or_new(where, ax, 3, 2)
    for n, (label, sigma) in enumerate(lines.items()):
        ax.plot(
            np.arange(1, len(sigma) + 1),
            sigma,
            color=drawing.CATEGORIES[LINES[n % len(LINES)]],
            linestyle=("-", "--", "-.", ":")[n % 4],
            marker="osD^v"[n % 5] if len(sigma) <= MOST_MARKERS else "",
            markersize=4,
            label=label,
        )
    ax.set_yscale(scale)
    ax.set_xlabel("$n$")
    ax.set_ylabel(r"singular value $\sigma_n$ of $W$")
    ax.grid(color=drawing.LINES, alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    if several:
        ax.legend(frameon=False)
    return ax


def _descending(where: str, label: str, value: Any, k: int) -> NDArray[np.float64]:
    from triconv.operators import ConvOperator

    if isinstance(value, ConvOperator):
        return value.svdvals(min(k, *value.shape))
    sigma = arguments.array(where, label, value)
    if sigma.dtype.kind == "c":
        raise TypeError(f"{where}: {label} expects real values, got {sigma.dtype}")
    if sigma.ndim != 1 or not len(sigma):
        raise ValueError(f"{where}: {label} expects singular values (n,), got shape {sigma.shape}")
    if not (np.isfinite(sigma).all() and sigma.min() >= 0):
        raise ValueError(f"{where}: {label} expects finite values of at least 0")
    return np.sort(sigma.astype(np.float64))[::-1]


@np.errstate(all="ignore")
@described
def feature_maps(
    y: ArrayLike, *, layout: str = "NHWC", columns: int | None = None, ax: Axes | None = None
) -> Axes:
    """The channels of an output side by side, zero at the middle of the colours, which all share.

    Parameters
    ----------
    y : array_like
        One sample, ``(H_out, W_out, C_out)``; in the layout ``"NCHW"`` ``(C_out, H_out, W_out)``; or
        ``(H_out, W_out)``. Of complex values the magnitude is drawn; what is not finite is left out. Pixels
        of maps that would be a line, so high or so wide are they, are drawn wider or higher.
    %(layout)
    columns : int, optional
        How many stand in a row; by default as many as make the whole a little wider than high.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    matplotlib.axes.Axes
        Holds one image, masked between the maps.

    Raises
    ------
    ValueError, TypeError
        For a batch, an empty map, and what `conv2d` refuses.
    ImportError
        Where matplotlib is missing.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> ax = triconv.plot.feature_maps(triconv.conv2d(np.eye(6), np.ones((3, 3))))
    >>> ax.images[0].get_clim()
    (-3.0, 3.0)
    """
    where = "plot.feature_maps"
    y = arguments.array(where, "y", y)
    layout = arguments.choice(where, "layout", layout, arguments.LAYOUTS)
    columns = None if columns is None else arguments.integer(where, "columns", columns, 1)
    _, shape = checked.image_shape(where, "y", y.shape, layout, batched=False)
    if not min(shape):
        raise ValueError(f"{where}: y expects no empty axis, got shape {y.shape}")
    ax = drawing.mosaic(where, ax, batch_channels_last(y, layout)[0], "m", columns, "not finite")
    ax.set_title("$Y[i, j, m]$")
    ax.set_xlabel("$j$")
    ax.set_ylabel("$i$")
    return ax

"""An image, its feature maps and the methods' times: the figure of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from triconv.compare import Comparison
from triconv.plot.drawing import OTHER_STYLE, STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison_figure"]

MOST_MAPS = 8
WIDTH = 11  # inches


def comparison_figure(
    image: NDArray[Any],
    maps: Sequence[NDArray[Any]],
    comparisons: Mapping[tuple[int, int | str], Comparison],
    *,
    title: str = "",
) -> Figure:
    """Draw an image, what a bank of filters makes of it, and the time that each method took.

    Parameters
    ----------
    image : ndarray
        ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)``, from 0 to 1.
    maps : sequence of ndarray
        Feature maps, shaped as images of any size and range; at most eight are drawn. Zero is black where a
        map has no negative values, else mid grey; of complex maps the magnitude is drawn.
    comparisons : mapping
        From ``(stride, padding)`` to the comparison made there.
    title : str
        What stands above it all.

    Returns
    -------
    matplotlib.figure.Figure
        Belongs to no window; ``figure.savefig(path)`` writes it.

    Raises
    ------
    ImportError
        Where matplotlib is missing; the extra ``plot`` brings it.

    Examples
    --------
    >>> import numpy as np
    >>> import triconv
    >>> x = np.eye(16)
    >>> weight = np.ones((3, 3)) / 9
    >>> comparisons = {(s, "same"): triconv.compare(x, weight, stride=s, padding="same") for s in (1, 2)}
    >>> figure = triconv.plot.comparison_figure(x, [x], comparisons, title="a diagonal")
    >>> len(figure.axes)
    3
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = maps[:MOST_MAPS]
    rows = 1 if len(shown) <= 3 else 2
    columns = rows + -(-len(shown) // rows)  # the image stands in as many columns as rows
    height, width = image.shape[:2]
    picture = min(max(WIDTH / columns * rows * height / width, 2.0), 5.0)
    panels = list(dict.fromkeys(padding for _, padding in comparisons))

    figure = Figure(figsize=(WIDTH, picture + 4.6), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.08))
    figure.suptitle(title, fontsize="x-large")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(picture + 0.8, 3.4))[:, 0]

    grid = top.add_gridspec(rows, columns)
    _draw_image(top.add_subplot(grid[:, :rows]), image, "image")
    for n, feature_map in enumerate(shown):
        row, column = divmod(n, columns - rows)
        name = f"filter {n + 1} of {len(maps)}"
        _draw_image(top.add_subplot(grid[row, rows + column]), _to_unit_range(feature_map), name)

    axes = bottom.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, padding in zip(axes, panels, strict=True):
        _draw_times(ax, {s: c for (s, p), c in comparisons.items() if p == padding})
        ax.set_title(f"padding {padding}")
    axes[0].set_ylabel("time of a call [ms]")
    times = [1e3 * row.seconds for comparison in comparisons.values() for row in comparison if row.ran]
    if times:
        axes[0].set_ylim(min(times) / 1.6, max(times) * 1.6)  # wide enough for a tick of 1, 2, 5
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    bottom.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _draw_image(ax: Axes, image: NDArray[Any], name: str) -> None:
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    height, width = image.shape[:2]
    ax.set_title(f"{name}, {height} x {width}", fontsize="medium")
    ax.set_axis_off()


def _to_unit_range(values: NDArray[Any]) -> NDArray[np.float64]:
    values = np.abs(values) if np.iscomplexobj(values) else values
    values = np.nan_to_num(np.asarray(values, np.float64), posinf=0.0, neginf=0.0)
    # A few strong edges would leave the rest flat, hence not the largest value.
    most = np.percentile(np.abs(values), 99.5) or 1.0
    return np.clip(values / most if values.min() >= 0 else 0.5 + values / (2 * most), 0.0, 1.0)


def _draw_times(ax: Axes, by_stride: Mapping[int, Comparison]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    strides = list(by_stride)
    missing = []
    for method in dict.fromkeys(row.method for comparison in by_stride.values() for row in comparison):
        colour, marker = STYLES.get(method, OTHER_STYLE)
        times = [1e3 * by_stride[stride][method].seconds for stride in strides]
        ax.plot(range(len(strides)), times, marker=marker, markersize=7, color=colour, label=method)
        absent = [str(s) for s in strides if not by_stride[s][method].ran]
        if absent:
            missing.append(f"\n{method} not run at stride {', '.join(absent)}")
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xticks(range(len(strides)), [str(stride) for stride in strides])
    ax.set_xlim(-0.4, len(strides) - 0.6)
    ax.set_xlabel("stride" + "".join(missing))
    ax.grid(axis="y", color="#dddddd")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)

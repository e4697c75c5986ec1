"""An image, its feature maps and the methods' times: the figure of the command line."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv.compare import Comparison
from triconv.plot import drawing
from triconv.plot.drawing import OTHER_STYLE, STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["comparison_figure"]

MOST_MAPS = 8
WIDTH = 11  # inches
PANELS = 5  # of times in a row
TICKS = 12  # strides that are named in a panel at most
PIXELS = 1024  # of an image that are drawn along an axis at most, or nearly twice as many
LONGEST = 3.0  # how many times as wide as high, or as high as wide, an image is drawn at most
BAR = 50  # points that a bar of values takes beside an image
LETTER = 6.2  # points that a letter of their titles is wide
NOT_FINITE = "#D55E00"


class Shades(NamedTuple):
    """From which value to which an image goes from black to white, and whether a bar says so."""

    low: float
    high: float
    bar: bool = False


@np.errstate(all="ignore")
def comparison_figure(
    image: NDArray[Any],
    maps: Sequence[NDArray[Any]],
    comparisons: Mapping[tuple[int, int | str], Comparison],
    *,
    title: str = "",
    unit: float | None = None,
    inner: tuple[slice, slice] = (slice(None), slice(None)),
) -> Figure:
    """Draw an image, what a bank of filters makes of it, and the time that each method took.

    Parameters
    ----------
    image : ndarray
        ``(H, W)`` or ``(H, W, C)``; of channels that are not one or three the mean is drawn. Shades from 0 to
        1, unless ``unit`` is given. What is not finite is drawn in a colour of its own, here and in maps.
    maps : sequence of ndarray
        Feature maps, shaped as images of any size and range; at most eight are drawn. Zero is black where a
        map has no negative values, else mid grey; of complex maps the magnitude is drawn.
    comparisons : mapping
        From ``(stride, padding)`` to the comparison made there.
    title : str
        What stands above it all, letter by letter; its middle is left out where it is too long.
    unit : float, optional
        The image holds measurements, of which 1 stands for so many. It and the maps are drawn over their own
        range, beside a bar of the values.
    inner : (slice, slice)
        Rows and columns of the maps that hold no padding. Their values alone rule the shades.

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
    picture = min(max(WIDTH / columns * rows * _proportions(*image.shape[:2]), 2.0), 5.0)
    panels = list(dict.fromkeys(padding for _, padding in comparisons))
    lines = -(-len(panels) // PANELS)

    size = WIDTH, picture + 1.2 + 3.4 * lines
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.08))
    heading = figure.suptitle(title, fontsize="x-large", parse_math=False, fontfamily=_families())
    _shorten(heading, 0.96 * figure.bbox.width)
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=(picture + 0.8, 3.4 * lines))
    top, bottom = parts[:, 0]

    grid = top.add_gridspec(rows, columns)
    slot = 72 * WIDTH / columns
    scale, small = (1.0 if unit is None else unit), _reduced(image)
    shades = Shades(0.0, 1.0) if unit is None else _own_range(small * unit)
    ax = top.add_subplot(grid[:, :rows])
    _draw_image(ax, small * scale, shades, _name("image", image), _proportions(*image.shape[:2]), slot * rows)
    for n, feature_map in enumerate(shown):
        row, column = divmod(n, columns - rows)
        ax = top.add_subplot(grid[row, rows + column])
        name = _name(f"filter {n + 1} of {len(maps)}", feature_map)
        small = _reduced(feature_map) * scale
        shades = _map_shades(small, _within(inner, feature_map, small), own=unit is not None)
        _draw_image(ax, small, shades, name, _proportions(*feature_map.shape[:2]), slot)

    axes = bottom.subplots(lines, -(-len(panels) // lines), sharey=True, squeeze=False).ravel()
    for ax, padding in zip(axes, panels, strict=False):
        _draw_times(ax, {s: c for (s, p), c in comparisons.items() if p == padding})
        ax.set_title(f"padding {padding}")
    for ax in axes[len(panels) :]:
        ax.remove()
    axes[0].set_ylabel("time of a call [ms]")
    times = [1e3 * row.seconds for comparison in comparisons.values() for row in comparison if row.ran]
    if times:
        axes[0].set_ylim(min(times) / 1.6, max(times) * 1.6)  # wide enough for a tick of 1, 2, 5
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    bottom.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


# --- texts ------------------------------------------------------------------------------------------

# Where the usual font lacks a letter; one that is not installed is passed over.
WORLD = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Hiragino Sans GB",
    "PingFang SC",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans",
)


def _families() -> list[str]:
    """The usual fonts, and after them those that hold more letters."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [*matplotlib.rcParams["font.family"], *(name for name in WORLD if name in installed)]


def _shorten(text: Text, width: float) -> None:
    """Leave out as much of the middle as is needed for a text to fit into so many pixels."""
    whole = text.get_text()

    def fits(kept: int) -> bool:
        if kept < len(whole):
            text.set_text(f"{whole[: kept // 2]}…{whole[len(whole) - (kept + 1) // 2 :]}")
        return text.get_window_extent().width <= width

    if not fits(len(whole)):
        fits(bisect.bisect_left(range(len(whole)), True, key=lambda kept: not fits(kept)) - 1)


def _wrapped(text: str, letters: float) -> str:
    """Broken after commas into lines of so many letters."""
    lines: list[str] = []
    for part in text.split(", "):
        if lines and len(lines[-1]) + len(part) + 2 <= letters:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return "\n".join(lines)


# --- images -----------------------------------------------------------------------------------------


def _draw_image(
    ax: Axes, values: NDArray[np.float64], shades: Shades, name: str, ratio: float, slot: float
) -> None:
    """Draw an image, so many times as high as wide, under its name, in a slot of so many points."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, to_rgb
    from matplotlib.ticker import MaxNLocator

    low, high, bar = shades
    height, width = values.shape[:2]
    grey = colormaps["gray"].with_extremes(bad=NOT_FINITE)
    drawn = ScalarMappable(Normalize(low, high), grey)
    if values.ndim == 2:
        values = np.ma.masked_invalid(values)
    else:
        absent = ~np.isfinite(values).all(axis=2)
        values = np.clip((values - low) / (high - low), 0, 1)
        values[absent] = to_rgb(NOT_FINITE)
    ax.imshow(values, cmap=grey, vmin=low, vmax=high, aspect=ratio * width / height)
    if bar:
        ax.figure.colorbar(drawn, ax=ax, ticks=MaxNLocator(2 if slot < 200 else 4))
    ax.set_title(_wrapped(name, (0.9 * slot - BAR * bar) / LETTER), fontsize="medium", pad=6 + 3 * bar)
    ax.set_axis_off()


def _proportions(height: int, width: int) -> float:
    """How many times as high as wide an image is drawn."""
    return drawing.pixel_height(height, width, LONGEST) * height / width


def _name(name: str, image: NDArray[Any]) -> str:
    """A name with the size, and with what is not drawn as it is."""
    height, width, channels = *image.shape[:2], math.prod(image.shape[2:])
    mean = f", mean of {channels} channels" if channels not in (1, 3) else ""
    stretched = ", stretched" if drawing.pixel_height(height, width, LONGEST) != 1 else ""
    return f"{name}, {height} x {width}{mean}{stretched}"


@np.errstate(all="ignore")
def _reduced(image: NDArray[Any]) -> NDArray[np.float64]:
    """``(h, w)`` or ``(h, w, 3)`` of means over as many pixels as cannot be drawn each by itself."""
    height, width = image.shape[:2]
    steps = max(1, height // PIXELS), max(1, width // PIXELS)
    h, w = height // steps[0], width // steps[1]
    total = np.zeros((h, w, *image.shape[2:]))
    for u, v in np.ndindex(*steps):
        part = image[u : u + h * steps[0] : steps[0], v : v + w * steps[1] : steps[1]]
        total += drawing.magnitudes(part)
    total /= math.prod(steps)
    return total if total.ndim == 2 or total.shape[2] == 3 else total.mean(axis=2)


def _within(inner: tuple[slice, slice], image: NDArray[Any], small: NDArray[Any]) -> tuple[slice, slice]:
    """The rows and columns of a reduced image of which all pixels are among the inner ones."""
    slices = []
    for each, size, fewer in zip(inner, image.shape, small.shape, strict=False):
        first, last, _ = each.indices(size)
        step = max(1, size // max(1, fewer))
        slices.append(slice(-(-first // step), last // step))
    return slices[0], slices[1]


def _own_range(values: NDArray[np.float64]) -> Shades:
    """From the least finite value to the largest, of a file of measurements."""
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    return Shades(low, high if high > low else low + (abs(low) or 1.0), bar=True)


def _map_shades(values: NDArray[np.float64], inner: tuple[slice, slice], *, own: bool) -> Shades:
    """Shades of a feature map.

    They are ruled by what holds no padding, where there is such. A few strong edges would leave the rest
    flat, hence not by the largest value.
    """
    finite = values[inner][np.isfinite(values[inner])]
    if not finite.size:
        finite = values[np.isfinite(values)]
    if not finite.size:
        return Shades(0.0, 1.0, own)
    low, high = np.percentile(finite, (0.25, 99.75))
    most = np.percentile(np.abs(finite), 99.5) or np.abs(finite).max() or 1.0
    if finite.min() < 0 < finite.max():
        return Shades(-most, most, own)
    if not own:
        return Shades(0.0, most) if finite.min() >= 0 else Shades(-most, most)
    return Shades(low, high if high > low else low + (abs(low) or 1.0), own)


# --- times ------------------------------------------------------------------------------------------


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
            at = f"stride {', '.join(absent)}" if len(absent) <= 3 else f"{len(absent)} strides"
            missing.append(f"\n{method} not run at {at}")
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    step = -(-len(strides) // TICKS)
    ax.set_xticks(range(0, len(strides), step), [str(stride) for stride in strides[::step]])
    ax.set_xlim(-0.4, len(strides) - 0.6)
    ax.set_xlabel("stride" + "".join(missing))
    ax.grid(axis="y", color="#dddddd")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)

"""What the figures are made of: axes, colours, cells with values in them, and images side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from triconv import arguments
from triconv.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis

Colours = NDArray[np.float64]  # red, green, blue and opacity on the last axis

# From the palette of Okabe and Ito, which stays distinct under every kind of colour blindness. Its black
# would be lost on a dark background; a violet and a brown that are distinct from the rest make it nine.
CATEGORIES = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#8700F0",
    "#803000",
)
# A colour and a marker a method, in the order in which they are entered.
PALETTE = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "v"),
    ("#E69F00", "P"),
    ("#56B4E9", "X"),
)
STYLES = dict(zip(METHODS, PALETTE, strict=False))
OTHER_STYLE = ("#666666", "D")
SIZES = "cividis"
SIGNS = "PuOr"
LINES = "#808080"  # seen on white and on black
SHADE = (0.5, 0.5, 0.5, 0.35)
WIDTH, HIGHEST = 6.4, 5.6  # inches of a new figure
LARGEST, SMALLEST = 11.0, 6.0  # points of a value in its cell; what does not fit is left out
LABEL = 9.0  # points of the name of an image
LONGEST = 6.0  # how many times as wide as high, or as high as wide, an image is drawn at most


def pixel_height(height: int, width: int, longest: float = LONGEST) -> float:
    """How many times as high as wide a pixel is drawn: 1, unless the image would be a line."""
    ratio = height / width
    return min(max(ratio, 1 / longest), longest) / ratio


def axes_or_new(where: str, ax: Any, columns: float, rows: float, least: float = 1.8) -> Axes:
    """``ax``, or the axes of a new figure that suits so many columns and rows of square cells.

    ``least`` is the least height in inches.
    """
    from matplotlib.axes import Axes

    if ax is None:
        import matplotlib.pyplot as plt

        height = min(max(WIDTH * rows / columns + 0.7, least), HIGHEST)
        ax = plt.figure(figsize=(WIDTH, height), layout="compressed").add_subplot()
        ax.figure.draw_without_rendering()  # gives the axes their place, by which texts are sized
    if not isinstance(ax, Axes):
        raise TypeError(f"{where}: ax expects a matplotlib Axes, got {arguments.describe(ax)}")
    return ax


def one_sample(where: str, name: str, shape: tuple[int, ...]) -> None:
    """Refuse a batch."""
    if len(shape) > 3:
        raise ValueError(f"{where}: {name} expects one sample, got shape {shape}")


def ink(ax: Axes) -> Any:
    """The colour of text in the style that the axes were made in."""
    return ax.title.get_color()


def tap_colours(count: int) -> Colours:
    """A colour for each tap: categories where there are enough, else steps from dark to light."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba_array

    if count <= len(CATEGORIES):
        return to_rgba_array(CATEGORIES[:count])
    return colormaps["viridis"](np.linspace(0.1, 1, count))


def magnitudes(values: NDArray[Any]) -> NDArray[Any]:
    """Real values as they are, of complex ones the magnitude."""
    return np.abs(values) if np.iscomplexobj(values) else values


def text_on(ax: Axes, face: Any) -> Any:
    """A colour for text that can be read on this face."""
    red, green, blue, opacity = face
    if opacity < 0.5:
        return ink(ax)
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return "black" if luminance > 0.18 else "white"  # from there on black has the more contrast


def cell_sides(ax: Axes, columns: float, rows: float) -> tuple[float, float]:
    """Width and height of a cell, in points, where so many of them fill the axes."""
    box, to_points = ax.get_window_extent(), 72 / ax.figure.dpi
    return box.width / columns * to_points, box.height / rows * to_points


def text_points(texts: Sequence[str], width: float, height: float) -> float:
    """The size at which the longest text fits into so many points, 0 where it would be unreadable."""
    lines = [line for text in texts for line in text.split("\n")]
    tall = max((text.count("\n") + 1 for text in texts), default=1)
    # A digit is 0.64 of its size wide, a point and a hyphen little more than half of that.
    longest = max((len(line) - 0.45 * sum(map(line.count, ".-")) for line in lines), default=1)
    points = min(LARGEST, width / (0.64 * longest), height / (1.3 * tall))
    return points if points >= SMALLEST else 0.0


def format_values(values: NDArray[Any]) -> list[str]:
    """Each value in three digits."""
    return [f"{value:.3g}" for value in values.ravel()]


def write(
    ax: Axes,
    texts: Sequence[str],
    faces: Colours,
    points: float,
    corner: tuple[float, float] = (-0.5, -0.5),
    side: float = 1.0,
) -> None:
    """Write a text into each cell of a grid, from the upper left ``corner``, ``(x, y)``, on."""
    for (row, column), text in zip(np.ndindex(faces.shape[:2]), texts, strict=True):
        x, y = corner[0] + (column + 0.5) * side, corner[1] + (row + 0.5) * side
        if text:
            colour = text_on(ax, faces[row, column])
            ax.text(x, y, text, ha="center", va="center", fontsize=points, color=colour)


def outline(
    ax: Axes, corner: tuple[float, float], width: float, height: float, colour: Any = LINES, **style: Any
) -> None:
    """Draw the border of a block whose upper left corner is at ``corner``, ``(x, y)``."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, clip_on=False, **style))


def cells(
    ax: Axes,
    values: NDArray[Any],
    faces: Colours,
    points: float,
    corner: tuple[float, float] = (-0.5, -0.5),
    side: float = 1.0,
) -> None:
    """Draw a grid of values: written into their cells, or in shades of grey below the cells' colours.

    Parameters
    ----------
    ax : Axes
        Its limits are left to the caller.
    values : ndarray
        ``(rows, columns)``.
    faces : ndarray
        ``(rows, columns, 4)``, the cells' colours.
    points : float
        Size of the text, 0 for none.
    corner : (float, float)
        ``(x, y)`` of the upper left corner.
    side : float
        Of a cell.
    """
    from matplotlib.collections import LineCollection

    rows, columns = values.shape
    left, top = corner
    right, bottom = left + columns * side, top + rows * side
    if not points:
        ax.imshow(magnitudes(values), cmap="gray", extent=(left, right, bottom, top))
    ax.imshow(faces, extent=(left, right, bottom, top), interpolation="nearest")
    if points:
        across = [[(left, y), (right, y)] for y in np.linspace(top, bottom, rows + 1)]
        down = [[(x, top), (x, bottom)] for x in np.linspace(left, right, columns + 1)]
        ax.add_collection(LineCollection(across + down, colors=LINES, linewidths=0.6))
        write(ax, format_values(values), faces, points, corner, side)
    else:
        outline(ax, corner, right - left, bottom - top, linewidth=0.6)


def name_ticks(axis: XAxis | YAxis, names: Sequence[str], side: float) -> None:
    """Name cells of ``side`` points along an axis: all of them, or every so manieth where they are small."""
    step = max(1, round(np.ceil(11 / side)))
    upright = axis.axis_name == "x" and side * step < 4 * max(map(len, names))
    axis.set_ticks(range(0, len(names), step), names[::step], rotation=90 if upright else 0, fontsize=8)


def bare(ax: Axes, columns: float, rows: float) -> None:
    """Square cells from ``(0, 0)`` on, rows downward, without ticks and frame."""
    ax.set_xlim(-0.6, columns - 0.4)
    ax.set_ylim(rows - 0.4, -0.6)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def mosaic(
    where: str, ax: Any, maps: NDArray[Any], name: str, columns: int | None = None, empty: str = ""
) -> Axes:
    """Draw ``(H, W, n)`` as images side by side, zero at the middle of the colours, masked values left out.

    Above each stands ``name`` and its number, where there is room; in one without values stands ``empty``.
    """
    maps = np.ma.filled(np.ma.asarray(magnitudes(maps), np.float64), np.nan)
    maps = np.where(np.isfinite(maps), maps, np.nan)
    height, width, count = maps.shape
    aspect = pixel_height(height, width)
    tall = height * aspect  # in widths of a pixel
    if columns is None:  # together a little wider than high
        columns = count if count <= 4 else max(1, round(np.sqrt(1.6 * count * tall / width)))
    columns = min(columns, count)
    rows = -(-count // columns)
    between = max(1, width // 16)
    across = columns * (width + between) - between
    line = 1.6 * LABEL  # points above each image for its name
    ax = axes_or_new(where, ax, 1.15 * across, rows * (tall + line / 72 / WIDTH * 1.15 * across))
    wide, high = cell_sides(ax, across, rows)
    cell = 0.8 * min(wide, (high - line) / tall)  # the scale of colours takes its part
    label = text_points([f"{name}={count}"], width * cell, 1.3 * LABEL)
    room = line / (cell * aspect) if label else 0.0
    pitch = height + int(np.ceil(max(between / aspect, room)))
    down = rows * pitch - (pitch - height)
    whole = np.full((down, across), np.nan)
    corners = [(n % columns * (width + between), n // columns * pitch) for n in range(count)]
    for n, (x, y) in enumerate(corners):
        whole[y : y + height, x : x + width] = maps[:, :, n]

    shown = maps[~np.isnan(maps)]
    most = np.abs(shown).max(initial=0.0) or 1.0
    image = ax.imshow(whole, cmap=SIGNS, vmin=-most, vmax=most)
    ax.figure.colorbar(image, ax=ax)
    bare(ax, across, down)
    ax.set_ylim(down - 0.4, -0.6 - room)
    ax.set_aspect(aspect)
    points = text_points(format_values(shown), 0.95 * cell, cell * aspect)
    blank = text_points([empty], width * cell, tall * cell) if empty else 0.0
    for n, (x, y) in enumerate(corners):
        corner = x - 0.5, y - 0.5
        outline(ax, corner, width, height, linewidth=0.6)
        if label:
            ax.annotate(
                f"${name}={n}$", corner, (0, 3), textcoords="offset points", va="bottom", fontsize=label
            )
        one = maps[:, :, n]
        if np.isnan(one).all() and empty:
            middle = corner[0] + width / 2, corner[1] + height / 2
            ax.text(*middle, empty if blank else "×", ha="center", va="center", fontsize=blank or LABEL)
        elif points:
            texts = [text.replace("nan", "") for text in format_values(one)]
            write(ax, texts, image.to_rgba(one), points, corner)
    return ax

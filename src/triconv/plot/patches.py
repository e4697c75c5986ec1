"""One patch and the output that it makes, and the matrix of all patches."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from triconv import arguments
from triconv.convolution import conv2d
from triconv.core import checked
from triconv.core.keywords import Keywords
from triconv.core.problem import batch_channels_last
from triconv.described import described
from triconv.patches import im2col, pad
from triconv.plot import drawing
from triconv.types import Layout, Padding, PaddingMode, Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@np.errstate(all="ignore")
@described
def patch(
    x: ArrayLike,
    weight: ArrayLike,
    i: int,
    j: int,
    m: int = 0,
    *,
    C: int | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    ax: Axes | None = None,
) -> Axes:
    r"""One patch on the padded input, the filter that it meets, and the output that they make.

    From left to right: a channel of ``X_pad``, in which the padding is shaded, ``X`` has a dotted border and
    the taps of patch ``(i, j)`` are coloured; that channel of ``K^(m)``, tap by tap in the same colours; and
    ``Y[:, :, m]``, where the output ``(i, j)`` is lit. Values are written into the cells where they fit;
    otherwise they are shades of grey.

    Parameters
    ----------
    x : array_like
        One sample, ``(H, W, C_in)``; in the layout ``"NCHW"`` ``(C_in, H, W)``; or ``(H, W)``.
    %(weight)
    i, j, m : int
        The output: row, column and filter.
    C : int, optional
        The channel of the input that is shown, by default the first that filter ``m`` sees.
    %(keywords)
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    matplotlib.axes.Axes
        A unit is a cell; the centre of ``X_pad[r, c]`` is at ``(c, r)``.

    Raises
    ------
    ValueError
        For shapes, values and names that do not fit, a batch, positions outside the output, and a channel
        that filter ``m`` does not see.
    TypeError
        For dtypes and types.
    ImportError
        Where matplotlib is missing.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> ax = triconv.plot.patch(np.eye(4), np.ones((2, 2)), 1, 0, stride=2, padding=1)
    >>> ax.get_title()
    '$Y[1, 0, 0] = x_{ij} \\cdot k_m = 0$'
    """
    from matplotlib.colors import to_rgba

    where = "plot.patch"
    x = arguments.array(where, "x", x)
    weight = arguments.array(where, "weight", weight)
    keywords = Keywords(stride, padding, dilation, groups, padding_mode, layout)
    problem = checked.convolution(
        where, x.shape, weight.shape, None, arguments.result_dtype(x, weight), keywords
    )
    drawing.one_sample(where, "x", x.shape)
    g = problem.geometry
    h_out, w_out, c_out = g.output_shape
    i = arguments.position(where, "i", i, h_out)
    j = arguments.position(where, "j", j, w_out)
    m = arguments.position(where, "m", m, c_out)
    seen = g.padded_position(g.row(i, j, m)[0])[2]
    C = int(seen[0]) if C is None else arguments.position(where, "C", C, g.in_channels)
    if C not in seen:
        raise ValueError(
            f"{where}: C expects a channel that filter {m} sees, {seen[0]} to {seen[-1]}, got {C}"
        )

    X_pad = batch_channels_last(pad(x, g.pads, padding_mode=problem.mode, layout=layout), layout)[0, :, :, C]
    K = problem.filters(weight)[m, :, :, C - seen[0]]
    Y = batch_channels_last(conv2d(x, weight, **keywords.but_method()), layout)[0, :, :, m]
    rows, columns, _ = g.patch(i, j)
    u, v = np.ogrid[: K.shape[0], : K.shape[1]]
    k_faces = drawing.tap_colours(K.size)[g.patch_index(u, v, 0)]
    x_faces, y_faces = np.zeros((*X_pad.shape, 4)), np.zeros((*Y.shape, 4))
    x_faces[pad(np.ones(g.input_shape[:2]), g.pads) == 0] = drawing.SHADE
    x_faces[rows, columns] = k_faces

    # A small part is enlarged, and stands in the middle of a place that has room for its name.
    height, width = X_pad.shape
    place = max(2.0, 0.3 * width)
    gap = 0.4 * place
    corners, sides, right = [(-0.5, -0.5)], [1.0], width - 0.5
    for part in (K, Y):
        side = max(1.0, min(place / part.shape[1], 0.6 * height / part.shape[0]))
        wide, high = side * part.shape[1], side * part.shape[0]
        corners.append((right + gap + max(place - wide, 0) / 2, (height - high) / 2 - 0.5))
        sides.append(side)
        right += gap + max(wide, place)

    ax = drawing.axes_or_new(where, ax, right + 1, height + 1)
    ink = drawing.ink(ax)
    y_faces[i, j] = to_rgba(ink)
    parts, faces = (X_pad, K, Y), (x_faces, k_faces, y_faces)
    names = f"$X_{{pad}}[r, c, {C}]$", f"$K^{{({m})}}[u, v, {C}]$", f"$Y[i, j, {m}]$"
    cell = min(drawing.cell_sides(ax, right + 1, height + 1))
    written = [text for part in parts for text in drawing.format_values(part)]
    points = drawing.text_points(written, 0.9 * cell, cell)
    for part, face, name, corner, side in zip(parts, faces, names, corners, sides, strict=True):
        drawing.cells(ax, part, face, points, corner, side)
        below = corner[0] + part.shape[1] * side / 2, corner[1] + part.shape[0] * side
        ax.annotate(name, below, (0, -4), textcoords="offset points", ha="center", va="top")
    (top, _), (left, _) = g.pads
    h_in, w_in, _ = g.input_shape
    drawing.outline(ax, (left - 0.5, top - 0.5), w_in, h_in, ink, linestyle=":")

    # The patch, the filter and the lit output, each joined to the next.
    lit = corners[2][0] + j * sides[2], corners[2][1] + i * sides[2]
    boxes = [
        ((columns.start - 0.5, rows.start - 0.5), columns.stop - columns.start, rows.stop - rows.start),
        (corners[1], sides[1] * K.shape[1], sides[1] * K.shape[0]),
        (lit, sides[2], sides[2]),
    ]
    for corner, wide, high in boxes:
        if not points:  # on an image the ink alone may be lost
            drawing.outline(ax, corner, wide, high, ax.get_facecolor(), linewidth=4.5)
        drawing.outline(ax, corner, wide, high, ink, linewidth=2.5)
    for ((x0, y0), wide, high), ((x1, y1), _, below_high) in itertools.pairwise(boxes):
        for here, there in ((0, 0), (high, below_high)):
            ax.plot([x0 + wide, x1], [y0 + here, y1 + there], color=ink, linewidth=0.8, alpha=0.6)
    drawing.bare(ax, right + 1, height)
    ax.set_ylim(height - 0.4 + 18 / cell, -0.6)
    value = f"{Y[i, j]:.3g}"
    ax.set_title(rf"$Y[{i}, {j}, {m}] = x_{{ij}} \cdot k_m = {value}$")
    return ax


@np.errstate(all="ignore")
@described
def patch_matrix(
    x: ArrayLike,
    kernel_size: Size,
    *,
    colours: str = "auto",
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    padding_mode: PaddingMode = "zeros",
    layout: Layout = "NHWC",
    ax: Axes | None = None,
) -> Axes:
    """The matrix of `im2col`: a row ``x_ij`` for each output pixel, a column for each tap.

    Lines part the channels. Rows and columns are named where there are few.

    Parameters
    ----------
    x : array_like
        One sample, ``(H, W, C_in)``; in the layout ``"NCHW"`` ``(C_in, H, W)``; or ``(H, W)``.
    %(kernel_size)
    colours : {"auto", "taps", "values"}
        ``"taps"`` gives each tap ``(u, v)`` a colour, the same in every channel, and ``"values"`` shows an
        image, dark for the least value. ``"auto"`` is ``"taps"`` where the values can be written into the
        cells.
    %(stride, padding, dilation, padding_mode, layout)
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure's by default.

    Returns
    -------
    matplotlib.axes.Axes
        Holds one image of as many pixels as the matrix has entries.

    Raises
    ------
    ValueError
        For shapes, values and names that do not fit, and for a batch.
    TypeError
        For dtypes and types.
    ImportError
        Where matplotlib is missing.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> ax = triconv.plot.patch_matrix(np.eye(3), 2)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['(0, 0)', '(0, 1)', '(1, 0)', '(1, 1)']
    """
    where = "plot.patch_matrix"
    x = arguments.array(where, "x", x)
    colours = arguments.choice(where, "colours", colours, ("auto", "taps", "values"))
    keywords = Keywords(stride, padding, dilation, 1, padding_mode, layout)
    g = checked.patches(where, x.shape, x.dtype, kernel_size, keywords).geometry
    drawing.one_sample(where, "x", x.shape)
    named = keywords.but_method()
    del named["groups"]
    patches = im2col(x, kernel_size, **named)
    height, width = patches.shape
    (h_out, w_out, _), (k_h, k_w) = g.output_shape, g.kernel_size

    ax = drawing.axes_or_new(where, ax, width, height)
    wide, high = drawing.cell_sides(ax, width, height)
    texts = drawing.format_values(patches)
    points = drawing.text_points(texts, 0.9 * wide, high)
    if colours == "values" or (colours == "auto" and not points):
        image = ax.imshow(drawing.magnitudes(patches), cmap=drawing.SIZES, aspect="auto")
        faces = image.to_rgba(drawing.magnitudes(patches))
        if not points:
            ax.figure.colorbar(image, ax=ax)
    else:
        faces = np.tile(drawing.tap_colours(k_h * k_w), (height, g.in_channels, 1))
        ax.imshow(faces, aspect="auto", interpolation="nearest")
    if points:
        drawing.write(ax, texts, faces, points)
    for c in range(1, g.in_channels):
        ax.axvline(g.patch_index(0, 0, c) - 0.5, color=drawing.ink(ax), linewidth=1)

    rows = [f"({i}, {j})" for i, j in np.ndindex(h_out, w_out)]
    taps = [""] * width
    for u, v, c in np.ndindex(k_h, k_w, g.in_channels):
        taps[g.patch_index(u, v, c)] = f"({u}, {v}, {c})" if g.in_channels > 1 else f"({u}, {v})"
    drawing.name_ticks(ax.yaxis, rows, high)
    drawing.name_ticks(ax.xaxis, taps, wide)
    ax.set_ylabel("output pixel $(i, j)$")
    ax.set_xlabel("tap $(u, v, c)$" if g.in_channels > 1 else "tap $(u, v)$")
    ax.set_title(f"rows $x_{{ij}}$, {height} x {width}")
    return ax

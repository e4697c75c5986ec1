"""Figures: what is drawn, read back from the figure."""

import io
import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import oracle
import pytest
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from processes import run
from strategies import PADDING_MODES, Problem

from triconv import ConvOperator, conv2d, plot
from triconv.compare import Comparison, ComparisonRow
from triconv.plot import comparison_figure, drawing

mpl.use("agg")


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    plt.close("all")  # those of other tests
    yield
    plt.close("all")


@pytest.fixture
def ax():
    """Axes so large that values are written into the cells of small grids."""
    return Figure(figsize=(12, 12)).add_subplot()


# --- The command's figure ----------------------------------------------------------------------------


def comparison(seconds):
    """A comparison with these times; NaN is a method that did not run."""
    return Comparison(tuple(ComparisonRow(m, s, 1.0, 0, 0, 0.0) for m, s in seconds.items()), 1e-6)


GRID = {
    (stride, padding): comparison(
        {
            "direct": 1e-3 / stride,
            "im2col": 3e-3 / stride,
            "matrix": math.nan if stride == 1 else 9e-3,
            "auto": 1e-3 / stride,
        }
    )
    for stride in (1, 2)
    for padding in (0, "same", "full")
}


def draw(image, maps, grid=GRID, **keywords):
    figure = comparison_figure(image, maps, grid, **{"title": "a title"} | keywords)
    target = io.BytesIO()
    figure.savefig(target, dpi=40)
    with Image.open(target) as png:
        assert png.width >= 400
        assert png.height >= 200
    return figure


def test_a_panel_for_each_padding_with_a_line_for_each_method():
    figure = draw(np.zeros((20, 30, 3)), [np.ones((9, 9))])
    panels = [ax for ax in figure.axes if ax.lines]
    assert [ax.get_title() for ax in panels] == ["padding 0", "padding same", "padding full"]
    for ax in panels:
        lines = {line.get_label(): line for line in ax.lines}
        assert list(lines) == ["direct", "im2col", "matrix", "auto"]
        assert np.allclose(lines["direct"].get_ydata(), [1.0, 0.5])
        assert np.isnan(lines["matrix"].get_ydata()[0])
        assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]
        assert ax.get_xlabel() == "stride\nmatrix not run at stride 1"
        colours = [line.get_color() for line in ax.lines]
        markers = [line.get_marker() for line in ax.lines]
        assert len(set(colours)) == len(set(markers)) == 4
        low, high = ax.get_ylim()
        assert low < 0.5
        assert high > 9.0
        assert any(low < tick < high for tick in ax.get_yticks())
    assert panels[0].get_ylabel() == "time of a call [ms]"


@pytest.mark.parametrize(("count", "drawn"), [(0, 0), (1, 1), (3, 3), (4, 4), (8, 8), (20, 8)])
def test_at_most_eight_maps(count, drawn):
    figure = draw(np.zeros((20, 30)), [np.ones((9, 9))] * count)
    titles = [ax.get_title().replace(",\n", ", ").replace("\n", ", ") for ax in figure.axes if ax.images]
    assert titles == ["image, 20 x 30", *(f"filter {n + 1} of {count}, 9 x 9" for n in range(drawn))]


@pytest.mark.parametrize(
    "feature_map",
    [
        np.zeros((5, 6)),
        np.full((5, 6, 3), -2.0),
        np.ones((5, 6, 1), np.complex64) * 1j,
        np.array([[math.nan, 1.0], [math.inf, -math.inf]]),
        np.ones((5, 6), np.float16),
    ],
)
def test_maps_of_every_kind(feature_map):
    figure = draw(np.zeros((20, 30, 1)), [feature_map])
    image = figure.axes[1].images[0]
    low, high = image.get_clim()
    assert math.isfinite(low)
    assert low < high
    assert np.isfinite(shades(figure.axes[1])).all()


def shades(ax):
    """The colours that an image on the axes is drawn in."""
    (image,) = ax.images
    return image.to_rgba(image.get_array())[..., :3]


MISSING = to_rgba(plot.comparison.NOT_FINITE)[:3]


def test_zero_is_black_without_negative_values_else_mid_grey():
    figure = draw(np.zeros((9, 9)), [np.eye(9), np.eye(9) - np.eye(9)[::-1]])
    assert_allclose(shades(figure.axes[1])[0, 1], 0)
    assert_allclose(shades(figure.axes[2])[0, 1], 0.5, atol=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_measurements_are_shown_over_their_own_range_beside_a_bar(channels):
    stored = np.linspace(-5, 995, 30 * 40 * channels).reshape(30, 40, channels)
    stored[3, 4] = math.nan
    figure = draw(stored / 995, [stored / 995], unit=995.0)
    images = [ax for ax in figure.axes if ax.images]
    bars = [ax for ax in figure.axes if not ax.images and not ax.lines]
    for ax, bar in zip(images, bars, strict=True):
        assert ax.images[0].get_clim() == bar.get_ylim()
    assert bars[0].get_ylim() == pytest.approx((-5, 995))
    drawn = shades(images[0])
    assert_allclose(drawn[0, 0, 0], 0)
    assert_allclose(drawn[-1, -1, -1], 1)
    assert_allclose(drawn[3, 4], MISSING)


def test_shades_have_no_bar():
    assert sum(not ax.lines for ax in draw(np.ones((9, 9)), [np.ones((9, 9))]).axes) == 2


@pytest.mark.parametrize("values", [[7.0, 7.0], [0.0, 0.0], [math.nan, 3.0], [math.nan, math.nan]])
def test_measurements_that_are_all_the_same(values):
    figure = draw(np.array([values]), [np.array([values])], unit=2.0)
    for ax in [ax for ax in figure.axes if ax.images]:
        low, high = ax.images[0].get_clim()
        assert low < high


@pytest.mark.parametrize("unit", [None, 1.0])
def test_padding_does_not_rule_the_shades_of_a_map(unit):
    """As of an edge filter, whose answers to padding are a hundred times those to the image."""
    values = np.random.default_rng(0).random((40, 50)) - 0.5
    values[[0, -1]] = values[:, [0, -1]] = 1000.0
    image = np.ones((40, 50))
    figure = draw(image, [values], unit=unit, inner=(slice(1, 39), slice(1, 49)))
    _, feature_map = (ax for ax in figure.axes if ax.images)
    low, high = feature_map.images[0].get_clim()
    assert -0.5 <= low < -0.45
    assert 0.45 < high <= 0.5
    # where all is padding, all counts
    figure = draw(image, [values], unit=unit, inner=(slice(5, 5), slice(0, 50)))
    _, feature_map = (ax for ax in figure.axes if ax.images)
    assert feature_map.images[0].get_clim()[1] == 1000.0


def test_a_large_image_is_drawn_by_means_of_pixels():
    large = np.zeros((2100, 4200, 3), np.float32)
    large[::2] = 1
    large[1000, 2000] = math.nan
    figure = draw(large, [large[:, :, :2]], inner=(slice(1, 2099), slice(1, 4199)))
    drawn = [ax.images[0].get_array() for ax in figure.axes[:2]]
    assert [array.shape for array in drawn] == [(1050, 1050, 3), (1050, 1050)]
    assert_allclose(drawn[0][0, 0], 0.5)
    assert_allclose(drawn[0][500, 500], MISSING)
    assert np.ma.count_masked(drawn[1]) == 1
    titles = [ax.get_title().replace("\n", ", ") for ax in figure.axes[:2]]
    assert titles == ["image, 2100 x 4200", "filter 1 of 1, 2100 x 4200, mean of 2 channels"]


@pytest.mark.parametrize("shape", [(2, 400), (400, 2), (1, 1), (1, 9000), (9000, 1), (3000, 40)])
@pytest.mark.parametrize("count", [2, 5])
def test_images_of_any_proportions_are_more_than_a_line(shape, count):
    figure = draw(np.zeros(shape), [np.zeros(shape)] * count)
    for ax in [ax for ax in figure.axes if ax.images]:
        box = ax.get_window_extent()
        assert min(box.width, box.height) > 15  # pixels of 40 to the inch
        assert 0.3 < box.height / box.width < 3.4
        assert ("stretched" in ax.get_title()) == (shape != (1, 1))


def test_nothing_overlaps():
    figure = draw(np.zeros((60, 51, 3)), [np.zeros((58, 49))] * 16)
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    for n, box in enumerate(boxes):
        for other in boxes[n + 1 :]:
            assert not box.shrunk(0.98, 0.98).overlaps(other.shrunk(0.98, 0.98))


NAMES = {
    "plain": "photo.png",
    "long": "x" * 3000,
    "dollars": "$a_b$ \\alpha $",
    "odd dollars": "10$",
    "braces": "{}_^%#&~",
    "wide letters": "日本語" * 100,
    "no letters": "",
}


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, (30, 40)) for name in NAMES.values()] + [("a", s) for s in ((2000, 3000), (4000, 3), (3, 4000))],
    ids=[*NAMES, "large", "tall", "wide"],
)
@pytest.mark.filterwarnings("ignore:.*Glyph:UserWarning", "ignore:.*missing from:UserWarning")
def test_texts_lie_inside_the_figure_and_apart(name, shape):
    """With as many maps, paddings and strides as there may be."""
    grid = {
        (stride, padding): comparison({"direct": 1e-3, "im2col": math.nan, "matrix": math.nan})
        for stride in range(1, 20)
        for padding in (0, "same_lower", "full", 1000, 1001, 1002, 1003)
    }
    one = np.broadcast_to(np.float32(1), shape)
    figure = draw(one, [one] * 40, grid, title=f"{name} end", unit=1.0)
    figure.draw_without_rendering()
    heading = figure._suptitle
    texts = [heading, *(ax.title for ax in figure.axes), *(ax.xaxis.label for ax in figure.axes)]
    for ax in [ax for ax in figure.axes if ax.axison]:
        hidden = set(outside(ax))
        texts += [label for label in ax.get_xticklabels() + ax.get_yticklabels() if label not in hidden]
    boxes = [text.get_window_extent() for text in texts if text.get_visible() and text.get_text()]
    for n, box in enumerate(boxes):
        assert box.x0 > -1
        assert box.x1 < figure.bbox.width + 1
        assert box.y0 > -1
        assert box.y1 < figure.bbox.height + 1
        assert not any(box.overlaps(other) for other in boxes[:n])
    shown = heading.get_text()
    assert shown == f"{name} end" or ("…" in shown and shown.endswith(" end") and shown[0] == name[0])
    if len(name) < 300:
        assert shown == f"{name} end"
    assert not heading.get_parse_math()


def test_letters_that_the_usual_font_lacks_are_looked_for_in_others(monkeypatch):
    assert plot.comparison._families()[0] in mpl.rcParams["font.family"]
    monkeypatch.setattr(plot.comparison, "WORLD", ("DejaVu Serif", "Nowhere Sans"))
    assert plot.comparison._families() == [*mpl.rcParams["font.family"], "DejaVu Serif"]


def test_a_grid_where_nothing_ran():
    draw(np.zeros((9, 9)), [], {(1, 0): comparison({"matrix": math.nan})})


# --- Patches -----------------------------------------------------------------------------------------

PROBLEMS = {
    "one channel": Problem((4, 5), (3, 2), axes="filter", padding=1),
    "channels": Problem((4, 5), (2, 2), 2, 3, padding=((0, 1), (2, 0))),
    "NCHW": Problem((4, 5), (2, 3), 2, 2, stride=(2, 1), padding=1, layout="NCHW"),
    "dilation": Problem((6, 7), (2, 3), 1, 2, stride=2, dilation=(3, 2), padding=1),
    "groups": Problem((4, 4), (2, 2), 4, 4, groups=2, padding="same"),
    **{mode: Problem((3, 4), (3, 3), 2, 2, padding=2, padding_mode=mode) for mode in PADDING_MODES[1:]},
}
each_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


def rectangles(ax):
    """Corner, width and height of every outline on the axes."""
    return [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in ax.patches]


def texts_in(ax, box):
    """The texts inside a box, row by row and each from left to right."""
    x, y, width, height = box
    inside = [
        text
        for text in ax.texts
        if text.get_text()[0] != "$"
        and x < text.get_position()[0] < x + width
        and y < text.get_position()[1] < y + height
    ]
    return [text.get_text() for text in sorted(inside, key=lambda text: text.get_position()[::-1])]


def box_of(image):
    left, right, bottom, top = image.get_extent()
    return left, top, right - left, bottom - top


def written(values):
    return [f"{value:.3g}" for value in np.ravel(values)]


def padded_taps(problem, i, j):
    """Rows and columns of ``X_pad`` that output ``(i, j)`` reads."""
    steps = zip(
        (i, j), problem.kernel_size, *map(oracle.pair, (problem.stride, problem.dilation)), strict=True
    )
    return np.ix_(*(n * s + d * np.arange(k) for n, k, s, d in steps))


@each_problem
def test_patch_shows_input_filter_and_output(problem, ax):
    x, weight, _ = problem.integers()
    H_out, W_out = problem.output_size
    i, j, m = H_out - 1, W_out // 2, problem.out_channels - 1
    c = problem.in_channels // problem.groups - 1
    C = problem.in_channels - 1
    assert plot.patch(x, weight, i, j, m, C=C, ax=ax, **problem.keywords) is ax

    X_pad = np.array(
        oracle.pad_sample(oracle.sample_from(x.tolist(), problem.layout), problem.pads, problem.padding_mode)
    )
    K = np.array(oracle.filters_from(weight.tolist(), problem.layout))[m, :, :, c]
    Y = np.array(oracle.sample_from(problem.expected(x, weight).tolist(), problem.layout))[:, :, m]
    boxes = [box_of(image) for image in ax.images]
    for box, part in zip(boxes, (X_pad[:, :, C], K, Y), strict=True):
        assert texts_in(ax, box) == written(part)
    assert boxes[0] == (-0.5, -0.5, *X_pad.shape[1::-1])

    faces, filter_faces, output_faces = (image.get_array() for image in ax.images)
    taps = padded_taps(problem, i, j)
    assert len(np.unique(filter_faces.reshape(-1, 4), axis=0)) == K.size
    assert_array_equal(faces[taps], filter_faces)
    shown = np.ones((*problem.size, 1)).tolist()
    padding = np.array(oracle.pad_sample(shown, problem.pads, "zeros"))[:, :, 0] == 0
    faces[taps] = 0
    padding[taps] = False
    assert_allclose(faces, padding[:, :, None] * np.array(drawing.SHADE))
    assert output_faces[i, j, 3] == 1
    assert output_faces[:, :, 3].sum() == 1

    (top, _), (left, _) = problem.pads
    outlines = rectangles(ax)
    assert outlines[0] == (left - 0.5, top - 0.5, *problem.size[::-1])
    rows, columns = taps[0].ravel(), taps[1].ravel()
    patch = columns[0] - 0.5, rows[0] - 0.5, np.ptp(columns) + 1, np.ptp(rows) + 1
    side = boxes[2][2] / W_out
    lit = boxes[2][0] + j * side, boxes[2][1] + i * side, side, side
    assert_allclose(outlines[1:], [patch, boxes[1], lit])
    joined = [tuple(line.get_xydata().ravel()) for line in ax.lines]
    assert_allclose(
        joined, [line for a, b in ((patch, boxes[1]), (boxes[1], lit)) for line in both_sides(a, b)]
    )

    assert ax.get_title() == rf"$Y[{i}, {j}, {m}] = x_{{ij}} \cdot k_m = {Y[i, j]:.3g}$"
    names = {text.get_text() for text in ax.texts if text.get_text()[0] == "$"}
    assert names == {f"$X_{{pad}}[r, c, {C}]$", f"$K^{{({m})}}[u, v, {C}]$", f"$Y[i, j, {m}]$"}


def both_sides(a, b):
    """The lines from the right corners of one box to the left corners of the next."""
    return [(a[0] + a[2], a[1] + part * a[3], b[0], b[1] + part * b[3]) for part in (0, 1)]


def test_patch_shows_the_first_channel_that_the_filter_sees():
    x, weight, _ = PROBLEMS["groups"].integers()
    ax = plot.patch(x, weight, 0, 0, 3, **PROBLEMS["groups"].keywords)
    assert "$X_{pad}[r, c, 2]$" in [text.get_text() for text in ax.texts]


def test_patch_of_a_large_image_is_grey():
    x, weight = np.random.default_rng(0).random((60, 80)), np.ones((3, 3)) / 9
    ax = plot.patch(x, weight, 20, 30)
    image, _, kernel, _, output, _ = ax.images
    assert_array_equal(image.get_array(), x)
    assert_array_equal(kernel.get_array(), weight)
    assert_array_equal(output.get_array(), conv2d(x, weight))
    assert all(text.get_text()[0] == "$" for text in ax.texts)


@each_problem
@pytest.mark.parametrize("colours", ["taps", "values"])
def test_patch_matrix_shows_every_row(problem, colours):
    x, _, _ = problem.integers()
    large = Figure(figsize=(15, 40)).add_subplot()
    keywords = problem.im2col_keywords
    assert plot.patch_matrix(x, problem.kernel_size, colours=colours, ax=large, **keywords) is large
    expected = np.array(oracle.im2col(x.tolist(), problem.kernel_size, **keywords))
    (image,) = large.images
    assert [text.get_text() for text in large.texts] == written(expected)
    assert [text.get_position() for text in large.texts] == [(k, n) for n, k in np.ndindex(expected.shape)]
    k_h, k_w = problem.kernel_size
    if colours == "values":
        assert_array_equal(image.get_array(), expected)
    else:
        faces = image.get_array()
        assert (faces == faces[0]).all()
        by_channel = faces[0].reshape(problem.in_channels, k_h * k_w, 4)
        assert (by_channel == by_channel[0]).all()
        assert len(np.unique(by_channel[0], axis=0)) == k_h * k_w
    at = range(problem.in_channels), range(k_w), range(k_h)
    taps = [(u, v, c)[: 2 + (problem.in_channels > 1)] for c in at[0] for v in at[1] for u in at[2]]
    assert [label.get_text() for label in large.get_xticklabels()] == list(map(str, taps))
    assert [label.get_text() for label in large.get_yticklabels()] == list(
        map(str, np.ndindex(problem.output_size))
    )
    assert [line.get_xdata()[0] for line in large.lines] == [
        c * k_h * k_w - 0.5 for c in range(1, problem.in_channels)
    ]


def test_a_long_patch_matrix_is_an_image_of_values_with_some_rows_named():
    x = np.random.default_rng(0).random((20, 30))
    ax = plot.patch_matrix(x, 3)
    assert ax.images[0].get_array().shape == (18 * 28, 9)
    assert not ax.texts
    names = {
        tick: label.get_text() for tick, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)
    }
    assert 5 < len(names) < 60
    assert names == {n: str(divmod(int(n), 28)) for n in names}


# --- W -----------------------------------------------------------------------------------------------


def taps_of(problem, **keywords):
    """The number of the tap that each entry of W is, that of all taps where it is several, NaN for none."""
    k_h, k_w = problem.kernel_size
    numbers = np.arange(1, k_h * k_w + 1).reshape(k_w, k_h).T[:, :, None]
    weight = np.empty(problem.weight_shape, int)
    if problem.layout == "NCHW":
        weight[:] = numbers.transpose(2, 0, 1)
    else:
        weight[:] = numbers if weight.ndim == 4 else numbers[:, :, 0]
    made = [
        np.array(oracle.dense(*oracle.conv_matrix(values.tolist(), problem.sample_shape, **keywords)), float)
        for values in (weight, np.ones_like(weight))
    ]
    return np.select([made[1] == 0, made[1] == 1], [np.nan, made[0] - 1], k_h * k_w)


@each_problem
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("order", ["F", "C"])
def test_matrix_shows_the_tap_of_each_entry(problem, padded, order, ax):
    _, weight, _ = problem.integers()
    keywords = problem.keywords | {"padded": padded, "order": order}
    assert plot.matrix(weight, problem.sample_shape, ax=ax, **keywords) is ax
    expected = taps_of(problem, **keywords)
    (image,) = ax.images
    assert_array_equal(np.ma.filled(image.get_array(), np.nan), expected)
    rows, columns = expected.shape
    assert image.get_extent() == [-0.5, columns - 0.5, rows - 0.5, -0.5]
    assert ax.get_xlabel() == f"position in vec(${'X_{pad}' if padded else 'X'}$)"
    assert ax.get_ylabel() == "position in vec($Y$)"
    count = np.count_nonzero(~np.isnan(expected))
    assert ax.get_title() == f"$W$, {rows} x {columns}, {count} entries"

    k_h, k_w = problem.kernel_size
    names = [f"{u}, {v}" for v in range(k_w) for u in range(k_h)]
    several = ["several"] * int((expected == k_h * k_w).any())
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == names + several
    colours = [patch.get_facecolor() for patch in legend.get_patches()]
    assert_allclose(colours, image.cmap(image.norm(np.arange(len(colours)))))

    together = (order == "F") == (problem.layout == "NHWC")
    blocks = (problem.in_channels, problem.out_channels) if together else (1, 1)
    lines = [
        [n * size / count - 0.5 for n in range(1, count)]
        for size, count in zip((columns, rows), blocks, strict=True)
    ]
    across = [line.get_ydata()[0] for line in ax.lines if line.get_xdata()[0] != line.get_xdata()[1]]
    down = [line.get_xdata()[0] for line in ax.lines if line.get_xdata()[0] == line.get_xdata()[1]]
    assert [down, across] == lines


def test_a_pixel_of_a_large_matrix_stands_for_a_square_of_entries(ax):
    problem = Problem((16, 16), (3, 3), 3, 3, padding=1)
    plot.matrix(np.ones(problem.weight_shape), problem.sample_shape, padding=1, ax=ax)
    (image,) = ax.images
    taps = taps_of(problem, padding=1)
    size = taps.shape[0] // image.get_array().shape[0]
    assert 1 < size < 5
    squares = taps.reshape(len(taps) // size, size, len(taps) // size, size).swapaxes(1, 2)
    counts = np.stack([(squares == tap).sum(axis=(2, 3)) for tap in range(9)], axis=-1)
    drawn = np.ma.filled(image.get_array(), -1).astype(int)
    assert_array_equal(drawn >= 0, counts.any(axis=-1))
    at = np.nonzero(drawn >= 0)
    assert_array_equal(counts[(*at, drawn[at])], counts.max(axis=-1)[at])
    assert image.get_extent() == [-0.5, 767.5, 767.5, -0.5]


def test_a_matrix_of_hundreds_of_thousands_of_entries_is_an_image_of_few_pixels(ax):
    plot.matrix(np.ones((8, 3, 3, 3)), (32, 32, 3), padding="same", ax=ax)
    assert max(ax.images[0].get_array().shape) <= plot.structure.MOST_PIXELS


def test_many_taps_have_no_legend_but_colours_of_their_own(ax):
    plot.matrix(np.ones((4, 4)), (6, 6), ax=ax)
    (image,) = ax.images
    assert ax.get_legend() is None
    assert len(np.unique(image.cmap(image.norm(np.arange(16))), axis=0)) == 16


def tiles(ax):
    """The images that stand side by side, each with its name; NaN where nothing is drawn."""
    whole = np.ma.filled(ax.images[0].get_array(), np.nan)
    found = []
    for x, y, width, height in rectangles(ax):
        x, y = round(x + 0.5), round(y + 0.5)
        found.append(whole[y : y + round(height), x : x + round(width)].copy())
        whole[y : y + round(height), x : x + round(width)] = np.nan
    assert np.isnan(whole).all()
    return np.stack(found, axis=-1)


def names_of(ax):
    return [text.get_text() for text in ax.texts if text.get_text()[0] == "$"]


def dense(problem, padded):
    """A weight without zeros, and W of it with NaN where it has no entry."""
    _, weight, _ = problem.integers()
    weight = np.abs(weight) + 1
    rows, columns = oracle.conv_matrix(
        weight.tolist(), problem.sample_shape, padded=padded, **problem.keywords
    )
    return weight, np.array([[row.get(n, np.nan) for n in range(columns)] for row in rows])


def channels_last(problem, vector, size):
    shape = problem._arrange(None, *size, len(vector) // math.prod(size))
    image = vector.reshape(shape, order="F")
    return image if problem.layout == "NHWC" else np.moveaxis(image, 0, -1)


@each_problem
@pytest.mark.parametrize("padded", [False, True])
def test_rows_and_columns_of_the_matrix_as_images(problem, padded):
    weight, W = dense(problem, padded)
    H_out, W_out = problem.output_size
    (top, bottom), (left, right) = problem.pads
    size = problem.size[0] + (top + bottom) * padded, problem.size[1] + (left + right) * padded
    keywords = problem.keywords | {"padded": padded}
    drawn = "$X_{pad}$" if padded else "$X$"
    for i, j, m in ((0, 0, 0), (H_out - 1, W_out // 2, problem.out_channels - 1)):
        ax = Figure().add_subplot()
        assert plot.matrix_row(weight, problem.sample_shape, i, j, m, ax=ax, **keywords) is ax
        n = oracle.position(i, j, m, (H_out, W_out, problem.out_channels), problem.layout, "F")
        assert_array_equal(tiles(ax), channels_last(problem, W[n], size))
        assert ax.get_title() == f"row of $W$ for $Y[{i}, {j}, {m}]$, over {drawn}"
        assert names_of(ax) == [f"$C={C}$" for C in range(problem.in_channels)]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("$c$", "$r$")
    for r, c, C in ((0, 1, 0), (size[0] - 1, size[1] // 2, problem.in_channels - 1)):
        ax = Figure().add_subplot()
        assert plot.matrix_column(weight, problem.sample_shape, r, c, C, ax=ax, **keywords) is ax
        n = oracle.position(r, c, C, (*size, problem.in_channels), problem.layout, "F")
        assert_array_equal(tiles(ax), channels_last(problem, W[:, n], (H_out, W_out)))
        assert ax.get_title() == f"column of $W$ for {drawn}$[{r}, {c}, {C}]$, over $Y$"
        assert names_of(ax) == [f"$m={m}$" for m in range(problem.out_channels)]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("$j$", "$i$")


def test_a_row_shows_taps_of_zero_nan_and_complex_taps_where_they_stand():
    ax = plot.matrix_row([[0.0, math.nan], [3 + 4j, math.inf]], (3, 3), 1, 1)
    assert_array_equal(tiles(ax)[1:, 1:, 0], [[0, np.nan], [5, np.nan]])
    assert np.isnan(tiles(ax)).sum() == 7


# --- Results -----------------------------------------------------------------------------------------


def in_cells(ax, shape):
    """The texts of cells, blank where there is none."""
    texts = np.full(shape, "", object)
    for text in ax.texts:
        x, y = text.get_position()
        texts[int(y), int(x)] = text.get_text()
    return texts.tolist()


def test_heat_map_of_one_method(ax):
    assert plot.heat_map(GRID, "matrix", ax=ax) is ax
    assert_allclose(np.ma.filled(ax.images[0].get_array(), np.nan), [[np.nan, 9e-3]] * 3)
    assert in_cells(ax, (3, 2)) == [["-", "9.00 ms"]] * 3
    assert ax.get_title() == "time of a call, matrix"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "same", "full"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("stride", "padding")


def test_heat_map_of_the_fastest_method(ax):
    grid = {
        (1, 0): comparison({"direct": 2e-3, "im2col": 1e-3, "matrix": 3e-3, "auto": 1e-4}),
        (2, 0): comparison({"direct": math.nan, "matrix": 3e-3}),
        (2, "same"): comparison({"direct": math.nan}),
    }
    plot.heat_map(grid, ax=ax)
    assert in_cells(ax, (2, 2)) == [["im2col\n2.00x", "matrix"], ["", "-"]]
    faces = ax.images[0].get_array()
    for at, method in (((0, 0), "im2col"), ((0, 1), "matrix")):
        assert_allclose(faces[at], to_rgba(drawing.STYLES[method][0]))
    assert_array_equal(faces[1], 0)


@pytest.mark.parametrize("method", [None, "direct"])
def test_heat_map_where_nothing_ran(method):
    ax = plot.heat_map({(1, 0): comparison({"direct": math.nan})}, method)
    ax.figure.draw_without_rendering()
    assert in_cells(ax, (1, 1)) == [["-"]]


def test_spectrum_of_operators_and_values(ax):
    A = ConvOperator([[1.0, -1.0]], (1, 8), padding="same", padding_mode="circular")
    assert plot.spectrum({"A": A, "b": [1, 3, 2]}, k=5, ax=ax) is ax
    values = [A.svdvals(5), [3, 2, 1]]
    for line, expected in zip(ax.lines, values, strict=True):
        assert_array_equal(line.get_ydata(), expected)
        assert_array_equal(line.get_xdata(), np.arange(len(expected)) + 1)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["A", "b"]
    assert (
        len({line.get_color() for line in ax.lines}) == len({line.get_linestyle() for line in ax.lines}) == 2
    )
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == r"singular value $\sigma_n$ of $W$"


def test_spectrum_of_one_operator_with_fewer_values_than_asked_for():
    A = ConvOperator([[1.0, -1.0]], (1, 8))
    ax = plot.spectrum(A, scale="linear")
    assert_array_equal(ax.lines[0].get_ydata(), A.svdvals(7))
    assert ax.get_legend() is None
    assert ax.get_yscale() == "linear"


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("columns", [None, 1, 2, 9])
def test_feature_maps_stand_side_by_side(layout, columns, ax):
    y = np.random.default_rng(0).standard_normal((5, 6, 7))
    given = y if layout == "NHWC" else np.moveaxis(y, -1, 0)
    assert plot.feature_maps(given, layout=layout, columns=columns, ax=ax) is ax
    assert_array_equal(tiles(ax), y)
    most = np.abs(y).max()
    assert ax.images[0].get_clim() == (-most, most)
    assert names_of(ax) == [f"$m={m}$" for m in range(7)]
    lefts = {x for x, *_ in rectangles(ax)}
    assert ax.images[0].get_array().shape[1] - 0.5 == max(lefts) + 6
    if columns:
        assert len(lefts) == min(columns, 7)


@pytest.mark.parametrize("shape", [(5, 6, 20), (28, 28, 64), (3, 3, 8), (200, 150, 12), (2, 60, 5)])
def test_names_of_maps_overlap_no_map(shape):
    ax = plot.feature_maps(np.ones(shape))
    ax.figure.draw_without_rendering()
    maps = [patch.get_window_extent() for patch in ax.patches]
    names = [text.get_window_extent() for text in ax.texts if text.get_text()[0] == "$"]
    assert len(names) == shape[2]
    assert not any(name.overlaps(box) for name in names for box in maps)
    assert not any(name.overlaps(other) for n, name in enumerate(names) for other in names[:n])


def test_zero_is_the_middle_of_a_map_with_signs():
    ax = plot.feature_maps([[-1.0, 0.0, 4.0]])
    assert_allclose(ax.images[0].to_rgba(0.0)[:3], mpl.colormaps["PuOr"](0.5)[:3])


@pytest.mark.parametrize(
    ("y", "expected", "most"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2)), 1.0),
        ([[1.0, math.nan], [math.inf, -2.0]], [[1.0, math.nan], [math.nan, -2.0]], 2.0),
        ([[3 + 4j, 0]], [[5, 0]], 5.0),
        (np.eye(2, dtype=bool), np.eye(2), 1.0),
    ],
)
def test_feature_maps_of_every_kind(y, expected, most):
    ax = plot.feature_maps(y)
    assert_array_equal(tiles(ax)[:, :, 0], expected)
    assert ax.images[0].get_clim() == (-most, most)


@pytest.mark.parametrize(
    "shape", [(4000, 3, 6), (3, 4000, 6), (2000, 2, 1), (1, 500, 1), (500, 1, 64), (1, 500, 64)]
)
def test_maps_that_are_very_tall_or_wide_are_more_than_lines(shape):
    ax = plot.feature_maps(np.random.default_rng(0).standard_normal(shape))
    ax.figure.draw_without_rendering()
    boxes = [patch.get_window_extent() for patch in ax.patches]
    assert len(boxes) == shape[2]
    for box in boxes:
        assert min(box.width, box.height) > 5
        assert 1 / 7 < box.height / box.width < 7
    assert_array_equal(tiles(ax).shape, shape)


@pytest.mark.parametrize("shape", [(20, 30, 6), (4, 5, 2), (3, 3), (200, 3, 9), (9, 9, 400)])
def test_maps_of_no_finite_value_say_so(shape):
    ax = plot.feature_maps(np.full(shape, math.nan))
    said = [text.get_text() for text in ax.texts if text.get_text()[0] != "$"]
    assert len(said) == len(ax.patches) == math.prod(shape[2:])
    assert set(said) <= {"not finite", "×"}
    if math.prod(shape) < 9999:
        ax.figure.draw_without_rendering()
        for text, box in zip([t for t in ax.texts if t.get_text() in said], ax.patches, strict=True):
            inside, around = text.get_window_extent(), box.get_window_extent()
            assert around.x0 - 1 < inside.x0 < inside.x1 < around.x1 + 1


def test_one_map_of_no_finite_value_among_others():
    y = np.ones((4, 5, 3))
    y[:, :, 1] = math.inf
    ax = plot.feature_maps(y)
    assert [text.get_text() for text in ax.texts].count("not finite") == 1
    row = plot.matrix_row(np.ones((2, 2, 2, 1)), (3, 3, 2), 0, 0, 1, groups=2)
    assert "not finite" not in [text.get_text() for text in row.texts]


# --- All of them -------------------------------------------------------------------------------------

X, K = np.arange(30.0).reshape(5, 6), np.arange(9.0).reshape(3, 3)
DRAW = {
    "patch": lambda **kw: plot.patch(X, K, 1, 2, padding=1, **kw),
    "grey patch": lambda **kw: plot.patch(np.tile(X, (9, 9)), K, 1, 2, padding=1, **kw),
    "patch_matrix": lambda **kw: plot.patch_matrix(X, 3, padding=1, **kw),
    "patch_matrix, values": lambda **kw: plot.patch_matrix(np.tile(X, (5, 5)), 3, **kw),
    "matrix": lambda **kw: plot.matrix(K, X.shape, padding=1, **kw),
    "wide matrix": lambda **kw: plot.matrix(np.ones((2, 3, 3, 1)), (9, 9, 2), groups=2, stride=2, **kw),
    "matrix_row": lambda **kw: plot.matrix_row(K, X.shape, 1, 2, **kw),
    "matrix_column": lambda **kw: plot.matrix_column(K, X.shape, 1, 2, **kw),
    "heat_map": lambda **kw: plot.heat_map(GRID, **kw),
    "spectrum": lambda **kw: plot.spectrum({"a": [3, 2, 1], "b": [1, 0, 1]}, **kw),
    "feature_maps": lambda **kw: plot.feature_maps(np.ones((5, 6, 6)), **kw),
}
each_plot = pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)


def contrast(a, b):
    """The ratio of two colours' luminances, by which the WCAG judges whether text can be read."""
    bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour):
    return linear(np.array(to_rgba(colour)[:3])) @ [0.2126, 0.7152, 0.0722]


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


@each_plot
@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_every_text_can_be_read_and_lies_inside_the_figure(draw, style):
    """Each is judged against the pixels around it, in a picture 500 pixels wide."""
    with plt.style.context(style):
        figure = draw().figure
    figure.set_dpi(500 / figure.get_figwidth())
    figure.draw_without_rendering()
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[:, :, :3] / 255
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text()]
    assert texts
    hidden = [label for ax in figure.axes for label in outside(ax)]
    for text in texts:
        if text in hidden:
            continue
        box = text.get_window_extent()
        assert box.x0 > -1
        assert box.y0 > -1
        assert box.x1 < figure.bbox.width + 1
        assert box.y1 < figure.bbox.height + 1
        left, right, low, high = map(round, (box.x0, box.x1, box.y0, box.y1))
        behind = most_common(pixels[len(pixels) - high : len(pixels) - low, max(left, 0) : right])
        assert contrast(text.get_color(), behind) > 4, text


def outside(ax):
    """Labels of ticks beyond the limits, which are not drawn."""
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks() + axis.get_minor_ticks():
            if not low <= tick.get_loc() <= high:
                yield tick.label1
                yield tick.label2


def most_common(pixels):
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    return colours[counts.argmax()]


def test_matplotlib_is_loaded_when_a_figure_is_drawn():
    code = """
import triconv
triconv.plot
print("matplotlib" in sys.modules)
triconv.plot.spectrum([1])
print("matplotlib" in sys.modules)
"""
    assert run(code) == ["False", "True"]


@each_plot
def test_a_new_figure_or_the_axes_given(draw):
    figure, axes = plt.subplots(1, 2)
    assert draw(ax=axes[1]) is axes[1]
    assert not axes[0].has_data()
    assert plt.get_fignums() == [figure.number]
    ax = draw()
    assert ax.figure is not figure
    assert plt.get_fignums() == [figure.number, ax.figure.number]


# Of G. M. Machado, M. M. Oliveira and L. A. F. Fernandes, "A physiologically-based model for simulation of
# color vision deficiency" (2009), for no cones of one kind; they act on linear red, green and blue.
SIGHTS = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(rgb):
    """CIE L*a*b* of linear red, green and blue, in which distances are those that are seen."""
    t = np.clip(rgb, 0, 1) @ XYZ.T / XYZ.sum(axis=1)
    x, y, z = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize("sight", SIGHTS.values(), ids=SIGHTS)
def test_categories_can_be_told_apart(sight):
    colours = lab(linear(to_rgba_array(drawing.CATEGORIES)[:, :3]) @ np.transpose(sight))
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert distances[np.triu_indices(len(colours), 1)].min() > 15  # just noticeable is about 2


# --- Refusals ----------------------------------------------------------------------------------------

REFUSED = {
    "i": (lambda: plot.patch(X, K, 3, 0), ValueError, "plot.patch: i expects less than 3, got 3"),
    "j": (lambda: plot.patch(X, K, 0, 1.0), TypeError, "plot.patch: j expects an int, got 1.0"),
    "m": (lambda: plot.patch(X, K, 0, 0, 1), ValueError, "plot.patch: m expects less than 1, got 1"),
    "C": (
        lambda: plot.patch(np.ones((4, 4, 4)), np.ones((4, 2, 2, 2)), 0, 0, 3, C=1, groups=2),
        ValueError,
        "plot.patch: C expects a channel that filter 3 sees, 2 to 3, got 1",
    ),
    "batch": (
        lambda: plot.patch(np.ones((2, 4, 4, 1)), np.ones((1, 2, 2, 1)), 0, 0),
        ValueError,
        "plot.patch: x expects one sample, got shape (2, 4, 4, 1)",
    ),
    "weight": (
        lambda: plot.patch(np.ones((4, 4, 2)), np.ones((1, 2, 2, 1)), 0, 0),
        ValueError,
        "plot.patch: weight expects 1 input channels per group, x has 2 (layout='NHWC', groups=1)",
    ),
    "patches of a batch": (
        lambda: plot.patch_matrix(np.ones((2, 4, 4, 1)), 2),
        ValueError,
        "plot.patch_matrix: x expects one sample, got shape (2, 4, 4, 1)",
    ),
    "colours": (
        lambda: plot.patch_matrix(X, 3, colours="red"),
        ValueError,
        "plot.patch_matrix: colours expects one of 'auto', 'taps', 'values', got 'red'",
    ),
    "ax": (
        lambda: plot.patch_matrix(X, 3, ax=Figure()),
        TypeError,
        "plot.patch_matrix: ax expects a matplotlib Axes, got a Figure",
    ),
    "input_shape": (
        lambda: plot.matrix(np.ones((1, 3, 3, 1)), (2, 5, 5, 1)),
        ValueError,
        "plot.matrix: input_shape expects one sample, got shape (2, 5, 5, 1)",
    ),
    "padded": (
        lambda: plot.matrix(K, (5, 5), padded=1),
        TypeError,
        "plot.matrix: padded expects a bool, got 1",
    ),
    "order": (
        lambda: plot.matrix(K, (5, 5), order="A"),
        ValueError,
        "plot.matrix: order expects one of 'F', 'C', got 'A'",
    ),
    "row": (
        lambda: plot.matrix_row(K, (5, 5), 0, 3),
        ValueError,
        "plot.matrix_row: j expects less than 3, got 3",
    ),
    "column": (
        lambda: plot.matrix_column(K, (5, 5), 5, 0, padding=1),
        ValueError,
        "plot.matrix_column: r expects less than 5, got 5",
    ),
    "channel": (
        lambda: plot.matrix_column(K, (5, 5), 0, 0, 1),
        ValueError,
        "plot.matrix_column: C expects less than 1, got 1",
    ),
    "comparisons": (
        lambda: plot.heat_map([]),
        TypeError,
        "plot.heat_map: comparisons expects a mapping from (stride, padding), got a list",
    ),
    "no comparison": (
        lambda: plot.heat_map({}),
        ValueError,
        "plot.heat_map: comparisons expects at least one comparison",
    ),
    "key": (
        lambda: plot.heat_map({1: GRID[1, 0]}),
        ValueError,
        "plot.heat_map: comparisons expects keys (stride, padding), got 1",
    ),
    "comparison": (
        lambda: plot.heat_map({(1, 0): 2.0}),
        TypeError,
        "plot.heat_map: comparisons expects a Comparison at (1, 0), got 2.0",
    ),
    "method": (
        lambda: plot.heat_map(GRID, "fft"),
        ValueError,
        "plot.heat_map: method expects one of 'direct', 'im2col', 'matrix', 'auto', got 'fft'",
    ),
    "values": (
        lambda: plot.spectrum(np.eye(2)),
        ValueError,
        "plot.spectrum: values expects singular values (n,), got shape (2, 2)",
    ),
    "no values": (
        lambda: plot.spectrum({}),
        ValueError,
        "plot.spectrum: values expects at least one operator or array",
    ),
    "negative": (
        lambda: plot.spectrum({"a": [1.0, -1.0]}),
        ValueError,
        "plot.spectrum: a expects finite values of at least 0",
    ),
    "complex": (
        lambda: plot.spectrum([1j]),
        TypeError,
        "plot.spectrum: values expects real values, got complex128",
    ),
    "scale": (
        lambda: plot.spectrum([1], scale="symlog"),
        ValueError,
        "plot.spectrum: scale expects one of 'log', 'linear', got 'symlog'",
    ),
    "k": (lambda: plot.spectrum([1], k=0), ValueError, "plot.spectrum: k expects at least 1, got 0"),
    "y": (
        lambda: plot.feature_maps(np.ones((1, 2, 3, 4))),
        ValueError,
        "plot.feature_maps: y expects (H, W) or (H, W, C), got shape (1, 2, 3, 4) (layout='NHWC')",
    ),
    "empty": (
        lambda: plot.feature_maps(np.ones((0, 2, 3))),
        ValueError,
        "plot.feature_maps: y expects no empty axis, got shape (0, 2, 3)",
    ),
    "columns": (
        lambda: plot.feature_maps(X, columns=0),
        ValueError,
        "plot.feature_maps: columns expects at least 1, got 0",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
    assert not plt.get_fignums()

"""Figures: what is drawn, read back from the figure."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from triconv.compare import Comparison, ComparisonRow
from triconv.plot import comparison_figure


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


def draw(image, maps, grid=GRID):
    figure = comparison_figure(image, maps, grid, title="a title")
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
    titles = [ax.get_title() for ax in figure.axes if ax.images]
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
    shown = figure.axes[1].images[0].get_array()
    assert 0 <= shown.min() <= shown.max() <= 1


def test_zero_is_black_without_negative_values_else_mid_grey():
    figure = draw(np.zeros((9, 9)), [np.eye(9), np.eye(9) - np.eye(9)[::-1]])
    assert figure.axes[1].images[0].get_array()[0, 1] == 0.0
    assert figure.axes[2].images[0].get_array()[0, 1] == 0.5


@pytest.mark.parametrize("shape", [(2, 400), (400, 2), (1, 1)])
def test_images_of_any_proportions(shape):
    draw(np.zeros(shape), [np.zeros(shape)] * 5)


def test_nothing_overlaps():
    figure = draw(np.zeros((60, 51, 3)), [np.zeros((58, 49))] * 16)
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    for n, box in enumerate(boxes):
        for other in boxes[n + 1 :]:
            assert not box.shrunk(0.98, 0.98).overlaps(other.shrunk(0.98, 0.98))


def test_a_grid_where_nothing_ran():
    draw(np.zeros((9, 9)), [], {(1, 0): comparison({"matrix": math.nan})})

"""The explorer's numbers are the library's, and its settings are checked; the page has tests of its own."""

import sys

import numpy as np
import pytest
from hypothesis import given
from strategies import NAMED, problems

import triconv
from triconv.explorer import explore

pytest.importorskip("anywidget", reason="the extra `notebook` brings anywidget")
X = np.arange(60.0).reshape(5, 6, 2) % 7
WEIGHT = np.arange(72.0).reshape(4, 3, 3, 2) % 5 - 2


def small(problem):
    sizes = (*problem.size, *problem.pads[0], *problem.pads[1])
    return max(sizes) <= 12 and max(problem.in_channels, problem.out_channels) <= 8


def test_prints_its_settings():
    assert repr(explore(X, WEIGHT, stride=2)).startswith(
        "Explorer(size=(5, 6), in_channels=2, out_channels=4,"
    )


@given(problem=problems(axes=("samples",)).filter(small))
def test_every_panel_shows_the_librarys_numbers(problem):
    problem = type(problem)(**{**vars(problem), "batch": None}).of("float64")
    x, weight, _ = problem.integers()
    keywords = {name: value for name, value in problem.keywords.items() if name != "layout"}
    widget = explore(x, weight, layout=problem.layout, **keywords)
    expected = problem.expected(x, weight)
    if problem.layout == "NCHW":
        expected = np.moveaxis(expected, 0, -1)
    panels, lit = widget.panels, widget.lit
    assert np.array_equal(np.moveaxis(panels["output"]["values"], 0, -1), expected)
    g = widget._scene.geometry
    W = triconv.conv_matrix(
        np.moveaxis(weight, 1, -1) if problem.layout == "NCHW" else weight,
        g.input_shape,
        padded=True,
        **keywords,
    )
    entries = [np.frombuffer(widget.matrix[name], np.int32) for name in ("rows", "columns", "taps")]
    drawn = np.zeros(W.shape)
    group = W.shape[0] // len(widget._scene.filters)
    drawn[entries[0], entries[1]] = widget._scene.filters[entries[0] // group, entries[2]]
    assert np.array_equal(drawn, W.toarray())
    i, j, m = (size - 1 for size in g.output_shape)
    widget.selected = "output", i, j, m
    lit = widget.lit
    assert np.dot(lit["x"], lit["k"]) == expected[i, j, m]
    assert lit["row"] == g.output_index(i, j, m)
    padded = np.moveaxis(panels["input"]["values"], 0, -1)
    assert [padded[r, c, channel] for r, c, channel, _ in lit["cells"]] == lit["x"]
    r, c, channel = (size // 2 for size in g.padded_shape)
    widget.selected = "input", r, c, channel
    lit = widget.lit
    column = W.toarray()[:, g.padded_index(r, c, channel)]
    present = np.zeros(W.shape, int)
    present[entries[0], entries[1]] = 1
    rows = [row for row in lit["rows"] if row // group == lit["first"]]
    places = g.padded_index(*np.indices(g.padded_shape[:2]), channel)
    shared = np.zeros(places.shape, int)
    for at_row, at_column, count in lit["near"]:
        shared[at_row, at_column] = count
    assert np.array_equal(shared, present[rows].sum(0)[places])
    assert lit["column"] == g.padded_index(r, c, channel)
    shown = np.zeros(len(column))
    for row, (*_, m, tap) in zip(lit["rows"], lit["cells"], strict=True):
        shown[row] = widget._scene.filters[m, tap]
    assert np.array_equal(shown, column)


def test_what_is_offered_is_valid_and_nothing_else():
    widget = explore(X, WEIGHT, stride=2)
    for name, offered in widget.choices.items():
        trait, _, along = name.partition(" ")
        axis = along == "width"
        most = {"size": X.shape[axis], "kernel_size": 3, "stride": 4, "dilation": 4}.get(trait, 4)
        candidates = (
            range(1, most + 2) if along or trait in ("groups", "in_channels", "out_channels") else offered
        )
        for value in candidates:
            fresh = explore(X, WEIGHT, stride=2)
            pair = list(getattr(fresh, trait)) if along else value
            if along:
                pair[axis] = value
            try:
                setattr(fresh, trait, tuple(pair) if along else value)
            except ValueError:
                assert value not in offered
            else:
                assert value in offered or value > most


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"stride": 0}, ValueError),
        ({"stride": 1.5}, TypeError),
        ({"kernel_size": 4}, ValueError),
        ({"size": (2, 2)}, ValueError),
        ({"groups": 3}, ValueError),
        ({"in_channels": True}, TypeError),
        ({"padding": "twice"}, ValueError),
        ({"padding_mode": "mirror"}, ValueError),
        ({"selected": ("patch", 0, 0)}, ValueError),
        ({"selected": ("output", 0, 0)}, ValueError),
    ],
)
def test_what_is_not_valid_changes_nothing(change, error):
    widget = explore(X, WEIGHT)
    ((name, value),) = change.items()
    before, panels = getattr(widget, name), widget.panels
    with pytest.raises(error, match="explore: "):
        setattr(widget, name, value)
    assert getattr(widget, name) == before
    assert widget.panels == panels


def test_a_place_that_is_gone_moves_to_the_nearest():
    widget = explore(X, WEIGHT)
    widget.selected = "output", 2, 3, 3
    widget.stride = 2
    assert widget.selected == ("output", 1, 1, 3)
    assert widget.lit["at"] == [1, 1, 3]


def test_rows_and_columns_of_w_can_be_touched():
    widget = explore(X, WEIGHT, padding=1)
    widget.selected = "row", 7
    assert widget.lit["row"] == 7
    widget.selected = "column", 9
    assert widget.lit["column"] == 9


def test_other_arrays():
    widget = explore(X, WEIGHT, padding=1)
    widget.set_arrays(np.eye(4), np.ones((2, 2)))
    assert widget.size == (4, 4)
    assert widget.panels["output"]["values"] == [
        triconv.conv2d(np.eye(4), np.ones((2, 2)), padding=1).tolist()
    ]
    with pytest.raises(ValueError, match="x expects at most"):
        widget.set_arrays(np.ones((40, 40)), np.ones((2, 2)))
    assert widget.size == (4, 4)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((np.ones((30, 30)),), {}, ValueError, r"x expects at most shape \(24, 24, 8\), got \(30, 30, 1\)"),
        ((X, np.ones((9, 3, 3, 2))), {}, ValueError, "weight expects at most shape"),
        ((X.astype(complex), WEIGHT), {}, TypeError, "x expects real numbers"),
        ((X[None], WEIGHT), {}, ValueError, "x expects one sample"),
        ((np.where(X == 6, np.nan, X), WEIGHT), {}, ValueError, "x expects finite numbers"),
        ((X, np.full((1, 2, 2, 2), np.inf)), {}, ValueError, "weight expects finite numbers"),
        ((X, WEIGHT[0]), {}, ValueError, r"weight expects 2 or 4 axes, got shape \(3, 3, 2\)"),
        ((X, WEIGHT, [1, 2]), {}, ValueError, "bias expects shape"),
        ((X, WEIGHT), {"strides": 2}, TypeError, "unexpected keyword 'strides'"),
        ((X, WEIGHT), {"stride": 0}, ValueError, "stride expects at least 1"),
        ((X, WEIGHT), {"padding": 2, "padding_mode": "reflect", "groups": 5}, ValueError, "groups"),
    ],
)
def test_refused(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        explore(*arguments, **keywords)


def test_times_are_measured_when_asked_for():
    widget = explore(X, WEIGHT)
    assert widget.seconds == {}
    widget.measure()
    assert set(widget.seconds) == set(NAMED)
    widget.stride = 2
    assert widget.seconds == {}


@pytest.mark.parametrize("groups", range(1, 9))
def test_arrays_that_are_not_given_fit_those_that_are(groups):
    widget = explore(groups=groups)
    assert widget.out_channels % groups == widget.in_channels % groups == 0
    assert explore(np.ones((4, 3))).kernel_size == (4, 3)
    assert explore(np.ones((7, 9, groups)), groups=groups).kernel_size == (5, 5)
    assert explore(weight=np.ones((groups, 2, 2, 1)), groups=groups).in_channels == groups


def test_present_values_are_offered_and_arrays_taken():
    widget = explore(X, WEIGHT, stride=(5, 6), padding=np.array([1, 2]))
    assert widget.padding == (1, 2)
    for name, value in (("stride height", 5), ("stride width", 6), ("padding", (1, 2))):
        assert value in widget.choices[name]


def test_what_the_page_sends():
    """Pairs as lists, and the request to measure."""
    widget = explore(X, WEIGHT)
    widget.set_state({"padding": [[1, 0], [2, 1]], "stride": [2, 1]})
    assert (widget.padding, widget.stride) == (((1, 0), (2, 1)), (2, 1))
    widget.set_state({"kernel_size": [9, 9], "groups": 1})
    assert (widget.kernel_size, widget._scene.geometry.kernel_size) == ((3, 3), (3, 3))
    widget.set_state({"padding_mode": 7})
    assert widget.padding_mode == "zeros"
    widget.stride = 1
    assert widget.stride == (1, 1)
    widget._handle_custom_msg("something else", [])
    assert widget.seconds == {}
    widget._handle_custom_msg("measure", [])
    assert set(widget.seconds) == set(NAMED)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "triconv.explorer.widget", raising=False)
    monkeypatch.delattr(triconv.explorer, "widget", raising=False)
    with pytest.raises(ImportError, match=r"^explore needs anywidget: pip install 'triconv\[notebook\]'$"):
        explore(X, WEIGHT)


def test_nothing_is_fetched():
    """The page's code names no address."""
    for name in ("_esm", "_css"):
        assert "//" not in str(getattr(triconv.explorer.widget.Explorer, name)).replace("// ", "")

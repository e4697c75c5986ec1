"""Numbers that floats make hard: rounding, NaN and infinity, subnormals, and memory that holds garbage."""

import warnings
from dataclasses import replace
from fractions import Fraction
from math import prod

import calls
import numpy as np
import oracle
import processes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import EDGE_PROBLEMS, FLOATS, METHODS, NAMED, SIZES, Problem, problems, same_float

import triconv
from triconv import col2im, conv2d, conv2d_input_grad, conv2d_weight_grad, conv_matrix, im2col

each_method = pytest.mark.parametrize("method", METHODS)
FORMS = NAMED
each_form = pytest.mark.parametrize("method", FORMS)
EDGES = (
    "1x1 kernel, stride 2",
    "dilation and stride",
    "dilation, depthwise",
    "depthwise multiplier",
    "groups of 17 filters",
    "stride over padding alone",
    "asymmetric padding",
    "replicate wider than the input",
    "circular kernel wider than the input",
    "reflect as wide as it goes",
    "batch of three",
    "image and filter",
    "in channels: 33",
    "one channel, output width: 33",
)
ALL = {f"edge: {name}": EDGE_PROBLEMS[name] for name in EDGES} | SIZES
SCALE = 2**58  # takes the numbers of Problem.floats() to integers


# --- Rounding ----------------------------------------------------------------------------------------


def whole(array, magnitude=False):
    """The real and the imaginary part of `array` times `SCALE`, as nested lists of integers; exact."""

    def integers(part):
        scaled = [int(value * float(SCALE)) for value in (np.abs(part) if magnitude else part).ravel()]
        return np.array(scaled, object).reshape(part.shape).tolist()

    return integers(array.real.astype(float)), integers(array.imag.astype(float))


def of_parts(function, a, b, conjugated):
    """The real and the imaginary part of a sum of products of `a` and `b`, or of `b` conjugated.

    `conjugated` None takes every product as positive, for absolute values.
    """

    def part(m, n):
        return np.array(function(a[m], b[n]), object)

    of_squares, of_crossed = {None: (1, 1), False: (-1, 1), True: (1, -1)}[conjugated]
    return part(0, 0) + of_squares * part(1, 1), part(1, 0) + of_crossed * part(0, 1)


def check_bound(actual, function, a, b, terms, *, conjugated=False, start=None):
    """|error| <= n u / (1 - n u) times the same sum of absolute values, for sums of n terms.

    A product passes through n roundings at most: its own, and those of the additions that follow. Parts of
    complex sums have twice the products. `terms` is n, or an array of it; `start` is what is added besides.
    """
    exact = of_parts(function, whole(a), whole(b), conjugated)
    absolute = of_parts(function, whole(a, magnitude=True), whole(b, magnitude=True), None)
    if start is not None:
        exact, absolute = (
            [part + np.array(more, object) * SCALE for part, more in zip(parts, added, strict=True)]
            for parts, added in ((exact, whole(start)), (absolute, whole(start, magnitude=True)))
        )
    u = Fraction(float(np.finfo(actual.dtype).eps) / 2)
    n = np.broadcast_to(terms, actual.shape).ravel() * (2 if actual.dtype.kind == "c" else 1)
    for computed, true, magnitude in zip((actual.real, actual.imag), exact, absolute, strict=True):
        each = zip(computed.ravel().tolist(), true.ravel(), magnitude.ravel(), n.tolist(), strict=True)
        for value, truth, total, count in each:
            assert abs(Fraction(value) * SCALE**2 - truth) <= count * u / (1 - count * u) * total


def few(problem):
    """The problem with fewer channels where the oracle would take long."""
    if problem.multiplications > 20_000:
        problem = replace(problem, in_channels=problem.groups, out_channels=problem.groups)
    return replace(problem, bias_dtype=None)


def output_floats(problem):
    """A gradient with respect to the output, of floats."""
    mirror = np.random.default_rng(2)
    sizes = mirror.uniform(1, 2, (2, *problem.output_shape)) * 2.0 ** mirror.integers(
        -6, 5, problem.output_shape
    )
    values = sizes[0] - 1j * sizes[1] if problem.result_dtype.kind == "c" else sizes[0]
    return values.astype(problem.result_dtype)


@each_method
@given(problem=problems(same_float, empty_batch=False))
def test_outputs_are_within_the_derived_bound(problem, method):
    """n is k_h k_w C_in / groups + 1; the bias is a term."""
    x, weight, bias = problem.floats()
    y = conv2d(x, weight, bias, method=method, **problem.keywords)
    if bias is not None:
        first = problem.layout == "NCHW" and problem.axes != "filter"
        bias = np.broadcast_to(bias[:, None, None] if first else bias, y.shape)

    def definition(x, weight):
        return oracle.conv2d(x, weight, **problem.keywords)

    check_bound(y, definition, x, weight, problem.terms, start=bias)


@each_method
@given(problem=problems(same_float, empty_batch=False))
def test_gradients_of_inputs_are_within_the_derived_bound(problem, method):
    """n counts the taps that see the pixel, over all outputs and filters, in the padding's copies too."""
    problem = few(problem)
    _, weight, _ = problem.floats()
    grad = output_floats(problem)
    back = conv2d_input_grad(grad, weight, problem.x_shape, method=method, **problem.keywords)

    def definition(grad, weight):
        sums = oracle.input_grad(grad, weight, problem.x_shape, **problem.keywords)
        return np.array(sums, object).reshape(problem.x_shape)

    ones = np.ones(grad.shape, int).tolist(), np.ones(weight.shape, int).tolist()
    check_bound(back, definition, grad, weight, definition(*ones), conjugated=True)


@pytest.mark.slow
@each_method
@given(problem=problems(same_float, empty_batch=False))
def test_gradients_of_weights_are_within_the_derived_bound(problem, method):
    """n is N H_out W_out."""
    problem = few(problem)
    x, weight, _ = problem.floats()
    grad = output_floats(problem)
    sums = conv2d_weight_grad(grad, x, problem.kernel_size, method=method, **problem.keywords)

    def definition(grad, x):
        return oracle.weight_grad(grad, x, problem.kernel_size, **problem.keywords)

    assert sums.shape == weight.shape
    check_bound(sums, definition, grad, x, (problem.batch or 1) * prod(problem.output_size), conjugated=True)


# --- NaN and infinity --------------------------------------------------------------------------------


def marked(shape, at):
    """Zeros with a one."""
    mark = np.zeros(shape)
    mark[at] = 1
    return mark


def places(shape, seed):
    """The first and the last place of an array, and some in between."""
    rng = np.random.default_rng(seed)
    return [(0,) * len(shape), tuple(n - 1 for n in shape), *(tuple(rng.integers(shape)) for _ in range(3))]


@each_method
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@given(problem=problems(same_float, empty_batch=False), data=st.data())
def test_nan_and_infinity_reach_exactly_their_patches(problem, value, method, data):
    """They go where a lone one among zeros would, were all taps ones; NaN where all taps are zeros."""
    x, weight, bias = problem.integers()
    at = tuple(data.draw(st.integers(0, length - 1)) for length in x.shape)
    reached = problem.expected(marked(x.shape, at), np.ones(weight.shape, int)) != 0
    zeros = data.draw(st.booleans())
    if zeros:
        weight[...] = 0
    x[at] = value
    y = conv2d(x, weight, bias, method=method, **problem.keywords)
    assert_array_equal(~np.isfinite(y), reached)
    if zeros or np.isnan(value):
        assert np.isnan(y[reached]).all()
    x[at] = 0
    assert_array_equal(y[~reached], problem.expected(x, weight, bias)[~reached])


@each_form
@pytest.mark.parametrize("name", ALL)
def test_nan_and_infinity_reach_exactly_their_patches_in_every_tile(name, method):
    problem = ALL[name]
    x, weight, bias = problem.integers()
    ones = np.ones(weight.shape)
    by_matrix = {"method": "matrix"} | problem.keywords  # which the oracle checks entry by entry
    for at, value in zip(places(x.shape, 0), (np.nan, np.inf, np.nan, -np.inf, np.nan), strict=True):
        image = x.copy()
        image[at] = value
        reached = conv2d(marked(x.shape, at), ones, **by_matrix) != 0
        y = conv2d(image, weight, bias, method=method, **problem.keywords)
        assert_array_equal(~np.isfinite(y), reached)


@each_form
@pytest.mark.parametrize("name", ALL)
def test_nan_and_infinity_reach_exactly_the_gradients_that_hold_them(name, method):
    problem = ALL[name]
    x, weight, _ = problem.integers()
    grad = problem.output_integers()
    keywords = problem.keywords | {"method": method}
    ones, by_matrix = np.ones(weight.shape), problem.keywords | {"method": "matrix"}
    for at, value in zip(places(grad.shape, 1), (np.nan, np.inf, np.nan, -np.inf, np.nan), strict=True):
        bad, mark = grad.copy(), marked(grad.shape, at)
        bad[at] = value
        reached = conv2d_input_grad(mark, ones, x.shape, **by_matrix) != 0
        back = conv2d_input_grad(bad, weight, x.shape, **keywords)
        assert_array_equal(~np.isfinite(back), reached)
        sums = conv2d_weight_grad(bad, x, problem.kernel_size, **keywords)
        seen = conv2d_weight_grad(mark, np.ones(x.shape), problem.kernel_size, **by_matrix) != 0
        # Zeros of the padding, which the matrix leaves out, may add NaN for taps of the same filter.
        others = (
            np.delete(sums, at[-1 if problem.layout == "NHWC" else -3], 0) if sums.ndim == 4 else sums[:0]
        )
        assert not np.isfinite(sums[seen]).any()
        assert np.isfinite(others).all()
    for at, value in zip(places(x.shape, 2), (np.nan, np.inf, np.nan, -np.inf, np.nan), strict=True):
        image = x.copy()
        image[at] = value
        seen = marked(x.shape, at)
        reached = conv2d_weight_grad(np.ones(grad.shape), seen, problem.kernel_size, **by_matrix) != 0
        sums = conv2d_weight_grad(grad, image, problem.kernel_size, **keywords)
        assert_array_equal(~np.isfinite(sums), reached)


@each_method
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_inside_wide_tiles(value, method):
    for problem in (Problem((3, 45), (3, 3), 1, 1), Problem((4, 31), (3, 3), 17, 33, padding=1)):
        x, weight, _ = problem.integers()
        weight[weight == 0] = 1
        for column in (0, 13, 14, 15, 16, x.shape[1] - 1):
            image, at = x.copy(), (1, column, -1)
            image[at] = value
            reached = problem.expected(marked(x.shape, at), np.ones(weight.shape, int)) != 0
            y = conv2d(image, weight, method=method, **problem.keywords)
            assert_array_equal(~np.isfinite(y), reached)
            assert np.isnan(y[reached]).all() == np.isnan(value)


@each_method
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("channels", [1, 3, 40])
def test_what_is_no_number_reaches_the_taps_that_see_it(channels, value, method):
    """The last column is seen by the last tap alone."""
    x = np.ones((6, 7, channels))
    x[2, -1, -1] = value
    keywords = {"groups": channels, "method": method}
    sums = conv2d_weight_grad(np.ones((6, 5, channels)), x, (1, 3), **keywords)
    expected = np.full((channels, 1, 3, 1), 30.0)
    expected[-1, 0, 2] = value
    assert_array_equal(sums, expected)


# --- Subnormals --------------------------------------------------------------------------------------


def tiny(*arrays):
    """Arrays of integers times the smallest number of their precision: exact, and few of them normal."""
    return [None if a is None else a * np.finfo(a.dtype).smallest_subnormal for a in arrays]


def single(problem):
    """The problem with arrays of the dtype that it is computed in, and no empty batch."""
    return problem.of(problem.result_dtype.name)


@each_form
@pytest.mark.parametrize("name", SIZES)
def test_subnormals_survive(name, method):
    """What is computed of them is exact, by one thread and by all; the caller's arithmetic is as before."""
    problem = single(SIZES[name])
    x, weight, bias = problem.integers()
    grad = problem.output_integers()
    keywords = problem.keywords | {"method": method}
    small, start, wanted = tiny(x, bias, grad)
    y = conv2d(x, weight, bias, **keywords)
    assert np.abs(y).max() < 1 / np.finfo(y.dtype).eps
    back = conv2d_input_grad(grad, weight, x.shape, **keywords)
    sums = conv2d_weight_grad(grad, x, problem.kernel_size, **keywords)
    expected = tiny(y, back, sums, sums)
    states = np.geterr()
    for count in sorted({1, triconv.get_num_threads()}):
        with triconv.threads(count):
            made = (
                conv2d(small, weight, start, **keywords),
                conv2d_input_grad(wanted, weight, x.shape, **keywords),
                conv2d_weight_grad(wanted, x, problem.kernel_size, **keywords),
                conv2d_weight_grad(grad, small, problem.kernel_size, **keywords),
            )
        for actual, exact in zip(made, expected, strict=True):
            assert exact.any()
            assert_array_equal(actual, exact)
        least = np.finfo(y.dtype).smallest_subnormal
        assert 0 < least * least.dtype.type(3) - least < np.finfo(y.dtype).smallest_normal
        assert np.geterr() == states


def test_subnormals_survive_a_move():
    problem = SIZES["small"]
    x, weight, _ = tiny(*replace(problem, bias_dtype=None).integers())
    patches = im2col(x, problem.kernel_size, **problem.im2col_keywords)
    units = np.finfo(x.dtype).smallest_subnormal
    assert_array_equal(patches / units, im2col(x / units, problem.kernel_size, **problem.im2col_keywords))
    back = col2im(patches, x.shape, problem.kernel_size, **problem.im2col_keywords)
    counted = col2im(patches / units, x.shape, problem.kernel_size, **problem.im2col_keywords)
    assert_array_equal(back / units, counted)
    W = conv_matrix(weight, problem.sample_shape, **problem.keywords)
    assert_array_equal(np.unique(W.data), np.unique(weight))


# --- What NumPy is told to do about large and small numbers ------------------------------------------


def public_calls(dtype, size, groups):
    """Every function that computes, on random numbers of about a size, by name."""
    rng = np.random.default_rng(7)
    problem = Problem((7, 8), (3, 3), 4, 4, padding=1, groups=groups, bias_dtype=dtype)

    def values(shape):
        drawn = rng.standard_normal(shape)
        if np.dtype(dtype).kind == "c":
            drawn = drawn + 1j * rng.standard_normal(shape)
        return (drawn * size).astype(dtype)

    x, weight, bias = values(problem.x_shape), values(problem.weight_shape), values(4)
    grad = values(problem.output_shape)
    each = {"groups": groups}
    circular = each | {"padding": "same", "padding_mode": "circular"}
    by_images = triconv.ConvOperator(weight, problem.x_shape, padding=1, **each)
    made = {
        f"{name} by {method}": call
        for method in METHODS
        for name, call in calls.calls(problem, method, x, weight, bias, grad).items()
    }

    def layer():
        found = triconv.Conv2d(4, 4, 3, padding=1, dtype=dtype, rng=0, **each)
        found.weight[...] = weight
        return found(x), found.backward(grad), found.weight_grad, found.bias_grad

    narrow = "complex64" if np.dtype(dtype).kind == "c" else "float32"
    cut = x.astype(narrow)
    return made | {
        "layer": layer,
        "flatten_weight": lambda: triconv.flatten_weight(weight),
        "plan, narrower": lambda: triconv.plan(weight, x.shape, bias, dtype=narrow, **each)(cut),
        "conv_matrix, narrower": lambda: triconv.conv_matrix(weight, x.shape, dtype=narrow, **each).data,
        "norm": by_images.norm,
        "svdvals": lambda: by_images.svdvals(3),
        "norm, circular": triconv.ConvOperator(weight, problem.x_shape, **circular).norm,
        "norm_bound": by_images.norm_bound,
        "norm_estimate": by_images.norm_estimate,
        "compare": lambda: [row.max_error for row in triconv.compare(x, weight, bias, repeat=1, **each)],
    }


def outcome(call):
    """All arrays that a call returns, as lists."""
    made = call()
    made = made.toarray() if hasattr(made, "toarray") else made
    return [np.asarray(part) for part in (made if isinstance(made, tuple | list) else [made])]


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("power", [0, -20, 20, -300, 300])
@pytest.mark.parametrize("dtype", [*FLOATS, "float16"])
def test_what_numpy_should_do_about_errors_changes_nothing(dtype, power, groups):
    """Ordinary numbers, tiny ones and huge ones, as large as the dtype goes."""
    with np.errstate(all="ignore"):
        limits = np.finfo(dtype)
        size = float(np.clip(10.0**power, limits.tiny, limits.max / 8))
        found = public_calls(dtype, size, groups)
        expected = {name: outcome(call) for name, call in found.items()}
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for name, call in found.items():
            got = outcome(call)
            for actual, wanted in zip(got, expected[name], strict=True):
                assert_array_equal(actual, wanted, err_msg=name)


# --- Memory that holds garbage -----------------------------------------------------------------------


def garbage(shape, dtype=float, *_, **__):
    """A new array of NaN, or of the integer -1."""
    made = np.ndarray(shape, dtype)
    made.reshape(-1).view(np.uint8)[...] = 0xFF
    return made


@each_form
@pytest.mark.parametrize("name", ALL)
def test_nothing_is_read_that_was_not_written(name, method, monkeypatch):
    """New memory is NaN: what a kernel leaves out of a result, or takes from a workspace, would show."""
    problem = ALL[name]
    x, weight, bias = problem.integers()
    grad = problem.output_integers()
    keywords = problem.keywords | {"method": method}

    def run():
        return (
            conv2d(x, weight, bias, **keywords),
            triconv.plan(weight, x.shape, bias, **keywords)(x),
            conv2d_input_grad(grad, weight, x.shape, **keywords),
            conv2d_weight_grad(grad, x, problem.kernel_size, **keywords),
        )

    expected = run()
    monkeypatch.setattr(np, "empty", garbage)
    monkeypatch.setattr(np, "empty_like", lambda a: garbage(a.shape, a.dtype))
    for count in sorted({1, triconv.get_num_threads()}):
        with triconv.threads(count):
            for actual, exact in zip(run(), expected, strict=True):
                assert np.isfinite(actual).all()
                assert_array_equal(actual, exact)


@pytest.mark.parametrize("name", ["small", "large", "large, groups"])
def test_relatives_read_nothing_that_was_not_written(name, monkeypatch):
    problem = replace(SIZES[name], padding_mode="reflect")
    x, weight, _ = problem.integers()

    def run():
        patches = im2col(x, problem.kernel_size, **problem.im2col_keywords)
        W = conv_matrix(weight, problem.sample_shape, **problem.keywords)
        back = col2im(patches, x.shape, problem.kernel_size, **problem.im2col_keywords)
        return patches, back, W.data, W.indices, W.indptr

    expected = run()
    monkeypatch.setattr(np, "empty", garbage)
    for actual, exact in zip(run(), expected, strict=True):
        assert_array_equal(actual, exact)


# --- Bounds checks -----------------------------------------------------------------------------------

CHECKED = """
import numpy as np, oracle
from strategies import EDGE_PROBLEMS, SIZES
from triconv import col2im, conv2d_input_grad, conv_matrix, im2col
from triconv.kernels import fold

names = ["dilation and stride", "depthwise", "asymmetric padding", "circular wider than the input",
         "reflect as wide as it goes", "replicate wider than the input", "image and filter", "batch of three"]
for each in [*(EDGE_PROBLEMS[name] for name in names), SIZES["small"]]:
    x, weight, bias = each.of("float64").integers()
    patches = im2col(x, each.kernel_size, **each.im2col_keywords)
    assert patches.tolist() == oracle.im2col(x.tolist(), each.kernel_size, **each.im2col_keywords)
    back = col2im(patches, x.shape, each.kernel_size, **each.im2col_keywords)
    exact = oracle.col2im(patches.tolist(), x.shape, each.kernel_size, **each.im2col_keywords)
    assert back.tolist() == np.reshape(exact, x.shape).tolist()
    grad = each.output_integers()
    for method in ("direct", "matrix"):
        back = conv2d_input_grad(grad, weight, x.shape, method=method, **each.keywords)
        exact = oracle.input_grad(grad.tolist(), weight.tolist(), x.shape, **each.keywords)
        assert back.tolist() == np.reshape(exact, x.shape).tolist()
    for order in "FC":
        keywords = each.keywords | {"order": order}
        W = conv_matrix(weight, each.sample_shape, **keywords)
        assert W.toarray().tolist() == oracle.dense(
            *oracle.conv_matrix(weight.tolist(), each.sample_shape, **keywords)
        )

table, data, y = np.array([0, 1]), np.ones(1), np.zeros(1)
image = {"channels": 1, "sample": 0, "channel": 0, "step": (0, 0)}
record = fold.RECORD(image=image, places={"sample": 0, "channel": 0, "size": (1, 1)}, tasks=1)
add = fold.kernel("float64")
add(1, data, table, np.array([0]), table, np.array([0]), y, record)
print(y[0])
try:
    add(1, data, table, np.array([0]), table, np.array([1]), y, record)
except IndexError as error:
    print(error)
"""


@pytest.mark.slow
def test_kernels_without_addresses_pass_with_bounds_checks(tmp_path):
    """Those that write W, whole patch matrices, sums of padding, packed weights; a read too far shows."""
    words = processes.run(CHECKED, NUMBA_BOUNDSCHECK="1", TRICONV_CACHE_DIR=str(tmp_path))
    assert words == ["1.0", "index", "is", "out", "of", "bounds"]

"""One answer by every method where something is infinite or NaN: the definition's, in every argument."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import EDGE_PROBLEMS, METHODS, problems, same_float

from triconv import (
    ConvOperator,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    conv_matrix,
    conv_transpose2d,
    plan,
)

each_method = pytest.mark.parametrize("method", METHODS)


def spoiled(values, count, rng):
    """A copy with NaN and infinities in some places; in one part of some complex numbers."""
    values = values.copy()
    for _ in range(count if values.size else 0):
        at = tuple(rng.integers(values.shape))
        bad = rng.choice([np.inf, -np.inf, np.nan])
        if values.dtype.kind == "c":
            bad = rng.choice([complex(bad, 1), complex(0, bad)])
        values[at] = bad
    return values


def check(actual, expected):
    """Equal in each part, NaN where NaN is expected."""
    expected = np.array(expected, actual.dtype).reshape(actual.shape)
    assert_array_equal(actual.real, expected.real)
    assert_array_equal(actual.imag, expected.imag)


def check_all(problem, method, seed, where):
    """Every function of a problem whose arrays are spoiled where asked."""
    rng = np.random.default_rng(seed)
    if problem.multiplications > 20_000:
        problem = replace(problem, in_channels=problem.groups, out_channels=problem.groups)
    problem = problem.of(problem.result_dtype.name)
    x, weight, bias = problem.integers(seed)
    grad = problem.output_integers()
    if "x" in where:
        x = spoiled(x, 2, rng)
    if "weight" in where:
        weight = spoiled(weight, rng.choice([1, 2, weight.size]), rng)
    if "grad" in where:
        grad = spoiled(grad, 2, rng)
    keywords = problem.keywords | {"method": method}
    with np.errstate(all="ignore"):
        y = problem.expected(x, weight, bias)
        check(conv2d(x, weight, bias, **keywords), y)
        check(plan(weight, x.shape, bias, **keywords)(x), y)
        back = oracle.input_grad(grad.tolist(), weight.tolist(), x.shape, **problem.keywords)
        check(conv2d_input_grad(grad, weight, x.shape, **keywords), back)
        taps = oracle.weight_grad(grad.tolist(), x.tolist(), problem.kernel_size, **problem.keywords)
        check(conv2d_weight_grad(grad, x, problem.kernel_size, **keywords), taps)
        if problem.batch is None:
            A = ConvOperator(weight, problem.sample_shape, order="C", **keywords)
            flat = np.array(problem.expected(x, weight), y.dtype).ravel()
            check(A @ x.ravel(), flat)
            check(A @ np.stack([x.ravel()] * 3, 1), np.stack([flat] * 3, 1))
            check(A.H @ grad.ravel(), back)
    if problem.padding_mode in ("zeros", "constant") and problem.axes != "image":
        sizes = ("stride", "dilation", "groups", "layout")
        turned = {name: keywords[name] for name in sizes} | {"padding": problem.pads}
        start = np.zeros(problem.in_channels, grad.dtype)
        try:
            z = conv_transpose2d(grad, weight, start, method=method, **turned)
        except ValueError:  # no output, where the padding is wide
            return
        with np.errstate(all="ignore"):
            check(z, oracle.conv_transpose2d(grad.tolist(), weight.tolist(), start.tolist(), **turned))


PLACES = ("x", "weight", "grad")


@pytest.mark.slow
@each_method
@given(
    problem=problems(same_float, empty_batch=False),
    seed=st.integers(0, 2**32),
    where=st.sets(st.sampled_from(PLACES), min_size=1),
)
def test_every_method_gives_the_definitions_answer(problem, seed, where, method):
    check_all(problem, method, seed, where)


@each_method
@pytest.mark.parametrize("name", [name for name, p in EDGE_PROBLEMS.items() if p.batch != 0])
def test_every_method_gives_the_definitions_answer_at_edges(name, method):
    for seed, where in enumerate(({"weight"}, {"grad"}, set(PLACES))):
        check_all(EDGE_PROBLEMS[name], method, seed, where)


@each_method
def test_an_answer_does_not_depend_on_the_images_size(method):
    """Where an infinite tap, or gradient, meets a zero of the padding is NaN; W has no entry there."""
    for size in (3, 40, 200):
        x, weight = np.ones((size, size)), np.ones((3, 3))
        weight[0, 0] = np.inf
        expected = np.full((size, size), np.inf)
        expected[0], expected[:, 0] = np.nan, np.nan
        assert_array_equal(conv2d(x, weight, padding=1, method=method), expected)
        grad = np.zeros((size, size))
        grad[0, 0] = np.inf
        taps = conv2d_weight_grad(grad, x, 3, padding=1, method=method)
        assert_array_equal(taps, [[np.nan] * 3, [np.nan, np.inf, np.inf], [np.nan, np.inf, np.inf]])
    assert conv_matrix(weight, (3, 3), padding=1).nnz == 49


@each_method
def test_a_tap_that_is_infinite_is_left_to_its_pixels_by_the_gradient(method):
    """No output lies beyond the border, so that nothing there is multiplied."""
    weight = np.ones((3, 3))
    weight[0, 0] = np.inf
    back = conv2d_input_grad(np.ones((5, 5)), weight, (5, 5), padding=1, method=method)
    expected = np.full((5, 5), np.inf)
    expected[-1] = expected[:, -1] = [4, 6, 6, 6, 4]
    assert_array_equal(back, expected)


@each_method
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_weight_that_becomes_infinite_in_a_plans_dtype(dtype, method):
    made = plan([[1e300, 1, 1]], (1, 3), dtype=dtype, padding=(0, 1), method=method)
    assert_array_equal(made(np.array([[1, 2, 3]], dtype)), [[np.nan, np.inf, np.inf]])


@each_method
def test_taps_that_are_infinite_only_in_their_sum(method):
    """W adds up taps that read one pixel."""
    weight, keywords = (
        [[1e308, 1e308, 0.0]],
        {"padding": (0, 2), "padding_mode": "replicate", "method": method},
    )
    y = conv2d([[1e-10, 1.0]], weight, **keywords)
    assert_allclose(y, [[2e298, 2e298, 1e308, np.inf]])
    back = conv2d_input_grad(np.full((1, 4), 1e-10), weight, (1, 2), **keywords)
    assert_allclose(back, [[5e298, 3e298]])
    taps = conv2d_weight_grad(np.full((1, 4), 1e308), np.full((1, 2), 1e-10), (1, 3), **keywords)
    assert_allclose(taps, [[4e298] * 3])
    A = ConvOperator(weight, (1, 2), **keywords)
    assert_allclose(A @ [1e-10, 1.0], [2e298, 2e298, 1e308, np.inf])
    assert_allclose(A.H @ np.full(4, 1e-10), [5e298, 3e298])

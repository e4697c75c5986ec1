"""Gradients, the transposed convolution and col2im against the definition and against each other."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import EDGE_PROBLEMS, METHODS, SIZES, Problem, problems

import triconv
from triconv import (
    col2im,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    conv_matrix,
    conv_transpose2d,
    im2col,
    threads,
)

each_method = pytest.mark.parametrize("method", METHODS)
FEW = {
    name: problem
    for name, problem in EDGE_PROBLEMS.items()
    if problem.batch != 0
    and not name.startswith(("output width", "one channel, output", "in channels", "out"))
}


def check_gradients(problem, method):
    x, weight, _ = problem.integers()
    grad = problem.output_integers()
    keywords = problem.keywords
    back = conv2d_input_grad(grad, weight, x.shape, method=method, **keywords)
    dtype = np.result_type(grad, weight)
    assert back.dtype == (dtype if dtype.kind in "fc" else np.float64)
    expected = oracle.input_grad(grad.tolist(), weight.tolist(), x.shape, **keywords)
    assert_array_equal(back, np.array(expected, back.dtype).reshape(x.shape))
    sums = conv2d_weight_grad(grad, x, problem.kernel_size, method=method, **keywords)
    expected = oracle.weight_grad(grad.tolist(), x.tolist(), problem.kernel_size, **keywords)
    assert sums.shape == weight.shape
    assert_array_equal(sums, np.array(expected, sums.dtype))


@each_method
@pytest.mark.parametrize("name", FEW)
def test_edge_problem_is_exact(name, method):
    check_gradients(replace(FEW[name], bias_dtype=None), method)


@pytest.mark.long
@each_method
@given(problem=problems(axes=("samples", "image", "filter"), empty_batch=False))
def test_gradients_are_those_of_the_definition(problem, method):
    if problem.multiplications > 20_000:
        problem = replace(problem, in_channels=problem.groups, out_channels=problem.groups)
    check_gradients(replace(problem, bias_dtype=None), method)


@each_method
@pytest.mark.parametrize("name", SIZES)
def test_large_gradients_are_the_adjoints(name, method):
    """<W x, G> = <x, W^H G>, and the same of the weights; exact, for one thread and for several."""
    problem = replace(SIZES[name], bias_dtype=None)
    x, weight, _ = (np.asarray(a, complex if np.iscomplexobj(a) else float) for a in problem.integers())
    grad = problem.output_integers().astype(x.dtype)
    y = conv2d(x, weight, **problem.keywords)
    results = []
    for count in (1, triconv.get_num_threads()):
        with threads(count):
            back = conv2d_input_grad(grad, weight, x.shape, method=method, **problem.keywords)
            sums = conv2d_weight_grad(grad, x, problem.kernel_size, method=method, **problem.keywords)
        assert np.vdot(grad, y) == np.vdot(back, x) == np.vdot(sums, weight)
        results.append((back.tobytes(), sums.tobytes()))
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_gradients_are_central_differences(dtype):
    """Of the real part of <G, Y>, whose gradient with respect to complex numbers is the adjoint's."""
    problem = Problem((5, 6), (3, 2), 4, 6, (2, 1), 1, (1, 2), 2, "reflect").of(dtype)
    x, weight, _ = problem.floats()
    grad = problem.of(dtype).output_integers().astype(dtype)
    step = 2.0**-10

    def loss(x, weight):
        return np.vdot(grad, conv2d(x, weight, **problem.keywords)).real

    for array, other, gradient in (
        (x, False, conv2d_input_grad(grad, weight, x.shape, **problem.keywords)),
        (weight, True, conv2d_weight_grad(grad, x, problem.kernel_size, **problem.keywords)),
    ):
        for n in np.ndindex(array.shape):
            for direction in (1, 1j) if array.dtype.kind == "c" else (1,):
                more, less = array.copy(), array.copy()
                more[n] += step * direction
                less[n] -= step * direction
                values = [loss(x, each) if other else loss(each, weight) for each in (more, less)]
                slope = (values[0] - values[1]) / (2 * step)
                expected = gradient[n].real if direction == 1 else gradient[n].imag
                assert_allclose(slope, expected, rtol=1e-6, atol=1e-6)


@given(problem=problems(axes=("samples", "image"), empty_batch=False))
def test_col2im_is_the_adjoint_of_im2col(problem):
    x, _, _ = problem.integers()
    patches = im2col(x, problem.kernel_size, **problem.im2col_keywords)
    cols = np.random.default_rng(0).integers(-9, 10, patches.shape).astype(patches.dtype)
    back = col2im(cols, x.shape, problem.kernel_size, **problem.im2col_keywords)
    expected = oracle.col2im(cols.tolist(), x.shape, problem.kernel_size, **problem.im2col_keywords)
    assert back.dtype == cols.dtype
    assert_array_equal(back, np.array(expected, cols.dtype).reshape(x.shape))


def test_a_stride_far_larger_than_the_image_costs_nothing():
    back = conv2d_input_grad(np.ones((1, 1)), np.ones((1, 1)), (5, 4), stride=10**12)
    assert_array_equal(back, np.pad([[1.0]], ((0, 4), (0, 3))))
    long = conv_transpose2d(np.ones((2, 1)), np.ones((1, 1)), stride=(10**6, 1))
    assert long.shape == (10**6 + 1, 1)
    assert long.sum() == long[0, 0] + long[-1, 0] == 2


def test_a_result_that_would_not_fit_is_refused_before_anything_else():
    with pytest.raises(MemoryError, match=r"conv2d_input_grad: the result of shape \(10000000, 10000000\)"):
        conv2d_input_grad(np.ones((1, 1)), np.ones((1, 1)), (10**7, 10**7), stride=10**7)


@st.composite
def transposed(draw):
    """Keywords of a transposed convolution whose output is not empty, and its arrays' shapes."""
    stride, dilation = (draw(st.tuples(st.integers(1, 4), st.integers(1, 4))) for _ in range(2))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    size, kernel = (draw(st.tuples(st.integers(1, 5), st.integers(1, 4))) for _ in range(2))
    cut = []
    for n, s, d, k, more in zip(size, stride, dilation, kernel, extra, strict=True):
        most = (n - 1) * s + d * (k - 1) + more
        before = draw(st.integers(0, min(most, 4)))
        cut.append((before, draw(st.integers(0, min(most - before, 4)))))
    groups = draw(st.integers(1, 3))
    channels, filters = groups * draw(st.integers(1, 3)), draw(st.integers(1, 3))
    keywords = {"stride": stride, "dilation": dilation, "output_padding": extra, "padding": tuple(cut)}
    keywords |= {"groups": groups, "layout": draw(st.sampled_from(("NHWC", "NCHW")))}
    batch = draw(st.sampled_from((None, 2)))

    def shape(*sizes):
        return sizes if keywords["layout"] == "NHWC" else (sizes[2], *sizes[:2])

    x = shape(*size, channels) if batch is None else (batch, *shape(*size, channels))
    return x, (channels, *shape(*kernel, filters)), filters * groups, keywords


@each_method
@given(case=transposed(), dtype=st.sampled_from(("float32", "complex128")))
def test_the_transposed_convolution_is_that_of_the_definition(case, dtype, method):
    x_shape, weight_shape, filters, keywords = case
    rng = np.random.default_rng(0)
    x, weight, bias = (
        (rng.integers(-9, 10, shape) + (1j * rng.integers(-9, 10, shape) if dtype == "complex128" else 0))
        for shape in (x_shape, weight_shape, filters)
    )
    x, weight, bias = (array.astype(dtype) for array in (x, weight, bias))
    expected = oracle.conv_transpose2d(x.tolist(), weight.tolist(), bias.tolist(), **keywords)
    y = conv_transpose2d(x, weight, bias, method=method, **keywords)
    assert y.dtype == dtype
    assert_array_equal(y, np.array(expected, dtype))


def test_the_transposed_convolution_of_an_image_with_one_filter():
    x, weight = np.arange(6.0).reshape(2, 3), np.arange(1.0, 5).reshape(2, 2)
    W = conv_matrix(weight, (3, 4), order="C")
    assert_array_equal(conv_transpose2d(x, weight, 5), (W.T @ x.ravel() + 5).reshape(3, 4))
    several = conv_transpose2d(x, weight[None, :, :, None])
    assert several.shape == (3, 4, 1)
    assert_array_equal(several[..., 0], (W.T @ x.ravel()).reshape(3, 4))


@pytest.mark.parametrize("shape", [(0, 4, 5, 2)])
def test_an_empty_batch(shape):
    weight = np.ones((3, 2, 2, 2))
    assert conv2d_input_grad(np.ones((0, 3, 4, 3)), weight, shape).shape == shape
    assert_array_equal(conv2d_weight_grad(np.ones((0, 3, 4, 3)), np.ones(shape), 2), np.zeros(weight.shape))
    assert conv_transpose2d(np.ones((0, 3, 4, 3)), weight).shape == (0, 4, 5, 2)
    assert col2im(np.ones((0, 12, 8)), shape, 2).shape == shape


def test_float16_is_computed_in_float32():
    x, weight = np.full((4, 4), 300, np.float16), np.full((2, 2), 200, np.float16)
    back = conv2d_input_grad(np.ones((3, 3), np.float16), weight, (4, 4))
    assert back.dtype == np.float16
    assert back[1, 1] == 800
    with np.errstate(over="ignore"):
        assert conv2d_weight_grad(x[:3, :3], x, 2)[0, 0] == np.inf


ERRORS = {
    "grad's shape": (
        lambda: conv2d_input_grad(np.ones((3, 3)), np.ones((2, 2)), (5, 5)),
        ValueError,
        "conv2d_input_grad: grad expects the output's shape (4, 4), got (3, 3)",
    ),
    "grad's shape, weights": (
        lambda: conv2d_weight_grad(np.ones((3, 3)), np.ones((5, 5)), 2),
        ValueError,
        "conv2d_weight_grad: grad expects the output's shape (4, 4), got (3, 3)",
    ),
    "groups": (
        lambda: conv2d_weight_grad(np.ones((3, 3, 2)), np.ones((4, 4, 3)), 2, groups=2),
        ValueError,
        "conv2d_weight_grad: groups expects a divisor of the 3 channels of x, got 2",
    ),
    "output_padding": (
        lambda: conv_transpose2d(np.ones((3, 3)), np.ones((2, 2)), stride=2, output_padding=(0, 2)),
        ValueError,
        "conv_transpose2d: output_padding expects less than the larger of stride 2 and dilation 1, got 2",
    ),
    "a word": (
        lambda: conv_transpose2d(np.ones((3, 3)), np.ones((2, 2)), padding="same"),
        ValueError,
        "conv_transpose2d: padding expects one of 'valid', got 'same'",
    ),
    "an empty output": (
        lambda: conv_transpose2d(np.ones((2, 3)), np.ones((2, 2)), padding=3),
        ValueError,
        (
            "conv_transpose2d: the output would be empty: height 2 gives "
            "(2 - 1) * 1 - (3 + 3) + 1 * (2 - 1) + 0 + 1 = -3"
        ),
    ),
    "filters": (
        lambda: conv_transpose2d(np.ones((2, 3, 4)), np.ones((3, 2, 2, 1))),
        ValueError,
        "conv_transpose2d: weight expects a filter for each of the 4 channels of x, got 3 (layout='NHWC')",
    ),
    "groups of the transpose": (
        lambda: conv_transpose2d(np.ones((2, 3, 4)), np.ones((4, 2, 2, 1)), groups=3),
        ValueError,
        "conv_transpose2d: groups expects a divisor of the 4 channels of x, got 3",
    ),
    "an empty input": (
        lambda: conv_transpose2d(np.ones((2, 0, 1)), np.ones((1, 2, 2, 1))),
        ValueError,
        "conv_transpose2d: x expects at least 1 for its width, got 0",
    ),
    "axes of a transposed weight": (
        lambda: conv_transpose2d(np.ones((2, 3)), np.ones((2, 2, 1))),
        ValueError,
        (
            "conv_transpose2d: weight expects (C_in, k_h, k_w, C_out / groups) or (k_h, k_w), "
            "got shape (2, 2, 1) (layout='NHWC')"
        ),
    ),
    "a 2-D weight": (
        lambda: conv_transpose2d(np.ones((2, 3, 4)), np.ones((2, 2))),
        ValueError,
        "conv_transpose2d: a 2-D weight expects a 2-D x, got shape (2, 3, 4)",
    ),
    "cols": (
        lambda: col2im(np.ones((9, 4)), (3, 3), 2),
        ValueError,
        "col2im: cols expects shape (4, 4), got (9, 4)",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_refused_in_words(name):
    call, kind, message = ERRORS[name]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message

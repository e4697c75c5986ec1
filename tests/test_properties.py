"""What must hold between the three forms, and of a linear, shift-invariant map, whatever the numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import LAYOUTS, METHODS, Problem, problems

from triconv import conv2d, conv_matrix, flatten_weight, im2col, pad

ORDERS = ("F", "C")
each_method = pytest.mark.parametrize("method", METHODS)
each_layout = pytest.mark.parametrize("layout", LAYOUTS)
exact = st.sampled_from(("float64", "complex128")).map(lambda dtype: (dtype,) * 3)


def spatial_axes(problem, channels):
    return (-3, -2) if channels and problem.layout == "NHWC" else (-2, -1)


@each_method
@given(problem=problems(exact), scale=st.integers(-5, 5))
def test_linear_in_x_and_in_weight(problem, scale, method):
    problem = replace(problem, bias_dtype=None)
    (x, weight, _), (other_x, other_weight, _) = problem.integers(1), problem.integers(2)

    def f(x, weight):
        return conv2d(x, weight, method=method, **problem.keywords)

    y = f(x, weight)
    assert_array_equal(f(scale * x + other_x, weight), scale * y + f(other_x, weight))
    assert_array_equal(f(x, scale * weight + other_weight), scale * y + f(x, other_weight))


@each_method
@given(problem=problems(exact))
def test_the_bias_is_added_to_its_filter_everywhere(problem, method):
    x, weight, bias = replace(problem, bias_dtype="float64").integers()
    without = conv2d(x, weight, method=method, **problem.keywords)
    channels_first = problem.layout == "NCHW" and problem.axes != "filter"
    shift = bias[:, None, None] if channels_first else bias
    assert_array_equal(conv2d(x, weight, bias, method=method, **problem.keywords), without + shift)


@each_method
@each_layout
def test_an_impulse_gives_the_filters_back_turned_round(layout, method):
    """Y[i, j, m] = K^(m)[r - i, c - j, C] for a one at (r, c, C): the whole filter, as padding is "full"."""
    problem = Problem((5, 6), (3, 4), 2, 3, padding="full", layout=layout)
    x, weight, _ = problem.integers()
    filters = weight if layout == "NHWC" else np.moveaxis(weight, 1, -1)
    for r, c, C in np.ndindex(5, 6, 2):
        x[...] = 0
        x[(r, c, C) if layout == "NHWC" else (C, r, c)] = 1
        y = conv2d(x, weight, method=method, padding="full", layout=layout)
        y = y if layout == "NHWC" else np.moveaxis(y, 0, -1)
        expected = np.zeros_like(y)
        expected[r : r + 3, c : c + 4] = np.moveaxis(filters[:, ::-1, ::-1, C], 0, -1)
        assert_array_equal(y, expected)


@each_method
@given(problem=problems(exact), shift=st.tuples(st.integers(-7, 7), st.integers(-7, 7)))
def test_a_shift_of_a_circular_image_shifts_the_output(problem, shift, method):
    problem = replace(problem, padding="same", padding_mode="circular", stride=1)
    x, weight, bias = problem.integers()
    moved = np.roll(x, shift, spatial_axes(problem, channels=problem.axes == "samples"))
    y = conv2d(x, weight, bias, method=method, **problem.keywords)
    y = np.roll(y, shift, spatial_axes(problem, channels=problem.axes != "filter"))
    assert_array_equal(conv2d(moved, weight, bias, method=method, **problem.keywords), y)


@each_method
@given(problem=problems(axes=("samples",)))
def test_layouts_are_the_same_convolution(problem, method):
    problem = replace(problem, layout="NHWC")
    x, weight, bias = problem.integers()
    keywords = problem.keywords | {"method": method}
    y = conv2d(x, weight, bias, **keywords)
    first = conv2d(np.moveaxis(x, -1, -3), np.moveaxis(weight, -1, -3), bias, **keywords | {"layout": "NCHW"})
    assert_array_equal(np.moveaxis(first, -3, -1), y)


@each_method
@given(problem=problems(axes=("samples",)))
def test_padding_first_is_padding_inside(problem, method):
    x, weight, bias = problem.integers()
    ahead = pad(x, problem.pads, padding_mode=problem.padding_mode, layout=problem.layout)
    y = conv2d(x, weight, bias, method=method, **problem.keywords)
    assert_array_equal(conv2d(ahead, weight, bias, method=method, **problem.keywords | {"padding": 0}), y)


@each_method
@given(problem=problems(axes=("samples",)))
def test_groups_are_convolutions_side_by_side(problem, method):
    problem = replace(problem, layout="NHWC")
    x, weight, bias = problem.integers()
    keywords = problem.keywords | {"method": method}
    parts = zip(
        np.split(x, problem.groups, -1),
        np.split(weight, problem.groups),
        [None] * problem.groups if bias is None else np.split(bias, problem.groups),
        strict=True,
    )
    apart = [conv2d(*part, **keywords | {"groups": 1}) for part in parts]
    assert_array_equal(conv2d(x, weight, bias, **keywords), np.concatenate(apart, -1))


@given(
    problem=problems(exact, axes=("samples", "filter")), order=st.sampled_from(ORDERS), padded=st.booleans()
)
def test_the_matrix_times_vec_is_the_convolution(problem, order, padded):
    """vec(Y) = W vec(X_pad) + b (x) 1, and the same over vec(X) with the padding folded in."""
    problem = replace(problem, batch=None)
    x, weight, bias = problem.integers()
    W = conv_matrix(weight, problem.x_shape, padded=padded, order=order, **problem.keywords)
    if padded:
        columns = pad(x, problem.pads, padding_mode=problem.padding_mode, layout=problem.layout)
    else:
        columns = x
    y = conv2d(x, weight, bias, **problem.keywords)
    bias = 0 if bias is None else bias
    if problem.layout == "NCHW" and problem.axes == "samples" and np.ndim(bias):
        bias = bias[:, None, None]
    assert W.shape == (y.size, columns.size)
    assert_array_equal(W @ columns.ravel(order), (y - bias).ravel(order))


@given(problem=problems(axes=("samples", "filter")), order=st.sampled_from(ORDERS), data=st.data())
def test_columns_of_the_matrix_are_the_images_of_basis_vectors(problem, order, data):
    problem = replace(problem, batch=None)
    _, weight, _ = problem.integers()
    W = conv_matrix(weight, problem.x_shape, order=order, **problem.keywords)
    n = data.draw(st.integers(0, W.shape[1] - 1))
    basis = np.zeros(W.shape[1], W.dtype)
    basis[n] = 1
    image = conv2d(basis.reshape(problem.x_shape, order=order), weight, method="direct", **problem.keywords)
    assert_array_equal(W[:, [n]].toarray().ravel(), image.ravel(order))


@given(problem=problems(exact))
def test_patches_times_filters_are_the_convolution(problem):
    """Y[i, j, m] = x_ij . k_m, all of them as one product of matrices."""
    problem = replace(problem, groups=1, in_channels=problem.in_channels // problem.groups, bias_dtype=None)
    x, weight, _ = problem.integers()
    patches = im2col(x, problem.kernel_size, **problem.im2col_keywords)
    filters = flatten_weight(weight, layout=problem.layout)
    y = conv2d(x, weight, method="direct", **problem.keywords)
    if problem.axes == "filter":
        y = y[..., None]
    elif problem.layout == "NCHW":
        y = np.moveaxis(y, -3, -1)
    assert_array_equal((patches @ filters.T).reshape(y.shape), y)

"""ConvGeometry against brute force: every member, over all small shapes and over random ones."""

from dataclasses import replace
from itertools import product

import numpy as np
import oracle
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal
from strategies import EDGE_PROBLEMS, Problem, problems

from triconv import ConvGeometry, pad


def small_problems():
    """Every combination of a few values on one axis, the other one fixed, and two kinds of groups."""
    for size, kernel, stride, dilation, padding in product(
        (1, 2, 3, 5), (1, 2, 3), (1, 2, 3), (1, 2), ((0, 0), (1, 2))
    ):
        if size + sum(padding) >= oracle.effective(kernel, dilation):
            one = {"stride": (stride, 1), "dilation": (dilation, 1), "padding": (padding, (0, 1))}
            yield Problem((size, 2), (kernel, 2), 2, 4, groups=2, **one)
            other = {name: value[::-1] for name, value in one.items()}
            yield Problem((2, size), (2, kernel), 3, 2, **other)


def geometry_of(problem):
    return ConvGeometry(
        (*problem.size, problem.in_channels),
        problem.kernel_size,
        problem.out_channels,
        stride=problem.stride,
        padding=problem.padding,
        dilation=problem.dilation,
        groups=problem.groups,
    )


def check(problem):
    """Every member against loops over the definition; `problem` is channels-last and zero-padded."""
    geometry = geometry_of(problem)
    (top, bottom), (left, right) = pads = problem.pads
    H_in, W_in, C_in = *problem.size, problem.in_channels
    H_pad, W_pad = top + H_in + bottom, left + W_in + right
    H_out, W_out = problem.output_size
    C_out = problem.out_channels
    k_h, k_w = problem.kernel_size
    (s_h, s_w), (d_h, d_w) = oracle.pair(problem.stride), oracle.pair(problem.dilation)

    assert geometry.pads == pads
    assert geometry.padded_shape == (H_pad, W_pad, C_in)
    assert geometry.output_shape == (H_out, W_out, C_out)
    assert geometry.nnz == problem.multiplications
    assert geometry.flops == 2 * problem.multiplications

    # Elements numbered by their place in vec(X_pad), so that a patch shows which elements it has.
    numbers = np.arange(H_pad * W_pad * C_in).reshape((H_pad, W_pad, C_in), order="F")
    held = {}
    for i, j in product(range(H_out), range(W_out)):
        patch = numbers[geometry.patch(i, j)]
        assert patch.shape == (k_h, k_w, C_in)
        for u, v in product(range(k_h), range(k_w)):
            r, c = i * s_h + u * d_h, j * s_w + v * d_w
            assert_array_equal(patch[u, v], numbers[r, c])
            held.setdefault((r, c), []).append([i, j, u, v])
    for r, c in product(range(H_pad), range(W_pad)):
        found = geometry.patches_containing(r, c)
        assert found.dtype.kind == "i"
        assert found.shape == (len(held.get((r, c), [])), 4)
        assert found.tolist() == sorted(held.get((r, c), []))

    u, v, c = np.indices((k_h, k_w, C_in))
    places = oracle.flatten([[[(a, b, n) for n in range(C_in)] for b in range(k_w)] for a in range(k_h)])
    assert [places[n] for n in geometry.patch_index(u, v, c).ravel()] == list(np.ndindex(k_h, k_w, C_in))
    for index, position, shape in (
        (geometry.padded_index, geometry.padded_position, (H_pad, W_pad, C_in)),
        (geometry.output_index, geometry.output_position, (H_out, W_out, C_out)),
    ):
        coordinates = np.indices(shape)
        n = index(*coordinates)
        assert_array_equal(n, np.arange(np.prod(shape)).reshape(shape, order="F"))
        assert_array_equal(position(n), coordinates)

    weight = np.arange(1, problem.terms * C_out - C_out + 1).reshape(problem.weight_shape)
    shape = H_in, W_in, C_in
    W, _ = oracle.conv_matrix(weight.tolist(), shape, padded=True, **problem.keywords)
    flat = oracle.flatten_weight(weight.tolist())
    for i, j, m in np.ndindex(H_out, W_out, C_out):
        columns, taps = geometry.row(i, j, m)
        assert columns.dtype.kind == taps.dtype.kind == "i"
        assert (np.diff(columns) > 0).all()
        entries = [flat[m][tap] for tap in taps]
        assert dict(zip(columns.tolist(), entries, strict=True)) == W[geometry.output_index(i, j, m)]


def test_every_small_geometry():
    for problem in small_problems():
        check(problem)


@given(problem=problems(axes=("samples",)))
def test_any_geometry(problem):
    check(replace(problem, layout="NHWC", padding_mode="zeros", batch=None))


@pytest.mark.parametrize("name", ["large prime sizes", "depthwise multiplier", "stride over padding alone"])
def test_edge_geometry(name):
    check(EDGE_PROBLEMS[name])


def test_patches_cut_the_padded_input():
    problem = Problem((6, 7), (3, 2), 2, 1, stride=(1, 2), padding=((1, 0), (2, 1)), dilation=(2, 3))
    x, _, _ = problem.integers()
    geometry = geometry_of(problem)
    X_pad = pad(x, problem.padding)
    assert X_pad.shape == geometry.padded_shape
    rows = oracle.im2col(x.tolist(), problem.kernel_size, **problem.im2col_keywords)
    for n, (i, j) in enumerate(np.ndindex(*problem.output_size)):
        assert_array_equal(X_pad[geometry.patch(i, j)].ravel(order="F"), rows[n])


def test_an_image_without_channels_has_one():
    assert ConvGeometry((5, 6), 2) == ConvGeometry((5, 6, 1), 2)


def test_pads_as_an_array():
    pads = ((1, 0), (2, 1))
    assert ConvGeometry((5, 6, 3), 2, padding=np.array(pads)) == ConvGeometry((5, 6, 3), 2, padding=pads)
    assert ConvGeometry((5, 6, 3), 2, padding=np.array([1, 2])).pads == ((1, 1), (2, 2))


def test_defaults():
    geometry = ConvGeometry((5, 6, 3), 2)
    assert geometry.output_shape == (4, 5, 1)
    assert geometry.pads == ((0, 0), (0, 0))
    assert geometry.padded_shape == (5, 6, 3)
    assert geometry.nnz == 4 * 5 * 2 * 2 * 3


def test_scalars_give_plain_numbers_and_arrays_broadcast():
    geometry = ConvGeometry((5, 6, 3), 2, 4, padding=1)
    H_pad, W_pad, _ = geometry.padded_shape
    assert geometry.padded_index(1, 2, 2) == 2 * H_pad * W_pad + 2 * H_pad + 1
    assert np.ndim(geometry.padded_index(1, 2, 2)) == 0
    assert geometry.padded_position(geometry.padded_index(1, 2, 2)) == (1, 2, 2)
    rows = np.arange(H_pad, dtype="uint8")[:, None]
    n = geometry.padded_index(rows, [0, 1, 2], 1)
    assert n.shape == (H_pad, 3)
    assert_array_equal(n, [[geometry.padded_index(r, c, 1) for c in range(3)] for r in range(H_pad)])
    assert geometry.patch_index(1, [0, 1], [[0], [2]]).shape == (2, 2)
    assert geometry.output_index([], 0, 0).shape == (0,)
    for coordinates in (
        geometry.output_position(np.zeros((2, 3), int)),
        geometry.padded_position([[0] * 3] * 2),
    ):
        assert [np.shape(coordinate) for coordinate in coordinates] == [(2, 3)] * 3


def test_an_index_of_ints_is_an_int():
    geometry = ConvGeometry((5, 6, 3), 2, 4)
    assert type(geometry.padded_index(1, 2, 2)) is int
    assert [type(value) for value in geometry.output_position(7)] == [int] * 3
    assert type(geometry.padded_index([1], 2, 2)) is np.ndarray


def test_positions_up_to_63_bits():
    """The largest number that 64 bits hold is the product of these two; a float holds 53 bits."""
    geometry = ConvGeometry((60_247_241_209, 153_092_023), 1)
    last = geometry.padded_index(60_247_241_208, 153_092_022, 0)
    assert last == 2**63 - 2
    assert geometry.padded_position(last) == (60_247_241_208, 153_092_022, 0)
    geometry = ConvGeometry((2**30 + 1, 2**30 - 1, 3), 1, 2)
    columns, taps = geometry.row(2**30, 2**30 - 2, 1)
    assert columns.tolist() == [(c * (2**30 - 1) + 2**30 - 2) * (2**30 + 1) + 2**30 for c in range(3)]
    assert taps.tolist() == [0, 1, 2]


def test_positions_past_32_bits():
    """Sizes at which int32 arithmetic, and narrow inputs, would wrap around."""
    geometry = ConvGeometry((100_000, 100_000, 7), 3, 5)
    r, c, C = np.array([99_999], "int32"), np.array([99_999], "int32"), np.array([6], "int8")
    n = geometry.padded_index(r, c, C)
    assert n.tolist() == [7 * 10**10 - 1]
    assert [int(value[0]) for value in geometry.padded_position(n)] == [99_999, 99_999, 6]
    last = 99_998**2 * 5 - 1
    assert geometry.output_index(99_997, 99_997, 4) == last
    assert geometry.output_position(last) == (99_997, 99_997, 4)
    columns, taps = geometry.row(99_997, 99_997, 4)
    assert columns[-1] == 7 * 10**10 - 1
    assert taps[-1] == 62
    assert geometry.nnz == 99_998**2 * 5 * 63


def test_immutable_hashable_and_equal_by_value():
    geometry = ConvGeometry((5, 6, 3), (2, 2), 4, padding=((0, 0), (1, 1)))
    same = ConvGeometry([5, 6, 3], 2, 4, padding=(0, 1))
    assert geometry == same
    assert hash(geometry) == hash(same)
    assert geometry != ConvGeometry((5, 6, 3), 2, 4)
    assert geometry != ConvGeometry((5, 6, 3), 2, 4, padding=(0, 1), groups=1, stride=2)
    for name in ("pads", "padded_shape", "output_shape", "nnz", "flops", "anything"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(geometry, name, 1)
    with pytest.raises((AttributeError, TypeError)):
        del geometry.pads
    assert geometry == same
    assert repr(geometry).startswith("ConvGeometry(")

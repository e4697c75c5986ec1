"""Singular values of W: against dense decompositions, published formulas, and bounds that must hold."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose, assert_array_equal
from strategies import FLOATS, LAYOUTS, PADDING_MODES, Problem, problems

from triconv import ConvOperator, threads
from triconv.core import spectrum
from triconv.runtime import memory

pytestmark = pytest.mark.slow

CIRCULAR = {"padding": "same", "padding_mode": "circular"}


def operator(problem, **keywords):
    """An operator with random weights, in double precision: in single the folded taps of W are rounded."""
    dtype = "complex128" if "complex" in problem.weight_dtype else "float64"
    problem = replace(problem, batch=None).of(dtype)
    return ConvOperator(problem.floats()[1], problem.sample_shape, **problem.keywords | keywords)


def dense(A):
    return np.linalg.svd(A.to_dense(), compute_uv=False)


def assert_same_values(got, expected):
    assert got.dtype == np.float64
    assert_allclose(got, expected, rtol=0, atol=1e-10 * expected[0])


circular = problems().map(lambda problem: replace(problem, stride=1, batch=None, axes="samples", **CIRCULAR))


@settings(max_examples=60)
@given(problem=circular)
def test_circular_spectrum(problem):
    """Every dilation, group and split of the pads, and kernels wider than the image."""
    A = operator(problem)
    assert spectrum.is_circular(A._problem)
    k = min(A.shape)
    assert_same_values(A.svdvals(k), dense(A))
    assert_allclose(A.norm(), dense(A)[0], rtol=1e-12)


@pytest.mark.parametrize("padding", ["same", "same_lower", ((3, 0), (0, 2)), ((0, 3), (1, 1))])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (6, 4), (1, 7)])
def test_circular_kernel_wider_than_the_image(size, padding):
    A = operator(Problem(size, (4, 3), 2, 3, padding=padding, padding_mode="circular"))
    assert_same_values(A.svdvals(min(A.shape)), dense(A))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_formula_of_sedghi_gupta_and_long(layout, dtype):
    """The singular values of the Fourier transform of the kernel, which is padded to the image."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((5, 3, 3, 4))
    if np.dtype(dtype).kind == "c":
        kernel = kernel + 1j * rng.standard_normal(kernel.shape)
    kernel = kernel.astype(dtype)
    wide = kernel.astype(np.result_type(dtype, np.float64))
    transfer = np.fft.fft2(wide, (8, 9), axes=(1, 2)).transpose(1, 2, 0, 3)
    expected = np.sort(np.linalg.svd(transfer, compute_uv=False).ravel())[::-1]
    if layout == "NHWC":
        A = ConvOperator(kernel, (8, 9, 4), **CIRCULAR)
    else:
        A = ConvOperator(kernel.transpose(0, 3, 1, 2), (4, 8, 9), layout=layout, **CIRCULAR)
    assert_same_values(A.svdvals(len(expected)), expected)


def test_any_number_of_threads_gives_the_same_values():
    A = operator(Problem((9, 8), (3, 3), 4, 6, **CIRCULAR))
    with threads(1):
        one = A.svdvals(20)
    assert_array_equal(A.svdvals(20), one)


@settings(max_examples=60)
@given(problem=problems())
def test_norm_and_values_of_any_problem(problem):
    A = operator(replace(problem, axes="samples"))
    values = dense(A)
    assert_same_values(A.svdvals(min(A.shape)), values)
    assert_allclose(A.norm(), values[0], rtol=1e-10)


# Large enough for Lanczos; the last ones have values that occur several times, or are zero.
LARGE = {
    "zeros": Problem((24, 23), (3, 3), 2, 3, padding=1),
    "more pixels than outputs": Problem((60, 61), (5, 5), 1, 2, stride=2, padding=2),
    "reflect": Problem((24, 23), (3, 3), 3, 2, padding=1, padding_mode="reflect"),
    "replicate, dilation": Problem((24, 23), (3, 2), 4, 4, padding=2, dilation=2, padding_mode="replicate"),
    "circular, stride": Problem((50, 50), (3, 3), 2, 3, stride=2, padding=1, padding_mode="circular"),
    "groups": Problem((24, 23), (3, 3), 4, 4, groups=2, padding=1),
    "complex": Problem((24, 23), (3, 3), 2, 3, padding=1).of("complex128"),
    "patches apart": Problem((48, 48), (2, 2), 3, 2, stride=2),
}


@pytest.mark.parametrize("name", LARGE)
def test_lanczos(name, monkeypatch):
    A = operator(LARGE[name])
    assert np.prod(A.shape) > spectrum.SMALL
    expected = dense(A)
    monkeypatch.setattr(np.linalg, "svd", smaller(np.linalg.svd, min(A.shape)))
    assert_same_values(A.svdvals(6), expected[:6])
    assert_allclose(A.norm(), expected[0], rtol=1e-10)
    assert_array_equal(A.svdvals(6), A.svdvals(6))


def smaller(svd, least):
    """Refuse to decompose W itself."""

    def checked(array, **keywords):
        assert min(array.shape) < least
        return svd(array, **keywords)

    return checked


@pytest.mark.parametrize("same", [2, 5])
def test_lanczos_finds_values_that_repeat(same):
    """Channels with one filter each, all of them equal: every value as often as there are channels."""
    weight = np.repeat(np.random.default_rng(0).standard_normal((1, 3, 3, 1)), same, 0)
    one = ConvOperator(weight[:1], (24, 23, 1), padding=1)
    A = ConvOperator(weight, (24, 23, same), padding=1, groups=same)
    assert np.prod(A.shape) > spectrum.SMALL
    assert_same_values(A.svdvals(7), np.repeat(dense(one), same)[:7])


def test_lanczos_of_a_matrix_of_small_rank():
    weight = np.zeros((2, 40, 41, 1))
    weight[0] = 1
    A = ConvOperator(weight, (41, 42, 1), padding=((0, 40), (0, 41)))
    assert np.prod(A.shape) > spectrum.SMALL
    assert_same_values(A.svdvals(4), dense(A)[:4])
    B = ConvOperator(np.ones((1, 1, 1, 1)), (1200, 1200, 1), stride=40)
    assert_same_values(B.svdvals(5), np.ones(5))


@pytest.mark.parametrize("scale", [2.0**-600, 2.0**600])
@pytest.mark.parametrize("name", ["zeros", "complex"])
def test_weights_of_any_size(name, scale):
    A = operator(LARGE[name])
    B = ConvOperator(A._weight * scale, A.input_shape, padding=1)
    assert_allclose(B.norm(), scale * A.norm(), rtol=1e-12)
    assert_allclose(B.norm_bound(), scale * A.norm_bound(), rtol=1e-12)
    assert_allclose(B.norm_estimate(), scale * A.norm_estimate(), rtol=1e-12)


@pytest.mark.parametrize("keywords", [CIRCULAR, {"padding": 1}, {"stride": 2}])
@pytest.mark.parametrize("size", [5, 60])
def test_weights_of_zero(size, keywords):
    A = ConvOperator(np.zeros((2, 3, 3, 1)), (size, size, 1), **keywords)
    assert A.norm() == A.norm_bound() == A.norm_estimate() == 0
    assert_array_equal(A.svdvals(3), [0, 0, 0])


# --- Bounds -----------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(problem=problems())
def test_the_bound_is_one(problem):
    A = operator(replace(problem, axes="samples"))
    norm = dense(A)[0]
    for iterations in (1, 2, 6, 12):
        assert norm <= A.norm_bound(iterations)


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("stride", [1, 2, 3, 5, (1, 4)])
def test_the_bound_is_one_where_it_is_tight(stride, mode):
    """Weights that add up, so that pixels which are copied weigh most."""
    for size in ((5, 6), (7, 4), (8, 9)):
        for padding in (1, 2, 3, ((3, 0), (0, 2)), "same", "full"):
            A = ConvOperator(
                np.ones((1, 3, 2, 1)), (*size, 1), stride=stride, padding=padding, padding_mode=mode
            )
            assert dense(A)[0] <= A.norm_bound(10)


@pytest.mark.parametrize("shape", [(1, 3, 3, 1), (8, 3, 3, 8), (4, 5, 2, 3), (2, 1, 7, 6)])
@pytest.mark.parametrize(
    "keywords",
    [
        {"padding": 1},
        CIRCULAR,
        {},
        {"dilation": 2, "padding": 2},
        {"stride": 2, "padding": 1},
        {"stride": (3, 1)},
    ],
)
def test_the_bound_is_near(shape, keywords):
    """Within 5 % for large images, and nearer with more iterations."""
    weight = np.random.default_rng(1).standard_normal(shape)
    A = ConvOperator(weight, (48, 48, shape[3]), **{"groups": 1} | keywords)
    norm = A.norm()
    bounds = [A.norm_bound(n) for n in (1, 3, 6, 12)]
    assert norm <= bounds[3] <= bounds[2] <= bounds[1] <= bounds[0]
    assert bounds[2] < 1.05 * norm


def test_the_bound_of_patches_that_do_not_overlap_is_the_norm():
    A = ConvOperator(np.random.default_rng(1).standard_normal((5, 4, 4, 3)), (16, 16, 3), stride=4)
    assert_allclose(A.norm_bound(40), A.norm(), rtol=1e-9)
    assert_allclose(A.norm_estimate(), A.norm(), rtol=1e-12)


def test_the_bound_takes_no_time_from_the_image():
    A = ConvOperator(np.ones((1, 3, 3, 1)), (2**20, 2**20, 1), padding=1)
    assert 9 < A.norm_bound(10) < 9.2


@given(problem=problems())
def test_the_estimate_times_the_root_of_the_taps_is_a_bound_without_copies(problem):
    A = operator(replace(problem, axes="samples", padding_mode="zeros"))
    taps = np.prod(problem.kernel_size)
    assert dense(A)[0] <= A.norm_estimate() * np.sqrt(taps) * (1 + 1e-12)


# --- Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda A: A.svdvals(0), ValueError, "ConvOperator.svdvals: k expects at least 1, got 0"),
        (
            lambda A: A.svdvals(10),
            ValueError,
            "ConvOperator.svdvals: k expects at most min(shape) = 9, got 10",
        ),
        (lambda A: A.svdvals(2.0), TypeError, "ConvOperator.svdvals: k expects an int, got 2.0"),
        (
            lambda A: A.norm_bound(iterations=0),
            ValueError,
            "ConvOperator.norm_bound: iterations expects at least 1, got 0",
        ),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error) as caught:
        call(ConvOperator(np.ones((2, 2)), (4, 4)))
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["norm", "svdvals", "norm_bound", "norm_estimate"])
def test_weights_that_are_no_numbers_are_refused(name, value):
    A = ConvOperator([[value, 1.0]], (4, 4))
    with pytest.raises(ValueError) as caught:
        getattr(A, name)(*(1,) * (name == "svdvals"))
    assert str(caught.value) == f"ConvOperator.{name}: weight expects finite numbers, got NaN or infinity"


def test_a_decomposition_that_would_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1 << 30)
    A = ConvOperator(np.ones((3, 3), "float32"), (128, 128), padding=1)
    with pytest.raises(MemoryError) as caught:
        A.svdvals(10_000)
    assert str(caught.value) == (
        "ConvOperator.svdvals: W as an array of shape (16384, 16384) needs 2 GiB, 1 GiB are available; "
        "use to_sparse(), or the operator itself"
    )

"""conv_matrix: its entries against the definition, and what kind of matrix it is."""

import tracemalloc
from dataclasses import replace

import numpy as np
import oracle
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import EDGE_PROBLEMS, FLOATS, LAYOUTS, OTHERS, PADDING_MODES, Problem, problems

from triconv import ConvGeometry, conv2d, conv_matrix, get_num_threads, threads

ORDERS = ("F", "C")
each_form = pytest.mark.parametrize(("padded", "order"), [(p, o) for p in (False, True) for o in ORDERS])


def assert_canonical(W):
    """Rows complete, columns in range and ascending without repetition, in the types that SciPy expects."""
    assert type(W) is scipy.sparse.csr_array
    assert W.indptr.dtype == W.indices.dtype
    assert len(W.indptr) == W.shape[0] + 1
    assert W.indptr[0] == 0
    assert W.indptr[-1] == len(W.indices) == len(W.data)
    assert (np.diff(W.indptr) >= 0).all()
    if W.nnz:
        assert 0 <= W.indices.min() <= W.indices.max() < W.shape[1]
    starts_a_row = np.zeros(W.nnz + 1, bool)
    starts_a_row[W.indptr] = True
    assert (starts_a_row[1:-1] | (np.diff(W.indices) > 0)).all()
    assert W.has_canonical_format
    assert W.has_sorted_indices


def check(problem, padded, order):
    """Entry by entry, for taps without a zero: these have a place wherever the definition has a tap."""
    _, weight, _ = problem.integers()
    weight[weight == 0] = 1
    W = conv_matrix(weight, problem.sample_shape, padded=padded, order=order, **problem.keywords)
    rows, columns = oracle.conv_matrix(
        weight.tolist(), problem.sample_shape, padded=padded, order=order, **problem.keywords
    )
    assert_canonical(W)
    assert W.shape == (len(rows), columns)
    assert W.indices.dtype == np.int32
    entries = [(n, column, row[column]) for n, row in enumerate(rows) for column in sorted(row)]
    assert W.nnz == len(entries)
    n, column, value = zip(*entries, strict=True) if entries else ((), (), ())
    assert_array_equal(W.indices, column)
    assert_array_equal(W.data, value)
    assert_array_equal(np.repeat(np.arange(W.shape[0]), np.diff(W.indptr)), n)
    if padded:
        assert W.nnz == replace(problem, batch=None).multiplications


@each_form
@pytest.mark.parametrize("name", EDGE_PROBLEMS)
def test_edge_problem(name, padded, order):
    if EDGE_PROBLEMS[name].axes != "image":
        check(EDGE_PROBLEMS[name], padded, order)


@each_form
@given(problem=problems(axes=("samples", "filter")))
def test_any_problem(problem, padded, order):
    check(problem, padded, order)


@each_form
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("padding", [(2, 1), ((1, 0), (2, 3)), "valid", "same", "same_lower", "full"])
def test_every_padding_in_every_mode(padding, mode, layout, order, padded):
    problem = Problem((5, 6), (4, 3), 4, 6, groups=2, padding=padding, padding_mode=mode, layout=layout)
    check(problem, padded, order)
    check(replace(problem, stride=(2, 3), dilation=(1, 2)), padded, order)


@each_form
@given(problem=problems(axes=("samples", "filter"), empty_batch=False), zero=st.floats(0, 1))
def test_zero_taps_are_the_only_zeros(problem, zero, padded, order):
    """A tap has its place whatever its value, so that zero times NaN can be NaN."""
    _, weight, _ = problem.integers()
    weight[np.random.default_rng(0).random(weight.shape) < zero] = 0
    keywords = problem.keywords | {"padded": padded, "order": order}
    W = conv_matrix(weight, problem.sample_shape, **keywords)
    rows, columns = oracle.conv_matrix(weight.tolist(), problem.sample_shape, **keywords)
    assert_canonical(W)
    assert_array_equal(W.toarray(), oracle.dense(rows, columns))
    assert W.nnz == sum(map(len, rows))


def test_nnz_is_that_of_the_geometry():
    weight = np.ones((4, 3, 2, 3))
    W = conv_matrix(weight, (7, 8, 6), groups=2, stride=2, padding=1, padded=True)
    assert W.nnz == ConvGeometry((7, 8, 6), (3, 2), 4, groups=2, stride=2, padding=1).nnz


@pytest.mark.parametrize("dtype", FLOATS + OTHERS)
def test_dtype_is_what_weight_is_computed_in(dtype):
    problem = Problem((4, 5), (2, 3), 2, 3, weight_dtype=dtype)
    _, weight, _ = problem.integers()
    computed = dtype if dtype in FLOATS else "float32" if dtype == "float16" else "float64"
    W = conv_matrix(weight, problem.x_shape)
    assert W.dtype == computed
    rows, columns = oracle.conv_matrix(weight.tolist(), problem.x_shape)
    assert_array_equal(W.toarray(), oracle.dense(rows, columns))


@pytest.mark.parametrize("dtype", [*FLOATS, np.complex64, np.dtype(">f4"), float, "f"])
def test_dtype_as_asked(dtype):
    weight = Problem((4, 5), (2, 3), 2, 3, weight_dtype="float32").integers()[1]
    W = conv_matrix(weight, (4, 5, 2), dtype=dtype)
    assert W.dtype == np.dtype(dtype).newbyteorder("=")
    assert W.dtype.isnative
    assert_array_equal(W.toarray(), conv_matrix(weight, (4, 5, 2)).toarray())


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_folded_taps_add_up_and_keep_their_place_when_they_cancel(mode):
    weight = np.array([[1.0, -1.0]])
    W = conv_matrix(weight, (1, 2), padding=((0, 0), (1, 1)), padding_mode=mode)
    dense = {
        "replicate": [[0, 0], [1, -1], [0, 0]],
        "reflect": [[-1, 1], [1, -1], [-1, 1]],
        "circular": [[-1, 1], [1, -1], [-1, 1]],
    }[mode]
    assert_array_equal(W.toarray(), dense)
    assert W.nnz == (4 if mode == "replicate" else 6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("order", ORDERS)
def test_large_matrix_is_canonical_and_right(layout, order):
    problem = Problem(
        (61, 67), (3, 5), 6, 8, stride=(2, 1), padding=(1, 2), padding_mode="reflect", layout=layout
    ).of("float32")
    x, weight, _ = problem.integers()
    W = conv_matrix(weight, problem.x_shape, order=order, **problem.keywords)
    assert_canonical(W)
    y = conv2d(x, weight, method="direct", **problem.keywords)
    assert_array_equal(W @ x.ravel(order), y.ravel(order))


def test_same_matrix_for_any_number_of_threads():
    weight = Problem((61, 67), (3, 5), 6, 8).of("float32").floats()[1]
    matrices = []
    for n in range(1, get_num_threads() + 1):
        with threads(n):
            matrices.append(conv_matrix(weight, (61, 67, 6), padding="same"))
    for W in matrices:
        assert_array_equal(W.indptr, matrices[0].indptr)
        assert_array_equal(W.indices, matrices[0].indices)
        assert_array_equal(W.data, matrices[0].data)


@pytest.mark.parametrize("kind", [np.asfortranarray, lambda a: a[::-1].copy()[::-1], np.ndarray.tolist])
def test_weight_in_any_memory_and_not_shared(kind):
    weight = Problem((4, 5), (2, 3), 2, 3).integers()[1]
    given_weight = kind(weight)
    W = conv_matrix(given_weight, (4, 5, 2))
    assert_array_equal(W.toarray(), conv_matrix(weight, (4, 5, 2)).toarray())
    W.data[:] = 0
    assert_array_equal(given_weight, weight)


@pytest.mark.parametrize("padded", [False, True])
def test_columns_past_32_bits(padded):
    """Few entries, but columns that int32 cannot hold."""
    W = conv_matrix(np.array([[[[2.0]]]]), (70_000, 70_000, 1), stride=69_999, padded=padded)
    assert W.shape == (4, 70_000**2)
    assert W.indices.dtype == W.indptr.dtype == np.int64
    assert W.indices.tolist() == [0, 69_999, 69_999 * 70_000, 70_000**2 - 1]
    assert W.data.tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("weight_shape", "input_shape"),
    [
        ((64, 3, 3, 64), (100_000, 100_000, 64)),
        ((1, 1, 1, 1), (2**24, 2**24, 1)),
        ((64, 3, 3, 64), (2**24, 2**24, 64)),  # its entries are more than 64 bits can count
    ],
)
def test_a_matrix_that_would_not_fit_is_refused_before_anything_is_allocated(weight_shape, input_shape):
    weight = np.ones(weight_shape)
    tracemalloc.start()
    try:
        with pytest.raises(MemoryError) as caught:
            conv_matrix(weight, input_shape, padding=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20
    assert_says_how_large_and_what_instead(caught.value)


def test_a_convolution_whose_matrix_would_not_fit_is_refused():
    x, weight = np.zeros((2000, 2000), "float32"), np.zeros((64, 31, 31, 1), "float32")
    with pytest.raises(MemoryError) as caught:
        conv2d(x, weight, method="matrix")
    assert_says_how_large_and_what_instead(caught.value)


def assert_says_how_large_and_what_instead(error):
    message = str(error)
    assert "iB" in message
    assert "direct" in message

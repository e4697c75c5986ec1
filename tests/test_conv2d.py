"""conv2d against the definition: every method, shape, keyword, dtype and kind of memory."""

from dataclasses import replace
from itertools import product

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from numpy.testing import assert_array_equal
from strategies import (
    EDGE_PROBLEMS,
    FLOATS,
    LAYOUTS,
    METHODS,
    OTHERS,
    PADDING_MODES,
    SIZES,
    Problem,
    problems,
)

import triconv
from triconv import conv2d
from triconv.arguments import overlaps_itself

POISON = 0.0625 + 777  # exact in every dtype, and the sum of no integers

SMALL = SIZES["small"]

each_method = pytest.mark.parametrize("method", METHODS)


def assert_same_bits(actual, expected):
    """Same shape, dtype and bits; a zero's sign counts, so that -0.0 is not taken for 0.0."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    assert_array_equal(actual, expected)
    assert actual.tobytes() == expected.tobytes()


def check_exact(problem, method):
    x, weight, bias = problem.integers()
    y = conv2d(x, weight, bias, method=method, **problem.keywords)
    assert type(y) is np.ndarray
    assert_same_bits(y, problem.expected(x, weight, bias))


# --- Integers, where every order of summation gives the same float -----------------------------------


@each_method
@pytest.mark.parametrize("name", EDGE_PROBLEMS)
def test_edge_problem_is_exact(name, method):
    check_exact(EDGE_PROBLEMS[name], method)


@pytest.mark.long
@each_method
@given(problem=problems())
def test_any_problem_is_exact(problem, method):
    check_exact(problem, method)


@each_method
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS + OTHERS)
def test_every_dtype_and_layout_is_exact(dtype, layout, method):
    """Enough channels and columns for whole tiles, remainders of both, and a stride."""
    for problem in (
        Problem((5, 35), (3, 3), 3, 37),
        Problem((6, 31), (3, 4), 18, 5, stride=2),
        Problem((9, 40), (3, 3)),
    ):
        check_exact(replace(problem, padding=1, layout=layout, bias_dtype=dtype).of(dtype), method)


@each_method
@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("padding", [2, (0, 3), ((1, 0), (2, 3)), "valid", "same", "same_lower", "full"])
def test_every_spelling_of_padding_in_every_mode_is_exact(padding, mode, method):
    for layout, stride in product(LAYOUTS, (1, (3, 2))):
        problem = Problem(
            (5, 6), (4, 3), 2, 3, padding=padding, padding_mode=mode, layout=layout, stride=stride
        )
        check_exact(problem, method)


@each_method
@pytest.mark.parametrize("name", SIZES)
def test_large_problem_is_exact_at_corners_and_at_random(name, method):
    """All of it would take the oracle too long; the corners and a hundred places do not."""
    problem = replace(SIZES[name], batch=None)
    x, weight, bias = problem.integers()
    y = conv2d(x, weight, bias, method=method, **problem.keywords)
    assert y.shape == problem.output_shape
    if problem.layout == "NCHW":
        y = np.moveaxis(y, 0, -1)
    rng = np.random.default_rng(1)
    corners = product(*[(0, length - 1) for length in y.shape])
    at = [*corners, *(tuple(rng.integers(y.shape).tolist()) for _ in range(100))]
    biases = None if bias is None else bias.tolist()
    expected = oracle.outputs(x.tolist(), weight.tolist(), biases, at, **problem.keywords)
    assert [y[place] for place in at] == expected


@each_method
@pytest.mark.parametrize("bias", [3, 3.0, np.float32(3), np.array(3.0, "float32"), [3], (3,), np.array([3])])
def test_one_filter_takes_its_bias_in_any_form(bias, method):
    problem = Problem((5, 6), (3, 2), axes="filter")
    x, weight, _ = problem.integers()
    expected = problem.expected(x, weight, np.array([3]))
    assert_same_bits(conv2d(x, weight, bias, method=method), expected)


@pytest.mark.parametrize("groups", [1, 2])
def test_keywords_take_numpy_integers_and_lists_of_arrays(groups):
    problem = Problem(
        (7, 8), (3, 2), 2, 4, stride=2, padding=(1, 2), dilation=(2, 1), groups=groups, bias_dtype="int8"
    )
    x, weight, bias = problem.integers()
    y = conv2d(
        x.tolist(),
        weight.tolist(),
        bias.tolist(),
        stride=np.int8(2),
        padding=(np.uint16(1), np.int64(2)),
        dilation=(np.int64(2), 1),
        groups=np.int32(groups),
    )
    assert_same_bits(y, problem.expected(x, weight, bias))


# --- dtypes ------------------------------------------------------------------------------------------


@each_method
@pytest.mark.parametrize(
    "dtypes",
    [*product(("float16", "float32", "complex64", "int16", "bool"), FLOATS[:3], (None, "float64", "int8"))],
    ids=str,
)
def test_mixed_inputs_are_computed_in_their_common_dtype(dtypes, method):
    x_dtype, weight_dtype, bias_dtype = dtypes
    problem = Problem((4, 5), (2, 2), 2, 3, x_dtype=x_dtype, weight_dtype=weight_dtype, bias_dtype=bias_dtype)
    check_exact(problem, method)
    swapped = replace(problem, x_dtype=weight_dtype, weight_dtype=x_dtype)
    check_exact(swapped, method)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "result"),
    [
        ("float32", "float32", None, "float32"),
        ("float32", "float64", None, "float64"),
        ("float32", "float32", "float64", "float64"),
        ("float32", "complex64", None, "complex64"),
        ("float64", "complex64", None, "complex128"),
        ("complex64", "float32", "complex128", "complex128"),
        ("float16", "float16", None, "float16"),
        ("float16", "float16", "float16", "float16"),
        ("float16", "float32", None, "float32"),
        ("uint8", "float16", None, "float16"),
        ("int16", "float16", None, "float32"),
        ("uint8", "float32", None, "float32"),
        ("int16", "float32", None, "float32"),
        ("int32", "float32", None, "float64"),
        ("int64", "complex64", None, "complex128"),
        ("uint8", "uint8", None, "float64"),
        ("int64", "int64", "int64", "float64"),
        ("uint64", "int64", None, "float64"),
        ("bool", "bool", None, "float64"),
        ("bool", "float16", "bool", "float16"),
    ],
)
def test_result_dtype(x, weight, bias, result):
    problem = Problem((3, 4), (2, 2), 2, 2, x_dtype=x, weight_dtype=weight, bias_dtype=bias)
    assert conv2d(*problem.integers()).dtype == result
    assert problem.result_dtype == result


def test_a_python_number_as_bias_widens_nothing():
    x, weight = np.ones((4, 5), "float32"), np.ones((2, 2), "float32")
    assert conv2d(x, weight, 0.5).dtype == "float32"
    assert conv2d(x, weight, np.float64(0.5)).dtype == "float64"
    assert conv2d(x, weight, 1j).dtype == "complex64"


@each_method
def test_float16_is_summed_in_float32(method):
    """2048 + 1 is 2048 in float16, where a sum would stay, and 2**24 + 1 is 2**24 in float32 alone."""
    x, weight = np.ones((1, 100), "float16"), np.ones((1, 100), "float16")
    assert conv2d(x, weight, np.float16(2048), method=method) == np.float16(2148)
    with np.errstate(over="ignore"):
        assert conv2d(x * np.float16(600), weight * np.float16(600), method=method) == np.inf
    line = np.array([[4096, 1, 4096]], "float16")
    assert conv2d(line, np.array([[4096, 1, -4096]], "float16"), method=method) == 0
    problem = Problem((6, 9), (3, 3), 4, 17).of("float16")
    x, weight, _ = problem.floats()
    in_float32 = conv2d(x.astype("float32"), weight.astype("float32"), method=method)
    assert_same_bits(conv2d(x, weight, method=method), in_float32.astype("float16"))


# --- Memory ------------------------------------------------------------------------------------------


def transposed(a):
    return np.asfortranarray(a)


def reversed_strides(a):
    return a[(slice(None, None, -1),) * a.ndim].copy()[(slice(None, None, -1),) * a.ndim]


def strided(a):
    holes = np.full([2 * n + 1 for n in a.shape], 99).astype(a.dtype)
    holes[(slice(1, None, 2),) * a.ndim] = a
    return holes[(slice(1, None, 2),) * a.ndim]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def big_endian(a):
    return a.astype(a.dtype.newbyteorder(">"))


def unaligned(a):
    buffer = np.zeros(a.nbytes + 1, "uint8")
    view = buffer[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    assert not view.flags.aligned
    return view


def unmasked(a):
    return np.ma.MaskedArray(a, mask=False)


def subclass(a):
    class Subclass(np.ndarray):
        pass

    return a.view(Subclass)


KINDS = (transposed, reversed_strides, strided, read_only, big_endian, unaligned, unmasked, subclass)


@each_method
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "complex128", "int16"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_memory_is_read_right_and_not_written(kind, dtype, layout, method):
    for problem in (
        SMALL,
        Problem((9, 40), (3, 3), bias_dtype="int8"),
        Problem((5, 6), (3, 3), axes="filter"),
    ):
        problem = replace(problem, layout=layout).of(dtype)
        arrays = problem.integers()
        given_arrays = [None if a is None else kind(a) for a in arrays]
        y = conv2d(*given_arrays, method=method, **problem.keywords)
        assert type(y) is np.ndarray
        assert_same_bits(y, problem.expected(*arrays))
        for before, after in zip(arrays, given_arrays, strict=True):
            if before is not None:
                assert_array_equal(after, before)


@each_method
def test_overlapping_windows_and_broadcast_inputs(method):
    line = np.arange(12.0)
    windows = np.lib.stride_tricks.sliding_window_view(line, 5)
    pixel = np.broadcast_to(3.0, (6, 7, 2))
    filters = np.broadcast_to(2.0, (4, 3, 3, 2))
    assert_same_bits(
        conv2d(windows, windows[:2, :3], method=method), conv2d(windows.copy(), windows[:2, :3].copy())
    )
    assert_same_bits(conv2d(pixel, filters, method=method), np.full((4, 5, 4), 3.0 * 2 * 18))


@each_method
def test_inputs_may_share_memory_with_each_other(method):
    x = np.arange(16.0).reshape(4, 4)
    assert_same_bits(
        conv2d(x, x[:2, :2], x[0, :1], method=method), conv2d(x, x[:2, :2].copy(), x[0, :1].copy())
    )


# --- out ---------------------------------------------------------------------------------------------


def poisoned(shape, dtype):
    return np.full(shape, POISON).astype(dtype)


@each_method
@given(problem=problems())
def test_out_is_written_whole_and_returned(problem, method):
    x, weight, bias = problem.integers()
    out = poisoned(problem.output_shape, problem.result_dtype)
    assert conv2d(x, weight, bias, method=method, out=out, **problem.keywords) is out
    assert_same_bits(out, problem.expected(x, weight, bias))


@each_method
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "complex128", "float16"])
@pytest.mark.parametrize("kind", [transposed, reversed_strides, strided, unaligned, subclass])
def test_out_may_lie_in_memory_as_it_likes(kind, dtype, layout, method):
    for problem in (SMALL, Problem((9, 40), (3, 3)), Problem((5, 6), (3, 3), axes="filter")):
        problem = replace(problem, layout=layout).of(dtype)
        x, weight, bias = problem.integers()
        out = kind(poisoned(problem.output_shape, problem.result_dtype))
        assert conv2d(x, weight, bias, method=method, out=out, **problem.keywords) is out
        assert_same_bits(np.array(out, subok=False), problem.expected(x, weight, bias))


def guarded(a, value):
    """A copy of `a` in the middle of a longer line of memory, which holds `value` before and after it."""
    line = np.full(a.size + 256, value, a.dtype)
    middle = line[128:-128].reshape(a.shape)
    middle[...] = a
    return line, middle


@pytest.mark.slow
@each_method
def test_nothing_around_out_is_written_nor_around_inputs_used(method):
    """Kernels may read a vector past the end, but NaN from there must not come through."""
    for problem in (*EDGE_PROBLEMS.values(), *SIZES.values()):
        arrays = problem.integers()
        x, weight, bias = (None if a is None else guarded(a, np.nan)[1] for a in arrays)
        expected = conv2d(*arrays, method=method, **problem.keywords)
        line, out = guarded(np.full_like(expected, POISON), POISON)
        conv2d(x, weight, bias, method=method, out=out, **problem.keywords)
        assert_same_bits(out.copy(), expected)
        assert (line[:128] == POISON).all()
        assert (line[-128:] == POISON).all()


@each_method
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda out: out.astype("float32"), TypeError),
        (lambda out: out.astype("complex128"), TypeError),
        (lambda out: out.astype("int64"), TypeError),
        (big_endian, TypeError),
        (lambda out: out.tolist(), TypeError),
        (unmasked, TypeError),
        (lambda out: out[None], ValueError),
        (lambda out: out[0], ValueError),
        (lambda out: out[:, 1:], ValueError),
        (lambda out: np.moveaxis(out, -1, 1).copy(), ValueError),
        (lambda out: np.empty((0, *out.shape[1:])), ValueError),
        (read_only, ValueError),
    ],
)
def test_out_that_does_not_fit_is_refused_and_not_written(change, error, method):
    x, weight, bias = SMALL.integers()
    out = change(poisoned(SMALL.output_shape, "float64"))
    before = np.array(out)
    with pytest.raises(error, match=r"^conv2d: out "):
        conv2d(x, weight, bias, method=method, out=out, **SMALL.keywords)
    assert_array_equal(np.array(out), before)


@each_method
@pytest.mark.parametrize("shared", ["x", "weight", "bias"])
def test_out_that_shares_memory_with_an_input_is_refused(shared, method):
    """A 1x1 kernel would give right numbers in place by luck; no input may be changed all the same."""
    arrays = {"x": np.ones((4, 4, 2)), "weight": np.ones((2, 1, 1, 2)), "bias": np.ones(2)}
    memory = np.ones(100)
    size = arrays[shared].size
    arrays[shared] = memory[:size].reshape(arrays[shared].shape)
    out = memory[size - 1 : size + 31].reshape(4, 4, 2)
    with pytest.raises(ValueError, match=r"^conv2d: out shares memory"):
        conv2d(**arrays, method=method, out=out)
    assert (memory == 1).all()
    interleaved = np.ones((4, 4, 4))
    apart = conv2d(interleaved[..., ::2], arrays["weight"], method=method, out=interleaved[..., 1::2])
    assert (apart == 2).all()


@each_method
@pytest.mark.parametrize("strides", [(0, 8), (8, 0), (0, 0), (8, 8), (-8, 8), (16, 8), (24, 16)])
def test_out_whose_elements_share_memory_is_refused_and_not_written(strides, method):
    memory = np.full(100, POISON)
    out = as_strided(memory[40:], (4, 4), strides)
    for call in (conv2d, lambda x, weight, **keywords: triconv.plan(weight, x.shape, method=method)(x, out)):
        with pytest.raises(ValueError) as caught:
            call(np.ones((4, 4)), np.ones((1, 1)), method=method, out=out)
        where = "conv2d" if call is conv2d else "ConvPlan"
        assert str(caught.value) == f"{where}: out has elements that share memory; give an array of its own"
    assert (memory == POISON).all()
    apart = as_strided(memory[40:], (4, 4), (64, -16))
    conv2d(np.ones((4, 4)), np.ones((1, 1)), method=method, out=apart)
    assert (apart == 1).all()


@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    steps=st.lists(st.integers(-7, 7), min_size=4, max_size=4),
    itemsize=st.sampled_from((1, 4, 8)),
)
def test_elements_share_memory_where_their_bytes_do(shape, steps, itemsize):
    steps = steps[: len(shape)]
    made = as_strided(np.zeros(400, np.uint8)[200:].view(f"V{itemsize}"), shape, steps)
    starts = np.tensordot(np.indices(shape), steps, (0, 0))
    taken = starts.reshape(-1, 1) + np.arange(itemsize)
    assert overlaps_itself(made) == (len(np.unique(taken)) < taken.size)


@each_method
@pytest.mark.parametrize(
    "wrong",
    [
        {"stride": 0},
        {"padding": -1},
        {"groups": 3},
        {"layout": "HWC"},
        {"padding_mode": "mirror"},
        {"dilation": 9},
    ],
)
def test_out_is_not_written_by_a_call_that_fails(wrong, method):
    x, weight, bias = SMALL.integers()
    out = poisoned(SMALL.output_shape, "float64")
    with pytest.raises(ValueError, match=r"^conv2d: "):
        conv2d(x, weight, bias, method=method, out=out, **(SMALL.keywords | wrong))
    assert (out == POISON).all()


# --- The relatives of conv2d -------------------------------------------------------------------------


def check_copy(actual, expected, source):
    """Elements of `source` moved about: its own values and floating dtype, in memory of their own."""
    assert_same_bits(actual, np.array(expected).astype(actual.dtype))
    assert actual.dtype == source.dtype or source.dtype.kind in "biu"
    assert not np.shares_memory(actual, source)


@given(problem=problems(empty_batch=False))
def test_im2col_is_the_definition(problem):
    x, _, _ = problem.integers()
    columns = triconv.im2col(x, problem.kernel_size, **problem.im2col_keywords)
    expected = oracle.im2col(x.tolist(), problem.kernel_size, **problem.im2col_keywords)
    check_copy(columns, expected, x)


@given(problem=problems(empty_batch=False))
def test_pad_is_the_definition(problem):
    x, _, _ = problem.integers()
    padded = triconv.pad(x, problem.pads, padding_mode=problem.padding_mode, layout=problem.layout)
    expected = oracle.pad(x.tolist(), problem.pads, padding_mode=problem.padding_mode, layout=problem.layout)
    check_copy(padded, expected, x)


@given(problem=problems())
def test_flatten_weight_is_the_definition(problem):
    _, weight, _ = problem.integers()
    rows = triconv.flatten_weight(weight, layout=problem.layout)
    expected = oracle.flatten_weight(weight.tolist(), layout=problem.layout)
    check_copy(rows, expected, weight)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_relatives_read_every_kind_of_memory(kind, layout):
    problem = replace(SMALL, layout=layout).of("float32")
    x, weight, _ = problem.integers()
    assert_same_bits(triconv.pad(kind(x), 1, layout=layout), triconv.pad(x, 1, layout=layout))
    assert_same_bits(triconv.im2col(kind(x), 3, layout=layout), triconv.im2col(x, 3, layout=layout))
    flat = triconv.flatten_weight(weight, layout=layout)
    assert_same_bits(triconv.flatten_weight(kind(weight), layout=layout), flat)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_relatives_of_an_empty_batch(layout):
    x = np.ones((0, 5, 6, 2) if layout == "NHWC" else (0, 2, 5, 6), "float32")
    assert triconv.im2col(x, 3, padding=1, layout=layout).shape == (0, 30, 18)
    padded = triconv.pad(x, ((1, 0), (2, 3)), layout=layout)
    assert padded.shape == ((0, 6, 11, 2) if layout == "NHWC" else (0, 2, 6, 11))

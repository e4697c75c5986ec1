"""ConvPlan: decided and packed once for one input shape, and then only called."""

import copy
import pickle
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal
from strategies import METHODS, NAMED, SIZES, Problem, problems, same_float

from triconv import ConvGeometry, ConvPlan, arguments, conv2d, convolution, plan, threads
from triconv.methods import choice, prepared
from triconv.runtime import memory

each_method = pytest.mark.parametrize("method", METHODS)
PROBLEM = Problem(
    (6, 17), (3, 2), 4, 6, stride=(1, 2), padding=(1, 0), groups=2, batch=2, bias_dtype="float64"
)


def planned(problem, method="auto", **more):
    x, weight, bias = problem.integers()
    made = plan(weight, problem.x_shape, bias, method=method, **problem.keywords, **more)
    return made, x, weight, bias


@each_method
@given(problem=problems(same_float))
def test_a_plan_gives_what_conv2d_gives(problem, method):
    x, weight, bias = problem.floats()
    made = plan(weight, problem.x_shape, bias, method=method, **problem.keywords)
    y = conv2d(x, weight, bias, method=method, **problem.keywords)
    for _ in range(2):
        again = made(x)
        assert again.dtype == y.dtype
        assert again.shape == y.shape
        assert again.tobytes() == y.tobytes()


@each_method
@pytest.mark.parametrize("bias", [None, 2, [1.0] * 6])
def test_a_plan_can_be_pickled_and_copied(method, bias):
    made, x, weight, _ = planned(PROBLEM, method)
    made = (
        plan(weight, x.shape, bias, method=method, **PROBLEM.keywords)
        if bias != 2
        else plan(np.ones((2, 2)), (3, 3), bias, method=method)
    )
    x = np.ones((3, 3)) if bias == 2 else x
    for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made), copy.copy(made)):
        assert_array_equal(other(x), made(x), strict=True)
        assert other.explain() == made.explain()


@each_method
def test_a_plan_is_exact(method):
    made, x, weight, bias = planned(PROBLEM, method)
    assert_array_equal(made(x), PROBLEM.expected(x, weight, bias))


@each_method
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_a_plan_keeps_its_own_weights(layout, method):
    """Also where packing would change nothing: a 1x1 kernel, one channel, float64."""
    for problem in (
        replace(PROBLEM, layout=layout),
        Problem((4, 5), (1, 1), layout=layout, bias_dtype="float64"),
    ):
        made, x, weight, bias = planned(problem, method)
        expected = problem.expected(x, weight, bias)
        weight[...] = 99
        bias[...] = 99
        assert_array_equal(made(x), expected)


def test_what_a_plan_says_of_itself():
    made, x, _, _ = planned(PROBLEM)
    assert isinstance(made, ConvPlan)
    assert made.method in NAMED
    assert isinstance(made.geometry, ConvGeometry)
    assert made.geometry.output_shape == (6, 8, 6)
    assert made.geometry.pads == ((1, 1), (0, 0))
    assert made.flops == 2 * PROBLEM.multiplications
    assert isinstance(made.workspace_bytes, int)
    assert isinstance(made.packed_bytes, int)
    assert made.workspace_bytes >= 0
    assert made.packed_bytes > 0
    for name in ("method", "geometry", "flops", "workspace_bytes", "packed_bytes"):
        with pytest.raises(AttributeError):
            setattr(made, name, None)
    assert made(x).shape == PROBLEM.output_shape


@pytest.mark.parametrize("method", NAMED)
def test_a_method_that_is_asked_for_is_taken(method):
    assert planned(PROBLEM, method)[0].method == method


def test_explain_names_every_candidate_and_the_choice():
    made = planned(PROBLEM)[0]
    words = made.explain()
    assert isinstance(words, str)
    for method in NAMED:
        assert method in words
    assert "bytes" in words or "iB" in words
    assert words == made.explain()


def test_explain_says_why():
    lines = planned(PROBLEM)[0].explain().splitlines()
    assert len(lines) == 5
    chosen = lines[0].split()[0]
    assert lines[0] == f"{chosen} was chosen: it is predicted to take the fewest cycles"
    asked = planned(PROBLEM, "im2col")[0].explain().splitlines()
    assert asked[0] == "im2col was chosen: it was asked for"
    assert asked[1:4] == lines[1:4]
    assert [line.split()[0] for line in lines[1:]] == [*NAMED, "schedule:"]


def test_auto_does_not_build_a_matrix_that_would_not_fit():
    made = plan(np.ones((64, 31, 31, 1), "float32"), (2000, 2000, 1))
    assert made.method != "matrix"
    assert "matrix" in made.explain()


# A kernel that is larger than the image, and taps that see padding for the most part: W has few entries.
SPARSE = {
    "a long kernel": ((1, 3), (1, 4000), {"padding": "full"}),
    "a longer one": ((1, 3), (1, 50_000), {"padding": "full"}),
    "wide dilation": ((9, 40, 8), (2, 9, 5, 8), {"padding": "full", "dilation": 6}),
    "copies of pixels": ((1, 3), (1, 6000), {"padding": "full", "padding_mode": "circular"}),
    "few outputs of a batch": ((2, 600, 600, 16), (16, 2, 2, 16), {"stride": 300}),
}


@pytest.mark.parametrize("name", SPARSE)
def test_auto_takes_no_memory_that_another_method_would_not_need(name):
    """Nor where it decides, which the first call of a problem does."""
    shape, kernel, keywords = SPARSE[name]
    x, weight = np.ones(shape), np.ones(kernel)
    peaks, answers = {}, {}
    for method in ("auto", "direct"):
        answers[method] = conv2d(x, weight, method=method, **keywords)
        for kept in (convolution.prepared_call, prepared.prepare, choice.candidates):
            kept.cache_clear()
        tracemalloc.start()
        conv2d(x, weight, method=method, **keywords)
        peaks[method] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert_array_equal(answers["auto"], answers["direct"])
    assert peaks["auto"] < peaks["direct"] + 200_000


def test_explain_says_where_memory_decides():
    made = plan(np.ones((1, 400)), (1, 3), padding="full")
    assert made.method == "direct"
    assert made.explain().splitlines()[0] == (
        "direct was chosen: it is predicted to take the fewest cycles without W, which would take more memory"
    )


@pytest.mark.parametrize("height", [100, 4000])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_im2col_workspace_is_bounded_whatever_the_size(dtype, height):
    """The patch matrix of the larger one would take 4.8 GB in float32."""
    weight = np.ones((16, 5, 5, 3), dtype)
    for n in (1, 2):
        with threads(n):
            made = plan(weight, (height, 4000, 3), method="im2col")
            assert made.workspace_bytes <= n * 8 * 2**20


def test_im2col_workspace_is_bounded_for_a_long_patch():
    """One patch of 4 MiB: a block of several would pass the bound."""
    with threads(1):
        made = plan(np.ones((1, 32, 32, 1024), "float32"), (40, 40, 1024), method="im2col")
        assert made.workspace_bytes <= 8 * 2**20


@each_method
@pytest.mark.parametrize("narrow", ["float16", "int8", "bool", "uint16", "float32"])
def test_a_narrower_x_is_cast_up(narrow, method):
    problem = replace(PROBLEM, x_dtype=narrow, weight_dtype="float32", bias_dtype="float32")
    made, x, weight, bias = planned(problem, method)
    y = made(x)
    assert y.dtype == "float32"
    assert_array_equal(y, problem.expected(x, weight, bias))


@pytest.mark.parametrize(
    ("planned_for", "wider"),
    [
        ("float32", "float64"),
        ("float32", "int32"),
        ("float32", "complex64"),
        ("float64", "complex64"),
        ("complex64", "float64"),
        ("float16", "float32"),
    ],
)
def test_a_wider_x_is_refused(planned_for, wider):
    problem = replace(PROBLEM, weight_dtype=planned_for, bias_dtype=None)
    made, x, _, _ = planned(problem)
    with pytest.raises(TypeError, match=rf"{planned_for}.*{wider}|{wider}.*{planned_for}"):
        made(x.astype(wider))


@pytest.mark.parametrize(
    ("weight", "bias", "asked", "result"),
    [
        ("float32", None, None, "float32"),
        ("float32", "float64", None, "float64"),
        ("complex64", "float32", None, "complex64"),
        ("int8", None, None, "float64"),
        ("float16", "float16", None, "float16"),
        ("float32", None, "float64", "float64"),
        ("float32", "float32", "complex128", "complex128"),
        ("float32", None, np.complex64, "complex64"),
        ("complex64", None, "complex128", "complex128"),
        ("complex64", "complex64", "complex64", "complex64"),
    ],
)
def test_dtype_of_the_result(weight, bias, asked, result):
    problem = replace(PROBLEM, x_dtype="bool", weight_dtype=weight, bias_dtype=bias)
    made, x, weight, bias = planned(problem, dtype=asked)
    y = made(x)
    assert y.dtype == result
    assert_array_equal(y, problem.expected(x, weight, bias).astype(result))


@pytest.mark.parametrize(
    "shape", [(2, 6, 17, 5), (2, 7, 17, 4), (3, 6, 17, 4), (6, 17, 4), (1, 2, 6, 17, 4), (17, 4), ()]
)
def test_another_shape_is_refused(shape):
    made = planned(PROBLEM)[0]
    with pytest.raises(ValueError, match=r"\(2, 6, 17, 4\)"):
        made(np.ones(shape))


@each_method
def test_out(method):
    made, x, weight, bias = planned(PROBLEM, method)
    out = np.full(PROBLEM.output_shape, 777.5)
    assert made(x, out=out) is out
    assert_array_equal(out, PROBLEM.expected(x, weight, bias))
    spread = np.full((*PROBLEM.output_shape, 2), 777.5)
    assert_array_equal(made(x, out=spread[..., 1]), out)
    assert (spread[..., 0] == 777.5).all()
    for wrong, error in (
        (out[:1], ValueError),
        (out[0], ValueError),
        (out.astype("float32"), TypeError),
        ([1.0], TypeError),
    ):
        with pytest.raises(error, match="out"):
            made(x, out=wrong)
    same = plan(np.ones((4, 1, 1, 4)), (2, 6, 17, 4), method=method)
    kept = x.copy()
    with pytest.raises(ValueError, match="shares memory"):
        same(x, out=x)
    assert_array_equal(x, kept)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_memory_that_a_call_asks_for(dtype, monkeypatch):
    """The result, what lies beside it, and the copies that its arrays need; nothing that is there already."""
    asked = []
    monkeypatch.setattr(memory, "require", lambda *words: asked.append(words[:3]))
    monkeypatch.setattr(memory, "SMALL", 0)
    x = np.ones((9, 8, 2), dtype)
    made = plan(np.ones((4, 3, 3, 2), dtype), x.shape, method="direct")
    y = made(x)
    half = dtype == "float16"  # computed in single precision
    copied, written = 4 * x.size, 4 * y.size
    for image, out, more in (
        (x, None, y.nbytes + half * (copied + written)),
        (np.asfortranarray(x), None, y.nbytes + copied + half * written),
        (x, np.zeros_like(y), half * (copied + written)),
        (x, np.zeros_like(y, order="F"), written + half * copied),
    ):
        asked.clear()
        with threads(1):
            made(image, out=out)
        size = made._prepared._beside(1) + more
        words = f"the output of shape (7, 6, 4) ({dtype}) with its workspace and copies"
        assert ("ConvPlan", size, words) in asked
        copies = [where for where in asked if where[2].startswith("a copy of x")]
        assert len(copies) == (image is not x or half) * 2  # once before all else


def test_what_fits_without_copies_is_asked_for_as_the_output_alone(monkeypatch):
    x = np.zeros((4096, 4096), "float32")
    made = plan(np.ones((1, 1), "float32"), x.shape, method="direct")
    monkeypatch.setattr(memory, "available", lambda: 0)
    with pytest.raises(MemoryError) as caught, threads(1):
        made(x)
    words = (
        r"ConvPlan: the output of shape \(4096, 4096\) \(float32\) needs 6\d(\.\d)? MiB, 0 B are available"
    )
    assert re.fullmatch(words, str(caught.value))


def test_later_changes_to_weight_and_bias_do_not_reach_a_copy():
    x, weight, bias = SIZES["small"].integers()
    made = plan(weight, x.shape, bias, **SIZES["small"].keywords)
    expected = made(x)
    weight[...], bias[...] = 5, 7
    assert_array_equal(pickle.loads(pickle.dumps(made))(x), expected)


def test_prints_what_it_is():
    made = plan(np.ones((4, 3, 3, 2), "float32"), (5, 6, 2), method="im2col")
    assert repr(made) == "<ConvPlan im2col (5, 6, 2) -> (3, 4, 4) float32>"


def test_arrays_whose_overlap_is_hard_to_tell_count_as_overlapping():
    """The case of NumPy's own documentation, in which no element is shared."""
    x = np.zeros(192163377, np.int8)
    strided = np.lib.stride_tricks.as_strided
    a = strided(x, strides=(36674, 61119, 85569), shape=(1049, 1049, 1049))
    b = strided(x[64023025:], strides=(12223, 12224, 1), shape=(1049, 1049, 1))
    assert arguments.shares_memory(a, b)
    assert not arguments.shares_memory(x[::2], x[1::2])


@each_method
@pytest.mark.parametrize("name", SIZES)
def test_one_plan_called_by_many_threads_at_once(name, method):
    """Each call has its own input, so a workspace or an output shared between calls would show."""
    problem = SIZES[name]
    x, weight, bias = problem.integers()
    made = plan(weight, problem.x_shape, bias, method=method, **problem.keywords)
    inputs = [x + n for n in range(8)]
    expected = [made(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for y, right in zip(pool.map(made, inputs), expected, strict=True):
                assert_array_equal(y, right)


@each_method
def test_a_plan_may_be_used_with_other_thread_counts_than_it_was_made_with(method):
    problem = SIZES["large"]
    x, weight, _ = problem.floats()
    results = []
    for made_with, used_with in ((1, 2), (2, 1), (1, 1)):
        with threads(made_with):
            made = plan(weight, problem.x_shape, method=method, **problem.keywords)
        with threads(used_with):
            results.append(made(x).tobytes())
    assert len(set(results)) == 1

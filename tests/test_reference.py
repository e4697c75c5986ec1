"""The reference by which errors are measured: the definition, on all outputs or a sample, and its bound."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal
from strategies import problems, same_float

from triconv import compare
from triconv.core import checked
from triconv.core.keywords import Keywords
from triconv.core.problem import Problem, batch_channels_last

MODULE = sys.modules["triconv.reference"]


def task_of(x, weight, **keywords) -> Problem:
    given = {
        "stride": 1,
        "padding": 0,
        "dilation": 1,
        "groups": 1,
        "padding_mode": "zeros",
        "layout": "NHWC",
    } | keywords
    dtype = np.result_type(x, weight)
    return checked.convolution("reference", x.shape, weight.shape, None, dtype, Keywords(**given))


@given(problem=problems(same_float))
def test_it_is_the_definition(problem):
    x, weight, bias = problem.integers()
    task = task_of(x, weight, **problem.keywords)
    found = MODULE.reference(task, x, weight, bias)
    expected = batch_channels_last(problem.expected(x, weight, bias), task.layout)
    assert_array_equal(found.values, expected[found.places])
    assert found.values.size == expected.size


@pytest.fixture
def sampled(monkeypatch):
    """All but the smallest problems are sampled."""
    monkeypatch.setattr(MODULE, "GATHERED", 1)
    monkeypatch.setattr(MODULE, "SAMPLED", 3000)
    monkeypatch.setattr(MODULE, "BLOCK", 500)


@pytest.mark.usefixtures("sampled")
@given(problem=problems(same_float))
def test_a_sample_is_a_part_of_it(problem):
    x, weight, bias = problem.integers()
    task = task_of(x, weight, **problem.keywords)
    found = MODULE.reference(task, x, weight, bias)
    expected = batch_channels_last(problem.expected(x, weight, bias), task.layout)
    assert_array_equal(found.values, expected[found.places])


@pytest.mark.usefixtures("sampled")
def test_a_sample_holds_every_corner_and_half_of_it_is_border():
    x, weight = np.ones((3, 70, 80, 2)), np.ones((4, 3, 3, 2))
    task = task_of(x, weight, padding="same")
    (n, i, j), values = MODULE.reference(task, x, weight, None)
    places = set(zip(n, i, j, strict=True))
    assert {(b, r, c) for b in (0, 2) for r in (0, 69) for c in (0, 79)} <= places
    border = ((i == 0) | (i == 69) | (j == 0) | (j == 79)).sum()
    assert 0.3 < border / len(i) < 0.6
    assert 100 < len(places) == len(values) <= 3000 // 18
    again = MODULE.reference(task, x, weight, None)
    assert_array_equal(again.places, (n, i, j))


@pytest.mark.usefixtures("sampled")
def test_a_comparison_says_that_it_took_a_sample(monkeypatch):
    x, weight = np.ones((60, 70)), np.ones((5, 5))
    result = compare(x, weight, repeat=1)
    assert result.outputs == 56 * 66
    assert 32 <= result.measured == result.finite <= 3000 // 25
    line = f"max error: over a sample, {result.measured} of 3,696 outputs"
    assert str(result).splitlines()[-1] == line
    assert f"<table><caption>{line}</caption><thead>" in result._repr_html_()
    monkeypatch.setattr(MODULE, "GATHERED", 1 << 24)
    result = compare(x, weight, repeat=1)
    assert result.measured == result.outputs
    assert "sample" not in str(result) + result._repr_html_()


@pytest.mark.parametrize("place", [(0, 0), (55, 65), (0, 30), (20, 65)])
@pytest.mark.usefixtures("sampled")
def test_an_error_at_the_border_of_a_large_output_is_seen(place, monkeypatch):
    """A whole border, or a corner, is wrong: some of it is in the sample."""
    y = np.full((1, 56, 66, 1), 25.0)
    y[(0, *(slice(None) if 0 < p < s - 1 else p for p, s in zip(place, (56, 66), strict=True)))] += 1
    x, weight = np.ones((60, 70)), np.ones((5, 5))
    assert MODULE.reference(task_of(x, weight), x, weight, None).error(y) == 1.0


def test_the_work_is_bounded_however_large_kernel_and_image_are(monkeypatch):
    """Neither are all of 12 million pixels looked at, nor all taps of many patches."""
    counted = []
    real = MODULE._patches

    def patches(*args):
        made = real(*args)
        counted.append(made.size)
        return made

    monkeypatch.setattr(MODULE, "_patches", patches)
    one = np.ones((), np.float32)
    for x_shape, w_shape, padding in (
        ((3000, 4000, 3), (6, 3, 3, 1), "full"),
        ((600, 500, 3), (3, 201, 201, 1), "full"),
        ((56, 56, 256), (512, 3, 3, 256), 1),
    ):
        counted.clear()
        x, weight = np.broadcast_to(one, x_shape), np.broadcast_to(one, w_shape)
        task = task_of(x, weight, padding=padding, groups=x_shape[2] // w_shape[3])
        (_, i, _), values = MODULE.reference(task, x, weight, None)
        assert 8 < len(i) == len(values)
        assert sum(counted) <= MODULE.SAMPLED
        assert sum(counted) // x_shape[2] * values.shape[1] * w_shape[3] <= MODULE.PRODUCTS
        assert max(counted) <= MODULE.BLOCK


def test_an_image_of_no_rows_is_padding():
    x, weight = np.ones((0, 4, 1)), np.ones((1, 2, 2, 1))
    found = MODULE.reference(task_of(x, weight, padding=1), x, weight, None)
    assert_array_equal(found.values, np.zeros((5, 1)))


def test_what_overflows_is_no_error():
    found = MODULE.Reference(np.unravel_index(np.arange(3), (1, 1, 3)), np.array([[1e6], [-1e6], [2.0]]))
    assert found.error(np.array([[[[math.inf], [-math.inf], [2.0]]]], np.float16)) == 0.0
    assert found.error(np.array([[[[math.inf], [math.inf], [2.0]]]], np.float16)) == math.inf
    assert math.isnan(found.error(np.array([[[[math.inf], [math.nan], [2.0]]]], np.float16)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
@pytest.mark.parametrize("size", [1e-300, 1e-40, 1.0, 1e4, 1e30])
def test_the_callers_errstate_changes_nothing(dtype, size):
    with np.errstate(all="ignore"):
        x, weight = (np.full(shape, size).astype(dtype) for shape in ((5, 6), (2, 2)))
    quiet = compare(x, weight, 0.5, methods=["direct"], repeat=1)
    with np.errstate(all="raise"):
        loud = compare(x, weight, 0.5, methods=["direct"], repeat=1)
    assert loud.error_bound == quiet.error_bound
    assert loud.disagreeing == quiet.disagreeing == ()


def test_the_bound_counts_finite_values_of_arrays_of_any_strides():
    x = np.arange(1.0, 2001.0).reshape(40, 50)
    x[3, 4] = math.inf
    task = task_of(x, np.ones((1, 1)))
    bound = MODULE.error_bound(task, x, np.ones((1, 1)), None)
    assert bound == MODULE.error_bound(task, x[::-1, ::-1], np.ones((1, 1)), None)
    # two terms, by the method and by the reference
    assert bound == pytest.approx(2 * 2 * np.finfo(float).eps / 2 * 2000, rel=1e-6)


def test_weights_that_do_not_fit_are_refused_in_words(monkeypatch):
    monkeypatch.setattr("triconv.runtime.memory.available", lambda: 1 << 20)
    x, weight = np.ones((9, 9)), np.broadcast_to(np.float32(1), (1 << 20, 3, 3, 1))
    with pytest.raises(MemoryError) as refused:
        MODULE.reference(task_of(x, weight), x, weight, None)
    assert str(refused.value) == (
        "compare: the weight of shape (1048576, 3, 3, 1) in float64, beside copies, needs 144 MiB, "
        "1 MiB are available"
    )

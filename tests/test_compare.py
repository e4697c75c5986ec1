"""compare: what it measures, how it judges, and how its table reads."""

import math
import re
import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import NAMED, Problem, problems, same_float

import triconv
from triconv import compare
from triconv.compare import Comparison, ComparisonRow, format_digits, format_seconds
from triconv.runtime.memory import human

MODULE = sys.modules["triconv.compare"]  # the package's attribute of that name is the function
PROBLEM = Problem((9, 8), (3, 3), 4, 6, stride=2, padding=1, groups=2, batch=2, bias_dtype="float64")
FAST = ComparisonRow("direct", 2e-3, 12.34, 0, 1536, 1.25e-7)
SLOW = ComparisonRow("im2col", 1.5, 0.0164, 3 << 20, 1536, 0.0)
ABSENT = ComparisonRow("matrix", math.nan, math.nan, 0, 0, math.nan, note="W & more than < 1 GiB")


class Wrong:
    """A plan whose results are off by a number."""

    def __init__(self, made, off):
        self.made, self.off = made, off

    def __getattr__(self, name):
        return getattr(self.made, name)

    def __call__(self, x, out=None):
        y = self.made(x, out)
        y.flat[-1] += self.off
        return y


def break_method(monkeypatch, method, off):
    real = MODULE.plan

    def plan(*args, **keywords):
        made = real(*args, **keywords)
        return Wrong(made, off) if keywords["method"] == method else made

    monkeypatch.setattr(MODULE, "plan", plan)


# --- what it measures --------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=30)
@given(problem=problems(same_float))
def test_every_method_is_exact_on_integers(problem):
    x, weight, bias = problem.integers()
    result = compare(x, weight, bias, repeat=1, **problem.keywords)
    assert [(row.method, row.max_error) for row in result] == [(m, 0.0) for m in NAMED]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_rounding_stays_inside_the_bound_and_the_bound_is_not_idle(dtype):
    problem = replace(PROBLEM, x_dtype=dtype, weight_dtype=dtype, bias_dtype=dtype)
    x, weight, bias = (np.asarray(array) / 7 for array in problem.floats())
    x, weight, bias = (array.astype(dtype) for array in (x, weight, bias))
    result = compare(x, weight, bias, repeat=1, **problem.keywords)
    assert result.disagreeing == ()
    assert all(0 < row.max_error <= result.error_bound for row in result)
    largest = abs(triconv.conv2d(x, weight, bias, **problem.keywords)).max()
    assert result.error_bound < 1000 * np.finfo(dtype).eps * largest


def test_an_error_is_seen_and_judged(monkeypatch):
    break_method(monkeypatch, "im2col", 1e-3)
    x, weight, bias = PROBLEM.integers()
    result = compare(x, weight, bias, repeat=1, **PROBLEM.keywords)
    assert result["direct"].max_error == 0.0
    assert result["im2col"].max_error >= 1e-3
    assert result.disagreeing == (result["im2col"],)


def test_a_nan_in_the_wrong_place_is_an_error(monkeypatch):
    break_method(monkeypatch, "direct", math.nan)
    result = compare(np.ones((5, 5)), np.ones((3, 3)), repeat=1)
    assert math.isnan(result["direct"].max_error)
    assert result.disagreeing == (result["direct"],)


def test_nan_and_infinity_in_the_right_place_are_none():
    x = np.arange(81.0).reshape(9, 9)
    x[1, 2], x[6, 6] = math.nan, math.inf
    result = compare(x, np.ones((3, 3)), repeat=1)
    assert [row.max_error for row in result] == [0.0, 0.0, 0.0]
    assert result.disagreeing == ()
    assert result.error_bound < 1e-10


def test_rows_hold_what_the_plans_say():
    x, weight, bias = PROBLEM.integers()
    for row in compare(x, weight, bias, repeat=2, **PROBLEM.keywords):
        made = triconv.plan(weight, x.shape, bias, method=row.method, **PROBLEM.keywords)
        assert (row.workspace_bytes, row.packed_bytes) == (made.workspace_bytes, made.packed_bytes)
        assert row.seconds > 0
        assert row.gflops == pytest.approx(made.flops / row.seconds / 1e9)
        assert row.note == ""
        assert row.ran


def test_the_median_of_the_calls_counts_and_the_first_one_does_not(monkeypatch):
    now = iter([0.0, 5.0, 10.0, 11.0, 20.0, 23.0])
    monkeypatch.setattr(MODULE.time, "perf_counter", lambda: next(now))
    (row,) = compare(np.ones((4, 4)), np.ones((2, 2)), methods=["direct"], repeat=3)
    assert row.seconds == 3.0
    assert row.gflops == 2 * 9 * 4 / 3.0 / 1e9


def test_timed_calls_end_when_they_took_long_enough(monkeypatch):
    now = iter([0.0, 2.0, 10.0, 13.0])
    monkeypatch.setattr(MODULE.time, "perf_counter", lambda: next(now))
    (row,) = compare(np.ones((4, 4)), np.ones((2, 2)), methods=["direct"], repeat=9, time_limit=5.0)
    assert row.seconds == 2.5
    assert next(now, None) is None


def test_a_method_that_would_take_long_is_left_out_where_another_is_faster():
    x, weight = np.ones((30, 30, 8), np.float32), np.ones((8, 3, 3, 8), np.float32)
    seen = []
    result = compare(x, weight, repeat=1, call_limit=0.0, progress=seen.append)
    assert [row.method for row in result if row.ran] == [result.fastest.method]
    assert seen == list(result)
    for row in result:
        assert row.ran or re.fullmatch(
            r"not run: a call would take about \d\S* \w+, more than 0 us", row.note
        )
    assert all(row.ran for row in compare(x, weight, repeat=1, call_limit=1e9))
    assert compare(x, weight, methods=["im2col"], repeat=1, call_limit=0.0)["im2col"].ran
    small = compare(x, weight, methods=["im2col", "matrix"], repeat=1, call_limit=0.0, matrix_limit=0)
    assert small["im2col"].ran  # what is left out for its size is faster than nothing
    assert small["matrix"].note.startswith("not built: W would take ")


def test_the_table_counts_what_was_measured_and_what_is_finite():
    x = np.ones((6, 6))
    x[0, 0] = math.nan
    result = compare(x, np.ones((3, 3)), methods=["direct"], repeat=1)
    assert (result.outputs, result.measured, result.finite) == (16, 16, 15)


def test_methods_run_in_the_order_asked_for():
    seen = []
    x, weight = np.ones((4, 4)), np.ones((2, 2))
    result = compare(x, weight, methods=("matrix", "auto"), repeat=1, progress=seen.append)
    assert [row.method for row in result] == ["matrix", "auto"]
    assert seen == list(result)


def test_inputs_are_left_alone():
    x, weight, bias = PROBLEM.integers()
    before = [array.copy() for array in (x, weight, bias)]
    for array in (x, weight, bias):
        array.flags.writeable = False
    compare(x, weight, bias, repeat=1, **PROBLEM.keywords)
    assert all(np.array_equal(a, b) for a, b in zip(before, (x, weight, bias), strict=True))


def test_lists_and_integers_are_welcome():
    result = compare([[1, 2], [3, 4]], [[1, 1]], repeat=1)
    assert [row.max_error for row in result] == [0.0, 0.0, 0.0]


# --- a W that is too large ---------------------------------------------------------------------------


def test_a_matrix_above_the_limit_is_not_built():
    x, weight = np.ones((40, 40, 3), np.float32), np.ones((8, 3, 3, 3), np.float32)
    size = triconv.plan(weight, x.shape, method="matrix").packed_bytes
    result = compare(x, weight, repeat=1, matrix_limit=1 << 20)
    row = result["matrix"]
    assert not row.ran
    assert math.isnan(row.seconds)
    assert math.isnan(row.gflops)
    assert math.isnan(row.max_error)
    assert row.note == f"not built: W would take {human(size)}, more than 1 MiB"
    assert result.fastest.method in ("direct", "im2col")
    assert result.disagreeing == ()
    assert compare(x, weight, repeat=1, matrix_limit=size)["matrix"].ran
    assert not compare(x, weight, repeat=1, matrix_limit=size - 1)["matrix"].ran


def test_a_matrix_that_does_not_fit_is_a_row_too(monkeypatch):
    monkeypatch.setattr("triconv.runtime.memory.available", lambda: 100 << 20)
    x, weight = np.ones((224, 224, 8), np.float32), np.ones((32, 3, 3, 8), np.float32)
    row = compare(x, weight, methods=["matrix"], repeat=1)["matrix"]
    assert not row.ran
    assert "MiB" in row.note
    with pytest.raises(MemoryError) as refused:
        triconv.plan(weight, x.shape, method="matrix")
    assert row.note == str(refused.value)


def test_a_call_that_does_not_fit_is_a_row_too(monkeypatch):
    kind = type(triconv.plan(np.ones((3, 3)), (9, 9)))
    real = kind.__call__

    def call(self, x, out=None):
        if self.method == "im2col":
            raise MemoryError
        return real(self, x, out)

    monkeypatch.setattr(kind, "__call__", call)
    result = compare(np.ones((9, 9)), np.ones((3, 3)), repeat=1)
    assert [row.ran for row in result] == [True, False, True]
    assert result["im2col"].note == "there is not enough memory"


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"repeat": 0}, ValueError, "compare: repeat expects at least 1, got 0"),
        ({"repeat": 1.5}, TypeError, "compare: repeat expects an int, got 1.5"),
        (
            {"methods": ["fft"]},
            ValueError,
            "compare: methods expects one of 'auto', 'direct', 'im2col', 'matrix', got 'fft'",
        ),
        ({"time_limit": "1"}, TypeError, "compare: time_limit expects a number of seconds, got '1'"),
        ({"call_limit": True}, TypeError, "compare: call_limit expects a number of seconds, got True"),
        (
            {"call_limit": math.nan},
            ValueError,
            "compare: call_limit expects a number of seconds of at least 0, got nan",
        ),
        ({"methods": "direct"}, TypeError, "compare: methods expects a sequence of str, got 'direct'"),
        ({"stride": 0}, ValueError, "compare: stride expects at least 1, got 0"),
        (
            {"layout": "NCHW"},
            ValueError,
            "compare: weight expects 2 input channels per group, x has 5 (layout='NCHW', groups=1)",
        ),
    ],
)
def test_refusals_name_compare(change, error, message):
    with pytest.raises(error) as refused:
        compare(np.ones((5, 6, 2)), np.ones((3, 2, 2, 2)), **change)
    assert str(refused.value) == message


# --- how it reads ------------------------------------------------------------------------------------


def test_it_is_an_immutable_sequence_of_rows():
    result = Comparison((FAST, SLOW, ABSENT), 1e-6)
    assert len(result) == 3
    assert list(result) == [FAST, SLOW, ABSENT]
    assert result[0] is result[-3] is result["direct"] is FAST
    assert result.fastest is FAST
    assert result == Comparison((FAST, SLOW, ABSENT), 1e-6)
    with pytest.raises(KeyError, match="fft"):
        result["fft"]
    with pytest.raises(IndexError):
        result[3]
    with pytest.raises(FrozenInstanceError):
        result.rows = ()
    with pytest.raises(FrozenInstanceError):
        FAST.seconds = 0.0


def test_nothing_is_fastest_where_nothing_ran():
    with pytest.raises(ValueError, match=r"^Comparison\.fastest: none of the methods ran$"):
        _ = Comparison((ABSENT,), 1e-6).fastest


def test_it_prints_as_a_table():
    table = """\
method     time  GFLOP/s  workspace   packed  max error
------     ----  -------  ---------   ------  ---------
direct  2.00 ms     12.3        0 B  1.5 KiB    1.2e-07
im2col   1.50 s   0.0164      3 MiB  1.5 KiB    0.0e+00
matrix        -        -          -        -          -  W & more than < 1 GiB"""
    assert str(Comparison((FAST, SLOW, ABSENT), 1e-6)) == table
    assert repr(Comparison((FAST, SLOW, ABSENT), 1e-6)) == table


def test_it_shows_as_a_table_in_a_notebook():
    html = Comparison((FAST, ABSENT), 1e-6)._repr_html_()
    assert html.startswith("<table><thead><tr><th>method</th><th>time</th><th>GFLOP/s</th>")
    assert html.count("<tr>") == 3
    assert "<td>direct</td><td>2.00 ms</td><td>12.3</td><td>0 B</td><td>1.5 KiB</td><td>1.2e-07</td>" in html
    assert "<td>W &amp; more than &lt; 1 GiB</td>" in html


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.0, "2.00 s"), (0.0123, "12.3 ms"), (9.999e-4, "1000 us"), (4.5e-8, "0.0450 us"), (123.4, "123 s")],
)
def test_times_have_units_and_no_exponents(seconds, text):
    assert format_seconds(seconds) == text


def test_digits_are_three():
    assert [format_digits(v) for v in (1234.5, 12.345, 0.0)] == ["1234", "12.3", "0"]

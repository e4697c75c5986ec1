"""The three variants over strides, paddings, kernel sizes and dtypes, on a small and a large problem."""

import functools

import measure
import pytest
from contenders import OURS, check

import triconv

METHODS = ("direct", "im2col", "matrix")
LARGEST_MATRIX = 1 << 30  # bytes


@functools.lru_cache(maxsize=1)
def prepared(problem):
    """Input, weights, what the direct form makes of them, and the method that "auto" takes."""
    x, weight = problem.arrays()
    chosen = triconv.plan(weight, x.shape, **problem.keywords).method
    return x, weight, OURS["direct"].prepare(problem, x, weight)[1], chosen


@pytest.mark.parametrize("method", METHODS)
def test_variant(benchmark, grid_problem, method, effort):
    problem = grid_problem
    if method == "matrix" and problem.matrix_bytes > LARGEST_MATRIX:
        pytest.skip("W would take more than 1 GiB")
    x, weight, expected, chosen = prepared(problem)
    call, y = OURS[method].prepare(problem, x, weight)
    check(problem, y, expected)
    measure.race(benchmark, call, {}, effort)
    benchmark.extra_info.update(kind="grid", line=problem.line, method=method, chosen=chosen == method)

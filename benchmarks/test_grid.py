"""Every method over strides, paddings, kernel sizes and dtypes, on a small and a large problem."""

import functools

import measure
import pytest
from contenders import OURS, check

import triconv
from triconv.methods import METHODS

LARGEST_MATRIX = 1 << 30  # bytes


@functools.lru_cache(maxsize=1)
def prepared(problem):
    """Input, weights, what "auto" makes of them, and the method that it takes."""
    x, weight = problem.arrays()
    made = triconv.plan(weight, x.shape, **problem.keywords)
    return x, weight, made(x), made.method


@pytest.mark.parametrize("method", METHODS)
def test_method(benchmark, grid_problem, method, effort):
    problem = grid_problem
    if reason := METHODS[method].supports(problem.task):
        pytest.skip(f"{method} {reason}")
    if METHODS[method].NEEDS_MATRIX and problem.matrix_bytes > LARGEST_MATRIX:
        pytest.skip("W would take more than 1 GiB")
    x, weight, expected, chosen = prepared(problem)
    call, y = OURS[method].prepare(problem, x, weight)
    check(problem, y, expected)
    measure.race(benchmark, call, {}, effort)
    benchmark.extra_info.update(kind="grid", line=problem.line, method=method, chosen=chosen == method)

"""W and the operator: against SciPy's sparse matrices, the memory's rate, and each other."""

import statistics

import measure
import numpy as np
import pytest
import scipy.sparse
from problems import parse
from test_itself import note

import triconv
from triconv.operators import ConvOperator

LINES = ("ih64 ic8 oc8 kh3 ph1", "ih64 ic16 oc16 kh3 ph1", "ih32 ic64 oc64 kh3 ph1", "ih512 oc4 kh3 ph1")
LARGE = "ih32 ic64 oc64 kh3 ph1"  # 276 MiB of W in float32
COLUMNS = 16
each_line = pytest.mark.parametrize("line", LINES)
each_dtype = pytest.mark.parametrize("dtype", ["f32", "f64"])


def parts(line, dtype, method="auto"):
    """The operator, W in SciPy's own container, a vector."""
    problem = parse(f"{line} {dtype}")
    x, weight = problem.arrays()
    made = ConvOperator(weight, x.shape[1:], **problem.keywords, order="C", method=method)
    return made, made.to_sparse(), x[0].ravel()


def ratio(benchmark, ours, theirs, effort):
    """Their median time over ours."""
    times = measure.race(benchmark, ours, {"theirs": theirs}, effort)
    return statistics.median(times["theirs"]) / benchmark.stats.stats.median


@each_dtype
@each_line
def test_assembly(benchmark, line, dtype, effort):
    problem = parse(f"{line} {dtype}")
    x, weight = problem.arrays()
    keywords = problem.keywords | {"order": "C"}
    W = triconv.conv_matrix(weight, x.shape[1:], **keywords)
    rows = np.repeat(np.arange(W.shape[0], dtype=W.indices.dtype), np.diff(W.indptr))
    value = ratio(
        benchmark,
        lambda: triconv.conv_matrix(weight, x.shape[1:], **keywords),
        lambda: scipy.sparse.coo_array((W.data, (rows, W.indices)), shape=W.shape).tocsr(),
        effort,
    )
    note(benchmark, f"SciPy's COO to CSR over `conv_matrix`, `{line}` {dtype}", value, least=5)


@each_dtype
@each_line
def test_product(benchmark, line, dtype, effort):
    held, W, x = parts(line, dtype, "matrix")
    value = ratio(benchmark, lambda: held @ x, lambda: W @ x, effort)
    note(benchmark, f"SciPy's CSR over `W @ x`, `{line}` {dtype}", value, least=1)


@each_dtype
def test_product_at_memory_speed(benchmark, dtype, effort):
    held, W, x = parts(LARGE, dtype, "matrix")
    read, amount = measure.read_loop()
    times = measure.race(benchmark, lambda: held @ x, {"read": read}, effort)
    rate = (W.data.nbytes + W.indices.nbytes + W.indptr.nbytes) / benchmark.stats.stats.median
    share = rate / (amount / statistics.median(times["read"]))
    note(benchmark, f"bytes of W a second of `W @ x` over the memory's, `{LARGE}` {dtype}", share, least=0.9)


@each_dtype
@each_line
def test_product_with_columns(benchmark, line, dtype, effort):
    held, W, x = parts(line, dtype, "matrix")
    X = np.random.default_rng(0).standard_normal((x.size, COLUMNS)).astype(x.dtype)
    value = ratio(benchmark, lambda: held @ X, lambda: W @ X, effort)
    note(benchmark, f"SciPy's CSR over `W @ X`, {COLUMNS} columns, `{line}` {dtype}", value, least=2)


@each_dtype
@each_line
def test_without_matrix(benchmark, line, dtype, effort):
    free, _, x = parts(line, dtype)
    held, _, _ = parts(line, dtype, "matrix")
    value = ratio(benchmark, lambda: free @ x, lambda: held @ x, effort)
    note(benchmark, f"stored W over the matrix-free operator, `{line}` {dtype}", value, least=5)


def test_spectrum(benchmark, effort):
    weight = np.random.default_rng(0).standard_normal((64, 3, 3, 64))
    made = ConvOperator(weight, (32, 32, 64), padding="same", padding_mode="circular")
    matrices = np.fft.fft2(weight, (32, 32), axes=(1, 2)).transpose(1, 2, 0, 3).reshape(-1, 64, 64)
    size = min(made.shape)
    value = ratio(
        benchmark, lambda: made.svdvals(size), lambda: np.linalg.svd(matrices, compute_uv=False), effort
    )
    note(benchmark, "NumPy's batched SVD over the circular spectrum, 64 channels, 3x3, 32x32", value, least=1)

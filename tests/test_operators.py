"""ConvOperator: the same map as conv_matrix, its adjoint, and its place in SciPy's algebra and solvers."""

import copy
import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg as linalg
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import EDGE_PROBLEMS, FLOATS, LAYOUTS, METHODS, PADDING_MODES, Problem, problems

from triconv import ConvOperator, conv2d, conv_matrix
from triconv.methods import matrix
from triconv.runtime import memory

ORDERS = ("F", "C")
each_method = pytest.mark.parametrize("method", METHODS)
each_order = pytest.mark.parametrize("order", ORDERS)
GROUPED = Problem((7, 6), (3, 2), 4, 6, stride=(2, 1), padding=((1, 2), (0, 1)), groups=2, dilation=(1, 2))
COMPLEX = replace(GROUPED, padding_mode="reflect").of("complex128")


def made(problem, order="F", method="auto"):
    """An operator with W of integers, and W."""
    _, weight, _ = problem.integers()
    keywords = problem.keywords | {"order": order}
    W = conv_matrix(weight, problem.sample_shape, **keywords)
    return ConvOperator(weight, problem.sample_shape, method=method, **keywords), W


def whole(shape, dtype, seed=1):
    """An array of small integers."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-9, 9, shape, endpoint=True)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.integers(-9, 9, shape, endpoint=True)
    return values.astype(dtype)


def check(problem, order, method, dtype=None):
    """Bit for bit in every direction, of vectors and of several columns."""
    A, W = made(problem, order, method)
    dtype = dtype or W.dtype
    x, y = whole(A.shape[1], dtype), whole(A.shape[0], dtype)
    assert A.shape == W.shape
    assert A.dtype == W.dtype
    result = np.result_type(dtype, W.dtype)
    for operator, M, v in ((A, W, x), (A.H, W.conj().T, y), (A.T, W.T, y)):
        got = operator @ v
        assert got.dtype == result
        assert_array_equal(got, M @ v)
        assert_array_equal(operator @ v[:, None], (M @ v)[:, None])
        for columns in (0, 3):
            V = whole((len(v), columns), dtype, 2)
            assert_array_equal(operator @ V, M @ V)
    assert_array_equal(A.rmatvec(y), W.conj().T @ y)
    assert_array_equal(A.rmatmat(np.stack([y, -y], 1)), W.conj().T @ np.stack([y, -y], 1))
    return A, W


@each_order
@each_method
@pytest.mark.parametrize("name", EDGE_PROBLEMS)
def test_edge_problem(name, method, order):
    problem = EDGE_PROBLEMS[name]
    check(
        replace(problem, batch=None, axes="samples" if problem.axes == "image" else problem.axes),
        order,
        method,
    )


@each_method
@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_mode_and_layout_of_complex_numbers(layout, mode, method):
    for order in ORDERS:
        check(replace(COMPLEX, layout=layout, padding_mode=mode), order, method)


@each_method
@given(
    problem=problems(axes=("samples", "filter")), order=st.sampled_from(ORDERS), dtype=st.sampled_from(FLOATS)
)
def test_dot_test(problem, order, dtype, method):
    """<A x, y> = <x, A^H y>, exactly: sums of integers."""
    A, _ = made(replace(problem, batch=None), order, method)
    x, y = whole(A.shape[1], dtype), whole(A.shape[0], dtype)
    wide = "complex128"
    forward, back = (A @ x).astype(wide), (A.H @ y).astype(wide)
    assert np.vdot(forward, y.astype(wide)) == np.vdot(x.astype(wide), back)


@given(problem=problems(axes=("samples", "filter")), order=st.sampled_from(ORDERS))
def test_the_matrices_are_those_of_conv_matrix(problem, order):
    A, W = made(replace(problem, batch=None), order)
    sparse = A.to_sparse()
    assert type(sparse) is scipy.sparse.csr_array
    assert sparse.has_canonical_format
    assert_array_equal(sparse.toarray(), W.toarray())
    assert_array_equal(A.to_dense(), W.toarray())
    assert A.to_dense().dtype == sparse.dtype == A.dtype


@pytest.mark.parametrize("method", ["direct", "matrix"])
@pytest.mark.parametrize("x_dtype", [*FLOATS, "float16", "int8", "int64", "bool"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_dtypes_are_those_of_scipy(dtype, x_dtype, method):
    """Also a complex vector under real weights, and never less than the precision of either."""
    A, W = made(GROUPED.of(dtype), method=method)
    x = whole(A.shape[1], "int8").astype(x_dtype)
    y = A @ x
    assert y.dtype == np.result_type(A.dtype, x_dtype)
    assert_array_equal(y, W @ x.astype(np.result_type(x_dtype, "float32")))


@pytest.mark.parametrize("dtype", FLOATS)
def test_many_columns_at_once_by_the_matrix(dtype):
    """As many as vectors are wide, a multiple, and others; then of another dtype, which assembles W anew."""
    A, W = made(GROUPED.of("float32"), method="matrix")
    for columns in (16, 32, 7, 48):
        for operator, M in ((A, W), (A.H, W.T)):
            X = whole((operator.shape[1], columns), dtype)
            assert_array_equal(operator @ X, M @ X)
            assert_array_equal(operator @ X.real.astype("float32"), M @ X.real.astype("float32"))


def test_a_wide_vector_keeps_its_precision():
    for method in ("direct", "matrix"):
        A = ConvOperator(np.ones((1, 1), "float32"), (1, 1), method=method)
        assert (A @ [1 + 2**-40])[0] == (A.H @ [1 + 2**-40])[0] == 1 + 2**-40


def test_half_precision_weights_are_computed_in_single():
    A = ConvOperator(np.ones((1, 1), "float16"), (2, 2))
    assert A.dtype == A.to_sparse().dtype == (A @ np.ones(4, "float16")).dtype == np.float32


@pytest.mark.parametrize("method", ["direct", "matrix"])
def test_infinity_stays_in_its_part_of_a_complex_vector(method):
    A = ConvOperator(np.ones((1, 1)), (1, 2), method=method)
    assert_array_equal(A @ np.array([complex(np.inf, 1), 2j]), [complex(np.inf, 1), 2j])


@each_order
@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_are_samples(layout, order):
    problem = replace(GROUPED, layout=layout)
    x, weight, _ = problem.integers()
    A = ConvOperator(weight, problem.x_shape, order=order, **problem.keywords)
    y = conv2d(x, weight, **problem.keywords)
    assert A.input_shape == x.shape
    assert A.output_shape == y.shape
    assert_array_equal(A.vec(x), x.ravel(order))
    assert_array_equal(A.vec(y), y.ravel(order))
    assert_array_equal(A.unvec(A @ A.vec(x)), y)
    assert_array_equal(A.unvec_input(A.vec(x)[:, None]), x)


def test_an_image_of_one_channel_needs_no_channel_axis():
    weight = whole((3, 2, 2, 1), "float64")
    A = ConvOperator(weight, (4, 5))
    x = whole((4, 5), "float64")
    assert A.output_shape == (3, 4, 3)
    assert_array_equal(A.unvec(A @ A.vec(x)), conv2d(x, weight))
    assert_array_equal(A @ A.vec(x), conv_matrix(weight, (4, 5)) @ x.ravel("F"))


def test_c_order_vectors_are_views():
    A = ConvOperator(np.ones((3, 3, 3, 2)), (5, 5, 2), order="C")
    x = np.ones((5, 5, 2))
    assert np.shares_memory(A.vec(x), x)
    assert np.shares_memory(A.unvec_input(A.vec(x)), x)


@each_method
def test_later_changes_to_the_weights_do_not_reach_it(method):
    weight = np.ones((2, 2))
    A = ConvOperator(weight, (2, 2), method=method)
    weight[...] = 5
    assert (A @ np.ones(4))[0] == 4
    assert (A.H @ [1.0])[0] == 1


def test_the_two_transposes_of_complex_weights():
    A, W = made(COMPLEX)
    y = whole(A.shape[0], "complex128")
    assert_array_equal(A.T @ y, W.T @ y)
    assert_array_equal(A.H @ y, W.T.conj() @ y)
    assert (A.T @ y != A.H @ y).any()
    Y, X = whole((A.shape[0], 3), "complex128"), whole((A.shape[1], 3), "complex128")
    for operator, M in ((A.T, W.T), (A.H, W.T.conj())):
        assert_array_equal(operator @ Y, M @ Y)
        assert_array_equal(operator.H @ X, M.T.conj() @ X)
        assert_array_equal(operator.T @ X, M.T @ X)
        assert_array_equal(operator.H.H @ Y, M @ Y)
    assert_array_equal(A.T.T @ whole(A.shape[1], "complex128"), W @ whole(A.shape[1], "complex128"))
    assert_array_equal(y @ A, y @ W)


def test_algebra():
    A, W = made(COMPLEX)
    B, V = made(replace(COMPLEX, padding_mode="circular"))
    x, y = whole(A.shape[1], "complex128"), whole(A.shape[0], "complex128")
    for operator, M in (
        (A + B, W + V),
        (A - B, W - V),
        (2 * A, 2 * W),
        (A * 2j, W * 2j),
        (A * np.array(2j), W * 2j),
        (A.rdot(2), W * 2),
        (-A, -W),
        (A / 2, W / 2),
        (A.H @ B, W.conj().T @ V),
        ((A.H @ A) ** 2, W.conj().T @ W @ W.conj().T @ W),
        (A @ linalg.aslinearoperator(V.T), W @ V.T),
        (A.rdot(linalg.aslinearoperator(V.T)), V.T @ W),
    ):
        if operator.shape[1] == len(x):
            assert_array_equal(operator @ x, M @ x)
        back = y if operator.shape[0] == len(y) else x
        assert_array_equal(operator.H @ back, M.conj().T @ back)
    assert_array_equal((A @ B.H) @ y, W @ (V.conj().T @ y))


@each_method
def test_it_can_be_pickled_and_copied(method):
    problem = replace(COMPLEX, layout="NCHW")
    A, W = made(problem, "C", method)
    x, y = whole(A.shape[1], "complex128"), whole(A.shape[0], "complex128")
    for applied in (False, True):
        for other in (pickle.loads(pickle.dumps(A)), copy.deepcopy(A), copy.copy(A)):
            assert (other.shape, other.dtype) == (A.shape, A.dtype)
            assert_array_equal(other @ x, W @ x)
            assert_array_equal(other.H @ y, W.conj().T @ y)
            assert_array_equal(other.vec(y.reshape(A.output_shape)), y)
        if not applied:
            A @ x


def test_many_threads_may_use_it():
    A, W = made(GROUPED)
    sizes = [1, 2, 3, 1] * 10

    def apply(k):
        X, Y = whole((A.shape[1], k), "float64", k), whole((A.shape[0], k), "float64", k)
        return (A @ X == W @ X).all() and (A.H @ Y == W.T @ Y).all()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(apply, sizes))


def test_matrix_free_holds_no_matrix_and_matrix_holds_its_transpose_once_asked(monkeypatch):
    calls = []
    real = matrix.assemble
    monkeypatch.setattr(
        matrix,
        "assemble",
        lambda p, schedule, *rest: calls.append(schedule.transposed) or real(p, schedule, *rest),
    )
    for method in ("auto", "direct", "im2col"):
        A, _ = made(GROUPED, method=method)
        calls.clear()
        A @ np.ones(A.shape[1])
        A.H @ np.ones(A.shape[0])
        assert calls == []
    A, _ = made(GROUPED, method="matrix")
    calls.clear()
    for columns in (1, 3, 2):
        A @ np.ones((A.shape[1], columns))
    assert calls == [False]
    for columns in (1, 3, 2):
        A.H @ np.ones((A.shape[0], columns))
    assert calls == [False, True]


# --- Batches ----------------------------------------------------------------------------------------


SQUARE = Problem((4, 5), (3, 3), 2, 2, padding=1)


def composites(A, B):
    """What SciPy makes of operators, one of them its own, with the shape of ``A`` or of its transpose."""
    dense = np.random.default_rng(5).standard_normal(A.shape).astype(A.dtype)
    other = linalg.aslinearoperator(scipy.sparse.csr_array(dense))
    return {
        "itself": A,
        "A.T": A.T,
        "A.H": A.H,
        "A.T.H": A.T.H,
        "A + B": A + B,
        "A - 2 B": A - 2 * B,
        "A B.H A / 3": A @ B.H @ A / 3,
        "-(A.H A) ** 2": -((A.H @ A) ** 2),
        "(A + A) ** 0": (A.H @ A) ** 0,
        "A + other": A + other,
        "(A other.H).H": (A @ other.H).H,
        "(2j A + other).T": (2j * A + other).T,
        "(other as it was).H": (A.H @ other).H,
    }


def real(shape, dtype, seed=0):
    """Random numbers in full precision."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


@each_method
@each_order
@pytest.mark.parametrize(
    ("problem", "dtype"),
    [
        (SQUARE, "float64"),
        (replace(SQUARE, padding_mode="circular").of("float32"), "float32"),
        (replace(GROUPED, layout="NCHW").of("float32"), "complex128"),
        (COMPLEX, "complex128"),
    ],
)
def test_batches_are_stacks_of_single_calls(problem, dtype, order, method):
    """Bit for bit, by every product of every composition, and by the hooks that SciPy's own classes call."""
    weight = real(problem.weight_shape, problem.weight_dtype)
    keywords = problem.keywords | {"order": order, "method": method}
    A, B = (ConvOperator(values, problem.sample_shape, **keywords) for values in (weight, weight[::-1]))
    for name, operator in composites(A, B).items():
        M, N = operator.shape
        for batch in ((), (3,), (2, 1, 3), (0,), (2, 0, 3)):
            for product, size, made in (
                (operator.matvec, N, M),
                (operator._matvec, N, M),
                (operator.rmatvec, M, N),
                (operator._rmatvec, M, N),
            ):
                x = real((*batch, size), dtype)
                y = product(x)
                assert y.shape == (*batch, made), name
                for at in np.ndindex(batch):
                    assert_array_equal(y[at], product(x[at]), strict=True, err_msg=name)
            for product, size, made in (
                (operator.matmat, N, M),
                (operator._matmat, N, M),
                (operator.__matmul__, N, M),
                (operator.rmatmat, M, N),
                (operator._rmatmat, M, N),
            ):
                for columns in (0, 1, 4):
                    X = real((*batch, size, columns), dtype)
                    Y = product(X)
                    assert Y.shape == (*batch, made, columns), name
                    for at in np.ndindex(batch):
                        assert_array_equal(Y[at], product(X[at]), strict=True, err_msg=name)
            X = real((*batch, 4, M), dtype)
            Y = X @ operator
            assert Y.shape == (*batch, 4, N), name
            for at in np.ndindex(batch):
                assert_array_equal(Y[at], X[at] @ operator, strict=True, err_msg=name)
        x = real(N, dtype)
        assert_array_equal(operator.matvec(x[:, None]), operator.matvec(x)[:, None])
        assert_array_equal(operator @ x, operator.matvec(x))


def test_batches_are_those_of_the_matrix():
    A, W = made(COMPLEX)
    X, Y = whole((2, 3, A.shape[1], 4), "complex128"), whole((2, 3, A.shape[0], 4), "complex128")
    for operator, M, V in (
        (A, W, X),
        (A.H, W.conj().T, Y),
        (A.T, W.T, Y),
        (2 * A - A, W, X),
        (A.H @ A, W.conj().T @ W, X),
        (A @ linalg.aslinearoperator(W.conj().T), W @ W.conj().T, Y),
    ):
        expected = M.toarray() @ V
        assert_array_equal(operator @ V, expected)
        assert_array_equal(operator.matvec(V.swapaxes(-1, -2)), expected.swapaxes(-1, -2))


def test_compositions_are_as_silent_as_operators():
    A = ConvOperator([[1e308]], (2, 2))
    with np.errstate(all="raise"):
        for operator in (A + A, 2 * A, A @ A, A**2):
            assert (operator @ np.ones(4) == np.inf).all()


def test_no_columns_of_someone_elses_operator():
    A, _ = made(SQUARE)
    twice = linalg.LinearOperator(A.shape, matvec=lambda x: 2 * x, rmatvec=lambda x: 2 * x, dtype=A.dtype)
    for operator in (A + twice, A @ twice):
        for batch in ((), (2,), (0,)):
            assert (operator @ np.empty((*batch, A.shape[1], 0))).shape == (*batch, A.shape[0], 0)


def test_compositions_can_be_pickled():
    A, W = made(GROUPED)
    operator = pickle.loads(pickle.dumps(A.H @ A + linalg.aslinearoperator(W.T @ W)))
    X = whole((2, A.shape[1], 3), "float64")
    assert_array_equal(operator @ X, 2 * (W.T @ W).toarray() @ X)


def test_matrices_of_numpys_old_kind_stay_what_they_are():
    A, W = made(GROUPED)
    x = whole((A.shape[1], 1), "float64").view(np.matrix)
    for product in (A.matvec, A.matmat, (2 * A / 2).matvec):
        assert type(product(x)) is np.matrix
        assert_array_equal(product(x), W @ np.asarray(x))


def test_what_no_operator_is_added_to():
    A, _ = made(GROUPED)
    for other in (1.0, np.ones(A.shape)):
        with pytest.raises((TypeError, ValueError)):
            A + other


# --- SciPy's solvers --------------------------------------------------------------------------------


@pytest.fixture(params=["float32", "float64", "complex128"])
def solvable(request):
    """A well-conditioned operator, a solution, and its image."""
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((3, 3, 3, 2)) / 20
    weight[:2, 1, 1] += np.eye(2)
    if request.param == "complex128":
        weight = weight * np.exp(2j * np.pi * rng.random(weight.shape[0]))[:, None, None, None]
    A = ConvOperator(weight.astype(request.param), (6, 7, 2), padding=1)
    x = rng.standard_normal(A.shape[1]).astype(np.result_type(request.param, "float64"))
    return A, x, A @ x


def test_lsqr_lsmr_and_cg_solve_with_it(solvable):
    A, x, b = solvable
    assert_allclose(linalg.lsqr(A, b, atol=1e-13, btol=1e-13)[0], x, rtol=1e-9, atol=1e-9)
    assert_allclose(linalg.lsmr(A, b, atol=1e-13, btol=1e-13)[0], x, rtol=1e-9, atol=1e-9)
    eye = linalg.aslinearoperator(scipy.sparse.eye_array(len(x)))
    normal = A.H @ A + eye
    got, info = linalg.cg(normal, A.H @ b + x, rtol=1e-13)
    assert info == 0
    assert_allclose(got, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", ["arpack", "lobpcg"])
def test_svds_runs_on_it(solvable, solver):
    A = solvable[0]
    # The name that the argument had before SciPy 1.15.
    name = "rng" if "rng" in inspect.signature(linalg.svds).parameters else "random_state"
    got = linalg.svds(A, 2, return_singular_vectors=False, solver=solver, maxiter=1000, **{name: 0})
    assert_allclose(np.sort(got)[::-1], np.linalg.svd(A.to_dense(), compute_uv=False)[:2], rtol=1e-3)


# --- Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"input_shape": (2, 5, 5, 2)},
            ValueError,
            (
                "ConvOperator: input_shape expects one sample's shape, got (2, 5, 5, 2); "
                "the operator maps one sample"
            ),
        ),
        (
            {"input_shape": 5},
            TypeError,
            "ConvOperator: input_shape expects a sequence of ints, one sample's shape, got 5",
        ),
        (
            {"input_shape": (5, 5, 3)},
            ValueError,
            (
                "ConvOperator: weight expects 2 input channels per group, input_shape has 3 "
                "(layout='NHWC', groups=1)"
            ),
        ),
        ({"order": "K"}, ValueError, "ConvOperator: order expects one of 'F', 'C', got 'K'"),
        (
            {"method": "fft"},
            ValueError,
            "ConvOperator: method expects one of 'auto', 'direct', 'im2col', 'matrix', got 'fft'",
        ),
        (
            {"weight": np.ones((3, 3), "longdouble")},
            TypeError,
            (
                f"ConvOperator: weight has dtype {np.dtype('longdouble')}, expected bool, an integer, "
                "float16, float32, float64, complex64 or complex128"
            ),
        ),
    ],
)
def test_refused(change, error, message):
    given_ = {"weight": np.ones((3, 3, 3, 2)), "input_shape": (5, 5, 2)} | change
    with pytest.raises(error) as caught:
        ConvOperator(given_.pop("weight"), given_.pop("input_shape"), **given_)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda A: A.vec(np.ones((5, 5))),
            (
                "ConvOperator.vec: array expects shape (5, 5, 2) of an input or (3, 3, 4) of an output, "
                "got (5, 5)"
            ),
        ),
        (lambda A: A.unvec(np.ones(35)), "ConvOperator.unvec: y expects shape (36,), got (35,)"),
        (
            lambda A: A.unvec_input(np.ones((5, 10))),
            "ConvOperator.unvec_input: v expects shape (50,), got (5, 10)",
        ),
        (
            lambda A: A @ np.ones(49),
            "ConvOperator: x expects shape (50,) or (..., 50, K), got (49,)",
        ),
        (
            lambda A: A @ np.ones((50, 3, 1)),
            "ConvOperator: x expects shape (50,) or (..., 50, K), got (50, 3, 1)",
        ),
        (
            lambda A: np.ones((3, 50)) @ A,
            "ConvOperator: x expects shape (36,) or (..., K, 36), got (3, 50)",
        ),
        (
            lambda A: A.matvec(np.ones((2, 36))),
            "ConvOperator: x expects shape (50,), (50, 1) or (..., 50), got (2, 36)",
        ),
        (
            lambda A: A.rmatvec(np.ones(())),
            "ConvOperator: x expects shape (36,), (36, 1) or (..., 36), got ()",
        ),
        (
            lambda A: A.H.matmat(np.ones(36)),
            "ConvOperator: X expects shape (36, K) or (..., 36, K), got (36,)",
        ),
        (
            lambda A: (2 * A).rmatmat(np.ones((2, 50, 3))),
            "ConvOperator: X expects shape (36, K) or (..., 36, K), got (2, 50, 3)",
        ),
        (lambda A: A._matvec(np.ones((3, 49))), "ConvOperator: x expects vectors of 50 elements, got 49"),
    ],
)
def test_shapes_refused(call, message):
    with pytest.raises(ValueError) as caught:
        call(ConvOperator(np.ones((4, 3, 3, 2)), (5, 5, 2)))
    assert str(caught.value) == message


def test_vectors_of_other_types_are_refused():
    A = ConvOperator(np.ones((1, 1)), (1, 2))
    with pytest.raises(
        TypeError, match=f"^ConvOperator: x has dtype {np.dtype('longdouble')}, expected bool"
    ):
        A @ np.ones(2, "longdouble")
    refused = (
        "ConvOperator: x is a sparse matrix; give x.toarray(), or scipy.sparse.linalg.aslinearoperator(x)"
    )
    for call in (A.__matmul__, A.__rmatmul__, A.matvec, A.T.matmat):
        with pytest.raises(TypeError) as caught:
            call(scipy.sparse.eye_array(2))
        assert str(caught.value) == refused


def test_a_matrix_that_would_not_fit_is_refused(monkeypatch):
    """With its size and what to use instead, before anything is allocated."""
    weight = np.ones((64, 3, 3, 64), "float32")
    A = ConvOperator(weight, (64, 64, 64), padding=1)
    monkeypatch.setattr(memory, "available", lambda: 512 << 20)
    size = "W of shape (262144, 262144) with 147865600 entries needs 1.1 GiB, 512 MiB are available"
    instead = "use method='direct', or ConvOperator, which need no W"
    with pytest.raises(MemoryError) as caught:
        ConvOperator(weight, (64, 64, 64), padding=1, method="matrix")
    assert str(caught.value) == f"ConvOperator: {size}; use another method, which needs no W"
    with pytest.raises(MemoryError) as caught:
        A.to_sparse()
    assert str(caught.value) == f"conv_matrix: {size}; {instead}"
    with pytest.raises(MemoryError) as caught:
        A.to_dense()
    assert str(caught.value) == (
        "ConvOperator.to_dense: W as an array of shape (262144, 262144) needs 256 GiB, 512 MiB are "
        "available; use to_sparse(), or the operator itself"
    )


@pytest.mark.parametrize("name", ["depthwise", "asymmetric padding", "dilation and stride"])
def test_indices_of_64_bits(monkeypatch, name):
    """The type is chosen by size, here against a smaller limit."""
    problem = replace(EDGE_PROBLEMS[name], batch=None)
    _, narrow = made(problem)
    monkeypatch.setattr(matrix, "INT32_MOST", narrow.nnz - 1)
    A, wide = made(problem, method="matrix")
    assert (narrow.indices.dtype, wide.indices.dtype, wide.indptr.dtype) == (np.int32, np.int64, np.int64)
    assert_array_equal(narrow.toarray(), wide.toarray())
    x, y = whole(A.shape[1], "float64"), whole(A.shape[0], "float64")
    assert_array_equal(A @ x, narrow @ x)
    assert_array_equal(A.H @ np.stack([y, y], 1), narrow.T @ np.stack([y, y], 1))
    monkeypatch.setattr(matrix, "INT32_MOST", narrow.nnz)
    assert made(problem)[1].indices.dtype == np.int32

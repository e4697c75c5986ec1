"""The same bits for any count of threads, any split of a batch, direct and im2col, and any CPU that fuses.

The exceptions are exact on integers too, and within the bound that follows from the rounding unit.
"""

from dataclasses import replace
from functools import cache
from math import prod

import llvmlite.binding
import numpy as np
import pytest
from calls import PROBLEMS, arrays, bits, calls, every_call
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import run
from strategies import METHODS, NAMED, SIZES, problems, same_float

from triconv import conv2d, conv2d_input_grad, conv2d_weight_grad, get_num_threads, threads
from triconv.runtime.machine import machine

pytestmark = pytest.mark.slow

each_method = pytest.mark.parametrize("method", METHODS)
several = problems(same_float, axes=("samples",), empty_batch=False)


def assert_same_bits(actual, expected):
    """Dtype, shape and bytes; a zero's sign counts."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def bound(problem, terms, magnitude):
    """How far apart two sums of as many products may be, each with an error of n u / (1 - n u)."""
    n = terms * (2 if problem.result_dtype.kind == "c" else 1)
    u = float(np.finfo(problem.result_dtype).eps) / 2
    return 2 * n * u / (1 - n * u) * magnitude


# --- Threads and repeated calls ----------------------------------------------------------------------


@each_method
@pytest.mark.parametrize("name", SIZES)
def test_threads_batch_and_run(name, method):
    problem = replace(SIZES[name], batch=3)
    x, weight, bias = problem.floats()

    def run(x):
        return conv2d(x, weight, bias, method=method, **problem.keywords)

    with threads(1):
        alone = run(x)
    for n in range(1, get_num_threads() + 1):
        with threads(n):
            assert_same_bits(run(x), alone)
            assert_same_bits(np.concatenate([run(x[:1]), run(x[1:])]), alone)


@pytest.mark.long
@pytest.mark.parametrize(
    ("layer", "names"), [(None, ("channels", "depthwise", "gray, filters")), ("workqueue", ("channels",))]
)
def test_one_to_eight_threads(layer, names, fuzz):
    """Every function by every method, also with more threads than there are cores."""
    code = f"""
from calls import PROBLEMS, bits, every_call
import triconv
made = every_call({tuple(PROBLEMS) if fuzz else names}, methods={NAMED})
found = []
for n in range(1, 9):
    with triconv.threads(n):
        found.append([bits(call()) for call in made.values()])
print(len(made) > 20, *[one == found[0] for one in found])
"""
    words = run(code, timeout=2000 if fuzz else 500, NUMBA_NUM_THREADS="8", NUMBA_THREADING_LAYER=layer)
    assert words == ["True"] * 9


# --- Splits of a batch -------------------------------------------------------------------------------


@each_method
@settings(max_examples=30)
@given(problem=several, data=st.data())
def test_any_split_of_a_batch(problem, method, data):
    problem = replace(problem, batch=data.draw(st.integers(1, 5)))
    cut = data.draw(st.integers(0, problem.batch))
    x, weight, bias = problem.floats()
    keywords = problem.keywords | {"method": method}
    y = conv2d(x, weight, bias, **keywords)
    back = conv2d_input_grad(y, weight, x.shape, **keywords)
    for part in (slice(cut), slice(cut, None), *range(problem.batch)):
        assert_same_bits(conv2d(x[part], weight, bias, **keywords), y[part])
        assert_same_bits(conv2d_input_grad(y[part], weight, x[part].shape, **keywords), back[part])


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_of_weights_over_splits_and_methods(name):
    """They sum over all samples, in an order that is the schedule's."""
    problem = replace(PROBLEMS[name], batch=3)

    def found(x, grad):
        def of(x, grad, method):
            return conv2d_weight_grad(grad, x, problem.kernel_size, method=method, **problem.keywords)

        for method in NAMED:
            yield of(x, grad, method)
            yield of(x[:1], grad[:1], method) + of(x[1:], grad[1:], method)

    x, _, _, grad = arrays(problem, integers=True)
    first, *others = found(x, grad)
    for other in others:
        assert np.array_equal(other, first)
    x, _, _, grad = arrays(problem)
    first, *others = found(x, grad)
    magnitude = next(found(abs(x).astype(float), abs(grad).astype(float)))
    terms = problem.batch * prod(problem.output_size) + 1
    for other in others:
        assert (abs(other - first) <= bound(problem, terms, magnitude)).all()


# --- Direct and im2col -------------------------------------------------------------------------------


def check_direct_is_im2col(problem):
    x, weight, bias = problem.floats()
    results = []
    for method in ("direct", "im2col"):
        y = conv2d(x, weight, bias, method=method, **problem.keywords)
        back = conv2d_input_grad(y, weight, x.shape, method=method, **problem.keywords)
        results.append((y, back))
    for direct, im2col in zip(*results, strict=True):
        assert_same_bits(direct, im2col)


@pytest.mark.parametrize("name", SIZES)
def test_direct_and_im2col(name):
    check_direct_is_im2col(SIZES[name])


@given(problem=problems(same_float))
def test_direct_and_im2col_on_any_problem(problem):
    check_direct_is_im2col(problem)


# --- CPUs --------------------------------------------------------------------------------------------

FUSED = "+avx,+avx2,+fma"
TARGETS = {
    "this machine": None,
    "haswell": FUSED,
    "znver3": FUSED,
    "skylake-avx512": f"{FUSED},+avx512f,+avx512vl,+avx512bw,+avx512dq,+avx512cd",
    "generic": "",
}
NAMES = ("small", "small, complex, circular", "channels", "gray, filters")
CHOSEN = NAMED  # auto may choose another one on another CPU


def of_cpu(name):
    """The environment that makes Numba compile for a CPU."""
    features = TARGETS[name]
    if features is None:
        return {"NUMBA_CPU_NAME": None, "NUMBA_CPU_FEATURES": None}
    if llvmlite.binding.get_process_triple().partition("-")[0] != "x86_64":
        pytest.skip(f"{name} is another kind of CPU than this one")
    host = llvmlite.binding.get_host_cpu_features()
    if missing := [word for word in features.split(",") if word and not host.get(word[1:])]:
        pytest.skip(f"this CPU has no {', '.join(missing)}")
    return {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}


def digests(names):
    """The bits of calls: of real numbers without gradients of weights, whose order is the schedule's, and
    of integers by auto too.
    """
    floats, integers = every_call(names, False, CHOSEN), every_call(names, True)
    yield from (bits(call()) for key, call in floats.items() if "weight_grad" not in key)
    yield "integers"
    yield from (bits(call()) for call in integers.values())


@cache
def digests_here(names):
    return list(digests(names))


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_any_cpu(name, fuzz):
    """Compiled for another CPU and run on this one: real numbers where both fuse, and integers anywhere."""
    names = tuple(PROBLEMS) if fuzz else NAMES
    code = f"from test_bits import digests; print(*digests({names}))"
    words = run(code, timeout=2000 if fuzz else 500, **of_cpu(name))
    first = 0 if name != "generic" and machine().fma else words.index("integers")
    assert words[first:] == digests_here(names)[first:]


def test_a_cpu_without_fused_multiply_add_is_within_the_bound(tmp_path):
    code = f"""
import numpy as np
from test_bits import rounded
np.savez({str(tmp_path / "found.npz")!r}, **dict(rounded()))
"""
    assert run(code, timeout=500, **of_cpu("generic")) == []
    there, here = np.load(tmp_path / "found.npz"), dict(rounded())
    assert set(there) == set(here)
    for name in NAMES:
        problem = PROBLEMS[name]
        x, weight, bias, grad = (abs(array).astype(float) for array in arrays(problem))
        real = replace(problem, bias_dtype="float64").of("float64")
        magnitudes = calls(real, "direct", x, weight, bias, grad)
        taps = prod(problem.kernel_size) * problem.out_channels // problem.groups
        outputs = (problem.batch or 1) * prod(problem.output_size) + 8
        # Padding that copies adds up copies of a pixel.
        terms = {"conv2d": problem.terms, "input_grad": 9 * taps, "weight_grad": outputs}
        for method, (function, count) in ((m, each) for m in CHOSEN for each in terms.items()):
            key = f"{name} {method} {function}"
            allowed = bound(problem, count, magnitudes[function]())
            assert (abs(there[key] - here[key]) <= allowed).all(), key


def rounded():
    """Results by the names of calls."""
    for (name, method, function), call in every_call(NAMES, False, CHOSEN).items():
        if function in ("conv2d", "input_grad", "weight_grad"):
            yield f"{name} {method} {function}", call()

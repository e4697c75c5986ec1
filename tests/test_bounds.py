"""Kernels read and write nothing outside their arrays: memory beside these is taken away."""

import contextlib
import ctypes
import mmap
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from strategies import NAMED, SIZES, Problem

from triconv import (
    col2im,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    conv_matrix,
    get_num_threads,
    im2col,
    plan,
    threads,
)
from triconv.runtime.jit import Kernel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="takes memory away by mprotect")

PAGE = mmap.PAGESIZE
NONE, BOTH = 0, mmap.PROT_READ | mmap.PROT_WRITE
SHORT = {
    "fewer rows than a tile": Problem((4, 360), (5, 5), padding=((2, 2), (0, 0))),
    "fewer rows, several channels": Problem((5, 164), (5, 5), 2, 2, padding=((0, 0), (1, 0)), groups=2),
    "a tile longer than a row": Problem((4, 8), (1, 3), 2, 2, 2, 0, 3, 2).of("complex64"),
    "a stride longer than the image": Problem((5, 5), (2, 2), 16, 16, (1, 10**6), groups=16).of("complex64"),
    "one output of a border that goes on": Problem((5, 6), (3, 3), 2, 3, (9, 8), 3, 1, 1, "replicate"),
    "a vector longer than a pixel": Problem((10, 35), (3, 3), 5, 5, 1, ((0, 0), (0, 7)), 1, 5).of("float32"),
    "one filter that skips rows": Problem((9, 45), (2, 3), 3, stride=(3, 1), padding=1).of("float32"),
    "channels that fill no vector": Problem((9, 58), (3, 3), 40, 40, padding=((0, 0), (1, 0)), groups=40),
}
PROBLEMS = SHORT | {name: replace(problem, batch=None) for name, problem in SIZES.items()}


class Guarded:
    """A copy of an array that begins, or ends, where memory does; to be closed."""

    def __init__(self, array, *, at_end):
        size = -(-array.nbytes // PAGE) * PAGE
        self.memory = mmap.mmap(-1, size + 2 * PAGE)
        start = PAGE + (size - array.nbytes if at_end else 0)
        self.array = np.ndarray(array.shape, array.dtype, self.memory, start)
        self.array[...] = array
        self.ends = [self.array.ctypes.data - start, self.array.ctypes.data - start + PAGE + size]
        self.protect(NONE)

    def protect(self, how):
        for end in self.ends:
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(end), ctypes.c_size_t(PAGE), how) == 0

    def __enter__(self):
        return self.array

    def __exit__(self, *_):
        self.protect(BOTH)


@pytest.fixture(params=[False, True], ids=["at the beginning", "at the end"])
def guarded(request, monkeypatch):
    """Every array that a kernel takes lies where memory begins, or ends."""
    run = Kernel.__call__

    def call(self, workers, *arguments):
        arrays = [n for n, a in enumerate(arguments) if isinstance(a, np.ndarray) and not a.dtype.names]
        with contextlib.ExitStack() as stack:
            inside = list(arguments)
            for n in arrays:
                inside[n] = stack.enter_context(Guarded(arguments[n], at_end=request.param))
            run(self, workers, *inside)
            for n in arrays:
                if arguments[n].flags.writeable:
                    arguments[n][...] = inside[n]

    monkeypatch.setattr(Kernel, "__call__", call)


@pytest.mark.parametrize("method", NAMED)
@pytest.mark.parametrize("name", PROBLEMS)
def test_nothing_outside_is_touched(name, method, guarded):
    problem = PROBLEMS[name]
    x, weight, bias = problem.integers()
    expected = plan(weight, problem.x_shape, bias, method="matrix", **problem.keywords)(x)
    made = plan(weight, problem.x_shape, bias, method=method, **problem.keywords)
    for count in sorted({1, get_num_threads()}):
        with threads(count):
            assert_array_equal(made(x), expected)


@pytest.mark.parametrize("name", ["large, complex", "large, depthwise, stride", "a tile longer than a row"])
def test_products_of_many_samples_touch_nothing_outside(name, guarded):
    """Which W takes interleaved, some at a time."""
    problem = replace(PROBLEMS[name], batch=19)
    x, weight, bias = problem.integers()
    one = plan(weight, problem.sample_shape, bias, method="direct", **problem.keywords)
    y = plan(weight, problem.x_shape, bias, method="matrix", **problem.keywords)(x)
    assert_array_equal(y, [one(sample) for sample in x])


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("name", ["small", "large", "large, groups", "one output of a border that goes on"])
def test_relatives_touch_nothing_outside(name, mode, guarded):
    problem = replace(PROBLEMS[name], padding_mode=mode).of("float64")
    x, weight, _ = problem.integers()
    patches = im2col(x, problem.kernel_size, **problem.im2col_keywords)
    back = col2im(patches, x.shape, problem.kernel_size, **problem.im2col_keywords)
    assert np.vdot(back, x) == np.vdot(patches, patches)
    for order in ("F", "C"):
        W = conv_matrix(weight, x.shape, order=order, **problem.keywords)
        y = conv2d(x, weight, **problem.keywords)
        assert_array_equal(W @ x.ravel(order), y.ravel(order))


def test_every_kernel_is_among_them(monkeypatch):
    """By the names of the kernels that the calls above ask for, which are not run here."""
    names = set()
    monkeypatch.setattr(Kernel, "__call__", lambda self, *_: names.add(self.name))
    for problem in PROBLEMS.values():
        x, weight, bias = problem.integers()
        grad = problem.output_integers()
        for method in NAMED:
            keywords = problem.keywords | {"method": method}
            with np.errstate(all="ignore"):  # of sums of what new memory holds
                conv2d(x, weight, bias, **keywords)
                conv2d_input_grad(grad, weight, x.shape, **keywords)
                conv2d_weight_grad(grad, x, problem.kernel_size, **keywords)
    started = ["direct_" + way for way in ("channels", "wrapped", "columns", "rows", "depth", "flat")]
    started += ["im2col_channels", "im2col_columns", "filters", "assemble", "product"]
    started += [f"weight_grad_direct_{way}" for way in ("channels", "filters", "each")]
    started += ["weight_grad_im2col_channels", "weight_grad_im2col_filters", "weight_grad_total", "fold"]
    for start in started:
        assert any(name.startswith(start) for name in names), start


@pytest.mark.parametrize("method", NAMED)
@pytest.mark.parametrize("name", PROBLEMS)
def test_gradients_touch_nothing_outside(name, method, guarded):
    problem = PROBLEMS[name]
    x, weight, _ = problem.integers()
    keywords = problem.keywords | {"method": method}
    y = np.random.default_rng(0).integers(-2, 3, problem.output_shape).astype(problem.result_dtype)
    by_matrix = keywords | {"method": "matrix"}
    assert_array_equal(
        conv2d_input_grad(y, weight, x.shape, **keywords),
        conv2d_input_grad(y, weight, x.shape, **by_matrix),
    )
    assert_array_equal(
        conv2d_weight_grad(y, x, problem.kernel_size, **keywords),
        conv2d_weight_grad(y, x, problem.kernel_size, **by_matrix),
    )

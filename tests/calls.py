"""Calls of every function by every method, small ones and ones that threads share, and what they return."""

import hashlib
import threading
import time
from dataclasses import replace
from functools import cache
from itertools import cycle

import numpy as np
from strategies import METHODS, SIZES

import triconv

# Every dtype, layout and schedule, with W small enough to be made by many threads at once.
PROBLEMS = {
    name: replace(problem, bias_dtype=problem.x_dtype)
    for name, problem in {
        "small": SIZES["small"],
        "small, complex, circular": replace(SIZES["small"], padding_mode="circular").of("complex128"),
        "channels": replace(SIZES["large"], size=(12, 15)),
        "complex": replace(SIZES["large, complex"], size=(16, 27)),
        "depthwise": SIZES["large, depthwise"],
        "depthwise, stride": SIZES["large, depthwise, stride"],
        "few channels": SIZES["large, few channels"],
        "small groups": SIZES["large, small groups"],
        "gray, filters": SIZES["large, bank"],
        "gray, reflect": replace(SIZES["large, one channel"], size=(96, 131)),
        "groups": SIZES["large, groups"],
    }.items()
}
MIXED = ("small", "channels", "complex", "depthwise", "gray, filters", "groups")


def arrays(problem, integers=False):
    """`x`, `weight`, `bias` and a gradient of the output."""
    x, weight, bias = problem.integers() if integers else problem.floats()
    grad = problem.output_integers()
    if not integers:
        rng = np.random.default_rng(3)
        grad = (grad * rng.uniform(1, 2, grad.shape)).astype(grad.dtype)
    return x, weight, bias, grad


def calls(problem, method, x, weight, bias, grad):
    """Functions of nothing, by name; plans and operators are shared by all that call them."""
    keywords = problem.keywords | {"method": method}
    layout = {"layout": problem.layout}
    back = {name: keywords[name] for name in ("stride", "dilation", "groups", "layout", "method")}
    rng = np.random.default_rng(4)
    planned = triconv.plan(weight, x.shape, bias, **keywords)
    operator = triconv.ConvOperator(weight, problem.sample_shape, **keywords)
    turned = np.flip(x)  # of the same shape and other numbers: a workspace shared between calls would show
    columns, rows = (rng.integers(-9, 10, (n, 3)).astype(x.dtype) for n in operator.shape[::-1])
    of_input = rng.integers(-9, 10, problem.in_channels).astype(x.dtype)
    found = {
        "conv2d": lambda: triconv.conv2d(x, weight, bias, **keywords),
        "plan": lambda: planned(turned),
        "input_grad": lambda: triconv.conv2d_input_grad(grad, weight, x.shape, **keywords),
        "weight_grad": lambda: triconv.conv2d_weight_grad(grad, x, problem.kernel_size, **keywords),
        "transpose": lambda: triconv.conv_transpose2d(grad, weight, of_input, padding=problem.pads, **back),
        "operator": lambda: operator @ columns,
        "adjoint": lambda: operator.H @ rows,
    }
    if method == "matrix":
        found["conv_matrix"] = lambda: triconv.conv_matrix(weight, problem.sample_shape, **problem.keywords)
    if method == "im2col":
        patches = {**problem.im2col_keywords}
        cols = triconv.im2col(x, problem.kernel_size, **patches)
        found["im2col"] = lambda: triconv.im2col(x, problem.kernel_size, **patches)
        found["col2im"] = lambda: triconv.col2im(cols, x.shape, problem.kernel_size, **patches)
        found["pad"] = lambda: triconv.pad(x, problem.pads, padding_mode=problem.padding_mode, **layout)
    return found


@cache
def every_call(names=tuple(PROBLEMS), integers=False, methods=METHODS):
    """Calls by problem, method and function."""
    return {
        (name, method, function): call
        for name in names
        for method in methods
        for function, call in calls(PROBLEMS[name], method, *arrays(PROBLEMS[name], integers)).items()
    }


def bits(result):
    """A digest of an array's shape, dtype and bytes, or of those of a matrix in CSR."""
    parts = (result.indptr, result.indices, result.data) if hasattr(result, "indptr") else (result,)
    found = hashlib.sha256()
    for part in parts:
        found.update(repr((part.shape, part.dtype.str)).encode() + part.tobytes())
    return found.hexdigest()


def bits_of(key):
    """The bits of one call; a function that other processes find by its name."""
    return bits(every_call(key[:1])[key]())


def alone(made):
    """The bits of all calls, each made by one thread while no other one runs."""
    with triconv.threads(1):
        return {key: bits(call()) for key, call in made.items()}


def together(made, expected, count, seconds):
    """Let that many threads make all calls over and over; says which were wrong."""
    end = time.monotonic() + seconds
    wrong = []

    def work(number):
        keys = list(map(tuple, np.random.default_rng(number).permutation(list(made)).tolist()))
        if number % 2:
            keys.sort(key=lambda key: key[0])  # half of the threads meet at the same shapes
        for key in cycle(keys):
            try:
                if bits(made[key]()) != expected[key]:
                    wrong.append(key)
            except Exception as error:
                wrong.append((key, repr(error)))
            if time.monotonic() > end:
                break

    workers = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return wrong

"""Every kind of schedule that the tables can pick on this machine is run, and is exact.

A sweep over problems finds the kinds; the smallest problem of each is what runs. The long form takes every
tile as a kind of its own. What the definition gives comes by W, which uses none of the schedules but its own.
"""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from strategies import Problem

from triconv import conv2d, conv2d_input_grad, conv2d_weight_grad
from triconv.core import checked
from triconv.core.keywords import Keywords
from triconv.methods import METHODS, weight_grad
from triconv.runtime.machine import machine

pytestmark = pytest.mark.cheap

CHANNELS = (  # in, out, groups
    *((1, 1, 1), (1, 3, 1), (3, 2, 1), (3, 16, 1), (8, 40, 1), (20, 7, 1), (64, 64, 1)),
    *((2, 2, 2), (4, 4, 4), (5, 5, 5), (32, 32, 32), (72, 72, 72), (6, 12, 3), (16, 16, 4), (40, 40, 4)),
)
SIZES = (7, 9), (24, 70), (9, 260)
KERNELS = (1, 1), (3, 3), (2, 5), (7, 7), (4, 15)


def swept(dtype):
    """Problems of every shape that the tables tell apart, the smallest first."""
    for channels, size, kernel, stride, layout, padding, batch in product(
        CHANNELS, SIZES, KERNELS, (1, 2, (3, 1)), ("NHWC", "NCHW"), ("valid", "same"), (None, 9)
    ):
        if batch and size != SIZES[0]:
            continue
        problem = Problem(
            size, kernel, *channels[:2], stride, padding, 1, channels[2], "zeros", layout, batch
        )
        if min(problem.output_size) > 0:
            yield problem


def kinds(problem, whole):
    """What runs for a problem, by method; ``whole`` with all numbers of the tile."""
    keywords = Keywords(**problem.keywords)
    made = checked.convolution(
        "swept", problem.x_shape, problem.weight_shape, None, problem.result_dtype, keywords
    )
    for name, module in METHODS.items():
        plan = module.schedule(made, machine())
        tile = plan.tile
        kind = (tile.rows, tile.vectors) if whole else ()
        if name == "direct":
            kind += plan.orientation.name, plan.edge > 0, plan.middle == made.axes[1].out, plan.chunks > 1
            kind += (tile.kernel, tile.stride, tile.group) if whole else (tile.kernel > 1, tile.group > 1)
        elif name == "im2col":
            kind += plan.orientation.name, plan.pieces > 1, plan.chunks > 1
        else:
            kind += tile.lanes > 1, tile.vectors, plan.shared
        yield name, *kind
    for form in weight_grad.FORMS:
        plan = weight_grad.schedule(made, machine(), form)
        kind = (
            plan.orientation.name,
            plan.orientation.wraps,
            plan.splits > 1,
            plan.chunks > 1,
            plan.pieces > 1,
        )
        yield f"gradient {form}", *kind, *((plan.tile.rows, plan.tile.vectors) if whole else ())


def found(dtype, whole):
    """The smallest problem of each kind."""
    problems = {}
    for problem in sorted(swept(dtype), key=lambda problem: problem.multiplications):
        for kind in kinds(problem, whole):
            problems.setdefault(kind, problem)
    return problems


def check(name, problem):
    x, weight, _ = problem.integers()
    method = name.removeprefix("gradient ")
    if method != name:
        grad = problem.output_integers()
        arguments = grad, x, problem.kernel_size
        expected = conv2d_weight_grad(*arguments, method="matrix", **problem.keywords)
        assert_array_equal(conv2d_weight_grad(*arguments, method=method, **problem.keywords), expected)
        return
    y = conv2d(x, weight, method=method, **problem.keywords)
    if method == "matrix":
        assert_array_equal(y, conv2d(x, weight, method="direct", **problem.keywords))
        return
    assert_array_equal(y, conv2d(x, weight, method="matrix", **problem.keywords))
    grad = problem.output_integers()
    back = conv2d_input_grad(grad, weight, x.shape, method=method, **problem.keywords)
    assert np.vdot(back, x) == np.vdot(grad, y)


FOUND = found("float64", whole=False)


@pytest.mark.parametrize("kind", FOUND, ids=lambda kind: "-".join(map(str, kind)))
def test_every_kind_of_schedule_is_exact(kind):
    check(kind[0], FOUND[kind])


def test_the_sweep_finds_what_the_tables_name():
    orientations = {kind[1] for kind in FOUND if kind[0] == "direct"}
    # Vectors of two numbers have no room for several channels.
    flat = {"flat"} if machine().vector_bits > 128 else set()
    assert orientations == {"channels", "wrapped", "columns", "rows", "depth"} | flat
    assert {kind[1] for kind in FOUND if kind[0] == "im2col"} == {"channels", "columns"}
    assert {kind[1] for kind in FOUND if kind[0] == "gradient direct"} == {"channels", "filters", "each"}


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
def test_every_tile_is_exact(dtype, fuzz):
    if not fuzz:
        pytest.skip("compiles some hundred kernels")
    for kind, problem in found(dtype, whole=True).items():
        check(kind[0], problem)

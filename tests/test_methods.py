"""Another method: entered in the registry it is found by the whole library, with no other edit."""

import math

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from numpy.testing import assert_array_equal
from PIL import Image
from strategies import EDGE_PROBLEMS, SIZES, Problem

import triconv
from triconv import cli
from triconv.explorer.scene import Scene, Settings, prepared
from triconv.methods import METHODS
from triconv.schedules.cost import Cost
from triconv.schedules.packing import Packed

PROBLEMS = {
    name: EDGE_PROBLEMS[name]
    for name in (
        *("dilation and stride", "groups of several filters", "asymmetric padding", "batch of three"),
        *("reflect as wide as it goes", "image and filter", "stride larger than the input"),
    )
} | {"small": SIZES["small"]}


class ByNumPy:
    """The definition tap by tap in NumPy, wherever a problem says that its weights and its outputs lie."""

    NAME = "numpy"
    NEEDS_MATRIX = False
    IS_EXACT = True
    refuses = ""

    def supports(self, problem):
        return self.refuses

    def schedule(self, problem, machine):
        return "tap by tap"

    def cost(self, problem, schedule):
        return Cost(problem.flops // 2, 0, math.inf)

    def packed_bytes(self, problem, schedule):
        return math.prod(problem.weight_shape) * problem.dtype.itemsize

    def workspace_bytes(self, problem, schedule, workers):
        return 0

    def require(self, where, problem, schedule):
        pass

    def packer(self, problem, schedule):
        g, taps = problem.geometry, problem.weight_strides()
        filters = g.out_channels // g.groups
        steps = filters * taps.filter + taps.group, taps.filter, taps.row, taps.column, taps.channel
        shape = g.groups, filters, *g.kernel_size, g.group_channels

        def pack(weight, bias):
            flat = weight.astype(problem.dtype).reshape(-1)
            lying = as_strided(flat[taps.start :], shape, [step * flat.itemsize for step in steps])
            return Packed(lying.copy(), bias)

        return pack

    def runner(self, problem, schedule):
        g, place = problem.geometry, problem.output_strides()
        rows, columns = (axis.sources(axis.taps(axis.outputs()), problem.mode) for axis in problem.axes)

        def run(packed, x, y, workers):
            steps = problem.strides(*g.input_shape)
            image = as_strided(x, (problem.batch, *g.input_shape), [step * x.itemsize for step in steps])
            steps = place.sample, place.row, place.column, place.channel
            shape = problem.batch, *g.output_shape
            out = as_strided(y[place.start :], shape, [step * y.itemsize for step in steps])
            out[...] = packed.bias
            filters = g.out_channels // g.groups
            for u, v in np.ndindex(g.kernel_size):
                seen = image[:, rows[:, u, None], columns[:, v]].copy()
                seen[:, rows[:, u] < 0] = 0
                seen[:, :, columns[:, v] < 0] = 0
                for group in range(g.groups):
                    c = slice(group * g.group_channels, (group + 1) * g.group_channels)
                    m = slice(group * filters, (group + 1) * filters)
                    out[..., m] += seen[..., c] @ packed.weight[group, :, u, v].T

        return run

    def explain(self, problem, schedule):
        return schedule


@pytest.fixture
def method(monkeypatch):
    """The method, in the registry."""
    made = ByNumPy()
    monkeypatch.setitem(METHODS, made.NAME, made)
    return made


@pytest.mark.parametrize("name", PROBLEMS)
def test_everything_computes_by_it(name, method):
    problem = PROBLEMS[name]
    x, weight, bias = problem.integers()
    grad, keywords = problem.output_integers(), problem.keywords
    by = keywords | {"method": "numpy"}
    expected = problem.expected(x, weight, bias)
    assert_array_equal(triconv.conv2d(x, weight, bias, **by), expected)
    made = triconv.plan(weight, x.shape, bias, **by)
    assert made.method == "numpy"
    assert_array_equal(made(x), expected)
    back = triconv.conv2d_input_grad(grad, weight, x.shape, **keywords)
    assert_array_equal(triconv.conv2d_input_grad(grad, weight, x.shape, **by), back)
    A, B = (triconv.ConvOperator(weight, problem.sample_shape, **each) for each in (by, keywords))
    v, w = (np.random.default_rng(n).integers(-9, 10, size).astype(A.dtype) for n, size in enumerate(A.shape))
    assert_array_equal(A @ w, B @ w)
    assert_array_equal(A.H @ v, B.H @ v)


def test_the_choice_and_words_know_it(method):
    lines = triconv.plan(np.ones((3, 3)), (8, 8)).explain().splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(METHODS)
    assert lines[-2].split()[0] == "numpy"
    lines = triconv.plan(np.ones((3, 3)), (8, 8), method="numpy").explain().splitlines()
    assert (lines[0], lines[-1]) == ("numpy was chosen: it was asked for", "schedule: tap by tap")
    with pytest.raises(ValueError) as caught:
        triconv.conv2d([[1.0]], [[1.0]], method="fourier")
    assert str(caught.value) == (
        "conv2d: method expects one of 'auto', 'direct', 'im2col', 'matrix', 'numpy', got 'fourier'"
    )


def test_comparisons_run_it(method):
    found = triconv.compare(np.eye(9), np.ones((3, 3)), methods=tuple(METHODS), repeat=1)
    assert [row.method for row in found] == list(METHODS)
    assert found["numpy"].max_error == 0


def test_the_command_runs_and_draws_it(method, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 17), np.uint8)).save("gray.png")
    assert cli.main(["compare", "gray.png", "--stride", "1", "--padding", "same"]) == 0
    rows = [line.split()[2] for line in capsys.readouterr().out.splitlines() if line.startswith("1 ")]
    assert rows == list(METHODS)


def test_the_explorer_shows_it(method):
    problem = Problem((5, 6), (2, 2))
    arrays = prepared(*problem.integers()[:2], None, "NHWC", 1)
    settings = Settings((5, 6), 1, 1, (2, 2), (1, 1), 0, (1, 1), 1, "zeros")
    costs = Scene(arrays, settings).costs()
    assert [each["method"] for each in costs] == list(METHODS)
    assert costs[-1]["entries"] is None


def test_what_it_cannot_do_is_refused_everywhere_and_never_chosen(method):
    method.refuses = "needs a kernel of its own"
    calls = {
        "conv2d": lambda: triconv.conv2d([[1.0, 2.0]], [[3.0]], method="numpy"),
        "plan": lambda: triconv.plan([[3.0]], (1, 2), method="numpy"),
        "conv2d_input_grad": lambda: triconv.conv2d_input_grad([[1.0]], [[3.0]], (1, 1), method="numpy"),
        "conv_transpose2d": lambda: triconv.conv_transpose2d([[1.0]], [[3.0, 4.0]], method="numpy"),
        "ConvOperator": lambda: triconv.ConvOperator([[3.0]], (1, 7), method="numpy"),
    }
    for where, call in calls.items():
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value) == f"{where}: method 'numpy' needs a kernel of its own"
    method.cost = lambda problem, plan: Cost(0, 0, 0.0)
    assert triconv.plan(np.ones((3, 3)), (8, 11)).method != "numpy"
    method.refuses = ""
    assert triconv.plan(np.ones((3, 3)), (8, 12)).method == "numpy"


def test_gradients_of_weights_refuse_a_method_that_they_do_not_know(method):
    with pytest.raises(ValueError) as caught:
        triconv.conv2d_weight_grad([[1.0]], [[1.0]], 1, method="numpy")
    assert str(caught.value) == (
        "conv2d_weight_grad: method 'numpy' makes no gradients of weights; 'direct', 'im2col', 'matrix' do"
    )

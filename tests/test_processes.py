"""Work sent to other processes, after the sender has worked itself, and children of a busy parent."""

import os
from dataclasses import replace
from functools import partial
from operator import call  # noqa: F401 - what pools are sent

import numpy as np
import oracle
import pytest
from processes import run
from strategies import METHODS, SIZES

from triconv import Conv2d, ConvOperator, conv2d, conv2d_input_grad, conv2d_weight_grad, plan

pytestmark = pytest.mark.processes

PROBLEM = replace(SIZES["large"], batch=None, bias_dtype=None)
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def layer(weight):
    made = Conv2d(PROBLEM.in_channels, PROBLEM.out_channels, PROBLEM.kernel_size, padding=1, bias=False)
    made.weight[:] = weight
    return made


def jobs():
    """Calls that can be sent, and what they must give: integers, so that each has one right answer."""
    x, weight, _ = PROBLEM.integers()
    grad = PROBLEM.output_integers()
    keywords = PROBLEM.keywords
    y = conv2d(x, weight, method="direct", **keywords)
    places = [(0, 0, 0), (39, 44, 32), (17, 0, 5), (20, 31, 32)]
    assert [y[place] for place in places] == oracle.outputs(
        x.tolist(), weight.tolist(), None, places, **keywords
    )
    operators = [ConvOperator(weight, x.shape, method=method, **keywords) for method in METHODS]
    toward_x = operators[0].unvec_input(operators[0].rmatvec(operators[0].vec(grad)))
    toward_weight = conv2d_weight_grad(grad, x, PROBLEM.kernel_size, method="direct", **keywords)
    made = [(partial(layer(weight), x), y)]
    for method, operator in zip(METHODS, operators, strict=True):
        keywords["method"] = method
        made += [
            (partial(conv2d, x, weight, **keywords), y),
            (partial(plan(weight, x.shape, **keywords), x), y),
            (partial(operator.matvec, operator.vec(x)), operator.vec(y)),
            (partial(conv2d_input_grad, grad, weight, x.shape, **keywords), toward_x),
            (partial(conv2d_weight_grad, grad, x, PROBLEM.kernel_size, **keywords), toward_weight),
        ]
    return made


@pytest.fixture(scope="module")
def compiled():
    """Kernels are on disk, so that no process takes long."""
    for job, expected in jobs():
        assert np.array_equal(job(), expected)


def same(results, expected):
    return all(np.array_equal(*pair) for pair in zip(results, expected, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "layer"),
    [
        pytest.param("fork", "default", marks=forks),
        pytest.param("fork", "workqueue", marks=forks),
        pytest.param("forkserver", "default", marks=forks),
        ("spawn", "default"),
    ],
)
@pytest.mark.usefixtures("compiled")
def test_pools_finish_and_are_right(start, layer):
    """A forked child cannot use the threads that its parent started; others pack plans again."""
    code = f"""
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from test_processes import call, jobs, same
calls, expected = zip(*jobs())
print(same(map(call, calls), expected))
pool = get_context({start!r}).Pool(2)
print(same(pool.map(call, calls, 3), expected))
pool.close()  # a pool that is terminated may leave a semaphore of Numba's, of which Python warns
pool.join()
with ProcessPoolExecutor(2, mp_context=get_context({start!r})) as pool:
    print(same(pool.map(call, calls, chunksize=3), expected))
print(same(map(call, calls), expected))
"""
    assert run(code, NUMBA_THREADING_LAYER=layer) == ["True"] * 4


@forks
def test_a_child_compiles_that_was_forked_while_a_thread_compiled(tmp_path):
    """Whatever lock the thread held or waited for, no one would let the child have it."""
    code = """
import os, signal, threading, time, numpy
from triconv.runtime import jit
def fill(worker, y, counters, workers):
    y[0] = 1
kernels = [jit.Kernel(f"fill_{n}", fill, jit.writes(numpy.dtype("f8"))) for n in range(6)]
thread = threading.Thread(target=lambda: [kernel.compiled for kernel in kernels[:-1]])
thread.start()
while thread.is_alive():
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        y = numpy.zeros(1)
        kernels[-1](1, y)
        os._exit(int(y[0]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    time.sleep(0.01)
"""
    codes = run(code, TRICONV_CACHE_DIR=str(tmp_path))
    assert set(codes) == {"1"}

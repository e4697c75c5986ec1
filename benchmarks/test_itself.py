"""The library against itself: methods, threads and sizes against each other, and how soon it is ready."""

import os
import statistics
import subprocess
import sys
import time

import measure
import pytest
from problems import parse

import triconv

TIMES = 5  # starts of a process, of which the median counts

LAYER = "ih{size} ic64 oc64 kh3 ph1"
LAYERS = ("ih56 ic64 oc64 kh3 ph1", "ih28 ic128 oc128 kh3 ph1", "ih14 ic256 oc256 kh3 ph1")
SIZES = (12, 24, 56, 128, 260, 520)  # 5 million to 10 billion multiply-adds

RESULT = (
    "import numpy as np; {module}; x = np.ones((1, {x}), np.float32); w = np.ones(({w}), np.float32); {run}"
)
FIRST = {
    "triconv": RESULT.format(
        module="import triconv", x="64, 64, 3", w="16, 3, 3, 3", run="triconv.conv2d(x, w, padding=1)"
    ),
    "torch": RESULT.format(
        module="import torch",
        x="3, 64, 64",
        w="16, 3, 3, 3",
        run="torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=1)",
    ),
}


def note(benchmark, question, value, *, most=None, least=None):
    """Keep a ratio or a time, and what is asked of it."""
    benchmark.extra_info.update(kind="itself", question=question, value=value, most=most, least=least)


def planned(line, method="direct"):
    problem = parse(line)
    x, weight = problem.arrays()
    made = triconv.plan(weight, x.shape, method=method, **problem.keywords)
    out = made(x)
    return lambda: made(x, out), problem


def seconds(code, times=TIMES, **environment):
    """Median seconds of a fresh process that runs some code."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **environment})
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("line", LAYERS)
def test_im2col_keeps_up_with_direct(benchmark, line, dtype, effort):
    direct, _ = planned(f"{line} {dtype}")
    im2col, _ = planned(f"{line} {dtype}", "im2col")
    times = measure.race(benchmark, im2col, {"direct": direct}, effort)
    ratio = benchmark.stats.stats.median / statistics.median(times["direct"])
    note(benchmark, f"im2col's time over direct's, `{line}` {dtype}", ratio, most=1.15)


@pytest.mark.skipif(triconv.get_num_threads() < 2, reason="one thread")
@pytest.mark.parametrize("line", LAYERS)
def test_two_threads_share_the_work(benchmark, line, effort):
    call, _ = planned(line)

    def with_threads(n):
        with triconv.threads(n):
            call()

    times = measure.race(benchmark, lambda: with_threads(2), {"one": lambda: with_threads(1)}, effort)
    ratio = statistics.median(times["one"]) / benchmark.stats.stats.median
    note(benchmark, f"speed of 2 threads over 1, `{line}`", ratio, least=1.85)


def test_time_grows_with_the_work(benchmark, effort):
    calls = {size: planned(LAYER.format(size=size)) for size in SIZES}
    first, *others = SIZES
    times = measure.race(benchmark, calls[first][0], {size: calls[size][0] for size in others}, effort)
    medians = {first: benchmark.stats.stats.median} | {s: statistics.median(t) for s, t in times.items()}
    rates = [medians[size] / calls[size][1].flops for size in SIZES]
    question = "slowest over fastest time a multiply-add, 3x3 layers of 5 million to 10 billion"
    note(benchmark, question, max(rates) / min(rates), most=1.2)


def test_import(benchmark):
    ours = seconds("import triconv")
    benchmark.pedantic(lambda: None)
    note(benchmark, "import over `import numba`", ours / seconds("import numba"), most=1.5)


def test_first_result_warm(benchmark):
    pytest.importorskip("torch")
    seconds(FIRST["triconv"], times=1)
    ours = seconds(FIRST["triconv"])
    benchmark.pedantic(lambda: None)
    question = "import and first result, warm cache, over PyTorch's"
    note(benchmark, question, ours / seconds(FIRST["torch"]), most=0.6)


def test_first_result_cold(benchmark, tmp_path):
    taken = seconds(FIRST["triconv"], times=1, TRICONV_CACHE_DIR=str(tmp_path))
    benchmark.pedantic(lambda: None)
    note(benchmark, "seconds of import and first result, cold cache", taken, most=8)

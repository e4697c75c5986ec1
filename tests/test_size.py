"""Sizes: indices past 32 bits, what fits in no memory, and what is left behind by many calls."""

import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import processes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import METHODS, NAMED, PADDING_MODES, Problem

import triconv
from triconv import (
    Conv2d,
    ConvGeometry,
    ConvOperator,
    col2im,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    conv_matrix,
    conv_transpose2d,
    flatten_weight,
    im2col,
    pad,
    plan,
)
from triconv.core import pattern
from triconv.core.axis import Axis
from triconv.runtime import memory
from triconv.schedules import tables

each_form = pytest.mark.parametrize("method", NAMED)


# --- Past 32 bits ------------------------------------------------------------------------------------

FEWER = 2**31 // 2**12  # samples of 64 x 64 numbers that 32 bits can number


def require(fuzz, gib):
    """Skip a test that takes so much memory, and minutes."""
    if not fuzz:
        pytest.skip("takes 10 GiB, or 20, and minutes: --fuzz runs it")
    if memory.available() < gib * 2**30:
        pytest.skip(f"needs {gib} GiB, {memory.human(memory.available())} are available")


@pytest.fixture(scope="module")
def huge(fuzz):
    """A batch of 2**31 + 2**13 numbers, zeros but for the first sample, the last, and two about 2**31."""
    require(fuzz, 12)
    x = np.zeros((FEWER + 2, 64, 64, 1), np.float32)
    rng = np.random.default_rng(0)
    for n in (0, FEWER - 1, FEWER, FEWER + 1):
        x[n] = rng.integers(-9, 10, x.shape[1:])
    assert x.size > 2**31
    return x


CHOSEN = (0, 1, FEWER // 2, FEWER - 1, FEWER, FEWER + 1)
KEYWORDS = {"stride": 4, "padding": 1}


@pytest.mark.long
@each_form
def test_inputs_past_32_bits(huge, method):
    weight = np.arange(-4, 5, dtype=np.float32).reshape(1, 3, 3, 1)
    y = conv2d(huge, weight, method=method, **KEYWORDS)
    for n in CHOSEN:
        assert_array_equal(y[n], conv2d(huge[n], weight, method="direct", **KEYWORDS))
    assert np.count_nonzero(y.any(axis=(1, 2, 3))) == 4


@pytest.mark.long
@each_form
def test_gradients_past_32_bits(huge, method):
    weight = np.arange(-4, 5, dtype=np.float32).reshape(1, 3, 3, 1)
    grad = np.zeros((len(huge), 16, 16, 1), np.float32)
    for n in CHOSEN:
        grad[n] = np.random.default_rng(n).integers(-9, 10, (16, 16, 1))
    if method != "matrix":  # whose matrix here is of all that is summed
        sums = conv2d_weight_grad(grad, huge, 3, method=method, **KEYWORDS)
        chosen = conv2d_weight_grad(grad[[*CHOSEN]], huge[[*CHOSEN]], 3, method="direct", **KEYWORDS)
        assert_array_equal(sums, chosen)
    require(True, 10)
    back = conv2d_input_grad(grad, weight, huge.shape, method=method, **KEYWORDS)
    for n in CHOSEN:
        one = conv2d_input_grad(grad[n], weight, huge.shape[1:], method="direct", **KEYWORDS)
        assert_array_equal(back[n], one)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS[:2])
def test_outputs_past_32_bits(fuzz, method):
    """Of an image of 2**28 pixels that are zeros but in two corners."""
    require(fuzz, 12)
    x = np.zeros((2**14, 2**14, 1), np.float32)
    x[:4, :4, 0] = np.arange(16).reshape(4, 4)
    x[-4:, -4:, 0] = np.arange(16).reshape(4, 4)
    weight = np.arange(1, 10, dtype=np.float32).reshape(9, 1, 1, 1)
    y = conv2d(x, weight, method=method)
    assert y.size > 2**31
    assert_array_equal(y[:4, :4], x[:4, :4] * weight.ravel())
    assert_array_equal(y[-4:, -4:], x[-4:, -4:] * weight.ravel())
    assert np.count_nonzero(y[::7, ::7]) <= 18
    assert not y[2**13].any()


# --- What fits in no memory --------------------------------------------------------------------------

LIMIT = 256 << 20


def wide(*shape, dtype="float32"):
    """An array of any size that takes no memory."""
    return np.broadcast_to(np.ones((), dtype), shape)


one, line = np.ones((1, 1), "float32"), np.ones((1, 31), "float32")
far = {"stride": 2**13, "layout": "NHWC"}
circular = {"padding": "same", "padding_mode": "circular"}
signal = ConvOperator(line, (1, 10**7))
TOO_LARGE = {
    "conv2d": lambda: conv2d(one, one, padding=2**13),
    "conv2d, a copy of x": lambda: conv2d(wide(2**14, 2**14), one, stride=2**14),
    "conv2d, a cast of x": lambda: conv2d(np.zeros((2**13, 2**13), bool), one, stride=2**13),
    "conv2d, index tables": lambda: conv2d(
        np.ones((4, 5)), np.ones((2, 1)), dilation=(10**8, 1), padding=((10**8, 0), (0, 0))
    ),
    "conv2d, weights": lambda: conv2d(np.ones((64, 64)), wide(2**16, 64, 64, 1)),
    "conv2d, matrix": lambda: conv2d(wide(10**3, 10**3), np.ones((31, 31)), method="matrix"),
    "conv2d, matrix of a signal": lambda: conv2d(np.ones((1, 10**5)), line, method="matrix"),
    "plan": lambda: plan(wide(2**16, 64, 64, 1), (64, 64)),
    "plan, matrix": lambda: plan(np.ones((31, 31)), (10**3, 10**3), method="matrix"),
    "ConvPlan": lambda: plan(wide(64, 1, 1, 1), (2**12, 2**12))(wide(2**12, 2**12)),
    "conv2d_input_grad": lambda: conv2d_input_grad(one, one, (2**14, 2**14), stride=2**14),
    "conv2d_input_grad, a copy": lambda: conv2d_input_grad(
        wide(1, 2**13, 2**13, 2), wide(2, 1, 1, 1), (1, 2**13, 2**13, 1)
    ),
    "conv2d_input_grad, weights": lambda: conv2d_input_grad(
        wide(1, 1, 2**16), wide(2**16, 64, 64, 1), (64, 64, 1)
    ),
    "conv2d_input_grad, padding": lambda: conv2d_input_grad(
        wide(2**14, 1), wide(1, 2**14), (2**14, 1), padding=((0, 0), (0, 2**14 - 1)), padding_mode="replicate"
    ),
    "conv2d_weight_grad": lambda: conv2d_weight_grad(one, wide(2**14, 2**14), 2**14),
    "conv2d_weight_grad, a copy": lambda: conv2d_weight_grad(wide(2**14, 2**14), wide(2**14, 2**14), 1),
    "conv2d_weight_grad, matrix": lambda: conv2d_weight_grad(
        np.ones((1000, 1000)), np.ones((1000, 1000)), 31, padding=15, method="matrix"
    ),
    "conv_transpose2d": lambda: conv_transpose2d(wide(2, 2), one, stride=2**14),
    "im2col": lambda: im2col(wide(2**10, 2**10), 32),
    "im2col, index tables": lambda: im2col(np.ones((4, 5)), (2, 1), dilation=(10**8, 1), padding=10**8),
    "col2im": lambda: col2im(wide(1, 1), (2**14, 2**14), 1, stride=2**14),
    "col2im, index tables": lambda: col2im(wide(10**5 - 30, 31), (1, 10**5), (1, 31)),
    "pad": lambda: pad(one, 2**13),
    "flatten_weight": lambda: flatten_weight(wide(2**16, 64, 64, 1)),
    "conv_matrix": lambda: conv_matrix(np.ones((31, 31)), (10**3, 10**3)),
    "conv_matrix, a signal": lambda: conv_matrix(line, (1, 10**5)),
    "ConvOperator": lambda: ConvOperator(np.ones((31, 31)), (10**3, 10**3), method="matrix"),
    "ConvOperator, applied": lambda: ConvOperator(wide(64, 1, 1, 1), (2**12, 2**12, 1)) @ wide(2**24),
    "ConvOperator, adjoint": lambda: ConvOperator(one, (2**14, 2**14), stride=2**14).H @ wide(1),
    "ConvOperator.to_sparse": lambda: signal.to_sparse(),
    "ConvOperator.to_dense": lambda: signal.to_dense(),
    "ConvOperator.norm": lambda: ConvOperator(one, (10**4, 10**4), **circular).norm(),
    "ConvOperator.svdvals": lambda: ConvOperator(line, (1, 10**6)).svdvals(9),
    "ConvOperator.norm_bound": lambda: ConvOperator(
        line, (1, 10**6), padding="same", padding_mode="reflect"
    ).norm_bound(),
    "Conv2d": lambda: Conv2d(2**10, 2**10, 32),
    "Conv2d, a call": lambda: Conv2d(1, 64, 1)(wide(2**12, 2**12, 1)),
    "compare": lambda: triconv.compare(wide(2**12, 2**12), wide(64, 1, 1, 1), methods=("direct",)),
}

# Functions that others word the refusal for.
CALLED = {"ConvOperator.to_sparse": "conv_matrix"}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_would_not_fit_is_refused_before_it_is_allocated(name, monkeypatch):
    """Where 256 MiB are left; the message says what would need how much."""
    monkeypatch.setattr(memory, "available", lambda: LIMIT)
    tracemalloc.start()
    try:
        with pytest.raises(
            MemoryError, match=r"^\w+.*: .* needs [\d.]+ .iB, 256 MiB are available"
        ) as caught:
            TOO_LARGE[name]()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(CALLED.get(name, name.split(",")[0]) + ": ")
    assert peak < LIMIT / 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: plan(one, (2**40, 2**40)),
        lambda: plan(wide(1, 1, 1, 1), (2**30, 2**20, 2**20, 1)),
        lambda: conv2d(one, one, padding=2**40),
        lambda: conv2d(one, one, padding=2**70),
        lambda: conv2d(np.ones((2, 2)), np.ones((2, 2)), dilation=2**40, padding=2**40),
        lambda: conv2d_input_grad(one, one, (2**40, 2**40), stride=2**40),
        lambda: conv_transpose2d(np.ones((2, 2)), one, stride=2**40),
        lambda: im2col(one, 1, padding=2**40),
        lambda: col2im(one, (2**40, 2**40), 1, stride=2**40),
        lambda: pad(one, 2**40),
        lambda: conv_matrix(one, (2**40, 2**40)),
        lambda: ConvOperator(one, (2**40, 2**40)),
    ],
)
def test_products_that_overflow_64_bits_are_refused(call):
    with pytest.raises(MemoryError, match=r"^\w+: "):
        call()


def test_geometry_counts_past_64_bits():
    g = ConvGeometry((2**40, 2**40, 2**10), 3, 2**20, padding=1)
    assert g.nnz == 2**110 * 9
    assert g.flops == 2**111 * 9


@given(
    axis=st.builds(
        Axis,
        st.integers(1, 12),
        st.integers(1, 6),
        st.integers(1, 4),
        st.integers(1, 4),
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    mode=st.sampled_from(PADDING_MODES),
    block=st.integers(1, 40),
)
def test_entries_are_counted_as_they_are_made(axis, mode, block):
    """W is refused by their number, which takes no tables of them."""
    if mode == "reflect":
        axis = Axis(
            *(axis.size, axis.kernel, axis.stride, axis.dilation),
            *(min(side, axis.size - 1) for side in (axis.before, axis.after)),
        )
    if axis.out < 1:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pattern, "BLOCK", block)
        counted = pattern.entries(axis, mode, padded=False)
    assert counted == pattern.pairs(axis, axis.outputs(), mode, padded=False).counts.sum()


@pytest.mark.parametrize(
    "problem",
    [
        Problem((7, 6), (3, 2), 4, 6, groups=2, stride=(2, 1), padding=((1, 2), (0, 1)), batch=2),
        Problem((7, 6), (3, 2), 4, 6, padding=((1, 2), (0, 1)), layout="NCHW").of("float16"),
    ],
)
@each_form
def test_a_call_that_asks_for_memory_gives_the_same(problem, method, monkeypatch):
    """Small ones do not ask; here all do."""
    x, weight, bias = problem.integers()
    keywords = problem.keywords | {"method": method}
    expected = problem.expected(x, weight, bias)
    grad = conv2d_input_grad(expected, weight, x.shape, **keywords)
    monkeypatch.setattr(memory, "SMALL", 0)
    layer = plan(weight, problem.x_shape, bias, **keywords)
    out = np.zeros_like(expected, order="F")
    assert_array_equal(layer(x), expected)
    assert layer(np.asfortranarray(x), out=out) is out
    assert_array_equal(out, expected)
    assert_array_equal(conv2d_input_grad(expected, weight, x.shape, **keywords), grad)


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Writes a file of a system that has no others."""

    def put(name, text):
        file = tmp_path / name.strip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    monkeypatch.setattr(memory, "Path", lambda name: tmp_path / name.strip("/"))
    monkeypatch.setattr(memory, "resource", None)
    monkeypatch.setitem(sys.modules, "psutil", None)
    return put


def test_what_is_available(put, monkeypatch):
    """The least of free memory, what the cgroup leaves of either version, and what the limit leaves."""
    limit = {"soft": -1}
    limits = SimpleNamespace(
        RLIMIT_AS=9, RLIM_INFINITY=-1, getrlimit=lambda which: (limit["soft"], -1) if which == 9 else None
    )
    unlimited = memory.available()
    assert unlimited == 1 << 62
    monkeypatch.setattr(memory, "resource", limits)
    assert memory.available() == unlimited
    put("/proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    7000 kB\n")
    assert memory.available() == 7000 << 10
    put("/sys/fs/cgroup/memory.max", "max\n")
    put("/sys/fs/cgroup/memory.current", f"{1000 << 10}\n")
    put("/sys/fs/cgroup/memory.stat", "anon 1\ninactive_file\n")
    assert memory.available() == 7000 << 10
    put("/sys/fs/cgroup/memory.max", f"{6000 << 10}\n")
    assert memory.available() == 5000 << 10
    put("/sys/fs/cgroup/memory.stat", f"anon 1\ninactive_file {500 << 10}\n")
    assert memory.available() == 5500 << 10
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", f"{4000 << 10}\n")
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", f"{4100 << 10}\n")
    assert memory.available() == 0
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n")
    assert memory.available() == 4000 << 10
    limit["soft"] = 3000 << 10
    assert memory.available() == 3000 << 10
    put("/proc/self/status", "Name: python\nVmSize:\t    2048 kB\n")
    assert memory.available() == 952 << 10
    limit["soft"] = 1000 << 10
    assert memory.available() == 0


@pytest.mark.parametrize(
    ("version", "limit", "used"),
    [
        ("0::", "/memory.max", "/memory.current"),
        ("7:cpu,memory:", "/memory.limit_in_bytes", "/memory.usage_in_bytes"),
    ],
)
def test_control_groups_inside_others(put, version, limit, used):
    """The least of what one's own leaves and those above it. Where a path is not there, it is the host's."""
    root = "/sys/fs/cgroup" + ("/memory" if "memory" in version else "")
    put("/proc/self/cgroup", f"9:cpuset:/\n{version}/slice/service\n1:name=systemd:/a\nno group\n")
    put(root + limit, f"{900 << 20}\n")
    put(root + used, f"{100 << 20}\n")
    assert memory.available() == 800 << 20
    put(f"{root}/slice{limit}", f"{500 << 20}\n")
    put(f"{root}/slice{used}", f"{200 << 20}\n")
    assert memory.available() == 300 << 20
    put(f"{root}/slice/service{limit}", f"{250 << 20}\n")
    put(f"{root}/slice/other{limit}", "1\n")
    assert memory.available() == 250 << 20
    put(f"{root}/slice{used}", f"{450 << 20}\n")
    put(f"{root}/slice/memory.stat", f"inactive_file {30 << 20}\n")
    assert memory.available() == 80 << 20


def test_free_memory_on_other_systems(put, monkeypatch):
    """psutil says it where there is no /proc, and no one where psutil is missing or fails."""
    assert memory.available() == 1 << 62
    told = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(total=9 << 30, available=3 << 30))
    monkeypatch.setitem(sys.modules, "psutil", told)
    assert memory.available() == 3 << 30
    with pytest.raises(MemoryError, match=r"^pad: .* needs 8 GiB, 3 GiB are available$"):
        memory.require("pad", 8 << 30, "all of it")
    put("/proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:    7000 kB\n")
    assert memory.available() == 7000 << 10
    put("/proc/meminfo", "MemTotal: 9000 kB\n")  # as before Linux 3.14
    assert memory.available() == 3 << 30
    monkeypatch.setattr(told, "virtual_memory", lambda: 1 / 0)
    assert memory.available() == 1 << 62


def test_psutil_means_the_same():
    """Half to twice what the system's own files say, between which the system has gone on."""
    psutil = pytest.importorskip("psutil")
    if not memory._field("/proc/meminfo", "MemAvailable:"):
        pytest.skip("this system has no such files")
    own = memory._free()
    assert own / 2 < psutil.virtual_memory().available < own * 2


def test_sizes_in_words():
    sizes = (0, 1023, 1024, 102_300, 102_400, 1 << 20, 5 << 30, 3 << 40, 3 << 50)
    expected = ["0 B", "1023 B", "1 KiB", "99.9 KiB", "100 KiB", "1 MiB", "5 GiB", "3 TiB", "3072 TiB"]
    assert [memory.human(size) for size in sizes] == expected


def test_where_there_are_no_limits():
    code = (
        "sys.modules['resource'] = None\nfrom triconv.runtime import memory\nprint(memory._address_space())"
    )
    assert processes.run(code) == [str(1 << 62)]


# --- What calls leave behind -------------------------------------------------------------------------

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
RESIDENT = """
import gc, resource
import numpy as np
from triconv import conv2d, conv2d_input_grad, conv2d_weight_grad, plan

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
"""
CALLS = """
layers = []
for shape, weight_shape in (((9, 10), (3, 3)), ((8, 9, 4), (8, 3, 3, 4)), ((2, 7, 8, 6), (6, 3, 3, 1))):
    x, weight = np.ones(shape, np.float32), np.ones(weight_shape, np.float32)
    groups = 6 if weight_shape[-1] == 1 else 1
    layers.append((x, weight, groups, plan(weight, shape, groups=groups), conv2d(x, weight, groups=groups)))

def call(times):
    for n in range(times):
        x, weight, groups, layer, y = layers[n % 3]
        method = ("auto", "direct", "im2col", "matrix")[n // 3 % 4]
        conv2d(x, weight, groups=groups, method=method)
        layer(x)
        conv2d_input_grad(y, weight, x.shape, groups=groups)
        conv2d_weight_grad(y, x, 3, groups=groups)
        if n % 10 == 0:
            plan(weight, x.shape, groups=groups)(x)

call(500)
before = resident()
call({times})
print(resident() - before)
"""
SHAPES = """
weight = np.ones((1, 3), np.float32)
before = resident()
for n in range(60):
    x = np.ones((1, 200_000 + n), np.float32)
    y = conv2d(x, weight, padding="same", padding_mode="reflect")
    conv2d_input_grad(y, weight, x.shape, padding="same", padding_mode="reflect")
    conv2d_weight_grad(y, x, (1, 3), padding="same", padding_mode="reflect")
print(resident() - before)
"""


@on_linux
@pytest.mark.long
def test_calls_leave_nothing_behind(fuzz):
    """25,000 rounds of four functions, 2,500 of them in the short form: less than 1 MiB in all."""
    (grown,) = processes.run(RESIDENT + CALLS.replace("{times}", "25_000" if fuzz else "2_500"))
    assert int(grown) < 2**20


@pytest.mark.slow
@on_linux
def test_many_shapes_keep_few_tables():
    """Index tables of 180 long signals would be 1 GB; those that are kept count as 256 MiB at most."""
    (grown,) = processes.run(RESIDENT + SHAPES)
    assert int(grown) < 300 * 2**20


def test_tables_that_were_dropped_are_made_again(monkeypatch):
    monkeypatch.setattr(tables, "KEPT", 0)
    monkeypatch.setattr(tables, "LARGE", 2 * tables.maps_bytes(plan(line, (1, 300))._prepared.problem))
    monkeypatch.setattr(tables.Deferred, "_large", {})
    problems = [Problem((1, 300 + n), (1, 3), axes="filter", bias_dtype="float64") for n in range(6)]
    arrays = [problem.integers() for problem in problems]
    plans = [plan(weight, x.shape, bias, method="direct") for x, weight, bias in arrays]
    for _ in range(2):
        for problem, (x, weight, bias), layer in zip(problems, arrays, plans, strict=True):
            assert_array_equal(layer(x), problem.expected(x, weight, bias))
            held = tables.Deferred._large
            assert sum(made.bytes for made in held) <= tables.LARGE
            assert list(held)[-1] is layer._prepared._run
    monkeypatch.setattr(tables, "LARGE", 0)
    plans[0](arrays[0][0])
    assert list(tables.Deferred._large) == [plans[0]._prepared._run]

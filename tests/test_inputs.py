"""A table of arrays of every dtype in every kind of memory, for every argument that takes an array.

Each is right, by what the same values give as a plain array of double precision, or refused as documented.
"""

import math
import re
import tracemalloc
from array import array as buffer
from collections import UserList, deque

import dask.array
import numpy as np
import pandas
import pytest
import xarray
from astropy import nddata
from astropy.utils.masked import Masked
from numpy.lib.stride_tricks import as_strided
from numpy.testing import assert_array_equal
from strategies import FLOATS, LAYOUTS, METHODS, NAMED, OTHERS

import triconv
from triconv import Conv2d, ConvOperator
from triconv.runtime import jit, memory

X, WEIGHT, GRAD = (5, 6, 2), (4, 2, 2, 2), (4, 5, 4)
IMAGE, FILTER, SMALLER = (5, 6), (2, 2), (4, 5)


def zeros_and_ones(shape):
    """Values that every dtype holds, and whose sums every floating one does."""
    return np.random.default_rng(math.prod(shape)).integers(0, 2, shape)


def plain(shape):
    return zeros_and_ones(shape).astype("float64")


def layer(x, grad):
    """All that a layer gives."""
    made = Conv2d(2, 4, 2, dtype="float64", rng=0)
    made.weight[...] = plain(WEIGHT)
    made.bias[...] = 1
    return made(x), made.backward(grad), made.weight_grad, made.bias_grad


A = ConvOperator(plain(WEIGHT), X)

# Every argument of every function that takes an array, with its shape and the name that messages open with.
CALLS = {
    "conv2d x": (X, "conv2d", lambda a: triconv.conv2d(a, plain(WEIGHT))),
    "conv2d image": (IMAGE, "conv2d", lambda a: triconv.conv2d(a, plain(FILTER))),
    "conv2d weight": (WEIGHT, "conv2d", lambda a: triconv.conv2d(plain(X), a)),
    "conv2d filter": (FILTER, "conv2d", lambda a: triconv.conv2d(plain(IMAGE), a)),
    "conv2d bias": ((4,), "conv2d", lambda a: triconv.conv2d(plain(X), plain(WEIGHT), a)),
    **{
        f"conv2d by {method}": (X, "conv2d", lambda a, m=method: triconv.conv2d(a, plain(WEIGHT), method=m))
        for method in NAMED
    },
    "plan weight": (WEIGHT, "plan", lambda a: triconv.plan(a, X, dtype=wide(a))(plain(X))),
    "plan bias": ((4,), "plan", lambda a: triconv.plan(plain(WEIGHT), X, a, dtype=wide(a))(plain(X))),
    "plan x": (X, "ConvPlan", lambda a: triconv.plan(plain(WEIGHT), X, dtype=wide(a))(a)),
    "input_grad grad": (
        *(GRAD, "conv2d_input_grad"),
        lambda a: triconv.conv2d_input_grad(a, plain(WEIGHT), X),
    ),
    "input_grad weight": (
        *(WEIGHT, "conv2d_input_grad"),
        lambda a: triconv.conv2d_input_grad(plain(GRAD), a, X),
    ),
    "weight_grad grad": (GRAD, "conv2d_weight_grad", lambda a: triconv.conv2d_weight_grad(a, plain(X), 2)),
    "weight_grad x": (X, "conv2d_weight_grad", lambda a: triconv.conv2d_weight_grad(plain(GRAD), a, 2)),
    "transpose x": (GRAD, "conv_transpose2d", lambda a: triconv.conv_transpose2d(a, plain(WEIGHT))),
    "transpose weight": (WEIGHT, "conv_transpose2d", lambda a: triconv.conv_transpose2d(plain(GRAD), a)),
    "transpose bias": (
        *((2,), "conv_transpose2d"),
        lambda a: triconv.conv_transpose2d(plain(GRAD), plain(WEIGHT), a),
    ),
    "im2col": (X, "im2col", lambda a: triconv.im2col(a, 2, padding=1)),
    "col2im": ((20, 8), "col2im", lambda a: triconv.col2im(a, X, 2)),
    "pad": (X, "pad", lambda a: triconv.pad(a, 1, padding_mode="reflect")),
    "pad image": (IMAGE, "pad", lambda a: triconv.pad(a, 1, padding_mode="circular")),
    "flatten_weight": (WEIGHT, "flatten_weight", triconv.flatten_weight),
    "conv_matrix": (WEIGHT, "conv_matrix", lambda a: triconv.conv_matrix(a, X, padding=1).toarray()),
    "operator weight": (WEIGHT, "ConvOperator", lambda a: ConvOperator(a, X) @ plain((60,))),
    "operator @": ((60,), "ConvOperator", lambda a: A @ a),
    "operator.H @": ((80,), "ConvOperator", lambda a: A.H @ a),
    "operator matvec": ((60,), "ConvOperator", lambda a: A.matvec(a)),
    "operator @ matrix": ((60, 3), "ConvOperator", lambda a: A @ a),
    "vec": (X, "ConvOperator.vec", A.vec),
    "unvec": ((80,), "ConvOperator.unvec", A.unvec),
    "unvec_input": ((60,), "ConvOperator.unvec_input", A.unvec_input),
    "layer x": (X, "Conv2d", lambda a: layer(a, plain(GRAD))),
    "layer grad": (GRAD, "Conv2d.backward", lambda a: layer(plain(X), a)),
}
each_call = pytest.mark.parametrize("name", CALLS)


def wide(a):
    """A dtype that a plan of these and of plain arrays computes in."""
    dtype = str(getattr(a, "dtype", ""))
    return "complex128" if "complex" in dtype or "c" in dtype[:2] else "float64"


# --- kinds of memory ---------------------------------------------------------------------------------


def strided(a):
    holes = np.full([2 * n + 1 for n in a.shape], 1).astype(a.dtype)
    inner = holes[(slice(1, None, 2),) * a.ndim]
    inner[...] = a
    return inner


def reversed_strides(a):
    return a[(slice(None, None, -1),) * a.ndim].copy()[(slice(None, None, -1),) * a.ndim]


def transposed(a):
    return np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0)


def broadcast(a):
    return np.broadcast_to(a.reshape(-1)[-1], a.shape)


def broadcast_rows(a):
    return np.broadcast_to(a[:1], a.shape)


def windows(a):
    line = np.resize(a.reshape(-1), sum(a.shape))
    return as_strided(line, a.shape, line.itemsize * np.ones(a.ndim, int))


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    view = np.zeros(a.nbytes + 1, "uint8")[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    assert view.flags.aligned == (a.dtype.alignment == 1 or a.size == 0)
    return view


def unaligned_windows(a):
    return unaligned(np.concatenate([a, a]))[1 : len(a) + 1]


def unmasked(a):
    return np.ma.MaskedArray(a, mask=np.zeros(a.shape, bool))


class Subclass(np.ndarray):
    """An array whose own rules must not reach the library."""

    def __array_ufunc__(self, *args, **kwargs):
        raise AssertionError

    def __getitem__(self, at):
        raise AssertionError


def subclass(a):
    return a.view(Subclass)


def matrix(a):
    return a.view(np.matrix) if a.ndim == 2 else a


KINDS = (
    *(np.copy, np.asfortranarray, strided, reversed_strides, transposed, broadcast, broadcast_rows, windows),
    *(read_only, unaligned, unaligned_windows, unmasked, subclass, matrix),
)
TAKEN = [
    np.dtype(name).newbyteorder(order)
    for name in (*FLOATS, *OTHERS)
    for order in ("<", ">")
    if np.dtype(name).itemsize > 1 or order == "<"
]


def results(y):
    return [np.asarray(each) for each in (y if isinstance(y, tuple) else (y,))]


def check(name, given):
    """What a call gives, against the same values as a plain array; what was given stays as it was."""
    call = CALLS[name][2]
    values = np.array(np.asarray(given), order="C", subok=False)
    before = values.tobytes()
    got = results(call(given))
    assert np.array(np.asarray(given), order="C").tobytes() == before
    kind = "complex128" if values.dtype.kind == "c" else "float64"
    for actual, expected in zip(got, results(call(values.astype(kind))), strict=True):
        assert type(actual) is np.ndarray
        assert_array_equal(actual, expected, strict=False)
        assert actual.shape == expected.shape


@each_call
def test_every_dtype_in_every_kind_of_memory(name, monkeypatch):
    """And nothing is compiled for any of them that the plain array of its dtype did not need."""
    shape = CALLS[name][0]
    for dtype in TAKEN:
        values = zeros_and_ones(shape).astype(dtype)
        if dtype.kind == "c":
            values += 1j * zeros_and_ones(shape)[::-1]
        check(name, values.astype(dtype.newbyteorder("=")))
        with monkeypatch.context() as patch:
            patch.setattr(jit, "compiled", None)
            for kind in KINDS:
                check(name, kind(values))


@pytest.mark.parametrize("methods", [NAMED])
def test_compare_takes_them_too(methods):
    for dtype in TAKEN:
        for kind in KINDS:
            x, weight, bias = (kind(zeros_and_ones(shape).astype(dtype)) for shape in (X, WEIGHT, (4,)))
            rows = triconv.compare(x, weight, bias, methods=methods, repeat=1)
            assert [row.max_error for row in rows] == [0, 0, 0]


WITHOUT_KERNELS = ("pad", "pad image", "flatten_weight", "vec", "unvec", "unvec_input")


@pytest.fixture
def given(monkeypatch):
    """Whether the arrays that kernels are given are aligned, one after the other."""
    call, found = jit.Kernel.__call__, []

    def spied(self, workers, *arrays):
        found.extend(array.flags.aligned for array in arrays if isinstance(array, np.ndarray))
        call(self, workers, *arrays)

    monkeypatch.setattr(jit.Kernel, "__call__", spied)
    return found


@each_call
def test_kernels_are_given_nothing_unaligned(name, given):
    """Machine code may take it that elements lie where their type wants them."""
    for dtype in FLOATS:
        CALLS[name][2](unaligned(zeros_and_ones(CALLS[name][0]).astype(dtype)))
    assert bool(given) == (name not in WITHOUT_KERNELS)
    assert all(given)


@pytest.mark.parametrize("method", METHODS)
def test_kernels_write_nothing_unaligned(method, given):
    out = unaligned(np.full(GRAD, 12345.0))
    triconv.conv2d(plain(X), plain(WEIGHT), method=method, out=out)
    assert_array_equal(out, triconv.conv2d(plain(X), plain(WEIGHT)))
    assert given
    assert all(given)


# --- other libraries' arrays -------------------------------------------------------------------------


class Exporter:
    """Of someone else's: all that it has is ``__array__``."""

    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return np.array(self.a, dtype)


def frame(a):
    return (pandas.Series if a.ndim == 1 else pandas.DataFrame)(a) if a.ndim <= 2 else a


def mixed_frame(a):
    """Columns of several dtypes."""
    return frame(a).astype(float).astype({0: "float32", 1: "int8"}) if a.ndim == 2 else a


def data_array(a):
    return xarray.DataArray(a, dims=[f"axis {n}" for n in range(a.ndim)])


def as_tuple(a):
    return tuple(a.tolist())


def memory_view(a):
    return memoryview(np.ascontiguousarray(a))


def from_array_module(a):
    return buffer("d", a.tolist()) if a.ndim == 1 else a


@each_call
@pytest.mark.parametrize(
    "kind",
    [
        np.ndarray.tolist,
        as_tuple,
        list,
        memory_view,
        from_array_module,
        Exporter,
        frame,
        mixed_frame,
        data_array,
    ],
)
def test_what_numpy_makes_an_array_of(name, kind):
    for dtype in ("float64", "float32", "int64", "bool"):
        check(name, kind(zeros_and_ones(CALLS[name][0]).astype(dtype)))


@each_call
def test_tensors_of_pytorch(name):
    torch = pytest.importorskip("torch")
    shape, where, call = CALLS[name]
    for dtype in ("float64", "float32", "float16", "complex64", "int8", "bool"):
        tensor = torch.from_numpy(zeros_and_ones(shape).astype(dtype))
        check(name, tensor)
        check(name, tensor.mT.contiguous().mT if tensor.ndim > 1 else tensor)
    for refused in (
        torch.ones(shape, requires_grad=True),
        torch.ones(shape, dtype=torch.bfloat16),
        torch.ones(shape).to_sparse(),
        torch.ones(shape, device="meta"),
    ):
        with pytest.raises(TypeError, match=rf"^{where}: \w+ is not an array: "):
            call(refused)


# --- refusals ----------------------------------------------------------------------------------------

REFUSED = (
    *("longdouble", "clongdouble", ">g", "datetime64[s]", "timedelta64[s]", "U3", "S3", "V3", "O"),
    *([("a", float)], [("a", ">f4", (2,))], np.dtypes.StringDType()),
)


@each_call
@pytest.mark.parametrize("dtype", REFUSED, ids=str)
def test_other_dtypes_are_refused(name, dtype):
    shape, where, call = CALLS[name]
    for given in (np.zeros(shape, dtype), np.broadcast_to(np.zeros((), dtype), shape)):
        with pytest.raises(TypeError, match=rf"^{where}: \w+ has dtype "):
            call(given)


class Frame:
    """Of someone else's: an array with a mask beside it, in which any number is true."""

    def __init__(self, a, mask):
        self.data, self.mask, self.shape = a, mask, a.shape

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype)


def ccd(a, mask):
    """As astronomers keep an image."""
    return nddata.CCDData(a, mask=mask, unit="adu")


def lazily(a, mask):
    """Its mask is known once it is computed."""
    return dask.array.from_array(np.ma.MaskedArray(a, mask))


class MaskedExporter(Exporter):
    """Of someone else's, and NumPy's masked array once NumPy asks."""

    def __init__(self, a, mask):
        super().__init__(np.ma.MaskedArray(a, mask))

    def __array__(self, dtype=None, copy=None):
        return self.a


def nullable(a, mask):
    """pandas' columns of numbers with missing ones; NumPy's mask for what is no table."""
    if a.ndim > 2:
        return np.ma.MaskedArray(a, mask)
    columns = [pandas.array(column, "Float64") for column in np.atleast_2d(a.T)]
    for column, hidden in zip(columns, np.atleast_2d(mask.T), strict=True):
        column[hidden] = pandas.NA
    series = [pandas.Series(column) for column in columns]
    return series[0] if a.ndim == 1 else pandas.concat(series, axis=1)


MASKED = (np.ma.MaskedArray, Masked, ccd, Frame, lazily, MaskedExporter, nullable)


@each_call
@pytest.mark.parametrize("kind", MASKED)
def test_masked_entries_are_refused(name, kind):
    shape, where, call = CALLS[name]
    hidden = np.arange(math.prod(shape)).reshape(shape) == 1
    masked = kind(plain(shape), hidden)
    listed = (list(masked), [list(masked)]) if isinstance(masked, np.ndarray) else ()
    for given in (masked, *listed):
        with pytest.raises(TypeError, match=rf"^{where}: \w+ has masked entries; fill them first"):
            call(given)


@each_call
@pytest.mark.parametrize("kind", MASKED)
def test_a_mask_that_hides_nothing_is_none(name, kind):
    shape = CALLS[name][0]
    if kind is nullable and len(shape) == 2:
        pytest.skip("a table of such columns is one of objects to NumPy")
    check(name, kind(plain(shape), np.zeros(shape, bool)))


def test_masks_are_found_wherever_they_are_kept():
    hidden = np.ma.array(np.ones((3, 3)), mask=np.eye(3, dtype=bool))
    lazy = [dask.array.from_array(row, chunks=3) for row in hidden]
    wrapped = xarray.DataArray(Masked(np.ones((3, 3)), np.eye(3, dtype=bool)))
    floats = Frame(np.ones((3, 3)), np.eye(3))
    kept = [wrapped] if isinstance(wrapped.data, Masked) else []  # older releases of xarray drop it
    for given in (deque(hidden), UserList(list(hidden)), lazy, floats, *kept):
        with pytest.raises(TypeError, match="^pad: x has masked entries; fill them first"):
            triconv.pad(given, 1)
    assert triconv.pad(Frame(np.ones((2, 2)), [[1], [1, 2]]), 0).shape == (2, 2)  # no mask at all


def test_a_masked_number_is_no_int():
    one = np.ma.array(1, mask=True)
    x, weight = plain(X), plain(WEIGHT)
    for call in (
        lambda: triconv.conv2d(x, weight, stride=one),
        lambda: triconv.conv2d(x, weight, stride=(one, 1)),
        lambda: triconv.conv2d(x, weight, padding=one),
        lambda: triconv.conv2d(x, weight, groups=one),
        lambda: triconv.conv2d(x, weight, dilation=Masked(1, True)),
        lambda: triconv.im2col(x, one),
        lambda: triconv.ConvGeometry((5, 5, 2), 3).patch(one, 1),
        lambda: A.svdvals(one),
        lambda: triconv.set_num_threads(one),
    ):
        with pytest.raises(TypeError, match=r": \w+ (expects|has masked entries)"):
            call()
    assert triconv.im2col(x, np.ma.array(2, mask=False)).shape == (20, 8)


def test_words_of_the_refusal():
    for kind, how in ((np.ma.MaskedArray, " (numpy.ma.filled)"), (Masked, ""), (nullable, "")):
        with pytest.raises(TypeError) as caught:
            triconv.pad(kind(np.ones((1, 2)), np.array([[False, True]])), 1)
        assert str(caught.value) == f"pad: x has masked entries; fill them first{how}"


def test_what_is_missing_as_nan_is_a_value():
    for given in (
        pandas.DataFrame([[1.0, np.nan]]),
        pandas.DataFrame([[1.0, np.nan]]).astype(pandas.SparseDtype(float)),
        pandas.Series([1.0, np.nan]).to_frame().T,
    ):
        assert_array_equal(triconv.pad(given, 0), [[1.0, np.nan]])


def test_keywords_and_positions_refuse_masked_entries_too():
    hidden = Masked([1, 1], [False, True])
    for call in (
        lambda: triconv.conv2d(plain(X), plain(WEIGHT), stride=hidden),
        lambda: triconv.conv2d(plain(X), plain(WEIGHT), padding=hidden),
        lambda: triconv.im2col(plain(X), hidden),
        lambda: triconv.ConvGeometry((4, 4, 1), 2).patch_index(hidden, 0, 0),
    ):
        with pytest.raises(TypeError, match="has masked entries; fill them first"):
            call()


@pytest.mark.parametrize("hidden", [False, True])
def test_a_result_is_written_into_no_array_with_a_mask(hidden):
    for out in (np.ma.MaskedArray(plain(GRAD), hidden), Masked(plain(GRAD), hidden)):
        with pytest.raises(TypeError, match=r"^conv2d: out expects a NumPy array, got a Masked"):
            triconv.conv2d(plain(X), plain(WEIGHT), out=out)


@each_call
def test_no_axes_are_refused(name):
    _, where, call = CALLS[name]
    for given in (np.array(1.0), 1.0, np.float32(1)):
        if name.endswith("bias") and type(given) is float:
            given = np.float64(1)
        with pytest.raises(ValueError, match=rf"^{where}: .*(shape|got) \(\)"):
            call(given)


@each_call
def test_what_is_no_array_is_refused(name):
    _, where, call = CALLS[name]
    endless = []
    endless.append(endless)
    for given in ({"a": 1}, {1.0}, object(), iter([1.0]), [[1.0], [1.0, 2.0]], endless, "1", b"1", [[None]]):
        with pytest.raises(TypeError, match=rf"^{where}: \w+ "):
            call(given)


def test_transposes_of_an_operator_refuse_masked_entries_too():
    masked = np.ma.masked_equal(np.arange(80.0), 3)
    for complex_valued in (False, True):
        B = ConvOperator(plain(WEIGHT) * (1j if complex_valued else 1), X)
        for turned in (B.H, B.T, B.T.T.T):
            with pytest.raises(TypeError, match=r"^ConvOperator: x has masked entries"):
                turned @ masked


# --- an empty batch ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in (broadcast, broadcast_rows, windows, matrix)])
def test_an_empty_batch(kind, layout):
    for dtype in ("float32", ">c16", "int8"):
        nothing = kind(np.zeros((0, 5, 6, 2) if layout == "NHWC" else (0, 2, 5, 6), dtype))
        grad = kind(np.zeros((0, 4, 5, 4) if layout == "NHWC" else (0, 4, 4, 5), dtype))
        weight = np.ones(WEIGHT if layout == "NHWC" else (4, 2, 2, 2), "float32")
        out = np.result_type(dtype, "float32").newbyteorder("=")
        for method in METHODS:
            y = triconv.conv2d(nothing, weight, layout=layout, method=method)
            assert (y.shape, y.dtype) == (grad.shape, out)
            back = triconv.conv2d_input_grad(grad, weight, nothing.shape, layout=layout, method=method)
            assert (back.shape, back.dtype) == (nothing.shape, out)
            taps = triconv.conv2d_weight_grad(grad, nothing, 2, layout=layout, method=method)
            assert_array_equal(taps, np.zeros(weight.shape))
            wider = triconv.conv_transpose2d(grad, weight, layout=layout, method=method)
            assert wider.shape == nothing.shape
        columns = triconv.im2col(nothing, 2, layout=layout)
        assert columns.shape == (0, 20, 8)
        assert triconv.col2im(kind(columns), nothing.shape, 2, layout=layout).shape == nothing.shape
        assert triconv.pad(nothing, 1, layout=layout).size == 0


# --- sizes -------------------------------------------------------------------------------------------


@pytest.fixture
def little(monkeypatch):
    """Memory of 256 MiB, none of which a refused call may take."""
    monkeypatch.setattr(memory, "available", lambda: 256 << 20)
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


HUGE = (10**10, 2**31, 2**63 - 1, 2**63, 2**70)
SIZED = {
    "conv2d": lambda **k: triconv.conv2d(plain(X), plain(WEIGHT), **k),
    "plan": lambda **k: triconv.plan(plain(WEIGHT), X, **k)(plain(X)),
    "ConvOperator": lambda **k: ConvOperator(plain(WEIGHT), X, **k).H.shape,
    "conv_matrix": lambda **k: triconv.conv_matrix(plain(WEIGHT), X, **k),
    "im2col": lambda **k: triconv.im2col(plain(X), 2, **k),
    "compare": lambda **k: triconv.compare(plain(X), plain(WEIGHT), repeat=1, **k),
    "conv2d_input_grad": lambda **k: triconv.conv2d_input_grad(seen(**k), plain(WEIGHT), X, **k),
    "conv2d_weight_grad": lambda **k: triconv.conv2d_weight_grad(seen(**k), plain(X), 2, **k),
    "conv_transpose2d": lambda **k: triconv.conv_transpose2d(plain(GRAD), plain(WEIGHT), **k),
    "col2im": lambda **k: triconv.col2im(plain((20, 8)), X, 2, **k),
    "Conv2d": lambda **k: Conv2d(2, 4, 2, rng=0, **k)(plain(X)),
    "ConvGeometry": lambda **k: triconv.ConvGeometry(X, 2, 4, **k).row(0, 0, 0),
    "pad": lambda **k: triconv.pad(plain(X), **k),
}


SPACED = {"stride", "padding", "dilation"}
KEYWORDS = {name: SPACED | {"groups", "padding_mode"} for name in SIZED} | {
    "conv_matrix": SPACED | {"groups", "padding_mode", "padded"},
    "im2col": SPACED | {"padding_mode"},
    "col2im": SPACED | {"padding_mode"},
    "conv_transpose2d": SPACED | {"groups", "output_padding"},
    "ConvGeometry": SPACED | {"groups"},
    "pad": {"padding", "padding_mode"},
}


def seen(**keywords):
    """A gradient of the right shape where it is a small one."""
    keywords = {name: value for name, value in keywords.items() if name in ("stride", "padding", "dilation")}
    try:
        shape = triconv.ConvGeometry(X, 2, 4, **keywords).output_shape
    except ValueError:
        return plain(GRAD)
    return np.ones(shape) if max(shape) < 10 else plain(GRAD)


def refused_or_right(where, call):
    """Run; an error must be one of the library's own, by its own name."""
    try:
        call()
    except (ValueError, MemoryError) as error:
        if type(error) not in (ValueError, MemoryError) or not str(error).startswith(
            (f"{where}: ", f"{where}.")
        ):
            raise


@pytest.mark.parametrize("where", SIZED)
@pytest.mark.usefixtures("little")
def test_huge_keywords_are_taken_or_refused_in_words(where):
    for n in HUGE:
        sides = ((0, n), (0, 0))
        for keywords in (
            *({"padding": n}, {"padding": sides}, {"padding": sides[::-1]}, {"padding": ((n, n), (n, n))}),
            *({"stride": n}, {"dilation": n}, {"stride": n, "padding": n}, {"stride": (1, n), "padding": n}),
            *({"dilation": n, "padding": "full"}, {"dilation": n, "padding": "full", "stride": n}),
            *({"stride": n, "padding": "same"}, {"dilation": n, "padding": "same"}),
            *({"padding": n, "padding_mode": mode} for mode in ("reflect", "replicate", "circular")),
            *({"stride": n, "padding": n, "padding_mode": mode} for mode in ("replicate", "circular")),
            *(
                {"groups": n},
                {"output_padding": n},
                {"stride": n, "output_padding": n - 1},
            ),
            *({"padded": True, "stride": n}, {"padded": True, "stride": n, "padding": n}),
        ):
            methods = METHODS if where in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad") else (None,)
            for method in methods:
                chosen = {"method": method} if method else {}
                if keywords.keys() <= KEYWORDS[where]:
                    refused_or_right(where, lambda k=keywords | chosen: SIZED[where](**k))


@pytest.mark.parametrize("method", METHODS)
def test_steps_that_no_one_takes_may_be_of_any_size(method):
    """A stride to the next of one output, and the dilation of one tap."""
    x, weight, one = plain(X), plain(WEIGHT), plain((4, 1, 1, 2))
    y = triconv.conv2d(x, weight, stride=9, method=method)
    assert_array_equal(triconv.conv2d(x, weight, stride=2**70, method=method), y)
    assert_array_equal(
        triconv.conv2d(x, one, dilation=2**70, method=method), triconv.conv2d(x, one, method=method)
    )
    for function, *arrays in (
        (triconv.conv2d_input_grad, y, weight, X),
        (triconv.conv2d_weight_grad, y, x, 2),
    ):
        assert_array_equal(
            function(*arrays, stride=2**70, method=method), function(*arrays, stride=9, method=method)
        )
    wide, narrow = (ConvOperator(weight, X, stride=s, method=method) for s in (2**70, 9))
    assert_array_equal(wide @ plain((60,)), narrow @ plain((60,)))
    assert_array_equal(wide.H @ plain((4,)), narrow.H @ plain((4,)))
    assert wide.norm() == narrow.norm()
    for padded in (False, True):
        W, V = (triconv.conv_matrix(weight, X, stride=s, padding=1, padded=padded) for s in (2**70, 9))
        assert W.shape == V.shape
        assert_array_equal(W.toarray(), V.toarray())
    columns = triconv.im2col(x, 2, stride=9)
    assert_array_equal(triconv.im2col(x, 2, stride=2**70), columns)
    assert_array_equal(triconv.col2im(columns, X, 2, stride=2**70), triconv.col2im(columns, X, 2, stride=9))


def zero_strides(*shape, dtype="float64"):
    return np.broadcast_to(np.zeros((), dtype), shape)


N = 2**20
COPIES = {
    **{
        f"conv2d x by {method}, {dtype}": (
            "conv2d",
            lambda m=method, d=dtype: triconv.conv2d(
                zero_strides(N, N, dtype=d), np.ones((1, 1)), stride=N, method=m
            ),
        )
        for method in METHODS
        for dtype in ("float64", ">f8", "int8")
    },
    "conv2d weight": (
        "conv2d",
        lambda: triconv.conv2d(
            zero_strides(3, 3, N, dtype="float32"), zero_strides(N, 3, 3, N, dtype="float32"), method="direct"
        ),
    ),
    "plan weight": (
        "plan",
        lambda: triconv.plan(zero_strides(N, 3, 3, N, dtype=">f8"), (3, 3, N), method="direct"),
    ),
    "plan x": (
        "ConvPlan",
        lambda: triconv.plan(np.ones((1, 1)), (N, N), stride=N, method="direct")(zero_strides(N, N)),
    ),
    "layer x": (
        "Conv2d",
        lambda: Conv2d(1, 1, 1, stride=N)(zero_strides(N, N, 1)),
    ),
    "input_grad grad": (
        "conv2d_input_grad",
        lambda: triconv.conv2d_input_grad(
            zero_strides(1024, 1024, N), np.ones((N, 1, 1, 1)), (1024, 1024, 1), method="direct"
        ),
    ),
    "input_grad weight": (
        "conv2d_input_grad",
        lambda: triconv.conv2d_input_grad(
            zero_strides(1, 1, N), zero_strides(N, 3, 3, 1024, dtype="complex128"), (3, 3, 1024)
        ),
    ),
    "weight_grad x": (
        "conv2d_weight_grad",
        lambda: triconv.conv2d_weight_grad(np.ones((1, 1)), zero_strides(N, N), 1, stride=N),
    ),
    "transpose x": (
        "conv_transpose2d",
        lambda: triconv.conv_transpose2d(
            zero_strides(N, N), np.ones((1, 1)), padding=N // 2 - 1, method="direct"
        ),
    ),
    "im2col x": (
        "im2col",
        lambda: triconv.im2col(zero_strides(N, N), 1, stride=N),
    ),
    "col2im cols": (
        "col2im",
        lambda: triconv.col2im(zero_strides(1, N * N), (1, 1), N, padding=((0, N - 1), (0, N - 1))),
    ),
    "pad x": (
        "pad",
        lambda: triconv.pad(zero_strides(N, N, dtype=">f8"), 0),
    ),
    "flatten_weight": (
        "flatten_weight",
        lambda: triconv.flatten_weight(zero_strides(N, N, dtype=">f8")),
    ),
    "operator weight": (
        "ConvOperator",
        lambda: ConvOperator(zero_strides(N, 3, 3, N), (3, 3, N)),
    ),
    "operator @": (
        "ConvOperator",
        lambda: ConvOperator(np.ones((1, 1)), (N, N), stride=N) @ zero_strides(N * N),
    ),
    "operator vec": (
        "ConvOperator.vec",
        lambda: ConvOperator(np.ones((1, 1)), (N, N)).vec(zero_strides(N, N)),
    ),
    "compare": (
        "compare",
        lambda: triconv.compare(zero_strides(N, N), np.ones((1, 1)), stride=N),
    ),
    "a batch past 64 bits": (
        "plan",
        lambda: triconv.plan(plain(WEIGHT), (2**70, *X)),
    ),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_that_would_not_fit_is_refused_before_it_is_made(name, monkeypatch):
    where, call = COPIES[name]
    monkeypatch.setattr(memory, "available", lambda: 1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(MemoryError) as caught:
            call()
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()
    assert type(caught.value) is MemoryError
    reasons = r" needs [\d.]+ .iB, 1 GiB are available| elements, more than 64 bits"
    assert re.match(rf"{where}: .*({reasons})", str(caught.value))


# --- out ---------------------------------------------------------------------------------------------

ERRORS = {
    "dtype of x": {"x": np.ones(X, "longdouble")},
    "dtype of weight": {"weight": np.ones(WEIGHT, "O")},
    "dtype of bias": {"bias": np.ones(4, "longdouble")},
    "masked x": {"x": np.ma.masked_equal(np.arange(60.0).reshape(X), 3)},
    "masked bias": {"bias": np.ma.masked_equal(np.arange(4.0), 3)},
    "shape of x": {"x": np.ones((5, 6, 3))},
    "shape of weight": {"weight": np.ones((4, 2, 2, 3))},
    "shape of bias": {"bias": np.ones(5)},
    "ragged": {"x": [[1.0], [1.0, 2.0]]},
    **{
        f"{name}={value!r}": {name: value}
        for name, values in {
            "stride": (0, 1.0, None, 2**70),
            "padding": (-1, "SAME", True, 2**70),
            "dilation": (0, "2", 9),
            "groups": (3, 0, True),
            "padding_mode": ("mirror", 1),
            "layout": ("HWC", None),
            "method": ("fft", 0),
        }.items()
        for value in values
    },
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_leaves_out_and_inputs_as_they_were(name):
    given = {"x": plain(X), "weight": plain(WEIGHT), "bias": np.ones(4)} | ERRORS[name]
    held = {key: np.array(value) for key, value in given.items() if isinstance(value, np.ndarray)}
    out = np.full(GRAD, 12345.0)
    with pytest.raises((ValueError, TypeError, MemoryError), match=r"^conv2d: "):
        triconv.conv2d(**given, out=out)
    assert (out == 12345).all()
    for key, before in held.items():
        assert_array_equal(np.asarray(given[key]), before)


@pytest.mark.parametrize("method", METHODS)
def test_an_error_of_memory_leaves_out_as_it_was(method, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1 << 20)
    monkeypatch.setattr(memory, "SMALL", 0)
    out = np.full((256, 256), 12345.0)
    x = np.broadcast_to(1.0, (256, 1024))
    with pytest.raises(MemoryError, match=r"^conv2d: (a copy of x|W of shape)"):
        triconv.conv2d(x, np.ones((1, 1)), stride=(1, 4), out=out, method=method)
    made = triconv.plan(np.ones((1, 1)), x.shape, stride=(1, 4), method="direct")
    with pytest.raises(MemoryError, match=r"^ConvPlan: a copy of x"):
        made(x, out=out)
    assert (out == 12345).all()


@pytest.mark.parametrize(
    "x",
    [np.ones(IMAGE), np.ones(X, "complex128"), np.ones(X, "O"), np.ma.masked_equal(np.ones(X), 1), None],
    ids=["shape", "wider", "dtype", "masked", "nothing"],
)
def test_an_error_of_a_plan_leaves_out_as_it_was(x):
    out = np.full(GRAD, 12345.0)
    with pytest.raises((ValueError, TypeError), match=r"^ConvPlan: x "):
        triconv.plan(plain(WEIGHT), X)(x, out=out)
    assert (out == 12345).all()


@pytest.mark.parametrize("part", ["x", "the same x"])
def test_out_of_a_plan_may_not_share_memory_with_what_was_given(part):
    """Also where the plan reads a copy of it."""
    made = triconv.plan(np.ones((1, 1)), IMAGE)
    held = np.ones(IMAGE)
    x = held if part == "x" else held.view(Subclass)
    with pytest.raises(ValueError, match=r"^ConvPlan: out shares memory"):
        made(x, out=held)
    assert (held == 1).all()

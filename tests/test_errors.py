"""What is refused: whole messages, and for every argument of every function the contract's error type."""

import inspect
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from strategies import METHODS

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
from triconv.runtime import memory

pytestmark = pytest.mark.cheap

x = np.ones((5, 6, 2))
weight = np.ones((3, 2, 2, 2))
grad = np.ones((4, 5, 3))

# Valid arguments of every function: one of them is replaced by a bad one at a time.
VALID = {
    conv2d: {"x": x, "weight": weight},
    im2col: {"x": x, "kernel_size": 2},
    pad: {"x": x, "padding": 1},
    flatten_weight: {"weight": weight},
    conv_matrix: {"weight": weight, "input_shape": (5, 6, 2)},
    plan: {"weight": weight, "input_shape": (5, 6, 2)},
    ConvGeometry: {"input_shape": (5, 6, 2), "kernel_size": 2, "out_channels": 4},
    Conv2d: {"in_channels": 2, "out_channels": 4, "kernel_size": 2},
    triconv.compare: {"x": x, "weight": weight, "repeat": 1},
    conv2d_input_grad: {"grad": grad, "weight": weight, "input_shape": (5, 6, 2)},
    conv2d_weight_grad: {"grad": grad, "x": x, "kernel_size": 2},
    conv_transpose2d: {"x": np.ones((4, 5, 4)), "weight": np.ones((4, 2, 2, 2))},
    col2im: {"cols": np.ones((20, 8)), "input_shape": (5, 6, 2), "kernel_size": 2},
    ConvOperator: {"weight": weight, "input_shape": (5, 6, 2)},
}
VALUE, TYPE = ValueError, TypeError

not_ints = (
    1.0,
    np.float64(2),
    True,
    np.True_,
    "2",
    b"2",
    None,
    1j,
    Decimal(1),
    Fraction(1),
    float("nan"),
    object(),
)
not_pairs = (
    (1, 2.0),
    (True, 1),
    [1, "2"],
    (1, None),
    {1: 2},
    {1, 2},
    np.array([1.0, 2.0]),
    (x for x in (1, 2)),
)
positive_pairs = [
    *(
        (value, VALUE)
        for value in (0, -1, np.int64(-3), (1, 0), (-2, 1), (), (1,), (1, 2, 3), np.ones((2, 2), int))
    ),
    *((value, TYPE) for value in (*not_ints, *not_pairs)),
]
shapes = [
    *((value, VALUE) for value in ((), (5,), (5, 6, -2), (-5, 6, 2), (1, 2, 5, 6, 2), x)),
    *((value, TYPE) for value in (5, None, "562", (5.0, 6, 2), (True, 6, 2), (float("nan"), 6, 2))),
]
words = [
    *((value, VALUE) for value in ("", "mirror", "no such word")),
    *((value, TYPE) for value in (None, 1, b"zeros", ["NHWC"])),
]
arrays = [
    ("abc", TYPE),
    (None, TYPE),
    ({"a": 1}, TYPE),
    (object(), TYPE),
    ([[1.0, None]], TYPE),
    ([[1.0, 2.0], [3.0]], TYPE),
    (np.ones((5, 6, 2), object), TYPE),
    (np.ones((5, 6, 2), "longdouble"), TYPE),
    (np.ones((5, 6, 2), "clongdouble"), TYPE),
    (np.ones((5, 6, 2), "datetime64[s]"), TYPE),
    (np.ones((5, 6, 2), "timedelta64[s]"), TYPE),
    (np.ones((5, 6, 2), "U3"), TYPE),
    (np.ones((5, 6, 2), [("a", float)]), TYPE),
    (np.ma.MaskedArray(np.ones((5, 6, 2)), np.arange(60).reshape(5, 6, 2) == 7), TYPE),
]
BAD = {
    "stride": positive_pairs,
    "dilation": positive_pairs,
    "kernel_size": positive_pairs,
    "padding": [
        *(
            (value, VALUE)
            for value in (-1, (0, -1), ((0, -1), (0, 0)), "SAME", "reflect", "", (), (1,), (1, 2, 3))
        ),
        *(
            (value, VALUE)
            for value in (((1, 2), (3,)), ((1, 2),), ((1, 2), (3, 4), (5, 6)), ((1, 2, 3), (4, 5, 6)))
        ),
        *(
            (value, TYPE)
            for value in (1.0, True, np.float64(2), None, b"same", 1j, Decimal(1), float("nan"), object())
        ),
        *(
            (value, TYPE)
            for value in ((1, 2.0), (True, 1), ((1, 2.0), (0, 0)), ((True, 0), (0, 0)), {1, 2}, {1: 2})
        ),
    ],
    "padding_mode": words,
    "layout": [*words, ("nhwc", VALUE), ("HWC", VALUE)],
    "method": [*words, ("fft", VALUE), ("DIRECT", VALUE)],
    "order": [*words, ("A", VALUE), ("K", VALUE), ("f", VALUE)],
    "groups": [
        *((value, VALUE) for value in (0, -1, 3, 2**70)),
        *((value, TYPE) for value in (*not_ints, (1, 1))),
    ],
    "out_channels": [
        *((value, VALUE) for value in (0, -1)),
        *((value, TYPE) for value in (*not_ints, (1, 1))),
    ],
    "input_shape": shapes,
    "dtype": [
        (value, TYPE)
        for value in ("no dtype", object, "U3", "longdouble", "clongdouble", "datetime64[s]", 3, [1])
    ],
    "repeat": [(0, VALUE), (-1, VALUE), *((value, TYPE) for value in not_ints)],
    "methods": [(("direct", "fft"), VALUE), (("direct", None), TYPE), (3, TYPE), (None, TYPE)],
    "x": [
        *arrays,
        *((np.ones(shape), VALUE) for shape in ((), (5,), (1, 2, 5, 6, 2))),
    ],
    "weight": [*arrays, *((np.ones(shape), VALUE) for shape in ((), (2,), (2, 2, 2), (1, 3, 2, 2, 2)))],
    "bias": [*arrays[:1], *arrays[2:]],
}
BAD["in_channels"] = BAD["out_channels"]
BAD["rng"] = [
    (-1, VALUE),
    ([1, -2], VALUE),
    *((value, TYPE) for value in (1.0, True, "seed", [1.5], object())),
]
BAD["weight"] += [
    (np.ones(shape), VALUE) for shape in ((0, 2, 2, 2), (3, 0, 2, 2), (3, 2, 0, 2), (3, 2, 2, 0), (0, 2))
]
BAD["grad"] = [*arrays, *((np.ones(shape), VALUE) for shape in ((), (4,), (4, 6, 3), (1, 4, 5, 3)))]
BAD["cols"] = [*arrays, *((np.ones(shape), VALUE) for shape in ((), (20,), (8, 20), (1, 20, 8)))]
BAD["output_padding"] = [(-1, VALUE), (1, VALUE), ((0, 2**70), VALUE), *((value, TYPE) for value in not_ints)]
BAD["padded"] = [(value, TYPE) for value in (0, 1, None, "no", [True])]
_conv = (conv2d, plan, triconv.compare, conv_matrix, ConvOperator, conv2d_input_grad, conv2d_weight_grad)
_patches = (im2col, col2im)
_all = (*_conv, *_patches, conv_transpose2d, Conv2d)
TAKEN = {
    "stride": (*_all, ConvGeometry),
    "dilation": (*_all, ConvGeometry),
    "kernel_size": (*_patches, conv2d_weight_grad, ConvGeometry, Conv2d),
    "padding": (*_all, pad, ConvGeometry),
    "output_padding": (conv_transpose2d,),
    "padding_mode": (*_conv, *_patches, pad, Conv2d),
    "layout": (*_all, pad, flatten_weight),
    "method": (conv2d, plan, conv2d_input_grad, conv2d_weight_grad, conv_transpose2d, ConvOperator, Conv2d),
    "order": (conv_matrix, ConvOperator),
    "padded": (conv_matrix,),
    "groups": (*_conv, conv_transpose2d, ConvGeometry, Conv2d),
    "in_channels": (Conv2d,),
    "out_channels": (ConvGeometry, Conv2d),
    "input_shape": (conv_matrix, plan, ConvOperator, conv2d_input_grad, col2im, ConvGeometry),
    "dtype": (conv_matrix, plan, Conv2d),
    "rng": (Conv2d,),
    "repeat": (triconv.compare,),
    "methods": (triconv.compare,),
    "x": (conv2d, im2col, pad, triconv.compare, conv2d_weight_grad, conv_transpose2d),
    "grad": (conv2d_input_grad, conv2d_weight_grad),
    "cols": (col2im,),
    "weight": (*_conv[:-1], flatten_weight, conv_transpose2d),
    "bias": (conv2d, plan, triconv.compare, conv_transpose2d),
}
CASES = [
    pytest.param(function, name, value, error, id=f"{function.__name__}-{name}-{n}")
    for name, functions in TAKEN.items()
    for function in functions
    for n, (value, error) in enumerate(BAD[name])
]


@pytest.mark.parametrize("function", VALID, ids=lambda function: function.__name__)
def test_the_calls_below_are_valid_but_for_one_argument(function):
    function(**VALID[function])


@pytest.mark.parametrize(("function", "name", "value", "error"), CASES)
def test_a_bad_argument_is_refused_by_name(function, name, value, error):
    with pytest.raises(error, match=rf"^{function.__name__}: .*\b{name}\b") as caught:
        function(**VALID[function] | {name: value})
    assert type(caught.value) is error
    message = str(caught.value)
    assert "numba" not in message.lower()
    assert message.count("\n") <= 1
    assert len(message) < 300


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "name", ["stride", "padding", "dilation", "groups", "padding_mode", "layout", "x", "weight", "bias"]
)
def test_every_method_refuses_alike(name, method):
    for value, error in BAD[name]:
        with pytest.raises(error) as alone:
            conv2d(**VALID[conv2d] | {name: value})
        with pytest.raises(error) as caught:
            conv2d(**VALID[conv2d] | {name: value}, method=method)
        assert str(caught.value) == str(alone.value)


def zeros(*shape):
    return np.zeros(shape)


MESSAGES = {
    "channels": (
        lambda: conv2d(zeros(5, 5, 6), zeros(3, 2, 2, 4)),
        ValueError,
        "conv2d: weight expects 4 input channels per group, x has 6 (layout='NHWC', groups=1)",
    ),
    "channels of groups": (
        lambda: conv2d(zeros(6, 5, 5), zeros(4, 6, 2, 2), groups=2, layout="NCHW"),
        ValueError,
        "conv2d: weight expects 6 input channels per group, x has 6 (layout='NCHW', groups=2)",
    ),
    "groups": (
        lambda: conv2d(zeros(5, 5, 4), zeros(3, 2, 2, 2), groups=2),
        ValueError,
        "conv2d: groups expects a divisor of the 3 filters, got 2",
    ),
    "groups of a geometry": (
        lambda: ConvGeometry((5, 5, 4), 2, 3, groups=2),
        ValueError,
        "ConvGeometry: groups expects a divisor of C_in and C_out, got 2 for C_in=4, C_out=3",
    ),
    "axes of x": (
        lambda: conv2d(zeros(5), zeros(2, 2)),
        ValueError,
        "conv2d: x expects (H, W) or (H, W, C) or (N, H, W, C), got shape (5,) (layout='NHWC')",
    ),
    "axes of weight": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2, 2)),
        ValueError,
        (
            "conv2d: weight expects (C_out, k_h, k_w, C_in / groups) or (k_h, k_w), "
            "got shape (2, 2, 2) (layout='NHWC')"
        ),
    ),
    "axes of weight in the other layout": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2, 2), layout="NCHW"),
        ValueError,
        (
            "conv2d: weight expects (C_out, C_in / groups, k_h, k_w) or (k_h, k_w), "
            "got shape (2, 2, 2) (layout='NCHW')"
        ),
    ),
    "a 2-D weight": (
        lambda: conv2d(zeros(5, 5, 1), zeros(2, 2)),
        ValueError,
        "conv2d: a 2-D weight expects a 2-D x, got shape (5, 5, 1)",
    ),
    "an empty kernel": (
        lambda: conv2d(zeros(5, 5, 2), zeros(3, 0, 2, 2)),
        ValueError,
        "conv2d: weight expects at least one filter and no empty axis, got shape (3, 0, 2, 2)",
    ),
    "bias": (
        lambda: conv2d(zeros(5, 5, 2), zeros(3, 2, 2, 2), zeros(4)),
        ValueError,
        "conv2d: bias expects shape (3,), got shape (4,)",
    ),
    "bias of one filter": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2), zeros(2)),
        ValueError,
        "conv2d: bias expects a scalar or shape (1,), got shape (2,)",
    ),
    "an empty output": (
        lambda: conv2d(zeros(5, 6), zeros(3, 3), padding=((1, 0), (0, 0)), dilation=3),
        ValueError,
        "conv2d: kernel_size reaches over 7 of the padded height 6 (1 + 5 + 0); the output would be empty",
    ),
    "no channels": (
        lambda: im2col(zeros(5, 5, 0), 2),
        ValueError,
        "im2col: x expects at least 1 channel, got 0 (layout='NHWC')",
    ),
    "a bias of a plan": (
        lambda: plan(zeros(3, 2, 2, 2), (5, 5, 2), zeros(4)),
        ValueError,
        "plan: bias expects shape (3,), got shape (4,)",
    ),
    "an input shape of a plan": (
        lambda: plan(zeros(2, 2), 5),
        TypeError,
        "plan: input_shape expects a sequence of ints, the full shape of x, got 5",
    ),
    "an x of a plan that is no array": (
        lambda: plan(zeros(3, 3), (5, 6))(None),
        TypeError,
        (
            "ConvPlan: x has dtype object, expected bool, an integer, float16, float32, float64, complex64 "
            "or complex128"
        ),
    ),
    "a geometry of a number": (
        lambda: ConvGeometry(5, 2),
        TypeError,
        "ConvGeometry: input_shape expects (H, W, C), got 5",
    ),
    "a geometry of no channels": (
        lambda: ConvGeometry((5, 5, 0), 2),
        ValueError,
        "ConvGeometry: the input expects at least 1 channel, got 0",
    ),
    "an empty width": (
        lambda: im2col(zeros(5, 0, 2), (1, 1)),
        ValueError,
        "im2col: kernel_size reaches over 1 of the padded width 0 (0 + 0 + 0); the output would be empty",
    ),
    "reflect": (
        lambda: conv2d(zeros(3, 9), zeros(3, 3), padding=4, padding_mode="reflect"),
        ValueError,
        "conv2d: padding: reflect needs at most 2 rows for height 3, got 4",
    ),
    "reflect, columns": (
        lambda: pad(zeros(9, 3), ((0, 0), (0, 3)), padding_mode="reflect"),
        ValueError,
        "pad: padding: reflect needs at most 2 columns for width 3, got 3",
    ),
    "stride": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2), stride=(1, 0)),
        ValueError,
        "conv2d: stride expects at least 1, got 0",
    ),
    "stride as a float": (
        lambda: im2col(zeros(5, 5), 2, stride=1.0),
        TypeError,
        "im2col: stride expects an int or (h, w), got 1.0",
    ),
    "stride as a bool": (
        lambda: conv_matrix(zeros(2, 2), (5, 5), stride=True),
        TypeError,
        "conv_matrix: stride expects an int or (h, w), got True",
    ),
    "stride of three": (
        lambda: plan(zeros(2, 2), (5, 5), stride=(1, 2, 3)),
        ValueError,
        "plan: stride expects an int or (h, w), got 3 values",
    ),
    "padding": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2), padding=-1),
        ValueError,
        "conv2d: padding expects at least 0, got -1",
    ),
    "padding by an unknown word": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2), padding="SAME"),
        ValueError,
        "conv2d: padding expects one of 'valid', 'same', 'same_lower', 'full', got 'SAME'",
    ),
    "padding as a float": (
        lambda: ConvGeometry((5, 5, 1), 2, padding=0.5),
        TypeError,
        "ConvGeometry: padding expects an int, (h, w), ((top, bottom), (left, right)) or a word, got 0.5",
    ),
    "pad without a kernel": (
        lambda: pad(zeros(5, 5), "same"),
        ValueError,
        "pad: padding 'same' needs a kernel; give numbers",
    ),
    "padding mode": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2), padding_mode="mirror"),
        ValueError,
        (
            "conv2d: padding_mode expects one of 'zeros', 'reflect', 'replicate', 'circular', "
            "'constant', 'edge', 'wrap', got 'mirror'"
        ),
    ),
    "layout": (
        lambda: flatten_weight(zeros(3, 2, 2, 2), layout="HWC"),
        ValueError,
        "flatten_weight: layout expects one of 'NHWC', 'NCHW', got 'HWC'",
    ),
    "method": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2), method="fft"),
        ValueError,
        "conv2d: method expects one of 'auto', 'direct', 'im2col', 'matrix', got 'fft'",
    ),
    "order": (
        lambda: conv_matrix(zeros(2, 2), (5, 5), order="A"),
        ValueError,
        "conv_matrix: order expects one of 'F', 'C', got 'A'",
    ),
    "dtype of x": (
        lambda: conv2d(np.array([["a"]]), zeros(1, 1)),
        TypeError,
        (
            "conv2d: x has dtype <U1, "
            "expected bool, an integer, float16, float32, float64, complex64 or complex128"
        ),
    ),
    "masked entries": (
        lambda: pad(np.ma.masked_equal([[1.0, 2.0]], 2), 1),
        TypeError,
        "pad: x has masked entries; fill them first (numpy.ma.filled)",
    ),
    "dtype of out": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2), out=np.zeros((4, 4), "float32")),
        TypeError,
        "conv2d: out expects dtype float64, got float32",
    ),
    "shape of out": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2), out=zeros(4, 5)),
        ValueError,
        "conv2d: out expects shape (4, 4), got (4, 5)",
    ),
    "out that is no array": (
        lambda: conv2d(zeros(5, 5), zeros(2, 2), out=[0.0]),
        TypeError,
        "conv2d: out expects a NumPy array, got a list",
    ),
    "an output position": (
        lambda: ConvGeometry((5, 5, 1), 2).patch(4, 0),
        ValueError,
        "ConvGeometry.patch: i expects less than 4, got 4",
    ),
    "an index": (
        lambda: ConvGeometry((5, 5, 1), 2).padded_index(0, [0, 5], 0),
        ValueError,
        "ConvGeometry.padded_index: c expects 0 to 4, got 0 to 5",
    ),
    "threads": (
        lambda: triconv.set_num_threads(0),
        ValueError,
        "set_num_threads: n expects at least 1, got 0",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_whole_message(name):
    call, error, message = MESSAGES[name]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value) == message


geometry = ConvGeometry((5, 6, 2), (2, 3), 4, stride=2)
POSITIONS = {
    geometry.patch: (1, 1),
    geometry.patches_containing: (4, 5),
    geometry.row: (1, 1, 3),
    geometry.patch_index: (1, 2, 1),
    geometry.padded_index: (4, 5, 1),
    geometry.output_index: (1, 1, 3),
    geometry.padded_position: (59,),
    geometry.output_position: (15,),
}


@pytest.mark.parametrize("method", POSITIONS, ids=lambda method: method.__name__)
def test_positions_outside_are_refused(method):
    """The last valid position on every axis, and one past it, before it and of another type."""
    last = POSITIONS[method]
    method(*last)
    names = list(inspect.signature(method).parameters)
    for n, value in enumerate(last):
        words = rf"^ConvGeometry\.{method.__name__}: {names[n]} expects "
        for bad, error in (
            (value + 1, VALUE),
            (-1, VALUE),
            (2**62, VALUE),
            (2**70, VALUE),
            (1.0, TYPE),
            (True, TYPE),
            ("0", TYPE),
            (None, TYPE),
        ):
            with pytest.raises(error, match=words):
                method(*last[:n], bad, *last[n + 1 :])
        if "index" in method.__name__ or "position" in method.__name__:
            for bad, error in (([0, value + 1], VALUE), ([-1, 0], VALUE), ([0.5], TYPE), ([True], TYPE)):
                with pytest.raises(error, match=words):
                    method(*last[:n], bad, *last[n + 1 :])


@pytest.mark.parametrize(
    "large",
    [
        ConvGeometry((2**32, 2**31), 1, stride=2**30),
        ConvGeometry((1, 1), 1, 2**63),
    ],
    ids=["padded input", "output"],
)
@pytest.mark.parametrize("method", list(POSITIONS)[1:], ids=lambda method: method.__name__)
def test_positions_that_need_more_than_64_bits_are_refused(method, large):
    with pytest.raises(ValueError) as caught:
        getattr(large, method.__name__)(*(0 for _ in POSITIONS[method]))
    name = f"ConvGeometry.{method.__name__}"
    assert str(caught.value) == f"{name}: positions in arrays of this size need more than 64 bits"


@pytest.mark.parametrize(
    ("call", "entries"),
    [
        (lambda: geometry.row(0, 0, 0), 2 * 3 * 2),
        (lambda: geometry.patches_containing(0, 0), 2 * 2),
    ],
)
def test_a_list_of_positions_that_would_not_fit_is_refused(call, entries, monkeypatch):
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: 1)
    words = rf"^ConvGeometry\.(row|patches_containing): a list of up to {entries} entries needs "
    with pytest.raises(MemoryError, match=words):
        call()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "keywords"),
    [
        ((5, 6), (6, 6), {}),
        ((5, 6), (2, 7), {}),
        ((5, 6), (2, 2), {"dilation": 5}),
        ((0, 6), (1, 1), {}),
        ((3, 0), (1, 1), {"padding": "same"}),
        ((5, 6, 2), (3, 6, 2, 2), {}),
        ((0, 5, 6, 2), (3, 6, 2, 2), {}),
    ],
)
def test_an_empty_output_is_refused(x_shape, weight_shape, keywords, method):
    with pytest.raises(ValueError, match=r"^conv2d: "):
        conv2d(zeros(*x_shape), zeros(*weight_shape), method=method, **keywords)


@pytest.mark.parametrize(
    "call",
    [
        lambda: pad(zeros(2, 2), 2**20),
        lambda: pad(zeros(2, 2), 2**70),
        lambda: conv2d(zeros(2, 2), zeros(1, 1), padding=2**20),
        lambda: conv2d(np.broadcast_to(0.0, (2**22, 2**22)), zeros(1, 1)),
        lambda: im2col(np.broadcast_to(0.0, (2**16, 2**16)), 2**10),
    ],
)
def test_a_result_that_fits_in_no_memory(call):
    with pytest.raises((MemoryError, ValueError)):
        call()


def test_complex_numbers_do_not_become_real_ones():
    with pytest.raises(TypeError, match=r"^conv_matrix: dtype "):
        conv_matrix(np.ones((2, 2), complex), (5, 5), dtype="float64")
    with pytest.raises(TypeError, match=r"^plan: dtype "):
        plan(np.ones((2, 2), complex), (5, 5), dtype="float64")

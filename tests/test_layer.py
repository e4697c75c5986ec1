"""The layer: its call and gradients are the functions', and its parameters start and change as promised."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from strategies import EDGE_PROBLEMS, FLOATS, LAYOUTS, METHODS, Problem

from triconv import Conv2d, conv2d, conv2d_input_grad, conv2d_weight_grad

KEYWORDS = {
    "plain": Problem((7, 8), (3, 2), 2, 3),
    "strides": Problem((9, 8), (3, 3), 2, 4, (2, 3), 1, (1, 2), batch=2),
    "groups": Problem((7, 8), (3, 3), 4, 6, padding="same", groups=2, batch=3),
    "reflect": Problem((7, 8), (3, 3), 2, 3, padding=((1, 2), (0, 1)), padding_mode="reflect", batch=2),
    "circular": Problem((5, 6), (3, 4), 2, 3, stride=2, padding="same", padding_mode="wrap", batch=2),
    "image": EDGE_PROBLEMS["image"],
    "empty batch": EDGE_PROBLEMS["empty batch"],
}


def made(problem, dtype="float64", **keywords):
    """A layer of this problem, and what it is to be called with."""
    keywords = problem.keywords | {"dtype": dtype, "rng": 1} | keywords
    layer = Conv2d(problem.in_channels, problem.out_channels, problem.kernel_size, **keywords)
    return layer, problem.of(dtype).floats()[0]


def like(y, seed=2):
    """A gradient for this output."""
    rng = np.random.default_rng(seed)
    grad = rng.standard_normal(y.shape)
    return (grad + 1j * rng.standard_normal(y.shape) if y.dtype.kind == "c" else grad).astype(y.dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", KEYWORDS)
def test_is_the_functions(name, dtype, layout):
    problem = replace(KEYWORDS[name], layout=layout)
    layer, x = made(problem, dtype)
    assert layer.weight.shape == problem.weight_shape
    assert layer.bias.shape == problem.bias_shape
    assert layer.weight_grad is None
    assert layer.bias_grad is None
    y = layer(x)
    assert y.shape == problem.output_shape
    assert np.array_equal(y, conv2d(x, layer.weight, layer.bias, **problem.keywords))

    grad = like(y)
    back = layer.backward(grad)
    assert np.array_equal(back, conv2d_input_grad(grad, layer.weight, x.shape, **problem.keywords))
    taps = conv2d_weight_grad(grad, x, problem.kernel_size, **problem.keywords)
    assert np.array_equal(layer.weight_grad, taps)
    channels = np.moveaxis(grad, -1 if layout == "NHWC" else -3, 0).reshape(problem.out_channels, -1)
    np.testing.assert_allclose(
        layer.bias_grad, channels.sum(1), rtol=1e-4 if y.itemsize in (4, 8) else 1e-13, atol=1e-6
    )
    for array in (y, back, layer.weight, layer.bias, layer.weight_grad, layer.bias_grad):
        assert array.dtype == dtype


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_passed_on(method):
    problem = KEYWORDS["strides"]
    layer, x = made(problem, method=method)
    assert np.array_equal(layer(x), conv2d(x, layer.weight, layer.bias, method=method, **problem.keywords))
    back = layer.backward(like(layer(x)))
    layer, _ = made(problem)
    np.testing.assert_allclose(back, layer.backward(like(layer(x))), atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", [name for name in KEYWORDS if name != "empty batch"])
def test_gradients_are_central_differences(name, dtype):
    """Of ``Re sum(conj(G) y)``, which has the gradient ``G`` with respect to ``y``."""
    layer, x = made(KEYWORDS[name], dtype)
    grad = like(layer(x))
    back = layer.backward(grad)
    rng = np.random.default_rng(3)
    for array, found in ((x, back), (layer.weight, layer.weight_grad), (layer.bias, layer.bias_grad)):
        for step in (1.0, 1.0j)[: 1 + (dtype == "complex128")]:
            for _ in range(5):
                place = tuple(rng.integers(array.shape))
                before = array[place]
                ends = []
                for h in (2.0**-8, -(2.0**-8)):
                    array[place] = before + h * step
                    ends.append(np.vdot(grad, layer(x)).real)
                array[place] = before
                slope = (ends[0] - ends[1]) / 2.0**-7
                # The real inner product of the gradient and the step.
                assert slope == pytest.approx((np.conj(found[place]) * step).real, abs=1e-8)


@pytest.mark.slow
def test_real_parameters_of_complex_inputs_have_real_gradients():
    problem = KEYWORDS["strides"]
    layer, x = made(problem)
    x = x + 1j * x[::-1]
    y = layer(x)
    back = layer.backward(like(y))
    assert back.dtype == y.dtype == "complex128"
    assert layer.weight_grad.dtype == layer.bias_grad.dtype == "float64"
    whole = conv2d_weight_grad(like(y), x, problem.kernel_size, **problem.keywords)
    assert np.array_equal(layer.weight_grad, whole.real)

    layer, x = made(problem, "complex64")
    x = x.real.copy()
    y = layer(x)
    back = layer.backward(like(y))
    assert back.dtype == "float32"
    assert np.array_equal(back, conv2d_input_grad(like(y), layer.weight, x.shape, **problem.keywords).real)


def test_gradients_have_the_parameters_dtype():
    layer = Conv2d(2, 3, 2, rng=0)
    y = layer(np.ones((4, 5, 2)))
    assert y.dtype == layer.backward(y).dtype == "float64"
    assert layer.weight_grad.dtype == layer.bias_grad.dtype == "float32"
    layer = Conv2d(2, 3, 2, dtype="float16", rng=0)
    y = layer(np.ones((4, 5, 2), "float16"))
    layer.backward(np.full_like(y, 6e4))
    assert layer.weight_grad.dtype == layer.bias_grad.dtype == "float16"
    assert np.isinf(layer.bias_grad).all()


# --- parameters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, "float16"])
def test_initial_parameters(dtype):
    """Within the bound, and of its uniform distribution's mean and variance to four standard errors."""
    layer = Conv2d(24, 64, (3, 5), groups=2, dtype=dtype, rng=0)
    fan_in = 3 * 5 * 12
    parts = 2 if np.dtype(dtype).kind == "c" else 1
    bound = 1 / np.sqrt(fan_in * parts)
    for array in (layer.weight, layer.bias):
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        for values in (array.real, array.imag)[:parts]:
            values = values.astype("float64")
            assert np.abs(values).max() <= bound * (1 + np.finfo(array.dtype).eps)
            assert np.abs(values).max() >= bound * (1 - 10 / values.size)
            assert abs(values.mean()) < 4 * bound / np.sqrt(3 * values.size)
            assert abs(values.var() * 3 / bound**2 - 1) < 4 * np.sqrt(0.8 / values.size)


def test_a_seed_is_reproducible():
    draw = [Conv2d(2, 3, 3, rng=rng) for rng in (7, np.int64(7), np.random.default_rng(7))]
    for layer in draw[1:]:
        assert np.array_equal(layer.weight, draw[0].weight)
        assert np.array_equal(layer.bias, draw[0].bias)
    assert not np.array_equal(Conv2d(2, 3, 3, rng=8).weight, draw[0].weight)
    assert not np.array_equal(Conv2d(2, 3, 3).weight, Conv2d(2, 3, 3).weight)
    rng = np.random.default_rng(7)
    assert not np.array_equal(Conv2d(2, 3, 3, rng=rng).weight, Conv2d(2, 3, 3, rng=rng).weight)
    first = Conv2d(2, 3, 3, layout="NCHW", dtype="float64", rng=7)
    np.testing.assert_allclose(first.weight.transpose(0, 2, 3, 1), draw[0].weight, rtol=1e-6)
    np.testing.assert_allclose(first.bias, draw[0].bias, rtol=1e-6)


def test_changed_parameters_are_seen_at_the_next_call():
    layer, x = made(KEYWORDS["plain"])
    y = layer(x)
    layer.weight *= 2
    layer.bias -= 1
    np.testing.assert_allclose(layer(x), 2 * (y - layer.bias - 1) + layer.bias, atol=1e-12)
    layer.weight = np.zeros_like(layer.weight)
    layer.bias = [1, 2, 3]
    assert np.array_equal(layer(x), np.broadcast_to([1.0, 2.0, 3.0], y.shape))
    layer.backward(y)
    assert layer.bias_grad.shape == (3,)


def test_backward_is_of_the_last_call_whatever_became_of_the_parameters():
    problem = KEYWORDS["plain"]
    layer, x = made(problem)
    grad = like(layer(x))
    expected = layer.backward(grad)
    taps = layer.weight_grad
    layer.weight += 1
    assert np.array_equal(layer.backward(grad), expected)
    assert np.array_equal(layer.weight_grad, taps)  # set, not added up
    with pytest.raises(ValueError):
        layer(x[0])
    assert np.array_equal(layer.backward(grad), expected)


def test_without_bias():
    layer, x = made(KEYWORDS["plain"], bias=False)
    assert layer.bias is None
    y = layer(x)
    assert np.array_equal(y, conv2d(x, layer.weight))
    layer.backward(y)
    assert layer.bias_grad is None
    assert layer.weight_grad is not None


def test_one_layer_takes_any_batch_and_size():
    layer = Conv2d(1, 2, 3, stride=2, padding=1, rng=0)
    for shape in ((8, 9), (8, 9, 1), (5, 8, 9, 1), (2, 30, 4, 1), (0, 8, 9, 1)):
        x = np.ones(shape, "float32")
        y = layer(x)
        assert layer.backward(y).shape == shape
        assert layer.weight_grad.shape == layer.weight.shape


def test_the_input_is_kept_not_copied_or_modified():
    layer, x = made(KEYWORDS["strides"])
    kept = x.copy()
    x.flags.writeable = False
    y = layer(x)
    y.flags.writeable = False
    layer.backward(y)
    assert np.array_equal(x, kept)
    assert layer._last[0] is x


def test_pickles_and_copies_without_what_the_last_call_kept():
    layer, x = made(KEYWORDS["groups"])
    layer.backward(layer(x))
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert repr(twin) == repr(layer)
        assert np.array_equal(twin.weight_grad, layer.weight_grad)
        with pytest.raises(RuntimeError):
            twin.backward(layer(x))
        assert np.array_equal(twin(x), layer(x))
        twin.weight += 1
        assert not np.array_equal(twin(x), layer(x))


def test_repr_makes_such_a_layer():
    layer = Conv2d(4, 6, (3, 2), padding="same", groups=2, padding_mode="wrap", dtype="float64", bias=False)
    assert repr(layer) == (
        "Conv2d(4, 6, (3, 2), stride=(1, 1), padding='same', dilation=(1, 1), groups=2, "
        "padding_mode='circular', layout='NHWC', method='auto', bias=False, dtype='float64')"
    )
    assert repr(eval(repr(layer))) == repr(layer)
    assert "padding=((1, 1), (2, 2))" in repr(Conv2d(4, 6, 3, padding=(1, 2)))


# --- errors -------------------------------------------------------------------------------------------

MESSAGES = {
    "in_channels": (
        lambda: Conv2d(0, 1, 3),
        ValueError,
        "Conv2d: in_channels expects at least 1, got 0",
    ),
    "groups": (
        lambda: Conv2d(4, 3, 3, groups=2),
        ValueError,
        "Conv2d: groups expects a divisor of in_channels and out_channels, got 2 for 4 and 3",
    ),
    "bias": (
        lambda: Conv2d(1, 1, 3, bias=1),
        TypeError,
        "Conv2d: bias expects a bool, got 1",
    ),
    "rng": (
        lambda: Conv2d(1, 1, 3, rng="seed"),
        TypeError,
        (
            "Conv2d: rng expects a seed or a numpy.random.Generator, got 'seed' "
            "(SeedSequence expects int or sequence of ints for entropy not seed)"
        ),
    ),
    "rng that is a bool": (
        lambda: Conv2d(1, 1, 3, rng=True),
        TypeError,
        "Conv2d: rng expects a seed or a numpy.random.Generator, got True",
    ),
    "a negative seed": (
        lambda: Conv2d(1, 1, 3, rng=-1),
        ValueError,
        "Conv2d: rng expects a seed or a numpy.random.Generator, got -1 (expected non-negative integer)",
    ),
    "backward before a call": (
        lambda: Conv2d(1, 1, 3).backward(np.ones((2, 2, 1))),
        RuntimeError,
        "Conv2d.backward: nothing to differentiate; call the layer first",
    ),
    "grad": (
        lambda: called().backward(np.ones((2, 3, 1))),
        ValueError,
        "Conv2d.backward: grad expects the output's shape (2, 2, 3), got (2, 3, 1)",
    ),
    "dtype of grad": (
        lambda: called().backward("abc"),
        TypeError,
        (
            "Conv2d.backward: grad has dtype <U3, "
            "expected bool, an integer, float16, float32, float64, complex64 or complex128"
        ),
    ),
    "channels of x": (
        lambda: called()(np.ones((4, 4, 2))),
        ValueError,
        "Conv2d: weight expects 1 input channels per group, x has 2 (layout='NHWC', groups=1)",
    ),
    "another weight": (
        lambda: called(weight=np.ones((3, 3, 2, 1)))(np.ones((4, 4, 1))),
        ValueError,
        "Conv2d: weight expects shape (3, 3, 3, 1), got (3, 3, 2, 1)",
    ),
}


def called(**attributes):
    layer = Conv2d(1, 3, 3, rng=0)
    layer(np.ones((4, 4, 1)))
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


@pytest.mark.parametrize("name", MESSAGES)
def test_whole_message(name):
    call, error, message = MESSAGES[name]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert str(caught.value) == message


def test_a_weight_that_fits_in_no_memory():
    with pytest.raises(MemoryError, match=r"^Conv2d: the weight of shape \(1048576, 3, 3, 1048576\) needs "):
        Conv2d(2**20, 2**20, 3)

"""Convolutions whose results others have published; each names its source."""

import numpy as np
import oracle
import pytest
from numpy.testing import assert_array_equal
from strategies import METHODS

from triconv import ConvGeometry, col2im, conv2d, conv_matrix, conv_transpose2d, im2col, pad

each_method = pytest.mark.parametrize("method", METHODS)


def image(rows):
    """An image written as rows of numbers."""
    return np.array([row.split() for row in rows.strip().splitlines()], float)


def grid(height, width):
    return np.arange(height * width, dtype=float).reshape(height, width)


ones_3x3 = np.ones((3, 3))

# V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning" (2016), figures 1.1 and 1.2.
guide_image = image("3 3 2 1 0 \n 0 0 1 3 1 \n 3 1 2 2 3 \n 2 0 0 2 2 \n 2 0 0 0 1")
guide_kernel = image("0 1 2 \n 2 2 0 \n 0 1 2")

# A. Ng, "Convolutional Neural Networks" (Coursera, 2017), lecture on edge detection.
lecture_image = image(
    "3 0 1 2 7 4 \n 1 5 8 9 3 1 \n 2 7 2 5 1 3 \n 0 1 3 1 7 8 \n 4 2 1 6 2 8 \n 2 4 5 2 3 9"
)
vertical_edges = image("1 0 -1 \n 1 0 -1 \n 1 0 -1")

# A. Zhang, Z. Lipton, M. Li and A. Smola, "Dive into Deep Learning" (2023), section 7.2.
book_edges = np.ones((6, 8))
book_edges[:, 2:6] = 0

CASES = {
    # The ONNX standard's operator Conv: the tests that its documentation shows as examples.
    "ONNX: basic_conv_with_padding": (
        grid(5, 5),
        ones_3x3,
        {"padding": 1},
        "12 21 27 33 24 \n 33 54 63 72 51 \n 63 99 108 117 81 \n 93 144 153 162 111 \n 72 111 117 123 84",
    ),
    "ONNX: basic_conv_without_padding": (grid(5, 5), ones_3x3, {}, "54 63 72 \n 99 108 117 \n 144 153 162"),
    "ONNX: conv_with_strides_padding": (
        grid(7, 5),
        ones_3x3,
        {"padding": 1, "stride": 2},
        "12 27 24 \n 63 108 81 \n 123 198 141 \n 112 177 124",
    ),
    "ONNX: conv_with_strides_no_padding": (
        grid(7, 5),
        ones_3x3,
        {"stride": 2},
        "54 72 \n 144 162 \n 234 252",
    ),
    "ONNX: conv_with_strides_and_asymmetric_padding": (
        grid(7, 5),
        ones_3x3,
        {"padding": ((1, 1), (0, 0)), "stride": 2},
        "21 33 \n 99 117 \n 189 207 \n 171 183",
    ),
    "ONNX: conv_with_autopad_same": (
        grid(5, 5),
        ones_3x3,
        {"padding": "same_lower", "stride": 2},
        "12 27 24 \n 63 108 81 \n 72 117 84",
    ),
    "Dumoulin and Visin: figure 1.1": (guide_image, guide_kernel, {}, "12 12 17 \n 10 17 19 \n 9 6 14"),
    "Dumoulin and Visin: figure 1.2": (
        guide_image,
        guide_kernel,
        {"stride": 2, "padding": 1},
        "6 17 3 \n 8 17 13 \n 6 4 4",
    ),
    "Ng: vertical edges": (
        lecture_image,
        vertical_edges,
        {},
        "-5 -4 0 8 \n -10 -2 2 3 \n 0 -2 -4 -7 \n -3 -2 -3 -16",
    ),
    "Ng: an edge from bright to dark": (
        np.repeat([[10.0, 10, 10, 0, 0, 0]], 6, 0),
        vertical_edges,
        {},
        "0 30 30 0 \n 0 30 30 0 \n 0 30 30 0 \n 0 30 30 0",
    ),
    "Dive into Deep Learning: cross-correlation": (grid(3, 3), grid(2, 2), {}, "19 25 \n 37 43"),
    "Dive into Deep Learning: edges": (
        book_edges,
        image("1 -1"),
        {},
        "\n".join(["0 1 0 0 0 -1 0"] * 6),
    ),
    # SciPy's documentation of scipy.ndimage.convolve, which turns the kernel round.
    "SciPy: ndimage.convolve, constant": (
        image("1 2 0 0 \n 5 3 0 4 \n 0 0 0 7 \n 9 3 0 0"),
        image("1 1 1 \n 1 1 0 \n 1 0 0")[::-1, ::-1],
        {"padding": 1},
        "11 10 7 4 \n 10 3 11 11 \n 15 12 14 7 \n 12 3 7 0",
    ),
    "SciPy: ndimage.convolve, nearest": (
        image("2 0 0 \n 1 0 0 \n 0 0 0"),
        image("0 1 0 \n 0 1 0 \n 0 1 0 \n 0 1 0 \n 0 1 0")[::-1, ::-1],
        {"padding": (2, 1), "padding_mode": "replicate"},
        "7 0 0 \n 5 0 0 \n 3 0 0",
    ),
}


@each_method
@pytest.mark.parametrize("name", CASES)
def test_published_convolution(name, method):
    x, weight, keywords, result = CASES[name]
    result = image(result)
    assert_array_equal(oracle.conv2d(x.tolist(), weight.tolist(), **keywords), result)
    assert_array_equal(conv2d(x, weight, method=method, **keywords), result)
    last = conv2d(x[None, :, :, None], weight[None, :, :, None], method=method, **keywords)
    assert_array_equal(last, result[None, :, :, None])
    first = conv2d(x[None, None], weight[None, None], method=method, layout="NCHW", **keywords)
    assert_array_equal(first, result[None, None])


# The ONNX standard's operator ConvTranspose: the tests that its documentation shows as examples.
TRANSPOSED = {
    "convtranspose": (
        grid(3, 3),
        ones_3x3,
        {},
        "0 1 3 3 2 \n 3 8 15 12 7 \n 9 21 36 27 15 \n 9 20 33 24 13 \n 6 13 21 15 8",
    ),
    "convtranspose_group_2, the second": (
        grid(3, 3) + 9,
        ones_3x3,
        {},
        "9 19 30 21 11 \n 21 44 69 48 25 \n 36 75 117 81 42 \n 27 56 87 60 31 \n 15 31 48 33 17",
    ),
    "convtranspose_pads": (
        grid(3, 3),
        ones_3x3,
        {"stride": (3, 2), "padding": (1, 2)},
        "1 1 3 \n 1 1 3 \n 7 4 9 \n 7 4 9 \n 7 4 9 \n 13 7 15 \n 13 7 15",
    ),
    "convtranspose_dilations": (
        image("3 8 1 \n 9 5 7 \n 3 2 6"),
        image("7 2 \n 1 9"),
        {"dilation": 2},
        "21 56 13 16 2 \n 63 35 67 10 14 \n 24 22 76 76 21 \n 9 5 88 45 63 \n 3 2 33 18 54",
    ),
    "convtranspose_autopad_same": (
        grid(3, 3),
        ones_3x3,
        {"stride": 2, "padding": ((0, 1), (0, 1))},
        """0 0 1 1 3 2 \n 0 0 1 1 3 2 \n 3 3 8 5 12 7
        3 3 7 4 9 5 \n 9 9 20 11 24 13 \n 6 6 13 7 15 8""",
    ),
}

# The same of its operator Col2Im: blocks, each a column, and what they add up to.
FOLDED = {
    "col2im": (
        "1 6 11 16 21 \n 2 7 12 17 22 \n 3 8 13 18 23 \n 4 9 14 19 24 \n 5 0 15 20 25",
        (1, 5),
        {},
        "1 2 3 4 5 \n 6 7 8 9 0 \n 11 12 13 14 15 \n 16 17 18 19 20 \n 21 22 23 24 25",
    ),
    "col2im_strides": (
        """0 0 0 0 \n 1 1 1 1 \n 1 1 1 1 \n 1 1 1 1 \n 0 0 0 0 \n 0 0 0 0 \n 0 0 0 0 \n 1 1 1 1
        0 0 0 0""",
        (3, 3),
        {"stride": 2},
        "0 1 1 1 1 \n 1 0 1 0 0 \n 0 2 1 2 1 \n 1 0 1 0 0 \n 0 1 0 1 0",
    ),
    "col2im_dilations": (
        "1 5 9 13 17 \n 2 6 10 14 18 \n 3 7 11 15 19 \n 4 8 12 16 20",
        (2, 2),
        {"dilation": (1, 5)},
        "1 0 0 0 0 2 \n 8 0 0 0 0 10 \n 16 0 0 0 0 18 \n 24 0 0 0 0 26 \n 32 0 0 0 0 34 \n 19 0 0 0 0 20",
    ),
}


@each_method
@pytest.mark.parametrize("name", TRANSPOSED)
def test_published_transposed_convolution(name, method):
    x, weight, keywords, result = TRANSPOSED[name]
    assert_array_equal(conv_transpose2d(x, weight, method=method, **keywords), image(result))
    twice = np.stack([weight, weight])[None]
    first = conv_transpose2d(x[None, None], twice, method=method, layout="NCHW", **keywords)
    assert_array_equal(first, np.stack([image(result)] * 2)[None])


@pytest.mark.parametrize("name", FOLDED)
def test_published_sums_of_blocks(name):
    blocks, kernel, keywords, result = FOLDED[name]
    # There a block is read row by row, here column by column.
    cols = image(blocks).reshape(*kernel, -1).transpose(2, 1, 0).reshape(-1, kernel[0] * kernel[1])
    result = image(result)
    assert_array_equal(col2im(cols, result.shape, kernel, **keywords), result)
    if name == "col2im":  # whose blocks do not overlap
        assert_array_equal(im2col(result, kernel), cols)


@each_method
def test_several_channels_in_and_out(method):
    """ "Dive into Deep Learning", section 7.4."""
    x = np.stack([grid(3, 3), grid(3, 3) + 1])
    kernel = np.stack([grid(2, 2), grid(2, 2) + 1])
    weight = np.stack([kernel, kernel + 1, kernel + 2])
    y = conv2d(x, weight, method=method, layout="NCHW")
    assert y.tolist() == [[[56, 72], [104, 120]], [[76, 100], [148, 172]], [[96, 128], [192, 224]]]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation", "output"),
    [
        (4, 3, 1, 0, 1, 2),  # no zero padding, unit strides
        (5, 4, 1, 2, 1, 6),  # zero padding, unit strides
        (5, 3, 1, 1, 1, 5),  # half (same) padding
        (5, 3, 1, 2, 1, 7),  # full padding
        (5, 3, 2, 0, 1, 2),  # no zero padding, non-unit strides
        (5, 3, 2, 1, 1, 3),  # zero padding, non-unit strides
        (6, 3, 2, 1, 1, 3),  # the same where the last row is skipped
        (7, 3, 1, 0, 2, 3),  # dilated
    ],
)
def test_convolution_arithmetic(size, kernel, stride, padding, dilation, output):
    """Dumoulin and Visin, figures 2.1 to 2.7 and 5.1: sizes of outputs."""
    keywords = {"stride": stride, "padding": padding, "dilation": dilation}
    assert ConvGeometry((size, size, 1), kernel, **keywords).output_shape == (output, output, 1)
    assert conv2d(np.ones((size, size)), np.ones((kernel, kernel)), **keywords).shape == (output, output)


def test_convolution_as_a_matrix():
    """Dumoulin and Visin, section 4.1: the 4 x 16 matrix of a 3x3 kernel on a 4x4 input, read row by row."""
    w = [[11, 12, 13], [21, 22, 23], [31, 32, 33]]
    (a, b, c), (d, e, f), (g, h, i) = w
    C = [
        [a, b, c, 0, d, e, f, 0, g, h, i, 0, 0, 0, 0, 0],
        [0, a, b, c, 0, d, e, f, 0, g, h, i, 0, 0, 0, 0],
        [0, 0, 0, 0, a, b, c, 0, d, e, f, 0, g, h, i, 0],
        [0, 0, 0, 0, 0, a, b, c, 0, d, e, f, 0, g, h, i],
    ]
    assert conv_matrix(np.array(w), (4, 4), order="C").toarray().tolist() == C


def test_alexnets_first_layer_as_im2col():
    """Stanford's CS231n, notes on convolutional networks: 227x227x3, 96 filters 11x11 at stride 4."""
    geometry = ConvGeometry((227, 227, 3), 11, 96, stride=4)
    assert geometry.output_shape == (55, 55, 96)
    assert im2col(np.zeros((227, 227, 3), "float32"), 11, stride=4).shape == (3025, 363)


@pytest.mark.parametrize(
    ("word", "pads", "outputs"),
    [("valid", (0, 0), 2), ("same", (1, 2), 3), ("same_lower", (2, 1), 3)],
)
def test_paddings_by_word(word, pads, outputs):
    """By the formula in TensorFlow's notes on padding: width 13, filter 6, stride 5."""
    geometry = ConvGeometry((1, 13, 1), (1, 6), stride=(1, 5), padding=word)
    assert geometry.pads[1] == pads
    assert geometry.output_shape == (1, outputs, 1)


@pytest.mark.parametrize(
    ("mode", "result"),
    [
        (
            "reflect",
            """8 7 6 7 8 7 6 \n 5 4 3 4 5 4 3 \n 2 1 0 1 2 1 0 \n 5 4 3 4 5 4 3
               8 7 6 7 8 7 6 \n 5 4 3 4 5 4 3 \n 2 1 0 1 2 1 0""",
        ),
        (
            "replicate",
            """0 0 0 1 2 2 2 \n 0 0 0 1 2 2 2 \n 0 0 0 1 2 2 2 \n 3 3 3 4 5 5 5
               6 6 6 7 8 8 8 \n 6 6 6 7 8 8 8 \n 6 6 6 7 8 8 8""",
        ),
        (
            "circular",
            """4 5 3 4 5 3 4 \n 7 8 6 7 8 6 7 \n 1 2 0 1 2 0 1 \n 4 5 3 4 5 3 4
               7 8 6 7 8 6 7 \n 1 2 0 1 2 0 1 \n 4 5 3 4 5 3 4""",
        ),
    ],
)
def test_padding_modes(mode, result):
    """PyTorch's documentation of ReflectionPad2d, ReplicationPad2d and CircularPad2d, padding 2."""
    assert_array_equal(pad(grid(3, 3), 2, padding_mode=mode), image(result))
    assert_array_equal(oracle.pad(grid(3, 3).tolist(), 2, padding_mode=mode), image(result))


@each_method
def test_sobel_gradient_of_a_ramp_and_of_a_step(method):
    """Sobel's operator sums central differences by 1, 2, 1: 8 times a slope of one, 4 times a step of one."""
    sobel = image("-1 0 1 \n -2 0 2 \n -1 0 1")
    ramp = np.tile(np.arange(9.0), (6, 1))
    assert (conv2d(ramp, sobel, method=method) == 8).all()
    assert (conv2d(ramp, sobel.T, method=method) == 0).all()
    step = np.tile(np.arange(9) > 4, (6, 1))
    assert conv2d(step, sobel, method=method).tolist() == [[0, 0, 0, 4, 4, 0, 0]] * 4

"""Named banks: their taps, and how they meet an image of many channels."""

import numpy as np
import pytest

from triconv import conv2d
from triconv.filters import NAMES, bank, spread


def test_sobel_is_positive_where_it_gets_brighter_to_the_right_and_downwards():
    ramp = np.arange(5.0)
    for image, rightward, downward in (
        (np.tile(ramp, (5, 1)), 8.0, 0.0),
        (np.tile(ramp, (5, 1)).T, 0.0, 8.0),
    ):
        y = conv2d(image, bank("sobel"))
        assert (y[..., 0] == rightward).all()
        assert (y[..., 1] == downward).all()


def test_laplacian_is_the_second_difference():
    rows, columns = np.ogrid[:6, :7]
    assert (conv2d(1.0 * rows**2 + 3 * columns**2, bank("laplacian")) == 8.0).all()
    assert (conv2d(1.0 * rows + 3 * columns, bank("laplacian")) == 0.0).all()


@pytest.mark.parametrize("size", [1, 3, 5, 7, 31])
def test_gaussian(size):
    (taps,) = bank(f"gaussian:{size}")[..., 0]
    assert taps.shape == (size, size)
    assert taps.sum() == pytest.approx(1.0)
    assert np.array_equal(taps, taps.T)
    assert np.array_equal(taps, taps[::-1, ::-1])
    middle = taps[size // 2]
    assert middle.argmax() == size // 2
    spread_out = np.sqrt(-0.5 / np.log(middle[size // 2 + 1] / middle[size // 2])) if size > 1 else size / 6
    assert spread_out == pytest.approx(size / 6)


def test_random_filters_are_always_the_same():
    assert np.array_equal(bank("random:16", 3), bank("random:16", 3))
    assert bank("random:16", 3).shape == (16, 5, 5, 3)
    assert bank("random:16", 3).std() == pytest.approx(1 / np.sqrt(75), rel=0.1)


def test_defaults():
    assert np.array_equal(bank("gaussian"), bank("gaussian:5"))
    assert np.array_equal(bank("random", 2), bank("random:8", 2))


def test_filters_of_one_channel_see_each_channel_by_itself():
    image = np.random.default_rng(0).integers(-9, 9, (6, 7, 3)).astype(float)
    weight, groups = spread(bank("sobel"), 3)
    y = conv2d(image, weight, groups=groups)
    for channel in range(3):
        alone = conv2d(image[..., channel], bank("sobel"))
        assert np.array_equal(y[..., 2 * channel : 2 * channel + 2], alone)


def test_filters_of_all_channels_sum_over_them():
    taps = bank("random:4", 3)
    weight, groups = spread(taps, 3)
    assert weight is taps
    assert groups == 1


def test_one_filter_without_channels():
    weight, groups = spread([[1, 2]], 3)
    assert (weight.shape, groups) == ((3, 1, 2, 1), 3)
    weight, groups = spread([[1, 2]], 1)
    assert (weight.shape, groups) == ((1, 1, 2, 1), 1)


@pytest.mark.parametrize(
    "name", ["", "Sobel", "sobel:3", "laplacian:3", "gaussian:", "gaussian:-3", "random:1:2"]
)
def test_an_unknown_name_lists_the_names(name):
    with pytest.raises(ValueError) as refused:
        bank(name)
    assert str(refused.value) == f"filter: expected one of {', '.join(NAMES)}, got {name!r}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gaussian:0", "filter: gaussian takes an odd size up to 1023, got 0"),
        ("gaussian:6", "filter: gaussian takes an odd size up to 1023, got 6"),
        ("gaussian:1025", "filter: gaussian takes an odd size up to 1023, got 1025"),
        ("random:0", "filter: random takes from 1 to 1023 filters, got 0"),
        ("random:1024", "filter: random takes from 1 to 1023 filters, got 1024"),
    ],
)
def test_numbers_out_of_range(name, message):
    with pytest.raises(ValueError) as refused:
        bank(name)
    assert str(refused.value) == message


@pytest.mark.parametrize("shape", [(), (3,), (3, 3, 3), (1, 3, 3, 2), (0, 3, 3, 1), (1, 1, 3, 3, 1)])
def test_a_bank_of_the_wrong_shape(shape):
    with pytest.raises(ValueError) as refused:
        spread(np.zeros(shape), 3)
    assert str(refused.value) == (
        "weights: expected the shape (k_h, k_w), (n, k_h, k_w, 1) or (n, k_h, k_w, 3) for 3 channels, "
        f"got {shape}"
    )

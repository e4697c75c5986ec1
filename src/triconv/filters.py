"""Named banks of image filters.

A bank is an array ``(n, k_h, k_w, 1)``, filters that see one channel each, or ``(n, k_h, k_w, C)``, filters
that sum over the ``C`` channels of an image. `spread` makes of either what `triconv.conv2d` takes.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["NAMES", "bank", "spread"]

NAMES = ("sobel", "laplacian", "gaussian", "gaussian:SIZE", "random", "random:COUNT")
LARGEST = 1023  # number in a name: a slip of the keyboard should not ask for all the memory


def bank(name: str, channels: int = 1) -> NDArray[np.float64]:
    """Bank of filters by its name.

    Parameters
    ----------
    name : str
        ``"sobel"`` (two 3 x 3 filters: the change from left to right, and from top to bottom),
        ``"laplacian"`` (3 x 3), ``"gaussian"`` or ``"gaussian:7"`` (the odd size, 5 unless told; the standard
        deviation is a sixth of it), ``"random"`` or ``"random:16"`` (the number of 5 x 5 filters, 8 unless
        told; always the same ones).
    channels : int
        Channels of the image. The random filters span them all, as the first layer of a network does; the
        others see one channel, whatever the image has.

    Returns
    -------
    ndarray, float64
        ``(n, k_h, k_w, 1)``, for the random filters ``(n, k_h, k_w, channels)``.

    Raises
    ------
    ValueError
        For an unknown name, or a number that the filter does not take.

    Examples
    --------
    >>> bank("sobel").shape
    (2, 3, 3, 1)
    >>> bank("gaussian:3")[0, :, :, 0].round(3)
    array([[0.011, 0.084, 0.011],
           [0.084, 0.619, 0.084],
           [0.011, 0.084, 0.011]])
    >>> bank("random:16", channels=3).shape
    (16, 5, 5, 3)
    """
    match name.split(":"):
        case ["sobel"]:
            smooth, difference = [1.0, 2.0, 1.0], [-1.0, 0.0, 1.0]
            rightward = np.outer(smooth, difference)
            return np.stack([rightward, rightward.T])[..., np.newaxis]
        case ["laplacian"]:
            return np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]).reshape(1, 3, 3, 1)
        case ["gaussian"]:
            return _gaussian(5)
        case ["gaussian", size] if size.isdecimal():
            return _gaussian(int(size))
        case ["random"]:
            return _random(8, channels)
        case ["random", count] if count.isdecimal():
            return _random(int(count), channels)
    raise ValueError(f"filter: expected one of {', '.join(NAMES)}, got {name!r}")


def spread(weight: ArrayLike, channels: int) -> tuple[NDArray[np.generic], int]:
    """Weight and ``groups`` that apply a bank to an image of `channels` channels.

    Filters of one channel are applied to each channel by itself, as image filters are: the result has all the
    filters of channel 0, then all of channel 1, and so on. Filters of as many channels as the image has sum
    over them.

    Parameters
    ----------
    weight : array_like
        A bank ``(n, k_h, k_w, 1)`` or ``(n, k_h, k_w, channels)``, or one filter ``(k_h, k_w)``.
    channels : int
        Channels of the image.

    Returns
    -------
    weight : ndarray
        ``(n * channels, k_h, k_w, 1)`` or ``(n, k_h, k_w, channels)``, in the bank's dtype.
    groups : int
        ``channels`` or 1.

    Raises
    ------
    ValueError
        For a bank of another shape.

    Examples
    --------
    >>> weight, groups = spread(bank("sobel"), 3)
    >>> weight.shape, groups
    ((6, 3, 3, 1), 3)
    """
    weight = np.asarray(weight)
    if weight.ndim == 2:
        weight = weight[np.newaxis, :, :, np.newaxis]
    if weight.ndim != 4 or weight.shape[3] not in (1, channels) or 0 in weight.shape:
        shapes = "(k_h, k_w), (n, k_h, k_w, 1)" + (f" or (n, k_h, k_w, {channels})" if channels > 1 else "")
        raise ValueError(
            f"weights: expected the shape {shapes} for {channels} channels, got {weight.shape}"
            f"{_other_order(weight.shape, channels)}"
        )
    if weight.shape[3] == channels:
        return weight, 1
    return np.tile(weight, (channels, 1, 1, 1)), channels


ORDERS = {
    "PyTorch's order, (C_out, C_in, k_h, k_w)": (0, 2, 3, 1),
    "Keras' order, (k_h, k_w, C_in, C_out)": (3, 0, 1, 2),
}


def _other_order(shape: tuple[int, ...], channels: int) -> str:
    """What to do if the weights are in the order of another library, where that is likely."""
    if len(shape) != 4 or 0 in shape:
        return ""
    likely: dict[tuple[bool, bool], list[str]] = {}
    for name, axes in ORDERS.items():
        _, k_h, k_w, depth = (shape[axis] for axis in axes)
        if depth in (1, channels):
            likely.setdefault((k_h == k_w, depth == channels), []).append(
                f"; if that is {name}, give weight.transpose{axes}"
            )
    best = likely[max(likely)] if likely else []
    return best[0] if len(best) == 1 else ""


def _gaussian(size: int) -> NDArray[np.float64]:
    if size % 2 == 0 or size > LARGEST:
        raise ValueError(f"filter: gaussian takes an odd size up to {LARGEST}, got {size}")
    bell = np.exp(-0.5 * ((np.arange(size) - size // 2) / (size / 6)) ** 2)
    bell /= bell.sum()
    return np.outer(bell, bell).reshape(1, size, size, 1)


def _random(count: int, channels: int) -> NDArray[np.float64]:
    if not 1 <= count <= LARGEST:
        raise ValueError(f"filter: random takes from 1 to {LARGEST} filters, got {count}")
    taps = np.random.default_rng(0).standard_normal((count, 5, 5, channels))
    return taps / np.sqrt(5 * 5 * channels)

"""One convolution with everything decided that shapes, dtypes and keywords decide, and no values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv import arguments
from triconv.axis import Axis
from triconv.geometry import ConvGeometry
from triconv.runtime import memory

Shape = tuple[int, ...]
TABLES = 32  # bytes of tables of indices, while they are made, a padded row or column
MOST = 2**62  # elements of an array at most, so that no sum of two places overflows


class Place(NamedTuple):
    """Where the elements of the output lie in a flat array: the first of them, and elements between them."""

    start: int
    sample: int
    row: int
    column: int
    channel: int


class Taps(NamedTuple):
    """Where the taps lie in a flat array of weights: the first of them, and elements between them."""

    start: int
    group: int  # from a group's end, by the filters' step, to the start of the next
    filter: int
    row: int
    column: int
    channel: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A checked convolution; hashable, so that what follows from it can be kept."""

    geometry: ConvGeometry
    batch: int
    mode: str
    layout: str
    dtype: np.dtype[Any]
    result: np.dtype[Any]
    x_shape: Shape
    weight_shape: Shape
    y_shape: Shape
    place: Place | None = None  # None where the output lies as its layout says
    taps: Taps | None = None  # None where the weights do

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """The axes of rows and of columns."""
        return self.geometry.axes

    @property
    def flops(self) -> int:
        """Operations of the whole batch, two a multiply-add."""
        return self.batch * self.geometry.flops

    def strides(self, height: int, width: int, channels: int) -> tuple[int, int, int, int]:
        """Elements between samples, rows, columns and channels of a contiguous array in the layout."""
        if self.layout == "NHWC":
            return height * width * channels, width * channels, channels, 1
        return height * width * channels, width, 1, height * width

    def plain(self, *, cut: bool = True) -> Problem:
        """The same sums by `Axis.plain`, for schedules to be made of."""
        axes = tuple(axis.plain(cut=cut) for axis in self.axes)
        if axes == self.axes:
            return self
        g = self.geometry
        geometry = ConvGeometry.from_axes(
            "plain", (axes[0], axes[1]), g.in_channels, g.out_channels, g.groups
        )
        return replace(self, geometry=geometry)

    def placed(self) -> Place:
        """Where the elements of the output lie."""
        return self.place or Place(0, *self.strides(*self.geometry.output_shape))

    def tapped(self) -> Taps:
        """Where the taps of the weights lie."""
        g = self.geometry
        filter_, row, column, channel = self.strides(*g.kernel_size, g.group_channels)
        return self.taps or Taps(0, 0, filter_, row, column, channel)

    def filters(self, weight: NDArray[Any]) -> NDArray[Any]:
        """``weight`` as ``(C_out, k_h, k_w, C_in / groups)``, whatever its layout; a view where it can be."""
        if weight.ndim == 2:
            return weight[None, :, :, None]
        return weight if self.layout == "NHWC" else weight.transpose(0, 2, 3, 1)


def channels_last(layout: str, shape: Shape) -> Shape:
    """The last three axes of a shape as rows, columns, channels."""
    if layout == "NHWC":
        return shape[-3:]
    c, h, w = shape[-3:]
    return h, w, c


def batch_channels_last(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """``(N, H, W, C)`` of an image, a sample or a batch."""
    if array.ndim == 2:
        return array[np.newaxis, :, :, np.newaxis]
    if layout == "NCHW":
        array = np.moveaxis(array, -3, -1)
    return array if array.ndim == 4 else array[np.newaxis]


def in_layout(layout: str, height: int, width: int, channels: int) -> Shape:
    """A sample's shape in a layout."""
    return (height, width, channels) if layout == "NHWC" else (channels, height, width)


def image_shape(
    where: str, name: str, shape: Shape, layout: str, *, batched: bool = True
) -> tuple[int, Shape]:
    """The batch size and ``(H, W, C)`` of an input."""
    axes = (
        ("(H, W)", "(H, W, C)", "(N, H, W, C)")
        if layout == "NHWC"
        else ("(H, W)", "(C, H, W)", "(N, C, H, W)")
    )
    allowed = axes if batched else axes[:2]
    if not 2 <= len(shape) <= len(allowed) + 1:
        raise ValueError(
            f"{where}: {name} expects {' or '.join(allowed)}, got shape {shape} (layout={layout!r})"
        )
    if len(shape) == 2:
        return 1, (*shape, 1)
    height, width, channels = channels_last(layout, shape)
    if channels < 1:
        raise ValueError(f"{where}: {name} expects at least 1 channel, got {channels} (layout={layout!r})")
    return (shape[0] if len(shape) == 4 else 1), (height, width, channels)


def problem(
    where: str,
    x_shape: Shape,
    weight_shape: Shape,
    bias_shape: Shape | None,
    result: np.dtype[Any],
    *,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
    layout: Any,
    x_name: str = "x",
) -> Problem:
    """Check the shapes and keywords of a convolution against each other."""
    layout = arguments.choice(where, "layout", layout, arguments.LAYOUTS)
    mode = arguments.padding_mode(where, padding_mode)
    groups = arguments.integer(where, "groups", groups, 1)
    check_weight(where, weight_shape, layout)
    batch, (height, width, channels) = image_shape(where, x_name, x_shape, layout)
    if len(weight_shape) == 2:
        if len(x_shape) != 2:
            raise ValueError(f"{where}: a 2-D weight expects a 2-D {x_name}, got shape {x_shape}")
        filters, depth, kernel = 1, 1, (weight_shape[0], weight_shape[1])
    else:
        filters = weight_shape[0]
        shape = channels_last(layout, weight_shape)
        depth, kernel = shape[2], (shape[0], shape[1])
    check_channels(where, x_name, channels, filters, depth, groups, layout)
    check_bias(where, bias_shape, filters, flat=len(weight_shape) == 2)
    axes = arguments.axes(where, (height, width), kernel, stride, padding, dilation, mode)
    require_tables(where, axes)
    geometry = ConvGeometry.from_axes(where, axes, channels, filters, groups)
    y_shape: Shape = in_layout(layout, *geometry.output_shape)
    if len(x_shape) == 4:
        y_shape = (batch, *y_shape)
    elif len(weight_shape) == 2:
        y_shape = geometry.output_shape[:2]
    check_count(where, batch, geometry)
    dtype = arguments.computed(result)
    return Problem(geometry, batch, mode, layout, dtype, result, x_shape, weight_shape, y_shape)


def unfiltered(
    where: str,
    shape: Shape,
    dtype: np.dtype[Any],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    padding_mode: Any,
    layout: Any,
    x_name: str = "x",
) -> Problem:
    """The problem of one filter over all channels, for what needs patches but no weights."""
    layout = arguments.choice(where, "layout", layout, arguments.LAYOUTS)
    mode = arguments.padding_mode(where, padding_mode)
    batch, (height, width, channels) = image_shape(where, x_name, shape, layout)
    axes = arguments.axes(where, (height, width), kernel_size, stride, padding, dilation, mode)
    require_tables(where, axes)
    geometry = ConvGeometry.from_axes(where, axes, channels, 1, 1)
    check_count(where, batch, geometry)
    result = arguments.floating(dtype)
    y_shape = in_layout(layout, *geometry.output_shape)
    made = Problem(geometry, batch, mode, layout, arguments.computed(result), result, shape, (), y_shape)
    return made.plain()


def require_tables(where: str, axes: tuple[Axis, Axis]) -> None:
    """Refuse sizes whose tables of indices would not fit, which also keeps all indices to 64 bits."""
    h, w = axes
    memory.require(
        where,
        TABLES * (h.padded + w.padded),
        f"indexing {h.padded} padded rows and {w.padded} padded columns",
    )


def check_count(where: str, batch: int, geometry: ConvGeometry) -> None:
    """Refuse arrays whose elements, padding included, 64 bits could not number."""
    for name, shape in (("padded input", geometry.padded_shape), ("output", geometry.output_shape)):
        if batch * math.prod(shape) > MOST:
            raise MemoryError(
                f"{where}: the {name} would have {batch} x {' x '.join(map(str, shape))} elements, "
                "more than 64 bits can count"
            )


def check_weight(
    where: str, shape: Shape, layout: str, filters: str = "C_out", depth: str = "C_in / groups"
) -> None:
    """Refuse what is no bank of filters."""
    if len(shape) not in (2, 4):
        expected = (
            f"({filters}, k_h, k_w, {depth})" if layout == "NHWC" else f"({filters}, {depth}, k_h, k_w)"
        )
        raise ValueError(
            f"{where}: weight expects {expected} or (k_h, k_w), got shape {shape} (layout={layout!r})"
        )
    if min(shape) < 1:
        raise ValueError(f"{where}: weight expects at least one filter and no empty axis, got shape {shape}")


def check_channels(
    where: str, x_name: str, channels: int, filters: int, depth: int, groups: int, layout: str
) -> None:
    """Refuse channel counts that do not fit each other."""
    if filters % groups:
        raise ValueError(f"{where}: groups expects a divisor of the {filters} filters, got {groups}")
    if depth * groups != channels:
        raise ValueError(
            f"{where}: weight expects {depth} input channels per group, {x_name} has {channels} "
            f"(layout={layout!r}, groups={groups})"
        )


def check_bias(where: str, shape: Shape | None, filters: int, *, flat: bool) -> None:
    """Refuse a bias that is not one number a filter."""
    if shape is None or shape == (filters,) or (flat and shape == ()):
        return
    expected = "a scalar or shape (1,)" if flat else f"shape ({filters},)"
    raise ValueError(f"{where}: bias expects {expected}, got shape {shape}")

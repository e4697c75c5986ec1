"""One convolution: everything that its shapes, dtypes and keywords decide, and no values."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triconv.core.axis import Axis
from triconv.core.geometry import ConvGeometry
from triconv.core.keywords import Keywords
from triconv.types import Layout, PaddingMode

Shape = tuple[int, ...]


class OutputStrides(NamedTuple):
    """Where the elements of the output lie in a flat array: the first of them, and elements between them."""

    start: int
    sample: int
    row: int
    column: int
    channel: int


class WeightStrides(NamedTuple):
    """Where the taps lie in a flat array of weights: the first of them, and elements between them."""

    start: int
    group: int  # from a group's end, by the filters' step, to the start of the next
    filter: int
    row: int
    column: int
    channel: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A convolution that `checked` has found right; hashable, so that what follows from it can be kept."""

    geometry: ConvGeometry
    batch: int
    mode: PaddingMode
    layout: Layout
    dtype: np.dtype[Any]
    result: np.dtype[Any]
    x_shape: Shape
    weight_shape: Shape
    y_shape: Shape
    output: OutputStrides | None = None  # None where the output lies as its layout says
    weight: WeightStrides | None = None  # None where the weights do

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

    def output_strides(self) -> OutputStrides:
        """Where the elements of the output lie."""
        return self.output or OutputStrides(0, *self.strides(*self.geometry.output_shape))

    def weight_strides(self) -> WeightStrides:
        """Where the taps of the weights lie."""
        g = self.geometry
        filter_, row, column, channel = self.strides(*g.kernel_size, g.group_channels)
        return self.weight or WeightStrides(0, 0, filter_, row, column, channel)

    def filters(self, weight: NDArray[Any]) -> NDArray[Any]:
        """``weight`` as ``(C_out, k_h, k_w, C_in / groups)``, whatever its layout; a view where it can be."""
        if weight.ndim == 2:
            return weight[None, :, :, None]
        return weight if self.layout == "NHWC" else weight.transpose(0, 2, 3, 1)

    def keywords(self) -> Keywords:
        """The keywords that make it, in numbers."""
        g = self.geometry
        return Keywords(g.stride, g.pads, g.dilation, g.groups, self.mode, self.layout)

    # --- problems that follow from it ---------------------------------------------------------------

    def canonical(self, *, cut: bool = True) -> Problem:
        """The problem of `Axis.canonical` axes, which schedules are made of."""
        h, w = (axis.canonical(cut=cut) for axis in self.axes)
        return self if (h, w) == self.axes else replace(self, geometry=self._along(h, w))

    def _along(self, h: Axis, w: Axis) -> ConvGeometry:
        g = self.geometry
        return ConvGeometry.from_axes("axes", (h, w), g.in_channels, g.out_channels, g.groups)

    def reversed(self) -> Problem:
        """The problem that has the axes of all its samples in reverse: in C order what this is in F order.

        Rows become columns, and the other layout's place is where the channels stand.
        """
        weight = self.weight_shape
        return replace(
            self,
            geometry=self._along(*self.axes[::-1]),
            layout="NCHW" if self.layout == "NHWC" else "NHWC",
            x_shape=self.x_shape[::-1],
            weight_shape=weight[::-1] if len(weight) == 2 else (weight[0], *weight[:0:-1]),
            y_shape=self.y_shape[::-1],
        )

    def transposed(self, axes: tuple[Axis, Axis]) -> tuple[list[Problem], bool]:
        """The convolutions that make the transpose, which reads ``y`` and writes an image of these axes.

        One for each pair of phases (`Axis.phases`), with channels and filters changed places; and whether
        they write all pixels. Its outputs are the pixels of its phase, a stride apart; its taps are every
        few of the problem's, from the last one on, so that they have negative strides. Along an axis with
        stride 2 and 3 taps:

            pixels    0 1 2 3 4 5       phase 0   0 . 2 . 4 .   by taps 2, 0
                                        phase 1   . 1 . 3 . 5   by tap 1
        """
        g, taps = self.geometry, self.weight_strides()
        phases = [list(axis.phases()) for axis in axes]
        sample, row, column, channel = self.strides(axes[0].size, axes[1].size, g.in_channels)
        is_dense = axes[0].stride == axes[1].stride == 1
        problems = []
        for h, w in itertools.product(*phases):
            pixels = OutputStrides(
                start=h.first * row + w.first * column,
                sample=sample,
                row=axes[0].stride * row,
                column=axes[1].stride * column,
                channel=channel,
            )
            turned = WeightStrides(
                start=taps.start + h.tap * taps.row + w.tap * taps.column,
                group=g.out_channels // g.groups * taps.filter - g.group_channels * taps.channel,
                filter=taps.channel,
                row=h.step * taps.row,
                column=w.step * taps.column,
                channel=taps.filter,
            )
            geometry = ConvGeometry.from_axes(
                "transposed", (h.axis, w.axis), g.out_channels, g.in_channels, g.groups
            )
            problems.append(
                replace(
                    self,
                    geometry=geometry,
                    mode="zeros",
                    result=self.dtype,
                    x_shape=self.y_shape,
                    y_shape=self.x_shape,
                    output=None if is_dense else pixels,
                    weight=turned,
                )
            )
        are_all = all(len(each) == min(a.stride, a.size) for each, a in zip(phases, axes, strict=True))
        return problems, are_all

    def weight_gradient(self) -> Problem:
        """The convolution that makes the gradient of one group's weights.

        Each channel of ``x`` is a sample, whose channels are the batch; the filters are those of the output's
        gradient. Strides and dilations change places, and so do taps and outputs.
        """
        g = self.geometry
        h, w = (
            replace(
                axis,
                kernel=axis.out,
                stride=axis.dilation,
                dilation=axis.stride,
                after=(axis.out - 1) * axis.stride + axis.reach - axis.size - axis.before,
            )
            for axis in g.axes
        )
        depth, filters = g.group_channels, g.out_channels // g.groups
        return replace(
            self,
            geometry=ConvGeometry.from_axes("weight_gradient", (h, w), self.batch, filters, 1),
            batch=depth,
            layout="NHWC",
            result=self.dtype,
            x_shape=(depth, *g.input_shape[:2], self.batch),
            weight_shape=(filters, *g.output_shape[:2], self.batch),
            y_shape=(depth, *g.kernel_size, filters),
        )


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

"""How a convolution is asked for: the keywords that all functions share, and the axes that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np

from triconv import arguments
from triconv.core.axis import Axis
from triconv.types import Layout, Padding, PaddingMode, Size

Pads = tuple[tuple[int, int], tuple[int, int]]


class Keywords(NamedTuple):
    """The keywords as they were given; carried whole, and checked where the shapes are known.

    A method is a `str`, since more of them may be entered in `triconv.methods.METHODS`.
    """

    stride: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    groups: SupportsIndex = 1
    padding_mode: PaddingMode = "zeros"
    layout: Layout = "NHWC"
    method: str = "auto"

    def but_method(self) -> dict[str, Any]:
        """By name those that say what is computed, not how."""
        named = self._asdict()
        del named["method"]
        return named

    def checked_layout(self, where: str) -> Layout:
        """The layout, refused where it is none."""
        return arguments.choice(where, "layout", self.layout, arguments.LAYOUTS)

    def checked_mode(self, where: str) -> PaddingMode:
        """The padding mode under this library's own name, refused where it is none."""
        return arguments.padding_mode(where, self.padding_mode)

    def checked_groups(self, where: str) -> int:
        """The number of groups, refused where it is none."""
        return arguments.integer(where, "groups", self.groups, 1)

    def bare_axes(self, where: str, sizes: tuple[int, int], kernel: tuple[int, int]) -> tuple[Axis, Axis]:
        """The axes of an image of ``sizes`` without padding."""
        steps = arguments.pair(where, "stride", self.stride)
        dilation = arguments.pair(where, "dilation", self.dilation)
        h, w = (Axis(n, k, s, d) for n, k, s, d in zip(sizes, kernel, steps, dilation, strict=True))
        return h, w

    def axes(
        self, where: str, sizes: tuple[int, int], kernel_size: Size, mode: str = "zeros"
    ) -> tuple[Axis, Axis]:
        """The axes of an image of ``sizes``, refused where the output would be empty."""
        bare = self.bare_axes(where, sizes, arguments.pair(where, "kernel_size", kernel_size))
        h, w = (
            axis.padded_by(*sides) for axis, sides in zip(bare, pads(where, self.padding, bare), strict=True)
        )
        for axis, name in ((h, "height"), (w, "width")):
            check_mode(where, axis.size, (axis.before, axis.after), mode, name)
            if axis.out < 1:
                raise ValueError(
                    f"{where}: kernel_size reaches over {axis.reach} of the padded {name} {axis.padded} "
                    f"({axis.before} + {axis.size} + {axis.after}); the output would be empty"
                )
        return h, w


def pads(where: str, padding: Any, bare: tuple[Axis, Axis] | None) -> Pads:
    """``((top, bottom), (left, right))``; the words need the kernel, hence the axes without padding."""
    if isinstance(padding, str):
        arguments.choice(where, "padding", padding, arguments.PADDING_WORDS)
        if padding == "valid":
            return (0, 0), (0, 0)
        if bare is None:
            raise ValueError(f"{where}: padding {padding!r} needs a kernel; give numbers")
        first, second = (word_pads(padding, axis) for axis in bare)
        return first, second
    if arguments.is_integer(padding):
        number = arguments.integer(where, "padding", padding, 0)
        return (number, number), (number, number)
    what = "an int, (h, w), ((top, bottom), (left, right)) or a word"
    if isinstance(padding, np.ndarray):
        arguments.unmasked(where, "padding", padding)
        padding = padding.tolist()
    if isinstance(padding, bytes) or not isinstance(padding, Sequence):
        raise TypeError(f"{where}: padding expects {what}, got {arguments.describe(padding)}")
    if len(padding) != 2:
        raise ValueError(f"{where}: padding expects {what}, got {len(padding)} values")
    if all(arguments.is_integer(item) for item in padding):
        h, w = (arguments.integer(where, "padding", item, 0) for item in padding)
        return (h, h), (w, w)
    sides = [arguments.integers(where, "padding", item, what, 0) for item in padding]
    if any(len(side) != 2 for side in sides):
        raise ValueError(f"{where}: padding expects {what}, got {padding!r}")
    return (sides[0][0], sides[0][1]), (sides[1][0], sides[1][1])


def word_pads(word: str, axis: Axis) -> tuple[int, int]:
    """Padding before and after that a word other than ``"valid"`` stands for."""
    if word == "full":
        return axis.reach - 1, axis.reach - 1
    out = -(-axis.size // axis.stride)
    total = max((out - 1) * axis.stride + axis.reach - axis.size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if word == "same" else (more, less)


def check_mode(where: str, size: int, sides: tuple[int, int], mode: str, name: str) -> None:
    """Refuse padding that the mode has too few pixels for."""
    unit = "rows" if name == "height" else "columns"
    most = max(0, size - 1 if mode == "reflect" else 0)
    if mode != "zeros" and max(sides) > most and (mode == "reflect" or not size):
        raise ValueError(
            f"{where}: padding: {mode} needs at most {most} {unit} for {name} {size}, got {max(sides)}"
        )

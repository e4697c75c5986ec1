"""One spatial axis of a convolution: its sizes and its index arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Listed(NamedTuple):
    """For each pixel of an axis the places that show it: pixel ``r`` has those from ``starts[r]`` on."""

    starts: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Axis:
    """Everything that one axis contributes; a geometry is one of these an axis and the channels.

    A negative ``before`` or ``after`` cuts pixels off.
    """

    size: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0

    @property
    def padded(self) -> int:
        """Length with its padding, ``H_pad``."""
        return self.before + self.size + self.after

    @property
    def reach(self) -> int:
        """Effective kernel size, ``(k - 1) d + 1``."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        """Output length, ``floor((H_pad - reach) / s) + 1``; not positive where the kernel does not fit."""
        return (self.padded - self.reach) // self.stride + 1

    def padded_by(self, before: int, after: int) -> Axis:
        """The same with this padding."""
        return replace(self, before=before, after=after)

    def canonical(self, *, cut: bool = True) -> Axis:
        """The axis in its simplest form, with the same sums.

        With one output there is no next one, so its stride says nothing; with one tap its dilation does not.
        Both may be of any size, and are made small. ``cut`` leaves nothing of the axis but the patch of its
        one output.
        """
        made = self if self.kernel > 1 else replace(self, dilation=1)
        if made.out != 1:
            return made
        if cut:
            return replace(made, stride=1, after=made.reach - made.before - made.size)
        return replace(made, stride=min(made.stride, made.padded))

    def patch(self, i: int) -> slice:
        """Padded positions that output ``i`` reads."""
        start = i * self.stride
        return slice(start, start + self.reach, self.dilation)

    def patches_containing(self, r: int) -> list[tuple[int, int]]:
        """Every ``(i, u)`` with ``i s + u d = r``, in ascending order of ``i``."""
        taps = range(self.kernel - 1, -1, -1)
        outputs = ((*divmod(r - u * self.dilation, self.stride), u) for u in taps)
        return [(i, u) for i, rest, u in outputs if not rest and 0 <= i < self.out]

    def outputs(self) -> NDArray[np.int64]:
        """Every output position."""
        return np.arange(self.out, dtype=np.int64)

    def border(self) -> tuple[int, int]:
        """The first output whose patch holds no padding, and the first one after those."""
        first = min(self.out, -(-self.before // self.stride))
        last = max(first, min(self.out, (self.before + self.size - self.reach) // self.stride + 1))
        return first, last

    def inside(self, u: int) -> int:
        """How many outputs see a pixel of the image by tap ``u``."""
        first = max(0, -((u * self.dilation - self.before) // self.stride))
        return max(
            0, min(self.out, (self.before + self.size - 1 - u * self.dilation) // self.stride + 1) - first
        )

    def taps(self, i: NDArray[np.int64]) -> NDArray[np.int64]:
        """Padded positions of the taps of outputs ``i``, shape ``(len(i), kernel)``."""
        return i[:, None] * self.stride + np.arange(self.kernel, dtype=np.int64) * self.dilation

    def sources(self, padded: NDArray[np.int64], mode: str) -> NDArray[np.int64]:
        """Input positions that padded positions show, -1 where they show a zero."""
        r = padded - self.before
        if mode == "zeros":
            return np.where((r >= 0) & (r < self.size), r, -1)
        if mode == "replicate":
            return np.clip(r, 0, self.size - 1)
        if mode == "circular":
            return r % self.size
        last = self.size - 1
        return last - np.abs(last - np.abs(r))

    def listed(self, padded: NDArray[np.int64], mode: str) -> Listed:
        """Which of these padded positions show each input position, in ascending order."""
        shown = self.sources(padded, mode)
        places = np.argsort(shown, kind="stable")[np.count_nonzero(shown < 0) :]
        counts = np.bincount(shown[places], minlength=self.size)
        return Listed(np.concatenate([[0], np.cumsum(counts)]), places)

    def phases(self) -> Iterator[Phase]:
        """The transposed convolution along this axis, as convolutions of stride 1 over the outputs.

        With ``r + before = i s + u d``, input positions of one remainder mod ``s`` see every
        ``s / gcd(s, d)``-th tap, and outputs ``d / gcd(s, d)`` apart; later taps see earlier outputs.
        Remainders that no tap reaches are left out.
        """
        common = math.gcd(self.stride, self.dilation)
        step, dilation = self.stride // common, self.dilation // common
        for tap in range(min(step, self.kernel)):
            first = (tap * self.dilation - self.before) % self.stride
            if first >= self.size:
                continue
            kernel = -(-(self.kernel - tap) // step)
            output = (first + self.before - tap * self.dilation) // self.stride
            before = (kernel - 1) * dilation - output
            length = -(-(self.size - first) // self.stride)
            after = length + (kernel - 1) * dilation - before - self.out
            axis = Axis(self.out, kernel, 1, dilation, before, after)
            yield Phase(first, axis, tap + (kernel - 1) * step, -step)


class Phase(NamedTuple):
    """Every ``s``-th input position from ``first`` on: which convolution over the outputs makes it."""

    first: int
    axis: Axis
    tap: int  # the tap that comes first
    step: int  # and the way to the next

"""The types of the arguments that functions share, for annotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex, TypedDict

import numpy as np
from numpy.typing import NDArray

__all__ = ["GeometryKeywords", "Layout", "Order", "Padding", "PaddingMode", "PaddingWord", "Seed", "Size"]

Size = SupportsIndex | Sequence[SupportsIndex] | NDArray[np.integer[Any]]
PaddingWord = Literal["valid", "same", "same_lower", "full"]
Padding = Size | Sequence[Sequence[SupportsIndex]] | PaddingWord
PaddingMode = Literal["zeros", "reflect", "replicate", "circular", "constant", "edge", "wrap"]
Layout = Literal["NHWC", "NCHW"]
Order = Literal["F", "C"]
Seed = int | Sequence[int] | np.random.SeedSequence | np.random.BitGenerator | np.random.Generator | None


class GeometryKeywords(TypedDict, total=False):
    """The keywords that say which patches are seen, where a function passes them on."""

    stride: Size
    padding: Padding
    dilation: Size
    groups: SupportsIndex
    padding_mode: PaddingMode

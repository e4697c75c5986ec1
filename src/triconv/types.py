"""The types of the arguments that functions share, for annotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

__all__ = ["Layout", "Order", "Padding", "PaddingMode", "PaddingWord", "Size"]

Size = SupportsIndex | Sequence[SupportsIndex] | NDArray[np.integer[Any]]
PaddingWord = Literal["valid", "same", "same_lower", "full"]
Padding = Size | Sequence[Sequence[SupportsIndex]] | PaddingWord
PaddingMode = Literal["zeros", "reflect", "replicate", "circular", "constant", "edge", "wrap"]
Layout = Literal["NHWC", "NCHW"]
Order = Literal["F", "C"]

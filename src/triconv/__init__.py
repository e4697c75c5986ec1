"""Convolution layers three ways, exactly: direct, im2col, and as the matrix W."""

import importlib as _importlib
from typing import Any as _Any

from triconv.compare import Comparison, compare
from triconv.convolution import conv2d, warmup
from triconv.core.geometry import ConvGeometry
from triconv.layer import Conv2d
from triconv.matrix import conv_matrix
from triconv.patches import col2im, flatten_weight, im2col, pad
from triconv.plan import ConvPlan, plan
from triconv.runtime.threads import get_num_threads, set_num_threads, threads
from triconv.transpose import conv2d_input_grad, conv_transpose2d
from triconv.weight_gradient import conv2d_weight_grad

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Conv2d",
    "ConvGeometry",
    "ConvOperator",
    "ConvPlan",
    "col2im",
    "compare",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "conv_matrix",
    "conv_transpose2d",
    "explore",
    "flatten_weight",
    "get_num_threads",
    "im2col",
    "pad",
    "plan",
    "plot",
    "set_num_threads",
    "threads",
    "warmup",
]


def __getattr__(name: str) -> _Any:
    """Load figures, the explorer, and the operator, which needs SciPy's, when they are first asked for."""
    if name == "plot":
        return _importlib.import_module("triconv.plot")
    if name == "explore":
        return _importlib.import_module("triconv.explorer").explore
    if name == "ConvOperator":
        return _importlib.import_module("triconv.operators").ConvOperator
    raise AttributeError(f"module 'triconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

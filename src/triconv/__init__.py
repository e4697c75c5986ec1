"""Convolution layers three ways, exactly: direct, im2col, and as the matrix W."""

from triconv.api import conv2d, conv_matrix, flatten_weight, im2col, pad
from triconv.compare import Comparison, compare
from triconv.geometry import ConvGeometry
from triconv.plan import ConvPlan, plan
from triconv.runtime.threads import get_num_threads, set_num_threads, threads

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "ConvGeometry",
    "ConvPlan",
    "compare",
    "conv2d",
    "conv_matrix",
    "flatten_weight",
    "get_num_threads",
    "im2col",
    "pad",
    "plan",
    "set_num_threads",
    "threads",
]

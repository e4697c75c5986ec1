"""The ways to compute one convolution: modules that answer the questions of `Method`, in its order."""

from __future__ import annotations

from triconv.methods import direct, im2col, matrix
from triconv.methods.method import Method

METHODS: dict[str, Method] = {method.NAME: method for method in (direct, im2col, matrix)}


def names() -> tuple[str, ...]:
    """What a caller may ask for."""
    return "auto", *METHODS

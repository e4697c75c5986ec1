"""The ways to compute one convolution: modules that answer the questions of `Method`, in its order."""

from __future__ import annotations

from triconv.methods import direct, im2col, matrix
from triconv.methods.method import Method

METHODS: dict[str, Method] = {method.NAME: method for method in (direct, im2col, matrix)}
# Those that are compared where none are named.
EXACT = tuple(name for name, method in METHODS.items() if method.IS_EXACT)
# What is drawn or shown comes by one that none of the others has to agree with.
SHOWN = next(name for name, method in METHODS.items() if not method.NEEDS_MATRIX)


def names() -> tuple[str, ...]:
    """What a caller may ask for."""
    return "auto", *METHODS

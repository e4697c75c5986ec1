"""Arguments that many functions share, described in one place and complete in every docstring.

A docstring names them on a line ``%(stride, padding)``, and `described` puts their descriptions there, so
that ``help`` in a terminal needs no other page.
"""

from __future__ import annotations

import inspect
import re
from typing import TypeVar

T = TypeVar("T")

METHOD = '{"auto", "direct", "im2col", "matrix"}'
ARGUMENTS = {
    "x": """
        x : array_like
            ``(H, W, C_in)`` or ``(N, H, W, C_in)``; in NCHW ``(C_in, H, W)`` or ``(N, C_in, H, W)``; or one
            channel ``(H, W)``. Any strides; never modified.
        """,
    "weight": """
        weight : array_like
            ``(C_out, k_h, k_w, C_in / groups)``; in NCHW ``(C_out, C_in / groups, k_h, k_w)``; or, where the
            input is one channel ``(H, W)``, one filter ``(k_h, k_w)``.
        """,
    "bias": """
        bias : array_like, optional
            ``(C_out,)``; a scalar for a 2-D weight.
        """,
    "input_shape": """
        input_shape : sequence of int
            The full shape of the input, the batch axis included.
        """,
    "sample_shape": """
        input_shape : sequence of int
            Of one sample: ``(H, W, C_in)``, in NCHW ``(C_in, H, W)``, or ``(H, W)`` of one channel.
        """,
    "kernel_size": """
        kernel_size : int or (int, int)
            ``k_h, k_w``.
        """,
    "stride": """
        stride : int or (int, int), default 1
            Rows and columns from patch to patch.
        """,
    "padding": """
        padding : int, (int, int), ((int, int), (int, int)) or str, default 0
            Both sides; rows and columns; ``((top, bottom), (left, right))``; or ``"valid"`` (none),
            ``"same"`` (``H_out = ceil(H_in / s_h)``, an odd one more at the bottom and right),
            ``"same_lower"`` (at the top and left), ``"full"`` (every overlap).
        """,
    "dilation": """
        dilation : int or (int, int), default 1
            Rows and columns from tap to tap.
        """,
    "groups": """
        groups : int, default 1
            Splits channels and filters; filter ``m`` sees its own group's ``C_in / groups`` channels.
        """,
    "padding_mode": """
        padding_mode : {"zeros", "reflect", "replicate", "circular"}
            What the padding of a row ``abcd`` shows: zeros ``00|abcd|00``, reflect ``cb|abcd|cb``, replicate
            ``aa|abcd|dd``, circular ``cd|abcd|ab``. NumPy's names ``"constant"``, ``"edge"`` and ``"wrap"``
            work too.
        """,
    "layout": """
        layout : {"NHWC", "NCHW"}
            Where the channels stand.
        """,
    "order": """
        order : {"F", "C"}
            ``vec`` is ``sample.ravel(order)`` of a sample in its own layout.
        """,
    "method": f"""
        method : {METHOD}
            How it is computed; the answer is the same up to rounding. ``"auto"`` takes the one that is
            predicted to be the fastest, and W only where it takes no more memory.
        """,
    "method_of_transpose": f"""
        method : {METHOD}
            How it is computed; the answer is the same up to rounding. ``"matrix"`` assembles the transpose of
            W; ``"auto"`` takes the faster of the others.
        """,
    "method_of_weights": f"""
        method : {METHOD}
            How it is computed: bands of the input, blocks of patches, or the matrix of the convolution of
            ``x`` with ``grad``, which this is too. ``"auto"`` takes the faster of the first two.
        """,
    "method_of_operator": f"""
        method : {METHOD}
            ``"matrix"`` holds W, which it assembles when it is first applied, and the transpose of W once the
            adjoint is. The others need no matrix; ``"auto"`` is the faster of them.
        """,
    "errors": """
        ValueError
            For shapes, values and names that do not fit, with the arithmetic.
        TypeError
            For dtypes and types.
        """,
}

# What all functions that convolve take alike.
TOGETHER = {"keywords": ("stride", "padding", "dilation", "groups", "padding_mode", "layout")}


def described(thing: T) -> T:
    """A function or class whose docstring has the descriptions of the arguments that it names."""
    if thing.__doc__:  # none with ``python -OO``
        thing.__doc__ = re.sub(r"(?m)^( *)%\(([\w, ]+)\)$", _found, thing.__doc__)
    return thing


def _found(match: re.Match[str]) -> str:
    indent, names = match.groups()
    single = [each for name in names.split(", ") for each in TOGETHER.get(name, (name,))]
    text = "\n".join(inspect.cleandoc(ARGUMENTS[name]) for name in single)
    return "\n".join(indent + line if line else line for line in text.splitlines())

"""The ways to compute one convolution: modules that answer the same questions in the same order.

Each has ``schedule``, a pure function of problem and machine; ``cost``, ``packed_bytes`` and
``workspace_bytes``, what that schedule will take; ``packer``, which puts weights in its own order;
``tables``, what its kernels index by; ``runner``, which runs them; and ``explain``, the schedule in words.
"""

from __future__ import annotations

from types import ModuleType

from triconv.methods import direct, im2col, matrix

METHODS: dict[str, ModuleType] = {"direct": direct, "im2col": im2col, "matrix": matrix}
NAMES = ("auto", *METHODS)

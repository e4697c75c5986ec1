"""Problems from what callers gave: shapes, dtypes and keywords, checked against each other.

One function for each kind of call, all of which end in a `Problem`. Messages open with ``where``, the public
name that was called.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from triconv import arguments
from triconv.core.axis import Axis
from triconv.core.geometry import ConvGeometry
from triconv.core.keywords import Keywords, pads
from triconv.core.problem import Problem, Shape, channels_last, in_layout
from triconv.runtime import memory
from triconv.types import Size

TABLES = 32  # bytes of tables of indices, while they are made, a padded row or column
MOST = 2**62  # elements of an array at most, so that no sum of two places overflows


def convolution(
    where: str,
    x_shape: Shape,
    weight_shape: Shape,
    bias_shape: Shape | None,
    result: np.dtype[Any],
    keywords: Keywords,
    x_name: str = "x",
) -> Problem:
    """The convolution of an image with filters."""
    layout = keywords.checked_layout(where)
    mode = keywords.checked_mode(where)
    groups = keywords.checked_groups(where)
    check_weight(where, weight_shape, layout)
    batch, (height, width, channels) = image_shape(where, x_name, x_shape, layout)
    if len(weight_shape) == 2:
        if len(x_shape) != 2:
            raise ValueError(f"{where}: a 2-D weight expects a 2-D {x_name}, got shape {x_shape}")
        filters, depth, kernel = 1, 1, (weight_shape[0], weight_shape[1])
    else:
        filters = weight_shape[0]
        shape = channels_last(layout, weight_shape)
        depth, kernel = shape[2], (shape[0], shape[1])
    check_channels(where, x_name, channels, filters, depth, groups, layout)
    check_bias(where, bias_shape, filters, flat=len(weight_shape) == 2)
    axes = keywords.axes(where, (height, width), kernel, mode)
    require_tables(where, axes)
    geometry = ConvGeometry.from_axes(where, axes, channels, filters, groups)
    y_shape: Shape = in_layout(layout, *geometry.output_shape)
    if len(x_shape) == 4:
        y_shape = (batch, *y_shape)
    elif len(weight_shape) == 2:
        y_shape = geometry.output_shape[:2]
    check_count(where, batch, geometry)
    dtype = arguments.computed(result)
    return Problem(geometry, batch, mode, layout, dtype, result, x_shape, weight_shape, y_shape)


def weight_gradient(
    where: str,
    grad_shape: Shape,
    x_shape: Shape,
    kernel_size: Size,
    result: np.dtype[Any],
    keywords: Keywords,
) -> Problem:
    """The convolution whose filters a gradient of this shape is taken to, where they are not at hand."""
    kernel = arguments.pair(where, "kernel_size", kernel_size)
    groups = keywords.checked_groups(where)
    layout = keywords.checked_layout(where)
    _, (_, _, channels) = image_shape(where, "x", x_shape, layout)
    weight_shape: Shape = kernel
    if not len(x_shape) == 2 == len(grad_shape):
        _, (_, _, filters) = image_shape(where, "grad", grad_shape, layout)
        if channels % groups:
            raise ValueError(
                f"{where}: groups expects a divisor of the {channels} channels of x, got {groups}"
            )
        weight_shape = (filters, *in_layout(layout, *kernel, channels // groups))
    problem = convolution(where, x_shape, weight_shape, None, result, keywords)
    check_grad(where, grad_shape, problem)
    return problem


def transposed(
    where: str,
    x_shape: Shape,
    weight_shape: Shape,
    bias_shape: Shape | None,
    result: np.dtype[Any],
    keywords: Keywords,
    output_padding: Size,
) -> Problem:
    """The convolution whose transpose takes an image of this shape: its outputs are that image's pixels."""
    layout = keywords.checked_layout(where)
    groups = keywords.checked_groups(where)
    check_weight(where, weight_shape, layout, "C_in", "C_out / groups")
    batch, (height, width, channels) = image_shape(where, "x", x_shape, layout)
    flat = len(weight_shape) == 2
    if flat and len(x_shape) != 2:
        raise ValueError(f"{where}: a 2-D weight expects a 2-D x, got shape {x_shape}")
    rows, columns, depth = (*weight_shape, 1) if flat else channels_last(layout, weight_shape)
    count = 1 if flat else weight_shape[0]
    if count != channels:
        raise ValueError(
            f"{where}: weight expects a filter for each of the {channels} channels of x, got {count} "
            f"(layout={layout!r})"
        )
    if channels % groups:
        raise ValueError(f"{where}: groups expects a divisor of the {channels} channels of x, got {groups}")
    check_bias(where, bias_shape, depth * groups, flat=flat)
    axes = transposed_axes(where, (height, width), (rows, columns), keywords, output_padding)
    require_tables(where, axes)
    geometry = ConvGeometry.from_axes(where, axes, depth * groups, channels, groups)
    check_count(where, batch, geometry)
    shape: Shape = in_layout(layout, *geometry.input_shape)
    if len(x_shape) == 4:
        shape = (batch, *shape)
    elif flat:
        shape = geometry.input_shape[:2]
    dtype = arguments.computed(result)
    return Problem(geometry, batch, "zeros", layout, dtype, result, shape, weight_shape, x_shape)


def patches(
    where: str,
    shape: Shape,
    dtype: np.dtype[Any],
    kernel_size: Size,
    keywords: Keywords,
    x_name: str = "x",
) -> Problem:
    """The convolution with one filter over all channels, for what needs patches but no weights."""
    layout = keywords.checked_layout(where)
    mode = keywords.checked_mode(where)
    batch, (height, width, channels) = image_shape(where, x_name, shape, layout)
    axes = keywords.axes(where, (height, width), kernel_size, mode)
    require_tables(where, axes)
    geometry = ConvGeometry.from_axes(where, axes, channels, 1, 1)
    check_count(where, batch, geometry)
    result = arguments.floating(dtype)
    y_shape = in_layout(layout, *geometry.output_shape)
    computed = arguments.computed(result)
    return Problem(geometry, batch, mode, layout, computed, result, shape, (), y_shape).canonical()


def transposed_axes(
    where: str,
    sizes: tuple[int, int],
    kernel: tuple[int, int],
    keywords: Keywords,
    output_padding: Size,
) -> tuple[Axis, Axis]:
    """The axes of the convolution whose outputs have these sizes."""
    bare = keywords.bare_axes(where, sizes, kernel)
    extra = arguments.pair(where, "output_padding", output_padding, 0)
    if isinstance(keywords.padding, str) and keywords.padding != "valid":
        arguments.choice(where, "padding", keywords.padding, ("valid",))
    axes = []
    for axis, (before, after), more, name in zip(
        bare, pads(where, keywords.padding, None), extra, ("height", "width"), strict=True
    ):
        n, k, s, d = axis.size, axis.kernel, axis.stride, axis.dilation
        if more >= max(s, d):
            raise ValueError(
                f"{where}: output_padding expects less than the larger of stride {s} and dilation {d}, "
                f"got {more}"
            )
        size = (n - 1) * s - (before + after) + d * (k - 1) + more + 1
        if n < 1:
            raise ValueError(f"{where}: x expects at least 1 for its {name}, got {n}")
        if size < 1:
            raise ValueError(
                f"{where}: the output would be empty: {name} {n} gives "
                f"({n} - 1) * {s} - ({before} + {after}) + {d} * ({k} - 1) + {more} + 1 = {size}"
            )
        # What the convolution would read beyond its last output is cut off.
        axes.append(Axis(size, k, s, d, before, after - more))
    return axes[0], axes[1]


# --- single checks ----------------------------------------------------------------------------------


def image_shape(
    where: str, name: str, shape: Shape, layout: str, *, batched: bool = True
) -> tuple[int, Shape]:
    """The batch size and ``(H, W, C)`` of an input."""
    axes = (
        ("(H, W)", "(H, W, C)", "(N, H, W, C)")
        if layout == "NHWC"
        else ("(H, W)", "(C, H, W)", "(N, C, H, W)")
    )
    allowed = axes if batched else axes[:2]
    if not 2 <= len(shape) <= len(allowed) + 1:
        raise ValueError(
            f"{where}: {name} expects {' or '.join(allowed)}, got shape {shape} (layout={layout!r})"
        )
    if len(shape) == 2:
        return 1, (*shape, 1)
    height, width, channels = channels_last(layout, shape)
    if channels < 1:
        raise ValueError(f"{where}: {name} expects at least 1 channel, got {channels} (layout={layout!r})")
    return (shape[0] if len(shape) == 4 else 1), (height, width, channels)


def require_tables(where: str, axes: tuple[Axis, Axis]) -> None:
    """Refuse sizes whose tables of indices would not fit, which also keeps all indices to 64 bits."""
    h, w = axes
    memory.require(
        where,
        TABLES * (h.padded + w.padded),
        f"indexing {h.padded} padded rows and {w.padded} padded columns",
    )


def check_count(where: str, batch: int, geometry: ConvGeometry) -> None:
    """Refuse arrays whose elements, padding included, 64 bits could not number."""
    for name, shape in (("padded input", geometry.padded_shape), ("output", geometry.output_shape)):
        if batch * math.prod(shape) > MOST:
            raise MemoryError(
                f"{where}: the {name} would have {batch} x {' x '.join(map(str, shape))} elements, "
                "more than 64 bits can count"
            )


def check_weight(
    where: str, shape: Shape, layout: str, filters: str = "C_out", depth: str = "C_in / groups"
) -> None:
    """Refuse what is no bank of filters."""
    if len(shape) not in (2, 4):
        expected = (
            f"({filters}, k_h, k_w, {depth})" if layout == "NHWC" else f"({filters}, {depth}, k_h, k_w)"
        )
        raise ValueError(
            f"{where}: weight expects {expected} or (k_h, k_w), got shape {shape} (layout={layout!r})"
        )
    if min(shape) < 1:
        raise ValueError(f"{where}: weight expects at least one filter and no empty axis, got shape {shape}")


def check_channels(
    where: str, x_name: str, channels: int, filters: int, depth: int, groups: int, layout: str
) -> None:
    """Refuse channel counts that do not fit each other."""
    if filters % groups:
        raise ValueError(f"{where}: groups expects a divisor of the {filters} filters, got {groups}")
    if depth * groups != channels:
        raise ValueError(
            f"{where}: weight expects {depth} input channels per group, {x_name} has {channels} "
            f"(layout={layout!r}, groups={groups})"
        )


def check_bias(where: str, shape: Shape | None, filters: int, *, flat: bool) -> None:
    """Refuse a bias that is not one number a filter."""
    if shape is None or shape == (filters,) or (flat and shape == ()):
        return
    expected = "a scalar or shape (1,)" if flat else f"shape ({filters},)"
    raise ValueError(f"{where}: bias expects {expected}, got shape {shape}")


def require_result(where: str, problem: Problem, tables: int = 0) -> None:
    """Refuse a result of the input's shape that would not fit, beside so many bytes of tables."""
    g = problem.geometry
    # Padding that copies pixels is there until it is folded.
    shape = g.input_shape if problem.mode == "zeros" else g.padded_shape
    size = problem.batch * math.prod(shape) * problem.dtype.itemsize
    memory.require(where, size + tables, f"the result of shape {problem.x_shape}")


def check_grad(where: str, shape: Shape, problem: Problem) -> None:
    """Refuse a gradient that is not of the output's shape."""
    if shape != problem.y_shape:
        raise ValueError(f"{where}: grad expects the output's shape {problem.y_shape}, got {shape}")

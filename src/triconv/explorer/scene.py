"""What the explorer shows, as plain numbers: everything is asked of the library, and nothing drawn here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triconv import arguments
from triconv.convolution import conv2d
from triconv.core import checked
from triconv.core.geometry import ConvGeometry
from triconv.core.keywords import Keywords
from triconv.core.problem import Problem, Shape
from triconv.methods import METHODS, SHOWN
from triconv.methods.choice import candidates
from triconv.patches import flatten_weight, im2col, pad
from triconv.runtime.machine import machine
from triconv.types import PaddingMode

Pair = tuple[int, int]
MOST = {"height": 24, "width": 24, "in_channels": 8, "out_channels": 8, "kernel": 9}
DRAWN = 60_000  # entries of W that are drawn
STEPS = (1, 2, 3, 4)  # strides and dilations that the controls offer
PADDINGS = (0, 1, 2, 3, "same", "full")  # the same of padding


@dataclass(frozen=True, slots=True)
class Settings:
    """The geometry that the controls choose; sizes are those of the leading part of the arrays."""

    size: Pair
    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair
    padding: Any
    dilation: Pair
    groups: int
    padding_mode: PaddingMode

    def but(self, **changes: Any) -> Settings:
        """The same with some changed."""
        return replace(self, **changes)

    @property
    def keywords(self) -> dict[str, Any]:
        """Those of `conv2d`."""
        names = ("stride", "padding", "dilation", "groups", "padding_mode")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Arrays:
    """The whole input and filters, channels last, of which settings take the leading parts."""

    x: NDArray[Any]
    weight: NDArray[Any]
    bias: NDArray[Any]

    def checked(self, settings: Settings) -> Problem:
        """The convolution of the leading parts, refused where they have none."""
        where = "explore"
        for name, value, most in (
            ("size", settings.size, self.x.shape[:2]),
            ("kernel_size", settings.kernel_size, self.weight.shape[1:3]),
            ("in_channels", (settings.in_channels,), self.x.shape[2:]),
            ("out_channels", (settings.out_channels,), self.weight.shape[:1]),
        ):
            if any(n > m for n, m in zip(value, most, strict=True)):
                raise ValueError(f"{where}: {name} expects at most {most}, got {value}")
        depth = settings.in_channels // settings.groups
        checked.check_channels(
            *(where, "the input", settings.in_channels, settings.out_channels, depth, settings.groups, "NHWC")
        )
        if depth > self.weight.shape[3]:
            raise ValueError(
                f"{where}: weight has filters of {self.weight.shape[3]} channels, {depth} are needed for "
                f"in_channels={settings.in_channels} and groups={settings.groups}"
            )
        return checked.convolution(
            where,
            (*settings.size, settings.in_channels),
            (settings.out_channels, *settings.kernel_size, depth),
            None,
            np.dtype(np.float64),
            Keywords(**settings.keywords),
            x_name="size",
        )

    def taken(self, settings: Settings) -> Arrays:
        """The leading parts."""
        (height, width), (rows, columns) = settings.size, settings.kernel_size
        depth = settings.in_channels // settings.groups
        return Arrays(
            self.x[:height, :width, : settings.in_channels],
            self.weight[: settings.out_channels, :rows, :columns, :depth],
            self.bias[: settings.out_channels],
        )


def choices(arrays: Arrays, settings: Settings) -> dict[str, list[Any]]:
    """For each control the values that are valid beside the others' present ones."""
    height, width, channels = arrays.x.shape
    filters, rows, columns, _ = arrays.weight.shape
    offered: dict[str, list[Any]] = {
        "in_channels": list(range(1, channels + 1)),
        "out_channels": list(range(1, filters + 1)),
        "groups": list(range(1, max(channels, filters) + 1)),
        "padding": list(PADDINGS),
        "padding_mode": ["zeros", "reflect", "replicate", "circular"],
    }
    if settings.padding not in PADDINGS:
        offered["padding"].append(settings.padding)
    valid = {
        name: [value for value in values if is_valid(arrays, settings.but(**{name: value}))]
        for name, values in offered.items()
    }
    for name, most in (
        ("size", (height, width)),
        ("kernel_size", (rows, columns)),
        ("stride", (len(STEPS), len(STEPS))),
        ("dilation", (len(STEPS), len(STEPS))),
    ):
        present: Pair = getattr(settings, name)
        for axis, along in enumerate(("height", "width")):
            steps = sorted({*range(1, most[axis] + 1), present[axis]})
            pairs = [(n, present[1]) if axis == 0 else (present[0], n) for n in steps]
            valid[f"{name} {along}"] = [
                pair[axis] for pair in pairs if is_valid(arrays, settings.but(**{name: pair}))
            ]
    return valid


def is_valid(arrays: Arrays, settings: Settings) -> bool:
    """Whether the library takes these settings."""
    try:
        arrays.checked(settings)
    except ValueError:
        return False
    return True


class Scene:
    """One convolution with its values, and all that the panels show of it."""

    def __init__(self, arrays: Arrays, settings: Settings) -> None:
        self.problem = arrays.checked(settings)
        self.geometry: ConvGeometry = self.problem.geometry
        taken = arrays.taken(settings)
        self.x, self.weight, self.bias = taken.x, taken.weight, taken.bias
        self.settings = settings
        self.keywords = settings.keywords
        self.padded = pad(self.x, self.geometry.pads, padding_mode=settings.padding_mode)
        self.output = conv2d(self.x, self.weight, self.bias, method=SHOWN, **self.keywords)
        self.filters = flatten_weight(self.weight)
        g = self.geometry
        patches = dict(self.keywords, padding=g.pads)
        patches.pop("groups")
        self.patches = im2col(self.x, g.kernel_size, **patches)

    def panels(self) -> dict[str, Any]:
        """The numbers of all panels, whatever is lit."""
        g = self.geometry
        (top, _), (left, _) = g.pads
        return {
            "input": {"shape": g.padded_shape, "values": channels_first(self.padded)},
            "inside": [top, left, *g.input_shape[:2]],
            "filters": {"shape": self.weight.shape, "values": [channels_first(k) for k in self.weight]},
            "taps": self.taps(),
            "bias": self.bias.tolist(),
            "output": {"shape": g.output_shape, "values": channels_first(self.output)},
            "sizes": self.sizes(),
        }

    def taps(self) -> list[Any]:
        """Where each tap of a filter stands in ``k_m``: ``[c][u][v]``."""
        h, w = self.geometry.kernel_size
        c, u, v = np.ogrid[: self.geometry.group_channels, :h, :w]
        listed: list[Any] = self.geometry.patch_index(u, v, c).tolist()
        return listed

    def sizes(self) -> list[str]:
        """How the sizes of the output follow."""
        g = self.geometry
        lines = []
        for name, axis in zip("HW", g.axes, strict=True):
            room = f"{axis.before} + {axis.size} + {axis.after} - {axis.reach}"
            lines.append(f"{name}_out = floor(({room}) / {axis.stride}) + 1 = {axis.out}")
        return lines

    def matrix(self) -> dict[str, Any]:
        """W over ``vec(X_pad)``: its shape, and for each entry row, column and tap, as bytes of int32s."""
        g = self.geometry
        outputs, inputs = (int(np.prod(shape)) for shape in (g.output_shape, g.padded_shape))
        found: dict[str, Any] = {"shape": [outputs, inputs], "entries": g.nnz}
        if g.nnz <= DRAWN:
            rows = [g.row(*position) for position in zip(*g.output_position(np.arange(outputs)), strict=True)]
            count = np.full(outputs, g.patch_size)
            for name, values in (
                ("rows", np.repeat(np.arange(outputs), count)),
                ("columns", np.concatenate([columns for columns, _ in rows])),
                ("taps", np.concatenate([taps for _, taps in rows])),
            ):
                found[name] = values.astype(np.int32).tobytes()
        return found

    def costs(self) -> list[dict[str, Any]]:
        """What each method is predicted to take."""
        found = []
        for name, schedule, cost in candidates(self.problem, machine()):
            module = METHODS[name]
            found.append(
                {
                    "method": name,
                    "operations": schedule.entries if module.NEEDS_MATRIX else self.geometry.flops // 2,
                    "bytes": cost.bytes,
                    "entries": schedule.entries if module.NEEDS_MATRIX else None,
                    "workspace": module.workspace_bytes(self.problem, schedule, 1),
                    "packed": module.packed_bytes(self.problem, schedule),
                }
            )
        return found

    def output_at(self, i: int, j: int, m: int) -> dict[str, Any]:
        """An output: its patch, the two vectors, the sum written out, and its row of W."""
        g = self.geometry
        rows, across, _ = g.patch(i, j)
        columns, taps = g.row(i, j, m)
        r, c, channels = g.padded_position(columns)
        flattened = self.patches[i * g.output_shape[1] + j]
        group = m // (g.out_channels // g.groups)
        x_ij = flattened[group * g.patch_size : (group + 1) * g.patch_size]
        k_m = self.filters[m]
        order = np.argsort(taps)
        written = " + ".join(f"{number(x)}·{number(k)}" for x, k in zip(x_ij, k_m, strict=True))
        value = self.output[i, j, m]
        return {
            "kind": "output",
            "at": [i, j, m],
            "cells": np.stack([r, c, channels, taps], 1)[order].tolist(),
            "x": x_ij.tolist(),
            "k": k_m.tolist(),
            "row": int(g.output_index(i, j, m)),
            "columns": columns.tolist(),
            "written": f"{number(self.bias[m])} + {written} = {value:.4g}",
            "says": f"Y[{i}, {j}, {m}] = {value:.4g}, row {g.output_index(i, j, m)} of W; "
            f"its patch starts at X_pad[{rows.start}, {across.start}]",
        }

    def input_at(self, r: int, c: int, channel: int) -> dict[str, Any]:
        """A pixel of the padded input: the patches that hold it, what else they hold, and its column of W."""
        g = self.geometry
        places = g.patches_containing(r, c)
        group = channel // g.group_channels
        filters = g.out_channels // g.groups
        i, j, u, v = places.T
        taps = g.patch_index(u, v, np.full_like(u, channel % g.group_channels))
        cells = [
            [*place, m, tap]
            for m in range(group * filters, (group + 1) * filters)
            for place, tap in zip(np.stack([i, j], 1).tolist(), np.atleast_1d(taps).tolist(), strict=True)
        ]
        value = self.padded[r, c, channel]
        counts = np.zeros(self.padded.shape[:2], int)
        for place in places:
            counts[g.patch(*place[:2])[:2]] += 1
        return {
            "kind": "input",
            "at": [r, c, channel],
            "cells": cells,
            "patches": places.tolist(),
            "first": group * filters,
            "near": [[*place, int(counts[tuple(place)])] for place in np.argwhere(counts).tolist()],
            "column": int(g.padded_index(r, c, channel)),
            "rows": [int(g.output_index(i, j, m)) for i, j, m, _ in cells],
            "says": f"X_pad[{r}, {c}, {channel}] = {value:.4g}, column {g.padded_index(r, c, channel)} of W; "
            f"it lies in {len(places)} patches" + ("" if len(places) else ", so no output sees it"),
        }


def channels_first(array: NDArray[Any]) -> list[Any]:
    """The values of an image as nested lists ``[c][r][c]``."""
    listed: list[Any] = np.moveaxis(array, -1, 0).tolist()
    return listed


def number(value: float) -> str:
    """A number as a formula shows it: negative ones in brackets."""
    text = f"{value:.4g}"
    return f"({text})" if text.startswith("-") else text


def limited(name: str, shape: Shape) -> None:
    """Refuse arrays that are too large to be shown number by number."""
    names = ("out_channels", "kernel", "kernel", "in_channels") if name == "weight" else (
        "height", "width", "in_channels"
    )  # fmt: skip
    most = tuple(MOST[each] for each in names)
    if any(n > m for n, m in zip(shape, most, strict=True)):
        raise ValueError(f"explore: {name} expects at most shape {most}, got {shape}; show a part of it")


def prepared(x: Any, weight: Any, bias: Any, layout: str, groups: Any) -> Arrays:
    """The arrays as the explorer keeps them: channels last, in double precision, with a bias."""
    where = "explore"
    layout = arguments.choice(where, "layout", layout, arguments.LAYOUTS)
    groups = arguments.integer(where, "groups", groups, 1)
    rng = np.random.default_rng(5)
    kernel = None if weight is None else np.asarray(arguments.array(where, "weight", weight))
    if kernel is not None and kernel.ndim == 2:
        kernel = kernel[None, :, :, None]
    elif kernel is not None and layout == "NCHW":
        kernel = np.moveaxis(kernel, 1, -1)
    if x is None:
        channels = kernel.shape[-1] * groups if kernel is not None else 3 if groups == 1 else groups
        image = rng.integers(0, 10, (12, 12, channels)).astype(np.float64)
    else:
        image = np.asarray(arguments.array(where, "x", x))
        if image.ndim == 2:
            image = image[:, :, None]
        elif layout == "NCHW":
            image = np.moveaxis(image, 0, -1)
    if image.ndim != 3:
        raise ValueError(f"{where}: x expects one sample, got shape {np.shape(x)}")
    if kernel is None:
        sides = (min(5, side) for side in image.shape[:2])
        filters = groups * max(1, 4 // groups)
        kernel = rng.integers(-2, 3, (filters, *sides, image.shape[2] // groups)).astype(np.float64)
    if kernel.ndim != 4:
        raise ValueError(f"{where}: weight expects 2 or 4 axes, got shape {kernel.shape}")
    for name, array in (("x", image), ("weight", kernel)):
        if array.dtype.kind == "c":
            raise TypeError(f"{where}: {name} expects real numbers, got {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"{where}: {name} expects finite numbers")
        limited(name, array.shape)
    start = np.zeros(len(kernel)) if bias is None else np.asarray(arguments.array(where, "bias", bias), float)
    if start.reshape(-1).shape != (len(kernel),):
        raise ValueError(f"{where}: bias expects shape ({len(kernel)},), got {start.shape}")
    return Arrays(image.astype(np.float64), kernel.astype(np.float64), start.reshape(-1).astype(np.float64))

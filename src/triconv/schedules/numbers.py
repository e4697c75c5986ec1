"""The groups of a kernel's record that follow from the problem alone."""

from __future__ import annotations

from triconv.core.problem import Problem
from triconv.kernels.records import Numbers


def image(problem: Problem) -> Numbers:
    """How ``x`` lies in memory."""
    g = problem.geometry
    sample, row, column, channel = problem.strides(*g.input_shape)
    return {"channels": g.in_channels, "sample": sample, "channel": channel, "step": (row, column)}


def inside(problem: Problem) -> Numbers:
    """Which padded positions show the image's own pixels."""
    h, w = problem.axes
    return {"first": (h.before, w.before), "last": (h.before + h.size, w.before + w.size)}


def output(problem: Problem) -> Numbers:
    """How many pixels the output has, and how it lies in memory."""
    h, w = problem.axes
    y = problem.output_strides()
    return {
        "start": y.start,
        "sample": y.sample,
        "filter": y.channel,
        "size": (h.out, w.out),
        "step": (y.row, y.column),
    }


def window(problem: Problem) -> Numbers:
    """Which pixels a patch holds."""
    h, w = problem.axes
    return {
        "size": (h.kernel, w.kernel),
        "stride": (h.stride, w.stride),
        "dilation": (h.dilation, w.dilation),
    }


def groups(problem: Problem, count: int) -> Numbers:
    """How channels and filters are grouped, where filters are packed in so many groups."""
    g = problem.geometry
    return {"count": count, "channels": g.group_channels, "filters": g.out_channels // count}


def packed(problem: Problem, count: int, width: int) -> Numbers:
    """How filters are packed, in groups and in blocks of ``width``."""
    g = problem.geometry
    return {"width": width, "blocks": -(-(g.out_channels // count) // width), "size": g.patch_size * width}


def weight(problem: Problem) -> Numbers:
    """How weights lie in memory, a gap after each group."""
    g, taps = problem.geometry, problem.weight_strides()
    return {
        "start": taps.start,
        "filters": g.out_channels // g.groups,
        "gap": taps.group,
        "filter": taps.filter,
        "channel": taps.channel,
        "step": (taps.row, taps.column),
    }


def multiplied(problem: Problem, count: int, width: int) -> dict[str, Numbers]:
    """The groups of every kernel that multiplies data with packed filters."""
    return {
        "image": image(problem),
        "inside": inside(problem),
        "output": output(problem),
        "window": window(problem),
        "groups": groups(problem, count),
        "packed": packed(problem, count, width),
    }

"""The report's pictures."""

import math
from statistics import geometric_mean

from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from triconv.methods import METHODS
from triconv.plot.drawing import OTHER_STYLE, STYLES
from triconv.runtime.machine import machine
from triconv.schedules.workspace import threads_for

PALE = 0.55  # how far a field's colour goes towards white
SIZES = {method: 9 * 0.75**n for n, method in enumerate(METHODS)}  # of markers: equal values stay visible


def style(method):
    """A method's colour and marker."""
    return STYLES.get(method, OTHER_STYLE)


def panels(grid):
    """The sizes and dtypes that were measured."""
    return list(dict.fromkeys((problem.name, problem.dtype) for problem, _ in grid))


def of_panel(grid, size, dtype):
    """The problems of one size and dtype, each once."""
    return list(dict.fromkeys(p for p, _ in grid if (p.name, p.dtype) == (size, dtype)))


def padding_of(problem):
    return "same" if problem.padding == "same" else str(problem.padding[0])


def values(problems, key):
    return list(dict.fromkeys(key(problem) for problem in problems))


def plain(ax):
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)


def log_axis(axis, subs=(1,)):
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def times(grid, size, dtype):
    """Time over stride: a row of panels a padding, a column a kernel size."""
    problems = of_panel(grid, size, dtype)
    kernels, paddings = values(problems, lambda p: p.kernel[0]), values(problems, padding_of)
    figure = Figure(figsize=(2.6 * len(kernels) + 1, 6.6), layout="constrained")
    axes = figure.subplots(len(paddings), len(kernels), sharex=True, sharey=True, squeeze=False)
    for row, padding in zip(axes, paddings, strict=True):
        for ax, kernel in zip(row, kernels, strict=True):
            for method in METHODS:
                colour, marker = style(method)
                points = [
                    (p.stride[0], 1e3 * grid[p, method])
                    for p in problems
                    if (p.kernel[0], padding_of(p)) == (kernel, padding) and (p, method) in grid
                ]
                if points:
                    ax.plot(
                        *zip(*points, strict=True),
                        color=colour,
                        marker=marker,
                        ms=SIZES[method],
                        label=method,
                    )
            ax.set_yscale("log")
            log_axis(ax.yaxis)
            ax.set_xticks(values(problems, lambda p: p.stride[0]))
            ax.grid(axis="y", color="#dddddd")
            ax.margins(x=0.15)
            plain(ax)
        row[0].set_ylabel(f"padding {padding}\ntime of a call [ms]")
    for ax, kernel in zip(axes[0], kernels, strict=True):
        ax.set_title(f"kernel {kernel} x {kernel}", fontsize="medium")
    for ax in axes[-1]:
        ax.set_xlabel("stride")
    shape = " x ".join(map(str, problems[0].x_shape[1:]))
    figure.suptitle(f"{size}: {shape} to {problems[0].filters} maps, {dtype}")
    handles = {label: h for ax in axes.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(METHODS), frameon=False)
    return figure


def winners(grid):
    """Which method is fastest, and how many times as fast as the next."""
    columns = panels(grid)
    figure = Figure(figsize=(3.0 * len(columns) + 1.2, 4.6), layout="constrained")
    for ax, (size, dtype) in zip(
        figure.subplots(1, len(columns), sharey=True, squeeze=False)[0], columns, strict=True
    ):
        problems = of_panel(grid, size, dtype)
        kernels = values(problems, lambda p: p.kernel[0])
        lines = values(problems, lambda p: (padding_of(p), p.stride[0]))
        for problem in problems:
            ranked = sorted((grid[problem, m], m) for m in METHODS if (problem, m) in grid)
            (best, method), *rest = ranked
            x = kernels.index(problem.kernel[0])
            y = lines.index((padding_of(problem), problem.stride[0]))
            pale = [PALE + (1 - PALE) * part for part in to_rgb(style(method)[0])]
            ax.add_patch(_square(x, y, pale))
            ahead = rest[0][0] / best if rest else math.inf
            text = method + ("\neven" if ahead < 1.05 else f"\n{ahead:.1f} x" if rest else "")
            ax.text(x, y, text, ha="center", va="center", fontsize=7.5, linespacing=1.1)
        ax.set_xlim(-0.5, len(kernels) - 0.5)
        ax.set_ylim(len(lines) - 0.5, -0.5)
        ax.set_xticks(range(len(kernels)), [str(kernel) for kernel in kernels])
        ax.set_yticks(range(len(lines)), [f"padding {p}, stride {s}" for p, s in lines])
        ax.set_xlabel("kernel size")
        ax.set_title(f"{size}, {dtype}", fontsize="medium")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    figure.suptitle("The fastest method, and the next one's time over its time")
    return figure


def _square(x, y, colour):
    return Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, facecolor=colour)


def held(problem, method):
    """Bytes of a call's workspace and of what a plan keeps; nothing is packed, since W may be large."""
    form, task = METHODS[method], problem.task
    if form.supports(task):
        return 0, 0
    schedule = form.schedule(task.canonical(), machine())
    return form.workspace_bytes(task, schedule, threads_for(task.flops)), form.packed_bytes(task, schedule)


def memory(grid):
    """What a call takes, and what a plan keeps, beside input and output."""
    columns = panels(grid)
    figure = Figure(figsize=(max(7, 2.6 * len(columns) + 1), 4.4), layout="constrained")
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for ax, (size, dtype) in zip(axes, columns, strict=True):
        problems = [p for p in of_panel(grid, size, dtype) if (p.stride, p.padding) == ((1, 1), "same")]
        kernels = [p.kernel[0] for p in problems]
        for method in METHODS:
            colour, marker = style(method)
            sizes = [held(problem, method) for problem in problems]
            for n, (what, line) in enumerate((("workspace", "-"), ("kept by a plan", "--"))):
                look = {"color": colour, "ls": line, "marker": marker, "ms": SIZES[method]}
                ax.plot(kernels, [_mib(pair[n]) for pair in sizes], label=f"{method}, {what}", **look)
        ax.set_yscale("log")
        log_axis(ax.yaxis)
        ax.set_xticks(kernels)
        ax.set_xlabel("kernel size")
        ax.set_title(f"{size}, {dtype}", fontsize="medium")
        ax.grid(axis="y", color="#dddddd")
        plain(ax)
    axes[0].set_ylabel("MiB")
    figure.suptitle("Memory beside input and output, stride 1, padding same")
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(METHODS), frameon=False)
    return figure


def _mib(size):
    return size / 2**20 if size else math.nan


def ratios(groups):
    """Each suite's ratios as points on one line, with its mean and its bars."""
    figure = Figure(figsize=(9, 0.8 * len(groups) + 1.6), layout="constrained")
    ax = figure.subplots()
    for y, (_, suite, rows) in enumerate(groups):
        found = [row.ratio for row in rows]
        spread = [y + 0.12 * ((n % 3) - 1) for n in range(len(found))]
        ax.scatter(found, spread, s=26, color="#0072B2", alpha=0.7, linewidths=0, label="a problem")
        ax.vlines(geometric_mean(found), y - 0.32, y + 0.32, color="#D55E00", lw=2.5, label="geometric mean")
        ax.vlines(suite.mean, y - 0.4, y + 0.4, color="#333333", ls="--", lw=1.2, label="bar for the mean")
        ax.vlines(suite.least, y - 0.4, y + 0.4, color="#333333", ls=":", lw=1.5, label="bar for the least")
    ax.axvline(1, color="#bbbbbb", lw=1, zorder=0)
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    log_axis(ax.xaxis, (1, 2, 5) if high < 200 * low else (1,))
    ax.set_yticks(range(len(groups)), [label for label, _, _ in groups])
    ax.set_ylim(len(groups) - 0.4, -0.6)
    ax.set_xlabel("the fastest peer's time over ours")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#eeeeee")
    plain(ax)
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False)
    return figure

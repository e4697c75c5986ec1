"""The command ``triconv``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from triconv import __version__, arguments, filters, terminal
from triconv.compare import (
    COLUMNS,
    Comparison,
    compare,
    format_sample,
    left_out,
    predicted_seconds,
)
from triconv.convolution import conv2d
from triconv.core import checked
from triconv.core.keywords import Keywords
from triconv.core.problem import Problem
from triconv.forecast import Forecast, Run
from triconv.methods import METHODS, SHOWN
from triconv.runtime import cache, threads
from triconv.runtime.machine import machine
from triconv.runtime.memory import human
from triconv.text import format_table
from triconv.types import PaddingWord

DTYPES = ("float16", "float32", "float64", "complex64", "complex128")
MATRIX_LIMIT = 1 << 30  # bytes of W
CALL_LIMIT = 5.0  # seconds that a call may be predicted to take
TIME_LIMIT = 1.0  # seconds after which a method is not called again
REPEAT = 5
REFERENCE = 0.3  # seconds that the errors of a comparison take, about
CLOSED = 141  # how a shell reports that no one reads the output any more
FIGURE = "compare.png"

# Name: shape of x, shape of the weight, stride, padding, groups.
LAYERS: dict[str, tuple[tuple[int, ...], tuple[int, ...], int, int, int]] = {
    "gray 5x5": ((512, 512, 1), (1, 5, 5, 1), 1, 2, 1),
    "stem 7x7/2": ((112, 112, 3), (32, 7, 7, 3), 2, 3, 1),
    "3x3": ((28, 28, 64), (64, 3, 3, 64), 1, 1, 1),
    "1x1": ((28, 28, 128), (64, 1, 1, 128), 1, 0, 1),
    "depthwise 3x3": ((56, 56, 64), (64, 3, 3, 1), 1, 1, 64),
}


class UsageError(Exception):
    """What the user gave cannot be used; the message is the one line that says why."""


class Parser(argparse.ArgumentParser):
    """Refuses in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """End the process with code 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments, by default those of the process.

    Returns
    -------
    int
        Exit code: 0; 1 where the methods disagree; 2 where the input cannot be used or the output not be
        written; 130 where it was interrupted, and 141 where no one reads the output.

    Examples
    --------
    >>> main(["compare", "no-such-file.jpg"])
    2
    """
    command = "triconv"
    with terminal.prepared():
        try:
            try:
                args = _parser().parse_args(argv)
                command += f" {args.command}"
                return int(args.run(args))
            finally:
                terminal.flush()
        except BrokenPipeError:
            return CLOSED
        except KeyboardInterrupt:
            terminal.complain(f"{command}: interrupted")
            return 130
        except ModuleNotFoundError as error:
            reason = f"needs {error.name}; python -m pip install 'triconv[plot]' brings it"
        except (UsageError, MemoryError, terminal.UnwritableError) as error:
            reason = str(error).removeprefix("compare: ") or "there is not enough memory"
        except Exception as error:  # of the system, or of another library's settings
            reason = f"{type(error).__name__}: {error}"
        terminal.complain(f"{command}: {reason}")
        return 2


def _parser() -> Parser:
    parser = Parser("triconv", description="Two-dimensional convolution by three methods.")
    parser.add_argument("--version", action="version", version=f"triconv {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser(
        "compare",
        help="run the methods on an image and draw what they did",
        description="Run the three methods on an image over a grid of strides and paddings, check that they "
        "agree, print what each cost, and draw a figure.",
    )
    command.add_argument("image", nargs="?", metavar="IMAGE", help="image file (default: a sample photo)")
    command.add_argument(
        "--page", type=_positive, metavar="N", help="of a file with several images, from 1 on (default: 1)"
    )
    bank = command.add_mutually_exclusive_group()
    bank.add_argument("--filter", metavar="NAME", help=f"{', '.join(filters.NAMES)} (default: sobel)")
    bank.add_argument(
        "--weights",
        metavar="FILE.npy",
        help="filters (k_h, k_w) or (n, k_h, k_w, 1), applied to each channel, or (n, k_h, k_w, C), "
        "which sum over the channels",
    )
    command.add_argument(
        "--stride", nargs="+", type=_positive, default=[1, 2, 3], metavar="S", help="strides (default: 1 2 3)"
    )
    command.add_argument(
        "--padding",
        nargs="+",
        type=_padding,
        default=["valid", "same", "full"],
        metavar="P",
        help=f"numbers, or words of {', '.join(arguments.PADDING_WORDS)} (default: valid same full)",
    )
    command.add_argument("--dtype", choices=DTYPES, default="float32", metavar="D", help=", ".join(DTYPES))
    command.add_argument(
        "--output",
        type=_folder,
        default=Path("triconv-compare"),
        metavar="DIR",
        help="folder (default: triconv-compare)",
    )
    command.set_defaults(run=_compare)

    command = commands.add_parser("bench", help="time the methods on a handful of layers")
    command.add_argument("--dtype", choices=DTYPES, default="float32", metavar="D", help=", ".join(DTYPES))
    command.set_defaults(run=_bench)

    command = commands.add_parser("info", help="versions, machine, threads and cache")
    command.set_defaults(run=_info)

    command = commands.add_parser("cache", help="look after the compiled kernels")
    command.add_argument("action", choices=["clear"], metavar="clear", help="delete them all")
    command.set_defaults(run=_cache)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)


def _padding(text: str) -> int | PaddingWord:
    if text in arguments.PADDING_WORDS:
        return cast(PaddingWord, text)
    if not text.isdecimal() or len(text) > 18:
        words = ", ".join(arguments.PADDING_WORDS)
        raise argparse.ArgumentTypeError(f"expected a number or one of {words}, got {text!r}")
    return int(text)


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, got ''")
    return Path(text)


# --- compare ----------------------------------------------------------------------------------------


class Grid(NamedTuple):
    """What is compared: an image and a weight, at each stride and padding."""

    x: NDArray[Any]
    weight: NDArray[Any]
    groups: int
    tasks: dict[tuple[int, int | PaddingWord], Problem]


def _compare(args: argparse.Namespace) -> int:
    matplotlib = _matplotlib()
    import PIL  # noqa: F401
    import rich  # noqa: F401

    from triconv import pictures

    path = args.image
    if path is None:
        path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    dtype = np.dtype(args.dtype)
    try:
        picture = pictures.read(path, args.page, dtype)
    except ValueError as error:
        raise UsageError(f"cannot read the image {str(path)!r}: {error}") from None
    grid = _grid(args, picture.pixels, dtype)
    _check_folder(args.output)

    comparisons, y = _measure(grid)
    _print_table(("stride", "padding"), comparisons)
    name = terminal.printable(Path(path).name)
    print(f"image: {name}, {picture.said}")
    for line in format_sample(*comparisons.values()):
        print(line)

    # Filters that see one channel each: their answers for all the channels make one map.
    maps = np.moveaxis(y.reshape(*y.shape[:2], grid.groups, -1), 3, 0)
    rows, columns = (slice(*axis.border()) for axis in next(iter(grid.tasks.values())).axes)
    size = " x ".join(map(str, grid.x.shape))
    bank = args.filter or "sobel" if args.weights is None else terminal.printable(Path(args.weights).name)
    title = f"{name} ({size}), {bank}, {dtype}"
    keywords = {"title": title, "unit": picture.unit, "inner": (rows, columns)}
    target = args.output / FIGURE
    png = _drawn(matplotlib, grid.x, list(maps), comparisons, **keywords)
    try:
        target.write_bytes(png)
    except OSError as error:
        raise UsageError(f"cannot write {str(target)!r}: {error.strerror}") from None
    print(f"figure: {target}")
    return _check_agreement(comparisons)


def _matplotlib() -> Any:
    """Matplotlib, whatever backend the environment asks for: a figure that goes into a file needs none."""
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib.cbook
        import matplotlib.figure
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise UsageError(f"matplotlib cannot be loaded: {error}") from None
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return matplotlib


def _drawn(matplotlib: Any, *arguments: Any, **keywords: Any) -> bytes:
    """The figure as a PNG, by matplotlib's own settings, whatever those of the user are."""
    from triconv.plot import comparison_figure

    defaults = {
        name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")
    }
    png = io.BytesIO()
    with matplotlib.rc_context(defaults):
        comparison_figure(*arguments, **keywords).savefig(png, dpi=120, format="png")
    return png.getvalue()


def _grid(args: argparse.Namespace, x: NDArray[Any], dtype: np.dtype[Any]) -> Grid:
    """The image, the weight and what to do with them, refused where they do not fit each other."""
    channels = x.shape[2]
    try:
        if args.weights is None:
            bank = filters.bank("sobel" if args.filter is None else args.filter, channels)
        else:
            bank = _read_weights(args.weights)
        weight, groups = filters.spread(bank, channels)
        tasks = {
            (stride, padding): checked.convolution(
                f"stride {stride}, padding {padding}",
                x.shape,
                weight.shape,
                None,
                dtype,
                Keywords(stride, padding, groups=groups),
            )
            for stride, padding in product(args.stride, args.padding)
        }
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not np.can_cast(weight.dtype, dtype, "same_kind"):
        raise UsageError(f"weights of dtype {weight.dtype} need another --dtype than {dtype}")
    return Grid(x, weight.astype(dtype), groups, tasks)


def _measure(grid: Grid) -> tuple[dict[tuple[int, int | PaddingWord], Comparison], NDArray[Any]]:
    """The comparison at each point of the grid, and the output at the first."""
    runs = [
        Run(
            method,
            0.0 if method in notes else predicted_seconds(task, method),
            REFERENCE * (not n),
            METHODS[method].NEEDS_MATRIX,
        )
        for task in grid.tasks.values()
        for notes in (left_out(task, tuple(METHODS), MATRIX_LIMIT, CALL_LIMIT),)
        for n, method in enumerate(METHODS)
    ]
    first, task = next(iter(grid.tasks.items()))
    runs.append(Run(SHOWN, predicted_seconds(task, SHOWN)))  # the maps that are drawn
    forecast = Forecast(runs, REPEAT, TIME_LIMIT)
    with _bar(forecast):
        comparisons = {
            (stride, padding): compare(
                grid.x,
                grid.weight,
                methods=tuple(METHODS),
                stride=stride,
                padding=padding,
                groups=grid.groups,
                repeat=REPEAT,
                matrix_limit=MATRIX_LIMIT,
                call_limit=CALL_LIMIT,
                time_limit=TIME_LIMIT,
                progress=lambda row: forecast.done(row.seconds),
            )
            for stride, padding in grid.tasks
        }
        y = conv2d(grid.x, grid.weight, stride=first[0], padding=first[1], groups=grid.groups, method=SHOWN)
    return comparisons, y


def _bar(forecast: Forecast) -> Any:
    """A bar of the time that is over; it moves while nothing is reported, and is seen on a terminal alone."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress

    class Bar(Progress):
        def get_renderables(self) -> Any:
            for task in self.tasks:
                left = f"about {max(1, round(forecast.left()))} s left"
                self.update(task.id, completed=forecast.share(), left=left)
            return super().get_renderables()

    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    columns: Any = ["comparing", BarColumn(), "{task.percentage:>3.0f}%", "{task.fields[left]}"]
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    bar.add_task("comparing", total=1.0, left="")
    return bar


def _read_weights(path: str) -> NDArray[Any]:
    try:
        with open(path, "rb") as file:
            weight = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # a damaged head can raise as Python source does
        reason = "not a .npy file" if "magic string" in str(error) else str(error)
    else:
        if weight.dtype.kind in "biufc":
            return weight
        reason = f"its dtype is {weight.dtype}, expected numbers"
    raise UsageError(f"cannot read the weights {path!r}: {reason}")


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to the folder {str(folder)!r}: {error.strerror}") from None


def _check_agreement(comparisons: Mapping[tuple[int, int | PaddingWord], Comparison]) -> int:
    wrong = [
        f"{row.method} at stride {stride}, padding {padding} is off by {row.max_error:.1e}, "
        f"rounding explains {comparison.error_bound:.1e}"
        for (stride, padding), comparison in comparisons.items()
        for row in comparison.disagreeing
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        terminal.complain(f"triconv compare: the methods disagree: {wrong[0]}{more}")
        return 1
    seen = [c for c in comparisons.values() if c.finite and any(row.ran for row in c)]
    if not seen:
        raise UsageError("no method ran, or no output is finite: there is nothing that could agree")
    but = f", at {len(seen)} of {len(comparisons)} points; elsewhere no output is finite"
    print(
        "The methods agree with the definition to within rounding"
        + but * (len(seen) < len(comparisons))
        + "."
    )
    return 0


def _print_table(names: tuple[str, ...], comparisons: Mapping[Any, Comparison]) -> None:
    rows = [(*map(str, key), *row.cells()) for key, comparison in comparisons.items() for row in comparison]
    print(format_table((*names, *COLUMNS), rows))


# --- the other commands -----------------------------------------------------------------------------


def _bench(args: argparse.Namespace) -> int:
    rng = np.random.default_rng(0)
    comparisons = {}
    for name, (x_shape, weight_shape, stride, padding, groups) in LAYERS.items():
        x, weight = (rng.standard_normal(shape).astype(args.dtype) for shape in (x_shape, weight_shape))
        comparisons[name,] = compare(x, weight, stride=stride, padding=padding, groups=groups)
    _print_table(("layer",), comparisons)
    return 0


def _info(_: argparse.Namespace) -> int:
    unit = machine()
    files, size = cache.size()
    fma = "with" if unit.fma else "without"
    lines = {
        "triconv": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("numba", "llvmlite", "numpy", "scipy")},
        "cpu": unit.cpu_name,
        "vectors": f"{unit.vector_bits} bits, {unit.registers} registers, {fma} fused multiply-add",
        "threads": f"{threads.get_num_threads()}, threading layer {threads.layer()}",
        "cache": f"{cache.folder()}, {files} files, {human(size)}",
    }
    trouble = {"threads": threads.trouble(), "cache": cache.trouble()}
    for name, text in lines.items():
        print(f"{name:<9} {'; '.join(filter(None, (text, trouble.get(name))))}")
    return 0


def _cache(_: argparse.Namespace) -> int:
    try:
        files, size = cache.clear()
    except OSError as error:
        raise UsageError(f"cannot clear {str(cache.folder())!r}: {error.strerror}") from None
    print(f"deleted {files} files, {human(size)}, from {cache.folder()}")
    return 0

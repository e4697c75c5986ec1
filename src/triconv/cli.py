"""The command ``triconv``."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from triconv import __version__, arguments, filters
from triconv.api import conv2d
from triconv.compare import COLUMNS, Comparison, compare, format_table
from triconv.runtime import cache, threads
from triconv.runtime.machine import machine
from triconv.runtime.memory import human

DTYPES = ("float16", "float32", "float64", "complex64", "complex128")
MATRIX_LIMIT = 1 << 30
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
        Exit code: 0, 1 where the methods disagree, 2 where the input cannot be used.

    Examples
    --------
    >>> main(["compare", "no-such-file.jpg"])
    2
    """
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except (UsageError, MemoryError) as error:
        return _complain(args.command, error, 2)
    except KeyboardInterrupt:
        return _complain(args.command, "interrupted", 130)


def _complain(command: str, reason: object, code: int) -> int:
    print(f"triconv {command}: {' '.join(str(reason).split())}", file=sys.stderr)
    return code


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
    bank = command.add_mutually_exclusive_group()
    bank.add_argument("--filter", metavar="NAME", help=f"{', '.join(filters.NAMES)} (default: sobel)")
    bank.add_argument(
        "--weights",
        metavar="FILE.npy",
        help="filters (k_h, k_w) or (n, k_h, k_w, 1), applied to each channel, or (n, k_h, k_w, C), "
        "which sum over the channels",
    )
    command.add_argument(
        "--stride", nargs="+", type=_stride, default=[1, 2, 3], metavar="S", help="strides (default: 1 2 3)"
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
        type=Path,
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


def _stride(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)


def _padding(text: str) -> int | str:
    if text in arguments.PADDING_WORDS:
        return text
    if not text.isdecimal():
        words = ", ".join(arguments.PADDING_WORDS)
        raise argparse.ArgumentTypeError(f"expected a number or one of {words}, got {text!r}")
    return int(text)


# --- compare ----------------------------------------------------------------------------------------


def _compare(args: argparse.Namespace) -> int:
    try:
        import matplotlib.cbook
        import PIL  # noqa: F401
        from rich.console import Console
        from rich.progress import Progress
    except ModuleNotFoundError as error:
        raise UsageError(f"needs {error.name}; python -m pip install 'triconv[plot]' brings it") from None
    from triconv.plot import comparison_figure

    path = args.image or matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    name = args.weights or args.filter or "sobel"
    image = _read_image(path)
    grid = list(dict.fromkeys(product(args.stride, args.padding)))
    try:
        bank = _read_weights(args.weights) if args.weights else filters.bank(name, image.shape[2])
        weight, groups = filters.spread(bank, image.shape[2])
        for stride, padding in grid:
            where = f"stride {stride}, padding {padding}"
            arguments.axes(where, image.shape[:2], weight.shape[1:3], stride, padding, 1)
    except ValueError as error:
        raise UsageError(str(error)) from None
    dtype = np.dtype(args.dtype)
    if not np.can_cast(weight.dtype, dtype, "same_kind"):
        raise UsageError(f"weights of dtype {weight.dtype} need another --dtype than {dtype}")
    weight, x = weight.astype(dtype), image.astype(dtype)
    _check_folder(args.output)

    comparisons = {}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        steps = bar.add_task("comparing", total=3 * len(grid))
        for stride, padding in grid:
            comparisons[stride, padding] = compare(
                x,
                weight,
                stride=stride,
                padding=padding,
                groups=groups,
                matrix_limit=MATRIX_LIMIT,
                progress=lambda _: bar.advance(steps),
            )
    _print_table(("stride", "padding"), comparisons)

    stride, padding = grid[0]
    y = conv2d(x, weight, stride=stride, padding=padding, groups=groups)
    # Filters that see one channel each: their answers for all the channels make one map.
    maps = np.moveaxis(y.reshape(*y.shape[:2], groups, -1), 3, 0)
    size = " x ".join(map(str, image.shape))
    title = f"{Path(path).name} ({size}), {name}, {dtype}"
    target = args.output / FIGURE
    try:
        comparison_figure(image, list(maps), comparisons, title=title).savefig(target, dpi=120)
    except OSError as error:
        raise UsageError(f"cannot write {str(target)!r}: {error.strerror}") from None
    print(f"figure: {target}")
    return _check_agreement(comparisons)


def _read_image(path: str) -> NDArray[np.float64]:
    """``(H, W, 1)`` or ``(H, W, 3)``, from 0 to 1."""
    import PIL
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode == "F" or image.mode.startswith("I"):  # one channel of large numbers
                pixels = np.asarray(image, np.float64)
                pixels = pixels / (np.abs(pixels).max() or 1.0)
            else:
                gray = image.mode in ("1", "L", "LA", "La")
                pixels = np.asarray(image.convert("L" if gray else "RGB"), np.float64) / 255
    except PIL.UnidentifiedImageError:
        reason = "not an image of a known format"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # Pillow's readers raise many kinds for a damaged file
        reason = str(error) or type(error).__name__
    else:
        return pixels.reshape(*pixels.shape[:2], -1)
    raise UsageError(f"cannot read the image {str(path)!r}: {reason}")


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


def _check_agreement(comparisons: Mapping[tuple[int, int | str], Comparison]) -> int:
    wrong = [
        f"{row.method} at stride {stride}, padding {padding} is off by {row.max_error:.1e}, "
        f"rounding explains {comparison.error_bound:.1e}"
        for (stride, padding), comparison in comparisons.items()
        for row in comparison.disagreeing
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return _complain("compare", f"the methods disagree: {wrong[0]}{more}", 1)
    print("The methods agree with the definition to within rounding.")
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

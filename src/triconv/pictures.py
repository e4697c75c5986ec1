"""Image files as arrays: what is read from them, and what is said of what was done to it."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from triconv.runtime import memory

BLOCK = 1 << 20  # values that are scaled at a time
ORIENTATION = 0x0112  # the tag of EXIF and of TIFF
# Spaces of colours that need no more than arithmetic, by tifffile's names.
SHADES = ("MINISBLACK", "MINISWHITE", "RGB", "MASK", "CFA", "LINEAR_RAW", "PALETTE", "SEPARATED")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Of colour Pillow keeps 8 bits; of these formats imagecodecs keeps all.
DEEP = {"PNG": "png_decode", "JPEG2000": "jpeg2k_decode", "AVIF": "avif_decode"}
GREY = ("1", "L", "LA", "La")
STRAIGHT, MULTIPLIED = "straight", "premultiplied"  # whether colours have been multiplied by their opacity
ALPHA = {1: MULTIPLIED, 2: STRAIGHT}  # TIFF's numbers for extra samples


class Picture(NamedTuple):
    """An image of a file.

    Attributes
    ----------
    pixels : ndarray
        ``(H, W, C)``; no finite magnitude is above 1.
    unit : float or None
        What 1 stands for in a file of measurements, whose values have a meaning: of floats, or with negative
        ones. None in a file of shades.
    said : str
        What was read, and what was done to the values.
    """

    pixels: NDArray[Any]
    unit: float | None
    said: str


@dataclass
class Stored:
    """What a file holds: samples ``(H, W)`` or ``(H, W, C)``, and what is known of them."""

    samples: NDArray[Any]
    page: int = 1
    pages: int = 1
    alpha: str = ""  # what the last channel is, unless it is one like the others
    orientation: int = 1
    white: int | None = None  # what 1 stands for, where the format says it
    notes: tuple[str, ...] = ()


def read(path: str, page: int | None = None, dtype: DTypeLike = np.float32) -> Picture:
    """Read an image file, or a page of one that holds several.

    Samples of 8 bits are divided by 255, others by their largest finite magnitude. Transparency is composited
    onto black, which is what zero padding shows.

    Parameters
    ----------
    path : str
        A file that Pillow or tifffile reads, or a ``.npy`` file of shape ``(H, W)``, ``(H, W, C)`` or
        ``(N, H, W, C)``.
    page : int, optional
        From 1 on; the first by default.
    dtype : dtype
        Of the pixels.

    Returns
    -------
    Picture
        The pixels, and what was done to them.

    Raises
    ------
    ValueError
        If the file cannot be read or holds no image; the message says why.
    MemoryError
        If the pixels would not fit.
    ModuleNotFoundError
        Where a library of the extra ``plot`` is missing.
    """
    try:
        with open(path, "rb") as file:
            if not file.seekable():
                raise ValueError("it is a pipe, which cannot be read twice; save it to a file first")
            head = file.read(8)
        stored = _reader(head)(path, page)
    except (MemoryError, ModuleNotFoundError, KeyboardInterrupt):
        raise
    except Exception as error:  # the libraries raise many kinds for a damaged file
        raise ValueError(getattr(error, "strerror", None) or str(error) or type(error).__name__) from None
    samples = stored.samples
    if samples.dtype.kind not in "biuf":
        raise ValueError(f"its dtype is {samples.dtype}, expected real numbers")
    if samples.ndim not in (2, 3) or not samples.size:
        raise ValueError(f"expected (H, W) or (H, W, C), none of them 0, got shape {samples.shape}")
    return _made(stored, np.dtype(dtype))


def _reader(head: bytes) -> Callable[[str, int | None], Stored]:
    if head.startswith(b"\x93NUMPY"):
        return _read_npy
    return _read_tiff if head[:4] in TIFF else _read_by_pillow


def _page(page: int | None, pages: int) -> int:
    if page is not None and page > pages:
        raise ValueError(f"it holds {pages} page{'s' * (pages > 1)}, --page asks for {page}")
    return page or 1


def _require(size: int, shape: tuple[int, ...]) -> None:
    """Refuse an image that would not fit as it is stored, with a copy, and in single precision."""
    memory.require("compare", 2 * size + 4 * math.prod(shape), f"an image of shape {shape}")


# --- values -----------------------------------------------------------------------------------------


@np.errstate(all="ignore")
def _made(stored: Stored, dtype: np.dtype[Any]) -> Picture:
    samples, alpha, notes = _upright(stored.samples, stored.orientation), stored.alpha, list(stored.notes)
    kind, white = samples.dtype, stored.white or {"bool": 1, "uint8": 255}.get(samples.dtype.name)
    samples = samples[:, :, np.newaxis] if samples.ndim == 2 else samples
    if stored.orientation > 1:
        notes.append("turned upright")
    if alpha:
        if kind.kind in "iu":
            white = white or int(np.iinfo(kind).max)
        if all((samples[rows, :, -1] >= (white or 1)).all() for rows in _rows(samples)):
            notes.append("all of it opaque by its alpha channel")
            alpha = MULTIPLIED
        else:
            already = " in the file already" * (alpha == MULTIPLIED)
            notes.append(f"transparency (alpha) composited onto black, premultiplied{already}")
        if alpha != "straight":
            samples = samples[:, :, :-1]
    shape = samples.shape if alpha != "straight" else (*samples.shape[:2], samples.shape[2] - 1)
    memory.require("compare", math.prod(shape) * dtype.itemsize, f"an image of shape {shape} in {dtype}")

    def values(rows: slice) -> NDArray[Any]:
        block = samples[rows].astype(np.result_type(kind, np.float64))
        if alpha != "straight":
            return block
        seen = np.clip(block[:, :, -1:] / (white or 1), 0, 1)
        return np.where(seen > 0, block[:, :, :-1] * seen, 0)  # what is not seen may be NaN

    largest, absent, negative = 0.0, 0, False
    for rows in _rows(samples):
        block = values(rows)
        finite = np.isfinite(block)
        absent += block.size - int(finite.sum())
        largest = max(largest, np.abs(block[finite]).max(initial=0))
        negative |= bool((block < 0).any())
    if absent == math.prod(shape):
        raise ValueError("none of its values is finite")
    divisor = white or largest or 1
    pixels = np.empty(shape, dtype)
    for rows in _rows(samples):
        pixels[rows] = values(rows) / divisor

    if divisor != 1:
        notes.append(f"divided by {divisor:.10g}" + ("" if white else ", the largest magnitude"))
    if absent:
        notes.append(f"{absent:,} of {pixels.size:,} values NaN or infinite")
    page = [f"page {stored.page} of {stored.pages}"] if stored.pages > 1 else []
    size = " x ".join(map(str, shape))
    said = ", ".join([*page, size, str(kind.newbyteorder("=")), *notes])
    return Picture(pixels, float(divisor) if kind.kind == "f" or negative else None, said)


def _rows(array: NDArray[Any]) -> Iterator[slice]:
    """Some rows at a time."""
    step = max(1, BLOCK // array[0].size)
    return (slice(first, first + step) for first in range(0, len(array), step))


def _upright(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The image as it is to be seen, by the number that EXIF has for it."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples[::-1] if orientation in (3, 4, 7, 8) else samples


# --- files ------------------------------------------------------------------------------------------


def _read_npy(path: str, page: int | None) -> Stored:
    stored = np.lib.format.open_memmap(path, "r")
    if stored.ndim == 4:
        number = _page(page, len(stored))
        return Stored(stored[number - 1], number, len(stored))
    _page(page, 1)
    return Stored(stored)


def _read_tiff(path: str, page: int | None) -> Stored:
    import tifffile

    samples: NDArray[Any]
    with tifffile.TiffFile(path) as file:
        pages = len(file.pages)
        number = _page(page, pages) if pages > 1 else 1
        tiff: Any = file.pages[number - 1]
        ends = map(sum, zip(tiff.dataoffsets, tiff.databytecounts, strict=True))
        if max(ends, default=0) > file.filehandle.size:
            raise ValueError("it is cut off")
        colours = getattr(tiff.photometric, "name", "")
        if colours == "YCBCR" and "JPEG" in tiff.compression.name:
            colours = "RGB"  # as it is decoded
        if colours not in SHADES or "CCITT" in tiff.compression.name:
            return _read_by_pillow(path, page)
        series = file.series[0]
        if pages == 1 and math.prod(series.shape) > math.prod(tiff.shape):  # a stack with one head for all
            samples, axes = tifffile.memmap(path, mode="r"), series.axes
        else:
            _require(tiff.nbytes, tiff.shape)
            samples, axes = tiff.asarray(), tiff.axes
        image = [axes.index(name) for name in "YXS" if name in axes]
        planes = [n for n in range(len(axes)) if n not in image]
        shape = [samples.shape[n] for n in image]
        samples = samples.transpose(planes + image).reshape(-1, *shape)
        if pages == 1:
            pages = len(samples)
            number = _page(page, pages)
            samples = samples[number - 1 :]
        stored = Stored(samples[0], number, pages, orientation=_orientation(_tag(tiff, ORIENTATION, 1)))
        return _in_shades(stored, tiff, colours)


def _in_shades(stored: Stored, tiff: Any, colours: str) -> Stored:
    """What the numbers of a TIFF page mean."""
    samples, bits = stored.samples, tiff.bitspersample
    if isinstance(bits, tuple):
        raise ValueError(f"its channels have {bits} bits, expected as many each")
    unsigned, white = samples.dtype.kind == "u", 2**bits - 1
    if unsigned and bits % 8:
        stored.white = white
    if colours == "MINISWHITE" and (unsigned or samples.dtype.kind == "b"):
        stored.samples = white - samples if unsigned else ~samples
        stored.notes = ("inverted, as its zero is white",)
    elif colours == "PALETTE":
        stored.samples, stored.white = np.moveaxis(tiff.colormap[:, samples * np.uint8(1)], 0, -1), 65535
    elif colours == "SEPARATED":  # cyan, magenta, yellow, black
        if not unsigned:
            raise ValueError(f"it is CMYK of dtype {samples.dtype}, expected unsigned integers")
        light = white - samples[:, :, :4].astype(np.uint64)
        stored.samples = (light[:, :, :3] * light[:, :, 3:] // white).astype(samples.dtype)
        stored.notes = ("from CMYK",)
    else:
        first = tiff.samplesperpixel - len(tiff.extrasamples)
        for n, extra in enumerate(tiff.extrasamples, first):
            if not stored.alpha and extra in ALPHA:
                stored.alpha = ALPHA[extra]
                stored.samples = np.concatenate([np.delete(samples, n, 2), samples[:, :, n : n + 1]], axis=2)
    return stored


def _tag(tiff: Any, code: int, otherwise: int) -> int:
    return int(tiff.tags[code].value) if code in tiff.tags else otherwise


def _orientation(number: int) -> int:
    """One of the numbers that EXIF has for how an image is to be seen; others say nothing."""
    return number if 1 <= number <= 8 else 1


def _read_by_pillow(path: str, page: int | None) -> Stored:
    import PIL
    from PIL import Image

    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # what memory holds may be read
    try:
        with Image.open(path) as file:
            pages = getattr(file, "n_frames", 1)
            number = _page(page, pages)
            file.seek(file.tell() + number - 1)
            shape = (file.height, file.width, len(file.getbands()))
            _require(4 * math.prod(shape), shape)
            samples, alpha = _samples(file, path if pages == 1 else "")
            orientation = 1
            with contextlib.suppress(Exception):  # damaged tags turn nothing
                orientation = _orientation(int(file.getexif().get(ORIENTATION, 1)))
    except PIL.UnidentifiedImageError:
        raise ValueError("not an image of a known format") from None
    finally:
        Image.MAX_IMAGE_PIXELS = most
    white = _white(samples) if alpha and samples.dtype == np.uint16 else None
    return Stored(samples, number, pages, alpha, orientation, white)


def _white(samples: NDArray[Any]) -> int:
    """What 1 stands for in 16 bits of which a codec may use fewer: the least depth that holds all samples."""
    return next(white for white in (1023, 4095, 65535) if white >= samples.max())


def _samples(file: Any, path: str) -> tuple[NDArray[Any], str]:
    """The samples that Pillow has opened, with all their bits, and what their last channel is."""
    mode, key = file.mode, file.info.get("transparency")
    if file.format == "FITS":
        raise ValueError("FITS is not read, as its numbers would lose their scale; save them as .npy")
    deep = _deep(file, path) if mode[0] in "LR" else None
    if deep is None and mode[0] not in "FI":
        clear = mode in ("LA", "La", "PA", "RGBA", "RGBa") or key is not None
        clear = clear or (mode == "P" and file.palette.mode.endswith("A"))
        target = ("L" if mode in GREY else "RGB") + "A" * clear
        return np.asarray(file.convert(target)), STRAIGHT * clear
    samples = np.asarray(file) if deep is None else deep
    if mode == "I" and file.format in ("PNG", "PPM"):  # 16 bits in 32
        samples = samples.astype(np.uint16)
    samples = samples.reshape(*samples.shape[:2], -1)
    if key is not None and samples.shape[2] in (1, 3):  # the colour that stands for nothing
        seen = (samples != key).any(axis=2, keepdims=True) * np.iinfo(samples.dtype).max
        return np.concatenate([samples, seen.astype(samples.dtype)], axis=2), STRAIGHT
    return samples, STRAIGHT * (samples.shape[2] in (2, 4))


def _deep(file: Any, path: str) -> NDArray[Any] | None:
    """Colours of more than 8 bits, of which Pillow would drop the rest; None where there are no more."""
    codec, _, offset, arguments = file.tile[0] if file.tile else ("", None, 0, (0,))
    if not path or (file.format == "PNG" and ";16" not in str(arguments)):
        return None
    if file.format == "PPM" and file.mode == "RGB" and codec.startswith("ppm") and arguments[-1] > 255:
        body, count = Path(path).read_bytes()[offset:], 3 * file.width * file.height
        if codec == "ppm":
            samples = np.frombuffer(body, ">u2", count)
        else:
            samples = np.array(re.sub(rb"#[^\n]*", b"", body).split()[:count], np.uint16)
        return samples.reshape(file.height, file.width, 3)
    if file.format not in DEEP:
        return None
    import imagecodecs

    samples = getattr(imagecodecs, DEEP[file.format])(Path(path).read_bytes())
    return samples if samples.dtype.itemsize > 1 else None

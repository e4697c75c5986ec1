"""Image files: which values come of which, and what is said of it."""

import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image

from triconv import pictures
from triconv.pictures import read

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (12, 17, 3), np.uint16)
DEEP[0, 0] = 65535
SHALLOW = RNG.integers(0, 256, (12, 17, 3), np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values(path, page=None, dtype=np.float64):
    return read(path, page, dtype).pixels


def same(path, expected, said, unit=None, page=None):
    """A file's values, to the last bit of double precision, and the words for them."""
    picture = read(path, page, np.float64)
    expected = np.asarray(expected, np.float64)
    assert_array_equal(picture.pixels, expected[:, :, None] if expected.ndim == 2 else expected)
    assert picture.said == said
    assert picture.unit == unit


# --- formats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3), ("CMYK", 3), ("I;16", 1), ("F", 1)],
)
def test_images_of_every_kind(mode, channels):
    image = Image.new(mode, (5, 4), 1 if mode in ("1", "I;16", "F") else None)
    name = "image.tiff" if mode in ("F", "CMYK") else "image.png"
    image.save(name)
    pixels = values(name)
    assert pixels.shape == (4, 5, channels)
    assert 0 <= pixels.min() <= pixels.max() <= 1


def test_samples_of_eight_bits_are_divided_by_255():
    Image.fromarray(SHALLOW).save("image.png")
    same("image.png", SHALLOW / 255, "12 x 17 x 3, uint8, divided by 255")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
def test_pixels_have_the_dtype_asked_for(dtype):
    Image.fromarray(SHALLOW).save("image.png")
    pixels = values("image.png", dtype=dtype)
    assert pixels.dtype == dtype
    assert_array_equal(pixels, (SHALLOW / 255).astype(dtype))


def ppm(pixels, plain=False):
    head = f"P{3 if plain else 6}\n# a comment\n{pixels.shape[1]} {pixels.shape[0]}\n65535\n".encode()
    return head + (
        b"# another\n" + " ".join(map(str, pixels.ravel())).encode()
        if plain
        else pixels.astype(">u2").tobytes()
    )


def write_deep(name):
    if name.endswith(".png"):
        Path(name).write_bytes(imagecodecs.png_encode(DEEP))
    elif name.endswith(".jp2"):
        Path(name).write_bytes(imagecodecs.jpeg2k_encode(DEEP, level=0))
    elif name.endswith(".ppm"):
        Path(name).write_bytes(ppm(DEEP, "plain" in name))
    elif name == "planar.tif":
        planes = np.moveaxis(DEEP, 2, 0)
        tifffile.imwrite(name, planes, photometric="rgb", planarconfig="separate")
    else:
        tifffile.imwrite(name, DEEP, photometric="rgb", **TIFFS[name])


TIFFS = {
    "plain.tif": {},
    "big-endian.tif": {"byteorder": ">"},
    "big.tif": {"bigtiff": True},
    "tiles.tif": {"tile": (16, 16)},
    "lzw.tif": {"compression": "lzw", "predictor": True},
    "deflate.tif": {"compression": "zlib"},
}


@pytest.mark.parametrize("name", ["a.png", "a.jp2", "a.ppm", "plain.ppm", "planar.tif", *TIFFS])
def test_colour_of_sixteen_bits_keeps_its_depth(name):
    write_deep(name)
    same(name, DEEP / 65535, "12 x 17 x 3, uint16, divided by 65535, the largest magnitude")


def test_colour_of_eight_bits_in_the_same_formats():
    for name, data in {
        "a.jp2": imagecodecs.jpeg2k_encode(SHALLOW, level=0),
        "a.ppm": b"P6 17 12 255\n" + SHALLOW.tobytes(),
    }.items():
        Path(name).write_bytes(data)
        same(name, SHALLOW / 255, "12 x 17 x 3, uint8, divided by 255")


@pytest.mark.parametrize("suffix", ["bmp", "webp", "tga", "sgi", "pcx", "ico", "gif", "jp2", "dds"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_formats_of_pillow(suffix, mode):
    stored = Image.fromarray(np.tile(SHALLOW[:1, :1], (16, 16, 1))).convert(mode)
    try:
        stored.save(f"a.{suffix}")
    except (OSError, ValueError):
        pytest.skip("cannot be written")
    with Image.open(f"a.{suffix}") as file:
        expected = np.asarray(file.convert("L" if file.mode == "L" else "RGB")).reshape(16, 16, -1) / 255
    assert_array_equal(values(f"a.{suffix}"), expected)


def test_grey_of_sixteen_bits():
    grey = DEEP[:, :, 0] // 16
    Path("a.png").write_bytes(imagecodecs.png_encode(grey))
    Path("a.pgm").write_bytes(b"P5 17 12 65535\n" + grey.astype(">u2").tobytes())
    for name in ("a.png", "a.pgm"):
        largest = grey.max()
        same(name, grey / largest, f"12 x 17 x 1, uint16, divided by {largest}, the largest magnitude")


@pytest.mark.parametrize(
    ("stored", "largest"),
    [
        (np.array([[0, 2**32 - 1], [2**31, 7]], np.uint32), 2**32 - 1),
        (np.array([[-5, 3], [0, 1]], np.int16), 5),
        (np.array([[-128, 3], [0, 1]], np.int8), 128),
        (np.array([[-0.5, 3e300], [0, 1]], np.float64), 3e300),
        (np.array([[-0.5, 3], [0, 1]], np.float16), 3),
        (RNG.random((4, 5, 3)).astype(np.float32) * 9 - 4, None),
        (RNG.random((4, 5, 2)), None),
        (RNG.random((4, 5, 7)).astype(np.float32), None),
        (RNG.integers(0, 99, (4, 5, 2), np.uint16), None),
    ],
)
@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_numbers_of_every_kind_and_any_channels(stored, largest, suffix):
    if suffix == "npy":
        np.save("a.npy", stored)
    else:
        colours = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite("a.tif", stored, **colours if stored.ndim == 3 else {})
    largest = float(np.abs(stored.astype(float)).max()) if largest is None else largest
    measured = stored.dtype.kind == "f" or stored.min() < 0
    shape = " x ".join(map(str, (*stored.shape, 1)[:3]))
    said = f"{shape}, {stored.dtype}, divided by {largest:.10g}, the largest magnitude"
    same(f"a.{suffix}", stored.astype(float) / largest, said, largest if measured else None)


@pytest.mark.parametrize("channels", [2, 5])
def test_planes_of_a_tiff_are_channels(channels):
    planes = RNG.random((channels, 6, 7))
    tifffile.imwrite("a.tif", planes, photometric="minisblack", planarconfig="separate")
    assert_array_equal(values("a.tif"), np.moveaxis(planes, 0, 2) / planes.max())


def test_other_dtypes_of_arrays():
    np.save("bool.npy", np.eye(3, dtype=bool))
    same("bool.npy", np.eye(3), "3 x 3 x 1, bool")
    np.save("big.npy", np.arange(6, dtype=">u8").reshape(2, 3))
    same("big.npy", np.arange(6).reshape(2, 3) / 5, "2 x 3 x 1, uint64, divided by 5, the largest magnitude")
    np.save("zeros.npy", np.zeros((2, 2), np.int32))
    same("zeros.npy", np.zeros((2, 2)), "2 x 2 x 1, int32")
    np.save("fortran.npy", np.asfortranarray(SHALLOW))
    assert_array_equal(values("fortran.npy"), SHALLOW / 255)
    extended = np.array([[1, 2]], np.longdouble)
    np.save("extended.npy", extended)
    assert_array_equal(values("extended.npy")[:, :, 0], [[0.5, 1.0]])


def test_white_that_is_zero_is_turned_over():
    tifffile.imwrite("a.tif", SHALLOW[:, :, 0], photometric="miniswhite")
    said = "12 x 17 x 1, uint8, inverted, as its zero is white, divided by 255"
    same("a.tif", (255 - SHALLOW[:, :, 0].astype(int)) / 255, said)
    Image.new("1", (20, 10), 1).save("fax.tif", compression="group4")
    assert_array_equal(values("fax.tif"), np.ones((10, 20, 1)))
    tifffile.imwrite("bits.tif", np.eye(8, dtype=bool), photometric="miniswhite")
    same("bits.tif", 1 - np.eye(8), "8 x 8 x 1, bool, inverted, as its zero is white")


def test_few_bits_reach_to_white():
    packed = b"\x0f\xf0" * 4  # eight pixels of four bits
    tags = {256: 8, 257: 2, 258: 4, 259: 1, 262: 1, 273: 8, 277: 1, 278: 2, 279: 8}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHI", b"II", 42, 16) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)
    Path("a.tif").write_bytes(head)
    assert_array_equal(values("a.tif")[:, :, 0], [[0, 1, 1, 0, 0, 1, 1, 0]] * 2)


def test_colours_by_a_table_by_inks_and_by_light():
    table = RNG.integers(0, 65536, (3, 256), np.uint16)
    index = SHALLOW[:, :, 0]
    tifffile.imwrite("palette.tif", index, photometric="palette", colormap=table)
    same(
        "palette.tif",
        np.moveaxis(table[:, index], 0, 2) / 65535,
        "12 x 17 x 3, uint16, divided by 65535",
    )
    for dtype, white in ((np.uint8, 255), (np.uint16, 65535)):
        inks = RNG.integers(0, white + 1, (6, 7, 4), dtype)
        inks[0, 0] = 0
        tifffile.imwrite("inks.tif", inks, photometric="separated")
        light = 1 - inks / white
        assert_array_equal(np.abs(values("inks.tif") - light[:, :, :3] * light[:, :, 3:]) < 1 / white, True)
    tifffile.imwrite("jpeg.tif", SHALLOW[:8, :16], photometric="ycbcr", compression="jpeg")
    assert values("jpeg.tif").shape == (8, 16, 3)
    Image.fromarray(SHALLOW).convert("YCbCr").save("ycbcr.tif", compression="tiff_lzw")
    expected = np.asarray(Image.open("ycbcr.tif").convert("RGB")) / 255
    assert_array_equal(values("ycbcr.tif"), expected)


# --- transparency ------------------------------------------------------------------------------------

STRAIGHT = "transparency (alpha) composited onto black, premultiplied"
ALPHA = np.where(np.arange(17) < 9, 255, np.arange(17) * 10).astype(np.uint8) * np.ones((12, 1), np.uint8)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "tiff", "array of 16 bits", "float", "grey of 16 bits"])
def test_transparency_is_composited_onto_black(mode):
    colours, alpha, white, said = SHALLOW, ALPHA, 255, f"uint8, {STRAIGHT}, divided by 255"
    if mode == "LA":
        colours = colours[:, :, :1]
    both = np.dstack([colours, alpha])
    name = "a.tif" if mode in ("tiff", "float") else "a.png"
    if mode == "tiff":
        tifffile.imwrite(name, both, photometric="rgb", extrasamples=["unassalpha"])
    elif mode == "float":
        both = np.dstack([colours * 3.0, alpha / 255])
        tifffile.imwrite(name, both, photometric="rgb", extrasamples=["unassalpha"])
        seen = both[:, :, :3] * both[:, :, 3:]
        assert read(name).unit == seen.max()
        assert_array_equal(values(name), seen / seen.max())
        return
    elif "16" in mode:
        colours, white = DEEP[:, :, : 1 if "grey" in mode else 3], 65535
        alpha, said = alpha * np.uint16(257), f"uint16, {STRAIGHT}, divided by 65535"
        Path(name).write_bytes(imagecodecs.png_encode(np.dstack([colours, alpha])))
    else:
        Image.fromarray(both, mode).save(name) if mode == "LA" else Image.fromarray(both).save(name)
    opacity = alpha[:, :, None] / white
    same(name, colours * opacity / white, f"12 x 17 x {colours.shape[2]}, {said}")


def test_colours_that_are_premultiplied_are_not_multiplied_again():
    both = np.dstack([SHALLOW // 2, ALPHA])
    tifffile.imwrite("a.tif", both, photometric="rgb", extrasamples=["assocalpha"])
    said = f"12 x 17 x 3, uint8, {STRAIGHT} in the file already, divided by 255"
    same("a.tif", (SHALLOW // 2) / 255, said)


def test_an_alpha_channel_may_stand_anywhere_among_others():
    stored = RNG.integers(1, 200, (6, 7, 5), np.uint8)
    tifffile.imwrite("a.tif", stored, photometric="rgb", extrasamples=["unassalpha", "unspecified"])
    seen = stored[:, :, [0, 1, 2, 4]] * (stored[:, :, 3:4] / 255)
    same("a.tif", seen / 255, f"6 x 7 x 4, uint8, {STRAIGHT}, divided by 255")


def test_what_is_opaque_is_left_as_it_is():
    Image.fromarray(np.dstack([SHALLOW, np.full((12, 17), 255, np.uint8)])).save("a.png")
    said = "12 x 17 x 3, uint8, all of it opaque by its alpha channel, divided by 255"
    same("a.png", SHALLOW / 255, said)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_colour_that_stands_for_nothing(mode):
    image = Image.fromarray(SHALLOW).convert(mode)
    key = image.getpixel((4, 3))
    image.save("a.png", transparency=key)
    stored, shown = (
        np.asarray(i).reshape(12, 17, -1) for i in (image, image.convert(mode.replace("P", "RGB")))
    )
    expected = np.where((stored == key).all(axis=2, keepdims=True), 0, shown) / 255
    assert expected[3, 4].max() == 0
    same("a.png", expected, f"12 x 17 x {shown.shape[2]}, uint8, {STRAIGHT}, divided by 255")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_colour_of_sixteen_bits_that_stands_for_nothing(channels):
    stored = DEEP[:, :, :channels].copy()
    data = imagecodecs.png_encode(stored.squeeze())
    key = struct.pack(f">{channels}H", *map(int, stored[3, 4]))
    chunk = struct.pack(">I", len(key)) + b"tRNS" + key + struct.pack(">I", zlib.crc32(b"tRNS" + key))
    at = data.index(b"IDAT") - 4
    Path("a.png").write_bytes(data[:at] + chunk + data[at:])
    expected = np.where((stored == stored[3, 4]).all(axis=2, keepdims=True), 0, stored / 65535)
    same("a.png", expected, f"12 x 17 x {channels}, uint16, {STRAIGHT}, divided by 65535")


def test_pixels_that_are_not_seen_may_be_anything():
    stored = np.ones((4, 5, 4))
    stored[1, 1] = np.nan, np.inf, 7, 0
    tifffile.imwrite("a.tif", stored, photometric="rgb", extrasamples=["unassalpha"])
    pixels = values("a.tif")
    assert pixels[1, 1].tolist() == [0, 0, 0]
    assert pixels[0, 0].tolist() == [1, 1, 1]


# --- NaN and infinity --------------------------------------------------------------------------------


def test_one_pixel_that_is_not_finite_leaves_the_others():
    stored = RNG.random((6, 7)) * 8 - 3
    stored[2, 3], stored[4, 5] = np.nan, np.inf
    finite = np.abs(stored[np.isfinite(stored)]).max()
    np.save("a.npy", stored)
    said = (
        f"6 x 7 x 1, float64, divided by {finite:.10g}, the largest magnitude, 2 of 42 values NaN or infinite"
    )
    same("a.npy", stored / finite, said, finite)


def test_nothing_finite_is_refused():
    np.save("a.npy", np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match=r"^none of its values is finite$"):
        read("a.npy")


# --- pages -------------------------------------------------------------------------------------------

PAGES = RNG.integers(0, 200, (3, 6, 7), np.uint8)


def write_pages(name):
    if name == "a.gif":
        first, *others = (Image.fromarray(page) for page in PAGES)
        first.save(name, save_all=True, append_images=others)
    elif name == "a.npy":
        np.save(name, PAGES[:, :, :, None])
    else:
        how = {"imagej.tif": {"imagej": True}, "volume.tif": {"volumetric": True, "tile": (1, 16, 16)}}
        tifffile.imwrite(name, PAGES, photometric="minisblack", **how.get(name, {}))
    if name == "imagej.tif":  # one head for all, as ImageJ writes stacks beyond 4 GiB
        with tifffile.TiffFile(name) as file:
            at = file.pages[0].offset + 2 + 12 * len(file.pages[0].tags)
        data = bytearray(Path(name).read_bytes())
        data[at : at + 4] = bytes(4)
        Path(name).write_bytes(data)


@pytest.mark.parametrize("name", ["a.gif", "a.npy", "pages.tif", "imagej.tif", "volume.tif"])
def test_a_page_of_several_is_read_and_said(name):
    write_pages(name)
    for page in (None, 1, 2, 3):
        shown = page or 1
        picture = read(name, page, np.float64)
        assert picture.said.startswith(f"page {shown} of 3, 6 x 7 x ")
        channels = picture.pixels.shape[2]
        expected = np.repeat(PAGES[shown - 1][:, :, None], channels, 2) / 255
        assert_array_equal(picture.pixels, expected)
    with pytest.raises(ValueError, match=r"^it holds 3 pages, --page asks for 4$"):
        read(name, 4)


def test_pages_of_other_sizes_and_kinds():
    with tifffile.TiffWriter("a.tif") as writer:
        writer.write(SHALLOW, photometric="rgb")
        writer.write(DEEP[:4, :5, 0])
    assert read("a.tif", 1).said == "page 1 of 2, 12 x 17 x 3, uint8, divided by 255"
    assert read("a.tif", 2).said.startswith("page 2 of 2, 4 x 5 x 1, uint16, divided by ")


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.tif"])
def test_one_image_is_one_page(name):
    save = {"png": Image.fromarray(SHALLOW).save, "npy": lambda f: np.save(f, SHALLOW)}
    save.get(name[2:], lambda f: tifffile.imwrite(f, SHALLOW, photometric="rgb"))(name)
    assert_array_equal(values(name, 1), SHALLOW / 255)
    with pytest.raises(ValueError, match=r"^it holds 1 page, --page asks for 2$"):
        read(name, 2)


# --- which way is up ---------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "deep.png", "a.tif"])
def test_it_is_turned_as_pillow_turns_it(name, orientation):
    from PIL import ImageOps

    image = Image.fromarray(SHALLOW)
    exif = image.getexif()
    exif[0x0112] = orientation
    if name == "a.tif":
        tifffile.imwrite(name, SHALLOW, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    else:
        image.save(name, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open("a.jpg") if name == "a.jpg" else with_exif(exif)))
    if name == "deep.png":
        data, tagged = imagecodecs.png_encode(SHALLOW * np.uint16(257)), Path(name).read_bytes()
        start = tagged.index(b"eXIf") - 4
        chunk = tagged[start : start + 12 + struct.unpack(">I", tagged[start : start + 4])[0]]
        at = data.index(b"IDAT") - 4
        Path(name).write_bytes(data[:at] + chunk + data[at:])
    assert_array_equal(values(name), upright / 255)
    assert ("turned upright" in read(name).said) == (orientation > 1)


def with_exif(exif):
    buffer = io.BytesIO()
    Image.fromarray(SHALLOW).save(buffer, "png", exif=exif)
    return Image.open(buffer)


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 3), complex), "its dtype is complex128, expected real numbers"),
        (np.array([["a"]]), "its dtype is <U1, expected real numbers"),
        (np.ones(3), "expected (H, W) or (H, W, C), none of them 0, got shape (3,)"),
        (np.ones((0, 3)), "expected (H, W) or (H, W, C), none of them 0, got shape (0, 3)"),
        (np.ones((1,) * 5), "expected (H, W) or (H, W, C), none of them 0, got shape (1, 1, 1, 1, 1)"),
    ],
)
def test_arrays_that_are_no_images(array, message):
    np.save("a.npy", array)
    with pytest.raises(ValueError) as refused:
        read("a.npy")
    assert str(refused.value) == message


@pytest.mark.parametrize("name", ["a.tif", "lzw.tif", "strips.tif", "a.npy", "a.jp2", "deep.png", "a.ppm"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_files_that_are_cut_off(name, share):
    large = np.tile(DEEP, (20, 20, 1))
    if name.endswith(".tif"):
        how = {"lzw.tif": {"compression": "lzw"}, "strips.tif": {"compression": "zlib", "rowsperstrip": 4}}
        tifffile.imwrite(name, large, photometric="rgb", **how.get(name, {}))
    elif name == "a.npy":
        np.save(name, large)
    elif name == "a.ppm":
        Path(name).write_bytes(ppm(large))
    else:
        encode = imagecodecs.png_encode if name == "deep.png" else imagecodecs.jpeg2k_encode
        Path(name).write_bytes(encode(large))
    data = Path(name).read_bytes()
    Path(name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError) as refused:
        read(name)
    assert str(refused.value)


def test_damage_ends_in_one_of_two_errors():
    """Bytes turned at random: an image, or a refusal."""
    Image.fromarray(SHALLOW).save("a.gif")
    tifffile.imwrite("a.tif", DEEP, photometric="rgb", compression="lzw")
    Path("a.png").write_bytes(imagecodecs.png_encode(DEEP))
    np.save("a.npy", DEEP)
    rng = np.random.default_rng(1)
    for name in ("a.gif", "a.tif", "a.png", "a.npy"):
        whole = Path(name).read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for at in rng.integers(0, min(len(data), 400), 3):
                data[at] = rng.integers(0, 256)
            Path(f"x{name}").write_bytes(data)
            with warnings.catch_warnings(action="ignore"):
                try:
                    assert read(f"x{name}").pixels.ndim == 3
                except (ValueError, MemoryError) as error:
                    assert str(error)  # noqa: PT017


def test_a_table_of_the_stars_is_refused_with_what_helps():
    cards = [
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    2",
    ]
    cards += ["NAXIS1  =                    3", "NAXIS2  =                    2", "END"]
    Path("a.fits").write_bytes("".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(2880))
    with pytest.raises(ValueError) as refused:
        read("a.fits")
    assert str(refused.value) == (
        "FITS is not read, as its numbers would lose their scale; save them as .npy"
    )


def test_an_image_larger_than_pillows_limit_is_read_and_the_limit_is_left(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.fromarray(SHALLOW).save("a.png")
    assert_array_equal(values("a.png"), SHALLOW / 255)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
def test_an_image_that_does_not_fit_is_refused_before_it_is_read(name, monkeypatch):
    monkeypatch.setattr("triconv.runtime.memory.available", lambda: 100 << 20)
    large = np.broadcast_to(np.uint8(7), (6000, 7000))
    if name == "a.png":
        Image.new("L", (7000, 6000)).save(name)
    elif name == "a.tif":
        tifffile.imwrite(name, large, compression="zlib")
    else:
        np.save(name, large)
    with pytest.raises(MemoryError) as refused:
        read(name)
    shape = "(6000, 7000, 1)" if name != "a.tif" else "(6000, 7000)"
    assert str(refused.value).startswith(f"compare: an image of shape {shape}")
    assert str(refused.value).endswith(" MiB, 100 MiB are available")


def test_the_other_libraries_are_not_needed_for_what_pillow_reads_whole(monkeypatch):
    for name in ("imagecodecs", "tifffile"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    Image.fromarray(SHALLOW).save("a.png")
    assert_array_equal(values("a.png"), SHALLOW / 255)
    Path("deep.png").write_bytes(b"")
    assert pictures.DEEP["PNG"] == "png_decode"


def test_a_missing_library_is_named(monkeypatch):
    write_deep("a.png")
    write_deep("plain.tif")
    for module, name in (("imagecodecs", "a.png"), ("tifffile", "plain.tif")):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(ModuleNotFoundError) as missing:
            read(name)
        assert missing.value.name == module


# --- What files say wrongly, or in fewer bits --------------------------------------------------------


@pytest.mark.parametrize("name", ["photo.jpg", "photo.tif"])
@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_a_tag_that_means_nothing_turns_nothing(name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    if name.endswith("tif"):
        tifffile.imwrite(name, SHALLOW, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    else:
        Image.fromarray(SHALLOW).save(name, exif=exif)
    picture = read(name)
    assert picture.pixels.shape == SHALLOW.shape
    assert "turned" not in picture.said


@pytest.mark.parametrize(("bits", "white"), [(10, 1023), (12, 4095)])
def test_opaque_is_opaque_in_any_depth(bits, white):
    colours = np.full((6, 7, 4), white, np.uint16)
    colours[1, 2, 0] = white // 2
    Path("deep.jp2").write_bytes(imagecodecs.jpeg2k_encode(colours, bitspersample=bits, level=0))
    picture = read("deep.jp2", dtype="float64")
    assert "opaque" in picture.said
    assert_array_equal(picture.pixels[0], 1)
    assert picture.pixels[1, 2].tolist() == [white // 2 / white, 1, 1]


def test_what_is_refused_in_words():
    tifffile.imwrite("inks.tif", np.zeros((5, 6, 4), "f4"), photometric="separated")
    os.mkfifo("pipe")
    opened = threading.Thread(target=lambda: os.close(os.open("pipe", os.O_WRONLY)), daemon=True)
    opened.start()
    for name, reason in (
        ("inks.tif", "it is CMYK of dtype float32, expected unsigned integers"),
        ("pipe", "it is a pipe, which cannot be read twice; save it to a file first"),
    ):
        with pytest.raises(ValueError) as caught:
            read(name)
        assert str(caught.value) == reason

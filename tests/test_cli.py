"""The command line: what it prints and writes, its exit codes, and one line for everything it refuses."""

import errno
import io
import logging
import os
import pickle
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image
from strategies import NAMED

import triconv
from triconv import cli
from triconv.cli import main

SAMPLE = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
HEAD = "stride padding method time GFLOP/s workspace packed max error"
PYTORCH = "; if that is PyTorch's order, (C_out, C_in, k_h, k_w), give weight.transpose(0, 2, 3, 1)"
KERAS = "; if that is Keras' order, (k_h, k_w, C_in, C_out), give weight.transpose(3, 0, 1, 2)"
# What the system says of a file that is not there, and of a folder.
MISSING, FOLDER = os.strerror(errno.ENOENT), os.strerror(errno.EISDIR)
FILTERS = "sobel, laplacian, gaussian, gaussian:SIZE, random, random:COUNT"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photo(folder):
    """A colour image of 12 rows and 17 columns."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return "photo.png"


def run(*arguments, environment=(), before="", **how):
    """The command in a process of its own."""
    source = Path(triconv.__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(source)!r}); {before}"
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | how
    return subprocess.run(
        [sys.executable, "-c", code + "\nfrom triconv.cli import main; sys.exit(main())", *arguments],
        timeout=300,
        env={**os.environ, **dict(environment)},
        check=False,
        **how,
    )


def table_of(text):
    """The rows under the head, each a list of its words; a number and its unit are two."""
    lines = text.splitlines()
    assert " ".join(lines[0].split()) == HEAD
    assert set(lines[1]) == {"-", " "}
    return [line.split() for line in lines[2:] if re.match(r"\d", line)]


# --- compare: what it does ---------------------------------------------------------------------------


def test_the_default_photo_end_to_end():
    done = run("compare", "--stride", "3", "--padding", "same")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [row[:3] for row in table_of(done.stdout)] == [["3", "same", m] for m in NAMED]
    figure = Path("triconv-compare/compare.png")
    assert done.stdout.splitlines()[-2:] == [
        f"figure: {figure}",
        "The methods agree with the definition to within rounding.",
    ]
    assert figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with Image.open(figure) as image:
        assert image.format == "PNG"
        assert 800 <= image.width <= 3000
        assert 600 <= image.height <= 3000
        assert len(image.convert("RGB").resize((200, 200)).getcolors(40_000)) > 1000  # the photo is in it


def test_a_row_for_each_stride_padding_and_method(photo, capsys):
    assert (
        main(["compare", photo, "--stride", "1", "2", "--padding", "0", "1", "full", "--output", "out"]) == 0
    )
    rows = table_of(capsys.readouterr().out)
    assert [row[:3] for row in rows] == [
        [stride, padding, method]
        for stride in ("1", "2")
        for padding in ("0", "1", "full")
        for method in NAMED
    ]
    for row in rows:
        _, _, _, time, time_unit, gflops, workspace, _, packed, packed_unit, error = row
        assert float(time) > 0
        assert time_unit in ("us", "ms", "s")
        assert float(gflops) > 0
        assert float(workspace) >= 0
        assert float(packed) > 0
        assert packed_unit in ("B", "KiB", "MiB")
        assert 0 <= float(error) < 1e-5
    assert Path("out/compare.png").stat().st_size > 10_000
    assert not Path("triconv-compare").exists()


def test_the_defaults_of_the_grid(photo, capsys):
    assert main(["compare", photo]) == 0
    rows = table_of(capsys.readouterr().out)
    assert {(row[0], row[1]) for row in rows} == {(s, p) for s in "123" for p in ("valid", "same", "full")}
    assert len(rows) == 27


@pytest.mark.parametrize("name", ["gaussian", "gaussian:3", "laplacian", "random", "random:3"])
def test_every_bank_runs(photo, name, capsys):
    assert main(["compare", photo, "--filter", name, "--stride", "2", "--padding", "same"]) == 0
    assert len(table_of(capsys.readouterr().out)) == 3


@pytest.mark.parametrize("dtype", ["float16", "float64", "complex64", "complex128"])
def test_every_dtype_runs(photo, dtype, capsys):
    assert main(["compare", photo, "--dtype", dtype, "--stride", "1", "--padding", "1"]) == 0
    assert "The methods agree" in capsys.readouterr().out


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 3, 1), (2, 3, 2, 3)])
def test_weights_from_a_file(photo, shape, capsys):
    np.save("w.npy", np.arange(np.prod(shape)).reshape(shape))
    assert main(["compare", photo, "--weights", "w.npy", "--stride", "1", "--padding", "0"]) == 0
    assert len(table_of(capsys.readouterr().out)) == 3


def test_a_grid_point_given_twice_runs_once(photo, capsys):
    assert main(["compare", photo, "--stride", "2", "2", "--padding", "0"]) == 0
    assert len(table_of(capsys.readouterr().out)) == 3


def test_a_matrix_above_one_gibibyte_is_not_built(capsys):
    assert cli.MATRIX_LIMIT == 2**30
    Image.new("L", (500, 400)).save("gray.png")
    assert main(["compare", "gray.png", "--filter", "random:40", "--stride", "1", "--padding", "same"]) == 0
    rows = table_of(capsys.readouterr().out)
    assert [row[2] for row in rows] == list(NAMED)
    note = " ".join(rows[2][3:])
    # 200,000 outputs of 40 filters of 25 taps, less the taps on the border, at 4 + 4 bytes
    size = re.fullmatch(r"- - - - - not built: W would take (\S+) GiB, more than 1 GiB", note)
    assert size
    assert float(size[1]) == pytest.approx(500 * 400 * 40 * 25 * 8 / 2**30, rel=0.03)


def test_methods_that_disagree_are_an_error(photo, capsys, monkeypatch):
    real = sys.modules["triconv.compare"].plan

    def plan(*args, method, **keywords):
        made = real(*args, method=method, **keywords)
        if method != "im2col":
            return made

        class Wrong:
            flops, workspace_bytes, packed_bytes = made.flops, made.workspace_bytes, made.packed_bytes

            def __call__(self, x, out=None):
                return np.add(made(x), 1, out=out)

        return Wrong()

    monkeypatch.setattr(sys.modules["triconv.compare"], "plan", plan)
    assert main(["compare", photo, "--stride", "1", "2", "--padding", "same"]) == 1
    out, err = capsys.readouterr()
    assert re.fullmatch(
        r"triconv compare: the methods disagree: im2col at stride 1, padding same is off by 1\.0e\+00, "
        r"rounding explains \d\.\de-0\d \(and 1 more\)\n",
        err,
    )
    assert len(table_of(out)) == 6
    assert "agree" not in out
    assert Path("triconv-compare/compare.png").exists()


# --- compare: what it refuses ------------------------------------------------------------------------


def refused(capsys, *arguments):
    """The one line that a refusal prints, less its start."""
    try:
        code = main(["compare", *arguments])
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("triconv compare: ")
    assert not list(Path().glob("**/compare.png"))
    return err.removeprefix("triconv compare: ").rstrip("\n")


def png(width, height):
    """A PNG whose head claims a size, without the pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def test_a_missing_image(capsys):
    line = f"cannot read the image 'none.jpg': {MISSING}"
    assert refused(capsys, "none.jpg") == line


def test_a_folder_for_an_image(capsys, folder):
    assert refused(capsys, str(folder)) == f"cannot read the image {str(folder)!r}: {FOLDER}"


@pytest.mark.parametrize("content", [b"", b"not an image", b"PK\3\4"])
def test_a_file_that_is_no_image(capsys, content):
    Path("notes.txt").write_bytes(content)
    assert refused(capsys, "notes.txt") == "cannot read the image 'notes.txt': not an image of a known format"


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff"])
def test_an_image_that_is_cut_off(capsys, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, {"jpg": "jpeg"}.get(suffix, suffix))
    Path(f"cut.{suffix}").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    assert refused(capsys, f"cut.{suffix}").startswith(f"cannot read the image 'cut.{suffix}': ")


def test_an_image_that_claims_to_be_huge(capsys):
    Path("bomb.png").write_bytes(png(60_000, 60_000))
    assert refused(capsys, "bomb.png").startswith("cannot read the image 'bomb.png': ")


@pytest.mark.parametrize(
    ("shape", "got"),
    [
        ((3, 3, 3), "(3, 3, 3)"),
        ((2, 3, 3, 2), "(2, 3, 3, 2)"),
        ((), "()"),
        ((9,), "(9,)"),
        ((0, 3, 3, 1),) * 2,
    ],
)
def test_weights_of_the_wrong_shape(capsys, photo, shape, got):
    np.save("w.npy", np.zeros(shape))
    assert refused(capsys, photo, "--weights", "w.npy") == (
        "weights: expected the shape (k_h, k_w), (n, k_h, k_w, 1) or (n, k_h, k_w, 3) for 3 channels, "
        f"got {got}"
    )


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((8, 3, 5, 5), PYTORCH),
        ((8, 3, 1, 7), PYTORCH),
        ((8, 1, 5, 5), PYTORCH),
        ((5, 5, 3, 8), KERAS),
        ((5, 5, 1, 8), KERAS),
        ((3, 3, 3, 8), KERAS),
        ((5, 3, 3, 4), ""),
        ((8, 4, 5, 5), ""),
        ((8, 3, 0, 0), ""),
    ],
)
def test_the_order_of_other_libraries_is_recognised(capsys, photo, shape, hint):
    np.save("w.npy", np.zeros(shape))
    assert refused(capsys, photo, "--weights", "w.npy") == (
        "weights: expected the shape (k_h, k_w), (n, k_h, k_w, 1) or (n, k_h, k_w, 3) for 3 channels, "
        f"got {shape}{hint}"
    )
    if hint:  # and following it helps
        axes = eval(hint[hint.rindex("(") :])
        np.save("w.npy", np.zeros(shape).transpose(axes))
        options = ["--stride", "3", "--padding", "full"]
        assert main(["compare", photo, "--weights", "w.npy", *options]) == 0


def test_missing_weights(capsys, photo):
    line = f"cannot read the weights 'none.npy': {MISSING}"
    assert refused(capsys, photo, "--weights", "none.npy") == line


def test_weights_that_are_no_npy(capsys, photo):
    assert refused(capsys, photo, "--weights", photo) == f"cannot read the weights {photo!r}: not a .npy file"


def test_weights_that_are_cut_off(capsys, photo):
    np.save("w.npy", np.zeros((3, 3)))
    Path("w.npy").write_bytes(Path("w.npy").read_bytes()[:-8])
    assert refused(capsys, photo, "--weights", "w.npy").startswith("cannot read the weights 'w.npy': ")


def test_weights_that_claim_to_be_huge(capsys, photo):
    np.save("w.npy", np.zeros((3, 3)))
    content = Path("w.npy").read_bytes()
    Path("w.npy").write_bytes(content.replace(b"(3, 3), }" + b" " * 11, b"(999999, 9999999), }"))
    assert refused(capsys, photo, "--weights", "w.npy").startswith("cannot read the weights 'w.npy': ")


def test_an_image_that_its_reader_cannot_take(capsys, photo, monkeypatch):
    def fail(image, *args):
        raise SyntaxError("broken header")

    monkeypatch.setattr(Image.Image, "seek", fail)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.seek", fail)
    assert refused(capsys, photo) == f"cannot read the image {photo!r}: broken header"


def test_weights_with_a_damaged_head(capsys, photo):
    np.save("w.npy", np.zeros((3, 3)))
    Path("w.npy").write_bytes(Path("w.npy").read_bytes().replace(b"}", b"("))
    assert refused(capsys, photo, "--weights", "w.npy").startswith("cannot read the weights 'w.npy': ")


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_objects_are_never_unpickled(capsys, photo):
    np.save("w.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    line = refused(capsys, photo, "--weights", "w.npy")
    assert line == "cannot read the weights 'w.npy': Object arrays cannot be loaded when allow_pickle=False"
    Path("w.npy").write_bytes(pickle.dumps(Trap()))
    assert refused(capsys, photo, "--weights", "w.npy") == "cannot read the weights 'w.npy': not a .npy file"
    assert not Path("sprung").exists()


def test_weights_that_are_no_numbers(capsys, photo):
    np.save("w.npy", np.array([["a", "b"]]))
    line = "cannot read the weights 'w.npy': its dtype is <U1, expected numbers"
    assert refused(capsys, photo, "--weights", "w.npy") == line


def test_complex_weights_need_a_complex_dtype(capsys, photo):
    np.save("w.npy", np.ones((2, 2), complex))
    line = "weights of dtype complex128 need another --dtype than float32"
    assert refused(capsys, photo, "--weights", "w.npy") == line


def test_a_kernel_too_large_for_the_image(capsys, photo):
    assert refused(capsys, photo, "--filter", "gaussian:15", "--stride", "2", "--padding", "1", "0") == (
        "stride 2, padding 1: kernel_size reaches over 15 of the padded height 14 (1 + 12 + 1); "
        "the output would be empty"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("prewitt", f"filter: expected one of {FILTERS}, got 'prewitt'"),
        ("gaussian:x", f"filter: expected one of {FILTERS}, got 'gaussian:x'"),
        ("sobel:5", f"filter: expected one of {FILTERS}, got 'sobel:5'"),
        ("gaussian:4", "filter: gaussian takes an odd size up to 1023, got 4"),
        ("gaussian:99999", "filter: gaussian takes an odd size up to 1023, got 99999"),
        ("random:0", "filter: random takes from 1 to 1023 filters, got 0"),
    ],
)
def test_a_wrong_filter(capsys, photo, name, line):
    assert refused(capsys, photo, "--filter", name) == line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--stride", "0"], "argument --stride: expected a positive number, got '0'"),
        (["--stride", "9" * 5000], f"argument --stride: expected a positive number, got '{'9' * 5000}'"),
        (["--page", "0"], "argument --page: expected a positive number, got '0'"),
        (["--page", "first"], "argument --page: expected a positive number, got 'first'"),
        (["--output", ""], "argument --output: expected a folder, got ''"),
        (["--filter", ""], f"filter: expected one of {FILTERS}, got ''"),
        (["--weights", ""], f"cannot read the weights '': {MISSING}"),
        ([""], f"cannot read the image '': {MISSING}"),
        (["--page", "2"], f"cannot read the image {SAMPLE!r}: it holds 1 page, --page asks for 2"),
        (["--stride", "1", "x.jpg"], "argument --stride: expected a positive number, got 'x.jpg'"),
        (
            ["--padding", "-1"],
            "argument --padding: expected a number or one of valid, same, same_lower, full, got '-1'",
        ),
        (
            ["--padding", "some"],
            "argument --padding: expected a number or one of valid, same, same_lower, full, got 'some'",
        ),
        (
            ["--filter", "sobel", "--weights", "w.npy"],
            "argument --weights: not allowed with argument --filter",
        ),
    ],
)
def test_wrong_options(capsys, arguments, line):
    assert refused(capsys, *arguments) == line


def test_a_wrong_dtype(capsys):
    assert refused(capsys, "--dtype", "int8").startswith("argument --dtype: ")


def test_an_output_that_is_a_file(capsys, photo):
    assert refused(capsys, photo, "--output", photo) == f"cannot write to the folder {photo!r}: File exists"
    assert refused(capsys, photo, "--output", f"{photo}/out") == (
        f"cannot write to the folder '{photo}/out': {os.strerror(errno.ENOTDIR)}"
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser writes everywhere")
def test_an_output_that_cannot_be_written(capsys, photo):
    Path("locked").mkdir(mode=0o500)
    assert (
        refused(capsys, photo, "--output", "locked")
        == "cannot write to the folder 'locked': Permission denied"
    )


def test_a_figure_that_cannot_be_written(capsys, photo):
    Path("out/compare.png").mkdir(parents=True)
    assert main(["compare", photo, "--stride", "2", "--padding", "0", "--output", "out"]) == 2
    assert capsys.readouterr().err == f"triconv compare: cannot write 'out/compare.png': {FOLDER}\n"


@pytest.mark.parametrize("name", ["matplotlib", "PIL", "rich"])
def test_a_missing_extra(capsys, photo, name, monkeypatch):
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, name, None)
    line = refused(capsys, photo)
    assert re.fullmatch(rf"needs {name}\S*; python -m pip install 'triconv\[plot\]' brings it", line)


def test_memory_that_runs_out_is_one_line(capsys, photo, monkeypatch):
    def compare(*args, **keywords):
        raise MemoryError("conv2d: the output needs 80 GiB,\n8 GiB are available")

    monkeypatch.setattr(cli, "compare", compare)
    assert refused(capsys, photo) == "conv2d: the output needs 80 GiB, 8 GiB are available"


def test_an_interruption_is_one_line(capsys, photo, monkeypatch):
    def compare(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "compare", compare)
    assert main(["compare", photo]) == 130
    assert capsys.readouterr().err == "triconv compare: interrupted\n"


# --- compare: what it says ---------------------------------------------------------------------------

QUICK = ("--stride", "3", "--padding", "full")


def lines_after_the_table(capsys, *arguments):
    assert main(["compare", *arguments, *QUICK]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()[5:]


def test_what_was_done_to_the_values_is_a_line(capsys, photo):
    assert lines_after_the_table(capsys, photo) == [
        "image: photo.png, 12 x 17 x 3, uint8, divided by 255",
        f"figure: {Path('triconv-compare/compare.png')}",
        "The methods agree with the definition to within rounding.",
    ]


def test_the_page_that_is_read_is_said(capsys):
    np.save("stack.npy", np.arange(240.0).reshape(3, 8, 10, 1))
    (line, *_) = lines_after_the_table(capsys, "stack.npy", "--page", "2")
    assert line == "image: stack.npy, page 2 of 3, 8 x 10 x 1, float64, divided by 159, the largest magnitude"


def test_a_sample_is_said(capsys, photo, monkeypatch):
    monkeypatch.setattr("triconv.reference.GATHERED", 1)
    monkeypatch.setattr("triconv.reference.SAMPLED", 1)
    assert main(["compare", photo, "--stride", "1", "--padding", "full"]) == 0
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("max error: ")]
    counts = re.fullmatch(r"max error: over a sample, (\d+) of 1,596 outputs", said)
    assert 8 * 6 <= int(counts[1]) <= 32 * 6


def test_one_nan_spoils_its_patches_alone(capsys, monkeypatch):
    stored = np.random.default_rng(0).random((12, 17))
    stored[5, 6] = np.nan
    np.save("a.npy", stored)
    seen = []
    real = cli.compare

    def compare(x, *args, **keywords):
        seen.append((x, real(x, *args, **keywords)))
        return seen[-1][1]

    monkeypatch.setattr(cli, "compare", compare)
    assert main(["compare", "a.npy", "--stride", "1", "--padding", "valid"]) == 0
    ((x, result),) = seen
    assert np.isnan(x).sum() == 1
    assert result.finite == result.outputs - 2 * 9
    assert all(0 < row.max_error < 1e-5 for row in result)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "The methods agree with the definition to within rounding."
    )


def test_methods_do_not_agree_over_nothing(capsys):
    stored = np.ones((5, 5))
    stored[2, 2] = np.nan
    np.save("a.npy", stored)
    assert main(["compare", "a.npy", "--stride", "1", "--padding", "valid"]) == 2
    out, err = capsys.readouterr()
    assert "agree" not in out
    assert err == (
        "triconv compare: no method ran, or no output is finite: there is nothing that could agree\n"
    )
    assert main(["compare", "a.npy", "--stride", "1", "--padding", "valid", "full"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "The methods agree with the definition to within rounding, at 1 of 2 points; "
        "elsewhere no output is finite."
    )
    np.save("a.npy", stored * np.nan)
    assert main(["compare", "a.npy"]) == 2
    assert capsys.readouterr() == (
        "",
        "triconv compare: cannot read the image 'a.npy': none of its values is finite\n",
    )


def test_a_method_that_would_take_long_is_not_run(capsys, photo, monkeypatch):
    monkeypatch.setattr(cli, "CALL_LIMIT", 0.0)
    assert main(["compare", photo, *QUICK]) == 0
    rows = table_of(capsys.readouterr().out)
    assert sum("not" in row for row in rows) == 2


# --- how it ends, whatever takes its output ----------------------------------------------------------

COMMANDS = {
    "compare": ("compare", "photo.png", *QUICK),
    "info": ("info",),
    "cache": ("cache", "clear"),
    "help": ("--help",),
    "help of a command": ("compare", "--help"),
    "version": ("--version",),
}
each_command = pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
posix = pytest.mark.skipif(os.name != "posix", reason="of POSIX systems")


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def kept(folder, photo, request):
    """Where kernels are kept, and whether Python holds what is printed."""
    return {"TRICONV_CACHE_DIR": str(folder / "cache"), "PYTHONUNBUFFERED": request.param}


@pytest.mark.slow
@pytest.mark.processes
@posix
@each_command
def test_a_pipe_that_no_one_reads_is_left_in_silence(arguments, kept):
    reading, writing = os.pipe()
    os.close(reading)
    done = run(*arguments, environment=kept, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
@each_command
def test_a_full_disk_is_one_line(arguments, kept):
    with open("/dev/full", "w") as full:
        done = run(*arguments, environment=kept, stdout=full)
        assert done.returncode == 2
        name = f"triconv {arguments[0]}" if arguments[0] in ("compare", "info", "cache") else "triconv"
        name = name.removesuffix(" compare") if "--help" in arguments else name
        assert done.stderr == f"{name}: cannot write the output: No space left on device\n"


@pytest.mark.processes
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
@pytest.mark.parametrize("arguments", [("none.jpg",), ("--stride", "0")])
def test_complaints_that_find_no_room(arguments, kept):
    with open("/dev/full", "w") as full:
        assert run("compare", *arguments, environment=kept, stderr=full).returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device")
def test_a_figure_on_a_full_disk_is_one_line(capsys, photo):
    Path("out").mkdir()
    Path("out/compare.png").symlink_to("/dev/full")
    assert main(["compare", photo, *QUICK, "--output", "out"]) == 2
    assert capsys.readouterr().err == (
        "triconv compare: cannot write 'out/compare.png': No space left on device\n"
    )


@pytest.mark.processes
@posix
def test_streams_that_are_closed(photo):
    for stream in (1, 2):
        done = run("compare", photo, *QUICK, preexec_fn=lambda n=stream: os.close(n))
        assert (done.returncode, done.stderr) == (0, "")
    done = run("compare", "none.jpg", preexec_fn=lambda: os.close(2))
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.slow
@pytest.mark.processes
@posix
@pytest.mark.parametrize("encoding", ["ascii", "ascii:surrogateescape", "latin-1", "utf-8"])
def test_names_that_the_output_cannot_spell(photo, encoding):
    name = "日本 $x_1$ \udcff.png"
    Path(photo).rename(name)
    environment = {"PYTHONIOENCODING": encoding, "TRICONV_CACHE_DIR": f"/nowhere/{name}"}
    done = run("compare", name, *QUICK, "--output", name[:-4], environment=environment, text=False)
    assert (done.returncode, done.stderr) == (0, b"")
    image, figure, _ = done.stdout.splitlines()[-3:]
    if encoding == "utf-8":
        assert image.startswith("image: 日本 $x_1$ \\xff.png, 12 x 17 x 3".encode())
        assert figure == b"figure: " + os.fsencode(name[:-4]) + b"/compare.png"
    else:
        assert image.startswith(rb"image: \u65e5\u672c $x_1$ \xff.png, 12 x 17 x 3")
        assert figure == rb"figure: \u65e5\u672c $x_1$ \udcff/compare.png"
    assert (Path(name[:-4]) / "compare.png").exists()
    done = run("info", environment=environment, text=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.processes
def test_what_python_and_libraries_would_say_is_not_said(photo):
    Path(photo).rename("日本.png")
    before = "import logging; logging.getLogger('tifffile')"
    done = run("compare", "日本.png", *QUICK, before=before, environment={"PYTHONWARNINGS": "always"})
    assert (done.returncode, done.stderr) == (0, "")
    Path("cut.tif").write_bytes(b"II*\0\x08\0\0\0\xff\xff" + bytes(range(256)) * 9)
    done = run("compare", "cut.tif")
    assert done.returncode == 2
    assert re.fullmatch(r"triconv compare: cannot read the image 'cut\.tif': .+\n", done.stderr)


RC = "text.usetex: True\nbackend: nonsense\nfont.family: no such font\nsavefig.format: x\nno such key: 1\n"


@pytest.mark.processes
@pytest.mark.parametrize("backend", ["nonsense", "qtagg", "module://nothing"])
def test_settings_of_matplotlib_change_nothing(photo, backend):
    Path("matplotlibrc").write_text(RC)
    done = run("compare", photo, *QUICK, environment={"MPLBACKEND": backend})
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open("triconv-compare/compare.png") as figure:
        assert figure.width == 1320


def test_settings_that_matplotlib_cannot_read_are_one_line(photo):
    Path("matplotlibrc").write_bytes(b"\xff\xfe: \xff")
    done = run("compare", photo, *QUICK)
    assert done.returncode == 2
    assert re.fullmatch(r"triconv compare: matplotlib cannot be loaded: .+\n", done.stderr)


@pytest.mark.parametrize("error", [ValueError("of another library"), RuntimeError(), RecursionError("deep")])
def test_errors_of_others_are_one_line(capsys, photo, monkeypatch, error):
    def compare(*args, **keywords):
        raise error

    monkeypatch.setattr(cli, "compare", compare)
    text = f"{type(error).__name__}: {error}".strip()
    assert refused(capsys, photo) == text


def test_as_a_module(folder):
    source = Path(triconv.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "triconv", "--version"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(source)},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"triconv {triconv.__version__}\n", "")


def test_the_streams_and_warnings_are_left_as_they_were(capsys, photo):
    errors, level, filters = sys.stdout.errors, logging.root.manager.disable, list(warnings.filters)
    main(["compare", photo, *QUICK])
    main(["compare", "none.jpg"])
    with pytest.raises(SystemExit):
        main(["--version"])
    assert (sys.stdout.errors, logging.root.manager.disable, warnings.filters) == (errors, level, filters)


@pytest.mark.processes
@posix
def test_a_terminal_sees_a_bar_and_a_file_does_not(photo):
    import pty

    reading, writing = pty.openpty()
    done = run(*COMMANDS["compare"], stderr=writing, environment={"TERM": "xterm", "COLUMNS": "100"})
    os.close(writing)
    seen = os.read(reading, 1 << 16).decode()
    os.close(reading)
    assert done.returncode == 0
    assert re.search(r"comparing.*\d+%.*about \d+ s left", seen)
    assert "Traceback" not in seen


# --- the other commands ------------------------------------------------------------------------------


def test_bench_prints_a_table(capsys, monkeypatch):
    monkeypatch.setattr(cli, "LAYERS", {"tiny": ((8, 9, 3), (4, 3, 3, 3), 1, 1, 1)})
    assert main(["bench"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == "layer method time GFLOP/s workspace packed max error"
    assert [line.split()[:2] for line in lines[2:]] == [["tiny", m] for m in NAMED]


def test_info_without_the_extra(folder):
    blocked = "sys.modules.update(dict.fromkeys(['matplotlib', 'PIL', 'rich']))"
    done = run("info", before=blocked, environment={"TRICONV_CACHE_DIR": str(folder / "cache")})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    names = "triconv python numba llvmlite numpy scipy cpu vectors threads cache"
    assert list(lines) == names.split()
    assert lines["triconv"] == triconv.__version__
    assert lines["numpy"] == np.__version__
    assert re.fullmatch(r"\d+ bits, \d+ registers, with(out)? fused multiply-add", lines["vectors"])
    assert re.fullmatch(r"\d+, threading layer (tbb|omp|workqueue)", lines["threads"])
    assert re.fullmatch(re.escape(str(folder / "cache")) + r", \d+ files, \d.* \w+", lines["cache"])


def test_info_says_why_nothing_is_kept(folder, capsys, monkeypatch):
    def cache_line():
        assert main(["info"]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    shared, file = folder / "shared", folder / "file"
    shared.mkdir()
    shared.chmod(0o777)
    file.touch()
    monkeypatch.setenv("TRICONV_CACHE_DIR", str(shared))
    assert cache_line() == f"cache     {shared}, 0 files, 0 B; others can write there"
    monkeypatch.setenv("TRICONV_CACHE_DIR", str(file))
    assert cache_line() == f"cache     {file}, 0 files, 0 B; cannot be written"
    monkeypatch.setenv("TRICONV_CACHE_DIR", "~nobody-of-this-name/cache")
    assert cache_line().endswith("0 files, 0 B; no one knows the user's home")
    monkeypatch.setenv("TRICONV_CACHE_DIR", str(folder / "own" / "cache"))
    assert cache_line() == f"cache     {folder / 'own' / 'cache'}, 0 files, 0 B"
    assert not (folder / "own").exists()
    monkeypatch.setattr("os.access", lambda *_: False)
    assert cache_line() == f"cache     {folder / 'own' / 'cache'}, 0 files, 0 B; cannot be written"


def test_cache_clear_deletes_kernels_and_nothing_else(folder, capsys, monkeypatch):
    monkeypatch.setenv("TRICONV_CACHE_DIR", str(folder / "cache"))
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"deleted 0 files, 0 B, from {folder / 'cache'}\n"
    (folder / "cache").mkdir()
    for name in ("a.kernel", "b.kernel", "other.txt"):
        (folder / "cache" / name).write_bytes(b"x" * 1024)
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"deleted 2 files, 2 KiB, from {folder / 'cache'}\n"
    assert [path.name for path in (folder / "cache").iterdir()] == ["other.txt"]


def test_a_cache_that_cannot_be_cleared(folder, capsys, monkeypatch):
    monkeypatch.setenv("TRICONV_CACHE_DIR", str(folder / "cache"))
    (folder / "cache" / "a.kernel").mkdir(parents=True)
    assert main(["cache", "clear"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"triconv cache: cannot clear {str(folder / 'cache')!r}: ")
    assert said.endswith((f": {FOLDER}\n", f": {os.strerror(errno.EPERM)}\n"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "triconv: the following arguments are required: COMMAND"),
        (["cache"], "triconv cache: the following arguments are required: clear"),
    ],
)
def test_incomplete_commands(capsys, arguments, line):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", line + "\n")


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"triconv {triconv.__version__}\n"


def test_the_command_itself_imports_no_extra():
    extra = "{'matplotlib', 'PIL', 'rich', 'scipy.sparse'}"
    done = run(
        "cache",
        "clear",
        before=f"import atexit; atexit.register(lambda: print({extra} & {{*sys.modules}}))",
        environment={"TRICONV_CACHE_DIR": "cache"},
    )
    assert done.stdout.splitlines() == ["deleted 0 files, 0 B, from cache", "set()"]

"""One sharp photo out of several coarse ones: least squares with W.

Eight frames of a camera that moved by known amounts, each blurred, with every fourth row and column alone,
and noisy, are together one strided convolution with a filter a frame. What saw them is W; the image is found
by SciPy's lsqr, with a little smoothness where the frames leave it open.

    python examples/super_resolution.py [PICTURE.png]
"""

import sys
import time

import matplotlib.cbook
import matplotlib.image
import numpy as np
import scipy.sparse
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.ndimage import map_coordinates
from scipy.sparse.linalg import lsqr

import triconv
from triconv.filters import bank

STRIDE = 4
SHIFTS = [(0, 0), (0, 2), (1, 1), (1, 3), (2, 0), (2, 2), (3, 1), (3, 3)]  # of the frames, in fine pixels
NOISE = 0.005  # standard deviation; white is 1
SMOOTHNESS = 0.05  # weight of the differences of neighbours


def photo():
    """A portrait of 300 x 256 pixels in shades of grey, from 0 to 1."""
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    grey = matplotlib.image.imread(path) @ [0.299, 0.587, 0.114] / 255
    return triconv.conv2d(grey, np.full((2, 2), 0.25), stride=2)


def camera(shape):
    """The operator from the sharp image to all frames: the same blur for each, moved by its shift."""
    blur = bank("gaussian:7")[0, :, :, 0]
    size = len(blur)
    weight = np.zeros((len(SHIFTS), size + STRIDE - 1, size + STRIDE - 1, 1))
    for filter_, (r, c) in zip(weight, SHIFTS, strict=True):
        filter_[r : r + size, c : c + size, 0] = blur
    return triconv.ConvOperator(
        weight, shape, stride=STRIDE, padding=size // 2, padding_mode="replicate", order="C"
    )


def restore(camera, frames):
    """The image that fits the frames, and whose neighbouring pixels differ little, in least squares."""
    differences = np.zeros((2, 2, 2, 1))
    differences[:, 0, 0] = -1
    differences[0, 1, 0] = differences[1, 0, 1] = 1
    W = camera.to_sparse()
    D = triconv.conv_matrix(differences, camera.input_shape, order="C")
    system = scipy.sparse.vstack([W, SMOOTHNESS * D], format="csr")
    y = np.concatenate([camera.vec(frames), np.zeros(D.shape[0])])
    return W, camera.unvec_input(lsqr(system, y, atol=1e-4, btol=1e-4, iter_lim=100)[0])


def upsampled(frames, shape, order, count):
    """The mean of the first ``count`` frames, each interpolated by splines at the fine pixels."""
    rows, columns = np.indices(shape)
    return np.mean(
        [
            map_coordinates(
                frames[:, :, n], ((rows - r) / STRIDE, (columns - c) / STRIDE), order=order, mode="nearest"
            )
            for n, (r, c) in enumerate(SHIFTS[:count])
        ],
        axis=0,
    )


def psnr(image, truth):
    """Peak signal-to-noise ratio in decibels."""
    return -10 * np.log10(np.mean((image - truth) ** 2))


def main(path="super_resolution.png"):
    """Take the frames, restore the photo, print how near that comes, and draw it."""
    truth = photo()
    A = camera(truth.shape)
    frames = A.unvec(A @ A.vec(truth))
    frames += NOISE * np.random.default_rng(0).standard_normal(frames.shape)
    start = time.perf_counter()
    W, restored = restore(A, frames)
    seconds = time.perf_counter() - start
    pictures = {
        "nearest, one frame": upsampled(frames, truth.shape, 0, 1),
        "cubic, one frame": upsampled(frames, truth.shape, 3, 1),
        f"cubic, mean of {len(SHIFTS)}": upsampled(frames, truth.shape, 3, len(SHIFTS)),
        f"least squares, {len(SHIFTS)} frames": restored,
    }
    height, width, count = frames.shape
    print(f"{count} frames of {height} x {width} for {truth.shape[0]} x {truth.shape[1]} pixels")
    print(f"W: {W.shape[0]} x {W.shape[1]}, {W.nnz} entries; solved in {seconds:.1f} s")
    for name, image in pictures.items():
        print(f"{name}: PSNR {psnr(image, truth):.2f} dB")
    best = max(psnr(image, truth) for name, image in pictures.items() if image is not restored)
    print(f"gain over the best interpolation: {psnr(restored, truth) - best:+.2f} dB")
    draw(truth, pictures).savefig(path, dpi=120)
    print(f"picture: {path}")


def draw(truth, pictures):
    """A part of the photo, and of what became of it."""
    figure = Figure(figsize=(11, 7.6), layout="constrained")
    axes = figure.subplot_mosaic([["whole", 0, 1], ["truth", 2, 3]])
    rows, columns = slice(30, 150), slice(65, 185)
    axes["whole"].imshow(truth, cmap="gray", vmin=0, vmax=1)
    axes["whole"].set_title("photo, {} x {}".format(*truth.shape))
    frame = (columns.start, rows.start), columns.stop - columns.start, rows.stop - rows.start
    axes["whole"].add_patch(Rectangle(*frame, fill=False, edgecolor="#E69F00", linewidth=2))
    for key, (name, image) in zip(
        ("truth", 0, 1, 2, 3), ({"a part of it": truth} | pictures).items(), strict=True
    ):
        axes[key].imshow(image[rows, columns], cmap="gray", vmin=0, vmax=1)
        axes[key].set_title(name if image is truth else f"{name}: {psnr(image, truth):.2f} dB")
    for ax in axes.values():
        ax.set_axis_off()
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])

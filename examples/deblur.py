"""Deblur a noisy photo: least squares by SciPy's lsqr, and total variation by an accelerated proximal method.

The photo is matplotlib's, the camera a blur whose exact operator, borders and all, is `triconv.ConvOperator`.

    python examples/deblur.py [PICTURE.png]
"""

import sys
import time

import matplotlib.cbook
import matplotlib.image
import numpy as np
from matplotlib.figure import Figure
from scipy.sparse.linalg import lsqr

import triconv

NOISE = 0.01  # standard deviation; white is 1
STRENGTH = 0.0008  # of the total variation, beside half the squared error
DAMP = 0.09  # of lsqr
STEPS = 80


def photo():
    """A portrait of 300 x 256 pixels in shades of grey, from 0 to 1."""
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    grey = matplotlib.image.imread(path) @ [0.299, 0.587, 0.114] / 255
    return triconv.conv2d(grey, np.full((2, 2), 0.25), stride=2)


def motion(size=15, slope=0.5):
    """A camera that moves along a line while the shutter is open."""
    along = np.linspace(-1, 1, 40 * size) * (size // 2)
    kernel, _, _ = np.histogram2d(slope * along, along, bins=size, range=[[-size / 2, size / 2]] * 2)
    return kernel / kernel.sum()


def psnr(image, truth):
    """Peak signal-to-noise ratio in decibels."""
    return -10 * np.log10(np.mean((image - truth) ** 2))


def differences(x):
    """The change of each pixel to the next row and to the next column; zero at the last."""
    d = np.zeros((2, *x.shape))
    d[0, :-1] = x[1:] - x[:-1]
    d[1, :, :-1] = x[:, 1:] - x[:, :-1]
    return d


def differences_adjoint(d):
    """The adjoint of `differences`."""
    x = np.zeros(d.shape[1:])
    x[:-1] -= d[0, :-1]
    x[1:] += d[0, :-1]
    x[:, :-1] -= d[1, :, :-1]
    x[:, 1:] += d[1, :, :-1]
    return x


def denoise(y, strength, dual, steps=6):
    """The image from 0 to 1 that is nearest to ``y`` with ``strength`` times its total variation.

    Fast gradient projection on the dual, which starts where ``dual`` left off and is returned too.
    """
    point, t = dual, 1.0
    for _ in range(steps):
        x = np.clip(y - strength * differences_adjoint(point), 0, 1)
        moved = point + differences(x) / (8 * strength)
        moved /= np.maximum(1, np.hypot(*moved))
        t, before = (1 + np.sqrt(1 + 4 * t * t)) / 2, t
        point, dual = moved + (before - 1) / t * (moved - dual), moved
    return np.clip(y - strength * differences_adjoint(dual), 0, 1), dual


def fista(blur, y, strength, steps=STEPS):
    """Minimise ``|blur x - y|^2 / 2 + strength TV(x)`` over images from 0 to 1.

    A. Beck and M. Teboulle, "Fast gradient-based algorithms for constrained total variation image denoising
    and deblurring problems" (2009).
    """
    rate = 1 / blur.norm() ** 2
    x = point = blur.unvec_input(blur.T @ blur.vec(y))
    dual, t = np.zeros((2, *x.shape)), 1.0
    for _ in range(steps):
        slope = blur.unvec_input(blur.T @ (blur @ blur.vec(point) - blur.vec(y)))
        before, (x, dual) = x, denoise(point - rate * slope, rate * strength, dual)
        t, last = (1 + np.sqrt(1 + 4 * t * t)) / 2, t
        point = x + (last - 1) / t * (x - before)
    return x


def main(path="deblur.png"):
    """Blur, add noise, restore; print what that reaches and draw it."""
    truth = photo()
    blur = triconv.ConvOperator(motion(), truth.shape, padding="same", padding_mode="reflect", order="C")
    noise = NOISE * np.random.default_rng(0).standard_normal(blur.output_shape)
    y = blur.unvec(blur @ blur.vec(truth)) + noise
    print(f"blurred, with noise: PSNR {psnr(y, truth):.2f} dB")
    pictures = {"photo": truth, "blurred, with noise": y}
    for name, restore in {
        "least squares (lsqr)": lambda: blur.unvec_input(lsqr(blur, blur.vec(y), damp=DAMP)[0]),
        "total variation (FISTA)": lambda: fista(blur, y, STRENGTH),
    }.items():
        start = time.perf_counter()
        x = pictures[name] = restore()
        seconds = time.perf_counter() - start
        gain = psnr(x, truth) - psnr(y, truth)
        print(f"{name}: PSNR {psnr(x, truth):.2f} dB, {gain:+.2f} dB in {seconds:.1f} s")
    draw(pictures, truth, blur).savefig(path, dpi=120)
    print(f"picture: {path}")


def draw(pictures, truth, blur):
    """Each image whole, and a part of it enlarged."""
    figure = Figure(figsize=(11, 6.75), layout="constrained")
    axes = figure.subplots(2, len(pictures), height_ratios=(truth.shape[0] / truth.shape[1], 1))
    rows, columns = slice(40, 140), slice(75, 175)
    for (name, image), (whole, part) in zip(pictures.items(), axes.T, strict=True):
        whole.imshow(image, cmap="gray", vmin=0, vmax=1)
        part.imshow(image[rows, columns], cmap="gray", vmin=0, vmax=1)
        whole.set_title(name if image is truth else f"{name}\n{psnr(image, truth):.2f} dB")
        for ax in (whole, part):
            ax.set_axis_off()
    figure.suptitle("a blur undone by an operator of {:,} x {:,} that is never held".format(*blur.shape))
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])

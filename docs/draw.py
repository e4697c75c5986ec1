"""The figures of the documentation, by `triconv.plot`: each for a light page and for a dark one."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook, image

import triconv
from triconv import filters, plot

X = np.random.default_rng(0).integers(0, 5, (5, 6))
K = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
SMALL = np.array([[1, 2], [3, 4]])
COLOURS = np.arange(1.0, 25).reshape(3, 4, 2)  # a small input with two channels
BANK = np.ones((2, 2, 2, 2))


def photo():
    """A portrait of 151 x 128 pixels in three colours, from 0 to 1."""
    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return image.imread(path)[::4, ::4] / 255


def axes(columns=1, size=(6.4, 3.0), **keywords):
    """One or several axes side by side in a new figure."""
    figure, made = plt.subplots(1, columns, figsize=size, layout="compressed", **keywords)
    figure.draw_without_rendering()
    return made


def edges():
    """A photo, and what three filters make of it."""
    grey = photo().mean(axis=2)
    bank = np.concatenate([filters.bank("sobel"), filters.bank("laplacian")])
    plot.feature_maps(triconv.conv2d(grey[..., None], bank, padding=1))


def patch():
    """A patch, the filter and the output that they make."""
    plot.patch(X, K, 1, 1, stride=2, padding=1)


def dilated():
    """A patch with gaps."""
    plot.patch(X, K, 0, 1, dilation=2)


def reflected():
    """A patch that reaches into reflected pixels."""
    plot.patch(X, K, 0, 0, padding=1, padding_mode="reflect")


def patch_matrix():
    """All patches as rows."""
    plot.patch_matrix(X[:4, :4], 2)


def patch_matrix_channels():
    """The same of an input with two channels."""
    plot.patch_matrix(COLOURS, 2)


def matrix():
    """W of one filter on one channel."""
    plot.matrix(SMALL, (4, 5))


def matrix_channels():
    """W of two filters on two channels: four blocks."""
    plot.matrix(BANK, (4, 5, 2))


def matrix_strided():
    """W with a stride: rows are left out."""
    plot.matrix(K, (7, 7), stride=2, padding=1)


def matrix_groups():
    """W of two groups: the blocks between them are empty."""
    plot.matrix(BANK[..., :1], (4, 5, 2), groups=2)


def matrix_padded():
    """W over the padded input."""
    plot.matrix(K, (3, 4), padding=1, padded=True)


def matrix_folded():
    """W over the input itself, circular: copies are added onto their pixels."""
    plot.matrix(K, (3, 4), padding=1, padding_mode="circular")


def row_and_column():
    """A row and a column of W as images."""
    left, right = axes(2)
    plot.matrix_row(K, (6, 8), 2, 3, padding=1, ax=left)
    plot.matrix_column(K, (6, 8), 2, 3, padding=1, ax=right)


def spectrum():
    """Singular values of the same filter under two paddings."""
    weight = filters.bank("gaussian:5")
    plot.spectrum(
        {
            mode: triconv.ConvOperator(weight, (16, 16, 1), padding="same", padding_mode=mode)
            for mode in ("zeros", "circular")
        },
        k=256,
    )


FIGURES = (
    edges,
    patch,
    dilated,
    reflected,
    patch_matrix,
    patch_matrix_channels,
    matrix,
    matrix_channels,
    matrix_strided,
    matrix_groups,
    matrix_padded,
    matrix_folded,
    row_and_column,
    spectrum,
)


def draw_all(folder):
    """Draw every figure into a folder, on nothing, so that the page shows through."""
    folder.mkdir(exist_ok=True)
    plt.switch_backend("agg")
    for theme, style in (("light", "default"), ("dark", "dark_background")):
        with plt.style.context(style), plt.rc_context({"svg.hashsalt": "triconv"}):
            for figure in FIGURES:
                figure()
                name = figure.__name__.replace("_", "-")
                path = folder / f"{name}-{theme}.svg"
                plt.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
                plt.close("all")

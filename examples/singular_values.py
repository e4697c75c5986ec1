"""The singular values of a convolution layer: the true ones, and what is often taken for them.

True are those of W with its zero padding and stride. With circular padding a Fourier transform gives them
all at once, and many papers take these instead. Cheapest is the matrix of the filters as rows.

    python examples/singular_values.py [PICTURE.png]
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import triconv

CHANNELS = 8
SIZE = 12
SIZES = (3, 4, 6, 8, 12, 16, 24, 32)
ZERO = {"padding": "same"}
CIRCULAR = {"padding": "same", "padding_mode": "circular"}
STRIDED = {"padding": "same", "stride": 2}
STYLES = {
    "zero padding (true)": ("#0072B2", "-", "o", ZERO),
    "circular padding, by FFT": ("#D55E00", "--", "s", CIRCULAR),
    "zero padding, stride 2 (true)": ("#009E73", "-", "^", STRIDED),
}
RESHAPED = "reshaped kernel (estimate)"


def operator(weight, size, keywords):
    """The layer's operator on square images of this size."""
    return triconv.ConvOperator(weight, (size, size, CHANNELS), **keywords)


def main(path="singular_values.png"):
    """Compute all values for one size and the largest for several; print and draw them."""
    weight = triconv.Conv2d(CHANNELS, CHANNELS, 3, dtype="float64", rng=0).weight
    reshaped = np.linalg.svd(triconv.flatten_weight(weight), compute_uv=False)
    spectra, norms = {}, {}
    for name, (_, _, _, keywords) in STYLES.items():
        A = operator(weight, SIZE, keywords)
        spectra[name] = A.svdvals(min(A.shape))
        norms[name] = [operator(weight, size, keywords).norm() for size in SIZES]
    print(f"3 x 3 filters, {CHANNELS} to {CHANNELS} channels, on {SIZE} x {SIZE} pixels")
    print("largest singular value")
    for name, values in (spectra | {RESHAPED: reshaped}).items():
        print(f"{name}: {values[0]:.4f}")
    true = spectra["zero padding (true)"][0]
    print(f"circular over true: {spectra['circular padding, by FFT'][0] / true:.3f}")
    print(f"estimate over true: {reshaped[0] / true:.3f}")
    draw(spectra, norms, reshaped).savefig(path, dpi=120)
    print(f"picture: {path}")


def draw(spectra, norms, reshaped):
    """All values by rank, and the largest by the image's size."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    whole, largest = figure.subplots(1, 2, sharey=True)
    for name, (colour, line, marker, _) in STYLES.items():
        values = spectra[name]
        whole.plot((np.arange(len(values)) + 0.5) / len(values), values, line, color=colour, label=name)
        largest.plot(SIZES, norms[name], line, color=colour, marker=marker, label=name)
    whole.stairs(reshaped, np.linspace(0, 1, len(reshaped) + 1), baseline=None, color="black", label=RESHAPED)
    largest.axhline(reshaped[0], color="black", label=RESHAPED)
    whole.set(xlabel="rank, as a share of all values", ylabel="singular value", xlim=(0, 1))
    whole.set_title(f"all singular values on {SIZE} x {SIZE} pixels")
    largest.set(xlabel="height and width of the image (log scale)", xscale="log", ylim=(0, None))
    largest.set_xticks(SIZES, SIZES)
    largest.minorticks_off()
    largest.set_title("the largest")
    for ax in (whole, largest):
        ax.grid(color="#dddddd")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*whole.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"a layer of 3 x 3 filters, {CHANNELS} to {CHANNELS} channels, as PyTorch's starts")
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])

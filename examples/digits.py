"""Train a convolutional classifier of handwritten digits with two layers, this library and NumPy.

The digits are scikit-learn's: 1797 images of 8 x 8 pixels, a quarter of which training never sees.

    python examples/digits.py [PICTURE.png]
"""

import sys
import time

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import triconv

EPOCHS = 20
BATCH = 50
FILTERS = 24
RATE = 0.01  # of Adam; falls to zero along a cosine


class Network:
    """Two convolutions: of 3 x 3, and with one filter a digit that is as large as the image."""

    def __init__(self, rng):
        self.first = triconv.Conv2d(1, FILTERS, 3, padding="same", rng=rng)
        self.last = triconv.Conv2d(FILTERS, 10, 8, rng=rng)

    def __call__(self, x):
        """The scores of the ten digits for each image of a batch."""
        self.hidden = np.maximum(self.first(x), 0)
        return self.last(self.hidden)[:, 0, 0]

    def backward(self, grad):
        """Set the gradients of all parameters, given that of the scores."""
        grad = self.last.backward(grad[:, None, None])
        self.first.backward(grad * (self.hidden > 0))

    def parameters(self):
        """Each parameter with its gradient."""
        for layer in (self.first, self.last):
            yield layer.weight, layer.weight_grad
            yield layer.bias, layer.bias_grad


class Adam:
    """D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization" (2015)."""

    def __init__(self, network):
        self.network = network
        self.moments = [np.zeros((2, *parameter.shape)) for parameter, _ in network.parameters()]
        self.steps = 0

    def step(self, rate):
        """Move every parameter once, in place."""
        self.steps += 1
        for (parameter, grad), (mean, square) in zip(self.network.parameters(), self.moments, strict=True):
            mean += 0.1 * (grad - mean)
            square += 0.001 * (grad**2 - square)
            size = np.sqrt(square / (1 - 0.999**self.steps)) + 1e-8
            parameter -= rate * mean / (1 - 0.9**self.steps) / size


def cross_entropy(scores, labels):
    """The mean loss of a batch, and its gradient with respect to the scores."""
    scores = scores - scores.max(1, keepdims=True)
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    right = np.arange(len(labels)), labels
    loss = -np.log(chances[right]).mean()
    chances[right] -= 1
    return loss, chances / len(labels)


def accuracy(network, x, labels):
    """How many images in a hundred get the highest score for what they are."""
    return 100 * np.mean(network(x).argmax(1) == labels)


def train(network, x, labels, test, rng):
    """Go through the images `EPOCHS` times; return each epoch's loss and accuracy on the test images."""
    adam = Adam(network)
    history = []
    for epoch in range(EPOCHS):
        losses = []
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            part = order[start : start + BATCH]
            loss, grad = cross_entropy(network(x[part]), labels[part])
            network.backward(grad)
            adam.step(RATE * (1 + np.cos(np.pi * (epoch + start / len(x)) / EPOCHS)) / 2)
            losses.append(loss)
        history.append((np.mean(losses), accuracy(network, *test)))
    return np.array(history)


def main(path="digits.png", seed=0):
    """Train, print the accuracy and draw the filters."""
    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    x = (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    x, x_test, labels, test_labels = train_test_split(
        x, labels, test_size=0.25, stratify=labels, random_state=seed
    )
    network = Network(rng)
    start = network.first.weight.copy()
    began = time.perf_counter()
    history = train(network, x, labels, (x_test, test_labels), rng)
    seconds = time.perf_counter() - began
    count = sum(parameter.size for parameter, _ in network.parameters())
    print(f"{len(x)} images, {count} parameters, {EPOCHS} epochs in {seconds:.1f} s")
    print(f"training accuracy {accuracy(network, x, labels):.2f} %")
    print(f"test accuracy {history[-1, 1]:.2f} % of {len(x_test)} images")
    draw(start, network, history).savefig(path, dpi=120)
    print(f"picture: {path}")


def mosaic(rows):
    """Rows of filters side by side as one picture, with gaps of one pixel that are not drawn."""
    size = len(rows[0][0]) + 1
    picture = np.full((len(rows) * size - 1, len(rows[0]) * size - 1), np.nan)
    for i, row in enumerate(rows):
        for j, taps in enumerate(row):
            picture[i * size :, j * size :][: size - 1, : size - 1] = taps
    return picture


def draw(start, network, history):
    """The course of the training, and below it both layers' filters, each column one channel."""
    figure = Figure(figsize=(11, 9), layout="constrained")
    curve, first, last = figure.subplots(3, 1, height_ratios=(3, 1.1, 5))
    epochs = np.arange(1, EPOCHS + 1)
    curve.plot(epochs, history[:, 0], color="#0072B2", marker="o", markersize=4)
    curve.set(xlabel="epoch", yscale="log", xlim=(0, EPOCHS + 1), xticks=range(0, EPOCHS + 1, 5))
    curve.set_ylabel("training loss (log scale)", color="#0072B2")
    right = curve.twinx()
    right.plot(epochs, history[:, 1], color="#D55E00", marker="s", markersize=4)
    right.set_ylabel("test accuracy [%]", color="#D55E00")
    curve.set_title(f"two layers of convolution on 8 x 8 digits: test accuracy {history[-1, 1]:.1f} %")

    before_after = np.stack([start, network.first.weight])[..., 0]
    classes = network.last.weight.transpose(0, 3, 1, 2)
    for ax, rows, names, title in (
        (first, before_after, ("before", "after"), "filters of the first layer, before and after training"),
        (last, classes, range(10), "filters of the last layer: a row a digit, a column a channel"),
    ):
        picture, size = mosaic(rows), rows.shape[-1]
        most = np.nanpercentile(np.abs(picture), 99.5)  # a few strong taps would leave the rest pale
        shown = ax.imshow(picture, cmap="PuOr_r", vmin=-most, vmax=most)
        ax.set_title(title)
        ax.set_yticks(np.arange(len(rows)) * (size + 1) + size / 2 - 0.5, names)
        ax.set_xticks(np.arange(FILTERS) * (size + 1) + size / 2 - 0.5, range(FILTERS))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        figure.colorbar(shown, ax=ax, label="tap", extend="both", pad=0.01, aspect=8 if ax is first else 30)
    last.set_ylabel("digit")
    last.set_xlabel("channel: the filter of the first layer")
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])

"""Convolutions as one line of text each, and the suites made of them.

A line is a row of words, in any order: a letter or two and a number, ``same`` for the padding, ``f32`` or
``f64``, and a name in quotes.

==============  =======================================  =======
word            meaning                                  default
==============  =======================================  =======
``n``           samples                                  1
``ih``, ``iw``  input height, width                      needed
``ic``, ``oc``  input channels, filters                  1
``kh``, ``kw``  kernel height, width                     1
``sh``, ``sw``  stride                                   1
``ph``, ``pw``  padding on each side                     0
``dh``, ``dw``  dilation                                 1
``g``           groups                                   1
==============  =======================================  =======

A width that is not given is the height's.
"""

import math
import re
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

import triconv
from triconv.core import checked
from triconv.core.keywords import Keywords

DEFAULTS = {"n": 1, "ic": 1, "oc": 1, "kh": 1, "sh": 1, "ph": 0, "dh": 1, "g": 1}
WORD = re.compile(
    r'"(?P<name>[^"]*)"|(?P<key>n|g|[iksdp][hw]|[io]c)(?P<value>\d+)|f(?P<bits>32|64)|(?P<same>same)'
)


@dataclass(frozen=True)
class Problem:
    """One convolution, channels last."""

    line: str
    name: str
    batch: int
    size: tuple[int, int]
    channels: int
    filters: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] | str
    dilation: tuple[int, int]
    groups: int
    dtype: str

    @property
    def x_shape(self):
        return (self.batch, *self.size, self.channels)

    @property
    def weight_shape(self):
        return (self.filters, *self.kernel, self.channels // self.groups)

    @property
    def keywords(self) -> dict[str, Any]:
        """What `triconv.plan` and `triconv.conv2d` are told."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def task(self):
        """What the methods are asked about."""
        keywords = Keywords(**self.keywords)
        shapes = self.x_shape, self.weight_shape, None
        return checked.convolution("plan", *shapes, np.dtype(self.dtype), keywords)

    @property
    def geometry(self):
        return triconv.ConvGeometry(self.x_shape[1:], self.kernel, self.filters, **self.keywords)

    @property
    def y_shape(self):
        return (self.batch, *self.geometry.output_shape)

    @property
    def flops(self):
        return self.batch * self.geometry.flops

    @property
    def matrix_bytes(self):
        """An upper bound of what W takes: a value and a four-byte index an entry."""
        return self.geometry.nnz * (np.dtype(self.dtype).itemsize + 4)

    def __str__(self):
        return self.line

    def arrays(self):
        """Random input and weights; always the same ones."""
        rng = np.random.default_rng(math.prod(self.x_shape))
        return (
            rng.standard_normal(self.x_shape, dtype=self.dtype),
            rng.standard_normal(self.weight_shape, dtype=self.dtype),
        )


def parse(line: str) -> Problem:
    """The problem that a line stands for.

    >>> problem = parse('n1 ih56 ic64 oc64 kh3 ph1 "resnet50:2a"')
    >>> problem.x_shape, problem.weight_shape, problem.y_shape
    ((1, 56, 56, 64), (64, 3, 3, 64), (1, 56, 56, 64))
    >>> parse("ih9 kh3 sh2 same f64").y_shape
    (1, 5, 5, 1)
    >>> parse("ih9 kh3 stride2")
    Traceback (most recent call last):
        ...
    ValueError: no word of a problem: 'stride2' in 'ih9 kh3 stride2'
    """
    numbers, name, dtype, same = dict(DEFAULTS), "", "float32", False
    for word in re.findall(r'"[^"]*"|\S+', line):
        found = WORD.fullmatch(word)
        if found is None:
            raise ValueError(f"no word of a problem: {word!r} in {line!r}")
        if found["key"]:
            numbers[found["key"]] = int(found["value"])
        name = found["name"] or name
        dtype = f"float{found['bits']}" if found["bits"] else dtype
        same = same or bool(found["same"])

    def pair(letter):
        height = numbers[letter + "h"]
        return height, numbers.get(letter + "w", height)

    return Problem(
        line=line,
        name=name,
        batch=numbers["n"],
        size=pair("i"),
        channels=numbers["ic"],
        filters=numbers["oc"],
        kernel=pair("k"),
        stride=pair("s"),
        padding="same" if same else pair("p"),
        dilation=pair("d"),
        groups=numbers["g"],
        dtype=dtype,
    )


def parse_all(lines: str, words: str) -> tuple[Problem, ...]:
    """One problem a line of a text, each with some more words."""
    return tuple(parse(f"{line.strip()} {words}") for line in lines.strip().splitlines())


# --- the grid ---------------------------------------------------------------------------------------

GRID_SIZES = {"small": "ih32 ic8 oc16", "large": "ih128 ic16 oc32"}
GRID_STRIDES = (1, 2, 3)
GRID_PADDINGS = {"0": "ph0", "1": "ph1", "same": "same"}
GRID_KERNELS = (1, 3, 5, 7)
DTYPES = ("f32", "f64")

GRID = tuple(
    parse(f'{GRID_SIZES[size]} kh{kernel} sh{stride} {GRID_PADDINGS[padding]} {dtype} "{size}"')
    for size, dtype, kernel, padding, stride in product(
        GRID_SIZES, DTYPES, GRID_KERNELS, GRID_PADDINGS, GRID_STRIDES
    )
)

# --- against peers ----------------------------------------------------------------------------------

LAYERS = """
    ih224 ic3 oc64 kh7 sh2 ph3 "resnet50: 7x7 stride 2"
    ih56 ic64 oc64 kh3 ph1 "resnet50: conv2 3x3"
    ih56 ic64 oc256 "resnet50: conv2 1x1 out"
    ih56 ic256 oc64 "resnet50: conv2 1x1 in"
    ih56 ic256 oc512 sh2 "resnet50: conv3 1x1 stride 2"
    ih56 ic128 oc128 kh3 sh2 ph1 "resnet50: conv3 3x3 stride 2"
    ih28 ic128 oc128 kh3 ph1 "resnet50: conv3 3x3"
    ih14 ic256 oc256 kh3 ph1 "resnet50: conv4 3x3"
    ih14 ic1024 oc256 "resnet50: conv4 1x1 in"
    ih7 ic512 oc512 kh3 ph1 "resnet50: conv5 3x3"
    ih224 ic3 oc64 kh3 ph1 "vgg: conv1_1"
    ih224 ic64 oc64 kh3 ph1 "vgg: conv1_2"
    ih112 ic128 oc128 kh3 ph1 "vgg: conv2_2"
    ih56 ic256 oc256 kh3 ph1 "vgg: conv3_2"
    ih28 ic512 oc512 kh3 ph1 "vgg: conv4_2"
    n8 ih28 ic128 oc128 kh3 ph1 "a batch of 8, 3x3"
    n32 ih14 ic256 oc64 "a batch of 32, 1x1"
    ih57 iw43 ic37 oc53 kh3 ph1 "odd counts, 3x3"
    ih61 ic17 oc131 kh5 ph2 "odd counts, 5x5"
    ih64 ic96 oc96 kh3 sh3 ph1 "stride 3"
    ih64 ic64 oc64 kh1 kw7 pw3 "one row, 1x7"
"""

IMAGES = """
    ih1024 kh3 ph1 "gray, 3x3"
    ih1024 kh5 ph2 "gray, 5x5"
    ih1024 kh9 ph4 "gray, 9x9"
    ih1024 kh15 ph7 "gray, 15x15"
    ih1024 kh5 sh2 ph2 "gray, 5x5 stride 2"
    ih1024 kh9 sh2 ph4 "gray, 9x9 stride 2"
    ih512 oc8 kh5 ph2 "gray, bank of 8, 5x5"
    ih512 oc16 kh7 ph3 "gray, bank of 16, 7x7"
    ih512 oc4 kh15 ph7 "gray, bank of 4, 15x15"
    ih512 ic3 kh5 ph2 "rgb to one map, 5x5"
    ih512 ic3 oc3 kh3 ph1 g3 "rgb, each channel, 3x3"
    ih512 ic3 oc3 kh7 ph3 g3 "rgb, each channel, 7x7"
    ih512 ic3 oc16 kh3 ph1 "rgb, bank of 16, 3x3"
    ih512 ic3 oc16 kh7 sh2 ph3 "rgb, bank of 16, 7x7 stride 2"
    ih256 ic3 oc8 kh15 ph7 "rgb, bank of 8, 15x15"
"""

GROUPED = """
    ih112 ic64 oc64 kh3 ph1 g64 "depthwise 3x3, 64"
    ih112 ic96 oc96 kh3 sh2 ph1 g96 "depthwise 3x3 stride 2, 96"
    ih28 ic192 oc192 kh3 ph1 g192 "depthwise 3x3, 192"
    ih14 ic512 oc512 kh3 ph1 g512 "depthwise 3x3, 512"
    ih56 ic72 oc72 kh5 ph2 g72 "depthwise 5x5, 72"
    ih28 ic240 oc240 kh5 sh2 ph2 g240 "depthwise 5x5 stride 2, 240"
    ih56 ic128 oc128 kh3 ph1 g32 "groups of 4, 3x3"
    ih28 ic256 oc256 kh3 ph1 g8 "groups of 32, 3x3"
    ih56 ic64 oc64 kh3 ph2 dh2 "dilation 2, 3x3"
    ih56 ic96 oc96 kh3 ph2 dh2 g96 "depthwise 3x3 dilation 2, 96"
"""

GRADIENTS = """
    ih224 ic3 oc64 kh7 sh2 ph3 "resnet50: 7x7 stride 2"
    ih56 ic64 oc64 kh3 ph1 "resnet50: conv2 3x3"
    ih56 ic64 oc256 "resnet50: conv2 1x1 out"
    ih56 ic128 oc128 kh3 sh2 ph1 "resnet50: conv3 3x3 stride 2"
    ih28 ic128 oc128 kh3 ph1 "resnet50: conv3 3x3"
    ih14 ic256 oc256 kh3 ph1 "resnet50: conv4 3x3"
    ih7 ic512 oc512 kh3 ph1 "resnet50: conv5 3x3"
    ih112 ic128 oc128 kh3 ph1 "vgg: conv2_2"
    n8 ih28 ic128 oc128 kh3 ph1 "a batch of 8, 3x3"
    n32 ih14 ic256 oc64 "a batch of 32, 1x1"
    ih57 iw43 ic37 oc53 kh3 ph1 "odd counts, 3x3"
    ih64 ic96 oc96 kh3 sh3 ph1 "stride 3"
    ih56 ic64 oc64 kh3 ph2 dh2 "dilation 2, 3x3"
    ih28 ic256 oc256 kh3 ph1 g8 "groups of 32, 3x3"
    ih112 ic64 oc64 kh3 ph1 g64 "depthwise 3x3, 64"
    ih512 oc8 kh5 ph2 "gray, bank of 8, 5x5"
"""

TINY = """
    ih8 ic3 oc4 kh3 "8x8x3 to 4, 3x3"
    ih8 ic3 oc8 kh3 ph1 "8x8x3 to 8, 3x3"
    ih12 ic4 oc8 kh3 ph1 "12x12x4 to 8, 3x3"
    ih16 ic8 oc8 "16x16x8 to 8, 1x1"
    ih16 ic8 oc8 kh3 ph1 "16x16x8 to 8, 3x3"
    ih16 kh5 ph2 "16x16, 5x5"
"""


@dataclass(frozen=True)
class Suite:
    """Problems that answer one question, and what the answer should be."""

    question: str
    problems: tuple[Problem, ...]
    least: float  # times as fast as the fastest peer, on every problem
    mean: float  # the same, as a geometric mean
    # Which of our ways to call is held against which peers; no peers named means all of them.
    duels: tuple[tuple[str, tuple[str, ...]], ...] = (("triconv plan", ()),)
    task: str = "convolution"  # what the contenders do


def gradients(of: str, ours: str, dtype: str, least: float, mean: float) -> Suite:
    """The suite of a gradient, against PyTorch's."""
    question = f"Gradients of {of}, float{dtype[1:]}"
    return Suite(question, parse_all(GRADIENTS, dtype), least, mean, duels=((ours, ()),), task=of)


SUITES = {
    "layers32": Suite("Layers of networks, float32", parse_all(LAYERS, "f32"), 0.9, 1.1),
    "layers64": Suite("Layers of networks, float64", parse_all(LAYERS, "f64"), 2.0, 2.8),
    "images32": Suite("Filters on images, float32", parse_all(IMAGES, "f32"), 1.5, 3.0),
    "images64": Suite("Filters on images, float64", parse_all(IMAGES, "f64"), 2.0, 4.0),
    "grouped32": Suite("Depthwise, groups, dilation, float32", parse_all(GROUPED, "f32"), 1.0, 1.3),
    "grouped64": Suite("Depthwise, groups, dilation, float64", parse_all(GROUPED, "f64"), 1.2, 2.0),
    "tiny": Suite(
        "Tiny problems, float32",
        parse_all(TINY, "f32"),
        1.0,
        1.0,
        duels=(
            ("triconv plan", ("ONNX Runtime",)),
            ("triconv conv2d", ("PyTorch", "PyTorch channels last")),
        ),
    ),
    "input32": gradients("inputs", "triconv conv2d_input_grad", "f32", 0.8, 1.0),
    "input64": gradients("inputs", "triconv conv2d_input_grad", "f64", 1.5, 2.2),
    "weight32": gradients("weights", "triconv conv2d_weight_grad", "f32", 0.8, 1.0),
    "weight64": gradients("weights", "triconv conv2d_weight_grad", "f64", 1.5, 2.2),
}

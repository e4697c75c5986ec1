"""Problems: all the combinations of shapes, dtypes and keywords of a convolution, and arrays that fill them.

`problems` is the one Hypothesis strategy of all tests and `EDGE_PROBLEMS` the fixed list beside it. What a
problem should give comes from the oracle.
"""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import oracle
from hypothesis import strategies as st

from triconv import methods

NAMED = tuple(methods.METHODS)
METHODS = (*NAMED, "auto")
LAYOUTS = ("NHWC", "NCHW")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
FLOATS = ("float64", "float32", "complex128", "complex64")
OTHERS = ("float16", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@dataclass(frozen=True)
class Problem:
    """One convolution. The keywords are as the library takes them, in any of their spellings.

    ``axes`` says how `x` and `weight` come: ``"samples"`` with all their axes, ``"image"`` for an (H, W) `x`
    with a 4-D `weight`, ``"filter"`` for an (H, W) `x` with an (h, w) `weight`.
    """

    size: tuple[int, int]
    kernel_size: tuple[int, int]
    in_channels: int = 1
    out_channels: int = 1
    stride: int | tuple = 1
    padding: int | tuple | str = 0
    dilation: int | tuple = 1
    groups: int = 1
    padding_mode: str = "zeros"
    layout: str = "NHWC"
    batch: int | None = None
    axes: str = "samples"
    x_dtype: str = "float64"
    weight_dtype: str = "float64"
    bias_dtype: str | None = None

    def of(self, dtype: str) -> "Problem":
        """The same with all arrays of one dtype."""
        return replace(self, x_dtype=dtype, weight_dtype=dtype, bias_dtype=self.bias_dtype and dtype)

    @property
    def keywords(self) -> dict:
        names = ("stride", "padding", "dilation", "groups", "padding_mode", "layout")
        return {name: getattr(self, name) for name in names}

    @property
    def im2col_keywords(self) -> dict:
        return {name: value for name, value in self.keywords.items() if name != "groups"}

    def _arrange(self, batch, height, width, channels) -> tuple:
        sample = (height, width, channels) if self.layout == "NHWC" else (channels, height, width)
        return sample if batch is None else (batch, *sample)

    @property
    def x_shape(self) -> tuple:
        if self.axes != "samples":
            return self.size
        return self._arrange(self.batch, *self.size, self.in_channels)

    @property
    def sample_shape(self) -> tuple:
        return self.x_shape if self.batch is None else self.x_shape[1:]

    @property
    def weight_shape(self) -> tuple:
        if self.axes == "filter":
            return self.kernel_size
        return self._arrange(self.out_channels, *self.kernel_size, self.in_channels // self.groups)

    @property
    def bias_shape(self) -> tuple:
        return (self.out_channels,)

    @property
    def pads(self) -> tuple:
        return oracle.pads(self.padding, self.size, self.kernel_size, self.stride, self.dilation)

    @property
    def output_size(self) -> tuple:
        return oracle.output_size(self.size, self.kernel_size, self.stride, self.padding, self.dilation)

    @property
    def output_shape(self) -> tuple:
        if self.axes == "filter":
            return self.output_size
        return self._arrange(self.batch, *self.output_size, self.out_channels)

    @property
    def terms(self) -> int:
        """How many products and biases one output sums."""
        return prod(self.kernel_size) * self.in_channels // self.groups + 1

    @property
    def multiplications(self) -> int:
        return (self.batch or 1) * prod(self.output_size) * self.out_channels * (self.terms - 1)

    @property
    def result_dtype(self) -> np.dtype:
        """What the contract promises: NumPy's promotion, and float64 where that is an integer or bool."""
        dtype = np.result_type(*(d for d in (self.x_dtype, self.weight_dtype, self.bias_dtype) if d))
        return dtype if dtype.kind in "fc" else np.dtype(np.float64)

    def _fill(self, values) -> tuple:
        """`x`, `weight` and `bias`, each ``values(shape, dtype)``."""
        x, weight = values(self.x_shape, self.x_dtype), values(self.weight_shape, self.weight_dtype)
        return x, weight, values(self.bias_shape, self.bias_dtype) if self.bias_dtype else None

    def integers(self, seed=0) -> tuple:
        """`x`, `weight`, `bias` of integers so small that every order of summation gives the same float.

        A product is at most 2 * 9 * 9, so a sum of fewer than 2**24 / 162 of them is exact in float32.
        """
        assert self.terms < 2**24 / 162
        rng = np.random.default_rng(seed)

        def values(shape, dtype):
            dtype = np.dtype(dtype)
            low, high = (0, 1) if dtype.kind == "b" else (0, 9) if dtype.kind == "u" else (-9, 9)
            whole = rng.integers(low, high, shape, endpoint=True)
            if dtype.kind == "c":
                whole = whole + 1j * rng.integers(low, high, shape, endpoint=True)
            return whole.astype(dtype)

        return self._fill(values)

    def output_integers(self) -> np.ndarray:
        """A gradient with respect to the output: small integers of the result's dtype."""
        rng = np.random.default_rng(1)
        whole = rng.integers(-3, 4, self.output_shape)
        if self.result_dtype.kind == "c":
            whole = whole + 1j * rng.integers(-3, 4, self.output_shape)
        return whole.astype(self.result_dtype)

    def floats(self, seed=0) -> tuple:
        """`x`, `weight`, `bias` of random numbers in the dtype's full precision, from 2**-6 to 2**5.

        All are multiples of 2**-58, so that they can be scaled to integers without a loss.
        """
        assert all(np.dtype(d).kind in "fc" for d in (self.x_dtype, self.weight_dtype, self.bias_dtype) if d)
        rng = np.random.default_rng(seed)

        def real(shape):
            return rng.choice((-1, 1), shape) * rng.uniform(1, 2, shape) * 2.0 ** rng.integers(-6, 5, shape)

        def values(shape, dtype):
            whole = real(shape)
            if np.dtype(dtype).kind == "c":
                whole = whole + 1j * real(shape)
            return whole.astype(dtype)

        return self._fill(values)

    def expected(self, x, weight, bias=None) -> np.ndarray:
        """The definition's answer to arrays of this problem, rounded once to the result's dtype."""
        if self.batch == 0:
            return np.empty(self.output_shape, self.result_dtype)
        biases = None if bias is None else bias.tolist()
        return np.array(oracle.conv2d(x.tolist(), weight.tolist(), biases, **self.keywords)).astype(
            self.result_dtype
        )


# --- The strategy ------------------------------------------------------------------------------------


def _one_or_two(most):
    """A positive int up to `most`, or two."""
    return st.one_of(st.integers(1, most), st.tuples(st.integers(1, most), st.integers(1, most)))


def _padding(draw, kernel, dilation):
    """A spelling of `padding`, now and then wider than the kernel."""
    reach = [min(oracle.effective(k, d) + 1, 8) for k, d in zip(kernel, dilation, strict=True)]
    numbers = [st.integers(0, r) for r in reach]
    kind = draw(st.sampled_from(("one", "two", "four", "valid", "same", "same_lower", "full")))
    if kind == "one":
        return draw(numbers[0])
    if kind == "two":
        return tuple(draw(n) for n in numbers)
    if kind == "four":
        return tuple((draw(n), draw(n)) for n in numbers)
    return kind


def _smallest(padding, axis, kernel, dilation, mode):
    """The smallest image on one axis that has an output, and whose rows are enough for the padding mode."""
    covered = oracle.effective(kernel, dilation)
    if padding in ("same", "same_lower"):
        before, after, least = covered // 2, covered // 2, 1
    else:
        before, after = oracle.pads(padding, (1, 1), kernel, 1, dilation)[axis]
        least = max(1, covered - before - after)
    return max(least, before + 1, after + 1) if mode == "reflect" else least


same_float = st.sampled_from(FLOATS).map(lambda dtype: (dtype,) * 3)
any_dtypes = st.one_of(same_float, st.tuples(*[st.sampled_from(FLOATS + OTHERS)] * 3))


@st.composite
def problems(draw, dtypes=any_dtypes, axes=("samples", "samples", "image", "filter"), empty_batch=True):
    """Problems over the whole space of keywords, every one of them valid; simple and small ones first.

    ``"wide"`` ones pass the widths, ``"deep"`` ones the channel counts that the kernels' tiles cover at once.
    """
    regime = draw(st.sampled_from(("small", "small", "wide", "deep")))
    axes = draw(st.sampled_from(axes))
    kernel = oracle.pair(draw(_one_or_two(3 if regime == "deep" else 5)))
    dilation = draw(_one_or_two(3))
    mode = draw(st.sampled_from(tuple(oracle.MODES)))
    padding = _padding(draw, kernel, oracle.pair(dilation))
    room = {"small": (6, 6), "wide": (3, 40), "deep": (1, 15)}[regime]
    size = []
    for axis in (0, 1):
        least = _smallest(padding, axis, kernel[axis], oracle.pair(dilation)[axis], mode)
        size.append(least + draw(st.integers(0, room[axis])))

    if axes == "samples":
        groups = draw(st.integers(1, 4))
        deep = st.sampled_from(((40 // groups, 3), (3, 40 // groups)))
        most = draw(deep) if regime == "deep" else {"small": (4, 4), "wide": (2, 2)}[regime]
        in_channels, out_channels = (groups * draw(st.integers(1, n)) for n in most)
        batch = draw(st.sampled_from((None, 1, 2, 3, 0) if empty_batch else (None, 1, 2, 3)))
    else:
        groups, in_channels, batch = 1, 1, None
        out_channels = 1 if axes == "filter" else draw(st.integers(1, 40 if regime == "deep" else 4))

    x_dtype, weight_dtype, bias_dtype = draw(dtypes)
    return Problem(
        size=tuple(size),
        kernel_size=kernel,
        in_channels=in_channels,
        out_channels=out_channels,
        stride=draw(_one_or_two(4)),
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=mode,
        layout=draw(st.sampled_from(LAYOUTS)),
        batch=batch,
        axes=axes,
        x_dtype=x_dtype,
        weight_dtype=weight_dtype,
        bias_dtype=draw(st.sampled_from((None, bias_dtype))),
    )


# --- The fixed list ----------------------------------------------------------------------------------

_3x3 = Problem((7, 9), (3, 3), 3, 4, padding=1)

_edges = {
    "1x1 kernel": Problem((5, 6), (1, 1), 3, 5),
    "1x1 kernel, one channel, one pixel": Problem((1, 1), (1, 1)),
    "1x1 kernel, stride 2": Problem((5, 6), (1, 1), 3, 5, stride=2),
    "kernel as large as the input": Problem((5, 6), (5, 6), 2, 3),
    "kernel larger than the input, inside its padding": Problem((2, 3), (7, 9), 2, 3, padding=(4, 5)),
    "stride larger than the kernel": Problem((11, 13), (2, 3), 2, 3, stride=(4, 5)),
    "stride larger than the input": Problem((4, 5), (2, 2), 2, 3, stride=9),
    "stride that skips the last rows": Problem((10, 12), (3, 3), 2, 3, stride=(4, 5)),
    "stride over padding alone": Problem((3, 3), (2, 2), 2, 3, stride=3, padding=5),
    "dilation": Problem((11, 12), (3, 2), 2, 3, dilation=(2, 5), padding=(1, 2)),
    "dilation, one channel": Problem((9, 40), (3, 3), dilation=(2, 3), padding=2),
    "dilation, depthwise": Problem((9, 20), (3, 3), 8, 8, groups=8, dilation=(2, 3), padding=2),
    "dilation and stride": Problem((11, 12), (3, 3), 2, 3, dilation=(3, 2), stride=(2, 3), padding="full"),
    "dilated kernel as large as the input": Problem((7, 9), (3, 3), 2, 3, dilation=(3, 4)),
    "depthwise": Problem((6, 7), (3, 3), 8, 8, groups=8, padding=1),
    "depthwise, 17 channels": Problem((6, 7), (3, 3), 17, 17, groups=17, padding=1),
    "depthwise multiplier": Problem((6, 7), (3, 3), 5, 15, groups=5, padding=1),
    "depthwise to fewer channels": Problem((6, 7), (3, 3), 12, 4, groups=4, padding=1),
    "groups of several filters": Problem((6, 7), (3, 3), 6, 12, groups=3, stride=2, padding=1),
    "groups of 16 filters": Problem((4, 15), (3, 3), 6, 32, groups=2, padding=1),
    "groups of 17 filters": Problem((4, 15), (3, 3), 4, 34, groups=2, padding=1),
    "single row": Problem((1, 23), (1, 4), 2, 3, padding=((0, 0), (2, 1))),
    "single column": Problem((23, 1), (4, 1), 2, 3, padding=((2, 1), (0, 0))),
    "one output": Problem((5, 5), (5, 5), 3, 17),
    "one output column": Problem((9, 4), (3, 4), 2, 3),
    "one output row": Problem((4, 29), (4, 3), 2, 3),
    "kernel of one row": Problem((5, 19), (1, 7), 1, 2),
    "kernel of one column": Problem((19, 5), (7, 1), 1, 2),
    "large prime sizes": Problem((31, 37), (7, 5), 3, 5, stride=(3, 2), padding=(3, 2)),
    "long row": Problem((2, 257), (2, 3), 1, 2, padding="same"),
    "asymmetric padding": Problem((5, 6), (3, 3), 2, 3, padding=((0, 3), (2, 1))),
    "padding on one side only": Problem((5, 6), (3, 3), 2, 3, padding=((4, 0), (0, 5))),
    "padding wider than the kernel": Problem((5, 6), (2, 2), 2, 3, padding=4),
    "replicate wider than the input": replace(_3x3, padding=12, padding_mode="replicate"),
    "circular wider than the input": replace(_3x3, padding=(17, 23), padding_mode="circular"),
    "circular as wide as the input": replace(_3x3, padding=(7, 9), padding_mode="wrap"),
    "reflect as wide as it goes": replace(_3x3, padding=((6, 5), (8, 7)), padding_mode="reflect"),
    "circular kernel wider than the input": replace(
        _3x3, size=(2, 3), kernel_size=(5, 7), padding="same", padding_mode="circular"
    ),
    "same, even kernel": Problem((6, 7), (4, 2), 2, 3, padding="same"),
    "same_lower, even kernel": Problem((6, 7), (4, 2), 2, 3, padding="same_lower"),
    "same, stride": Problem((8, 7), (3, 4), 2, 3, stride=(3, 2), padding="same"),
    "same, stride larger than the kernel": Problem((8, 7), (2, 1), 2, 3, stride=5, padding="same"),
    "full": Problem((4, 5), (3, 2), 2, 3, padding="full"),
    "empty batch": replace(_3x3, batch=0),
    "batch of one": replace(_3x3, batch=1),
    "batch of three": replace(_3x3, batch=3),
    "image": Problem((9, 11), (3, 3), 1, 5, axes="image", padding=1),
    "image and filter": Problem((9, 11), (3, 3), axes="filter", padding=1),
    "even strides, one channel": Problem((40, 43), (5, 5), 1, 2, stride=2, padding=2),
    **{
        f"{kind} channels: {n}": replace(_3x3, size=(3, 15), **{f"{kind}_channels": n})
        for n in (1, 2, 4, 5, 15, 16, 17, 31, 32, 33, 64)
        for kind in ("in", "out")
    },
    **{
        f"output width: {n}": Problem((3, n + 2), (3, 3), 2, 17) for n in (2, 5, 6, 7, 13, 14, 15, 27, 28, 29)
    },
    **{
        f"one channel, output width: {n}": Problem((10, n + 2), (3, 3))
        for n in (7, 8, 9, 15, 16, 17, 31, 32, 33, 65)
    },
}
EDGE_PROBLEMS = {name: replace(problem, bias_dtype="float64") for name, problem in _edges.items()}

# Below and above the sizes from which kernels run in parallel and a call takes several blocks. Each has one
# dtype, because each pair of the two is one more kernel to compile.
SIZES = {
    "small": Problem((6, 7), (3, 3), 5, 6, (1, 2), ((1, 2), (0, 3)), batch=2, bias_dtype="float64"),
    "large": Problem((40, 45), (3, 3), 16, 33, padding=1, bias_dtype="float32", batch=2).of("float32"),
    "large, complex": Problem((40, 45), (3, 3), 8, 17, padding=1, stride=(1, 2)).of("complex64"),
    "large, one channel": Problem((600, 701), (5, 5), padding="same", padding_mode="reflect").of("float32"),
    "large, depthwise": Problem((30, 61), (3, 3), 40, 40, groups=40, padding=1).of("float32"),
    "large, depthwise, stride": Problem((33, 70), (5, 5), 24, 24, 2, 2, groups=24, batch=2),
    "large, few channels": Problem((41, 90), (7, 7), 3, 3, groups=3, padding="same").of("float32"),
    "large, small groups": Problem((30, 61), (3, 4), 24, 24, 1, (0, 2), (2, 1), groups=6).of("complex64"),
    "large, bank": Problem((37, 120), (5, 5), 1, 8, padding=2).of("float32"),
    "large, one channel, stride": Problem((61, 412), (3, 3), stride=2, padding=1, layout="NCHW"),
    "large, groups": Problem((65, 66), (3, 2), 24, 48, 2, "full", 2, groups=3, layout="NCHW"),
}

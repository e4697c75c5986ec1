"""A convolution layer that learns: its parameters, the call, and the gradients of the last call."""

from __future__ import annotations

import math
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from triconv import arguments
from triconv.convolution import convolved
from triconv.core.keywords import Keywords, pads
from triconv.core.problem import in_layout
from triconv.described import described
from triconv.methods import choice
from triconv.runtime import memory
from triconv.transpose import conv2d_input_grad
from triconv.types import Layout, Padding, PaddingMode, Seed, Size
from triconv.weight_gradient import conv2d_weight_grad


@described
class Conv2d:
    r"""A layer with learnable filters and biases.

    Parameters
    ----------
    in_channels, out_channels : int
        ``C_in``, ``C_out``.
    %(kernel_size, keywords, method)
    bias : bool, default True
        Whether the layer has biases.
    dtype : dtype, default float32
        Of the parameters; float64 where that is an integer or bool.
    rng : seed or numpy.random.Generator, optional
        What the parameters are drawn from; a seed is all that ``numpy.random.default_rng`` takes. The same
        seed draws the same filters in both layouts and, up to rounding, in every real dtype.

    Attributes
    ----------
    weight : ndarray
        ``(C_out, k_h, k_w, C_in / groups)``, in NCHW ``(C_out, C_in / groups, k_h, k_w)``.
    bias : ndarray or None
        ``(C_out,)``.
    weight_grad, bias_grad : ndarray or None
        The parameters' gradients, of their shapes and dtypes, set by `backward`.

    Raises
    ------
    ValueError, TypeError
        For values and types that do not fit, before anything is allocated.
    MemoryError
        Where the weight would not fit.

    See Also
    --------
    conv2d, conv2d_input_grad, conv2d_weight_grad : what the layer computes, without its memory.

    Notes
    -----
    Parameters start uniform in :math:`\pm 1 / \sqrt{n}` with :math:`n = k_h k_w C_{in} / groups`, which is
    what PyTorch's ``kaiming_uniform_`` with ``a=sqrt(5)`` comes to; complex ones have real and imaginary
    parts uniform in :math:`\pm 1 / \sqrt{2 n}`, hence the same variance :math:`1 / (3 n)` [1]_.

    Change the parameters in place or replace them by others of their shapes: the next call takes them as
    they then are. A call keeps a reference to its input and a copy of its weight until the next one, so
    that `backward` differentiates what was computed, whatever has become of ``weight`` since; only the
    input must be left alone until then. A pickle or copy of a layer has its parameters and their gradients,
    but not what the last call kept.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", 2015.

    Examples
    --------
    Learn a blur from what it does to noise:

    >>> import numpy as np, triconv
    >>> x = np.random.default_rng(0).standard_normal((64, 64, 1))
    >>> target = triconv.conv2d(x, np.full((1, 2, 2, 1), 0.25))
    >>> layer = triconv.Conv2d(1, 1, 2, dtype="float64", rng=0)
    >>> for _ in range(50):
    ...     error = layer(x) - target
    ...     _ = layer.backward(error / error.size)
    ...     layer.weight -= 0.5 * layer.weight_grad
    ...     layer.bias -= 0.5 * layer.bias_grad
    >>> layer.weight[0, :, :, 0].round(3)
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """

    weight: NDArray[Any]
    bias: NDArray[Any] | None
    weight_grad: NDArray[Any] | None
    bias_grad: NDArray[Any] | None

    def __init__(
        self,
        in_channels: SupportsIndex,
        out_channels: SupportsIndex,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: SupportsIndex = 1,
        padding_mode: PaddingMode = "zeros",
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        layout: Layout = "NHWC",
        method: str = "auto",
        rng: Seed = None,
    ) -> None:
        where = "Conv2d"
        channels = arguments.integer(where, "in_channels", in_channels, 1)
        filters = arguments.integer(where, "out_channels", out_channels, 1)
        kernel = arguments.pair(where, "kernel_size", kernel_size)
        given = Keywords(stride, padding, dilation, groups, padding_mode, layout, method)
        h, w = bare = given.bare_axes(where, (1, 1), kernel)
        sides = pads(where, padding, bare)
        groups = given.checked_groups(where)
        if channels % groups or filters % groups:
            raise ValueError(
                f"{where}: groups expects a divisor of in_channels and out_channels, "
                f"got {groups} for {channels} and {filters}"
            )
        self._keywords = Keywords(
            stride=(h.stride, w.stride),
            padding=padding if isinstance(padding, str) else sides,
            dilation=(h.dilation, w.dilation),
            groups=groups,
            padding_mode=given.checked_mode(where),
            layout=given.checked_layout(where),
            method=choice.named(where, method),
        )
        bias = arguments.boolean(where, "bias", bias)
        kind = arguments.dtype_of(where, dtype)
        random = arguments.generator(where, rng)
        self._channels = channels
        self._kernel = kernel
        self._shape = filters, *in_layout(layout, *kernel, channels // groups)
        memory.require(where, math.prod(self._shape) * kind.itemsize, f"the weight of shape {self._shape}")

        fan_in = math.prod(kernel) * channels // groups
        drawn = uniform(random, (filters, *kernel, channels // groups), fan_in, kind)
        self.weight = np.ascontiguousarray(drawn if layout == "NHWC" else drawn.transpose(0, 3, 1, 2))
        self.bias = uniform(random, (filters,), fan_in, kind) if bias else None
        self.weight_grad = None
        self.bias_grad = None
        self._last: tuple[NDArray[Any], NDArray[Any], tuple[int, ...]] | None = None

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Convolve with the parameters as they are now, and keep what `backward` needs.

        Parameters
        ----------
        x : array_like
            ``(H, W, C_in)`` or ``(N, H, W, C_in)``, in NCHW ``(C_in, H, W)`` or ``(N, C_in, H, W)``, or
            ``(H, W)``; of any batch size, height and width. Kept, not copied.

        Returns
        -------
        ndarray
            What ``conv2d(x, weight, bias, ...)`` returns.

        Raises
        ------
        ValueError
            For a shape that does not fit, also where ``weight`` has been given another one.
        TypeError
            For a dtype that `conv2d` does not take.
        MemoryError
            Where the output would not fit.
        """
        where = "Conv2d"
        image = arguments.array(where, "x", x)
        self.weight = arguments.array(where, "weight", self.weight)
        if self.bias is not None:
            self.bias = arguments.array(where, "bias", self.bias)
        if self.weight.shape != self._shape:
            raise ValueError(f"{where}: weight expects shape {self._shape}, got {self.weight.shape}")
        y = convolved(where, image, self.weight, self.bias, self._keywords)
        self._last = image, self.weight.copy(), y.shape
        return y

    def backward(self, grad: ArrayLike) -> NDArray[Any]:
        """Differentiate the last call; set ``weight_grad`` and ``bias_grad``, which are not added up.

        Parameters
        ----------
        grad : array_like
            The gradient with respect to what the last call returned, and of its shape.

        Returns
        -------
        ndarray
            The gradient with respect to the input of the last call, and of its shape; of dtype
            ``numpy.result_type(grad, weight)``. All gradients are those of PyTorch's convention: adjoints for
            complex numbers, and their real parts where what they are the gradient of is real.

        Raises
        ------
        RuntimeError
            Before the first call.
        ValueError, TypeError
            For a gradient of another shape, or of a dtype that `conv2d` does not take.
        MemoryError
            Where a result would not fit.

        Notes
        -----
        Takes twice as many operations as the call.

        Examples
        --------
        >>> import numpy as np, triconv
        >>> layer = triconv.Conv2d(1, 2, 3, padding="same", rng=0)
        >>> y = layer(np.ones((8, 8, 1), np.float32))
        >>> layer.backward(np.ones_like(y)).shape
        (8, 8, 1)
        >>> layer.weight_grad[0, :, :, 0]
        array([[49., 56., 49.],
               [56., 64., 56.],
               [49., 56., 49.]], dtype=float32)
        >>> layer.bias_grad
        array([64., 64.], dtype=float32)
        """
        where = "Conv2d.backward"
        y = arguments.array(where, "grad", grad)
        if self._last is None:
            raise RuntimeError(f"{where}: nothing to differentiate; call the layer first")
        x, weight, shape = self._last
        if y.shape != shape:
            raise ValueError(f"{where}: grad expects the output's shape {shape}, got {y.shape}")
        back = conv2d_input_grad(y, weight, x.shape, **self._keywords._asdict())
        taps = conv2d_weight_grad(y, x, self._kernel, **self._keywords._asdict())
        self.weight_grad = gradient(self.weight, taps)
        self.bias_grad = None
        if self.bias is not None:
            channels = y.ndim - (1 if self._keywords.layout == "NHWC" else 3)
            rest = tuple(axis for axis in range(y.ndim) if axis != channels)
            # Over axes that are far apart NumPy adds one by one, hence the wider sums.
            with np.errstate(all="ignore"):
                total = y.sum(rest, np.result_type(y, np.float64))
            self.bias_grad = gradient(self.bias, total)
        return real_for(x, back)

    def __repr__(self) -> str:
        """The call that makes such a layer, but for the numbers drawn."""
        words = self._keywords._asdict() | {"bias": self.bias is not None, "dtype": self.weight.dtype.name}
        keywords = ", ".join(f"{name}={value!r}" for name, value in words.items())
        return f"Conv2d({self._channels}, {self._shape[0]}, {self._kernel}, {keywords})"

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what the last call kept."""
        return self.__dict__ | {"_last": None}


def uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Numbers of mean 0 and variance ``1 / (3 fan_in)``; for complex dtypes half of it in each part."""
    if dtype.kind != "c":
        bound = 1 / math.sqrt(fan_in)
        return arguments.cast(rng.uniform(-bound, bound, shape), dtype)
    drawn = np.empty(shape, dtype)
    for part in (drawn.real, drawn.imag):
        part[...] = uniform(rng, shape, 2 * fan_in, part.dtype)
    return drawn


def real_for(array: NDArray[Any], grad: NDArray[Any]) -> NDArray[Any]:
    """A gradient, or its real part where what it is the gradient of is real."""
    if grad.dtype.kind == "c" and array.dtype.kind != "c":
        return np.ascontiguousarray(grad.real)
    return grad


def gradient(parameter: NDArray[Any], grad: NDArray[Any]) -> NDArray[Any]:
    """A gradient in the dtype of what it is the gradient of."""
    return arguments.cast(real_for(parameter, grad), arguments.floating(parameter.dtype))

"""Singular values of W: of its transfer matrices where it is circular, by Lanczos elsewhere, and bounds.

Kernels have shape ``(groups, C_out / groups, C_in / groups, k_h, k_w)`` here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from triconv.core.axis import Axis
from triconv.core.problem import Problem, Shape
from triconv.runtime import memory, threads

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

BLOCK = 1 << 17  # elements of the transfer matrices that a task makes at once
TASK = 1 << 10  # bytes of a task that waits, and of its result
COPY = 64  # bytes that a pixel takes where it is counted how often it is read
SMALL = 1 << 20  # entries of W, zeros included, up to which it is decomposed as an array: 0.2 seconds
GRID = 16  # points of the grid a degree of the polynomials that are bounded: 0.5 % an axis
WIDTH = 40  # vectors that Lanczos keeps at least
TOLERANCE = 1e-10  # of an eigenpair's residual, relative to the eigenvalue
SAME = 1e-12  # of the largest eigenvalue: what another must exceed the smallest by to have been missed


def scaled(where: str, problem: Problem, weight: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """The kernel in double precision over a power of two, so that its largest tap is about 1; and that."""
    if not np.isfinite(weight).all():
        raise ValueError(f"{where}: weight expects finite numbers, got NaN or infinity")
    g = problem.geometry
    kernel = problem.filters(weight).astype(np.result_type(weight, np.float64))
    kernel = kernel.reshape(g.groups, -1, *kernel.shape[1:]).transpose(0, 1, 4, 2, 3)
    exponent = math.frexp(max(abs(kernel.real).max(), abs(kernel.imag).max()))[1] - 1
    scale = math.ldexp(1.0, max(exponent, -1000))  # whose inverse is finite
    return kernel / scale, scale


def estimate(kernel: NDArray[Any]) -> float:
    """The largest singular value of the filters as rows of a matrix."""
    rows = kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
    return float(np.linalg.norm(rows, 2))


# --- transfer matrices ------------------------------------------------------------------------------


def is_circular(problem: Problem) -> bool:
    """Whether W is circular: as many outputs as pixels, each the next shift of the same patch."""
    return all(
        axis.out == axis.size
        and (axis.stride == 1 or axis.out == 1)
        and (problem.mode == "circular" or axis.reach == 1)
        for axis in problem.axes
    )


def circular(where: str, problem: Problem, kernel: NDArray[Any]) -> NDArray[np.float64]:
    """All singular values of a circular W, descending."""
    h, w = problem.axes
    count = h.size * w.size * kernel.shape[0] * min(kernel.shape[1:3])
    waves = h.size * h.kernel + w.size * w.kernel
    # Values are found, joined and sorted; of each row's frequencies there is a task at least.
    size = 24 * count + 64 * waves + TASK * h.size * -(-w.size * math.prod(kernel.shape[:3]) // BLOCK)
    memory.require(where, size, f"the spectrum of {count} singular values")
    times, tasks = over_frequencies(kernel, (h.size, w.size), (h.dilation, w.dilation))
    with ThreadPoolExecutor(threads.get_num_threads()) as pool:
        blocks = pool.map(lambda transfer: singular_values(transfer()), tasks)
        values = [np.repeat(found.ravel(), n) for n, found in zip(times, blocks, strict=True)]
    return np.sort(np.concatenate(values))[::-1]


def singular_values(transfer: NDArray[Any]) -> NDArray[Any]:
    """The singular values of many small matrices; of a row or column its length."""
    if min(transfer.shape[-2:]) == 1:
        return np.linalg.norm(transfer, axis=(-2, -1))
    return np.linalg.svd(transfer, compute_uv=False)


def over_frequencies(
    kernel: NDArray[Any], grid: Shape, dilation: Shape
) -> tuple[list[int], list[Callable[[], NDArray[Any]]]]:
    """Functions that make the transfer matrices of a block of a grid's frequencies, and how often they count.

    Real kernels have conjugate matrices at opposite frequencies, of which one is made. Matrices come with
    shape ``(frequencies, groups, C_out / groups, C_in / groups)``. Taps beyond the grid wrap around, as waves
    of its frequencies do.
    """
    (height, width), (k_h, k_w) = grid, kernel.shape[3:]
    columns = width if kernel.dtype.kind == "c" else width // 2 + 1
    rows = phases(height, k_h, dilation[0], height)
    across = phases(width, k_w, dilation[1], columns)
    taps = np.ascontiguousarray(kernel.transpose(3, 4, 0, 1, 2), np.complex128)
    step = max(1, BLOCK // math.prod(kernel.shape[:3]))
    once = [b for b in range(columns) if columns == width or 2 * b % width == 0]
    twice = sorted({*range(columns)}.difference(once))
    pieces = [
        (n, listed[first : first + step])
        for n, listed in ((1, once), (2, twice))
        for first in range(0, len(listed), step)
    ]

    def transfer(a: int, chosen: list[int]) -> NDArray[Any]:
        # Not by BLAS, whose threads would wait for each other below those of the tasks.
        row = np.einsum("u,uvgmc->vgmc", rows[a], taps)
        return np.einsum("bv,vgmc->bgmc", across[chosen], row)

    tasks: list[Callable[[], NDArray[Any]]]
    tasks = [functools.partial(transfer, a, chosen) for a in range(height) for _, chosen in pieces]
    return [n for _ in range(height) for n, _ in pieces], tasks


def phases(size: int, kernel: int, dilation: int, count: int) -> NDArray[np.complex128]:
    """``exp(-2 pi i a u d / size)`` for the first ``count`` frequencies ``a`` and all taps ``u``."""
    places = np.array([u * dilation % size for u in range(kernel)], np.int64)
    turns = np.arange(count, dtype=np.int64)[:, None] * places % size
    return np.exp(-2j * np.pi / size * turns)


# --- Lanczos ----------------------------------------------------------------------------------------


def is_small(shape: Shape, k: int) -> bool:
    """Whether W is better decomposed as an array: it is small, or much of its spectrum is asked for."""
    return math.prod(shape) <= SMALL or 4 * k > min(shape)


def lanczos(where: str, operator: LinearOperator, k: int) -> NDArray[np.float64]:
    """The ``k`` largest singular values of an operator in double precision, descending."""
    width = min(*operator.shape, max(WIDTH, 2 * k + 1))
    kept = f"a basis of {width} vectors for the operator of shape {operator.shape}"
    memory.require(where, (width + 3 * k) * max(operator.shape) * operator.dtype.itemsize, kept)
    from scipy.sparse.linalg import LinearOperator, eigsh

    # Vectors of the shorter side.
    tall = operator if operator.shape[0] >= operator.shape[1] else operator.H
    gram = tall.H @ tall
    rng = np.random.default_rng(0)

    def start() -> NDArray[Any]:
        return rng.standard_normal(gram.shape[0]).astype(gram.dtype)

    _, vectors = eigsh(gram, k, v0=start(), ncv=width, tol=TOLERANCE)
    values = np.linalg.svd(tall @ vectors, compute_uv=False)
    for _ in range(k - 1):
        # What was found is taken out, and the rest moved away from zero, where nothing would converge.
        shift = max(values[-1], 1e-3 * values[0]) ** 2

        def rest(x: Any, found: NDArray[Any] = vectors, shift: float = shift) -> Any:
            x = np.reshape(x, -1)
            image = gram @ (x - found @ (found.conj().T @ x))
            return image - found @ (found.conj().T @ image) + shift * x

        others = LinearOperator(gram.shape, rest, dtype=gram.dtype)
        top, missed = eigsh(others, 1, v0=start(), ncv=min(gram.shape[0], WIDTH), tol=TOLERANCE)
        if top[0] - shift <= values[-1] ** 2 + SAME * values[0] ** 2:
            break
        basis = np.linalg.qr(np.hstack([vectors, missed]))[0]
        _, values, turn = np.linalg.svd(tall @ basis, full_matrices=False)
        vectors, values = basis @ turn.conj().T[:, :k], values[:k]
    return values


# --- bounds -----------------------------------------------------------------------------------------


def bound(where: str, problem: Problem, kernel: NDArray[Any], iterations: int) -> float:
    """At least the largest singular value of W."""
    if not kernel.any():
        return 0.0
    repeated = math.prod(copies(where, axis, problem.mode) for axis in problem.axes)
    endless = one_stride(problem, kernel)
    degrees = [k - 1 for k in endless.shape[3:]]
    grid = tuple(max(1, GRID * degree) for degree in degrees)
    _, tasks = over_frequencies(endless, grid, (1, 1))
    largest = max(float(gram_bounds(transfer(), iterations).max()) for transfer in tasks)
    for degree, points in zip(degrees, grid, strict=True):
        largest /= math.cos(math.pi * degree / (2 * points))
    taps, terms = math.prod(endless.shape[3:]), sum(endless.shape[1:3])
    rounding = 16 * (taps + terms) * math.sqrt(taps * terms) * float(np.finfo(np.float64).eps)
    return largest * math.sqrt(repeated) * (1 + rounding)


def one_stride(problem: Problem, kernel: NDArray[Any]) -> NDArray[Any]:
    """The kernel whose convolution of an endless image with stride 1 has the norm of the problem's.

    Taps ``u`` that are equal mod ``s / gcd(s, d)`` read pixels that no other tap reads, in the same order:
    these are channels. What is left of a dilation stretches frequencies, and changes no norm.
    """
    for place, axis in zip((3, 4), problem.axes, strict=True):
        step = min(axis.stride // math.gcd(axis.stride, axis.dilation), axis.kernel)
        fill = [(0, 0)] * kernel.ndim
        fill[place] = (0, -axis.kernel % step)
        padded = np.pad(kernel, fill)
        split = padded.reshape(*padded.shape[:place], -1, step, *padded.shape[place + 1 :])
        kernel = np.moveaxis(split, place + 1, 3).reshape(
            *kernel.shape[:2], -1, *split.shape[3 : place + 1], *split.shape[place + 2 :]
        )
    return kernel


def gram_bounds(transfer: NDArray[Any], iterations: int) -> NDArray[Any]:
    """Bounds of the norms of many small matrices by Gram iteration; of a row or column its length."""
    if min(transfer.shape[-2:]) == 1:
        return np.linalg.norm(transfer, axis=(-2, -1))
    # The smaller of G^H G and G G^H; from then on G is Hermitian.
    turned = transfer.conj().swapaxes(-1, -2)
    pair = (turned, transfer) if transfer.shape[-2] >= transfer.shape[-1] else (transfer, turned)
    logarithm = np.zeros(transfer.shape[:-2])
    for i in range(iterations):
        gram = pair[0] @ pair[1]
        length = np.linalg.norm(gram, axis=(-2, -1), keepdims=True)
        length[length == 0] = np.finfo(np.float64).tiny
        logarithm += np.log(length[..., 0, 0]) / 2 ** (i + 1)
        pair = (gram / length,) * 2
    return np.exp(logarithm)


def copies(where: str, axis: Axis, mode: str) -> int:
    """What an axis multiplies the squared norm by at most.

    The padded image that is read is the image with pixels repeated. Where strides go evenly round a circular
    image, W is also the square circular one with outputs repeated.
    """
    if mode == "zeros":
        return int(any(axis.inside(u) for u in range(axis.kernel)))
    pairs = axis.out * axis.kernel
    memory.require(where, COPY * pairs, f"a table of the {pairs} pixels that outputs read along an axis")
    outputs = axis.outputs()
    read = axis.sources(np.unique(axis.taps(outputs)), mode)
    shown = most_equal(read[read >= 0])
    if mode == "circular" and axis.size % axis.stride == 0:
        return min(shown, most_equal(outputs * axis.stride % axis.size))
    return shown


def most_equal(values: NDArray[np.int64]) -> int:
    """How often the most frequent of some integers occurs."""
    return int(np.unique(values, return_counts=True)[1].max(initial=0))

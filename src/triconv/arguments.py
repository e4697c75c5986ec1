"""What callers may pass, checked once at the edge: every refusal of a keyword or an array is worded here.

``where`` is the public name that the caller used; each message opens with it.
"""

from __future__ import annotations

import math
import operator
from collections import UserList, deque
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from triconv.types import Layout, Order, PaddingMode, PaddingWord

Word = TypeVar("Word", bound=str)

LAYOUTS: tuple[str, ...] = get_args(Layout)
ORDERS: tuple[str, ...] = get_args(Order)
PADDING_WORDS: tuple[str, ...] = get_args(PaddingWord)
PADDING_MODES: dict[str, PaddingMode] = {
    "zeros": "zeros",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
    "constant": "zeros",
    "edge": "replicate",
    "wrap": "circular",
}
NUMPY_MODES: dict[str, Literal["constant", "reflect", "edge", "wrap"]] = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


# --- single values ----------------------------------------------------------------------------------


def is_integer(value: Any) -> bool:
    """Whether ``value`` is an int in the contract's sense: anything with ``__index__`` except bool."""
    if type(value) is int:
        return True
    if isinstance(value, bool | np.bool_) or is_masked(value):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def integer(where: str, name: str, value: Any, least: int) -> int:
    """``value`` as an int of at least ``least``."""
    if not is_integer(value):
        raise TypeError(f"{where}: {name} expects an int, got {describe(value)}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{where}: {name} expects at least {least}, got {number}")
    return number


def position(where: str, name: str, value: Any, size: int) -> int:
    """``value`` as an index of an axis of ``size`` elements."""
    number = integer(where, name, value, 0)
    if number >= size:
        raise ValueError(f"{where}: {name} expects less than {size}, got {number}")
    return number


def boolean(where: str, name: str, value: Any) -> bool:
    """``value`` as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{where}: {name} expects a bool, got {describe(value)}")
    return bool(value)


def integers(where: str, name: str, value: Any, what: str, least: int) -> tuple[int, ...]:
    """A sequence of ints as a tuple; ``what`` says in the message what was expected."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray):
        raise TypeError(f"{where}: {name} expects {what}, got {describe(value)}")
    if isinstance(value, np.ndarray):
        unmasked(where, name, value)
        if value.ndim != 1:
            raise ValueError(f"{where}: {name} expects {what}, got an array of shape {value.shape}")
    return tuple(integer(where, name, item, least) for item in value)


def pair(where: str, name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """An int, or ``(h, w)``, as ``(h, w)``."""
    if is_integer(value):
        number = integer(where, name, value, least)
        return number, number
    numbers = integers(where, name, value, "an int or (h, w)", least)
    if len(numbers) != 2:
        raise ValueError(f"{where}: {name} expects an int or (h, w), got {len(numbers)} values")
    return numbers[0], numbers[1]


def choice(where: str, name: str, value: Word, allowed: Sequence[str]) -> Word:
    """One of the ``allowed`` words."""
    if not isinstance(value, str):
        raise TypeError(f"{where}: {name} expects a str, got {describe(value)}")
    if value not in allowed:
        raise ValueError(f"{where}: {name} expects one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def padding_mode(where: str, value: str) -> PaddingMode:
    """The mode under this library's own name, NumPy's names translated."""
    return PADDING_MODES[choice(where, "padding_mode", value, tuple(PADDING_MODES))]


def generator(where: str, value: Any) -> np.random.Generator:
    """An ``rng=`` argument: a generator, or one seeded with what NumPy takes as a seed."""
    expected = f"{where}: rng expects a seed or a numpy.random.Generator, got {describe(value)}"
    if isinstance(value, bool | np.bool_):
        raise TypeError(expected)
    try:
        return np.random.default_rng(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{expected} ({error})") from None


def describe(value: Any) -> str:
    """A short name for a value that was refused."""
    if value is None or isinstance(value, bool | int | float | complex | str):
        return repr(value)
    return f"a {type(value).__name__}"


# --- calls that are found again ---------------------------------------------------------------------

PLAIN = frozenset((int, str))  # types whose values a call is found again by


def recall(kept: Any, checked: tuple[Any, ...], keywords: tuple[Any, ...], *given: Any) -> Any:
    """Call a function that keeps its results, past these where a value may equal one of another meaning.

    As 1 equals True and 1.0, which are refused. It takes what is ``checked``, other values ``given`` by the
    caller, and the keywords as one.
    """
    values = (*given, *keywords) if given else keywords
    same = PLAIN.issuperset(map(type, values)) or all(map(is_plain, values))
    return (kept if same else kept.__wrapped__)(*checked, *given, keywords)


def is_plain(value: Any) -> bool:
    """Whether a value is an int, a word, or a tuple of such."""
    kind = type(value)
    if kind is not tuple:
        return kind in PLAIN
    return PLAIN.issuperset(map(type, value)) or all(map(is_plain, value))


def signature(bias: Any) -> tuple[tuple[int, ...] | None, Any]:
    """A bias's shape, and its dtype; for a plain Python number, which widens no dtype, its type."""
    if bias is None:
        return None, None
    return (bias.shape, bias.dtype) if isinstance(bias, np.ndarray) else ((), type(bias))


# --- arrays -----------------------------------------------------------------------------------------

NUMBERS = frozenset((bool, int, float, complex))
MOST_AXES = 64  # of a NumPy array, hence of nested lists
DTYPES = "bool, an integer, float16, float32, float64, complex64 or complex128"


def array(where: str, name: str, value: Any) -> NDArray[Any]:
    """``value`` as an ndarray of one of the dtypes that the library takes, in its own byte order."""
    if type(value) is np.ndarray:
        made = value
    else:
        unmasked(where, name, value)
        try:
            # A lazy array would drop the mask of what it computes.
            made = np.asanyarray(value.compute() if hasattr(value, "__dask_graph__") else value)
        except (ValueError, TypeError, RuntimeError) as error:
            raise TypeError(f"{where}: {name} is not an array: {error}") from None
        unmasked(where, name, made)
        made = np.asarray(made)
    supported(where, name, made.dtype)
    return made


def cast(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array in a dtype, itself where it has it already; too large a number becomes infinity in silence.

    What NumPy should do about such numbers (`numpy.errstate`) is the caller's business, not this library's.
    """
    if array.dtype == dtype:
        return array
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def unmasked(where: str, name: str, value: Any) -> None:
    """Refuse an array with masked entries, or a sequence of such, whose masks NumPy would drop."""
    if is_masked(value):
        how = " (numpy.ma.filled)" if isinstance(value, np.ma.MaskedArray) else ""
        raise TypeError(f"{where}: {name} has masked entries; fill them first{how}")


def is_masked(value: Any, depth: int = MOST_AXES) -> bool:
    """Whether entries are hidden: by a ``mask`` of NumPy's kind, or as missing from a column of pandas'.

    Where pandas' missing value is NaN, nothing is hidden.
    """
    if isinstance(value, list | tuple | deque | UserList):
        return depth > 0 and any(type(v) not in NUMBERS and is_masked(v, depth - 1) for v in value)
    mask = getattr(value, "mask", None)
    if mask is not None and not callable(mask):
        return hides(mask)
    data = getattr(value, "data", None)
    if isinstance(data, np.ndarray) and type(data) is not np.ndarray:  # as xarray wraps an array
        return is_masked(data)
    if isinstance(getattr(value, "_meta", None), np.ma.MaskedArray):  # as dask says what it will compute
        return is_masked(value.compute())
    missing = getattr(value, "isna", None)
    if not callable(missing):
        return False
    if getattr(value, "ndim", 1) > 1 and hasattr(value, "items"):
        return any(is_masked(column) for _, column in value.items())
    nan = getattr(getattr(value, "dtype", None), "na_value", math.nan)
    return not isinstance(nan, float) and bool(np.any(missing()))


def hides(mask: Any) -> bool:
    """Whether an entry of a mask is true."""
    try:
        hidden = np.asarray(mask)
    except (ValueError, TypeError):
        return False  # something else of that name
    return hidden.dtype.kind in "biufO" and bool(hidden.any())


def supported(where: str, name: str, dtype: np.dtype[Any]) -> None:
    """Refuse an array of a dtype that the library does not take."""
    if not is_supported(dtype):
        raise TypeError(f"{where}: {name} has dtype {dtype}, expected {DTYPES}")


def is_supported(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this dtype are taken; extended precision is not."""
    return dtype.kind in "biu" or (dtype.kind in "fc" and dtype.itemsize <= (8 if dtype.kind == "f" else 16))


def floating(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The result's dtype, in native byte order, for inputs whose common dtype is this."""
    return np.dtype(np.float64) if dtype.kind in "biu" else dtype.newbyteorder("=")


def computed(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that a result of this dtype is computed in."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def dtype_of(where: str, value: Any) -> np.dtype[Any]:
    """A ``dtype=`` argument, refused where nothing is computed in it."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"{where}: dtype expects a NumPy dtype, got {describe(value)}") from None
    if not is_supported(dtype):
        raise TypeError(f"{where}: dtype expects {DTYPES}, got {dtype}")
    return floating(dtype)


def result_dtype(*values: Any) -> np.dtype[Any]:
    """The result's dtype for these arrays and plain Python numbers; ``None`` counts for nothing."""
    return floating(np.result_type(*(value for value in values if value is not None)))


def bias_array(where: str, value: Any) -> Any:
    """A bias: ``None``, a plain Python number (which, as in NumPy, widens no dtype), or an array."""
    if value is None or type(value) in (int, float, complex):
        return value
    return array(where, "bias", value)


def output(where: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Sequence[Any]) -> None:
    """Refuse an ``out`` that cannot take the result."""
    if not isinstance(out, np.ndarray) or (type(out) is not np.ndarray and hasattr(out, "mask")):
        raise TypeError(f"{where}: out expects a NumPy array, got {describe(out)}")
    if out.dtype != dtype or not out.dtype.isnative:
        raise TypeError(
            f"{where}: out expects dtype {dtype}, got {out.dtype.str if out.dtype == dtype else out.dtype}"
        )
    if out.shape != shape:
        raise ValueError(f"{where}: out expects shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{where}: out is read-only")
    if overlaps_itself(out):
        raise ValueError(f"{where}: out has elements that share memory; give an array of its own")
    for value in inputs:
        if isinstance(value, np.ndarray) and shares_memory(out, value):
            raise ValueError(f"{where}: out shares memory with an input; give an array of its own")


def shares_memory(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays overlap; where NumPy finds that too hard to tell, they do."""
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def overlaps_itself(array: NDArray[Any]) -> bool:
    """Whether elements of an array share memory with each other.

    Two of them lie in different halves of an axis, or both in one; then so do two of the first half, as the
    halves are alike.
    """
    if array.flags.forc:
        return False
    for axis, size in enumerate(array.shape):
        whole = (slice(None),) * axis
        while size > 1:
            size = -(-size // 2)
            half = array[(*whole, slice(size))]
            if shares_memory(half, array[(*whole, slice(size, None))]):
                return True
            array = half
    return False

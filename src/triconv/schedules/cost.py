"""What work is predicted to take: the one model by which tiles, orientations and methods are chosen.

A core multiplies, and beside that it moves what the products do not read in place:

    cycles = multiply_adds / rate  +  sum over what is moved of  amount * cycles each

    rate = MULTIPLIED * lanes / parts      multiply-adds of elements a cycle, by vectors
    parts                                  vectors that an element's product takes: 2 for complex numbers

Inside a tile the same core also reads. Of one step of the sum it does ``MULTIPLIED`` products on vectors and
``READ`` reads of a line of the cache in a cycle, whichever takes longer:

    cycles of a tile = steps * max(products / MULTIPLIED, reads / READ)  +  START  +  STORE or SCATTER

Predictions compare ways to do one problem; they are not seconds. `docs/design/cost.md` has what each constant
is where it is measured by itself, by `benchmarks/constants.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

MULTIPLIED = 2  # fused multiply-adds on vectors a cycle
READ = 2  # reads of a line of the cache a cycle
LATENCY = 4  # cycles until a sum can go on
STORE = 2  # cycles to write a vector of results whose elements lie side by side
SCATTER = 1.5  # cycles to write a result that lies alone
START = 30  # cycles to start a tile
BAND_BYTE = 1 / 8  # cycles to copy a byte of a band
PATCH_ELEMENT = 6  # cycles to copy an element of a patch
MATRIX_BYTE = 1 / 4  # cycles to read a byte of W
MATRIX_PRODUCT = 1  # cycles of a product of an entry of W, which waits for its column
MATRIX_ENTRY = 4  # cycles to assemble an entry of W


@dataclass(frozen=True, slots=True)
class Cost:
    """What a schedule is predicted to take, for the whole batch."""

    operations: int  # multiply-adds, idle vector lanes included
    bytes: int  # written and read beyond the arrays that every method reads
    cycles: float  # of one thread


def rate(lanes: int, parts: int) -> float:
    """Multiply-adds of elements in a cycle, by vectors of so many lanes."""
    return MULTIPLIED * lanes / parts


def step(products: float, reads: float) -> float:
    """Cycles that a tile's step of the sum takes, by its products and reads."""
    return max(products / MULTIPLIED, reads / READ)

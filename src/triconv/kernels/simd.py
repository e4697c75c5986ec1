"""Vector code: what one tile of outputs, held in registers, makes of loads, multiply-adds and stores.

Complex numbers lie interleaved in a vector. Products with the real and with the imaginary part of the
broadcast number are summed apart and joined at the end::

    vector b          b0.re        b0.im        b1.re        b1.im
    cells[0]          a.re b0.re   a.re b0.im   a.re b1.re   a.re b1.im       sums of products with a.re
    cells[1]          a.im b0.re   a.im b0.im   a.im b1.re   a.im b1.im       sums of products with a.im

    result, lane 0    cells[0][0] - cells[1][1],   cells[0][1] + cells[1][0]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from triconv.kernels.addresses import LANE, integer
from triconv.runtime import arrays


@dataclass(frozen=True, slots=True)
class Tile:
    """The numbers that make a microkernel.

    ::

                        vector 0     vector 1
                row 0   . . . .      . . . .         rows = 3, vectors = 2, lanes = 4, width = 8
                row 1   . . . .      . . . .         an accumulator is a vector, or two for complex numbers
                row 2   . . . .      . . . .
    """

    dtype: str
    lanes: int
    rows: int
    vectors: int
    fma: bool
    group: int = 1  # channels that share a group, where lanes are channels
    # The kernel along the axis of the tile's rows, where what they read is loaded once for all of them.
    kernel: int = 1
    stride: int = 1

    @property
    def width(self) -> int:
        """Elements along the vectors."""
        return self.lanes * self.vectors

    @property
    def span(self) -> int:
        """Places along the axis of the rows that one step reads.

        Row p with tap t reads place ``p * stride + t``, so the last is ``(rows - 1) * stride + kernel - 1``.
        """
        return (self.rows - 1) * self.stride + self.kernel

    def served(self, place: int) -> list[tuple[int, int]]:
        """Rows that read a place, and the tap that each reads it with.

        ``tap = place - row * stride``; 2 rows, kernel 3, stride 1: place 1 serves ``[(0, 1), (1, 0)]``.
        """
        taps = ((row, place - row * self.stride) for row in range(self.rows))
        return [(row, tap) for row, tap in taps if 0 <= tap < self.kernel]

    def __str__(self) -> str:
        words = [self.dtype, f"{self.rows}x{self.vectors}x{self.lanes}"]
        words += ["nofma"] * (not self.fma) + [f"groups{self.group}"] * (self.group > 1)
        words += [f"kernel{self.kernel}stride{self.stride}"] * (self.kernel > 1)
        return "_".join(words)


class Emitter:
    """Writes the instructions of one tile into the function that Numba is compiling.

    ``acc[p][q]`` are the accumulators of row p and vector q: one cell, or two of complex numbers. A cell is a
    place on the stack, which LLVM turns into a register.
    """

    def __init__(self, builder: ir.IRBuilder, tile: Tile) -> None:
        self.b = builder
        self.tile = tile
        dtype = np.dtype(tile.dtype)
        self.parts = arrays.parts(dtype)
        self.scalar_bytes = dtype.itemsize // self.parts
        self.scalar = ir.FloatType() if self.scalar_bytes == 4 else ir.DoubleType()
        self.element = self.scalar if self.parts == 1 else ir.ArrayType(self.scalar, 2)
        self.count = tile.lanes * self.parts
        self.vector = ir.VectorType(self.scalar, self.count)
        zero = ir.Constant(self.vector, [0.0] * self.count)
        self.acc = [
            [
                [cgutils.alloca_once_value(builder, zero) for _ in range(self.parts)]
                for _ in range(tile.vectors)
            ]
            for _ in range(tile.rows)
        ]

    # --- memory -------------------------------------------------------------------------------------

    def pointer(self, address: Any, element: ir.Type | None = None) -> Any:
        """An address, given as an integer, as a pointer to elements."""
        return self.b.inttoptr(address, (element or self.element).as_pointer())

    def load_vector(self, pointer: Any) -> Any:
        """One vector from the element pointed at, of any alignment."""
        return self.b.load(self.b.bitcast(pointer, self.vector.as_pointer()), align=self.scalar_bytes)

    def load_vectors(self, pointer: Any) -> list[Any]:
        """The vectors that lie side by side from the element pointed at, as many as the tile is wide."""
        return [
            self.load_vector(self.b.gep(pointer, [integer(q * self.tile.lanes)]))
            for q in range(self.tile.vectors)
        ]

    def broadcast(self, pointer: Any) -> list[Any]:
        """The element pointed at, each of its parts spread over a vector."""
        start = self.b.bitcast(pointer, self.scalar.as_pointer())
        return [
            self.splat(self.b.load(self.b.gep(start, [integer(part)]), align=self.scalar_bytes))
            for part in range(self.parts)
        ]

    def splat(self, value: Any) -> Any:
        """A scalar spread over a vector."""
        none = ir.Constant(self.vector, ir.Undefined)
        one = self.b.insert_element(none, value, ir.Constant(LANE, 0))
        return self.b.shuffle_vector(
            one, none, ir.Constant(ir.VectorType(LANE, self.count), [0] * self.count)
        )

    def split(self, vector: Any) -> list[Any]:
        """A vector as its parts: real and imaginary numbers, each in both places of a pair.

        ``a.re a.im b.re b.im`` gives ``a.re a.re b.re b.re`` and ``a.im a.im b.im b.im``.
        """
        if self.parts == 1:
            return [vector]
        lanes = ir.VectorType(LANE, self.count)
        return [
            self.b.shuffle_vector(
                vector, vector, ir.Constant(lanes, [lane // 2 * 2 + part for lane in range(self.count)])
            )
            for part in range(2)
        ]

    def of_group(self, vector: Any, channel: int) -> Any:
        """A vector of channels with one ``channel`` of each group in all the places of its group.

        Of groups of 2, ``a0 a1 b0 b1`` gives ``a0 a0 b0 b0`` for channel 0, ``a1 a1 b1 b1`` for channel 1.
        """
        size = self.tile.group * self.parts
        lanes = [lane // size * size + channel * self.parts + lane % self.parts for lane in range(self.count)]
        kind = ir.VectorType(LANE, self.count)
        return self.b.shuffle_vector(vector, vector, ir.Constant(kind, lanes))

    def parted(self, vector: Any) -> list[Any]:
        """A vector's real and imaginary numbers, each in the first place of its pair, zeros in the other.

        ``a.re a.im b.re b.im`` gives ``a.re 0 b.re 0`` and ``a.im 0 b.im 0``.
        """
        zeros = ir.Constant(self.vector, [0.0] * self.count)
        kind = ir.VectorType(LANE, self.count)
        picks = [
            [lane + part if lane % 2 == 0 else self.count for lane in range(self.count)] for part in (0, 1)
        ]
        return [self.b.shuffle_vector(vector, zeros, ir.Constant(kind, lanes)) for lanes in picks]

    def interleave(self, real: Any, imaginary: Any) -> Any:
        """Two splats as one vector of complex numbers: ``re im re im``."""
        lanes = [lane if lane % 2 == 0 else self.count + lane for lane in range(self.count)]
        return self.b.shuffle_vector(real, imaginary, ir.Constant(ir.VectorType(LANE, self.count), lanes))

    # --- arithmetic ---------------------------------------------------------------------------------

    def start_columns(self, bias: Any, *, pixels: bool = False) -> None:
        """Start every row from the same vectors of biases.

        An imaginary part starts the sum of real weights times imaginary pixels in every tile, for the same
        bits: that is the second sum where ``pixels`` are what is broadcast, and else the first.
        """
        for q, start in enumerate(self.load_vectors(bias)):
            starts = self.parted(start) if pixels and self.parts == 2 else [start]
            for p in range(self.tile.rows):
                for value, cell in zip(starts, self.acc[p][q], strict=False):
                    self.b.store(value, cell)

    def start_rows(self, bias: Any, apart: Any) -> None:
        """Start each row from one bias, ``apart`` elements from the last row's."""
        for p in range(self.tile.rows):
            real, *imaginary = self.broadcast(self.b.gep(bias, [self.b.mul(apart, integer(p))]))
            start = self.interleave(real, imaginary[0]) if imaginary else real
            for q in range(self.tile.vectors):
                self.b.store(start, self.acc[p][q][0])

    def add_product(self, p: int, q: int, parts: list[Any], vector: Any) -> None:
        """Add a broadcast element times a vector onto an accumulator."""
        for part, cell in zip(parts, self.acc[p][q], strict=True):
            self.b.store(self.multiply_add(part, vector, self.b.load(cell)), cell)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """``a * b + c``, rounded once where the machine can."""
        if not self.tile.fma:
            return self.b.fadd(self.b.fmul(a, b), c)
        name = f"llvm.fma.v{self.count}f{8 * self.scalar_bytes}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), [a, b, c])

    def result(self, p: int, q: int) -> Any:
        """The finished value of an accumulator; the drawing above says what of complex numbers is joined."""
        cells = [self.b.load(cell) for cell in self.acc[p][q]]
        if self.parts == 1:
            return cells[0]
        swap = ir.Constant(ir.VectorType(LANE, self.count), [lane ^ 1 for lane in range(self.count)])
        signs = ir.Constant(self.vector, [-1.0, 1.0] * self.tile.lanes)
        turned = self.b.shuffle_vector(cells[1], cells[1], swap)
        return self.b.fadd(cells[0], self.b.fmul(turned, signs))

    # --- a sum that goes on later -------------------------------------------------------------------

    def cells(self, held: Any) -> list[tuple[Any, Any]]:
        """Every accumulator, and the place in memory at ``held`` that keeps it.

        They lie row by row, of a row vector by vector, of a vector of complex numbers cell by cell.
        """
        cells = [cell for row in self.acc for parts in row for cell in parts]
        start = self.b.bitcast(held, self.vector.as_pointer())
        return [(cell, self.b.gep(start, [integer(n)])) for n, cell in enumerate(cells)]

    def resume(self, held: Any) -> None:
        """Take the accumulators up again."""
        for cell, place in self.cells(held):
            self.b.store(self.b.load(place, align=self.scalar_bytes), cell)

    def keep(self, held: Any) -> None:
        """Put the accumulators by."""
        for cell, place in self.cells(held):
            self.b.store(self.b.load(cell), place, align=self.scalar_bytes)

    # --- results ------------------------------------------------------------------------------------

    def store(self, out: Any, rows: Any, width: Any, row_step: Any, step: Any) -> None:
        """Write the first ``rows`` x ``width`` results, ``row_step`` and ``step`` elements apart.

        ``out[p * row_step + m * step]`` is the result of row p and element m. There are three ways:

        - elements lie side by side (``step`` is 1): a row goes as vectors;
        - the tile's rows, 2, 4 or 8, are all stored and lie side by side (``row_step`` is 1, ``step`` is
          their number): the tile is transposed, and goes as one stretch of memory;
        - otherwise results go one by one.
        """
        b, tile = self.b, self.tile
        values = [[self.result(p, q) for q in range(tile.vectors)] for p in range(tile.rows)]
        with b.if_else(b.icmp_signed("==", step, integer(1))) as (contiguous, scattered):
            with contiguous:
                whole = b.icmp_signed(">=", width, integer(tile.width))
                for p in range(tile.rows):
                    with b.if_then(b.icmp_signed("<", integer(p), rows)):
                        row = b.gep(out, [b.mul(row_step, integer(p))])
                        with b.if_else(whole) as (full, partial):
                            with full:
                                self.store_row(row, values[p], None)
                            with partial:
                                self.store_row(row, values[p], width)
            with scattered:
                if tile.rows not in (2, 4, 8):
                    self.scatter(out, values, rows, width, row_step, step)
                    return
                # Filters side by side, and all of them in this tile: it is one stretch of memory.
                side_by_side = b.icmp_signed("==", row_step, integer(1))
                all_here = b.and_(
                    b.icmp_signed("==", step, integer(tile.rows)),
                    b.icmp_signed("==", rows, integer(tile.rows)),
                )
                with b.if_else(b.and_(side_by_side, all_here)) as (one, many):
                    with one:
                        columns = zip(*values, strict=True)
                        turned = [vector for column in columns for vector in self.transpose(list(column))]
                        self.store_row(out, turned, b.mul(width, rows))
                    with many:
                        self.scatter(out, values, rows, width, row_step, step)

    def transpose(self, vectors: list[Any]) -> list[Any]:
        """The first elements of all vectors, then the second ones, and so on, as many vectors again.

        Even vectors and odd ones are transposed by themselves, and their elements put in turns::

            a0 a1 a2 a3                   evens  a0 c0 a1 c1 | a2 c2 a3 c3
            b0 b1 b2 b3                   odds   b0 d0 b1 d1 | b2 d2 b3 d3
            c0 c1 c2 c3
            d0 d1 d2 d3                   a0 b0 c0 d0 | a1 b1 c1 d1 | a2 b2 c2 d2 | a3 b3 c3 d3
        """
        if len(vectors) == 1 or self.tile.lanes == 1:
            return vectors
        turned = []
        lanes = ir.VectorType(LANE, self.count)
        for even, odd in zip(self.transpose(vectors[::2]), self.transpose(vectors[1::2]), strict=True):
            for half in range(2):
                first = half * self.count // 2
                picked = [
                    side * self.count + first + place + part
                    for place in range(0, self.count // 2, self.parts)
                    for side in range(2)
                    for part in range(self.parts)
                ]
                turned.append(self.b.shuffle_vector(even, odd, ir.Constant(lanes, picked)))
        return turned

    def store_row(self, row: Any, values: list[Any], width: Any) -> None:
        """Write vectors side by side, the last ones masked where a ``width`` is given."""
        b = self.b
        for q, value in enumerate(values):
            place = b.bitcast(b.gep(row, [integer(q * self.tile.lanes)]), self.vector.as_pointer())
            if width is None:
                b.store(value, place, align=self.scalar_bytes)
                continue
            mask = self.counting(width, q)
            name = f"llvm.masked.store.v{self.count}f{8 * self.scalar_bytes}.p0"
            kind = ir.FunctionType(
                ir.VoidType(),
                [self.vector, self.vector.as_pointer(), LANE, ir.VectorType(ir.IntType(1), self.count)],
            )
            function = cgutils.get_or_insert_function(b.module, kind, name)
            b.call(function, [value, place, ir.Constant(LANE, self.scalar_bytes), mask])

    def counting(self, width: Any, q: int) -> Any:
        """Which places of vector ``q`` are among the first ``width`` elements."""
        b, lanes = self.b, ir.VectorType(LANE, self.count)
        left = b.sub(b.mul(width, integer(self.parts)), integer(q * self.count))
        limit = b.insert_element(ir.Constant(lanes, ir.Undefined), b.trunc(left, LANE), ir.Constant(LANE, 0))
        limit = b.shuffle_vector(limit, limit, ir.Constant(lanes, [0] * self.count))
        return b.icmp_signed("<", ir.Constant(lanes, list(range(self.count))), limit)

    def scatter(
        self, out: Any, values: list[list[Any]], rows: Any, width: Any, row_step: Any, step: Any
    ) -> None:
        """Write results one by one, through a copy of the tile on the stack."""
        b, tile = self.b, self.tile
        size = tile.rows * tile.width
        scratch = cgutils.alloca_once(b, ir.ArrayType(self.element, size))
        scratch = b.bitcast(scratch, self.element.as_pointer())
        for p, row in enumerate(values):
            for q, value in enumerate(row):
                place = b.gep(scratch, [integer(p * tile.width + q * tile.lanes)])
                b.store(value, b.bitcast(place, self.vector.as_pointer()), align=self.scalar_bytes)
        with cgutils.for_range(b, width) as lane:
            column = b.gep(out, [b.mul(lane.index, step)])
            with cgutils.for_range(b, rows) as row:
                source = b.gep(scratch, [b.add(b.mul(row.index, integer(tile.width)), lane.index)])
                value = b.load(source, align=self.scalar_bytes)
                b.store(value, b.gep(column, [b.mul(row.index, row_step)]), align=self.scalar_bytes)
